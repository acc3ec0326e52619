//! The command line's shape: each flag is defined once, here.

mod bench;
mod decision;
mod offline;
mod policy;
mod sequence;

pub use bench::*;
pub use decision::*;
pub use offline::*;
pub use policy::*;
pub use sequence::*;

use clap::{Args, Parser, Subcommand, ValueEnum};
use quoin_core::{
    Amount, DerivationPath, KeyName, NodeIndex, PrincipalId, Purpose, RequestId, Scheme,
};
use std::net::SocketAddr;
use std::path::PathBuf;

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "quoin",
    version,
    about = "Threshold keys that only sign what every node judges to be allowed",
    after_help = "Start here:\n  quoin dev              a cluster of three nodes on this machine\n  \
                  quoin dev --demo       the whole story, played once\n\n\
                  Exit codes: 0 done, 1 refused by policy, 2 error, 130 interrupted."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a cluster of three nodes and a gateway on this machine, for development
    Dev(Box<DevArgs>),
    /// Run one node, or change how the others see one
    Node(NodeArgs),
    /// Run a gateway
    Gateway(GatewayArgs),
    /// Make identities and the genesis of a cluster
    #[command(subcommand)]
    Init(InitCommand),
    /// Make, list and show threshold keys
    #[command(subcommand)]
    Key(KeyCommand),
    /// Make identities of officers, to whom backups are sealed
    #[command(subcommand)]
    Officer(OfficerCommand),
    /// Prove that backups could recover each key, without recovering any
    Drill(DrillArgs),
    /// Ask for a signature
    Sign(Box<SignArgs>),
    /// Approve a request or a proposed charter
    Approve(ApproveArgs),
    /// End a request or a proposed charter, for ever; one person's veto is enough
    #[command(
        after_help = "Examples:\n  quoin veto 6f1c… --as carol   (a request: 32 hex digits)\n  \
                      quoin veto 09ab… --as wendy   (a proposed charter: 64 hex digits)"
    )]
    Veto(NoticeArgs),
    /// State as a watcher that you have seen a request or a proposed charter, and told your people
    #[command(
        after_help = "Example:\n  quoin receipt 09ab… --as wendy\n\nWhere a rule says \
                            `@notice`, its delay counts from this."
    )]
    Receipt(NoticeArgs),
    /// Stop signing, at once
    Freeze(Box<FreezeArgs>),
    /// List the freezes in force
    #[command(after_help = "Example:\n  quoin freezes --json")]
    Freezes(ReadArgs),
    /// Ask to lift freezes; others have to approve
    Unfreeze(UnfreezeArgs),
    /// Show or change the charter
    #[command(subcommand)]
    Charter(CharterCommand),
    /// Show or add to the address book
    #[command(subcommand)]
    Book(BookCommand),
    /// State facts as a feed
    #[command(subcommand)]
    Feed(FeedCommand),
    /// List what has been signed and could still execute, and burn it
    Outstanding(OutstandingArgs),
    /// Take nonces, and show which are missing
    #[command(subcommand)]
    Sequence(SequenceCommand),
    /// See what the rules of a charter do
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Verify the nodes' journals, offline
    #[command(subcommand)]
    Journal(JournalCommand),
    /// Read and write single keys in the formats of wallets, offline
    #[command(subcommand)]
    Single(SingleCommand),
    /// Measure
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Run a program that ends when this process's standard input does
    #[command(hide = true)]
    WithParent(WithParentArgs),
}

