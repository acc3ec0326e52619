//! Approvals: what people sign, and which of them count.
//!
//! An approval is over an intent hash: the meaning of the request, not its bytes, so that a slot
//! can be assigned later. Where the meaning does not say everything that is signed (texts, typed
//! data), the payload's hash is part of it.

use crate::cedar::Rules;
use crate::charter::Principal;
use crate::constitution::Constitution;
use crate::freeze::FreezeSet;
use crate::obligation::{Obligations, Unmet};
use crate::persons::missing;
use minicbor::{Decode, Encode};
use quoin_chain::Decoded;
use quoin_core::cbor::{self, Version};
use quoin_core::hash::tagged;
use quoin_core::stamp::Account;
use quoin_core::statement::StatementError;
use quoin_core::tags::{self, Tag};
use quoin_core::{
    Action, AssertionFault, ClusterId, CustodyMethod, Intent, IntentHash, KeyId, PayloadHash,
    PrincipalId, PublicCredential, Purpose, RequestId, RuleId, Signed, Stamp, Statement, TimeMs,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The most approvals that one judgement looks at: each costs a signature check.
pub const APPROVALS_MAX: usize = 64;

/// A person's approval of an intent.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// The form's version.
    #[n(0)]
    #[serde(skip)]
    pub version: Version<1>,
    /// The cluster.
    #[n(1)]
    pub cluster: ClusterId,
    /// What is approved.
    #[n(2)]
    pub intent_hash: IntentHash,
    /// Who approves.
    #[n(3)]
    pub principal: PrincipalId,
    /// The request that is approved.
    #[n(4)]
    pub request_id: RequestId,
    /// When the approval lapses.
    #[n(5)]
    pub not_after: TimeMs,
}

impl Statement for Approval {
    const TAG: Tag = tags::APPROVAL;
    const BYTES_MAX: usize = 512;

    /// The intent hash itself, so that a person can compare what their own screen computed with
    /// what the authenticator is asked to sign.
    ///
    /// A passkey therefore signs nothing else of an approval: not its tag, and none of the other
    /// five fields. Whoever carries it could change them, so each is forced, here and in
    /// `Claim`:
    ///
    /// - the tag and the version: no other type has intent hashes for challenges. The others' are
    ///   plain hashes of a signed structure, an intent hash is a tagged one, and neither can be
    ///   turned into the other, so a veto's assertion is no approval and an approval's no veto.
    /// - `cluster`: inside the intent hash, and the only one that a node accepts is its own.
    /// - `request_id`: inside the intent hash, and held against the stamp's.
    /// - `principal`: has to be the owner of the passkey, which the charter gives to one alone.
    /// - `not_after`: has to be that of the request, which is inside the intent hash. Otherwise an
    ///   approval that had lapsed could be given a longer life.
    ///
    /// Differs from approvals of other keys in one way: a person who approves with a passkey cannot
    /// ask for an earlier lapse than the request's.
    fn challenge(&self) -> Option<[u8; 32]> {
        Some(self.intent_hash.0)
    }
}

/// A policy that an approval relies on; a charter that changes its text voids the approval.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct ReliedRule {
    /// The policy.
    #[n(0)]
    pub id: RuleId,
    /// The hash of its text.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub text_hash: [u8; 32],
}

/// What an intent hash hashes.
#[derive(Encode)]
struct IntentForm {
    #[n(0)]
    version: Version<2>,
    /// The intent without its slot; with its fee ceiling.
    #[n(1)]
    intent: Intent,
    #[n(2)]
    account: Account,
    #[n(3)]
    key: Option<KeyId>,
    /// The stamp's, because no payload says it: a threshold key that people approved must not be
    /// made as a software key.
    #[n(4)]
    custody: CustodyMethod,
    #[n(5)]
    purpose: Purpose,
    #[n(6)]
    request_id: RequestId,
    #[n(7)]
    not_after: TimeMs,
    #[n(8)]
    rules: Vec<ReliedRule>,
    /// Present when the intent does not say everything that is signed.
    #[n(9)]
    payload_hash: Option<PayloadHash>,
    /// One person may hold one passkey in two clusters.
    #[n(10)]
    cluster: ClusterId,
}

