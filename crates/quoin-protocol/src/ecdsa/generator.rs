//! Multiples of the generator for many secret scalars at once.
//!
//! A batch needs thousands of them. One at a time each costs 64 additions in projective
//! coordinates; together they share their inversions, which makes additions in affine coordinates
//! affordable: less than half the work. In constant time: every scalar takes the same steps, and
//! tables are scanned whole.
//!
//! The affine formula fails where two points are equal or opposite. It is used only where that
//! cannot be: digits are odd and are added from the lowest, so that before digit i comes in, the sum
//! is an odd multiple below `32^i` in size, and what is added is one of at least `32^i`; both are
//! far below q. Only the highest digit could meet such a case, and it is added by `k256`'s complete
//! formula.

use super::digits::{Digit, odd_digits, same_place};
use super::points::normalized;
use k256::elliptic_curve::sec1::{FromEncodedPoint, ToEncodedPoint};
use k256::elliptic_curve::subtle::{Choice, ConditionallySelectable};
use k256::{AffinePoint, EncodedPoint, FieldElement, ProjectivePoint, Scalar};
use std::sync::LazyLock;
use zeroize::{Zeroize, Zeroizing};

/// Bits of one digit.
const WIDTH: u32 = 5;
/// Digits of a scalar.
const DIGITS: usize = 52;
/// Odd multiples in one table: 1, 3, … 31.
const MULTIPLES: usize = 1 << (WIDTH - 1);

/// Both coordinates as words, canonical, in the order of their bytes.
type Entry = [u64; 8];
/// The odd multiples of one power of 32 times the generator.
type Table = [Entry; MULTIPLES];

/// The table of each digit.
static TABLES: LazyLock<Vec<Table>> = LazyLock::new(|| {
    let mut all = Vec::with_capacity(DIGITS * MULTIPLES);
    let mut power = ProjectivePoint::GENERATOR;
    for _ in 0..DIGITS {
        let mut multiple = power;
        let twice = power.double();
        for _ in 0..MULTIPLES {
            all.push(multiple);
            multiple += twice;
        }
        for _ in 0..WIDTH {
            power = power.double();
        }
    }
    let entries: Vec<Entry> = normalized(&all).iter().map(entry).collect();
    entries.as_chunks::<MULTIPLES>().0.to_vec()
});

fn entry(point: &AffinePoint) -> Entry {
    let encoded = point.to_encoded_point(false);
    let mut words = [0; 8];
    // The first byte is the form.
    let bytes = encoded
        .as_bytes()
        .split_first()
        .map_or(&[][..], |(_, rest)| rest);
    for (word, part) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u64::from_be_bytes(*part);
    }
    words
}

/// A point of the curve that is not the identity; coordinates of magnitude 1.
#[derive(Clone, Copy)]
struct Affine {
    x: FieldElement,
    y: FieldElement,
}

impl Affine {
    /// A place to write a point to; not a point itself.
    const UNSET: Self = Self {
        x: FieldElement::ZERO,
        y: FieldElement::ZERO,
    };
}

impl Zeroize for Affine {
    fn zeroize(&mut self) {
        self.x.zeroize();
        self.y.zeroize();
    }
}

/// Where selecting works: every digit overwrites the one before, and the last one is wiped.
#[derive(Default)]
struct Selected {
    bytes: [[u8; 8]; 8],
    negated: FieldElement,
}

impl Drop for Selected {
    fn drop(&mut self) {
        self.bytes.zeroize();
        self.negated.zeroize();
    }
}

/// Writes the multiple of a secret digit to `out`.
#[inline(always)]
fn select(table: &Table, (place, sign): Digit, scratch: &mut Selected, out: &mut Affine) {
    let Selected { bytes, negated } = scratch;
    // In registers, where the compiler has enough of them: a place in memory would cost three percent
    // of all multiples.
    let mut found = [0; 8];
    for (entry, at) in table.iter().zip(0u8..) {
        let here = same_place(at, place);
        for (out, word) in found.iter_mut().zip(entry) {
            *out |= word & here;
        }
    }
    for (bytes, word) in bytes.iter_mut().zip(found) {
        *bytes = word.to_be_bytes();
    }
    let (x, y) = bytes.as_flattened().split_at(32);
    out.x = coordinate(x);
    out.y = coordinate(y);
    *negated = out.y.negate(1).normalize_weak();
    out.y.conditional_assign(negated, Choice::from(sign));
}

#[inline(always)]
fn coordinate(bytes: &[u8]) -> FieldElement {
    // Entries are canonical, so the library always takes them.
    FieldElement::from_bytes(k256::FieldBytes::from_slice(bytes)).unwrap_or(FieldElement::ZERO)
}

