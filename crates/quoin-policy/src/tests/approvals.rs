//! Approvals and delays: what a permit demands first.

use crate::fixtures::*;
use crate::{Approval, ApprovalFault, Constitution, DenialReason, Ledger, Unmet, intent_hash};
use quoin_core::{ClusterId, CustodyMethod, IntentHash, Payload, Purpose, RequestId, Signed};

const TWO: &str = r#"
@id("big") @approvals("2 of treasury")
permit (principal, action == Action::"transfer", resource);
"#;

fn ask(constitution: &Constitution) -> Ask {
    Ask::pay(constitution, 1, ETHER)
}

#[test]
fn two_holders_of_the_role_are_enough() {
    let constitution = constitution(TWO);
    let mut ask = ask(&constitution);
    let pending = ask.pending(&constitution);
    assert_eq!(pending.rules, ["big".parse().unwrap()]);
    assert!(pending.summary.starts_with("transfer of 1 ETH"));
    ask.approve(&constitution, "ann");
    let given = vec!["ann".parse().unwrap()];
    let role = "treasury".parse().unwrap();
    let unmet = Unmet::Approvals {
        role,
        needed: 2,
        given,
    };
    assert_eq!(ask.pending(&constitution).unmet, [unmet]);
    ask.approve(&constitution, "cid");
    ask.permitted(&constitution, &mut Ledger::new());
}

#[test]
fn the_same_person_twice_is_one() {
    let constitution = constitution(TWO);
    let mut ask = ask(&constitution);
    ask.approve(&constitution, "ann");
    ask.approve(&constitution, "ann");
    assert_eq!(ask.pending(&constitution).unmet.len(), 1);
}

#[test]
fn a_pending_request_reserves_nothing() {
    let constitution = constitution(TWO);
    let ask = ask(&constitution);
    let mut ledger = Ledger::new();
    ask.judge(&constitution, &mut ledger);
    assert!(!ledger.holds(ask.stamp.request_id));
}

/// The fault of `ann`'s approval changed in one place and signed by `seed`.
fn fault(seed: u8, change: impl FnOnce(&mut Approval)) -> ApprovalFault {
    let constitution = constitution(TWO);
    let mut ask = ask(&constitution);
    let intent_hash = ask.pending(&constitution).intent_hash;
    let mut approval = ask.approval(&constitution, "ann", intent_hash);
    change(&mut approval);
    ask.approvals = vec![Signed::sign(approval, &identity(seed))];
    let pending = ask.pending(&constitution);
    assert!(matches!(&pending.unmet[..], [Unmet::Approvals { given, .. }] if given.is_empty()));
    pending.ignored[0].fault
}

macro_rules! ignores {
    ($($name:ident: $fault:ident by $seed:expr, $change:expr;)+) => {$(
        #[test]
        fn $name() {
            assert_eq!(fault($seed, $change), ApprovalFault::$fault);
        }
    )+};
}

ignores! {
    ignores_an_approval_for_another_cluster: WrongCluster by 22, |a| {
        a.cluster = ClusterId([1; 32]);
    };
    ignores_an_approval_of_another_intent: WrongIntent by 22, |a| {
        a.intent_hash = IntentHash([1; 32]);
    };
    ignores_an_approval_of_another_request: WrongIntent by 22, |a| {
        a.request_id = RequestId([1; 16]);
    };
    ignores_an_approval_that_has_lapsed: Expired by 22, |a| a.not_after = NOW;
    ignores_an_approval_of_a_stranger: UnknownPrincipal by 22, |a| {
        a.principal = "eve".parse().unwrap();
    };
    ignores_an_approval_signed_by_somebody_else: NotSigned by 23, |_| {};
    ignores_an_approval_in_somebody_elses_name: NotSigned by 22, |a| {
        a.principal = "ben".parse().unwrap();
    };
    ignores_an_approval_of_whoever_asks: Initiator by 21, |a| {
        a.principal = "bot".parse().unwrap();
    };
}

#[test]
fn ignores_a_forged_signature_of_the_right_credential() {
    let constitution = constitution(TWO);
    let mut ask = ask(&constitution);
    ask.approve(&constitution, "ann");
    let mut bytes = ask.approvals[0].to_bytes();
    *bytes.last_mut().unwrap() ^= 1;
    ask.approvals = vec![Signed::from_bytes(&bytes).unwrap()];
    let pending = ask.pending(&constitution);
    assert_eq!(pending.ignored[0].fault, ApprovalFault::NotSigned);
}

#[test]
fn whoever_asks_never_counts_even_with_the_role() {
    let mut charter = charter(TWO);
    charter.principals[0]
        .roles
        .push("treasury".parse().unwrap());
    let constitution = charter.check().unwrap();
    let mut ask = ask(&constitution);
    ask.approve(&constitution, "bot");
    ask.approve(&constitution, "ann");
    let pending = ask.pending(&constitution);
    assert_eq!(pending.ignored[0].fault, ApprovalFault::Initiator);
}

