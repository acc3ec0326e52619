//! Notices: vetoes, and the receipts of watchers who have seen what is about to happen.
//!
//! A veto ends its subject for ever and needs one signature. A receipt starts a delay that a policy
//! has tied to a watcher: without it a gateway could hide a proposal from those who would veto it.

use crate::charter::Principal;
use crate::constitution::Constitution;
use crate::obligation::Obligations;
use minicbor::{Decode, Encode};
use quoin_core::cbor::Version;
use quoin_core::tags::{self, Tag};
use quoin_core::{
    CharterHash, ClusterId, PrincipalId, RequestId, RoleId, Signed, Statement, TimeMs,
};
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
/// Whether whoever signed has a right to it is decided at judgement, by the rules in question and the
/// roles that whoever vetoed held when the veto came; here is what was said, with those roles, and when
/// this node has heard a receipt first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notices {
    vetoes: BTreeMap<Subject, BTreeMap<PrincipalId, BTreeSet<RoleId>>>,
    receipts: BTreeMap<Subject, BTreeMap<PrincipalId, TimeMs>>,
}

impl Notices {
    /// Adds a veto whose signature the caller has verified, with the roles that its author holds now;
    /// whether it is new. The roles of the first time stay.
    pub fn veto(
        &mut self,
        subject: Subject,
        principal: PrincipalId,
        roles: impl IntoIterator<Item = RoleId>,
    ) -> bool {
        let of_subject = self.vetoes.entry(subject).or_default();
        if of_subject.contains_key(&principal) {
            return false;
        }
        let roles = roles.into_iter().collect();
        of_subject.insert(principal, roles).is_none()
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
        self.vetoed(subject).map(|(principal, _)| principal)
    }

    fn vetoed(&self, subject: &Subject) -> impl Iterator<Item = (&PrincipalId, &BTreeSet<RoleId>)> {
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

/// Why a freeze, a veto or a receipt is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatementFault {
    /// It is for another cluster.
    #[error("`cluster` names `{0}`, which is another cluster")]
    WrongCluster(ClusterId),
    /// The charter does not know the principal.
    #[error("`principal` names `{0}`, whom the charter does not know")]
    UnknownPrincipal(PrincipalId),
    /// The principal's grant has ended.
    #[error("`principal` names `{0}`, whose grant has ended")]
    GrantEnded(PrincipalId),
    /// The principal holds no role that may do it.
    #[error("`principal` names `{principal}`, who holds none of the roles that may: {roles}")]
    NoRole {
        /// The principal.
        principal: PrincipalId,
        /// The roles.
        roles: String,
    },
    /// The credential is not the principal's, or did not sign.
    #[error("`principal` names `{0}`, who has not signed it")]
    NotSigned(PrincipalId),
    /// The principal's right to freeze is suspended.
    #[error("`principal` names `{0}`, whose right to freeze is suspended")]
    Suspended(PrincipalId),
    /// The principal has as many freezes in force as it may.
    #[error(
        "`principal` names `{principal}`, who has {max} freezes in force; that is the most, and one \
         that stops everything is enough"
    )]
    TooMany {
        /// The principal.
        principal: PrincipalId,
        /// The most.
        max: usize,
    },
    /// The reason is too long, or not printable.
    #[error("`reason` must be at most {max} printable ASCII characters")]
    BadReason {
        /// The longest reason.
        max: usize,
    },
}

impl Constitution {
    /// The veto, once it is signed by a principal of this charter who may veto something: a holder of
    /// one of [`VETO_ROLES`], or of a role that a policy asks approvals of.
    ///
    /// # Errors
    /// When it is not, with the field at fault.
    pub fn accept_veto<'a>(
        &self,
        signed: &'a Signed<Veto>,
        now: TimeMs,
    ) -> Result<&'a Veto, StatementFault> {
        let veto = signed.unverified();
        let known = self.stated_by(veto.cluster, &veto.principal, now)?;
        let named = |role: &RoleId| {
            let mut rules = self.rules.all();
            rules.any(|(_, fact)| fact.obligations.approvals.contains_key(role))
        };
        if !VETO_ROLES.iter().any(|r| known.holds(r)) && !known.roles.iter().any(named) {
            return Err(no_role(&veto.principal, &VETO_ROLES));
        }
        genuine(known, signed)
    }

    /// The receipt, once it is signed by a principal of this charter. Of which role its holder has to
    /// be is up to the policy that asks for the notice.
    ///
    /// # Errors
    /// When it is not, with the field at fault.
    pub fn accept_receipt<'a>(
        &self,
        signed: &'a Signed<Receipt>,
        now: TimeMs,
    ) -> Result<&'a Receipt, StatementFault> {
        let receipt = signed.unverified();
        let known = self.stated_by(receipt.cluster, &receipt.principal, now)?;
        genuine(known, signed)
    }

    /// Who has vetoed the subject and may: a holder of one of [`VETO_ROLES`] or of a role of whose
    /// holders the obligations ask approvals.
    ///
    /// Their grants were held against the clock, and their roles against the charter, when the vetoes
    /// came. A grant that ends later does not take a veto back, and neither does a charter that takes
    /// the role or the principal away: else whoever was vetoed would only have to wait for it.
    #[must_use]
    pub fn vetoed_by(
        &self,
        notices: &Notices,
        subject: &Subject,
        obligations: &Obligations,
    ) -> Vec<PrincipalId> {
        let right = |role: &RoleId| {
            VETO_ROLES.contains(&role.as_str()) || obligations.approvals.contains_key(role)
        };
        let may = |(id, then): &(&PrincipalId, &BTreeSet<RoleId>)| {
            let now = self.principal(id).map(|p| &p.roles);
            then.iter().any(right) || now.into_iter().flatten().any(right)
        };
        let all = notices.vetoed(subject).filter(may);
        all.map(|(id, _)| id.clone()).collect()
    }

    /// The principal that a statement claims to be of, when this charter lets it speak at all.
    pub(crate) fn stated_by(
        &self,
        cluster: ClusterId,
        principal: &PrincipalId,
        now: TimeMs,
    ) -> Result<&Principal, StatementFault> {
        if cluster != self.cluster() {
            return Err(StatementFault::WrongCluster(cluster));
        }
        let known = self.principal(principal);
        let known = known.ok_or_else(|| StatementFault::UnknownPrincipal(principal.clone()))?;
        if known.is_expired(now) {
            return Err(StatementFault::GrantEnded(principal.clone()));
        }
        Ok(known)
    }
}

/// The statement, once one of the principal's credentials signed it.
pub(crate) fn genuine<'a, T: Statement>(
    principal: &Principal,
    signed: &'a Signed<T>,
) -> Result<&'a T, StatementFault> {
    let credentials = principal.credentials.iter();
    let own = credentials.filter(|c| c.id() == signed.credential());
    let verified = own.filter_map(|c| signed.verify(c).ok()).next();
    verified.ok_or_else(|| StatementFault::NotSigned(principal.id.clone()))
}

pub(crate) fn no_role(principal: &PrincipalId, roles: &[&str]) -> StatementFault {
    StatementFault::NoRole {
        principal: principal.clone(),
        roles: roles.join(", "),
    }
}
