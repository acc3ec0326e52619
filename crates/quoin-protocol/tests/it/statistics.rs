//! Nonces, counted: they never repeat, no bit of them is likelier than its opposite, and what is
//! signed moves them. Seeds are fixed, so a bound of five standard deviations holds for ever or
//! never; that the measures find a bias is tested as well.

use super::{Pools, SCHEMES, World, node, path};
use k256::elliptic_curve::PrimeField;
use k256::elliptic_curve::bigint::{Encoding, U256, U512};
use k256::elliptic_curve::ops::Reduce;
use k256::elliptic_curve::sec1::{FromEncodedPoint, ToEncodedPoint};
use k256::{AffinePoint, EncodedPoint, ProjectivePoint, Scalar};
use quoin_chain::Digest;
use quoin_core::hash::TaggedHasher;
use quoin_core::{DerivationPath, Purpose, Scheme, tags};
use quoin_protocol::{Outbox, Presignature, derive};
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};
use std::collections::BTreeSet;

/// Signatures behind the statistics of nonces.
const SAMPLES: u16 = 512;

/// How many standard deviations a sum of squares is from its mean, given its degrees of freedom.
fn deviations(chi_square: f64, degrees: f64) -> f64 {
    (chi_square - degrees) / (2.0 * degrees).sqrt()
}

/// Pearson's statistic over the bits of equally long samples: each bit is set in half of them.
fn of_bits(samples: &[Vec<u8>]) -> f64 {
    let n = samples.len() as f64;
    let bits = samples[0].len() * 8;
    let is_set = |sample: &[u8], bit: usize| sample[bit / 8] >> (bit % 8) & 1 == 1;
    let ones = |bit| samples.iter().filter(|sample| is_set(sample, bit)).count();
    let square = |bit| (2.0 * ones(bit) as f64 - n).powi(2) / n;
    deviations((0..bits).map(square).sum(), bits as f64)
}

/// Pearson's statistic over byte values: each is as frequent as any other.
fn of_bytes(samples: &[Vec<u8>]) -> f64 {
    let mut counts = [0u32; 256];
    for byte in samples.iter().flatten() {
        counts[usize::from(*byte)] += 1;
    }
    let expected = f64::from(counts.iter().sum::<u32>()) / 256.0;
    let square = |count: &u32| (f64::from(*count) - expected).powi(2) / expected;
    deviations(counts.iter().map(square).sum(), 255.0)
}

/// What each sample has that the one before it has not: a weak generator shows here.
fn steps(samples: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let pairs = samples.iter().zip(&samples[1..]);
    pairs
        .map(|(a, b)| a.iter().zip(b).map(|(a, b)| a ^ b).collect())
        .collect()
}

fn measures(samples: &[Vec<u8>]) -> [f64; 4] {
    let steps = steps(samples);
    [
        of_bits(samples),
        of_bytes(samples),
        of_bits(&steps),
        of_bytes(&steps),
    ]
}

fn assert_unbiased(what: &str, samples: &[Vec<u8>]) {
    let found = measures(samples);
    assert!(found.iter().all(|d| d.abs() < 5.0), "{what}: {found:?}");
    let distinct: BTreeSet<_> = samples.iter().collect();
    assert_eq!(distinct.len(), samples.len(), "{what}: one occurs twice");
}

#[test]
fn the_measures_pass_a_uniform_source_and_find_a_biased_one() {
    let mut rng = ChaCha20Rng::seed_from_u64(9);
    let mut uniform = || {
        let mut bytes = vec![0u8; 32];
        rng.fill_bytes(&mut bytes);
        bytes
    };
    let samples: Vec<_> = (0..SAMPLES).map(|_| uniform()).collect();
    assert_unbiased("uniform", &samples);
    let changed = |change: fn(usize, &mut Vec<u8>)| {
        let mut all = samples.clone();
        all.iter_mut().enumerate().for_each(|(i, s)| change(i, s));
        measures(&all).iter().any(|d| d.abs() > 5.0)
    };
    assert!(changed(|_, s| s[0] &= 0x7f), "the highest bit is never set");
    assert!(changed(|_, s| s[31] |= 1), "the lowest bit is always set");
    assert!(changed(|i, s| s[5] = i as u8), "a byte counts up");
    // Alternating signs hide in the bits and show in the steps.
    assert!(changed(|i, s| s[9] = if i % 2 == 0 { 0x5a } else { 0xa5 }));
}

/// A batch of presignatures for each of several boots.
fn pools(world: &mut World, signers: &[u8], size: u16, boots: u64) -> Vec<Pools> {
    (0..boots)
        .map(|_| {
            world.generation += 1;
            world.presign(signers, size)
        })
        .collect()
}

