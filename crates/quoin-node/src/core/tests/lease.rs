//! The lease that fresh heartbeats amount to, clocks, and peers that were rolled back.

use super::cluster::FRIEND;
use super::net::answer;
use super::{Net, Shape, node, ready, set};
use crate::core::{Alarm, Record};
use quoin_api::Frame;
use quoin_api::frame::{Reply, Unavailable};
use quoin_api::statements::{Head, Heartbeat};
use quoin_core::cbor::Version;
use quoin_core::{Boot, Generation, HeadHash, Lane, Purpose, Signed};

/// A heartbeat of node 2 that continues what it showed last; the counter is far ahead.
fn beat(net: &Net) -> Heartbeat {
    let peer = net.core(2);
    Heartbeat {
        version: Version,
        cluster: net.cluster.id,
        boot: peer.boot(),
        counter: 1_000_000,
        at: net.now,
        charter: peer.constitution.number(),
        charter_hash: peer.constitution.hash(),
        head: peer.head,
        freezes: peer.freezes.digest(),
    }
}

fn show(net: &mut Net, beat: Heartbeat) {
    let identity = net.cluster.identities[&node(2)].clone();
    let frame = Frame::Heartbeat(Signed::sign(beat, &identity).to_bytes());
    net.node_says(2, 1, frame);
}

/// A net whose nodes have not heard of each other for longer than a lease.
fn out_of_touch(mut net: Net) -> Net {
    net.cut_off = net.hosts.keys().copied().collect();
    net.advance(5_500);
    net
}

fn holds_lease(net: &Net) -> bool {
    net.core(1).unavailable(net.now) != Some(Unavailable::NoLease)
}

#[test]
fn a_treasury_key_is_refused_without_a_lease() {
    let net = Net::with(Shape {
        purpose: Purpose::Treasury,
        ..Shape::default()
    });
    let mut net = out_of_touch(net);
    let work = net.cluster.pay(1, 0, FRIEND);
    let id = quoin_core::PresignatureId {
        batch: quoin_core::BatchHash([0; 32]),
        index: 0,
    };
    let reply = net.ask(1, &work, &set(&[1, 2]), id);
    assert_eq!(reply, Some(Reply::Unavailable(Unavailable::NoLease)));
    // With a lease it is the missing presignature that refuses.
    net.cut_off.clear();
    net.advance(1_000);
    let reply = net.ask(1, &work, &set(&[1, 2]), id);
    let gone = Reply::Unavailable(Unavailable::PresignatureGone);
    assert_eq!(reply, Some(gone));
}

#[test]
fn a_trading_key_signs_in_the_corridor_alone_without_a_lease() {
    let (net, id) = ready();
    let mut net = out_of_touch(net);
    assert!(!holds_lease(&net));
    let work = net.cluster.pay(1, 0, FRIEND);
    let reply = net.ask(1, &work, &set(&[1, 2]), id);
    assert_eq!(reply, Some(Reply::Unavailable(Unavailable::NoLease)));
    let cancel = net.cluster.cancel(2, 0);
    answer(&net.ask(1, &cancel, &set(&[1, 2]), id));
    // Nothing was decided: with a lease the same request is permitted.
    net.cut_off.clear();
    net.advance(1_000);
    let id = net.lease(&set(&[1, 2]), 1)[0];
    let work = net.cluster.pay(1, 1, FRIEND);
    answer(&net.ask(1, &work, &set(&[1, 2]), id));
}

#[test]
fn no_batch_and_no_key_is_made_without_a_lease() {
    let mut net = out_of_touch(Net::calm());
    let jobs = net.host(1).jobs_asked;
    net.lease(&set(&[1, 2]), 8);
    net.advance(1_000);
    assert_eq!(net.host(1).jobs_asked, jobs);
    let work = net.cluster.make_key(1, "new");
    net.replies(1);
    net.gateway_says(1, Frame::Request(work.frame(None)));
    let no_lease = Reply::Unavailable(Unavailable::NoLease);
    assert_eq!(net.replies(1), [no_lease]);
}

