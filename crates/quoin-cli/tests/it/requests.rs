//! Requests as programs send them: the good ones, and every way to send a bad one.

use crate::support::{Caller, Cluster, Key, Reply, now, request_id};
use quoin_chain::{Eip1559Fields, encode_eip1559};
use quoin_core::{Amount, ChainId, ClusterId, Payload, Signed, SigningIdentity};
use rand_core::OsRng;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_answered_once_and_bad_ones_are_refused_with_the_field() {
    let mut cluster = Cluster::start();
    let alice = cluster.caller("alice");
    let (text_key, evm_key) = (cluster.key("desk-ed25519"), cluster.key("desk-ecdsa"));
    one_id_has_one_answer(&alice, &text_key).await;
    spoiled_stamps_are_refused(&cluster, &alice, &text_key).await;
    spoiled_bodies_are_refused(&alice).await;
    payloads_that_cannot_be_explained_are_refused(&alice, &evm_key).await;
    strangers_are_refused(&alice).await;
    commands_work_as_people_use_them(&cluster);
    a_key_lives_and_dies(&cluster);
    nodes_are_pardoned_and_readmitted(&cluster);
    let reply = alice.sign_text(&text_key, "and the cluster lives").await;
    assert!(reply.is_signed(), "{reply:?}");
    second_start_continues(&mut cluster).await;
}

async fn one_id_has_one_answer(alice: &Caller, key: &Key) {
    let payload = Payload::Text("once".to_owned());
    let stamp = alice.stamp(key, ChainId::Quoin, &payload);
    let id = stamp.request_id;
    let signed = Signed::sign(stamp, &alice.identity);
    let first = alice.insist(&signed, &payload).await;
    assert!(first.is_signed(), "{first:?}");
    let second = alice.post_signed(&signed, &payload).await;
    assert_eq!(first.body["signature"], second.body["signature"]);
    let other = Payload::Text("twice".to_owned());
    let mut stamp = alice.stamp(key, ChainId::Quoin, &other);
    stamp.request_id = id;
    let conflict = alice.post(stamp, &other).await;
    assert_eq!(conflict.status, 409, "{conflict:?}");
    assert_eq!(conflict.body["error"]["class"], "conflict");
    let asked = alice
        .http
        .get(format!("{}/v1/requests/{id}", alice.gateway))
        .send()
        .await;
    let asked: serde_json::Value = asked.unwrap().json().await.unwrap();
    assert_eq!(asked["signature"], first.body["signature"]);
}

async fn spoiled_stamps_are_refused(cluster: &Cluster, alice: &Caller, key: &Key) {
    let payload = Payload::Text("spoiled".to_owned());
    let good = || alice.stamp(key, ChainId::Quoin, &payload);
    let refused = |reply: &Reply, field: &str| {
        assert_eq!(reply.status, 400, "{reply:?}");
        assert!(reply.field().contains(field), "{field}: {reply:?}");
    };
    let mut expired = good();
    expired.not_after = now();
    refused(&alice.post(expired, &payload).await, "not_after");
    let mut elsewhere = good();
    elsewhere.cluster = ClusterId([7; 32]);
    refused(&alice.post(elsewhere, &payload).await, "cluster");
    let mut unknown = good();
    unknown.principal = "mallory".parse().unwrap();
    refused(&alice.post(unknown, &payload).await, "credential");
    let mut somebody = good();
    somebody.principal = "bob".parse().unwrap();
    refused(&alice.post(somebody, &payload).await, "credential");
    let stranger = SigningIdentity::generate(&mut OsRng);
    let forged = Signed::sign(good(), &stranger);
    refused(&alice.post_signed(&forged, &payload).await, "stamp");
    let mut other_key = good();
    other_key.account.address = cluster.key("desk-ecdsa").address.parse().unwrap();
    refused(&alice.post(other_key, &payload).await, "account");
    let mut treasury = good();
    treasury.purpose = quoin_core::Purpose::Treasury;
    refused(&alice.post(treasury, &payload).await, "purpose");
    let mut future = good();
    future.charter_number_floor = quoin_core::CharterNumber(0);
    future.charter_hash_floor = quoin_core::CharterHash([9; 32]);
    refused(&alice.post(future, &payload).await, "charter");
    let mut bits = Signed::sign(good(), &alice.identity).to_bytes();
    let middle = bits.len() / 2;
    bits[middle] ^= 1;
    let body = json!({
        "stamp": hex::encode(&bits),
        "payload": hex::encode(quoin_core::cbor::encode(&payload)),
    });
    let reply = alice.post_body("application/json", body.to_string()).await;
    assert_eq!(reply.status, 400, "{reply:?}");
}

