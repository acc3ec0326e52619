//! One of the two charters, as the proof sees it: its policies taken apart, with what each demands.

use crate::failure::Failure;
use cedar_policy::{ActionConstraint, Effect, Policy, PolicyId, PolicySet};
use quoin_policy::{BookKind, Charter};
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

/// One kind of what a permit can demand. Two matching permits demand the higher of each kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Demand {
    /// How many holders of the role must approve.
    Approvals(String),
    /// How long to wait, in milliseconds.
    Delay,
    /// 1 when a holder of the role must have seen the request before the delay begins.
    Notice(String),
    /// 1 when whoever asks does not count among those who approve.
    OthersOnly,
}

/// What is demanded; a kind that is missing is not demanded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demands(BTreeMap<Demand, u64>);

impl Demands {
    /// How much of a kind.
    pub fn of(&self, kind: &Demand) -> u64 {
        self.0.get(kind).copied().unwrap_or(0)
    }

    /// The kinds that are demanded, with how much.
    pub fn iter(&self) -> impl Iterator<Item = (&Demand, u64)> {
        self.0.iter().map(|(kind, amount)| (kind, *amount))
    }

    /// Takes the higher of each kind.
    pub fn merge(&mut self, other: &Self) {
        for (kind, amount) in &other.0 {
            let mine = self.0.entry(kind.clone()).or_default();
            *mine = (*mine).max(*amount);
        }
    }

    /// Whether these are no more than the others, in every kind.
    pub fn within(&self, other: &Self) -> bool {
        self.0
            .iter()
            .all(|(kind, amount)| *amount <= other.of(kind))
    }
}

impl std::fmt::Display for Demands {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words: Vec<String> = self.iter().map(|(k, n)| demand_words(k, n)).collect();
        match words.as_slice() {
            [] => f.write_str("nothing more"),
            words => f.write_str(&words.join(", ")),
        }
    }
}

impl Serialize for Demands {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(self.iter().map(|(kind, amount)| demand_words(kind, amount)))
    }
}

fn demand_words(kind: &Demand, amount: u64) -> String {
    match kind {
        Demand::Approvals(role) if amount == 1 => format!("1 approval of `{role}`"),
        Demand::Approvals(role) => format!("{amount} approvals of `{role}`"),
        Demand::Delay => format!("a delay of {} s", amount / 1000),
        Demand::Notice(role) => format!("a receipt of a `{role}` before the delay"),
        Demand::OthersOnly => "no approval by whoever asks".to_owned(),
    }
}

/// A policy.
#[derive(Debug)]
pub struct Rule {
    /// Its id.
    pub id: String,
    /// Whether it is a permit.
    pub permits: bool,
    /// Its scope and conditions in Cedar's JSON form.
    pub json: Value,
    /// What a permit demands.
    pub demands: Demands,
    /// Whether a permit counts in the corridor.
    pub corridor: bool,
    /// Whether a permit allows what could execute for ever.
    pub unbounded: bool,
    /// The actions that the scope names; none when it is about every action.
    actions: Option<BTreeSet<String>>,
}

impl Rule {
    /// Whether the scope lets the policy be about an action.
    pub fn is_about(&self, action: &str) -> bool {
        self.actions
            .as_ref()
            .is_none_or(|names| names.contains(action))
    }

    /// Whether the scope names an action.
    pub fn names(&self, action: &str) -> bool {
        self.actions
            .as_ref()
            .is_some_and(|names| names.contains(action))
    }

    /// Whether the two decide alike, whatever they are called.
    pub fn same_as(&self, other: &Self) -> bool {
        let key = |r: &Self| (r.permits, r.demands.clone(), r.corridor, r.unbounded);
        key(self) == key(other) && self.json == other.json && self.actions == other.actions
    }
}

/// A charter with its policies taken apart.
#[derive(Debug)]
pub struct Side {
    /// The charter.
    pub charter: Charter,
    /// Its policies.
    pub rules: Vec<Rule>,
    /// The policies as Cedar evaluates them, under their ids.
    pub set: PolicySet,
}

