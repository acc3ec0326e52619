//! Changes of keys and nodes: who may, in which state, durable before it is said, and known to all.

use super::cluster::{BEGIN, FRIEND, LIFE_MS, Work};
use super::net::{Net, answer, gateway};
use super::{Shape, node, ready, set};
use crate::core::{Effect, Event, FaultRecord, Node, Peer, Record};
use quoin_api::frame::{Reply, RequestFrame, Unavailable};
use quoin_api::statements::{EpochRange, Head, Heartbeat, KeyStatement, NodeStatement};
use quoin_api::{Frame, SessionId};
use quoin_core::cbor::Version;
use quoin_core::payload::{KeyChange, NodeChange};
use quoin_core::{
    Boot, CeremonyId, ClusterId, Generation, HeadHash, KeyState, Lane, Payload, Purpose,
    ShareEpoch, Signed, Stamp, TimeMs,
};
use quoin_policy::state_name;
use quoin_protocol::Fault;

const STATES: [KeyState; 5] = [
    KeyState::Active,
    KeyState::Suspended,
    KeyState::Deactivated,
    KeyState::Compromised,
    KeyState::Destroyed,
];

fn changes() -> [KeyChange; 5] {
    [
        KeyChange::Suspend,
        KeyChange::Resume,
        KeyChange::Retire,
        KeyChange::Compromise,
        KeyChange::Destroy,
    ]
}

/// What leads from birth to a state.
fn way_to(state: KeyState) -> Vec<KeyChange> {
    match state {
        KeyState::PreActive | KeyState::Active => vec![],
        KeyState::Suspended => vec![KeyChange::Suspend],
        KeyState::Deactivated => vec![KeyChange::Retire],
        KeyState::Compromised => vec![KeyChange::Compromise],
        KeyState::Destroyed => vec![KeyChange::Retire, KeyChange::Destroy],
    }
}

/// The gateway brings a request to one node; what that node replies.
fn tell(net: &mut Net, index: u8, work: &Work) -> Vec<Reply> {
    net.replies(index);
    net.gateway_says(index, Frame::Request(work.frame(None)));
    net.replies(index)
}

/// A change that node 1 carries out, and the others with it; node 1's statement.
fn change(net: &mut Net, id: u8, change: KeyChange) -> KeyStatement {
    let work = net.cluster.change_key(id, change);
    key_statement(&tell(net, 1, &work))
}

fn done(replies: &[Reply]) -> Vec<u8> {
    match replies {
        [Reply::ChangeDone(bytes)] => bytes.clone(),
        other => panic!("not done: {other:?}"),
    }
}

fn key_statement(replies: &[Reply]) -> KeyStatement {
    let signed = Signed::<KeyStatement>::from_bytes(&done(replies)).unwrap();
    signed.unverified().clone()
}

fn state(net: &Net, index: u8) -> KeyState {
    net.core(index).keys[&net.cluster.key.key].state
}

fn in_state(wanted: KeyState) -> Net {
    let mut net = Net::with(Shape::default());
    for (place, step) in way_to(wanted).into_iter().enumerate() {
        change(&mut net, 100 + u8::try_from(place).unwrap(), step);
    }
    assert_eq!(state(&net, 1), wanted);
    net
}

#[test]
fn every_change_leads_where_the_table_says_or_is_refused_with_the_state() {
    for from in STATES {
        for step in changes() {
            let mut net = in_state(from);
            let work = net.cluster.change_key(1, step.clone());
            let replies = tell(&mut net, 1, &work);
            let what = format!("{} when {}", step.name(), state_name(from));
            match quoin_policy::state_after(from, &step) {
                Some(to) => {
                    assert_eq!(key_statement(&replies).state, to, "{what}");
                    assert_eq!(state(&net, 3), to, "{what}");
                }
                None => {
                    let [Reply::Rejected(refusal)] = &*replies else {
                        panic!("{what}: {replies:?}");
                    };
                    assert!(refusal.message.contains(state_name(from)), "{refusal:?}");
                    assert_eq!(state(&net, 1), from, "{what}");
                }
            }
        }
    }
}

