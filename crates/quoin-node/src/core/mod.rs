//! The node core: everything a node knows and decides, as a state machine.
//!
//! [`Node::handle`] takes the time and an event, and appends effects. It reads no clock, draws no
//! randomness (only jobs do), opens no socket and touches no file, so the simulator drives the very
//! same code.
//!
//! The most important rule is here too: what must not leave before its record is durable is kept in
//! `waiting` under the record's [`Ticket`] and continues on [`Event::Durable`]. A partial signature
//! does not even exist before that moment.

mod actions;
mod backups;
mod batches;
mod ceremonies;
mod charters;
mod config;
mod effect;
mod explain;
mod facts;
mod finished;
mod freezes;
mod handover;
mod heartbeat;
mod job;
mod keys;
mod notices;
mod outstanding;
mod pool;
mod proposals;
mod reconcile;
mod record;
mod recover;
mod requests;
mod restored;
mod retention;
mod rotation;
mod sets;
mod shadow;
mod strikes;
#[cfg(test)]
mod tests;
mod treasury;

pub use config::{NodeConfig, PoolSizes};
pub use effect::{Alarm, Effect, Event, JobId, Peer, Ticket};
pub use job::{Job, JobResult};
pub use keys::share_label;
pub use pool::PoolStat;
pub use reconcile::SpentNonce;
pub(crate) use record::COVERED_MARK;
pub use record::{
    BootRecord, CharterApprovalRecord, Consumed, Decision, Denied, FaultRecord, Finished,
    FirstSeen, KeyRecord, KeyStateRecord, NodeChangedRecord, NoticeRecord, ProposalRecord,
    RECORD_BYTES_MAX, Record, TryRecord, UnfrozenRecord,
};
pub use recover::{RecoverError, Recovered};
pub use requests::{CLUSTER_ACCOUNT, key_addresses};
pub use retention::payload_key_label;

use actions::Actions;
use backups::Backups;
use batches::Batches;
use ceremonies::Ceremonies;
use facts::Feeds;
use freezes::FreezeBook;
use handover::Handovers;
use heartbeat::Peers;
use keys::KeyEntry;
use notices::NoticeBook;
use outstanding::OutstandingBook;
use pool::Pools;
use proposals::Proposals;
use quoin_api::Frame;
use quoin_api::frame::ProposalsFrame;
use quoin_api::statements::Head;
use quoin_core::{
    Boot, Certificate, CharterNumber, ClusterId, DerivationPath, GatewayId, KeyId, NodeIndex,
    PayloadHash, RequestId, SecretBytes, SigningIdentity, TimeMs,
};
use quoin_policy::{Charter, Constitution, FactStore, FreezeSet, Ledger, Notices};
use quoin_protocol::Roster;
use reconcile::Reconciled;
use requests::{PendingSign, RequestState};
use retention::Retention;
use rotation::Rotation;
use sets::Sets;
use std::collections::BTreeMap;
use std::sync::Arc;
use strikes::Strikes;

/// The most requests that are remembered; beyond it new ones are refused as overload.
pub const REQUESTS_MAX: usize = 4_000_000;

/// How often questions of couriers are answered in the long run, over all couriers.
const COURIER_ANSWER_MS: u64 = 1_000;
/// How many of them are answered at once after a quiet time: a person's tool asks a few.
const COURIER_ANSWERS_MAX: u64 = 16;

/// What happens once a record is durable.
enum Continuation {
    Send(Peer, Frame),
    Sign(Box<PendingSign>),
    Compute(JobId, Job),
    BeginCeremony(RequestId),
    /// The pending epoch of a key is stored, by its record's hash.
    KeyStored(KeyId, [u8; 32]),
    /// Its certificate is.
    KeyActivated(KeyId, [u8; 32]),
    FollowPeers,
    ChangeRecorded(RequestId),
    ChangeStated(RequestId, Vec<u8>),
}

