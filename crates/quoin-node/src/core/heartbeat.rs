//! What a node knows of its peers: connections, signed heartbeats, and the lease they amount to.

use super::config::{HEARTBEAT_MS, LEASE_MS, SKEW_MS_MAX, WITNESS_MS};
use super::{Alarm, Effect, Frame, Node, Peer, Record, Turn};
use quoin_api::frame::{Hello, Opaque, Unavailable};
use quoin_api::statements::{Head, Heartbeat};
use quoin_core::cbor::Version;
use quoin_core::{Boot, CharterHash, NodeIndex, Purpose, Signed, TimeMs};
use std::collections::{BTreeMap, BTreeSet};

/// The newest heartbeat of one peer.
struct Beat {
    statement: Heartbeat,
    bytes: Vec<u8>,
    received: TimeMs,
}

/// What a node knows of its peers.
#[derive(Default)]
pub(super) struct Peers {
    connected: BTreeSet<NodeIndex>,
    beats: BTreeMap<NodeIndex, Beat>,
    /// The highest boot and head ever seen of each peer, as journaled.
    witnessed: BTreeMap<NodeIndex, (Boot, Head)>,
    witness_written: BTreeMap<NodeIndex, (TimeMs, Head)>,
    /// Nodes that have shown less than they had shown before.
    fenced: BTreeSet<NodeIndex>,
    counter: u64,
    last_beat: Option<TimeMs>,
}

impl Peers {
    pub(super) fn connected(&mut self, node: NodeIndex) {
        self.connected.insert(node);
    }

    pub(super) fn disconnected(&mut self, node: NodeIndex) {
        self.connected.remove(&node);
    }

    pub(super) fn is_connected(&self, node: NodeIndex) -> bool {
        self.connected.contains(&node)
    }

    /// Forgets a node whose identity is no longer in the charter. Another identity may come at its
    /// index, with a journal of its own: nothing that this one showed is held against that one.
    pub(super) fn forget(&mut self, node: NodeIndex) {
        self.connected.remove(&node);
        self.beats.remove(&node);
        self.witnessed.remove(&node);
        self.witness_written.remove(&node);
        self.fenced.remove(&node);
    }

    /// Lifts a node's fence, and takes what it shows next as its first: the operators have restored
    /// it under their eyes.
    pub(super) fn readmit(&mut self, node: NodeIndex) {
        self.fenced.remove(&node);
        self.beats.remove(&node);
        self.witnessed.remove(&node);
        self.witness_written.remove(&node);
    }

    pub(super) fn connected_nodes(&self) -> Vec<NodeIndex> {
        self.connected.iter().copied().collect()
    }

    /// Whether the newest heartbeat of any peer names this charter as the one in force.
    pub(super) fn names_charter(&self, hash: &CharterHash) -> bool {
        let mut beats = self.beats.values();
        beats.any(|beat| beat.statement.charter_hash == *hash)
    }

    /// The boot that a peer's newest heartbeat names.
    pub(super) fn boot(&self, node: NodeIndex) -> Option<Boot> {
        self.beats.get(&node).map(|b| b.statement.boot)
    }

    pub(super) fn restore_fence(&mut self, node: NodeIndex) {
        self.fenced.insert(node);
        self.beats.remove(&node);
    }

    pub(super) fn restore_witness(&mut self, beat: &Heartbeat) {
        let entry = self
            .witnessed
            .entry(beat.boot.node)
            .or_insert((beat.boot, beat.head));
        if (beat.boot.generation, beat.head.seq) >= (entry.0.generation, entry.1.seq) {
            *entry = (beat.boot, beat.head);
        }
    }

    fn fresh(&self, now: TimeMs) -> impl Iterator<Item = &Beat> {
        self.beats
            .values()
            .filter(move |b| now.since(b.received) <= LEASE_MS)
    }

    /// How far `now` is from the median of the peers' times; `None` without fresh heartbeats.
    fn skew(&self, now: TimeMs) -> Option<u64> {
        let mut times: Vec<u64> = self
            .fresh(now)
            .map(|b| b.statement.at.0.saturating_add(now.since(b.received)))
            .collect();
        if times.is_empty() {
            return None;
        }
        // Our own time is one of the sample, so that a single node that is off, or lies, cannot
        // be the median of three.
        times.push(now.0);
        times.sort_unstable();
        // With an even number there are two in the middle, and the farther one decides: of two
        // clocks that differ nobody can say which is right.
        let middle = [times.get((times.len() - 1) / 2), times.get(times.len() / 2)];
        middle
            .into_iter()
            .flatten()
            .map(|t| t.abs_diff(now.0))
            .max()
    }
}

