//! The prime-order subgroup of edwards25519.
//!
//! Decoding is strict (section 19.4): canonical encodings of torsion-free points only, so that no
//! verifier can disagree with another about a share. Scalars are plain integers modulo the order;
//! they are never clamped.

use super::group::{Group, sealed::Sealed};
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::{Identity, IsIdentity};
use zeroize::Zeroizing;

/// The prime-order subgroup of edwards25519: scalars little-endian, points 32 bytes.
#[derive(Clone, Copy, Debug)]
pub struct Ed25519;

impl Sealed for Ed25519 {}

impl Group for Ed25519 {
    type Scalar = Scalar;
    type Point = EdwardsPoint;

    const POINT_BYTES: usize = 32;

    fn generator() -> EdwardsPoint {
        curve25519_dalek::constants::ED25519_BASEPOINT_POINT
    }

    fn generate(scalar: &Scalar) -> EdwardsPoint {
        EdwardsPoint::mul_base(scalar)
    }

    fn identity() -> EdwardsPoint {
        EdwardsPoint::identity()
    }

    fn reduce_wide(bytes: &[u8; 64]) -> Scalar {
        Scalar::from_bytes_mod_order_wide(bytes)
    }

    fn invert(scalar: &Scalar) -> Option<Scalar> {
        (!Self::is_zero(scalar)).then(|| scalar.invert())
    }

    fn encode_scalar(scalar: &Scalar) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(scalar.to_bytes())
    }

    fn decode_scalar(bytes: &[u8; 32]) -> Option<Scalar> {
        Scalar::from_canonical_bytes(*bytes).into()
    }

    fn encode_point(point: &EdwardsPoint) -> Vec<u8> {
        point.compress().as_bytes().to_vec()
    }

    fn decode_point(bytes: &[u8]) -> Option<EdwardsPoint> {
        let compressed = CompressedEdwardsY::from_slice(bytes).ok()?;
        let point = compressed.decompress()?;
        // Writing the point again refuses y of the field's order or more, and x = 0 with a sign.
        let canonical = point.compress() == compressed;
        (canonical && !point.is_identity() && point.is_torsion_free()).then_some(point)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use curve25519_dalek::constants::EIGHT_TORSION;

    #[test]
    fn points_with_a_torsion_component_do_not_decode() {
        let point = Ed25519::generate(&Scalar::from(5u64));
        assert_eq!(
            Ed25519::decode_point(&Ed25519::encode_point(&point)),
            Some(point)
        );
        for torsion in &EIGHT_TORSION[1..] {
            assert!(Ed25519::decode_point(&Ed25519::encode_point(torsion)).is_none());
            let mixed = point + torsion;
            assert!(Ed25519::decode_point(&Ed25519::encode_point(&mixed)).is_none());
        }
    }

    #[test]
    fn second_spellings_and_the_identity_do_not_decode() {
        let mut identity = [0u8; 32];
        identity[0] = 1;
        let mut signed_identity = identity;
        signed_identity[31] |= 0x80;
        // y = p + 1 is the identity's y again.
        let mut over = [0xff; 32];
        over[0] = 0xee;
        over[31] = 0x7f;
        for bad in [&identity[..], &signed_identity, &over, &identity[1..], &[]] {
            assert!(Ed25519::decode_point(bad).is_none(), "{}", hex::encode(bad));
        }
        // Some of the y from p to p + 18 are on the curve; none of their spellings may decode. None
        // of them happens to be torsion-free either, so each is refused twice over.
        for low in 0xed..=0xff {
            for high in [0x7f, 0xff] {
                let mut y = [0xff; 32];
                (y[0], y[31]) = (low, high);
                assert!(Ed25519::decode_point(&y).is_none(), "{low:x} {high:x}");
            }
        }
    }

    #[test]
    fn a_scalar_of_the_order_or_more_does_not_decode() {
        let last = Scalar::ZERO - Scalar::ONE;
        let mut bytes = *Ed25519::encode_scalar(&last);
        assert_eq!(Ed25519::decode_scalar(&bytes), Some(last));
        bytes[0] += 1;
        assert!(Ed25519::decode_scalar(&bytes).is_none());
    }
}
