//! `cargo xtask bench`: builds the release binary and hands over to its own `bench` command.
//!
//! What is measured, and how, lives in the product's command line; this only makes sure that
//! nobody measures a debug build by accident.

use crate::failure::Failure;
use crate::workspace::Workspace;
use crate::{report, wants_help};

/// The help text.
pub const HELP: &str = "\
Build for release and measure.

Usage: cargo xtask bench gateway [--json] [ARGS]...

Targets:
  gateway  signing latency over HTTP for each scheme beside one plain local key

All arguments after the target go to `quoin bench gateway` unchanged.

Examples:
  cargo xtask bench gateway
  cargo xtask bench gateway --json";

/// Runs the command.
pub fn main(args: &[String]) -> Result<(), Failure> {
    let Some((target, rest)) = args.split_first() else {
        return Err(Failure::usage("no bench target given", HELP));
    };
    if target == "--help" || target == "-h" || wants_help(rest) {
        report::say(HELP);
        return Ok(());
    }
    if target != "gateway" {
        let message = format!("unknown bench target `{target}`");
        return Err(Failure::usage(message, HELP));
    }
    let workspace = Workspace::load()?;
    report::note("building the release binary");
    let build = workspace.cargo(&["build", "--release", "--package", "quoin-cli"]);
    build.run_aside()?;
    let mut all = vec!["bench", "gateway"];
    all.extend(rest.iter().map(String::as_str));
    let quoin = workspace.release_binary("quoin");
    workspace.program(quoin, &all).run()
}
