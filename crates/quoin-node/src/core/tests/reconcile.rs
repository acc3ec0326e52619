//! Reconciliation: what a chain has executed without us is found, once, and nothing else is.

use super::cluster::FRIEND;
use super::{Net, node, set};
use crate::core::Alarm;
use quoin_api::Frame;
use quoin_core::cbor::Version;
use quoin_core::{ChainId, Signed};
use quoin_policy::{Charter, Fact, FactKind, FactRule, FactStatement};

const CHAIN: ChainId = ChainId::Evm(31_337);

/// A cluster whose charter watches the nonce of its account, with pools filled.
fn watched() -> Net {
    let mut net = Net::calm();
    let account = net.cluster.account.address.clone();
    let current = net.core(1).charter().unverified();
    let charter = Charter {
        facts: vec![FactRule {
            kind: FactKind::Nonce(CHAIN, account),
            quorum: 2,
            age_ms_max: 60_000,
            deviation_bp_max: 0,
        }],
        ..net.cluster.next_charter(current, "watched")
    };
    let certificate = net.cluster.certified(charter, 2);
    net.gateway_says(1, Frame::Charter(certificate.to_bytes()));
    net.advance(1_000);
    assert_eq!(net.core(1).constitution.number().0, 1);
    net
}

/// Both feeds say that this is the next nonce of the account.
fn next_is(net: &mut Net, seq: u64, next: u64) {
    for feed in [1usize, 2] {
        let statement = FactStatement {
            version: Version,
            cluster: net.cluster.id,
            feed: format!("feed-{feed}").parse().unwrap(),
            seq,
            at: net.now,
            facts: vec![Fact::Nonce {
                chain: CHAIN,
                account: net.cluster.account.address.clone(),
                next,
            }],
        };
        let signed = Signed::sign(statement, &net.cluster.feeds[feed - 1]);
        net.gateway_says(1, Frame::Facts(signed.to_bytes()));
    }
    net.advance(1_100);
}

/// The nonces that a node has reported as spent by somebody else.
fn foreign(net: &mut Net, index: u8) -> Vec<u64> {
    let alarms = net.host(index).alarms.iter();
    let spent = alarms.filter_map(|alarm| match alarm {
        Alarm::ForeignSpend(_, _, nonce) => Some(*nonce),
        _ => None,
    });
    spent.collect()
}

/// Feeds go on saying the same for as long as a block takes.
fn a_block_passes(net: &mut Net, seq: u64, next: u64) {
    for i in 0..14 {
        next_is(net, seq + i, next);
    }
}

#[test]
fn a_nonce_that_was_spent_without_us_alarms_once() {
    let mut net = watched();
    next_is(&mut net, 1, 0);
    next_is(&mut net, 2, 1);
    assert_eq!(foreign(&mut net, 1), [0; 0], "a block has not passed");
    a_block_passes(&mut net, 3, 1);
    for index in 1..=3 {
        assert_eq!(foreign(&mut net, index), [0]);
    }
    a_block_passes(&mut net, 30, 1);
    assert_eq!(foreign(&mut net, 1), [0]);
    net.restart(1);
    a_block_passes(&mut net, 60, 1);
    assert_eq!(foreign(&mut net, 1), [0], "told before the restart");
    a_block_passes(&mut net, 90, 3);
    assert_eq!(foreign(&mut net, 2), [0, 1, 2]);
}

#[test]
fn many_at_once_are_told_a_few_at_a_time() {
    let mut net = watched();
    next_is(&mut net, 1, 0);
    a_block_passes(&mut net, 2, 2_000);
    let told = foreign(&mut net, 1).len();
    assert!((1..=64).contains(&told), "{told}");
    a_block_passes(&mut net, 30, 2_000);
    assert!(foreign(&mut net, 1).len() > told);
}

#[test]
fn what_was_spent_while_a_node_was_away_is_said_once_and_is_no_theft() {
    let mut net = watched();
    next_is(&mut net, 1, 0);
    net.crash(3);
    next_is(&mut net, 2, 5);
    net.start(node(3));
    net.advance(1_000);
    a_block_passes(&mut net, 3, 5);
    assert_eq!(foreign(&mut net, 3), [0; 0]);
    let account = net.cluster.account.address.clone();
    let away = Alarm::SpentWhileAway(CHAIN, account, 0);
    let said = net.host(3).alarms.iter().filter(|a| **a == away);
    assert_eq!(said.count(), 1);
    assert_eq!(foreign(&mut net, 1).len(), 5);
}

#[test]
fn nonces_that_we_signed_alarm_nobody() {
    let mut net = watched();
    next_is(&mut net, 1, 0);
    let work = net.cluster.pay(1, 0, FRIEND);
    net.sign(&work, &set(&[1, 2]));
    a_block_passes(&mut net, 2, 1);
    assert_eq!(foreign(&mut net, 1), [0; 0]);
    assert_eq!(foreign(&mut net, 2), [0; 0]);
}

#[test]
fn what_an_account_did_before_it_was_watched_alarms_nobody() {
    let mut net = watched();
    a_block_passes(&mut net, 1, 7);
    assert_eq!(foreign(&mut net, 1), [0; 0]);
    a_block_passes(&mut net, 30, 8);
    assert_eq!(foreign(&mut net, 1), [7]);
}

#[test]
fn one_feed_alone_raises_no_alarm() {
    let mut net = watched();
    next_is(&mut net, 1, 0);
    for seq in 2..20 {
        let statement = FactStatement {
            version: Version,
            cluster: net.cluster.id,
            feed: "feed-1".parse().unwrap(),
            seq,
            at: net.now,
            facts: vec![Fact::Nonce {
                chain: CHAIN,
                account: net.cluster.account.address.clone(),
                next: 9,
            }],
        };
        let signed = Signed::sign(statement, &net.cluster.feeds[0]);
        net.gateway_says(1, Frame::Facts(signed.to_bytes()));
        net.advance(1_100);
    }
    assert_eq!(foreign(&mut net, 1), [0; 0]);
}
