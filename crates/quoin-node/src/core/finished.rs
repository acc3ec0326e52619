//! Finished signatures and tombstones: what a node learns of requests from the others.

use super::config::OUTCOME_MS;
use super::record::Finished;
use super::requests::key_facts;
use super::{Alarm, Effect, Node, Record, Turn};
use quoin_api::frame::{FinishedFrame, Opaque};
use quoin_api::statements::{Denial, FinishedSignature};
use quoin_chain::Decoded;
use quoin_core::{Payload, RequestId, Signed, Stamp, TimeMs, cbor};
use quoin_policy::{KeyFacts, Reservation};
use quoin_protocol::combine::{self, CombinedSignature};

/// The largest encoded finished signature.
const FINISHED_BYTES_MAX: usize = 512;

impl Node {
    /// Verifies a finished signature, counts it, and keeps it as the one answer to its request.
    pub(super) fn on_finished(&mut self, turn: &mut Turn<'_>, frame: &FinishedFrame) {
        let Ok(admitted) = self.admit(&frame.stamp, &frame.payload) else {
            return;
        };
        let Ok(finished) = cbor::decode::<FinishedSignature>(&frame.signature, FINISHED_BYTES_MAX)
        else {
            return;
        };
        let stamp = admitted.stamp();
        let request_id = stamp.request_id;
        let known = self.requests.get(&request_id);
        let settled = known.is_some_and(|s| s.finished.is_some());
        let entry = stamp.key.and_then(|k| self.keys.get(&k));
        let Some((public, state)) = entry.and_then(|e| e.public().map(|p| (p, e.state))) else {
            return;
        };
        let belongs = finished.request_id == request_id
            && Some(finished.key) == stamp.key
            && finished.scheme == public.scheme;
        // An id that stands for something else here is not settled by a signature over this.
        let other = known.is_some_and(|s| s.binding.is_some_and(|b| b != stamp.binding()));
        if settled || !belongs || other {
            return;
        }
        let Ok(decoded) = quoin_chain::decode(&admitted.payload, &stamp.account, public.scheme)
        else {
            return;
        };
        let made = CombinedSignature {
            signature: finished.signature,
            recovery_id: finished.recovery_id,
        };
        let Ok(child) = combine::derive(public, &stamp.account.path) else {
            return;
        };
        if combine::verify_combined(public, &child.tweak, decoded.digest(), &made).is_err() {
            return;
        }
        // The same signature under another id is no second one, and is not counted as one.
        let content = (public.key, stamp.account.path.clone(), stamp.payload_hash);
        if !known.is_some_and(|s| s.decided) && self.counted.contains_key(&content) {
            return;
        }
        let facts = key_facts(public, &stamp.account.path, state);
        let counted = self.charged(&decoded, stamp, &facts, turn.now);
        if known.is_none() && self.is_old_news(&decoded, stamp, counted.as_ref(), turn.now) {
            return;
        }
        // What was released counts no longer; a signature that appears all the same counts again.
        let decided = known.is_some_and(|s| s.decided && !s.released);
        if known.is_some_and(|s| s.denial.is_some()) {
            turn.effects
                .push(Effect::Alarm(Alarm::SignedDespiteDenial(request_id)));
        }
        let reservation = match decided {
            true => None,
            false => self.count_finished(counted),
        };
        let payload_hash = stamp.payload_hash;
        let closes = self.list_signature(&decoded, stamp, turn.now);
        self.counted.insert(content, stamp.not_after);
        let state = self.bind(stamp);
        state.finished = Some(frame.signature.clone());
        let record = Finished {
            stamp: Opaque(frame.stamp.clone()),
            payload_hash,
            signature: Opaque(frame.signature.clone()),
            reservation,
            closes,
        };
        self.persist(turn, Record::Finished(Box::new(record)));
    }

