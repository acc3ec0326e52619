//! The encoding against its meaning: on every request of a small universe, the encoded policy sets
//! say what the charter's own policies come to. What the solver then proves is checked beside it.

use super::case::{Answer, Case};
use super::encode::{Question, encode, impossible, questions};
use super::fixtures::{EXCHANGE, STRANGER, charter, charter_of, filled, json, universe};
use super::side::Side;
use super::solver::{Actions, policy_set};
use super::structure::{Effect, differences};
use super::{Report, Verdict, prove_with};
use cedar_policy::{Authorizer, Decision, PolicySet};
use quoin_policy::Charter;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Every feature that a permit or forbid can have, in ways that overlap.
pub const RICH: &str = r#"
@id("small") permit (principal in Role::"desk", action == Action::"transfer", resource)
  when { context.amount_micro <= 100 };
@id("vault") @approvals("2 of treasury")
permit (principal in Role::"treasury", action == Action::"transfer", resource)
  when { resource.key == "vault" };
@id("wild") @approvals("1 of treasury") @delay("1h")
permit (principal, action, resource) when { resource.key == "hot" };
@id("forever") @unbounded
permit (principal == Principal::"cid", action, resource) when { context.horizon == "unbounded" };
@id("top-up") @corridor permit (principal in Role::"desk", action == Action::"transfer", resource)
  when { context.to_name == "margin" };
@id("stale") forbid (principal, action == Action::"transfer", resource)
  when { context.amount_micro > 99 && context.price.age_s > 60 };
@id("fresh") permit (principal, action == Action::"transfer", resource)
  when { principal in [Role::"risk", Role::"governor"] && context.price.age_s < 10 };
@id("watched") @notice("risk") @delay("2h")
permit (principal in Role::"risk", action == Action::"transfer", resource)
  unless { context.to_name == "" };
@id("own") @approvals("1 of treasury") @initiator("counts")
permit (principal is Principal in Role::"treasury", action in [Action::"transfer", Action::"message"], resource);
@id("keys") @delay("1d")
permit (principal in Role::"governor", action == Action::"create_key", resource);
"#;

