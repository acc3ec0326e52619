//! What is left after a process is killed in the middle of writing, and after a torn log.

use super::super::{Head, NewRecord, SqliteStore, Store, StoreError, verify};
use super::{LANE, heads, open, place, record};
use quoin_core::TimeMs;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Names the database to the child.
const PATH_VARIABLE: &str = "QUOIN_TEST_CRASH_DATABASE";

const KILLS: u64 = 20;

/// Not a test: what the killed child runs. It writes each acknowledged record's place and hash.
#[test]
#[ignore = "run by the kill test as a child process"]
fn child_that_appends_until_it_is_killed() {
    let Some(path) = std::env::var_os(PATH_VARIABLE) else {
        return;
    };
    let (store, recovered) = SqliteStore::open(&PathBuf::from(path), LANE).unwrap();
    assert_eq!(heads(recovered.records).len() as u64, store.head().seq);
    let store = Arc::new(store);
    let out = Arc::new(Mutex::new(std::io::stderr()));
    for i in 0.. {
        let out = out.clone();
        let acknowledge = move |outcome: Result<Vec<Head>, StoreError>| {
            let mut out = out.lock().unwrap();
            for head in outcome.unwrap() {
                writeln!(out, "durable {} {}", head.seq, head.hash).unwrap();
            }
        };
        let body = vec![b'x'; 50 + (i % 7) * 900];
        let name = format!("entry/{}", i % 5);
        let mut batch = vec![NewRecord::new(TimeMs(1), body.clone()).put(name.clone(), body)];
        if i % 10 == 9 {
            batch.push(record(2).erase(name));
        }
        store.submit(batch, Box::new(acknowledge)).unwrap();
    }
}

fn start_child(path: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture"])
        .arg("store::tests::crash::child_that_appends_until_it_is_killed")
        .env(PATH_VARIABLE, path)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn no_acknowledged_record_is_lost_when_the_process_is_killed() {
    let (_folder, path) = place();
    drop(open(&path));
    let mut acknowledged: BTreeMap<u64, String> = BTreeMap::new();
    for round in 0..KILLS {
        let mut child = start_child(&path);
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let first = lines.next().expect("the child starts").unwrap();
        assert!(matches!(
            SqliteStore::open(&path, LANE),
            Err(StoreError::Locked(_))
        ));
        std::thread::sleep(Duration::from_millis(5 + (round * 37) % 60));
        child.kill().unwrap();
        child.wait().unwrap();
        // The last line may be cut in the middle; then nobody was told.
        let rest = lines.map_while(Result::ok);
        for line in std::iter::once(first).chain(rest) {
            let words: Vec<_> = line.split(' ').collect();
            if let ["durable", seq, hash] = words[..]
                && hash.len() == 64
            {
                acknowledged.insert(seq.parse().unwrap(), hash.to_owned());
            }
        }
        let (store, recovered) = open(&path);
        let stored: BTreeMap<u64, String> = heads(recovered.records)
            .into_iter()
            .map(|head| (head.seq, head.hash.to_string()))
            .collect();
        for (seq, hash) in &acknowledged {
            assert_eq!(stored.get(seq), Some(hash), "round {round}, record {seq}");
        }
        drop(store);
        let report = verify(&path, &[]).unwrap();
        assert!(report.is_sound(), "round {round}: {report:?}");
    }
    assert!(
        acknowledged.len() as u64 > KILLS,
        "the children wrote something"
    );
}

#[test]
fn a_torn_log_leaves_whole_appends_and_a_sound_journal() {
    let (folder, path) = place();
    let (store, _) = open(&path);
    let written: Vec<Head> = (1..=20)
        .flat_map(|i| store.append(vec![record(i), record(100 + i)]).unwrap())
        .collect();
    let wal = std::fs::read(path.with_extension("db-wal")).unwrap();
    let database = std::fs::read(&path).unwrap();
    for cut in 0..60 {
        // As after the loss of power: the log ends anywhere, even inside of a page.
        let copy = folder.path().join(format!("cut-{cut}")).join("quoin.db");
        drop(open(&copy));
        std::fs::write(&copy, &database).unwrap();
        let length = wal.len() * cut / 60;
        std::fs::write(copy.with_extension("db-wal"), &wal[..length]).unwrap();
        let (store, recovered) = open(&copy);
        let left = heads(recovered.records);
        assert_eq!(left[..], written[..left.len()], "cut {cut}");
        assert_eq!(
            left.len() % 2,
            0,
            "an append is there as a whole or not at all"
        );
        store.append(vec![record(7)]).unwrap();
        drop(store);
        assert!(verify(&copy, &[]).unwrap().is_sound(), "cut {cut}");
    }
}
