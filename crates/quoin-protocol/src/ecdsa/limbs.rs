//! Integers modulo q in four words, for sums that are reduced once.
//!
//! The multiplication adds up hundreds of products for each presignature. `k256` reduces every
//! product; here products are added in 576 bits and the sum is reduced at its end, and values that
//! only enter products stay unreduced. Everything runs in constant time: no branch and no address
//! depends on a value. Not here: inversion, points, protocol steps.
//!
//! A [`Residue`] is any integer below 2^256 and stands for its value modulo q; [`Residue::reduced`]
//! and [`Sum::reduced`] give the one below q, which alone may be sent or compared. Tests hold all of
//! it against `k256`.

use k256::Scalar;
use k256::elliptic_curve::PrimeField;
use zeroize::{Zeroize, Zeroizing};

/// `2^256 - q`: to subtract q is to add this and to drop the carry. It is below 2^129, which is why
/// two foldings of a sum nearly reduce it.
const GAP: [u64; 3] = [0x402d_a173_2fc9_bebf, 0x4551_2319_50b7_5fc4, 1];

const _: () = {
    use k256::elliptic_curve::Curve;
    let [a, b, c, d] = k256::Secp256k1::ORDER.wrapping_neg().to_words();
    assert!(a == GAP[0] && b == GAP[1] && c == GAP[2] && d == 0);
};

/// q itself.
const ORDER: [u64; 4] = [!GAP[0] + 1, !GAP[1], !GAP[2], u64::MAX];

/// `a + b + carry` and the carry out.
#[inline(always)]
const fn add(a: u64, b: u64, carry: u64) -> (u64, u64) {
    let sum = a as u128 + b as u128 + carry as u128;
    (sum as u64, (sum >> 64) as u64)
}

/// All ones for 1 and zero for 0, opaque to the optimiser, which could make a branch of it.
#[inline(always)]
pub(super) fn mask(bit: u64) -> u64 {
    std::hint::black_box(bit.wrapping_neg())
}

/// An integer below 2^256, least significant word first.
#[derive(Clone, Copy, Default)]
pub(super) struct Residue([u64; 4]);

impl Zeroize for Residue {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}

impl From<&Scalar> for Residue {
    fn from(scalar: &Scalar) -> Self {
        let bytes: Zeroizing<[u8; 32]> = Zeroizing::new(scalar.to_bytes().into());
        Self::from_be_bytes(&bytes)
    }
}

impl Residue {
    /// Of words, the most significant one first.
    #[inline(always)]
    pub(super) const fn from_be_words([d, c, b, a]: [u64; 4]) -> Self {
        Self([a, b, c, d])
    }

    /// The words, the least significant one first.
    pub(super) const fn words(self) -> [u64; 4] {
        self.0
    }

    /// For a value below q: itself when it is odd, or else q less it, which is odd then; and 1 for
    /// the latter.
    pub(super) fn odd_or_complement(self) -> (Self, u8) {
        let [a, b, c, d] = self.0;
        let even = (a & 1) ^ 1;
        let take = mask(even);
        // q - a is q + !a + 1 with the carry dropped.
        let (p, carry) = add(ORDER[0], !a, 1);
        let (q, carry) = add(ORDER[1], !b, carry);
        let (r, carry) = add(ORDER[2], !c, carry);
        let (s, _) = add(ORDER[3], !d, carry);
        let select = |old: u64, new: u64| old ^ ((old ^ new) & take);
        let odd = [select(a, p), select(b, q), select(c, r), select(d, s)];
        (Self(odd), even as u8)
    }

    /// Any 32 bytes as a big-endian integer.
    #[inline(always)]
    pub(super) fn from_be_bytes(bytes: &[u8; 32]) -> Self {
        let mut words = [0; 4];
        for (word, part) in words.iter_mut().rev().zip(bytes.as_chunks().0) {
            *word = u64::from_be_bytes(*part);
        }
        Self(words)
    }

    /// Decodes a public scalar, which must be below q. Takes variable time.
    #[inline(always)]
    pub(super) fn decode_public(bytes: &[u8; 32]) -> Option<Self> {
        let value = Self::from_be_bytes(bytes);
        let [.., carry] = value.plus_gap();
        (carry == 0).then_some(value)
    }

