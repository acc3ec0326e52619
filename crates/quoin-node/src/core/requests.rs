//! Requests: read, judged, reserved, journaled, signed; in this order and no other.
//!
//! What a stranger can send costs a signature check at most and leaves no trace. A denial of an
//! authentic request is a durable tombstone; a permit is one record with decision, reservation and
//! consumed presignature. The partial signature is made after that record is durable.

use super::ceremonies::key_id;
use super::config::OUTCOME_MS;
use super::freezes::Grounds;
use super::handover::birth_failed;
use super::keys::KeyEntry;
use super::record::{Consumed, Decision, Denied, FirstSeen};
use super::{Continuation, Node, Peer, REQUESTS_MAX, Record, Turn};
use quoin_api::Frame;
use quoin_api::frame::{
    Opaque, PendingReply, Refusal, Reply, ReplyFrame, RequestFrame, SigningHint, Unavailable,
};
use quoin_api::statements::{Answer, Denial};
use quoin_chain::Decoded;
use quoin_core::cbor::{self, Version};
use quoin_core::error::Class;
use quoin_core::payload::{CreateKey, PAYLOAD_BYTES_MAX};
use quoin_core::{
    Action, Address, CeremonyId, CharterHash, CustodyMethod, DerivationPath, KeyId, KeyState,
    NodeIndex, Payload, PresignatureId, Purpose, Rejection, RequestBinding, RequestId, RuleId,
    Scheme, Signed, SignerSet, Stamp, TimeMs,
};
use quoin_policy::{
    APPROVALS_MAX, Approval, Conditions, DenialReason, Judgement, KeyFacts, Warrant,
};
use quoin_protocol::Binding;
use quoin_protocol::combine::{KeyPublic, derive};
use quoin_protocol::presign::Presignature;
use std::collections::BTreeSet;

/// The account that key ceremonies are judged for: the cluster itself.
pub const CLUSTER_ACCOUNT: &str = "cluster";

/// What a node knows of a request id.
#[derive(Default)]
pub(super) struct RequestState {
    /// What the id stands for: payload, principal, key, account and method.
    pub(super) binding: Option<RequestBinding>,
    /// When its stamp lapses; some time after that the id is forgotten.
    pub(super) not_after: TimeMs,
    pub(super) first_seen: Option<TimeMs>,
    pub(super) decided: bool,
    /// Whether a partial signature may have left this node: what it reserved is spent then.
    pub(super) answered: bool,
    pub(super) denial: Option<Vec<u8>>,
    pub(super) finished: Option<Vec<u8>>,
    pub(super) tombstones: BTreeSet<NodeIndex>,
    pub(super) released: bool,
}

/// A permitted request that waits for its record.
pub(super) struct PendingSign {
    peer: Peer,
    attempt: u64,
    warrant: Warrant,
    /// `None` for a local key.
    presignature: Option<Presignature>,
    key: KeyId,
    /// Of a treasury key: to what the presignature is bound.
    binding: Option<Binding>,
    /// What held when it was judged.
    grounds: Grounds,
}

impl PendingSign {
    pub(super) const fn grounds(&self) -> Grounds {
        self.grounds
    }

    pub(super) fn into_parts(self) -> (To, RequestId, Warrant, Option<Presignature>) {
        let request_id = self.warrant.request_id();
        let to = To(self.peer, self.attempt);
        (to, request_id, self.warrant, self.presignature)
    }
}

/// Whom a reply goes to, and the attempt that it answers.
pub(super) struct To(pub(super) Peer, pub(super) u64);

/// What one answer says and another does not.
pub(super) struct Partial {
    pub(super) request_id: RequestId,
    pub(super) key: KeyId,
    pub(super) set: Option<SignerSet>,
    pub(super) presignature: Option<PresignatureId>,
    pub(super) view: [u8; 32],
    pub(super) body: Vec<u8>,
    pub(super) charter: CharterHash,
    pub(super) rules: Vec<RuleId>,
}

/// A request whose stamp and payload belong together.
pub(super) struct Admitted {
    pub(super) signed: Signed<Stamp>,
    pub(super) payload: Payload,
}

impl Admitted {
    pub(super) fn stamp(&self) -> &Stamp {
        self.signed.unverified()
    }
}

