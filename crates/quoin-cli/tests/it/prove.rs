//! `quoin policy prove` as people run it: files in, words and an exit code out. What is proven, and
//! that the encoding means what the engine does, is tested beside the code.

use crate::support::quoin;
use quoin_core::{SecretBytes, SigningIdentity};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Output;

const RULES: &str = r#"
@id("change") permit (principal in Role::"governor", action == Action::"change_charter", resource);
@id("small") permit (principal in Role::"desk", action == Action::"transfer", resource)
  when { context.amount_micro <= 100 };
"#;

fn charter(policies: &str, quorum: u8) -> Value {
    let credential = |seed: u8| {
        let identity = SigningIdentity::from_seed(&SecretBytes::take(&mut [seed; 32]));
        serde_json::to_value(identity.public()).unwrap()
    };
    let hash = |seed: u8| format!("{seed:02x}").repeat(32);
    let node = |index: u8| {
        json!({ "index": index, "credential": credential(index), "tls_key_hash": hash(index),
                "operator": format!("operator {index}") })
    };
    let principal = |id: &str, role: &str, seed: u8| {
        json!({ "id": id, "roles": [role], "credentials": [credential(seed)],
                "expires": 4_000_000_000_000u64 })
    };
    json!({
        "name": "desk", "number": 0, "cluster": null, "previous": null,
        "nodes": [node(1), node(2), node(3)], "threshold": 2, "f_tol": 0,
        "gateways": [{ "id": "gateway", "tls_key_hash": hash(9) }],
        "principals": [principal("bot", "desk", 21), principal("ann", "governor", 22),
                       principal("ben", "governor", 23)],
        "governor_quorum": quorum, "budgets": [], "assets": [], "book": [], "policies": policies,
        "dangerous_single_failure_domain": true,
    })
}

fn run(folder: &Path, old: &Value, new: &Value, solver: &Path) -> Output {
    let write = |name: &str, charter: &Value| {
        let path = folder.join(name);
        std::fs::write(&path, charter.to_string()).unwrap();
        path
    };
    let (old, new) = (write("old.json", old), write("new.json", new));
    quoin()
        .args(["policy", "prove", "--json", "--old"])
        .arg(old)
        .arg("--new")
        .arg(new)
        .env("CVC5", solver)
        .output()
        .unwrap()
}

fn document(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
}

fn solver() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap();
    let found = Some(root.join(".testbeds/cvc5/bin/cvc5")).filter(|p| p.is_file());
    if found.is_none() {
        assert_ne!(
            std::env::var("CI").as_deref(),
            Ok("true"),
            "CI needs `cvc5`"
        );
        eprintln!("SKIPPED: `cvc5` is missing; `cargo xtask testbeds`");
    }
    found
}

#[test]
fn the_exit_code_says_whether_a_change_only_tightens() {
    let Some(solver) = solver() else { return };
    let folder = tempfile::tempdir().unwrap();
    let old = charter(RULES, 2);
    let lower = charter(&RULES.replace("100", "99"), 2);
    let output = run(folder.path(), &old, &lower, &solver);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(document(&output)["verdict"], "only-tightens");
    // The other way round, with the request on which it shows.
    let output = run(folder.path(), &lower, &old, &solver);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let found = &document(&output)["counterexamples"][0];
    assert_eq!(found["request"]["principal"], "bot");
    assert_eq!(found["request"]["context"]["amount_micro"], 100);
    assert_eq!(found["old"]["decision"], "denied");
    assert_eq!(found["new"]["rules"], json!(["small"]));
    // What is not a policy decides as well.
    let output = run(folder.path(), &old, &charter(RULES, 1), &solver);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

#[test]
fn without_a_solver_it_says_so_and_still_compares_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("nowhere");
    let new = charter(&RULES.replace("100", "99"), 1);
    let output = run(folder.path(), &charter(RULES, 2), &new, &nowhere);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let document = document(&output);
    assert_eq!(document["verdict"], "skipped");
    assert_eq!(document["differences"][0]["effect"], "loosens");
    assert!(
        document["skipped"]
            .as_str()
            .unwrap()
            .contains("cargo xtask testbeds")
    );
}

#[test]
fn a_charter_that_fails_its_checks_is_not_compared() {
    let folder = tempfile::tempdir().unwrap();
    let broken = charter(&RULES.replace("amount_micro", "amount"), 2);
    let output = run(
        folder.path(),
        &charter(RULES, 2),
        &broken,
        Path::new("nowhere"),
    );
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("small"),
        "{output:?}"
    );
}
