//! Why no number was handed out, or none was settled.

use quoin_core::{Class, Rejection};

/// Why no number was handed out, or none was settled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SequenceError {
    /// The name is not that of a sequence.
    #[error(
        "expected `eip155:<chain>:<address>` or `<venue>:<address>`, venues: {}",
        super::name::venues()
    )]
    UnknownSequence,
    /// Nothing has been allocated of the sequence.
    #[error("nothing has been allocated of this sequence")]
    NotStarted,
    /// A block of no numbers, or of too many.
    #[error("expected 1 to {max}")]
    Count {
        /// The most numbers of one allocation.
        max: u64,
    },
    /// The request id has an allocation of another size.
    #[error("the request id has an allocation of {count} numbers; take a new id")]
    OtherCount {
        /// How many numbers it has.
        count: u64,
    },
    /// There are no more numbers.
    #[error("the sequence ends at {}: there is no number after it", u64::MAX)]
    Exhausted,
    /// The chain's next nonce is not known, and the account's first number is.
    #[error("the chain's next nonce of this account is not known; name a chain node")]
    ChainUnknown,
    /// The numbers would be further ahead of the clock than the venue accepts.
    #[error(
        "the numbers would be {ahead_ms} ms ahead of the clock, and the venue takes {max_ms}; wait"
    )]
    TooFarAhead {
        /// How far ahead.
        ahead_ms: u64,
        /// How far the venue allows.
        max_ms: u64,
    },
    /// Too many numbers are neither used nor returned.
    #[error(
        "{open} numbers are neither used nor returned, and the limit is {max}; settle them, or cancel those that nobody will sign"
    )]
    TooManyOpen {
        /// How many are open.
        open: u64,
        /// How many may be.
        max: u64,
    },
    /// Too many signed numbers that the chain does not show.
    #[error(
        "{max} numbers are signed and the chain shows none of them; broadcast what was signed, or cancel the lowest"
    )]
    TooManyUnseen {
        /// How many there may be.
        max: u64,
    },
    /// Too many sequences.
    #[error("there are {max} sequences already")]
    TooManySequences {
        /// How many there may be.
        max: usize,
    },
    /// The request has no number of the sequence.
    #[error("the request id has no open number of this sequence")]
    NotLeased,
    /// The number may have been signed.
    #[error(
        "number {number} may have been signed, so it cannot be given back; broadcast what was signed, or cancel the number"
    )]
    MayBeSigned {
        /// The number.
        number: u64,
    },
    /// The disk failed.
    #[error(
        "the sequencer's file failed, so no number is handed out: {0}; mend the disk and restart the gateway"
    )]
    Storage(String),
}

impl SequenceError {
    /// Whose fault it is.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::UnknownSequence | Self::Count { .. } | Self::Exhausted => Class::Caller,
            Self::NotStarted | Self::NotLeased => Class::Caller,
            Self::OtherCount { .. } | Self::MayBeSigned { .. } => Class::Conflict,
            Self::ChainUnknown
            | Self::TooFarAhead { .. }
            | Self::TooManyOpen { .. }
            | Self::TooManyUnseen { .. }
            | Self::TooManySequences { .. }
            | Self::Storage(_) => Class::Environment,
        }
    }

    /// The field at fault.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        match self {
            Self::Count { .. } | Self::OtherCount { .. } | Self::TooFarAhead { .. } => "count",
            Self::NotLeased => "request_id",
            Self::MayBeSigned { .. } => "outcome",
            Self::Storage(_) | Self::ChainUnknown => "gateway",
            _ => "sequence",
        }
    }

    /// Whether less at once, or later, may succeed.
    #[must_use]
    pub const fn is_limit(&self) -> bool {
        matches!(
            self,
            Self::TooFarAhead { .. }
                | Self::TooManyOpen { .. }
                | Self::TooManyUnseen { .. }
                | Self::TooManySequences { .. }
        )
    }
}

impl From<SequenceError> for Rejection {
    fn from(error: SequenceError) -> Self {
        Self {
            class: error.class(),
            field: error.field().into(),
            message: error.to_string(),
        }
    }
}
