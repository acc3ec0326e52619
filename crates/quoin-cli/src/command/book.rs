//! `quoin book`: the address book, and a new entry by the next charter.

use super::charter::{bring, successor};
use crate::cli::{BookAddArgs, BookCommand, ReadArgs};
use crate::client::Session;
use crate::client::standing::date;
use crate::failure::Failure;
use crate::{clock, say};
use quoin_core::ChainId;
use quoin_policy::{BookEntry, BookKind, Charter};
use serde_json::{Value, json};

/// Runs the command.
pub async fn run(command: BookCommand) -> Result<(), Failure> {
    match command {
        BookCommand::List(args) => list(args).await,
        BookCommand::Add(args) => add(args).await,
    }
}

async fn list(args: ReadArgs) -> Result<(), Failure> {
    let session = Session::open(&args.data.folder()).await?;
    let book = &session.constitution().charter().book;
    if args.json {
        let all: Vec<Value> = book.iter().map(|entry| view(&session, entry)).collect();
        return say::json(&all);
    }
    for entry in book {
        say::line(line(&session, entry));
    }
    if book.is_empty() {
        say::line("the address book is empty");
    }
    Ok(())
}

async fn add(args: BookAddArgs) -> Result<(), Failure> {
    let mut session = Session::open(&args.data.folder()).await?;
    let chain_id = session.file().chain_id;
    let entry = BookEntry {
        name: args.name,
        chain: args.chain.unwrap_or(ChainId::Evm(chain_id)),
        address: args.address,
        assets: args.assets,
        kind: if args.margin {
            BookKind::Margin
        } else {
            BookKind::Counterparty
        },
    };
    let current = session.constitution().charter().clone();
    let waits_ms = current.cooling_off_ms;
    let book = current.book.iter().cloned().chain([entry.clone()]);
    let changed = Charter {
        book: book.collect(),
        ..current.clone()
    };
    say::progress(format!(
        "a new entry can receive {} s after the charter came into force on a node",
        waits_ms / 1000
    ));
    let next = successor(&session, changed);
    bring(&mut session, next, &args.governors, args.json).await?;
    if !args.json {
        say::line(line(&session, &entry));
    }
    Ok(())
}

/// From when on an entry can receive, by when its charter was first verified here; each node counts
/// from its own.
fn ready(session: &Session, entry: &BookEntry) -> Option<quoin_core::TimeMs> {
    session
        .constitution()
        .book_ready(&entry.chain, &entry.address)
}

fn view(session: &Session, entry: &BookEntry) -> Value {
    let ready = ready(session, entry);
    json!({
        "name": entry.name,
        "chain": entry.chain,
        "address": entry.address,
        "assets": entry.assets,
        "kind": entry.kind,
        "receives_from": ready,
        "receives": ready.is_some_and(|at| clock::now() >= at),
    })
}

fn line(session: &Session, entry: &BookEntry) -> String {
    let kind = match entry.kind {
        BookKind::Counterparty => "",
        BookKind::Margin => "  (own margin account)",
    };
    let wait = match ready(session, entry) {
        Some(at) if clock::now() >= at => String::new(),
        Some(at) => format!("  cools off until {}", date(at)),
        None => "  not in the book".to_owned(),
    };
    format!(
        "{:<14} {} {}{kind}{wait}",
        entry.name.as_str(),
        entry.chain,
        entry.address
    )
}
