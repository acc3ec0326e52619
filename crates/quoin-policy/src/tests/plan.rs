//! What a proposed charter changes, in words, and what it would have decided otherwise.

use crate::charter::{KeyGrant, Recovery};
use crate::fixtures::*;
use crate::{
    Charter, Constitution, Decided, DenialReason, Direction, FactView, Flip, Measure, Mode, Plan,
    RecordedRequest, Scope, effect, grants, plan,
};
use quoin_core::{Address, Amount};
use std::collections::BTreeSet;

fn base() -> Charter {
    let mut charter = charter(OPEN);
    let ether = |id, cap| {
        let mut budget = budget(id, Scope::Org, Measure::Asset(native()), cap * ETHER);
        budget.window_ms = 24 * HOUR_MS;
        budget
    };
    charter.budgets = vec![ether("daily", 100), ether("other", 7)];
    charter
        .policies
        .push_str("@id(\"no-calls\")\nforbid (principal, action == Action::\"call\", resource);\n");
    charter
}

fn planned(change: impl FnOnce(&mut Charter)) -> Plan {
    let old = base();
    let mut new = old.clone();
    change(&mut new);
    plan(&old.check().unwrap(), &new.check().unwrap(), NOW)
}

type Edit = fn(&mut Charter);

/// Checks that each edit is said in one change, with these words and this direction.
fn said(edits: &[(Direction, &str, Edit)]) {
    for (direction, words, edit) in edits {
        let plan = planned(edit);
        let changes: Vec<_> = plan.parts.iter().flat_map(|p| &p.changes).collect();
        let [change] = changes.as_slice() else {
            panic!("{words}: {plan}");
        };
        assert!(change.what.contains(words), "{words}: {}", change.what);
        assert_eq!(change.direction, *direction, "{}", change.what);
        assert!(plan.to_string().contains(words), "{plan}");
    }
}

#[test]
fn each_change_of_budgets_and_principals_is_said_with_its_direction() {
    use Direction::{Loosens, Neutral, Tightens};
    said(&[
        (Loosens, "cap per 24 h: 100 ETH → 120 ETH", |c| {
            c.budgets[0].cap = Amount::from(120 * ETHER);
        }),
        (Tightens, "100 ETH → 80.5 ETH", |c| {
            c.budgets[0].cap = Amount::from(805 * ETHER / 10);
        }),
        (Loosens, "window: 24 h → 12 h", |c| {
            c.budgets[0].window_ms = 12 * HOUR_MS
        }),
        (
            Loosens,
            "budget `daily`: 100 ETH per 24 h for everything removed",
            |c| {
                c.budgets.remove(0);
            },
        ),
        (
            Tightens,
            "budget `new`: 9 requests per 1 h for each `desk` added",
            |c| {
                let scope = Scope::EachHolder("desk".parse().unwrap());
                c.budgets.push(budget("new", scope, Measure::Count, 9));
            },
        ),
        (Neutral, "12 USD per 24 h", |c| {
            c.budgets[0].measure = Measure::Usd;
            c.budgets[0].cap = Amount::from(12_000_000u64);
        }),
        (Loosens, "`strict` → `sticky`", |c| {
            c.budgets[0].mode = Mode::Sticky
        }),
        (Loosens, "`bot` gains the role `risk`", |c| {
            c.principals[0].roles.push("risk".parse().unwrap());
        }),
        (Tightens, "`cid` loses the role `treasury`", |c| {
            c.principals[3].roles.remove(0);
        }),
        (Loosens, "the grant of `bot` ends", |c| {
            c.principals[0].expires = NOW.plus(2000 * HOUR_MS);
        }),
        (Tightens, "the grant of `bot` ends", |c| {
            c.principals[0].expires = NOW.plus(HOUR_MS)
        }),
        (Loosens, "`bot` can sign with another credential", |c| {
            c.principals[0].credentials.push(identity(77).public());
        }),
        (Loosens, "`new` comes, with the roles `desk`", |c| {
            c.principals.push(principal("new", &["desk"]));
        }),
    ]);
}

