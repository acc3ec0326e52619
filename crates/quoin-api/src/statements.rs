//! What nodes sign: heartbeats, denials, answers, states of keys; and the finished signature.
//!
//! The endorsement of a new key is none of these: it is a signature of the key's certificate.

use minicbor::{Decode, Encode};
use quoin_core::cbor::Version;
use quoin_core::payload::NodeChange;
use quoin_core::tags::{self, Tag};
use quoin_core::{
    Boot, CharterHash, CharterNumber, ClusterId, FreezeId, HeadHash, KeyId, KeyState, NodeIndex,
    PayloadHash, PresignatureId, PrincipalId, RequestId, RuleId, Scheme, ShareEpoch, SignerSet,
    Statement, TimeMs,
};

/// The largest signed statement of this module, with its envelope.
pub const SIGNED_BYTES_MAX: usize = 8 * 1024;
/// The largest certificate that travels in a frame.
pub const FRAME_STATEMENT_BYTES_MAX: usize = 1024 * 1024;

/// A node's view of itself, signed several times a second.
///
/// A node signs only while it holds fresh heartbeats of n-t peers; each heartbeat also witnesses
/// the sender's charter, boot and journal head, so that a rolled-back node is noticed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Heartbeat {
    /// The form's version.
    #[n(0)]
    pub version: Version<1>,
    /// The cluster.
    #[n(1)]
    pub cluster: ClusterId,
    /// Who beats.
    #[n(2)]
    pub boot: Boot,
    /// Counts the heartbeats of this boot.
    #[n(3)]
    pub counter: u64,
    /// The sender's effective time.
    #[n(4)]
    pub at: TimeMs,
    /// The charter in force on the sender.
    #[n(5)]
    pub charter: CharterNumber,
    /// Its hash.
    #[n(6)]
    pub charter_hash: CharterHash,
    /// The newest durable record of the sender's journal.
    #[n(7)]
    pub head: Head,
    /// The hash of what the sender knows of freezes (`quoin_policy::FreezeSet::digest`).
    #[cbor(n(8), with = "minicbor::bytes")]
    pub freezes: [u8; 32],
}

impl Statement for Heartbeat {
    const TAG: Tag = tags::HEARTBEAT;
    const BYTES_MAX: usize = 512;
}

/// The newest durable record of a lane's journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Head {
    /// The record's number, from 1; 0 for an empty journal.
    #[n(0)]
    pub seq: u64,
    /// Its chain hash; zero for an empty journal.
    #[n(1)]
    pub hash: HeadHash,
}

/// A node's durable refusal of a request: a tombstone. The node will never sign this request id.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Denial {
    /// The form's version.
    #[n(0)]
    pub version: Version<1>,
    /// The cluster.
    #[n(1)]
    pub cluster: ClusterId,
    /// Who denies.
    #[n(2)]
    pub boot: Boot,
    /// The request.
    #[n(3)]
    pub request_id: RequestId,
    /// Its payload.
    #[n(4)]
    pub payload_hash: PayloadHash,
    /// The charter that it was judged under.
    #[n(5)]
    pub charter_hash: CharterHash,
    /// The rule that decided; `None` when no rule permits.
    #[n(6)]
    pub rule: Option<RuleId>,
    /// The field at fault, when one is.
    #[n(7)]
    pub field: Option<String>,
    /// The reason, for people.
    #[n(8)]
    pub message: String,
    /// The smallest rule that would allow, when there is one.
    #[n(9)]
    pub suggestion: Option<String>,
}

impl Statement for Denial {
    const TAG: Tag = tags::DENIAL;
    const BYTES_MAX: usize = 4096;
}

