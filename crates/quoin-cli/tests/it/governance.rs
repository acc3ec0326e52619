//! How a charter comes into force: proposed by one, signed by another, approved, waited for, and
//! vetoed; and what else goes by the next charter.

use crate::freezing::{TRADERS_PAY, sign, transfer};
use crate::support::{Cluster, eventually};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The id of the dev charter's permit to change it.
const CHANGES: &str = "@id(\"governors-change-the-charter\")";

fn rule(cluster: &Cluster, name: &str) -> PathBuf {
    let path = cluster.folder().join(format!("{name}.cedar"));
    let text = format!(
        "@id(\"{name}\")\npermit (principal in Role::\"trader\", action == \
         Action::\"transfer\", resource) when {{ context.amount_micro == 7 }};\n"
    );
    std::fs::write(&path, text).unwrap();
    path
}

fn number(cluster: &Cluster) -> u64 {
    cluster.json(&["charter", "show"])["number"]
        .as_u64()
        .unwrap()
}

fn propose(cluster: &Cluster, name: &str) -> String {
    let file = rule(cluster, name);
    let file = file.to_str().unwrap();
    let proposed = cluster.json(&["charter", "propose", "--add-rule", file, "--as", "alice"]);
    assert_eq!(proposed["in_force"], false, "{proposed}");
    assert_eq!(proposed["pending"], json!([1, 2, 3]), "{proposed}");
    proposed["hash"].as_str().unwrap().to_owned()
}

