//! The people and programs around the cluster: who asks, who approves, who governs.

use crate::network::Scheduled;
use crate::setup::{APPROVER, Cluster};
use crate::violation::Violation;
use crate::workload::{FEE, Payee, Payment, What, fresh_id, pay};
use crate::world::World;
use quoin_core::cbor::Version;
use quoin_core::{Certificate, Class, Signed};
use quoin_gateway::core::outcome::{Failure, PendingRequest};
use quoin_gateway::core::{self as gateway, ClientId};
use quoin_policy::Approval;
use quoin_protocol::KeyPublic;
use quoin_protocol::combine::verify_certificate;
use std::collections::BTreeMap;

/// Callers ask again this often while they have no final answer.
const RETRY_MS: u64 = 1_500;
/// How long a person takes to approve.
const APPROVE_MS: u64 = 80;

impl World {
    pub(crate) fn new_client(&mut self) -> ClientId {
        self.clients += 1;
        ClientId(self.clients)
    }

    /// A caller asks, and will ask again until it has its answer.
    pub(crate) fn ask(&mut self, place: usize) {
        if self.settled.contains_key(&place) {
            return;
        }
        let Some(work) = self.work.get(place).cloned() else {
            return;
        };
        let again = Scheduled::Work(place);
        self.schedule.at(self.now.plus(RETRY_MS), again);
        if self.gateway.core.is_none() {
            return;
        }
        let client = self.new_client();
        self.waiting.insert(client, place);
        self.feed_gateway(gateway::Event::ClientRequest {
            client,
            stamp: work.stamp,
            payload: work.payload_bytes,
        });
    }

    /// The governor hands the second charter in, until the gateway has told a node.
    pub(crate) fn amend(&mut self) {
        if self.amended.1 {
            return;
        }
        self.schedule.at(self.now.plus(RETRY_MS), Scheduled::Amend);
        if !self.amended.0 {
            self.amended.0 = true;
            self.errands.stirred(self.now);
            self.checks
                .issue(self.cluster.amendment.unverified().hash());
            self.note("the second charter is out", b"amend");
            self.start_spares();
        }
        if self.gateway.core.is_some() {
            let client = self.new_client();
            let charter = self.cluster.amendment.to_bytes();
            let submitted = gateway::Event::CharterSubmitted { client, charter };
            self.feed_gateway(submitted);
        }
    }

    /// Somebody approves.
    pub(crate) fn approve(&mut self, place: usize, approval: Vec<u8>) {
        let client = self.new_client();
        self.waiting.insert(client, place);
        self.feed_gateway(gateway::Event::ClientApproval { client, approval });
    }

    pub(crate) fn replied(&mut self, client: ClientId, outcome: &gateway::Outcome) {
        if let gateway::Outcome::CharterSubmitted { replies, .. } = outcome {
            let taken = replies.iter().any(|r| r.refused.is_none());
            if taken && !std::mem::replace(&mut self.amended.1, true) {
                self.counts.charters += 1;
            }
            return;
        }
        let Some(place) = self.waiting.remove(&client) else {
            return;
        };
        let Some(work) = self.work.get(place) else {
            return;
        };
        let lifts = matches!(work.what, What::Lift(_));
        let kind = outcome.kind();
        let id = work.request_id;
        let why = match outcome {
            gateway::Outcome::Failed(failure) => failure.message.as_str(),
            gateway::Outcome::Refused(refused) => refused.message.as_str(),
            _ => "",
        };
        let what = || format!("caller of {id} hears: {kind} {why}");
        self.trace.add(self.now, what, kind.as_bytes());
        match outcome {
            gateway::Outcome::Signed(signed) => {
                self.checks.on_signed(work, &signed.finished);
                self.counts.signed += self.settle(place, kind);
            }
            gateway::Outcome::Refused(_) | gateway::Outcome::Conflict(_) => {
                self.counts.refused += self.settle(place, kind);
            }
            gateway::Outcome::Failed(failure) if self.calm && is_final(failure) => {
                self.counts.refused += self.settle(place, kind);
            }
            gateway::Outcome::KeyCreated { certificate, .. } => {
                self.key_made(place, kind, certificate);
            }
            gateway::Outcome::KeyRenewed { certificate, .. } if self.settle(place, kind) > 0 => {
                self.key_renewed(certificate);
            }
            gateway::Outcome::Changed(changed) if changed.is_complete() || self.calm => {
                let first = self.settle(place, kind);
                match lifts {
                    true => self.counts.lifts += first,
                    false => self.counts.keys_changed += first,
                }
                self.errands.stirred(self.now);
            }
            gateway::Outcome::Pending(pending) => self.consider_approving(place, pending),
            _ => {}
        }
    }

    /// Notes a final answer; 1 when it is the first one.
    fn settle(&mut self, place: usize, kind: &'static str) -> u64 {
        u64::from(self.settled.insert(place, kind).is_none())
    }

    fn consider_approving(&mut self, place: usize, pending: &PendingRequest) {
        let Ok(principal) = APPROVER.parse() else {
            return;
        };
        let approval = Approval {
            version: Version,
            cluster: self.cluster.cluster,
            intent_hash: pending.intent_hash,
            principal,
            request_id: pending.request_id,
            not_after: self.until,
        };
        let bytes = Signed::sign(approval, &self.cluster.approver).to_bytes();
        self.checks.approve(pending.request_id);
        self.counts.approvals += 1;
        let when = self.now.plus(APPROVE_MS);
        self.schedule.at(when, Scheduled::Approve(place, bytes));
    }

    /// A key was made: it must be certified by all, and from now on somebody pays with it.
    fn key_made(&mut self, place: usize, kind: &'static str, certificate: &[u8]) {
        if self.settle(place, kind) == 0 {
            return;
        }
        let key = match verified_record(&self.cluster, certificate) {
            Ok(key) => key,
            Err(why) => return self.checks.violations.push(Violation::BadCertificate(why)),
        };
        self.counts.keys_made += 1;
        self.checks.add_key(key.clone());
        let payment = Payment {
            id: fresh_id(&mut self.rng),
            nonce: 0,
            value: 7,
            to: Payee::Friend,
            floor: 0,
            fee: FEE,
        };
        if let Some(work) = pay(&self.cluster, &key, payment, self.until) {
            self.checks.expect(&work);
            let place = self.work.len();
            self.work.push(work);
            let when = self.now.plus(50);
            self.schedule.at(when, Scheduled::Work(place));
        }
    }
}

/// The record of a key that all nodes of its charter have signed, or why it is none.
pub(crate) fn verified_record(cluster: &Cluster, bytes: &[u8]) -> Result<KeyPublic, String> {
    let certificate = Certificate::<KeyPublic>::from_bytes(bytes).map_err(|e| e.to_string())?;
    let public = certificate.unverified();
    let [first, later] = &cluster.members;
    let members = match public.charter.0 {
        0 => first,
        _ => later,
    };
    let named = cluster.nodes.iter().filter(|(n, _)| members.contains(n));
    let credentials: BTreeMap<_, _> = named.map(|(n, i)| (*n, i.public())).collect();
    verify_certificate(&certificate, &credentials).map_err(|e| e.to_string())?;
    Ok(public.clone())
}

/// Whether a failure is an answer: the request itself is at fault. That no node has named its key
/// yet is none.
fn is_final(failure: &Failure) -> bool {
    failure.class == Class::Caller && failure.field != "stamp.key"
}
