//! Measures the round trip of a 200-byte frame between two endpoints on loopback.
//!
//! Nothing is asserted: the figures belong in a table with the machine they were taken on. Run
//! with `cargo run --release -p quoin-link --example round_trip`.

use quoin_core::NodeIndex;
use quoin_link::{
    Config, Endpoint, Event, Inbound, Limits, LinkError, PeerId, Pins, Priority, TlsIdentity,
};
use std::collections::BTreeMap;
use std::io::Write;
use std::time::Instant;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

const ROUNDS: usize = 20_000;

type Received = mpsc::Receiver<Inbound>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (one, two) = (TlsIdentity::generate()?, TlsIdentity::generate()?);
    let first = PeerId::Node(NodeIndex::new(1).ok_or("index")?);
    let second = PeerId::Node(NodeIndex::new(2).ok_or("index")?);
    let pins = Pins::new([
        (one.spki_hash(), first.clone()),
        (two.spki_hash(), second.clone()),
    ])?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let none = BTreeMap::new();
    let (echo, echoed) = start(second.clone(), two, &pins, none, Some(listener))?;
    let addresses = BTreeMap::from([(second.clone(), address)]);
    let (asking, mut answers) = start(first, one, &pins, addresses, None)?;
    tokio::spawn(echo_frames(echo, echoed));
    while !matches!(
        answers.recv().await,
        Some(Inbound {
            event: Event::Connected,
            ..
        })
    ) {}
    let mut micros = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let started = Instant::now();
        let _ = asking.send(&second, Priority::Urgent, vec![7; 200]);
        if answers.recv().await.is_none() {
            return Err("the link ended".into());
        }
        micros.push(started.elapsed().as_micros());
    }
    micros.sort_unstable();
    let at = |per_mille: usize| micros.get(ROUNDS * per_mille / 1000).copied().unwrap_or(0);
    writeln!(
        std::io::stdout(),
        "round trip of 200 bytes, microseconds: p50 {}, p90 {}, p99 {}, p99.9 {}",
        at(500),
        at(900),
        at(990),
        at(999)
    )?;
    Ok(())
}

fn start(
    me: PeerId,
    identity: TlsIdentity,
    pins: &Pins,
    addresses: BTreeMap<PeerId, String>,
    listener: Option<TcpListener>,
) -> Result<(Endpoint, Received), LinkError> {
    let config = Config {
        me,
        identity,
        pins: pins.clone(),
        addresses,
        limits: Limits::default(),
        jitter_seed: [0; 32],
    };
    Endpoint::start(config, listener)
}

async fn echo_frames(endpoint: Endpoint, mut received: Received) {
    while let Some(inbound) = received.recv().await {
        if let Event::Frame(body) = inbound.event {
            let _ = endpoint.send(&inbound.from, Priority::Urgent, body);
        }
    }
}
