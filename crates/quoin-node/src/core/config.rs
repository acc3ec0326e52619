//! What a node is told about itself, and the constants of its behaviour with their reasons.

/// How many presignatures a node keeps ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolSizes {
    /// Below this many free presignatures of a key and signer set that gateways draw on, a new
    /// batch is made. A set that none has drawn on lately has one batch at most.
    pub low: usize,
    /// How many one batch makes.
    pub batch: u16,
    /// How many of each pool are lent for requests that reduce risk only: a cancel must not wait
    /// for presigning because orders have used everything up.
    pub reserve: usize,
}

/// What a node is told about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeConfig {
    /// The build, for the journal and for hellos.
    pub build: String,
    /// Pools of ECDSA keys.
    pub ecdsa_pool: PoolSizes,
    /// Pools of Schnorr keys (and of the simulator's model scheme).
    pub schnorr_pool: PoolSizes,
    /// Whether keys of the simulator's model scheme may be made. They protect nothing; a node's
    /// shell never sets this, whatever features a build has.
    pub dangerous_model_scheme: bool,
    /// After how long a key's shares are refreshed without being asked for; 0 means never.
    pub refresh_interval_ms: u64,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            build: format!("quoin {}", env!("CARGO_PKG_VERSION")),
            // What is free when the shares move must last until as much of the new epoch is made:
            // two seconds at 200 signatures each second, for 3-of-5 on two busy cores. The base
            // transfers of a batch cost the same in any size; one of 128 spreads them well, and its
            // first presignature is there in a quarter of a second.
            ecdsa_pool: PoolSizes {
                low: 512,
                batch: 128,
                reserve: 16,
            },
            schnorr_pool: PoolSizes {
                low: 256,
                batch: 128,
                reserve: 16,
            },
            dangerous_model_scheme: false,
            refresh_interval_ms: REFRESH_INTERVAL_MS,
        }
    }
}

/// How often a node beats. A lease is ten beats, so a few lost ones do not stop signing.
pub const HEARTBEAT_MS: u64 = 500;
/// How old a peer's heartbeat may be for a node to sign (design, section 6).
pub const LEASE_MS: u64 = 5_000;
/// How far a node's clock may be from the median of its peers' (design, section 6).
pub const SKEW_MS_MAX: u64 = 2_000;
/// After how long a session is given up. A batch of 256 takes under two seconds on one core; what a
/// lost message holds up also counts against the batches of its pair, so this is not longer.
pub const SESSION_MS_MAX: u64 = 10_000;
/// How often a peer's journal head is written down as witnessed, at most.
pub const WITNESS_MS: u64 = 2_000;
/// At most this many unfinished batches for each pair of nodes: concurrency would multiply the
/// tries that a cheat has before its first strike is written (construction, section 14.3).
pub const BATCHES_PER_PEER_MAX: usize = 2;
/// How long a proposer lets a pool be after a signer has refused or dropped its batch: as a rule one
/// of them has a charter or an epoch that the other gets in a moment.
pub const REFUSED_BATCH_MS: u64 = 200;
/// For how long after a gateway's last lease the pool of a set is kept full.
pub const WANTED_MS: u64 = 10 * 60 * 1000;
/// How long a presignature may stay unused before it is thrown away.
pub const PRESIGNATURE_MS_MAX: u64 = 24 * 60 * 60 * 1000;
/// Quarantine after a strike (construction, section 14.3).
pub const QUARANTINE_MS: u64 = 24 * 60 * 60 * 1000;
/// The span over which strikes are counted.
pub const STRIKE_SPAN_MS: u64 = 30 * QUARANTINE_MS;
/// With this many strikes inside the span, only an operator lifts the quarantine.
pub const STRIKES_MAX: usize = 3;
/// The most messages of ceremonies that this node has not judged yet.
pub const EARLY_MESSAGES_MAX: usize = 256;
/// How often charges that no longer count are forgotten: windows are hours, so a minute is often.
pub const SWEEP_MS: u64 = 60_000;
/// With this many checks left open by crashes inside the span, the peer is quarantined: an attacker
/// who can crash this node must not get more tries than the construction's section 14.2 prices
/// (64 tries leave a chance of 2^-58 for 2^64 work).
pub const OPEN_TRIES_MAX: usize = 64;
/// For how long after its stamp has lapsed the outcome of a request is remembered.
pub const OUTCOME_MS: u64 = 60 * 60 * 1000;
/// How long the presignatures of an epoch are honoured once its successor is in use (design,
/// section 6).
pub const OVERLAP_MS: u64 = 60_000;
/// The most old epochs of one key whose shares wait for their erasure. More would pile up only
/// while a holder is lost for good, and the first reshare without it lets all of them go.
pub const RETIRING_MAX: usize = 4;
/// The most records of one key that were given up after they were stored, and are kept with their
/// shares (decision 0009). Each costs a whole ceremony in which a corrupt node took part.
pub const KEPT_MAX: usize = 16;
/// From so many kept records on, a key is not refreshed but only reshared: the rest of the room is
/// for the reshare that people ask for, without the node at fault.
pub const KEPT_REFRESH_MAX: usize = 8;
/// After how long shares are refreshed, unless the node is told otherwise.
pub const REFRESH_INTERVAL_MS: u64 = 24 * 60 * 60 * 1000;
/// How often the lowest-index holder proposes a refresh that is due and did not come about.
pub const REFRESH_RETRY_MS: u64 = 60_000;
/// How often a node asks again who holds an epoch.
pub const HELD_REMINDER_MS: u64 = 5_000;
/// The most records that a node swears never to endorse: each costs a journal record.
pub const ABANDONED_MAX: usize = 1_024;
/// How long a presignature of a treasury key may stay unused (construction, section 11).
pub const TREASURY_PRESIGNATURE_MS_MAX: u64 = 60 * 60 * 1000;
