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
