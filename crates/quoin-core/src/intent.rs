//! Intents: the decoded meaning of a payload, as policies see it.
//!
//! An intent is plain data. That it belongs to certain bytes is vouched for by
//! `quoin_chain::Decoded`, which only a chain decoder can make.

use crate::amount::Amount;
use crate::error::Rejection;
use crate::ids::{FreezeId, KeyId, KeyName, NodeIndex, PrincipalId};
use crate::payload::{KeyChange, NodeChange};
use crate::stamp::{Purpose, Scheme};
use crate::time::TimeMs;
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// A chain or venue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum ChainId {
    /// Quoin itself: key ceremonies and texts.
    #[n(0)]
    Quoin,
    /// An EVM chain, by its EIP-155 id.
    #[n(1)]
    Evm(#[n(0)] u64),
}

impl std::fmt::Display for ChainId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Quoin => f.write_str("quoin"),
            Self::Evm(id) => write!(f, "eip155:{id}"),
        }
    }
}

impl std::str::FromStr for ChainId {
    type Err = Rejection;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || Rejection::caller("chain", "expected `quoin` or `eip155:<id>`");
        if text == "quoin" {
            return Ok(Self::Quoin);
        }
        let digits = text.strip_prefix("eip155:").ok_or_else(bad)?;
        let id: u64 = digits.parse().map_err(|_| bad())?;
        // One chain has one spelling: no sign, no leading zero.
        if id.to_string() == digits {
            Ok(Self::Evm(id))
        } else {
            Err(bad())
        }
    }
}

