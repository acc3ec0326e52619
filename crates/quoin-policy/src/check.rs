//! The checks between a charter and a constitution.
//!
//! Signatures are not checked here but in [`crate::verify_genesis`] and
//! [`crate::verify_successor`].

mod error;
mod grants;
mod topology;
mod world;

pub use error::CharterError;
pub(crate) use topology::operator;
pub(crate) use world::kind_name;

use crate::budget::{Budget, Measure, Mode, Scope, WINDOW_MS_MAX};
use crate::cedar::Rules;
use crate::charter::{Charter, GOVERNOR_ROLE, Principal};
use crate::constitution::Constitution;
use crate::sets::STICKY_TALLIES_MAX;
use quoin_core::ids::NODE_INDEX_MAX;
use quoin_core::signer_set::{SIGNERS_MAX, SIGNERS_MIN};
use quoin_core::{CharterNumber, PublicCredential, Statement, cbor};
use std::collections::BTreeSet;
use std::fmt::Display;

/// The most gateways: each holds a connection to every node.
pub(crate) const GATEWAYS_MAX: usize = 16;
/// The most principals: a desk with its bots, not a directory.
pub(crate) const PRINCIPALS_MAX: usize = 512;
/// The most governors, so that a genesis signed by all and by 15 nodes stays one certificate.
pub(crate) const GOVERNORS_MAX: usize = 32;
/// The most roles of one principal.
pub(crate) const ROLES_MAX: usize = 16;
/// The most credentials of one principal.
pub(crate) const CREDENTIALS_MAX: usize = 8;
/// The most budgets: each in scope costs a look-up for every request.
pub(crate) const BUDGETS_MAX: usize = 256;
/// The most assets.
pub(crate) const ASSETS_MAX: usize = 1024;
/// The most entries of the address book.
pub(crate) const BOOK_MAX: usize = 1024;
/// The most rules for facts: one for each asset, account and chain that policies look at.
pub(crate) const FACT_RULES_MAX: usize = 1024;
/// The most keys that may spend.
pub(crate) const KEYS_MAX: usize = 1024;
/// The longest text of all policies: a thousand rules of 300 characters, and in Base64 still within
/// what a gateway reads as one body.
pub(crate) const POLICIES_BYTES_MAX: usize = 320 * 1024;
/// The longest name of a cluster or operator.
pub(crate) const NAME_BYTES_MAX: usize = 64;
/// The shortest window of a budget: below a minute a cap is no cap, because the clocks of good nodes
/// differ by seconds.
pub(crate) const WINDOW_MS_MIN: u64 = 60_000;
/// The longest symbol of an asset.
pub(crate) const SYMBOL_BYTES_MAX: usize = 16;
/// The most decimals of an asset; tokens with more exist only as attacks.
pub(crate) const DECIMALS_MAX: u8 = 36;
/// The most officers of a backup: each has one part of every share.
pub(crate) const OFFICERS_MAX: usize = 15;
/// What every recipient of the `age` format begins with.
const RECIPIENT_PREFIX: &str = "age1";
/// How long an X25519 recipient is: the prefix, 32 bytes in fives of bits, and a checksum of six.
const RECIPIENT_BYTES: usize = 62;
/// The characters of Bech32 after the prefix.
const BECH32: &str = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";

impl Charter {
    /// Checks everything but signatures and compiles the policies.
    ///
    /// # Errors
    /// When anything in the charter is out of bounds, with the place.
    ///
    /// # Security
    /// The result is not authorised by anybody. A node makes its constitution with
    /// [`crate::verify_genesis`] and [`crate::verify_successor`]; this is for whoever writes a
    /// charter and wants to know whether it holds together.
    pub fn check(self) -> Result<Constitution, CharterError> {
        sizes(&self)?;
        linkage(&self)?;
        thresholds(&self)?;
        names(&self)?;
        identities(&self)?;
        principals(&self)?;
        grants::check(&self)?;
        assets_and_book(&self)?;
        world::check(&self)?;
        budgets(&self)?;
        backup(&self)?;
        topology::check(&self)?;
        let rules = Rules::compile(&self)?;
        topology::check_approvals(&self, &rules)?;
        for budget in &self.budgets {
            if rules.has(budget.id.as_str()) {
                return Err(duplicate("budgets", &budget.id));
            }
        }
        Ok(Constitution::new(self, rules))
    }
}