/// The data folder.
#[derive(Clone, Debug, Args)]
pub struct DataArg {
    /// The data folder [default: ./quoin-data or, when that is missing, ./quoin-dev]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

impl DataArg {
    /// The folder that is meant.
    pub fn folder(&self) -> crate::folder::Folder {
        let default = || {
            let (data, dev) = (PathBuf::from("quoin-data"), PathBuf::from("quoin-dev"));
            if !data.exists() && dev.exists() {
                dev
            } else {
                data
            }
        };
        crate::folder::Folder::at(self.data.clone().unwrap_or_else(default))
    }
}

/// `quoin dev`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  quoin dev\n  quoin dev --port 0 --data ./cluster\n  \
                        quoin dev --rpc http://127.0.0.1:8545\n  quoin dev --demo --json\n  \
                        quoin dev grow --to 5 --threshold 3   (beside a `quoin dev` that runs)",
    args_conflicts_with_subcommands = true
)]
pub struct DevArgs {
    /// What to do with the dev cluster that runs, instead of running one
    #[command(subcommand)]
    pub command: Option<DevCommand>,
    /// The data folder [default: ./quoin-dev; for --demo: a temporary one]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The gateway's port on 127.0.0.1; 0 takes a free one [default: 8700; for --demo: 0]
    #[arg(long)]
    pub port: Option<u16>,
    /// The chain node to use instead of starting anvil
    #[arg(long, value_name = "URL")]
    pub rpc: Option<String>,
    /// Play the whole story once and exit
    #[arg(long)]
    pub demo: bool,
    /// How many signatures of each scheme the demo's latency table takes
    #[arg(long, default_value_t = 100, value_name = "N", requires = "demo")]
    pub samples: usize,
    /// Leave a node that ends by itself as it is, instead of starting it again
    #[arg(long)]
    pub no_restart: bool,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// `quoin dev` beside a dev cluster that runs.
#[derive(Debug, Subcommand)]
pub enum DevCommand {
    /// Change the nodes and the threshold of a dev cluster while it runs
    #[command(after_help = "Examples:\n  quoin dev grow --to 5 --threshold 3\n  \
                            quoin dev grow --to 3 --without 3   (node 3 leaves, a new one comes)\n\n\
                            Keys stay with the nodes that hold them: `quoin key reshare NAME` moves one.")]
    Grow(DevGrowArgs),
}

/// `quoin dev grow`.
#[derive(Debug, Args)]
pub struct DevGrowArgs {
    /// How many nodes there shall be
    #[arg(long, value_name = "N")]
    pub to: u8,
    /// How many of them shall sign [default: as now]
    #[arg(long, value_name = "T")]
    pub threshold: Option<u8>,
    /// For how many malicious nodes the cluster shall promise exactly-once [default: as now]
    #[arg(long, value_name = "F")]
    pub f_tol: Option<u8>,
    /// A node that leaves; may be given again
    #[arg(long = "without", value_name = "INDEX", value_parser = node_index)]
    pub without: Vec<NodeIndex>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The data folder
    #[command(flatten)]
    pub data: DataArg,
}

/// `quoin node`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  quoin node --data ./node-1\n  quoin node pardon 2",
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
pub struct NodeArgs {
    /// What the others shall do about a node, instead of running one
    #[command(subcommand)]
    pub command: Option<NodeCommand>,
    /// The node's folder, as `quoin init node` made it
    #[arg(long, value_name = "DIR", required = true)]
    pub data: Option<PathBuf>,
    /// End when standard input ends, which it does when the process that started this one dies
    #[arg(long)]
    pub exit_with_parent: bool,
}

/// `quoin gateway`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  quoin gateway --data ./gateway")]
pub struct GatewayArgs {
    /// The gateway's folder, as `quoin init gateway` made it
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// End when standard input ends, which it does when the process that started this one dies
    #[arg(long)]
    pub exit_with_parent: bool,
}

/// `quoin init`.
#[derive(Debug, Subcommand)]
pub enum InitCommand {
    /// Make a node's identity on its own host, and print the public part
    #[command(
        after_help = "Example:\n  quoin init node --index 1 --listen 10.0.0.1:7101 \
                            --peer 2=10.0.0.2:7101 --peer 3=10.0.0.3:7101 --dir ./node-1"
    )]
    Node(InitNodeArgs),
    /// Make a gateway's identity, and print the public part
    Gateway(InitGatewayArgs),
    /// Make a person's or agent's credential, and print the public part
    Principal(InitPrincipalArgs),
    /// Sign the genesis with the identities that are on this host
    #[command(
        after_help = "Example:\n  quoin init genesis --charter charter.json --out \
                            genesis.cbor --node ./node-1 --governor ./alice.key"
    )]
    Genesis(InitGenesisArgs),
    /// Pin a cluster in a data folder, so that commands can talk to it
    Pin(InitPinArgs),
}

