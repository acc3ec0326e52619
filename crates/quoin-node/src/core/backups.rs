//! Backups: each new epoch is sealed to the officers before this node endorses it.
//!
//! An endorsement is this node's acknowledgement, and a certificate needs all of them. So no epoch
//! comes into use, and no share of the one before is erased, before every holder's backup of the
//! new epoch is written. Sealing needs no officer. A backup that cannot be written holds the epoch
//! up with an alarm, and is tried again; the epoch before stays in use meanwhile.
//!
//! What is not here: the file's form and where it lies, which are the shell's ([`crate::backup`]).

use super::keys::Pending;
use super::{Alarm, Continuation, Effect, Node, Record, Turn};
use quoin_core::{KeyId, ShareEpoch, TimeMs};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How often a backup that could not be written is tried again.
const RETRY_MS: u64 = 5_000;

/// What a node remembers of the backups of pending epochs.
#[derive(Default)]
pub(super) struct Backups {
    /// Records whose backups are journaled.
    written: BTreeSet<(KeyId, [u8; 32])>,
    /// When a backup was last asked for.
    asked: BTreeMap<KeyId, TimeMs>,
}

impl Backups {
    /// What the journal says was written.
    pub(super) fn restore(&mut self, key: KeyId, hash: [u8; 32]) {
        self.written.insert((key, hash));
    }
}

impl Node {
    /// Whether the officers could restore this pending share, or the charter names none.
    pub(super) fn is_backed_up(&self, key: KeyId, hash: [u8; 32]) -> bool {
        self.constitution.charter().backup.is_none() || self.backups.written.contains(&(key, hash))
    }

    /// Asks the shell to seal the pending share of a key to the officers.
    pub(super) fn back_up(&mut self, turn: &mut Turn<'_>, key: KeyId) {
        let pending = self.keys.get(&key).and_then(|e| e.next.as_ref());
        let share = pending.and_then(|p: &Pending| p.share.as_ref());
        let policy = self.constitution.charter().backup.as_ref();
        if let (Some(share), Some(policy)) = (share, policy) {
            let effect = Effect::BackUp(Arc::clone(share), policy.clone());
            turn.effects.push(effect);
            self.backups.asked.insert(key, turn.now);
        }
    }

    /// Asks again for the backups that are missing.
    pub(super) fn retry_backups(&mut self, turn: &mut Turn<'_>) {
        let due = |key: &KeyId| {
            let asked = self.backups.asked.get(key);
            asked.is_none_or(|at| turn.now.since(*at) >= RETRY_MS)
        };
        let waits = |key: &KeyId, pending: &Pending| {
            !pending.endorsed && !self.is_backed_up(*key, pending.hash)
        };
        let pending = self
            .keys
            .iter()
            .filter_map(|(k, e)| Some((k, e.next.as_ref()?)));
        let late: Vec<KeyId> = pending
            .filter(|(key, pending)| waits(key, pending) && due(key))
            .map(|(key, _)| *key)
            .collect();
        for key in late {
            self.back_up(turn, key);
        }
    }

    /// The shell has written a backup, or could not.
    pub(super) fn on_backup_written(
        &mut self,
        turn: &mut Turn<'_>,
        (key, epoch, hash): (KeyId, ShareEpoch, [u8; 32]),
        outcome: Result<[u8; 32], String>,
    ) {
        match outcome {
            Ok(file) => {
                if self.is_backed_up(key, hash) {
                    return;
                }
                let record = Record::BackupWritten {
                    key,
                    epoch,
                    record: hash,
                    file,
                };
                self.backups.written.insert((key, hash));
                self.actions.backup_written(key, epoch);
                let ticket = self.persist(turn, record);
                self.after(ticket, Continuation::KeyStored(key, hash));
            }
            Err(why) => {
                let alarm = Alarm::BackupFailed(key, epoch, why);
                turn.effects.push(Effect::Alarm(alarm));
            }
        }
    }
}
