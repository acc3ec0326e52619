//! Requests: what leaves when, what is charged, and what a presignature is good for.

use super::cluster::{BEGIN, FRIEND, SLOW, STRANGER};
use super::net::{answer, gateway};
use super::{Net, Shape, node, ready, set};
use crate::core::{Alarm, Event, Record};
use quoin_api::Frame;
use quoin_api::frame::{Opaque, Reply, SigningHint, Unavailable};
use quoin_api::statements::Denial;
use quoin_core::Signed;
use quoin_core::cbor::Version;
use quoin_policy::Approval;
use quoin_protocol::combine;

#[test]
fn a_partial_leaves_only_after_its_record_is_durable() {
    let (mut net, id) = ready();
    let work = net.cluster.pay(1, 0, FRIEND);
    net.host(1).hold = true;
    assert_eq!(net.ask(1, &work, &set(&[1, 2]), id), None);
    let written = net.host(1).unsynced();
    assert!(
        matches!(&written[..], [.., Record::Decision(d)] if d.request_id == work.id && d.presignature == Some(id)),
        "{written:?}"
    );
    net.release(1);
    let reply = net.replies(1).pop();
    let answer = answer(&reply);
    // The answer shows the head that covers the decision.
    assert_eq!(answer.head, net.host(1).head(usize::MAX));
    assert_eq!(answer.presignature, Some(id));
}

#[test]
fn an_earlier_ticket_that_is_durable_releases_nothing_that_waits_for_a_later_one() {
    let (mut net, id) = ready();
    let other = net.lease(&set(&[1, 2]), 1)[0];
    let (first, second) = (net.cluster.pay(1, 0, FRIEND), net.cluster.pay(2, 1, FRIEND));
    net.host(1).hold = true;
    assert_eq!(net.ask(1, &first, &set(&[1, 2]), id), None);
    let ticket = net.core(1).last_ticket;
    assert_eq!(net.ask(1, &second, &set(&[1, 2]), other), None);
    let head = net.host(1).head(usize::MAX);
    net.feed(node(1), Event::Durable(ticket, head));
    let replies = net.replies(1);
    assert_eq!(replies.len(), 1);
    assert_eq!(answer(&replies.into_iter().next()).request_id, first.id);
}

#[test]
fn a_partial_never_leaves_after_the_disk_failed() {
    let (mut net, id) = ready();
    let work = net.cluster.pay(1, 0, FRIEND);
    net.host(1).hold = true;
    net.ask(1, &work, &set(&[1, 2]), id);
    net.feed(node(1), Event::StorageFailed);
    assert!(net.host(1).alarms.contains(&Alarm::StorageFailed));
    // Not even when the disk claims success later.
    net.release(1);
    net.advance(1_000);
    assert_eq!(net.replies(1), []);
    let other = net.cluster.pay(2, 1, FRIEND);
    let fresh = net.lease(&set(&[1, 2]), 1)[0];
    let reply = net.ask(1, &other, &set(&[1, 2]), fresh);
    assert!(
        matches!(
            reply,
            None | Some(Reply::Unavailable(Unavailable::StorageFailed))
        ),
        "{reply:?}"
    );
}

#[test]
fn a_denial_is_sent_only_once_it_is_durable() {
    let (mut net, id) = ready();
    let work = net.cluster.pay(1, 0, STRANGER);
    net.host(1).hold = true;
    assert_eq!(net.ask(1, &work, &set(&[1, 2]), id), None);
    // Asking again does not tempt it out either.
    assert_eq!(net.ask(1, &work, &set(&[1, 2]), id), None);
    net.release(1);
    let replies = net.replies(1);
    assert_eq!(replies.len(), 2);
    for reply in replies {
        let Reply::Denied(bytes) = reply else {
            panic!("{reply:?}");
        };
        let denial = Signed::<Denial>::from_bytes(&bytes).unwrap();
        let credential = net.cluster.identities[&node(1)].public();
        assert_eq!(denial.verify(&credential).unwrap().request_id, work.id);
    }
}

#[test]
fn a_denial_is_never_sent_after_the_disk_failed() {
    let (mut net, id) = ready();
    let work = net.cluster.pay(1, 0, STRANGER);
    net.host(1).hold = true;
    net.ask(1, &work, &set(&[1, 2]), id);
    net.feed(node(1), Event::StorageFailed);
    net.release(1);
    assert_eq!(net.replies(1), []);
    let failed = Some(Reply::Unavailable(Unavailable::StorageFailed));
    assert_eq!(net.ask(1, &work, &set(&[1, 2]), id), failed);
}

