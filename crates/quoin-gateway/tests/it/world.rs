//! A gateway core with scripted nodes: the test plays every node's part.

use quoin_api::Frame;
use quoin_api::frame::{Hello, KeysFrame, LeaseGrant, Opaque, Reply, ReplyFrame, RequestFrame};
use quoin_api::statements::{Answer, Denial, FinishedSignature, Head, Heartbeat};
use quoin_core::cbor::{self, Version};
use quoin_core::intent::{Address, ChainId};
use quoin_core::payload::CreateKey;
use quoin_core::stamp::Account;
use quoin_core::{
    BatchHash, Boot, CeremonyId, Certificate, CharterHash, CharterNumber, ClusterId, CustodyMethod,
    Generation, HeadHash, KeyId, Lane, NodeIndex, Payload, PresignatureId, Purpose, Rejection,
    RequestId, Scheme, SecretBytes, ShareEpoch, Signed, SignerSet, SigningIdentity, Stamp, TimeMs,
};
use quoin_gateway::core::outcome::RawTransaction;
use quoin_gateway::core::ports::{ApprovalHead, CombineFailure, Offer, Subject};
use quoin_gateway::core::{
    Charters, ClientId, ClusterView, Combiner, Config, Effect, Event, Gateway, Metric, Outcome,
};
use quoin_protocol::combine::{KeyPublic, Opening};
use quoin_protocol::share::PublicShare;
use std::collections::BTreeMap;
use std::sync::Arc;

pub const CLUSTER: ClusterId = ClusterId([0xC1; 32]);
pub const KEY: KeyId = KeyId([0xAA; 16]);

pub fn node(i: u8) -> NodeIndex {
    NodeIndex::new(i).unwrap()
}

pub fn set(indices: &[u8]) -> SignerSet {
    SignerSet::from_ascending(indices.iter().map(|i| node(*i)).collect()).unwrap()
}

pub fn identity(i: u8) -> SigningIdentity {
    SigningIdentity::from_seed(&SecretBytes::take(&mut [i; 32]))
}

pub fn caller() -> SigningIdentity {
    identity(100)
}

/// A charter is its number in eight bytes; a real one is verified by its own crate's tests. Those
/// with the numbers of `rosters` change the nodes, each to an identity seed for an index.
pub struct FakeCharters {
    view: ClusterView,
    bytes: Vec<u8>,
    rosters: BTreeMap<u64, Vec<(u8, u8)>>,
}

impl FakeCharters {
    /// The charter `number` has these nodes: index and seed of the identity.
    pub fn changing(mut self, number: u64, nodes: &[(u8, u8)]) -> Self {
        self.rosters.insert(number, nodes.to_vec());
        self
    }

    /// The charter has a budget that is spent through one signer set at a time.
    pub fn sticky(mut self) -> Self {
        self.view.has_sticky_budgets = true;
        self
    }

    pub fn new(n: u8, t: u8) -> Self {
        let nodes: BTreeMap<_, _> = (1..=n).map(|i| (node(i), identity(i).public())).collect();
        Self {
            view: ClusterView {
                cluster: CLUSTER,
                number: CharterNumber(0),
                hash: CharterHash([0; 32]),
                threshold: t,
                has_sticky_budgets: false,
                rosters: BTreeMap::from([(CharterNumber(0), Arc::new(nodes.clone()))]),
                nodes,
            },
            bytes: 0u64.to_be_bytes().to_vec(),
            rosters: BTreeMap::new(),
        }
    }
}

