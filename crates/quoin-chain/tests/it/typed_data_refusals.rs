//! One case for each broken rule of typed data.

use crate::typed_data::{EVERY_TYPE, MAIL, decode_text, decode_value, single, with, with_key};
use crate::{account, assert_refused, decode_evm};
use quoin_chain::{TYPED_DATA_BYTES_MAX, decode};
use quoin_core::stamp::Scheme;
use quoin_core::{Amount, Payload};
use serde_json::{Value, json};

#[test]
fn the_domains_chain_must_be_the_accounts() {
    let field = "typed_data.domain.chainId";
    let payload = Payload::EvmTypedData(MAIL.as_bytes().to_vec());
    let result = decode(&payload, &account(10, 0x11), Scheme::Ecdsa);
    assert_refused(result, field, "account is on chain `10`");
    for chain_id in [json!(2), json!("0x2"), json!(format!("0x1{:0>16}", 1))] {
        let document = with(MAIL, "/domain/chainId", chain_id);
        assert_refused(decode_value(&document), field, "account is on chain `1`");
    }
    for chain_id in [json!(null), json!(-1), json!("one"), json!([1])] {
        let document = with(MAIL, "/domain/chainId", chain_id);
        assert_refused(decode_value(&document), field, "whole number");
    }
    for chain_id in [json!("1"), json!("0x1")] {
        decode_value(&with(MAIL, "/domain/chainId", chain_id)).unwrap();
    }
}

#[test]
fn a_domain_without_chain_is_refused() {
    let mut document = with_key(MAIL, "/domain", "chainId", None);
    let domain = document.pointer_mut("/types/EIP712Domain").unwrap();
    domain.as_array_mut().unwrap().remove(2);
    assert_refused(
        decode_value(&document),
        "typed_data.domain.chainId",
        "missing",
    );
}

#[test]
fn the_domains_type_must_be_that_of_its_fields() {
    let field = "typed_data.types.EIP712Domain";
    let undeclared = with_key(MAIL, "/domain", "version", None);
    assert_refused(decode_value(&undeclared), field, "in the order");
    let absent = with_key(MAIL, "/types", "EIP712Domain", None);
    assert_refused(decode_value(&absent), field, "missing");
    let retyped = with(MAIL, "/types/EIP712Domain/2/type", json!("uint64"));
    assert_refused(decode_value(&retyped), field, "in the order");
    let mut swapped: Value = serde_json::from_str(MAIL).unwrap();
    let members = swapped.pointer_mut("/types/EIP712Domain").unwrap();
    members.as_array_mut().unwrap().swap(0, 1);
    assert_refused(decode_value(&swapped), field, "in the order");
}

#[test]
fn malformed_domain_fields_are_refused_by_name() {
    for (pointer, value) in [
        ("name", json!(7)),
        ("name", json!("x".repeat(129))),
        ("name", json!("Ether\u{202e}Mail")),
        ("version", json!(null)),
        (
            "verifyingContract",
            json!("CcCCccccCCCCcCCCCCCcCcCccCcCCCcCcccccccC"),
        ),
        ("verifyingContract", json!("0xCc")),
    ] {
        let document = with(MAIL, &format!("/domain/{pointer}"), value);
        let field = format!("typed_data.domain.{pointer}");
        assert_refused(decode_value(&document), &field, "expected");
    }
    let salt = with(EVERY_TYPE, "/domain/salt", json!("0xab"));
    assert_refused(
        decode_value(&salt),
        "typed_data.domain.salt",
        "64 hex digits",
    );
}

#[test]
fn unknown_fields_are_refused_everywhere() {
    for (pointer, path) in [
        ("", "typed_data.extra"),
        ("/domain", "typed_data.domain.extra"),
        ("/message", "typed_data.message.extra"),
        ("/message/from", "typed_data.message.from.extra"),
        ("/types/Mail/0", "typed_data.types.Mail[0].extra"),
    ] {
        let document = with_key(MAIL, pointer, "extra", Some(json!(1)));
        assert_refused(decode_value(&document), path, "unknown field");
    }
}

#[test]
fn missing_fields_are_refused_everywhere() {
    for (pointer, key, path) in [
        ("", "types", "typed_data.types"),
        ("", "primaryType", "typed_data.primaryType"),
        ("", "domain", "typed_data.domain"),
        ("", "message", "typed_data.message"),
        ("/message", "contents", "typed_data.message.contents"),
        ("/message/to", "wallet", "typed_data.message.to.wallet"),
        ("/types/Mail/0", "type", "typed_data.types.Mail[0].type"),
    ] {
        let document = with_key(MAIL, pointer, key, None);
        assert_refused(decode_value(&document), path, "missing");
    }
}

