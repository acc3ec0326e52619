//! What has been signed and could still execute: listed, ended by nothing but time and the chain,
//! and known again after a restart.

use super::cluster::FRIEND;
use super::net::{Net, gateway};
use super::{Work, set};
use crate::core::Record;
use quoin_api::Frame;
use quoin_api::frame::OutstandingFrame;
use quoin_core::Signed;
use quoin_core::cbor::Version;
use quoin_policy::{Closes, Fact, FactKind, FactRule, FactStatement, Outstanding};

fn ask(net: &mut Net, index: u8) -> OutstandingFrame {
    net.host(index).sent.clear();
    net.gateway_says(index, Frame::OutstandingRequest);
    let sent = std::mem::take(&mut net.host(index).sent);
    let mut listed = sent.into_iter().filter_map(|(to, frame)| match frame {
        Frame::Outstanding(frame) if to == gateway() => Some(frame),
        _ => None,
    });
    listed.next().unwrap()
}

fn listed(net: &mut Net, index: u8) -> Vec<Outstanding> {
    let frame = ask(net, index);
    assert_eq!(frame.node.get(), index);
    assert!(!frame.truncated);
    let read = |text: &String| serde_json::from_str(text).unwrap();
    frame.entries.iter().map(read).collect()
}

fn ids(entries: &[Outstanding]) -> Vec<u8> {
    entries.iter().map(|e| e.request_id.0[0]).collect()
}

fn sign(net: &mut Net, work: &Work) {
    let signed = net.sign(work, &set(&[1, 2]));
    let finished = work.finished(&signed);
    for index in [1, 2, 3] {
        net.gateway_says(index, Frame::Finished(finished.clone()));
    }
}

/// A cluster that believes `feed-1` about the nonces of its key's account.
fn with_feed() -> Net {
    let mut net = Net::calm();
    let account = net.cluster.account.clone();
    let current = net.core(1).charter().unverified().clone();
    let mut charter = net.cluster.next_charter(&current, "facts");
    charter.facts = vec![FactRule {
        kind: FactKind::Nonce(account.chain, account.address),
        quorum: 1,
        age_ms_max: 60_000,
        deviation_bp_max: 0,
    }];
    let certificate = net.cluster.certified(charter, 2);
    net.charters.push(certificate.clone());
    net.gateway_says(1, Frame::Charter(certificate.to_bytes()));
    net.advance(1_000);
    net
}

fn say_nonce(net: &mut Net, seq: u64, next: u64) {
    let account = net.cluster.account.clone();
    let statement = FactStatement {
        version: Version,
        cluster: net.cluster.id,
        feed: "feed-1".parse().unwrap(),
        seq,
        at: net.now,
        facts: vec![Fact::Nonce {
            chain: account.chain,
            account: account.address,
            next,
        }],
    };
    let bytes = Signed::sign(statement, &net.cluster.feeds[0]).to_bytes();
    net.gateway_says(1, Frame::Facts(bytes));
    net.advance(1_200);
}

#[test]
fn what_is_signed_is_listed_by_all_nodes_the_newest_first() {
    let mut net = Net::calm();
    let first = net.cluster.pay(1, 0, FRIEND);
    sign(&mut net, &first);
    net.advance(100);
    let second = net.cluster.pay(2, 1, FRIEND);
    sign(&mut net, &second);
    for index in [1, 2, 3] {
        let entries = listed(&mut net, index);
        assert_eq!(ids(&entries), [2, 1], "node {index}");
        let closes = Closes::Slot {
            nonce: 1,
            cancels: false,
        };
        assert_eq!(entries[0].closes, closes);
        assert_eq!(entries[0].key, Some(net.cluster.key.key));
        assert!(!entries[0].summary.is_empty());
    }
}

#[test]
fn a_partial_signature_alone_is_listed_where_it_was_made() {
    let (mut net, id) = super::ready();
    let work = net.cluster.pay(1, 0, FRIEND);
    net.ask(1, &work, &set(&[1, 2]), id);
    assert_eq!(ids(&listed(&mut net, 1)), [1]);
    assert!(listed(&mut net, 3).is_empty());
}

