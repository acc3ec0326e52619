//! What a node remembers: its journal, and the small state written together with it.
//!
//! [`Store`] is the door: [`SqliteStore`] stands behind it today, PostgreSQL will when a node runs
//! in several lanes. Whatever stands there must pass the conformance suite.
//!
//! An append is one durable write: when the answer arrives, the records are on the disk, and only
//! then may anything that depends on them leave the node. An error while writing is final. What
//! reached the disk is unknown then, so the store answers nothing more until it has been opened anew,
//! and the node stops signing. The store does not know what the records mean.

mod files;
pub mod journal;
mod schema;
mod sqlite;
#[cfg(test)]
mod tests;
mod verify;
mod walk;
mod writer;

pub use journal::{Broken, Fault, Head, JournalRecord, Witness};
pub use sqlite::{Options, Recovered, SqliteStore, read};
pub use verify::{JournalReport, LaneReport, verify};
pub use walk::Records;

use journal::BODY_BYTES_MAX;
use quoin_core::{Lane, TimeMs};
use std::sync::mpsc;
use tokio::sync::oneshot;

/// The longest name of a state entry.
pub const STATE_NAME_BYTES_MAX: usize = 128;

/// The longest state entry: a charter with its policies, or a key's certificate and sealed share.
pub const STATE_BYTES_MAX: usize = 4 << 20;

/// The longest key of what may be consumed once: a presignature id takes 34 bytes.
pub const CONSUMED_BYTES_MAX: usize = 64;

/// The most records of one append. The core makes a handful for each event.
pub const APPEND_RECORDS_MAX: usize = 1024;

/// A record to append, and what becomes durable together with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewRecord {
    /// The node's effective time.
    pub at: TimeMs,
    /// The core's record, in canonical CBOR.
    pub body: Vec<u8>,
    /// State entries to write, or with `None` to erase.
    pub puts: Vec<(String, Option<Vec<u8>>)>,
    /// What this record uses up, such as a presignature's id. The store refuses to use anything up
    /// twice, whatever the core believes: a second line of defence, so a refusal here is a defect
    /// and ends the store's service.
    pub consumes: Vec<Vec<u8>>,
}

impl NewRecord {
    /// A record that writes nothing besides itself.
    #[must_use]
    pub fn new(at: TimeMs, body: Vec<u8>) -> Self {
        Self {
            at,
            body,
            ..Self::default()
        }
    }

    /// Writes a state entry together with the record.
    #[must_use]
    pub fn put(mut self, name: impl Into<String>, value: Vec<u8>) -> Self {
        self.puts.push((name.into(), Some(value)));
        self
    }

    /// Erases a state entry together with the record.
    #[must_use]
    pub fn erase(mut self, name: impl Into<String>) -> Self {
        self.puts.push((name.into(), None));
        self
    }

    /// Uses something up together with the record.
    #[must_use]
    pub fn consume(mut self, key: Vec<u8>) -> Self {
        self.consumes.push(key);
        self
    }
}

/// A stored record, as it is read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Its place and hash.
    pub head: Head,
    /// The node's effective time when it was made.
    pub at: TimeMs,
    /// The core's record.
    pub body: Vec<u8>,
}

/// Called once, from the writer's thread, when an append is durable or has failed. It must be
/// short: the next write waits for it.
pub type Done = Box<dyn FnOnce(Result<Vec<Head>, StoreError>) + Send>;

/// What a node remembers.
pub trait Store: Send + Sync {
    /// The lane whose journal this is.
    fn lane(&self) -> Lane;

    /// Queues an append; `done` is called when it is durable. Appends become durable in the order in
    /// which they were submitted; those waiting together share one write.
    ///
    /// When the queue is full this waits for room: a core faster than its disk has to be slowed.
    ///
    /// # Errors
    /// When a record breaks a limit, or the store has failed before; `done` is not called then.
    fn submit(&self, records: Vec<NewRecord>, done: Done) -> Result<(), StoreError>;

    /// The newest durable record.
    fn head(&self) -> Head;

    /// Appends submitted and not yet answered. A service that sees it grow refuses early.
    fn pending(&self) -> usize;

    /// The durable records from place `from` (at least 1) to the head as it is now, each checked.
    ///
    /// # Errors
    /// When the store cannot be read, or `from` lies beyond the end.
    fn records(&self, from: u64) -> Result<Records, StoreError>;

