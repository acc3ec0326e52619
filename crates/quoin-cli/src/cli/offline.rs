//! The shape of what happens around backups: officers, drills, restores, and whole keys.

use super::{DataArg, PurposeArg, SingleFormatArg, SingleSourceArgs};
use clap::{Args, Subcommand};
use quoin_core::KeyName;
use std::path::PathBuf;

/// Where backups lie.
#[derive(Clone, Debug, Args)]
pub struct BackupsArgs {
    /// A folder with backup files; may be given again [default: `backups` of every node's folder
    /// in the data folder]
    #[arg(long = "from", value_name = "DIR")]
    pub from: Vec<PathBuf>,
    /// The data folder
    #[command(flatten)]
    pub data: DataArg,
}

/// The officers who are here.
#[derive(Clone, Debug, Args)]
pub struct OfficersArgs {
    /// An officer's `age` identity file; give one for each officer who is here
    #[arg(long = "officer", value_name = "FILE", required = true)]
    pub officers: Vec<PathBuf>,
}

/// `quoin officer`.
#[derive(Debug, Subcommand)]
pub enum OfficerCommand {
    /// Make an officer's identity; its recipient goes into the charter's `backup`
    #[command(
        after_help = "Example:\n  quoin officer new --out ann.key\n\n`age-keygen` makes the same \
                      kind of file."
    )]
    New(OfficerNewArgs),
}

/// `quoin officer new`.
#[derive(Debug, Args)]
pub struct OfficerNewArgs {
    /// The file to make; one that exists is left alone
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `quoin drill`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  quoin drill --officer ann.key --officer bob.key\n  \
                  quoin drill --from /mnt/backups --officer ann.key --json\n\nEach officer's parts \
                  are opened and checked against the key's public commitments. Nothing is \
                  combined, so no share and no key exists at any moment."
)]
pub struct DrillArgs {
    /// Where the backups lie
    #[command(flatten)]
    pub backups: BackupsArgs,
    /// Who is here
    #[command(flatten)]
    pub officers: OfficersArgs,
    /// Do not compare with the keys that the cluster certifies
    #[arg(long)]
    pub offline: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `quoin key backup`.
#[derive(Debug, Args)]
pub struct KeyBackupArgs {
    /// The key's name; all keys when it is left out
    pub name: Option<KeyName>,
    /// Where the backups lie
    #[command(flatten)]
    pub backups: BackupsArgs,
    /// A folder to copy the backups of the epoch in use to
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `quoin key restore`.
#[derive(Debug, Args)]
pub struct KeyRestoreArgs {
    /// The key's name; all keys when it is left out
    pub name: Option<KeyName>,
    /// The folder of the stopped node
    #[arg(long, value_name = "DIR")]
    pub node: PathBuf,
    /// Where the backups lie
    #[command(flatten)]
    pub backups: BackupsArgs,
    /// Who is here
    #[command(flatten)]
    pub officers: OfficersArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `quoin key export`.
#[derive(Debug, Args)]
pub struct KeyExportArgs {
    /// The key's name
    pub name: KeyName,
    /// Confirms that the key will be whole on this machine, and is then worth what the machine is
    #[arg(long, required = true)]
    pub danger_make_whole: bool,
    /// Where the backups lie
    #[command(flatten)]
    pub backups: BackupsArgs,
    /// Who is here: the quorum that exports
    #[command(flatten)]
    pub officers: OfficersArgs,
    /// The file's format
    #[arg(long)]
    pub to: SingleFormatArg,
    /// The file to make; one that exists is left alone
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// A file with the new keystore's password
    #[arg(long, value_name = "FILE")]
    pub out_password_file: Option<PathBuf>,
    /// Print JSON about what was done
    #[arg(long)]
    pub json: bool,
}

/// `quoin key import`.
#[derive(Debug, Args)]
pub struct KeyImportArgs {
    /// The key's new name
    pub name: KeyName,
    /// Confirms that the key has been whole elsewhere and may be so still
    #[arg(long, required = true)]
    pub danger_was_whole: bool,
    /// What the key is for, for ever
    #[arg(long)]
    pub purpose: PurposeArg,
    /// Where the key comes from
    #[command(flatten)]
    pub source: SingleSourceArgs,
    /// The folder to write one backup file for each node to
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// The data folder
    #[command(flatten)]
    pub data: DataArg,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
