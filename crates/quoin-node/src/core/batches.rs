//! Presigning batches: proposed, joined, driven round by round, and dropped without regret.
//!
//! The lowest-index signer of a set proposes. Every signer builds the header from its own state
//! and joins only when the proposal is the same. Nothing of a batch is ever written but its
//! faults; whatever ends a batch early costs nothing but the work.

use super::config::{BATCHES_PER_PEER_MAX, PoolSizes, REFUSED_BATCH_MS, SESSION_MS_MAX};
use super::job::Presignatures;
use super::pool::PoolId;
use super::{Continuation, Effect, Job, JobId, JobResult, Node, Peer, Ticket, Turn};
use quoin_api::frame::{Opaque, SessionFrame};
use quoin_api::{Frame, SessionId};
use quoin_core::cbor::{self, Version};
use quoin_core::{BatchId, Boot, KeyId, NodeIndex, Purpose, Scheme, ShareEpoch, SignerSet, TimeMs};
use quoin_protocol::batch::BATCH_SIZE_MAX;
use quoin_protocol::{Abort, Advance, BatchHeader, Inbox, Outbox, Profile, Round, RoundMessage};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The largest encoded batch header.
const HEADER_BYTES_MAX: usize = 4096;
/// No session of ours has more rounds; messages beyond are dropped before they take memory.
const ROUND_MAX: u8 = 8;
/// How many first messages of one peer wait for a proposal, how long, and of which size: an ECDSA
/// first message has 8.3 kB.
const EARLY_MAX: usize = 4;
const EARLY_MS_MAX: u64 = 5_000;
const EARLY_BYTES_MAX: usize = 64 * 1024;

/// Epochs that presignatures are made for, by threshold and other holders.
type ToFill = BTreeMap<(u8, Vec<NodeIndex>), Vec<(KeyId, ShareEpoch, Scheme)>>;

/// How much a pool needs a batch, the neediest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Need {
    /// No gateway draws on it.
    spare: bool,
    /// With the batches under way it has enough.
    served: bool,
    /// How many presignatures it has with these.
    coming: usize,
}

struct Batch {
    header: BatchHeader,
    waiting: Option<Box<dyn Round<Presignatures>>>,
    inbox: BTreeMap<(u8, NodeIndex), RoundMessage>,
    started: TimeMs,
}

/// The batches under way.
#[derive(Default)]
pub(super) struct Batches {
    running: BTreeMap<BatchId, Batch>,
    /// Work under way. A job outlives its batch when that is dropped, and still keeps a worker
    /// busy, so it counts against its peers until it is done.
    jobs: BTreeMap<JobId, (BatchId, SignerSet)>,
    proposed: u64,
    /// First messages of signers whose proposer's own has not come yet.
    early: Vec<(TimeMs, BatchId, NodeIndex, RoundMessage)>,
    /// The highest batch seen of each proposer: a batch id is honoured once.
    high_water: BTreeMap<Boot, u64>,
    /// Pools whose last batch a signer refused or dropped, and when.
    refused: Vec<(PoolId, TimeMs)>,
}

impl Batches {
    fn with_peer(&self, peer: NodeIndex) -> usize {
        let dropped = |id: &BatchId| !self.running.contains_key(id);
        let orphans = self.jobs.values();
        let orphans = orphans.filter(|(id, set)| dropped(id) && set.contains(peer));
        let running = self.running.values();
        running.filter(|b| b.header.set.contains(peer)).count() + orphans.count()
    }

    /// The batches under way with a peer.
    fn with(&self, peer: NodeIndex) -> Vec<BatchId> {
        let running = self.running.iter();
        running
            .filter(|(_, b)| b.header.set.contains(peer))
            .map(|(id, _)| *id)
            .collect()
    }

    /// How many batches for the pool are under way.
    fn serving(&self, pool: &PoolId) -> usize {
        let running = self.running.values();
        running.filter(|b| pool_of(&b.header) == *pool).count()
    }

