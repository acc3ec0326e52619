//! What must hold in every run: invariants 1 to 6 of the design, as far as this workload goes.
//!
//! The checkers see what leaves the cores and what is on the disks, nothing else. Each has a test
//! that shows it a violation.

use crate::disk::Disk;
use crate::setup::Cluster;
use crate::workload::Work;
use quoin_api::statements::{Answer, FinishedSignature};
use quoin_core::{NodeIndex, PayloadHash, PresignatureId, RequestId};
use quoin_node::core::Record;
use quoin_protocol::combine;
use std::collections::{BTreeMap, BTreeSet};

/// Something that must never happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// Invariant 1: a partial signature left before its record was durable.
    AnsweredBeforeDurable(NodeIndex, PresignatureId),
    /// Invariant 2: one presignature answered for two views.
    PresignatureReused(NodeIndex, PresignatureId),
    /// Invariant 2: two answers gave a share away.
    ShareExtracted(NodeIndex),
    /// Invariant 3: something was signed that the policy does not permit.
    SignedAgainstPolicy(RequestId),
    /// Invariant 4: more was signed than the budget admits.
    OverBudget(u64, u64),
    /// Invariant 5: one request id, two payloads or two signatures.
    TwoSignatures(RequestId),
    /// Invariant 5: one slot, two payments.
    SlotFilledTwice(u64),
    /// Invariant 6: a signature was returned that does not verify.
    DoesNotVerify(RequestId),
    /// A node could not be rebuilt from its own journal.
    NotRecovered(NodeIndex, String),
    /// Invariant 10: the cluster did not sign again after the faults stopped.
    NoRecovery(String),
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AnsweredBeforeDurable(n, id) => {
                write!(
                    f,
                    "node {n} answered with presignature {} before its record",
                    id.index
                )
            }
            Self::PresignatureReused(n, id) => {
                write!(f, "node {n} used presignature {} for two views", id.index)
            }
            Self::ShareExtracted(n) => write!(f, "the share of node {n} can be computed"),
            Self::SignedAgainstPolicy(id) => write!(f, "request {id} was signed against policy"),
            Self::OverBudget(signed, cap) => write!(f, "{signed} signed, the budget admits {cap}"),
            Self::TwoSignatures(id) => write!(f, "request {id} has two signatures"),
            Self::SlotFilledTwice(nonce) => write!(f, "nonce {nonce} has two payments"),
            Self::DoesNotVerify(id) => write!(f, "the signature of {id} does not verify"),
            Self::NotRecovered(n, why) => write!(f, "node {n} cannot start: {why}"),
            Self::NoRecovery(why) => write!(f, "no recovery after the faults: {why}"),
        }
    }
}

/// The checkers' memory.
#[derive(Default)]
pub struct Checks {
    /// The presignatures whose consumption is durable, by node.
    consumed: BTreeMap<NodeIndex, BTreeSet<PresignatureId>>,
    answers: BTreeMap<(NodeIndex, PresignatureId), (Vec<u8>, Answer)>,
    finished: BTreeMap<RequestId, (PayloadHash, [u8; 64])>,
    slots: BTreeMap<u64, PayloadHash>,
    /// What was found.
    pub violations: Vec<Violation>,
}

impl Checks {
    /// A node's disk has synced: what is consumed durably now?
    pub fn on_synced(&mut self, node: NodeIndex, disk: &Disk) {
        let durable = self.consumed.entry(node).or_default();
        for record in disk.newly_synced() {
            let used = match record {
                Record::Decision(decision) => decision.presignature,
                Record::Consumed(consumed) => consumed.presignature,
                _ => None,
            };
            durable.extend(used);
        }
    }

    /// A node sends a partial signature. `digest` is what it signed, as the workload knows it.
    pub fn on_answer(&mut self, cluster: &Cluster, answer: &Answer, digest: &[u8]) {
        let node = answer.boot.node;
        let (Some(id), Some(set)) = (answer.presignature, &answer.set) else {
            return;
        };
        if !self.consumed.get(&node).is_some_and(|c| c.contains(&id)) {
            self.violations
                .push(Violation::AnsweredBeforeDurable(node, id));
        }
        let Some((before, first)) = self.answers.get(&(node, id)) else {
            self.answers
                .insert((node, id), (digest.to_vec(), answer.clone()));
            return;
        };
        if first.view == answer.view && first.partial == answer.partial {
            return;
        }
        self.violations
            .push(Violation::PresignatureReused(node, id));
        let read = |a: &Answer| quoin_protocol::Answer {
            view: a.view,
            body: a.partial.clone(),
        };
        let (one, two) = (read(first), read(answer));
        let share = quoin_protocol::model::extract(set, node, (before, &one), (digest, &two));
        if share.is_some() && cluster.key.public_share(node).is_some() {
            self.violations.push(Violation::ShareExtracted(node));
        }
    }

