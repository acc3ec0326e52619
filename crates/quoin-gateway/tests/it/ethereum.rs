//! The Ethereum JSON-RPC face, with a chain's node that only remembers.

use crate::live::{STRANGER, address, start};
use crate::world::{KEY, caller};
use axum::extract::State;
use axum::{Json, Router, routing::post};
use quoin_core::Address;
use quoin_gateway::faces::{Agent, SignTransactionShape, token_hash};
use reqwest::Client;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

const TOKEN: &str = "a-token-of-an-agent";

#[derive(Clone, Default)]
struct Chain(Arc<Mutex<Vec<Value>>>);

impl Chain {
    fn seen(&self, method: &str) -> Vec<Value> {
        let calls = self.0.lock().unwrap();
        let found = calls.iter().filter(|c| c["method"] == method);
        found.map(|c| c["params"].clone()).collect()
    }
}

/// The pool's count stays at 4, as on a chain's node that lags.
async fn chain_node(State(chain): State<Chain>, Json(call): Json<Value>) -> Json<Value> {
    chain.0.lock().unwrap().push(call.clone());
    let result = match call["method"].as_str().unwrap() {
        "eth_getTransactionCount" => json!("0x4"),
        "eth_estimateGas" => json!("0x5208"),
        "eth_maxPriorityFeePerGas" => json!("0x3b9aca00"),
        "eth_feeHistory" => json!({"baseFeePerGas": ["0x10", "0x20"]}),
        "eth_gasPrice" => json!("0x77"),
        "eth_sendRawTransaction" => json!("0xnode"),
        "eth_fail" => {
            let error = json!({"code": -32000, "message": "no"});
            return Json(json!({"jsonrpc": "2.0", "id": call["id"], "error": error}));
        }
        other => json!({"echo": other, "params": call["params"]}),
    };
    Json(json!({"jsonrpc": "2.0", "id": call["id"], "result": result}))
}

struct Rpc {
    url: String,
    chain: Chain,
    client: Client,
}

async fn rpc(shape: SignTransactionShape) -> Rpc {
    let chain = Chain::default();
    let app = Router::new()
        .route("/", post(chain_node))
        .with_state(chain.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let agent = Agent::new(
        token_hash(TOKEN),
        "bot".parse().unwrap(),
        caller(),
        KEY,
        31_337,
        upstream,
        shape,
    );
    let base = start(vec![agent]).await;
    Rpc {
        url: format!("http://{base}/rpc/{TOKEN}"),
        chain,
        client: Client::new(),
    }
}

impl Rpc {
    async fn post(&self, body: Value) -> Value {
        let sent = self
            .client
            .post(&self.url)
            .json(&body)
            .send()
            .await
            .unwrap();
        sent.json().await.unwrap()
    }

    async fn call(&self, method: &str, params: Value) -> Value {
        let call = json!({"jsonrpc": "2.0", "id": 9, "method": method, "params": params});
        let response = self.post(call).await;
        assert_eq!(response["id"], 9);
        response
    }
}

fn transaction() -> Value {
    json!({"from": address().as_str(), "to": Address::evm([1; 20]).as_str(), "value": "0x1"})
}

#[tokio::test]
async fn only_the_token_opens_the_face() {
    let rpc = rpc(SignTransactionShape::Hex).await;
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "eth_accounts"});
    for bad in ["wrong", "a-token-of-an-agenT", "a-token-of-an-agent2"] {
        let url = rpc.url.replace(TOKEN, bad);
        let response = rpc.client.post(url).json(&call).send().await.unwrap();
        assert_eq!(response.status(), 401, "{bad}");
    }
    let plain = rpc.client.post(&rpc.url).body(call.to_string());
    assert_eq!(plain.send().await.unwrap().status(), 415);
    let foreign = rpc.client.post(&rpc.url).json(&call);
    let foreign = foreign.header("origin", "http://evil.test");
    assert_eq!(foreign.send().await.unwrap().status(), 403);
    assert!(rpc.chain.0.lock().unwrap().is_empty());
}

