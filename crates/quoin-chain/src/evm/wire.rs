//! Signature to wire bytes, and builders of unsigned transactions.
//!
//! The builders fill nothing in: nonce, gas and fees are the gateway's to find out.

use super::transaction::UnsignedTransaction;
use alloy_consensus::{SignableTransaction, Signed, TxEip1559, TxEnvelope, TxLegacy};
use alloy_eips::Encodable2718;
use alloy_eips::eip2930::AccessList;
use alloy_primitives::{Signature, TxKind, U256};
use k256::elliptic_curve::scalar::IsHigh;
use quoin_core::{Amount, Rejection};

/// A transaction that a chain node accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedTransaction {
    /// The bytes to broadcast.
    pub raw: Vec<u8>,
    /// The transaction's hash.
    pub hash: [u8; 32],
}

/// Joins an unsigned transaction and its signature. `y_parity` is whether the nonce point's y is
/// odd, for the low `s` that is given.
///
/// # Errors
/// When the transaction is not one that [`crate::decode`] accepts, or a scalar is zero, over the
/// group order or, for `s`, in the upper half. It does not check who signed.
pub fn assemble_evm_transaction(
    unsigned: &[u8],
    r: &[u8; 32],
    s: &[u8; 32],
    y_parity: bool,
) -> Result<SignedTransaction, Rejection> {
    let transaction = UnsignedTransaction::parse(unsigned)?;
    let parsed = k256::ecdsa::Signature::from_scalars(*r, *s)
        .map_err(|_| Rejection::caller("signature", "`r` or `s` is not a scalar of the curve"))?;
    if bool::from(parsed.s().is_high()) {
        return Err(Rejection::caller(
            "signature.s",
            "`s` is in the upper half of the group order, which chains refuse (EIP-2)",
        ));
    }
    let signature = Signature::new(U256::from_be_bytes(*r), U256::from_be_bytes(*s), y_parity);
    let envelope: TxEnvelope = match transaction {
        UnsignedTransaction::Legacy(tx) => signed(tx, signature),
        UnsignedTransaction::Eip2930(tx) => signed(tx, signature),
        UnsignedTransaction::Eip1559(tx) => signed(tx, signature),
    };
    Ok(SignedTransaction {
        raw: envelope.encoded_2718(),
        hash: envelope.tx_hash().0,
    })
}

fn signed<T: SignableTransaction<Signature>>(tx: T, signature: Signature) -> TxEnvelope
where
    TxEnvelope: From<Signed<T>>,
{
    tx.into_signed(signature).into()
}

/// The 65 bytes that wallets return for messages and typed data: r, s and v, which is 27 or 28.
#[must_use]
pub fn evm_signature_bytes(r: &[u8; 32], s: &[u8; 32], y_parity: bool) -> [u8; 65] {
    let mut out = [0u8; 65];
    let (scalars, v) = out.split_at_mut(64);
    let (out_r, out_s) = scalars.split_at_mut(32);
    out_r.copy_from_slice(r);
    out_s.copy_from_slice(s);
    v.fill(27 + u8::from(y_parity));
    out
}

/// The fields of an EIP-1559 transaction without access list. Fees are per gas, in the smallest
/// unit of the chain's coin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Eip1559Fields {
    /// The EIP-155 chain id.
    pub chain_id: u64,
    /// The account's nonce.
    pub nonce: u64,
    /// The most that goes to the block's producer.
    pub max_priority_fee_per_gas: u128,
    /// The most that is paid in all.
    pub max_fee_per_gas: u128,
    /// The most gas that may be used.
    pub gas_limit: u64,
    /// The recipient; `None` deploys a contract.
    pub to: Option<[u8; 20]>,
    /// The coin that is sent.
    pub value: Amount,
    /// The call's data.
    pub data: Vec<u8>,
}

/// The unsigned bytes of an EIP-1559 transaction, as `Payload::EvmTransaction` carries them.
#[must_use]
pub fn encode_eip1559(fields: &Eip1559Fields) -> Vec<u8> {
    TxEip1559 {
        chain_id: fields.chain_id,
        nonce: fields.nonce,
        gas_limit: fields.gas_limit,
        max_fee_per_gas: fields.max_fee_per_gas,
        max_priority_fee_per_gas: fields.max_priority_fee_per_gas,
        to: kind(fields.to),
        value: U256::from_be_bytes(fields.value.to_be_bytes()),
        access_list: AccessList::default(),
        input: fields.data.clone().into(),
    }
    .encoded_for_signing()
}

/// The fields of a legacy transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LegacyFields {
    /// The EIP-155 chain id.
    pub chain_id: u64,
    /// The account's nonce.
    pub nonce: u64,
    /// The price of gas, in the smallest unit of the chain's coin.
    pub gas_price: u128,
    /// The most gas that may be used.
    pub gas_limit: u64,
    /// The recipient; `None` deploys a contract.
    pub to: Option<[u8; 20]>,
    /// The coin that is sent.
    pub value: Amount,
    /// The call's data.
    pub data: Vec<u8>,
}

/// The unsigned EIP-155 bytes of a legacy transaction, as `Payload::EvmTransaction` carries them.
#[must_use]
pub fn encode_legacy(fields: &LegacyFields) -> Vec<u8> {
    TxLegacy {
        chain_id: Some(fields.chain_id),
        nonce: fields.nonce,
        gas_price: fields.gas_price,
        gas_limit: fields.gas_limit,
        to: kind(fields.to),
        value: U256::from_be_bytes(fields.value.to_be_bytes()),
        input: fields.data.clone().into(),
    }
    .encoded_for_signing()
}

fn kind(to: Option<[u8; 20]>) -> TxKind {
    to.map_or(TxKind::Create, |to| TxKind::Call(to.into()))
}
