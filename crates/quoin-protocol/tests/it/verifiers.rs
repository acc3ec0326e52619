//! Signatures of the real protocol before libraries that took no part in making them: the account's
//! public key alone is what they are told, nothing of shares, tweaks or thresholds.

use super::{SCHEMES, World, path};
use quoin_chain::Digest;
use quoin_core::{DerivationPath, Purpose, Scheme};
use quoin_protocol::combine::CombinedSignature;
use quoin_protocol::derive;
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
use secp256k1::{Message, PublicKey, Secp256k1, XOnlyPublicKey, ecdsa, schnorr};

/// The smallest batch of the scheme, since each signature needs one presignature only.
fn batch(scheme: Scheme) -> u16 {
    if scheme == Scheme::Ecdsa { 64 } else { 8 }
}

/// Whether an independent library accepts a signature under `shown`, the key that an address shows.
fn accepts(scheme: Scheme, shown: &[u8], digest: &Digest, made: &CombinedSignature) -> bool {
    let secp = Secp256k1::verification_only();
    match (scheme, digest) {
        (Scheme::Ecdsa, Digest::Prehash(prehash)) => {
            let key = PublicKey::from_slice(shown).unwrap();
            let message = Message::from_digest(*prehash);
            let signature = ecdsa::Signature::from_compact(&made.signature).unwrap();
            // libsecp256k1 refuses a high s; recovery must lead to the same key.
            let id = RecoveryId::try_from(i32::from(made.recovery_id.unwrap())).unwrap();
            let recoverable = RecoverableSignature::from_compact(&made.signature, id).unwrap();
            secp.verify_ecdsa(message, &signature, &key).is_ok()
                && secp.recover_ecdsa(message, &recoverable) == Ok(key)
        }
        (Scheme::Taproot, Digest::Prehash(message)) => {
            let key = XOnlyPublicKey::from_byte_array(shown.try_into().unwrap()).unwrap();
            let signature = schnorr::Signature::from_byte_array(made.signature);
            secp.verify_schnorr(&signature, message, &key).is_ok()
        }
        (Scheme::Ed25519, Digest::Message(message)) => {
            let key = ed25519_dalek::VerifyingKey::from_bytes(shown.try_into().unwrap()).unwrap();
            key.verify_strict(message, &made.signature.into()).is_ok()
        }
        _ => panic!("no such digest"),
    }
}

fn signs_for_every_account(purpose: Purpose, size: (u8, u8), signers: &[u8]) {
    for scheme in SCHEMES {
        let mut world = World::new(scheme, purpose, size, 1);
        let mut pools = world.presign(signers, batch(scheme));
        for account in ["m", "m/0/5", "m/44/60/0"] {
            let account: DerivationPath = path(account);
            let child = derive(world.public(), &account).unwrap();
            let shown = child.shown_key().unwrap();
            for text in ["first", "second"] {
                let made = world.sign(&mut pools, text, &account);
                let what = format!("{scheme:?} {purpose:?} {size:?} {account} {text}");
                assert!(
                    accepts(scheme, &shown, &world.digest(text), &made),
                    "{what}"
                );
                assert!(
                    !accepts(scheme, &shown, &world.digest("other"), &made),
                    "{what}"
                );
            }
        }
        assert!(
            pools
                .values()
                .all(|p| p.len() == usize::from(batch(scheme)) - 6)
        );
    }
}

#[test]
fn two_of_three_sign_what_independent_libraries_verify() {
    signs_for_every_account(Purpose::Trading, (2, 3), &[1, 3]);
}

#[test]
fn three_of_five_sign_what_independent_libraries_verify() {
    signs_for_every_account(Purpose::Trading, (3, 5), &[1, 3, 5]);
}

#[test]
fn treasury_keys_sign_what_independent_libraries_verify() {
    signs_for_every_account(Purpose::Treasury, (2, 3), &[2, 3]);
}

#[test]
fn a_changed_signature_is_verified_by_nobody() {
    for scheme in SCHEMES {
        let mut world = World::new(scheme, Purpose::Trading, (2, 3), 2);
        let mut pools = world.presign(&[1, 2], batch(scheme));
        let made = world.sign(&mut pools, "text", &DerivationPath::ROOT);
        let child = derive(world.public(), &DerivationPath::ROOT).unwrap();
        let (shown, digest) = (child.shown_key().unwrap(), world.digest("text"));
        assert!(accepts(scheme, &shown, &digest, &made));
        for byte in [1, 31, 33, 62] {
            let mut changed = made.clone();
            changed.signature[byte] ^= 4;
            assert!(
                !accepts(scheme, &shown, &digest, &changed),
                "{scheme:?} {byte}"
            );
        }
    }
}
