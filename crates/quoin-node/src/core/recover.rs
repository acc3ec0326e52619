//! Recovery: a node's state from its journal, and nothing else.
//!
//! What lives only in memory is gone, on purpose: pools, unfinished batches and ceremonies. The
//! generation grows by one, so that peers drop what they shared with the former boot.

use super::actions::Actions;
use super::backups::Backups;
use super::batches::Batches;
use super::ceremonies::Ceremonies;
use super::charters::{own_index, roster_of};
use super::facts::Feeds;
use super::finished;
use super::freezes::FreezeBook;
use super::handover::Handovers;
use super::heartbeat::Peers;
use super::keys::{Epoch, KeyEntry, Pending, share_label};
use super::notices::NoticeBook;
use super::outstanding::OutstandingBook;
use super::pool::Pools;
use super::proposals::Proposals;
use super::reconcile::Reconciled;
use super::record::{BootRecord, Decision, Finished, KeyRecord};
use super::requests::RequestState;
use super::retention::Retention;
use super::rotation::Rotation;
use super::sets::Sets;
use super::strikes::Strikes;
use super::{Alarm, COVERED_MARK, Effect, JobId, Node, NodeConfig, Record, Ticket};
use quoin_api::epochs::EpochHeld;
use quoin_api::frame::Opaque;
use quoin_api::statements::{Denial, Head, Heartbeat};
use quoin_core::{
    Boot, Certificate, Generation, KeyId, KeyState, Lane, Payload, SecretBytes, ShareEpoch, Signed,
    SigningIdentity, Stamp, Statement, TimeMs, cbor,
};
use quoin_policy::{
    Charter, Constitution, FactStore, FreezeSet, Ledger, Notices, Reservation, verify_genesis,
    verify_successor,
};
use quoin_protocol::combine::{KeyPublic, verify_certificate};
use quoin_protocol::{KeyShare, Roster};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a node is rebuilt from.
pub struct Recovered {
    /// What the node is told about itself.
    pub config: NodeConfig,
    /// Its identity.
    pub identity: Arc<SigningIdentity>,
    /// The genesis, pinned at `init`.
    pub genesis: Certificate<Charter>,
    /// Charters after the genesis that the operator hands over, in order. Those that the journal
    /// lacks are verified and journaled: this is how a node starts that the genesis does not name.
    pub charters: Vec<Certificate<Charter>>,
    /// The lane that starts.
    pub lane: Lane,
    /// The journal's records with their times, oldest first.
    pub records: Vec<(TimeMs, Record)>,
    /// The journal's head.
    pub head: Head,
    /// The shares that were sealed, by label.
    pub shares: BTreeMap<String, SecretBytes<32>>,
}

/// Why a node cannot start.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The genesis or a journaled charter is not valid.
    #[error("charter `{number}` is not valid: {reason}")]
    Charter {
        /// Its number.
        number: u64,
        /// Why.
        reason: String,
    },
    /// No charter names a node with this identity.
    #[error(
        "no charter that this node knows names a node with its identity; a node that is new in a \
         later charter needs the chain up to it (`quoin charter show --chain`)"
    )]
    NotNamed,
    /// A charter names this identity at another index than before.
    #[error("charter `{number}` names this identity at another index than an earlier one")]
    Moved {
        /// Its number.
        number: u64,
    },
    /// A journaled key has no sealed share, or another one than its record says.
    #[error("the share of key `{0}` is missing or damaged")]
    Share(KeyId),
    /// A record that was written cannot be read back.
    #[error("journal record {0} cannot be understood: {1}")]
    Record(usize, &'static str),
}

