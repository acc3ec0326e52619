//! Batches, answers and combined signatures of both ciphersuites.

use super::*;
use crate::abort::{Abort, Fault};
use crate::combine::ROOT_TWEAK;
use crate::presign::testkit::{Fixture, fixture, node, set, sets};
use crate::share::KeyShare;
use quoin_core::{NodeIndex, Scheme, SignerSet};
use std::collections::BTreeMap;

mod answers;
mod messages;
mod tweaks;

const SCHEMES: [Scheme; 2] = [Scheme::Ed25519, Scheme::Taproot];
const DIGEST: [u8; 32] = [0xd1; 32];

/// Each signer's answer with its presignature of place `index`.
fn answer_all(
    made: BTreeMap<NodeIndex, Vec<Presignature>>,
    shares: &BTreeMap<NodeIndex, KeyShare>,
    index: usize,
    message: &[u8],
) -> Vec<(NodeIndex, Answer)> {
    made.into_iter()
        .map(|(node, mut list)| {
            let presignature = list.swap_remove(index);
            (
                node,
                presignature
                    .answer(&Request::root(message), &shares[&node])
                    .unwrap(),
            )
        })
        .collect()
}

fn sign(fx: &mut Fixture, message: &[u8]) -> Vec<(NodeIndex, Answer)> {
    let made = fx.presign(start_batch);
    answer_all(made, &fx.shares, 0, message)
}

fn combined(
    fx: &Fixture,
    message: &[u8],
    answers: &[(NodeIndex, Answer)],
) -> Result<[u8; 64], CombineFault> {
    combine(
        fx.header.scheme,
        fx.public(),
        &fx.header.set,
        &Request::root(message),
        answers,
    )
}

/// Verification by the libraries themselves, not through our own code.
fn verifies(scheme: Scheme, key: &[u8], message: &[u8], signature: [u8; 64]) -> bool {
    if scheme == Scheme::Ed25519 {
        let key = ed25519_dalek::VerifyingKey::try_from(key).unwrap();
        return key
            .verify_strict(message, &ed25519_dalek::Signature::from_bytes(&signature))
            .is_ok();
    }
    let output = taproot_output_key(key.try_into().unwrap()).unwrap();
    let output = secp256k1::XOnlyPublicKey::from_byte_array(output).unwrap();
    let signature = secp256k1::schnorr::Signature::from_byte_array(signature);
    secp256k1::Secp256k1::new()
        .verify_schnorr(&signature, message, &output)
        .is_ok()
}

#[test]
fn every_set_signs_and_independent_libraries_verify() {
    for scheme in SCHEMES {
        for (t, n) in [(2, 3), (3, 5)] {
            for signers in sets(t.into(), n) {
                let mut fx = fixture(scheme, (t, n), &signers, 2, 1);
                let made = fx.presign(start_batch);
                let answers = answer_all(made, &fx.shares, 1, &DIGEST);
                let signature = combined(&fx, &DIGEST, &answers).unwrap();
                let key = &fx.public().public_key;
                assert!(verifies(scheme, key, &DIGEST, signature), "{signers:?}");
                assert!(!verifies(scheme, key, &[1; 32], signature));
                assert!(verify(fx.public(), &ROOT_TWEAK, &DIGEST, &signature));
                assert!(!verify(fx.public(), &ROOT_TWEAK, &[1; 32], &signature));
                assert!(!verify(fx.public(), &ROOT_TWEAK, &DIGEST, &[0; 64]));
            }
        }
    }
}

