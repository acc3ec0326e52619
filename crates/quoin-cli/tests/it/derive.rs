//! Derived accounts on a running cluster: shown, refused until a rule names them, signed for, and
//! never mistaken for another account of the same key.

use crate::support::{Caller, Cluster, Key};
use bitcoin::bip32::{ChildNumber, Xpub};
use quoin_chain::address::evm_address;
use quoin_chain::{Eip1559Fields, encode_eip1559};
use quoin_core::{Amount, ChainId, DerivationPath, Payload};
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
use serde_json::Value;

const CHAIN: u64 = 31_337;

#[tokio::test(flavor = "multi_thread")]
async fn a_derived_account_is_judged_and_signed_for_as_itself() {
    let cluster = Cluster::start();
    let alice = cluster.caller("alice");
    let shown = accounts_agree_with_an_independent_library(&cluster);
    hardened_paths_are_refused_with_the_way_to_write_them(&cluster);
    the_keys_own_rule_does_not_cover_a_child(&cluster, &shown);
    the_child_signs_once_a_rule_names_it(&cluster, &shown);
    an_account_with_the_path_of_another_is_refused(&cluster, &alice, &shown).await;
    every_scheme_signs_for_children(&cluster);
}

fn derive(cluster: &Cluster, key: &str, path: &str) -> Value {
    cluster.json(&["key", "derive", key, "--path", path])
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap()
}

fn address(shown: &Value) -> &str {
    text(&shown["addresses"][0], "address")
}

/// rust-bitcoin is given the key's xpub alone, as a wallet would be.
fn accounts_agree_with_an_independent_library(cluster: &Cluster) -> Value {
    let secp = bitcoin::secp256k1::Secp256k1::verification_only();
    for key in ["desk-ecdsa", "desk-taproot"] {
        for (path, below) in [
            ("m", &[][..]),
            ("m/0/5", &[0, 5]),
            ("m/2147483647", &[2_147_483_647]),
        ] {
            let shown = derive(cluster, key, path);
            let theirs: Xpub = text(&shown, "key_xpub").parse().unwrap();
            let below: Vec<_> = below.iter().map(|i| ChildNumber::from(*i)).collect();
            let theirs = theirs.derive_pub(&secp, &below).unwrap();
            assert_eq!(text(&shown, "xpub"), theirs.to_string());
            let expected = match key {
                "desk-ecdsa" => evm_address(&theirs.public_key.serialize())
                    .unwrap()
                    .to_string(),
                _ => bitcoin::Address::p2tr(
                    &secp,
                    theirs.to_x_only_pub(),
                    None,
                    bitcoin::Network::Bitcoin,
                )
                .to_string(),
            };
            assert_eq!(address(&shown), expected);
        }
    }
    assert_eq!(
        address(&derive(cluster, "desk-ecdsa", "m")),
        cluster.key("desk-ecdsa").address
    );
    derive(cluster, "desk-ecdsa", "m/0/5")
}

fn hardened_paths_are_refused_with_the_way_to_write_them(cluster: &Cluster) {
    let refused = cluster.run(&["key", "derive", "desk-ecdsa", "--path", "m/44'/60'/0'/0/5"]);
    assert_eq!(refused.code, 2, "{}", refused.stdout);
    assert!(
        refused.stderr.contains("m/44'/coin'/account'"),
        "{}",
        refused.stderr
    );
}

fn transaction(nonce: u64) -> Vec<u8> {
    encode_eip1559(&Eip1559Fields {
        chain_id: CHAIN,
        nonce,
        max_fee_per_gas: 1,
        gas_limit: 21_000,
        to: Some([0xde; 20]),
        value: Amount::from(1u64),
        ..Eip1559Fields::default()
    })
}

