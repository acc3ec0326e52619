//! The chain's own node, to which everything is forwarded that is not about keys.

use quoin_api::rpc::RpcError;
use quoin_core::Class;
use serde_json::{Value, json};
use std::time::Duration;

/// How long the chain's node may take.
const TIMEOUT: Duration = Duration::from_secs(20);
/// The largest answer of the chain's node that is read: blocks with traces are large.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;

/// A client of the chain's node.
#[derive(Clone, Debug)]
pub(super) struct Upstream {
    url: String,
    client: reqwest::Client,
}

impl Upstream {
    pub(super) fn new(url: String) -> Self {
        // Redirects are not followed: the node's address is configuration, not an answer's choice.
        let client = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build();
        Self {
            url,
            client: client.unwrap_or_default(),
        }
    }

    /// Hands a call on as it is, and its response back as it is.
    pub(super) async fn forward(&self, call: &Value) -> Result<Value, RpcError> {
        let sent = self.client.post(&self.url).json(call).send().await;
        let mut response = sent.map_err(|e| unreachable_error(&e))?;
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| unreachable_error(&e))? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > ANSWER_BYTES_MAX {
                return Err(bad_answer("it is too long"));
            }
        }
        serde_json::from_slice(&bytes).map_err(|_| bad_answer("it is not JSON"))
    }

    /// Calls a method and takes the result out of the response.
    pub(super) async fn call(&self, method: &str, params: Value) -> Result<Value, RpcError> {
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let mut response = self.forward(&call).await?;
        if let Some(error) = response.get("error").filter(|e| !e.is_null()) {
            return Err(RpcError {
                code: error
                    .get("code")
                    .and_then(Value::as_i64)
                    .and_then(|code| i32::try_from(code).ok())
                    .unwrap_or(Class::Environment.json_rpc_code()),
                message: error
                    .get("message")
                    .and_then(Value::as_str)
                    .unwrap_or("the chain's node failed")
                    .to_owned(),
                data: error.get("data").cloned(),
            });
        }
        match response.get_mut("result") {
            Some(result) => Ok(result.take()),
            None => Err(bad_answer("it has neither result nor error")),
        }
    }
}

fn unreachable_error(error: &reqwest::Error) -> RpcError {
    let what = if error.is_timeout() {
        "did not answer in time"
    } else {
        "cannot be reached"
    };
    let message = format!("the chain's node {what}");
    RpcError::new(Class::Environment.json_rpc_code(), message)
}

fn bad_answer(why: &str) -> RpcError {
    let message = format!("the answer of the chain's node is unusable: {why}");
    RpcError::new(Class::Environment.json_rpc_code(), message)
}
