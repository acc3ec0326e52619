//! Charters: accepted for their signatures and their number, flooded, replayed.

use super::cluster::{FRIEND, first_boot};
use super::{Net, ready, set};
use crate::core::{Alarm, Record};
use quoin_api::Frame;
use quoin_api::frame::{CharterReply, Reply, Unavailable};
use quoin_core::{Certificate, CharterHash, CharterNumber, ClusterId};
use quoin_policy::Charter;

/// What node 1 says to the gateway about a charter.
fn offer(net: &mut Net, certificate: &Certificate<Charter>) -> Option<CharterReply> {
    net.host(1).sent.clear();
    net.gateway_says(1, Frame::Charter(certificate.to_bytes()));
    let sent = std::mem::take(&mut net.host(1).sent);
    sent.into_iter().find_map(|(_, frame)| match frame {
        Frame::CharterReply(reply) => Some(reply),
        _ => None,
    })
}

fn numbers(net: &Net) -> Vec<u64> {
    (1..=3)
        .map(|n| net.core(n).constitution.number().0)
        .collect()
}

fn successor(net: &Net, signatures: usize) -> Certificate<Charter> {
    let charter = net
        .cluster
        .next_charter(net.core(1).charter().unverified(), "next");
    net.cluster.certified(charter, signatures)
}

#[test]
fn a_charter_that_a_quorum_signed_is_flooded_and_survives_restarts() {
    let mut net = Net::calm();
    let certificate = successor(&net, 2);
    let reply = offer(&mut net, &certificate).unwrap();
    assert_eq!((reply.number, reply.refused), (CharterNumber(1), None));
    assert_eq!(numbers(&net), [1, 1, 1]);
    for index in 1..=3 {
        net.restart(index);
    }
    assert_eq!(numbers(&net), [1, 1, 1]);
    net.advance(1_000);
    assert!(net.core(1).is_ready(net.now));
    // The next one follows the one that was replayed.
    let second = successor(&net, 2);
    offer(&mut net, &second);
    assert_eq!(numbers(&net), [2, 2, 2]);
}

#[test]
fn a_charter_is_confirmed_only_once_it_is_durable() {
    let mut net = Net::calm();
    let certificate = successor(&net, 2);
    net.host(1).hold = true;
    assert_eq!(offer(&mut net, &certificate), None);
    // The others have judged the same signatures for themselves.
    assert_eq!(numbers(&net), [1, 1, 1]);
    net.crash(1);
    net.start(super::node(1));
    assert_eq!(net.core(1).constitution.number().0, 1, "it follows them");
    let reply = offer(&mut net, &certificate).unwrap();
    assert_eq!((reply.number, reply.refused), (CharterNumber(1), None));
}

#[test]
fn a_charter_that_is_no_valid_successor_is_refused_before_and_after_a_restart() {
    let mut net = Net::calm();
    let good = net
        .cluster
        .next_charter(net.core(1).charter().unverified(), "next");
    let skips = Charter {
        number: CharterNumber(2),
        ..good.clone()
    };
    let other_previous = Charter {
        previous: Some(CharterHash([1; 32])),
        ..good.clone()
    };
    let other_cluster = Charter {
        cluster: Some(ClusterId([1; 32])),
        ..good.clone()
    };
    let broken = Charter {
        policies: "permit".to_owned(),
        ..good.clone()
    };
    let mut by_others = Certificate::unsigned(good.clone());
    by_others.endorse(&net.cluster.governors[0]);
    by_others.endorse(&net.cluster.trader);
    net.cluster
        .identities
        .values()
        .for_each(|i| by_others.endorse(i));
    let mut twice_by_one = net.cluster.certified(good.clone(), 1);
    twice_by_one.endorse(&net.cluster.governors[0]);
    let refused = [
        net.cluster.certified(skips, 3),
        net.cluster.certified(other_previous, 3),
        net.cluster.certified(other_cluster, 3),
        net.cluster.certified(broken, 3),
        net.cluster.certified(good.clone(), 0),
    ];
    // What one governor has signed is a proposal, and nobody else's signature makes it more.
    let kept = [
        net.cluster.certified(good.clone(), 1),
        by_others,
        twice_by_one,
    ];
    for round in ["before", "after"] {
        // The last one is news no more once its charter is kept.
        let count = refused.len() - usize::from(round == "after");
        for (place, certificate) in refused.iter().take(count).enumerate() {
            let reply = offer(&mut net, certificate).unwrap();
            assert!(reply.refused.is_some(), "{place} {round} the restart");
            assert_eq!(reply.number, CharterNumber(0));
        }
        for certificate in &kept {
            let reply = offer(&mut net, certificate).unwrap();
            assert_eq!((reply.number, reply.refused), (CharterNumber(0), None));
            assert!(!reply.pending.is_empty());
        }
        net.restart(1);
    }
    assert_eq!(numbers(&net), [0, 0, 0]);
    let records = net.host(1).records();
    assert!(!records.iter().any(|(_, r)| matches!(r, Record::Charter(_))));
    let certificate = net.cluster.certified(good, 2);
    assert_eq!(offer(&mut net, &certificate).unwrap().refused, None);
}