    /// Whether a batch for the pool was refused a moment ago.
    fn was_refused(&self, pool: &PoolId, now: TimeMs) -> bool {
        let of = |(id, at): &(PoolId, TimeMs)| id == pool && now.since(*at) < REFUSED_BATCH_MS;
        self.refused.iter().any(of)
    }

    fn note_refused(&mut self, pool: PoolId, now: TimeMs) {
        self.refused
            .retain(|(id, at)| *id != pool && now.since(*at) < REFUSED_BATCH_MS);
        self.refused.push((pool, now));
    }

    /// The batches under way of an epoch of a key.
    fn of(&self, key: KeyId, epoch: ShareEpoch) -> Vec<BatchId> {
        let running = self.running.iter();
        running
            .filter(|(_, b)| (b.header.key, b.header.epoch) == (key, epoch))
            .map(|(id, _)| *id)
            .collect()
    }
}

impl Node {
    /// Starts a batch for the pool that needs it most: the emptiest of those that gateways draw on,
    /// and only while all of these have enough the emptiest of the others.
    pub(super) fn fill_pools(&mut self, turn: &mut Turn<'_>) {
        if !self.may_presign(turn.now) {
            return;
        }
        let mut neediest: Option<(Need, PoolId, u16)> = None;
        for ((threshold, others), epochs) in self.to_fill(turn.now) {
            let sets = combinations(&others, usize::from(threshold).saturating_sub(1));
            let me = self.me();
            let sets = sets
                .into_iter()
                .filter_map(|rest| SignerSet::from_unordered([vec![me], rest].concat()));
            for set in sets {
                for (key, epoch, scheme) in &epochs {
                    let sizes = self.pool_sizes(*scheme);
                    let pool = (*key, *epoch, set.clone());
                    let need = self.need_of(&pool, sizes, turn.now);
                    if need.is_some_and(|n| neediest.as_ref().is_none_or(|(most, ..)| n < *most)) {
                        neediest = need.map(|n| (n, pool, sizes.batch));
                    }
                }
            }
        }
        if let Some((need, pool, size)) = neediest
            && !need.served
        {
            self.propose(turn, pool, size);
        }
    }

    /// How much a pool needs a batch; none when it has enough.
    fn need_of(&self, pool: &PoolId, sizes: PoolSizes, now: TimeMs) -> Option<Need> {
        let (key, _, set) = pool;
        let spare = !self.pools.is_wanted(*key, set, now);
        let enough = match spare {
            true => sizes.low.min(usize::from(sizes.batch)),
            false => sizes.low,
        };
        let free = self.pools.free(pool);
        // A second batch while the first one waits for the others' messages, where one is too few:
        // it keeps the workers busy.
        let coming = free + self.batches.serving(pool) * usize::from(sizes.batch);
        let served = coming >= enough;
        // A pool that is being filled still comes before those that are there in case.
        let due = free < enough && !self.batches.was_refused(pool, now) && !(spare && served);
        due.then_some(Need {
            spare,
            served,
            coming,
        })
    }

    /// The epochs in use that this node makes presignatures for, by their threshold and the other
    /// holders that it may propose to now. A local key, of threshold 1, needs none; an epoch that
    /// retires gets no more.
    fn to_fill(&self, now: TimeMs) -> ToFill {
        let connected = self.peers.connected_nodes().into_iter();
        let peers: Vec<NodeIndex> = connected
            .filter(|n| *n > self.me() && self.may_batch_with(*n, now))
            .collect();
        let mut all: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (key, entry) in &self.keys {
            let Some(epoch) = entry.serving().filter(|e| e.share.is_some()) else {
                continue;
            };
            let public = epoch.public();
            let live = self.live_holders(public);
            if public.threshold >= 2 && live.contains(&self.me()) {
                let others = peers.iter().copied().filter(|n| live.contains(n));
                all.entry((public.threshold, others.collect()))
                    .or_default()
                    .push((*key, epoch.number(), public.scheme));
            }
        }
        all
    }

