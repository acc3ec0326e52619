//! The `local` custody method: one software key, for comparison and development only.
//!
//! It passes through the same judgement as a threshold key, and costs one ordinary ECDSA signature
//! (RFC 6979 nonces) instead of a protocol. The key is made by the same ceremony with a threshold
//! of 1, so every node holds all of it.
//!
//! # Security
//! Whoever reads one node's memory has the key. Nothing of value belongs on it.

use crate::derive::derive;
use crate::dkg::{Group, Secp256k1};
use crate::presign::SignFault;
use crate::share::KeyShare;
use k256::ecdsa::SigningKey;
use quoin_chain::Digest;
use quoin_core::{CustodyMethod, DerivationPath, Scheme};
use quoin_policy::Warrant;
use zeroize::Zeroizing;

/// Signs what the warrant warrants with a whole key: `r || s || recovery id`, s low.
///
/// # Errors
/// When the warrant is not for this key or not for the `local` method, the key is a share of a
/// threshold key, or the digest does not fit.
pub fn sign_local(warrant: Warrant, key: &KeyShare) -> Result<[u8; 65], SignFault> {
    let public = &key.public;
    let local = warrant.custody() == CustodyMethod::Local
        && public.threshold == 1
        && public.scheme == Scheme::Ecdsa;
    if !local || warrant.key() != Some(public.key) {
        return Err(SignFault::WrongShare);
    }
    let Digest::Prehash(prehash) = warrant.decoded().digest() else {
        return Err(SignFault::Refused);
    };
    if prehash == &[0; 32] {
        return Err(SignFault::ZeroDigest);
    }
    let signer = child_key(key, &warrant.decoded().account().path)?;
    let (signature, id) = signer
        .sign_prehash_recoverable(prehash)
        .map_err(|_| SignFault::Refused)?;
    let mut bytes = [0u8; 65];
    let (compact, last) = bytes.split_at_mut(64);
    compact.copy_from_slice(&signature.to_bytes());
    last.fill(id.to_byte());
    Ok(bytes)
}

/// The account's private key: the key's own plus the tweak of the stamped path.
fn child_key(key: &KeyShare, path: &DerivationPath) -> Result<SigningKey, SignFault> {
    let child = derive(&key.public, path).map_err(|_| SignFault::Refused)?;
    let tweak = Secp256k1::decode_scalar(&child.tweak).ok_or(SignFault::Refused)?;
    let secret = Secp256k1::decode_scalar(key.secret.expose()).ok_or(SignFault::WrongShare)?;
    let secret = Zeroizing::new(secret);
    let sum = Zeroizing::new(*secret + tweak);
    let signer = SigningKey::from_slice(&*Secp256k1::encode_scalar(&sum));
    signer.map_err(|_| SignFault::WrongShare)
}