/// `quoin init node`.
#[derive(Debug, Args)]
pub struct InitNodeArgs {
    /// The node's index, 1 to 15
    #[arg(long, value_parser = node_index)]
    pub index: NodeIndex,
    /// Where the node listens for other nodes and gateways
    #[arg(long)]
    pub listen: SocketAddr,
    /// Where another node listens: `<index>=<address>`
    #[arg(long = "peer", value_parser = peer, value_name = "INDEX=ADDRESS")]
    pub peers: Vec<(NodeIndex, SocketAddr)>,
    /// The genesis file that the node will start from
    #[arg(long, default_value = "genesis.cbor")]
    pub genesis: PathBuf,
    /// The folder to make
    #[arg(long)]
    pub dir: PathBuf,
}

/// `quoin init gateway`.
#[derive(Debug, Args)]
pub struct InitGatewayArgs {
    /// The folder to make
    #[arg(long)]
    pub dir: PathBuf,
}

/// `quoin init principal`.
#[derive(Debug, Args)]
pub struct InitPrincipalArgs {
    /// The key file to make
    #[arg(long)]
    pub out: PathBuf,
}

/// `quoin init genesis`.
#[derive(Debug, Args)]
pub struct InitGenesisArgs {
    /// The charter, as JSON
    #[arg(long, value_name = "FILE")]
    pub charter: PathBuf,
    /// Where to write it; signatures that are there already are kept
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// The folder of a node on this host
    #[arg(long = "node", value_name = "DIR")]
    pub nodes: Vec<PathBuf>,
    /// The key file of a governor on this host
    #[arg(long = "governor", value_name = "FILE")]
    pub governors: Vec<PathBuf>,
}

/// `quoin init pin`.
#[derive(Debug, Args)]
pub struct InitPinArgs {
    /// The signed genesis
    #[arg(long, value_name = "FILE")]
    pub genesis: PathBuf,
    /// Where the gateway listens
    #[arg(long, value_name = "URL")]
    pub gateway: String,
    /// The chain that amounts mean unless another is named
    #[arg(long)]
    pub chain_id: u64,
    /// The chain node, for nonces, fees and broadcasting
    #[arg(long, value_name = "URL")]
    pub rpc: Option<String>,
    /// Where a node listens: `<index>=<host:port>`, for freezes that bypass the gateway
    #[arg(long = "node", value_parser = host, value_name = "INDEX=HOST:PORT")]
    pub nodes: Vec<(NodeIndex, String)>,
    /// The data folder to make
    #[arg(long, value_name = "DIR", default_value = "quoin-data")]
    pub data: PathBuf,
}

/// A scheme, as arguments name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SchemeArg {
    /// ECDSA on secp256k1
    Ecdsa,
    /// BIP-340 Schnorr for Taproot outputs
    Taproot,
    /// Ed25519
    Ed25519,
}

impl From<SchemeArg> for Scheme {
    fn from(arg: SchemeArg) -> Self {
        match arg {
            SchemeArg::Ecdsa => Self::Ecdsa,
            SchemeArg::Taproot => Self::Taproot,
            SchemeArg::Ed25519 => Self::Ed25519,
        }
    }
}

/// A purpose, as arguments name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PurposeArg {
    /// Holds money
    Treasury,
    /// Signs transactions of a desk
    Trading,
    /// Signs for an automated agent
    Agent,
    /// Signs bare digests
    Digest,
}

