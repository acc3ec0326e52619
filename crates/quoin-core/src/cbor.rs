//! Canonical CBOR: one byte string for each value, and nothing else decodes.
//!
//! Structs are arrays of their fields in order, definite lengths, shortest integers. Decoding
//! re-encodes and compares, so a second spelling of a value is refused rather than tolerated.

use minicbor::{Decode, Decoder, Encode, decode::Error};

/// Encodes `value` in its one canonical form.
#[must_use]
pub fn encode<T: Encode<()>>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    // Writing to a `Vec` cannot fail; a custom `Encode` of ours never returns an error.
    let _ = minicbor::encode(value, &mut out);
    out
}

/// Why bytes are not a canonical encoding.
#[derive(Debug, thiserror::Error)]
pub enum CborError {
    /// More bytes than the form allows.
    #[error("encoding has `{0}` bytes, which is over the limit of `{1}`")]
    TooLong(usize, usize),
    /// Not an encoding of the type.
    #[error("malformed encoding: {0}")]
    Malformed(#[from] Error),
    /// An encoding of the type, but not the canonical one, or with bytes after it.
    #[error("encoding is not canonical")]
    NotCanonical,
}

/// Decodes `bytes`, which must be the canonical encoding and nothing more.
///
/// # Errors
/// When the bytes exceed `bytes_max`, do not decode, or are not canonical.
pub fn decode<T>(bytes: &[u8], bytes_max: usize) -> Result<T, CborError>
where
    T: Encode<()> + for<'b> Decode<'b, ()>,
{
    if bytes.len() > bytes_max {
        return Err(CborError::TooLong(bytes.len(), bytes_max));
    }
    let value: T = minicbor::decode(bytes)?;
    if encode(&value) == bytes {
        Ok(value)
    } else {
        Err(CborError::NotCanonical)
    }
}

/// Decodes a definite-length array of at most `max` elements.
///
/// # Errors
/// When the array is indefinite, longer than `max`, or an element does not decode.
pub fn decode_vec<'b, C, T: Decode<'b, C>>(
    d: &mut Decoder<'b>,
    c: &mut C,
    max: usize,
) -> Result<Vec<T>, Error> {
    let len = d
        .array()?
        .ok_or_else(|| Error::message("indefinite array"))?;
    if len > max as u64 {
        return Err(Error::message("array too long"));
    }
    (0..len).map(|_| T::decode(d, c)).collect()
}

/// The version byte that opens every signed, hashed or stored form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version<const N: u8>;

impl<C, const N: u8> Encode<C> for Version<N> {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.u8(N)?.ok()
    }
}

impl<'b, C, const N: u8> Decode<'b, C> for Version<N> {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, Error> {
        if d.u8()? == N {
            Ok(Self)
        } else {
            Err(Error::message("unknown version"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Encode, Decode)]
    struct Pair {
        #[n(0)]
        version: Version<1>,
        #[n(1)]
        number: u64,
    }

    #[test]
    fn decode_refuses_a_second_spelling() {
        let pair = Pair {
            version: Version,
            number: 7,
        };
        let bytes = encode(&pair);
        assert_eq!(bytes, [0x82, 0x01, 0x07]);
        assert_eq!(decode::<Pair>(&bytes, 16).unwrap(), pair);
        for (name, other) in [
            ("long integer", &[0x82u8, 0x01, 0x18, 0x07][..]),
            ("indefinite array", &[0x9f, 0x01, 0x07, 0xff]),
            ("bytes after", &[0x82, 0x01, 0x07, 0x00]),
            ("extra field", &[0x83, 0x01, 0x07, 0x00]),
            ("other version", &[0x82, 0x02, 0x07]),
            ("truncated", &[0x82, 0x01]),
        ] {
            assert!(decode::<Pair>(other, 16).is_err(), "{name}");
        }
        assert!(matches!(
            decode::<Pair>(&bytes, 2),
            Err(CborError::TooLong(3, 2))
        ));
    }
}
