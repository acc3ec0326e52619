//! Accounts derived by an additive tweak: signatures of the child, and of nobody else.

use super::*;

/// A small scalar in the encoding of the scheme's curve, and the same as a point's multiple.
fn tweak(scheme: Scheme, value: u8) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[if scheme == Scheme::Ed25519 { 0 } else { 31 }] = value;
    bytes
}

/// The child key, computed by other libraries than those that sign.
fn child(scheme: Scheme, key: &[u8], value: u8) -> Vec<u8> {
    if scheme == Scheme::Ed25519 {
        use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
        use curve25519_dalek::{Scalar, edwards::CompressedEdwardsY};
        let point = CompressedEdwardsY::from_slice(key).unwrap();
        let moved = point.decompress().unwrap() + ED25519_BASEPOINT_POINT * Scalar::from(value);
        return moved.compress().as_bytes().to_vec();
    }
    let tweak = secp256k1::Scalar::from_be_bytes(tweak(scheme, value)).unwrap();
    let point = secp256k1::PublicKey::from_slice_of(key);
    let moved = point.add_exp_tweak(&secp256k1::Secp256k1::new(), &tweak);
    moved.unwrap().serialize().to_vec()
}

fn with<'a>(tweak: &'a [u8; 32]) -> Request<'a> {
    Request {
        tweak,
        ..Request::root(&DIGEST)
    }
}

fn answered(fx: &mut Fixture, tweaks: &[[u8; 32]]) -> Vec<(NodeIndex, Answer)> {
    let made = fx.presign(start_batch);
    let all = made.into_iter().zip(tweaks.iter().cycle());
    all.map(|((node, mut list), tweak)| {
        let answer = list.remove(0).answer(&with(tweak), &fx.shares[&node]);
        (node, answer.unwrap())
    })
    .collect()
}

#[test]
fn a_tweaked_signature_is_that_of_the_child_key_and_of_no_other() {
    let mut parities = std::collections::BTreeSet::new();
    for scheme in SCHEMES {
        for value in 1..=8 {
            let tweak = tweak(scheme, value);
            let mut fx = fixture(scheme, (2, 3), &[1, 3], 1, value.into());
            let answers = answered(&mut fx, &[tweak]);
            let (key, set) = (fx.public().clone(), fx.header.set.clone());
            let made = combine(scheme, &key, &set, &with(&tweak), &answers).unwrap();
            let child = child(scheme, &key.public_key, value);
            parities.insert((scheme, key.public_key[0] & 1, child[0] & 1));
            assert!(verifies(scheme, &child, &DIGEST, made));
            assert!(!verifies(scheme, &key.public_key, &DIGEST, made));
            assert!(verify(&key, &tweak, &DIGEST, &made));
            assert!(!verify(&key, &ROOT_TWEAK, &DIGEST, &made));
            let other = self::tweak(scheme, value + 1);
            assert!(!verify(&key, &other, &DIGEST, &made));
        }
    }
    // For Taproot all four pairs of parities of key and child are met.
    let met = parities.iter().filter(|(s, ..)| *s == Scheme::Taproot);
    assert_eq!(met.count(), 4);
}

#[test]
fn answers_under_different_tweaks_never_combine() {
    for scheme in SCHEMES {
        let (one, two) = (tweak(scheme, 1), tweak(scheme, 2));
        let mut fx = fixture(scheme, (2, 3), &[1, 3], 1, 50);
        let (key, set) = (fx.public().clone(), fx.header.set.clone());
        let mut answers = answered(&mut fx, &[one, two]);
        let combined = |tweak, answers: &[_]| combine(scheme, &key, &set, &with(tweak), answers);
        for tweak in [&one, &two, &ROOT_TWEAK] {
            let fault = combined(tweak, &answers).unwrap_err();
            assert_eq!(fault.reason, CombineReason::ViewsDiffer);
        }
        // A combiner that lies about the views gets no signature either.
        answers[1].1.view = answers[0].1.view;
        let fault = combined(&one, &answers).unwrap_err();
        assert_eq!(fault, CombineReason::WrongPartial.blames(vec![node(3)]));
        // All under one tweak, combined under another.
        let answers = answered(&mut fx, &[one]);
        let fault = combined(&two, &answers).unwrap_err();
        assert_eq!(fault.reason, CombineReason::NotOfView);
        assert!(combined(&one, &answers).is_ok());
    }
}

#[test]
fn a_liar_under_a_tweak_is_named() {
    for scheme in SCHEMES {
        let tweak = tweak(scheme, 3);
        let mut fx = fixture(scheme, (3, 5), &[1, 3, 4], 1, 51);
        let mut answers = answered(&mut fx, &[tweak]);
        let place = match scheme {
            Scheme::Ed25519 => answers[1].1.body.len() - 32,
            _ => answers[1].1.body.len() - 1,
        };
        answers[1].1.body[place] ^= 1;
        let fault = combine(scheme, fx.public(), &fx.header.set, &with(&tweak), &answers);
        let expected = CombineReason::WrongPartial.blames(vec![node(3)]);
        assert_eq!(fault, Err(expected));
    }
}

#[test]
fn a_tweak_that_is_no_scalar_or_cancels_the_key_is_refused() {
    for scheme in SCHEMES {
        let mut fx = fixture(scheme, (2, 3), &[1, 3], 1, 52);
        let mut list = fx.presign(start_batch).remove(&node(1)).unwrap();
        let large = [0xff; 32];
        let refused = list.remove(0).answer(&with(&large), &fx.shares[&node(1)]);
        assert_eq!(refused, Err(SignFault::BadTweak));
        let fault = combine(scheme, fx.public(), &fx.header.set, &with(&large), &[]);
        assert_eq!(fault.unwrap_err().reason, CombineReason::WrongKey);
        assert!(!verify(fx.public(), &large, &DIGEST, &[0; 64]));
    }
    // A key of the group's generator, and the tweak of minus one.
    let mut fx = fixture(Scheme::Taproot, (2, 3), &[1, 3], 1, 53);
    let generator = secp256k1::SecretKey::from_byte_array(tweak(Scheme::Taproot, 1));
    let mut key = fx.public().clone();
    let point = generator.unwrap().public_key(&secp256k1::Secp256k1::new());
    key.public_key = point.serialize().to_vec();
    let minus_one: [u8; 32] =
        bytes("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364140");
    let answers = answered(&mut fx, &[minus_one]);
    let fault = combine(
        Scheme::Taproot,
        &key,
        &fx.header.set,
        &with(&minus_one),
        &answers,
    );
    assert_eq!(fault.unwrap_err().reason, CombineReason::WrongKey);
}
