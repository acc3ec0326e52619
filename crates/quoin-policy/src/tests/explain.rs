//! Explanations and suggestions: what whom is told, and that what is suggested works and is small.

use super::judgement::{with_token, word};
use crate::fixtures::*;
use crate::{
    BudgetRoom, Calm, Charter, Constitution, Denial, DenialReason, Explanation, Judgement, Ledger,
    Measure, Outcome,
};
use proptest::prelude::*;
use quoin_core::{Address, Amount, CustodyMethod, Payload, TimeMs};

fn under(ask: &Ask, constitution: &Constitution) -> Ask {
    let mut again = Ask::new(constitution, 1, ask.payload.clone());
    again.stamp = quoin_core::Stamp {
        charter_hash_floor: constitution.hash(),
        cluster: constitution.cluster(),
        ..ask.stamp.clone()
    };
    again.key.clone_from(&ask.key);
    again
}

fn denial(constitution: &Constitution, ask: &Ask) -> Denial {
    under(ask, constitution).denied(constitution, &mut Ledger::new())
}

fn no_rooms(_: &crate::Reservation) -> Vec<BudgetRoom> {
    Vec::new()
}

fn explain(constitution: &Constitution, ask: &Ask, reader: &str) -> Explanation {
    let ask = under(ask, constitution);
    let calm = Calm::default();
    let request = ask.request(calm.conditions());
    constitution.explain(&request, &reader.parse().unwrap(), no_rooms)
}

/// The charter with a rule more.
fn with(charter: &Charter, rule: &str) -> Constitution {
    let mut charter = charter.clone();
    charter.policies.push_str(rule);
    charter.check().unwrap()
}

const SMALL: &str = r#"
@id("small")
@delay("1h")
permit (principal in Role::"desk", action == Action::"transfer", resource)
when { context.to_name == "exchange" && context.amount_micro <= 250000 && context.symbol == "ETH" };
"#;

#[test]
fn the_suggested_permit_permits_the_request_and_no_more() {
    let before = readable("");
    let empty = before.clone().check().unwrap();
    let ask = Ask::pay(&empty, 1, ETHER / 2);
    let suggestion = denial(&empty, &ask).suggestion.unwrap();
    let open = with(&before, &suggestion);
    under(&ask, &open).permitted(&open, &mut Ledger::new());
    let bound = "context.amount_micro <= 500000";
    assert!(suggestion.contains(bound), "{suggestion}");

    let more = Ask::pay(&empty, 1, ETHER / 2 + 1);
    let elsewhere = Ask::new(&empty, 1, Tx::pay(1, &stranger(), ETHER / 2).payload());
    let mut dearer = Tx::pay(1, &exchange(), ETHER / 2);
    dearer.fee_per_gas *= 2;
    let mut local = Ask::pay(&empty, 1, ETHER / 2);
    local.stamp.custody = CustodyMethod::Local;
    let dearer = Ask::new(&empty, 1, dearer.payload());
    for other in [more, elsewhere, dearer, local] {
        assert_eq!(denial(&open, &other).reason, DenialReason::NoPermit);
    }
}

#[test]
fn the_nearest_permit_is_moved_in_one_bound_and_keeps_its_demands() {
    let before = readable(SMALL);
    let constitution = before.clone().check().unwrap();
    let ask = Ask::pay(&constitution, 1, ETHER / 2);
    let suggestion = denial(&constitution, &ask).suggestion.unwrap();
    for part in [
        "@id(\"allow-small\")",
        "@delay(\"1h\")",
        "Role::\"desk\"",
        "500000",
        "context.to_name",
    ] {
        assert!(suggestion.contains(part), "{part}: {suggestion}");
    }
    let open = with(&before, &suggestion);
    let pending = under(&ask, &open).pending(&open);
    assert_eq!(pending.unmet.len(), 1, "the delay stays");
    let more = Ask::pay(&constitution, 1, ETHER / 2 + 1_000_000_000_000);
    assert_eq!(denial(&open, &more).reason, DenialReason::NoPermit);
}

#[test]
fn two_failing_parts_or_none_that_is_a_bound_leave_the_exact_permit() {
    for rule in [
        SMALL.replace("\"ETH\"", "\"BTC\""),
        SMALL.replace(
            "context.amount_micro <= 250000",
            "context.custody == \"local\"",
        ),
        SMALL.replace("context.symbol == \"ETH\"", "context.fee_micro <= 1"),
    ] {
        let constitution = readable(&rule).check().unwrap();
        let ask = Ask::pay(&constitution, 1, ETHER / 2);
        let suggestion = denial(&constitution, &ask).suggestion.unwrap();
        assert!(suggestion.contains("allow-bot-transfer"), "{suggestion}");
    }
}

