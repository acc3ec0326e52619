//! What must hold of the epochs of keys and of strikes: invariants 7, 8 and 9 of the design.
//!
//! The checkers see the disks as they are after every sync and after every crash, so what they say
//! of a moment holds for a cluster that loses its power at that moment. A share counts as usable
//! when it is sealed on its holder's disk and is the one that the certified record names: in the
//! model scheme a point is its own discrete logarithm, so this is seen and not assumed.

use crate::violation::Violation;
use quoin_api::statements::Answer;
use quoin_api::{Frame, SessionId};
use quoin_core::{
    Certificate, KeyId, NodeIndex, PresignatureId, SecretBytes, ShareEpoch, TimeMs, cbor,
};
use quoin_node::core::Record;
use quoin_protocol::{BatchHeader, Class, KeyPublic};
use std::collections::{BTreeMap, BTreeSet};

/// For how long presignatures of an old epoch may be honoured (design, section 6), and how much
/// later the checkers find fault with it: no clock is further off, and a sync takes its time.
const OVERLAP_MS: u64 = 60_000;
const SLACK_MS: u64 = 15_000;
/// The largest encoded batch header.
const HEADER_BYTES_MAX: usize = 4_096;

/// An epoch of a key.
type Of = (KeyId, ShareEpoch);

/// The checkers' memory of epochs and strikes.
#[derive(Default)]
pub struct Epochs {
    liars: BTreeSet<NodeIndex>,
    /// Whether the charter names officers who keep backups.
    with_backups: bool,
    certified: BTreeMap<Of, KeyPublic>,
    /// On which nodes the certificate of an epoch is durable, and since when.
    active: BTreeMap<Of, BTreeMap<NodeIndex, TimeMs>>,
    newest: BTreeMap<(NodeIndex, KeyId), ShareEpoch>,
    /// The shares on every disk.
    sealed: BTreeMap<NodeIndex, BTreeMap<Of, Vec<Vec<u8>>>>,
    /// The backups that were written, by the record's hash.
    backups: BTreeSet<(NodeIndex, [u8; 32])>,
    lent: BTreeMap<PresignatureId, Of>,
    /// Faults that a node has written and not synced.
    unsynced: BTreeSet<(NodeIndex, SessionId)>,
    /// Which peers a node has struck, durably or not.
    struck: BTreeSet<(NodeIndex, NodeIndex)>,
}

impl Epochs {
    /// Checkers of a run.
    #[must_use]
    pub fn new(liars: BTreeSet<NodeIndex>, with_backups: bool) -> Self {
        Self {
            liars,
            with_backups,
            ..Self::default()
        }
    }

    /// The key that all disks hold at the beginning, dealt before there was anything to check.
    pub fn begin(&mut self, key: &KeyPublic, now: TimeMs) {
        let of = (key.key, key.epoch);
        let holders = key.public_shares.iter().map(|s| s.node);
        self.active.insert(of, holders.map(|n| (n, now)).collect());
        self.certified.insert(of, key.clone());
    }

    /// A backup is written.
    pub fn backed_up(&mut self, node: NodeIndex, record: [u8; 32]) {
        self.backups.insert((node, record));
    }

