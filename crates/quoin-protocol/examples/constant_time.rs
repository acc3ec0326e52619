//! Measures whether operations on secrets take a time that depends on the secrets.
//!
//! ```text
//! cargo run --release -p quoin-protocol --features timing --example constant_time -- [SECONDS [NAME]]
//! ```
//!
//! The method is that of dudect (Reparaz, Balasch and Verbauwhede, eprint 2016/1123): run an
//! operation many times, at random with a fixed secret or with random ones, and compare the two sets
//! of times by Welch's t-test, whole and with the slowest measurements cut off. A |t| above 4.5 is
//! suspicious, one above 10 is a leak. The first two rows leak on purpose, or the tool would prove
//! nothing; its exit code is 1 when one of them is not found or any other row is above 10.

use quoin_protocol::ecdsa::timing::{Class, Operation, TARGETS, Target};
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};
use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Above this a row is suspicious, and above that it is a leak.
const SUSPICIOUS: f64 = 4.5;
const LEAK: f64 = 10.0;
/// How many runs are prepared together.
const AHEAD: usize = 64;
/// What part of the measurements is kept, the fastest first.
const KEPT: [f64; 5] = [1.0, 0.95, 0.9, 0.75, 0.5];

/// Operations that do leak: an early return, and a branch that costs a multiplication.
const CONTROLS: &[Target] = &[
    Target {
        name: "control: early return",
        secret: "4096 bytes of zeros, or random",
        prepare: early_return,
    },
    Target {
        name: "control: branch",
        secret: "64 bits: zeros, or random",
        prepare: branch,
    },
];

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let seconds: f64 = arguments.next().map_or(Ok(5.0), |text| text.parse())?;
    let only = arguments.next().unwrap_or_default();
    let span = Duration::from_secs_f64(seconds);
    println!(
        "{:24}{:>9}{:>10}{:>9}{:>9}  verdict",
        "operation", "runs", "us", "t", "t cut"
    );
    let mut wrong = Vec::new();
    for (targets, leaks) in [(CONTROLS, true), (TARGETS, false)] {
        for target in targets.iter().filter(|t| t.name.contains(&only)) {
            if report(target, span)? != leaks {
                wrong.push(target.name);
            }
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(format!("not as it should be: {wrong:?}").into())
    }
}

/// Prints one row; whether it is a leak.
fn report(target: &Target, span: Duration) -> Result<bool, Box<dyn Error>> {
    let samples = measure(target, span)?;
    let mean = samples.iter().map(|(_, t)| t).sum::<f64>() / samples.len() as f64;
    let [whole, cut @ ..] = KEPT.map(|part| welch(&fastest(&samples, part)));
    let cut = cut
        .into_iter()
        .fold(0.0, |a: f64, b| if b.abs() > a.abs() { b } else { a });
    let largest = whole.abs().max(cut.abs());
    let verdict = match largest {
        t if t > LEAK => "leaks",
        t if t > SUSPICIOUS => "suspicious",
        _ => "",
    };
    let (name, runs) = (target.name, samples.len());
    println!(
        "{name:24}{runs:>9}{:>10.2}{whole:>9.2}{cut:>9.2}  {verdict}",
        mean / 1e3
    );
    Ok(largest > LEAK)
}

/// Runs a target for a while: class and nanoseconds of each run.
fn measure(target: &Target, span: Duration) -> Result<Vec<(Class, f64)>, Box<dyn Error>> {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut samples = Vec::new();
    let started = now();
    // Operations are prepared ahead of all their runs: what was just done to prepare one would be
    // seen in its time. What the first runs find cold is not what is asked.
    for turn in 0.. {
        let mut ready = Vec::with_capacity(AHEAD);
        for _ in 0..AHEAD {
            let class = if rng.next_u32() & 1 == 0 {
                Class::Fixed
            } else {
                Class::Random
            };
            let operation = (target.prepare)(class, &mut rng).ok_or("inputs could not be made")?;
            ready.push((class, operation));
        }
        for (class, operation) in ready {
            let before = now();
            operation();
            let elapsed = before.elapsed();
            if turn > 1 {
                samples.push((class, elapsed.as_secs_f64() * 1e9));
            }
        }
        if turn > 10 && started.elapsed() > span {
            break;
        }
    }
    Ok(samples)
}

/// The measurements up to a quantile of all.
fn fastest(samples: &[(Class, f64)], part: f64) -> Vec<(Class, f64)> {
    let mut times: Vec<f64> = samples.iter().map(|(_, t)| *t).collect();
    times.sort_by(f64::total_cmp);
    let last = ((times.len() as f64 * part) as usize).clamp(1, times.len());
    let bound = times.get(last - 1).copied().unwrap_or(f64::MAX);
    samples
        .iter()
        .filter(|(_, t)| *t <= bound)
        .copied()
        .collect()
}

/// Welch's t of the two classes.
fn welch(samples: &[(Class, f64)]) -> f64 {
    let [(n, mean, variance), (m, mean2, variance2)] = [Class::Fixed, Class::Random].map(|class| {
        let of = || samples.iter().filter(|(c, _)| *c == class).map(|(_, t)| *t);
        let n = of().count().max(2) as f64;
        let mean = of().sum::<f64>() / n;
        let squares: f64 = of().map(|t| (t - mean).powi(2)).sum();
        (n, mean, squares / (n - 1.0))
    });
    let error = (variance / n + variance2 / m).sqrt();
    if error > 0.0 {
        (mean - mean2) / error
    } else {
        0.0
    }
}

fn early_return(class: Class, rng: &mut ChaCha20Rng) -> Option<Operation> {
    let mut bytes = vec![0u8; 4096];
    rng.fill_bytes(&mut bytes);
    if class == Class::Fixed {
        bytes.fill(0);
    }
    Some(Box::new(move || {
        black_box(black_box(&bytes).iter().position(|b| *b != 0));
    }))
}

fn branch(class: Class, rng: &mut ChaCha20Rng) -> Option<Operation> {
    let drawn = rng.next_u64();
    let bits = if class == Class::Fixed { 0 } else { drawn };
    Some(Box::new(move || {
        let mut product = black_box(3u64);
        for i in 0..64 {
            if black_box(bits) >> i & 1 == 1 {
                product = black_box(product.wrapping_mul(product));
            }
        }
        black_box(product);
    }))
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is a measuring tool and not part of the logic"
)]
fn now() -> Instant {
    Instant::now()
}
