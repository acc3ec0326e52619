//! The dispatch, and the checks of a header that all schemes share.

use super::testkit::{Fixture, fixture, key_share, node, set, treasury};
use super::*;
use crate::abort::Fault;
use quoin_core::{
    BatchHash, CharterNumber, ClusterId, CredentialId, KeyId, ShareEpoch, SigningIdentity, cbor,
};

const SCHEMES: [Scheme; 3] = [Scheme::Ed25519, Scheme::Taproot, Scheme::Model];

fn start(fx: &mut Fixture, header: BatchHeader, me: u8) -> Result<(), Abort> {
    let roster = Arc::clone(&fx.rosters[&node(me)]);
    start_batch(header, &fx.shares[&node(me)], roster, &mut fx.rng).map(drop)
}

#[test]
fn every_scheme_presigns_through_the_common_door() {
    for scheme in SCHEMES {
        let mut fx = fixture(scheme, (2, 3), &[1, 3], 3, 1);
        let made = fx.presign(start_batch);
        for index in 0..3u16 {
            let one = &made[&node(1)][usize::from(index)];
            let three = &made[&node(3)][usize::from(index)];
            assert_eq!(one.id(), three.id());
            assert_eq!(one.id().index, index);
            assert_ne!(one.id().batch, BatchHash([0; 32]));
            assert_eq!(*one.set(), set(&[1, 3]));
            let shown = format!(
                "Presignature {{ id: {:?}, set: {:?}, .. }}",
                one.id(),
                one.set()
            );
            assert_eq!(format!("{one:?}"), shown);
        }
    }
}

#[test]
fn ecdsa_presigns_through_the_common_door() {
    let mut fx = fixture(Scheme::Ecdsa, (2, 3), &[1, 2], 64, 1);
    let made = fx.presign(start_batch);
    for (one, two) in made[&node(1)].iter().zip(&made[&node(2)]) {
        assert_eq!(one.id(), two.id());
        assert_eq!(*one.set(), set(&[1, 2]));
        assert!(matches!(one, Presignature::Ecdsa(_)));
    }
    assert_eq!(made[&node(1)].len(), 64);
}

#[test]
fn rounds_say_what_they_wait_for() {
    let mut fx = fixture(Scheme::Model, (3, 5), &[1, 3, 4], 1, 2);
    let started = fx.start(start_batch);
    let (round, outbox) = &started[&node(3)];
    assert_eq!(round.number(), 1);
    assert_eq!(round.awaits(), vec![node(1), node(4)]);
    assert!(!round.is_secret_dependent());
    assert!(outbox.keys().copied().eq([node(1), node(4)]));
}

#[test]
fn a_header_that_differs_from_our_own_state_is_refused() {
    type Change = fn(&mut BatchHeader);
    let changes: [(&str, Change); 12] = [
        ("cluster", |h| h.cluster = ClusterId([9; 32])),
        ("key", |h| h.key = KeyId([9; 16])),
        ("scheme", |h| {
            h.scheme = match h.scheme {
                Scheme::Ed25519 => Scheme::Taproot,
                _ => Scheme::Ed25519,
            };
        }),
        ("public key", |h| h.public_key[9] ^= 1),
        ("epoch", |h| h.epoch = ShareEpoch(2)),
        ("shares", |h| h.shares_hash[0] ^= 1),
        ("credential", |h| h.credentials[1] = CredentialId([0; 16])),
        ("fewer credentials", |h| h.credentials.truncate(1)),
        ("order of credentials", |h| h.credentials.reverse()),
        ("boot", |h| h.boots[1].node = node(2)),
        ("fewer boots", |h| h.boots.truncate(1)),
        ("proposer", |h| h.batch.proposer.node = node(2)),
    ];
    for scheme in SCHEMES {
        let mut fx = fixture(scheme, (2, 3), &[1, 3], 1, 3);
        for (name, change) in changes {
            let mut header = fx.header.clone();
            change(&mut header);
            let expected = Err(Abort::one(None, Fault::HeaderDiffers));
            assert_eq!(start(&mut fx, header, 1), expected, "{scheme:?}: {name}");
        }
    }
}

