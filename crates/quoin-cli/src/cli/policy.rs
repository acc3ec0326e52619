//! The flags of `quoin policy`.

use super::DataArg;
use clap::{Args, Subcommand};
use quoin_core::{Amount, DerivationPath, KeyName, PrincipalId, TimeMs};
use std::path::PathBuf;

/// `quoin policy`.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Show why a request would be decided as it is, by the charter in this folder
    #[command(
        after_help = "Examples:\n  quoin policy explain --key desk-ecdsa --transfer 0x…dead --amount 1000000000 --as bot\n  \
                      quoin policy explain --case cases.json --name 'a cancel'\n\n\
                      Nobody is asked, and nothing is known of freezes, feeds and what is spent."
    )]
    Explain(Box<PolicyExplainArgs>),
    /// Ask every node what it would decide about a request, and why; nothing is decided
    #[command(
        after_help = "Example:\n  quoin policy dry-run --key desk-ecdsa --transfer 0x…dead --amount 1000000000 --as bot\n\n\
                      Who may not read policies is told the decision and the rules that made it."
    )]
    DryRun(Box<PolicyDryRunArgs>),
    /// Check that a charter says of requests what files say that it should
    #[command(
        after_help = "Examples:\n  quoin policy test examples/policy/dev.json\n  \
                      quoin policy test cases/ --charter charter.json --json\n\n\
                      The form of a case is in docs/policy.md. Exit codes: 0 all as expected, 1 one \
                      differs, 2 error."
    )]
    Test(PolicyTestArgs),
    /// Show which recorded requests another charter would have decided otherwise
    #[command(
        after_help = "Examples:\n  quoin charter show --json > charter.json  (edit it)\n  \
                      quoin policy replay --new charter.json\n  \
                      quoin policy replay --new charter.json --node ./node-1 --since 7d --json\n\n\
                      A node may run meanwhile: its journal is only read."
    )]
    Replay(PolicyReplayArgs),
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

/// What somebody would ask for, as `quoin sign` takes it.
#[derive(Debug, Args)]
pub struct PolicyWishArgs {
    /// The key's name
    #[arg(long)]
    pub key: Option<KeyName>,
    /// The derived account's path below the key
    #[arg(long, default_value = "m")]
    pub path: DerivationPath,
    /// Who would ask
    #[arg(long = "as", value_name = "PRINCIPAL", default_value = "alice")]
    pub principal: PrincipalId,
    /// Send the chain's own coin to this address
    #[arg(long, value_name = "TO", requires = "amount")]
    pub transfer: Option<String>,
    /// How much, in wei
    #[arg(long, value_name = "WEI", requires = "transfer")]
    pub amount: Option<Amount>,
    /// The chain's id [default: the data folder's]
    #[arg(long, value_name = "ID")]
    pub chain: Option<u64>,
    /// An unsigned EVM transaction in hex, from a file
    #[arg(long, value_name = "FILE")]
    pub transaction: Option<PathBuf>,
    /// EIP-712 typed data as JSON, from a file
    #[arg(long, value_name = "FILE")]
    pub typed_data: Option<PathBuf>,
    /// An EIP-191 personal message
    #[arg(long, value_name = "TEXT")]
    pub message: Option<String>,
    /// A text that no chain gives a meaning to
    #[arg(long, value_name = "TEXT")]
    pub text: Option<String>,
}

/// `quoin policy explain`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["case", "transfer", "transaction", "typed_data", "message", "text"]))]
pub struct PolicyExplainArgs {
    /// What somebody would ask for
    #[command(flatten)]
    pub wish: PolicyWishArgs,
    /// A file of cases, as `quoin policy test` takes it
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    pub case: Option<PathBuf>,
    /// Only the case with this name
    #[arg(long, value_name = "NAME", requires = "case")]
    pub name: Option<String>,
    /// The charter, as JSON [default: the newest that was verified in the data folder]
    #[arg(long, value_name = "FILE")]
    pub charter: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The data folder
    #[command(flatten)]
    pub data: DataArg,
}

/// `quoin policy dry-run`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["transfer", "transaction", "typed_data", "message", "text"]))]
pub struct PolicyDryRunArgs {
    /// What somebody would ask for
    #[command(flatten)]
    pub wish: PolicyWishArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The data folder
    #[command(flatten)]
    pub data: DataArg,
}

/// `quoin policy test`.
#[derive(Debug, Args)]
pub struct PolicyTestArgs {
    /// A file of cases, or a folder of such files
    pub cases: PathBuf,
    /// The charter, as JSON [default: the newest that was verified in the data folder]
    #[arg(long, value_name = "FILE")]
    pub charter: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The data folder
    #[command(flatten)]
    pub data: DataArg,
}

/// `quoin policy replay`.
#[derive(Debug, Args)]
pub struct PolicyReplayArgs {
    /// The other charter, as JSON; its number and predecessor are filled in
    #[arg(long, value_name = "FILE")]
    pub new: PathBuf,
    /// The folder of a node; may be given again [default: all that are in the data folder]
    #[arg(long = "node", value_name = "DIR")]
    pub nodes: Vec<PathBuf>,
    /// Only what was decided since: `30m`, `24h` or `7d` ago, or milliseconds since 1970
    #[arg(long, value_name = "WHEN", value_parser = since)]
    pub since: Option<Since>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The data folder
    #[command(flatten)]
    pub data: DataArg,
}

/// A time, or how long ago it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// So many milliseconds ago.
    Ago(u64),
    /// That time.
    At(TimeMs),
}

impl Since {
    /// The time that is meant at `now`.
    pub const fn from(self, now: TimeMs) -> TimeMs {
        match self {
            Self::Ago(ms) => TimeMs(now.0.saturating_sub(ms)),
            Self::At(at) => at,
        }
    }
}

fn since(text: &str) -> Result<Since, String> {
    let units = [("m", 60_000u64), ("h", 3_600_000), ("d", 86_400_000)];
    let found = units.iter().find_map(|(unit, ms)| {
        let number = text.strip_suffix(unit)?.parse::<u64>().ok()?;
        number.checked_mul(*ms).map(Since::Ago)
    });
    let at = || text.parse().ok().map(|ms| Since::At(TimeMs(ms)));
    found
        .or_else(at)
        .ok_or_else(|| "expected `30m`, `24h`, `7d` or milliseconds since 1970".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_given_or_how_long_ago_it_was() {
        let now = TimeMs(1_000_000_000);
        let at = |text: &str| since(text).map(|s| s.from(now).0);
        assert_eq!(at("5"), Ok(5));
        assert_eq!(at("2m"), Ok(1_000_000_000 - 120_000));
        assert_eq!(at("1h"), Ok(1_000_000_000 - 3_600_000));
        assert_eq!(at("400d"), Ok(0));
        for wrong in ["", "h", "-1h", "1w", "yesterday"] {
            assert!(since(wrong).is_err(), "{wrong}");
        }
    }
}
