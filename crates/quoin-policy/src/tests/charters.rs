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
    refuses_sticky_budgets_with_disjoint_signers: CharterError::StickyOverDisjoint { .. }, |c| {
        c.budgets = vec![budget("b", Scope::Org, Measure::Count, 10)];
        c.budgets[0].mode = Mode::Sticky;
        c.dangerous_disjoint_signers = true;
    };
    refuses_more_sticky_budgets_than_are_reported: CharterError::TooLarge { found: 33, max: 32, .. },
    |c| {
        c.budgets = (0..33).map(|i| budget(&format!("b{i}"), Scope::Org, Measure::Count, 10)).collect();
        c.budgets.iter_mut().for_each(|b| b.mode = Mode::Sticky);
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
    refuses_a_window_that_is_no_window: CharterError::BadWindow { .. }, |c| {
        c.budgets = vec![budget("b", Scope::Org, Measure::Count, 10)];
        c.budgets[0].window_ms = 59_999;
    };
    refuses_a_p256_key_that_is_no_point: CharterError::DeadCredential { .. }, |c| {
        let mut dead = [0xff; 33];
        dead[0] = 2;
        c.principals[1].credentials = vec![quoin_core::PublicCredential::P256(dead)];
    };
    refuses_an_ed25519_key_of_small_order: CharterError::DeadCredential { .. }, |c| {
        c.nodes[0].credential = quoin_core::PublicCredential::Ed25519([0; 32]);
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
        c.policies = " ".repeat(320 * 1024 + 1);
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

/// What verification says of a successor of a charter of `nodes` and `threshold`, changed.
fn changed(
    nodes: u8,
    threshold: u8,
    change: impl FnOnce(&mut Charter),
) -> Result<crate::Constitution, CharterError> {
    let mut genesis = charter(OPEN);
    genesis.nodes = (1..=nodes).map(node).collect();
    genesis.threshold = threshold;
    let current = genesis.clone().check().unwrap();
    let mut next = genesis;
    next.number = CharterNumber(1);
    next.cluster = Some(current.cluster());
    next.previous = Some(current.hash());
    change(&mut next);
    verify_successor(&current, &certified(next, &[22, 23]), NOW)
}

/// A node with the index of one and the identity of another.
fn replaced(index: u8, seed: u8) -> crate::NodeEntry {
    crate::NodeEntry {
        index: node(index).index,
        ..node(seed)
    }
}

#[test]
fn a_successor_may_change_nodes_threshold_and_f_tol_as_long_as_a_quorum_stays() {
    type Change = fn(&mut Charter);
    let allowed: [(&str, u8, u8, Change); 8] = [
        ("grow to 3 of 5", 3, 2, |c| {
            c.nodes.extend([node(4), node(5)]);
            c.threshold = 3;
        }),
        ("grow to 4 of 5 with a promise", 3, 2, |c| {
            c.nodes.extend([node(4), node(5)]);
            (c.threshold, c.f_tol) = (4, 2);
        }),
        ("one node leaves, two come", 3, 2, |c| {
            c.nodes[2] = node(4);
            c.nodes.push(node(5));
            c.threshold = 3;
        }),
        ("a new identity at an old index", 3, 2, |c| {
            c.nodes[2] = replaced(3, 9)
        }),
        ("a node leaves", 3, 2, |c| drop(c.nodes.pop())),
        ("shrink to 2 of 3", 5, 3, |c| {
            c.nodes.truncate(3);
            c.threshold = 2;
        }),
        ("a higher threshold alone", 3, 2, |c| c.threshold = 3),
        ("a higher promise that the quorum bears", 3, 3, |c| {
            c.f_tol = 2
        }),
    ];
    for (what, nodes, threshold, change) in allowed {
        let next = changed(nodes, threshold, change);
        assert!(next.is_ok(), "{what}: {next:?}");
    }
}

#[test]
fn a_successor_under_which_keys_could_be_lost_is_refused() {
    type Change = fn(&mut Charter);
    let refused: [(&str, u8, u8, Change); 5] = [
        ("two of three leave", 3, 2, |c| {
            c.nodes = vec![node(1), node(4), node(5)];
        }),
        ("two of three have new identities", 3, 2, |c| {
            c.nodes[1] = replaced(2, 8);
            c.nodes[2] = replaced(3, 9);
        }),
        ("two stay where three sign", 5, 3, |c| {
            c.nodes.truncate(2);
            c.threshold = 2;
        }),
        ("the next threshold does not count", 5, 3, |c| {
            c.nodes = vec![node(1), node(2), node(6)];
            c.threshold = 2;
        }),
        ("everybody is new", 3, 2, |c| {
            c.nodes = vec![node(4), node(5), node(6)];
        }),
    ];
    for (what, nodes, threshold, change) in refused {
        let error = changed(nodes, threshold, change).unwrap_err();
        assert!(
            error.to_string().contains("in two steps"),
            "{what}: {error}"
        );
        assert!(
            matches!(error, CharterError::TooFewNodesStay { current: 0, .. }),
            "{what}: {error:?}"
        );
    }
}

#[test]
fn a_successor_with_other_nodes_is_checked_in_itself() {
    let grow = |threshold, f_tol| {
        move |c: &mut Charter| {
            c.nodes.extend([node(4), node(5)]);
            (c.threshold, c.f_tol) = (threshold, f_tol);
        }
    };
    let error = changed(3, 2, grow(2, 0)).unwrap_err();
    assert!(matches!(error, CharterError::DisjointSigners { .. }));
    let error = changed(3, 2, grow(3, 1)).unwrap_err();
    assert!(matches!(error, CharterError::DisjointSigners { .. }));
    let error = changed(3, 2, |c| drop(c.nodes.drain(1..))).unwrap_err();
    assert!(matches!(error, CharterError::BadThreshold { .. }));
}

#[test]
fn an_identity_keeps_its_index() {
    let swap = |c: &mut Charter| {
        let (fourth, fifth) = (c.nodes[3].index, c.nodes[4].index);
        (c.nodes[3].index, c.nodes[4].index) = (fifth, fourth);
    };
    let error = changed(5, 3, swap).unwrap_err();
    assert!(matches!(error, CharterError::NodeMoved { .. }), "{error:?}");
    let error = changed(3, 2, |c| c.nodes[2].index = node(5).index).unwrap_err();
    assert!(matches!(error, CharterError::NodeMoved { .. }), "{error:?}");
}

#[test]
fn a_constitution_knows_the_nodes_of_every_charter_before_it() {
    let next = changed(3, 2, |c| c.nodes[2] = replaced(3, 9)).unwrap();
    let credential = |number| {
        let roster = next.roster(CharterNumber(number)).unwrap();
        roster[&node(3).index].clone()
    };
    assert_eq!(credential(0), identity(3).public());
    assert_eq!(credential(1), identity(9).public());
    assert_eq!(next.roster(CharterNumber(2)), None);
}

fn officer(name: &str, place: usize) -> crate::Officer {
    const DATA: &str = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    let data: String = DATA.chars().cycle().skip(place).take(58).collect();
    crate::Officer {
        name: name.to_owned(),
        recipient: format!("age1{data}"),
    }
}

fn with_backup(threshold: u8, officers: Vec<crate::Officer>) -> Result<(), CharterError> {
    let mut charter = charter(OPEN);
    charter.backup = Some(crate::BackupPolicy {
        threshold,
        officers,
    });
    charter.check().map(drop)
}

#[test]
fn a_backup_names_officers_of_whom_enough_can_open_it() {
    let three = || vec![officer("ann", 0), officer("ben", 1), officer("cid", 2)];
    for threshold in 1..=3 {
        with_backup(threshold, three()).unwrap();
    }
    for (threshold, officers) in [(0, three()), (4, three()), (0, vec![]), (1, vec![])] {
        let error = with_backup(threshold, officers).unwrap_err();
        assert!(matches!(error, CharterError::BadBackupThreshold { .. }));
    }
    let many = (0..16).map(|i| officer(&format!("o{i}"), i)).collect();
    let error = with_backup(2, many).unwrap_err();
    assert!(matches!(error, CharterError::TooLarge { .. }), "{error:?}");
    for twice in [officer("ann", 5), officer("dan", 0)] {
        let error = with_backup(2, [three(), vec![twice]].concat()).unwrap_err();
        assert!(matches!(error, CharterError::Duplicate { .. }), "{error:?}");
    }
    let mut unnamed = three();
    unnamed[1].name.clear();
    let error = with_backup(2, unnamed).unwrap_err();
    assert!(matches!(error, CharterError::BadText { .. }), "{error:?}");
    let good = officer("ann", 0).recipient;
    for bad in [
        String::new(),
        good.replace("age1", "bge1"),
        good.to_uppercase(),
        good[..61].to_owned(),
        format!("{good}q"),
        good.replace('z', "b"),
    ] {
        let mut officers = three();
        officers[0].recipient = bad;
        let error = with_backup(2, officers).unwrap_err();
        assert!(
            matches!(error, CharterError::BadRecipient { .. }),
            "{error:?}"
        );
    }
}

#[test]
fn a_charter_without_a_backup_has_the_form_that_it_always_had() {
    let plain = quoin_core::cbor::encode(&charter(OPEN));
    let mut with = charter(OPEN);
    with.backup = Some(crate::BackupPolicy {
        threshold: 1,
        officers: vec![officer("ann", 0)],
    });
    let bytes = quoin_core::cbor::encode(&with);
    assert_ne!(plain, bytes);
    let read: Charter = quoin_core::cbor::decode(&bytes, 1 << 20).unwrap();
    assert_eq!(read, with);
    let json = serde_json::to_value(&with).unwrap();
    assert_eq!(json["backup"]["officers"][0]["name"], "ann");
    assert_eq!(serde_json::from_value::<Charter>(json).unwrap(), with);
    let json = serde_json::to_value(charter(OPEN)).unwrap();
    assert!(json.get("backup").is_none());
    assert_eq!(
        serde_json::from_value::<Charter>(json).unwrap(),
        charter(OPEN)
    );
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
