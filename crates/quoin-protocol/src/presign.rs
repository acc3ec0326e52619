//! Presigning for every scheme behind one door: single-use material made ahead of the message.
//!
//! A [`Presignature`] is ECDSA material or a Schnorr nonce, depending on the key; a node's pools
//! hold it without knowing which. Here are the common words of online signing ([`Answer`] and its
//! faults) and the dispatch on a batch's scheme. The protocols themselves are in the schemes'
//! modules; the two-round session that all nonce batches share is in `session`.

use crate::abort::Abort;
#[cfg(not(any(test, feature = "model")))]
use crate::abort::Fault;
use crate::batch::BatchHeader;
use crate::ecdsa;
use crate::roster::Roster;
use crate::round::{Advance, Inbox, Outbox, Round};
use crate::schnorr;
use crate::share::KeyShare;
use quoin_core::{NodeIndex, PresignatureId, Scheme, SignerSet};
use rand_core::CryptoRngCore;
use std::sync::Arc;

pub(crate) mod binding;
pub(crate) mod checks;
pub(crate) mod session;
#[cfg(test)]
pub(crate) mod testkit;

pub use binding::{Binding, Opening};

/// The first round of a session, and what to send before waiting for it.
pub type Started<Out> = (Box<dyn Round<Out>>, Outbox);

/// What one signer answers in online signing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// A hash of everything that the answer was made for: presignature, message, all nonce
    /// commitments. Answers with different views never combine.
    pub view: [u8; 32],
    /// The answer itself; its form belongs to the scheme.
    pub body: Vec<u8>,
}

/// Why a signer gives no answer. The presignature is gone all the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignFault {
    /// The share is of another key, epoch or node than the presignature.
    #[error("the share is not the one that the presignature was made with")]
    WrongShare,
    /// The message of a Taproot signature is a digest of 32 bytes.
    #[error("message has `{0}` bytes, expected a digest of 32")]
    WrongMessageLength(usize),
    /// A digest of zeros stands for "no message" too often to be signed.
    #[error("message is the zero digest")]
    ZeroDigest,
    /// The signing library refused the input.
    #[error("signing library refused the input")]
    Refused,
    /// The tweak is no canonical scalar of the curve, or leads to no key.
    #[error("tweak is not canonical or leads to no key")]
    BadTweak,
    /// A presignature of a treasury key: it must be bound by all signers before anyone answers.
    #[error("presignature of a treasury key must be bound first")]
    NeedsBinding,
    /// A presignature that signs in one round cannot be bound in two.
    #[error("presignature is not of a treasury key")]
    NotTreasury,
    /// A signer of the set has not opened.
    #[error("opening of node `{0}` is missing")]
    OpeningMissing(NodeIndex),
    /// An opening of something else: another presignature, message, tweak, set, boot or signer.
    #[error("opening of node `{0}` is not of this binding")]
    WrongOpening(NodeIndex),
    /// The entropy is not what its signer committed to when the batch was made.
    #[error("entropy of node `{0}` is not what it committed to")]
    WrongEntropy(NodeIndex),
}

impl SignFault {
    /// The signer that is to blame, where one is.
    #[must_use]
    pub const fn culprit(&self) -> Option<NodeIndex> {
        match self {
            Self::WrongOpening(node) | Self::WrongEntropy(node) => Some(*node),
            _ => None,
        }
    }
}

/// Why answers do not combine to a signature.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}, culprits: {culprits:?}")]
pub struct CombineFault {
    /// What was found.
    pub reason: CombineReason,
    /// Those who are certainly to blame; empty where the answers alone cannot tell.
    pub culprits: Vec<NodeIndex>,
}

/// What is wrong with a set of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CombineReason {
    /// The key's record does not serve this scheme or this signer set.
    #[error("key record does not fit the scheme or the signer set")]
    WrongKey,
    /// The scheme does not sign messages of this form.
    #[error("scheme does not sign messages of this form")]
    WrongMessage,
    /// Not exactly one answer of each signer.
    #[error("answers are not exactly one of each signer")]
    WrongParticipants,
    /// An answer that does not decode.
    #[error("malformed answer")]
    MalformedAnswer,
    /// The openings are not exactly one of each signer, all of one binding and of this message.
    #[error("openings do not fit each other or the message")]
    WrongOpenings,
    /// Signers answered for different presignatures, messages or commitments.
    #[error("views of the answers differ")]
    ViewsDiffer,
    /// The common view is not that of this message with the commitments in the answers.
    #[error("answers do not belong to their view")]
    NotOfView,
    /// A partial signature that is not its signer's.
    #[error("wrong partial signature")]
    WrongPartial,
    /// The partial signatures are right, and yet the signature does not verify.
    #[error("signature does not verify")]
    NotVerified,
}

