//! One run: the cores, the schedule, and what the seed does to them.

use crate::checks::{Checks, Violation};
use crate::disk::Disk;
use crate::faults::{Faults, below, chance};
use crate::network::{Place, Schedule, Scheduled};
use crate::setup::{BEGIN, Cluster};
use crate::trace::Trace;
use crate::workload::{self, Work};
use quoin_api::Frame;
use quoin_api::frame::{Reply, RequestFrame};
use quoin_api::statements::Answer;
use quoin_chain::Digest;
use quoin_core::{GatewayId, Lane, NodeIndex, RequestId, Signed, Stamp, TimeMs};
use quoin_gateway::adapters::{CharterChain, ThresholdCombiner};
use quoin_gateway::core::{self as gateway, ClientId, Gateway};
use quoin_node::core::{Effect, Event, Node, NodeConfig, Peer, PoolSizes, Recovered};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How long a storm lasts, and how long the calm after it may take to sign again.
const STORM_MS: u64 = 5_000;
const CALM_MS: u64 = 40_000;
const TICK_MS: u64 = 100;
/// Callers ask again this often while they have no final answer.
const RETRY_MS: u64 = 1_500;

/// What a run gave.
pub struct Outcome {
    /// What must never happen and did.
    pub violations: Vec<Violation>,
    /// How many requests were signed.
    pub signed: u64,
    /// How many were refused.
    pub refused: u64,
    /// How often a node died.
    pub crashes: u64,
    /// The hash of everything that happened.
    pub trace: [u8; 32],
    /// What happened, when it was kept.
    pub lines: Vec<String>,
}

impl Outcome {
    /// The trace's hash as text.
    #[must_use]
    pub fn trace_hex(&self) -> String {
        self.trace.iter().map(|b| format!("{b:02x}")).collect()
    }
}

struct SimNode {
    core: Option<Node>,
    disk: Disk,
    life: u64,
}

struct World {
    cluster: Cluster,
    faults: Faults,
    rng: ChaCha20Rng,
    now: TimeMs,
    schedule: Schedule,
    nodes: BTreeMap<NodeIndex, SimNode>,
    gateway: Gateway,
    gateway_name: GatewayId,
    work: Vec<Work>,
    /// Which requests have a final answer.
    settled: BTreeMap<usize, &'static str>,
    /// Frames that a hostile gateway has kept to play again.
    kept: Vec<RequestFrame>,
    clients: u64,
    waiting: BTreeMap<ClientId, usize>,
    checks: Checks,
    trace: Trace,
    signed: u64,
    refused: u64,
    crashes: u64,
    calm: bool,
}

/// Runs one seed.
#[must_use]
pub fn run_seed(seed: u64, keep_lines: bool) -> Outcome {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let (n, t) = if below(&mut rng, 4) == 0 {
        (5, 3)
    } else {
        (3, 2)
    };
    let count = 4 + below(&mut rng, 12) as usize;
    let cap = 3 + below(&mut rng, 30);
    let faults = Faults::draw(&mut rng);
    let Some(cluster) = Cluster::build(n, t, cap, &mut rng) else {
        return failed(Violation::NoRecovery(
            "the cluster cannot be built".to_owned(),
        ));
    };
    let Some(mut world) = World::new(cluster, faults, count, rng, keep_lines) else {
        return failed(Violation::NoRecovery(
            "the gateway refuses the genesis".to_owned(),
        ));
    };
    world.run();
    world.finish()
}

fn failed(violation: Violation) -> Outcome {
    Outcome {
        violations: vec![violation],
        signed: 0,
        refused: 0,
        crashes: 0,
        trace: [0; 32],
        lines: Vec::new(),
    }
}

