//! Signing for derived accounts: the tweak is each signer's own (construction, section 15, row 29).

use super::{ChildKey, derive};
use crate::combine::{self, Answer, CombineFault, CombinedSignature, ROOT_TWEAK};
use crate::presign::testkit::{self, Fixture, fixture, node, set, treasury};
use crate::presign::{Presignature, start_batch};
use crate::sign::sign;
use crate::sign::tests::warrant_at;
use quoin_chain::Digest;
use quoin_core::{CustodyMethod, DerivationPath, NodeIndex, Payload, Scheme};
use std::collections::BTreeMap;

const SCHEMES: [Scheme; 3] = [Scheme::Ecdsa, Scheme::Taproot, Scheme::Ed25519];

fn path(text: &str) -> DerivationPath {
    text.parse().unwrap()
}

/// A 2-of-3 key and the first presignature of each of nodes 1 and 2.
fn signers(scheme: Scheme) -> (Fixture, BTreeMap<NodeIndex, Presignature>) {
    let size = if scheme == Scheme::Ecdsa { 64 } else { 4 };
    let mut fx = fixture(scheme, (2, 3), &[1, 2], size, 1);
    let made: BTreeMap<_, Vec<Presignature>> = fx.presign(start_batch);
    let first = |(node, mut batch): (NodeIndex, Vec<_>)| (node, batch.remove(0));
    (fx, made.into_iter().map(first).collect())
}

/// Each signer answers for the path that its own judgement saw.
fn answers(
    fx: &Fixture,
    presignatures: BTreeMap<NodeIndex, Presignature>,
    paths: [&str; 2],
) -> Vec<(NodeIndex, Answer)> {
    let key = fx.public().key;
    let answer = |((node, presignature), text): ((NodeIndex, _), &str)| {
        let warrant = warrant_at(fx, "hello", (key, &path(text)), CustodyMethod::Mpc);
        let signed = sign(warrant, presignature, &fx.shares[&node]).unwrap();
        (node, signed.partial)
    };
    presignatures.into_iter().zip(paths).map(answer).collect()
}

fn digest(fx: &Fixture) -> Digest {
    let account = quoin_core::stamp::Account {
        chain: quoin_core::ChainId::Quoin,
        address: fx.public().key.to_string().parse().unwrap(),
        path: DerivationPath::ROOT,
    };
    let payload = Payload::Text("hello".into());
    let decoded = quoin_chain::decode(&payload, &account, fx.public().scheme).unwrap();
    decoded.digest().clone()
}

fn finish(
    fx: &Fixture,
    tweak: &[u8; 32],
    answers: &[(NodeIndex, Answer)],
) -> Result<CombinedSignature, CombineFault> {
    combine::finish(fx.public(), &set(&[1, 2]), tweak, &digest(fx), answers)
}

/// Whether another library takes the signature for that of the child's key alone: it is told
/// nothing of the parent or of a tweak.
fn is_of_child(child: &ChildKey, digest: &Digest, signature: &[u8; 64]) -> bool {
    use secp256k1::{Message, PublicKey, Secp256k1, XOnlyPublicKey, ecdsa, schnorr};
    let secp = Secp256k1::verification_only();
    let shown = child.shown_key().unwrap();
    match (child.scheme, digest) {
        (Scheme::Ecdsa, Digest::Prehash(prehash)) => {
            let key = PublicKey::from_slice(&shown).unwrap();
            let signature = ecdsa::Signature::from_compact(signature).unwrap();
            let message = Message::from_digest(*prehash);
            secp.verify_ecdsa(message, &signature, &key).is_ok()
        }
        (Scheme::Taproot, Digest::Prehash(message)) => {
            let key = XOnlyPublicKey::from_byte_array(shown.try_into().unwrap()).unwrap();
            let signature = schnorr::Signature::from_byte_array(*signature);
            secp.verify_schnorr(&signature, message, &key).is_ok()
        }
        (Scheme::Ed25519, Digest::Message(message)) => {
            let key = ed25519_dalek::VerifyingKey::from_bytes(&shown.try_into().unwrap()).unwrap();
            key.verify_strict(message, &signature.into()).is_ok()
        }
        _ => false,
    }
}

