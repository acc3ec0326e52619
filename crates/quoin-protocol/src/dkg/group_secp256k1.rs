//! secp256k1, for ECDSA and Taproot keys alike.
//!
//! A key keeps its true parity here; BIP-340 negates at use, in one place elsewhere.

use super::group::{Group, sealed::Sealed};
use k256::elliptic_curve::bigint::U512;
use k256::elliptic_curve::group::Group as _;
use k256::elliptic_curve::ops::{MulByGenerator, Reduce};
use k256::elliptic_curve::sec1::{FromEncodedPoint, ToEncodedPoint};
use k256::elliptic_curve::{Field, PrimeField};
use k256::{AffinePoint, EncodedPoint, ProjectivePoint, Scalar};
use zeroize::{Zeroize, Zeroizing};

/// The group of secp256k1: scalars big-endian, points 33 bytes SEC1 compressed.
#[derive(Clone, Copy, Debug)]
pub struct Secp256k1;

impl Sealed for Secp256k1 {}

impl Group for Secp256k1 {
    type Scalar = Scalar;
    type Point = ProjectivePoint;

    const POINT_BYTES: usize = 33;

    fn generator() -> ProjectivePoint {
        ProjectivePoint::GENERATOR
    }

    fn generate(scalar: &Scalar) -> ProjectivePoint {
        ProjectivePoint::mul_by_generator(scalar)
    }

    fn identity() -> ProjectivePoint {
        ProjectivePoint::IDENTITY
    }

    fn reduce_wide(bytes: &[u8; 64]) -> Scalar {
        <Scalar as Reduce<U512>>::reduce(U512::from_be_slice(bytes))
    }

    fn invert(scalar: &Scalar) -> Option<Scalar> {
        Field::invert(scalar).into()
    }

    fn encode_scalar(scalar: &Scalar) -> Zeroizing<[u8; 32]> {
        let mut encoded = scalar.to_bytes();
        let bytes = Zeroizing::new(encoded.into());
        (*encoded).zeroize();
        bytes
    }

    fn decode_scalar(bytes: &[u8; 32]) -> Option<Scalar> {
        Scalar::from_repr((*bytes).into()).into()
    }

    fn encode_point(point: &ProjectivePoint) -> Vec<u8> {
        point.to_affine().to_encoded_point(true).as_bytes().to_vec()
    }

    fn decode_point(bytes: &[u8]) -> Option<ProjectivePoint> {
        if bytes.len() != Self::POINT_BYTES {
            return None;
        }
        let encoded = EncodedPoint::from_bytes(bytes).ok()?;
        let affine: Option<AffinePoint> = AffinePoint::from_encoded_point(&encoded).into();
        let point = ProjectivePoint::from(affine?);
        // SEC1 has a compact form of the same length; writing the point again refuses it.
        let canonical = !bool::from(point.is_identity()) && Self::encode_point(&point) == bytes;
        canonical.then_some(point)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_compressed_form_of_a_point_decodes() {
        let point = Secp256k1::generate(&Scalar::from(5u64));
        let bytes = Secp256k1::encode_point(&point);
        assert_eq!(Secp256k1::decode_point(&bytes), Some(point));
        let long = point.to_affine().to_encoded_point(false);
        let mut compact = bytes.clone();
        compact[0] = 5;
        let mut over = [0xff; 33];
        over[0] = 2;
        for (name, bad) in [
            ("uncompressed", long.as_bytes()),
            ("compact", &compact),
            ("identity", &[0]),
            ("padded identity", &[0; 33]),
            ("x over the field", &over),
            ("short", &bytes[..32]),
        ] {
            assert!(Secp256k1::decode_point(bad).is_none(), "{name}");
        }
    }

    #[test]
    fn a_scalar_of_the_order_or_more_does_not_decode() {
        let order = hex::decode("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141")
            .unwrap();
        assert!(Secp256k1::decode_scalar(&order.try_into().unwrap()).is_none());
        assert!(Secp256k1::decode_scalar(&[0xff; 32]).is_none());
        let last = Scalar::ZERO - Scalar::ONE;
        assert_eq!(
            Secp256k1::decode_scalar(&Secp256k1::encode_scalar(&last)),
            Some(last)
        );
    }
}
