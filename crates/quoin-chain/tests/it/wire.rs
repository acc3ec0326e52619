//! Signature to wire bytes, read back by an independent path.

use crate::transactions::{EIP155, EIP1559, EIP2930};
use alloy_consensus::{SignableTransaction, TxEnvelope};
use alloy_eips::Decodable2718;
use quoin_chain::{
    Digest, SignedTransaction, addresses, assemble_evm_transaction, decode, evm_signature_bytes,
};
use quoin_core::stamp::Scheme;
use quoin_core::{Payload, Rejection};
use secp256k1::{Message, Secp256k1, SecretKey, ecdsa::RecoverableSignature, ecdsa::RecoveryId};

/// The group order and half of it, rounded down.
const ORDER: &str = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
const HALF_ORDER: &str = "7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0";

fn word(text: &str) -> [u8; 32] {
    hex::decode(text).unwrap().try_into().unwrap()
}

fn assemble(r: [u8; 32], s: [u8; 32]) -> Result<SignedTransaction, Rejection> {
    assemble_evm_transaction(&hex::decode(EIP155[0]).unwrap(), &r, &s, false)
}

/// Signs `digest` with `secret`: r, s and the parity of y.
fn sign(secret: &SecretKey, digest: [u8; 32]) -> ([u8; 32], [u8; 32], bool) {
    let signature = Secp256k1::new().sign_ecdsa_recoverable(Message::from_digest(digest), secret);
    let (id, bytes) = signature.serialize_compact();
    let (r, s) = bytes.split_at(32);
    (
        r.try_into().unwrap(),
        s.try_into().unwrap(),
        i32::from(id) & 1 == 1,
    )
}

/// Reads a raw transaction with alloy and recovers who signed it with libsecp256k1.
fn sender(raw: &[u8]) -> secp256k1::PublicKey {
    let mut rest = raw;
    let envelope = TxEnvelope::decode_2718(&mut rest).unwrap();
    assert!(rest.is_empty());
    let (signature, hash) = match &envelope {
        TxEnvelope::Legacy(tx) => (tx.signature(), tx.tx().signature_hash()),
        TxEnvelope::Eip2930(tx) => (tx.signature(), tx.tx().signature_hash()),
        TxEnvelope::Eip1559(tx) => (tx.signature(), tx.tx().signature_hash()),
        other => panic!("unexpected kind {other:?}"),
    };
    let scalars = [
        signature.r().to_be_bytes::<32>(),
        signature.s().to_be_bytes(),
    ]
    .concat();
    let id = RecoveryId::try_from(i32::from(signature.v())).unwrap();
    let signature = RecoverableSignature::from_compact(&scalars, id).unwrap();
    Secp256k1::new()
        .recover_ecdsa(Message::from_digest(hash.0), &signature)
        .unwrap()
}

#[test]
fn a_signed_transaction_recovers_its_sender() {
    for key in 1..=8u8 {
        let secret = SecretKey::from_byte_array([key; 32]).unwrap();
        let public = secp256k1::PublicKey::from_secret_key(&Secp256k1::new(), &secret);
        let address = &addresses(Scheme::Ecdsa, &public.serialize(), &[1]).unwrap()[0];
        let account = quoin_core::stamp::Account {
            chain: address.chain.parse().unwrap(),
            address: address.address.parse().unwrap(),
            path: quoin_core::DerivationPath::ROOT,
        };
        for [unsigned, _] in [EIP155, EIP2930, EIP1559] {
            let unsigned = hex::decode(unsigned).unwrap();
            let payload = Payload::EvmTransaction(unsigned.clone());
            let decoded = decode(&payload, &account, Scheme::Ecdsa).unwrap();
            let Digest::Prehash(digest) = *decoded.digest() else {
                panic!("a transaction has a hash");
            };
            let (r, s, y_parity) = sign(&secret, digest);
            let signed = assemble_evm_transaction(&unsigned, &r, &s, y_parity).unwrap();
            assert_eq!(sender(&signed.raw), public);
            assert_eq!(alloy_primitives::keccak256(&signed.raw).0, signed.hash);
        }
    }
}

#[test]
fn wire_bytes_match_other_implementations() {
    // EIP-155's example, and eth-account with the same key; two have an s with a leading zero.
    for (unsigned, r, s, parity, hash) in [
        (
            EIP155[0],
            "28ef61340bd939bc2195fe537567866003e1a15d3c71ff63e1590620aa636276",
            "67cbe9d8997f761aecb703304b3800ccf555c9f3dc64214b297fb1966a3b6d83",
            false,
            "33469b22e9f636356c4160a87eb19df52b7412e8eac32a4a55ffe88ea8350788",
        ),
        (
            EIP2930[0],
            "cd44f4c28d6af6af299fb821fa2bdd5bfa5684a3a334a6149893b3b3962575f1",
            "003426cb0993315a490ebf95588acad42c44148915b55684fa3f8a487534f7b8",
            false,
            "3d4af9d3dd45c74612708e9b1ca6923f160b71ee6585f57fb7f1269636bdc4d4",
        ),
        (
            EIP1559[0],
            "e4acfd16abd0383c334ce90ef18ae276fe5b78101f9620d76624351fd2eeeefb",
            "00ae57226265e9b4f808115fe600b64d85e19b5adc6e72a98e0e8f2314df8f49",
            false,
            "9c0647669f91c144253eca72b99eb8c2f1e0993279c872ed4be32483709bc778",
        ),
    ] {
        let unsigned = hex::decode(unsigned).unwrap();
        let signed = assemble_evm_transaction(&unsigned, &word(r), &word(s), parity).unwrap();
        assert_eq!(hex::encode(signed.hash), hash);
    }
}

#[test]
fn scalars_that_no_chain_accepts_are_refused() {
    assemble([1; 32], word(HALF_ORDER)).unwrap();
    let mut high = word(HALF_ORDER);
    high[31] += 1;
    let rejection = assemble([1; 32], high).unwrap_err();
    assert_eq!(rejection.field, "signature.s");
    for (r, s) in [
        ([0; 32], [1; 32]),
        ([1; 32], [0; 32]),
        (word(ORDER), [1; 32]),
        ([1; 32], word(ORDER)),
        ([0xff; 32], [1; 32]),
    ] {
        assert_eq!(assemble(r, s).unwrap_err().field, "signature");
    }
}

#[test]
fn nothing_is_assembled_from_bytes_that_would_not_decode() {
    let mut unsigned = hex::decode(EIP155[0]).unwrap();
    unsigned.push(0);
    let rejection = assemble_evm_transaction(&unsigned, &[1; 32], &[1; 32], false).unwrap_err();
    assert_eq!(rejection.field, "transaction");
}

#[test]
fn signature_bytes_end_in_27_or_28() {
    let even = evm_signature_bytes(&[1; 32], &[2; 32], false);
    assert_eq!(even[..32], [1; 32]);
    assert_eq!(even[32..64], [2; 32]);
    assert_eq!(even[64], 27);
    assert_eq!(evm_signature_bytes(&[1; 32], &[2; 32], true)[64], 28);
}
