//! `quoin policy`: what the rules of a charter do, without asking a cluster to sign anything.

mod cases;
mod dry_run;
mod explain;
mod payloads;
pub mod prove;
pub mod replay;
mod test;
mod trial;

use crate::cli::PolicyCommand;
use crate::failure::Failure;

/// Runs the command.
pub async fn run(command: PolicyCommand) -> Result<(), Failure> {
    match command {
        PolicyCommand::Explain(args) => explain::run(*args).await,
        PolicyCommand::DryRun(args) => dry_run::run(*args).await,
        PolicyCommand::Test(args) => test::run(&args),
        PolicyCommand::Replay(args) => replay::run(&args),
        PolicyCommand::Prove(args) => prove::run(args).await,
    }
}