#[test]
fn each_change_of_all_else_is_said_with_its_direction() {
    use Direction::{Loosens, Neutral, Tightens};
    said(&[
        (Tightens, "how many nodes sign: 2 → 3", |c| {
            c.threshold = 3
        }),
        (Loosens, "next charter: 2 → 1", |c| c.governor_quorum = 1),
        (
            Loosens,
            "is added as `cold`: it can receive every asset of the chain at once",
            |c| {
                c.book.push(crate::BookEntry {
                    name: "cold".parse().unwrap(),
                    address: Address::evm([1; 20]),
                    ..c.book[0].clone()
                });
            },
        ),
        (Neutral, "is `other` now", |c| {
            c.book[0].name = "other".parse().unwrap()
        }),
        (Tightens, "in the book no more", |c| c.book.clear()),
        (
            Tightens,
            "how long a new address waits: 0 ms → 2 d",
            |c| {
                c.cooling_off_ms = 48 * HOUR_MS;
            },
        ),
        (Tightens, "forbid `no-messages` added", |c| {
            c.policies.push_str(
                "@id(\"no-messages\")\nforbid (principal, action == Action::\"message\", resource);",
            );
        }),
        (Loosens, "forbid `no-calls` removed", |c| {
            let start = c.policies.find("@id(\"no-calls\")").unwrap();
            c.policies.truncate(start);
        }),
        (Neutral, "permit `open` changed", |c| {
            c.policies = c.policies.replace("\"transfer\"", "\"approve\"");
        }),
        (Loosens, "key `new` may spend", |c| {
            let key = "new".parse().unwrap();
            c.keys.push(KeyGrant {
                key,
                dangerous_digest_account: false,
            });
        }),
        (Neutral, "node 1: operator `operator 1` → `x`", |c| {
            c.nodes[0].operator = "x".into()
        }),
    ]);
}

#[test]
fn nothing_is_said_of_what_stays() {
    assert!(planned(|_| ()).parts.is_empty());
    assert!(planned(|_| ()).to_string().contains("nothing changes"));
    let plan = planned(|c| c.principals.reverse());
    assert!(plan.parts[0].changes.is_empty());
    assert!(plan.to_string().contains("only the order"));
}

#[test]
fn a_changed_policy_is_shown_line_by_line() {
    let plan = planned(|c| c.policies = c.policies.replace("\"call\"", "\"approve\""));
    let text = plan.to_string();
    assert!(
        text.contains("- forbid (principal, action == Action::\"call\""),
        "{text}"
    );
    assert!(
        text.contains("+ forbid (principal, action == Action::\"approve\""),
        "{text}"
    );
    assert!(text.contains("  @id(\"no-calls\")"), "{text}");
    assert!(!text.contains("@id(\"open\")"), "{text}");
}

#[test]
fn a_plan_is_data_too() {
    let plan = planned(|c| c.policies = c.policies.replace("\"call\"", "\"approve\""));
    let json = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), plan);
}

fn warned(change: impl FnOnce(&mut Charter), words: &str) -> bool {
    let plan = planned(change);
    plan.warnings.iter().any(|w| w.contains(words))
}

