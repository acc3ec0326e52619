//! The shell of simulated nodes: disk, clock, jobs, deaths and restarts.

use crate::disk::Disk;
use crate::faults::{
    CLOCK_JUMP_MS, CLOCK_WRONG_MS, Defect, SKEW_MS_MAX, SLOW_SYNC_MS_MAX, below, chance,
};
use crate::network::{Place, Scheduled};
use crate::twin::Twin;
use crate::violation::Violation;
use crate::workload::{Payee, What};
use crate::world::World;
use quoin_api::Frame;
use quoin_api::frame::{Opaque, Reply};
use quoin_api::statements::{Answer, Heartbeat};
use quoin_core::payload::KeyChange;
use quoin_core::{Certificate, Generation, Lane, NodeIndex, SecretBytes, Signed, TimeMs};
use quoin_gateway::core as gateway;
use quoin_node::core::{
    Effect, Event, JobId, Node, NodeConfig, NoticeRecord, Peer, PoolSizes, Record, Recovered,
    Ticket,
};
use quoin_protocol::KeyPublic;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A heartbeat at this age certainly counts for the one who holds it.
const BEAT_FRESH_MS: u64 = 4_000;
/// How many records a disk holds before the first start: the key and its activation.
const RECORDS_AT_FIRST: usize = 2;

/// A node and what surrounds it.
pub(crate) struct SimNode {
    pub(crate) core: Option<Node>,
    pub(crate) disk: Disk,
    pub(crate) life: u64,
    pub(crate) twin: Option<Twin>,
    sync_ms_max: u64,
    /// How far its clock is ahead of the latest one's, for ever.
    behind_ms: u64,
    /// How far its clock has jumped.
    jumped_ms: u64,
    /// For how long its clock stood still.
    stopped_ms: u64,
    /// The latest time that it was told.
    time: TimeMs,
    /// Whose newest heartbeat has a time that is far from its own, and when it heard it.
    contradicted: BTreeMap<NodeIndex, TimeMs>,
    /// The newest heartbeat of each peer that it has heard in this life.
    heard: BTreeMap<NodeIndex, (Generation, u64)>,
}

impl SimNode {
    pub(crate) fn new(disk: Disk, slow: bool, rng: &mut ChaCha20Rng) -> Self {
        Self {
            core: None,
            disk,
            life: 0,
            twin: None,
            sync_ms_max: if slow { SLOW_SYNC_MS_MAX } else { 0 },
            behind_ms: below(rng, 2 * SKEW_MS_MAX),
            jumped_ms: 0,
            stopped_ms: 0,
            time: TimeMs(0),
            contradicted: BTreeMap::new(),
            heard: BTreeMap::new(),
        }
    }

    /// Its clock has stood still.
    pub(crate) const fn stop_clock(&mut self, for_ms: u64) {
        self.stopped_ms += for_ms;
    }

    fn wall(&mut self, now: TimeMs) -> TimeMs {
        let ahead = 2 * SKEW_MS_MAX + self.jumped_ms - self.behind_ms;
        let wall = TimeMs(now.plus(ahead).0.saturating_sub(self.stopped_ms));
        self.time = self.time.max(wall);
        wall
    }
}

impl World {
    pub(crate) fn up(&self) -> Vec<NodeIndex> {
        let up = self.nodes.iter().filter(|(_, n)| n.core.is_some());
        up.map(|(i, _)| *i).collect()
    }

    pub(crate) fn is_alive(&self, node: NodeIndex, life: u64) -> bool {
        self.nodes
            .get(&node)
            .is_some_and(|n| n.core.is_some() && n.life == life)
    }

    fn recovered(&self, node: NodeIndex) -> Option<Result<Recovered, String>> {
        let sim = self.nodes.get(&node)?;
        let identity = self.cluster.nodes.get(&node)?;
        let [first, _] = &self.cluster.members;
        let node_is_new = !first.contains(&node);
        let Some(mut records) = sim.disk.records() else {
            return Some(Err("a record cannot be read back".to_owned()));
        };
        match self.defect {
            Some(Defect::ForgottenStrikes) => {
                records.retain(|(_, record)| !matches!(record, Record::Fault(_)));
            }
            Some(Defect::ForgottenLifts) => {
                records.retain(|(_, record)| !matches!(record, Record::Unfrozen(_)));
            }
            _ => {}
        }
        let pool = PoolSizes {
            low: 6,
            batch: 8,
            reserve: 0,
        };
        Some(Ok(Recovered {
            config: NodeConfig {
                build: "simulation".to_owned(),
                ecdsa_pool: pool,
                schnorr_pool: pool,
                dangerous_model_scheme: true,
                refresh_interval_ms: 0,
            },
            identity: Arc::clone(identity),
            genesis: self.cluster.genesis.clone(),
            charters: match node_is_new {
                true => vec![self.cluster.amendment.clone()],
                false => Vec::new(),
            },
            lane: Lane(0),
            records,
            head: sim.disk.head(),
            shares: sim.disk.shares(),
        }))
    }

