//! Pools: what is lent to whom, and when it comes back.

use super::cluster::FRIEND;
use super::net::{Net, answer, gateway, gateway_id};
use super::{Shape, node, set};
use crate::core::config::WANTED_MS;
use crate::core::{Event, PoolSizes};
use quoin_api::Frame;
use quoin_api::frame::{Hello, LEASE_IDS_MAX, LeaseRequest, Reply, Unavailable};
use quoin_core::cbor::Version;
use quoin_core::{GatewayId, PresignatureId, ShareEpoch};
use std::collections::BTreeSet;

fn hello(net: &mut Net, boot: u64) {
    let hello = Hello {
        version: Version,
        cluster: net.cluster.id,
        build: "test".to_owned(),
        boot,
    };
    net.gateway_says(1, Frame::Hello(hello));
}

fn lend(net: &mut Net, gateway: &GatewayId, want: u16) -> Vec<PresignatureId> {
    let request = LeaseRequest {
        key: net.cluster.key.key,
        set: set(&[1, 2]),
        want,
        urgent: false,
    };
    let now = net.now;
    let core = net.host(1).core.as_mut().unwrap();
    let epoch = ShareEpoch::default();
    core.pools.lend(gateway, &request, epoch, 0, now).ids
}

/// A gateway draws on the set of nodes 1 and 2.
fn want(net: &mut Net) {
    let (key, now) = (net.cluster.key.key, net.now);
    let core = net.host(1).core.as_mut().unwrap();
    core.pools.want(key, &set(&[1, 2]), now);
}

fn free_of(net: &Net, signers: &[u8]) -> usize {
    let stats = net.core(1).pool_stats();
    let of_set = stats.iter().find(|s| s.set == set(signers));
    of_set.map_or(0, |s| s.free)
}

#[test]
fn a_set_that_no_gateway_draws_on_has_one_batch_and_one_that_is_drawn_on_is_kept_full() {
    let mut net = Net::off(Shape::default());
    net.pool = PoolSizes {
        low: 33,
        batch: 8,
        reserve: 0,
    };
    net.start_all();
    net.advance(2_000);
    assert_eq!((free_of(&net, &[1, 2]), free_of(&net, &[1, 3])), (8, 8));
    want(&mut net);
    net.advance(2_000);
    assert_eq!((free_of(&net, &[1, 2]), free_of(&net, &[1, 3])), (40, 8));
    // Ten minutes after the last lease it is one among others.
    net.jump(WANTED_MS);
    let lent = lend(&mut net, &gateway_id(), 40);
    assert_eq!(lent.len(), 40);
    net.advance(2_000);
    assert_eq!(free_of(&net, &[1, 2]), 8);
}

#[test]
fn no_id_is_lent_twice() {
    let mut net = Net::calm();
    let other: GatewayId = "other".parse().unwrap();
    let mut seen = BTreeSet::new();
    for round in 0..20 {
        let to = if round % 2 == 0 {
            &other
        } else {
            &gateway_id()
        };
        for id in lend(&mut net, to, 3) {
            assert!(seen.insert(id), "{id:?}");
        }
        net.advance(200);
    }
    assert!(seen.len() > 16, "{}", seen.len());
}

#[test]
fn a_lease_of_more_than_there_is_gives_what_there_is() {
    let mut net = Net::calm();
    let all = lend(&mut net, &gateway_id(), u16::MAX);
    assert!(!all.is_empty());
    assert!(lend(&mut net, &gateway_id(), u16::MAX).is_empty());
    // What is lent is made anew.
    net.advance(2_000);
    assert!(!lend(&mut net, &gateway_id(), 1).is_empty());
}

#[test]
fn ids_beyond_the_limit_of_one_lease_stay_free() {
    let mut net = Net::off(Shape::default());
    net.pool = PoolSizes {
        low: LEASE_IDS_MAX + 1,
        batch: 1024,
        reserve: 0,
    };
    net.start_all();
    net.crash(3);
    want(&mut net);
    net.advance(2_000);
    let first = lend(&mut net, &gateway_id(), u16::MAX);
    assert_eq!(first.len(), LEASE_IDS_MAX);
    let second = lend(&mut net, &gateway_id(), u16::MAX);
    assert_eq!(second.len(), 2048 - LEASE_IDS_MAX);
}

#[test]
fn a_gateway_that_started_again_gives_its_leases_back() {
    let mut net = Net::calm();
    hello(&mut net, 1);
    let lent = lend(&mut net, &gateway_id(), u16::MAX);
    hello(&mut net, 1);
    assert!(lend(&mut net, &gateway_id(), u16::MAX).is_empty());
    hello(&mut net, 2);
    assert_eq!(lend(&mut net, &gateway_id(), u16::MAX), lent);
}

#[test]
fn the_leases_of_another_gateway_stay_with_it() {
    let mut net = Net::calm();
    let other: GatewayId = "other".parse().unwrap();
    hello(&mut net, 1);
    lend(&mut net, &other, u16::MAX);
    hello(&mut net, 2);
    assert!(lend(&mut net, &gateway_id(), u16::MAX).is_empty());
}

#[test]
fn a_gateway_that_comes_back_without_a_restart_keeps_its_leases() {
    let mut net = Net::calm();
    hello(&mut net, 1);
    lend(&mut net, &gateway_id(), u16::MAX);
    net.feed(node(1), Event::Disconnected(gateway()));
    net.feed(node(1), Event::Connected(gateway()));
    hello(&mut net, 1);
    assert!(lend(&mut net, &gateway_id(), u16::MAX).is_empty());
}

