//! The JSON of the HTTP face, and its OpenAPI document.
//!
//! Byte strings are lower-case hex without a prefix, except where a chain's own form has `0x`.
//! Unknown fields are refused, so that a misspelt one is never ignored.

use quoin_core::{
    CharterHash, CharterNumber, Class, ClusterId, IntentHash, KeyId, KeyName, KeyOrigin, KeyState,
    NodeIndex, Purpose, RequestId, RuleId, Scheme, ShareEpoch,
};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

/// The largest body of a request to the HTTP face.
pub const BODY_BYTES_MAX: usize = 512 * 1024;

/// `POST /v1/requests`: asks for a signature or a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestBody {
    /// The stamp, a COSE_Sign1 envelope, in hex.
    pub stamp: String,
    /// The payload, canonical CBOR, in hex.
    pub payload: String,
}

/// `POST /v1/approvals`: approves a pending request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApprovalBody {
    /// The approval, a COSE_Sign1 envelope, in hex.
    pub approval: String,
}

/// A certified charter, to and from `/v1/charter`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CharterBody {
    /// The charter with its signatures, in hex.
    pub charter: String,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "status", rename_all = "kebab-case", deny_unknown_fields)]
pub enum OutcomeBody {
    /// It is signed, for ever with this signature.
    Signed {
        /// The request.
        #[schema(value_type = String)]
        request_id: RequestId,
        /// The key.
        #[schema(value_type = String)]
        key: KeyId,
        /// The scheme.
        #[schema(value_type = String)]
        scheme: Scheme,
        /// 64 bytes in hex: `r || s` for ECDSA, `R || z` for Schnorr schemes.
        signature: String,
        /// The parity of the nonce point, for ECDSA.
        recovery_id: Option<u8>,
        /// The signers' answers, each a COSE_Sign1 envelope in hex; empty when the signature was
        /// made before this gateway started.
        receipt: Vec<String>,
        /// The transaction in its chain's wire form, for payloads that are one.
        transaction: Option<TransactionBody>,
    },
    /// The policy permits it once these obligations are met.
    Pending {
        /// The request.
        #[schema(value_type = String)]
        request_id: RequestId,
        /// What approvals sign.
        #[schema(value_type = String)]
        intent_hash: IntentHash,
        /// The rules that permit.
        #[schema(value_type = Vec<String>)]
        rules: Vec<RuleId>,
        /// What is missing.
        unmet: Vec<String>,
        /// The stamp in hex, so that approvers can read for themselves what they approve.
        stamp: String,
        /// The payload in hex, for the same reason.
        payload: String,
    },
    /// It is under way.
    InProgress {
        /// The request.
        #[schema(value_type = String)]
        request_id: RequestId,
    },
    /// The key exists on all nodes.
    KeyCreated {
        /// The key.
        #[schema(value_type = String)]
        key: KeyId,
        /// Its certificate, signed by all nodes, in hex.
        certificate: String,
    },
    /// The shares of the key have moved to their next epoch on all nodes.
    KeyRenewed {
        /// The key.
        #[schema(value_type = String)]
        key: KeyId,
        /// The epoch.
        #[schema(value_type = u32)]
        epoch: ShareEpoch,
        /// Its new certificate, signed by all nodes, in hex.
        certificate: String,
    },
    /// A change of a key's state, or of a node, is carried out on the nodes that say so; those that
    /// are missing get it from the others. Ask again with the same id until all have.
    Changed {
        /// The request.
        #[schema(value_type = String)]
        request_id: RequestId,
        /// What the nodes state that have carried it out.
        statements: Vec<StatementBody>,
        /// What the others said.
        failed: Vec<NodeFailureBody>,
        /// Nodes that said nothing or are not connected.
        #[schema(value_type = Vec<u8>)]
        missing: Vec<NodeIndex>,
    },
}

/// A node's signed statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StatementBody {
    /// The node.
    #[schema(value_type = u8)]
    pub node: NodeIndex,
    /// The statement, a COSE_Sign1 envelope, in hex.
    pub statement: String,
}

/// Why a node has not carried out a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeFailureBody {
    /// The node.
    #[schema(value_type = u8)]
    pub node: NodeIndex,
    /// Whose fault it is.
    #[schema(value_type = String)]
    pub class: Class,
    /// What the node said.
    pub message: String,
}

/// A signed transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TransactionBody {
    /// The bytes to broadcast, `0x` and hex.
    pub raw: String,
    /// The transaction's hash, `0x` and hex.
    pub hash: String,
}

