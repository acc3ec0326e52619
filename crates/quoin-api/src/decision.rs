//! The JSON of what every node is told or asked about decisions: statements, freezes, proposed
//! charters, explanations and outstanding signatures.
//!
//! A gateway hands on what each node says, under the node's name; it neither judges nor merges it.
//! Statements are signed, so a reader verifies them for itself.

use crate::http::RequestBody;
use quoin_core::{CharterHash, FreezeId, IntentHash, NodeIndex, PrincipalId, TimeMs};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `POST /v1/statements`: brings a signed statement to all nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum StatementToAllBody {
    /// A freeze.
    Freeze {
        /// A COSE_Sign1 envelope, in hex.
        statement: String,
    },
    /// A veto of a request or of a proposed charter.
    Veto {
        /// A COSE_Sign1 envelope, in hex.
        statement: String,
    },
    /// A watcher's receipt of a notice.
    Receipt {
        /// A COSE_Sign1 envelope, in hex.
        statement: String,
    },
    /// A feed's statement of facts.
    Facts {
        /// A COSE_Sign1 envelope, in hex.
        statement: String,
    },
    /// A person's approval of a proposed charter.
    CharterApproval {
        /// The charter's hash.
        #[schema(value_type = String)]
        charter: CharterHash,
        /// A COSE_Sign1 envelope, in hex.
        statement: String,
    },
}

/// What the nodes said to a statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StatementTakenBody {
    /// What each said.
    pub replies: Vec<StatementReplyBody>,
    /// Nodes that said nothing or are not connected.
    #[schema(value_type = Vec<u8>)]
    pub missing: Vec<NodeIndex>,
}

/// What a node said to a statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StatementReplyBody {
    /// The node.
    #[schema(value_type = u8)]
    pub node: NodeIndex,
    /// Why it did not take it; absent when it has it durably.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<RefusalBody>,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RefusalBody {
    /// The field at fault.
    pub field: String,
    /// What is wrong.
    pub message: String,
}

/// `GET /v1/freezes`: the freezes that each node knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FreezesBody {
    /// What each node knows.
    pub nodes: Vec<NodeFreezesBody>,
    /// Nodes that said nothing or are not connected.
    #[schema(value_type = Vec<u8>)]
    pub missing: Vec<NodeIndex>,
}

/// The freezes that a node knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeFreezesBody {
    /// The node.
    #[schema(value_type = u8)]
    pub node: NodeIndex,
    /// The hash of its state: equal on nodes that agree.
    pub digest: String,
    /// Each a signed freeze, a COSE_Sign1 envelope in hex; those that were lifted are among them.
    pub freezes: Vec<String>,
    /// The ids of those that were lifted there.
    #[schema(value_type = Vec<String>)]
    pub lifted: Vec<FreezeId>,
    /// Whose freezes count no longer there.
    #[schema(value_type = Vec<String>)]
    pub suspended: Vec<PrincipalId>,
    /// The permitted requests that lifted some.
    pub lifts: Vec<RequestBody>,
}

/// `GET /v1/proposals`: the proposed charters that each node knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProposalsBody {
    /// What each node knows.
    pub nodes: Vec<NodeProposalsBody>,
    /// Nodes that said nothing or are not connected.
    #[schema(value_type = Vec<u8>)]
    pub missing: Vec<NodeIndex>,
}

/// The proposed charters that a node knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeProposalsBody {
    /// The node.
    #[schema(value_type = u8)]
    pub node: NodeIndex,
    /// The proposals.
    pub proposals: Vec<ProposedCharterBody>,
}

/// A proposed charter, as one node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProposedCharterBody {
    /// The charter with its signatures so far, in hex.
    pub certificate: String,
    /// When the node saw it first, in milliseconds since 1970.
    #[schema(value_type = u64)]
    pub first_seen: TimeMs,
    /// What is missing.
    pub unmet: Vec<String>,
    /// What approvals of it sign.
    #[schema(value_type = String)]
    pub intent_hash: IntentHash,
    /// Who has vetoed it.
    pub vetoed_by: Vec<String>,
    /// How many requests since then were judged under it as well.
    pub judged: u64,
    /// How many of those it would have decided otherwise.
    pub flipped: u64,
    /// The newest of those, in words.
    pub flips: Vec<String>,
}

/// `POST /v1/explain`: asks what would be decided, without deciding anything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplainBody {
    /// The stamp, a COSE_Sign1 envelope, in hex.
    pub stamp: String,
    /// The payload, canonical CBOR, in hex.
    pub payload: String,
    /// Approvals at hand, each a COSE_Sign1 envelope in hex.
    #[serde(default)]
    pub approvals: Vec<String>,
}

/// What the nodes would decide.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplainedBody {
    /// What each would decide.
    pub nodes: Vec<NodeExplanationBody>,
    /// Nodes that said nothing or are not connected.
    #[schema(value_type = Vec<u8>)]
    pub missing: Vec<NodeIndex>,
}

/// What a node would decide.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeExplanationBody {
    /// The node.
    #[schema(value_type = u8)]
    pub node: NodeIndex,
    /// Its explanation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub explanation: Option<serde_json::Value>,
    /// Why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<RefusalBody>,
}

/// `GET /v1/outstanding`: what has been signed and could still execute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OutstandingBody {
    /// What each node knows.
    pub nodes: Vec<NodeOutstandingBody>,
    /// Nodes that said nothing or are not connected.
    #[schema(value_type = Vec<u8>)]
    pub missing: Vec<NodeIndex>,
}

/// What a node knows to be signed and able to execute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeOutstandingBody {
    /// The node.
    #[schema(value_type = u8)]
    pub node: NodeIndex,
    /// The signatures.
    #[schema(value_type = Vec<Object>)]
    pub entries: Vec<serde_json::Value>,
    /// Whether there are more than fit.
    pub truncated: bool,
}
