//! What must never happen, and did.

use quoin_core::{
    CharterNumber, FreezeId, KeyId, NodeIndex, PresignatureId, RequestId, ShareEpoch,
};

/// Something that must never happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// Invariant 1: a partial signature left before its record was durable.
    AnsweredBeforeDurable(NodeIndex, PresignatureId),
    /// Invariant 2: one presignature answered for two views.
    PresignatureReused(NodeIndex, PresignatureId),
    /// Invariant 2: two answers gave a share away.
    ShareExtracted(NodeIndex),
    /// Invariant 3: an honest node signed what the policy does not permit.
    SignedAgainstPolicy(RequestId),
    /// Invariant 3: a node signed what a freeze on its disk covers.
    FreezeIgnored(NodeIndex, RequestId),
    /// Invariant 3: a node signed what a freeze covers that enough others had for longer than a lease.
    FreezeOutlived(NodeIndex, RequestId),
    /// Invariant 3: a node signed what a veto on its disk ends.
    VetoIgnored(NodeIndex, RequestId),
    /// Invariant 3: a request was signed although enough nodes had its veto before any answered.
    SignedVetoed(RequestId),
    /// Invariant 3: a node lifted a freeze by nobody's leave.
    LiftedByNobody(NodeIndex, FreezeId),
    /// Invariant 3: more was signed in the corridor than its budget admits.
    CorridorOverBudget(u64, u64),
    /// Invariant 4: more was signed than the budget admits.
    OverBudget(u64, u64),
    /// Invariant 5: one request id, two payloads.
    TwoPayloads(RequestId),
    /// Invariant 5: one request id, two finished signatures in one journal or from one gateway.
    TwoSignatures(RequestId),
    /// Invariant 5: one slot, two payments.
    SlotFilledTwice(u64),
    /// Invariant 6: a signature was returned that does not verify.
    DoesNotVerify(RequestId),
    /// Invariant 7: a node's boot, charter or journal went back or changed.
    WentBack(NodeIndex),
    /// A node permitted something although its clock differs from its peers'.
    SignedWithWrongClock(NodeIndex),
    /// A node could not be rebuilt from its own journal.
    NotRecovered(NodeIndex, String),
    /// A key was announced that not all nodes have certified.
    BadCertificate(String),
    /// Invariant 7: a node shows a freeze that it had lifted.
    FreezeCameBack(NodeIndex, FreezeId),
    /// Invariant 7: two charters of one number are in force on honest nodes.
    CharterSplit(CharterNumber),
    /// Invariant 7: a charter came into force before its delay, or after its veto, on a node that
    /// followed nobody.
    CharterTooEarly(NodeIndex, CharterNumber),
    /// Invariant 7: an epoch came into use on a node that was in use before, or a later one was.
    EpochWentBack(NodeIndex, ShareEpoch),
    /// Invariant 7: two certified records of one epoch.
    CertificateFork(KeyId, ShareEpoch),
    /// Invariant 7: a node signed with an old epoch after the overlap.
    ServedOldEpoch(NodeIndex, ShareEpoch),
    /// Invariant 8: no epoch of a key has as many shares on disks as its threshold.
    NoUsableEpoch(KeyId),
    /// Invariant 8: a share was erased before all holders had the next certificate durably.
    ErasedTooEarly(NodeIndex, ShareEpoch),
    /// Invariant 8: an epoch came into use that a holder has no backup of.
    ActiveWithoutBackup(NodeIndex, ShareEpoch),
    /// Invariant 9: an honest node blames another one.
    HonestBlamed(NodeIndex, NodeIndex),
    /// Invariant 9: an abort left before the fault was durable.
    AbortedBeforeStrike(NodeIndex),
    /// Invariant 9: a node made presignatures with a peer that it has struck.
    WorkedWithStruck(NodeIndex, NodeIndex),
    /// Invariant 10: a request had no answer after the faults stopped.
    NoRecovery(String),
    /// Invariant 10: honest nodes do not know the same long after the faults stopped.
    Diverged(&'static str),
}

