//! Finished signatures that a gateway posts: verified, counted, kept.

use super::cluster::{FRIEND, LIFE_MS, STRANGER, Work};
use super::{Net, set};
use crate::core::config::{OUTCOME_MS, SWEEP_MS};
use crate::core::key_addresses;
use crate::core::{Alarm, Record};
use quoin_api::Frame;
use quoin_api::frame::Reply;
use quoin_api::statements::FinishedSignature;
use quoin_core::{KeyId, RequestId, Scheme, cbor};

/// A request that nodes 1 and 2 signed and node 3 never saw.
fn signed_without_node_3() -> (Net, Work, FinishedSignature) {
    let mut net = Net::calm();
    let work = net.cluster.pay(1, 0, FRIEND);
    let finished = net.sign(&work, &set(&[1, 2]));
    (net, work, finished)
}

fn records_of_finished(net: &mut Net, index: u8) -> usize {
    let records = net.host(index).records();
    let finished = records
        .iter()
        .filter(|(_, r)| matches!(r, Record::Finished(_)));
    finished.count()
}

#[test]
fn a_finished_signature_of_an_unseen_request_is_counted_and_survives_a_restart() {
    let (mut net, work, finished) = signed_without_node_3();
    assert_eq!(net.spent(3), (0, 0));
    net.gateway_says(3, Frame::Finished(work.finished(&finished)));
    // It counts against the whole budget, not against this node's own part.
    assert_eq!(net.spent(3), (0, 1));
    let known = Some(Reply::AlreadySigned(cbor::encode(&finished)));
    let id = net.lease(&set(&[1, 3]), 1)[0];
    assert_eq!(net.ask(3, &work, &set(&[1, 3]), id), known);
    net.restart(3);
    net.advance(1_000);
    assert_eq!(net.spent(3), (0, 1));
    assert_eq!(net.ask(3, &work, &set(&[1, 3]), id), known);
    // The slot that it fills is taken here too.
    let second = net.cluster.pay(2, 0, FRIEND);
    let id = net.lease(&set(&[1, 3]), 1)[0];
    let reply = net.ask(3, &second, &set(&[1, 3]), id);
    assert!(matches!(reply, Some(Reply::Denied(_))), "{reply:?}");
}

#[test]
fn a_finished_signature_of_an_own_decision_is_not_counted_twice() {
    let (mut net, work, finished) = signed_without_node_3();
    net.gateway_says(1, Frame::Finished(work.finished(&finished)));
    assert_eq!(net.spent(1), (1, 1));
    net.restart(1);
    assert_eq!(net.spent(1), (1, 1));
}

#[test]
fn the_first_finished_signature_is_the_answer_for_ever() {
    let (mut net, work, first) = signed_without_node_3();
    let second = net.sign(&work, &set(&[1, 2]));
    assert_ne!(first, second);
    net.gateway_says(1, Frame::Finished(work.finished(&first)));
    net.gateway_says(1, Frame::Finished(work.finished(&second)));
    assert_eq!(records_of_finished(&mut net, 1), 1);
    let id = net.lease(&set(&[1, 2]), 1)[0];
    let reply = net.ask(1, &work, &set(&[1, 2]), id);
    assert_eq!(reply, Some(Reply::AlreadySigned(cbor::encode(&first))));
}

#[test]
fn an_answer_that_was_finished_is_given_only_once_its_record_is_durable() {
    let (mut net, work, finished) = signed_without_node_3();
    net.host(3).hold = true;
    net.gateway_says(3, Frame::Finished(work.finished(&finished)));
    let id = net.lease(&set(&[1, 3]), 1)[0];
    assert_eq!(net.ask(3, &work, &set(&[1, 3]), id), None);
    net.release(3);
    assert!(matches!(net.replies(3)[..], [Reply::AlreadySigned(_)]));
}

