//! Numbered signer sets on a node: what lets a sticky budget be spent up to its whole cap.
//!
//! What a number and a certificate make of a node is decided by [`quoin_policy::SetState`], whose
//! page says why the cap holds. Here is what a node does about it:
//!
//! ```text
//!   gateway ── proposal ──► state, durable ──► acknowledgement, to all nodes and gateways
//!   acknowledgements of enough nodes, from whoever carries them ──► set certified, durable ──► served
//! ```
//!
//! Between the acknowledgement and the certificate nothing is charged to sticky budgets. What is
//! charged afterwards is in the journal behind the certificate, so it need not wait for that one to
//! be durable: the record of the charge is not durable before.
//!
//! # What a new charter does
//!
//! It ends the set in force on this node, whatever it changes, but not its number. Each node
//! acknowledges the same number again, now under the new charter, if the set is still one of that
//! charter's; and with enough of these it is in force again, without any gateway. So whatever a
//! budget counted before it became sticky is reported before it is spent as one: an acknowledgement
//! under the charter before may leave that out. It is safe to acknowledge one number twice, because
//! the second report has in it whatever the first one had and still counts. A set that is none of
//! the new charter's is acknowledged by nobody, and a gateway proposes the next one. That nodes of
//! earlier charters have their say in the certificate is [`SetState::certify`]'s doing. Under a
//! charter without sticky budgets nothing happens here at all; the number stays for when one comes.
//!
//! Acknowledgements live in memory: a node that starts makes its own anew, and gets those of the
//! others when it connects.

use super::{Frame, Node, Peer, Record, Turn};
use quoin_api::frame::{Opaque, SetAcksFrame, SetProposal};
use quoin_core::cbor::Version;
use quoin_core::{Amount, NodeIndex, Signed, SignerSet, TimeMs};
use quoin_policy::{
    Constitution, Mode, Scope, SetAck, SetAdoption, SetSpend, SetStanding, SetState, bucket_end,
    verify_set_ack,
};
use std::collections::BTreeMap;

/// The shortest time between two numbers that this node acknowledges at a gateway's wish: each costs
/// a record and a flood, and an honest gateway waits longer.
const BETWEEN_MS: u64 = 200;
/// How often what is known is shown to all while the number is not certified here.
const SHOWN_MS: u64 = 1_000;

/// An acknowledgement as it was signed.
struct Known {
    bytes: Vec<u8>,
    ack: SetAck,
}

/// What a node knows of signer sets.
#[derive(Default)]
pub(super) struct Sets {
    /// This node's place, as journaled.
    state: SetState,
    /// The newest acknowledgement of each node under the charter in force, this one's among them.
    acks: BTreeMap<NodeIndex, Known>,
    /// The number that is certified under the charter in force, as far as this node has seen.
    settled: Option<u64>,
    /// When a gateway moved this node last.
    moved: Option<TimeMs>,
    /// When all was shown last.
    shown: Option<TimeMs>,
}

impl Sets {
    /// A charter came into force: whatever was acknowledged was so under the one before.
    pub(super) fn charter_changed(&mut self) {
        self.state.serving = false;
        self.acks.clear();
        self.settled = None;
    }

    /// A journaled place of this node.
    pub(super) fn restore(&mut self, state: SetState) {
        self.state = state;
    }

    /// How a request that names no set, or no set yet, stands to the one in force.
    pub(super) fn in_force(&self) -> SetStanding<'_> {
        let set = self.state.set.as_ref();
        set.map_or(SetStanding::Moving, |set| self.state.standing(set))
    }

    /// How a request for a set stands to the one in force; a local key's has none.
    pub(super) fn standing(&self, set: Option<&SignerSet>) -> SetStanding<'_> {
        set.map_or(SetStanding::Moving, |set| self.state.standing(set))
    }

    fn frame(&self) -> Frame {
        let all = self.acks.values();
        let acks = all.map(|known| Opaque(known.bytes.clone())).collect();
        Frame::SetAcks(SetAcksFrame { acks })
    }

    /// The acknowledgements by what they are for, the highest number first.
    fn by_subject(&self) -> Vec<Vec<&SetAck>> {
        let mut all: BTreeMap<(u64, &SignerSet), Vec<&SetAck>> = BTreeMap::new();
        for Known { ack, .. } in self.acks.values() {
            all.entry((ack.number, &ack.set)).or_default().push(ack);
        }
        all.into_values().rev().collect()
    }
}

