//! `quoin dev`: a whole cluster on this machine, for the first ten minutes and for development.

pub mod anvil;
pub mod cluster;
pub mod create;
pub mod demo;
pub mod grow;
pub mod supervisor;

use crate::chain::ChainNode;
use crate::cli::DevArgs;
use crate::client::keys::{KeyView, VerifiedKey};
use crate::client::{Asker, Session};
use crate::command::key::{Wanted, create_key};
use crate::failure::Failure;
use crate::folder::{self, Folder};
use crate::say;
use cluster::{Cluster, Wish};
use quoin_core::{ChainId, CustodyMethod, Purpose, Scheme};
use quoin_policy::cluster_words;
use serde::Serialize;
use serde_json::json;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Stdio;

/// The gateway's port unless another is named.
const PORT: u16 = 8700;
/// The keys that every dev cluster has.
pub const KEYS: [(&str, Scheme); 3] = [
    ("desk-ecdsa", Scheme::Ecdsa),
    ("desk-taproot", Scheme::Taproot),
    ("desk-ed25519", Scheme::Ed25519),
];
/// The principal that makes the first keys.
pub const FIRST_GOVERNOR: &str = "alice";

/// Runs a dev cluster until Ctrl-C.
pub async fn run(args: DevArgs) -> Result<(), Failure> {
    let folder = Folder::at(args.data.clone().unwrap_or_else(|| "quoin-dev".into()));
    let wish = Wish {
        port: args.port.unwrap_or(PORT),
        rpc: args.rpc.clone(),
        no_restart: args.no_restart,
    };
    let mut stop = Stop::listen()?;
    let mut cluster = tokio::select! {
        started = Cluster::start(&folder, &wish) => started?,
        () = stop.told() => return Err(Failure::interrupted()),
    };
    let outcome = tokio::select! {
        outcome = serve(&mut cluster, &args) => outcome,
        () = stop.told() => Ok(()),
    };
    say::progress("stopping …");
    cluster.stop().await;
    outcome
}

