//! Freezes, vetoes and receipts: who may state them, and what a set of them comes to.

use crate::fixtures::*;
use crate::{
    Constitution, FREEZES_PER_PRINCIPAL_MAX, Freeze, FreezeLevel, FreezeScope, FreezeSet,
    FreezeTarget, Notices, Obligations, REASON_BYTES_MAX, Receipt, StatementFault, Subject, Veto,
};
use proptest::prelude::*;
use quoin_core::cbor::Version;
use quoin_core::payload::Unfreeze;
use quoin_core::{ClusterId, FreezeId, PrincipalId, RequestId, Signed, TimeMs};

fn freeze(id: u8, principal: &str, scope: FreezeScope, level: FreezeLevel) -> Freeze {
    Freeze {
        version: Version,
        cluster: charter(OPEN).cluster_id(),
        id: FreezeId([id; 16]),
        principal: principal.parse().unwrap(),
        scope,
        level,
        at: NOW,
        reason: "a test".into(),
    }
}

fn accept(freeze: &Freeze, seed: u8, set: &FreezeSet) -> Result<Freeze, StatementFault> {
    let constitution = constitution(OPEN);
    let signed = Signed::sign(freeze.clone(), &identity(seed));
    constitution.accept_freeze(&signed, set, NOW).cloned()
}

fn all(id: u8) -> Freeze {
    freeze(id, "ann", FreezeScope::All, FreezeLevel::Hard)
}

#[test]
fn one_signature_of_one_who_may_freezes() {
    assert_eq!(accept(&all(1), 22, &FreezeSet::default()), Ok(all(1)));
}

#[test]
fn a_freeze_is_refused_with_the_field_at_fault() {
    type Spoil = fn(&mut Freeze);
    let spoils: [(&str, u8, Spoil); 8] = [
        ("`cluster`", 22, |f| f.cluster = ClusterId([7; 32])),
        ("does not know", 22, |f| {
            f.principal = "nobody".parse().unwrap()
        }),
        ("none of the roles", 21, |f| {
            f.principal = "bot".parse().unwrap()
        }),
        ("has not signed", 23, |_| ()),
        ("has not signed", 22, |f| {
            f.principal = "ben".parse().unwrap()
        }),
        ("`reason`", 22, |f| {
            f.reason = "x".repeat(REASON_BYTES_MAX + 1)
        }),
        ("`reason`", 22, |f| f.reason = "a\nb".into()),
        ("`reason`", 22, |f| f.reason = "\u{202e}".into()),
    ];
    for (word, seed, spoil) in spoils {
        let mut freeze = all(1);
        spoil(&mut freeze);
        let fault = accept(&freeze, seed, &FreezeSet::default()).unwrap_err();
        assert!(fault.to_string().contains(word), "{word}: {fault}");
    }
    let fits = Freeze {
        reason: "x".repeat(REASON_BYTES_MAX),
        ..all(1)
    };
    accept(&fits, 22, &FreezeSet::default()).unwrap();
}

#[test]
fn a_freeze_of_one_whose_grant_has_ended_is_refused() {
    let constitution = constitution(OPEN);
    let signed = Signed::sign(all(1), &identity(22));
    let set = FreezeSet::default();
    let end = constitution.charter().principals[1].expires;
    let fault = constitution.accept_freeze(&signed, &set, end).unwrap_err();
    assert_eq!(fault, StatementFault::GrantEnded("ann".parse().unwrap()));
}

#[test]
fn a_principal_has_so_many_freezes_in_force_and_no_more() {
    let mut set = FreezeSet::default();
    for id in 0..FREEZES_PER_PRINCIPAL_MAX {
        let freeze = accept(&all(u8::try_from(id).unwrap()), 22, &set).unwrap();
        assert!(set.insert(freeze));
    }
    let fault = accept(&all(200), 22, &set).unwrap_err();
    assert!(matches!(fault, StatementFault::TooMany { .. }));
    // One that is known passes, others' are not counted, and lifting makes room.
    accept(&all(0), 22, &set).unwrap();
    let other = freeze(201, "ben", FreezeScope::All, FreezeLevel::Risk);
    accept(&other, 23, &set).unwrap();
    set.lift(&unfreeze(&[3], &[]));
    accept(&all(200), 22, &set).unwrap();
    assert_eq!(
        set.count_of(&"ann".parse().unwrap()),
        FREEZES_PER_PRINCIPAL_MAX - 1
    );
}

