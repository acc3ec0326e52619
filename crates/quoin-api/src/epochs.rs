//! What nodes sign about the share epochs of a key: that one is held, and that one never will be.
//!
//! The endorsement of a key's record is none of these: it is a signature of the key's certificate.

use minicbor::{Decode, Encode};
use quoin_core::cbor::Version;
use quoin_core::tags::{self, Tag};
use quoin_core::{Boot, ClusterId, KeyId, ShareEpoch, Statement};

/// A node's statement that the certificate of a share epoch is durable on it.
///
/// The shares of the epoch before are destroyed only after all holders of the new one have said so
/// (construction, section 21.4).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct EpochHeld {
    /// The form's version.
    #[n(0)]
    pub version: Version<1>,
    /// The cluster.
    #[n(1)]
    pub cluster: ClusterId,
    /// The key.
    #[n(2)]
    pub key: KeyId,
    /// The epoch that is held.
    #[n(3)]
    pub epoch: ShareEpoch,
    /// Who holds it.
    #[n(4)]
    pub boot: Boot,
    /// The hash of the certified record (`KeyPublic::shares_hash`).
    #[cbor(n(5), with = "minicbor::bytes")]
    pub record: [u8; 32],
}

impl Statement for EpochHeld {
    const TAG: Tag = tags::EPOCH_HELD;
    const BYTES_MAX: usize = 512;
}

/// A node's statement that it has not endorsed a key's record, and never will.
///
/// As every node of the roster must endorse a record, this one statement ends the record for good:
/// who has stored a share of it may drop it, and another ceremony may take its place.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct CeremonyAbandoned {
    /// The form's version.
    #[n(0)]
    pub version: Version<1>,
    /// The cluster.
    #[n(1)]
    pub cluster: ClusterId,
    /// The key.
    #[n(2)]
    pub key: KeyId,
    /// The epoch that the record is about.
    #[n(3)]
    pub epoch: ShareEpoch,
    /// Who will not endorse it.
    #[n(4)]
    pub boot: Boot,
    /// The hash of the record (`KeyPublic::shares_hash`).
    #[cbor(n(5), with = "minicbor::bytes")]
    pub record: [u8; 32],
}

impl Statement for CeremonyAbandoned {
    const TAG: Tag = tags::CEREMONY_ABANDONED;
    const BYTES_MAX: usize = 512;
}
