//! A cluster to simulate: identities, a charter, and one model key dealt to all nodes.

use crate::disk::Disk;
use crate::faults::Defect;
use crate::law::{self, People};
use quoin_api::frame::Opaque;
use quoin_core::cbor;
use quoin_core::intent::{Address, ChainId};
use quoin_core::stamp::Account;
use quoin_core::{
    Boot, CeremonyId, Certificate, CharterNumber, ClusterId, Generation, KeyId, Lane, NodeIndex,
    Purpose, Scheme, SecretBytes, SigningIdentity, TimeMs,
};
use quoin_node::core::{KeyRecord, Record, Ticket, key_addresses, share_label};
use quoin_policy::{BackupPolicy, Charter, NodeEntry, Officer};
use quoin_protocol::KeyPublic;
use quoin_protocol::dkg::{DkgParams, deal_for_tests};
use rand_core::CryptoRngCore;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The chain of the simulation.
pub const CHAIN: u64 = 31_337;
/// When every run begins: a time that looks like one.
pub const BEGIN: TimeMs = TimeMs(1_800_000_000_000);
/// Where the policy lets the trader send.
pub const FRIEND: [u8; 20] = [0x11; 20];
/// Where it does with an approval.
pub const VAULT: [u8; 20] = [0x22; 20];
/// Where only the second charter does.
pub const STRANGER: [u8; 20] = [0x66; 20];

/// Who asks.
pub const TRADER: &str = "trader";
/// Who approves.
pub const APPROVER: &str = "approver";
/// Who freezes and vetoes.
pub const WATCHER: &str = "watcher";

/// What a run works with.
pub struct Cluster {
    /// The certified genesis.
    pub genesis: Certificate<Charter>,
    /// Its hash.
    pub cluster: ClusterId,
    /// The nodes' identities, of those too that only the second charter names.
    pub nodes: BTreeMap<NodeIndex, Arc<SigningIdentity>>,
    /// The trader, who is also the governor.
    pub trader: SigningIdentity,
    /// Who approves what goes to the vault.
    pub approver: SigningIdentity,
    /// Who freezes and vetoes.
    pub watcher: SigningIdentity,
    /// The second charter, certified: it lets the trader pay the stranger.
    pub amendment: Certificate<Charter>,
    /// Another charter for the same number, which somebody proposes and the watcher vetoes. Runs that
    /// issue it do not issue the second charter.
    pub rival: Certificate<Charter>,
    /// The nodes of the first charter, and of the second.
    pub members: [BTreeSet<NodeIndex>; 2],
    /// How many nodes sign.
    pub threshold: u8,
    /// The key's public record.
    pub key: KeyPublic,
    /// Its account.
    pub account: Account,
    /// How many requests the budget admits in all.
    pub cap: u64,
    /// How many payments to the friend the sticky budget admits, where there is one.
    pub sticky: Option<u64>,
    /// How many malicious nodes sticky budgets and slots bear.
    pub f_tol: u8,
    /// The disks, with the key on each.
    pub disks: BTreeMap<NodeIndex, Disk>,
}

/// How large a cluster is, and what becomes of it.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// How many nodes the first charter names, from index 1.
    pub nodes: u8,
    /// How many of them sign.
    pub threshold: u8,
    /// The nodes and the threshold of the second charter, when it changes them.
    pub later: Option<(&'static [u8], u8)>,
    /// Whether officers keep backups.
    pub backup: bool,
    /// How many malicious nodes sticky budgets and slots bear.
    pub f_tol: u8,
    /// The cap of the sticky budget, where there is one.
    pub sticky: Option<u64>,
}

impl Size {
    /// A cluster that stays as it is, without backups.
    #[must_use]
    pub const fn fixed(nodes: u8, threshold: u8) -> Self {
        Self {
            nodes,
            threshold,
            later: None,
            backup: false,
            f_tol: 0,
            sticky: None,
        }
    }

    fn members(self) -> [BTreeSet<NodeIndex>; 2] {
        let first: BTreeSet<NodeIndex> = (1..=self.nodes).filter_map(NodeIndex::new).collect();
        let later = self.later.map(|(nodes, _)| {
            let nodes = nodes.iter().copied();
            nodes.filter_map(NodeIndex::new).collect()
        });
        [first.clone(), later.unwrap_or(first)]
    }
}