/// One node.
pub struct Node {
    config: NodeConfig,
    identity: Arc<SigningIdentity>,
    boot: Boot,
    cluster: ClusterId,
    charter: Certificate<Charter>,
    /// Every charter after the genesis, oldest first: a peer or gateway that is behind verifies
    /// them one after the other.
    charters: Vec<Vec<u8>>,
    constitution: Constitution,
    /// The nodes of the charter in force.
    roster: Arc<Roster>,
    /// The nodes of every charter so far: a key's record was endorsed by those of its own.
    rosters: BTreeMap<CharterNumber, Arc<Roster>>,
    peers: Peers,
    keys: BTreeMap<KeyId, KeyEntry>,
    pools: Pools,
    batches: Batches,
    ceremonies: Ceremonies,
    handovers: Handovers,
    rotation: Rotation,
    requests: BTreeMap<RequestId, RequestState>,
    actions: Actions,
    backups: Backups,
    /// Signatures that were counted, by what they sign, until their stamps lapse.
    counted: BTreeMap<(KeyId, DerivationPath, PayloadHash), TimeMs>,
    ledger: Ledger,
    freezes: FreezeSet,
    freeze_book: FreezeBook,
    facts: FactStore,
    notices: Notices,
    notice_book: NoticeBook,
    proposals: Proposals,
    feeds: Feeds,
    /// When a request was explained last.
    explained: TimeMs,
    /// Until when the answers to couriers so far are paid for, at one a second.
    courier_answers: TimeMs,
    retention: Retention,
    reconciled: Reconciled,
    sets: Sets,
    outstanding: OutstandingBook,
    strikes: Strikes,
    waiting: BTreeMap<Ticket, Vec<Continuation>>,
    last_ticket: Ticket,
    last_durable: Ticket,
    last_job: JobId,
    head: Head,
    last_time: TimeMs,
    last_sweep: TimeMs,
    storage_failed: bool,
    charter_forked: bool,
}

/// Everything one call of `handle` works with.
pub(crate) struct Turn<'a> {
    now: TimeMs,
    effects: &'a mut Vec<Effect>,
}

impl Node {
    /// Takes one event and appends what is to be done.
    ///
    /// `wall` is the host's clock; the node's own time never goes back behind what it persisted.
    pub fn handle(&mut self, wall: TimeMs, event: Event, effects: &mut Vec<Effect>) {
        self.last_time = self.last_time.max(wall);
        let turn = &mut Turn {
            now: self.last_time,
            effects,
        };
        match event {
            Event::Connected(peer) => self.on_connected(turn, &peer),
            Event::Disconnected(peer) => self.on_disconnected(turn, &peer),
            Event::Frame(peer, frame) => self.on_frame(turn, peer, frame),
            Event::Durable(ticket, head) => self.on_durable(turn, ticket, head),
            Event::StorageFailed => {
                self.storage_failed = true;
                self.waiting.clear();
                turn.effects.push(Effect::Alarm(Alarm::StorageFailed));
            }
            Event::Computed(id, result) => self.on_computed(turn, id, result),
            Event::BackupWritten(of, outcome) => self.on_backup_written(turn, of, outcome),
            Event::Tick => self.on_tick(turn),
        }
    }

    /// This start of this node.
    #[must_use]
    pub fn boot(&self) -> Boot {
        self.boot
    }

    /// The cluster that the node belongs to.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// The charter in force.
    #[must_use]
    pub fn charter(&self) -> &Certificate<Charter> {
        &self.charter
    }

    /// How many presignatures are ready, over all keys and signer sets.
    #[must_use]
    pub fn pool_depth(&self) -> usize {
        self.pools.depth()
    }

    /// How many keys are in use.
    #[must_use]
    pub fn keys_active(&self) -> usize {
        self.keys.values().filter(|k| k.is_active()).count()
    }

    /// Whether the node would sign for a trading key now.
    #[must_use]
    pub fn is_ready(&self, now: TimeMs) -> bool {
        self.is_member() && self.unavailable(now).is_none()
    }

    /// The node's own time, which never goes back.
    #[must_use]
    pub fn time(&self) -> TimeMs {
        self.last_time
    }

    /// Whether the charter in force names the gateway.
    fn serves_gateway(&self, gateway: &GatewayId) -> bool {
        let mut named = self.constitution.charter().gateways.iter();
        named.any(|g| g.id == *gateway)
    }

    fn me(&self) -> NodeIndex {
        self.boot.node
    }

