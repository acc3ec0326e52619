//! Backups of every scheme, and every way in which a header, a part or a set of parts is wrong.

use super::*;
use crate::dkg::guard::Guard;
use crate::dkg::tests::assert_guarded;
use crate::dkg::{DkgParams, deal_for_tests, verify_certificate};
use proptest::prelude::*;
use quoin_core::hash::tagged;
use quoin_core::{
    CeremonyId, Certificate, CharterNumber, ClusterId, KeyId, KeyOrigin, Purpose, Scheme,
    SigningIdentity,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use std::sync::Arc;

const SCHEMES: [Scheme; 4] = [
    Scheme::Ecdsa,
    Scheme::Taproot,
    Scheme::Ed25519,
    Scheme::Model,
];

fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

fn node(index: u8) -> NodeIndex {
    NodeIndex::new(index).unwrap()
}

fn identities(size: u8) -> BTreeMap<NodeIndex, Arc<SigningIdentity>> {
    let identity = |i| SigningIdentity::from_seed(&SecretBytes::take(&mut [i; 32]));
    (1..=size)
        .map(|i| (node(i), Arc::new(identity(i))))
        .collect()
}

/// Shares of a fresh key.
fn dealt(scheme: Scheme, threshold: u8, size: u8, seed: u64) -> Vec<KeyShare> {
    let params = DkgParams {
        cluster: ClusterId([1; 32]),
        charter: CharterNumber(2),
        ceremony: CeremonyId([3; 16]),
        key: KeyId([4; 16]),
        name: "desk".parse().unwrap(),
        scheme,
        purpose: Purpose::Trading,
        threshold,
        boots: Vec::new(),
    };
    let dealt = deal_for_tests(&params, &identities(size), &mut rng(seed)).unwrap();
    dealt.0.into_values().collect()
}

fn share(scheme: Scheme) -> KeyShare {
    dealt(scheme, 2, 3, 9).swap_remove(1)
}

fn copy(share: &KeyShare) -> KeyShare {
    KeyShare {
        public: share.public.clone(),
        node: share.node,
        secret: share.secret.duplicate_secret(),
    }
}

/// These parts, by index.
fn pick(parts: &[SecretBytes<32>], indices: &[u8]) -> BTreeMap<u8, SecretBytes<32>> {
    let part = |i: u8| parts[usize::from(i) - 1].duplicate_secret();
    indices.iter().map(|i| (*i, part(*i))).collect()
}

/// How a recovery ends: the share's bytes, or the fault.
fn recovered(
    header: &BackupHeader,
    parts: &BTreeMap<u8, SecretBytes<32>>,
) -> Result<[u8; 32], BackupFault> {
    recover(header, parts).map(|share| *share.secret.expose())
}

#[test]
fn any_threshold_of_parts_recovers_the_share_and_each_proves_itself() {
    for scheme in SCHEMES {
        let share = share(scheme);
        for (threshold, count) in [(1, 1), (1, 3), (2, 3), (3, 5), (5, 5), (15, 15)] {
            let (header, parts) = split(&share, threshold, count, &mut rng(1)).unwrap();
            assert_eq!(parts.len(), usize::from(count));
            for (index, part) in (1..).zip(&parts) {
                assert_eq!(check_part(&header, index, part), Ok(()));
            }
            let last: Vec<u8> = (count - threshold + 1..=count).collect();
            for indices in [
                (1..=threshold).collect(),
                last,
                (1..=count).collect::<Vec<u8>>(),
            ] {
                let back = recover(&header, &pick(&parts, &indices)).unwrap();
                assert_eq!(back.secret.expose(), share.secret.expose());
                assert_eq!((back.node, &back.public), (share.node, &share.public));
            }
        }
    }
}

#[test]
fn fewer_parts_than_the_threshold_recover_nothing() {
    for scheme in SCHEMES {
        let share = share(scheme);
        let (header, parts) = split(&share, 3, 5, &mut rng(1)).unwrap();
        let few = pick(&parts, &[2, 5]);
        let refused = Err(BackupFault::TooFew {
            found: 2,
            needed: 3,
        });
        assert_guarded(Guard::EnoughParts, &refused, || recovered(&header, &few));
        // Nor would they give the share if nobody counted them.
        let wrong = Err(BackupFault::WrongShare(node(2)));
        Guard::EnoughParts.without(|| assert_eq!(recovered(&header, &few), wrong));
    }
}

#[test]
fn two_backups_of_one_share_have_nothing_in_common() {
    let share = share(Scheme::Ecdsa);
    let (first, parts) = split(&share, 2, 3, &mut rng(1)).unwrap();
    let (second, _) = split(&share, 2, 3, &mut rng(2)).unwrap();
    for (index, part) in (1..).zip(&parts) {
        let refused = Err(BackupFault::BadPart(index));
        assert_eq!(check_part(&second, index, part), refused);
    }
    assert_eq!(first.commitments[0], second.commitments[0]);
    assert_ne!(first.commitments[1], second.commitments[1]);
}

#[test]
fn a_backup_has_bounds() {
    let share = share(Scheme::Model);
    for (threshold, parts) in [(0, 0), (0, 3), (4, 3), (1, 16), (16, 16), (255, 255)] {
        let refused = Some(BackupFault::WrongSize { threshold, parts });
        let attempt = || split(&share, threshold, parts, &mut rng(1)).err();
        assert_eq!(attempt(), refused);
    }
    let (header, _) = split(&share, 2, 3, &mut rng(1)).unwrap();
    for (threshold, parts) in [(2, 1), (2, 16)] {
        let refused = Err(BackupFault::WrongSize { threshold, parts });
        assert_guarded(Guard::BackupSize, &refused, || {
            let mut header = header.clone();
            (header.threshold, header.parts) = (threshold, parts);
            header.check()
        });
    }
}

#[test]
fn only_the_certified_share_is_backed_up() {
    for scheme in SCHEMES {
        let mut other = share(scheme);
        other.secret = dealt(scheme, 2, 3, 10).swap_remove(0).secret;
        let refused = Some(BackupFault::WrongShare(node(2)));
        assert_guarded(Guard::BackupShare, &refused, || {
            split(&other, 2, 3, &mut rng(1)).err()
        });
    }
}

#[test]
fn a_header_belongs_to_the_share_that_its_record_names() {
    for scheme in SCHEMES {
        let share = share(scheme);
        let (header, parts) = split(&share, 2, 3, &mut rng(1)).unwrap();
        let wrong = Err(BackupFault::WrongCommitment(node(2)));
        // Another share's backup under this record.
        let (other, _) = split(&dealt(scheme, 2, 3, 10)[1], 2, 3, &mut rng(1)).unwrap();
        let check = |edit: &dyn Fn(&mut BackupHeader)| {
            let mut header = header.clone();
            edit(&mut header);
            header.check()
        };
        assert_guarded(Guard::BackupConstant, &wrong, || {
            check(&|h| h.commitments.clone_from(&other.commitments))
        });
        assert_guarded(Guard::BackupDegree, &wrong, || {
            check(&|h| {
                h.commitments.pop();
            })
        });
        assert_guarded(Guard::BackupDegree, &wrong, || {
            check(&|h| h.commitments.push(h.commitments[1].clone()))
        });
        for bad in [vec![], vec![0; 32], vec![0; 33], vec![0xff; 33]] {
            let bad = |h: &mut BackupHeader| h.commitments[1] = bad.clone().into();
            assert_eq!(check(&bad), wrong);
        }
        let elsewhere = Err(BackupFault::WrongCommitment(node(3)));
        assert_eq!(check(&|h| h.node = node(3)), elsewhere);
        let nowhere = Err(BackupFault::WrongCommitment(node(9)));
        assert_eq!(check(&|h| h.node = node(9)), nowhere);
        // No function takes such a header.
        let mut spoilt = header.clone();
        spoilt.node = node(3);
        assert_eq!(check_part(&spoilt, 1, &parts[0]), elsewhere);
        assert_eq!(
            recover(&spoilt, &pick(&parts, &[1, 2])).err(),
            elsewhere.err()
        );
        assert_eq!(
            BackupHeader::from_bytes(&spoilt.to_bytes()).err(),
            elsewhere.err()
        );
    }
}

#[test]
fn a_part_is_the_one_with_its_index() {
    for scheme in SCHEMES {
        let share = share(scheme);
        let (header, parts) = split(&share, 2, 3, &mut rng(1)).unwrap();
        let refused = Err(BackupFault::BadPart(1));
        assert_guarded(Guard::PartOnPolynomial, &refused, || {
            check_part(&header, 1, &parts[1])
        });
        let not_canonical = SecretBytes::take(&mut [0xff; 32]);
        assert_eq!(check_part(&header, 1, &not_canonical), refused);
        for index in [0, 4, 16, 255] {
            let none = Err(BackupFault::NoSuchPart(index));
            assert_eq!(check_part(&header, index, &parts[0]), none);
        }
        let none = Err(BackupFault::NoSuchPart(4));
        assert_guarded(Guard::PartIndex, &none, || {
            check_part(&header, 4, &parts[0])
        });
        // A recovery says which part is bad, though others would be enough.
        let mut given = pick(&parts, &[1, 2]);
        given.insert(3, parts[0].duplicate_secret());
        let refused = Err(BackupFault::BadPart(3));
        assert_eq!(recovered(&header, &given), refused);
    }
}

#[test]
fn a_recovered_share_is_the_certified_one_or_nothing() {
    let share = share(Scheme::Ed25519);
    let (header, parts) = split(&share, 2, 3, &mut rng(1)).unwrap();
    let mut given = pick(&parts, &[1, 2]);
    given.insert(2, parts[2].duplicate_secret());
    let refused = Err(BackupFault::WrongShare(node(2)));
    // No set of checked parts gives another share; so the check of the parts is off here.
    Guard::PartOnPolynomial.without(|| {
        assert_guarded(Guard::RecoveredShare, &refused, || {
            recovered(&header, &given)
        });
    });
}

#[test]
fn a_header_has_one_spelling() {
    let (header, _) = split(&share(Scheme::Ecdsa), 2, 3, &mut rng(1)).unwrap();
    let bytes = header.to_bytes();
    assert_eq!(BackupHeader::from_bytes(&bytes), Ok(header));
    let mut longer = bytes.clone();
    longer.push(0);
    for bad in [&longer[..], &bytes[1..], &[], &vec![0; 8193]] {
        assert_eq!(BackupHeader::from_bytes(bad), Err(BackupFault::Malformed));
    }
}

#[test]
fn the_largest_header_fits_its_limit() {
    let share = dealt(Scheme::Ecdsa, 7, 15, 9).swap_remove(0);
    let (header, _) = split(&share, 15, 15, &mut rng(1)).unwrap();
    let bytes = header.to_bytes();
    assert_eq!(
        BackupHeader::from_bytes(&bytes),
        Ok(header),
        "{}",
        bytes.len()
    );
}

fn whole(shares: &[KeyShare]) -> Result<[u8; 32], BackupFault> {
    dangerous_recover_key(shares).map(|key| *key.expose())
}

#[test]
fn a_threshold_of_shares_gives_the_whole_key_and_a_key_deals_again() {
    for scheme in SCHEMES {
        let shares = dealt(scheme, 3, 5, 9);
        let record = shares[0].public.clone();
        let key = dangerous_recover_key(&shares[1..4]).unwrap();
        let all = dangerous_recover_key(&shares).unwrap();
        assert_eq!(key.expose(), all.expose());
        let point = crate::dkg::public_point(scheme, &key);
        assert_eq!(point.as_ref(), Some(&record.public_key));

        let imported = dangerous_deal(params(scheme), &key, &mut rng(5)).unwrap();
        let public = imported[0].public.clone();
        assert_eq!(public.public_key, record.public_key);
        assert_eq!(
            (public.origin, public.previous),
            (KeyOrigin::Imported, None)
        );
        assert_eq!(public.chain_code, [8; 32]);
        assert!(
            imported
                .iter()
                .all(|s| s.matches_public() && s.public == public)
        );
        assert_eq!(whole(&imported[1..]), Ok(*key.expose()));
        let mut certificate = Certificate::unsigned(public);
        let identities = identities(3);
        identities.values().for_each(|i| certificate.endorse(i));
        let nodes = identities.iter().map(|(n, i)| (*n, i.public())).collect();
        assert_eq!(verify_certificate(&certificate, &nodes), Ok(()));
    }
}

#[test]
fn a_whole_key_needs_a_threshold_of_different_right_shares_of_one_record() {
    for scheme in SCHEMES {
        let shares = || dealt(scheme, 2, 3, 9);
        let few = Err(BackupFault::TooFew {
            found: 1,
            needed: 2,
        });
        assert_guarded(Guard::EnoughShares, &few, || whole(&shares()[..1]));
        let none = BackupFault::TooFew {
            found: 0,
            needed: 1,
        };
        assert_eq!(whole(&[]), Err(none));
        assert_guarded(
            Guard::DistinctShares,
            &Err(BackupFault::Duplicate(node(1))),
            || {
                let first = &shares()[0];
                whole(&[copy(first), copy(first)])
            },
        );
        assert_guarded(Guard::OneRecord, &Err(BackupFault::RecordsDiffer), || {
            let mut mixed = shares();
            mixed[1] = dealt(scheme, 2, 3, 10).swap_remove(1);
            whole(&mixed)
        });
        let spoilt = || {
            let mut spoilt = shares();
            spoilt[1].secret = spoilt[2].secret.duplicate_secret();
            whole(&spoilt)
        };
        let refused = Err(BackupFault::WrongShare(node(2)));
        assert_guarded(Guard::WholeShare, &refused, spoilt);
        // What shares of a wrong record give is not the key.
        let refused = Err(BackupFault::WrongKey);
        assert_guarded(Guard::RecoveredKey, &refused, || {
            let other = dealt(scheme, 2, 3, 10)[0].public.public_key.clone();
            let mut shares = shares();
            for share in &mut shares {
                share.public.public_key.clone_from(&other);
            }
            whole(&shares)
        });
    }
}

fn params(scheme: Scheme) -> ImportParams {
    ImportParams {
        cluster: ClusterId([1; 32]),
        charter: CharterNumber(2),
        ceremony: CeremonyId([6; 16]),
        key: KeyId([7; 16]),
        name: "cold".parse().unwrap(),
        scheme,
        purpose: Purpose::Treasury,
        threshold: 2,
        nodes: (1..=3).map(node).collect(),
        chain_code: [8; 32],
    }
}

#[test]
fn an_import_needs_a_key_and_holders_that_fit() {
    for scheme in SCHEMES {
        let key = dangerous_recover_key(&dealt(scheme, 2, 3, 9)).unwrap();
        let edits: [fn(&mut ImportParams); 5] = [
            |p| p.threshold = 0,
            |p| p.threshold = 4,
            |p| p.nodes.clear(),
            |p| p.nodes.reverse(),
            |p| p.nodes[1] = p.nodes[0],
        ];
        for edit in edits {
            let mut params = params(scheme);
            edit(&mut params);
            let refused = Some(BackupFault::WrongHolders {
                threshold: params.threshold,
                nodes: params.nodes.len(),
            });
            let attempt = || dangerous_deal(params.clone(), &key, &mut rng(1)).err();
            assert_guarded(Guard::ImportFits, &refused, attempt);
        }
        let zero = SecretBytes::take(&mut [0; 32]);
        let refused = Some(BackupFault::BadSecret);
        assert_guarded(Guard::ImportNotZero, &refused, || {
            dangerous_deal(params(scheme), &zero, &mut rng(1)).err()
        });
        let over = SecretBytes::take(&mut [0xff; 32]);
        let found = dangerous_deal(params(scheme), &over, &mut rng(1)).err();
        assert_eq!(found, refused);
    }
}

#[test]
fn an_imported_record_names_what_was_imported() {
    let key = dangerous_recover_key(&dealt(Scheme::Ecdsa, 2, 3, 9)).unwrap();
    let deal = |edit: fn(&mut ImportParams)| {
        let mut params = params(Scheme::Ecdsa);
        edit(&mut params);
        let shares = dangerous_deal(params, &key, &mut rng(1)).unwrap();
        shares[0].public.transcript
    };
    assert_eq!(deal(|_| {}), deal(|_| {}));
    assert_ne!(deal(|_| {}), deal(|p| p.ceremony = CeremonyId([9; 16])));
    assert_ne!(deal(|_| {}), deal(|p| p.chain_code = [0; 32]));
}

#[test]
fn an_import_is_known_by_its_transcript_whatever_origin_it_claims() {
    let born = dealt(Scheme::Ecdsa, 2, 3, 9);
    assert!(!super::is_import(&born[0].public));
    let key = dangerous_recover_key(&born).unwrap();
    let shares = dangerous_deal(params(Scheme::Ecdsa), &key, &mut rng(1)).unwrap();
    let mut record = shares[0].public.clone();
    assert!(super::is_import(&record));
    record.origin = quoin_core::KeyOrigin::Born;
    assert!(super::is_import(&record));
    record.transcript[0] ^= 1;
    assert!(!super::is_import(&record));
}

#[test]
fn golden_header_and_import() {
    let mut found = Vec::new();
    for scheme in SCHEMES {
        let (header, _) = split(&share(scheme), 2, 3, &mut rng(1)).unwrap();
        found.push(hex::encode(tagged(tags::BACKUP, &[&header.to_bytes()])));
        let secret = SecretBytes::take(&mut {
            let mut one = [0; 32];
            one[if scheme == Scheme::Ed25519 { 0 } else { 31 }] = 1;
            one
        });
        let shares = dangerous_deal(params(scheme), &secret, &mut rng(1)).unwrap();
        found.push(hex::encode(shares[0].public.shares_hash()));
    }
    let golden = include_str!("golden.txt");
    assert_eq!(found, golden.lines().collect::<Vec<_>>());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_changed_header_or_part_never_gives_another_share(
        place in any::<prop::sample::Index>(), mask in 1u8.., of_header in any::<bool>(),
    ) {
        let share = share(Scheme::Ed25519);
        let (header, mut parts) = split(&share, 2, 3, &mut rng(1)).unwrap();
        let mut bytes = header.to_bytes();
        if of_header {
            let place = place.index(bytes.len());
            bytes[place] ^= mask;
        } else {
            let mut part = *parts[0].expose();
            part[place.index(32)] ^= mask;
            parts[0] = SecretBytes::take(&mut part);
        }
        let recovered = BackupHeader::from_bytes(&bytes)
            .and_then(|header| recover(&header, &pick(&parts, &[1, 2])));
        if let Ok(back) = recovered {
            prop_assert!(of_header && back.matches_public());
            prop_assert_eq!(back.secret.expose(), share.secret.expose());
        }
    }

    #[test]
    fn arbitrary_bytes_are_no_header(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(BackupHeader::from_bytes(&bytes).is_err());
    }
}
