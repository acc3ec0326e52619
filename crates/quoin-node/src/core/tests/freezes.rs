//! Freezes: at once on every node, over restarts, and until more people than one lift them.

use super::cluster::{FRIEND, Work};
use super::net::answer;
use super::{Net, Shape, node, ready, set};
use crate::core::config::LEASE_MS;
use crate::core::{Event, Peer, Record};
use quoin_api::Frame;
use quoin_api::frame::{FreezesFrame, Opaque, Refusal, Reply, RequestFrame, Unavailable};
use quoin_api::statements::UnfreezeStatement;
use quoin_core::cbor::Version;
use quoin_core::payload::{KeyChange, Unfreeze};
use quoin_core::{FreezeId, Payload, PrincipalId, Purpose, Signed, SigningIdentity, Stamp, TimeMs};
use quoin_policy::{Approval, Freeze, FreezeLevel, FreezeScope};

fn freeze(id: u8, scope: FreezeScope, level: FreezeLevel, who: &str) -> Freeze {
    Freeze {
        version: Version,
        cluster: quoin_core::ClusterId([0; 32]),
        id: FreezeId([id; 16]),
        principal: who.parse().unwrap(),
        scope,
        level,
        at: TimeMs(0),
        reason: "a test".to_owned(),
    }
}

/// The frame of a freeze of this cluster, signed.
fn signed(net: &Net, mut freeze: Freeze, by: &SigningIdentity) -> Frame {
    freeze.cluster = net.cluster.id;
    Frame::Freeze(Signed::sign(freeze, by).to_bytes())
}

/// A hard freeze of everything by the watcher.
fn stop_all(net: &Net, id: u8) -> Frame {
    let all = freeze(id, FreezeScope::All, FreezeLevel::Hard, "wanda");
    signed(net, all, &net.cluster.watcher)
}

/// What a node says to a courier that brings a statement; `None` while it is not durable.
fn brought(net: &mut Net, index: u8, frame: Frame) -> Option<Option<Refusal>> {
    let courier = Peer::Courier(7);
    net.host(index).sent.clear();
    let frame = Frame::from_bytes(&frame.to_bytes()).unwrap();
    net.feed(node(index), Event::Frame(courier.clone(), frame));
    net.settle();
    let sent = std::mem::take(&mut net.host(index).sent);
    let mut replies = sent.into_iter().filter_map(|(to, frame)| match frame {
        Frame::StatementReply(reply) if to == courier => Some(reply.refused),
        _ => None,
    });
    replies.next()
}

fn in_force(net: &Net, index: u8) -> usize {
    net.core(index).freezes.in_force().count()
}

fn all_equal(net: &Net) -> bool {
    let digest = net.core(1).freezes.digest();
    (2..=3).all(|n| net.core(n).freezes.digest() == digest)
}

/// A governor's request to lift freezes, with the approvals of these governors.
fn lift(
    net: &mut Net,
    id: u8,
    wish: Unfreeze,
    by: usize,
    approvers: &[usize],
) -> (Work, Vec<Opaque>) {
    const NAMES: [&str; 3] = ["alice", "bob", "carol"];
    let payload = Payload::Unfreeze(wish);
    let governor = &net.cluster.governors[by];
    let mut stamp: Stamp = net.cluster.change_stamp(id, &payload);
    stamp.principal = NAMES[by].parse().unwrap();
    stamp.credential = governor.id();
    let work = Work {
        id: stamp.request_id,
        stamp: Signed::sign(stamp.clone(), governor).to_bytes(),
        payload,
    };
    // What is to be approved is what a node says that it waits for.
    net.replies(1);
    net.gateway_says(1, Frame::Request(work.frame(None)));
    let replies = net.replies(1);
    let [Reply::Pending(pending)] = &*replies else {
        panic!("not pending: {replies:?}");
    };
    let approvals = approvers.iter().map(|n| {
        let approval = Approval {
            version: Version,
            cluster: net.cluster.id,
            intent_hash: pending.intent_hash,
            principal: NAMES[*n].parse().unwrap(),
            request_id: stamp.request_id,
            not_after: stamp.not_after,
        };
        Opaque(Signed::sign(approval, &net.cluster.governors[*n]).to_bytes())
    });
    (work, approvals.collect())
}