    fn may_batch_with(&self, peer: NodeIndex, now: TimeMs) -> bool {
        self.peers.boot(peer).is_some()
            && !self.strikes.is_quarantined(peer, now)
            && self.batches.with_peer(peer) < BATCHES_PER_PEER_MAX
    }

    pub(super) fn pool_sizes(&self, scheme: Scheme) -> PoolSizes {
        match scheme {
            Scheme::Ecdsa => self.config.ecdsa_pool,
            Scheme::Taproot | Scheme::Ed25519 | Scheme::Model => self.config.schnorr_pool,
        }
    }

    fn propose(&mut self, turn: &mut Turn<'_>, pool: PoolId, size: u16) {
        self.batches.proposed = self.batches.proposed.saturating_add(1);
        let batch = BatchId {
            proposer: self.boot,
            counter: self.batches.proposed,
        };
        if let Some(header) = self.batch_header(pool, batch, size, turn.now) {
            self.begin_batch(turn, header);
        }
    }

    /// The header of a batch as this node's own state has it.
    fn batch_header(
        &self,
        (key, epoch, set): PoolId,
        batch: BatchId,
        size: u16,
        now: TimeMs,
    ) -> Option<BatchHeader> {
        let epoch = self.keys.get(&key)?.honoured(epoch, now)?;
        let public = epoch.public();
        let live = self.live_holders(public);
        let of_holders = epoch.admits(&set) && set.iter().all(|n| live.contains(&n));
        if !of_holders || size == 0 || size > BATCH_SIZE_MAX {
            return None;
        }
        let boot = |node| {
            if node == self.me() {
                Some(self.boot)
            } else {
                self.peers.boot(node)
            }
        };
        Some(BatchHeader {
            version: Version,
            cluster: self.cluster,
            charter: self.constitution.charter().number,
            key,
            scheme: public.scheme,
            public_key: public.public_key.clone(),
            epoch: public.epoch,
            credentials: set
                .iter()
                .map(|n| self.roster.nodes.get(&n).map(|c| c.id()))
                .collect::<Option<_>>()?,
            boots: set.iter().map(boot).collect::<Option<_>>()?,
            set,
            batch,
            size,
            profile: profile_of(public.purpose),
            shares_hash: epoch.hash,
        })
    }

    fn begin_batch(&mut self, turn: &mut Turn<'_>, header: BatchHeader) {
        let epoch = self.keys.get(&header.key);
        let epoch = epoch.and_then(|e| e.honoured(header.epoch, turn.now));
        let Some(share) = epoch.and_then(|e| e.share.clone()) else {
            return;
        };
        let id = header.batch;
        // One batch id is one batch, whoever names it: a second one under the same id would put
        // the first one's presignatures into the wrong pool.
        let seen = self.batches.high_water.get(&id.proposer);
        if seen.is_some_and(|seen| *seen >= id.counter) || self.batches.running.contains_key(&id) {
            return;
        }
        self.batches.high_water.insert(id.proposer, id.counter);
        let job = self.next_job();
        self.batches.jobs.insert(job, (id, header.set.clone()));
        let work = Job::StartBatch(Box::new(header.clone()), share, Arc::clone(&self.roster));
        let batch = Batch {
            header,
            waiting: None,
            inbox: BTreeMap::new(),
            started: turn.now,
        };
        self.batches.running.insert(id, batch);
        turn.effects.push(Effect::Compute(job, work));
        let early = std::mem::take(&mut self.batches.early);
        let (ours, others): (Vec<_>, _) = early.into_iter().partition(|(_, of, ..)| *of == id);
        self.batches.early = others;
        for (_, _, from, message) in ours {
            self.take_message(turn, from, id, message);
        }
    }

