//! Statements of feeds: whose they are, that everybody hears them, and that none comes back.

use super::cluster::{FRIEND, Shape};
use super::{Net, node, set};
use crate::core::{Alarm, Record};
use quoin_api::Frame;
use quoin_api::frame::{Refusal, Reply};
use quoin_core::cbor::Version;
use quoin_core::{Amount, AssetId, ChainId, ClusterId, Purpose, Signed, SigningIdentity};
use quoin_policy::{Charter, Fact, FactKind, FactRule, FactStatement, FactView};

fn ether() -> AssetId {
    AssetId {
        chain: ChainId::Evm(31_337),
        token: None,
    }
}

fn price(usd: u64) -> Fact {
    Fact::Price {
        asset: ether(),
        usd_micro: usd * 1_000_000,
    }
}

/// What the feed `feed-1` or `feed-2` says.
fn statement(net: &Net, feed: usize, seq: u64, facts: Vec<Fact>) -> FactStatement {
    FactStatement {
        version: Version,
        cluster: net.cluster.id,
        feed: format!("feed-{feed}").parse().unwrap(),
        seq,
        at: net.now,
        facts,
    }
}

fn signed(statement: FactStatement, by: &SigningIdentity) -> Frame {
    Frame::Facts(Signed::sign(statement, by).to_bytes())
}

fn says(net: &Net, feed: usize, seq: u64, facts: Vec<Fact>) -> Frame {
    let statement = statement(net, feed, seq, facts);
    signed(statement, &net.cluster.feeds[feed - 1])
}

/// What a node says to its gateway about a statement.
fn told(net: &mut Net, index: u8, frame: Frame) -> Option<Refusal> {
    net.host(index).sent.clear();
    net.gateway_says(index, frame);
    let sent = std::mem::take(&mut net.host(index).sent);
    let mut replies = sent.into_iter().filter_map(|(_, frame)| match frame {
        Frame::StatementReply(reply) => Some(reply.refused),
        _ => None,
    });
    replies.next().unwrap()
}

/// The numbers of the newest statements of both feeds on a node.
fn heard(net: &Net, index: u8) -> Vec<u64> {
    net.core(index).facts.newest().map(|s| s.seq).collect()
}

fn marks(net: &Net, index: u8) -> Vec<u64> {
    let records = net.hosts[&node(index)].records();
    let marks = records.into_iter().filter_map(|(_, record)| match record {
        Record::FactSeen { seq, .. } => Some(seq),
        _ => None,
    });
    marks.collect()
}

#[test]
fn what_one_node_hears_of_a_feed_all_of_them_hear() {
    let mut net = Net::calm();
    let frame = says(&net, 1, 5, vec![price(3_000)]);
    assert_eq!(told(&mut net, 2, frame), None);
    for index in 1..=3 {
        assert_eq!(heard(&net, index), [5], "node {index}");
    }
    // A node that starts has none, and gets them from the others.
    net.restart(3);
    assert_eq!(heard(&net, 3), [5]);
}

#[test]
fn a_statement_that_is_not_its_feeds_is_refused() {
    let mut net = Net::calm();
    let good = statement(&net, 1, 1, vec![price(3_000)]);
    let (feed, trader) = (&net.cluster.feeds[0], &net.cluster.trader);
    let by_another = signed(good.clone(), &net.cluster.feeds[1]);
    let no_feed = FactStatement {
        feed: "trader".parse().unwrap(),
        ..good.clone()
    };
    let elsewhere = FactStatement {
        cluster: ClusterId([1; 32]),
        ..good.clone()
    };
    let ahead = FactStatement {
        at: net.now.plus(60_000),
        ..good.clone()
    };
    let twice = FactStatement {
        facts: vec![price(3_000), price(1)],
        ..good.clone()
    };
    let mut forged = Signed::sign(good, feed).to_bytes();
    *forged.last_mut().unwrap() ^= 1;
    let refused = [
        by_another,
        signed(no_feed, trader),
        signed(elsewhere, feed),
        signed(ahead, feed),
        signed(twice, feed),
        Frame::Facts(forged),
    ];
    for (place, frame) in refused.into_iter().enumerate() {
        assert!(told(&mut net, 1, frame).is_some(), "{place}");
        assert!((1..=3).all(|n| heard(&net, n).is_empty()), "{place}");
    }
}

#[test]
fn an_older_statement_never_comes_back_not_even_after_a_restart() {
    let mut net = Net::calm();
    let frames: Vec<Frame> = (1..=3)
        .map(|seq| says(&net, 1, seq, vec![price(3_000 + seq)]))
        .collect();
    for frame in [&frames[1], &frames[2]] {
        assert_eq!(told(&mut net, 1, frame.clone()), None);
        net.advance(11_000);
    }
    for old in &frames[..2] {
        assert!(told(&mut net, 1, old.clone()).is_some());
    }
    // The newest may come by two ways, and is no news the second time.
    assert_eq!(told(&mut net, 1, frames[2].clone()), None);
    assert_eq!(marks(&net, 1), [2, 3]);
    for index in 2..=3 {
        net.crash(index);
    }
    net.restart(1);
    for old in &frames[..2] {
        assert!(told(&mut net, 1, old.clone()).is_some());
        assert!(heard(&net, 1).is_empty());
    }
    assert_eq!(told(&mut net, 1, frames[2].clone()), None);
    assert_eq!(heard(&net, 1), [3]);
}