async fn spoiled_bodies_are_refused(alice: &Caller) {
    let json = "application/json";
    let long = json!({ "stamp": "00".repeat(400 * 1024), "payload": "00" }).to_string();
    assert_eq!(alice.post_body(json, long).await.status, 413);
    let unknown = json!({ "stamp": "00", "payload": "00", "urgent": true }).to_string();
    let reply = alice.post_body(json, unknown).await;
    assert_eq!(reply.status, 400);
    assert!(reply.message().contains("urgent"), "{reply:?}");
    for body in [
        "",
        "{",
        "[]",
        "{\"stamp\":\"zz\",\"payload\":\"00\"}",
        "{\"stamp\":\"00\"}",
    ] {
        assert_eq!(
            alice.post_body(json, body.to_owned()).await.status,
            400,
            "{body}"
        );
    }
    let good_form = json!({ "stamp": "00", "payload": "00" }).to_string();
    assert_eq!(alice.post_body("text/plain", good_form).await.status, 415);
}

async fn payloads_that_cannot_be_explained_are_refused(alice: &Caller, key: &Key) {
    let chain = ChainId::Evm(31_337);
    let fields = Eip1559Fields {
        chain_id: 31_337,
        max_fee_per_gas: 1,
        gas_limit: 21_000,
        to: Some([1; 20]),
        value: Amount::from(1u64),
        ..Eip1559Fields::default()
    };
    let ask = async |payload: Payload| {
        let stamp = alice.stamp(key, chain.clone(), &payload);
        alice.post(stamp, &payload).await
    };
    let mut cut = encode_eip1559(&fields);
    cut.pop();
    let malformed = ask(Payload::EvmTransaction(cut)).await;
    assert_eq!(malformed.status, 400, "{malformed:?}");
    let other_chain = Eip1559Fields {
        chain_id: 1,
        ..fields.clone()
    };
    let wrong = ask(Payload::EvmTransaction(encode_eip1559(&other_chain))).await;
    assert_eq!(wrong.status, 400, "{wrong:?}");
    assert!(wrong.field().contains("chain"), "{wrong:?}");
    let huge = Eip1559Fields {
        value: Amount::MAX,
        ..fields
    };
    let over = ask(Payload::EvmTransaction(encode_eip1559(&huge))).await;
    assert!(matches!(over.status, 400 | 403), "{over:?}");
    assert!(
        over.message().contains("amount_micro") || over.field().contains("value"),
        "{over:?}"
    );
    let negative = json!({
        "types": { "EIP712Domain": [{ "name": "name", "type": "string" },
                                    { "name": "chainId", "type": "uint256" }],
                   "Pay": [{ "name": "amount", "type": "uint256" }] },
        "primaryType": "Pay", "domain": { "name": "x", "chainId": 31_337 }, "message": { "amount": "-1" },
    });
    let reply = ask(Payload::EvmTypedData(negative.to_string().into_bytes())).await;
    assert_eq!(reply.status, 400, "{reply:?}");
    assert!(reply.field().contains("amount"), "{reply:?}");
}

/// What is not of this machine, or comes through a web page, is turned away.
async fn strangers_are_refused(alice: &Caller) {
    let url = format!("{}/v1/keys", alice.gateway);
    let get = |header: &'static str, value: &'static str| {
        alice.http.get(&url).header(header, value).send()
    };
    assert_eq!(get("host", "evil.example").await.unwrap().status(), 403);
    assert_eq!(
        get("origin", "https://evil.example")
            .await
            .unwrap()
            .status(),
        403
    );
    let ready = alice
        .http
        .get(format!("{}/readyz", alice.gateway))
        .send()
        .await
        .unwrap();
    assert_eq!(ready.status(), 200);
}

fn commands_work_as_people_use_them(cluster: &Cluster) {
    let keys = cluster.json(&["key", "list"]);
    assert_eq!(keys.as_array().unwrap().len(), 3);
    let made = cluster.json(&[
        "key",
        "create",
        "extra",
        "--scheme",
        "taproot",
        "--purpose",
        "trading",
    ]);
    assert_eq!(made["certified_by"], json!([1, 2, 3]));
    assert_eq!(
        cluster.json(&["key", "show", "extra"])["public_key"],
        made["public_key"]
    );
    let again = cluster.run(&[
        "key",
        "create",
        "extra",
        "--scheme",
        "ecdsa",
        "--purpose",
        "agent",
    ]);
    assert_eq!(again.code, 2, "{}", again.stderr);
    assert!(again.stderr.contains("exists"), "{}", again.stderr);
    let id = request_id().to_string();
    let sign = [
        "sign",
        "--key",
        "extra",
        "--text",
        "hello",
        "--request-id",
        &id,
    ];
    let first = cluster.json(&sign);
    assert_eq!(first["signature"].as_str().unwrap().len(), 128);
    assert_eq!(first["rules"], json!(["readable-texts"]));
    let message = cluster.json(&["sign", "--key", "desk-ecdsa", "--message", "hello"]);
    assert_eq!(message["signature"].as_str().unwrap().len(), 132);
    let denied = ["sign", "--key", "desk-ecdsa", "--typed-data", "-"];
    assert_eq!(
        cluster.run(&denied).code,
        2,
        "empty typed data is an error, not a refusal"
    );
    let nobody = cluster.run(&["sign", "--key", "extra", "--text", "x", "--as", "nobody"]);
    assert_eq!(nobody.code, 2);
    let charter = cluster.json(&["charter", "show"]);
    assert_eq!(charter["number"], 0);
}

