//! What somebody should look at twice.

use super::parts::policies_of;
use crate::charter::Charter;
use crate::constitution::Constitution;
use crate::governance::GRANT_MS_MAX;
use quoin_core::TimeMs;

/// A grant that ends within so long needs another charter soon: 30 days.
const SOON_MS: u64 = 30 * 24 * 60 * 60 * 1000;

/// All warnings about the new charter.
pub(super) fn warnings(old: &Constitution, new: &Constitution, now: TimeMs) -> Vec<String> {
    let mut all = Vec::new();
    dangers(new.charter(), &mut all);
    removed_forbids(old, new, &mut all);
    decimals(old.charter(), new.charter(), &mut all);
    quorums(new, &mut all);
    ends(new.charter(), now, &mut all);
    all
}

fn dangers(new: &Charter, all: &mut Vec<String>) {
    if new.dangerous_single_failure_domain {
        let spread = Charter {
            dangerous_single_failure_domain: false,
            ..new.clone()
        };
        if let Err(error) = spread.check() {
            all.push(format!(
                "one failure domain is enough, and the charter says that this is meant: {error}"
            ));
        }
    }
    if new.dangerous_disjoint_signers {
        all.push(
            "two signer sets may be disjoint: nothing is promised to be signed only once".into(),
        );
    }
    for key in new.keys.iter().filter(|k| k.dangerous_digest_account) {
        all.push(format!(
            "key `{}` may be an account although it signs bare digests, which nobody can read",
            key.key
        ));
    }
}

fn removed_forbids(old: &Constitution, new: &Constitution, all: &mut Vec<String>) {
    let before = policies_of(old.charter());
    let after = policies_of(new.charter());
    for (id, policy) in before.iter().filter(|(_, p)| !p.permits) {
        match after.get(id) {
            None => all.push(format!("the forbid `{id}` is removed")),
            Some(next) if next.permits => all.push(format!("the forbid `{id}` becomes a permit")),
            Some(next) if next.text != policy.text => {
                all.push(format!("the forbid `{id}` is changed"));
            }
            Some(_) => {}
        }
    }
}

fn decimals(old: &Charter, new: &Charter, all: &mut Vec<String>) {
    for asset in &new.assets {
        let before = old.assets.iter().find(|a| a.asset == asset.asset);
        if before.is_some_and(|a| a.decimals != asset.decimals) {
            all.push(format!(
                "the decimals of {} change, and with them what every amount in the policies means",
                asset.symbol
            ));
        }
    }
}

fn quorums(new: &Constitution, all: &mut Vec<String>) {
    let charter = new.charter();
    let holders = |role: &str| charter.principals.iter().filter(|p| p.holds(role)).count();
    let mut exact = |place: &str, quorum: u8, role: &str| {
        if holders(role) == usize::from(quorum) {
            all.push(format!(
                "{place} asks for {quorum} of `{role}`, and no more hold it: with one lost nobody can"
            ));
        }
    };
    let governor = crate::charter::GOVERNOR_ROLE;
    exact("`governor_quorum`", charter.governor_quorum, governor);
    if let Some(rule) = &charter.recovery {
        exact("`recovery`", rule.quorum, rule.role.as_str());
    }
    for (id, facts) in new.rules.all() {
        for (role, count) in &facts.obligations.approvals {
            exact(&format!("policy `{id}`"), *count, role.as_str());
        }
    }
}

fn ends(new: &Charter, now: TimeMs, all: &mut Vec<String>) {
    for p in &new.principals {
        let left = p.expires.since(now);
        if p.is_expired(now) {
            all.push(format!("the grant of `{}` has ended", p.id));
        } else if left <= SOON_MS {
            let days = left / (24 * 60 * 60 * 1000);
            all.push(format!("the grant of `{}` ends in {days} days", p.id));
        } else if left > GRANT_MS_MAX {
            all.push(format!(
                "the grant of `{}` ends in more than three years",
                p.id
            ));
        }
    }
}
