//! Nodes that come and go: a charter changes who is dealt with, at once and over restarts.

use super::cluster::FRIEND;
use super::{Net, Shape, node, set};
use crate::core::{Alarm, Node, Peer, Record, RecoverError};
use quoin_api::Frame;
use quoin_core::{Certificate, CharterNumber, SigningIdentity};
use quoin_policy::Charter;
use std::sync::Arc;

fn spare() -> Net {
    let mut net = Net::with(Shape {
        spare: 2,
        ..Shape::default()
    });
    net.advance(1_000);
    net
}

fn number(net: &Net, index: u8) -> u64 {
    net.core(index).charter().unverified().number.0
}

/// The charter after the one in force on node 1, with these nodes.
fn next(net: &Net, nodes: &[u8], threshold: u8) -> Certificate<Charter> {
    let current = net.core(1).charter().unverified().clone();
    let charter = net.cluster.charter_of(&current, nodes, threshold);
    net.cluster.certified(charter, 2)
}

#[test]
fn a_charter_that_adds_two_nodes_and_removes_one_holds_for_all_of_them() {
    let mut net = spare();
    net.amend(&[1, 2, 4, 5], 3);
    for index in 1..=5 {
        assert_eq!(number(&net, index), 1, "node {index}");
    }
    for index in [1, 2, 4, 5] {
        assert!(net.core(index).is_ready(net.now), "node {index}");
        assert!(net.host(index).alarms.is_empty());
    }
    assert!(!net.core(3).is_member() && !net.core(3).is_ready(net.now));
    let left = Alarm::LeftCharter(CharterNumber(1));
    assert_eq!(net.host(3).alarms, [left]);
    // The key is still of nodes 1 to 3, of which two sign: those that stayed.
    let work = net.cluster.pay(1, 0, FRIEND);
    net.sign(&work, &set(&[1, 2]));
    for index in [1, 3, 4] {
        net.restart(index);
    }
    net.advance(1_000);
    assert!(net.core(1).is_ready(net.now) && net.core(4).is_ready(net.now));
    assert!(!net.core(3).is_ready(net.now));
    let work = net.cluster.pay(2, 1, FRIEND);
    net.sign(&work, &set(&[1, 2]));
}

#[test]
fn a_node_that_left_is_silent_and_nobody_listens_to_it() {
    let mut net = spare();
    let id = net.lease(&set(&[2, 3]), 1)[0];
    net.amend(&[1, 2, 4, 5], 3);
    for index in 1..=5 {
        net.host(index).sent.clear();
    }
    net.advance(2_000);
    assert!(net.host(3).sent.is_empty());
    let to_3 = Peer::Node(node(3));
    for index in [1, 2, 4, 5] {
        let sent = &net.host(index).sent;
        assert!(!sent.iter().any(|(to, _)| *to == to_3), "node {index}");
    }
    // It does not sign what it could have signed a moment before, nor is it answered.
    let work = net.cluster.pay(1, 0, FRIEND);
    assert_eq!(net.ask(3, &work, &set(&[2, 3]), id), None);
    net.node_says(3, 1, Frame::KeysRequest);
    assert!(!net.host(1).sent.iter().any(|(to, _)| *to == to_3));
    let records = net.host(3).records();
    let decided = records
        .iter()
        .any(|(_, r)| matches!(r, Record::Decision(_)));
    assert!(!decided);
}

#[test]
fn a_partial_that_was_decided_on_does_not_leave_a_node_that_has_left_meanwhile() {
    let mut net = spare();
    let id = net.lease(&set(&[2, 3]), 1)[0];
    let work = net.cluster.pay(1, 0, FRIEND);
    net.host(3).hold = true;
    assert_eq!(net.ask(3, &work, &set(&[2, 3]), id), None);
    let certificate = next(&net, &[1, 2, 4], 2);
    net.gateway_says(3, Frame::Charter(certificate.to_bytes()));
    net.host(3).sent.clear();
    net.release(3);
    let replies = net.replies(3);
    assert!(replies.is_empty(), "{replies:?}");
}

#[test]
fn another_identity_at_an_index_is_not_held_to_the_journal_of_the_one_before() {
    let mut net = spare();
    let work = net.cluster.pay(1, 0, FRIEND);
    net.sign(&work, &set(&[2, 3]));
    net.advance(5_000);
    net.restart(3);
    net.advance(5_000);
    net.crash(3);
    let fresh = Arc::new(SigningIdentity::generate(&mut rand_core::OsRng));
    net.cluster.identities.insert(node(3), fresh);
    net.hosts.remove(&node(3));
    net.amend(&[1, 2, 3], 2);
    net.advance(5_000);
    for index in 1..=3 {
        assert_eq!(net.host(index).alarms, [], "node {index}");
        assert_eq!(net.core(index).peers.beats_of_others(), 2, "node {index}");
    }
    // Nor does it hold the share that the one before held.
    let key = net.cluster.key.clone();
    let live = net.core(1).live_holders(&key);
    assert_eq!(live, [node(1), node(2)].into());
    net.restart(1);
    assert_eq!(net.core(1).live_holders(&key), live);
}

#[test]
fn a_new_node_starts_only_with_the_chain_that_leads_to_it() {
    let mut net = spare();
    net.amend(&[1, 2, 3, 4], 3);
    let second = next(&net, &[1, 2, 3, 4, 5], 3);
    let first = net.charters[0].clone();
    let start = |charters: Vec<Certificate<Charter>>| {
        let mut recovered = net.recovered(4, 0);
        recovered.identity = Arc::clone(&net.cluster.identities[&node(5)]);
        recovered.shares.clear();
        recovered.charters = charters;
        let mut effects = Vec::new();
        Node::recover(recovered, &mut effects).map(|node| (node, effects.len()))
    };
    let (started, effects) = start(vec![first.clone(), second.clone()]).unwrap_or_else(|_| {
        panic!("the chain leads to it");
    });
    assert!(started.is_member() && started.boot().node == node(5));
    assert_eq!(effects, 3, "the boot and two charters are journaled");
    let weak = net.cluster.certified(second.unverified().clone(), 1);
    let refused = [
        (Vec::new(), "names a node"),
        (vec![first.clone()], "names a node"),
        (vec![second.clone()], "does not follow"),
        (vec![first, weak], "signed by 1"),
    ];
    for (charters, why) in refused {
        let error = start(charters).err().unwrap().to_string();
        assert!(error.contains(why), "{why}: {error}");
    }
}

#[test]
fn a_chain_that_differs_from_the_journal_is_refused() {
    let mut net = spare();
    let other = net
        .cluster
        .next_charter(net.core(1).charter().unverified(), "other");
    let other = net.cluster.certified(other, 2);
    net.amend(&[1, 2, 3, 4], 3);
    let mut recovered = net.recovered(1, usize::MAX);
    recovered.charters = vec![other];
    let refused = Node::recover(recovered, &mut Vec::new()).err();
    assert!(matches!(
        refused,
        Some(RecoverError::Charter { number: 1, .. })
    ));
}
