//! The sequencer with its file: what it decided is durable before anybody hears of it.
//!
//! Callers of many threads share one write: whoever comes while the file is being written waits
//! for the next write, which one of them does for all. A number below a mark that is on disk needs no
//! write at all.
//!
//! One process owns a folder, and one gateway an account: a second process is refused. Two gateways
//! that number one account by themselves would hand out the same numbers; the nodes then sign one
//! payment and refuse the other, so what is at stake is a lost request, never a second payment.

use super::SequenceError;
use super::file::Log;
use super::name::SequenceId;
use super::rule::{Ask, Durability, Grant, Settled, Settlement, Standing};
use super::state::{Record, Sequencer};
use quoin_core::{RequestId, TimeMs};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Why the sequencer's folder cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another process has it.
    #[error(
        "another process hands out numbers from `{0}`; one folder, and so one account, has one \
         sequencer: stop that process, or give this gateway a folder of its own"
    )]
    Locked(String),
    /// The file is not as a crash would leave it.
    #[error(
        "`{path}` is damaged in line {line}: {why}; move it away to start from what the chain shows"
    )]
    Damaged {
        /// The file.
        path: String,
        /// The line.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// The system failed.
    #[error("cannot {what}: {reason}")]
    Io {
        /// What could not be done.
        what: String,
        /// The system's reason.
        reason: String,
    },
}

/// A sequencer that many threads share.
#[derive(Debug)]
pub struct Store {
    inner: Mutex<Inner>,
    written: Condvar,
}

#[derive(Debug)]
struct Inner {
    sequencer: Sequencer,
    /// Not yet written, in order.
    waiting: Vec<Record>,
    /// How many records were ever made, and how many of them are durable.
    made: u64,
    durable: u64,
    /// For each sequence, what must be durable before its next answer.
    needed: BTreeMap<SequenceId, u64>,
    file: LogState,
}

#[derive(Debug)]
enum LogState {
    /// In memory only, for tests and for gateways without a folder.
    None,
    Idle(Box<Log>),
    Writing,
    Failed(String),
}

/// What must be durable before an answer leaves.
#[derive(Clone, Copy, Debug)]
#[must_use = "the answer may leave only once this is durable"]
pub struct Ticket(u64);

