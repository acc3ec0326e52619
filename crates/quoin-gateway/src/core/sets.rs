//! The numbered signer set: which nodes a gateway asks while the charter has sticky budgets.
//!
//! Sticky budgets are spent through one set only, the one in force on the nodes. So the gateway asks
//! that set for every key that its members hold, and proposes the next number when a member is away
//! or does not answer for some seconds. It decides nothing by that: nodes take a number once, and
//! serve a set only when enough of them have acknowledged it. What it knows of numbers it reads from
//! their signed acknowledgements, so a gateway that starts anew needs no memory of its own.
//!
//! While no set is in force, or a member of it is away, other sets are asked as if there were none:
//! what no sticky budget counts is signed by them. What is counted waits for the next set.
//!
//! # More than one gateway
//!
//! Two gateways that propose different sets for one number can split the nodes, so that neither is
//! certified. Both then see the same acknowledgements, and both prefer what most nodes have
//! acknowledged of the highest number: their next proposals agree. Where they see different ones,
//! each waits longer from try to try, and not as long as the other. Where each cannot reach a member
//! of the other's set, they take turns, less and less often.

use super::event::{Effect, Misbehaviour};
use super::flight::{Flight, Stage};
use super::nodes::Wish;
use super::outcome::{KeyEntry, Outcome};
use super::{Gateway, misbehaved};
use quoin_api::Frame;
use quoin_api::frame::{Opaque, SetAcksFrame, SetProposal};
use quoin_core::{CharterHash, NodeIndex, Signed, SignerSet, TimeMs};
use quoin_policy::{SET_STEP_MAX, SetAck};
use std::collections::{BTreeMap, BTreeSet};

/// How long a member may be away or silent before another set is proposed: a restart takes less.
const DOWN_MS: u64 = 3_000;
/// How long members of the set in force may refuse it as another one's.
const REFUSED_MS: u64 = 2_000;
/// After so long without a refusal the next one begins a new count.
const REFUSED_PAUSE_MS: u64 = 2_000;
/// How long nodes may take to say what they know, and to certify what was proposed.
const SETTLE_MS: u64 = 1_000;
/// How much longer a gateway may wait than another one, at most.
const APART_MS: u64 = 1_000;
/// After so long without a move the next one is not delayed by those before.
const CALM_MS: u64 = 60_000;
/// How often a wait doubles, at most.
const DOUBLINGS_MAX: u32 = 4;
/// How often a node is shown the acknowledgements that it seems to lack, at most.
const RELAY_MS: u64 = 500;
/// How often a request that waits for a set is tried again although no news came.
pub(super) const RETRY_MS: u64 = 500;

/// A node's newest acknowledgement.
#[derive(Debug)]
struct Known {
    bytes: Vec<u8>,
    number: u64,
    set: SignerSet,
    charter: CharterHash,
}

/// What a gateway knows of signer sets.
#[derive(Debug, Default)]
pub(super) struct Sets {
    acks: BTreeMap<NodeIndex, Known>,
    /// Nodes that have said what they know since they came.
    heard: BTreeSet<NodeIndex>,
    /// Since when there is something to do, and what.
    trouble: Option<(Trouble, TimeMs)>,
    /// Proposals since a set was in force and served by all of its members.
    tries: u32,
    /// Sets that were left because of a member, and when the last one was.
    moves: (u32, TimeMs),
    /// When a member of the set in force refused it last.
    refused: Option<TimeMs>,
    relayed: BTreeMap<NodeIndex, TimeMs>,
}

/// Why the set in force is to be followed by another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// None is in force, or a member has acknowledged a higher number than its.
    Unsettled,
    /// A member is away or does not answer.
    Absent,
    /// A member refuses the set that it acknowledged.
    Refused,
}

impl Sets {
    /// Forgets what a node said: the charter names another identity at its index, or none.
    pub(super) fn forget(&mut self, node: NodeIndex) {
        self.acks.remove(&node);
        self.gone(node);
    }