#[test]
fn a_derived_accounts_signature_is_that_of_the_child_alone() {
    for scheme in SCHEMES {
        let (fx, presignatures) = signers(scheme);
        let child = derive(fx.public(), &path("m/0/5")).unwrap();
        let answers = answers(&fx, presignatures, ["m/0/5"; 2]);
        let made = finish(&fx, &child.tweak, &answers).unwrap();
        assert!(
            is_of_child(&child, &digest(&fx), &made.signature),
            "{scheme:?}"
        );
        let verified = |tweak| combine::verify_combined(fx.public(), tweak, &digest(&fx), &made);
        assert!(verified(&child.tweak).is_ok());
        assert!(verified(&ROOT_TWEAK).is_err(), "not the key's own");
        let other = derive(fx.public(), &path("m/0/6")).unwrap();
        assert!(verified(&other.tweak).is_err(), "nor another child's");
        assert!(!is_of_child(&other, &digest(&fx), &made.signature));
    }
}

#[test]
fn a_tweak_that_a_combiner_chooses_makes_no_signature() {
    for scheme in SCHEMES {
        let chosen = derive(
            fixture(scheme, (2, 3), &[1, 2], 4, 1).public(),
            &path("m/7"),
        );
        for tweak in [ROOT_TWEAK, [1; 32], chosen.unwrap().tweak] {
            let (fx, presignatures) = signers(scheme);
            let answers = answers(&fx, presignatures, ["m/0/5"; 2]);
            assert!(finish(&fx, &tweak, &answers).is_err(), "{scheme:?}");
        }
    }
}

#[test]
fn signers_that_saw_different_paths_never_combine() {
    for scheme in SCHEMES {
        for paths in [["m/0/5", "m/0/6"], ["m", "m/0/5"], ["m/5/0", "m/0/5"]] {
            let (fx, presignatures) = signers(scheme);
            let answers = answers(&fx, presignatures, paths);
            for text in paths {
                let tweak = derive(fx.public(), &path(text)).unwrap().tweak;
                assert!(
                    finish(&fx, &tweak, &answers).is_err(),
                    "{scheme:?} {paths:?}"
                );
            }
        }
    }
}

#[test]
fn a_treasury_binding_names_the_tweak_of_the_stamped_path() {
    for scheme in SCHEMES {
        let size = if scheme == Scheme::Ecdsa { 64 } else { 4 };
        let mut fx = treasury(scheme, (2, 3), &[1, 2], size, 1);
        let mut made: BTreeMap<_, Vec<Presignature>> = fx.presign(start_batch);
        let mut batch = made.remove(&node(1)).unwrap();
        let (key, share) = (fx.public().key, &fx.shares[&node(1)]);
        for text in ["m", "m/0/5"] {
            let at = path(text);
            let warrant = warrant_at(&fx, "hello", (key, &at), CustodyMethod::Mpc);
            let (bound, _) = crate::bind::bind(warrant, batch.remove(0), share).unwrap();
            let child = derive(fx.public(), &at).unwrap();
            assert_eq!(bound.binding().tweak, child.tweak, "{scheme:?} {text}");
        }
    }
}

#[test]
fn a_local_keys_child_signs_as_libsecp256k1_does_with_rfc_6979() {
    let secp = secp256k1::Secp256k1::new();
    let whole = secp256k1::SecretKey::from_byte_array([3; 32]).unwrap();
    let (fx, _) = signers(Scheme::Ecdsa);
    let share = || {
        let mut public = fx.public().clone();
        public.threshold = 1;
        public.public_key = whole.public_key(&secp).serialize().to_vec();
        testkit::key_share(&public, 1, &whole.secret_bytes())
    };
    let Digest::Prehash(prehash) = digest(&fx) else {
        panic!("ECDSA signs a hash");
    };
    for text in ["m", "m/0/5"] {
        let child = derive(&share().public, &path(text)).unwrap();
        let tweak = secp256k1::Scalar::from_be_bytes(child.tweak).unwrap();
        let secret = whole.add_tweak(&tweak).unwrap();
        let message = secp256k1::Message::from_digest(prehash);
        let expected = secp.sign_ecdsa_recoverable(message, &secret);
        let (id, expected) = expected.serialize_compact();
        let key = (fx.public().key, &path(text));
        let warrant = warrant_at(&fx, "hello", key, CustodyMethod::Local);
        let made = crate::sign_local(warrant, &share()).unwrap();
        assert_eq!(made[..64], expected, "{text}");
        assert_eq!(i32::from(made[64]), i32::from(id), "{text}");
    }
}
