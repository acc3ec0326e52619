//! Who a peer is: the public key pinned for it, and nothing else.
//!
//! There is no certificate authority, no host name and no expiry: the charter says which key is
//! whose, and a change of charter changes the map. The certificate is only the envelope that TLS
//! wants around a public key.

use crate::error::LinkError;
use crate::identity::SpkiHash;
use quoin_core::NodeIndex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

/// Who is at the other end of a link.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerId {
    /// A node of the cluster.
    Node(NodeIndex),
    /// A gateway, by its name in the charter.
    Gateway(String),
    /// Nobody in particular: a client without a certificate. The number tells connections of one
    /// endpoint apart and means nothing else.
    Courier(u64),
}

impl PeerId {
    /// Whether this side opens the connection to `other`.
    ///
    /// Exactly one side dials, so two peers never end up with two connections: the lower node
    /// index dials the higher, and a gateway dials nodes. Gateways have no links to each other.
    #[must_use]
    pub fn dials(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Node(a), Self::Node(b)) => a < b,
            (Self::Gateway(_), Self::Node(_)) => true,
            (Self::Node(_) | Self::Gateway(_), Self::Gateway(_)) => false,
            (Self::Courier(_), _) | (_, Self::Courier(_)) => false,
        }
    }
}

impl std::fmt::Display for PeerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Node(index) => write!(f, "node {index}"),
            Self::Gateway(name) => write!(f, "gateway {name}"),
            Self::Courier(number) => write!(f, "courier {number}"),
        }
    }
}

/// The pinned keys: exactly one peer for each key and one key for each peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pins(BTreeMap<SpkiHash, PeerId>);

impl Pins {
    /// Builds the map.
    ///
    /// # Errors
    /// When a key or a peer appears twice: a pin that could mean two peers means none.
    pub fn new(entries: impl IntoIterator<Item = (SpkiHash, PeerId)>) -> Result<Self, LinkError> {
        let mut map = BTreeMap::new();
        let mut peers = BTreeSet::new();
        for (hash, peer) in entries {
            if !peers.insert(peer.clone()) {
                return Err(LinkError::AmbiguousPins(peer.to_string()));
            }
            if map.insert(hash, peer).is_some() {
                return Err(LinkError::AmbiguousPins(hash.to_string()));
            }
        }
        Ok(Self(map))
    }

    /// The peer that a key belongs to.
    #[must_use]
    pub fn peer(&self, hash: &SpkiHash) -> Option<&PeerId> {
        self.0.get(hash)
    }

    /// The key pinned for a peer.
    #[must_use]
    pub fn key(&self, peer: &PeerId) -> Option<&SpkiHash> {
        self.0
            .iter()
            .find(|(_, p)| *p == peer)
            .map(|(hash, _)| hash)
    }

    /// All peers, in no order that has a meaning.
    pub fn peers(&self) -> impl Iterator<Item = &PeerId> {
        self.0.values()
    }
}

/// The pins in force, shared by the verifiers and the endpoint.
#[derive(Clone, Debug)]
pub(crate) struct LivePins(Arc<RwLock<Pins>>);

impl LivePins {
    pub(crate) fn new(pins: Pins) -> Self {
        Self(Arc::new(RwLock::new(pins)))
    }

    /// Puts `pins` in force and gives back those that were.
    pub(crate) fn replace(&self, pins: Pins) -> Pins {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut current, pins)
    }

    pub(crate) fn peer(&self, hash: &SpkiHash) -> Option<PeerId> {
        let pins = self.0.read().unwrap_or_else(PoisonError::into_inner);
        pins.peer(hash).cloned()
    }

    pub(crate) fn key(&self, peer: &PeerId) -> Option<SpkiHash> {
        let pins = self.0.read().unwrap_or_else(PoisonError::into_inner);
        pins.key(peer).copied()
    }
}

/// Accepts exactly the pinned keys, in both directions.
///
/// # Security
/// The pin says whose key it is; the signature over the handshake, which the TLS library verifies
/// with that key, proves that the peer holds it. Both are needed.
#[derive(Debug)]
pub(crate) struct PinVerifier {
    pins: LivePins,
    algorithms: WebPkiSupportedAlgorithms,
    /// Whether a client may come without a certificate. One that shows a certificate is held to the
    /// pins all the same.
    couriers: bool,
}

impl PinVerifier {
    pub(crate) fn new(
        pins: LivePins,
        algorithms: WebPkiSupportedAlgorithms,
        couriers: bool,
    ) -> Self {
        Self {
            pins,
            algorithms,
            couriers,
        }
    }

    fn check(
        &self,
        end_entity: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
    ) -> Result<(), Error> {
        if !chain.is_empty() {
            return Err(CertificateError::UnknownIssuer.into());
        }
        let hash = SpkiHash::of_certificate(end_entity)?;
        match self.pins.peer(&hash) {
            Some(_) => Ok(()),
            None => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls13(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.algorithms)
    }
}

/// TLS 1.2 is not offered; should it ever be negotiated, no signature of it is accepted.
fn refuse_tls12() -> Error {
    Error::General("TLS 1.2 is never accepted".to_owned())
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity, intermediates)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(refuse_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify_tls13(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for PinVerifier {
    fn client_auth_mandatory(&self) -> bool {
        !self.couriers
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity, intermediates)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(refuse_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify_tls13(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(i: u8) -> PeerId {
        PeerId::Node(NodeIndex::new(i).unwrap())
    }

    #[test]
    fn exactly_one_side_of_every_pair_dials() {
        let gateway = PeerId::Gateway("edge".to_owned());
        for (a, b) in [
            (node(1), node(2)),
            (gateway.clone(), node(1)),
            (node(2), node(15)),
        ] {
            assert!(a.dials(&b) && !b.dials(&a), "{a} {b}");
        }
        assert!(!node(1).dials(&node(1)));
        assert!(!gateway.dials(&PeerId::Gateway("other".to_owned())));
    }

    #[test]
    fn pins_refuse_a_key_for_two_peers_and_two_keys_for_a_peer() {
        let (a, b) = (SpkiHash([1; 32]), SpkiHash([2; 32]));
        assert!(Pins::new([(a, node(1)), (b, node(2))]).is_ok());
        assert!(Pins::new([(a, node(1)), (a, node(2))]).is_err());
        assert!(Pins::new([(a, node(1)), (b, node(1))]).is_err());
    }
}
