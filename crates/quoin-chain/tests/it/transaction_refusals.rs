//! One case for each broken rule of EVM transactions.

use crate::transactions::{
    EIP2930, eip1559_items, fields, from_hex, legacy, legacy_items, legacy_with, list, string,
    transaction, typed,
};
use crate::{account, assert_refused, decode_evm};
use quoin_chain::{
    ACCESS_LIST_ADDRESSES_MAX, ACCESS_LIST_KEYS_MAX, Eip1559Fields, LegacyFields, decode,
    encode_eip1559, encode_legacy,
};
use quoin_core::Amount;
use quoin_core::payload::PAYLOAD_BYTES_MAX;
use quoin_core::stamp::Scheme;

#[test]
fn another_chain_is_refused_by_field() {
    for payload in [
        transaction(encode_eip1559(&fields())),
        transaction(encode_legacy(&legacy())),
        from_hex(EIP2930[0]),
    ] {
        let result = decode(&payload, &account(10, 0x11), Scheme::Ecdsa);
        assert_refused(result, "transaction.chain_id", "account is on chain `10`");
    }
}

#[test]
fn chain_ids_out_of_range_are_refused() {
    for chain_id in [0, u64::MAX / 2 - 35, u64::MAX] {
        let bytes = encode_legacy(&LegacyFields {
            chain_id,
            ..legacy()
        });
        let result = decode(&transaction(bytes), &account(chain_id, 1), Scheme::Ecdsa);
        assert_refused(result, "transaction.chain_id", "out of range");
    }
}

#[test]
fn legacy_without_chain_id_is_refused_as_replayable() {
    let payload = transaction(list(&legacy_items()[..6]));
    assert_refused(decode_evm(&payload), "transaction.chain_id", "EIP-155");
}

#[test]
fn signed_transactions_are_refused() {
    let signed = legacy_with(7, string(&[1; 32]));
    assert_refused(decode_evm(&signed), "transaction.r", "already signed");
    let signed = legacy_with(8, string(&[1; 32]));
    assert_refused(decode_evm(&signed), "transaction.s", "already signed");
    let mut items = eip1559_items();
    items.extend([string(&[]), string(&[1; 32]), string(&[1; 32])]);
    assert_refused(
        decode_evm(&typed(2, &items)),
        "transaction",
        "unsigned form",
    );
}

#[test]
fn other_transaction_types_are_refused_with_what_to_do() {
    for (first, part) in [
        (0x00, "unknown transaction type `0x00`"),
        (0x03, "blob transactions"),
        (0x04, "set-code transactions"),
        (0x05, "unknown transaction type `0x05`"),
        (0x7f, "unknown transaction type `0x7f`"),
        (0x80, "unknown transaction type `0x80`"),
        (0xbf, "unknown transaction type `0xbf`"),
    ] {
        let payload = typed(first, &eip1559_items());
        assert_refused(decode_evm(&payload), "transaction.type", part);
        assert_refused(decode_evm(&payload), "transaction.type", "EIP-1559");
    }
}

#[test]
fn malformed_fields_are_refused_by_name() {
    let nine = |byte: u8| string(&[byte; 9]);
    for (index, item, field) in [
        (0, nine(1), "transaction.nonce"),
        (0, list(&[]), "transaction.nonce"),
        (1, string(&[1; 17]), "transaction.gas_price"),
        (2, nine(1), "transaction.gas_limit"),
        (3, string(&[0x22; 19]), "transaction.to"),
        (3, string(&[0x22; 21]), "transaction.to"),
        (4, string(&[1; 33]), "transaction.value"),
        (5, list(&[]), "transaction.data"),
        (6, nine(1), "transaction.chain_id"),
        (7, list(&[]), "transaction.r"),
        (8, list(&[]), "transaction.s"),
    ] {
        assert_refused(
            decode_evm(&legacy_with(index, item)),
            field,
            "malformed field",
        );
    }
    let names = [
        "chain_id",
        "nonce",
        "max_priority_fee_per_gas",
        "max_fee_per_gas",
        "gas_limit",
        "to",
        "value",
        "data",
        "access_list",
    ];
    for (index, name) in names.iter().enumerate() {
        let field = format!("transaction.{name}");
        let mut items = eip1559_items();
        // No field is both a list of strings and a string of 33 bytes.
        items[index] = match *name {
            "data" => list(&[]),
            "access_list" => list(&[string(&[1])]),
            _ => string(&[1; 33]),
        };
        assert_refused(decode_evm(&typed(2, &items)), &field, "malformed field");
        let cut = typed(2, &eip1559_items()[..index]);
        assert_refused(decode_evm(&cut), &field, "missing");
    }
    for (index, name) in ["chain_id", "nonce", "gas_price"].iter().enumerate() {
        let mut items = eip1559_items();
        items.remove(2);
        items[index] = string(&[1; 33]);
        let field = format!("transaction.{name}");
        assert_refused(decode_evm(&typed(1, &items)), &field, "malformed field");
    }
}

