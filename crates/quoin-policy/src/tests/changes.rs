//! Changes of keys and nodes: judged like any request, by permits that name them.

use crate::budget::{Measure, Scope};
use crate::fixtures::*;
use crate::{Constitution, DenialReason, Judgement, KeyFacts, Ledger};
use quoin_core::payload::{ChangeKey, ChangeNode, KeyChange, NodeChange};
use quoin_core::{Amount, CustodyMethod, KeyId, KeyState, NodeIndex, Payload, Purpose};

/// The operator may suspend and destroy the key `hot`, and pardon any node.
const OPERATOR: &str = r#"
@id("suspend-hot")
permit (principal == Principal::"bot", action == Action::"change_key", resource)
when { resource.key == "hot" && context.change == "suspend" };
@id("destroy-hot")
@approvals("1 of treasury")
permit (principal == Principal::"bot", action == Action::"change_key", resource)
when { resource.key == "hot" && context.change == "destroy" };
@id("pardon")
permit (principal == Principal::"bot", action == Action::"change_node", resource)
when { context.change == "pardon" && context.node == 2 };
@id("pay")
permit (principal == Principal::"bot", action == Action::"transfer", resource);
"#;

fn change(constitution: &Constitution, id: u64, change: KeyChange) -> Ask {
    let key = key_facts().id;
    let mut ask = Ask::new(
        constitution,
        id,
        Payload::ChangeKey(ChangeKey { key, change }),
    );
    ask.stamp.account.chain = "quoin".parse().unwrap();
    ask.stamp.account.address = key.to_string().parse().unwrap();
    ask
}

fn about_node(constitution: &Constitution, node: u8, change: NodeChange) -> Ask {
    let node = NodeIndex::new(node).unwrap();
    let mut ask = Ask::new(
        constitution,
        1,
        Payload::ChangeNode(ChangeNode { node, change }),
    );
    ask.stamp.account.chain = "quoin".parse().unwrap();
    ask.stamp.account.address = "cluster".parse().unwrap();
    ask.stamp.key = None;
    ask.key = None;
    ask
}

fn in_state(state: KeyState) -> Option<KeyFacts> {
    Some(KeyFacts {
        state,
        ..key_facts()
    })
}

fn refused(constitution: &Constitution, ask: &Ask) -> (DenialReason, String) {
    let denial = ask.denied(constitution, &mut Ledger::new());
    (denial.reason, denial.field.unwrap_or_default())
}

#[test]
fn a_change_is_permitted_by_a_rule_that_names_it() {
    let constitution = constitution(OPERATOR);
    let ask = change(&constitution, 1, KeyChange::Suspend);
    let warrant = ask.permitted(&constitution, &mut Ledger::new());
    assert_eq!(warrant.rules(), ["suspend-hot".parse().unwrap()]);
    let pardon = about_node(&constitution, 2, NodeChange::Pardon);
    pardon.permitted(&constitution, &mut Ledger::new());
}

#[test]
fn nobody_else_and_nothing_else_is_permitted() {
    let constitution = constitution(OPERATOR);
    let no_permit = (DenialReason::NoPermit, String::new());
    let retire = change(&constitution, 1, KeyChange::Retire);
    assert_eq!(refused(&constitution, &retire), no_permit);
    let mut other = change(&constitution, 1, KeyChange::Suspend);
    other.stamp.principal = "ann".parse().unwrap();
    other.stamp.credential = identity(seed_of("ann")).id();
    assert_eq!(refused(&constitution, &other), no_permit);
    for (node, change) in [(3, NodeChange::Pardon), (2, NodeChange::Readmit)] {
        let ask = about_node(&constitution, node, change);
        assert_eq!(refused(&constitution, &ask), no_permit, "{node} {change:?}");
    }
}

#[test]
fn a_wildcard_changes_nothing() {
    let constitution = constitution("@id(\"all\") permit (principal, action, resource);");
    for ask in [
        change(&constitution, 1, KeyChange::Suspend),
        about_node(&constitution, 2, NodeChange::Pardon),
    ] {
        let denial = ask.denied(&constitution, &mut Ledger::new());
        assert_eq!(denial.reason, DenialReason::NoPermit);
        assert!(denial.message.contains("names it"), "{}", denial.message);
    }
}

#[test]
fn a_change_waits_for_the_approvals_that_its_rule_asks_for() {
    let constitution = constitution(OPERATOR);
    let mut ask = change(&constitution, 1, KeyChange::Destroy);
    ask.key = in_state(KeyState::Deactivated);
    assert_eq!(ask.pending(&constitution).unmet.len(), 1);
    ask.approve(&constitution, "cid");
    ask.permitted(&constitution, &mut Ledger::new());
}

#[test]
fn a_change_that_the_state_does_not_allow_is_refused_with_the_state() {
    let constitution = constitution(OPERATOR);
    for state in [KeyState::Active, KeyState::Suspended, KeyState::PreActive] {
        let mut ask = change(&constitution, 1, KeyChange::Destroy);
        ask.key = in_state(state);
        let denial = ask.denied(&constitution, &mut Ledger::new());
        assert_eq!(denial.reason, DenialReason::KeyState);
        let name = crate::state_name(state);
        assert!(denial.message.contains(name), "{}", denial.message);
    }
}

