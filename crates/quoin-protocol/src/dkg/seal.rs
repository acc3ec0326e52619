//! Encrypted dealings: HPKE (RFC 9180) to a key that one receiver made for one dealer.
//!
//! The suite is X25519 with HKDF-SHA-256 and ChaCha20-Poly1305, base mode. The dealer is
//! authenticated by its signature over the whole broadcast, not by HPKE. A ciphertext is bound to
//! ceremony, dealer and receiver by HPKE's `info`.

use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use quoin_core::hash::tagged;
use quoin_core::{NodeIndex, SecretBytes, tags};
use rand_core::CryptoRngCore;
use zeroize::Zeroizing;

type X25519 = X25519HkdfSha256;

/// The length of an encrypted scalar: 32 bytes and the tag of the cipher.
pub(crate) const CIPHERTEXT_BYTES: usize = 48;

/// Where a dealing belongs.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) sid: &'a [u8; 32],
    pub(crate) dealer: NodeIndex,
    pub(crate) receiver: NodeIndex,
}

impl Place<'_> {
    fn info(&self) -> [u8; 32] {
        let (dealer, receiver) = ([self.dealer.get()], [self.receiver.get()]);
        tagged(tags::DKG_DEAL, &[self.sid, &dealer, &receiver])
    }
}

/// The public half of a ceremony key.
pub(crate) fn public_key(secret: &SecretBytes<32>) -> Option<[u8; 32]> {
    let secret = <X25519 as Kem>::PrivateKey::from_bytes(secret.expose()).ok()?;
    Some(X25519::sk_to_pk(&secret).to_bytes().into())
}

/// Encrypts `dealing` to `key`; `None` when the key is of small order.
pub(crate) fn seal(
    key: &[u8; 32],
    place: Place<'_>,
    dealing: &[u8; 32],
    rng: &mut dyn CryptoRngCore,
) -> Option<([u8; 32], Vec<u8>)> {
    let key = <X25519 as Kem>::PublicKey::from_bytes(key).ok()?;
    let mut rng = rng;
    let (encapsulated, ciphertext) = hpke::single_shot_seal::<
        ChaCha20Poly1305,
        HkdfSha256,
        X25519,
        _,
    >(
        &OpModeS::Base, &key, &place.info(), dealing, &[], &mut rng
    )
    .ok()?;
    Some((encapsulated.to_bytes().into(), ciphertext))
}

/// Decrypts a dealing; `None` when the ciphertext is not one for this key and place.
pub(crate) fn open(
    secret: &SecretBytes<32>,
    place: Place<'_>,
    encapsulated: &[u8; 32],
    ciphertext: &[u8],
) -> Option<Zeroizing<[u8; 32]>> {
    let secret = <X25519 as Kem>::PrivateKey::from_bytes(secret.expose()).ok()?;
    let encapsulated = <X25519 as Kem>::EncappedKey::from_bytes(encapsulated).ok()?;
    let plain = Zeroizing::new(
        hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519>(
            &OpModeR::Base,
            &secret,
            &encapsulated,
            &place.info(),
            ciphertext,
            &[],
        )
        .ok()?,
    );
    let mut dealing = Zeroizing::new([0u8; 32]);
    if plain.len() != dealing.len() {
        return None;
    }
    dealing.copy_from_slice(&plain);
    Some(dealing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    fn place(sid: &[u8; 32], dealer: u8, receiver: u8) -> Place<'_> {
        Place {
            sid,
            dealer: NodeIndex::new(dealer).unwrap(),
            receiver: NodeIndex::new(receiver).unwrap(),
        }
    }

    #[test]
    fn a_dealing_opens_only_in_its_place_and_with_its_key() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let (secret, other) = (SecretBytes::random(&mut rng), SecretBytes::random(&mut rng));
        let key = public_key(&secret).unwrap();
        let (encapsulated, sealed) = seal(&key, place(&[1; 32], 1, 2), &[7; 32], &mut rng).unwrap();
        assert_eq!(sealed.len(), CIPHERTEXT_BYTES);
        let opened = |secret, place| open(secret, place, &encapsulated, &sealed).map(|p| *p);
        assert_eq!(opened(&secret, place(&[1; 32], 1, 2)), Some([7; 32]));
        assert_eq!(opened(&other, place(&[1; 32], 1, 2)), None);
        for elsewhere in [
            place(&[2; 32], 1, 2),
            place(&[1; 32], 3, 2),
            place(&[1; 32], 1, 3),
        ] {
            assert_eq!(opened(&secret, elsewhere), None);
        }
        assert!(open(&secret, place(&[1; 32], 1, 2), &[0; 32], &sealed).is_none());
        assert!(open(&secret, place(&[1; 32], 1, 2), &encapsulated, &[]).is_none());
    }

    #[test]
    fn a_key_of_small_order_takes_no_dealing() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let mut one = [0; 32];
        one[0] = 1;
        for key in [[0; 32], one] {
            assert!(seal(&key, place(&[1; 32], 1, 2), &[7; 32], &mut rng).is_none());
        }
    }

    #[test]
    fn secret_keys_of_the_encryption_library_are_wiped_when_dropped() {
        // The library's own feature is off by default; without it the type has nothing to drop.
        assert!(std::mem::needs_drop::<x25519_dalek::StaticSecret>());
    }
}