    fn on_connected(&mut self, turn: &mut Turn<'_>, peer: &Peer) {
        if let Peer::Node(node) = peer
            && !self.roster.nodes.contains_key(node)
        {
            return;
        }
        self.send(turn, peer.clone(), Frame::Hello(self.hello()));
        if let Peer::Courier(_) = peer {
            return;
        }
        if let Peer::Node(node) = peer {
            self.peers.connected(*node);
        }
        self.send_charters_after(turn, peer, CharterNumber(0));
        if self.charter_is_durable() {
            let beat = self.heartbeat(turn.now);
            self.send(turn, peer.clone(), Frame::Heartbeat(beat));
        }
        if let Peer::Node(node) = peer {
            self.greet_with_proposals(turn, *node);
            self.greet_with_facts(turn, *node);
            self.hand_on_changes(turn, *node);
            self.greet_with_notices(turn, *node);
            self.greet_with_keys(turn, *node);
        }
        self.greet_with_sets(turn, peer);
    }

    fn on_disconnected(&mut self, turn: &mut Turn<'_>, peer: &Peer) {
        match peer {
            Peer::Node(node) => {
                self.peers.disconnected(*node);
                self.drop_batches_with(turn, *node);
            }
            Peer::Gateway(gateway) => self.pools.gateway_gone(gateway),
            Peer::Courier(_) => {}
        }
    }

    fn on_frame(&mut self, turn: &mut Turn<'_>, peer: Peer, frame: Frame) {
        // Who is not in the charter in force, here or there, takes part in nothing; a charter holds
        // whoever carries it.
        if !matches!(frame, Frame::Charter(_) | Frame::Adopted(_)) && !self.deals_with(&peer) {
            return;
        }
        if let Peer::Gateway(gateway) = &peer
            && !self.serves_gateway(gateway)
        {
            return;
        }
        if let Peer::Courier(_) = &peer
            && (!courier_may(&frame) || !self.answers_courier(turn.now, &frame))
        {
            return;
        }
        match (&peer, frame) {
            (_, Frame::Hello(hello)) => self.on_hello(&peer, &hello),
            (_, Frame::Charter(bytes)) => self.on_charter(turn, &peer, &bytes),
            (Peer::Node(from), Frame::Adopted(bytes)) => self.on_adopted(turn, *from, &bytes),
            (Peer::Node(from), Frame::Freezes(freezes)) => self.on_freezes(turn, *from, freezes),
            (_, Frame::ExplainRequest(request)) => self.on_explain(turn, peer, &request),
            (_, Frame::Heartbeat(bytes)) => self.on_heartbeat(turn, &peer, &bytes),
            (_, Frame::Tombstone(bytes)) => self.on_tombstone(turn, &bytes),
            (Peer::Node(from), Frame::Session(session)) => self.on_session(turn, *from, session),
            (Peer::Node(from), Frame::SessionAborted(id)) => {
                self.on_session_aborted(turn, *from, id);
            }
            (Peer::Node(from), Frame::Prepared(prepared)) => {
                self.on_prepared(turn, *from, &prepared)
            }
            (Peer::Gateway(_), Frame::Request(request)) => self.on_request(turn, peer, request),
            (Peer::Gateway(_), Frame::Openings(openings)) => {
                self.on_openings(turn, peer, &openings);
            }
            (Peer::Node(from), Frame::Request(request)) => {
                self.on_handed_change(turn, *from, request);
            }
            (Peer::Gateway(gateway), Frame::LeaseRequest(lease))
                if lease.set.lowest() == self.me() =>
            {
                let grant = self.lend(turn, gateway, &lease);
                self.send(turn, peer, Frame::LeaseGrant(grant));
            }
            (Peer::Node(from), Frame::Held(held)) => self.on_held(turn, *from, &held),
            (Peer::Node(_), Frame::CeremonyAbandoned(bytes)) => {
                let _ = self.on_abandoned(turn, &bytes);
            }
            (Peer::Node(_), Frame::Keys(keys)) => self.on_keys(turn, &keys),
            (Peer::Node(from), Frame::RefreshDue(due)) => self.on_refresh_due(turn, *from, &due),
            (_, Frame::Finished(finished)) => self.on_finished(turn, &finished),
            (Peer::Gateway(_), Frame::SetProposal(proposal)) => {
                self.on_set_proposal(turn, peer, &proposal);
            }
            (_, Frame::SetAcks(acks)) => self.on_set_acks(turn, &peer, &acks),
            (Peer::Gateway(_), Frame::OutstandingRequest) => {
                self.on_outstanding_request(turn, peer);
            }
            (_, Frame::KeysRequest) => {
                let keys = self.list_keys(turn.now);
                self.send(turn, peer.clone(), Frame::Keys(keys));
                if let Peer::Gateway(_) = peer {
                    self.send_key_states(turn, peer);
                }
            }
            (_, Frame::CharterRequest) => {
                self.send_charters_after(turn, &peer, CharterNumber(0));
            }
            // What only a gateway sends is not taken from a node, and the other way round.
            (_, frame) => self.on_statement(turn, peer, frame),
        }
    }

