//! What changes in each part of a charter.

use super::diff::line_diff;
use super::{Change, Direction};
use crate::budget::{Budget, Measure, Mode, Scope};
use crate::charter::{BookEntry, Charter, NodeEntry, Principal};
use crate::check::kind_name;
use crate::explain::decimal;
use crate::governance::CharterPart;
use cedar_policy::{Effect, PolicySet};
use quoin_core::Amount;
use std::collections::BTreeMap;
use std::str::FromStr;

/// What changes in one part.
pub(super) fn changes(part: CharterPart, old: &Charter, new: &Charter) -> Vec<Change> {
    match part {
        CharterPart::Name => vec![Change::neutral(format!("`{}` → `{}`", old.name, new.name))],
        CharterPart::Nodes => keyed(&old.nodes, &new.nodes, |n| n.index.to_string(), node),
        CharterPart::Threshold => threshold(old, new),
        CharterPart::Gateways => keyed(
            &old.gateways,
            &new.gateways,
            |g| g.id.to_string(),
            |id, pair| one(pair, format!("gateway `{id}`"), Direction::Neutral),
        ),
        CharterPart::Principals => keyed(
            &old.principals,
            &new.principals,
            |p| p.id.to_string(),
            principal,
        ),
        CharterPart::GovernorQuorum => number(
            "how many governors sign the next charter",
            old.governor_quorum.into(),
            new.governor_quorum.into(),
            Direction::Tightens,
        ),
        CharterPart::Budgets => {
            let words = |id: &str, pair: Pair<'_, Budget>| budget(old, new, id, pair);
            keyed(&old.budgets, &new.budgets, |b| b.id.to_string(), words)
        }
        CharterPart::Assets => keyed(
            &old.assets,
            &new.assets,
            |a| a.asset.to_string(),
            |id, pair| one(pair, format!("asset {id}"), Direction::Neutral),
        ),
        CharterPart::Book => {
            let wait = old.cooling_off_ms.max(new.cooling_off_ms);
            let place = |e: &BookEntry| format!("{} on {}", e.address, e.chain);
            keyed(&old.book, &new.book, place, |id, pair| book(wait, id, pair))
        }
        CharterPart::Policies => policies(old, new),
        CharterPart::Backup => vec![Change::neutral("who opens backups changes")],
        CharterPart::Facts => keyed(&old.facts, &new.facts, |f| kind_name(&f.kind), fact),
        CharterPart::Keys => keyed(&old.keys, &new.keys, |k| k.key.to_string(), key),
        CharterPart::Limits => limits(old, new),
        CharterPart::Recovery => recovery(old, new),
    }
}

/// An item before and after; one of them is there.
type Pair<'a, T> = (Option<&'a T>, Option<&'a T>);

