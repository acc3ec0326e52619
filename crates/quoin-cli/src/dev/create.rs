//! The first start of a dev cluster: identities of three nodes, a gateway, six principals and three
//! officers, and a genesis that all of them sign.
//!
//! All secrets lie in one folder here, which is what makes it a dev cluster: it shows how things
//! work, and protects nothing.

use crate::command::backup::make_officer;
use crate::failure::Failure;
use crate::folder::{self, ClusterFile, Folder, create_identity, write_file};
use crate::gateway::{AgentEntry, create_gateway};
use crate::{clock, say};
use quoin_core::cbor::Version;
use quoin_core::{
    Address, Amount, AssetId, Certificate, ChainId, CharterNumber, NodeIndex, RoleId,
    SigningIdentity, TimeMs,
};
use quoin_node::run::NodePublic;
use quoin_policy::{
    Asset, BackupPolicy, BookEntry, BookKind, Budget, Charter, FactKind, FactRule, GatewayEntry,
    KeyGrant, Measure, Mode, NodeEntry, Officer, Principal, Scope, verify_genesis,
};
use std::collections::BTreeMap;

/// How many nodes a dev cluster has.
pub const NODES: u8 = 3;
/// How many of them sign.
pub const THRESHOLD: u8 = 2;
/// The gateway's id in the charter.
pub const GATEWAY_ID: &str = "gateway-1";
/// The agent behind the JSON-RPC face.
pub const BOT: &str = "bot";
/// The principals and their roles. The bot may read policies so that an unmodified client is told
/// which rule it lacks; an agent of a real desk would not.
const PRINCIPALS: [(&str, &[&str]); 6] = [
    ("alice", &["governor", "trader"]),
    ("bob", &["governor", "treasury"]),
    ("carol", &["treasury", "approver"]),
    ("wendy", &["watcher", "operator"]),
    ("feed-1", &["feed"]),
    (BOT, &["agent", "policy-reader"]),
];
/// What the address book has. Suggestions never name an address that it lacks, so the one that the
/// first ten minutes pay is in it.
const BOOK: [(&str, &str, BookKind); 2] = [
    (
        "burn",
        "0x000000000000000000000000000000000000dead",
        BookKind::Counterparty,
    ),
    (
        "venue",
        "0x000000000000000000000000000000000feed001",
        BookKind::Margin,
    ),
];
/// How long a dev cluster believes a feed.
const FACT_MS: u64 = 10 * 60 * 1000;
/// By how much feeds may differ, in hundredths of a percent.
const DEVIATION_BP: u32 = 100;
/// How many requests a day the corridor has.
const CORRIDOR_COUNT: u64 = 100;
/// To whom the nodes of a dev cluster seal their backups, and how many of them open one.
const OFFICERS: [&str; 3] = ["ann", "ben", "cleo"];
/// How many of them open a backup together.
const OFFICERS_NEEDED: u8 = 2;
/// How long the grants of a dev cluster last.
const GRANT_MS: u64 = 3 * 365 * 24 * 60 * 60 * 1000;
/// The policies that a dev cluster starts with.
const POLICIES: &str = include_str!("policies.cedar");
/// One day.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Makes a cluster in an empty folder.
pub fn create(folder: &Folder, chain_id: u64, rpc: Option<String>) -> Result<(), Failure> {
    if folder.path("node-1").exists() {
        let root = folder.root().display();
        return Err(Failure::new(format!("`{root}` holds a half-made cluster"))
            .because("an earlier first start did not finish")
            .next(format!(
                "remove the folder (no key was ever made in it): rm -r {root}"
            )));
    }
    say::progress("making the identities of three nodes, a gateway and six principals …");
    let nodes = (1..=NODES)
        .filter_map(NodeIndex::new)
        .map(|index| {
            let public = super::cluster::create_node(folder, index)?;
            Ok((index, public))
        })
        .collect::<Result<Vec<_>, Failure>>()?;
    let principals = PRINCIPALS
        .iter()
        .map(|(id, roles)| {
            let identity = create_identity(&folder.path(format!("principals/{id}.key")))?;
            Ok((*id, *roles, identity))
        })
        .collect::<Result<Vec<_>, Failure>>()?;
    let gateway_key = create_gateway(&folder.path("gateway"))?;
    let mut charter = charter(&nodes, &principals, gateway_key, chain_id)?;
    charter.backup = Some(officers(folder)?);
    let mut certificate = Certificate::unsigned(charter);
    for (_, roles, identity) in &principals {
        if roles.contains(&quoin_policy::GOVERNOR_ROLE) {
            certificate.endorse(identity);
        }
    }
    for (index, _) in &nodes {
        quoin_node::run::sign_genesis(&folder.path(format!("node-{index}")), &mut certificate)
            .map_err(Failure::from_error(format!(
                "node {index} cannot sign the genesis"
            )))?;
    }
    let (_, cluster) = verify_genesis(&certificate).map_err(Failure::from_error(
        "the genesis of the dev cluster does not verify",
    ))?;
    write_file(&folder.path("genesis.cbor"), &certificate.to_bytes(), 0o600)?;
    folder::write_json(
        &folder.path("agents.json"),
        &[AgentEntry::random(BOT, "desk-ecdsa", chain_id)?],
    )?;
    // Last, because its presence says that the folder is complete.
    folder.save_cluster(&ClusterFile {
        cluster,
        gateway: String::new(),
        chain_id,
        rpc,
        dev: true,
        nodes: BTreeMap::new(),
    })
}

