//! Pools of presignatures: in memory only, single use, lent to gateways by id.
//!
//! A presignature leaves its pool exactly once, by value. A restart starts with empty pools; a
//! peer's restart empties those that it shares.

use super::config::PRESIGNATURE_MS_MAX;
use quoin_api::frame::{LEASE_IDS_MAX, LeaseGrant, LeaseRequest};
use quoin_core::{GatewayId, KeyId, NodeIndex, PresignatureId, SignerSet, TimeMs};
use quoin_protocol::presign::Presignature;
use std::collections::{BTreeMap, BTreeSet};

/// The most presignatures of one key and signer set: a bound on memory.
const POOL_MAX: usize = 4096;

struct Slot {
    presignature: Presignature,
    made: TimeMs,
    lent: Option<(GatewayId, TimeMs)>,
}

/// All pools of a node.
#[derive(Default)]
pub(super) struct Pools {
    pools: BTreeMap<(KeyId, SignerSet), BTreeMap<PresignatureId, Slot>>,
    gateways: BTreeSet<GatewayId>,
    /// The last boot that each gateway named; it outlives connections.
    boots: BTreeMap<GatewayId, u64>,
}

impl Pools {
    /// Adds a finished batch.
    pub(super) fn add(
        &mut self,
        key: KeyId,
        set: &SignerSet,
        batch: Vec<Presignature>,
        now: TimeMs,
    ) {
        let pool = self.pools.entry((key, set.clone())).or_default();
        // What is old and was never used makes room, not the other way round.
        let surplus = (pool.len() + batch.len()).saturating_sub(POOL_MAX);
        let mut by_age: Vec<(TimeMs, PresignatureId)> =
            pool.iter().map(|(id, slot)| (slot.made, *id)).collect();
        by_age.sort_unstable();
        for (_, id) in by_age.iter().take(surplus) {
            pool.remove(id);
        }
        for presignature in batch {
            let slot = Slot {
                presignature,
                made: now,
                lent: None,
            };
            pool.insert(slot.presignature.id(), slot);
        }
    }

    /// Throws away what is too old to be used.
    pub(super) fn expire(&mut self, now: TimeMs) {
        for pool in self.pools.values_mut() {
            pool.retain(|_, slot| now.since(slot.made) < PRESIGNATURE_MS_MAX);
        }
    }

    /// Whether the presignature is there.
    pub(super) fn has(&self, key: KeyId, set: &SignerSet, id: &PresignatureId) -> bool {
        self.pools
            .get(&(key, set.clone()))
            .is_some_and(|pool| pool.contains_key(id))
    }

    /// Takes a presignature out, for ever.
    pub(super) fn take(
        &mut self,
        key: KeyId,
        set: &SignerSet,
        id: &PresignatureId,
    ) -> Option<Presignature> {
        self.pools
            .get_mut(&(key, set.clone()))?
            .remove(id)
            .map(|slot| slot.presignature)
    }

    /// Lends free ids to a gateway.
    pub(super) fn lend(
        &mut self,
        gateway: &GatewayId,
        request: &LeaseRequest,
        now: TimeMs,
    ) -> LeaseGrant {
        let mut ids = Vec::new();
        if let Some(pool) = self.pools.get_mut(&(request.key, request.set.clone())) {
            let free = pool.iter_mut().filter(|(_, slot)| slot.lent.is_none());
            let want = usize::from(request.want).min(LEASE_IDS_MAX);
            for (id, slot) in free.take(want) {
                slot.lent = Some((gateway.clone(), now));
                ids.push(*id);
            }
        }
        LeaseGrant {
            key: request.key,
            set: request.set.clone(),
            ids,
        }
    }

    /// How many presignatures of a key and signer set are neither used nor lent.
    pub(super) fn free(&self, key: KeyId, set: &SignerSet) -> usize {
        self.pools.get(&(key, set.clone())).map_or(0, |pool| {
            pool.values().filter(|slot| slot.lent.is_none()).count()
        })
    }

    /// How many presignatures there are in all.
    pub(super) fn depth(&self) -> usize {
        self.pools.values().map(BTreeMap::len).sum()
    }

    /// A peer has started again: nothing that it shared can be used any more.
    pub(super) fn peer_rebooted(&mut self, peer: NodeIndex) {
        self.pools.retain(|(_, set), _| !set.contains(peer));
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
        for slot in self.pools.values_mut().flat_map(BTreeMap::values_mut) {
            if slot.lent.as_ref().is_some_and(|(to, _)| to == gateway) {
                slot.lent = None;
            }
        }
    }
}