fn with_approvals(work: &Work, approvals: &[Opaque]) -> RequestFrame {
    RequestFrame {
        approvals: approvals.to_vec(),
        ..work.frame(None)
    }
}

fn lifts(ids: &[u8]) -> Unfreeze {
    Unfreeze {
        lifts: ids.iter().map(|id| FreezeId([*id; 16])).collect(),
        suspends: Vec::new(),
    }
}

fn refuses_as_frozen(reply: &Option<Reply>) -> bool {
    match reply {
        Some(Reply::Denied(bytes)) => {
            let denial = Signed::<quoin_api::statements::Denial>::from_bytes(bytes).unwrap();
            denial.unverified().message.contains("frozen by `wanda`")
        }
        _ => false,
    }
}

#[test]
fn a_freeze_on_one_node_reaches_all_and_stops_them() {
    let (mut net, id) = ready();
    let frame = stop_all(&net, 1);
    assert_eq!(brought(&mut net, 1, frame), Some(None));
    for index in 1..=3 {
        assert_eq!(in_force(&net, index), 1, "node {index}");
        let work = net.cluster.pay(index, 0, FRIEND);
        let reply = net.ask(index, &work, &set(&[1, 2]), id);
        if index < 3 {
            assert!(refuses_as_frozen(&reply), "{reply:?}");
        }
    }
    // All agree at once, so nobody has lost the lease by it.
    assert!(all_equal(&net));
    assert_eq!(net.core(1).unavailable(net.now), None);
}

#[test]
fn a_freeze_holds_before_it_is_durable_and_is_acknowledged_after() {
    let (mut net, id) = ready();
    net.host(1).hold = true;
    let frame = stop_all(&net, 1);
    assert_eq!(brought(&mut net, 1, frame.clone()), None);
    assert_eq!(in_force(&net, 1), 1);
    assert_eq!(in_force(&net, 2), 1, "it is handed on at once");
    let work = net.cluster.pay(1, 0, FRIEND);
    assert_eq!(net.ask(1, &work, &set(&[1, 2]), id), None);
    net.host(1).sent.clear();
    net.release(1);
    let told = |f: &Frame| matches!(f, Frame::StatementReply(r) if r.refused.is_none());
    assert!(net.host(1).sent.iter().any(|(_, f)| told(f)));
    // Brought again, it is acknowledged again and written once.
    assert_eq!(brought(&mut net, 1, frame), Some(None));
    let written = |(_, r): &&(TimeMs, Record)| matches!(r, Record::Freeze(_));
    assert_eq!(net.host(1).records().iter().filter(written).count(), 1);
}

#[test]
fn a_freeze_without_the_right_to_it_is_refused() {
    let mut net = Net::calm();
    let all = || freeze(1, FreezeScope::All, FreezeLevel::Hard, "wanda");
    let trader = freeze(1, FreezeScope::All, FreezeLevel::Hard, "trader");
    let elsewhere = Freeze {
        cluster: quoin_core::ClusterId([9; 32]),
        ..all()
    };
    let unprintable = Freeze {
        reason: "\u{1b}[2J".to_owned(),
        ..all()
    };
    let watcher = &net.cluster.watcher;
    let frames = [
        signed(&net, all(), &net.cluster.trader),
        signed(&net, trader, &net.cluster.trader),
        Frame::Freeze(Signed::sign(elsewhere, watcher).to_bytes()),
        signed(&net, unprintable, watcher),
        Frame::Freeze(vec![1, 2, 3]),
    ];
    for frame in frames {
        let refused = brought(&mut net, 1, frame.clone()).unwrap();
        assert!(refused.is_some(), "{frame:?}");
        net.node_says(2, 1, frame);
        assert_eq!(in_force(&net, 1), 0);
    }
}