impl Node {
    pub(super) fn on_request(&mut self, turn: &mut Turn<'_>, peer: Peer, frame: RequestFrame) {
        let attempt = frame.attempt;
        if self.storage_failed {
            // Nothing that waits for the disk will ever leave; this need not wait.
            let id = Signed::<Stamp>::from_bytes(&frame.stamp)
                .map_or(RequestId([0; 16]), |s| s.unverified().request_id);
            let failed = Reply::Unavailable(Unavailable::StorageFailed);
            return self.reply(turn, peer, attempt, id, failed);
        }
        // A principal may be new in a charter that this node does not have yet.
        let read = Signed::<Stamp>::from_bytes(&frame.stamp);
        if let Ok(signed) = &read
            && signed.unverified().cluster == self.cluster
            && signed.unverified().charter_number_floor > self.constitution.number()
        {
            let (id, behind) = (signed.unverified().request_id, Unavailable::CharterBehind);
            return self.reply(turn, peer, attempt, id, Reply::Unavailable(behind));
        }
        let admitted = match self.admit(&frame.stamp, &frame.payload) {
            Ok(admitted) => admitted,
            Err(rejection) => {
                // The id is the stamp's where it can be read at all; zero otherwise.
                let id = read.map_or(RequestId([0; 16]), |s| s.unverified().request_id);
                return self.reply(turn, peer, attempt, id, rejected(rejection));
            }
        };
        let request_id = admitted.stamp().request_id;
        if let Err(reply) = self.consider(turn, &peer, &frame, admitted) {
            self.discard_named(&frame, &reply);
            // A denial, a first sight or a conflict is said only once what it rests on is durable.
            let frame = Frame::Reply(ReplyFrame {
                attempt,
                request_id,
                reply,
            });
            self.send_after_all(turn, peer, frame);
        }
    }

    /// Throws away the presignature of a request that comes to nothing: the gateway will not name
    /// it again, and what nobody uses would fill the pool.
    fn discard_named(&mut self, frame: &RequestFrame, reply: &Reply) {
        let key = Signed::<Stamp>::from_bytes(&frame.stamp)
            .ok()
            .and_then(|s| s.unverified().key);
        let kept = matches!(reply, Reply::Unavailable(why) if *why != Unavailable::OtherSignerSet);
        if let (Some(key), Some(hint), false) = (key, &frame.signing, kept) {
            self.pools.discard(key, &hint.set, &hint.presignature);
        }
    }

    fn reply(
        &mut self,
        turn: &mut Turn<'_>,
        to: Peer,
        attempt: u64,
        request_id: RequestId,
        reply: Reply,
    ) {
        let frame = Frame::Reply(ReplyFrame {
            attempt,
            request_id,
            reply,
        });
        self.send(turn, to, frame);
    }

    /// Reads a stamp and its payload: genuine, for this cluster, and of one hash.
    pub(super) fn admit(&self, stamp: &[u8], payload: &[u8]) -> Result<Admitted, Rejection> {
        let signed = Signed::<Stamp>::from_bytes(stamp)
            .map_err(|e| Rejection::caller("stamp", e.to_string()))?;
        if signed.unverified().cluster != self.cluster {
            return Err(Rejection::caller(
                "stamp.cluster",
                "the stamp is for another cluster",
            ));
        }
        self.constitution.verify_stamp(&signed).map_err(|denial| {
            let field = denial
                .field
                .clone()
                .map_or("stamp".to_owned(), |f| format!("stamp.{f}"));
            Rejection::caller(field, denial.message)
        })?;
        let payload: Payload = cbor::decode(payload, PAYLOAD_BYTES_MAX + 64)
            .map_err(|e| Rejection::caller("payload", e.to_string()))?;
        if payload.hash() != signed.unverified().payload_hash {
            return Err(Rejection::caller(
                "payload",
                "the stamp is for another payload",
            ));
        }
        Ok(Admitted { signed, payload })
    }