#[cfg(test)]
impl Peers {
    /// How many peers' heartbeats are known.
    pub(super) fn beats_of_others(&self) -> usize {
        self.beats.len()
    }
}

impl Node {
    pub(super) fn hello(&self) -> Hello {
        Hello {
            version: Version,
            cluster: self.cluster,
            build: self.config.build.clone(),
            boot: self.boot.generation.0,
        }
    }

    pub(super) fn on_hello(&mut self, peer: &Peer, hello: &Hello) {
        if hello.cluster != self.cluster {
            return;
        }
        if let Peer::Gateway(gateway) = peer {
            self.pools.gateway_booted(gateway, hello.boot);
        }
    }

    /// This node's signed heartbeat at `now`.
    pub(super) fn heartbeat(&mut self, now: TimeMs) -> Vec<u8> {
        self.peers.counter = self.peers.counter.saturating_add(1);
        let beat = Heartbeat {
            version: Version,
            cluster: self.cluster,
            boot: self.boot,
            counter: self.peers.counter,
            at: now,
            charter: self.constitution.charter().number,
            charter_hash: self.constitution.hash(),
            head: self.head,
            freezes: self.freezes_digest(),
        };
        Signed::sign(beat, &self.identity).to_bytes()
    }

    pub(super) fn beat(&mut self, turn: &mut Turn<'_>) {
        // A heartbeat names the charter in force, and what it names must never be taken back.
        if !self.charter_is_durable() {
            return;
        }
        if self
            .peers
            .last_beat
            .is_some_and(|at| turn.now.since(at) < HEARTBEAT_MS)
        {
            return;
        }
        self.peers.last_beat = Some(turn.now);
        let frame = Frame::Heartbeat(self.heartbeat(turn.now));
        self.send_to_nodes(turn, &frame);
        for gateway in self.pools.gateways() {
            self.send(turn, Peer::Gateway(gateway), frame.clone());
        }
    }

    /// Beats at once: what this node says of itself has changed, and peers must not have to wait to
    /// find it equal to theirs.
    pub(super) fn beat_now(&mut self, turn: &mut Turn<'_>) {
        self.peers.last_beat = None;
        self.beat(turn);
    }

    /// Takes a peer's heartbeat, from its own connection only: an old one that somebody replays
    /// must not look like a node that was rolled back.
    pub(super) fn on_heartbeat(&mut self, turn: &mut Turn<'_>, peer: &Peer, bytes: &[u8]) {
        let Ok(signed) = Signed::<Heartbeat>::from_bytes(bytes) else {
            return;
        };
        let from = signed.unverified().boot.node;
        let Some(credential) = self.roster.nodes.get(&from) else {
            return;
        };
        let Ok(beat) = signed.verify(credential) else {
            return;
        };
        let own_connection = *peer == Peer::Node(from) && from != self.me();
        if beat.cluster != self.cluster || !own_connection || self.peers.fenced.contains(&from) {
            return;
        }
        let known = self.peers.beats.get(&from);
        let place = |b: &Heartbeat| (b.boot.generation, b.counter);
        // A connection does not outlive a process, so an older generation on it is no late frame.
        let older = known.is_some_and(|k| beat.boot.generation < k.statement.boot.generation);
        if older {
            turn.effects.push(Effect::Alarm(Alarm::RolledBack(from)));
            self.fence(turn, from);
            return;
        }
        if known.is_some_and(|k| place(&k.statement) >= place(beat)) {
            return;
        }
        if self.is_rolled_back(beat) {
            turn.effects.push(Effect::Alarm(Alarm::RolledBack(from)));
            self.fence(turn, from);
            return;
        }
        let rebooted = known.is_some_and(|k| k.statement.boot != beat.boot);
        let behind = (beat.charter < self.constitution.number()).then_some(beat.charter);
        let differs = beat.freezes != self.freezes_digest();
        self.vouched_by(from, beat.charter, beat.charter_hash);
        let beat = Beat {
            statement: beat.clone(),
            bytes: bytes.to_vec(),
            received: turn.now,
        };
        self.peers.restore_witness(&beat.statement);
        self.peers.beats.insert(from, beat);
        if rebooted {
            self.pools.peer_rebooted(from);
            self.drop_batches_with(turn, from);
        }
        if let Some(number) = behind {
            self.send_charters_after(turn, &Peer::Node(from), number);
        }
        if differs {
            self.differs(turn, from);
        }
        self.write_witness(turn, from);
    }

