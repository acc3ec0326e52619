//! The known-answer test of a build: one golden batch, run in memory before any real one.
//!
//! A node whose build computes something else would look like a cheat to its peers and collect
//! strikes (construction, section 21.11). The batch has production arithmetic but only four
//! presignatures, because the base transfers cost the same in any size; it takes about 60 ms of
//! processor time in a release build. It says nothing about side channels.

use super::combine::{CombineFault, combine};
use super::field::{base_mul, encode_point};
use super::params::{Params, SelfTestSize};
use super::presignature::{Presignature, SignFault};
use super::start_batch;
use crate::Abort;
use crate::batch::{BatchHeader, Profile};
use crate::roster::Roster;
use crate::round::{Advance, Inbox, Outbox, Round};
use crate::share::{KeyPublic, KeyShare, PublicShare};
use k256::Scalar;
use quoin_core::cbor::{self, Version};
use quoin_core::hash::{TaggedHasher, tagged};
use quoin_core::{
    BatchId, Boot, CeremonyId, CharterNumber, ClusterId, Generation, KeyId, KeyName, KeyOrigin,
    Lane, NodeIndex, Purpose, Scheme, SecretBytes, ShareEpoch, SignerSet, SigningIdentity, tags,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Hash of every message of the golden batch and of its first signature.
const GOLDEN: &str = "9f74fdeb321fb6dc364fd2773e195e5b049c9d0bfb091824b5ddf45834419e1a";

/// The digest that the golden signature is over.
const DIGEST: [u8; 32] = [0x51; 32];
/// The tweak of its key.
const TWEAK: [u8; 32] = [0x17; 32];

/// Why a build must not take part in any batch.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SelfTestFault {
    /// The fixed inputs of the test could not be built.
    #[error("the self-test's fixed inputs are not valid")]
    Setup,
    /// The golden batch aborted.
    #[error("the golden batch aborted: {0}")]
    Aborted(#[from] Abort),
    /// A golden presignature gave no answer.
    #[error("the golden presignature gave no answer: {0}")]
    Answer(#[from] SignFault),
    /// The golden answers gave no signature.
    #[error("the golden answers gave no signature: {0}")]
    Combine(#[from] CombineFault),
    /// The golden batch gave other bytes.
    #[error("the golden batch gave `{0}`")]
    OtherBytes(String),
}

/// Runs the golden batch of two signers and compares every byte and one signature.
///
/// # Errors
/// When this build does not compute what it must: it may not presign.
pub fn self_test() -> Result<(), SelfTestFault> {
    let found = hex::encode(golden_hash::<SelfTestSize>(SelfTestSize::BATCH_MIN)?);
    if found == GOLDEN {
        Ok(())
    } else {
        Err(SelfTestFault::OtherBytes(found))
    }
}

/// Runs a batch of signers 1 and 3 of three from fixed seeds; hashes all messages and one signature.
pub(super) fn golden_hash<P: Params>(size: u16) -> Result<[u8; 32], SelfTestFault> {
    let group = Group::new(7, 3, &[1, 3]).ok_or(SelfTestFault::Setup)?;
    let header = group.header(size);
    let mut seen = TaggedHasher::new(tags::ECDSA_BATCH);
    let mut parties = group.start::<P>(&header)?;
    let mut first = Vec::new();
    for _ in 0..4 {
        for (node, party) in &parties {
            for (to, message) in &party.outbox {
                seen.part(&[node.get(), to.get()]);
                seen.part(&cbor::encode(message));
            }
        }
        let mut inboxes = deliver(&mut parties);
        let mut next = BTreeMap::new();
        for (node, mut party) in parties {
            let inbox = inboxes.remove(&node).unwrap_or_default();
            match party.round.finish(inbox, &mut party.entropy)? {
                Advance::Next(round, outbox) => {
                    let party = Party {
                        round,
                        outbox,
                        entropy: party.entropy,
                    };
                    next.insert(node, party);
                }
                Advance::Done(presignatures) => first.extend(presignatures.into_iter().next()),
            }
        }
        parties = next;
    }
    let answers = first
        .into_iter()
        .map(|p: Presignature| p.answer(DIGEST, &TWEAK))
        .collect::<Result<Vec<_>, _>>()?;
    let signature = combine(&group.public_key(), &TWEAK, &DIGEST, &answers)?;
    seen.part(&signature.r).part(&signature.s);
    Ok(seen.finish())
}

/// One signer in a run in memory.
pub(super) struct Party {
    pub(super) round: Box<dyn Round<Vec<Presignature>>>,
    pub(super) outbox: Outbox,
    pub(super) entropy: ChaCha20Rng,
}

/// Moves every outbox into the recipients' inboxes.
pub(super) fn deliver(parties: &mut BTreeMap<NodeIndex, Party>) -> BTreeMap<NodeIndex, Inbox> {
    let mut inboxes: BTreeMap<NodeIndex, Inbox> = BTreeMap::new();
    for (from, party) in parties {
        for (to, message) in std::mem::take(&mut party.outbox) {
            inboxes.entry(to).or_default().insert(*from, message);
        }
    }
    inboxes
}

/// A whole group from one seed: fixed identities and a key dealt by a fixed polynomial. For known
/// answers only; real keys come from the key ceremony.
pub(super) struct Group {
    pub(super) set: SignerSet,
    pub(super) rosters: BTreeMap<NodeIndex, Arc<Roster>>,
    pub(super) shares: BTreeMap<NodeIndex, KeyShare>,
    public: KeyPublic,
    seed: u8,
}

impl Group {
    /// `nodes` nodes with a threshold as large as the given set.
    pub(super) fn new(seed: u8, nodes: u8, set: &[u8]) -> Option<Self> {
        Self::of(Purpose::Trading, seed, nodes, set)
    }

    /// The same for a key of any purpose.
    pub(super) fn of(purpose: Purpose, seed: u8, nodes: u8, set: &[u8]) -> Option<Self> {
        let indices: Option<Vec<_>> = (1..=nodes).map(NodeIndex::new).collect();
        let indices = indices?;
        let set: Option<Vec<_>> = set.iter().copied().map(NodeIndex::new).collect();
        let set = SignerSet::from_ascending(set?)?;
        let identities: BTreeMap<_, _> = indices
            .iter()
            .map(|node| {
                let seed = SecretBytes::take(&mut [seed ^ node.get() << 4; 32]);
                (*node, Arc::new(SigningIdentity::from_seed(&seed)))
            })
            .collect();
        let credentials: BTreeMap<_, _> =
            identities.iter().map(|(n, i)| (*n, i.public())).collect();
        let rosters = identities.into_iter().map(|(me, identity)| {
            let roster = Roster {
                me,
                identity,
                nodes: credentials.clone(),
            };
            (me, Arc::new(roster))
        });
        let coefficients: Vec<Scalar> = (0..set.size() as u64)
            .map(|i| Scalar::from(u64::from(seed) + 1 + i) * Scalar::from(u64::MAX - i))
            .collect();
        let values: BTreeMap<_, _> = indices
            .iter()
            .map(|node| (*node, evaluate(&coefficients, *node)))
            .collect();
        let mut public = public_record(coefficients.first()?, set.size() as u8, &values)?;
        public.purpose = purpose;
        let shares = values.iter().map(|(node, value)| {
            let share = KeyShare {
                public: public.clone(),
                node: *node,
                secret: SecretBytes::take(&mut value.to_bytes().into()),
            };
            (*node, share)
        });
        Some(Self {
            set,
            rosters: rosters.collect(),
            shares: shares.collect(),
            public,
            seed,
        })
    }

    /// The group's public key.
    pub(super) fn public_key(&self) -> [u8; 33] {
        let mut bytes = [0; 33];
        for (out, byte) in bytes.iter_mut().zip(&self.public.public_key) {
            *out = *byte;
        }
        bytes
    }

    /// The header that every signer builds.
    pub(super) fn header(&self, size: u16) -> BatchHeader {
        let boot = |node| Boot {
            node,
            lane: Lane(0),
            generation: Generation(1),
        };
        let credential = |node| {
            let roster = self.rosters.get(&node)?;
            Some(roster.nodes.get(&node)?.id())
        };
        BatchHeader {
            version: Version,
            cluster: self.public.cluster,
            charter: CharterNumber(0),
            key: self.public.key,
            scheme: Scheme::Ecdsa,
            public_key: self.public.public_key.clone(),
            epoch: self.public.epoch,
            set: self.set.clone(),
            credentials: self.set.iter().filter_map(credential).collect(),
            boots: self.set.iter().map(boot).collect(),
            batch: BatchId {
                proposer: boot(self.set.lowest()),
                counter: 1,
            },
            size,
            profile: match self.public.purpose {
                Purpose::Treasury => Profile::Treasury,
                _ => Profile::Normal,
            },
            shares_hash: self.public.shares_hash(),
        }
    }

    /// Starts the batch at every signer.
    pub(super) fn start<P: Params>(
        &self,
        header: &BatchHeader,
    ) -> Result<BTreeMap<NodeIndex, Party>, Abort> {
        let mut parties = BTreeMap::new();
        for node in self.set.iter() {
            let (Some(share), Some(roster)) = (self.shares.get(&node), self.rosters.get(&node))
            else {
                continue;
            };
            let mut entropy = self.entropy(node);
            let (round, outbox) =
                start_batch::<P>(header.clone(), share, roster.clone(), &mut entropy)?;
            let party = Party {
                round,
                outbox,
                entropy,
            };
            parties.insert(node, party);
        }
        Ok(parties)
    }

    /// The key itself, for tests that need to know it.
    #[cfg(test)]
    pub(super) fn secret(&self) -> Scalar {
        let weigh = |node| {
            let share = self.shares[&node].secret.expose();
            super::field::decode_scalar(share).unwrap()
                * super::field::lagrange(&self.set, node).unwrap()
        };
        self.set.iter().fold(Scalar::ZERO, |sum, n| sum + weigh(n))
    }

    /// The fixed entropy of a node.
    pub(super) fn entropy(&self, node: NodeIndex) -> ChaCha20Rng {
        ChaCha20Rng::seed_from_u64(u64::from(self.seed) << 8 | u64::from(node.get()))
    }
}

fn evaluate(coefficients: &[Scalar], node: NodeIndex) -> Scalar {
    let x = Scalar::from(u64::from(node.get()));
    coefficients
        .iter()
        .rev()
        .fold(Scalar::ZERO, |sum, c| sum * x + c)
}

fn public_record(
    secret: &Scalar,
    threshold: u8,
    values: &BTreeMap<NodeIndex, Scalar>,
) -> Option<KeyPublic> {
    let point = |scalar: &Scalar| {
        let point = base_mul(scalar).to_affine();
        encode_point(&point).to_vec()
    };
    Some(KeyPublic {
        version: Version,
        cluster: ClusterId([1; 32]),
        charter: CharterNumber(0),
        ceremony: CeremonyId([2; 16]),
        key: KeyId([3; 16]),
        name: "self-test".parse::<KeyName>().ok()?,
        scheme: Scheme::Ecdsa,
        purpose: Purpose::Trading,
        threshold,
        epoch: ShareEpoch(0),
        public_key: point(secret),
        public_shares: values
            .iter()
            .map(|(node, value)| PublicShare {
                node: *node,
                point: point(value),
            })
            .collect(),
        transcript: tagged(tags::KEY_CERTIFICATE, &[b"self-test"]),
        chain_code: [4; 32],
        origin: KeyOrigin::Born,
        previous: None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::params::Toy;
    use super::*;

    #[test]
    fn the_golden_batch_gives_the_golden_bytes() {
        self_test().unwrap();
    }

    #[test]
    fn toy_batch_golden() {
        assert_eq!(
            hex::encode(golden_hash::<Toy>(4).unwrap()),
            "972a46054413e4e09d73667025690c70b532a58b88b06a9653c2fd7c639d032e"
        );
    }
}
