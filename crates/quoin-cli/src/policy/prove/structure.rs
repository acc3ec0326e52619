//! What changes beside the policies, part by part, and which way.
//!
//! Each part is compared by rules of its own. A field that no rule here knows is reported as unclear
//! by its name, so that a field that is new in a charter is never passed over.

use quoin_core::TimeMs;
use quoin_policy::{
    Asset, BookEntry, BookKind, Budget, Charter, FREEZE_ROLES, FactRule, KeyGrant, Mode, Principal,
    Scope, VETO_ROLES,
};
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Which way a difference goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// More can be signed, by more people, or less can stop it.
    Loosens,
    /// It cannot be told from the charters alone.
    Unclear,
    /// Less can be signed, or more is needed.
    Tightens,
    /// It decides about no request.
    Neutral,
}

impl Effect {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Loosens => "loosens",
            Self::Unclear => "unclear",
            Self::Tightens => "tightens",
            Self::Neutral => "neutral",
        }
    }
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Which way it goes.
    pub effect: Effect,
    /// The part of the charter.
    pub part: String,
    /// What changes, in words.
    pub words: String,
}

/// All differences, in the order of the charter's parts.
#[derive(Default)]
struct Found(Vec<Difference>);

/// Compares everything but the policies.
pub fn differences(old: &Charter, new: &Charter) -> Vec<Difference> {
    let mut found = Found::default();
    found.thresholds(old, new);
    found.principals(old, new);
    found.budgets(old, new);
    found.assets(&old.assets, &new.assets);
    found.book(&old.book, &new.book);
    found.facts(&old.facts, &new.facts);
    found.keys(&old.keys, &new.keys);
    found.gateways(old, new);
    found.backups(old, new);
    let known = [
        "number",
        "cluster",
        "previous",
        "name",
        "threshold",
        "f_tol",
        "governor_quorum",
        "cooling_off_ms",
        "dangerous_disjoint_signers",
        "dangerous_single_failure_domain",
        "principals",
        "budgets",
        "assets",
        "book",
        "facts",
        "keys",
        "gateways",
        "backup",
        "policies",
        "payload_retention_days",
    ];
    found.others("charter", old, new, &known);
    found.0
}

fn keyed<T, K: Ord>(items: &[T], key: impl Fn(&T) -> K) -> BTreeMap<K, &T> {
    items.iter().map(|item| (key(item), item)).collect()
}

/// Which way it goes when more of something is looser.
fn more_is_looser<T: PartialOrd>(old: &T, new: &T) -> Effect {
    if new > old {
        Effect::Loosens
    } else {
        Effect::Tightens
    }
}

fn more_is_tighter<T: PartialOrd>(old: &T, new: &T) -> Effect {
    more_is_looser(new, old)
}

impl Found {
    fn add(&mut self, effect: Effect, part: impl Into<String>, words: impl Into<String>) {
        let (part, words) = (part.into(), words.into());
        self.0.push(Difference {
            effect,
            part,
            words,
        });
    }

    /// Every field that differs and is not among those that are compared by rules of their own.
    fn others<T: Serialize>(&mut self, part: &str, old: &T, new: &T, known: &[&str]) {
        let fields = |of: &T| serde_json::to_value(of).ok()?.as_object().cloned();
        let (old, new) = (
            fields(old).unwrap_or_default(),
            fields(new).unwrap_or_default(),
        );
        let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for name in names.into_iter().filter(|n| !known.contains(&n.as_str())) {
            if old.get(name) != new.get(name) {
                self.add(Effect::Unclear, part, format!("`{name}` changes"));
            }
        }
    }

