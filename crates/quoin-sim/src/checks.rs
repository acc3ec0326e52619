//! What must hold in every run: invariants 1 to 7 and 10 of the design, as far as this workload
//! goes. What must hold of epochs and strikes is in [`crate::epochs`].
//!
//! The checkers see what leaves the nodes and what is on their disks, nothing else, and they see
//! it as an attacker does who holds the gateway and the network: as soon as all signers of a set
//! have answered for one view, the signature *exists*, whether or not anybody combines it. A node
//! in the attacker's hands counts as having answered everything.
//!
//! Which invariants hold for how many malicious nodes is the table of the design's section 2:
//! judgement and strict budgets for fewer than the threshold, exactly-once for none.

use crate::stops::{Leaving, Quorum, Stops};
use crate::violation::Violation;
use crate::workload::{Payee, What, Work};
use quoin_api::statements::{Answer, FinishedSignature, Heartbeat};
use quoin_core::{
    Boot, CharterHash, KeyId, NodeIndex, PayloadHash, PresignatureId, RequestId, Signed, TimeMs,
    cbor,
};
use quoin_node::core::Record;
use quoin_protocol::{KeyPublic, combine};
use std::collections::{BTreeMap, BTreeSet};

/// The largest encoded payload that the workload makes.
const PAYLOAD_BYTES_MAX: usize = 4_096;

/// What the checkers are told of a run before it begins.
#[derive(Default)]
pub struct Facts {
    /// How many requests may be signed in all.
    pub cap: u64,
    /// The hashes of the charters that were issued, by number.
    pub charters: Vec<CharterHash>,
    /// The nodes in an attacker's hands.
    pub liars: BTreeSet<NodeIndex>,
    /// How many payments to the friend may be signed in all, where a sticky budget counts them.
    pub sticky: Option<u64>,
    /// How many malicious nodes sticky budgets and slots bear.
    pub f_tol: u8,
    /// The nodes of the charters, by number.
    pub quorums: [Quorum; 2],
}

/// The checkers' memory.
#[derive(Default)]
pub struct Checks {
    facts: Facts,
    keys: BTreeMap<KeyId, KeyPublic>,
    known: BTreeMap<(RequestId, PayloadHash), (What, u64)>,
    approved: BTreeSet<RequestId>,
    decided: BTreeMap<(NodeIndex, RequestId), PayloadHash>,
    /// The presignatures whose consumption is durable.
    consumed: BTreeMap<(NodeIndex, PresignatureId), RequestId>,
    answers: BTreeMap<(NodeIndex, PresignatureId), (Vec<u8>, Answer)>,
    partials: BTreeMap<(PresignatureId, [u8; 32]), BTreeSet<NodeIndex>>,
    signed: BTreeMap<RequestId, PayloadHash>,
    /// What each slot pays: to whom and how much.
    slots: BTreeMap<(KeyId, u64), (Payee, u64)>,
    /// The signatures of each slot.
    fillings: BTreeMap<(KeyId, u64), BTreeSet<PayloadHash>>,
    /// The payments that the sticky budget counts.
    friendly: BTreeSet<RequestId>,
    /// What this life of the gateway returned.
    returned: BTreeMap<RequestId, [u8; 64]>,
    journaled: BTreeMap<(NodeIndex, RequestId), Vec<u8>>,
    beats: BTreeMap<NodeIndex, Heartbeat>,
    charter_of: BTreeMap<(NodeIndex, u64), CharterHash>,
    /// What stops.
    pub stops: Stops,
    /// What was found.
    pub violations: Vec<Violation>,
}

impl Checks {
    /// Checkers of a run.
    #[must_use]
    pub fn new(facts: Facts) -> Self {
        Self {
            facts,
            ..Self::default()
        }
    }

    /// No charter of this run changes the nodes.
    pub fn keep_quorum(&mut self) {
        let [first, later] = &mut self.facts.quorums;
        later.clone_from(first);
    }

    /// A caller may ask this.
    pub fn expect(&mut self, work: &Work) {
        let what = (work.what.clone(), work.floor);
        self.known
            .insert((work.request_id, work.payload.hash()), what);
    }

    /// A key exists.
    pub fn add_key(&mut self, key: KeyPublic) {
        self.keys.insert(key.key, key);
    }

