//! Everything that a node starts from, read out of its folder: for the start itself, and for work
//! on the folder of a stopped node.

use super::RunError;
use super::folder::{
    CHARTERS_FILE, JOURNAL_FILE, NodeFile, open_identity, open_sealer, read_charters, read_genesis,
    read_node_file, secret_32,
};
use super::veil::{PREFIX, Veil};
use crate::core::{NodeConfig, Record, RecoverError, Recovered};
use crate::seal::Sealer;
use crate::store::{Recovered as Stored, SqliteStore};
use quoin_api::statements::Head;
use quoin_core::{Certificate, ClusterId, Lane, SecretBytes, SigningIdentity, TimeMs};
use quoin_policy::Charter;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// The lane of a node that runs as one process.
const LANE: Lane = Lane(0);

/// A node's folder, opened; no other process has it open meanwhile.
pub(crate) struct Opened {
    pub(crate) file: NodeFile,
    pub(crate) sealer: Box<dyn Sealer>,
    pub(crate) store: SqliteStore,
    pub(crate) cluster: ClusterId,
    identity: Arc<SigningIdentity>,
    genesis: Certificate<Charter>,
    charters: Vec<Certificate<Charter>>,
    /// The journal's records with their times, oldest first.
    pub(crate) records: Vec<(TimeMs, Record)>,
    /// The sealed shares, opened, by label.
    pub(crate) shares: BTreeMap<String, SecretBytes<32>>,
    /// The keys of the payloads that can still be read.
    pub(crate) veil: Veil,
    head: Head,
}

impl Opened {
    /// Opens the folder and reads its whole journal.
    pub(crate) fn open(dir: &Path) -> Result<Self, RunError> {
        let file = read_node_file(dir)?;
        let sealer = open_sealer(dir, Some(&file))?;
        let identity = Arc::new(open_identity(dir, sealer.as_ref())?);
        let genesis = read_genesis(&dir.join(&file.genesis))?;
        let charters = read_charters(&dir.join(CHARTERS_FILE))?;
        let (store, opened) = SqliteStore::open(&dir.join(JOURNAL_FILE), LANE)?;
        let cluster = genesis.unverified().cluster_id();
        let mut shares = BTreeMap::new();
        let state = opened.state.iter();
        for (label, sealed) in state.filter(|(name, _)| name.starts_with("share/")) {
            let secret = sealer.open(label, cluster.as_bytes(), sealed)?;
            shares.insert(label.clone(), secret_32(label, &secret)?);
        }
        let head = Head {
            seq: opened.head.seq,
            hash: opened.head.hash,
        };
        let veil = open_veil(&opened, sealer.as_ref(), cluster)?;
        let records = read_records(opened, &veil)?;
        Ok(Self {
            file,
            sealer,
            store,
            cluster,
            identity,
            genesis,
            charters,
            records,
            shares,
            veil,
            head,
        })
    }

    /// What the core is rebuilt from. Records and shares are taken out.
    pub(crate) fn take_recovered(&mut self) -> Recovered {
        Recovered {
            config: NodeConfig::default(),
            identity: Arc::clone(&self.identity),
            genesis: self.genesis.clone(),
            charters: self.charters.clone(),
            lane: LANE,
            records: std::mem::take(&mut self.records),
            head: self.head,
            shares: std::mem::take(&mut self.shares),
        }
    }
}

/// The keys of the days whose payloads can still be read.
fn open_veil(stored: &Stored, sealer: &dyn Sealer, cluster: ClusterId) -> Result<Veil, RunError> {
    let mut veil = Veil::default();
    let state = stored.state.iter();
    for (label, sealed) in state.filter(|(name, _)| name.starts_with(PREFIX)) {
        let key = sealer.open(label, cluster.as_bytes(), sealed)?;
        veil.admit(label, secret_32(label, &key)?);
    }
    Ok(veil)
}

/// All records, each checked, with what can still be read of their payloads.
fn read_records(stored: Stored, veil: &Veil) -> Result<Vec<(TimeMs, Record)>, RunError> {
    let mut records = Vec::new();
    for (place, recorded) in stored.records.enumerate() {
        let recorded = recorded?;
        let mut record = Record::from_bytes(&recorded.body)
            .map_err(|_| RecoverError::Record(place, "not a record of this version"))?;
        veil.uncover(&mut record);
        records.push((recorded.at, record));
    }
    Ok(records)
}

/// The journal of a node's folder with the payloads that can still be read, oldest first. The node
/// may be running: nothing is written and nothing is locked.
///
/// # Errors
/// When the folder is not a node's, its journal is broken, or its master key is another one.
pub fn recorded(dir: &Path) -> Result<Vec<(TimeMs, Record)>, RunError> {
    let file = read_node_file(dir)?;
    let sealer = open_sealer(dir, Some(&file))?;
    let cluster = read_genesis(&dir.join(&file.genesis))?;
    let cluster = cluster.unverified().cluster_id();
    let stored = crate::store::read(&dir.join(JOURNAL_FILE), LANE)?;
    let veil = open_veil(&stored, sealer.as_ref(), cluster)?;
    read_records(stored, &veil)
}
