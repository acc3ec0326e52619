//! Who is let in: pinned keys over TLS 1.3, from the side that dials, in time.

use crate::support::{
    Side, bare, config, copy, dial, eventually, gateway, listen, node, pair, quick,
};
use quoin_link::{Event, PeerId, Pins, Priority, Sent, TlsIdentity};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

struct Server {
    side: Side,
    at: SocketAddr,
    /// The pinned key of node 1.
    one: TlsIdentity,
}

async fn server() -> Server {
    let (one, two) = (
        TlsIdentity::generate().unwrap(),
        TlsIdentity::generate().unwrap(),
    );
    let pins = Pins::new([(one.spki_hash(), node(1)), (two.spki_hash(), node(2))]).unwrap();
    let (side, at) = listen(config(node(2), &two, &pins, quick())).await;
    Server { side, at, one }
}

impl Server {
    /// The client sees an error or the end of the stream, never a first frame.
    async fn refuses(&mut self, client: &bare::Client) {
        if let Ok(mut stream) = client.connect(self.at).await {
            let mut byte = [0u8; 1];
            assert!(
                !matches!(stream.read(&mut byte).await, Ok(1)),
                "the server said hello"
            );
        }
        self.has_refused().await;
    }

    async fn has_refused(&mut self) {
        let counters = || self.side.endpoint.counters().handshakes_refused;
        eventually("refusal is counted", || counters() == 1).await;
        self.side.expect_nothing(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn two_pinned_peers_connect_and_exchange_frames() {
    let (mut one, mut two) = pair(quick()).await;
    assert_eq!(one.endpoint.connected(), [node(2)]);
    assert_eq!(
        one.endpoint
            .send(&node(2), Priority::Normal, b"ask".to_vec()),
        Sent::Queued
    );
    two.expect(&node(1), Event::Frame(b"ask".to_vec())).await;
    assert_eq!(
        two.endpoint.send(&node(1), Priority::Urgent, b"".to_vec()),
        Sent::Queued
    );
    one.expect(&node(2), Event::Frame(Vec::new())).await;
}

#[tokio::test]
async fn the_bare_client_of_these_tests_is_let_in_with_a_pinned_key() {
    let mut server = server().await;
    let client = bare::Client::with_key(&server.one.to_pkcs8());
    let mut stream = client.connect(server.at).await.unwrap();
    let mut hello = [0u8; 5];
    stream.read_exact(&mut hello).await.unwrap();
    assert_eq!(hello, [0, 0, 0, 1, 3]);
    server.side.expect(&node(1), Event::Connected).await;
}

#[tokio::test]
async fn an_unpinned_certificate_is_refused() {
    let other = TlsIdentity::generate().unwrap();
    server()
        .await
        .refuses(&bare::Client::with_key(&other.to_pkcs8()))
        .await;
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused() {
    let mut client = bare::Client::with_key(&[]);
    client.key = None;
    server().await.refuses(&client).await;
}

#[tokio::test]
async fn a_tls_1_2_client_is_refused_even_with_a_pinned_key() {
    let mut server = server().await;
    let mut client = bare::Client::with_key(&server.one.to_pkcs8());
    client.versions = vec![&rustls::version::TLS12];
    assert!(client.connect(server.at).await.is_err());
    server.has_refused().await;
}

#[tokio::test]
async fn another_frame_protocol_is_refused() {
    for protocol in [b"quoin-link/0".as_slice(), b"".as_slice()] {
        let mut server = server().await;
        let mut client = bare::Client::with_key(&server.one.to_pkcs8());
        client.protocol = protocol;
        server.refuses(&client).await;
    }
}

#[tokio::test]
async fn a_pinned_certificate_without_its_key_is_refused() {
    // The attacker shows node 1's certificate, which is public, but signs with a key of its own.
    use rustls::client::ResolvesClientCert;
    use rustls::sign::{CertifiedKey, SigningKey};
    use std::sync::Arc;

    #[derive(Debug)]
    struct Thief(Arc<CertifiedKey>);
    impl ResolvesClientCert for Thief {
        fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
            Some(self.0.clone())
        }
        fn has_certs(&self) -> bool {
            true
        }
    }

    let mut server = server().await;
    let own = TlsIdentity::generate().unwrap();
    let der = rustls::pki_types::PrivatePkcs8KeyDer::from(own.to_pkcs8().to_vec());
    let key: Arc<dyn SigningKey> = rustls::crypto::ring::sign::any_eddsa_type(&der).unwrap();
    let stolen = bare::certificate(&server.one.to_pkcs8());
    let client = bare::Client::with_key(&own.to_pkcs8());
    let mut config = client.config();
    config.client_auth_cert_resolver =
        Arc::new(Thief(Arc::new(CertifiedKey::new(vec![stolen], key))));
    if let Ok(mut stream) = bare::connect(config, server.at).await {
        let mut byte = [0u8; 1];
        assert!(
            !matches!(stream.read(&mut byte).await, Ok(1)),
            "the server said hello"
        );
    }
    server.has_refused().await;
}

#[tokio::test]
async fn a_dialled_address_where_another_pinned_peer_answers_is_refused() {
    let ids: Vec<_> = (0..3).map(|_| TlsIdentity::generate().unwrap()).collect();
    let pins = Pins::new((1u8..).zip(&ids).map(|(i, id)| (id.spki_hash(), node(i)))).unwrap();
    let (_three, at) = listen(config(node(3), &ids[2], &pins, quick())).await;
    let mut one = dial(config(node(1), &ids[0], &pins, quick()), node(2), at);
    let failed = || one.endpoint.counters().dials_failed >= 2;
    eventually("dials fail", failed).await;
    one.expect_nothing(Duration::from_millis(20)).await;
}

#[tokio::test]
async fn a_peer_that_should_wait_to_be_dialled_is_refused() {
    let (one, two) = (
        TlsIdentity::generate().unwrap(),
        TlsIdentity::generate().unwrap(),
    );
    let pins = Pins::new([(one.spki_hash(), node(1)), (two.spki_hash(), node(2))]).unwrap();
    let (side, at) = listen(config(node(1), &one, &pins, quick())).await;
    let mut server = Server { side, at, one };
    server
        .refuses(&bare::Client::with_key(&two.to_pkcs8()))
        .await;
}

#[tokio::test]
async fn a_gateway_links_to_a_node() {
    let (edge, two) = (
        TlsIdentity::generate().unwrap(),
        TlsIdentity::generate().unwrap(),
    );
    let pins = Pins::new([(edge.spki_hash(), gateway()), (two.spki_hash(), node(2))]).unwrap();
    let (mut served, at) = listen(config(node(2), &two, &pins, quick())).await;
    let mut dialling = dial(config(gateway(), &edge, &pins, quick()), node(2), at);
    dialling.expect(&node(2), Event::Connected).await;
    served.expect(&gateway(), Event::Connected).await;
}

#[tokio::test]
async fn a_slow_handshake_times_out() {
    let mut server = server().await;
    let mut stream = TcpStream::connect(server.at).await.unwrap();
    let started = Instant::now();
    // One byte of a TLS record header now and then, like slow loris.
    let mut closed = false;
    for byte in [22u8, 3, 1, 2, 0, 1, 0, 0, 0, 0, 0, 0] {
        if stream.write_all(&[byte]).await.is_err() {
            closed = true;
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await;
    assert!(closed || ended.is_ok(), "the server keeps the connection");
    assert!(started.elapsed() < Duration::from_secs(5));
    server.has_refused().await;
}

#[tokio::test]
async fn handshakes_beyond_the_limit_are_shed_and_honest_peers_get_in_afterwards() {
    let (one, two) = (
        TlsIdentity::generate().unwrap(),
        TlsIdentity::generate().unwrap(),
    );
    let pins = Pins::new([(one.spki_hash(), node(1)), (two.spki_hash(), node(2))]).unwrap();
    let mut limits = quick();
    limits.handshakes_max = 2;
    let (mut served, at) = listen(config(node(2), &two, &pins, limits.clone())).await;
    let mut idle = Vec::new();
    for _ in 0..4 {
        idle.push(TcpStream::connect(at).await.unwrap());
    }
    let shed = || served.endpoint.counters().handshakes_shed == 2;
    eventually("two are shed", shed).await;
    let mut dialling = dial(config(node(1), &one, &pins, limits), node(2), at);
    dialling.expect(&node(2), Event::Connected).await;
    served.expect(&node(1), Event::Connected).await;
}

#[tokio::test]
async fn a_peer_whose_pin_is_removed_is_cut_off_and_stays_out() {
    let (one, two) = (
        TlsIdentity::generate().unwrap(),
        TlsIdentity::generate().unwrap(),
    );
    let pins = Pins::new([(one.spki_hash(), node(1)), (two.spki_hash(), node(2))]).unwrap();
    let (mut served, at) = listen(config(node(2), &two, &pins, quick())).await;
    let mut dialling = dial(config(node(1), &one, &pins, quick()), node(2), at);
    dialling.expect(&node(2), Event::Connected).await;
    served.expect(&node(1), Event::Connected).await;
    let without = Pins::new([(two.spki_hash(), node(2))]).unwrap();
    served.endpoint.set_peers(without, &BTreeMap::new());
    served.expect(&node(1), Event::Disconnected).await;
    dialling.expect(&node(2), Event::Disconnected).await;
    let refused = || served.endpoint.counters().handshakes_refused >= 1;
    eventually("it tries again and is refused", refused).await;
    served.endpoint.set_peers(pins, &BTreeMap::new());
    served.expect(&node(1), Event::Connected).await;
}

#[tokio::test]
async fn a_newer_connection_of_a_peer_takes_over_in_order() {
    let mut server = server().await;
    let client = bare::Client::with_key(&copy(&server.one).to_pkcs8());
    let _old = client.connect(server.at).await.unwrap();
    server.side.expect(&node(1), Event::Connected).await;
    let _new = client.connect(server.at).await.unwrap();
    server.side.expect(&node(1), Event::Disconnected).await;
    server.side.expect(&node(1), Event::Connected).await;
    assert_eq!(server.side.endpoint.connected(), [PeerId::clone(&node(1))]);
}

#[tokio::test]
async fn a_server_whose_key_is_not_pinned_is_refused_by_the_dialler() {
    let ids: Vec<_> = (0..3).map(|_| TlsIdentity::generate().unwrap()).collect();
    let ours = Pins::new([(ids[0].spki_hash(), node(1)), (ids[1].spki_hash(), node(2))]).unwrap();
    let theirs = Pins::new([(ids[0].spki_hash(), node(1))]).unwrap();
    let (mut served, at) = listen(config(node(2), &ids[2], &theirs, quick())).await;
    let mut one = dial(config(node(1), &ids[0], &ours, quick()), node(2), at);
    let failed = || one.endpoint.counters().dials_failed >= 2;
    eventually("dials fail", failed).await;
    one.expect_nothing(Duration::from_millis(20)).await;
    served.expect_nothing(Duration::from_millis(20)).await;
}
