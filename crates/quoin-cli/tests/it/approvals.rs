//! Money of the treasury: a request waits until two people have read and approved it.

use crate::support::{Cluster, SINK, records};
use quoin_node::core::Record;
use quoin_protocol::Binding;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

#[test]
fn a_treasury_transfer_waits_for_two_approvals_of_people_who_did_not_ask() {
    let cluster = Cluster::start();
    let vault = cluster.json(&[
        "key",
        "create",
        "vault",
        "--scheme",
        "ecdsa",
        "--purpose",
        "treasury",
    ]);
    assert_eq!(vault["purpose"], "treasury");
    let address = vault["addresses"][0]["address"].as_str().unwrap();
    let transaction = unsigned_transfer(&cluster);
    let id = "00112233445566778899aabbccddeeff";
    let file = transaction.to_str().unwrap();
    let sign = [
        "sign",
        "--key",
        "vault",
        "--transaction",
        file,
        "--request-id",
        id,
    ];
    let waits = cluster.run(&sign);
    assert_eq!(waits.code, 1, "{}", waits.stderr);
    assert!(waits.stderr.contains("2 of `treasury`") || waits.stderr.contains("treasury"));

    let own = cluster.run(&["approve", id, "--as", "alice"]);
    let unmet = "alice asked for it and is not of the treasury, so her approval counts nothing";
    assert!(
        own.stdout.contains("missing") || own.code != 0,
        "{unmet}: {}",
        own.stdout
    );
    let first = cluster.json(&["approve", id, "--as", "bob"]);
    assert_eq!(first["signed"], false, "{first}");
    let twice = cluster.json(&["approve", id, "--as", "bob"]);
    assert_eq!(twice["signed"], false, "{twice}");
    let second = cluster.json(&["approve", id, "--as", "carol"]);
    assert_eq!(second["signed"], true, "{second}");
    assert_eq!(
        second["approved"], first["approved"],
        "both approved the same intent"
    );
    assert!(
        second["raw"].as_str().unwrap().starts_with("0x02"),
        "{second}"
    );
    assert!(address.starts_with("0x"));
    let nothing = cluster.run(&["approve", id, "--as", "carol"]);
    assert_eq!(
        nothing.code, 2,
        "what is signed waits for nobody: {}",
        nothing.stderr
    );
    let charter = cluster.json(&["charter", "show"]);
    assert_eq!(charter["governor_quorum"], json!(2));
    one_governor_is_not_enough(&cluster);
    every_signer_has_bound_what_it_signed(&cluster, &vault);
    treasury_keys_of_every_scheme_sign(&cluster);
}

/// To what a node has bound presignatures of a key.
fn bindings(cluster: &Cluster, node: u8, key: &Value) -> Vec<Binding> {
    let all = records(cluster.folder(), node).into_iter();
    let all = all.filter_map(|record| match record {
        Record::Decision(decision) => decision.binding,
        Record::Consumed(consumed) => consumed.binding,
        _ => None,
    });
    let key = key["key"].as_str().unwrap();
    all.filter(|b| b.key.to_string() == key).collect()
}

/// The signers' journals say the same of the same presignature.
fn every_signer_has_bound_what_it_signed(cluster: &Cluster, key: &Value) {
    let bound: Vec<Vec<Binding>> = (1..=3).map(|n| bindings(cluster, n, key)).collect();
    let mut by_id: BTreeMap<_, Vec<&Binding>> = BTreeMap::new();
    for binding in bound.iter().flatten() {
        by_id.entry(binding.presignature).or_default().push(binding);
    }
    for same in by_id.values() {
        assert!(same.iter().all(|b| *b == same[0] && b.boots.len() == 2));
    }
    // A signer that opened alone has burnt the presignature; both have opened those that signed.
    assert!(by_id.values().any(|same| same.len() == 2), "{bound:?}");
}

/// The command verifies each signature under the account's key.
fn treasury_keys_of_every_scheme_sign(cluster: &Cluster) {
    let signs = |key: &str, path: &str| {
        let args = [
            "sign", "--key", key, "--path", path, "--text", "hello", "--yes",
        ];
        let signed = cluster.json(&args);
        let shown = signed["account"]["path"].as_str().unwrap_or("m");
        assert_eq!(shown, path, "{signed}");
    };
    signs("vault", "m/0/1");
    for scheme in ["ed25519", "taproot"] {
        let name = format!("cold-{scheme}");
        let args = ["--scheme", scheme, "--purpose", "treasury"];
        let key = cluster.json(&[&["key", "create", &name], &args[..]].concat());
        signs(&name, "m");
        signs(&name, "m/3");
        every_signer_has_bound_what_it_signed(cluster, &key);
    }
}

fn one_governor_is_not_enough(cluster: &Cluster) {
    let rule = cluster.folder().join("all.cedar");
    std::fs::write(
        &rule,
        "@id(\"all\")\npermit(principal, action, resource);\n",
    )
    .unwrap();
    let file = rule.to_str().unwrap();
    let apply = ["charter", "apply", "--add-rule", file, "--yes", "--as"];
    let alone = cluster.run(&[&apply[..], &["alice"]].concat());
    assert_eq!(alone.code, 2, "{}", alone.stderr);
    assert!(alone.stderr.contains("governor"), "{}", alone.stderr);
    std::fs::write(
        &rule,
        "@id(\"bad\")\npermit(principal, action, resource) when { 1 };\n",
    )
    .unwrap();
    let broken = cluster.run(&[&apply[..], &["alice,bob"]].concat());
    assert_eq!(broken.code, 2, "{}", broken.stderr);
    assert_eq!(
        cluster.json(&["charter", "show"])["number"],
        0,
        "nothing came into force"
    );
}

/// A complete transfer in a file, as a wallet would hand it over.
fn unsigned_transfer(cluster: &Cluster) -> PathBuf {
    let transaction = cluster.folder().join("transaction.hex");
    let unsigned = quoin_chain::encode_eip1559(&quoin_chain::Eip1559Fields {
        chain_id: 31_337,
        max_fee_per_gas: 2_000_000_000,
        gas_limit: 21_000,
        to: Some(
            SINK.parse::<quoin_core::Address>()
                .unwrap()
                .to_evm()
                .unwrap(),
        ),
        value: quoin_core::Amount::from(1_000_000u64),
        ..Default::default()
    });
    std::fs::write(&transaction, format!("0x{}\n", hex::encode(unsigned))).unwrap();
    transaction
}