#[test]
fn taproot_signs_for_keys_and_output_keys_of_either_parity() {
    // Parity of P, of Q and of R each flips a sign; sixteen seeds meet all combinations.
    let mut parities = std::collections::BTreeSet::new();
    for seed in 0..16 {
        let mut fx = fixture(Scheme::Taproot, (2, 3), &[1, 2], 1, seed);
        let answers = sign(&mut fx, &DIGEST);
        let signature = combined(&fx, &DIGEST, &answers).unwrap();
        let key = fx.public().public_key.clone();
        assert!(
            verifies(Scheme::Taproot, &key, &DIGEST, signature),
            "{seed}"
        );
        let internal = secp256k1::PublicKey::from_slice_of(&key);
        let (x_only, _) = internal.x_only_public_key();
        let plain = secp256k1::Secp256k1::new().verify_schnorr(
            &secp256k1::schnorr::Signature::from_byte_array(signature),
            &DIGEST,
            &x_only,
        );
        assert!(plain.is_err(), "a signature under the internal key");
        parities.insert(key[0]);
    }
    assert_eq!(parities.len(), 2);
}

/// Short form of reading a compressed key.
trait FromSlice {
    fn from_slice_of(bytes: &[u8]) -> Self;
}

impl FromSlice for secp256k1::PublicKey {
    fn from_slice_of(bytes: &[u8]) -> Self {
        Self::from_byte_array_compressed(bytes.try_into().unwrap()).unwrap()
    }
}

#[test]
fn ed25519_signs_messages_of_any_length() {
    for length in [0, 1, 32, 1000] {
        let message = vec![0x5a; length];
        let mut fx = fixture(Scheme::Ed25519, (2, 3), &[2, 3], 1, 2);
        let answers = sign(&mut fx, &message);
        let signature = combined(&fx, &message, &answers).unwrap();
        let key = &fx.public().public_key;
        assert!(verifies(Scheme::Ed25519, key, &message, signature));
    }
}

#[test]
fn taproot_refuses_what_is_no_digest() {
    let bad: [(&[u8], SignFault); 4] = [
        (b"", SignFault::WrongMessageLength(0)),
        (&[1; 31], SignFault::WrongMessageLength(31)),
        (&[1; 33], SignFault::WrongMessageLength(33)),
        (&[0; 32], SignFault::ZeroDigest),
    ];
    let mut fx = fixture(Scheme::Taproot, (2, 3), &[1, 2], 4, 3);
    let mut list = fx.presign(start_batch).remove(&node(1)).unwrap();
    for (message, fault) in bad {
        let presignature = list.remove(0);
        let answer = presignature.answer(&Request::root(message), &fx.shares[&node(1)]);
        assert_eq!(answer, Err(fault));
        let refused = combined(&fx, message, &[]).unwrap_err();
        assert_eq!(refused.reason, CombineReason::WrongMessage);
    }
}

#[test]
fn an_answer_needs_the_share_of_the_batch() {
    for scheme in SCHEMES {
        let mut fx = fixture(scheme, (2, 3), &[1, 2], 2, 4);
        let mut list = fx.presign(start_batch).remove(&node(1)).unwrap();
        let other = list
            .remove(0)
            .answer(&Request::root(&DIGEST), &fx.shares[&node(2)]);
        assert_eq!(other, Err(SignFault::WrongShare));
        let mut later = fx.public().clone();
        later.epoch = quoin_core::ShareEpoch(2);
        let secret = *fx.shares[&node(1)].secret.expose();
        let later = crate::presign::testkit::key_share(&later, 1, &secret);
        let other = list.remove(0).answer(&Request::root(&DIGEST), &later);
        assert_eq!(other, Err(SignFault::WrongShare));
    }
}

#[test]
fn debug_of_a_presignature_shows_no_nonce() {
    for scheme in SCHEMES {
        let mut fx = fixture(scheme, (2, 3), &[1, 2], 1, 5);
        let list = fx.presign(start_batch).remove(&node(1)).unwrap();
        let id = list[0].id();
        let expected = format!(
            "Presignature {{ id: {id:?}, set: {:?}, scheme: {scheme:?}, nonces: \"<redacted>\" }}",
            set(&[1, 2])
        );
        assert_eq!(format!("{:?}", list[0]), expected);
    }
}