#[test]
fn a_node_with_a_failed_disk_says_so() {
    let (mut net, id) = ready();
    let lost = net.cluster.pay(1, 0, FRIEND);
    net.host(1).hold = true;
    net.ask(1, &lost, &set(&[1, 2]), id);
    net.feed(node(1), Event::StorageFailed);
    let work = net.cluster.pay(2, 1, FRIEND);
    let reply = net.ask(1, &work, &set(&[1, 2]), id);
    assert_eq!(reply, Some(Reply::Unavailable(Unavailable::StorageFailed)));
}

#[test]
fn a_denial_is_repeated_word_for_word_and_charges_nothing() {
    let (mut net, id) = ready();
    let work = net.cluster.pay(1, 0, STRANGER);
    let first = net.ask(1, &work, &set(&[1, 2]), id);
    assert!(matches!(first, Some(Reply::Denied(_))), "{first:?}");
    assert_eq!(net.ask(1, &work, &set(&[1, 2]), id), first);
    assert_eq!(net.spent(1), (0, 0));
    // The gateway will not name the presignature again, so it is thrown away.
    let key = net.cluster.key.key;
    assert!(
        !net.core(1)
            .pools
            .has(&(key, quoin_core::ShareEpoch::default(), set(&[1, 2])), &id)
    );
    let allowed = net.cluster.pay(2, 0, FRIEND);
    net.sign(&allowed, &set(&[1, 2]));
}

#[test]
fn a_retry_with_another_presignature_is_charged_once_and_signs_the_same_digest() {
    let mut net = Net::calm();
    let work = net.cluster.pay(1, 0, FRIEND);
    let first = net.sign(&work, &set(&[1, 2]));
    let second = net.sign(&work, &set(&[1, 2]));
    assert_ne!(first.signature, second.signature);
    let key = &net.cluster.key;
    let decoded = quoin_chain::decode(&work.payload, &net.cluster.account, key.scheme).unwrap();
    for finished in [first, second] {
        combine::verify(
            key,
            &combine::ROOT_TWEAK,
            decoded.digest(),
            &finished.signature,
        )
        .unwrap();
    }
    assert_eq!(net.spent(1), (1, 1));
    assert_eq!(net.spent(2), (1, 1));
    let records = net.host(1).records();
    let of_request = records.iter().filter_map(|(_, record)| match record {
        Record::Decision(d) if d.request_id == work.id => Some("decision"),
        Record::Consumed(c) if c.request_id == work.id => Some("consumed"),
        _ => None,
    });
    assert_eq!(of_request.collect::<Vec<_>>(), ["decision", "consumed"]);
}

#[test]
fn a_request_id_with_another_payload_is_a_conflict() {
    let mut net = Net::calm();
    let signers = set(&[1, 2]);
    let permitted = net.cluster.pay(1, 0, FRIEND);
    let denied = net.cluster.pay(2, 5, STRANGER);
    let waiting = net.cluster.pay(3, 6, SLOW);
    for work in [&permitted, &denied, &waiting] {
        let id = net.lease(&signers, 1)[0];
        net.ask(1, work, &signers, id).unwrap();
    }
    for round in ["before", "after"] {
        for tag in [1, 2, 3] {
            for to in [FRIEND, STRANGER] {
                let other = net.cluster.pay(tag, 9, to);
                net.advance(500);
                let id = net.lease(&signers, 1)[0];
                let reply = net.ask(1, &other, &signers, id);
                assert!(
                    matches!(reply, Some(Reply::Conflict(_))),
                    "{tag} {round} the restart: {reply:?}"
                );
            }
        }
        net.restart(1);
        net.advance(1_000);
    }
    assert_eq!(net.spent(1), (1, 1));
}

#[test]
fn a_second_payment_for_a_taken_nonce_is_denied() {
    let mut net = Net::calm();
    let first = net.cluster.pay(1, 0, FRIEND);
    net.sign(&first, &set(&[1, 2]));
    let second = net.cluster.pay(2, 0, FRIEND);
    let id = net.lease(&set(&[1, 2]), 1)[0];
    let reply = net.ask(1, &second, &set(&[1, 2]), id);
    assert!(matches!(reply, Some(Reply::Denied(_))), "{reply:?}");
}

