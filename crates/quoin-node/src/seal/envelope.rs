//! The form of a sealed secret.
//!
//! | part | how |
//! |---|---|
//! | data key | 32 fresh random bytes for each seal |
//! | wrapped key | what the sealer makes of the data key; a file's master key: nonce and XChaCha20-Poly1305 |
//! | its place | `tagged(SEAL; "key", master key's fingerprint, label, aad)` |
//! | ciphertext | XChaCha20-Poly1305 of the secret under the data key |
//! | its associated data | `tagged(SEAL; "secret", label, aad)`: no master key, so that re-wrapping leaves it |
//!
//! Nonces are random: 24 bytes are long enough for that. Who loses the wrapped key loses the secret:
//! an epoch's share is erased with its row, whatever has become of the ciphertext.

use super::{Fingerprint, SealError, Sealer};
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

#[derive(Encode, Decode)]
struct Envelope {
    #[n(0)]
    version: Version<2>,
    #[cbor(n(1), with = "minicbor::bytes")]
    master: Fingerprint,
    #[n(2)]
    label: String,
    #[cbor(n(3), with = "minicbor::bytes")]
    wrapped_key: Vec<u8>,
    #[cbor(n(4), with = "minicbor::bytes")]
    nonce: [u8; NONCE_BYTES],
    #[cbor(n(5), with = "minicbor::bytes")]
    ciphertext: Vec<u8>,
}

/// The fingerprint of a master key.
pub(super) fn fingerprint(master: &SecretBytes<32>) -> Fingerprint {
    let hash = tagged(tags::SEAL, &[b"fingerprint", master.expose()]);
    let mut fingerprint = Fingerprint::default();
    fingerprint.copy_from_slice(hash.first_chunk::<8>().unwrap_or(&[0; 8]));
    fingerprint
}

/// Seals `secret` under a fresh data key that `sealer` wraps.
pub(super) fn seal<S: Sealer + ?Sized>(
    sealer: &S,
    label: &str,
    aad: &[u8],
    secret: &[u8],
) -> Result<Vec<u8>, SealError> {
    limit("a secret", secret.len(), SECRET_BYTES_MAX)?;
    limit("a label", label.len(), LABEL_BYTES_MAX)?;
    let mut data_key = Zeroizing::new([0u8; 32]);
    fill(data_key.as_mut_slice())?;
    let data_key = SecretBytes::take(&mut data_key);
    let (master, nonce) = (sealer.fingerprint(), nonce()?);
    let envelope = Envelope {
        version: Version,
        master,
        label: label.to_owned(),
        wrapped_key: sealer.wrap(&key_place(&master, label, aad), &data_key)?,
        nonce,
        ciphertext: encrypt(&data_key, &nonce, secret, &secret_place(label, aad))?,
    };
    Ok(cbor::encode(&envelope))
}

/// Opens what [`seal`] made.
pub(super) fn open<S: Sealer + ?Sized>(
    sealer: &S,
    label: &str,
    aad: &[u8],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let (envelope, data_key) = data_key(sealer, label, aad, sealed)?;
    let place = secret_place(label, aad);
    decrypt(&data_key, &envelope.nonce, &envelope.ciphertext, &place)
        .ok_or_else(|| SealError::Broken(label.to_owned()))
}

/// Moves the data key of `sealed` from one master key to another.
pub(super) fn rewrap<S: Sealer + ?Sized>(
    from: &dyn Sealer,
    to: &S,
    label: &str,
    aad: &[u8],
    sealed: &[u8],
) -> Result<Vec<u8>, SealError> {
    let (mut envelope, data_key) = data_key(from, label, aad, sealed)?;
    envelope.master = to.fingerprint();
    envelope.wrapped_key = to.wrap(&key_place(&envelope.master, label, aad), &data_key)?;
    Ok(cbor::encode(&envelope))
}

/// The fingerprint of the master key that sealed this.
///
/// # Errors
/// When it is not a sealed secret.
pub fn sealed_by(sealed: &[u8]) -> Result<Fingerprint, SealError> {
    Ok(read(sealed)?.master)
}

fn read(sealed: &[u8]) -> Result<Envelope, SealError> {
    let read: Result<Envelope, _> = cbor::decode(sealed, ENVELOPE_BYTES_MAX);
    read.map_err(|e| SealError::Malformed(e.to_string()))
}

/// Reads an envelope that must be of `label` and by `sealer`, and unwraps its data key.
fn data_key<S: Sealer + ?Sized>(
    sealer: &S,
    label: &str,
    aad: &[u8],
    sealed: &[u8],
) -> Result<(Envelope, SecretBytes<32>), SealError> {
    let envelope = read(sealed)?;
    limit("a label", envelope.label.len(), LABEL_BYTES_MAX)?;
    let ours = sealer.fingerprint();
    if envelope.master != ours {
        return Err(SealError::OtherMasterKey {
            found: hex::encode(envelope.master),
            ours: hex::encode(ours),
        });
    }
    if envelope.label != label {
        return Err(SealError::OtherLabel {
            asked: label.to_owned(),
            found: envelope.label,
        });
    }
    let place = key_place(&ours, label, aad);
    let data_key = sealer.unwrap(&place, &envelope.wrapped_key)?;
    let data_key = data_key.ok_or_else(|| SealError::Broken(label.to_owned()))?;
    Ok((envelope, data_key))
}

/// Where a data key belongs.
fn key_place(master: &Fingerprint, label: &str, aad: &[u8]) -> [u8; 32] {
    tagged(tags::SEAL, &[b"key", master, label.as_bytes(), aad])
}

/// Where a ciphertext belongs.
fn secret_place(label: &str, aad: &[u8]) -> [u8; 32] {
    tagged(tags::SEAL, &[b"secret", label.as_bytes(), aad])
}

/// A data key under a master key that is in memory: nonce and ciphertext.
pub(super) fn wrap_with(
    master: &SecretBytes<32>,
    place: &[u8; 32],
    data_key: &SecretBytes<32>,
) -> Result<Vec<u8>, SealError> {
    let nonce = nonce()?;
    let sealed = encrypt(master, &nonce, data_key.expose(), place)?;
    Ok([nonce.as_slice(), &sealed].concat())
}

/// What [`wrap_with`] made; `None` when anything differs.
pub(super) fn unwrap_with(
    master: &SecretBytes<32>,
    place: &[u8; 32],
    wrapped: &[u8],
) -> Option<SecretBytes<32>> {
    let (nonce, sealed) = wrapped.split_first_chunk::<NONCE_BYTES>()?;
    let plain = decrypt(master, nonce, sealed, place)?;
    let mut raw = Zeroizing::new([0u8; 32]);
    raw.copy_from_slice(plain.as_slice().get(..32).filter(|_| plain.len() == 32)?);
    Some(SecretBytes::take(&mut raw))
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
