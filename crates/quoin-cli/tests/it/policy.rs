//! `quoin policy` beside a cluster that runs: what refuses a request, which rule would let it through,
//! what another charter would have said, and cases that a charter has to pass.

use crate::support::{Caller, Cluster, Key, Reply, signal};
use quoin_core::{Amount, ChainId, Payload, Signed};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Within which nodes that hear each other say the same.
const AGREE_LIMIT: Duration = Duration::from_secs(20);
/// The chain of a dev cluster.
const CHAIN: u64 = 31_337;
/// In the dev charter's address book.
const BURN: &str = "0x000000000000000000000000000000000000dead";
/// One millionth of a coin, as policies count.
const MICRO: u64 = 1_000_000_000_000;
/// Small payments of the bot to an address of the book.
const SMALL: &str = r#"
@id("small")
permit (principal == Principal::"bot", action == Action::"transfer", resource)
when { context.to_name == "burn" && context.amount_micro <= 10 };
"#;

fn transfer(micro: u64, nonce: u64) -> Payload {
    Payload::EvmTransaction(quoin_chain::encode_eip1559(&quoin_chain::Eip1559Fields {
        chain_id: CHAIN,
        nonce,
        max_fee_per_gas: 2_000_000_000,
        gas_limit: 21_000,
        to: BURN.parse::<quoin_core::Address>().unwrap().to_evm(),
        value: Amount::from(micro * MICRO),
        ..Default::default()
    }))
}

/// Asks, and again while nobody can say anything.
async fn ask(caller: &Caller, key: &Key, payload: &Payload) -> Reply {
    let stamp = caller.stamp(key, ChainId::Evm(CHAIN), payload);
    caller
        .insist(&Signed::sign(stamp, &caller.identity), payload)
        .await
}

fn example() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    root.unwrap().join("examples/policy/dev.json")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_policies_say_can_be_asked_tested_and_replayed() {
    let cluster = Cluster::start();
    the_example_cases_pass(&cluster);
    bad_cases_are_named(&cluster);
    let key = cluster.key("desk-ecdsa");
    cluster.add_rule(SMALL);
    a_suggestion_makes_the_very_request_pass(&cluster, &key).await;
    another_charter_is_replayed(&cluster, &key).await;
    a_silent_node_is_named(&cluster);
}

