//! The whole life of keys on a running cluster, as an operator would live it: drilled, refreshed,
//! lost with a node's disk and restored, exported, retired, destroyed, and imported.

use crate::support::{Cluster, Key, Ran, eventually, quoin};
use serde_json::Value;
use std::time::Duration;

/// The longest that nodes may take to certify what they restored.
const BOUND: Duration = Duration::from_secs(20);

/// Officers of the dev cluster's folder, as flags.
fn officers(cluster: &Cluster, names: &[&str]) -> Vec<String> {
    let file = |name: &&str| cluster.folder().join(format!("officers/{name}.key"));
    let files = names.iter().map(file);
    files
        .flat_map(|f| ["--officer".to_owned(), f.to_str().unwrap().to_owned()])
        .collect()
}

fn with<'a>(args: &[&'a str], more: &'a [String]) -> Vec<&'a str> {
    let more = more.iter().map(String::as_str);
    args.iter().copied().chain(more).collect()
}

fn signs(cluster: &Cluster, key: &str) {
    let ran = cluster.run(&["sign", "--key", key, "--text", "still here", "--yes"]);
    assert_eq!(ran.code, 0, "{key}: {}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_lives_through_refresh_loss_restore_export_and_destruction() {
    let mut cluster = Cluster::start();
    let before = cluster.key("desk-ecdsa");
    backups_are_listed_and_drilled(&cluster);
    refreshed_keys_sign_and_leave_old_backups_behind(&cluster);
    a_node_that_lost_its_disk_is_restored_readmitted_and_refreshed(&mut cluster);
    assert_eq!(cluster.key("desk-ecdsa").address, before.address);
    a_whole_key_is_exported_by_a_quorum_of_officers_alone(&cluster, &before);
    a_retired_key_signs_no_more_and_a_destroyed_one_is_gone(&cluster);
    an_imported_key_reaches_the_nodes_and_is_marked(&mut cluster).await;
}

fn backups_are_listed_and_drilled(cluster: &Cluster) {
    let listed = cluster.json(&["key", "backup", "desk-ecdsa"]);
    let nodes: Vec<u64> = listed.as_array().unwrap().iter().map(node_of).collect();
    assert_eq!(nodes, [1, 2, 3]);
    assert!(
        listed
            .as_array()
            .unwrap()
            .iter()
            .all(|b| b["certified"] == true)
    );
    let two = officers(cluster, &["ann", "cleo"]);
    let drilled = cluster.json(&with(&["drill"], &two));
    let drilled = drilled.as_array().unwrap();
    assert_eq!(drilled.len(), 3);
    assert!(
        drilled
            .iter()
            .all(|d| d["recoverable"] == true && d["certified"] == true)
    );
    let one = officers(cluster, &["ben"]);
    let short = cluster.run(&with(&["drill"], &one));
    assert_eq!(short.code, 2, "{}", short.stdout);
    // A backup that somebody has changed is found, whoever is here.
    let path = listed[0]["path"].as_str().unwrap();
    let good = std::fs::read(path).unwrap();
    let mut bad = good.clone();
    let last = bad.len() - 1;
    bad[last] ^= 1;
    std::fs::write(path, &bad).unwrap();
    let all = officers(cluster, &["ann", "ben", "cleo"]);
    let broken = cluster.run(&with(&["drill"], &all));
    assert_eq!(broken.code, 2, "{}", broken.stdout);
    assert!(
        broken.stderr.contains("would not recover"),
        "{}",
        broken.stderr
    );
    std::fs::write(path, &good).unwrap();
}

fn node_of(backup: &Value) -> u64 {
    backup["node"].as_u64().unwrap()
}

fn refreshed_keys_sign_and_leave_old_backups_behind(cluster: &Cluster) {
    for key in ["desk-ecdsa", "desk-ed25519", "desk-taproot"] {
        cluster.json(&["key", "refresh", key]);
        signs(cluster, key);
        let shown = cluster.json(&["key", "show", key]);
        assert_eq!(shown["addresses"][0]["address"], cluster.key(key).address);
    }
    let listed = cluster.json(&["key", "backup", "desk-ecdsa"]);
    let listed = listed.as_array().unwrap();
    let current = |wanted| listed.iter().filter(|b| b["current"] == wanted).count();
    assert_eq!((current(true), current(false)), (3, 3));
}

fn a_node_that_lost_its_disk_is_restored_readmitted_and_refreshed(cluster: &mut Cluster) {
    let node = cluster.folder().join("node-3");
    let two = officers(cluster, &["ann", "ben"]);
    let node_flag = ["--node".to_owned(), node.to_str().unwrap().to_owned()];
    let args = [&node_flag[..], &two[..]].concat();
    let data = cluster.folder().to_str().unwrap().to_owned();
    let running = cluster.run(&with(&["key", "restore", "--data", &data], &args));
    assert_eq!(
        running.code, 2,
        "a running node's folder: {}",
        running.stdout
    );
    cluster.stop();
    for file in ["journal.db", "journal.db-wal", "journal.db-shm"] {
        let _ = std::fs::remove_file(node.join(file));
    }
    let restored = cluster.json(&with(&["key", "restore"], &args));
    assert_eq!(restored["keys"].as_array().unwrap().len(), 3);
    cluster.start_again();
    // The others sign without it; they have fenced it, because its journal is shorter.
    signs(cluster, "desk-ed25519");
    cluster.json(&["node", "readmit", "3"]);
    for key in ["desk-ecdsa", "desk-ed25519", "desk-taproot"] {
        cluster.json(&["key", "refresh", key]);
        signs(cluster, key);
    }
}

fn a_whole_key_is_exported_by_a_quorum_of_officers_alone(cluster: &Cluster, before: &Key) {
    let folder = cluster.folder();
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    std::fs::write(path("password"), "a long password\n").unwrap();
    let two = officers(cluster, &["ben", "cleo"]);
    let (out, password) = (path("whole.json"), path("password"));
    let export = [
        "key",
        "export",
        "desk-ecdsa",
        "--to",
        "keystore",
        "--out",
        &out,
    ];
    let export = [&export[..], &["--out-password-file", &password]].concat();
    let unconfirmed = cluster.run(&with(&export, &two));
    assert_eq!(unconfirmed.code, 2);
    assert!(unconfirmed.stderr.contains("--danger-make-whole"));
    let export = [&export[..], &["--danger-make-whole"]].concat();
    let one = officers(cluster, &["ben"]);
    let alone = cluster.run(&with(&export, &one));
    assert_eq!(alone.code, 2, "one officer: {}", alone.stdout);
    let made = cluster.json(&with(&export, &two));
    assert_eq!(made["quorum"], serde_json::json!(["ben", "cleo"]));
    let show = [
        "single",
        "show",
        "--from",
        "keystore",
        &out,
        "--password-file",
        &password,
    ];
    // It needs no cluster, so it takes no data folder.
    let mut command = quoin();
    command.args(show).arg("--json");
    let shown = Ran::of(command);
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(shown["addresses"][0]["address"], before.address);
    let again = cluster.run(&with(&export, &two));
    assert_eq!(again.code, 2, "a file is never overwritten");
}

fn a_retired_key_signs_no_more_and_a_destroyed_one_is_gone(cluster: &Cluster) {
    let early = cluster.run(&["key", "destroy", "desk-taproot", "--yes"]);
    assert_ne!(early.code, 0, "an active key: {}", early.stdout);
    cluster.json(&["key", "retire", "desk-taproot", "--yes"]);
    let refused = cluster.run(&["sign", "--key", "desk-taproot", "--text", "no", "--yes"]);
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("deactivated"), "{}", refused.stderr);
    let destroyed = cluster.json(&["key", "destroy", "desk-taproot", "--yes"]);
    let statements = destroyed["statements"].as_array().unwrap();
    assert_eq!(statements.len(), 3);
    // Each node says which backups its officers still have to destroy.
    assert!(
        statements
            .iter()
            .all(|s| !s["backups"].as_array().unwrap().is_empty())
    );
    let gone = cluster.run(&["sign", "--key", "desk-taproot", "--text", "no", "--yes"]);
    assert_ne!(gone.code, 0);
}

