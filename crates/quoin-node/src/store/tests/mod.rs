//! The store: what every implementation must do, and what this one survives.

mod conformance;
mod crash;
mod damage;
mod sqlite;

use super::{Head, NewRecord, Recovered, SqliteStore};
use quoin_core::{Lane, TimeMs};
use std::path::PathBuf;

const LANE: Lane = Lane(0);

/// A folder of its own and a database path in it.
fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node").join("quoin.db");
    (folder, path)
}

fn open(path: &std::path::Path) -> (SqliteStore, Recovered) {
    SqliteStore::open(path, LANE).unwrap()
}

fn record(i: u64) -> NewRecord {
    NewRecord::new(TimeMs(i), format!("record {i}").into_bytes())
}

/// Places and hashes of all records, checked on the way.
fn heads(records: super::Records) -> Vec<Head> {
    records.map(|r| r.unwrap().head).collect()
}
