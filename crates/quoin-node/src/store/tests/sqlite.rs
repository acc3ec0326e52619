//! What the embedded store does besides: locks, modes, lanes, full disks, erasure, schema.

use super::super::{NewRecord, Options, SqliteStore, Store, StoreError, verify};
use super::{LANE, heads, open, place, record};
use quoin_core::{Lane, TimeMs};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[test]
fn records_and_state_are_there_after_opening_again() {
    let (_folder, path) = place();
    let (store, recovered) = open(&path);
    assert_eq!(heads(recovered.records), []);
    let written = store.append((1..=300).map(record).collect()).unwrap();
    store
        .append(vec![record(301).put("generation", vec![7])])
        .unwrap();
    drop(store);
    let (store, recovered) = open(&path);
    assert_eq!(recovered.head, store.head());
    assert_eq!(recovered.state["generation"], [7]);
    assert_eq!(heads(recovered.records)[..300], written);
    assert_eq!(store.append(vec![record(302)]).unwrap()[0].seq, 302);
    drop(store);
    let report = verify(&path, &[]).unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!(report.lanes[0].head.seq, 302);
}

#[test]
fn one_data_folder_is_never_opened_twice() {
    let (_folder, path) = place();
    let (store, _) = open(&path);
    assert!(matches!(
        SqliteStore::open(&path, LANE),
        Err(StoreError::Locked(_))
    ));
    drop(store);
    assert!(SqliteStore::open(&path, LANE).is_ok());
}

#[test]
fn a_running_store_can_be_verified_from_outside() {
    let (_folder, path) = place();
    let (store, _) = open(&path);
    store.append(vec![record(1)]).unwrap();
    assert!(verify(&path, &[]).unwrap().is_sound());
    store.append(vec![record(2)]).unwrap();
}

#[test]
fn folder_and_files_are_closed_to_others() {
    let (_folder, path) = place();
    let (store, _) = open(&path);
    store.append(vec![record(1)]).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    for file in [
        path.clone(),
        beside(&path, "-wal"),
        beside(&path, "-shm"),
        beside(&path, ".lock"),
    ] {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[test]
fn a_folder_or_file_open_to_others_is_refused() {
    let (_folder, path) = place();
    drop(open(&path));
    let set = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    set(&path, 0o640);
    assert!(matches!(
        SqliteStore::open(&path, LANE),
        Err(StoreError::OpenToOthers { mode: 0o640, .. })
    ));
    set(&path, 0o600);
    set(path.parent().unwrap(), 0o755);
    assert!(matches!(
        SqliteStore::open(&path, LANE),
        Err(StoreError::OpenToOthers { wanted: 0o700, .. })
    ));
}

#[test]
fn another_lane_is_refused() {
    let (_folder, path) = place();
    let (store, _) = open(&path);
    store.append(vec![record(1)]).unwrap();
    drop(store);
    assert_eq!(
        SqliteStore::open(&path, Lane(1)).err(),
        Some(StoreError::OtherLane {
            asked: Lane(1),
            found: LANE
        })
    );
}

#[test]
fn a_newer_schema_is_refused() {
    let (_folder, path) = place();
    drop(open(&path));
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.execute("INSERT INTO schema_version (version) VALUES (99)", [])
        .unwrap();
    drop(raw);
    assert!(matches!(
        SqliteStore::open(&path, LANE),
        Err(StoreError::NewerSchema { found: 99, .. })
    ));
}

#[test]
fn a_full_disk_poisons_the_store_and_loses_nothing_acknowledged() {
    let (_folder, path) = place();
    let options = Options {
        pages_max: Some(64),
    };
    let (store, _) = SqliteStore::open_with(&path, LANE, options).unwrap();
    let mut acknowledged = Vec::new();
    let error = loop {
        match store.append(vec![NewRecord::new(TimeMs(1), vec![7; 20_000])]) {
            Ok(heads) => acknowledged.extend(heads),
            Err(e) => break e,
        }
    };
    assert!(
        matches!(&error, StoreError::Poisoned(why) if why.contains("full")),
        "{error}"
    );
    assert!(acknowledged.len() > 3);
    // A small record would fit, but what the disk holds is no longer known.
    assert!(matches!(
        store.append(vec![record(1)]),
        Err(StoreError::Poisoned(_))
    ));
    assert_eq!(Some(&store.head()), acknowledged.last());
    drop(store);
    let (_, recovered) = open(&path);
    assert_eq!(heads(recovered.records), acknowledged);
}

#[test]
fn appends_that_wait_behind_a_failed_write_fail_as_well() {
    let (_folder, path) = place();
    let (store, _) = open(&path);
    store
        .append(vec![record(1).consume(b"id".to_vec())])
        .unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    let mut submitted = 0;
    for i in 0..50 {
        let sender = sender.clone();
        let done = move |outcome: Result<_, _>| sender.send(outcome).unwrap();
        let again = record(i).consume(b"id".to_vec());
        submitted += usize::from(store.submit(vec![again], Box::new(done)).is_ok());
    }
    drop(sender);
    let answers: Vec<Result<Vec<super::Head>, StoreError>> = receiver.iter().collect();
    assert_eq!(answers.len(), submitted);
    assert!(
        answers
            .iter()
            .all(|a| matches!(a, Err(StoreError::Poisoned(_))))
    );
    assert_eq!(store.pending(), 0);
}

#[test]
fn a_journal_that_was_made_read_only_poisons_the_store() {
    let (_folder, path) = place();
    let (store, _) = open(&path);
    store.append(vec![record(1)]).unwrap();
    // Another connection takes the table away: any failure of the database is treated alike.
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.execute_batch("ALTER TABLE journal RENAME TO gone")
        .unwrap();
    assert!(matches!(
        store.append(vec![record(2)]),
        Err(StoreError::Poisoned(_))
    ));
    raw.execute_batch("ALTER TABLE gone RENAME TO journal")
        .unwrap();
    assert!(matches!(
        store.append(vec![record(2)]),
        Err(StoreError::Poisoned(_))
    ));
}

#[test]
fn an_erased_entry_is_in_no_file_any_more() {
    let (folder, path) = place();
    let (store, _) = open(&path);
    let secret = b"a wrapped data key of an old epoch".to_vec();
    store
        .append(vec![record(1).put("share/1", secret.clone())])
        .unwrap();
    let holds = || {
        let files = std::fs::read_dir(path.parent().unwrap()).unwrap();
        let mut contents = files.map(|f| std::fs::read(f.unwrap().path()).unwrap());
        contents.any(|bytes| bytes.windows(secret.len()).any(|w| w == secret))
    };
    assert!(holds());
    store.append(vec![record(2).erase("share/1")]).unwrap();
    // The log is emptied after the answer; the next answer comes after that.
    store.append(vec![record(3)]).unwrap();
    assert!(!holds());
    drop(store);
    drop(folder);
}

#[test]
fn the_journal_cannot_be_changed_by_sql() {
    let (_folder, path) = place();
    let (store, _) = open(&path);
    store.append(vec![record(1).consume(vec![1])]).unwrap();
    drop(store);
    let raw = rusqlite::Connection::open(&path).unwrap();
    for sql in [
        "DELETE FROM journal",
        "UPDATE journal SET record = x'00'",
        "DELETE FROM consumed",
        "UPDATE consumed SET key = x'00'",
    ] {
        assert!(raw.execute(sql, []).is_err(), "{sql}");
    }
}
