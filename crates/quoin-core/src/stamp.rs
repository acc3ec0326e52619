//! The stamp: what a caller signs to ask for something.
//!
//! It binds who asks (principal and credential), for which account, under at least which charter,
//! and the hash of a complete payload. Nonces and fees are filled before stamping, so a stamp that
//! is signed twice can only fill the same slot.

use crate::cbor::{self, Version};
use crate::hash::tagged;
use crate::ids::{
    CharterHash, CharterNumber, ClusterId, CredentialId, KeyId, PayloadHash, PrincipalId,
    RequestBinding, RequestId,
};
use crate::intent::{Address, ChainId};
use crate::path::DerivationPath;
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

/// Where a key comes from, for ever.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[cbor(index_only)]
#[serde(rename_all = "kebab-case")]
pub enum KeyOrigin {
    /// Born as shares in a ceremony: it was never whole anywhere.
    #[n(0)]
    Born,
    /// Dealt from a whole key, which whoever had it may still have.
    #[n(1)]
    Imported,
}

/// A key's state, after NIST SP 800-57 part 1, section 7. Only an active key signs.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[cbor(index_only)]
#[serde(rename_all = "kebab-case")]
pub enum KeyState {
    /// Its first shares are stored, and not all nodes have certified it yet.
    #[n(0)]
    PreActive,
    /// In use.
    #[n(1)]
    Active,
    /// Out of use for a while.
    #[n(2)]
    Suspended,
    /// Out of use for good; its shares are kept.
    #[n(3)]
    Deactivated,
    /// Out of use for good, because somebody else may know it.
    #[n(4)]
    Compromised,
    /// Its shares are erased.
    #[n(5)]
    Destroyed,
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
    /// The address there: that of the child at `path`.
    #[n(1)]
    pub address: Address,
    /// Which child of the key it is.
    ///
    /// Every signer computes the child from it; what is added to the key is never taken from a
    /// request.
    #[n(2)]
    #[serde(default, skip_serializing_if = "DerivationPath::is_root")]
    pub path: DerivationPath,
}

impl Account {
    /// Whether both are one place, by whatever path: what budgets are counted by.
    ///
    /// # Security
    /// A limit that compared paths as well would not bind the account of somebody who wrote it
    /// down without its path.
    #[must_use]
    pub fn is_same_place(&self, other: &Self) -> bool {
        (&self.chain, &self.address) == (&other.chain, &other.address)
    }
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

impl Stamp {
    /// All that the request id stands for: everything stamped but the charter floor and the
    /// credential, which a retry may renew.
    ///
    /// # Security
    /// An id that stood for the payload alone could be stamped again for another key, and one
    /// charge would pay for a signature of each.
    #[must_use]
    pub fn binding(&self) -> RequestBinding {
        let bound = Self {
            charter_number_floor: CharterNumber(0),
            charter_hash_floor: CharterHash([0; 32]),
            credential: CredentialId([0; 16]),
            ..self.clone()
        };
        RequestBinding(tagged(tags::REQUEST, &[&cbor::encode(&bound)]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp() -> Stamp {
        Stamp {
            version: Version,
            cluster: ClusterId([1; 32]),
            charter_number_floor: CharterNumber(3),
            charter_hash_floor: CharterHash([2; 32]),
            principal: "alice".parse().unwrap(),
            credential: CredentialId([3; 16]),
            custody: CustodyMethod::Mpc,
            key: Some(KeyId([4; 16])),
            account: Account {
                chain: ChainId::Evm(1),
                address: Address::evm([5; 20]),
                path: DerivationPath::ROOT,
            },
            purpose: Purpose::Trading,
            payload_hash: PayloadHash([6; 32]),
            request_id: RequestId([7; 16]),
            not_after: TimeMs(1_800_000_000_000),
        }
    }

    fn binding(change: fn(&mut Stamp)) -> RequestBinding {
        let mut changed = stamp();
        change(&mut changed);
        changed.binding()
    }

    #[test]
    fn golden_binding() {
        assert_eq!(
            stamp().binding().to_string(),
            "8ee295201db7e23dcaf6c2daede3492ede26abe7edbb7d844a92b917f9410954",
            "golden value of the binding"
        );
    }

    #[test]
    fn a_binding_follows_all_that_is_asked_for() {
        type Change = fn(&mut Stamp);
        let changes: [(&str, Change); 12] = [
            ("cluster", |s| s.cluster = ClusterId([0; 32])),
            ("principal", |s| s.principal = "bob".parse().unwrap()),
            ("custody", |s| s.custody = CustodyMethod::Local),
            ("key", |s| s.key = Some(KeyId([0; 16]))),
            ("no key", |s| s.key = None),
            ("chain", |s| s.account.chain = ChainId::Evm(2)),
            ("address", |s| s.account.address = Address::evm([0; 20])),
            ("path", |s| s.account.path = "m/0/5".parse().unwrap()),
            ("purpose", |s| s.purpose = Purpose::Agent),
            ("payload", |s| s.payload_hash = PayloadHash([0; 32])),
            ("request", |s| s.request_id = RequestId([0; 16])),
            ("lapse", |s| s.not_after = TimeMs(1)),
        ];
        for (what, change) in changes {
            assert_ne!(stamp().binding(), binding(change), "{what}");
        }
    }

    #[test]
    fn a_retry_may_renew_charter_floor_and_credential() {
        let renewed = binding(|s| {
            s.charter_number_floor = CharterNumber(4);
            s.charter_hash_floor = CharterHash([8; 32]);
            s.credential = CredentialId([9; 16]);
        });
        assert_eq!(stamp().binding(), renewed);
    }
}