#[test]
fn repeated_keys_are_refused_everywhere() {
    for (once, twice, path) in [
        (
            "\"primaryType\"",
            "\"primaryType\": \"Mail\", \"primaryType\"",
            "typed_data.primaryType",
        ),
        (
            "\"contents\":",
            "\"contents\": \"x\", \"contents\":",
            "typed_data.message.contents",
        ),
        (
            "\"version\":",
            "\"version\": \"1\", \"version\":",
            "typed_data.domain.version",
        ),
        (
            "\"Person\": [",
            "\"Person\": [], \"Person\": [",
            "typed_data.types.Person",
        ),
    ] {
        assert!(MAIL.contains(once), "{once}");
        let document = MAIL.replacen(once, twice, 1);
        assert_refused(decode_text(&document), path, "twice");
    }
    // The same key in another spelling.
    let document = MAIL.replacen(
        "\"contents\":",
        "\"c\\u006fntents\": \"x\", \"contents\":",
        1,
    );
    assert_refused(
        decode_text(&document),
        "typed_data.message.contents",
        "twice",
    );
}

#[test]
fn bytes_that_are_not_one_json_object_are_refused() {
    for (text, part) in [
        ("", "malformed JSON"),
        ("{", "malformed JSON"),
        ("{} {}", "malformed JSON"),
        ("[]", "expected an object"),
        ("null", "expected an object"),
        ("7", "expected an object"),
    ] {
        assert_refused(decode_text(text), "typed_data", part);
    }
    // A document inside a JSON string, as some clients send it, is the gateway's to unwrap.
    assert_refused(
        decode_text(&json!(MAIL).to_string()),
        "typed_data",
        "expected an object",
    );
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    assert_refused(decode_text(&deep), "typed_data", "malformed JSON");
    let not_text = Payload::EvmTypedData(b"{\"a\": \"\xff\"}".to_vec());
    assert_refused(decode_evm(&not_text), "typed_data", "malformed JSON");
}

#[test]
fn documents_over_the_limits_are_refused() {
    let longest = format!("{MAIL}{}", " ".repeat(TYPED_DATA_BYTES_MAX - MAIL.len()));
    decode_text(&longest).unwrap();
    assert_refused(
        decode_text(&format!("{longest} ")),
        "typed_data",
        "over the limit",
    );
    let many = single("uint8[]", json!(vec![0; 5000]));
    let rejection = decode_value(&many).unwrap_err();
    assert!(
        rejection.field.starts_with("typed_data.message.x["),
        "{rejection}"
    );
    assert!(
        rejection.message.contains("over `4096` values"),
        "{rejection}"
    );
}

#[test]
fn primary_types_that_name_no_message_are_refused() {
    for primary in [
        json!("Nothing"),
        json!("uint256"),
        json!("EIP712Domain"),
        json!(1),
    ] {
        let document = with(MAIL, "/primaryType", primary);
        let rejection = decode_value(&document).unwrap_err();
        assert_eq!(rejection.field, "typed_data.primaryType", "{rejection}");
    }
}

#[test]
fn names_that_could_alter_the_types_text_are_refused() {
    for name in ["", "a,uint256 b", "a b", "1a", "a)", "é", &"a".repeat(65)] {
        let document = with(MAIL, "/types/Mail/2/name", json!(name));
        assert_refused(
            decode_value(&document),
            "typed_data.types.Mail[2].name",
            "not a name",
        );
    }
    for name in [
        "", "A B", "A(", "uint256", "bytes33", "uint", "function", "A::B", "Mail[]",
    ] {
        let document = with_key(MAIL, "/types", name, Some(json!([])));
        let rejection = decode_value(&document).unwrap_err();
        assert_eq!(rejection.message, "not a name for a type", "{name}");
    }
}

#[test]
fn members_that_repeat_or_are_no_lists_are_refused() {
    let repeated = with(MAIL, "/types/Mail/1/name", json!("from"));
    assert_refused(
        decode_value(&repeated),
        "typed_data.types.Mail[1].name",
        "twice",
    );
    let object = with(MAIL, "/types/Mail", json!({}));
    assert_refused(
        decode_value(&object),
        "typed_data.types.Mail",
        "array of members",
    );
    let text = with(MAIL, "/types", json!("Mail(Person from)"));
    assert_refused(
        decode_value(&text),
        "typed_data.types",
        "expected an object",
    );
}

#[test]
fn types_that_encoders_read_differently_are_refused() {
    for bad in [
        "uint",
        "int",
        "byte",
        "function",
        "fixed128x18",
        "uint7",
        "uint264",
        "uint08",
        "bytes0",
        "bytes33",
        "(uint256,uint256)",
        "uint256[",
        "uint256]",
        "uint256[0]",
        "uint256[01]",
        "uint256[-1]",
        "uint256[] ",
        " uint256",
        "uint256[][][][][]",
        "uint256[]x",
        "",
    ] {
        let document = single(bad, json!(1));
        let rejection = decode_value(&document).unwrap_err();
        assert_eq!(rejection.field, "typed_data.types.M[0].type", "{bad}");
    }
}

#[test]
fn types_that_are_unknown_or_hold_themselves_are_refused() {
    let unknown = single("Nothing", json!({}));
    assert_refused(
        decode_value(&unknown),
        "typed_data.types.M[0].type",
        "unknown type",
    );
    let itself = single("M[]", json!([]));
    assert_refused(decode_value(&itself), "typed_data.types.M", "holds itself");
    let member = json!([{"name": "x", "type": "M"}]);
    let pair = with_key(
        &single("N", json!({})).to_string(),
        "/types",
        "N",
        Some(member),
    );
    assert_refused(decode_value(&pair), "typed_data.types.M", "holds itself");
}

