//! Key ceremonies over three nodes, with a crash in the middle.

use super::cluster::Work;
use super::{Net, node, set};
use crate::core::Record;
use quoin_api::frame::{LeaseRequest, Opaque, PreparedFrame, Reply};
use quoin_api::{Frame, SessionId};
use quoin_core::statement::Endorsement;
use quoin_core::{CeremonyId, Certificate, KeyId, NodeIndex, Statement, cbor};
use quoin_protocol::KeyPublic;

fn ask_all(net: &mut Net, work: &Work) {
    for index in 1..=3 {
        net.replies(index);
        net.gateway_says(index, Frame::Request(work.frame(None)));
    }
    net.settle();
}

fn active(net: &Net) -> Vec<usize> {
    (1..=3).map(|n| net.core(n).keys_active()).collect()
}

/// The id of the one key that was not dealt.
fn new_key(net: &Net, index: u8) -> KeyId {
    let keys = net.core(index).keys.keys();
    let new: Vec<_> = keys.filter(|k| **k != net.cluster.key.key).collect();
    assert_eq!(new.len(), 1);
    *new[0]
}

fn is_prepared(_: NodeIndex, _: NodeIndex, frame: &Frame) -> bool {
    matches!(frame, Frame::Prepared(_))
}

fn is_ceremony(_: NodeIndex, _: NodeIndex, frame: &Frame) -> bool {
    matches!(frame, Frame::Session(s) if matches!(s.session, SessionId::Ceremony(_)))
}

#[test]
fn a_ceremony_gives_every_node_the_same_key_and_the_gateway_its_certificate() {
    let mut net = Net::calm();
    let work = net.cluster.make_key(1, "fresh");
    ask_all(&mut net, &work);
    assert_eq!(active(&net), [2, 2, 2]);
    let key = new_key(&net, 1);
    assert!((2..=3).all(|n| new_key(&net, n) == key));
    for index in 1..=3 {
        let replies = net.replies(index);
        let [Reply::CeremonyDone(bytes)] = &replies[..] else {
            panic!("{replies:?}");
        };
        let certificate = Certificate::<KeyPublic>::from_bytes(bytes).unwrap();
        assert_eq!(certificate.unverified().key, key);
        assert_eq!(certificate.unverified().name.as_str(), "fresh");
        assert_eq!(certificate.endorsements().len(), 3);
    }
    // Asked again, every node answers at once and makes nothing.
    let records = net.host(2).records().len();
    ask_all(&mut net, &work);
    assert!(matches!(net.replies(2)[..], [Reply::CeremonyDone(_)]));
    assert_eq!(net.host(2).records().len(), records);
}

#[test]
fn a_new_key_gets_pools_and_survives_a_restart() {
    let mut net = Net::calm();
    let work = net.cluster.make_key(1, "fresh");
    ask_all(&mut net, &work);
    for index in 1..=3 {
        net.restart(index);
    }
    assert_eq!(active(&net), [2, 2, 2]);
    net.advance(3_000);
    let key = new_key(&net, 1);
    net.host(1).sent.clear();
    let request = LeaseRequest {
        key,
        set: set(&[1, 2]),
        want: 1,
        urgent: false,
    };
    net.gateway_says(1, Frame::LeaseRequest(request));
    let granted = net
        .host(1)
        .sent
        .iter()
        .any(|(_, f)| matches!(f, Frame::LeaseGrant(g) if g.ids.len() == 1));
    assert!(granted);
}

#[test]
fn a_share_is_durable_before_its_acknowledgement_leaves() {
    let mut net = Net::calm();
    // The decision must be durable for the ceremony to begin; hold what comes after it.
    net.filter = Some(is_ceremony);
    let work = net.cluster.make_key(1, "fresh");
    ask_all(&mut net, &work);
    net.filter = None;
    net.advance(10_500);
    net.host(3).sent.clear();
    ask_all_but_holding(&mut net, &work);
    assert!(
        matches!(net.host(3).unsynced().last(), Some(Record::KeyPending(_))),
        "{:?}",
        net.host(3).unsynced()
    );
    let acknowledged = |net: &mut Net| {
        let sent = &net.host(3).sent;
        sent.iter().any(|(_, f)| matches!(f, Frame::Prepared(_)))
    };
    assert!(!acknowledged(&mut net));
    assert_eq!(active(&net), [1, 1, 1]);
    net.release(3);
    assert!(acknowledged(&mut net));
    assert_eq!(active(&net), [2, 2, 2]);
}

