//! Tests of key generation: a whole cluster in one process, with a participant that cheats.
//!
//! The cheat can change any message before it is delivered and sign it again, and can start with
//! a polynomial or an opening of its own making; so one test breaks one rule and nothing else.

mod ceremony;
mod certificates;
mod complaints;
mod envelopes;
mod malice;

use super::context::{Context, digest};
use super::dealer::{Dealer, make_opening};
use super::group::Group;
use super::polynomial::Polynomial;
use super::rounds::Committed;
use super::wire::Opening;
use super::{DkgParams, Generated};
use crate::abort::{Abort, Fault};
use crate::roster::Roster;
use crate::round::{Advance, Inbox, Outbox, Round, RoundMessage};
use minicbor::{Decode, Encode};
use quoin_core::{
    Boot, CeremonyId, CharterNumber, ClusterId, Generation, KeyId, Lane, NodeIndex,
    PublicCredential, Purpose, Scheme, SecretBytes, SigningIdentity, cbor,
};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) const SCHEMES: [Scheme; 4] = [
    Scheme::Ecdsa,
    Scheme::Taproot,
    Scheme::Ed25519,
    Scheme::Model,
];

pub(super) fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

pub(super) fn node(index: u8) -> NodeIndex {
    NodeIndex::new(index).unwrap()
}

/// A participant that waits for messages, and what it has sent.
pub(super) type Started = (Box<dyn Round<Generated>>, Outbox);
/// What everyone sent in one round, by sender.
pub(super) type Sent = BTreeMap<NodeIndex, Outbox>;
/// How the ceremony ended for each node.
pub(super) type Outcomes = BTreeMap<NodeIndex, Result<Generated, Abort>>;

/// A cluster's identities and the ceremony it is to hold.
pub(super) struct Cluster {
    pub(super) params: DkgParams,
    pub(super) identities: BTreeMap<NodeIndex, Arc<SigningIdentity>>,
    pub(super) nodes: BTreeMap<NodeIndex, PublicCredential>,
}

impl Cluster {
    pub(super) fn new(scheme: Scheme, threshold: u8, size: u8) -> Self {
        let identity = |i| SigningIdentity::from_seed(&SecretBytes::take(&mut [i; 32]));
        let all = (1..=size).map(|i| (node(i), Arc::new(identity(i))));
        let identities: BTreeMap<_, _> = all.collect();
        let nodes = identities.iter().map(|(n, i)| (*n, i.public())).collect();
        let boot = |i| Boot {
            node: node(i),
            lane: Lane(0),
            generation: Generation(u64::from(i)),
        };
        let params = DkgParams {
            cluster: ClusterId([1; 32]),
            charter: CharterNumber(2),
            ceremony: CeremonyId([3; 16]),
            key: KeyId([4; 16]),
            name: "desk".parse().unwrap(),
            scheme,
            purpose: Purpose::Trading,
            threshold,
            boots: (1..=size).map(boot).collect(),
        };
        Self {
            params,
            identities,
            nodes,
        }
    }

    pub(super) fn sid(&self) -> [u8; 32] {
        self.params.sid(&self.nodes)
    }

    pub(super) fn roster(&self, me: NodeIndex) -> Arc<Roster> {
        Arc::new(Roster {
            me,
            identity: self.identities[&me].clone(),
            nodes: self.nodes.clone(),
        })
    }

    pub(super) fn context(&self, me: NodeIndex) -> Context {
        Context::new(self.params.clone(), self.roster(me)).unwrap()
    }

    pub(super) fn start(&self) -> BTreeMap<NodeIndex, Started> {
        let start = |me: &NodeIndex| {
            let mut rng = rng(u64::from(me.get()));
            super::start(self.params.clone(), self.roster(*me), &mut rng).unwrap()
        };
        self.nodes.keys().map(|me| (*me, start(me))).collect()
    }

    /// Starts `me` with this polynomial and whatever `edit` makes of its opening.
    pub(super) fn craft<G: Group>(
        &self,
        me: NodeIndex,
        polynomial: Polynomial<G>,
        edit: impl FnOnce(&mut Opening),
    ) -> (Committed<G>, Outbox) {
        let mut rng = rng(100 + u64::from(me.get()));
        let sid = self.sid();
        let dealer = Dealer {
            sid: &sid,
            node: me,
        };
        let mut opening = make_opening(dealer, &polynomial, &mut rng);
        edit(&mut opening);
        Committed::new(self.context(me), polynomial, opening, &mut rng).unwrap()
    }