/// Applies the charter in force with some changes.
fn apply(cluster: &Cluster, change: impl FnOnce(&mut Value)) {
    let mut charter = cluster.json(&["charter", "show"]);
    change(&mut charter);
    let path = cluster.folder().join("next.json");
    std::fs::write(&path, charter.to_string()).unwrap();
    let apply = [
        "charter",
        "apply",
        path.to_str().unwrap(),
        "--as",
        "alice,bob",
    ];
    let applied = cluster.json(&apply);
    assert_eq!(applied["accepted"], json!([1, 2, 3]), "{applied}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_charter_is_proposed_signed_approved_waited_for_and_vetoed() {
    let cluster = Cluster::start();
    one_proposes_and_another_signs(&cluster);
    apply(&cluster, |charter| {
        let demands = "@approvals(\"1 of approver\")\n@delay(\"3s\")\n@notice(\"watcher\")";
        let policies = charter["policies"].as_str().unwrap();
        charter["policies"] = json!(policies.replace(CHANGES, &format!("{CHANGES}\n{demands}")));
    });
    it_waits_for_what_is_demanded(&cluster).await;
    a_veto_beats_every_approval(&cluster).await;
    a_plan_tells_what_would_have_been_decided_otherwise(&cluster);
}

fn one_proposes_and_another_signs(cluster: &Cluster) {
    let hash = propose(cluster, "first");
    let listed = cluster.json(&["charter", "proposals"]);
    let listed = &listed["proposals"][0];
    assert_eq!(listed["hash"], *hash);
    assert_eq!(listed["signed_by"], json!(["alice"]));
    assert!(
        listed["unmet"][0]
            .as_str()
            .unwrap()
            .contains("2 signatures")
    );
    assert_eq!(number(cluster), 0, "one governor is not enough");
    for (who, why) in [("carol", "nothing to add"), ("alice", "signed it already")] {
        let ran = cluster.run(&["charter", "approve", &hash, "--as", who]);
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        assert!(ran.stderr.contains(why), "{}", ran.stderr);
    }
    let signed = cluster.json(&["approve", &hash, "--as", "bob"]);
    assert_eq!(signed["in_force"], true, "{signed}");
    assert_eq!(number(cluster), 1);
    assert_eq!(
        cluster.json(&["charter", "proposals"])["proposals"],
        json!([])
    );
}

async fn it_waits_for_what_is_demanded(cluster: &Cluster) {
    let before = number(cluster);
    let file = rule(cluster, "second");
    let file = file.to_str().unwrap();
    let apply = ["charter", "apply", "--add-rule", file, "--as", "alice,bob"];
    let applied = cluster.run(&[&apply[..], &["--wait", "0", "--json"]].concat());
    assert_eq!(applied.code, 1, "{}", applied.stderr);
    let report: Value = serde_json::from_str(&applied.stdout).unwrap();
    assert_eq!(report["pending"], json!([1, 2, 3]), "{report}");
    for part in ["approver", "receipt of `watcher`"] {
        assert!(report["unmet"].to_string().contains(part), "{report}");
    }
    let hash = report["hash"].as_str().unwrap();
    let own = cluster.run(&["charter", "approve", hash, "--as", "bob"]);
    assert_eq!(own.code, 2, "bob has signed it: {}", own.stderr);
    let approved = cluster.json(&["charter", "approve", hash, "--as", "carol"]);
    assert_eq!(approved["taken"], json!([1, 2, 3]), "{approved}");
    assert_eq!(approved["in_force"], false, "{approved}");
    // Without the watcher's word the delay does not begin, however long it has been.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(number(cluster), before);
    let noticed = Instant::now();
    let receipt = cluster.json(&["receipt", hash, "--as", "wendy"]);
    assert_eq!(receipt["taken"], json!([1, 2, 3]), "{receipt}");
    eventually(
        "it comes into force by itself",
        Duration::from_secs(20),
        async || number(cluster) == before + 1,
    )
    .await;
    assert!(
        noticed.elapsed() >= Duration::from_secs(3),
        "after its delay"
    );
}

async fn a_veto_beats_every_approval(cluster: &Cluster) {
    let before = number(cluster);
    let hash = propose(cluster, "third");
    let signed = cluster.json(&["approve", &hash, "--as", "bob"]);
    assert_eq!(signed["in_force"], false, "{signed}");
    cluster.json(&["approve", &hash, "--as", "carol"]);
    let vetoed = cluster.json(&["charter", "veto", &hash, "--as", "wendy"]);
    assert_eq!(vetoed["taken"], json!([1, 2, 3]), "{vetoed}");
    cluster.json(&["receipt", &hash, "--as", "wendy"]);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(
        number(cluster),
        before,
        "all but the veto would have let it in"
    );
    let late = cluster.run(&["approve", &hash, "--as", "carol"]);
    assert_eq!(late.code, 1, "{}", late.stderr);
    assert!(late.stderr.contains("vetoed by wendy"), "{}", late.stderr);
    let stranger = cluster.run(&["veto", &hash, "--as", "bot"]);
    assert_eq!(
        stranger.code, 1,
        "who has no role may not: {}",
        stranger.stderr
    );
}

fn a_plan_tells_what_would_have_been_decided_otherwise(cluster: &Cluster) {
    let text = [
        "sign",
        "--key",
        "desk-ed25519",
        "--text",
        "recorded",
        "--yes",
    ];
    cluster.json(&text);
    let path = cluster.folder().join("forbid.cedar");
    std::fs::write(
        &path,
        "@id(\"no-texts\")\nforbid (principal, action == Action::\"message\", resource);\n",
    )
    .unwrap();
    let plan = cluster.json(&["charter", "plan", "--add-rule", path.to_str().unwrap()]);
    let shown = plan["plan"]["parts"][0].to_string();
    assert!(
        shown.contains("no-texts") && shown.contains("tightens"),
        "{plan}"
    );
    let flips = plan["flips"].as_array().unwrap();
    let flip = flips.iter().find(|f| f["after"]["type"] == "denied");
    assert_eq!(flip.unwrap()["before"]["type"], "permitted", "{plan}");
    let grants = cluster.json(&["charter", "grants"]);
    let grants = grants.as_array().unwrap();
    assert!(grants.iter().any(|g| g["principal"] == "wendy"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_address_cannot_receive_before_its_time_nor_a_new_key_spend_without_leave() {
    let cluster = Cluster::start();
    cluster.add_rule(TRADERS_PAY);
    apply(&cluster, |charter| charter["cooling_off_ms"] = json!(3_000));
    let shop = "0x00000000000000000000000000000000000000aa";
    let add = ["book", "add", "shop", shop, "--as", "alice,bob"];
    let begun = Instant::now();
    assert_eq!(cluster.json(&add)["accepted"], json!([1, 2, 3]));
    let listed = cluster.json(&["book", "list"]);
    let entry = listed
        .as_array()
        .unwrap()
        .iter()
        .find(|e| e["name"] == "shop");
    assert!(
        entry.unwrap()["receives_from"].as_u64().unwrap() > 0,
        "{listed}"
    );
    let early = sign(&cluster, &transfer(&cluster, 0, shop, 1_000));
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "the machine is too slow for this test"
    );
    assert_eq!(early.0, 1, "{}", early.1);
    assert!(
        early.1.contains("too new in the address book"),
        "{}",
        early.1
    );
    tokio::time::sleep(Duration::from_secs(4)).await;
    let later = sign(&cluster, &transfer(&cluster, 0, shop, 1_000));
    assert_eq!(later.0, 0, "{}", later.1);
    a_new_key_only_receives(&cluster);
    a_feed_is_heard_by_every_node(&cluster);
}

fn a_new_key_only_receives(cluster: &Cluster) {
    let create = [
        "key",
        "create",
        "hedge",
        "--scheme",
        "ecdsa",
        "--purpose",
        "trading",
    ];
    cluster.json(&create);
    let pay = |nonce| {
        let file = transfer(cluster, nonce, crate::support::SINK, 1_000 + nonce);
        let sign = [
            "sign",
            "--key",
            "hedge",
            "--transaction",
            file.to_str().unwrap(),
            "--yes",
        ];
        cluster.run(&sign)
    };
    let refused = pay(0);
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert!(
        refused.stderr.contains("may only receive"),
        "{}",
        refused.stderr
    );
    let allowed = cluster.json(&["key", "allow", "hedge", "--as", "alice,bob"]);
    assert_eq!(allowed["accepted"], json!([1, 2, 3]), "{allowed}");
    let signed = pay(1);
    assert_eq!(signed.code, 0, "{}", signed.stderr);
    let twice = cluster.run(&["key", "allow", "hedge", "--as", "alice,bob"]);
    assert_eq!(twice.code, 2, "{}", twice.stderr);
}

fn a_feed_is_heard_by_every_node(cluster: &Cluster) {
    let post = [
        "feed",
        "post",
        "--price",
        "ETH=3000.5",
        "--margin",
        "venue=1.15",
        "--as",
    ];
    let posted = cluster.json(&[&post[..], &["feed-1"]].concat());
    assert_eq!(posted["taken"], json!([1, 2, 3]), "{posted}");
    assert_eq!(
        posted["facts"][0]["usd_micro"], 3_000_500_000u64,
        "{posted}"
    );
    assert_eq!(posted["facts"][1]["ratio_bp"], 11_500, "{posted}");
    let nobody = cluster.run(&[&post[..], &["alice"]].concat());
    assert_eq!(nobody.code, 2, "{}", nobody.stderr);
}
