//! Measures ECDSA presigning: processor time for each presignature and party, by round.
//!
//! All parties run on one thread, one after the other, with the sizes that real keys use:
//!
//! ```text
//! cargo run --release -p quoin-protocol --example presign -- [BATCH [THRESHOLD [RUNS]]]
//! ```
//!
//! What is printed is the fastest of all runs, averaged over the parties, and the bytes that one
//! party sends. Keys and entropy are fixed: nothing here is for real use.

use k256::elliptic_curve::sec1::ToEncodedPoint;
use k256::{ProjectivePoint, Scalar};
use quoin_core::cbor::{self, Version};
use quoin_core::{
    BatchId, Boot, CeremonyId, CharterNumber, ClusterId, Generation, KeyId, KeyOrigin, Lane,
    NodeIndex, Purpose, Scheme, SecretBytes, ShareEpoch, SignerSet, SigningIdentity,
};
use quoin_protocol::ecdsa::{Presignature, Production, start_batch};
use quoin_protocol::share::PublicShare;
use quoin_protocol::{
    Advance, BatchHeader, Inbox, KeyPublic, KeyShare, Outbox, Profile, Roster, Round,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is timed: the start and the end of each round.
const STEPS: [&str; 5] = ["start", "round 1", "round 2", "round 3", "round 4"];

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: u16| arguments.next().map_or(Ok(default), |text| text.parse());
    let (size, threshold, runs) = (number(256)?, number(2)?, number(5)?);
    let group = Group::new(u8::try_from(threshold)?)?;
    let mut best = [Duration::MAX; STEPS.len()];
    let mut sent = 0;
    for _ in 0..runs {
        let (times, bytes) = group.batch(size)?;
        sent = bytes;
        for (best, time) in best.iter_mut().zip(times) {
            *best = time.min(*best);
        }
    }
    let each = f64::from(size) * f64::from(threshold);
    let micros = |time: &Duration| time.as_secs_f64() * 1e6 / each;
    println!("t = {threshold}, B = {size}: microseconds for each presignature and party");
    for (name, time) in STEPS.iter().zip(&best) {
        println!("  {name:8} {:8.1}", micros(time));
    }
    println!("  {:8} {:8.1}", "sum", best.iter().map(micros).sum::<f64>());
    println!("  {:8} {:8.1} bytes sent", "", sent as f64 / each);
    Ok(())
}

/// A key of t nodes, dealt by a fixed polynomial.
struct Group {
    header: BatchHeader,
    shares: BTreeMap<NodeIndex, KeyShare>,
    rosters: BTreeMap<NodeIndex, Arc<Roster>>,
}

/// One signer between two rounds.
struct Party {
    round: Box<dyn Round<Vec<Presignature>>>,
    outbox: Outbox,
    entropy: ChaCha20Rng,
}

impl Group {
    fn new(threshold: u8) -> Result<Self, Box<dyn Error>> {
        let nodes: Vec<NodeIndex> = (1..=threshold).filter_map(NodeIndex::new).collect();
        let rosters = rosters(&nodes);
        let share_of = |node: &NodeIndex| {
            let x = Scalar::from(u64::from(node.get()));
            (1..=u64::from(threshold)).fold(Scalar::ZERO, |sum, c| sum * x + Scalar::from(c))
        };
        let public = KeyPublic {
            version: Version,
            cluster: ClusterId([1; 32]),
            charter: CharterNumber(0),
            ceremony: CeremonyId([2; 16]),
            key: KeyId([3; 16]),
            name: "measured".parse()?,
            scheme: Scheme::Ecdsa,
            purpose: Purpose::Trading,
            threshold,
            epoch: ShareEpoch(0),
            public_key: point(&Scalar::from(u64::from(threshold))),
            public_shares: nodes
                .iter()
                .map(|node| PublicShare {
                    node: *node,
                    point: point(&share_of(node)),
                })
                .collect(),
            transcript: [4; 32],
            chain_code: [5; 32],
            origin: KeyOrigin::Born,
            previous: None,
        };
        let shares = nodes.iter().map(|node| {
            let share = KeyShare {
                public: public.clone(),
                node: *node,
                secret: SecretBytes::take(&mut share_of(node).to_bytes().into()),
            };
            (*node, share)
        });
        let shares = shares.collect();
        let header = header(public, &nodes, &rosters).ok_or("no such set of signers")?;
        Ok(Self {
            header,
            shares,
            rosters,
        })
    }

