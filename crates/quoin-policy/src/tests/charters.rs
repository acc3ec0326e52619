//! Charters: every check has a charter that fails it and nothing else.

use crate::budget::{Measure, Mode, Scope};
use crate::fixtures::*;
use crate::{Charter, CharterError, cluster_words, verify_genesis, verify_successor};
use quoin_core::{Amount, CharterHash, CharterNumber, ClusterId, TimeMs};

/// The error of a charter changed in one place.
fn broken(change: impl FnOnce(&mut Charter)) -> CharterError {
    let mut charter = charter(OPEN);
    change(&mut charter);
    charter.check().unwrap_err()
}

macro_rules! refuses {
    ($($(#[$meta:meta])* $name:ident: $error:pat, $change:expr;)+) => {$(
        $(#[$meta])*
        #[test]
        fn $name() {
            let error = broken($change);
            assert!(matches!(error, $error), "{error:?}");
        }
    )+};
}

refuses! {
    refuses_a_threshold_of_one: CharterError::BadThreshold { .. }, |c| c.threshold = 1;
    refuses_a_threshold_over_the_nodes: CharterError::BadThreshold { .. }, |c| c.threshold = 4;
    refuses_a_threshold_over_seven: CharterError::BadThreshold { .. }, |c| {
        c.nodes = (1..=8).map(node).collect();
        c.threshold = 8;
    };
    refuses_disjoint_signers: CharterError::DisjointSigners { .. }, |c| c.f_tol = 1;
    refuses_f_tol_at_the_threshold: CharterError::FTolOverThreshold { .. }, |c| c.f_tol = 2;
    refuses_sixteen_nodes: CharterError::TooLarge { .. }, |c| {
        let again = c.nodes[0].clone();
        c.nodes.extend(std::iter::repeat_n(again, 13));
    };
    refuses_one_node_index_twice: CharterError::Duplicate { .. }, |c| {
        c.nodes[1].index = c.nodes[0].index;
    };
    refuses_one_credential_for_two_nodes: CharterError::Duplicate { .. }, |c| {
        c.nodes[1].credential = c.nodes[0].credential.clone();
    };
    refuses_a_principal_with_a_nodes_credential: CharterError::Duplicate { .. }, |c| {
        c.principals[0].credentials = vec![c.nodes[0].credential.clone()];
    };
    refuses_one_credential_for_two_principals: CharterError::Duplicate { .. }, |c| {
        let shared = c.principals[1].credentials[0].clone();
        c.principals[2].credentials.push(shared);
    };
    refuses_one_tls_key_for_node_and_gateway: CharterError::Duplicate { .. }, |c| {
        c.gateways[0].tls_key_hash = c.nodes[0].tls_key_hash;
    };
    refuses_one_principal_twice: CharterError::Duplicate { .. }, |c| {
        c.principals[3].id = c.principals[0].id.clone();
    };
    refuses_one_role_twice: CharterError::Duplicate { .. }, |c| {
        let role = c.principals[1].roles[0].clone();
        c.principals[1].roles.push(role);
    };
    refuses_a_principal_without_credential: CharterError::NoCredential { .. }, |c| {
        c.principals[0].credentials.clear();
    };
    refuses_too_many_credentials: CharterError::TooLarge { .. }, |c| {
        c.principals[0].credentials = (30..39).map(|s| identity(s).public()).collect();
    };
    refuses_a_governor_quorum_of_none: CharterError::UnreachableQuorum { .. }, |c| {
        c.governor_quorum = 0;
    };
    refuses_a_governor_quorum_nobody_reaches: CharterError::UnreachableQuorum { .. }, |c| {
        c.governor_quorum = 3;
    };
    refuses_an_empty_name: CharterError::BadText { .. }, |c| c.name.clear();
    refuses_a_name_with_a_newline: CharterError::BadText { .. }, |c| c.name = "a\nb".into();
    refuses_an_operator_over_64_bytes: CharterError::BadText { .. }, |c| {
        c.nodes[0].operator = "x".repeat(65);
    };
    refuses_a_symbol_that_looks_like_another: CharterError::BadText { .. }, |c| {
        c.assets[0].symbol = "\u{395}TH".into();
    };
    refuses_37_decimals: CharterError::BadDecimals { .. }, |c| c.assets[0].decimals = 37;
    refuses_one_asset_twice: CharterError::Duplicate { .. }, |c| {
        let again = c.assets[0].clone();
        c.assets.push(again);
    };
    refuses_two_names_for_one_address: CharterError::Duplicate { .. }, |c| {
        let mut again = c.book[0].clone();
        again.name = "other".parse().unwrap();
        c.book.push(again);
    };
    refuses_two_addresses_for_one_name: CharterError::Duplicate { .. }, |c| {
        let mut again = c.book[0].clone();
        again.address = stranger();
        c.book.push(again);
    };
    refuses_a_budget_without_window: CharterError::BadWindow { .. }, |c| {
        c.budgets = vec![budget("b", Scope::Org, Measure::Count, 10)];
        c.budgets[0].window_ms = 0;
    };
    refuses_a_window_over_31_days: CharterError::BadWindow { .. }, |c| {
        c.budgets = vec![budget("b", Scope::Org, Measure::Count, 10)];
        c.budgets[0].window_ms = crate::WINDOW_MS_MAX + 1;
    };
    refuses_a_cap_that_cannot_be_divided: CharterError::CapTooSmall { min: 2, .. }, |c| {
        c.budgets = vec![budget("b", Scope::Org, Measure::Count, 1)];
    };
    refuses_sticky_budgets_for_now: CharterError::StickyNotSupported { .. }, |c| {
        c.budgets = vec![budget("b", Scope::Org, Measure::Count, 10)];
        c.budgets[0].mode = Mode::Sticky;
    };
    refuses_a_budget_of_an_unknown_principal: CharterError::UnknownName { .. }, |c| {
        let scope = Scope::Principal("nobody".parse().unwrap());
        c.budgets = vec![budget("b", scope, Measure::Count, 10)];
    };
    refuses_a_budget_of_an_unknown_role: CharterError::UnknownName { .. }, |c| {
        let scope = Scope::Role("nobody".parse().unwrap());
        c.budgets = vec![budget("b", scope, Measure::Count, 10)];
    };
    refuses_a_budget_of_an_unknown_asset: CharterError::UnknownName { .. }, |c| {
        let measure = Measure::Asset("eip155:1/native".parse().unwrap());
        c.budgets = vec![budget("b", Scope::Org, measure, 10)];
    };
    refuses_one_budget_twice: CharterError::Duplicate { .. }, |c| {
        let budget = budget("b", Scope::Org, Measure::Count, 10);
        c.budgets = vec![budget.clone(), budget];
    };
    refuses_a_budget_with_a_policys_id: CharterError::Duplicate { .. }, |c| {
        c.budgets = vec![budget("open", Scope::Org, Measure::Count, 10)];
    };
    refuses_a_genesis_with_a_cluster: CharterError::NotGenesis { place: "cluster" }, |c| {
        c.cluster = Some(ClusterId([1; 32]));
    };
    refuses_a_genesis_with_a_past: CharterError::NotGenesis { place: "previous" }, |c| {
        c.previous = Some(CharterHash([1; 32]));
    };
    refuses_a_later_charter_without_cluster: CharterError::MissingLink { place: "cluster" }, |c| {
        c.number = CharterNumber(1);
        c.previous = Some(CharterHash([1; 32]));
    };
    refuses_a_later_charter_without_past: CharterError::MissingLink { place: "previous" }, |c| {
        c.number = CharterNumber(1);
        c.cluster = Some(ClusterId([1; 32]));
    };
    refuses_policies_over_their_limit: CharterError::TooLarge { .. }, |c| {
        c.policies = " ".repeat(128 * 1024 + 1);
    };
    refuses_too_many_principals: CharterError::TooLarge { .. }, |c| {
        let again = c.principals[0].clone();
        c.principals.extend(std::iter::repeat_n(again, 512));
    };
}

#[test]
fn disjoint_signers_can_be_asked_for() {
    let mut charter = charter(OPEN);
    charter.nodes.extend([node(4), node(5)]);
    assert!(matches!(
        charter.clone().check(),
        Err(CharterError::DisjointSigners { .. })
    ));
    charter.dangerous_disjoint_signers = true;
    assert!(charter.check().is_ok());
}

const GENESIS_SIGNERS: [u8; 5] = [1, 2, 3, 22, 23];

#[test]
fn genesis_needs_every_node_and_every_governor() {
    let certificate = certified(charter(OPEN), &GENESIS_SIGNERS);
    let (constitution, cluster) = verify_genesis(&certificate).unwrap();
    assert_eq!(constitution.cluster(), cluster);
    assert_eq!(cluster_words(&cluster).split(' ').count(), 8);
    for missing in GENESIS_SIGNERS {
        let signers: Vec<_> = GENESIS_SIGNERS
            .into_iter()
            .filter(|s| *s != missing)
            .collect();
        let error = verify_genesis(&certified(charter(OPEN), &signers)).unwrap_err();
        assert!(
            matches!(error, CharterError::MissingSignature { .. }),
            "{missing}: {error:?}"
        );
    }
}

#[test]
fn a_later_charter_is_no_genesis() {
    let (_, next) = succession();
    let error = verify_genesis(&certified(next, &GENESIS_SIGNERS)).unwrap_err();
    assert_eq!(error, CharterError::NotGenesis { place: "number" });
}

/// The genesis and a charter that follows it.
fn succession() -> (crate::Constitution, Charter) {
    let current = constitution(OPEN);
    let mut next = charter(OPEN);
    next.number = CharterNumber(1);
    next.cluster = Some(current.cluster());
    next.previous = Some(current.hash());
    (current, next)
}

#[test]
fn a_quorum_of_governors_makes_the_next_charter() {
    let (current, next) = succession();
    let next = verify_successor(&current, &certified(next, &[22, 23]), NOW).unwrap();
    assert_eq!(next.number(), CharterNumber(1));
    assert_eq!(next.cluster(), current.cluster());
    assert_eq!(next.ancestor(CharterNumber(0)), Some(current.hash()));
}

#[test]
fn one_governor_of_two_is_too_few() {
    let (current, next) = succession();
    for signers in [&[22][..], &[22, 24, 1, 2, 3], &[]] {
        let error = verify_successor(&current, &certified(next.clone(), signers), NOW);
        assert!(matches!(error, Err(CharterError::TooFewGovernors { .. })));
    }
}

#[test]
fn two_credentials_of_one_governor_are_one_signature() {
    let mut genesis = charter(OPEN);
    genesis.principals[1]
        .credentials
        .push(identity(40).public());
    let current = genesis.clone().check().unwrap();
    let mut next = genesis;
    next.number = CharterNumber(1);
    next.cluster = Some(current.cluster());
    next.previous = Some(current.hash());
    let error = verify_successor(&current, &certified(next, &[22, 40]), NOW).unwrap_err();
    assert_eq!(
        error,
        CharterError::TooFewGovernors {
            signed: 1,
            quorum: 2
        }
    );
}

#[test]
fn governors_of_the_next_charter_do_not_count() {
    let (current, mut next) = succession();
    next.principals[3].roles.push("governor".parse().unwrap());
    let error = verify_successor(&current, &certified(next, &[22, 24]), NOW);
    assert!(matches!(error, Err(CharterError::TooFewGovernors { .. })));
}

#[test]
fn governors_whose_grant_has_ended_do_not_count() {
    let (current, next) = succession();
    let later = TimeMs(current.charter().principals[1].expires.0);
    let certificate = certified(next, &[22, 23]);
    assert!(verify_successor(&current, &certificate, TimeMs(later.0 - 1)).is_ok());
    let error = verify_successor(&current, &certificate, later);
    assert!(matches!(error, Err(CharterError::TooFewGovernors { .. })));
}

#[test]
fn a_successor_follows_number_hash_and_cluster() {
    let (current, next) = succession();
    type Change = fn(&mut Charter);
    let changes: [(&str, Change); 4] = [
        ("number", |c| c.number = CharterNumber(2)),
        ("number", |c| c.number = CharterNumber(0)),
        ("previous", |c| c.previous = Some(CharterHash([7; 32]))),
        ("cluster", |c| c.cluster = Some(ClusterId([7; 32]))),
    ];
    for (field, change) in changes {
        let mut next = next.clone();
        change(&mut next);
        let error = verify_successor(&current, &certified(next, &[22, 23]), NOW).unwrap_err();
        assert!(
            matches!(error, CharterError::NotSuccessor { place, .. } if place == field),
            "{field}: {error:?}"
        );
    }
}

#[test]
fn a_successor_keeps_nodes_and_threshold_until_shares_can_follow() {
    let (current, next) = succession();
    type Change = fn(&mut Charter);
    let changes: [(&str, Change); 6] = [
        ("nodes", |c| c.nodes[2].index = node(5).index),
        ("nodes", |c| c.nodes[2].credential = identity(9).public()),
        ("nodes", |c| drop(c.nodes.pop())),
        ("nodes", |c| {
            c.nodes.push(node(4));
            c.dangerous_disjoint_signers = true;
        }),
        ("threshold", |c| c.threshold = 3),
        ("f_tol", |c| {
            c.f_tol = 1;
            c.dangerous_disjoint_signers = true;
        }),
    ];
    for (field, change) in changes {
        let mut next = next.clone();
        change(&mut next);
        let error = verify_successor(&current, &certified(next, &[22, 23]), NOW).unwrap_err();
        assert!(error.to_string().contains("resharing must come first"));
        assert!(
            matches!(error, CharterError::ResharingNeeded { place, current: 0 } if place == field),
            "{field}: {error:?}"
        );
    }
}

#[test]
fn two_nodes_do_not_trade_their_shares() {
    let (current, mut next) = succession();
    let first = next.nodes[0].index;
    next.nodes[0].index = next.nodes[1].index;
    next.nodes[1].index = first;
    let error = verify_successor(&current, &certified(next, &[22, 23]), NOW);
    assert!(matches!(error, Err(CharterError::ResharingNeeded { .. })));
}

#[test]
fn a_successor_may_change_tls_keys_operators_and_the_order_of_nodes() {
    let (current, mut next) = succession();
    next.nodes[0].tls_key_hash = [0x77; 32];
    next.nodes[1].operator = "somebody else".into();
    next.nodes.reverse();
    verify_successor(&current, &certified(next, &[22, 23]), NOW).unwrap();
}

#[test]
fn a_successor_is_checked_like_any_charter() {
    let (current, mut next) = succession();
    next.threshold = 1;
    let error = verify_successor(&current, &certified(next, &[22, 23]), NOW);
    assert!(matches!(error, Err(CharterError::BadThreshold { .. })));
}

#[test]
fn a_strict_cap_is_divided_rounding_down() {
    let budget = budget("b", Scope::Org, Measure::Count, 1201);
    assert_eq!(budget.node_limit(3, 2), Amount::from(600u64));
    assert_eq!(budget.node_limit(5, 3), Amount::from(400u64));
    assert_eq!(budget.node_limit(2, 2), Amount::from(1201u64));
}
