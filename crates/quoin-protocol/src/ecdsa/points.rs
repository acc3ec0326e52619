//! Sums of many multiples of points.
//!
//! [`secret_sum`] is for secret scalars and takes constant time: all scalars share the doublings,
//! digits are never zero, and every table is scanned whole. [`public_sum`] is for public points and
//! public coefficients and takes variable time. Both use `k256`'s complete formulas, so no choice
//! of points, not even of related ones, is exceptional. Not here: protocol steps.

use super::digits::{Digit, odd_digits, same_place};
use k256::elliptic_curve::BatchNormalize;
use k256::elliptic_curve::subtle::{Choice, ConditionallySelectable};
use k256::{AffinePoint, ProjectivePoint, Scalar};
use zeroize::Zeroizing;

/// Bits of one digit of a secret scalar.
const WIDTH: u32 = 4;
/// Digits of a scalar.
const DIGITS: usize = 64;
/// Odd multiples of a point: 1, 3, … 15.
const MULTIPLES: usize = 1 << (WIDTH - 1);
/// Bits of one digit of a public coefficient.
const PUBLIC_WIDTH: u32 = 7;
/// Digits of a coefficient of 128 bits and the carry out of its highest digit.
const PUBLIC_DIGITS: u32 = 128 / PUBLIC_WIDTH + 1;

/// The odd multiples of each point.
fn odd_multiples(points: &[AffinePoint]) -> Vec<AffinePoint> {
    let mut all = Vec::with_capacity(points.len() * MULTIPLES);
    for point in points {
        let mut multiple = ProjectivePoint::from(*point);
        let twice = multiple.double();
        for _ in 0..MULTIPLES {
            all.push(multiple);
            multiple += twice;
        }
    }
    normalized(&all)
}

/// The affine forms of many points, with one inversion for all.
pub(super) fn normalized(points: &[ProjectivePoint]) -> Vec<AffinePoint> {
    // The library's batch inversion panics on no points and on an identity that came out of a sum.
    // Which points are the identity is public wherever this is used.
    if points.is_empty() || points.contains(&ProjectivePoint::IDENTITY) {
        return points.iter().map(ProjectivePoint::to_affine).collect();
    }
    ProjectivePoint::batch_normalize(points)
}

/// The sum of secret scalars times public points, in constant time.
pub(super) fn secret_sum(points: &[AffinePoint], scalars: &[Scalar]) -> ProjectivePoint {
    let tables = odd_multiples(points);
    let mut digits = Zeroizing::new(vec![[(0, 0); DIGITS]; scalars.len()]);
    for (digits, scalar) in digits.iter_mut().zip(scalars) {
        odd_digits::<WIDTH, DIGITS>(scalar, digits);
    }
    // These hold secrets in turn, in one place each, and are wiped once.
    let mut sum = Zeroizing::new(ProjectivePoint::IDENTITY);
    let mut term = Zeroizing::new([AffinePoint::IDENTITY; 2]);
    for place in (0..DIGITS).rev() {
        for _ in 0..WIDTH {
            *sum = sum.double();
        }
        for (digits, table) in digits.iter().zip(tables.as_chunks::<MULTIPLES>().0) {
            let digit = digits.get(place).copied().unwrap_or_default();
            *sum += select(table, digit, &mut term);
        }
    }
    *sum
}

/// The multiple of a secret digit, in the first of two places that the caller wipes.
fn select<'a>(
    table: &[AffinePoint; MULTIPLES],
    (place, sign): Digit,
    [point, negated]: &'a mut [AffinePoint; 2],
) -> &'a AffinePoint {
    [*point, ..] = *table;
    for (entry, at) in table.iter().zip(0u8..).skip(1) {
        point.conditional_assign(entry, Choice::from(same_place(at, place) as u8 & 1));
    }
    *negated = -*point;
    point.conditional_assign(negated, Choice::from(sign));
    point
}

