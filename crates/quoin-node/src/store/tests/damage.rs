//! What the check of a stored journal finds when somebody or something has changed it.

use super::super::journal::Chain;
use super::super::{Broken, Head, Store, StoreError, Witness, verify};
use super::{LANE, heads, open, place, record};
use quoin_core::{HeadHash, NodeIndex, TimeMs};
use std::path::Path;

/// Five records, closed; returns their heads.
fn written(path: &Path) -> Vec<Head> {
    let (store, _) = open(path);
    store.append((1..=5).map(record).collect()).unwrap()
}

/// Changes the stored journal as an attacker with the file can.
fn change(path: &Path, sql: &str) {
    let raw = rusqlite::Connection::open(path).unwrap();
    raw.execute_batch("DROP TRIGGER journal_is_never_cut; DROP TRIGGER journal_is_never_changed; PRAGMA foreign_keys = OFF;")
        .unwrap();
    raw.execute_batch(sql).unwrap();
}

fn fault(path: &Path, witnesses: &[Witness]) -> (u64, Broken) {
    let report = verify(path, witnesses).unwrap();
    assert!(!report.is_sound());
    let fault = report.fault().expect("a fault in the chain").clone();
    (fault.seq, fault.why)
}

fn witness(head: Head) -> Witness {
    let by = NodeIndex::new(2).unwrap();
    Witness {
        lane: LANE,
        head,
        by,
    }
}

/// What reading at start says.
fn refused_at_start(path: &Path) -> bool {
    match super::SqliteStore::open(path, LANE) {
        Ok((_, recovered)) => recovered.records.into_iter().any(|r| r.is_err()),
        Err(_) => true,
    }
}

#[test]
fn a_flipped_byte_a_gap_and_a_truncation_are_found_with_their_place() {
    let cases: [(&str, u64, Broken); 4] = [
        (
            "UPDATE journal SET record = zeroblob(length(record)) WHERE seq = 3",
            3,
            Broken::HashDiffers,
        ),
        (
            "DELETE FROM journal WHERE seq = 3",
            3,
            Broken::Gap { found: 4 },
        ),
        (
            "DELETE FROM journal WHERE seq > 3",
            4,
            Broken::Truncated { head: 5 },
        ),
        (
            "UPDATE head SET seq = 4, hash = (SELECT hash FROM journal WHERE seq = 4)",
            5,
            Broken::BeyondHead { head: 4 },
        ),
    ];
    for (sql, seq, why) in cases {
        let (_folder, path) = place();
        written(&path);
        change(&path, sql);
        assert_eq!(fault(&path, &[]), (seq, why), "{sql}");
        assert!(refused_at_start(&path), "{sql}");
    }
}

/// Rewrites records 4 and 5 with right hashes and links.
fn rewrite_suffix(path: &Path, heads: &[Head]) {
    let mut chain = Chain::after(LANE, heads[2]);
    change(path, "DELETE FROM journal WHERE seq > 3");
    let raw = rusqlite::Connection::open(path).unwrap();
    for seq in 4..=5i64 {
        let linked = chain.link(TimeMs(0), b"another history".to_vec());
        let row = (seq, linked.head.hash.as_bytes(), &linked.bytes);
        raw.execute(
            "INSERT INTO journal (lane, seq, hash, record) VALUES (0, ?1, ?2, ?3)",
            row,
        )
        .unwrap();
    }
    raw.execute("UPDATE head SET hash = ?1", [chain.head().hash.as_bytes()])
        .unwrap();
}

#[test]
fn a_rewritten_suffix_is_sound_in_itself_but_not_to_a_witness() {
    let (_folder, path) = place();
    let heads = written(&path);
    rewrite_suffix(&path, &heads);
    assert!(verify(&path, &[]).unwrap().is_sound());
    assert!(verify(&path, &[witness(heads[2])]).unwrap().is_sound());
    let by = NodeIndex::new(2).unwrap();
    let seen = [witness(heads[1]), witness(heads[4])];
    assert_eq!(fault(&path, &seen), (5, Broken::WitnessDiffers { by }));
}

#[test]
fn a_rolled_back_journal_is_sound_in_itself_but_not_to_a_witness() {
    let (_folder, path) = place();
    let heads = written(&path);
    change(
        &path,
        "DELETE FROM journal WHERE seq > 3;
         UPDATE head SET seq = 3, hash = (SELECT hash FROM journal WHERE seq = 3)",
    );
    assert!(verify(&path, &[]).unwrap().is_sound());
    let by = NodeIndex::new(2).unwrap();
    let why = Broken::WitnessAhead { by, seen: 5 };
    assert_eq!(fault(&path, &[witness(heads[4])]), (4, why));
}

#[test]
fn a_journal_that_is_gone_is_noticed_by_a_witness() {
    let (_folder, path) = place();
    drop(open(&path));
    assert!(verify(&path, &[]).unwrap().is_sound());
    let head = Head {
        seq: 9,
        hash: HeadHash([1; 32]),
    };
    let by = NodeIndex::new(2).unwrap();
    assert_eq!(
        fault(&path, &[witness(head)]),
        (1, Broken::WitnessAhead { by, seen: 9 })
    );
}

#[test]
fn a_consumed_row_without_its_record_is_refused_at_start() {
    let (_folder, path) = place();
    written(&path);
    change(
        &path,
        "INSERT INTO consumed (key, lane, seq) VALUES (x'01', 0, 77)",
    );
    assert!(matches!(
        super::SqliteStore::open(&path, LANE),
        Err(StoreError::Dangling(table)) if table == "consumed"
    ));
    assert!(!verify(&path, &[]).unwrap().is_sound());
}

#[test]
fn no_flipped_byte_of_the_file_changes_what_is_read_unnoticed() {
    let (_folder, path) = place();
    let (store, _) = open(&path);
    let original = store
        .append(
            (1..=40)
                .map(|i| record(i).consume(i.to_be_bytes().to_vec()))
                .collect(),
        )
        .unwrap();
    drop(store);
    let good = std::fs::read(&path).unwrap();
    let (mut found, mut harmless) = (0, 0);
    for at in (0..good.len()).step_by(97) {
        let mut bad = good.clone();
        bad[at] ^= 0x41;
        std::fs::write(&path, &bad).unwrap();
        let _ = std::fs::remove_file(path.with_extension("db-wal"));
        let _ = std::fs::remove_file(path.with_extension("db-shm"));
        let report = match verify(&path, &[witness(original[39])]) {
            Ok(report) if report.is_sound() => report,
            _ => {
                found += 1;
                continue;
            }
        };
        // The byte was of no meaning, or SQLite's own header noticed it only when opening to write.
        assert_eq!(report.lanes[0].head, original[39], "byte {at}");
        if let Ok((_, recovered)) = super::SqliteStore::open(&path, LANE) {
            assert_eq!(heads(recovered.records), original, "byte {at}");
            harmless += 1;
        }
    }
    assert!(
        found > 50 && harmless > 50,
        "{found} found, {harmless} harmless"
    );
}
