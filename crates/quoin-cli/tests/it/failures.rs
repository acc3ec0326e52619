//! Nodes that die: signing goes on, or says what is missing; and they come back.

use crate::support::{Caller, Cluster, Key, calm, eventually, signal, start_node};
use quoin_core::{ChainId, Payload, Signed};
use serde_json::Value;
use std::time::{Duration, Instant};

/// The longest that a request may take when too few nodes are up.
const BOUND: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_are_killed_stop_nothing_until_too_few_are_left() {
    let mut cluster = Cluster::start();
    let alice = cluster.caller("alice");
    let keys = ["desk-ecdsa", "desk-taproot", "desk-ed25519"].map(|name| cluster.key(name));
    all_sign(&alice, &keys, "with three nodes").await;

    calm(cluster.folder(), &[1, 2, 3]).await;
    signal(cluster.pid(1), "KILL");
    eventually("node 1 is seen as down", BOUND, async || {
        nodes_up(&alice).await == 2
    })
    .await;
    all_sign(&alice, &keys, "with two nodes").await;

    calm(cluster.folder(), &[2, 3]).await;
    signal(cluster.pid(2), "KILL");
    eventually("node 2 is seen as down", BOUND, async || {
        nodes_up(&alice).await == 1
    })
    .await;
    let waiting = one_node_is_not_enough(&alice, &keys[2]).await;

    let mut node_1 = start_node(cluster.folder(), 1);
    let mut node_2 = start_node(cluster.folder(), 2);
    eventually("all nodes are back", BOUND, async || {
        nodes_up(&alice).await == 3
    })
    .await;
    all_sign(&alice, &keys, "after they came back").await;
    let (signed, payload, text) = waiting;
    let reply = alice.insist(&signed, &payload).await;
    assert!(reply.is_signed(), "{text}: {reply:?}");
    let again = alice.post_signed(&signed, &payload).await;
    assert_eq!(reply.body["signature"], again.body["signature"]);

    // With node 3 gone, nodes 1 and 2 must both have really rejoined.
    signal(cluster.pid(3), "KILL");
    eventually("node 3 is seen as down", BOUND, async || {
        nodes_up(&alice).await == 2
    })
    .await;
    all_sign(&alice, &keys, "by the two that were killed").await;

    cluster.stop();
    for node in [&mut node_1, &mut node_2] {
        drop(node.stdin.take());
        let ended = crate::support::wait(node, Duration::from_secs(10));
        assert!(
            ended.is_some_and(|s| s.success()),
            "a node ends when its parent's pipe does"
        );
    }
}

async fn all_sign(alice: &Caller, keys: &[Key], text: &str) {
    for key in keys {
        let reply = alice.sign_text(key, text).await;
        assert!(reply.is_signed(), "{text}: {reply:?}");
    }
}

async fn one_node_is_not_enough(
    alice: &Caller,
    key: &Key,
) -> (Signed<quoin_core::Stamp>, Payload, &'static str) {
    let text = "asked for with one node";
    let payload = Payload::Text(text.to_owned());
    let stamp = alice.stamp(key, ChainId::Quoin, &payload);
    let signed = Signed::sign(stamp, &alice.identity);
    let started = Instant::now();
    let reply = alice.post_signed(&signed, &payload).await;
    assert!(
        started.elapsed() < BOUND,
        "the answer took {:?}",
        started.elapsed()
    );
    assert_eq!(reply.status, 503, "{reply:?}");
    assert_eq!(
        reply.body["error"]["nodes"],
        serde_json::json!([1, 2]),
        "{reply:?}"
    );
    assert!(reply.message().contains("1, 2"), "{reply:?}");
    let ready = alice
        .http
        .get(format!("{}/readyz", alice.gateway))
        .send()
        .await
        .unwrap();
    assert_eq!(ready.status(), 503, "readiness is honest");
    (signed, payload, text)
}

async fn nodes_up(alice: &Caller) -> usize {
    let url = format!("{}/v1/cluster", alice.gateway);
    let body: Value = alice
        .http
        .get(url)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    body["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|n| n["up"] == true)
        .count()
}
