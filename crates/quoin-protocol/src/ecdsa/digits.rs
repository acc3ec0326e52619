//! A secret scalar in signed odd digits, for tables that hold odd multiples only.
//!
//! No digit is zero, so multiplying by digits never meets the identity, and every scalar takes the
//! same steps. In constant time.

use super::limbs::{Residue, mask};
use k256::Scalar;
use zeroize::{Zeroize, Zeroizing};

/// One digit d: the place `(|d| - 1) / 2` of its multiple in a table, and 1 when it is negative.
pub(super) type Digit = (u8, u8);

/// Digits of `WIDTH` bits, the lowest first: `k = sum d_i 2^(i WIDTH)` modulo q, each `d_i` odd and
/// between `1 - 2^WIDTH` and `2^WIDTH - 1`. `COUNT` digits must cover 256 bits.
///
/// An odd k is taken as it is. For an even one the digits are those of q - k, which is odd, with all
/// signs turned. So the digits' sizes always add up to an odd integer of at most q.
///
/// They are written where the caller keeps and wipes them: an array that is returned leaves copies.
pub(super) fn odd_digits<const WIDTH: u32, const COUNT: usize>(
    scalar: &Scalar,
    digits: &mut [Digit; COUNT],
) {
    let value = Zeroizing::new(Residue::from(scalar));
    let (mut odd, turned) = value.odd_or_complement();
    let mut words = Zeroizing::new(odd.words());
    odd.zeroize();
    let places = (1u8 << (WIDTH - 1)) - 1;
    for (digit, left) in digits.iter_mut().zip((0..COUNT).rev()) {
        // With the lowest bit set, the WIDTH + 1 bits at each digit's place, less 2^WIDTH, add up
        // to the scalar; the highest digit has nothing above that would be taken off.
        let [low, ..] = *words;
        let bits = (low as u8 & (2u8 << WIDTH).wrapping_sub(1)) | 1;
        let negative = if left == 0 { 0 } else { (bits >> WIDTH) ^ 1 };
        let place = (bits >> 1) & places;
        *digit = (
            place ^ (places & mask(negative.into()) as u8),
            negative ^ turned,
        );
        shift::<WIDTH>(&mut words);
    }
}

/// Drops the lowest digit.
fn shift<const WIDTH: u32>(words: &mut [u64; 4]) {
    let [a, b, c, d] = *words;
    let up = 64 - WIDTH;
    *words = [
        a >> WIDTH | b << up,
        b >> WIDTH | c << up,
        c >> WIDTH | d << up,
        d >> WIDTH,
    ];
}

/// Ones where two places agree.
#[inline(always)]
pub(super) fn same_place(a: u8, b: u8) -> u64 {
    // Only zero minus one borrows.
    mask(u64::from(a ^ b).wrapping_sub(1) >> 63)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value<const WIDTH: u32, const COUNT: usize>(scalar: &Scalar) -> Scalar {
        let mut digits = [(0, 0); COUNT];
        odd_digits::<WIDTH, COUNT>(scalar, &mut digits);
        digits
            .iter()
            .rev()
            .fold(Scalar::ZERO, |sum, (place, sign)| {
                assert!(*place < 1 << (WIDTH - 1) && *sign < 2);
                let size = Scalar::from(2 * u64::from(*place) + 1);
                let digit = if *sign == 1 { -size } else { size };
                sum * Scalar::from(1u64 << WIDTH) + digit
            })
    }

    fn adds_up(scalar: Scalar) {
        assert_eq!(value::<4, 64>(&scalar), scalar);
        assert_eq!(value::<5, 52>(&scalar), scalar);
        assert_eq!(value::<6, 43>(&scalar), scalar);
    }

    #[test]
    fn digits_of_edge_values_add_up() {
        let high = Scalar::from(u128::MAX);
        for scalar in [0u64, 1, 2, 3, 15, 16, 31, 32, 33, u64::MAX].map(Scalar::from) {
            adds_up(scalar);
            adds_up(-scalar);
            adds_up(scalar * high);
        }
    }

    #[test]
    fn places_agree_only_with_themselves() {
        for a in 0..32 {
            for b in 0..32 {
                assert_eq!(same_place(a, b), if a == b { u64::MAX } else { 0 });
            }
        }
    }

    proptest! {
        #[test]
        fn digits_of_random_values_add_up(a: u128, b: u128) {
            adds_up(Scalar::from(a) * Scalar::from(u128::MAX) + Scalar::from(b));
        }
    }
}