impl Node {
    /// Rebuilds a node. The effects hold its boot record, which must be durable before anything
    /// else happens.
    ///
    /// # Errors
    /// When the genesis, the journal or a share is not valid; the node must not start then.
    pub fn recover(from: Recovered, effects: &mut Vec<Effect>) -> Result<Self, RecoverError> {
        let (constitution, cluster) =
            verify_genesis(&from.genesis).map_err(|e| RecoverError::Charter {
                number: 0,
                reason: e.to_string(),
            })?;
        let me = own_index(&from)?;
        let bare = Roster {
            me,
            identity: Arc::clone(&from.identity),
            nodes: BTreeMap::new(),
        };
        let roster = Arc::new(roster_of(&constitution, &bare));
        let mut node = Self {
            config: from.config,
            identity: from.identity,
            boot: Boot {
                node: me,
                lane: from.lane,
                generation: Generation(0),
            },
            cluster,
            charter: from.genesis,
            charters: Vec::new(),
            counted: BTreeMap::new(),
            rosters: BTreeMap::from([(constitution.number(), Arc::clone(&roster))]),
            roster,
            ledger: Ledger::new(),
            freezes: FreezeSet::default(),
            freeze_book: FreezeBook::default(),
            facts: FactStore::default(),
            notices: Notices::default(),
            notice_book: NoticeBook::default(),
            proposals: Proposals::default(),
            feeds: Feeds::default(),
            explained: TimeMs(0),
            courier_answers: TimeMs(0),
            retention: Retention::default(),
            reconciled: Reconciled::default(),
            sets: Sets::default(),
            outstanding: OutstandingBook::default(),
            constitution,
            peers: Peers::default(),
            keys: BTreeMap::new(),
            pools: Pools::default(),
            batches: Batches::default(),
            ceremonies: Ceremonies::default(),
            handovers: Handovers::default(),
            rotation: Rotation::default(),
            requests: BTreeMap::new(),
            actions: Actions::default(),
            backups: Backups::default(),
            strikes: Strikes::default(),
            waiting: BTreeMap::new(),
            last_ticket: Ticket(0),
            last_durable: Ticket(0),
            last_job: JobId(0),
            head: from.head,
            last_time: TimeMs(0),
            last_sweep: TimeMs(0),
            storage_failed: false,
            charter_forked: false,
        };
        node.freeze_book.learn(node.constitution.charter());
        node.freezes_changed();
        node.replay_all(from.records, &from.shares)?;
        node.begin(from.charters, effects)?;
        Ok(node)
    }

    /// Starts the next generation, once the journal is replayed.
    fn begin(
        &mut self,
        charters: Vec<Certificate<Charter>>,
        effects: &mut Vec<Effect>,
    ) -> Result<(), RecoverError> {
        self.strikes.settle_open_tries();
        self.restore_prepared();
        self.boot.generation = Generation(self.boot.generation.0.saturating_add(1));
        self.last_ticket = Ticket(1);
        let boot = BootRecord {
            generation: self.boot.generation,
            build: self.config.build.clone(),
        };
        effects.push(Effect::Persist(
            self.last_ticket,
            Record::Boot(boot),
            Vec::new(),
        ));
        self.take_over(charters, effects)?;
        if !self.is_member() {
            let left = Alarm::LeftCharter(self.constitution.number());
            effects.push(Effect::Alarm(left));
        }
        Ok(())
    }

    fn replay_all(
        &mut self,
        records: Vec<(TimeMs, Record)>,
        shares: &BTreeMap<String, SecretBytes<32>>,
    ) -> Result<(), RecoverError> {
        let mut stored = BTreeSet::new();
        for (place, (at, record)) in records.into_iter().enumerate() {
            self.last_time = self.last_time.max(at);
            self.retention.saw(at);
            if let Record::KeyPending(key) | Record::KeyRestored(key) = &record {
                let public = cbor::decode::<KeyPublic>(&key.public.0, KeyPublic::BYTES_MAX);
                let hash = public.map(|p| p.shares_hash()).unwrap_or_default();
                stored.insert((key.key, hash));
            }
            self.replay(place, record, shares)?;
        }
        self.find_shares(&stored)
    }

