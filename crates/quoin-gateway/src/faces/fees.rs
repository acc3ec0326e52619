//! Filling a transaction's nonce, gas and fees from the chain's node, before it is stamped.

use super::upstream::Upstream;
use quoin_api::rpc::{RpcError, TransactionArgs};
use quoin_chain::{Eip1559Fields, LegacyFields, encode_eip1559, encode_legacy};
use quoin_core::{Address, Amount};
use serde_json::{Value, json};

/// The tip when the chain's node does not propose one: 1 gwei.
const TIP_FALLBACK: u128 = 1_000_000_000;

/// What a transaction pays for gas.
enum Price {
    Legacy(u128),
    Eip1559 { tip: u128, max: u128 },
}

/// Checks what the caller gave against the agent's own account and chain.
pub(super) fn check_args(
    args: &TransactionArgs,
    account: &Address,
    chain_id: u64,
) -> Result<(), RpcError> {
    if let Some(from) = &args.from
        && from.parse::<Address>().ok().as_ref() != Some(account)
    {
        return Err(RpcError::params(format!("`from` is not `{account}`")));
    }
    if let Some(chain) = &args.chain_id
        && quantity("chainId", chain)? != u128::from(chain_id)
    {
        return Err(RpcError::params(format!("`chainId` is not `{chain_id}`")));
    }
    if args
        .access_list
        .as_ref()
        .is_some_and(|list| !list.is_empty())
    {
        return Err(RpcError::params("`accessList` is not offered here"));
    }
    match (&args.data, &args.input) {
        (Some(data), Some(input)) if data != input => {
            Err(RpcError::params("`data` and `input` differ"))
        }
        _ => Ok(()),
    }
}

/// The unsigned transaction, complete.
pub(super) async fn complete(
    upstream: &Upstream,
    args: &TransactionArgs,
    account: &Address,
    chain_id: u64,
    nonce: u64,
) -> Result<Vec<u8>, RpcError> {
    let to = match &args.to {
        Some(to) => {
            let to: Address = to
                .parse()
                .map_err(|_| RpcError::params("`to` is not an address"))?;
            Some(
                to.to_evm()
                    .ok_or_else(|| RpcError::params("`to` is not an address"))?,
            )
        }
        None => None,
    };
    let value = match &args.value {
        Some(value) => amount("value", value)?,
        None => Amount::ZERO,
    };
    let data = match args.input.as_ref().or(args.data.as_ref()) {
        Some(data) => bytes("data", data)?,
        None => Vec::new(),
    };
    let price = price(upstream, args).await?;
    let gas_limit = match args.gas.as_ref().or(args.gas_limit.as_ref()) {
        Some(gas) => quantity_u64("gas", gas)?,
        None => estimate(upstream, args, account).await?,
    };
    Ok(match price {
        Price::Legacy(gas_price) => encode_legacy(&LegacyFields {
            chain_id,
            nonce,
            gas_price,
            gas_limit,
            to,
            value,
            data,
        }),
        Price::Eip1559 { tip, max } => encode_eip1559(&Eip1559Fields {
            chain_id,
            nonce,
            max_priority_fee_per_gas: tip,
            max_fee_per_gas: max,
            gas_limit,
            to,
            value,
            data,
        }),
    })
}

/// The account's next nonce, as the chain's node sees it with what is in its pool.
pub(super) async fn pending_nonce(upstream: &Upstream, account: &Address) -> Result<u64, RpcError> {
    let params = json!([account.as_str(), "pending"]);
    let count = upstream.call("eth_getTransactionCount", params).await?;
    answer_u128("eth_getTransactionCount", &count)
        .and_then(|n| u64::try_from(n).map_err(|_| RpcError::params("nonce over 64 bits")))
}

async fn estimate(
    upstream: &Upstream,
    args: &TransactionArgs,
    account: &Address,
) -> Result<u64, RpcError> {
    let mut call = json!({"from": account.as_str()});
    if let Some(fields) = call.as_object_mut() {
        let data = args.input.as_ref().or(args.data.as_ref());
        for (name, given) in [
            ("to", args.to.as_ref()),
            ("value", args.value.as_ref()),
            ("data", data),
        ] {
            if let Some(given) = given {
                fields.insert(name.to_owned(), given.clone().into());
            }
        }
    }
    let gas = upstream.call("eth_estimateGas", json!([call])).await?;
    answer_u128("eth_estimateGas", &gas)
        .and_then(|n| u64::try_from(n).map_err(|_| RpcError::params("gas over 64 bits")))
}

