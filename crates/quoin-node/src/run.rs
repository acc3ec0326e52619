//! The node's shell: sockets, disk, clock and worker around the core. It decides nothing.
//!
//! One task owns the core and feeds it events in the order in which they arrive. Records go to the
//! store's writer, which commits all that wait in one write and reports back; jobs go to two worker
//! threads, heavy ones apart, so that presigning never holds up signing.

use crate::core::{
    Alarm, Effect, Event, Job, JobId, JobResult, Node, NodeConfig, Peer, Record, RecoverError,
    Recovered, Ticket,
};
use crate::seal::{FileSealer, PassphraseSource, SealError, Sealer};
use crate::store::{NewRecord, SqliteStore, Store, StoreError};
use quoin_api::Frame;
use quoin_api::frame::Priority;
use quoin_api::statements::Head;
use quoin_core::{
    Certificate, GatewayId, Lane, NodeIndex, PublicCredential, SecretBytes, SigningIdentity,
    TimeMs, cbor,
};
use quoin_link::{Endpoint, Inbound, Limits, LinkError, PeerId, Pins, SpkiHash, TlsIdentity};
use quoin_policy::Charter;
use rand_core::{OsRng, RngCore};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;

/// How often the core hears that time has passed.
const TICK: Duration = Duration::from_millis(50);
/// How long a stop waits for checks that are under way: some of the slowest jobs of a busy machine.
const CHECKS_LIMIT: Duration = Duration::from_secs(8);
/// Under which label the node's signing identity is sealed.
const IDENTITY_LABEL: &str = "identity";
/// File names in a node's folder.
const NODE_FILE: &str = "node.json";
const IDENTITY_FILE: &str = "identity.sealed";
const MASTER_KEY_FILE: &str = "master.key";
const TLS_FILE: &str = "tls.pem";
/// The journal's file in a node's folder.
pub const JOURNAL_FILE: &str = "journal.db";

/// What `node.json` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeFile {
    /// The node's index.
    pub index: NodeIndex,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where the other nodes listen.
    pub peers: BTreeMap<NodeIndex, SocketAddr>,
    /// The genesis certificate; a relative path is relative to the node's folder.
    pub genesis: PathBuf,
    /// The file with the sealer's master key; `master.key` in the node's folder when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// The file with the passphrase that wraps the master key, when one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passphrase_file: Option<PathBuf>,
}

/// The public half of a new node, for the genesis charter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePublic {
    /// With what the node signs statements.
    pub credential: PublicCredential,
    /// SHA-256 of the `SubjectPublicKeyInfo` of its TLS certificate.
    pub tls_key_hash: [u8; 32],
}