#[test]
fn a_key_out_of_use_signs_nothing_and_says_why() {
    for (to, why) in [
        (KeyState::Suspended, Unavailable::KeySuspended),
        (KeyState::Deactivated, Unavailable::KeyDeactivated),
        (KeyState::Compromised, Unavailable::KeyCompromised),
        (KeyState::Destroyed, Unavailable::KeyDestroyed),
    ] {
        let (mut net, presignature) = ready();
        for (place, step) in way_to(to).into_iter().enumerate() {
            change(&mut net, 100 + u8::try_from(place).unwrap(), step);
        }
        let work = net.cluster.pay(1, 0, FRIEND);
        for signer in [1, 2] {
            let reply = net.ask(signer, &work, &set(&[1, 2]), presignature);
            assert_eq!(reply, Some(Reply::Unavailable(why)), "{to:?}");
        }
        for index in 1..=3 {
            assert_eq!(net.core(index).pool_depth(), 0, "{to:?}");
        }
        let asked = net.host(1).jobs_asked;
        net.advance(1_000);
        assert_eq!(
            net.host(1).jobs_asked,
            asked,
            "no batch for a key out of use"
        );
        assert_eq!(net.lease(&set(&[1, 2]), 1), []);
    }
}

#[test]
fn a_resumed_key_signs_again_with_new_presignatures() {
    let (mut net, old) = ready();
    change(&mut net, 100, KeyChange::Suspend);
    change(&mut net, 101, KeyChange::Resume);
    net.advance(1_000);
    let work = net.cluster.pay(1, 0, FRIEND);
    let gone = Reply::Unavailable(Unavailable::PresignatureGone);
    assert_eq!(net.ask(1, &work, &set(&[1, 2]), old), Some(gone));
    net.sign(&work, &set(&[1, 2]));
}

#[test]
fn batches_under_way_die_with_the_key() {
    let mut net = Net::with(Shape::default());
    net.host(2).keep_jobs = true;
    net.advance(200);
    assert!(!net.host(2).jobs.is_empty());
    change(&mut net, 100, KeyChange::Suspend);
    net.host(2).keep_jobs = false;
    net.settle();
    net.advance(1_000);
    for index in 1..=3 {
        assert_eq!(net.core(index).pool_depth(), 0);
    }
}

#[test]
fn nothing_leaves_for_a_key_that_is_suspended_while_the_record_is_written() {
    let (mut net, presignature) = ready();
    let pay = net.cluster.pay(1, 0, FRIEND);
    net.host(1).hold = true;
    assert_eq!(net.ask(1, &pay, &set(&[1, 2]), presignature), None);
    let suspend = net.cluster.change_key(2, KeyChange::Suspend);
    net.gateway_says(1, Frame::Request(suspend.frame(None)));
    net.release(1);
    let replies = net.replies(1);
    let suspended = Reply::Unavailable(Unavailable::KeySuspended);
    assert_eq!(replies[0], suspended, "{replies:?}");
    assert!(!replies.iter().any(|r| matches!(r, Reply::Answer(_))));
}

#[test]
fn a_statement_leaves_only_once_it_is_durable() {
    let mut net = Net::with(Shape::default());
    net.host(1).hold = true;
    let work = net.cluster.change_key(1, KeyChange::Suspend);
    assert_eq!(tell(&mut net, 1, &work), []);
    assert_eq!(state(&net, 1), KeyState::Suspended, "it holds at once");
    assert_eq!(state(&net, 2), KeyState::Active, "and is told later");
    // The decision and the state are durable; the statement is not written yet.
    net.sync(node(1));
    net.settle();
    assert_eq!(net.replies(1), []);
    assert_eq!(state(&net, 2), KeyState::Suspended);
    net.release(1);
    let bytes = done(&net.replies(1));
    let stated = net.host(1).records().into_iter().any(|(_, record)| {
        matches!(record, Record::ChangeStated { statement, .. } if statement.0 == bytes)
    });
    assert!(stated);
}