    pub(super) fn consider(
        &mut self,
        turn: &mut Turn<'_>,
        peer: &Peer,
        frame: &RequestFrame,
        admitted: Admitted,
    ) -> Result<(), Reply> {
        let stamp = admitted.stamp().clone();
        self.known_outcome(&stamp)?;
        if let Some(outcome) = self.change_outcome(peer, frame.attempt, stamp.request_id) {
            return outcome;
        }
        if stamp.not_after <= turn.now {
            return Err(rejected(Rejection::caller(
                "stamp.not_after",
                "the request has lapsed",
            )));
        }
        if self.requests.len() >= REQUESTS_MAX {
            return Err(Reply::Unavailable(Unavailable::Overloaded));
        }
        match (&admitted.payload, &frame.signing) {
            (Payload::CreateKey(create), _) => {
                let create = create.clone();
                self.consider_ceremony(turn, peer, frame, admitted, create)
            }
            (Payload::ChangeKey(wish), _) => {
                let wish = wish.clone();
                self.consider_key_change(turn, peer, frame, admitted, &wish)
            }
            (Payload::Unfreeze(wish), _) => {
                let wish = wish.clone();
                self.consider_unfreeze(turn, peer, frame, &admitted, wish)
            }
            (Payload::ChangeNode(wish), _) => {
                let wish = *wish;
                self.consider_node_change(turn, peer, frame, admitted, wish)
            }
            (_, hint) => {
                let hint = hint.clone();
                self.consider_signing(turn, peer, frame, admitted, hint.as_ref())
            }
        }
    }

    /// What this node knows of a stamp's request id, which stands for that stamp from now on.
    pub(super) fn bind(&mut self, stamp: &Stamp) -> &mut RequestState {
        let state = self.requests.entry(stamp.request_id).or_default();
        state.binding = Some(stamp.binding());
        state.not_after = stamp.not_after;
        state
    }

    /// Forgets requests whose stamps have lapsed: they cannot be judged again.
    pub(super) fn forget_lapsed(&mut self, now: TimeMs) {
        self.requests
            .retain(|_, state| now < state.not_after.plus(OUTCOME_MS));
        self.counted
            .retain(|_, not_after| now < not_after.plus(OUTCOME_MS));
    }

    /// What was said of this request id before.
    fn known_outcome(&self, stamp: &Stamp) -> Result<(), Reply> {
        let Some(state) = self.requests.get(&stamp.request_id) else {
            return Ok(());
        };
        if state.binding.is_some_and(|known| known != stamp.binding()) {
            return Err(Reply::Conflict(stamp.payload_hash));
        }
        if let Some(finished) = &state.finished {
            return Err(Reply::AlreadySigned(finished.clone()));
        }
        match &state.denial {
            Some(denial) => Err(Reply::Denied(denial.clone())),
            None => Ok(()),
        }
    }

    fn consider_signing(
        &mut self,
        turn: &mut Turn<'_>,
        peer: &Peer,
        frame: &RequestFrame,
        admitted: Admitted,
        hint: Option<&SigningHint>,
    ) -> Result<(), Reply> {
        let stamp = admitted.stamp().clone();
        let entry = stamp.key.and_then(|k| self.keys.get(&k));
        if let Some(why) = entry.and_then(KeyEntry::not_in_use) {
            return Err(Reply::Unavailable(why));
        }
        let serving = entry.and_then(|e| e.serving().map(|epoch| (e, epoch)));
        let unknown = Reply::Unavailable(Unavailable::UnknownKey);
        let (entry, epoch) = serving.ok_or(unknown.clone())?;
        let public = epoch.public();
        let facts = key_facts(public, &stamp.account.path, entry.state);
        let local = public.threshold == 1;
        // Every node has a local key, but one alone serves it, or each would spend its own part.
        let holder = public.public_shares.first().map(|s| s.node);
        if local && holder != Some(self.me()) {
            return Err(unknown);
        }
        method_fits(stamp.custody, local, hint)?;
        if let Some(why) = self.unavailable_for(facts.purpose, turn.now) {
            return Err(Reply::Unavailable(why));
        }
        let decoded = quoin_chain::decode(&admitted.payload, &stamp.account, facts.scheme)
            .map_err(rejected)?;
        if let Some(opening) = self.opening_again(stamp.request_id, hint, turn.now) {
            return Err(opening);
        }
        let pool = hint.map(|h| self.pool_of_hint(facts.id, h, turn.now));
        let pool = pool.transpose()?;
        let warrant = self.judge(turn, frame, &admitted, decoded, Some(&facts))?;
        let presignature = match pool.zip(hint) {
            None => None,
            Some((pool, h)) => {
                let gone = Reply::Unavailable(Unavailable::PresignatureGone);
                Some(self.pools.take(&pool, &h.presignature).ok_or(gone)?)
            }
        };
        let binding = self.binding_to_record(&warrant, presignature.as_ref(), facts.id)?;
        let closes = self.list_signature(warrant.decoded(), &stamp, turn.now);
        let record = self.decision(frame, &stamp, &warrant, hint);
        let record = record.bound_to(binding.clone()).closed_by(closes);
        let ticket = self.persist(turn, record);
        let grounds = self.grounds(&warrant);
        let pending = PendingSign {
            grounds,
            peer: peer.clone(),
            attempt: frame.attempt,
            warrant,
            presignature,
            key: facts.id,
            binding,
        };
        self.after(ticket, Continuation::Sign(Box::new(pending)));
        Ok(())
    }