    fn start_core(
        &self,
        node: NodeIndex,
        effects: &mut Vec<Effect>,
    ) -> Option<Result<Node, String>> {
        let started = self
            .recovered(node)?
            .and_then(|r| Node::recover(r, effects).map_err(|e| e.to_string()));
        Some(started)
    }

    /// Starts a node from its disk; its boot record is durable before anybody hears of it.
    pub(crate) fn restart(&mut self, node: NodeIndex) {
        if self.nodes.get(&node).is_none_or(|n| n.core.is_some()) {
            return;
        }
        let mut effects = Vec::new();
        let core = match self.start_core(node, &mut effects) {
            Some(Ok(core)) => core,
            Some(Err(why)) => {
                let violation = Violation::NotRecovered(node, why);
                return self.checks.violations.push(violation);
            }
            None => return,
        };
        let wants_twin =
            self.defect == Some(Defect::ClonedMemory) && self.nodes.keys().next() == Some(&node);
        let twin = match wants_twin {
            true => self.start_core(node, &mut Vec::new()).and_then(Result::ok),
            false => None,
        };
        let Some(sim) = self.nodes.get_mut(&node) else {
            return;
        };
        sim.core = Some(core);
        sim.twin = twin.map(Twin::new);
        sim.life += 1;
        sim.contradicted.clear();
        sim.heard.clear();
        sim.time = sim.disk.latest();
        let at = sim.wall(self.now).max(sim.time);
        for effect in effects {
            if let Effect::Persist(ticket, record, secrets) = effect {
                sim.disk.append(ticket, at, &record, secrets);
            }
        }
        let durable = sim.disk.sync(usize::MAX);
        self.note(&format!("node {node} starts"), &[node.get()]);
        self.checks.stops.started(node);
        let [first, _] = &self.cluster.members;
        if !first.contains(&node) {
            let handed = self.cluster.amendment.unverified().hash();
            self.checks.stops.took_over(node, handed);
        }
        if let Some((ticket, head)) = durable {
            self.feed_node(node, Event::Durable(ticket, head));
        }
        if self.gateway.core.is_some() {
            self.feed_gateway(gateway::Event::NodeUp(node));
            let peer = Peer::Gateway(self.gateway_name.clone());
            self.feed_node(node, Event::Connected(peer));
        }
        for other in self.up().into_iter().filter(|o| *o != node) {
            self.feed_node(node, Event::Connected(Peer::Node(other)));
            self.feed_node(other, Event::Connected(Peer::Node(node)));
        }
    }

    pub(crate) fn crash(&mut self, node: NodeIndex) {
        let Some(sim) = self.nodes.get_mut(&node) else {
            return;
        };
        if sim.core.take().is_none() {
            return;
        }
        sim.twin = None;
        let survivors = below(&mut self.rng, sim.disk.unsynced() as u64 + 1) as usize;
        sim.disk.crash(survivors);
        self.epochs.on_crash(node);
        self.show_synced(node);
        self.counts.crashes += 1;
        self.note(&format!("node {node} dies"), &[node.get(), 0xff]);
        self.feed_gateway(gateway::Event::NodeDown(node));
        for other in self.up() {
            self.feed_node(other, Event::Disconnected(Peer::Node(node)));
        }
        let down = 50 + below(&mut self.rng, self.faults.down_ms_max);
        let restart = Scheduled::Restart(node);
        self.schedule.at(self.now.plus(down), restart);
    }

    pub(crate) fn sync(&mut self, node: NodeIndex, life: u64) {
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
        self.show_synced(node);
        if let Some((ticket, head)) = durable {
            self.feed_node(node, Event::Durable(ticket, head));
        }
    }

    /// Shows the checkers what is durable now.
    fn show_synced(&mut self, node: NodeIndex) {
        if let Some(sim) = self.nodes.get(&node) {
            for record in sim.disk.newly_synced() {
                self.checks.on_durable(node, self.now, &record);
                let found = self.epochs.on_durable(node, self.now, &record);
                self.checks.violations.extend(found);
                let erased = matches!(record, Record::EpochErased { .. });
                self.counts.shares_erased += u64::from(erased);
            }
            if sim.disk.newly_sealed() {
                let found = self.epochs.on_disk(node, sim.disk.sealed());
                self.checks.violations.extend(found);
            }
        }
    }