#[test]
fn a_suspended_principal_freezes_no_more() {
    let mut set = FreezeSet::default();
    set.insert(all(1));
    set.lift(&unfreeze(&[], &["ann"]));
    assert_eq!(set.in_force().count(), 0);
    let fault = accept(&all(2), 22, &set).unwrap_err();
    assert_eq!(fault, StatementFault::Suspended("ann".parse().unwrap()));
    assert!(!set.insert(all(2)));
    assert_eq!(set.in_force().count(), 0);
}

#[test]
fn a_freeze_that_was_lifted_before_it_came_stays_lifted() {
    let mut set = FreezeSet::default();
    set.lift(&unfreeze(&[1], &[]));
    let digest = set.digest();
    assert!(!set.insert(all(1)));
    assert_eq!((set.in_force().count(), set.digest()), (0, digest));
}

#[test]
fn a_second_freeze_under_one_id_does_not_replace_the_first() {
    let weak = freeze(
        1,
        "ben",
        FreezeScope::Chain("quoin".parse().unwrap()),
        FreezeLevel::Risk,
    );
    let (mut one, mut two) = (FreezeSet::default(), FreezeSet::default());
    for freeze in [all(1), weak.clone()] {
        one.insert(freeze);
    }
    for freeze in [weak, all(1)] {
        two.insert(freeze);
    }
    assert_eq!(one, two);
    assert_eq!(
        one.covering(&target("bot")).unwrap().level,
        FreezeLevel::Hard
    );
    one.lift(&unfreeze(&[1], &[]));
    assert_eq!(one.in_force().count(), 0);
}

fn unfreeze(ids: &[u8], suspends: &[&str]) -> Unfreeze {
    Unfreeze {
        lifts: ids.iter().map(|id| FreezeId([*id; 16])).collect(),
        suspends: suspends.iter().map(|p| p.parse().unwrap()).collect(),
    }
}

fn target(principal: &str) -> FreezeTarget<'static> {
    let principal: Box<PrincipalId> = Box::new(principal.parse().unwrap());
    FreezeTarget {
        principal: Box::leak(principal),
        roles: &[],
        key: None,
        counterparty: None,
        token: None,
        from: None,
        chain: &quoin_core::ChainId::Quoin,
    }
}

#[test]
fn the_strictest_freeze_that_covers_comes_first() {
    let (hard, risk) = (FreezeLevel::Hard, FreezeLevel::Risk);
    let bot = FreezeScope::Principal("bot".parse().unwrap());
    let mut set = FreezeSet::default();
    let mut strictest = |freeze: Freeze| {
        set.insert(freeze);
        set.covering(&target("bot")).map(|f| f.id.0[0])
    };
    assert_eq!(
        strictest(freeze(
            9,
            "ann",
            FreezeScope::Key("hot".parse().unwrap()),
            hard
        )),
        None
    );
    assert_eq!(strictest(freeze(8, "ann", FreezeScope::All, risk)), Some(8));
    assert_eq!(strictest(freeze(2, "ann", bot, risk)), Some(2));
    assert_eq!(strictest(freeze(7, "ann", FreezeScope::All, risk)), Some(2));
    assert_eq!(strictest(freeze(1, "ann", FreezeScope::All, hard)), Some(1));
}

#[test]
fn a_scope_covers_what_it_names_and_nothing_else() {
    let (hot, cold) = ("hot".parse().unwrap(), "cold".parse().unwrap());
    let (bot, ann) = ("bot".parse().unwrap(), "ann".parse().unwrap());
    let roles = ["desk".parse().unwrap()];
    let (here, there) = (account().chain, quoin_core::ChainId::Quoin);
    let (to, other) = (exchange(), stranger());
    let target = FreezeTarget {
        principal: &bot,
        roles: &roles,
        key: Some(&hot),
        counterparty: Some(&to),
        token: None,
        from: None,
        chain: &here,
    };
    let covered = [
        FreezeScope::All,
        FreezeScope::Key(hot.clone()),
        FreezeScope::Role(roles[0].clone()),
        FreezeScope::Principal(bot.clone()),
        FreezeScope::Counterparty(to.clone()),
        FreezeScope::Chain(here.clone()),
    ];
    assert!(covered.iter().all(|scope| scope.covers(&target)));
    let others = [
        FreezeScope::Key(cold),
        FreezeScope::Role("risk".parse().unwrap()),
        FreezeScope::Principal(ann),
        FreezeScope::Counterparty(other),
        FreezeScope::Chain(there),
    ];
    assert!(others.iter().all(|scope| !scope.covers(&target)));
}

