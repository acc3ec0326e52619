//! The form of a sealed secret.
//!
//! | part | how |
//! |---|---|
//! | data key | 32 fresh random bytes for each seal |
//! | wrapped key | XChaCha20-Poly1305 of the data key under the master key |
//! | ciphertext | XChaCha20-Poly1305 of the secret under the data key |
//! | associated data of both | `tagged(SEAL; part, master key's fingerprint, label, aad)` |
//!
//! Nonces are random: 24 bytes are long enough for that. Who loses the wrapped key loses the secret:
//! an epoch's share is erased with its row, whatever has become of the ciphertext.

use super::SealError;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use minicbor::{Decode, Encode};
use quoin_core::cbor::{self, Version};
use quoin_core::hash::tagged;
use quoin_core::{SecretBytes, tags};
use rand_core::{OsRng, RngCore};
use zeroize::Zeroizing;

/// The longest secret: a key package of the largest cluster takes some kilobytes.
pub const SECRET_BYTES_MAX: usize = 64 << 10;

/// The longest label.
const LABEL_BYTES_MAX: usize = 128;

/// The longest envelope: secret, label and about 200 bytes around them.
pub const ENVELOPE_BYTES_MAX: usize = SECRET_BYTES_MAX + LABEL_BYTES_MAX + 512;

const NONCE_BYTES: usize = 24;

/// Which master key: enough to tell keys apart, and it reveals nothing about them.
pub(super) type Fingerprint = [u8; 8];

#[derive(Encode, Decode)]
struct Envelope {
    #[n(0)]
    version: Version<1>,
    #[cbor(n(1), with = "minicbor::bytes")]
    master: Fingerprint,
    #[n(2)]
    label: String,
    #[cbor(n(3), with = "minicbor::bytes")]
    key_nonce: [u8; NONCE_BYTES],
    #[cbor(n(4), with = "minicbor::bytes")]
    wrapped_key: Vec<u8>,
    #[cbor(n(5), with = "minicbor::bytes")]
    nonce: [u8; NONCE_BYTES],
    #[cbor(n(6), with = "minicbor::bytes")]
    ciphertext: Vec<u8>,
}

/// The fingerprint of a master key.
pub(super) fn fingerprint(master: &SecretBytes<32>) -> Fingerprint {
    let hash = tagged(tags::SEAL, &[b"fingerprint", master.expose()]);
    let mut fingerprint = Fingerprint::default();
    fingerprint.copy_from_slice(hash.first_chunk::<8>().unwrap_or(&[0; 8]));
    fingerprint
}

/// Seals `secret` under `master`.
pub(super) fn seal(
    master: &SecretBytes<32>,
    label: &str,
    aad: &[u8],
    secret: &[u8],
) -> Result<Vec<u8>, SealError> {
    limit("a secret", secret.len(), SECRET_BYTES_MAX)?;
    limit("a label", label.len(), LABEL_BYTES_MAX)?;
    let id = fingerprint(master);
    let mut data_key = Zeroizing::new([0u8; 32]);
    fill(data_key.as_mut_slice())?;
    let data_key = SecretBytes::take(&mut data_key);
    let (key_nonce, nonce) = (nonce()?, nonce()?);
    let envelope = Envelope {
        version: Version,
        master: id,
        label: label.to_owned(),
        key_nonce,
        wrapped_key: encrypt(
            master,
            &key_nonce,
            data_key.expose(),
            &bound(b"key", &id, label, aad),
        )?,
        nonce,
        ciphertext: encrypt(
            &data_key,
            &nonce,
            secret,
            &bound(b"secret", &id, label, aad),
        )?,
    };
    Ok(cbor::encode(&envelope))
}

/// Opens what [`seal`] made.
pub(super) fn open(
    master: &SecretBytes<32>,
    label: &str,
    aad: &[u8],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let envelope: Envelope = cbor::decode(sealed, ENVELOPE_BYTES_MAX)
        .map_err(|e| SealError::Malformed(e.to_string()))?;
    limit("a label", envelope.label.len(), LABEL_BYTES_MAX)?;
    let id = fingerprint(master);
    if envelope.master != id {
        return Err(SealError::OtherMasterKey {
            found: hex::encode(envelope.master),
            ours: hex::encode(id),
        });
    }
    if envelope.label != label {
        return Err(SealError::OtherLabel {
            asked: label.to_owned(),
            found: envelope.label,
        });
    }
    let broken = || SealError::Broken(label.to_owned());
    let bound_key = bound(b"key", &id, label, aad);
    let data_key = decrypt(
        master,
        &envelope.key_nonce,
        &envelope.wrapped_key,
        &bound_key,
    );
    let data_key = data_key.ok_or_else(broken)?;
    let mut raw = Zeroizing::new([0u8; 32]);
    raw.copy_from_slice(data_key.first_chunk::<32>().ok_or_else(broken)?);
    let data_key = SecretBytes::take(&mut raw);
    let bound_secret = bound(b"secret", &id, label, aad);
    decrypt(
        &data_key,
        &envelope.nonce,
        &envelope.ciphertext,
        &bound_secret,
    )
    .ok_or_else(broken)
}

/// What a ciphertext belongs to.
fn bound(part: &[u8], master: &Fingerprint, label: &str, aad: &[u8]) -> [u8; 32] {
    tagged(tags::SEAL, &[part, master, label.as_bytes(), aad])
}

/// XChaCha20-Poly1305.
pub(super) fn encrypt(
    key: &SecretBytes<32>,
    nonce: &[u8; NONCE_BYTES],
    plain: &[u8],
    aad: &[u8],
) -> Result<Vec<u8>, SealError> {
    let payload = Payload { msg: plain, aad };
    let cipher = XChaCha20Poly1305::new(Key::from_slice(key.expose()));
    // Fails only beyond 256 GiB, which the limits exclude.
    let sealed = cipher.encrypt(XNonce::from_slice(nonce), payload);
    sealed.map_err(|_| SealError::Malformed("plaintext is too long".to_owned()))
}

/// XChaCha20-Poly1305; `None` when the tag does not fit.
pub(super) fn decrypt(
    key: &SecretBytes<32>,
    nonce: &[u8; NONCE_BYTES],
    sealed: &[u8],
    aad: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let payload = Payload { msg: sealed, aad };
    let cipher = XChaCha20Poly1305::new(Key::from_slice(key.expose()));
    let plain = cipher.decrypt(XNonce::from_slice(nonce), payload);
    plain.ok().map(Zeroizing::new)
}

/// A fresh nonce.
pub(super) fn nonce() -> Result<[u8; NONCE_BYTES], SealError> {
    let mut nonce = [0u8; NONCE_BYTES];
    fill(&mut nonce)?;
    Ok(nonce)
}

/// Fills `out` from the system's entropy.
pub(super) fn fill(out: &mut [u8]) -> Result<(), SealError> {
    OsRng
        .try_fill_bytes(out)
        .map_err(|e| SealError::NoEntropy(e.to_string()))
}

fn limit(what: &'static str, bytes: usize, max: usize) -> Result<(), SealError> {
    if bytes > max {
        return Err(SealError::TooLong { what, bytes, max });
    }
    Ok(())
}