#[test]
fn whoever_asks_meanwhile_is_answered_too() {
    let mut net = Net::with(Shape::default());
    net.host(1).hold = true;
    let work = net.cluster.change_key(1, KeyChange::Suspend);
    tell(&mut net, 1, &work);
    let again = RequestFrame {
        attempt: 2,
        ..work.frame(None)
    };
    net.gateway_says(1, Frame::Request(again));
    net.release(1);
    let sent = std::mem::take(&mut net.host(1).sent);
    let answered = sent.into_iter().filter_map(|(to, frame)| match frame {
        Frame::Reply(reply) if to == gateway() => Some(reply.attempt),
        _ => None,
    });
    assert_eq!(
        answered.collect::<Vec<_>>(),
        [2],
        "the newest attempt of a gateway"
    );
}

#[test]
fn a_retry_has_the_same_statement_over_restarts() {
    let mut net = Net::with(Shape::default());
    let work = net.cluster.change_key(1, KeyChange::Suspend);
    let first = done(&tell(&mut net, 1, &work));
    assert_eq!(done(&tell(&mut net, 1, &work)), first);
    change(&mut net, 2, KeyChange::Resume);
    net.restart(1);
    assert_eq!(done(&tell(&mut net, 1, &work)), first);
    assert_eq!(
        state(&net, 1),
        KeyState::Active,
        "the retry suspends nothing"
    );
}

#[test]
fn a_state_survives_restarts() {
    for to in STATES {
        let mut net = in_state(to);
        for index in 1..=3 {
            net.restart(index);
        }
        for index in 1..=3 {
            assert_eq!(state(&net, index), to);
        }
    }
}

#[test]
fn a_crash_at_any_record_leaves_a_node_that_finishes_the_change() {
    let mut net = Net::with(Shape::default());
    let before = net.host(1).records().len();
    let work = net.cluster.change_key(1, KeyChange::Suspend);
    let statement = done(&tell(&mut net, 1, &work));
    let after = net.host(1).records().len();
    let mut stated = 0;
    for count in before..=after {
        let mut effects = Vec::new();
        let mut core = Node::recover(net.recovered(1, count), &mut effects).unwrap();
        let now = net.now.plus(1_000);
        let mut replies = Vec::new();
        // A tick, what it writes made durable, then the same request once more.
        for event in [
            Event::Durable(crate::core::Ticket(1_000), net.host(1).head(count)),
            Event::Tick,
            Event::Durable(crate::core::Ticket(1_000), net.host(1).head(count)),
            Event::Frame(gateway(), Frame::Request(work.frame(None))),
            Event::Durable(crate::core::Ticket(1_000), net.host(1).head(count)),
            Event::Durable(crate::core::Ticket(1_000), net.host(1).head(count)),
        ] {
            let mut effects = Vec::new();
            core.handle(now, event, &mut effects);
            replies.extend(effects.into_iter().filter_map(|effect| match effect {
                Effect::Send(Peer::Gateway(_), Frame::Reply(reply)) => Some(reply.reply),
                _ => None,
            }));
        }
        assert_eq!(
            key_statement(&replies).state,
            KeyState::Suspended,
            "{count}"
        );
        assert_eq!(core.keys[&net.cluster.key.key].state, KeyState::Suspended);
        stated += usize::from(done(&replies) == statement);
    }
    assert!(stated >= 1, "the durable statement is the answer");
}

#[test]
fn a_node_that_was_down_learns_of_a_suspension_when_it_connects() {
    let mut net = Net::with(Shape::default());
    net.crash(3);
    change(&mut net, 1, KeyChange::Suspend);
    net.start(node(3));
    assert_eq!(state(&net, 3), KeyState::Suspended);
    let records = net.host(3).records();
    assert!(
        records
            .iter()
            .any(|(_, r)| matches!(r, Record::KeyState(_)))
    );
}

