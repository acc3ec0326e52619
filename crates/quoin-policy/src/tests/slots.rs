//! Slots: one payment fills one nonce.

use crate::fixtures::*;
use crate::{Constitution, DenialReason, Judgement, Ledger};
use quoin_core::Payload;

const ALL: &str = "@id(\"all\") permit (principal, action, resource);\
    @id(\"odd\") permit (principal, action == Action::\"unexplained\", resource);";

/// What judgement says to a second transaction after a first one.
fn after(first: &Tx, second: &Tx) -> Result<(), DenialReason> {
    let constitution = constitution(ALL);
    let mut ledger = Ledger::new();
    ask(&constitution, 1, first).permitted(&constitution, &mut ledger);
    outcome(&constitution, &mut ledger, 2, second)
}

fn ask(constitution: &Constitution, id: u64, tx: &Tx) -> Ask {
    Ask::new(constitution, id, tx.payload())
}

fn outcome(
    constitution: &Constitution,
    ledger: &mut Ledger,
    id: u64,
    tx: &Tx,
) -> Result<(), DenialReason> {
    match ask(constitution, id, tx).judge(constitution, ledger) {
        Judgement::Permitted(_) => Ok(()),
        Judgement::Denied(denial) => Err(denial.reason),
        Judgement::Pending(pending) => panic!("{pending:?}"),
    }
}

fn payment() -> Tx {
    Tx::pay(5, &exchange(), 1000)
}

fn dearer(mut tx: Tx, fee_per_gas: u64) -> Tx {
    tx.fee_per_gas = fee_per_gas;
    tx
}

const HIGH: u64 = 20_000_000_000;

#[test]
fn another_payment_in_the_slot_is_refused() {
    let taken = Err(DenialReason::SlotTaken);
    for other in [
        Tx::pay(5, &stranger(), 1000),
        Tx::pay(5, &exchange(), 999),
        Tx {
            data: vec![1, 2, 3, 4],
            ..payment()
        },
    ] {
        assert_eq!(after(&payment(), &other), taken);
        assert_eq!(after(&payment(), &dearer(other, HIGH)), taken);
    }
    assert_eq!(after(&payment(), &Tx::pay(6, &stranger(), 1000)), Ok(()));
}

#[test]
fn the_same_payment_may_be_asked_for_again_with_any_fee() {
    for fee in [1_000_000_000, payment().fee_per_gas, HIGH] {
        assert_eq!(after(&payment(), &dearer(payment(), fee)), Ok(()), "{fee}");
    }
}

#[test]
fn a_cancel_replaces_anything_and_nothing_replaces_a_cancel_but_its_payment() {
    let cancel = Tx::pay(5, &own_address(), 0);
    assert_eq!(after(&payment(), &cancel), Ok(()));
    let taken = Err(DenialReason::SlotTaken);
    assert_eq!(after(&payment(), &Tx::pay(5, &own_address(), 1)), taken);
    assert_eq!(after(&payment(), &Tx::pay(5, &stranger(), 0)), taken);
    assert_eq!(after(&cancel, &dearer(payment(), HIGH)), taken);
}

#[test]
fn a_payment_that_failed_under_a_high_fee_does_not_block_its_slot() {
    let constitution = constitution(ALL);
    let mut ledger = Ledger::new();
    let mut next = |id, tx: Tx| outcome(&constitution, &mut ledger, id, &tx);
    assert_eq!(next(1, dearer(payment(), HIGH)), Ok(()));
    assert_eq!(next(2, payment()), Ok(()));
    assert_eq!(next(3, dearer(payment(), HIGH)), Ok(()));
    // Each request keeps its place, and the slot is as taken as before.
    assert_eq!(next(1, dearer(payment(), HIGH)), Ok(()));
    let other = Tx::pay(5, &stranger(), 1000);
    assert_eq!(next(4, other), Err(DenialReason::SlotTaken));
}

