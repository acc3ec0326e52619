//! Secrets in memory: what is dropped is overwritten, where it stood and everywhere else.
//!
//! Memory that was freed cannot be looked at from safe Rust. The kernel can: it shows a process its
//! own memory as a file, which these tests read. They run on Linux, where nodes do.

#![cfg(target_os = "linux")]
#![expect(
    clippy::disallowed_types,
    reason = "the file is this process's own memory, and this is a test of it"
)]

use super::statistics::rerandomiser;
use super::{World, node};
use k256::Scalar;
use k256::elliptic_curve::PrimeField;
use k256::elliptic_curve::bigint::{Encoding, U256};
use k256::elliptic_curve::ops::Reduce;
use quoin_chain::Digest;
use quoin_core::{CeremonyId, DerivationPath, Purpose, Scheme, SecretBytes};
use quoin_protocol::dkg::{Succession, SuccessionParams, start_succession};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

/// What this process has at an address now. Nothing is allocated here, or the block that was just
/// freed would be taken again.
fn peek<const N: usize>(memory: &File, address: usize) -> [u8; N] {
    let mut bytes = [0; N];
    memory.read_exact_at(&mut bytes, address as u64).unwrap();
    bytes
}

fn own_memory() -> File {
    File::open("/proc/self/mem").unwrap()
}

/// The allocator keeps its own words at the beginning of a block that was freed.
const ALLOCATOR_WORDS: usize = 16;

#[test]
fn a_dropped_secret_is_overwritten_where_it_stood() {
    let memory = own_memory();
    let secret = SecretBytes::take(&mut [0xa7; 256]);
    let address = secret.expose().as_ptr() as usize;
    assert_eq!(peek(&memory, address), [0xa7; 256], "the right place");
    drop(secret);
    let after: [u8; 256] = peek(&memory, address);
    assert_eq!(after[ALLOCATOR_WORDS..], [0; 256 - ALLOCATOR_WORDS]);
    // The same bytes in a plain box stay: the test sees what it claims to see.
    let plain = std::hint::black_box(Box::new([0xa7u8; 256]));
    let address = plain.as_ptr() as usize;
    drop(plain);
    let after: [u8; 256] = peek(&memory, address);
    assert_eq!(after[ALLOCATOR_WORDS..], [0xa7; 256 - ALLOCATOR_WORDS]);
}

#[test]
fn a_key_share_is_overwritten_where_it_stood() {
    let memory = own_memory();
    for scheme in super::SCHEMES {
        let mut world = World::new(scheme, Purpose::Trading, (2, 3), 1);
        let share = world.shares.remove(&node(1)).unwrap();
        let address = share.secret.expose().as_ptr() as usize;
        let value = *share.secret.expose();
        assert_eq!(peek(&memory, address), value, "the right place");
        drop(share);
        let after: [u8; 32] = peek(&memory, address);
        assert_eq!(after[ALLOCATOR_WORDS..], [0; 32 - ALLOCATOR_WORDS]);
    }
}

/// What masks the bytes of a snapshot, so that the next one does not find them there.
const MASK: u8 = 0xa5;

/// Everything that this process can write, as it is now.
struct Snapshot(Vec<Vec<u8>>);

impl Snapshot {
    fn take() -> Self {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let memory = own_memory();
        let mut regions = Vec::new();
        for line in maps.lines().filter(|line| line.contains(" rw-p ")) {
            let (range, _) = line.split_once(' ').unwrap();
            let (from, to) = range.split_once('-').unwrap();
            let [from, to] = [from, to].map(|text| u64::from_str_radix(text, 16).unwrap());
            let mut bytes = vec![0; (to - from) as usize];
            // A guard page has no content.
            if memory.read_exact_at(&mut bytes, from).is_ok() {
                bytes.iter_mut().for_each(|b| *b ^= MASK);
                regions.push(bytes);
            }
        }
        Self(regions)
    }

    /// How often a value stands in memory, as the field keeps it or as it is encoded.
    fn copies(&self, value: &[u8; 32]) -> usize {
        let mut turned = value.map(|b| b ^ MASK);
        let encoded = turned;
        turned.reverse();
        let in_region = |bytes: &[u8]| {
            let found = |w: &&[u8]| *w == turned || *w == encoded;
            bytes.windows(32).filter(found).count()
        };
        self.0.iter().map(|bytes| in_region(bytes)).sum()
    }
}

