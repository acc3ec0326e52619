//! What stops a request before any policy is asked: freezes, a node that is cut off, vetoes, keys
//! that may only receive, addresses that are too new.

use crate::budget::{Measure, Scope};
use crate::fixtures::*;
use crate::{
    BookEntry, BookKind, Calm, Conditions, Constitution, Denial, DenialReason, Freeze, FreezeLevel,
    FreezeScope, FreezeSet, Judgement, KeyGrant, Ledger, Notices, Subject, Unmet,
};
use quoin_core::cbor::Version;
use quoin_core::{Address, ChainId, CharterNumber, FreezeId, Purpose, TimeMs};

/// Everything of the bot, and in the corridor too.
const WIDE: &str = r#"
@id("all")
permit (principal, action, resource);
@id("ceremonies")
permit (principal, action in [Action::"create_key", Action::"change_key"], resource);
@id("ways-out") @corridor
permit (principal == Principal::"bot", action == Action::"transfer", resource);
"#;

fn margin() -> Address {
    Address::evm([0x77; 20])
}

fn wide() -> Constitution {
    let mut charter = charter(WIDE);
    charter.budgets = vec![
        budget("out", Scope::Corridor, Measure::Count, 4),
        budget(
            "ether-out",
            Scope::Corridor,
            Measure::Asset(native()),
            ETHER,
        ),
    ];
    charter.book.push(BookEntry {
        name: "venue".parse().unwrap(),
        chain: account().chain,
        address: margin(),
        assets: Vec::new(),
        kind: BookKind::Margin,
    });
    charter.check().unwrap()
}

fn frozen(scope: FreezeScope, level: FreezeLevel) -> FreezeSet {
    let mut set = FreezeSet::default();
    set.insert(Freeze {
        version: Version,
        cluster: wide().cluster(),
        id: FreezeId([5; 16]),
        principal: "ann".parse().unwrap(),
        scope,
        level,
        at: NOW,
        reason: "odd prices".to_owned(),
    });
    set
}

fn pay(constitution: &Constitution, id: u64) -> Ask {
    Ask::pay(constitution, id, 1)
}

fn cancel(constitution: &Constitution, id: u64) -> Ask {
    Ask::new(constitution, id, Tx::pay(id, &own_address(), 0).payload())
}

fn top_up(constitution: &Constitution, id: u64) -> Ask {
    Ask::new(constitution, id, Tx::pay(id, &margin(), 5).payload())
}

fn judged(
    ask: &Ask,
    constitution: &Constitution,
    conditions: Conditions<'_>,
) -> Result<crate::Warrant, Denial> {
    match constitution.judge(ask.request(conditions), &mut Ledger::new()) {
        Judgement::Permitted(warrant) => Ok(warrant),
        Judgement::Denied(denial) => Err(denial),
        Judgement::Pending(pending) => panic!("{pending:?}"),
    }
}

fn refused(
    ask: &Ask,
    constitution: &Constitution,
    conditions: Conditions<'_>,
) -> Option<DenialReason> {
    let judged = judged(ask, constitution, conditions);
    judged.err().map(|denial| denial.reason)
}

fn every_scope() -> Vec<FreezeScope> {
    vec![
        FreezeScope::All,
        FreezeScope::Key("hot".parse().unwrap()),
        FreezeScope::Role("desk".parse().unwrap()),
        FreezeScope::Counterparty(exchange()),
        FreezeScope::Chain(account().chain),
    ]
}

#[test]
fn a_hard_freeze_stops_everything_in_its_scope_and_is_named() {
    let (constitution, calm) = (wide(), Calm::default());
    let mut scopes = every_scope();
    scopes.push(FreezeScope::Principal("bot".parse().unwrap()));
    for scope in scopes {
        let freezes = frozen(scope.clone(), FreezeLevel::Hard);
        let conditions = Conditions {
            freezes: &freezes,
            ..calm.conditions()
        };
        let denial = judged(&pay(&constitution, 1), &constitution, conditions).unwrap_err();
        assert_eq!(denial.reason, DenialReason::Frozen, "{scope:?}");
        let id = FreezeId([5; 16]).to_string();
        for part in ["`ann`", "odd prices", id.as_str()] {
            assert!(denial.message.contains(part), "{part}: {}", denial.message);
        }
    }
    let freezes = frozen(FreezeScope::All, FreezeLevel::Hard);
    let conditions = Conditions {
        freezes: &freezes,
        ..calm.conditions()
    };
    for ask in [cancel(&constitution, 1), top_up(&constitution, 1)] {
        let reason = refused(&ask, &constitution, conditions);
        assert_eq!(reason, Some(DenialReason::Frozen));
    }
}