    /// Somebody has approved a request.
    pub fn approve(&mut self, request: RequestId) {
        self.approved.insert(request);
    }

    /// A charter was issued.
    pub fn issue(&mut self, charter: CharterHash) {
        self.facts.charters.push(charter);
    }

    /// The gateway has started anew: what it returned before, it may have forgotten together with
    /// the nodes' messages about it. The *nodes* never know two signatures of a request.
    pub fn gateway_restarted(&mut self) {
        self.returned.clear();
    }

    /// A record of a node is durable.
    pub fn on_durable(&mut self, node: NodeIndex, now: TimeMs, record: &Record) {
        let found = self.stops.on_durable(node, now, record, &self.approved);
        self.violations.extend(found);
        match record {
            Record::Decision(decision) => {
                let payload =
                    cbor::decode::<quoin_core::Payload>(&decision.payload.0, PAYLOAD_BYTES_MAX);
                let Ok(payload) = payload else { return };
                let id = decision.request_id;
                self.decided.insert((node, id), payload.hash());
                if let Some(presignature) = decision.presignature {
                    self.consumed.insert((node, presignature), id);
                }
            }
            Record::Consumed(consumed) => {
                if let Some(presignature) = consumed.presignature {
                    self.consumed
                        .insert((node, presignature), consumed.request_id);
                }
            }
            Record::Finished(finished) => {
                let read = cbor::decode::<FinishedSignature>(&finished.signature.0, 512);
                let Ok(read) = read else { return };
                let bytes = finished.signature.0.clone();
                let before = self
                    .journaled
                    .entry((node, read.request_id))
                    .or_insert_with(|| bytes.clone());
                if *before != bytes && self.is_honest(node) {
                    self.violations
                        .push(Violation::TwoSignatures(read.request_id));
                }
                self.exists(read.request_id, finished.payload_hash);
            }
            _ => {}
        }
    }

    fn is_honest(&self, node: NodeIndex) -> bool {
        !self.facts.liars.contains(&node)
    }

    /// An honest node sends a partial signature.
    pub fn on_answer(&mut self, now: TimeMs, answer: &Answer) {
        let node = answer.boot.node;
        let (Some(id), Some(set)) = (answer.presignature, &answer.set) else {
            return;
        };
        if self.consumed.get(&(node, id)) != Some(&answer.request_id) {
            let early = Violation::AnsweredBeforeDurable(node, id);
            return self.violations.push(early);
        }
        let Some(payload) = self.decided.get(&(node, answer.request_id)).copied() else {
            let early = Violation::AnsweredBeforeDurable(node, id);
            return self.violations.push(early);
        };
        let subject = (answer.request_id, payload);
        let digest = match self.known.get(&subject) {
            Some((What::Pay { to, digest, .. }, floor)) => {
                let (to, floor, digest) = (*to, *floor, digest.clone());
                self.check_policy(answer, to, floor);
                self.check_stops(now, answer, to);
                digest
            }
            _ => {
                let unknown = Violation::SignedAgainstPolicy(answer.request_id);
                return self.violations.push(unknown);
            }
        };
        self.check_reuse(node, id, digest, answer);
        let signers = self.partials.entry((id, answer.view)).or_default();
        signers.insert(node);
        let liars = &self.facts.liars;
        if set
            .iter()
            .all(|n| signers.contains(&n) || liars.contains(&n))
        {
            self.exists(answer.request_id, payload);
        }
    }

    /// Invariant 3: every honest node judges by the charter that it names.
    fn check_policy(&mut self, answer: &Answer, to: Payee, floor: u64) {
        let number = self
            .facts
            .charters
            .iter()
            .position(|hash| *hash == answer.charter_hash);
        let permitted = match (number, to) {
            (None, _) => false,
            (Some(number), _) if (number as u64) < floor => false,
            (Some(_), Payee::Friend | Payee::Oneself) => true,
            (Some(_), Payee::Vault) => self.approved.contains(&answer.request_id),
            (Some(number), Payee::Stranger) => number > 0,
        };
        if !permitted {
            self.violations
                .push(Violation::SignedAgainstPolicy(answer.request_id));
        }
    }

