//! The JSON of the Ethereum JSON-RPC face (JSON-RPC 2.0), as its clients write it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The most calls of one batch.
pub const BATCH_MAX: usize = 100;
/// The error code of a body that is not JSON.
pub const CODE_PARSE: i32 = -32_700;
/// The error code of a call that is not one.
pub const CODE_INVALID_REQUEST: i32 = -32_600;
/// The error code of wrong parameters.
pub const CODE_INVALID_PARAMS: i32 = -32_602;
/// The error code of a request that waits for approvals (EIP-1474: resource not available yet).
pub const CODE_PENDING: i32 = -32_002;
/// The error code of too many requests under way (EIP-1474: limit exceeded).
pub const CODE_OVERLOADED: i32 = -32_005;

/// One call.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// `2.0`.
    pub jsonrpc: String,
    /// Names the call in its response; absent in a notification, which has none.
    #[serde(default, deserialize_with = "present")]
    pub id: Option<Value>,
    /// What to do.
    pub method: String,
    /// Positional parameters.
    #[serde(default)]
    pub params: Value,
}

/// A field that is there is `Some`, even when it is `null`.
fn present<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(d).map(Some)
}

/// One response.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Response {
    /// `2.0`.
    pub jsonrpc: &'static str,
    /// The call's id.
    pub id: Value,
    /// The result, or why there is none.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// A result or an error.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The result.
    Result(Value),
    /// The error.
    Error(RpcError),
}

/// An error.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RpcError {
    /// The code.
    pub code: i32,
    /// What is wrong.
    pub message: String,
    /// More for programs: rule, suggestion, request id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
}

impl RpcError {
    /// An error without data.
    pub fn new(code: i32, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            data: None,
        }
    }

    /// Wrong parameters.
    pub fn params(message: impl Into<String>) -> Self {
        Self::new(CODE_INVALID_PARAMS, message)
    }
}

impl Response {
    /// The response to the call `id`.
    #[must_use]
    pub const fn new(id: Value, outcome: Outcome) -> Self {
        Self {
            jsonrpc: "2.0",
            id,
            outcome,
        }
    }
}

/// A transaction as `eth_sendTransaction` takes it; what is absent is filled in. Quantities are
/// `0x` and hex.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TransactionArgs {
    /// The sender, which must be the agent's account.
    pub from: Option<String>,
    /// The recipient; absent to deploy a contract.
    pub to: Option<String>,
    /// The coin that is sent.
    pub value: Option<String>,
    /// The call's data, in its older name.
    pub data: Option<String>,
    /// The call's data.
    pub input: Option<String>,
    /// The most gas that may be used.
    pub gas: Option<String>,
    /// The most gas that may be used, in the name that some libraries write.
    pub gas_limit: Option<String>,
    /// The price of gas; makes it a legacy transaction.
    pub gas_price: Option<String>,
    /// The most that is paid for each gas.
    pub max_fee_per_gas: Option<String>,
    /// The most of it that goes to the block's producer.
    pub max_priority_fee_per_gas: Option<String>,
    /// The account's nonce.
    pub nonce: Option<String>,
    /// The chain, which must be the agent's.
    pub chain_id: Option<String>,
    /// The type: `0x0` or `0x2`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Must be empty: access lists are not offered here.
    pub access_list: Option<Vec<Value>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_null_id_is_a_call_and_no_id_is_a_notification() {
        let call = |text| serde_json::from_str::<Call>(text).unwrap().id;
        assert_eq!(
            call(r#"{"jsonrpc":"2.0","method":"m","id":null}"#),
            Some(Value::Null)
        );
        assert_eq!(call(r#"{"jsonrpc":"2.0","method":"m"}"#), None);
    }

    #[test]
    fn responses_have_either_a_result_or_an_error() {
        let ok = Response::new(1.into(), Outcome::Result("0x1".into()));
        let text = serde_json::to_string(&ok).unwrap();
        assert_eq!(text, r#"{"jsonrpc":"2.0","id":1,"result":"0x1"}"#);
        let bad = Response::new(1.into(), Outcome::Error(RpcError::new(4001, "refused")));
        let text = serde_json::to_string(&bad).unwrap();
        assert_eq!(
            text,
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":4001,"message":"refused"}}"#
        );
    }

    #[test]
    fn a_transaction_with_a_field_that_would_be_lost_is_refused() {
        let text = r#"{"to":"0x00","blobVersionedHashes":[]}"#;
        assert!(serde_json::from_str::<TransactionArgs>(text).is_err());
    }
}
