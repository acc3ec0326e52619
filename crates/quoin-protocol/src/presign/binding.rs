//! The first online round of treasury keys: all signers bind a presignature to one message.
//!
//! A [`Binding`] says what a presignature is bound to for ever; an [`Opening`] is one signer's word
//! that it has bound it durably. For ECDSA it carries the entropy to which the signer committed
//! when the batch was made; Schnorr nonces need none. The types are public and hold no secret.
//! Source: construction, sections 10.5 and 21.3.

use super::SignFault;
use crate::batch::BatchHeader;
use crate::ecdsa::guard::Guard;
use minicbor::{Decode, Encode};
use quoin_chain::Digest;
use quoin_core::cbor::{self, Version};
use quoin_core::hash::{TaggedHasher, tagged};
use quoin_core::tags::{self, Tag};
use quoin_core::{
    Boot, ClusterId, KeyId, NodeIndex, PresignatureId, Scheme, ShareEpoch, SignerSet, Statement,
};
use std::collections::BTreeMap;

/// What a presignature of a treasury key is bound to: equal for all of its signers, for ever.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Binding {
    /// The cluster.
    #[n(0)]
    pub cluster: ClusterId,
    /// The key.
    #[n(1)]
    pub key: KeyId,
    /// The epoch of the shares.
    #[n(2)]
    pub epoch: ShareEpoch,
    /// The presignature.
    #[n(3)]
    pub presignature: PresignatureId,
    /// Who signs.
    #[n(4)]
    pub set: SignerSet,
    /// The signers' boots, in the order of the set, as the presignature's batch names them.
    #[n(5)]
    pub boots: Vec<Boot>,
    /// The digest; for a scheme that signs messages, the hash of the message.
    #[cbor(n(6), with = "minicbor::bytes")]
    pub digest: [u8; 32],
    /// The scalar that is added to the key, in the encoding of the curve's scalars.
    #[cbor(n(7), with = "minicbor::bytes")]
    pub tweak: [u8; 32],
}

/// One signer's word that a presignature is bound, signed by its node as a statement.
///
/// # Security
/// Whoever signs one has made the record of the binding durable before (construction, section
/// 10.5): a second opening of one presignature for another message must be impossible, across
/// crashes too.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Opening {
    /// The form's version.
    #[n(0)]
    pub version: Version<1>,
    /// The signer.
    #[n(1)]
    pub node: NodeIndex,
    /// What the presignature is bound to.
    #[n(2)]
    pub binding: Binding,
    /// The signer's entropy for this presignature; `None` for Schnorr schemes.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub entropy: Option<[u8; 32]>,
}

impl Statement for Opening {
    const TAG: Tag = tags::TREASURY_OPENING;
    const BYTES_MAX: usize = 2048;
}

impl Binding {
    /// Binds a presignature of the batch with this header.
    pub(crate) fn new(
        header: &BatchHeader,
        presignature: PresignatureId,
        digest: &Digest,
        tweak: &[u8; 32],
    ) -> Option<Self> {
        Some(Self {
            cluster: header.cluster,
            key: header.key,
            epoch: header.epoch,
            presignature,
            set: header.set.clone(),
            boots: header.boots.clone(),
            digest: bound_digest(digest)?,
            tweak: *tweak,
        })
    }
}

/// The 32 bytes that a binding names for what is signed.
pub(crate) fn bound_digest(digest: &Digest) -> Option<[u8; 32]> {
    match digest {
        Digest::Prehash(prehash) => Some(*prehash),
        Digest::Message(message) => Some(tagged(tags::TREASURY_MESSAGE, &[message])),
        Digest::Ceremony => None,
    }
}

/// The openings of all signers, found to be of one binding.
pub(crate) struct Opened {
    /// Hash of all openings in the order of the set: part of every answer's view.
    pub(crate) hash: [u8; 32],
    /// Everyone's entropy.
    pub(crate) entropy: BTreeMap<NodeIndex, [u8; 32]>,
}

/// Checks that `openings` are exactly one of each signer, and all of `binding`, with entropy if the
/// key's scheme has it and without if not: a field that nobody checks would be a signer's to choose
/// after it saw the others'. Whether each is signed by its node the caller has checked; whether
/// entropy is what was committed to, the scheme checks.
///
/// # Errors
/// Names the signer whose opening is missing or is another one.
pub(crate) fn check_openings(
    scheme: Scheme,
    binding: &Binding,
    openings: &BTreeMap<NodeIndex, Opening>,
) -> Result<Opened, SignFault> {
    if let Some(stranger) = openings.keys().find(|node| !binding.set.contains(**node)) {
        return Err(SignFault::WrongOpening(*stranger));
    }
    let mut hasher = TaggedHasher::new(tags::TREASURY_OPENINGS);
    let mut entropy = BTreeMap::new();
    for node in binding.set.iter() {
        let opening = openings.get(&node);
        let opening = opening.ok_or(SignFault::OpeningMissing(node))?;
        let equal = opening.node == node && opening.binding == *binding;
        if !Guard::OpeningsEqual.holds(equal) {
            return Err(SignFault::WrongOpening(node));
        }
        if opening.entropy.is_some() != (scheme == Scheme::Ecdsa) {
            return Err(SignFault::WrongOpening(node));
        }
        hasher.part(&cbor::encode(opening));
        entropy.extend(opening.entropy.map(|e| (node, e)));
    }
    Ok(Opened {
        hash: hasher.finish(),
        entropy,
    })
}
