//! Sending a request: which signers, with which presignature, and what happens when time passes.

use super::Gateway;
use super::event::{Effect, Metric, Misbehaviour};
use super::flight::{Asked, Attempt, Flight, Stage};
use super::leases::StockId;
use super::list;
use super::misbehaved;
use super::outcome::{Failure, KeyEntry, Outcome, PendingRequest};
use super::sets::RETRY_MS as SET_RETRY_MS;
use super::verdicts::denied;
use quoin_api::Frame;
use quoin_api::frame::{LeaseGrant, LeaseRequest, RequestFrame, SigningHint, Unavailable};
use quoin_core::{NodeIndex, TimeMs};
use std::collections::BTreeSet;
use std::sync::Arc;

/// How often a node is asked for its keys, at most.
const KEYS_INTERVAL_MS: u64 = 500;
/// How often every node is asked for its keys although nobody waits for one.
const KEYS_REFRESH_MS: u64 = 60_000;
/// How often the lender of a new epoch is asked while there is plenty of the epoch before.
const PROBE_INTERVAL_MS: u64 = 500;
/// How long the caller of a denied payment waits for the denials of the other signers, which say
/// whether its nonce is free again.
const DENIALS_MS: u64 = 500;
/// How often a request is sent again while nodes lack each other's heartbeats: as often as they beat.
const HEARTBEAT_RETRY_MS: u64 = 500;
/// How many leases' worth of ids a stock may have.
const STOCK_LEASES_MAX: usize = 2;

impl Gateway {
    /// Moves a flight on as far as it goes now.
    pub(super) fn step(
        &mut self,
        now: TimeMs,
        flight: &mut Flight,
        effects: &mut Vec<Effect>,
    ) -> Option<Outcome> {
        if flight.ask.is_ceremony() {
            return self.start_ceremony(now, flight, effects);
        }
        if flight.ask.is_change() {
            return self.start_change(now, flight, effects);
        }
        let key = flight.ask.key.and_then(|key| self.keys.get(&key)).cloned();
        let Some(key) = key else {
            if !matches!(flight.stage, Stage::AwaitingKey(_)) {
                flight.stage = Stage::AwaitingKey(now);
            }
            self.ask_keys(now, effects);
            return None;
        };
        if let Some(outcome) = self.not_in_use(&key) {
            return Some(outcome);
        }
        if key.public.threshold == 1 {
            self.ask_holder(now, flight, &key, effects)
        } else {
            self.ask_signers(now, flight, &key, effects)
        }
    }

    /// A local key is served by the one node that has it, without presignatures.
    fn ask_holder(
        &mut self,
        now: TimeMs,
        flight: &mut Flight,
        key: &Arc<KeyEntry>,
        effects: &mut Vec<Effect>,
    ) -> Option<Outcome> {
        let holder = key.public.public_shares.first().map(|s| s.node);
        match holder {
            Some(node) if self.nodes.is_up(node) => {
                self.send(now, flight, Asked::Holder(node), effects);
            }
            _ => flight.stage = Stage::AwaitingNodes,
        }
        None
    }

    fn ask_signers(
        &mut self,
        now: TimeMs,
        flight: &mut Flight,
        key: &Arc<KeyEntry>,
        effects: &mut Vec<Effect>,
    ) -> Option<Outcome> {
        let (mut waits_for, mut blocked) = (None, false);
        for entry in self.epochs_of(key.public.key) {
            if flight.refused_epochs.contains(&entry.public.epoch) {
                continue;
            }
            let Some(stock) = self.stock_of(now, &entry, Some(flight)) else {
                continue;
            };
            if stock.2.iter().any(|n| flight.unavailable.contains_key(&n)) {
                blocked = true;
                continue;
            }
            let taken = self.leases.take(now, &stock);
            self.refill(now, &stock, effects);
            if let Some(id) = taken {
                let (_, epoch, set) = stock;
                self.send(now, flight, Asked::Signers(set, id, epoch), effects);
                return None;
            }
            waits_for.get_or_insert(stock);
        }
        match waits_for {
            Some(stock) => {
                let waits = matches!(&flight.stage, Stage::AwaitingLease(s, _) if *s == stock);
                if !waits {
                    flight.stage = Stage::AwaitingLease(stock, now);
                }
                None
            }
            None if blocked => Some(unavailable(flight)),
            None if !flight.bad_sets.is_empty() => Some(not_combined(flight)),
            None => {
                // Who refused an epoch may have caught up by the time enough nodes are there.
                flight.refused_epochs.clear();
                flight.stage = Stage::AwaitingNodes;
                None
            }
        }
    }