/// `quoin sign` of a transaction by the child at `m/0/5`.
fn sign(cluster: &Cluster, nonce: u64) -> crate::support::Ran {
    let file = cluster.folder().join("transaction.hex");
    std::fs::write(&file, hex::encode(transaction(nonce))).unwrap();
    let file = file.to_str().unwrap();
    let args = [
        "sign",
        "--key",
        "desk-ecdsa",
        "--path",
        "m/0/5",
        "--yes",
        "--json",
    ];
    cluster.run(&[&args[..], &["--transaction", file]].concat())
}

fn permit(id: &str, address: &str) -> String {
    format!(
        "@id(\"{id}\")\npermit (principal in Role::\"trader\", action == Action::\"transfer\", \
         resource == Account::\"eip155:{CHAIN}/{address}\");\n"
    )
}

fn the_keys_own_rule_does_not_cover_a_child(cluster: &Cluster, shown: &Value) {
    cluster.add_rule(&permit("own-address", &cluster.key("desk-ecdsa").address));
    let refused = sign(cluster, 0);
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    let account = format!("eip155:{CHAIN}/{}", address(shown));
    assert!(refused.stderr.contains(&account), "{}", refused.stderr);
}

fn the_child_signs_once_a_rule_names_it(cluster: &Cluster, shown: &Value) {
    cluster.add_rule(&permit("child", address(shown)));
    let ran = sign(cluster, 0);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let signed: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(text(&signed["account"], "path"), "m/0/5");
    // Whom the chain will take for the sender: the key that the signature leads to.
    let digest = alloy_primitives::keccak256(transaction(0)).0;
    let signature = hex::decode(text(&signed, "signature")).unwrap();
    let id = i32::try_from(signed["recovery_id"].as_i64().unwrap()).unwrap();
    let id = RecoveryId::try_from(id).unwrap();
    let signature = RecoverableSignature::from_compact(&signature, id).unwrap();
    let message = secp256k1::Message::from_digest(digest);
    let secp = secp256k1::Secp256k1::verification_only();
    let sender = secp.recover_ecdsa(message, &signature).unwrap().serialize();
    assert_eq!(hex::encode(sender), text(shown, "public_key"));
    assert_eq!(evm_address(&sender).unwrap().as_str(), address(shown));
}

/// What may not be signed: an address with a path that does not lead to it. Were it signed, the
/// signature would be of an account that no rule was asked about.
async fn an_account_with_the_path_of_another_is_refused(
    cluster: &Cluster,
    alice: &Caller,
    shown: &Value,
) {
    let key = cluster.key("desk-ecdsa");
    let child = Key {
        address: address(shown).to_owned(),
        ..key.clone()
    };
    for (i, (account, path, fits)) in [
        (&child, "m/0/5", true),
        (&child, "m/0/6", false),
        (&child, "m/5/0", false),
        (&child, "m", false),
        (&key, "m/0/5", false),
        (&key, "m", true),
    ]
    .into_iter()
    .enumerate()
    {
        let payload = Payload::EvmTransaction(transaction(100 + i as u64));
        let mut stamp = alice.stamp(account, ChainId::Evm(CHAIN), &payload);
        stamp.account.path = path.parse::<DerivationPath>().unwrap();
        let signed = quoin_core::Signed::sign(stamp, &alice.identity);
        let reply = alice.insist(&signed, &payload).await;
        assert_eq!(reply.is_signed(), fits, "{path}: {reply:?}");
        if !fits {
            assert_eq!(reply.status, 400, "{path}: {reply:?}");
            assert!(reply.field().contains("account"), "{path}: {reply:?}");
        }
    }
}

/// Texts that people can read are permitted to all accounts; the command verifies the signature
/// under the child's key.
fn every_scheme_signs_for_children(cluster: &Cluster) {
    for key in ["desk-ecdsa", "desk-taproot", "desk-ed25519"] {
        let args = [
            "sign", "--key", key, "--path", "m/0/1", "--text", "hello", "--yes",
        ];
        let signed = cluster.json(&args);
        assert_eq!(text(&signed["account"], "path"), "m/0/1");
        assert_eq!(
            text(&signed["account"], "address"),
            address(&derive(cluster, key, "m/0/1"))
        );
    }
}