/// Why a node does not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A file cannot be read or written.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// `node.json` or the genesis does not read.
    #[error("`{path}` is malformed: {reason}")]
    Malformed {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// A secret cannot be sealed or opened.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The journal cannot be opened or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The network side cannot start.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The journal does not lead to a valid state.
    #[error("node cannot be rebuilt from its journal: {0}")]
    Recover(#[from] RecoverError),
    /// The presigning engine gives wrong results on this machine.
    #[error("self-test of the ECDSA engine failed: {0}")]
    SelfTest(String),
    /// The disk failed while running.
    #[error("the disk failed: nothing is signed any more; check the disk and start the node again")]
    StorageFailed,
}

fn io(what: String) -> impl FnOnce(std::io::Error) -> RunError {
    move |source| RunError::Io { what, source }
}

/// Creates a node's folder with its master key, sealed identity and TLS key.
///
/// # Errors
/// When the folder has an identity already, or a file cannot be written.
pub fn create_identity(dir: &Path) -> Result<NodePublic, RunError> {
    create_private_dir(dir)?;
    let sealer = FileSealer::create_key_file(&dir.join(MASTER_KEY_FILE))?;
    let identity = SigningIdentity::generate(&mut OsRng);
    let seed = identity.to_seed();
    let sealed = sealer.seal(IDENTITY_LABEL, b"", seed.expose())?;
    let path = dir.join(IDENTITY_FILE);
    std::fs::write(&path, sealed).map_err(io(format!("write `{}`", path.display())))?;
    let tls = TlsIdentity::generate()?;
    tls.save(&dir.join(TLS_FILE))?;
    Ok(NodePublic {
        credential: identity.public(),
        tls_key_hash: tls.spki_hash().0,
    })
}

/// The public half of the node in `dir`.
///
/// # Errors
/// When the folder is no node's.
pub fn public_of(dir: &Path) -> Result<NodePublic, RunError> {
    let identity = open_identity(dir, open_sealer(dir, None)?.as_ref())?;
    let tls = TlsIdentity::load(&dir.join(TLS_FILE))?;
    Ok(NodePublic {
        credential: identity.public(),
        tls_key_hash: tls.spki_hash().0,
    })
}

/// Signs a genesis charter as the node in `dir`.
///
/// # Errors
/// When the folder is no node's.
pub fn sign_genesis(dir: &Path, genesis: &mut Certificate<Charter>) -> Result<(), RunError> {
    let sealer = open_sealer(dir, None)?;
    genesis.endorse(&open_identity(dir, sealer.as_ref())?);
    Ok(())
}

/// Writes `node.json`.
///
/// # Errors
/// When the file cannot be written.
pub fn write_node_file(dir: &Path, file: &NodeFile) -> Result<(), RunError> {
    let path = dir.join(NODE_FILE);
    let malformed = |reason: String| RunError::Malformed {
        path: NODE_FILE.to_owned(),
        reason,
    };
    let text = serde_json::to_string_pretty(file).map_err(|e| malformed(e.to_string()))?;
    std::fs::write(&path, text).map_err(io(format!("write `{}`", path.display())))
}

fn read_node_file(dir: &Path) -> Result<NodeFile, RunError> {
    let path = dir.join(NODE_FILE);
    let text = std::fs::read_to_string(&path).map_err(io(format!(
        "read `{}` (is this a node's folder?)",
        path.display()
    )))?;
    serde_json::from_str(&text).map_err(|e| RunError::Malformed {
        path: path.display().to_string(),
        reason: e.to_string(),
    })
}

#[cfg(unix)]
fn create_private_dir(dir: &Path) -> Result<(), RunError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(io(format!("create folder `{}`", dir.display())))
}

#[cfg(not(unix))]
fn create_private_dir(dir: &Path) -> Result<(), RunError> {
    std::fs::create_dir_all(dir).map_err(io(format!("create folder `{}`", dir.display())))
}

fn open_sealer(dir: &Path, file: Option<&NodeFile>) -> Result<Box<dyn Sealer>, RunError> {
    let key_file = file.and_then(|f| f.key_file.clone());
    let key_file = key_file.map_or_else(|| dir.join(MASTER_KEY_FILE), |path| dir.join(path));
    Ok(match file.and_then(|f| f.passphrase_file.clone()) {
        Some(path) => Box::new(FileSealer::open_with_passphrase(
            &key_file,
            &PassphraseSource::File(dir.join(path)),
        )?),
        None => Box::new(FileSealer::open_key_file(&key_file)?),
    })
}

fn open_identity(dir: &Path, sealer: &dyn Sealer) -> Result<SigningIdentity, RunError> {
    let path = dir.join(IDENTITY_FILE);
    let sealed = std::fs::read(&path).map_err(io(format!("read `{}`", path.display())))?;
    let seed = sealer.open(IDENTITY_LABEL, b"", &sealed)?;
    Ok(SigningIdentity::from_seed(&secret_32(
        IDENTITY_LABEL,
        &seed,
    )?))
}

fn secret_32(label: &str, bytes: &[u8]) -> Result<SecretBytes<32>, RunError> {
    let mut copy: [u8; 32] = bytes
        .try_into()
        .map_err(|_| SealError::Malformed(format!("`{label}` is not 32 bytes")))?;
    Ok(SecretBytes::take(&mut copy))
}

/// Reads a genesis certificate.
///
/// # Errors
/// When the file cannot be read or is malformed.
pub fn read_genesis(path: &Path) -> Result<Certificate<Charter>, RunError> {
    let bytes = std::fs::read(path).map_err(io(format!("read `{}`", path.display())))?;
    Certificate::from_bytes(&bytes).map_err(|e| RunError::Malformed {
        path: path.display().to_string(),
        reason: e.to_string(),
    })
}

