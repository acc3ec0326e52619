//! One run: the cores, the schedule, and what the seed does to them.
//!
//! The shells of the nodes and of the gateway are in `nodes` and `gateways`, the callers in
//! `callers`; who holds the gateway or a node with ill intent is in `hostile` and `liar`.

use crate::changes::{Changes, draw_size};
use crate::checks::{Checks, Facts};
use crate::epochs::Epochs;
use crate::faults::{Counts, Defect, Faults, below, chance};
use crate::gateways::SimGateway;
use crate::liar::Liars;
use crate::network::{Place, Schedule, Scheduled};
use crate::nodes::SimNode;
use crate::people::Errands;
use crate::setup::{BEGIN, Cluster, WATCHER};
use crate::stops::{Quorum, Stops};
use crate::trace::Trace;
use crate::violation::Violation;
use crate::workload::{self, FEE, Payee, Payment, Work, fresh_id};
use quoin_api::Frame;
use quoin_core::{GatewayId, NodeIndex, PrincipalId, RequestId, TimeMs};
use quoin_gateway::core::ClientId;
use quoin_node::core::{Event, Peer};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How long a storm lasts, and how long the calm after it may take to answer every request.
pub(crate) const STORM_MS: u64 = 5_000;
const CALM_MS: u64 = 200_000;
/// How long a calm lasts when malicious nodes may deny for ever.
const LIARS_CALM_MS: u64 = 5_000;
const TICK_MS: u64 = 100;
/// After how many steps a run counts as one that does not end: many times what any needs.
const STEPS_MAX: u64 = 400_000;
/// How many of the last steps of such a run are kept, and how many lines of them are told.
const STEPS_KEPT: u64 = 200;
const LINES_TOLD: usize = 24;
/// For how long a direction of a link stays silent, at most.
const CUT_MS_MAX: u64 = 2_500;

/// How to run a seed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Keep lines to read.
    pub keep_lines: bool,
    /// What each line is shown to as it comes.
    pub show: Option<fn(&str)>,
    /// Put a defect in.
    pub defect: Option<Defect>,
}

/// What a run gave.
pub struct Outcome {
    /// What must never happen and did.
    pub violations: Vec<Violation>,
    /// What was done and what came of it.
    pub counts: Counts,
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

    fn failed(why: &str) -> Self {
        Self {
            violations: vec![Violation::NoRecovery(why.to_owned())],
            counts: Counts::default(),
            trace: [0; 32],
            lines: Vec::new(),
        }
    }
}

pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) defect: Option<Defect>,
    pub(crate) cluster: Cluster,
    pub(crate) faults: Faults,
    pub(crate) rng: ChaCha20Rng,
    pub(crate) now: TimeMs,
    pub(crate) schedule: Schedule,
    pub(crate) nodes: BTreeMap<NodeIndex, SimNode>,
    pub(crate) gateway: SimGateway,
    pub(crate) gateway_name: GatewayId,
    /// Directions that carry nothing now.
    pub(crate) cuts: BTreeSet<(Place, Place)>,
    pub(crate) liars: Liars,
    pub(crate) work: Vec<Work>,
    pub(crate) until: TimeMs,
    /// Which requests have a final answer.
    pub(crate) settled: BTreeMap<usize, &'static str>,
    /// What a hostile gateway has kept to play again.
    pub(crate) kept: Vec<Frame>,
    pub(crate) clients: u64,
    pub(crate) waiting: BTreeMap<ClientId, usize>,
    /// Whether the second charter is out, and whether the gateway has said so.
    pub(crate) amended: (bool, bool),
    pub(crate) changes: Changes,
    pub(crate) errands: Errands,
    pub(crate) watcher_id: PrincipalId,
    pub(crate) checks: Checks,
    pub(crate) epochs: Epochs,
    pub(crate) trace: Trace,
    pub(crate) counts: Counts,
    pub(crate) calm: bool,
}

/// Runs one seed.
#[must_use]
pub fn run_seed(seed: u64, keep_lines: bool) -> Outcome {
    let options = Options {
        keep_lines,
        ..Options::default()
    };
    run_with(seed, options)
}

