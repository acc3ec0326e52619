//! Every check of a round's messages has a test that breaks exactly its rule.

use super::*;
use crate::abort::Class;
use crate::batch::BatchHeader;
use crate::round::RoundMessage;
use proptest::prelude::*;
use quoin_core::hash::tagged;
use quoin_core::tags::{self, Tag};
use quoin_core::{SigningIdentity, cbor};

/// Where a first broadcast's nonces start: after the batch's context.
const BODY: usize = 32;

/// Signs a changed message again, so that only the rule under test is broken.
fn sign_again(fx_context: &[u8; 32], identity: &SigningIdentity, from: u8, m: &mut RoundMessage) {
    let tag: Tag = match m.round {
        1 => tags::ROUND,
        _ => tags::FROST_CONFIRM,
    };
    let hash = tagged(tag, &[fx_context, &[m.round], &[from], &m.broadcast]);
    m.signature = identity.sign(&hash);
}

/// Runs 2-of-3 with signers 1 and 2; `change` edits node 2's message of `round` to node 1, which
/// is signed again when `signed`. Gives what node 1 says.
fn with_change(
    scheme: Scheme,
    round: u8,
    signed: bool,
    change: impl Fn(&mut RoundMessage),
) -> Result<(), Abort> {
    let mut fx = fixture(scheme, (2, 3), &[1, 2], 2, 20);
    let context = tagged(tags::FROST_CTX, &[&cbor::encode(&fx.header)]);
    let identity = fx.rosters[&node(2)].identity.clone();
    let mut results = fx.run(start_batch, |from, _, message| {
        if from == node(2) && message.round == round {
            change(message);
            if signed {
                sign_again(&context, &identity, 2, message);
            }
        }
        true
    });
    results.remove(&node(1)).unwrap().map(drop)
}

fn blamed(fault: Fault) -> Result<(), Abort> {
    Err(Abort::one(Some(node(2)), fault))
}

#[test]
fn an_unchanged_message_signed_again_is_accepted() {
    for scheme in SCHEMES {
        for round in [1, 2] {
            assert_eq!(with_change(scheme, round, true, |_| {}), Ok(()));
        }
    }
}

#[test]
fn a_message_of_another_round_is_refused() {
    for scheme in SCHEMES {
        for round in [1, 2] {
            let found = with_change(scheme, round, true, |m| m.round = 3);
            assert_eq!(found, blamed(Fault::WrongRound));
        }
    }
}

#[test]
fn messages_of_another_length_are_refused() {
    for scheme in SCHEMES {
        for round in [1, 2] {
            let longer = with_change(scheme, round, true, |m| m.broadcast.push(0));
            assert_eq!(longer, blamed(Fault::WrongLength));
            let shorter = with_change(scheme, round, true, |m| {
                m.broadcast.truncate(m.broadcast.len() - 1);
            });
            assert_eq!(shorter, blamed(Fault::WrongLength));
            let private = with_change(scheme, round, true, |m| m.private.push(0));
            assert_eq!(private, blamed(Fault::WrongLength));
        }
    }
}

#[test]
fn a_broadcast_without_its_signature_is_refused() {
    for scheme in SCHEMES {
        for round in [1, 2] {
            let found = with_change(scheme, round, false, |m| m.signature[0] ^= 1);
            assert_eq!(found, blamed(Fault::BadBroadcastSignature));
            let found = with_change(scheme, round, false, |m| {
                *m.broadcast.last_mut().unwrap() ^= 1;
            });
            assert_eq!(found, blamed(Fault::BadBroadcastSignature));
        }
    }
}

#[test]
fn a_signature_of_another_session_or_sender_is_refused() {
    let mut fx = fixture(Scheme::Ed25519, (2, 3), &[1, 2], 1, 21);
    let context = tagged(tags::FROST_CTX, &[&cbor::encode(&fx.header)]);
    let identity = fx.rosters[&node(2)].identity.clone();
    for (context, sender) in [([0; 32], 2), (context, 1)] {
        let results = fx.run(start_batch, |from, _, message| {
            if from == node(2) {
                sign_again(&context, &identity, sender, message);
            }
            true
        });
        let fault = results[&node(1)].as_ref().unwrap_err();
        let expected = Abort::one(Some(node(2)), Fault::BadBroadcastSignature);
        assert_eq!(fault, &expected);
    }
}

