//! Online signing: one answer, degenerate inputs, and what a combiner must refuse.

use super::malice::{pair, trio};
use super::*;
use crate::ecdsa::guard::Guard;
use crate::ecdsa::params::Toy;
use crate::ecdsa::{SignFault, verify_compact};

const DIGEST: [u8; 32] = [0x33; 32];
const BASE: [u8; 32] = [0; 32];

fn honest(group: &Group) -> Outcome {
    let outcome = run::<Toy>(group, 4, |_, _| {});
    assert!(outcome.aborts.is_empty());
    outcome
}

#[test]
fn a_presignature_can_be_neither_cloned_nor_printed() {
    // Ambiguous, and so a compile error, as soon as the type implements one of the traits.
    trait Lacks<Marker> {
        fn lacks() {}
    }
    impl<T: ?Sized> Lacks<()> for T {}
    struct Cloned;
    impl<T: Clone> Lacks<Cloned> for T {}
    struct Printed;
    impl<T: std::fmt::Debug> Lacks<Printed> for T {}
    struct Encoded;
    impl<T: minicbor::Encode<()>> Lacks<Encoded> for T {}
    <Presignature as Lacks<_>>::lacks();
}

#[test]
fn the_zero_digest_and_the_order_as_digest_are_refused() {
    let order = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
    let order: [u8; 32] = hex::decode(order).unwrap().try_into().unwrap();
    for (index, digest) in [[0; 32], order].into_iter().enumerate() {
        for presignature in take(honest(&pair()), index) {
            let refused = presignature.answer(digest, &BASE);
            assert_eq!(refused, Err(SignFault::ZeroDigest));
        }
        // Without the guard the zero digest is signed like any other.
        for presignature in take(honest(&pair()), index) {
            let passed = Guard::ZeroDigest.without(|| presignature.answer(digest, &BASE));
            assert!(passed.is_ok());
        }
    }
}

#[test]
fn tweaks_that_are_not_canonical_or_cancel_the_key_are_refused() {
    let group = pair();
    let mut all = take(honest(&group), 0);
    let refused = all.pop().unwrap().answer(DIGEST, &[0xff; 32]);
    assert_eq!(refused, Err(SignFault::TweakNotCanonical));
    let mut tweak = [0u8; 32];
    let secret = group.secret().negate();
    tweak.copy_from_slice(&secret.to_bytes());
    let refused = all.pop().unwrap().answer(DIGEST, &tweak);
    assert_eq!(refused, Err(SignFault::IdentityKey));
    let one = take(honest(&group), 1).remove(0);
    let passed = Guard::IdentityChild.without(|| one.answer(DIGEST, &tweak));
    assert!(passed.is_ok());
}

#[test]
fn answers_with_another_view_never_combine() {
    let group = pair();
    let mut answers = answers(take(honest(&group), 0), DIGEST, &BASE);
    answers[1].view[0] ^= 1;
    let combined = || combine(&group.public_key(), &BASE, &DIGEST, &answers);
    assert_eq!(combined(), Err(CombineFault::ViewsDiffer));
    assert!(Guard::ViewsEqual.without(combined).is_ok());
}

#[test]
fn answers_about_two_digests_or_tweaks_never_combine() {
    let group = pair();
    let mut tweaked = BASE;
    tweaked[31] = 1;
    for (digest, tweak) in [([0x34; 32], BASE), (DIGEST, tweaked)] {
        let mut all = take(honest(&group), 0);
        let second = all.pop().unwrap().answer(digest, &tweak).unwrap();
        let first = all.pop().unwrap().answer(DIGEST, &BASE).unwrap();
        let mut answers = vec![first, second];
        let combined = combine(&group.public_key(), &BASE, &DIGEST, &answers);
        assert_eq!(combined, Err(CombineFault::ViewsDiffer));
        // Even a combiner that lies about the views gets nothing.
        answers[1].view = answers[0].view;
        let combined = combine(&group.public_key(), &BASE, &DIGEST, &answers);
        assert_eq!(combined, Err(CombineFault::NoncesDiffer));
        let nonce = answers[0].body[..33].to_vec();
        answers[1].body[..33].copy_from_slice(&nonce);
        let combined = combine(&group.public_key(), &BASE, &DIGEST, &answers);
        assert_eq!(combined, Err(CombineFault::DoesNotVerify));
    }
}

#[test]
fn answers_of_two_presignatures_never_combine() {
    let group = pair();
    let mut firsts = take(honest(&group), 0);
    let mut seconds = take(honest(&group), 1);
    let answers = [firsts.remove(0), seconds.remove(1)].map(|p| p.answer(DIGEST, &BASE).unwrap());
    let combined = combine(&group.public_key(), &BASE, &DIGEST, &answers);
    assert_eq!(combined, Err(CombineFault::ViewsDiffer));
}