#[test]
fn one_principal_has_only_so_many_freezes_in_force() {
    let mut net = Net::calm();
    for id in 0..=quoin_policy::FREEZES_PER_PRINCIPAL_MAX {
        let one = FreezeScope::Counterparty("somewhere".parse().unwrap());
        let one = freeze(u8::try_from(id).unwrap(), one, FreezeLevel::Risk, "wanda");
        let frame = signed(&net, one, &net.cluster.watcher);
        let refused = brought(&mut net, 1, frame).unwrap();
        assert_eq!(
            refused.is_some(),
            id == quoin_policy::FREEZES_PER_PRINCIPAL_MAX
        );
    }
    // Another one's freezes have their own room.
    let other = freeze(200, FreezeScope::All, FreezeLevel::Hard, "alice");
    let frame = signed(&net, other, &net.cluster.governors[0]);
    assert_eq!(brought(&mut net, 1, frame), Some(None));
}

#[test]
fn a_freeze_between_decision_and_answer_stops_the_answer() {
    let scopes = [
        FreezeScope::All,
        FreezeScope::Key("desk".parse().unwrap()),
        FreezeScope::Role("desk".parse().unwrap()),
        FreezeScope::Principal("trader".parse().unwrap()),
        FreezeScope::Counterparty(quoin_core::Address::evm(FRIEND)),
        FreezeScope::Chain(quoin_core::ChainId::Evm(31_337)),
    ];
    for scope in scopes {
        for level in [FreezeLevel::Risk, FreezeLevel::Hard] {
            let (mut net, id) = ready();
            net.host(1).hold = true;
            let work = net.cluster.pay(1, 0, FRIEND);
            assert_eq!(net.ask(1, &work, &set(&[1, 2]), id), None);
            let frame = freeze(1, scope.clone(), level, "wanda");
            let frame = signed(&net, frame, &net.cluster.watcher);
            brought(&mut net, 1, frame);
            net.host(1).sent.clear();
            net.release(1);
            let gone = Reply::Unavailable(Unavailable::PresignatureGone);
            assert_eq!(net.replies(1), [gone], "{scope:?} {level:?}");
        }
    }
}

#[test]
fn a_freeze_of_something_else_stops_no_answer() {
    let (mut net, id) = ready();
    net.host(1).hold = true;
    let work = net.cluster.pay(1, 0, FRIEND);
    assert_eq!(net.ask(1, &work, &set(&[1, 2]), id), None);
    let other = FreezeScope::Key("other".parse().unwrap());
    let frame = freeze(1, other, FreezeLevel::Hard, "wanda");
    let frame = signed(&net, frame, &net.cluster.watcher);
    brought(&mut net, 1, frame);
    net.host(1).sent.clear();
    net.release(1);
    let replies = net.replies(1);
    assert!(matches!(&*replies, [Reply::Answer(_)]), "{replies:?}");
}

#[test]
fn a_risk_freeze_leaves_the_corridor_open() {
    let (mut net, id) = ready();
    let ids = net.lease(&set(&[1, 2]), 2);
    let desk = FreezeScope::Role("desk".parse().unwrap());
    let frame = freeze(1, desk, FreezeLevel::Risk, "wanda");
    let frame = signed(&net, frame, &net.cluster.watcher);
    brought(&mut net, 1, frame);
    let pay = net.cluster.pay(1, 0, FRIEND);
    let reply = net.ask(1, &pay, &set(&[1, 2]), id);
    assert!(refuses_as_frozen(&reply), "{reply:?}");
    let cancel = net.cluster.cancel(2, 1);
    answer(&net.ask(1, &cancel, &set(&[1, 2]), ids[0]));
    // A hard one does not.
    let frame = stop_all(&net, 2);
    brought(&mut net, 1, frame);
    let cancel = net.cluster.cancel(3, 2);
    let reply = net.ask(1, &cancel, &set(&[1, 2]), ids[1]);
    assert!(refuses_as_frozen(&reply), "{reply:?}");
}

#[test]
fn a_freeze_does_not_keep_a_key_from_being_suspended() {
    let mut net = Net::calm();
    let frame = stop_all(&net, 1);
    brought(&mut net, 1, frame);
    let work = net.cluster.change_key(1, KeyChange::Suspend);
    net.replies(1);
    net.gateway_says(1, Frame::Request(work.frame(None)));
    let replies = net.replies(1);
    assert!(matches!(&*replies, [Reply::ChangeDone(_)]), "{replies:?}");
}