fn sizes(c: &Charter) -> Result<(), CharterError> {
    for (place, found, max) in [
        ("nodes", c.nodes.len(), NODE_INDEX_MAX as usize),
        ("gateways", c.gateways.len(), GATEWAYS_MAX),
        ("principals", c.principals.len(), PRINCIPALS_MAX),
        ("governors", c.governors().count(), GOVERNORS_MAX),
        ("budgets", c.budgets.len(), BUDGETS_MAX),
        ("assets", c.assets.len(), ASSETS_MAX),
        ("book", c.book.len(), BOOK_MAX),
        ("policies", c.policies.len(), POLICIES_BYTES_MAX),
        ("facts", c.facts.len(), FACT_RULES_MAX),
        ("keys", c.keys.len(), KEYS_MAX),
    ] {
        at_most(place, found, max)?;
    }
    for p in &c.principals {
        at_most(
            &format!("principals.{}.roles", p.id),
            p.roles.len(),
            ROLES_MAX,
        )?;
        let place = format!("principals.{}.credentials", p.id);
        at_most(&place, p.credentials.len(), CREDENTIALS_MAX)?;
    }
    at_most("charter", cbor::encode(c).len(), Charter::BYTES_MAX)
}

fn at_most(place: &str, found: usize, max: usize) -> Result<(), CharterError> {
    if found <= max {
        Ok(())
    } else {
        Err(CharterError::TooLarge {
            place: place.to_owned(),
            found,
            max,
        })
    }
}

fn linkage(c: &Charter) -> Result<(), CharterError> {
    let genesis = c.number == CharterNumber(0);
    match (&c.cluster, &c.previous) {
        (Some(_), _) if genesis => Err(CharterError::NotGenesis { place: "cluster" }),
        (_, Some(_)) if genesis => Err(CharterError::NotGenesis { place: "previous" }),
        (None, _) if !genesis => Err(CharterError::MissingLink { place: "cluster" }),
        (_, None) if !genesis => Err(CharterError::MissingLink { place: "previous" }),
        _ => Ok(()),
    }
}

fn thresholds(c: &Charter) -> Result<(), CharterError> {
    let (nodes, threshold, f_tol) = (c.nodes.len(), c.threshold, c.f_tol);
    let t = usize::from(threshold);
    if !(SIGNERS_MIN..=SIGNERS_MAX).contains(&t) || t > nodes {
        return Err(CharterError::BadThreshold { threshold, nodes });
    }
    if f_tol >= threshold {
        return Err(CharterError::FTolOverThreshold { threshold, f_tol });
    }
    if 2 * t <= nodes + usize::from(f_tol) && !c.dangerous_disjoint_signers {
        return Err(CharterError::DisjointSigners {
            threshold,
            nodes,
            f_tol,
        });
    }
    Ok(())
}

fn names(c: &Charter) -> Result<(), CharterError> {
    printable("name", &c.name, NAME_BYTES_MAX)?;
    for node in &c.nodes {
        let place = format!("nodes.{}.operator", node.index);
        printable(&place, &node.operator, NAME_BYTES_MAX)?;
        for (field, text) in [("cloud", &node.cloud), ("region", &node.region)] {
            if !text.is_empty() {
                let place = format!("nodes.{}.{field}", node.index);
                printable(&place, text, NAME_BYTES_MAX)?;
            }
        }
    }
    for p in &c.principals {
        if let Some(operator) = &p.operator {
            let place = format!("principals.{}.operator", p.id);
            printable(&place, operator, NAME_BYTES_MAX)?;
        }
    }
    for asset in &c.assets {
        let place = format!("assets.{}.symbol", asset.asset);
        printable(&place, &asset.symbol, SYMBOL_BYTES_MAX)?;
    }
    Ok(())
}

