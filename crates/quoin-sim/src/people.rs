//! Those who stop things: they freeze, lift, veto and propose, each at one node that lets them in, or
//! through the gateway, whoever holds that.

use crate::faults::below;
use crate::network::{Place, Scheduled};
use crate::setup::{BEGIN, TRADER, WATCHER};
use crate::workload::{self, FEE, Payee, Payment, What, Work, fresh_id};
use crate::world::{STORM_MS, World};
use quoin_api::Frame;
use quoin_core::cbor::Version;
use quoin_core::{FreezeId, NodeIndex, RequestId, Signed, TimeMs};
use quoin_gateway::core::{self as gateway, Inquiry};
use quoin_node::core::{Event, Peer};
use quoin_policy::{Freeze, FreezeLevel, FreezeScope, Subject, Veto};

/// For how much longer a storm with an island lasts: more than a lease.
const ISLAND_STORM_MS: u64 = 8_000;
/// For how long the island is cut off.
const ISLAND_MS: u64 = 7_500;
/// How soon somebody tries again at a node that is down.
const AGAIN_MS: u64 = 200;
/// How often somebody asks a node what it knows.
const ASK_MS: u64 = 900;
/// How long after the last fault all must know the same.
const AGREE_MS: u64 = 6_000;
/// For how long a node's time stands still after its clock has jumped, at most.
const STUCK_MS: u64 = 12_000;
/// How many cancels come with a freeze.
const CANCELS: u64 = 4;

/// What somebody does.
#[derive(Clone, Debug)]
pub enum Errand {
    /// Brings a statement to a node.
    Bring(NodeIndex, Box<Frame>),
    /// Brings one to the gateway.
    Hand(Box<Frame>),
    /// The governor proposes the rival charter at a node.
    Propose(NodeIndex),
    /// Asks some node what it knows of freezes.
    Ask,
    /// A node is cut off from all others.
    Island(NodeIndex),
}

/// What the people of a run have done and will do.
#[derive(Default)]
pub(crate) struct Errands {
    /// The ids of all freezes.
    pub(crate) freezes: Vec<FreezeId>,
    /// Whether the rival charter is proposed, and whether somebody will veto it.
    pub(crate) rival: bool,
    /// Whether it is out.
    pub(crate) proposed: bool,
    /// For how much longer the storm lasts.
    pub(crate) longer_ms: u64,
    /// Whether anything is done at all.
    busy: bool,
    /// When something last happened that nodes may differ in.
    last: TimeMs,
    couriers: u64,
}

impl Errands {
    /// Nodes may differ for a while from now on.
    pub(crate) fn stirred(&mut self, now: TimeMs) {
        self.last = self.last.max(now);
    }

    /// A clock has jumped.
    pub(crate) fn clock_jumped(&mut self, now: TimeMs) {
        self.stirred(now.plus(STUCK_MS));
    }

    /// Whether nodes have had the time to agree.
    pub(crate) fn is_quiet(&self, now: TimeMs) -> bool {
        now > self.last.plus(AGREE_MS)
    }

    /// Whether somebody must wait for that.
    pub(crate) fn is_waiting(&self, now: TimeMs) -> bool {
        self.busy && !self.is_quiet(now)
    }
}

impl World {
    /// When the storm ends.
    pub(crate) fn calm_at(&self) -> TimeMs {
        BEGIN.plus(STORM_MS + self.errands.longer_ms)
    }

    /// Draws who stops what, and when.
    pub(crate) fn plan_errands(&mut self, amends: bool) -> Option<()> {
        self.plan_vetoes();
        if !amends && below(&mut self.rng, 4) == 0 {
            self.plan_rival();
        }
        if self.faults.islands {
            self.plan_island()?;
        } else if below(&mut self.rng, 3) == 0 {
            for _ in 0..=below(&mut self.rng, 2) {
                let when = BEGIN.plus(500 + below(&mut self.rng, STORM_MS - 1_000));
                let (scope, level) = self.some_scope()?;
                self.plan_freeze(when, scope, level)?;
            }
        }
        if self.errands.busy {
            self.schedule
                .at(BEGIN.plus(ASK_MS), Scheduled::Errand(Errand::Ask));
        }
        Some(())
    }

