//! `cargo xtask ci`: every check, in the order in which failures are cheapest to find.
//!
//! One command does at home what CI does. Steps share nothing but the target folder, so each can
//! run alone with `--only`.

mod documents;

use crate::failure::Failure;
use crate::workspace::{Workspace, is_ci, parse_json};
use crate::{layers, report, testbeds, tidy, wants_help};
use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// The help text.
pub const HELP: &str = "\
Run every check, as CI does.

Usage: cargo xtask ci [--keep-going] [--only STEP]...

Steps, in order:
  fmt       formatting
  clippy    lints of all targets, warnings denied
  tidy      the rules of the house for text
  layers    the arrows between crates
  testbeds  nextest, anvil, cast and cvc5
  tests     all tests
  doctests  examples in documentation, and those that must not compile
  docs      documentation builds without a warning
  build     the release binary
  smoke     `quoin dev --demo --json` from an empty data folder
  sim       the cluster simulator over 200 seeds

The first failing step ends the run, unless told otherwise. A table of durations and the line
`N passed, M failed`, counting steps, come last.

Options:
  --keep-going  run all steps even after one failed
  --only STEP   run this step only; may be given more than once

Examples:
  cargo xtask ci
  cargo xtask ci --keep-going
  cargo xtask ci --only fmt --only tidy";

/// The demonstration starts a cluster, makes keys and signs; a minute is usual on a slow machine.
const SMOKE_LIMIT: Duration = Duration::from_secs(300);
/// Seeds of the simulator in each run: enough to meet every fault, few enough for every push.
const SIM_SEEDS: u64 = 200;
/// Far more than 200 seeds need; a livelock in the simulator must not eat CI's whole budget.
const SIM_LIMIT: Duration = Duration::from_secs(600);

/// One step of the run.
struct Step {
    name: &'static str,
    run: fn(&Workspace) -> Result<(), Failure>,
}

/// All steps, in order.
const STEPS: &[Step] = &[
    Step {
        name: "fmt",
        run: |w| w.cargo(&["fmt", "--all", "--check"]).run(),
    },
    Step {
        name: "clippy",
        run: clippy,
    },
    Step {
        name: "tidy",
        run: tidy::step,
    },
    Step {
        name: "layers",
        run: layers::step,
    },
    Step {
        name: "testbeds",
        run: testbeds::step,
    },
    Step {
        name: "tests",
        run: tests_with_nextest,
    },
    Step {
        name: "doctests",
        run: |w| w.cargo(&["test", "--doc", "--workspace"]).run(),
    },
    Step {
        name: "docs",
        run: docs,
    },
    Step {
        name: "build",
        run: |w| w.cargo(&["build", "--release"]).run(),
    },
    Step {
        name: "smoke",
        run: smoke,
    },
    Step {
        name: "sim",
        run: sim,
    },
];

/// Runs the command.
pub fn main(args: &[String]) -> Result<(), Failure> {
    if wants_help(args) {
        report::say(HELP);
        return Ok(());
    }
    let options = Options::parse(args)?;
    let workspace = Workspace::load()?;
    let rows = run_steps(&options, |step| (step.run)(&workspace));
    report::say(table(&rows));
    report::say(tally(&rows));
    match count(&rows, |outcome| matches!(outcome, Outcome::Failed)) {
        0 => Ok(()),
        failed => Err(Failure::Steps { failed }),
    }
}

/// The command line.
struct Options {
    steps: Vec<&'static Step>,
    keep_going: bool,
}

impl Options {
    fn parse(args: &[String]) -> Result<Self, Failure> {
        let mut keep_going = false;
        let mut only = Vec::new();
        let mut rest = args.iter();
        while let Some(arg) = rest.next() {
            match arg.as_str() {
                "--keep-going" => keep_going = true,
                "--only" => {
                    let name = rest.next().map(String::as_str).unwrap_or_default();
                    let step = STEPS.iter().find(|step| step.name == name);
                    let unknown = || Failure::usage(format!("no step `{name}` to run only"), HELP);
                    only.push(step.ok_or_else(unknown)?.name);
                }
                other => {
                    let message = format!("unknown argument `{other}`");
                    return Err(Failure::usage(message, HELP));
                }
            }
        }
        let wanted = |step: &&Step| only.is_empty() || only.contains(&step.name);
        Ok(Self {
            steps: STEPS.iter().filter(wanted).collect(),
            keep_going,
        })
    }
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed,
    NotRun,
}

/// One line of the table.
struct Row {
    name: &'static str,
    outcome: Outcome,
    seconds: f64,
}

fn run_steps(options: &Options, mut run: impl FnMut(&Step) -> Result<(), Failure>) -> Vec<Row> {
    let mut stopped = false;
    let mut rows = Vec::new();
    for step in &options.steps {
        let name = step.name;
        let start = Instant::now();
        let mut outcome = Outcome::NotRun;
        if !stopped {
            report::note(format_args!("==> {name}"));
            let result = run(step);
            let seconds = start.elapsed().as_secs_f64();
            outcome = match result {
                Ok(()) => {
                    report::note(format_args!("<== {name}: passed in {seconds:.1} s"));
                    Outcome::Passed
                }
                Err(failure) => {
                    report::note(format_args!(
                        "<== {name}: FAILED in {seconds:.1} s: {failure}"
                    ));
                    Outcome::Failed
                }
            };
            stopped = outcome == Outcome::Failed && !options.keep_going;
        }
        rows.push(Row {
            name,
            outcome,
            seconds: start.elapsed().as_secs_f64(),
        });
    }
    rows
}