#[test]
fn changes_reach_a_node_that_was_down_in_their_order() {
    let mut net = Net::with(Shape::default());
    net.crash(3);
    change(&mut net, 9, KeyChange::Suspend);
    net.advance(1_000);
    change(&mut net, 3, KeyChange::Retire);
    net.advance(1_000);
    change(&mut net, 5, KeyChange::Destroy);
    // From one node alone, and that one has read its journal since.
    net.restart(1);
    net.filter = Some(|from, to, frame| {
        (from, to) == (node(2), node(3)) && matches!(frame, Frame::Request(_))
    });
    net.start(node(3));
    assert_eq!(state(&net, 3), KeyState::Destroyed);
}

#[test]
fn what_cannot_be_decided_at_once_is_decided_later() {
    let mut net = Net::with(Shape::default());
    change(&mut net, 1, KeyChange::Suspend);
    net.crash(3);
    change(&mut net, 2, KeyChange::Resume);
    // A resumption needs a lease, which a node does not have at the moment when it connects.
    net.filter = Some(|_, to, frame| to == node(3) && matches!(frame, Frame::Heartbeat(_)));
    net.start(node(3));
    assert_eq!(state(&net, 3), KeyState::Suspended);
    net.filter = None;
    net.advance(2_000);
    assert_eq!(state(&net, 3), KeyState::Active);
}

#[test]
fn a_change_under_delay_waits_on_every_node_for_itself() {
    let mut net = Net::with(Shape::default());
    let work = net.cluster.change_node(1, 1, NodeChange::Pardon);
    for index in [2, 3] {
        let replies = tell(&mut net, index, &work);
        assert!(matches!(&*replies, [Reply::Pending(_)]), "{replies:?}");
    }
    net.advance(1_000);
    net.jump(60 * 60 * 1000);
    net.advance(1_000);
    // Only node 2 is asked again; node 3 has it from node 2, and its own hour has passed.
    done(&tell(&mut net, 2, &work));
    let carried_out = |net: &mut Net, index| {
        let records = net.host(index).records();
        records
            .iter()
            .any(|(_, r)| matches!(r, Record::NodeChanged(_)))
    };
    assert!(carried_out(&mut net, 3));
    // Node 1 saw it first when node 2 handed it over: its hour begins then, and ends by itself.
    assert!(!carried_out(&mut net, 1));
    net.jump(60 * 60 * 1000);
    net.advance(1_500);
    assert!(carried_out(&mut net, 1));
}

#[test]
fn a_lapsed_change_is_handed_to_nobody() {
    let mut net = Net::with(Shape::default());
    net.crash(3);
    change(&mut net, 1, KeyChange::Suspend);
    net.jump(LIFE_MS);
    net.start(node(3));
    assert_eq!(state(&net, 3), KeyState::Active);
    // The operator asks again: those that are suspended already stay so, and the last one follows.
    let payload = Payload::ChangeKey(quoin_core::payload::ChangeKey {
        key: net.cluster.key.key,
        change: KeyChange::Suspend,
    });
    let mut stamp = net.cluster.change_stamp(2, &payload);
    stamp.not_after = BEGIN.plus(2 * LIFE_MS);
    let again = net.cluster.signed(stamp, payload);
    let statement = key_statement(&tell(&mut net, 1, &again));
    assert_eq!((statement.state, statement.seq), (KeyState::Suspended, 2));
    assert_eq!(state(&net, 3), KeyState::Suspended);
}