/// One signature with each presignature of several batches: digest, and `r || s` or `R || z`.
fn signatures(world: &mut World, batches: Vec<Pools>) -> Vec<(Digest, [u8; 64])> {
    let mut all = Vec::new();
    for mut pools in batches {
        while !pools[&node(1)].is_empty() {
            let text = format!("text {}", all.len());
            let made = world.sign(&mut pools, &text, &DerivationPath::ROOT);
            all.push((world.digest(&text), made.signature));
        }
    }
    all
}

fn scalar(bytes: &[u8]) -> Scalar {
    let bytes: [u8; 32] = bytes.try_into().unwrap();
    Scalar::from_repr(bytes.into()).unwrap()
}

fn reduced(digest: &[u8; 32]) -> Scalar {
    <Scalar as Reduce<U256>>::reduce(U256::from_be_bytes(*digest))
}

/// The private key of a 2-of-3 key, from the shares of nodes 1 and 2: 2 x_1 - x_2.
fn private_key(world: &World) -> Scalar {
    let share = |i| scalar(world.shares[&node(i)].secret.expose());
    share(1) + share(1) - share(2)
}

#[test]
fn the_nonces_behind_ecdsa_signatures_are_unbiased() {
    let mut world = World::new(Scheme::Ecdsa, Purpose::Trading, (2, 3), 3);
    let batches = pools(&mut world, &[1, 2], SAMPLES / 2, 2);
    let prepared: Vec<Vec<u8>> = batches
        .iter()
        .flat_map(|pools| &pools[&node(1)])
        .map(|p| nonce(p)[1..].to_vec())
        .collect();
    assert_unbiased("x of prepared nonce points", &prepared);

    let key = private_key(&world);
    let made = signatures(&mut world, batches);
    assert_eq!(made.len(), usize::from(SAMPLES));
    let r: Vec<_> = made.iter().map(|(_, s)| s[..32].to_vec()).collect();
    assert_unbiased("r of signatures", &r);
    // What an attacker who looks for bias would have to know: k = (h + r x) / s.
    let nonces: Vec<_> = made
        .iter()
        .map(|(digest, signature)| {
            let Digest::Prehash(digest) = digest else {
                panic!("no prehash")
            };
            let (r, s) = (scalar(&signature[..32]), scalar(&signature[32..]));
            let k = (reduced(digest) + r * key) * s.invert().unwrap();
            let point = (ProjectivePoint::GENERATOR * k).to_affine();
            let x = point.to_encoded_point(false);
            assert_eq!(scalar(x.x().unwrap()), r, "the nonce is the right one");
            k.to_bytes().to_vec()
        })
        .collect();
    assert_unbiased("nonces of signatures", &nonces);
}

#[test]
fn the_nonces_behind_ed25519_signatures_are_unbiased() {
    use curve25519_dalek::{EdwardsPoint, Scalar};
    use sha2::{Digest as _, Sha512};
    let mut world = World::new(Scheme::Ed25519, Purpose::Trading, (2, 3), 4);
    let batches = pools(&mut world, &[1, 2], SAMPLES / 2, 2);
    let read =
        |bytes: &[u8]| Scalar::from_canonical_bytes(bytes.try_into().unwrap()).expect("canonical");
    let share = |i| read(world.shares[&node(i)].secret.expose());
    let key = share(1) + share(1) - share(2);
    let public = world.public().public_key.clone();
    let nonces: Vec<_> = signatures(&mut world, batches)
        .iter()
        .map(|(digest, signature)| {
            let Digest::Message(message) = digest else {
                panic!("no message")
            };
            let challenge = Sha512::new()
                .chain_update(&signature[..32])
                .chain_update(&public)
                .chain_update(message);
            let c = Scalar::from_hash(challenge);
            let k = read(&signature[32..]) - c * key;
            let point = EdwardsPoint::mul_base(&k).compress();
            assert_eq!(point.as_bytes(), &signature[..32]);
            // The order is a little above 2^252: the highest byte is not uniform.
            k.as_bytes()[..31].to_vec()
        })
        .collect();
    assert_unbiased("nonces of Ed25519 signatures", &nonces);
}

/// The nonce point of an ECDSA presignature.
fn nonce(presignature: &Presignature) -> [u8; 33] {
    match presignature {
        Presignature::Ecdsa(p) => p.nonce(),
        _ => panic!("not of ECDSA"),
    }
}

/// Every nonce point that a signer shows in a batch.
fn shown_points(scheme: Scheme, outbox: &Outbox, points: &mut Vec<Vec<u8>>) {
    let Some(message) = outbox.values().next() else {
        return;
    };
    let body = &message.broadcast;
    match (scheme, message.round) {
        (Scheme::Ecdsa, 3) => points.extend(body[32..].chunks(66).map(|pair| pair[..33].to_vec())),
        (Scheme::Taproot, 1) => points.extend(body[32..].chunks(33).map(<[u8]>::to_vec)),
        (Scheme::Ed25519, 1) => points.extend(body[32..].chunks(32).map(<[u8]>::to_vec)),
        _ => {}
    }
}