impl Side {
    /// Takes a charter apart. One that fails its checks is refused: a proof about it would mean
    /// nothing.
    pub fn read(charter: &Charter, which: &str) -> Result<Self, Failure> {
        let what = || format!("the {which} charter cannot be compared");
        charter
            .clone()
            .check()
            .map_err(Failure::from_error(what()))?;
        let read = PolicySet::from_str(&charter.policies);
        let read = read.map_err(Failure::from_error(what()))?;
        let (mut rules, mut set) = (Vec::new(), PolicySet::new());
        for policy in read.policies() {
            let rule = rule(policy).map_err(|why| Failure::new(what()).because(why))?;
            let named = policy.new_id(PolicyId::new(&rule.id));
            set.add(named).map_err(Failure::from_error(what()))?;
            rules.push(rule);
        }
        Ok(Self {
            charter: charter.clone(),
            rules,
            set,
        })
    }

    /// The policies that can be about an action.
    pub fn about<'a>(&'a self, action: &'a str) -> impl Iterator<Item = &'a Rule> {
        self.rules.iter().filter(move |rule| rule.is_about(action))
    }

    /// The principals that hold a role.
    pub fn holders(&self, role: &str) -> impl Iterator<Item = &str> {
        let holders = self
            .charter
            .principals
            .iter()
            .filter(move |p| p.holds(role));
        holders.map(|p| p.id.as_str())
    }

    /// Chain, address and name of each entry of the address book.
    pub fn book(&self) -> BTreeMap<(String, String), String> {
        let entries = self.charter.book.iter();
        entries
            .map(|e| {
                (
                    (e.chain.to_string(), e.address.to_string()),
                    e.name.to_string(),
                )
            })
            .collect()
    }

    /// Chain and address of each of the own margin accounts.
    pub fn margins(&self) -> impl Iterator<Item = (String, String)> {
        let entries = self
            .charter
            .book
            .iter()
            .filter(|e| e.kind == BookKind::Margin);
        entries.map(|e| (e.chain.to_string(), e.address.to_string()))
    }
}

fn rule(policy: &Policy) -> Result<Rule, String> {
    let id = policy.annotation("id").unwrap_or_default().to_owned();
    let mut json = policy
        .to_json()
        .map_err(|e| format!("policy `{id}`: {e}"))?;
    if let Some(object) = json.as_object_mut() {
        object.remove("annotations");
        object.remove("action");
    }
    let name = |action: &cedar_policy::EntityUid| action.id().unescaped().to_owned();
    let actions = match policy.action_constraint() {
        ActionConstraint::Any => None,
        ActionConstraint::Eq(action) => Some(BTreeSet::from([name(&action)])),
        ActionConstraint::In(actions) => Some(actions.iter().map(name).collect()),
    };
    let mut rule = Rule {
        permits: policy.effect() == Effect::Permit,
        demands: Demands::default(),
        corridor: false,
        unbounded: false,
        id,
        json,
        actions,
    };
    let mut asker_counts = false;
    for (annotation, text) in policy.annotations() {
        match annotation {
            "id" => {}
            "corridor" => rule.corridor = true,
            "unbounded" => rule.unbounded = true,
            "initiator" => asker_counts = true,
            _ => {
                let read = demand(annotation, text);
                let read = read.ok_or_else(|| unknown(&rule.id, annotation))?;
                rule.demands.0.insert(read.0, read.1);
            }
        }
    }
    let approved = |kind: &Demand| matches!(kind, Demand::Approvals(_));
    if !asker_counts && rule.demands.0.keys().any(approved) {
        rule.demands.0.insert(Demand::OthersOnly, 1);
    }
    Ok(rule)
}

/// A proof that overlooks an annotation would prove something else.
fn unknown(id: &str, annotation: &str) -> String {
    format!("policy `{id}` has the annotation `@{annotation}`, which the proof does not know")
}

/// Reads what [`Charter::check`] has found well-formed.
fn demand(annotation: &str, text: &str) -> Option<(Demand, u64)> {
    match annotation {
        "approvals" => {
            let (count, role) = text.split_once(" of ")?;
            Some((Demand::Approvals(role.to_owned()), count.parse().ok()?))
        }
        "notice" => Some((Demand::Notice(text.to_owned()), 1)),
        "delay" => {
            let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
            let unit_ms: u64 = match unit {
                "s" => 1_000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                _ => return None,
            };
            let number: u64 = number.parse().ok()?;
            Some((Demand::Delay, number.checked_mul(unit_ms)?))
        }
        _ => None,
    }
}
