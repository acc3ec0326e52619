//! Strikes: durable marks against peers after failed secret-dependent checks.
//!
//! The record is written before anything else leaves the node, the abort included. Strikes come
//! from one's own checks alone: another node's accusation changes nothing, or one liar would ban
//! the honest (construction, section 14.3).

use super::config::{OPEN_TRIES_MAX, QUARANTINE_MS, STRIKE_SPAN_MS, STRIKES_MAX};
use super::record::{FaultRecord, TryRecord};
use super::{Alarm, Effect, Node, Record, Ticket, Turn};
use quoin_api::SessionId;
use quoin_core::{NodeIndex, TimeMs};
use quoin_protocol::{Abort, Class};
use std::collections::BTreeMap;

/// How long a node holds off after a public fault of a peer: one minute, ten, an hour.
const BACK_OFF_MS: [u64; 3] = [60_000, 600_000, 3_600_000];

/// The ledger of faults.
#[derive(Default)]
pub(super) struct Strikes {
    class_one: BTreeMap<NodeIndex, Vec<TimeMs>>,
    public: BTreeMap<NodeIndex, Vec<TimeMs>>,
    open_tries: BTreeMap<SessionId, TryRecord>,
    /// Tries that a crash left open, by the peer that they were about.
    unfinished: BTreeMap<NodeIndex, Vec<TimeMs>>,
    /// How many strikes the operators have pardoned, by peer: the rule counts them no longer.
    pardoned: BTreeMap<NodeIndex, u64>,
}

impl Strikes {
    /// Whether no batch may be made with `peer` now.
    pub(super) fn is_quarantined(&self, peer: NodeIndex, now: TimeMs) -> bool {
        let struck = self.class_one.get(&peer).is_some_and(|times| {
            // Once there were so many within one span, only an operator lifts the quarantine.
            let first_to_last = times.iter().zip(times.iter().skip(STRIKES_MAX - 1));
            let mut crowded = first_to_last.map(|(a, b)| b.since(*a) < STRIKE_SPAN_MS);
            crowded.any(|c| c) || times.iter().any(|at| now.since(*at) < QUARANTINE_MS)
        });
        let backing_off = self.public.get(&peer).is_some_and(|times| {
            let recent = times.iter().filter(|at| now.since(**at) < QUARANTINE_MS);
            let step = recent.count().clamp(1, BACK_OFF_MS.len()) - 1;
            let wait = BACK_OFF_MS.get(step).copied().unwrap_or(QUARANTINE_MS);
            times.last().is_some_and(|at| now.since(*at) < wait)
        });
        let unfinished = self.unfinished.get(&peer).is_some_and(|times| {
            let recent = times.iter().filter(|at| now.since(**at) < STRIKE_SPAN_MS);
            recent.count() >= OPEN_TRIES_MAX
        });
        struck || backing_off || unfinished
    }

    /// Lifts a peer's quarantine: what was written against it stays in the count, and the rule begins
    /// anew.
    pub(super) fn pardon(&mut self, peer: NodeIndex) {
        let strikes = self.class_one.remove(&peer).unwrap_or_default().len() as u64;
        let pardoned = self.pardoned.entry(peer).or_default();
        *pardoned = pardoned.saturating_add(strikes);
        self.public.remove(&peer);
        self.unfinished.remove(&peer);
    }

    /// How many strikes were ever written against a peer.
    pub(super) fn ever(&self, peer: NodeIndex) -> u64 {
        let standing = self
            .class_one
            .get(&peer)
            .map_or(0, |times| times.len() as u64);
        let pardoned = self.pardoned.get(&peer).copied().unwrap_or_default();
        standing.saturating_add(pardoned)
    }

    /// Forgets what was written against an identity that is no longer in the charter; another one
    /// may come at its index.
    pub(super) fn forget(&mut self, peer: NodeIndex) {
        self.class_one.remove(&peer);
        self.public.remove(&peer);
        self.unfinished.remove(&peer);
        self.pardoned.remove(&peer);
    }

    pub(super) fn restore_fault(&mut self, fault: &FaultRecord) {
        let ledger = match fault.fault.class() {
            Class::SecretDependent => &mut self.class_one,
            Class::Public => &mut self.public,
            Class::NotAttributable => return,
        };
        ledger.entry(fault.peer).or_default().push(fault.at);
    }

    pub(super) fn restore_open_try(&mut self, record: &TryRecord) {
        self.open_tries.insert(record.session, record.clone());
    }

    pub(super) fn restore_closed_try(&mut self, session: SessionId) {
        self.open_tries.remove(&session);
    }

    /// Tries that a former boot left open are counted, as PIN tries are that a card was pulled out
    /// of (construction, section 21.10). One alone is no strike: a node that is killed while it
    /// presigns would else ban honest peers.
    pub(super) fn settle_open_tries(&mut self) {
        for (_, record) in std::mem::take(&mut self.open_tries) {
            for peer in record.peers {
                self.unfinished.entry(peer).or_default().push(record.at);
            }
        }
    }
}

impl Node {
    /// Whether a secret-dependent check is under way. A shell that stops on purpose waits for it:
    /// a try that is found open at the next start counts as a strike against honest peers.
    #[must_use]
    pub fn has_open_tries(&self) -> bool {
        !self.strikes.open_tries.is_empty()
    }

    /// Writes down that a secret-dependent check is about to run.
    pub(super) fn open_try(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        peers: Vec<NodeIndex>,
    ) -> Ticket {
        let record = TryRecord {
            session,
            peers,
            at: turn.now,
        };
        self.strikes.restore_open_try(&record);
        self.persist(turn, Record::TryOpen(record))
    }

    /// The check has passed, or its failure has been written down as a fault.
    pub(super) fn close_try(&mut self, turn: &mut Turn<'_>, session: SessionId) {
        if self.strikes.open_tries.contains_key(&session) {
            self.strikes.restore_closed_try(session);
            self.persist(turn, Record::TryClosed(session));
        }
    }

    /// Writes every attributable fault of an abort, and returns what must be durable before
    /// anything about it is sent.
    pub(super) fn record_faults(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        abort: &Abort,
    ) -> Option<Ticket> {
        let mut last = None;
        for (culprit, fault) in &abort.faults {
            let Some(peer) = *culprit else { continue };
            if fault.class() == Class::NotAttributable {
                continue;
            }
            let record = FaultRecord {
                peer,
                fault: *fault,
                session,
                at: turn.now,
            };
            self.strikes.restore_fault(&record);
            if fault.class() == Class::SecretDependent {
                turn.effects
                    .push(Effect::Alarm(Alarm::Strike(peer, *fault)));
            }
            last = Some(self.persist(turn, Record::Fault(record)));
        }
        last
    }
}
