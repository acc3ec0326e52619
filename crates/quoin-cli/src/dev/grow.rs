//! `quoin dev grow`: other nodes and another threshold for a dev cluster that runs.
//!
//! What an operator of a real cluster does on many hosts, done here on one: identities of the new
//! nodes, their addresses into the settings of everybody who dials them, the next charter signed by
//! the governors and handed in, the chain of charters to the new nodes, and their start. The running
//! `quoin dev` starts the processes, because `nodes.json` then names them. Keys stay with the nodes
//! that hold them until `quoin key reshare`.

use super::cluster;
use super::create::{THRESHOLD, node_entry};
use super::supervisor::NodesFile;
use crate::cli::DevGrowArgs;
use crate::client::{Patience, Session};
use crate::command::charter::{sign_and_submit, successor};
use crate::failure::Failure;
use crate::folder::{Folder, write_file};
use crate::gateway::GatewayFile;
use crate::say;
use quoin_core::ids::NODE_INDEX_MAX;
use quoin_core::{NodeIndex, PrincipalId};
use quoin_node::run::{CHARTERS_FILE, charters_to_bytes};
use quoin_policy::{Charter, NodeEntry};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

/// How long the new nodes may take to connect.
const JOIN_LIMIT: Duration = Duration::from_secs(60);

/// Runs the command.
pub async fn run(args: DevGrowArgs) -> Result<(), Failure> {
    let folder = args.data.folder();
    let mut session = Session::open(&folder).await?;
    if !session.file().dev {
        return Err(Failure::new("this is not a dev cluster")
            .because("its nodes are on hosts of their own")
            .next("make each node with `quoin init node`, and apply a charter that names it"));
    }
    let change = Change::of(&session, &args)?;
    let nodes = change.make_nodes(&folder)?;
    cluster::write_addresses(&folder, &change.stay, &change.come)?;
    let next = successor(&session, change.charter(&session, &args, nodes));
    let governors = governors(&session)?;
    let report = sign_and_submit(&mut session, next, &governors).await?;
    say::progress(report.line());
    let chain = charters_to_bytes(&folder.chain()?);
    for index in change.come.keys() {
        let path = folder.path(format!("node-{index}")).join(CHARTERS_FILE);
        write_file(&path, &chain, 0o600)?;
    }
    let members = change.members();
    NodesFile {
        nodes: members.clone(),
    }
    .save(&folder)?;
    wait_for(&session, members.len()).await?;
    let charter = session.constitution().charter();
    if args.json {
        return say::json(&json!({
            "charter": charter.number,
            "nodes": members,
            "threshold": charter.threshold,
            "f_tol": charter.f_tol,
        }));
    }
    say::line(format!(
        "charter {}: {} of {} nodes sign new keys",
        charter.number.0,
        charter.threshold,
        members.len()
    ));
    say::line("keys stay where they are until you move them: quoin key reshare NAME");
    Ok(())
}

/// Who stays, who comes, who goes.
struct Change {
    stay: BTreeSet<NodeIndex>,
    come: BTreeMap<NodeIndex, SocketAddr>,
}

impl Change {
    fn of(session: &Session, args: &DevGrowArgs) -> Result<Self, Failure> {
        let current = session.constitution().charter();
        let now: BTreeSet<NodeIndex> = current.nodes.iter().map(|n| n.index).collect();
        if let Some(unknown) = args.without.iter().find(|i| !now.contains(i)) {
            return Err(Failure::new(format!("there is no node {unknown} to leave")));
        }
        let mut stay = now.clone();
        stay.retain(|i| !args.without.contains(i));
        let missing = usize::from(args.to).checked_sub(stay.len());
        let missing = missing.ok_or_else(|| {
            Failure::new(format!(
                "{} nodes stay, which is over {}",
                stay.len(),
                args.to
            ))
            .next("name those that leave with `--without`")
        })?;
        // An index is not given to another identity here: a folder of that name may still be there.
        let free = (1..=NODE_INDEX_MAX).filter_map(NodeIndex::new);
        let free = free.filter(|i| {
            let folder = session.folder().path(format!("node-{i}"));
            !now.contains(i) && !folder.exists()
        });
        let indices: Vec<NodeIndex> = free.take(missing).collect();
        if indices.len() < missing {
            return Err(Failure::new(
                "there are not enough free node indices, which end at 15",
            ));
        }
        let addresses = cluster::free_addresses(indices)?;
        Ok(Self {
            stay,
            come: addresses,
        })
    }

    fn members(&self) -> BTreeSet<NodeIndex> {
        self.stay.iter().chain(self.come.keys()).copied().collect()
    }

    fn make_nodes(&self, folder: &Folder) -> Result<Vec<NodeEntry>, Failure> {
        let made = self.come.keys().map(|index| {
            say::progress(format!("making the identity of node {index} …"));
            Ok(node_entry(*index, &cluster::create_node(folder, *index)?))
        });
        made.collect()
    }

    fn charter(&self, session: &Session, args: &DevGrowArgs, new: Vec<NodeEntry>) -> Charter {
        let current = session.constitution().charter();
        let stay = current
            .nodes
            .iter()
            .filter(|n| self.stay.contains(&n.index));
        Charter {
            nodes: stay.cloned().chain(new).collect(),
            threshold: args.threshold.unwrap_or(THRESHOLD.max(current.threshold)),
            f_tol: args.f_tol.unwrap_or(current.f_tol),
            ..current.clone()
        }
    }
}

/// The governors whose keys are in the folder, which for a dev cluster are all.
fn governors(session: &Session) -> Result<Vec<PrincipalId>, Failure> {
    let held = session.folder().principals();
    let all = session.constitution().charter().governors();
    let here: Vec<PrincipalId> = all
        .filter(|g| held.contains(&g.id.to_string()))
        .map(|g| g.id.clone())
        .collect();
    if here.is_empty() {
        return Err(Failure::new("no governor's key is in `principals/`"));
    }
    Ok(here)
}

async fn wait_for(session: &Session, nodes: usize) -> Result<(), Failure> {
    let mut patience = Patience::of(JOIN_LIMIT);
    loop {
        let up = session.gateway().nodes_up().await?;
        if up == nodes {
            return Ok(());
        }
        if !patience.pause().await {
            return Err(Failure::new("the new nodes did not all connect")
                .because(format!("{up} of {nodes} are connected to the gateway"))
                .next("check that `quoin dev` runs, and read `node-*/node.log`"));
        }
    }
}

/// Writes the gateway's settings with other addresses of nodes.
pub fn write_gateway_addresses(
    folder: &Folder,
    addresses: &BTreeMap<NodeIndex, SocketAddr>,
) -> Result<(), Failure> {
    let dir = folder.path("gateway");
    let mut file = GatewayFile::read(&dir)?;
    file.nodes = addresses
        .iter()
        .map(|(node, address)| (*node, address.to_string()))
        .collect();
    file.save(&dir)
}
