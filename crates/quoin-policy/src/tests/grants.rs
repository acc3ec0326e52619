//! Grants, topology, facts, book and keys: every check has a charter that fails it and nothing else.

use crate::charter::{BookKind, KeyGrant};
use crate::fixtures::*;
use crate::{Charter, CharterError, FactKind, FactRule, Measure, NodeEntry, Principal, Scope};
use quoin_core::TimeMs;

/// A charter that spreads everything, so that it says nothing dangerous.
fn spread() -> Charter {
    let mut charter = charter(OPEN);
    charter.dangerous_single_failure_domain = false;
    for (i, node) in charter.nodes.iter_mut().enumerate() {
        node.cloud = format!("cloud {i}");
        node.region = format!("region {i}");
    }
    charter
        .principals
        .extend([person("fay", 51, &["feed"]), person("flo", 52, &["feed"])]);
    charter
}

fn person(id: &str, seed: u8, roles: &[&str]) -> Principal {
    Principal {
        credentials: vec![identity(seed).public()],
        ..principal(id, roles)
    }
}

/// Somebody to whom `from` delegated.
fn delegate(id: &str, seed: u8, from: &str, roles: &[&str]) -> Principal {
    Principal {
        granted_by: Some(from.parse().unwrap()),
        ..person(id, seed, roles)
    }
}

fn price() -> FactRule {
    FactRule {
        kind: FactKind::Price(native()),
        quorum: 2,
        age_ms_max: 60_000,
        deviation_bp_max: 100,
    }
}

#[test]
fn a_charter_that_spreads_everything_is_valid() {
    let mut full = spread();
    full.facts = vec![price()];
    full.cooling_off_ms = 31 * 24 * HOUR_MS;
    full.payload_retention_days = Some(40);
    full.book[0].assets = vec![native()];
    full.keys = vec![KeyGrant {
        key: "hot".parse().unwrap(),
        dangerous_digest_account: true,
    }];
    full.budgets = vec![budget(
        "b",
        Scope::Key("hot".parse().unwrap()),
        Measure::Count,
        9,
    )];
    full.principals
        .push(delegate("agent-1", 53, "bot", &["desk"]));
    full.check().unwrap();
}

/// The error of that charter changed in one place, which has to name the place.
fn broken(place: &str, change: impl FnOnce(&mut Charter)) -> CharterError {
    let mut charter = spread();
    charter.clone().check().unwrap();
    change(&mut charter);
    let error = charter.check().unwrap_err();
    assert!(error.to_string().contains(place), "{place}: {error}");
    error
}

macro_rules! refuses {
    ($($name:ident: $error:pat, $place:literal, $change:expr;)+) => {$(
        #[test]
        fn $name() {
            let error = broken($place, $change);
            assert!(matches!(error, $error), "{error:?}");
        }
    )+};
}

fn operators(c: &mut Charter, ids: &[&str]) {
    for p in &mut c.principals {
        if ids.contains(&p.id.as_str()) {
            p.operator = Some("one employer".into());
        }
    }
}

fn on_all(c: &mut Charter, change: fn(&mut NodeEntry)) {
    c.nodes.iter_mut().take(2).for_each(change);
}