impl From<PurposeArg> for Purpose {
    fn from(arg: PurposeArg) -> Self {
        match arg {
            PurposeArg::Treasury => Self::Treasury,
            PurposeArg::Trading => Self::Trading,
            PurposeArg::Agent => Self::Agent,
            PurposeArg::Digest => Self::Digest,
        }
    }
}

/// `quoin key`.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Have all nodes make a key, of which each keeps one share
    #[command(after_help = "Example:\n  quoin key create hedge --scheme ecdsa --purpose trading")]
    Create(KeyCreateArgs),
    /// List the keys whose certificates verify
    List(KeyListArgs),
    /// Show one key
    Show(KeyShowArgs),
    /// Let a key spend, by the next charter: a new key can only receive
    #[command(after_help = "Example:\n  quoin key allow hedge --as alice,bob")]
    Allow(KeyAllowArgs),
    /// Show a derived account of a key: its public key, xpub and addresses
    #[command(
        after_help = "The key itself stands at BIP-44's account level, m/44'/coin'/account'; write \
                      what follows.\nA threshold key has no hardened children, because no machine \
                      has its private key.\n\nExamples:\n  quoin key derive desk-ecdsa --path m/0/5\n  \
                      quoin key derive desk-taproot --path m/0/0 --json"
    )]
    Derive(KeyDeriveArgs),
    /// Make new shares of a key for the same nodes; the key stays, and goes on signing
    #[command(after_help = "Example:\n  quoin key refresh desk-ecdsa")]
    Refresh(KeyChangeArgs),
    /// Deal a key anew to the nodes and the threshold of the charter in force; the key stays
    #[command(after_help = "Examples:\n  quoin key reshare desk-ecdsa\n  \
                      quoin key reshare desk-ecdsa --dealer 1 --dealer 3   (node 2 is lost)")]
    Reshare(KeyReshareArgs),
    /// Take a key out of use for a while
    #[command(after_help = "Example:\n  quoin key suspend desk-ecdsa --as alice")]
    Suspend(KeyChangeArgs),
    /// Take a suspended key back into use
    #[command(after_help = "Example:\n  quoin key resume desk-ecdsa")]
    Resume(KeyChangeArgs),
    /// Take a key out of use for good; its shares stay
    #[command(after_help = "Example:\n  quoin key retire desk-ecdsa")]
    Retire(KeyChangeArgs),
    /// Take a key out of use for good because somebody else may know it; its shares stay
    #[command(after_help = "Example:\n  quoin key compromise desk-ecdsa --yes")]
    Compromise(KeyChangeArgs),
    /// List a key's backups, and copy those of the epoch in use
    #[command(
        after_help = "Examples:\n  quoin key backup\n  quoin key backup desk-ecdsa --out /mnt/vault"
    )]
    Backup(KeyBackupArgs),
    /// Put a node's shares back from backups, while the node is stopped
    #[command(
        after_help = "Example:\n  quoin key restore --node quoin-dev/node-3 --officer ann.key \
                      --officer bob.key\n\nThen start the node, readmit it and refresh each key: \
                      until then it signs nothing with what was restored."
    )]
    Restore(KeyRestoreArgs),
    /// Make a key whole, offline, from the backups of enough nodes
    #[command(
        after_help = "Example:\n  quoin key export desk-ecdsa --danger-make-whole --from ./vault \
                      \\\n    --officer ann.key --officer bob.key --to keystore --out key.json \\\n    \
                      --out-password-file password.txt"
    )]
    Export(KeyExportArgs),
    /// Deal a key that exists elsewhere to the nodes; it is marked as imported for ever
    #[command(
        after_help = "Example:\n  quoin key import old-desk --danger-was-whole --purpose trading \\\n    \
                      --from keystore key.json --password-file password.txt --out ./import"
    )]
    Import(KeyImportArgs),
    /// Erase every share of a retired or compromised key on all nodes, which state it
    #[command(
        after_help = "Example:\n  quoin key destroy desk-ecdsa --json\n\nBackups that officers \
                      hold are not erased by this; each node's statement lists its own."
    )]
    Destroy(KeyChangeArgs),
}