    /// A node has come or gone: what it knows now is not known here.
    pub(super) fn gone(&mut self, node: NodeIndex) {
        self.heard.remove(&node);
        self.relayed.remove(&node);
    }

    /// A charter came into force: what was acknowledged was so under the one before, and nodes
    /// acknowledge it again if it is still one of theirs.
    pub(super) fn charter_changed(&mut self) {
        self.heard.clear();
        self.trouble = None;
    }

    /// The set with the highest number that `needed` nodes have acknowledged under a charter.
    fn in_force(&self, charter: CharterHash, needed: u8) -> Option<(u64, &SignerSet)> {
        let mut counts: BTreeMap<(u64, &SignerSet), usize> = BTreeMap::new();
        for known in self.acks.values().filter(|k| k.charter == charter) {
            *counts.entry((known.number, &known.set)).or_default() += 1;
        }
        let mut highest = counts.into_iter().rev();
        let found = highest.find(|(_, count)| *count >= usize::from(needed));
        found.map(|(subject, _)| subject)
    }

    /// The number after all that nodes have acknowledged. One that is further ahead than a node
    /// takes in one step is a lie, and would have all others refuse the next.
    fn next_number(&self) -> u64 {
        let none_yet = self.heard.iter().filter(|n| !self.acks.contains_key(n));
        let none_yet = none_yet.map(|_| 0);
        let mut numbers: Vec<u64> = self.acks.values().map(|k| k.number).collect();
        numbers.extend(none_yet);
        numbers.sort_unstable();
        let lowest = numbers.first().copied().unwrap_or_default();
        let reach = |at: u64, next: u64| match next.saturating_sub(at) < SET_STEP_MAX {
            true => next,
            false => at,
        };
        numbers.into_iter().fold(lowest, reach).saturating_add(1)
    }

    /// What most nodes have acknowledged of the highest number that any has.
    fn favourite(&self) -> Option<&SignerSet> {
        let highest = self.next_number().saturating_sub(1);
        let mut counts: BTreeMap<&SignerSet, usize> = BTreeMap::new();
        for known in self.acks.values().filter(|k| k.number == highest) {
            *counts.entry(&known.set).or_default() += 1;
        }
        // Of equals the first, so that every gateway has the same.
        let most = counts.values().max().copied()?;
        let mut all = counts.into_iter();
        all.find(|(_, count)| *count == most).map(|(set, _)| set)
    }
}

impl Gateway {
    /// The set in force on the nodes, as far as this gateway knows.
    fn set_in_force(&self) -> Option<(u64, &SignerSet)> {
        let view = self.charters.view();
        self.sets.in_force(view.hash, view.threshold)
    }

    /// The set that a key is to be asked for because sticky budgets may count what it signs; `None`
    /// when any will do, or when this one is not there.
    pub(super) fn sticky_set(
        &self,
        entry: &KeyEntry,
        flight: Option<&Flight>,
    ) -> Option<SignerSet> {
        let view = self.charters.view();
        let (_, set) = self.set_in_force().filter(|_| view.has_sticky_budgets)?;
        let holders = view.live_holders(&entry.public);
        let fits = set.size() == usize::from(entry.public.threshold);
        let bad = flight.is_some_and(|f| {
            f.bad_sets.contains(set) || set.iter().any(|n| f.avoided.contains(&n))
        });
        let there = set
            .iter()
            .all(|n| holders.contains(&n) && self.nodes.is_up(n));
        (fits && there && !bad).then(|| set.clone())
    }

    pub(super) fn on_set_acks(
        &mut self,
        now: TimeMs,
        from: NodeIndex,
        frame: SetAcksFrame,
        effects: &mut Vec<Effect>,
    ) {
        self.sets.heard.insert(from);
        let before = self.set_in_force().map(|(number, _)| number);
        for bytes in frame.acks {
            if let Err(how) = self.take_ack(from, bytes.0) {
                misbehaved(from, how, effects);
            }
        }
        if self.set_in_force().map(|(number, _)| number) != before {
            self.sets.refused = None;
            self.prefetch(now, effects);
            let waits =
                |f: &Flight| matches!(f.stage, Stage::AwaitingSet(_) | Stage::AwaitingLease(..));
            for id in self.flights_by_arrival(waits) {
                self.launch(now, id, effects);
            }
        }
        self.tend_sets(now, effects);
    }

