//! A small desk, and every request of a small universe.

use super::case::Case;
use quoin_core::{SecretBytes, SigningIdentity};
use quoin_policy::Charter;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Without a permit that names it the charter could never change, and is refused.
pub const GOVERNED: &str = r#"
@id("change") permit (principal in Role::"governor", action == Action::"change_charter", resource);
"#;

pub const EXCHANGE: &str = "0xeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee";
pub const MARGIN: &str = "0x1111111111111111111111111111111111111111";
pub const STRANGER: &str = "0x5555555555555555555555555555555555555555";
const CHAIN: &str = "eip155:1";

fn credential(seed: u8) -> Value {
    let identity = SigningIdentity::from_seed(&SecretBytes::take(&mut [seed; 32]));
    serde_json::to_value(identity.public()).unwrap()
}

/// The credential of a principal of [`json`].
pub fn credential_id(principal: &str) -> quoin_core::CredentialId {
    let place = PRINCIPALS
        .iter()
        .zip(21u8..)
        .find(|((id, _), _)| *id == principal);
    SigningIdentity::from_seed(&SecretBytes::take(&mut [place.unwrap().1; 32])).id()
}

const PRINCIPALS: [(&str, &[&str]); 5] = [
    ("bot", &["desk"]),
    ("ann", &["governor", "treasury"]),
    ("ben", &["governor", "treasury"]),
    ("cid", &["treasury", "risk"]),
    ("dan", &["treasury"]),
];

/// The charter as JSON, with these policies beside the one that lets it change.
pub fn json(policies: &str) -> Value {
    let principals = PRINCIPALS.iter().zip(21u8..).map(|((id, roles), seed)| {
        json!({ "id": id, "roles": roles, "credentials": [credential(seed)],
                "expires": 4_000_000_000_000u64, "operator": id })
    });
    let nodes = (1u8..=3).map(|index| {
        json!({ "index": index, "credential": credential(index), "cloud": format!("cloud {index}"),
                "region": format!("region {index}"), "operator": format!("operator {index}"),
                "tls_key_hash": hex::encode([index; 32]) })
    });
    json!({
        "name": "desk", "number": 0, "cluster": null, "previous": null,
        "nodes": nodes.collect::<Vec<_>>(), "threshold": 2, "f_tol": 0,
        "gateways": [{ "id": "gateway", "tls_key_hash": hex::encode([0x60; 32]) }],
        "principals": principals.collect::<Vec<_>>(), "governor_quorum": 2,
        "budgets": [{ "id": "corridor", "scope": "corridor", "measure": "count", "cap": "100",
                      "window_ms": 3_600_000, "mode": "strict" }],
        "assets": [{ "asset": "eip155:1/native", "symbol": "ETH", "decimals": 18 }],
        "book": [
            { "name": "exchange", "chain": CHAIN, "address": EXCHANGE },
            { "name": "margin", "chain": CHAIN, "address": MARGIN, "kind": "margin" },
        ],
        "policies": format!("{GOVERNED}{policies}"),
    })
}

/// The charter with these policies.
pub fn charter(policies: &str) -> Charter {
    charter_of(json(policies))
}

pub fn charter_of(json: Value) -> Charter {
    serde_json::from_value(json).unwrap()
}

/// Transfers by everybody of every amount in reach of the rules, to everybody, in each horizon, with
/// the price known and unknown; and requests of other kinds.
pub fn universe() -> Vec<Case> {
    let mut all = Vec::new();
    for principal in ["bot", "ann", "cid", "dan"] {
        for corridor in [false, true] {
            for amount in [50, 100, 101] {
                for (to, name) in [(EXCHANGE, "exchange"), (MARGIN, "margin"), (STRANGER, "")] {
                    for (risk, horizon) in [
                        ("increases", "slot"),
                        ("increases", "unbounded"),
                        ("reduces", "slot"),
                    ] {
                        for age in [Some(5), Some(90), None] {
                            for key in ["vault", "hot"] {
                                let mut context = common(risk, horizon);
                                context.insert("amount_micro".into(), amount.into());
                                context.insert("asset".into(), "eip155:1/native".into());
                                context.insert("symbol".into(), "ETH".into());
                                context.insert("to".into(), to.into());
                                context.insert("to_name".into(), name.into());
                                if let Some(age) = age {
                                    context.insert("price".into(), price(age));
                                }
                                all.push(case(principal, "transfer", key, context, corridor));
                            }
                        }
                    }
                }
            }
            for (action, name, value) in [
                ("message", "readable", json!(true)),
                ("create_key", "name", json!("k")),
            ] {
                let mut context = common("neutral", "slot");
                context.insert(name.into(), value);
                if action == "message" {
                    context.insert("bytes".into(), 7.into());
                } else {
                    context.insert("scheme".into(), "ecdsa".into());
                    context.insert("purpose".into(), "trading".into());
                }
                all.push(case(principal, action, "hot", context, corridor));
            }
        }
    }
    all
}

fn price(age: i64) -> Value {
    json!({ "usd_micro": 1_000_000, "age_s": age, "sources": 3 })
}

fn common(risk: &str, horizon: &str) -> BTreeMap<String, Value> {
    let pairs = [
        ("chain", CHAIN),
        ("custody", "mpc"),
        ("risk", risk),
        ("horizon", horizon),
    ];
    let mut context: BTreeMap<_, _> = pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).into()))
        .collect();
    context.insert("fee_micro".into(), 1.into());
    context
}

fn case(
    principal: &str,
    action: &str,
    key: &str,
    context: BTreeMap<String, Value>,
    corridor: bool,
) -> Case {
    let account = [
        ("chain", CHAIN),
        ("address", "0xaa"),
        ("path", "m"),
        ("key", key),
        ("purpose", "trading"),
        ("scheme", "ecdsa"),
    ];
    Case {
        principal: principal.into(),
        action: action.into(),
        resource: format!("{CHAIN}/0xaa"),
        account: account
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).into()))
            .collect(),
        context,
        corridor,
    }
}

/// The case with every fact that it lacks filled in, as the encoding sees it.
pub fn filled(case: &Case) -> Case {
    let mut filled = case.clone();
    let known = filled.context.entry("price".to_owned());
    known.or_insert_with(|| price(5));
    filled
}