    /// The 32 big-endian bytes of a reduced value.
    #[inline(always)]
    fn to_be_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (word, part) in self.0.iter().rev().zip(bytes.as_chunks_mut().0) {
            *part = word.to_be_bytes();
        }
        bytes
    }

    /// `self + 2^256 - q`, in five words.
    #[inline(always)]
    fn plus_gap(self) -> [u64; 5] {
        let [a, b, c, d] = self.0;
        let (a, carry) = add(a, GAP[0], 0);
        let (b, carry) = add(b, GAP[1], carry);
        let (c, carry) = add(c, GAP[2], carry);
        let (d, carry) = add(d, 0, carry);
        [a, b, c, d, carry]
    }

    /// `self + 2^256 top`, reduced. `top` must be below 2^36.
    #[inline(always)]
    fn fold(self, top: u64) -> Self {
        let [a, b, c, d] = self.0;
        let low = u128::from(top) * u128::from(GAP[0]);
        let high = u128::from(top) * u128::from(GAP[1]) + (low >> 64);
        let (a, carry) = add(a, low as u64, 0);
        let (b, carry) = add(b, high as u64, carry);
        // The third word of the gap is 1.
        let (c, carry) = add(c, top + (high >> 64) as u64, carry);
        let (d, over) = add(d, 0, carry);
        // After a carry the rest is below 2^165: adding the gap takes the carry in and is below q.
        let rest = Self([a, b, c, d]);
        let [p, q, r, s, above] = rest.plus_gap();
        let take = mask(over | above);
        let select = |old: u64, new: u64| old ^ ((old ^ new) & take);
        Self([select(a, p), select(b, q), select(c, r), select(d, s)])
    }

    /// The value below q.
    #[cfg(test)]
    pub(super) fn reduced(self) -> Reduced {
        Reduced(self.fold(0))
    }

    /// `self + other + third`, reduced.
    #[inline(always)]
    pub(super) fn add_two(self, other: Self, third: Self) -> Reduced {
        let (sum, top) = self.add_wide(other);
        let (sum, more) = sum.add_wide(third);
        Reduced(sum.fold(top + more))
    }

    /// `self + (other & mask)` for an `other` below q, not reduced.
    #[inline(always)]
    pub(super) fn add_masked(self, other: Self, mask: u64) -> Self {
        let (sum, top) = self.add_wide(other.masked(mask));
        // On a carry the sum is below q, so the gap fits.
        let take = self::mask(top);
        let [a, b, c, d] = sum.0;
        let (a, carry) = add(a, GAP[0] & take, 0);
        let (b, carry) = add(b, GAP[1] & take, carry);
        let (c, carry) = add(c, GAP[2] & take, carry);
        let (d, _) = add(d, 0, carry);
        Self([a, b, c, d])
    }

    /// `2^256 - 1 - self`.
    #[inline(always)]
    pub(super) fn complement(self) -> Self {
        Self(self.0.map(|word| !word))
    }

    /// The value where the mask is ones, zero where it is zero.
    #[inline(always)]
    pub(super) fn masked(self, mask: u64) -> Self {
        Self(self.0.map(|word| word & mask))
    }

    #[inline(always)]
    fn add_wide(self, other: Self) -> (Self, u64) {
        let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
        let (a, carry) = add(a, e, 0);
        let (b, carry) = add(b, f, carry);
        let (c, carry) = add(c, g, carry);
        let (d, carry) = add(d, h, carry);
        (Self([a, b, c, d]), carry)
    }
}

/// A residue below q.
#[derive(Clone, Copy)]
pub(super) struct Reduced(Residue);

impl Reduced {
    /// The 32 big-endian bytes.
    #[inline(always)]
    pub(super) fn to_be_bytes(self) -> [u8; 32] {
        self.0.to_be_bytes()
    }

    /// As a scalar of the library.
    pub(super) fn to_scalar(self) -> Scalar {
        // It is below q, so the library always takes it.
        Option::<Scalar>::from(Scalar::from_repr(self.to_be_bytes().into())).unwrap_or(Scalar::ZERO)
    }
}

/// A sum of at most 2^32 products of residues, in nine words.
#[derive(Clone, Copy, Default)]
pub(super) struct Sum([u64; 9]);

impl Zeroize for Sum {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}

/// One column of a product: a running sum of 64-bit by 64-bit products.
struct Column {
    low: u128,
    high: u64,
}