    fn consider_ceremony(
        &mut self,
        turn: &mut Turn<'_>,
        peer: &Peer,
        frame: &RequestFrame,
        admitted: Admitted,
        create: CreateKey,
    ) -> Result<(), Reply> {
        let stamp = admitted.stamp().clone();
        let id = key_id(self.cluster, stamp.request_id);
        let current = self.keys.get(&id).and_then(|e| e.current.as_ref());
        if let Some(epoch) = current {
            return Err(Reply::CeremonyDone(epoch.certificate.to_bytes()));
        }
        if self.is_spent(id) {
            return Err(birth_failed());
        }
        if self.keys.contains_key(&id) {
            self.ceremony_asked(stamp.request_id, peer.clone(), frame.attempt);
            return Err(Reply::CeremonyStarted(CeremonyId(stamp.request_id.0)));
        }
        if self.is_ceremony_running(stamp.request_id) {
            self.ceremony_asked(stamp.request_id, peer.clone(), frame.attempt);
            return Err(Reply::CeremonyStarted(CeremonyId(stamp.request_id.0)));
        }
        if self.name_is_taken(&create.name) {
            let message = format!("a key named `{}` exists", create.name);
            return Err(rejected(Rejection::caller("payload.name", message)));
        }
        if let Some(why) = self.unavailable(turn.now) {
            return Err(Reply::Unavailable(why));
        }
        if create.scheme == Scheme::Model && !self.config.dangerous_model_scheme {
            let message = "the model scheme exists only in the simulator";
            return Err(rejected(Rejection::caller("payload.scheme", message)));
        }
        if create.purpose == Purpose::Treasury && stamp.custody == CustodyMethod::Local {
            // One machine has nobody whose word binds what it signs, so its name would be a lie.
            let message = "a treasury key is a threshold key: its signers bind each other";
            return Err(rejected(Rejection::caller("payload.purpose", message)));
        }
        if stamp.custody == CustodyMethod::Local && create.scheme != Scheme::Ecdsa {
            let message = "a local key is an ECDSA key";
            return Err(rejected(Rejection::caller("payload.scheme", message)));
        }
        if self.all_boots().is_none() {
            return Err(Reply::Unavailable(Unavailable::NoLease));
        }
        let decoded = quoin_chain::decode(&admitted.payload, &stamp.account, create.scheme)
            .map_err(rejected)?;
        if stamp.account.address.as_str() != CLUSTER_ACCOUNT {
            let message = format!("key ceremonies are for the account `{CLUSTER_ACCOUNT}`");
            return Err(rejected(Rejection::caller(
                "stamp.account.address",
                message,
            )));
        }
        let warrant = self.judge(turn, frame, &admitted, decoded, None)?;
        let record = self.decision(frame, &stamp, &warrant, None);
        self.ceremony_asked(stamp.request_id, peer.clone(), frame.attempt);
        self.ceremony_permitted(stamp.request_id, create, stamp.custody);
        let ticket = self.persist(turn, record);
        self.after(ticket, Continuation::BeginCeremony(stamp.request_id));
        Ok(())
    }

