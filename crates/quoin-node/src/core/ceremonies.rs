//! Key ceremonies: judged like any request, run by all n nodes, in two phases.
//!
//! First every node stores its share with the key's public record. Only once that is durable does
//! it sign the record: this endorsement is its acknowledgement, and n of them are the certificate
//! with which the key comes into use. So a certificate proves n durable shares; and as a node
//! stores one record for each key id and endorses no other, a key id never has two certificates.
//! A node that waits reminds the others, and each of them hands on every endorsement that it has.

use super::config::{EARLY_MESSAGES_MAX, SESSION_MS_MAX};
use super::record::KeyRecord;
use super::{Continuation, Effect, Job, JobId, JobResult, KeyEntry, Node, Peer, Record, Turn};
use quoin_api::frame::{
    ENDORSEMENTS_MAX, KeysFrame, Opaque, PreparedFrame, Reply, ReplyFrame, SessionFrame,
};
use quoin_api::{Frame, SessionId};
use quoin_core::cbor;
use quoin_core::hash::tagged;
use quoin_core::payload::CreateKey;
use quoin_core::statement::Endorsement;
use quoin_core::{
    Boot, CeremonyId, Certificate, ClusterId, CredentialId, CustodyMethod, KeyId, KeyName,
    NodeIndex, RequestId, Statement, TimeMs, tags,
};
use quoin_protocol::combine::{KeyPublic, verify_certificate};
use quoin_protocol::dkg::{DkgParams, Generated};
use quoin_protocol::{Advance, Inbox, KeyShare, Outbox, Round, RoundMessage};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The rounds that a ceremony may have; what names another one is not kept.
const ROUNDS: std::ops::RangeInclusive<u8> = 1..=4;
/// The longest message that is kept: 15 nodes need under 4 KiB, later kinds of ceremonies more.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Of all early messages, how many one peer may have, so that it cannot keep the others' out.
const EARLY_PER_PEER_MAX: usize = 64;

struct Ceremony {
    /// The name of the key to be made, which no other request may take meanwhile.
    name: KeyName,
    /// The job under way. What any other job gives is of an earlier run under this id.
    job: Option<JobId>,
    waiting: Option<Box<dyn Round<Generated>>>,
    inbox: BTreeMap<(u8, NodeIndex), RoundMessage>,
    started: TimeMs,
}

/// The ceremonies under way, and the keys that wait for acknowledgements.
#[derive(Default)]
pub(super) struct Ceremonies {
    running: BTreeMap<CeremonyId, Ceremony>,
    /// What was permitted and is to be made.
    permitted: BTreeMap<RequestId, (CreateKey, CustodyMethod)>,
    /// Messages of ceremonies that this node has not judged yet.
    early: Vec<(TimeMs, CeremonyId, NodeIndex, RoundMessage)>,
    /// Who asked, and under which attempt.
    askers: BTreeMap<CeremonyId, BTreeMap<Peer, u64>>,
    /// Keys that this node has endorsed, its share being durable, and that lack others'.
    prepared: BTreeSet<KeyId>,
    reminded: Option<TimeMs>,
}

#[cfg(test)]
impl Ceremonies {
    /// How many messages are kept for ceremonies that this node has not judged yet.
    pub(super) fn early_count(&self) -> usize {
        self.early.len()
    }
}

/// The key that a request makes: a function of the cluster and the request, so that a retry makes
/// the same key and no two requests can make one key.
pub(super) fn key_id(cluster: ClusterId, request: RequestId) -> KeyId {
    let hash = tagged(
        tags::DKG_CTX,
        &[b"key id", cluster.as_bytes(), request.as_bytes()],
    );
    let mut id = [0u8; 16];
    id.copy_from_slice(hash.split_at(16).0);
    KeyId(id)
}

