//! How a charter comes into force: proposed, permitted by the policies before it, approved, waited
//! for, and vetoed by nobody.
//!
//! A proposal is judged by the same engine as every other request, on every node for itself; what is
//! special is only that as many must have asked for it as the charter's quorum of governors says. The
//! way of a recovery, for which no policy is asked because no governor is left to ask, is here too.
//! Source: the design, sections 4 and 6.

mod parts;
mod proposal;

pub use parts::{CharterPart, changed_parts};
pub use proposal::{
    ProposalEvidence, ProposalFault, ProposalPending, ProposalState, ProposalUnmet,
};

use crate::approval::{Approval, Claim, IgnoredApproval, ReliedRule, verify};
use crate::cedar::{Query, Verdict};
use crate::charter::{Charter, GOVERNOR_ROLE, Principal, Recovery, WATCHER_ROLE};
use crate::check::CharterError;
use crate::constitution::Constitution;
use crate::denial::{DEFAULT_DENY, Denial, DenialReason};
use crate::judge::CLUSTER_ACCOUNT;
use crate::notice::Subject;
use crate::obligation::{Obligations, Unmet};
use crate::persons::{missing, suffice};
use crate::schema::{CHANGE_CHARTER, account_pairs, charter_pairs};
use crate::succession::{follows, recoverers, recovers_only, signers, successor};
use minicbor::Encode;
use quoin_core::cbor::{self, Version};
use quoin_core::hash::tagged;
use quoin_core::{
    Certificate, CharterHash, CharterNumber, IntentHash, PrincipalId, RequestId, RoleId, RuleId,
    Signed, TimeMs, tags,
};
use std::collections::BTreeSet;

/// When approvals of a charter made with a passkey have to lapse: never. A passkey's signature does
/// not cover the lapse, and a proposal ends when its number is taken.
pub const CHARTER_APPROVAL_NOT_AFTER: TimeMs = TimeMs(u64::MAX);
/// The longest grant that a proposal may give, from when it is judged: three years.
pub const GRANT_MS_MAX: u64 = 3 * 366 * 24 * 60 * 60 * 1000;

/// What an approval of a charter hashes.
#[derive(Encode)]
struct ProposalForm {
    #[n(0)]
    version: Version<1>,
    /// It names the cluster and the charter before it.
    #[n(1)]
    charter: CharterHash,
    #[n(2)]
    rules: Vec<ReliedRule>,
}

/// The hash that approvals of a proposed charter sign. `rules` are the policies that permit it to any
/// governor, in any order, so that it is the same whoever has signed so far.
#[must_use]
pub fn charter_intent_hash(charter: CharterHash, rules: &[ReliedRule]) -> IntentHash {
    let mut rules = rules.to_vec();
    rules.sort();
    rules.dedup();
    let form = ProposalForm {
        version: Version,
        charter,
        rules,
    };
    IntentHash(tagged(tags::PROPOSAL, &[&cbor::encode(&form)]))
}

/// The request id that approvals of a charter name: the beginning of its hash.
#[must_use]
pub fn charter_request_id(charter: &CharterHash) -> RequestId {
    let mut id = [0; 16];
    let bytes = id.iter_mut().zip(charter.0);
    bytes.for_each(|(to, from)| *to = from);
    RequestId(id)
}

/// What is demanded of a proposal, and who has brought it.
struct Demand<'a> {
    hash: CharterHash,
    intent_hash: IntentHash,
    rules: Vec<RuleId>,
    obligations: Obligations,
    /// Whoever signed is an initiator.
    initiators: Vec<&'a Principal>,
    unsigned: Option<ProposalUnmet>,
}

/// What the policies say about a proposal of each governor.
struct Permits<'a> {
    of: Vec<(&'a Principal, Vec<RuleId>)>,
    denial: Option<Denial>,
}

impl Constitution {
    /// Judges a proposed charter by this one.
    ///
    /// It comes into force once it is a valid successor; the policies permit `change_charter` to a
    /// quorum of governors who have signed it; all that those permits demand is met, the strictest of
    /// each kind; and nobody who may has vetoed it. Whoever signed is an initiator and does not count
    /// as an approver, unless all permits with approvals say `@initiator("counts")`, nor does their
    /// own receipt begin the delay.
    ///
    /// Asking again with more evidence is harmless; with the same evidence and a later time, a
    /// proposal that is ready stays ready until a signer's grant or an approval lapses.
    #[must_use]
    pub fn consider_proposal(
        &self,
        certificate: &Certificate<Charter>,
        evidence: ProposalEvidence<'_>,
    ) -> ProposalState {
        match self.weigh(certificate, &evidence) {
            Ok(state) => state,
            Err(fault) => ProposalState::Refused(fault),
        }
    }

