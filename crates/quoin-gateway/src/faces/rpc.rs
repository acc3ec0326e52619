//! The JSON-RPC envelope: capability tokens, batches, and which calls are ours.
//!
//! An agent's token in the path is its authority, so it is compared by hash in constant time and
//! never logged. What the token opens is only what the agent's principal may do by policy.

use super::Faces;
use super::body::{ApiError, caller, json_bytes};
use super::ethereum;
use super::upstream::Upstream;
use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use quoin_api::rpc::{
    BATCH_MAX, CODE_INVALID_REQUEST, CODE_PARSE, Call, Outcome, Response as RpcResponse, RpcError,
};
use quoin_core::{KeyId, PrincipalId, SigningIdentity};
use serde_json::Value;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::OnceCell;

/// What `eth_signTransaction` returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SignTransactionShape {
    /// The raw transaction in hex, as viem, ethers and alloy want it.
    #[default]
    Hex,
    /// `{raw, tx}`, as web3.py wants it.
    Object,
}

/// A program that speaks JSON-RPC, and the identity under which its calls are stamped.
pub struct Agent {
    pub(super) token_sha256: [u8; 32],
    pub(super) principal: PrincipalId,
    pub(super) identity: SigningIdentity,
    pub(super) key: KeyId,
    pub(super) chain_id: u64,
    pub(super) upstream: Upstream,
    pub(super) shape: SignTransactionShape,
    pub(super) account: OnceCell<ethereum::Own>,
}

impl Agent {
    /// An agent whose token has this SHA-256. `upstream` is the URL of the chain's node.
    #[must_use]
    pub fn new(
        token_sha256: [u8; 32],
        principal: PrincipalId,
        identity: SigningIdentity,
        key: KeyId,
        chain_id: u64,
        upstream: String,
        shape: SignTransactionShape,
    ) -> Self {
        Self {
            token_sha256,
            principal,
            identity,
            key,
            chain_id,
            upstream: Upstream::new(upstream),
            shape,
            account: OnceCell::new(),
        }
    }
}

/// The hash of a token, as configuration keeps it.
#[must_use]
pub fn token_hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// Finds the agent of a token. Every agent is looked at, so that time does not tell which one.
fn agent_of<'a>(agents: &'a [Agent], token: &str) -> Option<&'a Agent> {
    let hash = token_hash(token);
    let mut found = None;
    for agent in agents {
        if bool::from(agent.token_sha256.ct_eq(&hash)) {
            found = Some(agent);
        }
    }
    found
}

pub(super) async fn serve(
    State(faces): State<Faces>,
    Path(token): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let Some(agent) = agent_of(&faces.agents, &token) else {
        let message = "no agent has this token";
        return Err(caller(StatusCode::UNAUTHORIZED, "token", message));
    };
    let bytes = json_bytes(request).await?;
    let Ok(body) = serde_json::from_slice::<Value>(&bytes) else {
        let error = RpcError::new(CODE_PARSE, "the body is not JSON");
        return Ok(Json(RpcResponse::new(Value::Null, Outcome::Error(error))).into_response());
    };
    Ok(match body {
        Value::Array(calls) => batch(&faces, agent, calls).await,
        call => match one(&faces, agent, call).await {
            Some(response) => Json(response).into_response(),
            None => StatusCode::NO_CONTENT.into_response(),
        },
    })
}

/// Calls of a batch run in order, so that transactions of one account have nonces in order.
async fn batch(faces: &Faces, agent: &Agent, calls: Vec<Value>) -> Response {
    if calls.is_empty() || calls.len() > BATCH_MAX {
        let message = format!("a batch has 1 to `{BATCH_MAX}` calls");
        let error = RpcError::new(CODE_INVALID_REQUEST, message);
        return Json(RpcResponse::new(Value::Null, Outcome::Error(error))).into_response();
    }
    let mut responses = Vec::with_capacity(calls.len());
    for call in calls {
        responses.extend(one(faces, agent, call).await);
    }
    if responses.is_empty() {
        StatusCode::NO_CONTENT.into_response()
    } else {
        Json(responses).into_response()
    }
}

/// Serves one call; a notification has no response.
async fn one(faces: &Faces, agent: &Agent, value: Value) -> Option<Value> {
    let given = value.get("id").cloned().unwrap_or_default();
    let call = match serde_json::from_value::<Call>(value.clone()) {
        Ok(call) if call.jsonrpc == "2.0" => call,
        Ok(_) => return response(given, Err(invalid("`jsonrpc` must be `2.0`"))),
        Err(error) => return response(given, Err(invalid(&error.to_string()))),
    };
    let result = match ethereum::serve(faces, agent, &call).await {
        Some(result) => result,
        // Not about keys: the chain's node answers, in its own words.
        None => match agent.upstream.forward(&value).await {
            Ok(answer) => return call.id.map(|_| answer),
            Err(error) => Err(error),
        },
    };
    response(call.id?, result)
}

fn invalid(message: &str) -> RpcError {
    RpcError::new(CODE_INVALID_REQUEST, message)
}

fn response(id: Value, result: Result<Value, RpcError>) -> Option<Value> {
    let outcome = match result {
        Ok(result) => Outcome::Result(result),
        Err(error) => Outcome::Error(error),
    };
    serde_json::to_value(RpcResponse::new(id, outcome)).ok()
}
