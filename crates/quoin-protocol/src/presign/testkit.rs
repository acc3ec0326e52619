//! Keys dealt by a trusted dealer, headers and a driver of sessions, for tests only.

use super::Started;
use crate::abort::Abort;
use crate::batch::{BatchHeader, Profile};
use crate::dkg::ModelScalar;
use crate::roster::Roster;
use crate::round::{Advance, Inbox, RoundMessage};
use crate::share::{KeyPublic, KeyShare, PublicShare};
use frost_core::{Ciphersuite, Field, Group};
use frost_ed25519::Ed25519Sha512;
use frost_secp256k1_tr::Secp256K1Sha256TR;
use quoin_core::cbor::Version;
use quoin_core::{
    BatchId, Boot, CeremonyId, CharterNumber, ClusterId, Generation, KeyId, Lane, NodeIndex,
    Purpose, Scheme, SecretBytes, ShareEpoch, SignerSet, SigningIdentity,
};
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A cluster with one key, and the header of one batch.
pub(crate) struct Fixture {
    pub header: BatchHeader,
    pub shares: BTreeMap<NodeIndex, KeyShare>,
    pub rosters: BTreeMap<NodeIndex, Arc<Roster>>,
    pub rng: ChaCha20Rng,
}

pub(crate) fn node(index: u8) -> NodeIndex {
    NodeIndex::new(index).unwrap()
}

pub(crate) fn set(indices: &[u8]) -> SignerSet {
    SignerSet::from_unordered(indices.iter().copied().map(node).collect()).unwrap()
}

/// Every set of `t` out of `n` nodes.
pub(crate) fn sets(t: usize, n: u8) -> Vec<Vec<u8>> {
    (0u32..1 << n)
        .filter(|bits| bits.count_ones() as usize == t)
        .map(|bits| (1..=n).filter(|i| (bits >> (i - 1)) & 1 == 1).collect())
        .collect()
}

/// Public key, and secret and public share of each node.
type Dealt = (Vec<u8>, Vec<([u8; 32], Vec<u8>)>);

fn deal<C: Ciphersuite>(t: usize, n: u8, rng: &mut ChaCha20Rng) -> Dealt {
    type F<C> = <<C as Ciphersuite>::Group as Group>::Field;
    let polynomial: Vec<_> = (0..t).map(|_| F::<C>::random(rng)).collect();
    let point = |scalar| {
        let point = <C::Group as Group>::generator() * scalar;
        <C::Group as Group>::serialize(&point)
            .unwrap()
            .as_ref()
            .to_vec()
    };
    let shares = (1..=n)
        .map(|i| {
            let x = (0..i).fold(F::<C>::zero(), |sum, _| sum + F::<C>::one());
            let y = polynomial
                .iter()
                .rev()
                .fold(F::<C>::zero(), |sum, c| sum * x + *c);
            let secret = F::<C>::serialize(&y).as_ref().try_into().unwrap();
            (secret, point(y))
        })
        .collect();
    (point(polynomial[0]), shares)
}

fn deal_model(t: usize, n: u8, rng: &mut ChaCha20Rng) -> Dealt {
    let polynomial: Vec<_> = (0..t).map(|_| ModelScalar::from(rng.next_u64())).collect();
    let shares = (1..=n)
        .map(|i| {
            let x = ModelScalar::from(u64::from(i));
            let y = polynomial
                .iter()
                .rev()
                .fold(ModelScalar::ZERO, |sum, c| sum * x + *c);
            (y.to_bytes(), y.to_bytes().to_vec())
        })
        .collect();
    (polynomial[0].to_bytes().to_vec(), shares)
}

fn key_public(scheme: Scheme, t: u8, dealt: &Dealt) -> KeyPublic {
    KeyPublic {
        version: Version,
        cluster: ClusterId([1; 32]),
        charter: CharterNumber(0),
        ceremony: CeremonyId([2; 16]),
        key: KeyId([3; 16]),
        name: "test".parse().unwrap(),
        scheme,
        purpose: Purpose::Trading,
        threshold: t,
        epoch: ShareEpoch(1),
        public_key: dealt.0.clone(),
        public_shares: (1..)
            .zip(&dealt.1)
            .map(|(i, (_, point))| PublicShare {
                node: node(i),
                point: point.clone(),
            })
            .collect(),
        transcript: [4; 32],
        chain_code: [7; 32],
        origin: quoin_core::KeyOrigin::Born,
        previous: None,
    }
}

/// A share of the key in `public`.
pub(crate) fn key_share(public: &KeyPublic, index: u8, secret: &[u8; 32]) -> KeyShare {
    KeyShare {
        public: public.clone(),
        node: node(index),
        secret: SecretBytes::take(&mut secret.clone()),
    }
}

/// The header of a batch of `size` for `signers`.
fn header_of(
    public: &KeyPublic,
    signers: &SignerSet,
    rosters: &BTreeMap<NodeIndex, Arc<Roster>>,
    size: u16,
) -> BatchHeader {
    let boot = |node| Boot {
        node,
        lane: Lane(0),
        generation: Generation(5),
    };
    BatchHeader {
        version: Version,
        cluster: public.cluster,
        charter: public.charter,
        key: public.key,
        scheme: public.scheme,
        public_key: public.public_key.clone(),
        epoch: public.epoch,
        set: signers.clone(),
        credentials: signers.iter().map(|n| rosters[&n].identity.id()).collect(),
        boots: signers.iter().map(boot).collect(),
        batch: BatchId {
            proposer: boot(signers.lowest()),
            counter: 1,
        },
        size,
        profile: match public.purpose {
            Purpose::Treasury => Profile::Treasury,
            _ => Profile::Normal,
        },
        shares_hash: public.shares_hash(),
    }
}

