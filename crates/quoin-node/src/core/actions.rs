//! Changes of keys and nodes: judged like any request, carried out once, and told to the others.
//!
//! A change of state takes effect in memory with its permit: whatever follows from it waits for
//! later records, which are durable only together with it. What a node *says* of it, its signed
//! statement, leaves after the record is durable; for a destroyed key that is one write with the
//! erasure of every share. A retry has the very same statement, over restarts too.
//!
//! A permitted change is handed to the other nodes, and again to whoever connects until its stamp
//! lapses, because a node that was down has to learn of a suspension. Each judges it for itself.

use super::config::OUTCOME_MS;
use super::keys::KeyEntry;
use super::record::{Decision, KeyStateRecord, NodeChangedRecord, UnfrozenRecord};
use super::requests::{Admitted, key_facts, rejected};
use super::{Continuation, Node, Peer, Record, Turn};
use quoin_api::Frame;
use quoin_api::frame::{KeyStatesFrame, Opaque, Reply, ReplyFrame, RequestFrame, Unavailable};
use quoin_api::statements::{EpochRange, KeyStatement, NodeStatement, UnfreezeStatement};
use quoin_core::cbor::{self, Version};
use quoin_core::payload::{
    ChangeKey, ChangeNode, KeyChange, NodeChange, PAYLOAD_BYTES_MAX, Unfreeze,
};
use quoin_core::{
    CeremonyId, KeyId, KeyState, NodeIndex, Payload, Rejection, RequestId, Scheme, ShareEpoch,
    Signed, Stamp, TimeMs,
};
use quoin_policy::{KeyFacts, STAMP_HORIZON_MS, state_after};
use std::collections::{BTreeMap, BTreeSet};

/// The most changes that are remembered; those that lapse first make room. Only people whom a rule
/// names can make one, so this is for the day when one of them runs wild.
const CHANGES_MAX: usize = 4_096;
/// The most changes that are handed to a node that connects: the newest.
const HANDED_ON_MAX: usize = 256;
/// Of all changes that other nodes handed over and that wait here, how many one node may have.
const WAITING_PER_NODE_MAX: usize = 32;
/// The most bytes of all that one node has waiting here: what a charter that is on its way may make
/// genuine cannot be told from what is forged.
const WAITING_BYTES_MAX: usize = 400 * 1024;
/// How often changes that wait are judged again: for heartbeats, for a delay to pass.
const RECONSIDER_MS: u64 = 1_000;

/// A permitted change.
struct Change {
    /// As it is handed on.
    frame: RequestFrame,
    not_after: TimeMs,
    /// Its place among all changes that this node has carried out; 0 before that.
    place: u64,
    progress: Progress,
    /// Who is to be told, and under which attempt.
    askers: BTreeMap<Peer, u64>,
}

/// How far a change has come.
enum Progress {
    /// It is permitted; a crash came before anything was done.
    Permitted,
    /// Its record is written, and perhaps durable.
    Recorded,
    /// Its record was written by a boot that ended before its statement.
    Interrupted,
    /// Its record is durable and its statement written, perhaps not durably.
    Stating,
    /// All is durable: the answer for ever.
    Done(Vec<u8>),
}

/// What a node remembers of a key's states.
#[derive(Default)]
struct Standing {
    seq: u64,
    changed: TimeMs,
    request: Option<RequestId>,
    /// The epochs whose backups were written.
    backups: BTreeSet<ShareEpoch>,
}

/// The changes that were permitted, and those that wait.
#[derive(Default)]
pub(super) struct Actions {
    changes: BTreeMap<RequestId, Change>,
    standings: BTreeMap<KeyId, Standing>,
    /// Handed over by a node, and neither permitted nor refused yet.
    waiting: BTreeMap<(NodeIndex, RequestId), RequestFrame>,
    reconsidered: Option<TimeMs>,
    /// How many changes this node has carried out.
    carried_out: u64,
}

/// A change that is about to be carried out.
pub(super) enum Deed {
    Key(ChangeKey),
    Node(ChangeNode),
    Unfreeze(Unfreeze),
}