#[test]
fn n_minus_t_fresh_peers_are_a_lease() {
    let mut net = Net::calm();
    net.cut_off.insert(node(3));
    net.advance(5_500);
    assert!(holds_lease(&net));
    net.cut_off.insert(node(2));
    // The newest heartbeat was up to half a second old when the link was cut.
    net.advance(4_400);
    assert!(holds_lease(&net));
    net.advance(1_200);
    assert!(!holds_lease(&net));
    assert!(!net.core(1).is_ready(net.now));
}

#[test]
fn peers_under_another_charter_are_no_lease() {
    let mut net = Net::calm();
    let next = net
        .cluster
        .next_charter(net.cluster.genesis.unverified(), "next");
    let certificate = net.cluster.certified(next, 2);
    // Only node 1 hears of it.
    net.cut_off = [node(2), node(3)].into();
    net.gateway_says(1, Frame::Charter(certificate.to_bytes()));
    assert!(!holds_lease(&net));
}

#[test]
fn a_clock_more_than_two_seconds_ahead_refuses() {
    let (mut net, id) = ready();
    let work = net.cluster.pay(1, 0, FRIEND);
    net.host(1).ahead_ms = 2_500;
    net.advance(1_000);
    let reply = net.ask(1, &work, &set(&[1, 2]), id);
    assert_eq!(reply, Some(Reply::Unavailable(Unavailable::ClockSkew)));
}

#[test]
fn a_clock_less_than_two_seconds_ahead_signs() {
    let (mut net, id) = ready();
    let work = net.cluster.pay(1, 0, FRIEND);
    net.host(1).ahead_ms = 1_500;
    net.advance(1_000);
    answer(&net.ask(1, &work, &set(&[1, 2]), id));
}

#[test]
fn a_clock_behind_its_peers_refuses() {
    let (mut net, id) = ready();
    let work = net.cluster.pay(1, 0, FRIEND);
    net.host(2).ahead_ms = 2_500;
    net.host(3).ahead_ms = 2_500;
    net.advance(1_000);
    let reply = net.ask(1, &work, &set(&[1, 2]), id);
    assert_eq!(reply, Some(Reply::Unavailable(Unavailable::ClockSkew)));
}

#[test]
fn one_peer_whose_clock_runs_ahead_does_not_stop_the_others() {
    let (mut net, id) = ready();
    let work = net.cluster.pay(1, 0, FRIEND);
    net.host(3).ahead_ms = 60_000;
    net.advance(1_000);
    answer(&net.ask(1, &work, &set(&[1, 2]), id));
}

#[test]
fn time_never_goes_back_behind_what_was_persisted() {
    let (mut net, id) = ready();
    let work = net.cluster.pay(1, 0, FRIEND);
    net.ask(1, &work, &set(&[1, 2]), id);
    let newest = net.host(1).records().iter().map(|(at, _)| *at).max();
    net.crash(1);
    net.now = super::cluster::BEGIN;
    net.start(node(1));
    assert_eq!(Some(net.core(1).last_time), newest);
}

#[test]
fn a_heartbeat_with_a_shorter_journal_alarms_and_does_not_count() {
    let mut net = out_of_touch(Net::calm());
    let good = beat(&net);
    let head = Head {
        seq: good.head.seq - 1,
        hash: HeadHash([5; 32]),
    };
    show(
        &mut net,
        Heartbeat {
            head,
            ..good.clone()
        },
    );
    assert!(net.host(1).alarms.contains(&Alarm::RolledBack(node(2))));
    assert!(!holds_lease(&net));
    // The node stays out, even when it shows more again, and after a restart of this one.
    show(&mut net, good);
    assert!(!holds_lease(&net));
    net.restart(1);
    let newer = Heartbeat {
        counter: 2_000_000,
        ..beat(&net)
    };
    show(&mut net, newer);
    assert!(!holds_lease(&net));
}

#[test]
fn a_heartbeat_that_continues_what_was_shown_counts() {
    let mut net = out_of_touch(Net::calm());
    let good = beat(&net);
    show(&mut net, good);
    assert!(holds_lease(&net));
}