impl Store {
    /// A sequencer that forgets everything when the process ends.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::over(Sequencer::default(), LogState::None)
    }

    /// The sequencer of a folder, which it makes when it is missing.
    ///
    /// # Errors
    /// When another process has the folder, or its file cannot be read.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let (log, sequencer) = Log::open(folder)?;
        Ok(Self::over(sequencer, LogState::Idle(Box::new(log))))
    }

    fn over(sequencer: Sequencer, file: LogState) -> Self {
        Self {
            inner: Mutex::new(Inner {
                sequencer,
                waiting: Vec::new(),
                made: 0,
                durable: 0,
                needed: BTreeMap::new(),
                file,
            }),
            written: Condvar::new(),
        }
    }

    /// Hands out numbers; blocks until they are safe to use.
    ///
    /// # Errors
    /// When the sequencer refuses, or the disk failed.
    pub fn allocate(
        &self,
        now: TimeMs,
        sequence: &SequenceId,
        ask: &Ask,
    ) -> Result<Grant, SequenceError> {
        let (grant, ticket) = self.begin_allocate(now, sequence, ask)?;
        self.wait(ticket)?;
        Ok(grant)
    }

    /// Hands out numbers that are safe to use once the ticket is durable.
    ///
    /// # Errors
    /// When the sequencer refuses, or the disk failed.
    pub fn begin_allocate(
        &self,
        now: TimeMs,
        sequence: &SequenceId,
        ask: &Ask,
    ) -> Result<(Grant, Ticket), SequenceError> {
        let mut inner = self.lock();
        inner.usable()?;
        let mut records = Vec::new();
        let granted = inner.sequencer.allocate(now, sequence, ask, &mut records);
        let ticket = inner.keep(sequence, records);
        Ok((granted?, ticket))
    }

    /// Says what became of a request's numbers; tells whether that was news.
    ///
    /// # Errors
    /// When the sequencer refuses, or the disk failed.
    pub fn begin_settle(
        &self,
        sequence: &SequenceId,
        settled: &Settled,
    ) -> Result<(bool, Ticket), SequenceError> {
        let mut inner = self.lock();
        inner.usable()?;
        let mut records = Vec::new();
        let news = inner.sequencer.settle(sequence, settled, &mut records)?;
        Ok((news, inner.keep(sequence, records)))
    }

    /// Says what became of a request's numbers; blocks until that is durable where it must be.
    ///
    /// # Errors
    /// When the sequencer refuses, or the disk failed.
    pub fn settle(&self, sequence: &SequenceId, settled: &Settled) -> Result<(), SequenceError> {
        let (_, ticket) = self.begin_settle(sequence, settled)?;
        self.wait(ticket)
    }

    /// The request that has a number in a block.
    #[must_use]
    pub fn block_of(&self, sequence: &SequenceId, number: u64) -> Option<RequestId> {
        self.lock().sequencer.block_of(sequence, number)
    }

    /// Says what became of a request's numbers, whichever sequence they are of. It need not be durable.
    pub fn settle_anywhere(&self, request: RequestId, how: Settlement) {
        let mut inner = self.lock();
        let names: Vec<SequenceId> = inner.sequencer.names().cloned().collect();
        let settled = Settled {
            request,
            number: None,
            how,
        };
        for sequence in names {
            let mut records = Vec::new();
            // Most sequences do not know the request.
            let _ = inner.sequencer.settle(&sequence, &settled, &mut records);
            let _ = inner.keep(&sequence, records);
        }
    }

    /// A number was signed, whoever chose it.
    pub fn signed(&self, sequence: &SequenceId, number: u64) {
        let mut inner = self.lock();
        let mut records = Vec::new();
        inner.sequencer.signed(sequence, number, &mut records);
        let _ = inner.keep(sequence, records);
    }

    /// How a sequence stands; `None` when nothing was allocated of it.
    #[must_use]
    pub fn standing(&self, now: TimeMs, sequence: &SequenceId) -> Option<Standing> {
        self.lock().sequencer.standing(now, sequence)
    }

    /// All sequences that something was allocated of, with how they stand.
    #[must_use]
    pub fn standings(&self, now: TimeMs) -> Vec<(SequenceId, Standing)> {
        let inner = self.lock();
        let names = inner.sequencer.names();
        let all = names.filter_map(|name| {
            let standing = inner.sequencer.standing(now, name)?;
            Some((name.clone(), standing))
        });
        all.collect()
    }

    /// Whether an answer with this ticket may leave at once.
    #[must_use]
    pub fn is_durable(&self, ticket: Ticket) -> bool {
        self.lock().durable >= ticket.0
    }

    /// Blocks until the ticket is durable; the first who waits writes for all.
    ///
    /// # Errors
    /// When the disk failed.
    pub fn wait(&self, ticket: Ticket) -> Result<(), SequenceError> {
        let mut inner = self.lock();
        while inner.durable < ticket.0 {
            match inner.begin_write() {
                Some((mut log, work)) => {
                    drop(inner);
                    let done = if work.whole {
                        log.rewrite(&work.records)
                    } else {
                        log.append(&work.records)
                    };
                    inner = self.lock();
                    inner.end_write(log, work.upto, done);
                    self.written.notify_all();
                }
                None => {
                    inner.usable()?;
                    let waited = self.written.wait(inner);
                    inner = waited.unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
        Ok(())
    }

    /// Writes what need not be durable before an answer, such as at the end of a process.
    ///
    /// # Errors
    /// When the disk failed.
    pub fn flush(&self) -> Result<(), SequenceError> {
        let made = self.lock().made;
        self.wait(Ticket(made))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic of another thread leaves no half of a change: records are applied one by one.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Err(error) = self.flush() {
            tracing::error!(%error, "the sequencer's last changes are lost");
        }
    }
}

/// What one write consists of.
struct Work {
    records: Vec<Record>,
    /// Whether the records replace the whole file.
    whole: bool,
    upto: u64,
}

impl Inner {
    fn usable(&self) -> Result<(), SequenceError> {
        match &self.file {
            LogState::Failed(why) => Err(SequenceError::Storage(why.clone())),
            _ => Ok(()),
        }
    }

    /// Keeps what was decided for the next write.
    fn keep(&mut self, sequence: &SequenceId, records: Vec<Record>) -> Ticket {
        for record in records {
            let durability = record.what.durability();
            if durability == Durability::Never {
                continue;
            }
            self.made += 1;
            if durability == Durability::Before {
                self.needed.insert(sequence.clone(), self.made);
            }
            match self.file {
                LogState::None => self.durable = self.made,
                LogState::Idle(_) | LogState::Writing => self.waiting.push(record),
                // Nothing is written any more, so nothing waits for it.
                LogState::Failed(_) => {}
            }
        }
        Ticket(self.needed.get(sequence).copied().unwrap_or(0))
    }

    /// Takes the file and what waits, unless somebody else has it.
    fn begin_write(&mut self) -> Option<(Box<Log>, Work)> {
        if !matches!(self.file, LogState::Idle(_)) {
            return None;
        }
        let LogState::Idle(log) = std::mem::replace(&mut self.file, LogState::Writing) else {
            return None;
        };
        let mut records = std::mem::take(&mut self.waiting);
        let whole = log.is_long();
        if whole {
            records = self.sequencer.snapshot();
        }
        let upto = self.made;
        Some((
            log,
            Work {
                records,
                whole,
                upto,
            },
        ))
    }

    fn end_write(&mut self, log: Box<Log>, upto: u64, done: Result<(), StoreError>) {
        match done {
            Ok(()) => {
                self.durable = self.durable.max(upto);
                self.file = LogState::Idle(log);
            }
            // What is on disk is unknown now, and memory is ahead of it: nothing more is handed out.
            Err(error) => {
                tracing::error!(%error, "the sequencer stops");
                self.file = LogState::Failed(error.to_string());
                self.waiting = Vec::new();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_waits_for_a_disk_that_has_failed() {
        let sequence: SequenceId = "eip155:1:0x0707070707070707070707070707070707070707"
            .parse()
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let ask = Ask {
            request: RequestId([1; 16]),
            count: 1,
            chain_next: Some(5),
        };
        let _ = store.begin_allocate(TimeMs(1), &sequence, &ask).unwrap();
        let (log, work) = store.lock().begin_write().unwrap();
        store.signed(&sequence, 9);
        assert_eq!(store.lock().waiting.len(), 1, "it waits for the next write");
        let error = StoreError::Io {
            what: "write".to_owned(),
            reason: "no space".to_owned(),
        };
        store.lock().end_write(log, work.upto, Err(error));
        assert!(store.lock().waiting.is_empty());
        for number in 10..20 {
            store.signed(&sequence, number);
        }
        assert!(store.lock().waiting.is_empty());
        assert!(store.allocate(TimeMs(1), &sequence, &ask).is_err());
    }
}