/// Runs the node in `dir` until `shutdown` is ready.
///
/// # Errors
/// When it cannot start, or its disk fails.
pub async fn run(dir: &Path, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
    quoin_protocol::ecdsa::self_test().map_err(|e| RunError::SelfTest(e.to_string()))?;
    let file = read_node_file(dir)?;
    let sealer = open_sealer(dir, Some(&file))?;
    let identity = Arc::new(open_identity(dir, sealer.as_ref())?);
    let genesis = read_genesis(&dir.join(&file.genesis))?;
    let (store, opened) = SqliteStore::open(&dir.join(JOURNAL_FILE), Lane(0))?;
    let cluster = genesis.unverified().cluster_id();
    let mut shares = BTreeMap::new();
    for (label, sealed) in opened
        .state
        .iter()
        .filter(|(name, _)| name.starts_with("share/"))
    {
        let secret = sealer.open(label, cluster.as_bytes(), sealed)?;
        shares.insert(label.clone(), secret_32(label, &secret)?);
    }
    let mut records = Vec::new();
    for (place, recorded) in opened.records.enumerate() {
        let recorded = recorded?;
        let record = Record::from_bytes(&recorded.body)
            .map_err(|_| RecoverError::Record(place, "not a record of this version"))?;
        records.push((recorded.at, record));
    }
    let mut effects = Vec::new();
    let node = Node::recover(
        Recovered {
            config: NodeConfig::default(),
            identity,
            genesis,
            lane: Lane(0),
            records,
            head: Head {
                seq: opened.head.seq,
                hash: opened.head.hash,
            },
            shares,
        },
        &mut effects,
    )?;
    let tls = TlsIdentity::load(&dir.join(TLS_FILE))?;
    let listener = tokio::net::TcpListener::bind(file.listen)
        .await
        .map_err(io(format!("listen on `{}`", file.listen)))?;
    let mut shell = Shell::new(node, sealer, store, cluster.as_bytes());
    // The boot record is durable before the first connection: nobody hears of a generation that a
    // crash could take back.
    shell.carry_out(effects);
    shell.wait_durable().await?;
    let (endpoint, inbound) = shell.start_links(&file, tls, listener)?;
    tracing::info!(node = file.index.get(), listen = %file.listen, "node is up");
    shell.serve(endpoint, inbound, shutdown).await
}

/// Everything around the core.
struct Shell {
    node: Node,
    sealer: Box<dyn Sealer>,
    store: SqliteStore,
    aad: Vec<u8>,
    clock: Clock,
    endpoint: Option<Endpoint>,
    durable: mpsc::UnboundedReceiver<(Ticket, Option<Head>)>,
    durable_in: mpsc::UnboundedSender<(Ticket, Option<Head>)>,
    heavy: Jobs,
    light: Jobs,
    done: mpsc::UnboundedReceiver<(JobId, JobResult)>,
    failed: bool,
}

impl Shell {
    fn new(node: Node, sealer: Box<dyn Sealer>, store: SqliteStore, aad: &[u8]) -> Self {
        let (durable_in, durable) = mpsc::unbounded_channel();
        let (done_in, done) = mpsc::unbounded_channel();
        Self {
            node,
            sealer,
            store,
            aad: aad.to_vec(),
            clock: Clock::new(),
            endpoint: None,
            durable,
            durable_in,
            heavy: worker(done_in.clone()),
            light: worker(done_in),
            done,
            failed: false,
        }
    }

