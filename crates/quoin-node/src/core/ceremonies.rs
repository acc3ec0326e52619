//! Key ceremonies: births and successions, judged like any request and run by all nodes at once.
//!
//! A ceremony ends in shares; what happens to these, from the stored share to the certificate and
//! the erasure of what was before, is in `handover`. A succession that nobody asked for, because
//! the shares are old, is in `rotation`.

use super::config::{EARLY_MESSAGES_MAX, KEPT_REFRESH_MAX, SESSION_MS_MAX};
use super::{Continuation, Effect, Job, JobId, JobResult, Node, Peer, Turn};
use quoin_api::frame::SessionFrame;
use quoin_api::{Frame, SessionId};
use quoin_core::cbor;
use quoin_core::hash::tagged;
use quoin_core::payload::{CreateKey, KeyChange};
use quoin_core::{
    Boot, CeremonyId, ClusterId, CustodyMethod, KeyId, KeyName, NodeIndex, RequestId, TimeMs, tags,
};
use quoin_protocol::combine::KeyPublic;
use quoin_protocol::dkg::{DkgParams, Generated, Succession, SuccessionParams};
use quoin_protocol::{Abort, Advance, Inbox, Outbox, Round, RoundMessage};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The rounds that a ceremony may have; what names another one is not kept.
const ROUNDS: std::ops::RangeInclusive<u8> = 1..=4;
/// The longest message that is kept: 15 nodes need under 4 KiB, later kinds of ceremonies more.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Of all early messages, how many one peer may have, so that it cannot keep the others' out.
const EARLY_PER_PEER_MAX: usize = 64;

/// What was permitted, and begins once its decision is durable.
enum Permit {
    Birth(CreateKey, CustodyMethod),
    Succession(KeyId, KeyChange),
}

struct Ceremony {
    key: KeyId,
    /// The name of the key to be made, which no other request may take meanwhile.
    name: KeyName,
    /// The job under way. What any other job gives is of an earlier run under this id.
    job: Option<JobId>,
    waiting: Option<Box<dyn Round<Generated>>>,
    inbox: BTreeMap<(u8, NodeIndex), RoundMessage>,
    started: TimeMs,
}

/// The ceremonies under way.
#[derive(Default)]
pub(super) struct Ceremonies {
    running: BTreeMap<CeremonyId, Ceremony>,
    permitted: BTreeMap<RequestId, Permit>,
    /// Messages of ceremonies that this node has not judged yet.
    early: Vec<(TimeMs, CeremonyId, NodeIndex, RoundMessage)>,
    /// Who asked, and under which attempt.
    askers: BTreeMap<CeremonyId, BTreeMap<Peer, u64>>,
    /// Ceremonies that ended in an epoch which came into use here. Their requests are done, and
    /// must not move the key a second time.
    pub(super) done: BTreeSet<CeremonyId>,
}

impl Ceremonies {
    /// Whether a ceremony for the key is under way or permitted.
    pub(super) fn concern(&self, cluster: ClusterId, key: KeyId) -> bool {
        let permitted = |(request, permit): (&RequestId, &Permit)| match permit {
            Permit::Birth(..) => key_id(cluster, *request) == key,
            Permit::Succession(of, _) => *of == key,
        };
        self.running.values().any(|c| c.key == key) || self.permitted.iter().any(permitted)
    }

    /// Who is to be told how the ceremony ended; they are told once.
    pub(super) fn take_askers(&mut self, ceremony: CeremonyId) -> BTreeMap<Peer, u64> {
        self.askers.remove(&ceremony).unwrap_or_default()
    }
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

impl Node {
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
        permit.or_insert(Permit::Birth(create, custody));
    }

    /// Notes that a refresh or a reshare was permitted. It begins with
    /// [`Continuation::BeginCeremony`], once the decision is durable.
    pub(super) fn succession_permitted(
        &mut self,
        request: RequestId,
        key: KeyId,
        change: KeyChange,
    ) {
        let permit = self.ceremonies.permitted.entry(request);
        permit.or_insert(Permit::Succession(key, change));
    }