    /// What is taken from anybody, because it carries its own signatures or asks for what is no
    /// secret.
    fn on_statement(&mut self, turn: &mut Turn<'_>, peer: Peer, frame: Frame) {
        match frame {
            Frame::CharterApproval(approval) => {
                self.on_charter_approval(turn, &peer, &approval);
            }
            Frame::ProposalsRequest => {
                let mut proposals = self.list_proposals();
                if let Peer::Courier(_) = peer {
                    // Nobody knows who that is: whose requests a proposal would decide otherwise is
                    // not for strangers.
                    for proposal in &mut proposals {
                        (proposal.judged, proposal.flipped) = Default::default();
                        proposal.flips.clear();
                    }
                }
                let frame = Frame::Proposals(ProposalsFrame { proposals });
                self.send_after_all(turn, peer, frame);
            }
            Frame::Freeze(bytes) => self.on_freeze(turn, &peer, &bytes),
            Frame::Veto(bytes) => self.on_veto(turn, &peer, &bytes),
            Frame::Receipt(bytes) => self.on_receipt(turn, &peer, &bytes),
            Frame::FreezesRequest => self.on_freezes_request(turn, peer),
            Frame::Facts(bytes) => self.on_facts(turn, &peer, &bytes),
            _ => {}
        }
    }

    /// Whether a courier's frame is taken now. Answers to questions are long and cost nothing to ask
    /// for, so all couriers together get one a second, and a few at once. Statements are always taken.
    fn answers_courier(&mut self, now: TimeMs, frame: &Frame) -> bool {
        let question = matches!(
            frame,
            Frame::CharterRequest | Frame::FreezesRequest | Frame::ProposalsRequest
        );
        if !question {
            return true;
        }
        let paid = self.courier_answers.max(now);
        let answers = paid.since(now) < COURIER_ANSWERS_MAX * COURIER_ANSWER_MS;
        if answers {
            self.courier_answers = paid.plus(COURIER_ANSWER_MS);
        }
        answers
    }

    fn on_tick(&mut self, turn: &mut Turn<'_>) {
        // Also of a node that the charter in force does not name: the next one may.
        self.reconsider_charters(turn);
        if !self.is_member() {
            return;
        }
        self.beat(turn);
        self.expire_sessions(turn);
        self.remind(turn);
        self.retry_backups(turn);
        self.retire_epochs(turn);
        self.rotate(turn);
        self.reconsider_changes(turn);
        self.tend_sets(turn);
        self.tend_outstanding(turn.now);
        self.reconcile(turn);
        self.fill_pools(turn);
        self.pools.bound.expire(turn.now);
        if turn.now.since(self.last_sweep) >= config::SWEEP_MS {
            self.last_sweep = turn.now;
            self.ledger.sweep(&self.constitution, turn.now);
            self.pools.expire(turn.now);
            self.forget_lapsed(turn.now);
            self.actions.sweep(turn.now);
            self.forget_notices(turn.now);
            self.retain(turn);
        }
    }