impl Deed {
    fn of(payload: &Payload) -> Option<Self> {
        match payload {
            Payload::ChangeKey(wish) => Some(Self::Key(wish.clone())),
            Payload::ChangeNode(wish) => Some(Self::Node(*wish)),
            Payload::Unfreeze(wish) => Some(Self::Unfreeze(wish.clone())),
            _ => None,
        }
    }

    /// As [`Self::of`], from a payload's bytes.
    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        let payload: Payload = cbor::decode(payload, PAYLOAD_BYTES_MAX + 64).ok()?;
        Self::of(&payload)
    }

    /// Whether new shares are dealt for it. Such a change is answered by a certificate, and needs
    /// every node at the same time, so it is not handed to those that come later.
    fn is_ceremony(&self) -> bool {
        matches!(self, Self::Key(wish) if wish.change.is_ceremony())
    }
}

impl Actions {
    /// A share of this epoch was sealed to the officers: their quorum can restore it.
    pub(super) fn backup_written(&mut self, key: KeyId, epoch: ShareEpoch) {
        self.standings.entry(key).or_default().backups.insert(epoch);
    }

    /// Forgets what has lapsed.
    pub(super) fn sweep(&mut self, now: TimeMs) {
        self.changes
            .retain(|_, change| now < change.not_after.plus(OUTCOME_MS));
        self.waiting.retain(|_, frame| lapse_of(frame) > now);
    }

    /// How many changes wait that other nodes handed over.
    #[cfg(test)]
    pub(super) fn waiting_count(&self) -> usize {
        self.waiting.len()
    }

    fn next_place(&mut self) -> u64 {
        self.carried_out = self.carried_out.saturating_add(1);
        self.carried_out
    }

    fn interrupted(&mut self, request: RequestId) {
        let place = self.next_place();
        if let Some(change) = self.changes.get_mut(&request) {
            change.place = place;
            change.progress = Progress::Interrupted;
        }
    }

    fn remember(&mut self, request: RequestId, change: Change) {
        self.changes.entry(request).or_insert(change);
        if self.changes.len() > CHANGES_MAX {
            let oldest = self.changes.iter().min_by_key(|(_, c)| c.not_after);
            if let Some(oldest) = oldest.map(|(id, _)| *id) {
                self.changes.remove(&oldest);
            }
        }
    }
}

impl KeyEntry {
    /// Why the key signs nothing now; `None` when it is active.
    pub(super) fn not_in_use(&self) -> Option<Unavailable> {
        match self.state {
            KeyState::PreActive => Some(Unavailable::UnknownKey),
            KeyState::Active => None,
            KeyState::Suspended => Some(Unavailable::KeySuspended),
            KeyState::Deactivated => Some(Unavailable::KeyDeactivated),
            KeyState::Compromised => Some(Unavailable::KeyCompromised),
            KeyState::Destroyed => Some(Unavailable::KeyDestroyed),
        }
    }

    /// Lets go of every share. The public record stays, so that the key is listed as destroyed.
    fn destroy(&mut self) {
        let mut gone = BTreeSet::from_iter(std::mem::take(&mut self.erased));
        gone.extend(self.retiring.drain(..).map(|r| r.epoch.number()));
        gone.extend(self.next.take().map(|p| p.public().epoch));
        gone.extend(self.kept.drain(..).map(|p| p.public().epoch));
        if let Some(current) = &mut self.current {
            current.share = None;
            gone.insert(current.number());
        }
        self.erased = gone.into_iter().collect();
    }
}

