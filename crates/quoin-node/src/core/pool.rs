//! Pools of presignatures: in memory only, single use, lent to gateways by id.
//!
//! A pool is of one key, one share epoch and one signer set. A presignature leaves it exactly once,
//! by value. A restart starts with empty pools; a peer's restart empties those that it shares, and
//! the end of an epoch's overlap those of the epoch.
//!
//! Some ids of each pool are kept for requests that reduce risk, and what is left is shared fairly
//! among the gateways that are connected: neither a flood of orders nor one greedy gateway may
//! leave a cancel waiting for presigning.

use super::config::{PRESIGNATURE_MS_MAX, TREASURY_PRESIGNATURE_MS_MAX, WANTED_MS};
use super::treasury::BoundSet;
use super::{Node, Turn};
use quoin_api::frame::{LEASE_IDS_MAX, LeaseGrant, LeaseRequest, Reply, SigningHint, Unavailable};
use quoin_core::{GatewayId, KeyId, NodeIndex, PresignatureId, ShareEpoch, SignerSet, TimeMs};
use quoin_protocol::Profile;
use quoin_protocol::presign::Presignature;
use std::collections::{BTreeMap, BTreeSet};

/// The most presignatures of one key, epoch and signer set: a bound on memory.
const POOL_MAX: usize = 4096;

struct Slot {
    presignature: Presignature,
    made: TimeMs,
    lent: Option<(GatewayId, TimeMs)>,
}

impl Slot {
    fn is_fresh(&self, now: TimeMs) -> bool {
        let limit = match self.presignature.header().profile {
            Profile::Normal => PRESIGNATURE_MS_MAX,
            Profile::Treasury => TREASURY_PRESIGNATURE_MS_MAX,
        };
        now.since(self.made) < limit
    }
}

#[derive(Default)]
struct Pool {
    slots: BTreeMap<PresignatureId, Slot>,
    made_total: u64,
    taken_total: u64,
}

impl Pool {
    fn free(&self) -> usize {
        self.slots.values().filter(|s| s.lent.is_none()).count()
    }
}

/// The state of one pool, for metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolStat {
    /// The key.
    pub key: KeyId,
    /// The share epoch.
    pub epoch: ShareEpoch,
    /// The signers.
    pub set: SignerSet,
    /// Presignatures that are neither used nor lent.
    pub free: usize,
    /// Presignatures that are lent and not used.
    pub lent: usize,
    /// How many were ever made.
    pub made_total: u64,
    /// How many were ever used.
    pub taken_total: u64,
}

/// What a pool is of.
pub(super) type PoolId = (KeyId, ShareEpoch, SignerSet);

/// All pools of a node.
#[derive(Default)]
pub(super) struct Pools {
    pools: BTreeMap<PoolId, Pool>,
    gateways: BTreeSet<GatewayId>,
    /// The last boot that each gateway named; it outlives connections.
    boots: BTreeMap<GatewayId, u64>,
    /// When a gateway asked last for ids of a key and set of signers; a request names no epoch.
    wanted: BTreeMap<(KeyId, SignerSet), TimeMs>,
    /// What was taken out for a treasury key, and waits for its second round.
    pub(super) bound: BoundSet,
}

impl Pools {
    /// Adds a finished batch.
    pub(super) fn add(&mut self, id: PoolId, batch: Vec<Presignature>, now: TimeMs) {
        let pool = self.pools.entry(id).or_default();
        // What is old and was never used makes room, not the other way round.
        let surplus = (pool.slots.len() + batch.len()).saturating_sub(POOL_MAX);
        let mut by_age: Vec<(TimeMs, PresignatureId)> = pool
            .slots
            .iter()
            .map(|(id, slot)| (slot.made, *id))
            .collect();
        by_age.sort_unstable();
        for (_, id) in by_age.iter().take(surplus) {
            pool.slots.remove(id);
        }
        let made = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        pool.made_total = pool.made_total.saturating_add(made);
        for presignature in batch {
            let slot = Slot {
                presignature,
                made: now,
                lent: None,
            };
            pool.slots.insert(slot.presignature.id(), slot);
        }
    }

