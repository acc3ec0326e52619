//! The policies by what their scopes name, so that a request meets only those that could match it.
//!
//! Cedar's authorizer evaluates every policy of the set that it is given. Here every policy has its
//! place when the charter is read: by its action, principal or role, account, and one equality in
//! front of its conditions. A request visits the few places that fit, and what still has a false
//! comparison in front is passed over. Nothing is cached or locked, and what a request costs does not
//! depend on what was asked before it.
//!
//! Sound because a policy that is left out has a scope, or a comparison in front, that is false of
//! the request, and neither can fail: Cedar would have said that it does not match, and nothing more.
//! Whatever is not left out Cedar evaluates, but for the part of the scope that its place says already.
//! The tests hold the answers against those of Cedar's authorizer over the whole set.

use crate::clauses::{Attribute, Test, joined, tests};
use crate::schema::Seen;
use cedar_policy::Expression;
use cedar_policy::pst::{
    ActionConstraint, EntityOrSlot, EntityUID, PrincipalConstraint, ResourceConstraint, Template,
};
use quoin_core::RuleId;
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

/// Whom a scope names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    /// No principal or role.
    Anyone,
    /// One principal.
    Principal(String),
    /// Everybody with a role.
    Role(String),
}

/// One policy as it is evaluated.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) rule: RuleId,
    /// Its conditions, and what of its scope its place does not say.
    pub(crate) condition: Expression,
    /// The comparisons in front.
    tests: Vec<Test>,
}

/// The accounts by name; none for the policies that name no account.
type ByAccount = BTreeMap<Option<String>, Bucket>;

/// All policies.
#[derive(Debug, Default)]
pub(crate) struct Index {
    entries: Vec<Entry>,
    /// By action; under `None` those that name no action.
    actions: BTreeMap<Option<String>, BTreeMap<Who, ByAccount>>,
}

/// The policies of one scope, by their place among the entries.
#[derive(Debug, Default)]
struct Bucket {
    /// Those without a usable equality in front.
    rest: Vec<usize>,
    /// The others, by the attribute and the value that it has to have.
    leads: BTreeMap<Attribute, BTreeMap<String, Vec<usize>>>,
}

/// What of a request the index is asked by.
pub(crate) struct Wanted<'a> {
    pub(crate) action: &'a str,
    /// The principal, its roles, and anyone.
    pub(crate) whos: &'a [Who],
    pub(crate) account: &'a str,
    pub(crate) context: &'a [(&'static str, Seen)],
    pub(crate) resource: &'a [(&'static str, Seen)],
}

impl Wanted<'_> {
    fn seen(&self, attribute: &Attribute) -> Option<&Seen> {
        let pairs = if attribute.of_resource {
            self.resource
        } else {
            self.context
        };
        let pair = pairs.iter().find(|(name, _)| *name == attribute.name);
        pair.map(|(_, seen)| seen)
    }
}

impl Index {
    /// Places every policy.
    pub(crate) fn build<'a>(
        policies: impl Iterator<Item = (&'a RuleId, &'a Template)>,
        all_actions: &BTreeSet<String>,
    ) -> Result<Self, String> {
        let mut index = Self::default();
        let mut places = Vec::new();
        for (rule, body) in policies {
            let named = named_actions(&body.action);
            index.entries.push(Entry {
                rule: rule.clone(),
                condition: Expression::from_str(&joined(unplaced(body), body))
                    .map_err(|e| e.to_string())?,
                tests: tests(body, named.as_ref().unwrap_or(all_actions)),
            });
            places.push((named, who(&body.principal), account(&body.resource)));
        }
        let splits = splits(&index.entries);
        for (place, (named, who, account)) in places.into_iter().enumerate() {
            let Some(entry) = index.entries.get(place) else {
                continue;
            };
            let lead = lead(entry, &splits);
            let actions: Vec<Option<String>> = match named {
                None => vec![None],
                Some(named) => named.into_iter().map(Some).collect(),
            };
            for action in actions {
                let of_action = index.actions.entry(action).or_default();
                let of_who = of_action.entry(who.clone()).or_default();
                let bucket = of_who.entry(account.clone()).or_default();
                bucket.put(place, lead);
            }
        }
        Ok(index)
    }

    /// The policies that could match.
    pub(crate) fn slice(&self, wanted: &Wanted<'_>) -> Vec<&Entry> {
        let excluded = |test: &Test| {
            let seen = wanted.seen(&test.attribute);
            seen.is_some_and(|seen| test.excludes(seen))
        };
        let mut entries = self.near(wanted);
        entries.retain(|entry| !entry.tests.iter().any(excluded));
        entries
    }

    /// The policies at the places that a request visits: those that could match but for the
    /// comparisons in front, except for one equality.
    pub(crate) fn near(&self, wanted: &Wanted<'_>) -> Vec<&Entry> {
        let mut places = Vec::new();
        for bucket in self.buckets(wanted) {
            bucket.places(wanted, &mut places);
        }
        let entries = places.into_iter();
        entries
            .filter_map(|place| self.entries.get(place))
            .collect()
    }

    /// The policies whose scope fits, whatever their conditions.
    pub(crate) fn fitting(&self, wanted: &Wanted<'_>) -> Vec<&Entry> {
        let buckets = self.buckets(wanted).into_iter();
        let places = buckets.flat_map(|b| {
            let leads = b.leads.values().flat_map(BTreeMap::values);
            b.rest.iter().chain(leads.flatten())
        });
        places
            .filter_map(|place| self.entries.get(*place))
            .collect()
    }

    /// The scopes that fit a request.
    fn buckets(&self, wanted: &Wanted<'_>) -> Vec<&Bucket> {
        let mut buckets = Vec::new();
        for action in [None, Some(wanted.action.to_owned())] {
            let Some(of_action) = self.actions.get(&action) else {
                continue;
            };
            for of_who in wanted.whos.iter().filter_map(|who| of_action.get(who)) {
                for account in [None, Some(wanted.account.to_owned())] {
                    buckets.extend(of_who.get(&account));
                }
            }
        }
        buckets
    }
}

