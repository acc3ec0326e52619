//! The written evidence, checked: signatures of the real protocol before independent verifiers,
//! published vectors, statistics of nonces, and the pages that name tests.
//!
//! Everything here goes through the crate's public doors, as a node does: keys are born in a
//! ceremony, presignatures are made by sessions of production size, and a partial signature costs a
//! warrant, which only a charter's judgement makes. What needs a door that is not public (the
//! spending of a Bitcoin output, the vectors of RFC 9591) is tested inside the crate.

#![cfg(test)]

mod documents;
mod memory;
mod statistics;
mod vectors;
mod verifiers;

use quoin_chain::Digest;
use quoin_core::cbor::Version;
use quoin_core::stamp::Account;
use quoin_core::{
    BatchId, Boot, CeremonyId, ChainId, CharterNumber, CustodyMethod, DerivationPath, Generation,
    KeyId, KeyState, Lane, NodeIndex, Payload, PublicCredential, Purpose, RequestId, Scheme,
    SecretBytes, Signed, SignerSet, SigningIdentity, Stamp, TimeMs,
};
use quoin_policy::{
    Asset, Charter, Constitution, Judgement, KeyFacts, Ledger, NodeEntry, Principal, Request,
    Warrant,
};
use quoin_protocol::combine::{CombinedSignature, finish, finish_treasury};
use quoin_protocol::dkg::{self, DkgParams};
use quoin_protocol::presign::{Started, start_batch};
use quoin_protocol::{
    Advance, Answer, BatchHeader, Inbox, KeyPublic, KeyShare, Outbox, Presignature, Profile,
    Roster, bind, derive, sign,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use std::collections::BTreeMap;
use std::sync::Arc;

const SCHEMES: [Scheme; 3] = [Scheme::Ecdsa, Scheme::Taproot, Scheme::Ed25519];
const NOW: TimeMs = TimeMs(1_800_000_000_000);
const KEY: KeyId = KeyId([3; 16]);

fn node(index: u8) -> NodeIndex {
    NodeIndex::new(index).unwrap()
}

fn path(text: &str) -> DerivationPath {
    text.parse().unwrap()
}

/// Each signer's presignatures of a batch, in order.
type Pools = BTreeMap<NodeIndex, Vec<Presignature>>;

/// A cluster with one key that its nodes made in a ceremony.
struct World {
    identities: BTreeMap<NodeIndex, Arc<SigningIdentity>>,
    shares: BTreeMap<NodeIndex, KeyShare>,
    constitution: Constitution,
    /// The generation of every node's boot.
    generation: u64,
    rng: ChaCha20Rng,
}

impl World {
    /// A key of `t` of `n` nodes; everything follows from the seed.
    fn new(scheme: Scheme, purpose: Purpose, (t, n): (u8, u8), seed: u64) -> Self {
        let identity = |i: u8| {
            let secret = SecretBytes::take(&mut [i ^ 0x40; 32]);
            (node(i), Arc::new(SigningIdentity::from_seed(&secret)))
        };
        let identities: BTreeMap<_, _> = (1..=n).map(identity).collect();
        let nodes = identities.iter().map(|(n, i)| (*n, i.public())).collect();
        let mut world = Self {
            identities,
            shares: BTreeMap::new(),
            constitution: constitution(&nodes, t),
            generation: 1,
            rng: ChaCha20Rng::seed_from_u64(seed),
        };
        let params = DkgParams {
            cluster: world.constitution.cluster(),
            charter: CharterNumber(0),
            ceremony: CeremonyId([2; 16]),
            key: KEY,
            name: "desk".parse().unwrap(),
            scheme,
            purpose,
            threshold: t,
            boots: nodes.keys().map(|n| world.boot(*n)).collect(),
        };
        let mut started = BTreeMap::new();
        for me in nodes.keys() {
            let roster = world.roster(*me);
            let first = dkg::start(params.clone(), roster, &mut world.rng).unwrap();
            started.insert(*me, first);
        }
        let generated = world.drive(started, |_| ());
        world.shares = generated.into_iter().map(|(n, g)| (n, g.share)).collect();
        world
    }

    fn public(&self) -> &KeyPublic {
        &self.shares[&node(1)].public
    }

    fn boot(&self, node: NodeIndex) -> Boot {
        Boot {
            node,
            lane: Lane(0),
            generation: Generation(self.generation),
        }
    }

    fn roster(&self, me: NodeIndex) -> Arc<Roster> {
        let public = |(n, i): (&NodeIndex, &Arc<SigningIdentity>)| (*n, i.public());
        Arc::new(Roster {
            me,
            identity: Arc::clone(&self.identities[&me]),
            nodes: self.identities.iter().map(public).collect(),
        })
    }

    /// Runs a session to its end in lock-step, and shows every message to `see`.
    fn drive<Out>(
        &mut self,
        mut waiting: BTreeMap<NodeIndex, Started<Out>>,
        mut see: impl FnMut(&Outbox),
    ) -> BTreeMap<NodeIndex, Out> {
        let mut results = BTreeMap::new();
        while !waiting.is_empty() {
            let mut inboxes: BTreeMap<NodeIndex, Inbox> = BTreeMap::new();
            let mut rounds = Vec::new();
            for (from, (round, outbox)) in std::mem::take(&mut waiting) {
                see(&outbox);
                for (to, message) in outbox {
                    inboxes.entry(to).or_default().insert(from, message);
                }
                rounds.push((from, round));
            }
            for (me, round) in rounds {
                let inbox = inboxes.remove(&me).unwrap();
                match round.finish(inbox, &mut self.rng).unwrap() {
                    Advance::Next(round, outbox) => drop(waiting.insert(me, (round, outbox))),
                    Advance::Done(out) => drop(results.insert(me, out)),
                }
            }
        }
        results
    }

    /// The header of a batch, as every signer builds it for itself.
    fn header(&self, set: &SignerSet, size: u16) -> BatchHeader {
        let public = self.public();
        BatchHeader {
            version: Version,
            cluster: public.cluster,
            charter: public.charter,
            key: public.key,
            scheme: public.scheme,
            public_key: public.public_key.clone(),
            epoch: public.epoch,
            set: set.clone(),
            credentials: set.iter().map(|n| self.identities[&n].id()).collect(),
            boots: set.iter().map(|n| self.boot(n)).collect(),
            batch: BatchId {
                proposer: self.boot(set.lowest()),
                counter: 1,
            },
            size,
            profile: match public.purpose {
                Purpose::Treasury => Profile::Treasury,
                _ => Profile::Normal,
            },
            shares_hash: public.shares_hash(),
        }
    }

    /// A batch of presignatures of `signers`.
    fn presign(&mut self, signers: &[u8], size: u16) -> Pools {
        self.presign_seen(signers, size, |_| ())
    }

    /// The same, with a look at every message.
    fn presign_seen(&mut self, signers: &[u8], size: u16, see: impl FnMut(&Outbox)) -> Pools {
        let set = SignerSet::from_ascending(signers.iter().copied().map(node).collect()).unwrap();
        let mut started = BTreeMap::new();
        for me in set.iter() {
            let (header, roster) = (self.header(&set, size), self.roster(me));
            let first = start_batch(header, &self.shares[&me], roster, &mut self.rng);
            started.insert(me, first.unwrap());
        }
        self.drive(started, see)
    }

    /// A warrant for a text and the account at a path.
    fn warrant(&self, text: &str, path: &DerivationPath) -> Warrant {
        let account = Account {
            chain: ChainId::Quoin,
            address: KEY.to_string().parse().unwrap(),
            path: path.clone(),
        };
        let payload = Payload::Text(text.into());
        judge(
            &self.constitution,
            self.public(),
            CustodyMethod::Mpc,
            &payload,
            &account,
        )
    }

    /// What the key signs for a text.
    fn digest(&self, text: &str) -> Digest {
        let warrant = self.warrant(text, &DerivationPath::ROOT);
        warrant.decoded().digest().clone()
    }

    /// Every signer's answer, from the next presignature of its pool, in as many rounds as the
    /// key's purpose demands; combined and verified as a gateway does.
    fn sign(&self, pools: &mut Pools, text: &str, path: &DerivationPath) -> CombinedSignature {
        let set = SignerSet::from_ascending(pools.keys().copied().collect()).unwrap();
        let tweak = derive(self.public(), path).unwrap().tweak;
        let digest = self.digest(text);
        if self.public().purpose == Purpose::Treasury {
            let (openings, answers) = self.answers_bound(pools, text, path);
            return finish_treasury(self.public(), &set, &tweak, &digest, &openings, &answers)
                .unwrap();
        }
        let answers = self.answers(pools, text, path);
        finish(self.public(), &set, &tweak, &digest, &answers).unwrap()
    }

    fn answers(
        &self,
        pools: &mut Pools,
        text: &str,
        path: &DerivationPath,
    ) -> Vec<(NodeIndex, Answer)> {
        let answer = |(node, pool): (&NodeIndex, &mut Vec<Presignature>)| {
            let warrant = self.warrant(text, path);
            let signed = sign(warrant, pool.remove(0), &self.shares[node]).unwrap();
            (*node, signed.partial)
        };
        pools.iter_mut().map(answer).collect()
    }

    fn answers_bound(
        &self,
        pools: &mut Pools,
        text: &str,
        path: &DerivationPath,
    ) -> (
        BTreeMap<NodeIndex, quoin_protocol::Opening>,
        Vec<(NodeIndex, Answer)>,
    ) {
        let mut openings = BTreeMap::new();
        let mut all = Vec::new();
        for (node, pool) in pools {
            let warrant = self.warrant(text, path);
            let (bound, opening) = bind(warrant, pool.remove(0), &self.shares[node]).unwrap();
            openings.insert(*node, opening);
            all.push((*node, bound));
        }
        let answers = all.into_iter().map(|(node, bound)| {
            let signed = bound.finish(openings.clone(), &self.shares[&node]);
            (node, signed.unwrap().partial)
        });
        (openings.clone(), answers.collect())
    }
}

fn caller() -> SigningIdentity {
    SigningIdentity::from_seed(&SecretBytes::take(&mut [77; 32]))
}

/// A charter that lets one principal sign texts and pay ether.
fn constitution(nodes: &BTreeMap<NodeIndex, PublicCredential>, t: u8) -> Constitution {
    let entry = |(index, credential): (&NodeIndex, &PublicCredential)| NodeEntry {
        index: *index,
        credential: credential.clone(),
        tls_key_hash: [index.get(); 32],
        operator: "test".into(),
        cloud: String::new(),
        region: String::new(),
    };
    let charter = Charter {
        version: Version,
        name: "test".into(),
        number: CharterNumber(0),
        cluster: None,
        previous: None,
        nodes: nodes.iter().map(entry).collect(),
        threshold: t,
        f_tol: 0,
        dangerous_disjoint_signers: false,
        gateways: Vec::new(),
        principals: vec![Principal {
            id: "alice".parse().unwrap(),
            roles: vec!["governor".parse().unwrap()],
            credentials: vec![caller().public()],
            expires: TimeMs(4_000_000_000_000),
            operator: None,
            granted_by: None,
        }],
        governor_quorum: 1,
        budgets: Vec::new(),
        assets: vec![Asset {
            asset: "eip155:1/native".parse().unwrap(),
            symbol: "ETH".into(),
            decimals: 18,
        }],
        book: Vec::new(),
        policies: "@id(\"texts\")\npermit (principal, action == Action::\"message\", resource);\n\
                   @id(\"pay\")\npermit (principal, action == Action::\"transfer\", resource);\n\
                   @id(\"govern\")\npermit (principal in Role::\"governor\", \
                   action == Action::\"change_charter\", resource);"
            .into(),
        backup: None,
        facts: Vec::new(),
        keys: ["desk", "vector"]
            .map(|name| quoin_policy::KeyGrant {
                key: name.parse().unwrap(),
                dangerous_digest_account: false,
            })
            .to_vec(),
        cooling_off_ms: 0,
        payload_retention_days: None,
        recovery: None,
        dangerous_single_failure_domain: true,
    };
    charter.check().unwrap()
}

/// The only way to a warrant: a stamped request, decoded and judged.
fn judge(
    constitution: &Constitution,
    public: &KeyPublic,
    custody: CustodyMethod,
    payload: &Payload,
    account: &Account,
) -> Warrant {
    let stamp = Stamp {
        version: Version,
        cluster: constitution.cluster(),
        charter_number_floor: CharterNumber(0),
        charter_hash_floor: constitution.hash(),
        principal: "alice".parse().unwrap(),
        credential: caller().id(),
        custody,
        key: Some(public.key),
        account: account.clone(),
        purpose: public.purpose,
        payload_hash: payload.hash(),
        request_id: RequestId([1; 16]),
        not_after: NOW.plus(60_000),
    };
    let facts = KeyFacts {
        id: public.key,
        name: public.name.clone(),
        purpose: public.purpose,
        scheme: public.scheme,
        addresses: vec![account.address.clone()],
        threshold: public.threshold,
        holders: u8::try_from(public.public_shares.len()).unwrap(),
        state: KeyState::Active,
    };
    let signed = Signed::sign(stamp, &caller());
    let calm = quoin_policy::Calm::default();
    let request = Request {
        decoded: quoin_chain::decode(payload, account, public.scheme).unwrap(),
        stamp: constitution.verify_stamp(&signed).unwrap(),
        key: Some(&facts),
        approvals: &[],
        first_seen: NOW,
        now: NOW,
        conditions: calm.conditions(),
    };
    match constitution.judge(request, &mut Ledger::new()) {
        Judgement::Permitted(warrant) => warrant,
        other => panic!("not permitted: {other:?}"),
    }
}
