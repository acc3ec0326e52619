//! A running dev cluster: its node processes, the gateway inside this one, and perhaps anvil.

use super::anvil::{ANVIL_CHAIN_ID, Anvil};
use super::create::{self, NODES};
use super::supervisor::{NodesFile, Supervisor};
use crate::chain::ChainNode;
use crate::client::{Patience, Session};
use crate::failure::Failure;
use crate::folder::{ClusterFile, Folder};
use crate::gateway::{self, GatewayFile, RunningGateway};
use crate::say;
use quoin_core::NodeIndex;
use quoin_node::run::{NodeFile, NodePublic, read_node_file};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// How long a cluster may take until it can sign.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// What a dev cluster is started with.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// The gateway's port; 0 takes a free one.
    pub port: u16,
    /// The chain node to use instead of anvil.
    pub rpc: Option<String>,
    /// Whether a node that ends by itself stays down.
    pub no_restart: bool,
}

/// A running dev cluster.
#[derive(Debug)]
pub struct Cluster {
    folder: Folder,
    nodes: Supervisor,
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
        let members = NodesFile::read(folder, NODES)?;
        members.save(folder)?;
        let addresses = free_addresses(members.nodes)?;
        let mut nodes = Supervisor::new(folder.clone(), !wish.no_restart);
        for index in addresses.keys() {
            write_node_file(folder, *index, &addresses)?;
            nodes.start(*index)?;
        }
        let settings = GatewayFile::for_dev(wish.port, &addresses, rpc.clone())?;
        settings.save(&folder.path("gateway"))?;
        let gateway = gateway::start(&folder.path("gateway")).await?;
        folder.save_cluster(&ClusterFile {
            gateway: format!("http://{}", gateway.address()),
            rpc,
            nodes: texts(&addresses),
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
            self.nodes.check()?;
            let (up, all) = (
                session.gateway().nodes_up().await?,
                session.constitution().charter().nodes.len(),
            );
            if up == all {
                return Ok(session);
            }
            if !patience.pause().await {
                return Err(Failure::new("the cluster did not become ready")
                    .because(format!("{up} of {all} nodes are connected to the gateway"))
                    .next(format!(
                        "read `node-*/node.log` in `{}`",
                        self.folder.root().display()
                    )));
            }
        }
    }

    /// The process id of each node.
    pub fn pids(&self) -> Vec<(NodeIndex, u32)> {
        self.nodes.pids()
    }

    /// The chain node, when anvil was started here.
    pub fn anvil_url(&self) -> Option<&str> {
        self.anvil.as_ref().map(Anvil::url)
    }

    /// Keeps the nodes' processes as they should be, for ever.
    pub async fn watch(&mut self) -> ! {
        self.nodes.watch().await
    }

    /// Stops everything, gently at first.
    pub async fn stop(mut self) {
        self.gateway.stop().await;
        self.nodes.stop().await;
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
        backups: None,
        require_locked_memory: false,
    };
    quoin_node::run::write_node_file(&dir, &file)
        .map_err(Failure::from_error(format!("cannot set up node {index}")))
}

/// Fresh addresses on this machine, one for each node.
pub fn free_addresses(
    nodes: impl IntoIterator<Item = NodeIndex>,
) -> Result<BTreeMap<NodeIndex, SocketAddr>, Failure> {
    let nodes: Vec<NodeIndex> = nodes.into_iter().collect();
    let ports = free_ports(nodes.len())?.into_iter();
    let addresses = ports.map(|p| SocketAddr::from((Ipv4Addr::LOCALHOST, p)));
    Ok(nodes.into_iter().zip(addresses).collect())
}

/// Writes the settings of nodes that come, and adds their addresses to those of nodes that stay and
/// of the gateway, which read them again while they run.
pub fn write_addresses(
    folder: &Folder,
    stay: &BTreeSet<NodeIndex>,
    come: &BTreeMap<NodeIndex, SocketAddr>,
) -> Result<(), Failure> {
    let mut addresses = come.clone();
    for index in stay {
        let dir = folder.path(format!("node-{index}"));
        let file = read_node_file(&dir)
            .map_err(Failure::from_error(format!("cannot read node {index}")))?;
        addresses.insert(*index, file.listen);
    }
    for index in addresses.keys() {
        write_node_file(folder, *index, &addresses)?;
    }
    super::grow::write_gateway_addresses(folder, &addresses)?;
    folder.save_cluster(&ClusterFile {
        nodes: texts(&addresses),
        ..folder.cluster()?
    })
}

fn texts(addresses: &BTreeMap<NodeIndex, SocketAddr>) -> BTreeMap<NodeIndex, String> {
    let all = addresses.iter();
    all.map(|(node, address)| (*node, address.to_string()))
        .collect()
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