/// Puts a rule's suggestion into the charter, and asks for the same again.
async fn a_suggestion_makes_the_very_request_pass(cluster: &Cluster, key: &Key) {
    let (bot, carol) = (cluster.caller("bot"), cluster.caller("carol"));
    let wanted = transfer(20, 0);
    let asked = dry_run(cluster, "bot", 20);
    let refused = ask(&bot, key, &wanted).await;
    assert_eq!(refused.status, 403, "{refused:?}");
    let told = refused.body["error"]["suggestion"].as_str().unwrap();
    assert_eq!(asked["agree"], true, "{asked}");
    for node in asked["nodes"].as_array().unwrap() {
        let said = &node["explanation"];
        assert_eq!(said["outcome"], "denied", "{node}");
        assert_eq!(said["suggestion"], told, "asking says what refusing does");
        let small = said["permits"].as_array().unwrap().iter();
        let small = small.clone().find(|rule| rule["rule"] == "small").unwrap();
        assert_eq!(small["matches"], false);
        assert_eq!(small["fails"], json!(["context.amount_micro <= 10"]));
        assert_eq!(small["holds"], json!([r#"context.to_name == "burn""#]));
    }
    // Nothing but the bound moves, and no further than to this request.
    assert!(told.contains("context.amount_micro <= 20"), "{told}");
    assert!(told.contains(r#"@id("allow-small")"#), "{told}");
    nobody_else_is_told(cluster, &carol, key).await;

    cluster.add_rule(told);
    let signed = ask(&bot, key, &wanted).await;
    assert!(signed.is_signed(), "{signed:?}");
    let more = ask(&bot, key, &transfer(21, 1)).await;
    assert_eq!(more.status, 403, "{more:?}");
}

/// Somebody who may not read policies learns which rule decides, and nothing of any rule.
async fn nobody_else_is_told(cluster: &Cluster, carol: &Caller, key: &Key) {
    let refused = ask(carol, key, &transfer(20, 0)).await;
    assert_eq!(refused.status, 403, "{refused:?}");
    assert_eq!(refused.body["error"]["rule"], "default-deny");
    assert_eq!(refused.body["error"]["suggestion"], Value::Null);
    let asked = dry_run(cluster, "carol", 20);
    let nodes = asked["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 3, "{asked}");
    for node in nodes {
        let said = &node["explanation"];
        assert_eq!(said["deciding"], json!(["default-deny"]), "{node}");
        assert_eq!(said["suggestion"], Value::Null, "{node}");
        for part in ["permits", "forbids", "budgets"] {
            assert_eq!(said[part], json!([]), "{node}");
        }
    }
}

/// What the nodes say once they say the same: on a busy machine one may have no lease for a moment,
/// and that it then signs nothing is what it says.
fn dry_run(cluster: &Cluster, principal: &str, micro: u64) -> Value {
    let amount = (micro * MICRO).to_string();
    let wish = [
        "--key",
        "desk-ecdsa",
        "--transfer",
        BURN,
        "--amount",
        &amount,
    ];
    let until = Instant::now() + AGREE_LIMIT;
    loop {
        let asked = cluster.json(&[&["policy", "dry-run", "--as", principal], &wish[..]].concat());
        let leased = !asked["nodes"].to_string().contains("corridor-only");
        if (asked["agree"] == true && leased) || Instant::now() > until {
            return asked;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// A charter without one of the rules: what it permitted is shown, and what it did not is not.
async fn another_charter_is_replayed(cluster: &Cluster, key: &Key) {
    let bot = cluster.caller("bot");
    assert!(bot.sign_text(key, "readable").await.is_signed());
    let mut next = cluster.json(&["charter", "show"]);
    let policies = next["policies"].as_str().unwrap();
    next["policies"] = json!(policies.replace("<= 20", "<= 19"));
    let file = cluster.folder().join("next.json");
    std::fs::write(&file, next.to_string()).unwrap();
    let file = file.to_str().unwrap();
    let replayed = cluster.json(&["policy", "replay", "--new", file]);
    let flips = replayed["flips"].as_array().unwrap();
    // The payment that the rule let through, and the same one when it was refused before there was
    // a rule: both charters judge it anew.
    assert_eq!(flips.len(), 2, "{replayed}");
    for flip in flips {
        assert_eq!(flip["principal"], "bot");
        assert_eq!(flip["before"]["type"], "permitted");
        assert_eq!(flip["before"]["rules"], json!(["allow-small"]));
        assert_eq!(flip["after"]["type"], "denied");
        let summary = flip["summary"].as_str().unwrap();
        assert!(summary.contains("transfer of 0.00002 ETH"), "{summary}");
    }
    assert_eq!(replayed["without_facts"], 3, "{replayed}");
    // Three keys were made, a payment and a text signed, and three payments refused.
    assert_eq!(replayed["judged"], 8, "{replayed}");
    assert_eq!(replayed["erased"], 0);
    let words = cluster.run(&["policy", "replay", "--new", file]);
    assert!(
        words.stdout.contains("permitted by `allow-small`"),
        "{words:?}"
    );
    assert!(words.stdout.contains("denied (no-permit)"), "{words:?}");
    // Nothing was decided in the future.
    let later = crate::support::now().plus(3_600_000).0.to_string();
    let none = cluster.json(&["policy", "replay", "--new", file, "--since", &later]);
    assert_eq!(none["judged"], 0, "{none}");
}

fn the_example_cases_pass(cluster: &Cluster) {
    let example = example();
    let ran = cluster.json(&["policy", "test", example.to_str().unwrap()]);
    assert_eq!(ran["differ"], 0, "{ran}");
    assert!(ran["cases"].as_array().unwrap().len() > 10);
    // One expectation turned round: that case differs, and no other.
    let text = std::fs::read_to_string(&example).unwrap();
    let mut cases: Value = serde_json::from_str(&text).unwrap();
    cases[0]["expect"] = json!("deny");
    let folder = cluster.folder().join("cases");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("turned.json"), cases.to_string()).unwrap();
    let ran = cluster.run(&["policy", "test", folder.to_str().unwrap()]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert_eq!(ran.stdout.matches("DIFF").count(), 1, "{}", ran.stdout);
    assert!(ran.stderr.contains("1 of"), "{}", ran.stderr);
    // The same requests are explained.
    let explain = [
        "policy",
        "explain",
        "--case",
        example.to_str().unwrap(),
        "--name",
    ];
    let explained =
        cluster.json(&[&explain[..], &["a thin margin is topped up, frozen or not"]].concat());
    assert_eq!(explained[0]["outcome"], "permitted", "{explained}");
    let rules = explained[0]["permits"].as_array().unwrap();
    let rule = rules
        .iter()
        .find(|r| r["rule"] == "top-up-when-thin")
        .unwrap();
    assert_eq!(rule["matches"], true, "{rule}");
}

fn bad_cases_are_named(cluster: &Cluster) {
    let path = cluster.folder().join("bad.json");
    let good = json!({ "name": "x", "principal": "bot", "key": "desk-ecdsa",
                       "payload": { "text": "hello" }, "expect": "permit" });
    let fault = |change: &dyn Fn(&mut Value)| {
        let mut case = good.clone();
        change(&mut case);
        std::fs::write(&path, json!([case]).to_string()).unwrap();
        let ran = cluster.run(&["policy", "test", path.to_str().unwrap()]);
        (ran.code, ran.stderr)
    };
    assert_eq!(fault(&|_| {}).0, 0);
    let pay = |amount: &str, to: &str| json!({ "transfer": { "to": to, "amount": amount } });
    let freeze = json!([{ "by": "carol", "scope": "all" }]);
    let old = json!([{ "feed": "bob", "says": [] }]);
    for (field, value, why) in [
        ("expect", json!("maybe"), "unknown variant"),
        ("expects", json!("permit"), "no such field"),
        ("principal", Value::Null, "invalid type"),
        ("key", json!({ "name": "k", "kind": "x" }), "did not match"),
        ("payload", json!({ "texts": "x" }), "unknown variant"),
        ("payload", pay("1 BTC", "burn"), "symbol `BTC`"),
        ("payload", pay("1 ETH", "nobody"), "no such name"),
        (
            "payload",
            pay("0.1234567890123456789 ETH", "burn"),
            "18 decimals",
        ),
        ("approvals", json!(["nobody"]), "does not know `nobody`"),
        ("freezes", freeze, "carol"),
        ("facts", old, "`bob` does not hold the role `feed`"),
        ("after", json!(["y"]), "no other case `y`"),
        ("reason", json!("frozen"), "only what is denied"),
    ] {
        let (code, said) = fault(&|case| {
            case[field] = value.clone();
            if field == "approvals" {
                // Approvals are made where they are asked for.
                case["key"] = json!({ "name": "vault", "purpose": "treasury" });
                case["principal"] = json!("alice");
                case["payload"] = pay("1 ETH", "burn");
            }
        });
        assert_eq!(code, 2, "{field}: {said}");
        for part in ["bad.json", &format!("`{field}`"), "case `x`", why] {
            assert!(said.contains(part), "{field}: `{part}` is not in {said}");
        }
    }
}

fn a_silent_node_is_named(cluster: &Cluster) {
    signal(cluster.pid(3), "KILL");
    let asked = dry_run(cluster, "bot", 20);
    assert_eq!(asked["missing"], json!([3]), "{asked}");
    assert_eq!(asked["nodes"].as_array().unwrap().len(), 2, "{asked}");
}