#[test]
fn a_lent_id_that_is_not_used_for_a_day_is_thrown_away() {
    let mut net = Net::calm();
    let id = net.lease(&set(&[1, 2]), 1)[0];
    net.jump(24 * 60 * 60 * 1000 + 1);
    net.advance(1_000);
    net.lease(&set(&[1, 2]), 1);
    let work = net.cluster.pay(1, 0, FRIEND);
    let reply = net.ask(1, &work, &set(&[1, 2]), id);
    let gone = Reply::Unavailable(Unavailable::PresignatureGone);
    assert_eq!(reply, Some(gone));
}

#[test]
fn an_id_that_came_back_and_was_used_all_the_same_signs_once() {
    let mut net = Net::calm();
    hello(&mut net, 1);
    let lent = lend(&mut net, &gateway_id(), u16::MAX);
    hello(&mut net, 2);
    assert_eq!(lend(&mut net, &gateway_id(), u16::MAX), lent);
    let (first, second) = (net.cluster.pay(1, 0, FRIEND), net.cluster.pay(2, 1, FRIEND));
    answer(&net.ask(1, &first, &set(&[1, 2]), lent[0]));
    let reply = net.ask(1, &second, &set(&[1, 2]), lent[0]);
    let gone = Reply::Unavailable(Unavailable::PresignatureGone);
    assert_eq!(reply, Some(gone));
}

/// Lends as a node does, with the reserve that the test says.
fn lend_keeping(net: &mut Net, gateway: &GatewayId, reserve: usize, urgent: bool) -> usize {
    let request = LeaseRequest {
        key: net.cluster.key.key,
        set: set(&[1, 2]),
        want: u16::MAX,
        urgent,
    };
    let now = net.now;
    let core = net.host(1).core.as_mut().unwrap();
    let epoch = ShareEpoch::default();
    let grant = core.pools.lend(gateway, &request, epoch, reserve, now);
    grant.ids.len()
}

fn free(net: &Net) -> usize {
    let stats = net.core(1).pool_stats();
    let of_set = stats.iter().find(|s| s.set == set(&[1, 2]));
    of_set.map_or(0, |s| s.free)
}

#[test]
fn the_last_ids_of_a_pool_are_for_urgent_requests() {
    let mut net = Net::calm();
    let all = free(&net);
    assert!(all > 3);
    assert_eq!(lend_keeping(&mut net, &gateway_id(), 3, false), all - 3);
    assert_eq!(lend_keeping(&mut net, &gateway_id(), 3, false), 0);
    assert_eq!(lend_keeping(&mut net, &gateway_id(), 3, true), 3);
}

#[test]
fn a_node_keeps_the_reserve_that_it_is_told_to() {
    let mut net = Net::off(Shape::default());
    net.pool = PoolSizes {
        low: 6,
        batch: 8,
        reserve: 5,
    };
    net.start_all();
    net.advance(1_000);
    net.filter = Some(|_, _, frame: &Frame| matches!(frame, Frame::Session(_)));
    net.lease(&set(&[1, 2]), u16::MAX);
    assert_eq!(free(&net), 5);
}

#[test]
fn one_greedy_gateway_leaves_the_others_their_part() {
    let mut net = Net::calm();
    let others: Vec<GatewayId> = vec!["second".parse().unwrap(), "third".parse().unwrap()];
    hello(&mut net, 1);
    let core = net.host(1).core.as_mut().unwrap();
    others.iter().for_each(|g| core.pools.gateway_booted(g, 1));
    let all = free(&net);
    assert_eq!(
        lend_keeping(&mut net, &gateway_id(), 0, false),
        all.div_ceil(3)
    );
    assert!(lend_keeping(&mut net, &others[0], 0, false) > 0);
    assert!(lend_keeping(&mut net, &others[1], 0, false) > 0);
}

#[test]
fn the_statistics_of_a_pool_say_what_was_made_lent_and_used() {
    let mut net = Net::calm();
    let of = |net: &Net| {
        let stats = net.core(1).pool_stats();
        stats.into_iter().find(|s| s.set == set(&[1, 2])).unwrap()
    };
    let before = of(&net);
    assert_eq!(
        (before.key, before.epoch),
        (net.cluster.key.key, ShareEpoch::default())
    );
    assert_eq!(before.made_total, 8);
    assert_eq!((before.free, before.lent, before.taken_total), (8, 0, 0));
    let id = net.lease(&set(&[1, 2]), 2)[0];
    let work = net.cluster.pay(1, 0, FRIEND);
    net.ask(1, &work, &set(&[1, 2]), id);
    let after = of(&net);
    assert_eq!((after.free, after.lent, after.taken_total), (6, 1, 1));
}

#[test]
fn a_key_or_set_that_is_unknown_lends_nothing() {
    let mut net = Net::calm();
    assert!(net.lease(&set(&[1, 2, 3]), 5).is_empty());
    let request = LeaseRequest {
        key: quoin_core::KeyId([1; 16]),
        set: set(&[1, 2]),
        want: 5,
        urgent: false,
    };
    net.host(1).sent.clear();
    net.gateway_says(1, Frame::LeaseRequest(request));
    let empty = net
        .host(1)
        .sent
        .iter()
        .any(|(_, f)| matches!(f, Frame::LeaseGrant(g) if g.ids.is_empty()));
    assert!(empty);
}
