//! How a charter comes into force: proposed, permitted by the policies before it, approved, waited
//! for, and vetoed by nobody.
//!
//! A proposal is judged by the same engine as every other request, on every node for itself; what is
//! special is only that as many must have asked for it as the charter's quorum of governors says. The
//! way of a recovery, for which no policy is asked because no governor is left to ask, is here too.
//! Source: the design, sections 4 and 6.

use crate::approval::{Approval, Claim, IgnoredApproval, ReliedRule, verify};
use crate::cedar::{Query, Verdict};
use crate::charter::{Charter, GOVERNOR_ROLE, Principal, Recovery, WATCHER_ROLE};
use crate::check::CharterError;
use crate::constitution::Constitution;
use crate::denial::{DEFAULT_DENY, Denial, DenialReason};
use crate::judge::CLUSTER_ACCOUNT;
use crate::notice::{Notices, Subject};
use crate::obligation::{Obligations, Unmet};
use crate::schema::{CHANGE_CHARTER, account_pairs, charter_pairs};
use crate::succession::{follows, recoverers, recovers_only, signers, successor};
use minicbor::Encode;
use quoin_core::cbor::{self, Version};
use quoin_core::hash::tagged;
use quoin_core::{
    Certificate, CharterHash, IntentHash, PrincipalId, RequestId, RoleId, RuleId, Signed, TimeMs,
    tags,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// When approvals of a charter made with a passkey have to lapse: never. A passkey's signature does
/// not cover the lapse, and a proposal ends when its number is taken.
pub const CHARTER_APPROVAL_NOT_AFTER: TimeMs = TimeMs(u64::MAX);
/// The longest grant that a proposal may give, from when it is judged: three years.
pub const GRANT_MS_MAX: u64 = 3 * 366 * 24 * 60 * 60 * 1000;

/// A part of a charter, as policies name what changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CharterPart {
    /// The cluster's name.
    Name,
    /// The nodes.
    Nodes,
    /// How many nodes sign, and what is promised against malicious ones.
    Threshold,
    /// The gateways.
    Gateways,
    /// Principals, their roles, credentials and grants.
    Principals,
    /// How many governors sign.
    GovernorQuorum,
    /// The budgets.
    Budgets,
    /// The assets.
    Assets,
    /// The address book.
    Book,
    /// The policies.
    Policies,
    /// The officers of backups.
    Backup,
    /// When facts are believed.
    Facts,
    /// The keys that may spend.
    Keys,
    /// Cooling-off, retention, and what is allowed of failure domains.
    Limits,
    /// Who may put new governors in place.
    Recovery,
}

impl CharterPart {
    /// The name that policies see in `context.changes`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Nodes => "nodes",
            Self::Threshold => "threshold",
            Self::Gateways => "gateways",
            Self::Principals => "principals",
            Self::GovernorQuorum => "governor_quorum",
            Self::Budgets => "budgets",
            Self::Assets => "assets",
            Self::Book => "book",
            Self::Policies => "policies",
            Self::Backup => "backup",
            Self::Facts => "facts",
            Self::Keys => "keys",
            Self::Limits => "limits",
            Self::Recovery => "recovery",
        }
    }
}

/// The parts in which two charters differ. Number, cluster and predecessor are no parts: they always
/// differ as they must.
#[must_use]
pub fn changed_parts(old: &Charter, new: &Charter) -> BTreeSet<CharterPart> {
    // Taken apart in full, so that a new field does not compile before it is given to a part.
    let Charter {
        version: _,
        number: _,
        cluster: _,
        previous: _,
        name,
        nodes,
        threshold,
        f_tol,
        dangerous_disjoint_signers,
        gateways,
        principals,
        governor_quorum,
        budgets,
        assets,
        book,
        policies,
        backup,
        facts,
        keys,
        cooling_off_ms,
        payload_retention_days,
        dangerous_single_failure_domain,
        recovery,
    } = new;
    let signing = (*threshold, *f_tol, *dangerous_disjoint_signers);
    let limits = (
        *cooling_off_ms,
        *payload_retention_days,
        *dangerous_single_failure_domain,
    );
    let differ = [
        (CharterPart::Name, *name != old.name),
        (CharterPart::Nodes, *nodes != old.nodes),
        (
            CharterPart::Threshold,
            signing != (old.threshold, old.f_tol, old.dangerous_disjoint_signers),
        ),
        (CharterPart::Gateways, *gateways != old.gateways),
        (CharterPart::Principals, *principals != old.principals),
        (
            CharterPart::GovernorQuorum,
            *governor_quorum != old.governor_quorum,
        ),
        (CharterPart::Budgets, *budgets != old.budgets),
        (CharterPart::Assets, *assets != old.assets),
        (CharterPart::Book, *book != old.book),
        (CharterPart::Policies, *policies != old.policies),
        (CharterPart::Backup, *backup != old.backup),
        (CharterPart::Facts, *facts != old.facts),
        (CharterPart::Keys, *keys != old.keys),
        (
            CharterPart::Limits,
            limits
                != (
                    old.cooling_off_ms,
                    old.payload_retention_days,
                    old.dangerous_single_failure_domain,
                ),
        ),
        (CharterPart::Recovery, *recovery != old.recovery),
    ];
    let differing = differ.into_iter().filter(|(_, differs)| *differs);
    differing.map(|(part, _)| part).collect()
}

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
        let able = permits.of.iter().filter(|(p, _)| !p.is_expired(now));
        if able.count() < usize::from(quorum) {
            let too_few = CharterError::TooFewGovernors {
                signed: counted.len(),
                quorum,
            };
            return Err(permits.denial.map_or(too_few.into(), Into::into));
        }
        let rules: BTreeSet<&RuleId> = counted.iter().flat_map(|(_, r)| r).collect();
        let rules: Vec<RuleId> = rules.into_iter().cloned().collect();
        let unsigned = self
            .held_role(GOVERNOR_ROLE)
            .map(|role| ProposalUnmet::Signatures {
                role,
                needed: quorum,
                given: counted.iter().map(|(p, _)| p.id.clone()).collect(),
            });
        Ok(Demand {
            hash: next.hash(),
            intent_hash,
            obligations: self.rules.obligations(&rules),
            unsigned: unsigned.filter(|_| counted.len() < usize::from(quorum)),
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

    /// Asks the policies for each governor, whatever has become of their grants: what approvals sign
    /// must not depend on the hour.
    fn permits_change(&self, next: &Charter) -> Permits<'_> {
        let changes = changed_parts(self.charter(), next);
        let changes: BTreeSet<String> = changes.iter().map(|p| p.name().to_owned()).collect();
        let mut permits = Permits {
            of: Vec::new(),
            denial: None,
        };
        for governor in self.charter().governors() {
            let Some(context) = charter_pairs(next.number, &changes) else {
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
        for (role, needed) in &demand.obligations.approvals {
            let holders = approvers.iter().filter(|p| p.roles.contains(role));
            let given: Vec<PrincipalId> = holders.map(|p| p.id.clone()).collect();
            if given.len() < usize::from(*needed) {
                let (role, needed) = (role.clone(), *needed);
                let unmet_one = Unmet::Approvals {
                    role,
                    needed,
                    given,
                };
                unmet.push(ProposalUnmet::Obligation { unmet: unmet_one });
            }
        }
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
            let other = demand.initiators.iter().all(|p| p.id != **id);
            known.is_some_and(|p| !p.is_expired(evidence.now)) && other
        });
        valid.map(|(_, seen)| seen).min()
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
    let initiates = demand.initiators.iter().any(|p| p.id == principal.id);
    if initiates && !demand.obligations.initiator_counts {
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