fn printable(place: &str, text: &str, max: usize) -> Result<(), CharterError> {
    let fits = (1..=max).contains(&text.len());
    if fits && text.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) {
        Ok(())
    } else {
        Err(CharterError::BadText {
            place: place.to_owned(),
            max,
        })
    }
}

fn duplicate(place: &str, value: impl Display) -> CharterError {
    CharterError::Duplicate {
        place: place.to_owned(),
        value: value.to_string(),
    }
}

/// Refuses the second occurrence of a value.
fn distinct<T: Ord + Display>(
    place: &str,
    values: impl IntoIterator<Item = T>,
) -> Result<(), CharterError> {
    let mut seen = BTreeSet::new();
    for value in values {
        if seen.contains(&value) {
            return Err(duplicate(place, value));
        }
        seen.insert(value);
    }
    Ok(())
}

fn identities(c: &Charter) -> Result<(), CharterError> {
    distinct("nodes.index", c.nodes.iter().map(|n| n.index))?;
    distinct("gateways.id", c.gateways.iter().map(|g| &g.id))?;
    distinct("principals.id", c.principals.iter().map(|p| &p.id))?;
    // One credential in two places would let one party speak for two.
    let of_principals = c.principals.iter().flat_map(|p| &p.credentials);
    let credentials = c.nodes.iter().map(|n| &n.credential).chain(of_principals);
    distinct("credentials", credentials.clone())?;
    // Nor is one key two people because it is written down as two kinds of credential.
    distinct(
        "credentials",
        credentials.map(|c| hex::encode(c.key_bytes())),
    )?;
    let alive = |place: String, credential: &PublicCredential| {
        if credential.is_key() {
            Ok(())
        } else {
            Err(CharterError::DeadCredential { place })
        }
    };
    for p in &c.principals {
        for credential in &p.credentials {
            alive(format!("principals.{}.credentials", p.id), credential)?;
        }
    }
    for node in &c.nodes {
        alive(format!("nodes.{}.credential", node.index), &node.credential)?;
        if matches!(node.credential, PublicCredential::Passkey(_)) {
            return Err(CharterError::NodePasskey {
                place: format!("nodes.{}.credential", node.index),
            });
        }
    }
    let of_gateways = c.gateways.iter().map(|g| &g.tls_key_hash);
    let tls_keys = c.nodes.iter().map(|n| &n.tls_key_hash).chain(of_gateways);
    distinct("tls_key_hash", tls_keys.map(hex::encode))
}

fn principals(c: &Charter) -> Result<(), CharterError> {
    for p in &c.principals {
        distinct(&format!("principals.{}.roles", p.id), &p.roles)?;
        if p.credentials.is_empty() {
            return Err(CharterError::NoCredential {
                place: format!("principals.{}", p.id),
            });
        }
    }
    reachable(
        "governor_quorum",
        GOVERNOR_ROLE,
        c.governor_quorum,
        &c.principals,
    )
}

/// Checks that a quorum is at least one and that enough principals hold the role.
pub(crate) fn reachable(
    place: &str,
    role: &str,
    quorum: u8,
    principals: &[Principal],
) -> Result<(), CharterError> {
    let holders = principals.iter().filter(|p| p.holds(role)).count();
    if quorum >= 1 && usize::from(quorum) <= holders {
        return Ok(());
    }
    Err(CharterError::UnreachableQuorum {
        place: place.to_owned(),
        role: role.to_owned(),
        quorum,
        holders,
    })
}

fn assets_and_book(c: &Charter) -> Result<(), CharterError> {
    distinct("assets.asset", c.assets.iter().map(|a| a.asset.to_string()))?;
    distinct("book.name", c.book.iter().map(|b| &b.name))?;
    let addresses = c.book.iter().map(|b| format!("{}/{}", b.chain, b.address));
    distinct("book.address", addresses)?;
    match c.assets.iter().find(|a| a.decimals > DECIMALS_MAX) {
        None => Ok(()),
        Some(asset) => Err(CharterError::BadDecimals {
            place: format!("assets.{}.decimals", asset.asset),
        }),
    }
}

