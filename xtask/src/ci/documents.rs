//! What the documents printed by the demonstration and the simulator must say to pass.
//!
//! An exit code of zero is not believed by itself: a demonstration that refused nothing, or a
//! simulator that ran no seed, has shown nothing.

use serde_json::Value;

/// The schemes of which the demonstration makes a key.
const SCHEMES: [&str; 3] = ["ed25519", "taproot", "ecdsa"];

/// Checks the document of `quoin dev --demo --json`.
pub fn check_demo(document: &Value) -> Result<(), String> {
    let keys = list(document, "keys")?;
    for scheme in SCHEMES {
        let key = keys.iter().find(|key| {
            let name = key.get("scheme").and_then(Value::as_str);
            name.is_some_and(|name| name.contains(scheme))
        });
        let key = key.ok_or_else(|| format!("no key of scheme `{scheme}`"))?;
        text(key, "public_key")?;
        if list(key, "addresses")?.is_empty() {
            return Err(format!("the key of scheme `{scheme}` has no address"));
        }
    }
    let refusal = field(document, "refusal")?;
    text(refusal, "rule")?;
    text(refusal, "message")?;
    let transaction = field(document, "transaction")?;
    text(transaction, "hash")?;
    text(transaction, "raw")?;
    if !field(transaction, "mined")?.is_boolean() {
        return Err("`mined` is not true or false".to_owned());
    }
    let latency = list(document, "latency")?;
    if latency.is_empty() {
        return Err("`latency` is empty".to_owned());
    }
    for row in latency {
        text(row, "scheme")?;
        number(row, "p50_us")?;
        number(row, "p99_us")?;
    }
    Ok(())
}

/// Checks the document of `quoin-sim run --json`.
pub fn check_sim(document: &Value, seeds: u64) -> Result<(), String> {
    let ran = field(document, "seeds")?.as_u64();
    if ran != Some(seeds) {
        return Err(format!("`seeds` is not `{seeds}`"));
    }
    let violations = field(document, "violations")?;
    let none = match violations {
        Value::Array(all) => all.is_empty(),
        other => other.as_u64() == Some(0),
    };
    if none {
        Ok(())
    } else {
        Err(format!("violations: {violations}"))
    }
}

fn field<'a>(value: &'a Value, name: &str) -> Result<&'a Value, String> {
    value.get(name).ok_or_else(|| format!("no `{name}`"))
}

fn list<'a>(value: &'a Value, name: &str) -> Result<&'a Vec<Value>, String> {
    let list = field(value, name)?.as_array();
    list.ok_or_else(|| format!("`{name}` is not a list"))
}

fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str, String> {
    let text = field(value, name)?.as_str();
    text.filter(|text| !text.is_empty())
        .ok_or_else(|| format!("`{name}` is not a text"))
}

fn number(value: &Value, name: &str) -> Result<f64, String> {
    let number = field(value, name)?.as_f64();
    number
        .filter(|number| *number > 0.0)
        .ok_or_else(|| format!("`{name}` is not a positive number"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn demo() -> Value {
        let key = |scheme: &str| json!({"scheme": scheme, "public_key": "02", "addresses": ["a"]});
        json!({
            "keys": [key("ed25519"), key("taproot"), key("ecdsa-secp256k1")],
            "refusal": {"rule": "default", "message": "no rule permits this"},
            "transaction": {"hash": "0x1", "mined": true, "raw": "0x2"},
            "latency": [{"scheme": "ed25519", "p50_us": 1, "p99_us": 2}],
        })
    }

    #[test]
    fn a_demo_that_leaves_anything_out_is_refused() {
        assert_eq!(check_demo(&demo()), Ok(()));
        for (pointer, bad) in [
            ("/keys", json!([])),
            ("/keys/2/scheme", json!("ed25519")),
            ("/keys/0/public_key", json!("")),
            ("/keys/0/addresses", json!([])),
            ("/refusal", json!(null)),
            ("/refusal/rule", json!("")),
            ("/refusal/message", json!(7)),
            ("/transaction/hash", json!(null)),
            ("/transaction/raw", json!("")),
            ("/transaction/mined", json!("yes")),
            ("/latency", json!([])),
            ("/latency/0/p99_us", json!(0)),
        ] {
            let mut document = demo();
            *document.pointer_mut(pointer).unwrap() = bad;
            assert!(check_demo(&document).is_err(), "{pointer}");
        }
    }

    #[test]
    fn a_simulation_with_a_violation_or_too_few_seeds_is_refused() {
        for good in [json!(0), json!([])] {
            let document = json!({"seeds": 200, "violations": good, "seeds_per_second": 9});
            assert_eq!(check_sim(&document, 200), Ok(()));
        }
        for bad in [
            json!({"seeds": 200, "violations": 1}),
            json!({"seeds": 200, "violations": ["seed 7"]}),
            json!({"seeds": 199, "violations": 0}),
            json!({"violations": 0}),
            json!({"seeds": 200}),
        ] {
            assert!(check_sim(&bad, 200).is_err(), "{bad}");
        }
    }
}