impl Charters for FakeCharters {
    fn view(&self) -> &ClusterView {
        &self.view
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn number(&self, charter: &[u8]) -> Result<CharterNumber, Rejection> {
        let bytes = charter
            .try_into()
            .map_err(|_| Rejection::caller("charter", "malformed"))?;
        Ok(CharterNumber(u64::from_be_bytes(bytes)))
    }

    fn offer(&mut self, _: TimeMs, charter: &[u8]) -> Result<Offer, Rejection> {
        let number = self.number(charter)?.0;
        let ours = self.view.number.0;
        Ok(if number == ours {
            Offer::Known
        } else if number < ours {
            Offer::Older(CharterNumber(number))
        } else if number > ours + 1 {
            Offer::Gap(CharterNumber(number))
        } else {
            self.view.number = CharterNumber(number);
            if let Some(nodes) = self.rosters.get(&number) {
                let nodes = nodes
                    .iter()
                    .map(|(i, seed)| (node(*i), identity(*seed).public()));
                self.view.nodes = nodes.collect();
            }
            let roster = Arc::new(self.view.nodes.clone());
            self.view.rosters.insert(CharterNumber(number), roster);
            self.bytes = charter.to_vec();
            Offer::Adopted
        })
    }

    fn stamp(&self, _: &Signed<Stamp>) -> Result<(), Rejection> {
        Ok(())
    }

    /// An approval is a request id and one byte that stands for the signer; `0` is a forger.
    fn approval(&self, approval: &[u8]) -> Result<ApprovalHead, Rejection> {
        let (signer, id) = approval.split_last().unwrap();
        if *signer == 0 {
            return Err(Rejection::caller("approval", "signature does not verify"));
        }
        Ok(ApprovalHead {
            request_id: RequestId(id.try_into().unwrap()),
            credential: identity(*signer).id(),
        })
    }
}

/// A partial signature is right when it is its node's index; the result repeats the payload hash.
pub struct FakeCombiner;

pub fn finished(payload: &Payload, request_id: RequestId) -> FinishedSignature {
    let mut signature = [0u8; 64];
    signature[..32].copy_from_slice(payload.hash().as_bytes());
    FinishedSignature {
        version: Version,
        request_id,
        key: KEY,
        scheme: Scheme::Ecdsa,
        signature,
        recovery_id: Some(0),
    }
}

impl Combiner for FakeCombiner {
    fn finish(
        &self,
        key: &KeyPublic,
        subject: &Subject<'_>,
        answers: &[(NodeIndex, Answer)],
    ) -> Result<FinishedSignature, CombineFailure> {
        assert_eq!(answers.len(), usize::from(key.threshold));
        if answers.iter().all(|(n, a)| a.partial == [n.get()]) {
            Ok(finished(subject.payload, subject.request_id))
        } else {
            Err(CombineFailure {
                culprits: Vec::new(),
                message: "signature does not verify".into(),
            })
        }
    }

    /// An opening is right when the digest that it binds is the payload's hash.
    fn opens(
        &self,
        _: &KeyPublic,
        set: &SignerSet,
        subject: &Subject<'_>,
        opening: &Opening,
    ) -> bool {
        let binding = &opening.binding;
        binding.set == *set && binding.digest == *subject.payload.hash().as_bytes()
    }

    /// As in the first round, and every signer has opened.
    fn finish_treasury(
        &self,
        key: &KeyPublic,
        subject: &Subject<'_>,
        openings: &BTreeMap<NodeIndex, Opening>,
        answers: &[(NodeIndex, Answer)],
    ) -> Result<FinishedSignature, CombineFailure> {
        assert!(answers.iter().map(|(n, _)| n).eq(openings.keys()));
        self.finish(key, subject, answers)
    }

    fn verify_finished(
        &self,
        _: &KeyPublic,
        subject: &Subject<'_>,
        signature: &FinishedSignature,
    ) -> Result<(), CombineFailure> {
        if *signature == finished(subject.payload, subject.request_id) {
            Ok(())
        } else {
            Err(CombineFailure {
                culprits: Vec::new(),
                message: "signature does not verify".into(),
            })
        }
    }

    fn succession(&self, next: &KeyPublic, base: &KeyPublic) -> Result<(), Rejection> {
        let follows = next.epoch.0 == base.epoch.0 + 1 && next.public_key == base.public_key;
        match follows {
            true => Ok(()),
            false => Err(Rejection::caller("certificate", "it does not follow")),
        }
    }

