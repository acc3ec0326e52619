//! The index of policies: a slice says what the whole set says, and is small.

use crate::cedar::Verdict;
use crate::fixtures::*;
use crate::permits::query;
use crate::{Calm, Constitution, FactView, PriceView};
use proptest::prelude::*;
use quoin_core::{Address, Payload};
use std::fmt::Write;

/// Asks by the index and without it.
fn both(constitution: &Constitution, ask: &Ask, facts: &FactView) -> (Verdict, Verdict) {
    let calm = Calm::default();
    let request = ask.request(calm.conditions());
    let view = constitution.view(&request, facts);
    let query = query(&view, &request).unwrap();
    let rules = &constitution.rules;
    (rules.evaluate(&query), rules.evaluate_whole(&query))
}

/// How many policies a request meets.
fn slice(constitution: &Constitution, ask: &Ask) -> usize {
    let calm = Calm::default();
    let request = ask.request(calm.conditions());
    let facts = FactView::default();
    let view = constitution.view(&request, &facts);
    let query = query(&view, &request).unwrap();
    constitution.rules.slice(&query).len()
}

const PRINCIPALS: &[&str] = &[
    "principal",
    "principal == Principal::\"bot\"",
    "principal == Principal::\"ann\"",
    "principal in Principal::\"cid\"",
    "principal in Role::\"treasury\"",
    "principal in Role::\"desk\"",
    "principal is Principal",
    "principal is Principal in Role::\"risk\"",
];
const ACTIONS: &[&str] = &[
    "action",
    "action == Action::\"transfer\"",
    "action == Action::\"transfer\"",
    "action == Action::\"message\"",
    "action == Action::\"approve\"",
    "action in [Action::\"transfer\", Action::\"message\"]",
];
const RESOURCES: &[&str] = &[
    "resource",
    "resource is Account",
    "resource == Account::\"eip155:31337/0xaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"",
    "resource in Account::\"eip155:31337/0xaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"",
    "resource is Account in Account::\"eip155:31337/0x1111111111111111111111111111111111111111\"",
];
/// Conditions on what every action has.
const COMMON: &[&str] = &[
    "context.chain == \"eip155:31337\"",
    "context.chain == \"eip155:1\"",
    "\"mpc\" == context.custody",
    "context.custody != \"mpc\"",
    "resource.key == \"hot\"",
    "[\"cold\", \"warm\"].contains(resource.key)",
    "context.risk == \"increases\"",
    "context.fee_micro < 5",
    "context.fee_micro * 9223372036854775807 > 0",
    "(context.chain == \"eip155:1\" || resource.purpose == \"trading\")",
    "if context.fee_micro > 5 then resource.key == \"hot\" else resource.key == \"cold\"",
];
/// Conditions on what a transfer has.
const TRANSFER: &[&str] = &[
    "context.to == \"0xeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee\"",
    "context.to == \"0x5555555555555555555555555555555555555555\"",
    "context.to_name == \"exchange\"",
    "[\"0xeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee\", \"0x0\"].contains(context.to)",
    "context.amount_micro <= 1000000",
    "context.amount_micro * 9223372036854775807 > 0",
    "context.price.usd_micro < 7",
    "context.value_usd_micro < 7",
    "context.margin.ratio_bp > 12000",
];

fn condition(transfer: bool) -> impl Strategy<Value = &'static str> {
    let both = [COMMON, TRANSFER].concat();
    let pool = if transfer { both } else { COMMON.to_vec() };
    proptest::sample::select(pool)
}