impl CombineReason {
    /// The fault with these culprits.
    pub(crate) const fn blames(self, culprits: Vec<NodeIndex>) -> CombineFault {
        CombineFault {
            reason: self,
            culprits,
        }
    }
}

/// One single-use presignature of any scheme.
pub enum Presignature {
    /// Shares of an ECDSA nonce and of its products with the key.
    Ecdsa(ecdsa::Presignature),
    /// A Schnorr nonce with the commitments of the whole signer set.
    Schnorr(schnorr::Presignature),
    /// The toy scheme of the simulator.
    #[cfg(any(test, feature = "model"))]
    Model(crate::model::Presignature),
}

impl Presignature {
    /// Its id, which all signers of the set share.
    #[must_use]
    pub const fn id(&self) -> PresignatureId {
        match self {
            Self::Ecdsa(inner) => inner.id(),
            Self::Schnorr(inner) => inner.id(),
            #[cfg(any(test, feature = "model"))]
            Self::Model(inner) => inner.id(),
        }
    }

    /// The only set that can use it.
    #[must_use]
    pub fn set(&self) -> &SignerSet {
        &self.header().set
    }

    /// The header of its batch: everything that it is bound to.
    #[must_use]
    pub fn header(&self) -> &BatchHeader {
        match self {
            Self::Ecdsa(inner) => inner.header(),
            Self::Schnorr(inner) => inner.header(),
            #[cfg(any(test, feature = "model"))]
            Self::Model(inner) => inner.header(),
        }
    }
}

impl std::fmt::Debug for Presignature {
    /// Shows what is public; the schemes' own types are not asked.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Presignature")
            .field("id", &self.id())
            .field("set", self.set())
            .finish_non_exhaustive()
    }
}

/// Starts a batch of presignatures of the header's scheme.
///
/// # Errors
/// When the header differs from this node's own state, names a scheme that this build does not
/// serve, or the scheme's own start fails.
pub fn start_batch(
    header: BatchHeader,
    share: &KeyShare,
    roster: Arc<Roster>,
    rng: &mut dyn CryptoRngCore,
) -> Result<Started<Vec<Presignature>>, Abort> {
    match header.scheme {
        Scheme::Ecdsa => {
            let started = ecdsa::start_batch::<ecdsa::Production>(header, share, roster, rng)?;
            Ok(mapped(started, Presignature::Ecdsa))
        }
        Scheme::Taproot | Scheme::Ed25519 => {
            let started = schnorr::start_batch(header, share, roster, rng)?;
            Ok(mapped(started, Presignature::Schnorr))
        }
        #[cfg(any(test, feature = "model"))]
        Scheme::Model => {
            let started = crate::model::start_batch(header, share, roster, rng)?;
            Ok(mapped(started, Presignature::Model))
        }
        #[cfg(not(any(test, feature = "model")))]
        Scheme::Model => Err(Abort::one(None, Fault::HeaderDiffers)),
    }
}

/// A round of one scheme that ends in presignatures of the common type.
struct Mapped<T> {
    inner: Box<dyn Round<Vec<T>>>,
    wrap: fn(T) -> Presignature,
}

fn mapped<T: 'static>(
    (inner, outbox): Started<Vec<T>>,
    wrap: fn(T) -> Presignature,
) -> Started<Vec<Presignature>> {
    (Box::new(Mapped { inner, wrap }), outbox)
}

impl<T: 'static> Round<Vec<Presignature>> for Mapped<T> {
    fn number(&self) -> u8 {
        self.inner.number()
    }

    fn awaits(&self) -> Vec<NodeIndex> {
        self.inner.awaits()
    }

    fn is_secret_dependent(&self) -> bool {
        self.inner.is_secret_dependent()
    }

    fn finish(
        self: Box<Self>,
        inbox: Inbox,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<Advance<Vec<Presignature>>, Abort> {
        let wrap = self.wrap;
        Ok(match self.inner.finish(inbox, rng)? {
            Advance::Next(inner, outbox) => {
                let (round, outbox) = mapped((inner, outbox), wrap);
                Advance::Next(round, outbox)
            }
            Advance::Done(made) => Advance::Done(made.into_iter().map(wrap).collect()),
        })
    }
}

#[cfg(test)]
mod tests;