/// `quoin key suspend` and its like.
#[derive(Debug, Args)]
pub struct KeyChangeArgs {
    /// The key's name
    pub name: KeyName,
    /// Who asks
    #[arg(long = "as", value_name = "PRINCIPAL", default_value = "alice")]
    pub principal: PrincipalId,
    /// The request's id, to ask again for the same
    #[arg(long)]
    pub request_id: Option<RequestId>,
    /// Do not ask back about what cannot be taken back
    #[arg(long)]
    pub yes: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The data folder
    #[command(flatten)]
    pub data: DataArg,
}

/// `quoin key reshare`.
#[derive(Debug, Args)]
pub struct KeyReshareArgs {
    /// What every change takes
    #[command(flatten)]
    pub change: KeyChangeArgs,
    /// A holder that deals, as many as sign with the key [default: the lowest of the charter]
    #[arg(long = "dealer", value_name = "INDEX", value_parser = node_index)]
    pub dealers: Vec<NodeIndex>,
}

/// `quoin node` beside a node that runs.
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// Lift the quarantine that a node's strikes have brought; they stay in the count
    #[command(after_help = "Example:\n  quoin node pardon 2 --as alice")]
    Pardon(NodeChangeArgs),
    /// Lift a node's fence and take it as it is now: it was restored under the operators' eyes
    #[command(after_help = "Example:\n  quoin node readmit 2 --as alice")]
    Readmit(NodeChangeArgs),
}

/// `quoin node pardon` and `quoin node readmit`.
#[derive(Debug, Args)]
pub struct NodeChangeArgs {
    /// The node's index
    #[arg(value_parser = node_index)]
    pub index: NodeIndex,
    /// Who asks
    #[arg(long = "as", value_name = "PRINCIPAL", default_value = "alice")]
    pub principal: PrincipalId,
    /// The request's id, to ask again for the same
    #[arg(long)]
    pub request_id: Option<RequestId>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The data folder
    #[command(flatten)]
    pub data: DataArg,
}

/// `quoin key create`.
#[derive(Debug, Args)]
pub struct KeyCreateArgs {
    /// The key's name
    pub name: KeyName,
    /// The signature scheme
    #[arg(long)]
    pub scheme: SchemeArg,
    /// What the key is for, for ever
    #[arg(long)]
    pub purpose: PurposeArg,
    /// Who asks
    #[arg(long = "as", value_name = "PRINCIPAL", default_value = "alice")]
    pub principal: PrincipalId,
    /// The request's id, to ask again for the same
    #[arg(long)]
    pub request_id: Option<RequestId>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The data folder
    #[command(flatten)]
    pub data: DataArg,
}

/// `quoin key list`.
#[derive(Debug, Args)]
pub struct KeyListArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The data folder
    #[command(flatten)]
    pub data: DataArg,
}

/// `quoin key show`.
#[derive(Debug, Args)]
pub struct KeyShowArgs {
    /// The key's name
    pub name: KeyName,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The data folder
    #[command(flatten)]
    pub data: DataArg,
}

/// `quoin key derive`.
#[derive(Debug, Args)]
pub struct KeyDeriveArgs {
    /// The key's name
    pub name: KeyName,
    /// The account's path below the key
    #[arg(long)]
    pub path: DerivationPath,
    /// A chain's id; may be given again [default: the data folder's]
    #[arg(long = "chain", value_name = "ID")]
    pub chains: Vec<u64>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The data folder
    #[command(flatten)]
    pub data: DataArg,
}

