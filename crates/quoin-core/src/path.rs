//! Derivation paths: which child of a key an account is.
//!
//! A path has non-hardened BIP-32 indices only, because a hardened child is computed from the
//! private key, and no machine has a threshold key's. How the levels of BIP-44 (BIP-86 for Taproot)
//! map: the key itself stands at the account level, `m/44'/coin'/account'`, and its path is what
//! follows there. The first receiving address is `m/0/0`, the next one `m/0/1`, the first change
//! address `m/1/0`. A wallet that is given the key's xpub as that of an account shows the same
//! addresses. The hardened levels above have no text here; only single keys, which `quoin single`
//! reads and writes, have full BIP-44 paths.
//!
//! Source: BIP-32 ("Child key derivation (CKD) functions"), BIP-44.

use crate::error::Rejection;
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// The most levels of a path. BIP-44 has two below the account; eight leave room for a desk's own
/// numbering and keep what a signer computes for each request small.
pub const DEPTH_MAX: usize = 8;
/// The first index that means a hardened child in BIP-32.
pub const HARDENED_FROM: u32 = 1 << 31;

/// A path from a key to one of its children: `m` is the key itself, `m/0/5` the sixth child of its
/// first child.
///
/// At most [`DEPTH_MAX`] indices, each below [`HARDENED_FROM`]. The root is left out of encodings
/// and of JSON, so an account that is the key itself is written as though there were no paths.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DerivationPath(Vec<u32>);

impl DerivationPath {
    /// The key itself.
    pub const ROOT: Self = Self(Vec::new());

    /// The path of these indices; `None` when there are too many or one is too large.
    #[must_use]
    pub fn new(indices: Vec<u32>) -> Option<Self> {
        let fits = indices.len() <= DEPTH_MAX && indices.iter().all(|i| *i < HARDENED_FROM);
        fits.then_some(Self(indices))
    }

    /// Its indices, from the key downwards.
    #[must_use]
    pub fn indices(&self) -> &[u32] {
        &self.0
    }

    /// Whether it is the key itself.
    #[must_use]
    pub const fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// What follows the `m`: nothing for the root, `/0/5` for `m/0/5`.
    #[must_use]
    pub fn suffix(&self) -> String {
        self.0.iter().map(|index| format!("/{index}")).collect()
    }
}

impl std::fmt::Display for DerivationPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "m{}", self.suffix())
    }
}

impl std::str::FromStr for DerivationPath {
    type Err = Rejection;

    /// Reads the one spelling that `Display` writes.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let reject = |why: &'static str| Rejection::caller("path", why);
        if text == "m" {
            return Ok(Self::ROOT);
        }
        let levels = text
            .strip_prefix("m/")
            .ok_or_else(|| reject("a path starts with `m`, as in `m/0/5`"))?;
        let mut indices = Vec::new();
        for level in levels.split('/') {
            if indices.len() == DEPTH_MAX {
                return Err(reject("a path has at most 8 levels"));
            }
            if level.ends_with(['\'', 'h', 'H']) {
                return Err(reject(
                    "a threshold key has no hardened children: the key itself stands at \
                     `m/44'/coin'/account'`, so write only what follows, as in `m/0/5`",
                ));
            }
            let digits = !level.is_empty() && level.bytes().all(|b| b.is_ascii_digit());
            let canonical = digits && (level == "0" || !level.starts_with('0'));
            let index = level.parse::<u32>().ok().filter(|i| *i < HARDENED_FROM);
            match index {
                Some(index) if canonical => indices.push(index),
                _ => {
                    return Err(reject(
                        "each level is a number from 0 to 2147483647 without leading zeros",
                    ));
                }
            }
        }
        Ok(Self(indices))
    }
}

impl Serialize for DerivationPath {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DerivationPath {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl<C> Encode<C> for DerivationPath {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        c: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        self.0.encode(e, c)
    }

