//! What the proof takes over from the engine, held against the engine: the words and numbers that it
//! knows of, and what the corridor and privileges mean.

use super::case::{Answer, Case};
use super::encode::{COUNTS, FACTS, RECORDS, WORDS};
use super::fixtures::{EXCHANGE, MARGIN, charter_of, json};
use super::rewrite::NAMES;
use super::side::Side;
use crate::policy::cases::{Decision, Found, read_cases};
use crate::policy::trial::Trial;
use quoin_core::intent::{Horizon, RiskEffect};
use quoin_core::{CustodyMethod, cbor};
use quoin_policy::{Charter, Ledger, request_schema_text, schema_text};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const OWN: &str = "0xaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// The context attributes of a schema: name and type.
fn attributes(schema: &str) -> BTreeSet<(String, String)> {
    let contexts = schema.split("context: {").skip(1);
    let lines = contexts.flat_map(|text| text.split("\n  },").next().unwrap().lines());
    let pairs = lines.filter_map(|line| line.trim().trim_end_matches(',').split_once(": "));
    pairs.map(|(n, t)| (n.to_owned(), t.to_owned())).collect()
}

#[test]
fn the_numbers_facts_and_names_are_those_of_the_schema() {
    let all = attributes(&schema_text());
    assert!(all.len() > 20, "{all:?}");
    let of = |kind: &str| -> BTreeSet<&str> {
        let fits = all.iter().filter(|(_, t)| t == kind);
        fits.map(|(name, _)| name.as_str()).collect()
    };
    // No number of the schema can be negative today. One that can must not be listed, and is to be
    // left out here by name.
    assert_eq!(of("Long"), COUNTS.iter().copied().collect());
    for (name, fields) in RECORDS {
        let fields: Vec<String> = fields.iter().map(|f| format!("{f}: Long")).collect();
        let kind = format!("{{ {} }}", fields.join(", "));
        assert!(of(&kind).contains(name), "{name} {all:?}");
    }
    let records = all.iter().filter(|(_, t)| t.starts_with('{'));
    assert_eq!(records.count(), RECORDS.len());
    let unknown = attributes(&request_schema_text()).into_iter();
    let unknown = unknown.filter_map(|(name, _)| name.strip_suffix('?').map(str::to_owned));
    let facts: BTreeSet<String> = FACTS.iter().map(|f| (*f).to_owned()).collect();
    assert_eq!(unknown.collect::<BTreeSet<_>>(), facts);
    // What the address book calls an address. A key's or domain's name is not of the book.
    let named = of("String").into_iter().filter(|n| n.ends_with("_name"));
    let named: BTreeSet<&str> = named.filter(|n| *n != "domain_name").collect();
    assert_eq!(named, NAMES.iter().map(|(name, _)| *name).collect());
}

/// A charter of the fixtures' desk in which a text is permitted under one condition.
fn texts_when(condition: &str) -> Charter {
    let rule = "@id(\"text\") permit (principal, action == Action::\"message\", resource)";
    charter(&format!("{rule} when {{ {condition} }};"))
}

fn charter(policies: &str) -> Charter {
    let mut json = json(policies);
    json["keys"] = json!([{ "key": "hot" }]);
    // Budgets are not the policies' matter, but without this one no top-up leaves during a freeze.
    let budget = json!({ "id": "top-ups", "scope": "corridor", "cap": "10000000000000000000",
                         "measure": { "asset": "eip155:1/native" }, "window_ms": 3_600_000,
                         "mode": "strict" });
    json["budgets"].as_array_mut().unwrap().push(budget);
    charter_of(json)
}

/// What the engine says of a request.
fn judged(charter: &Charter, case: Value) -> Found {
    let trial = Trial::of(charter).unwrap();
    let cases = read_cases("here", json!([case]).to_string().as_bytes()).unwrap();
    let prepared = trial.prepare(&cases[0]).unwrap();
    trial.judge(&prepared, &mut Ledger::new()).unwrap()
}

fn words(name: &str) -> BTreeSet<&'static str> {
    let (_, words) = WORDS.iter().find(|(n, _)| *n == name).unwrap();
    words.iter().copied().collect()
}

#[test]
fn the_words_of_custody_are_those_that_the_engine_writes() {
    // Every method, by the number that stands for it on the wire.
    let all = (0u8..24).filter_map(|n| cbor::decode::<CustodyMethod>(&[n], 1).ok());
    let all: Vec<CustodyMethod> = all.collect();
    let words = words("custody");
    assert_eq!(all.len(), words.len(), "{all:?} {words:?}");
    let mut written = BTreeSet::new();
    for custody in all {
        for word in &words {
            let charter = texts_when(&format!("context.custody == \"{word}\""));
            let case = json!({ "name": "x", "principal": "bot", "key": "hot", "expect": "permit",
                               "custody": custody, "payload": { "text": "hello" } });
            if judged(&charter, case).decision == Decision::Permit {
                written.insert(*word);
            }
        }
    }
    assert_eq!(written, words);
}

