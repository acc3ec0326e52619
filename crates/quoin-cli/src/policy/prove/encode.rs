//! What has to be proven, as pairs of plain policy sets: whatever the new one permits, the old one
//! has to permit.
//!
//! A request is permitted with demands of at most `v` of a kind exactly when some permit matches, no
//! forbid matches, and no permit that demands more than `v` of the kind matches: demands are the
//! union over all permits that match. So a permit that demands more becomes a forbid. Demands are
//! ordered kind by kind, so that asking for each kind and each amount alone is enough:
//! `docs/policy-prove.md` has the argument.

use super::rewrite::{NAMES, Rewriting, can_fail, of_resource, reads, texts};
use super::side::{Demand, Rule, Side};
use super::terms::{
    all, any, at_least, attribute, context, entity, equal, not, policy, value, var,
};
use quoin_policy::is_privileged;
use serde_json::Value;
use std::collections::BTreeSet;

/// What feeds say, which can be unknown.
pub const FACTS: &[&str] = &["price", "margin", "height", "value_usd_micro"];
/// Numbers that are never negative, wherever an action has them.
pub(super) const COUNTS: &[&str] = &[
    "amount_micro",
    "fee_micro",
    "value_usd_micro",
    "bytes",
    "node",
    "number",
];
/// The numbers of the facts that are records, none of which is ever negative.
pub(super) const RECORDS: &[(&str, &[&str])] = &[
    ("price", &["usd_micro", "age_s", "sources"]),
    (
        "margin",
        &["ratio_bp", "exposure_usd_micro", "age_s", "sources"],
    ),
    ("height", &["number", "age_s"]),
];
/// Texts of which there are only these, on every action.
pub(super) const WORDS: &[(&str, &[&str])] = &[
    ("custody", &["mpc", "local"]),
    ("risk", &["reduces", "neutral", "increases"]),
    ("horizon", &["until", "slot", "unbounded"]),
];
/// Over how many entries of the address book a rule that speaks of "no name" is told which they are.
const UNNAMED_MAX: usize = 256;

/// One thing to be proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The action.
    pub action: String,
    /// Whether only the corridor is open.
    pub corridor: bool,
    /// The facts that are unknown.
    pub missing: BTreeSet<String>,
    /// Only what is permitted with at most so much of a kind; none for all that is permitted.
    pub bound: Option<(Demand, u64)>,
}

/// Everything that has to be proven about an action; nothing when both charters have the same to say
/// of it.
pub fn questions(old: &Side, new: &Side, action: &str) -> Vec<Question> {
    let mut all = Vec::new();
    let open = new.about(action).any(|r| r.permits);
    if !open || same(old, new, action) {
        return all;
    }
    let mut modes = vec![false];
    modes.extend(new.about(action).any(|r| r.corridor).then_some(true));
    for corridor in modes {
        for missing in subsets(&facts_read(old, new, action)) {
            let mut ask = |bound| {
                all.push(Question {
                    action: action.to_owned(),
                    corridor,
                    missing: missing.clone(),
                    bound,
                });
            };
            ask(None);
            bounds(old, new, action)
                .into_iter()
                .for_each(|bound| ask(Some(bound)));
        }
    }
    all
}

/// Whether both charters have the same policies about an action, and whatever else those read.
fn same(old: &Side, new: &Side, action: &str) -> bool {
    let (left, right): (Vec<_>, Vec<_>) =
        (old.about(action).collect(), new.about(action).collect());
    let covered = |of: &[&Rule], by: &[&Rule]| of.iter().all(|a| by.iter().any(|b| a.same_as(b)));
    let held = |side: &Side| {
        let held = side.charter.principals.iter();
        held.map(|p| {
            (
                p.id.clone(),
                p.roles.iter().cloned().collect::<BTreeSet<_>>(),
            )
        })
        .collect::<BTreeSet<_>>()
    };
    covered(&left, &right)
        && covered(&right, &left)
        && held(old) == held(new)
        && old.book() == new.book()
        && old.margins().collect::<BTreeSet<_>>() == new.margins().collect::<BTreeSet<_>>()
}

fn facts_read(old: &Side, new: &Side, action: &str) -> Vec<String> {
    let rules: Vec<&Rule> = old.about(action).chain(new.about(action)).collect();
    let read = FACTS
        .iter()
        .filter(|fact| rules.iter().any(|r| reads(&r.json, fact)));
    read.map(|fact| (*fact).to_owned()).collect()
}