#[tokio::test]
async fn accounts_come_from_the_certificate_and_the_rest_from_the_chain() {
    let rpc = rpc(SignTransactionShape::Hex).await;
    let own = json!([address().as_str()]);
    assert_eq!(rpc.call("eth_accounts", json!([])).await["result"], own);
    assert_eq!(
        rpc.call("eth_requestAccounts", json!([])).await["result"],
        own
    );
    assert_eq!(rpc.call("eth_chainId", json!([])).await["result"], "0x7a69");
    let echoed = rpc.call("eth_getBalance", json!(["0x1", "latest"])).await;
    assert_eq!(echoed["result"]["params"], json!(["0x1", "latest"]));
    let failed = rpc.call("eth_fail", json!([])).await;
    assert_eq!(failed["error"]["message"], "no");
}

#[tokio::test]
async fn concurrent_transactions_have_distinct_nonces() {
    let rpc = rpc(SignTransactionShape::Hex).await;
    let send = || rpc.call("eth_sendTransaction", json!([transaction()]));
    let (a, b, c) = tokio::join!(send(), send(), send());
    let raws = rpc.chain.seen("eth_sendRawTransaction");
    assert_eq!(raws.len(), 3, "{a} {b} {c}");
    // The signatures are deterministic, so equal nonces would make equal transactions.
    assert!(raws[0] != raws[1] && raws[1] != raws[2] && raws[0] != raws[2]);
    for response in [a, b, c] {
        let hash = response["result"].as_str().unwrap();
        assert_eq!(
            hash.len(),
            66,
            "our own hash, not what the chain's node says"
        );
    }
}

#[tokio::test]
async fn a_refused_transaction_names_the_rule_and_frees_its_nonce() {
    let rpc = rpc(SignTransactionShape::Hex).await;
    let mut bad = transaction();
    bad["to"] = Address::evm(STRANGER).as_str().into();
    let refused = rpc.call("eth_sendTransaction", json!([bad])).await;
    assert_eq!(refused["error"]["code"], 4001);
    let data = &refused["error"]["data"];
    assert_eq!(data["rule"], "no-strangers");
    assert_eq!(data["suggestion"], "add it to the book");
    assert_eq!(data["request_id"].as_str().unwrap().len(), 32);
    assert!(rpc.chain.seen("eth_sendRawTransaction").is_empty());
    rpc.call("eth_sendTransaction", json!([transaction()]))
        .await;
    let mut signed = transaction();
    signed["nonce"] = "0x4".into();
    let expected = rpc.call("eth_signTransaction", json!([signed])).await;
    let raws = rpc.chain.seen("eth_sendRawTransaction");
    assert_eq!(raws[0][0], expected["result"], "nonce 4 was used after all");
}

#[tokio::test]
async fn what_does_not_fit_the_agent_is_refused_before_it_is_stamped() {
    let rpc = rpc(SignTransactionShape::Hex).await;
    for (name, value) in [
        ("from", json!(Address::evm([9; 20]).as_str())),
        ("chainId", json!("0x1")),
        ("value", json!("1")),
        ("to", json!("0x1")),
        ("type", json!("0x3")),
        ("accessList", json!([{}])),
        ("gasPrice", json!("ten")),
        ("maxPriorityFeePerGas", json!("0xffffffffffffffff")),
        ("blobs", json!([])),
    ] {
        let mut bad = transaction();
        bad["maxFeePerGas"] = "0x100".into();
        bad["gas"] = "0x5208".into();
        bad[name] = value;
        let refused = rpc.call("eth_sendTransaction", json!([bad])).await;
        assert_eq!(refused["error"]["code"], -32602, "{name}: {refused}");
    }
    assert!(rpc.chain.seen("eth_sendRawTransaction").is_empty());
}

