//! Suggestions: the smallest rule that would permit what was refused.
//!
//! They are for people who may read policies, and they stay small: never a recipient that the
//! charter does not know yet, never what only a named permit can allow, and never against a forbid.
//! Whether to put one into the charter is for its governors.

use crate::cedar::{Prepared, Query, RuleFacts};
use crate::charter::GOVERNOR_ROLE;
use crate::clauses::{Bound, conjuncts, relaxed, texts};
use crate::constitution::Constitution;
use crate::probe::Probe;
use crate::schema::{Seen, View, custody_name, is_privileged};
use quoin_core::intent::{Horizon, RiskEffect};
use quoin_core::{Action, Address, PrincipalId, RuleId, TimeMs};
use std::fmt::Write;

/// The roles whose holders may read policies, and are told what would permit their requests.
pub const READER_ROLES: [&str; 3] = [GOVERNOR_ROLE, "auditor", "policy-reader"];

/// The longest suggestion: nobody reads more, and a denial has its limit.
const SUGGESTION_BYTES_MAX: usize = 4096;
/// The most permits that are looked at for one that almost matches: it happens while a request is
/// refused, and must not be what a refusal costs.
const NEAREST_MAX: usize = 64;

/// Whether a principal may read policies at `now`.
#[must_use]
pub fn may_read_policies(
    constitution: &Constitution,
    principal: &PrincipalId,
    now: TimeMs,
) -> bool {
    let known = constitution.principal(principal);
    known.is_some_and(|p| !p.is_expired(now) && READER_ROLES.iter().any(|r| p.holds(r)))
}

/// The smallest rule that would permit a request that no policy permits, as Cedar text: the nearest
/// permit with one bound moved or, without one, a permit for exactly this request.
///
/// There is none for a request that nothing explains: such a rule is for a person to think up.
pub(crate) fn suggestion(view: &View<'_>, query: &Query<'_>) -> Option<String> {
    let intent = view.intent;
    // A signature that works for ever is a privilege of its own.
    let for_ever = intent.horizon == Horizon::Unbounded && intent.risk == RiskEffect::Increases;
    if is_privileged(query.action) || for_ever || !knows_counterparty(view) {
        return None;
    }
    let rules = &view.constitution.rules;
    let prepared = rules.prepare(query).ok()?;
    let texts = [nearest(view, query, &prepared), exact(view, query)];
    let mut fitting = texts.into_iter().flatten().filter(|text| {
        text.len() <= SUGGESTION_BYTES_MAX
            // What it says is checked as a charter's text would be, and that it permits this.
            && rules.accepts(text, &prepared)
    });
    fitting.next()
}

/// Whether the book has the counterparty, or some permit writes its address out.
fn knows_counterparty(view: &View<'_>) -> bool {
    let Some(address) = view.intent.action.counterparty() else {
        return true;
    };
    let listed = view.constitution.book_entry(&view.intent.chain, address);
    let mut permits = view.constitution.rules.all().filter(|(_, f)| f.permits);
    listed.is_some() || permits.any(|(_, f)| texts(&f.body).contains(address.as_str()))
}

/// A permit of which one bound alone does not hold, with that bound moved just so far.
fn nearest(view: &View<'_>, query: &Query<'_>, prepared: &Prepared) -> Option<String> {
    let rules = &view.constitution.rules;
    let near = rules.near(query).into_iter().map(|entry| &entry.rule);
    let permits = near.filter_map(|id| Some((id, rules.facts(id)?)));
    let permits = permits.filter(|(_, facts)| facts.permits).take(NEAREST_MAX);
    let near = permits.filter_map(|(id, facts)| {
        let (place, bound, value) = one_bound(view, query, prepared, facts)?;
        Some((value.abs_diff(bound.limit), id, facts, place, bound, value))
    });
    let (_, id, facts, place, bound, value) = near.min_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)))?;
    let body = relaxed(&facts.body, place, &bound, value)?;
    let name = free_id(view.constitution, id.as_str())?;
    let mut annotations = body.annotations.clone();
    annotations.insert("id".to_owned(), name.as_str().into());
    Some(format!("{}\n", body.with_annotations(annotations)))
}