fn policy() -> impl Strategy<Value = String> {
    let pick = |from: &'static [&'static str]| proptest::sample::select(from);
    let scope = (pick(PRINCIPALS), pick(ACTIONS), pick(RESOURCES));
    (scope, any::<bool>()).prop_flat_map(|((principal, action, resource), permits)| {
        let transfer = action == "action == Action::\"transfer\"";
        let part = (condition(transfer), 0..4u8);
        proptest::collection::vec(part, 0..4).prop_map(move |parts| {
            let effect = if permits { "permit" } else { "forbid" };
            let mut text = format!("{effect} ({principal}, {action}, {resource})");
            let mut open = false;
            for (condition, how) in parts {
                match how {
                    0 | 1 if open => {
                        text.truncate(text.len() - 2);
                        let _ = write!(text, " && {condition} }}");
                    }
                    2 => {
                        let _ = write!(text, " unless {{ {condition} }}");
                        open = false;
                    }
                    _ => {
                        let _ = write!(text, " when {{ {condition} }}");
                        open = true;
                    }
                }
            }
            text + ";"
        })
    })
}

fn asks(constitution: &Constitution) -> Vec<Ask> {
    let pay = |to: &Address| Ask::new(constitution, 1, Tx::pay(1, to, ETHER / 2).payload());
    let mut message = pay(&exchange());
    message.payload = Payload::EvmMessage(b"hello".to_vec());
    message.stamp.payload_hash = message.payload.hash();
    let mut all = Vec::new();
    for ask in [pay(&exchange()), pay(&stranger()), message] {
        for principal in ["bot", "ann", "cid"] {
            let mut ask = Ask::new(constitution, 1, ask.payload.clone());
            ask.stamp.principal = principal.parse().unwrap();
            all.push(ask);
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_slice_says_what_the_whole_set_says(
        policies in proptest::collection::vec(policy(), 0..24),
        price in proptest::option::of(0..20u64),
    ) {
        let numbered = policies.iter().enumerate();
        let text: String = numbered.map(|(i, p)| format!("@id(\"p{i}\") {p}\n")).collect();
        // What can never match is refused, and is no charter to ask.
        let checked = charter(&text).check();
        prop_assume!(checked.is_ok());
        let constitution = checked.unwrap();
        let price = price.map(|usd_micro| PriceView { usd_micro, age_ms: 1, sources: 1 });
        let facts = FactView { price, value_usd_micro: price.map(|p| p.usd_micro), ..FactView::default() };
        for ask in asks(&constitution) {
            let (sliced, whole) = both(&constitution, &ask, &facts);
            prop_assert_eq!(sliced, whole);
        }
    }
}

#[test]
fn every_kind_of_scope_is_asked_and_only_where_it_fits() {
    for scope in [
        "principal, action, resource",
        "principal == Principal::\"bot\", action, resource",
        "principal in Role::\"desk\", action == Action::\"transfer\", resource",
        "principal is Principal in Role::\"desk\", action in [Action::\"transfer\"], resource",
        "principal, action, resource == \
         Account::\"eip155:31337/0xaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"",
    ] {
        let constitution = constitution(&format!("@id(\"one\") permit ({scope});"));
        let ask = Ask::pay(&constitution, 1, ETHER);
        assert_eq!(slice(&constitution, &ask), 1, "{scope}");
        assert_eq!(
            both(&constitution, &ask, &FactView::default()).0,
            Verdict::Permit(vec!["one".parse().unwrap()]),
            "{scope}"
        );
    }
    for scope in [
        "principal == Principal::\"ann\", action, resource",
        "principal in Role::\"risk\", action == Action::\"transfer\", resource",
        "principal, action == Action::\"message\", resource",
        "principal, action, resource == Account::\"eip155:1/0x0\"",
    ] {
        let constitution = constitution(&format!("@id(\"one\") permit ({scope});"));
        let ask = Ask::pay(&constitution, 1, ETHER);
        assert_eq!(slice(&constitution, &ask), 0, "{scope}");
    }
}

#[test]
fn equalities_in_front_make_a_slice_smaller() {
    let one = |i: usize, condition: &str| {
        format!(
            "@id(\"r{i}\") permit (principal, action == Action::\"transfer\", resource) \
             when {{ {condition} }};\n"
        )
    };
    let rules: String = (0..50)
        .map(|i| {
            one(
                i,
                &format!("context.amount_micro < 9 && context.to == \"0x{i}\""),
            )
        })
        .collect();
    let constitution = constitution(&rules);
    assert_eq!(slice(&constitution, &Ask::pay(&constitution, 1, 1)), 0);
}

#[test]
fn an_equality_behind_what_can_fail_does_not_hide_the_failure() {
    for condition in [
        "context.amount_micro * 9223372036854775807 > 0 && context.to == \"0x0\"",
        "context.price.usd_micro > 0 && context.to == \"0x0\"",
    ] {
        let constitution = constitution(&format!(
            "{OPEN} @id(\"f\") forbid (principal, action == Action::\"transfer\", resource) \
             when {{ {condition} }};"
        ));
        let ask = Ask::pay(&constitution, 1, ETHER);
        let (sliced, whole) = both(&constitution, &ask, &FactView::default());
        assert_eq!(sliced, whole, "{condition}");
        assert!(
            !matches!(sliced, Verdict::Permit(_)),
            "{condition}: {sliced:?}"
        );
    }
}

#[test]
fn comparisons_in_front_pass_over_what_they_are_false_of() {
    for (condition, met) in [
        ("context.amount_micro <= 1000000", 1),
        ("context.amount_micro < 1000000", 0),
        ("1000000 >= context.amount_micro", 1),
        ("1000000 > context.amount_micro", 0),
        ("context.amount_micro == 1000000", 1),
        ("context.amount_micro != 1000000", 0),
        ("!(context.amount_micro > 999999)", 0),
        ("context.symbol == \"ETH\"", 1),
        ("context.symbol != \"ETH\"", 0),
        ("[\"BTC\", \"ETH\"].contains(context.symbol)", 1),
        ("[\"BTC\", \"USD\"].contains(context.symbol)", 0),
        ("resource.key == \"hot\"", 1),
        ("resource.key == \"cold\"", 0),
        // Behind something that could fail nothing is passed over.
        ("context.price.age_s < 9 && resource.key == \"cold\"", 1),
        (
            "context.amount_micro + 1 > 0 && resource.key == \"cold\"",
            1,
        ),
    ] {
        for (clause, met) in [("when", met), ("unless", 1 - met)] {
            // Under `unless` the parts of `&&` are one part, which is evaluated.
            let met = if clause == "unless" && condition.contains("&&") {
                1
            } else {
                met
            };
            let constitution = constitution(&format!(
                "@id(\"one\") permit (principal, action == Action::\"transfer\", resource) \
                 {clause} {{ {condition} }};"
            ));
            let ask = Ask::pay(&constitution, 1, ETHER);
            assert_eq!(slice(&constitution, &ask), met, "{clause} {condition}");
            let (sliced, whole) = both(&constitution, &ask, &FactView::default());
            assert_eq!(sliced, whole, "{clause} {condition}");
        }
    }
}

#[test]
fn a_thousand_rules_of_a_desk_leave_a_slice_of_a_hundred() {
    let mut charter = charter("");
    for i in 0..20u8 {
        let mut bot = principal("bot", &["agent"]);
        bot.id = format!("bot-{i}").parse().unwrap();
        bot.credentials = vec![identity(100 + i).public()];
        charter.principals.push(bot);
    }
    for i in 0..1000 {
        let _ = writeln!(
            charter.policies,
            "@id(\"r{i}\") permit (principal == Principal::\"bot-{}\", action == \
             Action::\"transfer\", resource) when {{ context.amount_micro <= {} }};",
            i % 20,
            1_000_000 + i
        );
    }
    let constitution = charter.check().unwrap();
    let mut ask = Ask::pay(&constitution, 1, ETHER);
    ask.stamp.principal = "bot-3".parse().unwrap();
    assert_eq!(slice(&constitution, &ask), 50);
    let (sliced, whole) = both(&constitution, &ask, &FactView::default());
    assert_eq!(sliced, whole);
}

#[test]
fn a_constitution_is_shared_between_threads_as_it_is() {
    fn shared<T: Send + Sync>() {}
    shared::<Constitution>();
}