/// `levels` types, each with `width` members of the next.
fn tower(levels: usize, width: usize) -> Value {
    let mut document = single("T0", json!({}));
    let types = document["types"].as_object_mut().unwrap();
    for level in 0..levels {
        let next = format!("T{}", level + 1);
        let next = if level + 1 == levels { "bool" } else { &next };
        let members: Vec<Value> = (0..width)
            .map(|i| json!({"name": format!("m{i}"), "type": next}))
            .collect();
        types.insert(format!("T{level}"), members.into());
    }
    document
}

#[test]
fn types_that_blow_up_are_refused() {
    // Two members on each of 14 levels expand to thousands.
    let rejection = decode_value(&tower(14, 2)).unwrap_err();
    assert!(rejection.message.contains("once expanded"), "{rejection}");
    let rejection = decode_value(&tower(17, 1)).unwrap_err();
    assert!(rejection.message.contains("deep"), "{rejection}");
    let rejection = decode_value(&tower(60, 1)).unwrap_err();
    assert!(rejection.message.contains("deep"), "{rejection}");
    assert_refused(
        decode_value(&tower(63, 1)),
        "typed_data.types",
        "over `64` types",
    );
    let rejection = decode_value(&tower(1, 65)).unwrap_err();
    assert!(
        rejection.message.contains("over `64` members"),
        "{rejection}"
    );
    // Within the limits the value itself is looked at.
    assert_refused(
        decode_value(&tower(14, 1)),
        "typed_data.message.x.m0",
        "missing",
    );
}

#[test]
fn types_with_too_much_text_are_refused() {
    let mut document = single("bool", json!(true));
    let types = document["types"].as_object_mut().unwrap();
    for t in 0..3 {
        let members: Vec<Value> = (0..64)
            .map(|i| json!({"name": format!("{}{i:02}", "m".repeat(60)), "type": "bool"}))
            .collect();
        types.insert(format!("T{t}"), members.into());
    }
    assert_refused(
        decode_value(&document),
        "typed_data.types",
        "over `8192` bytes",
    );
}

#[test]
fn values_in_ambiguous_spellings_are_refused() {
    for (member_type, bad) in [
        ("bool", json!("true")),
        ("bool", json!(1)),
        ("string", json!(1)),
        ("address", json!("1111111111111111111111111111111111111111")),
        ("address", json!("0x11")),
        (
            "address",
            json!("0x11111111111111111111111111111111111111zz"),
        ),
        ("bytes", json!([1, 2])),
        ("bytes", json!("dead")),
        ("bytes", json!("0xabc")),
        ("bytes4", json!("0xdeadbe")),
        ("bytes4", json!("0xdeadbeef00")),
        ("uint8", json!(256)),
        ("uint8", json!(-1)),
        ("uint8", json!("")),
        ("uint8", json!("0x")),
        ("uint8", json!("01")),
        ("uint8", json!("0o7")),
        ("uint8", json!("0b1")),
        ("uint8", json!("1_0")),
        ("uint8", json!("+1")),
        ("uint8", json!(" 1")),
        ("uint8", json!(true)),
        ("uint8", json!(null)),
        ("uint256", json!(format!("0x{}", "1".repeat(65)))),
        ("uint256", json!(format!("{}0", Amount::MAX))),
        ("int8", json!(128)),
        ("int8", json!(-129)),
        ("int8", json!("-0")),
        ("int8", json!("0x1")),
        ("int8", json!("--1")),
        ("int8", json!("-")),
        ("uint8[]", json!(1)),
        ("uint8[]", json!({})),
        ("uint8[2]", json!([1])),
        ("uint8[2]", json!([1, 2, 3])),
    ] {
        let rejection = decode_value(&single(member_type, bad.clone())).expect_err(member_type);
        assert_eq!(
            rejection.field, "typed_data.message.x",
            "{member_type} {bad}"
        );
    }
    let inner = single("uint8[][2]", json!([[1], [2, 300]]));
    assert_refused(decode_value(&inner), "typed_data.message.x[1][1]", "8 bits");
}

#[test]
fn numbers_that_a_reader_could_round_are_refused() {
    for number in ["1.0", "1e3", "18446744073709551616", "-9223372036854775809"] {
        let text = single("uint256", json!("NUMBER"))
            .to_string()
            .replace("\"NUMBER\"", number);
        assert_refused(decode_text(&text), "typed_data.message.x", "decimal string");
    }
}

#[test]
fn untrusted_text_in_errors_is_escaped_and_cut() {
    let key = format!("\u{1b}[2J{}", "x".repeat(5000));
    let document = with_key(MAIL, "", &key, Some(json!(1)));
    let rejection = decode_value(&document).unwrap_err();
    assert!(rejection.field.len() < 200, "{}", rejection.field.len());
    assert!(!rejection.field.contains('\u{1b}'));
}
