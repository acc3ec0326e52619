//! EIP-712 typed data: vectors of other implementations, and meanings.

use crate::{account, action, assert_refused, decode_evm, prehash};
use alloy_sol_types::{SolStruct, eip712_domain, sol};
use quoin_chain::{Decoded, Digest, decode};
use quoin_core::intent::{
    Action, Address, AssetAmount, AssetId, ChainId, Horizon, RiskEffect, Unexplained,
};
use quoin_core::stamp::Scheme;
use quoin_core::{Amount, Payload, Rejection, TimeMs};
use serde_json::{Value, json};

pub(crate) const MAIL: &str = include_str!("vectors/mail.json");
pub(crate) const PERMIT: &str = include_str!("vectors/permit.json");
pub(crate) const SAFE: &str = include_str!("vectors/safe.json");
pub(crate) const AGENT: &str = include_str!("vectors/hyperliquid_agent.json");
pub(crate) const SEND: &str = include_str!("vectors/hyperliquid_send.json");
pub(crate) const EVERY_TYPE: &str = include_str!("vectors/every_type.json");

pub(crate) fn decode_text(text: &str) -> Result<Decoded, Rejection> {
    decode_evm(&Payload::EvmTypedData(text.as_bytes().to_vec()))
}

pub(crate) fn decode_value(value: &Value) -> Result<Decoded, Rejection> {
    decode_text(&value.to_string())
}

/// `document` with the value at the JSON pointer `pointer` replaced.
pub(crate) fn with(document: &str, pointer: &str, value: Value) -> Value {
    let mut document: Value = serde_json::from_str(document).unwrap();
    *document.pointer_mut(pointer).expect("pointer") = value;
    document
}

/// `document` with `key` added to the object at `pointer`, or removed when `value` is none.
pub(crate) fn with_key(document: &str, pointer: &str, key: &str, value: Option<Value>) -> Value {
    let mut document: Value = serde_json::from_str(document).unwrap();
    let object = document.pointer_mut(pointer).unwrap();
    let object = object.as_object_mut().unwrap();
    match value {
        Some(value) => object.insert(key.to_owned(), value),
        None => object.remove(key),
    };
    document
}

/// A document whose message is one member `x` of type `member_type`.
pub(crate) fn single(member_type: &str, value: Value) -> Value {
    json!({
        "types": {
            "EIP712Domain": [{"name": "chainId", "type": "uint256"}],
            "M": [{"name": "x", "type": member_type}],
        },
        "primaryType": "M",
        "domain": {"chainId": 1},
        "message": {"x": value},
    })
}

pub(crate) fn address(byte: u8) -> Address {
    Address::evm([byte; 20])
}

#[test]
fn typed_data_hashes_as_other_implementations_hash_it() {
    // `mail` is EIP-712's own example; all were computed with eth-account.
    for (document, chain_id, digest) in [
        (
            MAIL,
            1,
            "be609aee343fb3c4b28e1df9e632fca64fcfaede20f02e86244efddf30957bd2",
        ),
        (
            PERMIT,
            1,
            "3fdb22d8bd5dbc4233043b3c4ea154a8156bbde55e2f3beb72d750a35579af5e",
        ),
        (
            SAFE,
            1,
            "c7e482de33451aafcccbf7de807c2703591749a44fbe3567b883e003dbaff67b",
        ),
        (
            AGENT,
            1337,
            "be5eb0697b77c2acfeaa07a3d4913ae5d06489c63bfd143c5d3d66540a196c43",
        ),
        (
            SEND,
            421_614,
            "cacf7585cc49ca60c6c5fb3001e226c0ca03c46252c893eea574c78907b7cebe",
        ),
        (
            EVERY_TYPE,
            1,
            "fc0c2151321c68c3ffe08d28bf1ae3e2314c8d07bf862ffaf743f69973ad0466",
        ),
    ] {
        let payload = Payload::EvmTypedData(document.as_bytes().to_vec());
        let decoded = decode(&payload, &account(chain_id, 0x11), Scheme::Ecdsa).unwrap();
        assert_eq!(prehash(&decoded), digest);
        assert_eq!(decoded.payload_hash(), payload.hash());
        assert_eq!(decoded.intent().chain, ChainId::Evm(chain_id));
        assert_eq!(decoded.intent().risk, RiskEffect::Increases);
        assert_eq!(decoded.intent().slot, None);
    }
}

sol! {
    struct Permit {
        address owner;
        address spender;
        uint256 value;
        uint256 nonce;
        uint256 deadline;
    }
}

#[test]
fn a_permit_hashes_as_its_contract_hashes_it() {
    let domain = eip712_domain! {
        name: "USD Coin",
        version: "2",
        chain_id: 1,
        verifying_contract: "0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48".parse().unwrap(),
    };
    let permit = Permit {
        owner: [0x11; 20].into(),
        spender: [0x22; 20].into(),
        value: "1000000".parse().unwrap(),
        nonce: "0".parse().unwrap(),
        deadline: "1893456000".parse().unwrap(),
    };
    let expected = permit.eip712_signing_hash(&domain).0;
    let decoded = decode_text(PERMIT).unwrap();
    assert_eq!(decoded.digest(), &Digest::Prehash(expected));
}

