//! How one charter follows another: who has to have signed it, and what has to stay.
//!
//! Source: the design, sections 2 ("genesis") and 4 ("charter").

use crate::charter::{Charter, GOVERNOR_ROLE, NodeEntry, Principal, Recovery};
use crate::check::CharterError;
use crate::constitution::Constitution;
use crate::governance::{CharterPart, changed_parts};
use quoin_core::{Certificate, CharterNumber, ClusterId, NodeIndex, PublicCredential, TimeMs};
use std::collections::BTreeMap;

/// Accepts the genesis: signed by every node and every governor.
///
/// # Errors
/// When the charter fails a check, is not a genesis, or a signature is missing.
pub fn verify_genesis(
    certificate: &Certificate<Charter>,
) -> Result<(Constitution, ClusterId), CharterError> {
    let charter = certificate.unverified();
    if charter.number != CharterNumber(0) {
        return Err(CharterError::NotGenesis { place: "number" });
    }
    let constitution = charter.clone().check()?;
    for node in &charter.nodes {
        if !certificate.endorsed_by(&node.credential) {
            let who = format!("node {}", node.index);
            return Err(CharterError::MissingSignature { who });
        }
    }
    for governor in charter.governors() {
        if !endorsed_by_principal(certificate, governor) {
            let who = format!("governor `{}`", governor.id);
            return Err(CharterError::MissingSignature { who });
        }
    }
    let cluster = constitution.cluster();
    Ok((constitution, cluster))
}

/// Accepts the charter after `current` by its form: signed by a quorum of the governors of the
/// *current* charter whose grants have not ended at `now`, or brought by its recovery.
///
/// This is what a chain of charters is verified with after the fact. Whether a charter may come into
/// force is more: see [`Constitution::consider_proposal`]. A node that replays its journal passes the
/// time at which it first accepted the charter, and so finds the same times in the address book.
///
/// # Errors
/// When the charter fails a check, does not follow `current`, keeps too few of its nodes, or too few
/// governors signed.
pub fn verify_successor(
    current: &Constitution,
    certificate: &Certificate<Charter>,
    now: TimeMs,
) -> Result<Constitution, CharterError> {
    follows(current, certificate.unverified())?;
    signed_by_enough(current, certificate, now)?;
    successor(current, certificate.unverified(), now)
}

/// Checks that a charter names `current` as the one before it.
pub(crate) fn follows(current: &Constitution, next: &Charter) -> Result<(), CharterError> {
    let number = current.number().0;
    let not_successor = |place| CharterError::NotSuccessor {
        place,
        current: number,
    };
    if Some(next.number.0) != number.checked_add(1) {
        return Err(not_successor("number"));
    }
    if next.previous != Some(current.hash()) {
        return Err(not_successor("previous"));
    }
    if next.cluster != Some(current.cluster()) {
        return Err(not_successor("cluster"));
    }
    Ok(())
}

fn signed_by_enough(
    current: &Constitution,
    certificate: &Certificate<Charter>,
    now: TimeMs,
) -> Result<(), CharterError> {
    let charter = current.charter();
    let quorum = charter.governor_quorum;
    let signed = signers(charter.governors(), certificate, now).len();
    if signed >= usize::from(quorum) {
        return Ok(());
    }
    match &charter.recovery {
        Some(rule)
            if recoverers(current, rule, certificate, now).len() >= usize::from(rule.quorum) =>
        {
            recovers_only(charter, certificate.unverified())
        }
        _ => Err(CharterError::TooFewGovernors { signed, quorum }),
    }
}

/// Those of `seats` who signed and whose grants have not ended.
pub(crate) fn signers<'a>(
    seats: impl Iterator<Item = &'a Principal>,
    certificate: &Certificate<Charter>,
    now: TimeMs,
) -> Vec<&'a Principal> {
    seats
        .filter(|p| !p.is_expired(now) && endorsed_by_principal(certificate, p))
        .collect()
}

