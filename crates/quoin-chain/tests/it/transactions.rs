//! EVM transactions: vectors and meanings.

use crate::{account, action, decode_evm, prehash};
use quoin_chain::{Digest, Eip1559Fields, LegacyFields, encode_eip1559, encode_legacy};
use quoin_core::intent::{
    Action, Address, AssetAmount, AssetId, ChainId, Horizon, RiskEffect, Slot, Unexplained,
};
use quoin_core::stamp::Scheme;
use quoin_core::{Amount, Payload};

/// EIP-155's example: unsigned bytes and their hash.
pub(crate) const EIP155: [&str; 2] = [
    "ec098504a817c800825208943535353535353535353535353535353535353535880de0b6b3a764000080018080",
    "daf5a779ae972f972197303d7b574746c7ef83eadac0f2791ad23db92e4c8e53",
];
/// Made with eth-account: an access list of one address and two keys.
pub(crate) const EIP2930: [&str; 2] = [
    "01f87e01030782c350943535353535353535353535353535353535353535058401020304f85bf8599422222222222\
     22222222222222222222222222222f842a001010101010101010101010101010101010101010101010101010101\
     01010101a00202020202020202020202020202020202020202020202020202020202020202",
    "00ae884f9a72c434d7f8513c2544fd0141a40b6397063e3456aa1c18cf5bb74c",
];
/// Made with eth-account: an ERC-20 transfer.
pub(crate) const EIP1559: [&str; 2] = [
    "02f86d0104847735940085174876e80082ea6094353535353535353535353535353535353535353580b844a9059c\
     bb000000000000000000000000222222222222222222222222222222222222222200000000000000000000000000\
     000000000000000000000000000000000f4240c0",
    "8402c7c6e1c7ee397f4281100739af7d68f785fd895c83296c044f85e9eaebac",
];

pub(crate) fn transaction(bytes: impl Into<Vec<u8>>) -> Payload {
    Payload::EvmTransaction(bytes.into())
}

pub(crate) fn from_hex(text: &str) -> Payload {
    transaction(hex::decode(text).unwrap())
}

pub(crate) fn fields() -> Eip1559Fields {
    Eip1559Fields {
        chain_id: 1,
        nonce: 7,
        max_priority_fee_per_gas: 2,
        max_fee_per_gas: 10,
        gas_limit: 21_000,
        to: Some([0x22; 20]),
        value: Amount::from(5u64),
        data: Vec::new(),
    }
}

pub(crate) fn legacy() -> LegacyFields {
    LegacyFields {
        chain_id: 1,
        nonce: 7,
        gas_price: 10,
        gas_limit: 21_000,
        to: Some([0x22; 20]),
        value: Amount::from(5u64),
        data: Vec::new(),
    }
}

pub(crate) fn native(amount: u64) -> AssetAmount {
    AssetAmount {
        asset: AssetId {
            chain: ChainId::Evm(1),
            token: None,
        },
        amount: amount.into(),
    }
}

pub(crate) fn token(contract: u8, amount: u64) -> AssetAmount {
    AssetAmount {
        asset: AssetId {
            chain: ChainId::Evm(1),
            token: Some(Address::evm([contract; 20])),
        },
        amount: amount.into(),
    }
}

pub(crate) fn address(byte: u8) -> Address {
    Address::evm([byte; 20])
}

/// ABI call data: a selector and words.
pub(crate) fn call(selector: &str, words: &[[u8; 32]]) -> Vec<u8> {
    let mut data = hex::decode(selector).unwrap();
    data.extend(words.iter().flatten());
    data
}

pub(crate) fn address_word(byte: u8) -> [u8; 32] {
    let mut word = [0; 32];
    word[12..].fill(byte);
    word
}

pub(crate) fn amount_word(amount: u64) -> [u8; 32] {
    Amount::from(amount).to_be_bytes()
}

/// The action of a call to `0x22…22` with `value` and `data`.
pub(crate) fn action_of(value: u64, data: Vec<u8>) -> Action {
    let bytes = encode_eip1559(&Eip1559Fields {
        value: value.into(),
        data,
        ..fields()
    });
    let decoded = decode_evm(&transaction(bytes)).unwrap();
    assert_eq!(decoded.intent().risk, RiskEffect::Increases);
    action(&decoded).clone()
}

pub(crate) fn unexplained(reason: Unexplained, value: u64) -> Action {
    Action::Unexplained {
        reason,
        target: Some(address(0x22)),
        value: native(value),
    }
}

/// RLP of a string.
pub(crate) fn string(bytes: &[u8]) -> Vec<u8> {
    alloy_rlp::encode(bytes)
}

