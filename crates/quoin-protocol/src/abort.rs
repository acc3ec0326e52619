//! Aborts: why a session ended, who is to blame, and how grave it is.
//!
//! The three classes are those of the construction's section 14.3. A class 1 fault is a *strike*:
//! the node writes it durably before it sends anything else, and never retries it as a time-out.

use crate::dkg::Complaint;
use minicbor::{Decode, Encode};
use quoin_core::NodeIndex;

/// How grave a fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Class {
    /// Not attributable: no strike; retry with back-off.
    #[n(3)]
    NotAttributable,
    /// Public and attributable: counted against the peer; back off.
    #[n(2)]
    Public,
    /// A secret-dependent check failed: a durable strike and quarantine.
    #[n(1)]
    SecretDependent,
}

/// One named variant for each way to cheat or to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
#[non_exhaustive]
pub enum Fault {
    /// A message of another round than the session is in.
    #[n(0)]
    WrongRound,
    /// No message, or one from somebody who takes no part.
    #[n(1)]
    WrongParticipants,
    /// A message of another length than the header demands.
    #[n(2)]
    WrongLength,
    /// A scalar that is not canonical.
    #[n(3)]
    BadScalar,
    /// A point that is not canonical, or the identity.
    #[n(4)]
    BadPoint,
    /// The signature of a broadcast does not verify.
    #[n(5)]
    BadBroadcastSignature,
    /// A commitment does not open to what was sent.
    #[n(6)]
    BadCommitment,
    /// A zero-share seed does not match its commitment.
    #[n(7)]
    BadZeroShare,
    /// Participants saw different first rounds.
    #[n(8)]
    ContextDiffers,
    /// Two nonce points of a batch are equal.
    #[n(9)]
    DuplicateNonce,
    /// The public key shares of the signers do not add up to the key.
    #[n(10)]
    WrongKeySum,
    /// Participants confirmed different transcripts.
    #[n(11)]
    TranscriptDiffers,
    /// The combined nonce point is the identity.
    #[n(12)]
    IdentityNonce,
    /// The proposal's header is not the one built from our own state.
    #[n(13)]
    HeaderDiffers,
    /// A batch id that was already used in this boot.
    #[n(14)]
    BatchReplayed,
    /// A profile that is not the one that the key's purpose demands.
    #[n(15)]
    UnsupportedProfile,
    /// A batch size that is not allowed.
    #[n(16)]
    WrongBatchSize,
    /// Our stored share is not the certified one, or the certified shares do not give the key.
    #[n(17)]
    WrongShare,
    /// Disputes a sum of key shares that is right, or confirms one that is wrong.
    #[n(18)]
    FalseDispute,

    /// The tree check of the oblivious-transfer extension failed.
    #[n(20)]
    TreeCheck,
    /// The consistency check of the oblivious-transfer extension failed.
    #[n(21)]
    ExtensionCheck,
    /// The multiplication check failed.
    #[n(22)]
    MultiplicationCheck,
    /// A product does not match the points that were opened.
    #[n(23)]
    PointCheck,

    /// A dealer's polynomial has the wrong number of coefficients.
    #[n(30)]
    WrongDegree,
    /// A proof of possession does not verify.
    #[n(31)]
    BadProofOfPossession,
    /// Two dealers committed to the same constant term.
    #[n(32)]
    CopiedDealer,
    /// An encrypted dealing does not decrypt.
    #[n(33)]
    UndecryptableDealing,
    /// A dealing does not lie on the dealer's committed polynomial.
    #[n(34)]
    WrongDealing,
    /// The key, a public share or our own share is zero: start again.
    #[n(35)]
    DegenerateKey,
    /// A node's echo is over another transcript than ours.
    #[n(36)]
    BadEcho,
    /// A broadcast is not the canonical encoding of its form.
    #[n(37)]
    MalformedBroadcast,
    /// A key for the encryption of dealings is missing, used twice, or of small order.
    #[n(38)]
    BadCeremonyKey,
    /// The scheme is not one that this build generates keys for.
    #[n(39)]
    SchemeRefused,
    /// The ceremony cannot follow its base record: other holders, dealers, cluster or threshold.
    #[n(40)]
    WrongSuccession,
    /// In a reshare, a dealer's constant term is not its weighted certified share.
    #[n(41)]
    WrongConstant,
    /// A broadcast has a part that its sender's role in this kind of ceremony does not have, or
    /// lacks one that it has.
    #[n(42)]
    WrongRole,
}

impl Fault {
    /// The class of the fault.
    #[must_use]
    pub const fn class(self) -> Class {
        match self {
            Self::TreeCheck
            | Self::ExtensionCheck
            | Self::MultiplicationCheck
            | Self::PointCheck => Class::SecretDependent,
            Self::WrongParticipants
            | Self::ContextDiffers
            | Self::TranscriptDiffers
            | Self::IdentityNonce
            | Self::SchemeRefused
            | Self::WrongSuccession
            | Self::DegenerateKey => Class::NotAttributable,
            _ => Class::Public,
        }
    }
}

/// A session that ended without a result. Everything secret in it is gone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("session aborted: {faults:?}")]
pub struct Abort {
    /// Every fault found, with the peer it names. All peers are evaluated before a session ends,
    /// so that one cheat cannot hide behind another.
    pub faults: Vec<(Option<NodeIndex>, Fault)>,
    /// Signed proof against dealers of a key ceremony whose dealings failed in private; empty for
    /// every other session. The node publishes them, and every node judges them for itself.
    pub complaints: Vec<Complaint>,
}

impl Abort {
    /// An abort with one fault.
    #[must_use]
    pub fn one(culprit: Option<NodeIndex>, fault: Fault) -> Self {
        Self::many(vec![(culprit, fault)])
    }

    /// An abort with several faults.
    #[must_use]
    pub const fn many(faults: Vec<(Option<NodeIndex>, Fault)>) -> Self {
        Self {
            faults,
            complaints: Vec::new(),
        }
    }

    /// The gravest class among the faults.
    #[must_use]
    pub fn class(&self) -> Class {
        self.faults
            .iter()
            .map(|(_, f)| f.class())
            .max()
            .unwrap_or(Class::NotAttributable)
    }
}