#[test]
fn two_frozen_nodes_leave_nobody_to_sign_with() {
    let (mut net, id) = ready();
    // The cut keeps it from the third.
    net.cut_off.insert(node(3));
    let frame = stop_all(&net, 1);
    brought(&mut net, 1, frame);
    assert_eq!([1, 2, 3].map(|n| in_force(&net, n)), [1, 1, 0]);
    for index in 1..=2 {
        let work = net.cluster.pay(index, 0, FRIEND);
        let reply = net.ask(index, &work, &set(&[1, 2]), id);
        assert!(refuses_as_frozen(&reply), "{reply:?}");
    }
    // And the third has no lease: no other is its equal.
    net.advance(LEASE_MS + 1_000);
    assert_eq!(net.core(3).unavailable(net.now), Some(Unavailable::NoLease));
    net.cut_off.clear();
    net.advance(1_500);
    assert_eq!(in_force(&net, 3), 1);
    assert_eq!(net.core(3).unavailable(net.now), None);
}

#[test]
fn behind_a_full_cut_a_hidden_freeze_holds_after_a_lease() {
    // Node 1 hears of it; the gateway shows it to nobody, and the nodes do not reach each other.
    let (mut net, _) = ready();
    let ids = net.lease(&set(&[2, 3]), 3);
    net.cut_off = net.hosts.keys().copied().collect();
    let frame = stop_all(&net, 1);
    brought(&mut net, 1, frame);
    let early = net.cluster.pay(1, 0, FRIEND);
    answer(&net.ask(2, &early, &set(&[2, 3]), ids[0]));
    net.advance(LEASE_MS + 100);
    for index in 2..=3 {
        let work = net.cluster.pay(10 + index, 1, FRIEND);
        let reply = net.ask(index, &work, &set(&[2, 3]), ids[1]);
        assert_eq!(reply, Some(Reply::Unavailable(Unavailable::NoLease)));
        // The corridor stays open: nobody here knows of a freeze.
        let cancel = net.cluster.cancel(20 + index, 2);
        answer(&net.ask(index, &cancel, &set(&[2, 3]), ids[2]));
    }
    // Nothing was decided for good: once they hear of each other again, the freeze denies.
    net.cut_off.clear();
    net.advance(2_000);
    assert!(all_equal(&net));
    let work = net.cluster.pay(12, 1, FRIEND);
    let reply = net.ask(2, &work, &set(&[2, 3]), ids[1]);
    assert!(refuses_as_frozen(&reply), "{reply:?}");
}

#[test]
fn a_freeze_survives_a_restart() {
    let mut net = Net::calm();
    let frame = stop_all(&net, 1);
    brought(&mut net, 1, frame);
    net.cut_off = net.hosts.keys().copied().collect();
    net.restart(1);
    assert_eq!(in_force(&net, 1), 1);
    net.cut_off.clear();
    net.advance(1_000);
    assert!(all_equal(&net));
}

#[test]
fn a_node_restored_from_before_a_freeze_gets_it_back_and_signs_nothing_until_then() {
    let mut net = Net::calm();
    let before = net.host(1).records().len();
    let frame = stop_all(&net, 1);
    brought(&mut net, 1, frame);
    net.cut_off.insert(node(1));
    net.roll_back(1, before);
    assert_eq!(in_force(&net, 1), 0);
    // It has heard nobody, so it has no lease.
    assert_eq!(net.core(1).unavailable(net.now), Some(Unavailable::NoLease));
    net.cut_off.clear();
    net.advance(500);
    assert_eq!(in_force(&net, 1), 1);
    assert!(all_equal(&net));
}

#[test]
fn a_node_that_the_others_have_fenced_still_gets_their_freezes() {
    let mut net = Net::calm();
    let frame = stop_all(&net, 1);
    net.cut_off.insert(node(1));
    brought(&mut net, 2, frame);
    for index in 2..=3 {
        net.act(index, |core, _| core.peers.restore_fence(node(1)));
    }
    net.cut_off.clear();
    net.advance(2_000);
    assert_eq!(in_force(&net, 1), 1);
}