#[test]
fn nothing_is_listed_before_it_is_durable() {
    let (mut net, id) = super::ready();
    net.host(1).hold = true;
    let work = net.cluster.pay(1, 0, FRIEND);
    net.ask(1, &work, &set(&[1, 2]), id);
    net.host(1).sent.clear();
    net.gateway_says(1, Frame::OutstandingRequest);
    let said = |net: &mut Net| {
        let mut sent = net.host(1).sent.iter();
        sent.any(|(_, f)| matches!(f, Frame::Outstanding(_)))
    };
    assert!(!said(&mut net));
    net.release(1);
    assert!(said(&mut net));
}

#[test]
fn a_refused_request_is_not_listed() {
    let (mut net, id) = super::ready();
    let work = net.cluster.pay(1, 0, super::cluster::STRANGER);
    net.ask(1, &work, &set(&[1, 2]), id);
    assert!(listed(&mut net, 1).is_empty());
}

#[test]
fn the_chain_ends_a_payment_and_its_cancel_and_the_cancel_alone_ends_neither() {
    let mut net = with_feed();
    let paid = net.cluster.pay(1, 0, FRIEND);
    sign(&mut net, &paid);
    let later = net.cluster.pay(2, 1, FRIEND);
    sign(&mut net, &later);
    net.advance(100);
    let cancel = net.cluster.cancel(3, 0);
    sign(&mut net, &cancel);
    say_nonce(&mut net, 1, 0);
    let entries = listed(&mut net, 1);
    assert_eq!(entries.len(), 3);
    assert_eq!(
        entries[0].closes,
        Closes::Slot {
            nonce: 0,
            cancels: true
        }
    );
    say_nonce(&mut net, 2, 1);
    for index in [1, 2, 3] {
        assert_eq!(ids(&listed(&mut net, index)), [2], "node {index}");
    }
    // What was seen to be used stays so when nobody believes the feed any more.
    net.jump(120_000);
    net.advance(1_000);
    assert_eq!(ids(&listed(&mut net, 1)), [2]);
}

#[test]
fn the_list_is_made_again_from_the_journal() {
    let mut net = Net::calm();
    let work = net.cluster.pay(1, 0, FRIEND);
    sign(&mut net, &work);
    let (before, of_others) = (listed(&mut net, 1), listed(&mut net, 3));
    net.restart(1);
    net.restart(3);
    assert_eq!(listed(&mut net, 1), before);
    // Node 3 has only ever seen the signature: what ends it is known, what it does is not.
    let after = listed(&mut net, 3);
    assert_eq!(after[0].closes, of_others[0].closes);
    assert_eq!(after[0].account, of_others[0].account);
    assert!(
        after[0].summary.contains("not kept"),
        "{}",
        after[0].summary
    );
}

#[test]
fn what_cannot_be_read_any_more_is_listed_by_what_ends_it() {
    let mut net = Net::calm();
    let work = net.cluster.pay(1, 7, FRIEND);
    sign(&mut net, &work);
    let mut recovered = net.recovered(1, usize::MAX);
    for (_, record) in &mut recovered.records {
        if let Record::Decision(decision) = record {
            decision.payload.0 = vec![0xff];
        }
    }
    let mut effects = Vec::new();
    let mut core = crate::core::Node::recover(recovered, &mut effects).unwrap();
    effects.clear();
    let asked = crate::core::Event::Frame(gateway(), Frame::OutstandingRequest);
    let head = net.host(1).head(usize::MAX);
    core.handle(net.now, asked, &mut effects);
    let durable = crate::core::Event::Durable(crate::core::Ticket(1), head);
    core.handle(net.now, durable, &mut effects);
    let entry = effects.into_iter().find_map(|effect| match effect {
        crate::core::Effect::Send(_, Frame::Outstanding(frame)) => frame.entries.first().cloned(),
        _ => None,
    });
    let entry: Outstanding = serde_json::from_str(&entry.unwrap()).unwrap();
    let closes = Closes::Slot {
        nonce: 7,
        cancels: false,
    };
    assert_eq!((entry.request_id, entry.closes), (work.id, closes));
}

#[test]
fn only_gateways_are_told() {
    let mut net = Net::calm();
    net.host(1).sent.clear();
    net.node_says(2, 1, Frame::OutstandingRequest);
    let sent = &net.host(1).sent;
    assert!(!sent.iter().any(|(_, f)| matches!(f, Frame::Outstanding(_))));
}