    fn on_durable(&mut self, turn: &mut Turn<'_>, ticket: Ticket, head: Head) {
        if self.storage_failed {
            return;
        }
        self.head = head;
        self.last_durable = self.last_durable.max(ticket);
        let later = self.waiting.split_off(&Ticket(ticket.0.saturating_add(1)));
        let ready = std::mem::replace(&mut self.waiting, later);
        for continuation in ready.into_values().flatten() {
            match continuation {
                Continuation::Send(peer, frame) => self.send(turn, peer, frame),
                Continuation::Sign(_) if !self.is_member() => {}
                Continuation::Sign(pending) => self.answer(turn, *pending),
                Continuation::Compute(id, job) => turn.effects.push(Effect::Compute(id, job)),
                Continuation::BeginCeremony(request) => self.begin_ceremony(turn, request),
                Continuation::KeyStored(key, hash) => self.key_stored(turn, key, hash),
                Continuation::KeyActivated(key, hash) => self.key_activated(turn, key, hash),
                Continuation::FollowPeers => turn.effects.push(Effect::Peers),
                Continuation::ChangeRecorded(request) => self.change_recorded(turn, request),
                Continuation::ChangeStated(request, statement) => {
                    self.change_stated(turn, request, statement);
                }
            }
        }
    }

    fn on_computed(&mut self, turn: &mut Turn<'_>, id: JobId, result: JobResult) {
        match result {
            JobResult::BatchStarted(_) | JobResult::BatchAdvanced(_) => {
                self.on_batch_computed(turn, id, result);
            }
            JobResult::CeremonyStarted(_) | JobResult::CeremonyAdvanced(_) => {
                self.on_ceremony_computed(turn, id, result);
            }
        }
    }

    /// Writes a record. Nothing waits for it unless [`Self::after`] is called with the ticket.
    fn persist(&mut self, turn: &mut Turn<'_>, record: Record) -> Ticket {
        self.persist_with(turn, record, Vec::new())
    }

    fn persist_with(
        &mut self,
        turn: &mut Turn<'_>,
        record: Record,
        secrets: Vec<(String, SecretBytes<32>)>,
    ) -> Ticket {
        self.last_ticket = Ticket(self.last_ticket.0.saturating_add(1));
        turn.effects
            .push(Effect::Persist(self.last_ticket, record, secrets));
        self.last_ticket
    }

    /// Writes a record, and erases what is sealed under the labels in the same transaction.
    fn persist_erasing(
        &mut self,
        turn: &mut Turn<'_>,
        record: Record,
        labels: Vec<String>,
    ) -> Ticket {
        self.last_ticket = Ticket(self.last_ticket.0.saturating_add(1));
        turn.effects
            .push(Effect::Erase(self.last_ticket, record, labels));
        self.last_ticket
    }

    /// Sends a frame once everything written so far is durable.
    fn send_after_all(&mut self, turn: &mut Turn<'_>, to: Peer, frame: Frame) {
        if self.last_durable >= self.last_ticket {
            self.send(turn, to, frame);
        } else {
            self.after(self.last_ticket, Continuation::Send(to, frame));
        }
    }

    /// Continues once the ticket is durable.
    fn after(&mut self, ticket: Ticket, continuation: Continuation) {
        self.waiting.entry(ticket).or_default().push(continuation);
    }

    fn send(&self, turn: &mut Turn<'_>, to: Peer, frame: Frame) {
        turn.effects.push(Effect::Send(to, frame));
    }

    fn send_to_nodes(&self, turn: &mut Turn<'_>, frame: &Frame) {
        for node in self.peers.connected_nodes() {
            self.send(turn, Peer::Node(node), frame.clone());
        }
    }

    /// Sends a frame to every node and gateway but the one that it came from.
    fn flood_all(&self, turn: &mut Turn<'_>, from: &Peer, frame: &Frame) {
        self.flood(turn, from, frame);
        let gateways = self.pools.gateways().into_iter().map(Peer::Gateway);
        for gateway in gateways.filter(|gateway| gateway != from) {
            self.send(turn, gateway, frame.clone());
        }
    }

    fn next_job(&mut self) -> JobId {
        self.last_job = JobId(self.last_job.0.saturating_add(1));
        self.last_job
    }
}

/// Whether a frame is one that anybody may bring: a statement that carries its own signatures, or a
/// question about what is no secret.
#[must_use]
pub const fn courier_may(frame: &Frame) -> bool {
    matches!(
        frame,
        Frame::Freeze(_)
            | Frame::Veto(_)
            | Frame::Receipt(_)
            | Frame::Facts(_)
            | Frame::Charter(_)
            | Frame::CharterApproval(_)
            | Frame::CharterRequest
            | Frame::FreezesRequest
            | Frame::ProposalsRequest
    )
}