    /// The watcher vetoes some of the payments that wait for an approval, at about that time.
    fn plan_vetoes(&mut self) {
        let waits = |work: &Work| {
            matches!(
                work.what,
                What::Pay {
                    to: Payee::Vault,
                    ..
                }
            )
        };
        let all: Vec<RequestId> = self
            .work
            .iter()
            .filter(|w| waits(w))
            .map(|w| w.request_id)
            .collect();
        for id in all {
            if below(&mut self.rng, 2) == 0 {
                let when = BEGIN.plus(200 + below(&mut self.rng, STORM_MS));
                let frame = self.veto(Subject::Request(id));
                self.plan_statement(when, frame);
                self.errands.busy = true;
            }
        }
    }

    /// A charter that is proposed at one node and vetoed at another, at about the time at which it
    /// would come into force.
    fn plan_rival(&mut self) {
        (self.errands.rival, self.errands.busy) = (true, true);
        // Whatever has the next number in this run has the same nodes.
        let [first, later] = &mut self.cluster.members;
        later.clone_from(first);
        self.checks.keep_quorum();
        let when = BEGIN.plus(500 + below(&mut self.rng, 2_500));
        if let Some(node) = self.some_member() {
            self.schedule
                .at(when, Scheduled::Errand(Errand::Propose(node)));
        }
        let hash = self.cluster.rival.unverified().hash();
        let frame = self.veto(Subject::Charter(hash));
        let veto = when.plus(below(&mut self.rng, 2_500));
        self.plan_statement(veto, frame);
    }

    /// One node is cut off from the others for longer than a lease, and somebody freezes: the gateway
    /// still reaches it, and callers go on asking.
    fn plan_island(&mut self) -> Option<()> {
        self.errands.longer_ms = ISLAND_STORM_MS;
        self.counts.islands += 1;
        let island = self.some_member()?;
        let when = BEGIN.plus(500 + below(&mut self.rng, 2_000));
        self.schedule
            .at(when, Scheduled::Errand(Errand::Island(island)));
        let scope = FreezeScope::All;
        let freeze = when.plus(100 + below(&mut self.rng, 1_500));
        self.plan_freeze(freeze, scope, FreezeLevel::Risk)?;
        for nonce in 0..6 {
            let at = when.plus(1_000 + below(&mut self.rng, ISLAND_STORM_MS));
            self.plan_payment(3_000 + nonce, Payee::Friend, at)?;
        }
        Some(())
    }

    fn some_scope(&mut self) -> Option<(FreezeScope, FreezeLevel)> {
        let scope = match below(&mut self.rng, 4) {
            0 => FreezeScope::Key("desk".parse().ok()?),
            1 => FreezeScope::Principal(TRADER.parse().ok()?),
            _ => FreezeScope::All,
        };
        let level = match below(&mut self.rng, 3) {
            0 => FreezeLevel::Hard,
            _ => FreezeLevel::Risk,
        };
        Some((scope, level))
    }

    /// A freeze, work in the corridor meanwhile, and mostly its end.
    fn plan_freeze(&mut self, when: TimeMs, scope: FreezeScope, level: FreezeLevel) -> Option<()> {
        self.errands.busy = true;
        let id = FreezeId(fresh_id(&mut self.rng).0);
        let freeze = Freeze {
            version: Version,
            cluster: self.cluster.cluster,
            id,
            principal: WATCHER.parse().ok()?,
            scope,
            level,
            at: when,
            reason: "it looks wrong".to_owned(),
        };
        let signed = Signed::sign(freeze, &self.cluster.watcher);
        self.plan_statement(when, Frame::Freeze(signed.to_bytes()));
        self.errands.freezes.push(id);
        let count = self.errands.freezes.len() as u64;
        for place in 0..CANCELS {
            let at = when.plus(100 + below(&mut self.rng, 1_500));
            self.plan_payment(4_000 + 10 * count + place, Payee::Oneself, at)?;
        }
        if below(&mut self.rng, 4) > 0 {
            let request = fresh_id(&mut self.rng);
            let lift = workload::lift(&self.cluster, request, vec![id], self.until)?;
            let after = match self.errands.longer_ms {
                0 => 300 + below(&mut self.rng, 3_000),
                longer => longer,
            };
            self.schedule
                .at(when.plus(after), Scheduled::Work(self.work.len()));
            self.work.push(lift);
        }
        Some(())
    }

    fn plan_payment(&mut self, nonce: u64, to: Payee, when: TimeMs) -> Option<()> {
        let payment = Payment {
            id: fresh_id(&mut self.rng),
            nonce,
            value: u64::from(to != Payee::Oneself),
            to,
            floor: 0,
            fee: FEE,
        };
        let work = workload::pay(&self.cluster, &self.cluster.key, payment, self.until)?;
        self.schedule.at(when, Scheduled::Work(self.work.len()));
        self.work.push(work);
        Some(())
    }