/// Goes through two lists by what names their items, leaving out what stays the same.
fn keyed<T: PartialEq>(
    old: &[T],
    new: &[T],
    name: impl Fn(&T) -> String,
    words: impl Fn(&str, Pair<'_, T>) -> Vec<Change>,
) -> Vec<Change> {
    let mut all: BTreeMap<String, Pair<'_, T>> = BTreeMap::new();
    for item in old {
        all.entry(name(item)).or_default().0 = Some(item);
    }
    for item in new {
        all.entry(name(item)).or_default().1 = Some(item);
    }
    let differing = all.into_iter().filter(|(_, (old, new))| old != new);
    differing.flat_map(|(id, pair)| words(&id, pair)).collect()
}

/// A change of something that has no more to say; `added` is which way its arrival goes.
fn one<T>(pair: Pair<'_, T>, what: String, added: Direction) -> Vec<Change> {
    let removed = match added {
        Direction::Loosens => Direction::Tightens,
        Direction::Tightens => Direction::Loosens,
        Direction::Neutral => Direction::Neutral,
    };
    vec![match pair {
        (None, _) => Change::new(added, format!("{what} added")),
        (_, None) => Change::new(removed, format!("{what} removed")),
        _ => Change::neutral(format!("{what} changed")),
    }]
}

/// A number, and which way more of it goes.
fn number(what: &str, old: u64, new: u64, more: Direction) -> Vec<Change> {
    stepped(
        what,
        old.cmp(&new),
        more,
        &old.to_string(),
        &new.to_string(),
    )
}

fn stepped(
    what: &str,
    order: std::cmp::Ordering,
    more: Direction,
    old: &str,
    new: &str,
) -> Vec<Change> {
    use std::cmp::Ordering::{Equal, Greater, Less};
    let direction = match (order, more) {
        (Equal, _) => return Vec::new(),
        (Less, _) | (_, Direction::Neutral) => more,
        (Greater, Direction::Tightens) => Direction::Loosens,
        (Greater, Direction::Loosens) => Direction::Tightens,
    };
    vec![Change::new(direction, format!("{what}: {old} → {new}"))]
}

fn flag(what: &str, old: bool, new: bool) -> Vec<Change> {
    match (old, new) {
        (false, true) => vec![Change::loosens(format!("`{what}` is set"))],
        (true, false) => vec![Change::tightens(format!("`{what}` is taken back"))],
        _ => Vec::new(),
    }
}

fn node(index: &str, pair: Pair<'_, NodeEntry>) -> Vec<Change> {
    let (Some(old), Some(new)) = pair else {
        return one(pair, format!("node {index}"), Direction::Neutral);
    };
    let mut all = Vec::new();
    let mut say = |differs: bool, what: String| {
        if differs {
            all.push(Change::neutral(format!("node {index}: {what}")));
        }
    };
    say(
        old.credential != new.credential,
        "another identity; reshare every key to it".to_owned(),
    );
    say(
        old.tls_key_hash != new.tls_key_hash,
        "another TLS key".to_owned(),
    );
    for (what, old, new) in [
        ("operator", &old.operator, &new.operator),
        ("cloud account", &old.cloud, &new.cloud),
        ("region", &old.region, &new.region),
    ] {
        say(old != new, format!("{what} `{old}` → `{new}`"));
    }
    all
}

fn threshold(old: &Charter, new: &Charter) -> Vec<Change> {
    let tightens = Direction::Tightens;
    let (before, after) = (old.threshold.into(), new.threshold.into());
    let mut all = number("how many nodes sign", before, after, tightens);
    let (before, after) = (old.f_tol.into(), new.f_tol.into());
    let what = "against how many malicious nodes exactly-once is promised";
    all.extend(number(what, before, after, tightens));
    let name = "dangerous_disjoint_signers";
    let (before, after) = (
        old.dangerous_disjoint_signers,
        new.dangerous_disjoint_signers,
    );
    all.extend(flag(name, before, after));
    all
}

fn principal(id: &str, pair: Pair<'_, Principal>) -> Vec<Change> {
    let roles = |p: &Principal| {
        let roles: Vec<String> = p.roles.iter().map(|r| format!("`{r}`")).collect();
        roles.join(", ")
    };
    let (old, new) = match pair {
        (Some(old), Some(new)) => (old, new),
        (None, Some(new)) => {
            let what = format!("`{id}` comes, with the roles {}", roles(new));
            return vec![Change::loosens(what)];
        }
        (Some(old), None) => {
            let what = format!("`{id}` goes, who had the roles {}", roles(old));
            return vec![Change::tightens(what)];
        }
        (None, None) => return Vec::new(),
    };
    let mut all = Vec::new();
    for role in new.roles.iter().filter(|r| !old.roles.contains(r)) {
        all.push(Change::loosens(format!("`{id}` gains the role `{role}`")));
    }
    for role in old.roles.iter().filter(|r| !new.roles.contains(r)) {
        all.push(Change::tightens(format!("`{id}` loses the role `{role}`")));
    }
    for c in new
        .credentials
        .iter()
        .filter(|c| !old.credentials.contains(c))
    {
        let what = format!("`{id}` can sign with another credential, {}", c.id());
        all.push(Change::loosens(what));
    }
    for c in old
        .credentials
        .iter()
        .filter(|c| !new.credentials.contains(c))
    {
        let what = format!("`{id}` cannot sign with {} any more", c.id());
        all.push(Change::tightens(what));
    }
    all.extend(stepped(
        &format!("the grant of `{id}` ends"),
        old.expires.cmp(&new.expires),
        Direction::Loosens,
        &format!("{} ms after 1970", old.expires.0),
        &format!("{} ms after 1970", new.expires.0),
    ));
    if old.operator != new.operator {
        let name = |p: &Principal| p.operator.clone().unwrap_or_else(|| "nobody's".to_owned());
        let what = format!(
            "`{id}` is of another operator: {} → {}",
            name(old),
            name(new)
        );
        all.push(Change::neutral(what));
    }
    if old.granted_by != new.granted_by {
        let from = |p: &Principal| p.granted_by.as_ref().map(ToString::to_string);
        let from = from(new).unwrap_or_else(|| "the charter itself".to_owned());
        let what = format!("`{id}` has its grant from {from} now");
        all.push(Change::neutral(what));
    }
    all
}

/// An amount as people write it.
fn amount(charter: &Charter, measure: &Measure, amount: Amount) -> String {
    match measure {
        Measure::Count => format!("{amount} requests"),
        Measure::Usd => format!("{} USD", decimal(amount, 6)),
        Measure::Asset(id) => match charter.assets.iter().find(|a| a.asset == *id) {
            Some(asset) => format!("{} {}", decimal(amount, asset.decimals), asset.symbol),
            None => format!("{amount} smallest units of {id}"),
        },
    }
}

/// A length of time in the largest unit that divides it.
fn span(ms: u64) -> String {
    let units = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "min"),
        (1000, "s"),
    ];
    let whole = units
        .into_iter()
        .find(|(unit, _)| ms > 0 && ms.is_multiple_of(*unit));
    match whole {
        Some((86_400_000, _)) if ms == 86_400_000 => "24 h".to_owned(),
        Some((unit, name)) => format!("{} {name}", ms / unit),
        None => format!("{ms} ms"),
    }
}