#[test]
fn nonces_never_repeat_over_batches_boots_and_schemes() {
    for scheme in SCHEMES {
        let mut world = World::new(scheme, Purpose::Trading, (2, 3), 5);
        let mut points = Vec::new();
        for signers in [[1, 2], [1, 3], [2, 3]] {
            for _boot in 0..2 {
                world.generation += 1;
                // An entropy source that starts over with each boot: an engine that hedges by the
                // batch's context draws other values all the same. FROST's nonces are hedged by the
                // share alone, so there the source goes on.
                if scheme == Scheme::Ecdsa {
                    world.rng = ChaCha20Rng::seed_from_u64(6);
                }
                let size = if scheme == Scheme::Ecdsa { 64 } else { 256 };
                world.presign_seen(&signers, size, |outbox| {
                    shown_points(scheme, outbox, &mut points);
                });
            }
        }
        let expected = 3 * 2 * 2 * if scheme == Scheme::Ecdsa { 64 } else { 2 * 256 };
        assert_eq!(points.len(), expected, "{scheme:?}: all points were seen");
        let distinct: BTreeSet<_> = points.iter().collect();
        assert_eq!(distinct.len(), points.len(), "{scheme:?}");
    }
}

/// `TS(tag; parts)` as the specification writes it, not as the engine does.
fn hash_to_scalar(tag: tags::Tag, parts: &[&[u8]]) -> Scalar {
    let half = |prefix: u8| {
        let mut hasher = TaggedHasher::new(tag);
        hasher.part(&[prefix]);
        for part in parts {
            hasher.part(part);
        }
        hasher.finish()
    };
    let wide: [u8; 64] = [half(0), half(1)].concat().try_into().unwrap();
    <Scalar as Reduce<U512>>::reduce(U512::from_be_bytes(wide))
}

/// The re-randomiser of the first presignature of a pool, from public values alone.
pub(super) fn rerandomiser(
    presignature: &Presignature,
    digest: &[u8; 32],
    tweak: &[u8; 32],
) -> Scalar {
    let header = presignature.header();
    let signers: Vec<u8> = header.set.iter().map(|n| n.get()).collect();
    let id = presignature.id();
    let parts: [&[u8]; 8] = [
        id.batch.as_bytes(),
        &id.index.to_be_bytes(),
        header.key.as_bytes(),
        &header.public_key,
        &signers,
        &nonce(presignature),
        digest,
        tweak,
    ];
    hash_to_scalar(tags::ECDSA_DELTA, &parts)
}

fn moved(presignature: &Presignature, digest: &[u8; 32], tweak: &[u8; 32]) -> Vec<u8> {
    let encoded = EncodedPoint::from_bytes(nonce(presignature)).unwrap();
    let point = AffinePoint::from_encoded_point(&encoded).unwrap();
    let delta = rerandomiser(presignature, digest, tweak);
    let moved = (ProjectivePoint::from(point) + ProjectivePoint::GENERATOR * delta).to_affine();
    moved.to_encoded_point(true).as_bytes().to_vec()
}

/// The same presignature in several worlds of one seed, as in forks of one machine: each digest and
/// each account has a nonce of its own, the one that the specification says, and the same request
/// has the same one.
#[test]
fn one_presignature_has_another_nonce_for_each_text_and_account() {
    let cases: Vec<(String, DerivationPath)> = ["a", "b", "c"]
        .into_iter()
        .flat_map(|text| ["m", "m/0", "m/1"].map(|at| (text.to_owned(), path(at))))
        .collect();
    let answer = |(text, at): &(String, DerivationPath)| {
        let mut world = World::new(Scheme::Ecdsa, Purpose::Trading, (2, 3), 7);
        let mut pools = world.presign(&[1, 2], 64);
        let Digest::Prehash(digest) = world.digest(text) else {
            panic!("no prehash")
        };
        let tweak = derive(world.public(), at).unwrap().tweak;
        let first = &pools[&node(1)][0];
        let (prepared, expected) = (nonce(first).to_vec(), moved(first, &digest, &tweak));
        let answers = world.answers(&mut pools, text, at);
        let used: Vec<_> = answers.iter().map(|(_, a)| a.body[..33].to_vec()).collect();
        assert_eq!(used, [expected.clone(), expected.clone()], "{text} {at}");
        (prepared, expected)
    };
    let made: Vec<_> = cases.iter().map(answer).collect();
    let prepared: BTreeSet<_> = made.iter().map(|(prepared, _)| prepared).collect();
    assert_eq!(prepared.len(), 1, "it is one presignature");
    let used: BTreeSet<_> = made.iter().map(|(_, used)| used).collect();
    assert_eq!(used.len(), cases.len());
    assert!(prepared.is_disjoint(&used));
    assert_eq!(answer(&cases[0]), made[0]);
}