    pub(super) fn send(
        &mut self,
        now: TimeMs,
        flight: &mut Flight,
        asked: Asked,
        effects: &mut Vec<Effect>,
    ) {
        let signing = match &asked {
            Asked::Signers(set, presignature, epoch) => Some(SigningHint {
                set: set.clone(),
                presignature: *presignature,
                epoch: Some(*epoch),
            }),
            Asked::Holder(_) | Asked::Everyone(_) => None,
        };
        let attempt = Attempt::new(self.next_attempt(), now, asked);
        let frame = Frame::Request(RequestFrame {
            attempt: attempt.number,
            stamp: flight.ask.stamp.clone(),
            payload: flight.ask.payload.clone(),
            approvals: flight.approvals.values().cloned().collect(),
            signing,
        });
        for node in attempt.members() {
            effects.push(Effect::Send(node, frame.clone()));
        }
        flight.rerun = false;
        flight.asked.extend(attempt.members());
        flight.stage = Stage::Sent(attempt);
    }

    /// Asks the lowest-index signer for ids when the stock is low.
    fn refill(&mut self, now: TimeMs, stock: &StockId, effects: &mut Vec<Effect>) {
        let (key, epoch, set) = stock;
        let low = self.config.lease_low;
        // While the same signers still lend much of the epoch before, one id now and then shows
        // whether they have moved on; more would only be piled up and thrown away.
        let before = self.older.get(key).map(|o| o.entry.public.epoch);
        let plenty = before
            .filter(|b| b < epoch)
            .is_some_and(|before| self.leases.len(&(*key, before, set.clone())) >= low);
        let (want, retry_ms) = if plenty {
            (1, PROBE_INTERVAL_MS)
        } else {
            (self.config.lease_want, self.config.lease_retry_ms)
        };
        if self.leases.should_ask(now, stock, low, retry_ms) {
            let request = Frame::LeaseRequest(LeaseRequest {
                key: *key,
                set: set.clone(),
                want,
                urgent: false,
            });
            effects.push(Effect::Send(set.lowest(), request));
        }
    }

    /// Fills the stocks of the sets that would be asked next, before anybody waits for them.
    pub(super) fn prefetch(&mut self, now: TimeMs, effects: &mut Vec<Effect>) {
        for stock in self.next_stocks(now) {
            self.refill(now, &stock, effects);
        }
    }

    /// For each threshold key, the stocks that requests would draw on now: that of the newest epoch
    /// and, while it is empty, that of the epoch before.
    pub(super) fn next_stocks(&self, now: TimeMs) -> Vec<StockId> {
        let keys = self.keys_in_use().filter(|k| k.public.threshold > 1);
        keys.take(self.config.prefetched_keys_max)
            .flat_map(|key| {
                let stocks = self.stocks_of(now, key.public.key);
                let filled = stocks.iter().position(|s| self.leases.len(s) > 0);
                let upto = filled.map_or(stocks.len(), |place| place + 1);
                stocks.into_iter().take(upto)
            })
            .collect()
    }

    pub(super) fn on_grant(
        &mut self,
        now: TimeMs,
        from: NodeIndex,
        grant: LeaseGrant,
        effects: &mut Vec<Effect>,
    ) {
        let Some(newest) = self.keys.get(&grant.key).map(|k| k.public.epoch) else {
            misbehaved(from, Misbehaviour::BadLease, effects);
            return;
        };
        if grant.set.lowest() != from {
            misbehaved(from, Misbehaviour::BadLease, effects);
            return;
        }
        if grant.epoch > newest {
            // Its certificate is on its way; the ids are good once it is here.
            self.ask_keys(now, effects);
        } else if self.entry_of(grant.key, grant.epoch).is_none() {
            return;
        }
        let stock = (grant.key, grant.epoch, grant.set);
        let max = usize::from(self.config.lease_want) * STOCK_LEASES_MAX;
        self.leases.add(now, &stock, grant.ids, max);
        let waits = |f: &Flight| matches!(&f.stage, Stage::AwaitingLease(s, _) if s.0 == stock.0);
        for id in self.flights_by_arrival(waits) {
            if self.leases.len(&stock) == 0 {
                break;
            }
            self.launch(now, id, effects);
        }
    }

