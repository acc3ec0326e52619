//! What is known of a proposal, and how it stands.

use crate::approval::{Approval, IgnoredApproval};
use crate::check::CharterError;
use crate::constitution::Constitution;
use crate::denial::Denial;
use crate::notice::Notices;
use crate::obligation::Unmet;
use quoin_core::{IntentHash, PrincipalId, RoleId, RuleId, Signed, TimeMs};
use serde::{Deserialize, Serialize};

/// What a node knows of a proposal beside its certificate.
#[derive(Clone, Copy, Debug)]
pub struct ProposalEvidence<'a> {
    /// When this node saw it first, by its own journal.
    pub first_seen: TimeMs,
    /// The node's effective time.
    pub now: TimeMs,
    /// Vetoes and receipts.
    pub notices: &'a Notices,
    /// Approvals, none of them checked.
    pub approvals: &'a [Signed<Approval>],
}

/// How a proposal stands.
#[derive(Debug)]
pub enum ProposalState {
    /// It cannot come into force.
    Refused(ProposalFault),
    /// Something has to happen first.
    Pending(ProposalPending),
    /// It is the next constitution.
    Ready(Box<Constitution>),
}

/// Why a proposal cannot come into force.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposalFault {
    /// It is no valid successor.
    #[error(transparent)]
    Charter(#[from] CharterError),
    /// The policies in force do not permit it to enough governors.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// It has been vetoed, which is for ever.
    #[error("vetoed by {}", listed(.0))]
    Vetoed(Vec<PrincipalId>),
}

/// What a proposal waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProposalPending {
    /// What is missing.
    pub unmet: Vec<ProposalUnmet>,
    /// What approvals have to sign.
    pub intent_hash: IntentHash,
    /// The policies that permit it to those who have signed.
    pub rules: Vec<RuleId>,
    /// The approvals that do not count.
    pub ignored: Vec<IgnoredApproval>,
}

impl ProposalPending {
    /// When the delay ends, when it has begun.
    #[must_use]
    pub fn until(&self) -> Option<TimeMs> {
        self.unmet.iter().find_map(|unmet| match unmet {
            ProposalUnmet::Obligation {
                unmet: Unmet::Delay { until },
            } => Some(*until),
            _ => None,
        })
    }
}

/// Something that has to happen before a proposal comes into force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ProposalUnmet {
    /// Too few have signed whom the policies permit to.
    Signatures {
        /// Whose signatures are missing: governors, or for a recovery whom the charter names.
        role: RoleId,
        /// How many are needed.
        needed: u8,
        /// Whose count.
        given: Vec<PrincipalId>,
    },
    /// What the policies that permit it demand.
    Obligation {
        /// What is missing.
        unmet: Unmet,
    },
    /// Nobody with the role has acknowledged the notice, so the delay has not begun.
    Notice {
        /// The role.
        role: RoleId,
        /// How long it will take from then on.
        delay_ms: u64,
    },
}

impl std::fmt::Display for ProposalUnmet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Signatures {
                role,
                needed,
                given,
            } => {
                write!(f, "{needed} signatures of `{role}`")?;
                match given.len() {
                    0 => f.write_str(", none given yet"),
                    _ => write!(f, ", given by {}", listed(given)),
                }
            }
            Self::Obligation { unmet } => unmet.fmt(f),
            Self::Notice { role, delay_ms } => write!(
                f,
                "a receipt of `{role}`, from which a delay of {} s counts",
                delay_ms / 1000
            ),
        }
    }
}

fn listed(ids: &[PrincipalId]) -> String {
    let names: Vec<&str> = ids.iter().map(PrincipalId::as_str).collect();
    names.join(", ")
}
