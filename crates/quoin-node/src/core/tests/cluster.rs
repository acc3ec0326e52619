//! A cluster to test with: identities, a charter, a dealt key, and requests to it.

use crate::core::key_addresses;
use quoin_api::frame::{FinishedFrame, RequestFrame, SigningHint};
use quoin_api::statements::FinishedSignature;
use quoin_chain::{Eip1559Fields, encode_eip1559};
use quoin_core::cbor::{self, Version};
use quoin_core::payload::{ChangeKey, ChangeNode, CreateKey, KeyChange, NodeChange};
use quoin_core::stamp::Account;
use quoin_core::{
    Address, Amount, AssetId, Boot, CeremonyId, Certificate, ChainId, CharterNumber, ClusterId,
    CustodyMethod, Generation, KeyId, Lane, NodeIndex, Payload, Purpose, RequestId, Scheme,
    SecretBytes, Signed, SigningIdentity, Stamp, TimeMs,
};
use quoin_policy::{
    Asset, BackupPolicy, Budget, Charter, GatewayEntry, Measure, Mode, NodeEntry, Officer,
    Principal, Scope,
};
use quoin_protocol::dkg::{DkgParams, deal_for_tests};
use quoin_protocol::{KeyPublic, KeyShare};
use rand_core::CryptoRngCore;
use std::collections::BTreeMap;
use std::sync::Arc;

const CHAIN: u64 = 31_337;
/// When every test begins: a time that looks like one.
pub(super) const BEGIN: TimeMs = TimeMs(1_800_000_000_000);
/// Where the trader may send.
pub(super) const FRIEND: [u8; 20] = [0x11; 20];
/// Where the trader may send after an hour.
pub(super) const SLOW: [u8; 20] = [0x22; 20];
/// Where the trader may send an hour after a watcher has seen it.
pub(super) const NOTICED: [u8; 20] = [0x33; 20];
/// Where nobody may send.
pub(super) const STRANGER: [u8; 20] = [0x66; 20];
/// How long requests live.
pub(super) const LIFE_MS: u64 = 48 * 60 * 60 * 1000;

pub(super) fn node(index: u8) -> NodeIndex {
    NodeIndex::new(index).unwrap()
}

/// What differs between clusters.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) nodes: u8,
    pub(super) threshold: u8,
    pub(super) f_tol: u8,
    /// How many requests the budget admits in all.
    pub(super) cap: u64,
    /// The purpose of the key.
    pub(super) purpose: Purpose,
    /// Its scheme.
    pub(super) scheme: Scheme,
    /// How many nodes there are that the genesis does not name.
    pub(super) spare: u8,
    /// Whether the genesis names officers for backups.
    pub(super) backup: bool,
    /// What the permit to change the charter is annotated with.
    pub(super) govern: &'static str,
    /// For how many days payloads can be read.
    pub(super) payload_days: Option<u16>,
    /// Whether the budget is spent through one signer set at a time.
    pub(super) sticky: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            nodes: 3,
            threshold: 2,
            f_tol: 0,
            cap: 100,
            purpose: Purpose::Trading,
            scheme: Scheme::Model,
            spare: 0,
            backup: false,
            govern: "",
            payload_days: None,
            sticky: false,
        }
    }
}

/// A request: a signed stamp and its payload.
#[derive(Clone)]
pub(super) struct Work {
    pub(super) id: RequestId,
    pub(super) stamp: Vec<u8>,
    pub(super) payload: Payload,
}

impl Work {
    pub(super) fn frame(&self, signing: Option<SigningHint>) -> RequestFrame {
        RequestFrame {
            attempt: 1,
            stamp: self.stamp.clone(),
            payload: cbor::encode(&self.payload),
            approvals: Vec::new(),
            signing,
        }
    }

    pub(super) fn finished(&self, signature: &FinishedSignature) -> FinishedFrame {
        FinishedFrame {
            stamp: self.stamp.clone(),
            payload: cbor::encode(&self.payload),
            signature: cbor::encode(signature),
        }
    }
}

pub(super) struct Cluster {
    pub(super) genesis: Certificate<Charter>,
    pub(super) id: ClusterId,
    pub(super) identities: BTreeMap<NodeIndex, Arc<SigningIdentity>>,
    pub(super) trader: SigningIdentity,
    /// Two of three certify a charter.
    pub(super) governors: Vec<SigningIdentity>,
    /// `wanda`, who may freeze and veto and hears of proposals.
    pub(super) watcher: SigningIdentity,
    /// `feed-1` and `feed-2`, each of an operator of its own.
    pub(super) feeds: Vec<SigningIdentity>,
    pub(super) key: KeyPublic,
    pub(super) certificate: Certificate<KeyPublic>,
    pub(super) shares: BTreeMap<NodeIndex, KeyShare>,
    pub(super) account: Account,
    purpose: Purpose,
}