#[test]
fn a_bound_on_what_feeds_say_is_never_moved() {
    let rule = SMALL.replace(
        "context.amount_micro <= 250000",
        "context.price.usd_micro <= 5",
    );
    let constitution = readable(&rule).check().unwrap();
    let ask = Ask::pay(&constitution, 1, ETHER / 2);
    let suggestion = denial(&constitution, &ask).suggestion.unwrap();
    assert!(suggestion.contains("allow-bot-transfer"), "{suggestion}");
}

#[test]
fn who_may_not_read_policies_is_told_the_rule_only() {
    let constitution = charter(SMALL).check().unwrap();
    let ask = Ask::pay(&constitution, 1, ETHER / 2);
    assert_eq!(denial(&constitution, &ask).suggestion, None);
    let told = explain(&constitution, &ask, "bot");
    assert_eq!(told.deciding, ["default-deny".parse().unwrap()]);
    assert_eq!((told.permits.len(), told.forbids.len()), (0, 0));
    assert_eq!(told.suggestion, None);
    let governor = explain(&constitution, &ask, "ann");
    assert_eq!(governor.permits.len(), 1);
    assert!(governor.suggestion.is_some());
}

#[test]
fn a_reader_whose_grant_has_ended_reads_nothing() {
    let mut ended = charter(SMALL);
    let ann = ended.principals.iter_mut().find(|p| p.id.as_str() == "ann");
    ann.unwrap().expires = TimeMs(NOW.0);
    let constitution = ended.check().unwrap();
    let ask = Ask::pay(&constitution, 1, ETHER / 2);
    assert!(explain(&constitution, &ask, "ann").permits.is_empty());
    assert!(explain(&constitution, &ask, "ben").suggestion.is_some());
    assert!(explain(&constitution, &ask, "nobody").permits.is_empty());
}

#[test]
fn a_new_recipient_is_never_suggested_unless_a_permit_writes_it_out() {
    let empty = readable("").check().unwrap();
    let ask = Ask::new(&empty, 1, Tx::pay(1, &stranger(), ETHER / 2).payload());
    assert_eq!(denial(&empty, &ask).suggestion, None);
    let named = |effect: &str| {
        let rule = format!(
            "@id(\"named\") {effect} (principal == Principal::\"bot\", action == \
             Action::\"transfer\", resource) when {{ context.to == \"{}\" && \
             context.amount_micro <= 5 }};",
            stranger()
        );
        readable(&rule).check().unwrap()
    };
    assert!(denial(&named("permit"), &ask).suggestion.is_some());
    assert_eq!(denial(&named("forbid"), &ask).suggestion, None);
}

#[test]
fn privileged_actions_and_forbidden_requests_have_no_suggestion() {
    let empty = readable("").check().unwrap();
    assert_eq!(denial(&empty, &Ask::create(&empty, 1)).suggestion, None);
    let mut odd = Tx::pay(1, &exchange(), 0);
    odd.data = vec![1, 2];
    let odd = Ask::new(&empty, 1, odd.payload());
    assert_eq!(denial(&empty, &odd).suggestion, None);
    let forbidden = readable("@id(\"stop\") forbid (principal, action, resource);");
    let forbidden = forbidden.check().unwrap();
    let denied = denial(&forbidden, &Ask::pay(&forbidden, 1, 1));
    assert_eq!(
        (denied.reason, denied.suggestion),
        (DenialReason::Forbidden, None)
    );
}

const TYPED_DATA: &str = r#"{
    "types": {
        "EIP712Domain": [
            {"name": "name", "type": "string"},
            {"name": "chainId", "type": "uint256"}
        ],
        "Order": [{"name": "side", "type": "string"}]
    },
    "primaryType": "Order",
    "domain": {"name": "Exchange \"One\"", "chainId": 31337},
    "message": {"side": "buy"}
}"#;

/// The desk with a token, and a bot that may read policies.
fn token_reader(policies: &str) -> Constitution {
    let mut charter = with_token(policies).charter().clone();
    let bot = charter
        .principals
        .iter_mut()
        .find(|p| p.id.as_str() == "bot");
    bot.unwrap().roles.push("policy-reader".parse().unwrap());
    charter.check().unwrap()
}