impl KeyEntry {
    /// A key whose share is stored, with a certificate that nobody has signed yet.
    pub(super) fn pending(share: KeyShare) -> Self {
        Self {
            certificate: Certificate::unsigned(share.public.clone()),
            share: Arc::new(share),
            active: false,
        }
    }

    fn is_endorsed_by(&self, credential: CredentialId) -> bool {
        let mut endorsements = self.certificate.endorsements().iter();
        endorsements.any(|e| e.credential == credential)
    }
}

impl Node {
    pub(super) fn list_keys(&self) -> KeysFrame {
        let active = self.keys.values().filter(|k| k.active);
        let certificates = active.map(|k| Opaque(k.certificate.to_bytes())).collect();
        KeysFrame { certificates }
    }

    /// Remembers who is to be told how the ceremony ends.
    pub(super) fn ceremony_asked(&mut self, request: RequestId, peer: Peer, attempt: u64) {
        self.ceremonies
            .askers
            .entry(CeremonyId(request.0))
            .or_default()
            .insert(peer, attempt);
    }

    pub(super) fn ceremony_permitted(
        &mut self,
        request: RequestId,
        create: CreateKey,
        custody: CustodyMethod,
    ) {
        // The first permit is the one whose record the ceremony waits for.
        let permit = self.ceremonies.permitted.entry(request);
        permit.or_insert((create, custody));
    }

    /// Whether the ceremony of a request is under way, or begins once its decision is durable.
    pub(super) fn is_ceremony_running(&self, request: RequestId) -> bool {
        self.ceremonies.running.contains_key(&CeremonyId(request.0))
            || self.ceremonies.permitted.contains_key(&request)
    }

    /// Whether a key has the name, or may come to have it: stored, being made, or permitted.
    pub(super) fn name_is_taken(&self, name: &KeyName) -> bool {
        let stored = self.keys.values().map(|k| &k.share.public.name);
        let running = self.ceremonies.running.values().map(|c| &c.name);
        let permitted = self.ceremonies.permitted.values().map(|(c, _)| &c.name);
        let mut names = stored.chain(running).chain(permitted);
        names.any(|taken| taken == name)
    }

    /// Starts a ceremony whose decision is durable.
    pub(super) fn begin_ceremony(&mut self, turn: &mut Turn<'_>, request: RequestId) {
        let Some((create, custody)) = self.ceremonies.permitted.remove(&request) else {
            return;
        };
        let (ceremony, key) = (CeremonyId(request.0), key_id(self.cluster, request));
        // A key id that this node has stored a record for is never made again.
        if self.ceremonies.running.contains_key(&ceremony) || self.keys.contains_key(&key) {
            return;
        }
        let Some(boots) = self.all_boots() else {
            return;
        };
        let params = DkgParams {
            cluster: self.cluster,
            charter: self.constitution.charter().number,
            ceremony,
            key,
            name: create.name.clone(),
            scheme: create.scheme,
            purpose: create.purpose,
            threshold: match custody {
                CustodyMethod::Mpc => self.constitution.charter().threshold,
                // Every node holds the whole of a local key.
                CustodyMethod::Local => 1,
            },
            boots,
        };
        let job = self.next_job();
        let state = Ceremony {
            name: create.name,
            job: Some(job),
            waiting: None,
            inbox: BTreeMap::new(),
            started: turn.now,
        };
        self.ceremonies.running.insert(ceremony, state);
        let work = Job::StartCeremony(Box::new(params), Arc::clone(&self.roster));
        turn.effects.push(Effect::Compute(job, work));
        let (now, later) = std::mem::take(&mut self.ceremonies.early)
            .into_iter()
            .partition(|(_, id, ..)| *id == ceremony);
        self.ceremonies.early = later;
        for (_, id, from, message) in Vec::from_iter::<Vec<_>>(now) {
            self.on_ceremony_message(turn, from, id, message);
        }
    }