/// Makes the officers of a dev cluster, who would keep their identities offline, each on their own.
fn officers(folder: &Folder) -> Result<BackupPolicy, Failure> {
    folder::create_private(&folder.path("officers"))?;
    let officers = OFFICERS.iter().map(|name| {
        Ok(Officer {
            name: (*name).to_owned(),
            recipient: make_officer(&folder.path(format!("officers/{name}.key")))?,
        })
    });
    Ok(BackupPolicy {
        threshold: OFFICERS_NEEDED,
        officers: officers.collect::<Result<_, Failure>>()?,
    })
}

fn charter(
    nodes: &[(NodeIndex, NodePublic)],
    principals: &[(&str, &[&str], SigningIdentity)],
    gateway_key: [u8; 32],
    chain_id: u64,
) -> Result<Charter, Failure> {
    let bad = |what: &str| Failure::new(format!("`{what}` is not an id"));
    let expires = clock::now().plus(GRANT_MS);
    let native = AssetId {
        chain: ChainId::Evm(chain_id),
        token: None,
    };
    Ok(Charter {
        version: Version,
        name: "dev cluster".to_owned(),
        number: CharterNumber(0),
        cluster: None,
        previous: None,
        nodes: nodes
            .iter()
            .map(|(index, public)| node_entry(*index, public))
            .collect(),
        threshold: THRESHOLD,
        f_tol: 0,
        dangerous_disjoint_signers: false,
        gateways: vec![GatewayEntry {
            id: GATEWAY_ID.parse().map_err(|_| bad(GATEWAY_ID))?,
            tls_key_hash: gateway_key,
        }],
        principals: principals
            .iter()
            .map(|(id, roles, identity)| principal(id, roles, identity, expires))
            .collect::<Result<_, _>>()?,
        governor_quorum: 2,
        budgets: vec![
            budget("traders-day", Scope::Role(role("trader")?), &native, 100)?,
            budget("agents-day", Scope::Role(role("agent")?), &native, 20)?,
            budget("corridor-day", Scope::Corridor, &native, 1)?,
            Budget {
                measure: Measure::Count,
                cap: Amount::from(CORRIDOR_COUNT),
                ..budget("corridor-count", Scope::Corridor, &native, 1)?
            },
        ],
        facts: facts(&native)?,
        assets: vec![Asset {
            asset: native,
            symbol: "ETH".to_owned(),
            decimals: 18,
        }],
        book: book(chain_id)?,
        policies: POLICIES.to_owned(),
        backup: None,
        // Every other key is deposit-only until a charter lists it; `vault` is the treasury key that
        // people make first.
        keys: super::KEYS
            .iter()
            .map(|(name, _)| *name)
            .chain(["vault"])
            .map(|name| {
                Ok(KeyGrant {
                    key: name.parse().map_err(|_| bad(name))?,
                    dangerous_digest_account: false,
                })
            })
            .collect::<Result<_, Failure>>()?,
        cooling_off_ms: 0,
        payload_retention_days: None,
        recovery: None,
        dangerous_single_failure_domain: true,
    })
}

/// A node's place in a charter.
pub fn node_entry(index: NodeIndex, public: &NodePublic) -> NodeEntry {
    NodeEntry {
        index,
        credential: public.credential.clone(),
        tls_key_hash: public.tls_key_hash,
        operator: "this machine".to_owned(),
        cloud: String::new(),
        region: String::new(),
    }
}

fn principal(
    id: &str,
    roles: &[&str],
    identity: &SigningIdentity,
    expires: TimeMs,
) -> Result<Principal, Failure> {
    Ok(Principal {
        id: id.parse().map_err(Failure::from_error("bad principal"))?,
        roles: roles.iter().map(|r| role(r)).collect::<Result<_, _>>()?,
        credentials: vec![identity.public()],
        expires,
        operator: None,
        granted_by: None,
    })
}

fn book(chain_id: u64) -> Result<Vec<BookEntry>, Failure> {
    let entry = |(name, address, kind): (&str, &str, BookKind)| {
        Ok(BookEntry {
            name: name.parse().map_err(Failure::from_error("bad name"))?,
            chain: ChainId::Evm(chain_id),
            address: address
                .parse::<Address>()
                .map_err(Failure::from_error("bad address"))?,
            assets: Vec::new(),
            kind,
        })
    };
    BOOK.into_iter().map(entry).collect()
}

/// One feed is enough for a machine on which one person plays all of them.
fn facts(native: &AssetId) -> Result<Vec<FactRule>, Failure> {
    let margins = BOOK.iter().filter(|(_, _, kind)| *kind == BookKind::Margin);
    let margins = margins.map(|(name, ..)| {
        let name = name.parse().map_err(Failure::from_error("bad name"))?;
        Ok(FactKind::Margin(name))
    });
    let kinds = margins.chain([Ok(FactKind::Price(native.clone()))]);
    let rule = |kind: Result<FactKind, Failure>| {
        Ok(FactRule {
            kind: kind?,
            quorum: 1,
            age_ms_max: FACT_MS,
            deviation_bp_max: DEVIATION_BP,
        })
    };
    kinds.map(rule).collect()
}

fn role(name: &str) -> Result<RoleId, Failure> {
    name.parse().map_err(Failure::from_error("bad role"))
}

/// A daily budget in whole coins.
fn budget(id: &str, scope: Scope, asset: &AssetId, coins: u64) -> Result<Budget, Failure> {
    let cap = Amount::from(1_000_000_000_000_000_000u64)
        .checked_mul(Amount::from(coins))
        .ok_or_else(|| Failure::new("bad budget"))?;
    Ok(Budget {
        id: id.parse().map_err(Failure::from_error("bad budget"))?,
        scope,
        measure: Measure::Asset(asset.clone()),
        cap,
        window_ms: DAY_MS,
        mode: Mode::Strict,
    })
}
