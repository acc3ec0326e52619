//! The sequencer's file: lines of JSON, each with a checksum that covers all lines before it.
//!
//! A crash may cut the last line off anywhere; that line's caller was never answered. A whole line
//! whose checksum is wrong was not left by a crash of ours, so nothing after it is believed and the
//! file is refused: numbers that follow may have been handed out.

use super::state::{Record, Sequencer};
use super::store::StoreError;
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const FILE: &str = "sequences.log";
const FRESH_FILE: &str = "sequences.new";
const LOCK_FILE: &str = "sequences.lock";
/// The first line: what it is, in which version.
const HEADER: &str = "quoin sequences 1";
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// A file is written anew once it has grown to this.
const REWRITE_BYTES: u64 = 16 * 1024 * 1024;
/// The largest file that is read. It is rewritten long before it is as large.
const FILE_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// Bytes of a checksum; what it must tell apart is a crash, not an attacker.
const CHECK_BYTES: usize = 8;

/// The checksum of everything written so far.
#[derive(Clone, Debug)]
struct Chain([u8; CHECK_BYTES]);

impl Chain {
    fn start() -> Self {
        Self([0; CHECK_BYTES]).after(HEADER.as_bytes())
    }

    fn after(&self, line: &[u8]) -> Self {
        let hash: [u8; 32] = Sha256::new()
            .chain_update(self.0)
            .chain_update(line)
            .finalize()
            .into();
        let mut check = [0; CHECK_BYTES];
        for (to, from) in check.iter_mut().zip(hash) {
            *to = from;
        }
        Self(check)
    }

    fn text(&self) -> String {
        hex::encode(self.0)
    }
}

/// The folder, held for this process, and the file in it.
#[derive(Debug)]
pub(super) struct Log {
    folder: PathBuf,
    file: File,
    chain: Chain,
    bytes: u64,
    /// How long the file was when it was last written anew.
    least: u64,
    /// The lock is the system's: it ends with the process however the process ends.
    _lock: File,
}

impl Log {
    /// Takes the folder, reads what is there, and writes it anew without what no longer matters.
    pub(super) fn open(folder: &Path) -> Result<(Self, Sequencer), StoreError> {
        let mut builder = std::fs::DirBuilder::new();
        let made = builder.recursive(true).mode(FOLDER_MODE).create(folder);
        made.map_err(|e| failed("create", folder, &e))?;
        let lock = lock(folder)?;
        let sequencer = Sequencer::replay(read(&folder.join(FILE))?);
        let (file, chain, bytes) = write_whole(folder, &sequencer.snapshot())?;
        let log = Self {
            folder: folder.to_owned(),
            file,
            chain,
            bytes,
            least: bytes,
            _lock: lock,
        };
        Ok((log, sequencer))
    }

    /// Whether most of a long file no longer matters.
    pub(super) fn is_long(&self) -> bool {
        self.bytes > self.least.saturating_mul(2).max(REWRITE_BYTES)
    }

    /// Appends records and makes them durable.
    pub(super) fn append(&mut self, records: &[Record]) -> Result<(), StoreError> {
        let path = self.folder.join(FILE);
        let mut lines = Vec::new();
        let chain = lines_of(records, self.chain.clone(), &mut lines)?;
        let written = self
            .file
            .write_all(&lines)
            .and_then(|()| self.file.sync_data());
        written.map_err(|e| failed("write", &path, &e))?;
        self.chain = chain;
        self.bytes = self.bytes.saturating_add(lines.len() as u64);
        Ok(())
    }

    /// Replaces the file by the shortest one that leads to the same state.
    pub(super) fn rewrite(&mut self, records: &[Record]) -> Result<(), StoreError> {
        let (file, chain, bytes) = write_whole(&self.folder, records)?;
        (self.file, self.chain, self.bytes) = (file, chain, bytes);
        self.least = bytes;
        Ok(())
    }
}

fn lock(folder: &Path) -> Result<File, StoreError> {
    let path = folder.join(LOCK_FILE);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let file = options.mode(FILE_MODE).open(&path);
    let file = file.map_err(|e| failed("open", &path, &e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked(folder.display().to_string())),
        Err(TryLockError::Error(e)) => Err(failed("lock", &path, &e)),
    }
}

/// The records of a file; none when there is no file.
fn read(path: &Path) -> Result<Vec<Record>, StoreError> {
    let mut text = Vec::new();
    match File::open(path) {
        Ok(file) => {
            let read = file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text);
            read.map_err(|e| failed("read", path, &e))?;
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed("open", path, &e)),
    }
    let damaged = |line: usize, why: &str| StoreError::Damaged {
        path: path.display().to_string(),
        line,
        why: why.to_owned(),
    };
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(damaged(0, "it is too long"));
    }
    let mut lines = text.split_inclusive(|b| *b == b'\n').enumerate();
    match lines.next() {
        Some((_, line)) if line.strip_suffix(b"\n") == Some(HEADER.as_bytes()) => {}
        _ => return Err(damaged(1, "it does not begin as the sequencer's file does")),
    }
    let (mut chain, mut records) = (Chain::start(), Vec::new());
    for (number, line) in lines {
        // Without its end the line was cut off by a crash, and it is the last.
        let Some(line) = line.strip_suffix(b"\n") else {
            break;
        };
        let (check, json) = line
            .split_at_checked(2 * CHECK_BYTES)
            .unwrap_or((line, &[]));
        let json = json.strip_prefix(b" ").unwrap_or(json);
        chain = chain.after(json);
        if chain.text().as_bytes() != check {
            return Err(damaged(number + 1, "its checksum is wrong"));
        }
        let record = serde_json::from_slice(json);
        records.push(record.map_err(|e| damaged(number + 1, &e.to_string()))?);
    }
    Ok(records)
}

fn lines_of(records: &[Record], mut chain: Chain, out: &mut Vec<u8>) -> Result<Chain, StoreError> {
    for record in records {
        let json = serde_json::to_vec(record).map_err(|e| StoreError::Io {
            what: "write down a record".to_owned(),
            reason: e.to_string(),
        })?;
        chain = chain.after(&json);
        out.extend_from_slice(chain.text().as_bytes());
        out.push(b' ');
        out.extend_from_slice(&json);
        out.push(b'\n');
    }
    Ok(chain)
}

/// Writes the file anew beside the old one and puts it in its place, so that a crash leaves either.
fn write_whole(folder: &Path, records: &[Record]) -> Result<(File, Chain, u64), StoreError> {
    let (path, fresh) = (folder.join(FILE), folder.join(FRESH_FILE));
    let mut lines = format!("{HEADER}\n").into_bytes();
    let chain = lines_of(records, Chain::start(), &mut lines)?;
    let mut options = OpenOptions::new();
    options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(FILE_MODE);
    let written = (|| {
        let mut file = options.open(&fresh)?;
        file.write_all(&lines)?;
        file.sync_all()?;
        std::fs::rename(&fresh, &path)?;
        File::open(folder)?.sync_all()?;
        Ok(file)
    })();
    let file = written.map_err(|e| failed("write", &path, &e))?;
    Ok((file, chain, lines.len() as u64))
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Io {
        what: format!("{what} `{}`", path.display()),
        reason: error.to_string(),
    }
}
