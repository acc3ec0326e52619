//! Key ceremonies: judged like any request, run by all n nodes, in two phases.
//!
//! A node's share is durable before its "prepared" acknowledgement leaves; the key is in use only
//! once all n have acknowledged the same transcript. A node that crashes in between reminds the
//! others until it has their acknowledgements.

use super::config::{EARLY_MESSAGES_MAX, SESSION_MS_MAX};
use super::record::KeyRecord;
use super::{Continuation, Effect, Job, JobId, JobResult, KeyEntry, Node, Peer, Record, Turn};
use quoin_api::frame::{KeysFrame, Opaque, PreparedFrame, Reply, ReplyFrame, SessionFrame};
use quoin_api::statements::Prepared;
use quoin_api::{Frame, SessionId};
use quoin_core::cbor::{self, Version};
use quoin_core::hash::tagged;
use quoin_core::payload::CreateKey;
use quoin_core::{
    Boot, CeremonyId, ClusterId, CustodyMethod, KeyId, NodeIndex, RequestId, Signed, TimeMs, tags,
};
use quoin_protocol::dkg::{DkgParams, Generated};
use quoin_protocol::{Advance, Inbox, Outbox, Round, RoundMessage};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

struct Ceremony {
    waiting: Option<Box<dyn Round<Generated>>>,
    inbox: BTreeMap<(u8, NodeIndex), RoundMessage>,
    started: TimeMs,
}

