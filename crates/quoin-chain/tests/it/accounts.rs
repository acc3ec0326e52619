//! Which accounts and schemes each payload can be decoded for; texts and key creation.

#[cfg(feature = "model")]
use crate::decode_evm;
use crate::{account, action, assert_refused, prehash, quoin_account};
use quoin_chain::{Digest, TEXT_BYTES_MAX, decode};
use quoin_core::intent::{Action, Address, ChainId, Horizon, RiskEffect};
use quoin_core::payload::CreateKey;
use quoin_core::stamp::{Account, Purpose, Scheme};
use quoin_core::{Payload, hash, tags};

fn text(text: &str) -> Payload {
    Payload::Text(text.to_owned())
}

fn create_key(scheme: Scheme) -> Payload {
    Payload::CreateKey(CreateKey {
        name: "desk-1".parse().unwrap(),
        scheme,
        purpose: Purpose::Trading,
    })
}

fn evm_payloads() -> [Payload; 3] {
    [
        Payload::EvmTransaction(vec![2]),
        Payload::EvmTypedData(b"{}".to_vec()),
        Payload::EvmMessage(b"hello".to_vec()),
    ]
}

#[test]
fn evm_payloads_need_an_ecdsa_key() {
    for payload in evm_payloads() {
        for scheme in [Scheme::Taproot, Scheme::Ed25519] {
            let result = decode(&payload, &account(1, 0x11), scheme);
            assert_refused(result, "scheme", "ECDSA only");
        }
    }
}

#[test]
fn evm_payloads_need_an_evm_account() {
    for payload in evm_payloads() {
        let result = decode(&payload, &quoin_account(), Scheme::Ecdsa);
        assert_refused(result, "account.chain", "expected an EVM chain");
        let elsewhere = Account {
            chain: ChainId::Evm(1),
            address: "bc1qsomewhere".parse::<Address>().unwrap(),
            path: quoin_core::DerivationPath::ROOT,
        };
        let result = decode(&payload, &elsewhere, Scheme::Ecdsa);
        assert_refused(result, "account.address", "expected an EVM address");
    }
}

#[test]
fn requests_about_quoin_itself_have_no_derived_account() {
    use quoin_core::payload::{ChangeKey, ChangeNode, KeyChange, NodeChange};
    use quoin_core::{KeyId, NodeIndex};
    let about_quoin = [
        create_key(Scheme::Ecdsa),
        Payload::ChangeKey(ChangeKey {
            key: KeyId([4; 16]),
            change: KeyChange::Suspend,
        }),
        Payload::ChangeNode(ChangeNode {
            node: NodeIndex::new(1).unwrap(),
            change: NodeChange::Pardon,
        }),
    ];
    let derived = Account {
        path: "m/0/5".parse().unwrap(),
        ..quoin_account()
    };
    for payload in about_quoin {
        assert!(decode(&payload, &quoin_account(), Scheme::Ecdsa).is_ok());
        let result = decode(&payload, &derived, Scheme::Ecdsa);
        assert_refused(result, "account.path", "no derived accounts");
    }
    assert!(decode(&text("hello"), &derived, Scheme::Ecdsa).is_ok());
}

#[cfg(not(feature = "model"))]
#[test]
fn the_model_scheme_is_refused_outside_the_simulator() {
    for payload in evm_payloads() {
        let result = decode(&payload, &account(1, 0x11), Scheme::Model);
        assert_refused(result, "scheme", "simulator");
    }
    let result = decode(&text("hi"), &quoin_account(), Scheme::Model);
    assert_refused(result, "scheme", "simulator");
    let result = decode(&create_key(Scheme::Model), &quoin_account(), Scheme::Ecdsa);
    assert_refused(result, "create_key.scheme", "simulator");
    assert!(quoin_chain::addresses(Scheme::Model, &[1; 33], &[1]).is_err());
}

#[cfg(feature = "model")]
#[test]
fn the_model_scheme_is_accepted_in_the_simulator() {
    let message = Payload::EvmMessage(b"hello".to_vec());
    let model = decode(&message, &account(1, 0x11), Scheme::Model).unwrap();
    assert_eq!(
        model.digest(),
        decode_evm(&message).unwrap().digest(),
        "the model signs what ECDSA would"
    );
    decode(&text("hi"), &quoin_account(), Scheme::Model).unwrap();
    decode(&create_key(Scheme::Model), &quoin_account(), Scheme::Model).unwrap();
    let found = quoin_chain::addresses(Scheme::Model, &[1; 33], &[1]).unwrap();
    assert_eq!(found.len(), 1);
}