/// RLP of a list of encoded items.
pub(crate) fn list(items: &[Vec<u8>]) -> Vec<u8> {
    let payload = items.concat();
    let mut out = Vec::new();
    alloy_rlp::Header {
        list: true,
        payload_length: payload.len(),
    }
    .encode(&mut out);
    out.extend(payload);
    out
}

/// The encoded fields of a legacy transaction: nonce, price, limit, to, value, data, chain id, 0, 0.
pub(crate) fn legacy_items() -> Vec<Vec<u8>> {
    let plain: [&[u8]; 9] = [
        &[7],
        &[10],
        &[0x52, 8],
        &[0x22; 20],
        &[5],
        &[],
        &[1],
        &[],
        &[],
    ];
    plain.iter().map(|item| string(item)).collect()
}

/// A legacy transaction with one encoded field replaced.
pub(crate) fn legacy_with(index: usize, item: Vec<u8>) -> Payload {
    let mut items = legacy_items();
    items[index] = item;
    transaction(list(&items))
}

/// The encoded fields of an EIP-1559 transaction.
pub(crate) fn eip1559_items() -> Vec<Vec<u8>> {
    let plain: [&[u8]; 8] = [&[1], &[7], &[2], &[10], &[0x52, 8], &[0x22; 20], &[5], &[]];
    let mut items: Vec<_> = plain.iter().map(|item| string(item)).collect();
    items.push(list(&[]));
    items
}

pub(crate) fn typed(first: u8, items: &[Vec<u8>]) -> Payload {
    transaction([vec![first], list(items)].concat())
}

#[test]
fn published_transactions_hash_as_published() {
    for [bytes, hash] in [EIP155, EIP2930, EIP1559] {
        let payload = from_hex(bytes);
        let decoded = decode_evm(&payload).unwrap();
        assert_eq!(prehash(&decoded), hash);
        assert_eq!(decoded.payload_hash(), payload.hash());
        assert_eq!(decoded.account(), &account(1, 0x11));
        assert_eq!(decoded.scheme(), Scheme::Ecdsa);
    }
}

#[test]
fn builders_encode_what_the_decoder_reads() {
    assert_eq!(
        transaction(encode_legacy(&legacy())),
        transaction(list(&legacy_items()))
    );
    assert_eq!(
        transaction(encode_eip1559(&fields())),
        typed(2, &eip1559_items())
    );
}

#[test]
fn a_native_transfer_shows_recipient_amount_slot_and_worst_fee() {
    for bytes in [encode_eip1559(&fields()), encode_legacy(&legacy())] {
        let decoded = decode_evm(&transaction(bytes)).unwrap();
        let intent = decoded.intent();
        assert_eq!(
            intent.action,
            Action::Transfer {
                value: native(5),
                to: address(0x22)
            }
        );
        assert_eq!(intent.chain, ChainId::Evm(1));
        assert_eq!(
            intent.slot,
            Some(Slot {
                chain: ChainId::Evm(1),
                account: address(0x11),
                nonce: 7
            })
        );
        assert_eq!(intent.fee_max, Some(native(210_000)));
        assert_eq!(intent.risk, RiskEffect::Increases);
        assert_eq!(intent.horizon, Horizon::Slot);
    }
}

#[test]
fn an_access_list_does_not_change_the_meaning() {
    let decoded = decode_evm(&from_hex(EIP2930[0])).unwrap();
    assert!(matches!(
        action(&decoded),
        Action::Call { target, selector: [1, 2, 3, 4], value, .. }
            if *target == address(0x35) && *value == native(5)
    ));
    assert_eq!(decoded.intent().fee_max, Some(native(350_000)));
}

#[test]
fn paying_oneself_nothing_reduces_risk_and_only_that() {
    let risk = |to: u8, value: u64, data: &[u8]| {
        let bytes = encode_eip1559(&Eip1559Fields {
            to: Some([to; 20]),
            value: value.into(),
            data: data.to_vec(),
            ..fields()
        });
        decode_evm(&transaction(bytes)).unwrap().intent().risk
    };
    assert_eq!(risk(0x11, 0, &[]), RiskEffect::Reduces);
    assert_eq!(risk(0x11, 1, &[]), RiskEffect::Increases);
    assert_eq!(risk(0x22, 0, &[]), RiskEffect::Increases);
    assert_eq!(risk(0x11, 0, &[1, 2, 3, 4]), RiskEffect::Increases);
}