    pub(super) fn ask_keys(&mut self, now: TimeMs, effects: &mut Vec<Effect>) {
        self.ask_keys_every(now, KEYS_INTERVAL_MS, effects);
    }

    /// Learns of keys that were made through another gateway.
    pub(super) fn refresh_keys(&mut self, now: TimeMs, effects: &mut Vec<Effect>) {
        self.ask_keys_every(now, KEYS_REFRESH_MS, effects);
    }

    pub(super) fn ask_keys_every(
        &mut self,
        now: TimeMs,
        interval_ms: u64,
        effects: &mut Vec<Effect>,
    ) {
        let up: Vec<NodeIndex> = self.nodes.up().collect();
        for node in up {
            if self.nodes.should_ask_keys(now, node, interval_ms) {
                effects.push(Effect::Send(node, Frame::KeysRequest));
            }
        }
    }

    /// What the passing of time means for a flight.
    pub(super) fn check_time(
        &mut self,
        now: TimeMs,
        flight: &mut Flight,
        effects: &mut Vec<Effect>,
    ) -> Option<Outcome> {
        if let Some((since, _)) = &flight.denial {
            let over = now.since(*since) >= DENIALS_MS || now >= flight.deadline;
            return if over { denied(flight) } else { None };
        }
        if now >= flight.deadline {
            return Some(self.missed_deadline(flight));
        }
        let timeout_ms = self.config.attempt_timeout_ms;
        match &flight.stage {
            Stage::AwaitingKey(since) if now.since(*since) >= timeout_ms => {
                let message = "no node knows this key";
                Some(Outcome::Failed(Failure::caller("stamp.key", message)))
            }
            // A set that is short of presignatures is waited for: others would cost the nodes as
            // much, and filling them would leave even less for this one.
            Stage::AwaitingLease(stock, since)
                if now.since(*since) >= timeout_ms
                    && !self.leases.is_fed(now, stock, timeout_ms) =>
            {
                flight.avoided.insert(stock.2.lowest());
                self.step(now, flight, effects)
            }
            Stage::AwaitingLease(stock, _) => {
                let stock = stock.clone();
                self.refill(now, &stock, effects);
                None
            }
            Stage::Sent(attempt) => {
                let patient = matches!(attempt.asked, Asked::Everyone(_));
                if patient || now.since(attempt.sent) < timeout_ms {
                    return None;
                }
                let silent = attempt.silent();
                for node in &silent {
                    effects.push(Effect::Metric(Metric::TimedOut(*node)));
                    self.nodes.suspect(*node, now.plus(self.config.suspect_ms));
                }
                self.replace_attempt(now, flight, &silent, effects)
            }
            Stage::AwaitingNodes | Stage::Starting => self.step(now, flight, effects),
            Stage::AwaitingSet(since) if now.since(*since) >= SET_RETRY_MS => {
                self.step(now, flight, effects)
            }
            Stage::AwaitingHeartbeats(since) if now.since(*since) >= HEARTBEAT_RETRY_MS => {
                self.step(now, flight, effects)
            }
            Stage::AwaitingKey(_) | Stage::AwaitingSet(_) | Stage::AwaitingHeartbeats(_) => None,
        }
    }

    /// Gives up the attempt under way, whose presignature is burnt, and asks others.
    pub(super) fn replace_attempt(
        &mut self,
        now: TimeMs,
        flight: &mut Flight,
        blamed: &[NodeIndex],
        effects: &mut Vec<Effect>,
    ) -> Option<Outcome> {
        if flight.denial.is_some() {
            return denied(flight);
        }
        flight.avoided.extend(blamed.iter().copied());
        if let Some(pending) = pending_of(flight) {
            return Some(pending);
        }
        flight.stage = Stage::Starting;
        self.step(now, flight, effects)
    }

