//! `quoin outstanding`: what has been signed and could still execute, and burning it.
//!
//! Burning a signature uses up its slot on the chain with a transfer of nothing to oneself for a
//! higher fee. Until the chain has executed one of the two, both are out.

use crate::cli::{OutstandingArgs, OutstandingBurnArgs, OutstandingCommand, SignArgs};
use crate::client::Session;
use crate::client::standing::date;
use crate::failure::Failure;
use crate::say;
use quoin_core::{ChainId, NodeIndex, RequestId};
use quoin_policy::{Closes, Outstanding};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Runs the command.
pub async fn run(args: OutstandingArgs) -> Result<(), Failure> {
    match args.command {
        Some(OutstandingCommand::Burn(burn)) => self::burn(burn).await,
        None => list(args).await,
    }
}

/// What is out, by the nodes' words through the gateway.
#[derive(Debug, Default, Serialize)]
struct Out {
    signatures: BTreeMap<RequestId, Known>,
    /// Nodes that said nothing.
    missing: Vec<NodeIndex>,
    /// Nodes that know of more than they listed.
    truncated: Vec<NodeIndex>,
}

/// A signature, and who knows of it.
#[derive(Debug, Serialize)]
struct Known {
    signature: Outstanding,
    on: BTreeSet<NodeIndex>,
}

async fn read(session: &Session) -> Result<Out, Failure> {
    let body = session.gateway().outstanding().await?;
    let mut out = Out {
        missing: body.missing,
        ..Out::default()
    };
    for node in body.nodes {
        if node.truncated {
            out.truncated.push(node.node);
        }
        for entry in node.entries {
            let signature: Outstanding = serde_json::from_value(entry).map_err(
                Failure::from_error(format!("node {} lists what cannot be read", node.node)),
            )?;
            let known = out.signatures.entry(signature.request_id);
            let on = BTreeSet::new();
            let known = known.or_insert(Known { signature, on });
            known.on.insert(node.node);
        }
    }
    Ok(out)
}

async fn list(args: OutstandingArgs) -> Result<(), Failure> {
    let session = Session::open(&args.data.folder()).await?;
    let out = read(&session).await?;
    if args.json {
        return say::json(&out);
    }
    let mut all: Vec<&Known> = out.signatures.values().collect();
    all.sort_by_key(|known| known.signature.signed_at);
    for known in all {
        say::line(line(&known.signature));
    }
    if out.signatures.is_empty() {
        say::line("nothing is out");
    }
    for (what, nodes) in [
        ("said nothing", &out.missing),
        ("know of more than they listed", &out.truncated),
    ] {
        if !nodes.is_empty() {
            say::line(format!("nodes {} {what}", super::change::list(nodes)));
        }
    }
    Ok(())
}

fn line(signature: &Outstanding) -> String {
    let ends = match signature.closes {
        Closes::Until { at } => format!("until {}", date(at)),
        Closes::Slot {
            nonce,
            cancels: false,
        } => format!("until nonce {nonce} is used"),
        Closes::Slot { nonce, .. } => format!("until nonce {nonce} is used, which it cancels"),
        Closes::Never => "FOR EVER".to_owned(),
    };
    format!(
        "{}  {}  {ends}  (signed {})",
        signature.request_id,
        signature.summary,
        date(signature.signed_at)
    )
}

async fn burn(args: OutstandingBurnArgs) -> Result<(), Failure> {
    let session = Session::open(&args.data.folder()).await?;
    let id = args.request_id;
    let mut out = read(&session).await?;
    let cannot = |why: &str| {
        Failure::new(format!("the signature of request `{id}` cannot be burnt"))
            .because(why)
            .next("`quoin outstanding` lists what is out")
    };
    let known = out.signatures.remove(&id);
    let signature = known
        .ok_or_else(|| cannot("no node says that it is out"))?
        .signature;
    let slot = signature.burnable();
    let slot =
        slot.ok_or_else(|| cannot("it has no slot of its own that something else could use up"))?;
    let ChainId::Evm(chain) = slot.chain else {
        return Err(cannot("its chain is not an EVM chain"));
    };
    let keys = session.keys().await?;
    let key = keys.iter().find(|k| Some(k.public().key) == signature.key);
    let key = key.ok_or_else(|| cannot("its key is not listed"))?;
    say::progress(format!("burning  {}", signature.summary));
    let sign = SignArgs {
        key: key.public().name.clone(),
        path: signature.account.path.clone(),
        principal: args.principal,
        transfer: None,
        amount: None,
        cancel: Some(slot.nonce),
        fee_times: args.fee_times,
        chain: Some(chain),
        transaction: None,
        typed_data: None,
        message: None,
        text: None,
        broadcast: !args.no_broadcast,
        request_id: None,
        yes: args.yes,
        json: args.json,
        data: args.data,
    };
    super::sign::run(sign).await
}
