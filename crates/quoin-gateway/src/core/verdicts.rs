//! Replies of nodes: answers, denials and everything else that a node may say to a request.

use super::event::{Effect, Metric, Misbehaviour};
use super::flight::{Asked, Flight, Stage};
use super::outcome::{Failure, Outcome, RefusedRequest, SignedRequest};
use super::ports::CombineFailure;
use super::signing::{not_combined, pending_of, unavailable};
use super::{Gateway, list, misbehaved};
use quoin_api::Frame;
use quoin_api::frame::{FinishedFrame, Reply, ReplyFrame, Unavailable};
use quoin_api::statements::{Answer, Denial, FinishedSignature};
use quoin_core::{
    Class, NodeIndex, Payload, PayloadHash, RequestId, ShareEpoch, Signed, Statement, TimeMs, cbor,
};

/// The largest encoding of a finished signature that is read.
const FINISHED_BYTES_MAX: usize = 256;
/// For how long after its arrival a request waits for nodes to hear each other: six heartbeats.
const HEARTBEATS_MS: u64 = 3_000;

impl Gateway {
    pub(super) fn on_reply(
        &mut self,
        now: TimeMs,
        from: NodeIndex,
        frame: ReplyFrame,
        effects: &mut Vec<Effect>,
    ) {
        self.nodes.answered(from);
        let id = frame.request_id;
        if self.flights.contains_key(&id) {
            self.move_on(now, id, effects, |gateway, flight, effects| {
                gateway.judge_reply(now, from, flight, frame, effects)
            });
        } else if let Reply::Denied(bytes) = frame.reply {
            self.deny_parked(from, id, bytes, effects);
        }
    }

    fn judge_reply(
        &mut self,
        now: TimeMs,
        from: NodeIndex,
        flight: &mut Flight,
        frame: ReplyFrame,
        effects: &mut Vec<Effect>,
    ) -> Option<Outcome> {
        if flight.ask.is_change() {
            return self.on_change_reply(from, flight, frame, effects);
        }
        let decides = matches!(frame.reply, Reply::Denied(_) | Reply::AlreadySigned(_));
        if flight.denial.is_some() && !decides {
            // It is refused; what this node says instead only shows that not all have denied it.
            let asked = flight.attempt()?;
            let counts = asked.number == frame.attempt && asked.silent().contains(&from);
            return if counts { denied(flight) } else { None };
        }
        // A denial or a finished signature holds whichever attempt it answers.
        let reply = match frame.reply {
            Reply::Denied(bytes) => return self.on_denied(now, from, flight, bytes, effects),
            Reply::AlreadySigned(bytes) => {
                return self.on_already(now, from, flight, &bytes, effects);
            }
            reply => reply,
        };
        let attempt = flight.attempt()?;
        let expected = attempt.number == frame.attempt && attempt.silent().contains(&from);
        if !expected {
            return None;
        }
        match reply {
            Reply::Answer(bytes) => self.on_answer(now, from, flight, bytes, effects),
            Reply::Opening(bytes) => self.on_opening(now, from, flight, bytes, effects),
            Reply::OpeningsRefused(whose) => {
                self.on_openings_refused(now, from, flight, whose, effects)
            }
            Reply::Pending(pending) => {
                flight.attempt_mut()?.pending.insert(from, pending);
                self.complete(now, flight, effects)
            }
            Reply::Conflict(hash) => Some(Outcome::Conflict(hash)),
            Reply::Rejected(refusal) => Some(Outcome::Failed(Failure {
                class: Class::Caller,
                field: refusal.field,
                message: refusal.message,
                nodes: vec![from],
            })),
            Reply::Unavailable(why) => self.on_unavailable(now, from, flight, why, effects),
            Reply::CeremonyDone(bytes) => self.on_ceremony_done(now, from, flight, bytes, effects),
            // It says that the node is at work; the deadline goes on.
            Reply::CeremonyStarted(_) => None,
            Reply::ChangeDone(_) | Reply::Denied(_) | Reply::AlreadySigned(_) => None,
        }
    }

    /// Ends the attempt once all who were asked have replied.
    pub(super) fn complete(
        &mut self,
        now: TimeMs,
        flight: &mut Flight,
        effects: &mut Vec<Effect>,
    ) -> Option<Outcome> {
        let attempt = flight.attempt()?;
        if !attempt.silent().is_empty() {
            return None;
        }
        if let Some(pending) = pending_of(flight) {
            return Some(pending);
        }
        if flight.attempt()?.openings.is_first_round() {
            return self.show_openings(now, flight, effects);
        }
        self.combine(now, flight, effects)
    }

