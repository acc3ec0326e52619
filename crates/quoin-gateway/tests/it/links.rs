//! The links over mutual TLS: a gateway's core greets a node that listens on loopback.

use crate::world::{CLUSTER, FakeCharters, FakeCombiner, identity, node};
use quoin_api::Frame;
use quoin_api::frame::Hello;
use quoin_core::cbor::Version;
use quoin_core::{Certificate, CharterNumber};
use quoin_gateway::core::{Config, Event, Gateway, Outcome};
use quoin_gateway::links::connect;
use quoin_gateway::metrics::Metrics;
use quoin_gateway::run::{Handle, NodeLinks, spawn};
use quoin_link::{Endpoint, Inbound, Limits, PeerId, Pins, Priority, TlsIdentity};
use quoin_policy::{Charter, NodeEntry};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;

fn charter(tls_key_hash: [u8; 32]) -> Charter {
    Charter {
        version: Version,
        name: "desk".into(),
        number: CharterNumber(0),
        cluster: None,
        previous: None,
        nodes: vec![NodeEntry {
            index: node(1),
            credential: identity(1).public(),
            tls_key_hash,
            operator: "operator".into(),
            cloud: String::new(),
            region: String::new(),
        }],
        threshold: 2,
        f_tol: 0,
        dangerous_disjoint_signers: false,
        gateways: Vec::new(),
        principals: Vec::new(),
        governor_quorum: 1,
        budgets: Vec::new(),
        assets: Vec::new(),
        book: Vec::new(),
        policies: String::new(),
        backup: None,
        facts: Vec::new(),
        keys: Vec::new(),
        cooling_off_ms: 0,
        payload_retention_days: None,
        recovery: None,
        dangerous_single_failure_domain: true,
    }
}

async fn nodes_up(handle: &Handle) -> usize {
    match handle.call(|client| Event::StatusQuery { client }).await {
        Outcome::Status(status) => status.nodes.iter().filter(|(_, up)| *up).count(),
        other => panic!("{other:?}"),
    }
}

/// Waits for a frame of the gateway, up to a generous bound.
async fn next_frame(inbound: &mut mpsc::Receiver<Inbound>) -> Frame {
    let wait = Duration::from_secs(20);
    loop {
        let event = tokio::time::timeout(wait, inbound.recv()).await.unwrap();
        let event = event.unwrap();
        assert_eq!(event.from, PeerId::Gateway("gateway".into()));
        if let quoin_link::Event::Frame(bytes) = &event.event {
            return Frame::from_bytes(bytes).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_greets_the_nodes_that_its_charter_pins() {
    let theirs = TlsIdentity::generate().unwrap();
    let ours = TlsIdentity::generate().unwrap();
    let charter = charter(theirs.spki_hash().0);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let peer = PeerId::Gateway("gateway".into());
    let config = quoin_link::Config {
        me: PeerId::Node(node(1)),
        identity: theirs,
        pins: Pins::new([(ours.spki_hash(), peer.clone())]).unwrap(),
        addresses: BTreeMap::new(),
        limits: Limits::default(),
        jitter_seed: [1; 32],
    };
    let (endpoint, mut inbound) = Endpoint::start(config, Some(listener)).unwrap();

    let kept = Arc::new(Mutex::new(Vec::new()));
    let seen = kept.clone();
    let keep = move |number, charter: &[u8]| seen.lock().unwrap().push((number, charter.to_vec()));
    let addresses = BTreeMap::from([(node(1), address)]);
    let name = "gateway".to_owned();
    let on_look = Box::new(|| None);
    let (mut links, events) = connect(
        name,
        ours,
        &charter,
        addresses,
        [2; 32],
        Box::new(keep),
        on_look,
    )
    .unwrap();
    let bytes = Certificate::unsigned(charter).to_bytes();
    links.adopted(CharterNumber(0), &bytes);
    assert_eq!(*kept.lock().unwrap(), [(CharterNumber(0), bytes)]);

    let charters = Box::new(FakeCharters::new(3, 2));
    let gateway = Gateway::new(Config::default(), charters, Box::new(FakeCombiner), 5);
    let metrics = Arc::new(Metrics::default());
    let handle = spawn(gateway, Box::new(links), events, metrics);
    let greeting = next_frame(&mut inbound).await;
    assert!(matches!(
        greeting,
        Frame::Hello(Hello {
            cluster: CLUSTER,
            boot: 5,
            ..
        })
    ));
    assert_eq!(next_frame(&mut inbound).await, Frame::CharterRequest);
    assert_eq!(nodes_up(&handle).await, 1);
    let sent = endpoint.send(&peer, Priority::Urgent, b"no frame".to_vec());
    assert_eq!(sent, quoin_link::Sent::Queued);
    drop((endpoint, inbound));
    for _ in 0..1_000 {
        if nodes_up(&handle).await == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the gateway does not notice that its node is gone");
}