impl Node {
    /// A change that another node hands over: taken like a gateway's, but nobody is answered, and
    /// what cannot be decided now waits here.
    pub(super) fn on_handed_change(
        &mut self,
        turn: &mut Turn<'_>,
        from: NodeIndex,
        frame: RequestFrame,
    ) {
        if self.storage_failed || frame.signing.is_some() || frame_bytes(&frame) > WAITING_BYTES_MAX
        {
            return;
        }
        let Ok(signed) = Signed::<Stamp>::from_bytes(&frame.stamp) else {
            return;
        };
        let stamp = signed.unverified();
        let place = (from, stamp.request_id);
        // No stamp of another cluster is ever good here, and none lapses later than this.
        let lapses = stamp.not_after <= turn.now.plus(STAMP_HORIZON_MS);
        if stamp.cluster != self.cluster || stamp.not_after <= turn.now || !lapses {
            self.actions.waiting.remove(&place);
            return;
        }
        if stamp.charter_number_floor > self.constitution.number() {
            // Its principal may be new in a charter that is on its way here.
            return self.keep_waiting(place, frame);
        }
        let Ok(admitted) = self.admit(&frame.stamp, &frame.payload) else {
            return;
        };
        if Deed::of(&admitted.payload).is_none() {
            return;
        }
        match self.consider(turn, &Peer::Node(from), &frame, admitted) {
            Err(Reply::Unavailable(_) | Reply::Pending(_)) => self.keep_waiting(place, frame),
            Ok(()) | Err(_) => {
                self.actions.waiting.remove(&place);
            }
        }
    }

    fn keep_waiting(&mut self, place: (NodeIndex, RequestId), frame: RequestFrame) {
        let waiting = self.actions.waiting.iter();
        let others = waiting.filter(|(of, _)| of.0 == place.0 && **of != place);
        let (count, bytes) = others.fold((0usize, 0usize), |(count, bytes), (_, other)| {
            let bytes = bytes.saturating_add(frame_bytes(other));
            (count.saturating_add(1), bytes)
        });
        let bytes = bytes.saturating_add(frame_bytes(&frame));
        if count < WAITING_PER_NODE_MAX && bytes <= WAITING_BYTES_MAX {
            self.actions.waiting.insert(place, frame);
        }
    }

    /// Judges again what waits, and finishes what a crash has interrupted.
    pub(super) fn reconsider_changes(&mut self, turn: &mut Turn<'_>) {
        let last = self.actions.reconsidered;
        if last.is_some_and(|at| turn.now.since(at) < RECONSIDER_MS) {
            return;
        }
        self.actions.reconsidered = Some(turn.now);
        for ((from, _), frame) in std::mem::take(&mut self.actions.waiting) {
            self.on_handed_change(turn, from, frame);
        }
        let changes = self.actions.changes.iter();
        let interrupted = changes.filter(|(_, c)| matches!(c.progress, Progress::Interrupted));
        let interrupted: Vec<RequestId> = interrupted.map(|(id, _)| *id).collect();
        for request in interrupted {
            self.change_recorded(turn, request);
        }
    }

    /// What is known of a change under this request id; `None` when it is to be judged.
    pub(super) fn change_outcome(
        &mut self,
        peer: &Peer,
        attempt: u64,
        request: RequestId,
    ) -> Option<Result<(), Reply>> {
        let change = self.actions.changes.get_mut(&request)?;
        match &change.progress {
            Progress::Permitted => None,
            Progress::Done(bytes) => Some(Err(Reply::ChangeDone(bytes.clone()))),
            Progress::Recorded | Progress::Interrupted | Progress::Stating => {
                change.askers.insert(peer.clone(), attempt);
                Some(Ok(()))
            }
        }
    }

    pub(super) fn consider_key_change(
        &mut self,
        turn: &mut Turn<'_>,
        peer: &Peer,
        frame: &RequestFrame,
        admitted: Admitted,
        wish: &ChangeKey,
    ) -> Result<(), Reply> {
        let request = admitted.stamp().request_id;
        if wish.change.is_ceremony() {
            self.succession_outcome(peer, frame.attempt, request, wish.key)?;
        }
        let entry = self.keys.get(&wish.key).filter(|e| e.current.is_some());
        let entry = entry.ok_or(Reply::Unavailable(Unavailable::UnknownKey))?;
        let public = entry
            .public()
            .ok_or(Reply::Unavailable(Unavailable::UnknownKey))?;
        let facts = key_facts(public, &admitted.stamp().account.path, entry.state);
        if let Some(why) = self.unavailable_for_change(&wish.change, turn.now) {
            return Err(Reply::Unavailable(why));
        }
        if wish.change.is_ceremony() {
            if self.all_boots().is_none() {
                return Err(Reply::Unavailable(Unavailable::NoLease));
            }
            if let Some(why) = self.succession_refused(wish.key, &wish.change) {
                return Err(rejected(Rejection::caller("payload.change", why)));
            }
        }
        self.permit(turn, frame, &admitted, facts.scheme, Some(&facts))?;
        if wish.change.is_ceremony() {
            self.succession_asked(request, peer, frame.attempt);
            self.succession_permitted(request, wish.key, wish.change.clone());
            self.after(self.last_ticket, Continuation::BeginCeremony(request));
            self.hand_on_succession(peer, frame);
            return Ok(());
        }
        self.carry_out(turn, peer, frame, &admitted, Deed::Key(wish.clone()));
        Ok(())
    }

