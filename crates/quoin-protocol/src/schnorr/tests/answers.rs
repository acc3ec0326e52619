//! Combining refuses every answer that is not exactly right, and blames no one without proof.

use super::*;
use proptest::prelude::*;

const NOBODY: Vec<NodeIndex> = Vec::new();

fn signed(scheme: Scheme, seed: u64) -> (Fixture, Vec<(NodeIndex, Answer)>) {
    let mut fx = fixture(scheme, (3, 5), &[1, 3, 4], 1, seed);
    let answers = sign(&mut fx, &DIGEST);
    (fx, answers)
}

fn fault_of(fx: &Fixture, answers: &[(NodeIndex, Answer)]) -> CombineFault {
    combined(fx, &DIGEST, answers).unwrap_err()
}

#[test]
fn every_signer_with_a_wrong_partial_is_named() {
    for scheme in SCHEMES {
        let (fx, good) = signed(scheme, 30);
        // The least significant byte of z, so that the scalar stays canonical.
        let place = match scheme {
            Scheme::Ed25519 => good[0].1.body.len() - 32,
            _ => good[0].1.body.len() - 1,
        };
        for wrong in [vec![0], vec![1], vec![2], vec![0, 2], vec![0, 1, 2]] {
            let mut answers = good.clone();
            for i in &wrong {
                // Different bits, or the errors of two liars could cancel.
                answers[*i].1.body[place] ^= 1 << i;
            }
            let culprits = wrong.iter().map(|i| good[*i].0).collect();
            let expected = CombineReason::WrongPartial.blames(culprits);
            assert_eq!(fault_of(&fx, &answers), expected, "{scheme:?}");
        }
    }
}

#[test]
fn answers_with_another_view_do_not_combine() {
    for scheme in SCHEMES {
        let (fx, mut answers) = signed(scheme, 31);
        answers[1].1.view[7] ^= 1;
        let expected = CombineReason::ViewsDiffer.blames(NOBODY);
        assert_eq!(fault_of(&fx, &answers), expected);
        for (_, answer) in &mut answers {
            answer.view = [0; 32];
        }
        let expected = CombineReason::NotOfView.blames(NOBODY);
        assert_eq!(fault_of(&fx, &answers), expected);
    }
}

#[test]
fn answers_for_another_message_do_not_combine() {
    for scheme in SCHEMES {
        let (fx, answers) = signed(scheme, 32);
        let fault = combined(&fx, &[9; 32], &answers).unwrap_err();
        assert_eq!(fault, CombineReason::NotOfView.blames(NOBODY));
    }
}

#[test]
fn answers_for_different_presignatures_do_not_combine() {
    for scheme in SCHEMES {
        let mut fx = fixture(scheme, (2, 3), &[1, 2], 2, 33);
        let mut made = fx.presign(start_batch);
        let mut answer = |i: u8, place: usize| {
            let presignature = made.get_mut(&node(i)).unwrap().remove(place);
            let answer = presignature.answer(&Request::root(&DIGEST), &fx.shares[&node(i)]);
            (node(i), answer.unwrap())
        };
        let answers = [answer(1, 0), answer(2, 1)];
        let expected = CombineReason::ViewsDiffer.blames(NOBODY);
        assert_eq!(fault_of(&fx, &answers), expected);
    }
}

#[test]
fn a_false_commitment_blames_no_honest_signer() {
    for scheme in SCHEMES {
        let (fx, mut answers) = signed(scheme, 34);
        // The liar swaps its own two commitments, which are still points.
        let length = (answers[0].1.body.len() - 34 - 32) / 2;
        answers[0].1.body[34..34 + 2 * length].rotate_left(length);
        let expected = CombineReason::NotOfView.blames(NOBODY);
        assert_eq!(fault_of(&fx, &answers), expected);
    }
}

#[test]
fn an_answer_that_names_another_presignature_is_its_signers_fault() {
    for scheme in SCHEMES {
        for place in [0, 33] {
            let (fx, mut answers) = signed(scheme, 35);
            answers[2].1.body[place] ^= 1;
            let expected = CombineReason::NotOfView.blames(vec![node(4)]);
            assert_eq!(fault_of(&fx, &answers), expected);
        }
    }
}

