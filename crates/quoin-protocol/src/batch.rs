//! The header of a presigning batch: everything that its presignatures are bound to.
//!
//! Every signer builds the header from its own state and refuses a proposal that differs.

use minicbor::{Decode, Encode};
use quoin_core::cbor::Version;
use quoin_core::{
    BatchId, Boot, CharterNumber, ClusterId, CredentialId, KeyId, Scheme, ShareEpoch, SignerSet,
};

/// Batch sizes that are accepted: 1024 bounds memory. ECDSA batches end at 256, because their third
/// round goes out in one frame, and are multiples of four: the extension works on blocks of 128.
pub const BATCH_SIZE_MAX: u16 = 1024;

/// How many rounds an online signature takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Profile {
    /// One round.
    #[n(0)]
    Normal,
    /// Two rounds: signers bind the digest and open entropy first.
    #[n(1)]
    Treasury,
}

/// The header of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct BatchHeader {
    /// The form's version.
    #[n(0)]
    pub version: Version<1>,
    /// The cluster.
    #[n(1)]
    pub cluster: ClusterId,
    /// The charter in force.
    #[n(2)]
    pub charter: CharterNumber,
    /// The key.
    #[n(3)]
    pub key: KeyId,
    /// Its scheme.
    #[n(4)]
    pub scheme: Scheme,
    /// Its public key: 33 bytes SEC1 compressed, or 32 bytes for Ed25519.
    #[cbor(n(5), with = "minicbor::bytes")]
    pub public_key: Vec<u8>,
    /// The epoch of the shares.
    #[n(6)]
    pub epoch: ShareEpoch,
    /// Who signs.
    #[n(7)]
    pub set: SignerSet,
    /// The signers' credentials, in the order of the set.
    #[n(8)]
    pub credentials: Vec<CredentialId>,
    /// The signers' boots, in the order of the set.
    #[n(9)]
    pub boots: Vec<Boot>,
    /// The batch.
    #[n(10)]
    pub batch: BatchId,
    /// How many presignatures it makes.
    #[n(11)]
    pub size: u16,
    /// How many rounds an online signature takes.
    #[n(12)]
    pub profile: Profile,
    /// Hash of the key's public shares, as certified.
    #[cbor(n(13), with = "minicbor::bytes")]
    pub shares_hash: [u8; 32],
}