/// `quoin sign`.
#[derive(Debug, Args)]
#[command(
    group = clap::ArgGroup::new("what").required(true).args(["transfer", "cancel", "transaction", "typed_data", "message", "text"]),
    after_help = "Examples:\n  quoin sign --key desk-ecdsa --transfer 0x…dead --amount 1000000000 --as alice --broadcast\n  \
                  quoin sign --key desk-ecdsa --typed-data order.json --as alice\n  \
                  quoin sign --key desk-ecdsa --cancel 17 --broadcast   (nonce 17 then pays nothing)\n  \
                  quoin sign --key desk-ed25519 --text 'hello' --as alice"
)]
pub struct SignArgs {
    /// The key's name
    #[arg(long)]
    pub key: KeyName,
    /// The derived account's path below the key, as `quoin key derive` takes it
    #[arg(long, default_value = "m")]
    pub path: DerivationPath,
    /// Who asks
    #[arg(long = "as", value_name = "PRINCIPAL", default_value = "alice")]
    pub principal: PrincipalId,
    /// Send the chain's own coin to this address
    #[arg(long, value_name = "TO", requires = "amount")]
    pub transfer: Option<String>,
    /// How much, in wei
    #[arg(long, value_name = "WEI", requires = "transfer")]
    pub amount: Option<Amount>,
    /// Fill this nonce with a transaction that sends nothing to the account itself
    #[arg(long, value_name = "NONCE")]
    pub cancel: Option<u64>,
    /// How many times the going fee a cancel pays: a pool replaces what it has only for more
    #[arg(long, value_name = "N", default_value_t = 2, requires = "cancel", conflicts_with_all = ["transfer", "transaction", "typed_data", "message", "text"], value_parser = clap::value_parser!(u64).range(1..=100))]
    pub fee_times: u64,
    /// The chain's id [default: the data folder's]
    #[arg(long, value_name = "ID")]
    pub chain: Option<u64>,
    /// An unsigned EVM transaction in hex, from a file or `-`
    #[arg(long, value_name = "FILE")]
    pub transaction: Option<PathBuf>,
    /// EIP-712 typed data as JSON, from a file or `-`
    #[arg(long, value_name = "FILE")]
    pub typed_data: Option<PathBuf>,
    /// An EIP-191 personal message
    #[arg(long, value_name = "TEXT")]
    pub message: Option<String>,
    /// A text that no chain gives a meaning to
    #[arg(long, value_name = "TEXT")]
    pub text: Option<String>,
    /// Hand the signed transaction to the chain node
    #[arg(long)]
    pub broadcast: bool,
    /// The request's id, to ask again for the same
    #[arg(long)]
    pub request_id: Option<RequestId>,
    /// Do not ask before signing
    #[arg(long)]
    pub yes: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The data folder
    #[command(flatten)]
    pub data: DataArg,
}

/// `quoin journal`.
#[derive(Debug, Subcommand)]
pub enum JournalCommand {
    /// Check every journal's chain, and that it has every head that other nodes witnessed
    #[command(after_help = "Example:\n  quoin journal verify --data ./quoin-dev")]
    Verify(JournalVerifyArgs),
}

/// `quoin journal verify`.
#[derive(Debug, Args)]
pub struct JournalVerifyArgs {
    /// Only this node's journal (still held against what the others witnessed)
    #[arg(long, value_parser = node_index)]
    pub node: Option<NodeIndex>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The data folder, with a folder `node-<index>` for each node
    #[command(flatten)]
    pub data: DataArg,
}

/// `quoin single`.
#[derive(Debug, Subcommand)]
pub enum SingleCommand {
    /// Show the public part and the addresses of a single key
    #[command(
        after_help = "Examples:\n  quoin single show words.txt --from mnemonic --scheme ecdsa \
                      --path \"m/44'/60'/0'/0/5\"\n  quoin single show - --from xpub --scheme \
                      taproot --path m/0/5"
    )]
    Show(SingleShowArgs),
    /// Write a single key in another format; the new file holds the whole key
    #[command(
        after_help = "Example:\n  quoin single convert words.txt --from mnemonic --path \
                      \"m/44'/60'/0'/0/0\" --to keystore --out key.json --out-password-file pass"
    )]
    Convert(SingleConvertArgs),
}

