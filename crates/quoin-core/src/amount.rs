//! Amounts of an asset in its smallest unit: 256-bit, no floats, no wrapping.

use crate::error::Rejection;
use minicbor::{Decode, Encode};
use ruint::aliases::U256;
use serde::{Deserialize, Serialize};

/// An amount in the smallest unit of its asset (wei, satoshi, lamport).
///
/// Arithmetic is checked: there is no operator that could wrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(U256);

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(U256::ZERO);
    /// The largest amount, which tokens use for "unlimited".
    pub const MAX: Self = Self(U256::MAX);

    /// An amount from its 32 big-endian bytes.
    #[must_use]
    pub fn from_be_bytes(bytes: [u8; 32]) -> Self {
        Self(U256::from_be_bytes(bytes))
    }

    /// The amount as 32 big-endian bytes.
    #[must_use]
    pub fn to_be_bytes(self) -> [u8; 32] {
        self.0.to_be_bytes()
    }

    /// The sum, or `None` over 256 bits.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference, or `None` below zero.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// The product, or `None` over 256 bits.
    #[must_use]
    pub fn checked_mul(self, factor: Self) -> Option<Self> {
        self.0.checked_mul(factor.0).map(Self)
    }

    /// The quotient rounded down; `None` when dividing by zero.
    #[must_use]
    pub fn checked_div(self, divisor: u64) -> Option<Self> {
        self.0.checked_div(U256::from(divisor)).map(Self)
    }

    /// The amount as a signed 64-bit number, when it fits.
    #[must_use]
    pub fn to_i64(self) -> Option<i64> {
        i64::try_from(self.0).ok()
    }

    /// Whether the amount is zero.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.0.is_zero()
    }
}

impl From<u64> for Amount {
    fn from(value: u64) -> Self {
        Self(U256::from(value))
    }
}

impl From<u128> for Amount {
    fn from(value: u128) -> Self {
        Self(U256::from(value))
    }
}

impl std::fmt::Display for Amount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.0, f)
    }
}

impl std::str::FromStr for Amount {
    type Err = Rejection;

    /// Reads a decimal number without sign, separator or leading zero.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = |why: &str| Rejection::caller("amount", why.to_owned());
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad("expected a whole, non-negative decimal number"));
        }
        if text.len() > 1 && text.starts_with('0') {
            return Err(bad("a number has no leading zero"));
        }
        U256::from_str_radix(text, 10)
            .map(Self)
            .map_err(|_| bad("number over 256 bits"))
    }
}

impl Serialize for Amount {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl<C> Encode<C> for Amount {
    /// A byte string, big-endian, without leading zero bytes.
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(&self.0.to_be_bytes_trimmed_vec())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Amount {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let bytes = d.bytes()?;
        if bytes.len() > 32 || bytes.first() == Some(&0) {
            return Err(minicbor::decode::Error::message(
                "amount not in its shortest form",
            ));
        }
        U256::try_from_be_slice(bytes)
            .map(Self)
            .ok_or_else(|| minicbor::decode::Error::message("amount over 256 bits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_refuses_what_could_be_misread() {
        for bad in ["", "-1", "1.0", "01", "1e3", "0x10", " 1", "1_000"] {
            assert!(bad.parse::<Amount>().is_err(), "{bad}");
        }
        let over = format!("{}0", Amount::MAX);
        assert!(over.parse::<Amount>().is_err());
        assert_eq!("0".parse::<Amount>().unwrap(), Amount::ZERO);
    }

    #[test]
    fn arithmetic_never_wraps() {
        assert_eq!(Amount::MAX.checked_add(Amount::from(1u64)), None);
        assert_eq!(Amount::ZERO.checked_sub(Amount::from(1u64)), None);
        assert_eq!(Amount::MAX.checked_mul(Amount::from(2u64)), None);
        assert_eq!(Amount::MAX.to_i64(), None);
    }

    #[test]
    fn encoding_is_the_shortest_byte_string() {
        use crate::cbor::{decode, encode};
        assert_eq!(encode(&Amount::ZERO), [0x40]);
        assert_eq!(encode(&Amount::from(258u64)), [0x42, 1, 2]);
        assert!(decode::<Amount>(&[0x41, 0], 40).is_err());
        assert_eq!(
            decode::<Amount>(&encode(&Amount::MAX), 40).unwrap(),
            Amount::MAX
        );
    }
}
