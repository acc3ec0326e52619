//! `quoin journal verify`: check the nodes' journals offline, each against what the others saw.
//!
//! A journal that was rewritten from some record on is a sound chain again. What betrays it are the
//! heads that other nodes witnessed: heartbeats that the node itself had signed, written into
//! *their* journals. The last moments before a stop may have no witness yet.

use crate::cli::{JournalCommand, JournalVerifyArgs};
use crate::failure::Failure;
use crate::folder::Folder;
use crate::say;
use quoin_api::statements::Heartbeat;
use quoin_core::{NodeIndex, PublicCredential, Signed, cbor};
use quoin_node::core::Record;
use quoin_node::store::journal::RECORD_BYTES_MAX;
use quoin_node::store::{Head, JournalRecord, JournalReport, Witness, verify};
use quoin_policy::Constitution;
use rusqlite::{Connection, OpenFlags};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Runs the command.
pub fn run(command: JournalCommand) -> Result<(), Failure> {
    let JournalCommand::Verify(args) = command;
    let report = check(&args.data.folder(), args.node)?;
    show(&report, &args)?;
    if report.iter().all(NodeReport::is_sound) {
        return Ok(());
    }
    Err(Failure::new("a journal is not what it should be").next(
        "keep the folders as they are, stop that node, and compare it with its backups; nothing \
         that it signed since then can be proved by it",
    ))
}

/// What was found about one node's journal.
#[derive(Clone, Debug, Serialize)]
pub struct NodeReport {
    /// The node.
    pub node: NodeIndex,
    /// How many records are sound, from the first on.
    pub records: u64,
    /// The hash of the last sound record.
    pub head: String,
    /// How many heads of it other nodes witnessed.
    pub witnesses: usize,
    /// The first thing that is wrong, and where.
    pub faults: Vec<FaultView>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, Serialize)]
pub struct FaultView {
    /// The first bad or missing record; none when the file itself is damaged.
    pub record: Option<u64>,
    /// What is wrong there.
    pub why: String,
}

impl NodeReport {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.faults.is_empty()
    }
}

/// Checks the journal of each node whose folder is there.
pub fn check(folder: &Folder, only: Option<NodeIndex>) -> Result<Vec<NodeReport>, Failure> {
    let constitution = folder.constitution()?;
    let journals: Vec<(NodeIndex, PathBuf)> = constitution
        .charter()
        .nodes
        .iter()
        .map(|n| (n.index, journal_path(folder, n.index)))
        .filter(|(_, path)| path.is_file())
        .collect();
    if journals.is_empty() {
        return Err(
            Failure::new(format!("`{}` holds no journal", folder.root().display()))
                .next("name the folder that has `node-1`, `node-2` … with `--data`"),
        );
    }
    let mut witnesses: BTreeMap<NodeIndex, Vec<Witness>> = BTreeMap::new();
    for (by, path) in &journals {
        for (of, witness) in witnessed(&constitution, *by, path)? {
            witnesses.entry(of).or_default().push(witness);
        }
    }
    let wanted = journals
        .iter()
        .filter(|(node, _)| only.is_none_or(|o| o == *node));
    wanted
        .map(|(node, path)| {
            let seen = witnesses.get(node).map(Vec::as_slice).unwrap_or_default();
            let report = verify(path, seen).map_err(Failure::from_error(format!(
                "the journal of node {node} cannot be read"
            )))?;
            Ok(node_report(*node, &report, seen.len()))
        })
        .collect()
}

/// Where a node's journal lies in a data folder.
fn journal_path(folder: &Folder, node: NodeIndex) -> PathBuf {
    folder
        .path(format!("node-{node}"))
        .join(quoin_node::run::JOURNAL_FILE)
}

/// The heads of other nodes that a journal holds, each in a heartbeat that its node signed.
///
/// The witness's own journal need not be sound: a heartbeat counts by its node's signature.
fn witnessed(
    constitution: &Constitution,
    by: NodeIndex,
    path: &Path,
) -> Result<Vec<(NodeIndex, Witness)>, Failure> {
    let what = || format!("the journal of node {by} cannot be read");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection =
        Connection::open_with_flags(path, flags).map_err(Failure::from_error(what()))?;
    let mut query = connection
        .prepare("SELECT record FROM journal ORDER BY lane, seq")
        .map_err(Failure::from_error(what()))?;
    let rows = query
        .query_map([], |row| row.get::<_, Vec<u8>>(0))
        .map_err(Failure::from_error(what()))?;
    let mut found = Vec::new();
    for row in rows {
        // An unreadable row is a fault of this journal, which the check of it reports.
        let Ok(bytes) = row else { break };
        let Ok(record) = cbor::decode::<JournalRecord>(&bytes, RECORD_BYTES_MAX) else {
            continue;
        };
        if let Ok(Record::Witness(beat)) = Record::from_bytes(&record.body) {
            found.extend(witness(constitution, by, &beat.0));
        }
    }
    Ok(found)
}

fn witness(
    constitution: &Constitution,
    by: NodeIndex,
    heartbeat: &[u8],
) -> Option<(NodeIndex, Witness)> {
    let signed = Signed::<Heartbeat>::from_bytes(heartbeat).ok()?;
    let of = signed.unverified().boot.node;
    let credential: &PublicCredential = &constitution.node(of)?.credential;
    let beat = signed.verify(credential).ok()?;
    if beat.cluster != constitution.cluster() || of == by {
        return None;
    }
    let head = Head {
        seq: beat.head.seq,
        hash: beat.head.hash,
    };
    let lane = beat.boot.lane;
    (head.seq > 0).then_some((of, Witness { lane, head, by }))
}

fn node_report(node: NodeIndex, report: &JournalReport, witnesses: usize) -> NodeReport {
    let head = report.lanes.first().map(|lane| lane.head);
    let faults = report.lanes.iter().filter_map(|lane| lane.fault.as_ref());
    let faults = faults.map(|fault| FaultView {
        record: Some(fault.seq),
        why: fault.why.to_string(),
    });
    let damage = report.damage.iter().map(|line| FaultView {
        record: None,
        why: line.clone(),
    });
    NodeReport {
        node,
        records: head.map_or(0, |h| h.seq),
        head: head.map(|h| h.hash.to_string()).unwrap_or_default(),
        witnesses,
        faults: faults.chain(damage).collect(),
    }
}

fn show(report: &[NodeReport], args: &JournalVerifyArgs) -> Result<(), Failure> {
    if args.json {
        return say::json(&report);
    }
    for node in report {
        let (index, records, seen) = (node.node, node.records, node.witnesses);
        if node.is_sound() {
            say::line(format!(
                "node {index}: {records} records are sound, and have all {seen} heads that other \
                 nodes witnessed"
            ));
            continue;
        }
        for fault in &node.faults {
            let place = fault
                .record
                .map_or_else(String::new, |r| format!(" at record {r}"));
            say::line(format!("node {index}: BROKEN{place}: {}", fault.why));
        }
    }
    Ok(())
}