    fn assemble(&self, payload: &Payload, finished: &FinishedSignature) -> Option<RawTransaction> {
        match payload {
            Payload::EvmTransaction(bytes) => Some(RawTransaction {
                raw: [bytes.as_slice(), &finished.signature].concat(),
                hash: [7; 32],
            }),
            _ => None,
        }
    }
}

pub fn key_public(name: &str, holders: &[u8], threshold: u8) -> KeyPublic {
    KeyPublic {
        version: Version,
        cluster: CLUSTER,
        charter: CharterNumber(0),
        ceremony: CeremonyId([1; 16]),
        key: KEY,
        name: name.parse().unwrap(),
        scheme: Scheme::Ecdsa,
        purpose: Purpose::Trading,
        threshold,
        epoch: ShareEpoch(0),
        public_key: vec![2; 33],
        public_shares: holders
            .iter()
            .map(|i| PublicShare {
                node: node(*i),
                point: vec![2; 33],
            })
            .collect(),
        transcript: [0; 32],
        chain_code: [7; 32],
        origin: quoin_core::KeyOrigin::Born,
        previous: None,
    }
}

pub fn certificate(public: KeyPublic, signers: &[u8]) -> Vec<u8> {
    let mut certificate = Certificate::unsigned(public);
    for i in signers {
        certificate.endorse(&identity(*i));
    }
    certificate.to_bytes()
}

pub fn stamp_of(payload: &Payload, id: u8, key: Option<KeyId>) -> Stamp {
    Stamp {
        version: Version,
        cluster: CLUSTER,
        charter_number_floor: CharterNumber(0),
        charter_hash_floor: CharterHash([0; 32]),
        principal: "desk".parse().unwrap(),
        credential: caller().id(),
        custody: CustodyMethod::Mpc,
        key,
        account: Account {
            chain: ChainId::Quoin,
            address: Address::evm([0; 20]),
            path: quoin_core::DerivationPath::ROOT,
        },
        purpose: Purpose::Trading,
        payload_hash: payload.hash(),
        request_id: RequestId([id; 16]),
        not_after: TimeMs(1_000_000),
    }
}

pub fn text(words: &str) -> Payload {
    Payload::Text(words.into())
}

pub fn create_key(name: &str) -> Payload {
    Payload::CreateKey(CreateKey {
        name: name.parse().unwrap(),
        scheme: Scheme::Ecdsa,
        purpose: Purpose::Trading,
    })
}

pub struct World {
    pub gateway: Gateway,
    pub n: u8,
    pub now: TimeMs,
    pub sent: Vec<(NodeIndex, Frame)>,
    pub replies: BTreeMap<ClientId, Outcome>,
    pub metrics: Vec<Metric>,
    pub adopted: Vec<CharterNumber>,
    granted: u16,
}

impl World {
    /// All nodes up and greeted, one key known, and no presignature lent yet.
    pub fn new(n: u8, t: u8) -> Self {
        let mut world = Self::bare(n, t, Config::default());
        for i in 1..=n {
            world.up(i);
        }
        let holders: Vec<u8> = (1..=n).collect();
        world.give_key(key_public("hot", &holders, t));
        world.sent.clear();
        world
    }

    /// Nobody is up and nothing is known.
    pub fn bare(n: u8, t: u8, config: Config) -> Self {
        Self::under(FakeCharters::new(n, t), n, config)
    }

    /// Under charters that change the nodes; nobody is up and nothing is known.
    pub fn under(charters: FakeCharters, n: u8, config: Config) -> Self {
        let gateway = Gateway::new(config, Box::new(charters), Box::new(FakeCombiner), 1);
        Self {
            gateway,
            n,
            now: TimeMs(1_000),
            sent: Vec::new(),
            replies: BTreeMap::new(),
            metrics: Vec::new(),
            adopted: Vec::new(),
            granted: 0,
        }
    }

    pub fn handle(&mut self, event: Event) {
        let mut effects = Vec::new();
        self.gateway.handle(self.now, event, &mut effects);
        for effect in effects {
            match effect {
                Effect::Send(node, frame) => self.sent.push((node, frame)),
                Effect::Reply(client, outcome) => {
                    let twice = self.replies.insert(client, outcome);
                    assert_eq!(twice, None, "a caller has one reply");
                }
                Effect::CharterAdopted { number, .. } => self.adopted.push(number),
                Effect::Metric(metric) => self.metrics.push(metric),
            }
        }
    }

    pub fn frame(&mut self, from: u8, frame: Frame) {
        self.handle(Event::NodeFrame(node(from), frame));
    }

    pub fn up(&mut self, i: u8) {
        self.handle(Event::NodeUp(node(i)));
        self.hello(i, 1);
    }

    pub fn hello(&mut self, i: u8, boot: u64) {
        let hello = Hello {
            version: Version,
            cluster: CLUSTER,
            build: "test".into(),
            boot,
        };
        self.frame(i, Frame::Hello(hello));
    }

    pub fn down(&mut self, i: u8) {
        self.handle(Event::NodeDown(node(i)));
    }

    pub fn pass(&mut self, ms: u64) {
        self.now = self.now.plus(ms);
        self.handle(Event::Tick);
    }

    pub fn give_key(&mut self, public: KeyPublic) {
        let signers: Vec<u8> = (1..=self.n).collect();
        let certificates = vec![Opaque(certificate(public, &signers))];
        self.frame(1, Frame::Keys(KeysFrame { certificates }));
    }

    /// Lends `count` fresh ids of one batch for a set.
    pub fn grant(&mut self, indices: &[u8], count: u16) {
        self.grant_of(0, indices, count);
    }