    /// A state entry, as the last durable append left it.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn state(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Appends and waits until the records are durable. For start-up and tools, not for the core's
    /// task.
    ///
    /// # Errors
    /// As [`Store::submit`], or when writing fails.
    fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Head>, StoreError> {
        let (sender, receiver) = mpsc::sync_channel(1);
        self.submit(
            records,
            Box::new(move |outcome| {
                let _ = sender.send(outcome);
            }),
        )?;
        receiver.recv().unwrap_or(Err(StoreError::Stopped))
    }

    /// Appends; the receiver is answered when the records are durable.
    ///
    /// # Errors
    /// As [`Store::submit`].
    fn append_async(
        &self,
        records: Vec<NewRecord>,
    ) -> Result<oneshot::Receiver<Result<Vec<Head>, StoreError>>, StoreError> {
        let (sender, receiver) = oneshot::channel();
        self.submit(
            records,
            Box::new(move |outcome| {
                // Nobody waits any more; the records are durable all the same.
                let _ = sender.send(outcome);
            }),
        )?;
        Ok(receiver)
    }
}

/// Why the store refuses, or why it has stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another process has the data folder open.
    #[error("`{0}` is in use by another process: stop it first; one data folder is one node")]
    Locked(String),
    /// A folder or file that others may enter or read.
    #[error("`{path}` is open to others (mode `{mode:o}`): run `chmod {wanted:o}` on it")]
    OpenToOthers {
        /// The folder or file.
        path: String,
        /// Its mode.
        mode: u32,
        /// The mode it should have.
        wanted: u32,
    },
    /// The file system refused.
    #[error("{what}: {reason}")]
    Io {
        /// What was tried.
        what: String,
        /// The system's reason.
        reason: String,
    },
    /// The database refused.
    #[error("{what}: database says: {reason}")]
    Database {
        /// What was tried.
        what: &'static str,
        /// The database's reason.
        reason: String,
    },
    /// The database belongs to another lane. A new, empty journal in its place would forget what
    /// that lane has used up.
    #[error("the database holds lane `{}`, not lane `{}`", found.0, asked.0)]
    OtherLane {
        /// The lane asked for.
        asked: Lane,
        /// The lane stored.
        found: Lane,
    },
    /// Written by a newer version of Quoin.
    #[error("the database has schema `{found}`; this version knows up to `{known}`: update quoin")]
    NewerSchema {
        /// The schema found.
        found: i64,
        /// The newest known here.
        known: i64,
    },
    /// A row refers to one that does not exist.
    #[error("the database is inconsistent: table `{0}` refers to a missing record")]
    Dangling(String),
    /// The journal is broken.
    #[error(transparent)]
    Broken(#[from] Fault),
    /// Reading was asked to start after the end.
    #[error("record `{0}` does not exist")]
    BeyondEnd(u64),
    /// A value over its limit.
    #[error("{what} has `{bytes}` bytes, which is over the limit of `{max}`")]
    TooLong {
        /// What is too long.
        what: &'static str,
        /// Its length.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// An append without records, or with too many.
    #[error("an append takes 1 to `{max}` records, not `{0}`", max = APPEND_RECORDS_MAX)]
    RecordCount(usize),
    /// A record uses up what was used up before.
    #[error("`{0}` was consumed before")]
    ConsumedBefore(String),
    /// Writing has failed once; nothing is written any more.
    #[error("the journal cannot be written, and signing has stopped: {0}")]
    Poisoned(String),
    /// The writer has ended.
    #[error("the store is closed")]
    Stopped,
}

/// Checks the limits of an append before it is queued, so that the writer only fails for real.
fn check_limits(records: &[NewRecord]) -> Result<(), StoreError> {
    if records.is_empty() || records.len() > APPEND_RECORDS_MAX {
        return Err(StoreError::RecordCount(records.len()));
    }
    for record in records {
        limit("a record's body", record.body.len(), BODY_BYTES_MAX)?;
        for (name, value) in &record.puts {
            limit("a state entry's name", name.len(), STATE_NAME_BYTES_MAX)?;
            let bytes = value.as_ref().map_or(0, Vec::len);
            limit("a state entry", bytes, STATE_BYTES_MAX)?;
        }
        for key in &record.consumes {
            limit("a consumed key", key.len(), CONSUMED_BYTES_MAX)?;
        }
    }
    Ok(())
}

fn limit(what: &'static str, bytes: usize, max: usize) -> Result<(), StoreError> {
    if bytes > max {
        return Err(StoreError::TooLong { what, bytes, max });
    }
    Ok(())
}