#[test]
fn a_wrong_finished_signature_is_ignored() {
    let (mut net, work, finished) = signed_without_node_3();
    let other = net.cluster.pay(2, 1, FRIEND);
    let of_other = net.sign(&other, &set(&[1, 2]));
    let wrong = [
        FinishedSignature {
            signature: [0; 64],
            ..finished.clone()
        },
        FinishedSignature {
            signature: of_other.signature,
            ..finished.clone()
        },
        FinishedSignature {
            request_id: RequestId([9; 16]),
            ..finished.clone()
        },
        FinishedSignature {
            key: KeyId([9; 16]),
            ..finished.clone()
        },
        FinishedSignature {
            scheme: Scheme::Ecdsa,
            ..finished.clone()
        },
    ];
    for signature in wrong {
        net.gateway_says(3, Frame::Finished(work.finished(&signature)));
    }
    let mut strange_payload = work.finished(&finished);
    strange_payload.payload = cbor::encode(&other.payload);
    net.gateway_says(3, Frame::Finished(strange_payload));
    let mut strange_stamp = work.finished(&finished);
    *strange_stamp.stamp.last_mut().unwrap() ^= 1;
    net.gateway_says(3, Frame::Finished(strange_stamp));
    assert_eq!(records_of_finished(&mut net, 3), 0);
    assert_eq!(net.spent(3), (0, 0));
    assert!(!net.core(3).requests.contains_key(&work.id));
    // The genuine one is taken after all of them.
    net.gateway_says(3, Frame::Finished(work.finished(&finished)));
    assert_eq!(records_of_finished(&mut net, 3), 1);
}

#[test]
fn a_finished_signature_of_a_request_that_this_node_denied_alarms_and_counts() {
    let mut net = Net::calm();
    // Node 3 denies because the slot is taken, on it alone, by another request.
    let blocker = net.cluster.pay(9, 0, FRIEND);
    let id = net.lease(&set(&[1, 3]), 1)[0];
    net.ask(3, &blocker, &set(&[1, 3]), id);
    let work = net.cluster.pay(1, 0, FRIEND);
    let id = net.lease(&set(&[2, 3]), 1)[0];
    let reply = net.ask(3, &work, &set(&[2, 3]), id);
    assert!(matches!(reply, Some(Reply::Denied(_))), "{reply:?}");
    let finished = net.sign(&work, &set(&[1, 2]));
    net.gateway_says(3, Frame::Finished(work.finished(&finished)));
    assert!(
        net.host(3)
            .alarms
            .contains(&Alarm::SignedDespiteDenial(work.id))
    );
    assert_eq!(net.spent(3), (1, 2));
    net.restart(3);
    assert_eq!(net.spent(3), (1, 2));
}

#[test]
fn an_unpermitted_request_has_no_finished_signature_to_post() {
    let (mut net, _, finished) = signed_without_node_3();
    let stranger = net.cluster.pay(5, 7, STRANGER);
    let forged = FinishedSignature {
        request_id: stranger.id,
        ..finished
    };
    net.gateway_says(3, Frame::Finished(stranger.finished(&forged)));
    assert_eq!(net.spent(3), (0, 0));
}

/// An unsigned transaction does not name its sender: the same bytes pay once from each account.
#[test]
fn one_payload_that_two_accounts_of_a_key_signed_is_counted_twice() {
    let mut net = Net::calm();
    let payload = net.cluster.transfer(0, FRIEND, 7);
    for (id, path) in [(1, "m"), (2, "m/0/5"), (3, "m/0/6")] {
        let mut stamp = net.cluster.stamp(id, &payload);
        stamp.account.path = path.parse().unwrap();
        let mut addresses = key_addresses(&net.cluster.key, &stamp.account.path).into_iter();
        stamp.account.address = addresses.find(|a| a.to_evm().is_some()).unwrap();
        let work = net.cluster.signed(stamp, payload.clone());
        let finished = net.sign(&work, &set(&[1, 2]));
        net.gateway_says(3, Frame::Finished(work.finished(&finished)));
        assert_eq!(net.spent(3), (0, u64::from(id)), "{path}");
    }
    net.restart(3);
    assert_eq!(net.spent(3), (0, 3));
}

