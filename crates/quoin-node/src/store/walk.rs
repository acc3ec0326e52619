//! Reads a stored journal in order and checks every link on the way.

use super::journal::{Broken, Chain};
use super::schema::database;
use super::{Fault, Head, Recorded, StoreError};
use quoin_core::{HeadHash, Lane};
use rusqlite::{Connection, OptionalExtension, Row};
use std::collections::VecDeque;

/// Rows read at once. With the longest bodies this holds 64 MiB, usually some kilobytes.
const PAGE_ROWS: u32 = 64;

/// A row of the journal table.
pub(super) struct StoredRow {
    pub(super) seq: u64,
    pub(super) hash: HeadHash,
    pub(super) record: Vec<u8>,
}

/// The records of a journal in order. Each is checked; after an error there is nothing more.
///
/// The end is checked too: only an iterator that has been drained without an error says that the
/// journal is whole.
pub struct Records {
    connection: Connection,
    lane: Lane,
    chain: Chain,
    end: Head,
    page: VecDeque<StoredRow>,
    done: bool,
}

impl Records {
    /// The records after `before` up to `end`.
    pub(super) fn new(connection: Connection, lane: Lane, before: Head, end: Head) -> Self {
        Self {
            connection,
            lane,
            chain: Chain::after(lane, before),
            end,
            page: VecDeque::new(),
            done: false,
        }
    }

    fn step(&mut self) -> Result<Option<Recorded>, StoreError> {
        let at = self.chain.head().seq;
        if self.page.is_empty() && at < self.end.seq {
            let rows = page(&self.connection, self.lane, at, self.end.seq);
            self.page = rows.map_err(|e| unreadable(&self.chain, &e))?;
        }
        let Some(row) = self.page.pop_front() else {
            self.chain.finish(self.end)?;
            return Ok(None);
        };
        let record = self.chain.check(row.seq, row.hash, &row.record)?;
        Ok(Some(Recorded {
            head: self.chain.head(),
            at: record.at,
            body: record.body,
        }))
    }
}

impl Iterator for Records {
    type Item = Result<Recorded, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let next = self.step().transpose();
        self.done = !matches!(next, Some(Ok(_)));
        next
    }
}

/// The next rows after `after`, up to and with `until`.
pub(super) fn page(
    connection: &Connection,
    lane: Lane,
    after: u64,
    until: u64,
) -> Result<VecDeque<StoredRow>, rusqlite::Error> {
    let mut query = connection.prepare_cached(
        "SELECT seq, hash, record FROM journal
         WHERE lane = ?1 AND seq > ?2 AND seq <= ?3 ORDER BY seq LIMIT ?4",
    )?;
    let bounds = (lane.0, to_sql(after), to_sql(until), PAGE_ROWS);
    query.query_map(bounds, stored_row)?.collect()
}

fn stored_row(row: &Row<'_>) -> Result<StoredRow, rusqlite::Error> {
    Ok(StoredRow {
        seq: place(row)?,
        hash: HeadHash(row.get(1)?),
        record: row.get(2)?,
    })
}

/// The head that the store has written for a lane.
pub(super) fn stored_head(connection: &Connection, lane: Lane) -> Result<Head, StoreError> {
    let query = "SELECT seq, hash FROM head WHERE lane = ?1";
    let head = connection.query_row(query, [lane.0], head_row).optional();
    Ok(head
        .map_err(database("read the head"))?
        .unwrap_or(Head::EMPTY))
}

/// The head of the journal as it was at record `seq`, which must exist.
pub(super) fn head_at(connection: &Connection, lane: Lane, seq: u64) -> Result<Head, StoreError> {
    if seq == 0 {
        return Ok(Head::EMPTY);
    }
    let query = "SELECT seq, hash FROM journal WHERE lane = ?1 AND seq = ?2";
    let row = connection.query_row(query, (lane.0, to_sql(seq)), head_row);
    let row = row.optional().map_err(database("read the journal"))?;
    row.ok_or(StoreError::BeyondEnd(seq + 1))
}

fn head_row(row: &Row<'_>) -> Result<Head, rusqlite::Error> {
    Ok(Head {
        seq: place(row)?,
        hash: HeadHash(row.get(1)?),
    })
}

/// The largest place filed for a lane, whatever the head says.
pub(super) fn last_filed(connection: &Connection, lane: Lane) -> Result<u64, StoreError> {
    let query = "SELECT coalesce(max(seq), 0) FROM journal WHERE lane = ?1";
    connection
        .query_row(query, [lane.0], place)
        .map_err(database("read the journal"))
}

/// The place in a row's first column.
fn place(row: &Row<'_>) -> Result<u64, rusqlite::Error> {
    let seq: i64 = row.get(0)?;
    u64::try_from(seq).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(0, seq))
}

/// The fault of a row that the database cannot read.
pub(super) fn unreadable(chain: &Chain, error: &rusqlite::Error) -> Fault {
    chain.fault(chain.head().seq + 1, Broken::Unreadable(error.to_string()))
}

/// A place as the database's signed integer; the journal cannot come near the bound.
pub(super) fn to_sql(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}