    fn weigh(
        &self,
        certificate: &Certificate<Charter>,
        evidence: &ProposalEvidence<'_>,
    ) -> Result<ProposalState, ProposalFault> {
        let next = certificate.unverified();
        follows(self, next)?;
        let constitution = successor(self, next, evidence.now)?;
        bounded_grants(self.charter(), next, evidence.now)?;
        let demand = self.demand(certificate, evidence.now)?;
        constitution.governable(evidence.now)?;
        let subject = Subject::Charter(demand.hash);
        let vetoes = self.vetoed_by(evidence.notices, &subject, &demand.obligations);
        if !vetoes.is_empty() {
            return Err(ProposalFault::Vetoed(vetoes));
        }
        let (unmet, ignored) = self.unmet_of(&demand, evidence);
        if unmet.is_empty() {
            return Ok(ProposalState::Ready(Box::new(constitution)));
        }
        Ok(ProposalState::Pending(ProposalPending {
            unmet,
            intent_hash: demand.intent_hash,
            rules: demand.rules,
            ignored,
        }))
    }

    /// The principals whose signatures on a charter mean something: governors, and whom the recovery
    /// names.
    pub fn charter_seats(&self) -> impl Iterator<Item = &Principal> {
        let rule = self.charter().recovery.as_ref();
        let all = self.charter().principals.iter();
        all.filter(move |p| {
            p.holds(GOVERNOR_ROLE) || rule.is_some_and(|r| p.roles.contains(&r.role))
        })
    }