    pub(crate) fn false_sync(&mut self, node: NodeIndex, life: u64, ticket: Ticket) {
        let head = self.nodes.get(&node).map(|n| n.disk.head());
        if let Some(head) = head.filter(|_| self.is_alive(node, life)) {
            self.feed_node(node, Event::Durable(ticket, head));
        }
    }

    /// Every disk is replaced by a copy from the beginning: more nodes go back than `f_tol`.
    pub(crate) fn restore_older_disks(&mut self) {
        let all: Vec<NodeIndex> = self.nodes.keys().copied().collect();
        for node in &all {
            self.crash(*node);
            if let Some(sim) = self.nodes.get_mut(node) {
                sim.disk.roll_back(RECORDS_AT_FIRST);
            }
        }
        self.crash_gateway();
    }

    pub(crate) fn clock_jump(&mut self) {
        let place = below(&mut self.rng, self.nodes.len() as u64) as usize;
        let Some((&node, sim)) = self.nodes.iter_mut().nth(place) else {
            return;
        };
        sim.jumped_ms = CLOCK_JUMP_MS;
        sim.contradicted.clear();
        self.counts.clock_jumps += 1;
        self.checks
            .stops
            .clock_jumped(CLOCK_JUMP_MS + CLOCK_WRONG_MS);
        self.errands.clock_jumped(self.now);
        self.note(&format!("node {node}'s clock jumps"), b"jump");
        let when = self.now.plus(CLOCK_WRONG_MS);
        self.schedule.at(when, Scheduled::ClockBack(node));
    }

    pub(crate) fn clock_back(&mut self, node: NodeIndex) {
        if let Some(sim) = self.nodes.get_mut(&node) {
            sim.jumped_ms = 0;
        }
    }

    /// A node is about to hear a frame of another: notes heartbeats that tell it that its clock is
    /// wrong.
    pub(crate) fn heard(&mut self, node: NodeIndex, frame: &Frame) {
        let Frame::Heartbeat(bytes) = frame else {
            return;
        };
        let Some(sim) = self.nodes.get_mut(&node) else {
            return;
        };
        let time = sim.wall(self.now).max(sim.time);
        let Ok(beat) = Signed::<Heartbeat>::from_bytes(bytes) else {
            return;
        };
        let beat = beat.unverified();
        let from = beat.boot.node;
        let place = (beat.boot.generation, beat.counter);
        let known = sim.heard.insert(from, place);
        let newest = self.checks.newest_beat(from) == Some((beat.boot, beat.counter));
        if newest && known != Some(place) {
            // A clock that stands still after a jump is right again once the others have caught up.
            let far = beat.at.0.abs_diff(time.0) > CLOCK_JUMP_MS / 2;
            sim.contradicted.remove(&from);
            sim.contradicted.extend(far.then_some((from, time)));
        }
    }

    /// For the defects that hide a wrong clock, or freezes: every heartbeat says what the recipient's
    /// says.
    pub(crate) fn blinded(&mut self, from: NodeIndex, to: NodeIndex, frame: Frame) -> Frame {
        let blind = matches!(self.defect, Some(Defect::BlindClock | Defect::BlindFreezes));
        let Frame::Heartbeat(bytes) = &frame else {
            return frame;
        };
        if !blind {
            return frame;
        }
        let (Ok(beat), Some(identity), Some(sim)) = (
            Signed::<Heartbeat>::from_bytes(bytes),
            self.cluster.nodes.get(&from),
            self.nodes.get(&to),
        ) else {
            return frame;
        };
        let mut beat = beat.unverified().clone();
        match self.defect {
            Some(Defect::BlindClock) => beat.at = sim.time,
            _ => beat.freezes = self.checks.freezes_of(to).unwrap_or(beat.freezes),
        }
        Frame::Heartbeat(Signed::sign(beat, identity).to_bytes())
    }

    /// For the defect that lets one node speak of freezes for all others.
    pub(crate) fn echo(&mut self, from: NodeIndex, to: NodeIndex, frame: &Frame) {
        let lies = self.liars.nodes.contains(&from) && matches!(frame, Frame::Freezes(_));
        if self.defect != Some(Defect::EchoedLifts) || !lies {
            return;
        }
        let others: Vec<NodeIndex> = self.nodes.keys().copied().filter(|n| *n != to).collect();
        for other in others {
            self.feed_node(to, Event::Frame(Peer::Node(other), frame.clone()));
        }
    }

