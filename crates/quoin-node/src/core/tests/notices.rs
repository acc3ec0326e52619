//! Vetoes and receipts: shown to every node, stronger than approvals, and kept over restarts.

use super::cluster::{FRIEND, NOTICED, SLOW, Work};
use super::net::answer;
use super::{Net, node, ready, set};
use crate::core::{Event, Peer, Record};
use quoin_api::Frame;
use quoin_api::frame::{Refusal, Reply, Unavailable};
use quoin_api::statements::Denial;
use quoin_core::cbor::Version;
use quoin_core::{RequestId, Signed, SigningIdentity, TimeMs};
use quoin_policy::{Receipt, STAMP_HORIZON_MS, Subject, Veto};

const HOUR_MS: u64 = 60 * 60 * 1000;

fn veto(net: &Net, of: RequestId, who: &str, by: &SigningIdentity) -> Frame {
    let veto = Veto {
        version: Version,
        cluster: net.cluster.id,
        subject: Subject::Request(of),
        principal: who.parse().unwrap(),
        at: TimeMs(0),
    };
    Frame::Veto(Signed::sign(veto, by).to_bytes())
}

/// The watcher's veto.
fn vetoed(net: &Net, work: &Work) -> Frame {
    veto(net, work.id, "wanda", &net.cluster.watcher)
}

fn receipt(net: &Net, of: RequestId, who: &str, by: &SigningIdentity) -> Frame {
    let receipt = Receipt {
        version: Version,
        cluster: net.cluster.id,
        subject: Subject::Request(of),
        principal: who.parse().unwrap(),
        at: TimeMs(0),
    };
    Frame::Receipt(Signed::sign(receipt, by).to_bytes())
}

/// What a node says to a courier that brings a statement.
fn brought(net: &mut Net, index: u8, frame: Frame) -> Option<Refusal> {
    let courier = Peer::Courier(7);
    net.host(index).sent.clear();
    net.feed(node(index), Event::Frame(courier.clone(), frame));
    net.settle();
    let sent = std::mem::take(&mut net.host(index).sent);
    let mut replies = sent.into_iter().filter_map(|(to, frame)| match frame {
        Frame::StatementReply(reply) if to == courier => Some(reply.refused),
        _ => None,
    });
    replies.next().unwrap()
}

fn is_vetoed(reply: &Option<Reply>) -> bool {
    match reply {
        Some(Reply::Denied(bytes)) => {
            let denial = Signed::<Denial>::from_bytes(bytes).unwrap();
            denial.unverified().message.contains("vetoed")
        }
        _ => false,
    }
}

/// Lets time pass in steps that leave leases alive.
fn pass(net: &mut Net, ms: u64) {
    for _ in 0..4 {
        net.jump(ms / 4);
    }
    net.advance(1_000);
}

#[test]
fn a_veto_before_its_request_ends_it_on_every_node() {
    let (mut net, id) = ready();
    let work = net.cluster.pay(1, 0, FRIEND);
    let frame = vetoed(&net, &work);
    assert_eq!(brought(&mut net, 3, frame), None);
    for index in 1..=2 {
        let reply = net.ask(index, &work, &set(&[1, 2]), id);
        assert!(is_vetoed(&reply), "node {index}: {reply:?}");
    }
}

#[test]
fn a_veto_of_what_waits_makes_a_tombstone_at_the_next_judgement() {
    let (mut net, id) = ready();
    let work = net.cluster.pay(1, 0, SLOW);
    let reply = net.ask(1, &work, &set(&[1, 2]), id);
    assert!(matches!(reply, Some(Reply::Pending(_))), "{reply:?}");
    let frame = vetoed(&net, &work);
    brought(&mut net, 1, frame);
    let id = net.lease(&set(&[1, 2]), 1)[0];
    assert!(is_vetoed(&net.ask(1, &work, &set(&[1, 2]), id)));
    let denied = |(_, r): &(TimeMs, Record)| matches!(r, Record::Denied(_));
    assert!(net.host(1).records().iter().any(denied));
}

#[test]
fn a_veto_between_decision_and_answer_stops_the_answer() {
    let (mut net, id) = ready();
    net.host(1).hold = true;
    let work = net.cluster.pay(1, 0, FRIEND);
    assert_eq!(net.ask(1, &work, &set(&[1, 2]), id), None);
    let frame = vetoed(&net, &work);
    net.feed(node(1), Event::Frame(Peer::Courier(7), frame));
    net.host(1).sent.clear();
    net.release(1);
    let gone = Reply::Unavailable(Unavailable::PresignatureGone);
    assert_eq!(net.replies(1), [gone]);
    // Judged again, it is refused.
    let id = net.lease(&set(&[1, 2]), 1)[0];
    let reply = net.ask(1, &work, &set(&[1, 2]), id);
    assert!(matches!(reply, Some(Reply::Rejected(_))), "{reply:?}");
}

#[test]
fn a_veto_of_another_request_stops_nothing() {
    let (mut net, id) = ready();
    let work = net.cluster.pay(1, 0, FRIEND);
    let frame = vetoed(&net, &net.cluster.pay(2, 0, FRIEND));
    assert_eq!(brought(&mut net, 1, frame), None);
    answer(&net.ask(1, &work, &set(&[1, 2]), id));
}

