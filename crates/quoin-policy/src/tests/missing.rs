//! What policies do with facts that nobody knows, and with all else that fails.

use crate::cedar::{Need, Verdict};
use crate::fixtures::*;
use crate::permits::query;
use crate::{Calm, Constitution, CountView, DenialReason, FactView, Ledger, MarginView, PriceView};

fn ask(constitution: &Constitution, facts: &FactView) -> Verdict {
    let ask = Ask::pay(constitution, 1, ETHER);
    let calm = Calm::default();
    let request = ask.request(calm.conditions());
    let view = constitution.view(&request, facts);
    constitution
        .rules
        .evaluate(&query(&view, &request).unwrap())
}

fn rule(effect: &str, id: &str, condition: &str) -> String {
    format!(
        "@id(\"{id}\") {effect} (principal == Principal::\"bot\", action == Action::\"transfer\", \
         resource) when {{ {condition} }};\n"
    )
}

fn known() -> FactView {
    FactView {
        price: Some(PriceView {
            usd_micro: 3_000_000_000,
            age_ms: 1_500,
            sources: 2,
        }),
        margin: Some(MarginView {
            ratio_bp: 15_000,
            exposure_usd_micro: 7,
            age_ms: 1,
            sources: 3,
        }),
        height: Some(CountView {
            number: 99,
            age_ms: 0,
            sources: 1,
        }),
        value_usd_micro: Some(3_000_000_001),
    }
}

fn permit(ids: &[&str]) -> Verdict {
    Verdict::Permit(ids.iter().map(|id| id.parse().unwrap()).collect())
}

const READS: [(&str, &str); 4] = [
    (
        "price",
        "context.price.usd_micro == 3000000000 && context.price.age_s == 2 && context.price.sources == 2",
    ),
    (
        "margin",
        "context.margin.ratio_bp == 15000 && context.margin.exposure_usd_micro == 7 && context.margin.age_s == 1",
    ),
    (
        "height",
        "context.height.number == 99 && context.height.age_s == 0",
    ),
    ("value_usd_micro", "context.value_usd_micro == 3000000001"),
];

#[test]
fn a_known_fact_is_a_number_like_any_other() {
    for (_, condition) in READS {
        let constitution = constitution(&rule("permit", "a", condition));
        assert_eq!(ask(&constitution, &known()), permit(&["a"]), "{condition}");
    }
}

#[test]
fn a_permit_that_needs_an_unknown_fact_does_not_permit_and_is_listed() {
    for (fact, condition) in READS {
        let constitution = constitution(&rule("permit", "a", condition));
        let needs = vec![Need {
            rule: "a".parse().unwrap(),
            facts: vec![fact.to_owned()],
        }];
        let too_general = Vec::new();
        let wanted = Verdict::NoPermit { too_general, needs };
        assert_eq!(ask(&constitution, &FactView::default()), wanted);
        let denial = Ask::pay(&constitution, 1, ETHER).denied(&constitution, &mut Ledger::new());
        assert_eq!(denial.reason, DenialReason::NoPermit);
        let words = format!("`a` needs fresh `{fact}`");
        assert!(denial.message.contains(&words), "{}", denial.message);
    }
}

#[test]
fn a_permit_that_needs_an_unknown_fact_does_not_take_down_another() {
    let policies = rule("permit", "a", READS[0].1) + OPEN;
    let constitution = constitution(&policies);
    assert_eq!(ask(&constitution, &FactView::default()), permit(&["open"]));
    Ask::pay(&constitution, 1, ETHER).permitted(&constitution, &mut Ledger::new());
}

#[test]
fn a_forbid_that_needs_an_unknown_fact_forbids() {
    for (fact, _) in READS {
        let condition = match fact {
            "price" => "context.price.usd_micro > 9000000000",
            "margin" => "context.margin.ratio_bp < 12000",
            "height" => "context.height.number < 9",
            _ => "context.value_usd_micro > 9000000000",
        };
        let constitution = constitution(&(rule("forbid", "stop", condition) + OPEN));
        assert_eq!(ask(&constitution, &known()), permit(&["open"]), "{fact}");
        let denial = Ask::pay(&constitution, 1, ETHER).denied(&constitution, &mut Ledger::new());
        assert_eq!(denial.reason, DenialReason::Forbidden, "{denial:?}");
        assert_eq!(denial.rule, Some("stop".parse().unwrap()));
        let words = format!("`stop` needs fresh `{fact}`");
        assert!(denial.message.contains(&words), "{}", denial.message);
    }
}

#[test]
fn a_forbid_whose_first_part_is_false_needs_no_fact() {
    let guarded = "context.amount_micro > 9000000 && context.margin.ratio_bp < 12000";
    let constitution = constitution(&(rule("forbid", "stop", guarded) + OPEN));
    assert_eq!(ask(&constitution, &FactView::default()), permit(&["open"]));
}

#[test]
fn every_other_error_is_a_denial_even_beside_unknown_facts() {
    // The price is not read before the amount overflows.
    let overflows = "context.amount_micro * 9223372036854775807 > 0 && context.price.sources > 0";
    for effect in ["permit", "forbid"] {
        let policies = rule(effect, "breaks", overflows)
            + &rule("forbid", "stop", "context.price.usd_micro > 9000000000")
            + OPEN;
        let constitution = constitution(&policies);
        let verdict = ask(&constitution, &FactView::default());
        let Verdict::Failed(Some(rule), _) = verdict else {
            panic!("{verdict:?}")
        };
        assert_eq!(rule.as_str(), "breaks");
    }
}

#[test]
fn a_fact_over_63_bits_is_unknown() {
    let constitution = constitution(&rule("permit", "a", "context.value_usd_micro > 0"));
    let facts = FactView {
        value_usd_micro: Some(u64::MAX),
        ..FactView::default()
    };
    assert!(matches!(
        ask(&constitution, &facts),
        Verdict::NoPermit { needs, .. } if needs.len() == 1
    ));
}
