//! `quoin-sim`: runs seeds, and replays one.

use clap::{Args, Parser, Subcommand};
use quoin_sim::faults::Defect;
use quoin_sim::{Options, Report, run_seeds, run_with};
use std::process::ExitCode;

/// Simulates clusters under faults and checks what must never be untrue.
#[derive(Parser)]
#[command(
    name = "quoin-sim",
    version,
    after_help = "Examples:\n  \
    quoin-sim run --seeds 2000                        check 2000 clusters\n  \
    quoin-sim run --seeds 2000 --json > report.json   the same, for a program to read\n  \
    quoin-sim replay 17                               what happened in seed 17\n  \
    quoin-sim run --defect cloned-memory              show that a checker finds a defect\n\n\
    The exit status is 1 when something happened that must never happen."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run many seeds.
    Run(RunArgs),
    /// Run one seed again and print what happened.
    Replay {
        /// The seed.
        seed: u64,
        /// The defect that was put in.
        #[arg(long, value_enum)]
        defect: Option<Defect>,
    },
}

#[derive(Args)]
struct RunArgs {
    /// How many seeds.
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    start: u64,
    /// On how many threads; as many as there are cores by default. The result is the same.
    #[arg(long)]
    jobs: Option<usize>,
    /// Put a defect in, to show that a checker finds it.
    #[arg(long, value_enum)]
    defect: Option<Defect>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run(args) => run(&args),
        Command::Replay { seed, defect } => replay(seed, defect),
    }
}

fn run(args: &RunArgs) -> ExitCode {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = args.jobs.unwrap_or_else(cores);
    let options = Options {
        defect: args.defect,
        ..Options::default()
    };
    let seeds = args.seeds;
    let progress = |done: u64| {
        if done.is_multiple_of(500) && done < seeds {
            eprintln!("{done} of {seeds} seeds");
        }
    };
    let report = run_seeds(args.start, seeds, jobs, options, &progress);
    for failed in &report.violations {
        let (seed, what) = (failed.seed, &failed.violation);
        let invariant = failed.invariant;
        eprintln!("seed {seed}, invariant {invariant}: {what}; `quoin-sim replay {seed}` shows it");
    }
    if args.json {
        match serde_json::to_string_pretty(&report) {
            Ok(text) => println!("{text}"),
            Err(error) => eprintln!("the report cannot be written: {error}"),
        }
    } else {
        print(&report);
    }
    ExitCode::from(u8::from(!report.violations.is_empty()))
}

fn print(report: &Report) {
    let counts = &report.counts;
    println!(
        "{} seeds, {} violations, {:.0} seeds a second",
        report.seeds,
        report.violations.len(),
        report.seeds_per_second
    );
    println!(
        "requests: {} signed, {} refused; {} approvals, {} keys made, {} charters",
        counts.signed, counts.refused, counts.approvals, counts.keys_made, counts.charters
    );
    println!(
        "keys: {} renewed for callers, {} epochs handed over, {} old shares erased, {} changes of \
         state, {} backups",
        counts.keys_renewed,
        counts.handovers,
        counts.shares_erased,
        counts.keys_changed,
        counts.backups
    );
    println!(
        "stops: {} freezes, {} lifted, {} vetoes, {} of them too late, {} answers in the \
         corridor; {} slots signed again, \
         {} signer sets taken",
        counts.freezes,
        counts.lifts,
        counts.vetoes,
        counts.vetoed_late,
        counts.in_corridor,
        counts.slots_reused,
        counts.sets
    );
    println!(
        "faults: {} nodes cut off, {} node and {} gateway crashes, {} silent links, {} clock jumps, {} slow disks, \
         {} frames lost, {} doubled, {} by a hostile gateway, {} by malicious nodes",
        counts.islands,
        counts.crashes,
        counts.gateway_crashes,
        counts.cuts,
        counts.clock_jumps,
        counts.slow_disks,
        counts.frames_lost,
        counts.frames_doubled,
        counts.frames_tampered,
        counts.lies
    );
}

fn replay(seed: u64, defect: Option<Defect>) -> ExitCode {
    let options = Options {
        // As they come: a run that hangs shows where.
        show: Some(|line| println!("{line}")),
        defect,
        ..Options::default()
    };
    let outcome = run_with(seed, options);
    println!("trace {}", outcome.trace_hex());
    for violation in &outcome.violations {
        println!(
            "violation of invariant {}: {violation}",
            violation.invariant()
        );
    }
    ExitCode::from(u8::from(!outcome.violations.is_empty()))
}