/// Every change of a key, on nodes that run: what each node states is verified by the command.
fn a_key_lives_and_dies(cluster: &Cluster) {
    let create = ["key", "create", "brief", "--scheme", "ed25519"];
    let made = cluster.json(&[&create[..], &["--purpose", "trading"]].concat());
    let sign = ["sign", "--key", "brief", "--text", "hello"];
    let change = |what: &str| cluster.json(&["key", what, "brief"]);
    let refused = |args: &[&str], code: i32, word: &str| {
        let ran = cluster.run(args);
        assert_eq!(ran.code, code, "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(word), "{args:?}: {}", ran.stderr);
    };
    cluster.json(&sign);

    let refreshed = change("refresh");
    assert_eq!(
        (&refreshed["epoch"], &refreshed["public_key"]),
        (&json!(1), &made["public_key"])
    );
    cluster.json(&sign);
    let reshared = cluster.json(&["key", "reshare", "brief", "--dealer", "2", "--dealer", "3"]);
    assert_eq!(
        (&reshared["epoch"], &reshared["public_key"]),
        (&json!(2), &made["public_key"])
    );
    cluster.json(&sign);

    refused(
        &["key", "suspend", "brief", "--as", "carol"],
        1,
        "no policy permits",
    );
    let suspended = change("suspend");
    assert_eq!(suspended["state"], "suspended");
    assert_eq!(suspended["statements"].as_array().unwrap().len(), 3);
    assert_eq!(suspended["missing"], json!([]));
    refused(&sign, 2, "suspended");
    assert_eq!(change("resume")["state"], "active");
    cluster.json(&sign);

    refused(&["key", "destroy", "brief"], 2, "active");
    assert_eq!(change("retire")["state"], "deactivated");
    refused(&sign, 2, "deactivated");
    refused(&["key", "resume", "brief"], 2, "deactivated");
    let destroyed = change("destroy");
    for node in destroyed["statements"].as_array().unwrap() {
        assert_eq!(node["erased"], json!(["0-2"]), "{node}");
        // A dev cluster has officers: every epoch was sealed to them, and their files are left.
        assert_eq!(node["backups"], json!(["0-2"]), "{node}");
    }
    let id = destroyed["request_id"].as_str().unwrap();
    let again = cluster.json(&["key", "destroy", "brief", "--request-id", id]);
    assert_eq!(again["statements"], destroyed["statements"]);
    refused(&sign, 2, "destroyed");
    let shown = cluster.run(&["key", "show", "brief"]);
    assert!(shown.stdout.contains("destroyed"), "{}", shown.stdout);
    assert_eq!(
        cluster.json(&["key", "show", "brief"])["state"],
        "destroyed"
    );
}

fn nodes_are_pardoned_and_readmitted(cluster: &Cluster) {
    for what in ["pardon", "readmit"] {
        let done = cluster.json(&["node", what, "2"]);
        assert_eq!(done["statements"].as_array().unwrap().len(), 3, "{done}");
        let denied = cluster.run(&["node", what, "2", "--as", "carol"]);
        assert_eq!(denied.code, 1, "{}", denied.stderr);
    }
    let unknown = cluster.run(&["node", "pardon", "9"]);
    assert_eq!(unknown.code, 2, "{}", unknown.stderr);
}

/// How many sealed shares of a key a node that has ended keeps on its disk.
fn shares_on_disk(cluster: &Cluster, node: u8, key: &str) -> i64 {
    let path = cluster.folder().join(format!("node-{node}"));
    let journal = rusqlite::Connection::open(path.join(quoin_node::run::JOURNAL_FILE)).unwrap();
    let sql = "SELECT count(*) FROM state WHERE name LIKE ?1";
    let label = format!("share/{key}/%");
    journal.query_row(sql, [label], |row| row.get(0)).unwrap()
}

async fn second_start_continues(cluster: &mut Cluster) {
    let before = cluster.banner.clone();
    let destroyed = cluster.json(&["key", "show", "brief"]);
    cluster.stop();
    for node in 1..=3 {
        let kept = shares_on_disk(cluster, node, destroyed["key"].as_str().unwrap());
        assert_eq!(kept, 0, "node {node}");
    }
    cluster.start_again();
    assert_eq!(cluster.banner["cluster"], before["cluster"]);
    assert_eq!(cluster.banner["keys"].as_array().unwrap().len(), 5);
    assert_eq!(
        cluster.json(&["key", "show", "brief"])["state"],
        "destroyed"
    );
    let reply = cluster
        .caller("alice")
        .sign_text(&cluster.key("extra"), "after a restart")
        .await;
    assert!(reply.is_signed(), "{reply:?}");
}
