//! Scalars and points of secp256k1 as the engine uses them, and the gadget vector.
//!
//! Not here: protocol steps. Everything on secrets is constant time because `k256`'s scalar and
//! point arithmetic is. Source: construction, section 3.

use super::limbs::Residue;
use super::params::PRODUCTION_OTS;
use super::points::normalized;
use k256::elliptic_curve::PrimeField;
use k256::elliptic_curve::bigint::{Encoding, U256, U512};
use k256::elliptic_curve::group::GroupEncoding;
use k256::elliptic_curve::ops::Reduce;
use k256::elliptic_curve::point::AffineCoordinates;
use k256::elliptic_curve::sec1::FromEncodedPoint;
use k256::{AffinePoint, EncodedPoint, ProjectivePoint, Scalar};
use quoin_core::hash::TaggedHasher;
use quoin_core::tags::{self, Tag};
use quoin_core::{NodeIndex, SignerSet};
use rand_core::CryptoRngCore;
use std::sync::LazyLock;
use zeroize::{Zeroize, Zeroizing};

/// Bytes of a scalar.
pub(super) const SCALAR_BYTES: usize = 32;
/// Bytes of a compressed point.
pub(super) const POINT_BYTES: usize = 33;

/// Pads of 32 bytes are reduced by one subtraction. That is right only because q is so close to
/// 2^256 that the bias is below 2^-127; on another curve this assertion must fail.
const _: () = {
    use k256::elliptic_curve::Curve;
    let gap = k256::Secp256k1::ORDER.wrapping_neg();
    assert!(gap.bits() <= 129);
};

/// `TS(tag; …)`: two tagged hashes, prefixed 0 and 1, as one 512-bit integer modulo q.
pub(super) fn hash_to_scalar(tag: Tag, parts: &[&[u8]]) -> Scalar {
    let mut wide = Zeroizing::new([0u8; 64]);
    for (half, out) in wide.as_chunks_mut::<32>().0.iter_mut().zip(0u8..) {
        let mut hasher = TaggedHasher::new(tag);
        hasher.part(&[out]);
        for part in parts {
            hasher.part(part);
        }
        *half = hasher.finish();
    }
    reduce_wide(&wide)
}

/// A 512-bit big-endian integer modulo q; the bias is 2^-256.
fn reduce_wide(wide: &[u8; 64]) -> Scalar {
    <Scalar as Reduce<U512>>::reduce(U512::from_be_bytes(*wide))
}

/// A 256-bit big-endian integer modulo q by one masked subtraction (section 8.1).
pub(super) fn reduce_narrow(bytes: &[u8; 32]) -> Scalar {
    <Scalar as Reduce<U256>>::reduce(U256::from_be_bytes(*bytes))
}

/// A secret scalar: 64 random bytes modulo q, drawn again on zero.
pub(super) fn secret_scalar(rng: &mut impl CryptoRngCore) -> Scalar {
    loop {
        let mut wide = Zeroizing::new([0u8; 64]);
        rng.fill_bytes(wide.as_mut_slice());
        let scalar = reduce_wide(&wide);
        if !bool::from(scalar.is_zero()) {
            return scalar;
        }
    }
}

/// Decodes a scalar, which must be below q.
pub(super) fn decode_scalar(bytes: &[u8; SCALAR_BYTES]) -> Option<Scalar> {
    Scalar::from_repr((*bytes).into()).into()
}

/// A scalar's 32 big-endian bytes.
pub(super) fn encode_scalar(scalar: &Scalar) -> [u8; SCALAR_BYTES] {
    scalar.to_bytes().into()
}

/// Decodes a compressed point, which is public. The identity and every other form are refused.
///
/// The root is libsecp256k1's, which is quicker at it; `k256` then checks that both coordinates are
/// canonical and on the curve.
pub(super) fn decode_point(bytes: &[u8; POINT_BYTES]) -> Option<AffinePoint> {
    if !matches!(bytes.first(), Some(2 | 3)) {
        return None;
    }
    let decoded = secp256k1::PublicKey::from_slice(bytes).ok()?;
    let encoded = EncodedPoint::from_bytes(decoded.serialize_uncompressed()).ok()?;
    AffinePoint::from_encoded_point(&encoded).into()
}