    fn veto(&self, subject: Subject) -> Frame {
        let veto = Veto {
            version: Version,
            cluster: self.cluster.cluster,
            subject,
            principal: self.watcher_id.clone(),
            at: BEGIN,
        };
        Frame::Veto(Signed::sign(veto, &self.cluster.watcher).to_bytes())
    }

    /// Somebody brings a statement to one node, or to the gateway.
    fn plan_statement(&mut self, when: TimeMs, frame: Frame) {
        let frame = Box::new(frame);
        let errand = match (below(&mut self.rng, 3), self.some_member()) {
            (0, _) | (_, None) => Errand::Hand(frame),
            (_, Some(node)) => Errand::Bring(node, frame),
        };
        self.schedule.at(when, Scheduled::Errand(errand));
    }

    fn some_member(&mut self) -> Option<NodeIndex> {
        let [first, _] = &self.cluster.members;
        let place = below(&mut self.rng, first.len() as u64) as usize;
        first.iter().nth(place).copied()
    }

    pub(crate) fn run_errand(&mut self, errand: Errand) {
        match errand {
            Errand::Bring(node, frame) => self.bring(node, frame),
            Errand::Hand(frame) => self.hand(frame),
            Errand::Propose(node) => self.propose(node),
            Errand::Ask => self.ask_around(),
            Errand::Island(node) => self.cut_off(node),
        }
    }

    fn courier(&mut self, node: NodeIndex, frame: Frame) {
        self.errands.couriers += 1;
        let peer = Peer::Courier(self.errands.couriers);
        self.feed_node(node, Event::Frame(peer, frame));
    }

    fn is_up(&self, node: NodeIndex) -> bool {
        self.nodes.get(&node).is_some_and(|n| n.core.is_some())
    }

    fn bring(&mut self, node: NodeIndex, frame: Box<Frame>) {
        if !self.is_up(node) {
            let again = Scheduled::Errand(Errand::Bring(node, frame));
            return self.schedule.at(self.now.plus(AGAIN_MS), again);
        }
        self.told(&frame);
        self.note(&format!("a courier comes to node {node}"), &[node.get()]);
        self.courier(node, *frame);
    }

    fn told(&mut self, frame: &Frame) {
        self.errands.stirred(self.now);
        self.counts.freezes += u64::from(matches!(frame, Frame::Freeze(_)));
        self.counts.vetoes += u64::from(matches!(frame, Frame::Veto(_)));
    }

    /// The gateway is to tell all nodes. One in an attacker's hands may tell some of them, or none.
    fn hand(&mut self, frame: Box<Frame>) {
        if self.gateway.core.is_none() {
            let again = Scheduled::Errand(Errand::Hand(frame));
            return self.schedule.at(self.now.plus(AGAIN_MS), again);
        }
        self.told(&frame);
        self.note("somebody hands a statement to the gateway", b"hand");
        let client = self.new_client();
        let inquiry = Inquiry::Statement(frame);
        self.feed_gateway(gateway::Event::Inquired { client, inquiry });
    }

    fn propose(&mut self, node: NodeIndex) {
        if !self.is_up(node) {
            let again = Scheduled::Errand(Errand::Propose(node));
            return self.schedule.at(self.now.plus(AGAIN_MS), again);
        }
        self.errands.stirred(self.now);
        let rival = self.cluster.rival.unverified().hash();
        self.errands.proposed = true;
        self.checks.issue(rival);
        self.note("another charter is proposed", b"propose");
        let frame = Frame::Charter(self.cluster.rival.to_bytes());
        self.courier(node, frame);
    }

    /// Anybody may ask what is frozen.
    fn ask_around(&mut self) {
        let again = Scheduled::Errand(Errand::Ask);
        self.schedule.at(self.now.plus(ASK_MS), again);
        if let Some(node) = self.some_node().filter(|n| self.is_up(*n)) {
            self.courier(node, Frame::FreezesRequest);
        }
    }

    fn cut_off(&mut self, island: NodeIndex) {
        let others: Vec<NodeIndex> = self
            .nodes
            .keys()
            .copied()
            .filter(|n| *n != island)
            .collect();
        self.note(&format!("node {island} is cut off"), b"island");
        for other in others {
            for ends in [(island, other), (other, island)] {
                let (from, to) = (Place::Node(ends.0), Place::Node(ends.1));
                self.cuts.insert((from, to));
                let heal = Scheduled::Heal(from, to);
                self.schedule.at(self.now.plus(ISLAND_MS), heal);
            }
        }
    }
}
