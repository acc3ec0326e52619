//! Endpoints on loopback, and a bare TLS client that can break every rule.

use quoin_core::NodeIndex;
use quoin_link::{Config, Endpoint, Event, Inbound, Limits, PeerId, Pins, TlsIdentity};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

pub struct Side {
    pub endpoint: Endpoint,
    pub received: mpsc::Receiver<Inbound>,
}

impl Side {
    pub async fn next(&mut self) -> Inbound {
        let next = tokio::time::timeout(Duration::from_secs(20), self.received.recv());
        next.await
            .expect("an event in time")
            .expect("an open endpoint")
    }

    pub async fn expect(&mut self, from: &PeerId, event: Event) {
        let next = self.next().await;
        assert_eq!((&next.from, &next.event), (from, &event));
    }

    pub async fn expect_nothing(&mut self, during: Duration) {
        let next = tokio::time::timeout(during, self.received.recv()).await;
        assert!(next.is_err(), "unexpected {next:?}");
    }
}

pub fn node(i: u8) -> PeerId {
    PeerId::Node(NodeIndex::new(i).unwrap())
}

pub fn gateway() -> PeerId {
    PeerId::Gateway("edge".to_owned())
}

pub fn copy(identity: &TlsIdentity) -> TlsIdentity {
    TlsIdentity::from_pkcs8(&identity.to_pkcs8()).unwrap()
}

pub fn quick() -> Limits {
    Limits {
        handshake: Duration::from_millis(400),
        backoff_min: Duration::from_millis(20),
        backoff_max: Duration::from_millis(100),
        ..Limits::default()
    }
}

pub fn config(me: PeerId, identity: &TlsIdentity, pins: &Pins, limits: Limits) -> Config {
    Config {
        me,
        identity: copy(identity),
        pins: pins.clone(),
        addresses: BTreeMap::new(),
        limits,
        jitter_seed: [7; 32],
    }
}

pub async fn listen(config: Config) -> (Side, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let (endpoint, received) = Endpoint::start(config, Some(listener)).unwrap();
    (Side { endpoint, received }, at)
}

pub fn dial(mut config: Config, peer: PeerId, at: SocketAddr) -> Side {
    config.addresses.insert(peer, at.to_string());
    let (endpoint, received) = Endpoint::start(config, None).unwrap();
    Side { endpoint, received }
}

/// Node 2 listening and node 1 dialling it, connected.
pub async fn pair(limits: Limits) -> (Side, Side) {
    let (one, two) = (
        TlsIdentity::generate().unwrap(),
        TlsIdentity::generate().unwrap(),
    );
    let pins = Pins::new([(one.spki_hash(), node(1)), (two.spki_hash(), node(2))]).unwrap();
    let (mut listening, at) = listen(config(node(2), &two, &pins, limits.clone())).await;
    let mut dialling = dial(config(node(1), &one, &pins, limits), node(2), at);
    dialling.expect(&node(2), Event::Connected).await;
    listening.expect(&node(1), Event::Connected).await;
    (dialling, listening)
}

/// Waits until `done` holds.
pub async fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never: {what}");
}

/// A client without any of our checks.
pub mod bare {
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::pki_types::{
        CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime,
    };
    use rustls::{
        ClientConfig, DigitallySignedStruct, Error, SignatureScheme, SupportedProtocolVersion,
    };
    use std::net::SocketAddr;
    use std::sync::Arc;
    use tokio::net::TcpStream;
    use tokio_rustls::TlsConnector;
    use tokio_rustls::client::TlsStream;

    pub struct Client {
        pub versions: Vec<&'static SupportedProtocolVersion>,
        pub key: Option<Vec<u8>>,
        pub protocol: &'static [u8],
    }

    impl Client {
        pub fn with_key(key: &[u8]) -> Self {
            Self {
                versions: vec![&rustls::version::TLS13],
                key: Some(key.to_vec()),
                protocol: b"quoin-link/1",
            }
        }

        pub fn config(&self) -> ClientConfig {
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let builder = ClientConfig::builder_with_provider(provider)
                .with_protocol_versions(&self.versions)
                .unwrap()
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Anyone));
            let mut config = match &self.key {
                Some(key) => builder
                    .with_client_auth_cert(vec![certificate(key)], private_key(key))
                    .unwrap(),
                None => builder.with_no_client_auth(),
            };
            if !self.protocol.is_empty() {
                config.alpn_protocols = vec![self.protocol.to_vec()];
            }
            config
        }

        pub async fn connect(&self, at: SocketAddr) -> std::io::Result<TlsStream<TcpStream>> {
            connect(self.config(), at).await
        }
    }

    /// The stream, when the handshake succeeds as far as the client can see.
    pub async fn connect(
        config: ClientConfig,
        at: SocketAddr,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(at).await?;
        let name = ServerName::try_from("x").unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(name, tcp)
            .await
    }

    fn private_key(key: &[u8]) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.to_vec()))
    }

    pub fn certificate(key: &[u8]) -> CertificateDer<'static> {
        let pair = rcgen::KeyPair::try_from(key).unwrap();
        let params = rcgen::CertificateParams::new(vec!["x".to_owned()]).unwrap();
        params.self_signed(&pair).unwrap().der().clone()
    }

    #[derive(Debug)]
    struct Anyone;

    impl ServerCertVerifier for Anyone {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![SignatureScheme::ED25519]
        }
    }
}
