//! Finished signatures and tombstones: what a node learns of requests from the others.

use super::record::Finished;
use super::requests::key_facts;
use super::{Alarm, Effect, Node, Record, Turn};
use quoin_api::frame::{FinishedFrame, Opaque};
use quoin_api::statements::{Denial, FinishedSignature};
use quoin_core::{Payload, RequestId, Signed, cbor};
use quoin_protocol::combine;

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
        let Some(entry) = stamp.key.and_then(|k| self.keys.get(&k)) else {
            return;
        };
        let public = &entry.share.public;
        let belongs = finished.request_id == request_id
            && Some(finished.key) == stamp.key
            && finished.scheme == public.scheme;
        if settled || !belongs {
            return;
        }
        let Ok(decoded) = quoin_chain::decode(&admitted.payload, &stamp.account, public.scheme)
        else {
            return;
        };
        if combine::verify(public, decoded.digest(), &finished.signature).is_err() {
            return;
        }
        let facts = key_facts(public);
        let decided = known.is_some_and(|s| s.decided);
        if known.is_some_and(|s| s.denial.is_some()) {
            turn.effects
                .push(Effect::Alarm(Alarm::SignedDespiteDenial(request_id)));
        }
        let reservation = match decided {
            true => None,
            false => {
                let counted =
                    self.constitution
                        .reservation(&decoded, stamp, Some(&facts), turn.now);
                // An amount that overflows was never permitted by an honest node; the signature
                // exists all the same, and what can be counted of it is nothing.
                counted.ok().filter(|r| self.ledger.finished(r).is_ok())
            }
        };
        let reservation = reservation.map(|r| Opaque(cbor::encode(&r)));
        let payload_hash = stamp.payload_hash;
        let state = self.requests.entry(request_id).or_default();
        state.payload_hash = Some(payload_hash);
        state.finished = Some(frame.signature.clone());
        let record = Finished {
            stamp: Opaque(frame.stamp.clone()),
            payload_hash,
            signature: Opaque(frame.signature.clone()),
            reservation,
        };
        self.persist(turn, Record::Finished(Box::new(record)));
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
        if state.payload_hash != Some(denial.payload_hash) || !state.tombstones.insert(from) {
            return;
        }
        self.persist(turn, Record::Tombstone(Opaque(bytes.to_vec())));
        self.release_if_dead(turn, request_id);
    }

    /// Frees a reservation once so many nodes refuse for ever that no t can sign: at least
    /// n - t + 1 of them honest, so n - t + 1 + f_tol in all. Time alone never frees anything.
    pub(super) fn release_if_dead(&mut self, turn: &mut Turn<'_>, request_id: RequestId) {
        let charter = self.constitution.charter();
        let needed = charter.nodes.len() + 1 + usize::from(charter.f_tol)
            - usize::from(charter.threshold).min(charter.nodes.len());
        let Some(state) = self.requests.get_mut(&request_id) else {
            return;
        };
        if state.released || !state.decided || state.tombstones.len() < needed {
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