impl World {
    fn new(
        mut cluster: Cluster,
        faults: Faults,
        count: usize,
        mut rng: ChaCha20Rng,
        keep_lines: bool,
    ) -> Option<Self> {
        let until = BEGIN.plus(STORM_MS + CALM_MS + 60_000);
        let mut work = workload::draw(&cluster, count, until, &mut rng);
        // The last request comes with the calm; it must be signed unless the budget is used up.
        let last = work.iter().map(|w| w.nonce + 1).max().unwrap_or(0);
        work.push(workload::request(
            &cluster,
            RequestId([0xee; 16]),
            last,
            1,
            true,
            until,
        ));
        let genesis = cluster.genesis.to_bytes();
        let charters = CharterChain::from_genesis(&genesis, cluster.cluster).ok()?;
        let config = gateway::Config {
            lease_want: 8,
            lease_low: 2,
            ..gateway::Config::default()
        };
        let gateway = Gateway::new(config, Box::new(charters), Box::new(ThresholdCombiner), 1);
        let disks = std::mem::take(&mut cluster.disks);
        let nodes = disks.into_iter().map(|(n, disk)| {
            (
                n,
                SimNode {
                    core: None,
                    disk,
                    life: 0,
                },
            )
        });
        Some(Self {
            nodes: nodes.collect(),
            gateway_name: "gateway".parse().ok()?,
            cluster,
            faults,
            rng,
            now: BEGIN,
            schedule: Schedule::default(),
            gateway,
            work,
            settled: BTreeMap::new(),
            kept: Vec::new(),
            clients: 0,
            waiting: BTreeMap::new(),
            checks: Checks::default(),
            trace: Trace::new(keep_lines),
            signed: 0,
            refused: 0,
            crashes: 0,
            calm: false,
        })
    }

    fn run(&mut self) {
        let all: Vec<NodeIndex> = self.nodes.keys().copied().collect();
        all.iter()
            .for_each(|n| self.schedule.at(BEGIN, Scheduled::Restart(*n)));
        self.schedule.at(BEGIN.plus(TICK_MS), Scheduled::Tick);
        self.schedule.at(BEGIN.plus(STORM_MS), Scheduled::Calm);
        for place in 0..self.work.len().saturating_sub(1) {
            let when = BEGIN.plus(200 + below(&mut self.rng, STORM_MS - 200));
            self.schedule.at(when, Scheduled::Work(place));
        }
        let end = BEGIN.plus(STORM_MS + CALM_MS);
        while let Some((when, what)) = self.schedule.pop() {
            self.now = when;
            if when > end || (self.calm && self.all_settled()) {
                break;
            }
            self.step(what);
        }
    }

    fn all_settled(&self) -> bool {
        self.settled.len() == self.work.len()
    }

    fn step(&mut self, what: Scheduled) {
        match what {
            Scheduled::Arrive { from, to, frame } => self.arrive(from, to, *frame),
            Scheduled::Sync(node, life) => self.sync(node, life),
            Scheduled::Job(node, life, id, result) => {
                if self.is_alive(node, life) {
                    self.feed_node(node, Event::Computed(id, *result));
                }
            }
            Scheduled::Restart(node) => self.restart(node),
            Scheduled::Tick => self.tick(),
            Scheduled::Work(place) => self.ask(place),
            Scheduled::Calm => {
                self.trace.add(self.now, || "calm".to_owned(), b"calm");
                self.calm = true;
                self.faults = Faults::none();
                self.schedule
                    .at(self.now.plus(1_000), Scheduled::Work(self.work.len() - 1));
            }
        }
    }

    fn tick(&mut self) {
        self.schedule.at(self.now.plus(TICK_MS), Scheduled::Tick);
        let up: Vec<NodeIndex> = self.up();
        up.into_iter().for_each(|n| self.feed_node(n, Event::Tick));
        self.feed_gateway(gateway::Event::Tick);
    }

    fn up(&self) -> Vec<NodeIndex> {
        self.nodes
            .iter()
            .filter(|(_, n)| n.core.is_some())
            .map(|(i, _)| *i)
            .collect()
    }

    fn is_alive(&self, node: NodeIndex, life: u64) -> bool {
        self.nodes
            .get(&node)
            .is_some_and(|n| n.core.is_some() && n.life == life)
    }

    fn life(&self, place: Place) -> u64 {
        match place {
            Place::Node(node) => self.nodes.get(&node).map_or(0, |n| n.life),
            Place::Gateway => 0,
        }
    }