refuses! {
    refuses_a_grant_without_end: CharterError::GrantWithoutEnd { .. }, "principals.bot.expires",
        |c| c.principals[0].expires = TimeMs(u64::MAX);
    refuses_a_grant_into_the_next_century: CharterError::GrantWithoutEnd { .. },
        "principals.bot.expires", |c| c.principals[0].expires = TimeMs(4_102_444_800_000);
    refuses_a_grant_that_never_began: CharterError::GrantWithoutEnd { .. },
        "principals.bot.expires", |c| c.principals[0].expires = TimeMs(0);
    refuses_a_misspelt_role: CharterError::RoleLooksLike { known: "watcher", .. },
        "principals.bot.roles", |c| c.principals[0].roles.push("wacther".parse().unwrap());
    refuses_a_delegation_by_nobody: CharterError::UnknownName { .. }, "principals.new.granted_by",
        |c| c.principals.push(delegate("new", 53, "nobody", &["desk"]));
    refuses_a_delegation_to_oneself: CharterError::DelegationCycle { .. }, "bot from bot",
        |c| c.principals[0].granted_by = Some("bot".parse().unwrap());
    refuses_a_circle_of_delegations_and_names_it: CharterError::DelegationCycle { .. },
        "a from c from b from a", |c| {
        c.principals.push(delegate("a", 53, "c", &["desk"]));
        c.principals.push(delegate("b", 54, "a", &["desk"]));
        c.principals.push(delegate("c", 55, "b", &["desk"]));
    };
    refuses_a_way_into_a_circle: CharterError::DelegationCycle { .. }, "b from c from b", |c| {
        c.principals.push(delegate("a", 53, "b", &["desk"]));
        c.principals.push(delegate("b", 54, "c", &["desk"]));
        c.principals.push(delegate("c", 55, "b", &["desk"]));
    };
    refuses_nine_delegations_in_a_row: CharterError::DelegationDepth { max: 8, .. },
        "principals.d9.granted_by", |c| chain(c, 9);
    refuses_a_delegation_that_outlasts_its_grantor: CharterError::DelegationOutlasts { .. },
        "principals.new.expires", |c| {
        c.principals.push(delegate("new", 53, "bot", &["desk"]));
        c.principals[0].expires = NOW.plus(1);
    };
    refuses_a_role_that_the_grantor_does_not_hold: CharterError::DelegationExceeds { .. },
        "principals.new.roles",
        |c| c.principals.push(delegate("new", 53, "bot", &["desk", "risk"]));
    refuses_a_delegated_governor: CharterError::DelegatedGovernor { .. }, "principals.new.roles",
        |c| c.principals.push(delegate("new", 53, "ann", &["governor"]));
    refuses_one_operator_with_a_threshold: CharterError::SingleFailureDomain { count: 2, .. },
        "operator `same`", |c| on_all(c, |n| n.operator = "same".into());
    refuses_one_cloud_account_with_a_threshold: CharterError::SingleFailureDomain { .. },
        "cloud account `same`", |c| on_all(c, |n| n.cloud = "same".into());
    refuses_one_region_with_a_threshold: CharterError::SingleFailureDomain { .. },
        "region `same`", |c| on_all(c, |n| n.region = "same".into());
    counts_what_nobody_declared_as_one: CharterError::SingleFailureDomain { .. },
        "the region that nobody has declared", |c| on_all(c, |n| n.region.clear());
    refuses_one_operator_with_a_quorum_of_governors: CharterError::SingleFailureDomain { .. },
        "governor_quorum", |c| operators(c, &["ann", "ben"]);
    refuses_a_single_governor_who_is_enough: CharterError::SingleFailureDomain { .. },
        "governor_quorum", |c| c.governor_quorum = 1;
    refuses_one_operator_with_a_quorum_of_approvers: CharterError::SingleFailureDomain { .. },
        "policies.paid", |c| {
        c.policies.push_str(r#"@id("paid") @approvals("2 of treasury")
            permit (principal, action == Action::"call", resource);"#);
        operators(c, &["ann", "cid"]);
    };
    refuses_a_fact_believed_for_no_time: CharterError::BadFactAge { .. }, "age_ms_max",
        |c| c.facts = vec![FactRule { age_ms_max: 0, ..price() }];
    refuses_a_fact_believed_for_over_a_day: CharterError::BadFactAge { .. }, "age_ms_max",
        |c| c.facts = vec![FactRule { age_ms_max: 24 * HOUR_MS + 1, ..price() }];
    refuses_a_fact_believed_whatever_is_said: CharterError::BadDeviation { .. },
        "deviation_bp_max", |c| c.facts = vec![FactRule { deviation_bp_max: 10_001, ..price() }];
    refuses_a_fact_that_nobody_has_to_state: CharterError::UnreachableQuorum { .. }, "quorum",
        |c| c.facts = vec![FactRule { quorum: 0, ..price() }];
    refuses_a_fact_that_two_feeds_of_one_operator_state: CharterError::UnreachableQuorum {
        holders: 1, ..
    }, "quorum", |c| {
        c.facts = vec![price()];
        operators(c, &["fay", "flo"]);
    };
    refuses_two_rules_for_one_fact: CharterError::Duplicate { .. }, "facts.kind",
        |c| c.facts = vec![price(), FactRule { quorum: 1, ..price() }];
    refuses_the_price_of_an_unknown_asset: CharterError::UnknownName { .. }, "kind", |c| {
        let kind = FactKind::Price("eip155:1/native".parse().unwrap());
        c.facts = vec![FactRule { kind, ..price() }];
    };
    refuses_the_margin_of_a_counterparty: CharterError::NotMargin { .. }, "exchange", |c| {
        let kind = FactKind::Margin("exchange".parse().unwrap());
        c.facts = vec![FactRule { kind, ..price() }];
    };
    refuses_one_key_twice: CharterError::Duplicate { .. }, "keys.key", |c| {
        let grant = KeyGrant { key: "hot".parse().unwrap(), dangerous_digest_account: false };
        c.keys = vec![grant.clone(), grant];
    };
    refuses_a_digest_account_without_a_cap: CharterError::DigestAccountWithoutBudget { .. },
        "keys.hot", |c| {
        c.keys = vec![KeyGrant { key: "hot".parse().unwrap(), dangerous_digest_account: true }];
        // A cap of another key is none of this one.
        let other = Scope::Key("cold".parse().unwrap());
        c.budgets = vec![budget("b", other, Measure::Count, 9)];
    };
    refuses_an_address_with_an_asset_of_another_chain: CharterError::ForeignAsset { .. },
        "book.exchange.assets",
        |c| c.book[0].assets = vec!["eip155:1/native".parse().unwrap()];
    refuses_an_address_with_an_unknown_asset: CharterError::UnknownName { .. },
        "book.exchange.assets", |c| {
        let token = format!("eip155:{CHAIN}/token:{}", stranger());
        c.book[0].assets = vec![token.parse().unwrap()];
    };
    refuses_an_address_with_one_asset_twice: CharterError::Duplicate { .. },
        "book.exchange.assets", |c| c.book[0].assets = vec![native(), native()];
    refuses_a_cooling_off_over_31_days: CharterError::CoolingOffTooLong, "cooling_off_ms",
        |c| c.cooling_off_ms = 31 * 24 * HOUR_MS + 1;
    refuses_to_forget_payloads_that_are_still_judged: CharterError::RetentionTooShort,
        "payload_retention_days", |c| c.payload_retention_days = Some(39);
    refuses_a_region_with_a_newline: CharterError::BadText { .. }, "nodes.1.region",
        |c| c.nodes[0].region = "a\nb".into();
    refuses_an_empty_operator_of_a_principal: CharterError::BadText { .. },
        "principals.bot.operator", |c| c.principals[0].operator = Some(String::new());
}

/// `bot`, and so many delegations in a row.
fn chain(c: &mut Charter, length: u8) {
    for i in 1..=length {
        let from = match i {
            1 => "bot".to_owned(),
            _ => format!("d{}", i - 1),
        };
        let next = delegate(&format!("d{i}"), 60 + i, &from, &["desk"]);
        c.principals.push(next);
    }
}

#[test]
fn eight_delegations_in_a_row_are_allowed() {
    let mut charter = spread();
    chain(&mut charter, 8);
    charter.check().unwrap();
}

#[test]
fn every_failure_domain_can_be_accepted_by_its_name() {
    type Change = fn(&mut Charter);
    let changes: [Change; 5] = [
        |c| on_all(c, |n| n.operator = "same".into()),
        |c| on_all(c, |n| n.cloud = "same".into()),
        |c| on_all(c, |n| n.region.clear()),
        |c| operators(c, &["ann", "ben"]),
        |c| c.governor_quorum = 1,
    ];
    for change in changes {
        let mut charter = spread();
        change(&mut charter);
        charter.clone().check().unwrap_err();
        charter.dangerous_single_failure_domain = true;
        charter.check().unwrap();
    }
}

#[test]
fn the_margin_of_an_own_account_and_a_single_approver_are_allowed() {
    let mut charter = spread();
    charter.book[0].kind = BookKind::Margin;
    let kind = FactKind::Margin("exchange".parse().unwrap());
    charter.facts = vec![FactRule { kind, ..price() }];
    charter.policies.push_str(
        r#"@id("paid") @approvals("1 of treasury")
        permit (principal, action == Action::"call", resource);"#,
    );
    charter.check().unwrap();
}