#[test]
fn nonces_and_key_packages_of_the_library_are_wiped_on_drop() {
    // The library promises it by type; should it stop to, this no longer compiles.
    fn wiped<T: zeroize::ZeroizeOnDrop>() {}
    wiped::<frost_ed25519::round1::SigningNonces>();
    wiped::<frost_ed25519::keys::KeyPackage>();
    wiped::<frost_secp256k1_tr::round1::SigningNonces>();
    wiped::<frost_secp256k1_tr::keys::KeyPackage>();
}

fn bytes<const N: usize>(text: &str) -> [u8; N] {
    hex::decode(text).unwrap().try_into().unwrap()
}

/// The commitments of signers 1 and 3 in RFC 9591, appendix E.1.
const VECTOR_COMMITMENTS: [(u8, &str); 2] = [
    (
        1,
        "9b116f12589591a7e23fe8048059ab10ab48e67739e7a2fb3890f61a7999478c\
         c39b66b7dfccb122da24f13587f9a08c4347cae70046ca15169adf90ba65854d",
    ),
    (
        3,
        "e679a2a971748ccfaabead4dbe8ac1def61275c186c79d471e1e45091ad1e687\
         b2a942478453fabb6bd3181c56ba657413447b4136e1daea2484d396d1a516b3",
    ),
];

/// RFC 9591, appendix E.1: FROST(Ed25519, SHA-512), signers 1 and 3 of 3, message "test".
#[test]
fn answers_and_signature_are_those_of_rfc_9591() {
    let signers = set(&[1, 3]);
    let vector = fixture(Scheme::Ed25519, (2, 3), &[1, 3], 1, 0);
    let mut public = vector.public().clone();
    public.public_key =
        bytes::<32>("15d21ccd7ee42959562fc8aa63224c8851fb3ec85a3faf66040d380fb9738673").to_vec();
    let secrets: [[u8; 32]; 3] = [
        bytes("929dcc590407aae7d388761cddb0c0db6f5627aea8e217f4a033f2ec83d93509"),
        bytes("a91e66e012e4364ac9aaa405fcafd370402d9859f7b6685c07eed76bf409e80d"),
        bytes("d3cb090a075eb154e82fdb4b3cb507f110040905468bb9c46da8bdea643a9a02"),
    ];
    for (share, secret) in public.public_shares.iter_mut().zip(secrets) {
        let secret = frost_ed25519::keys::SigningShare::deserialize(&secret).unwrap();
        let point = frost_ed25519::keys::VerifyingShare::from(secret);
        share.point = point.serialize().unwrap();
    }
    let commitments: BTreeMap<_, _> = VECTOR_COMMITMENTS
        .map(|(index, text)| (node(index), hex::decode(text).unwrap()))
        .into();
    let signers_in = [
        (
            1,
            "ef6599dea4010581a72b3018c37c29a4341d7cab0773e8687ca74dcf14009701",
            "2baadfa0c69aa60d517ad4751de372a73f9d89cfc39026601f18458cdec12605",
            "60997f0142e43e8005027fe5ab7447dac00d22c2d7ddd9571a02613ba7d81c08",
        ),
        (
            3,
            "80f8d9a4b8f9366e1a0b618107c907cd3ee29fa9bb40b4691cc1bde696240005",
            "2610b664a5a187b4855e87d2ff485bebdf043dc2f161fcd4854cd01dc0276404",
            "79390e78bc59699c7af831f8f5fb478ec871a85f561a8641b5670ac4443f720f",
        ),
    ];
    let mut answers = Vec::new();
    for (index, hiding, binding, partial) in signers_in {
        let secret = &secrets[usize::from(index) - 1];
        let share = crate::presign::testkit::key_share(&public, index, secret);
        let nonces = [bytes(hiding), bytes(binding)];
        let presignature =
            Presignature::of_vector(&share, vector.header.clone(), nonces, commitments.clone());
        let answer = presignature
            .answer(&Request::root(b"test"), &share)
            .unwrap();
        assert!(answer.body.ends_with(&bytes::<32>(partial)));
        answers.push((node(index), answer));
    }
    let signature = combine(
        Scheme::Ed25519,
        &public,
        &signers,
        &Request::root(b"test"),
        &answers,
    )
    .unwrap();
    assert_eq!(
        signature,
        bytes(
            "154fb694ee7fcb37bf2381d94488c2a84b03b3352ad085feca81ad26d45852b7\
             ecfe971ce4da95c4a95db93ac376b053897fca212ef85f99cf696bffeb178f07"
        )
    );
}

