//! The charter as people write and sign it: plain data with one canonical form.
//!
//! Nothing here is trusted yet. [`crate::verify_genesis`] and [`crate::verify_successor`] check
//! the signatures, and [`Charter::check`] everything else. Source: the design, sections 2 and 4.

use crate::budget::Budget;
use crate::facts::FactRule;
use minicbor::{Decode, Encode};
use quoin_core::cbor::{self, Version};
use quoin_core::hash::tagged;
use quoin_core::tags::{self, Tag};
use quoin_core::{
    Address, AssetId, BookName, ChainId, CharterHash, CharterNumber, ClusterId, GatewayId, KeyName,
    NodeIndex, PrincipalId, PublicCredential, RoleId, Statement, TimeMs,
};
use serde::{Deserialize, Serialize};

/// The role whose holders approve charters.
pub const GOVERNOR_ROLE: &str = "governor";
/// The role whose holders see to it that what is about to happen is known, and may stop it.
pub const WATCHER_ROLE: &str = "watcher";
/// The roles that mean something to Quoin itself. All others are names that a charter chooses, such
/// as a desk's.
pub const KNOWN_ROLES: [&str; 9] = [
    "agent",
    "approver",
    "auditor",
    "feed",
    GOVERNOR_ROLE,
    "operator",
    "policy-reader",
    "trader",
    WATCHER_ROLE,
];

/// The signed, numbered constitution of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Charter {
    /// The form's version.
    #[n(0)]
    #[serde(skip)]
    pub version: Version<1>,
    /// The cluster's name, for people.
    #[n(1)]
    pub name: String,
    /// The charter's number; 0 is the genesis.
    #[n(2)]
    pub number: CharterNumber,
    /// The cluster; `None` in the genesis, whose hash it is.
    #[n(3)]
    pub cluster: Option<ClusterId>,
    /// The hash of the charter before this one; `None` in the genesis.
    #[n(4)]
    pub previous: Option<CharterHash>,
    /// The nodes.
    #[n(5)]
    pub nodes: Vec<NodeEntry>,
    /// How many nodes sign.
    #[n(6)]
    pub threshold: u8,
    /// For how many malicious nodes exactly-once and sticky budgets are promised.
    #[n(7)]
    pub f_tol: u8,
    /// Allows two signer sets to be disjoint, which gives up exactly-once.
    #[n(8)]
    #[serde(default)]
    pub dangerous_disjoint_signers: bool,
    /// The gateways that nodes listen to.
    #[n(9)]
    pub gateways: Vec<GatewayEntry>,
    /// Whoever can ask or approve.
    #[n(10)]
    pub principals: Vec<Principal>,
    /// How many governors must sign the next charter.
    #[n(11)]
    pub governor_quorum: u8,
    /// Caps over rolling windows.
    #[n(12)]
    pub budgets: Vec<Budget>,
    /// The assets that policies and budgets can speak of.
    #[n(13)]
    pub assets: Vec<Asset>,
    /// The address book.
    #[n(14)]
    pub book: Vec<BookEntry>,
    /// The policies, as Cedar text.
    #[n(15)]
    pub policies: String,
    /// To whom each node seals its shares when it stores them; without it there are no backups.
    #[n(16)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupPolicy>,
    /// When nodes believe what feeds say.
    #[n(17)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<FactRule>,
    /// The keys that may spend. A key that is not listed can receive only.
    #[n(18)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<KeyGrant>,
    /// How long an address that is new in the book has to wait before it can receive.
    #[n(19)]
    #[serde(default)]
    pub cooling_off_ms: u64,
    /// After how many days nodes erase the keys under which their journals keep payloads; without
    /// it they keep them; at least 40. Reservations, decisions and hashes stay.
    #[n(22)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_retention_days: Option<u16>,
    /// Allows one operator, cloud account or region to reach the threshold or a quorum.
    #[n(20)]
    #[serde(default)]
    pub dangerous_single_failure_domain: bool,
    /// Who may put new governors in place when too few are left; without it nobody.
    #[n(21)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Recovery>,
}

/// Who may put new governors in place when too few are left to sign a charter.
///
/// It is slow and loud on purpose: what it brings may change nothing but who governs, waits for a
/// receipt of a watcher and then for the delay, and any governor, watcher or approver ends it with
/// one veto.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recovery {
    /// How many must sign: at least two, and no fewer than governors for any other charter.
    #[n(0)]
    pub quorum: u8,
    /// The role whose holders sign.
    #[n(1)]
    pub role: RoleId,
    /// How long it waits after a watcher's receipt: 7 to 31 days, in milliseconds.
    #[n(2)]
    pub delay_ms: u64,
}

/// A key that may spend.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyGrant {
    /// The key.
    #[n(0)]
    pub key: KeyName,
    /// Lets a key that signs bare digests be an account, with a budget of its own.
    #[n(1)]
    #[serde(default)]
    pub dangerous_digest_account: bool,
}

/// To whom each node seals its shares: `threshold` of the officers can open what one node sealed.
///
/// In JSON: `{"threshold": 2, "officers": [{"name": "ann", "recipient": "age1..."}, ...]}`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupPolicy {
    /// How many officers open a backup together.
    #[n(0)]
    pub threshold: u8,
    /// The officers.
    #[n(1)]
    pub officers: Vec<Officer>,
}