    /// What a signature that this node did not decide counts against.
    ///
    /// It was made before its stamp lapsed, so it counts from then at the latest: charged at the
    /// time of its arrival, an old one that is shown again would fill one window after the other.
    fn charged(
        &self,
        decoded: &Decoded,
        stamp: &Stamp,
        facts: &KeyFacts,
        now: TimeMs,
    ) -> Option<Reservation> {
        let (at, facts) = (now.min(stamp.not_after), Some(facts));
        // An amount that overflows was never permitted by an honest node; the signature exists all
        // the same, and what can be counted of it is nothing.
        self.constitution
            .finished_reservation(decoded, stamp, facts, at, &self.facts)
            .ok()
    }

    /// Whether a signature would change nothing here: its request lapsed so long ago that outcomes
    /// are forgotten, it charges nothing any more, and nothing of it is to be listed. Whoever has
    /// it can show it for ever, and each time would cost a record.
    fn is_old_news(
        &self,
        decoded: &Decoded,
        stamp: &Stamp,
        counted: Option<&Reservation>,
        now: TimeMs,
    ) -> bool {
        now >= stamp.not_after.plus(OUTCOME_MS)
            && counted.is_none_or(|r| self.ledger.is_spent(&self.constitution, r, now))
            && !self.would_list(decoded, stamp, now)
    }

    fn count_finished(&mut self, counted: Option<Reservation>) -> Option<Opaque> {
        // One payload of a slot executes once, whatever request ids its signature has.
        let new = |r: &Reservation| !r.slot.as_ref().is_some_and(|t| self.ledger.has_taken(t));
        let counted = counted.filter(new);
        let counted = counted.filter(|r| self.ledger.finished(r).is_ok());
        counted.map(|r| Opaque(cbor::encode(&r)))
    }

    /// Keeps another node's denial; with enough of them the request is dead and what it reserved
    /// is free again.
    pub(super) fn on_tombstone(&mut self, turn: &mut Turn<'_>, bytes: &[u8]) {
        let Ok(signed) = Signed::<Denial>::from_bytes(bytes) else {
            return;
        };
        let from = signed.unverified().boot.node;
        let Some(credential) = self.roster.nodes.get(&from) else {
            return;
        };
        let Ok(denial) = signed.verify(credential) else {
            return;
        };
        let request_id = denial.request_id;
        if denial.cluster != self.cluster || from == self.me() {
            return;
        }
        // Tombstones of requests that this node has never seen would fill its memory for nothing.
        let Some(state) = self.requests.get_mut(&request_id) else {
            return;
        };
        if !state.tombstones.insert(from) {
            return;
        }
        self.persist(turn, Record::Tombstone(Opaque(bytes.to_vec())));
        self.release_if_dead(turn, request_id);
    }

    /// Frees a reservation once so many nodes refuse for ever that no t can sign: at least
    /// n - t + 1 of them honest, so n - t + 1 + f_tol in all. Time alone never frees anything.
    ///
    /// What this node may have answered is never freed. A strict budget holds against t - 1
    /// malicious nodes, and their tombstones are worth nothing: with one of them a signature can
    /// exist although n - t + 1 nodes swear that they will not sign (decision 0007).
    pub(super) fn release_if_dead(&mut self, turn: &mut Turn<'_>, request_id: RequestId) {
        let charter = self.constitution.charter();
        let needed = charter.nodes.len() + 1 + usize::from(charter.f_tol)
            - usize::from(charter.threshold).min(charter.nodes.len());
        let Some(state) = self.requests.get_mut(&request_id) else {
            return;
        };
        let free = state.decided && !state.answered && !state.released;
        if !free || state.tombstones.len() < needed {
            return;
        }
        state.released = true;
        self.ledger.release(request_id);
        self.persist(turn, Record::Released(request_id));
    }

    /// A payload that was journaled, read again.
    pub(super) fn read_payload(bytes: &[u8]) -> Option<Payload> {
        cbor::decode(bytes, super::RECORD_BYTES_MAX).ok()
    }
}

/// A finished signature that was journaled, read again.
pub(super) fn read_signature(bytes: &[u8]) -> Option<FinishedSignature> {
    cbor::decode(bytes, FINISHED_BYTES_MAX).ok()
}