/// Where a single key comes from.
#[derive(Debug, Args)]
pub struct SingleSourceArgs {
    /// The file with the key, or `-` for standard input; a secret is never an argument
    pub file: PathBuf,
    /// The file's format
    #[arg(long)]
    pub from: SingleFormatArg,
    /// The signature scheme, which decides curve and addresses
    #[arg(long, default_value = "ecdsa")]
    pub scheme: SchemeArg,
    /// The path below a mnemonic, an xprv or an xpub
    #[arg(long, default_value = "m")]
    pub path: crate::single::FullPath,
    /// A file with the keystore's password, or the mnemonic's passphrase
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
}

/// `quoin single show`.
#[derive(Debug, Args)]
pub struct SingleShowArgs {
    /// Where the key comes from
    #[command(flatten)]
    pub source: SingleSourceArgs,
    /// A chain's id, for EVM addresses; may be given again
    #[arg(long = "chain", value_name = "ID", default_value = "1")]
    pub chains: Vec<u64>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `quoin single convert`.
#[derive(Debug, Args)]
pub struct SingleConvertArgs {
    /// Where the key comes from
    #[command(flatten)]
    pub source: SingleSourceArgs,
    /// The new file's format
    #[arg(long)]
    pub to: SingleFormatArg,
    /// The file to make; one that exists is left alone
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// A file with the new keystore's password
    #[arg(long, value_name = "FILE")]
    pub out_password_file: Option<PathBuf>,
}

/// A format of single keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SingleFormatArg {
    /// Words of BIP-39, in English
    Mnemonic,
    /// BIP-32's private key
    Xprv,
    /// BIP-32's public key
    Xpub,
    /// Web3 Secret Storage, version 3
    Keystore,
    /// Bitcoin's wallet import format
    Wif,
    /// 32 bytes in hex
    Hex,
}

/// `quoin with-parent`.
#[derive(Debug, Args)]
pub struct WithParentArgs {
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub program: Vec<std::ffi::OsString>,
}

fn node_index(text: &str) -> Result<NodeIndex, String> {
    let number: u8 = text
        .parse()
        .map_err(|_| "expected a number from 1 to 15".to_owned())?;
    NodeIndex::new(number).ok_or_else(|| "expected a number from 1 to 15".to_owned())
}

fn peer(text: &str) -> Result<(NodeIndex, SocketAddr), String> {
    let (index, address) = text.split_once('=').ok_or("expected `<index>=<address>`")?;
    let address = address.parse().map_err(|e| format!("`{address}`: {e}"))?;
    Ok((node_index(index)?, address))
}

fn host(text: &str) -> Result<(NodeIndex, String), String> {
    let (index, host) = text
        .split_once('=')
        .ok_or("expected `<index>=<host:port>`")?;
    if !host.contains(':') {
        return Err(format!("`{host}` has no port"));
    }
    Ok((node_index(index)?, host.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_transfer_needs_an_amount_and_one_payload_is_enough() {
        let parse =
            |args: &[&str]| Cli::try_parse_from(["quoin", "sign", "--key", "k"].iter().chain(args));
        assert!(parse(&["--transfer", "0xde", "--amount", "1"]).is_ok());
        assert!(parse(&["--transfer", "0xde"]).is_err());
        assert!(parse(&["--text", "a", "--message", "b"]).is_err());
        assert!(parse(&["--cancel", "7"]).is_ok());
        assert!(parse(&["--cancel", "7", "--text", "a"]).is_err());
        assert!(parse(&["--text", "a", "--fee-times", "3"]).is_err());
        assert!(parse(&["--cancel", "7", "--fee-times", "0"]).is_err());
        assert!(parse(&[]).is_err());
    }
}