    /// Judges: a warrant, or what to reply.
    pub(super) fn judge(
        &mut self,
        turn: &mut Turn<'_>,
        frame: &RequestFrame,
        admitted: &Admitted,
        decoded: Decoded,
        key: Option<&KeyFacts>,
    ) -> Result<Warrant, Reply> {
        let stamp = admitted.stamp();
        // What is permitted is journaled with all of them, also where no rule asks for any.
        if frame.approvals.len() > APPROVALS_MAX {
            let message = format!("at most {APPROVALS_MAX} approvals are looked at");
            return Err(rejected(Rejection::caller("approvals", message)));
        }
        let approvals: Vec<Signed<Approval>> = frame
            .approvals
            .iter()
            .map(|bytes| Signed::from_bytes(&bytes.0))
            .collect::<Result<_, _>>()
            .map_err(|e| rejected(Rejection::caller("approvals", e.to_string())))?;
        let first_seen = self
            .requests
            .get(&stamp.request_id)
            .and_then(|s| s.first_seen)
            .unwrap_or(turn.now);
        // A delay ends by a clock that others confirm: one that somebody has moved would end all.
        let first_seen = match self.clock_agrees(turn.now) {
            true => first_seen,
            false => turn.now,
        };
        let signers = frame.signing.as_ref().map(|hint| &hint.set);
        let request = quoin_policy::Request {
            decoded,
            stamp,
            key,
            approvals: &approvals,
            first_seen,
            now: turn.now,
            conditions: Conditions {
                freezes: &self.freezes,
                facts: &self.facts,
                notices: &self.notices,
                lease: self.has_lease(turn.now),
                clock: self.has_good_clock(turn.now),
                set: self.sets.standing(signers),
            },
        };
        super::shadow::observe(
            &mut self.proposals,
            &self.constitution,
            &request,
            self.waiting.len(),
        );
        match self.constitution.judge(request, &mut self.ledger) {
            Judgement::Permitted(warrant) => Ok(warrant),
            Judgement::Pending(pending) => {
                self.remember_first_sight(turn, stamp);
                Err(Reply::Pending(PendingReply {
                    intent_hash: pending.intent_hash,
                    rules: pending.rules,
                    unmet: pending.unmet.iter().map(ToString::to_string).collect(),
                }))
            }
            Judgement::Denied(denial) => {
                Err(match self.is_for_now(&denial, stamp.custody, turn.now) {
                    Some(why) => Reply::Unavailable(why),
                    None => self.deny(turn, frame, stamp, denial),
                })
            }
        }
    }

    /// What a denial waits for that is not for good: with a lease and a right clock, or through
    /// another signer set, the same request may be permitted. A tombstone would kill it. No set will
    /// ever have a local key in it.
    fn is_for_now(
        &self,
        denial: &quoin_policy::Denial,
        custody: CustodyMethod,
        now: TimeMs,
    ) -> Option<Unavailable> {
        match denial.reason {
            DenialReason::CorridorOnly => self.unavailable(now),
            DenialReason::WrongSignerSet if custody != CustodyMethod::Local => {
                Some(Unavailable::OtherSignerSet)
            }
            _ => None,
        }
    }

    /// A delay counts from here, so the first sight is journaled.
    fn remember_first_sight(&mut self, turn: &mut Turn<'_>, stamp: &Stamp) {
        let state = self.bind(stamp);
        if state.first_seen.is_some() {
            return;
        }
        state.first_seen = Some(turn.now);
        let record = FirstSeen {
            request_id: stamp.request_id,
            binding: stamp.binding(),
            at: turn.now,
            not_after: stamp.not_after,
        };
        self.persist(turn, Record::FirstSeen(record));
    }

    /// Denies: a mistake of the caller is told and forgotten; a refusal of an authentic request is
    /// a durable tombstone.
    fn deny(
        &mut self,
        turn: &mut Turn<'_>,
        frame: &RequestFrame,
        stamp: &Stamp,
        denial: quoin_policy::Denial,
    ) -> Reply {
        let field = denial.field.clone();
        let decided = self
            .requests
            .get(&stamp.request_id)
            .is_some_and(|s| s.decided);
        if denial.reason.class() == Class::Caller || decided {
            // A request that this node may have signed for already can have no tombstone of its.
            let field = field.unwrap_or_else(|| "request".to_owned());
            return rejected(Rejection::caller(field, denial.message));
        }
        let statement = Denial {
            version: Version,
            cluster: self.cluster,
            boot: self.boot,
            request_id: stamp.request_id,
            payload_hash: stamp.payload_hash,
            charter_hash: self.constitution.hash(),
            rule: denial.rule,
            field,
            message: clipped(denial.message, 1_000),
            suggestion: denial.suggestion.map(|s| clipped(s, 1_500)),
        };
        let bytes = Signed::sign(statement, &self.identity).to_bytes();
        let me = self.boot.node;
        let state = self.bind(stamp);
        state.denial = Some(bytes.clone());
        state.tombstones.insert(me);
        let record = Record::Denied(Denied {
            denial: Opaque(bytes.clone()),
            stamp: Opaque(frame.stamp.clone()),
            payload: Opaque(frame.payload.clone()),
        });
        self.persist(turn, record);
        self.release_if_dead(turn, stamp.request_id);
        Reply::Denied(bytes)
    }