    /// Whether the ceremony of this request is under way or has ended in the epoch in use.
    fn succession_outcome(
        &mut self,
        peer: &Peer,
        attempt: u64,
        request: RequestId,
        key: KeyId,
    ) -> Result<(), Reply> {
        let ceremony = CeremonyId(request.0);
        let entry = self.keys.get(&key);
        let current = entry.and_then(|e| e.current.as_ref());
        if let Some(current) = current.filter(|_| self.is_ceremony_done(request)) {
            return Err(Reply::CeremonyDone(current.certificate.to_bytes()));
        }
        let pending = entry.and_then(|e| e.next.as_ref());
        let stored = pending.is_some_and(|p| p.public().ceremony == ceremony);
        if stored || self.is_ceremony_running(request) {
            self.succession_asked(request, peer, attempt);
            return Err(Reply::CeremonyStarted(ceremony));
        }
        Ok(())
    }

    /// Remembers which gateway is to be told; a node that hands a request over is not.
    fn succession_asked(&mut self, request: RequestId, peer: &Peer, attempt: u64) {
        if let Peer::Gateway(_) = peer {
            self.ceremony_asked(request, peer.clone(), attempt);
        }
    }

    /// Hands a permitted ceremony to the nodes that are there, once its decision is durable. One
    /// that a node has handed over goes no further: while its ceremony cannot begin, because
    /// another of the key is under way, every copy is judged anew, and copies of copies would never
    /// end.
    fn hand_on_succession(&mut self, from: &Peer, frame: &RequestFrame) {
        if let Peer::Node(_) = from {
            return;
        }
        for node in self.peers.connected_nodes() {
            let frame = handed_on(&frame.stamp, &frame.payload, &frame.approvals);
            let told = Continuation::Send(Peer::Node(node), Frame::Request(frame));
            self.after(self.last_ticket, told);
        }
    }

    pub(super) fn consider_node_change(
        &mut self,
        turn: &mut Turn<'_>,
        peer: &Peer,
        frame: &RequestFrame,
        admitted: Admitted,
        wish: ChangeNode,
    ) -> Result<(), Reply> {
        if !self.roster.nodes.contains_key(&wish.node) {
            let message = format!("the charter in force has no node `{}`", wish.node);
            return Err(rejected(Rejection::caller("payload.node", message)));
        }
        // Without a lease too: two nodes that have fenced each other could never be readmitted.
        match self.unavailable(turn.now) {
            None | Some(Unavailable::NoLease) => {}
            Some(why) => return Err(Reply::Unavailable(why)),
        }
        // A request about a node is about no key, so any scheme will do to read it.
        self.permit(turn, frame, &admitted, Scheme::Ecdsa, None)?;
        self.carry_out(turn, peer, frame, &admitted, Deed::Node(wish));
        Ok(())
    }

    /// Judges a change and writes the decision.
    pub(super) fn permit(
        &mut self,
        turn: &mut Turn<'_>,
        frame: &RequestFrame,
        admitted: &Admitted,
        scheme: Scheme,
        facts: Option<&KeyFacts>,
    ) -> Result<(), Reply> {
        let stamp = admitted.stamp();
        let decoded =
            quoin_chain::decode(&admitted.payload, &stamp.account, scheme).map_err(rejected)?;
        let warrant = self.judge(turn, frame, admitted, decoded, facts)?;
        let record = self.decision(frame, stamp, &warrant, None);
        self.persist(turn, record);
        Ok(())
    }

