//! The embedded store: one SQLite file, one writing thread, one lane.

use super::files::{self, FolderLock};
use super::journal::Broken;
use super::schema::{dangling, database, migrate, open_reader, open_writer};
use super::walk::{Records, head_at, last_filed, stored_head};
use super::writer::{Job, Shared, Writer};
use super::{Done, Fault, Head, NewRecord, Store, StoreError, check_limits};
use quoin_core::Lane;
use rusqlite::{Connection, OptionalExtension};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Appends that wait for the writer. The core makes one for each event, so more than this means
/// that the disk is far too slow, and waiting is right.
const QUEUE_APPENDS_MAX: usize = 1024;

/// What may be chosen when opening a store.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// The largest size of the database, in pages of 4 KiB; without it the disk is the limit.
    /// Reaching it is a write error like any other, and ends signing.
    pub pages_max: Option<u32>,
}

/// What was stored when the store was opened.
pub struct Recovered {
    /// The newest record.
    pub head: Head,
    /// All state entries.
    pub state: BTreeMap<String, Vec<u8>>,
    /// All records from the first. Drain it: only then is the whole journal checked.
    pub records: Records,
}

/// A node's journal and state in one SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    lane: Lane,
    shared: Arc<Shared>,
    reader: Mutex<Connection>,
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
    // Last, so that the folder stays locked until the writer has ended.
    _lock: FolderLock,
}

impl SqliteStore {
    /// Opens or creates the store at `path` for `lane`.
    ///
    /// After an unclean end the database recovers by itself: an append that was never acknowledged
    /// is there as a whole or not at all.
    ///
    /// # Errors
    /// When another process uses it, others may read it, it belongs to another lane or a newer
    /// version, or its end does not fit its head.
    pub fn open(path: &Path, lane: Lane) -> Result<(Self, Recovered), StoreError> {
        Self::open_with(path, lane, Options::default())
    }

    /// As [`SqliteStore::open`], with options.
    ///
    /// # Errors
    /// As [`SqliteStore::open`].
    pub fn open_with(
        path: &Path,
        lane: Lane,
        options: Options,
    ) -> Result<(Self, Recovered), StoreError> {
        let lock = files::prepare(path)?;
        let mut connection = open_writer(path, options.pages_max)?;
        migrate(&mut connection)?;
        if let Some(table) = dangling(&connection)?.into_iter().next() {
            return Err(StoreError::Dangling(table));
        }
        refuse_other_lanes(&connection, lane)?;
        let head = stored_head(&connection, lane)?;
        if last_filed(&connection, lane)? > head.seq {
            let why = Broken::BeyondHead { head: head.seq };
            let seq = head.seq + 1;
            return Err(Fault { lane, seq, why }.into());
        }
        let reader = open_reader(path)?;
        let recovered = Recovered {
            head,
            state: all_state(&reader)?,
            records: Records::new(open_reader(path)?, lane, Head::EMPTY, head),
        };
        let shared = Arc::new(Shared::new(head));
        let (jobs, waiting) = sync_channel(QUEUE_APPENDS_MAX);
        let writer = Writer::new(connection, lane, shared.clone());
        let thread = std::thread::Builder::new()
            .name("quoin-journal".to_owned())
            .spawn(move || writer.run(&waiting))
            .map_err(|e| StoreError::Io {
                what: "start the journal's thread".to_owned(),
                reason: e.to_string(),
            })?;
        let store = Self {
            path: path.to_owned(),
            lane,
            shared,
            reader: Mutex::new(reader),
            jobs: Some(jobs),
            thread: Some(thread),
            _lock: lock,
        };
        Ok((store, recovered))
    }
}

/// What is stored at `path`, read beside the node that may be writing it.
///
/// # Errors
/// When the file cannot be read, or its end does not fit its head.
pub fn read(path: &Path, lane: Lane) -> Result<Recovered, StoreError> {
    let reader = open_reader(path)?;
    let head = stored_head(&reader, lane)?;
    Ok(Recovered {
        head,
        state: all_state(&reader)?,
        records: Records::new(reader, lane, Head::EMPTY, head),
    })
}

impl Store for SqliteStore {
    fn lane(&self) -> Lane {
        self.lane
    }

    fn submit(&self, records: Vec<NewRecord>, done: Done) -> Result<(), StoreError> {
        check_limits(&records)?;
        self.shared.healthy()?;
        let jobs = self.jobs.as_ref().ok_or(StoreError::Stopped)?;
        self.shared.pending.fetch_add(1, Ordering::Relaxed);
        jobs.send(Job { records, done }).map_err(|_| {
            self.shared.pending.fetch_sub(1, Ordering::Relaxed);
            StoreError::Stopped
        })
    }

    fn head(&self) -> Head {
        self.shared.head()
    }

    fn pending(&self) -> usize {
        self.shared.pending.load(Ordering::Relaxed)
    }

    fn records(&self, from: u64) -> Result<Records, StoreError> {
        let end = self.head();
        let before = from.saturating_sub(1);
        if before > end.seq {
            return Err(StoreError::BeyondEnd(from));
        }
        let connection = open_reader(&self.path)?;
        let before = head_at(&connection, self.lane, before)?;
        Ok(Records::new(connection, self.lane, before, end))
    }

    fn state(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let sql = "SELECT value FROM state WHERE name = ?1";
        let mut query = reader.prepare_cached(sql).map_err(database("read state"))?;
        let value = query.query_row([name], |row| row.get(0)).optional();
        value.map_err(database("read state"))
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        // The writer ends when it has written what waits.
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            // A panic there was the panic of an answer's callback; there is nobody to tell.
            let _ = thread.join();
        }
    }
}

fn refuse_other_lanes(connection: &Connection, asked: Lane) -> Result<(), StoreError> {
    let sql = "SELECT lane FROM head WHERE lane <> ?1 UNION SELECT lane FROM journal
               WHERE lane <> ?1 LIMIT 1";
    let other = connection
        .query_row(sql, [asked.0], |row| row.get(0))
        .optional();
    match other.map_err(database("read lanes"))? {
        Some(found) => Err(StoreError::OtherLane {
            asked,
            found: Lane(found),
        }),
        None => Ok(()),
    }
}

fn all_state(connection: &Connection) -> Result<BTreeMap<String, Vec<u8>>, StoreError> {
    let failed = database("read state");
    let sql = "SELECT name, value FROM state";
    let mut query = connection.prepare(sql).map_err(failed)?;
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.map_err(failed)?
        .collect::<Result<_, _>>()
        .map_err(failed)
}