    fn on_answer(
        &mut self,
        now: TimeMs,
        from: NodeIndex,
        flight: &mut Flight,
        bytes: Vec<u8>,
        effects: &mut Vec<Effect>,
    ) -> Option<Outcome> {
        match self.check_answer(from, flight, &bytes) {
            Ok(answer) => {
                let attempt = flight.attempt_mut()?;
                attempt.answers.insert(from, (bytes, answer));
                self.complete(now, flight, effects)
            }
            Err(how) => self.on_misbehaviour(now, from, flight, how, effects),
        }
    }

    /// Checks that the answer is `from`'s own, and about exactly what it was asked.
    fn check_answer(
        &self,
        from: NodeIndex,
        flight: &Flight,
        bytes: &[u8],
    ) -> Result<Answer, Misbehaviour> {
        let answer: Answer = self.statement_of(from, bytes)?;
        let attempt = flight.attempt().ok_or(Misbehaviour::WrongSubject)?;
        let asked = match &attempt.asked {
            Asked::Signers(set, presignature, _) => {
                answer.set.as_ref() == Some(set) && answer.presignature == Some(*presignature)
            }
            Asked::Holder(node) => *node == from,
            Asked::Everyone(_) => false,
        };
        let ours = answer.cluster == self.charters.view().cluster
            && answer.boot.node == from
            && answer.request_id == flight.ask.id
            && Some(answer.key) == flight.ask.key;
        // Who answers for a treasury key before all have opened has not bound anything.
        let in_turn = attempt.openings.are_shown() == self.signs_in_two_rounds(flight);
        if asked && ours && in_turn {
            Ok(answer)
        } else {
            Err(Misbehaviour::WrongSubject)
        }
    }

    /// Reads a statement that must be signed by `from`.
    pub(super) fn statement_of<T: Statement + Clone>(
        &self,
        from: NodeIndex,
        bytes: &[u8],
    ) -> Result<T, Misbehaviour> {
        let credential = self.charters.view().nodes.get(&from);
        let credential = credential.ok_or(Misbehaviour::ForgedStatement)?;
        let signed = Signed::<T>::from_bytes(bytes).map_err(|_| Misbehaviour::ForgedStatement)?;
        let value = signed.verify(credential);
        Ok(value.map_err(|_| Misbehaviour::ForgedStatement)?.clone())
    }

    fn combine(
        &mut self,
        now: TimeMs,
        flight: &mut Flight,
        effects: &mut Vec<Effect>,
    ) -> Option<Outcome> {
        let attempt = flight.attempt()?;
        // Partial signatures are of the shares of one epoch, and combine under its record.
        let key = match &attempt.asked {
            Asked::Signers(.., epoch) => self.entry_of(flight.ask.key?, *epoch)?,
            Asked::Holder(_) | Asked::Everyone(_) => self.keys.get(&flight.ask.key?)?.clone(),
        };
        let answers: Vec<(NodeIndex, Answer)> = attempt
            .answers
            .iter()
            .map(|(node, (_, answer))| (*node, answer.clone()))
            .collect();
        let agreed = answers
            .iter()
            .zip(answers.iter().skip(1))
            .all(|((_, a), (_, b))| a.view == b.view);
        let result = if agreed {
            let (public, subject) = (&key.public, flight.ask.subject());
            if attempt.openings.are_shown() {
                let openings = attempt.openings.by_signer();
                self.combiner
                    .finish_treasury(public, &subject, &openings, &answers)
            } else {
                self.combiner.finish(public, &subject, &answers)
            }
        } else {
            Err(CombineFailure {
                culprits: Vec::new(),
                message: "the signers' views differ".to_owned(),
            })
        };
        match result {
            Ok(finished) => {
                let receipt = attempt.answers.values().map(|(bytes, _)| bytes.clone());
                let receipt = receipt.collect();
                Some(self.signed(flight, finished, receipt, effects))
            }
            Err(failure) => self.on_not_combined(now, flight, &failure, effects),
        }
    }

    /// Tells all nodes of the finished signature, so that each counts it.
    fn signed(
        &mut self,
        flight: &Flight,
        finished: FinishedSignature,
        receipt: Vec<Vec<u8>>,
        effects: &mut Vec<Effect>,
    ) -> Outcome {
        let frame = Frame::Finished(FinishedFrame {
            stamp: flight.ask.stamp.clone(),
            payload: flight.ask.payload.clone(),
            signature: cbor::encode(&finished),
        });
        self.post(&frame, None, effects);
        let transaction = self.combiner.assemble(&flight.ask.content, &finished);
        Outcome::Signed(Box::new(SignedRequest {
            finished,
            receipt,
            transaction,
        }))
    }

