//! Signers that run the protocol on other inputs than they should, and masks that must be fresh.

use super::malice::{pair, trio};
use super::*;
use crate::ecdsa::context::Session;
use crate::ecdsa::field::{SecretScalars, encode_points};
use crate::ecdsa::message::Product;
use crate::ecdsa::params::Toy;
use crate::ecdsa::rng::BatchRng;
use crate::ecdsa::rounds::one::{AwaitOffers, Nonces, begin, offer};
use crate::ecdsa::rvole::mask_behind;
use crate::round::{Inbox, Outbox};
use k256::{ProjectivePoint, Scalar};
use std::collections::BTreeSet;

/// Runs a batch in which one signer's state after round 1 was changed.
fn deviating(group: &Group, who: u8, change: impl Fn(&mut AwaitOffers<Toy>)) -> Outcome {
    let header = group.header(4);
    let mut parties = group.start::<Toy>(&header).unwrap();
    let (session, own) = Session::open::<Toy>(
        header,
        &group.shares[&node(who)],
        group.rosters[&node(who)].clone(),
    )
    .unwrap();
    let party = parties.get_mut(&node(who)).unwrap();
    let (mut round, outbox) = begin::<Toy>(session, own, &mut party.entropy);
    change(&mut round);
    party.round = round;
    party.outbox = outbox;
    drive(parties, |_, _| {})
}

#[test]
fn another_nonce_in_the_multiplication_than_in_the_opening_is_refused() {
    let outcome = deviating(&trio(), 5, |round| {
        let other = round.nonces.nonces.iter().map(|r| r + Scalar::ONE);
        round.nonces.nonces = SecretScalars::collect(4, other.collect::<Vec<_>>().into_iter());
    });
    assert_eq!(outcome.faults(1), [(Some(5), Fault::PointCheck)]);
    assert_eq!(outcome.faults(2), [(Some(5), Fault::PointCheck)]);
}

#[test]
fn a_wrong_key_share_used_everywhere_breaks_the_sum_of_the_key_points() {
    let wrong = |round: &mut AwaitOffers<Toy>| *round.nonces.weighted += Scalar::ONE;
    let outcome = deviating(&pair(), 3, wrong);
    assert_eq!(outcome.faults(1), [(Some(3), Fault::WrongKeySum)]);
    assert_eq!(outcome.aborts[&1].class(), crate::Class::Public);
    // Among three nobody can tell whose share it was.
    let outcome = deviating(&trio(), 5, wrong);
    assert_eq!(outcome.faults(1), [(None, Fault::WrongKeySum)]);
    assert_eq!(outcome.faults(2), [(None, Fault::WrongKeySum)]);
}

/// Runs a pair in which both signers commit honestly to the given nonces.
fn with_nonces(nonces: [(u8, [u64; 4]); 2]) -> Outcome {
    let group = pair();
    let header = group.header(4);
    let mut parties = group.start::<Toy>(&header).unwrap();
    for (who, values) in nonces {
        let who = node(who);
        let roster = group.rosters[&who].clone();
        let opened = Session::open::<Toy>(header.clone(), &group.shares[&who], roster);
        let (session, own) = opened.unwrap();
        let party = parties.get_mut(&who).unwrap();
        let secret = own.node_secret.expose();
        let mut rng = BatchRng::open(&mut party.entropy, secret, &session.ctx0);
        let mut drawn = Nonces::draw(4, own.weighted, &mut rng);
        // The last one is negated, so that two signers can choose opposite nonces.
        let [a, b, c, d] = values.map(Scalar::from);
        let values = if who == node(3) {
            [a, b, c, -d]
        } else {
            [a, b, c, d]
        };
        drawn.points = encode_points(&values.map(|r| ProjectivePoint::GENERATOR * r));
        drawn.nonces = SecretScalars::collect(4, values.into_iter());
        let (round, outbox) = offer::<Toy>(session, drawn, rng);
        party.round = round;
        party.outbox = outbox;
    }
    drive(parties, |_, _| {})
}

#[test]
fn equal_nonces_in_a_batch_are_refused() {
    let outcome = with_nonces([(1, [1, 2, 3, 4]), (3, [5, 6, 5, 7])]);
    assert_eq!(outcome.faults(1), [(Some(3), Fault::DuplicateNonce)]);
    // Sums that are equal although no signer repeats itself name nobody.
    let outcome = with_nonces([(1, [1, 2, 3, 4]), (3, [7, 6, 9, 8])]);
    assert_eq!(outcome.faults(1), [(None, Fault::DuplicateNonce)]);
    let outcome = with_nonces([(1, [1, 2, 3, 4]), (3, [50, 60, 70, 80])]);
    assert!(outcome.aborts.is_empty());
}

#[test]
fn nonces_that_cancel_are_refused() {
    let outcome = with_nonces([(1, [1, 2, 3, 4]), (3, [10, 20, 30, 4])]);
    assert_eq!(outcome.faults(1), [(None, Fault::IdentityNonce)]);
    assert_eq!(outcome.aborts[&1].class(), crate::Class::NotAttributable);
}

fn inboxes(outboxes: &BTreeMap<NodeIndex, Outbox>) -> BTreeMap<NodeIndex, Inbox> {
    let mut all: BTreeMap<NodeIndex, Inbox> = BTreeMap::new();
    for (from, outbox) in outboxes {
        for (to, message) in outbox {
            all.entry(*to).or_default().insert(*from, message.clone());
        }
    }
    all
}

#[test]
fn the_mask_of_eta_is_fresh_for_every_peer_and_presignature() {
    let group = trio();
    let header = group.header(4);
    let mut rounds = BTreeMap::new();
    let mut sent = BTreeMap::new();
    for me in group.set.iter() {
        let mut entropy = group.entropy(me);
        let roster = group.rosters[&me].clone();
        let opened = Session::open::<Toy>(header.clone(), &group.shares[&me], roster);
        let (session, own) = opened.unwrap();
        let (round, outbox) = begin::<Toy>(session, own, &mut entropy);
        rounds.insert(me, (round, entropy));
        sent.insert(me, outbox);
    }
    let mut delivered = inboxes(&sent);
    let mut trees = BTreeMap::new();
    for (me, (round, mut entropy)) in rounds {
        let (next, outbox) = round
            .advance(delivered.remove(&me).unwrap(), &mut entropy)
            .unwrap();
        trees.insert(me, (next, entropy));
        sent.insert(me, outbox);
    }
    let mut delivered = inboxes(&sent);
    let mut products = BTreeMap::new();
    for (me, (round, mut entropy)) in trees {
        let (next, outbox) = round
            .advance(delivered.remove(&me).unwrap(), &mut entropy)
            .unwrap();
        products.insert(me, next);
        sent.insert(me, outbox);
    }
    let mut seen = BTreeSet::new();
    for (alice, outbox) in &sent {
        for (bob, message) in outbox {
            let t2 = products[bob].peers[alice].rows_transcript;
            let inputs = products[alice].nonces.nonces.iter();
            let inputs = inputs.zip(products[alice].keys.iter());
            let all = Product::parse_all::<Toy>(&message.private);
            for ((product, (nonce, key)), b) in all.zip(inputs).zip(0u16..) {
                let mask = mask_behind(t2, b, &product.unwrap(), [nonce, key]);
                assert_ne!(mask, Scalar::ZERO);
                seen.insert(mask.to_bytes());
            }
        }
    }
    // Three signers, two peers each, four presignatures.
    assert_eq!(seen.len(), 3 * 2 * 4);
}
