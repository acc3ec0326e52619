//! `quoin freeze` and `quoin freezes`: stop signing at once, and see what is stopped.
//!
//! A freeze waits for nobody: not for the gateway, nor for the newest charter. It is signed here and
//! goes to every node by its own way, because whoever has taken the gateway would keep it.

use crate::cli::{FreezeArgs, ReadArgs};
use crate::client::freezes::{Frozen, NodeFreezes};
use crate::client::standing::date;
use crate::client::{Delivery, Session, Statement};
use crate::failure::Failure;
use crate::{clock, folder, say};
use quoin_core::cbor::Version;
use quoin_core::{Address, FreezeId, NodeIndex, Signed};
use quoin_policy::{Constitution, Freeze, FreezeLevel, FreezeScope};
use serde_json::json;

/// `quoin freeze`.
pub async fn freeze(args: FreezeArgs) -> Result<(), Failure> {
    let session = Session::unasked(&args.data.folder())?;
    let identity = session.folder().principal(&args.principal)?;
    let freeze = Freeze {
        version: Version,
        cluster: session.constitution().cluster(),
        id: FreezeId(folder::random_request_id().0),
        principal: args.principal.clone(),
        scope: scope(&args, session.constitution())?,
        level: if args.hard {
            FreezeLevel::Hard
        } else {
            FreezeLevel::Risk
        },
        at: clock::now(),
        reason: args.reason.clone(),
    };
    let id = freeze.id;
    let signed = Signed::sign(freeze, &identity).to_bytes();
    let delivery = session.deliver(&Statement::Freeze(signed)).await;
    let what = format!("the freeze of {}", scope_words(&args));
    let delivery = delivery.at_least_one(&what)?;
    if args.json {
        return say::json(&json!({
            "freeze": id,
            "taken": delivery.taken(),
            "took_ms": slowest(&delivery),
            "delivery": delivery,
        }));
    }
    for line in delivery.lines() {
        say::line(line);
    }
    let nodes = delivery.taken().len();
    say::line(format!(
        "frozen on {nodes} nodes after {} ms; what is left open: {}",
        slowest(&delivery).unwrap_or_default(),
        if args.hard { "nothing" } else { "the corridor" }
    ));
    say::line(format!(
        "freeze     {id}   (lift it: quoin unfreeze {id} --as GOVERNOR)"
    ));
    Ok(())
}

/// When the last of those that took it had said so.
fn slowest(delivery: &Delivery) -> Option<u64> {
    let taken = delivery.nodes.iter().filter(|d| d.refused.is_none());
    taken.map(|d| d.after_ms).max()
}

fn scope(args: &FreezeArgs, constitution: &Constitution) -> Result<FreezeScope, Failure> {
    if let Some(key) = &args.key {
        return Ok(FreezeScope::Key(key.clone()));
    }
    if let Some(desk) = &args.desk {
        return Ok(FreezeScope::Role(desk.clone()));
    }
    if let Some(agent) = &args.agent {
        return Ok(FreezeScope::Principal(agent.clone()));
    }
    if let Some(text) = &args.counterparty {
        return Ok(FreezeScope::Counterparty(counterparty(text, constitution)?));
    }
    if let Some(chain) = &args.chain {
        return Ok(FreezeScope::Chain(chain.clone()));
    }
    Ok(FreezeScope::All)
}

/// A name of the address book, or an address.
fn counterparty(text: &str, constitution: &Constitution) -> Result<Address, Failure> {
    let mut book = constitution.charter().book.iter();
    if let Some(entry) = book.find(|entry| entry.name.as_str() == text) {
        return Ok(entry.address.clone());
    }
    text.parse().map_err(|e| {
        Failure::new(format!("`{text}` is no counterparty"))
            .because(format!(
                "the address book has no such name, and as an address: {e}"
            ))
            .next("`quoin book list` shows the names")
    })
}

fn scope_words(args: &FreezeArgs) -> String {
    let named = [
        ("the key", args.key.as_ref().map(ToString::to_string)),
        ("the desk", args.desk.as_ref().map(ToString::to_string)),
        ("the agent", args.agent.as_ref().map(ToString::to_string)),
        ("the counterparty", args.counterparty.clone()),
        ("the chain", args.chain.as_ref().map(ToString::to_string)),
    ];
    let named = named
        .into_iter()
        .find_map(|(kind, name)| Some((kind, name?)));
    named.map_or_else(
        || "everything".to_owned(),
        |(kind, name)| format!("{kind} `{name}`"),
    )
}

/// `quoin freezes`.
pub async fn list(args: ReadArgs) -> Result<(), Failure> {
    let session = Session::open_if_asked(&args.data.folder()).await?;
    let known = session.freezes().await?;
    if args.json {
        return say::json(&known);
    }
    for frozen in &known.freezes {
        say::line(line(frozen, &known.nodes));
    }
    if known.freezes.is_empty() {
        say::line("nothing is frozen");
    }
    for principal in &known.suspended {
        say::line(format!(
            "suspended  {principal}: freezes of it count no longer"
        ));
    }
    let mut digests: Vec<&str> = known.nodes.iter().map(|n| n.digest.as_str()).collect();
    digests.sort_unstable();
    digests.dedup();
    if digests.len() > 1 {
        say::line(
            "the nodes DIFFER: those that do sign only what is in the corridor until they agree",
        );
    }
    for (node, why) in &known.unreached {
        say::line(format!("node {node}     NOT REACHED: {why}"));
    }
    Ok(())
}

fn line(frozen: &Frozen, nodes: &[NodeFreezes]) -> String {
    let freeze = &frozen.freeze;
    let scope = match &freeze.scope {
        FreezeScope::All => "everything".to_owned(),
        FreezeScope::Key(name) => format!("key `{name}`"),
        FreezeScope::Role(role) => format!("desk `{role}`"),
        FreezeScope::Principal(id) => format!("agent `{id}`"),
        FreezeScope::Counterparty(address) => format!("counterparty `{address}`"),
        FreezeScope::Chain(chain) => format!("chain `{chain}`"),
    };
    let level = match freeze.level {
        FreezeLevel::Risk => "but the corridor",
        FreezeLevel::Hard => "HARD",
    };
    let on: Vec<String> = frozen.on.iter().map(NodeIndex::to_string).collect();
    let place = if frozen.on.len() == nodes.len() {
        String::new()
    } else {
        format!("  (only on nodes {})", on.join(", "))
    };
    format!(
        "{}  {scope}, {level}, by `{}` at {}: {}{place}",
        freeze.id,
        freeze.principal,
        date(freeze.at),
        freeze.reason
    )
}
