//! The gateway's logic, without IO: `handle(now, event, &mut effects)`.
//!
//! The gateway is convenience, never authority: it reads payloads only to combine and to speak to
//! people, and every node judges for itself. What it must get right is that a presignature id is
//! used once, that a request id keeps one answer, and that nothing unverified is returned.

pub mod config;
pub mod event;
pub mod leases;
pub mod nodes;
pub mod outcome;
pub mod ports;

mod ceremony;
mod changes;
mod cluster;
mod epochs;
mod flight;
mod inquiries;
mod requests;
mod sets;
mod settled;
mod signing;
mod treasury;
mod verdicts;

pub use config::Config;
pub use event::{ClientId, Effect, Event, Metric, Misbehaviour};
pub use inquiries::Inquiry;
pub use outcome::Outcome;
pub use ports::{Charters, ClusterView, Combiner};

use changes::Standings;
use cluster::Submission;
use epochs::Older;
use flight::{Flight, Parked};
use leases::Leases;
use nodes::Nodes;
use outcome::KeyEntry;
use quoin_api::Frame;
use quoin_api::frame::Hello;
use quoin_core::cbor::Version;
use quoin_core::{KeyId, NodeIndex, RequestId, TimeMs};
use sets::Sets;
use settled::Settled;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The gateway's core.
pub struct Gateway {
    config: Config,
    combiner: Box<dyn Combiner>,
    charters: Box<dyn Charters>,
    boot: u64,
    nodes: Nodes,
    keys: BTreeMap<KeyId, Arc<KeyEntry>>,
    standings: Standings,
    /// The epoch before the newest of a key, while its presignatures may be honoured.
    older: BTreeMap<KeyId, Older>,
    leases: Leases,
    sets: Sets,
    /// A node showed a key of a charter that is not known here yet.
    keys_ahead: bool,
    flights: BTreeMap<RequestId, Flight>,
    parked: BTreeMap<RequestId, Parked>,
    settled: Settled,
    submissions: Vec<Submission>,
    inquiries: Vec<inquiries::Waiting>,
    attempts: u64,
    arrivals: u64,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway")
            .field("boot", &self.boot)
            .field("flights", &self.flights.len())
            .field("parked", &self.parked.len())
            .finish_non_exhaustive()
    }
}

impl Gateway {
    /// A gateway under the charter in force of `charters`; `boot` is fresh for each start.
    #[must_use]
    pub fn new(
        config: Config,
        charters: Box<dyn Charters>,
        combiner: Box<dyn Combiner>,
        boot: u64,
    ) -> Self {
        let mut nodes = Nodes::default();
        nodes.follow(charters.view().nodes.keys().copied());
        Self {
            settled: Settled::new(config.settled_max),
            config,
            combiner,
            charters,
            boot,
            nodes,
            keys: BTreeMap::new(),
            standings: Standings::default(),
            older: BTreeMap::new(),
            leases: Leases::default(),
            sets: Sets::default(),
            keys_ahead: false,
            flights: BTreeMap::new(),
            parked: BTreeMap::new(),
            submissions: Vec::new(),
            inquiries: Vec::new(),
            attempts: 0,
            arrivals: 0,
        }
    }

    /// Takes one event and appends what it wants done. `now` must not run backwards.
    pub fn handle(&mut self, now: TimeMs, event: Event, effects: &mut Vec<Effect>) {
        match event {
            Event::ClientRequest {
                client,
                stamp,
                payload,
            } => self.on_request(now, client, stamp, payload, effects),
            Event::ClientApproval { client, approval } => {
                self.on_approval(now, client, approval, effects);
            }
            Event::ClientQuery { client, request_id } => {
                effects.push(Effect::Reply(client, self.known(request_id)));
            }
            Event::CharterSubmitted { client, charter } => {
                self.on_charter_submitted(now, client, charter, effects);
            }
            Event::Inquired { client, inquiry } => {
                self.on_inquiry(now, client, inquiry, effects);
            }
            Event::CharterQuery { client } => {
                effects.push(Effect::Reply(client, self.charter_in_force()));
            }
            Event::KeysQuery { client } => {
                effects.push(Effect::Reply(client, self.known_keys()));
            }
            Event::StatusQuery { client } => {
                let status = Box::new(self.status(now));
                effects.push(Effect::Reply(client, Outcome::Status(status)));
            }
            Event::NodeUp(node) => self.on_node_up(now, node, effects),
            Event::NodeDown(node) => self.on_node_down(now, node, effects),
            Event::NodeFrame(node, frame) => {
                if self.nodes.knows(node) {
                    self.on_frame(now, node, frame, effects);
                }
            }
            Event::Tick => self.on_tick(now, effects),
        }
    }