/// The one part of a policy's conditions that does not hold, when it is a bound: its place, the
/// bound, and what the request has there.
fn one_bound(
    view: &View<'_>,
    query: &Query<'_>,
    prepared: &Prepared,
    facts: &RuleFacts,
) -> Option<(usize, Bound, i64)> {
    let parts = conjuncts(&facts.body);
    let rules = &view.constitution.rules;
    let probed = parts.iter().enumerate();
    let mut failing = probed.filter(|(_, part)| rules.probe(part, prepared) != Probe::Holds);
    let (place, part) = failing.next()?;
    if failing.next().is_some() {
        return None;
    }
    let bound = part.bound()?;
    let seen = query.context.iter().find(|(name, _)| *name == bound.name);
    match seen {
        Some((_, Seen::Long(value))) => Some((place, bound, *value)),
        _ => None,
    }
}

/// The permit for exactly this request.
fn exact(view: &View<'_>, query: &Query<'_>) -> Option<String> {
    let (principal, action) = (query.principal, query.action);
    let conditions = conditions(view)?;
    let id = free_id(view.constitution, &format!("{principal}-{action}"))?;
    let mut out = String::new();
    let _ = write!(
        out,
        "@id(\"{id}\")\npermit (\n  principal == Principal::{},\n  action == Action::\"{action}\",\n  \
         resource == Account::{}\n) when {{\n  {}\n}};\n",
        quoted(principal.as_str()),
        quoted(&query.account),
        conditions.join(" &&\n  "),
    );
    Some(out)
}

fn conditions(view: &View<'_>) -> Option<Vec<String>> {
    let text = |name: &str, value: &str| format!("context.{name} == {}", quoted(value));
    let optional = |name: &str, value: Option<&Address>| {
        text(name, value.map(Address::as_str).unwrap_or_default())
    };
    let mut all = vec![text("custody", custody_name(view.custody))];
    if let Some(value) = view.intent.action.value() {
        all.push(text("asset", &value.asset.to_string()));
        let micro = view.micro(value, "amount_micro").ok()?;
        all.push(format!("context.amount_micro <= {micro}"));
    }
    match &view.intent.action {
        Action::Transfer { to, .. } => all.push(text("to", to.as_str())),
        Action::TransferFrom { from, to, .. } => {
            all.extend([text("from", from.as_str()), text("to", to.as_str())]);
        }
        Action::Approve {
            spender, permit, ..
        } => {
            all.push(text("spender", spender.as_str()));
            all.push(format!("context.permit == {permit}"));
        }
        Action::Call {
            target, selector, ..
        } => {
            all.push(text("target", target.as_str()));
            all.push(text("selector", &format!("0x{}", hex::encode(selector))));
        }
        Action::TypedData {
            domain_name,
            verifying_contract,
            primary_type,
        } => {
            all.push(text(
                "domain_name",
                domain_name.as_deref().unwrap_or_default(),
            ));
            all.push(optional("verifying_contract", verifying_contract.as_ref()));
            all.push(text("primary_type", primary_type));
        }
        Action::Message { bytes, readable } => {
            all.push(format!("context.bytes <= {bytes}"));
            all.push(format!("context.readable == {readable}"));
        }
        // None of these is ever suggested: they are privileged.
        Action::Unexplained { .. }
        | Action::CreateKey { .. }
        | Action::ChangeKey { .. }
        | Action::ChangeNode { .. }
        | Action::Unfreeze { .. } => return None,
    }
    if let Some(fee) = &view.intent.fee_max {
        let micro = view.micro(fee, "fee_micro").ok()?;
        all.push(format!("context.fee_micro <= {micro}"));
    }
    Some(all)
}

/// An id that no policy or budget has yet.
fn free_id(constitution: &Constitution, wish: &str) -> Option<RuleId> {
    // Room for `allow-`, a number and the 64 characters of an id.
    let wish: String = wish.chars().take(54).collect();
    let mut candidates = (1u16..1000).map(|n| match n {
        1 => format!("allow-{wish}"),
        _ => format!("allow-{wish}-{n}"),
    });
    let budgets = &constitution.charter().budgets;
    let taken =
        |id: &str| constitution.rules.has(id) || budgets.iter().any(|b| b.id.as_str() == id);
    candidates.find(|id| !taken(id))?.parse().ok()
}

/// A Cedar string literal.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            _ => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_survives_what_an_attacker_would_write() {
        assert_eq!(quoted("a\"b\\c"), r#""a\"b\\c""#);
        assert_eq!(quoted("\n\u{202e}é"), r#""\u{a}\u{202e}\u{e9}""#);
    }
}
