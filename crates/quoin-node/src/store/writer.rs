//! The one thread that writes: it gathers what waits, commits it at once, and answers.
//!
//! The first error is the last thing it does to the database. After a failed sync the kernel may
//! report success for pages it has thrown away, so a second attempt would prove nothing.

use super::journal::Chain;
use super::schema::database;
use super::walk::to_sql;
use super::{Done, Head, NewRecord, StoreError};
use quoin_core::Lane;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The most records of one transaction. At this size the sync is a small part of the cost.
const GROUP_RECORDS_MAX: usize = 4096;

/// The log is moved into the database after about so many bytes: small enough to be done in
/// milliseconds, large enough to be rare.
const CHECKPOINT_BYTES: usize = 4 << 20;

/// What one commit adds to the log besides the records: the pages of head and index.
const COMMIT_BYTES: usize = 16 << 10;

/// An append that waits to be written.
pub(super) struct Job {
    pub(super) records: Vec<NewRecord>,
    pub(super) done: Done,
}

/// What the writer shows to everybody else.
#[derive(Debug)]
pub(super) struct Shared {
    head: Mutex<Head>,
    pub(super) pending: AtomicUsize,
    poisoned: OnceLock<String>,
}

impl Shared {
    pub(super) fn new(head: Head) -> Self {
        Self {
            head: Mutex::new(head),
            pending: AtomicUsize::new(0),
            poisoned: OnceLock::new(),
        }
    }

    pub(super) fn head(&self) -> Head {
        *self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails once writing has failed.
    pub(super) fn healthy(&self) -> Result<(), StoreError> {
        match self.poisoned.get() {
            Some(why) => Err(StoreError::Poisoned(why.clone())),
            None => Ok(()),
        }
    }
}

/// The state of the writing thread.
pub(super) struct Writer {
    pub(super) connection: Connection,
    pub(super) lane: Lane,
    pub(super) shared: Arc<Shared>,
    bytes_logged: usize,
    erased: bool,
}

impl Writer {
    pub(super) fn new(connection: Connection, lane: Lane, shared: Arc<Shared>) -> Self {
        Self {
            connection,
            lane,
            shared,
            bytes_logged: 0,
            erased: false,
        }
    }

    /// Runs until every sender is gone.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        while let Ok(first) = jobs.recv() {
            let mut group = vec![first];
            let mut records = group.iter().map(|job| job.records.len()).sum::<usize>();
            while records < GROUP_RECORDS_MAX {
                let Ok(job) = jobs.try_recv() else { break };
                records += job.records.len();
                group.push(job);
            }
            self.write(group);
            if self.shared.healthy().is_ok()
                && let Err(e) = self.checkpoint_when_due()
            {
                self.poison(&e);
            }
        }
        self.close();
    }

    /// Leaves the whole journal in the database itself, so that a clean end needs no recovery and a
    /// copy of the one file is complete.
    fn close(mut self) {
        if self.shared.healthy().is_err() {
            return;
        }
        let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
        let done = self.connection.query_row(sql, [], |_| Ok(()));
        if let Err(e) = done.map_err(database("move the log into the database")) {
            self.poison(&e);
        }
    }

    fn write(&mut self, group: Vec<Job>) {
        let (batches, answers): (Vec<_>, Vec<_>) =
            group.into_iter().map(|job| (job.records, job.done)).unzip();
        let outcome = self.shared.healthy().and_then(|()| self.commit(batches));
        let heads = match outcome {
            Ok(heads) => heads,
            Err(e) => {
                self.poison(&e);
                let error = self.shared.healthy().err().unwrap_or(e);
                for done in answers {
                    self.answer(done, Err(error.clone()));
                }
                return;
            }
        };
        for (done, heads) in answers.into_iter().zip(heads) {
            self.answer(done, Ok(heads));
        }
    }

    fn answer(&self, done: Done, outcome: Result<Vec<Head>, StoreError>) {
        self.shared.pending.fetch_sub(1, Ordering::Relaxed);
        done(outcome);
    }

    /// One transaction for all batches; returns the heads of each.
    fn commit(&mut self, batches: Vec<Vec<NewRecord>>) -> Result<Vec<Vec<Head>>, StoreError> {
        let mut chain = Chain::after(self.lane, self.shared.head());
        let mut bytes = COMMIT_BYTES;
        let mut erased = false;
        let tx = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(database("begin"))?;
        let mut heads = Vec::with_capacity(batches.len());
        for batch in batches {
            let mut batch_heads = Vec::with_capacity(batch.len());
            for record in batch {
                erased |= record.puts.iter().any(|(_, value)| value.is_none());
                bytes += write_record(&tx, self.lane, &mut chain, record)?;
                batch_heads.push(chain.head());
            }
            heads.push(batch_heads);
        }
        write_head(&tx, self.lane, chain.head()).map_err(database("write the head"))?;
        tx.commit().map_err(database("commit"))?;
        let mut head = self
            .shared
            .head
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *head = chain.head();
        drop(head);
        self.bytes_logged += bytes;
        self.erased |= erased;
        Ok(heads)
    }

    /// Moves the log into the database when it has grown, and empties it after an erasure: an
    /// erased share must not live on in the log.
    fn checkpoint_when_due(&mut self) -> Result<(), StoreError> {
        let sql = if self.erased {
            "PRAGMA wal_checkpoint(TRUNCATE)"
        } else if self.bytes_logged >= CHECKPOINT_BYTES {
            "PRAGMA wal_checkpoint(PASSIVE)"
        } else {
            return Ok(());
        };
        let busy: i64 = self
            .connection
            .query_row(sql, [], |row| row.get(0))
            .map_err(database("move the log into the database"))?;
        self.bytes_logged = 0;
        // A tool that reads at this moment keeps the log; the next write tries again.
        self.erased &= busy != 0;
        Ok(())
    }

    fn poison(&mut self, error: &StoreError) {
        if self.shared.poisoned.set(error.to_string()).is_ok() {
            tracing::error!(%error, "journal cannot be written; signing stops");
            // Closing would otherwise sync once more. If even this is refused there is nothing
            // left to try.
            let flag = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
            let _ = self.connection.set_db_config(flag, true);
        }
    }
}