#[test]
fn a_permit_is_an_approval_until_its_deadline() {
    let decoded = decode_text(PERMIT).unwrap();
    assert_eq!(
        action(&decoded),
        &Action::Approve {
            value: AssetAmount {
                asset: AssetId {
                    chain: ChainId::Evm(1),
                    token: Some(
                        "0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48"
                            .parse()
                            .unwrap()
                    ),
                },
                amount: Amount::from(1_000_000u64),
            },
            spender: address(0x22),
            permit: true,
        }
    );
    assert_eq!(
        decoded.intent().horizon,
        Horizon::Until(TimeMs(1_893_456_000_000))
    );
}

#[test]
fn a_permit_shows_amounts_of_256_bits_in_both_spellings() {
    for spelling in [Amount::MAX.to_string(), format!("0x{}", "f".repeat(64))] {
        let decoded = decode_value(&with(PERMIT, "/message/value", json!(spelling))).unwrap();
        assert_eq!(action(&decoded).value().unwrap().amount, Amount::MAX);
    }
}

#[test]
fn a_deadline_beyond_64_bits_of_milliseconds_is_unbounded() {
    let horizon = |deadline: Value| {
        let document = with(PERMIT, "/message/deadline", deadline);
        decode_value(&document).unwrap().intent().horizon
    };
    let longest = u64::MAX / 1000;
    assert_eq!(
        horizon(json!(longest)),
        Horizon::Until(TimeMs(longest * 1000))
    );
    assert_eq!(horizon(json!(longest + 1)), Horizon::Unbounded);
    assert_eq!(horizon(json!(Amount::MAX.to_string())), Horizon::Unbounded);
}

#[test]
fn a_permit_of_another_owner_is_refused() {
    let document = with(PERMIT, "/message/owner", json!(address(0x33)));
    assert_refused(
        decode_value(&document),
        "typed_data.message.owner",
        "is not the account",
    );
}

#[test]
fn permits_of_another_shape_are_unexplained() {
    let dai = json!({
        "types": {
            "EIP712Domain": [
                {"name": "chainId", "type": "uint256"},
                {"name": "verifyingContract", "type": "address"},
            ],
            "Permit": [
                {"name": "holder", "type": "address"},
                {"name": "spender", "type": "address"},
                {"name": "nonce", "type": "uint256"},
                {"name": "expiry", "type": "uint256"},
                {"name": "allowed", "type": "bool"},
            ],
        },
        "primaryType": "Permit",
        "domain": {"chainId": 1, "verifyingContract": address(0x44)},
        "message": {
            "holder": address(0x11), "spender": address(0x22),
            "nonce": 0, "expiry": 0, "allowed": true,
        },
    });
    let narrower = with(PERMIT, "/types/Permit/2/type", json!("uint128"));
    for (document, target) in [
        (dai, Some(address(0x44))),
        (
            narrower,
            Some(
                "0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48"
                    .parse()
                    .unwrap(),
            ),
        ),
    ] {
        let decoded = decode_value(&document).unwrap();
        let Action::Unexplained {
            reason,
            target: found,
            value,
        } = action(&decoded)
        else {
            panic!("unexplained");
        };
        assert_eq!(*reason, Unexplained::MalformedPermit);
        assert_eq!(*found, target);
        assert!(value.amount.is_zero());
        assert_eq!(decoded.intent().horizon, Horizon::Unbounded);
    }
}

#[test]
fn a_permit_without_token_is_unexplained() {
    let mut document = with_key(PERMIT, "/domain", "verifyingContract", None);
    let domain = document.pointer_mut("/types/EIP712Domain").unwrap();
    domain.as_array_mut().unwrap().pop();
    let decoded = decode_value(&document).unwrap();
    assert!(matches!(
        action(&decoded),
        Action::Unexplained {
            reason: Unexplained::MalformedPermit,
            target: None,
            ..
        }
    ));
}

#[test]
fn other_typed_data_shows_domain_contract_and_primary_type() {
    let decoded = decode_text(MAIL).unwrap();
    assert_eq!(
        action(&decoded),
        &Action::TypedData {
            domain_name: Some("Ether Mail".to_owned()),
            verifying_contract: Some(address(0xcc)),
            primary_type: "Mail".to_owned(),
        }
    );
    assert_eq!(decoded.intent().horizon, Horizon::Unbounded);
    let safe = decode_text(SAFE).unwrap();
    assert_eq!(
        action(&safe),
        &Action::TypedData {
            domain_name: None,
            verifying_contract: Some(address(0x33)),
            primary_type: "SafeTx".to_owned(),
        }
    );
}

#[test]
fn one_number_in_several_spellings_has_one_digest() {
    let digest = |member_type, value| prehash(&decode_value(&single(member_type, value)).unwrap());
    assert_eq!(
        digest("uint256", json!(255)),
        digest("uint256", json!("255"))
    );
    assert_eq!(
        digest("uint256", json!(255)),
        digest("uint256", json!("0xFf"))
    );
    assert_eq!(digest("int256", json!(-5)), digest("int256", json!("-5")));
    assert_ne!(digest("uint256", json!(255)), digest("uint256", json!(254)));
    assert_ne!(digest("uint256", json!(1)), digest("uint128", json!(1)));
}