impl Cluster {
    pub(super) fn build(shape: Shape, rng: &mut dyn CryptoRngCore) -> Self {
        let all: BTreeMap<_, _> = (1..=shape.nodes + shape.spare)
            .map(|n| (node(n), Arc::new(SigningIdentity::generate(rng))))
            .collect();
        let members = all.iter().filter(|(n, _)| n.get() <= shape.nodes);
        let identities: BTreeMap<_, _> = members.map(|(n, i)| (*n, Arc::clone(i))).collect();
        let trader = SigningIdentity::generate(rng);
        let governors: Vec<_> = (0..3).map(|_| SigningIdentity::generate(rng)).collect();
        let mut genesis = Certificate::unsigned(charter(shape, &identities, &trader, &governors));
        identities.values().for_each(|i| genesis.endorse(i));
        governors.iter().for_each(|g| genesis.endorse(g));
        let id = genesis.unverified().cluster_id();
        let params = DkgParams {
            cluster: id,
            charter: CharterNumber(0),
            ceremony: CeremonyId([7; 16]),
            key: KeyId([7; 16]),
            name: "desk".parse().unwrap(),
            scheme: shape.scheme,
            purpose: shape.purpose,
            threshold: shape.threshold,
            boots: identities.keys().map(|n| first_boot(*n)).collect(),
        };
        let (shares, certificate) = deal_for_tests(&params, &identities, rng).unwrap();
        let key = certificate.unverified().clone();
        let mut addresses = key_addresses(&key, &quoin_core::DerivationPath::ROOT).into_iter();
        let on_chain = addresses.find(|a| a.to_evm().is_some());
        let chain = on_chain
            .as_ref()
            .map_or(ChainId::Quoin, |_| ChainId::Evm(CHAIN));
        let address = on_chain.unwrap_or_else(|| key.key.to_string().parse().unwrap());
        Self {
            genesis,
            id,
            identities: all,
            trader,
            governors,
            watcher: seeded(201),
            feeds: vec![seeded(202), seeded(203)],
            key,
            certificate,
            shares,
            account: Account {
                chain,
                address,
                path: quoin_core::DerivationPath::ROOT,
            },
            purpose: shape.purpose,
        }
    }

    pub(super) fn transfer(&self, nonce: u64, to: [u8; 20], value: u64) -> Payload {
        Payload::EvmTransaction(encode_eip1559(&Eip1559Fields {
            chain_id: CHAIN,
            nonce,
            max_priority_fee_per_gas: 1,
            max_fee_per_gas: 100,
            gas_limit: 21_000,
            to: Some(to),
            value: Amount::from(value),
            data: Vec::new(),
        }))
    }

    /// A stamp by the trader, not signed yet.
    pub(super) fn stamp(&self, id: u8, payload: &Payload) -> Stamp {
        Stamp {
            version: Version,
            cluster: self.id,
            charter_number_floor: CharterNumber(0),
            charter_hash_floor: self.genesis.unverified().hash(),
            principal: "trader".parse().unwrap(),
            credential: self.trader.id(),
            custody: CustodyMethod::Mpc,
            key: Some(self.key.key),
            account: self.account.clone(),
            purpose: self.purpose,
            payload_hash: payload.hash(),
            request_id: RequestId([id; 16]),
            not_after: BEGIN.plus(LIFE_MS),
        }
    }

    pub(super) fn signed(&self, stamp: Stamp, payload: Payload) -> Work {
        Work {
            id: stamp.request_id,
            stamp: Signed::sign(stamp, &self.trader).to_bytes(),
            payload,
        }
    }

    /// A transfer of the trader's, of a value that no other request id has.
    pub(super) fn pay(&self, id: u8, nonce: u64, to: [u8; 20]) -> Work {
        let payload = match self.key.scheme {
            // A key that is no account of the EVM signs texts.
            Scheme::Ed25519 => Payload::Text(format!("pay {id}")),
            _ => self.transfer(nonce, to, u64::from(id)),
        };
        self.signed(self.stamp(id, &payload), payload)
    }

    /// The trader's cancel of what fills a nonce.
    pub(super) fn cancel(&self, id: u8, nonce: u64) -> Work {
        let own = self.account.address.to_evm().unwrap();
        let payload = self.transfer(nonce, own, 0);
        self.signed(self.stamp(id, &payload), payload)
    }

