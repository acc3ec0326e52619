//! An unmodified Ethereum client through the gateway to a real chain node.

use crate::support::{Cluster, Ran, SINK, foundry};
use serde_json::{Value, json};
use std::process::Command;

#[tokio::test(flavor = "multi_thread")]
async fn unmodified_cast_is_refused_by_policy_then_accepted_and_mined() {
    let (Some(cast), Some(_)) = (foundry("cast"), foundry("anvil")) else {
        return;
    };
    let cluster = Cluster::start();
    let from = cluster.key("desk-ecdsa").address;
    let face = cluster.banner["agent_rpc"].as_str().unwrap().to_owned();
    let chain = cluster.banner["chain_rpc"].as_str().unwrap().to_owned();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let call = async |url: &str, method: &str, params: Value| -> Value {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        http.post(url)
            .json(&body)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap()
    };
    call(
        &chain,
        "anvil_setBalance",
        json!([from, "0x8ac7230489e80000"]),
    )
    .await;
    crate::support::eventually(
        "the agent's face is served",
        std::time::Duration::from_secs(10),
        async || call(&face, "eth_accounts", json!([])).await["result"] == json!([from]),
    )
    .await;
    let wrong = call(&format!("{face}00"), "eth_accounts", json!([])).await;
    assert!(
        wrong["result"].is_null(),
        "a wrong token opens nothing: {wrong}"
    );

    let send = || {
        let mut command = Command::new(&cast);
        command.args([
            "send",
            "--unlocked",
            "--json",
            "--from",
            &from,
            "--value",
            "1000",
        ]);
        command
            .args(["--rpc-url", &face, SINK])
            .env("NO_PROXY", "127.0.0.1");
        Ran::of(command)
    };
    let refused = send();
    assert_ne!(refused.code, 0, "{}", refused.stdout);
    let said = format!("{}{}", refused.stdout, refused.stderr);
    assert!(said.contains("no policy permits `bot`"), "{said}");

    let_the_bot_pay(&cluster);
    let accepted = send();
    assert_eq!(accepted.code, 0, "{}", accepted.stderr);
    let receipt: Value = serde_json::from_str(&accepted.stdout).unwrap();
    assert_eq!(receipt["status"], "0x1");
    assert_eq!(receipt["from"].as_str().unwrap().to_lowercase(), from);
    let balance = call(&chain, "eth_getBalance", json!([SINK, "latest"])).await;
    assert_eq!(balance["result"], "0x3e8");
    let again = send();
    assert_eq!(again.code, 0, "the next nonce is found: {}", again.stderr);
    a_person_transfers_and_broadcasts(&cluster);
}

/// `quoin sign --transfer --broadcast`: refused with the rule, then mined.
fn a_person_transfers_and_broadcasts(cluster: &Cluster) {
    let transfer = [
        "sign",
        "--key",
        "desk-ecdsa",
        "--transfer",
        SINK,
        "--amount",
        "5",
        "--broadcast",
    ];
    let refused = cluster.run(&transfer);
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert!(
        refused.stderr.contains("permit ("),
        "the smallest rule is shown: {}",
        refused.stderr
    );
    cluster.add_rule(
        "@id(\"traders-transfer\")\npermit (principal in Role::\"trader\", \
         action == Action::\"transfer\", resource);\n",
    );
    let mined = cluster.json(&transfer);
    assert_eq!(mined["mined"], true, "{mined}");
}

fn let_the_bot_pay(cluster: &Cluster) {
    cluster.add_rule(&format!(
        "@id(\"bot-pays-the-sink\")\npermit (principal == Principal::\"bot\", \
         action == Action::\"transfer\", resource) when {{\n  context.to == \"{SINK}\" && \
         context.amount_micro <= 1000\n}};\n"
    ));
}
