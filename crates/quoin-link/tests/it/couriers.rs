//! Couriers: let in without a certificate, held to their bounds, and in nobody's way.

use crate::support::{Side, bare, config, dial, eventually, listen, node, quick};
use quoin_link::{
    Event, Limits, LinkError, PeerId, Pins, Priority, Sent, TlsIdentity, courier_connect,
};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

struct Server {
    side: Side,
    at: SocketAddr,
    pins: Pins,
    one: TlsIdentity,
    two: TlsIdentity,
}

fn limits() -> Limits {
    Limits {
        couriers_max: 3,
        courier_frame_bytes_max: 1_000,
        courier_frame_every: Duration::from_millis(1),
        couriers_frame_every: Duration::from_millis(1),
        ..quick()
    }
}

async fn server(limits: Limits) -> Server {
    let one = TlsIdentity::generate().unwrap();
    let two = TlsIdentity::generate().unwrap();
    let pins = Pins::new([(one.spki_hash(), node(1)), (two.spki_hash(), node(2))]).unwrap();
    let (side, at) = listen(config(node(2), &two, &pins, limits)).await;
    Server {
        side,
        at,
        pins,
        one,
        two,
    }
}

impl Server {
    async fn courier(&self) -> Result<quoin_link::Courier, LinkError> {
        courier_connect(&self.at.to_string(), self.two.spki_hash()).await
    }

    /// The number under which the next courier connects.
    async fn arrived(&mut self) -> PeerId {
        let next = self.side.next().await;
        assert_eq!(next.event, Event::Connected);
        assert!(matches!(next.from, PeerId::Courier(_)), "{:?}", next.from);
        next.from.clone()
    }

    async fn refuses(&mut self, client: &bare::Client) {
        if let Ok(mut stream) = client.connect(self.at).await {
            let mut byte = [0u8; 1];
            assert!(!matches!(stream.read(&mut byte).await, Ok(1)));
        }
        let counters = || self.side.endpoint.counters().handshakes_refused;
        eventually("refusal is counted", || counters() == 1).await;
        self.side.expect_nothing(Duration::from_millis(50)).await;
    }
}

/// A client that asks to be taken for a courier.
fn bare_courier(key: Option<&TlsIdentity>) -> bare::Client {
    bare::Client {
        versions: vec![&rustls::version::TLS13],
        key: key.map(|key| key.to_pkcs8().to_vec()),
        protocol: b"quoin-courier/1",
    }
}

#[tokio::test]
async fn a_courier_brings_a_frame_and_hears_an_answer() {
    let mut server = server(limits()).await;
    let mut courier = server.courier().await.unwrap();
    let peer = server.arrived().await;
    courier.send(b"stop").await.unwrap();
    server
        .side
        .expect(&peer, Event::Frame(b"stop".to_vec()))
        .await;
    let sent = server
        .side
        .endpoint
        .send(&peer, Priority::Urgent, b"stopped".to_vec());
    assert_eq!(sent, Sent::Queued);
    assert_eq!(courier.receive().await.unwrap(), b"stopped");
    drop(courier);
    server.side.expect(&peer, Event::Disconnected).await;
    let sent = server
        .side
        .endpoint
        .send(&peer, Priority::Urgent, Vec::new());
    assert_eq!(sent, Sent::NotConnected);
    // It is no peer: nobody finds it among those.
    assert!(server.side.endpoint.connected().is_empty());
}

#[tokio::test]
async fn a_courier_is_refused_by_an_endpoint_that_takes_none() {
    let mut server = server(Limits {
        couriers_max: 0,
        ..limits()
    })
    .await;
    assert!(server.courier().await.is_err());
    server.side.expect_nothing(Duration::from_millis(50)).await;
}

#[tokio::test]
async fn a_courier_demands_the_pinned_key_of_the_node() {
    let mut server = server(limits()).await;
    let other = server.one.spki_hash();
    let connected = courier_connect(&server.at.to_string(), other).await;
    assert!(connected.is_err());
    server.side.expect_nothing(Duration::from_millis(50)).await;
}

#[tokio::test]
async fn without_a_certificate_nobody_is_taken_for_a_peer() {
    let mut server = server(limits()).await;
    let client = bare::Client {
        protocol: b"quoin-link/1",
        ..bare_courier(None)
    };
    server.refuses(&client).await;
}

#[tokio::test]
async fn a_courier_with_an_unpinned_certificate_is_refused() {
    let mut server = server(limits()).await;
    let stranger = TlsIdentity::generate().unwrap();
    server.refuses(&bare_courier(Some(&stranger))).await;
}

#[tokio::test]
async fn an_unpinned_certificate_is_refused_where_couriers_are_let_in() {
    let mut server = server(limits()).await;
    let stranger = TlsIdentity::generate().unwrap();
    server
        .refuses(&bare::Client::with_key(&stranger.to_pkcs8()))
        .await;
}

#[tokio::test]
async fn a_peer_cannot_come_as_a_courier() {
    let mut server = server(limits()).await;
    let client = bare_courier(Some(&server.one));
    server.refuses(&client).await;
}

