//! The shape of `quoin bench`.

use super::DataArg;
use clap::{Args, Subcommand, ValueEnum};
use quoin_core::{Address, Amount, KeyName, PrincipalId, Scheme};

/// `quoin bench`.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Signing latency over HTTP for each scheme beside one plain local key
    Gateway(BenchArgs),
    /// Signing under a steady load, also while the shares of the key move
    Load(BenchLoadArgs),
    /// How many nonces a second are handed out, from memory, from disk and over HTTP
    Sequencer(BenchSequencerArgs),
    /// Transfers of one account, many at once, on the cluster that runs: no cap is passed and no nonce
    /// is used twice
    Hammer(BenchHammerArgs),
}

/// `quoin bench gateway`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// How many signatures of each kind
    #[arg(long, default_value_t = 300)]
    pub count: usize,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `quoin bench load`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  quoin bench load                through a refresh and a reshare to \
                  five nodes\n  quoin bench load --sustained    the highest rate that holds\n\n\
                  Requests leave on a schedule, whatever became of the ones before, and time runs \
                  from when each was due. Every signature is verified. Exit code 2 when a request \
                  failed."
)]
pub struct BenchLoadArgs {
    /// How many requests each second; with `--sustained`, the rate to begin with
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rate: u32,
    /// How long each phase takes, in seconds; what happens in its middle may make it longer
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(2..=3_600))]
    pub seconds: u32,
    /// The scheme of the key
    #[arg(long, default_value = "ecdsa")]
    pub scheme: LoadSchemeArg,
    /// Look for the highest rate at which no request fails and the pool never empties
    #[arg(long)]
    pub sustained: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `quoin bench sequencer`.
#[derive(Debug, Args)]
pub struct BenchSequencerArgs {
    /// How many threads, or HTTP clients, ask at once
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub threads: u32,
    /// How long each row takes, in seconds
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=60))]
    pub seconds: u32,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `quoin bench hammer`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  quoin bench hammer --key hedge --as alice\n\nNothing is broadcast, so \
                  take a key whose account pays nothing else: its next transactions wait for those \
                  that are signed here. Every signature and every nonce is checked here. Exit code 1 \
                  when a cap was passed or a nonce used twice, 2 when a request failed."
)]
pub struct BenchHammerArgs {
    /// How many transfers
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=4_000))]
    pub requests: u32,
    /// How many ask at once
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=48))]
    pub threads: u32,
    /// The key's name
    #[arg(long, default_value = "desk-ecdsa")]
    pub key: KeyName,
    /// Who asks
    #[arg(long = "as", value_name = "PRINCIPAL", default_value = "alice")]
    pub principal: PrincipalId,
    /// Who would receive
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "0x000000000000000000000000000000000000dEaD"
    )]
    pub to: Address,
    /// How much each time, in wei
    #[arg(long, value_name = "WEI", default_value = "100000000000000000")]
    pub amount: Amount,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The data folder
    #[command(flatten)]
    pub data: DataArg,
}

/// The scheme of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LoadSchemeArg {
    /// ECDSA on secp256k1
    Ecdsa,
    /// Ed25519
    Ed25519,
}

impl From<LoadSchemeArg> for Scheme {
    fn from(arg: LoadSchemeArg) -> Self {
        match arg {
            LoadSchemeArg::Ecdsa => Self::Ecdsa,
            LoadSchemeArg::Ed25519 => Self::Ed25519,
        }
    }
}
