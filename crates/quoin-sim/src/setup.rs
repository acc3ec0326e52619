//! A cluster to simulate: identities, a charter, and one model key dealt to all nodes.

use crate::disk::Disk;
use quoin_api::frame::Opaque;
use quoin_core::cbor::Version;
use quoin_core::intent::{Address, AssetId, ChainId};
use quoin_core::stamp::Account;
use quoin_core::{
    Amount, Boot, CeremonyId, Certificate, CharterNumber, ClusterId, Generation, KeyId, Lane,
    NodeIndex, Purpose, Scheme, SecretBytes, SigningIdentity, TimeMs,
};
use quoin_node::core::{KeyRecord, Record, Ticket, key_addresses};
use quoin_policy::{
    Asset, Budget, Charter, GatewayEntry, Measure, Mode, NodeEntry, Principal, Scope,
};
use quoin_protocol::KeyPublic;
use quoin_protocol::dkg::{DkgParams, deal_for_tests};
use rand_core::CryptoRngCore;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The chain of the simulation.
pub const CHAIN: u64 = 31_337;
/// When every run begins: a time that looks like one.
pub const BEGIN: TimeMs = TimeMs(1_800_000_000_000);
/// Where the policy lets the trader send.
pub const FRIEND: [u8; 20] = [0x11; 20];
/// Where it does not.
pub const STRANGER: [u8; 20] = [0x66; 20];

/// What a run works with.
pub struct Cluster {
    /// The certified genesis.
    pub genesis: Certificate<Charter>,
    /// Its hash.
    pub cluster: ClusterId,
    /// The nodes' identities.
    pub nodes: BTreeMap<NodeIndex, Arc<SigningIdentity>>,
    /// The trader, who is also the governor.
    pub trader: SigningIdentity,
    /// The key's public record.
    pub key: KeyPublic,
    /// Its account.
    pub account: Account,
    /// How many requests the budget admits in all.
    pub cap: u64,
    /// The disks, with the key on each.
    pub disks: BTreeMap<NodeIndex, Disk>,
}

impl Cluster {
    /// Builds a cluster of `nodes` with threshold `threshold`; `None` when the sizes do not fit.
    pub fn build(nodes: u8, threshold: u8, cap: u64, rng: &mut dyn CryptoRngCore) -> Option<Self> {
        let identities: BTreeMap<NodeIndex, Arc<SigningIdentity>> = (1..=nodes)
            .filter_map(NodeIndex::new)
            .map(|n| (n, Arc::new(SigningIdentity::generate(rng))))
            .collect();
        let trader = SigningIdentity::generate(rng);
        let charter = charter(&identities, &trader, threshold, cap)?;
        let mut genesis = Certificate::unsigned(charter);
        identities.values().for_each(|i| genesis.endorse(i));
        genesis.endorse(&trader);
        let cluster = genesis.unverified().cluster_id();
        let boot = |n: &NodeIndex| Boot {
            node: *n,
            lane: Lane(0),
            generation: Generation(1),
        };
        let params = DkgParams {
            cluster,
            charter: CharterNumber(0),
            ceremony: CeremonyId([7; 16]),
            key: KeyId([7; 16]),
            name: "desk".parse().ok()?,
            scheme: Scheme::Model,
            purpose: Purpose::Trading,
            threshold,
            boots: identities.keys().map(boot).collect(),
        };
        let (shares, certificate) = deal_for_tests(&params, &identities, rng)?;
        let key = certificate.unverified().clone();
        let address: Address = key_addresses(&key)
            .into_iter()
            .find(|a| a.to_evm().is_some())?;
        let disks = shares
            .into_iter()
            .map(|(n, share)| (n, disk_with(&certificate, &key, boot(&n), share.secret)))
            .collect();
        let account = Account {
            chain: ChainId::Evm(CHAIN),
            address,
        };
        Some(Self {
            genesis,
            cluster,
            nodes: identities,
            trader,
            key,
            account,
            cap,
            disks,
        })
    }
}

fn disk_with(
    certificate: &Certificate<KeyPublic>,
    key: &KeyPublic,
    boot: Boot,
    secret: SecretBytes<32>,
) -> Disk {
    let mut disk = Disk::default();
    let pending = Record::KeyPending(KeyRecord {
        key: key.key,
        certificate: Opaque(certificate.to_bytes()),
        boot,
    });
    let label = format!("share/{}/{}", key.key, key.epoch.0);
    disk.append(Ticket(1), BEGIN, &pending, vec![(label, secret)]);
    disk.append(Ticket(2), BEGIN, &Record::KeyActive(key.key), Vec::new());
    disk.sync(2);
    disk
}

fn charter(
    nodes: &BTreeMap<NodeIndex, Arc<SigningIdentity>>,
    trader: &SigningIdentity,
    threshold: u8,
    cap: u64,
) -> Option<Charter> {
    let friend = Address::evm(FRIEND);
    let entry = |(index, identity): (&NodeIndex, &Arc<SigningIdentity>)| NodeEntry {
        index: *index,
        credential: identity.public(),
        tls_key_hash: [index.get(); 32],
        operator: "simulation".to_owned(),
    };
    Some(Charter {
        version: Version,
        name: "simulation".to_owned(),
        number: CharterNumber(0),
        cluster: None,
        previous: None,
        nodes: nodes.iter().map(entry).collect(),
        threshold,
        f_tol: 0,
        dangerous_disjoint_signers: false,
        gateways: vec![GatewayEntry {
            id: "gateway".parse().ok()?,
            tls_key_hash: [99; 32],
        }],
        principals: vec![Principal {
            id: "trader".parse().ok()?,
            roles: vec!["governor".parse().ok()?],
            credentials: vec![trader.public()],
            expires: TimeMs(u64::MAX),
        }],
        governor_quorum: 1,
        budgets: vec![Budget {
            id: "transfers".parse().ok()?,
            scope: Scope::Org,
            measure: Measure::Count,
            cap: Amount::from(cap),
            window_ms: 24 * 60 * 60 * 1000,
            mode: Mode::Strict,
        }],
        assets: vec![Asset {
            asset: AssetId {
                chain: ChainId::Evm(CHAIN),
                token: None,
            },
            symbol: "ETH".to_owned(),
            decimals: 18,
        }],
        book: Vec::new(),
        policies: format!(
            "@id(\"pay-friend\")\npermit (principal == Principal::\"trader\", action == \
             Action::\"transfer\", resource)\nwhen {{ context.to == \"{friend}\" }};\n"
        ),
    })
}
