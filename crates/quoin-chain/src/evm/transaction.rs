//! Unsigned EVM transactions: EIP-155 legacy, EIP-2930 and EIP-1559.
//!
//! Field by field, so that an error names its field; then the whole is encoded again by `alloy`
//! and compared, so that nothing but the one canonical encoding passes. Blob (0x03) and set-code
//! (0x04) transactions are refused, as is everything unknown: set-code in particular hands the
//! whole account to a contract.
//!
//! `fee_max` is gas limit times the highest gas price. Rollups that charge a separate data fee
//! can cost more than that; the payload does not show it.

use super::{EvmAccount, call};
use crate::decoded::{Digest, Meaning};
use alloy_consensus::{SignableTransaction, Transaction, TxEip1559, TxEip2930, TxLegacy};
use alloy_eips::eip2930::AccessList;
use alloy_primitives::{Bytes, TxKind, U256, keccak256};
use alloy_rlp::{Decodable, Header};
use quoin_core::intent::{Address, AssetAmount, Horizon, Intent, Slot};
use quoin_core::payload::PAYLOAD_BYTES_MAX;
use quoin_core::stamp::{Account, Scheme};
use quoin_core::{Amount, Rejection};

/// The most addresses in an access list: real ones have a few dozen.
pub const ACCESS_LIST_ADDRESSES_MAX: usize = 256;
/// The most storage keys in an access list, over all its addresses.
pub const ACCESS_LIST_KEYS_MAX: usize = 2048;

/// The largest chain id: beyond it the `v` of a legacy signature does not fit 64 bits (EIP-2294).
const CHAIN_ID_MAX: u64 = u64::MAX / 2 - 36;

const TYPE_EIP2930: u8 = 1;
const TYPE_EIP1559: u8 = 2;
/// The first byte of an RLP list, and so of a legacy transaction.
const LEGACY_FIRST_BYTE: u8 = 0xc0;

pub(crate) fn decode(
    bytes: &[u8],
    account: &Account,
    scheme: Scheme,
) -> Result<Meaning, Rejection> {
    let account = EvmAccount::new(account, scheme)?;
    let transaction = UnsignedTransaction::parse(bytes)?;
    let fields = transaction.fields();
    if fields.chain_id() != Some(account.chain_id) {
        return Err(Rejection::caller(
            "transaction.chain_id",
            format!(
                "transaction is for chain `{}`, the account is on chain `{}`",
                fields.chain_id().unwrap_or_default(),
                account.chain_id
            ),
        ));
    }
    let value = Amount::from_be_bytes(fields.value().to_be_bytes());
    let fee_max = fee_max(&account, fields, value)?;
    let to = fields.to().map(|to| Address::evm(to.into_array()));
    let (action, risk) = call::explain(&account, to, value, fields.input());
    let intent = Intent {
        action,
        chain: account.chain(),
        slot: Some(Slot {
            chain: account.chain(),
            account: account.address.clone(),
            nonce: fields.nonce(),
        }),
        fee_max: Some(fee_max),
        risk,
        horizon: Horizon::Slot,
    };
    Ok((intent, Digest::Prehash(keccak256(bytes).0)))
}

/// The most that the transaction can cost in fees.
fn fee_max(
    account: &EvmAccount,
    fields: &dyn Transaction,
    value: Amount,
) -> Result<AssetAmount, Rejection> {
    let fee = Amount::from(fields.max_fee_per_gas())
        .checked_mul(Amount::from(fields.gas_limit()))
        .ok_or_else(|| Rejection::caller("transaction.gas_limit", "fee over 256 bits"))?;
    // No account can hold more than 256 bits of coin, so such a transaction could never run.
    value
        .checked_add(fee)
        .ok_or_else(|| Rejection::caller("transaction.value", "value and fee over 256 bits"))?;
    Ok(account.native(fee))
}

