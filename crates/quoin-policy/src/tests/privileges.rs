//! What only an annotated permit allows: signatures that work for ever, and the corridor.

use crate::fixtures::*;
use crate::{Calm, Constitution, DenialReason, Ledger, Measure, Scope};
use quoin_core::{Payload, RuleId};

const TYPED_DATA: &str = r#"{
    "types": {
        "EIP712Domain": [{"name": "chainId", "type": "uint256"}],
        "Order": [{"name": "side", "type": "string"}]
    },
    "primaryType": "Order",
    "domain": {"chainId": 31337},
    "message": {"side": "buy"}
}"#;

fn order(constitution: &Constitution) -> Ask {
    let payload = Payload::EvmTypedData(TYPED_DATA.as_bytes().to_vec());
    Ask::new(constitution, 1, payload)
}

fn rule(id: &str, annotation: &str, action: &str) -> String {
    format!(
        "@id(\"{id}\") {annotation} permit (principal == Principal::\"bot\", action == \
         Action::\"{action}\", resource);\n"
    )
}

#[test]
fn what_works_for_ever_and_adds_risk_needs_a_permit_that_says_so() {
    let plain = constitution(&rule("plain", "", "typed_data"));
    let denial = order(&plain).denied(&plain, &mut Ledger::new());
    assert_eq!(denial.reason, DenialReason::UnboundedHorizon);
    assert_eq!(denial.rule, Some("plain".parse().unwrap()));
    let granted = rule("plain", "", "typed_data") + &rule("ever", "@unbounded", "typed_data");
    let granted = constitution(&granted);
    order(&granted).permitted(&granted, &mut Ledger::new());
}

#[test]
fn typed_data_needs_a_permit_that_names_it() {
    let wild = "@id(\"wild\") @unbounded permit (principal, action, resource);\n";
    let wild = constitution(wild);
    let denial = order(&wild).denied(&wild, &mut Ledger::new());
    assert_eq!(denial.reason, DenialReason::NoPermit);
}

#[test]
fn a_readable_message_and_a_slot_need_no_such_permit() {
    let plain = constitution(&(rule("say", "", "message") + OPEN));
    let message = Payload::EvmMessage(b"hello".to_vec());
    Ask::new(&plain, 1, message).permitted(&plain, &mut Ledger::new());
    Ask::pay(&plain, 2, ETHER).permitted(&plain, &mut Ledger::new());
    let unreadable = Payload::EvmMessage(vec![0xff; 32]);
    let denial = Ask::new(&plain, 3, unreadable).denied(&plain, &mut Ledger::new());
    assert_eq!(denial.reason, DenialReason::UnboundedHorizon);
}

#[test]
fn only_permits_of_the_corridor_count_inside_it() {
    let permits = |policies: &str, corridor: bool| -> Result<Vec<RuleId>, DenialReason> {
        let mut charter = charter(policies);
        charter.budgets = vec![budget("emergency", Scope::Corridor, Measure::Count, 1000)];
        let constitution = charter.check().unwrap();
        let ask = Ask::pay(&constitution, 1, ETHER);
        let calm = Calm::default();
        let request = ask.request(calm.conditions());
        let permits = constitution.permits(&request, corridor);
        permits.map_err(|denial| denial.reason)
    };
    let plain = rule("plain", "", "transfer");
    let both = plain.clone() + &rule("exit", "@corridor", "transfer");
    let ids = |ids: &[&str]| Ok(ids.iter().map(|id| id.parse().unwrap()).collect());
    assert_eq!(permits(&plain, false), ids(&["plain"]));
    assert_eq!(permits(&plain, true), Err(DenialReason::CorridorOnly));
    assert_eq!(permits(&both, false), ids(&["exit", "plain"]));
    // What the other demands is demanded there too.
    assert_eq!(permits(&both, true), ids(&["exit", "plain"]));
    let forbidden = both + "@id(\"stop\") forbid (principal, action, resource);";
    assert_eq!(permits(&forbidden, true), Err(DenialReason::Forbidden));
}
