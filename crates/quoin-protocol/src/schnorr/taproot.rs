//! The one address rule for Taproot: from a key to the output key that its account shows.
//!
//! Source: BIP-341 ("Constructing and spending Taproot outputs") with an empty script tree, which
//! is BIP-86: Q = P' + int(H_TapTweak(x(P))) G, where P' is the point of P's x-coordinate with even
//! y. The addition is that of `frost-secp256k1-tr`, the same that signing uses.

use super::suite::{Suite, verifying_key};
use frost_core::Field;
use frost_core::keys::PublicKeyPackage;
use frost_secp256k1_tr::{Secp256K1ScalarField, Secp256K1Sha256TR};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Why a key has no output key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutputKeyFault {
    /// Not 33 bytes of SEC1's compressed form, or not on the curve.
    #[error("public key is not a compressed point of secp256k1")]
    BadPoint,
    /// The tweak is not below the group's order (one chance in 2^128).
    #[error("tweak is not below the order of the group")]
    TweakOutOfRange,
    /// The tweak cancels the key.
    #[error("output key is the identity")]
    Identity,
}

/// The x-only output key of a key: what a Taproot address (BIP-350, witness version 1) encodes and
/// what every Taproot signature of the key verifies under.
///
/// `public_key` is the key as its ceremony certified it: 33 bytes, SEC1 compressed, with its true
/// parity. The parity does not matter to the result, since BIP-341 hashes and lifts x only.
///
/// # Errors
/// When `public_key` is not a point in that form; the other faults do not happen by chance.
pub fn taproot_output_key(public_key: &[u8; 33]) -> Result<[u8; 32], OutputKeyFault> {
    output_key(public_key)
}

/// The same for a slice, which must have 33 bytes.
pub(super) fn output_key(public_key: &[u8]) -> Result<[u8; 32], OutputKeyFault> {
    let key = verifying_key::<Secp256K1Sha256TR>(public_key).ok_or(OutputKeyFault::BadPoint)?;
    let x: &[u8; 32] = public_key.last_chunk().ok_or(OutputKeyFault::BadPoint)?;
    if !is_below_order(&tap_tweak(x)) {
        return Err(OutputKeyFault::TweakOutOfRange);
    }
    let package = PublicKeyPackage::new(BTreeMap::new(), key, None);
    let output = Secp256K1Sha256TR::verifying(package)
        .verifying_key()
        .serialize()
        .map_err(|_| OutputKeyFault::Identity)?;
    output.last_chunk().copied().ok_or(OutputKeyFault::Identity)
}

/// BIP-341's tagged hash of the internal key alone. Its tag is Bitcoin's, not one of ours.
///
/// The library computes the same hash but reduces it modulo the order, where BIP-341 says to fail.
fn tap_tweak(x: &[u8; 32]) -> [u8; 32] {
    let tag = Sha256::digest(b"TapTweak");
    Sha256::new()
        .chain_update(tag)
        .chain_update(tag)
        .chain_update(x)
        .finalize()
        .into()
}

fn is_below_order(tweak: &[u8; 32]) -> bool {
    Secp256K1ScalarField::deserialize(tweak).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes<const N: usize>(text: &str) -> [u8; N] {
        hex::decode(text).unwrap().try_into().unwrap()
    }

    /// Internal key, tweak and output key of BIP-341's wallet test vectors (`scriptPubKey`, the
    /// case without a script tree), and internal and output key of BIP-86's first address.
    const VECTORS: [(&str, Option<&str>, &str); 2] = [
        (
            "d6889cb081036e0faefa3a35157ad71086b123b2b144b649798b494c300a961d",
            Some("b86e7be8f39bab32a6f2c0443abbc210f0edac0e2c53d501b36b64437d9c6c70"),
            "53a1f6e454df1aa2776a2814a721372d6258050de330b3c6d10ee8f4e0dda343",
        ),
        (
            "cc8a4bc64d897bddc5fbc2f670f7a8ba0b386779106cf1223c6fc5d7cd6fc115",
            None,
            "a60869f0dbcf1dc659c9cecbaf8050135ea9e8cdc487053f1dc6880949dc684c",
        ),
    ];

    #[test]
    fn output_keys_are_those_of_the_published_vectors_for_either_parity() {
        for (internal, tweak, output) in VECTORS {
            let internal: [u8; 32] = bytes(internal);
            if let Some(tweak) = tweak {
                assert_eq!(tap_tweak(&internal), bytes(tweak));
            }
            for parity in [2, 3] {
                let mut key = [parity; 33];
                key[1..].copy_from_slice(&internal);
                assert_eq!(taproot_output_key(&key), Ok(bytes(output)), "{parity}");
            }
        }
    }

    #[test]
    fn output_keys_are_those_of_libsecp256k1() {
        let secp = secp256k1::Secp256k1::new();
        for seed in 1..20u8 {
            let secret = secp256k1::SecretKey::from_byte_array([seed; 32]).unwrap();
            let public = secret.public_key(&secp);
            let (x_only, _) = public.x_only_public_key();
            let tweak = secp256k1::Scalar::from_be_bytes(tap_tweak(&x_only.serialize())).unwrap();
            let (expected, _) = x_only.add_tweak(&secp, &tweak).unwrap();
            let output = taproot_output_key(&public.serialize());
            assert_eq!(output, Ok(expected.serialize()), "{seed}");
        }
    }

    #[test]
    fn keys_in_another_form_are_refused() {
        let mut key = [2; 33];
        key[1..].copy_from_slice(&bytes::<32>(VECTORS[0].0));
        assert!(taproot_output_key(&key).is_ok());
        // 5 is SEC1's compact form, a second spelling of the same point.
        for first in [0, 1, 4, 5, 6, 7] {
            key[0] = first;
            assert_eq!(taproot_output_key(&key), Err(OutputKeyFault::BadPoint));
        }
        assert_eq!(taproot_output_key(&[0; 33]), Err(OutputKeyFault::BadPoint));
        assert_eq!(output_key(&[2; 32]), Err(OutputKeyFault::BadPoint));
    }

    #[test]
    fn a_tweak_of_the_order_or_more_is_out_of_range() {
        let order = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
        assert!(!is_below_order(&bytes(order)));
        assert!(!is_below_order(&[0xff; 32]));
        assert!(is_below_order(&[1; 32]));
    }
}
