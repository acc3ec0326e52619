//! A running dev cluster: three node processes, the gateway inside this one, and perhaps anvil.
//!
//! Each node is this same executable run again as `quoin node`, with a pipe as its standard input:
//! killing one is a real kill, and all of them end when this process does, whatever ends it.

use super::anvil::{ANVIL_CHAIN_ID, Anvil};
use super::create::{self, NODES};
use crate::chain::ChainNode;
use crate::client::{Patience, Session};
use crate::failure::Failure;
use crate::folder::{ClusterFile, Folder};
use crate::gateway::{self, GatewayFile, RunningGateway};
use crate::say;
use quoin_core::NodeIndex;
use quoin_node::run::{NodeFile, NodePublic};
use std::collections::BTreeMap;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};

/// How long a cluster may take until it can sign.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// How long a node may take to end after it was asked to: it finishes the checks under way first.
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// What a dev cluster is started with.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// The gateway's port; 0 takes a free one.
    pub port: u16,
    /// The chain node to use instead of anvil.
    pub rpc: Option<String>,
}

/// A running dev cluster.
#[derive(Debug)]
pub struct Cluster {
    folder: Folder,
    nodes: BTreeMap<NodeIndex, Child>,
    gateway: RunningGateway,
    anvil: Option<Anvil>,
    _lock: File,
}

impl Cluster {
    /// Makes the cluster on first start, and starts it.
    pub async fn start(folder: &Folder, wish: &Wish) -> Result<Self, Failure> {
        folder.create()?;
        let lock = folder.lock()?;
        let anvil = start_chain(folder, wish).await?;
        let rpc = wish
            .rpc
            .clone()
            .or_else(|| anvil.as_ref().map(|a| a.url().to_owned()));
        let chain_id = chain_id(folder, rpc.as_deref()).await?;
        if !folder.is_initialised() {
            create::create(folder, chain_id, rpc.clone())?;
        }
        let ports = free_ports(usize::from(NODES))?;
        let addresses: BTreeMap<NodeIndex, SocketAddr> = (1..=NODES)
            .filter_map(NodeIndex::new)
            .zip(
                ports
                    .into_iter()
                    .map(|p| SocketAddr::from((Ipv4Addr::LOCALHOST, p))),
            )
            .collect();
        let mut nodes = BTreeMap::new();
        for index in addresses.keys() {
            write_node_file(folder, *index, &addresses)?;
            nodes.insert(*index, spawn_node(folder, *index)?);
        }
        let settings = GatewayFile::for_dev(wish.port, &addresses, rpc.clone())?;
        settings.save(&folder.path("gateway"))?;
        let gateway = gateway::start(&folder.path("gateway")).await?;
        folder.save_cluster(&ClusterFile {
            gateway: format!("http://{}", gateway.address()),
            rpc,
            ..folder.cluster()?
        })?;
        Ok(Self {
            folder: folder.clone(),
            nodes,
            gateway,
            anvil,
            _lock: lock,
        })
    }

    /// Waits until all nodes are connected, and opens a session.
    pub async fn ready(&mut self) -> Result<Session, Failure> {
        let mut patience = Patience::of(READY_LIMIT);
        let session = Session::open(&self.folder).await?;
        loop {
            self.check_nodes()?;
            let up = session.gateway().nodes_up().await?;
            if up == usize::from(NODES) {
                return Ok(session);
            }
            if !patience.pause().await {
                return Err(Failure::new("the cluster did not become ready")
                    .because(format!(
                        "{up} of {NODES} nodes are connected to the gateway"
                    ))
                    .next(format!(
                        "read `node-*/node.log` in `{}`",
                        self.folder.root().display()
                    )));
            }
        }
    }

    /// Fails when a node has ended.
    fn check_nodes(&mut self) -> Result<(), Failure> {
        for (index, child) in &mut self.nodes {
            if let Ok(Some(status)) = child.try_wait() {
                let log = self.folder.path(format!("node-{index}/node.log"));
                let text = std::fs::read_to_string(&log).unwrap_or_default();
                let last = text.lines().last().unwrap_or("it said nothing").trim();
                return Err(
                    Failure::new(format!("node {index} ended at its start ({status})"))
                        .because(last.trim_start_matches("why: "))
                        .next(format!("read `{}`", log.display())),
                );
            }
        }
        Ok(())
    }

    /// The process id of each node.
    pub fn pids(&self) -> Vec<(NodeIndex, u32)> {
        let pids = self
            .nodes
            .iter()
            .filter_map(|(i, child)| Some((*i, child.id()?)));
        pids.collect()
    }