/// A signed allowance that ends.
fn permit_until() -> Value {
    json!({ "typed_data": {
        "domain": { "name": "USD", "version": "1", "chainId": 1,
                    "verifyingContract": "0x2222222222222222222222222222222222222222" },
        "primaryType": "Permit",
        "types": {
            "EIP712Domain": [
                { "name": "name", "type": "string" }, { "name": "version", "type": "string" },
                { "name": "chainId", "type": "uint256" },
                { "name": "verifyingContract", "type": "address" } ],
            "Permit": [
                { "name": "owner", "type": "address" }, { "name": "spender", "type": "address" },
                { "name": "value", "type": "uint256" }, { "name": "nonce", "type": "uint256" },
                { "name": "deadline", "type": "uint256" } ] },
        "message": { "owner": OWN, "spender": EXCHANGE, "value": "5", "nonce": "0",
                     "deadline": "1900000000" } } })
}

#[test]
fn the_words_of_risk_and_horizon_are_those_that_the_engine_writes() {
    // A new kind of either ends the compilation here.
    let risk = |risk: RiskEffect| match risk {
        RiskEffect::Reduces => 0,
        RiskEffect::Neutral => 1,
        RiskEffect::Increases => 2,
    };
    let horizon = |horizon: Horizon| match horizon {
        Horizon::Until(_) => 0,
        Horizon::Slot => 1,
        Horizon::Unbounded => 2,
    };
    let pay = |to: &str, amount: &str| json!({ "transfer": { "to": to, "amount": amount } });
    let requests = [
        (pay("itself", "0 ETH"), RiskEffect::Reduces, Horizon::Slot),
        (
            json!({ "text": "hello" }),
            RiskEffect::Neutral,
            Horizon::Unbounded,
        ),
        (
            pay("exchange", "1 ETH"),
            RiskEffect::Increases,
            Horizon::Slot,
        ),
        (
            permit_until(),
            RiskEffect::Increases,
            Horizon::Until(quoin_core::TimeMs(0)),
        ),
    ];
    let rule = "@id(\"any\") @unbounded permit (principal, action, resource)";
    let (mut risks, mut horizons) = (BTreeSet::new(), BTreeSet::new());
    for (payload, expected_risk, expected_horizon) in requests {
        let says = |name: &str, word: &str| {
            let mut charter = json(&format!("{rule} when {{ context.{name} == \"{word}\" }};"));
            charter["keys"] = json!([{ "key": "hot" }]);
            let token = json!({ "asset": "eip155:1/token:0x2222222222222222222222222222222222222222",
                                "symbol": "USD", "decimals": 6 });
            charter["assets"].as_array_mut().unwrap().push(token);
            let case = json!({ "name": "x", "principal": "bot", "expect": "permit",
                               "key": { "name": "hot", "address": OWN }, "payload": payload });
            judged(&charter_of(charter), case).decision == Decision::Permit
        };
        let said = |name: &str| -> Vec<&'static str> {
            words(name)
                .into_iter()
                .filter(|word| says(name, word))
                .collect()
        };
        let (risk_word, horizon_word) = (said("risk"), said("horizon"));
        assert_eq!((risk_word.len(), horizon_word.len()), (1, 1), "{payload}");
        risks.insert((risk(expected_risk), risk_word[0]));
        horizons.insert((horizon(expected_horizon), horizon_word[0]));
    }
    // Three kinds of each, three words of each, one for the other.
    for (seen, name) in [(risks, "risk"), (horizons, "horizon")] {
        let kinds: BTreeSet<i32> = seen.iter().map(|(kind, _)| *kind).collect();
        let said: BTreeSet<&str> = seen.iter().map(|(_, word)| *word).collect();
        assert_eq!((seen.len(), kinds.len()), (3, 3), "{seen:?}");
        assert_eq!(said, words(name));
    }
}

/// A request as the proof sees it, and as a case.
type Asked = (Case, Value);

const DESK: &str = r#"
@id("cancel") @corridor permit (principal in Role::"desk", action == Action::"transfer", resource)
  when { context.amount_micro == 0 && context.to == resource.address };
@id("pay") permit (principal in Role::"desk", action == Action::"transfer", resource);
@id("top-up") @corridor permit (principal in Role::"desk", action == Action::"transfer", resource)
  when { context.to_name == "margin" };
@id("pay-out") @corridor permit (principal in Role::"desk", action == Action::"transfer", resource)
  when { context.to_name == "exchange" };
@id("watched") @approvals("1 of treasury")
permit (principal in Role::"risk", action == Action::"transfer", resource);
@id("watched-cancel") @corridor
permit (principal in Role::"risk", action == Action::"transfer", resource)
  when { context.amount_micro == 0 && context.to == resource.address };
@id("everything") permit (principal in Role::"governor", action, resource);
@id("keys") permit (principal == Principal::"ann", action == Action::"create_key", resource);
"#;

