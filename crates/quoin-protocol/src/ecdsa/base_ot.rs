//! Base oblivious transfers: 128 in each direction, one message each way, fresh in every batch.
//!
//! The endemic transfer of Masny and Rindal (eprint 2019/706) over ristretto255, with per-index
//! hashing as Masny, Rindal and others demand for batches (2021/682). Alice receives one key of
//! each pair; which one is hidden perfectly, because both of her points are uniform. Source:
//! construction, section 6.

use super::context::Direction;
use super::rng::BatchRng;
use crate::Fault;
use curve25519_dalek::ristretto::{CompressedRistretto, RistrettoBasepointTable, RistrettoPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::IsIdentity;
use quoin_core::tags;
use rand_core::RngCore;
use sha2::{Digest, Sha512};
use subtle::{Choice, ConditionallySelectable};
use zeroize::{Zeroize, Zeroizing};

/// Bytes of one transfer's pair of points.
const PAIR_BYTES: usize = 64;

/// Hashes to the group: `from_uniform(SHA-512(tag || ctx0 || dir || l || c || e))`. All fields have
/// fixed lengths, and `l` is one byte.
fn hash_to_group(
    ctx0: &[u8; 32],
    dir: [u8; 2],
    l: u8,
    c: u8,
    e: &CompressedRistretto,
) -> RistrettoPoint {
    let mut hasher = Sha512::new();
    hasher.update(tags::ECDSA_OT_H2G.text().as_bytes());
    hasher.update(ctx0);
    hasher.update(dir);
    hasher.update([l, c]);
    hasher.update(e.as_bytes());
    RistrettoPoint::from_uniform_bytes(&hasher.finalize().into())
}

/// Draws a secret exponent: 64 random bytes modulo the order, drawn again on zero.
fn secret_exponent(rng: &mut BatchRng) -> Zeroizing<Scalar> {
    loop {
        let mut wide = Zeroizing::new([0u8; 64]);
        rng.key.fill_bytes(wide.as_mut_slice());
        let scalar = Zeroizing::new(Scalar::from_bytes_mod_order_wide(&wide));
        if *scalar != Scalar::ZERO {
            return scalar;
        }
    }
}

/// Decodes a point; the identity and non-canonical encodings are refused.
fn decode(bytes: &[u8; 32]) -> Result<RistrettoPoint, Fault> {
    CompressedRistretto(*bytes)
        .decompress()
        .filter(|point| !point.is_identity())
        .ok_or(Fault::BadPoint)
}

/// `K_{l,c}`: everything that could relate two keys enters the hash (section 15, row 11).
fn key(
    direction: &Direction,
    (l, c): (u8, u8),
    bob: &[u8; 32],
    pair: &[u8],
    shared: &RistrettoPoint,
) -> [u8; 32] {
    let (first, second) = pair.split_at(PAIR_BYTES / 2);
    let mut shared = shared.compress();
    let mut hasher = direction.hasher(tags::ECDSA_OT_KEY);
    hasher
        .part(&[l])
        .part(&[c])
        .part(bob)
        .part(first)
        .part(second)
        .part(shared.as_bytes());
    shared.zeroize();
    hasher.finish()
}

/// Alice's side between her message and Bob's.
pub(super) struct Receiver {
    /// Bit p is 1 where she did not choose: `Delta_p = 1 - c_p`.
    delta: Zeroizing<u128>,
    exponents: Vec<Zeroizing<Scalar>>,
    /// What she sends: both points of each transfer.
    pub(super) pairs: Vec<u8>,
}

impl Receiver {
    /// For each transfer: a random choice c, one uniform point on the other side, and on the chosen
    /// side the point of which she knows the discrete logarithm after hashing.
    pub(super) fn draw(ctx0: &[u8; 32], dir: [u8; 2], count: usize, rng: &mut BatchRng) -> Self {
        let mut bits = Zeroizing::new([0u8; 16]);
        rng.key.fill_bytes(bits.as_mut_slice());
        let used = u128::MAX.checked_shr(128 - count as u32).unwrap_or(0);
        let delta = Zeroizing::new(u128::from_le_bytes(*bits) & used);
        let mut exponents = Vec::with_capacity(count);
        let mut pairs = Vec::with_capacity(PAIR_BYTES * count);
        for l in (0u8..).take(count) {
            let c = 1 ^ (*delta >> l) as u8 & 1;
            // Which of the two points came from these bytes is the choice bit.
            let mut uniform = Zeroizing::new([0u8; 64]);
            rng.key.fill_bytes(uniform.as_mut_slice());
            let other = RistrettoPoint::from_uniform_bytes(&uniform).compress();
            let exponent = secret_exponent(rng);
            let chosen = (RistrettoPoint::mul_base(&exponent)
                - hash_to_group(ctx0, dir, l, c, &other))
            .compress();
            let side = Choice::from(c);
            for (a, b) in [(&chosen, &other), (&other, &chosen)] {
                pairs.extend(
                    a.as_bytes()
                        .iter()
                        .zip(b.as_bytes())
                        .map(|(zero, one)| u8::conditional_select(zero, one, side)),
                );
            }
            exponents.push(exponent);
        }
        Self {
            delta,
            exponents,
            pairs,
        }
    }

    /// The chosen key of each transfer: from `x_l A`.
    pub(super) fn keys(self, direction: &Direction, bob: &[u8; 32]) -> Result<ChosenKeys, Fault> {
        // One point, many exponents: its table pays for itself after a few of them. The table is
        // public, and multiplying by it takes constant time like multiplying the generator.
        let table = RistrettoBasepointTable::create(&decode(bob)?);
        let mut keys = Zeroizing::new(Vec::with_capacity(self.exponents.len()));
        let pairs = self.pairs.chunks_exact(PAIR_BYTES);
        for ((exponent, pair), l) in self.exponents.iter().zip(pairs).zip(0u8..) {
            let c = 1 ^ (*self.delta >> l) as u8 & 1;
            let mut shared = &table * &**exponent;
            keys.push(key(direction, (l, c), bob, pair, &shared));
            shared.zeroize();
        }
        Ok(ChosenKeys {
            delta: self.delta,
            keys,
        })
    }
}

/// What Alice has after the transfers.
pub(super) struct ChosenKeys {
    /// Her complement choices, as a row of the extension.
    pub(super) delta: Zeroizing<u128>,
    /// The chosen key of each transfer.
    pub(super) keys: Zeroizing<Vec<[u8; 32]>>,
}

/// Both keys of each transfer.
pub(super) type KeyPairs = Zeroizing<Vec<[[u8; 32]; 2]>>;

/// Bob's side between his message and Alice's.
pub(super) struct Sender {
    exponent: Zeroizing<Scalar>,
    /// What he sends.
    pub(super) point: [u8; 32],
}

impl Sender {
    /// One fresh exponent for each ordered pair and batch, never used again.
    pub(super) fn draw(rng: &mut BatchRng) -> Self {
        let exponent = secret_exponent(rng);
        let point = RistrettoPoint::mul_base(&exponent).compress().to_bytes();
        Self { exponent, point }
    }

    /// Both keys of each transfer: `Q_{l,c} = r_{l,c} + H(l, c, r_{l,1-c})`, then from `y Q`.
    pub(super) fn keys(
        self,
        ctx0: &[u8; 32],
        direction: &Direction,
        pairs: &[u8],
    ) -> Result<KeyPairs, Fault> {
        let mut keys = Zeroizing::new(Vec::with_capacity(pairs.len() / PAIR_BYTES));
        for (pair, l) in pairs.chunks_exact(PAIR_BYTES).zip(0u8..) {
            let [first, second] = match pair.as_chunks::<32>().0 {
                [first, second] => [*first, *second],
                _ => return Err(Fault::WrongLength),
            };
            let mut both = Zeroizing::new([[0u8; 32]; 2]);
            let sides = [(first, second), (second, first)];
            for ((out, (own, other)), c) in both.iter_mut().zip(sides).zip(0u8..) {
                let other = CompressedRistretto(other);
                let q = decode(&own)? + hash_to_group(ctx0, direction.dir, l, c, &other);
                let mut shared = *self.exponent * q;
                *out = key(direction, (l, c), &self.point, pair, &shared);
                shared.zeroize();
            }
            keys.push(*both);
        }
        Ok(keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    const CTX0: [u8; 32] = [5; 32];
    const DIRECTION: Direction = Direction {
        ctx1: [6; 32],
        dir: [1, 2],
    };

    fn rng(seed: u64) -> BatchRng {
        let mut entropy = ChaCha20Rng::seed_from_u64(seed);
        BatchRng::open(&mut entropy, &[1; 32], &CTX0)
    }

    #[test]
    fn alice_gets_exactly_the_keys_that_she_chose() {
        let mut rng = rng(1);
        let alice = Receiver::draw(&CTX0, [1, 2], 128, &mut rng);
        let bob = Sender::draw(&mut rng);
        let (point, pairs) = (bob.point, alice.pairs.clone());
        let both = bob.keys(&CTX0, &DIRECTION, &pairs).unwrap();
        let chosen = alice.keys(&DIRECTION, &point).unwrap();
        for (l, (key, pair)) in chosen.keys.iter().zip(both.iter()).enumerate() {
            let delta = (*chosen.delta >> l) & 1;
            assert_eq!(key, &pair[1 - delta as usize]);
            assert_ne!(key, &pair[delta as usize]);
        }
        assert!(*chosen.delta != 0 && *chosen.delta != u128::MAX);
    }

    #[test]
    fn equal_pairs_in_two_slots_give_unrelated_keys() {
        let mut rng = rng(2);
        let mut pairs = Receiver::draw(&CTX0, [1, 2], 2, &mut rng).pairs;
        let (first, second) = pairs.split_at_mut(64);
        second.copy_from_slice(first);
        let keys = Sender::draw(&mut rng)
            .keys(&CTX0, &DIRECTION, &pairs)
            .unwrap();
        assert_ne!(keys[0][0], keys[1][0]);
        assert_ne!(keys[0][1], keys[1][1]);
    }

    #[test]
    fn every_part_of_the_key_hash_matters() {
        let pair = [3u8; 64];
        let shared = RistrettoPoint::mul_base(&Scalar::from(9u64));
        let base = key(&DIRECTION, (4, 0), &[8; 32], &pair, &shared);
        let swapped = Direction {
            dir: [2, 1],
            ..DIRECTION
        };
        let old = Direction {
            ctx1: [7; 32],
            ..DIRECTION
        };
        let mut first = pair;
        first[0] ^= 1;
        let mut second = pair;
        second[63] ^= 1;
        for (name, other) in [
            ("direction", key(&swapped, (4, 0), &[8; 32], &pair, &shared)),
            ("context", key(&old, (4, 0), &[8; 32], &pair, &shared)),
            ("index", key(&DIRECTION, (5, 0), &[8; 32], &pair, &shared)),
            ("side", key(&DIRECTION, (4, 1), &[8; 32], &pair, &shared)),
            ("bob", key(&DIRECTION, (4, 0), &[9; 32], &pair, &shared)),
            ("first", key(&DIRECTION, (4, 0), &[8; 32], &first, &shared)),
            (
                "second",
                key(&DIRECTION, (4, 0), &[8; 32], &second, &shared),
            ),
        ] {
            assert_ne!(base, other, "{name}");
        }
    }

    #[test]
    fn identity_and_non_canonical_points_are_refused() {
        let mut rng = rng(3);
        let alice = Receiver::draw(&CTX0, [1, 2], 4, &mut rng);
        let good = alice.pairs.clone();
        // 2^255 - 19 + 2 is a second spelling of 2; an odd value is never canonical.
        let mut above_field = [0xff; 32];
        above_field[0] = 0xef;
        above_field[31] = 0x7f;
        let odd = {
            let mut bytes = [0; 32];
            bytes[0] = 1;
            bytes
        };
        for bad in [[0u8; 32], above_field, odd, [0xff; 32]] {
            assert_eq!(decode(&bad).err(), Some(Fault::BadPoint));
            for place in [0, 32, 64 * 3 + 32] {
                let mut pairs = good.clone();
                pairs[place..place + 32].copy_from_slice(&bad);
                let bob = Sender::draw(&mut rng);
                let keys = bob.keys(&CTX0, &DIRECTION, &pairs);
                assert_eq!(keys.err(), Some(Fault::BadPoint), "{place}");
            }
        }
        let refused = alice.keys(&DIRECTION, &[0; 32]);
        assert_eq!(refused.err(), Some(Fault::BadPoint));
    }

    #[test]
    fn the_group_hash_has_a_prefix_of_its_own_and_fixed_lengths() {
        // It takes the tag's bare text, so no other tag may begin with it or be its beginning.
        let own = tags::ECDSA_OT_H2G;
        for other in tags::ALL.iter().filter(|t| **t != own) {
            assert!(!other.text().starts_with(own.text()), "{other:?}");
            assert!(!own.text().starts_with(other.text()), "{other:?}");
        }
        let e = RistrettoPoint::mul_base(&Scalar::ONE).compress();
        let base = hash_to_group(&CTX0, [1, 2], 3, 0, &e);
        for other in [
            hash_to_group(&[0; 32], [1, 2], 3, 0, &e),
            hash_to_group(&CTX0, [2, 1], 3, 0, &e),
            hash_to_group(&CTX0, [1, 2], 4, 0, &e),
            hash_to_group(&CTX0, [1, 2], 3, 1, &e),
            hash_to_group(&CTX0, [1, 2], 3, 0, &CompressedRistretto([0; 32])),
        ] {
            assert_ne!(base, other);
        }
    }
}
