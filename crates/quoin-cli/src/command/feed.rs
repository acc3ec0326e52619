//! `quoin feed`: state facts as a feed. It is for demonstrations and for jobs that run every minute;
//! a desk's own feed signs the same statement.

use crate::cli::{FeedCommand, FeedPostArgs};
use crate::client::{Session, Statement};
use crate::failure::Failure;
use crate::{clock, say};
use quoin_core::cbor::Version;
use quoin_core::{AssetId, BookName, ChainId, Signed};
use quoin_policy::{FEED_ROLE, Fact, FactStatement};
use serde_json::json;

/// Decimal places of millionths.
const MICRO_PLACES: usize = 6;
/// Decimal places of a ratio in hundredths of a percent.
const BASIS_PLACES: usize = 4;

/// Runs the command.
pub async fn run(command: FeedCommand) -> Result<(), Failure> {
    let FeedCommand::Post(args) = command;
    post(args).await
}

async fn post(args: FeedPostArgs) -> Result<(), Failure> {
    let session = Session::open_if_asked(&args.data.folder()).await?;
    let identity = session.folder().principal(&args.principal)?;
    let known = session.constitution().principal(&args.principal);
    if !known.is_some_and(|p| p.holds(FEED_ROLE)) {
        return Err(Failure::new(format!("`{}` is no feed", args.principal))
            .because(format!("the charter gives it no role `{FEED_ROLE}`"))
            .next("`quoin charter grants` shows who has which role"));
    }
    let now = clock::now();
    let statement = FactStatement {
        version: Version,
        cluster: session.constitution().cluster(),
        feed: args.principal.clone(),
        // The clock counts statements well enough for one process of a feed.
        seq: now.0,
        at: now,
        facts: facts(&session, &args)?,
    };
    let facts = statement.facts.clone();
    let signed = Signed::sign(statement, &identity).to_bytes();
    let delivery = session.deliver(&Statement::Facts(signed)).await;
    let delivery = delivery.at_least_one("the statement of facts")?;
    if args.json {
        return say::json(&json!({
            "facts": facts,
            "seq": now.0,
            "taken": delivery.taken(),
            "delivery": delivery,
        }));
    }
    for line in delivery.lines() {
        say::line(line);
    }
    say::line(format!(
        "{} facts stated as `{}`",
        facts.len(),
        args.principal
    ));
    Ok(())
}

fn facts(session: &Session, args: &FeedPostArgs) -> Result<Vec<Fact>, Failure> {
    let mut facts = Vec::new();
    for text in &args.prices {
        let (asset, usd) = sides("price", text)?;
        facts.push(Fact::Price {
            asset: asset_of(session, asset)?,
            usd_micro: decimal("price", usd, MICRO_PLACES)?,
        });
    }
    for text in &args.margins {
        let (name, state) = sides("margin", text)?;
        let (ratio, exposure) = state.split_once(',').unwrap_or((state, "0"));
        let account: BookName = name
            .parse()
            .map_err(Failure::from_error(format!("`{name}` is no name")))?;
        let ratio = decimal("margin", ratio, BASIS_PLACES)?;
        facts.push(Fact::Margin {
            account,
            ratio_bp: u32::try_from(ratio).map_err(|_| bad("margin", text))?,
            exposure_usd_micro: decimal("margin", exposure, MICRO_PLACES)?,
        });
    }
    for text in &args.heights {
        let (chain, height) = sides("height", text)?;
        let chain: ChainId = chain
            .parse()
            .map_err(Failure::from_error(format!("`{chain}` is no chain")))?;
        facts.push(Fact::Height {
            chain,
            height: height.parse().map_err(|_| bad("height", text))?,
        });
    }
    Ok(facts)
}

/// An asset by its id, or by the symbol that the charter gives it.
fn asset_of(session: &Session, text: &str) -> Result<AssetId, Failure> {
    let assets = &session.constitution().charter().assets;
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let mut named = assets.iter().filter(|a| a.symbol == text);
    match (named.next(), named.next()) {
        (Some(asset), None) => Ok(asset.asset.clone()),
        (Some(_), Some(_)) => Err(Failure::new(format!("`{text}` is more than one asset"))
            .next("name it by its id, such as `eip155:1/native`")),
        _ => Err(Failure::new(format!("`{text}` is no asset"))
            .because("the charter has no such symbol")
            .next("name it by its id, such as `eip155:1/native`")),
    }
}

fn sides<'a>(flag: &str, text: &'a str) -> Result<(&'a str, &'a str), Failure> {
    text.split_once('=').ok_or_else(|| bad(flag, text))
}

fn bad(flag: &str, text: &str) -> Failure {
    Failure::new(format!("`--{flag} {text}` cannot be read"))
        .because("it must be `NAME=NUMBER`, with a point for decimals")
        .next("`quoin feed post --help` has examples")
}

/// A decimal number in units of its last place: never rounded, so that what is stated is what was
/// written.
fn decimal(flag: &str, text: &str, places: usize) -> Result<u64, Failure> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || fraction.len() > places || !digits(whole) || !digits(fraction) {
        return Err(bad(flag, text));
    }
    let padded = format!("{whole}{fraction:0<places$}");
    padded.parse().map_err(|_| bad(flag, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact_or_refused() {
        assert_eq!(decimal("x", "3000", 6).unwrap(), 3_000_000_000);
        assert_eq!(decimal("x", "0.000001", 6).unwrap(), 1);
        assert_eq!(decimal("x", "1.15", 4).unwrap(), 11_500);
        for wrong in [
            "",
            ".5",
            "-1",
            "1.0000001",
            "1e3",
            "1.2.3",
            "99999999999999999999",
        ] {
            assert!(decimal("x", wrong, 6).is_err(), "{wrong}");
        }
    }
}