/// A proposer gives signers 1 and 2 one batch id with different headers: both are honest, and
/// neither may be blamed, whatever the header says of the length of a message.
#[test]
fn a_broadcast_of_another_header_blames_nobody() {
    let changes: [fn(&mut BatchHeader); 3] = [
        |h| h.charter.0 += 1,
        |h| h.boots[1].generation.0 += 1,
        |h| h.size += 1,
    ];
    for scheme in SCHEMES {
        for change in changes {
            let mut fx = fixture(scheme, (2, 3), &[1, 2], 2, 27);
            let mut other = fixture(scheme, (2, 3), &[1, 2], 2, 27);
            change(&mut other.header);
            let (round, _) = fx.start(start_batch).remove(&node(1)).unwrap();
            let (_, mut outbox) = other.start(start_batch).remove(&node(2)).unwrap();
            let inbox = [(node(2), outbox.remove(&node(1)).unwrap())].into();
            let abort = round.finish(inbox, &mut fx.rng).map(drop).unwrap_err();
            assert_eq!(abort, Abort::one(Some(node(2)), Fault::ContextDiffers));
            assert_eq!(abort.class(), Class::NotAttributable);
        }
    }
}

#[test]
fn points_that_are_not_canonical_or_the_identity_are_refused() {
    let mut identity = [0u8; 32];
    identity[0] = 1;
    let mut negative_zero = identity;
    negative_zero[31] = 0x80;
    // y = p + 1: the identity in a spelling that is not canonical.
    let mut over = [0xff; 32];
    (over[0], over[31]) = (0xee, 0x7f);
    let small_order = [0u8; 32];
    let not_on_curve = {
        let mut bytes = [0u8; 32];
        bytes[0] = 2;
        bytes
    };
    for bad in [identity, negative_zero, over, small_order, not_on_curve] {
        for place in [0, 32, 64, 96].map(|at| BODY + at) {
            let found = with_change(Scheme::Ed25519, 1, true, |m| {
                m.broadcast[place..place + 32].copy_from_slice(&bad);
            });
            assert_eq!(found, blamed(Fault::BadPoint), "{bad:?} at {place}");
        }
    }
    for first in [0, 4, 5, 6] {
        for place in [0, 33, 66, 99].map(|at| BODY + at) {
            let found = with_change(Scheme::Taproot, 1, true, |m| {
                m.broadcast[place] = first;
            });
            assert_eq!(found, blamed(Fault::BadPoint), "{first} at {place}");
        }
    }
    for filler in [0, 0xff] {
        let found = with_change(Scheme::Taproot, 1, true, |m| {
            m.broadcast[BODY..BODY + 33].fill(filler);
        });
        assert_eq!(found, blamed(Fault::BadPoint));
    }
}

#[test]
fn a_point_with_a_component_of_small_order_is_refused() {
    use curve25519_dalek::constants::EIGHT_TORSION;
    use curve25519_dalek::edwards::CompressedEdwardsY;
    let found = with_change(Scheme::Ed25519, 1, true, |m| {
        let bytes: [u8; 32] = m.broadcast[BODY..BODY + 32].try_into().unwrap();
        let point = CompressedEdwardsY(bytes).decompress().unwrap();
        let mixed = (point + EIGHT_TORSION[1]).compress();
        m.broadcast[BODY..BODY + 32].copy_from_slice(mixed.as_bytes());
    });
    assert_eq!(found, blamed(Fault::BadPoint));
}

#[test]
fn a_point_that_occurs_twice_in_one_broadcast_is_refused() {
    for (scheme, length) in [(Scheme::Ed25519, 32), (Scheme::Taproot, 33)] {
        for place in 1..4 {
            let found = with_change(scheme, 1, true, |m| {
                let first = BODY..BODY + length;
                m.broadcast.copy_within(first, BODY + place * length);
            });
            assert_eq!(found, blamed(Fault::DuplicateNonce));
        }
    }
}

#[test]
fn a_point_copied_from_another_signer_is_refused() {
    for scheme in SCHEMES {
        let mut fx = fixture(scheme, (3, 5), &[1, 2, 3], 1, 22);
        let context = tagged(tags::FROST_CTX, &[&cbor::encode(&fx.header)]);
        let identity = fx.rosters[&node(2)].identity.clone();
        let mut copied = Vec::new();
        let results = fx.run(start_batch, |from, _, message| {
            if from == node(1) {
                copied = message.broadcast.clone();
            }
            if from == node(2) && message.round == 1 {
                message.broadcast = copied.clone();
                sign_again(&context, &identity, 2, message);
            }
            true
        });
        let victim = Abort::one(Some(node(2)), Fault::DuplicateNonce);
        assert_eq!(results[&node(1)].as_ref().unwrap_err(), &victim);
        // A third signer cannot tell who copied from whom.
        let third = Abort::one(None, Fault::DuplicateNonce);
        assert_eq!(results[&node(3)].as_ref().unwrap_err(), &third);
    }
}

