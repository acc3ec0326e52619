//! The check of a stored journal from outside: for auditors, backups, and a node that doubts itself.
//!
//! It only reads, and may run beside the node: it sees the journal as it is at one moment.

use super::journal::{Broken, Chain, Witness, Witnesses};
use super::schema::{dangling, database, open_reader};
use super::walk::{last_filed, page, stored_head, unreadable};
use super::{Fault, Head, StoreError};
use quoin_core::Lane;
use rusqlite::Connection;
use std::path::Path;

/// The most defects of the database file that a report lists.
const DAMAGE_MAX: u32 = 100;

/// What a check of a store has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalReport {
    /// Each lane's journal.
    pub lanes: Vec<LaneReport>,
    /// What the database finds wrong with its own file, in its words.
    pub damage: Vec<String>,
}

impl JournalReport {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damage.is_empty() && self.lanes.iter().all(|lane| lane.fault.is_none())
    }

    /// The first fault of the first broken lane.
    #[must_use]
    pub fn fault(&self) -> Option<&Fault> {
        self.lanes.iter().find_map(|lane| lane.fault.as_ref())
    }
}

/// What a check of one lane's journal has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneReport {
    /// The lane.
    pub lane: Lane,
    /// The last record that is sound.
    pub head: Head,
    /// The first thing that is wrong.
    pub fault: Option<Fault>,
}

/// Walks every journal in the store at `path` and compares it with what peers have witnessed.
///
/// # Errors
/// When the file cannot be opened or is no store. A broken journal is not an error: it is what the
/// report says.
pub fn verify(path: &Path, witnesses: &[Witness]) -> Result<JournalReport, StoreError> {
    let connection = open_reader(path)?;
    // One transaction: the node may be writing meanwhile.
    let sql = "BEGIN DEFERRED";
    connection.execute_batch(sql).map_err(database("begin"))?;
    let mut lanes = stored_lanes(&connection)?;
    for witness in witnesses {
        // A lane that peers have seen and that is not there at all has lost everything.
        if !lanes.contains(&witness.lane) {
            lanes.push(witness.lane);
        }
    }
    let lanes = lanes
        .into_iter()
        .map(|lane| check_lane(&connection, lane, witnesses));
    Ok(JournalReport {
        lanes: lanes.collect(),
        damage: damage(&connection),
    })
}

fn stored_lanes(connection: &Connection) -> Result<Vec<Lane>, StoreError> {
    let failed = database("read lanes");
    let sql = "SELECT lane FROM head UNION SELECT lane FROM journal ORDER BY lane";
    let mut query = connection.prepare(sql).map_err(failed)?;
    let rows = query.query_map([], |row| row.get(0).map(Lane));
    rows.map_err(failed)?
        .collect::<Result<_, _>>()
        .map_err(failed)
}

fn check_lane(connection: &Connection, lane: Lane, witnesses: &[Witness]) -> LaneReport {
    let mut chain = Chain::after(lane, Head::EMPTY);
    let witnesses = Witnesses::of(lane, witnesses);
    let fault = walk_lane(connection, lane, &mut chain, &witnesses).err();
    LaneReport {
        lane,
        head: chain.head(),
        fault,
    }
}

fn walk_lane(
    connection: &Connection,
    lane: Lane,
    chain: &mut Chain,
    witnesses: &Witnesses,
) -> Result<(), Fault> {
    let other = |chain: &Chain, e: StoreError| {
        chain.fault(chain.head().seq + 1, Broken::Unreadable(e.to_string()))
    };
    let stored = stored_head(connection, lane).map_err(|e| other(chain, e))?;
    let last = last_filed(connection, lane).map_err(|e| other(chain, e))?;
    loop {
        let rows = page(connection, lane, chain.head().seq, last);
        let rows = rows.map_err(|e| unreadable(chain, &e))?;
        if rows.is_empty() {
            break;
        }
        for row in rows {
            let mut next = chain.clone();
            next.check(row.seq, row.hash, &row.record)?;
            witnesses.check(next.head())?;
            *chain = next;
        }
    }
    chain.finish(stored)?;
    witnesses.finish(chain.head())
}

fn damage(connection: &Connection) -> Vec<String> {
    let mut damage = Vec::new();
    match integrity(connection) {
        Ok(lines) => damage.extend(lines.into_iter().filter(|line| line != "ok")),
        Err(e) => damage.push(e.to_string()),
    }
    match dangling(connection) {
        Ok(tables) => damage.extend(
            tables
                .into_iter()
                .map(|t| StoreError::Dangling(t).to_string()),
        ),
        Err(e) => damage.push(e.to_string()),
    }
    damage
}

fn integrity(connection: &Connection) -> Result<Vec<String>, rusqlite::Error> {
    let mut query = connection.prepare(&format!("PRAGMA integrity_check({DAMAGE_MAX})"))?;
    query.query_map([], |row| row.get(0))?.collect()
}