    /// The chain node, when anvil was started here.
    pub fn anvil_url(&self) -> Option<&str> {
        self.anvil.as_ref().map(Anvil::url)
    }

    /// Resolves when a node process ends, which `dev` tells and survives.
    pub async fn next_loss(&mut self) -> (NodeIndex, String) {
        loop {
            let mut ended = None;
            for (index, child) in &mut self.nodes {
                if let Ok(Some(status)) = child.try_wait() {
                    ended = Some((*index, status.to_string()));
                    break;
                }
            }
            if let Some((index, status)) = ended {
                self.nodes.remove(&index);
                return (index, status);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Stops everything, gently at first.
    pub async fn stop(mut self) {
        self.gateway.stop().await;
        for child in self.nodes.values_mut() {
            drop(child.stdin.take());
        }
        for (index, mut child) in std::mem::take(&mut self.nodes) {
            if tokio::time::timeout(STOP_LIMIT, child.wait())
                .await
                .is_err()
            {
                say::progress(format!("node {index} does not end; killing it"));
                let _ = child.kill().await;
            }
        }
        if let Some(anvil) = self.anvil.take() {
            anvil.stop().await;
        }
    }
}

/// Makes the identity of a dev node.
pub fn create_node(folder: &Folder, index: NodeIndex) -> Result<NodePublic, Failure> {
    let dir = folder.path(format!("node-{index}"));
    quoin_node::run::create_identity(&dir).map_err(Failure::from_error(format!(
        "cannot make the identity of node {index}"
    )))
}

fn write_node_file(
    folder: &Folder,
    index: NodeIndex,
    addresses: &BTreeMap<NodeIndex, SocketAddr>,
) -> Result<(), Failure> {
    let dir = folder.path(format!("node-{index}"));
    let listen = addresses.get(&index).copied();
    let listen = listen.ok_or_else(|| Failure::new(format!("node {index} has no address")))?;
    let file = NodeFile {
        index,
        listen,
        peers: addresses
            .iter()
            .filter(|(i, _)| **i != index)
            .map(|(i, a)| (*i, *a))
            .collect(),
        genesis: PathBuf::from("../genesis.cbor"),
        key_file: None,
        passphrase_file: None,
    };
    quoin_node::run::write_node_file(&dir, &file)
        .map_err(Failure::from_error(format!("cannot set up node {index}")))
}

fn spawn_node(folder: &Folder, index: NodeIndex) -> Result<Child, Failure> {
    let what = format!("cannot start node {index}");
    let executable = std::env::current_exe().map_err(Failure::from_error(what.clone()))?;
    let dir = folder.path(format!("node-{index}"));
    let log = super::log_file(&dir.join("node.log"))?;
    Command::new(executable)
        .arg("node")
        .arg("--data")
        .arg(&dir)
        .arg("--exit-with-parent")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .map_err(Failure::from_error(what))
}

async fn start_chain(folder: &Folder, wish: &Wish) -> Result<Option<Anvil>, Failure> {
    if wish.rpc.is_some() {
        return Ok(None);
    }
    match Anvil::find() {
        Some(program) => {
            say::progress("starting anvil, a local EVM chain …");
            Ok(Some(Anvil::start(&program, folder).await?))
        }
        None => {
            say::progress(
                "anvil is not here, so nothing can be mined: `cargo xtask testbeds` installs it, \
                 or name a chain node with `--rpc URL`",
            );
            Ok(None)
        }
    }
}

/// The chain that the cluster's amounts are of; a second start must find the same.
async fn chain_id(folder: &Folder, rpc: Option<&str>) -> Result<u64, Failure> {
    let found = match rpc {
        Some(url) => ChainNode::new(url)?.chain_id().await?,
        None => ANVIL_CHAIN_ID,
    };
    if !folder.is_initialised() {
        return Ok(found);
    }
    let pinned = folder.cluster()?.chain_id;
    if rpc.is_some() && pinned != found {
        return Err(Failure::new("the chain node is of another chain")
            .because(format!(
                "this cluster was made for chain {pinned}, it is of chain {found}"
            ))
            .next("name the right chain node, or another data folder"));
    }
    Ok(pinned)
}

/// Ports that were free a moment ago, all different.
fn free_ports(count: usize) -> Result<Vec<u16>, Failure> {
    let what = "cannot find a free port on 127.0.0.1";
    let listeners = (0..count)
        .map(|_| std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<Result<Vec<_>, _>>()
        .map_err(Failure::from_error(what))?;
    let ports = listeners.iter().map(|l| l.local_addr().map(|a| a.port()));
    ports
        .collect::<Result<Vec<_>, _>>()
        .map_err(Failure::from_error(what))
}