    pub(super) fn on_session(&mut self, turn: &mut Turn<'_>, from: NodeIndex, frame: SessionFrame) {
        let Ok(message) = cbor::decode::<RoundMessage>(&frame.message, frame.message.len()) else {
            return;
        };
        match frame.session {
            SessionId::Batch(id) => {
                if let Some(header) = &frame.header {
                    self.join(turn, from, id, &header.0);
                }
                self.take_message(turn, from, id, message);
            }
            SessionId::Ceremony(id) => self.on_ceremony_message(turn, from, id, message),
        }
    }

    /// Joins a batch that somebody proposes, when our own state says the same of it.
    fn join(&mut self, turn: &mut Turn<'_>, from: NodeIndex, id: BatchId, header: &[u8]) {
        if self.batches.running.contains_key(&id) || !self.may_presign(turn.now) {
            return;
        }
        let Ok(header) = cbor::decode::<BatchHeader>(header, HEADER_BYTES_MAX) else {
            return;
        };
        let set = &header.set;
        // Only the proposer's own connection can bring its proposal, so nobody can use up or take
        // over another node's batch ids; its boot is the one that it beats with.
        let proposer_ok = id == header.batch
            && set.lowest() == from
            && id.proposer.node == from
            && self.peers.boot(from) == Some(id.proposer);
        let size_ok = header.size == self.pool_sizes(header.scheme).batch;
        if !proposer_ok || !size_ok || !set.contains(self.me()) {
            return;
        }
        let allowed = set
            .others(self.me())
            .all(|n| self.may_batch_with(n, turn.now));
        let ours = self.batch_header(pool_of(&header), id, header.size, turn.now);
        if allowed && ours.as_ref() == Some(&header) {
            self.begin_batch(turn, header);
        } else {
            // Said at once, or the proposer would wait for a message that never comes.
            let refused = Frame::SessionAborted(SessionId::Batch(id));
            self.send(turn, Peer::Node(from), refused);
        }
    }

    fn take_message(
        &mut self,
        turn: &mut Turn<'_>,
        from: NodeIndex,
        id: BatchId,
        message: RoundMessage,
    ) {
        let Some(batch) = self.batches.running.get_mut(&id) else {
            return self.keep_early(turn.now, id, from, message);
        };
        if !batch.header.set.contains(from) || message.round > ROUND_MAX {
            return;
        }
        // The first message of a sender for a round is the one that counts.
        batch.inbox.entry((message.round, from)).or_insert(message);
        self.advance_batch(turn, id);
    }

    /// Keeps a first message that overtook the proposal, within bounds for each peer.
    fn keep_early(&mut self, now: TimeMs, id: BatchId, from: NodeIndex, message: RoundMessage) {
        let early = &mut self.batches.early;
        early.retain(|(at, ..)| now.since(*at) < EARLY_MS_MAX);
        let kept = early.iter().filter(|(_, _, by, _)| *by == from).count();
        let bytes = message.broadcast.len() + message.private.len();
        let of_proposer = from == id.proposer.node;
        if message.round == 1 && !of_proposer && kept < EARLY_MAX && bytes <= EARLY_BYTES_MAX {
            early.push((now, id, from, message));
        }
    }

    /// Finishes the round that waits, once all its messages are there.
    fn advance_batch(&mut self, turn: &mut Turn<'_>, id: BatchId) {
        let Some(batch) = self.batches.running.get_mut(&id) else {
            return;
        };
        let Some(round) = batch.waiting.take() else {
            return;
        };
        let awaited = round.awaits();
        let number = round.number();
        if !awaited
            .iter()
            .all(|n| batch.inbox.contains_key(&(number, *n)))
        {
            batch.waiting = Some(round);
            return;
        }
        let inbox: Inbox = awaited
            .iter()
            .filter_map(|n| batch.inbox.remove(&(number, *n)).map(|m| (*n, m)))
            .collect();
        let secret_dependent = round.is_secret_dependent();
        let (scheme, set) = (batch.header.scheme, batch.header.set.clone());
        let job = self.next_job();
        self.batches.jobs.insert(job, (id, set));
        let work = Job::FinishBatch(scheme, round, inbox);
        if secret_dependent {
            let ticket = self.open_try(turn, SessionId::Batch(id), awaited);
            self.after(ticket, Continuation::Compute(job, work));
        } else {
            turn.effects.push(Effect::Compute(job, work));
        }
    }