    /// Whether the ceremony of a request is under way, or begins once its decision is durable.
    pub(super) fn is_ceremony_running(&self, request: RequestId) -> bool {
        self.ceremonies.running.contains_key(&CeremonyId(request.0))
            || self.ceremonies.permitted.contains_key(&request)
    }

    /// Whether the ceremony of a request has ended in an epoch that is, or was, in use here.
    pub(super) fn is_ceremony_done(&self, request: RequestId) -> bool {
        self.ceremonies.done.contains(&CeremonyId(request.0))
    }

    /// Whether a key has the name, or may come to have it: stored, being made, or permitted.
    pub(super) fn name_is_taken(&self, name: &KeyName) -> bool {
        // A first record that was given up leaves its name to another key.
        let stored = self.keys.iter();
        let stored = stored.filter(|(key, e)| e.current.is_some() || !self.is_spent(**key));
        let stored = stored.filter_map(|(_, entry)| entry.public());
        let stored = stored.map(|public| &public.name);
        let running = self.ceremonies.running.values().map(|c| &c.name);
        let permitted = self.ceremonies.permitted.values();
        let permitted = permitted.filter_map(|permit| match permit {
            Permit::Birth(create, _) => Some(&create.name),
            Permit::Succession(..) => None,
        });
        let mut names = stored.chain(running).chain(permitted);
        names.any(|taken| taken == name)
    }

    /// Starts a ceremony whose decision is durable.
    pub(super) fn begin_ceremony(&mut self, turn: &mut Turn<'_>, request: RequestId) {
        let ceremony = CeremonyId(request.0);
        match self.ceremonies.permitted.remove(&request) {
            Some(Permit::Birth(create, custody)) => {
                self.begin_birth(turn, ceremony, create, custody)
            }
            Some(Permit::Succession(key, change)) => {
                self.begin_succession(turn, ceremony, key, &change);
            }
            None => {}
        }
    }

    fn begin_birth(
        &mut self,
        turn: &mut Turn<'_>,
        ceremony: CeremonyId,
        create: CreateKey,
        custody: CustodyMethod,
    ) {
        let key = key_id(self.cluster, RequestId(ceremony.0));
        // A key id that this node has stored a record for is not made again.
        if self.ceremonies.running.contains_key(&ceremony)
            || self.keys.contains_key(&key)
            || self.is_spent(key)
        {
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
        let work = Job::StartCeremony(Box::new(params), Arc::clone(&self.roster));
        self.run_ceremony(turn, ceremony, (key, create.name), work);
    }

    /// Why the shares of a key cannot move to their next epoch now; `None` when they can.
    pub(super) fn succession_refused(
        &self,
        key: KeyId,
        change: &KeyChange,
    ) -> Option<&'static str> {
        let Some((entry, current)) = self
            .keys
            .get(&key)
            .and_then(|e| e.current.as_ref().map(|c| (e, c)))
        else {
            return Some("this node does not know the key");
        };
        let roster = self.roster.nodes.keys().copied();
        let live = self.live_holders(current.public());
        let same_holders = current.holders().eq(roster) && current.holders().eq(live);
        let next = entry.next.as_ref();
        match change {
            KeyChange::Refresh | KeyChange::Reshare { .. } if current.public().threshold < 2 => {
                Some("a local key has no shares to move")
            }
            KeyChange::Refresh if !same_holders => {
                Some("the charter names other nodes than hold the key: reshare it")
            }
            KeyChange::Refresh if current.share.is_none() => {
                Some("this node has lost its share of the key: reshare it without this node")
            }
            KeyChange::Refresh if entry.kept.len() >= KEPT_REFRESH_MAX => Some(
                "too many records of the key were given up: reshare it without the node at fault",
            ),
            // Such a ceremony ends before it begins, on every node and at every retry; whoever asked
            // would never hear of it.
            KeyChange::Reshare { dealers } if !self.may_deal(current.public(), dealers) => Some(
                "the dealers must be as many holders of the epoch in use as its threshold says, \
                 ascending, and nodes of the charter in force",
            ),
            KeyChange::Refresh | KeyChange::Reshare { .. } if !entry.may_succeed() => {
                Some("the key is out of use, or too many of its old epochs wait for their erasure")
            }
            KeyChange::Refresh | KeyChange::Reshare { .. }
                if next.is_some_and(|n| !self.is_superseded(n)) =>
            {
                Some("the next epoch of the key waits for acknowledgements")
            }
            KeyChange::Refresh | KeyChange::Reshare { .. } => None,
            _ => Some("the change does not concern the shares of the key"),
        }
    }

