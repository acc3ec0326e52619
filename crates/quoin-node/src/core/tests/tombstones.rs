//! Tombstones: a reservation is free again after enough distinct ones, and after nothing else.

use super::cluster::{FRIEND, LIFE_MS, STRANGER, Work, first_boot};
use super::{Net, Shape, node, set};
use crate::core::{Node, Record};
use quoin_api::Frame;
use quoin_api::statements::Denial;
use quoin_core::cbor::Version;
use quoin_core::{ClusterId, Signed, SigningIdentity};

fn denial(net: &Net, by: u8, work: &Work) -> Denial {
    Denial {
        version: Version,
        cluster: net.cluster.id,
        boot: first_boot(node(by)),
        request_id: work.id,
        payload_hash: work.payload.hash(),
        charter_hash: net.cluster.genesis.unverified().hash(),
        rule: None,
        field: None,
        message: "no".to_owned(),
        suggestion: None,
    }
}

fn tombstone(net: &Net, by: u8, work: &Work) -> Frame {
    let identity = &net.cluster.identities[&node(by)];
    Frame::Tombstone(Signed::sign(denial(net, by, work), identity).to_bytes())
}

/// A net in which node 1 has permitted a ceremony that never ran.
fn permitted(shape: Shape) -> (Net, Work) {
    let mut net = Net::with(shape);
    net.advance(2_000);
    net.filter = Some(|_, _, f| matches!(f, Frame::Session(_)));
    let work = net.cluster.make_key(1, "fresh");
    net.gateway_says(1, Frame::Request(work.frame(None)));
    assert_eq!(net.spent(1), (1, 1));
    (net, work)
}

#[test]
fn a_reservation_is_released_by_n_minus_t_plus_one_distinct_tombstones() {
    let (mut net, work) = permitted(Shape::default());
    let frame = tombstone(&net, 2, &work);
    net.gateway_says(1, frame);
    assert_eq!(net.spent(1), (1, 1));
    let frame = tombstone(&net, 3, &work);
    net.gateway_says(1, frame);
    assert_eq!(net.spent(1), (0, 0));
    let records = net.host(1).records();
    assert!(records.iter().any(|(_, r)| *r == Record::Released(work.id)));
    net.restart(1);
    assert_eq!(net.spent(1), (0, 0));
}

#[test]
fn tolerated_faults_ask_for_as_many_more_tombstones() {
    let shape = Shape {
        nodes: 4,
        threshold: 3,
        f_tol: 1,
        ..Shape::default()
    };
    let (mut net, work) = permitted(shape);
    for by in [2, 3] {
        let frame = tombstone(&net, by, &work);
        net.gateway_says(1, frame);
        assert_eq!(net.spent(1), (1, 1), "after node {by}");
    }
    let frame = tombstone(&net, 4, &work);
    net.gateway_says(1, frame);
    assert_eq!(net.spent(1), (0, 0));
}

#[test]
fn a_replayed_tombstone_counts_once_and_is_written_once() {
    let (mut net, work) = permitted(Shape::default());
    let frame = tombstone(&net, 2, &work);
    for _ in 0..5 {
        net.gateway_says(1, frame.clone());
    }
    // Another wording by the same node is no second voice.
    let mut reworded = denial(&net, 2, &work);
    reworded.message = "still no".to_owned();
    let identity = net.cluster.identities[&node(2)].clone();
    let bytes = Signed::sign(reworded, &identity).to_bytes();
    net.gateway_says(1, Frame::Tombstone(bytes));
    net.restart(1);
    net.gateway_says(1, frame);
    assert_eq!(net.spent(1), (1, 1));
    let records = net.host(1).records();
    let written = records
        .iter()
        .filter(|(_, r)| matches!(r, Record::Tombstone(_)));
    assert_eq!(written.count(), 1);
}

#[test]
fn tombstones_from_before_a_restart_still_count() {
    let (mut net, work) = permitted(Shape::default());
    let first = tombstone(&net, 2, &work);
    net.gateway_says(1, first);
    net.restart(1);
    let second = tombstone(&net, 3, &work);
    net.gateway_says(1, second);
    assert_eq!(net.spent(1), (0, 0));
}