#[test]
fn the_budget_of_a_node_ends_and_the_request_over_it_is_denied() {
    let mut net = Net::with(Shape {
        cap: 4,
        ..Shape::default()
    });
    net.advance(1_000);
    // Of a strict cap of 4, a node of 2-of-3 co-signs 2.
    for nonce in 0..2 {
        let work = net.cluster.pay(nonce as u8 + 1, nonce, FRIEND);
        net.sign(&work, &set(&[1, 2]));
    }
    let over = net.cluster.pay(9, 2, FRIEND);
    let id = net.lease(&set(&[1, 2]), 1)[0];
    let reply = net.ask(1, &over, &set(&[1, 2]), id);
    let Some(Reply::Denied(bytes)) = reply else {
        panic!("{reply:?}");
    };
    let denial = Signed::<Denial>::from_bytes(&bytes).unwrap();
    let rule = denial.unverified().rule.as_ref().unwrap();
    assert_eq!(rule.as_str(), "requests");
}

#[test]
fn a_delay_counts_from_the_first_sight_even_across_a_restart() {
    let (mut net, id) = ready();
    let work = net.cluster.pay(1, 0, SLOW);
    let reply = net.ask(1, &work, &set(&[1, 2]), id);
    assert!(matches!(reply, Some(Reply::Pending(_))), "{reply:?}");
    net.jump(30 * 60 * 1000);
    net.restart(1);
    net.advance(1_000);
    let id = net.lease(&set(&[1, 2]), 1)[0];
    let reply = net.ask(1, &work, &set(&[1, 2]), id);
    assert!(matches!(reply, Some(Reply::Pending(_))), "{reply:?}");
    net.jump(30 * 60 * 1000);
    net.advance(500);
    let id = net.lease(&set(&[1, 2]), 1)[0];
    answer(&net.ask(1, &work, &set(&[1, 2]), id));
    let seen = net.host(1).records();
    let first_sights = seen
        .iter()
        .filter(|(_, r)| matches!(r, Record::FirstSeen(s) if s.at <= BEGIN.plus(2_000)));
    assert_eq!(first_sights.count(), 1);
}

#[test]
fn a_first_sight_is_told_only_once_it_is_durable() {
    let (mut net, id) = ready();
    let work = net.cluster.pay(1, 0, SLOW);
    net.host(1).hold = true;
    assert_eq!(net.ask(1, &work, &set(&[1, 2]), id), None);
    net.release(1);
    assert!(matches!(net.replies(1)[..], [Reply::Pending(_)]));
}

#[test]
fn a_presignature_is_gone_after_its_use() {
    let (mut net, id) = ready();
    let signers = set(&[1, 2]);
    let (first, second) = (net.cluster.pay(1, 0, FRIEND), net.cluster.pay(2, 1, FRIEND));
    answer(&net.ask(1, &first, &signers, id));
    let gone = Some(Reply::Unavailable(Unavailable::PresignatureGone));
    assert_eq!(net.ask(1, &first, &signers, id), gone);
    assert_eq!(net.ask(1, &second, &signers, id), gone);
    // The second was not judged: nothing of it is charged.
    assert_eq!(net.spent(1), (1, 1));
}

#[test]
fn a_presignature_is_taken_while_its_record_is_not_durable_yet() {
    let (mut net, id) = ready();
    let (first, second) = (net.cluster.pay(1, 0, FRIEND), net.cluster.pay(2, 1, FRIEND));
    net.host(1).hold = true;
    assert_eq!(net.ask(1, &first, &set(&[1, 2]), id), None);
    net.ask(1, &second, &set(&[1, 2]), id);
    net.release(1);
    let answers = net.replies(1);
    let answers = answers.iter().filter(|r| matches!(r, Reply::Answer(_)));
    assert!(answers.count() <= 1);
}

#[test]
fn a_presignature_is_of_no_use_under_another_signer_set() {
    let (mut net, id) = ready();
    let work = net.cluster.pay(1, 0, FRIEND);
    let reply = net.ask(1, &work, &set(&[1, 3]), id);
    let gone = Some(Reply::Unavailable(Unavailable::PresignatureGone));
    assert_eq!(reply, gone);
}