fn scope(scope: &Scope) -> String {
    match scope {
        Scope::Org => "everything".to_owned(),
        Scope::Principal(id) => format!("principal `{id}`"),
        Scope::Role(role) => format!("all `{role}` together"),
        Scope::Account(account) => format!("account {}/{}", account.chain, account.address),
        Scope::Counterparty(address) => format!("recipient {address}"),
        Scope::Key(key) => format!("key `{key}`"),
        Scope::EachHolder(role) => format!("each `{role}`"),
        Scope::Corridor => "the corridor".to_owned(),
    }
}

fn budget(before: &Charter, after: &Charter, id: &str, pair: Pair<'_, Budget>) -> Vec<Change> {
    let words = |c: &Charter, b: &Budget| {
        let cap = amount(c, &b.measure, b.cap);
        format!(
            "budget `{id}`: {cap} per {} for {}",
            span(b.window_ms),
            scope(&b.scope)
        )
    };
    let (old, new) = match pair {
        (Some(old), Some(new)) => (old, new),
        (None, Some(new)) => {
            return vec![Change::tightens(format!("{} added", words(after, new)))];
        }
        (Some(old), None) => {
            return vec![Change::loosens(format!("{} removed", words(before, old)))];
        }
        (None, None) => return Vec::new(),
    };
    if (&old.scope, &old.measure) != (&new.scope, &new.measure) {
        let what = format!("{} → {}", words(before, old), words(after, new));
        return vec![Change::neutral(what)];
    }
    let what = format!(
        "budget `{id}` for {}, cap per {}",
        scope(&new.scope),
        span(new.window_ms)
    );
    let mut all = stepped(
        &what,
        old.cap.cmp(&new.cap),
        Direction::Loosens,
        &amount(before, &old.measure, old.cap),
        &amount(after, &new.measure, new.cap),
    );
    all.extend(stepped(
        &format!("budget `{id}`, window"),
        old.window_ms.cmp(&new.window_ms),
        Direction::Tightens,
        &span(old.window_ms),
        &span(new.window_ms),
    ));
    match (old.mode, new.mode) {
        (Mode::Strict, Mode::Sticky) => {
            let what =
                format!("budget `{id}`: `strict` → `sticky`, so that one set spends all of it");
            all.push(Change::loosens(what));
        }
        (Mode::Sticky, Mode::Strict) => {
            let what =
                format!("budget `{id}`: `sticky` → `strict`, so that each node has its part");
            all.push(Change::tightens(what));
        }
        _ => {}
    }
    all
}

fn book(wait_ms: u64, place: &str, pair: Pair<'_, BookEntry>) -> Vec<Change> {
    let assets = |e: &BookEntry| match e.assets.len() {
        0 => "every asset of the chain".to_owned(),
        _ => {
            let names: Vec<String> = e.assets.iter().map(ToString::to_string).collect();
            names.join(", ")
        }
    };
    let wait = match wait_ms {
        0 => "at once".to_owned(),
        ms => format!("after {}", span(ms)),
    };
    vec![match pair {
        (None, Some(new)) => Change::loosens(format!(
            "{place} is added as `{}`: it can receive {} {wait}",
            new.name,
            assets(new)
        )),
        (Some(old), Some(new)) => Change::neutral(format!(
            "{place}, `{}`, is `{}` now: it can receive {} {wait}, as if it were new",
            old.name,
            new.name,
            assets(new)
        )),
        (Some(old), None) => {
            Change::tightens(format!("{place}, `{}`, is in the book no more", old.name))
        }
        (None, None) => return Vec::new(),
    }]
}

/// A policy's text and effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PolicyText {
    pub(super) text: String,
    pub(super) permits: bool,
}

/// The policies of a charter by their ids; those without one are nowhere, as in any valid charter.
pub(super) fn policies_of(charter: &Charter) -> BTreeMap<String, PolicyText> {
    let read = PolicySet::from_str(&charter.policies).unwrap_or_default();
    let named = read.policies().filter_map(|policy| {
        let text = PolicyText {
            text: policy.to_string(),
            permits: policy.effect() == Effect::Permit,
        };
        Some((policy.annotation("id")?.to_owned(), text))
    });
    named.collect()
}