/// How many values each attribute has in the equalities in front.
fn splits(entries: &[Entry]) -> BTreeMap<Attribute, usize> {
    let mut values: BTreeMap<&Attribute, BTreeSet<&String>> = BTreeMap::new();
    for test in entries.iter().flat_map(|e| &e.tests) {
        let of = test.values().into_iter().flatten();
        values.entry(&test.attribute).or_default().extend(of);
    }
    let counted = values.into_iter();
    counted.map(|(a, of)| (a.clone(), of.len())).collect()
}

/// Of several equalities in front the one whose attribute has the most values: it splits best.
fn lead<'a>(
    entry: &'a Entry,
    splits: &BTreeMap<Attribute, usize>,
) -> Option<(&'a Attribute, &'a BTreeSet<String>)> {
    let leads = entry.tests.iter();
    let leads = leads.filter_map(|test| Some((&test.attribute, test.values()?)));
    leads.max_by_key(|(attribute, _)| splits.get(attribute))
}

impl Bucket {
    fn put(&mut self, place: usize, lead: Option<(&Attribute, &BTreeSet<String>)>) {
        let Some((attribute, values)) = lead else {
            return self.rest.push(place);
        };
        let by_value = self.leads.entry(attribute.clone()).or_default();
        for value in values {
            by_value.entry(value.clone()).or_default().push(place);
        }
    }

    fn places(&self, wanted: &Wanted<'_>, out: &mut Vec<usize>) {
        out.extend(&self.rest);
        for (attribute, by_value) in &self.leads {
            match wanted.seen(attribute).and_then(Seen::text) {
                Some(value) => out.extend(by_value.get(value).into_iter().flatten()),
                // Cannot be, as such an attribute is always there and a text; then all could match.
                None => out.extend(by_value.values().flatten()),
            }
        }
    }
}

/// The actions that a scope names; none when it names no action.
fn named_actions(constraint: &ActionConstraint) -> Option<BTreeSet<String>> {
    match constraint {
        ActionConstraint::Any => None,
        ActionConstraint::Eq(action) => Some(BTreeSet::from([action.eid.to_string()])),
        ActionConstraint::In(actions) => Some(actions.iter().map(|a| a.eid.to_string()).collect()),
    }
}

fn who(constraint: &PrincipalConstraint) -> Who {
    let named = match constraint {
        PrincipalConstraint::Eq(EntityOrSlot::Entity(uid))
        | PrincipalConstraint::In(EntityOrSlot::Entity(uid))
        | PrincipalConstraint::IsIn(_, EntityOrSlot::Entity(uid)) => uid,
        _ => return Who::Anyone,
    };
    let is_role = !matches!(constraint, PrincipalConstraint::Eq(_));
    // Nothing else holds or is a principal; whatever that would be is for Cedar to judge.
    let role = || named_of("Role", named).filter(|_| is_role);
    named_of("Principal", named)
        .map(Who::Principal)
        .or_else(|| role().map(Who::Role))
        .unwrap_or(Who::Anyone)
}

/// The account that a scope names: accounts are in nothing but themselves.
fn account(constraint: &ResourceConstraint) -> Option<String> {
    match constraint {
        ResourceConstraint::Eq(EntityOrSlot::Entity(uid))
        | ResourceConstraint::In(EntityOrSlot::Entity(uid))
        | ResourceConstraint::IsIn(_, EntityOrSlot::Entity(uid)) => named_of("Account", uid),
        _ => None,
    }
}

/// What a scope asks beside what the policy's place says: a request that visits the place has the
/// action, the principal or role, and the account.
fn unplaced(body: &Template) -> Vec<String> {
    let mut parts = Vec::new();
    match &body.principal {
        PrincipalConstraint::Any => {}
        // The place says whom it is in; the type is left.
        PrincipalConstraint::IsIn(kind, _) if who(&body.principal) != Who::Anyone => {
            parts.push(format!("principal is {kind}"));
        }
        other if who(other) == Who::Anyone => parts.push(format!("principal {other}")),
        _ => {}
    }
    match &body.resource {
        ResourceConstraint::Any => {}
        ResourceConstraint::IsIn(kind, _) if account(&body.resource).is_some() => {
            parts.push(format!("resource is {kind}"));
        }
        other if account(other).is_none() => parts.push(format!("resource {other}")),
        _ => {}
    }
    parts
}

fn named_of(kind: &str, uid: &EntityUID) -> Option<String> {
    (uid.ty.to_string() == kind).then(|| uid.eid.to_string())
}