#[test]
fn a_finished_signature_of_another_account_of_the_key_is_worth_nothing() {
    let mut net = Net::calm();
    let payload = net.cluster.transfer(0, FRIEND, 7);
    let work = |net: &Net, path: &str| {
        let mut stamp = net.cluster.stamp(1, &payload);
        stamp.account.path = path.parse().unwrap();
        let mut addresses = key_addresses(&net.cluster.key, &stamp.account.path).into_iter();
        stamp.account.address = addresses.find(|a| a.to_evm().is_some()).unwrap();
        net.cluster.signed(stamp, payload.clone())
    };
    let (signed, other) = (work(&net, "m/0/5"), work(&net, "m/0/6"));
    let finished = net.sign(&signed, &set(&[1, 2]));
    net.gateway_says(3, Frame::Finished(other.finished(&finished)));
    assert_eq!(net.spent(3), (0, 0));
    net.gateway_says(3, Frame::Finished(signed.finished(&finished)));
    assert_eq!(net.spent(3), (0, 1));
}

#[test]
fn one_signature_that_is_posted_under_two_request_ids_is_counted_once() {
    let mut net = Net::calm();
    let payload = net.cluster.transfer(0, FRIEND, 7);
    let works = [1, 2].map(|id| {
        let stamp = net.cluster.stamp(id, &payload);
        net.cluster.signed(stamp, payload.clone())
    });
    let finished = net.sign(&works[0], &set(&[1, 2]));
    for work in &works {
        let posted = FinishedSignature {
            request_id: work.id,
            ..finished.clone()
        };
        net.gateway_says(3, Frame::Finished(work.finished(&posted)));
        assert_eq!(net.spent(3), (0, 1));
    }
    net.restart(3);
    assert_eq!(net.spent(3), (0, 1));
}

#[test]
fn a_lapsed_signature_that_is_shown_again_fills_no_other_window() {
    let (mut net, work, finished) = signed_without_node_3();
    let frame = || Frame::Finished(work.finished(&finished));
    net.gateway_says(3, frame());
    // Its outcome is forgotten here.
    net.jump(LIFE_MS + OUTCOME_MS + SWEEP_MS);
    net.advance(2 * SWEEP_MS);
    assert!(!net.core(3).requests.contains_key(&work.id));
    net.gateway_says(3, frame());
    // Neither does it count once its window has passed.
    net.jump(25 * 60 * 60 * 1_000);
    net.advance(2 * SWEEP_MS);
    assert_eq!(net.spent(3), (0, 0));
    net.gateway_says(3, frame());
    assert_eq!(net.spent(3), (0, 0));
    assert_eq!(records_of_finished(&mut net, 3), 1);
}

#[test]
fn a_lapsed_signature_counts_from_when_its_stamp_lapsed() {
    let (mut net, work, finished) = signed_without_node_3();
    net.jump(LIFE_MS + OUTCOME_MS + SWEEP_MS);
    net.advance(SWEEP_MS);
    net.gateway_says(3, Frame::Finished(work.finished(&finished)));
    assert_eq!(net.spent(3), (0, 1), "a node that was away counts it");
    net.jump(24 * 60 * 60 * 1_000 - OUTCOME_MS + 30 * 60 * 1_000);
    assert_eq!(net.spent(3), (0, 0));
}

#[test]
fn one_payload_of_a_slot_counts_once_under_whatever_stamps() {
    let (mut net, work, finished) = signed_without_node_3();
    net.gateway_says(3, Frame::Finished(work.finished(&finished)));
    net.jump(LIFE_MS + OUTCOME_MS + SWEEP_MS);
    net.advance(2 * SWEEP_MS);
    // The signature is public; whoever may stamp can give it a stamp that lapses later.
    let mut stamp = net.cluster.stamp(9, &work.payload);
    stamp.not_after = net.now.plus(LIFE_MS);
    let again = net.cluster.signed(stamp, work.payload.clone());
    let posted = FinishedSignature {
        request_id: again.id,
        ..finished
    };
    net.gateway_says(3, Frame::Finished(again.finished(&posted)));
    assert_eq!(net.spent(3), (0, 0));
    assert!(net.core(3).requests.contains_key(&again.id));
}
