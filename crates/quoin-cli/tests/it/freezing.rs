//! Freezes, as an operator lives them: a gateway that keeps everything to itself, what stops and what
//! goes on, and how many people it takes to lift it.

use crate::support::{Cluster, SINK};
use quoin_core::{Address, Amount, ChainId, Payload, Signed, TimeMs};
use serde_json::{Value, json};
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The chain of a dev cluster without a chain node.
const CHAIN: u64 = 31_337;

/// A complete transfer in a file, as a wallet would hand it over.
pub fn transfer(cluster: &Cluster, nonce: u64, to: &str, wei: u64) -> PathBuf {
    let path = cluster.folder().join(format!("transfer-{nonce}-{wei}.hex"));
    let unsigned = quoin_chain::encode_eip1559(&quoin_chain::Eip1559Fields {
        chain_id: CHAIN,
        nonce,
        max_fee_per_gas: 2_000_000_000,
        gas_limit: 21_000,
        to: Some(to.parse::<Address>().unwrap().to_evm().unwrap()),
        value: Amount::from(wei),
        ..Default::default()
    });
    std::fs::write(&path, format!("0x{}\n", hex::encode(unsigned))).unwrap();
    path
}

/// Asks for a signature of the transaction as alice; the exit code and what was said.
pub fn sign(cluster: &Cluster, file: &std::path::Path) -> (i32, String) {
    let file = file.to_str().unwrap();
    let ran = cluster.run(&[
        "sign",
        "--key",
        "desk-ecdsa",
        "--transaction",
        file,
        "--yes",
    ]);
    (ran.code, ran.stderr)
}

/// The desk's own rule for transfers.
pub const TRADERS_PAY: &str = "@id(\"traders-pay\")\npermit (principal in Role::\"trader\", \
     action == Action::\"transfer\", resource) when { context.amount_micro > 0 };\n";

/// Rewrites where the gateway is, as somebody who has taken it would.
fn gateway_at(cluster: &Cluster, address: &str) {
    let path = cluster.folder().join("cluster.json");
    let text = std::fs::read(&path).unwrap();
    let mut file: Value = serde_json::from_slice(&text).unwrap();
    file["gateway"] = json!(address);
    std::fs::write(path, file.to_string()).unwrap();
}

