//! What has been signed and could still execute, as this node knows it.
//!
//! A request is listed from when this node permits it, because from then on it may be signed, and
//! one that others have signed from when its finished signature is shown. It ends when its deadline
//! has passed, or when feeds say that its slot is used on the chain; nothing else ends it. That a
//! cancel was signed does not: it is listed beside what it cancels, and one of the two executes.
//!
//! The list is made again from the journal at a start. What feeds said is not in there, so what they
//! had closed is listed again until they say the next nonce. Where the payload can no longer be read,
//! or never came here, the journal still says what ends the signature, and the entry has no words.

use super::record::{Decision, Finished};
use super::{Frame, Node, Peer, Turn};
use quoin_api::frame::{OUTSTANDING_MAX, OutstandingFrame};
use quoin_chain::Decoded;
use quoin_core::{KeyId, Payload, Scheme, Signed, Stamp, TimeMs};
use quoin_policy::{Closes, Fact, FactView, Measure, Outstanding, OutstandingSet, Reservation};

/// How often facts may have the whole list gone through.
const SWEEP_MS: u64 = 1_000;
/// The most bytes of one listing, well below what a frame may have.
const LISTED_BYTES_MAX: usize = 8 * 1024 * 1024;
/// What an entry says whose payload this node does not have.
const NO_WORDS: &str = "its payload is not kept on this node";

/// What a node keeps beside the list.
#[derive(Default)]
pub(super) struct OutstandingBook {
    all: OutstandingSet,
    /// A feed has said a nonce since the last time.
    nonces_moved: bool,
    swept: TimeMs,
}

impl Node {
    /// Lists a signature, and returns what ends it; `None` when it is none that could execute.
    pub(super) fn list_signature(
        &mut self,
        decoded: &Decoded,
        stamp: &Stamp,
        at: TimeMs,
    ) -> Option<Closes> {
        let believed = self.facts.view(&self.constitution, decoded.intent(), at);
        let value = believed.value_usd_micro;
        let entry = Outstanding::of(&self.constitution, decoded, stamp, value, at)?;
        let closes = entry.closes;
        self.outstanding.all.insert(entry);
        Some(closes)
    }

    /// Whether a signature that fills no slot could still execute and is not listed yet.
    pub(super) fn would_list(&self, decoded: &Decoded, stamp: &Stamp, now: TimeMs) -> bool {
        let entry = Outstanding::of(&self.constitution, decoded, stamp, None, now);
        entry.is_some_and(|entry| {
            let mut listed = self.outstanding.all.iter();
            entry.slot().is_none()
                && !entry.is_closed(&self.constitution, &self.facts, now)
                && !listed.any(|e| e.request_id == stamp.request_id)
        })
    }

    /// A decision of this node, from its journal.
    pub(super) fn relist_decision(&mut self, record: &Decision, reservation: &Reservation) {
        let Some(closes) = record.closes else {
            return;
        };
        let Ok(signed) = Signed::<Stamp>::from_bytes(&record.stamp.0) else {
            return;
        };
        let stamp = signed.unverified();
        let believed = record.facts.as_ref();
        let believed = believed.and_then(|f| serde_json::from_slice::<FactView>(&f.0).ok());
        let value = believed.and_then(|view| view.value_usd_micro);
        let value = value.or_else(|| worth(reservation));
        let payload = Self::read_payload(&record.payload.0);
        let decoded = payload.and_then(|payload| self.reread(&payload, stamp));
        let entry = decoded.and_then(|decoded| {
            Outstanding::of(&self.constitution, &decoded, stamp, value, reservation.at)
        });
        let entry = entry.unwrap_or_else(|| without_words(stamp, closes, value, reservation.at));
        self.outstanding.all.insert(entry);
    }

    /// A signature that others made, from this node's journal, which never has its payload.
    pub(super) fn relist_finished(&mut self, record: &Finished, stamp: &Stamp) {
        if let Some(closes) = record.closes {
            let at = self.last_time;
            let entry = without_words(stamp, closes, None, at);
            self.outstanding.all.insert(entry);
        }
    }

    fn reread(&self, payload: &Payload, stamp: &Stamp) -> Option<Decoded> {
        let scheme = self.scheme_of(stamp.key?)?;
        quoin_chain::decode(payload, &stamp.account, scheme).ok()
    }

    fn scheme_of(&self, key: KeyId) -> Option<Scheme> {
        self.keys.get(&key)?.public().map(|public| public.scheme)
    }

    /// Notes that feeds have said a nonce of an account that something is outstanding of.
    pub(super) fn nonces_said(&mut self, facts: &[Fact]) {
        self.outstanding.nonces_moved |= facts.iter().any(|fact| match fact {
            Fact::Nonce { chain, account, .. } => {
                let mut waiting = self.outstanding.all.in_slots_of(chain, account);
                waiting.next().is_some()
            }
            _ => false,
        });
    }

    /// Lets go of what can no longer execute: soon after feeds have said so, because what they say
    /// is believed for a while only.
    pub(super) fn tend_outstanding(&mut self, now: TimeMs) {
        let due_ms = match self.outstanding.nonces_moved {
            true => SWEEP_MS,
            false => super::config::SWEEP_MS,
        };
        if now.since(self.outstanding.swept) >= due_ms {
            self.sweep_outstanding(now);
        }
    }

    fn sweep_outstanding(&mut self, now: TimeMs) {
        self.outstanding.nonces_moved = false;
        self.outstanding.swept = now;
        let all = &mut self.outstanding.all;
        drop(all.sweep(&self.constitution, &self.facts, now));
    }

    /// Tells a gateway what is outstanding, the newest first, once all of it is durable.
    pub(super) fn on_outstanding_request(&mut self, turn: &mut Turn<'_>, from: Peer) {
        self.sweep_outstanding(turn.now);
        let frame = Frame::Outstanding(self.listed());
        self.send_after_all(turn, from, frame);
    }

    fn listed(&self) -> OutstandingFrame {
        let all = &self.outstanding.all;
        let mut newest: Vec<&Outstanding> = all.iter().collect();
        newest.sort_by_key(|e| std::cmp::Reverse((e.signed_at, e.request_id)));
        let mut bytes = 0usize;
        let texts = newest.into_iter().map_while(|entry| {
            let text = serde_json::to_string(entry).ok()?;
            bytes = bytes.saturating_add(text.len());
            (bytes <= LISTED_BYTES_MAX).then_some(text)
        });
        let entries: Vec<String> = texts.take(OUTSTANDING_MAX).collect();
        OutstandingFrame {
            node: self.me(),
            truncated: entries.len() < all.len() || all.forgotten() > 0,
            entries,
        }
    }
}

/// An entry of which only the stamp is known, and what ends it.
fn without_words(
    stamp: &Stamp,
    closes: Closes,
    value_usd_micro: Option<u64>,
    signed_at: TimeMs,
) -> Outstanding {
    Outstanding {
        request_id: stamp.request_id,
        key: stamp.key,
        account: stamp.account.clone(),
        summary: NO_WORDS.to_owned(),
        closes,
        value_usd_micro,
        signed_at,
    }
}

/// What a request was worth when it was charged to a budget in dollars, if it was.
fn worth(reservation: &Reservation) -> Option<u64> {
    let mut charges = reservation.charges.iter();
    let charge = charges.find(|c| c.measure == Measure::Usd)?;
    u64::try_from(charge.amount.to_i64()?).ok()
}
