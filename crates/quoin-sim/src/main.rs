//! `quoin-sim`: runs seeds, and replays one.

use clap::{Parser, Subcommand};
use quoin_sim::run_seed;
use serde::Serialize;
use std::process::ExitCode;

/// Simulates clusters under faults and checks what must never be untrue.
#[derive(Parser)]
#[command(
    name = "quoin-sim",
    version,
    after_help = "Examples:\n  \
    quoin-sim run --seeds 2000 --json\n  quoin-sim replay 17"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run many seeds.
    Run {
        /// How many seeds.
        #[arg(long, default_value_t = 200)]
        seeds: u64,
        /// The first seed.
        #[arg(long, default_value_t = 1)]
        start: u64,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Run one seed again and print what happened.
    Replay {
        /// The seed.
        seed: u64,
    },
}

#[derive(Serialize)]
struct Report {
    seeds: u64,
    first_seed: u64,
    violations: Vec<Failed>,
    signed: u64,
    refused: u64,
    crashes: u64,
    seconds: f64,
    seeds_per_second: f64,
}

#[derive(Serialize)]
struct Failed {
    seed: u64,
    violation: String,
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run { seeds, start, json } => run(seeds, start, json),
        Command::Replay { seed } => replay(seed),
    }
}

fn run(seeds: u64, start: u64, json: bool) -> ExitCode {
    let begun = std::time::Instant::now();
    let mut report = Report {
        seeds,
        first_seed: start,
        violations: Vec::new(),
        signed: 0,
        refused: 0,
        crashes: 0,
        seconds: 0.0,
        seeds_per_second: 0.0,
    };
    for seed in start..start.saturating_add(seeds) {
        let outcome = run_seed(seed, false);
        report.signed += outcome.signed;
        report.refused += outcome.refused;
        report.crashes += outcome.crashes;
        for violation in outcome.violations {
            eprintln!("seed {seed}: {violation}; replay it with `quoin-sim replay {seed}`");
            report.violations.push(Failed {
                seed,
                violation: violation.to_string(),
            });
        }
        if !json && seed.wrapping_sub(start) % 500 == 499 {
            eprintln!("{} of {seeds} seeds", seed - start + 1);
        }
    }
    report.seconds = begun.elapsed().as_secs_f64();
    report.seeds_per_second = seeds as f64 / report.seconds.max(f64::EPSILON);
    if json {
        if let Ok(text) = serde_json::to_string_pretty(&report) {
            println!("{text}");
        }
    } else {
        println!(
            "{} seeds, {} violations, {} signed, {} refused, {} crashes, {:.0} seeds a second",
            report.seeds,
            report.violations.len(),
            report.signed,
            report.refused,
            report.crashes,
            report.seeds_per_second
        );
    }
    ExitCode::from(u8::from(!report.violations.is_empty()))
}

fn replay(seed: u64) -> ExitCode {
    let outcome = run_seed(seed, true);
    for line in &outcome.lines {
        println!("{line}");
    }
    println!("trace {}", outcome.trace_hex());
    for violation in &outcome.violations {
        println!("violation: {violation}");
    }
    ExitCode::from(u8::from(!outcome.violations.is_empty()))
}