#[test]
fn a_freeze_of_an_address_covers_the_token_that_moves_and_whose_it_is() {
    let (constitution, token) = (constitution(OPEN), stranger());
    let (bot, roles) = ("bot".parse().unwrap(), ["desk".parse().unwrap()]);
    let mut tx = Tx::pay(1, &token, 0);
    // `transferFrom` of 0xbb… to the exchange.
    tx.data = hex::decode("23b872dd").unwrap();
    for address in [[0xbb; 20], [0xee; 20]] {
        tx.data.extend([0; 12]);
        tx.data.extend(address);
    }
    tx.data.extend(quoin_core::Amount::from(5u64).to_be_bytes());
    let decoded = Ask::new(&constitution, 1, tx.payload()).decoded();
    let target = FreezeTarget::of((&bot, &roles), None, decoded.intent());
    for involved in [token, exchange(), quoin_core::Address::evm([0xbb; 20])] {
        assert!(FreezeScope::Counterparty(involved).covers(&target));
    }
    assert!(!FreezeScope::Counterparty(own_address()).covers(&target));
}

/// Something that a node learns of freezes.
#[derive(Clone, Debug)]
enum Learnt {
    Freeze(Freeze),
    Unfreeze(Unfreeze),
}

fn learnt() -> impl Strategy<Value = Learnt> {
    let who = prop::sample::select(vec!["ann", "ben", "cid"]);
    let level = prop::sample::select(vec![FreezeLevel::Risk, FreezeLevel::Hard]);
    let scope = prop::sample::select(vec![
        FreezeScope::All,
        FreezeScope::Chain("quoin".parse().unwrap()),
    ]);
    let freezes = (0..6u8, who.clone(), scope, level)
        .prop_map(|(id, who, scope, level)| Learnt::Freeze(freeze(id, who, scope, level)));
    let lifts = (0..6u8).prop_map(|id| Learnt::Unfreeze(unfreeze(&[id], &[])));
    let suspends = who.prop_map(|who| Learnt::Unfreeze(unfreeze(&[], &[who])));
    prop_oneof![6 => freezes, 2 => lifts, 1 => suspends]
}

fn set_of<'a>(all: impl IntoIterator<Item = &'a Learnt>) -> FreezeSet {
    let mut set = FreezeSet::default();
    for one in all {
        match one {
            Learnt::Freeze(freeze) => drop(set.insert(freeze.clone())),
            Learnt::Unfreeze(unfreeze) => set.lift(unfreeze),
        }
    }
    set
}

proptest! {
    #[test]
    fn what_a_node_knows_of_freezes_does_not_depend_on_the_order(
        (all, shuffled) in prop::collection::vec(learnt(), 0..24)
            .prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
        cut in 0..24usize,
    ) {
        let set = set_of(&all);
        prop_assert_eq!(&set, &set_of(&shuffled));
        prop_assert_eq!(&set, &set_of(all.iter().chain(&shuffled)));
        let (left, right) = shuffled.split_at(cut.min(shuffled.len()));
        let (left, right) = (set_of(left), set_of(right));
        for (mut one, other) in [(left.clone(), right.clone()), (right, left)] {
            one.join(&other);
            one.join(&other);
            prop_assert_eq!(&one, &set);
            prop_assert_eq!(one.digest(), set.digest());
        }
    }

    #[test]
    fn what_is_in_force_is_what_was_neither_lifted_nor_said_by_a_suspended(
        all in prop::collection::vec(learnt(), 0..24),
    ) {
        let set = set_of(&all);
        for one in &all {
            let Learnt::Freeze(freeze) = one else { continue };
            let over = all.iter().any(|other| matches!(other, Learnt::Unfreeze(u)
                if u.lifts.contains(&freeze.id) || u.suspends.contains(&freeze.principal)));
            prop_assert_eq!(set.in_force().any(|f| f == freeze), !over);
            prop_assert!(set.knows(freeze));
        }
        prop_assert_eq!(set.in_force().count() == 0, set.covering(&target("x")).is_none());
    }

    #[test]
    fn two_sets_have_one_digest_if_and_only_if_they_are_equal(
        one in prop::collection::vec(learnt(), 0..6),
        two in prop::collection::vec(learnt(), 0..6),
    ) {
        let (one, two) = (set_of(&one), set_of(&two));
        prop_assert_eq!(one == two, one.digest() == two.digest());
    }
}

const APPROVED: &str = r#"
@id("paid") @approvals("1 of risk")
permit (principal, action == Action::"transfer", resource);"#;