    pub(super) fn on_batch_computed(&mut self, turn: &mut Turn<'_>, job: JobId, result: JobResult) {
        let Some((id, _)) = self.batches.jobs.remove(&job) else {
            return;
        };
        let session = SessionId::Batch(id);
        match result {
            JobResult::BatchStarted(Ok((round, outbox))) => {
                self.next_round(turn, id, round, outbox, true);
            }
            JobResult::BatchAdvanced(Ok(Advance::Next(round, outbox))) => {
                self.close_try(turn, session);
                self.next_round(turn, id, round, outbox, false);
            }
            JobResult::BatchAdvanced(Ok(Advance::Done(presignatures))) => {
                self.close_try(turn, session);
                if let Some(batch) = self.batches.running.remove(&id) {
                    self.pools
                        .add(pool_of(&batch.header), presignatures, turn.now);
                }
                self.fill_pools(turn);
            }
            JobResult::BatchStarted(Err(abort)) | JobResult::BatchAdvanced(Err(abort)) => {
                self.fail_batch(turn, id, &abort);
            }
            JobResult::CeremonyStarted(_) | JobResult::CeremonyAdvanced(_) => {}
        }
    }

    fn next_round(
        &mut self,
        turn: &mut Turn<'_>,
        id: BatchId,
        round: Box<dyn Round<Presignatures>>,
        outbox: Outbox,
        first: bool,
    ) {
        let Some(batch) = self.batches.running.get_mut(&id) else {
            return;
        };
        batch.waiting = Some(round);
        let header = first.then(|| Opaque(cbor::encode(&batch.header)));
        for (to, message) in outbox {
            let frame = Frame::Session(SessionFrame {
                session: SessionId::Batch(id),
                header: header.clone(),
                message: cbor::encode(&message),
            });
            self.send(turn, Peer::Node(to), frame);
        }
        self.advance_batch(turn, id);
    }

    /// Writes the faults, then drops the batch, and tells the others only once that is durable.
    fn fail_batch(&mut self, turn: &mut Turn<'_>, id: BatchId, abort: &Abort) {
        let session = SessionId::Batch(id);
        let written = self.record_faults(turn, session, abort);
        self.close_try(turn, session);
        let Some(batch) = self.batches.running.remove(&id) else {
            return;
        };
        for node in batch.header.set.others(self.me()) {
            let frame = Frame::SessionAborted(session);
            match written {
                Some(ticket) => self.after(ticket, Continuation::Send(Peer::Node(node), frame)),
                None => self.send(turn, Peer::Node(node), frame),
            }
        }
        for (culprit, fault) in &abort.faults {
            if let (Some(peer), quoin_protocol::Class::SecretDependent) = (culprit, fault.class()) {
                let with_cheat = self.batches.with(*peer);
                self.drop_batches(turn, &with_cheat, written);
            }
        }
    }

    pub(super) fn on_session_aborted(
        &mut self,
        turn: &mut Turn<'_>,
        from: NodeIndex,
        session: SessionId,
    ) {
        let id = match session {
            SessionId::Batch(id) => id,
            SessionId::Ceremony(id) => return self.drop_ceremony(id),
        };
        let running = self.batches.running.get(&id);
        if !running.is_some_and(|b| b.header.set.contains(from)) {
            return;
        }
        let Some(batch) = self.batches.running.remove(&id) else {
            return;
        };
        if id.proposer != self.boot {
            return;
        }
        // The other signers may wait for the one that refused, and only the proposer's word comes
        // to them after its proposal.
        for node in batch.header.set.others(self.me()).filter(|n| *n != from) {
            self.send(turn, Peer::Node(node), Frame::SessionAborted(session));
        }
        self.batches.note_refused(pool_of(&batch.header), turn.now);
    }

