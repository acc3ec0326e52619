//! The node processes of a dev cluster: which ones run is what `nodes.json` says, and one that ends
//! by itself is started again.
//!
//! Each node is this same executable run again as `quoin node`, with a pipe as its standard input:
//! killing one is a real kill, and all of them end when this process does, whatever ends it. Another
//! process that changes the cluster (`quoin dev grow`) makes the folders and then replaces
//! `nodes.json`; the supervisor starts what is new in it and ends what is no longer.

use super::log_file;
use crate::failure::Failure;
use crate::folder::{Folder, read_json, write_json};
use crate::say;
use quoin_core::NodeIndex;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};

/// The file that says which nodes run, in the data folder.
const NODES_FILE: &str = "nodes.json";
/// How often processes and the file are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// The first pause before a node is started again; it doubles.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest pause before a node is started again.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A node that has run for so long is no longer one that fails at its start.
const STEADY_AFTER: Duration = Duration::from_secs(60);
/// How long a node may take to end after it was asked to: it finishes the checks under way first.
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// Which nodes of a dev cluster run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodesFile {
    /// The nodes.
    pub nodes: BTreeSet<NodeIndex>,
}

impl NodesFile {
    /// The nodes of a folder; the first `default` ones when the file is not there yet.
    pub fn read(folder: &Folder, default: u8) -> Result<Self, Failure> {
        let path = folder.path(NODES_FILE);
        if path.is_file() {
            return read_json(&path);
        }
        let nodes = (1..=default).filter_map(NodeIndex::new).collect();
        Ok(Self { nodes })
    }

    /// Replaces the file.
    pub fn save(&self, folder: &Folder) -> Result<(), Failure> {
        write_json(&folder.path(NODES_FILE), self)
    }
}

/// One node's process.
#[derive(Debug)]
enum Process {
    Running { child: Child, since: Instant },
    Ended { again_at: Instant },
    LeftAlone,
}

#[derive(Debug)]
struct Node {
    process: Process,
    pause: Duration,
}

/// The node processes.
#[derive(Debug)]
pub struct Supervisor {
    folder: Folder,
    nodes: BTreeMap<NodeIndex, Node>,
    leaving: Vec<Child>,
    restart: bool,
}

impl Supervisor {
    /// Supervises no node yet; `restart` says whether a node that ends is started again.
    pub const fn new(folder: Folder, restart: bool) -> Self {
        Self {
            folder,
            nodes: BTreeMap::new(),
            leaving: Vec::new(),
            restart,
        }
    }

    /// Starts a node.
    pub fn start(&mut self, index: NodeIndex) -> Result<(), Failure> {
        let child = spawn_node(&self.folder, index)?;
        let pause = self.nodes.get(&index).map_or(PAUSE_MIN, |n| n.pause);
        let process = Process::Running {
            child,
            since: Instant::now(),
        };
        self.nodes.insert(index, Node { process, pause });
        Ok(())
    }

    /// The process id of each node that runs.
    pub fn pids(&self) -> Vec<(NodeIndex, u32)> {
        let running = self.nodes.iter().filter_map(|(i, n)| match &n.process {
            Process::Running { child, .. } => Some((*i, child.id()?)),
            Process::Ended { .. } | Process::LeftAlone => None,
        });
        running.collect()
    }

    /// Fails when a node has ended.
    pub fn check(&mut self) -> Result<(), Failure> {
        for (index, node) in &mut self.nodes {
            let Process::Running { child, .. } = &mut node.process else {
                continue;
            };
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

    /// Keeps the processes as they should be, for ever.
    pub async fn watch(&mut self) -> ! {
        loop {
            self.look();
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn look(&mut self) {
        match NodesFile::read(&self.folder, 0) {
            Ok(wanted) if !wanted.nodes.is_empty() => self.follow(&wanted.nodes),
            Ok(_) => {}
            Err(failure) => say::progress(failure),
        }
        self.leaving
            .retain_mut(|child| !matches!(child.try_wait(), Ok(Some(_))));
        let due: Vec<NodeIndex> = self
            .nodes
            .iter_mut()
            .filter_map(|(index, node)| node.look(*index, self.restart).then_some(*index))
            .collect();
        for index in due {
            if let Err(failure) = self.start(index) {
                say::progress(failure);
            }
        }
    }

    /// Starts the nodes that are new in the file, and ends those that are no longer in it.
    fn follow(&mut self, wanted: &BTreeSet<NodeIndex>) {
        for index in wanted {
            if !self.nodes.contains_key(index) {
                say::progress(format!("starting node {index} …"));
                if let Err(failure) = self.start(*index) {
                    say::progress(failure);
                }
            }
        }
        let gone = self.nodes.keys().filter(|i| !wanted.contains(i)).copied();
        for index in gone.collect::<Vec<_>>() {
            say::progress(format!("node {index} has left the cluster; ending it …"));
            if let Some(Node {
                process: Process::Running { mut child, .. },
                ..
            }) = self.nodes.remove(&index)
            {
                drop(child.stdin.take());
                self.leaving.push(child);
            }
        }
    }

    /// Ends everything, gently at first.
    pub async fn stop(mut self) {
        for node in self.nodes.values_mut() {
            if let Process::Running { child, .. } = &mut node.process {
                drop(child.stdin.take());
            }
        }
        let nodes = std::mem::take(&mut self.nodes).into_values();
        let running = nodes.filter_map(|n| match n.process {
            Process::Running { child, .. } => Some(child),
            Process::Ended { .. } | Process::LeftAlone => None,
        });
        for mut child in running.chain(std::mem::take(&mut self.leaving)) {
            if tokio::time::timeout(STOP_LIMIT, child.wait())
                .await
                .is_err()
            {
                say::progress("a node does not end; killing it");
                let _ = child.kill().await;
            }
        }
    }
}

impl Node {
    /// Looks at the process; says whether it is to be started now.
    fn look(&mut self, index: NodeIndex, restart: bool) -> bool {
        let now = Instant::now();
        match &mut self.process {
            Process::Running { child, since } => {
                let Ok(Some(status)) = child.try_wait() else {
                    return false;
                };
                if !restart {
                    say::progress(format!("node {index} has ended ({status})"));
                    self.process = Process::LeftAlone;
                    return false;
                }
                if now.duration_since(*since) >= STEADY_AFTER {
                    self.pause = PAUSE_MIN;
                }
                say::progress(format!(
                    "node {index} has ended ({status}); signing goes on without it. Starting it \
                     again in {} s …",
                    self.pause.as_secs()
                ));
                self.process = Process::Ended {
                    again_at: now + self.pause,
                };
                self.pause = (self.pause * 2).min(PAUSE_MAX);
                false
            }
            Process::Ended { again_at } => now >= *again_at,
            Process::LeftAlone => false,
        }
    }
}

fn spawn_node(folder: &Folder, index: NodeIndex) -> Result<Child, Failure> {
    let what = format!("cannot start node {index}");
    let executable = std::env::current_exe().map_err(Failure::from_error(what.clone()))?;
    let dir = folder.path(format!("node-{index}"));
    let log = log_file(&dir.join("node.log"))?;
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