#[test]
fn only_an_active_key_signs() {
    let constitution = constitution(OPERATOR);
    for (state, signs) in [
        (KeyState::PreActive, false),
        (KeyState::Active, true),
        (KeyState::Suspended, false),
        (KeyState::Deactivated, false),
        (KeyState::Compromised, false),
        (KeyState::Destroyed, false),
    ] {
        let mut ask = Ask::pay(&constitution, 1, 1);
        ask.key = in_state(state);
        match ask.judge(&constitution, &mut Ledger::new()) {
            Judgement::Permitted(_) => assert!(signs, "{state:?}"),
            Judgement::Denied(denial) => {
                assert!(
                    !signs && denial.reason == DenialReason::KeyState,
                    "{denial:?}"
                );
            }
            Judgement::Pending(pending) => panic!("{pending:?}"),
        }
    }
}

#[test]
fn a_change_is_stamped_for_what_it_is_about() {
    let constitution = constitution(OPERATOR);
    type Spoil = fn(&mut Ask);
    let key: [(&str, Spoil); 5] = [
        ("custody", |a| a.stamp.custody = CustodyMethod::Local),
        ("key", |a| a.stamp.key = None),
        ("key", |a| a.stamp.key = Some(KeyId([1; 16]))),
        // An address of the key elsewhere, which a rule about its account here does not mean.
        ("account", |a| a.stamp.account.address = own_address()),
        ("purpose", |a| a.stamp.purpose = Purpose::Treasury),
    ];
    for (field, spoil) in key {
        let mut ask = change(&constitution, 1, KeyChange::Suspend);
        spoil(&mut ask);
        let expected = (DenialReason::KeyMismatch, field.to_owned());
        assert_eq!(refused(&constitution, &ask), expected, "{field}");
    }
    let node: [(&str, Spoil); 3] = [
        ("custody", |a| a.stamp.custody = CustodyMethod::Local),
        ("account", |a| {
            a.stamp.account.address = KeyId([9; 16]).to_string().parse().unwrap();
        }),
        ("key", |a| {
            a.stamp.key = Some(key_facts().id);
            a.key = Some(key_facts());
        }),
    ];
    for (field, spoil) in node {
        let mut ask = about_node(&constitution, 2, NodeChange::Pardon);
        spoil(&mut ask);
        let expected = (DenialReason::KeyMismatch, field.to_owned());
        assert_eq!(refused(&constitution, &ask), expected, "{field}");
    }
}

#[test]
fn what_a_stamp_about_a_node_says_of_a_key_is_not_seen_by_policies() {
    let constitution = constitution(
        r#"@id("purposeful")
        permit (principal, action == Action::"change_node", resource)
        when { resource.purpose == "treasury" };"#,
    );
    let mut ask = about_node(&constitution, 2, NodeChange::Pardon);
    ask.stamp.purpose = Purpose::Treasury;
    assert_eq!(refused(&constitution, &ask).0, DenialReason::NoPermit);
}

#[test]
fn a_full_budget_does_not_keep_a_key_from_being_suspended() {
    let mut charter = charter(OPERATOR);
    charter.budgets = vec![budget("count", Scope::Org, Measure::Count, 2)];
    let constitution = charter.check().unwrap();
    let mut ledger = Ledger::new();
    Ask::pay(&constitution, 1, 1).permitted(&constitution, &mut ledger);
    let over = Ask::pay(&constitution, 2, 1).denied(&constitution, &mut ledger);
    assert_eq!(over.reason, DenialReason::OverBudget);
    let suspend = change(&constitution, 3, KeyChange::Suspend);
    let warrant = suspend.permitted(&constitution, &mut ledger);
    assert!(warrant.charges().is_empty());
}

#[test]
fn the_lower_share_of_charter_and_key_bounds_what_a_node_co_signs() {
    // The charter is 2 of 3: half of the cap for each node.
    for (threshold, holders, signed) in [(2, 3, 6), (2, 5, 3), (3, 3, 6), (1, 1, 6)] {
        let mut charter = charter(OPERATOR);
        charter.budgets = vec![budget("count", Scope::Org, Measure::Count, 12)];
        let constitution = charter.check().unwrap();
        let mut ledger = Ledger::new();
        let permitted = (0..12).filter(|id| {
            let mut ask = Ask::pay(&constitution, *id, 1);
            ask.key = Some(KeyFacts {
                threshold,
                holders,
                ..key_facts()
            });
            matches!(
                ask.judge(&constitution, &mut ledger),
                Judgement::Permitted(_)
            )
        });
        assert_eq!(permitted.count(), signed, "{threshold} of {holders}");
        let spent = ledger.spent_own(&constitution.charter().budgets[0], NOW);
        assert_eq!(spent, Some(Amount::from(signed as u64)));
    }
}
