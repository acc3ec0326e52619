//! One test for each way to cheat with a message, named by the broken rule (construction,
//! section 15). Every test fails when its guard is removed.

use super::*;
use crate::Class;
use crate::ecdsa::field::{decode_point, encode_point};
use crate::ecdsa::guard::Guard;
use crate::ecdsa::message::{corrections_bytes, round3_private};
use crate::ecdsa::params::Toy;
use k256::ProjectivePoint;

const SIZE: u16 = 4;
const ORDER_HEX: &str = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";

pub(super) fn pair() -> Group {
    Group::new(21, 3, &[1, 3]).unwrap()
}

pub(super) fn trio() -> Group {
    Group::new(22, 5, &[1, 2, 5]).unwrap()
}

/// A run of three in which signer 5 tampers with what it sends signer 1 in `round`.
fn five_to_one(round: u8, change: impl Fn(&mut RoundMessage)) -> Outcome {
    run::<Toy>(&trio(), SIZE, |place, message| {
        if (place.round, place.from, place.to) == (round, 5, 1) {
            change(message);
        }
    })
}

/// A run of three in which signer 5 tampers with what it sends everybody in `round`.
fn five_to_all(round: u8, change: impl Fn(&mut RoundMessage)) -> Outcome {
    run::<Toy>(&trio(), SIZE, |place, message| {
        if (place.round, place.from) == (round, 5) {
            change(message);
        }
    })
}

/// Where a field of the b-th product starts.
fn product_at(b: usize, field: usize) -> usize {
    b * (round3_private::<Toy>(1)) + field
}

const PSI: usize = 0;
const ETA: usize = 32 + corrections_bytes::<Toy>();
const MU: usize = ETA + 32;
const GAMMA_U: usize = MU + 32;
const GAMMA_V: usize = GAMMA_U + 33;

/// Adds a multiple of the generator to the point at `place`.
fn shift_point(bytes: &mut [u8], place: usize, by: ProjectivePoint) {
    let field: &mut [u8; 33] = (&mut bytes[place..place + 33]).try_into().unwrap();
    let point = ProjectivePoint::from(decode_point(field).unwrap()) + by;
    *field = encode_point(&point.to_affine());
}

#[test]
fn a_broadcast_with_a_wrong_signature_is_refused_in_every_round() {
    for round in 1..=4 {
        let group = pair();
        let attack = || {
            let parties = group.start::<Toy>(&group.header(SIZE)).unwrap();
            drive(parties, |place, message| {
                if (place.round, place.from) == (round, 3) {
                    message.signature[5] ^= 1;
                }
            })
        };
        let outcome = attack();
        assert_eq!(outcome.round, round);
        assert!(outcome.faults(3).is_empty());
        let refused = [(Some(3), Fault::BadBroadcastSignature)];
        // Without the guard anybody's broadcast is taken for the sender's.
        let won = guarded(Guard::BroadcastSignature, 1, &refused, attack);
        assert!(won.aborts.is_empty());
    }
}

#[test]
fn a_broadcast_signed_for_another_round_sender_or_batch_is_refused() {
    let group = trio();
    let right = ctx0(&group, SIZE);
    for (round, ctx, signer) in [(2, right, 5), (1, [0; 32], 5), (1, right, 2)] {
        let parties = group.start::<Toy>(&group.header(SIZE)).unwrap();
        let outcome = drive(parties, |place, message| {
            if (place.round, place.from, place.to) == (1, 5, 1) {
                message.round = round;
                resign(&group, &ctx, signer, message);
                message.round = 1;
            }
        });
        let found = outcome.faults(1);
        assert_eq!(found, [(Some(5), Fault::BadBroadcastSignature)]);
    }
}

#[test]
fn a_message_of_another_round_is_refused() {
    let outcome = five_to_one(2, |m| m.round = 1);
    assert_eq!(outcome.faults(1), [(Some(5), Fault::WrongRound)]);
}

#[test]
fn equivocation_in_round_one_makes_no_honest_node_strike_another() {
    // What it changes is behind the header's hash.
    let attack = || five_to_one(1, |m| m.broadcast[32] ^= 1);
    let outcome = attack();
    assert_eq!(outcome.round, 2);
    // Everybody sees that contexts differ, before any secret-dependent check could blame anyone.
    for at in [1, 2, 5] {
        let found = outcome.faults(at);
        assert!(!found.is_empty());
        assert!(found.iter().all(|(_, f)| *f == Fault::ContextDiffers));
        assert_eq!(outcome.aborts[&at].class(), Class::NotAttributable);
    }
    // Without the guard the checks run on different contexts, and honest 1 strikes honest 2.
    let refused = [2, 5].map(|n| (Some(n), Fault::ContextDiffers));
    let won = guarded(Guard::ContextEqual, 1, &refused, attack);
    let strikes = won.faults(1);
    let framed =
        |(n, f): &(Option<u8>, Fault)| *n == Some(2) && f.class() == Class::SecretDependent;
    assert!(strikes.iter().any(framed), "{strikes:?}");
}