/// A transfer of the hot key, as the proof sees it and as a case.
fn transfer(principal: &str, to: &str, name: &str, micro: u64, corridor: bool) -> Asked {
    let risk = if to == OWN && micro == 0 {
        "reduces"
    } else {
        "increases"
    };
    let context = json!({ "amount_micro": micro, "asset": "eip155:1/native", "symbol": "ETH",
        "to": to, "to_name": name, "chain": "eip155:1", "custody": "mpc", "risk": risk,
        "horizon": "slot", "fee_micro": 42 });
    let payload =
        json!({ "transfer": { "to": to, "amount": format!("{}", micro * 1_000_000_000_000) } });
    pair(
        principal,
        "transfer",
        ("eip155:1", OWN),
        ["hot", "trading", "ecdsa"],
        context,
        payload,
        corridor,
    )
}

fn create_key(principal: &str) -> Asked {
    let context = json!({ "name": "new", "scheme": "ecdsa", "purpose": "trading", "chain": "quoin",
        "custody": "mpc", "risk": "neutral", "horizon": "unbounded", "fee_micro": 0 });
    let payload =
        json!({ "create_key": { "name": "new", "scheme": "ecdsa", "purpose": "trading" } });
    let account = ("quoin", "cluster");
    pair(
        principal,
        "create_key",
        account,
        ["", "trading", "ecdsa"],
        context,
        payload,
        false,
    )
}

fn pair(
    principal: &str,
    action: &str,
    (chain, address): (&str, &str),
    [key, purpose, scheme]: [&str; 3],
    context: Value,
    payload: Value,
    corridor: bool,
) -> Asked {
    let account = json!({ "chain": chain, "address": address, "path": "m", "key": key,
                          "purpose": purpose, "scheme": scheme });
    let seen = Case {
        principal: principal.to_owned(),
        action: action.to_owned(),
        resource: format!("{chain}/{address}"),
        account: serde_json::from_value(account).unwrap(),
        context: serde_json::from_value(context).unwrap(),
        corridor,
    };
    let mut case = json!({ "name": "x", "principal": principal, "expect": "permit",
                           "payload": payload, "lease": !corridor });
    if !key.is_empty() {
        case["key"] = json!({ "name": key, "address": OWN });
    }
    (seen, case)
}

#[test]
fn corridor_and_privileges_mean_what_a_node_makes_of_them() {
    let charter = charter(DESK);
    let side = Side::read(&charter, "tested").unwrap();
    let rules = |names: &[&str]| Some(names.iter().map(|n| (*n).to_owned()).collect());
    let requests: [(Asked, Option<BTreeSet<String>>); 13] = [
        (
            transfer("bot", EXCHANGE, "exchange", 50, false),
            rules(&["pay", "pay-out"]),
        ),
        // Without a lease only what reduces risk is signed, whatever a rule is annotated with,
        (transfer("bot", EXCHANGE, "exchange", 50, true), None),
        // and a payment of nothing to somebody else reduces none.
        (transfer("bot", EXCHANGE, "exchange", 0, true), None),
        (
            transfer("bot", OWN, "", 0, false),
            rules(&["cancel", "pay"]),
        ),
        // In the corridor one rule has to be for it, and the others count with what they demand.
        (transfer("bot", OWN, "", 0, true), rules(&["cancel", "pay"])),
        (
            transfer("cid", OWN, "", 0, true),
            rules(&["watched", "watched-cancel"]),
        ),
        (transfer("ben", OWN, "", 0, true), None),
        (
            transfer("bot", MARGIN, "margin", 50, false),
            rules(&["pay", "top-up"]),
        ),
        (
            transfer("bot", MARGIN, "margin", 50, true),
            rules(&["pay", "top-up"]),
        ),
        (transfer("dan", OWN, "", 0, true), None),
        (
            transfer("ben", EXCHANGE, "exchange", 50, false),
            rules(&["everything"]),
        ),
        // A wildcard makes no keys; where one rule names it, the wildcard counts as well.
        (create_key("ben"), None),
        (create_key("ann"), rules(&["everything", "keys"])),
    ];
    for ((seen, case), expected) in requests {
        let (meant, demanded) = match seen.answer(&side).unwrap() {
            Answer::Denied { .. } => (None, false),
            Answer::Permitted { rules, demands } => {
                let rules: BTreeSet<String> = rules.into_iter().collect();
                (Some(rules), demands.iter().any(|(_, amount)| amount > 0))
            }
        };
        let found = judged(&charter, case);
        let said = (found.decision != Decision::Deny).then_some(found.rules.clone());
        assert_eq!(meant, expected, "the proof's meaning: {seen:?}");
        assert_eq!(said, expected, "the engine: {found:?} {seen:?}");
        let waits = found.decision == Decision::Pending;
        assert_eq!(waits, demanded, "{found:?} {seen:?}");
    }
}
