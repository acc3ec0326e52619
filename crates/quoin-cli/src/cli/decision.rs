//! The shape of what people do about decisions: charters, approvals, vetoes, receipts, freezes,
//! facts, the address book, and signatures that are still out.

use super::DataArg;
use clap::{Args, Subcommand};
use quoin_core::{BookName, ChainId, FreezeId, KeyName, PrincipalId, RequestId, RoleId};
use quoin_policy::Subject;
use std::path::PathBuf;

/// `quoin approve`, and `quoin charter approve`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  quoin approve 6f1c… --as bob              (a request: 32 hex digits)\n  \
                  quoin approve 09ab… --as bob              (a proposed charter: 64 hex digits)\n\n\
                  What is approved is decoded and shown here; the gateway's word is not needed."
)]
pub struct ApproveArgs {
    /// The request's id, or the proposed charter's hash
    #[arg(value_parser = subject, value_name = "REQUEST|CHARTER")]
    pub subject: Subject,
    /// Who approves
    #[arg(long = "as", value_name = "PRINCIPAL")]
    pub principal: PrincipalId,
    /// Do not ask before approving
    #[arg(long)]
    pub yes: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The data folder
    #[command(flatten)]
    pub data: DataArg,
}

/// `quoin veto` and `quoin receipt`.
#[derive(Debug, Args)]
pub struct NoticeArgs {
    /// The request's id, or the proposed charter's hash
    #[arg(value_parser = subject, value_name = "REQUEST|CHARTER")]
    pub subject: Subject,
    /// Who says so
    #[arg(long = "as", value_name = "PRINCIPAL")]
    pub principal: PrincipalId,
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

/// `quoin charter`.
#[derive(Debug, Subcommand)]
pub enum CharterCommand {
    /// Show the charter in force
    Show(CharterShowArgs),
    /// Show in words what another charter would change, and what it would have decided otherwise
    #[command(
        after_help = "Examples:\n  quoin charter plan --add-rule rule.cedar\n  \
                      quoin charter show --json > charter.json  (edit it)\n  \
                      quoin charter plan charter.json --json\n\nNothing is signed. Whether new \
                      rules only tighten is what `quoin policy prove` answers."
    )]
    Plan(CharterPlanArgs),
    /// Sign another charter as one governor, and show it to the nodes
    #[command(
        after_help = "Example:\n  quoin charter propose --add-rule rule.cedar --as alice\n\nThen \
                      the others: `quoin charter approve HASH --as bob`."
    )]
    Propose(CharterProposeArgs),
    /// List the proposed charters, what each waits for, and who has vetoed it
    #[command(after_help = "Example:\n  quoin charter proposals --json")]
    Proposals(ReadArgs),
    /// Read a proposed charter, and add a governor's signature or an approval to it
    #[command(after_help = "Example:\n  quoin charter approve 09ab… --as bob")]
    Approve(ApproveArgs),
    /// End a proposed charter, for ever
    #[command(after_help = "Example:\n  quoin charter veto 09ab… --as carol")]
    Veto(NoticeArgs),
    /// Sign the next charter as several governors, and hand it to the nodes
    #[command(
        after_help = "Examples:\n  quoin charter apply --add-rule rule.cedar --as alice,bob\n  \
                            quoin charter apply --policies policies.cedar --as alice,bob\n  \
                            quoin charter show --json > charter.json  (edit it)\n  \
                            quoin charter apply charter.json --as alice,bob\n\nExit code 1: it is \
                            proposed, and waits for what is said."
    )]
    Apply(CharterApplyArgs),
    /// Show who has which rights, from whom, and until when
    #[command(after_help = "Example:\n  quoin charter grants")]
    Grants(ReadArgs),
}

/// What takes no more than the data folder.
#[derive(Debug, Args)]
pub struct ReadArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The data folder
    #[command(flatten)]
    pub data: DataArg,
}

/// `quoin charter show`.
#[derive(Debug, Args)]
pub struct CharterShowArgs {
    /// Print JSON, in the form that `apply` reads
    #[arg(long)]
    pub json: bool,
    /// Write the charters after the genesis to a file, oldest first: `charters.cbor` in the folder
    /// of a node that is new in a later charter
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    pub chain: Option<PathBuf>,
    /// The data folder
    #[command(flatten)]
    pub data: DataArg,
}

/// Which charter is meant.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("change").required(true).args(["file", "policies", "add_rule"]))]
pub struct NextCharterArgs {
    /// The whole charter as JSON; its number and predecessor are filled in
    pub file: Option<PathBuf>,
    /// Replace the policies with this Cedar text
    #[arg(long, value_name = "FILE")]
    pub policies: Option<PathBuf>,
    /// Add this Cedar text to the policies
    #[arg(long, value_name = "FILE")]
    pub add_rule: Option<PathBuf>,
}

/// `quoin charter plan`.
#[derive(Debug, Args)]
pub struct CharterPlanArgs {
    /// Which charter
    #[command(flatten)]
    pub next: NextCharterArgs,
    /// The folder of a node whose recorded requests are judged again; may be given again [default:
    /// those in the data folder]
    #[arg(long, value_name = "DIR")]
    pub node: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The data folder
    #[command(flatten)]
    pub data: DataArg,
}