#[test]
fn lengths_one_off_are_refused_in_every_round() {
    for round in 1..=4 {
        for change in [
            (|m: &mut RoundMessage| m.broadcast.push(0)) as fn(&mut RoundMessage),
            |m| m.broadcast.truncate(m.broadcast.len() - 1),
            |m| m.private.push(0),
            |m| m.private.truncate(m.private.len().saturating_sub(1)),
        ] {
            // Round 4 has no private part to shorten.
            let outcome = five_to_one(round, change);
            if let Some(found) = outcome.faults(1).first() {
                assert_eq!(*found, (Some(5), Fault::WrongLength), "round {round}");
                assert_eq!(outcome.round, round);
            } else {
                assert_eq!(round, 4);
            }
        }
        let longer = || five_to_one(round, |m| m.broadcast.push(0));
        let refused = [(Some(5), Fault::WrongLength)];
        if round < 4 {
            guarded(Guard::ExactLength, 1, &refused, longer);
        }
    }
}

#[test]
fn missing_and_strange_messages_are_nobodys_strike() {
    let group = trio();
    let mut parties = group.start::<Toy>(&group.header(SIZE)).unwrap();
    let mut inboxes = deliver(&mut parties);
    let mut party = parties.remove(&node(1)).unwrap();
    let mut inbox = inboxes.remove(&node(1)).unwrap();
    let moved = inbox.remove(&node(5)).unwrap();
    inbox.insert(node(4), moved);
    let abort = party.round.finish(inbox, &mut party.entropy).err().unwrap();
    assert_eq!(abort.class(), Class::NotAttributable);
    let named: Vec<_> = abort
        .faults
        .iter()
        .map(|(n, _)| n.map(NodeIndex::get))
        .collect();
    assert_eq!(named, [Some(5), Some(4)]);
}

#[test]
fn a_zero_share_seed_must_open_its_commitment() {
    let attack = || {
        run::<Toy>(&trio(), SIZE, |place, message| {
            if (place.round, place.from, place.to) == (1, 1, 5) {
                *message.private.last_mut().unwrap() ^= 1;
            }
        })
    };
    assert!(attack().faults(2).is_empty());
    let refused = [(Some(1), Fault::BadZeroShare)];
    // Without the guard the sum of the key shares breaks, and honest 5 cannot show its seed.
    let won = guarded(Guard::ZeroSeedOpens, 5, &refused, attack);
    assert!(won.faults(2).contains(&(Some(5), Fault::BadZeroShare)));
}

#[test]
fn base_transfer_points_must_be_canonical_and_not_the_identity() {
    let pairs = 64 * 24;
    for place in [0, 32, pairs - 32, pairs] {
        let outcome = five_to_one(1, |m| m.private[place..place + 32].fill(0));
        assert_eq!(outcome.faults(1), [(Some(5), Fault::BadPoint)], "{place}");
    }
}

#[test]
fn nothing_of_round_three_leaves_before_all_peers_passed() {
    // A wrong column towards one of three: that node stops, for everyone.
    let columns = 2 * 16 * 24 + 32 * 6 + 32;
    let attack = || five_to_one(2, |m| m.private[columns] ^= 1);
    let outcome = attack();
    assert_eq!(outcome.round, 2);
    assert_eq!(outcome.aborts[&1].class(), Class::SecretDependent);
    assert_eq!(outcome.advanced, [2, 5]);
    let refused = [(Some(5), Fault::ExtensionCheck)];
    // Without the gate signer 1 goes on with signer 2, and its key share leaves.
    let won = guarded(Guard::RoundThreeGate, 1, &refused, attack);
    assert_eq!(won.round, 3);
}

#[test]
fn trees_and_extension_of_every_peer_are_checked() {
    let (overall, columns) = (2 * 16 * 24 + 32 * 6, 2 * 16 * 24 + 32 * 6 + 32);
    let attack = || five_to_one(2, |m| m.private[columns] ^= 1);
    let refused = [(Some(5), Fault::ExtensionCheck)];
    let won = guarded(Guard::Extension, 1, &refused, attack);
    assert_eq!(won.round, 3, "signer 1 has multiplied for the liar");
    // The second check hashes what the first one checks, so a change on the way fails both. What a
    // sender gains that lies from the start, the trees' own tests show.
    let attack = || five_to_one(2, |m| m.private[overall] ^= 1);
    let won = guarded(Guard::Trees, 1, &[(Some(5), Fault::TreeCheck)], attack);
    assert_eq!(won.faults(1), refused);
}

