//! What every rule of numbering has in common: it decides, in words that can be written down, and
//! applies what was written.
//!
//! Deciding changes nothing: what a rule decided is a list of [`Change`]s. Applying them is the
//! only way in which state changes, in a running process and after a restart alike.

use super::SequenceError;
use quoin_core::{RequestId, TimeMs};
use serde::{Deserialize, Serialize};

/// Consecutive numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// The first of them.
    pub first: u64,
    /// How many there are.
    pub count: u64,
}

impl Run {
    /// The numbers of the run.
    pub fn numbers(self) -> impl Iterator<Item = u64> {
        self.first..self.first.saturating_add(self.count)
    }

    /// Ascending numbers as runs.
    #[must_use]
    pub fn of(numbers: impl IntoIterator<Item = u64>) -> Vec<Self> {
        let mut runs: Vec<Self> = Vec::new();
        for number in numbers {
            match runs.last_mut() {
                Some(run) if run.first.checked_add(run.count) == Some(number) => run.count += 1,
                _ => runs.push(Self {
                    first: number,
                    count: 1,
                }),
            }
        }
        runs
    }
}

/// What a caller wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The request that the numbers are for; the same id has the same numbers.
    pub request: RequestId,
    /// How many.
    pub count: u64,
    /// The next number as the chain shows it, for sequences that a chain keeps.
    pub chain_next: Option<u64>,
}

/// What a caller got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The numbers, ascending.
    pub runs: Vec<Run>,
    /// When a lease that nobody used ends; `None` when numbers are never given back.
    pub until: Option<TimeMs>,
}

/// What became of a request that has numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// It is about to be sent to signers: from now on a signature may exist.
    Asked,
    /// It is signed.
    Used,
    /// Its caller says that nobody has been asked to sign.
    Returned,
    /// The nodes refused it for good: no signature exists, and none will.
    Refused,
    /// The nodes refused it because another payment has the number.
    Taken,
    /// No signer has acted on it, and it may be sent again until then.
    Unasked {
        /// When the lease ends.
        until: TimeMs,
    },
}

/// What became of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The request that has them.
    pub request: RequestId,
    /// Only this one of them; `None` for all.
    pub number: Option<u64>,
    /// What became of them.
    pub how: Settlement,
}

/// What changes. The names are those of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Change {
    /// The chain shows this as the next number; what is below is filled.
    Chain {
        /// The next number.
        next: u64,
    },
    /// Numbers below this one have been handed out. Only at the start of a rewritten file.
    Next {
        /// The first number that was not handed out.
        next: u64,
    },
    /// Numbers are leased to a request.
    Leased {
        /// The request.
        request: RequestId,
        /// The numbers.
        runs: Vec<Run>,
        /// When the lease ends.
        until: TimeMs,
        /// Whether the request got several numbers, for requests of other ids to be signed with.
        block: bool,
    },
    /// What has these numbers may be signed.
    Asked {
        /// The numbers.
        runs: Vec<Run>,
    },
    /// These numbers are used.
    Used {
        /// The numbers.
        runs: Vec<Run>,
    },
    /// Another payment has these numbers, and whether it is signed is not known here.
    Taken {
        /// The numbers.
        runs: Vec<Run>,
    },
    /// These numbers are free again.
    Returned {
        /// The numbers.
        runs: Vec<Run>,
    },
    /// Numbers up to this one may be handed out without another word.
    Mark {
        /// The last number.
        upto: u64,
    },
    /// Numbers below the mark were handed out. It is never written.
    Drawn {
        /// The request.
        request: RequestId,
        /// The numbers.
        run: Run,
    },
}

/// When a change must be on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Before the caller hears of it.
    Before,
    /// With the next write: losing it costs a number or an entry of a list, never a duplicate.
    Later,
    /// Never: something that was written before covers it.
    Never,
}

impl Change {
    /// When it must be on disk.
    #[must_use]
    pub const fn durability(&self) -> Durability {
        match self {
            Self::Leased { .. } | Self::Asked { .. } | Self::Mark { .. } | Self::Next { .. } => {
                Durability::Before
            }
            Self::Chain { .. } | Self::Used { .. } | Self::Taken { .. } | Self::Returned { .. } => {
                Durability::Later
            }
            Self::Drawn { .. } => Durability::Never,
        }
    }
}

/// How a number stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberState {
    /// Leased, and nobody has been asked to sign.
    Held {
        /// When the lease ends.
        until: TimeMs,
    },
    /// A signature may exist.
    Asked,
    /// A signature exists.
    Used,
    /// Another payment has the number at some node. Neither may ever be signed by enough, so it is a
    /// gap until the chain shows it.
    Taken,
}

impl NumberState {
    /// Whether something may still become of it.
    #[must_use]
    pub const fn is_open(self) -> bool {
        !matches!(self, Self::Used | Self::Taken)
    }

    /// Whether a signature over it may exist.
    #[must_use]
    pub const fn may_be_signed(self) -> bool {
        !matches!(self, Self::Held { .. })
    }
}

/// A number that is not settled, or that the chain does not show yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// The number.
    pub number: u64,
    /// The request it is leased to; `None` when it was signed without a lease.
    pub request: Option<RequestId>,
    /// How it stands.
    pub state: NumberState,
}

/// How a sequence stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The lowest number that was never handed out; for increasing sequences the least that can
    /// come next.
    pub next: u64,
    /// The next number as the chain showed it last.
    pub chain_next: Option<u64>,
    /// Numbers that nobody has below some that are used, and those that another payment has taken:
    /// what follows them is stuck.
    pub gaps: Vec<Run>,
    /// Numbers that were given back and are next in line.
    pub free: Vec<Run>,
    /// Numbers that are leased, or signed and not shown by the chain yet.
    pub open: Vec<Open>,
}

/// A venue's rule of numbering.
pub(super) trait Rule: Send + std::fmt::Debug {
    /// What time alone changes.
    fn expire(&self, now: TimeMs) -> Vec<Change>;

    /// What handing out numbers changes; nothing when the request has its numbers already.
    fn allocate(&self, now: TimeMs, ask: &Ask) -> Result<Vec<Change>, SequenceError>;

    /// What the outcome of a request changes.
    fn settle(&self, settled: &Settled) -> Result<Vec<Change>, SequenceError>;

    /// The request that has a number in a block, whose numbers are signed under other ids.
    fn block_of(&self, _: u64) -> Option<RequestId> {
        None
    }

    /// What a signature over a number changes, whoever chose the number.
    fn signed(&self, number: u64) -> Vec<Change>;

    /// Applies a change.
    fn apply(&mut self, change: &Change);

    /// All changes of a process that ended are applied: whatever it may have handed out is gone.
    fn resume(&mut self) {}

    /// The numbers of a request.
    fn granted(&self, request: RequestId) -> Option<Grant>;

    /// The changes that lead to this state.
    fn snapshot(&self) -> Vec<Change>;

    /// How it stands.
    fn standing(&self, now: TimeMs) -> Standing;

    /// Whether forgetting it all loses nothing that the chain does not say again.
    fn is_idle(&self) -> bool;
}