#[test]
fn heartbeats_that_tell_of_other_freezes_are_no_lease() {
    let mut net = Net::calm();
    // Nothing of it passes between the nodes but heartbeats.
    net.filter = Some(|_, _, frame| matches!(frame, Frame::Freeze(_) | Frame::Freezes(_)));
    let frame = stop_all(&net, 1);
    brought(&mut net, 1, frame);
    net.advance(LEASE_MS + 1_000);
    assert_eq!(net.core(1).unavailable(net.now), Some(Unavailable::NoLease));
    // The other two are each other's equals: one node that differs cannot take their leases.
    for index in 2..=3 {
        assert_eq!(net.core(index).unavailable(net.now), None, "node {index}");
    }
    net.filter = None;
    net.advance(1_500);
    assert!(all_equal(&net));
    assert_eq!(net.core(1).unavailable(net.now), None);
}

#[test]
fn what_differs_is_shown_once_a_second_at_most() {
    let mut net = Net::calm();
    net.filter = Some(|_, _, frame| {
        matches!(
            frame,
            Frame::Freeze(_) | Frame::Freezes(_) | Frame::FreezesRequest
        )
    });
    let frame = stop_all(&net, 1);
    brought(&mut net, 1, frame);
    net.host(1).sent.clear();
    net.advance(10_000);
    let shown = |(to, frame): &&(Peer, Frame)| {
        *to == Peer::Node(node(2)) && matches!(frame, Frame::Freezes(_))
    };
    let count = net.host(1).sent.iter().filter(shown).count();
    assert!((5..=11).contains(&count), "{count}");
}

#[test]
fn treasury_signs_nothing_without_equal_freezes() {
    let net = Net::with(Shape {
        purpose: Purpose::Treasury,
        ..Shape::default()
    });
    let mut net = net;
    net.advance(1_000);
    net.cut_off = net.hosts.keys().copied().collect();
    net.advance(LEASE_MS + 600);
    let cancel = net.cluster.cancel(1, 0);
    let id = quoin_core::PresignatureId {
        batch: quoin_core::BatchHash([0; 32]),
        index: 0,
    };
    let reply = net.ask(1, &cancel, &set(&[1, 2]), id);
    assert_eq!(reply, Some(Reply::Unavailable(Unavailable::NoLease)));
}

#[test]
fn a_quorum_lifts_a_freeze_on_all_nodes_and_for_good() {
    let (mut net, id) = ready();
    let frame = stop_all(&net, 1);
    brought(&mut net, 1, frame.clone());
    let (work, approvals) = lift(&mut net, 50, lifts(&[1]), 0, &[1, 2]);
    // One approval is not enough.
    net.gateway_says(1, Frame::Request(with_approvals(&work, &approvals[..1])));
    assert!(matches!(&*net.replies(1), [Reply::Pending(_)]));
    assert_eq!(in_force(&net, 1), 1);
    // The gateway shows it to one node, which hands it on.
    net.gateway_says(1, Frame::Request(with_approvals(&work, &approvals)));
    let replies = net.replies(1);
    let [Reply::ChangeDone(statement)] = &*replies else {
        panic!("{replies:?}");
    };
    let statement = Signed::<UnfreezeStatement>::from_bytes(statement).unwrap();
    assert_eq!(statement.unverified().lifts, [FreezeId([1; 16])]);
    assert_eq!(statement.unverified().freezes, net.core(1).freezes.digest());
    assert_eq!([1, 2, 3].map(|n| in_force(&net, n)), [0; 3]);
    assert!(all_equal(&net));
    let pay = net.cluster.pay(1, 0, FRIEND);
    answer(&net.ask(1, &pay, &set(&[1, 2]), id));
    // It never comes back: not from a courier, not from a node, not over a restart.
    let refused = brought(&mut net, 1, frame.clone()).unwrap().unwrap();
    assert_eq!(refused.field, "id");
    net.node_says(2, 1, frame);
    net.restart(1);
    net.advance(1_000);
    assert_eq!(in_force(&net, 1), 0);
    assert!(all_equal(&net));
    // The same request is answered by the same statement.
    net.replies(1);
    net.gateway_says(1, Frame::Request(with_approvals(&work, &approvals)));
    assert_eq!(net.replies(1), replies);
}