impl Column {
    #[inline(always)]
    fn add(&mut self, a: u64, b: u64) {
        let (low, over) = self.low.overflowing_add(u128::from(a) * u128::from(b));
        self.low = low;
        self.high += u64::from(over);
    }

    #[inline(always)]
    fn add_word(&mut self, word: u64) {
        let (low, over) = self.low.overflowing_add(u128::from(word));
        self.low = low;
        self.high += u64::from(over);
    }

    /// Takes the lowest word out and moves on to the next column.
    #[inline(always)]
    fn next(&mut self) -> u64 {
        let word = self.low as u64;
        self.low = self.low >> 64 | u128::from(self.high) << 64;
        self.high = 0;
        word
    }
}

impl Sum {
    /// Adds `a b`.
    #[inline(always)]
    pub(super) fn add_product(&mut self, a: &Residue, b: &Residue) {
        let ([a0, a1, a2, a3], [b0, b1, b2, b3]) = (a.0, b.0);
        let [s0, s1, s2, s3, s4, s5, s6, s7, s8] = &mut self.0;
        let mut column = Column { low: 0, high: 0 };
        column.add_word(*s0);
        column.add(a0, b0);
        *s0 = column.next();
        column.add_word(*s1);
        column.add(a0, b1);
        column.add(a1, b0);
        *s1 = column.next();
        column.add_word(*s2);
        column.add(a0, b2);
        column.add(a1, b1);
        column.add(a2, b0);
        *s2 = column.next();
        column.add_word(*s3);
        column.add(a0, b3);
        column.add(a1, b2);
        column.add(a2, b1);
        column.add(a3, b0);
        *s3 = column.next();
        column.add_word(*s4);
        column.add(a1, b3);
        column.add(a2, b2);
        column.add(a3, b1);
        *s4 = column.next();
        column.add_word(*s5);
        column.add(a2, b3);
        column.add(a3, b2);
        *s5 = column.next();
        column.add_word(*s6);
        column.add(a3, b3);
        *s6 = column.next();
        column.add_word(*s7);
        *s7 = column.next();
        *s8 += column.next();
    }

    /// Adds one residue.
    #[inline(always)]
    pub(super) fn add(&mut self, a: &Residue) {
        let [a0, a1, a2, a3] = a.0;
        let mut carry = 0;
        for (word, more) in self.0.iter_mut().zip([a0, a1, a2, a3, 0, 0, 0, 0, 0]) {
            (*word, carry) = add(*word, more, carry);
        }
    }

    /// The sum below q.
    #[inline(always)]
    pub(super) fn reduced(&self) -> Reduced {
        let [s0, s1, s2, s3, s4, s5, s6, s7, s8] = self.0;
        // 2^256 is the gap. With 2^32 products 544 bits become 417, those 290, and `fold` does the
        // rest.
        let [s0, s1, s2, s3, s4, s5, s6, s7] = fold_words([s0, s1, s2, s3], [s4, s5, s6, s7, s8]);
        let [s0, s1, s2, s3, s4, s5, _, _] = fold_words([s0, s1, s2, s3], [s4, s5, s6, s7, 0]);
        debug_assert!(s5 == 0);
        Reduced(Residue([s0, s1, s2, s3]).fold(s4))
    }
}