async fn price(upstream: &Upstream, args: &TransactionArgs) -> Result<Price, RpcError> {
    let kind = args
        .kind
        .as_ref()
        .map(|k| quantity("type", k))
        .transpose()?;
    if !matches!(kind, None | Some(0 | 2)) {
        return Err(RpcError::params("`type` must be `0x0` or `0x2`"));
    }
    let given = |name, text: &Option<String>| text.as_ref().map(|t| quantity(name, t)).transpose();
    let max = given("maxFeePerGas", &args.max_fee_per_gas)?;
    let tip = given("maxPriorityFeePerGas", &args.max_priority_fee_per_gas)?;
    match (given("gasPrice", &args.gas_price)?, kind) {
        (Some(_), Some(2)) => {
            return Err(RpcError::params("`gasPrice` does not go with type `0x2`"));
        }
        (Some(_), _) if max.is_some() || tip.is_some() => {
            return Err(RpcError::params(
                "`gasPrice` does not go with `maxFeePerGas`",
            ));
        }
        (Some(gas_price), _) => return Ok(Price::Legacy(gas_price)),
        (None, Some(0)) => return legacy_price(upstream).await,
        (None, _) => {}
    }
    let (tip, max) = match (tip, max) {
        (Some(tip), Some(max)) => (tip, max),
        (tip, max) => {
            let tip = match (tip, max) {
                (Some(tip), _) => tip,
                (None, max) => proposed_tip(upstream).await.min(max.unwrap_or(u128::MAX)),
            };
            match max {
                Some(max) => (tip, max),
                None => match base_fee(upstream).await? {
                    // Twice the base fee survives six full blocks of rising prices.
                    Some(base) => (tip, base.saturating_mul(2).saturating_add(tip)),
                    None => return legacy_price(upstream).await,
                },
            }
        }
    };
    if tip > max {
        let message = "`maxPriorityFeePerGas` is over `maxFeePerGas`";
        return Err(RpcError::params(message));
    }
    Ok(Price::Eip1559 { tip, max })
}

async fn legacy_price(upstream: &Upstream) -> Result<Price, RpcError> {
    let price = upstream.call("eth_gasPrice", json!([])).await?;
    Ok(Price::Legacy(answer_u128("eth_gasPrice", &price)?))
}

async fn proposed_tip(upstream: &Upstream) -> u128 {
    let proposed = upstream.call("eth_maxPriorityFeePerGas", json!([])).await;
    proposed
        .ok()
        .and_then(|v| answer_u128("eth_maxPriorityFeePerGas", &v).ok())
        .unwrap_or(TIP_FALLBACK)
}

/// The next block's base fee; `None` on a chain that has none.
async fn base_fee(upstream: &Upstream) -> Result<Option<u128>, RpcError> {
    let params = json!(["0x1", "latest", []]);
    let history = upstream.call("eth_feeHistory", params).await?;
    let fees = history.get("baseFeePerGas").and_then(Value::as_array);
    match fees.and_then(|fees| fees.last()) {
        Some(fee) => answer_u128("eth_feeHistory", fee).map(Some),
        None => Ok(None),
    }
}

fn answer_u128(method: &str, value: &Value) -> Result<u128, RpcError> {
    let text = value.as_str().unwrap_or_default();
    quantity(method, text).map_err(|_| {
        let message = format!("the chain's node answered `{method}` with no number");
        RpcError::new(quoin_core::Class::Environment.json_rpc_code(), message)
    })
}

/// A quantity: `0x` and hex, at most 128 bits.
pub(super) fn quantity(name: &str, text: &str) -> Result<u128, RpcError> {
    let digits = text
        .strip_prefix("0x")
        .filter(|d| (1..=32).contains(&d.len()) && d.bytes().all(|b| b.is_ascii_hexdigit()));
    digits
        .and_then(|digits| u128::from_str_radix(digits, 16).ok())
        .ok_or_else(|| RpcError::params(format!("`{name}` is not a quantity")))
}

/// A quantity of at most 64 bits.
pub(super) fn quantity_u64(name: &str, text: &str) -> Result<u64, RpcError> {
    u64::try_from(quantity(name, text)?)
        .map_err(|_| RpcError::params(format!("`{name}` is over 64 bits")))
}

/// A quantity of at most 256 bits.
fn amount(name: &str, text: &str) -> Result<Amount, RpcError> {
    let bad = || RpcError::params(format!("`{name}` is not a quantity"));
    let digits = text.strip_prefix("0x").ok_or_else(bad)?;
    if !(1..=64).contains(&digits.len()) {
        return Err(bad());
    }
    let mut bytes = [0u8; 32];
    hex::decode_to_slice(format!("{digits:0>64}"), &mut bytes).map_err(|_| bad())?;
    Ok(Amount::from_be_bytes(bytes))
}

/// Data: `0x` and an even number of hex digits.
pub(super) fn bytes(name: &str, text: &str) -> Result<Vec<u8>, RpcError> {
    text.strip_prefix("0x")
        .and_then(|digits| hex::decode(digits).ok())
        .ok_or_else(|| RpcError::params(format!("`{name}` is not hex data")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_hex_with_a_prefix_and_nothing_else() {
        assert_eq!(quantity("x", "0x0").unwrap(), 0);
        assert_eq!(quantity("x", "0xFf").unwrap(), 255);
        for bad in ["", "0x", "1", "0x+1", "0xg", "0x1 ", "-0x1"] {
            assert!(quantity("x", bad).is_err(), "{bad}");
        }
        assert!(quantity_u64("x", "0x10000000000000000").is_err());
        let max = format!("0x{}", "f".repeat(64));
        assert_eq!(amount("x", &max).unwrap(), Amount::MAX);
        assert_eq!(amount("x", "0x1f").unwrap(), Amount::from(31u64));
        assert!(amount("x", &format!("{max}0")).is_err());
        assert!(amount("x", "0xé").is_err());
    }
}
