//! The checks between a charter and a constitution, and every way in which a charter can fail.
//!
//! Signatures are not checked here but in [`crate::verify_genesis`] and
//! [`crate::verify_successor`].

use crate::budget::{Budget, Measure, Mode, Scope, WINDOW_MS_MAX};
use crate::cedar::Rules;
use crate::charter::{Charter, GOVERNOR_ROLE, Principal};
use crate::constitution::Constitution;
use quoin_core::ids::NODE_INDEX_MAX;
use quoin_core::signer_set::{SIGNERS_MAX, SIGNERS_MIN};
use quoin_core::{CharterNumber, NodeIndex, Statement, cbor};
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
/// The longest text of all policies.
pub(crate) const POLICIES_BYTES_MAX: usize = 128 * 1024;
/// The longest name of a cluster or operator.
pub(crate) const NAME_BYTES_MAX: usize = 64;
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

/// Why a charter is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CharterError {
    /// A list, text or the whole charter is over its limit.
    #[error("`{place}` has {found}, which is over the limit of {max}")]
    TooLarge {
        /// Where.
        place: String,
        /// How much there is.
        found: usize,
        /// How much there may be.
        max: usize,
    },
    /// A name or symbol is empty or not printable ASCII.
    #[error("`{place}` must be 1 to {max} printable ASCII characters")]
    BadText {
        /// Where.
        place: String,
        /// The longest text allowed.
        max: usize,
    },
    /// The threshold is outside its bounds.
    #[error(
        "`threshold` is {threshold} of {nodes} nodes, but must be 2 to 7 and at most all nodes"
    )]
    BadThreshold {
        /// The threshold.
        threshold: u8,
        /// How many nodes there are.
        nodes: usize,
    },
    /// `2t > n + f_tol` does not hold.
    #[error(
        "`f_tol` is {f_tol}: {threshold} of {nodes} nodes cannot promise exactly-once, because \
         twice the threshold must be over the number of nodes plus `f_tol`; lower `f_tol`, raise \
         `threshold`, or set `dangerous_disjoint_signers`"
    )]
    DisjointSigners {
        /// The threshold.
        threshold: u8,
        /// How many nodes there are.
        nodes: usize,
        /// The malicious nodes tolerated.
        f_tol: u8,
    },
    /// `f_tol` is not below the threshold.
    #[error("`f_tol` is {f_tol}, but {threshold} malicious nodes are enough to sign anything")]
    FTolOverThreshold {
        /// The threshold.
        threshold: u8,
        /// The malicious nodes tolerated.
        f_tol: u8,
    },
    /// The same index, id, name or credential occurs twice.
    #[error("`{place}`: `{value}` occurs twice")]
    Duplicate {
        /// Where the second one is.
        place: String,
        /// What occurs twice.
        value: String,
    },
    /// A principal has no credential.
    #[error("`{place}` has no credential")]
    NoCredential {
        /// The principal.
        place: String,
    },
    /// A quorum is zero, or larger than the number of those who could make it.
    #[error("`{place}` asks for {quorum} of `{role}`, which {holders} hold")]
    UnreachableQuorum {
        /// Where the quorum is stated.
        place: String,
        /// The role.
        role: String,
        /// How many are asked for.
        quorum: u8,
        /// How many hold the role.
        holders: usize,
    },
    /// A budget's window is zero or too long.
    #[error("`{place}` must be 1 to 2678400000 milliseconds, which is 31 days")]
    BadWindow {
        /// Where.
        place: String,
    },
    /// A budget's cap is too small to be divided among the nodes.
    #[error("`{place}` must be at least {min}: a strict cap is divided by n - t + 1")]
    CapTooSmall {
        /// Where.
        place: String,
        /// The smallest cap that lets anything through.
        min: u64,
    },
    /// A budget's mode is not available yet.
    #[error("`{place}` is `sticky`, which this version does not keep yet; use `strict`")]
    StickyNotSupported {
        /// Where.
        place: String,
    },
    /// A budget, policy or quorum names something that the charter does not define.
    #[error("`{place}` names `{name}`, which the charter does not define")]
    UnknownName {
        /// Where.
        place: String,
        /// The name.
        name: String,
    },
    /// An asset has too many decimals.
    #[error("`{place}` must be at most 36")]
    BadDecimals {
        /// Where.
        place: String,
    },
    /// The policies are not Cedar.
    #[error("`policies` cannot be read: {detail}")]
    PolicySyntax {
        /// What the reader says.
        detail: String,
    },
    /// The policies do not pass strict validation against the schema.
    #[error("policy `{policy}` is not valid: {detail}")]
    PolicyInvalid {
        /// The policy, by its `@id` or its place.
        policy: String,
        /// What the validator says.
        detail: String,
    },
    /// A policy has no `@id`, or a malformed one.
    #[error("{place} has no `@id(\"...\")` of 1 to 64 characters of `a-z`, `0-9`, `-`, `_`, `.`")]
    PolicyId {
        /// The policy's place in the text.
        place: String,
    },
    /// A policy has an annotation that is unknown or cannot be read.
    #[error("policy `{policy}`: annotation `@{annotation}(\"{value}\")` {problem}")]
    BadAnnotation {
        /// The policy.
        policy: String,
        /// The annotation's name.
        annotation: String,
        /// Its value.
        value: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A policy is a template, which charters do not have.
    #[error("policy `{policy}` is a template; write a policy for each case")]
    Template {
        /// The policy.
        policy: String,
    },
    /// The genesis names a cluster or predecessor, or is not number 0.
    #[error("`{place}` does not fit a genesis charter")]
    NotGenesis {
        /// The field.
        place: &'static str,
    },
    /// A later charter lacks its cluster or predecessor.
    #[error("`{place}` is missing; only the genesis goes without")]
    MissingLink {
        /// The field.
        place: &'static str,
    },
    /// A successor does not follow the current charter.
    #[error("`{place}` does not follow charter {current}")]
    NotSuccessor {
        /// The field.
        place: &'static str,
        /// The number of the current charter.
        current: u64,
    },
    /// A successor keeps fewer of the current nodes than must sign.
    #[error(
        "only {staying} nodes of charter {current} stay, and {threshold} must, each with its index \
         and credential: only nodes that hold shares can deal them to others; change the nodes in \
         two steps, and reshare every key in between"
    )]
    TooFewNodesStay {
        /// How many stay.
        staying: usize,
        /// How many must.
        threshold: u8,
        /// The number of the current charter.
        current: u64,
    },
    /// A successor gives the identity of one node to another index.
    #[error(
        "node {now} has the credential of node {before} of charter {current}, but an identity \
         keeps its index, which its shares and its journal name; make a new identity instead"
    )]
    NodeMoved {
        /// The node's index in the current charter.
        before: NodeIndex,
        /// Its index in the successor.
        now: NodeIndex,
        /// The number of the current charter.
        current: u64,
    },
    /// A backup asks for none, or for more officers than there are.
    #[error(
        "`backup.threshold` is {threshold} of {officers} officers; it must be 1 to all of them"
    )]
    BadBackupThreshold {
        /// How many officers open a backup.
        threshold: u8,
        /// How many there are.
        officers: usize,
    },
    /// An officer's recipient is not one.
    #[error(
        "`{place}` must be an X25519 recipient as `age-keygen` prints it: `age1` and 58 characters"
    )]
    BadRecipient {
        /// Where.
        place: String,
    },
    /// Someone who must sign the genesis has not.
    #[error("the genesis is not signed by {who}")]
    MissingSignature {
        /// The node or governor.
        who: String,
    },
    /// Too few governors signed the successor.
    #[error("signed by {signed} governors of the current charter, which asks for {quorum}")]
    TooFewGovernors {
        /// How many signed.
        signed: usize,
        /// How many are needed.
        quorum: u8,
    },
}

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
        assets_and_book(&self)?;
        budgets(&self)?;
        backup(&self)?;
        let rules = Rules::compile(&self)?;
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
    distinct("credentials", credentials)?;
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
    c.budgets.iter().try_for_each(|b| budget(c, b))
}

fn budget(c: &Charter, b: &Budget) -> Result<(), CharterError> {
    let place = |field: &str| format!("budgets.{}.{field}", b.id);
    if !(1..=WINDOW_MS_MAX).contains(&b.window_ms) {
        return Err(CharterError::BadWindow {
            place: place("window_ms"),
        });
    }
    if b.mode == Mode::Sticky {
        return Err(CharterError::StickyNotSupported {
            place: place("mode"),
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