    /// The boots of all nodes in order; `None` while one has not been heard of.
    pub(super) fn all_boots(&self) -> Option<Vec<Boot>> {
        let boot = |n: &NodeIndex| {
            if *n == self.me() {
                Some(self.boot)
            } else {
                self.peers.boot(*n)
            }
        };
        self.roster.nodes.keys().map(boot).collect()
    }

    pub(super) fn on_ceremony_message(
        &mut self,
        turn: &mut Turn<'_>,
        from: NodeIndex,
        id: CeremonyId,
        message: RoundMessage,
    ) {
        let bytes = message
            .broadcast
            .len()
            .saturating_add(message.private.len());
        if !ROUNDS.contains(&message.round) || bytes > MESSAGE_BYTES_MAX {
            return;
        }
        if let Some(ceremony) = self.ceremonies.running.get_mut(&id) {
            ceremony
                .inbox
                .entry((message.round, from))
                .or_insert(message);
            self.advance_ceremony(turn, id);
            return;
        }
        let early = &mut self.ceremonies.early;
        let of_peer = early.iter().filter(|(_, _, by, _)| *by == from).count();
        if early.len() < EARLY_MESSAGES_MAX && of_peer < EARLY_PER_PEER_MAX {
            early.push((turn.now, id, from, message));
        }
    }

    fn advance_ceremony(&mut self, turn: &mut Turn<'_>, id: CeremonyId) {
        let Some(ceremony) = self.ceremonies.running.get_mut(&id) else {
            return;
        };
        let Some(round) = ceremony.waiting.take() else {
            return;
        };
        let (awaited, number) = (round.awaits(), round.number());
        if !awaited
            .iter()
            .all(|n| ceremony.inbox.contains_key(&(number, *n)))
        {
            ceremony.waiting = Some(round);
            return;
        }
        let inbox: Inbox = awaited
            .iter()
            .filter_map(|n| ceremony.inbox.remove(&(number, *n)).map(|m| (*n, m)))
            .collect();
        let job = self.next_job();
        if let Some(ceremony) = self.ceremonies.running.get_mut(&id) {
            ceremony.job = Some(job);
        }
        turn.effects
            .push(Effect::Compute(job, Job::FinishCeremony(round, inbox)));
    }

    pub(super) fn on_ceremony_computed(
        &mut self,
        turn: &mut Turn<'_>,
        job: JobId,
        result: JobResult,
    ) {
        let mut running = self.ceremonies.running.iter_mut();
        let Some((id, ceremony)) = running.find(|(_, c)| c.job == Some(job)) else {
            return;
        };
        let id = *id;
        ceremony.job = None;
        match result {
            JobResult::CeremonyStarted(Ok((round, outbox)))
            | JobResult::CeremonyAdvanced(Ok(Advance::Next(round, outbox))) => {
                self.next_ceremony_round(turn, id, round, outbox);
            }
            JobResult::CeremonyAdvanced(Ok(Advance::Done(generated))) => {
                self.ceremonies.running.remove(&id);
                self.store_key(turn, generated);
            }
            JobResult::CeremonyStarted(Err(abort)) | JobResult::CeremonyAdvanced(Err(abort)) => {
                let session = SessionId::Ceremony(id);
                let written = self.record_faults(turn, session, &abort);
                self.ceremonies.running.remove(&id);
                for node in self.peers.connected_nodes() {
                    let frame = Frame::SessionAborted(session);
                    match written {
                        Some(t) => self.after(t, Continuation::Send(Peer::Node(node), frame)),
                        None => self.send(turn, Peer::Node(node), frame),
                    }
                }
            }
            JobResult::BatchStarted(_) | JobResult::BatchAdvanced(_) => {}
        }
    }

    fn next_ceremony_round(
        &mut self,
        turn: &mut Turn<'_>,
        id: CeremonyId,
        round: Box<dyn Round<Generated>>,
        outbox: Outbox,
    ) {
        let Some(ceremony) = self.ceremonies.running.get_mut(&id) else {
            return;
        };
        ceremony.waiting = Some(round);
        for (to, message) in outbox {
            let frame = Frame::Session(SessionFrame {
                session: SessionId::Ceremony(id),
                header: None,
                message: cbor::encode(&message),
            });
            self.send(turn, Peer::Node(to), frame);
        }
        self.advance_ceremony(turn, id);
    }