    /// Why a change cannot be judged now. What takes a key out of use is never held up by lost
    /// peers or clocks: it needs only the rules that this node has, and a disk.
    fn unavailable_for_change(&self, change: &KeyChange, now: TimeMs) -> Option<Unavailable> {
        let why = self.unavailable(now)?;
        let restricts = matches!(
            change,
            KeyChange::Suspend | KeyChange::Retire | KeyChange::Compromise
        );
        match why {
            Unavailable::NoLease | Unavailable::ClockSkew if restricts => None,
            why => Some(why),
        }
    }

    /// Carries out a permitted change in memory, and writes it.
    pub(super) fn carry_out(
        &mut self,
        turn: &mut Turn<'_>,
        peer: &Peer,
        frame: &RequestFrame,
        admitted: &Admitted,
        deed: Deed,
    ) {
        let request = admitted.stamp().request_id;
        let change = Change {
            frame: handed_on(&frame.stamp, &frame.payload, &frame.approvals),
            not_after: admitted.stamp().not_after,
            place: self.actions.next_place(),
            progress: Progress::Recorded,
            askers: BTreeMap::from([(peer.clone(), frame.attempt)]),
        };
        self.actions.changes.remove(&request);
        self.actions.remember(request, change);
        match deed {
            Deed::Key(wish) => self.change_key(turn, request, &wish),
            Deed::Node(wish) => {
                let record = NodeChangedRecord {
                    node: wish.node,
                    change: wish.change,
                    request,
                    at: turn.now,
                };
                self.apply_node_change(&record);
                self.persist(turn, Record::NodeChanged(record));
            }
            Deed::Unfreeze(wish) => {
                let record = UnfrozenRecord {
                    lifts: wish.lifts,
                    suspends: wish.suspends,
                    request: Some(request),
                    at: turn.now,
                };
                self.apply_unfrozen(&record);
                self.persist(turn, Record::Unfrozen(record));
                self.beat_now(turn);
            }
        }
        self.after(self.last_ticket, Continuation::ChangeRecorded(request));
    }

    fn change_key(&mut self, turn: &mut Turn<'_>, request: RequestId, wish: &ChangeKey) {
        let Some(entry) = self.keys.get(&wish.key) else {
            return;
        };
        let Some(state) = state_after(entry.state, &wish.change) else {
            return;
        };
        let labels = entry.labels();
        let seq = self.actions.standings.get(&wish.key).map_or(0, |s| s.seq);
        let record = KeyStateRecord {
            key: wish.key,
            state,
            seq: seq.saturating_add(1),
            request,
            at: turn.now,
        };
        self.apply_key_state(&record);
        if state != KeyState::Active {
            self.pools.drop_key(wish.key);
            self.drop_batches_of_key(turn, wish.key);
        }
        let record = Record::KeyState(record);
        match state {
            KeyState::Destroyed => self.persist_erasing(turn, record, labels),
            _ => self.persist(turn, record),
        };
    }

    /// What a key's new state means in memory, now or when the journal is replayed.
    fn apply_key_state(&mut self, record: &KeyStateRecord) {
        let standing = self.actions.standings.entry(record.key).or_default();
        standing.seq = record.seq;
        standing.changed = record.at;
        standing.request = Some(record.request);
        if let Some(entry) = self.keys.get_mut(&record.key) {
            entry.state = record.state;
            if record.state == KeyState::Destroyed {
                entry.destroy();
            }
        }
    }

    /// What a node's pardon or readmission means in memory, now or when the journal is replayed.
    fn apply_node_change(&mut self, record: &NodeChangedRecord) {
        match record.change {
            NodeChange::Pardon => self.strikes.pardon(record.node),
            NodeChange::Readmit => self.peers.readmit(record.node),
        }
    }

    pub(super) fn replay_key_state(&mut self, record: &KeyStateRecord) {
        self.apply_key_state(record);
        self.actions.interrupted(record.request);
    }