#[test]
fn a_feed_that_speaks_often_fills_neither_journal_nor_links() {
    let mut net = Net::calm();
    for seq in 1..=100 {
        let frame = says(&net, 1, seq, vec![price(3_000)]);
        assert_eq!(told(&mut net, 1, frame), None);
        let hasty = says(&net, 1, 1_000 + seq, vec![price(3_000)]);
        assert_eq!(told(&mut net, 1, hasty).unwrap().field, "feed");
        net.advance(100);
    }
    assert_eq!(heard(&net, 3), [100]);
    assert_eq!(marks(&net, 1), [1], "once in ten seconds");
    // Another feed is not held up by it.
    let frame = says(&net, 2, 1, vec![price(3_000)]);
    assert_eq!(told(&mut net, 1, frame), None);
}

/// A cluster with a key of this purpose, which believes in its balance what both feeds say.
fn watched(purpose: Purpose) -> Net {
    let mut net = Net::with(Shape {
        purpose,
        ..Shape::default()
    });
    net.advance(1_000);
    let account = net.cluster.account.address.clone();
    let current = net.core(1).charter().unverified();
    let charter = Charter {
        facts: vec![FactRule {
            kind: FactKind::Balance(ether(), account),
            quorum: 2,
            age_ms_max: 60_000,
            deviation_bp_max: 100,
        }],
        ..net.cluster.next_charter(current, "watched")
    };
    let certificate = net.cluster.certified(charter, 2);
    net.gateway_says(1, Frame::Charter(certificate.to_bytes()));
    net.advance(1_000);
    assert_eq!(net.core(1).constitution.number().0, 1);
    net
}

fn balance(net: &Net, amount: u64) -> Fact {
    Fact::Balance {
        asset: ether(),
        account: net.cluster.account.address.clone(),
        amount: Amount::from(amount),
    }
}

#[test]
fn a_decision_keeps_what_was_believed() {
    let mut net = Net::calm();
    let current = net.core(1).charter().unverified();
    let charter = Charter {
        facts: vec![FactRule {
            kind: FactKind::Price(ether()),
            quorum: 2,
            age_ms_max: 60_000,
            deviation_bp_max: 100,
        }],
        ..net.cluster.next_charter(current, "priced")
    };
    let certificate = net.cluster.certified(charter, 2);
    net.gateway_says(1, Frame::Charter(certificate.to_bytes()));
    net.advance(2_000);
    let decided = |net: &mut Net, id: u8| {
        let presignature = net.lease(&set(&[1, 2]), 1)[0];
        let work = net.cluster.pay(id, u64::from(id), FRIEND);
        let reply = net.ask(1, &work, &set(&[1, 2]), presignature);
        assert!(matches!(reply, Some(Reply::Answer(_))), "{reply:?}");
        let (_, record) = net.host(1).records().pop().unwrap();
        match record {
            Record::Decision(decision) => decision.facts,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(decided(&mut net, 1), None);
    for feed in [1, 2] {
        let frame = says(&net, feed, 1, vec![price(3_000)]);
        assert_eq!(told(&mut net, 1, frame), None);
    }
    let kept = decided(&mut net, 2).unwrap();
    let view: FactView = serde_json::from_slice(&kept.0).unwrap();
    let price = view.price.unwrap();
    assert_eq!((price.usd_micro, price.sources), (3_000_000_000, 2));
    net.restart(1);
    assert!(net.core(1).requests.values().filter(|r| r.decided).count() == 2);
}

#[test]
fn money_on_the_account_of_a_digest_key_alarms_once() {
    let mut net = watched(Purpose::Digest);
    let alarm = Alarm::DigestAccountFunded(ether(), net.cluster.account.address.clone());
    let rounds = [(0, 0, false), (7, 0, false), (7, 7, true), (8, 8, true)];
    for (seq, (first, second, alarmed)) in (1..).zip(rounds) {
        for (feed, amount) in [(1, first), (2, second)] {
            let fact = balance(&net, amount);
            let frame = says(&net, feed, seq, vec![fact]);
            assert_eq!(told(&mut net, 1, frame), None);
        }
        net.advance(1_000);
        for index in 1..=3 {
            let alarms = &net.host(index).alarms;
            let expected: &[Alarm] = if alarmed {
                std::slice::from_ref(&alarm)
            } else {
                &[]
            };
            assert_eq!(alarms, expected, "round {seq}, node {index}");
        }
    }
}

#[test]
fn money_on_other_accounts_alarms_nobody() {
    let mut net = watched(Purpose::Trading);
    for feed in [1, 2] {
        let fact = balance(&net, 7);
        let frame = says(&net, feed, 1, vec![fact]);
        assert_eq!(told(&mut net, 1, frame), None);
    }
    assert!(net.host(1).alarms.is_empty());
}