/// The signers whom the recovery counts.
pub(crate) fn recoverers<'a>(
    current: &'a Constitution,
    rule: &Recovery,
    certificate: &Certificate<Charter>,
    now: TimeMs,
) -> Vec<&'a Principal> {
    let seats = current.charter().principals.iter();
    let seats = seats.filter(|p| p.roles.contains(&rule.role));
    signers(seats, certificate, now)
}

/// Makes the next constitution, whoever signed it.
pub(crate) fn successor(
    current: &Constitution,
    next: &Charter,
    now: TimeMs,
) -> Result<Constitution, CharterError> {
    let mut constitution = next.clone().check()?;
    enough_stay(current.charter(), next)?;
    constitution.descend_from(current, now);
    Ok(constitution)
}

/// Refuses a recovery that does more than put other governors in place.
///
/// Whoever is no governor before or after stays as they are. Whoever gains or loses that role alone
/// keeps all else. And whoever is new, or has other credentials than before, governs and does nothing
/// more: else a recovery would hand out the rights of traders and approvers beside.
pub(crate) fn recovers_only(current: &Charter, next: &Charter) -> Result<(), CharterError> {
    let allowed = [CharterPart::Principals, CharterPart::GovernorQuorum];
    let over = |place: String| CharterError::RecoveryOversteps { place };
    if let Some(part) = changed_parts(current, next)
        .difference(&allowed.into())
        .next()
    {
        return Err(over(part.name().to_owned()));
    }
    let without = |p: &Principal| {
        let mut p = p.clone();
        p.roles.retain(|role| role.as_str() != GOVERNOR_ROLE);
        p.roles.sort();
        p
    };
    let find = |all: &[Principal], p: &Principal| all.iter().find(|o| o.id == p.id).cloned();
    for p in &next.principals {
        let governs_only = p.roles.len() == 1 && p.holds(GOVERNOR_ROLE);
        let same = find(&current.principals, p).is_some_and(|old| without(&old) == without(p));
        if !governs_only && !same {
            return Err(over(format!("principals.{}", p.id)));
        }
    }
    for p in &current.principals {
        let stays = find(&next.principals, p);
        if stays.is_none_or(|new| without(&new) != without(p)) && !p.holds(GOVERNOR_ROLE) {
            return Err(over(format!("principals.{}", p.id)));
        }
    }
    Ok(())
}

/// Whoever holds shares, and at which place.
fn holders(charter: &Charter) -> BTreeMap<NodeIndex, &PublicCredential> {
    let nodes = charter.nodes.iter();
    nodes.map(|n| (n.index, &n.credential)).collect()
}

/// Refuses a charter under which the keys could be lost: what the current nodes hold can only be
/// dealt to others by as many of them as sign, so that many stay, each with index and credential.
///
/// TLS keys and operators may change: no share depends on them. What the next charter promises with
/// its own nodes, threshold and `f_tol` is checked in itself.
fn enough_stay(current: &Charter, next: &Charter) -> Result<(), CharterError> {
    let (number, holders) = (current.number.0, holders(current));
    for node in &next.nodes {
        let before = holders.iter().find(|(_, c)| ***c == node.credential);
        if let Some((before, _)) = before.filter(|(index, _)| **index != node.index) {
            return Err(CharterError::NodeMoved {
                before: *before,
                now: node.index,
                current: number,
            });
        }
    }
    let stays = |n: &&NodeEntry| holders.get(&n.index) == Some(&&n.credential);
    let staying = next.nodes.iter().filter(stays).count();
    if staying >= usize::from(current.threshold) {
        return Ok(());
    }
    Err(CharterError::TooFewNodesStay {
        staying,
        threshold: current.threshold,
        current: number,
    })
}

pub(crate) fn endorsed_by_principal(
    certificate: &Certificate<Charter>,
    principal: &Principal,
) -> bool {
    principal
        .credentials
        .iter()
        .any(|c| certificate.endorsed_by(c))
}
