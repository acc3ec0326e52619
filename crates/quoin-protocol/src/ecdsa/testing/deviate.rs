//! Signers that run the protocol on other inputs than they should, and masks that must be fresh.

use super::malice::{pair, trio};
use super::*;
use crate::ecdsa::context::Session;
use crate::ecdsa::field::{SecretScalars, encode_points};
use crate::ecdsa::guard::Guard;
use crate::ecdsa::message::Product;
use crate::ecdsa::params::Toy;
use crate::ecdsa::rng::BatchRng;
use crate::ecdsa::rounds::one::{AwaitOffers, Nonces, begin, offer};
use crate::ecdsa::rvole::mask_behind;
use crate::round::{Inbox, Outbox};
use k256::{ProjectivePoint, Scalar};
use std::collections::BTreeSet;

/// Runs a batch in which one signer's state after round 1 was changed.
pub(super) fn deviating(
    group: &Group,
    who: u8,
    change: impl Fn(&mut AwaitOffers<Toy>),
    tamper: impl FnMut(Place, &mut RoundMessage),
) -> Outcome {
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
    drive(parties, tamper)
}

#[test]
fn another_nonce_in_the_multiplication_than_in_the_opening_is_refused() {
    let attack = || {
        let change = |round: &mut AwaitOffers<Toy>| {
            let other = round.nonces.nonces.iter().map(|r| r + Scalar::ONE);
            round.nonces.nonces = SecretScalars::collect(4, other.collect::<Vec<_>>().into_iter());
        };
        deviating(&trio(), 5, change, |_, _| {})
    };
    let refused = [(Some(5), Fault::PointCheck)];
    assert_eq!(attack().faults(2), refused);
    // Without the guard the batch is confirmed, and none of its presignatures signs.
    let won = guarded(Guard::Points, 1, &refused, attack);
    let result = sign(&trio(), take(won, 0), [7; 32], &[0; 32]);
    assert_eq!(result, Err(CombineFault::DoesNotVerify));
}

#[test]
fn a_wrong_key_share_used_everywhere_breaks_the_sum_of_the_key_points() {
    let wrong = |round: &mut AwaitOffers<Toy>| *round.nonces.weighted += Scalar::ONE;
    let attack = || deviating(&pair(), 3, wrong, |_, _| {});
    assert_eq!(attack().aborts[&1].class(), crate::Class::Public);
    let refused = [(Some(3), Fault::WrongKeySum)];
    // Without the guard the batch is for another key.
    let won = guarded(Guard::KeySum, 1, &refused, attack);
    let result = sign(&pair(), take(won, 0), [7; 32], &[0; 32]);
    assert_eq!(result, Err(CombineFault::DoesNotVerify));
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
    for (nonces, culprit) in [
        ([5, 6, 5, 7], Some(3)),
        // Sums that are equal although no signer repeats itself name nobody.
        ([7, 6, 9, 8], None),
    ] {
        let attack = || with_nonces([(1, [1, 2, 3, 4]), (3, nonces)]);
        let refused = [(culprit, Fault::DuplicateNonce)];
        let won = guarded(Guard::DistinctNonces, 1, &refused, attack);
        assert!(won.presignatures.contains_key(&1));
    }
    let outcome = with_nonces([(1, [1, 2, 3, 4]), (3, [50, 60, 70, 80])]);
    assert!(outcome.aborts.is_empty());
}

#[test]
fn nonces_that_cancel_are_refused() {
    let attack = || with_nonces([(1, [1, 2, 3, 4]), (3, [10, 20, 30, 4])]);
    assert_eq!(attack().aborts[&1].class(), crate::Class::NotAttributable);
    let won = guarded(
        Guard::IdentityNonce,
        1,
        &[(None, Fault::IdentityNonce)],
        attack,
    );
    assert!(won.presignatures.contains_key(&1));
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

/// All masks of eta in a batch, by (Alice, Bob). After round 1 the state of `forked` goes on with
/// other randomness, as that of a cloned machine would.
fn masks(group: &Group, forked: Option<(u8, u8)>) -> BTreeMap<(u8, u8), Vec<[u8; 32]>> {
    let header = group.header(4);
    let mut rounds = BTreeMap::new();
    let mut sent = BTreeMap::new();
    for me in group.set.iter() {
        let mut entropy = group.entropy(me);
        let roster = group.rosters[&me].clone();
        let opened = Session::open::<Toy>(header.clone(), &group.shares[&me], roster);
        let (session, own) = opened.unwrap();
        let (mut round, outbox) = begin::<Toy>(session, own, &mut entropy);
        if let Some((who, seed)) = forked
            && me == node(who)
        {
            round.rng = BatchRng::open(&mut entropy, &[seed; 32], &[seed; 32]);
        }
        rounds.insert(me, (round, entropy));
        sent.insert(me, outbox);
    }
    let mut delivered = inboxes(&sent);
    let mut trees = BTreeMap::new();
    for (me, (round, mut entropy)) in rounds {
        let inbox = delivered.remove(&me).unwrap();
        let (next, outbox) = round.advance(inbox, &mut entropy).unwrap();
        trees.insert(me, (next, entropy));
        sent.insert(me, outbox);
    }
    let mut delivered = inboxes(&sent);
    let mut products = BTreeMap::new();
    for (me, (round, mut entropy)) in trees {
        let inbox = delivered.remove(&me).unwrap();
        let (next, outbox) = round.advance(inbox, &mut entropy).unwrap();
        products.insert(me, next);
        sent.insert(me, outbox);
    }
    let mut found = BTreeMap::new();
    for (alice, outbox) in &sent {
        for (bob, message) in outbox {
            let t2 = products[bob].peers[alice].rows_transcript;
            let inputs = products[alice].nonces.nonces.iter();
            let inputs = inputs.zip(products[alice].keys.iter());
            let all = Product::parse_all::<Toy>(&message.private);
            let all = all.zip(inputs).zip(0u16..);
            let all = all.map(|((product, (nonce, key)), b)| {
                let mask = mask_behind(t2, b, &product.unwrap(), [nonce, key]);
                assert_ne!(mask, Scalar::ZERO);
                mask.to_bytes().into()
            });
            found.insert((alice.get(), bob.get()), all.collect());
        }
    }
    found
}

#[test]
fn the_mask_of_eta_is_fresh_for_every_peer_and_presignature() {
    let found = masks(&trio(), None);
    let seen: BTreeSet<_> = found.values().flatten().collect();
    // Three signers, two peers each, four presignatures.
    assert_eq!(seen.len(), 3 * 2 * 4);
}

#[test]
fn forks_that_saw_other_transcripts_draw_other_masks() {
    // Signer 1 is the same machine twice; what signer 3 sends after round 1 differs.
    let fork = |seed| masks(&pair(), Some((3, seed)))[&(1, 3)].clone();
    // Equal transcripts give equal answers: a fork that sees the same says nothing new.
    assert_eq!(fork(1), fork(1));
    assert_ne!(fork(1), fork(2));
    // Without the guard two forks open two combinations of one mask: the share follows.
    let (one, two) = Guard::Rekeyed.without(|| (fork(1), fork(2)));
    assert_eq!(one, two);
}
