//! Policies: what compiles, and what no order or addition of policies can change.

use crate::fixtures::*;
use crate::{CharterError, Constitution, Judgement, Ledger, Obligations, schema_text};
use proptest::prelude::*;

fn broken(policies: &str) -> CharterError {
    charter(policies).check().unwrap_err()
}

const PERMIT: &str = "permit (principal, action == Action::\"transfer\", resource);";

#[test]
fn refuses_what_is_not_cedar() {
    for text in [
        "permit",
        "@id(\"a\") permit (principal, action, resource)",
        "\u{0}",
    ] {
        assert!(
            matches!(broken(text), CharterError::PolicySyntax { .. }),
            "{text}"
        );
    }
}

#[test]
fn refuses_missing_malformed_reserved_and_repeated_ids() {
    for id in [
        "",
        "@id",
        "@id(\"\")",
        "@id(\"Upper\")",
        "@id(\"default-deny\")",
    ] {
        let error = broken(&format!("{id} {PERMIT}"));
        assert!(
            matches!(error, CharterError::PolicyId { .. }),
            "{id}: {error:?}"
        );
    }
    let twice = broken(&format!("@id(\"a\") {PERMIT} @id(\"a\") {PERMIT}"));
    assert!(matches!(twice, CharterError::Duplicate { .. }), "{twice:?}");
}

#[test]
fn refuses_unknown_and_unreadable_annotations() {
    for annotation in [
        "@approvals",
        "@approvals(\"some of treasury\")",
        "@approval(\"2 of treasury\")",
        "@delay(\"soon\")",
        "@delay(\"0h\")",
        "@note(\"harmless\")",
        "@delay(\"1h\") @notice",
        "@delay(\"1h\") @notice(\"Risk\")",
        "@notice(\"risk\")",
        "@unbounded(\"yes\")",
        "@initiator(\"counts\")",
        "@approvals(\"1 of risk\") @initiator",
        "@approvals(\"1 of risk\") @initiator(\"never\")",
        // There is no budget for the corridor.
        "@corridor",
    ] {
        let error = broken(&format!("@id(\"a\") {annotation} {PERMIT}"));
        assert!(
            matches!(error, CharterError::BadAnnotation { .. }),
            "{annotation}: {error:?}"
        );
    }
}

#[test]
fn refuses_obligations_on_a_forbid() {
    let forbid = PERMIT.replace("permit", "forbid");
    for annotation in [
        "@approvals(\"1 of treasury\")",
        "@delay(\"1h\")",
        "@delay(\"1h\") @notice(\"risk\")",
        "@corridor",
        "@unbounded",
        "@initiator(\"counts\")",
    ] {
        let error = broken(&format!("@id(\"a\") {annotation} {forbid}"));
        assert!(
            matches!(error, CharterError::BadAnnotation { .. }),
            "{error:?}"
        );
    }
    assert!(charter(&format!("@id(\"a\") {forbid}")).check().is_ok());
}

#[test]
fn refuses_a_quorum_that_nobody_reaches() {
    for approvals in ["4 of treasury", "1 of nobody"] {
        let error = broken(&format!("@id(\"a\") @approvals(\"{approvals}\") {PERMIT}"));
        assert!(
            matches!(error, CharterError::UnreachableQuorum { .. }),
            "{error:?}"
        );
    }
}

#[test]
fn refuses_a_notice_to_nobody() {
    let notice = "@id(\"a\") @delay(\"1h\") @notice(\"watcher\")";
    let error = broken(&format!("{notice} {PERMIT}"));
    assert!(
        matches!(error, CharterError::UnreachableQuorum { .. }),
        "{error:?}"
    );
    let risk = notice.replace("watcher", "risk");
    assert!(charter(&format!("{risk} {PERMIT}")).check().is_ok());
}

#[test]
fn a_corridor_needs_a_budget_of_its_own() {
    let mut with_budget = charter(&format!("@id(\"a\") @corridor {PERMIT}"));
    let count = crate::Measure::Count;
    with_budget.budgets = vec![budget("emergency", crate::Scope::Corridor, count, 1000)];
    let constitution = with_budget.check().unwrap();
    let all: Vec<_> = constitution.rules().cloned().collect();
    let marked = constitution.rules.in_corridor(&all);
    assert_eq!(marked, ["a".parse().unwrap()]);
}

