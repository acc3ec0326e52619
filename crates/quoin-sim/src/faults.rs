//! How much goes wrong in a run, drawn from its seed; and the defects that tests put in on purpose.

use rand_core::RngCore;

/// Chances in parts of 10,000, and spans in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    /// A frame is lost.
    pub drop: u64,
    /// A frame arrives twice.
    pub duplicate: u64,
    /// The longest delay of a frame; frames overtake each other within it.
    pub delay_ms_max: u64,
    /// The longest time for a sync.
    pub sync_ms_max: u64,
    /// The longest time for a job.
    pub job_ms_max: u64,
    /// A node dies at an effect.
    pub crash: u64,
    /// The gateway dies at a tick.
    pub gateway_crash: u64,
    /// At a tick, one direction of one link goes silent for a while.
    pub cut: u64,
    /// At a tick, one node's clock jumps by [`CLOCK_JUMP_MS`].
    pub clock_jump: u64,
    /// For how long a dead node stays dead, at most.
    pub down_ms_max: u64,
    /// The gateway alters what it sends, and sends what it should not.
    pub hostile_gateway: bool,
    /// How many nodes are in an attacker's hands; never as many as the threshold.
    pub liars: u8,
    /// Whether one node's disk takes its time.
    pub slow_disk: bool,
    /// How much likelier a node dies at an effect while a handover is under way.
    pub handover_crash: u64,
    /// A backup cannot be written.
    pub backup_failure: u64,
    /// Whether one node is cut off from all others for longer than a lease, but not from the gateway.
    pub islands: bool,
}

/// How far a clock jumps: beyond the two seconds that nodes tolerate.
pub const CLOCK_JUMP_MS: u64 = 10_000;
/// For how long a clock stays wrong.
pub const CLOCK_WRONG_MS: u64 = 2_000;
/// No two clocks differ by more than twice this, which nodes tolerate.
pub const SKEW_MS_MAX: u64 = 750;
/// The longest sync of a slow disk.
pub const SLOW_SYNC_MS_MAX: u64 = 400;

impl Faults {
    /// Draws a run's faults: some runs are calm, some are storms.
    pub fn draw(threshold: u8, rng: &mut dyn RngCore) -> Self {
        let storm = below(rng, 3);
        Self {
            drop: storm * below(rng, 400),
            duplicate: storm * below(rng, 400),
            delay_ms_max: 1 + below(rng, 40) * (1 + storm),
            sync_ms_max: 1 + below(rng, 20) * (1 + storm),
            job_ms_max: 1 + below(rng, 50),
            crash: storm * (15 + below(rng, 30)),
            gateway_crash: storm * below(rng, 200),
            cut: storm * below(rng, 500),
            clock_jump: storm * below(rng, 150),
            down_ms_max: 500 + below(rng, 3_000),
            hostile_gateway: below(rng, 4) == 0,
            liars: match below(rng, 5) {
                0 => 1 + below(rng, u64::from(threshold) - 1) as u8,
                _ => 0,
            },
            slow_disk: below(rng, 4) == 0,
            handover_crash: match below(rng, 2) {
                0 => storm * below(rng, 150),
                _ => 0,
            },
            backup_failure: storm * below(rng, 2_000),
            islands: below(rng, 8) == 0,
        }
    }

    /// The calm after a storm, in which the cluster must recover by itself. Nodes in an attacker's
    /// hands stay there.
    #[must_use]
    pub const fn calm(&self) -> Self {
        Self {
            drop: 0,
            duplicate: 0,
            delay_ms_max: 3,
            sync_ms_max: 2,
            job_ms_max: 5,
            crash: 0,
            gateway_crash: 0,
            cut: 0,
            clock_jump: 0,
            down_ms_max: 1_000,
            hostile_gateway: false,
            liars: self.liars,
            slow_disk: false,
            handover_crash: 0,
            backup_failure: 0,
            islands: false,
        }
    }
}

