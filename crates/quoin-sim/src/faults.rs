//! How much goes wrong in a run, drawn from its seed.

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
    /// For how long a dead node stays dead, at most.
    pub down_ms_max: u64,
    /// The gateway alters what it sends.
    pub hostile_gateway: bool,
}

impl Faults {
    /// Draws a run's faults: some runs are calm, some are storms.
    pub fn draw(rng: &mut dyn RngCore) -> Self {
        let storm = below(rng, 3);
        Self {
            drop: storm * below(rng, 400),
            duplicate: storm * below(rng, 400),
            delay_ms_max: 1 + below(rng, 40) * (1 + storm),
            sync_ms_max: 1 + below(rng, 20) * (1 + storm),
            job_ms_max: 1 + below(rng, 50),
            crash: storm * below(rng, 12),
            down_ms_max: 1_000 + below(rng, 8_000),
            hostile_gateway: below(rng, 4) == 0,
        }
    }

    /// No faults: the calm after a storm, in which the cluster must recover by itself.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            drop: 0,
            duplicate: 0,
            delay_ms_max: 3,
            sync_ms_max: 2,
            job_ms_max: 5,
            crash: 0,
            down_ms_max: 1_000,
            hostile_gateway: false,
        }
    }
}

/// A number below `bound`; zero for a bound of zero.
pub fn below(rng: &mut dyn RngCore, bound: u64) -> u64 {
    rng.next_u64().checked_rem(bound).unwrap_or(0)
}

/// Whether something with a chance of `parts` in 10,000 happens.
pub fn chance(rng: &mut dyn RngCore, parts: u64) -> bool {
    below(rng, 10_000) < parts
}