    /// A request of the trader's for a new key.
    pub(super) fn make_key(&self, id: u8, name: &str) -> Work {
        let payload = Payload::CreateKey(CreateKey {
            name: name.parse().unwrap(),
            scheme: Scheme::Model,
            purpose: Purpose::Trading,
        });
        let mut stamp = self.stamp(id, &payload);
        stamp.key = None;
        stamp.purpose = Purpose::Trading;
        stamp.account = Account {
            chain: ChainId::Quoin,
            address: crate::core::CLUSTER_ACCOUNT.parse::<Address>().unwrap(),
            path: quoin_core::DerivationPath::ROOT,
        };
        self.signed(stamp, payload)
    }

    /// A stamp about the cluster's key, or about the cluster itself.
    pub(super) fn change_stamp(&self, id: u8, payload: &Payload) -> Stamp {
        let mut stamp = self.stamp(id, payload);
        let address = match payload {
            Payload::ChangeKey(wish) => wish.key.to_string(),
            _ => {
                stamp.key = None;
                crate::core::CLUSTER_ACCOUNT.to_owned()
            }
        };
        stamp.account = Account {
            chain: ChainId::Quoin,
            address: address.parse().unwrap(),
            path: quoin_core::DerivationPath::ROOT,
        };
        stamp
    }

    /// A request of the trader's to change the cluster's key.
    pub(super) fn change_key(&self, id: u8, change: KeyChange) -> Work {
        let key = self.key.key;
        let payload = Payload::ChangeKey(ChangeKey { key, change });
        self.signed(self.change_stamp(id, &payload), payload)
    }

    /// A request of the trader's about a node.
    pub(super) fn change_node(&self, id: u8, index: u8, change: NodeChange) -> Work {
        let node = node(index);
        let payload = Payload::ChangeNode(ChangeNode { node, change });
        self.signed(self.change_stamp(id, &payload), payload)
    }

    pub(super) fn budget(&self) -> &Budget {
        &self.genesis.unverified().budgets[0]
    }

    /// The charter after `current`, under another name and not signed.
    pub(super) fn next_charter(&self, current: &Charter, name: &str) -> Charter {
        Charter {
            name: name.to_owned(),
            number: CharterNumber(current.number.0 + 1),
            cluster: Some(self.id),
            previous: Some(current.hash()),
            ..current.clone()
        }
    }

    /// The charter after `current`, with these nodes and this threshold; not signed.
    pub(super) fn charter_of(&self, current: &Charter, nodes: &[u8], threshold: u8) -> Charter {
        let nodes = nodes.iter().map(|n| NodeEntry {
            index: node(*n),
            credential: self.identities[&node(*n)].public(),
            tls_key_hash: [*n; 32],
            operator: "test".to_owned(),
            cloud: String::new(),
            region: String::new(),
        });
        Charter {
            nodes: nodes.collect(),
            threshold,
            ..self.next_charter(current, "other nodes")
        }
    }

    /// A charter with the signatures of the first `count` governors.
    pub(super) fn certified(&self, charter: Charter, count: usize) -> Certificate<Charter> {
        let mut certificate = Certificate::unsigned(charter);
        for governor in self.governors.iter().take(count) {
            certificate.endorse(governor);
        }
        certificate
    }
}

pub(super) fn first_boot(node: NodeIndex) -> Boot {
    Boot {
        node,
        lane: Lane(0),
        generation: Generation(1),
    }
}

