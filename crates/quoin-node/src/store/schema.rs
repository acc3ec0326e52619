//! The tables, how they come to be, and how a connection is set up.

use super::StoreError;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use std::path::Path;
use std::time::Duration;

/// How long a statement waits for a tool that reads the same file.
const BUSY: Duration = Duration::from_secs(5);

/// Each migration, in order. What has been released is never edited, only followed by another.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE journal (
        lane INTEGER NOT NULL CHECK (lane BETWEEN 0 AND 65535),
        seq INTEGER NOT NULL CHECK (seq >= 1),
        hash BLOB NOT NULL CHECK (length(hash) = 32),
        record BLOB NOT NULL,
        PRIMARY KEY (lane, seq)
    ) STRICT;
    CREATE TABLE head (
        lane INTEGER NOT NULL PRIMARY KEY CHECK (lane BETWEEN 0 AND 65535),
        seq INTEGER NOT NULL,
        hash BLOB NOT NULL CHECK (length(hash) = 32),
        FOREIGN KEY (lane, seq) REFERENCES journal (lane, seq)
    ) STRICT;
    CREATE TABLE consumed (
        key BLOB NOT NULL PRIMARY KEY,
        lane INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        FOREIGN KEY (lane, seq) REFERENCES journal (lane, seq)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE state (
        name TEXT NOT NULL PRIMARY KEY,
        value BLOB NOT NULL
    ) STRICT;
    CREATE TRIGGER journal_is_never_changed BEFORE UPDATE ON journal
        BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
    CREATE TRIGGER journal_is_never_cut BEFORE DELETE ON journal
        BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
    CREATE TRIGGER consumed_is_never_changed BEFORE UPDATE ON consumed
        BEGIN SELECT RAISE(ABORT, 'what is consumed stays consumed'); END;
    CREATE TRIGGER consumed_is_never_freed BEFORE DELETE ON consumed
        BEGIN SELECT RAISE(ABORT, 'what is consumed stays consumed'); END;
"];

/// Opens the writer's connection.
///
/// - `synchronous=FULL` in WAL mode syncs the log at every commit: an acknowledged record survives
///   a crash of the host.
/// - `secure_delete` overwrites an erased share in the file.
/// - `wal_autocheckpoint=0`: the writer moves the log into the file itself, after it has
///   answered, so that no answer waits for it.
pub(super) fn open_writer(path: &Path, pages_max: Option<u32>) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(database("open"))?;
    connection.busy_timeout(BUSY).map_err(database("open"))?;
    let pragmas = "
        PRAGMA synchronous = FULL;
        PRAGMA foreign_keys = ON;
        PRAGMA secure_delete = ON;
        PRAGMA trusted_schema = OFF;
        PRAGMA cell_size_check = ON;
        PRAGMA temp_store = MEMORY;
        PRAGMA wal_autocheckpoint = 0;
    ";
    let mode: String = connection
        .query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))
        .map_err(database("switch to write-ahead logging"))?;
    if mode != "wal" {
        return Err(StoreError::Database {
            what: "switch to write-ahead logging",
            reason: format!("journal mode is `{mode}`"),
        });
    }
    connection
        .execute_batch(pragmas)
        .map_err(database("set up"))?;
    if let Some(pages) = pages_max {
        connection
            .query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))
            .map_err(database("set up"))?;
    }
    Ok(connection)
}

/// Opens a connection that cannot write.
pub(super) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(database("open"))?;
    connection.busy_timeout(BUSY).map_err(database("open"))?;
    let pragmas =
        "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA query_only = ON;";
    connection
        .execute_batch(pragmas)
        .map_err(database("set up"))?;
    Ok(connection)
}

/// Brings the tables to the newest form.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let failed = database("migrate");
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    let tx = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(failed)?;
    tx.execute_batch(
        "CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL PRIMARY KEY) STRICT",
    )
    .map_err(failed)?;
    let query = "SELECT coalesce(max(version), 0) FROM schema_version";
    let found: i64 = tx.query_row(query, [], |row| row.get(0)).map_err(failed)?;
    if found > known {
        return Err(StoreError::NewerSchema { found, known });
    }
    for (version, migration) in (1i64..).zip(MIGRATIONS).filter(|(v, _)| *v > found) {
        tx.execute_batch(migration).map_err(failed)?;
        tx.execute(
            "INSERT INTO schema_version (version) VALUES (?1)",
            [version],
        )
        .map_err(failed)?;
    }
    tx.commit().map_err(failed)
}

/// The tables with rows that refer to a record which does not exist.
pub(super) fn dangling(connection: &Connection) -> Result<Vec<String>, StoreError> {
    let failed = database("check references");
    let mut query = connection
        .prepare("PRAGMA foreign_key_check")
        .map_err(failed)?;
    let tables = query.query_map([], |row| row.get(0)).map_err(failed)?;
    tables.collect::<Result<_, _>>().map_err(failed)
}

/// Names what was tried when the database refuses.
pub(super) fn database(what: &'static str) -> impl Fn(rusqlite::Error) -> StoreError + Copy {
    move |e| StoreError::Database {
        what,
        reason: e.to_string(),
    }
}