#[test]
fn every_explained_action_has_words_and_most_a_suggestion_that_works() {
    let empty = token_reader("");
    let call = |to: &Address, data: String| {
        let mut tx = Tx::pay(1, to, 0);
        tx.data = hex::decode(data).unwrap();
        Ask::new(&empty, 1, tx.payload())
    };
    let (us, them) = (word(&own_address()), word(&exchange()));
    let amount = format!("{:064x}", 1_500_000);
    let payload = |payload| Ask::new(&empty, 1, payload);
    let token = stranger();
    let text = b"hello \"you\"".to_vec();
    for (suggested, words, ask) in [
        (
            true,
            "1.5 USD to",
            call(&token, format!("a9059cbb{them}{amount}")),
        ),
        // The recipient is the account itself, which nothing names.
        (
            false,
            "1.5 USD from",
            call(&token, format!("23b872dd{them}{us}{amount}")),
        ),
        (
            true,
            "allowance of 1.5 USD for",
            call(&token, format!("095ea7b3{them}{amount}")),
        ),
        (
            true,
            "call of 0xdeadbeef on",
            call(&exchange(), "deadbeef".into()),
        ),
        (
            true,
            "readable message of 11 bytes",
            payload(Payload::EvmMessage(text)),
        ),
        // It could be used for ever, which is a privilege.
        (false, "typed data \"Order\" of", {
            payload(Payload::EvmTypedData(TYPED_DATA.as_bytes().to_vec()))
        }),
        (false, "making of the treasury key", Ask::create(&empty, 1)),
    ] {
        let denied = denial(&empty, &ask);
        assert_eq!(denied.reason, DenialReason::NoPermit, "{denied:?}");
        assert!(denied.message.contains(words), "{}", denied.message);
        assert_eq!(denied.suggestion.is_some(), suggested, "{words}");
        if let Some(rule) = denied.suggestion {
            let open = token_reader(&rule);
            under(&ask, &open).permitted(&open, &mut Ledger::new());
        }
    }
}

#[test]
fn an_explanation_says_which_parts_hold_and_which_do_not() {
    let rules = format!(
        "{SMALL} @id(\"priced\") permit (principal, action, resource == \
         Account::\"eip155:31337/0xaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\") unless \
         {{ context.risk == \"neutral\" || context.chain == \"eip155:1\" }};\n\
         @id(\"unsafe\") permit (principal, action == Action::\"transfer\", resource) when \
         {{ context.margin.ratio_bp > 12000 }};\n\
         @id(\"stop\") forbid (principal, action == Action::\"transfer\", resource) when \
         {{ context.amount_micro > 400000 }};\n\
         @id(\"elsewhere\") forbid (principal == Principal::\"cid\", action, resource);\n"
    );
    let constitution = charter(&rules).check().unwrap();
    let ask = Ask::pay(&constitution, 1, ETHER / 2);
    let told = explain(&constitution, &ask, "ann");
    assert_eq!(
        (told.outcome, told.reason),
        (Outcome::Denied, Some(DenialReason::Forbidden))
    );
    assert_eq!(told.deciding, ["stop".parse().unwrap()]);
    assert_eq!(told.suggestion, None);
    let ids: Vec<_> = told.permits.iter().map(|p| p.rule.as_str()).collect();
    assert_eq!(ids, ["priced", "small", "unsafe"]);
    let [priced, small, margin] = &told.permits[..] else {
        panic!("{told:?}")
    };
    assert!(priced.matches);
    assert_eq!(priced.holds.len(), 2, "{priced:?}");
    assert!(!small.matches);
    assert_eq!(small.holds.len(), 2);
    assert_eq!(small.fails, ["context.amount_micro <= 250000"]);
    assert_eq!(small.demands, ["a delay of 3600 s"]);
    assert!(!margin.matches);
    assert_eq!(margin.needs, ["margin"]);
    assert_eq!(told.forbids.len(), 1);
    assert!(told.forbids[0].matches);
    let json = serde_json::to_string(&told).unwrap();
    assert_eq!(serde_json::from_str::<Explanation>(&json).unwrap(), told);
}

