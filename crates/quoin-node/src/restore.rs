//! Puts shares from a backup into a stopped node's folder.
//!
//! A restore always means a new boot generation, empty pools, and a refresh of the key before this
//! node serves it again. The generation is the time in seconds, which is above every generation
//! that the node had: these count starts.
//!
//! What a restore does not bring back is what the node had decided: its budgets and requests. So
//! its peers fence it until the operators readmit it. Before they do, they wait until the longest
//! window of a budget has passed, or accept that this node's part of it can be spent twice.

use crate::core::{BootRecord, KeyRecord, Node, Record, RecoverError, share_label};
use crate::run::{Opened, RunError};
use crate::store::{NewRecord, Store, StoreError};
use quoin_api::frame::Opaque;
use quoin_core::{Boot, Generation, Lane, NodeIndex, SecretBytes, TimeMs, cbor};
use quoin_protocol::KeyShare;
use std::path::Path;

/// Why shares are not restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The folder cannot be used.
    #[error(transparent)]
    Folder(#[from] RunError),
    /// The journal refuses.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The share is another node's.
    #[error("this is the folder of node `{folder}`, and the backup is of node `{backup}`")]
    OtherNode {
        /// The folder's node.
        folder: NodeIndex,
        /// The backup's node.
        backup: NodeIndex,
    },
    /// The share is another cluster's.
    #[error("the backup is of another cluster")]
    OtherCluster,
    /// The share is not the one in its record.
    #[error("the recovered share is not the one in the backup's record")]
    WrongShare,
    /// The node still has the share.
    #[error("node `{0}` has this share: there is nothing to restore")]
    NothingMissing(NodeIndex),
    /// The node could not start with it.
    #[error(
        "the node could not start with this share ({0}): if it knows a later epoch of the key, \
         restore a backup of that epoch, or reshare the key among the other nodes"
    )]
    WouldNotStart(RecoverError),
}

/// Puts `shares` into the folder of a stopped node, in one durable write, and gives the generation
/// that it starts after.
///
/// # Errors
/// When the node runs, a share is not this node's or is there already, or the node could not start
/// with it. Nothing is written then.
pub fn restore(dir: &Path, shares: &[KeyShare], now: TimeMs) -> Result<Generation, RestoreError> {
    let mut opened = Opened::open(dir)?;
    let index = opened.file.index;
    for share in shares {
        check(&opened, share)?;
    }
    let generation = Generation(now.0 / 1000);
    let boot = Boot {
        node: index,
        lane: Lane(0),
        generation,
    };
    let started = Record::Boot(BootRecord {
        generation,
        build: "restored from a backup".to_owned(),
    });
    let mut records = vec![(started, None)];
    for share in shares {
        let public = &share.public;
        let record = Record::KeyRestored(KeyRecord {
            key: public.key,
            public: Opaque(cbor::encode(public)),
            boot,
        });
        let label = share_label(public);
        records.push((record, Some((label, share.secret.duplicate_secret()))));
    }
    rehearse(&mut opened, &records, now)?;
    let aad = opened.cluster;
    let mut writes = Vec::new();
    for (record, secret) in records {
        let write = NewRecord::new(now, record.to_bytes());
        writes.push(match secret {
            None => write,
            Some((label, secret)) => {
                let sealed = opened.sealer.seal(&label, aad.as_bytes(), secret.expose());
                write.put(label, sealed.map_err(RunError::from)?)
            }
        });
    }
    opened.store.append(writes)?;
    Ok(generation)
}

fn check(opened: &Opened, share: &KeyShare) -> Result<(), RestoreError> {
    let (folder, backup) = (opened.file.index, share.node);
    if folder != backup {
        return Err(RestoreError::OtherNode { folder, backup });
    }
    if share.public.cluster != opened.cluster {
        return Err(RestoreError::OtherCluster);
    }
    if !share.matches_public() {
        return Err(RestoreError::WrongShare);
    }
    let label = share_label(&share.public);
    if opened.shares.contains_key(&label) {
        return Err(RestoreError::NothingMissing(folder));
    }
    Ok(())
}

/// Starts the node in memory from what its folder would hold, so that what is written can be read.
fn rehearse(
    opened: &mut Opened,
    records: &[(Record, Option<(String, SecretBytes<32>)>)],
    now: TimeMs,
) -> Result<(), RestoreError> {
    let mut from = opened.take_recovered();
    for (record, secret) in records {
        from.records.push((now, record.clone()));
        if let Some((label, secret)) = secret {
            from.shares.insert(label.clone(), secret.duplicate_secret());
        }
    }
    let started = Node::recover(from, &mut Vec::new());
    started.map(|_| ()).map_err(RestoreError::WouldNotStart)
}
