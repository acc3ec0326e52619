//! Bitcoin's own consensus code judges signatures of the protocol: real transactions that spend an
//! output of the key, or of an account derived from it.
//!
//! The digest is that of a transaction, for which there is no decoder yet and so no warrant: this
//! test stands inside the crate, where an answer can be had without one. The flag for Taproot must
//! be given: without it the library, like Bitcoin before the soft fork, accepts anything for such an
//! output, and a test here shows that it does.

use super::answer;
use crate::combine::finish;
use crate::derive::derive;
use crate::presign::testkit::{Fixture, fixture};
use crate::presign::{Presignature, start_batch};
use bitcoin::hashes::Hash;
use bitcoin::sighash::{Prevouts, SighashCache};
use bitcoin::{
    Amount, CompressedPublicKey, EcdsaSighashType, OutPoint, ScriptBuf, Sequence, TapSighashType,
    Transaction, TxIn, TxOut, Txid, Witness, XOnlyPublicKey, absolute, consensus, key, transaction,
};
use bitcoinconsensus::{Utxo, VERIFY_ALL_PRE_TAPROOT, VERIFY_TAPROOT, verify_with_flags};
use quoin_chain::Digest;
use quoin_core::{DerivationPath, Scheme};
use std::collections::BTreeMap;

const ACCOUNTS: [&str; 2] = ["m", "m/0/7"];
const EVERYTHING: u32 = VERIFY_ALL_PRE_TAPROOT | VERIFY_TAPROOT;

/// A transaction that spends the first output of an unknown one.
fn spending() -> Transaction {
    Transaction {
        version: transaction::Version::TWO,
        lock_time: absolute::LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::new(Txid::from_byte_array([9; 32]), 0),
            script_sig: ScriptBuf::new(),
            sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
            witness: Witness::new(),
        }],
        output: vec![TxOut {
            value: Amount::from_sat(90_000),
            script_pubkey: ScriptBuf::new_op_return([1, 2, 3]),
        }],
    }
}

/// The output that is spent.
fn spent(script_pubkey: ScriptBuf) -> TxOut {
    TxOut {
        value: Amount::from_sat(100_000),
        script_pubkey,
    }
}

fn is_valid(transaction: &Transaction, spent: &TxOut, flags: u32) -> bool {
    let script = spent.script_pubkey.as_bytes();
    let amount = spent.value.to_sat();
    let utxo = Utxo {
        script_pubkey: script.as_ptr(),
        script_pubkey_len: script.len() as u32,
        value: amount as i64,
    };
    let outputs = (flags & VERIFY_TAPROOT != 0).then_some(std::slice::from_ref(&utxo));
    let bytes = consensus::serialize(transaction);
    verify_with_flags(script, amount, &bytes, outputs, 0, flags).is_ok()
}

/// A 2-of-3 key and the presignatures of nodes 1 and 3.
fn signers(scheme: Scheme, seed: u64) -> (Fixture, Vec<Vec<Presignature>>) {
    let size = if scheme == Scheme::Ecdsa { 64 } else { 4 };
    let mut fx = fixture(scheme, (2, 3), &[1, 3], size, seed);
    let made: BTreeMap<_, Vec<Presignature>> = fx.presign(start_batch);
    (fx, made.into_values().collect())
}

/// The signature of a digest by the key's child at `path`.
fn signature(
    fx: &Fixture,
    pools: &mut [Vec<Presignature>],
    path: &DerivationPath,
    digest: [u8; 32],
) -> [u8; 64] {
    let tweak = derive(fx.public(), path).unwrap().tweak;
    let digest = Digest::Prehash(digest);
    let answers: Vec<_> = fx
        .header
        .set
        .iter()
        .zip(pools)
        .map(|(node, pool)| {
            let made = answer(pool.remove(0), &digest, &tweak, &fx.shares[&node]);
            (node, made.unwrap())
        })
        .collect();
    let made = finish(fx.public(), &fx.header.set, &tweak, &digest, &answers);
    made.unwrap().signature
}

#[test]
fn bitcoin_accepts_the_spending_of_a_taproot_output_by_key_path() {
    // Both parities of the key, with and without a tweak.
    for seed in 1..5 {
        let (fx, mut pools) = signers(Scheme::Taproot, seed);
        for account in ACCOUNTS {
            let path = account.parse().unwrap();
            let shown = derive(fx.public(), &path).unwrap().shown_key().unwrap();
            let output = XOnlyPublicKey::from_slice(&shown).unwrap();
            let output = key::TweakedPublicKey::dangerous_assume_tweaked(output);
            let spent = spent(ScriptBuf::new_p2tr_tweaked(output));
            let mut transaction = spending();
            let sighash = SighashCache::new(&transaction)
                .taproot_key_spend_signature_hash(
                    0,
                    &Prevouts::All(&[&spent]),
                    TapSighashType::Default,
                )
                .unwrap();
            let signature = signature(&fx, &mut pools, &path, sighash.to_byte_array());
            let mut spend = |signature: &[u8]| {
                transaction.input[0].witness = Witness::from_slice(&[signature]);
                transaction.clone()
            };
            let good = spend(&signature);
            assert!(is_valid(&good, &spent, EVERYTHING), "{seed} {account}");
            let mut changed = signature;
            changed[40] ^= 1;
            let bad = spend(&changed);
            assert!(!is_valid(&bad, &spent, EVERYTHING), "{seed} {account}");
            // Without the flag anything goes, so the assertion before is worth something.
            assert!(is_valid(&bad, &spent, VERIFY_ALL_PRE_TAPROOT));
            let mut other = good.clone();
            other.output[0].value = Amount::from_sat(90_001);
            assert!(!is_valid(&other, &spent, EVERYTHING), "another amount");
        }
    }
}

#[test]
fn bitcoin_accepts_the_spending_of_an_output_to_an_ecdsa_key() {
    let (fx, mut pools) = signers(Scheme::Ecdsa, 1);
    for account in ACCOUNTS {
        let path = account.parse().unwrap();
        let shown = derive(fx.public(), &path).unwrap().shown_key().unwrap();
        let public = CompressedPublicKey::from_slice(&shown).unwrap();
        let spent = spent(ScriptBuf::new_p2wpkh(&public.wpubkey_hash()));
        let mut transaction = spending();
        let sighash = SighashCache::new(&transaction)
            .p2wpkh_signature_hash(0, &spent.script_pubkey, spent.value, EcdsaSighashType::All)
            .unwrap();
        let signature = signature(&fx, &mut pools, &path, sighash.to_byte_array());
        let mut spend = |signature: &[u8; 64]| {
            let signature = bitcoin::secp256k1::ecdsa::Signature::from_compact(signature).unwrap();
            let signature = bitcoin::ecdsa::Signature::sighash_all(signature);
            transaction.input[0].witness = Witness::p2wpkh(&signature, &public.0);
            transaction.clone()
        };
        assert!(
            is_valid(&spend(&signature), &spent, EVERYTHING),
            "{account}"
        );
        let mut changed = signature;
        changed[40] ^= 1;
        assert!(!is_valid(&spend(&changed), &spent, EVERYTHING), "{account}");
    }
}
