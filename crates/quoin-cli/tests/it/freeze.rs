//! A freeze on a real cluster: brought to one node by a courier, past the gateway, and felt by all
//! three processes within a second.

use crate::support::{Cluster, now, request_id};
use quoin_api::{Frame, SessionId};
use quoin_core::cbor::Version;
use quoin_core::{CeremonyId, FreezeId, Signed};
use quoin_link::{Courier, SpkiHash, courier_connect};
use quoin_policy::{Charter, Freeze, FreezeLevel, FreezeScope};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// How long a node may take to answer at all.
const PATIENCE: Duration = Duration::from_secs(10);
/// Within which a freeze holds on every node that is reachable.
const HOLDS_WITHIN: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_freeze_brought_to_one_node_holds_on_all_within_a_second() {
    let cluster = Cluster::start();
    let (key, alice, wendy) = (
        cluster.key("desk-ecdsa"),
        cluster.caller("alice"),
        cluster.caller("wendy"),
    );
    let charter = cluster.genesis();
    assert!(alice.sign_text(&key, "before").await.is_signed());
    let mut couriers = Vec::new();
    for node in 1..=3 {
        couriers.push(connect(cluster.folder(), &charter, node).await);
    }
    let freeze = Freeze {
        version: Version,
        cluster: charter.cluster_id(),
        id: FreezeId(request_id().0),
        principal: "wendy".parse().unwrap(),
        scope: FreezeScope::All,
        level: FreezeLevel::Hard,
        at: now(),
        reason: "a drill".to_owned(),
    };
    let frame = Frame::Freeze(Signed::sign(freeze, &wendy.identity).to_bytes());

    let begun = Instant::now();
    couriers[0].send(&frame.to_bytes()).await.unwrap();
    for courier in &mut couriers {
        while freezes_of(courier).await == 0 {
            assert!(begun.elapsed() < PATIENCE, "the freeze does not arrive");
        }
    }
    let took = begun.elapsed();
    println!("a freeze held on three processes after {took:?}");
    assert!(took < HOLDS_WITHIN, "{took:?}");

    let (beat, aborted) = (
        Frame::Heartbeat(vec![1]),
        Frame::SessionAborted(SessionId::Ceremony(CeremonyId([1; 16]))),
    );
    for frame in [beat, aborted, Frame::KeysRequest] {
        is_cut_off_for(&cluster, &charter, &frame.to_bytes()).await;
    }
    is_cut_off_for(&cluster, &charter, b"nonsense").await;

    let refused = alice.sign_text(&key, "after").await;
    assert!(!refused.is_signed());
    assert!(
        refused.message().contains("frozen by `wendy`"),
        "{}",
        refused.message()
    );
}

/// What only a peer may send ends the connection, and so does what nobody can read.
async fn is_cut_off_for(cluster: &Cluster, charter: &Charter, bytes: &[u8]) {
    let mut courier = connect(cluster.folder(), charter, 2).await;
    courier.send(bytes).await.unwrap();
    let cut_off = async { while courier.receive().await.is_ok() {} };
    timeout(PATIENCE, cut_off)
        .await
        .expect("the courier is cut off");
}

async fn connect(folder: &Path, charter: &Charter, node: u8) -> Courier {
    let file = folder.join(format!("node-{node}/node.json"));
    let file: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let entry = charter
        .nodes
        .iter()
        .find(|n| n.index.get() == node)
        .unwrap();
    let address = file["listen"].as_str().unwrap();
    courier_connect(address, SpkiHash(entry.tls_key_hash))
        .await
        .unwrap()
}

/// How many freezes a node says are in force.
async fn freezes_of(courier: &mut Courier) -> usize {
    courier
        .send(&Frame::FreezesRequest.to_bytes())
        .await
        .unwrap();
    loop {
        let bytes = timeout(PATIENCE, courier.receive()).await.unwrap().unwrap();
        if let Frame::Freezes(freezes) = Frame::from_bytes(&bytes).unwrap() {
            return freezes.freezes.len();
        }
    }
}