#[test]
fn freezes_that_differ_do_not_keep_them_from_being_lifted() {
    let mut net = Net::calm();
    net.filter = Some(|_, _, frame| matches!(frame, Frame::Freeze(_) | Frame::Freezes(_)));
    let frame = stop_all(&net, 1);
    brought(&mut net, 1, frame);
    net.advance(LEASE_MS + 1_000);
    assert_eq!(net.core(1).unavailable(net.now), Some(Unavailable::NoLease));
    let (work, approvals) = lift(&mut net, 50, lifts(&[1]), 0, &[1, 2]);
    net.gateway_says(1, Frame::Request(with_approvals(&work, &approvals)));
    net.advance(1_000);
    // The others take the lifted id too, though they have never heard of the freeze.
    assert!(all_equal(&net));
    assert_eq!(net.core(1).unavailable(net.now), None);
}

#[test]
fn a_suspended_watcher_freezes_nothing_any_more() {
    let mut net = Net::calm();
    let frame = stop_all(&net, 1);
    brought(&mut net, 1, frame);
    let wish = Unfreeze {
        suspends: vec!["wanda".parse().unwrap()],
        ..lifts(&[1])
    };
    let (work, approvals) = lift(&mut net, 50, wish, 0, &[1, 2]);
    net.gateway_says(1, Frame::Request(with_approvals(&work, &approvals)));
    let frame = stop_all(&net, 2);
    let refused = brought(&mut net, 1, frame.clone()).unwrap().unwrap();
    assert_eq!(refused.field, "principal");
    net.node_says(2, 1, frame.clone());
    assert_eq!(in_force(&net, 1), 0);
    // Over a restart too; and others still may.
    net.restart(1);
    brought(&mut net, 1, frame);
    assert_eq!(in_force(&net, 1), 0);
    let other = freeze(3, FreezeScope::All, FreezeLevel::Hard, "alice");
    let frame = signed(&net, other, &net.cluster.governors[0]);
    assert_eq!(brought(&mut net, 1, frame), Some(None));
}

#[test]
fn a_freeze_that_meets_its_lift_on_another_node_stays_lifted() {
    // Node 3 hears of the lift before it hears of the freeze.
    let mut net = Net::calm();
    net.cut_off.insert(node(3));
    let frame = stop_all(&net, 1);
    brought(&mut net, 1, frame.clone());
    let (work, approvals) = lift(&mut net, 50, lifts(&[1]), 0, &[1, 2]);
    let request = Frame::Request(with_approvals(&work, &approvals));
    net.gateway_says(1, request.clone());
    net.gateway_says(3, request);
    assert!(brought(&mut net, 3, frame).unwrap().is_some());
    net.cut_off.clear();
    net.advance(1_500);
    assert_eq!([1, 2, 3].map(|n| in_force(&net, n)), [0; 3]);
    assert!(all_equal(&net));
}

#[test]
fn a_node_that_was_away_past_the_lapse_of_a_lift_follows_t_others() {
    let mut net = Net::calm();
    let frame = stop_all(&net, 1);
    brought(&mut net, 1, frame);
    net.crash(3);
    let (work, approvals) = lift(&mut net, 50, lifts(&[1]), 0, &[1, 2]);
    net.gateway_says(1, Frame::Request(with_approvals(&work, &approvals)));
    net.jump(super::cluster::LIFE_MS + 1_000);
    // One other is not believed.
    net.crash(2);
    net.start(node(3));
    net.advance(3_000);
    assert_eq!(in_force(&net, 3), 1);
    net.start(node(2));
    net.advance(3_000);
    assert_eq!(in_force(&net, 3), 0);
    assert!(all_equal(&net));
    assert_eq!(net.core(3).unavailable(net.now), None);
    // What it followed, it has written down.
    net.cut_off = net.hosts.keys().copied().collect();
    net.restart(3);
    assert_eq!(in_force(&net, 3), 0);
}

#[test]
fn an_id_of_somebody_elses_freeze_displaces_nothing() {
    let mut net = Net::calm();
    let weak = freeze(
        1,
        FreezeScope::Key("other".parse().unwrap()),
        FreezeLevel::Risk,
        "alice",
    );
    let weak = signed(&net, weak, &net.cluster.governors[0]);
    brought(&mut net, 1, weak);
    let frame = stop_all(&net, 1);
    assert_eq!(brought(&mut net, 2, frame), Some(None));
    for index in 1..=3 {
        let core = net.core(index);
        let hard = core
            .freezes
            .in_force()
            .any(|f| f.level == FreezeLevel::Hard);
        assert!(hard, "node {index}");
    }
    assert!(all_equal(&net));
}