impl Node {
    /// Whether there is anything to serve a set for, and a disk to remember it on.
    fn keeps_sets(&self) -> bool {
        let mut budgets = self.constitution.charter().budgets.iter();
        !self.storage_failed && budgets.any(|b| b.mode == Mode::Sticky)
    }

    /// A gateway wants another set. It hears what this node knows, whether it is taken or not: a
    /// gateway whose number has passed learns it from that.
    pub(super) fn on_set_proposal(
        &mut self,
        turn: &mut Turn<'_>,
        from: Peer,
        proposal: &SetProposal,
    ) {
        if !self.keeps_sets() {
            return;
        }
        let moved = self.sets.moved;
        let early = moved.is_some_and(|at| turn.now.since(at) < BETWEEN_MS);
        let (number, set) = (proposal.number, &proposal.set);
        let charter = self.constitution.charter();
        let next = self.sets.state.propose(charter, number, set);
        if let Ok(next) = next
            && next != self.sets.state
            && !early
        {
            self.sets.moved = Some(turn.now);
            self.sets.state = next.clone();
            self.persist(turn, Record::SetMoved(next));
            self.acknowledge(turn);
            self.certify_sets(turn);
        }
        let known = self.sets.frame();
        self.send_after_all(turn, from, known);
    }

    /// Acknowledges the number that this node is at, once under each charter.
    fn acknowledge(&mut self, turn: &mut Turn<'_>) {
        let (state, me) = (&self.sets.state, self.me());
        let Some(set) = state.set.clone() else {
            return;
        };
        let own = self.sets.acks.get(&me);
        let fits = state.propose(self.constitution.charter(), state.number, &set);
        if fits.is_err() || own.is_some_and(|own| own.ack.number == state.number) {
            return;
        }
        let ack = SetAck {
            version: Version,
            cluster: self.cluster,
            boot: self.boot,
            number: state.number,
            set,
            spends: self.ledger.spends(&self.constitution, turn.now),
            charter: self.constitution.hash(),
        };
        let bytes = Signed::sign(ack.clone(), &self.identity).to_bytes();
        let acks = vec![Opaque(bytes.clone())];
        self.sets.acks.insert(me, Known { bytes, ack });
        self.show_all(turn, &Frame::SetAcks(SetAcksFrame { acks }));
    }

    /// Shows something to every node and gateway, once all that it rests on is durable.
    fn show_all(&mut self, turn: &mut Turn<'_>, frame: &Frame) {
        let nodes = self.peers.connected_nodes().into_iter().map(Peer::Node);
        let gateways = self.pools.gateways().into_iter().map(Peer::Gateway);
        let all: Vec<Peer> = nodes.chain(gateways).collect();
        for to in all {
            self.send_after_all(turn, to, frame.clone());
        }
    }

    pub(super) fn on_set_acks(&mut self, turn: &mut Turn<'_>, from: &Peer, frame: &SetAcksFrame) {
        if !self.keeps_sets() {
            return;
        }
        let mut news = Vec::new();
        let mut knows_ours = false;
        for bytes in &frame.acks {
            let Ok(signed) = Signed::<SetAck>::from_bytes(&bytes.0) else {
                continue;
            };
            let (node, number) = (signed.unverified().boot.node, signed.unverified().number);
            knows_ours |= node == self.me();
            let known = self.sets.acks.get(&node);
            let passed = known.is_some_and(|known| known.ack.number >= number);
            if node == self.me() || passed {
                continue;
            }
            let Ok(ack) = verify_set_ack(&self.constitution, &signed) else {
                continue;
            };
            let (ack, bytes) = (ack.clone(), bytes.0.clone());
            news.push(Opaque(bytes.clone()));
            self.sets.acks.insert(node, Known { bytes, ack });
        }
        if news.is_empty() {
            return;
        }
        self.flood_all(turn, from, &Frame::SetAcks(SetAcksFrame { acks: news }));
        self.certify_sets(turn);
        // Whoever has just come under our charter has refused what we said under it before.
        if !knows_ours && let Peer::Node(_) = from {
            let known = self.sets.frame();
            self.send_after_all(turn, from.clone(), known);
        }
    }