    /// Throws away what is too old to be used.
    pub(super) fn expire(&mut self, now: TimeMs) {
        for pool in self.pools.values_mut() {
            pool.slots.retain(|_, slot| slot.is_fresh(now));
        }
        self.wanted.retain(|_, asked| now.since(*asked) < WANTED_MS);
    }

    /// Notes that a gateway draws on a set of a key.
    pub(super) fn want(&mut self, key: KeyId, set: &SignerSet, now: TimeMs) {
        self.wanted.insert((key, set.clone()), now);
    }

    /// Whether a gateway has drawn on a set of a key lately: the others are there in case it fails.
    pub(super) fn is_wanted(&self, key: KeyId, set: &SignerSet, now: TimeMs) -> bool {
        let asked = self.wanted.get(&(key, set.clone()));
        asked.is_some_and(|asked| now.since(*asked) < WANTED_MS)
    }

    /// Whether the presignature is there.
    pub(super) fn has(&self, pool: &PoolId, id: &PresignatureId) -> bool {
        let pool = self.pools.get(pool);
        pool.is_some_and(|pool| pool.slots.contains_key(id))
    }

    /// Takes a presignature out, for ever.
    pub(super) fn take(&mut self, pool: &PoolId, id: &PresignatureId) -> Option<Presignature> {
        let pool = self.pools.get_mut(pool)?;
        let slot = pool.slots.remove(id)?;
        pool.taken_total = pool.taken_total.saturating_add(1);
        Some(slot.presignature)
    }

    /// Throws a presignature away, whatever its epoch.
    pub(super) fn discard(&mut self, key: KeyId, set: &SignerSet, id: &PresignatureId) {
        for ((of, _, signers), pool) in &mut self.pools {
            if *of == key && signers == set {
                drop(pool.slots.remove(id));
            }
        }
    }

    /// Lends free ids of an epoch to a gateway, but the last `reserve` only for urgent requests.
    pub(super) fn lend(
        &mut self,
        gateway: &GatewayId,
        request: &LeaseRequest,
        epoch: ShareEpoch,
        reserve: usize,
        now: TimeMs,
    ) -> LeaseGrant {
        let mut ids = Vec::new();
        let others = self.gateways.len().max(1);
        let id = (request.key, epoch, request.set.clone());
        if let Some(pool) = self.pools.get_mut(&id) {
            let free = pool.free();
            let fair = match request.urgent {
                true => free,
                false => free.saturating_sub(reserve).div_ceil(others),
            };
            let want = usize::from(request.want).min(LEASE_IDS_MAX).min(fair);
            let free = pool.slots.iter_mut().filter(|(_, s)| s.lent.is_none());
            for (id, slot) in free.take(want) {
                slot.lent = Some((gateway.clone(), now));
                ids.push(*id);
            }
        }
        LeaseGrant {
            key: request.key,
            set: request.set.clone(),
            ids,
            epoch,
        }
    }

    /// How many presignatures of a pool are neither used nor lent.
    pub(super) fn free(&self, id: &PoolId) -> usize {
        self.pools.get(id).map_or(0, Pool::free)
    }

    /// How many presignatures there are in all.
    pub(super) fn depth(&self) -> usize {
        self.pools.values().map(|p| p.slots.len()).sum()
    }

    /// The state of every pool.
    pub(super) fn stats(&self) -> Vec<PoolStat> {
        let stat = |((key, epoch, set), pool): (&PoolId, &Pool)| PoolStat {
            key: *key,
            epoch: *epoch,
            set: set.clone(),
            free: pool.free(),
            lent: pool.slots.len() - pool.free(),
            made_total: pool.made_total,
            taken_total: pool.taken_total,
        };
        self.pools.iter().map(stat).collect()
    }

    /// A peer has started again: nothing that it shared can be used any more.
    pub(super) fn peer_rebooted(&mut self, peer: NodeIndex) {
        self.pools.retain(|(.., set), _| !set.contains(peer));
        self.bound.drop_node(peer);
    }

    /// An epoch is over.
    pub(super) fn drop_epoch(&mut self, key: KeyId, epoch: ShareEpoch) {
        self.pools.retain(|(k, e, _), _| (*k, *e) != (key, epoch));
        self.bound.drop_epoch(key, epoch);
    }