    /// Drops every unfinished batch with a peer.
    pub(super) fn drop_batches_with(&mut self, turn: &mut Turn<'_>, peer: NodeIndex) {
        let gone = self.batches.with(peer);
        self.drop_batches(turn, &gone, None);
    }

    /// Drops every unfinished batch of an epoch that is over.
    pub(super) fn drop_batches_of(&mut self, turn: &mut Turn<'_>, key: KeyId, epoch: ShareEpoch) {
        let gone = self.batches.of(key, epoch);
        self.drop_batches(turn, &gone, None);
    }

    /// Drops every unfinished batch of a key that is out of use.
    pub(super) fn drop_batches_of_key(&mut self, turn: &mut Turn<'_>, key: KeyId) {
        let running = self.batches.running.iter();
        let gone: Vec<BatchId> = running
            .filter(|(_, b)| b.header.key == key)
            .map(|(id, _)| *id)
            .collect();
        self.drop_batches(turn, &gone, None);
    }

    /// Drops batches that have heard nothing for too long. That is never a strike.
    pub(super) fn expire_sessions(&mut self, turn: &mut Turn<'_>) {
        let late = |started: TimeMs| turn.now.since(started) > SESSION_MS_MAX;
        let running = self.batches.running.iter();
        let gone: Vec<BatchId> = running
            .filter(|(_, b)| late(b.started))
            .map(|(id, _)| *id)
            .collect();
        self.drop_batches(turn, &gone, None);
        self.expire_ceremonies(turn.now);
    }

    /// Drops batches, and says so once what led to it is durable.
    fn drop_batches(&mut self, turn: &mut Turn<'_>, gone: &[BatchId], after: Option<Ticket>) {
        for id in gone {
            let Some(batch) = self.batches.running.remove(id) else {
                continue;
            };
            for node in batch.header.set.others(self.me()) {
                let frame = Frame::SessionAborted(SessionId::Batch(*id));
                match after {
                    Some(t) => self.after(t, Continuation::Send(Peer::Node(node), frame)),
                    None => self.send(turn, Peer::Node(node), frame),
                }
            }
        }
    }
}

/// The pool that a batch is for.
fn pool_of(header: &BatchHeader) -> PoolId {
    (header.key, header.epoch, header.set.clone())
}

/// The profile that a purpose demands; the engine refuses a batch of the other one.
fn profile_of(purpose: Purpose) -> Profile {
    match purpose {
        Purpose::Treasury => Profile::Treasury,
        Purpose::Trading | Purpose::Agent | Purpose::Digest => Profile::Normal,
    }
}

/// All ways to choose `size` of `items`, in order.
fn combinations(items: &[NodeIndex], size: usize) -> Vec<Vec<NodeIndex>> {
    if size == 0 {
        return vec![Vec::new()];
    }
    let Some((first, rest)) = items.split_first() else {
        return Vec::new();
    };
    let with = combinations(rest, size - 1)
        .into_iter()
        .map(|tail| [vec![*first], tail].concat());
    with.chain(combinations(rest, size)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn combinations_are_all_and_in_order() {
        let items: Vec<NodeIndex> = (1..=4).filter_map(NodeIndex::new).collect();
        let pairs = combinations(&items, 2);
        assert_eq!(pairs.len(), 6);
        assert!(pairs.iter().all(|p| p[0] < p[1]));
        assert_eq!(combinations(&items, 0), vec![Vec::new()]);
        assert!(combinations(&items[..1], 2).is_empty());
    }
}