    pub(super) fn on_not_combined(
        &mut self,
        now: TimeMs,
        flight: &mut Flight,
        failure: &CombineFailure,
        effects: &mut Vec<Effect>,
    ) -> Option<Outcome> {
        if failure.culprits.is_empty() {
            effects.push(Effect::Metric(Metric::NotCombined));
        }
        for node in &failure.culprits {
            misbehaved(*node, Misbehaviour::BadPartial, effects);
            self.nodes.suspect(*node, now.plus(self.config.suspect_ms));
        }
        flight.faults += 1;
        match flight.attempt().map(|a| a.asked.clone())? {
            Asked::Signers(set, ..) => {
                flight.bad_sets.insert(set);
            }
            Asked::Holder(node) => {
                let message = format!("node {node}: {failure}");
                let failure = Failure::peer("signature", message, vec![node]);
                return Some(Outcome::Failed(failure));
            }
            Asked::Everyone(_) => return None,
        }
        if flight.faults >= self.config.bad_sets_max {
            return Some(not_combined(flight));
        }
        self.replace_attempt(now, flight, &failure.culprits, effects)
    }

    /// A node that misbehaves is as good as silent, except that nobody waits for it.
    pub(super) fn on_misbehaviour(
        &mut self,
        now: TimeMs,
        from: NodeIndex,
        flight: &mut Flight,
        how: Misbehaviour,
        effects: &mut Vec<Effect>,
    ) -> Option<Outcome> {
        misbehaved(from, how, effects);
        self.nodes.suspect(from, now.plus(self.config.suspect_ms));
        if !flight.needs(from) {
            return None;
        }
        flight.faults += 1;
        if flight.faults >= self.config.bad_sets_max {
            flight.avoided.insert(from);
            let nodes: Vec<NodeIndex> = flight.avoided.iter().copied().collect();
            let message = format!("nodes {} answered wrongly", list(&nodes));
            return Some(Outcome::Failed(Failure::peer("nodes", message, nodes)));
        }
        self.replace_attempt(now, flight, &[from], effects)
    }

    fn on_denied(
        &mut self,
        now: TimeMs,
        from: NodeIndex,
        flight: &mut Flight,
        bytes: Vec<u8>,
        effects: &mut Vec<Effect>,
    ) -> Option<Outcome> {
        match self.check_denial(from, flight.ask.id, flight.ask.payload_hash, &bytes) {
            Ok(denial) => {
                self.post(&Frame::Tombstone(bytes.clone()), Some(from), effects);
                flight.denied.insert(from);
                let first = refused_request(from, denial, bytes);
                flight.denial.get_or_insert((now, first));
                // One denial ends every request. Whether a nonce is free again hangs on all who were
                // asked, who mostly say the same within moments: those are waited for.
                let numbered = matches!(flight.ask.content, Payload::EvmTransaction(_));
                if numbered && flight.awaits_denials() {
                    return None;
                }
                denied(flight)
            }
            Err(how) => self.on_misbehaviour(now, from, flight, how, effects),
        }
    }

    /// A node's denial of a flight's request.
    pub(super) fn denial_of(
        &self,
        from: NodeIndex,
        flight: &Flight,
        bytes: Vec<u8>,
    ) -> Result<Box<RefusedRequest>, Misbehaviour> {
        let (id, payload) = (flight.ask.id, flight.ask.payload_hash);
        let denial = self.check_denial(from, id, payload, &bytes)?;
        Ok(refused_request(from, denial, bytes))
    }

    /// A denial may come after others have said that obligations are unmet.
    fn deny_parked(
        &mut self,
        from: NodeIndex,
        id: RequestId,
        bytes: Vec<u8>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(hash) = self.parked.get(&id).map(|p| p.ask.payload_hash) else {
            return;
        };
        match self.check_denial(from, id, hash, &bytes) {
            Ok(denial) => {
                self.post(&Frame::Tombstone(bytes.clone()), Some(from), effects);
                self.parked.remove(&id);
                self.settled.keep(id, hash, refused(from, denial, bytes));
            }
            Err(how) => misbehaved(from, how, effects),
        }
    }

    fn check_denial(
        &self,
        from: NodeIndex,
        id: RequestId,
        payload: PayloadHash,
        bytes: &[u8],
    ) -> Result<Denial, Misbehaviour> {
        let denial: Denial = self.statement_of(from, bytes)?;
        let ours = denial.cluster == self.charters.view().cluster
            && denial.boot.node == from
            && denial.request_id == id
            && denial.payload_hash == payload;
        if ours {
            Ok(denial)
        } else {
            Err(Misbehaviour::WrongSubject)
        }
    }

    fn on_already(
        &mut self,
        now: TimeMs,
        from: NodeIndex,
        flight: &mut Flight,
        bytes: &[u8],
        effects: &mut Vec<Effect>,
    ) -> Option<Outcome> {
        let key = self.keys.get(&flight.ask.key?)?.clone();
        let finished = cbor::decode::<FinishedSignature>(bytes, FINISHED_BYTES_MAX).ok();
        let valid = finished.filter(|finished| {
            let combiner = &self.combiner;
            finished.request_id == flight.ask.id
                && finished.key == key.public.key
                && combiner
                    .verify_finished(&key.public, &flight.ask.subject(), finished)
                    .is_ok()
        });
        match valid {
            // The receipt went to whoever asked first.
            Some(finished) => Some(self.signed(flight, finished, Vec::new(), effects)),
            None => self.on_misbehaviour(now, from, flight, Misbehaviour::BadFinished, effects),
        }
    }

