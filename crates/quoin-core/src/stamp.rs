//! The stamp: what a caller signs to ask for something.
//!
//! It binds who asks (principal and credential), for which account, under at least which charter,
//! and the hash of a complete payload. Nonces and fees are filled before stamping, so a stamp that
//! is signed twice can only fill the same slot.

use crate::cbor::Version;
use crate::ids::{
    CharterHash, CharterNumber, ClusterId, CredentialId, KeyId, PayloadHash, PrincipalId, RequestId,
};
use crate::intent::{Address, ChainId};
use crate::statement::Statement;
use crate::tags::{self, Tag};
use crate::time::TimeMs;
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// How a signature is made; the same judgement precedes each.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[cbor(index_only)]
#[serde(rename_all = "kebab-case")]
pub enum CustodyMethod {
    /// A threshold key.
    #[n(0)]
    Mpc,
    /// One software key, for comparison and development only.
    #[n(1)]
    Local,
}

/// What a key is for; fixed at its birth.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[cbor(index_only)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Holds money: two rounds online, strict budgets.
    #[n(0)]
    Treasury,
    /// Signs transactions of a desk: one round online.
    #[n(1)]
    Trading,
    /// Signs orders of an automated agent: one round online.
    #[n(2)]
    Agent,
    /// Signs bare digests for external verifiers; never registered as an account.
    #[n(3)]
    Digest,
}

/// A signature scheme.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[cbor(index_only)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    /// ECDSA on secp256k1.
    #[n(0)]
    Ecdsa,
    /// BIP-340 Schnorr on secp256k1, for Taproot outputs.
    #[n(1)]
    Taproot,
    /// Ed25519.
    #[n(2)]
    Ed25519,
    /// Toy arithmetic of the simulator; production code refuses it.
    #[n(15)]
    Model,
}

/// An account: a key's address on a chain or venue.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// The chain, or `quoin` for requests that concern Quoin itself.
    #[n(0)]
    pub chain: ChainId,
    /// The address there.
    #[n(1)]
    pub address: Address,
}

/// What a caller signs.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stamp {
    /// The form's version.
    #[n(0)]
    #[serde(skip)]
    pub version: Version<1>,
    /// The cluster that is asked; a stamp for another one is refused.
    #[n(1)]
    pub cluster: ClusterId,
    /// The lowest charter number under which the request may be judged.
    #[n(2)]
    pub charter_number_floor: CharterNumber,
    /// The hash of that charter.
    #[n(3)]
    pub charter_hash_floor: CharterHash,
    /// Who asks.
    #[n(4)]
    pub principal: PrincipalId,
    /// With which credential.
    #[n(5)]
    pub credential: CredentialId,
    /// How the signature shall be made.
    #[n(6)]
    pub custody: CustodyMethod,
    /// The key; `None` when the request makes one.
    #[n(7)]
    pub key: Option<KeyId>,
    /// The account that the payload spends from or speaks for.
    #[n(8)]
    pub account: Account,
    /// The purpose that the caller believes the key has.
    #[n(9)]
    pub purpose: Purpose,
    /// The hash of the payload.
    #[n(10)]
    pub payload_hash: PayloadHash,
    /// The caller's id of the request, kept across retries.
    #[n(11)]
    pub request_id: RequestId,
    /// When the request lapses.
    #[n(12)]
    pub not_after: TimeMs,
}

impl Statement for Stamp {
    const TAG: Tag = tags::STAMP;
    const BYTES_MAX: usize = 1024;
}
