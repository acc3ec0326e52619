//! The header: a signer refuses every batch that its own share and roster would not name.

use super::malice::trio;
use super::*;
use crate::Class;
use crate::batch::{BatchHeader, Profile};
use crate::ecdsa::guard::Guard;
use crate::ecdsa::params::{Production, Toy};
use crate::ecdsa::start_batch;
use quoin_core::{
    ClusterId, CredentialId, KeyId, Lane, Scheme, SecretBytes, ShareEpoch, SignerSet,
};
use std::sync::Arc;

/// Starts a batch at signer 2 with a changed header.
fn started(change: impl Fn(&mut BatchHeader)) -> Result<(), crate::Abort> {
    let group = trio();
    let mut header = group.header(4);
    change(&mut header);
    let me = node(2);
    let roster = group.rosters[&me].clone();
    let started = start_batch::<Toy>(header, &group.shares[&me], roster, &mut group.entropy(me));
    started.map(drop)
}

fn refuses(change: impl Fn(&mut BatchHeader)) -> Fault {
    let abort = started(change).expect_err("the header must be refused");
    assert_eq!(abort.faults.len(), 1);
    abort.faults[0].1
}

#[test]
fn a_header_that_differs_in_any_known_field_is_refused() {
    type Change = Box<dyn Fn(&mut BatchHeader)>;
    let changes: [(&str, Change); 11] = [
        ("cluster", Box::new(|h| h.cluster = ClusterId([9; 32]))),
        ("key", Box::new(|h| h.key = KeyId([9; 16]))),
        ("scheme", Box::new(|h| h.scheme = Scheme::Taproot)),
        ("public key", Box::new(|h| h.public_key[0] ^= 1)),
        ("key length", Box::new(|h| h.public_key.truncate(32))),
        ("epoch", Box::new(|h| h.epoch = ShareEpoch(1))),
        ("shares", Box::new(|h| h.shares_hash[0] ^= 1)),
        (
            "credential",
            Box::new(|h| h.credentials[0] = CredentialId([9; 16])),
        ),
        ("credentials", Box::new(|h| h.credentials.truncate(2))),
        ("boots", Box::new(|h| h.boots.swap(0, 1))),
        ("proposer", Box::new(|h| h.batch.proposer.node = node(3))),
    ];
    for (name, change) in changes {
        assert_eq!(refuses(&change), Fault::HeaderDiffers, "{name}");
        let passed = Guard::Header.without(|| started(&change));
        // A key that is not the certified one meets a second check.
        assert_eq!(
            passed.is_err(),
            name.contains("public key") || name.contains("length")
        );
    }
}

#[test]
fn a_signer_set_of_another_size_or_without_us_is_refused() {
    for indices in [&[2, 5][..], &[1, 2, 3, 5], &[1, 3, 5]] {
        // Everything else in the header fits the set.
        let mut other = trio();
        let set = indices.iter().map(|i| node(*i)).collect();
        other.set = SignerSet::from_ascending(set).unwrap();
        let header = other.header(4);
        let fault = refuses(|h| *h = header.clone());
        assert_eq!(fault, Fault::HeaderDiffers, "{indices:?}");
        // Without the guard a fourth signer, with whom split views are fatal, is let in; fewer than
        // three have no interpolation of the key, and without us there is no coefficient.
        let passed = Guard::SignerSet.without(|| started(|h| *h = header.clone()));
        assert_eq!(passed.is_ok(), indices.len() == 4, "{indices:?}");
    }
}

#[test]
fn a_node_whose_identity_is_not_the_rosters_does_not_start() {
    let group = trio();
    let me = node(2);
    let mut roster = (*group.rosters[&me]).clone();
    roster.identity = group.rosters[&node(1)].identity.clone();
    let started = start_batch::<Toy>(
        group.header(4),
        &group.shares[&me],
        Arc::new(roster),
        &mut group.entropy(me),
    );
    let abort = started.err().unwrap();
    assert_eq!(abort.faults, [(None, Fault::HeaderDiffers)]);
}

