//! The two phases of a new key: no endorsement before a durable share, and one record for each id.

use super::{Net, node};
use crate::core::{Node, Record, RecoverError};
use quoin_api::frame::{Opaque, SessionFrame};
use quoin_api::{Frame, SessionId};
use quoin_core::{CeremonyId, Certificate, NodeIndex, cbor};
use quoin_protocol::{KeyPublic, RoundMessage};

fn make(net: &mut Net, name: &str) {
    let work = net.cluster.make_key(1, name);
    for index in 1..=3 {
        net.gateway_says(index, Frame::Request(work.frame(None)));
    }
    net.settle();
}

fn active(net: &Net) -> Vec<usize> {
    (1..=3).map(|n| net.core(n).keys_active()).collect()
}

#[test]
fn a_node_that_is_silent_towards_one_other_does_not_keep_it_waiting() {
    let mut net = Net::calm();
    // Node 3 never hears node 1's own acknowledgement; node 2 hands it on.
    net.filter = Some(|from: NodeIndex, to: NodeIndex, frame: &Frame| {
        from == node(1) && to == node(3) && matches!(frame, Frame::Prepared(_))
    });
    make(&mut net, "fresh");
    net.advance(2_000);
    assert_eq!(active(&net), [2, 2, 2]);
}

#[test]
fn a_pending_key_has_the_endorsements_of_nodes_whose_shares_are_durable_only() {
    let mut net = Net::calm();
    net.filter = Some(|_, _, frame: &Frame| matches!(frame, Frame::Prepared(_)));
    make(&mut net, "fresh");
    for index in 1..=3 {
        let keys = net.core(index).keys.values();
        let pending = keys.filter_map(|k| k.next.as_ref()).next().unwrap();
        let endorsements = pending.certificate.endorsements();
        let own = net.cluster.identities[&node(index)].public().id();
        assert_eq!(endorsements.len(), 1);
        assert_eq!(endorsements[0].credential, own);
    }
    assert!(net.core(1).name_is_taken(&"fresh".parse().unwrap()));
    assert!(!net.core(1).name_is_taken(&"other".parse().unwrap()));
}

/// Recovers node 1 with what `edit` makes of its records.
fn recovered(edit: impl Fn(&mut Record)) -> Result<Node, RecoverError> {
    let mut net = Net::calm();
    make(&mut net, "fresh");
    let mut from = net.recovered(1, usize::MAX);
    from.records.iter_mut().for_each(|(_, r)| edit(r));
    Node::recover(from, &mut Vec::new())
}

#[test]
fn a_start_refuses_an_activation_that_not_all_nodes_certified() {
    assert!(recovered(|_| {}).is_ok());
    let refused = recovered(|record| {
        if let Record::KeyActive { certificate, .. } = record {
            let whole = Certificate::<KeyPublic>::from_bytes(&certificate.0).unwrap();
            let mut short = Certificate::unsigned(whole.unverified().clone());
            let few = whole.endorsements().iter().skip(1).cloned();
            few.for_each(|e| short.add(e));
            *certificate = Opaque(short.to_bytes());
        }
    });
    assert!(matches!(refused, Err(RecoverError::Record(..))));
}

#[test]
fn a_start_refuses_a_stored_record_of_another_key_or_node() {
    let refused = recovered(|record| {
        if let Record::KeyPending(key) = record {
            key.key.0[0] ^= 1;
        }
    });
    assert!(matches!(refused, Err(RecoverError::Share(_))));
    let refused = recovered(|record| {
        if let Record::KeyPending(key) = record {
            key.boot.node = node(2);
        }
    });
    assert!(matches!(refused, Err(RecoverError::Share(_))));
}

/// Node 2 sends node 1 a message of a ceremony that nobody has asked node 1 for.
fn say_early(net: &mut Net, ceremony: u8, round: u8, bytes: usize) {
    let message = RoundMessage {
        round,
        broadcast: vec![0; bytes],
        signature: [0; 64],
        private: Vec::new(),
    };
    let frame = Frame::Session(SessionFrame {
        session: SessionId::Ceremony(CeremonyId([ceremony; 16])),
        header: None,
        message: cbor::encode(&message),
    });
    net.node_says(2, 1, frame);
}

#[test]
fn early_messages_are_bounded_in_round_in_length_and_for_each_peer() {
    let mut net = Net::calm();
    for (round, bytes) in [(0, 1), (5, 1), (1, 64 * 1024 + 1)] {
        say_early(&mut net, 1, round, bytes);
    }
    assert_eq!(net.core(1).ceremonies.early_count(), 0);
    for ceremony in 1..=70 {
        say_early(&mut net, ceremony, 1, 1);
    }
    assert_eq!(net.core(1).ceremonies.early_count(), 64);
}