fn table(rows: &[Row]) -> String {
    let mut text = String::from("step       seconds  outcome\n");
    for row in rows {
        let outcome = match row.outcome {
            Outcome::Passed => "passed",
            Outcome::Failed => "FAILED",
            Outcome::NotRun => "not run",
        };
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "{:<9} {:>8.1}  {outcome}", row.name, row.seconds);
    }
    let total: f64 = rows.iter().map(|row| row.seconds).sum();
    let _ = write!(text, "{:<9} {total:>8.1}", "total");
    text
}

fn tally(rows: &[Row]) -> String {
    let passed = count(rows, |outcome| outcome == Outcome::Passed);
    let failed = count(rows, |outcome| outcome == Outcome::Failed);
    format!("{passed} passed, {failed} failed")
}

fn count(rows: &[Row], is: impl Fn(Outcome) -> bool) -> usize {
    rows.iter().filter(|row| is(row.outcome)).count()
}

/// One pass: the simulator turns on the model scheme for the whole workspace, and the `build`
/// step compiles the product without it.
fn clippy(workspace: &Workspace) -> Result<(), Failure> {
    let args = ["clippy", "--workspace", "--all-targets", "--", "-Dwarnings"];
    workspace.cargo(&args).run()
}

fn tests_with_nextest(workspace: &Workspace) -> Result<(), Failure> {
    if testbeds::has_nextest(workspace) {
        let profile = if is_ci() { "ci" } else { "default" };
        let args = ["nextest", "run", "--workspace", "--profile", profile];
        return workspace.cargo(&args).run();
    }
    if is_ci() {
        let names = "nextest".to_owned();
        return Err(Failure::MissingTestbed { names });
    }
    report::note("nextest is missing: falling back to `cargo test`");
    workspace
        .cargo(&["test", "--workspace", "--lib", "--bins", "--tests"])
        .run()
}

fn docs(workspace: &Workspace) -> Result<(), Failure> {
    workspace
        .cargo(&["doc", "--no-deps", "--workspace"])
        .env("RUSTDOCFLAGS", "-Dwarnings")
        .run()
}

/// Plays the whole story from an empty data folder and reads the document it prints.
fn smoke(workspace: &Workspace) -> Result<(), Failure> {
    let quoin = workspace.release_binary("quoin");
    let data = workspace.target.join("xtask-smoke");
    clear(&data)?;
    let data_text = data.to_string_lossy().into_owned();
    let args = ["dev", "--demo", "--json", "--data", &data_text];
    let text = workspace.program(&quoin, &args).stdout(Some(SMOKE_LIMIT))?;
    let what = "quoin dev --demo --json";
    let document = parse_json(what, &text)?;
    documents::check_demo(&document).map_err(|why| Failure::Output { what, why })?;
    clear(&data)
}

fn sim(workspace: &Workspace) -> Result<(), Failure> {
    let build = ["build", "--release", "--package", "quoin-sim"];
    workspace.cargo(&build).run()?;
    let binary = workspace.release_binary("quoin-sim");
    let seeds = SIM_SEEDS.to_string();
    let args = ["run", "--seeds", &seeds, "--json"];
    let text = workspace.program(binary, &args).stdout(Some(SIM_LIMIT))?;
    let what = "quoin-sim run --json";
    let document = parse_json(what, &text)?;
    documents::check_sim(&document, SIM_SEEDS).map_err(|why| Failure::Output { what, why })
}

fn clear(folder: &Path) -> Result<(), Failure> {
    match std::fs::remove_dir_all(folder) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(Failure::File {
            path: folder.display().to_string(),
            source,
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(args: &[&str]) -> Options {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        Options::parse(&args).unwrap()
    }

    fn refuse(name: &'static str) -> impl FnMut(&Step) -> Result<(), Failure> {
        move |step| match step.name == name {
            true => Err(Failure::Steps { failed: 1 }),
            false => Ok(()),
        }
    }

    #[test]
    fn the_first_failure_ends_the_run() {
        let rows = run_steps(&options(&[]), refuse("clippy"));
        assert_eq!(tally(&rows), "1 passed, 1 failed");
        assert!(rows.iter().skip(2).all(|r| r.outcome == Outcome::NotRun));
        assert!(table(&rows).contains("not run"));
    }

    #[test]
    fn keep_going_runs_all_steps_and_still_counts_the_failure() {
        let rows = run_steps(&options(&["--keep-going"]), refuse("clippy"));
        assert_eq!(
            tally(&rows),
            format!("{} passed, 1 failed", STEPS.len() - 1)
        );
    }

    #[test]
    fn only_runs_the_named_steps_in_the_usual_order() {
        let options = options(&["--only", "tidy", "--only", "fmt"]);
        let names: Vec<_> = options.steps.iter().map(|step| step.name).collect();
        assert_eq!(names, ["fmt", "tidy"]);
    }

    #[test]
    fn the_help_names_every_step() {
        let named = HELP.lines().skip_while(|line| !line.starts_with("Steps"));
        let named = named.skip(1).take_while(|line| line.starts_with("  "));
        assert_eq!(named.count(), STEPS.len());
        for step in STEPS {
            assert!(
                HELP.contains(&format!("\n  {} ", step.name)),
                "{}",
                step.name
            );
        }
    }
}