    /// Starts a node from its disk; its boot record is durable before anybody hears of it.
    fn restart(&mut self, node: NodeIndex) {
        let Some(sim) = self.nodes.get_mut(&node) else {
            return;
        };
        let Some(identity) = self.cluster.nodes.get(&node) else {
            return;
        };
        let Some(records) = sim.disk.records() else {
            let why = "a record cannot be read back".to_owned();
            return self
                .checks
                .violations
                .push(Violation::NotRecovered(node, why));
        };
        let pool = PoolSizes { low: 6, batch: 8 };
        let recovered = Recovered {
            config: NodeConfig {
                build: "simulation".to_owned(),
                ecdsa_pool: pool,
                schnorr_pool: pool,
                dangerous_model_scheme: true,
            },
            identity: Arc::clone(identity),
            genesis: self.cluster.genesis.clone(),
            lane: Lane(0),
            records,
            head: sim.disk.head(),
            shares: sim.disk.shares(),
        };
        let mut effects = Vec::new();
        match Node::recover(recovered, &mut effects) {
            Ok(core) => sim.core = Some(core),
            Err(error) => {
                let violation = Violation::NotRecovered(node, error.to_string());
                return self.checks.violations.push(violation);
            }
        }
        sim.life += 1;
        for effect in effects {
            if let Effect::Persist(ticket, record, secrets) = effect {
                sim.disk.append(ticket, self.now, &record, secrets);
            }
        }
        let durable = sim.disk.sync(usize::MAX);
        self.trace
            .add(self.now, || format!("node {node} starts"), &[node.get()]);
        if let Some((ticket, head)) = durable {
            self.feed_node(node, Event::Durable(ticket, head));
        }
        self.feed_gateway(gateway::Event::NodeUp(node));
        self.feed_node(
            node,
            Event::Connected(Peer::Gateway(self.gateway_name.clone())),
        );
        for other in self.up().into_iter().filter(|o| *o != node) {
            self.feed_node(node, Event::Connected(Peer::Node(other)));
            self.feed_node(other, Event::Connected(Peer::Node(node)));
        }
    }

    fn crash(&mut self, node: NodeIndex) {
        let Some(sim) = self.nodes.get_mut(&node) else {
            return;
        };
        if sim.core.take().is_none() {
            return;
        }
        let survivors = below(&mut self.rng, sim.disk.unsynced() as u64 + 1) as usize;
        sim.disk.crash(survivors);
        self.checks.on_synced(node, &sim.disk);
        self.crashes += 1;
        self.trace.add(
            self.now,
            || format!("node {node} dies"),
            &[node.get(), 0xff],
        );
        self.feed_gateway(gateway::Event::NodeDown(node));
        for other in self.up() {
            self.feed_node(other, Event::Disconnected(Peer::Node(node)));
        }
        let down = 50 + below(&mut self.rng, self.faults.down_ms_max);
        self.schedule
            .at(self.now.plus(down), Scheduled::Restart(node));
    }

    fn sync(&mut self, node: NodeIndex, life: u64) {
        if !self.is_alive(node, life) {
            return;
        }
        let Some(sim) = self.nodes.get_mut(&node) else {
            return;
        };
        if sim.disk.unsynced() == 0 {
            return;
        }
        let durable = sim.disk.sync(usize::MAX);
        self.checks.on_synced(node, &sim.disk);
        if let Some((ticket, head)) = durable {
            self.feed_node(node, Event::Durable(ticket, head));
        }
    }

    fn feed_node(&mut self, node: NodeIndex, event: Event) {
        let mut effects = Vec::new();
        let Some(sim) = self.nodes.get_mut(&node) else {
            return;
        };
        let Some(core) = sim.core.as_mut() else {
            return;
        };
        core.handle(self.now, event, &mut effects);
        let life = sim.life;
        for effect in effects {
            // A process may die between any two effects.
            if chance(&mut self.rng, self.faults.crash) {
                return self.crash(node);
            }
            self.carry_out(node, life, effect);
        }
    }

