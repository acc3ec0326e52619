//! Reshares: the key goes to other nodes, with another threshold, while it signs.

use super::handover::{entry, epochs, move_key, public, sealed, sign};
use super::{Net, Shape, node, set};
use crate::core::{Alarm, Record};
use quoin_core::ShareEpoch;
use quoin_core::SigningIdentity;
use quoin_core::payload::KeyChange;
use std::sync::Arc;

fn spare() -> Net {
    let mut net = Net::with(Shape {
        spare: 2,
        cap: 10_000,
        ..Shape::default()
    });
    net.advance(1_000);
    net
}

fn reshare(net: &mut Net, ceremony: u8, dealers: &[u8]) {
    let dealers = dealers.iter().map(|n| node(*n)).collect();
    move_key(net, ceremony, &KeyChange::Reshare { dealers });
}

#[test]
fn a_key_goes_from_two_of_three_to_three_of_five_and_signs_all_the_while() {
    let mut net = spare();
    net.amend(&[1, 2, 3, 4, 5], 3);
    // The new nodes have learned of the key, and hold nothing of it.
    for index in [4, 5] {
        assert!(entry(&net, index).current.as_ref().unwrap().share.is_none());
        assert!(sealed(&net, index).is_empty());
    }
    // Under the new charter the old holders sign with the old threshold.
    assert_eq!(sign(&mut net, 1, &set(&[1, 3])), ShareEpoch(0));
    reshare(&mut net, 1, &[1, 3]);
    assert_eq!(epochs(&net), [1; 5]);
    assert_eq!(public(&net, 5).threshold, 3);
    assert_eq!(public(&net, 5).public_key, net.cluster.key.public_key);
    assert_eq!(sign(&mut net, 2, &set(&[2, 3])), ShareEpoch(0));
    net.advance(12_000);
    for (id, signers) in [(3, [1, 4, 5]), (4, [2, 3, 4]), (5, [1, 2, 3])] {
        assert_eq!(sign(&mut net, id, &set(&signers)), ShareEpoch(1));
    }
    net.jump(60_000);
    net.advance(6_000);
    for index in 1..=5 {
        assert_eq!(sealed(&net, index), [1], "node {index}");
    }
    for index in 1..=5 {
        net.restart(index);
    }
    net.advance(3_000);
    assert_eq!(epochs(&net), [1; 5]);
    sign(&mut net, 6, &set(&[2, 4, 5]));
}

#[test]
fn a_lost_node_is_replaced_by_a_new_one_that_signs() {
    let mut net = spare();
    net.crash(3);
    net.amend(&[1, 2, 4], 2);
    reshare(&mut net, 1, &[1, 2]);
    net.advance(1_000);
    let of = |net: &Net, n: u8| entry(net, n).current.as_ref().unwrap().number().0;
    assert_eq!([of(&net, 1), of(&net, 2), of(&net, 4)], [1, 1, 1]);
    net.advance(5_000);
    sign(&mut net, 1, &set(&[1, 4]));
    // The lost node need not say anything for the others to erase.
    net.jump(60_000);
    net.advance(6_000);
    for index in [1, 2] {
        assert_eq!(sealed(&net, index), [1], "node {index}");
    }
}

#[test]
fn a_refresh_is_refused_where_the_charter_names_other_nodes_than_hold_the_key() {
    let mut net = spare();
    net.amend(&[1, 2, 3, 4], 3);
    let why = net
        .core(1)
        .succession_refused(net.cluster.key.key, &KeyChange::Refresh);
    assert!(why.is_some_and(|w| w.contains("reshare")), "{why:?}");
    move_key(&mut net, 1, &KeyChange::Refresh);
    net.advance(12_000);
    assert_eq!(epochs(&net), [0; 4]);
}