    fn take_ack(&mut self, from: NodeIndex, bytes: Vec<u8>) -> Result<(), Misbehaviour> {
        let read = Signed::<SetAck>::from_bytes(&bytes);
        let signed = read.map_err(|_| Misbehaviour::ForgedStatement)?;
        let (node, number) = (signed.unverified().boot.node, signed.unverified().number);
        let view = self.charters.view();
        let known = self.sets.acks.get(&node);
        let again = known.is_some_and(|k| {
            // One of the same number is news when it is under the charter that is in force.
            let moved = number == k.number && k.charter != view.hash;
            number < k.number || number == k.number && !moved
        });
        if again {
            return Ok(());
        }
        let ack: SetAck = match self.statement_of(node, &bytes) {
            Ok(ack) => ack,
            // Of a node that is in a charter which only they have, or only we.
            Err(_) if node != from => return Ok(()),
            Err(how) => return Err(how),
        };
        if ack.cluster != view.cluster {
            return Err(Misbehaviour::WrongSubject);
        }
        let known = Known {
            bytes,
            number,
            set: ack.set,
            charter: ack.charter,
        };
        self.sets.acks.insert(node, known);
        Ok(())
    }

    /// A node says that a sticky budget counts the request and that it serves another set, or none.
    pub(super) fn on_other_set(
        &mut self,
        now: TimeMs,
        from: NodeIndex,
        flight: &mut Flight,
        asked: &SignerSet,
        effects: &mut Vec<Effect>,
    ) -> Option<Outcome> {
        // The set in force alone can sign it: who failed before is asked again, or replaced.
        flight.avoided.clear();
        flight.stage = Stage::AwaitingSet(now);
        let in_force = self.set_in_force().map(|(_, set)| set.clone());
        if in_force.as_ref() != Some(asked) {
            let key = flight.ask.key.and_then(|key| self.keys.get(&key)).cloned();
            let there = key.is_some_and(|key| self.sticky_set(&key, Some(flight)).is_some());
            return match there {
                true => self.step(now, flight, effects),
                false => None,
            };
        }
        self.sets.refused = Some(now);
        let relayed = self.sets.relayed.get(&from);
        if relayed.is_none_or(|at| now.since(*at) >= RELAY_MS) {
            self.sets.relayed.insert(from, now);
            let all = self.sets.acks.values();
            let acks = all.map(|known| Opaque(known.bytes.clone())).collect();
            effects.push(Effect::Send(from, Frame::SetAcks(SetAcksFrame { acks })));
        }
        None
    }

    /// Proposes the next set when there is reason to, and has been for long enough.
    pub(super) fn tend_sets(&mut self, now: TimeMs, effects: &mut Vec<Effect>) {
        let view = self.charters.view();
        let (sticky, threshold) = (view.has_sticky_budgets, usize::from(view.threshold));
        let trouble = match self.trouble(now) {
            Some(trouble) if sticky && self.nodes.up().count() >= threshold => trouble,
            other => {
                self.sets.trouble = None;
                if other.is_none() {
                    self.sets.tries = 0;
                }
                return;
            }
        };
        let since = match self.sets.trouble {
            Some((same, since)) if same == trouble => since,
            _ => now,
        };
        self.sets.trouble = Some((trouble, since));
        if now.since(since) < self.patience(trouble, now) {
            return;
        }
        let Some(set) = self.next_set(now, trouble) else {
            return;
        };
        match trouble {
            Trouble::Unsettled => self.sets.tries = self.sets.tries.saturating_add(1),
            Trouble::Absent | Trouble::Refused => {
                let moves = self.recent_moves(now).saturating_add(1);
                self.sets.moves = (moves, now);
                self.sets.tries = 1;
            }
        }
        self.sets.trouble = None;
        self.sets.refused = None;
        let number = self.sets.next_number();
        let up: Vec<NodeIndex> = self.nodes.up().collect();
        for node in up {
            let set = set.clone();
            let proposal = Frame::SetProposal(SetProposal { number, set });
            effects.push(Effect::Send(node, proposal));
        }
    }