/// A defect that the simulator's shell puts into a run, to show that a checker would find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, clap::ValueEnum)]
pub enum Defect {
    /// Disks report records as durable before they are (invariant 1).
    LyingDisk,
    /// One node's memory is copied while it runs, and both copies answer (invariant 2).
    ClonedMemory,
    /// The nodes' charter lets through what the written one does not (invariant 3).
    LaxCharter,
    /// The nodes' charter has a larger budget than the written one (invariant 4).
    LooseBudget,
    /// All disks go back to what they were at the start (invariants 5 and 7).
    OlderDisks,
    /// The gateway's shell alters the signatures that it returns (invariant 6).
    AlteredSignature,
    /// The node's shell ignores that its clock is wrong: it hides its peers' heartbeats' times.
    BlindClock,
    /// A node's shell erases the old share together with the new certificate (invariant 8).
    EraseEarly,
    /// A node's shell does not seal the shares that a ceremony gives (invariant 8).
    ForgottenShares,
    /// A node's shell says that a backup is written, and has written none (invariant 8).
    LostBackups,
    /// A node's shell forgets the faults in its journal when it starts (invariant 9).
    ForgottenStrikes,
    /// The network alters what honest nodes send each other in a session (invariant 9).
    AlteredMessages,
    /// The clocks of all nodes stand still while the world does (invariant 7).
    StoppedClocks,
    /// Requests never reach a node after the storm (invariant 10).
    LostRequests,
    /// The nodes' charter asks for no approval where the written one does (invariant 3).
    UnapprovedVault,
    /// The nodes' charter lets its successor into force at once, where the written one has it wait
    /// (invariant 7).
    HastyCharters,
    /// The nodes' charter has a larger sticky budget than the written one (invariant 4).
    LooseSticky,
    /// The nodes' charter has a larger budget for the corridor than the written one (invariant 3).
    LooseCorridor,
    /// The first node hears of no freeze, and of no heartbeat that tells it so (invariant 3).
    BlindFreezes,
    /// A node's shell writes freezes down and does not hand them to the core (invariant 3).
    DeafToFreezes,
    /// A node's shell writes vetoes down and does not hand them to the core (invariant 3).
    DeafToVetoes,
    /// A node's shell forgets what was lifted when it starts (invariant 7).
    ForgottenLifts,
    /// What a malicious node says of freezes counts as said by every other node (invariant 3).
    EchoedLifts,
    /// No freeze ever reaches the first node (invariant 10).
    LostFreezes,
}

/// Everything that was done to a run, and what came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Requests that were signed.
    pub signed: u64,
    /// Requests that were refused.
    pub refused: u64,
    /// Keys that were made.
    pub keys_made: u64,
    /// Refreshes and reshares that callers heard of.
    pub keys_renewed: u64,
    /// Epochs after the first that were certified.
    pub handovers: u64,
    /// Shares of old epochs that were erased.
    pub shares_erased: u64,
    /// Changes of a key's state that were made.
    pub keys_changed: u64,
    /// Backups that were written.
    pub backups: u64,
    /// Faults of peers that nodes wrote down.
    pub faults: u64,
    /// Pauses in which the whole world stood still.
    pub pauses: u64,
    /// Approvals that were given.
    pub approvals: u64,
    /// Charters that came into force.
    pub charters: u64,
    /// Freezes that were brought to a node.
    pub freezes: u64,
    /// Freezes that callers have had lifted.
    pub lifts: u64,
    /// Vetoes that were brought to a node.
    pub vetoes: u64,
    /// Runs that end with a vetoed charter in force on some nodes and not on others: the veto came
    /// while it came into force.
    pub vetoed_late: u64,
    /// Signatures of cancels and replacements that exist.
    pub slots_reused: u64,
    /// Partial signatures that left inside the corridor.
    pub in_corridor: u64,
    /// Signer sets that were certified, as nodes journaled it.
    pub sets: u64,
    /// Nodes that were cut off for longer than a lease.
    pub islands: u64,
    /// Deaths of nodes.
    pub crashes: u64,
    /// Deaths of gateways.
    pub gateway_crashes: u64,
    /// Directions of links that went silent.
    pub cuts: u64,
    /// Clocks that jumped.
    pub clock_jumps: u64,
    /// Runs with a slow disk.
    pub slow_disks: u64,
    /// Frames that were lost.
    pub frames_lost: u64,
    /// Frames that arrived twice.
    pub frames_doubled: u64,
    /// Frames that a hostile gateway altered or made up.
    pub frames_tampered: u64,
    /// Frames that malicious nodes altered or made up.
    pub lies: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.signed += other.signed;
        self.refused += other.refused;
        self.keys_made += other.keys_made;
        self.keys_renewed += other.keys_renewed;
        self.handovers += other.handovers;
        self.shares_erased += other.shares_erased;
        self.keys_changed += other.keys_changed;
        self.backups += other.backups;
        self.faults += other.faults;
        self.pauses += other.pauses;
        self.approvals += other.approvals;
        self.charters += other.charters;
        self.freezes += other.freezes;
        self.lifts += other.lifts;
        self.vetoes += other.vetoes;
        self.vetoed_late += other.vetoed_late;
        self.slots_reused += other.slots_reused;
        self.in_corridor += other.in_corridor;
        self.sets += other.sets;
        self.islands += other.islands;
        self.crashes += other.crashes;
        self.gateway_crashes += other.gateway_crashes;
        self.cuts += other.cuts;
        self.clock_jumps += other.clock_jumps;
        self.slow_disks += other.slow_disks;
        self.frames_lost += other.frames_lost;
        self.frames_doubled += other.frames_doubled;
        self.frames_tampered += other.frames_tampered;
        self.lies += other.lies;
    }
}

/// A number below `bound`; zero for a bound of zero.
pub fn below(rng: &mut dyn RngCore, bound: u64) -> u64 {
    rng.next_u64().checked_rem(bound).unwrap_or(0)
}

/// Whether something with a chance of `parts` in 10,000 happens.
pub fn chance(rng: &mut dyn RngCore, parts: u64) -> bool {
    parts > 0 && below(rng, 10_000) < parts
}