#[test]
fn an_explanation_of_what_is_permitted_names_permits_and_budgets() {
    let constitution = charter(OPEN).check().unwrap();
    let ask = under(&Ask::pay(&constitution, 1, ETHER), &constitution);
    let calm = Calm::default();
    let room = |left: u64| BudgetRoom {
        budget: "day".parse().unwrap(),
        measure: Measure::Count,
        wanted: Amount::from(1u64),
        left: Amount::from(left),
    };
    let told = |left| {
        let request = ask.request(calm.conditions());
        constitution.explain(&request, &"ann".parse().unwrap(), |_| vec![room(left)])
    };
    let permitted = told(1);
    assert_eq!(permitted.outcome, Outcome::Permitted);
    assert_eq!(permitted.deciding, ["open".parse().unwrap()]);
    assert_eq!(permitted.budgets, [room(1)]);
    let short = told(0);
    assert_eq!(short.reason, Some(DenialReason::OverBudget));
    assert_eq!(short.deciding, ["day".parse().unwrap()]);
    let request = ask.request(calm.conditions());
    let outsider = constitution.explain(&request, &"bot".parse().unwrap(), |_| vec![room(1)]);
    assert!(outsider.budgets.is_empty());
}

#[test]
fn a_wildcard_over_a_privileged_action_is_explained() {
    let constitution = charter("@id(\"all\") permit (principal, action, resource);");
    let constitution = constitution.check().unwrap();
    let told = explain(&constitution, &Ask::create(&constitution, 1), "ann");
    let all = told
        .permits
        .iter()
        .find(|p| p.rule.as_str() == "all")
        .unwrap();
    assert!(all.matches);
    assert!(all.but.as_ref().unwrap().contains("names it"));
}

/// Rules of which some nearly match, so that suggestions come from both kinds.
fn near_rules() -> Vec<String> {
    let mut all = Vec::new();
    for (i, bound) in [5, 100_000, 400_000].iter().enumerate() {
        for (j, (scope, more)) in [
            ("principal == Principal::\"bot\"", ""),
            (
                "principal in Role::\"desk\"",
                " && context.to_name == \"exchange\"",
            ),
            ("principal", " && context.symbol == \"BTC\""),
        ]
        .iter()
        .enumerate()
        {
            for (k, form) in ["context.amount_micro <= B", "B > context.amount_micro"]
                .iter()
                .enumerate()
            {
                let form = form.replace('B', &bound.to_string());
                all.push(format!(
                    "@id(\"n{i}{j}{k}\") permit ({scope}, action == Action::\"transfer\", resource) \
                     when {{ {form}{more} }};\n"
                ));
            }
        }
    }
    all
}

fn verdict(constitution: &Constitution, ask: &Ask) -> Option<DenialReason> {
    match under(ask, constitution).judge(constitution, &mut Ledger::new()) {
        Judgement::Denied(denied) => Some(denied.reason),
        Judgement::Permitted(_) | Judgement::Pending(_) => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_suggestion_makes_the_request_pass_and_nothing_outside_its_bounds(
        rules in proptest::sample::subsequence(near_rules(), 0..6),
        micro in prop_oneof![Just(6u128), Just(100_001), Just(500_000), 7u128..2_000_000],
    ) {
        let before = readable(&rules.concat());
        let closed = before.clone().check().unwrap();
        let value = micro * (ETHER / 1_000_000);
        let ask = Ask::pay(&closed, 1, value);
        if verdict(&closed, &ask).is_some() {
            let rule = denial(&closed, &ask).suggestion.unwrap();
            let open = with(&before, &rule);
            prop_assert_eq!(verdict(&open, &ask), None, "{}", rule);
            // What is outside: more, to somebody else, by somebody else, another action.
            let mut by_another = Ask::pay(&closed, 1, value);
            by_another.stamp.principal = "cid".parse().unwrap();
            by_another.stamp.credential = identity(seed_of("cid")).id();
            let mut calls = Tx::pay(1, &exchange(), value);
            calls.data = vec![1, 2, 3, 4];
            for other in [
                Ask::pay(&closed, 1, value + 1),
                Ask::pay(&closed, 1, value * 2),
                Ask::new(&closed, 1, calls.payload()),
                by_another,
            ] {
                prop_assert_eq!(verdict(&open, &other), verdict(&closed, &other), "{}", rule);
            }
            let stranger = Ask::new(&closed, 1, Tx::pay(1, &stranger(), value).payload());
            if rule.contains("to_name") || rule.contains("context.to ") {
                prop_assert_eq!(verdict(&open, &stranger), verdict(&closed, &stranger), "{}", rule);
            }
        }
    }
}