/// Pins the view and the order of a body's parts.
#[test]
fn the_form_of_an_answer_is_golden() {
    let id = quoin_core::PresignatureId {
        batch: quoin_core::BatchHash([7; 32]),
        index: 0x0102,
    };
    let commitments: [&[u8]; 2] = [&[1; 64], &[2; 64]];
    let view = nonce::view(id, &Request::root(b"message"), commitments.into_iter());
    assert_eq!(
        hex::encode(view),
        "84d537b0db9b98c1fdc8c1c9854c848dd1633361384142150e6dbdb5ae51eede"
    );
    for (scheme, point) in [(Scheme::Ed25519, 32), (Scheme::Taproot, 33)] {
        let mut fx = fixture(scheme, (2, 3), &[1, 2], 2, 7);
        let mut own = Vec::new();
        let results = fx.run(start_batch, |from, _, message| {
            if from == node(2) && message.round == 1 {
                own = message.broadcast.clone();
            }
            true
        });
        let made: BTreeMap<_, Vec<_>> = results
            .into_iter()
            .map(|(node, result)| (node, result.unwrap()))
            .collect();
        let id = made[&node(2)][1].id();
        let answers = answer_all(made, &fx.shares, 1, &DIGEST);
        let body = &answers[1].1.body;
        assert_eq!(body.len(), 34 + 2 * point + 32);
        assert_eq!(body[..32], id.batch.0);
        assert_eq!(body[32..34], [0, 1]);
        assert_eq!(body[34..34 + 2 * point], own[32 + 2 * point..]);
    }
}

/// The batch's hash is that of the context and everyone's first broadcast, in order.
#[test]
fn the_transcript_is_the_hash_of_all_first_broadcasts() {
    use quoin_core::hash::tagged;
    use quoin_core::{cbor, tags};
    for scheme in SCHEMES {
        let mut fx = fixture(scheme, (3, 5), &[2, 3, 5], 2, 8);
        let mut bodies = BTreeMap::new();
        let context = tagged(tags::FROST_CTX, &[&cbor::encode(&fx.header)]);
        let results = fx.run(start_batch, |from, _, message| {
            if message.round == 1 {
                assert_eq!(message.broadcast[..32], context);
                bodies.insert(from, message.broadcast[32..].to_vec());
            }
            true
        });
        let mut parts: Vec<&[u8]> = vec![&context];
        parts.extend(bodies.values().map(Vec::as_slice));
        let expected = tagged(tags::FROST_BATCH, &parts);
        for result in results.values() {
            assert_eq!(result.as_ref().unwrap()[0].id().batch.0, expected);
        }
    }
}

#[test]
fn batches_never_repeat_a_nonce() {
    for scheme in SCHEMES {
        let mut fx = fixture(scheme, (2, 3), &[1, 2], 8, 6);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..2 {
            for (_, (_, outbox)) in fx.start(start_batch) {
                let broadcast = outbox.into_values().next().unwrap().broadcast;
                let body = &broadcast[32..];
                let length = body.len() / 16;
                assert!(body.chunks_exact(length).all(|p| seen.insert(p.to_vec())));
            }
        }
        assert_eq!(seen.len(), 2 * 2 * 16);
    }
}