#[test]
fn nodes_take_nothing_but_changes_from_each_other() {
    let (mut net, _) = ready();
    let before = net.host(1).records().len();
    for work in [
        net.cluster.pay(1, 0, FRIEND),
        net.cluster.make_key(2, "new"),
    ] {
        net.node_says(2, 1, Frame::Request(work.frame(None)));
        assert_eq!(net.host(1).records().len(), before);
    }
    let mut forged = net.cluster.change_key(3, KeyChange::Suspend).frame(None);
    let last = forged.stamp.len() - 1;
    forged.stamp[last] ^= 1;
    net.node_says(2, 1, Frame::Request(forged));
    assert_eq!(state(&net, 1), KeyState::Active);
    net.node_says(
        2,
        1,
        Frame::Request(net.cluster.change_key(3, KeyChange::Suspend).frame(None)),
    );
    assert_eq!(state(&net, 1), KeyState::Suspended);
}

#[test]
fn one_node_cannot_fill_another_with_changes_that_wait() {
    let mut net = Net::with(Shape::default());
    for id in 0..60 {
        let work = net.cluster.change_node(id, 1, NodeChange::Pardon);
        net.node_says(2, 1, Frame::Request(work.frame(None)));
    }
    assert_eq!(net.core(1).actions.waiting_count(), 32);
    let other = net.cluster.change_node(61, 1, NodeChange::Pardon);
    net.node_says(3, 1, Frame::Request(other.frame(None)));
    assert_eq!(net.core(1).actions.waiting_count(), 33);
}

/// A change that nobody can judge yet: its principal may be new in a charter to come.
fn ahead(net: &Net, id: u8, bytes: usize, alter: impl Fn(&mut Stamp)) -> Frame {
    let mut stamp = net.cluster.change_stamp(id, &Payload::Text(String::new()));
    stamp.charter_number_floor = quoin_core::CharterNumber(9);
    alter(&mut stamp);
    let forged = Signed::sign(stamp, &net.cluster.watcher);
    Frame::Request(RequestFrame {
        attempt: 0,
        stamp: forged.to_bytes(),
        payload: vec![7; bytes],
        approvals: Vec::new(),
        signing: None,
    })
}

#[test]
fn what_one_node_has_waiting_takes_little_room_and_lapses() {
    let mut net = Net::with(Shape::default());
    let long = 60 * 24 * 60 * 60 * 1_000;
    let never = [
        ahead(&net, 1, 500_000, |_| {}),
        ahead(&net, 2, 10, |stamp| stamp.not_after = BEGIN.plus(long)),
        ahead(&net, 3, 10, |stamp| stamp.not_after = BEGIN),
        ahead(&net, 4, 10, |stamp| stamp.cluster = ClusterId([9; 32])),
    ];
    for frame in never {
        net.node_says(2, 1, frame);
        assert_eq!(net.core(1).actions.waiting_count(), 0);
    }
    for id in 5..10 {
        let frame = ahead(&net, id, 150_000, |_| {});
        net.node_says(2, 1, frame);
    }
    assert_eq!(net.core(1).actions.waiting_count(), 2);
    // They wait on, and another node has room of its own.
    net.advance(2_500);
    let frame = ahead(&net, 10, 150_000, |_| {});
    net.node_says(3, 1, frame);
    assert_eq!(net.core(1).actions.waiting_count(), 3);
}

#[test]
fn a_delay_ends_by_a_clock_that_others_confirm_only() {
    let mut net = Net::calm();
    let work = net.cluster.change_node(1, 1, NodeChange::Pardon);
    let replies = tell(&mut net, 2, &work);
    assert!(matches!(&*replies, [Reply::Pending(_)]), "{replies:?}");
    // It hears nobody, and its clock jumps past the hour.
    net.cut_off.insert(node(2));
    net.jump(2 * 60 * 60 * 1000);
    net.advance(1_000);
    let replies = tell(&mut net, 2, &work);
    assert!(matches!(&*replies, [Reply::Pending(_)]), "{replies:?}");
    net.cut_off.clear();
    net.advance(1_000);
    done(&tell(&mut net, 2, &work));
}