    /// A key is out of use.
    pub(super) fn drop_key(&mut self, key: KeyId) {
        self.pools.retain(|(k, ..), _| *k != key);
        self.wanted.retain(|(k, _), _| *k != key);
        self.bound.drop_key(key);
    }

    /// A gateway is there. One that has started again has forgotten its leases.
    pub(super) fn gateway_booted(&mut self, gateway: &GatewayId, boot: u64) {
        self.gateways.insert(gateway.clone());
        if self.boots.insert(gateway.clone(), boot) != Some(boot) {
            self.return_leases(gateway);
        }
    }

    /// A gateway is gone; it may come back with its leases, so these stay.
    pub(super) fn gateway_gone(&mut self, gateway: &GatewayId) {
        self.gateways.remove(gateway);
    }

    /// The gateways that are connected.
    pub(super) fn gateways(&self) -> Vec<GatewayId> {
        self.gateways.iter().cloned().collect()
    }

    fn return_leases(&mut self, gateway: &GatewayId) {
        let slots = self.pools.values_mut().flat_map(|p| p.slots.values_mut());
        for slot in slots {
            if slot.lent.as_ref().is_some_and(|(to, _)| to == gateway) {
                slot.lent = None;
            }
        }
    }
}

impl Node {
    /// The state of every pool, for metrics.
    #[must_use]
    pub fn pool_stats(&self) -> Vec<PoolStat> {
        self.pools.stats()
    }

    /// Lends ids of the epoch that serves the set now.
    pub(super) fn lend(
        &mut self,
        turn: &Turn<'_>,
        gateway: &GatewayId,
        request: &LeaseRequest,
    ) -> LeaseGrant {
        let entry = self.keys.get(&request.key);
        let honoured = entry.map(|e| e.all_honoured(turn.now));
        // Of sets that no epoch has, whoever asks, nothing is kept.
        if honoured.is_some_and(|all| all.iter().any(|e| e.admits(&request.set))) {
            self.pools.want(request.key, &request.set, turn.now);
        }
        let epoch = self.lending_epoch(request.key, &request.set, turn.now);
        let scheme = self.keys.get(&request.key).and_then(|e| e.public());
        let reserve = scheme.map_or(0, |p| self.pool_sizes(p.scheme).reserve);
        self.pools.lend(gateway, request, epoch, reserve, turn.now)
    }

    /// The pool that has what a hint names, among the epochs that are honoured now.
    pub(super) fn pool_of_hint(
        &self,
        key: KeyId,
        hint: &SigningHint,
        now: TimeMs,
    ) -> Result<PoolId, Reply> {
        let entry = self.keys.get(&key);
        let honoured = entry.map(|e| e.all_honoured(now)).unwrap_or_default();
        let newest = honoured.first().map(|e| e.number());
        if hint.epoch > newest {
            // The certificate of that epoch has not come here yet.
            return Err(Reply::Unavailable(Unavailable::UnknownKey));
        }
        let named = |n: &ShareEpoch| hint.epoch.is_none_or(|e| e == *n);
        let epochs = honoured.iter().map(|e| e.number()).filter(named);
        let mut pools = epochs.map(|n| (key, n, hint.set.clone()));
        let found = pools.find(|pool| self.pools.has(pool, &hint.presignature));
        found.ok_or(Reply::Unavailable(Unavailable::PresignatureGone))
    }

    /// The epoch whose ids are lent for a set: the newest one, and during an overlap the one before
    /// until the newest has a full pool.
    fn lending_epoch(&self, key: KeyId, set: &SignerSet, now: TimeMs) -> ShareEpoch {
        let Some(entry) = self.keys.get(&key) else {
            return ShareEpoch::default();
        };
        let honoured = entry.all_honoured(now);
        let newest = honoured.first().map(|e| e.number()).unwrap_or_default();
        let low = entry.public().map_or(0, |p| self.pool_sizes(p.scheme).low);
        if self.pools.free(&(key, newest, set.clone())) >= low {
            return newest;
        }
        let filled = |n: &ShareEpoch| self.pools.free(&(key, *n, set.clone())) > 0;
        let older = honoured.iter().skip(1).map(|e| e.number());
        older.into_iter().find(filled).unwrap_or(newest)
    }
}
