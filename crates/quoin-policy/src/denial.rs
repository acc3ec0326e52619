//! Denials: what was refused, by what, and what to do about it.

use minicbor::{Decode, Encode};
use quoin_core::cbor::Version;
use quoin_core::error::Class;
use quoin_core::{Rejection, RuleId};
use serde::{Deserialize, Serialize};

/// The most characters of a message: requests and policies may hold texts of any length.
const MESSAGE_CHARS_MAX: usize = 2000;

/// The id that a denial names when no policy permits the request.
pub(crate) const DEFAULT_DENY: &str = "default-deny";

/// Why a request is denied.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[cbor(index_only)]
#[serde(rename_all = "kebab-case")]
pub enum DenialReason {
    /// The stamp is for another cluster.
    #[n(0)]
    WrongCluster,
    /// The stamp asks for a charter that this node does not have, or names a hash that is not its.
    #[n(1)]
    CharterFloor,
    /// The stamp has lapsed.
    #[n(2)]
    StampExpired,
    /// The stamp speaks of another payload or account than what was decoded.
    #[n(3)]
    StampMismatch,
    /// The charter does not know the principal.
    #[n(4)]
    UnknownPrincipal,
    /// The principal's grant has ended.
    #[n(5)]
    PrincipalExpired,
    /// The credential is not the principal's, or did not sign.
    #[n(6)]
    CredentialMismatch,
    /// The key, its scheme, purpose or addresses do not fit the request.
    #[n(7)]
    KeyMismatch,
    /// The charter does not know an asset that the request moves.
    #[n(8)]
    UnknownAsset,
    /// An amount is too large for policies to see.
    #[n(9)]
    AmountOverflow,
    /// No policy permits the request.
    #[n(10)]
    NoPermit,
    /// A policy forbids the request.
    #[n(11)]
    Forbidden,
    /// A policy could not be evaluated, which is never a permit.
    #[n(12)]
    PolicyError,
    /// A budget would pass its limit.
    #[n(13)]
    OverBudget,
    /// The slot is taken by another payment.
    #[n(14)]
    SlotTaken,
    /// The request id stands for another request already.
    #[n(15)]
    RequestConflict,
    /// More approvals than are looked at.
    #[n(16)]
    TooManyApprovals,
    /// The stamp lapses too far ahead.
    #[n(17)]
    HorizonTooFar,
    /// The key's state does not allow it.
    #[n(18)]
    KeyState,
    /// A freeze covers it.
    #[n(19)]
    Frozen,
    /// Somebody with the right to it has vetoed.
    #[n(20)]
    Vetoed,
    /// The recipient is too new in the address book.
    #[n(21)]
    CoolingOff,
    /// The charter does not list the key among those that may spend.
    #[n(22)]
    DepositOnly,
    /// A limit is in dollars, and no fresh and agreed price says what this is worth.
    #[n(23)]
    Unpriced,
    /// The signature could execute for ever, and no rule grants that.
    #[n(24)]
    UnboundedHorizon,
    /// Only what reduces risk is signed now: a freeze, or a node without lease or with a wrong clock.
    #[n(25)]
    CorridorOnly,
    /// A sticky budget is spent by another signer set.
    #[n(26)]
    WrongSignerSet,
}

impl DenialReason {
    /// Whose fault it is.
    #[must_use]
    pub const fn class(self) -> Class {
        match self {
            Self::WrongCluster
            | Self::CharterFloor
            | Self::StampExpired
            | Self::StampMismatch
            | Self::UnknownPrincipal
            | Self::CredentialMismatch
            | Self::KeyMismatch
            | Self::TooManyApprovals
            | Self::HorizonTooFar
            | Self::KeyState => Class::Caller,
            Self::PrincipalExpired
            | Self::UnknownAsset
            | Self::AmountOverflow
            | Self::NoPermit
            | Self::Forbidden
            | Self::PolicyError
            | Self::OverBudget
            | Self::Frozen
            | Self::Vetoed
            | Self::CoolingOff
            | Self::DepositOnly
            | Self::Unpriced
            | Self::UnboundedHorizon
            | Self::CorridorOnly
            | Self::WrongSignerSet => Class::Refused,
            Self::SlotTaken | Self::RequestConflict => Class::Conflict,
        }
    }
}

/// A refusal, with the rule that decided.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
#[serde(deny_unknown_fields)]
pub struct Denial {
    /// The form's version.
    #[n(0)]
    #[serde(skip)]
    pub version: Version<1>,
    /// Why.
    #[n(1)]
    pub reason: DenialReason,
    /// The policy or budget that decided, or `default-deny`; `None` for malformed requests.
    #[n(2)]
    pub rule: Option<RuleId>,
    /// The field at fault.
    #[n(3)]
    pub field: Option<String>,
    /// What was asked, what decided, and what to do about it.
    #[n(4)]
    pub message: String,
    /// The smallest policy that would permit the request, as Cedar text.
    #[n(5)]
    pub suggestion: Option<String>,
}

impl Denial {
    /// The largest encoding that a reader should accept.
    pub const BYTES_MAX: usize = 16 * 1024;

    /// A denial because of one field of the request.
    pub(crate) fn at(
        reason: DenialReason,
        field: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            version: Version,
            reason,
            rule: None,
            field: Some(field.into()),
            message: clipped(&message.into(), MESSAGE_CHARS_MAX),
            suggestion: None,
        }
    }

    /// A denial by a rule; an id that is no rule id is left out.
    pub(crate) fn by(reason: DenialReason, rule: &str, message: impl Into<String>) -> Self {
        Self {
            version: Version,
            reason,
            rule: rule.parse().ok(),
            field: None,
            message: clipped(&message.into(), MESSAGE_CHARS_MAX),
            suggestion: None,
        }
    }

    /// Puts words before the message.
    pub(crate) fn after(mut self, words: &str) -> Self {
        self.message = clipped(&format!("{words}: {}", self.message), MESSAGE_CHARS_MAX);
        self
    }

    /// Whose fault it is.
    #[must_use]
    pub const fn class(&self) -> Class {
        self.reason.class()
    }
}

impl From<Denial> for Rejection {
    fn from(denial: Denial) -> Self {
        Self {
            class: denial.class(),
            field: denial.field.unwrap_or_else(|| "request".to_owned()).into(),
            message: denial.message,
        }
    }
}

/// The text, or its beginning and an ellipsis.
pub(crate) fn clipped(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}