#[test]
fn a_slot_is_asked_for_64_times_at_most() {
    let constitution = constitution(ALL);
    let mut ledger = Ledger::new();
    for id in 1..=64 {
        assert_eq!(outcome(&constitution, &mut ledger, id, &payment()), Ok(()));
    }
    let taken = Err(DenialReason::SlotTaken);
    assert_eq!(outcome(&constitution, &mut ledger, 65, &payment()), taken);
    // Cancels have room of their own, with an end too.
    let cancel = Tx::pay(5, &own_address(), 0);
    for id in 100..164 {
        assert_eq!(outcome(&constitution, &mut ledger, id, &cancel), Ok(()));
    }
    assert_eq!(outcome(&constitution, &mut ledger, 164, &cancel), taken);
    // The requests that hold it can still be asked for.
    assert_eq!(outcome(&constitution, &mut ledger, 64, &payment()), Ok(()));
}

#[test]
fn what_is_not_explained_is_the_same_payment_only_to_the_byte() {
    let odd = Tx {
        data: vec![1, 2],
        ..payment()
    };
    let other = Tx {
        data: vec![1, 3],
        ..payment()
    };
    let taken = Err(DenialReason::SlotTaken);
    assert_eq!(after(&odd, &odd), Ok(()));
    assert_eq!(after(&odd, &dearer(odd.clone(), HIGH)), taken);
    assert_eq!(after(&odd, &other), taken);
    assert_eq!(after(&odd, &payment()), taken);
    assert_eq!(after(&payment(), &odd), taken);
}

#[test]
fn slots_outlive_the_window_of_the_requests_that_took_them() {
    let constitution = constitution(ALL);
    let mut ledger = Ledger::new();
    let first = ask(&constitution, 1, &payment());
    first.permitted(&constitution, &mut ledger);
    ledger.sweep(&constitution, first.stamp.not_after);
    assert!(!ledger.holds(first.stamp.request_id));
    // Not even under the same request id, which is free again.
    for id in 1..=2 {
        let other = outcome(&constitution, &mut ledger, id, &Tx::pay(5, &stranger(), 1));
        assert_eq!(other, Err(DenialReason::SlotTaken));
    }
}

#[test]
fn forgotten_slots_are_refused_rather_than_free() {
    let constitution = constitution(ALL);
    let mut ledger = Ledger::new();
    let base = ask(&constitution, 0, &Tx::pay(10, &exchange(), 1));
    let reservation = constitution
        .finished_reservation(
            &base.decoded(),
            &base.stamp,
            base.key.as_ref(),
            NOW,
            &crate::FactStore::default(),
        )
        .unwrap();
    for nonce in 10u64..10 + 4097 {
        let mut reservation = reservation.clone();
        reservation.request_id.0[0] = 1;
        reservation.request_id.0[8..].copy_from_slice(&nonce.to_be_bytes());
        reservation.slot.as_mut().unwrap().slot.nonce = nonce;
        ledger.restore(&reservation);
    }
    for nonce in [3, 10] {
        let late = Tx::pay(nonce, &exchange(), 1);
        let refused = outcome(&constitution, &mut ledger, 1, &late);
        assert_eq!(refused, Err(DenialReason::SlotTaken), "{nonce}");
    }
    let next = Tx::pay(10 + 4097, &exchange(), 1);
    assert_eq!(outcome(&constitution, &mut ledger, 2, &next), Ok(()));
}

#[test]
fn what_fills_no_slot_takes_none() {
    let constitution = constitution(ALL);
    let mut ledger = Ledger::new();
    for id in 1..=2 {
        let message = Payload::EvmMessage(b"hello".to_vec());
        let warrant = Ask::new(&constitution, id, message).permitted(&constitution, &mut ledger);
        assert_eq!(warrant.reservation().slot, None);
    }
}

#[test]
fn a_transaction_with_blobs_is_not_decoded_so_it_takes_no_slot() {
    // Its blob fields would be a second way to spend in one slot; whoever decodes them one day has
    // to make them part of what a replacement keeps.
    let Payload::EvmTransaction(mut bytes) = payment().payload() else {
        panic!("not a transaction");
    };
    bytes[0] = 3;
    let payload = Payload::EvmTransaction(bytes);
    let refused = quoin_chain::decode(&payload, &account(), quoin_core::Scheme::Ecdsa);
    assert!(refused.is_err());
}