/// The plain path: the library's own decoder.
#[cfg(test)]
fn decode_point_plainly(bytes: &[u8; POINT_BYTES]) -> Option<AffinePoint> {
    if !matches!(bytes.first(), Some(2 | 3)) {
        return None;
    }
    AffinePoint::from_bytes(&(*bytes).into()).into()
}

/// A point's compressed form; 33 zero bytes for the identity, which no decoder accepts.
pub(super) fn encode_point(point: &AffinePoint) -> [u8; POINT_BYTES] {
    point.to_bytes().into()
}

/// The compressed forms of many points, with one inversion for all.
pub(super) fn encode_points(points: &[ProjectivePoint]) -> Vec<[u8; POINT_BYTES]> {
    normalized(points).iter().map(encode_point).collect()
}

/// A secret scalar times the generator, in constant time from a table.
pub(super) fn base_mul(scalar: &Scalar) -> ProjectivePoint {
    use k256::elliptic_curve::ops::MulByGenerator;
    ProjectivePoint::mul_by_generator(scalar)
}

/// The x-coordinate of a point modulo q: the `r` of a signature.
pub(super) fn x_coordinate(point: &AffinePoint) -> Scalar {
    reduce_narrow(&point.x().into())
}

/// The Lagrange coefficient of `me` in `set` at 0. `None` when `me` is not in the set.
pub(super) fn lagrange(set: &SignerSet, me: NodeIndex) -> Option<Scalar> {
    if !set.contains(me) {
        return None;
    }
    let own = Scalar::from(u64::from(me.get()));
    let (mut numerator, mut denominator) = (Scalar::ONE, Scalar::ONE);
    for other in set.others(me) {
        let x = Scalar::from(u64::from(other.get()));
        numerator *= x;
        denominator *= x - own;
    }
    // The indices of a set are distinct, so the denominator has an inverse.
    Option::<Scalar>::from(denominator.invert()).map(|inverse| numerator * inverse)
}

/// The gadget vector: `g_m = TS("gadget"; m)`. It is a constant of the version, fixed before any
/// choice is drawn, so nobody can search for a convenient one (section 3).
pub(super) fn gadget() -> &'static [Scalar] {
    static GADGET: LazyLock<Vec<Scalar>> = LazyLock::new(|| {
        (0u32..)
            .take(PRODUCTION_OTS)
            .map(|m| hash_to_scalar(tags::ECDSA_GADGET, &[&m.to_be_bytes()]))
            .collect()
    });
    &GADGET
}

/// The gadget vector as factors of long sums.
pub(super) fn gadget_words() -> &'static [Residue] {
    static WORDS: LazyLock<Vec<Residue>> =
        LazyLock::new(|| gadget().iter().map(Residue::from).collect());
    &WORDS
}

/// Secret scalars in one allocation of final size, wiped on drop.
pub(super) struct SecretScalars(Box<[Scalar]>);

impl SecretScalars {
    /// Collects exactly `count` scalars, so that no reallocation leaves a copy behind.
    pub(super) fn collect(count: usize, scalars: impl Iterator<Item = Scalar>) -> Self {
        let mut held = Vec::with_capacity(count);
        held.extend(scalars.take(count));
        Self(held.into_boxed_slice())
    }

    /// The scalars in order.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &Scalar> {
        self.0.iter()
    }
}