/// Runs one seed, perhaps with a defect.
#[must_use]
pub fn run_with(seed: u64, options: Options) -> Outcome {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let (n, t) = match below(&mut rng, 8) {
        0 | 1 => (5, 3),
        2 => (4, 3),
        _ => (3, 2),
    };
    let count = 4 + below(&mut rng, 12) as usize;
    let cap = 3 + below(&mut rng, 30);
    let mut faults = Faults::draw(t, &mut rng);
    if n == 4 && below(&mut rng, 2) == 0 {
        // As many malicious nodes as sticky budgets and slots bear there.
        faults.liars = 1;
    }
    let size = draw_size(n, t, &faults, &mut rng);
    let Some(cluster) = Cluster::build(size, cap, options.defect, &mut rng) else {
        return Outcome::failed("the cluster cannot be built");
    };
    let Some(mut world) = World::new(cluster, faults, seed, options, rng) else {
        return Outcome::failed("the gateway refuses the genesis");
    };
    if world.plan(count).is_none() {
        return Outcome::failed("the workload cannot be made");
    }
    world.run();
    world.finish()
}

impl World {
    fn new(
        mut cluster: Cluster,
        faults: Faults,
        seed: u64,
        options: Options,
        mut rng: ChaCha20Rng,
    ) -> Option<Self> {
        let liars = Liars::draw(faults.liars, &cluster, &mut rng);
        let quorums = quorums(&cluster);
        let [quorum, _] = quorums.clone();
        let mut checks = Checks::new(Facts {
            cap: cluster.cap,
            charters: vec![cluster.genesis.unverified().hash()],
            liars: liars.nodes.clone(),
            sticky: cluster.sticky,
            f_tol: cluster.f_tol,
            quorums,
        });
        checks.stops = Stops::new(liars.nodes.clone(), quorum);
        checks.add_key(cluster.key.clone());
        let backed_up = cluster.genesis.unverified().backup.is_some();
        let mut epochs = Epochs::new(liars.nodes.clone(), backed_up);
        epochs.begin(&cluster.key, BEGIN);
        let mut disks = std::mem::take(&mut cluster.disks);
        for (node, disk) in &disks {
            checks
                .violations
                .extend(epochs.on_disk(*node, disk.sealed()));
        }
        // Who is named by the second charter only begins with nothing.
        for node in cluster.nodes.keys() {
            disks.entry(*node).or_default();
        }
        let slow = faults.slow_disk.then(|| below(&mut rng, 3) as usize);
        let nodes = disks.into_iter().enumerate().map(|(place, (n, disk))| {
            let is_slow = slow == Some(place);
            (n, SimNode::new(disk, is_slow, &mut rng))
        });
        Some(Self {
            nodes: nodes.collect(),
            gateway: SimGateway::start(&cluster, 1)?,
            gateway_name: "gateway".parse().ok()?,
            seed,
            defect: options.defect,
            cluster,
            counts: Counts {
                slow_disks: u64::from(slow.is_some()),
                ..Counts::default()
            },
            faults,
            rng,
            now: BEGIN,
            schedule: Schedule::default(),
            cuts: BTreeSet::new(),
            liars,
            work: Vec::new(),
            until: BEGIN.plus(STORM_MS + CALM_MS + 60_000),
            settled: BTreeMap::new(),
            kept: Vec::new(),
            clients: 0,
            waiting: BTreeMap::new(),
            amended: (false, false),
            changes: Changes::default(),
            errands: Errands::default(),
            watcher_id: WATCHER.parse().ok()?,
            checks,
            epochs,
            trace: Trace::new(options.keep_lines, options.show),
            calm: false,
        })
    }