/// A well-formed unsigned transaction with a chain id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum UnsignedTransaction {
    Legacy(TxLegacy),
    Eip2930(TxEip2930),
    Eip1559(TxEip1559),
}

impl UnsignedTransaction {
    /// Reads the bytes that are hashed for signing; they must be canonical.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Rejection> {
        if bytes.len() > PAYLOAD_BYTES_MAX {
            return Err(Rejection::caller(
                "transaction",
                format!(
                    "transaction has `{}` bytes, which is over the limit of `{PAYLOAD_BYTES_MAX}`",
                    bytes.len()
                ),
            ));
        }
        let transaction = match bytes.split_first() {
            None => return Err(Rejection::caller("transaction", "transaction is empty")),
            Some((first, _)) if *first >= LEGACY_FIRST_BYTE => Self::Legacy(parse_legacy(bytes)?),
            Some((&TYPE_EIP2930, rest)) => Self::Eip2930(parse_eip2930(rest)?),
            Some((&TYPE_EIP1559, rest)) => Self::Eip1559(parse_eip1559(rest)?),
            Some((other, _)) => return Err(unknown_type(*other)),
        };
        transaction.check_common()?;
        if transaction.encoded_for_signing() == bytes {
            Ok(transaction)
        } else {
            Err(Rejection::caller(
                "transaction",
                "transaction is not in its canonical encoding",
            ))
        }
    }

    /// The fields that all kinds share.
    pub(crate) fn fields(&self) -> &dyn Transaction {
        match self {
            Self::Legacy(tx) => tx,
            Self::Eip2930(tx) => tx,
            Self::Eip1559(tx) => tx,
        }
    }

    /// The bytes that are hashed for signing.
    pub(crate) fn encoded_for_signing(&self) -> Vec<u8> {
        match self {
            Self::Legacy(tx) => tx.encoded_for_signing(),
            Self::Eip2930(tx) => tx.encoded_for_signing(),
            Self::Eip1559(tx) => tx.encoded_for_signing(),
        }
    }

    fn check_common(&self) -> Result<(), Rejection> {
        let fields = self.fields();
        if fields.nonce() == u64::MAX {
            return Err(Rejection::caller(
                "transaction.nonce",
                "nonce is the largest 64-bit number, which no chain accepts (EIP-2681)",
            ));
        }
        let chain_id = fields.chain_id().unwrap_or_default();
        if chain_id == 0 || chain_id > CHAIN_ID_MAX {
            return Err(Rejection::caller(
                "transaction.chain_id",
                format!("chain id `{chain_id}` is out of range"),
            ));
        }
        if let Some(priority) = fields.max_priority_fee_per_gas()
            && priority > fields.max_fee_per_gas()
        {
            return Err(Rejection::caller(
                "transaction.max_priority_fee_per_gas",
                "priority fee is over the maximum fee",
            ));
        }
        fields.access_list().map_or(Ok(()), check_access_list)
    }
}

fn check_access_list(list: &AccessList) -> Result<(), Rejection> {
    let keys = list
        .0
        .iter()
        .fold(0usize, |sum, i| sum.saturating_add(i.storage_keys.len()));
    if list.0.len() > ACCESS_LIST_ADDRESSES_MAX || keys > ACCESS_LIST_KEYS_MAX {
        return Err(Rejection::caller(
            "transaction.access_list",
            format!(
                "access list has `{}` addresses and `{keys}` storage keys, over the limit of \
                 `{ACCESS_LIST_ADDRESSES_MAX}` and `{ACCESS_LIST_KEYS_MAX}`",
                list.0.len()
            ),
        ));
    }
    Ok(())
}

fn unknown_type(first: u8) -> Rejection {
    const INSTEAD: &str = "send an EIP-1559 transaction (type 0x02) instead";
    let message = match first {
        3 => format!("blob transactions (type 0x03) are not supported: {INSTEAD}"),
        4 => format!(
            "set-code transactions (type 0x04) are refused, because they hand the account to a \
             contract: {INSTEAD}"
        ),
        _ => format!("unknown transaction type `0x{first:02x}`: {INSTEAD}"),
    };
    Rejection::caller("transaction.type", message)
}