/// The same desk, changed in each of these features.
fn changed() -> Charter {
    let policies = RICH
        .replace("<= 100", "<= 101")
        .replace(
            r#"@approvals("2 of treasury")"#,
            r#"@approvals("1 of treasury")"#,
        )
        .replace(r#"@delay("1h")"#, r#"@delay("2h")"#)
        .replace("@unbounded\n", "")
        .replace(r#"@notice("risk") "#, "")
        .replace("age_s > 60", "age_s > 80")
        .replace(r#"== "margin""#, r#"== "exchange""#);
    let mut json = json(&policies);
    json["principals"][4]["roles"] = json!(["treasury", "risk"]);
    json["book"][0]["address"] = STRANGER.into();
    charter_of(json)
}

fn side(charter: &Charter) -> Side {
    Side::read(charter, "tested").unwrap()
}

/// What the encoding says: the case with its facts filled in, and no roles at all.
fn says(set: &PolicySet, case: &Case) -> bool {
    let (request, entities) = filled(case).bare().unwrap();
    let response = Authorizer::new().is_authorized(&request, set, &entities);
    response.decision() == Decision::Allow
}

fn unknown_facts(case: &Case) -> Vec<&str> {
    let unknown =
        (case.action == "transfer" && !case.context.contains_key("price")).then_some("price");
    unknown.into_iter().collect()
}

/// Encodes the side for the question and compares it with its meaning on every case.
fn compare(side: &Side, other: &Side, question: &Question, cases: &[Case]) -> (usize, usize) {
    let set = policy_set(encode(side, other, question).unwrap()).unwrap();
    let (mut permitted, mut denied) = (0, 0);
    let fits = |case: &&Case| {
        case.action == question.action
            && case.corridor == question.corridor
            && unknown_facts(case).iter().eq(question.missing.iter())
    };
    for case in cases.iter().filter(fits) {
        let seen = case.seen_by(side, other);
        let meant = match seen.answer(side).unwrap() {
            Answer::Denied { .. } => false,
            Answer::Permitted { demands, .. } => question
                .bound
                .as_ref()
                .is_none_or(|(kind, most)| demands.of(kind) <= *most),
        };
        // The encoding sees the case as it is: what the books call an address is written into it.
        assert_eq!(says(&set, case), meant, "{question:?}\n{case:?}");
        if meant { permitted += 1 } else { denied += 1 }
    }
    (permitted, denied)
}

#[test]
fn the_encoding_means_what_the_policies_come_to_on_every_request() {
    let (old, new) = (side(&charter(RICH)), side(&changed()));
    let cases = universe();
    let (mut permitted, mut denied, mut bounded) = (0, 0, 0);
    for action in ["transfer", "message", "create_key"] {
        for question in questions(&old, &new, action) {
            for (one, other) in [(&old, &new), (&new, &old)] {
                let (yes, no) = compare(one, other, &question, &cases);
                (permitted, denied) = (permitted + yes, denied + no);
                bounded += usize::from(question.bound.is_some() && yes > 0);
            }
        }
    }
    assert!(
        permitted > 500 && denied > 500 && bounded > 10,
        "{permitted} {denied} {bounded}"
    );
}

#[test]
fn no_request_of_the_universe_is_held_to_be_impossible() {
    let (old, new) = (side(&charter(RICH)), side(&changed()));
    let actions = Actions::read().unwrap();
    for action in ["transfer", "message", "create_key"] {
        let attributes = actions.attributes(action).unwrap();
        let never = impossible(&old, &new, action, attributes);
        let set = policy_set(vec![super::terms::policy(true, never)]).unwrap();
        for case in universe().iter().filter(|c| c.action == action) {
            assert!(!says(&set, case), "{case:?}");
        }
    }
}

/// The questions, put to the universe instead of the solver, find what evaluation finds.
#[test]
fn the_questions_together_ask_for_everything_that_is_looser() {
    let (old, new) = (side(&charter(RICH)), side(&changed()));
    let cases = universe();
    let mut looser = 0;
    for (before, after) in [(&old, &new), (&new, &old), (&old, &old)] {
        let set = |side: &Side, other: &Side, q: &Question| {
            policy_set(encode(side, other, q).unwrap()).unwrap()
        };
        let asked = ["transfer", "message", "create_key"]
            .into_iter()
            .flat_map(|action| {
                let all = questions(before, after, action).into_iter();
                all.map(|q| (set(before, after, &q), set(after, before, &q), q))
            });
        let asked: Vec<(PolicySet, PolicySet, Question)> = asked.collect();
        for case in &cases {
            let was = case.seen_by(before, after).answer(before).unwrap();
            let now = case.seen_by(after, before).answer(after).unwrap();
            let fits = |q: &Question| {
                q.action == case.action
                    && q.corridor == case.corridor
                    && unknown_facts(case).iter().eq(q.missing.iter())
            };
            let broken = asked
                .iter()
                .any(|(left, right, q)| fits(q) && says(right, case) && !says(left, case));
            assert_eq!(broken, !now.is_as_strict_as(&was), "{case:?}\n{was}\n{now}");
            looser += usize::from(broken);
        }
    }
    assert!(looser > 50, "{looser}");
}

/// The solver among the test beds or on the path. Where it is missing, CI fails and a laptop skips
/// with a line that says so.
fn solver() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap();
    let installed = Some(root.join(".testbeds/cvc5/bin/cvc5")).filter(|p| p.is_file());
    let found = installed.or_else(super::solver::program);
    if found.is_none() {
        assert_ne!(
            std::env::var("CI").as_deref(),
            Ok("true"),
            "CI needs `cvc5`"
        );
        eprintln!("SKIPPED: `cvc5` is missing; `cargo xtask testbeds`");
    }
    found
}

fn proven(old: &Charter, new: &Charter) -> Option<Report> {
    let program = solver()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    Some(
        runtime
            .block_on(prove_with(old, new, Some(program)))
            .unwrap(),
    )
}

fn verdict(old: &str, new: &str) -> Option<Verdict> {
    let report = proven(&charter(old), &charter(new))?;
    assert!(report.unclear.is_empty(), "{:?}", report.unclear);
    assert_eq!(
        report.verdict == Verdict::Loosens,
        !report.counterexamples.is_empty()
    );
    Some(report.verdict)
}

const BOUND: &str = r#"
@id("small") permit (principal in Role::"desk", action == Action::"transfer", resource)
  when { context.amount_micro <= 100 };
"#;
const NO_STRANGERS: &str = r#"
@id("known") forbid (principal, action == Action::"transfer", resource) when { context.to_name == "" };
"#;
const APPROVED: &str = r#"
@id("vault") @approvals("2 of treasury") @delay("1h")
permit (principal in Role::"desk", action == Action::"transfer", resource)
  when { resource.key == "vault" };
"#;

#[test]
fn what_only_tightens_is_proven() {
    let both = format!("{BOUND}{NO_STRANGERS}");
    let stricter = APPROVED.replace("2 of", "3 of").replace("1h", "2h");
    let lower = BOUND.replace("100", "99");
    let approved = BOUND.replace("permit", "@approvals(\"1 of risk\") permit");
    let fewer = BOUND.replace("in Role::\"desk\"", "== Principal::\"bot\"");
    for (old, new) in [
        (BOUND, both.as_str()),
        (BOUND, &lower),
        (BOUND, &approved),
        (BOUND, &fewer),
        (&both, ""),
        (APPROVED, &stricter),
        (BOUND, BOUND),
    ] {
        let Some(verdict) = verdict(old, new) else {
            return;
        };
        assert_eq!(verdict, Verdict::OnlyTightens, "{old} {new}");
    }
}

#[test]
fn what_loosens_is_found() {
    let both = format!("{BOUND}{NO_STRANGERS}");
    let higher = BOUND.replace("100", "101");
    let another = format!(
        "{BOUND}\n@id(\"x\") permit (principal == Principal::\"cid\", action == Action::\"message\", resource);"
    );
    let alone = APPROVED.replace("@approvals(\"2 of treasury\")", "");
    let fewer = APPROVED.replace("2 of", "1 of");
    let sooner = APPROVED.replace("1h", "30m");
    let asker = APPROVED.replace("@delay", "@initiator(\"counts\") @delay");
    let other_role = APPROVED.replace("2 of treasury", "1 of risk");
    let wild = r#"@id("w") permit (principal, action, resource);"#;
    let named = format!(
        "{wild}\n@id(\"n\") permit (principal == Principal::\"dan\", action == Action::\"create_key\", resource);"
    );
    let forever = wild.replace("permit", "@unbounded permit");
    for (old, new) in [
        (BOUND, higher.as_str()),
        (&both, BOUND),
        (BOUND, &another),
        (APPROVED, &alone),
        (APPROVED, &fewer),
        (APPROVED, &sooner),
        (APPROVED, &asker),
        (APPROVED, &other_role),
        (wild, &named),
        (wild, &forever),
    ] {
        let Some(verdict) = verdict(old, new) else {
            return;
        };
        assert_eq!(verdict, Verdict::Loosens, "{old} {new}");
    }
}

/// A permit without approvals beside one with them: where both match, the approvals are demanded all
/// the same, so only what the new one matches alone is looser.
#[test]
fn a_permit_without_approvals_loosens_only_where_it_matches_alone() {
    let inside = format!(
        "{APPROVED}\n@id(\"free\") permit (principal == Principal::\"bot\", action == Action::\"transfer\", \
         resource) when {{ resource.key == \"vault\" && context.amount_micro < 5 }};"
    );
    let outside = inside.replace("resource.key == \"vault\" && ", "");
    let Some(found) = verdict(APPROVED, &inside) else {
        return;
    };
    assert_eq!(found, Verdict::OnlyTightens);
    let report = proven(&charter(APPROVED), &charter(&outside)).unwrap();
    assert_eq!(report.verdict, Verdict::Loosens);
    for found in &report.counterexamples {
        assert_ne!(found.request.account["key"], "vault", "{found:?}");
        assert!(found.request.context["amount_micro"].as_i64().unwrap() < 5);
    }
    // The other way round: without the approvals' permit, what was approved before is free.
    let free = outside.replace(APPROVED, "");
    assert_eq!(verdict(&outside, &free), Some(Verdict::Loosens));
}

#[test]
fn an_unknown_fact_is_a_case_of_its_own() {
    let fresh = r#"@id("f") permit (principal == Principal::"bot", action == Action::"transfer", resource)
        when { context.amount_micro < 5 || context.price.age_s < 9 };"#;
    // With every price known the two are the same; without one, only the second looks at the amount.
    let price_first = fresh.replace(
        "context.amount_micro < 5 || context.price.age_s < 9",
        "context.price.age_s < 9 || context.amount_micro < 5",
    );
    let Some(found) = verdict(fresh, &price_first) else {
        return;
    };
    assert_eq!(found, Verdict::OnlyTightens);
    let report = proven(&charter(&price_first), &charter(fresh)).unwrap();
    assert_eq!(report.verdict, Verdict::Loosens);
    assert!(
        !report.counterexamples[0]
            .request
            .context
            .contains_key("price")
    );
    // A forbid that cannot see the price forbids, so taking it away loosens even there.
    let stale = r#"@id("s") forbid (principal, action == Action::"transfer", resource)
        when { context.price.age_s > 60 };"#;
    assert_eq!(
        verdict(&format!("{BOUND}{stale}"), BOUND),
        Some(Verdict::Loosens)
    );
    assert_eq!(
        verdict(BOUND, &format!("{BOUND}{stale}")),
        Some(Verdict::OnlyTightens)
    );
}

#[test]
fn the_corridor_is_compared_by_itself() {
    let inside = BOUND.replace("permit", "@corridor permit");
    assert_eq!(
        verdict(&inside, BOUND).unwrap_or(Verdict::OnlyTightens),
        Verdict::OnlyTightens
    );
    let Some(report) = proven(&charter(BOUND), &charter(&inside)) else {
        return;
    };
    assert_eq!(report.verdict, Verdict::Loosens);
    assert!(report.counterexamples.iter().all(|c| c.request.corridor));
}

#[test]
fn roles_and_names_are_compared_as_what_they_stand_for() {
    // The role's name is another one, its holders are the same.
    let mut renamed = json(&BOUND.replace("desk", "bots"));
    renamed["principals"][0]["roles"] = json!(["bots"]);
    let Some(report) = proven(&charter(BOUND), &charter_of(renamed)) else {
        return;
    };
    assert!(report.counterexamples.is_empty(), "{report:?}");
    // One more holder is one more who may ask.
    let mut more = json(BOUND);
    more["principals"][4]["roles"] = json!(["treasury", "desk"]);
    let report = proven(&charter(BOUND), &charter_of(more)).unwrap();
    assert_eq!(report.counterexamples[0].request.principal, "dan");
    // A name that moves takes the money along; a name that goes frees what it forbade.
    let named = BOUND.replace(
        "context.amount_micro <= 100",
        "context.to_name == \"exchange\"",
    );
    let mut moved = json(&named);
    moved["book"][0]["address"] = STRANGER.into();
    let report = proven(&charter(&named), &charter_of(moved)).unwrap();
    assert_eq!(report.counterexamples[0].request.context["to"], STRANGER);
    let banned = format!(
        "{BOUND}@id(\"no\") forbid (principal, action, resource == Account::\"eip155:1/0xaa\");\n\
         @id(\"b\") forbid (principal, action == Action::\"transfer\", resource) when {{ \
         context.to_name == \"exchange\" }};"
    );
    let mut gone = json(&banned);
    gone["book"].as_array_mut().unwrap().remove(0);
    let report = proven(&charter(&banned), &charter_of(gone)).unwrap();
    assert_eq!(report.counterexamples[0].request.context["to"], EXCHANGE);
}

#[test]
fn what_could_fail_in_the_old_charter_is_not_claimed() {
    let adds = BOUND.replace(
        "context.amount_micro <= 100",
        "context.amount_micro + context.fee_micro <= 100",
    );
    let Some(report) = proven(&charter(&adds), &charter(&BOUND.replace("100", "50"))) else {
        return;
    };
    assert_ne!(report.verdict, Verdict::OnlyTightens);
    assert!(
        report.unclear.iter().any(|w| w.contains("small")),
        "{report:?}"
    );
}

#[test]
fn without_a_solver_nothing_is_claimed_and_the_rest_is_compared() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut new = json(&BOUND.replace("100", "99"));
    new["gateways"][0]["tls_key_hash"] = hex::encode([9; 32]).into();
    let report = runtime
        .block_on(prove_with(&charter(BOUND), &charter_of(new), None))
        .unwrap();
    assert_eq!(report.verdict, Verdict::Skipped);
    assert_eq!(report.outcome().unwrap_err().exit().code(), 2);
    assert!(
        report
            .differences
            .iter()
            .any(|d| d.part == "gateway `gateway`")
    );
}

type Change = fn(&mut serde_json::Value);

/// One change of each part of which it is plain which way it goes.
const CHANGES: &[(&str, Change)] = &[
    ("governor_quorum", |c| c["governor_quorum"] = 1.into()),
    ("threshold", |c| c["threshold"] = 1.into()),
    ("cooling_off_ms", |c| c["cooling_off_ms"] = 0.into()),
    ("dangerous_disjoint_signers", |c| {
        c["dangerous_disjoint_signers"] = true.into()
    }),
    ("dangerous_single_failure_domain", |c| {
        c["dangerous_single_failure_domain"] = true.into()
    }),
    ("principal `bot`", |c| {
        c["principals"][0]["expires"] = 4_100_000_000_000u64.into()
    }),
    ("principal `bot`", |c| {
        c["principals"][0]["roles"] = json!(["desk", "risk"])
    }),
    ("principal `ann`", |c| {
        c["principals"][1]["roles"] = json!(["treasury"])
    }),
    ("budget `day`", |c| c["budgets"][1]["cap"] = "2000".into()),
    ("budget `day`", |c| {
        c["budgets"][1]["window_ms"] = 60_000.into()
    }),
    ("budget `day`", |c| {
        c["budgets"][1]["mode"] = "sticky".into()
    }),
    ("budget `day`", |c| {
        c["budgets"][1]["scope"] = json!({ "principal": "bot" })
    }),
    ("budget `day`", |c| {
        c["budgets"].as_array_mut().unwrap().remove(1);
    }),
    ("asset `eip155:1/native`", |c| {
        c["assets"][0]["decimals"] = 20.into()
    }),
    ("address book, `exchange` on eip155:1", |c| {
        c["book"][0]["address"] = STRANGER.into()
    }),
    ("address book, `exchange` on eip155:1", |c| {
        c["book"][0]["kind"] = "margin".into()
    }),
    ("spending key `hot`", |c| {
        c["keys"] = json!([{ "key": "hot" }])
    }),
    ("fact {\"price\":\"eip155:1/native\"}", |c| {
        c["facts"][0]["quorum"] = 1.into()
    }),
    ("fact {\"price\":\"eip155:1/native\"}", |c| {
        c["facts"][0]["age_ms_max"] = 99_000.into()
    }),
    ("fact {\"price\":\"eip155:1/native\"}", |c| {
        c["facts"][0]["deviation_bp_max"] = 99.into()
    }),
    ("gateway `gateway`", |c| {
        c["gateways"][0]["tls_key_hash"] = hex::encode([9; 32]).into()
    }),
];

/// Which way each change goes, and the other way round.
#[test]
fn every_part_of_the_charter_goes_the_way_it_should() {
    let mut base = json(BOUND);
    base["cooling_off_ms"] = 60_000.into();
    base["facts"] = json!([{ "kind": { "price": "eip155:1/native" }, "quorum": 2,
                             "age_ms_max": 60_000, "deviation_bp_max": 50 }]);
    let day = json!({ "id": "day", "scope": "org", "measure": "count", "cap": "1000",
                      "window_ms": 3_600_000, "mode": "strict" });
    base["budgets"].as_array_mut().unwrap().push(day);
    let old = charter_of(base.clone());
    assert!(differences(&old, &old).is_empty());
    for (part, change) in CHANGES {
        let mut json = base.clone();
        change(&mut json);
        let new = charter_of(json);
        let found = differences(&old, &new);
        let looser = found.iter().find(|d| d.effect == Effect::Loosens);
        assert_eq!(looser.map(|d| d.part.as_str()), Some(*part), "{found:?}");
        // What is another address or key loosens both ways, and so does a role that stops things.
        let back = differences(&new, &old);
        let other = old.book[0].address != new.book[0].address || old.gateways != new.gateways;
        let both_ways = other || *part == "principal `ann`";
        let tightens = back.iter().any(|d| d.effect == Effect::Tightens);
        assert!(both_ways || tightens, "{back:?}");
    }
    let mut moved = base;
    moved["nodes"][0]["region"] = "elsewhere".into();
    let found = differences(&old, &charter_of(moved));
    assert_eq!(found[0].effect, Effect::Unclear);
}
