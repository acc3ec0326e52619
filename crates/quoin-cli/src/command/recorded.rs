//! The requests that a node has recorded, for judging them again under another charter.
//!
//! A node's journal is read while the node runs: nothing is written and nothing is locked. Payloads
//! whose keys were erased are gone, and their requests are left out.

use crate::failure::Failure;
use crate::folder::Folder;
use quoin_core::cbor;
use quoin_core::payload::PAYLOAD_BYTES_MAX;
use quoin_core::{Certificate, KeyId, KeyState, Payload, PrincipalId, RequestId, Signed, Stamp, TimeMs};
use quoin_node::core::Record;
use quoin_policy::{Approval, FactView, KeyFacts, RecordedRequest};
use quoin_protocol::combine::KeyPublic;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What one node has recorded.
#[derive(Debug, Default)]
pub struct Recorded {
    /// The node's folder; none when there is none here.
    pub node: Option<String>,
    /// Its requests, oldest first: those that it permitted and those that it denied.
    pub requests: Vec<RecordedRequest>,
}

/// The requests in the journal of the node in `dir`, or of the first whose folder is here.
pub fn of(folder: &Folder, dir: Option<&Path>) -> Result<Recorded, Failure> {
    let Some(dir) = dir.map(Path::to_path_buf).or_else(|| first(folder)) else {
        return Ok(Recorded::default());
    };
    let records = quoin_node::run::recorded(&dir).map_err(Failure::from_error(format!(
        "cannot read the journal in `{}`",
        dir.display()
    )))?;
    Ok(Recorded {
        node: Some(dir.display().to_string()),
        requests: requests(&records),
    })
}

fn first(folder: &Folder) -> Option<PathBuf> {
    let nodes = (1..=quoin_core::ids::NODE_INDEX_MAX).map(|n| folder.path(format!("node-{n}")));
    nodes.into_iter().find(|dir| dir.join("node.json").is_file())
}

/// The requests of a journal.
pub fn requests(records: &[(TimeMs, Record)]) -> Vec<RecordedRequest> {
    let mut read = Reading::default();
    for (at, record) in records {
        match record {
            Record::FirstSeen(seen) => {
                read.first_seen.entry(seen.request_id).or_insert(seen.at);
            }
            Record::KeyActive { certificate, .. } | Record::KeyLearned(certificate) => {
                read.key(&certificate.0);
            }
            Record::Decision(decision) => {
                let approvals = decision.approvals.iter().filter_map(|bytes| {
                    let signed = Signed::<Approval>::from_bytes(&bytes.0).ok()?;
                    Some(signed.unverified().principal.clone())
                });
                let facts = decision.facts.as_ref();
                let facts = facts.and_then(|bytes| serde_json::from_slice(&bytes.0).ok());
                let (stamp, payload) = (&decision.stamp.0, &decision.payload.0);
                read.request(*at, (stamp, payload), approvals.collect(), facts);
            }
            Record::Denied(denied) => {
                let of = (denied.stamp.0.as_slice(), denied.payload.0.as_slice());
                read.request(*at, of, BTreeSet::new(), None);
            }
            _ => {}
        }
    }
    read.requests
}

#[derive(Default)]
struct Reading {
    keys: BTreeMap<KeyId, KeyFacts>,
    first_seen: BTreeMap<RequestId, TimeMs>,
    requests: Vec<RecordedRequest>,
}

impl Reading {
    fn key(&mut self, certificate: &[u8]) {
        let Ok(certificate) = Certificate::<KeyPublic>::from_bytes(certificate) else {
            return;
        };
        let public = certificate.unverified();
        let facts = KeyFacts {
            id: public.key,
            name: public.name.clone(),
            purpose: public.purpose,
            scheme: public.scheme,
            // Policies alone are asked, and they see the account of the stamp.
            addresses: Vec::new(),
            threshold: public.threshold,
            holders: u8::try_from(public.public_shares.len()).unwrap_or(u8::MAX),
            state: KeyState::Active,
        };
        self.keys.insert(public.key, facts);
    }

    fn request(
        &mut self,
        at: TimeMs,
        (stamp, payload): (&[u8], &[u8]),
        approved_by: BTreeSet<PrincipalId>,
        facts: Option<FactView>,
    ) {
        let Ok(stamp) = Signed::<Stamp>::from_bytes(stamp) else {
            return;
        };
        let Ok(payload) = cbor::decode::<Payload>(payload, PAYLOAD_BYTES_MAX + 64) else {
            return;
        };
        let stamp = stamp.unverified().clone();
        let first_seen = self.first_seen.get(&stamp.request_id).copied();
        self.requests.push(RecordedRequest {
            payload,
            key: stamp.key.and_then(|key| self.keys.get(&key).cloned()),
            first_seen: first_seen.unwrap_or(at),
            at,
            approved_by,
            facts: facts.unwrap_or_default(),
            stamp,
        });
    }
}
