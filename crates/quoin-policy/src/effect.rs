//! What another charter would have decided: recorded requests judged by both, policies alone.
//!
//! Budgets, slots, freezes and the book are left out: they depend on what else was signed in between,
//! which would have been otherwise too. For `plan`, `policy replay` and shadow mode.

use crate::cedar::Verdict;
use crate::conditions::Calm;
use crate::constitution::Constitution;
use crate::denial::{DEFAULT_DENY, DenialReason};
use crate::explain::summary;
use crate::facts::FactView;
use crate::judge::{KeyFacts, Request};
use crate::obligation::Unmet;
use crate::permits::query;
use crate::schema::View;
use quoin_chain::Decoded;
use quoin_core::{Payload, PrincipalId, RequestId, RuleId, Scheme, Stamp, TimeMs};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A request as a journal has it.
#[derive(Clone, Debug)]
pub struct RecordedRequest {
    /// The payload.
    pub payload: Payload,
    /// The stamp, which the node had verified.
    pub stamp: Stamp,
    /// The key as it was.
    pub key: Option<KeyFacts>,
    /// When the node saw it first.
    pub first_seen: TimeMs,
    /// When it was decided.
    pub at: TimeMs,
    /// Whose approvals counted. The same people are taken to approve whatever another charter's
    /// policies make of it, although what they sign would differ.
    pub approved_by: BTreeSet<PrincipalId>,
    /// What was believed of the world.
    pub facts: FactView,
}

/// What policies say of a recorded request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Decided {
    /// Permitted, and nothing more is demanded.
    Permitted {
        /// By these policies.
        rules: Vec<RuleId>,
    },
    /// Permitted once more has happened.
    Pending {
        /// By these policies.
        rules: Vec<RuleId>,
        /// What is missing.
        unmet: Vec<Unmet>,
    },
    /// Denied.
    Denied {
        /// Why.
        reason: DenialReason,
        /// By which policy; none for `default-deny`.
        rule: Option<RuleId>,
    },
}

impl Decided {
    /// `permitted`, `pending` or `denied`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Permitted { .. } => "permitted",
            Self::Pending { .. } => "pending",
            Self::Denied { .. } => "denied",
        }
    }
}

/// A request that would be decided otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flip {
    /// The request.
    pub request_id: RequestId,
    /// Who asked.
    pub principal: PrincipalId,
    /// When it was decided.
    pub at: TimeMs,
    /// The request in words.
    pub summary: String,
    /// By the old charter's policies.
    pub before: Decided,
    /// By the new charter's policies.
    pub after: Decided,
}

/// The recorded requests that one charter's policies would decide otherwise than another's: permitted,
/// pending or denied. Which rule decides, or what is missing, may differ without being a flip. What
/// cannot be decoded any more is left out.
#[must_use]
pub fn effect(old: &Constitution, new: &Constitution, samples: &[RecordedRequest]) -> Vec<Flip> {
    let flips = samples.iter().filter_map(|sample| {
        let decoded = sample.decoded()?;
        let before = old.would_decide(sample)?;
        let after = new.would_decide(sample)?;
        (before.name() != after.name()).then(|| Flip {
            request_id: sample.stamp.request_id,
            principal: sample.stamp.principal.clone(),
            at: sample.at,
            summary: summary(new, decoded.intent()),
            before,
            after,
        })
    });
    flips.collect()
}

impl RecordedRequest {
    fn decoded(&self) -> Option<Decoded> {
        let scheme = self.key.as_ref().map_or(Scheme::Ecdsa, |k| k.scheme);
        quoin_chain::decode(&self.payload, &self.stamp.account, scheme).ok()
    }
}

impl Constitution {
    /// What this charter's policies say of a recorded request; `None` when it cannot be decoded.
    #[must_use]
    pub fn would_decide(&self, sample: &RecordedRequest) -> Option<Decided> {
        let calm = Calm::default();
        let request = Request {
            decoded: sample.decoded()?,
            stamp: &sample.stamp,
            key: sample.key.as_ref(),
            approvals: &[],
            first_seen: sample.first_seen,
            now: sample.at,
            conditions: calm.conditions(),
        };
        let Some(known) = self.principal(&sample.stamp.principal) else {
            return Some(denied(DenialReason::UnknownPrincipal, None));
        };
        if known.is_expired(sample.at) {
            return Some(denied(DenialReason::PrincipalExpired, None));
        }
        let view = View {
            constitution: self,
            intent: request.decoded.intent(),
            custody: sample.stamp.custody,
            facts: Some(&sample.facts),
        };
        let query = match query(&view, &request) {
            Ok(query) => query,
            Err(denial) => return Some(denied(denial.reason, denial.rule)),
        };
        Some(match self.rules.evaluate(&query) {
            Verdict::Permit(rules) => self.demanded(sample, rules),
            Verdict::NoPermit { .. } => denied(DenialReason::NoPermit, None),
            Verdict::Forbid { rules, .. } => {
                denied(DenialReason::Forbidden, rules.first().cloned())
            }
            Verdict::Failed(rule, _) => denied(DenialReason::PolicyError, rule),
        })
    }

    /// What the permits demand and did not get. A notice is taken to have been acknowledged at first
    /// sight: journals of requests that needed none have no receipts.
    fn demanded(&self, sample: &RecordedRequest, rules: Vec<RuleId>) -> Decided {
        let obligations = self.rules.obligations(&rules);
        let mut unmet = Vec::new();
        for (role, needed) in &obligations.approvals {
            let approvers = sample.approved_by.iter().filter(|id| {
                let counts = obligations.initiator_counts || **id != sample.stamp.principal;
                let known = self.principal(id).filter(|p| !p.is_expired(sample.at));
                counts && known.is_some_and(|p| p.roles.contains(role))
            });
            let given: Vec<PrincipalId> = approvers.cloned().collect();
            if given.len() < usize::from(*needed) {
                let (role, needed) = (role.clone(), *needed);
                unmet.push(Unmet::Approvals {
                    role,
                    needed,
                    given,
                });
            }
        }
        let until = sample.first_seen.plus(obligations.delay_ms);
        if sample.at < until {
            unmet.push(Unmet::Delay { until });
        }
        match unmet.is_empty() {
            true => Decided::Permitted { rules },
            false => Decided::Pending { rules, unmet },
        }
    }
}

fn denied(reason: DenialReason, rule: Option<RuleId>) -> Decided {
    let rule = rule.filter(|rule| rule.as_str() != DEFAULT_DENY);
    Decided::Denied { reason, rule }
}
