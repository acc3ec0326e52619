//! Notices: vetoes, and the receipts of watchers who have seen what is about to happen.
//!
//! A veto ends its subject for ever and needs one signature. A receipt starts a delay that a policy
//! has tied to a watcher: without it a gateway could hide a proposal from those who would veto it.

use minicbor::{Decode, Encode};
use quoin_core::cbor::Version;
use quoin_core::tags::{self, Tag};
use quoin_core::{CharterHash, ClusterId, PrincipalId, RequestId, Statement, TimeMs};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The roles whose holders may veto anything, each alone.
pub const VETO_ROLES: [&str; 3] = ["approver", "governor", "watcher"];

/// What a notice is about.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// A request.
    #[n(0)]
    Request(#[n(0)] RequestId),
    /// A proposed charter.
    #[n(1)]
    Charter(#[n(0)] CharterHash),
}

/// A principal's veto.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Veto {
    /// The form's version.
    #[n(0)]
    #[serde(skip)]
    pub version: Version<1>,
    /// The cluster.
    #[n(1)]
    pub cluster: ClusterId,
    /// What is vetoed, for ever.
    #[n(2)]
    pub subject: Subject,
    /// Who vetoes.
    #[n(3)]
    pub principal: PrincipalId,
    /// When, by their clock; for people only.
    #[n(4)]
    pub at: TimeMs,
}

impl Statement for Veto {
    const TAG: Tag = tags::VETO;
    const BYTES_MAX: usize = 512;
}

/// A watcher's word that it has seen a notice and told its people.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// The form's version.
    #[n(0)]
    #[serde(skip)]
    pub version: Version<1>,
    /// The cluster.
    #[n(1)]
    pub cluster: ClusterId,
    /// What was seen.
    #[n(2)]
    pub subject: Subject,
    /// Who has seen it.
    #[n(3)]
    pub principal: PrincipalId,
    /// When, by their clock; for people only. Delays count from a node's own first sight of this.
    #[n(4)]
    pub at: TimeMs,
}

impl Statement for Receipt {
    const TAG: Tag = tags::RECEIPT;
    const BYTES_MAX: usize = 512;
}

/// The verified vetoes and receipts that a node has seen.
///
/// Whether whoever signed has a right to it is decided at judgement, by the charter and the rules
/// in question; here is only what was said, and when this node has heard it first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notices {
    vetoes: BTreeMap<Subject, BTreeSet<PrincipalId>>,
    receipts: BTreeMap<Subject, BTreeMap<PrincipalId, TimeMs>>,
}

impl Notices {
    /// Adds a veto whose signature the caller has verified; whether it is new.
    pub fn veto(&mut self, subject: Subject, principal: PrincipalId) -> bool {
        self.vetoes.entry(subject).or_default().insert(principal)
    }

    /// Adds a receipt whose signature the caller has verified, first heard at `seen`; whether it is
    /// new. The first time counts.
    pub fn receipt(&mut self, subject: Subject, principal: PrincipalId, seen: TimeMs) -> bool {
        let of_subject = self.receipts.entry(subject).or_default();
        if of_subject.contains_key(&principal) {
            return false;
        }
        of_subject.insert(principal, seen).is_none()
    }

    /// Who has vetoed.
    pub fn vetoes(&self, subject: &Subject) -> impl Iterator<Item = &PrincipalId> {
        self.vetoes.get(subject).into_iter().flatten()
    }

    /// Who has acknowledged, and when this node heard of it first.
    pub fn receipts(&self, subject: &Subject) -> impl Iterator<Item = (&PrincipalId, TimeMs)> {
        let all = self.receipts.get(subject).into_iter().flatten();
        all.map(|(principal, seen)| (principal, *seen))
    }

    /// Forgets a subject that can no longer be judged.
    pub fn forget(&mut self, subject: &Subject) {
        self.vetoes.remove(subject);
        self.receipts.remove(subject);
    }
}