/// The hash that approvals of a request sign. `rules` are all policies that permit it, in any
/// order.
#[must_use]
pub fn intent_hash(decoded: &Decoded, stamp: &Stamp, rules: &[ReliedRule]) -> IntentHash {
    let mut intent = decoded.intent().clone();
    let fills_slot = intent.slot.take().is_some();
    // These say everything but the slot, which the nodes bind by the request id.
    let complete = fills_slot
        && matches!(
            intent.action,
            Action::Transfer { .. }
                | Action::TransferFrom { .. }
                | Action::Approve { .. }
                | Action::Call { .. }
        );
    let mut rules = rules.to_vec();
    rules.sort();
    rules.dedup();
    let form = IntentForm {
        version: Version,
        intent,
        account: decoded.account().clone(),
        key: stamp.key,
        custody: stamp.custody,
        purpose: stamp.purpose,
        request_id: stamp.request_id,
        not_after: stamp.not_after,
        rules,
        payload_hash: (!complete).then(|| decoded.payload_hash()),
        cluster: stamp.cluster,
    };
    IntentHash(tagged(tags::INTENT, &[&cbor::encode(&form)]))
}

impl Rules {
    /// The policies with the hashes of their texts; `None` when one is unknown.
    pub(crate) fn relied(&self, ids: &[RuleId]) -> Option<Vec<ReliedRule>> {
        let relied = ids.iter().map(|id| {
            Some(ReliedRule {
                id: id.clone(),
                text_hash: self.facts(id)?.text_hash,
            })
        });
        relied.collect()
    }
}

impl Constitution {
    /// The policies as an intent hash names them; `None` when the charter lacks one.
    #[must_use]
    pub fn relied_rules(&self, ids: &[RuleId]) -> Option<Vec<ReliedRule>> {
        self.rules.relied(ids)
    }
}

/// An approval that does not count, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IgnoredApproval {
    /// Who it claims to be from.
    pub principal: PrincipalId,
    /// Why it does not count.
    pub fault: ApprovalFault,
}

/// Why an approval does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum ApprovalFault {
    /// It is for another cluster.
    #[error("for another cluster")]
    WrongCluster,
    /// It is for another request, or for other terms of this one.
    #[error("for another intent")]
    WrongIntent,
    /// It has lapsed.
    #[error("lapsed")]
    Expired,
    /// The charter does not know the principal.
    #[error("of an unknown principal")]
    UnknownPrincipal,
    /// The principal's grant has ended.
    #[error("of a principal whose grant has ended")]
    PrincipalExpired,
    /// Whoever asks cannot approve, nor can anybody of the same operator.
    #[error("of whoever asks, or of the same operator")]
    Initiator,
    /// A freeze stops the principal.
    #[error("of a frozen principal")]
    Frozen,
    /// The credential is not the principal's, or did not sign.
    #[error("not signed by its principal")]
    NotSigned,
    /// None of the roles asked for is held.
    #[error("of a principal without the role")]
    NoRole,
    /// A passkey's signature does not cover when the approval lapses, so it has to lapse when the
    /// request does.
    #[error("made with a passkey, and not lapsing with the request")]
    PasskeyLapse,
    /// The passkey did not assert it.
    #[error("not signed by its principal's passkey: {0}")]
    Assertion(AssertionFault),
}

/// What an approval has to claim, whatever it approves.
pub(crate) struct Claim<'a> {
    pub(crate) constitution: &'a Constitution,
    pub(crate) intent_hash: IntentHash,
    pub(crate) request_id: RequestId,
    /// When what is approved lapses, which the intent hash covers.
    pub(crate) not_after: TimeMs,
    pub(crate) now: TimeMs,
}