#[test]
fn ignores_an_approver_without_the_role_or_whose_grant_has_ended() {
    let risk = TWO.replace("2 of treasury", "1 of risk");
    let constitution = constitution(&risk);
    let mut ask = ask(&constitution);
    ask.approve(&constitution, "ann");
    assert_eq!(
        ask.pending(&constitution).ignored[0].fault,
        ApprovalFault::NoRole
    );

    let mut charter = charter(TWO);
    charter.principals[1].expires = NOW;
    let constitution = charter.check().unwrap();
    let mut ask = Ask::pay(&constitution, 1, ETHER);
    ask.approve(&constitution, "ann");
    let pending = ask.pending(&constitution);
    assert_eq!(pending.ignored[0].fault, ApprovalFault::PrincipalExpired);
}

#[test]
fn more_approvals_than_are_looked_at_are_refused() {
    let constitution = constitution(TWO);
    let mut ask = ask(&constitution);
    ask.approve(&constitution, "ann");
    ask.approvals = vec![ask.approvals[0].clone(); crate::APPROVALS_MAX + 1];
    let denial = ask.denied(&constitution, &mut Ledger::new());
    assert_eq!(denial.reason, DenialReason::TooManyApprovals);
}

#[test]
fn a_delay_counts_from_the_first_sight() {
    let constitution =
        constitution(&TWO.replace("@approvals(\"2 of treasury\")", "@delay(\"2h\")"));
    let ask = ask(&constitution);
    let until = NOW.plus(2 * HOUR_MS);
    assert_eq!(ask.pending(&constitution).unmet, [Unmet::Delay { until }]);
    let early = Ask::pay(&constitution, 1, ETHER).at(NOW.plus(2 * HOUR_MS - 1));
    assert_eq!(early.pending(&constitution).unmet, [Unmet::Delay { until }]);
    ask.at(until).permitted(&constitution, &mut Ledger::new());
}

#[test]
fn a_charter_that_changes_another_policy_keeps_the_approval() {
    let constitution = constitution(TWO);
    let first = ask(&constitution);
    let hash_under = |policies: &str| {
        let other = charter(policies).check().unwrap();
        let relied = other.relied_rules(&["big".parse().unwrap()]).unwrap();
        intent_hash(&first.decoded(), &first.stamp, &relied)
    };
    let kept = hash_under(&format!("{TWO} {OPEN}"));
    assert_eq!(kept, first.pending(&constitution).intent_hash);
    assert_ne!(kept, hash_under(&TWO.replace("2 of", "1 of")));
    assert!(
        constitution
            .relied_rules(&["none".parse().unwrap()])
            .is_none()
    );
}

#[test]
fn the_intent_hash_follows_every_term_but_the_slot() {
    let constitution = constitution(TWO);
    let hash = |tx: &Tx, change: fn(&mut Ask)| {
        let mut ask = Ask::new(&constitution, 1, tx.payload());
        change(&mut ask);
        let relied = constitution
            .relied_rules(&["big".parse().unwrap()])
            .unwrap();
        intent_hash(&ask.decoded(), &ask.stamp, &relied)
    };
    let tx = Tx::pay(1, &exchange(), 5);
    let base = hash(&tx, |_| {});
    assert_eq!(base, hash(&Tx::pay(2, &exchange(), 5), |_| {}), "slot");
    let mut dearer = tx.clone();
    dearer.fee_per_gas += 1;
    for (what, other) in [
        ("value", hash(&Tx::pay(1, &exchange(), 6), |_| {})),
        ("recipient", hash(&Tx::pay(1, &stranger(), 5), |_| {})),
        ("fee", hash(&dearer, |_| {})),
        ("key", hash(&tx, |a| a.stamp.key = None)),
        (
            "request",
            hash(&tx, |a| a.stamp.request_id = RequestId([1; 16])),
        ),
        ("lapse", hash(&tx, |a| a.stamp.not_after = NOW)),
        (
            "custody",
            hash(&tx, |a| a.stamp.custody = CustodyMethod::Local),
        ),
        (
            "purpose",
            hash(&tx, |a| a.stamp.purpose = Purpose::Treasury),
        ),
        (
            "account",
            hash(&tx, |a| a.stamp.account.address = stranger()),
        ),
    ] {
        assert_ne!(base, other, "{what}");
    }
}

#[test]
fn a_threshold_key_that_was_approved_is_not_made_as_a_software_key() {
    let constitution = constitution(
        "@id(\"keys\") @approvals(\"1 of treasury\") \
         permit (principal, action == Action::\"create_key\", resource);",
    );
    let mut ask = Ask::create(&constitution, 1);
    ask.approve(&constitution, "ann");
    ask.permitted(&constitution, &mut Ledger::new());
    ask.stamp.custody = CustodyMethod::Local;
    let pending = ask.pending(&constitution);
    assert_eq!(pending.ignored[0].fault, ApprovalFault::WrongIntent);
}

#[test]
fn the_intent_hash_of_a_text_follows_its_bytes() {
    // Two texts of one length mean the same to policies; they must not to approvers.
    let constitution = constitution(TWO);
    let hash = |text: &[u8]| {
        let ask = Ask::new(&constitution, 1, Payload::EvmMessage(text.to_vec()));
        intent_hash(&ask.decoded(), &ask.stamp, &[])
    };
    assert_ne!(hash(b"yes"), hash(b"no!"));
}
