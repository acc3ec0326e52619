//! Flipped bytes in every field of every message: never a wrong signature, never a panic, and never
//! an honest signer blamed.

use super::malice::{pair, trio};
use super::*;
use crate::Class;
use crate::ecdsa::params::Toy;
use proptest::prelude::*;

const SIZE: u16 = 4;

/// Signer 5 (or 3 of a pair) flips one byte of what it sends signer 1.
fn flip(group: &Group, liar: u8, round: u8, broadcast: bool, place: f64, bits: u8) -> bool {
    let outcome = run::<Toy>(group, SIZE, |at, message| {
        if (at.round, at.from, at.to) == (round, liar, 1) {
            let part = if broadcast {
                &mut message.broadcast
            } else {
                &mut message.private
            };
            let index = (part.len() as f64 * place) as usize;
            if let Some(byte) = part.get_mut(index) {
                *byte ^= bits;
            }
        }
    });
    honest_are_not_blamed(&outcome, liar);
    let finished = outcome.aborts.is_empty();
    if finished {
        no_wrong_signature(group, outcome);
    }
    finished
}

fn honest_are_not_blamed(outcome: &Outcome, liar: u8) {
    for at in outcome.aborts.keys().filter(|at| **at != liar) {
        for (culprit, fault) in outcome.faults(*at) {
            let honest = culprit.is_some_and(|c| c != liar);
            assert!(
                !honest || fault.class() == Class::NotAttributable,
                "{at} blames {culprit:?} for {fault:?}"
            );
        }
    }
}

fn no_wrong_signature(group: &Group, outcome: Outcome) {
    let mut columns: Vec<_> = outcome
        .presignatures
        .into_values()
        .map(Vec::into_iter)
        .collect();
    for digest in 1..=SIZE as u8 {
        let row = columns.iter_mut().map(|c| c.next().unwrap()).collect();
        // The combiner verifies; anything but a valid signature or this fault is a defect.
        if let Err(fault) = sign(group, row, [digest; 32], &[0; 32]) {
            assert_eq!(fault, CombineFault::DoesNotVerify);
        }
    }
}

#[test]
fn flips_spread_over_every_message_are_harmless() {
    for (group, liar) in [(pair(), 3), (trio(), 5)] {
        for (round, broadcast, steps) in [
            (1, true, 8),
            (1, false, 24),
            (2, true, 4),
            (2, false, 40),
            (3, true, 16),
            (3, false, 60),
            (4, true, 6),
        ] {
            for step in 0..steps {
                let place = f64::from(step) / f64::from(steps);
                flip(&group, liar, round, broadcast, place, 1 << (step % 8));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_random_flip_is_harmless(
        round in 1u8..=4,
        broadcast: bool,
        place in 0.0..1.0f64,
        bits in 1u8..,
    ) {
        flip(&trio(), 5, round, broadcast, place, bits);
    }

    #[test]
    fn arbitrary_bytes_of_the_right_length_are_harmless(
        round in 1u8..=4,
        seed: u64,
    ) {
        use rand_core::{RngCore, SeedableRng};
        let outcome = run::<Toy>(&trio(), SIZE, |at, message| {
            if (at.round, at.from) == (round, 5) {
                let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(seed ^ u64::from(at.to));
                rng.fill_bytes(&mut message.broadcast);
                rng.fill_bytes(&mut message.private);
            }
        });
        honest_are_not_blamed(&outcome, 5);
        prop_assert!(!outcome.aborts.is_empty());
    }
}