/// A node's partial signature, and its part of the receipt.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Answer {
    /// The form's version.
    #[n(0)]
    pub version: Version<1>,
    /// The cluster.
    #[n(1)]
    pub cluster: ClusterId,
    /// Who answers.
    #[n(2)]
    pub boot: Boot,
    /// The request.
    #[n(3)]
    pub request_id: RequestId,
    /// The key.
    #[n(4)]
    pub key: KeyId,
    /// The signers; `None` for a local key, which its holder signs with alone.
    #[n(5)]
    pub set: Option<SignerSet>,
    /// The presignature that was consumed; `None` for a local key.
    #[n(6)]
    pub presignature: Option<PresignatureId>,
    /// What the signers must agree on: batch, place, digest, tweak and nonce point.
    #[cbor(n(7), with = "minicbor::bytes")]
    pub view: [u8; 32],
    /// The partial signature, in the scheme's form.
    #[cbor(n(8), with = "minicbor::bytes")]
    pub partial: Vec<u8>,
    /// The charter that it was judged under.
    #[n(9)]
    pub charter_hash: CharterHash,
    /// The rules that permitted.
    #[n(10)]
    pub rules: Vec<RuleId>,
    /// The journal head that covers the decision.
    #[n(11)]
    pub head: Head,
}

impl Statement for Answer {
    const TAG: Tag = tags::ANSWER_SIGNATURE;
    const BYTES_MAX: usize = 8 * 1024 - 256;
}

/// A finished signature: verified against the public key before it is returned.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct FinishedSignature {
    /// The form's version.
    #[n(0)]
    pub version: Version<1>,
    /// The request.
    #[n(1)]
    pub request_id: RequestId,
    /// The key.
    #[n(2)]
    pub key: KeyId,
    /// The scheme.
    #[n(3)]
    pub scheme: Scheme,
    /// 64 bytes: `r || s` for ECDSA (s low), `R || z` for Schnorr schemes.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub signature: [u8; 64],
    /// The parity of the nonce point's y coordinate, for ECDSA.
    #[n(5)]
    pub recovery_id: Option<u8>,
}

/// What a node says of a key: its state there, and what has become of its shares.
///
/// A destroyed key has one of these from every node: together they say that no share is left but
/// in the backups that they list.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct KeyStatement {
    /// The form's version.
    #[n(0)]
    pub version: Version<1>,
    /// The cluster.
    #[n(1)]
    pub cluster: ClusterId,
    /// Who says so.
    #[n(2)]
    pub boot: Boot,
    /// The key.
    #[n(3)]
    pub key: KeyId,
    /// The key's state on this node.
    #[n(4)]
    pub state: KeyState,
    /// How many changes of its state this node has carried out.
    #[n(5)]
    pub seq: u64,
    /// The newest epoch of its shares that came into use here.
    #[n(6)]
    pub epoch: ShareEpoch,
    /// When it came into use on this node.
    #[n(7)]
    pub created: TimeMs,
    /// When its state changed last.
    #[n(8)]
    pub changed: TimeMs,
    /// The request that changed it last; `None` since its birth.
    #[n(9)]
    pub request: Option<RequestId>,
    /// The newest durable record of this node's journal.
    #[n(10)]
    pub head: Head,
    /// The epochs whose shares this node has erased.
    #[n(11)]
    pub erased: Vec<EpochRange>,
    /// The epochs whose shares this node has sealed to officers: at their quorum, each is the key.
    #[n(12)]
    pub backups: Vec<EpochRange>,
}

impl Statement for KeyStatement {
    const TAG: Tag = tags::KEY_STATE;
    const BYTES_MAX: usize = 4096;
}

/// Epochs of a key's shares, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct EpochRange {
    /// The first.
    #[n(0)]
    pub first: ShareEpoch,
    /// The last; the first itself when it is alone.
    #[n(1)]
    pub last: ShareEpoch,
}

/// The most ranges of one statement: epochs follow each other, so more than one is rare.
pub const EPOCH_RANGES_MAX: usize = 64;