#[test]
fn clocks_that_were_moved_by_a_day_leave_the_corridor() {
    let (mut net, _) = ready();
    let hour = 60 * 60 * 1000;
    for (index, hours) in [(1, 24), (2, 30), (3, 36)] {
        net.host(index).ahead_ms = hours * hour;
    }
    net.advance(2_000);
    // Presignatures of a day ago are gone; new ones are made whatever the clocks say. Node 2 is in
    // the middle, and cannot know that its clock is wrong; alone it signs nothing.
    let ids = net.lease(&set(&[1, 3]), 2);
    for index in [1, 3] {
        let pay = net.cluster.pay(index, 0, FRIEND);
        let reply = net.ask(index, &pay, &set(&[1, 3]), ids[0]);
        assert_eq!(reply, Some(Reply::Unavailable(Unavailable::ClockSkew)));
        let cancel = net.cluster.cancel(10 + index, 1);
        answer(&net.ask(index, &cancel, &set(&[1, 3]), ids[1]));
    }
}

#[test]
fn a_charter_between_decision_and_answer_stops_the_answer() {
    // The next charter has no trader any more: a revoked grant.
    let (mut net, id) = ready();
    net.host(1).hold = true;
    let work = net.cluster.pay(1, 0, FRIEND);
    assert_eq!(net.ask(1, &work, &set(&[1, 2]), id), None);
    let trader: PrincipalId = "trader".parse().unwrap();
    let current = net.core(1).charter().unverified().clone();
    let mut next = net.cluster.next_charter(&current, "revoked");
    next.principals.retain(|p| p.id != trader);
    next.policies = next
        .policies
        .replace("Principal::\"trader\"", "Principal::\"wanda\"");
    let certificate = net.cluster.certified(next, 2);
    net.gateway_says(1, Frame::Charter(certificate.to_bytes()));
    assert_eq!(net.core(1).constitution.number().0, 1);
    net.host(1).sent.clear();
    net.release(1);
    let gone = Reply::Unavailable(Unavailable::PresignatureGone);
    assert_eq!(net.replies(1), [gone]);
}

#[test]
fn a_courier_is_heard_of_statements_alone() {
    let mut net = Net::calm();
    let id = net.lease(&set(&[1, 2]), 1)[0];
    let work = net.cluster.pay(1, 0, FRIEND);
    let hint = quoin_api::frame::SigningHint {
        set: set(&[1, 2]),
        presignature: id,
        epoch: None,
    };
    let now = net.now;
    let beat = net.host(2).core.as_mut().unwrap().heartbeat(now);
    for frame in [
        Frame::Request(work.frame(Some(hint))),
        Frame::Heartbeat(beat),
        Frame::KeysRequest,
    ] {
        assert!(!crate::core::courier_may(&frame));
        net.host(1).sent.clear();
        net.feed(node(1), Event::Frame(Peer::Courier(1), frame));
        net.settle();
        let to_courier = |(to, _): &(Peer, Frame)| matches!(to, Peer::Courier(_));
        assert!(!net.host(1).sent.iter().any(to_courier));
    }
    // It is told what it asks for and may know.
    net.feed(node(1), Event::Connected(Peer::Courier(1)));
    net.feed(
        node(1),
        Event::Frame(Peer::Courier(1), Frame::FreezesRequest),
    );
    net.settle();
    let sent = std::mem::take(&mut net.host(1).sent);
    let to_courier = sent.iter().filter(|(to, _)| *to == Peer::Courier(1));
    let kinds: Vec<bool> = to_courier
        .map(|(_, f)| matches!(f, Frame::Hello(_) | Frame::Freezes(_)))
        .collect();
    assert_eq!(kinds, [true, true]);
}

