//! A thousand requests at once against a budget that admits six hundred.

use crate::support::{Cluster, Key};
use quoin_core::{ChainId, Payload, Signed};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// How many requests there are.
const REQUESTS: usize = 1_000;
/// The cap: a strict budget of 2-of-3 lets each node co-sign half of it.
const CAP: usize = 1_200;
/// Connections at one time; the kernel's default for open files is 1,024.
const CONNECTIONS: usize = 500;

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_concurrent_requests_against_a_budget_of_six_hundred_sign_six_hundred() {
    let cluster = Cluster::start();
    let made = [
        "key",
        "create",
        "capped",
        "--scheme",
        "ed25519",
        "--purpose",
        "agent",
    ];
    let key = Key::read(&cluster.json(&made));
    let mut charter = cluster.json(&["charter", "show"]);
    let budget = json!({
        "id": "six-hundred", "scope": { "key": "capped" }, "measure": "count",
        "cap": CAP.to_string(), "window_ms": 3_600_000, "mode": "strict",
    });
    charter["budgets"].as_array_mut().unwrap().push(budget);
    let path = cluster.folder().join("charter.json");
    std::fs::write(&path, charter.to_string()).unwrap();
    let file = path.to_str().unwrap();
    cluster.json(&["charter", "apply", file, "--as", "alice,bob", "--yes"]);

    let alice = Arc::new(cluster.caller("alice"));
    let connections = Arc::new(Semaphore::new(CONNECTIONS));
    let mut asking = JoinSet::new();
    for number in 0..REQUESTS {
        let (alice, key) = (Arc::clone(&alice), key.clone());
        let connections = Arc::clone(&connections);
        asking.spawn(async move {
            let payload = Payload::Text(format!("request {number}"));
            let signed = Signed::sign(alice.stamp(&key, ChainId::Quoin, &payload), &alice.identity);
            let _room = connections.acquire().await.unwrap();
            alice.insist(&signed, &payload).await
        });
    }
    let (mut signed, mut refused) = (0, 0);
    while let Some(reply) = asking.join_next().await {
        let reply = reply.unwrap();
        match reply.status {
            200 => signed += 1,
            403 => {
                assert_eq!(reply.body["error"]["rule"], "six-hundred", "{reply:?}");
                refused += 1;
            }
            _ => panic!("{reply:?}"),
        }
    }
    assert_eq!((signed, refused), (CAP / 2, REQUESTS - CAP / 2));
    let body: Value = alice
        .http
        .get(format!("{}/readyz", alice.gateway))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(body["ready"], true, "{body}");
}
