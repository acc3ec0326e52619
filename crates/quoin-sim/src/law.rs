//! The charters of a run: who may do what, and what nodes must keep to.

use crate::faults::Defect;
use crate::setup::{APPROVER, CHAIN, FRIEND, STRANGER, Size, TRADER, VAULT, WATCHER, node_entry};
use quoin_core::cbor::Version;
use quoin_core::intent::{Address, AssetId, ChainId};
use quoin_core::{Amount, Certificate, CharterNumber, NodeIndex, SigningIdentity, TimeMs};
use quoin_policy::{
    Asset, Budget, Charter, GatewayEntry, KeyGrant, Measure, Mode, NodeEntry, Principal, Scope,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How long a charter waits on every node before it comes into force there.
pub const CHARTER_DELAY_MS: u64 = 1_000;
/// How many requests are signed in the corridor at most.
pub const CORRIDOR_CAP: u64 = 4;
/// What a loose budget admits in place of one.
const LOOSE: u64 = 1_000;
const WINDOW_MS: u64 = 24 * 60 * 60 * 1000;

/// The people of a run.
pub(crate) struct People<'a> {
    pub(crate) trader: &'a SigningIdentity,
    pub(crate) approver: &'a SigningIdentity,
    pub(crate) watcher: &'a SigningIdentity,
}

/// The first charter, perhaps with a defect: then it is not the one that the checkers know.
pub(crate) fn charter(
    nodes: &BTreeMap<NodeIndex, Arc<SigningIdentity>>,
    people: &People<'_>,
    size: Size,
    cap: u64,
    defect: Option<Defect>,
) -> Option<Charter> {
    Some(Charter {
        version: Version,
        name: "simulation".to_owned(),
        number: CharterNumber(0),
        cluster: None,
        previous: None,
        nodes: nodes.iter().map(node_entry).collect(),
        threshold: size.threshold,
        f_tol: size.f_tol,
        dangerous_disjoint_signers: false,
        gateways: vec![GatewayEntry {
            id: "gateway".parse().ok()?,
            tls_key_hash: [99; 32],
        }],
        principals: vec![
            principal(TRADER, "governor", people.trader)?,
            principal(APPROVER, "approver", people.approver)?,
            principal(WATCHER, "watcher", people.watcher)?,
        ],
        governor_quorum: 1,
        budgets: budgets(size, cap, defect)?,
        assets: vec![Asset {
            asset: AssetId {
                chain: ChainId::Evm(CHAIN),
                token: None,
            },
            symbol: "ETH".to_owned(),
            decimals: 18,
        }],
        book: Vec::new(),
        policies: policies(defect),
        backup: None,
        facts: Vec::new(),
        keys: ["desk", "second"]
            .iter()
            .map(|name| {
                Some(KeyGrant {
                    key: name.parse().ok()?,
                    dangerous_digest_account: false,
                })
            })
            .collect::<Option<_>>()?,
        cooling_off_ms: 0,
        payload_retention_days: None,
        recovery: None,
        dangerous_single_failure_domain: true,
    })
}

fn principal(id: &str, role: &str, identity: &SigningIdentity) -> Option<Principal> {
    Some(Principal {
        id: id.parse().ok()?,
        roles: vec![role.parse().ok()?],
        credentials: vec![identity.public()],
        expires: TimeMs(4_000_000_000_000),
        operator: None,
        granted_by: None,
    })
}

fn budgets(size: Size, cap: u64, defect: Option<Defect>) -> Option<Vec<Budget>> {
    let loosened = |cap: u64, by: Defect| match defect {
        Some(defect) if defect == by => cap * LOOSE,
        _ => cap,
    };
    let budget = |id: &str, scope, cap, mode| {
        Some(Budget {
            id: id.parse().ok()?,
            scope,
            measure: Measure::Count,
            cap: Amount::from(cap),
            window_ms: WINDOW_MS,
            mode,
        })
    };
    let cap = loosened(cap, Defect::LooseBudget);
    let corridor = loosened(CORRIDOR_CAP, Defect::LooseCorridor);
    let mut all = vec![
        budget("transfers", Scope::Org, cap, Mode::Strict)?,
        budget("corridor", Scope::Corridor, corridor, Mode::Strict)?,
    ];
    if let Some(cap) = size.sticky {
        let scope = Scope::Counterparty(Address::evm(FRIEND));
        let cap = loosened(cap, Defect::LooseSticky);
        all.push(budget("friend", scope, cap, Mode::Sticky)?);
    }
    Some(all)
}

fn policies(defect: Option<Defect>) -> String {
    let approvals = match defect {
        Some(Defect::UnapprovedVault) => "",
        _ => "@approvals(\"1 of approver\")\n",
    };
    let delay = match defect {
        Some(Defect::HastyCharters) => String::new(),
        _ => format!("@delay(\"{}s\")\n", CHARTER_DELAY_MS / 1_000),
    };
    let lax = match defect {
        Some(Defect::LaxCharter) => permit("pay-anyone", None),
        _ => String::new(),
    };
    [
        permit("pay-friend", Some(FRIEND)),
        approvals.to_owned(),
        permit("pay-vault", Some(VAULT)),
        "@corridor\n@id(\"cancel\")\npermit (principal == Principal::\"trader\", action == \
         Action::\"transfer\", resource)\nwhen { context.amount_micro == 0 && context.to == \
         resource.address };\n"
            .to_owned(),
        governance("make-keys", "create_key"),
        governance("change-keys", "change_key"),
        "@approvals(\"1 of approver\")\n".to_owned(),
        governance("lift", "unfreeze"),
        delay,
        governance("govern", "change_charter"),
        lax,
    ]
    .concat()
}

/// A rule that lets the trader, who is the governor, do what is about the cluster itself.
fn governance(id: &str, action: &str) -> String {
    format!(
        "@id(\"{id}\")\npermit (principal == Principal::\"trader\", action == \
         Action::\"{action}\", resource);\n"
    )
}

/// A rule that lets the trader pay `to`, or anyone.
fn permit(id: &str, to: Option<[u8; 20]>) -> String {
    let when = to.map_or(String::new(), |to| {
        format!("\nwhen {{ context.to == \"{}\" }}", Address::evm(to))
    });
    format!(
        "@id(\"{id}\")\npermit (principal == Principal::\"trader\", action == \
         Action::\"transfer\", resource){when};\n"
    )
}

/// The charter after `genesis`: it lets the trader pay the stranger, and may name other nodes.
pub(crate) fn amendment(
    genesis: &Charter,
    (nodes, threshold): (Vec<NodeEntry>, u8),
    governor: &SigningIdentity,
) -> Certificate<Charter> {
    let mut next = successor(genesis);
    (next.nodes, next.threshold) = (nodes, threshold);
    next.policies
        .push_str(&permit("pay-stranger", Some(STRANGER)));
    certified(next, governor)
}

/// Another charter after `genesis`, which lets the trader pay anyone.
pub(crate) fn rival(genesis: &Charter, governor: &SigningIdentity) -> Certificate<Charter> {
    let mut next = successor(genesis);
    next.policies
        .push_str(&permit("pay-stranger-too", Some(STRANGER)));
    certified(next, governor)
}

fn successor(genesis: &Charter) -> Charter {
    let mut next = genesis.clone();
    next.number = CharterNumber(1);
    next.cluster = Some(genesis.cluster_id());
    next.previous = Some(genesis.hash());
    next
}

fn certified(charter: Charter, governor: &SigningIdentity) -> Certificate<Charter> {
    let mut certificate = Certificate::unsigned(charter);
    certificate.endorse(governor);
    certificate
}