    fn start_links(
        &mut self,
        file: &NodeFile,
        identity: TlsIdentity,
        listener: tokio::net::TcpListener,
    ) -> Result<(Endpoint, mpsc::Receiver<Inbound>), RunError> {
        let charter = self.node.charter().unverified();
        let nodes = charter.nodes.iter().filter(|n| n.index != file.index);
        let pins = nodes.map(|n| (SpkiHash(n.tls_key_hash), PeerId::Node(n.index)));
        let gateways = charter.gateways.iter();
        let gateways =
            gateways.map(|g| (SpkiHash(g.tls_key_hash), PeerId::Gateway(g.id.to_string())));
        let mut jitter_seed = [0u8; 32];
        OsRng.fill_bytes(&mut jitter_seed);
        let config = quoin_link::Config {
            me: PeerId::Node(file.index),
            identity,
            pins: Pins::new(pins.chain(gateways))?,
            addresses: file
                .peers
                .iter()
                .filter(|(node, _)| **node != file.index)
                .map(|(node, address)| (PeerId::Node(*node), address.to_string()))
                .collect(),
            limits: Limits::default(),
            jitter_seed,
        };
        Ok(Endpoint::start(config, Some(listener))?)
    }

    /// Waits until all that was written so far is durable.
    async fn wait_durable(&mut self) -> Result<(), RunError> {
        match self.durable.recv().await {
            Some((ticket, Some(head))) => {
                self.feed(Event::Durable(ticket, head));
                Ok(())
            }
            _ => Err(RunError::StorageFailed),
        }
    }

    async fn serve(
        mut self,
        endpoint: Endpoint,
        mut inbound: mpsc::Receiver<Inbound>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), RunError> {
        self.endpoint = Some(endpoint);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        tokio::pin!(shutdown);
        while !self.failed {
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some((ticket, head)) = self.durable.recv() => match head {
                    Some(head) => self.feed(Event::Durable(ticket, head)),
                    None => {
                        self.feed(Event::StorageFailed);
                        self.failed = true;
                    }
                },
                // What we owe ourselves comes before what others send, or a busy peer could keep
                // this node from beating.
                _ = tick.tick() => self.feed(Event::Tick),
                Some((id, result)) = self.done.recv() => self.feed(Event::Computed(id, result)),
                Some(event) = inbound.recv() => self.on_link(event),
            }
        }
        self.finish_checks().await;
        if let Some(endpoint) = self.endpoint.take() {
            endpoint.shutdown().await;
        }
        if self.failed {
            Err(RunError::StorageFailed)
        } else {
            Ok(())
        }
    }

    /// Lets the secret-dependent checks that are under way end. Nothing comes in any more, so no
    /// new ones follow for long.
    async fn finish_checks(&mut self) {
        let limit = tokio::time::sleep(CHECKS_LIMIT);
        tokio::pin!(limit);
        while !self.failed && self.node.has_open_tries() {
            tokio::select! {
                biased;
                () = &mut limit => return,
                Some((ticket, head)) = self.durable.recv() => match head {
                    Some(head) => self.feed(Event::Durable(ticket, head)),
                    None => self.failed = true,
                },
                Some((id, result)) = self.done.recv() => self.feed(Event::Computed(id, result)),
            }
        }
    }

    fn on_link(&mut self, inbound: Inbound) {
        let Some(peer) = peer_of(&inbound.from) else {
            return;
        };
        match inbound.event {
            quoin_link::Event::Connected => self.feed(Event::Connected(peer)),
            quoin_link::Event::Disconnected => self.feed(Event::Disconnected(peer)),
            quoin_link::Event::Frame(bytes) => match Frame::from_bytes(&bytes) {
                Ok(frame) => self.feed(Event::Frame(peer, frame)),
                Err(error) => tracing::warn!(?peer, %error, "malformed frame dropped"),
            },
        }
    }

    fn feed(&mut self, event: Event) {
        let mut effects = Vec::new();
        self.node.handle(self.clock.now(), event, &mut effects);
        self.carry_out(effects);
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        let mut writes = Vec::new();
        let mut last = None;
        for effect in effects {
            match effect {
                Effect::Persist(ticket, record, secrets) => match self.to_write(record, secrets) {
                    Ok(write) => {
                        writes.push(write);
                        last = Some(ticket);
                    }
                    Err(error) => {
                        tracing::error!(%error, "a share cannot be sealed");
                        let _ = self.durable_in.send((ticket, None));
                        return;
                    }
                },
                Effect::Send(peer, frame) => self.send(&peer, &frame),
                Effect::Compute(id, job) => {
                    // The workers live as long as the shell.
                    let jobs = if job.is_heavy() {
                        &self.heavy
                    } else {
                        &self.light
                    };
                    let _ = jobs.send((id, job));
                }
                Effect::Alarm(alarm) => report(&alarm),
            }
        }
        if let Some(ticket) = last {
            self.submit(ticket, writes);
        }
    }

    fn submit(&self, ticket: Ticket, writes: Vec<NewRecord>) {
        let report = self.durable_in.clone();
        let done = Box::new(
            move |outcome: Result<Vec<crate::store::Head>, StoreError>| {
                if let Err(error) = &outcome {
                    tracing::error!(%error, "journal write failed");
                }
                let head = outcome.ok().and_then(|heads| heads.last().copied());
                let _ = report.send((
                    ticket,
                    head.map(|h| Head {
                        seq: h.seq,
                        hash: h.hash,
                    }),
                ));
            },
        );
        if let Err(error) = self.store.submit(writes, done) {
            tracing::error!(%error, "journal refused a write");
            let _ = self.durable_in.send((ticket, None));
        }
    }

    /// A record as the store takes it: with its secrets sealed, and what it uses up.
    fn to_write(
        &self,
        record: Record,
        secrets: Vec<(String, SecretBytes<32>)>,
    ) -> Result<NewRecord, SealError> {
        let used = match &record {
            Record::Decision(decision) => decision.presignature,
            Record::Consumed(consumed) => consumed.presignature,
            _ => None,
        };
        let mut write = NewRecord::new(self.node.time(), record.to_bytes());
        for (label, secret) in secrets {
            let sealed = self.sealer.seal(&label, &self.aad, secret.expose())?;
            write = write.put(label, sealed);
        }
        Ok(match used {
            Some(id) => write.consume(cbor::encode(&id)),
            None => write,
        })
    }

    fn send(&self, peer: &Peer, frame: &Frame) {
        let Some(endpoint) = &self.endpoint else {
            return;
        };
        let priority = match frame.priority() {
            Priority::Urgent => quoin_link::Priority::Urgent,
            Priority::Normal => quoin_link::Priority::Normal,
            Priority::Bulk => quoin_link::Priority::Bulk,
        };
        let to = match peer {
            Peer::Node(node) => PeerId::Node(*node),
            Peer::Gateway(gateway) => PeerId::Gateway(gateway.to_string()),
        };
        let sent = endpoint.send(&to, priority, frame.to_bytes());
        if sent != quoin_link::Sent::Queued {
            tracing::debug!(?peer, ?sent, "frame not sent");
        }
    }
}