    /// Stores the share with the key's record; endorses it once that is durable.
    fn store_key(&mut self, turn: &mut Turn<'_>, generated: Generated) {
        let public = &generated.share.public;
        let key = public.key;
        // A node endorses what it has stored, so this is where it holds to one record for each id.
        if self.keys.contains_key(&key) || public.charter != self.constitution.number() {
            return;
        }
        let record = KeyRecord {
            key,
            public: Opaque(cbor::encode(public)),
            boot: self.boot,
        };
        let label = share_label(key, public.epoch);
        let secret = generated.share.secret.duplicate_secret();
        self.keys.insert(key, KeyEntry::pending(generated.share));
        let ticket = self.persist_with(turn, Record::KeyPending(record), vec![(label, secret)]);
        self.after(ticket, Continuation::KeyStored(key));
    }

    pub(super) fn key_stored(&mut self, turn: &mut Turn<'_>, key: KeyId) {
        self.endorse(key);
        self.send_prepared(turn, key, None, true);
        self.activate_if_endorsed(turn, key);
    }

    /// Signs the record of a key whose share is durable.
    fn endorse(&mut self, key: KeyId) {
        if let Some(entry) = self.keys.get_mut(&key).filter(|e| !e.active) {
            let payload = entry.certificate.payload();
            let own = Endorsement::detached(KeyPublic::TAG, payload, &self.identity);
            entry.certificate.add(own);
            self.ceremonies.prepared.insert(key);
        }
    }

