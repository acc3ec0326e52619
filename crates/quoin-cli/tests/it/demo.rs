//! `quoin dev --demo`: the story that a newcomer sees first.

use crate::support::{Ran, foundry, quoin};
use serde_json::Value;

#[test]
fn the_demo_plays_the_whole_story_and_prints_one_document() {
    let mut command = quoin();
    command.args(["dev", "--demo", "--json", "--samples", "10"]);
    let ran = Ran::of(command);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let story: Value = serde_json::from_str(&ran.stdout).unwrap();
    let mut schemes: Vec<&str> = story["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|k| k["scheme"].as_str().unwrap())
        .collect();
    schemes.sort_unstable();
    assert_eq!(schemes, ["ecdsa", "ed25519", "taproot"]);
    for key in story["keys"].as_array().unwrap() {
        assert!(!key["public_key"].as_str().unwrap().is_empty());
        assert!(!key["addresses"][0]["address"].as_str().unwrap().is_empty());
    }
    assert_eq!(story["refusal"]["rule"], "default-deny");
    assert!(
        story["refusal"]["message"]
            .as_str()
            .unwrap()
            .contains("0.25 ETH")
    );
    let transaction = &story["transaction"];
    assert!(transaction["raw"].as_str().unwrap().starts_with("0x02"));
    assert_eq!(transaction["hash"].as_str().unwrap().len(), 66);
    assert_eq!(transaction["mined"], foundry("anvil").is_some());
    assert_eq!(transaction["signers"].as_array().unwrap().len(), 2);
    let latency = story["latency"].as_array().unwrap();
    assert_eq!(latency.len(), 3);
    for row in latency {
        assert!(row["p50_us"].as_u64().unwrap() > 0);
        assert!(row["p99_us"].as_u64().unwrap() >= row["p50_us"].as_u64().unwrap());
    }
}

#[test]
fn the_benchmark_puts_each_scheme_beside_one_plain_local_key() {
    let mut command = quoin();
    command.args(["bench", "gateway", "--json", "--count", "10"]);
    let ran = Ran::of(command);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let rows: Value = serde_json::from_str(&ran.stdout).unwrap();
    let rows = rows.as_array().unwrap();
    let paths: Vec<&str> = rows.iter().map(|r| r["path"].as_str().unwrap()).collect();
    let wanted = ["local", "ecdsa", "ed25519", "taproot", "treasury"];
    assert_eq!(paths, wanted);
    assert_eq!(rows[0]["ratio_to_local"], 1.0);
    for row in rows {
        assert!(
            row["p50_us"].as_u64().unwrap() > 0 && row["ratio_to_local"].is_number(),
            "{row}"
        );
    }
}

#[test]
fn a_reader_that_goes_away_ends_the_command_quietly() {
    let mut command = std::process::Command::new("sh");
    let binary = env!("CARGO_BIN_EXE_quoin");
    command.args([
        "-c",
        &format!("'{binary}' --help | true; '{binary}' sign --help | head -1"),
    ]);
    let ran = Ran::of(command);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
}

#[test]
fn errors_say_what_why_and_what_to_do_next() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = quoin();
    command.args(["key", "list", "--data"]).arg(folder.path());
    let ran = Ran::of(command);
    assert_eq!(ran.code, 2);
    for part in ["holds no cluster", "why:", "next:", "quoin dev"] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
}
