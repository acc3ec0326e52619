//! Many seeds, on several threads; the report does not depend on how many.

use crate::faults::Counts;
use crate::world::{Options, Outcome, run_with};
use serde::Serialize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// What a range of seeds gave. Everything but the times is a function of the seeds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// How many seeds were run.
    pub seeds: u64,
    /// The first of them.
    pub first_seed: u64,
    /// What must never happen and did, in the order of the seeds.
    pub violations: Vec<Failed>,
    /// What was done and what came of it.
    #[serde(flatten)]
    pub counts: Counts,
    /// On how many threads.
    pub jobs: u64,
    /// How long it took.
    pub seconds: f64,
    /// How fast that is.
    pub seeds_per_second: f64,
}

/// A violation of one seed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Failed {
    /// The seed.
    pub seed: u64,
    /// The invariant that was broken, as the design numbers them.
    pub invariant: u8,
    /// What happened.
    pub violation: String,
}

/// Runs `seeds` seeds from `first` on `jobs` threads, and tells `progress` how many are done.
#[must_use]
pub fn run_seeds(
    first: u64,
    seeds: u64,
    jobs: usize,
    options: Options,
    progress: &(dyn Fn(u64) + Sync),
) -> Report {
    let begun = Instant::now();
    let next = AtomicU64::new(0);
    let done = AtomicU64::new(0);
    let sum = Mutex::new((Counts::default(), Vec::new()));
    let work = || {
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            if place >= seeds {
                return;
            }
            let seed = first.wrapping_add(place);
            let outcome = run_with(seed, options);
            if let Ok(mut sum) = sum.lock() {
                add(&mut sum, seed, &outcome);
            }
            progress(done.fetch_add(1, Ordering::Relaxed) + 1);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(work);
        }
    });
    let (counts, mut violations) = sum.into_inner().unwrap_or_default();
    // A stable sort: the violations of one seed stay in the order in which they happened.
    violations.sort_by_key(|failed: &Failed| failed.seed);
    let seconds = begun.elapsed().as_secs_f64();
    Report {
        seeds,
        first_seed: first,
        violations,
        counts,
        jobs: jobs.max(1) as u64,
        seconds,
        seeds_per_second: seeds as f64 / seconds.max(f64::EPSILON),
    }
}

fn add(sum: &mut (Counts, Vec<Failed>), seed: u64, outcome: &Outcome) {
    sum.0 += outcome.counts;
    sum.1.extend(outcome.violations.iter().map(|v| Failed {
        seed,
        invariant: v.invariant(),
        violation: v.to_string(),
    }));
}