    fn replay(
        &mut self,
        place: usize,
        record: Record,
        shares: &BTreeMap<String, SecretBytes<32>>,
    ) -> Result<(), RecoverError> {
        let bad = |what| RecoverError::Record(place, what);
        match record {
            Record::Boot(boot) => {
                // At its place in the journal, so that a later pardon covers what came before it.
                self.strikes.settle_open_tries();
                self.boot.generation = self.boot.generation.max(boot.generation);
            }
            Record::Charter(bytes) => self.replay_charter(&bytes.0)?,
            Record::FirstSeen(seen) => {
                let state = self.requests.entry(seen.request_id).or_default();
                state.binding = Some(seen.binding);
                state.not_after = seen.not_after;
                state.first_seen = Some(seen.at);
            }
            Record::Decision(decision) => self.replay_decision(&decision).ok_or(bad("decision"))?,
            Record::Consumed(consumed) => {
                let reservation =
                    read_reservation(&consumed.reservation.0).ok_or(bad("consumption"))?;
                self.ledger.restore(&reservation);
            }
            Record::Denied(denied) => {
                // The words of an old one are erased: its stamp has lapsed long ago, so nobody is
                // answered with them.
                let read = Signed::<Denial>::from_bytes(&denied.denial.0);
                if read.is_err() && !is_erased(&denied.denial) {
                    return Err(bad("denial"));
                }
                let me = self.me();
                let state = self.rebind(&denied.stamp.0).ok_or(bad("denial"))?;
                state.tombstones.insert(me);
                state.denial = read.is_ok().then_some(denied.denial.0);
            }
            // Of a request that lapsed long ago: what it freed has a record of its own.
            Record::Tombstone(bytes) if is_erased(&bytes) => {}
            Record::Tombstone(bytes) => {
                let denial =
                    Signed::<Denial>::from_bytes(&bytes.0).map_err(|_| bad("tombstone"))?;
                let statement = denial.unverified();
                let state = self.requests.entry(statement.request_id).or_default();
                state.tombstones.insert(statement.boot.node);
            }
            Record::Released(request_id) => {
                self.requests.entry(request_id).or_default().released = true;
                self.ledger.release(request_id);
            }
            Record::Finished(finished) => {
                self.replay_finished(*finished).ok_or(bad("finished"))?;
            }
            Record::Fault(fault) => self.strikes.restore_fault(&fault),
            Record::TryOpen(record) => self.strikes.restore_open_try(&record),
            Record::TryClosed(session) => self.strikes.restore_closed_try(session),
            Record::Fenced(node) => self.peers.restore_fence(node),
            Record::CharterFork(_) => self.charter_forked = true,
            Record::Witness(bytes) => {
                let beat = Signed::<Heartbeat>::from_bytes(&bytes.0).map_err(|_| bad("witness"))?;
                self.peers.restore_witness(beat.unverified());
            }
            of_keys => self.replay_of_keys(place, of_keys, shares)?,
        }
        Ok(())
    }

    /// Replays what concerns the life of a key, or of a node.
    fn replay_of_keys(
        &mut self,
        place: usize,
        record: Record,
        shares: &BTreeMap<String, SecretBytes<32>>,
    ) -> Result<(), RecoverError> {
        let bad = |what| RecoverError::Record(place, what);
        match record {
            Record::KeyPending(key) => self.replay_key(&key, shares)?,
            Record::KeyRestored(key) => self.replay_restored(&key, shares)?,
            Record::KeyActive { key, certificate } => {
                self.replay_activation(key, &certificate.0)
                    .ok_or(bad("key activation"))?;
            }
            Record::EpochHeld(bytes) => {
                // Of an epoch that has a successor by now, it says nothing any more.
                let _ = self.replay_held(bytes.0);
            }
            Record::EpochErased { key, epoch } => {
                self.replay_erased(key, epoch).ok_or(bad("erasure"))?;
            }
            Record::KeyLearned(bytes) => {
                self.replay_learned(&bytes.0).ok_or(bad("learned key"))?;
            }
            Record::BackupWritten {
                key, epoch, record, ..
            } => {
                self.backups.restore(key, record);
                self.actions.backup_written(key, epoch);
            }
            Record::AbandonedKept(bytes) => {
                self.restore_kept(bytes.0).ok_or(bad("abandonment"))?;
            }
            Record::Abandoned(bytes) => {
                self.restore_abandoned(bytes.0).ok_or(bad("abandonment"))?;
            }
            Record::Proposal(record) => {
                self.replay_proposal(&record).ok_or(bad("proposal"))?;
            }
            Record::CharterApproval(record) => {
                self.replay_charter_approval(&record)
                    .ok_or(bad("approval"))?;
            }
            Record::ProposalDropped(hash) => self.replay_dropped(&hash),
            Record::FactSeen { feed, seq } => self.feeds.restore(feed, seq),
            Record::KeyState(record) => self.replay_key_state(&record),
            Record::PayloadsErased { before } => self.retention.erased(before),
            Record::WatchedFrom(first) => self.reconciled.restore_from(first),
            Record::ForeignSpend(nonce) => self.reconciled.restore_told(nonce),
            Record::NodeChanged(record) => self.replay_node_change(&record),
            Record::Freeze(bytes) => self.replay_freeze(bytes.0).ok_or(bad("freeze"))?,
            Record::Unfrozen(record) => self.replay_unfrozen(&record),
            Record::Veto(record) => self.replay_veto(record).ok_or(bad("veto"))?,
            Record::Receipt(record) => self.replay_receipt(record).ok_or(bad("receipt"))?,
            Record::SetMoved(state) => self.sets.restore(state),
            Record::SetAdopted(adoption) => self.adopt_set(&adoption),
            Record::ChangeStated { request, statement } => {
                self.replay_statement(request, statement.0);
            }
            _ => return Err(bad("record")),
        }
        Ok(())
    }