    /// Invariant 3: what stops.
    fn check_stops(&mut self, now: TimeMs, answer: &Answer, to: Payee) {
        let Some(key) = self.keys.get(&answer.key).map(|key| key.name.clone()) else {
            return;
        };
        let [first, later] = &self.facts.quorums;
        let quorum = match self.facts.charters.first() == Some(&answer.charter_hash) {
            true => first,
            false => later,
        };
        let leaving = Leaving {
            now,
            node: answer.boot.node,
            request: answer.request_id,
            to,
            key: &key,
            quorum,
        };
        let found = self.stops.on_answer(leaving);
        self.violations.extend(found);
    }

    /// Invariant 2.
    fn check_reuse(
        &mut self,
        node: NodeIndex,
        id: PresignatureId,
        digest: Vec<u8>,
        answer: &Answer,
    ) {
        let Some((before, first)) = self.answers.get(&(node, id)) else {
            self.answers.insert((node, id), (digest, answer.clone()));
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
        let Some(set) = &answer.set else { return };
        let share = quoin_protocol::model::extract(set, node, (before, &one), (&digest, &two));
        let public = self
            .keys
            .get(&answer.key)
            .and_then(|k| k.public_share(node));
        // A point of the model scheme is its own discrete logarithm.
        if share.is_some_and(|share| public == Some(share.as_slice())) {
            self.violations.push(Violation::ShareExtracted(node));
        }
    }

    /// Whoever holds the gateway has a signature for this payload now.
    fn exists(&mut self, request: RequestId, payload: PayloadHash) {
        let before = *self.signed.entry(request).or_insert(payload);
        let found = self.stops.on_signed(request);
        self.violations.extend(found);
        let exactly_once = self.facts.liars.len() <= usize::from(self.facts.f_tol);
        if before != payload && exactly_once {
            self.violations.push(Violation::TwoPayloads(request));
        }
        if let Some((
            What::Pay {
                slot, to, value, ..
            },
            _,
        )) = self.known.get(&(request, payload))
        {
            let (slot, effect) = (*slot, (*to, *value));
            self.fillings.entry(slot).or_default().insert(payload);
            // A cancel may stand beside what it cancels, and a payment beside itself with a higher fee.
            let cancels = effect.0 == Payee::Oneself;
            let filled = match cancels {
                true => effect,
                false => *self.slots.entry(slot).or_insert(effect),
            };
            if filled != effect && exactly_once {
                self.violations.push(Violation::SlotFilledTwice(slot.1));
            }
            self.check_sticky(request, effect.0, exactly_once);
        }
        let (signed, cap) = (self.signed.len() as u64, self.facts.cap);
        if signed > cap {
            self.violations.push(Violation::OverBudget(signed, cap));
        }
    }

    /// Invariant 4: a sticky budget holds against as many malicious nodes as the charter says.
    fn check_sticky(&mut self, request: RequestId, to: Payee, holds: bool) {
        if to != Payee::Friend {
            return;
        }
        self.friendly.insert(request);
        let signed = self.friendly.len() as u64;
        if let Some(cap) = self.facts.sticky.filter(|cap| signed > *cap && holds) {
            self.violations.push(Violation::OverBudget(signed, cap));
        }
    }

    /// How many signatures exist of slots that had one already.
    #[must_use]
    pub fn slots_reused(&self) -> u64 {
        let all = self.fillings.values().map(BTreeSet::len);
        all.map(|count| count.saturating_sub(1) as u64).sum()
    }

    /// In what the newest heartbeats of honest nodes differ.
    #[must_use]
    pub fn disagreement(&self, members: &BTreeSet<NodeIndex>, split: bool) -> Option<&'static str> {
        let honest = |n: &&NodeIndex| self.is_honest(**n);
        let beats = members
            .iter()
            .filter(honest)
            .filter_map(|n| self.beats.get(n));
        let charters: BTreeSet<_> = beats.clone().map(|b| b.charter_hash).collect();
        let freezes: BTreeSet<_> = beats.map(|b| b.freezes).collect();
        if freezes.len() > 1 {
            return Some("freezes");
        }
        (charters.len() > 1 && !split).then_some("charters")
    }