#[test]
fn a_freeze_of_something_else_stops_nothing() {
    let (constitution, calm) = (wide(), Calm::default());
    for scope in [
        FreezeScope::Key("cold".parse().unwrap()),
        FreezeScope::Role("treasury".parse().unwrap()),
        FreezeScope::Principal("ann".parse().unwrap()),
        FreezeScope::Counterparty(stranger()),
        FreezeScope::Chain(ChainId::Evm(1)),
    ] {
        let freezes = frozen(scope.clone(), FreezeLevel::Hard);
        let conditions = Conditions {
            freezes: &freezes,
            ..calm.conditions()
        };
        let found = refused(&pay(&constitution, 1), &constitution, conditions);
        assert_eq!(found, None, "{scope:?}");
    }
}

/// The ways to be left with the corridor only, and the reason that is given.
fn narrow(check: impl Fn(Conditions<'_>, DenialReason)) {
    let calm = Calm::default();
    for scope in every_scope() {
        let freezes = frozen(scope, FreezeLevel::Risk);
        let conditions = Conditions {
            freezes: &freezes,
            ..calm.conditions()
        };
        check(conditions, DenialReason::Frozen);
    }
    for (lease, clock) in [(false, true), (true, false)] {
        let conditions = Conditions {
            lease,
            clock,
            ..calm.conditions()
        };
        check(conditions, DenialReason::CorridorOnly);
    }
}

#[test]
fn without_lease_or_clock_or_under_a_risk_freeze_only_what_reduces_risk_is_signed() {
    let constitution = wide();
    narrow(|conditions, reason| {
        let found = refused(&pay(&constitution, 1), &constitution, conditions);
        assert_eq!(found, Some(reason));
        let text = Ask::new(
            &constitution,
            1,
            quoin_core::Payload::EvmMessage(b"hello".to_vec()),
        );
        // A freeze of a counterparty is not about a text, which then is free.
        let found = refused(&text, &constitution, conditions);
        assert!(found == Some(reason) || found.is_none());
        for ask in [cancel(&constitution, 1), top_up(&constitution, 1)] {
            let warrant = judged(&ask, &constitution, conditions).unwrap();
            let open = conditions.lease && conditions.clock;
            // It costs the corridor's own budgets.
            if !open {
                assert_eq!(warrant.charges().len(), 2);
            }
        }
    });
}

#[test]
fn the_corridor_has_a_budget_of_its_own() {
    let (constitution, calm) = (wide(), Calm::default());
    let cut = Conditions {
        lease: false,
        ..calm.conditions()
    };
    let mut ledger = Ledger::new();
    let mut outcome = |id, conditions| {
        let ask = cancel(&constitution, id);
        match constitution.judge(ask.request(conditions), &mut ledger) {
            Judgement::Permitted(warrant) => Ok(warrant.charges().len()),
            Judgement::Denied(denial) => Err((denial.reason, denial.rule)),
            Judgement::Pending(pending) => panic!("{pending:?}"),
        }
    };
    // Outside of it nothing is charged, and inside this node's part of four is two.
    assert_eq!(outcome(1, calm.conditions()), Ok(0));
    assert_eq!(outcome(2, cut), Ok(2));
    assert_eq!(outcome(3, cut), Ok(2));
    let full = Some("out".parse().unwrap());
    assert_eq!(outcome(4, cut), Err((DenialReason::OverBudget, full)));
    assert_eq!(outcome(5, calm.conditions()), Ok(0));
}

#[test]
fn a_permit_that_is_not_for_the_corridor_does_not_count_in_it() {
    let mut charter = charter(&WIDE.replace(" @corridor", ""));
    charter.budgets = vec![budget("out", Scope::Corridor, Measure::Count, 4)];
    let constitution = charter.check().unwrap();
    let calm = Calm::default();
    let cut = Conditions {
        lease: false,
        ..calm.conditions()
    };
    let found = refused(&cancel(&constitution, 1), &constitution, cut);
    assert_eq!(found, Some(DenialReason::CorridorOnly));
}

#[test]
fn the_corridor_takes_no_demand_of_another_permit_away() {
    let mut charter = wide().charter().clone();
    charter.policies.push_str(
        "@id(\"reviewed\") @approvals(\"1 of treasury\")\n\
         permit (principal, action == Action::\"transfer\", resource);",
    );
    let constitution = charter.check().unwrap();
    let calm = Calm::default();
    for lease in [true, false] {
        let conditions = Conditions {
            lease,
            ..calm.conditions()
        };
        let ask = top_up(&constitution, 1);
        let judged = constitution.judge(ask.request(conditions), &mut Ledger::new());
        let Judgement::Pending(pending) = judged else {
            panic!("{judged:?}");
        };
        assert_eq!(pending.unmet.len(), 1);
    }
}

#[test]
fn a_frozen_principal_makes_no_keys_and_approves_nothing() {
    let (constitution, calm) = (wide(), Calm::default());
    let of = |who: &str| {
        frozen(
            FreezeScope::Principal(who.parse().unwrap()),
            FreezeLevel::Risk,
        )
    };
    let (bot, cid) = (of("bot"), of("cid"));
    let frozen = |freezes| Conditions {
        freezes,
        ..calm.conditions()
    };
    let create = Ask::create(&constitution, 1);
    let found = refused(&create, &constitution, frozen(&bot));
    assert_eq!(found, Some(DenialReason::Frozen));
    assert_eq!(refused(&create, &constitution, frozen(&cid)), None);
    let text = "@id(\"pay\") @approvals(\"1 of treasury\")\n\
                permit (principal, action == Action::\"transfer\", resource);";
    let constitution = crate::fixtures::constitution(text);
    let mut ask = pay(&constitution, 1);
    ask.approve(&constitution, "cid");
    let judged = constitution.judge(ask.request(frozen(&cid)), &mut Ledger::new());
    let Judgement::Pending(pending) = judged else {
        panic!("{judged:?}");
    };
    assert_eq!(pending.ignored[0].fault, crate::ApprovalFault::Frozen);
    let mut ask = pay(&constitution, 1);
    ask.approve(&constitution, "ann");
    let judged = constitution.judge(ask.request(frozen(&cid)), &mut Ledger::new());
    assert!(matches!(judged, Judgement::Permitted(_)));
}

#[test]
fn a_frozen_principal_may_ask_to_lift_freezes_and_approve_that() {
    let text = "@id(\"thaw\") @approvals(\"1 of treasury\")\n\
                permit (principal, action == Action::\"unfreeze\", resource);";
    let (constitution, calm) = (constitution(text), Calm::default());
    for who in ["bot", "cid"] {
        let scope = FreezeScope::Principal(who.parse().unwrap());
        let freezes = frozen(scope, FreezeLevel::Hard);
        let conditions = Conditions {
            freezes: &freezes,
            ..calm.conditions()
        };
        let unfreeze = quoin_core::payload::Unfreeze {
            lifts: vec![FreezeId([5; 16])],
            suspends: Vec::new(),
        };
        let payload = quoin_core::Payload::Unfreeze(unfreeze);
        let mut ask = Ask::create(&constitution, 1);
        ask.stamp.payload_hash = payload.hash();
        ask.payload = payload;
        ask.stamp.account.address = crate::CLUSTER_ACCOUNT.parse().unwrap();
        ask.approve(&constitution, "cid");
        let judged = constitution.judge(ask.request(conditions), &mut Ledger::new());
        assert!(matches!(judged, Judgement::Permitted(_)), "{judged:?}");
    }
}

#[test]
fn a_frozen_principal_has_no_corridor() {
    let (constitution, calm) = (wide(), Calm::default());
    let freezes = frozen(
        FreezeScope::Principal("bot".parse().unwrap()),
        FreezeLevel::Risk,
    );
    let conditions = Conditions {
        freezes: &freezes,
        ..calm.conditions()
    };
    for ask in [
        cancel(&constitution, 1),
        top_up(&constitution, 1),
        pay(&constitution, 1),
    ] {
        let found = refused(&ask, &constitution, conditions);
        assert_eq!(found, Some(DenialReason::Frozen));
    }
}

#[test]
fn without_a_lease_a_treasury_key_signs_nothing() {
    let (constitution, calm) = (wide(), Calm::default());
    let treasury = || {
        let mut ask = cancel(&constitution, 1);
        ask.stamp.purpose = Purpose::Treasury;
        ask.key.as_mut().unwrap().purpose = Purpose::Treasury;
        ask
    };
    let cut = Conditions {
        lease: false,
        ..calm.conditions()
    };
    let found = refused(&treasury(), &constitution, cut);
    assert_eq!(found, Some(DenialReason::CorridorOnly));
    let slow = Conditions {
        clock: false,
        ..calm.conditions()
    };
    assert_eq!(refused(&treasury(), &constitution, slow), None);
}

#[test]
fn only_ones_own_registered_margin_account_is_topped_up() {
    let calm = Calm::default();
    let cut = Conditions {
        lease: false,
        ..calm.conditions()
    };
    let other_asset = |b: &mut BookEntry| {
        let token = format!("eip155:{CHAIN}/token:{}", stranger());
        b.assets = vec![token.parse().unwrap()];
    };
    type Change<'a> = &'a dyn Fn(&mut BookEntry);
    let changes: [Change<'_>; 2] = [&|b| b.kind = BookKind::Counterparty, &other_asset];
    for change in changes {
        let mut charter = wide().charter().clone();
        charter.assets.push(crate::Asset {
            asset: format!("eip155:{CHAIN}/token:{}", stranger())
                .parse()
                .unwrap(),
            symbol: "USD".into(),
            decimals: 6,
        });
        change(&mut charter.book[1]);
        let constitution = charter.check().unwrap();
        let found = refused(&top_up(&constitution, 1), &constitution, cut);
        assert_eq!(found, Some(DenialReason::CorridorOnly));
    }
}

#[test]
fn governance_goes_on_while_signing_stops() {
    let (constitution, calm) = (wide(), Calm::default());
    let freezes = frozen(FreezeScope::All, FreezeLevel::Hard);
    let conditions = Conditions {
        freezes: &freezes,
        lease: false,
        clock: false,
        ..calm.conditions()
    };
    let found = refused(&Ask::create(&constitution, 1), &constitution, conditions);
    assert_eq!(found, None);
}

fn vetoed_by(principal: &str) -> Notices {
    let mut notices = Notices::default();
    let id = pay(&wide(), 1).stamp.request_id;
    notices.veto(Subject::Request(id), principal.parse().unwrap(), []);
    notices
}

#[test]
fn a_veto_of_somebody_with_a_right_to_it_ends_the_request() {
    let (constitution, calm) = (wide(), Calm::default());
    let vetoed = |who: &str, ask: &Ask| {
        let notices = vetoed_by(who);
        let conditions = Conditions {
            notices: &notices,
            ..calm.conditions()
        };
        refused(ask, &constitution, conditions)
    };
    let ask = pay(&constitution, 1);
    assert_eq!(vetoed("ann", &ask), Some(DenialReason::Vetoed));
    // A charter that came later may have taken the author away, or the role: the veto stays.
    for who in ["cid", "eve"] {
        let mut notices = Notices::default();
        let subject = Subject::Request(ask.stamp.request_id);
        let watched = ["watcher".parse().unwrap()];
        notices.veto(subject, who.parse().unwrap(), watched);
        let conditions = Conditions {
            notices: &notices,
            ..calm.conditions()
        };
        let found = refused(&ask, &constitution, conditions);
        assert_eq!(found, Some(DenialReason::Vetoed));
    }
    // Without a right to it, or unknown, it is nothing; nor is it for another request.
    assert_eq!(vetoed("cid", &ask), None);
    assert_eq!(vetoed("eve", &ask), None);
    assert_eq!(vetoed("ann", &pay(&constitution, 2)), None);
}

#[test]
fn whoever_is_asked_to_approve_may_veto_instead_and_beats_all_approvals() {
    let text = "@id(\"pay\") @approvals(\"1 of treasury\")\n\
                permit (principal, action == Action::\"transfer\", resource);";
    let constitution = constitution(text);
    let mut ask = pay(&constitution, 1);
    ask.approve(&constitution, "ann");
    let calm = Calm::default();
    assert_eq!(refused(&ask, &constitution, calm.conditions()), None);
    let notices = vetoed_by("cid");
    let conditions = Conditions {
        notices: &notices,
        ..calm.conditions()
    };
    let found = refused(&ask, &constitution, conditions);
    assert_eq!(found, Some(DenialReason::Vetoed));
}

fn pending(ask: &Ask, constitution: &Constitution, notices: &Notices) -> Vec<Unmet> {
    let calm = Calm::default();
    let conditions = Conditions {
        notices,
        ..calm.conditions()
    };
    match constitution.judge(ask.request(conditions), &mut Ledger::new()) {
        Judgement::Pending(pending) => pending.unmet,
        Judgement::Permitted(_) => Vec::new(),
        Judgement::Denied(denial) => panic!("{denial:?}"),
    }
}

#[test]
fn a_delay_with_a_notice_begins_with_the_receipt_of_the_role() {
    let text = "@id(\"slow\") @delay(\"1h\") @notice(\"treasury\")\n\
                permit (principal, action == Action::\"transfer\", resource);";
    let constitution = constitution(text);
    let subject = Subject::Request(pay(&constitution, 1).stamp.request_id);
    let mut notices = Notices::default();
    let late = NOW.plus(5 * HOUR_MS);
    let unseen = vec![Unmet::Notice {
        role: "treasury".parse().unwrap(),
    }];
    assert_eq!(
        pending(&pay(&constitution, 1).at(late), &constitution, &notices),
        unseen
    );
    // A receipt of somebody else is none of the role.
    notices.receipt(subject, "bot".parse().unwrap(), NOW);
    assert_eq!(
        pending(&pay(&constitution, 1).at(late), &constitution, &notices),
        unseen
    );
    let heard = NOW.plus(2 * HOUR_MS);
    notices.receipt(subject, "cid".parse().unwrap(), heard);
    let until = heard.plus(HOUR_MS);
    let before = pay(&constitution, 1).at(TimeMs(until.0 - 1));
    assert_eq!(
        pending(&before, &constitution, &notices),
        [Unmet::Delay { until }]
    );
    let after = pay(&constitution, 1).at(until);
    assert_eq!(pending(&after, &constitution, &notices), []);
}

#[test]
fn the_receipt_of_whoever_asks_or_of_the_same_operator_begins_no_delay() {
    let text = "@id(\"slow\") @delay(\"1h\") @notice(\"treasury\")\n\
                permit (principal, action == Action::\"transfer\", resource);";
    let mut charter = charter(text);
    charter.principals[0]
        .roles
        .push("treasury".parse().unwrap());
    charter.principals[0].operator = Some("one".into());
    charter.principals[3].operator = Some("one".into());
    let constitution = charter.check().unwrap();
    let subject = Subject::Request(pay(&constitution, 1).stamp.request_id);
    let mut notices = Notices::default();
    let late = pay(&constitution, 1).at(NOW.plus(5 * HOUR_MS));
    for own in ["bot", "cid"] {
        notices.receipt(subject, own.parse().unwrap(), NOW);
        let found = pending(&late, &constitution, &notices);
        assert!(matches!(found[..], [Unmet::Notice { .. }]), "{found:?}");
    }
    notices.receipt(subject, "ann".parse().unwrap(), NOW);
    assert_eq!(pending(&late, &constitution, &notices), []);
}

#[test]
fn the_delay_begins_with_the_later_of_first_sight_and_receipt() {
    let text = "@id(\"slow\") @delay(\"1h\") @notice(\"treasury\")\n\
                permit (principal, action == Action::\"transfer\", resource);";
    let constitution = constitution(text);
    let mut notices = Notices::default();
    let subject = Subject::Request(pay(&constitution, 1).stamp.request_id);
    notices.receipt(subject, "cid".parse().unwrap(), TimeMs(NOW.0 - HOUR_MS));
    let until = NOW.plus(HOUR_MS);
    assert_eq!(
        pending(&pay(&constitution, 1), &constitution, &notices),
        [Unmet::Delay { until }]
    );
}

#[test]
fn a_key_spends_only_when_the_charter_lists_it() {
    let mut charter = wide().charter().clone();
    charter.keys.clear();
    let constitution = charter.check().unwrap();
    let calm = Calm::default();
    let denial = judged(&pay(&constitution, 1), &constitution, calm.conditions()).unwrap_err();
    assert_eq!(denial.reason, DenialReason::DepositOnly);
    assert_eq!(denial.field.as_deref(), Some("key"));
    // Not even a cancel; but a text belongs to no chain.
    let found = refused(&cancel(&constitution, 1), &constitution, calm.conditions());
    assert_eq!(found, Some(DenialReason::DepositOnly));
    let mut text = Ask::new(&constitution, 1, quoin_core::Payload::Text("hello".into()));
    text.stamp.account.chain = ChainId::Quoin;
    text.stamp.account.address = key_facts().id.to_string().parse().unwrap();
    assert_eq!(refused(&text, &constitution, calm.conditions()), None);
}

#[test]
fn a_digest_key_is_no_account_unless_the_charter_says_so_in_so_many_words() {
    let calm = Calm::default();
    for (dangerous, wanted) in [(false, Some(DenialReason::DepositOnly)), (true, None)] {
        let mut charter = wide().charter().clone();
        charter.keys = vec![KeyGrant {
            key: "hot".parse().unwrap(),
            dangerous_digest_account: dangerous,
        }];
        let own = Scope::Key("hot".parse().unwrap());
        charter.budgets.push(budget("own", own, Measure::Count, 4));
        let constitution = charter.check().unwrap();
        let mut ask = pay(&constitution, 1);
        ask.stamp.purpose = Purpose::Digest;
        ask.key.as_mut().unwrap().purpose = Purpose::Digest;
        let found = refused(&ask, &constitution, calm.conditions());
        assert_eq!(found, wanted, "{dangerous}");
    }
}

#[test]
fn an_address_that_is_new_in_the_book_waits() {
    let genesis = certified(
        charter(WIDE.replace("@corridor", "").as_str()),
        &[1, 2, 3, seed_of("ann"), seed_of("ben")],
    );
    let (current, _) = crate::verify_genesis(&genesis).unwrap();
    let mut next = current.charter().clone();
    next.number = CharterNumber(1);
    next.cluster = Some(current.cluster());
    next.previous = Some(current.hash());
    next.cooling_off_ms = HOUR_MS;
    next.book.push(BookEntry {
        name: "fresh".parse().unwrap(),
        chain: account().chain,
        address: stranger(),
        assets: Vec::new(),
        kind: BookKind::Counterparty,
    });
    let signed = certified(next, &[seed_of("ann"), seed_of("ben")]);
    let constitution = crate::verify_successor(&current, &signed, NOW).unwrap();
    let calm = Calm::default();
    let to = |address: &Address, at| {
        let ask = Ask::new(&constitution, 1, Tx::pay(1, address, 1).payload()).at(at);
        judged(&ask, &constitution, calm.conditions())
    };
    let ready = NOW.plus(HOUR_MS);
    let early = to(&stranger(), TimeMs(ready.0 - 1)).unwrap_err();
    assert_eq!(early.reason, DenialReason::CoolingOff);
    for part in ["`fresh`", &ready.0.to_string()] {
        assert!(early.message.contains(part), "{part}: {}", early.message);
    }
    assert!(to(&stranger(), ready).is_ok());
    // What was there before, and what the book does not name, is not held up.
    assert!(to(&exchange(), NOW).is_ok());
    assert!(to(&margin(), NOW).is_ok());
}

#[test]
fn a_name_counts_only_for_the_assets_of_its_entry() {
    let named = "@id(\"named\") permit (principal, action == Action::\"transfer\", resource) \
                 when { context.to_name == \"exchange\" };";
    let calm = Calm::default();
    let token: quoin_core::AssetId = format!("eip155:{CHAIN}/token:{}", stranger())
        .parse()
        .unwrap();
    for (assets, wanted) in [
        (vec![], None),
        (vec![token.clone(), native()], None),
        (vec![token.clone()], Some(DenialReason::NoPermit)),
    ] {
        let mut charter = charter(named);
        charter.assets.push(crate::Asset {
            asset: token.clone(),
            symbol: "USD".into(),
            decimals: 6,
        });
        charter.book[0].assets = assets;
        let constitution = charter.check().unwrap();
        let found = refused(&pay(&constitution, 1), &constitution, calm.conditions());
        assert_eq!(found, wanted);
    }
}
