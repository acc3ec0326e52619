//! Distinct people for distinct demands: nobody counts twice, whatever they are called.
//!
//! Principals of one operator are one person, a delegate is whoever delegated to it, and a person who
//! holds two of the roles that are asked for stands in for one of them.

use crate::charter::Principal;
use crate::constitution::Constitution;
use crate::obligation::{Obligations, Unmet};
use quoin_core::{PrincipalId, RoleId};
use std::collections::{BTreeMap, BTreeSet};

/// Somebody, with all the principals that they act as.
struct Person<'a>(Vec<&'a Principal>);

impl Person<'_> {
    fn holds(&self, role: &RoleId) -> bool {
        self.0.iter().any(|p| p.roles.contains(role))
    }
}

/// The approvals that are missing when these have approved, as few as can be by whom each is counted
/// for.
pub(crate) fn missing(
    constitution: &Constitution,
    obligations: &Obligations,
    approvers: &[&Principal],
) -> Vec<Unmet> {
    let people = people(constitution, approvers.iter().copied());
    let roles = obligations.approvals.iter();
    let seats: Vec<&RoleId> = roles
        .flat_map(|(role, count)| std::iter::repeat_n(role, usize::from(*count)))
        .collect();
    let seated = seated(&seats, &people, |person, role| person.holds(role));
    let taken = |role: &RoleId| {
        let holders = people.iter().zip(&seated);
        let mut given: Vec<PrincipalId> = holders
            .filter(|(_, seat)| seat.is_some_and(|s| seats.get(s).is_some_and(|r| *r == role)))
            .filter_map(|(person, _)| person.0.iter().find(|p| p.roles.contains(role)))
            .map(|p| p.id.clone())
            .collect();
        given.sort();
        given
    };
    let all = obligations.approvals.iter().map(|(role, needed)| {
        let (role, needed, given) = (role.clone(), *needed, taken(role));
        (given.len() < usize::from(needed)).then_some(Unmet::Approvals {
            role,
            needed,
            given,
        })
    });
    all.flatten().collect()
}

/// Whether so many of `signers` can sign that enough others are left among `standing` for all that is
/// asked for: approvals, unless those who sign count, and whoever has to have seen the notice.
pub(crate) fn suffice(
    constitution: &Constitution,
    obligations: &Obligations,
    signers: &[&Principal],
    quorum: u8,
    standing: &[&Principal],
) -> bool {
    if signers.len() < usize::from(quorum) {
        return false;
    }
    let signs = |p: &Principal| {
        let operator = constitution.operator_of(&p.id);
        let mut all = signers.iter();
        all.any(|s| constitution.operator_of(&s.id) == operator)
    };
    let counts = obligations.initiator_counts;
    if counts {
        // Those who sign count; others of their operators do not.
        let approve = standing
            .iter()
            .filter(|p| !signs(p) || signers.iter().any(|s| s.id == p.id));
        let approve: Vec<&Principal> = approve.copied().collect();
        if !missing(constitution, obligations, &approve).is_empty() {
            return false;
        }
    }
    // A seat of nobody's role is one for a signature.
    let mut seats = vec![None; usize::from(quorum)];
    let asked = obligations.approvals.iter().filter(|_| !counts);
    seats.extend(
        asked.flat_map(|(role, count)| std::iter::repeat_n(Some(role), usize::from(*count))),
    );
    let outside = |role: &RoleId| {
        let mut holders = standing.iter().filter(|p| p.roles.contains(role));
        holders.any(|p| !signs(p))
    };
    // Who cannot sign is there to see; otherwise somebody has to abstain from signing.
    let unseen = obligations.notice.iter().filter(|role| !outside(role));
    seats.extend(unseen.map(Some));
    let people = people(constitution, standing.iter().copied());
    let fits = |person: &Person<'_>, seat: &Option<&RoleId>| match seat {
        Some(role) => person.holds(role),
        None => person
            .0
            .iter()
            .any(|p| signers.iter().any(|s| s.id == p.id)),
    };
    let found = seated(&seats, &people, fits);
    found.iter().flatten().count() == seats.len()
}

fn people<'a>(
    constitution: &'a Constitution,
    principals: impl Iterator<Item = &'a Principal>,
) -> Vec<Person<'a>> {
    let mut people: BTreeMap<&str, Person<'a>> = BTreeMap::new();
    for p in principals {
        let person = people.entry(constitution.operator_of(&p.id));
        person.or_insert_with(|| Person(Vec::new())).0.push(p);
    }
    people.into_values().collect()
}

/// Which seat each person takes when as many seats as can be are taken: augmenting paths.
fn seated<'p, S>(
    seats: &[S],
    people: &[Person<'p>],
    fits: impl Fn(&Person<'p>, &S) -> bool,
) -> Vec<Option<usize>> {
    let mut taken: Vec<Option<usize>> = vec![None; people.len()];
    for first in 0..seats.len() {
        // From which person each one would move on, breadth first; nobody is asked twice.
        let mut asked = BTreeSet::new();
        let mut ways: Vec<(usize, Option<usize>)> = Vec::new();
        let mut seat = Some((first, None));
        let mut next = 0;
        while let Some((wanted, from)) = seat {
            let fitting = people
                .iter()
                .enumerate()
                .filter(|(_, person)| seats.get(wanted).is_some_and(|wanted| fits(person, wanted)));
            for (person, _) in fitting {
                if asked.insert(person) {
                    ways.push((person, from));
                }
            }
            let free = ways.iter().position(|(p, _)| taken.get(*p) == Some(&None));
            if let Some(free) = free {
                shift(&mut taken, &ways, free, first);
                break;
            }
            // Whoever is asked next would leave their seat for somebody else.
            seat = ways.get(next).and_then(|(person, _)| {
                let left = taken.get(*person).copied().flatten()?;
                Some((left, Some(next)))
            });
            next += 1;
        }
    }
    taken
}

/// Seats the person at the end of a way: each on it takes the seat that the one before leaves.
fn shift(taken: &mut [Option<usize>], ways: &[(usize, Option<usize>)], last: usize, first: usize) {
    let mut at = Some(last);
    while let Some((person, from)) = at.and_then(|at| ways.get(at)).copied() {
        let before = from.and_then(|from| ways.get(from));
        let left = before.and_then(|(person, _)| taken.get(*person).copied().flatten());
        if let Some(seat) = taken.get_mut(person) {
            *seat = Some(left.unwrap_or(first));
        }
        at = from;
    }
}