fn subject() -> Subject {
    Subject::Request(RequestId([1; 16]))
}

fn veto_of(constitution: &Constitution, principal: &str) -> Veto {
    Veto {
        version: Version,
        cluster: constitution.cluster(),
        subject: subject(),
        principal: principal.parse().unwrap(),
        at: NOW,
    }
}

/// What becomes of a veto and of a receipt of one principal, signed by a seed.
fn accepted(
    constitution: &Constitution,
    principal: &str,
    seed: u8,
    now: TimeMs,
) -> [Result<(), StatementFault>; 2] {
    let veto = veto_of(constitution, principal);
    let receipt = Receipt {
        version: Version,
        cluster: veto.cluster,
        subject: veto.subject,
        principal: veto.principal.clone(),
        at: NOW,
    };
    let veto = Signed::sign(veto, &identity(seed));
    let receipt = Signed::sign(receipt, &identity(seed));
    [
        constitution.accept_veto(&veto, now).map(drop),
        constitution.accept_receipt(&receipt, now).map(drop),
    ]
}

#[test]
fn vetoes_and_receipts_are_of_principals_who_signed_them_in_time() {
    let constitution = constitution(APPROVED);
    assert_eq!(accepted(&constitution, "ann", 22, NOW), [Ok(()), Ok(())]);
    let ended = constitution.charter().principals[1].expires;
    let ann: PrincipalId = "ann".parse().unwrap();
    let cases = [
        ("ann", 23, NOW, StatementFault::NotSigned(ann.clone())),
        ("ann", 22, ended, StatementFault::GrantEnded(ann)),
        (
            "who",
            22,
            NOW,
            StatementFault::UnknownPrincipal("who".parse().unwrap()),
        ),
    ];
    for (principal, seed, now, fault) in cases {
        let found = accepted(&constitution, principal, seed, now);
        assert_eq!(found, [Err(fault.clone()), Err(fault)]);
    }
    let mut elsewhere = charter(APPROVED);
    elsewhere.name = "elsewhere".into();
    let elsewhere = elsewhere.check().unwrap();
    let veto = Signed::sign(veto_of(&elsewhere, "ann"), &identity(22));
    let fault = constitution.accept_veto(&veto, NOW).unwrap_err();
    assert_eq!(fault, StatementFault::WrongCluster(elsewhere.cluster()));
}

#[test]
fn a_veto_is_of_one_who_may_veto_something() {
    let asked = constitution(APPROVED);
    // Cid holds `risk`, of which a policy asks an approval; the bot holds nothing of the kind.
    assert_eq!(accepted(&asked, "cid", 24, NOW)[0], Ok(()));
    let [veto, receipt] = accepted(&asked, "bot", 21, NOW);
    assert!(matches!(veto, Err(StatementFault::NoRole { .. })));
    assert_eq!(receipt, Ok(()));
    let plain = constitution(OPEN);
    let [veto, _] = accepted(&plain, "cid", 24, NOW);
    assert!(matches!(veto, Err(StatementFault::NoRole { .. })));
}

#[test]
fn a_veto_counts_for_what_its_principal_may_veto() {
    let constitution = constitution(APPROVED);
    let mut notices = Notices::default();
    for who in ["cid", "bot", "gone"] {
        notices.veto(subject(), who.parse().unwrap(), []);
    }
    let asked = constitution.rules.obligations(&["paid".parse().unwrap()]);
    let cid: PrincipalId = "cid".parse().unwrap();
    assert_eq!(constitution.vetoed_by(&notices, &subject(), &asked), [cid]);
    let none = Obligations::default();
    assert!(
        constitution
            .vetoed_by(&notices, &subject(), &none)
            .is_empty()
    );
    notices.veto(subject(), "ben".parse().unwrap(), []);
    assert_eq!(constitution.vetoed_by(&notices, &subject(), &none).len(), 1);
    let other = Subject::Request(RequestId([2; 16]));
    assert!(constitution.vetoed_by(&notices, &other, &asked).is_empty());
}

#[test]
fn the_first_receipt_of_a_principal_counts() {
    let mut notices = Notices::default();
    let ann: PrincipalId = "ann".parse().unwrap();
    assert!(notices.receipt(subject(), ann.clone(), NOW));
    assert!(!notices.receipt(subject(), ann.clone(), NOW.plus(1)));
    let seen: Vec<_> = notices.receipts(&subject()).collect();
    assert_eq!(seen, [(&ann, NOW)]);
    notices.forget(&subject());
    assert_eq!(notices.receipts(&subject()).count(), 0);
}
