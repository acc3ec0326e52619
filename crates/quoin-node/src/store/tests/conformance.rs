//! The suite that every store must pass, written against the door alone.

use super::super::journal::BODY_BYTES_MAX;
use super::super::{Head, NewRecord, STATE_BYTES_MAX, Store, StoreError};
use super::{heads, open, place, record};
use quoin_core::TimeMs;
use std::collections::BTreeSet;
use std::sync::mpsc;

/// Runs every case against stores that `make` gives, each new and empty.
fn conforms(make: &dyn Fn() -> Box<dyn Store>) {
    for case in [
        starts_empty,
        an_append_is_read_back_in_order,
        state_changes_with_the_records,
        nothing_is_consumed_twice,
        limits_are_refused_without_harm,
        concurrent_appends_form_one_chain,
        answers_come_in_the_order_of_submission,
    ] {
        case(&*make());
    }
}

fn starts_empty(store: &dyn Store) {
    assert_eq!((store.head(), store.pending()), (Head::EMPTY, 0));
    assert_eq!(heads(store.records(1).unwrap()), []);
    assert_eq!(store.state("x").unwrap(), None);
    assert!(matches!(
        store.records(2).err(),
        Some(StoreError::BeyondEnd(2))
    ));
}

fn an_append_is_read_back_in_order(store: &dyn Store) {
    let mut answered = store.append((1..=3).map(record).collect()).unwrap();
    answered.extend(store.append(vec![record(4)]).unwrap());
    assert_eq!(
        answered.iter().map(|h| h.seq).collect::<Vec<_>>(),
        [1, 2, 3, 4]
    );
    assert_eq!(store.head(), answered[3]);
    assert_eq!(heads(store.records(1).unwrap()), answered);
    assert_eq!(heads(store.records(3).unwrap()), answered[2..]);
    let third = store.records(3).unwrap().next().unwrap().unwrap();
    assert_eq!((third.at, third.body), (TimeMs(3), b"record 3".to_vec()));
}

fn state_changes_with_the_records(store: &dyn Store) {
    store
        .append(vec![
            record(1).put("share", vec![1]).put("charter", vec![2]),
        ])
        .unwrap();
    store
        .append(vec![
            record(2).put("share", vec![3]),
            record(3).erase("charter"),
        ])
        .unwrap();
    assert_eq!(store.state("share").unwrap(), Some(vec![3]));
    assert_eq!(store.state("charter").unwrap(), None);
}

fn nothing_is_consumed_twice(store: &dyn Store) {
    store
        .append(vec![record(1).consume(b"id 1".to_vec())])
        .unwrap();
    let before = store.head();
    let again = record(2)
        .consume(b"id 2".to_vec())
        .consume(b"id 1".to_vec());
    let refused = store.append(vec![again.put("share", vec![1])]);
    assert!(matches!(&refused, Err(StoreError::Poisoned(why)) if why.contains("consumed before")));
    assert_eq!(store.head(), before);
    assert_eq!(heads(store.records(1).unwrap()), [before]);
    assert_eq!(
        store.state("share").unwrap(),
        None,
        "nothing of a failed append remains"
    );
    assert!(matches!(
        store.append(vec![record(3)]),
        Err(StoreError::Poisoned(_))
    ));
}

fn limits_are_refused_without_harm(store: &dyn Store) {
    let at = TimeMs(1);
    let long = NewRecord::new(at, vec![0; BODY_BYTES_MAX + 1]);
    let name = record(1).put("n".repeat(129), vec![]);
    let value = record(1).put("n", vec![0; STATE_BYTES_MAX + 1]);
    let key = record(1).consume(vec![0; 65]);
    for bad in [long, name, value, key] {
        assert!(matches!(
            store.append(vec![bad]),
            Err(StoreError::TooLong { .. })
        ));
    }
    assert_eq!(store.append(vec![]), Err(StoreError::RecordCount(0)));
    let many = vec![record(1); 1025];
    assert_eq!(store.append(many), Err(StoreError::RecordCount(1025)));
    let longest = NewRecord::new(at, vec![7; BODY_BYTES_MAX]);
    assert_eq!(store.append(vec![longest.clone()]).unwrap()[0].seq, 1);
    assert_eq!(
        store.records(1).unwrap().next().unwrap().unwrap().body,
        longest.body
    );
}

fn concurrent_appends_form_one_chain(store: &dyn Store) {
    let seqs: BTreeSet<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8u64)
            .map(|t| {
                scope.spawn(move || {
                    let each =
                        (0..25u64).map(|i| store.append(vec![record(t * 100 + i)]).unwrap()[0].seq);
                    each.collect::<Vec<_>>()
                })
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|t| t.join().unwrap())
            .collect()
    });
    assert_eq!(seqs, (1..=200).collect());
    assert_eq!(heads(store.records(1).unwrap()).len(), 200);
    assert_eq!(store.pending(), 0);
}

fn answers_come_in_the_order_of_submission(store: &dyn Store) {
    let (sender, receiver) = mpsc::channel();
    for i in 1..=100u64 {
        let sender = sender.clone();
        let done = move |outcome: Result<Vec<Head>, StoreError>| {
            sender.send((i, outcome.unwrap()[0].seq)).unwrap();
        };
        store.submit(vec![record(i)], Box::new(done)).unwrap();
    }
    drop(sender);
    let answers: Vec<_> = receiver.iter().collect();
    assert_eq!(answers, (1..=100).map(|i| (i, i)).collect::<Vec<_>>());
}

/// A store that keeps its folder.
struct Kept(
    super::SqliteStore,
    #[expect(dead_code, reason = "removed when dropped")] tempfile::TempDir,
);

impl Store for Kept {
    fn lane(&self) -> quoin_core::Lane {
        self.0.lane()
    }
    fn submit(&self, records: Vec<NewRecord>, done: super::super::Done) -> Result<(), StoreError> {
        self.0.submit(records, done)
    }
    fn head(&self) -> Head {
        self.0.head()
    }
    fn pending(&self) -> usize {
        self.0.pending()
    }
    fn records(&self, from: u64) -> Result<super::super::Records, StoreError> {
        self.0.records(from)
    }
    fn state(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.state(name)
    }
}

#[test]
fn the_embedded_store_conforms() {
    conforms(&|| {
        let (folder, path) = place();
        Box::new(Kept(open(&path).0, folder))
    });
}

#[tokio::test]
async fn an_asynchronous_append_is_answered_when_durable() {
    let (_folder, path) = place();
    let (store, _) = open(&path);
    let answer = store.append_async(vec![record(1)]).unwrap().await.unwrap();
    assert_eq!(answer.unwrap(), [store.head()]);
}