    /// Draws the workload and schedules it. The last request comes with the calm.
    fn plan(&mut self, count: usize) -> Option<()> {
        self.work = workload::draw(&self.cluster, count, self.until, &mut self.rng);
        for place in 0..self.work.len() {
            let when = 200 + below(&mut self.rng, STORM_MS - 200);
            self.schedule.at(BEGIN.plus(when), Scheduled::Work(place));
        }
        // A malicious node can stop every ceremony, which needs all nodes.
        if below(&mut self.rng, 4) == 0 && self.liars.nodes.is_empty() {
            let id = fresh_id(&mut self.rng);
            let work = workload::make_key(&self.cluster, id, "second", self.until)?;
            let when = 200 + below(&mut self.rng, STORM_MS / 2);
            let scheduled = Scheduled::Work(self.work.len());
            self.schedule.at(BEGIN.plus(when), scheduled);
            self.work.push(work);
        }
        self.plan_changes()?;
        let mut payment = Payment {
            id: RequestId([0xee; 16]),
            nonce: 1_000,
            value: 1,
            to: Payee::Friend,
            floor: 0,
            fee: FEE,
        };
        let amends = below(&mut self.rng, 3) == 0;
        self.plan_errands(amends)?;
        if amends {
            let when = BEGIN.plus(500 + below(&mut self.rng, STORM_MS - 1_500));
            self.schedule.at(when, Scheduled::Amend);
            self.plan_reshares(when)?;
            payment.to = Payee::Stranger;
            payment.floor = 1;
            for extra in 1..3 {
                let late = Payment {
                    id: fresh_id(&mut self.rng),
                    nonce: payment.nonce + extra,
                    ..payment
                };
                let at = when.plus(below(&mut self.rng, 1_000));
                self.schedule.at(at, Scheduled::Work(self.work.len()));
                let work = workload::pay(&self.cluster, &self.cluster.key, late, self.until)?;
                self.work.push(work);
            }
        }
        let last = workload::pay(&self.cluster, &self.cluster.key, payment, self.until)?;
        let when = BEGIN.plus(STORM_MS + 1_000);
        self.schedule.at(when, Scheduled::Work(self.work.len()));
        self.work.push(last);
        self.work.iter().for_each(|work| self.checks.expect(work));
        Some(())
    }

    fn run(&mut self) {
        let [first, _] = &self.cluster.members;
        first
            .iter()
            .for_each(|n| self.schedule.at(BEGIN, Scheduled::Restart(*n)));
        self.schedule.at(BEGIN.plus(TICK_MS), Scheduled::Tick);
        self.schedule.at(self.calm_at(), Scheduled::Calm);
        if self.defect == Some(Defect::OlderDisks) {
            let half = BEGIN.plus(STORM_MS / 2);
            self.schedule.at(half, Scheduled::Restore);
        }
        let end = self.calm_at().plus(CALM_MS);
        let (mut shown, mut steps) = (0, 0u64);
        while let Some((when, what)) = self.schedule.pop() {
            self.now = when;
            for found in self.checks.violations.iter().skip(shown) {
                let found = found.to_string();
                self.trace.add(when, || format!("VIOLATION: {found}"), b"");
            }
            shown = self.checks.violations.len();
            let waits = self.errands.is_waiting(when);
            // Who settles late is given the time for what comes last, too.
            let last = self.changes.over.unwrap_or(end);
            let late = when > end.max(last).plus(self.changes.paused_ms);
            if late || (self.calm && self.all_settled() && self.is_over() && !waits) {
                break;
            }
            // A pause puts off what was next, too.
            self.step(what);
            steps += 1;
            if steps + STEPS_KEPT == STEPS_MAX {
                self.trace.keep();
            } else if steps == STEPS_MAX {
                let last = self.trace.last(LINES_TOLD);
                let why = format!("{steps} steps, and the run does not end: {last}");
                self.checks.violations.push(Violation::NoRecovery(why));
                break;
            }
        }
        self.check_settled();
    }

    /// Whether everything has been answered that must be.
    fn all_settled(&self) -> bool {
        let last = self.work.len().saturating_sub(1);
        let honest = self.liars.nodes.is_empty();
        // With malicious nodes nothing must be, and nobody waits for long.
        let waited_ms = LIARS_CALM_MS + self.changes.paused_ms;
        let waited = self.now > self.calm_at().plus(waited_ms);
        let mut open = self.work.iter().enumerate();
        (!honest && waited)
            || self.settled.len() > last
            || (honest
                && !open.any(|(place, work)| {
                    !self.settled.contains_key(&place) && self.must_settle(work)
                }))
    }

