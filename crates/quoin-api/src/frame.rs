//! Frames: typed headers with opaque bodies, between nodes and from gateways to nodes.
//!
//! A frame is authenticated by the connection that it came on (mutual TLS with pinned identities).
//! What must convince somebody else later is a signed statement inside it.

use crate::statements::{FRAME_STATEMENT_BYTES_MAX, SIGNED_BYTES_MAX};
use minicbor::{Decode, Encode};
use quoin_core::cbor::{self, CborError, Version};
use quoin_core::ids::NODE_INDEX_MAX;
use quoin_core::{
    BatchId, CeremonyId, CharterHash, ClusterId, FreezeId, KeyId, NodeIndex, PayloadHash,
    PresignatureId, PrincipalId, RequestId, RuleId, ShareEpoch, SignerSet,
};

/// The largest frame: round 3 of an ECDSA batch of 256 is 10.3 MB.
pub const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The most ids of one lease.
pub const LEASE_IDS_MAX: usize = 1024;
/// The most approvals that travel with one request.
pub const APPROVALS_MAX: usize = 64;
/// The most endorsements of one acknowledgement: one for each node of the largest cluster.
pub const ENDORSEMENTS_MAX: usize = NODE_INDEX_MAX as usize;
/// The longest endorsement: its header, a 64-byte signature and what COSE adds.
pub const ENDORSEMENT_BYTES_MAX: usize = 256;
/// The longest complaint: two broadcasts of 4,096 bytes and 15 digests.
pub const COMPLAINT_BYTES_MAX: usize = 12_288;
/// The most keys of one listing.
pub const KEYS_MAX: usize = 4096;

/// How urgent a frame is on its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Statements, tombstones, signing: somebody waits.
    Urgent,
    /// Heartbeats, ceremonies, listings.
    Normal,
    /// Presigning: megabytes that may wait.
    Bulk,
}

