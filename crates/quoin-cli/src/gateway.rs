//! The gateway as a process part: its folder, its start, and its agents.
//!
//! A gateway's folder holds its TLS key, its settings, and the charters that came into force while
//! it ran, so that it can follow the chain of charters after a restart. Agents name their key by
//! name; they are served as soon as that key exists.

use crate::client::Patience;
use crate::clock;
use crate::dev::create::GATEWAY_ID;
use crate::failure::Failure;
use crate::folder::{
    Folder, create_private, load_identity, read, read_json, write_file, write_json,
};
use quoin_core::{Certificate, CharterNumber, GatewayId, KeyName, NodeIndex, PrincipalId};
use quoin_gateway::adapters::{CharterChain, ThresholdCombiner};
use quoin_gateway::core::ports::Offer;
use quoin_gateway::core::{Charters, Config, Event, Gateway, Outcome};
use quoin_gateway::faces::{Agent, Faces, Sequences, SignTransactionShape, serve, token_hash};
use quoin_gateway::links::{self, OnLook};
use quoin_gateway::metrics::Metrics;
use quoin_gateway::run::{Handle, spawn};
use quoin_gateway::sequencer::StoreError;
use quoin_link::TlsIdentity;
use quoin_policy::Charter;
use rand_core::{OsRng, RngCore};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;

/// The settings' file in a gateway's folder.
const GATEWAY_FILE: &str = "gateway.json";
/// The TLS key's file in a gateway's folder.
const TLS_FILE: &str = "tls.pem";
/// How often a gateway looks whether its agents' keys exist by now.
const AGENTS_PAUSE: Duration = Duration::from_millis(250);
/// How long a gateway waits for the nonces' folder: as long as one that ends may take.
const SEQUENCES_LIMIT: Duration = Duration::from_secs(5);

/// What `gateway.json` says. Relative paths are relative to the gateway's folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayFile {
    /// The gateway's id in the charter.
    pub id: GatewayId,
    /// Where it listens for HTTP.
    pub listen: SocketAddr,
    /// Other names under which it may be reached, each `host:port`.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// The genesis certificate.
    pub genesis: PathBuf,
    /// Where each node listens. A charter carries no addresses, so this is the part to edit when
    /// nodes come or move; it is read again while the gateway runs.
    pub nodes: BTreeMap<NodeIndex, String>,
    /// The chain node behind the JSON-RPC face; without one there is no such face.
    #[serde(default)]
    pub rpc: Option<String>,
    /// The agents of the JSON-RPC face.
    #[serde(default)]
    pub agents: Option<PathBuf>,
}

impl GatewayFile {
    /// The settings of a dev cluster's gateway.
    pub fn for_dev(
        port: u16,
        nodes: &BTreeMap<NodeIndex, SocketAddr>,
        rpc: Option<String>,
    ) -> Result<Self, Failure> {
        Ok(Self {
            id: GATEWAY_ID
                .parse()
                .map_err(Failure::from_error("bad gateway id"))?,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            hosts: Vec::new(),
            genesis: PathBuf::from("../genesis.cbor"),
            nodes: nodes
                .iter()
                .map(|(node, address)| (*node, address.to_string()))
                .collect(),
            rpc,
            agents: Some(PathBuf::from("../agents.json")),
        })
    }

    /// Reads the settings of the gateway in `dir`.
    pub fn read(dir: &Path) -> Result<Self, Failure> {
        read_json(&dir.join(GATEWAY_FILE)).map_err(|failure| {
            failure.next("name a gateway's folder with `--data`, and write its `gateway.json`")
        })
    }

    /// Writes the settings.
    pub fn save(&self, dir: &Path) -> Result<(), Failure> {
        write_json(&dir.join(GATEWAY_FILE), self)
    }
}

/// A program that speaks JSON-RPC to the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentEntry {
    /// As whom its calls are stamped.
    pub principal: PrincipalId,
    /// The capability token in its URL.
    pub token: String,
    /// The credential; a relative path is relative to the file of agents.
    pub key_file: PathBuf,
    /// The threshold key that it may ask for.
    pub key: KeyName,
    /// The chain.
    pub chain_id: u64,
    /// Whether `eth_signTransaction` answers with an object, as web3.py wants it.
    #[serde(default)]
    pub web3_py: bool,
}

impl AgentEntry {
    /// An agent with a fresh token.
    pub fn random(principal: &str, key: &str, chain_id: u64) -> Result<Self, Failure> {
        let mut token = [0u8; 16];
        OsRng.fill_bytes(&mut token);
        Ok(Self {
            principal: principal
                .parse()
                .map_err(Failure::from_error("bad principal"))?,
            token: hex::encode(token),
            key_file: PathBuf::from(format!("principals/{principal}.key")),
            key: key.parse().map_err(Failure::from_error("bad key name"))?,
            chain_id,
            web3_py: false,
        })
    }
}

