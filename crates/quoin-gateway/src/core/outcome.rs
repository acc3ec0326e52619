//! What a caller is told.

use quoin_api::frame::{CharterReply, FreezesFrame, OutstandingFrame, ProposalsFrame, Refusal};
use quoin_api::statements::FinishedSignature;
use quoin_core::{
    CharterHash, CharterNumber, Class, ClusterId, IntentHash, KeyId, KeyState, NodeIndex,
    PayloadHash, RequestId, RuleId, Scheme, ShareEpoch,
};
use quoin_protocol::KeyPublic;

/// The reply to a caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The request is signed, for ever with this signature.
    Signed(Box<SignedRequest>),
    /// A node has refused the request for good.
    Refused(Box<RefusedRequest>),
    /// The policy permits once the obligations are met.
    Pending(Box<PendingRequest>),
    /// The request is under way.
    InProgress,
    /// This gateway does not know the request.
    NotFound,
    /// The request id was used with this other payload.
    Conflict(PayloadHash),
    /// The key exists on all nodes.
    KeyCreated {
        /// The key.
        key: KeyId,
        /// Its certificate (`Certificate<KeyPublic>`), signed by all nodes.
        certificate: Vec<u8>,
    },
    /// The shares of a key have moved to their next epoch.
    KeyRenewed {
        /// The key.
        key: KeyId,
        /// The epoch.
        epoch: ShareEpoch,
        /// The new certificate (`Certificate<KeyPublic>`), signed by all nodes.
        certificate: Vec<u8>,
    },
    /// A change of a key or a node: who has carried it out, and who has not.
    Changed(Box<ChangedRequest>),
    /// All keys whose certificates this gateway has verified.
    Keys(Vec<ListedKey>),
    /// The charter in force.
    Charter {
        /// Its number.
        number: CharterNumber,
        /// The charter with its signatures.
        charter: Vec<u8>,
    },
    /// What the nodes said to a submitted charter.
    CharterSubmitted {
        /// Its number.
        number: CharterNumber,
        /// The nodes' replies.
        replies: Vec<CharterReply>,
        /// Nodes that did not reply.
        missing: Vec<NodeIndex>,
    },
    /// Who is up, and whether a signature could be made now.
    Status(Box<Status>),
    /// What each node said to a statement or a question.
    Words {
        /// The nodes' words.
        words: Vec<(NodeIndex, NodeWord)>,
        /// Nodes that did not say anything.
        missing: Vec<NodeIndex>,
    },
    /// Too many requests are under way.
    Overloaded,
    /// No outcome could be reached; nothing is decided by this.
    Failed(Failure),
}

/// What one node said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeWord {
    /// It has the statement durably, or why not.
    Statement(Option<Refusal>),
    /// The freezes that it knows.
    Freezes(FreezesFrame),
    /// The proposed charters that it knows.
    Proposals(ProposalsFrame),
    /// What it would decide, as JSON, or why it does not say.
    Explanation(Result<String, Refusal>),
    /// What it knows to be signed and able to execute.
    Outstanding(OutstandingFrame),
}

/// A signed request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedRequest {
    /// The signature, verified under the public key.
    pub finished: FinishedSignature,
    /// The signers' answers (`Signed<Answer>`): decision, rules, charter and journal heads. Empty
    /// when the signature was made before this gateway started.
    pub receipt: Vec<Vec<u8>>,
    /// The transaction ready for its chain, for payloads that are one.
    pub transaction: Option<RawTransaction>,
}

/// A signed transaction in its chain's wire form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawTransaction {
    /// The bytes to broadcast.
    pub raw: Vec<u8>,
    /// The transaction's hash.
    pub hash: [u8; 32],
}

/// A refused request: the content of a node's denial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedRequest {
    /// The request.
    pub request_id: RequestId,
    /// The rule that decided; `None` when no rule permits.
    pub rule: Option<RuleId>,
    /// The field at fault, when one is.
    pub field: Option<String>,
    /// The reason, for people.
    pub message: String,
    /// The smallest rule that would allow, when there is one.
    pub suggestion: Option<String>,
    /// The node that denied.
    pub node: NodeIndex,
    /// The evidence (`Signed<Denial>`).
    pub denial: Vec<u8>,
    /// Whether every node that was asked has denied it. Otherwise one may have permitted it, and holds
    /// its place in the account's order for it.
    pub by_all: bool,
}

/// A request that waits for approvals or time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingRequest {
    /// The request.
    pub request_id: RequestId,
    /// What approvals sign.
    pub intent_hash: IntentHash,
    /// The rules that permit.
    pub rules: Vec<RuleId>,
    /// What is missing, for people.
    pub unmet: Vec<String>,
    /// The stamp, so that approvers can read for themselves what they approve.
    pub stamp: Vec<u8>,
    /// The payload, for the same reason.
    pub payload: Vec<u8>,
}