impl Violation {
    /// The invariant of the design's section 5 that was broken.
    #[must_use]
    pub const fn invariant(&self) -> u8 {
        match self {
            Self::AnsweredBeforeDurable(..) => 1,
            Self::PresignatureReused(..) | Self::ShareExtracted(_) => 2,
            Self::SignedAgainstPolicy(_)
            | Self::SignedWithWrongClock(_)
            | Self::FreezeIgnored(..)
            | Self::FreezeOutlived(..)
            | Self::VetoIgnored(..)
            | Self::SignedVetoed(_)
            | Self::LiftedByNobody(..)
            | Self::CorridorOverBudget(..) => 3,
            Self::OverBudget(..) => 4,
            Self::TwoPayloads(_) | Self::TwoSignatures(_) | Self::SlotFilledTwice(_) => 5,
            Self::DoesNotVerify(_) => 6,
            Self::WentBack(_)
            | Self::FreezeCameBack(..)
            | Self::CharterSplit(_)
            | Self::CharterTooEarly(..)
            | Self::EpochWentBack(..)
            | Self::CertificateFork(..)
            | Self::ServedOldEpoch(..) => 7,
            Self::NotRecovered(..)
            | Self::BadCertificate(_)
            | Self::NoUsableEpoch(_)
            | Self::ErasedTooEarly(..)
            | Self::ActiveWithoutBackup(..) => 8,
            Self::HonestBlamed(..) | Self::AbortedBeforeStrike(_) | Self::WorkedWithStruck(..) => 9,
            Self::NoRecovery(_) | Self::Diverged(_) => 10,
        }
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AnsweredBeforeDurable(n, id) => {
                write!(
                    f,
                    "node {n} answered with presignature {} before its record",
                    id.index
                )
            }
            Self::PresignatureReused(n, id) => {
                write!(f, "node {n} used presignature {} for two views", id.index)
            }
            Self::ShareExtracted(n) => write!(f, "the share of node {n} can be computed"),
            Self::SignedAgainstPolicy(id) => write!(f, "request {id} was signed against policy"),
            Self::OverBudget(signed, cap) => write!(f, "{signed} signed, the budget admits {cap}"),
            Self::TwoPayloads(id) => write!(f, "request {id} has two payloads"),
            Self::TwoSignatures(id) => write!(f, "request {id} has two signatures"),
            Self::SlotFilledTwice(nonce) => write!(f, "nonce {nonce} has two payments"),
            Self::DoesNotVerify(id) => write!(f, "the signature of {id} does not verify"),
            Self::WentBack(n) => write!(f, "node {n} shows an older state than before"),
            Self::SignedWithWrongClock(n) => {
                write!(f, "node {n} permits although its clock is wrong")
            }
            Self::NotRecovered(n, why) => write!(f, "node {n} cannot start: {why}"),
            Self::BadCertificate(why) => write!(f, "a key's certificate is wrong: {why}"),
            Self::EpochWentBack(n, e) => {
                write!(
                    f,
                    "node {n} puts epoch {} into use a second time or late",
                    e.0
                )
            }
            Self::CertificateFork(key, e) => {
                write!(f, "epoch {} of key {key} has two certified records", e.0)
            }
            Self::ServedOldEpoch(n, e) => {
                write!(f, "node {n} signs with epoch {} after the overlap", e.0)
            }
            Self::NoUsableEpoch(key) => write!(f, "no epoch of key {key} has enough shares"),
            Self::ErasedTooEarly(n, e) => {
                write!(f, "node {n} erased its share of epoch {} too early", e.0)
            }
            Self::ActiveWithoutBackup(n, e) => {
                write!(f, "epoch {} is in use on node {n} without all backups", e.0)
            }
            Self::HonestBlamed(n, peer) => {
                write!(f, "node {n} blames node {peer}, which is honest")
            }
            Self::AbortedBeforeStrike(n) => {
                write!(f, "node {n} aborted before the fault was durable")
            }
            Self::WorkedWithStruck(n, peer) => {
                write!(f, "node {n} presigns with node {peer}, which it has struck")
            }
            Self::NoRecovery(why) => write!(f, "no recovery after the faults: {why}"),
            stops => stops.fmt_stops(f),
        }
    }
}

impl Violation {
    /// What is about freezes, vetoes and charters.
    fn fmt_stops(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::FreezeIgnored(n, id) => {
                write!(f, "node {n} signed {id}, which a freeze on its disk covers")
            }
            Self::FreezeOutlived(n, id) => {
                write!(f, "node {n} signed {id}, a lease after others froze it")
            }
            Self::VetoIgnored(n, id) => {
                write!(f, "node {n} signed {id}, of which it has a veto")
            }
            Self::SignedVetoed(id) => {
                write!(
                    f,
                    "request {id} was signed, which enough nodes knew as vetoed"
                )
            }
            Self::LiftedByNobody(n, id) => {
                write!(f, "node {n} lifted freeze {id} by nobody's leave")
            }
            Self::CorridorOverBudget(signed, cap) => {
                write!(f, "{signed} signed in the corridor, which admits {cap}")
            }
            Self::FreezeCameBack(n, id) => {
                write!(f, "node {n} shows freeze {id}, which it had lifted")
            }
            Self::CharterSplit(number) => {
                write!(f, "two charters number {} are in force", number.0)
            }
            Self::CharterTooEarly(n, number) => {
                write!(f, "charter {} is in force on node {n} too early", number.0)
            }
            Self::Diverged(what) => {
                write!(
                    f,
                    "long after the faults honest nodes differ in their {what}"
                )
            }
            // Everything else has its words above.
            other => write!(f, "invariant {}", other.invariant()),
        }
    }
}