    fn carry_out(&mut self, node: NodeIndex, life: u64, effect: Effect) {
        match effect {
            Effect::Persist(ticket, record, secrets) => {
                self.trace.add(
                    self.now,
                    || format!("node {node} writes {ticket:?}"),
                    &record.to_bytes(),
                );
                let Some(sim) = self.nodes.get_mut(&node) else {
                    return;
                };
                sim.disk.append(ticket, self.now, &record, secrets);
                let when = self
                    .now
                    .plus(below(&mut self.rng, self.faults.sync_ms_max + 1));
                self.schedule.at(when, Scheduled::Sync(node, life));
            }
            Effect::Send(Peer::Node(to), frame) => {
                self.transmit(Place::Node(node), Place::Node(to), frame);
            }
            Effect::Send(Peer::Gateway(_), frame) => {
                self.inspect(&frame);
                self.transmit(Place::Node(node), Place::Gateway, frame);
            }
            Effect::Compute(id, job) => {
                let result = Box::new(job.run(&mut self.rng));
                let when = self
                    .now
                    .plus(below(&mut self.rng, self.faults.job_ms_max + 1));
                self.schedule
                    .at(when, Scheduled::Job(node, life, id, result));
            }
            Effect::Alarm(alarm) => {
                self.trace.add(
                    self.now,
                    || format!("node {node} alarms: {alarm:?}"),
                    b"alarm",
                );
            }
        }
    }

    /// Shows the checkers every partial signature that leaves a node.
    fn inspect(&mut self, frame: &Frame) {
        let Frame::Reply(reply) = frame else { return };
        let Reply::Answer(bytes) = &reply.reply else {
            return;
        };
        let Ok(answer) = Signed::<Answer>::from_bytes(bytes) else {
            return;
        };
        let answer = answer.unverified();
        let digest = self
            .work
            .iter()
            .filter(|w| w.request_id == answer.request_id)
            .find_map(|w| digest_of(&self.cluster, w))
            .unwrap_or_default();
        self.checks.on_answer(&self.cluster, answer, &digest);
    }

    fn transmit(&mut self, from: Place, to: Place, frame: Frame) {
        let copies = if chance(&mut self.rng, self.faults.drop) {
            0
        } else {
            1 + u64::from(chance(&mut self.rng, self.faults.duplicate))
        };
        let from = (from, self.life(from));
        let to = (to, self.life(to));
        for _ in 0..copies {
            let when = self
                .now
                .plus(1 + below(&mut self.rng, self.faults.delay_ms_max));
            let frame = Box::new(frame.clone());
            self.schedule
                .at(when, Scheduled::Arrive { from, to, frame });
        }
    }

    fn arrive(&mut self, from: (Place, u64), to: (Place, u64), frame: Frame) {
        // A frame does not outlive the connection that it was sent on.
        if self.life(from.0) != from.1 || self.life(to.0) != to.1 {
            return;
        }
        let bytes = frame.to_bytes();
        let what = || format!("{:?} -> {:?}: {}", from.0, to.0, name_of(&frame));
        self.trace.add(self.now, what, &bytes);
        let Ok(frame) = Frame::from_bytes(&bytes) else {
            return;
        };
        match (from.0, to.0) {
            (Place::Node(from), Place::Node(to)) => {
                self.feed_node(to, Event::Frame(Peer::Node(from), frame));
            }
            (Place::Gateway, Place::Node(to)) => {
                let peer = Peer::Gateway(self.gateway_name.clone());
                self.feed_node(to, Event::Frame(peer, frame));
            }
            (Place::Node(from), Place::Gateway) => {
                self.feed_gateway(gateway::Event::NodeFrame(from, frame));
            }
            (Place::Gateway, Place::Gateway) => {}
        }
    }

    fn ask(&mut self, place: usize) {
        if self.settled.contains_key(&place) {
            return;
        }
        let Some(work) = self.work.get(place).cloned() else {
            return;
        };
        self.clients += 1;
        let client = ClientId(self.clients);
        self.waiting.insert(client, place);
        self.schedule
            .at(self.now.plus(RETRY_MS), Scheduled::Work(place));
        self.feed_gateway(gateway::Event::ClientRequest {
            client,
            stamp: work.stamp,
            payload: work.payload_bytes,
        });
    }

    fn feed_gateway(&mut self, event: gateway::Event) {
        let mut effects = Vec::new();
        self.gateway.handle(self.now, event, &mut effects);
        for effect in effects {
            match effect {
                gateway::Effect::Send(node, frame) => {
                    let frame = self.tampered(frame);
                    self.transmit(Place::Gateway, Place::Node(node), frame);
                }
                gateway::Effect::Reply(client, outcome) => self.replied(client, &outcome),
                gateway::Effect::CharterAdopted { .. } | gateway::Effect::Metric(_) => {}
            }
        }
    }