/// Asks all nodes again; node 3 begins at once but then has nothing durable any more.
fn ask_all_but_holding(net: &mut Net, work: &Work) {
    for index in [3, 1, 2] {
        net.gateway_says(index, Frame::Request(work.frame(None)));
        net.host(3).hold = true;
    }
}

#[test]
fn a_node_that_dies_between_storing_and_activating_a_key_recovers_by_reminders() {
    let mut net = Net::calm();
    net.filter = Some(is_prepared);
    let work = net.cluster.make_key(1, "fresh");
    ask_all(&mut net, &work);
    let key = new_key(&net, 3);
    let records = net.host(3).records();
    let stored = |r: &Record| matches!(r, Record::KeyPending(k) if k.key == key);
    assert!(records.iter().any(|(_, r)| stored(r)));
    assert_eq!(active(&net), [1, 1, 1]);
    net.crash(3);
    net.filter = None;
    net.advance(2_000);
    // Two acknowledgements are not all.
    assert_eq!(net.core(1).keys_active(), 1);
    net.start(node(3));
    net.advance(2_000);
    assert_eq!(active(&net), [2, 2, 2]);
}

#[test]
fn a_node_that_missed_the_last_acknowledgement_gets_it_from_nodes_that_are_done() {
    let mut net = Net::calm();
    net.filter =
        Some(|_, to, frame| to == node(3) && matches!(frame, Frame::Prepared(_) | Frame::Keys(_)));
    let work = net.cluster.make_key(1, "fresh");
    ask_all(&mut net, &work);
    assert_eq!(active(&net), [2, 2, 1]);
    net.filter = None;
    net.restart(3);
    net.advance(2_000);
    assert_eq!(active(&net), [2, 2, 2]);
}

#[test]
fn a_key_whose_share_one_node_lost_is_given_up_by_all_and_its_name_is_free_again() {
    let mut net = Net::calm();
    net.filter = Some(is_ceremony);
    let work = net.cluster.make_key(1, "fresh");
    ask_all(&mut net, &work);
    net.filter = None;
    net.advance(10_500);
    ask_all_but_holding(&mut net, &work);
    net.restart(3);
    net.advance(5_000);
    assert_eq!(active(&net), [1, 1, 1]);
    // Node 3 has sworn that it will never endorse the record, so nobody waits for it.
    for index in 1..=3 {
        assert!(!net.core(index).name_is_taken(&"fresh".parse().unwrap()));
        // Who has endorsed it keeps its share.
        let labels = net.host(index).shares();
        let expected = if index == 3 { 1 } else { 2 };
        assert_eq!(labels.len(), expected, "node {index}: {:?}", labels.keys());
        net.replies(index);
    }
    // The key id is spent: a second record of it could be certified beside the first.
    ask_all(&mut net, &work);
    for index in 1..=3 {
        let replies = net.replies(index);
        let spent = |r: &Reply| matches!(r, Reply::Rejected(r) if r.field == "stamp.request_id");
        assert!(replies.iter().any(spent), "node {index}: {replies:?}");
    }
    assert_eq!(active(&net), [1, 1, 1]);
    // The name is free for another.
    let again = net.cluster.make_key(2, "fresh");
    ask_all(&mut net, &again);
    assert_eq!(active(&net), [2, 2, 2]);
    let third = net.cluster.make_key(3, "fresh");
    ask_all(&mut net, &third);
    assert!(matches!(net.replies(1)[..], [.., Reply::Rejected(_)]));
}