/// All subsets, the smaller ones first: at most 16, since there are four facts.
fn subsets(of: &[String]) -> Vec<BTreeSet<String>> {
    let mut all = vec![BTreeSet::new()];
    for item in of {
        let with = all.iter().cloned().map(|mut set| {
            set.insert(item.clone());
            set
        });
        let with: Vec<_> = with.collect();
        all.extend(with);
    }
    all.sort_by_key(BTreeSet::len);
    all
}

/// The amounts of each kind that the new charter can demand and the old one can exceed.
fn bounds(old: &Side, new: &Side, action: &str) -> Vec<(Demand, u64)> {
    let demands = |side: &Side| -> Vec<(Demand, u64)> {
        let rules = side.about(action);
        rules
            .flat_map(|r| {
                r.demands
                    .iter()
                    .map(|(k, n)| (k.clone(), n))
                    .collect::<Vec<_>>()
            })
            .collect()
    };
    let (before, after) = (demands(old), demands(new));
    let kinds: BTreeSet<&Demand> = before.iter().map(|(kind, _)| kind).collect();
    let mut all = Vec::new();
    for kind in kinds {
        let of = |list: &[(Demand, u64)]| -> BTreeSet<u64> {
            list.iter()
                .filter(|(k, _)| k == kind)
                .map(|(_, n)| *n)
                .collect()
        };
        let most = of(&before).last().copied().unwrap_or(0);
        let amounts = of(&after).into_iter().chain([0]).filter(|n| *n < most);
        let amounts: BTreeSet<u64> = amounts.collect();
        all.extend(amounts.into_iter().map(|amount| (kind.clone(), amount)));
    }
    all
}

/// The policies of one side for a question, in Cedar's JSON form.
pub fn encode(side: &Side, other: &Side, question: &Question) -> Result<Vec<Value>, String> {
    let action = question.action.as_str();
    let with = Rewriting::new(side, other, &question.missing);
    let mut forbids = vec![not(asker_is_known(side))];
    if question.corridor {
        forbids.push(not(corridor_is_open(side, action)));
    }
    // A forbid that cannot see a fact forbids; Cedar would skip it. As a part of every permit it
    // makes the permit fail instead.
    let mut blind = Vec::new();
    let (mut low, mut high) = (Vec::new(), Vec::new());
    for rule in side.about(action) {
        let condition = with.condition(rule)?;
        let over = question
            .bound
            .as_ref()
            .is_some_and(|(kind, v)| rule.demands.of(kind) > *v);
        match rule.permits {
            false if with.lacks(rule) => blind.push(not(condition)),
            false => forbids.push(condition),
            true if over => high.push(condition),
            true => low.push((rule, condition)),
        }
    }
    forbids.extend(high);
    let permits = permits(&low, question).into_iter().map(|permit| {
        let parts = std::iter::once(permit).chain(blind.iter().cloned());
        policy(true, all(parts))
    });
    Ok(permits
        .chain(forbids.into_iter().map(|f| policy(false, f)))
        .collect())
}

/// When the permits permit: a privileged action needs one that names it, the corridor one that is for
/// it, and what increases risk for ever one that says so, each of which may be another one. In the
/// corridor the one for ever has to be for the corridor.
fn permits(low: &[(&Rule, Value)], question: &Question) -> Vec<Value> {
    let privileged = is_privileged(&question.action);
    let names = |rule: &Rule| !privileged || rule.names(&question.action);
    let opens = |rule: &Rule| !question.corridor || rule.corridor;
    let mut all_permits = Vec::new();
    for (rule, condition) in low.iter().filter(|(rule, _)| names(rule)) {
        if opens(rule) && rule.unbounded {
            all_permits.push(condition.clone());
            continue;
        }
        if opens(rule) {
            all_permits.push(all([condition.clone(), not(is_unbounded())]));
        }
        for (other, also) in low.iter().filter(|(other, _)| opens(other)) {
            let both = all([condition.clone(), also.clone()]);
            if other.unbounded {
                all_permits.push(both);
            } else if !opens(rule) && privileged {
                // Of any other action the one that opens permits by itself.
                all_permits.push(all([both, not(is_unbounded())]));
            }
        }
    }
    all_permits
}

