//! Who may reach the data folder: its owner alone, and one process at a time.

use super::StoreError;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// Holds the data folder for this process; dropping it, or the end of the process, lets it go.
#[derive(Debug)]
pub(super) struct FolderLock(#[expect(dead_code, reason = "its life is its use")] File);

/// Makes the database's folder and file ready and takes the lock.
///
/// The lock is the system's, on a file beside the database: it ends with the process however the
/// process ends, and leaves tools free to read a running node's journal.
pub(super) fn prepare(database: &Path) -> Result<FolderLock, StoreError> {
    let folder = match database.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(FOLDER_MODE);
    builder
        .create(folder)
        .map_err(|e| io("create", folder, &e))?;
    closed_to_others(folder, FOLDER_MODE)?;
    let lock_path = lock_path(database);
    let lock = open(&lock_path)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(StoreError::Locked(database.display().to_string()));
        }
        Err(TryLockError::Error(e)) => return Err(io("lock", &lock_path, &e)),
    }
    // SQLite gives its side files the mode of the database, so the database is created here.
    let file = open(database)?;
    file.sync_all().map_err(|e| io("sync", database, &e))?;
    let entries = File::open(folder).and_then(|folder| folder.sync_all());
    entries.map_err(|e| io("sync", folder, &e))?;
    Ok(FolderLock(lock))
}

fn lock_path(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

fn open(path: &Path) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let file = options.mode(FILE_MODE).open(path);
    let file = file.map_err(|e| io("open", path, &e))?;
    closed_to_others(path, FILE_MODE)?;
    Ok(file)
}

fn closed_to_others(path: &Path, wanted: u32) -> Result<(), StoreError> {
    let metadata = std::fs::metadata(path).map_err(|e| io("read the mode of", path, &e))?;
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        let path = path.display().to_string();
        return Err(StoreError::OpenToOthers { path, mode, wanted });
    }
    Ok(())
}

fn io(what: &str, path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Io {
        what: format!("{what} `{}`", path.display()),
        reason: error.to_string(),
    }
}
