//! Strikes: durable before anything else leaves, across restarts, and never for a time-out.

use super::cluster::BEGIN;
use super::net::Net;
use super::{Shape, node, set};
use crate::core::config::OPEN_TRIES_MAX;
use crate::core::job::Presignatures;
use crate::core::strikes::Strikes;
use crate::core::{Alarm, FaultRecord, JobResult, Record, TryRecord};
use quoin_api::frame::SessionFrame;
use quoin_api::{Frame, SessionId};
use quoin_core::{BatchId, CeremonyId, NodeIndex, cbor};
use quoin_protocol::{Abort, Advance, Fault, Inbox, Outbox, Round, RoundMessage};
use rand_core::CryptoRngCore;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// A round that waits for node 2 and whose checks depend on secrets.
struct Secret(Result<(), Fault>);

impl Round<Presignatures> for Secret {
    fn number(&self) -> u8 {
        2
    }

    fn awaits(&self) -> Vec<NodeIndex> {
        vec![node(2)]
    }

    fn is_secret_dependent(&self) -> bool {
        true
    }

    fn finish(
        self: Box<Self>,
        _: Inbox,
        _: &mut dyn CryptoRngCore,
    ) -> Result<Advance<Presignatures>, Abort> {
        match self.0 {
            Ok(()) => Ok(Advance::Done(Vec::new())),
            Err(fault) => Err(Abort::one(Some(node(2)), fault)),
        }
    }
}

/// Node 1 has proposed a batch to node 2; its first job is in the hands of the test.
fn proposing() -> (Net, SessionId) {
    let mut net = Net::with(Shape::default());
    net.crash(3);
    net.host(1).keep_jobs = true;
    net.advance(200);
    assert_eq!(net.host(1).jobs.len(), 1);
    let batch = BatchId {
        proposer: net.core(1).boot(),
        counter: 1,
    };
    (net, SessionId::Batch(batch))
}

fn aborts(net: &mut Net) -> usize {
    let sent = &net.host(1).sent;
    sent.iter()
        .filter(|(_, f)| matches!(f, Frame::SessionAborted(_)))
        .count()
}

fn quarantined(net: &Net, peer: u8) -> bool {
    net.core(1).strikes.is_quarantined(node(peer), net.now)
}

fn failed(fault: Fault) -> JobResult {
    JobResult::BatchStarted(Err(Abort::one(Some(node(2)), fault)))
}

#[test]
fn a_strike_is_durable_before_the_abort_leaves() {
    let (mut net, _) = proposing();
    net.host(1).hold = true;
    net.host(1).sent.clear();
    net.compute(1, failed(Fault::PointCheck));
    net.settle();
    let written = net.host(1).unsynced();
    assert!(
        written.iter().any(|r| matches!(r, Record::Fault(f)
            if f.peer == node(2) && f.fault == Fault::PointCheck)),
        "{written:?}"
    );
    let alarm = Alarm::Strike(node(2), Fault::PointCheck);
    assert!(net.host(1).alarms.contains(&alarm));
    assert_eq!(aborts(&mut net), 0);
    net.release(1);
    assert_eq!(aborts(&mut net), 1);
}

#[test]
fn an_abort_never_leaves_when_its_strike_could_not_be_written() {
    let (mut net, _) = proposing();
    net.host(1).hold = true;
    net.host(1).sent.clear();
    net.compute(1, failed(Fault::PointCheck));
    net.feed(node(1), crate::core::Event::StorageFailed);
    net.release(1);
    assert_eq!(aborts(&mut net), 0);
}

#[test]
fn a_strike_quarantines_for_a_day_across_a_restart() {
    let (mut net, _) = proposing();
    net.compute(1, failed(Fault::MultiplicationCheck));
    net.settle();
    assert!(quarantined(&net, 2));
    assert!(!quarantined(&net, 3));
    net.restart(1);
    assert!(quarantined(&net, 2));
    net.advance(5_000);
    assert!(net.lease(&set(&[1, 2]), 1).is_empty());
    net.start(node(3));
    net.advance(5_000);
    assert_eq!(net.lease(&set(&[1, 3]), 1).len(), 1);
    assert!(net.lease(&set(&[1, 2]), 1).is_empty());
    net.jump(DAY_MS);
    assert!(!quarantined(&net, 2));
    net.advance(2_000);
    assert_eq!(net.lease(&set(&[1, 2]), 1).len(), 1);
}

#[test]
fn every_class_one_fault_is_a_strike() {
    for fault in [
        Fault::TreeCheck,
        Fault::ExtensionCheck,
        Fault::MultiplicationCheck,
        Fault::PointCheck,
    ] {
        let (mut net, _) = proposing();
        net.compute(1, failed(fault));
        net.settle();
        net.now = net.now.plus(DAY_MS - 1_000);
        assert!(quarantined(&net, 2), "{fault:?}");
    }
}

#[test]
fn three_strikes_are_lifted_by_no_time_within_their_span() {
    let (mut net, _) = proposing();
    for _ in 0..3 {
        net.compute(1, failed(Fault::PointCheck));
        net.host(1).jobs.clear();
        net.settle();
        net.jump(DAY_MS);
        net.advance(1_000);
    }
    assert!(quarantined(&net, 2));
    net.now = net.now.plus(20 * DAY_MS);
    assert!(quarantined(&net, 2));
    net.restart(1);
    assert!(quarantined(&net, 2));
}

#[test]
fn a_public_fault_holds_off_for_a_minute_and_is_no_strike() {
    let (mut net, _) = proposing();
    net.compute(1, failed(Fault::BadPoint));
    net.settle();
    assert!(quarantined(&net, 2));
    assert_eq!(net.host(1).alarms, []);
    net.now = net.now.plus(61_000);
    assert!(!quarantined(&net, 2));
}

