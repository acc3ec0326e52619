//! Topology: what one failure or one adversary must not reach.
//!
//! A threshold of machines under one operator, in one cloud account or in one region is a threshold in
//! name only, and so is a quorum of people whom one employer pays. Source: the control catalogue, C6.

use super::CharterError;
use super::grants::DELEGATIONS_MAX;
use crate::cedar::Rules;
use crate::charter::{Charter, GOVERNOR_ROLE, NodeEntry, Principal};
use std::collections::BTreeMap;

/// Checks nodes and governors, and whom a recovery names.
pub(super) fn check(c: &Charter) -> Result<(), CharterError> {
    if c.dangerous_single_failure_domain {
        return Ok(());
    }
    type Domain = fn(&NodeEntry) -> &str;
    let domains: [(&str, Domain); 3] = [
        ("operator", |n| &n.operator),
        ("cloud account", |n| &n.cloud),
        ("region", |n| &n.region),
    ];
    for (kind, domain) in domains {
        spread("nodes", kind, c.nodes.iter().map(domain), c.threshold)?;
    }
    holders(c, "governor_quorum", GOVERNOR_ROLE, c.governor_quorum)?;
    match &c.recovery {
        Some(rule) => holders(c, "recovery.quorum", rule.role.as_str(), rule.quorum),
        None => Ok(()),
    }
}

/// Checks those whose approvals the policies ask for.
///
/// An `@approvals("1 of ...")` asks for one person by its own words, beside whoever initiates, so that
/// no operator can be too many of them.
pub(super) fn check_approvals(c: &Charter, rules: &Rules) -> Result<(), CharterError> {
    if c.dangerous_single_failure_domain {
        return Ok(());
    }
    for (id, facts) in rules.all() {
        for (role, count) in &facts.obligations.approvals {
            if *count > 1 {
                holders(c, &format!("policies.{id}"), role.as_str(), *count)?;
            }
        }
    }
    Ok(())
}

fn holders(c: &Charter, place: &str, role: &str, quorum: u8) -> Result<(), CharterError> {
    let holders = c.principals.iter().filter(|p| p.holds(role));
    spread(place, "operator", holders.map(|p| operator(c, p)), quorum)
}

/// Whose person a principal is: its own operator or, without one, that of whoever delegated to it;
/// a delegate is no other person. One that names none and was delegated by nobody stands alone.
pub(crate) fn operator<'a>(c: &'a Charter, p: &'a Principal) -> &'a str {
    let mut one = p;
    // A charter's delegations have no circles and end sooner; the bound is for one not yet checked.
    for _ in 0..=DELEGATIONS_MAX {
        if let Some(operator) = &one.operator {
            return operator;
        }
        let grantor = one.granted_by.as_ref();
        let Some(above) = grantor.and_then(|id| c.principals.iter().find(|p| p.id == *id)) else {
            break;
        };
        one = above;
    }
    one.id.as_str()
}

fn spread<'a>(
    place: &str,
    kind: &str,
    domains: impl Iterator<Item = &'a str>,
    quorum: u8,
) -> Result<(), CharterError> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for domain in domains {
        *counts.entry(domain).or_default() += 1;
    }
    let full = counts.iter().find(|(_, n)| **n >= usize::from(quorum));
    match full {
        None => Ok(()),
        Some((domain, count)) => Err(CharterError::SingleFailureDomain {
            place: place.to_owned(),
            domain: match *domain {
                "" => format!("the {kind} that nobody has declared, which counts as one,"),
                name => format!("{kind} `{name}`"),
            },
            count: *count,
            quorum,
        }),
    }
}