/// `low + gap high`.
#[inline(always)]
fn fold_words([l0, l1, l2, l3]: [u64; 4], [h0, h1, h2, h3, h4]: [u64; 5]) -> [u64; 8] {
    let mut out = [0; 8];
    let mut column = Column { low: 0, high: 0 };
    let terms = [
        (l0, h0, 0, 0),
        (l1, h1, h0, 0),
        (l2, h2, h1, h0),
        (l3, h3, h2, h1),
        (0, h4, h3, h2),
        (0, 0, h4, h3),
        (0, 0, 0, h4),
        (0, 0, 0, 0),
    ];
    for (out, (word, first, second, third)) in out.iter_mut().zip(terms) {
        column.add_word(word);
        column.add(first, GAP[0]);
        column.add(second, GAP[1]);
        // The third word of the gap is 1.
        column.add_word(third);
        *out = column.next();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::field::{decode_scalar, encode_scalar, reduce_narrow};
    use super::*;
    use proptest::prelude::*;

    /// Zero, one, q - 1, q, q + 1, 2^256 - q, all ones, and single high words.
    fn edges() -> Vec<[u8; 32]> {
        let q_minus_one = encode_scalar(&-Scalar::ONE);
        let near = |step: u8| {
            let mut bytes = q_minus_one;
            bytes[31] += step;
            bytes
        };
        let mut one = [0; 32];
        one[31] = 1;
        let mut gap = Residue([0; 4]).plus_gap().map(u64::to_be_bytes);
        gap[..4].reverse();
        let gap: [u8; 32] = gap[..4].as_flattened().try_into().unwrap();
        let high = |word: usize| {
            let mut bytes = [0; 32];
            bytes[8 * word..8 * word + 8].fill(0xff);
            bytes
        };
        let mut all = vec![[0; 32], one, near(0), near(1), near(2), gap, [0xff; 32]];
        all.extend((0..4).map(high));
        all
    }

    fn both(bytes: &[u8; 32]) -> (Residue, Scalar) {
        (Residue::from_be_bytes(bytes), reduce_narrow(bytes))
    }

    fn same(ours: Reduced, theirs: Scalar) {
        assert_eq!(ours.to_be_bytes(), encode_scalar(&theirs));
        assert_eq!(ours.to_scalar(), theirs);
    }

    /// Everything that takes three values, held against the library.
    fn agrees(a: &[u8; 32], b: &[u8; 32], c: &[u8; 32]) {
        let ((x, sx), (y, sy), (z, sz)) = (both(a), both(b), both(c));
        same(x.reduced(), sx);
        same(x.add_two(y, z), sx + sy + sz);
        // The complement of x is -x - 1 + 2^256.
        let shift = reduce_narrow(&[0xff; 32]);
        same(x.complement().reduced(), shift - sx);
        assert_eq!(
            Residue::decode_public(a).map(|r| r.reduced().to_be_bytes()),
            decode_scalar(a).map(|s| encode_scalar(&s))
        );
        let y_reduced = y.reduced().0;
        same(x.add_masked(y_reduced, mask(1)).reduced(), sx + sy);
        same(x.add_masked(y_reduced, mask(0)).reduced(), sx);
        let mut sum = Sum::default();
        sum.add_product(&x, &y);
        same(sum.reduced(), sx * sy);
        sum.add_product(&y, &z);
        sum.add(&x);
        same(sum.reduced(), sx * sy + sy * sz + sx);
        assert_eq!(
            Residue::from(&sx).reduced().to_be_bytes(),
            encode_scalar(&sx)
        );
    }

    #[test]
    fn edge_values_agree_with_the_library() {
        let edges = edges();
        for a in &edges {
            for b in &edges {
                for c in &edges {
                    agrees(a, b, c);
                }
            }
        }
    }

    #[test]
    fn a_long_sum_of_the_largest_products_does_not_overflow() {
        let (x, s) = both(&[0xff; 32]);
        let (mut sum, mut expected) = (Sum::default(), Scalar::ZERO);
        for _ in 0..5000 {
            sum.add_product(&x, &x);
            expected += s * s;
        }
        same(sum.reduced(), expected);
        // The largest sum that is allowed: 2^32 products are 2^544 - 2^289 + 2^32.
        let largest = Sum([
            1 << 32,
            0,
            0,
            0,
            u64::MAX - (1 << 33) + 1,
            u64::MAX,
            u64::MAX,
            u64::MAX,
            (1 << 32) - 1,
        ]);
        same(largest.reduced(), s * s * Scalar::from(1u64 << 32));
    }

    #[test]
    fn masks_are_all_or_nothing() {
        assert_eq!((mask(0), mask(1)), (0, u64::MAX));
    }

    proptest! {
        #[test]
        fn random_values_agree_with_the_library(
            a: [u8; 32], b: [u8; 32], c: [u8; 32], many in prop::collection::vec(any::<([u8; 32], [u8; 32])>(), 0..40)
        ) {
            agrees(&a, &b, &c);
            let (mut sum, mut expected) = (Sum::default(), Scalar::ZERO);
            for (a, b) in &many {
                let ((x, sx), (y, sy)) = (both(a), both(b));
                sum.add_product(&x, &y);
                expected += sx * sy;
            }
            same(sum.reduced(), expected);
        }
    }
}