/// A world in which nodes 1 and 2 have just presigned; the same one each time.
fn presigned() -> (World, super::Pools) {
    let mut world = World::new(Scheme::Ecdsa, Purpose::Trading, (2, 3), 8);
    let pools = world.presign(&[1, 2], 64);
    (world, pools)
}

/// phi, u and v of node 1's first presignature, by the attack of section 10.4 on two forks.
fn extracted() -> [[u8; 32]; 3] {
    let answer = |text: &str| {
        let (world, mut pools) = presigned();
        let Digest::Prehash(digest) = world.digest(text) else {
            panic!("no prehash")
        };
        let delta = rerandomiser(&pools[&node(1)][0], &digest, &[0; 32]);
        let answers = world.answers(&mut pools, text, &DerivationPath::ROOT);
        let body = answers[0].1.body.clone();
        let part = |at: usize| {
            let bytes: [u8; 32] = body[at..at + 32].try_into().unwrap();
            <Scalar as Reduce<U256>>::reduce(U256::from_be_bytes(bytes))
        };
        let h = <Scalar as Reduce<U256>>::reduce(U256::from_be_bytes(digest));
        (delta, part(33), part(65), part(1), h)
    };
    let [(delta, a, w, r, h), (delta2, a2, ..)] = ["one", "two"].map(answer);
    let phi = (a - a2) * (delta - delta2).invert().unwrap();
    let u = a - delta * phi;
    let v = (w - h * phi) * r.invert().unwrap();
    [phi, u, v].map(|s| s.to_repr().into())
}

#[test]
fn no_copy_of_a_presignatures_secrets_outlives_it() {
    let (world, pools) = presigned();
    let alive = Snapshot::take();
    drop(pools);
    let dropped = Snapshot::take();
    drop(world);
    for (name, value) in ["phi", "u", "v"].into_iter().zip(extracted()) {
        assert!(alive.copies(&value) > 0, "{name} is where it should be");
        assert_eq!(dropped.copies(&value), 0, "{name}");
    }
}

#[test]
fn no_copy_of_a_key_share_outlives_it() {
    // Seeds that no other test has: a value that is alive elsewhere would be found.
    for (scheme, seed) in super::SCHEMES.into_iter().zip(80..) {
        let born = || World::new(scheme, Purpose::Trading, (2, 3), seed);
        let world = born();
        let alive = Snapshot::take();
        drop(world);
        let dropped = Snapshot::take();
        let value = *born().shares[&node(1)].secret.expose();
        assert!(
            alive.copies(&value) > 0,
            "{scheme:?}: it is where it should be"
        );
        assert_eq!(dropped.copies(&value), 0, "{scheme:?}");
    }
}

/// Moves the world's key to its next epoch; gives the shares of the old one.
fn refresh(world: &mut World) -> super::BTreeMap<super::NodeIndex, super::KeyShare> {
    let old = std::mem::take(&mut world.shares);
    let base = old[&node(1)].public.clone();
    let params = SuccessionParams {
        cluster: base.cluster,
        charter: base.charter,
        ceremony: CeremonyId([9; 16]),
        boots: old.keys().map(|n| world.boot(*n)).collect(),
        holders: world.identities.iter().map(|(n, i)| (*n, i.id())).collect(),
        base,
        how: Succession::Refresh,
    };
    let mut started = super::BTreeMap::new();
    for (me, share) in &old {
        let (params, roster) = (params.clone(), world.roster(*me));
        let first = start_succession(params, roster, Some(share), &mut world.rng);
        started.insert(*me, first.unwrap());
    }
    let generated = world.drive(started, |_| ());
    world.shares = generated.into_iter().map(|(n, g)| (n, g.share)).collect();
    old
}

#[test]
fn no_copy_of_an_old_share_outlives_its_refresh() {
    for (scheme, seed) in super::SCHEMES.into_iter().zip(90..) {
        let mut world = World::new(scheme, Purpose::Trading, (2, 3), seed);
        let old = refresh(&mut world);
        let alive = Snapshot::take();
        drop(old);
        let dropped = Snapshot::take();
        let again = World::new(scheme, Purpose::Trading, (2, 3), seed);
        let value = *again.shares[&node(1)].secret.expose();
        assert!(
            alive.copies(&value) > 0,
            "{scheme:?}: it is where it should be"
        );
        assert_eq!(dropped.copies(&value), 0, "{scheme:?}");
        // The new share is another one, and still there.
        let new = *world.shares[&node(1)].secret.expose();
        assert!(new != value && dropped.copies(&new) > 0, "{scheme:?}");
    }
}
