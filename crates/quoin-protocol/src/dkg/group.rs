//! The prime-order groups that key generation runs in.
//!
//! One sealed trait, so that the ceremony is written once and no other crate can add a group with
//! weaker decoding. What is not here: signing, and anything that is particular to one scheme.
//! Source: the construction's sections 3 (encodings) and 19.4 (strict Ed25519 decoding).

use rand_core::{CryptoRngCore, RngCore};
use std::ops::{Add, Mul, Sub};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

/// Closes [`Group`] to other crates.
pub(crate) mod sealed {
    /// Only this crate implements it.
    pub trait Sealed {}
}

/// A group of prime order with a fixed generator, and its canonical encodings.
pub trait Group: sealed::Sealed + Send + Sync + 'static {
    /// An integer modulo the group's order.
    type Scalar: Copy
        + Send
        + Sync
        + Zeroize
        + ConstantTimeEq
        + From<u64>
        + Add<Output = Self::Scalar>
        + Sub<Output = Self::Scalar>
        + Mul<Output = Self::Scalar>;

    /// An element of the group.
    type Point: Copy
        + PartialEq
        + Send
        + Sync
        + Add<Output = Self::Point>
        + Sub<Output = Self::Point>
        + Mul<Self::Scalar, Output = Self::Point>;

    /// The length of an encoded point.
    const POINT_BYTES: usize;

    /// The generator.
    fn generator() -> Self::Point;

    /// The generator times `scalar`.
    fn generate(scalar: &Self::Scalar) -> Self::Point;

    /// The neutral element.
    fn identity() -> Self::Point;

    /// The integer that 64 bytes stand for, modulo the order; the bias is 2^-256 or less.
    fn reduce_wide(bytes: &[u8; 64]) -> Self::Scalar;

    /// The inverse, or `None` of zero.
    fn invert(scalar: &Self::Scalar) -> Option<Self::Scalar>;

    /// The 32-byte encoding that key shares use.
    fn encode_scalar(scalar: &Self::Scalar) -> Zeroizing<[u8; 32]>;

    /// Reads a scalar; `None` unless it is the canonical encoding.
    fn decode_scalar(bytes: &[u8; 32]) -> Option<Self::Scalar>;

    /// The canonical compressed encoding of a point.
    fn encode_point(point: &Self::Point) -> Vec<u8>;

    /// Reads a point of prime order; `None` for the identity, for every second spelling of a
    /// point, and for points outside the prime-order subgroup.
    fn decode_point(bytes: &[u8]) -> Option<Self::Point>;

    /// Zero.
    fn zero() -> Self::Scalar {
        Self::Scalar::from(0)
    }

    /// Whether `scalar` is zero, in constant time.
    fn is_zero(scalar: &Self::Scalar) -> bool {
        scalar.ct_eq(&Self::zero()).into()
    }

    /// A fresh scalar other than zero (section 3: 64 bytes, drawn again on zero).
    fn random_scalar(rng: &mut dyn CryptoRngCore) -> Self::Scalar {
        let mut wide = Zeroizing::new([0u8; 64]);
        loop {
            RngCore::fill_bytes(rng, wide.as_mut_slice());
            let scalar = Self::reduce_wide(&wide);
            if !Self::is_zero(&scalar) {
                return scalar;
            }
        }
    }
}