#[test]
fn what_should_be_looked_at_twice_is_warned_of() {
    let soft = |c: &mut Charter| {
        c.dangerous_single_failure_domain = false;
        c.nodes.iter_mut().enumerate().for_each(|(i, n)| {
            (n.cloud, n.region) = (format!("c{i}"), format!("r{i}"));
        });
    };
    let edits: [(&str, Edit); 8] = [
        ("the grant of `bot` ends in 29 days", |c| {
            c.principals[0].expires = NOW.plus(29 * 24 * HOUR_MS);
        }),
        ("the grant of `bot` has ended", |c| {
            c.principals[0].expires = NOW
        }),
        ("more than three years", |c| {
            c.principals[0].expires = NOW.plus(4 * 366 * 24 * HOUR_MS);
        }),
        ("the forbid `no-calls` is removed", |c| {
            let start = c.policies.find("@id(\"no-calls\")").unwrap();
            c.policies.truncate(start);
        }),
        ("the forbid `no-calls` is changed", |c| {
            c.policies = c.policies.replace("\"call\"", "\"approve\"");
        }),
        ("the decimals of ETH change", |c| c.assets[0].decimals = 17),
        ("policy `more` asks for 3 of `treasury`", |c| {
            c.policies.push_str(
                "@id(\"more\")\n@approvals(\"3 of treasury\")\npermit (principal, action == \
                 Action::\"call\", resource);",
            );
        }),
        ("two signer sets may be disjoint", |c| {
            c.dangerous_disjoint_signers = true
        }),
    ];
    for (words, edit) in edits {
        assert!(warned(edit, words), "{words}");
        assert!(!warned(|_| (), words), "{words}");
    }
    assert!(warned(|_| (), "one failure domain is enough"));
    assert!(!warned(soft, "one failure domain is enough"));
    // Two governors, both of whom must sign.
    assert!(warned(|_| (), "`governor_quorum` asks for 2"));
    assert!(!warned(
        |c| c.governor_quorum = 1,
        "`governor_quorum` asks for"
    ));
}

#[test]
fn a_recovery_is_planned_like_everything_else() {
    let with = |quorum, days: u64| {
        let mut charter = base();
        charter.governor_quorum = 1;
        let extra = ["o1", "o2", "o3", "w"].into_iter().zip(81u8..);
        for (id, seed) in extra {
            let role = if id == "w" { "watcher" } else { "officer" };
            charter.principals.push(crate::Principal {
                credentials: vec![identity(seed).public()],
                ..principal(id, &[role])
            });
        }
        charter.recovery = (quorum > 0).then(|| Recovery {
            quorum,
            role: "officer".parse().unwrap(),
            delay_ms: days * 24 * HOUR_MS,
        });
        charter.check().unwrap()
    };
    let words = |old: &Constitution, new: &Constitution| plan(old, new, NOW).to_string();
    let (none, two, three) = (with(0, 0), with(2, 14), with(3, 7));
    assert!(words(&none, &two).contains("+ loosens: 2 of `officer`"));
    assert!(words(&two, &none).contains("- tightens: nobody can"));
    assert!(words(&two, &three).contains("- tightens: how many recover: 2 → 3"));
    assert!(words(&two, &three).contains("+ loosens: how long a recovery waits: 14 d → 7 d"));
}

#[test]
fn grants_are_a_tree() {
    let mut charter = base();
    let mut add = |id: &str, from: &str, seed| {
        charter.principals.push(crate::Principal {
            credentials: vec![identity(seed).public()],
            granted_by: Some(from.parse().unwrap()),
            ..principal(id, &["desk"])
        });
    };
    add("sub-2", "sub-1", 91);
    add("sub-1", "bot", 92);
    let lines = grants(&charter);
    let shape: Vec<_> = lines
        .iter()
        .map(|l| (l.depth, l.principal.as_str()))
        .collect();
    let wanted = [
        (0, "ann"),
        (0, "ben"),
        (0, "bot"),
        (1, "sub-1"),
        (2, "sub-2"),
        (0, "cid"),
    ];
    assert_eq!(shape, wanted);
    assert_eq!(lines[3].granted_by, Some("bot".parse().unwrap()));
    // A circle, which only an unchecked charter holds, is left out instead of followed.
    charter.principals[0].granted_by = Some("sub-2".parse().unwrap());
    assert_eq!(grants(&charter).len(), 3);
}

/// The bot's payment to the exchange, as a journal has it.
fn sample(constitution: &Constitution, value: u128) -> RecordedRequest {
    let ask = Ask::pay(constitution, 1, value);
    RecordedRequest {
        payload: ask.payload,
        stamp: ask.stamp,
        key: ask.key,
        first_seen: NOW,
        at: NOW.plus(HOUR_MS),
        approved_by: BTreeSet::new(),
        facts: FactView::default(),
    }
}