/// The key of private key 1, whose address everybody knows.
async fn an_imported_key_reaches_the_nodes_and_is_marked(cluster: &mut Cluster) {
    let folder = cluster.folder().to_owned();
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    std::fs::write(path("one.hex"), format!("{:064x}\n", 1)).unwrap();
    let (source, out) = (path("one.hex"), path("import"));
    let import = [
        "key",
        "import",
        "found",
        "--purpose",
        "trading",
        "--from",
        "hex",
        &source,
    ];
    let import = [&import[..], &["--out", &out, "--danger-was-whole"]].concat();
    let files = cluster.json(&import);
    assert_eq!(files["files"].as_array().unwrap().len(), 3);
    cluster.stop();
    let two = officers(cluster, &["ann", "ben"]);
    for node in 1..=3 {
        let node = path(&format!("node-{node}"));
        let restore = ["key", "restore", "found", "--node", &node, "--from", &out];
        cluster.json(&with(&restore, &two));
    }
    cluster.start_again();
    eventually("the imported key is certified", BOUND, async || {
        cluster.run(&["key", "show", "found"]).code == 0
    })
    .await;
    cluster.json(&["key", "refresh", "found"]);
    signs(cluster, "found");
    let shown = cluster.json(&["key", "show", "found"]);
    assert_eq!(shown["origin"], "imported");
    let address = "0x7e5f4552091a69125d5dfcb7b8c2659029395bdf";
    assert_eq!(shown["addresses"][0]["address"], address);
}