    fn demand(
        &self,
        certificate: &Certificate<Charter>,
        now: TimeMs,
    ) -> Result<Demand<'_>, ProposalFault> {
        let next = certificate.unverified();
        let signed = signers(self.charter().governors(), certificate, now);
        let permits = self.permits_change(next);
        let relied: BTreeSet<&RuleId> = permits.of.iter().flat_map(|(_, r)| r).collect();
        let relied: Vec<RuleId> = relied.into_iter().cloned().collect();
        let relied = self.rules.relied(&relied).unwrap_or_default();
        let intent_hash = charter_intent_hash(next.hash(), &relied);
        let quorum = self.charter().governor_quorum;
        let counted: Vec<_> = permits
            .of
            .iter()
            .filter(|(p, _)| signed.iter().any(|s| s.id == p.id))
            .collect();
        if counted.len() < usize::from(quorum)
            && let Some(rule) = &self.charter().recovery
            && let Some(demand) = self.recovery_demand(certificate, rule, intent_hash, now)
        {
            return Ok(demand);
        }
        let too_few = || CharterError::TooFewGovernors {
            signed: counted.len(),
            quorum,
        };
        let able = permits.of.iter().filter(|(p, _)| !p.is_expired(now));
        if able.count() < usize::from(quorum) {
            return Err(permits.denial.map_or_else(|| too_few().into(), Into::into));
        }
        let rules: BTreeSet<&RuleId> = counted.iter().flat_map(|(_, r)| r).collect();
        let rules: Vec<RuleId> = rules.into_iter().cloned().collect();
        let unsigned = ProposalUnmet::Signatures {
            role: self.held_role(GOVERNOR_ROLE).ok_or_else(too_few)?,
            needed: quorum,
            given: counted.iter().map(|(p, _)| p.id.clone()).collect(),
        };
        Ok(Demand {
            hash: next.hash(),
            intent_hash,
            obligations: self.rules.obligations(&rules),
            unsigned: (counted.len() < usize::from(quorum)).then_some(unsigned),
            rules,
            initiators: signed,
        })
    }

    /// A role that somebody holds, as the charter's checks see to for the ones asked for here.
    fn held_role(&self, name: &str) -> Option<RoleId> {
        let mut roles = self.charter().principals.iter().flat_map(|p| &p.roles);
        roles.find(|role| role.as_str() == name).cloned()
    }

    /// What is demanded of a charter that the recovery's people have signed, when it is no more than
    /// a recovery.
    fn recovery_demand(
        &self,
        certificate: &Certificate<Charter>,
        rule: &Recovery,
        intent_hash: IntentHash,
        now: TimeMs,
    ) -> Option<Demand<'_>> {
        let signed = recoverers(self, rule, certificate, now);
        if signed.is_empty() || recovers_only(self.charter(), certificate.unverified()).is_err() {
            return None;
        }
        let missing = signed.len() < usize::from(rule.quorum);
        let unsigned = ProposalUnmet::Signatures {
            role: rule.role.clone(),
            needed: rule.quorum,
            given: signed.iter().map(|p| p.id.clone()).collect(),
        };
        let mut obligations = Obligations {
            delay_ms: rule.delay_ms,
            ..Obligations::default()
        };
        obligations.notice.insert(self.held_role(WATCHER_ROLE)?);
        Some(Demand {
            hash: certificate.unverified().hash(),
            intent_hash,
            rules: Vec::new(),
            obligations,
            unsigned: missing.then_some(unsigned),
            initiators: signed,
        })
    }

    /// Refuses a charter that nobody could change again, were it in force at `now`: a quorum of its
    /// governors with grants must be permitted a change of its policies, and enough others must be
    /// there to approve and to see it. Who can change the policies can change everything else.
    ///
    /// Governors may be permitted by different policies. Those whom one set of policies permits, or
    /// less, meet at most the demands of that set; such sets are tried, not every quorum.
    fn governable(&self, now: TimeMs) -> Result<(), CharterError> {
        let number = CharterNumber(self.number().0.saturating_add(1));
        let permits = self.permits_parts(number, &BTreeSet::from([CharterPart::Policies]));
        let mut able = permits.of;
        able.retain(|(p, _)| !p.is_expired(now));
        let standing = self.charter().principals.iter();
        let standing: Vec<&Principal> = standing.filter(|p| !p.is_expired(now)).collect();
        let quorum = self.charter().governor_quorum;
        let mut sets: BTreeSet<BTreeSet<&RuleId>> = able
            .iter()
            .map(|(_, rules)| rules.iter().collect())
            .collect();
        sets.insert(able.iter().flat_map(|(_, rules)| rules).collect());
        let suffices = |set: &BTreeSet<&RuleId>| {
            let within = able
                .iter()
                .filter(|(_, rules)| rules.iter().all(|rule| set.contains(rule)));
            let signers: Vec<&Principal> = within.map(|(p, _)| *p).collect();
            let rules: Vec<RuleId> = set.iter().copied().cloned().collect();
            let obligations = self.rules.obligations(&rules);
            suffice(self, &obligations, &signers, quorum, &standing)
        };
        if sets.iter().any(suffices) {
            return Ok(());
        }
        let able = able.len();
        Err(CharterError::Ungovernable { able, quorum })
    }

    /// Asks the policies for each governor, whatever has become of their grants: what approvals sign
    /// must not depend on the hour.
    fn permits_change(&self, next: &Charter) -> Permits<'_> {
        self.permits_parts(next.number, &changed_parts(self.charter(), next))
    }

    fn permits_parts(&self, number: CharterNumber, changes: &BTreeSet<CharterPart>) -> Permits<'_> {
        let changes: BTreeSet<String> = changes.iter().map(|p| p.name().to_owned()).collect();
        let mut permits = Permits {
            of: Vec::new(),
            denial: None,
        };
        for governor in self.charter().governors() {
            let Some(context) = charter_pairs(number, &changes) else {
                continue;
            };
            let own = ["quoin", CLUSTER_ACCOUNT, "m", "", "", ""];
            let verdict = self.rules.evaluate(&Query {
                principal: &governor.id,
                action: CHANGE_CHARTER,
                account: format!("quoin/{CLUSTER_ACCOUNT}"),
                account_attributes: account_pairs(own.map(str::to_owned)),
                context,
            });
            match denied(&governor.id, &changes, verdict) {
                Ok(rules) => permits.of.push((governor, rules)),
                Err(denial) => drop(permits.denial.get_or_insert(denial)),
            }
        }
        permits
    }

    fn unmet_of(
        &self,
        demand: &Demand<'_>,
        evidence: &ProposalEvidence<'_>,
    ) -> (Vec<ProposalUnmet>, Vec<IgnoredApproval>) {
        let (approvers, ignored) = self.approvers(demand, evidence);
        let mut unmet: Vec<ProposalUnmet> = demand.unsigned.iter().cloned().collect();
        let missing = missing(self, &demand.obligations, &approvers);
        unmet.extend(
            missing
                .into_iter()
                .map(|unmet| ProposalUnmet::Obligation { unmet }),
        );
        let delay_ms = demand.obligations.delay_ms;
        let mut begun = Some(evidence.first_seen);
        for role in &demand.obligations.notice {
            let seen = self.receipt_of(demand, evidence, role);
            begun = begun.and_then(|at| Some(at.max(seen?)));
            if seen.is_none() {
                let role = role.clone();
                unmet.push(ProposalUnmet::Notice { role, delay_ms });
            }
        }
        if let Some(until) = begun.map(|at| at.plus(delay_ms))
            && evidence.now < until
        {
            let unmet_one = Unmet::Delay { until };
            unmet.push(ProposalUnmet::Obligation { unmet: unmet_one });
        }
        (unmet, ignored)
    }

    /// When this node heard first that a holder of the role has seen the proposal. Whoever signed it
    /// has nobody to warn.
    fn receipt_of(
        &self,
        demand: &Demand<'_>,
        evidence: &ProposalEvidence<'_>,
        role: &RoleId,
    ) -> Option<TimeMs> {
        let subject = Subject::Charter(demand.hash);
        let receipts = evidence.notices.receipts(&subject);
        let valid = receipts.filter(|(id, _)| {
            let known = self.principal(id).filter(|p| p.roles.contains(role));
            let other = !self.is_initiators(demand, id);
            known.is_some_and(|p| !p.is_expired(evidence.now)) && other
        });
        valid.map(|(_, seen)| seen).min()
    }

    /// Whether a principal is one of those who signed, or of the operator of one.
    fn is_initiators(&self, demand: &Demand<'_>, id: &PrincipalId) -> bool {
        let operator = self.operator_of(id);
        let mut all = demand.initiators.iter();
        all.any(|p| self.operator_of(&p.id) == operator)
    }

    fn approvers(
        &self,
        demand: &Demand<'_>,
        evidence: &ProposalEvidence<'_>,
    ) -> (Vec<&Principal>, Vec<IgnoredApproval>) {
        let mut approvers: Vec<&Principal> = Vec::new();
        let mut ignored = Vec::new();
        let claim = Claim {
            constitution: self,
            intent_hash: demand.intent_hash,
            request_id: charter_request_id(&demand.hash),
            not_after: CHARTER_APPROVAL_NOT_AFTER,
            now: evidence.now,
        };
        for approval in evidence.approvals {
            let counted = approvers
                .iter()
                .any(|p| p.id == approval.unverified().principal);
            if counted {
                continue;
            }
            match approver(demand, &claim, approval) {
                Ok(principal) => approvers.push(principal),
                Err(fault) => ignored.push(IgnoredApproval {
                    principal: approval.unverified().principal.clone(),
                    fault,
                }),
            }
        }
        (approvers, ignored)
    }
}