#[test]
fn a_freeze_by_whoever_had_the_right_once_is_taken_from_nodes_alone() {
    let mut net = Net::calm();
    // Node 3 takes the freeze while wanda may freeze; the next charter knows her no longer.
    net.cut_off.insert(node(3));
    let frame = stop_all(&net, 1);
    assert_eq!(brought(&mut net, 3, frame.clone()), Some(None));
    let current = net.core(1).charter().unverified().clone();
    let mut next = net.cluster.next_charter(&current, "without wanda");
    next.principals.retain(|p| p.id.to_string() != "wanda");
    next.policies = next
        .policies
        .replace("@notice(\"watcher\")", "@notice(\"governor\")");
    let certificate = net.cluster.certified(next, 2);
    net.gateway_says(1, Frame::Charter(certificate.to_bytes()));
    assert_eq!(net.core(2).constitution.number().0, 1);
    let refused = brought(&mut net, 1, frame.clone()).unwrap().unwrap();
    assert_eq!(refused.field, "principal");
    net.gateway_says(1, frame);
    assert_eq!(in_force(&net, 1), 0);
    // Or the two could never be equal again.
    net.cut_off.clear();
    net.advance(3_000);
    assert_eq!([1, 2, 3].map(|n| in_force(&net, n)), [1; 3]);
    assert!(all_equal(&net));
    assert_eq!(net.core(1).unavailable(net.now), None);
    // What they take over still has to be signed.
    let forged = freeze(9, FreezeScope::All, FreezeLevel::Hard, "wanda");
    let forged = signed(&net, forged, &net.cluster.trader);
    net.node_says(2, 1, forged);
    assert_eq!(in_force(&net, 1), 1);
}

#[test]
fn all_that_another_node_knows_is_looked_at_twice_a_second_at_most() {
    let mut net = Net::calm();
    let show = |net: &Net, id: u8| {
        let Frame::Freeze(bytes) = stop_all(net, id) else {
            panic!("no freeze");
        };
        Frame::Freezes(FreezesFrame {
            freezes: vec![Opaque(bytes)],
            lifts: Vec::new(),
            digest: [0; 32],
            lifted: Vec::new(),
            suspended: Vec::new(),
        })
    };
    for (id, known) in [(1, 1), (2, 1)] {
        let frame = show(&net, id);
        net.node_says(2, 1, frame);
        assert_eq!(in_force(&net, 1), known);
    }
    net.advance(500);
    let frame = show(&net, 3);
    net.node_says(2, 1, frame);
    assert_eq!(in_force(&net, 1), 2);
}

#[test]
fn what_a_node_or_a_gateway_claims_to_have_lifted_is_not_believed_of_one() {
    let mut net = Net::calm();
    let frame = stop_all(&net, 1);
    brought(&mut net, 1, frame);
    let claim = Frame::Freezes(FreezesFrame {
        freezes: Vec::new(),
        lifts: Vec::new(),
        digest: [0; 32],
        lifted: vec![FreezeId([1; 16])],
        suspended: vec!["wanda".parse().unwrap()],
    });
    net.gateway_says(1, claim.clone());
    for _ in 0..3 {
        net.advance(1_000);
        net.node_says(2, 1, claim.clone());
        assert_eq!(in_force(&net, 1), 1);
    }
    // Two of three are as many as can sign without this one.
    net.node_says(3, 1, claim);
    assert_eq!(in_force(&net, 1), 0);
}

#[test]
fn what_lifts_freezes_is_all_that_is_taken_with_them() {
    let mut net = Net::calm();
    let suspend = net.cluster.change_key(1, KeyChange::Suspend).frame(None);
    let frame = |net: &Net, lift: RequestFrame| {
        Frame::Freezes(FreezesFrame {
            freezes: Vec::new(),
            lifts: vec![lift],
            digest: net.core(1).freezes.digest(),
            lifted: Vec::new(),
            suspended: Vec::new(),
        })
    };
    let shown = frame(&net, suspend.clone());
    net.node_says(2, 1, shown);
    let state = |net: &Net| net.core(1).keys[&net.cluster.key.key].state;
    assert_eq!(state(&net), quoin_core::KeyState::Active);
    // Handed over as a change, it is taken.
    net.node_says(2, 1, Frame::Request(suspend));
    assert_eq!(state(&net), quoin_core::KeyState::Suspended);
}
