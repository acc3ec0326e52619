//! Typed identifiers. No bare `u64`, `String` or `[u8; 32]` is an id anywhere in Quoin.

use crate::error::Rejection;
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

macro_rules! byte_id {
    ($($(#[doc = $doc:literal])+ $name:ident($len:literal);)+) => {$(
        $(#[doc = $doc])+
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
        #[cbor(transparent)]
        pub struct $name(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; $len]);

        impl $name {
            /// The bytes of the id.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl std::str::FromStr for $name {
            type Err = Rejection;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let mut bytes = [0u8; $len];
                let lower = !text.bytes().any(|b| b.is_ascii_uppercase());
                match hex::decode_to_slice(text, &mut bytes) {
                    Ok(()) if lower => Ok(Self(bytes)),
                    _ => Err(Rejection::caller(
                        stringify!($name),
                        concat!("expected ", $len, " bytes in lower-case hex"),
                    )),
                }
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )+};
}

byte_id! {
    /// A cluster: the hash of its genesis charter.
    ClusterId(32);
    /// The hash of one charter.
    CharterHash(32);
    /// A threshold key.
    KeyId(16);
    /// A request, chosen by its caller and kept across retries.
    RequestId(16);
    /// The hash of a payload, as stamped.
    PayloadHash(32);
    /// All that a request id stands for: the hash of what a stamp asks for.
    RequestBinding(32);
    /// The hash that approvals sign.
    IntentHash(32);
    /// The transcript of a finished presigning batch.
    BatchHash(32);
    /// The hash of the newest record of a journal.
    HeadHash(32);
    /// A key ceremony.
    CeremonyId(16);
    /// A freeze statement.
    FreezeId(16);
    /// The fingerprint of a credential's public key.
    CredentialId(16);
}

/// Bounds of a text id, in bytes.
pub const TEXT_ID_BYTES_MAX: usize = 64;

macro_rules! text_id {
    ($($(#[doc = $doc:literal])+ $name:ident;)+) => {$(
        $(#[doc = $doc])+
        ///
        /// 1 to 64 characters of `a-z`, `0-9`, `-`, `_` and `.`.
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode)]
        #[cbor(transparent)]
        pub struct $name(#[n(0)] String);

        impl $name {
            /// The text of the id.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = Rejection;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let ok = (1..=TEXT_ID_BYTES_MAX).contains(&text.len())
                    && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.'));
                if ok {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(Rejection::caller(
                        stringify!($name),
                        "expected 1 to 64 characters of `a-z`, `0-9`, `-`, `_` and `.`",
                    ))
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl<'b, C> Decode<'b, C> for $name {
            fn decode(
                d: &mut minicbor::Decoder<'b>,
                _: &mut C,
            ) -> Result<Self, minicbor::decode::Error> {
                d.str()?.parse().map_err(|_| {
                    minicbor::decode::Error::message(concat!("malformed ", stringify!($name)))
                })
            }
        }
    )+};
}

text_id! {
    /// A principal: whoever can ask or approve.
    PrincipalId;
    /// A role, such as `treasury` or `governor`.
    RoleId;
    /// The name of a key, unique in its cluster.
    KeyName;
    /// The id of a policy, as its `@id` annotation gives it.
    RuleId;
    /// The id of a budget.
    BudgetId;
    /// A name in the address book.
    BookName;
    /// A gateway.
    GatewayId;
}

/// The largest node index: the x-coordinate of a share fits four bits.
pub const NODE_INDEX_MAX: u8 = 15;

/// A node's index, 1 to 15, which is also the x-coordinate of its shares.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Serialize)]
#[cbor(transparent)]
#[serde(transparent)]
pub struct NodeIndex(#[n(0)] u8);

impl NodeIndex {
    /// The index, or `None` outside 1 to 15.
    #[must_use]
    pub const fn new(index: u8) -> Option<Self> {
        if index >= 1 && index <= NODE_INDEX_MAX {
            Some(Self(index))
        } else {
            None
        }
    }

    /// The index as a number from 1 to 15.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl std::fmt::Display for NodeIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl std::fmt::Debug for NodeIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "node {}", self.0)
    }
}

impl<'b, C> Decode<'b, C> for NodeIndex {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        Self::new(d.u8()?)
            .ok_or_else(|| minicbor::decode::Error::message("node index out of 1..15"))
    }
}

impl<'de> Deserialize<'de> for NodeIndex {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Self::new(u8::deserialize(d)?)
            .ok_or_else(|| serde::de::Error::custom("node index out of 1..15"))
    }
}

/// A replica of a node that forms an independent signing path; 0 until a node runs several.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Encode,
    Decode,
    Serialize,
    Deserialize,
)]
#[cbor(transparent)]
#[serde(transparent)]
pub struct Lane(#[n(0)] pub u16);

/// How often a lane has started; it only grows.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Encode,
    Decode,
    Serialize,
    Deserialize,
)]
#[cbor(transparent)]
#[serde(transparent)]
pub struct Generation(#[n(0)] pub u64);

/// One start of one lane of one node. Everything that lives only in memory is bound to it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
pub struct Boot {
    /// The node.
    #[n(0)]
    pub node: NodeIndex,
    /// The replica of the node.
    #[n(1)]
    pub lane: Lane,
    /// The start of that replica.
    #[n(2)]
    pub generation: Generation,
}

/// A batch of presignatures: who proposed it, in which boot, and its number there.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
pub struct BatchId {
    /// The boot of the proposer.
    #[n(0)]
    pub proposer: Boot,
    /// Counts the proposer's batches in that boot, from 1.
    #[n(1)]
    pub counter: u64,
}

/// One single-use presignature: the transcript of its batch and its place there.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
pub struct PresignatureId {
    /// The batch's transcript hash.
    #[n(0)]
    pub batch: BatchHash,
    /// The place in the batch, from 0.
    #[n(1)]
    pub index: u16,
}

/// The epoch of a key's shares: refresh and reshare move all shares to the next one.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Encode,
    Decode,
    Serialize,
    Deserialize,
)]
#[cbor(transparent)]
#[serde(transparent)]
pub struct ShareEpoch(#[n(0)] pub u32);

/// The number of a charter; the genesis charter has number 0.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Encode,
    Decode,
    Serialize,
    Deserialize,
)]
#[cbor(transparent)]
#[serde(transparent)]
pub struct CharterNumber(#[n(0)] pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_index_refuses_zero_and_sixteen() {
        assert!(NodeIndex::new(0).is_none());
        assert!(NodeIndex::new(16).is_none());
        assert_eq!(NodeIndex::new(15).map(NodeIndex::get), Some(15));
    }

    #[test]
    fn text_ids_refuse_what_could_be_confused() {
        assert!("alice".parse::<PrincipalId>().is_ok());
        for bad in ["", "Alice", "a b", "é", &"x".repeat(65)] {
            assert!(bad.parse::<PrincipalId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn byte_ids_read_back_what_they_print() {
        let id = RequestId([0xab; 16]);
        assert_eq!(id.to_string().parse::<RequestId>(), Ok(id));
        assert!("AB".repeat(16).parse::<RequestId>().is_err());
    }
}