#[test]
fn a_treasury_batch_of_a_trading_key_is_refused() {
    let fault = refuses(|h| h.profile = Profile::Treasury);
    assert_eq!(fault, Fault::UnsupportedProfile);
}

#[test]
fn batch_sizes_that_are_not_allowed_are_refused() {
    for size in [0, 3, 5, 1028, u16::MAX] {
        assert_eq!(refuses(|h| h.size = size), Fault::WrongBatchSize);
    }
    let group = trio();
    let me = node(2);
    let small = start_batch::<Production>(
        group.header(4),
        &group.shares[&me],
        group.rosters[&me].clone(),
        &mut group.entropy(me),
    );
    let abort = small.err().unwrap();
    assert_eq!(abort.faults, [(None, Fault::WrongBatchSize)]);
}

#[test]
fn a_share_that_is_not_the_certified_one_is_refused() {
    let mut group = trio();
    let me = node(2);
    let header = group.header(4);
    let roster = group.rosters[&me].clone();
    for bytes in [[7u8; 32], [0xff; 32], [0; 32]] {
        let share = group.shares.get_mut(&me).unwrap();
        share.secret = SecretBytes::take(&mut bytes.to_owned());
        let mut entropy = group.entropy(me);
        let share = &group.shares[&me];
        let mut start =
            || start_batch::<Toy>(header.clone(), share, roster.clone(), &mut entropy).map(drop);
        let abort = start().err().unwrap();
        assert_eq!(abort.faults, [(None, Fault::WrongShare)]);
        // Bytes that are no scalar have no share to go on with.
        let passed = Guard::CertifiedShare.without(start);
        assert_eq!(passed.is_ok(), bytes != [0xff; 32]);
    }
}

#[test]
fn every_field_of_the_header_changes_the_context() {
    // Lane, boot, batch id and charter are the node's to judge; two signers that disagree on one
    // never accept each other's broadcasts. A proposer can bring that about, also with a size that
    // gives the messages another length, so neither blames the other.
    let group = trio();
    let changes: [fn(&mut BatchHeader); 5] = [
        |h| h.size = 8,
        |h| h.boots[0].lane = Lane(1),
        |h| h.boots[1].generation.0 += 1,
        |h| h.batch.counter += 1,
        |h| h.charter.0 += 1,
    ];
    for change in changes {
        let mut other = group.header(4);
        change(&mut other);
        let mut parties = group.start::<Toy>(&group.header(4)).unwrap();
        let odd = group
            .start::<Toy>(&other)
            .unwrap()
            .remove(&node(5))
            .unwrap();
        parties.insert(node(5), odd);
        let outcome = drive(parties, |_, _| {});
        assert_eq!(outcome.round, 1);
        for (at, other) in [(1, 5), (2, 5), (5, 1)] {
            assert!(
                outcome
                    .faults(at)
                    .contains(&(Some(other), Fault::ContextDiffers))
            );
            assert_eq!(outcome.aborts[&at].class(), Class::NotAttributable);
        }
    }
}

#[test]
fn only_the_rounds_with_secret_dependent_checks_say_so() {
    let group = trio();
    let mut parties = group.start::<Toy>(&group.header(4)).unwrap();
    let mut seen = Vec::new();
    while let Some((_, party)) = parties.iter().next() {
        assert_eq!(party.round.awaits(), [node(2), node(5)]);
        seen.push((party.round.number(), party.round.is_secret_dependent()));
        let mut inboxes = deliver(&mut parties);
        let mut next = BTreeMap::new();
        for (node, mut party) in parties {
            let inbox = inboxes.remove(&node).unwrap();
            if let Advance::Next(round, outbox) =
                party.round.finish(inbox, &mut party.entropy).unwrap()
            {
                next.insert(
                    node,
                    Party {
                        round,
                        outbox,
                        ..party
                    },
                );
            }
        }
        parties = next;
    }
    assert_eq!(seen, [(1, false), (2, true), (3, true), (4, false)]);
}