    /// Whether a node's refusal is about the epoch of the shares, and the request can go on with
    /// another one. Each epoch is given up once, so this ends.
    fn refuses_epoch(&mut self, flight: &Flight, epoch: ShareEpoch, why: Unavailable) -> bool {
        let Some(key) = flight.ask.key else {
            return false;
        };
        let newest = self.keys.get(&key).map(|k| k.public.epoch);
        let others = self.epochs_of(key).into_iter();
        let mut others = others.filter(|e| !flight.refused_epochs.contains(&e.public.epoch));
        if !others.any(|e| e.public.epoch != epoch) || flight.refused_epochs.contains(&epoch) {
            return false;
        }
        match why {
            // What was lent of the epoch before is no longer honoured: none of it is.
            Unavailable::PresignatureGone | Unavailable::UnknownKey if newest > Some(epoch) => {
                self.leases.drop_epoch(key, epoch);
                true
            }
            // A signer that does not have the new epoch yet; its presignatures stay good.
            Unavailable::UnknownKey => true,
            _ => false,
        }
    }

    fn on_unavailable(
        &mut self,
        now: TimeMs,
        from: NodeIndex,
        flight: &mut Flight,
        why: Unavailable,
        effects: &mut Vec<Effect>,
    ) -> Option<Outcome> {
        let asked = flight.attempt().map(|a| a.asked.clone())?;
        if let (Unavailable::OtherSignerSet, Asked::Signers(set, ..)) = (why, &asked) {
            return self.on_other_set(now, from, flight, set, effects);
        }
        if let Asked::Signers(_, _, epoch) = &asked
            && self.refuses_epoch(flight, *epoch, why)
        {
            flight.refused_epochs.insert(*epoch);
            self.ask_keys(now, effects);
            return self.replace_attempt(now, flight, &[], effects);
        }
        match (why, &asked) {
            (Unavailable::PresignatureGone, Asked::Signers(set, presignature, epoch)) => {
                let batch = presignature.batch;
                flight.lost.0 += 1;
                // The second loss of one batch: the signers have dropped all of it.
                if flight.lost.1.replace(batch) == Some(batch)
                    && let Some(key) = flight.ask.key
                {
                    self.leases.drop_batch(&(key, *epoch, set.clone()), batch);
                }
                if flight.lost.0 <= self.config.presignature_retries_max {
                    return self.replace_attempt(now, flight, &[], effects);
                }
            }
            (Unavailable::CharterBehind, _) => {
                let charter = Frame::Charter(self.charters.bytes().to_vec());
                effects.push(Effect::Send(from, charter));
            }
            (Unavailable::StorageFailed, _) => {
                self.nodes.suspect(from, now.plus(self.config.suspect_ms));
            }
            _ => {}
        }
        let first = flight.unavailable.is_empty();
        flight.unavailable.insert(from, why);
        if first && matches!(asked, Asked::Signers(..)) {
            return self.replace_attempt(now, flight, &[from], effects);
        }
        if waits_for_heartbeats(now, flight) {
            flight.unavailable.clear();
            flight.avoided.clear();
            flight.stage = Stage::AwaitingHeartbeats(now);
            return None;
        }
        Some(unavailable(flight))
    }
}

/// Whether nodes lack each other's heartbeats and nothing else: as a rule one has just started, and
/// hears the others in a moment.
fn waits_for_heartbeats(now: TimeMs, flight: &Flight) -> bool {
    let mut said = flight.unavailable.values();
    now.since(flight.began) < HEARTBEATS_MS && said.all(|why| *why == Unavailable::NoLease)
}

/// Ends a flight that a node has denied, with whether all have who were asked.
pub(super) fn denied(flight: &mut Flight) -> Option<Outcome> {
    let (_, mut refused) = flight.denial.take()?;
    refused.by_all = flight.is_denied_by_all();
    Some(Outcome::Refused(refused))
}

fn refused(node: NodeIndex, denial: Denial, bytes: Vec<u8>) -> Outcome {
    Outcome::Refused(refused_request(node, denial, bytes))
}

fn refused_request(node: NodeIndex, denial: Denial, bytes: Vec<u8>) -> Box<RefusedRequest> {
    Box::new(RefusedRequest {
        request_id: denial.request_id,
        rule: denial.rule,
        field: denial.field,
        message: denial.message,
        suggestion: denial.suggestion,
        node,
        denial: bytes,
        by_all: false,
    })
}
