//! The policies by what their scopes name, so that a request meets only those that could match it.
//!
//! Cedar evaluates every policy of the set that it is given. All sets that a request could meet are
//! made when the charter is read: one for each combination of action, principal or role, account, and
//! one equality in front of the conditions. A request visits the few that fit and joins the answers;
//! no policy is in two of them. So nothing is cached or locked, and a request's cost does not depend
//! on what was asked before it.
//!
//! Sound because a policy that is left out has a scope or a first condition that is false of the
//! request, and neither can fail: Cedar would have said that it does not match, and nothing more.

use crate::clauses::{Attribute, leads};
use cedar_policy::{
    ActionConstraint, EntityUid, Policy, PolicySet, PolicySetError, PrincipalConstraint,
    ResourceConstraint, pst,
};
use std::collections::{BTreeMap, BTreeSet};

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

/// The accounts by name; none for the policies that name no account.
type ByAccount = BTreeMap<Option<String>, Bucket>;

/// All policies.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// By action; under `None` those that name no action.
    actions: BTreeMap<Option<String>, BTreeMap<Who, ByAccount>>,
}

/// The policies of one scope.
#[derive(Debug, Default)]
struct Bucket {
    /// Those without a usable equality in front.
    rest: PolicySet,
    /// The others, by the attribute and the value that it has to have.
    leads: BTreeMap<Attribute, BTreeMap<String, PolicySet>>,
}

/// What of a request the index is asked by.
pub(crate) struct Wanted<'a> {
    pub(crate) action: &'a str,
    /// The principal, its roles, and anyone.
    pub(crate) whos: &'a [Who],
    pub(crate) account: &'a str,
    /// The texts of the context and of the account.
    pub(crate) context: &'a [(&'static str, crate::schema::Seen)],
    pub(crate) resource: &'a [(&'static str, crate::schema::Seen)],
}

/// One policy on its way into the index.
struct Placed<'a> {
    policy: &'a Policy,
    actions: Vec<Option<String>>,
    who: Who,
    account: Option<String>,
    leads: BTreeMap<Attribute, BTreeSet<String>>,
}

impl Index {
    /// Places every policy.
    pub(crate) fn build<'a>(
        policies: impl Iterator<Item = (&'a Policy, &'a pst::Template)>,
        all_actions: &BTreeSet<String>,
    ) -> Result<Self, PolicySetError> {
        let placed: Vec<Placed<'_>> = policies
            .map(|(policy, body)| Placed::read(policy, body, all_actions))
            .collect();
        // Of several equalities in front, the attribute with the most values splits best.
        let mut values: BTreeMap<&Attribute, BTreeSet<&String>> = BTreeMap::new();
        for (attribute, of) in placed.iter().flat_map(|p| &p.leads) {
            values.entry(attribute).or_default().extend(of);
        }
        let mut index = Self::default();
        for one in &placed {
            let split = |(a, _): &(&Attribute, _)| values.get(a).map_or(0, BTreeSet::len);
            let lead = one.leads.iter().max_by_key(split);
            for action in &one.actions {
                let of_action = index.actions.entry(action.clone()).or_default();
                let of_who = of_action.entry(one.who.clone()).or_default();
                let bucket = of_who.entry(one.account.clone()).or_default();
                bucket.put(one.policy, lead)?;
            }
        }
        Ok(index)
    }

    /// The sets in which every policy is that could match, each in one of them.
    pub(crate) fn slice<'a>(&'a self, wanted: &Wanted<'_>) -> Vec<&'a PolicySet> {
        let mut sets = Vec::new();
        for action in [None, Some(wanted.action.to_owned())] {
            let Some(of_action) = self.actions.get(&action) else {
                continue;
            };
            for of_who in wanted.whos.iter().filter_map(|who| of_action.get(who)) {
                for account in [None, Some(wanted.account.to_owned())] {
                    if let Some(bucket) = of_who.get(&account) {
                        bucket.sets(wanted, &mut sets);
                    }
                }
            }
        }
        sets
    }
}

impl Bucket {
    fn put(
        &mut self,
        policy: &Policy,
        lead: Option<(&Attribute, &BTreeSet<String>)>,
    ) -> Result<(), PolicySetError> {
        let Some((attribute, values)) = lead else {
            return self.rest.add(policy.clone());
        };
        let by_value = self.leads.entry(attribute.clone()).or_default();
        for value in values {
            let set = by_value.entry(value.clone()).or_default();
            set.add(policy.clone())?;
        }
        Ok(())
    }

    fn sets<'a>(&'a self, wanted: &Wanted<'_>, out: &mut Vec<&'a PolicySet>) {
        if !self.rest.is_empty() {
            out.push(&self.rest);
        }
        for (attribute, by_value) in &self.leads {
            let pairs = if attribute.of_resource {
                wanted.resource
            } else {
                wanted.context
            };
            let pair = pairs.iter().find(|(name, _)| *name == attribute.name);
            let value = pair.and_then(|(_, seen)| seen.text());
            match value {
                Some(value) => out.extend(by_value.get(value)),
                // Cannot be, as such an attribute is always there and a text; then all could match.
                None => out.extend(by_value.values()),
            }
        }
    }
}

impl<'a> Placed<'a> {
    fn read(policy: &'a Policy, body: &pst::Template, all_actions: &BTreeSet<String>) -> Self {
        let name = |uid: &EntityUid| uid.id().unescaped().to_owned();
        let named: Option<BTreeSet<String>> = match policy.action_constraint() {
            ActionConstraint::Any => None,
            ActionConstraint::Eq(action) => Some(BTreeSet::from([name(&action)])),
            ActionConstraint::In(actions) => Some(actions.iter().map(name).collect()),
        };
        let leads = leads(body, named.as_ref().unwrap_or(all_actions));
        Self {
            policy,
            actions: match named {
                None => vec![None],
                Some(named) => named.into_iter().map(Some).collect(),
            },
            who: who(policy.principal_constraint()),
            account: account(policy.resource_constraint()),
            leads,
        }
    }
}

fn who(constraint: PrincipalConstraint) -> Who {
    match constraint {
        PrincipalConstraint::Eq(Some(uid))
        | PrincipalConstraint::In(Some(uid))
        | PrincipalConstraint::IsIn(_, Some(uid)) => {
            let name = uid.id().unescaped().to_owned();
            match uid.type_name().to_string().as_str() {
                "Principal" => Who::Principal(name),
                "Role" => Who::Role(name),
                // No other type holds a principal; whatever this is, it is for Cedar to judge.
                _ => Who::Anyone,
            }
        }
        _ => Who::Anyone,
    }
}

/// The account that a scope names: accounts are in nothing but themselves.
fn account(constraint: ResourceConstraint) -> Option<String> {
    match constraint {
        ResourceConstraint::Eq(Some(uid))
        | ResourceConstraint::In(Some(uid))
        | ResourceConstraint::IsIn(_, Some(uid)) => {
            let is_account = uid.type_name().to_string() == "Account";
            is_account.then(|| uid.id().unescaped().to_owned())
        }
        _ => None,
    }
}