impl Serialize for ChainId {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ChainId {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The longest address text.
pub const ADDRESS_BYTES_MAX: usize = 128;

/// An address in the one spelling that policies and budgets compare: for EVM chains `0x` and 40
/// lower-case hex digits, elsewhere the chain's own text form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Serialize)]
#[cbor(transparent)]
#[serde(transparent)]
pub struct Address(#[n(0)] String);

impl Address {
    /// An EVM address.
    #[must_use]
    pub fn evm(bytes: [u8; 20]) -> Self {
        Self(format!("0x{}", hex::encode(bytes)))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The 20 bytes of an EVM address.
    #[must_use]
    pub fn to_evm(&self) -> Option<[u8; 20]> {
        let mut bytes = [0u8; 20];
        hex::decode_to_slice(self.0.strip_prefix("0x")?, &mut bytes).ok()?;
        Some(bytes)
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for Address {
    type Err = Rejection;

    /// Reads an address; EVM addresses in any letter case become lower case.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let printable = text.bytes().all(|b| b.is_ascii_graphic());
        if text.is_empty() || text.len() > ADDRESS_BYTES_MAX || !printable {
            return Err(Rejection::caller(
                "address",
                "expected 1 to 128 printable characters",
            ));
        }
        if let Some(digits) = text.strip_prefix("0x") {
            let mut bytes = [0u8; 20];
            hex::decode_to_slice(digits, &mut bytes)
                .map_err(|_| Rejection::caller("address", "expected `0x` and 40 hex digits"))?;
            return Ok(Self::evm(bytes));
        }
        Ok(Self(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl<'b, C> Decode<'b, C> for Address {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let text = d.str()?;
        let address: Self = text
            .parse()
            .map_err(|_| minicbor::decode::Error::message("malformed address"))?;
        if address.0 == text {
            Ok(address)
        } else {
            Err(minicbor::decode::Error::message(
                "address not in its canonical spelling",
            ))
        }
    }
}

/// An asset: `<chain>/native`, or `<chain>/token:<contract>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct AssetId {
    /// The chain that the asset lives on.
    #[n(0)]
    pub chain: ChainId,
    /// The token's contract; `None` for the chain's own coin.
    #[n(1)]
    pub token: Option<Address>,
}

impl std::fmt::Display for AssetId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.token {
            None => write!(f, "{}/native", self.chain),
            Some(token) => write!(f, "{}/token:{token}", self.chain),
        }
    }
}

impl std::str::FromStr for AssetId {
    type Err = Rejection;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || {
            Rejection::caller(
                "asset",
                "expected `<chain>/native` or `<chain>/token:<contract>`",
            )
        };
        let (chain, rest) = text.split_once('/').ok_or_else(bad)?;
        let chain = chain.parse()?;
        if rest == "native" {
            return Ok(Self { chain, token: None });
        }
        let token = rest.strip_prefix("token:").ok_or_else(bad)?.parse()?;
        Ok(Self {
            chain,
            token: Some(token),
        })
    }
}

impl Serialize for AssetId {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AssetId {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What signing the payload would do to the risk of the account's owner.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[cbor(index_only)]
#[serde(rename_all = "kebab-case")]
pub enum RiskEffect {
    /// Cancels, reduce-only orders, self-transfers of nothing.
    #[n(0)]
    Reduces,
    /// Texts and the like.
    #[n(1)]
    Neutral,
    /// Money or rights may leave.
    #[n(2)]
    Increases,
}

/// Until when a signature over the payload could still execute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Horizon {
    /// Until this time.
    #[n(0)]
    Until(#[n(0)] TimeMs),
    /// Until the account's slot is used by another transaction.
    #[n(1)]
    Slot,
    /// For ever.
    #[n(2)]
    Unbounded,
}

/// What one payment may fill: a nonce of an account on a chain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize)]
pub struct Slot {
    /// The chain.
    #[n(0)]
    pub chain: ChainId,
    /// The account.
    #[n(1)]
    pub account: Address,
    /// The account's nonce.
    #[n(2)]
    pub nonce: u64,
}

/// An amount of an asset.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize)]
pub struct AssetAmount {
    /// The asset.
    #[n(0)]
    pub asset: AssetId,
    /// The amount in the asset's smallest unit.
    #[n(1)]
    pub amount: Amount,
}

/// The typed action of an intent.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Action {
    /// Moves the account's own asset to `to`.
    #[n(0)]
    Transfer {
        /// What moves.
        #[n(0)]
        value: AssetAmount,
        /// The recipient.
        #[n(1)]
        to: Address,
    },
    /// Moves somebody's token under an allowance.
    #[n(1)]
    TransferFrom {
        /// What moves.
        #[n(0)]
        value: AssetAmount,
        /// Whose token it is.
        #[n(1)]
        from: Address,
        /// The recipient.
        #[n(2)]
        to: Address,
    },
    /// Lets `spender` move up to this much, on chain or by a signed permit.
    #[n(2)]
    Approve {
        /// The allowance.
        #[n(0)]
        value: AssetAmount,
        /// Who may spend.
        #[n(1)]
        spender: Address,
        /// Whether it is a signed permit (EIP-2612) rather than a transaction.
        #[n(2)]
        permit: bool,
    },
    /// Calls a contract in a way that has no type of its own.
    #[n(3)]
    Call {
        /// The contract.
        #[n(0)]
        target: Address,
        /// The first four bytes of the call's data.
        #[n(1)]
        selector: [u8; 4],
        /// Native coin sent along.
        #[n(2)]
        value: AssetAmount,
        /// SHA-256 of the call's data.
        #[cbor(n(3), with = "minicbor::bytes")]
        data_hash: [u8; 32],
    },
    /// Signs EIP-712 typed data that has no type of its own.
    #[n(4)]
    TypedData {
        /// The domain's name, when it has one.
        #[n(0)]
        domain_name: Option<String>,
        /// The domain's verifying contract, when it has one.
        #[n(1)]
        verifying_contract: Option<Address>,
        /// The primary type.
        #[n(2)]
        primary_type: String,
    },
    /// Signs a text for people or off-chain systems.
    #[n(5)]
    Message {
        /// How long the message is.
        #[n(0)]
        bytes: u64,
        /// Whether it is readable text.
        #[n(1)]
        readable: bool,
    },
    /// Something that the decoder cannot explain; only a rule that names this class can allow it.
    #[n(6)]
    Unexplained {
        /// Why it has no better class.
        #[n(0)]
        reason: Unexplained,
        /// The contract, when there is one.
        #[n(1)]
        target: Option<Address>,
        /// Native coin sent along.
        #[n(2)]
        value: AssetAmount,
    },
    /// Makes a threshold key.
    #[n(7)]
    CreateKey {
        /// The key's name.
        #[n(0)]
        name: KeyName,
        /// Its scheme.
        #[n(1)]
        scheme: Scheme,
        /// Its purpose.
        #[n(2)]
        purpose: Purpose,
    },
    /// Changes a key's shares or its state.
    #[n(8)]
    ChangeKey {
        /// The key.
        #[n(0)]
        key: KeyId,
        /// What is to become of it.
        #[n(1)]
        change: KeyChange,
    },
    /// Changes how the others see a node.
    #[n(9)]
    ChangeNode {
        /// The node.
        #[n(0)]
        node: NodeIndex,
        /// What is to be done.
        #[n(1)]
        change: NodeChange,
    },
    /// Lifts freezes.
    #[n(10)]
    Unfreeze {
        /// The freezes that end.
        #[n(0)]
        lifts: Vec<FreezeId>,
        /// Whose freezes count no longer.
        #[n(1)]
        suspends: Vec<PrincipalId>,
    },
}

/// Why a payload has no better class than [`Action::Unexplained`].
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[cbor(index_only)]
#[serde(rename_all = "kebab-case")]
pub enum Unexplained {
    /// Deploys a contract.
    #[n(0)]
    Deploys,
    /// Call data of one to three bytes.
    #[n(1)]
    ShortCallData,
    /// A known selector whose arguments do not decode exactly.
    #[n(2)]
    MalformedArguments,
    /// A known token call that also sends native coin.
    #[n(3)]
    ValueOnTokenCall,
    /// A signed permit whose fields do not match the standard.
    #[n(4)]
    MalformedPermit,
}

impl Action {
    /// The action's name, as policies write it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Transfer { .. } => "transfer",
            Self::TransferFrom { .. } => "transfer_from",
            Self::Approve { .. } => "approve",
            Self::Call { .. } => "call",
            Self::TypedData { .. } => "typed_data",
            Self::Message { .. } => "message",
            Self::Unexplained { .. } => "unexplained",
            Self::CreateKey { .. } => "create_key",
            Self::ChangeKey { .. } => "change_key",
            Self::ChangeNode { .. } => "change_node",
            Self::Unfreeze { .. } => "unfreeze",
        }
    }

    /// What leaves the account, or may leave it later under an allowance.
    #[must_use]
    pub const fn value(&self) -> Option<&AssetAmount> {
        match self {
            Self::Transfer { value, .. }
            | Self::TransferFrom { value, .. }
            | Self::Approve { value, .. }
            | Self::Call { value, .. }
            | Self::Unexplained { value, .. } => Some(value),
            Self::TypedData { .. }
            | Self::Message { .. }
            | Self::CreateKey { .. }
            | Self::ChangeKey { .. }
            | Self::ChangeNode { .. }
            | Self::Unfreeze { .. } => None,
        }
    }

    /// Who receives money or rights: recipient, spender or contract.
    #[must_use]
    pub const fn counterparty(&self) -> Option<&Address> {
        match self {
            Self::Transfer { to, .. } | Self::TransferFrom { to, .. } => Some(to),
            Self::Approve { spender, .. } => Some(spender),
            Self::Call { target, .. } => Some(target),
            Self::TypedData {
                verifying_contract, ..
            } => verifying_contract.as_ref(),
            Self::Unexplained { target, .. } => target.as_ref(),
            Self::Message { .. }
            | Self::CreateKey { .. }
            | Self::ChangeKey { .. }
            | Self::ChangeNode { .. }
            | Self::Unfreeze { .. } => None,
        }
    }
}

/// The decoded meaning of a payload.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode, Serialize)]
pub struct Intent {
    /// The typed action.
    #[n(0)]
    pub action: Action,
    /// The chain.
    #[n(1)]
    pub chain: ChainId,
    /// The slot that it fills, when it is a transaction.
    #[n(2)]
    pub slot: Option<Slot>,
    /// The most that its execution can cost in fees, in the chain's own coin.
    #[n(3)]
    pub fee_max: Option<AssetAmount>,
    /// Its effect on risk.
    #[n(4)]
    pub risk: RiskEffect,
    /// Until when the signature could execute.
    #[n(5)]
    pub horizon: Horizon,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_has_one_spelling() {
        let mixed: Address = "0xABcdefABcdefABcdefABcdefABcdefABcdefABcd"
            .parse()
            .unwrap();
        assert_eq!(mixed.as_str(), "0xabcdefabcdefabcdefabcdefabcdefabcdefabcd");
        let upper = crate::cbor::encode(&"0xABcdefABcdefABcdefABcdefABcdefABcdefABcd".to_owned());
        assert!(crate::cbor::decode::<Address>(&upper, 64).is_err());
        assert!("0x12".parse::<Address>().is_err());
    }

    #[test]
    fn assets_and_chains_read_back_what_they_print() {
        for text in [
            "quoin/native",
            "eip155:1/native",
            "eip155:1/token:0xabcdefabcdefabcdefabcdefabcdefabcdefabcd",
        ] {
            assert_eq!(text.parse::<AssetId>().unwrap().to_string(), text);
        }
        for bad in [
            "eip155:01/native",
            "eip155:+1/native",
            "eip155:1",
            "eip155:1/token:",
        ] {
            assert!(bad.parse::<AssetId>().is_err(), "{bad}");
        }
    }
}