    /// For the defects that keep a statement from a core: what its disk gets in its place.
    fn swallowed(&mut self, node: NodeIndex, event: &Event) -> bool {
        let Event::Frame(_, frame) = event else {
            return false;
        };
        let freezes = matches!(frame, Frame::Freeze(_) | Frame::Freezes(_));
        let first = self.nodes.keys().next() == Some(&node);
        let record = match (self.defect, frame) {
            (Some(Defect::LostFreezes | Defect::BlindFreezes), _) => return first && freezes,
            (Some(Defect::DeafToFreezes), Frame::Freeze(bytes)) => {
                Record::Freeze(Opaque(bytes.clone()))
            }
            (Some(Defect::DeafToFreezes), _) => return freezes,
            (Some(Defect::DeafToVetoes), Frame::Veto(bytes)) => Record::Veto(NoticeRecord {
                statement: Opaque(bytes.clone()),
                seen: self.now,
            }),
            _ => return false,
        };
        self.checks.on_durable(node, self.now, &record);
        true
    }

    /// A node that has decided with a clock that all its peers contradict has judged by it.
    fn check_clock(&mut self, node: NodeIndex, record: &Record) {
        let decided = match record {
            Record::Decision(decision) => Some(decision.request_id),
            Record::Consumed(consumed) => Some(consumed.request_id),
            _ => None,
        };
        // What takes a key out of use is never held up by clocks, nor what is in the corridor.
        let restricts = |what: &What| match what {
            What::Change(change) => *change == KeyChange::Suspend,
            What::Pay { to, .. } => *to == Payee::Oneself,
            _ => false,
        };
        let mut exempt = self.work.iter().filter(|work| restricts(&work.what));
        let decides = decided.is_some_and(|id| exempt.all(|work| work.request_id != id));
        let Some(sim) = self.nodes.get(&node) else {
            return;
        };
        // One peer that contradicts could be the one that is wrong.
        let fresh = |at: &&TimeMs| sim.time.since(**at) < BEAT_FRESH_MS;
        let told = sim.contradicted.values().filter(fresh).count() >= 2;
        // With several wrong clocks at a time nobody can tell who is right.
        let ahead = |n: &SimNode, by: u64| n.time.0 > self.now.0 + 2 * SKEW_MS_MAX + by;
        let others_right = self
            .nodes
            .iter()
            .all(|(i, n)| *i == node || !ahead(n, SKEW_MS_MAX));
        let alone = self.liars.nodes.is_empty() && others_right;
        if decides && told && alone && ahead(sim, CLOCK_JUMP_MS / 2) {
            self.checks
                .violations
                .push(Violation::SignedWithWrongClock(node));
        }
    }

    pub(crate) fn feed_node(&mut self, node: NodeIndex, event: Event) {
        if self.swallowed(node, &event) {
            return;
        }
        let Some(event) = self.through_twin(node, event) else {
            return;
        };
        let mut effects = Vec::new();
        let Some(sim) = self.nodes.get_mut(&node) else {
            return;
        };
        let time = sim.wall(self.now);
        let Some(core) = sim.core.as_mut() else {
            return;
        };
        core.handle(time, event, &mut effects);
        let life = sim.life;
        for effect in effects {
            // A process may die between any two effects.
            let likely = self.crash_chance();
            if chance(&mut self.rng, likely) {
                return self.crash(node);
            }
            self.carry_out(node, life, effect);
        }
    }

    /// The randomness of a job depends on nothing but the job, so that a copy of a node computes
    /// what the node computes.
    pub(crate) fn job_rng(&self, node: NodeIndex, life: u64, job: JobId) -> ChaCha20Rng {
        let mut seed = [0u8; 32];
        let words = [self.seed, u64::from(node.get()), life, job.0];
        let bytes = words.iter().flat_map(|w| w.to_be_bytes());
        seed.iter_mut().zip(bytes).for_each(|(s, b)| *s = b);
        ChaCha20Rng::from_seed(seed)
    }