    /// What is only in one of two lists, by key; returns the pairs that are in both.
    fn come_and_go<'a, T, K: Ord>(
        &mut self,
        old: &BTreeMap<K, &'a T>,
        new: &BTreeMap<K, &'a T>,
        part: impl Fn(&T) -> String,
        (comes, goes): (Effect, Effect),
    ) -> Vec<(&'a T, &'a T)> {
        for (key, item) in old {
            if !new.contains_key(key) {
                self.add(goes, part(item), "is removed");
            }
        }
        for (key, item) in new {
            if !old.contains_key(key) {
                self.add(comes, part(item), "is new");
            }
        }
        let pairs = old
            .iter()
            .filter_map(|(key, item)| Some((*item, *new.get(key)?)));
        pairs.collect()
    }

    fn number<T: PartialOrd + std::fmt::Display>(
        &mut self,
        part: &str,
        what: &str,
        (old, new): (T, T),
        way: fn(&T, &T) -> Effect,
    ) {
        if old != new {
            self.add(way(&old, &new), part, format!("{what} from {old} to {new}"));
        }
    }

    fn flag(&mut self, what: &str, (old, new): (bool, bool)) {
        match (old, new) {
            (false, true) => self.add(Effect::Loosens, what, "is set"),
            (true, false) => self.add(Effect::Tightens, what, "is no longer set"),
            _ => {}
        }
    }

    fn thresholds(&mut self, old: &Charter, new: &Charter) {
        let both = |read: fn(&Charter) -> u8| (read(old), read(new));
        self.number("threshold", "goes", both(|c| c.threshold), more_is_tighter);
        self.number("f_tol", "goes", both(|c| c.f_tol), more_is_tighter);
        let quorum = both(|c| c.governor_quorum);
        self.number("governor_quorum", "goes", quorum, more_is_tighter);
        let cooling = (old.cooling_off_ms, new.cooling_off_ms);
        self.number("cooling_off_ms", "goes", cooling, more_is_tighter);
        let both = |read: fn(&Charter) -> bool| (read(old), read(new));
        let disjoint = both(|c| c.dangerous_disjoint_signers);
        self.flag("dangerous_disjoint_signers", disjoint);
        let single = both(|c| c.dangerous_single_failure_domain);
        self.flag("dangerous_single_failure_domain", single);
        if old.name != new.name {
            self.add(Effect::Neutral, "name", "changes");
        }
        if old.payload_retention_days != new.payload_retention_days {
            let words = "changes: how long journals keep payloads decides about no request";
            self.add(Effect::Neutral, "payload_retention_days", words);
        }
    }

    fn principals(&mut self, old: &Charter, new: &Charter) {
        let by_id = |c: &'_ Charter| -> BTreeMap<String, Principal> {
            c.principals
                .iter()
                .map(|p| (p.id.to_string(), p.clone()))
                .collect()
        };
        let (before, after) = (by_id(old), by_id(new));
        for (id, gone) in before.iter().filter(|(id, _)| !after.contains_key(*id)) {
            let part = format!("principal `{id}`");
            self.add(Effect::Tightens, &part, "is removed");
            gone.roles
                .iter()
                .for_each(|r| self.lost_stop(&part, r.as_str()));
        }
        for (id, now) in &after {
            let part = format!("principal `{id}`");
            match before.get(id) {
                None => self.add(Effect::Loosens, part, "is new"),
                Some(was) => self.principal(&part, was, now, old),
            }
        }
    }

    /// A role that may stop things is worth more to whoever guards than to whoever asks.
    fn lost_stop(&mut self, part: &str, role: &str) {
        if FREEZE_ROLES.contains(&role) || VETO_ROLES.contains(&role) {
            let words = format!("one holder of `{role}` less can freeze or veto");
            self.add(Effect::Loosens, part, words);
        }
    }

    fn principal(&mut self, part: &str, was: &Principal, now: &Principal, old: &Charter) {
        let roles = |p: &Principal| p.roles.iter().map(ToString::to_string).collect();
        let (before, after): (BTreeSet<String>, BTreeSet<String>) = (roles(was), roles(now));
        for role in after.difference(&before) {
            self.add(
                Effect::Loosens,
                part,
                format!("holds the role `{role}` from now on"),
            );
        }
        for role in before.difference(&after) {
            let words = format!("no longer holds the role `{role}`");
            self.add(Effect::Tightens, part, words);
            self.lost_stop(part, role);
            let bound = old
                .budgets
                .iter()
                .filter(|b| scope_role(&b.scope) == Some(role.as_str()));
            for budget in bound {
                let words = format!("is no longer bound by the budget `{}`", budget.id);
                self.add(Effect::Loosens, part, words);
            }
        }
        let fresh = now
            .credentials
            .iter()
            .filter(|c| !was.credentials.contains(c))
            .count();
        let gone = was
            .credentials
            .iter()
            .filter(|c| !now.credentials.contains(c))
            .count();
        if fresh > 0 {
            self.add(
                Effect::Loosens,
                part,
                format!("has {fresh} more credentials"),
            );
        }
        if gone > 0 {
            self.add(Effect::Tightens, part, format!("loses {gone} credentials"));
        }
        let expires = |p: &Principal| -> TimeMs { p.expires };
        if expires(was) != expires(now) {
            let effect = more_is_looser(&was.expires, &now.expires);
            let words = match effect {
                Effect::Loosens => "the grant ends later",
                _ => "the grant ends earlier",
            };
            self.add(effect, part, words);
        }
        self.others(part, was, now, &["id", "roles", "credentials", "expires"]);
    }

    fn budgets(&mut self, old: &Charter, new: &Charter) {
        let key = |b: &Budget| b.id.to_string();
        let (before, after) = (keyed(&old.budgets, key), keyed(&new.budgets, key));
        let part = |b: &Budget| format!("budget `{}`", b.id);
        let ways = (Effect::Tightens, Effect::Loosens);
        for (was, now) in self.come_and_go(&before, &after, part, ways) {
            let part = part(was);
            self.number(&part, "the cap goes", (was.cap, now.cap), more_is_looser);
            let window = (was.window_ms, now.window_ms);
            self.number(&part, "`window_ms` goes", window, more_is_tighter);
            match (was.mode, now.mode) {
                (Mode::Strict, Mode::Sticky) => {
                    self.add(Effect::Loosens, &part, "goes from `strict` to `sticky`");
                }
                (Mode::Sticky, Mode::Strict) => {
                    self.add(Effect::Tightens, &part, "goes from `sticky` to `strict`");
                }
                _ => {}
            }
            if was.scope != now.scope {
                let effect = scope_effect(&was.scope, &now.scope);
                self.add(effect, &part, "is bound to another scope");
            }
            let known = ["id", "scope", "cap", "window_ms", "mode"];
            self.others(&part, was, now, &known);
        }
    }

    fn assets(&mut self, old: &[Asset], new: &[Asset]) {
        let key = |a: &Asset| a.asset.to_string();
        let part = |a: &Asset| format!("asset `{}`", a.asset);
        let ways = (Effect::Loosens, Effect::Tightens);
        for (was, now) in self.come_and_go(&keyed(old, key), &keyed(new, key), part, ways) {
            // With more decimals the same amount looks smaller to every policy.
            let decimals = (was.decimals, now.decimals);
            self.number(&part(was), "`decimals` goes", decimals, more_is_looser);
            self.others(&part(was), was, now, &["asset", "decimals"]);
        }
    }

    fn book(&mut self, old: &[BookEntry], new: &[BookEntry]) {
        let key = |b: &BookEntry| (b.chain.to_string(), b.name.to_string());
        let part = |b: &BookEntry| format!("address book, `{}` on {}", b.name, b.chain);
        let ways = (Effect::Loosens, Effect::Tightens);
        for (was, now) in self.come_and_go(&keyed(old, key), &keyed(new, key), part, ways) {
            let part = part(was);
            if was.address != now.address {
                let words = format!("goes from {} to {}", was.address, now.address);
                self.add(Effect::Loosens, &part, words);
            }
            let (before, after): (BTreeSet<_>, BTreeSet<_>) =
                (was.assets.iter().collect(), now.assets.iter().collect());
            if before != after {
                let narrower = before.is_empty() || after.is_subset(&before);
                let tightens = narrower && !after.is_empty();
                let effect = if tightens {
                    Effect::Tightens
                } else {
                    Effect::Loosens
                };
                self.add(effect, &part, "may receive other assets");
            }
            match (was.kind, now.kind) {
                (BookKind::Counterparty, BookKind::Margin) => {
                    self.add(Effect::Loosens, &part, "becomes an own margin account");
                }
                (BookKind::Margin, BookKind::Counterparty) => {
                    self.add(Effect::Tightens, &part, "is no own margin account any more");
                }
                _ => {}
            }
            let known = ["name", "chain", "address", "assets", "kind"];
            self.others(&part, was, now, &known);
        }
    }

    fn facts(&mut self, old: &[FactRule], new: &[FactRule]) {
        let key = |f: &FactRule| f.kind.clone();
        let part = |f: &FactRule| {
            let kind = serde_json::to_value(&f.kind).unwrap_or(Value::Null);
            format!("fact {kind}")
        };
        // What is unknown permits nothing and satisfies no budget.
        let ways = (Effect::Loosens, Effect::Tightens);
        for (was, now) in self.come_and_go(&keyed(old, key), &keyed(new, key), part, ways) {
            let part = part(was);
            let quorum = (was.quorum, now.quorum);
            self.number(&part, "`quorum` goes", quorum, more_is_tighter);
            let age = (was.age_ms_max, now.age_ms_max);
            self.number(&part, "`age_ms_max` goes", age, more_is_looser);
            let apart = (was.deviation_bp_max, now.deviation_bp_max);
            self.number(&part, "`deviation_bp_max` goes", apart, more_is_looser);
            let known = ["kind", "quorum", "age_ms_max", "deviation_bp_max"];
            self.others(&part, was, now, &known);
        }
    }

    fn keys(&mut self, old: &[KeyGrant], new: &[KeyGrant]) {
        let key = |k: &KeyGrant| k.key.to_string();
        let part = |k: &KeyGrant| format!("spending key `{}`", k.key);
        let ways = (Effect::Loosens, Effect::Tightens);
        for (was, now) in self.come_and_go(&keyed(old, key), &keyed(new, key), part, ways) {
            let digest = (was.dangerous_digest_account, now.dangerous_digest_account);
            self.flag(&format!("{}: dangerous_digest_account", part(was)), digest);
            self.others(&part(was), was, now, &["key", "dangerous_digest_account"]);
        }
    }

    fn gateways(&mut self, old: &Charter, new: &Charter) {
        let (before, after) = (
            keyed(&old.gateways, |g| g.id.to_string()),
            keyed(&new.gateways, |g| g.id.to_string()),
        );
        let part = |g: &quoin_policy::GatewayEntry| format!("gateway `{}`", g.id);
        let ways = (Effect::Loosens, Effect::Tightens);
        for (was, now) in self.come_and_go(&before, &after, part, ways) {
            if was.tls_key_hash != now.tls_key_hash {
                self.add(Effect::Loosens, part(was), "has another key");
            }
            self.others(&part(was), was, now, &["id", "tls_key_hash"]);
        }
    }

    fn backups(&mut self, old: &Charter, new: &Charter) {
        let part = "backup";
        match (&old.backup, &new.backup) {
            (None, Some(_)) => self.add(Effect::Loosens, part, "shares are backed up from now on"),
            (Some(_), None) => self.add(Effect::Tightens, part, "shares are no longer backed up"),
            (Some(was), Some(now)) => {
                let threshold = (was.threshold, now.threshold);
                self.number(part, "the threshold goes", threshold, more_is_tighter);
                self.others(part, was, now, &["threshold"]);
            }
            (None, None) => {}
        }
    }
}

fn scope_role(scope: &Scope) -> Option<&str> {
    match scope {
        Scope::Role(role) | Scope::EachHolder(role) => Some(role.as_str()),
        _ => None,
    }
}

/// Whatever was counted and is no longer counted is looser; only what is known to count more is not.
fn scope_effect(was: &Scope, now: &Scope) -> Effect {
    let together = match (was, now) {
        (_, Scope::Org) => true,
        (Scope::EachHolder(each), Scope::Role(role)) => each == role,
        _ => false,
    };
    if together {
        Effect::Tightens
    } else {
        Effect::Loosens
    }
}
