//! What has been signed and could still execute, and what is missing before it can.

use crate::fixtures::*;
use crate::{
    Closes, Constitution, DEADLINE_MARGIN_MS, Fact, FactKind, FactRule, FactStatement, FactStore,
    GAPS_MAX, Ledger, OUTSTANDING_MAX, Outstanding, OutstandingSet,
};
use quoin_core::cbor::Version;
use quoin_core::{Payload, RequestId, TimeMs};

const ALL: &str = "@id(\"all\") permit (principal, action, resource);";

fn known() -> Constitution {
    let mut charter = charter(ALL);
    let mut feed = principal("f1", &["feed"]);
    feed.credentials = vec![identity(60).public()];
    charter.principals.push(feed);
    charter.facts = vec![FactRule {
        kind: FactKind::Nonce(account().chain, own_address()),
        quorum: 1,
        age_ms_max: 10_000,
        deviation_bp_max: 0,
    }];
    charter.check().unwrap()
}

fn next_is(constitution: &Constitution, next: u64) -> FactStore {
    let mut store = FactStore::default();
    let fact = Fact::Nonce {
        chain: account().chain,
        account: own_address(),
        next,
    };
    store.restore(FactStatement {
        version: Version,
        cluster: constitution.cluster(),
        feed: "f1".parse().unwrap(),
        seq: 1,
        at: NOW,
        facts: vec![fact],
    });
    store
}

fn entry(constitution: &Constitution, id: u64, payload: Payload) -> Option<Outstanding> {
    let ask = Ask::new(constitution, id, payload);
    Outstanding::of(constitution, &ask.decoded(), &ask.stamp, Some(5), NOW)
}

fn ids(set: &OutstandingSet) -> Vec<u8> {
    set.iter().map(|e| e.request_id.0[15]).collect()
}

#[test]
fn a_transaction_is_outstanding_until_its_slot_is_known_to_be_used() {
    let constitution = known();
    let mut set = OutstandingSet::default();
    for (id, nonce) in [(1, 5), (2, 6)] {
        let tx = Tx::pay(nonce, &exchange(), 1);
        set.insert(entry(&constitution, id, tx.payload()).unwrap());
    }
    let first = set.iter().next().unwrap();
    let closes = Closes::Slot {
        nonce: 5,
        cancels: false,
    };
    assert_eq!(first.closes, closes);
    assert_eq!(first.value_usd_micro, Some(5));
    assert!(first.summary.contains("transfer"));
    // The next nonce is 5: none has executed. Without a fact nothing is known.
    for store in [next_is(&constitution, 5), FactStore::default()] {
        assert!(set.sweep(&constitution, &store, NOW).is_empty());
    }
    let used = next_is(&constitution, 6);
    assert_eq!(set.sweep(&constitution, &used, NOW).len(), 1);
    assert_eq!(ids(&set), [2]);
    // A fact that is too old is none.
    let later = NOW.plus(10_001);
    let used = next_is(&constitution, 7);
    assert!(set.sweep(&constitution, &used, later).is_empty());
}

#[test]
fn a_cancel_burns_what_is_in_its_slot_but_only_once_it_has_executed() {
    let constitution = known();
    let mut set = OutstandingSet::default();
    let pay = entry(&constitution, 1, Tx::pay(5, &exchange(), 1).payload()).unwrap();
    let cancel = entry(&constitution, 2, Tx::pay(5, &own_address(), 0).payload()).unwrap();
    assert_eq!(pay.burnable(), pay.slot());
    assert!(pay.burnable().is_some());
    assert_eq!(cancel.burnable(), None);
    set.insert(pay);
    set.insert(cancel);
    let store = FactStore::default();
    assert!(set.sweep(&constitution, &store, NOW).is_empty());
    let chain = account().chain;
    assert_eq!(set.in_slots_of(&chain, &own_address()).count(), 2);
    assert_eq!(set.in_slots_of(&chain, &stranger()).count(), 0);
    let used = next_is(&constitution, 6);
    assert_eq!(set.sweep(&constitution, &used, NOW).len(), 2);
    assert!(set.is_empty());
}

#[test]
fn a_deadline_closes_with_a_margin_and_nothing_closes_what_has_none() {
    let constitution = known();
    let like = entry(&constitution, 1, Tx::pay(5, &exchange(), 1).payload()).unwrap();
    let at = NOW.plus(1000);
    let until = Outstanding {
        closes: Closes::Until { at },
        ..like.clone()
    };
    let never = Outstanding {
        closes: Closes::Never,
        ..like
    };
    let store = FactStore::default();
    let closed = |e: &Outstanding, now| e.is_closed(&constitution, &store, now);
    let end = at.plus(DEADLINE_MARGIN_MS);
    assert!(!closed(&until, TimeMs(end.0 - 1)));
    assert!(closed(&until, end));
    assert!(!closed(&never, TimeMs(u64::MAX)));
    assert_eq!((until.slot(), until.burnable()), (None, None));
}

#[test]
fn what_could_not_execute_is_not_outstanding() {
    let constitution = known();
    let text = entry(&constitution, 1, Payload::EvmMessage(b"hello".to_vec()));
    assert_eq!(text, None);
    // What a contract wallet would take for authority could.
    let hash = entry(&constitution, 1, Payload::EvmMessage(vec![7; 32])).unwrap();
    assert_eq!(hash.closes, Closes::Never);
}

#[test]
fn there_is_an_end_to_how_much_is_remembered() {
    let constitution = known();
    let like = entry(&constitution, 1, Tx::pay(5, &exchange(), 1).payload()).unwrap();
    let mut set = OutstandingSet::default();
    let numbered = |n: usize| {
        let mut id = [0; 16];
        id[8..].copy_from_slice(&(n as u64).to_be_bytes());
        Outstanding {
            request_id: RequestId(id),
            signed_at: NOW.plus(n as u64),
            ..like.clone()
        }
    };
    for n in 0..=OUTSTANDING_MAX {
        set.insert(numbered(n));
    }
    assert_eq!((set.len(), set.forgotten()), (OUTSTANDING_MAX, 1));
    let first = set.iter().next().unwrap();
    assert_eq!(first.request_id, numbered(1).request_id, "the oldest went");
    set.insert(numbered(1));
    assert_eq!(set.len(), OUTSTANDING_MAX, "again is nothing");
}

#[test]
fn gaps_are_the_nonces_that_nothing_has_taken_below_one_that_is() {
    let constitution = known();
    let mut ledger = Ledger::new();
    let chain = account().chain;
    for (id, nonce) in [(1, 5), (2, 8), (3, 9)] {
        let ask = Ask::new(&constitution, id, Tx::pay(nonce, &exchange(), 1).payload());
        ask.permitted(&constitution, &mut ledger);
    }
    let gaps = |ledger: &Ledger, next| ledger.slot_gaps(&chain, &own_address(), next);
    assert_eq!(gaps(&ledger, 4), [4, 6, 7]);
    assert_eq!(gaps(&ledger, 6), [6, 7]);
    assert!(gaps(&ledger, 8).is_empty());
    assert!(ledger.slot_gaps(&chain, &stranger(), 0).is_empty());
    let far = Ask::new(&constitution, 4, Tx::pay(1 << 40, &exchange(), 1).payload());
    far.permitted(&constitution, &mut ledger);
    assert_eq!(gaps(&ledger, 4).len(), GAPS_MAX);
}
