//! Annotations: what a permit demands, and what it may do that others may not.
//!
//! Unknown ones make the charter invalid: a misspelt demand is none.

use crate::budget::Scope;
use crate::charter::Charter;
use crate::check::{CharterError, reachable};
use crate::obligation::{ApprovalsObligation, Obligations, parse_delay};
use cedar_policy::{Effect, Policy};
use quoin_core::RuleId;

/// What a permit may do that others may not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    /// `@corridor`: it counts while everything else is stopped.
    pub(crate) corridor: bool,
    /// `@unbounded`: it allows what could execute for ever.
    pub(crate) unbounded: bool,
}

/// The one value of `@initiator`.
const COUNTS: &str = "counts";

/// Reads a policy's annotations.
pub(crate) fn annotations(
    charter: &Charter,
    id: &RuleId,
    policy: &Policy,
) -> Result<(Obligations, Marks), CharterError> {
    let mut obligations = Obligations::default();
    let mut marks = Marks::default();
    let bad = |annotation: &str, value: &str, problem| CharterError::BadAnnotation {
        policy: id.to_string(),
        annotation: annotation.to_owned(),
        value: value.to_owned(),
        problem,
    };
    for (annotation, value) in policy.annotations().filter(|(name, _)| *name != "id") {
        if policy.effect() == Effect::Forbid {
            let problem = "demands something of a forbid, which has nothing to demand";
            return Err(bad(annotation, value, problem));
        }
        let read = match annotation {
            "corridor" => bare(value, &mut marks.corridor),
            "unbounded" => bare(value, &mut marks.unbounded),
            _ => demand(charter, id, annotation, value, &mut obligations)?,
        };
        read.map_err(|problem| bad(annotation, value, problem))?;
    }
    if let Some(role) = obligations.notice.first()
        && obligations.delay_ms == 0
    {
        let problem = "needs `@delay` beside it: it says from whose receipt the delay counts";
        return Err(bad("notice", role.as_str(), problem));
    }
    if obligations.initiator_counts && obligations.approvals.is_empty() {
        let problem = "needs `@approvals` beside it";
        return Err(bad("initiator", COUNTS, problem));
    }
    let corridor_budget = charter.budgets.iter().any(|b| b.scope == Scope::Corridor);
    if marks.corridor && !corridor_budget {
        let problem = "needs a budget with the scope `corridor`";
        return Err(bad("corridor", "", problem));
    }
    Ok((obligations, marks))
}

type Problem = Result<(), &'static str>;

fn bare(value: &str, mark: &mut bool) -> Problem {
    *mark = true;
    if value.is_empty() {
        Ok(())
    } else {
        Err("has no value")
    }
}

fn demand(
    charter: &Charter,
    id: &RuleId,
    annotation: &str,
    value: &str,
    obligations: &mut Obligations,
) -> Result<Problem, CharterError> {
    let place = format!("policies.{id}");
    match annotation {
        "approvals" => {
            let Some(read) = ApprovalsObligation::parse(value) else {
                return Ok(Err("must be `<number> of <role>`, such as `2 of treasury`"));
            };
            reachable(&place, read.role.as_str(), read.count, &charter.principals)?;
            obligations.approvals.insert(read.role, read.count);
        }
        "delay" => {
            let Some(delay_ms) = parse_delay(value) else {
                let problem = "must be a number and `s`, `m`, `h` or `d`, at most 31 days";
                return Ok(Err(problem));
            };
            obligations.delay_ms = delay_ms;
        }
        "notice" => {
            let Ok(role) = value.parse() else {
                return Ok(Err("must be a role, such as `watcher`"));
            };
            reachable(&place, value, 1, &charter.principals)?;
            obligations.notice.insert(role);
        }
        "initiator" if value == COUNTS => obligations.initiator_counts = true,
        "initiator" => return Ok(Err("must be `counts`")),
        _ => {
            let problem = "is unknown; known are `id`, `approvals`, `delay`, `notice`, \
                           `initiator`, `corridor` and `unbounded`";
            return Ok(Err(problem));
        }
    }
    Ok(Ok(()))
}