    fn step(&mut self, what: Scheduled) {
        match what {
            Scheduled::Arrive { from, to, frame } => self.arrive(from, to, &frame),
            Scheduled::Sync(node, life) => self.sync(node, life),
            Scheduled::FalseSync(node, life, ticket) => self.false_sync(node, life, ticket),
            Scheduled::Job(node, life, id, result) => {
                if self.is_alive(node, life) {
                    self.feed_node(node, Event::Computed(id, *result));
                }
            }
            Scheduled::Restart(node) => self.restart(node),
            Scheduled::RestartGateway => self.restart_gateway(),
            Scheduled::Heal(from, to) => self.heal(from, to),
            Scheduled::ClockBack(node) => self.clock_back(node),
            Scheduled::Tick => self.tick(),
            Scheduled::Work(place) => self.ask(place),
            Scheduled::Approve(place, approval) => self.approve(place, approval),
            Scheduled::Errand(errand) => self.run_errand(errand),
            Scheduled::Amend => self.amend(),
            Scheduled::Pause => self.pause(),
            Scheduled::Dial(node, life) => self.dial(node, life),
            Scheduled::BackedUp(node, life, of, written) => {
                self.backed_up(node, life, of, written);
            }
            Scheduled::Restore => self.restore_older_disks(),
            Scheduled::Calm => self.calm_down(),
        }
    }

    fn calm_down(&mut self) {
        self.note("calm", b"calm");
        self.calm = true;
        self.errands.stirred(self.now);
        self.faults = self.faults.calm();
        self.cuts.clear();
        let all: Vec<NodeIndex> = self.nodes.keys().copied().collect();
        all.into_iter().for_each(|node| self.clock_back(node));
    }

    fn tick(&mut self) {
        self.schedule.at(self.now.plus(TICK_MS), Scheduled::Tick);
        if chance(&mut self.rng, self.faults.gateway_crash) {
            self.crash_gateway();
        }
        if chance(&mut self.rng, self.faults.cut) {
            self.cut();
        }
        if chance(&mut self.rng, self.faults.clock_jump) {
            self.clock_jump();
        }
        self.up()
            .into_iter()
            .for_each(|n| self.feed_node(n, Event::Tick));
        self.feed_gateway(quoin_gateway::core::Event::Tick);
    }

    /// One direction of one link goes silent; nobody is told.
    fn cut(&mut self) {
        let nodes = self.nodes.keys().copied().map(Place::Node);
        let places: Vec<Place> = nodes.chain([Place::Gateway]).collect();
        let mut pick = || {
            let place = below(&mut self.rng, places.len() as u64) as usize;
            places.get(place).copied().unwrap_or(Place::Gateway)
        };
        let (from, to) = (pick(), pick());
        if from == to || !self.cuts.insert((from, to)) {
            return;
        }
        self.counts.cuts += 1;
        self.note(&format!("{from} -> {to} goes silent"), b"cut");
        let when = self.now.plus(100 + below(&mut self.rng, CUT_MS_MAX));
        self.schedule.at(when, Scheduled::Heal(from, to));
    }

    fn heal(&mut self, from: Place, to: Place) {
        if self.cuts.remove(&(from, to)) {
            self.note(&format!("{from} -> {to} carries again"), b"heal");
        }
    }

    pub(crate) fn note(&mut self, what: &str, bytes: &[u8]) {
        self.trace.add(self.now, || what.to_owned(), bytes);
    }

    pub(crate) fn life(&self, place: Place) -> u64 {
        match place {
            Place::Node(node) => self.nodes.get(&node).map_or(0, |n| n.life),
            Place::Gateway => self.gateway.life,
        }
    }

    pub(crate) fn transmit(&mut self, from: Place, to: Place, frame: &Frame) {
        let lost = chance(&mut self.rng, self.faults.drop) || self.cuts.contains(&(from, to));
        if lost {
            self.counts.frames_lost += 1;
            return;
        }
        let doubled = chance(&mut self.rng, self.faults.duplicate);
        self.counts.frames_doubled += u64::from(doubled);
        let frame = self.altered_message(from, to, frame.clone());
        let bytes: Arc<[u8]> = frame.to_bytes().into();
        let from = (from, self.life(from));
        let to = (to, self.life(to));
        for _ in 0..=u64::from(doubled) {
            let delay = 1 + below(&mut self.rng, self.faults.delay_ms_max);
            let frame = Arc::clone(&bytes);
            let arrive = Scheduled::Arrive { from, to, frame };
            self.schedule.at(self.now.plus(delay), arrive);
        }
    }