#[test]
fn a_missing_message_and_a_stranger_are_refused() {
    for scheme in SCHEMES {
        for round in [1, 2] {
            let mut fx = fixture(scheme, (2, 3), &[1, 2], 1, 23);
            let results = fx.run(start_batch, |from, _, message| {
                from != node(2) || message.round != round
            });
            let expected = Abort::one(Some(node(2)), Fault::WrongParticipants);
            assert_eq!(results[&node(1)].as_ref().unwrap_err(), &expected);
        }
        let mut fx = fixture(scheme, (2, 3), &[1, 2], 1, 24);
        let mut started = fx.start(start_batch);
        let (_, mut outbox) = started.remove(&node(2)).unwrap();
        let (round, _) = started.remove(&node(1)).unwrap();
        let message = outbox.remove(&node(1)).unwrap();
        let inbox = [(node(2), message.clone()), (node(3), message)].into();
        let fault = round.finish(inbox, &mut fx.rng).map(drop).unwrap_err();
        let expected = Abort::one(Some(node(3)), Fault::WrongParticipants);
        assert_eq!(fault, expected);
    }
}

#[test]
fn signers_who_saw_different_first_rounds_get_no_presignatures() {
    for scheme in SCHEMES {
        let mut fx = fixture(scheme, (3, 5), &[1, 2, 3], 1, 25);
        // A second start gives node 2 other commitments under the same header.
        let mut second = fx.start(start_batch);
        let (_, mut other) = second.remove(&node(2)).unwrap();
        let results = fx.run(start_batch, |from, to, message| {
            if from == node(2) && to == node(3) && message.round == 1 {
                *message = other.remove(&node(3)).unwrap();
            }
            true
        });
        for result in results.values() {
            let expected = Abort::one(None, Fault::TranscriptDiffers);
            assert_eq!(result.as_ref().unwrap_err(), &expected);
        }
        assert_eq!(results.len(), 3);
    }
}

#[test]
fn every_faulty_peer_is_named_at_once() {
    let mut fx = fixture(Scheme::Ed25519, (3, 5), &[1, 2, 3], 1, 26);
    let results = fx.run(start_batch, |from, _, message| {
        match from.get() {
            2 => message.signature[5] ^= 4,
            3 => message.round = 9,
            _ => {}
        }
        true
    });
    let abort = results[&node(1)].as_ref().unwrap_err();
    assert_eq!(
        abort.faults,
        vec![
            (Some(node(2)), Fault::BadBroadcastSignature),
            (Some(node(3)), Fault::WrongRound),
        ]
    );
}

fn scheme() -> impl Strategy<Value = Scheme> {
    prop_oneof![Just(Scheme::Ed25519), Just(Scheme::Taproot)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever byte of whatever message changes, the receiver ends without presignatures.
    #[test]
    fn a_flipped_byte_of_a_round_message_never_passes(
        scheme in scheme(),
        round in 1u8..=2,
        place in any::<prop::sample::Index>(),
        flip in 1u8..,
    ) {
        let found = with_change(scheme, round, false, |m| {
            let length = m.broadcast.len();
            match place.index(length + 65) {
                i if i < length => m.broadcast[i] ^= flip,
                i if i < length + 64 => m.signature[i - length] ^= flip,
                _ => m.round ^= flip,
            }
        });
        prop_assert!(found.is_err());
    }

    /// Properly signed garbage is an abort that names its sender, not a panic.
    #[test]
    fn a_signed_arbitrary_broadcast_never_panics(
        scheme in scheme(),
        round in 1u8..=2,
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let found = with_change(scheme, round, true, |m| m.broadcast = bytes.clone());
        prop_assert!(found.is_err());
    }

    /// Changed commitments that are signed again give presignatures only if they are points, and
    /// then both signers still agree on the transcript or there are none.
    #[test]
    fn a_signed_mutated_broadcast_never_splits_the_signers(
        scheme in scheme(),
        place in any::<prop::sample::Index>(),
        flip in 1u8..,
    ) {
        let found = with_change(scheme, 1, true, |m| {
            let place = place.index(m.broadcast.len());
            m.broadcast[place] ^= flip;
        });
        prop_assert!(found.is_err());
    }
}