#[test]
fn second_spellings_of_a_transaction_are_refused() {
    // A leading zero, a one-byte string with a length byte, and a long form of a short length.
    for item in [vec![0x82, 0, 7], vec![0x81, 7], vec![0xb8, 1, 7], vec![0]] {
        let payload = legacy_with(0, item);
        assert_refused(decode_evm(&payload), "transaction.nonce", "malformed field");
    }
    let short = legacy_items().concat();
    let mut long_header = vec![0xf8, u8::try_from(short.len()).unwrap()];
    long_header.extend(short);
    assert_refused(
        decode_evm(&transaction(long_header)),
        "transaction",
        "malformed RLP",
    );
}

#[test]
fn bytes_around_a_transaction_are_refused() {
    let legacy = encode_legacy(&legacy());
    let after = [&legacy[..], &[0]].concat();
    assert_refused(
        decode_evm(&transaction(after)),
        "transaction",
        "bytes after",
    );
    let cut = transaction(&legacy[..legacy.len() - 1]);
    assert_refused(decode_evm(&cut), "transaction", "malformed RLP");
    assert_refused(decode_evm(&transaction([])), "transaction", "empty");
    assert_refused(
        decode_evm(&transaction([2])),
        "transaction",
        "malformed RLP",
    );
    let text = transaction([2, 0x83, 1, 2, 3]);
    assert_refused(decode_evm(&text), "transaction", "expected a list");
    let mut items = legacy_items();
    items.push(string(&[]));
    assert_refused(
        decode_evm(&transaction(list(&items))),
        "transaction",
        "after the last",
    );
}

#[test]
fn the_largest_nonce_is_refused() {
    let nonce = |nonce| transaction(encode_eip1559(&Eip1559Fields { nonce, ..fields() }));
    decode_evm(&nonce(u64::MAX - 1)).unwrap();
    assert_refused(
        decode_evm(&nonce(u64::MAX)),
        "transaction.nonce",
        "EIP-2681",
    );
}

#[test]
fn a_priority_fee_over_the_maximum_fee_is_refused() {
    let priority = |max_priority_fee_per_gas| {
        transaction(encode_eip1559(&Eip1559Fields {
            max_priority_fee_per_gas,
            ..fields()
        }))
    };
    decode_evm(&priority(10)).unwrap();
    let field = "transaction.max_priority_fee_per_gas";
    assert_refused(decode_evm(&priority(11)), field, "over the maximum");
}

#[test]
fn value_and_fee_over_256_bits_are_refused() {
    let value = |value| transaction(encode_eip1559(&Eip1559Fields { value, ..fields() }));
    let most = Amount::MAX.checked_sub(Amount::from(210_000u64)).unwrap();
    decode_evm(&value(most)).unwrap();
    let over = most.checked_add(Amount::from(1u64)).unwrap();
    assert_refused(
        decode_evm(&value(over)),
        "transaction.value",
        "over 256 bits",
    );
}

#[test]
fn oversized_transactions_are_refused() {
    let sized = |length| {
        transaction(encode_eip1559(&Eip1559Fields {
            data: vec![1; length],
            ..fields()
        }))
    };
    decode_evm(&sized(PAYLOAD_BYTES_MAX - 64)).unwrap();
    let result = decode_evm(&sized(PAYLOAD_BYTES_MAX));
    assert_refused(result, "transaction", "over the limit");
}

#[test]
fn oversized_access_lists_are_refused() {
    let with = |addresses: usize, keys: usize| {
        let entry = |keys: usize| list(&[string(&[2; 20]), list(&vec![string(&[3; 32]); keys])]);
        let mut entries = vec![entry(0); addresses - 1];
        entries.push(entry(keys));
        let mut items = eip1559_items();
        items[8] = list(&entries);
        decode_evm(&typed(2, &items))
    };
    with(ACCESS_LIST_ADDRESSES_MAX, ACCESS_LIST_KEYS_MAX).unwrap();
    let field = "transaction.access_list";
    assert_refused(
        with(ACCESS_LIST_ADDRESSES_MAX + 1, 0),
        field,
        "over the limit",
    );
    assert_refused(with(1, ACCESS_LIST_KEYS_MAX + 1), field, "over the limit");
}