#[test]
fn a_wrong_partial_never_gives_a_signature() {
    let group = trio();
    let good = answers(take(honest(&group), 0), DIGEST, &BASE);
    for place in [33 + 31, 65 + 31] {
        for liar in 0..3 {
            let mut answers = good.clone();
            answers[liar].body[place] ^= 1;
            let combined = || combine(&group.public_key(), &BASE, &DIGEST, &answers);
            assert_eq!(combined(), Err(CombineFault::DoesNotVerify));
            // Without the guard the caller gets what no chain accepts.
            let made = Guard::Verified.without(combined).unwrap();
            let compact: [u8; 64] = [made.r, made.s].concat().try_into().unwrap();
            assert!(!verify_compact(
                &group.public_key(),
                &BASE,
                &DIGEST,
                &compact
            ));
        }
    }
    for (key, tweak, digest) in [
        (pair().public_key(), BASE, DIGEST),
        (group.public_key(), [1; 32], DIGEST),
        (group.public_key(), BASE, [1; 32]),
    ] {
        let combined = combine(&key, &tweak, &digest, &good);
        assert_eq!(combined, Err(CombineFault::DoesNotVerify));
    }
    let fewer = combine(&group.public_key(), &BASE, &DIGEST, &good[..2]);
    assert_eq!(fewer, Err(CombineFault::DoesNotVerify));
    assert!(combine(&group.public_key(), &BASE, &DIGEST, &good).is_ok());
}

#[test]
fn degenerate_and_malformed_answers_are_refused() {
    let group = pair();
    let good = answers(take(honest(&group), 0), DIGEST, &BASE);
    let combine = |answers: &[Answer]| combine(&group.public_key(), &BASE, &DIGEST, answers);
    assert_eq!(combine(&[]), Err(CombineFault::NoAnswers));
    for range in [33..65, 65..97] {
        let mut zero = good.clone();
        for answer in &mut zero {
            answer.body[range.clone()].fill(0);
        }
        assert_eq!(combine(&zero), Err(CombineFault::Degenerate));
        let mut large = good.clone();
        large[1].body[range].fill(0xff);
        assert_eq!(combine(&large), Err(CombineFault::Malformed(1)));
    }
    let mut identity = good;
    for answer in &mut identity {
        answer.body[..33].fill(0);
    }
    assert_eq!(combine(&identity), Err(CombineFault::Malformed(0)));
}

#[test]
fn s_is_low_whatever_half_it_fell_in() {
    let group = pair();
    let outcome = run::<Toy>(&group, 32, |_, _| {});
    let mut columns: Vec<_> = outcome
        .presignatures
        .into_values()
        .map(Vec::into_iter)
        .collect();
    let mut parities = [0; 2];
    for index in 0..32u8 {
        let row: Vec<_> = columns.iter_mut().map(|c| c.next().unwrap()).collect();
        let answers = answers(row, [index + 1; 32], &BASE);
        let signature = combine(&group.public_key(), &BASE, &[index + 1; 32], &answers).unwrap();
        assert!(signature.s[0] < 0x80);
        // The recovery id names the nonce of s as returned, not as computed.
        let odd = answers[0].body[0] & 1;
        parities[usize::from(odd == signature.recovery_id & 1)] += 1;
    }
    assert!(parities[0] > 0 && parities[1] > 0, "{parities:?}");
}

#[test]
fn finished_signatures_are_verified_strictly() {
    let group = pair();
    let good = sign(&group, take(honest(&group), 0), DIGEST, &BASE).unwrap();
    let key = group.public_key();
    let compact = |s: [u8; 32]| -> [u8; 64] { [good.r, s].concat().try_into().unwrap() };
    assert!(verify_compact(&key, &BASE, &DIGEST, &compact(good.s)));
    assert!(!verify_compact(&key, &[1; 32], &DIGEST, &compact(good.s)));
    assert!(!verify_compact(
        &key,
        &[0xff; 32],
        &DIGEST,
        &compact(good.s)
    ));
    assert!(!verify_compact(&key, &BASE, &[1; 32], &compact(good.s)));
    assert!(!verify_compact(&[0; 33], &BASE, &DIGEST, &compact(good.s)));
    let s = crate::ecdsa::field::decode_scalar(&good.s).unwrap();
    let high = crate::ecdsa::field::encode_scalar(&-s);
    assert!(!verify_compact(&key, &BASE, &DIGEST, &compact(high)));
    assert!(!verify_compact(&key, &BASE, &DIGEST, &[0; 64]));
    assert!(!verify_compact(&key, &BASE, &DIGEST, &[0xff; 64]));
}

#[test]
fn two_answers_of_one_signer_would_give_the_key_away() {
    // What the type forbids, played with a copied state: why there is no `Clone`.
    let group = pair();
    let mut all = take(honest(&group), 0);
    let corrupt = all.pop().unwrap();
    let (first, second) = all.pop().unwrap().answer_twice(DIGEST, [0x44; 32]);
    let x = corrupt.extract_key([(DIGEST, first), ([0x44; 32], second)]);
    assert_eq!(x, group.secret());
}

#[test]
fn the_same_answers_in_another_order_give_the_same_signature() {
    let group = trio();
    let mut answers = answers(take(honest(&group), 2), DIGEST, &BASE);
    let first = combine(&group.public_key(), &BASE, &DIGEST, &answers).unwrap();
    answers.reverse();
    let second = combine(&group.public_key(), &BASE, &DIGEST, &answers).unwrap();
    assert_eq!(first, second);
}