    /// A ceremony in which node 1 starts with an opening of its own making.
    pub(super) fn run_crafted<G: Group>(
        &self,
        polynomial: Polynomial<G>,
        edit: impl FnOnce(&mut Opening),
    ) -> Outcomes {
        let mut started = self.start();
        let (round, outbox) = self.craft(node(1), polynomial, edit);
        started.insert(node(1), (Box::new(round), outbox));
        self.run_from(started, &mut |_| {})
    }

    /// A ceremony in which `tamper` may change what has been sent, after each round.
    pub(super) fn run(&self, tamper: &mut dyn FnMut(&mut Vec<Sent>)) -> Outcomes {
        self.run_from(self.start(), tamper)
    }

    pub(super) fn run_from(
        &self,
        started: BTreeMap<NodeIndex, Started>,
        tamper: &mut dyn FnMut(&mut Vec<Sent>),
    ) -> Outcomes {
        let (mut history, mut outcomes) = (Vec::new(), Outcomes::new());
        let mut waiting = started;
        while !waiting.is_empty() {
            let sent = waiting.iter().map(|(n, (_, out))| (*n, out.clone()));
            history.push(sent.collect());
            tamper(&mut history);
            let inboxes = history.last().unwrap().clone();
            for (me, (round, _)) in std::mem::take(&mut waiting) {
                assert_eq!(usize::from(round.number()), history.len());
                let mut rng = rng(u64::from(me.get()) + 1000 * history.len() as u64);
                match round.finish(inbox_of(&inboxes, me), &mut rng) {
                    Ok(Advance::Next(round, outbox)) => {
                        waiting.insert(me, (round, outbox));
                    }
                    Ok(Advance::Done(generated)) => {
                        outcomes.insert(me, Ok(generated));
                    }
                    Err(abort) => {
                        outcomes.insert(me, Err(abort));
                    }
                }
            }
        }
        outcomes
    }

    /// A message that `from` signs for itself.
    pub(super) fn message(&self, round: u8, from: NodeIndex, body: Vec<u8>) -> RoundMessage {
        let digest = digest(&self.sid(), round, from, &body);
        RoundMessage {
            round,
            signature: self.identities[&from].sign(&digest),
            broadcast: body,
            private: Vec::new(),
        }
    }

    /// Runs with node 1's body of `round` changed by `edit`, signed again, and sent to everyone.
    pub(super) fn run_edited<T>(&self, round: u8, mut edit: impl FnMut(&mut T)) -> Outcomes
    where
        T: Encode<()> + for<'b> Decode<'b, ()>,
    {
        self.run(&mut |history| {
            if history.len() == usize::from(round) {
                let outbox = history.last_mut().unwrap().get_mut(&node(1)).unwrap();
                let first = outbox.values().next().unwrap();
                let mut body: T = cbor::decode(&first.broadcast, 4096).unwrap();
                edit(&mut body);
                let message = self.message(round, node(1), cbor::encode(&body));
                for place in outbox.values_mut() {
                    *place = message.clone();
                }
            }
        })
    }
}

/// What everyone sent to `me`.
pub(super) fn inbox_of(sent: &Sent, me: NodeIndex) -> Inbox {
    let to_me = sent.iter();
    to_me
        .filter_map(|(from, out)| Some((*from, out.get(&me)?.clone())))
        .collect()
}

/// Asserts that each honest node (all but node 1) aborts and names node 1 with this fault only.
#[track_caller]
pub(super) fn assert_blamed(outcomes: &Outcomes, fault: Fault) {
    assert_all_abort(outcomes, &[(Some(node(1)), fault)]);
}

/// Asserts that each honest node (all but node 1) aborts with exactly these faults.
#[track_caller]
pub(super) fn assert_all_abort(outcomes: &Outcomes, faults: &[(Option<NodeIndex>, Fault)]) {
    for (me, outcome) in outcomes.iter().filter(|(me, _)| me.get() != 1) {
        let abort = outcome.as_ref().err();
        let found = abort.map(|abort| abort.faults.as_slice());
        assert_eq!(found, Some(faults), "{me:?}");
    }
}