#[test]
fn a_fault_without_a_culprit_is_held_against_nobody() {
    let (mut net, _) = proposing();
    let records = net.host(1).records().len();
    let nobody = Abort::one(None, Fault::TranscriptDiffers);
    net.compute(1, JobResult::BatchStarted(Err(nobody)));
    net.settle();
    assert_eq!(net.host(1).records().len(), records);
    assert!(!quarantined(&net, 2));
}

#[test]
fn a_time_out_gives_no_strike() {
    let (mut net, _) = proposing();
    net.advance(40_000);
    let records = net.host(1).records();
    assert!(!records.iter().any(|(_, r)| matches!(r, Record::Fault(_))));
    assert!(!quarantined(&net, 2));
}

#[test]
fn the_accusation_of_another_node_changes_nothing() {
    let (mut net, session) = proposing();
    net.node_says(2, 1, Frame::SessionAborted(session));
    assert!(!quarantined(&net, 2));
    let records = net.host(1).records();
    assert!(!records.iter().any(|(_, r)| matches!(r, Record::Fault(_))));
}

/// Brings the batch of node 1 to a secret-dependent round and gives node 2's message.
fn trying(net: &mut Net, session: SessionId, outcome: Result<(), Fault>) {
    let round = Box::new(Secret(outcome));
    net.compute(1, JobResult::BatchStarted(Ok((round, Outbox::new()))));
    let message = RoundMessage {
        round: 2,
        broadcast: Vec::new(),
        signature: [0; 64],
        private: Vec::new(),
    };
    let frame = Frame::Session(SessionFrame {
        session,
        header: None,
        message: cbor::encode(&message),
    });
    net.node_says(2, 1, frame);
}

#[test]
fn a_secret_dependent_check_runs_only_once_its_try_is_durable() {
    let (mut net, session) = proposing();
    net.host(1).hold = true;
    trying(&mut net, session, Ok(()));
    assert!(matches!(
        net.host(1).unsynced().last(),
        Some(Record::TryOpen(t)) if t.peers == [node(2)]
    ));
    assert!(net.host(1).jobs.is_empty());
    net.release(1);
    assert_eq!(net.host(1).jobs.len(), 1);
}

#[test]
fn a_single_try_that_was_left_open_is_no_strike_after_a_restart() {
    let (mut net, session) = proposing();
    trying(&mut net, session, Ok(()));
    net.restart(1);
    // One alone is no strike: a node that is killed would else ban honest peers.
    assert!(!quarantined(&net, 2));
    let open = net.host(1).records();
    assert!(open.iter().any(|(_, r)| matches!(r, Record::TryOpen(_))));
    assert!(!open.iter().any(|(_, r)| matches!(r, Record::TryClosed(_))));
}

#[test]
fn a_try_that_passed_is_no_strike() {
    let (mut net, session) = proposing();
    trying(&mut net, session, Ok(()));
    net.host(1).keep_jobs = false;
    net.settle();
    let records = net.host(1).records();
    assert!(
        records
            .iter()
            .any(|(_, r)| matches!(r, Record::TryClosed(_)))
    );
    net.restart(1);
    assert!(!quarantined(&net, 2));
}

#[test]
fn a_try_that_failed_is_one_strike() {
    let (mut net, session) = proposing();
    trying(&mut net, session, Err(Fault::TreeCheck));
    net.host(1).keep_jobs = false;
    net.settle();
    let kinds: Vec<_> = net
        .host(1)
        .records()
        .into_iter()
        .filter_map(|(_, r)| match r {
            Record::TryOpen(_) => Some("open"),
            Record::Fault(_) => Some("fault"),
            Record::TryClosed(_) => Some("closed"),
            _ => None,
        })
        .collect();
    assert_eq!(kinds, ["open", "fault", "closed"]);
    net.restart(1);
    assert!(quarantined(&net, 2));
}

/// What the crashes of this node left open against node 2, an hour apart.
fn crashes(count: usize) -> Strikes {
    let mut strikes = Strikes::default();
    for place in 0..count as u64 {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&place.to_be_bytes());
        strikes.restore_open_try(&TryRecord {
            session: SessionId::Ceremony(CeremonyId(id)),
            peers: vec![node(2)],
            at: BEGIN.plus(place * DAY_MS / 24),
        });
    }
    strikes.settle_open_tries();
    strikes
}

#[test]
fn many_tries_that_crashes_left_open_quarantine_and_a_few_do_not() {
    let now = BEGIN.plus(3 * DAY_MS);
    assert!(!crashes(OPEN_TRIES_MAX - 1).is_quarantined(node(2), now));
    let strikes = crashes(OPEN_TRIES_MAX);
    assert!(strikes.is_quarantined(node(2), now));
    assert!(!strikes.is_quarantined(node(3), now));
    assert!(!strikes.is_quarantined(node(2), BEGIN.plus(34 * DAY_MS)));
}

#[test]
fn three_strikes_far_apart_are_lifted_by_time() {
    let mut strikes = Strikes::default();
    for day in [0, 1, 40] {
        strikes.restore_fault(&FaultRecord {
            peer: node(2),
            fault: Fault::PointCheck,
            session: SessionId::Ceremony(CeremonyId([1; 16])),
            at: BEGIN.plus(day * DAY_MS),
        });
    }
    assert!(strikes.is_quarantined(node(2), BEGIN.plus(40 * DAY_MS)));
    assert!(!strikes.is_quarantined(node(2), BEGIN.plus(42 * DAY_MS)));
}