/// The agents of a data folder.
pub fn read_agents(folder: &Folder) -> Result<Vec<AgentEntry>, Failure> {
    read_json(&folder.path("agents.json"))
}

/// Makes a gateway's folder and TLS key, and gives back what the charter pins.
pub fn create_gateway(dir: &Path) -> Result<[u8; 32], Failure> {
    let what = || format!("cannot make a gateway in `{}`", dir.display());
    create_private(dir)?;
    let identity = TlsIdentity::generate().map_err(Failure::from_error(what()))?;
    identity
        .save(&dir.join(TLS_FILE))
        .map_err(Failure::from_error(what()))?;
    Ok(identity.spki_hash().0)
}

/// A running gateway.
#[derive(Debug)]
pub struct RunningGateway {
    address: SocketAddr,
    server: Arc<Mutex<JoinHandle<()>>>,
    watcher: JoinHandle<()>,
}

impl RunningGateway {
    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops serving.
    pub async fn stop(&self) {
        self.watcher.abort();
        self.server
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .abort();
        // Lets connections that are being closed finish.
        tokio::task::yield_now().await;
    }
}

/// Starts the gateway in `dir`.
pub async fn start(dir: &Path) -> Result<RunningGateway, Failure> {
    let file = GatewayFile::read(dir)?;
    let (chain, charter) = charters(dir, &file)?;
    let identity = TlsIdentity::load(&dir.join(TLS_FILE))
        .map_err(Failure::from_error("cannot use the gateway's TLS key"))?;
    let mut jitter_seed = [0u8; 32];
    OsRng.fill_bytes(&mut jitter_seed);
    let keep = dir.join("charters");
    let (tls, inbound) = links::connect(
        file.id.to_string(),
        identity,
        &charter,
        file.nodes.clone(),
        jitter_seed,
        Box::new(move |number, bytes| keep_charter(&keep, number, bytes)),
        look_at_addresses(dir, &file),
    )
    .map_err(Failure::from_error("cannot connect to the nodes"))?;
    let listener = std::net::TcpListener::bind(file.listen)
        .and_then(|l| l.set_nonblocking(true).map(|()| l))
        .map_err(|e| {
            Failure::new(format!("cannot listen on {}", file.listen))
                .because(e)
                .next("stop what listens there, or take another port with `--port`")
        })?;
    let address = listener
        .local_addr()
        .map_err(Failure::from_error("cannot listen"))?;
    let metrics = Arc::new(Metrics::default());
    let core = Gateway::new(
        Config::default(),
        Box::new(chain),
        Box::new(ThresholdCombiner),
        clock::now().0,
    );
    let handle = spawn(core, Box::new(tls), inbound, Arc::clone(&metrics));
    let sequences = Arc::new(sequences(dir, file.rpc.clone()).await?);
    let face = Face {
        sequences,
        listener,
        handle,
        metrics,
        hosts: file.hosts.clone(),
    };
    let server = Arc::new(Mutex::new(face.serve(Vec::new())?));
    let watcher = tokio::spawn(watch_agents(
        dir.to_owned(),
        file,
        face,
        Arc::clone(&server),
    ));
    Ok(RunningGateway {
        address,
        server,
        watcher,
    })
}

/// The chain of charters as far as this gateway has followed it, and the newest charter.
fn charters(dir: &Path, file: &GatewayFile) -> Result<(CharterChain, Charter), Failure> {
    let genesis = read(&dir.join(&file.genesis))?;
    let malformed = "the genesis does not verify";
    let certificate =
        Certificate::<Charter>::from_bytes(&genesis).map_err(Failure::from_error(malformed))?;
    // The genesis in a gateway's own folder is what its operator pinned.
    let cluster = certificate.unverified().cluster_id();
    let mut chain =
        CharterChain::from_genesis(&genesis, cluster).map_err(Failure::from_error(malformed))?;
    for number in 1u64.. {
        let path = dir.join("charters").join(format!("{number}.cbor"));
        if !path.is_file() {
            break;
        }
        let bytes = read(&path)?;
        match chain.offer(clock::now(), &bytes) {
            Ok(Offer::Adopted) => {}
            // The nodes will hand over what is in force.
            Ok(_) | Err(_) => break,
        }
    }
    let charter = chain.constitution().charter().clone();
    Ok((chain, charter))
}