    fn replay_charter(&mut self, bytes: &[u8]) -> Result<(), RecoverError> {
        let number = self.constitution.number().0.saturating_add(1);
        let invalid = |reason: String| RecoverError::Charter { number, reason };
        let certificate =
            Certificate::<Charter>::from_bytes(bytes).map_err(|e| invalid(e.to_string()))?;
        let next: Constitution = verify_successor(&self.constitution, &certificate, self.last_time)
            .map_err(|e| invalid(e.to_string()))?;
        self.adopt_charter(next, certificate);
        Ok(())
    }

    fn replay_decision(&mut self, decision: &Decision) -> Option<()> {
        let reservation = read_reservation(&decision.reservation.0)?;
        self.ledger.restore(&reservation);
        self.relist_decision(decision, &reservation);
        // A payload that can no longer be read is none of those that this replays: they are kept in
        // clear, and what may have been signed stays spent.
        let payload = Self::read_payload(&decision.payload.0);
        let state = self.rebind(&decision.stamp.0)?;
        state.decided = true;
        state.answered = !matches!(payload, Some(Payload::CreateKey(_)));
        let not_after = state.not_after;
        self.replay_permit(decision, not_after);
        Some(())
    }

    /// What a journaled stamp's request id stands for.
    fn rebind(&mut self, stamp: &[u8]) -> Option<&mut RequestState> {
        let signed = Signed::<Stamp>::from_bytes(stamp).ok()?;
        Some(self.bind(signed.unverified()))
    }

    fn replay_finished(&mut self, record: Finished) -> Option<()> {
        if let Some(bytes) = &record.reservation {
            // It was counted when it was written, so it does not conflict now.
            let _ = self.ledger.finished(&read_reservation(&bytes.0)?);
        }
        let signed = Signed::<Stamp>::from_bytes(&record.stamp.0).ok()?;
        let stamp = signed.unverified();
        let signature = finished::read_signature(&record.signature.0)?;
        let content = (
            signature.key,
            stamp.account.path.clone(),
            record.payload_hash,
        );
        self.counted.insert(content, stamp.not_after);
        self.relist_finished(&record, stamp);
        let state = self.bind(stamp);
        state.finished = Some(record.signature.0);
        Some(())
    }