/// Ctrl-C or a request to terminate.
pub struct Stop {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Stop {
    /// Starts listening: from now on neither signal ends the process by itself.
    pub fn listen() -> Result<Self, Failure> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| signal(kind).map_err(Failure::from_error("cannot listen for signals"));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// Resolves when one of them came.
    pub async fn told(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

async fn serve(cluster: &mut Cluster, args: &DevArgs) -> Result<(), Failure> {
    let session = cluster.ready().await?;
    let keys = ensure_keys(&session).await?;
    if let Some(url) = cluster.anvil_url() {
        fund(&ChainNode::new(url)?, &keys).await?;
    }
    let banner = Banner::of(cluster, &session, &keys)?;
    if args.json {
        say::json(&banner)?;
    } else {
        banner.print();
    }
    cluster.watch().await
}

/// Gives the accounts what they can send, on a chain that was started here.
async fn fund(chain: &ChainNode, keys: &[VerifiedKey]) -> Result<(), Failure> {
    for key in keys.iter().filter(|k| k.public().scheme == Scheme::Ecdsa) {
        let address = key.account(ChainId::Evm(anvil::ANVIL_CHAIN_ID))?.address;
        if chain.balance(address.as_str()).await?.is_zero() {
            chain.set_balance(address.as_str(), demo::FUNDS_WEI).await?;
            let name = &key.public().name;
            say::progress(format!("the local chain gives `{name}` 10 ETH to spend"));
        }
    }
    Ok(())
}

/// Makes the keys of a dev cluster that are not there yet.
pub async fn ensure_keys(session: &Session) -> Result<Vec<VerifiedKey>, Failure> {
    let mut keys = session.keys().await?;
    for (name, scheme) in KEYS {
        if keys.iter().any(|k| k.public().name.as_str() == name) {
            continue;
        }
        say::progress(format!(
            "the nodes make the key `{name}` together; nobody holds it …"
        ));
        let of = (scheme, Purpose::Trading, CustodyMethod::Mpc);
        keys.push(make_key(session, name, of).await?);
    }
    keys.sort_by(|a, b| a.public().name.cmp(&b.public().name));
    Ok(keys)
}

/// Makes a key on behalf of the first governor.
pub async fn make_key(
    session: &Session,
    name: &str,
    (scheme, purpose, custody): (Scheme, Purpose, CustodyMethod),
) -> Result<VerifiedKey, Failure> {
    let principal = FIRST_GOVERNOR
        .parse()
        .map_err(Failure::from_error("bad principal"))?;
    let identity = session.folder().principal(&principal)?;
    let asker = Asker {
        principal: &principal,
        identity: &identity,
        request_id: folder::random_request_id(),
    };
    let wanted = Wanted {
        name: name.parse().map_err(Failure::from_error("bad key name"))?,
        scheme,
        purpose,
        custody,
    };
    create_key(session, &asker, wanted).await
}

/// What a dev cluster says about itself once it is up.
#[derive(Debug, Serialize)]
struct Banner {
    mode: &'static str,
    cluster: String,
    words: String,
    data: String,
    gateway: String,
    agent_rpc: Option<String>,
    chain_id: u64,
    chain_rpc: Option<String>,
    keys: Vec<KeyView>,
    nodes: Vec<serde_json::Value>,
    principals: Vec<String>,
}

impl Banner {
    fn of(cluster: &Cluster, session: &Session, keys: &[VerifiedKey]) -> Result<Self, Failure> {
        let id = session.constitution().cluster();
        let file = session.file();
        let agents = crate::gateway::read_agents(session.folder())?;
        let agent = agents.first().map(|a| a.token.clone());
        let nodes = cluster.pids().into_iter();
        Ok(Self {
            mode: "dev",
            cluster: id.to_string(),
            words: cluster_words(&id),
            data: session.folder().root().display().to_string(),
            gateway: file.gateway.clone(),
            agent_rpc: agent.map(|token| format!("{}/rpc/{token}", file.gateway)),
            chain_id: file.chain_id,
            chain_rpc: file.rpc.clone(),
            keys: keys.iter().map(VerifiedKey::view).collect(),
            nodes: nodes
                .map(|(node, pid)| json!({ "node": node, "pid": pid }))
                .collect(),
            principals: session.folder().principals(),
        })
    }

    fn print(&self) {
        say::line("");
        say::line(
            "  *** DEV MODE: all secrets of this cluster lie in one folder; it protects nothing ***",
        );
        say::line("");
        say::line(format!("cluster    {}", self.words));
        say::line(format!("           {}", self.cluster));
        say::line(format!("data       {}", self.data));
        say::line(format!(
            "gateway    {}   (API: {}/openapi.json)",
            self.gateway, self.gateway
        ));
        match &self.chain_rpc {
            Some(rpc) => say::line(format!("chain      {rpc}   (id {})", self.chain_id)),
            None => say::line(
                "chain      none: nothing is broadcast; `cargo xtask testbeds` installs anvil",
            ),
        }
        for node in &self.nodes {
            say::line(format!(
                "node {}     pid {}",
                value(node, "node"),
                value(node, "pid")
            ));
        }
        say::line("");
        for key in &self.keys {
            say::line(format!("key        {}", key.line()));
        }
        self.print_agent();
        self.print_next();
    }

    fn print_agent(&self) {
        let Some(url) = &self.agent_rpc else { return };
        let from = self.keys.iter().find(|k| k.scheme == Scheme::Ecdsa);
        let from = from.and_then(|k| k.addresses.first());
        let from = from.map_or("ADDRESS", |a| a.address.as_str());
        say::line("");
        say::line(
            "the agent `bot` has a JSON-RPC face for unmodified clients; what it asks is judged like the rest:",
        );
        say::line(format!("  {url}"));
        say::line(format!(
            "  cast send --unlocked --from {from} --value 1 0x000000000000000000000000000000000000dEaD \\"
        ));
        say::line(format!("    --rpc-url {url}"));
        say::line(format!(
            "  viem: createWalletClient({{ account: '{from}', transport: http('{url}') }})"
        ));
    }

    fn print_next(&self) {
        let data = &self.data;
        let kill = self
            .nodes
            .get(1)
            .map_or_else(String::new, |n| value(n, "pid"));
        say::line("");
        say::line("try next, in another terminal:");
        say::line(format!(
            "  quoin sign --data {data} --key desk-ed25519 --text hello --as alice"
        ));
        say::line(format!(
            "  quoin sign --data {data} --key desk-ecdsa --as alice --broadcast \\"
        ));
        say::line(
            "    --transfer 0x000000000000000000000000000000000000dEaD --amount 1000   (refused, and why)",
        );
        say::line(format!("  quoin charter show --data {data}"));
        say::line(format!(
            "  quoin charter plan --data {data} --add-rule rule.cedar"
        ));
        say::line(format!(
            "  quoin charter apply --data {data} --add-rule rule.cedar --as alice,bob"
        ));
        say::line(format!(
            "  quoin freeze --data {data} --all --reason drill --as wendy   (and `quoin unfreeze`)"
        ));
        say::line(format!(
            "  kill -9 {kill}   (a real node process; signing goes on)"
        ));
        say::line("Ctrl-C stops everything; the next start continues on the same folder.");
    }
}

fn value(node: &serde_json::Value, field: &str) -> String {
    node.get(field).map(ToString::to_string).unwrap_or_default()
}

/// A port that was free a moment ago.
pub fn free_port() -> Result<u16, Failure> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    listener
        .and_then(|l| l.local_addr())
        .map(|a| a.port())
        .map_err(Failure::from_error("cannot find a free port on 127.0.0.1"))
}

/// A log file that a process writes to, appended over restarts.
pub fn log_file(path: &Path) -> Result<Stdio, Failure> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    let file = options.create(true).append(true).mode(0o600).open(path);
    file.map(Stdio::from).map_err(Failure::from_error(format!(
        "cannot write `{}`",
        path.display()
    )))
}

/// The data folder: the one that was named, or one that is removed again.
pub struct Temporary {
    /// The folder.
    pub folder: Folder,
    remove: std::cell::Cell<bool>,
}

impl Temporary {
    /// The folder `named`, or a temporary one.
    pub fn new(named: Option<&Path>) -> Result<Self, Failure> {
        if let Some(data) = named {
            return Ok(Self {
                folder: Folder::at(data),
                remove: false.into(),
            });
        }
        let name = format!("quoin-demo-{}", folder::random_request_id());
        let folder = Folder::at(std::env::temp_dir().join(name));
        folder.create()?;
        Ok(Self {
            folder,
            remove: true.into(),
        })
    }

    /// Keeps the folder, so that logs can be read.
    pub fn keep(&self) {
        if self.remove.replace(false) {
            let root = self.folder.root().display();
            say::progress(format!("logs are kept in {root}"));
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if self.remove.get() {
            // What is left of a temporary folder does no harm.
            let _ = std::fs::remove_dir_all(self.folder.root());
        }
    }
}