#[test]
fn every_failing_peer_is_named_not_only_the_first() {
    let overall = 2 * 16 * 24 + 32 * 6;
    let outcome = run::<Toy>(&trio(), SIZE, |place, message| {
        if place.round == 2 && place.to == 1 {
            message.private[overall] ^= 1;
        }
    });
    assert_eq!(
        outcome.faults(1),
        [(Some(2), Fault::TreeCheck), (Some(5), Fault::TreeCheck)]
    );
    let outcome = run::<Toy>(&trio(), SIZE, |place, message| {
        match (place.round, place.from, place.to) {
            (3, 2, 1) => message.broadcast.push(0),
            (3, 5, 1) => message.private[MU] ^= 1,
            _ => {}
        }
    });
    // A public fault of one does not hide the strike of the other.
    assert_eq!(
        outcome.faults(1),
        [
            (Some(2), Fault::WrongLength),
            (Some(5), Fault::MultiplicationCheck)
        ]
    );
}

#[test]
fn nonce_points_and_salt_are_fixed_by_round_one() {
    let generator = ProjectivePoint::GENERATOR;
    let outcome = five_to_all(3, |m| shift_point(&mut m.broadcast, 32, generator));
    assert_eq!(outcome.faults(1), [(Some(5), Fault::BadCommitment)]);
    assert_eq!(outcome.faults(2), [(Some(5), Fault::BadCommitment)]);
    let salt = || five_to_all(3, |m| m.broadcast[0] ^= 1);
    let refused = [(Some(5), Fault::BadCommitment)];
    // Without the guard it is confirmed like any other opening: only 5, which did not see its own
    // lie, has another transcript.
    let won = guarded(Guard::NonceCommitment, 1, &refused, salt);
    assert_eq!(won.faults(1), [(Some(5), Fault::TranscriptDiffers)]);
    // Two nonce points exchanged.
    let outcome = five_to_all(3, |m| {
        let (a, b) = m.broadcast[32..].split_at_mut(66);
        a[..33].swap_with_slice(&mut b[..33]);
    });
    assert_eq!(outcome.faults(1), [(Some(5), Fault::BadCommitment)]);
}

#[test]
fn every_scalar_must_be_below_the_order() {
    let order = hex::decode(ORDER_HEX).unwrap();
    for value in [order.as_slice(), &[0xff; 32]] {
        for field in [PSI, 32, 64, 96, ETA] {
            let place = product_at(2, field);
            let outcome = five_to_one(3, |m| m.private[place..place + 32].copy_from_slice(value));
            assert_eq!(outcome.faults(1), [(Some(5), Fault::BadScalar)], "{field}");
        }
    }
}

#[test]
fn every_point_must_be_compressed_and_not_the_identity() {
    for prefix in [0u8, 4, 5, 6] {
        let key = 32 + 33;
        let outcome = five_to_all(3, |m| m.broadcast[key] = prefix);
        assert_eq!(outcome.faults(1), [(Some(5), Fault::BadPoint)], "{prefix}");
        for field in [GAMMA_U, GAMMA_V] {
            let outcome = five_to_one(3, |m| m.private[product_at(1, field)] = prefix);
            assert_eq!(outcome.faults(1), [(Some(5), Fault::BadPoint)], "{prefix}");
        }
    }
    let outcome = five_to_one(3, |m| {
        m.private[product_at(1, GAMMA_U)..][..33].fill(0);
    });
    assert_eq!(outcome.faults(1), [(Some(5), Fault::BadPoint)]);
}

#[test]
fn multiplications_of_two_presignatures_cannot_be_exchanged() {
    let outcome = five_to_one(3, |m| {
        let (a, b) = m.private.split_at_mut(product_at(1, 0));
        a[32..GAMMA_U].swap_with_slice(&mut b[32..GAMMA_U]);
    });
    assert_eq!(outcome.faults(1), [(Some(5), Fault::MultiplicationCheck)]);
    assert_eq!(outcome.aborts[&1].class(), Class::SecretDependent);
}

#[test]
fn a_multiplication_that_fails_its_check_is_refused() {
    let refused = [(Some(5), Fault::MultiplicationCheck)];
    for place in [MU, ETA + 31] {
        let attack = || five_to_one(3, |m| m.private[product_at(1, place)] ^= 1);
        // Without the guard every batch tells the liar a guessed choice, and goes on.
        let won = guarded(Guard::Multiplication, 1, &refused, attack);
        assert!(won.aborts.is_empty());
    }
}