    /// An epoch whose share is stored; whether all have theirs is for its activation to show. The
    /// share itself may be gone by now, erased or replaced: [`Self::find_shares`] sees to that.
    fn replay_key(
        &mut self,
        record: &KeyRecord,
        shares: &BTreeMap<String, SecretBytes<32>>,
    ) -> Result<(), RecoverError> {
        let damaged = || RecoverError::Share(record.key);
        let public: KeyPublic =
            cbor::decode(&record.public.0, KeyPublic::BYTES_MAX).map_err(|_| damaged())?;
        let ours = public.key == record.key
            && public.cluster == self.cluster
            && record.boot.node == self.boot.node;
        // A second record of one epoch would let this node endorse two, were it not allowed at this
        // place of the journal.
        if !ours || !self.may_store(&public) {
            return Err(damaged());
        }
        let label = share_label(&public);
        let share = shares.get(&label).map(|secret| KeyShare {
            public: public.clone(),
            node: self.boot.node,
            secret: secret.duplicate_secret(),
        });
        let pending = Pending::new(public, share.filter(KeyShare::matches_public));
        match self.keys.get_mut(&record.key) {
            Some(entry) => {
                entry.keep_next();
                entry.next = Some(pending);
            }
            None => {
                self.keys.insert(record.key, KeyEntry::born(pending));
            }
        }
        Ok(())
    }

    /// An epoch that came into use: its certificate is that of the stored record, by all nodes of
    /// the record's charter.
    fn replay_activation(&mut self, key: KeyId, certificate: &[u8]) -> Option<()> {
        let certificate = Certificate::<KeyPublic>::from_bytes(certificate).ok()?;
        let entry = self.keys.get_mut(&key)?;
        let hash = certificate.unverified().shares_hash();
        let pending = entry.stored(hash)?;
        let roster = self.rosters.get(&pending.public().charter)?;
        verify_certificate(&certificate, &roster.nodes).ok()?;
        let pending = entry.take_stored(hash)?;
        self.ceremonies.done.insert(pending.public().ceremony);
        // Pools died with the boot: nothing of the epoch before is honoured.
        let at = self.last_time;
        entry.succeed(Epoch::new(certificate, pending.share), at, at);
        Some(())
    }

    fn replay_learned(&mut self, certificate: &[u8]) -> Option<()> {
        let certificate = Certificate::<KeyPublic>::from_bytes(certificate).ok()?;
        let roster = self.rosters.get(&certificate.unverified().charter)?;
        verify_certificate(&certificate, &roster.nodes).ok()?;
        self.adopt_learned(certificate, self.last_time);
        Some(())
    }

    fn replay_held(&mut self, bytes: Vec<u8>) -> Option<()> {
        let signed = Signed::<EpochHeld>::from_bytes(&bytes).ok()?;
        let held = signed.unverified();
        let entry = self.keys.get_mut(&held.key)?;
        if entry.current.as_ref()?.hash == held.record {
            entry.held.insert(held.boot.node, bytes);
        }
        Some(())
    }

    fn replay_erased(&mut self, key: KeyId, epoch: ShareEpoch) -> Option<()> {
        let entry = self.keys.get_mut(&key)?;
        let before = entry.retiring.len().saturating_add(entry.kept.len());
        entry.retiring.retain(|r| r.epoch.number() != epoch);
        entry.kept.retain(|p| p.public().epoch != epoch);
        entry.erased.push(epoch);
        let after = entry.retiring.len().saturating_add(entry.kept.len());
        (after < before).then_some(())
    }

    /// Every share that this node stored, and neither erased nor replaced, must be there.
    fn find_shares(&self, stored: &BTreeSet<(KeyId, [u8; 32])>) -> Result<(), RecoverError> {
        for (key, entry) in &self.keys {
            let pending = entry
                .next
                .iter()
                .chain(&entry.kept)
                .map(|p| (p.hash, &p.share));
            let current = entry.current.iter();
            let certified = current.chain(entry.retiring.iter().map(|r| &r.epoch));
            let all = certified.map(|e| (e.hash, &e.share)).chain(pending);
            let mut lost =
                all.filter(|(hash, share)| share.is_none() && stored.contains(&(*key, *hash)));
            if entry.state != KeyState::Destroyed && lost.next().is_some() {
                return Err(RecoverError::Share(*key));
            }
        }
        Ok(())
    }
}

fn read_reservation(bytes: &[u8]) -> Option<Reservation> {
    cbor::decode(bytes, Reservation::BYTES_MAX).ok()
}

/// Whether a field was covered and its day's key is gone.
fn is_erased(field: &Opaque) -> bool {
    field.0.first() == Some(&COVERED_MARK)
}