    /// A record of a node is durable.
    pub fn on_durable(&mut self, node: NodeIndex, now: TimeMs, record: &Record) -> Vec<Violation> {
        match record {
            Record::KeyActive { certificate, .. } => self.in_use(node, Some(now), &certificate.0),
            Record::KeyLearned(certificate) => self.in_use(node, None, &certificate.0),
            Record::Fault(fault) => {
                self.unsynced.remove(&(node, fault.session));
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    /// An epoch is in use on a node; since when it has its certificate as a holder.
    fn in_use(&mut self, node: NodeIndex, held: Option<TimeMs>, bytes: &[u8]) -> Vec<Violation> {
        let Ok(certificate) = Certificate::<KeyPublic>::from_bytes(bytes) else {
            return Vec::new();
        };
        let public = certificate.unverified();
        let of = (public.key, public.epoch);
        let mut found = Vec::new();
        let known = self.certified.entry(of).or_insert_with(|| public.clone());
        if known.shares_hash() != public.shares_hash() {
            found.push(Violation::CertificateFork(public.key, public.epoch));
        }
        let newest = self.newest.insert((node, public.key), public.epoch);
        if newest.is_some_and(|n| n >= public.epoch) {
            found.push(Violation::EpochWentBack(node, public.epoch));
        }
        if let Some(now) = held {
            self.active.entry(of).or_default().insert(node, now);
            let hash = public.shares_hash();
            let lacks = |n: &NodeIndex| !self.backups.contains(&(*n, hash));
            let mut holders = public.public_shares.iter().map(|s| s.node);
            if self.with_backups && holders.any(|n| lacks(&n) && !self.liars.contains(&n)) {
                found.push(Violation::ActiveWithoutBackup(node, public.epoch));
            }
        }
        found
    }

    /// What is sealed on a node's disk now.
    pub fn on_disk(
        &mut self,
        node: NodeIndex,
        sealed: &BTreeMap<String, SecretBytes<32>>,
    ) -> Vec<Violation> {
        let epochs = self.certified.keys().copied().collect::<BTreeSet<_>>();
        let read = |(label, secret): (&String, &SecretBytes<32>)| {
            let mut parts = label.split('/').skip(1);
            let key = parts.next()?.parse::<KeyId>().ok()?;
            let epoch = ShareEpoch(parts.next()?.parse().ok()?);
            Some(((key, epoch), secret.expose().to_vec()))
        };
        // A node may keep the share of a record that was given up beside one of the same number.
        let mut now: BTreeMap<Of, Vec<Vec<u8>>> = BTreeMap::new();
        for (of, share) in sealed.iter().filter_map(read) {
            now.entry(of).or_default().push(share);
        }
        let before = self.sealed.insert(node, now.clone()).unwrap_or_default();
        let gone = before.keys().filter(|of| !now.contains_key(of));
        let mut found: Vec<Violation> = gone
            .filter(|of| epochs.contains(of) && !self.may_erase(**of))
            .map(|of| Violation::ErasedTooEarly(node, of.1))
            .collect();
        let keys: BTreeSet<KeyId> = epochs.iter().map(|(key, _)| *key).collect();
        let lost = keys.into_iter().filter(|key| !self.is_usable(*key));
        found.extend(lost.map(Violation::NoUsableEpoch));
        found
    }

    /// Whether every holder of some later epoch has its certificate durably. A malicious one may
    /// have said so without.
    fn may_erase(&self, (key, epoch): Of) -> bool {
        let later = self.certified.iter();
        let mut later = later.filter(|((k, e), _)| *k == key && *e > epoch);
        later.any(|(of, public)| {
            let active = self.active.get(of);
            let has = |n: &NodeIndex| active.is_some_and(|a| a.contains_key(n));
            let mut holders = public.public_shares.iter().map(|s| s.node);
            holders.all(|n| has(&n) || self.liars.contains(&n))
        })
    }

    /// Whether some certified epoch of the key has as many shares on disks as its threshold. Before
    /// all disks are known nothing is said.
    fn is_usable(&self, key: KeyId) -> bool {
        let mut epochs = self.certified.iter().filter(|((k, _), _)| *k == key);
        epochs.any(|(of, public)| {
            let shares = public.public_shares.iter();
            let there = shares.filter(|s| match self.sealed.get(&s.node) {
                Some(disk) => disk.get(of).is_some_and(|all| all.contains(&s.point)),
                None => true,
            });
            there.count() >= usize::from(public.threshold)
        })
    }

    /// A node writes a record, which is not durable yet.
    pub fn on_written(&mut self, node: NodeIndex, record: &Record) -> Option<Violation> {
        let Record::Fault(fault) = record else {
            return None;
        };
        if self.liars.contains(&node) {
            return None;
        }
        self.unsynced.insert((node, fault.session));
        if fault.fault.class() == Class::SecretDependent {
            self.struck.insert((node, fault.peer));
        }
        let honest = !self.liars.contains(&fault.peer);
        honest.then_some(Violation::HonestBlamed(node, fault.peer))
    }

    /// A node has died, and what it had not synced is forgotten: it never happened.
    pub fn on_crash(&mut self, node: NodeIndex) {
        self.unsynced.retain(|(n, _)| *n != node);
    }

    /// An honest node sends a frame.
    pub fn on_sent(&mut self, node: NodeIndex, frame: &Frame) -> Option<Violation> {
        match frame {
            Frame::LeaseGrant(grant) => {
                let of = (grant.key, grant.epoch);
                self.lent.extend(grant.ids.iter().map(|id| (*id, of)));
                None
            }
            Frame::SessionAborted(session) => {
                let early = self.unsynced.contains(&(node, *session));
                early.then_some(Violation::AbortedBeforeStrike(node))
            }
            Frame::Session(session) => {
                let header = session.header.as_ref()?;
                let header = cbor::decode::<BatchHeader>(&header.0, HEADER_BYTES_MAX).ok()?;
                let struck = |n: &NodeIndex| self.struck.contains(&(node, *n));
                let with = header.set.iter().find(struck)?;
                Some(Violation::WorkedWithStruck(node, with))
            }
            _ => None,
        }
    }

    /// An honest node answers with a presignature.
    pub fn on_answer(&mut self, now: TimeMs, answer: &Answer) -> Option<Violation> {
        let node = answer.boot.node;
        let (key, epoch) = *self.lent.get(&answer.presignature?)?;
        let newer = self.active.iter();
        let mut newer = newer.filter(|((k, e), _)| *k == key && *e > epoch);
        let over = newer.any(|(_, on)| {
            let since = on.get(&node);
            since.is_some_and(|at| now.since(*at) > OVERLAP_MS + SLACK_MS)
        });
        over.then_some(Violation::ServedOldEpoch(node, epoch))
    }

    /// How many handovers came to a certificate.
    #[must_use]
    pub fn handed_over(&self) -> u64 {
        let later = self
            .certified
            .keys()
            .filter(|(_, e)| *e > ShareEpoch::default());
        later.count() as u64
    }

    /// What of a key is not as it must be long after the faults have stopped: every member has the
    /// newest epoch in use, and its holders have no other share.
    pub fn unsettled(&self, key: KeyId, members: &BTreeSet<NodeIndex>) -> Vec<Violation> {
        let epochs = self.certified.iter().filter(|((k, _), _)| *k == key);
        let Some(((_, newest), public)) = epochs.max_by_key(|((_, e), _)| *e) else {
            return Vec::new();
        };
        let holders: BTreeSet<NodeIndex> = public.public_shares.iter().map(|s| s.node).collect();
        let mut found = Vec::new();
        for node in members {
            let has = self.newest.get(&(*node, key)).copied();
            let has = has.unwrap_or_default();
            if has != *newest {
                let why = format!("node {node} has epoch {} of {key}, not {}", has.0, newest.0);
                found.push(Violation::NoRecovery(why));
            }
            let sealed = self.sealed.get(node);
            let of_key = sealed.into_iter().flat_map(|s| s.keys());
            let of_key = of_key.filter(|(k, _)| *k == key).map(|(_, e)| *e);
            let shares: Vec<ShareEpoch> = of_key.collect();
            if sealed.is_some() && holders.contains(node) && shares != [*newest] {
                let why = format!("node {node} has shares of {shares:?}, not of {}", newest.0);
                found.push(Violation::NoRecovery(why));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::{BEGIN, Cluster, Size};
    use quoin_api::frame::{LeaseGrant, Opaque};
    use quoin_core::cbor::Version;
    use quoin_core::{
        BatchHash, BatchId, Boot, CharterHash, Generation, HeadHash, Lane, RequestId, SignerSet,
    };
    use quoin_node::core::FaultRecord;
    use quoin_protocol::Fault;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    fn cluster() -> Cluster {
        let size = Size::fixed(3, 2);
        Cluster::build(size, 1, None, &mut ChaCha20Rng::seed_from_u64(1)).unwrap()
    }

    fn node(n: u8) -> NodeIndex {
        NodeIndex::new(n).unwrap()
    }

    fn epochs(cluster: &Cluster) -> Epochs {
        let mut epochs = Epochs::new(BTreeSet::new(), false);
        epochs.begin(&cluster.key, BEGIN);
        for (n, disk) in &cluster.disks {
            assert_eq!(epochs.on_disk(*n, disk.sealed()), []);
        }
        epochs
    }

    /// The record that a node writes when the epoch after the dealt one is in use.
    fn next(cluster: &Cluster) -> Record {
        let mut public = cluster.key.clone();
        public.previous = Some(public.shares_hash());
        public.epoch = ShareEpoch(1);
        Record::KeyActive {
            key: public.key,
            certificate: Opaque(Certificate::unsigned(public).to_bytes()),
        }
    }

    #[test]
    fn shares_are_erased_only_after_all_hold_the_next_epoch() {
        let cluster = cluster();
        let mut epochs = epochs(&cluster);
        let record = next(&cluster);
        for n in [1, 2] {
            assert_eq!(epochs.on_durable(node(n), BEGIN, &record), []);
        }
        let found = epochs.on_disk(node(1), &BTreeMap::new());
        assert_eq!(found, [Violation::ErasedTooEarly(node(1), ShareEpoch(0))]);
        assert_eq!(epochs.on_durable(node(3), BEGIN, &record), []);
        let lost = Violation::NoUsableEpoch(cluster.key.key);
        assert_eq!(epochs.on_disk(node(2), &BTreeMap::new()), [lost]);
    }

    #[test]
    fn a_share_that_is_not_the_recorded_one_is_not_usable() {
        let cluster = cluster();
        let mut epochs = epochs(&cluster);
        let other = |n: u8| {
            let disk = cluster.disks[&node(n)].sealed();
            let wrong = |label: &String| (label.clone(), SecretBytes::take(&mut [9; 32]));
            disk.keys().map(wrong).collect::<BTreeMap<_, _>>()
        };
        assert_eq!(epochs.on_disk(node(1), &other(1)), []);
        let lost = Violation::NoUsableEpoch(cluster.key.key);
        assert_eq!(epochs.on_disk(node(2), &other(2)), [lost]);
    }

    #[test]
    fn epochs_only_go_forward_and_have_one_record() {
        let cluster = cluster();
        let mut epochs = epochs(&cluster);
        let record = next(&cluster);
        assert_eq!(epochs.on_durable(node(1), BEGIN, &record), []);
        let back = Violation::EpochWentBack(node(1), ShareEpoch(1));
        assert_eq!(epochs.on_durable(node(1), BEGIN, &record), [back]);
        let mut other = cluster.key.clone();
        other.epoch = ShareEpoch(1);
        let learned = Record::KeyLearned(Opaque(Certificate::unsigned(other).to_bytes()));
        let fork = Violation::CertificateFork(cluster.key.key, ShareEpoch(1));
        assert_eq!(epochs.on_durable(node(2), BEGIN, &learned), [fork]);
    }

    #[test]
    fn an_old_epoch_serves_during_the_overlap_only() {
        let cluster = cluster();
        let mut epochs = epochs(&cluster);
        epochs.on_durable(node(1), BEGIN, &next(&cluster));
        let id = PresignatureId {
            batch: BatchHash([1; 32]),
            index: 0,
        };
        let set = SignerSet::from_ascending(vec![node(1), node(2)]).unwrap();
        let grant = LeaseGrant {
            key: cluster.key.key,
            set: set.clone(),
            ids: vec![id],
            epoch: ShareEpoch(0),
        };
        assert_eq!(epochs.on_sent(node(1), &Frame::LeaseGrant(grant)), None);
        let answer = Answer {
            version: Version,
            cluster: cluster.cluster,
            boot: boot(1),
            request_id: RequestId([1; 16]),
            key: cluster.key.key,
            set: Some(set),
            presignature: Some(id),
            view: [1; 32],
            partial: vec![1],
            charter_hash: CharterHash([1; 32]),
            rules: Vec::new(),
            head: quoin_api::statements::Head {
                seq: 1,
                hash: HeadHash([0; 32]),
            },
        };
        let end = BEGIN.plus(OVERLAP_MS + SLACK_MS);
        assert_eq!(epochs.on_answer(end, &answer), None);
        let late = Violation::ServedOldEpoch(node(1), ShareEpoch(0));
        assert_eq!(epochs.on_answer(end.plus(1), &answer), Some(late));
    }

    fn boot(n: u8) -> Boot {
        Boot {
            node: node(n),
            lane: Lane(0),
            generation: Generation(1),
        }
    }

    #[test]
    fn an_abort_before_its_fault_is_durable_is_found_and_so_is_blame_of_the_honest() {
        let session = SessionId::Batch(BatchId {
            proposer: boot(2),
            counter: 1,
        });
        let fault = Record::Fault(FaultRecord {
            peer: node(2),
            fault: Fault::TreeCheck,
            session,
            at: BEGIN,
        });
        let abort = Frame::SessionAborted(session);
        let mut epochs = Epochs::new(BTreeSet::from([node(2)]), false);
        assert_eq!(epochs.on_written(node(1), &fault), None);
        let early = Violation::AbortedBeforeStrike(node(1));
        assert_eq!(epochs.on_sent(node(1), &abort), Some(early));
        epochs.on_durable(node(1), BEGIN, &fault);
        assert_eq!(epochs.on_sent(node(1), &abort), None);
        let mut epochs = Epochs::new(BTreeSet::new(), false);
        let blamed = Violation::HonestBlamed(node(1), node(2));
        assert_eq!(epochs.on_written(node(1), &fault), Some(blamed));
    }
}