    /// The approvals of a request that are genuine and of this request, one of each credential: no
    /// others can have been relied on, and whoever carries a request must not choose what fills the
    /// journal.
    fn relied_on(&self, frame: &RequestFrame, stamp: &Stamp) -> Vec<Opaque> {
        let mut seen = BTreeSet::new();
        let counts = |bytes: &&Opaque| {
            let Ok(signed) = Signed::<Approval>::from_bytes(&bytes.0) else {
                return false;
            };
            let (said, id) = (signed.unverified(), signed.credential());
            let known = self.constitution.credential(id);
            known.is_some_and(|(principal, credential)| {
                principal.id == said.principal
                    && said.request_id == stamp.request_id
                    && signed.verify(credential).is_ok()
                    && seen.insert((id, said.intent_hash))
            })
        };
        frame.approvals.iter().filter(counts).cloned().collect()
    }

    /// The record of a permit: the whole decision the first time, the consumption alone later.
    pub(super) fn decision(
        &mut self,
        frame: &RequestFrame,
        stamp: &Stamp,
        warrant: &Warrant,
        hint: Option<&SigningHint>,
    ) -> Record {
        let (presignature, set): (_, Option<SignerSet>) =
            (hint.map(|h| h.presignature), hint.map(|h| h.set.clone()));
        let state = self.bind(stamp);
        let decided = std::mem::replace(&mut state.decided, true);
        state.answered |= !matches!(warrant.intent().action, Action::CreateKey { .. });
        if decided {
            return Record::Consumed(Consumed {
                request_id: stamp.request_id,
                presignature,
                set,
                reservation: Opaque(cbor::encode(warrant.reservation())),
                binding: None,
            });
        }
        Record::Decision(Box::new(Decision {
            request_id: stamp.request_id,
            stamp: Opaque(frame.stamp.clone()),
            payload: Opaque(frame.payload.clone()),
            approvals: self.relied_on(frame, stamp),
            charter: self.constitution.hash(),
            rules: warrant.rules().to_vec(),
            reservation: Opaque(cbor::encode(warrant.reservation())),
            presignature,
            set,
            binding: None,
            facts: self.facts_of(warrant),
            closes: None,
        }))
    }

    /// Makes and sends the partial signature; the record of it is durable.
    pub(super) fn answer(&mut self, turn: &mut Turn<'_>, pending: PendingSign) {
        // A presignature signs with the share of its own epoch, which may have a successor by now.
        let key = pending.key;
        let epoch = pending.presignature.as_ref().map(|p| p.header().epoch);
        let Some(share) = self.keys.get(&key).and_then(|e| e.share_of(epoch)) else {
            return;
        };
        // The key may have gone out of use while the record was written: nothing leaves after that.
        if let Some(why) = self.keys.get(&key).and_then(KeyEntry::not_in_use) {
            let (to, request_id, ..) = pending.into_parts();
            return self.reply_to(turn, to, request_id, Reply::Unavailable(why));
        }
        if self.is_overtaken(&pending.warrant, key, pending.grounds) {
            let (to, request_id, ..) = pending.into_parts();
            let gone = Reply::Unavailable(Unavailable::PresignatureGone);
            return self.reply_to(turn, to, request_id, gone);
        }
        if let Some(binding) = pending.binding.clone() {
            return self.open(turn, pending, &binding, &share);
        }
        let (to, request_id, warrant, presignature) = pending.into_parts();
        let (rules, charter) = (warrant.rules().to_vec(), warrant.charter());
        let made = match presignature {
            Some(presignature) => quoin_protocol::sign(warrant, presignature, &share).map(|s| {
                (
                    Some(s.set),
                    Some(s.presignature),
                    s.partial.view,
                    s.partial.body,
                )
            }),
            None => quoin_protocol::sign_local(warrant, &share)
                .map(|signature| (None, None, [0; 32], signature.to_vec())),
        };
        let Ok((set, presignature, view, body)) = made else {
            let gone = Reply::Unavailable(Unavailable::PresignatureGone);
            return self.reply_to(turn, to, request_id, gone);
        };
        let answer = self.state_answer(Partial {
            request_id,
            key,
            set,
            presignature,
            view,
            body,
            charter,
            rules,
        });
        self.reply_to(turn, to, request_id, answer);
    }

