//! `quoin policy`: what the rules of a charter do, without asking a cluster to sign anything.

pub mod prove;

use crate::cli::PolicyCommand;
use crate::failure::Failure;

/// Runs the command.
pub async fn run(command: PolicyCommand) -> Result<(), Failure> {
    match command {
        PolicyCommand::Prove(args) => prove::run(args).await,
    }
}
