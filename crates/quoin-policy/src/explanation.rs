//! Explanations: why a request is decided as it is, rule by rule, without deciding anything.
//!
//! For people who may read policies; whoever else asks learns the decision and the ids of the rules
//! that made it, which a request would have told them too.

use crate::budget::Measure;
use crate::cedar::{Prepared, RuleFacts};
use crate::clauses::conjuncts;
use crate::constitution::Constitution;
use crate::denial::{DEFAULT_DENY, DenialReason};
use crate::judge::{Request, Stop};
use crate::ledger::Reservation;
use crate::obligation::Unmet;
use crate::permits::query;
use crate::probe::Probe;
use crate::suggest::may_read_policies;
use quoin_core::{Amount, BudgetId, PrincipalId, RuleId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The most rules that one explanation goes into; nobody reads more, and each costs evaluations.
pub const EXPLAINED_MAX: usize = 128;

/// What would happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It would be permitted, as far as policies go.
    Permitted,
    /// It would be, once something else has happened.
    Pending,
    /// It would be refused.
    Denied,
}

/// Why a request is decided as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Explanation {
    /// What would happen.
    pub outcome: Outcome,
    /// Why it would be refused.
    pub reason: Option<DenialReason>,
    /// The rules that decide: permits, forbids, a budget, or `default-deny`.
    pub deciding: Vec<RuleId>,
    /// In words.
    pub message: String,
    /// What has to happen first.
    pub unmet: Vec<Unmet>,
    /// The permits whose scope fits. Empty for who may not read policies, as all that follows.
    pub permits: Vec<ExplainedRule>,
    /// The forbids whose scope fits.
    pub forbids: Vec<ExplainedRule>,
    /// How many more rules there are whose scope fits.
    pub left_out: usize,
    /// The budgets that it would be charged to.
    pub budgets: Vec<BudgetRoom>,
    /// The smallest rule that would permit it, as Cedar text.
    pub suggestion: Option<String>,
}

/// A rule whose scope fits, and its conditions one by one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplainedRule {
    /// The rule.
    pub rule: RuleId,
    /// Whether it matches.
    pub matches: bool,
    /// Why it does not count although it matches.
    pub but: Option<String>,
    /// The parts of its conditions that hold, as Cedar text.
    pub holds: Vec<String>,
    /// The parts that do not hold.
    pub fails: Vec<String>,
    /// The facts that it needs and nobody knows.
    pub needs: Vec<String>,
    /// The parts that cannot be evaluated, and why; behind a part that does not hold they do not
    /// matter.
    pub errors: Vec<String>,
    /// What it demands: `2 of treasury`, `a delay of 3600 s`.
    pub demands: Vec<String>,
}

/// How much of a budget is left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BudgetRoom {
    /// The budget.
    pub budget: BudgetId,
    /// What it counts.
    pub measure: Measure,
    /// What the request would take.
    pub wanted: Amount,
    /// What this node may still sign under it now.
    pub left: Amount,
}

impl Constitution {
    /// Explains what would become of a request to `reader`, and changes nothing.
    ///
    /// Policies and what they demand are judged as [`Constitution::judge`] does; room in budgets is
    /// `rooms`, which says for each charge what is left, and decides as a budget would.
    pub fn explain(
        &self,
        request: &Request<'_>,
        reader: &PrincipalId,
        rooms: impl FnOnce(&Reservation) -> Vec<BudgetRoom>,
    ) -> Explanation {
        let mut out = self.outcome(request, rooms);
        if may_read_policies(self, reader, request.now) {
            self.details(request, &mut out);
        } else {
            out.suggestion = None;
            out.budgets.clear();
        }
        out
    }

    fn outcome(
        &self,
        request: &Request<'_>,
        rooms: impl FnOnce(&Reservation) -> Vec<BudgetRoom>,
    ) -> Explanation {
        let mut out = Explanation {
            outcome: Outcome::Permitted,
            reason: None,
            deciding: Vec::new(),
            message: String::new(),
            unmet: Vec::new(),
            permits: Vec::new(),
            forbids: Vec::new(),
            left_out: 0,
            budgets: Vec::new(),
            suggestion: None,
        };
        match self.weigh_request(request) {
            Ok((rules, reservation)) => {
                out.deciding = rules;
                out.budgets = rooms(&reservation);
                if let Some(short) = out.budgets.iter().find(|b| b.wanted > b.left) {
                    out.outcome = Outcome::Denied;
                    out.reason = Some(DenialReason::OverBudget);
                    out.message = format!("the budget `{}` has no room for it", short.budget);
                    out.deciding = short.budget.as_str().parse().into_iter().collect();
                }
            }
            Err(Stop::Pending(pending)) => {
                out.outcome = Outcome::Pending;
                out.deciding = pending.rules;
                out.message = pending.summary;
                out.unmet = pending.unmet;
            }
            Err(Stop::Denied(denial)) => {
                out.outcome = Outcome::Denied;
                out.reason = Some(denial.reason);
                out.deciding = denial.rule.into_iter().collect();
                out.message = denial.message;
            }
        }
        out
    }

    fn details(&self, request: &Request<'_>, out: &mut Explanation) {
        let facts = self.believed(request);
        let view = self.view(request, &facts);
        let Ok(query) = query(&view, request) else {
            return;
        };
        let Ok(prepared) = self.rules.prepare(&query) else {
            return;
        };
        let fitting = self.rules.fitting(&query);
        let fitting: BTreeSet<&RuleId> = fitting.iter().map(|entry| &entry.rule).collect();
        out.left_out = fitting.len().saturating_sub(EXPLAINED_MAX);
        for id in fitting.into_iter().take(EXPLAINED_MAX) {
            let Some(facts) = self.rules.facts(id) else {
                continue;
            };
            let rule = self.explained(id, facts, query.action, &prepared);
            if facts.permits {
                out.permits.push(rule);
            } else {
                out.forbids.push(rule);
            }
        }
        let by_default = out.deciding.iter().any(|id| id.as_str() == DEFAULT_DENY);
        if out.reason == Some(DenialReason::NoPermit) && by_default {
            out.suggestion = crate::suggest::suggestion(&view, &query);
        }
    }

    fn explained(
        &self,
        id: &RuleId,
        facts: &RuleFacts,
        action: &str,
        prepared: &Prepared,
    ) -> ExplainedRule {
        let mut out = ExplainedRule {
            rule: id.clone(),
            matches: true,
            but: None,
            holds: Vec::new(),
            fails: Vec::new(),
            needs: Vec::new(),
            errors: Vec::new(),
            demands: facts.obligations.words(),
        };
        for part in conjuncts(&facts.body) {
            match self.rules.probe(&part, prepared) {
                Probe::Holds => {
                    out.holds.push(part.text());
                    continue;
                }
                Probe::Fails => out.fails.push(part.text()),
                Probe::Needs(facts) => {
                    out.needs.extend(facts);
                }
                Probe::Error(error) => out.errors.push(format!("{}: {error}", part.text())),
            }
            out.matches = false;
        }
        out.needs.sort();
        out.needs.dedup();
        if facts.permits && out.matches && !self.rules.covers(std::slice::from_ref(id), action) {
            out.but = Some(format!("`{action}` needs a permit that names it"));
        }
        // A forbid that cannot be asked forbids, unless a part in front of that says no.
        if !facts.permits && !out.needs.is_empty() && out.fails.is_empty() {
            out.matches = true;
            out.but = None;
        }
        out
    }
}