#[test]
fn products_must_match_the_opened_points() {
    let generator = ProjectivePoint::GENERATOR;
    for field in [GAMMA_U, GAMMA_V] {
        let attack = || {
            five_to_one(3, |m| {
                shift_point(&mut m.private, product_at(3, field), generator);
            })
        };
        let outcome = attack();
        assert_eq!(outcome.aborts[&1].class(), Class::SecretDependent);
        assert!(outcome.faults(2).is_empty());
        let won = guarded(Guard::Points, 1, &[(Some(5), Fault::PointCheck)], attack);
        assert!(won.aborts.is_empty());
    }
}

#[test]
fn key_points_that_cancel_in_the_sum_are_still_refused() {
    // Signers 2 and 5 shift their key points in opposite directions: the sum is right.
    let outcome = run::<Toy>(&trio(), SIZE, |place, message| {
        let by = match (place.round, place.from) {
            (3, 2) => ProjectivePoint::GENERATOR,
            (3, 5) => -ProjectivePoint::GENERATOR,
            _ => return,
        };
        shift_point(&mut message.broadcast, 32 + 33, by);
    });
    assert_eq!(
        outcome.faults(1),
        [(Some(2), Fault::PointCheck), (Some(5), Fault::PointCheck)]
    );
}

#[test]
fn errors_that_cancel_without_random_coefficients_are_refused() {
    let shift = ProjectivePoint::GENERATOR;
    // Over two presignatures, and between the two products of one.
    for (first, second) in [
        (product_at(0, GAMMA_U), product_at(1, GAMMA_U)),
        (product_at(0, GAMMA_U), product_at(0, GAMMA_V)),
        (product_at(2, GAMMA_V), product_at(3, GAMMA_V)),
    ] {
        let attack = || {
            five_to_one(3, |m| {
                shift_point(&mut m.private, first, shift);
                shift_point(&mut m.private, second, -shift);
            })
        };
        let refused = [(Some(5), Fault::PointCheck)];
        let won = guarded(Guard::RandomCoefficients, 1, &refused, attack);
        assert!(won.aborts.is_empty());
    }
}

#[test]
fn a_lie_in_psi_gives_no_signature_and_no_strike() {
    let outcome = five_to_one(3, |m| m.private[product_at(0, PSI) + 31] ^= 1);
    assert!(outcome.aborts.is_empty());
    let result = sign(&trio(), take(outcome, 0), [7; 32], &[0; 32]);
    assert_eq!(result, Err(CombineFault::DoesNotVerify));
}

#[test]
fn confirmations_must_be_of_one_transcript_and_signed() {
    let other = || five_to_one(4, |m| m.broadcast[0] ^= 1);
    assert_eq!(other().aborts[&1].class(), Class::NotAttributable);
    let refused = [(Some(5), Fault::TranscriptDiffers)];
    let won = guarded(Guard::TranscriptEqual, 1, &refused, other);
    assert!(won.presignatures.contains_key(&1));
    let forged = || five_to_one(4, |m| m.broadcast[40] ^= 1);
    assert!(!forged().presignatures.contains_key(&1));
    let refused = [(Some(5), Fault::BadBroadcastSignature)];
    let won = guarded(Guard::ConfirmationSigned, 1, &refused, forged);
    assert!(won.presignatures.contains_key(&1));
    // Another signer's confirmation is not one's own.
    let mut seen = None;
    let outcome = run::<Toy>(&trio(), SIZE, |place, message| match place {
        Place {
            round: 4, from: 2, ..
        } => seen = Some(message.broadcast.clone()),
        Place {
            round: 4,
            from: 5,
            to: 1,
        } => message.broadcast.clone_from(seen.as_ref().unwrap()),
        _ => {}
    });
    assert_eq!(outcome.faults(1), [(Some(5), Fault::BadBroadcastSignature)]);
}

#[test]
fn a_batch_with_a_missing_confirmation_is_not_usable() {
    let group = pair();
    let mut parties = group.start::<Toy>(&group.header(SIZE)).unwrap();
    for _ in 0..3 {
        let mut inboxes = deliver(&mut parties);
        parties = parties
            .into_iter()
            .map(|(node, mut party)| {
                let inbox = inboxes.remove(&node).unwrap();
                let Ok(Advance::Next(round, outbox)) =
                    party.round.finish(inbox, &mut party.entropy)
                else {
                    panic!("the batch is honest");
                };
                (
                    node,
                    Party {
                        round,
                        outbox,
                        ..party
                    },
                )
            })
            .collect();
    }
    let mut party = parties.remove(&node(1)).unwrap();
    let abort = party
        .round
        .finish(BTreeMap::new(), &mut party.entropy)
        .err()
        .unwrap();
    assert_eq!(abort.class(), Class::NotAttributable);
}