#[test]
fn a_principal_whom_no_rule_names_changes_nothing() {
    let mut net = Net::with(Shape::default());
    for (id, payload) in [
        net.cluster.change_key(1, KeyChange::Suspend).payload,
        net.cluster.change_node(2, 2, NodeChange::Readmit).payload,
    ]
    .into_iter()
    .enumerate()
    {
        let mut stamp = net
            .cluster
            .change_stamp(u8::try_from(id).unwrap(), &payload);
        let alice = &net.cluster.governors[0];
        stamp.principal = "alice".parse().unwrap();
        stamp.credential = alice.id();
        let work = Work {
            id: stamp.request_id,
            stamp: Signed::sign(stamp, alice).to_bytes(),
            payload,
        };
        let replies = tell(&mut net, 1, &work);
        assert!(matches!(&*replies, [Reply::Denied(_)]), "{replies:?}");
        let records = net.host(1).records();
        let carried_out = records
            .iter()
            .any(|(_, r)| matches!(r, Record::KeyState(_) | Record::NodeChanged(_)));
        assert!(!carried_out);
    }
    assert_eq!(state(&net, 1), KeyState::Active);
}

#[test]
fn a_destroyed_key_is_gone_from_memory_and_disk_and_stays_listed() {
    let mut net = in_state(KeyState::Deactivated);
    for index in 1..=3 {
        assert_eq!(net.host(index).shares().len(), 1);
    }
    let statement = change(&mut net, 1, KeyChange::Destroy);
    assert_eq!(statement.state, KeyState::Destroyed);
    let first = EpochRange {
        first: ShareEpoch(0),
        last: ShareEpoch(0),
    };
    assert_eq!((statement.erased, statement.backups), (vec![first], vec![]));
    for index in 1..=3 {
        assert!(net.host(index).shares().is_empty());
        let entry = &net.core(index).keys[&net.cluster.key.key];
        assert!(entry.labels().is_empty());
        let resume = net.cluster.change_key(2, KeyChange::Resume);
        let replies = tell(&mut net, index, &resume);
        assert!(matches!(&*replies, [Reply::Rejected(_)]), "{replies:?}");
        net.restart(index);
    }
    net.host(1).sent.clear();
    net.gateway_says(1, Frame::KeysRequest);
    let sent = std::mem::take(&mut net.host(1).sent);
    let listed = sent.iter().find_map(|(_, frame)| match frame {
        Frame::Keys(keys) => Some(keys.certificates.len()),
        _ => None,
    });
    assert_eq!(listed, Some(1));
    let said = sent.into_iter().find_map(|(_, frame)| match frame {
        Frame::KeyStates(frame) => Some(frame.statements),
        _ => None,
    });
    let said = Signed::<KeyStatement>::from_bytes(&said.unwrap()[0].0).unwrap();
    assert_eq!(said.unverified().state, KeyState::Destroyed);
    assert_eq!(said.unverified().erased, [first]);
}

#[test]
fn a_destruction_names_the_backups_that_are_left() {
    let mut net = in_state(KeyState::Compromised);
    let key = net.cluster.key.key;
    let core = net.host(1).core.as_mut().unwrap();
    for epoch in [0, 1, 2, 5] {
        core.actions.backup_written(key, ShareEpoch(epoch));
    }
    let range = |first, last| EpochRange {
        first: ShareEpoch(first),
        last: ShareEpoch(last),
    };
    let statement = change(&mut net, 1, KeyChange::Destroy);
    assert_eq!(statement.backups, [range(0, 2), range(5, 5)]);
}