fn policies(old: &Charter, new: &Charter) -> Vec<Change> {
    let (old, new) = (policies_of(old), policies_of(new));
    let ids: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let effect = |p: &PolicyText| if p.permits { "permit" } else { "forbid" };
    let changes = ids.into_iter().filter_map(|id| {
        let (mut change, before, after) = match (old.get(id), new.get(id)) {
            (None, Some(p)) => {
                let direction = if p.permits {
                    Direction::Loosens
                } else {
                    Direction::Tightens
                };
                let what = format!("{} `{id}` added", effect(p));
                (Change::new(direction, what), "", p.text.as_str())
            }
            (Some(p), None) => {
                let direction = if p.permits {
                    Direction::Tightens
                } else {
                    Direction::Loosens
                };
                let what = format!("{} `{id}` removed", effect(p));
                (Change::new(direction, what), p.text.as_str(), "")
            }
            (Some(a), Some(b)) if a != b => {
                let what = format!("{} `{id}` changed", effect(b));
                (Change::neutral(what), a.text.as_str(), b.text.as_str())
            }
            _ => return None,
        };
        change.lines = line_diff(before, after);
        Some(change)
    });
    changes.collect()
}

fn fact(name: &str, pair: Pair<'_, crate::FactRule>) -> Vec<Change> {
    let (Some(old), Some(new)) = pair else {
        return one(
            pair,
            format!("the {name} is believed: rule"),
            Direction::Loosens,
        );
    };
    let what = |field: &str| format!("the {name}, {field}");
    let (before, after) = (old.quorum.into(), new.quorum.into());
    let mut all = number(
        &what("operators who agree"),
        before,
        after,
        Direction::Tightens,
    );
    let (before, after) = (old.age_ms_max, new.age_ms_max);
    all.extend(number(
        &what("oldest in ms"),
        before,
        after,
        Direction::Loosens,
    ));
    let (before, after) = (old.deviation_bp_max.into(), new.deviation_bp_max.into());
    all.extend(number(
        &what("deviation in 0.01 %"),
        before,
        after,
        Direction::Loosens,
    ));
    all
}

fn key(name: &str, pair: Pair<'_, crate::KeyGrant>) -> Vec<Change> {
    let digest = "`dangerous_digest_account`";
    let (direction, what) = match pair {
        (None, Some(new)) if new.dangerous_digest_account => {
            (Direction::Loosens, format!("may spend, with {digest}"))
        }
        (None, _) => (Direction::Loosens, "may spend".to_owned()),
        (_, None) => (
            Direction::Tightens,
            "can only receive from now on".to_owned(),
        ),
        (_, Some(new)) if new.dangerous_digest_account => {
            (Direction::Loosens, format!("has {digest} now"))
        }
        _ => (Direction::Tightens, format!("has no {digest} any more")),
    };
    vec![Change::new(direction, format!("key `{name}` {what}"))]
}

fn limits(old: &Charter, new: &Charter) -> Vec<Change> {
    let (before, after) = (old.cooling_off_ms, new.cooling_off_ms);
    let mut all = stepped(
        "how long a new address waits",
        before.cmp(&after),
        Direction::Tightens,
        &span(before),
        &span(after),
    );
    if old.payload_retention_days != new.payload_retention_days {
        let days = |days: Option<u16>| match days {
            None => "for ever".to_owned(),
            Some(days) => format!("{days} days"),
        };
        let (old, new) = (old.payload_retention_days, new.payload_retention_days);
        let what = format!("journals keep payloads: {} → {}", days(old), days(new));
        all.push(Change::neutral(what));
    }
    let (before, after) = (
        old.dangerous_single_failure_domain,
        new.dangerous_single_failure_domain,
    );
    all.extend(flag("dangerous_single_failure_domain", before, after));
    all
}

fn recovery(old: &Charter, new: &Charter) -> Vec<Change> {
    let (old, new) = match (&old.recovery, &new.recovery) {
        (Some(old), Some(new)) => (old, new),
        (None, Some(new)) => {
            let what = format!(
                "{} of `{}` may put other governors in place, {} after a watcher's receipt",
                new.quorum,
                new.role,
                span(new.delay_ms)
            );
            return vec![Change::loosens(what)];
        }
        _ => return vec![Change::tightens("nobody can put other governors in place")],
    };
    let mut all = Vec::new();
    if old.role != new.role {
        let what = format!("`{}` instead of `{}` may recover", new.role, old.role);
        all.push(Change::neutral(what));
    }
    let (before, after) = (old.quorum.into(), new.quorum.into());
    all.extend(number(
        "how many recover",
        before,
        after,
        Direction::Tightens,
    ));
    all.extend(stepped(
        "how long a recovery waits",
        old.delay_ms.cmp(&new.delay_ms),
        Direction::Tightens,
        &span(old.delay_ms),
        &span(new.delay_ms),
    ));
    all
}
