//! Treasury presignatures: committed entropy, one binding, and a nonce that nobody foresees.

use super::*;
use crate::ecdsa::message::round3_broadcast;
use crate::ecdsa::params::Toy;
use crate::ecdsa::{Bound, SignFault, combine_bound};
use quoin_core::{PresignatureId, Purpose};

const DIGEST: [u8; 32] = [0x66; 32];
const TWEAK: [u8; 32] = [0x17; 32];
const OPENINGS: [u8; 32] = [0x77; 32];

fn pair() -> Group {
    Group::of(Purpose::Treasury, 31, 3, &[1, 3]).unwrap()
}

fn trio() -> Group {
    Group::of(Purpose::Treasury, 32, 5, &[1, 2, 5]).unwrap()
}

type Opened = BTreeMap<NodeIndex, [u8; 32]>;

/// Binds the presignature of place `index` at every signer.
fn bound(group: &Group, index: usize) -> (PresignatureId, Vec<Bound>, Opened) {
    let outcome = run::<Toy>(group, 4, |_, _| {});
    assert!(outcome.aborts.is_empty(), "{:?}", outcome.aborts);
    let all = take(outcome, index);
    let id = all[0].id();
    let both = group.set.iter().zip(all).map(|(node, presignature)| {
        let (bound, entropy) = presignature.bind(DIGEST, &TWEAK).unwrap();
        (bound, (node, entropy))
    });
    let (bound, opened): (Vec<_>, Vec<_>) = both.unzip();
    (id, bound, opened.into_iter().collect())
}

#[test]
fn treasury_batches_sign_in_two_rounds() {
    for group in [pair(), trio()] {
        for index in 0..4 {
            let (id, bound, opened) = bound(&group, index);
            let answers: Vec<_> = bound
                .into_iter()
                .map(|b| b.finish(&opened, &OPENINGS).unwrap())
                .collect();
            let combined = |openings| {
                combine_bound(
                    &group.public_key(),
                    (&TWEAK, &DIGEST),
                    (id, openings),
                    &answers,
                )
            };
            assert!(combined(&OPENINGS).is_ok());
            let other = || combined(&[0; 32]);
            assert_eq!(other(), Err(CombineFault::NotOfView(0)));
            assert!(Guard::ViewsEqual.without(other).is_ok());
        }
    }
}

#[test]
fn no_treasury_presignature_answers_in_one_round() {
    let group = pair();
    let one_round = || {
        let all = take(run::<Toy>(&group, 4, |_, _| {}), 0);
        let answers = all.into_iter().map(|p| p.answer(DIGEST, &TWEAK));
        answers.collect::<Result<Vec<_>, _>>()
    };
    assert_eq!(one_round(), Err(SignFault::NeedsBinding));
    // Without the guard the digest can be chosen with the nonce in hand, and it signs.
    let answers = Guard::TwoRounds.without(one_round).unwrap();
    assert!(combine(&group.public_key(), &TWEAK, &DIGEST, &answers).is_ok());
}

#[test]
fn entropy_that_was_not_committed_to_names_its_signer() {
    let group = trio();
    for place in [0, 31] {
        let attack = || {
            let (_, mut bound, mut opened) = bound(&group, 1);
            opened.get_mut(&node(5)).unwrap()[place] ^= 1;
            bound.remove(0).finish(&opened, &OPENINGS)
        };
        assert_eq!(attack(), Err(SignFault::WrongEntropy(node(5))));
        // Without the guard the last opener chooses the nonce by trying.
        assert!(Guard::EntropyOpens.without(attack).is_ok());
    }
    let (_, mut bound, mut opened) = bound(&group, 2);
    opened.remove(&node(2));
    let missing = bound.remove(0).finish(&opened, &OPENINGS);
    assert_eq!(missing, Err(SignFault::EntropyMissing(node(2))));
}

#[test]
fn every_signers_entropy_changes_the_nonce() {
    let group = trio();
    let nonce = |changed: Option<u8>| {
        let (_, mut bound, mut opened) = bound(&group, 0);
        if let Some(who) = changed {
            opened.get_mut(&node(who)).unwrap()[3] ^= 1;
        }
        let finish = || bound.remove(0).finish(&opened, &OPENINGS);
        let answer = Guard::EntropyOpens.without(finish).unwrap();
        answer.body[..33].to_vec()
    };
    let honest = nonce(None);
    assert_eq!(honest, nonce(None));
    for who in [1, 2, 5] {
        assert_ne!(honest, nonce(Some(who)));
    }
}

#[test]
fn commitments_to_entropy_are_part_of_the_confirmed_transcript() {
    let group = pair();
    let first = round3_broadcast(4, false);
    let outcome = run::<Toy>(&group, 4, |place, message| {
        if (place.round, place.from) == (3, 3) {
            message.broadcast[first] ^= 1;
        }
    });
    assert_eq!(outcome.faults(1), [(Some(3), Fault::TranscriptDiffers)]);
    // A treasury batch has them, and one without is refused.
    let outcome = run::<Toy>(&group, 4, |place, message| {
        if (place.round, place.from) == (3, 3) {
            message.broadcast.truncate(first);
        }
    });
    assert_eq!(outcome.faults(1), [(Some(3), Fault::WrongLength)]);
}

#[test]
fn entropy_differs_between_signers_and_presignatures() {
    let group = trio();
    let mut seen = std::collections::BTreeSet::new();
    for index in 0..4 {
        seen.extend(bound(&group, index).2.into_values());
    }
    assert_eq!(seen.len(), 3 * 4);
}

#[test]
fn binding_refuses_what_an_answer_would() {
    let group = pair();
    let presigned = |index| take(run::<Toy>(&group, 4, |_, _| {}), index).remove(0);
    let fault = presigned(0).bind([0; 32], &TWEAK).err();
    assert_eq!(fault, Some(SignFault::ZeroDigest));
    let fault = presigned(1).bind(DIGEST, &[0xff; 32]).err();
    assert_eq!(fault, Some(SignFault::TweakNotCanonical));
    let normal = super::malice::pair();
    let one = take(run::<Toy>(&normal, 4, |_, _| {}), 0).remove(0);
    let fault = one.bind(DIGEST, &TWEAK).err();
    assert_eq!(fault, Some(SignFault::NotTreasury));
}

#[test]
fn a_treasury_header_alone_forbids_one_round() {
    let group = pair();
    let mut all = take(run::<Toy>(&group, 4, |_, _| {}), 0).into_iter();
    let mut answer = || all.next().unwrap().forget_entropy().answer(DIGEST, &TWEAK);
    assert_eq!(answer(), Err(SignFault::NeedsBinding));
    assert!(Guard::TwoRounds.without(answer).is_ok());
}

#[test]
fn the_commitment_to_entropy_is_golden() {
    use crate::ecdsa::presignature::entropy_commitment;
    let commitment = entropy_commitment(&[1; 32], node(3), 0x0102, &[2; 32]);
    assert_eq!(
        hex::encode(commitment),
        "11401c9e48be9174e135cf7c18681c7699cfc7abe03c84c1faaeda3a3b492303"
    );
}