    fn trouble(&self, now: TimeMs) -> Option<Trouble> {
        let Some((number, set)) = self.set_in_force() else {
            return Some(Trouble::Unsettled);
        };
        let mut members = set.iter();
        let acks = &self.sets.acks;
        if set
            .iter()
            .any(|n| acks.get(&n).is_some_and(|k| k.number > number))
        {
            return Some(Trouble::Unsettled);
        }
        if members.any(|n| !self.nodes.is_well(now, n)) {
            return Some(Trouble::Absent);
        }
        let refused = self.sets.refused;
        let refused = refused.filter(|last| now.since(*last) < REFUSED_PAUSE_MS);
        refused.map(|_| Trouble::Refused)
    }

    /// How long a trouble may last before another set is proposed.
    fn patience(&self, trouble: Trouble, now: TimeMs) -> u64 {
        let doubled = |ms: u64, times: u32| ms << times.min(DOUBLINGS_MAX);
        let everyone = || {
            let mut all = self.nodes.all();
            all.all(|n| self.nodes.is_up(n) && self.sets.heard.contains(&n))
        };
        match (trouble, self.sets.tries) {
            // Nobody has acknowledged anything: this is the first set.
            (Trouble::Unsettled, 0) if self.sets.acks.is_empty() && everyone() => 0,
            (Trouble::Unsettled, 0) => SETTLE_MS,
            (Trouble::Unsettled, tries) => {
                doubled(SETTLE_MS, tries.saturating_sub(1)) + spread(self.boot, tries)
            }
            (Trouble::Absent, _) => doubled(DOWN_MS, self.recent_moves(now)),
            (Trouble::Refused, _) => doubled(REFUSED_MS, self.recent_moves(now)),
        }
    }

    fn recent_moves(&self, now: TimeMs) -> u32 {
        let (moves, at) = self.sets.moves;
        match now.since(at) < CALM_MS {
            true => moves,
            false => 0,
        }
    }

    /// What to propose: for the sake of agreement what most nodes have acknowledged, if it would do;
    /// otherwise the first of the nodes that are well and hold the keys.
    fn next_set(&self, now: TimeMs, trouble: Trouble) -> Option<SignerSet> {
        let view = self.charters.view();
        let size = usize::from(view.threshold);
        let well = |set: &SignerSet| {
            let mut members = set.iter();
            set.size() == size && members.all(|n| self.nodes.is_well(now, n))
        };
        let agreed = match trouble {
            Trouble::Refused => self.set_in_force().map(|(_, set)| set),
            Trouble::Unsettled | Trouble::Absent => self.sets.favourite(),
        };
        if let Some(set) = agreed.filter(|set| well(set)) {
            return Some(set.clone());
        }
        let everyone: BTreeSet<NodeIndex> = self.nodes.all().collect();
        let keys = self
            .keys_in_use()
            .filter(|k| usize::from(k.public.threshold) == size);
        let holders = keys.fold(everyone.clone(), |all, key| {
            let of_key = view.live_holders(&key.public);
            all.intersection(&of_key).copied().collect()
        });
        let (nobody, no_set) = (BTreeSet::new(), BTreeSet::new());
        let first = |holders: &BTreeSet<NodeIndex>| {
            let wish = Wish {
                holders,
                size,
                avoided: &nobody,
                bad: &no_set,
            };
            self.nodes.choose(now, &wish)
        };
        first(&holders).or_else(|| first(&everyone))
    }
}

/// Some time below [`APART_MS`] that differs from gateway to gateway and from try to try.
const fn spread(boot: u64, tries: u32) -> u64 {
    let mixed = (boot ^ ((tries as u64) << 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) % APART_MS
}