    pub(super) fn replay_node_change(&mut self, record: &NodeChangedRecord) {
        self.apply_node_change(record);
        self.actions.interrupted(record.request);
    }

    pub(super) fn replay_unfrozen(&mut self, record: &UnfrozenRecord) {
        self.apply_unfrozen(record);
        if let Some(request) = record.request {
            self.actions.interrupted(request);
        }
    }

    /// A change's decision, read from the journal.
    pub(super) fn replay_permit(&mut self, decision: &Decision, not_after: TimeMs) {
        let payload = Self::read_payload(&decision.payload.0);
        let deed = payload.as_ref().and_then(Deed::of);
        if deed.is_some_and(|deed| !deed.is_ceremony()) {
            let (stamp, payload) = (&decision.stamp.0, &decision.payload.0);
            let change = Change {
                frame: handed_on(stamp, payload, &decision.approvals),
                not_after,
                place: 0,
                progress: Progress::Permitted,
                askers: BTreeMap::new(),
            };
            self.actions.remember(decision.request_id, change);
        }
    }

    /// A change's statement, read from the journal.
    pub(super) fn replay_statement(&mut self, request: RequestId, statement: Vec<u8>) {
        if let Some(change) = self.actions.changes.get_mut(&request) {
            change.progress = Progress::Done(statement);
        }
    }

    /// The record of a change is durable: the others hear of it, and the statement is written.
    pub(super) fn change_recorded(&mut self, turn: &mut Turn<'_>, request: RequestId) {
        let Some(change) = self.actions.changes.get_mut(&request) else {
            return;
        };
        if !matches!(change.progress, Progress::Recorded | Progress::Interrupted) {
            return;
        }
        change.progress = Progress::Stating;
        let frame = change.frame.clone();
        self.send_to_nodes(turn, &Frame::Request(frame.clone()));
        let Some(statement) = self.change_statement(turn, request, &frame.payload) else {
            return;
        };
        let record = Record::ChangeStated {
            request,
            statement: Opaque(statement.clone()),
        };
        let ticket = self.persist(turn, record);
        self.after(ticket, Continuation::ChangeStated(request, statement));
    }

    fn change_statement(
        &self,
        turn: &Turn<'_>,
        request: RequestId,
        payload: &[u8],
    ) -> Option<Vec<u8>> {
        match Deed::read(payload)? {
            Deed::Key(wish) => self.key_statement(wish.key),
            Deed::Unfreeze(wish) => {
                let statement = UnfreezeStatement {
                    version: Version,
                    cluster: self.cluster,
                    boot: self.boot,
                    request,
                    lifts: wish.lifts,
                    suspends: wish.suspends,
                    at: turn.now,
                    freezes: self.freezes_digest(),
                    head: self.head,
                };
                Some(Signed::sign(statement, &self.identity).to_bytes())
            }
            Deed::Node(wish) => {
                let statement = NodeStatement {
                    version: Version,
                    cluster: self.cluster,
                    boot: self.boot,
                    request,
                    node: wish.node,
                    change: wish.change,
                    at: turn.now,
                    strikes: self.strikes.ever(wish.node),
                    head: self.head,
                };
                Some(Signed::sign(statement, &self.identity).to_bytes())
            }
        }
    }

    /// The statement of a change is durable: whoever asked is told.
    pub(super) fn change_stated(
        &mut self,
        turn: &mut Turn<'_>,
        request: RequestId,
        statement: Vec<u8>,
    ) {
        let Some(change) = self.actions.changes.get_mut(&request) else {
            return;
        };
        change.progress = Progress::Done(statement.clone());
        let key = Signed::<KeyStatement>::from_bytes(&statement).is_ok();
        for (peer, attempt) in std::mem::take(&mut change.askers) {
            if let Peer::Gateway(_) = peer {
                let frame = Frame::Reply(ReplyFrame {
                    attempt,
                    request_id: request,
                    reply: Reply::ChangeDone(statement.clone()),
                });
                self.send(turn, peer, frame);
            }
        }
        if key {
            let statements = vec![Opaque(statement)];
            let frame = Frame::KeyStates(KeyStatesFrame { statements });
            for gateway in self.pools.gateways() {
                self.send(turn, Peer::Gateway(gateway), frame.clone());
            }
        }
    }

