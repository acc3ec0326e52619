//! A chain node by JSON-RPC: what the command line asks an EVM node before it stamps a transfer,
//! and how it hands in the signed one. Nothing it answers is trusted beyond filling in a payload
//! that people and nodes judge.

use crate::failure::Failure;
use quoin_core::Amount;
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long one call may take.
const CALL_LIMIT: Duration = Duration::from_secs(15);
/// How often a receipt is asked for before the transaction counts as not mined yet.
const RECEIPT_TRIES: usize = 60;
/// The pause between two questions for a receipt.
const RECEIPT_PAUSE: Duration = Duration::from_millis(250);

/// A chain node.
#[derive(Debug)]
pub struct ChainNode {
    http: reqwest::Client,
    url: String,
    calls: AtomicU64,
}

/// What the next transaction of an account needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextTransaction {
    /// The account's nonce.
    pub nonce: u64,
    /// The most that is paid for each unit of gas.
    pub max_fee_per_gas: u128,
    /// The most of it that goes to the block's producer.
    pub max_priority_fee_per_gas: u128,
}

/// A mined transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Receipt {
    /// Its hash.
    pub hash: String,
    /// The block's number.
    pub block: u64,
    /// Whether the chain executed it without revert.
    pub succeeded: bool,
}

impl ChainNode {
    /// The chain node at `url`.
    pub fn new(url: &str) -> Result<Self, Failure> {
        let http = super::client::http_client(url, CALL_LIMIT)?;
        Ok(Self {
            http,
            url: url.to_owned(),
            calls: AtomicU64::new(1),
        })
    }

    /// Calls a method.
    pub async fn call(&self, method: &str, params: Value) -> Result<Value, Failure> {
        let what = || format!("the chain node at {} did not answer `{method}`", self.url);
        let next = "check that it runs, and the address after `--rpc`";
        let id = self.calls.fetch_add(1, Ordering::Relaxed);
        let body = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        let sent = self.http.post(&self.url).json(&body).send().await;
        let answer = sent.map_err(|e| Failure::new(what()).because(e).next(next))?;
        let answer: Value = answer
            .json()
            .await
            .map_err(|e| Failure::new(what()).because(e).next(next))?;
        if let Some(error) = answer.get("error") {
            let message = error.get("message").and_then(Value::as_str);
            let why = message.map_or_else(|| error.to_string(), str::to_owned);
            return Err(Failure::new(format!("the chain node refused `{method}`")).because(why));
        }
        Ok(answer.get("result").cloned().unwrap_or(Value::Null))
    }

    async fn quantity(&self, method: &str, params: Value) -> Result<u128, Failure> {
        let value = self.call(method, params).await?;
        parse_quantity(&value)
            .ok_or_else(|| Failure::new(format!("the chain node's `{method}` is not a number")))
    }

    /// The chain's id.
    pub async fn chain_id(&self) -> Result<u64, Failure> {
        let id = self.quantity("eth_chainId", json!([])).await?;
        u64::try_from(id).map_err(Failure::from_error("the chain id is over 64 bits"))
    }

    /// An account's balance.
    pub async fn balance(&self, address: &str) -> Result<Amount, Failure> {
        let wei = self
            .quantity("eth_getBalance", json!([address, "latest"]))
            .await?;
        Ok(Amount::from(wei))
    }

    /// What the next transaction of an account needs.
    pub async fn next_transaction(&self, address: &str) -> Result<NextTransaction, Failure> {
        let nonce = self
            .quantity("eth_getTransactionCount", json!([address, "pending"]))
            .await?;
        let block = self
            .call("eth_getBlockByNumber", json!(["latest", false]))
            .await?;
        let base = block
            .get("baseFeePerGas")
            .and_then(parse_quantity)
            .unwrap_or(0);
        let tip = self
            .quantity("eth_maxPriorityFeePerGas", json!([]))
            .await
            .unwrap_or(0);
        Ok(NextTransaction {
            nonce: u64::try_from(nonce).map_err(Failure::from_error("the nonce is too large"))?,
            // Twice the base fee survives six full blocks in a row.
            max_fee_per_gas: base.saturating_mul(2).saturating_add(tip),
            max_priority_fee_per_gas: tip,
        })
    }

    /// Hands in a signed transaction and waits until it is mined; `None` when it is not yet.
    pub async fn broadcast(&self, raw: &[u8]) -> Result<(String, Option<Receipt>), Failure> {
        let raw = format!("0x{}", hex::encode(raw));
        let hash = self.call("eth_sendRawTransaction", json!([raw])).await?;
        let hash = hash.as_str().unwrap_or_default().to_owned();
        for _ in 0..RECEIPT_TRIES {
            if let Some(receipt) = self.receipt(&hash).await? {
                return Ok((hash, Some(receipt)));
            }
            tokio::time::sleep(RECEIPT_PAUSE).await;
        }
        Ok((hash, None))
    }

    async fn receipt(&self, hash: &str) -> Result<Option<Receipt>, Failure> {
        let receipt = self
            .call("eth_getTransactionReceipt", json!([hash]))
            .await?;
        let block = receipt.get("blockNumber").and_then(parse_quantity);
        Ok(block.map(|block| Receipt {
            hash: hash.to_owned(),
            block: u64::try_from(block).unwrap_or(u64::MAX),
            succeeded: receipt.get("status").and_then(parse_quantity) == Some(1),
        }))
    }

    /// Sets a balance on anvil, which has this method for tests.
    pub async fn set_balance(&self, address: &str, wei: u128) -> Result<(), Failure> {
        let wei = format!("0x{wei:x}");
        self.call("anvil_setBalance", json!([address, wei])).await?;
        Ok(())
    }
}

fn parse_quantity(value: &Value) -> Option<u128> {
    let digits = value.as_str()?.strip_prefix("0x")?;
    u128::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_hex_with_a_prefix() {
        assert_eq!(parse_quantity(&json!("0x7a69")), Some(31_337));
        for bad in [
            json!("7a69"),
            json!(7),
            json!(null),
            json!("0x"),
            json!("0xzz"),
        ] {
            assert_eq!(parse_quantity(&bad), None, "{bad}");
        }
    }
}