    /// A node that was rolled back has forgotten what it signed. It stays out, over restarts, until
    /// its shares are moved to another one.
    fn fence(&mut self, turn: &mut Turn<'_>, node: NodeIndex) {
        self.peers.restore_fence(node);
        self.pools.peer_rebooted(node);
        self.persist(turn, Record::Fenced(node));
        self.drop_batches_with(turn, node);
    }

    /// Whether a peer shows an older boot, or a shorter or different journal, than it showed before.
    fn is_rolled_back(&self, beat: &Heartbeat) -> bool {
        self.peers
            .witnessed
            .get(&beat.boot.node)
            .is_some_and(|(boot, head)| {
                beat.boot.generation < boot.generation
                    || beat.head.seq < head.seq
                    || (beat.head.seq == head.seq && beat.head.hash != head.hash)
            })
    }

    /// Writes a peer's head down as witnessed, now and then, when it has moved.
    fn write_witness(&mut self, turn: &mut Turn<'_>, from: NodeIndex) {
        let Some(beat) = self.peers.beats.get(&from) else {
            return;
        };
        let head = beat.statement.head;
        let due = match self.peers.witness_written.get(&from) {
            None => head.seq > 0,
            Some((at, written)) => {
                // A head that moved only because the peer witnessed *us* would have two idle nodes
                // witness each other for ever; a few records of slack end that.
                head.seq > written.seq.saturating_add(4) && turn.now.since(*at) >= WITNESS_MS
            }
        };
        if due {
            let record = Record::Witness(Opaque(beat.bytes.clone()));
            self.peers.witness_written.insert(from, (turn.now, head));
            self.persist(turn, record);
        }
    }

    /// Why this node signs nothing now, if so.
    pub(super) fn unavailable(&self, now: TimeMs) -> Option<Unavailable> {
        if self.storage_failed || self.charter_forked {
            return Some(Unavailable::StorageFailed);
        }
        if !self.has_good_clock(now) {
            return Some(Unavailable::ClockSkew);
        }
        (!self.has_lease(now)).then_some(Unavailable::NoLease)
    }

    /// Whether this node's clock agrees with those of its peers, as far as it hears any.
    pub(super) fn has_good_clock(&self, now: TimeMs) -> bool {
        self.peers.skew(now).is_none_or(|skew| skew <= SKEW_MS_MAX)
    }

    /// Whether peers say now that this node's clock is right: alone it cannot know, nor in the moment
    /// after its clock has jumped, when all that it has heard looks old.
    pub(super) fn clock_agrees(&self, now: TimeMs) -> bool {
        let alone = self.roster.nodes.keys().all(|node| *node == self.me());
        alone || self.peers.skew(now).is_some_and(|skew| skew <= SKEW_MS_MAX)
    }

    /// Whether enough peers have lately said that they have the same charter in force and know the
    /// same freezes: n - t of them, because without one of those nobody else can sign either.
    pub(super) fn has_lease(&self, now: TimeMs) -> bool {
        let (charter, freezes) = (self.constitution.hash(), self.freezes_digest());
        let equal = |b: &&Beat| {
            let said = &b.statement;
            said.charter_hash == charter && said.freezes == freezes
        };
        let holders = self.peers.fresh(now).filter(equal).count();
        let nodes = self.constitution.charter().nodes.len();
        holders >= nodes.saturating_sub(usize::from(self.constitution.charter().threshold))
    }

    /// Whether presignatures may be made. A wrong clock does not matter to them, and what is in the
    /// corridor needs some.
    pub(super) fn may_presign(&self, now: TimeMs) -> bool {
        matches!(self.unavailable(now), None | Some(Unavailable::ClockSkew)) && self.has_lease(now)
    }

    /// As [`Self::unavailable`], for signing with a key of this purpose. Without a lease, or with a
    /// wrong clock, other keys than treasury ones go on with what is in the corridor, which
    /// judgement decides (decision 0012).
    pub(super) fn unavailable_for(&self, purpose: Purpose, now: TimeMs) -> Option<Unavailable> {
        match self.unavailable(now) {
            Some(Unavailable::NoLease | Unavailable::ClockSkew) if purpose != Purpose::Treasury => {
                None
            }
            other => other,
        }
    }
}