    /// What this node says of a key now.
    fn key_statement(&self, key: KeyId) -> Option<Vec<u8>> {
        let entry = self.keys.get(&key)?;
        let current = entry.current.as_ref()?;
        let nothing = Standing::default();
        let standing = self.actions.standings.get(&key).unwrap_or(&nothing);
        let mut erased = entry.erased.clone();
        erased.sort_unstable();
        let statement = KeyStatement {
            version: Version,
            cluster: self.cluster,
            boot: self.boot,
            key,
            state: entry.state,
            seq: standing.seq,
            epoch: current.number(),
            created: entry.created,
            changed: standing.changed.max(entry.created),
            request: standing.request,
            head: self.head,
            erased: EpochRange::cover(erased),
            backups: EpochRange::cover(standing.backups.iter().copied()),
        };
        Some(Signed::sign(statement, &self.identity).to_bytes())
    }

    /// What this node says of all its keys, once all that it rests on is durable.
    pub(super) fn send_key_states(&mut self, turn: &mut Turn<'_>, to: Peer) {
        let keys: Vec<KeyId> = self.keys.keys().copied().collect();
        let statements = keys.into_iter().filter_map(|key| self.key_statement(key));
        let statements = statements.map(Opaque).collect();
        let frame = Frame::KeyStates(KeyStatesFrame { statements });
        self.send_after_all(turn, to, frame);
    }

    /// The newest requests that lifted freezes and can still be judged, as they are handed on.
    pub(super) fn newest_lifts(&self, now: TimeMs, max: usize) -> Vec<RequestFrame> {
        let told = |c: &&Change| matches!(c.progress, Progress::Stating | Progress::Done(_));
        let lifts = |c: &&Change| {
            let deed = Deed::read(&c.frame.payload);
            now < c.not_after && matches!(deed, Some(Deed::Unfreeze(_)))
        };
        let changes = self.actions.changes.values();
        let mut due: Vec<&Change> = changes.filter(told).filter(lifts).collect();
        due.sort_by_key(|c| c.place);
        let newest = due.split_off(due.len().saturating_sub(max));
        newest.into_iter().map(|c| c.frame.clone()).collect()
    }

    /// Hands every change in force to a node that has connected.
    pub(super) fn hand_on_changes(&self, turn: &mut Turn<'_>, to: NodeIndex) {
        let changes = self.actions.changes.values();
        let told = |c: &&Change| matches!(c.progress, Progress::Stating | Progress::Done(_));
        let mut due: Vec<&Change> = changes
            .filter(told)
            .filter(|c| turn.now < c.not_after)
            .collect();
        // In the order in which they were carried out here, which each may depend on.
        due.sort_by_key(|c| c.place);
        for change in due.split_off(due.len().saturating_sub(HANDED_ON_MAX)) {
            self.send(turn, Peer::Node(to), Frame::Request(change.frame.clone()));
        }
    }
}

/// A change as one node hands it to another.
fn handed_on(stamp: &[u8], payload: &[u8], approvals: &[Opaque]) -> RequestFrame {
    RequestFrame {
        attempt: 0,
        stamp: stamp.to_vec(),
        payload: payload.to_vec(),
        approvals: approvals.to_vec(),
        signing: None,
    }
}

/// How much room a change takes while it waits.
fn frame_bytes(frame: &RequestFrame) -> usize {
    let approvals = frame.approvals.iter().map(|a| a.0.len());
    let fixed = frame.stamp.len().saturating_add(frame.payload.len());
    approvals.fold(fixed, usize::saturating_add)
}

/// When a request lapses; at once when it cannot be read.
fn lapse_of(frame: &RequestFrame) -> TimeMs {
    let stamp = Signed::<Stamp>::from_bytes(&frame.stamp);
    stamp.map_or(TimeMs(0), |s| s.unverified().not_after)
}