#[test]
fn a_heartbeat_that_somebody_else_brings_does_not_count_and_fences_nobody() {
    let mut net = out_of_touch(Net::calm());
    let good = beat(&net);
    let head = Head {
        seq: good.head.seq - 1,
        hash: HeadHash([5; 32]),
    };
    let identity = net.cluster.identities[&node(2)].clone();
    for statement in [
        good.clone(),
        Heartbeat {
            head,
            ..good.clone()
        },
    ] {
        let frame = Frame::Heartbeat(Signed::sign(statement, &identity).to_bytes());
        net.node_says(3, 1, frame.clone());
        net.gateway_says(1, frame);
    }
    assert!(!holds_lease(&net));
    assert_eq!(net.host(1).alarms, []);
    show(&mut net, good);
    assert!(holds_lease(&net));
}

#[test]
fn a_heartbeat_with_another_journal_of_the_same_length_alarms_and_does_not_count() {
    let mut net = out_of_touch(Net::calm());
    let good = beat(&net);
    let head = Head {
        hash: HeadHash([5; 32]),
        ..good.head
    };
    show(&mut net, Heartbeat { head, ..good });
    assert!(net.host(1).alarms.contains(&Alarm::RolledBack(node(2))));
    assert!(!holds_lease(&net));
}

#[test]
fn what_a_peer_showed_is_remembered_across_a_restart() {
    let mut net = Net::calm();
    net.restart(2);
    net.advance(3_000);
    let good = beat(&net);
    assert!(
        net.host(1)
            .records()
            .iter()
            .any(|(_, r)| matches!(r, Record::Witness(_)))
    );
    net.cut_off = net.hosts.keys().copied().collect();
    net.restart(1);
    let older = Boot {
        generation: Generation(good.boot.generation.0 - 1),
        ..good.boot
    };
    show(
        &mut net,
        Heartbeat {
            boot: older,
            ..good
        },
    );
    assert!(net.host(1).alarms.contains(&Alarm::RolledBack(node(2))));
    assert!(!holds_lease(&net));
}

#[test]
fn a_heartbeat_of_an_older_generation_does_not_count() {
    let mut net = Net::calm();
    net.restart(2);
    net.advance(1_000);
    let mut net = out_of_touch(net);
    let good = beat(&net);
    let older = Boot {
        generation: Generation(good.boot.generation.0 - 1),
        ..good.boot
    };
    show(
        &mut net,
        Heartbeat {
            boot: older,
            ..good
        },
    );
    assert!(!holds_lease(&net));
}

#[test]
fn a_peer_that_beats_with_an_older_generation_alarms() {
    let mut net = Net::calm();
    net.restart(2);
    net.advance(1_000);
    let good = beat(&net);
    let older = Boot {
        generation: Generation(good.boot.generation.0 - 1),
        ..good.boot
    };
    show(
        &mut net,
        Heartbeat {
            boot: older,
            ..good
        },
    );
    assert!(net.host(1).alarms.contains(&Alarm::RolledBack(node(2))));
}

#[test]
fn forged_heartbeats_do_not_count() {
    let mut net = out_of_touch(Net::calm());
    let good = beat(&net);
    let old_counter = Heartbeat {
        counter: 1,
        ..good.clone()
    };
    show(&mut net, old_counter);
    let other_cluster = Heartbeat {
        cluster: quoin_core::ClusterId([1; 32]),
        ..good.clone()
    };
    show(&mut net, other_cluster);
    let unknown = Heartbeat {
        boot: Boot {
            node: node(9),
            lane: Lane(0),
            generation: Generation(1),
        },
        ..good.clone()
    };
    show(&mut net, unknown);
    let by_another = Heartbeat {
        boot: Boot {
            node: node(3),
            ..good.boot
        },
        ..good
    };
    show(&mut net, by_another);
    assert!(!holds_lease(&net));
}

#[test]
fn idle_nodes_do_not_witness_each_other_for_ever() {
    let mut net = Net::calm();
    net.advance(5_000);
    let before = net.host(1).records().len();
    net.advance(30_000);
    assert!(net.host(1).records().len() <= before + 1);
}
