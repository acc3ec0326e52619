//! What the charter says of the world: facts, the address book, and the keys that may spend.

use super::topology::operator;
use super::{CharterError, at_most, distinct};
use crate::budget::Scope;
use crate::charter::{BookEntry, BookKind, Charter};
use crate::facts::{FEED_ROLE, FactKind, FactRule};
use quoin_core::AssetId;
use std::collections::BTreeSet;

/// The longest cooling-off: 31 days, as of every other wait.
const COOLING_OFF_MS_MAX: u64 = 31 * 24 * 60 * 60 * 1000;
/// The fewest days for which payloads stay readable: more than a request can wait, or a budget look
/// back.
const RETENTION_DAYS_MIN: u16 = 40;
/// The longest life of a fact: what is older than a day is history.
const FACT_MS_MAX: u64 = 24 * 60 * 60 * 1000;
/// The whole of a value in hundredths of a percent.
const DEVIATION_BP_MAX: u32 = 10_000;
/// The most assets that one entry of the address book lists.
const ENTRY_ASSETS_MAX: usize = 64;

/// Checks all of it.
pub(super) fn check(c: &Charter) -> Result<(), CharterError> {
    if c.payload_retention_days
        .is_some_and(|days| days < RETENTION_DAYS_MIN)
    {
        return Err(CharterError::RetentionTooShort);
    }
    if c.cooling_off_ms > COOLING_OFF_MS_MAX {
        return Err(CharterError::CoolingOffTooLong);
    }
    c.book.iter().try_for_each(|entry| book(c, entry))?;
    distinct("facts.kind", c.facts.iter().map(|f| kind_name(&f.kind)))?;
    c.facts.iter().try_for_each(|rule| fact(c, rule))?;
    distinct("keys.key", c.keys.iter().map(|k| &k.key))?;
    let uncapped = c.keys.iter().filter(|k| k.dangerous_digest_account);
    let capped = |scope: &Scope| c.budgets.iter().any(|b| b.scope == *scope);
    let uncapped = uncapped.map(|k| &k.key);
    match uncapped
        .into_iter()
        .find(|key| !capped(&Scope::Key((*key).clone())))
    {
        None => Ok(()),
        Some(key) => Err(CharterError::DigestAccountWithoutBudget {
            key: key.to_string(),
        }),
    }
}

fn book(c: &Charter, entry: &BookEntry) -> Result<(), CharterError> {
    let place = format!("book.{}.assets", entry.name);
    at_most(&place, entry.assets.len(), ENTRY_ASSETS_MAX)?;
    distinct(&place, entry.assets.iter().map(ToString::to_string))?;
    for asset in &entry.assets {
        if asset.chain != entry.chain {
            return Err(CharterError::ForeignAsset {
                place,
                asset: asset.to_string(),
                chain: entry.chain.to_string(),
            });
        }
        known_asset(c, &place, asset)?;
    }
    Ok(())
}

fn known_asset(c: &Charter, place: &str, asset: &AssetId) -> Result<(), CharterError> {
    if c.assets.iter().any(|a| a.asset == *asset) {
        return Ok(());
    }
    Err(CharterError::UnknownName {
        place: place.to_owned(),
        name: asset.to_string(),
    })
}

fn fact(c: &Charter, rule: &FactRule) -> Result<(), CharterError> {
    let name = kind_name(&rule.kind);
    let place = |field: &str| format!("facts.{name}.{field}");
    if !(1..=FACT_MS_MAX).contains(&rule.age_ms_max) {
        let place = place("age_ms_max");
        return Err(CharterError::BadFactAge { place });
    }
    if rule.deviation_bp_max > DEVIATION_BP_MAX {
        let place = place("deviation_bp_max");
        return Err(CharterError::BadDeviation { place });
    }
    // Feeds of one operator are one voice.
    let feeds = c.principals.iter().filter(|p| p.holds(FEED_ROLE));
    let voices: BTreeSet<&str> = feeds.map(|p| operator(c, p)).collect();
    if rule.quorum == 0 || usize::from(rule.quorum) > voices.len() {
        return Err(CharterError::UnreachableQuorum {
            place: place("quorum"),
            role: format!("operators of `{FEED_ROLE}`"),
            quorum: rule.quorum,
            holders: voices.len(),
        });
    }
    match &rule.kind {
        FactKind::Price(asset) | FactKind::Balance(asset, _) => {
            known_asset(c, &place("kind"), asset)
        }
        FactKind::Margin(account) => {
            let mut own = c.book.iter().filter(|e| e.kind == BookKind::Margin);
            if own.any(|e| e.name == *account) {
                return Ok(());
            }
            Err(CharterError::NotMargin {
                place: place("kind"),
                name: account.to_string(),
            })
        }
        // Which chains there are is for the chain adapters to say.
        FactKind::Height(_) | FactKind::Nonce(..) => Ok(()),
    }
}

/// What a fact is about, in words.
pub(crate) fn kind_name(kind: &FactKind) -> String {
    match kind {
        FactKind::Price(asset) => format!("price of {asset}"),
        FactKind::Margin(account) => format!("margin of {account}"),
        FactKind::Height(chain) => format!("height of {chain}"),
        FactKind::Nonce(chain, account) => format!("nonce of {chain}/{account}"),
        FactKind::Balance(asset, account) => format!("balance of {account} in {asset}"),
    }
}
