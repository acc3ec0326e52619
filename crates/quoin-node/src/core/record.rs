//! Journal records: what the node core writes before anything leaves it, and replays at start.

use super::reconcile::SpentNonce;
use minicbor::{Decode, Encode};
use quoin_api::SessionId;
use quoin_api::frame::Opaque;
use quoin_core::cbor::{self, CborError};
use quoin_core::payload::NodeChange;
use quoin_core::{
    Boot, CharterHash, FreezeId, Generation, KeyId, KeyState, NodeIndex, PayloadHash,
    PresignatureId, PrincipalId, RequestBinding, RequestId, RuleId, ShareEpoch, SignerSet, TimeMs,
};
use quoin_policy::{Closes, SetAdoption, SetState};
use quoin_protocol::{Binding, Fault};

/// What a field begins with that was covered and can no longer be read: a CBOR integer, which no
/// payload, approval, statement or fact is.
pub(crate) const COVERED_MARK: u8 = 0x00;

/// The largest record: a decision with the largest payload and all its approvals.
pub const RECORD_BYTES_MAX: usize = 1024 * 1024;

/// One record of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[expect(
    clippy::large_enum_variant,
    reason = "a record lives for a moment, between its making and its encoding"
)]
pub enum Record {
    /// A lane started. Its generation only grows.
    #[n(0)]
    Boot(#[n(0)] BootRecord),
    /// A charter came into force (`Certificate<Charter>`).
    #[n(1)]
    Charter(#[n(0)] Opaque),
    /// A request was seen whose obligations are not met yet; delays count from here.
    #[n(2)]
    FirstSeen(#[n(0)] FirstSeen),
    /// A request was permitted: decision, reservation and consumed presignature in one.
    #[n(3)]
    Decision(#[n(0)] Box<Decision>),
    /// A permitted request consumed another presignature for the same digest.
    #[n(4)]
    Consumed(#[n(0)] Consumed),
    /// This node denied a request for ever (`Signed<Denial>`).
    #[n(5)]
    Denied(#[n(0)] Denied),
    /// Another node's denial (`Signed<Denial>`).
    #[n(6)]
    Tombstone(#[n(0)] Opaque),
    /// Enough nodes denied: the request's reservation is void.
    #[n(7)]
    Released(#[n(0)] RequestId),
    /// A finished signature, verified against the public key.
    #[n(8)]
    Finished(#[n(0)] Box<Finished>),
    /// A fault of a peer. Class 1 faults are strikes.
    #[n(9)]
    Fault(#[n(0)] FaultRecord),
    /// A secret-dependent check is about to run; a start that finds it open counts a strike.
    #[n(10)]
    TryOpen(#[n(0)] TryRecord),
    /// The check passed.
    #[n(11)]
    TryClosed(#[n(0)] SessionId),
    /// A new key's share is stored, not yet in use. Only after it does the node endorse the key.
    #[n(12)]
    KeyPending(#[n(0)] KeyRecord),
    /// All nodes have stored their shares and endorsed the key: it is in use.
    #[n(13)]
    KeyActive {
        /// The key.
        #[n(0)]
        key: KeyId,
        /// Its certificate (`Certificate<KeyPublic>`), over the record that is pending.
        #[n(1)]
        certificate: Opaque,
    },
    /// A peer's signed heartbeat, which witnesses its journal head (`Signed<Heartbeat>`).
    #[n(14)]
    Witness(#[n(0)] Opaque),
    /// A peer showed an older boot, or a shorter or different journal, than before.
    #[n(15)]
    Fenced(#[n(0)] NodeIndex),
    /// Two certified charters have one number (`Certificate<Charter>`): nothing is signed any more.
    #[n(16)]
    CharterFork(#[n(0)] Opaque),
    /// A holder of a key's current epoch has its certificate durably (`Signed<EpochHeld>`).
    #[n(17)]
    EpochHeld(#[n(0)] Opaque),
    /// This node's share of an old epoch is erased, in the same write as this record.
    #[n(18)]
    EpochErased {
        /// The key.
        #[n(0)]
        key: KeyId,
        /// The epoch.
        #[n(1)]
        epoch: ShareEpoch,
    },
    /// A certified epoch of a key of which this node has no share (`Certificate<KeyPublic>`).
    #[n(19)]
    KeyLearned(#[n(0)] Opaque),
    /// A node will never endorse a record (`Signed<CeremonyAbandoned>`): this node itself, or
    /// another one, and then the pending epoch of that record is dropped with its share.
    #[n(20)]
    Abandoned(#[n(0)] Opaque),
    /// Another node will never endorse a record that this node has endorsed
    /// (`Signed<CeremonyAbandoned>`): the record is given up, and its share kept.
    #[n(35)]
    AbandonedKept(#[n(0)] Opaque),
    /// A key's state changed. For a destroyed key all its shares are erased in the same write.
    #[n(25)]
    KeyState(#[n(0)] KeyStateRecord),
    /// This node's share of an epoch is sealed to the officers, and the file is written.
    #[n(33)]
    BackupWritten {
        /// The key.
        #[n(0)]
        key: KeyId,
        /// The epoch.
        #[n(1)]
        epoch: ShareEpoch,
        /// Hash of the record that the share belongs to.
        #[cbor(n(2), with = "minicbor::bytes")]
        record: [u8; 32],
        /// SHA-256 of the file.
        #[cbor(n(3), with = "minicbor::bytes")]
        file: [u8; 32],
    },
    /// This node's share of an epoch was put back from a backup, with the node stopped. It serves
    /// nothing until the key's next epoch.
    #[n(34)]
    KeyRestored(#[n(0)] KeyRecord),
    /// A proposed charter, or one that has more signatures than before. Delays count from the first
    /// of these.
    #[n(50)]
    Proposal(#[n(0)] ProposalRecord),
    /// An approval of a proposed charter.
    #[n(51)]
    CharterApproval(#[n(0)] CharterApprovalRecord),
    /// The highest number of a feed's statements so far, or a little less.
    #[n(52)]
    FactSeen {
        /// The feed.
        #[n(0)]
        feed: PrincipalId,
        /// The number.
        #[n(1)]
        seq: u64,
    },
    /// A proposed charter made room for another one.
    #[n(53)]
    ProposalDropped(#[n(0)] CharterHash),
    /// From this nonce on, an account of ours is compared with what its chain executes.
    #[n(90)]
    WatchedFrom(#[n(0)] SpentNonce),
    /// A nonce of an account of ours was spent, and nobody here knows of it.
    #[n(91)]
    ForeignSpend(#[n(0)] SpentNonce),
    /// The keys of the payloads of all days before this one are erased, in the same write.
    #[n(70)]
    PayloadsErased {
        /// The first day that can still be read, counted from 1970.
        #[n(0)]
        before: u32,
    },
    /// A node was pardoned or readmitted.
    #[n(26)]
    NodeChanged(#[n(0)] NodeChangedRecord),
    /// A freeze (`Signed<Freeze>`), which holds until it is lifted.
    #[n(40)]
    Freeze(#[n(0)] Opaque),
    /// Freezes were lifted.
    #[n(41)]
    Unfrozen(#[n(0)] UnfrozenRecord),
    /// A veto (`Signed<Veto>`).
    #[n(42)]
    Veto(#[n(0)] NoticeRecord),
    /// A watcher's receipt (`Signed<Receipt>`). Delays count from the time that is said here.
    #[n(43)]
    Receipt(#[n(0)] NoticeRecord),
    /// This node acknowledges a signer set, and serves no number below any more.
    #[n(80)]
    SetMoved(#[n(0)] SetState),
    /// A signer set was certified: the node's new place, and what sets without it have spent.
    #[n(81)]
    SetAdopted(#[n(0)] Box<SetAdoption>),
    /// What this node says for ever to the request of a change.
    #[n(27)]
    ChangeStated {
        /// The request.
        #[n(0)]
        request: RequestId,
        /// The statement (`Signed<KeyStatement>`, `Signed<NodeStatement>` or
        /// `Signed<UnfreezeStatement>`).
        #[n(1)]
        statement: Opaque,
    },
}

/// A start of a lane.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct BootRecord {
    /// The start's number.
    #[n(0)]
    pub generation: Generation,
    /// The build that started.
    #[n(1)]
    pub build: String,
}

/// The first sight of a request that waits.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct FirstSeen {
    /// The request.
    #[n(0)]
    pub request_id: RequestId,
    /// What the id stands for.
    #[n(1)]
    pub binding: RequestBinding,
    /// When.
    #[n(2)]
    pub at: TimeMs,
    /// When the request lapses.
    #[n(3)]
    pub not_after: TimeMs,
}

/// A permitted request.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Decision {
    /// The request.
    #[n(0)]
    pub request_id: RequestId,
    /// The stamp (`Signed<Stamp>`).
    #[n(1)]
    pub stamp: Opaque,
    /// The payload (canonical CBOR of `Payload`).
    #[n(2)]
    pub payload: Opaque,
    /// The approvals that were relied on (`Signed<Approval>`).
    #[n(3)]
    pub approvals: Vec<Opaque>,
    /// The charter that it was judged under.
    #[n(4)]
    pub charter: CharterHash,
    /// The rules that permitted.
    #[n(5)]
    pub rules: Vec<RuleId>,
    /// What it reserves: budgets and slot, as the policy engine encodes it.
    #[n(6)]
    pub reservation: Opaque,
    /// The presignature that it consumed; `None` for a ceremony or a local key.
    #[n(7)]
    pub presignature: Option<PresignatureId>,
    /// The signers; `None` for a ceremony or a local key.
    #[n(8)]
    pub set: Option<SignerSet>,
    /// Of a treasury key: to what the presignature is bound from this record on. Nothing else is
    /// ever opened with it.
    #[n(9)]
    pub binding: Option<Binding>,
    /// What was believed of the world (`quoin_policy::FactView` as JSON); `None` when nothing was.
    #[n(10)]
    pub facts: Option<Opaque>,
    /// What ends the signature's life, when it could execute at all. It stays readable when the
    /// payload is not any more.
    #[n(11)]
    pub closes: Option<Closes>,
}

/// One more presignature consumed for a request that was decided before.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Consumed {
    /// The request.
    #[n(0)]
    pub request_id: RequestId,
    /// The presignature; `None` for a local key.
    #[n(1)]
    pub presignature: Option<PresignatureId>,
    /// The signers.
    #[n(2)]
    pub set: Option<SignerSet>,
    /// What the request reserves now: charges count from its latest judgement.
    #[n(3)]
    pub reservation: Opaque,
    /// As in [`Decision`].
    #[n(4)]
    pub binding: Option<Binding>,
}

/// A denial of this node.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Denied {
    /// The denial (`Signed<Denial>`).
    #[n(0)]
    pub denial: Opaque,
    /// The stamp (`Signed<Stamp>`).
    #[n(1)]
    pub stamp: Opaque,
    /// The payload (canonical CBOR of `Payload`).
    #[n(2)]
    pub payload: Opaque,
}

/// A finished signature.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Finished {
    /// The stamp (`Signed<Stamp>`).
    #[n(0)]
    pub stamp: Opaque,
    /// Its payload's hash: one signature of one payload is counted once.
    #[n(1)]
    pub payload_hash: PayloadHash,
    /// The signature (canonical CBOR of `FinishedSignature`).
    #[n(2)]
    pub signature: Opaque,
    /// What it counts against, when this node did not decide it: as the policy engine encodes it.
    #[n(3)]
    pub reservation: Option<Opaque>,
    /// As in [`Decision`].
    #[n(4)]
    pub closes: Option<Closes>,
}

/// A fault of a peer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct FaultRecord {
    /// The peer, where it is attributable.
    #[n(0)]
    pub peer: NodeIndex,
    /// What it did.
    #[n(1)]
    pub fault: Fault,
    /// In which session.
    #[n(2)]
    pub session: SessionId,
    /// When.
    #[n(3)]
    pub at: TimeMs,
}

/// A secret-dependent check that is about to run.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct TryRecord {
    /// The session.
    #[n(0)]
    pub session: SessionId,
    /// The peers that it may find guilty.
    #[n(1)]
    pub peers: Vec<NodeIndex>,
    /// When.
    #[n(2)]
    pub at: TimeMs,
}

/// A key whose share is stored.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct KeyRecord {
    /// The key.
    #[n(0)]
    pub key: KeyId,
    /// Its public record (canonical CBOR of `KeyPublic`), which nobody has endorsed yet.
    #[n(1)]
    pub public: Opaque,
    /// This node's boot when the share was stored.
    #[n(2)]
    pub boot: Boot,
}

/// A change of a key's state.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct KeyStateRecord {
    /// The key.
    #[n(0)]
    pub key: KeyId,
    /// Its state from here on.
    #[n(1)]
    pub state: KeyState,
    /// Counts the changes of this key on this node, from 1.
    #[n(2)]
    pub seq: u64,
    /// The request that was permitted.
    #[n(3)]
    pub request: RequestId,
    /// When.
    #[n(4)]
    pub at: TimeMs,
}

/// A proposed charter.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ProposalRecord {
    /// The charter with the governors' signatures so far (`Certificate<Charter>`).
    #[n(0)]
    pub certificate: Opaque,
    /// When this node saw the charter first.
    #[n(1)]
    pub first_seen: TimeMs,
}

/// An approval of a proposed charter.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct CharterApprovalRecord {
    /// The charter.
    #[n(0)]
    pub charter: CharterHash,
    /// The approval (`Signed<Approval>`).
    #[n(1)]
    pub approval: Opaque,
}

/// A pardon or a readmission.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct NodeChangedRecord {
    /// Whom it is about.
    #[n(0)]
    pub node: NodeIndex,
    /// What is done about it.
    #[n(1)]
    pub change: NodeChange,
    /// The request that was permitted.
    #[n(2)]
    pub request: RequestId,
    /// When.
    #[n(3)]
    pub at: TimeMs,
}

/// Freezes that have ended.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct UnfrozenRecord {
    /// Their ids, which never hold again.
    #[n(0)]
    pub lifts: Vec<FreezeId>,
    /// Whose freezes count no longer, for ever.
    #[n(1)]
    pub suspends: Vec<PrincipalId>,
    /// The request that was permitted; `None` when this node followed enough others.
    #[n(2)]
    pub request: Option<RequestId>,
    /// When.
    #[n(3)]
    pub at: TimeMs,
}

/// A veto or a receipt.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct NoticeRecord {
    /// The statement.
    #[n(0)]
    pub statement: Opaque,
    /// When this node saw it first.
    #[n(1)]
    pub seen: TimeMs,
}

impl Record {
    /// Adds to the record of a permit to what its presignature is bound.
    #[must_use]
    pub(super) fn bound_to(mut self, to: Option<Binding>) -> Self {
        match &mut self {
            Self::Decision(decision) => decision.binding = to,
            Self::Consumed(consumed) => consumed.binding = to,
            _ => {}
        }
        self
    }

    /// Adds to the record of a decision what ends the life of what is signed.
    #[must_use]
    pub(super) fn closed_by(mut self, closes: Option<Closes>) -> Self {
        if let Self::Decision(decision) = &mut self {
            decision.closes = closes;
        }
        self
    }

    /// The canonical bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Reads a record.
    ///
    /// # Errors
    /// When the bytes are too long, malformed or not canonical.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CborError> {
        cbor::decode(bytes, RECORD_BYTES_MAX)
    }
}
