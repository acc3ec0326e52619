//! The shape of `quoin sequence`.

use super::DataArg;
use clap::{Args, Subcommand, ValueEnum};
use quoin_core::RequestId;

/// `quoin sequence`.
#[derive(Debug, Subcommand)]
pub enum SequenceCommand {
    /// List all sequences with their gaps
    List(SequenceListArgs),
    /// Show how one sequence stands, number by number
    #[command(
        after_help = "Example:\n  quoin sequence show eip155:31337:0x…\n\nFill a gap with the \
                            next transactions, or with `quoin sign --key KEY --cancel NONCE`."
    )]
    Show(SequenceShowArgs),
    /// Take the next nonce, or a block
    #[command(after_help = "Examples:\n  quoin sequence next eip155:31337:0x…\n  \
                            quoin sequence next hyperliquid:0x… --count 100 --json")]
    Next(SequenceNextArgs),
    /// Say what became of nonces that were taken
    #[command(
        after_help = "Example:\n  quoin sequence settle eip155:31337:0x… --request-id 6f1c… --outcome returned"
    )]
    Settle(SequenceSettleArgs),
}

/// `quoin sequence list`.
#[derive(Debug, Args)]
pub struct SequenceListArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The data folder
    #[command(flatten)]
    pub data: DataArg,
}

/// `quoin sequence show`.
#[derive(Debug, Args)]
pub struct SequenceShowArgs {
    /// `eip155:CHAIN:ADDRESS` or `VENUE:ADDRESS`
    pub sequence: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The data folder
    #[command(flatten)]
    pub data: DataArg,
}

/// `quoin sequence next`.
#[derive(Debug, Args)]
pub struct SequenceNextArgs {
    /// `eip155:CHAIN:ADDRESS` or `VENUE:ADDRESS`
    pub sequence: String,
    /// How many
    #[arg(long, default_value_t = 1)]
    pub count: u64,
    /// The id of the request that will be signed with the number; the same id has the same number
    #[arg(long)]
    pub request_id: Option<RequestId>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The data folder
    #[command(flatten)]
    pub data: DataArg,
}

/// `quoin sequence settle`.
#[derive(Debug, Args)]
pub struct SequenceSettleArgs {
    /// `eip155:CHAIN:ADDRESS` or `VENUE:ADDRESS`
    pub sequence: String,
    /// The request that has the numbers
    #[arg(long)]
    pub request_id: RequestId,
    /// Only this one of a block
    #[arg(long)]
    pub number: Option<u64>,
    /// What became of them
    #[arg(long)]
    pub outcome: OutcomeArg,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The data folder
    #[command(flatten)]
    pub data: DataArg,
}

/// What became of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutcomeArg {
    /// They are signed
    Used,
    /// Nobody was asked to sign them
    Returned,
}