#[test]
fn statements_are_their_nodes_own_and_about_the_request() {
    let mut net = Net::with(Shape::default());
    let work = net.cluster.change_key(1, KeyChange::Suspend);
    let bytes = done(&tell(&mut net, 2, &work));
    let signed = Signed::<KeyStatement>::from_bytes(&bytes).unwrap();
    let identities = &net.cluster.identities;
    assert!(signed.verify(&identities[&node(2)].public()).is_ok());
    assert!(signed.verify(&identities[&node(1)].public()).is_err());
    let statement = signed.unverified();
    assert_eq!(statement.cluster, net.cluster.id);
    assert_eq!(statement.boot, net.core(2).boot());
    assert_eq!(statement.key, net.cluster.key.key);
    assert_eq!(statement.request, Some(work.id));
    assert_eq!((statement.seq, statement.epoch), (1, ShareEpoch(0)));
    assert_eq!((statement.created, statement.changed), (BEGIN, net.now));
    assert!(statement.head.seq > 0);
}

#[test]
fn a_key_is_taken_out_of_use_without_peers_and_brought_back_with_them_only() {
    let mut net = Net::calm();
    net.cut_off = net.hosts.keys().copied().collect();
    net.advance(5_500);
    let no_lease = [Reply::Unavailable(Unavailable::NoLease)];
    change(&mut net, 1, KeyChange::Suspend);
    let resume = net.cluster.change_key(2, KeyChange::Resume);
    assert_eq!(tell(&mut net, 1, &resume), no_lease);
    change(&mut net, 3, KeyChange::Retire);
    let destroy = net.cluster.change_key(4, KeyChange::Destroy);
    assert_eq!(tell(&mut net, 1, &destroy), no_lease);
    assert_eq!(net.host(1).shares().len(), 1);
    change(&mut net, 5, KeyChange::Compromise);
}

#[test]
fn a_treasury_key_can_be_suspended_too() {
    let mut net = Net::with(Shape {
        purpose: Purpose::Treasury,
        ..Shape::default()
    });
    assert_eq!(
        change(&mut net, 1, KeyChange::Suspend).state,
        KeyState::Suspended
    );
}

fn strike(net: &mut Net, at: TimeMs) {
    let fault = FaultRecord {
        peer: node(2),
        fault: Fault::PointCheck,
        session: SessionId::Ceremony(CeremonyId([1; 16])),
        at,
    };
    // As if it had been written in this boot: the ledger and the journal agree.
    let now = net.now;
    let host = net.host(1);
    host.core.as_mut().unwrap().strikes.restore_fault(&fault);
    host.write_now(now, &Record::Fault(fault));
}

fn node_statement(replies: &[Reply]) -> NodeStatement {
    let signed = Signed::<NodeStatement>::from_bytes(&done(replies)).unwrap();
    signed.unverified().clone()
}

#[test]
fn a_pardon_lifts_the_quarantine_and_keeps_the_count() {
    let mut net = Net::with(Shape::default());
    for back in [3, 2, 1] {
        let at = TimeMs(net.now.0 - back);
        strike(&mut net, at);
    }
    let quarantined = |net: &Net| net.core(1).strikes.is_quarantined(node(2), net.now);
    assert!(quarantined(&net));
    let work = net.cluster.change_node(1, 2, NodeChange::Pardon);
    let statement = node_statement(&tell(&mut net, 1, &work));
    assert_eq!(
        (statement.node, statement.change),
        (node(2), NodeChange::Pardon)
    );
    assert_eq!(statement.strikes, 3);
    assert!(!quarantined(&net));
    net.restart(1);
    assert!(!quarantined(&net));
    assert_eq!(net.core(1).strikes.ever(node(2)), 3);
    // The rule begins anew: one strike is a day, and a retry of the old pardon lifts nothing.
    let at = net.now;
    strike(&mut net, at);
    done(&tell(&mut net, 1, &work));
    assert!(quarantined(&net));
    net.jump(25 * 60 * 60 * 1000);
    assert!(!quarantined(&net));
    assert_eq!(net.core(1).strikes.ever(node(2)), 4);
}