    /// A key's endorsements by the nodes of the charter in force: one for each at most.
    fn endorsements_of<'a>(
        &'a self,
        entry: &'a KeyEntry,
    ) -> impl Iterator<Item = &'a Endorsement> + 'a {
        let mut nodes = BTreeSet::new();
        nodes.extend(self.roster.nodes.values().map(|node| node.id()));
        let all = entry.certificate.endorsements().iter();
        all.filter(move |e| nodes.contains(&e.credential))
    }

    fn send_prepared(&self, turn: &mut Turn<'_>, key: KeyId, to: Option<NodeIndex>, ask: bool) {
        let Some(entry) = self.keys.get(&key) else {
            return;
        };
        let endorsements = self.endorsements_of(entry);
        let frame = Frame::Prepared(PreparedFrame {
            key,
            endorsements: endorsements.map(|e| Opaque(e.to_bytes())).collect(),
            wants_reply: ask,
        });
        match to {
            Some(node) => self.send(turn, Peer::Node(node), frame),
            None => self.send_to_nodes(turn, &frame),
        }
    }

    /// Takes endorsements of a stored key, whoever hands them on: each counts by its signature over
    /// our own record.
    pub(super) fn on_prepared(
        &mut self,
        turn: &mut Turn<'_>,
        from: NodeIndex,
        frame: &PreparedFrame,
    ) {
        let me = self.identity.public().id();
        let Some(entry) = self.keys.get_mut(&frame.key) else {
            return;
        };
        if !entry.active {
            for bytes in frame.endorsements.iter().take(ENDORSEMENTS_MAX) {
                let Ok(endorsement) = Endorsement::from_bytes(&bytes.0) else {
                    continue;
                };
                // Our own is made here and nowhere else, once our share is durable.
                let by = endorsement.credential;
                if by == me || entry.is_endorsed_by(by) {
                    continue;
                }
                let mut nodes = self.roster.nodes.values();
                let payload = entry.certificate.payload();
                if nodes.any(|n| endorsement.verify(KeyPublic::TAG, payload, n).is_ok()) {
                    entry.certificate.add(endorsement);
                }
            }
        }
        let stored = entry.is_endorsed_by(me);
        self.activate_if_endorsed(turn, frame.key);
        if frame.wants_reply && stored {
            self.send_prepared(turn, frame.key, Some(from), false);
        }
    }

    /// Brings a key into use once its certificate is whole and durable.
    fn activate_if_endorsed(&mut self, turn: &mut Turn<'_>, key: KeyId) {
        let Some(entry) = self.keys.get(&key) else {
            return;
        };
        if !self.ceremonies.prepared.contains(&key) {
            return;
        }
        let mut certificate = Certificate::unsigned(entry.share.public.clone());
        for endorsement in self.endorsements_of(entry) {
            certificate.add(endorsement.clone());
        }
        if verify_certificate(&certificate, &self.roster.nodes).is_err() {
            return;
        }
        self.ceremonies.prepared.remove(&key);
        let bytes = Opaque(certificate.to_bytes());
        if let Some(entry) = self.keys.get_mut(&key) {
            entry.certificate = certificate;
        }
        let record = Record::KeyActive {
            key,
            certificate: bytes,
        };
        let ticket = self.persist(turn, record);
        self.after(ticket, Continuation::KeyActivated(key));
    }

    pub(super) fn key_activated(&mut self, turn: &mut Turn<'_>, key: KeyId) {
        let Some(entry) = self.keys.get_mut(&key) else {
            return;
        };
        entry.active = true;
        let ceremony = entry.share.public.ceremony;
        let reply = Reply::CeremonyDone(entry.certificate.to_bytes());
        for (peer, attempt) in self.ceremonies.askers.remove(&ceremony).unwrap_or_default() {
            let request_id = RequestId(ceremony.0);
            let frame = Frame::Reply(ReplyFrame {
                attempt,
                request_id,
                reply: reply.clone(),
            });
            self.send(turn, peer, frame);
        }
        self.fill_pools(turn);
    }

    /// Keys whose shares the journal holds are endorsed again after a restart: the same records.
    pub(super) fn restore_prepared(&mut self) {
        let pending = self.keys.iter().filter(|(_, e)| !e.active);
        let pending: Vec<KeyId> = pending.map(|(key, _)| *key).collect();
        for key in pending {
            self.endorse(key);
        }
    }

    /// Asks again for endorsements that are missing, and hands on those that are known.
    pub(super) fn remind_prepared(&mut self, turn: &mut Turn<'_>) {
        if self
            .ceremonies
            .reminded
            .is_some_and(|at| turn.now.since(at) < 1_000)
        {
            return;
        }
        self.ceremonies.reminded = Some(turn.now);
        let waiting: Vec<KeyId> = self.ceremonies.prepared.iter().copied().collect();
        for key in waiting {
            self.send_prepared(turn, key, None, true);
        }
    }

    pub(super) fn drop_ceremony(&mut self, id: CeremonyId) {
        self.ceremonies.running.remove(&id);
        // A retry has the same id; what was sent for this try would spoil it.
        self.ceremonies.early.retain(|(_, early, ..)| *early != id);
    }

    /// Leaves everything that was permitted under a charter which is no longer in force. Its late
    /// jobs find nothing to enter, and a retry is judged anew.
    pub(super) fn drop_all_ceremonies(&mut self) {
        self.ceremonies.running.clear();
        self.ceremonies.permitted.clear();
        self.ceremonies.early.clear();
    }

    pub(super) fn expire_ceremonies(&mut self, now: TimeMs) {
        let fresh = |at: TimeMs| now.since(at) <= SESSION_MS_MAX;
        self.ceremonies.running.retain(|_, c| fresh(c.started));
        self.ceremonies.early.retain(|(at, ..)| fresh(*at));
    }
}

/// Under which label a share is sealed.
pub(super) fn share_label(key: KeyId, epoch: quoin_core::ShareEpoch) -> String {
    format!("share/{key}/{}", epoch.0)
}