/// `quoin charter propose`.
#[derive(Debug, Args)]
pub struct CharterProposeArgs {
    /// Which charter
    #[command(flatten)]
    pub next: NextCharterArgs,
    /// The governor who signs
    #[arg(long = "as", value_name = "GOVERNOR")]
    pub principal: PrincipalId,
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

/// `quoin charter apply`.
#[derive(Debug, Args)]
pub struct CharterApplyArgs {
    /// Which charter
    #[command(flatten)]
    pub next: NextCharterArgs,
    /// Who signs, and for how long to wait
    #[command(flatten)]
    pub governors: GovernorsArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The data folder
    #[command(flatten)]
    pub data: DataArg,
}

/// Who signs the next charter.
#[derive(Debug, Args)]
pub struct GovernorsArgs {
    /// The governors who sign
    #[arg(
        long = "as",
        value_name = "GOVERNOR",
        value_delimiter = ',',
        required = true
    )]
    pub governors: Vec<PrincipalId>,
    /// For how long to wait until it is in force
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    pub wait: u64,
    /// Do not ask before signing
    #[arg(long)]
    pub yes: bool,
}

/// `quoin key allow`.
#[derive(Debug, Args)]
pub struct KeyAllowArgs {
    /// The key's name; the key need not exist yet
    pub name: KeyName,
    /// Who signs, and for how long to wait
    #[command(flatten)]
    pub governors: GovernorsArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The data folder
    #[command(flatten)]
    pub data: DataArg,
}

/// `quoin freeze`.
#[derive(Debug, Args)]
#[command(
    group = clap::ArgGroup::new("scope").required(true).args(["all", "key", "desk", "agent", "counterparty", "chain"]),
    after_help = "Examples:\n  quoin freeze --all --reason 'signer host is compromised' --as wendy\n  \
                  quoin freeze --agent bot --hard --reason 'runs wild' --as wendy\n  \
                  quoin freeze --counterparty 0x…dead --reason 'drained' --as wendy\n\nIt goes to \
                  every node directly and through the gateway; whichever is first counts. Cancels \
                  and what else the charter annotates `@corridor` go on, unless `--hard`. \
                  `quoin unfreeze ID` asks to lift it."
)]
pub struct FreezeArgs {
    /// Everything
    #[arg(long)]
    pub all: bool,
    /// One key, on every chain
    #[arg(long, value_name = "NAME")]
    pub key: Option<KeyName>,
    /// What the holders of a role ask for
    #[arg(long, value_name = "ROLE")]
    pub desk: Option<RoleId>,
    /// What one principal asks for, an agent or a person; it has no corridor
    #[arg(long, value_name = "PRINCIPAL")]
    pub agent: Option<PrincipalId>,
    /// What goes to an address, or to a name of the address book
    #[arg(long, value_name = "ADDRESS|NAME")]
    pub counterparty: Option<String>,
    /// One chain or venue, such as `eip155:1`
    #[arg(long, value_name = "CHAIN")]
    pub chain: Option<ChainId>,
    /// Stop what reduces risk too
    #[arg(long)]
    pub hard: bool,
    /// Why, for people: at most 200 printable ASCII characters
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Who freezes
    #[arg(long = "as", value_name = "PRINCIPAL")]
    pub principal: PrincipalId,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The data folder
    #[command(flatten)]
    pub data: DataArg,
}

/// `quoin unfreeze`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  quoin freezes\n  quoin unfreeze 6f1c… --as alice\n  \
                  quoin unfreeze 6f1c… --suspend wendy --as alice   (and wendy freezes no more)\n\n\
                  Lifting needs more people than freezing: `quoin approve REQUEST --as bob` next."
)]
pub struct UnfreezeArgs {
    /// The freezes, by id
    #[arg(value_name = "FREEZE", required = true)]
    pub freezes: Vec<FreezeId>,
    /// Whose freezes shall count no longer, for ever; may be given again
    #[arg(long, value_name = "PRINCIPAL")]
    pub suspend: Vec<PrincipalId>,
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

/// `quoin feed`.
#[derive(Debug, Subcommand)]
pub enum FeedCommand {
    /// State prices and margins as a feed, once
    #[command(
        after_help = "Examples:\n  quoin feed post --price eip155:31337/native=3000 --as feed-1\n  \
                      quoin feed post --price ETH=3000.5 --margin venue=1.15 --as feed-1\n\nA newer \
                      statement of a feed replaces all that it said before, so name all of it."
    )]
    Post(FeedPostArgs),
}

