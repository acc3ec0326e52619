//! A counterexample as a person would write it: what does not matter becomes what is usual.
//!
//! The solver fills what it is free to choose with whatever comes first. Each usual value is put in
//! on trial, and stays only if both charters still say exactly the same.

use super::case::{Answer, Case};
use super::encode::FACTS;
use super::rewrite::NAMES;
use super::side::Side;
use serde_json::Value;

/// Somebody whom no address book knows.
const SOMEBODY: &str = "0x5555555555555555555555555555555555555555";
/// The account that asks, where any would do.
const ACCOUNT: &str = "0xaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
/// A whole unit.
const ONE: i64 = 1_000_000;

type Edit = Box<dyn Fn(&mut Case)>;

/// The plainest request to which both charters say what they say to this one.
pub fn plain(case: &Case, old: &Side, new: &Side) -> Result<Case, String> {
    let said = answers(case, old, new)?;
    let mut best = case.clone();
    for edit in edits(new) {
        let mut candidate = best.clone();
        edit(&mut candidate);
        // Only what the action has: an edit adds nothing.
        let known = candidate
            .context
            .keys()
            .all(|name| best.context.contains_key(name));
        if known && answers(&candidate, old, new)? == said {
            best = candidate;
        }
    }
    Ok(best)
}

/// What the old and the new charter say.
pub fn answers(case: &Case, old: &Side, new: &Side) -> Result<(Answer, Answer), String> {
    let before = case.seen_by(old, new).answer(old)?;
    let after = case.seen_by(new, old).answer(new)?;
    Ok((before, after))
}

fn edits(side: &Side) -> Vec<Edit> {
    let mut all: Vec<Edit> = Vec::new();
    for fact in FACTS {
        all.push(Box::new(|case: &mut Case| {
            case.context.remove(*fact);
        }));
    }
    for (name, usual) in [
        ("fee_micro", 0),
        ("amount_micro", ONE),
        ("bytes", 1),
        ("node", 1),
    ] {
        all.push(in_context(vec![(name, usual.into())]));
    }
    for (name, usual) in [("horizon", "slot"), ("custody", "mpc")] {
        all.push(in_context(vec![(name, usual.into())]));
    }
    if let Some(asset) = side.charter.assets.first() {
        let (id, symbol) = (asset.asset.to_string(), asset.symbol.clone());
        all.push(in_context(vec![
            ("asset", id.into()),
            ("symbol", symbol.into()),
        ]));
        let chain = asset.asset.chain.to_string();
        all.push(Box::new(move |case: &mut Case| {
            case.context
                .insert("chain".to_owned(), chain.clone().into());
            case.account
                .insert("chain".to_owned(), chain.clone().into());
        }));
    }
    for (name, address) in NAMES {
        all.push(in_context(vec![
            (*name, "".into()),
            (*address, SOMEBODY.into()),
        ]));
    }
    let key = side.charter.keys.first().map_or("hot", |k| k.key.as_str());
    for (name, usual) in [
        ("address", ACCOUNT),
        ("path", "m"),
        ("key", key),
        ("purpose", "trading"),
        ("scheme", "ecdsa"),
    ] {
        let usual = usual.to_owned();
        all.push(Box::new(move |case: &mut Case| {
            case.account.insert(name.to_owned(), usual.clone().into());
        }));
    }
    all.push(Box::new(|case: &mut Case| {
        let text = |name: &str| {
            case.account
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        case.resource = format!("{}/{}", text("chain"), text("address"));
    }));
    all
}

fn in_context(values: Vec<(&'static str, Value)>) -> Edit {
    Box::new(move |case: &mut Case| {
        for (name, usual) in &values {
            case.context.insert((*name).to_owned(), usual.clone());
        }
    })
}