impl<'a> Claim<'a> {
    /// The principal and the credential that an approval of this claims to be from.
    pub(crate) fn made_by(
        &self,
        approval: &Signed<Approval>,
    ) -> Result<(&'a Principal, &'a PublicCredential), ApprovalFault> {
        let claimed = approval.unverified();
        let known = self.constitution.principal(&claimed.principal);
        let principal = known.ok_or(ApprovalFault::UnknownPrincipal)?;
        let credential = principal
            .credentials
            .iter()
            .find(|c| c.id() == approval.credential())
            .ok_or(ApprovalFault::NotSigned)?;
        let faults = [
            (
                claimed.cluster != self.constitution.cluster(),
                ApprovalFault::WrongCluster,
            ),
            (
                claimed.intent_hash != self.intent_hash || claimed.request_id != self.request_id,
                ApprovalFault::WrongIntent,
            ),
            (self.now >= claimed.not_after, ApprovalFault::Expired),
            (
                principal.is_expired(self.now),
                ApprovalFault::PrincipalExpired,
            ),
            (
                matches!(credential, PublicCredential::Passkey(_))
                    && claimed.not_after != self.not_after,
                ApprovalFault::PasskeyLapse,
            ),
        ];
        match faults.into_iter().find(|(wrong, _)| *wrong) {
            Some((_, fault)) => Err(fault),
            None => Ok((principal, credential)),
        }
    }
}

/// Checks the signature, which costs the most and so comes last.
pub(crate) fn verify(
    approval: &Signed<Approval>,
    credential: &PublicCredential,
) -> Result<(), ApprovalFault> {
    match approval.verify(credential) {
        Ok(_) => Ok(()),
        Err(StatementError::Assertion(fault)) => Err(ApprovalFault::Assertion(fault)),
        Err(_) => Err(ApprovalFault::NotSigned),
    }
}

/// What a request's approvals are held against.
pub(crate) struct Terms<'a> {
    pub(crate) constitution: &'a Constitution,
    pub(crate) stamp: &'a Stamp,
    pub(crate) intent_hash: IntentHash,
    pub(crate) first_seen: TimeMs,
    pub(crate) now: TimeMs,
    /// Whose principals cannot approve; `None` when they can.
    pub(crate) freezes: Option<&'a FreezeSet>,
}

impl Terms<'_> {
    /// The obligations that are not met, and the approvals that do not count.
    pub(crate) fn unmet(
        &self,
        obligations: &Obligations,
        approvals: &[Signed<Approval>],
    ) -> (Vec<Unmet>, Vec<IgnoredApproval>) {
        let mut approvers = BTreeSet::new();
        let mut ignored = Vec::new();
        for approval in approvals {
            let principal = approval.unverified().principal.clone();
            match self.counts(obligations, approval) {
                Ok(()) => drop(approvers.insert(principal)),
                Err(fault) => ignored.push(IgnoredApproval { principal, fault }),
            }
        }
        // Two demands are for two pairs of eyes, and all of one operator are one.
        let approvers: Vec<&Principal> = approvers
            .iter()
            .filter_map(|id| self.constitution.principal(id))
            .collect();
        let mut unmet = missing(self.constitution, obligations, &approvers);
        let until = self.first_seen.plus(obligations.delay_ms);
        if self.now < until {
            unmet.push(Unmet::Delay { until });
        }
        (unmet, ignored)
    }

    fn counts(
        &self,
        obligations: &Obligations,
        approval: &Signed<Approval>,
    ) -> Result<(), ApprovalFault> {
        let claim = Claim {
            constitution: self.constitution,
            intent_hash: self.intent_hash,
            request_id: self.stamp.request_id,
            not_after: self.stamp.not_after,
            now: self.now,
        };
        let (principal, credential) = claim.made_by(approval)?;
        let asks = &self.stamp.principal;
        let own = principal.id == *asks;
        let related =
            self.constitution.operator_of(&principal.id) == self.constitution.operator_of(asks);
        if (own && !obligations.initiator_counts) || (related && !own) {
            return Err(ApprovalFault::Initiator);
        }
        let frozen = |freezes: &FreezeSet| freezes.of_principal(&principal.id).is_some();
        if self.freezes.is_some_and(frozen) {
            return Err(ApprovalFault::Frozen);
        }
        let asked_for = |role| obligations.approvals.contains_key(role);
        if !principal.roles.iter().any(asked_for) {
            return Err(ApprovalFault::NoRole);
        }
        verify(approval, credential)
    }
}
