//! Payloads: the complete thing that a caller wants signed or done, as bytes on the wire.
//!
//! A payload has no meaning here. Only a decoder of `quoin-chain` can turn it into an intent.

use crate::cbor;
use crate::hash::tagged;
use crate::ids::{KeyName, PayloadHash};
use crate::stamp::{Purpose, Scheme};
use crate::tags;
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// The largest payload: EVM nodes refuse transactions over 128 KiB.
pub const PAYLOAD_BYTES_MAX: usize = 128 * 1024;

/// A payload of any kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Payload {
    /// An unsigned EVM transaction: the bytes whose Keccak-256 is signed (EIP-155 legacy RLP, or
    /// an EIP-2718 type byte and its RLP).
    #[n(0)]
    EvmTransaction(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// EIP-712 typed data as JSON text.
    #[n(1)]
    EvmTypedData(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// An EIP-191 personal message.
    #[n(2)]
    EvmMessage(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// A text that no chain gives a meaning to, signed under Quoin's own domain tag.
    #[n(3)]
    Text(#[n(0)] String),
    /// A request to make a threshold key.
    #[n(4)]
    CreateKey(#[n(0)] CreateKey),
}

/// A request to make a threshold key, with the charter's nodes and threshold.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateKey {
    /// The key's name, unique in the cluster.
    #[n(0)]
    pub name: KeyName,
    /// The signature scheme.
    #[n(1)]
    pub scheme: Scheme,
    /// What the key is for, for ever.
    #[n(2)]
    pub purpose: Purpose,
}

/// The kind of a payload, without its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PayloadKind {
    /// [`Payload::EvmTransaction`].
    EvmTransaction,
    /// [`Payload::EvmTypedData`].
    EvmTypedData,
    /// [`Payload::EvmMessage`].
    EvmMessage,
    /// [`Payload::Text`].
    Text,
    /// [`Payload::CreateKey`].
    CreateKey,
}

impl Payload {
    /// The hash that the stamp signs.
    #[must_use]
    pub fn hash(&self) -> PayloadHash {
        PayloadHash(tagged(tags::PAYLOAD, &[&[1], &cbor::encode(self)]))
    }

    /// The kind.
    #[must_use]
    pub const fn kind(&self) -> PayloadKind {
        match self {
            Self::EvmTransaction(_) => PayloadKind::EvmTransaction,
            Self::EvmTypedData(_) => PayloadKind::EvmTypedData,
            Self::EvmMessage(_) => PayloadKind::EvmMessage,
            Self::Text(_) => PayloadKind::Text,
            Self::CreateKey(_) => PayloadKind::CreateKey,
        }
    }
}