fn backup(c: &Charter) -> Result<(), CharterError> {
    let Some(policy) = &c.backup else {
        return Ok(());
    };
    let (threshold, officers) = (policy.threshold, policy.officers.len());
    at_most("backup.officers", officers, OFFICERS_MAX)?;
    if threshold == 0 || usize::from(threshold) > officers {
        return Err(CharterError::BadBackupThreshold {
            threshold,
            officers,
        });
    }
    for (place, officer) in policy.officers.iter().enumerate() {
        let place = format!("backup.officers[{place}]");
        printable(&format!("{place}.name"), &officer.name, NAME_BYTES_MAX)?;
        let data = officer.recipient.strip_prefix(RECIPIENT_PREFIX);
        let fits = officer.recipient.len() == RECIPIENT_BYTES;
        if !fits || data.is_none_or(|d| !d.chars().all(|c| BECH32.contains(c))) {
            let place = format!("{place}.recipient");
            return Err(CharterError::BadRecipient { place });
        }
    }
    distinct(
        "backup.officers.name",
        policy.officers.iter().map(|o| &o.name),
    )?;
    // One recipient twice would count as two officers.
    distinct(
        "backup.officers.recipient",
        policy.officers.iter().map(|o| &o.recipient),
    )
}

fn budgets(c: &Charter) -> Result<(), CharterError> {
    distinct("budgets.id", c.budgets.iter().map(|b| &b.id))?;
    c.budgets.iter().try_for_each(|b| budget(c, b))?;
    sticky(c)
}

/// Refuses sticky budgets where two signer sets may have no honest node in common, and more of them
/// than an acknowledgement can report.
fn sticky(c: &Charter) -> Result<(), CharterError> {
    let sticky = || c.budgets.iter().filter(|b| b.mode == Mode::Sticky);
    let (t, n) = (usize::from(c.threshold), c.nodes.len());
    let disjoint = 2 * t <= n + usize::from(c.f_tol);
    if let Some(b) = sticky().find(|_| disjoint || c.dangerous_disjoint_signers) {
        let place = format!("budgets.{}.mode", b.id);
        return Err(CharterError::StickyOverDisjoint { place });
    }
    let tallies = sticky().map(|b| match &b.scope {
        Scope::EachHolder(role) => c
            .principals
            .iter()
            .filter(|p| p.roles.contains(role))
            .count(),
        _ => 1,
    });
    at_most("budgets.sticky", tallies.sum(), STICKY_TALLIES_MAX)
}

fn budget(c: &Charter, b: &Budget) -> Result<(), CharterError> {
    let place = |field: &str| format!("budgets.{}.{field}", b.id);
    if !(WINDOW_MS_MIN..=WINDOW_MS_MAX).contains(&b.window_ms) {
        return Err(CharterError::BadWindow {
            place: place("window_ms"),
        });
    }
    // Below this every node's own part rounds down to nothing: a silent prohibition.
    if b.node_limit(c.nodes.len(), c.threshold).is_zero() {
        return Err(CharterError::CapTooSmall {
            place: place("cap"),
            min: (c.nodes.len() as u64 + 1).saturating_sub(u64::from(c.threshold)),
        });
    }
    let known = match &b.scope {
        Scope::Principal(id) => c.principals.iter().any(|p| p.id == *id),
        Scope::Role(role) | Scope::EachHolder(role) => {
            c.principals.iter().any(|p| p.roles.contains(role))
        }
        // Keys and accounts are born later; counterparties need not be in the book.
        Scope::Org
        | Scope::Account(_)
        | Scope::Counterparty(_)
        | Scope::Key(_)
        | Scope::Corridor => true,
    };
    if !known {
        let name = match &b.scope {
            Scope::Principal(id) => id.to_string(),
            Scope::Role(role) => role.to_string(),
            _ => String::new(),
        };
        let place = place("scope");
        return Err(CharterError::UnknownName { place, name });
    }
    match &b.measure {
        Measure::Asset(asset) if !c.assets.iter().any(|a| a.asset == *asset) => {
            Err(CharterError::UnknownName {
                place: place("measure"),
                name: asset.to_string(),
            })
        }
        _ => Ok(()),
    }
}