#[test]
fn malformed_answers_name_their_signers() {
    for scheme in SCHEMES {
        let (fx, good) = signed(scheme, 36);
        let changes: [fn(&mut Vec<u8>); 5] = [
            |body| body.push(0),
            |body| body.truncate(body.len() - 1),
            Vec::clear,
            |body| body[34..66].fill(0),
            |body| {
                let z = body.len() - 32;
                body[z..].fill(0xff);
            },
        ];
        for change in changes {
            let mut answers = good.clone();
            change(&mut answers[0].1.body);
            change(&mut answers[2].1.body);
            let culprits = vec![node(1), node(4)];
            let expected = CombineReason::MalformedAnswer.blames(culprits);
            assert_eq!(fault_of(&fx, &answers), expected);
        }
    }
}

#[test]
fn answers_are_one_of_each_signer() {
    for scheme in SCHEMES {
        let (fx, good) = signed(scheme, 37);
        let mut repeated = good.clone();
        repeated[2] = good[0].clone();
        let mut stranger = good.clone();
        stranger[2].0 = node(5);
        let mut more = good.clone();
        more.push(good[0].clone());
        for answers in [&good[..2], &[], &repeated, &stranger, &more] {
            let expected = CombineReason::WrongParticipants.blames(NOBODY);
            assert_eq!(fault_of(&fx, answers), expected);
        }
        let mut swapped = good;
        swapped.reverse();
        assert!(combined(&fx, &DIGEST, &swapped).is_ok());
    }
}

#[test]
fn a_key_of_another_scheme_threshold_or_value_is_refused() {
    for scheme in SCHEMES {
        let (fx, answers) = signed(scheme, 38);
        let with = |scheme, key: &crate::share::KeyPublic, set: &SignerSet| {
            combine(scheme, key, set, &Request::root(&DIGEST), &answers).unwrap_err()
        };
        let expected = CombineReason::WrongKey.blames(NOBODY);
        for other in [
            Scheme::Ecdsa,
            Scheme::Model,
            Scheme::Ed25519,
            Scheme::Taproot,
        ] {
            if other != scheme {
                assert_eq!(with(other, fx.public(), &fx.header.set), expected);
            }
        }
        assert_eq!(with(scheme, fx.public(), &set(&[1, 3])), expected);
        let mut key = fx.public().clone();
        key.public_key = vec![0; key.public_key.len()];
        assert_eq!(with(scheme, &key, &fx.header.set), expected);
        // A key that is not that of the shares: the answers are right, the sum is not its.
        let mut key = fx.public().clone();
        key.public_key = key.public_shares[0].point.clone();
        let fault = with(scheme, &key, &fx.header.set);
        assert_eq!(fault.reason, CombineReason::WrongPartial);
    }
}

fn scheme() -> impl Strategy<Value = Scheme> {
    prop_oneof![Just(Scheme::Ed25519), Just(Scheme::Taproot)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A changed answer never gives a signature; there is only one right sum.
    #[test]
    fn a_flipped_byte_of_an_answer_never_combines(
        scheme in scheme(),
        seed in 0u64..4,
        who in 0usize..3,
        place in any::<prop::sample::Index>(),
        flip in 1u8..,
    ) {
        let (fx, mut answers) = signed(scheme, seed);
        let body = &mut answers[who].1.body;
        let place = place.index(body.len());
        body[place] ^= flip;
        prop_assert!(combined(&fx, &DIGEST, &answers).is_err());
    }

    /// Arbitrary bytes in place of an answer are refused without a panic.
    #[test]
    fn an_arbitrary_answer_never_combines(
        scheme in scheme(),
        view in any::<[u8; 32]>(),
        body in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let (fx, mut answers) = signed(scheme, 1);
        answers[0].1.body = body.clone();
        prop_assert!(combined(&fx, &DIGEST, &answers).is_err());
        for (_, answer) in &mut answers {
            *answer = Answer { view, body: body.clone() };
        }
        prop_assert!(combined(&fx, &DIGEST, &answers).is_err());
    }
}