/// Looks whether `gateway.json` has other addresses of nodes. The rest of it is read at the start
/// alone.
fn look_at_addresses(dir: &Path, file: &GatewayFile) -> OnLook {
    let modified = |dir: &Path| {
        let metadata = std::fs::metadata(dir.join(GATEWAY_FILE));
        metadata.and_then(|m| m.modified()).ok()
    };
    let (dir, mut seen, mut known) = (dir.to_owned(), modified(dir), file.nodes.clone());
    Box::new(move || {
        let now = modified(&dir);
        if now == seen {
            return None;
        }
        seen = now;
        match GatewayFile::read(&dir) {
            Ok(file) if file.nodes == known => None,
            Ok(file) => {
                tracing::info!("the addresses in `gateway.json` have changed");
                known.clone_from(&file.nodes);
                Some(file.nodes)
            }
            Err(failure) => {
                tracing::error!(%failure, "the addresses stay as they were");
                None
            }
        }
    })
}

fn keep_charter(folder: &Path, number: CharterNumber, bytes: &[u8]) {
    let path = folder.join(format!("{}.cbor", number.0));
    let kept = create_private(folder).and_then(|()| write_file(&path, bytes, 0o600));
    if let Err(failure) = kept {
        // The gateway can go on: nodes keep charters durably and hand them over again.
        tracing::error!(%failure, "a charter cannot be kept");
    }
}

/// The nonces of the gateway in `dir`. A process that is just ending may still have them.
async fn sequences(dir: &Path, rpc: Option<String>) -> Result<Sequences, Failure> {
    let mut patience = Patience::of(SEQUENCES_LIMIT);
    loop {
        match Sequences::open(&dir.join("sequences"), rpc.clone()) {
            Ok(sequences) => return Ok(sequences),
            Err(StoreError::Locked(_)) if patience.pause().await => {}
            Err(error) => return Err(Failure::new("cannot hand out nonces").because(error)),
        }
    }
}

/// What serves HTTP, and can be started anew when agents come.
struct Face {
    listener: std::net::TcpListener,
    handle: Handle,
    metrics: Arc<Metrics>,
    sequences: Arc<Sequences>,
    hosts: Vec<String>,
}

impl Face {
    fn serve(&self, agents: Vec<Agent>) -> Result<JoinHandle<()>, Failure> {
        let what = "cannot serve HTTP";
        let listener = self
            .listener
            .try_clone()
            .map_err(Failure::from_error(what))?;
        let listener =
            tokio::net::TcpListener::from_std(listener).map_err(Failure::from_error(what))?;
        let faces = Faces::new(self.handle.clone(), Arc::clone(&self.metrics), agents)
            .with_sequences(Arc::clone(&self.sequences));
        let hosts = self.hosts.clone();
        Ok(tokio::spawn(async move {
            if let Err(error) = serve(listener, faces, hosts).await {
                tracing::error!(%error, "the gateway's listener failed");
            }
        }))
    }
}

/// Serves the agents once all their keys exist.
async fn watch_agents(
    dir: PathBuf,
    file: GatewayFile,
    face: Face,
    server: Arc<Mutex<JoinHandle<()>>>,
) {
    let (Some(rpc), Some(path)) = (&file.rpc, &file.agents) else {
        // The face lives as long as this task: its handle keeps the core running.
        return std::future::pending().await;
    };
    let path = dir.join(path);
    loop {
        match agents(&path, rpc, &face.handle).await {
            Ok(Some(agents)) => {
                match face.serve(agents) {
                    Ok(fresh) => {
                        let mut current = server.lock().unwrap_or_else(PoisonError::into_inner);
                        current.abort();
                        *current = fresh;
                    }
                    Err(failure) => tracing::error!(%failure, "agents cannot be served"),
                }
                return std::future::pending().await;
            }
            Ok(None) => {}
            Err(failure) => {
                tracing::error!(%failure, "agents cannot be served");
                return std::future::pending().await;
            }
        }
        tokio::time::sleep(AGENTS_PAUSE).await;
    }
}

/// The agents with their keys; `None` while one of the keys does not exist.
async fn agents(path: &Path, rpc: &str, handle: &Handle) -> Result<Option<Vec<Agent>>, Failure> {
    let entries: Vec<AgentEntry> = read_json(path)?;
    let Outcome::Keys(keys) = handle.call(|client| Event::KeysQuery { client }).await else {
        return Ok(None);
    };
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut agents = Vec::with_capacity(entries.len());
    for entry in entries {
        let Some(key) = keys.iter().find(|k| k.entry.public.name == entry.key) else {
            return Ok(None);
        };
        let shape = if entry.web3_py {
            SignTransactionShape::Object
        } else {
            SignTransactionShape::Hex
        };
        agents.push(Agent::new(
            token_hash(&entry.token),
            entry.principal,
            load_identity(&folder.join(entry.key_file))?,
            key.entry.public.key,
            entry.chain_id,
            rpc.to_owned(),
            shape,
        ));
    }
    Ok(Some(agents))
}