    /// A partial signature as this node's statement.
    pub(super) fn state_answer(&self, partial: Partial) -> Reply {
        let answer = Answer {
            version: Version,
            cluster: self.cluster,
            boot: self.boot,
            request_id: partial.request_id,
            key: partial.key,
            set: partial.set,
            presignature: partial.presignature,
            view: partial.view,
            partial: partial.body,
            charter_hash: partial.charter,
            rules: partial.rules,
            head: self.head,
        };
        Reply::Answer(Signed::sign(answer, &self.identity).to_bytes())
    }

    pub(super) fn reply_to(
        &mut self,
        turn: &mut Turn<'_>,
        to: To,
        request_id: RequestId,
        reply: Reply,
    ) {
        self.reply(turn, to.0, to.1, request_id, reply);
    }
}

/// A threshold key signs with a presignature under `mpc`, a local key without one under `local`.
fn method_fits(
    custody: CustodyMethod,
    local: bool,
    hint: Option<&SigningHint>,
) -> Result<(), Reply> {
    let refuse = |field: &'static str, why: &str| Err(rejected(Rejection::caller(field, why)));
    match (custody, local, hint.is_some()) {
        (CustodyMethod::Mpc, false, true) | (CustodyMethod::Local, true, false) => Ok(()),
        (CustodyMethod::Mpc, false, false) => refuse("signing", "no presignature is named"),
        (CustodyMethod::Local, true, true) => {
            refuse("signing", "a local key signs without presignatures")
        }
        (_, true, _) => refuse("stamp.custody", "the key is a local one: stamp `local`"),
        (_, false, _) => refuse("stamp.custody", "the key is a threshold key: stamp `mpc`"),
    }
}

/// What the policy engine is told of a key whose child at `path` a stamp names.
pub(super) fn key_facts(public: &KeyPublic, path: &DerivationPath, state: KeyState) -> KeyFacts {
    // Every node has a local key, and one serves it.
    let holders = match public.threshold {
        1 => 1,
        _ => u8::try_from(public.public_shares.len()).unwrap_or(u8::MAX),
    };
    KeyFacts {
        id: public.key,
        name: public.name.clone(),
        purpose: public.purpose,
        scheme: public.scheme,
        addresses: key_addresses(public, path),
        threshold: public.threshold,
        holders,
        state,
    }
}

/// Every address at which a key's child at `path` is an account: its address on its chains, and on
/// Quoin itself the key's id followed by the path's levels. None where there is no such child.
///
/// # Security
/// These are the child's own addresses only. A stamp that names one account and the path of
/// another is refused, because its account is not among them.
#[must_use]
pub fn key_addresses(public: &KeyPublic, path: &DerivationPath) -> Vec<Address> {
    let shown = derive(public, path).and_then(|child| child.shown_key());
    let Ok(shown) = shown else {
        return Vec::new();
    };
    // An EVM address is the same on every EVM chain, so one chain's will do.
    let on_chains = quoin_chain::addresses(public.scheme, &shown, &[1]).unwrap_or_default();
    let on_quoin = format!("{}{}", public.key, path.suffix());
    let texts = on_chains.into_iter().map(|a| a.address).chain([on_quoin]);
    texts.filter_map(|text| text.parse().ok()).collect()
}

pub(super) fn rejected(rejection: Rejection) -> Reply {
    Reply::Rejected(Refusal {
        field: clipped(rejection.field.into_owned(), 200),
        message: clipped(rejection.message, 1_000),
    })
}

/// Texts of statements are bounded; a cut text still starts with what matters.
fn clipped(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        let mut end = bytes_max;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
    text
}