/// What came of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedRequest {
    /// The request.
    pub request_id: RequestId,
    /// The statements of the nodes that have carried it out (`Signed<KeyStatement>` or
    /// `Signed<NodeStatement>`), each verified.
    pub statements: Vec<(NodeIndex, Vec<u8>)>,
    /// What the others said.
    pub failed: Vec<(NodeIndex, Failure)>,
    /// Who said nothing, or is not connected.
    pub missing: Vec<NodeIndex>,
}

impl ChangedRequest {
    /// Whether every node has carried it out.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.failed.is_empty() && self.missing.is_empty()
    }
}

/// A key with what its nodes say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedKey {
    /// The key.
    pub entry: KeyEntry,
    /// Its state, by what most of its nodes say.
    pub state: KeyState,
    /// The newest statement of each node (`Signed<KeyStatement>`).
    pub statements: Vec<Vec<u8>>,
}

/// A key whose certificate is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyEntry {
    /// The public record.
    pub public: KeyPublic,
    /// The certificate's bytes.
    pub certificate: Vec<u8>,
}

/// Who is up, and whether a signature could be made now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The cluster.
    pub cluster: ClusterId,
    /// The number of the charter in force here.
    pub charter_number: CharterNumber,
    /// Its hash.
    pub charter_hash: CharterHash,
    /// How many nodes sign.
    pub threshold: u8,
    /// All nodes, and whether each is connected.
    pub nodes: Vec<(NodeIndex, bool)>,
    /// The presignature ids in stock, for each key.
    pub stock: Vec<Stock>,
    /// How many requests are under way.
    pub in_flight: usize,
    /// How many requests wait for approvals.
    pub pending: usize,
    /// Why no signature could be made now; empty when one could.
    pub not_ready: Vec<String>,
}

/// The presignature ids of one key that nodes have lent to this gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stock {
    /// The key.
    pub key: KeyId,
    /// Its scheme.
    pub scheme: Scheme,
    /// The newest epoch of its shares.
    pub epoch: ShareEpoch,
    /// How many ids there are.
    pub ids: usize,
    /// How many came within the last [`super::leases::FLOW_WINDOW_S`] seconds.
    pub refilled: u64,
    /// How many were used within the same time.
    pub used: u64,
}

impl Stock {
    /// How many ids came in each second, of late.
    #[must_use]
    pub fn refill_per_s(&self) -> f64 {
        per_second(self.refilled)
    }

    /// For how long the ids last at the pace of late, were no more lent; infinity when none is used.
    #[must_use]
    pub fn seconds_to_empty(&self) -> f64 {
        if self.ids == 0 {
            return 0.0;
        }
        // Stocks are some hundreds, so nothing is rounded.
        u32::try_from(self.ids).map_or(f64::INFINITY, f64::from) / per_second(self.used)
    }
}

fn per_second(in_window: u64) -> f64 {
    let ids = u32::try_from(in_window).map_or(f64::from(u32::MAX), f64::from);
    let window = u32::try_from(super::leases::FLOW_WINDOW_S).map_or(1.0, f64::from);
    ids / window
}

/// Why no outcome was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Whose fault it is.
    pub class: Class,
    /// The field or part at fault.
    pub field: String,
    /// What is wrong, and who is missing.
    pub message: String,
    /// The nodes that are missing or at fault.
    pub nodes: Vec<NodeIndex>,
}

impl Failure {
    /// A failure of the caller's class.
    pub fn caller(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            class: Class::Caller,
            field: field.into(),
            message: message.into(),
            nodes: Vec::new(),
        }
    }

    /// A failure of the nodes named.
    pub fn peer(
        field: impl Into<String>,
        message: impl Into<String>,
        nodes: Vec<NodeIndex>,
    ) -> Self {
        Self {
            class: Class::Peer,
            field: field.into(),
            message: message.into(),
            nodes,
        }
    }
}

impl From<quoin_core::Rejection> for Failure {
    fn from(rejection: quoin_core::Rejection) -> Self {
        Self {
            class: rejection.class,
            field: rejection.field.into_owned(),
            message: rejection.message,
            nodes: Vec::new(),
        }
    }
}

impl Outcome {
    /// The outcome's kind, as metrics and JSON name it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Signed(_) => "signed",
            Self::Refused(_) => "refused",
            Self::Pending(_) => "pending",
            Self::InProgress => "in-progress",
            Self::NotFound => "not-found",
            Self::Conflict(_) => "conflict",
            Self::KeyCreated { .. } => "key-created",
            Self::KeyRenewed { .. } => "key-renewed",
            Self::Changed(_) => "changed",
            Self::Keys(_) => "keys",
            Self::Charter { .. } => "charter",
            Self::CharterSubmitted { .. } => "charter-submitted",
            Self::Status(_) => "status",
            Self::Words { .. } => "words",
            Self::Overloaded => "overloaded",
            Self::Failed(_) => "failed",
        }
    }

    /// Whether the outcome can never change, so that a repeated request has the same answer.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        match self {
            Self::Signed(_)
            | Self::Refused(_)
            | Self::KeyCreated { .. }
            | Self::KeyRenewed { .. } => true,
            Self::Changed(changed) => changed.is_complete(),
            _ => false,
        }
    }
}