    /// Lends `count` fresh ids of one batch of a share epoch for a set.
    pub fn grant_of(&mut self, epoch: u32, indices: &[u8], count: u16) {
        let first = self.granted;
        self.granted += count;
        let ids = (first..self.granted).map(|index| PresignatureId {
            batch: BatchHash([indices[0]; 32]),
            index,
        });
        let grant = LeaseGrant {
            key: KEY,
            set: set(indices),
            ids: ids.collect(),
            epoch: ShareEpoch(epoch),
        };
        self.frame(indices[0], Frame::LeaseGrant(grant));
    }

    pub fn ask(&mut self, client: u64, stamp: Stamp, payload: &Payload) {
        self.handle(Event::ClientRequest {
            client: ClientId(client),
            stamp: Signed::sign(stamp, &caller()).to_bytes(),
            payload: cbor::encode(payload),
        });
    }

    /// Asks for a signature over a text.
    pub fn sign(&mut self, client: u64, id: u8, words: &str) {
        let payload = text(words);
        self.ask(client, stamp_of(&payload, id, Some(KEY)), &payload);
    }

    /// What `client` was told.
    pub fn told(&self, client: u64) -> Option<&Outcome> {
        self.replies.get(&ClientId(client))
    }

    /// Takes the requests that were sent since the last call, by node.
    pub fn requests(&mut self) -> Vec<(u8, RequestFrame)> {
        let sent = std::mem::take(&mut self.sent);
        sent.into_iter()
            .filter_map(|(n, frame)| match frame {
                Frame::Request(request) => Some((n.get(), request)),
                _ => None,
            })
            .collect()
    }

    /// Takes all frames that were sent to a node since the last call that took any.
    pub fn sent_to(&mut self, i: u8) -> Vec<Frame> {
        let all = std::mem::take(&mut self.sent);
        let (mine, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|(n, _)| n.get() == i);
        self.sent = rest;
        mine.into_iter().map(|(_, frame)| frame).collect()
    }

    pub fn reply(&mut self, from: u8, request: &RequestFrame, reply: Reply) {
        let stamp = Signed::<Stamp>::from_bytes(&request.stamp).unwrap();
        let frame = ReplyFrame {
            attempt: request.attempt,
            request_id: stamp.unverified().request_id,
            reply,
        };
        self.frame(from, Frame::Reply(frame));
    }

    /// Every request gets its node's honest answer.
    pub fn answer_all(&mut self, requests: &[(u8, RequestFrame)]) {
        for (from, request) in requests {
            self.reply(*from, request, Reply::Answer(signed_answer(*from, request)));
        }
    }
}

/// The honest answer of a node, before it is signed.
pub fn answer(from: u8, request: &RequestFrame) -> Answer {
    let stamp = Signed::<Stamp>::from_bytes(&request.stamp).unwrap();
    let hint = request.signing.clone();
    Answer {
        version: Version,
        cluster: CLUSTER,
        boot: boot(from, 1),
        request_id: stamp.unverified().request_id,
        key: stamp.unverified().key.unwrap(),
        set: hint.as_ref().map(|h| h.set.clone()),
        presignature: hint.map(|h| h.presignature),
        view: [5; 32],
        partial: vec![from],
        charter_hash: CharterHash([0; 32]),
        rules: vec!["allow-texts".parse().unwrap()],
        head: head(),
    }
}

pub fn signed_answer(from: u8, request: &RequestFrame) -> Vec<u8> {
    Signed::sign(answer(from, request), &identity(from)).to_bytes()
}

pub fn boot(i: u8, generation: u64) -> Boot {
    Boot {
        node: node(i),
        lane: Lane(0),
        generation: Generation(generation),
    }
}

fn head() -> Head {
    Head {
        seq: 1,
        hash: HeadHash([9; 32]),
    }
}

pub fn denial(from: u8, request: &RequestFrame) -> Denial {
    let stamp = Signed::<Stamp>::from_bytes(&request.stamp).unwrap();
    Denial {
        version: Version,
        cluster: CLUSTER,
        boot: boot(from, 1),
        request_id: stamp.unverified().request_id,
        payload_hash: stamp.unverified().payload_hash,
        charter_hash: CharterHash([0; 32]),
        rule: Some("no-strangers".parse().unwrap()),
        field: Some("transaction.to".into()),
        message: "recipient is not in the address book".into(),
        suggestion: Some("permit (principal, action, resource);".into()),
    }
}

pub fn heartbeat(i: u8, generation: u64, charter: u64) -> Vec<u8> {
    let beat = Heartbeat {
        version: Version,
        cluster: CLUSTER,
        boot: boot(i, generation),
        counter: 1,
        at: TimeMs(1_000),
        charter: CharterNumber(charter),
        charter_hash: CharterHash([0; 32]),
        head: head(),
        freezes: [0; 32],
    };
    Signed::sign(beat, &identity(i)).to_bytes()
}