/// What each node would say to a readable text of alice.
async fn each_node_says(cluster: &Cluster) -> Vec<String> {
    let alice = cluster.caller("alice");
    let key = cluster.key("desk-ed25519");
    let payload = Payload::Text("what would you say?".to_owned());
    let mut stamp = alice.stamp(&key, ChainId::Quoin, &payload);
    // A question is stamped with a time that has passed, so that nobody can have it signed.
    stamp.not_after = TimeMs(stamp.not_after.0 - 11 * 60 * 1000);
    let stamp = Signed::sign(stamp, &alice.identity);
    let body = json!({
        "stamp": hex::encode(stamp.to_bytes()),
        "payload": hex::encode(quoin_core::cbor::encode(&payload)),
    });
    let url = format!("{}/v1/explain", alice.gateway);
    let sent = alice.http.post(url).json(&body).send().await.unwrap();
    let body: Value = sent.json().await.unwrap();
    let nodes = body["nodes"].as_array().unwrap_or_else(|| panic!("{body}"));
    let said = nodes.iter().map(|n| n["explanation"].to_string());
    said.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_freeze_reaches_every_node_within_a_second_though_the_gateway_keeps_everything() {
    let cluster = Cluster::start();
    cluster.add_rule(TRADERS_PAY);
    let own = cluster.key("desk-ecdsa").address;
    assert_eq!(sign(&cluster, &transfer(&cluster, 0, SINK, 1_000)).0, 0);

    what_is_signed_is_out(&cluster);

    // It takes connections and says nothing.
    let hole = TcpListener::bind("127.0.0.1:0").unwrap();
    let honest = cluster.gateway();
    gateway_at(&cluster, &format!("http://{}", hole.local_addr().unwrap()));
    let begun = Instant::now();
    let frozen = cluster.json(&["freeze", "--all", "--reason", "drill", "--as", "wendy"]);
    let whole = begun.elapsed();
    gateway_at(&cluster, &honest);
    assert_eq!(frozen["taken"], json!([1, 2, 3]), "{frozen}");
    for node in frozen["delivery"]["nodes"].as_array().unwrap() {
        assert_eq!(node["by"], "directly");
    }
    let took_ms = frozen["took_ms"].as_u64().unwrap();
    println!("frozen on three nodes after {took_ms} ms; the command took {whole:?}");
    assert!(took_ms < 1_000, "{frozen}");
    assert!(
        whole < Duration::from_secs(2),
        "it waits for no gateway: {whole:?}"
    );
    let says = each_node_says(&cluster).await;
    assert_eq!(says.len(), 3);
    assert!(
        says.iter().all(|s| s.contains("frozen by `wendy`")),
        "{says:?}"
    );

    let refused = sign(&cluster, &transfer(&cluster, 1, SINK, 1_000));
    assert_eq!(refused.0, 1, "{}", refused.1);
    assert!(refused.1.contains("frozen by `wendy`"), "{}", refused.1);
    let cancel = sign(&cluster, &transfer(&cluster, 1, &own, 0));
    assert_eq!(cancel.0, 0, "the corridor stays open: {}", cancel.1);

    lifting_takes_two_people(&cluster, frozen["freeze"].as_str().unwrap());
    assert_eq!(sign(&cluster, &transfer(&cluster, 2, SINK, 1_000)).0, 0);
    scopes_and_levels(&cluster, &own);
}

/// The transfer of nonce 0 has been signed, and no chain has seen it.
fn what_is_signed_is_out(cluster: &Cluster) {
    let out = cluster.json(&["outstanding"]);
    let signatures = out["signatures"].as_object().unwrap();
    assert_eq!(signatures.len(), 1, "{out}");
    let (id, known) = signatures.iter().next().unwrap();
    let closes = json!({ "type": "slot", "nonce": 0, "cancels": false });
    assert_eq!(known["signature"]["closes"], closes, "{out}");
    assert!(known["on"].as_array().unwrap().len() >= 2, "{out}");
    let nothing = "ff".repeat(16);
    let unknown = cluster.run(&["outstanding", "burn", &nothing, "--yes"]);
    assert_eq!(unknown.code, 2, "{}", unknown.stderr);
    assert!(
        unknown.stderr.contains("no node says"),
        "{}",
        unknown.stderr
    );
    if cluster.banner["chain_rpc"].is_null() {
        let burn = cluster.run(&["outstanding", "burn", id, "--yes"]);
        assert_eq!(burn.code, 2, "{}", burn.stderr);
        let why = "no chain node is known";
        assert!(
            burn.stderr.contains(why),
            "fees come from one: {}",
            burn.stderr
        );
    } else {
        let burn = cluster.json(&["outstanding", "burn", id, "--yes", "--no-broadcast"]);
        assert!(burn["raw"].as_str().unwrap().starts_with("0x02"), "{burn}");
    }
}

fn lifting_takes_two_people(cluster: &Cluster, freeze: &str) {
    let stranger = cluster.run(&["unfreeze", freeze, "--as", "carol"]);
    assert_eq!(stranger.code, 1, "{}", stranger.stderr);
    let asked = cluster.json(&["unfreeze", freeze, "--as", "alice"]);
    assert_eq!(asked["lifted"], false, "{asked}");
    let id = asked["request_id"].as_str().unwrap();
    let own = cluster.run(&["approve", id, "--as", "alice", "--json"]);
    assert!(!own.stdout.contains("\"lifted\": true"), "{}", own.stdout);
    assert_eq!(
        cluster.json(&["freezes"])["freezes"][0]["freeze"]["id"],
        freeze
    );
    let shown = cluster.run(&["approve", id, "--as", "bob", "--json"]);
    assert_eq!(shown.code, 0, "{}", shown.stderr);
    assert!(
        shown.stderr.contains(freeze),
        "what is approved is shown from its bytes: {}",
        shown.stderr
    );
    let lifted: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(
        lifted["statements"].as_array().unwrap().len(),
        3,
        "{lifted}"
    );
    assert_eq!(cluster.json(&["freezes"])["freezes"], json!([]));
}

fn scopes_and_levels(cluster: &Cluster, own: &str) {
    let nobody = cluster.run(&["freeze", "--all", "--reason", "x", "--as", "carol"]);
    assert_eq!(nobody.code, 1, "{}", nobody.stderr);
    let long = "x".repeat(201);
    let long = cluster.run(&["freeze", "--all", "--reason", &long, "--as", "wendy"]);
    assert_eq!(long.code, 1, "{}", long.stderr);

    let to = [
        "freeze",
        "--counterparty",
        "burn",
        "--reason",
        "x",
        "--as",
        "wendy",
    ];
    cluster.json(&to);
    let refused = sign(cluster, &transfer(cluster, 3, SINK, 5));
    assert_eq!(refused.0, 1, "a recipient is frozen: {}", refused.1);
    let other = "0x00000000000000000000000000000000000000aa";
    assert_eq!(sign(cluster, &transfer(cluster, 3, other, 5)).0, 0);

    let hard = [
        "freeze", "--agent", "alice", "--hard", "--reason", "x", "--as", "wendy",
    ];
    let hard = cluster.json(&hard);
    let cancel = sign(cluster, &transfer(cluster, 4, own, 0));
    assert_eq!(
        cancel.0, 1,
        "nothing is open to who is frozen: {}",
        cancel.1
    );

    // Whoever runs wild with freezes loses the right to them, and both end by that.
    let one = hard["freeze"].as_str().unwrap();
    let asked = cluster.json(&["unfreeze", one, "--suspend", "wendy", "--as", "bob"]);
    let id = asked["request_id"].as_str().unwrap();
    assert_eq!(
        cluster.json(&["approve", id, "--as", "alice"])["lifted"],
        true
    );
    assert_eq!(cluster.json(&["freezes"])["freezes"], json!([]));
    let again = cluster.run(&["freeze", "--all", "--reason", "x", "--as", "wendy"]);
    assert_eq!(again.code, 1, "{}", again.stderr);
    assert!(!again.stdout.contains("frozen on"), "{}", again.stdout);
}

#[test]
fn a_veto_ends_a_request_that_others_approve() {
    let cluster = Cluster::start();
    let vault = [
        "key",
        "create",
        "vault",
        "--scheme",
        "ecdsa",
        "--purpose",
        "treasury",
    ];
    cluster.json(&vault);
    let file = transfer(&cluster, 0, SINK, 1_000);
    let id = "0123456789abcdef0123456789abcdef";
    let ask = [
        "sign",
        "--key",
        "vault",
        "--transaction",
        file.to_str().unwrap(),
        "--yes",
    ];
    let ask = [&ask[..], &["--request-id", id]].concat();
    let waits = cluster.run(&ask);
    assert!(
        waits.stderr.contains("waits for approval"),
        "{}",
        waits.stderr
    );
    assert_eq!(
        cluster.json(&["approve", id, "--as", "bob"])["signed"],
        false
    );
    let vetoed = cluster.json(&["veto", id, "--as", "wendy"]);
    assert_eq!(vetoed["taken"], json!([1, 2, 3]), "{vetoed}");
    let late = cluster.run(&["approve", id, "--as", "carol"]);
    assert_eq!(late.code, 1, "{}", late.stderr);
    assert!(late.stderr.contains("has vetoed"), "{}", late.stderr);
    std::thread::sleep(Duration::from_millis(200));
    let asked = cluster.run(&ask);
    assert_eq!(asked.code, 1, "for ever: {}", asked.stderr);
}