/// Who keeps a part of the backups.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Officer {
    /// The officer's name, for people.
    #[n(0)]
    pub name: String,
    /// The officer's X25519 recipient in the text form of the `age` format: `age1...`.
    #[n(1)]
    pub recipient: String,
}

/// A node and its identities.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeEntry {
    /// The node's index, which is also the x-coordinate of its shares.
    #[n(0)]
    pub index: NodeIndex,
    /// The credential with which the node signs statements.
    #[n(1)]
    pub credential: PublicCredential,
    /// SHA-256 of the `SubjectPublicKeyInfo` of the node's TLS certificate.
    #[cbor(n(2), with = "minicbor::bytes")]
    #[serde(with = "hex_32")]
    pub tls_key_hash: [u8; 32],
    /// Who operates the node.
    #[n(3)]
    pub operator: String,
    /// The cloud account that it runs in; all that declare none count as one.
    #[n(4)]
    #[serde(default)]
    pub cloud: String,
    /// The region that it runs in; all that declare none count as one.
    #[n(5)]
    #[serde(default)]
    pub region: String,
}

/// A gateway and its identity.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayEntry {
    /// The gateway's id.
    #[n(0)]
    pub id: GatewayId,
    /// SHA-256 of the `SubjectPublicKeyInfo` of the gateway's TLS certificate.
    #[cbor(n(1), with = "minicbor::bytes")]
    #[serde(with = "hex_32")]
    pub tls_key_hash: [u8; 32],
}

/// Whoever can ask or approve.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Principal {
    /// The principal's id.
    #[n(0)]
    pub id: PrincipalId,
    /// The roles that it holds.
    #[n(1)]
    pub roles: Vec<RoleId>,
    /// The credentials with which it signs.
    #[n(2)]
    pub credentials: Vec<PublicCredential>,
    /// When the grant ends: from then on the principal can do nothing.
    #[n(3)]
    pub expires: TimeMs,
    /// Whose person or machine it is; one that names none stands alone.
    #[n(4)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    /// The principal that has delegated to this one; the grant cannot outlast theirs.
    #[n(5)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted_by: Option<PrincipalId>,
}

impl Principal {
    /// Whether the principal holds the role.
    #[must_use]
    pub fn holds(&self, role: &str) -> bool {
        self.roles.iter().any(|r| r.as_str() == role)
    }

    /// Whether the grant has ended at `now`.
    #[must_use]
    pub fn is_expired(&self, now: TimeMs) -> bool {
        now >= self.expires
    }
}

/// An asset and how people write its amounts.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asset {
    /// The asset.
    #[n(0)]
    pub asset: AssetId,
    /// Its symbol, for people.
    #[n(1)]
    pub symbol: String,
    /// How many decimal places of a whole unit the smallest unit is.
    #[n(2)]
    pub decimals: u8,
}

/// A name for an address.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BookEntry {
    /// The name that policies write.
    #[n(0)]
    pub name: BookName,
    /// The chain on which the name holds.
    #[n(1)]
    pub chain: ChainId,
    /// The address.
    #[n(2)]
    pub address: Address,
    /// The assets that it may receive; none listed means every asset of the chain.
    #[n(3)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub assets: Vec<AssetId>,
    /// What it is.
    #[n(4)]
    #[serde(default)]
    pub kind: BookKind,
}

/// What an entry of the address book is.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Encode,
    Decode,
    Serialize,
    Deserialize,
)]
#[cbor(index_only)]
#[serde(rename_all = "kebab-case")]
pub enum BookKind {
    /// Somebody else.
    #[default]
    #[n(0)]
    Counterparty,
    /// One's own margin account at a venue: topping it up reduces risk.
    #[n(1)]
    Margin,
}

impl Statement for Charter {
    const TAG: Tag = tags::CHARTER;
    const BYTES_MAX: usize = 512 * 1024;
}

impl Charter {
    /// The charter's hash.
    #[must_use]
    pub fn hash(&self) -> CharterHash {
        CharterHash(tagged(tags::CHARTER, &[&cbor::encode(self)]))
    }

    /// The cluster: what the charter names or, for the genesis, the genesis's own hash.
    #[must_use]
    pub fn cluster_id(&self) -> ClusterId {
        self.cluster
            .unwrap_or_else(|| ClusterId(tagged(tags::GENESIS, &[&cbor::encode(self)])))
    }

    /// The principals that approve charters.
    pub fn governors(&self) -> impl Iterator<Item = &Principal> {
        self.principals.iter().filter(|p| p.holds(GOVERNOR_ROLE))
    }
}

/// 32 bytes as lower-case hex in JSON.
mod hex_32 {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8; 32], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&hex::encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<[u8; 32], D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        let mut bytes = [0u8; 32];
        match hex::decode_to_slice(text.as_ref(), &mut bytes) {
            Ok(()) if !text.bytes().any(|b| b.is_ascii_uppercase()) => Ok(bytes),
            _ => Err(serde::de::Error::custom(
                "expected 32 bytes in lower-case hex",
            )),
        }
    }
}
