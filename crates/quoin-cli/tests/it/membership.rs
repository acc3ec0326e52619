//! Nodes that come and go while the cluster runs, as real processes.

use crate::support::{Cluster, calm, eventually, signal, start_node, wait};
use quoin_core::NodeIndex;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// The longest that a change of nodes may take to be seen.
const BOUND: Duration = Duration::from_secs(40);

/// The nodes that the gateway knows, and those that are connected.
async fn nodes(cluster: &Cluster) -> (Vec<u64>, Vec<u64>) {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}/v1/cluster", cluster.gateway());
    let body: Value = http.get(url).send().await.unwrap().json().await.unwrap();
    let all = body["nodes"].as_array().unwrap();
    let index = |n: &Value| n["node"].as_u64().unwrap();
    let up = all.iter().filter(|n| n["up"] == true);
    (all.iter().map(index).collect(), up.map(index).collect())
}

/// The processes that `quoin dev` supervises, by the file that names them.
fn supervised(folder: &Path) -> BTreeSet<NodeIndex> {
    let text = std::fs::read(folder.join("nodes.json")).unwrap();
    let file: Value = serde_json::from_slice(&text).unwrap();
    serde_json::from_value(file["nodes"].clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_cluster_grows_to_five_and_a_node_leaves_while_old_keys_go_on_signing() {
    let mut cluster = Cluster::start();
    let alice = cluster.caller("alice");
    let keys = ["desk-ecdsa", "desk-taproot", "desk-ed25519"].map(|name| cluster.key(name));

    let grown = cluster.json(&["dev", "grow", "--to", "5", "--threshold", "3"]);
    assert_eq!(grown["nodes"], json!([1, 2, 3, 4, 5]));
    assert_eq!(grown["threshold"], 3);
    let all = vec![1, 2, 3, 4, 5];
    assert_eq!(nodes(&cluster).await, (all.clone(), all.clone()));
    assert_eq!(supervised(cluster.folder()).len(), 5);
    // The keys are still of three nodes, of which two sign.
    for key in &keys {
        let reply = alice.sign_text(key, "before any share moves").await;
        assert!(reply.is_signed(), "{reply:?}");
    }

    // Node 1, which lends to the gateway, leaves and does not hear of it, because it is dead by
    // then: nobody talks to it when it comes back in the belief that it is still a member.
    calm(cluster.folder(), &[1, 2, 3]).await;
    signal(cluster.pid(1), "KILL");
    eventually("node 1 is seen as down", BOUND, async || {
        nodes(&cluster).await.1.len() == 4
    })
    .await;
    let shrunk = cluster.json(&["dev", "grow", "--to", "4", "--without", "1"]);
    assert_eq!(shrunk["nodes"], json!([2, 3, 4, 5]));
    // The others keep their links for half a second, so that whoever leaves can hear of it.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut stranger = start_node(cluster.folder(), 1);
    for key in &keys {
        let reply = alice.sign_text(key, "by the two holders that stayed").await;
        assert!(reply.is_signed(), "{reply:?}");
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let left = vec![2, 3, 4, 5];
    assert_eq!(nodes(&cluster).await, (left.clone(), left.clone()));
    assert!(links_since_start(cluster.folder(), 1).is_empty());
    drop(stranger.stdin.take());
    assert!(wait(&mut stranger, Duration::from_secs(20)).is_some());

    // Another one would take the keys with it, so it is refused before anybody signs it.
    let refused = cluster.run(&["dev", "grow", "--to", "3", "--without", "2"]);
    assert_ne!(refused.code, 0);
    assert!(
        refused.stderr.contains("would be lost"),
        "{}",
        refused.stderr
    );

    // The whole cluster comes back as it is now.
    cluster.stop();
    cluster.start_again();
    assert_eq!(nodes(&cluster).await, (left.clone(), left));
    let alice = cluster.caller("alice");
    let reply = alice.sign_text(&keys[2], "after a restart").await;
    assert!(reply.is_signed(), "{reply:?}");
    cluster.stop();
}

/// The links that a node's log tells of since its last start.
fn links_since_start(folder: &Path, node: u8) -> Vec<String> {
    let log = folder.join(format!("node-{node}/node.log"));
    let text = std::fs::read_to_string(log).unwrap();
    let last = text.rsplit("node is up").next().unwrap_or_default();
    let links = last.lines().filter(|l| l.contains("link is up"));
    links.map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_dies_is_started_again() {
    let mut cluster = Cluster::start_with(&[]);
    signal(cluster.pid(3), "KILL");
    eventually("node 3 is seen as down", BOUND, async || {
        nodes(&cluster).await.1 == [1, 2]
    })
    .await;
    eventually("node 3 is back", BOUND, async || {
        nodes(&cluster).await.1 == [1, 2, 3]
    })
    .await;
    cluster.stop();
}