#[test]
fn a_reshare_whose_dealers_are_no_holders_comes_to_nothing() {
    let mut net = spare();
    net.amend(&[1, 2, 3, 4], 3);
    for (ceremony, dealers) in [(1, [1, 4]), (2, [1, 5])] {
        reshare(&mut net, ceremony, &dealers);
        net.advance(12_000);
        assert_eq!(epochs(&net), [0; 4]);
    }
    reshare(&mut net, 3, &[2, 3]);
    assert_eq!(epochs(&net), [1; 4]);
    let strikes = |r: &Record| matches!(r, Record::Fault(_));
    for index in 1..=4 {
        assert!(
            !net.host(index).records().iter().any(|(_, r)| strikes(r)),
            "node {index}"
        );
    }
}

#[test]
fn a_reshare_whose_dealers_do_not_fit_the_epoch_in_use_is_refused_and_not_left_without_an_answer() {
    let mut net = spare();
    net.amend(&[1, 2, 3, 4], 3);
    let key = net.cluster.key.key;
    let refused = |net: &Net, dealers: &[u8]| {
        let dealers = dealers.iter().copied().map(node).collect();
        let change = KeyChange::Reshare { dealers };
        net.core(1).succession_refused(key, &change)
    };
    assert_eq!(refused(&net, &[1, 2]), None);
    for wrong in [&[1u8][..], &[1, 2, 3], &[2, 1], &[1, 1], &[1, 4]] {
        let why = refused(&net, wrong);
        assert!(why.is_some_and(|w| w.contains("dealers")), "{wrong:?}");
    }
    // What fitted the epoch before fits the next no more: its threshold is another.
    reshare(&mut net, 1, &[1, 2]);
    assert_eq!(epochs(&net), [1; 4]);
    assert!(refused(&net, &[1, 2]).is_some_and(|w| w.contains("dealers")));
    assert_eq!(refused(&net, &[1, 2, 4]), None);
}

#[test]
fn a_pending_record_of_a_node_that_left_gives_way_to_a_reshare() {
    let mut net = spare();
    // Node 3 is lost for good before its share is durable, and so cannot even say that it is.
    net.host(3).hold = true;
    move_key(&mut net, 1, &KeyChange::Refresh);
    net.crash(3);
    net.advance(3_000);
    let stuck = entry(&net, 1).next.as_ref().unwrap().hash;
    move_key(&mut net, 2, &KeyChange::Refresh);
    assert_eq!(entry(&net, 1).next.as_ref().unwrap().hash, stuck);
    net.amend(&[1, 2, 4], 2);
    reshare(&mut net, 3, &[1, 2]);
    net.advance(2_000);
    let of = |net: &Net, n: u8| entry(net, n).current.as_ref().unwrap().number().0;
    assert_eq!([of(&net, 1), of(&net, 2), of(&net, 4)], [1, 1, 1]);
    for index in [1, 2, 4] {
        net.restart(index);
    }
    net.advance(3_000);
    sign(&mut net, 1, &set(&[2, 4]));
    assert!(
        !net.host(1)
            .alarms
            .iter()
            .any(|a| matches!(a, Alarm::ShareMissing(..)))
    );
}

#[test]
fn another_identity_at_the_index_of_a_holder_gets_its_own_share_by_a_reshare_only() {
    let mut net = spare();
    net.crash(3);
    let fresh = Arc::new(SigningIdentity::generate(&mut net.rng));
    net.cluster.identities.insert(node(3), fresh);
    net.hosts.remove(&node(3));
    net.amend(&[1, 2, 3], 2);
    // It has lost nothing, and a refresh would find that it has nothing to refresh.
    assert_eq!(net.host(3).alarms, []);
    let key = net.cluster.key.key;
    for index in 1..=3 {
        let why = net.core(index).succession_refused(key, &KeyChange::Refresh);
        assert!(why.is_some_and(|w| w.contains("reshare")), "{why:?}");
    }
    reshare(&mut net, 1, &[1, 2]);
    assert_eq!(epochs(&net), [1; 3]);
    net.advance(5_000);
    sign(&mut net, 1, &set(&[2, 3]));
}