#[tokio::test]
async fn whoever_was_silent_longest_gives_way() {
    let mut server = server(limits()).await;
    let mut first = server.courier().await.unwrap();
    let one = server.arrived().await;
    let mut second = server.courier().await.unwrap();
    let two = server.arrived().await;
    let _third = server.courier().await.unwrap();
    server.arrived().await;
    // The first says something, so the second is the one.
    first.send(b"here").await.unwrap();
    server
        .side
        .expect(&one, Event::Frame(b"here".to_vec()))
        .await;
    let _fourth = server.courier().await.unwrap();
    let mut events = [server.side.next().await, server.side.next().await];
    events.sort_by_key(|e| e.event != Event::Disconnected);
    assert_eq!(events[0].event, Event::Disconnected);
    assert_eq!(events[0].from, two);
    assert!(second.receive().await.is_err());
    first.send(b"still here").await.unwrap();
    server
        .side
        .expect(&one, Event::Frame(b"still here".to_vec()))
        .await;
}

#[tokio::test]
async fn frames_of_a_courier_are_small_and_never_bulk() {
    let mut server = server(limits()).await;
    let mut courier = server.courier().await.unwrap();
    let peer = server.arrived().await;
    courier.send(&[7; 1_000]).await.unwrap();
    server
        .side
        .expect(&peer, Event::Frame(vec![7; 1_000]))
        .await;
    courier.send(&[7; 1_001]).await.unwrap();
    server.side.expect(&peer, Event::Disconnected).await;
    // Kind 2 is bulk.
    let mut stream = bare_courier(None).connect(server.at).await.unwrap();
    let peer = server.arrived().await;
    stream.write_all(&[0, 0, 0, 2, 2, 7]).await.unwrap();
    server.side.expect(&peer, Event::Disconnected).await;
}

#[tokio::test]
async fn a_courier_whose_frame_waits_is_not_pushed_out() {
    let mut server = server(Limits {
        couriers_max: 1,
        ..limits()
    })
    .await;
    let mut first = server.courier().await.unwrap();
    let peer = server.arrived().await;
    first.send(b"stop").await.unwrap();
    // What it brought has been handed over, and nobody has dealt with it yet.
    let brought = server.side.next().await;
    assert_eq!(brought.event, Event::Frame(b"stop".to_vec()));
    let shed = server.side.endpoint.counters().handshakes_shed;
    let pushing = server.courier().await;
    let counters = || server.side.endpoint.counters().handshakes_shed;
    eventually("the newcomer is shed", || counters() == shed + 1).await;
    drop(pushing);
    server.side.expect_nothing(Duration::from_millis(50)).await;
    drop(brought);
    let _second = server.courier().await.unwrap();
    let gone = server.side.next().await;
    let came = server.side.next().await;
    let events = [gone, came].map(|i| (i.from == peer, i.event));
    assert!(events.contains(&(true, Event::Disconnected)), "{events:?}");
    assert!(events.contains(&(false, Event::Connected)), "{events:?}");
}

#[tokio::test]
async fn a_courier_that_is_closed_is_gone() {
    let mut server = server(limits()).await;
    let mut courier = server.courier().await.unwrap();
    let peer = server.arrived().await;
    let PeerId::Courier(number) = peer else {
        panic!("no courier");
    };
    server.side.endpoint.close_courier(number);
    server.side.expect(&peer, Event::Disconnected).await;
    assert!(courier.receive().await.is_err());
}

#[tokio::test]
async fn a_courier_that_never_ends_its_handshake_or_its_frame_is_dropped() {
    let mut server = server(Limits {
        courier_idle: Duration::from_millis(200),
        ..limits()
    })
    .await;
    let mut slow = tokio::net::TcpStream::connect(server.at).await.unwrap();
    slow.write_all(&[0x16, 0x03]).await.unwrap();
    let mut byte = [0u8; 1];
    let begun = Instant::now();
    assert!(!matches!(slow.read(&mut byte).await, Ok(1)));
    assert!(begun.elapsed() < Duration::from_secs(5));
    let mut stream = bare_courier(None).connect(server.at).await.unwrap();
    let peer = server.arrived().await;
    // Keep-alives do not make up for a frame.
    for _ in 0..20 {
        let _ = stream.write_all(&[0, 0, 0, 1, 3]).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.side.expect(&peer, Event::Disconnected).await;
}

#[tokio::test]
async fn a_courier_is_read_slowly() {
    let mut server = server(Limits {
        courier_frame_every: Duration::from_millis(50),
        ..limits()
    })
    .await;
    let mut courier = server.courier().await.unwrap();
    let peer = server.arrived().await;
    let begun = Instant::now();
    for _ in 0..5 {
        courier.send(b"again").await.unwrap();
    }
    for _ in 0..5 {
        server
            .side
            .expect(&peer, Event::Frame(b"again".to_vec()))
            .await;
    }
    assert!(begun.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn a_flood_of_couriers_does_not_stop_a_link() {
    let mut server = server(limits()).await;
    let (at, key) = (server.at.to_string(), server.two.spki_hash());
    let flood: Vec<_> = (0..24)
        .map(|_| {
            let at = at.clone();
            tokio::spawn(async move {
                loop {
                    let Ok(mut courier) = courier_connect(&at, key).await else {
                        continue;
                    };
                    while courier.send(&[1; 900]).await.is_ok() {}
                }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let client = config(node(1), &server.one, &server.pins, limits());
    let mut one = dial(client, node(2), server.at);
    one.expect(&node(2), Event::Connected).await;
    let begun = Instant::now();
    for number in 0..20u8 {
        let sent = one.endpoint.send(&node(2), Priority::Urgent, vec![number]);
        assert_eq!(sent, Sent::Queued);
        loop {
            let next = server.side.next().await;
            if next.from == node(1) && next.event == Event::Frame(vec![number]) {
                break;
            }
        }
    }
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(one.endpoint.connected(), [node(2)]);
    flood.into_iter().for_each(|task| task.abort());
}
