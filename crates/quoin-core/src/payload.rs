//! Payloads: the complete thing that a caller wants signed or done, as bytes on the wire.
//!
//! A payload has no meaning here. Only a decoder of `quoin-chain` can turn it into an intent.

use crate::cbor;
use crate::hash::tagged;
use crate::ids::{FreezeId, KeyId, KeyName, NodeIndex, PayloadHash, PrincipalId};
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
    /// A request to change a key's shares or its state.
    #[n(5)]
    ChangeKey(#[n(0)] ChangeKey),
    /// A request of the operators that concerns a node.
    #[n(6)]
    ChangeNode(#[n(0)] ChangeNode),
    /// A request to lift freezes.
    #[n(7)]
    Unfreeze(#[n(0)] Unfreeze),
}

/// The most freezes that one request lifts.
pub const LIFTS_MAX: usize = 64;

/// A request to lift freezes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unfreeze {
    /// The freezes that end, ascending. They never take effect again.
    #[n(0)]
    pub lifts: Vec<FreezeId>,
    /// Whose freezes count no longer, for ever, ascending.
    #[n(1)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suspends: Vec<PrincipalId>,
}

/// A request to change a key's shares or its state.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeKey {
    /// The key; the stamp names the same.
    #[n(0)]
    pub key: KeyId,
    /// What is to become of it.
    #[n(1)]
    pub change: KeyChange,
}

/// What is to become of a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum KeyChange {
    /// New shares for the same nodes; the key stays.
    #[n(0)]
    Refresh,
    /// New shares for the nodes and the threshold of the charter in force; the key stays.
    #[n(1)]
    Reshare {
        /// The old holders that deal, ascending; exactly as many as the key's threshold.
        #[n(0)]
        dealers: Vec<NodeIndex>,
    },
    /// No signatures until it is resumed.
    #[n(2)]
    Suspend,
    /// Back into use after a suspension.
    #[n(3)]
    Resume,
    /// Out of use for good (NIST: deactivated); its shares stay.
    #[n(4)]
    Retire,
    /// Out of use for good, because somebody else may know it.
    #[n(5)]
    Compromise,
    /// Erases every share. Only a retired or compromised key can be destroyed.
    #[n(6)]
    Destroy,
}

/// A request of the operators that concerns a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeNode {
    /// The node.
    #[n(0)]
    pub node: NodeIndex,
    /// What is to be done.
    #[n(1)]
    pub change: NodeChange,
}

/// What is to be done about a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
#[cbor(index_only)]
#[serde(rename_all = "kebab-case")]
pub enum NodeChange {
    /// Lifts the quarantine that its strikes have brought: the operators have found the cause.
    #[n(0)]
    Pardon,
    /// Lifts its fence and takes its next boot as new: it was restored under the operators' eyes.
    #[n(1)]
    Readmit,
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
    /// [`Payload::ChangeKey`].
    ChangeKey,
    /// [`Payload::ChangeNode`].
    ChangeNode,
    /// [`Payload::Unfreeze`].
    Unfreeze,
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
            Self::ChangeKey(_) => PayloadKind::ChangeKey,
            Self::ChangeNode(_) => PayloadKind::ChangeNode,
            Self::Unfreeze(_) => PayloadKind::Unfreeze,
        }
    }
}

impl KeyChange {
    /// The change's name, as policies and commands write it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Refresh => "refresh",
            Self::Reshare { .. } => "reshare",
            Self::Suspend => "suspend",
            Self::Resume => "resume",
            Self::Retire => "retire",
            Self::Compromise => "compromise",
            Self::Destroy => "destroy",
        }
    }

    /// Whether the nodes deal new shares for it.
    #[must_use]
    pub const fn is_ceremony(&self) -> bool {
        matches!(self, Self::Refresh | Self::Reshare { .. })
    }
}

impl NodeChange {
    /// The change's name, as policies and commands write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pardon => "pardon",
            Self::Readmit => "readmit",
        }
    }
}