    fn on_frame(&mut self, now: TimeMs, from: NodeIndex, frame: Frame, effects: &mut Vec<Effect>) {
        match frame {
            Frame::Hello(hello) => self.on_hello(now, from, &hello, effects),
            Frame::Heartbeat(bytes) => self.on_heartbeat(now, from, &bytes, effects),
            Frame::Charter(bytes) => self.on_charter(now, from, &bytes, effects),
            Frame::CharterReply(reply) => self.on_charter_reply(from, reply, effects),
            Frame::Reply(reply) => self.on_reply(now, from, reply, effects),
            Frame::LeaseGrant(grant) => self.on_grant(now, from, grant, effects),
            Frame::Keys(keys) => self.on_keys(now, from, keys, effects),
            Frame::KeyStates(states) => self.on_key_states(from, states, effects),
            Frame::SetAcks(acks) => self.on_set_acks(now, from, acks, effects),
            Frame::CharterRequest => {
                let charter = Frame::Charter(self.charters.bytes().to_vec());
                effects.push(Effect::Send(from, charter));
            }
            // Statements that nodes flood to everyone; a gateway has no use for them.
            Frame::Tombstone(_)
            | Frame::Finished(_)
            | Frame::Prepared(_)
            | Frame::Held(_)
            | Frame::CeremonyAbandoned(_)
            | Frame::RefreshDue(_)
            | Frame::Complaint(_)
            | Frame::Freeze(_)
            | Frame::Veto(_)
            | Frame::Receipt(_)
            | Frame::Facts(_)
            | Frame::Adopted(_)
            | Frame::CharterApproval(_) => {}
            Frame::StatementReply(_)
            | Frame::Freezes(_)
            | Frame::Proposals(_)
            | Frame::ExplainReply(_)
            | Frame::Outstanding(_) => self.on_word(now, from, frame, effects),
            Frame::Session(_)
            | Frame::SessionAborted(_)
            | Frame::Request(_)
            | Frame::Openings(_)
            | Frame::LeaseRequest(_)
            | Frame::FreezesRequest
            | Frame::SetProposal(_)
            | Frame::ProposalsRequest
            | Frame::ExplainRequest(_)
            | Frame::OutstandingRequest
            | Frame::KeysRequest => misbehaved(from, Misbehaviour::UnexpectedFrame, effects),
        }
    }

    fn on_tick(&mut self, now: TimeMs, effects: &mut Vec<Effect>) {
        let timeout_ms = self.config.attempt_timeout_ms;
        for id in self.flights_by_arrival(|f| f.is_due(now, timeout_ms)) {
            self.move_on(now, id, effects, |gateway, flight, effects| {
                gateway.check_time(now, flight, effects)
            });
        }
        self.parked.retain(|_, parked| now <= parked.ask.not_after);
        self.end_submissions(now, effects);
        self.end_inquiries(now, effects);
        self.forget_old_epochs(now);
        self.refresh_keys(now, effects);
        self.tend_sets(now, effects);
        self.prefetch(now, effects);
    }

    /// Requests under way that satisfy `wanted`, in the order of their arrival.
    fn flights_by_arrival(&self, wanted: impl Fn(&Flight) -> bool) -> Vec<RequestId> {
        let mut found: Vec<(u64, RequestId)> = self
            .flights
            .iter()
            .filter(|(_, flight)| wanted(flight))
            .map(|(id, flight)| (flight.seq, *id))
            .collect();
        found.sort_unstable();
        found.into_iter().map(|(_, id)| id).collect()
    }

    /// Applies `change` to a flight, which ends when it returns an outcome.
    fn move_on(
        &mut self,
        now: TimeMs,
        id: RequestId,
        effects: &mut Vec<Effect>,
        change: impl FnOnce(&mut Self, &mut Flight, &mut Vec<Effect>) -> Option<Outcome>,
    ) {
        let Some(mut flight) = self.flights.remove(&id) else {
            return;
        };
        match change(self, &mut flight, effects) {
            Some(outcome) => self.end(now, flight, outcome, effects),
            None => {
                self.flights.insert(id, flight);
            }
        }
    }

    fn hello(&self) -> Frame {
        Frame::Hello(Hello {
            version: Version,
            cluster: self.charters.view().cluster,
            build: concat!("quoin-gateway ", env!("CARGO_PKG_VERSION")).to_owned(),
            boot: self.boot,
        })
    }

    /// Sends a frame to every node but `except`, and keeps it for those that are away.
    fn post(&mut self, frame: &Frame, except: Option<NodeIndex>, effects: &mut Vec<Effect>) {
        let all: Vec<NodeIndex> = self.nodes.all().filter(|n| Some(*n) != except).collect();
        for node in all {
            if self.nodes.is_up(node) {
                effects.push(Effect::Send(node, frame.clone()));
            } else {
                self.nodes
                    .keep(node, frame.clone(), self.config.backlog_max);
            }
        }
    }

    fn next_attempt(&mut self) -> u64 {
        self.attempts += 1;
        self.attempts
    }

    fn next_arrival(&mut self) -> u64 {
        self.arrivals += 1;
        self.arrivals
    }
}

/// Notes what a node did.
fn misbehaved(node: NodeIndex, how: Misbehaviour, effects: &mut Vec<Effect>) {
    effects.push(Effect::Metric(Metric::Misbehaved { node, how }));
}

/// Node indices as people read them: `1, 3`.
fn list(nodes: &[NodeIndex]) -> String {
    let texts: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    texts.join(", ")
}