    /// Takes the highest set into force that enough nodes have acknowledged.
    fn certify_sets(&mut self, turn: &mut Turn<'_>) {
        let (me, now) = (self.me(), turn.now);
        let state = &self.sets.state;
        let certified = self.sets.by_subject().into_iter().find_map(|acks| {
            let number = acks.first()?.number;
            let adoption = state.certify(&self.constitution, me, &acks, now).ok()?;
            Some((number, adoption))
        });
        let Some((number, adoption)) = certified else {
            return;
        };
        self.sets.settled = Some(number);
        // Who is no member has nothing to take but the number.
        let Some(adoption) = adoption.filter(|a| a.state != self.sets.state) else {
            return;
        };
        let adoption = SetAdoption {
            foreign: condensed(&self.constitution, adoption.foreign, now),
            ..adoption
        };
        self.adopt_set(&adoption);
        self.persist(turn, Record::SetAdopted(Box::new(adoption)));
        self.acknowledge(turn);
    }

    /// Takes a certified set, now or again after a start.
    pub(super) fn adopt_set(&mut self, adoption: &SetAdoption) {
        self.sets.state = adoption.state.clone();
        self.ledger.adopt(&adoption.foreign);
    }

    /// Sees to it that this node has acknowledged where it is, and that the others hear of it.
    pub(super) fn tend_sets(&mut self, turn: &mut Turn<'_>) {
        if !self.keeps_sets() {
            return;
        }
        self.acknowledge(turn);
        let settled = self.sets.settled == Some(self.sets.state.number);
        if !settled {
            self.certify_sets(turn);
        }
        let shown = self.sets.shown;
        let due = shown.is_none_or(|at| turn.now.since(at) >= SHOWN_MS);
        if !settled && due && !self.sets.acks.is_empty() {
            self.sets.shown = Some(turn.now);
            let known = self.sets.frame();
            self.show_all(turn, &known);
        }
    }

    /// Shows a peer that has just connected what is known. A gateway is told that nothing is, too:
    /// it need not wait then before it proposes the first set.
    pub(super) fn greet_with_sets(&mut self, turn: &mut Turn<'_>, peer: &Peer) {
        if !self.keeps_sets() {
            return;
        }
        self.acknowledge(turn);
        if matches!(peer, Peer::Gateway(_)) || !self.sets.acks.is_empty() {
            let known = self.sets.frame();
            self.send_after_all(turn, peer.clone(), known);
        }
    }
}

/// What counts of the reports of others, as one sum for each tally and bucket: so it is bounded by
/// the charter, whatever a malicious node reports, and its record can be read again.
///
/// Nothing that counts is lost. What has passed its window counts no more; of a budget that counts
/// each holder of a role apart, nobody is charged who does not hold it, and a charter that gives it
/// to somebody has all of this reported again; and a time that is no end of a bucket becomes the
/// end of the bucket that it is in, which is later.
fn condensed(constitution: &Constitution, foreign: Vec<SetSpend>, now: TimeMs) -> Vec<SetSpend> {
    let mut tallies: BTreeMap<SetSpend, BTreeMap<TimeMs, Amount>> = BTreeMap::new();
    for spend in foreign {
        let mut budgets = constitution.charter().budgets.iter();
        let budget = budgets.find(|b| {
            let held = match (&b.scope, &spend.holder) {
                (Scope::EachHolder(role), Some(holder)) => constitution
                    .principal(holder)
                    .is_some_and(|p| p.roles.contains(role)),
                (Scope::EachHolder(_), None) | (_, Some(_)) => false,
                (_, None) => true,
            };
            held && b.id == spend.budget && b.measure == spend.measure
        });
        let Some(budget) = budget else {
            continue;
        };
        let (window_ms, buckets) = (budget.window_ms, spend.buckets);
        let key = SetSpend {
            set: None,
            buckets: Vec::new(),
            ..spend
        };
        let tally = tallies.entry(key).or_default();
        for (end, amount) in buckets {
            let end = bucket_end(TimeMs(end.0.saturating_sub(1)), window_ms);
            if now.since(end) < window_ms {
                let sum = tally.entry(end).or_insert(Amount::ZERO);
                *sum = sum.checked_add(amount).unwrap_or(Amount::MAX);
            }
        }
    }
    let all = tallies
        .into_iter()
        .filter(|(_, buckets)| !buckets.is_empty());
    all.map(|(key, buckets)| SetSpend {
        buckets: buckets.into_iter().collect(),
        ..key
    })
    .collect()
}

#[cfg(test)]
impl Node {
    /// The number that this node is at, its set, and whether it serves it.
    pub(super) fn set_state(&self) -> &SetState {
        &self.sets.state
    }
}