    /// What a hostile gateway makes of a request: other content under the same presignature, an
    /// old request under a new presignature, or bytes that were flipped.
    fn tampered(&mut self, frame: Frame) -> Frame {
        let Frame::Request(mut request) = frame else {
            return frame;
        };
        if !self.faults.hostile_gateway {
            return Frame::Request(request);
        }
        if self.kept.len() < 64 {
            self.kept.push(request.clone());
        }
        let pick = below(&mut self.rng, self.kept.len() as u64) as usize;
        match below(&mut self.rng, 6) {
            0 => {
                let place = below(&mut self.rng, request.payload.len() as u64) as usize;
                if let Some(byte) = request.payload.get_mut(place) {
                    *byte ^= 1;
                }
            }
            1 => {
                if let Some(old) = self.kept.get(pick) {
                    request.stamp.clone_from(&old.stamp);
                    request.payload.clone_from(&old.payload);
                }
            }
            2 => {
                if let Some(old) = self.kept.get(pick) {
                    request.signing.clone_from(&old.signing);
                }
            }
            _ => {}
        }
        Frame::Request(request)
    }

    fn replied(&mut self, client: ClientId, outcome: &gateway::Outcome) {
        let Some(place) = self.waiting.remove(&client) else {
            return;
        };
        let Some(work) = self.work.get(place) else {
            return;
        };
        let kind = outcome.kind();
        let id = work.request_id;
        self.trace.add(
            self.now,
            || format!("request {id}: {kind}"),
            kind.as_bytes(),
        );
        let count = match outcome {
            gateway::Outcome::Signed(signed) => {
                self.checks.on_signed(&self.cluster, work, &signed.finished);
                &mut self.signed
            }
            gateway::Outcome::Refused(_) | gateway::Outcome::Conflict(_) => &mut self.refused,
            _ => return,
        };
        if self.settled.insert(place, kind).is_none() {
            *count += 1;
        }
    }

    /// After the calm the last request must have an answer.
    fn finish(mut self) -> Outcome {
        let last = self.work.len() - 1;
        if !self.settled.contains_key(&last) {
            let up = self.up().len();
            let why = format!("the last request has no answer, {up} nodes are up");
            self.checks.violations.push(Violation::NoRecovery(why));
        }
        let (trace, lines) = self.trace.finish();
        Outcome {
            violations: self.checks.violations,
            signed: self.signed,
            refused: self.refused,
            crashes: self.crashes,
            trace,
            lines,
        }
    }
}

fn digest_of(cluster: &Cluster, work: &Work) -> Option<Vec<u8>> {
    let scheme = cluster.key.scheme;
    let decoded = quoin_chain::decode(&work.payload, &cluster.account, scheme).ok()?;
    match decoded.digest() {
        Digest::Prehash(prehash) => Some(prehash.to_vec()),
        _ => None,
    }
}

fn name_of(frame: &Frame) -> String {
    match frame {
        Frame::Request(request) => {
            let id = Signed::<Stamp>::from_bytes(&request.stamp)
                .map_or("?".to_owned(), |s| s.unverified().request_id.to_string());
            format!("request {id}")
        }
        Frame::Reply(reply) => {
            let kind = match &reply.reply {
                Reply::Answer(_) => "answer".to_owned(),
                Reply::Denied(_) => "denied".to_owned(),
                other => format!("{other:?}").chars().take(60).collect(),
            };
            format!("reply to {}: {kind}", reply.request_id)
        }
        other => format!("{other:?}").chars().take(30).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_trace() {
        for seed in 1..4 {
            assert_eq!(
                run_seed(seed, false).trace,
                run_seed(seed, true).trace,
                "seed {seed}"
            );
        }
    }

    #[test]
    fn seeds_run_without_a_violation_and_something_is_signed() {
        let mut signed = 0;
        for seed in 1..40 {
            let outcome = run_seed(seed, false);
            assert!(
                outcome.violations.is_empty(),
                "seed {seed}: {:?}",
                outcome.violations
            );
            signed += outcome.signed;
        }
        assert!(signed > 40, "{signed}");
    }
}
