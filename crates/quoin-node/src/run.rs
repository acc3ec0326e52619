//! The node's shell: sockets, disk, clock and worker around the core. It decides nothing.
//!
//! One task owns the core and feeds it events in the order in which they arrive. Records go to the
//! store's writer, which commits all that wait in one write and reports back; jobs go to two worker
//! threads, heavy ones apart, so that presigning never holds up signing.

mod folder;
mod links;
mod opened;
mod pools;
mod shell;
mod veil;
mod worker;

pub use folder::{
    BACKUP_FOLDER, CHARTERS_FILE, JOURNAL_FILE, NodeFile, NodePublic, charters_to_bytes,
    create_identity, public_of, read_charters, read_genesis, read_node_file, sign_genesis,
    write_node_file,
};

use crate::core::{Node, RecoverError};
use crate::memory::{self, MemoryError};
use crate::seal::SealError;
use crate::store::StoreError;
use links::Links;
pub(crate) use opened::Opened;
pub use opened::recorded;
use quoin_link::LinkError;
use shell::Shell;
use std::future::Future;
use std::path::{Path, PathBuf};

/// Why a node does not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A file cannot be read or written.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// `node.json` or the genesis does not read.
    #[error("`{path}` is malformed: {reason}")]
    Malformed {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// A secret cannot be sealed or opened.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The journal cannot be opened or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The network side cannot start.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The journal does not lead to a valid state.
    #[error("node cannot be rebuilt from its journal: {0}")]
    Recover(#[from] RecoverError),
    /// Core files and debuggers cannot be forbidden.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// `node.json` demands locked memory, and the system does not allow it.
    #[error("memory cannot be locked: {0}")]
    MemoryNotLocked(String),
    /// The presigning engine gives wrong results on this machine.
    #[error("self-test of the ECDSA engine failed: {0}")]
    SelfTest(String),
    /// The disk failed while running.
    #[error("the disk failed: nothing is signed any more; check the disk and start the node again")]
    StorageFailed,
}

fn io(what: String) -> impl FnOnce(std::io::Error) -> RunError {
    move |source| RunError::Io { what, source }
}

/// Keeps what follows out of core files and, where the system allows it, out of swap.
fn protect_memory(required: bool) -> Result<(), RunError> {
    match memory::protect()?.locked {
        Ok(()) => Ok(()),
        Err(why) if required => Err(RunError::MemoryNotLocked(why)),
        Err(why) => {
            tracing::warn!("memory is not locked and may reach swap: {why}");
            Ok(())
        }
    }
}

/// Runs the node in `dir` until `shutdown` is ready.
///
/// # Errors
/// When it cannot start, or its disk fails.
pub async fn run(dir: &Path, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
    quoin_protocol::ecdsa::self_test().map_err(|e| RunError::SelfTest(e.to_string()))?;
    protect_memory(read_node_file(dir)?.require_locked_memory)?;
    let mut opened = Opened::open(dir)?;
    let mut effects = Vec::new();
    let node = Node::recover(opened.take_recovered(), &mut effects)?;
    let Opened {
        file,
        sealer,
        store,
        veil,
        cluster,
        ..
    } = opened;
    let backups = file.backups.clone();
    let backups = dir.join(backups.unwrap_or_else(|| PathBuf::from(BACKUP_FOLDER)));
    let mut shell = Shell::new(node, sealer, (store, veil), cluster.as_bytes(), backups);
    // The boot record is durable before the first connection: nobody hears of a generation that a
    // crash could take back.
    shell.carry_out(effects);
    shell.wait_durable().await?;
    let (links, inbound) = Links::start(dir, &file, shell.node()).await?;
    tracing::info!(node = file.index.get(), listen = %file.listen, "node is up");
    shell.serve(links, inbound, shutdown).await
}