#[test]
fn lifting_a_freeze_takes_more_than_one_person() {
    let lift = |annotation: &str, action: &str| {
        charter(&format!(
            "@id(\"lift\") {annotation} permit (principal, {action}, resource);"
        ))
        .check()
    };
    for action in [
        "action == Action::\"unfreeze\"",
        "action in [Action::\"unfreeze\", Action::\"transfer\"]",
    ] {
        let alone = lift("@delay(\"1h\")", action).unwrap_err();
        assert!(
            matches!(alone, CharterError::UnfreezeAlone { .. }),
            "{alone:?}"
        );
        let oneself = "@approvals(\"1 of treasury\") @initiator(\"counts\")";
        assert!(lift(oneself, action).is_err());
        assert!(lift("@approvals(\"1 of treasury\")", action).is_ok());
        assert!(lift(&oneself.replace('1', "2"), action).is_ok());
    }
}

#[test]
fn a_charter_that_nobody_could_change_is_refused() {
    let mut stuck = charter("");
    for policies in [
        "",
        "@id(\"all\") permit (principal, action, resource);",
        "@id(\"not\") forbid (principal, action == Action::\"change_charter\", resource);",
    ] {
        stuck.policies = policies.to_owned();
        let error = stuck.clone().check().unwrap_err();
        assert!(matches!(error, CharterError::NobodyChanges), "{error:?}");
    }
}

#[test]
fn refuses_a_look_at_whether_a_fact_is_known() {
    for condition in [
        "context has price",
        "!(context has price) || context.price.usd_micro < 5",
        "context has price.usd_micro",
        "[context].contains(context)",
    ] {
        let when = format!("when {{ {condition} }};");
        let error = broken(&format!("@id(\"a\") {}", PERMIT.replace(';', &when)));
        let CharterError::PolicyInvalid { detail, .. } = error else {
            panic!("{condition}: {error:?}")
        };
        assert!(
            detail.contains("fact") || detail.contains("as a whole"),
            "{condition}: {detail}"
        );
    }
}

#[test]
fn the_initiator_counts_only_where_every_permit_with_approvals_says_so() {
    let counting = "@approvals(\"1 of treasury\") @initiator(\"counts\")";
    let one = |id: &str, annotations: &str| format!("@id(\"{id}\") {annotations} {PERMIT}\n");
    let ids = ["a".parse().unwrap(), "b".parse().unwrap()];
    let (own, free) = (one("a", counting), one("b", ""));
    for (second, counts) in [
        (free, true),
        (one("b", counting), true),
        (one("b", "@delay(\"1h\")"), true),
        (one("b", "@approvals(\"1 of risk\")"), false),
    ] {
        let constitution = constitution(&format!("{own}{second}"));
        let demands = constitution.rules.obligations(&ids);
        assert_eq!(demands.initiator_counts, counts, "{second}");
        let reversed = [ids[1].clone(), ids[0].clone()];
        assert_eq!(constitution.rules.obligations(&reversed), demands);
    }
}

#[test]
fn notices_are_joined() {
    let constitution = constitution(&format!(
        "@id(\"a\") @delay(\"1h\") @notice(\"risk\") {PERMIT}\n\
         @id(\"b\") @delay(\"2h\") @notice(\"treasury\") {PERMIT}\n"
    ));
    let demands = constitution
        .rules
        .obligations(&["a".parse().unwrap(), "b".parse().unwrap()]);
    let roles: Vec<_> = demands.notice.iter().map(|r| r.as_str()).collect();
    assert_eq!(roles, ["risk", "treasury"]);
    assert_eq!(demands.delay_ms, 2 * HOUR_MS);
}

#[test]
fn refuses_templates() {
    let template = "@id(\"a\") permit (principal == ?principal, action, resource);";
    assert!(matches!(broken(template), CharterError::Template { .. }));
}

#[test]
fn refuses_names_that_the_charter_does_not_define() {
    for scope in [
        "principal == Principal::\"bott\"",
        "principal in Role::\"tresury\"",
    ] {
        let text = format!("@id(\"a\") forbid ({scope}, action, resource);");
        let error = broken(&text);
        assert!(
            matches!(error, CharterError::UnknownName { .. }),
            "{error:?}"
        );
    }
    let inside = "@id(\"a\") forbid (principal, action, resource) \
                  when { principal in Role::\"tresury\" };";
    assert!(matches!(broken(inside), CharterError::UnknownName { .. }));
}

#[test]
fn refuses_what_strict_validation_or_a_warning_refuses() {
    for (what, condition) in [
        ("attribute of another action", "context.spender == \"x\""),
        ("wrong type", "context.amount_micro == \"1\""),
        ("unknown attribute", "context.amount < 1"),
        ("never true", "context.amount_micro < 1 && false"),
        ("mixed script", "context.to_name == \"exch\u{430}nge\""),
        ("direction change", "context.to_name == \"\u{202e}a\""),
    ] {
        let when = format!("when {{ {condition} }};");
        let error = broken(&format!("@id(\"a\") {}", PERMIT.replace(';', &when)));
        assert!(
            matches!(error, CharterError::PolicyInvalid { .. }),
            "{what}: {error:?}"
        );
    }
    let unknown_action = PERMIT.replace("transfer", "transfers");
    let error = broken(&format!("@id(\"a\") {unknown_action}"));
    assert!(
        matches!(error, CharterError::PolicyInvalid { .. }),
        "{error:?}"
    );
}

