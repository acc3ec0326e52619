//! The toy scheme signs, fails and leaks as the real ones would.

use super::*;
use crate::combine::ROOT_TWEAK;
use crate::presign::testkit::{Fixture, fixture, node, set, sets};

fn answers(fx: &mut Fixture, message: &[u8]) -> Vec<(NodeIndex, Answer)> {
    let made = fx.presign(start_batch);
    made.into_iter()
        .map(|(node, mut list)| {
            let answer = list
                .remove(0)
                .answer(&Request::root(message), &fx.shares[&node]);
            (node, answer.unwrap())
        })
        .collect()
}

#[test]
fn every_set_signs_and_the_signature_verifies() {
    for (t, n) in [(2, 3), (3, 5), (7, 7)] {
        for signers in sets(t.into(), n) {
            let mut fx = fixture(Scheme::Model, (t, n), &signers, 2, 1);
            let answers = answers(&mut fx, b"message");
            let key = fx.public();
            let signature =
                combine(key, &fx.header.set, &Request::root(b"message"), &answers).unwrap();
            assert!(verify(&key.public_key, &ROOT_TWEAK, b"message", &signature));
            assert!(!verify(
                &key.public_key,
                &ROOT_TWEAK,
                b"another",
                &signature
            ));
        }
    }
}

#[test]
fn two_answers_with_one_nonce_give_the_share_away() {
    let mut fx = fixture(Scheme::Model, (3, 5), &[1, 3, 4], 1, 2);
    let made = fx.presign(start_batch);
    for (node, mut list) in made {
        let presignature = list.remove(0);
        let share = &fx.shares[&node];
        let fork = presignature.dangerous_fork();
        let same = presignature.dangerous_fork();
        let one = presignature.answer(&Request::root(b"one"), share).unwrap();
        let two = fork.answer(&Request::root(b"two"), share).unwrap();
        let set = &fx.header.set;
        let found = extract(set, node, (b"one", &one), (b"two", &two));
        assert_eq!(found.as_ref(), Some(share.secret.expose()));
        let same = same.answer(&Request::root(b"one"), share).unwrap();
        assert_eq!(same, one, "the same message again gives nothing new");
        assert_eq!(extract(set, node, (b"one", &one), (b"one", &same)), None);
    }
}

#[test]
fn answers_with_different_nonces_give_nothing_away() {
    let mut fx = fixture(Scheme::Model, (2, 3), &[1, 2], 2, 3);
    let made = fx.presign(start_batch);
    let mut list = made.into_values().next().unwrap().into_iter();
    let share = &fx.shares[&node(1)];
    let one = list
        .next()
        .unwrap()
        .answer(&Request::root(b"one"), share)
        .unwrap();
    let two = list
        .next()
        .unwrap()
        .answer(&Request::root(b"two"), share)
        .unwrap();
    let found = extract(&fx.header.set, node(1), (b"one", &one), (b"two", &two));
    assert_eq!(found, None);
}

#[test]
fn a_wrong_partial_names_its_signer() {
    let mut fx = fixture(Scheme::Model, (2, 3), &[1, 3], 1, 4);
    let mut answers = answers(&mut fx, b"message");
    *answers[1].1.body.last_mut().unwrap() ^= 1;
    let fault = combine(
        fx.public(),
        &fx.header.set,
        &Request::root(b"message"),
        &answers,
    );
    let expected = CombineReason::WrongPartial.blames(vec![node(3)]);
    assert_eq!(fault, Err(expected));
}

#[test]
fn combine_refuses_what_the_real_schemes_refuse() {
    let mut fx = fixture(Scheme::Model, (2, 3), &[1, 3], 1, 5);
    let good = answers(&mut fx, b"message");
    let check = |answers: &[(NodeIndex, Answer)], message: &[u8]| {
        combine(
            fx.public(),
            &fx.header.set,
            &Request::root(message),
            answers,
        )
        .unwrap_err()
    };
    let nobody = |reason: CombineReason| reason.blames(Vec::new());
    assert_eq!(check(&good, b"other"), nobody(CombineReason::NotOfView));
    assert_eq!(
        check(&good[..1], b"message"),
        nobody(CombineReason::WrongParticipants)
    );
    let mut bad = good.clone();
    bad[0].1.view[0] ^= 1;
    assert_eq!(check(&bad, b"message"), nobody(CombineReason::ViewsDiffer));
    let mut bad = good.clone();
    bad[0].1.body.push(0);
    assert_eq!(
        check(&bad, b"message"),
        CombineReason::MalformedAnswer.blames(vec![node(1)])
    );
    let mut bad = good;
    bad[0].1.body[0] ^= 1;
    assert_eq!(
        check(&bad, b"message"),
        CombineReason::NotOfView.blames(vec![node(1)])
    );
}