impl Drop for SecretScalars {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xfe, 0xba, 0xae, 0xdc, 0xe6, 0xaf, 0x48, 0xa0, 0x3b, 0xbf, 0xd2, 0x5e, 0x8c, 0xd0, 0x36,
        0x41, 0x41,
    ];

    #[test]
    fn scalars_at_or_above_the_order_are_refused() {
        let mut bytes = ORDER;
        assert!(decode_scalar(&bytes).is_none());
        bytes[31] += 1;
        assert!(decode_scalar(&bytes).is_none());
        bytes[31] -= 2;
        assert!(decode_scalar(&bytes).is_some());
        assert!(decode_scalar(&[0xff; 32]).is_none());
    }

    #[test]
    fn points_in_any_other_form_are_refused() {
        let good = encode_point(&AffinePoint::GENERATOR);
        assert!(decode_point(&good).is_some());
        for prefix in [0u8, 1, 4, 5, 6, 7, 0xff] {
            let mut bad = good;
            bad[0] = prefix;
            assert!(decode_point(&bad).is_none(), "prefix {prefix}");
        }
        assert!(decode_point(&[0; 33]).is_none(), "identity");
        let mut off_curve = [0u8; 33];
        off_curve[0] = 2;
        off_curve[32] = 5;
        assert!(decode_point(&off_curve).is_none(), "no such x");
        let mut large_x = [0xff; 33];
        large_x[0] = 2;
        assert!(decode_point(&large_x).is_none(), "x above the field");
    }

    #[test]
    fn both_libraries_decode_alike() {
        // Small x, of which about half are on the curve, x about p, and random ones.
        let p_minus_one = {
            let mut bytes = [0xffu8; 32];
            bytes[27] = 0xfe;
            bytes[30..].copy_from_slice(&[0xfc, 0x2e]);
            bytes
        };
        let mut seen = [0; 2];
        for step in 0..200u8 {
            let mut small = [0; 32];
            small[31] = step;
            let mut large = p_minus_one;
            large[31] = large[31].wrapping_add(step);
            let random = hash_to_scalar(tags::ECDSA_GADGET, &[&[step]]);
            for x in [small, large, encode_scalar(&random)] {
                for form in [2, 3] {
                    let mut bytes = [form; POINT_BYTES];
                    bytes[1..].copy_from_slice(&x);
                    let decoded = decode_point(&bytes);
                    assert_eq!(decoded, decode_point_plainly(&bytes));
                    assert!(decoded.is_none_or(|point| encode_point(&point) == bytes));
                    seen[usize::from(decoded.is_some())] += 1;
                }
            }
        }
        assert!(seen[0] > 300 && seen[1] > 300, "{seen:?}");
    }

    #[test]
    fn points_are_encoded_alike_alone_and_together() {
        let g = ProjectivePoint::GENERATOR;
        for points in [
            vec![],
            vec![g, g + g],
            vec![g, g - g, ProjectivePoint::IDENTITY],
        ] {
            let alone: Vec<_> = points
                .iter()
                .map(|p| encode_point(&p.to_affine()))
                .collect();
            assert_eq!(encode_points(&points), alone);
        }
        assert_eq!(encode_points(&[ProjectivePoint::IDENTITY]), [[0; 33]]);
    }

    #[test]
    fn narrow_reduction_subtracts_the_order_once() {
        assert_eq!(reduce_narrow(&ORDER), Scalar::ZERO);
        let mut one = ORDER;
        one[31] += 1;
        assert_eq!(reduce_narrow(&one), Scalar::ONE);
        assert_eq!(reduce_narrow(&[0; 32]), Scalar::ZERO);
    }

    #[test]
    fn lagrange_coefficients_interpolate_at_zero() {
        let indices = [2u8, 5, 9].map(|i| NodeIndex::new(i).unwrap());
        let set = SignerSet::from_ascending(indices.to_vec()).unwrap();
        // p(x) = 7 + 3x + x^2
        let value = indices
            .iter()
            .map(|i| {
                let x = Scalar::from(u64::from(i.get()));
                (Scalar::from(7u64) + Scalar::from(3u64) * x + x * x) * lagrange(&set, *i).unwrap()
            })
            .fold(Scalar::ZERO, |sum, term| sum + term);
        assert_eq!(value, Scalar::from(7u64));
        assert!(lagrange(&set, NodeIndex::new(1).unwrap()).is_none());
    }

    #[test]
    fn gadget_golden() {
        let golden: Vec<String> = gadget()
            .iter()
            .take(2)
            .map(|g| hex::encode(encode_scalar(g)))
            .collect();
        assert_eq!(
            golden,
            [
                "e45b39b5431e7aabb52831237c8042186d9cc19da0c529ff331b651cb3239b8e",
                "e1f93b187b6223d6965b9856d09fe7384b766f51cb98a946dea16387772f4d3b",
            ]
        );
        assert_eq!(gadget().len(), 416);
    }
}