#[test]
fn a_veto_without_the_right_to_it_is_refused() {
    let (mut net, id) = ready();
    let work = net.cluster.pay(1, 0, FRIEND);
    let (trader, feed) = (&net.cluster.trader, &net.cluster.feeds[0]);
    let frames = [
        veto(&net, work.id, "wanda", trader),
        veto(&net, work.id, "trader", trader),
        veto(&net, work.id, "feed-1", feed),
        Frame::Veto(vec![1]),
        receipt(&net, work.id, "wanda", trader),
        receipt(&net, work.id, "nobody", trader),
    ];
    for frame in frames {
        assert!(brought(&mut net, 1, frame.clone()).is_some(), "{frame:?}");
    }
    answer(&net.ask(1, &work, &set(&[1, 2]), id));
}

/// Policies that ask nothing of watchers.
fn quiet(policies: &str) -> String {
    policies.replace("@notice(\"watcher\")", "")
}

#[test]
fn vetoes_survive_a_restart_and_reach_who_was_down() {
    let (mut net, _) = ready();
    let work = net.cluster.pay(1, 0, FRIEND);
    net.crash(3);
    let frame = vetoed(&net, &work);
    brought(&mut net, 1, frame);
    net.start(node(3));
    let subject = Subject::Request(work.id);
    assert_eq!(net.core(3).notices.vetoes(&subject).count(), 1);
    net.cut_off = net.hosts.keys().copied().collect();
    net.restart(1);
    assert_eq!(net.core(1).notices.vetoes(&subject).count(), 1);
    // With what its author could veto then, which a later charter does not take away.
    let constitution = &net.core(1).constitution;
    let mut charter = constitution.charter().clone();
    let watcher = |p: &mut quoin_policy::Principal| p.roles.retain(|r| r.as_str() != "watcher");
    charter.principals.iter_mut().for_each(watcher);
    charter.policies = quiet(&charter.policies);
    charter.recovery = None;
    let later = charter.check().unwrap();
    let anyhow = quoin_policy::Obligations::default();
    let by = later.vetoed_by(&net.core(1).notices, &subject, &anyhow);
    assert_eq!(by.len(), 1);
}

#[test]
fn vetoes_are_forgotten_once_no_stamp_of_their_time_can_live() {
    let (mut net, _) = ready();
    let work = net.cluster.pay(1, 0, FRIEND);
    let frame = vetoed(&net, &work);
    brought(&mut net, 1, frame);
    let subject = Subject::Request(work.id);
    net.jump(STAMP_HORIZON_MS - 1_000);
    net.advance(100);
    assert_eq!(net.core(1).notices.vetoes(&subject).count(), 1);
    net.jump(2 * HOUR_MS);
    net.advance(100);
    assert_eq!(net.core(1).notices.vetoes(&subject).count(), 0);
}

#[test]
fn one_principal_has_only_so_many_vetoes() {
    let mut net = Net::calm();
    for number in 0..=256u16 {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&number.to_be_bytes());
        let frame = veto(&net, RequestId(id), "wanda", &net.cluster.watcher);
        assert_eq!(brought(&mut net, 1, frame).is_some(), number == 256);
    }
    let frame = veto(&net, RequestId([9; 16]), "alice", &net.cluster.governors[0]);
    assert_eq!(brought(&mut net, 1, frame), None);
}

#[test]
fn a_veto_of_what_waits_always_fits() {
    let (mut net, id) = ready();
    for number in 0..256u16 {
        let mut id = [0xff; 16];
        id[..2].copy_from_slice(&number.to_be_bytes());
        let frame = veto(&net, RequestId(id), "wanda", &net.cluster.watcher);
        assert_eq!(brought(&mut net, 1, frame), None);
    }
    let work = net.cluster.pay(1, 0, SLOW);
    let frame = vetoed(&net, &work);
    assert!(brought(&mut net, 1, frame.clone()).is_some());
    let reply = net.ask(1, &work, &set(&[1, 2]), id);
    assert!(matches!(reply, Some(Reply::Pending(_))), "{reply:?}");
    assert_eq!(brought(&mut net, 1, frame), None);
    let id = net.lease(&set(&[1, 2]), 1)[0];
    assert!(is_vetoed(&net.ask(1, &work, &set(&[1, 2]), id)));
}

#[test]
fn a_delay_begins_with_the_watchers_receipt() {
    let (mut net, id) = ready();
    let work = net.cluster.pay(1, 0, NOTICED);
    let waits = |net: &mut Net, id| {
        let reply = net.ask(1, &work, &set(&[1, 2]), id);
        matches!(reply, Some(Reply::Pending(_)))
    };
    assert!(waits(&mut net, id));
    // Without a receipt the delay has not begun, however long it is.
    pass(&mut net, 2 * HOUR_MS);
    let id = net.lease(&set(&[1, 2]), 1)[0];
    assert!(waits(&mut net, id));
    // A receipt of somebody else does not begin it.
    let frame = receipt(&net, work.id, "alice", &net.cluster.governors[0]);
    assert_eq!(brought(&mut net, 1, frame), None);
    pass(&mut net, 2 * HOUR_MS);
    let id = net.lease(&set(&[1, 2]), 1)[0];
    assert!(waits(&mut net, id));
    // Brought to another node, it reaches this one.
    let frame = receipt(&net, work.id, "wanda", &net.cluster.watcher);
    assert_eq!(brought(&mut net, 3, frame.clone()), None);
    let id = net.lease(&set(&[1, 2]), 1)[0];
    assert!(waits(&mut net, id));
    pass(&mut net, HOUR_MS / 2);
    // The first sight counts, over restarts and however often it is brought.
    net.restart(1);
    net.advance(1_000);
    assert_eq!(brought(&mut net, 1, frame), None);
    pass(&mut net, HOUR_MS / 2 + 4_000);
    let id = net.lease(&set(&[1, 2]), 1)[0];
    answer(&net.ask(1, &work, &set(&[1, 2]), id));
}