    /// Whether these nodes can deal the next epoch: the ceremony itself asks for the same.
    fn may_deal(&self, base: &KeyPublic, dealers: &[NodeIndex]) -> bool {
        let live = self.live_holders(base);
        dealers.len() == usize::from(base.threshold)
            && dealers.is_sorted_by(|a, b| a < b)
            && dealers.iter().all(|d| live.contains(d))
    }

    /// Starts to move a key to its next epoch, when this node's state admits it.
    pub(super) fn begin_succession(
        &mut self,
        turn: &mut Turn<'_>,
        ceremony: CeremonyId,
        key: KeyId,
        change: &KeyChange,
    ) {
        let busy = self.ceremonies.running.values().any(|c| c.key == key);
        let over = self.ceremonies.done.contains(&ceremony);
        if busy || over || self.succession_refused(key, change).is_some() {
            return;
        }
        let how = match change {
            KeyChange::Refresh => Succession::Refresh,
            KeyChange::Reshare { dealers } => Succession::Reshare {
                threshold: self.constitution.charter().threshold,
                dealers: dealers.clone(),
            },
            _ => return,
        };
        let current = self.keys.get(&key).and_then(|e| e.current.as_ref());
        let (Some(boots), Some(current)) = (self.all_boots(), current) else {
            return;
        };
        // Without the charter that the record names nobody can say who its holders were.
        let Some(dealt) = self.rosters.get(&current.public().charter) else {
            return;
        };
        let params = SuccessionParams {
            cluster: self.cluster,
            charter: self.constitution.charter().number,
            ceremony,
            boots,
            holders: dealt.nodes.iter().map(|(n, c)| (*n, c.id())).collect(),
            base: current.public().clone(),
            how,
        };
        let (name, share) = (current.public().name.clone(), current.share.clone());
        let work = Job::StartSuccession(Box::new(params), Arc::clone(&self.roster), share);
        self.run_ceremony(turn, ceremony, (key, name), work);
    }

    fn run_ceremony(
        &mut self,
        turn: &mut Turn<'_>,
        ceremony: CeremonyId,
        (key, name): (KeyId, KeyName),
        work: Job,
    ) {
        let job = self.next_job();
        let state = Ceremony {
            key,
            name,
            job: Some(job),
            waiting: None,
            inbox: BTreeMap::new(),
            started: turn.now,
        };
        self.ceremonies.running.insert(ceremony, state);
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
                self.store_epoch(turn, generated);
            }
            JobResult::CeremonyStarted(Err(abort)) | JobResult::CeremonyAdvanced(Err(abort)) => {
                self.fail_ceremony(turn, id, &abort);
            }
            JobResult::BatchStarted(_) | JobResult::BatchAdvanced(_) => {}
        }
    }

    /// Writes the faults of a ceremony, and tells the others only once they are durable.
    fn fail_ceremony(&mut self, turn: &mut Turn<'_>, id: CeremonyId, abort: &Abort) {
        let session = SessionId::Ceremony(id);
        let written = self.record_faults(turn, session, abort);
        self.ceremonies.running.remove(&id);
        for node in self.peers.connected_nodes() {
            let frame = Frame::SessionAborted(session);
            match written {
                Some(t) => self.after(t, Continuation::Send(Peer::Node(node), frame)),
                None => self.send(turn, Peer::Node(node), frame),
            }
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