/// The ceremonies under way, and the keys that wait for acknowledgements.
#[derive(Default)]
pub(super) struct Ceremonies {
    running: BTreeMap<CeremonyId, Ceremony>,
    jobs: BTreeMap<JobId, CeremonyId>,
    /// What was permitted and is to be made.
    permitted: BTreeMap<RequestId, (CreateKey, CustodyMethod)>,
    /// Messages of ceremonies that this node has not judged yet.
    early: Vec<(TimeMs, CeremonyId, NodeIndex, RoundMessage)>,
    /// Who asked, and under which attempt.
    askers: BTreeMap<CeremonyId, BTreeMap<Peer, u64>>,
    /// Who has acknowledged a key that is not in use yet.
    prepared: BTreeMap<KeyId, BTreeSet<NodeIndex>>,
    reminded: Option<TimeMs>,
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
        self.ceremonies.permitted.insert(request, (create, custody));
    }

    pub(super) fn is_ceremony_running(&self, request: RequestId) -> bool {
        self.ceremonies.running.contains_key(&CeremonyId(request.0))
    }

    /// Starts a ceremony whose decision is durable.
    pub(super) fn begin_ceremony(&mut self, turn: &mut Turn<'_>, request: RequestId) {
        let Some((create, custody)) = self.ceremonies.permitted.remove(&request) else {
            return;
        };
        let ceremony = CeremonyId(request.0);
        let Some(boots) = self.all_boots() else {
            return;
        };
        let params = DkgParams {
            cluster: self.cluster,
            charter: self.constitution.charter().number,
            ceremony,
            key: key_id(self.cluster, request),
            name: create.name,
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
        self.ceremonies.jobs.insert(job, ceremony);
        let state = Ceremony {
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
        if let Some(ceremony) = self.ceremonies.running.get_mut(&id) {
            ceremony
                .inbox
                .entry((message.round, from))
                .or_insert(message);
            self.advance_ceremony(turn, id);
        } else if self.ceremonies.early.len() < EARLY_MESSAGES_MAX {
            self.ceremonies.early.push((turn.now, id, from, message));
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
        self.ceremonies.jobs.insert(job, id);
        turn.effects
            .push(Effect::Compute(job, Job::FinishCeremony(round, inbox)));
    }

    pub(super) fn on_ceremony_computed(
        &mut self,
        turn: &mut Turn<'_>,
        job: JobId,
        result: JobResult,
    ) {
        let Some(id) = self.ceremonies.jobs.remove(&job) else {
            return;
        };
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

    /// Stores the share; acknowledges once that is durable.
    fn store_key(&mut self, turn: &mut Turn<'_>, generated: Generated) {
        let key = generated.share.public.key;
        if self.keys.contains_key(&key) {
            return;
        }
        let record = KeyRecord {
            key,
            certificate: Opaque(generated.certificate.to_bytes()),
            boot: self.boot,
        };
        let label = share_label(key, generated.share.public.epoch);
        let secret = generated.share.secret.duplicate_secret();
        let entry = KeyEntry {
            share: Arc::new(generated.share),
            certificate: generated.certificate,
            active: false,
        };
        self.keys.insert(key, entry);
        let ticket = self.persist_with(turn, Record::KeyPending(record), vec![(label, secret)]);
        self.after(ticket, Continuation::KeyStored(key));
    }

    pub(super) fn key_stored(&mut self, turn: &mut Turn<'_>, key: KeyId) {
        self.ceremonies
            .prepared
            .entry(key)
            .or_default()
            .insert(self.boot.node);
        self.send_prepared(turn, key, None, true);
        self.activate_if_prepared(turn, key);
    }

    fn send_prepared(&self, turn: &mut Turn<'_>, key: KeyId, to: Option<NodeIndex>, ask: bool) {
        let Some(entry) = self.keys.get(&key) else {
            return;
        };
        let public = &entry.share.public;
        let prepared = Prepared {
            version: Version,
            cluster: self.cluster,
            boot: self.boot,
            ceremony: public.ceremony,
            key,
            transcript: public.transcript,
        };
        let statement = Signed::sign(prepared, &self.identity).to_bytes();
        let frame = Frame::Prepared(PreparedFrame {
            statement,
            wants_reply: ask,
        });
        match to {
            Some(node) => self.send(turn, Peer::Node(node), frame),
            None => self.send_to_nodes(turn, &frame),
        }
    }

    pub(super) fn on_prepared(&mut self, turn: &mut Turn<'_>, frame: &PreparedFrame) {
        let Ok(signed) = Signed::<Prepared>::from_bytes(&frame.statement) else {
            return;
        };
        let from = signed.unverified().boot.node;
        let Some(credential) = self.roster.nodes.get(&from) else {
            return;
        };
        let Ok(prepared) = signed.verify(credential) else {
            return;
        };
        let key = prepared.key;
        let Some(entry) = self.keys.get(&key) else {
            return;
        };
        let same = prepared.transcript == entry.share.public.transcript
            && prepared.ceremony == entry.share.public.ceremony
            && prepared.cluster == self.cluster;
        if !same {
            return;
        }
        let stored = self
            .ceremonies
            .prepared
            .get(&key)
            .is_some_and(|p| p.contains(&self.me()));
        if frame.wants_reply && (entry.active || stored) {
            self.send_prepared(turn, key, Some(from), false);
        }
        if !entry.active {
            self.ceremonies
                .prepared
                .entry(key)
                .or_default()
                .insert(from);
            self.activate_if_prepared(turn, key);
        }
    }

    fn activate_if_prepared(&mut self, turn: &mut Turn<'_>, key: KeyId) {
        let all = self
            .ceremonies
            .prepared
            .get(&key)
            .is_some_and(|prepared| self.roster.nodes.keys().all(|n| prepared.contains(n)));
        if all {
            self.ceremonies.prepared.remove(&key);
            let ticket = self.persist(turn, Record::KeyActive(key));
            self.after(ticket, Continuation::KeyActivated(key));
        }
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

    /// Keys that wait for acknowledgements after a restart are waited for again.
    pub(super) fn restore_prepared(&mut self) {
        let me = self.me();
        for (key, _) in self.keys.iter().filter(|(_, e)| !e.active) {
            self.ceremonies.prepared.entry(*key).or_default().insert(me);
        }
    }

    /// Asks again for acknowledgements that are missing.
    pub(super) fn remind_prepared(&mut self, turn: &mut Turn<'_>) {
        if self
            .ceremonies
            .reminded
            .is_some_and(|at| turn.now.since(at) < 1_000)
        {
            return;
        }
        self.ceremonies.reminded = Some(turn.now);
        let me = self.me();
        let waiting: Vec<KeyId> = self
            .ceremonies
            .prepared
            .iter()
            .filter(|(_, by)| by.contains(&me))
            .map(|(key, _)| *key)
            .collect();
        for key in waiting {
            self.send_prepared(turn, key, None, true);
        }
    }

    pub(super) fn drop_ceremony(&mut self, id: CeremonyId) {
        self.ceremonies.running.remove(&id);
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
