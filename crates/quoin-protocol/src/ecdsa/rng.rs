//! Hedged randomness of one batch.
//!
//! The seed mixes the operating system's entropy with a secret of the node and the batch's context,
//! so a weak entropy source alone does not repeat values. It is re-keyed before every round with
//! fresh entropy and the transcript: two copies of a forked memory that saw different transcripts
//! draw different values. What it cannot heal is a fork that sees equal inputs (construction,
//! sections 3 and 21.2).

use super::guard::Guard;
use quoin_core::hash::tagged;
use quoin_core::tags;
use rand_chacha::ChaCha20Rng;
use rand_core::{CryptoRng, CryptoRngCore, RngCore, SeedableRng};
use sha2::{Digest, Sha512};
use zeroize::{Zeroize, Zeroizing};

/// A ChaCha20 stream, overwritten on drop.
pub(super) struct Stream(Box<ChaCha20Rng>);

impl Stream {
    fn new(key: &[u8; 32]) -> Self {
        Self(Box::new(ChaCha20Rng::from_seed(*key)))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // The crate has no zeroize support: the state is overwritten and the write is pinned.
        *self.0 = ChaCha20Rng::from_seed([0; 32]);
        std::hint::black_box(&mut self.0);
    }
}

impl RngCore for Stream {
    fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }
    fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }
    fn fill_bytes(&mut self, dest: &mut [u8]) {
        self.0.fill_bytes(dest);
    }
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), rand_core::Error> {
        self.0.try_fill_bytes(dest)
    }
}

impl CryptoRng for Stream {}

/// The two streams of a batch: one for what opens the key, one for the rest.
pub(super) struct BatchRng {
    seed: Zeroizing<[[u8; 32]; 2]>,
    /// For key-equivalent values: nonces, masks, choices, tree roots.
    pub(super) key: Stream,
    /// For everything else: salts, public randomness, check coefficients.
    pub(super) rest: Stream,
}

impl BatchRng {
    /// `SHA-512(tag || entropy || node secret || ctx0)` keys both streams.
    pub(super) fn open(
        entropy: &mut dyn CryptoRngCore,
        node_secret: &[u8; 32],
        ctx0: &[u8; 32],
    ) -> Self {
        let fresh = fresh_entropy(entropy);
        Self::keyed([fresh.as_slice(), node_secret, ctx0])
    }

    /// Re-keys with the old key, fresh entropy and the transcript so far.
    pub(super) fn rekey(&mut self, entropy: &mut dyn CryptoRngCore, transcript: &[&[u8]]) {
        if Guard::Rekeyed.is_off() {
            return;
        }
        let fresh = fresh_entropy(entropy);
        let seen = tagged(tags::ECDSA_RNG, transcript);
        *self = Self::keyed([self.seed.as_flattened(), fresh.as_slice(), &seen]);
    }

    fn keyed(parts: [&[u8]; 3]) -> Self {
        let mut hasher = Sha512::new();
        hasher.update(tags::ECDSA_RNG.text().as_bytes());
        for part in parts {
            hasher.update(part);
        }
        let mut digest: [u8; 64] = hasher.finalize().into();
        let mut seed = Zeroizing::new([[0u8; 32]; 2]);
        seed.as_flattened_mut().copy_from_slice(&digest);
        digest.zeroize();
        let [key, rest] = &*seed;
        let (key, rest) = (Stream::new(key), Stream::new(rest));
        Self { seed, key, rest }
    }
}

fn fresh_entropy(entropy: &mut dyn CryptoRngCore) -> Zeroizing<[u8; 32]> {
    let mut fresh = Zeroizing::new([0u8; 32]);
    entropy.fill_bytes(fresh.as_mut_slice());
    fresh
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An entropy source that has failed: it gives zeroes for ever.
    struct Stuck;
    impl RngCore for Stuck {
        fn next_u32(&mut self) -> u32 {
            0
        }
        fn next_u64(&mut self) -> u64 {
            0
        }
        fn fill_bytes(&mut self, dest: &mut [u8]) {
            dest.fill(0);
        }
        fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), rand_core::Error> {
            dest.fill(0);
            Ok(())
        }
    }
    impl CryptoRng for Stuck {}

    #[test]
    fn a_stuck_entropy_source_still_gives_other_values_in_each_context_and_node() {
        let draw = |secret: u8, ctx: u8| {
            BatchRng::open(&mut Stuck, &[secret; 32], &[ctx; 32])
                .key
                .next_u64()
        };
        assert_ne!(draw(1, 1), draw(1, 2));
        assert_ne!(draw(1, 1), draw(2, 1));
        assert_eq!(draw(1, 1), draw(1, 1));
    }

    #[test]
    fn rekeying_separates_forks_that_saw_different_transcripts() {
        let fork = |seen: &[u8]| {
            let mut rng = BatchRng::open(&mut Stuck, &[1; 32], &[2; 32]);
            let before = rng.key.next_u64();
            rng.rekey(&mut Stuck, &[seen]);
            (before, rng.key.next_u64(), rng.rest.next_u64())
        };
        let (a, b) = (fork(b"one"), fork(b"two"));
        assert_eq!(a.0, b.0);
        assert_ne!(a.1, b.1);
        assert_ne!(a.2, b.2);
        assert_ne!(a.1, a.2);
        assert_eq!(fork(b"one"), a);
    }
}