/// Any failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ErrorBody {
    /// What went wrong.
    pub error: ErrorDetail,
}

/// What went wrong, whose fault it is, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ErrorDetail {
    /// Whose fault it is: `caller`, `refused`, `conflict`, `peer`, `environment` or `internal`.
    #[schema(value_type = String)]
    pub class: Class,
    /// The field or part at fault.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// The smallest rule that would allow a refused request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
    /// The rule that refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub rule: Option<RuleId>,
    /// The nodes that refused, are missing or at fault.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<u8>)]
    pub nodes: Vec<NodeIndex>,
    /// A node's signed refusal, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denial: Option<String>,
}

/// `GET /v1/keys`: all keys whose certificates the gateway has verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeysBody {
    /// The keys.
    pub keys: Vec<KeyBody>,
}

/// One key. Whoever relies on it verifies the certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyBody {
    /// The key.
    #[schema(value_type = String)]
    pub key: KeyId,
    /// Its name.
    #[schema(value_type = String)]
    pub name: KeyName,
    /// Its scheme.
    #[schema(value_type = String)]
    pub scheme: Scheme,
    /// Its purpose.
    #[schema(value_type = String)]
    pub purpose: Purpose,
    /// How many shares sign.
    pub threshold: u8,
    /// The epoch of its shares.
    #[schema(value_type = u32)]
    pub epoch: ShareEpoch,
    /// The nodes that hold its shares.
    #[schema(value_type = Vec<u8>)]
    pub holders: Vec<NodeIndex>,
    /// Where it comes from, for ever: `born` or `imported`.
    #[schema(value_type = String)]
    pub origin: KeyOrigin,
    /// Its state, by what most of its holders say.
    #[schema(value_type = String)]
    pub state: KeyState,
    /// The public key in hex.
    pub public_key: String,
    /// The certificate, signed by all nodes, in hex.
    pub certificate: String,
    /// What each node states of it, as far as this gateway has heard: COSE_Sign1 envelopes in hex.
    pub statements: Vec<String>,
}

/// `GET /v1/charter`: the charter in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CharterInForceBody {
    /// Its number.
    #[schema(value_type = u64)]
    pub number: CharterNumber,
    /// The charter with its signatures, in hex.
    pub charter: String,
}

/// What the nodes said to a submitted charter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CharterSubmittedBody {
    /// Its number.
    #[schema(value_type = u64)]
    pub number: CharterNumber,
    /// Each node's reply.
    pub replies: Vec<NodeReplyBody>,
    /// Nodes that did not reply.
    #[schema(value_type = Vec<u8>)]
    pub missing: Vec<NodeIndex>,
}

/// A node's reply to a charter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeReplyBody {
    /// The node.
    #[schema(value_type = u8)]
    pub node: NodeIndex,
    /// The number of the charter in force on it now.
    #[schema(value_type = u64)]
    pub number: CharterNumber,
    /// Why it refused, when it did.
    pub refused: Option<String>,
}

/// `GET /v1/cluster`: which cluster this is, and who is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClusterBody {
    /// The cluster.
    #[schema(value_type = String)]
    pub cluster: ClusterId,
    /// The cluster as words, to compare aloud.
    pub words: String,
    /// The number of the charter in force.
    #[schema(value_type = u64)]
    pub charter_number: CharterNumber,
    /// Its hash.
    #[schema(value_type = String)]
    pub charter_hash: CharterHash,
    /// How many nodes sign.
    pub threshold: u8,
    /// The nodes.
    pub nodes: Vec<NodeBody>,
}

/// A node, as the gateway sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeBody {
    /// The node.
    #[schema(value_type = u8)]
    pub node: NodeIndex,
    /// Whether it is connected.
    pub up: bool,
}

/// `GET /readyz`: whether a signature could be made now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReadyBody {
    /// Whether it could.
    pub ready: bool,
    /// Why not.
    pub reasons: Vec<String>,
}

/// The OpenAPI document of the HTTP face.
#[derive(Debug, OpenApi)]
#[openapi(
    info(
        title = "Quoin gateway",
        description = "Threshold signatures under policy. The gateway is convenience, never \
            authority: every node judges every request for itself.",
        license(name = "MIT OR Apache-2.0")
    ),
    paths(
        paths::post_request,
        paths::get_request,
        paths::post_approval,
        paths::get_keys,
        paths::get_charter,
        paths::post_charter,
        paths::get_cluster,
        paths::post_statement,
        paths::get_freezes,
        paths::get_proposals,
        paths::post_explain,
        paths::get_outstanding,
        paths::get_sequences,
        paths::get_sequence,
        paths::post_allocate,
        paths::post_settle,
        paths::healthz,
        paths::readyz,
        paths::metrics
    )
)]
pub struct Document;