/// Writes a record and what goes with it; returns about how many bytes.
fn write_record(
    tx: &Transaction<'_>,
    lane: Lane,
    chain: &mut Chain,
    record: NewRecord,
) -> Result<usize, StoreError> {
    let failed = database("write a record");
    let linked = chain.link(record.at, record.body);
    let seq = to_sql(linked.head.seq);
    let mut bytes = linked.bytes.len();
    let sql = "INSERT INTO journal (lane, seq, hash, record) VALUES (?1, ?2, ?3, ?4)";
    let mut insert = tx.prepare_cached(sql).map_err(failed)?;
    let row = (lane.0, seq, linked.head.hash.as_bytes(), &linked.bytes);
    insert.execute(row).map_err(failed)?;
    for key in &record.consumes {
        let sql = "INSERT INTO consumed (key, lane, seq) VALUES (?1, ?2, ?3)";
        let mut insert = tx.prepare_cached(sql).map_err(failed)?;
        insert
            .execute((key, lane.0, seq))
            .map_err(|e| match e.sqlite_error_code() {
                Some(ErrorCode::ConstraintViolation) => {
                    StoreError::ConsumedBefore(hex::encode(key))
                }
                _ => failed(e),
            })?;
        bytes += key.len();
    }
    for (name, value) in &record.puts {
        bytes += write_state(tx, name, value.as_deref()).map_err(failed)?;
    }
    Ok(bytes)
}

fn write_state(
    tx: &Transaction<'_>,
    name: &str,
    value: Option<&[u8]>,
) -> Result<usize, rusqlite::Error> {
    let Some(value) = value else {
        tx.prepare_cached("DELETE FROM state WHERE name = ?1")?
            .execute([name])?;
        return Ok(0);
    };
    let sql = "INSERT INTO state (name, value) VALUES (?1, ?2)
               ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    tx.prepare_cached(sql)?.execute((name, value))?;
    Ok(value.len())
}

fn write_head(tx: &Transaction<'_>, lane: Lane, head: Head) -> Result<(), rusqlite::Error> {
    let sql = "INSERT INTO head (lane, seq, hash) VALUES (?1, ?2, ?3)
               ON CONFLICT (lane) DO UPDATE SET seq = excluded.seq, hash = excluded.hash";
    let row = (lane.0, to_sql(head.seq), head.hash.as_bytes());
    tx.prepare_cached(sql)?.execute(row)?;
    Ok(())
}