type Jobs = std::sync::mpsc::Sender<(JobId, Job)>;

/// Starts a worker thread, which ends when its sender is dropped.
fn worker(done: mpsc::UnboundedSender<(JobId, JobResult)>) -> Jobs {
    let (jobs, work) = std::sync::mpsc::channel::<(JobId, Job)>();
    std::thread::spawn(move || {
        while let Ok((id, job)) = work.recv() {
            // The system's own randomness at every draw: a generator kept in memory would give
            // two forks of this process the same "fresh" values (construction, section 21.2).
            if done.send((id, job.run(&mut OsRng))).is_err() {
                return;
            }
        }
    });
    jobs
}

/// A clock that keeps its pace when the host's is set back: wall time at start, then monotonic.
struct Clock {
    wall: u64,
    since: Instant,
}

impl Clock {
    fn new() -> Self {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let wall = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX);
        Self {
            wall,
            since: Instant::now(),
        }
    }

    fn now(&self) -> TimeMs {
        let passed = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        TimeMs(self.wall.saturating_add(passed))
    }
}

fn peer_of(id: &PeerId) -> Option<Peer> {
    match id {
        PeerId::Node(node) => Some(Peer::Node(*node)),
        PeerId::Gateway(name) => name.parse::<GatewayId>().ok().map(Peer::Gateway),
    }
}

fn report(alarm: &Alarm) {
    match alarm {
        Alarm::Strike(node, fault) => {
            tracing::error!(
                node = node.get(),
                ?fault,
                "peer failed a secret-dependent check"
            );
        }
        other => tracing::error!(alarm = ?other, "alarm"),
    }
}
