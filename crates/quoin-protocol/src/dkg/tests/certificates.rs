//! Certificates of keys, and every way in which one can be wrong.

use super::super::for_scheme;
use super::super::{CertificateFault, deal_for_tests, verify_certificate};
use super::*;
use crate::share::KeyPublic;
use quoin_core::statement::Proof;
use quoin_core::{Certificate, ShareEpoch};

fn dealt(cluster: &Cluster) -> Certificate<KeyPublic> {
    let (_, certificate) =
        deal_for_tests(&cluster.params, &cluster.identities, &mut rng(4)).unwrap();
    certificate
}

/// A certificate of an edited record, signed by everyone.
fn edited(cluster: &Cluster, edit: impl FnOnce(&mut KeyPublic)) -> Certificate<KeyPublic> {
    let mut public = dealt(cluster).unverified().clone();
    edit(&mut public);
    let mut certificate = Certificate::unsigned(public);
    for identity in cluster.identities.values() {
        certificate.endorse(identity);
    }
    certificate
}

#[track_caller]
fn assert_refused(cluster: &Cluster, fault: CertificateFault, edit: impl FnOnce(&mut KeyPublic)) {
    let certificate = edited(cluster, edit);
    assert_eq!(verify_certificate(&certificate, &cluster.nodes), Err(fault));
}

#[test]
fn a_certificate_needs_exactly_the_signature_of_each_node() {
    let cluster = Cluster::new(Scheme::Ecdsa, 2, 3);
    let whole = dealt(&cluster);
    assert_eq!(verify_certificate(&whole, &cluster.nodes), Ok(()));

    let count = |found, expected| Err(CertificateFault::WrongCount { found, expected });
    let mut short = Certificate::unsigned(whole.unverified().clone());
    short.endorse(&cluster.identities[&node(1)]);
    short.endorse(&cluster.identities[&node(3)]);
    assert_eq!(verify_certificate(&short, &cluster.nodes), count(2, 3));

    let stranger = SigningIdentity::generate(&mut rng(8));
    let mut long = whole.clone();
    long.endorse(&stranger);
    assert_eq!(verify_certificate(&long, &cluster.nodes), count(4, 3));

    short.endorse(&stranger);
    let missing = Err(CertificateFault::NotEndorsed(node(2)));
    assert_eq!(verify_certificate(&short, &cluster.nodes), missing);

    let mut forged = whole.clone();
    let theirs = cluster.nodes[&node(2)].id();
    let mut endorsement = whole
        .endorsements()
        .iter()
        .find(|e| e.credential == theirs)
        .cloned();
    match &mut endorsement.as_mut().unwrap().proof {
        Proof::Signature(signature) => signature[0] ^= 1,
        Proof::Assertion(_) => panic!("a node signs with a key"),
    }
    forged.add(endorsement.unwrap());
    assert_eq!(verify_certificate(&forged, &cluster.nodes), missing);
}

#[test]
fn a_certificate_names_the_nodes_of_the_cluster_in_order() {
    let cluster = Cluster::new(Scheme::Ecdsa, 2, 3);
    let edits: [fn(&mut KeyPublic); 4] = [
        |p| p.public_shares.reverse(),
        |p| {
            p.public_shares.pop();
        },
        |p| p.public_shares[2].node = node(4),
        |p| p.public_shares[2] = p.public_shares[1].clone(),
    ];
    for edit in edits {
        assert_refused(&cluster, CertificateFault::WrongNodes, edit);
    }
}

#[test]
fn a_certificates_threshold_has_bounds() {
    let cluster = Cluster::new(Scheme::Ecdsa, 2, 3);
    for threshold in [0, 4, 255] {
        let fault = CertificateFault::WrongThreshold(threshold);
        assert_refused(&cluster, fault, |p| p.threshold = threshold);
    }
    let large = Cluster::new(Scheme::Ecdsa, 7, 9);
    assert_refused(&large, CertificateFault::WrongThreshold(8), |p| {
        p.threshold = 8
    });
}

#[test]
fn a_certificate_names_an_epoch_before_unless_it_is_of_a_birth() {
    let cluster = Cluster::new(Scheme::Ecdsa, 2, 3);
    let fault = CertificateFault::WrongPrevious;
    assert_refused(&cluster, fault, |p| p.previous = Some([1; 32]));
    assert_refused(&cluster, fault, |p| p.epoch = ShareEpoch(1));
    let later = edited(&cluster, |p| {
        p.epoch = ShareEpoch(1);
        p.previous = Some([1; 32]);
    });
    assert_eq!(verify_certificate(&later, &cluster.nodes), Ok(()));
}

#[test]
fn a_certificates_points_are_canonical() {
    for scheme in SCHEMES {
        let cluster = Cluster::new(scheme, 2, 3);
        for bad in [
            vec![],
            vec![0; 32],
            vec![0; 33],
            vec![0xff; 32],
            vec![0xff; 33],
        ] {
            // 32 zero bytes are a point of order four of edwards25519, and zero in the toy group.
            assert_refused(&cluster, CertificateFault::BadKey, |p| {
                p.public_key.clone_from(&bad)
            });
            assert_refused(&cluster, CertificateFault::BadShare(node(2)), |p| {
                p.public_shares[1].point.clone_from(&bad);
            });
        }
    }
}

#[test]
fn a_certificates_points_lie_on_one_polynomial() {
    for scheme in SCHEMES {
        for (threshold, size) in [(2, 3), (3, 5), (3, 3)] {
            let cluster = Cluster::new(scheme, threshold, size);
            let other: Vec<u8> = for_scheme!(
                scheme, G => G::encode_point(&G::generator()), unreachable!()
            );
            for share in 0..usize::from(size) {
                let certificate = edited(&cluster, |p| {
                    p.public_shares[share].point.clone_from(&other);
                });
                let found = verify_certificate(&certificate, &cluster.nodes);
                assert!(matches!(found, Err(CertificateFault::NotOnPolynomial(_))));
            }
            let fault = CertificateFault::NotOnPolynomial(node(1));
            assert_refused(&cluster, fault, |p| p.public_key.clone_from(&other));
        }
        // The shares of a polynomial of a higher degree than the threshold says.
        let cluster = Cluster::new(scheme, 3, 5);
        let fault = CertificateFault::NotOnPolynomial(node(1));
        assert_refused(&cluster, fault, |p| p.threshold = 2);
    }
}

#[test]
fn a_fault_says_what_is_wrong_in_plain_words() {
    let fault = CertificateFault::NotOnPolynomial(node(3));
    assert_eq!(
        fault.to_string(),
        "public share of node `3` does not belong to the key"
    );
}
