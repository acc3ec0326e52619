//! Measures the life of a key's shares: time for each party of a generation, a refresh and a
//! reshare, as elapsed on one thread.
//!
//! All parties run on one thread, one after the other:
//!
//! ```text
//! cargo run --release -p quoin-protocol --example share_life -- [RUNS]
//! ```
//!
//! What is printed is the fastest of all runs, averaged over the parties, by round, and the bytes
//! of all broadcasts of one party. Entropy is fixed: nothing here is for real use.

use quoin_core::{
    Boot, CeremonyId, CharterNumber, ClusterId, Generation, KeyId, Lane, NodeIndex, Purpose,
    Scheme, SecretBytes, SigningIdentity,
};
use quoin_protocol::dkg::{
    self, DkgParams, Generated, Succession, SuccessionParams, start_succession,
};
use quoin_protocol::{Abort, Advance, Inbox, KeyShare, Outbox, Roster, Round};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is timed: the start and the end of each round.
const STEPS: [&str; 4] = ["start", "round 1", "round 2", "round 3"];

type Shares = BTreeMap<NodeIndex, KeyShare>;
type Session = (Box<dyn Round<Generated>>, Outbox);

/// One ceremony: the time of each step, averaged over the parties, and the bytes of one party.
struct Measured {
    shares: Shares,
    steps: [Duration; STEPS.len()],
    bytes: usize,
}

fn main() -> Result<(), Box<dyn Error>> {
    let runs: u64 = std::env::args()
        .nth(1)
        .map_or(Ok(50), |text| text.parse())?;
    for scheme in [Scheme::Ecdsa, Scheme::Ed25519] {
        println!("{scheme:?}");
        let small = best("generation 2-of-3", runs, |seed| {
            generate(scheme, 2, 3, seed)
        })?;
        best("refresh 2-of-3", runs, |seed| refresh(&small, 3, seed))?;
        best("reshare 2-of-3 to 3-of-5", runs, |seed| {
            reshare(&small, 3, 5, seed)
        })?;
        let large = best("generation 3-of-5", runs, |seed| {
            generate(scheme, 3, 5, seed)
        })?;
        best("refresh 3-of-5", runs, |seed| refresh(&large, 5, seed))?;
        best("reshare 3-of-5 to 2-of-3", runs, |seed| {
            reshare(&large, 2, 3, seed)
        })?;
    }
    Ok(())
}

/// Runs a ceremony often, prints the fastest, and gives the shares of the last.
fn best(
    what: &str,
    runs: u64,
    run: impl Fn(u64) -> Result<Measured, Box<dyn Error>>,
) -> Result<Shares, Box<dyn Error>> {
    let mut best = run(0)?;
    for seed in 1..runs {
        let next = run(seed)?;
        let total = |m: &Measured| m.steps.iter().sum::<Duration>();
        if total(&next) < total(&best) {
            best = next;
        }
    }
    let total: Duration = best.steps.iter().sum();
    print!(
        "{what:26}{:7} us per party,{:6} bytes:",
        total.as_micros(),
        best.bytes
    );
    for (step, time) in STEPS.iter().zip(best.steps) {
        print!("  {step} {}", time.as_micros());
    }
    println!();
    Ok(best.shares)
}

fn generate(
    scheme: Scheme,
    threshold: u8,
    size: u8,
    seed: u64,
) -> Result<Measured, Box<dyn Error>> {
    run(size, seed, |roster, rng| {
        let params = DkgParams {
            cluster: ClusterId([1; 32]),
            charter: CharterNumber(1),
            ceremony: CeremonyId([3; 16]),
            key: KeyId([4; 16]),
            name: "bench".parse()?,
            scheme,
            purpose: Purpose::Trading,
            threshold,
            boots: boots(&roster),
        };
        Ok(dkg::start(params, roster, rng)?)
    })
}

fn refresh(shares: &Shares, size: u8, seed: u64) -> Result<Measured, Box<dyn Error>> {
    succeed(shares, size, seed, &Succession::Refresh)
}

fn reshare(
    shares: &Shares,
    threshold: u8,
    size: u8,
    seed: u64,
) -> Result<Measured, Box<dyn Error>> {
    let old = shares.values().next().map_or(0, |s| s.public.threshold);
    let dealers = shares.keys().copied().take(usize::from(old)).collect();
    let how = Succession::Reshare { threshold, dealers };
    succeed(shares, size, seed, &how)
}

fn succeed(
    shares: &Shares,
    size: u8,
    seed: u64,
    how: &Succession,
) -> Result<Measured, Box<dyn Error>> {
    run(size, seed, |roster, rng| {
        let base = shares.values().next().map(|s| s.public.clone());
        let params = SuccessionParams {
            cluster: ClusterId([1; 32]),
            charter: CharterNumber(2),
            ceremony: CeremonyId([5; 16]),
            boots: boots(&roster),
            holders: shares
                .keys()
                .filter_map(|n| Some((*n, roster.nodes.get(n)?.id())))
                .collect(),
            base: base.ok_or("no share")?,
            how: how.clone(),
        };
        let share = shares.get(&roster.me);
        Ok(start_succession(params, roster, share, rng)?)
    })
}

fn boots(roster: &Roster) -> Vec<Boot> {
    let boot = |node: &NodeIndex| Boot {
        node: *node,
        lane: Lane(0),
        generation: Generation(1),
    };
    roster.nodes.keys().map(boot).collect()
}

fn run(
    size: u8,
    seed: u64,
    start: impl Fn(Arc<Roster>, &mut ChaCha20Rng) -> Result<Session, Box<dyn Error>>,
) -> Result<Measured, Box<dyn Error>> {
    let identity = |i| Arc::new(SigningIdentity::from_seed(&SecretBytes::take(&mut [i; 32])));
    let all = (1..=size).filter_map(|i| Some((NodeIndex::new(i)?, identity(i))));
    let identities: BTreeMap<_, _> = all.collect();
    let nodes: BTreeMap<_, _> = identities.iter().map(|(n, i)| (*n, i.public())).collect();
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut measured = Measured {
        shares: Shares::new(),
        steps: [Duration::ZERO; STEPS.len()],
        bytes: 0,
    };
    let mut waiting = BTreeMap::new();
    for (me, identity) in identities {
        let roster = Arc::new(Roster {
            me,
            identity,
            nodes: nodes.clone(),
        });
        let before = now();
        let session = start(roster, &mut rng)?;
        measured.steps[0] += before.elapsed();
        waiting.insert(me, session);
    }
    for step in &mut measured.steps[1..] {
        let sent: BTreeMap<NodeIndex, Outbox> = waiting
            .iter()
            .map(|(n, (_, out))| (*n, out.clone()))
            .collect();
        let first = sent.values().next().and_then(|out| out.values().next());
        measured.bytes += first.map_or(0, |m| m.broadcast.len() + m.signature.len());
        for (me, (round, _)) in std::mem::take(&mut waiting) {
            let to_me = sent.iter();
            let inbox: Inbox = to_me
                .filter_map(|(from, out)| Some((*from, out.get(&me)?.clone())))
                .collect();
            let before = now();
            let advance: Result<_, Abort> = round.finish(inbox, &mut rng);
            *step += before.elapsed();
            match advance? {
                Advance::Next(round, outbox) => drop(waiting.insert(me, (round, outbox))),
                Advance::Done(done) => drop(measured.shares.insert(me, done.share)),
            }
        }
    }
    for step in &mut measured.steps {
        *step /= u32::from(size);
    }
    Ok(measured)
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is a measuring tool and not part of the logic"
)]
fn now() -> Instant {
    Instant::now()
}