fn parse_legacy(bytes: &[u8]) -> Result<TxLegacy, Rejection> {
    let mut fields = Fields::open(bytes)?;
    let nonce = fields.read("transaction.nonce")?;
    let gas_price = fields.read("transaction.gas_price")?;
    let gas_limit = fields.read("transaction.gas_limit")?;
    let to = fields.read("transaction.to")?;
    let value = fields.read("transaction.value")?;
    let input = fields.read::<Bytes>("transaction.data")?;
    if fields.rest.is_empty() {
        return Err(Rejection::caller(
            "transaction.chain_id",
            "no chain id, so the signature could be replayed on another chain: add the chain id \
             and two zeros (EIP-155)",
        ));
    }
    let chain_id = fields.read("transaction.chain_id")?;
    for field in ["transaction.r", "transaction.s"] {
        if !fields.read::<U256>(field)?.is_zero() {
            return Err(Rejection::caller(
                field,
                "transaction is already signed: send its unsigned form",
            ));
        }
    }
    fields.close()?;
    Ok(TxLegacy {
        chain_id: Some(chain_id),
        nonce,
        gas_price,
        gas_limit,
        to,
        value,
        input,
    })
}

fn parse_eip2930(bytes: &[u8]) -> Result<TxEip2930, Rejection> {
    let mut fields = Fields::open(bytes)?;
    let tx = TxEip2930 {
        chain_id: fields.read("transaction.chain_id")?,
        nonce: fields.read("transaction.nonce")?,
        gas_price: fields.read("transaction.gas_price")?,
        gas_limit: fields.read("transaction.gas_limit")?,
        to: fields.read::<TxKind>("transaction.to")?,
        value: fields.read("transaction.value")?,
        input: fields.read("transaction.data")?,
        access_list: fields.read("transaction.access_list")?,
    };
    fields.close()?;
    Ok(tx)
}

fn parse_eip1559(bytes: &[u8]) -> Result<TxEip1559, Rejection> {
    let mut fields = Fields::open(bytes)?;
    let tx = TxEip1559 {
        chain_id: fields.read("transaction.chain_id")?,
        nonce: fields.read("transaction.nonce")?,
        max_priority_fee_per_gas: fields.read("transaction.max_priority_fee_per_gas")?,
        max_fee_per_gas: fields.read("transaction.max_fee_per_gas")?,
        gas_limit: fields.read("transaction.gas_limit")?,
        to: fields.read::<TxKind>("transaction.to")?,
        value: fields.read("transaction.value")?,
        input: fields.read("transaction.data")?,
        access_list: fields.read("transaction.access_list")?,
    };
    fields.close()?;
    Ok(tx)
}

/// The fields of one RLP list that fills its input.
struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn open(bytes: &'a [u8]) -> Result<Self, Rejection> {
        let mut rest = bytes;
        let malformed =
            |why: &str| Rejection::caller("transaction", format!("malformed RLP: {why}"));
        let header = Header::decode(&mut rest).map_err(|e| malformed(&e.to_string()))?;
        if !header.list {
            return Err(malformed("expected a list"));
        }
        if header.payload_length != rest.len() {
            return Err(malformed("bytes after the transaction"));
        }
        Ok(Self { rest })
    }

    fn read<T: Decodable>(&mut self, field: &'static str) -> Result<T, Rejection> {
        if self.rest.is_empty() {
            return Err(Rejection::caller(field, "field is missing"));
        }
        T::decode(&mut self.rest)
            .map_err(|e| Rejection::caller(field, format!("malformed field: {e}")))
    }

    fn close(self) -> Result<(), Rejection> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(Rejection::caller(
            "transaction",
            "fields after the last one: send the unsigned form of the transaction",
        ))
    }
}