#[test]
fn sizes_and_sets_out_of_bounds_are_refused() {
    for scheme in SCHEMES {
        let mut fx = fixture(scheme, (2, 3), &[1, 3], 1, 4);
        for size in [0, 1025] {
            let mut header = fx.header.clone();
            header.size = size;
            let expected = Err(Abort::one(None, Fault::WrongBatchSize));
            assert_eq!(start(&mut fx, header, 1), expected, "{scheme:?}: {size}");
        }
        let outsider = Err(Abort::one(None, Fault::WrongParticipants));
        let header = fx.header.clone();
        assert_eq!(start(&mut fx, header, 2), outsider, "{scheme:?}");
        let mut larger = fixture(scheme, (2, 3), &[1, 2, 3], 1, 4);
        let header = larger.header.clone();
        assert_eq!(start(&mut larger, header, 1), outsider, "{scheme:?}");
    }
}

#[test]
fn a_share_of_another_node_or_an_identity_that_is_not_ours_is_refused() {
    let mut fx = fixture(Scheme::Model, (2, 3), &[1, 3], 1, 5);
    let roster = Arc::clone(&fx.rosters[&node(1)]);
    let refused = start_batch(fx.header.clone(), &fx.shares[&node(3)], roster, &mut fx.rng);
    let expected = Abort::one(None, Fault::WrongParticipants);
    assert_eq!(refused.map(drop), Err(expected));

    let mut roster = (*fx.rosters[&node(1)]).clone();
    roster.identity = Arc::new(SigningIdentity::generate(&mut fx.rng));
    let refused = start_batch(
        fx.header.clone(),
        &fx.shares[&node(1)],
        Arc::new(roster),
        &mut fx.rng,
    );
    let expected = Abort::one(None, Fault::HeaderDiffers);
    assert_eq!(refused.map(drop), Err(expected));
}

#[test]
fn a_share_that_is_not_of_its_public_share_is_refused() {
    for scheme in SCHEMES {
        let mut fx = fixture(scheme, (2, 3), &[1, 3], 1, 6);
        let other = *fx.shares[&node(2)].secret.expose();
        let wrong = key_share(fx.public(), 1, &other);
        fx.shares.insert(node(1), wrong);
        let header = fx.header.clone();
        let expected = Err(Abort::one(None, Fault::WrongShare));
        assert_eq!(start(&mut fx, header, 1), expected, "{scheme:?}");
    }
}

#[test]
fn public_shares_that_do_not_add_up_to_the_key_are_refused() {
    for scheme in SCHEMES {
        let mut fx = fixture(scheme, (2, 3), &[1, 3], 1, 7);
        let mut public = fx.public().clone();
        public.public_shares[2].point = public.public_shares[1].point.clone();
        let own = *fx.shares[&node(1)].secret.expose();
        fx.shares.insert(node(1), key_share(&public, 1, &own));
        let mut header = fx.header.clone();
        header.shares_hash = public.shares_hash();
        let expected = Err(Abort::one(None, Fault::WrongKeySum));
        assert_eq!(start(&mut fx, header, 1), expected, "{scheme:?}");
    }
}

#[test]
fn the_transcript_is_bound_to_every_field_of_the_header() {
    let ids = |change: fn(&mut BatchHeader)| {
        let mut fx = fixture(Scheme::Model, (2, 3), &[1, 3], 1, 8);
        change(&mut fx.header);
        (
            fx.presign(start_batch)[&node(1)][0].id(),
            cbor::encode(&fx.header),
        )
    };
    let (plain, header) = ids(|_| {});
    for (other, encoded) in [
        ids(|h| h.charter = CharterNumber(1)),
        ids(|h| h.batch.counter = 2),
        ids(|h| h.boots[1].generation.0 += 1),
    ] {
        assert_ne!(plain.batch, other.batch);
        assert_ne!(header, encoded);
    }
}

#[test]
fn the_profile_is_the_one_that_the_purpose_demands() {
    use crate::batch::Profile;
    for scheme in [
        Scheme::Ed25519,
        Scheme::Taproot,
        Scheme::Model,
        Scheme::Ecdsa,
    ] {
        for (mut fx, wrong) in [
            (fixture(scheme, (2, 3), &[1, 3], 64, 9), Profile::Treasury),
            (treasury(scheme, (2, 3), &[1, 3], 64, 9), Profile::Normal),
        ] {
            let mut header = fx.header.clone();
            header.profile = wrong;
            let expected = Err(Abort::one(None, Fault::UnsupportedProfile));
            assert_eq!(start(&mut fx, header, 1), expected, "{scheme:?}");
        }
    }
}
