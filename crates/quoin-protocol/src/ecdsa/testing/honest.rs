//! Honest runs: what they make verifies under two libraries.

use super::*;
use crate::ecdsa::params::{Production, Toy};
use k256::ecdsa::signature::hazmat::PrehashVerifier;
use k256::elliptic_curve::PrimeField;
use k256::{ProjectivePoint, Scalar};

const TWEAKS: [[u8; 32]; 2] = [[0; 32], [0x2a; 32]];

/// Verifies with the library that combined it; the combiner has used the other one.
fn verifies(group: &Group, tweak: &[u8; 32], digest: &[u8; 32], signature: &EcdsaSignature) {
    let key = k256::PublicKey::from_sec1_bytes(&group.public_key()).unwrap();
    let tweak = Scalar::from_repr((*tweak).into()).unwrap();
    let key = key.to_projective() + ProjectivePoint::GENERATOR * tweak;
    let key = k256::ecdsa::VerifyingKey::from_affine(key.to_affine()).unwrap();
    let parsed = k256::ecdsa::Signature::from_scalars(signature.r, signature.s).unwrap();
    assert!(parsed.normalize_s().is_none(), "s is low");
    key.verify_prehash(digest, &parsed).unwrap();
    let id = k256::ecdsa::RecoveryId::from_byte(signature.recovery_id).unwrap();
    let recovered = k256::ecdsa::VerifyingKey::recover_from_prehash(digest, &parsed, id).unwrap();
    assert_eq!(recovered, key);
}

fn batch_signs<P: Params>(group: &Group, size: u16) {
    let outcome = run::<P>(group, size, |_, _| {});
    assert_eq!(outcome.aborts.len(), 0, "{:?}", outcome.aborts);
    assert_eq!(outcome.round, 4);
    let mut columns: Vec<_> = outcome
        .presignatures
        .into_values()
        .map(Vec::into_iter)
        .collect();
    for index in 0..size {
        let row: Vec<_> = columns.iter_mut().map(|c| c.next().unwrap()).collect();
        assert!(row.iter().all(|p| p.id() == row[0].id()));
        assert_eq!(row[0].id().index, index);
        let tweak = &TWEAKS[usize::from(index % 2)];
        let digest = [index as u8 + 1; 32];
        let signature = sign(group, row, digest, tweak).unwrap();
        verifies(group, tweak, &digest, &signature);
    }
    assert!(columns.iter_mut().all(|c| c.next().is_none()));
}

#[test]
fn two_of_three_sign_with_every_presignature_of_a_batch() {
    for set in [[1, 2], [1, 3], [2, 3]] {
        batch_signs::<Toy>(&Group::new(9, 3, &set).unwrap(), 8);
    }
}

#[test]
fn three_of_five_sign_with_every_presignature_of_a_batch() {
    batch_signs::<Toy>(&Group::new(10, 5, &[1, 2, 5]).unwrap(), 8);
    batch_signs::<Toy>(&Group::new(11, 15, &[7, 14, 15]).unwrap(), 4);
}

#[test]
fn four_of_four_sign() {
    batch_signs::<Toy>(&Group::new(12, 4, &[1, 2, 3, 4]).unwrap(), 4);
}

#[test]
fn a_production_batch_of_two_signs() {
    batch_signs::<Production>(&Group::new(13, 3, &[1, 2]).unwrap(), 64);
}

#[test]
fn a_production_batch_of_three_signs() {
    batch_signs::<Production>(&Group::new(14, 3, &[1, 2, 3]).unwrap(), 64);
}