    /// Runs one batch: the time of all parties in each step, and the bytes that all sent.
    fn batch(&self, size: u16) -> Result<([Duration; STEPS.len()], usize), Box<dyn Error>> {
        let mut times = [Duration::ZERO; STEPS.len()];
        let mut sent = 0;
        let mut parties = BTreeMap::new();
        let mut made = 0;
        for (time, step) in times.iter_mut().zip(0u64..) {
            if step == 0 {
                parties = self.start(size, time)?;
                continue;
            }
            let mut inboxes: BTreeMap<NodeIndex, Inbox> = BTreeMap::new();
            for (from, party) in &mut parties {
                for (to, message) in std::mem::take(&mut party.outbox) {
                    sent += cbor::encode(&message).len();
                    inboxes.entry(to).or_default().insert(*from, message);
                }
            }
            let mut next = BTreeMap::new();
            for (node, mut party) in parties {
                let inbox = inboxes.remove(&node).unwrap_or_default();
                let started = now();
                let advance = party.round.finish(inbox, &mut party.entropy)?;
                *time += started.elapsed();
                match advance {
                    Advance::Next(round, outbox) => {
                        party.round = round;
                        party.outbox = outbox;
                        next.insert(node, party);
                    }
                    Advance::Done(presignatures) => made += presignatures.len(),
                }
            }
            parties = next;
        }
        if made != usize::from(size) * self.shares.len() {
            return Err("the batch made too few presignatures".into());
        }
        Ok((times, sent))
    }

    fn start(
        &self,
        size: u16,
        time: &mut Duration,
    ) -> Result<BTreeMap<NodeIndex, Party>, Box<dyn Error>> {
        let mut parties = BTreeMap::new();
        for (node, share) in &self.shares {
            let roster = self.rosters.get(node).ok_or("a share without a roster")?;
            let header = BatchHeader {
                size,
                ..self.header.clone()
            };
            let mut entropy = ChaCha20Rng::seed_from_u64(u64::from(node.get()));
            let started = now();
            let (round, outbox) =
                start_batch::<Production>(header, share, Arc::clone(roster), &mut entropy)?;
            *time += started.elapsed();
            let party = Party {
                round,
                outbox,
                entropy,
            };
            parties.insert(*node, party);
        }
        Ok(parties)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is a measuring tool and not part of the logic"
)]
fn now() -> Instant {
    Instant::now()
}

fn point(scalar: &Scalar) -> Vec<u8> {
    let point = (ProjectivePoint::GENERATOR * scalar).to_affine();
    point.to_encoded_point(true).as_bytes().to_vec()
}

fn rosters(nodes: &[NodeIndex]) -> BTreeMap<NodeIndex, Arc<Roster>> {
    let identities: BTreeMap<_, _> = nodes
        .iter()
        .map(|node| {
            let seed = SecretBytes::take(&mut [node.get(); 32]);
            (*node, Arc::new(SigningIdentity::from_seed(&seed)))
        })
        .collect();
    let credentials: BTreeMap<_, _> = identities.iter().map(|(n, i)| (*n, i.public())).collect();
    let roster = |(me, identity)| {
        let nodes = credentials.clone();
        let roster = Roster {
            me,
            identity,
            nodes,
        };
        (me, Arc::new(roster))
    };
    identities.into_iter().map(roster).collect()
}

fn header(
    public: KeyPublic,
    nodes: &[NodeIndex],
    rosters: &BTreeMap<NodeIndex, Arc<Roster>>,
) -> Option<BatchHeader> {
    let set = SignerSet::from_ascending(nodes.to_vec())?;
    let boot = |node| Boot {
        node,
        lane: Lane(0),
        generation: Generation(1),
    };
    Some(BatchHeader {
        version: Version,
        cluster: public.cluster,
        charter: public.charter,
        key: public.key,
        scheme: Scheme::Ecdsa,
        epoch: public.epoch,
        credentials: rosters.values().map(|r| r.identity.id()).collect(),
        boots: set.iter().map(boot).collect(),
        batch: BatchId {
            proposer: boot(set.lowest()),
            counter: 1,
        },
        set,
        size: 0,
        profile: Profile::Normal,
        shares_hash: public.shares_hash(),
        public_key: public.public_key,
    })
}