#[test]
fn forged_acknowledgements_do_not_bring_a_key_into_use() {
    let mut net = Net::calm();
    net.filter = Some(is_prepared);
    let work = net.cluster.make_key(1, "fresh");
    ask_all(&mut net, &work);
    let key = new_key(&net, 1);
    let public = net.core(1).keys[&key].public().unwrap().clone();
    let other = KeyPublic {
        transcript: [1; 32],
        chain_code: [7; 32],
        origin: quoin_core::KeyOrigin::Born,
        previous: None,
        ..public.clone()
    };
    let endorsed = |net: &Net, record: &KeyPublic, by: u8| {
        let identity = &net.cluster.identities[&node(by)];
        let made = Endorsement::detached(KeyPublic::TAG, &cbor::encode(record), identity);
        Opaque(made.to_bytes())
    };
    let say = |net: &mut Net, endorsements: Vec<Opaque>| {
        let prepared = PreparedFrame {
            key,
            endorsements,
            wants_reply: false,
            epoch: public.epoch,
            record: public.shares_hash(),
        };
        net.node_says(2, 1, Frame::Prepared(prepared));
        net.core(1).keys_active()
    };
    let second = endorsed(&net, &public, 2);
    assert_eq!(say(&mut net, vec![second.clone(), second.clone()]), 1);
    let stranger = Endorsement::detached(
        KeyPublic::TAG,
        &cbor::encode(&public),
        &net.cluster.governors[0],
    );
    let wrong_tag = Endorsement::detached(
        quoin_core::tags::CHARTER,
        &cbor::encode(&public),
        &net.cluster.identities[&node(3)],
    );
    let mut flipped = endorsed(&net, &public, 3);
    *flipped.0.last_mut().unwrap() ^= 1;
    let forged = [
        endorsed(&net, &other, 3),
        Opaque(stranger.to_bytes()),
        Opaque(wrong_tag.to_bytes()),
        flipped,
        Opaque(vec![0; 40]),
    ];
    for (place, endorsement) in forged.iter().enumerate() {
        assert_eq!(say(&mut net, vec![endorsement.clone()]), 1, "{place}");
    }
    // One that is genuine counts, whatever else comes with it and whoever hands it on.
    let third = endorsed(&net, &public, 3);
    assert_eq!(say(&mut net, vec![third]), 2);
}

#[test]
fn a_ceremony_begins_only_once_its_decision_is_durable() {
    let mut net = Net::calm();
    net.host(1).hold = true;
    let work = net.cluster.make_key(1, "fresh");
    let jobs = net.host(1).jobs_asked;
    ask_all(&mut net, &work);
    assert_eq!(net.host(1).jobs_asked, jobs);
    net.release(1);
    assert_eq!(active(&net), [2, 2, 2]);
}

#[test]
fn the_name_of_a_key_in_use_is_refused() {
    let mut net = Net::calm();
    let work = net.cluster.make_key(1, "desk");
    ask_all(&mut net, &work);
    let replies = net.replies(1);
    assert!(
        matches!(&replies[..], [Reply::Rejected(r)] if r.field == "payload.name"),
        "{replies:?}"
    );
}

#[test]
fn a_ceremony_that_was_left_is_made_anew_without_what_was_sent_for_it() {
    let mut net = Net::calm();
    let work = net.cluster.make_key(1, "fresh");
    // Nodes 1 and 2 begin; node 3 keeps their messages, then hears that they have left.
    for index in [1, 2] {
        net.gateway_says(index, Frame::Request(work.frame(None)));
    }
    let left = SessionId::Ceremony(CeremonyId(work.id.0));
    for (from, to) in [(1, 3), (2, 3), (3, 1), (3, 2)] {
        net.node_says(from, to, Frame::SessionAborted(left));
    }
    ask_all(&mut net, &work);
    let faults = (1..=3).flat_map(|n| net.hosts[&node(n)].records());
    let faults: Vec<_> = faults
        .filter(|(_, r)| matches!(r, Record::Fault(_)))
        .collect();
    assert_eq!(faults, []);
    assert_eq!(active(&net), [2, 2, 2]);
}