#[test]
fn token_calls_have_types_of_their_own() {
    let transfer = call("a9059cbb", &[address_word(0x33), amount_word(9)]);
    assert_eq!(
        action_of(0, transfer),
        Action::Transfer {
            value: token(0x22, 9),
            to: address(0x33)
        }
    );
    let from = [address_word(0x44), address_word(0x33), amount_word(9)];
    assert_eq!(
        action_of(0, call("23b872dd", &from)),
        Action::TransferFrom {
            value: token(0x22, 9),
            from: address(0x44),
            to: address(0x33)
        }
    );
    let approve = call("095ea7b3", &[address_word(0x33), [0xff; 32]]);
    assert_eq!(
        action_of(0, approve),
        Action::Approve {
            value: AssetAmount {
                amount: Amount::MAX,
                ..token(0x22, 0)
            },
            spender: address(0x33),
            permit: false
        }
    );
}

#[test]
fn selectors_are_those_of_their_signatures() {
    for (signature, selector) in [
        ("transfer(address,uint256)", "a9059cbb"),
        ("transferFrom(address,address,uint256)", "23b872dd"),
        ("approve(address,uint256)", "095ea7b3"),
        ("increaseAllowance(address,uint256)", "39509351"),
        (
            "permit(address,address,uint256,uint256,uint8,bytes32,bytes32)",
            "d505accf",
        ),
    ] {
        let hash = alloy_primitives::keccak256(signature);
        assert_eq!(hex::encode(&hash[..4]), selector);
    }
}

#[test]
fn token_calls_in_any_other_encoding_are_unexplained() {
    let mut dirty = address_word(0x33);
    dirty[11] = 1;
    let good = [address_word(0x33), amount_word(9)];
    let mut long = call("a9059cbb", &good);
    long.push(0);
    let mut short = call("095ea7b3", &good);
    short.pop();
    for data in [
        call("a9059cbb", &[]),
        call("a9059cbb", &[dirty, amount_word(9)]),
        call("095ea7b3", &[dirty, amount_word(9)]),
        call("23b872dd", &[dirty, address_word(1), amount_word(9)]),
        call("23b872dd", &[address_word(1), dirty, amount_word(9)]),
        call("23b872dd", &good),
        call("a9059cbb", &[good[0], good[1], good[1]]),
        long,
        short,
    ] {
        assert_eq!(
            action_of(0, data),
            unexplained(Unexplained::MalformedArguments, 0)
        );
    }
}

#[test]
fn token_calls_that_send_coin_are_unexplained() {
    let data = call("a9059cbb", &[address_word(0x33), amount_word(9)]);
    assert_eq!(
        action_of(4, data),
        unexplained(Unexplained::ValueOnTokenCall, 4)
    );
}

#[test]
fn call_data_shorter_than_a_selector_is_unexplained() {
    for length in 1..4 {
        assert_eq!(
            action_of(3, vec![0xa9; length]),
            unexplained(Unexplained::ShortCallData, 3)
        );
    }
}

#[test]
fn deploying_is_unexplained() {
    for data in [vec![], vec![0x60, 0x80, 0x60, 0x40, 0x52]] {
        let bytes = encode_eip1559(&Eip1559Fields {
            to: None,
            data,
            ..fields()
        });
        let decoded = decode_evm(&transaction(bytes)).unwrap();
        assert_eq!(
            action(&decoded),
            &Action::Unexplained {
                reason: Unexplained::Deploys,
                target: None,
                value: native(5),
            }
        );
        assert_eq!(decoded.intent().risk, RiskEffect::Increases);
    }
}

#[test]
fn other_calls_show_target_selector_coin_and_hash() {
    use sha2::Digest as _;
    for selector in ["39509351", "d505accf", "00000000"] {
        let data = call(selector, &[address_word(0x33), amount_word(9)]);
        assert_eq!(
            action_of(6, data.clone()),
            Action::Call {
                target: address(0x22),
                selector: data[..4].try_into().unwrap(),
                value: native(6),
                data_hash: sha2::Sha256::digest(&data).into(),
            }
        );
    }
}

#[test]
fn fees_never_wrap() {
    let bytes = encode_eip1559(&Eip1559Fields {
        max_fee_per_gas: u128::MAX,
        gas_limit: u64::MAX,
        ..fields()
    });
    let decoded = decode_evm(&transaction(bytes)).unwrap();
    let expected = Amount::from(u128::MAX)
        .checked_mul(u64::MAX.into())
        .unwrap();
    assert_eq!(decoded.intent().fee_max.as_ref().unwrap().amount, expected);
}

#[test]
fn the_digest_is_the_hash_of_the_payloads_bytes() {
    let bytes = encode_eip1559(&fields());
    let hash = alloy_primitives::keccak256(&bytes).0;
    let decoded = decode_evm(&transaction(bytes)).unwrap();
    assert_eq!(decoded.digest(), &Digest::Prehash(hash));
}