impl EpochRange {
    /// The fewest ranges that hold these epochs, given in ascending order; past
    /// [`EPOCH_RANGES_MAX`] the last one is stretched, so that none is left out.
    #[must_use]
    pub fn cover(epochs: impl IntoIterator<Item = ShareEpoch>) -> Vec<Self> {
        let mut ranges: Vec<Self> = Vec::new();
        for epoch in epochs {
            let full = ranges.len() == EPOCH_RANGES_MAX;
            match ranges.last_mut() {
                Some(range) if full || range.last.0.checked_add(1) == Some(epoch.0) => {
                    range.last = epoch;
                }
                _ => ranges.push(Self {
                    first: epoch,
                    last: epoch,
                }),
            }
        }
        ranges
    }

    /// Whether the epoch is among them.
    #[must_use]
    pub fn contains(&self, epoch: ShareEpoch) -> bool {
        (self.first..=self.last).contains(&epoch)
    }
}

/// What a node says once it has pardoned or readmitted another one.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct NodeStatement {
    /// The form's version.
    #[n(0)]
    pub version: Version<1>,
    /// The cluster.
    #[n(1)]
    pub cluster: ClusterId,
    /// Who says so.
    #[n(2)]
    pub boot: Boot,
    /// The request.
    #[n(3)]
    pub request: RequestId,
    /// Whom it is about.
    #[n(4)]
    pub node: NodeIndex,
    /// What was done about it.
    #[n(5)]
    pub change: NodeChange,
    /// When.
    #[n(6)]
    pub at: TimeMs,
    /// How many strikes this node has ever written against it; a pardon does not lessen them.
    #[n(7)]
    pub strikes: u64,
    /// The newest durable record of this node's journal.
    #[n(8)]
    pub head: Head,
}

impl Statement for NodeStatement {
    const TAG: Tag = tags::NODE_CHANGED;
    const BYTES_MAX: usize = 512;
}

/// What a node says once it has lifted freezes.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct UnfreezeStatement {
    /// The form's version.
    #[n(0)]
    pub version: Version<1>,
    /// The cluster.
    #[n(1)]
    pub cluster: ClusterId,
    /// Who says so.
    #[n(2)]
    pub boot: Boot,
    /// The request.
    #[n(3)]
    pub request: RequestId,
    /// The freezes that it ended.
    #[n(4)]
    pub lifts: Vec<FreezeId>,
    /// Whose freezes count no longer.
    #[n(5)]
    pub suspends: Vec<PrincipalId>,
    /// When.
    #[n(6)]
    pub at: TimeMs,
    /// The hash of what the node knows of freezes since then.
    #[cbor(n(7), with = "minicbor::bytes")]
    pub freezes: [u8; 32],
    /// The newest durable record of this node's journal.
    #[n(8)]
    pub head: Head,
}

impl Statement for UnfreezeStatement {
    const TAG: Tag = tags::UNFROZEN;
    const BYTES_MAX: usize = 7 * 1024;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u32, last: u32) -> EpochRange {
        EpochRange {
            first: ShareEpoch(first),
            last: ShareEpoch(last),
        }
    }

    #[test]
    fn ranges_hold_exactly_the_epochs() {
        let cover = |epochs: &[u32]| EpochRange::cover(epochs.iter().map(|e| ShareEpoch(*e)));
        assert_eq!(cover(&[]), []);
        assert_eq!(cover(&[0, 1, 2]), [range(0, 2)]);
        assert_eq!(
            cover(&[0, 2, 3, 7]),
            [range(0, 0), range(2, 3), range(7, 7)]
        );
        assert_eq!(cover(&[u32::MAX]), [range(u32::MAX, u32::MAX)]);
    }

    #[test]
    fn too_many_ranges_leave_no_epoch_out() {
        let epochs = (0..1_000u32).map(|n| ShareEpoch(n * 2));
        let ranges = EpochRange::cover(epochs.clone());
        assert_eq!(ranges.len(), EPOCH_RANGES_MAX);
        for epoch in epochs {
            assert!(ranges.iter().any(|r| r.contains(epoch)), "{epoch:?}");
        }
    }
}
