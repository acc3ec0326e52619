//! Secret polynomials, their Feldman commitments, and interpolation.
//!
//! Source: the construction's section 19.1. Indices of nodes are the x-coordinates.

use super::group::Group;
use quoin_core::NodeIndex;
use rand_core::CryptoRngCore;
use zeroize::Zeroizing;

/// A dealer's secret polynomial, constant term first; zeroized on drop.
pub(crate) struct Polynomial<G: Group>(Zeroizing<Vec<G::Scalar>>);

impl<G: Group> Polynomial<G> {
    /// Draws a polynomial with `threshold` coefficients, none of them zero.
    pub(crate) fn random(threshold: u8, rng: &mut dyn CryptoRngCore) -> Self {
        let constant = Zeroizing::new(G::random_scalar(rng));
        Self::through(&constant, threshold, rng)
    }

    /// Draws a polynomial with `threshold` coefficients, of which the constant term is this one
    /// and no other is zero.
    pub(crate) fn through(
        constant: &G::Scalar,
        threshold: u8,
        rng: &mut dyn CryptoRngCore,
    ) -> Self {
        // The capacity is exact, so that no copy is left behind by a growing vector.
        let mut coefficients = Zeroizing::new(Vec::with_capacity(usize::from(threshold)));
        coefficients.push(*constant);
        for _ in 1..threshold {
            coefficients.push(G::random_scalar(rng));
        }
        Self(coefficients)
    }

    /// The polynomial with these coefficients.
    #[cfg(test)]
    pub(crate) fn from_coefficients(coefficients: Vec<G::Scalar>) -> Self {
        Self(Zeroizing::new(coefficients))
    }

    /// The value at a node's index.
    pub(crate) fn at(&self, node: NodeIndex) -> Zeroizing<G::Scalar> {
        let x = G::Scalar::from(u64::from(node.get()));
        let mut value = Zeroizing::new(G::zero());
        for coefficient in self.0.iter().rev() {
            *value = *value * x + *coefficient;
        }
        value
    }

    /// The constant term, which is the dealer's part of the key.
    pub(crate) fn constant(&self) -> Zeroizing<G::Scalar> {
        Zeroizing::new(self.0.first().copied().unwrap_or_else(G::zero))
    }

    /// The Feldman commitment: each coefficient times the generator.
    pub(crate) fn commit(&self) -> Vec<G::Point> {
        self.0.iter().map(G::generate).collect()
    }
}

/// The value of a committed polynomial at a node's index.
pub(crate) fn evaluate<G: Group>(commitment: &[G::Point], node: NodeIndex) -> G::Point {
    commitment
        .iter()
        .rev()
        .fold(G::identity(), |value, c| times::<G>(value, node.get()) + *c)
}

/// A public point times a public integer of at most 4 bits, as indices of nodes are: a tenth of
/// the work of a multiplication by a scalar.
fn times<G: Group>(point: G::Point, by: u8) -> G::Point {
    (0..8 - by.leading_zeros())
        .rev()
        .fold(G::identity(), |sum, bit| {
            let double = sum + sum;
            if by >> bit & 1 == 1 {
                double + point
            } else {
                double
            }
        })
}

/// The weight of the value at `of` when values at `set` give the value at `at` (0 for the key).
///
/// `None` when `of` is twice in `set`, or an index equals another modulo the order.
#[must_use]
pub fn lagrange<G: Group>(set: &[NodeIndex], of: NodeIndex, at: u8) -> Option<G::Scalar> {
    let scalar = |x: u8| G::Scalar::from(u64::from(x));
    let (mut above, mut below) = (scalar(1), scalar(1));
    if set.iter().filter(|n| **n == of).count() != 1 {
        return None;
    }
    for other in set.iter().filter(|n| **n != of) {
        above = above * (scalar(at) - scalar(other.get()));
        below = below * (scalar(of.get()) - scalar(other.get()));
    }
    G::invert(&below).map(|inverse| above * inverse)
}

/// The value at `at` of the polynomial through `points`.
pub(crate) fn interpolate<G: Group>(points: &[(NodeIndex, G::Point)], at: u8) -> Option<G::Point> {
    let set: Vec<NodeIndex> = points.iter().map(|(node, _)| *node).collect();
    let mut sum = G::identity();
    for (node, point) in points {
        sum = sum + *point * lagrange::<G>(&set, *node, at)?;
    }
    Some(sum)
}

/// The value at 0 of the polynomial through secret `values`.
pub(crate) fn interpolate_scalars<G: Group>(
    values: &[(NodeIndex, Zeroizing<G::Scalar>)],
) -> Option<Zeroizing<G::Scalar>> {
    let set: Vec<NodeIndex> = values.iter().map(|(node, _)| *node).collect();
    let mut sum = Zeroizing::new(G::zero());
    for (node, value) in values {
        *sum = *sum + **value * lagrange::<G>(&set, *node, 0)?;
    }
    Some(sum)
}