/// A cluster of `n` nodes with a `t`-of-n key, and a batch of `size` for `signers`.
pub(crate) fn fixture(
    scheme: Scheme,
    (t, n): (u8, u8),
    signers: &[u8],
    size: u16,
    seed: u64,
) -> Fixture {
    fixture_for(Purpose::Trading, scheme, (t, n), signers, size, seed)
}

/// The same for a treasury key.
pub(crate) fn treasury(
    scheme: Scheme,
    (t, n): (u8, u8),
    signers: &[u8],
    size: u16,
    seed: u64,
) -> Fixture {
    fixture_for(Purpose::Treasury, scheme, (t, n), signers, size, seed)
}

fn fixture_for(
    purpose: Purpose,
    scheme: Scheme,
    (t, n): (u8, u8),
    signers: &[u8],
    size: u16,
    seed: u64,
) -> Fixture {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let dealt = match scheme {
        Scheme::Ed25519 => deal::<Ed25519Sha512>(t.into(), n, &mut rng),
        Scheme::Ecdsa | Scheme::Taproot => deal::<Secp256K1Sha256TR>(t.into(), n, &mut rng),
        Scheme::Model => deal_model(t.into(), n, &mut rng),
    };
    let public = KeyPublic {
        purpose,
        ..key_public(scheme, t, &dealt)
    };
    let shares = (1..=n)
        .zip(&dealt.1)
        .map(|(i, (secret, _))| (node(i), key_share(&public, i, secret)))
        .collect();
    let identities: BTreeMap<_, _> = (1..=n)
        .map(|i| (node(i), Arc::new(SigningIdentity::generate(&mut rng))))
        .collect();
    let nodes: BTreeMap<_, _> = identities.iter().map(|(i, id)| (*i, id.public())).collect();
    let rosters = identities
        .into_iter()
        .map(|(me, identity)| {
            let nodes = nodes.clone();
            let roster = Roster {
                me,
                identity,
                nodes,
            };
            (me, Arc::new(roster))
        })
        .collect();
    Fixture {
        header: header_of(&public, &set(signers), &rosters, size),
        shares,
        rosters,
        rng,
    }
}

/// A function that starts a batch.
pub(crate) type Start<Out> = fn(
    BatchHeader,
    &KeyShare,
    Arc<Roster>,
    &mut dyn rand_core::CryptoRngCore,
) -> Result<Started<Out>, Abort>;

/// What each signer ends with.
pub(crate) type Results<Out> = BTreeMap<NodeIndex, Result<Out, Abort>>;

impl Fixture {
    /// Starts the batch at every signer.
    pub(crate) fn start<Out>(&mut self, start: Start<Out>) -> BTreeMap<NodeIndex, Started<Out>> {
        let signers: Vec<_> = self.header.set.iter().collect();
        let mut started = BTreeMap::new();
        for me in signers {
            let roster = Arc::clone(&self.rosters[&me]);
            let first = start(
                self.header.clone(),
                &self.shares[&me],
                roster,
                &mut self.rng,
            );
            started.insert(me, first.unwrap());
        }
        started
    }

    /// Runs the batch; `tamper` may change each message, or drop it by returning `false`.
    pub(crate) fn run<Out>(
        &mut self,
        start: Start<Out>,
        mut tamper: impl FnMut(NodeIndex, NodeIndex, &mut RoundMessage) -> bool,
    ) -> Results<Out> {
        let mut waiting = self.start(start);
        let mut results = Results::new();
        while !waiting.is_empty() {
            let mut inboxes: BTreeMap<NodeIndex, Inbox> = BTreeMap::new();
            let mut rounds = BTreeMap::new();
            for (from, (round, outbox)) in waiting {
                for (to, mut message) in outbox {
                    assert_eq!(message.round, round.number());
                    if tamper(from, to, &mut message) {
                        inboxes.entry(to).or_default().insert(from, message);
                    }
                }
                rounds.insert(from, round);
            }
            waiting = BTreeMap::new();
            for (me, round) in rounds {
                let inbox = inboxes.remove(&me).unwrap_or_default();
                match round.finish(inbox, &mut self.rng) {
                    Ok(Advance::Next(round, outbox)) => {
                        waiting.insert(me, (round, outbox));
                    }
                    Ok(Advance::Done(out)) => {
                        results.insert(me, Ok(out));
                    }
                    Err(abort) => {
                        results.insert(me, Err(abort));
                    }
                }
            }
        }
        results
    }

    /// Runs the batch without interference.
    pub(crate) fn presign<Out>(&mut self, start: Start<Out>) -> BTreeMap<NodeIndex, Out> {
        self.run(start, |_, _, _| true)
            .into_iter()
            .map(|(node, result)| (node, result.unwrap()))
            .collect()
    }

    /// The public record of the key.
    pub(crate) fn public(&self) -> &KeyPublic {
        &self.shares[&node(1)].public
    }
}