/// The document as JSON text, with a line feed at its end.
///
/// # Errors
/// When a schema cannot be written as JSON.
pub fn openapi_json() -> Result<String, serde_json::Error> {
    Ok(Document::openapi().to_pretty_json()? + "\n")
}

/// The operations, as the document describes them; the gateway has their handlers.
#[expect(
    dead_code,
    reason = "the derive reads the attributes; the functions are their place"
)]
mod paths {
    use super::*;
    use crate::decision::{
        ExplainBody, ExplainedBody, FreezesBody, OutstandingBody, ProposalsBody,
        StatementTakenBody, StatementToAllBody,
    };
    use crate::sequences::{AllocateBody, AllocatedBody, SequenceBody, SequencesBody, SettleBody};

    /// Asks for a signature, a key, or a change of a key or a node. The same request id has the same answer for ever.
    #[utoipa::path(
        post, path = "/v1/requests", request_body = RequestBody,
        responses(
            (status = 200, description = "Signed, or the key is made or changed", body = OutcomeBody),
            (status = 202, description = "Waits for approvals or time", body = OutcomeBody),
            (status = 400, description = "Malformed, forged or expired", body = ErrorBody),
            (status = 403, description = "Refused by policy", body = ErrorBody),
            (status = 409, description = "The request id has another payload", body = ErrorBody),
            (status = 413, description = "The body is too long", body = ErrorBody),
            (status = 415, description = "The body is not JSON", body = ErrorBody),
            (status = 429, description = "Too many requests are under way", body = ErrorBody),
            (status = 503, description = "Nodes are missing; they are named", body = ErrorBody)
        )
    )]
    fn post_request() {}

    /// What became of a request.
    #[utoipa::path(
        get, path = "/v1/requests/{id}",
        params(("id" = String, Path, description = "The request id, 32 hex digits")),
        responses(
            (status = 200, description = "Signed, or the key is made", body = OutcomeBody),
            (status = 202, description = "Pending or under way", body = OutcomeBody),
            (status = 403, description = "Refused by policy", body = ErrorBody),
            (status = 404, description = "Not known to this gateway", body = ErrorBody)
        )
    )]
    fn get_request() {}

    /// Approves a pending request and sends it again.
    #[utoipa::path(
        post, path = "/v1/approvals", request_body = ApprovalBody,
        responses(
            (status = 200, description = "Signed", body = OutcomeBody),
            (status = 202, description = "More is missing", body = OutcomeBody),
            (status = 400, description = "Malformed or forged", body = ErrorBody),
            (status = 403, description = "Refused by policy", body = ErrorBody),
            (status = 404, description = "Not known to this gateway", body = ErrorBody)
        )
    )]
    fn post_approval() {}

    /// All keys whose certificates the gateway has verified.
    #[utoipa::path(
        get, path = "/v1/keys",
        responses((status = 200, description = "The keys", body = KeysBody))
    )]
    fn get_keys() {}

    /// The charter in force.
    #[utoipa::path(
        get, path = "/v1/charter",
        responses((status = 200, description = "The charter", body = CharterInForceBody))
    )]
    fn get_charter() {}

    /// Hands a certified charter to all nodes.
    #[utoipa::path(
        post, path = "/v1/charter", request_body = CharterBody,
        responses(
            (status = 200, description = "The nodes' replies", body = CharterSubmittedBody),
            (status = 400, description = "Not a valid successor", body = ErrorBody),
            (status = 409, description = "Its number does not follow", body = ErrorBody)
        )
    )]
    fn post_charter() {}

    /// Which cluster this is, and who is there.
    #[utoipa::path(
        get, path = "/v1/cluster",
        responses((status = 200, description = "The cluster", body = ClusterBody))
    )]
    fn get_cluster() {}

    /// Brings a signed statement to all nodes: a freeze, a veto, a receipt, facts, or an approval of a charter.
    #[utoipa::path(
        post, path = "/v1/statements", request_body = StatementToAllBody,
        responses(
            (status = 200, description = "What each node said", body = StatementTakenBody),
            (status = 400, description = "Malformed", body = ErrorBody),
            (status = 429, description = "Too many statements are under way", body = ErrorBody)
        )
    )]
    fn post_statement() {}

    /// The freezes that each node knows.
    #[utoipa::path(
        get, path = "/v1/freezes",
        responses((status = 200, description = "What each node knows", body = FreezesBody))
    )]
    fn get_freezes() {}

    /// The proposed charters that each node knows.
    #[utoipa::path(
        get, path = "/v1/proposals",
        responses((status = 200, description = "What each node knows", body = ProposalsBody))
    )]
    fn get_proposals() {}

    /// What each node would decide about a request. Nothing is decided, reserved or signed.
    #[utoipa::path(
        post, path = "/v1/explain", request_body = ExplainBody,
        responses(
            (status = 200, description = "What each node would decide", body = ExplainedBody),
            (status = 400, description = "Malformed", body = ErrorBody)
        )
    )]
    fn post_explain() {}

    /// What has been signed and could still execute, as each node knows it.
    #[utoipa::path(
        get, path = "/v1/outstanding",
        responses((status = 200, description = "What each node knows", body = OutstandingBody))
    )]
    fn get_outstanding() {}

    /// All sequences of nonces that numbers were handed out of.
    #[utoipa::path(
        get, path = "/v1/sequences",
        responses((status = 200, description = "The sequences", body = SequencesBody))
    )]
    fn get_sequences() {}

    /// How a sequence of nonces stands, with its gaps.
    #[utoipa::path(
        get, path = "/v1/sequences/{id}",
        params(("id" = String, Path, description = "`eip155:<chain>:<address>` or `<venue>:<address>`")),
        responses(
            (status = 200, description = "How it stands", body = SequenceBody),
            (status = 400, description = "Not a sequence's name", body = ErrorBody),
            (status = 404, description = "Nothing was handed out of it", body = ErrorBody)
        )
    )]
    fn get_sequence() {}

    /// Hands out nonces. The same request id has the same ones.
    #[utoipa::path(
        post, path = "/v1/sequences/{id}/allocate", request_body = AllocateBody,
        params(("id" = String, Path, description = "`eip155:<chain>:<address>` or `<venue>:<address>`")),
        responses(
            (status = 200, description = "The numbers", body = AllocatedBody),
            (status = 400, description = "Not a sequence's name, or a bad count", body = ErrorBody),
            (status = 409, description = "The request id has another count", body = ErrorBody),
            (status = 429, description = "A limit of the sequence is reached", body = ErrorBody),
            (status = 503, description = "The chain's node or the disk does not answer", body = ErrorBody)
        )
    )]
    fn post_allocate() {}

    /// Says what became of nonces.
    #[utoipa::path(
        post, path = "/v1/sequences/{id}/settle", request_body = SettleBody,
        params(("id" = String, Path, description = "`eip155:<chain>:<address>` or `<venue>:<address>`")),
        responses(
            (status = 200, description = "How the sequence stands now", body = SequenceBody),
            (status = 400, description = "Not a sequence's name", body = ErrorBody),
            (status = 404, description = "The request id has no such number", body = ErrorBody),
            (status = 409, description = "It may have been signed, and cannot be given back", body = ErrorBody)
        )
    )]
    fn post_settle() {}

    /// Whether the process runs.
    #[utoipa::path(get, path = "/healthz", responses((status = 200, description = "It runs")))]
    fn healthz() {}

    /// Whether a signature could be made now.
    #[utoipa::path(
        get, path = "/readyz",
        responses(
            (status = 200, description = "It could", body = ReadyBody),
            (status = 503, description = "It could not, and why", body = ReadyBody)
        )
    )]
    fn readyz() {}

    /// Metrics in the Prometheus text format.
    #[utoipa::path(get, path = "/metrics", responses((status = 200, description = "Metrics")))]
    fn metrics() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_openapi_document_is_the_golden_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
        let text = openapi_json().unwrap();
        if std::env::var_os("QUOIN_BLESS").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        let golden = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(
            text, golden,
            "run the test with QUOIN_BLESS=1 and review the difference"
        );
    }

    #[test]
    fn unknown_fields_are_refused() {
        let good = r#"{"stamp":"00","payload":"00"}"#;
        assert!(serde_json::from_str::<RequestBody>(good).is_ok());
        let bad = r#"{"stamp":"00","payload":"00","urgent":true}"#;
        assert!(serde_json::from_str::<RequestBody>(bad).is_err());
        let bad =
            r#"{"status":"in-progress","request_id":"00000000000000000000000000000000","x":1}"#;
        assert!(serde_json::from_str::<OutcomeBody>(bad).is_err());
    }
}
