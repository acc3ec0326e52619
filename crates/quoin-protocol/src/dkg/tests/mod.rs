//! Tests of key generation: a whole cluster in one process, with a participant that cheats.
//!
//! The cheat can change any message before it is delivered and sign it again, and can start with
//! a polynomial or an opening of its own making; so one test breaks one rule and nothing else.

mod ceremony;
mod certificates;
mod complaints;
mod envelopes;
mod guards;
mod malice;
mod starts;
mod succession;
mod table;
mod tampering;

use super::context::{Context, digest};
use super::dealer::{Dealer, Dealing};
use super::group::Group;
use super::guard::Guard;
use super::plan::Plan;
use super::polynomial::Polynomial;
use super::rounds::{Committed, Part};
use super::wire::Opening;
use super::{DkgParams, Generated, Succession, SuccessionParams, deal_for_tests};
use crate::abort::{Abort, Fault};
use crate::roster::Roster;
use crate::round::{Advance, Inbox, Outbox, Round, RoundMessage};
use crate::share::KeyShare;
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
    /// The ceremony, unless it is a birth.
    pub(super) succession: Option<SuccessionParams>,
    /// The shares of the epoch before.
    pub(super) shares: BTreeMap<NodeIndex, KeyShare>,
}

/// A second copy of a share, as two nodes or two tests may need it.
pub(super) fn copy(share: &KeyShare) -> KeyShare {
    KeyShare {
        public: share.public.clone(),
        node: share.node,
        secret: share.secret.duplicate_secret(),
    }
}

impl Cluster {
    pub(super) fn new(scheme: Scheme, threshold: u8, size: u8) -> Self {
        let nodes: Vec<u8> = (1..=size).collect();
        Self::of(scheme, threshold, &nodes)
    }

    fn of(scheme: Scheme, threshold: u8, nodes: &[u8]) -> Self {
        let identity = |i| SigningIdentity::from_seed(&SecretBytes::take(&mut [i; 32]));
        let all = nodes.iter().map(|i| (node(*i), Arc::new(identity(*i))));
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
            boots: identities.keys().map(|n| boot(n.get())).collect(),
        };
        Self {
            params,
            identities,
            nodes,
            succession: None,
            shares: BTreeMap::new(),
        }
    }

    /// The nodes that are to move the key of `shares` to its next epoch.
    pub(super) fn after(
        shares: BTreeMap<NodeIndex, KeyShare>,
        nodes: &[u8],
        how: Succession,
    ) -> Self {
        let base = shares.values().next().unwrap().public.clone();
        let mut cluster = Self::of(base.scheme, base.threshold, nodes);
        let epoch = u8::try_from(base.epoch.0).unwrap();
        let held: Vec<u8> = base.public_shares.iter().map(|s| s.node.get()).collect();
        let held = Self::of(base.scheme, base.threshold, &held).nodes;
        cluster.succession = Some(SuccessionParams {
            cluster: base.cluster,
            charter: CharterNumber(base.charter.0 + 1),
            ceremony: CeremonyId([50 + epoch; 16]),
            boots: cluster.params.boots.clone(),
            holders: held.iter().map(|(n, c)| (*n, c.id())).collect(),
            base,
            how,
        });
        cluster.shares = shares;
        cluster
    }

    /// All nodes of a fresh key, about to refresh it.
    pub(super) fn refresh(scheme: Scheme, threshold: u8, size: u8) -> Self {
        let nodes: Vec<u8> = (1..=size).collect();
        Self::after(dealt(scheme, threshold, size), &nodes, Succession::Refresh)
    }

    /// Four nodes, of which 1 to 3 hold a fresh key with a threshold of 2, about to share it to
    /// all four with a threshold of 3. Nodes 1 and 3 deal.
    pub(super) fn reshare(scheme: Scheme) -> Self {
        Self::after(dealt(scheme, 2, 3), &[1, 2, 3, 4], reshare(3, &[1, 3]))
    }

    pub(super) fn plan(&self) -> Plan {
        match &self.succession {
            Some(succession) => succession.clone().into(),
            None => self.params.clone().into(),
        }
    }

    pub(super) fn sid(&self) -> [u8; 32] {
        self.plan().sid(&self.nodes)
    }

    pub(super) fn roster(&self, me: NodeIndex) -> Arc<Roster> {
        Arc::new(Roster {
            me,
            identity: self.identities[&me].clone(),
            nodes: self.nodes.clone(),
        })
    }

    pub(super) fn context(&self, me: NodeIndex) -> Context {
        Context::new(self.plan(), self.roster(me)).unwrap()
    }

    pub(super) fn start(&self) -> BTreeMap<NodeIndex, Started> {
        let start = |me: &NodeIndex| self.start_one(*me).unwrap();
        self.nodes.keys().map(|me| (*me, start(me))).collect()
    }

    pub(super) fn start_one(&self, me: NodeIndex) -> Result<Started, Abort> {
        let mut rng = rng(u64::from(me.get()));
        match &self.succession {
            Some(params) => {
                let share = self.shares.get(&me);
                super::start_succession(params.clone(), self.roster(me), share, &mut rng)
            }
            None => super::start(self.params.clone(), self.roster(me), &mut rng),
        }
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
        let mut dealing = Dealing::new(&self.plan(), dealer, polynomial, &mut rng);
        edit(&mut dealing.opening);
        let part = Part {
            dealing: Some(dealing),
            carried: Box::new(self.carried::<G>(me).into()),
        };
        Committed::new(self.context(me), part, &mut rng).unwrap()
    }

    /// What the new share of `me` starts from.
    fn carried<G: Group>(&self, me: NodeIndex) -> G::Scalar {
        match self.succession.as_ref().map(|s| &s.how) {
            Some(Succession::Refresh) => {
                G::decode_scalar(self.shares[&me].secret.expose()).unwrap()
            }
            _ => G::zero(),
        }
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

/// Shares of a fresh key for the nodes 1 to `size`.
pub(super) fn dealt(scheme: Scheme, threshold: u8, size: u8) -> BTreeMap<NodeIndex, KeyShare> {
    let cluster = Cluster::new(scheme, threshold, size);
    let dealt = deal_for_tests(&cluster.params, &cluster.identities, &mut rng(9));
    dealt.unwrap().0
}

pub(super) fn reshare(threshold: u8, dealers: &[u8]) -> Succession {
    Succession::Reshare {
        threshold,
        dealers: dealers.iter().copied().map(node).collect(),
    }
}

/// Asserts that `attempt` ends in `refused`, and that it ends otherwise once `guard` is off: so it
/// is this check that refuses, and no other that happens to stand behind it.
#[track_caller]
pub(crate) fn assert_guarded<T: PartialEq + std::fmt::Debug>(
    guard: Guard,
    refused: &T,
    attempt: impl Fn() -> T,
) {
    assert_eq!(attempt(), *refused, "{guard:?}");
    let unguarded = guard.without(&attempt);
    assert_ne!(unguarded, *refused, "{guard:?} is not what refuses");
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
