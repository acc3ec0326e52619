//! The toy group of the simulator: integers modulo 2^61 - 1, with 1 as its generator.
//!
//! A point is its own discrete logarithm, so there is no secrecy at all here; what the simulator
//! needs is that every equation of the real protocols holds and that every check can fail. It is
//! compiled only for tests and with the feature `model`; production code refuses the scheme.

use super::group::{Group, sealed::Sealed};
use std::ops::{Add, Mul, Neg, Sub};
use subtle::{Choice, ConstantTimeEq};
use zeroize::{DefaultIsZeroes, Zeroizing};

/// The order of the toy group, a Mersenne prime.
pub const MODEL_ORDER: u64 = (1 << 61) - 1;

/// An integer modulo 2^61 - 1: a scalar of the toy group, and equally a point of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelScalar(u64);

impl ModelScalar {
    /// Zero.
    pub const ZERO: Self = Self(0);
    /// One, which is also the generator.
    pub const ONE: Self = Self(1);

    /// The integer, between 0 and 2^61 - 2.
    #[must_use]
    pub const fn value(self) -> u64 {
        self.0
    }

    /// The integer that `bytes` stand for in big-endian order, modulo the order.
    #[must_use]
    pub fn reduce(bytes: &[u8]) -> Self {
        bytes.iter().fold(Self::ZERO, |sum, byte| {
            sum * Self(256) + Self::from(u64::from(*byte))
        })
    }

    /// The power `self^exponent`.
    #[must_use]
    pub fn power(self, exponent: u64) -> Self {
        (0..64).rev().fold(Self::ONE, |result, bit| {
            let square = result * result;
            if (exponent >> bit) & 1 == 1 {
                square * self
            } else {
                square
            }
        })
    }

    /// The inverse, or `None` of zero.
    #[must_use]
    pub fn invert(self) -> Option<Self> {
        (self != Self::ZERO).then(|| self.power(MODEL_ORDER - 2))
    }

    /// 24 zero bytes, then the integer in 8 big-endian bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0u8; 32];
        for (place, byte) in bytes.iter_mut().skip(24).zip(self.0.to_be_bytes()) {
            *place = byte;
        }
        bytes
    }

    /// Reads what [`ModelScalar::to_bytes`] writes, and nothing else.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 32]) -> Option<Self> {
        let read = Self::reduce(bytes);
        (read.to_bytes() == *bytes).then_some(read)
    }
}

impl From<u64> for ModelScalar {
    fn from(value: u64) -> Self {
        Self(value % MODEL_ORDER)
    }
}

impl Add for ModelScalar {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        // Both are below 2^61, so the sum fits 64 bits.
        Self((self.0 + other.0) % MODEL_ORDER)
    }
}

impl Neg for ModelScalar {
    type Output = Self;

    fn neg(self) -> Self {
        Self((MODEL_ORDER - self.0) % MODEL_ORDER)
    }
}

impl Sub for ModelScalar {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl Mul for ModelScalar {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        let product = u128::from(self.0) * u128::from(other.0) % u128::from(MODEL_ORDER);
        // A remainder modulo 2^61 - 1 fits 64 bits.
        Self(u64::try_from(product).unwrap_or_default())
    }
}

impl ConstantTimeEq for ModelScalar {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl DefaultIsZeroes for ModelScalar {}

/// The toy group.
#[derive(Clone, Copy, Debug)]
pub struct Model;

impl Sealed for Model {}

impl Group for Model {
    type Scalar = ModelScalar;
    type Point = ModelScalar;

    const POINT_BYTES: usize = 32;

    fn generator() -> ModelScalar {
        ModelScalar::ONE
    }

    fn generate(scalar: &ModelScalar) -> ModelScalar {
        *scalar
    }

    fn identity() -> ModelScalar {
        ModelScalar::ZERO
    }

    fn reduce_wide(bytes: &[u8; 64]) -> ModelScalar {
        ModelScalar::reduce(bytes)
    }

    fn invert(scalar: &ModelScalar) -> Option<ModelScalar> {
        scalar.invert()
    }

    fn encode_scalar(scalar: &ModelScalar) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(scalar.to_bytes())
    }

    fn decode_scalar(bytes: &[u8; 32]) -> Option<ModelScalar> {
        ModelScalar::from_bytes(bytes)
    }

    fn encode_point(point: &ModelScalar) -> Vec<u8> {
        point.to_bytes().to_vec()
    }

    fn decode_point(bytes: &[u8]) -> Option<ModelScalar> {
        let point = ModelScalar::from_bytes(bytes.try_into().ok()?)?;
        (point != ModelScalar::ZERO).then_some(point)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_is_that_of_a_field() {
        let (a, b) = (ModelScalar::from(u64::MAX), ModelScalar::from(1 << 60));
        assert_eq!(a + b - a, b);
        assert_eq!(a * a.invert().unwrap(), ModelScalar::ONE);
        assert_eq!(b + -b, ModelScalar::ZERO);
        assert!(ModelScalar::ZERO.invert().is_none());
        assert_eq!(ModelScalar::from(MODEL_ORDER), ModelScalar::ZERO);
    }

    #[test]
    fn only_the_canonical_encoding_decodes() {
        let mut bytes = ModelScalar::from(77).to_bytes();
        assert_eq!(ModelScalar::from_bytes(&bytes), Some(ModelScalar::from(77)));
        bytes[0] = 1;
        assert!(ModelScalar::from_bytes(&bytes).is_none());
        let mut order = [0u8; 32];
        order[24..].copy_from_slice(&MODEL_ORDER.to_be_bytes());
        assert!(ModelScalar::from_bytes(&order).is_none());
        assert!(Model::decode_point(&[0; 32]).is_none());
        assert!(Model::decode_point(&bytes[1..]).is_none());
    }
}
