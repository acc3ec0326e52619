//! Rotation: shares that are old are refreshed without being asked for.
//!
//! A refresh changes no authority: the same nodes hold the same key, so nobody has to permit it.
//! The lowest-index holder proposes; every other one joins only if by its own clock and journal the
//! epoch is at least half an interval old, so a proposer cannot have the cluster refresh all day.
//! All holders must be healthy, because an absent one would be left with a dead share. A node that
//! is lost is answered by a reshare, which people ask for; until then the refresh is overdue, and
//! the operator is told.

use super::config::REFRESH_RETRY_MS;
use super::keys::KeyEntry;
use super::{Alarm, Effect, Node, Turn};
use quoin_api::Frame;
use quoin_api::frame::RefreshDue;
use quoin_core::hash::tagged;
use quoin_core::payload::KeyChange;
use quoin_core::{Boot, CeremonyId, ClusterId, KeyId, NodeIndex, TimeMs, tags};
use std::collections::BTreeMap;

/// What a node remembers of the refreshes that it proposed.
#[derive(Default)]
pub(super) struct Rotation {
    counter: u64,
    proposed: BTreeMap<KeyId, TimeMs>,
}

/// The ceremony of a proposal: nobody else can name it, and the proposer only once.
fn ceremony_of(cluster: ClusterId, due: &RefreshDue, proposer: Boot) -> CeremonyId {
    let numbers = [
        u64::from(due.epoch.0),
        u64::from(proposer.node.get()),
        u64::from(proposer.lane.0),
        proposer.generation.0,
        due.counter,
    ];
    let numbers: Vec<u8> = numbers.iter().flat_map(|n| n.to_be_bytes()).collect();
    let parts: [&[u8]; 4] = [b"refresh", cluster.as_bytes(), due.key.as_bytes(), &numbers];
    let hash = tagged(tags::DKG_CTX, &parts);
    let mut id = [0u8; 16];
    id.copy_from_slice(hash.split_at(16).0);
    CeremonyId(id)
}

impl Node {
    /// Proposes the refreshes that are due, and tells of those that are overdue.
    pub(super) fn rotate(&mut self, turn: &mut Turn<'_>) {
        let interval = self.config.refresh_interval_ms;
        if interval == 0 {
            return;
        }
        let age = |e: &KeyEntry| match refreshable(e) {
            true => turn.now.since(e.since),
            false => 0,
        };
        let old = self.keys.iter().filter(|(_, e)| age(e) >= interval);
        let old: Vec<(KeyId, bool)> = old
            .map(|(key, e)| (*key, age(e) >= interval.saturating_mul(2)))
            .collect();
        for (key, overdue) in old {
            if overdue {
                self.tell_overdue(turn, key);
            }
            let tried = self.rotation.proposed.get(&key);
            if tried.is_none_or(|at| turn.now.since(*at) >= REFRESH_RETRY_MS) {
                self.propose_refresh(turn, key);
            }
        }
    }

    fn tell_overdue(&mut self, turn: &mut Turn<'_>, key: KeyId) {
        if let Some(entry) = self.keys.get_mut(&key)
            && !std::mem::replace(&mut entry.overdue, true)
        {
            turn.effects.push(Effect::Alarm(Alarm::RefreshOverdue(key)));
        }
    }

    fn propose_refresh(&mut self, turn: &mut Turn<'_>, key: KeyId) {
        let Some(current) = self.keys.get(&key).and_then(|e| e.current.as_ref()) else {
            return;
        };
        let epoch = current.number();
        if current.holders().min() != Some(self.me()) || !self.may_refresh(key, turn.now) {
            return;
        }
        self.rotation.proposed.insert(key, turn.now);
        self.rotation.counter = self.rotation.counter.saturating_add(1);
        let due = RefreshDue {
            key,
            epoch,
            counter: self.rotation.counter,
        };
        let ceremony = ceremony_of(self.cluster, &due, self.boot);
        self.send_to_nodes(turn, &Frame::RefreshDue(due));
        self.begin_succession(turn, ceremony, key, &KeyChange::Refresh);
    }

    /// Joins a refresh that the lowest-index holder proposes, when the shares are old here too.
    pub(super) fn on_refresh_due(
        &mut self,
        turn: &mut Turn<'_>,
        from: NodeIndex,
        due: &RefreshDue,
    ) {
        let interval = self.config.refresh_interval_ms;
        let Some(entry) = self.keys.get(&due.key) else {
            return;
        };
        let Some(current) = &entry.current else {
            return;
        };
        let old = interval > 0 && turn.now.since(entry.since) >= interval / 2;
        let meant = current.number() == due.epoch && current.holders().min() == Some(from);
        let Some(proposer) = self.peers.boot(from).filter(|_| old && meant) else {
            return;
        };
        if self.may_refresh(due.key, turn.now) {
            let ceremony = ceremony_of(self.cluster, due, proposer);
            self.begin_succession(turn, ceremony, due.key, &KeyChange::Refresh);
        }
    }

    /// Whether this node may take part in a refresh of the key now: all holders are the charter's
    /// nodes, connected, and none of them is quarantined or fenced.
    fn may_refresh(&self, key: KeyId, now: TimeMs) -> bool {
        let healthy = |n: &NodeIndex| {
            *n == self.me()
                || (self.peers.is_connected(*n)
                    && self.peers.boot(*n).is_some()
                    && !self.strikes.is_quarantined(*n, now))
        };
        self.unavailable(now).is_none()
            && self.succession_refused(key, &KeyChange::Refresh).is_none()
            && self.roster.nodes.keys().all(healthy)
    }
}

/// Whether the key has shares that can be refreshed at all.
fn refreshable(entry: &KeyEntry) -> bool {
    let current = entry.current.as_ref();
    entry.may_succeed() && current.is_some_and(|c| c.public().threshold >= 2)
}
