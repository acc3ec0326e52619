//! A wrong key share among three: what is published names the liar, whatever it publishes itself.

use super::deviate::deviating;
use super::malice::trio;
use super::*;
use crate::ecdsa::params::Toy;
use crate::ecdsa::rounds::one::AwaitOffers;
use k256::Scalar;

const TRANSCRIPT: usize = 32;

/// Signer 5 uses a wrong key share everywhere, consistently; `lie` edits what it publishes then.
fn wrong_share(lie: impl Fn(&mut RoundMessage)) -> Outcome {
    let group = trio();
    let wrong = |round: &mut AwaitOffers<Toy>| *round.nonces.weighted += Scalar::ONE;
    deviating(&group, 5, wrong, |place, message| {
        if (place.round, place.from) == (4, 5) {
            lie(message);
            resign(&group, &ctx0(&group, 4), 5, message);
        }
    })
}

#[test]
fn the_published_seeds_name_the_signer_with_the_wrong_key_share() {
    let refused = [(Some(5), Fault::WrongKeySum)];
    let attack = || wrong_share(|_| {});
    assert_eq!(attack().faults(2), refused);
    assert_eq!(attack().round, 4);
    assert_eq!(attack().aborts[&1].class(), crate::Class::Public);
    // Signer 5 finds nobody else at fault, and has no presignatures either.
    assert_eq!(attack().faults(5), [(None, Fault::WrongKeySum)]);
    // Without the guard the batch ends all the same, and the liar tries again unnamed.
    let won = guarded(Guard::DisputedKeyPoint, 1, &refused, attack);
    assert_eq!(won.faults(1), [(None, Fault::WrongKeySum)]);
    assert!(won.presignatures.is_empty());
}

#[test]
fn a_published_seed_opens_the_commitment_of_round_one() {
    // The last seed is the one that 5 shares with honest 2.
    let attack = || wrong_share(|m| *m.broadcast.last_mut().unwrap() ^= 1);
    let refused = [
        (Some(5), Fault::BadZeroShare),
        (Some(5), Fault::WrongKeySum),
    ];
    // Without the guard the false seed makes honest 2's key point look wrong.
    let won = guarded(Guard::DisputedSeedOpens, 1, &refused, attack);
    assert!(won.faults(1).contains(&(Some(2), Fault::WrongKeySum)));
}

#[test]
fn a_signer_that_confirms_a_wrong_sum_is_named() {
    let outcome = wrong_share(|m| {
        m.broadcast.truncate(TRANSCRIPT);
        m.broadcast.extend_from_slice(&[7; 64]);
    });
    let named = [
        (Some(5), Fault::FalseDispute),
        (Some(5), Fault::WrongKeySum),
    ];
    assert_eq!(outcome.faults(1), named);
    assert_eq!(outcome.faults(2), named);
    // For another transcript it may be honest: somebody opened two things.
    let outcome = wrong_share(|m| {
        m.broadcast.truncate(TRANSCRIPT);
        m.broadcast[0] ^= 1;
        m.broadcast.extend_from_slice(&[7; 64]);
    });
    assert!(
        outcome
            .faults(1)
            .contains(&(None, Fault::TranscriptDiffers))
    );
}

#[test]
fn a_dispute_of_a_right_sum_names_the_one_who_starts_it() {
    let disputes = |other: u8| {
        run::<Toy>(&trio(), 4, |place, message| {
            if (place.round, place.from) == (4, 5) {
                message.broadcast.truncate(TRANSCRIPT);
                message.broadcast[0] ^= other;
                message.broadcast.extend_from_slice(&[0; 65]);
            }
        })
    };
    assert_eq!(disputes(0).faults(1), [(Some(5), Fault::FalseDispute)]);
    assert_eq!(disputes(0).aborts[&1].class(), crate::Class::Public);
    // With another transcript it may have been shown other openings.
    assert_eq!(disputes(1).faults(1), [(None, Fault::TranscriptDiffers)]);
}

#[test]
fn a_dispute_of_another_form_is_refused() {
    for change in [
        (|m: &mut RoundMessage| m.broadcast.push(0)) as fn(&mut RoundMessage),
        |m| m.broadcast.truncate(m.broadcast.len() - 2),
        |m| m.private.push(0),
        |m| m.broadcast[TRANSCRIPT] = 1,
    ] {
        let outcome = wrong_share(change);
        assert!(outcome.faults(1).contains(&(Some(5), Fault::WrongLength)));
        // Its seeds are known from the others: it is named all the same.
        assert!(outcome.faults(1).contains(&(Some(5), Fault::WrongKeySum)));
    }
}
