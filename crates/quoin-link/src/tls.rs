//! The two TLS configurations: version 1.3 only, pinned keys both ways, no resumption, no 0-RTT.

use crate::error::LinkError;
use crate::identity::TlsIdentity;
use crate::pins::{LivePins, PinVerifier};
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::server::NoServerSessionStorage;
use rustls::{ClientConfig, ServerConfig};
use std::sync::Arc;

/// The name of the frame protocol, agreed inside the handshake: another version is another name.
pub(crate) const PROTOCOL: &[u8] = b"quoin-link/1";

/// The name of the same frames when a courier sends them: neither side may take one for the other.
pub(crate) const COURIER_PROTOCOL: &[u8] = b"quoin-courier/1";

/// The configurations of both directions.
#[derive(Clone)]
pub(crate) struct Configs {
    pub(crate) client: Arc<ClientConfig>,
    pub(crate) server: Arc<ServerConfig>,
}

impl Configs {
    /// `couriers` says whether the server also takes clients without a certificate.
    pub(crate) fn new(
        identity: &TlsIdentity,
        pins: LivePins,
        couriers: bool,
    ) -> Result<Self, LinkError> {
        let provider = Arc::new(ring::default_provider());
        let verifier = Arc::new(PinVerifier::new(
            pins,
            provider.signature_verification_algorithms,
            couriers,
        ));
        let mut client = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone())
            .with_client_auth_cert(vec![identity.certificate()], identity.private_key())?;
        // A resumed session would skip the proof of possession of the pinned key, and early data
        // can be replayed.
        client.resumption = Resumption::disabled();
        client.enable_early_data = false;
        client.alpn_protocols = vec![PROTOCOL.to_vec()];
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![identity.certificate()], identity.private_key())?;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        server.max_early_data_size = 0;
        server.alpn_protocols = vec![PROTOCOL.to_vec()];
        if couriers {
            server.alpn_protocols.push(COURIER_PROTOCOL.to_vec());
        }
        Ok(Self {
            client: Arc::new(client),
            server: Arc::new(server),
        })
    }
}

/// The configuration of a courier: it demands the pinned key, and shows none of its own.
pub(crate) fn courier_config(pins: LivePins) -> Result<Arc<ClientConfig>, LinkError> {
    let provider = Arc::new(ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let verifier = Arc::new(PinVerifier::new(pins, algorithms, false));
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    client.resumption = Resumption::disabled();
    client.enable_early_data = false;
    client.alpn_protocols = vec![COURIER_PROTOCOL.to_vec()];
    Ok(Arc::new(client))
}
