//! Grants: that each ends, what roles are called, and what is delegated.

use super::{CharterError, at_most, reachable};
use crate::charter::{Charter, GOVERNOR_ROLE, KNOWN_ROLES, Principal, WATCHER_ROLE};
use quoin_core::TimeMs;

/// The first millisecond of the year 2100. A charter has no clock to say how far ahead a grant is, but
/// a time that nobody will see means that somebody meant "for ever"; what is too long for a proposal
/// is checked against the clock when it is judged.
const EXPIRES_END: TimeMs = TimeMs(4_102_444_800_000);
/// The most delegations in a row: a desk, its system, an agent, its helpers; beyond that nobody knows
/// any more who answers for whom.
pub(super) const DELEGATIONS_MAX: usize = 8;
/// The shortest wait of a recovery: whoever is on holiday hears of it.
const RECOVERY_MS_MIN: u64 = 7 * 24 * 60 * 60 * 1000;
/// The longest one.
const RECOVERY_MS_MAX: u64 = 31 * 24 * 60 * 60 * 1000;

/// Checks all grants.
pub(super) fn check(c: &Charter) -> Result<(), CharterError> {
    for p in &c.principals {
        ends(p)?;
        for role in &p.roles {
            looks_like(p, role.as_str())?;
        }
        delegated(c, p)?;
    }
    recovery(c)
}

fn ends(p: &Principal) -> Result<(), CharterError> {
    if p.expires > TimeMs(0) && p.expires < EXPIRES_END {
        return Ok(());
    }
    let place = format!("principals.{}.expires", p.id);
    Err(CharterError::GrantWithoutEnd { place })
}

/// Refuses a role one slip of the pen away from a known one: its holder would lack a right silently.
fn looks_like(p: &Principal, role: &str) -> Result<(), CharterError> {
    if KNOWN_ROLES.contains(&role) {
        return Ok(());
    }
    match KNOWN_ROLES.iter().find(|known| one_slip(known, role)) {
        None => Ok(()),
        Some(known) => Err(CharterError::RoleLooksLike {
            place: format!("principals.{}.roles", p.id),
            role: role.to_owned(),
            known,
        }),
    }
}

/// Whether one letter more, less or other, or two that changed places, make one of the other.
fn one_slip(a: &str, b: &str) -> bool {
    let common = |x: &mut dyn Iterator<Item = (u8, u8)>| x.take_while(|(p, q)| p == q).count();
    let start = common(&mut a.bytes().zip(b.bytes()));
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let rest = |text: &[u8]| text.get(start..).unwrap_or_default().to_vec();
    let (mut a, mut b) = (rest(a), rest(b));
    while a.last().is_some() && a.last() == b.last() {
        a.pop();
        b.pop();
    }
    match (a.as_slice(), b.as_slice()) {
        ([p, q], [r, s]) => p == s && q == r,
        (a, b) => a.len() <= 1 && b.len() <= 1,
    }
}

/// Checks what a principal was delegated, and the way to whom it comes from.
fn delegated(c: &Charter, p: &Principal) -> Result<(), CharterError> {
    let Some(grantor) = &p.granted_by else {
        return Ok(());
    };
    let place = |field: &str| format!("principals.{}.{field}", p.id);
    let find = |id: &quoin_core::PrincipalId| c.principals.iter().find(|other| other.id == *id);
    let mut way = vec![p.id.to_string()];
    let mut next = Some(grantor);
    while let Some(id) = next {
        let Some(above) = find(id) else {
            return Err(CharterError::UnknownName {
                place: place("granted_by"),
                name: id.to_string(),
            });
        };
        if way.contains(&id.to_string()) {
            // The circle begins where the way meets itself, which need not be here.
            let circle = way.iter().skip_while(|name| **name != id.as_str());
            let mut cycle: Vec<String> = circle.cloned().collect();
            cycle.push(id.to_string());
            let place = place("granted_by");
            return Err(CharterError::DelegationCycle { place, cycle });
        }
        if way.len() > DELEGATIONS_MAX {
            return Err(CharterError::DelegationDepth {
                place: place("granted_by"),
                max: DELEGATIONS_MAX,
            });
        }
        way.push(id.to_string());
        next = above.granted_by.as_ref();
    }
    find(grantor).map_or(Ok(()), |grantor| within(p, grantor))
}

/// A delegation never gives more than its grantor has.
fn within(p: &Principal, grantor: &Principal) -> Result<(), CharterError> {
    let place = |field: &str| format!("principals.{}.{field}", p.id);
    let from = grantor.id.to_string();
    if p.holds(GOVERNOR_ROLE) {
        let place = place("roles");
        return Err(CharterError::DelegatedGovernor { place });
    }
    if p.expires > grantor.expires {
        return Err(CharterError::DelegationOutlasts {
            place: place("expires"),
            grantor: from,
        });
    }
    match p.roles.iter().find(|role| !grantor.roles.contains(role)) {
        None => Ok(()),
        Some(role) => Err(CharterError::DelegationExceeds {
            place: place("roles"),
            role: role.to_string(),
            grantor: from,
        }),
    }
}

/// A recovery has to work without the governors, and must not be the easier way to a charter.
fn recovery(c: &Charter) -> Result<(), CharterError> {
    let Some(rule) = &c.recovery else {
        return Ok(());
    };
    at_most(
        "recovery.role",
        rule.role.as_str().len(),
        super::NAME_BYTES_MAX,
    )?;
    let min = c.governor_quorum.max(2);
    if rule.quorum < min {
        let quorum = rule.quorum;
        return Err(CharterError::WeakRecovery { quorum, min });
    }
    if !(RECOVERY_MS_MIN..=RECOVERY_MS_MAX).contains(&rule.delay_ms) {
        return Err(CharterError::BadRecoveryDelay);
    }
    let others = c.principals.iter().filter(|p| !p.holds(GOVERNOR_ROLE));
    let others: Vec<Principal> = others.cloned().collect();
    reachable("recovery.quorum", rule.role.as_str(), rule.quorum, &others)?;
    // Without a receipt the delay never begins, and whoever brings the recovery cannot give it.
    let warners = others.iter().filter(|p| !p.roles.contains(&rule.role));
    let warners: Vec<Principal> = warners.cloned().collect();
    reachable("recovery", WATCHER_ROLE, 1, &warners)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slip_is_one_letter_or_two_that_changed_places() {
        for slip in [
            "governer",
            "govrnor",
            "governorr",
            "governors",
            "goevrnor",
            "overnor",
        ] {
            assert!(one_slip("governor", slip), "{slip}");
        }
        for far in [
            "governance",
            "gvrnor",
            "treasury",
            "",
            "goevrnro",
            "rgovernor2",
        ] {
            assert!(!one_slip("governor", far), "{far}");
        }
    }
}