/// `quoin feed post`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("facts").required(true).multiple(true).args(["prices", "margins", "heights"]))]
pub struct FeedPostArgs {
    /// Dollars for a whole unit of an asset, by its id or its symbol; may be given again
    #[arg(long = "price", value_name = "ASSET=USD")]
    pub prices: Vec<String>,
    /// Equity over maintenance margin of a margin account of the address book, and the open
    /// exposure in dollars; may be given again
    #[arg(long = "margin", value_name = "NAME=RATIO[,USD]")]
    pub margins: Vec<String>,
    /// The newest block of a chain; may be given again
    #[arg(long = "height", value_name = "CHAIN=NUMBER")]
    pub heights: Vec<String>,
    /// The feed
    #[arg(long = "as", value_name = "PRINCIPAL")]
    pub principal: PrincipalId,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The data folder
    #[command(flatten)]
    pub data: DataArg,
}

/// `quoin book`.
#[derive(Debug, Subcommand)]
pub enum BookCommand {
    /// List the address book, and from when on each entry can receive
    #[command(after_help = "Example:\n  quoin book list --json")]
    List(ReadArgs),
    /// Put an address into the book, by the next charter
    #[command(
        after_help = "Examples:\n  quoin book add exchange 0x… --as alice,bob\n  \
                      quoin book add venue-2 0x… --margin --as alice,bob\n\nIt can receive once \
                      the charter's cooling-off has passed."
    )]
    Add(BookAddArgs),
}

/// `quoin book add`.
#[derive(Debug, Args)]
pub struct BookAddArgs {
    /// The name that policies write
    pub name: BookName,
    /// The address
    pub address: quoin_core::Address,
    /// The chain [default: the data folder's]
    #[arg(long, value_name = "CHAIN")]
    pub chain: Option<ChainId>,
    /// An asset that it may receive; may be given again [default: every asset of the chain]
    #[arg(long = "asset", value_name = "ASSET")]
    pub assets: Vec<quoin_core::AssetId>,
    /// It is one's own margin account, which may be topped up during a freeze
    #[arg(long)]
    pub margin: bool,
    /// Who signs, and for how long to wait
    #[command(flatten)]
    pub governors: GovernorsArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The data folder
    #[command(flatten)]
    pub data: DataArg,
}

/// `quoin outstanding`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  quoin outstanding\n  quoin outstanding --json\n  \
                  quoin outstanding burn 6f1c… --as alice",
    args_conflicts_with_subcommands = true
)]
pub struct OutstandingArgs {
    /// What to do about one, instead of listing all
    #[command(subcommand)]
    pub command: Option<OutstandingCommand>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The data folder
    #[command(flatten)]
    pub data: DataArg,
}

/// `quoin outstanding` about one signature.
#[derive(Debug, Subcommand)]
pub enum OutstandingCommand {
    /// Use up the slot of a signature that is out, by a transfer of nothing to oneself
    #[command(after_help = "Example:\n  quoin outstanding burn 6f1c… --as alice")]
    Burn(OutstandingBurnArgs),
}

/// `quoin outstanding burn`.
#[derive(Debug, Args)]
pub struct OutstandingBurnArgs {
    /// The request that was signed
    pub request_id: RequestId,
    /// Who asks
    #[arg(long = "as", value_name = "PRINCIPAL", default_value = "alice")]
    pub principal: PrincipalId,
    /// How many times the going fee it pays: a pool replaces what it has only for more
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=100))]
    pub fee_times: u64,
    /// Do not hand it to the chain node
    #[arg(long)]
    pub no_broadcast: bool,
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

/// A request's id or a charter's hash: they differ in length.
fn subject(text: &str) -> Result<Subject, String> {
    let request = text.parse().map(Subject::Request);
    request
        .or_else(|_| text.parse().map(Subject::Charter))
        .map_err(|_| {
            "expected a request's id (32 lower-case hex digits) or a charter's hash (64)".to_owned()
        })
}

#[cfg(test)]
mod tests {
    use super::super::Cli;
    use super::*;
    use clap::Parser;

    #[test]
    fn a_subject_is_a_request_or_a_charter() {
        let (id, hash) = ("ab".repeat(16), "cd".repeat(32));
        assert!(matches!(subject(&id), Ok(Subject::Request(_))));
        assert!(matches!(subject(&hash), Ok(Subject::Charter(_))));
        for wrong in ["", "ab", "AB", &id[1..], &id.to_uppercase()] {
            assert!(subject(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_freeze_has_one_scope_and_a_reason() {
        let parse = |args: &[&str]| {
            let all = ["quoin", "freeze", "--as", "wendy"].iter().chain(args);
            Cli::try_parse_from(all).is_ok()
        };
        assert!(parse(&["--all", "--reason", "x"]));
        assert!(parse(&["--chain", "eip155:1", "--reason", "x", "--hard"]));
        assert!(!parse(&["--all"]));
        assert!(!parse(&["--reason", "x"]));
        assert!(!parse(&["--all", "--key", "k", "--reason", "x"]));
    }

    #[test]
    fn an_unfreeze_names_something() {
        let id = "ab".repeat(16);
        let parse =
            |args: &[&str]| Cli::try_parse_from(["quoin", "unfreeze"].iter().chain(args)).is_ok();
        assert!(parse(&[&id]));
        assert!(parse(&[&id, "--suspend", "wendy"]));
        assert!(!parse(&["--suspend", "wendy"]));
        assert!(!parse(&[]));
        assert!(!parse(&["no-id"]));
    }
}
