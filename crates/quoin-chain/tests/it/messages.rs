//! EIP-191 messages, against eth-account.

use crate::{action, assert_refused, decode_evm, prehash};
use quoin_chain::{EVM_MESSAGE_BYTES_MAX, LegacyFields, encode_legacy};
use quoin_core::Payload;
use quoin_core::intent::{Action, ChainId, Horizon, RiskEffect};

fn message(bytes: &[u8]) -> Payload {
    Payload::EvmMessage(bytes.to_vec())
}

#[test]
fn messages_hash_as_other_wallets_hash_them() {
    let counting: Vec<u8> = (0..32).collect();
    for (bytes, digest) in [
        (
            &b"hello"[..],
            "50b2c43fd39106bafbba0da34fc430e1f91e3c96ea2acee2bc34119f92b37750",
        ),
        (
            &counting,
            "04c3a0e6f47dd8889a200887da01ab4fa88d85f15fb01537cd4b7bcc1ef6f991",
        ),
        (
            "héllo".as_bytes(),
            "42fd95dd8ed22d7d934d6ffff71ed0b730835b0de4bb3532a271568c8760c8d2",
        ),
    ] {
        assert_eq!(prehash(&decode_evm(&message(bytes)).unwrap()), digest);
    }
}

#[test]
fn a_readable_message_is_neutral() {
    let decoded = decode_evm(&message(b"Sign in\r\nto the venue")).unwrap();
    assert_eq!(decoded.intent().risk, RiskEffect::Neutral);
    assert_eq!(decoded.intent().horizon, Horizon::Unbounded);
    assert_eq!(decoded.intent().chain, ChainId::Evm(1));
    assert_eq!(decoded.intent().slot, None);
    assert_eq!(
        action(&decoded),
        &Action::Message {
            bytes: 21,
            readable: true
        }
    );
}

#[test]
fn a_message_that_a_contract_wallet_could_obey_raises_risk() {
    // A Safe takes the EIP-191 signature of an owner over its 32-byte transaction hash.
    let hash = decode_evm(&message(&[0xab; 32])).unwrap();
    assert_eq!(hash.intent().risk, RiskEffect::Increases);
    // A hash can be ground until it is printable, so 32 bytes of text are no better.
    let printable = decode_evm(&message(&[b'x'; 32])).unwrap();
    assert_eq!(printable.intent().risk, RiskEffect::Increases);
    let binary = decode_evm(&message(&[0, 1, 2])).unwrap();
    assert_eq!(binary.intent().risk, RiskEffect::Increases);
    assert_eq!(
        action(&binary),
        &Action::Message {
            bytes: 3,
            readable: false
        }
    );
}

#[test]
fn a_message_that_hides_text_is_not_readable() {
    for hidden in ["pay\u{202e}yap", "a\u{200b}b", "\u{1b}[2Jx"] {
        let decoded = decode_evm(&message(hidden.as_bytes())).unwrap();
        assert_eq!(
            action(&decoded),
            &Action::Message {
                bytes: hidden.len() as u64,
                readable: false
            }
        );
    }
}

#[test]
fn a_transaction_sent_as_a_message_signs_no_transaction() {
    let bytes = encode_legacy(&LegacyFields {
        chain_id: 1,
        to: Some([2; 20]),
        ..LegacyFields::default()
    });
    let as_message = decode_evm(&message(&bytes)).unwrap();
    let as_transaction = decode_evm(&Payload::EvmTransaction(bytes)).unwrap();
    assert_ne!(as_message.digest(), as_transaction.digest());
    assert_ne!(as_message.payload_hash(), as_transaction.payload_hash());
}

#[test]
fn messages_over_the_limit_are_refused() {
    decode_evm(&message(&vec![b'x'; EVM_MESSAGE_BYTES_MAX])).unwrap();
    let longer = message(&vec![b'x'; EVM_MESSAGE_BYTES_MAX + 1]);
    assert_refused(decode_evm(&longer), "message", "over the limit");
}