impl Cluster {
    /// Builds a cluster; `None` when the sizes do not fit.
    pub fn build(
        size: Size,
        cap: u64,
        defect: Option<Defect>,
        rng: &mut dyn CryptoRngCore,
    ) -> Option<Self> {
        let threshold = size.threshold;
        let members = size.members();
        let [first, later] = &members;
        let all: BTreeMap<NodeIndex, Arc<SigningIdentity>> = first
            .union(later)
            .map(|n| (*n, Arc::new(SigningIdentity::generate(rng))))
            .collect();
        let identities = of(&all, first);
        let trader = SigningIdentity::generate(rng);
        let approver = SigningIdentity::generate(rng);
        let watcher = SigningIdentity::generate(rng);
        let people = People {
            trader: &trader,
            approver: &approver,
            watcher: &watcher,
        };
        let mut charter = law::charter(&identities, &people, size, cap, defect)?;
        charter.backup = size.backup.then(officers);
        let mut genesis = Certificate::unsigned(charter);
        identities.values().for_each(|i| genesis.endorse(i));
        genesis.endorse(&trader);
        let cluster = genesis.unverified().cluster_id();
        let next_threshold = size.later.map_or(threshold, |(_, t)| t);
        let nodes = of(&all, later).iter().map(node_entry).collect();
        let first = genesis.unverified();
        let amendment = law::amendment(first, (nodes, next_threshold), &trader);
        let rival = law::rival(first, &trader);
        let (key, disks) = dealt_key(cluster, threshold, &identities, rng)?;
        Some(Self {
            account: account_of(&key)?,
            genesis,
            cluster,
            nodes: all,
            members,
            trader,
            approver,
            watcher,
            amendment,
            rival,
            threshold,
            key,
            cap,
            sticky: size.sticky,
            f_tol: size.f_tol,
            disks,
        })
    }
}

/// Those of the identities that a charter names.
fn of(
    all: &BTreeMap<NodeIndex, Arc<SigningIdentity>>,
    members: &BTreeSet<NodeIndex>,
) -> BTreeMap<NodeIndex, Arc<SigningIdentity>> {
    let named = all.iter().filter(|(n, _)| members.contains(n));
    named.map(|(n, i)| (*n, Arc::clone(i))).collect()
}

/// Who keeps the backups. The simulation's shell seals nothing, so nobody has the secret.
fn officers() -> BackupPolicy {
    BackupPolicy {
        threshold: 1,
        officers: vec![Officer {
            name: "officer".to_owned(),
            recipient: "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj".to_owned(),
        }],
    }
}

pub(crate) fn node_entry((index, identity): (&NodeIndex, &Arc<SigningIdentity>)) -> NodeEntry {
    NodeEntry {
        index: *index,
        credential: identity.public(),
        tls_key_hash: [index.get(); 32],
        operator: "simulation".to_owned(),
        cloud: String::new(),
        region: String::new(),
    }
}

/// The account of a key on the simulation's chain.
#[must_use]
pub fn account_of(key: &KeyPublic) -> Option<Account> {
    let addresses = key_addresses(key, &quoin_core::DerivationPath::ROOT);
    let address: Address = addresses.into_iter().find(|a| a.to_evm().is_some())?;
    Some(Account {
        chain: ChainId::Evm(CHAIN),
        address,
        path: quoin_core::DerivationPath::ROOT,
    })
}

/// A model key, and disks that hold a share of it each.
fn dealt_key(
    cluster: ClusterId,
    threshold: u8,
    identities: &BTreeMap<NodeIndex, Arc<SigningIdentity>>,
    rng: &mut dyn CryptoRngCore,
) -> Option<(KeyPublic, BTreeMap<NodeIndex, Disk>)> {
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
    let (shares, certificate) = deal_for_tests(&params, identities, rng)?;
    let key = certificate.unverified().clone();
    let disks = shares
        .into_iter()
        .map(|(n, share)| (n, disk_with(&certificate, &key, boot(&n), share.secret)))
        .collect();
    Some((key, disks))
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
        public: Opaque(cbor::encode(key)),
        boot,
    });
    let label = share_label(key);
    disk.append(Ticket(1), BEGIN, &pending, vec![(label, secret)]);
    let active = Record::KeyActive {
        key: key.key,
        certificate: Opaque(certificate.to_bytes()),
    };
    disk.append(Ticket(2), BEGIN, &active, Vec::new());
    disk.sync(2);
    disk
}