    fn is_nil(&self) -> bool {
        self.is_root()
    }
}

impl<'b, C> Decode<'b, C> for DerivationPath {
    fn decode(d: &mut minicbor::Decoder<'b>, c: &mut C) -> Result<Self, minicbor::decode::Error> {
        let indices = crate::cbor::decode_vec(d, c, DEPTH_MAX)?;
        Self::new(indices).ok_or_else(|| minicbor::decode::Error::message("hardened index"))
    }

    fn nil() -> Option<Self> {
        Some(Self::ROOT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cbor;
    use crate::stamp::Account;

    fn path(text: &str) -> DerivationPath {
        text.parse().unwrap()
    }

    #[test]
    fn a_path_has_one_spelling() {
        for text in ["m", "m/0", "m/0/5", "m/2147483647", "m/1/2/3/4/5/6/7/8"] {
            assert_eq!(path(text).to_string(), text);
        }
        for text in [
            "",
            "m/",
            "/0",
            "0/5",
            "M/0",
            "m/00",
            "m/+1",
            "m/-1",
            "m/ 1",
            "m//1",
            "m/1/",
            "m/0x1",
            "m/2147483648",
            "m/4294967296",
            "m/1/2/3/4/5/6/7/8/9",
        ] {
            assert!(text.parse::<DerivationPath>().is_err(), "{text}");
        }
    }

    #[test]
    fn hardened_levels_are_refused_with_the_way_to_write_them() {
        for text in ["m/44'/60'/0'/0/5", "m/44h/0", "m/0/5H"] {
            let refusal = text.parse::<DerivationPath>().unwrap_err();
            assert!(
                refusal.to_string().contains("m/44'/coin'/account'"),
                "{refusal}"
            );
        }
    }

    #[test]
    fn indices_and_depth_are_bounded() {
        assert_eq!(path("m/0/5").indices(), [0, 5]);
        assert!(DerivationPath::new(vec![0; DEPTH_MAX]).is_some());
        assert!(DerivationPath::new(vec![0; DEPTH_MAX + 1]).is_none());
        assert!(DerivationPath::new(vec![HARDENED_FROM - 1]).is_some());
        assert!(DerivationPath::new(vec![HARDENED_FROM]).is_none());
    }

    fn account(text: &str) -> Account {
        Account {
            chain: "quoin".parse().unwrap(),
            address: "a".parse().unwrap(),
            path: path(text),
        }
    }

    #[test]
    fn golden_an_account_with_and_without_a_path() {
        let hex = |text| hex::encode(cbor::encode(&account(text)));
        let root = hex("m");
        assert!(root.starts_with("82"), "two fields only: {root}");
        let child = hex("m/0/5");
        assert_eq!(child, format!("83{}820005", &root[2..]));
        for text in ["m", "m/0/5"] {
            let bytes = cbor::encode(&account(text));
            assert_eq!(cbor::decode::<Account>(&bytes, 256).unwrap(), account(text));
        }
    }

    #[test]
    fn the_root_has_no_second_encoding_and_bad_paths_none() {
        let root = cbor::encode(&account("m"));
        let with = |path: &[u8]| [&[0x83], &root[1..], path].concat();
        assert!(cbor::decode::<Account>(&with(&[0x81, 0x00]), 256).is_ok());
        for (what, path) in [
            ("an empty path", &[0x80][..]),
            ("a null", &[0xf6]),
            ("a hardened index", &[0x81, 0x1a, 0x80, 0, 0, 0]),
            ("a ninth level", &[0x89, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            ("a long integer", &[0x81, 0x18, 0x00]),
        ] {
            assert!(cbor::decode::<Account>(&with(path), 256).is_err(), "{what}");
        }
    }

    #[test]
    fn json_leaves_the_root_out() {
        let json = |text| serde_json::to_string(&account(text)).unwrap();
        assert_eq!(json("m"), r#"{"chain":"quoin","address":"a"}"#);
        assert_eq!(
            json("m/0/5"),
            r#"{"chain":"quoin","address":"a","path":"m/0/5"}"#
        );
        for text in ["m", "m/0/5"] {
            assert_eq!(
                serde_json::from_str::<Account>(&json(text)).unwrap(),
                account(text)
            );
        }
    }
}