#[test]
fn forged_tombstones_are_ignored() {
    let (mut net, work) = permitted(Shape::default());
    let identity = net.cluster.identities[&node(3)].clone();
    let genuine = tombstone(&net, 2, &work);
    net.gateway_says(1, genuine);
    let good = denial(&net, 3, &work);
    let sign = |d: Denial, i: &SigningIdentity| Frame::Tombstone(Signed::sign(d, i).to_bytes());
    let stranger = SigningIdentity::generate(&mut net.rng);
    let unknown_node = Denial {
        boot: first_boot(node(4)),
        ..good.clone()
    };
    let other_cluster = Denial {
        cluster: ClusterId([1; 32]),
        ..good.clone()
    };
    let own_name = Denial {
        boot: first_boot(node(1)),
        ..good.clone()
    };
    let own_identity = net.cluster.identities[&node(1)].clone();
    let mut forged = vec![
        sign(good.clone(), &stranger),
        sign(good.clone(), &net.cluster.identities[&node(2)]),
        sign(unknown_node, &identity),
        sign(other_cluster, &identity),
        sign(own_name.clone(), &identity),
        sign(own_name, &own_identity),
    ];
    let mut bytes = Signed::sign(good.clone(), &identity).to_bytes();
    *bytes.last_mut().unwrap() ^= 1;
    forged.push(Frame::Tombstone(bytes));
    forged.push(Frame::Tombstone(vec![0; 40]));
    for frame in forged {
        net.gateway_says(1, frame);
        assert_eq!(net.spent(1), (1, 1));
    }
    net.gateway_says(1, sign(good, &identity));
    assert_eq!(net.spent(1), (0, 0));
}

#[test]
fn time_alone_releases_nothing_within_the_window() {
    let mut net = Net::calm();
    let work = net.cluster.pay(1, 0, FRIEND);
    let id = net.lease(&set(&[1, 2]), 1)[0];
    net.ask(1, &work, &set(&[1, 2]), id).unwrap();
    net.jump(24 * 60 * 60 * 1000 - 10_000);
    assert_eq!(net.spent(1), (1, 1));
    assert!(net.core(1).requests[&work.id].decided);
    // The slot stays taken even when the window and the request are over.
    net.jump(LIFE_MS);
    net.jump(60_000);
    net.advance(1_000);
    let payload = net.cluster.transfer(0, FRIEND, 7);
    let mut stamp = net.cluster.stamp(2, &payload);
    stamp.not_after = net.now.plus(LIFE_MS);
    let second = net.cluster.signed(stamp, payload);
    let id = net.lease(&set(&[1, 2]), 1)[0];
    let reply = net.ask(1, &second, &set(&[1, 2]), id);
    assert!(
        matches!(reply, Some(quoin_api::frame::Reply::Denied(_))),
        "{reply:?}"
    );
}

#[test]
fn a_tombstone_of_a_request_that_this_node_never_saw_is_not_kept() {
    let mut net = Net::calm();
    let work = net.cluster.pay(1, 0, FRIEND);
    let frame = tombstone(&net, 2, &work);
    net.gateway_says(1, frame);
    assert!(net.core(1).requests.is_empty());
}

#[test]
fn what_this_node_may_have_answered_is_never_freed() {
    let mut net = Net::calm();
    let work = net.cluster.pay(1, 0, FRIEND);
    let id = net.lease(&set(&[1, 2]), 1)[0];
    net.ask(1, &work, &set(&[1, 2]), id).unwrap();
    for by in [2, 3] {
        let frame = tombstone(&net, by, &work);
        net.gateway_says(1, frame);
    }
    assert_eq!(net.spent(1), (1, 1));
    net.restart(1);
    assert_eq!(net.spent(1), (1, 1));
    let frame = tombstone(&net, 3, &work);
    net.gateway_says(1, frame);
    assert_eq!(net.spent(1), (1, 1));
}

#[test]
fn a_node_starts_again_when_the_words_of_old_denials_are_erased() {
    let mut net = Net::calm();
    let work = net.cluster.pay(1, 0, STRANGER);
    let id = net.lease(&set(&[1, 2]), 1)[0];
    net.ask(1, &work, &set(&[1, 2]), id);
    let frame = tombstone(&net, 2, &work);
    net.gateway_says(1, frame);
    let mut recovered = net.recovered(1, usize::MAX);
    let mut erased = 0;
    for (_, record) in &mut recovered.records {
        let words = match record {
            Record::Denied(denied) => &mut denied.denial,
            Record::Tombstone(denial) => denial,
            _ => continue,
        };
        words.0 = vec![0, 1, 2, 3];
        erased += 1;
    }
    assert_eq!(erased, 2);
    let node = Node::recover(recovered, &mut Vec::new()).unwrap();
    let state = &node.requests[&work.id];
    assert!(state.tombstones.contains(&super::node(1)));
    assert!(state.denial.is_none());
    // What is broken instead is no erasure.
    let mut recovered = net.recovered(1, usize::MAX);
    for (_, record) in &mut recovered.records {
        if let Record::Tombstone(denial) = record {
            denial.0 = vec![1, 2, 3];
        }
    }
    assert!(Node::recover(recovered, &mut Vec::new()).is_err());
}