fn approver<'a>(
    demand: &Demand<'_>,
    claim: &Claim<'a>,
    approval: &Signed<Approval>,
) -> Result<&'a Principal, crate::ApprovalFault> {
    use crate::ApprovalFault::{Initiator, NoRole};
    let (principal, credential) = claim.made_by(approval)?;
    let own = demand.initiators.iter().any(|p| p.id == principal.id);
    let related = claim.constitution.is_initiators(demand, &principal.id);
    if (own && !demand.obligations.initiator_counts) || (related && !own) {
        return Err(Initiator);
    }
    let asked_for = |role| demand.obligations.approvals.contains_key(role);
    if !principal.roles.iter().any(asked_for) {
        return Err(NoRole);
    }
    verify(approval, credential)?;
    Ok(principal)
}

/// The permits, or why there are none.
fn denied(
    governor: &PrincipalId,
    changes: &BTreeSet<String>,
    verdict: Verdict,
) -> Result<Vec<RuleId>, Denial> {
    let parts: Vec<&str> = changes.iter().map(String::as_str).collect();
    let what = format!(
        "`{governor}` may not change {} of the charter",
        parts.join(", ")
    );
    let named = |rules: &[RuleId]| {
        let all: Vec<String> = rules.iter().map(|r| format!("`{r}`")).collect();
        all.join(", ")
    };
    match verdict {
        Verdict::Permit(rules) => Ok(rules),
        Verdict::Forbid { rules, .. } => {
            let first = rules.first().map(RuleId::as_str).unwrap_or_default();
            let message = format!("{what}: forbidden by {}", named(&rules));
            Err(Denial::by(DenialReason::Forbidden, first, message))
        }
        Verdict::NoPermit { .. } => {
            let message = format!("{what}: no policy that names `{CHANGE_CHARTER}` permits it");
            Err(Denial::by(DenialReason::NoPermit, DEFAULT_DENY, message))
        }
        Verdict::Failed(rule, detail) => {
            let rule = rule.as_ref().map(RuleId::as_str).unwrap_or_default();
            let message = format!("{what}: policies cannot be evaluated: {detail}");
            Err(Denial::by(DenialReason::PolicyError, rule, message))
        }
    }
}

/// Refuses grants that a proposal gives or lengthens beyond three years from now.
fn bounded_grants(current: &Charter, next: &Charter, now: TimeMs) -> Result<(), CharterError> {
    let limit = now.plus(GRANT_MS_MAX);
    let kept = |p: &Principal| {
        let before = current.principals.iter().find(|old| old.id == p.id);
        before.is_some_and(|old| p.expires <= old.expires)
    };
    match next
        .principals
        .iter()
        .find(|p| p.expires > limit && !kept(p))
    {
        None => Ok(()),
        Some(p) => Err(CharterError::GrantTooLong {
            place: format!("principals.{}.expires", p.id),
        }),
    }
}