#[test]
fn a_garbled_broadcast_is_found() {
    let mut fx = fixture(Scheme::Model, (2, 3), &[1, 2], 1, 6);
    let results = fx.run(start_batch, |from, _, message| {
        if from == node(2) {
            *message.broadcast.last_mut().unwrap() ^= 1;
        }
        true
    });
    let expected = Abort::one(Some(node(2)), Fault::BadBroadcastSignature);
    assert_eq!(results[&node(1)].as_ref().unwrap_err(), &expected);
}

#[test]
fn other_schemes_and_shares_are_refused() {
    let mut fx = fixture(Scheme::Model, (2, 3), &[1, 2], 1, 7);
    let made = fx.presign(start_batch);
    let presignature = made.into_values().next().unwrap().remove(0);
    assert_eq!(*presignature.set(), set(&[1, 2]));
    assert!(format!("{presignature:?}").contains("nonces: \"<redacted>\""));
    let wrong = presignature.answer(&Request::root(b"message"), &fx.shares[&node(2)]);
    assert_eq!(wrong, Err(SignFault::WrongShare));
    let mut header = fx.header.clone();
    header.scheme = Scheme::Ed25519;
    let roster = Arc::clone(&fx.rosters[&node(1)]);
    let refused = start_batch(header, &fx.shares[&node(1)], roster, &mut fx.rng);
    assert!(refused.is_err());
}

#[test]
fn a_treasury_key_answers_only_with_openings_which_the_view_covers() {
    use crate::presign::testkit::treasury;
    let mut fx = treasury(Scheme::Model, (2, 3), &[1, 2], 2, 8);
    let made = fx.presign(start_batch);
    let with = |openings| Request {
        openings,
        ..Request::root(b"message")
    };
    let mut answers = Vec::new();
    for (node, mut list) in made {
        let share = &fx.shares[&node];
        let refused = list.remove(0).answer(&with(None), share);
        assert_eq!(refused, Err(SignFault::NeedsBinding));
        let answer = list.remove(0).answer(&with(Some(&[1; 32])), share);
        answers.push((node, answer.unwrap()));
    }
    let combined = |openings| combine(fx.public(), &fx.header.set, &with(openings), &answers);
    assert!(combined(Some(&[1; 32])).is_ok());
    for other in [None, Some(&[2; 32])] {
        let fault = combined(other).unwrap_err();
        assert_eq!(fault.reason, CombineReason::NotOfView);
    }
}

#[test]
fn a_tweak_moves_the_key() {
    let mut tweak = [0; 32];
    tweak[31] = 5;
    let request = Request {
        tweak: &tweak,
        ..Request::root(b"message")
    };
    let mut fx = fixture(Scheme::Model, (2, 3), &[1, 3], 1, 9);
    let made = fx.presign(start_batch).into_iter();
    let made = made.map(|(node, mut list)| {
        let answer = list.remove(0).answer(&request, &fx.shares[&node]);
        (node, answer.unwrap())
    });
    let mut answers: Vec<_> = made.collect();
    let (key, set) = (fx.public(), &fx.header.set);
    let signature = combine(key, set, &request, &answers).unwrap();
    assert!(verify(&key.public_key, &tweak, b"message", &signature));
    assert!(!verify(
        &key.public_key,
        &ROOT_TWEAK,
        b"message",
        &signature
    ));
    assert!(!verify(
        &key.public_key,
        &[0xff; 32],
        b"message",
        &signature
    ));
    let fault = combine(key, set, &Request::root(b"message"), &answers);
    assert_eq!(fault.unwrap_err().reason, CombineReason::NotOfView);
    *answers[1].1.body.last_mut().unwrap() ^= 1;
    let fault = combine(key, set, &request, &answers);
    assert_eq!(
        fault,
        Err(CombineReason::WrongPartial.blames(vec![node(3)]))
    );
}