/// Each scalar times the generator.
pub(super) fn generator_multiples(scalars: &[&Scalar]) -> Vec<ProjectivePoint> {
    let count = scalars.len();
    let mut digits = Zeroizing::new(vec![[(0, 0); DIGITS]; count]);
    for (digits, scalar) in digits.iter_mut().zip(scalars) {
        odd_digits::<WIDTH, DIGITS>(scalar, digits);
    }
    let digit = |digits: &[Digit; DIGITS], i| digits.get(i).copied().unwrap_or_default();
    let Some(((first, middle), last)) = TABLES
        .split_last()
        .and_then(|(last, rest)| Some((rest.split_first()?, last)))
    else {
        return Vec::new();
    };
    let mut selected = Selected::default();
    let mut choose = |table: &Table, i: usize, out: &mut [Affine]| {
        for (out, digits) in out.iter_mut().zip(digits.iter()) {
            select(table, digit(digits, i), &mut selected, out);
        }
    };
    let mut sums = Zeroizing::new(vec![Affine::UNSET; count]);
    let mut terms = Zeroizing::new(vec![Affine::UNSET; count]);
    let mut products = Zeroizing::new(Vec::with_capacity(count));
    choose(first, 0, &mut sums);
    for (table, i) in middle.iter().zip(1..) {
        choose(table, i, &mut terms);
        add_all(&mut sums, &terms, &mut products);
    }
    choose(last, DIGITS - 1, &mut terms);
    let points = sums.iter().zip(terms.iter());
    points
        .map(|(sum, highest)| ProjectivePoint::from(point(sum)) + point(highest))
        .collect()
}

/// Adds each term to its sum, with one inversion for all. No two of a pair may have one x.
fn add_all(sums: &mut [Affine], terms: &[Affine], products: &mut Vec<FieldElement>) {
    products.clear();
    // These hold secrets in turn, in one place each, and are wiped once.
    let mut product = Zeroizing::new(FieldElement::ONE);
    let mut difference = Zeroizing::new(FieldElement::ZERO);
    let mut slope = Zeroizing::new(FieldElement::ZERO);
    let mut out = Zeroizing::new(Affine::UNSET);
    for (sum, term) in sums.iter().zip(terms) {
        products.push(*product);
        *difference = term.x + sum.x.negate(1);
        *product = product.mul(&difference);
    }
    // No difference is zero, so neither is their product.
    let mut inverse = Zeroizing::new(product.invert().unwrap_or(FieldElement::ZERO));
    let pairs = sums.iter_mut().zip(terms).zip(products.iter());
    for ((sum, term), before) in pairs.rev() {
        let minus_x = sum.x.negate(1);
        *difference = term.x + minus_x;
        *slope = (term.y + sum.y.negate(1)).mul(&inverse.mul(before));
        *inverse = inverse.mul(&difference);
        out.x = (slope.square() + minus_x + term.x.negate(1)).normalize_weak();
        out.y = (slope.mul(&(sum.x + out.x.negate(1))) + sum.y.negate(1)).normalize_weak();
        *sum = *out;
    }
}

/// As the library's point, which checks that it is on the curve.
fn point(affine: &Affine) -> AffinePoint {
    let (x, y) = (affine.x.normalize(), affine.y.normalize());
    let encoded = EncodedPoint::from_affine_coordinates(&x.to_bytes(), &y.to_bytes(), false);
    Option::from(AffinePoint::from_encoded_point(&encoded)).unwrap_or(AffinePoint::IDENTITY)
}

#[cfg(test)]
mod tests {
    use super::super::field::{base_mul, secret_scalar};
    use super::*;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    #[test]
    fn multiples_agree_with_the_library() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let mut scalars: Vec<Scalar> = [0u64, 1, 2, 3, 31, 32, 33, 1 << 40, u64::MAX]
            .into_iter()
            .flat_map(|k| [Scalar::from(k), -Scalar::from(k)])
            .collect();
        let power = |e: usize| (0..e).fold(Scalar::ONE, |p, _| p + p);
        for e in [128, 250, 254, 255, 256] {
            // Those at 255 and 256 bits meet equal and opposite points at the highest digit.
            let p = power(e);
            scalars.extend([p, -p, p + Scalar::ONE, p - Scalar::ONE, -p - Scalar::ONE]);
        }
        scalars.extend((0..100).map(|_| secret_scalar(&mut rng)));
        let expected: Vec<_> = scalars.iter().map(base_mul).collect();
        let scalars: Vec<_> = scalars.iter().collect();
        assert_eq!(generator_multiples(&scalars), expected);
        for (scalar, expected) in scalars.iter().zip(expected) {
            assert_eq!(generator_multiples(&[scalar]), [expected]);
        }
        assert!(generator_multiples(&[]).is_empty());
    }
}