#[test]
fn the_effect_of_a_charter_is_the_requests_that_it_would_decide_otherwise() {
    let old = constitution(OPEN);
    let capped = constitution(
        r#"@id("small") permit (principal == Principal::"bot", action == Action::"transfer", resource)
        when { context.amount_micro <= 1000000 };
        @id("large") @approvals("1 of treasury")
        permit (principal == Principal::"bot", action == Action::"transfer", resource)
        when { context.amount_micro > 1000000 && context.amount_micro <= 5000000 };"#,
    );
    let samples = [1, 2, 9].map(|ether| sample(&old, ether * ETHER));
    let flips = effect(&old, &capped, &samples);
    let decided: Vec<_> = flips
        .iter()
        .map(|f| (f.before.name(), f.after.name()))
        .collect();
    assert_eq!(decided, [("permitted", "pending"), ("permitted", "denied")]);
    assert!(flips[0].summary.contains("2 ETH"), "{}", flips[0].summary);
    assert!(matches!(
        &flips[1].after,
        Decided::Denied {
            reason: DenialReason::NoPermit,
            rule: None
        }
    ));
    assert!(effect(&old, &old, &samples).is_empty());
    let back = effect(&capped, &old, &samples);
    assert_eq!(back[0].after.name(), "permitted");
    // Who approved then is taken to approve again; whoever asked still does not count.
    let mut approved = samples[1].clone();
    approved.approved_by = BTreeSet::from(["bot".parse().unwrap(), "cid".parse().unwrap()]);
    assert!(effect(&old, &capped, &[approved.clone()]).is_empty());
    approved.approved_by.remove(&"cid".parse().unwrap());
    assert_eq!(effect(&old, &capped, &[approved]).len(), 1);
    let json = serde_json::to_string(&flips).unwrap();
    assert_eq!(serde_json::from_str::<Vec<Flip>>(&json).unwrap(), flips);
}

#[test]
fn the_effect_sees_forbids_delays_facts_and_who_is_gone() {
    let old = constitution(OPEN);
    let after = |extra: &str| constitution(&format!("{OPEN}{extra}"));
    let name =
        |new: &Constitution, sample: &RecordedRequest| new.would_decide(sample).unwrap().name();
    let one = sample(&old, ETHER);
    let no = after(r#"@id("no") forbid (principal, action == Action::"transfer", resource);"#);
    let decided = no.would_decide(&one).unwrap();
    let (reason, rule) = (DenialReason::Forbidden, Some("no".parse().unwrap()));
    assert_eq!(decided, Decided::Denied { reason, rule });
    let slow = constitution(&OPEN.replace("@id(\"open\")", "@id(\"open\") @delay(\"2h\")"));
    assert_eq!(name(&slow, &one), "pending");
    let mut later = one.clone();
    later.at = NOW.plus(2 * HOUR_MS);
    assert_eq!(name(&slow, &later), "permitted");
    // A forbid that reads a fact forbids while it is unknown, and sees what was believed then.
    let poor = after(
        r#"@id("dear") forbid (principal, action == Action::"transfer", resource)
        when { context.value_usd_micro > 1000 };"#,
    );
    assert_eq!(name(&poor, &one), "denied");
    let mut priced = one.clone();
    priced.facts.value_usd_micro = Some(1000);
    assert_eq!(name(&poor, &priced), "permitted");
    let mut gone = charter(OPEN);
    gone.policies = gone
        .policies
        .replace("principal == Principal::\"bot\"", "principal");
    gone.principals.remove(0);
    let gone = gone.check().unwrap();
    assert_eq!(name(&gone, &one), "denied");
    let mut expired = one;
    expired.at = NOW.plus(1000 * HOUR_MS);
    assert_eq!(name(&old, &expired), "denied");
}
