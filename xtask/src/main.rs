//! `cargo xtask`: the development tasks of the workspace, the same at home and in CI.
//!
//! Not part of the product: nothing here is shipped, and no other crate may depend on it. Its
//! own dependencies stay tiny, because every check waits for this program to build first.

mod bench;
mod ci;
mod failure;
mod layers;
mod report;
mod testbeds;
mod tidy;
mod workspace;

use failure::Failure;
use std::process::ExitCode;

const HELP: &str = "\
Development tasks of the workspace.

Usage: cargo xtask <COMMAND> [OPTIONS]

Commands:
  ci        run every check, as CI does
  tidy      check the text of all files against the rules of the house
  layers    check the arrows between crates
  testbeds  install what tests need and a fresh machine lacks
  bench     build for release and measure

Examples:
  cargo xtask ci
  cargo xtask ci --only tidy
  cargo xtask bench protocol

`cargo xtask <COMMAND> --help` says more.
Exit codes: 0 done, 1 a check failed, 2 the command could not run.";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // After `ci` the tally is the last line: the table has already told the rest.
            if !matches!(failure, Failure::Steps { .. }) {
                report::note(format_args!("error: {failure}"));
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

fn dispatch(args: &[String]) -> Result<(), Failure> {
    let Some((command, rest)) = args.split_first() else {
        return Err(Failure::usage("no command given", HELP));
    };
    match command.as_str() {
        "ci" => ci::main(rest),
        "tidy" => tidy::main(rest),
        "layers" => layers::main(rest),
        "testbeds" => testbeds::main(rest),
        "bench" => bench::main(rest),
        "help" | "--help" | "-h" => {
            report::say(HELP);
            Ok(())
        }
        other => Err(Failure::usage(format!("unknown command `{other}`"), HELP)),
    }
}

/// Whether the arguments ask for help anywhere.
fn wants_help(args: &[String]) -> bool {
    args.iter().any(|arg| arg == "--help" || arg == "-h")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(args: &[&str]) -> Result<(), Failure> {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        dispatch(&args)
    }

    #[test]
    fn every_command_has_help_with_an_example() {
        for (command, help) in [
            ("", HELP),
            ("ci", ci::HELP),
            ("tidy", tidy::HELP),
            ("layers", layers::HELP),
            ("testbeds", testbeds::HELP),
            ("bench", bench::HELP),
        ] {
            assert!(help.contains("Examples:\n  cargo xtask"), "{command}");
            if !command.is_empty() {
                assert!(run(&[command, "--help"]).is_ok(), "{command}");
            }
        }
    }

    #[test]
    fn an_unknown_command_or_flag_is_a_usage_error() {
        for args in [
            &[][..],
            &["frobnicate"],
            &["ci", "--nope"],
            &["ci", "--only"],
            &["ci", "--only", "nope"],
            &["tidy", "--nope"],
            &["layers", "--nope"],
            &["testbeds", "--nope"],
            &["bench"],
            &["bench", "nope"],
        ] {
            let failure = run(args).expect_err("refused");
            assert_eq!(failure.exit_code(), 2, "{args:?}: {failure}");
        }
    }
}