#[tokio::test]
async fn a_signed_transaction_has_the_shape_that_is_configured() {
    let hex = rpc(SignTransactionShape::Hex).await;
    let signed = hex
        .call("eth_signTransaction", json!([transaction()]))
        .await;
    assert!(signed["result"].as_str().unwrap().starts_with("0x02"));
    let mut legacy = transaction();
    legacy["gasPrice"] = "0x9".into();
    let signed = hex.call("eth_signTransaction", json!([legacy])).await;
    assert!(signed["result"].as_str().unwrap().starts_with("0xf8"));
    let object = rpc(SignTransactionShape::Object).await;
    let signed = object
        .call("eth_signTransaction", json!([transaction()]))
        .await;
    assert!(
        signed["result"]["raw"]
            .as_str()
            .unwrap()
            .starts_with("0x02")
    );
    assert_eq!(signed["result"]["tx"]["nonce"], "0x4");
}

#[tokio::test]
async fn messages_are_signed_whichever_parameter_is_the_address() {
    let rpc = rpc(SignTransactionShape::Hex).await;
    let own = address();
    let a = rpc
        .call("personal_sign", json!(["0x6869", own.as_str()]))
        .await;
    let b = rpc.call("eth_sign", json!([own.as_str(), "hi"])).await;
    assert_eq!(a["result"], b["result"]);
    let bytes = hex::decode(&a["result"].as_str().unwrap()[2..]).unwrap();
    assert!(bytes.len() == 65 && matches!(bytes[64], 27 | 28));
    let stranger = rpc.call("personal_sign", json!(["0x6869", "0x01"])).await;
    assert_eq!(stranger["error"]["code"], -32602);
    let patient = hex::encode(crate::live::PATIENT);
    let params = json!([format!("0x{patient}"), own.as_str()]);
    let pending = rpc.call("personal_sign", params).await;
    assert_eq!(pending["error"]["code"], -32002);
    assert_eq!(pending["error"]["data"]["unmet"], json!(["2 of treasury"]));
}

#[tokio::test]
async fn typed_data_is_signed_as_text_and_as_object() {
    let rpc = rpc(SignTransactionShape::Hex).await;
    let data = json!({
        "types": {
            "EIP712Domain": [{"name": "name", "type": "string"}, {"name": "chainId", "type": "uint256"}],
            "Note": [{"name": "text", "type": "string"}]
        },
        "primaryType": "Note",
        "domain": {"name": "test", "chainId": 31337},
        "message": {"text": "hello"}
    });
    let own = address();
    let object = rpc
        .call("eth_signTypedData_v4", json!([own.as_str(), data]))
        .await;
    let params = json!([own.as_str(), data.to_string()]);
    let text = rpc.call("eth_signTypedData", params).await;
    assert_eq!(
        object["result"].as_str().map(str::len),
        Some(132),
        "{object}"
    );
    assert_eq!(object["result"], text["result"]);
}

#[tokio::test]
async fn batches_keep_their_order_and_their_limit() {
    let rpc = rpc(SignTransactionShape::Hex).await;
    let call = |id: u32| json!({"jsonrpc": "2.0", "id": id, "method": "eth_chainId"});
    let note = json!({"jsonrpc": "2.0", "method": "eth_chainId"});
    let responses = rpc
        .post(json!([call(1), note, call(2), {"id": 3}, call(4)]))
        .await;
    let ids: Vec<&Value> = responses
        .as_array()
        .unwrap()
        .iter()
        .map(|r| &r["id"])
        .collect();
    assert_eq!(ids, [1, 2, 3, 4]);
    assert_eq!(responses[2]["error"]["code"], -32600);
    let many: Vec<Value> = (0..101).map(call).collect();
    assert_eq!(rpc.post(many.into()).await["error"]["code"], -32600);
    assert_eq!(rpc.post(json!([])).await["error"]["code"], -32600);
    let kind = ("content-type", "application/json");
    let broken = rpc.client.post(&rpc.url).header(kind.0, kind.1).body("{");
    let broken: Value = broken.send().await.unwrap().json().await.unwrap();
    assert_eq!(broken["error"]["code"], -32700);
}