    /// A caller is told that its request is signed.
    pub fn on_signed(&mut self, work: &Work, finished: &FinishedSignature) {
        let id = work.request_id;
        let verified = match (&work.what, self.keys.get(&finished.key)) {
            (What::Pay { slot, digest, .. }, Some(key)) => {
                let digest = <[u8; 32]>::try_from(digest.as_slice());
                slot.0 == key.key
                    && digest.is_ok_and(|d| {
                        let digest = quoin_chain::Digest::Prehash(d);
                        combine::verify(key, &combine::ROOT_TWEAK, &digest, &finished.signature)
                            .is_ok()
                    })
            }
            _ => false,
        };
        if !verified || finished.request_id != id {
            self.violations.push(Violation::DoesNotVerify(id));
            return;
        }
        let before = *self.returned.entry(id).or_insert(finished.signature);
        if before != finished.signature {
            self.violations.push(Violation::TwoSignatures(id));
        }
        if self.signed.get(&id) != Some(&work.payload.hash()) && self.facts.liars.is_empty() {
            // A valid signature that the answers do not explain.
            self.violations.push(Violation::TwoPayloads(id));
        }
    }

    /// Invariant 7: an honest node beats; what it shows of itself only grows.
    pub fn on_beat(&mut self, bytes: &[u8]) {
        let Ok(signed) = Signed::<Heartbeat>::from_bytes(bytes) else {
            return;
        };
        let beat = signed.unverified().clone();
        let node = beat.boot.node;
        let place = |b: &Heartbeat| (b.boot.generation, b.counter);
        if let Some(before) = self.beats.get(&node) {
            let same = *before == beat;
            let behind = place(before) >= place(&beat)
                || beat.charter < before.charter
                || beat.head.seq < before.head.seq;
            if same {
                return;
            }
            if behind {
                self.violations.push(Violation::WentBack(node));
            }
        }
        let hash = self.charter_of.entry((node, beat.charter.0));
        if *hash.or_insert(beat.charter_hash) != beat.charter_hash {
            self.violations.push(Violation::WentBack(node));
        }
        let found = self.stops.on_charter(beat.charter, beat.charter_hash);
        self.violations.extend(found);
        self.beats.insert(node, beat);
    }

    /// What an honest node's newest heartbeat says of freezes.
    #[must_use]
    pub fn freezes_of(&self, node: NodeIndex) -> Option<[u8; 32]> {
        self.beats.get(&node).map(|b| b.freezes)
    }