/// Node 2 shows node 1 less than it has shown before.
fn roll_back(net: &mut Net) -> Heartbeat {
    let peer = net.core(2);
    let beat = Heartbeat {
        version: Version,
        cluster: net.cluster.id,
        boot: Boot {
            node: node(2),
            lane: Lane(0),
            generation: Generation(0),
        },
        counter: 1,
        at: net.now,
        charter: peer.constitution.number(),
        charter_hash: peer.constitution.hash(),
        head: Head {
            seq: 1,
            hash: HeadHash([7; 32]),
        },
        freezes: peer.freezes.digest(),
    };
    show(net, &beat);
    beat
}

fn show(net: &mut Net, beat: &Heartbeat) {
    let identity = net.cluster.identities[&node(2)].clone();
    let frame = Frame::Heartbeat(Signed::sign(beat.clone(), &identity).to_bytes());
    net.node_says(2, 1, frame);
}

#[test]
fn a_readmitted_node_is_taken_as_it_shows_itself() {
    let mut net = Net::calm();
    let beat = roll_back(&mut net);
    net.cut_off.insert(node(2));
    show(&mut net, &beat);
    assert_eq!(net.core(1).peers.boot(node(2)), None, "it is fenced");
    let work = net.cluster.change_node(1, 2, NodeChange::Readmit);
    let statement = node_statement(&tell(&mut net, 1, &work));
    assert_eq!(statement.change, NodeChange::Readmit);
    show(&mut net, &beat);
    assert_eq!(net.core(1).peers.boot(node(2)), Some(beat.boot));
    net.restart(1);
    show(&mut net, &beat);
    assert_eq!(net.core(1).peers.boot(node(2)), Some(beat.boot));
    // From here on it is witnessed as every node is.
    let less = Heartbeat {
        counter: 2,
        head: Head {
            seq: 1,
            hash: HeadHash([8; 32]),
        },
        ..beat
    };
    show(&mut net, &less);
    assert_eq!(net.core(1).peers.boot(node(2)), None);
}

#[test]
fn a_node_that_no_charter_names_is_neither_pardoned_nor_readmitted() {
    let mut net = Net::with(Shape::default());
    let work = net.cluster.change_node(1, 9, NodeChange::Pardon);
    let replies = tell(&mut net, 1, &work);
    assert!(matches!(&*replies, [Reply::Rejected(_)]), "{replies:?}");
}

#[test]
fn a_change_that_another_node_has_handed_on_is_answered_when_a_gateway_asks() {
    let mut net = Net::with(Shape::default());
    let work = net.cluster.change_key(1, KeyChange::Suspend);
    tell(&mut net, 1, &work);
    net.replies(3);
    assert_eq!(
        key_statement(&tell(&mut net, 3, &work)).state,
        KeyState::Suspended
    );
}

#[test]
fn a_signature_made_before_a_suspension_is_still_the_answer() {
    let (mut net, _) = ready();
    let work = net.cluster.pay(1, 0, FRIEND);
    let finished = net.sign(&work, &set(&[1, 2]));
    net.gateway_says(1, Frame::Finished(work.finished(&finished)));
    change(&mut net, 2, KeyChange::Suspend);
    let replies = tell(&mut net, 1, &work);
    assert!(
        matches!(&*replies, [Reply::AlreadySigned(_)]),
        "{replies:?}"
    );
}

#[test]
fn keys_other_than_the_one_that_is_named_go_on() {
    let (mut net, presignature) = ready();
    let mut other = net.cluster.change_key(1, KeyChange::Suspend);
    let Payload::ChangeKey(wish) = &mut other.payload else {
        unreachable!()
    };
    wish.key = quoin_core::KeyId([1; 16]);
    let mut stamp = net.cluster.change_stamp(1, &other.payload);
    stamp.key = Some(quoin_core::KeyId([1; 16]));
    let other = net.cluster.signed(stamp, other.payload);
    let unknown = Reply::Unavailable(Unavailable::UnknownKey);
    assert_eq!(tell(&mut net, 1, &other), [unknown]);
    let work = net.cluster.pay(2, 0, FRIEND);
    answer(&net.ask(1, &work, &set(&[1, 2]), presignature));
}
