//! Shares that were put back from a backup, while the node was stopped.
//!
//! The node endorses the record again, which is the same record, and so takes part in the key's
//! certificate; but it serves nothing with that share. Its next epoch, which a refresh brings, does.

use super::keys::{KeyEntry, Pending, share_label};
use super::record::KeyRecord;
use super::{Node, RecoverError};
use quoin_core::{KeyOrigin, SecretBytes, Statement, cbor};
use quoin_protocol::KeyShare;
use quoin_protocol::backup::is_import;
use quoin_protocol::combine::KeyPublic;
use std::collections::BTreeMap;
use std::sync::Arc;

impl Node {
    /// Takes a restored share: of an epoch that this node knows and has no share of, or of a key
    /// that it does not know.
    pub(super) fn replay_restored(
        &mut self,
        record: &KeyRecord,
        shares: &BTreeMap<String, SecretBytes<32>>,
    ) -> Result<(), RecoverError> {
        let damaged = || RecoverError::Share(record.key);
        let public: KeyPublic =
            cbor::decode(&record.public.0, KeyPublic::BYTES_MAX).map_err(|_| damaged())?;
        let ours = public.key == record.key
            && public.cluster == self.cluster
            && record.boot.node == self.boot.node;
        let label = share_label(&public);
        let share = shares.get(&label).map(|secret| KeyShare {
            public: public.clone(),
            node: self.boot.node,
            secret: secret.duplicate_secret(),
        });
        // A later epoch may be in use by now, and this share be erased.
        let share = share.filter(KeyShare::matches_public);
        // An imported key was once whole in one place, and its record says so for ever: one that
        // hides it is not endorsed here. A born key may come back out of its backups alone.
        let honest = public.origin == KeyOrigin::Imported || !is_import(&public);
        if !ours || !honest {
            return Err(damaged());
        }
        let (epoch, hash) = (public.epoch, public.shares_hash());
        let entry = self.keys.entry(record.key);
        let entry = entry.or_insert_with(|| KeyEntry::born(Pending::new(public, None)));
        entry.restored = Some(epoch);
        let share = share.map(Arc::new);
        if let Some(pending) = entry.stored_mut(hash) {
            pending.share = share;
        } else if let Some(current) = entry.current.as_mut().filter(|c| c.hash == hash) {
            current.share = share;
        } else {
            return Err(damaged());
        }
        self.backups.restore(record.key, hash);
        Ok(())
    }
}
