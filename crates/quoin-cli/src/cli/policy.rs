//! The flags of `quoin policy`.

use super::DataArg;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `quoin policy`.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Prove that the next charter only tightens, or show a request on which it does not
    #[command(
        after_help = "Examples:\n  quoin charter show --json > charter.json  (edit it)\n  \
                      quoin policy prove --new charter.json\n  \
                      quoin policy prove --old old.json --new new.json --json\n\n\
                      Needs the solver cvc5 1.3.1: the variable CVC5 names it, or it is on the path.\n\
                      Exit codes: 0 only tightens, 1 does not, 2 error or no solver."
    )]
    Prove(PolicyProveArgs),
}

/// `quoin policy prove`.
#[derive(Debug, Args)]
pub struct PolicyProveArgs {
    /// The next charter, as JSON
    #[arg(long, value_name = "FILE")]
    pub new: PathBuf,
    /// The charter to compare it with, as JSON [default: the charter in force]
    #[arg(long, value_name = "FILE")]
    pub old: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The data folder
    #[command(flatten)]
    pub data: DataArg,
}