fn is_unbounded() -> Value {
    all([
        equal(context("horizon"), value("unbounded")),
        equal(context("risk"), value("increases")),
    ])
}

fn asker_is_known(side: &Side) -> Value {
    let known = side.charter.principals.iter();
    any(known.map(|p| equal(var("principal"), entity("Principal", p.id.as_str()))))
}

/// What the corridor lets through: what reduces risk, and transfers to one's own margin accounts.
fn corridor_is_open(side: &Side, action: &str) -> Value {
    let reduces = equal(context("risk"), value("reduces"));
    let margins = side.margins().map(|(chain, address)| {
        all([
            equal(context("chain"), value(chain)),
            equal(context("to"), value(address)),
        ])
    });
    let margins: Vec<Value> = if action == "transfer" {
        margins.collect()
    } else {
        Vec::new()
    };
    any(std::iter::once(reduces).chain(margins))
}

/// What holds of every request, whichever charter judges it: as a forbid on both sides, it keeps the
/// solver from finding requests that cannot be.
pub fn impossible(old: &Side, new: &Side, action: &str, attributes: &BTreeSet<String>) -> Value {
    let mut sound = Vec::new();
    let has = |name: &str| attributes.contains(name);
    let counts = COUNTS.iter().filter(|name| has(name));
    sound.extend(counts.map(|name| at_least(context(name), value(0))));
    for (fact, names) in RECORDS.iter().filter(|(fact, _)| has(fact)) {
        let number = |name: &&str| attribute(context(fact), name);
        sound.extend(names.iter().map(|n| at_least(number(n), value(0))));
    }
    for (name, words) in WORDS.iter().filter(|(name, _)| has(name)) {
        sound.push(any(words
            .iter()
            .map(|word| equal(context(name), value(*word)))));
    }
    let rules: Vec<&Rule> = old.about(action).chain(new.about(action)).collect();
    let (mut accounts, mut said) = (BTreeSet::new(), BTreeSet::new());
    for rule in &rules {
        texts(&rule.json, Some("Account"), &mut accounts);
        texts(&rule.json, None, &mut said);
    }
    sound.extend(accounts.into_iter().filter_map(account_is_its_place));
    let (mine, theirs) = (old.book(), new.book());
    let kept: Vec<_> = mine
        .iter()
        .filter(|(key, name)| theirs.get(*key) == Some(name))
        .collect();
    for (name, address) in NAMES.iter().filter(|(name, _)| has(name)) {
        let used = |rule: &&Rule| reads(&rule.json, name);
        if !rules.iter().any(used) {
            continue;
        }
        for text in &said {
            let places = kept
                .iter()
                .filter(|(_, n)| text.is_empty() || n.as_str() == *text);
            let places: Vec<Value> = places.map(|(key, _)| at(key, address)).collect();
            if places.len() > UNNAMED_MAX {
                continue;
            }
            let here = any(places);
            let here = if text.is_empty() { not(here) } else { here };
            sound.push(equal(equal(context(name), value(*text)), here));
        }
    }
    not(all(sound))
}

fn at((chain, place): &(String, String), address: &str) -> Value {
    all([
        equal(context("chain"), value(chain.as_str())),
        equal(context(address), value(place.as_str())),
    ])
}

/// An account's id is its chain and its address.
fn account_is_its_place(id: &str) -> Option<Value> {
    let (chain, address) = id.split_once('/')?;
    let place = all([
        equal(of_resource("chain"), value(chain)),
        equal(of_resource("address"), value(address)),
    ]);
    Some(equal(equal(var("resource"), entity("Account", id)), place))
}

/// The policies of the old charter whose evaluation could fail where the new charter's does not: the
/// whole request would be denied there, which no policy set can say.
pub fn may_fail<'a>(old: &'a Side, new: &Side, action: &'a str) -> Vec<&'a Rule> {
    let kept = |rule: &Rule| new.about(action).any(|r| r.same_as(rule));
    let risky = old.about(action).filter(|rule| {
        let conditions = rule.json.get("conditions").and_then(Value::as_array);
        let mut bodies = conditions
            .into_iter()
            .flatten()
            .filter_map(|c| c.get("body"));
        bodies.any(can_fail)
    });
    risky.filter(|rule| !kept(rule)).collect()
}