    /// Which heartbeat of an honest node is the newest that it sent.
    #[must_use]
    pub fn newest_beat(&self, node: NodeIndex) -> Option<(Boot, u64)> {
        self.beats.get(&node).map(|b| (b.boot, b.counter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::{BEGIN, Cluster, Size};
    use crate::workload::{FEE, Payment, pay};
    use quoin_core::cbor::Version;
    use quoin_core::{BatchHash, Generation, HeadHash, Lane, SignerSet};
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    fn cluster() -> Cluster {
        Cluster::build(
            Size::fixed(3, 2),
            1,
            None,
            &mut ChaCha20Rng::seed_from_u64(1),
        )
        .unwrap()
    }

    fn checks(cluster: &Cluster, liars: &[u8]) -> Checks {
        let mut checks = Checks::new(Facts {
            cap: cluster.cap,
            charters: vec![cluster.genesis.unverified().hash()],
            liars: liars.iter().map(|n| node(*n)).collect(),
            ..Facts::default()
        });
        checks.add_key(cluster.key.clone());
        checks
    }

    fn node(n: u8) -> NodeIndex {
        NodeIndex::new(n).unwrap()
    }

    fn work(cluster: &Cluster, id: u8, to: Payee) -> Work {
        let payment = Payment {
            id: RequestId([id; 16]),
            nonce: 0,
            value: u64::from(id),
            to,
            floor: 0,
            fee: FEE,
        };
        pay(cluster, &cluster.key, payment, BEGIN.plus(1_000)).unwrap()
    }

    fn answer(cluster: &Cluster, from: u8, work: &Work, partial: u8) -> Answer {
        Answer {
            version: Version,
            cluster: cluster.cluster,
            boot: Boot {
                node: node(from),
                lane: Lane(0),
                generation: Generation(1),
            },
            request_id: work.request_id,
            key: cluster.key.key,
            set: SignerSet::from_ascending(vec![node(1), node(2)]),
            presignature: Some(PresignatureId {
                batch: BatchHash([partial; 32]),
                index: 0,
            }),
            view: [partial; 32],
            partial: vec![partial],
            charter_hash: cluster.genesis.unverified().hash(),
            rules: Vec::new(),
            head: quoin_api::statements::Head {
                seq: 1,
                hash: HeadHash([0; 32]),
            },
        }
    }

    /// What the node's journal says, then its answer.
    fn answered(checks: &mut Checks, work: &Work, answer: &Answer) {
        checks.expect(work);
        let at = (answer.boot.node, work.request_id);
        checks.decided.insert(at, work.payload.hash());
        let presignature = answer.presignature.unwrap();
        checks
            .consumed
            .insert((answer.boot.node, presignature), work.request_id);
        checks.on_answer(BEGIN, answer);
    }

    #[test]
    fn an_answer_before_its_record_is_found() {
        let cluster = cluster();
        let mut checks = checks(&cluster, &[]);
        let work = work(&cluster, 1, Payee::Friend);
        checks.on_answer(BEGIN, &answer(&cluster, 1, &work, 1));
        assert!(matches!(
            checks.violations[..],
            [Violation::AnsweredBeforeDurable(..)]
        ));
    }

    #[test]
    fn a_second_answer_is_found_and_the_same_one_again_is_none() {
        let cluster = cluster();
        let mut checks = checks(&cluster, &[]);
        let work = work(&cluster, 1, Payee::Friend);
        let mut one = answer(&cluster, 1, &work, 1);
        answered(&mut checks, &work, &one);
        answered(&mut checks, &work, &one);
        assert_eq!(checks.violations, []);
        one.partial = vec![9];
        answered(&mut checks, &work, &one);
        assert!(matches!(
            checks.violations[..],
            [Violation::PresignatureReused(..)]
        ));
    }

    #[test]
    fn what_no_charter_permits_is_found() {
        let cluster = cluster();
        let (stranger, vault) = (
            work(&cluster, 1, Payee::Stranger),
            work(&cluster, 2, Payee::Vault),
        );
        for bad in [stranger, vault] {
            let mut checks = checks(&cluster, &[]);
            answered(&mut checks, &bad, &answer(&cluster, 1, &bad, 1));
            let expected = Violation::SignedAgainstPolicy(bad.request_id);
            assert_eq!(checks.violations, [expected]);
        }
    }

    #[test]
    fn a_signature_exists_once_all_signers_have_answered_and_liars_always_have() {
        let cluster = cluster();
        let work = work(&cluster, 1, Payee::Friend);
        for (liars, exists) in [(&[][..], 0), (&[2][..], 1)] {
            let mut checks = checks(&cluster, liars);
            answered(&mut checks, &work, &answer(&cluster, 1, &work, 1));
            assert_eq!(checks.signed.len(), exists);
            answered(&mut checks, &work, &answer(&cluster, 2, &work, 1));
            assert_eq!(checks.signed.len(), 1);
            assert_eq!(checks.violations, []);
        }
    }

    #[test]
    fn two_payments_in_a_slot_and_too_many_are_found() {
        let cluster = cluster();
        let mut checks = checks(&cluster, &[]);
        for id in [1, 2] {
            let work = work(&cluster, id, Payee::Friend);
            for from in [1, 2] {
                answered(&mut checks, &work, &answer(&cluster, from, &work, id));
            }
        }
        let expected = [Violation::SlotFilledTwice(0), Violation::OverBudget(2, 1)];
        assert_eq!(checks.violations, expected);
    }

    #[test]
    fn a_signature_that_does_not_verify_is_found() {
        let cluster = cluster();
        let mut checks = checks(&cluster, &[]);
        let work = work(&cluster, 1, Payee::Friend);
        let finished = FinishedSignature {
            version: Version,
            request_id: work.request_id,
            key: cluster.key.key,
            scheme: quoin_core::Scheme::Model,
            signature: [9; 64],
            recovery_id: None,
        };
        checks.on_signed(&work, &finished);
        let expected = [Violation::DoesNotVerify(work.request_id)];
        assert_eq!(checks.violations, expected);
    }
}