#[test]
fn the_schema_is_what_policies_were_written_against() {
    // A rename here breaks every charter out there.
    let text = schema_text();
    for line in [
        "action \"transfer\" appliesTo {",
        "action \"create_key\" appliesTo {",
        "    amount_micro: Long,",
        "    to_name: String,",
        "    unlimited: Bool,",
        "    price: { usd_micro: Long, age_s: Long, sources: Long },",
        "    margin: { ratio_bp: Long, exposure_usd_micro: Long, age_s: Long, sources: Long },",
        "    height: { number: Long, age_s: Long },",
        "    value_usd_micro: Long,",
        "action \"unfreeze\" appliesTo {",
        "action \"change_charter\" appliesTo {",
        "    changes: Set<String>,",
        "  purpose: String,",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}");
    }
}

/// Policies of which any subset, in any order, is a valid charter.
fn some_policies() -> Vec<String> {
    let mut all = Vec::new();
    for (i, scope) in ["principal", "principal == Principal::\"bot\""]
        .iter()
        .enumerate()
    {
        for (j, bound) in ["10", "500000", "2000000"].iter().enumerate() {
            for (k, demand) in [
                "",
                "@approvals(\"1 of treasury\")",
                "@approvals(\"2 of treasury\") @delay(\"1h\")",
                "@delay(\"2h\")",
            ]
            .iter()
            .enumerate()
            {
                all.push(format!(
                    "@id(\"p{i}{j}{k}\") {demand} permit ({scope}, action == Action::\"transfer\", \
                     resource) when {{ context.amount_micro <= {bound} }};"
                ));
            }
        }
    }
    for (i, bound) in ["10", "1500000"].iter().enumerate() {
        all.push(format!(
            "@id(\"f{i}\") forbid (principal, action == Action::\"transfer\", resource) \
             when {{ context.amount_micro > {bound} }};"
        ));
    }
    all
}

fn built(policies: &[String]) -> Constitution {
    constitution(&policies.join("\n"))
}

/// Decision, rules and demands of one request, without what differs between charters.
fn outcome(constitution: &Constitution, value: u128) -> (&'static str, String, Obligations) {
    let ask = Ask::pay(constitution, 1, value);
    match ask.judge(constitution, &mut Ledger::new()) {
        Judgement::Denied(d) => {
            let rule = d.rule.map(|r| r.to_string()).unwrap_or_default();
            ("denied", rule, Obligations::default())
        }
        Judgement::Pending(p) => {
            let demands = constitution.rules.obligations(&p.rules);
            ("permitted", format!("{:?}", p.rules), demands)
        }
        Judgement::Permitted(w) => {
            let demands = constitution.rules.obligations(w.rules());
            ("permitted", format!("{:?}", w.rules()), demands)
        }
    }
}

fn chosen() -> impl Strategy<Value = Vec<String>> {
    proptest::sample::subsequence(some_policies(), 0..=8).prop_shuffle()
}

fn values() -> impl Strategy<Value = u128> {
    prop_oneof![
        Just(ETHER / 1_000_000),
        Just(ETHER / 2),
        Just(ETHER),
        Just(2 * ETHER)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn the_order_of_policies_changes_nothing(policies in chosen(), value in values()) {
        let mut sorted = policies.clone();
        sorted.sort();
        prop_assert_eq!(outcome(&built(&policies), value), outcome(&built(&sorted), value));
    }

    #[test]
    fn a_matching_forbid_wins_over_every_permit(policies in chosen(), value in values()) {
        let mut with = policies;
        with.push("@id(\"stop\") forbid (principal, action, resource);".into());
        let (decision, rule, _) = outcome(&built(&with), value);
        prop_assert_eq!(decision, "denied");
        prop_assert!(rule == "stop" || rule.starts_with('f'), "{}", rule);
    }

    #[test]
    fn adding_a_permit_never_removes_an_obligation(
        policies in chosen(),
        more in proptest::sample::select(some_policies()),
        value in values(),
    ) {
        prop_assume!(!policies.contains(&more));
        let before = outcome(&built(&policies), value);
        let mut with = policies;
        with.push(more);
        let after = outcome(&built(&with), value);
        if before.0 == "permitted" && after.0 == "permitted" {
            let mut union = after.2.clone();
            union.merge(&before.2);
            prop_assert_eq!(union, after.2);
        }
    }

    #[test]
    fn any_text_is_a_charter_error_or_a_charter(text in ".{0,200}") {
        let _ = charter(&text).check();
    }
}