    /// A caller is told that its request is signed.
    pub fn on_signed(&mut self, cluster: &Cluster, work: &Work, finished: &FinishedSignature) {
        let id = work.request_id;
        if !work.allowed {
            self.violations.push(Violation::SignedAgainstPolicy(id));
        }
        let scheme = cluster.key.scheme;
        let verified = quoin_chain::decode(&work.payload, &cluster.account, scheme)
            .is_ok_and(|d| combine::verify(&cluster.key, d.digest(), &finished.signature).is_ok());
        if !verified || finished.request_id != id {
            self.violations.push(Violation::DoesNotVerify(id));
        }
        let now = (work.payload.hash(), finished.signature);
        let before = *self.finished.entry(id).or_insert(now);
        if before != now {
            self.violations.push(Violation::TwoSignatures(id));
        }
        // The workload never replaces a transaction by one of a higher fee, so one nonce has one
        // payload.
        let filled = *self.slots.entry(work.nonce).or_insert(now.0);
        if filled != now.0 {
            self.violations.push(Violation::SlotFilledTwice(work.nonce));
        }
        let signed = self.finished.len() as u64;
        if signed > cluster.cap {
            self.violations
                .push(Violation::OverBudget(signed, cluster.cap));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::BEGIN;
    use crate::workload::request;
    use quoin_core::cbor::Version;
    use quoin_core::{BatchHash, Boot, CharterHash, Generation, HeadHash, Lane, SignerSet};
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    fn cluster() -> Cluster {
        Cluster::build(3, 2, 1, &mut ChaCha20Rng::seed_from_u64(1)).unwrap()
    }

    fn answer(partial: u8) -> Answer {
        let node = NodeIndex::new(1).unwrap();
        Answer {
            version: Version,
            cluster: quoin_core::ClusterId([0; 32]),
            boot: Boot {
                node,
                lane: Lane(0),
                generation: Generation(1),
            },
            request_id: RequestId([1; 16]),
            key: quoin_core::KeyId([7; 16]),
            set: SignerSet::from_ascending(vec![node, NodeIndex::new(2).unwrap()]),
            presignature: Some(PresignatureId {
                batch: BatchHash([3; 32]),
                index: 0,
            }),
            view: [partial; 32],
            partial: vec![partial],
            charter_hash: CharterHash([0; 32]),
            rules: Vec::new(),
            head: quoin_api::statements::Head {
                seq: 1,
                hash: HeadHash([0; 32]),
            },
        }
    }

    fn finished(work: &Work, signature: [u8; 64]) -> FinishedSignature {
        FinishedSignature {
            version: Version,
            request_id: work.request_id,
            key: quoin_core::KeyId([7; 16]),
            scheme: quoin_core::Scheme::Model,
            signature,
            recovery_id: None,
        }
    }

    #[test]
    fn an_answer_before_its_record_is_found() {
        let mut checks = Checks::default();
        checks.on_answer(&cluster(), &answer(1), b"digest");
        assert!(matches!(
            checks.violations[..],
            [Violation::AnsweredBeforeDurable(..)]
        ));
    }

    #[test]
    fn a_second_answer_is_found() {
        let mut checks = Checks::default();
        let id = answer(1).presignature.unwrap();
        checks
            .consumed
            .entry(NodeIndex::new(1).unwrap())
            .or_default()
            .insert(id);
        checks.on_answer(&cluster(), &answer(1), b"digest");
        checks.on_answer(&cluster(), &answer(1), b"digest");
        assert!(
            checks.violations.is_empty(),
            "the same answer again is no second one"
        );
        checks.on_answer(&cluster(), &answer(2), b"other");
        assert!(matches!(
            checks.violations[..],
            [Violation::PresignatureReused(..)]
        ));
    }

    #[test]
    fn a_forbidden_request_and_a_wrong_signature_are_found() {
        let cluster = cluster();
        let bad = request(&cluster, RequestId([1; 16]), 0, 5, false, BEGIN.plus(1_000));
        let mut checks = Checks::default();
        checks.on_signed(&cluster, &bad, &finished(&bad, [9; 64]));
        assert!(
            checks
                .violations
                .contains(&Violation::SignedAgainstPolicy(bad.request_id))
        );
        assert!(
            checks
                .violations
                .contains(&Violation::DoesNotVerify(bad.request_id))
        );
    }

    #[test]
    fn two_signatures_two_payments_in_a_slot_and_too_many_are_found() {
        let cluster = cluster();
        let one = request(&cluster, RequestId([1; 16]), 0, 5, true, BEGIN.plus(1_000));
        let two = request(&cluster, RequestId([2; 16]), 0, 6, true, BEGIN.plus(1_000));
        let mut checks = Checks::default();
        checks.on_signed(&cluster, &one, &finished(&one, [9; 64]));
        checks.on_signed(&cluster, &one, &finished(&one, [8; 64]));
        assert!(
            checks
                .violations
                .contains(&Violation::TwoSignatures(one.request_id))
        );
        checks.on_signed(&cluster, &two, &finished(&two, [9; 64]));
        assert!(checks.violations.contains(&Violation::SlotFilledTwice(0)));
        assert!(checks.violations.contains(&Violation::OverBudget(2, 1)));
    }
}
