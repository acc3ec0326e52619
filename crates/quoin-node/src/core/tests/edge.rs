//! A thousand requests at the edge of a cap, all of them under way before anything is durable: exact
//! with an honest gateway, and never over the mode's bound with any.

use super::cluster::FRIEND;
use super::net::Net;
use super::sets::propose;
use super::{Shape, Work, node, set};
use quoin_api::Frame;
use quoin_api::frame::{Reply, SigningHint};
use quoin_core::{RequestId, Signed, SignerSet, Stamp};
use std::collections::{BTreeMap, BTreeSet};

const REQUESTS: u16 = 1_000;
const CAP: u64 = 600;

fn cluster(nodes: u8, threshold: u8, sticky: bool) -> Net {
    let mut net = Net::with(Shape {
        nodes,
        threshold,
        cap: CAP,
        sticky,
        ..Shape::default()
    });
    net.advance(1_000);
    net
}

/// A payment with an id and a nonce of its own.
fn pay(net: &Net, number: u16) -> Work {
    let work = net.cluster.pay(1, u64::from(number), FRIEND);
    let mut stamp = Signed::<Stamp>::from_bytes(&work.stamp)
        .unwrap()
        .unverified()
        .clone();
    let mut id = [0u8; 16];
    id[..2].copy_from_slice(&number.to_be_bytes());
    stamp.request_id = RequestId(id);
    net.cluster.signed(stamp, work.payload)
}

/// Sends a thousand requests, each to the set that comes round, before any node has written anything;
/// the number of those to which every member of the set has answered.
fn signed_of_a_thousand(net: &mut Net, sets: &[SignerSet]) -> usize {
    let mut asks = Vec::new();
    for number in 0..REQUESTS {
        let signers = &sets[usize::from(number) % sets.len()];
        let mut ids = net.lease(signers, 1);
        while ids.is_empty() {
            net.advance(100);
            ids = net.lease(signers, 1);
        }
        asks.push((pay(net, number), signers.clone(), ids[0]));
    }
    let all: Vec<u8> = net.cluster.identities.keys().map(|n| n.get()).collect();
    for index in &all {
        net.host(*index).hold = true;
        net.host(*index).sent.clear();
    }
    for (work, signers, presignature) in &asks {
        for signer in signers.iter() {
            let hint = SigningHint {
                set: signers.clone(),
                presignature: *presignature,
                epoch: None,
            };
            net.gateway_says(signer.get(), Frame::Request(work.frame(Some(hint))));
        }
    }
    let mut answered: BTreeMap<RequestId, BTreeSet<u8>> = BTreeMap::new();
    for index in &all {
        net.host(*index).hold = false;
        net.sync(node(*index));
        for (_, frame) in std::mem::take(&mut net.host(*index).sent) {
            if let Frame::Reply(reply) = frame
                && matches!(reply.reply, Reply::Answer(_))
            {
                answered.entry(reply.request_id).or_default().insert(*index);
            }
        }
    }
    let whole = asks.iter().filter(|(work, signers, _)| {
        let by = answered.get(&work.id);
        by.is_some_and(|by| signers.iter().all(|s| by.contains(&s.get())))
    });
    whole.count()
}

#[test]
fn a_strict_cap_is_met_exactly_by_an_honest_gateway_on_three_and_five_nodes() {
    let mut three = cluster(3, 2, false);
    assert_eq!(signed_of_a_thousand(&mut three, &[set(&[1, 2])]), 300);
    let mut five = cluster(5, 3, false);
    assert_eq!(signed_of_a_thousand(&mut five, &[set(&[1, 2, 3])]), 200);
}

#[test]
fn a_strict_cap_is_passed_by_no_choice_of_sets() {
    let mut three = cluster(3, 2, false);
    let pairs = [set(&[1, 2]), set(&[2, 3]), set(&[1, 3])];
    let signed = signed_of_a_thousand(&mut three, &pairs);
    assert!((300..=CAP as usize).contains(&signed), "{signed}");
    let mut five = cluster(5, 3, false);
    let triples = [
        set(&[1, 2, 3]),
        set(&[3, 4, 5]),
        set(&[1, 4, 5]),
        set(&[2, 3, 5]),
    ];
    let signed = signed_of_a_thousand(&mut five, &triples);
    assert!((200..=CAP as usize).contains(&signed), "{signed}");
}

#[test]
fn a_sticky_cap_is_met_exactly_by_one_set_on_three_and_five_nodes() {
    for (nodes, threshold, members) in [(3, 2, &[1, 2][..]), (5, 3, &[1, 2, 3])] {
        let mut net = cluster(nodes, threshold, true);
        let all: Vec<u8> = (1..=nodes).collect();
        propose(&mut net, &all, 1, &set(members));
        net.advance(1_000);
        let signed = signed_of_a_thousand(&mut net, &[set(members)]);
        assert_eq!(signed, CAP as usize, "{nodes} nodes");
    }
}