fn charter(
    shape: Shape,
    nodes: &BTreeMap<NodeIndex, Arc<SigningIdentity>>,
    trader: &SigningIdentity,
    governors: &[SigningIdentity],
) -> Charter {
    let entry = |(index, identity): (&NodeIndex, &Arc<SigningIdentity>)| NodeEntry {
        index: *index,
        credential: identity.public(),
        tls_key_hash: [index.get(); 32],
        operator: "test".to_owned(),
        cloud: String::new(),
        region: String::new(),
    };
    let principal = |id: &str, role: &str, identity: &SigningIdentity| Principal {
        id: id.parse().unwrap(),
        roles: vec![role.parse().unwrap()],
        credentials: vec![identity.public()],
        expires: TimeMs(4_000_000_000_000),
        operator: None,
        granted_by: None,
    };
    let mut principals = vec![principal("trader", "desk", trader)];
    let names = ["alice", "bob", "carol"];
    let seats = names.iter().zip(governors);
    principals.extend(seats.map(|(name, g)| principal(name, "governor", g)));
    principals.push(principal("wanda", "watcher", &seeded(201)));
    principals.push(principal("feed-1", "feed", &seeded(202)));
    principals.push(principal("feed-2", "feed", &seeded(203)));
    Charter {
        version: Version,
        name: "test".to_owned(),
        number: CharterNumber(0),
        cluster: None,
        previous: None,
        nodes: nodes.iter().map(entry).collect(),
        threshold: shape.threshold,
        f_tol: shape.f_tol,
        dangerous_disjoint_signers: false,
        gateways: vec![GatewayEntry {
            id: "gateway".parse().unwrap(),
            tls_key_hash: [99; 32],
        }],
        principals,
        governor_quorum: 2,
        budgets: budgets(shape),
        assets: vec![Asset {
            asset: AssetId {
                chain: ChainId::Evm(CHAIN),
                token: None,
            },
            symbol: "ETH".to_owned(),
            decimals: 18,
        }],
        book: Vec::new(),
        policies: policies(shape.govern),
        backup: shape.backup.then(officers),
        facts: Vec::new(),
        keys: ["desk", "fresh", "new", "vault", "second", "imported"]
            .map(|name| quoin_policy::KeyGrant {
                key: name.parse().unwrap(),
                dangerous_digest_account: false,
            })
            .to_vec(),
        cooling_off_ms: 0,
        payload_retention_days: shape.payload_days,
        recovery: None,
        dangerous_single_failure_domain: true,
    }
}

/// The one that most tests count by, and the corridor's.
fn budgets(shape: Shape) -> Vec<Budget> {
    let budget = |id: &str, scope: Scope, cap: u64| Budget {
        id: id.parse().unwrap(),
        scope,
        measure: Measure::Count,
        cap: Amount::from(cap),
        window_ms: 24 * 60 * 60 * 1000,
        mode: Mode::Strict,
    };
    let mode = match shape.sticky {
        true => Mode::Sticky,
        false => Mode::Strict,
    };
    vec![
        Budget {
            mode,
            ..budget("requests", Scope::Org, shape.cap)
        },
        budget("corridor", Scope::Corridor, 50),
    ]
}

fn officers() -> BackupPolicy {
    let recipient = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj";
    BackupPolicy {
        threshold: 1,
        officers: vec![Officer {
            name: "ann".to_owned(),
            recipient: recipient.to_owned(),
        }],
    }
}

/// An identity that does not depend on what was drawn before.
fn seeded(seed: u8) -> SigningIdentity {
    SigningIdentity::from_seed(&SecretBytes::take(&mut [seed; 32]))
}

fn policies(govern: &str) -> String {
    let pay = |id: &str, annotation: &str, to: [u8; 20]| {
        format!(
            "@id(\"{id}\")\n{annotation}permit (principal == Principal::\"trader\", action == \
             Action::\"transfer\", resource)\nwhen {{ context.to == \"{}\" }};\n",
            Address::evm(to)
        )
    };
    [
        pay("pay-friend", "", FRIEND),
        pay("pay-slowly", "@delay(\"1h\")\n", SLOW),
        pay(
            "pay-noticed",
            "@delay(\"1h\")\n@notice(\"watcher\")\n",
            NOTICED,
        ),
        "@id(\"cancel\")\n@corridor\npermit (principal == Principal::\"trader\", action == \
         Action::\"transfer\", resource) when { context.risk == \"reduces\" };\n"
            .to_owned(),
        "@id(\"unfreeze\")\n@approvals(\"2 of governor\")\npermit (principal in \
         Role::\"governor\", action == Action::\"unfreeze\", resource);\n"
            .to_owned(),
        "@id(\"make-keys\")\npermit (principal == Principal::\"trader\", action == \
         Action::\"create_key\", resource);\n"
            .to_owned(),
        "@id(\"say\")\npermit (principal == Principal::\"trader\", action == \
         Action::\"message\", resource);\n"
            .to_owned(),
        "@id(\"change-keys\")\npermit (principal == Principal::\"trader\", action == \
         Action::\"change_key\", resource);\n"
            .to_owned(),
        "@id(\"change-nodes\")\npermit (principal == Principal::\"trader\", action == \
         Action::\"change_node\", resource) when { context.node != 1 };\n"
            .to_owned(),
        "@id(\"change-node-1-later\")\n@delay(\"1h\")\npermit (principal == \
         Principal::\"trader\", action == Action::\"change_node\", resource) when { \
         context.node == 1 };\n"
            .to_owned(),
        format!(
            "@id(\"govern\")\n{govern}\npermit (principal in Role::\"governor\", action == \
             Action::\"change_charter\", resource);\n"
        ),
    ]
    .concat()
}