#[test]
fn a_presignature_is_gone_after_a_restart() {
    let (mut net, id) = ready();
    let work = net.cluster.pay(1, 0, FRIEND);
    net.restart(1);
    net.advance(1_000);
    let gone = Some(Reply::Unavailable(Unavailable::PresignatureGone));
    assert_eq!(net.ask(1, &work, &set(&[1, 2]), id), gone);
}

#[test]
fn a_presignature_is_gone_after_a_peer_of_its_set_started_again() {
    let (mut net, id) = ready();
    let other = net.lease(&set(&[1, 3]), 1)[0];
    let work = net.cluster.pay(1, 0, FRIEND);
    net.restart(2);
    net.advance(1_000);
    let gone = Some(Reply::Unavailable(Unavailable::PresignatureGone));
    assert_eq!(net.ask(1, &work, &set(&[1, 2]), id), gone);
    // What it does not share with the peer is as good as before.
    answer(&net.ask(1, &work, &set(&[1, 3]), other));
}

#[test]
fn a_request_without_a_presignature_is_refused_for_a_threshold_key() {
    let (mut net, _) = ready();
    let work = net.cluster.pay(1, 0, FRIEND);
    net.replies(1);
    net.gateway_says(1, Frame::Request(work.frame(None)));
    let replies = net.replies(1);
    assert!(
        matches!(&replies[..], [Reply::Rejected(r)] if r.field == "signing"),
        "{replies:?}"
    );
}

#[test]
fn a_node_takes_requests_from_gateways_only() {
    let (mut net, presignature) = ready();
    let work = net.cluster.pay(1, 0, FRIEND);
    let hint = SigningHint {
        set: set(&[1, 2]),
        presignature,
        epoch: None,
    };
    let before = net.host(1).records().len();
    net.node_says(2, 1, Frame::Request(work.frame(Some(hint))));
    assert_eq!(net.host(1).records().len(), before);
    assert!(!net.core(1).requests.contains_key(&work.id));
}

/// An approval by this governor; the request needs none.
fn approval(net: &Net, id: quoin_core::RequestId, by: usize, intent: u8) -> Opaque {
    let approval = Approval {
        version: Version,
        cluster: net.cluster.id,
        intent_hash: quoin_core::IntentHash([intent; 32]),
        principal: ["alice", "bob"][by].parse().unwrap(),
        request_id: id,
        not_after: net.now.plus(1_000),
    };
    let signed = Signed::sign(approval, &net.cluster.governors[by]);
    Opaque(signed.to_bytes())
}

#[test]
fn only_genuine_approvals_of_the_request_are_journaled_and_only_so_many_are_read() {
    let (mut net, id) = ready();
    let work = net.cluster.pay(1, 0, FRIEND);
    let hint = || {
        let set = set(&[1, 2]);
        Some(SigningHint {
            set,
            presignature: id,
            epoch: None,
        })
    };
    let genuine = approval(&net, work.id, 0, 1);
    let other = approval(&net, quoin_core::RequestId([99; 16]), 0, 1);
    // By bob's name, with alice's signature.
    let mut forged = Signed::<Approval>::from_bytes(&genuine.0)
        .unwrap()
        .unverified()
        .clone();
    forged.principal = "bob".parse().unwrap();
    let forged = Opaque(Signed::sign(forged, &net.cluster.governors[0]).to_bytes());
    let mut frame = work.frame(hint());
    frame.approvals = vec![genuine.clone(), genuine.clone(), other, forged];
    let mut many = frame.clone();
    many.approvals = vec![genuine.clone(); quoin_policy::APPROVALS_MAX + 1];
    net.replies(1);
    // Past the limit of frames, as no honest way brings it.
    net.feed(node(1), Event::Frame(gateway(), Frame::Request(many)));
    net.settle();
    let replies = net.replies(1);
    assert!(matches!(&*replies, [Reply::Rejected(_)]), "{replies:?}");
    let id = net.lease(&set(&[1, 2]), 1)[0];
    if let Some(hint) = frame.signing.as_mut() {
        hint.presignature = id;
    }
    net.gateway_says(1, Frame::Request(frame));
    let records = net.host(1).records();
    let journaled = records.iter().find_map(|(_, r)| match r {
        Record::Decision(decision) => Some(decision.approvals.clone()),
        _ => None,
    });
    assert_eq!(journaled, Some(vec![genuine]));
}