#[test]
fn a_node_that_was_away_catches_up_with_every_charter() {
    let mut net = Net::calm();
    net.crash(3);
    for _ in 0..3 {
        let certificate = successor(&net, 2);
        offer(&mut net, &certificate);
    }
    net.start(super::node(3));
    net.advance(1_000);
    assert_eq!(numbers(&net), [3, 3, 3]);
}

#[test]
fn a_charter_that_is_in_force_already_is_no_news() {
    let mut net = Net::calm();
    let certificate = successor(&net, 2);
    offer(&mut net, &certificate);
    let records = net.host(1).records().len();
    assert_eq!(offer(&mut net, &certificate).unwrap().refused, None);
    let genesis = net.cluster.genesis.clone();
    assert_eq!(offer(&mut net, &genesis).unwrap().refused, None);
    assert_eq!(net.host(1).records().len(), records);
}

#[test]
fn two_certified_charters_with_one_number_stop_the_node() {
    let (mut net, id) = ready();
    let certificate = successor(&net, 2);
    let genesis = net.cluster.genesis.unverified().clone();
    let rival = net.cluster.next_charter(&genesis, "rival");
    offer(&mut net, &certificate);
    let weak = net.cluster.certified(rival.clone(), 1);
    assert!(offer(&mut net, &weak).unwrap().refused.is_some());
    assert!(net.host(1).alarms.is_empty());
    let strong = net.cluster.certified(rival, 2);
    assert!(offer(&mut net, &strong).unwrap().refused.is_some());
    // Signatures alone are no fork: it may be an old proposal that was vetoed. Shown by a node as
    // a proposal it is none either.
    net.node_says(2, 1, Frame::Charter(strong.to_bytes()));
    assert!(net.host(1).alarms.is_empty());
    let adopted = || Frame::Adopted(strong.to_bytes());
    for (from, to) in [(2, 1), (3, 2), (1, 3)] {
        net.node_says(from, to, adopted());
    }
    let alarm = Alarm::CharterFork(CharterNumber(1));
    assert!(net.host(1).alarms.contains(&alarm));
    let work = net.cluster.pay(1, 0, FRIEND);
    let reply = net.ask(1, &work, &set(&[1, 2]), id);
    let stopped = Some(Reply::Unavailable(Unavailable::StorageFailed));
    assert_eq!(reply, stopped);
    // The others hear of it, and a restart does not help.
    for index in 1..=3 {
        assert!(net.host(index).alarms.contains(&alarm));
        net.restart(index);
    }
    net.advance(1_000);
    for index in 1..=3 {
        assert!(!net.core(index).is_ready(net.now));
    }
    assert_eq!(net.ask(1, &work, &set(&[1, 2]), id), stopped);
}

#[test]
fn a_charter_that_is_replayed_must_follow_the_one_before() {
    let mut net = Net::calm();
    let certificate = successor(&net, 2);
    offer(&mut net, &certificate);
    let mut recovered = net.recovered(1, usize::MAX);
    let place = recovered
        .records
        .iter()
        .position(|(_, r)| matches!(r, Record::Charter(_)));
    let record = recovered.records[place.unwrap()].clone();
    recovered.records.push(record);
    let refused = crate::core::Node::recover(recovered, &mut Vec::new());
    assert!(matches!(
        refused.err(),
        Some(crate::core::RecoverError::Charter { number: 2, .. })
    ));
}

#[test]
fn a_node_that_the_genesis_does_not_name_does_not_start() {
    let net = Net::off(super::Shape::default());
    let mut recovered = net.recovered(1, usize::MAX);
    recovered.identity =
        std::sync::Arc::new(quoin_core::SigningIdentity::generate(&mut rand_core::OsRng));
    let refused = crate::core::Node::recover(recovered, &mut Vec::new());
    assert!(matches!(
        refused.err(),
        Some(crate::core::RecoverError::NotNamed)
    ));
    let mut recovered = net.recovered(1, usize::MAX);
    recovered.shares.clear();
    let refused = crate::core::Node::recover(recovered, &mut Vec::new());
    assert!(matches!(
        refused.err(),
        Some(crate::core::RecoverError::Share(_))
    ));
    assert_eq!(first_boot(super::node(1)).generation.0, 1);
}