/// The sum of public coefficients times public points, in variable time: points are gathered by
/// digit, and each digit's gathering is multiplied once.
pub(super) fn public_sum(points: &[AffinePoint], coefficients: &[u128]) -> ProjectivePoint {
    let mut sum = ProjectivePoint::IDENTITY;
    let mut buckets = [ProjectivePoint::IDENTITY; 1 << (PUBLIC_WIDTH - 1)];
    for place in (0..PUBLIC_DIGITS).rev() {
        for _ in 0..PUBLIC_WIDTH {
            sum = sum.double();
        }
        buckets.fill(ProjectivePoint::IDENTITY);
        for (point, coefficient) in points.iter().zip(coefficients) {
            let digit = public_digit(*coefficient, place);
            let place = usize::from(digit.unsigned_abs()).wrapping_sub(1);
            if let Some(bucket) = buckets.get_mut(place) {
                *bucket += if digit < 0 { -*point } else { *point };
            }
        }
        let mut above = ProjectivePoint::IDENTITY;
        for bucket in buckets.iter().rev() {
            above += bucket;
            sum += above;
        }
    }
    sum
}

/// A digit between -64 and 64: seven bits, less 128 where the highest is set, and the carry of the
/// digit below.
fn public_digit(coefficient: u128, place: u32) -> i16 {
    let from = |bit: u32| coefficient.checked_shr(bit).unwrap_or(0) as i16;
    let at = place * PUBLIC_WIDTH;
    let bits = from(at) & 0x7f;
    let carry = if place == 0 { 0 } else { from(at - 1) & 1 };
    bits - ((bits >> 6) << 7) + carry
}

#[cfg(test)]
mod tests {
    use super::super::field::{base_mul, secret_scalar};
    use super::*;
    use rand_chacha::ChaCha20Rng;
    use rand_core::{RngCore, SeedableRng};

    /// Scalars at the edges, and random ones.
    fn scalars(rng: &mut ChaCha20Rng) -> Vec<Scalar> {
        let high = Scalar::from(u128::MAX);
        let mut all = vec![
            Scalar::ZERO,
            Scalar::ONE,
            -Scalar::ONE,
            Scalar::from(2u64),
            -Scalar::from(2u64),
            high,
            high * high,
        ];
        all.extend((0..9).map(|_| secret_scalar(rng)));
        all
    }

    fn plain(points: &[AffinePoint], scalars: &[Scalar]) -> ProjectivePoint {
        let terms = points.iter().zip(scalars);
        terms.fold(ProjectivePoint::IDENTITY, |sum, (p, k)| sum + *p * k)
    }

    /// Unrelated points, equal ones, opposite ones and the identity.
    fn point_lists(rng: &mut ChaCha20Rng, count: usize) -> Vec<Vec<AffinePoint>> {
        let g = AffinePoint::GENERATOR;
        let random = (0..count).map(|_| base_mul(&secret_scalar(rng)).to_affine());
        let signed = (0..count).map(|i| if i % 2 == 0 { g } else { -g });
        let some = (0..count).map(|i| if i % 3 == 0 { AffinePoint::IDENTITY } else { g });
        vec![
            random.collect(),
            vec![g; count],
            signed.collect(),
            some.collect(),
        ]
    }

    #[test]
    fn secret_sums_agree_with_the_library() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let scalars = scalars(&mut rng);
        for points in point_lists(&mut rng, scalars.len()) {
            assert_eq!(secret_sum(&points, &scalars), plain(&points, &scalars));
            for (point, scalar) in points.iter().zip(&scalars) {
                let alone = secret_sum(&[*point], &[*scalar]);
                assert_eq!(alone, *point * scalar);
            }
        }
        assert_eq!(secret_sum(&[], &[]), ProjectivePoint::IDENTITY);
    }

    #[test]
    fn public_sums_agree_with_the_library() {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let mut coefficients = vec![
            0,
            1,
            63,
            64,
            65,
            127,
            128,
            129,
            u128::MAX,
            1 << 127,
            u128::MAX >> 1,
        ];
        coefficients
            .extend((0..20).map(|_| u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64())));
        let scalars: Vec<Scalar> = coefficients.iter().map(|c| Scalar::from(*c)).collect();
        for points in point_lists(&mut rng, scalars.len()) {
            assert_eq!(public_sum(&points, &coefficients), plain(&points, &scalars));
            for ((point, scalar), coefficient) in points.iter().zip(&scalars).zip(&coefficients) {
                assert_eq!(public_sum(&[*point], &[*coefficient]), *point * scalar);
            }
        }
        assert_eq!(public_sum(&[], &[]), ProjectivePoint::IDENTITY);
    }
}
