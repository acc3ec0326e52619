//! A second opinion on signed transactions: libsecp256k1 recovers the sender from the raw bytes.
//!
//! Nothing here shares code with the engine that signed: `alloy` reads the transaction, and
//! libsecp256k1 (the library of Bitcoin Core) does the arithmetic.

use crate::failure::Failure;
use alloy_consensus::{SignableTransaction, Signed, TxEnvelope};
use alloy_eips::Decodable2718;
use quoin_core::Address;
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
use secp256k1::{Message, Secp256k1};

/// The sender of a raw signed transaction.
pub fn sender_of(raw: &[u8]) -> Result<String, Failure> {
    let what = "the signed transaction does not verify";
    let mut rest = raw;
    let envelope = TxEnvelope::decode_2718(&mut rest).map_err(Failure::from_error(what))?;
    if !rest.is_empty() {
        return Err(Failure::new(what).because("bytes follow it"));
    }
    let address = match &envelope {
        TxEnvelope::Legacy(tx) => recover(tx)?,
        TxEnvelope::Eip2930(tx) => recover(tx)?,
        TxEnvelope::Eip1559(tx) => recover(tx)?,
        _ => return Err(Failure::new(what).because("it is of a type that is never signed here")),
    };
    Ok(address.to_string())
}

fn recover<T: SignableTransaction<alloy_primitives::Signature>>(
    transaction: &Signed<T>,
) -> Result<Address, Failure> {
    let what = "the signed transaction does not verify";
    let signature = transaction.signature();
    let digest = transaction.tx().signature_hash().0;
    let mut compact = [0u8; 64];
    let (r, s) = compact.split_at_mut(32);
    r.copy_from_slice(&signature.r().to_be_bytes::<32>());
    s.copy_from_slice(&signature.s().to_be_bytes::<32>());
    let parity = if signature.v() {
        RecoveryId::One
    } else {
        RecoveryId::Zero
    };
    let signature =
        RecoverableSignature::from_compact(&compact, parity).map_err(Failure::from_error(what))?;
    let key = Secp256k1::verification_only()
        .recover_ecdsa(Message::from_digest(digest), &signature)
        .map_err(Failure::from_error(what))?;
    quoin_chain::address::evm_address(&key.serialize()).map_err(Failure::from_error(what))
}