    /// Writes a record to a node's disk, with what it seals and what it erases.
    fn write(
        &mut self,
        node: NodeIndex,
        life: u64,
        (ticket, record): (Ticket, Record),
        mut secrets: Vec<(String, SecretBytes<32>)>,
        mut erased: Vec<String>,
    ) {
        match (self.defect, &record) {
            (Some(Defect::ForgottenShares), _) => secrets.clear(),
            (Some(Defect::EraseEarly), Record::KeyActive { certificate, .. }) => {
                let disk = self.nodes.get(&node).map(|n| n.disk.sealed());
                let labels = disk.into_iter().flatten().map(|(label, _)| label);
                if let Some(before) = label_before(&certificate.0) {
                    erased.extend(labels.filter(|l| l.starts_with(&before)).cloned());
                }
            }
            _ => {}
        }
        let bytes = record.to_bytes();
        self.trace.add(
            self.now,
            || {
                format!(
                    "node {node} writes {}",
                    crate::trace::name_of_record(&record)
                )
            },
            &bytes,
        );
        self.check_clock(node, &record);
        self.notice_handover(&record);
        let found = self.epochs.on_written(node, &record);
        self.checks.violations.extend(found);
        self.counts.sets += u64::from(matches!(record, Record::SetAdopted(_)));
        let time = self.nodes.get(&node).map(|n| n.time);
        let found = time.and_then(|time| self.checks.stops.on_written(node, time, &record));
        self.checks.violations.extend(found);
        let Some(sim) = self.nodes.get_mut(&node) else {
            return;
        };
        let at = sim.time;
        sim.disk.append_bytes(ticket, at, bytes, secrets, erased);
        let longest = self.faults.sync_ms_max.max(sim.sync_ms_max);
        let when = self.now.plus(below(&mut self.rng, longest + 1));
        self.schedule.at(when, Scheduled::Sync(node, life));
        if self.defect == Some(Defect::LyingDisk) {
            let lie = Scheduled::FalseSync(node, life, ticket);
            self.schedule.at(self.now, lie);
        }
    }

    fn carry_out(&mut self, node: NodeIndex, life: u64, effect: Effect) {
        match effect {
            Effect::Persist(ticket, record, secrets) => {
                self.write(node, life, (ticket, record), secrets, Vec::new());
            }
            Effect::Erase(ticket, record, labels) => {
                self.write(node, life, (ticket, record), Vec::new(), labels);
            }
            Effect::Send(Peer::Node(to), frame) => {
                self.send_from(node, Place::Node(to), frame);
            }
            // Nobody alters on the way what a courier is told.
            Effect::Send(Peer::Courier(_), frame) => {
                if !self.liars.nodes.contains(&node) {
                    self.inspect(node, &frame);
                }
            }
            Effect::Send(Peer::Gateway(_), frame) => {
                self.send_from(node, Place::Gateway, frame);
            }
            Effect::Compute(id, job) => {
                let result = Box::new(job.run(&mut self.job_rng(node, life, id)));
                let longest = self.faults.job_ms_max + 1;
                let when = self.now.plus(below(&mut self.rng, longest));
                let done = Scheduled::Job(node, life, id, result);
                self.schedule.at(when, done);
            }
            Effect::Peers => {
                let dial = Scheduled::Dial(node, life);
                self.schedule.at(self.now.plus(1), dial);
            }
            Effect::BackUp(share, policy) => self.back_up(node, life, &share, &policy),
            Effect::Alarm(alarm) => {
                let what = format!("node {node} alarms: {alarm:?}");
                self.note(&what, what.as_bytes());
            }
        }
    }

    /// A node sends: the checkers see what an honest one sends, and a malicious one lies.
    pub(crate) fn send_from(&mut self, node: NodeIndex, to: Place, frame: Frame) {
        if !self.liars.nodes.contains(&node) {
            self.inspect(node, &frame);
            return self.transmit(Place::Node(node), to, &frame);
        }
        for (to, frame) in self.lie(node, to, frame) {
            self.transmit(Place::Node(node), to, &frame);
        }
    }

    /// Shows the checkers what leaves an honest node.
    fn inspect(&mut self, node: NodeIndex, frame: &Frame) {
        let found = self.epochs.on_sent(node, frame);
        self.checks.violations.extend(found);
        match frame {
            Frame::Heartbeat(bytes) => self.checks.on_beat(bytes),
            Frame::Freezes(shown) => {
                let found = self.checks.stops.on_shown(node, shown);
                self.checks.violations.extend(found);
            }
            Frame::Reply(reply) => {
                let Reply::Answer(bytes) = &reply.reply else {
                    return;
                };
                if let Ok(answer) = Signed::<Answer>::from_bytes(bytes) {
                    self.checks.on_answer(self.now, answer.unverified());
                    let found = self.epochs.on_answer(self.now, answer.unverified());
                    self.checks.violations.extend(found);
                }
            }
            _ => {}
        }
    }
}

/// How the labels begin under which shares of the epoch before a certified one are sealed.
fn label_before(certificate: &[u8]) -> Option<String> {
    let certificate = Certificate::<KeyPublic>::from_bytes(certificate).ok()?;
    let public = certificate.unverified();
    let before = public.epoch.0.checked_sub(1)?;
    Some(format!("share/{}/{before}/", public.key))
}
