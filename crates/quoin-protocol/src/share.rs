//! Key shares and the public record of a key.
//!
//! A share is a plain Shamir share of a key at the node's index, whatever the scheme: big-endian
//! for secp256k1, little-endian for Ed25519, as the curves' own encodings are.

use minicbor::{Decode, Encode};
use quoin_core::cbor::{self, Version};
use quoin_core::hash::tagged;
use quoin_core::tags::{self, Tag};
use quoin_core::{
    CeremonyId, CharterNumber, ClusterId, KeyId, KeyName, KeyOrigin, NodeIndex, Purpose, Scheme,
    SecretBytes, ShareEpoch, Statement,
};

/// The public record of a key, signed by all n nodes at the end of its ceremony.
///
/// A public key or an address is accepted only with this record and its n signatures, so that a
/// gateway cannot show a key of its own as the cluster's.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct KeyPublic {
    /// The form's version.
    #[n(0)]
    pub version: Version<1>,
    /// The cluster.
    #[n(1)]
    pub cluster: ClusterId,
    /// The charter under which the ceremony ran.
    #[n(2)]
    pub charter: CharterNumber,
    /// The ceremony.
    #[n(3)]
    pub ceremony: CeremonyId,
    /// The key.
    #[n(4)]
    pub key: KeyId,
    /// Its name.
    #[n(5)]
    pub name: KeyName,
    /// Its scheme.
    #[n(6)]
    pub scheme: Scheme,
    /// Its purpose.
    #[n(7)]
    pub purpose: Purpose,
    /// How many shares sign.
    #[n(8)]
    pub threshold: u8,
    /// The epoch of these shares.
    #[n(9)]
    pub epoch: ShareEpoch,
    /// The public key: 33 bytes SEC1 compressed for secp256k1, 32 bytes for Ed25519.
    #[cbor(n(10), with = "minicbor::bytes")]
    pub public_key: Vec<u8>,
    /// Each node's public share, as (index, point) in ascending order of index.
    #[n(11)]
    pub public_shares: Vec<PublicShare>,
    /// Hash of every broadcast of the ceremony.
    #[cbor(n(12), with = "minicbor::bytes")]
    pub transcript: [u8; 32],
    /// The BIP-32 chain code from which child keys are derived. It is fixed at the key's birth and
    /// stays through every epoch; it is public.
    #[cbor(n(13), with = "minicbor::bytes")]
    pub chain_code: [u8; 32],
    /// Where the key comes from, for ever.
    #[n(14)]
    pub origin: KeyOrigin,
    /// Hash of the record of the epoch before ([`KeyPublic::shares_hash`]); `None` at birth.
    #[cbor(n(15), with = "minicbor::bytes")]
    pub previous: Option<[u8; 32]>,
}

/// One node's public share.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PublicShare {
    /// The node.
    #[n(0)]
    pub node: NodeIndex,
    /// The share times the generator, in the curve's compressed form.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub point: Vec<u8>,
}

impl Statement for KeyPublic {
    const TAG: Tag = tags::KEY_CERTIFICATE;
    const BYTES_MAX: usize = 4096;
}

impl KeyPublic {
    /// The public share of `node`.
    #[must_use]
    pub fn public_share(&self, node: NodeIndex) -> Option<&[u8]> {
        self.public_shares
            .iter()
            .find(|s| s.node == node)
            .map(|s| s.point.as_slice())
    }

    /// Hash of this record, which batches are bound to.
    #[must_use]
    pub fn shares_hash(&self) -> [u8; 32] {
        tagged(tags::KEY_CERTIFICATE, &[&cbor::encode(self)])
    }

    /// Whether this record takes the place of another certified one of the same key: the higher
    /// epoch, then the higher charter, then the smaller hash. Two certified records of one epoch
    /// are a corrupt node's work, and everybody must choose the same one.
    #[must_use]
    pub fn outranks(&self, other: &Self) -> bool {
        let rank = |k: &Self| (k.epoch, k.charter, std::cmp::Reverse(k.shares_hash()));
        rank(self) > rank(other)
    }
}

/// One node's part of a key.
#[derive(Debug)]
pub struct KeyShare {
    /// The public record.
    pub public: KeyPublic,
    /// Whose share it is.
    pub node: NodeIndex,
    /// The share.
    pub secret: SecretBytes<32>,
}

impl KeyShare {
    /// Whether the share is the one that the public record names for its node.
    #[must_use]
    pub fn matches_public(&self) -> bool {
        crate::dkg::public_point(self.public.scheme, &self.secret).as_deref()
            == self.public.public_share(self.node)
    }
}