    fn missed_deadline(&self, flight: &Flight) -> Outcome {
        if let Some(pending) = pending_of(flight) {
            return pending;
        }
        if flight.ask.is_change() && flight.attempt().is_some() {
            return self.change_outcome(flight);
        }
        let down: Vec<NodeIndex> = self.nodes.down().collect();
        let mut nodes: BTreeSet<NodeIndex> = flight.avoided.clone();
        nodes.extend(&down);
        let (field, message) = match &flight.stage {
            Stage::Sent(attempt) => {
                nodes.extend(attempt.silent());
                ("nodes", "did not answer in time")
            }
            Stage::AwaitingLease((.., set), _) => {
                nodes.extend(set.iter());
                ("presignature", "had no presignature ready in time")
            }
            Stage::AwaitingSet(_) => ("signers", "had no signer set in force in time"),
            _ => ("nodes", "are not connected or did not answer"),
        };
        let nodes: Vec<NodeIndex> = nodes.into_iter().collect();
        let message = format!("nodes {} {message}", list(&nodes));
        Outcome::Failed(Failure::peer(field, message, nodes))
    }
}

/// What to tell when some asked nodes said that obligations are unmet.
pub(super) fn pending_of(flight: &Flight) -> Option<Outcome> {
    let attempt = flight.attempt()?;
    let (_, first) = attempt.pending.first_key_value()?;
    let mut unmet: Vec<String> = Vec::new();
    let mut rules = Vec::new();
    for reply in attempt.pending.values() {
        if reply.intent_hash != first.intent_hash {
            let nodes: Vec<NodeIndex> = attempt.pending.keys().copied().collect();
            let message = format!("nodes {} read the request differently", list(&nodes));
            return Some(Outcome::Failed(Failure::peer("intent", message, nodes)));
        }
        for text in &reply.unmet {
            if !unmet.contains(text) {
                unmet.push(text.clone());
            }
        }
        for rule in &reply.rules {
            if !rules.contains(rule) {
                rules.push(rule.clone());
            }
        }
    }
    Some(Outcome::Pending(Box::new(PendingRequest {
        request_id: flight.ask.id,
        intent_hash: first.intent_hash,
        rules,
        unmet,
        stamp: flight.ask.stamp.clone(),
        payload: flight.ask.payload.clone(),
    })))
}

/// No set is left whose answers have not failed to combine.
pub(super) fn not_combined(flight: &Flight) -> Outcome {
    let nodes: BTreeSet<NodeIndex> = flight.bad_sets.iter().flat_map(|s| s.iter()).collect();
    let nodes: Vec<NodeIndex> = nodes.into_iter().collect();
    let message = format!(
        "the answers of nodes {} do not make a valid signature",
        list(&nodes)
    );
    Outcome::Failed(Failure::peer("signature", message, nodes))
}

/// Why a node cannot, as the end of a sentence about it.
pub(super) const fn why_unavailable(why: Unavailable) -> &'static str {
    match why {
        Unavailable::PresignatureGone => "no longer has the presignatures that it lent",
        Unavailable::NoLease => "lacks fresh heartbeats of its peers",
        Unavailable::ClockSkew => "has a clock that differs from its peers'",
        Unavailable::UnknownKey => "does not know the key",
        Unavailable::CharterBehind => "has an older charter than the stamp demands",
        Unavailable::StorageFailed => "has a failed disk",
        Unavailable::Overloaded => "has too many requests in flight",
        Unavailable::KeySuspended => "has suspended the key",
        Unavailable::KeyDeactivated => "has retired the key",
        Unavailable::KeyCompromised => "has marked the key as compromised",
        Unavailable::KeyDestroyed => "has destroyed the key",
        Unavailable::OtherSignerSet => "serves another signer set, or none yet",
    }
}

/// No set is left without a node that cannot sign now.
pub(super) fn unavailable(flight: &Flight) -> Outcome {
    let texts: Vec<String> = flight
        .unavailable
        .iter()
        .map(|(node, why)| format!("node {node} {}", why_unavailable(*why)))
        .collect();
    let nodes = flight.unavailable.keys().copied().collect();
    Outcome::Failed(Failure::peer("nodes", texts.join("; "), nodes))
}