/// A protocol session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum SessionId {
    /// A presigning batch.
    #[n(0)]
    Batch(#[n(0)] BatchId),
    /// A key ceremony.
    #[n(1)]
    Ceremony(#[n(0)] CeremonyId),
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Frame {
    /// The first frame on every connection, from both sides.
    #[n(0)]
    Hello(#[n(0)] Hello),
    /// A charter with its governors' signatures, from whoever carries it: a proposal, until the node
    /// that receives it judges that all is met which the charter in force demands.
    #[n(1)]
    Charter(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// A node's signed heartbeat (`Signed<Heartbeat>`).
    #[n(2)]
    Heartbeat(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// One message of a protocol session.
    #[n(3)]
    Session(#[n(0)] SessionFrame),
    /// The sender has left a session; no reason is given to a peer.
    #[n(4)]
    SessionAborted(#[n(0)] SessionId),
    /// Endorsements of a new key, by nodes that have stored their shares of it.
    #[n(5)]
    Prepared(#[n(0)] PreparedFrame),
    /// Asks a node to judge and sign, or to judge and take part in a ceremony.
    #[n(6)]
    Request(#[n(0)] RequestFrame),
    /// A node's reply to a request.
    #[n(7)]
    Reply(#[n(0)] ReplyFrame),
    /// Asks the lowest-index signer for presignature ids.
    #[n(8)]
    LeaseRequest(#[n(0)] LeaseRequest),
    /// Lends presignature ids to a gateway.
    #[n(9)]
    LeaseGrant(#[n(0)] LeaseGrant),
    /// A finished signature, posted to all nodes.
    #[n(10)]
    Finished(#[n(0)] FinishedFrame),
    /// A node's signed denial (`Signed<Denial>`), handed to the others.
    #[n(11)]
    Tombstone(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// Asks for the certificates of all keys.
    #[n(12)]
    KeysRequest,
    /// The certificates of keys (`Certificate<KeyPublic>`).
    #[n(13)]
    Keys(#[n(0)] KeysFrame),
    /// Asks for the charter in force.
    #[n(14)]
    CharterRequest,
    /// Whether a charter was accepted, to who sent it.
    #[n(15)]
    CharterReply(#[n(0)] CharterReply),
    /// Statements of nodes that hold the certificate of a share epoch durably.
    #[n(16)]
    Held(#[n(0)] HeldFrame),
    /// A node will never endorse a key's record (`Signed<CeremonyAbandoned>`), from whoever
    /// carries it.
    #[n(17)]
    CeremonyAbandoned(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// Proposes a refresh that nobody asked for: the key's shares are old.
    #[n(18)]
    RefreshDue(#[n(0)] RefreshDue),
    /// A signed complaint about a ceremony's dealer (`quoin_protocol::dkg::Complaint`).
    #[n(19)]
    Complaint(#[n(0)] ComplaintFrame),
    /// What the sender says of its keys, sent along with their certificates.
    #[n(24)]
    KeyStates(#[n(0)] KeyStatesFrame),
    /// What all signers of a treasury key have opened: the second round of signing with it.
    #[n(30)]
    Openings(#[n(0)] OpeningsFrame),
    /// A freeze (`Signed<Freeze>`), from whoever carries it.
    #[n(31)]
    Freeze(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// A veto (`Signed<Veto>`), from whoever carries it.
    #[n(32)]
    Veto(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// A watcher's receipt (`Signed<Receipt>`), from whoever carries it.
    #[n(33)]
    Receipt(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// A feed's statement of facts (`Signed<FactStatement>`), from whoever carries it.
    #[n(34)]
    Facts(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// Whether a statement was taken, to who brought it.
    #[n(35)]
    StatementReply(#[n(0)] StatementReply),
    /// Asks for the freezes.
    #[n(36)]
    FreezesRequest,
    /// The freezes that the sender knows, and what has ended.
    #[n(37)]
    Freezes(#[n(0)] FreezesFrame),
    /// Proposes a numbered signer set.
    #[n(38)]
    SetProposal(#[n(0)] SetProposal),
    /// A node's acknowledgements of a numbered signer set (each a `Signed<SetAck>`).
    #[n(39)]
    SetAcks(#[n(0)] SetAcksFrame),
    /// Asks for the proposed charters.
    #[n(40)]
    ProposalsRequest,
    /// The proposed charters that the sender knows.
    #[n(41)]
    Proposals(#[n(0)] ProposalsFrame),
    /// Asks what would be decided about a request, without deciding anything.
    #[n(42)]
    ExplainRequest(#[n(0)] ExplainRequest),
    /// What would be decided.
    #[n(43)]
    ExplainReply(#[n(0)] ExplainReply),
    /// Asks what has been signed and could still execute.
    #[n(44)]
    OutstandingRequest,
    /// What the sender knows to be signed and able to execute.
    #[n(45)]
    Outstanding(#[n(0)] OutstandingFrame),
    /// A person's approval of a proposed charter, from whoever carries it.
    #[n(46)]
    CharterApproval(#[n(0)] CharterApproval),
    /// A charter that is in force on the sender, or was (`Certificate<Charter>`); between nodes.
    /// Enough of them who say so of one charter make it that of a node which was away.
    #[n(47)]
    Adopted(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
}

/// An approval of a proposed charter.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct CharterApproval {
    /// The charter.
    #[n(0)]
    pub charter: CharterHash,
    /// The approval (`Signed<Approval>`), of the proposal's intent hash.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub approval: Vec<u8>,
}

/// The longest statement of facts, with its envelope.
pub const FACTS_BYTES_MAX: usize = 17 * 1024;
/// The most freezes of one listing: 64 of each principal that may freeze, for 64 of them.
pub const FREEZES_MAX: usize = 4096;
/// The most requests that lifted freezes, in one listing.
pub const LIFTS_MAX: usize = 1024;
/// The most lifted freezes, and the most suspended principals, of one listing: one lift of 64 every
/// day for three years.
pub const LIFTED_MAX: usize = 65_536;
/// The most proposed charters of one listing.
pub const PROPOSALS_MAX: usize = 8;
/// The most outstanding signatures of one listing.
pub const OUTSTANDING_MAX: usize = 4096;

/// Whether a node took a statement.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct StatementReply {
    /// SHA-256 of the statement's bytes.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub statement: [u8; 32],
    /// The node.
    #[n(1)]
    pub node: NodeIndex,
    /// Why not; `None` when it has it durably.
    #[n(2)]
    pub refused: Option<Refusal>,
}

/// All that a node knows of freezes.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct FreezesFrame {
    /// Each a `Signed<Freeze>`.
    #[n(0)]
    pub freezes: Vec<Opaque>,
    /// The permitted requests that lifted some, as they are handed on.
    #[n(1)]
    pub lifts: Vec<RequestFrame>,
    /// The hash of the sender's state.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub digest: [u8; 32],
    /// The ids of all freezes that the sender has lifted.
    #[n(3)]
    pub lifted: Vec<FreezeId>,
    /// All whose freezes count no longer on the sender.
    #[n(4)]
    pub suspended: Vec<PrincipalId>,
}

/// Proposes a numbered signer set; a hint, until enough nodes have acknowledged it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SetProposal {
    /// The number: higher than that of every set before.
    #[n(0)]
    pub number: u64,
    /// The signers.
    #[n(1)]
    pub set: SignerSet,
}

/// Acknowledgements of a numbered signer set: all that the sender has, its own among them.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SetAcksFrame {
    /// Each a `Signed<SetAck>`; one per node at most.
    #[n(0)]
    pub acks: Vec<Opaque>,
}

/// The proposed charters that a node knows.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ProposalsFrame {
    /// The proposals.
    #[n(0)]
    pub proposals: Vec<ProposalBody>,
}

/// A proposed charter, and what it still waits for on one node.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ProposalBody {
    /// The charter with the signatures so far (`Certificate<Charter>`).
    #[n(0)]
    pub certificate: Opaque,
    /// When the node has seen it first, in milliseconds since 1970.
    #[n(1)]
    pub first_seen: quoin_core::TimeMs,
    /// What is missing, for people.
    #[n(2)]
    pub unmet: Vec<String>,
    /// What approvals of it sign; zero of one that was vetoed before that was known.
    #[n(3)]
    pub intent_hash: quoin_core::IntentHash,
    /// Who has vetoed it.
    #[n(4)]
    pub vetoed_by: Vec<String>,
    /// Of the requests since then: how many were judged under it as well, and how many of those it
    /// would have decided otherwise.
    #[n(5)]
    pub judged: u64,
    /// See `judged`.
    #[n(6)]
    pub flipped: u64,
    /// The newest of those, in words.
    #[n(7)]
    pub flips: Vec<String>,
}

/// Asks what would be decided about a request.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ExplainRequest {
    /// Chosen by the asker; named in the reply.
    #[n(0)]
    pub attempt: u64,
    /// The stamp (`Signed<Stamp>`), of whoever wants to know.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub stamp: Vec<u8>,
    /// The payload (canonical CBOR of `Payload`).
    #[cbor(n(2), with = "minicbor::bytes")]
    pub payload: Vec<u8>,
    /// Approvals (`Signed<Approval>`).
    #[n(3)]
    pub approvals: Vec<Opaque>,
}

/// What a node would decide.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ExplainReply {
    /// The attempt that is answered.
    #[n(0)]
    pub attempt: u64,
    /// The node.
    #[n(1)]
    pub node: NodeIndex,
    /// The explanation as JSON, or why there is none.
    #[n(2)]
    pub explanation: Result<String, Refusal>,
}

/// What has been signed and could still execute.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct OutstandingFrame {
    /// The node.
    #[n(0)]
    pub node: NodeIndex,
    /// Each an entry of `quoin_policy::Outstanding` as JSON.
    #[n(1)]
    pub entries: Vec<String>,
    /// Whether there are more than fit.
    #[n(2)]
    pub truncated: bool,
}

/// The first frame on a connection.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Hello {
    /// The protocol's version.
    #[n(0)]
    pub version: Version<1>,
    /// The cluster that the sender belongs to.
    #[n(1)]
    pub cluster: ClusterId,
    /// The sender's build, for logs only.
    #[n(2)]
    pub build: String,
    /// A fresh number for each start of a gateway; a node's generation.
    #[n(3)]
    pub boot: u64,
}

/// One message of a protocol session.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct SessionFrame {
    /// The session.
    #[n(0)]
    pub session: SessionId,
    /// The batch header (`BatchHeader`), with messages of round 1 only.
    #[n(1)]
    pub header: Option<Opaque>,
    /// The message (`RoundMessage`); channel-secret.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub message: Vec<u8>,
}

impl std::fmt::Debug for SessionFrame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionFrame")
            .field("session", &self.session)
            .field("message_bytes", &self.message.len())
            .finish_non_exhaustive()
    }
}

/// Endorsements of a new key: all that the sender knows, its own among them.
///
/// A node endorses a key's record only once its own share is durable, so the endorsement is also
/// its acknowledgement; all n of them are the key's certificate. They are handed on, because a node
/// that is silent towards one other must not keep that one waiting for ever.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PreparedFrame {
    /// The key.
    #[n(0)]
    pub key: KeyId,
    /// Each a detached `COSE_Sign1` over the key's record (`KeyPublic`); one per node at most.
    #[n(1)]
    pub endorsements: Vec<Opaque>,
    /// Whether the sender still lacks endorsements. Without it two nodes that are both done would
    /// answer each other for ever.
    #[n(2)]
    pub wants_reply: bool,
    /// The epoch of the shares that the record is about.
    #[n(3)]
    pub epoch: ShareEpoch,
    /// The record's hash (`KeyPublic::shares_hash`): who will never hold a share of this record
    /// says so, and the others need not wait for it.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub record: [u8; 32],
}

/// Who holds the certificate of a key's newest epoch durably: all that the sender knows of, itself
/// among them. They are handed on, because a node that is silent towards one other must not keep
/// that one from erasing its old share.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct HeldFrame {
    /// The key.
    #[n(0)]
    pub key: KeyId,
    /// The epoch that the sender has in use.
    #[n(1)]
    pub epoch: ShareEpoch,
    /// Each a `Signed<EpochHeld>`; one per node at most.
    #[n(2)]
    pub statements: Vec<Opaque>,
    /// Whether the sender wants to hear what the recipient knows.
    #[n(3)]
    pub wants_reply: bool,
}

/// Proposes to refresh the shares of a key, by the lowest-index holder.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RefreshDue {
    /// The key.
    #[n(0)]
    pub key: KeyId,
    /// The epoch whose shares are old.
    #[n(1)]
    pub epoch: ShareEpoch,
    /// Counts the proposals of the proposer's boot; the ceremony's id depends on it.
    #[n(2)]
    pub counter: u64,
}

/// A complaint with the ceremony that it is about.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ComplaintFrame {
    /// The ceremony.
    #[n(0)]
    pub ceremony: CeremonyId,
    /// The complaint.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub complaint: Vec<u8>,
}

/// Asks a node to judge a stamped request.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RequestFrame {
    /// Chosen by the gateway; names this attempt in the reply.
    #[n(0)]
    pub attempt: u64,
    /// The stamp (`Signed<Stamp>`).
    #[cbor(n(1), with = "minicbor::bytes")]
    pub stamp: Vec<u8>,
    /// The payload (canonical CBOR of `Payload`).
    #[cbor(n(2), with = "minicbor::bytes")]
    pub payload: Vec<u8>,
    /// Approvals (`Signed<Approval>`).
    #[n(3)]
    pub approvals: Vec<Opaque>,
    /// Which presignature to sign with; `None` for a ceremony.
    #[n(4)]
    pub signing: Option<SigningHint>,
}

/// Shows a signer what all signers have opened.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct OpeningsFrame {
    /// Chosen by the gateway; names this attempt in the reply.
    #[n(0)]
    pub attempt: u64,
    /// The request.
    #[n(1)]
    pub request_id: RequestId,
    /// The presignature that is bound to it.
    #[n(2)]
    pub presignature: PresignatureId,
    /// Each a `Signed<Opening>`; one of each signer.
    #[n(3)]
    pub openings: Vec<Opaque>,
}

/// With what to sign: a hint that affects who waits, never what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SigningHint {
    /// The signers.
    #[n(0)]
    pub set: SignerSet,
    /// The presignature.
    #[n(1)]
    pub presignature: PresignatureId,
    /// The epoch that the presignature was lent under; without it every epoch in use is searched.
    #[n(2)]
    pub epoch: Option<ShareEpoch>,
}

/// Bytes that another crate gives meaning to.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Opaque(#[cbor(n(0), with = "minicbor::bytes")] pub Vec<u8>);

/// A node's reply to a request.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ReplyFrame {
    /// The attempt that is answered.
    #[n(0)]
    pub attempt: u64,
    /// The request.
    #[n(1)]
    pub request_id: RequestId,
    /// The answer.
    #[n(2)]
    pub reply: Reply,
}

/// What a node says to a request.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Reply {
    /// A partial signature (`Signed<Answer>`); the node has journaled its decision.
    #[n(0)]
    Answer(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// The node refuses for good (`Signed<Denial>`).
    #[n(1)]
    Denied(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// The policy permits once these obligations are met.
    #[n(2)]
    Pending(#[n(0)] PendingReply),
    /// The request id was used with another payload.
    #[n(3)]
    Conflict(#[n(0)] PayloadHash),
    /// The request is malformed, forged or expired.
    #[n(4)]
    Rejected(#[n(0)] Refusal),
    /// The node cannot sign this now; nothing was decided.
    #[n(5)]
    Unavailable(#[n(0)] Unavailable),
    /// The request was signed before; this is the one answer to it.
    #[n(6)]
    AlreadySigned(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// The node takes part in the ceremony.
    #[n(7)]
    CeremonyStarted(#[n(0)] CeremonyId),
    /// The ceremony ended in a key (`Certificate<KeyPublic>`), which is active on this node.
    #[n(8)]
    CeremonyDone(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// The change of a key's state is durable (`Signed<KeyStatement>`), or that of a node
    /// (`Signed<NodeStatement>`).
    #[n(9)]
    ChangeDone(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// The presignature of a treasury key is bound to the request, durably and for ever
    /// (`Signed<Opening>`).
    #[n(20)]
    Opening(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// The openings that were shown are not those of one binding; the signer whose opening is wrong
    /// or missing, where that can be told. The node will never answer with this presignature.
    #[n(21)]
    OpeningsRefused(#[n(0)] Option<NodeIndex>),
}

/// Obligations that are not met yet.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PendingReply {
    /// What approvals sign.
    #[n(0)]
    pub intent_hash: quoin_core::IntentHash,
    /// The rules that permit.
    #[n(1)]
    pub rules: Vec<RuleId>,
    /// What is missing, for people.
    #[n(2)]
    pub unmet: Vec<String>,
}

/// A rejection on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Refusal {
    /// The field at fault.
    #[n(0)]
    pub field: String,
    /// What is wrong.
    #[n(1)]
    pub message: String,
}

/// Why a node cannot sign now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Unavailable {
    /// The presignature is not in this node's pool: consumed, expired, or of another boot.
    #[n(0)]
    PresignatureGone,
    /// The node lacks fresh heartbeats of its peers.
    #[n(1)]
    NoLease,
    /// The node's clock differs from its peers'.
    #[n(2)]
    ClockSkew,
    /// The node does not know the key.
    #[n(3)]
    UnknownKey,
    /// The node's charter is older than the stamp demands.
    #[n(4)]
    CharterBehind,
    /// The node's disk failed; it signs nothing until an operator restarts it.
    #[n(5)]
    StorageFailed,
    /// The node is at a limit of requests in flight.
    #[n(6)]
    Overloaded,
    /// The key is suspended.
    #[n(7)]
    KeySuspended,
    /// The key is retired.
    #[n(8)]
    KeyDeactivated,
    /// The key is marked as compromised.
    #[n(9)]
    KeyCompromised,
    /// The key is destroyed.
    #[n(10)]
    KeyDestroyed,
    /// A sticky budget counts the request, and another signer set than this one is in force, or
    /// none is.
    #[n(11)]
    OtherSignerSet,
}

/// Asks for presignature ids.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct LeaseRequest {
    /// The key.
    #[n(0)]
    pub key: KeyId,
    /// The signers.
    #[n(1)]
    pub set: SignerSet,
    /// How many ids are wanted.
    #[n(2)]
    pub want: u16,
    /// Whether they are for requests that reduce risk: for these the last ids of a pool are kept.
    #[n(3)]
    pub urgent: bool,
}

/// Lends presignature ids; an empty list says that the pool is empty now.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct LeaseGrant {
    /// The key.
    #[n(0)]
    pub key: KeyId,
    /// The signers.
    #[n(1)]
    pub set: SignerSet,
    /// The ids.
    #[n(2)]
    pub ids: Vec<PresignatureId>,
    /// The share epoch that all of them belong to; answers combine with its certificate.
    #[n(3)]
    pub epoch: ShareEpoch,
}

/// A finished signature with what a node needs to verify and count it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct FinishedFrame {
    /// The stamp (`Signed<Stamp>`).
    #[cbor(n(0), with = "minicbor::bytes")]
    pub stamp: Vec<u8>,
    /// The payload (canonical CBOR of `Payload`).
    #[cbor(n(1), with = "minicbor::bytes")]
    pub payload: Vec<u8>,
    /// The finished signature (canonical CBOR of `FinishedSignature`).
    #[cbor(n(2), with = "minicbor::bytes")]
    pub signature: Vec<u8>,
}

/// Key certificates.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct KeysFrame {
    /// Each a `Certificate<KeyPublic>`.
    #[n(0)]
    pub certificates: Vec<Opaque>,
}

/// What a node says of its keys.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct KeyStatesFrame {
    /// Each a `Signed<KeyStatement>`; one for each key at most.
    #[n(0)]
    pub statements: Vec<Opaque>,
}

/// Whether a charter was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct CharterReply {
    /// The node that answers.
    #[n(0)]
    pub node: NodeIndex,
    /// The number of the charter in force on it now.
    #[n(1)]
    pub number: quoin_core::CharterNumber,
    /// Why it refused, when it did.
    #[n(2)]
    pub refused: Option<Refusal>,
    /// What the charter still waits for, when the node has stored it as a proposal.
    #[n(3)]
    pub pending: Vec<String>,
}

impl RequestFrame {
    /// What there could be too much of, how much there is, and how much is accepted.
    fn limit(&self) -> (&'static str, usize, usize) {
        if self.approvals.len() > APPROVALS_MAX {
            return ("approvals", self.approvals.len(), APPROVALS_MAX);
        }
        let longest = self.approvals.iter().map(|a| a.0.len()).max();
        let longest = longest.unwrap_or_default();
        ("approval bytes", longest, SIGNED_BYTES_MAX)
    }

    fn is_within_limit(&self) -> bool {
        let (_, count, max) = self.limit();
        count <= max
    }
}

impl Frame {
    /// The canonical bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// When the bytes are too long, malformed or not canonical, or a list exceeds its limit.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FrameError> {
        let frame: Self = cbor::decode(bytes, FRAME_BYTES_MAX)?;
        frame.check_limits()?;
        Ok(frame)
    }

    /// How urgent the frame is.
    #[must_use]
    pub const fn priority(&self) -> Priority {
        match self {
            Self::Session(SessionFrame {
                session: SessionId::Batch(_),
                ..
            }) => Priority::Bulk,
            Self::Request(_)
            | Self::Openings(_)
            | Self::Reply(_)
            | Self::Finished(_)
            | Self::Tombstone(_)
            | Self::Charter(_)
            | Self::Adopted(_)
            | Self::CharterApproval(_)
            | Self::Freeze(_)
            | Self::Veto(_)
            | Self::Receipt(_)
            | Self::Facts(_)
            | Self::Freezes(_)
            | Self::StatementReply(_)
            | Self::SetProposal(_)
            | Self::SetAcks(_)
            | Self::LeaseRequest(_)
            | Self::LeaseGrant(_) => Priority::Urgent,
            _ => Priority::Normal,
        }
    }

    fn check_limits(&self) -> Result<(), FrameError> {
        let (what, count, max) = match self {
            Self::Request(r) => r.limit(),
            Self::LeaseGrant(g) => ("lease ids", g.ids.len(), LEASE_IDS_MAX),
            Self::Keys(k) => ("keys", k.certificates.len(), KEYS_MAX),
            Self::KeyStates(k) => ("key states", k.statements.len(), KEYS_MAX),
            Self::Heartbeat(b) | Self::Tombstone(b) | Self::CeremonyAbandoned(b) => {
                ("statement bytes", b.len(), SIGNED_BYTES_MAX)
            }
            Self::Prepared(p) if p.endorsements.len() > ENDORSEMENTS_MAX => {
                ("endorsements", p.endorsements.len(), ENDORSEMENTS_MAX)
            }
            Self::Prepared(p) => {
                let longest = p.endorsements.iter().map(|e| e.0.len()).max();
                let longest = longest.unwrap_or_default();
                ("endorsement bytes", longest, ENDORSEMENT_BYTES_MAX)
            }
            Self::Held(h) if h.statements.len() > ENDORSEMENTS_MAX => {
                ("statements", h.statements.len(), ENDORSEMENTS_MAX)
            }
            Self::Held(h) => {
                let longest = h.statements.iter().map(|s| s.0.len()).max();
                (
                    "statement bytes",
                    longest.unwrap_or_default(),
                    SIGNED_BYTES_MAX,
                )
            }
            Self::Openings(o) if o.openings.len() > ENDORSEMENTS_MAX => {
                ("openings", o.openings.len(), ENDORSEMENTS_MAX)
            }
            Self::Openings(o) => {
                let longest = o.openings.iter().map(|o| o.0.len()).max();
                let longest = longest.unwrap_or_default();
                ("opening bytes", longest, SIGNED_BYTES_MAX)
            }
            Self::Complaint(c) => ("complaint bytes", c.complaint.len(), COMPLAINT_BYTES_MAX),
            Self::Charter(b) | Self::Adopted(b) => {
                ("charter bytes", b.len(), FRAME_STATEMENT_BYTES_MAX)
            }
            Self::CharterApproval(a) => ("statement bytes", a.approval.len(), SIGNED_BYTES_MAX),
            Self::Hello(h) => ("build bytes", h.build.len(), 64),
            Self::Freeze(b) | Self::Veto(b) | Self::Receipt(b) => {
                ("statement bytes", b.len(), SIGNED_BYTES_MAX)
            }
            Self::Facts(b) => ("statement bytes", b.len(), FACTS_BYTES_MAX),
            Self::Freezes(f) if f.freezes.len() > FREEZES_MAX => {
                ("freezes", f.freezes.len(), FREEZES_MAX)
            }
            Self::Freezes(f) if f.lifts.len() > LIFTS_MAX => ("lifts", f.lifts.len(), LIFTS_MAX),
            Self::Freezes(f) => match f.lifts.iter().find(|r| !r.is_within_limit()) {
                Some(over) => over.limit(),
                None => {
                    let ended = f.lifted.len().max(f.suspended.len());
                    ("lifted freezes", ended, LIFTED_MAX)
                }
            },
            Self::SetAcks(a) => ("acknowledgements", a.acks.len(), ENDORSEMENTS_MAX),
            Self::Proposals(p) => ("proposals", p.proposals.len(), PROPOSALS_MAX),
            Self::ExplainRequest(e) => ("approvals", e.approvals.len(), APPROVALS_MAX),
            Self::Outstanding(o) => ("entries", o.entries.len(), OUTSTANDING_MAX),
            _ => return Ok(()),
        };
        if count > max {
            Err(FrameError::Limit { what, count, max })
        } else {
            Ok(())
        }
    }
}

/// Why bytes are not a frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Malformed, too long or not canonical.
    #[error("malformed frame: {0}")]
    Encoding(#[from] CborError),
    /// A list over its limit.
    #[error("frame has `{count}` {what}, which is over the limit of `{max}`")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many are accepted.
        max: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn frames_read_back_what_they_write() {
        let frame = Frame::Hello(Hello {
            version: Version,
            cluster: ClusterId([1; 32]),
            build: "quoin 0.1.0".into(),
            boot: 7,
        });
        assert_eq!(Frame::from_bytes(&frame.to_bytes()).unwrap(), frame);
        let session = Frame::Session(SessionFrame {
            session: SessionId::Ceremony(CeremonyId([2; 16])),
            header: None,
            message: vec![1, 2, 3],
        });
        assert_eq!(Frame::from_bytes(&session.to_bytes()).unwrap(), session);
    }

    #[test]
    fn lists_over_their_limit_are_refused() {
        let frame = Frame::Request(RequestFrame {
            attempt: 1,
            stamp: vec![],
            payload: vec![],
            approvals: vec![Opaque(vec![]); APPROVALS_MAX + 1],
            signing: None,
        });
        assert!(matches!(
            Frame::from_bytes(&frame.to_bytes()),
            Err(FrameError::Limit { .. })
        ));
    }

    #[test]
    fn requests_that_lifted_freezes_have_the_limits_of_requests() {
        let frame = |count: usize, bytes: usize| {
            let lift = RequestFrame {
                attempt: 0,
                stamp: vec![],
                payload: vec![],
                approvals: vec![Opaque(vec![7; bytes]); count],
                signing: None,
            };
            let within = RequestFrame {
                approvals: Vec::new(),
                ..lift.clone()
            };
            let shown = Frame::Freezes(FreezesFrame {
                freezes: Vec::new(),
                lifts: vec![within, lift.clone()],
                digest: [0; 32],
                lifted: Vec::new(),
                suspended: Vec::new(),
            });
            [shown, Frame::Request(lift)]
        };
        for whole in frame(APPROVALS_MAX, SIGNED_BYTES_MAX) {
            assert_eq!(Frame::from_bytes(&whole.to_bytes()).unwrap(), whole);
        }
        for (count, bytes) in [(APPROVALS_MAX + 1, 1), (1, SIGNED_BYTES_MAX + 1)] {
            for frame in frame(count, bytes) {
                assert!(matches!(
                    Frame::from_bytes(&frame.to_bytes()),
                    Err(FrameError::Limit { .. })
                ));
            }
        }
    }

    #[test]
    fn acknowledgements_have_one_endorsement_for_each_node_at_most() {
        let frame = |count, bytes| {
            Frame::Prepared(PreparedFrame {
                key: KeyId([3; 16]),
                endorsements: vec![Opaque(vec![7; bytes]); count],
                wants_reply: true,
                epoch: ShareEpoch(1),
                record: [5; 32],
            })
        };
        let whole = frame(ENDORSEMENTS_MAX, ENDORSEMENT_BYTES_MAX);
        assert_eq!(Frame::from_bytes(&whole.to_bytes()).unwrap(), whole);
        for (count, bytes) in [(ENDORSEMENTS_MAX + 1, 1), (1, ENDORSEMENT_BYTES_MAX + 1)] {
            assert!(matches!(
                Frame::from_bytes(&frame(count, bytes).to_bytes()),
                Err(FrameError::Limit { .. })
            ));
        }
    }

    #[test]
    fn there_is_one_opening_for_each_node_at_most() {
        let frame = |count, bytes| {
            Frame::Openings(OpeningsFrame {
                attempt: 1,
                request_id: RequestId([3; 16]),
                presignature: PresignatureId {
                    batch: quoin_core::BatchHash([4; 32]),
                    index: 5,
                },
                openings: vec![Opaque(vec![7; bytes]); count],
            })
        };
        let whole = frame(ENDORSEMENTS_MAX, SIGNED_BYTES_MAX);
        assert_eq!(Frame::from_bytes(&whole.to_bytes()).unwrap(), whole);
        for (count, bytes) in [(ENDORSEMENTS_MAX + 1, 1), (1, SIGNED_BYTES_MAX + 1)] {
            assert!(matches!(
                Frame::from_bytes(&frame(count, bytes).to_bytes()),
                Err(FrameError::Limit { .. })
            ));
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = Frame::from_bytes(&bytes);
        }
    }
}