#[test]
fn texts_belong_to_no_chain() {
    let result = decode(&text("hi"), &account(1, 0x11), Scheme::Ecdsa);
    assert_refused(result, "account.chain", "belongs to no chain");
}

#[test]
fn a_text_is_hashed_under_the_tag_with_version_and_scheme() {
    for (scheme, byte) in [(Scheme::Ecdsa, 0), (Scheme::Taproot, 1)] {
        let decoded = decode(&text("pay nobody"), &quoin_account(), scheme).unwrap();
        let expected = hash::tagged(tags::MESSAGE, &[&[1], &[byte], b"pay nobody"]);
        assert_eq!(decoded.digest(), &Digest::Prehash(expected));
        assert_eq!(decoded.scheme(), scheme);
        assert_eq!(decoded.intent().risk, RiskEffect::Neutral);
        assert_eq!(decoded.intent().horizon, Horizon::Unbounded);
        assert_eq!(decoded.intent().chain, ChainId::Quoin);
        assert_eq!(
            action(&decoded),
            &Action::Message {
                bytes: 10,
                readable: true
            }
        );
    }
}

#[test]
fn the_hash_of_a_text_is_golden() {
    // SHA-256(T || T || 8-byte length and bytes of 0x01, of the scheme, and of the text), with T
    // the SHA-256 of `quoin/message/v1`; computed with Python's hashlib.
    for (scheme, golden) in [
        (
            Scheme::Ecdsa,
            "2ea8ead3eb334869ece50e3502b37c39ef671d12483f18dab28e2fecca3a7184",
        ),
        (
            Scheme::Taproot,
            "1feaa5f2aa0833da4e2c82e6e0dbb878bfe68fae85a50461a48d9216fc15b1f7",
        ),
    ] {
        let decoded = decode(&text("pay nobody"), &quoin_account(), scheme).unwrap();
        assert_eq!(prehash(&decoded), golden);
    }
}

#[test]
fn an_ed25519_text_can_be_no_solana_message() {
    let decoded = decode(&text("pay nobody"), &quoin_account(), Scheme::Ed25519).unwrap();
    let expected = b"\xffquoin/message/v1\x01pay nobody".to_vec();
    assert_eq!(decoded.digest(), &Digest::Message(expected));
}

#[test]
fn texts_over_the_limit_are_refused() {
    let longest = text(&"x".repeat(TEXT_BYTES_MAX));
    decode(&longest, &quoin_account(), Scheme::Ecdsa).unwrap();
    let longer = text(&"x".repeat(TEXT_BYTES_MAX + 1));
    let result = decode(&longer, &quoin_account(), Scheme::Ecdsa);
    assert_refused(result, "text", "over the limit");
}

#[test]
fn texts_with_hidden_characters_are_refused() {
    decode(&text("two\nlines\tß"), &quoin_account(), Scheme::Ecdsa).unwrap();
    for bad in [
        "\u{0}",
        "a\rb",
        "\u{1b}[2J",
        "\u{202e}01 yap",
        "a\u{200b}b",
        "\u{85}",
    ] {
        let result = decode(&text(bad), &quoin_account(), Scheme::Ecdsa);
        assert_refused(result, "text", "cannot be seen");
    }
}

#[test]
fn key_creation_signs_nothing_and_says_what_is_made() {
    let payload = create_key(Scheme::Taproot);
    let decoded = decode(&payload, &quoin_account(), Scheme::Ecdsa).unwrap();
    assert_eq!(decoded.digest(), &Digest::Ceremony);
    assert_eq!(decoded.scheme(), Scheme::Taproot);
    assert_eq!(decoded.payload_hash(), payload.hash());
    assert_eq!(decoded.account(), &quoin_account());
    assert_eq!(decoded.intent().risk, RiskEffect::Neutral);
    assert_eq!(
        action(&decoded),
        &Action::CreateKey {
            name: "desk-1".parse().unwrap(),
            scheme: Scheme::Taproot,
            purpose: Purpose::Trading,
        }
    );
}

#[test]
fn key_creation_belongs_to_no_chain() {
    let result = decode(&create_key(Scheme::Ecdsa), &account(1, 1), Scheme::Ecdsa);
    assert_refused(result, "account.chain", "belongs to no chain");
}
