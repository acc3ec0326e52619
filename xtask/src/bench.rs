//! `cargo xtask bench`: builds for release what measures, and hands over to it.
//!
//! What is measured, and how, lives in the product's command line and in the package `bench`; this
//! only makes sure that nobody measures a debug build by accident.

use crate::failure::Failure;
use crate::workspace::Workspace;
use crate::{report, wants_help};

/// The help text.
pub const HELP: &str = "\
Build for release and measure.

Usage: cargo xtask bench gateway [--json] [ARGS]...
       cargo xtask bench load [--sustained] [--json] [ARGS]...
       cargo xtask bench protocol [--json] [--quick] [--only SUBJECT]...
       cargo xtask bench policy [--json] [RUNS]

Targets:
  gateway   signing latency over HTTP for each scheme beside one plain local key
  load      signing at a steady rate, also during a refresh and a reshare to five nodes
  protocol  CPU time, bytes and rounds of every protocol beside those of its peers
  policy    the evaluation of 10 to 5,000 rules, asked whole and by the index

All arguments after `gateway` and `load` go to `quoin bench` unchanged. Those of `protocol`:
  --json           print the rows as JSON
  --quick          run everything once: to see that it works, not to be quoted
  --only SUBJECT   measure only `quoin` or one of the peers

`protocol` builds the package `bench`, which is outside the workspace and no part of `ci`.

Examples:
  cargo xtask bench gateway
  cargo xtask bench gateway --json
  cargo xtask bench load --rate 200 --seconds 20
  cargo xtask bench protocol
  cargo xtask bench protocol --json --only quoin";

/// The package that measures protocols, from the root.
const PROTOCOL_MANIFEST: &str = "bench/Cargo.toml";

/// The variable in which that package is told the commit.
const COMMIT: &str = "QUOIN_BENCH_COMMIT";

/// Runs the command.
pub fn main(args: &[String]) -> Result<(), Failure> {
    let Some((target, rest)) = args.split_first() else {
        return Err(Failure::usage("no bench target given", HELP));
    };
    if target == "--help" || target == "-h" || wants_help(rest) {
        report::say(HELP);
        return Ok(());
    }
    let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
    match target.as_str() {
        "gateway" | "load" => product(target, &rest),
        "protocol" if fits_protocol(&rest) => protocol(&rest),
        "policy" if fits_policy(&rest) => policy(&rest),
        "protocol" | "policy" => {
            let message = format!("unknown arguments `{}`", rest.join(" "));
            Err(Failure::usage(message, HELP))
        }
        _ => {
            let message = format!("unknown bench target `{target}`");
            Err(Failure::usage(message, HELP))
        }
    }
}

fn product(target: &str, rest: &[&str]) -> Result<(), Failure> {
    let workspace = Workspace::load()?;
    report::note("building the release binary");
    let build = workspace.cargo(&["build", "--release", "--package", "quoin-cli"]);
    build.run_aside()?;
    let all = [&["bench", target], rest].concat();
    let quoin = workspace.release_binary("quoin");
    workspace.program(quoin, &all).run()
}

/// Asked before the build, which takes minutes.
fn fits_protocol(rest: &[&str]) -> bool {
    match rest {
        [] => true,
        ["--json" | "--quick", rest @ ..] => fits_protocol(rest),
        ["--only", subject, rest @ ..] => !subject.starts_with('-') && fits_protocol(rest),
        _ => false,
    }
}

fn protocol(rest: &[&str]) -> Result<(), Failure> {
    let workspace = Workspace::load()?;
    report::note("building the protocols and their peers");
    let build = workspace.cargo(&["build", "--release", "--manifest-path", PROTOCOL_MANIFEST]);
    // What both have in common is then built once.
    let target = workspace.target.to_string_lossy();
    build.env("CARGO_TARGET_DIR", &target).run_aside()?;
    let describe = ["describe", "--always", "--dirty", "--exclude", "*"];
    let commit = workspace.program("git", &describe).stdout(None);
    let commit = commit.unwrap_or_else(|_| "unknown".to_owned());
    let measure = workspace.program(workspace.release_binary("quoin-bench"), rest);
    measure.env(COMMIT, commit.trim()).run()
}

fn fits_policy(rest: &[&str]) -> bool {
    match rest {
        [] => true,
        ["--json", rest @ ..] => fits_policy(rest),
        [runs] => runs.parse::<usize>().is_ok(),
        _ => false,
    }
}

fn policy(rest: &[&str]) -> Result<(), Failure> {
    let workspace = Workspace::load()?;
    report::note("building the example `policy_curve`");
    let example = ["--package", "quoin-policy", "--features", "measure"];
    let example = [&example[..], &["--example", "policy_curve"]].concat();
    let build = [&["build", "--release"], &example[..]].concat();
    workspace.cargo(&build).run_aside()?;
    let run = [
        &["run", "--quiet", "--release"],
        &example[..],
        &["--"],
        rest,
    ]
    .concat();
    workspace.cargo(&run).run()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_arguments_of_policy_are_refused_before_anything_is_built() {
        for good in [&[][..], &["--json"], &["--json", "50"], &["50"]] {
            assert!(fits_policy(good), "{good:?}");
        }
        for bad in [&["--jsn"][..], &["50", "--json"], &["few"]] {
            assert!(!fits_policy(bad), "{bad:?}");
        }
    }

    #[test]
    fn wrong_arguments_of_protocol_are_refused_before_anything_is_built() {
        for good in [
            &[][..],
            &["--json"],
            &["--quick", "--only", "quoin", "--json"],
        ] {
            assert!(fits_protocol(good), "{good:?}");
        }
        for bad in [
            &["--jsn"][..],
            &["--only"],
            &["--only", "--json"],
            &["quoin"],
        ] {
            assert!(!fits_protocol(bad), "{bad:?}");
            let args: Vec<String> = ["protocol"]
                .iter()
                .chain(bad)
                .map(|a| (*a).to_owned())
                .collect();
            assert_eq!(main(&args).expect_err("refused").exit_code(), 2, "{bad:?}");
        }
    }
}