    fn arrive(&mut self, from: (Place, u64), to: (Place, u64), bytes: &[u8]) {
        // A frame does not outlive the connection that it was sent on.
        if self.life(from.0) != from.1 || self.life(to.0) != to.1 {
            return;
        }
        let Ok(frame) = Frame::from_bytes(bytes) else {
            return;
        };
        let what = || format!("{} -> {}: {}", from.0, to.0, crate::trace::name_of(&frame));
        self.trace.add(self.now, what, bytes);
        match (from.0, to.0) {
            (Place::Node(from), Place::Node(to)) => {
                self.heard(to, &frame);
                let frame = self.blinded(from, to, frame);
                self.echo(from, to, &frame);
                self.feed_node(to, Event::Frame(Peer::Node(from), frame));
            }
            (Place::Gateway, Place::Node(to)) => {
                let lost = self.calm && self.defect == Some(Defect::LostRequests);
                if lost && matches!(frame, Frame::Request(_)) {
                    return;
                }
                let peer = Peer::Gateway(self.gateway_name.clone());
                self.feed_node(to, Event::Frame(peer, frame));
            }
            (Place::Node(from), Place::Gateway) => {
                self.feed_gateway(quoin_gateway::core::Event::NodeFrame(from, frame));
            }
            (Place::Gateway, Place::Gateway) => {}
        }
    }

    /// Whether a request must have an answer. A malicious node is a fault that does not stop, and
    /// may deny; a key ceremony of which some nodes have missed the end is not resumed by this
    /// version, so ceremonies must end only where nothing got lost.
    fn must_settle(&self, work: &Work) -> bool {
        let undisturbed = self.counts.frames_lost
            + self.counts.crashes
            + self.counts.gateway_crashes
            + self.counts.clock_jumps
            == 0;
        let made_key = matches!(work.what, workload::What::MakeKey);
        self.liars.nodes.is_empty() && (undisturbed || !made_key)
    }

    /// Long after the last fault and the last statement honest nodes know the same.
    fn check_agreement(&mut self) {
        if !self.calm || !self.errands.is_quiet(self.now) {
            return;
        }
        let rival = self.cluster.rival.unverified().hash();
        let split = self.errands.rival && self.checks.stops.is_split(rival);
        let [first, later] = &self.cluster.members;
        let amended = self.cluster.amendment.unverified().hash();
        let members = match self.checks.stops.is_in_force(amended) {
            true => later,
            false => first,
        };
        if !members.is_subset(&self.up().into_iter().collect()) {
            return;
        }
        let found = self.checks.disagreement(members, split);
        self.checks
            .violations
            .extend(found.map(Violation::Diverged));
    }

    /// After the calm every request that is still wanted must have an answer.
    fn finish(mut self) -> Outcome {
        // A veto that comes while a charter comes into force can split the nodes for good.
        let rival = self.cluster.rival.unverified().hash();
        let split = self.errands.rival && self.checks.stops.is_split(rival);
        for (place, work) in self.work.iter().enumerate() {
            if split || !self.must_settle(work) {
                continue;
            }
            if !self.settled.contains_key(&place) {
                let up = self.nodes.values().filter(|n| n.core.is_some()).count();
                let why = format!(
                    "request {} ({:?}) has no answer, {up} nodes are up",
                    work.request_id, work.what
                );
                self.checks.violations.push(Violation::NoRecovery(why));
            }
        }
        self.check_agreement();
        self.counts.in_corridor = self.checks.stops.in_corridor();
        self.counts.slots_reused = self.checks.slots_reused();
        let rival = self.cluster.rival.unverified().hash();
        self.counts.vetoed_late = u64::from(self.checks.stops.is_split(rival));
        let (trace, lines) = self.trace.finish();
        Outcome {
            violations: self.checks.violations,
            counts: self.counts,
            trace,
            lines,
        }
    }
}

/// The nodes of the charters, by number.
fn quorums(cluster: &Cluster) -> [Quorum; 2] {
    let [first, later] = cluster.members.clone();
    let next = usize::from(cluster.amendment.unverified().threshold);
    [
        Quorum {
            members: first,
            threshold: usize::from(cluster.threshold),
        },
        Quorum {
            members: later,
            threshold: next,
        },
    ]
}
