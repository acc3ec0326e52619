//! Recovery: a node's state from its journal, and nothing else.
//!
//! What lives only in memory is gone, on purpose: pools, unfinished batches and ceremonies. The
//! generation grows by one, so that peers drop what they shared with the former boot.

use super::batches::Batches;
use super::ceremonies::{Ceremonies, share_label};
use super::charters::roster_of;
use super::finished;
use super::heartbeat::Peers;
use super::pool::Pools;
use super::record::{BootRecord, Decision, Finished, KeyRecord};
use super::requests::RequestState;
use super::strikes::Strikes;
use super::{Effect, JobId, KeyEntry, Node, NodeConfig, Record, Ticket};
use quoin_api::statements::{Denial, Head, Heartbeat};
use quoin_core::{
    Boot, Certificate, Generation, KeyId, Lane, Payload, SecretBytes, Signed, SigningIdentity,
    Stamp, Statement, TimeMs, cbor,
};
use quoin_policy::{Charter, Constitution, Ledger, Reservation, verify_genesis, verify_successor};
use quoin_protocol::combine::{KeyPublic, verify_certificate};
use quoin_protocol::{KeyShare, Roster};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a node is rebuilt from.
pub struct Recovered {
    /// What the node is told about itself.
    pub config: NodeConfig,
    /// Its identity.
    pub identity: Arc<SigningIdentity>,
    /// The genesis, pinned at `init`.
    pub genesis: Certificate<Charter>,
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
    /// The genesis names no node with this identity.
    #[error("the genesis names no node with this identity")]
    NotInGenesis,
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
        let credential = from.identity.public();
        let me = constitution
            .charter()
            .nodes
            .iter()
            .find(|n| n.credential == credential);
        let me = me.map(|n| n.index).ok_or(RecoverError::NotInGenesis)?;
        let bare = Roster {
            me,
            identity: Arc::clone(&from.identity),
            nodes: BTreeMap::new(),
        };
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
            roster: Arc::new(roster_of(&constitution, &bare)),
            ledger: Ledger::new(),
            constitution,
            peers: Peers::default(),
            keys: BTreeMap::new(),
            pools: Pools::default(),
            batches: Batches::default(),
            ceremonies: Ceremonies::default(),
            requests: BTreeMap::new(),
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
        let mut shares = from.shares;
        for (place, (at, record)) in from.records.into_iter().enumerate() {
            node.last_time = node.last_time.max(at);
            node.replay(place, record, &mut shares)?;
        }
        node.strikes.settle_open_tries();
        node.restore_prepared();
        node.boot.generation = Generation(node.boot.generation.0.saturating_add(1));
        node.last_ticket = Ticket(1);
        let boot = BootRecord {
            generation: node.boot.generation,
            build: node.config.build.clone(),
        };
        effects.push(Effect::Persist(
            node.last_ticket,
            Record::Boot(boot),
            Vec::new(),
        ));
        Ok(node)
    }

    fn replay(
        &mut self,
        place: usize,
        record: Record,
        shares: &mut BTreeMap<String, SecretBytes<32>>,
    ) -> Result<(), RecoverError> {
        let bad = |what| RecoverError::Record(place, what);
        match record {
            Record::Boot(boot) => self.boot.generation = self.boot.generation.max(boot.generation),
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
                let denial =
                    Signed::<Denial>::from_bytes(&denied.denial.0).map_err(|_| bad("denial"))?;
                let me = denial.unverified().boot.node;
                let state = self.rebind(&denied.stamp.0).ok_or(bad("denial"))?;
                state.tombstones.insert(me);
                state.denial = Some(denied.denial.0);
            }
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
            Record::KeyPending(key) => self.replay_key(&key, shares)?,
            Record::KeyActive { key, certificate } => {
                self.replay_activation(key, &certificate.0)
                    .ok_or(bad("key activation"))?;
            }
            Record::Fenced(node) => self.peers.restore_fence(node),
            Record::CharterFork(_) => self.charter_forked = true,
            Record::Witness(bytes) => {
                let beat = Signed::<Heartbeat>::from_bytes(&bytes.0).map_err(|_| bad("witness"))?;
                self.peers.restore_witness(beat.unverified());
            }
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
        self.ledger
            .restore(&read_reservation(&decision.reservation.0)?);
        let payload = Self::read_payload(&decision.payload.0)?;
        let state = self.rebind(&decision.stamp.0)?;
        state.decided = true;
        state.answered = !matches!(payload, Payload::CreateKey(_));
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
        self.counted
            .insert((signature.key, record.payload_hash), stamp.not_after);
        let state = self.bind(stamp);
        state.finished = Some(record.signature.0);
        Some(())
    }

    /// A key whose share is stored; whether all have is for its activation to show.
    fn replay_key(
        &mut self,
        record: &KeyRecord,
        shares: &mut BTreeMap<String, SecretBytes<32>>,
    ) -> Result<(), RecoverError> {
        let damaged = || RecoverError::Share(record.key);
        let public: KeyPublic =
            cbor::decode(&record.public.0, KeyPublic::BYTES_MAX).map_err(|_| damaged())?;
        let ours = public.key == record.key
            && public.cluster == self.cluster
            && record.boot.node == self.boot.node;
        // A second record of one key id would let this node endorse two.
        if !ours || self.keys.contains_key(&record.key) {
            return Err(damaged());
        }
        let secret = shares
            .remove(&share_label(record.key, public.epoch))
            .ok_or_else(damaged)?;
        let share = KeyShare {
            public,
            node: self.boot.node,
            secret,
        };
        if !share.matches_public() {
            return Err(damaged());
        }
        self.keys.insert(record.key, KeyEntry::pending(share));
        Ok(())
    }

    /// A key that came into use: its certificate is that of the stored record, by all nodes of the
    /// charter in force at this place of the journal.
    fn replay_activation(&mut self, key: KeyId, certificate: &[u8]) -> Option<()> {
        let certificate = Certificate::<KeyPublic>::from_bytes(certificate).ok()?;
        let entry = self.keys.get_mut(&key)?;
        if *certificate.unverified() != entry.share.public {
            return None;
        }
        verify_certificate(&certificate, &self.roster.nodes).ok()?;
        entry.certificate = certificate;
        entry.active = true;
        Some(())
    }
}

fn read_reservation(bytes: &[u8]) -> Option<Reservation> {
    cbor::decode(bytes, Reservation::BYTES_MAX).ok()
}
