//! Keys by share epoch: the newest certified one serves, the one before fills in while it may.
//!
//! When the shares of a key move on, nodes lend presignatures of the old epoch until they have made
//! enough of the new one, and honour what they lent for a minute (design, section 6). So the gateway
//! keeps the old certificate for a while, draws on the new epoch's stock first, and takes what is
//! left of the old one before it makes anybody wait.

use super::Gateway;
use super::flight::Flight;
use super::leases::StockId;
use super::nodes::Wish;
use super::outcome::KeyEntry;
use quoin_core::{KeyId, ShareEpoch, TimeMs};
use quoin_protocol::KeyPublic;
use std::collections::BTreeSet;
use std::sync::Arc;

/// How long the epoch before is kept: nodes honour its presignatures for a minute after *their*
/// certificate, which may come to them later than to us.
pub(super) const OVERLAP_MS: u64 = 120_000;

/// The epoch before the newest, while it may still be asked for.
#[derive(Debug)]
pub(super) struct Older {
    pub(super) entry: Arc<KeyEntry>,
    until: TimeMs,
}

/// A record that does not follow from the one that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotSuccessor;

impl Gateway {
    /// Keeps a key whose certificate is verified; only a record that outranks the known one of the
    /// same key replaces it. That is a later epoch, or the other of two certified records of one
    /// epoch, by the rule that every node chooses by too.
    ///
    /// # Security
    /// A certificate proves that all nodes of its charter endorsed the record. That the record is of
    /// the key which callers know is checked here: nodes could agree on another key under one id.
    pub(super) fn adopt_key(&mut self, now: TimeMs, entry: KeyEntry) -> Result<(), NotSuccessor> {
        let key = entry.public.key;
        if let Some(known) = self.keys.get(&key) {
            if !entry.public.outranks(&known.public) {
                return Ok(());
            }
            if !self.follows(&entry.public, &known.public) {
                return Err(NotSuccessor);
            }
            if entry.public.epoch == known.public.epoch {
                // The nodes have dropped the presignatures of the other record.
                self.leases.drop_epoch(key, entry.public.epoch);
            } else {
                let until = now.plus(OVERLAP_MS);
                let entry = Arc::clone(known);
                self.older.insert(key, Older { entry, until });
                self.forget_stocks(key);
            }
        }
        self.keys.insert(key, Arc::new(entry));
        Ok(())
    }

    /// Whether `next` is a later epoch of the key of `base`. A gateway that was away for several
    /// epochs has not seen the records in between; it checks what stays through all of them.
    fn follows(&self, next: &KeyPublic, base: &KeyPublic) -> bool {
        if next.epoch.0 == base.epoch.0.saturating_add(1) {
            return self.combiner.succession(next, base).is_ok();
        }
        let stays = |k: &KeyPublic| {
            (
                k.cluster,
                k.key,
                k.scheme,
                k.purpose,
                k.chain_code,
                k.origin,
            )
        };
        stays(next) == stays(base)
            && next.name == base.name
            && next.public_key == base.public_key
            && next.previous.is_some()
    }

    /// The epochs of a key that may be asked for, the newest first.
    pub(super) fn epochs_of(&self, key: KeyId) -> Vec<Arc<KeyEntry>> {
        let older = self.older.get(&key).map(|o| &o.entry);
        self.keys
            .get(&key)
            .into_iter()
            .chain(older)
            .cloned()
            .collect()
    }

    /// The certified record of one epoch of a key.
    pub(super) fn entry_of(&self, key: KeyId, epoch: ShareEpoch) -> Option<Arc<KeyEntry>> {
        let mut epochs = self.epochs_of(key).into_iter();
        epochs.find(|e| e.public.epoch == epoch)
    }

    /// Lets go of epochs whose overlap is over.
    pub(super) fn forget_old_epochs(&mut self, now: TimeMs) {
        let over = self.older.iter().filter(|(_, o)| now >= o.until);
        let over: Vec<KeyId> = over.map(|(key, _)| *key).collect();
        for key in over {
            self.older.remove(&key);
            self.forget_stocks(key);
        }
    }

    /// Drops the stocks of epochs that are no longer asked for. Those of a newer epoch than is
    /// known here stay: its certificate is on its way.
    fn forget_stocks(&mut self, key: KeyId) {
        let epochs = self.epochs_of(key);
        if let Some(oldest) = epochs.last().map(|e| e.public.epoch) {
            self.leases.drop_before(key, oldest);
        }
    }

    /// The stock that a request would draw on for one epoch of its key; `None` when not enough of
    /// the holders are up, or each set has failed.
    pub(super) fn stock_of(
        &self,
        now: TimeMs,
        entry: &KeyEntry,
        flight: Option<&Flight>,
    ) -> Option<StockId> {
        if let Some(set) = self.sticky_set(entry, flight) {
            return Some((entry.public.key, entry.public.epoch, set));
        }
        let holders = self.charters.view().live_holders(&entry.public);
        let (nobody, no_set) = (BTreeSet::new(), BTreeSet::new());
        let wish = Wish {
            holders: &holders,
            size: usize::from(entry.public.threshold),
            avoided: flight.map_or(&nobody, |f| &f.avoided),
            bad: flight.map_or(&no_set, |f| &f.bad_sets),
        };
        let set = self.nodes.choose(now, &wish)?;
        Some((entry.public.key, entry.public.epoch, set))
    }

    /// The stocks that requests for a key would draw on now, in the order in which they would.
    pub(super) fn stocks_of(&self, now: TimeMs, key: KeyId) -> Vec<StockId> {
        let epochs = self.epochs_of(key).into_iter();
        epochs
            .filter_map(|e| self.stock_of(now, &e, None))
            .collect()
    }
}
