//! Cores in memory: frames arrive in order, jobs run at once, disks are durable when the test says.
//!
//! A test may hold back `Event::Durable` of a node, keep its jobs, drop frames, cut nodes off and
//! kill them. Records and frames go through their bytes, so both encodings are exercised.

use super::cluster::{BEGIN, Cluster, Shape, Work, first_boot, node};
use crate::core::{
    Alarm, Effect, Event, Job, JobId, JobResult, KeyRecord, Node, NodeConfig, Peer, PoolSizes,
    Record, Recovered, Ticket, Turn,
};
use quoin_api::Frame;
use quoin_api::frame::{LeaseRequest, Opaque, Reply, SigningHint};
use quoin_api::statements::{Answer, FinishedSignature, Head};
use quoin_core::cbor::{self, Version};
use quoin_core::hash::tagged;
use quoin_core::{
    Certificate, GatewayId, HeadHash, KeyId, Lane, NodeIndex, PresignatureId, SecretBytes,
    ShareEpoch, Signed, SignerSet, TimeMs, tags,
};
use quoin_policy::Charter;
use quoin_protocol::combine;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// What a test drops on its way: from, to, frame.
pub(super) type Filter = fn(NodeIndex, NodeIndex, &Frame) -> bool;

struct Entry {
    ticket: Ticket,
    at: TimeMs,
    bytes: Vec<u8>,
    secrets: Vec<(String, SecretBytes<32>)>,
    /// Labels whose secrets are gone once the record is durable.
    erased: Vec<String>,
}

/// One node with what belongs to its host.
#[derive(Default)]
pub(super) struct Host {
    pub(super) core: Option<Node>,
    durable: Vec<Entry>,
    pending: Vec<Entry>,
    /// Whether writes stay pending.
    pub(super) hold: bool,
    /// Whether jobs are kept instead of run.
    pub(super) keep_jobs: bool,
    pub(super) jobs: Vec<(JobId, Job)>,
    /// How many jobs the core asked for.
    pub(super) jobs_asked: usize,
    /// How far the host's clock runs ahead.
    pub(super) ahead_ms: u64,
    pub(super) sent: Vec<(Peer, Frame)>,
    pub(super) alarms: Vec<Alarm>,
    /// Backups that were asked for and are not written yet.
    pub(super) backups: Vec<(KeyId, ShareEpoch, [u8; 32])>,
    /// Whether the folder for backups is full.
    pub(super) backup_fails: bool,
    /// After how many more effects the node dies, and whether what it wrote survives that.
    pub(super) dies: Option<(usize, bool)>,
    life: u64,
}

impl Host {
    pub(super) fn core(&self) -> &Node {
        self.core.as_ref().unwrap()
    }

    pub(super) fn records(&self) -> Vec<(TimeMs, Record)> {
        let read = |e: &Entry| (e.at, Record::from_bytes(&e.bytes).unwrap());
        self.durable.iter().map(read).collect()
    }

    /// What is written but not durable.
    pub(super) fn unsynced(&self) -> Vec<Record> {
        let read = |e: &Entry| Record::from_bytes(&e.bytes).unwrap();
        self.pending.iter().map(read).collect()
    }

    /// The head after the first `count` durable records.
    pub(super) fn head(&self, count: usize) -> Head {
        let mut head = Head {
            seq: 0,
            hash: HeadHash([0; 32]),
        };
        for entry in self.durable.iter().take(count) {
            head = Head {
                seq: head.seq + 1,
                hash: HeadHash(tagged(tags::JOURNAL, &[head.hash.as_bytes(), &entry.bytes])),
            };
        }
        head
    }

    /// What is sealed on the disk.
    pub(super) fn shares(&self) -> BTreeMap<String, SecretBytes<32>> {
        let mut shares = BTreeMap::new();
        for entry in &self.durable {
            for (label, secret) in &entry.secrets {
                shares.insert(label.clone(), secret.duplicate_secret());
            }
            entry.erased.iter().for_each(|label| {
                shares.remove(label);
            });
        }
        shares
    }

    /// The labels that were erased, in order.
    pub(super) fn erased_labels(&self) -> Vec<String> {
        self.durable.iter().flat_map(|e| e.erased.clone()).collect()
    }

    /// Puts a record on the disk as if the core had written it.
    pub(super) fn write_now(&mut self, at: TimeMs, record: &Record) {
        self.write(at, Ticket(0), record);
        self.durable.append(&mut self.pending);
    }

    /// Loses the whole disk.
    pub(super) fn lose_disk(&mut self) {
        self.durable.clear();
        self.pending.clear();
    }

    /// Puts a record with a secret on the disk, as a restore does while the node is stopped.
    pub(super) fn restore_now(
        &mut self,
        at: TimeMs,
        record: &Record,
        secret: (String, SecretBytes<32>),
    ) {
        self.write(at, Ticket(0), record);
        if let Some(entry) = self.pending.last_mut() {
            entry.secrets.push(secret);
        }
        self.durable.append(&mut self.pending);
    }

    fn write(&mut self, at: TimeMs, ticket: Ticket, record: &Record) {
        self.pending.push(Entry {
            ticket,
            at,
            bytes: record.to_bytes(),
            secrets: Vec::new(),
            erased: Vec::new(),
        });
    }
}

struct Flight {
    from: (NodeIndex, u64),
    to: (NodeIndex, u64),
    frame: Frame,
}

pub(super) struct Net {
    pub(super) cluster: Cluster,
    pub(super) hosts: BTreeMap<NodeIndex, Host>,
    pub(super) now: TimeMs,
    pub(super) rng: ChaCha20Rng,
    queue: VecDeque<Flight>,
    /// Nodes that no frame of another node reaches, and whose frames reach none.
    pub(super) cut_off: BTreeSet<NodeIndex>,
    pub(super) filter: Option<Filter>,
    pub(super) pool: PoolSizes,
    /// The charters after the genesis, for nodes that are new in one.
    pub(super) charters: Vec<Certificate<Charter>>,
    /// 0 unless a test is about rotation.
    pub(super) refresh_interval_ms: u64,
    /// The build of nodes that start from now on.
    pub(super) build: &'static str,
}

pub(super) fn gateway() -> Peer {
    Peer::Gateway(gateway_id())
}

pub(super) fn gateway_id() -> GatewayId {
    "gateway".parse().unwrap()
}

impl Net {
    /// A cluster whose nodes are all off, with the key on each disk.
    pub(super) fn off(shape: Shape) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(7);
        let cluster = Cluster::build(shape, &mut rng);
        let mut hosts = BTreeMap::new();
        for (index, share) in &cluster.shares {
            let mut host = Host::default();
            let pending = Record::KeyPending(KeyRecord {
                key: cluster.key.key,
                public: Opaque(cbor::encode(&cluster.key)),
                boot: first_boot(*index),
            });
            host.write(BEGIN, Ticket(1), &pending);
            let label = crate::core::share_label(&cluster.key);
            let secret = share.secret.duplicate_secret();
            host.pending[0].secrets.push((label, secret));
            let active = Record::KeyActive {
                key: cluster.key.key,
                certificate: Opaque(cluster.certificate.to_bytes()),
            };
            host.write(BEGIN, Ticket(2), &active);
            host.durable = std::mem::take(&mut host.pending);
            hosts.insert(*index, host);
        }
        Self {
            cluster,
            hosts,
            now: BEGIN,
            rng,
            queue: VecDeque::new(),
            cut_off: BTreeSet::new(),
            filter: None,
            pool: PoolSizes {
                low: 6,
                batch: 8,
                reserve: 0,
            },
            charters: Vec::new(),
            refresh_interval_ms: 0,
            build: "test",
        }
    }

    /// A cluster whose nodes are all up and have heard of each other.
    pub(super) fn with(shape: Shape) -> Self {
        let mut net = Self::off(shape);
        net.start_all();
        net
    }

    pub(super) fn start_all(&mut self) {
        let all: Vec<_> = self.hosts.keys().copied().collect();
        all.into_iter().for_each(|n| self.start(n));
    }

    /// A default cluster with full pools.
    pub(super) fn calm() -> Self {
        let mut net = Self::with(Shape::default());
        net.advance(1_000);
        net
    }

    pub(super) fn host(&mut self, index: u8) -> &mut Host {
        self.hosts.get_mut(&node(index)).unwrap()
    }

    pub(super) fn core(&self, index: u8) -> &Node {
        self.hosts[&node(index)].core()
    }

    /// What a node would be rebuilt from with the first `count` of its durable records.
    pub(super) fn recovered(&self, index: u8, count: usize) -> Recovered {
        let host = &self.hosts[&node(index)];
        Recovered {
            config: NodeConfig {
                build: self.build.to_owned(),
                ecdsa_pool: self.pool,
                schnorr_pool: self.pool,
                dangerous_model_scheme: true,
                refresh_interval_ms: self.refresh_interval_ms,
            },
            identity: Arc::clone(&self.cluster.identities[&node(index)]),
            genesis: self.cluster.genesis.clone(),
            charters: self.charters.clone(),
            lane: Lane(0),
            records: host.records().into_iter().take(count).collect(),
            head: host.head(count),
            shares: host.shares(),
        }
    }

    /// Starts a node from its disk and connects it; its boot record is durable first.
    pub(super) fn start(&mut self, index: NodeIndex) {
        let mut effects = Vec::new();
        let recovered = self.recovered(index.get(), usize::MAX);
        let core = Node::recover(recovered, &mut effects).unwrap();
        let now = self.now;
        let host = self.hosts.get_mut(&index).unwrap();
        host.core = Some(core);
        host.life += 1;
        for effect in effects {
            if let Effect::Persist(ticket, record, _) = effect {
                host.write(now, ticket, &record);
            }
        }
        self.sync(index);
        self.feed(index, Event::Connected(gateway()));
        for other in self.up().into_iter().filter(|o| *o != index) {
            self.feed(index, Event::Connected(Peer::Node(other)));
            self.feed(other, Event::Connected(Peer::Node(index)));
        }
        self.settle();
    }

    /// Brings a charter of these nodes into force, and starts those that are new in it.
    pub(super) fn amend(&mut self, nodes: &[u8], threshold: u8) {
        let current = self.core(nodes[0]).charter().unverified().clone();
        let charter = self.cluster.charter_of(&current, nodes, threshold);
        let certificate = self.cluster.certified(charter, 2);
        self.charters.push(certificate.clone());
        self.gateway_says(nodes[0], Frame::Charter(certificate.to_bytes()));
        for index in nodes {
            let is_new = !self.hosts.contains_key(&node(*index));
            if is_new {
                self.hosts.insert(node(*index), Host::default());
                self.start(node(*index));
            }
        }
        self.advance(1_000);
    }

    /// Kills a node; what was not durable is gone.
    pub(super) fn crash(&mut self, index: u8) {
        let host = self.host(index);
        host.core = None;
        host.pending.clear();
        host.jobs.clear();
        host.hold = false;
        host.keep_jobs = false;
        host.dies = None;
        for other in self.up() {
            self.feed(other, Event::Disconnected(Peer::Node(node(index))));
        }
        self.settle();
    }

    pub(super) fn restart(&mut self, index: u8) {
        self.crash(index);
        self.start(node(index));
    }

    fn up(&self) -> Vec<NodeIndex> {
        let up = self.hosts.iter().filter(|(_, h)| h.core.is_some());
        up.map(|(index, _)| *index).collect()
    }

    /// Hands an event to a node and carries out what it asks for.
    pub(super) fn feed(&mut self, index: NodeIndex, event: Event) {
        let now = self.now;
        let host = self.hosts.get_mut(&index).unwrap();
        let Some(core) = host.core.as_mut() else {
            return;
        };
        let mut effects = Vec::new();
        core.handle(now.plus(host.ahead_ms), event, &mut effects);
        self.carry_out_all(index, effects);
    }

    /// Lets a node do what only a permitted request would.
    pub(super) fn act(&mut self, index: u8, act: impl FnOnce(&mut Node, &mut Turn<'_>)) {
        let (now, mut effects) = (self.now, Vec::new());
        let turn = &mut Turn {
            now,
            effects: &mut effects,
        };
        act(self.host(index).core.as_mut().unwrap(), turn);
        self.carry_out_all(node(index), effects);
    }

    fn carry_out_all(&mut self, index: NodeIndex, effects: Vec<Effect>) {
        for effect in effects {
            let host = self.hosts.get_mut(&index).unwrap();
            if let Some((left, survives)) = &mut host.dies {
                if *left == 0 {
                    if *survives {
                        host.durable.append(&mut host.pending);
                    }
                    host.pending.clear();
                    host.core = None;
                    host.dies = None;
                    return;
                }
                *left -= 1;
            }
            self.carry_out(index, effect);
        }
    }

    /// Puts a node's disk back to its first `count` records.
    pub(super) fn roll_back(&mut self, index: u8, count: usize) {
        self.crash(index);
        self.host(index).durable.truncate(count);
        self.start(node(index));
    }

    fn carry_out(&mut self, index: NodeIndex, effect: Effect) {
        let now = self.now;
        let host = self.hosts.get_mut(&index).unwrap();
        match effect {
            Effect::Persist(ticket, record, secrets) => {
                host.write(now, ticket, &record);
                host.pending.last_mut().unwrap().secrets = secrets;
            }
            Effect::Erase(ticket, record, labels) => {
                host.write(now, ticket, &record);
                host.pending.last_mut().unwrap().erased = labels;
            }
            Effect::Send(to, frame) => {
                host.sent.push((to.clone(), frame.clone()));
                let from = (index, host.life);
                if let Peer::Node(to) = to {
                    let to = (to, self.hosts[&to].life);
                    self.queue.push_back(Flight { from, to, frame });
                }
            }
            Effect::Compute(id, job) => {
                host.jobs_asked += 1;
                host.jobs.push((id, job));
            }
            Effect::Alarm(alarm) => host.alarms.push(alarm),
            Effect::BackUp(share, _) => {
                let public = &share.public;
                let of = (public.key, public.epoch, public.shares_hash());
                host.backups.push(of);
            }
            Effect::Peers => {}
        }
    }

    /// Delivers, computes and syncs until nothing is left to do.
    pub(super) fn settle(&mut self) {
        for _ in 0..100_000 {
            if let Some(flight) = self.queue.pop_front() {
                self.deliver(flight);
                continue;
            }
            let busy: Vec<_> = self.up().into_iter().filter(|n| self.work(*n)).collect();
            if busy.is_empty() {
                return;
            }
        }
        panic!("the cluster does not come to rest");
    }

    fn deliver(&mut self, flight: Flight) {
        let Flight { from, to, frame } = flight;
        let cut = self.cut_off.contains(&from.0) || self.cut_off.contains(&to.0);
        // A frame does not outlive the connection that it was sent on.
        let stale = self.hosts[&from.0].life != from.1 || self.hosts[&to.0].life != to.1;
        let dropped = self.filter.is_some_and(|drops| drops(from.0, to.0, &frame));
        if !cut && !stale && !dropped {
            let frame = Frame::from_bytes(&frame.to_bytes()).unwrap();
            self.feed(to.0, Event::Frame(Peer::Node(from.0), frame));
        }
    }

    /// Runs the jobs of a node and makes its writes durable; whether there was anything to do.
    fn work(&mut self, index: NodeIndex) -> bool {
        let host = self.hosts.get_mut(&index).unwrap();
        let jobs = if host.keep_jobs {
            Vec::new()
        } else {
            std::mem::take(&mut host.jobs)
        };
        let sync = !host.hold && !host.pending.is_empty();
        let backups = std::mem::take(&mut host.backups);
        let full = host.backup_fails;
        let busy = sync || !jobs.is_empty() || !backups.is_empty();
        for of in backups {
            let written = if full {
                Err("no space left".to_owned())
            } else {
                Ok([1; 32])
            };
            self.feed(index, Event::BackupWritten(of, written));
        }
        for (id, job) in jobs {
            let result = job.run(&mut self.rng);
            self.feed(index, Event::Computed(id, result));
        }
        if sync {
            self.sync(index);
        }
        busy
    }

    /// Makes everything that a node wrote durable, and tells it.
    pub(super) fn sync(&mut self, index: NodeIndex) {
        let host = self.hosts.get_mut(&index).unwrap();
        let Some(last) = host.pending.last().map(|e| e.ticket) else {
            return;
        };
        host.durable.append(&mut host.pending);
        let head = host.head(usize::MAX);
        self.feed(index, Event::Durable(last, head));
    }

    /// Lets a node whose writes were held back go on.
    pub(super) fn release(&mut self, index: u8) {
        self.host(index).hold = false;
        self.settle();
    }

    /// Answers the oldest kept job of a node in its place.
    pub(super) fn compute(&mut self, index: u8, result: JobResult) {
        let (id, _) = self.host(index).jobs.remove(0);
        self.feed(node(index), Event::Computed(id, result));
    }

    /// Lets time pass in ticks of 100 ms.
    pub(super) fn advance(&mut self, ms: u64) {
        for _ in 0..ms.div_ceil(100) {
            self.jump(100);
        }
    }

    /// Lets time pass in one tick.
    pub(super) fn jump(&mut self, ms: u64) {
        self.now = self.now.plus(ms);
        for index in self.up() {
            self.feed(index, Event::Tick);
        }
        self.settle();
    }

    /// A frame from the gateway to a node.
    pub(super) fn gateway_says(&mut self, index: u8, frame: Frame) {
        let frame = Frame::from_bytes(&frame.to_bytes()).unwrap();
        self.feed(node(index), Event::Frame(gateway(), frame));
        self.settle();
    }

    /// A frame from one node to another that the first did not send.
    pub(super) fn node_says(&mut self, from: u8, to: u8, frame: Frame) {
        let event = Event::Frame(Peer::Node(node(from)), frame);
        self.feed(node(to), event);
        self.settle();
    }

    /// The replies that a node has sent to the gateway since the last call.
    pub(super) fn replies(&mut self, index: u8) -> Vec<Reply> {
        let sent = std::mem::take(&mut self.host(index).sent);
        let replies = sent.into_iter().filter_map(|(to, frame)| match frame {
            Frame::Reply(reply) if to == gateway() => Some(reply.reply),
            _ => None,
        });
        replies.collect()
    }

    /// Asks a node to sign with a presignature, and gives its only reply, if there is one by now.
    pub(super) fn ask(
        &mut self,
        index: u8,
        work: &Work,
        signers: &SignerSet,
        presignature: PresignatureId,
    ) -> Option<Reply> {
        self.replies(index);
        let hint = SigningHint {
            set: signers.clone(),
            presignature,
            epoch: None,
        };
        self.gateway_says(index, Frame::Request(work.frame(Some(hint))));
        let mut replies = self.replies(index);
        assert!(replies.len() <= 1, "{replies:?}");
        replies.pop()
    }

    /// Leases presignatures from the lowest-index node of a set.
    pub(super) fn lease(&mut self, signers: &SignerSet, want: u16) -> Vec<PresignatureId> {
        let lender = signers.lowest().get();
        self.host(lender).sent.clear();
        let request = LeaseRequest {
            key: self.cluster.key.key,
            set: signers.clone(),
            want,
            urgent: false,
        };
        self.gateway_says(lender, Frame::LeaseRequest(request));
        let sent = std::mem::take(&mut self.host(lender).sent);
        let grant = sent.into_iter().find_map(|(_, frame)| match frame {
            Frame::LeaseGrant(grant) => Some(grant.ids),
            _ => None,
        });
        grant.unwrap()
    }

    /// Asks all of a set and combines their answers.
    pub(super) fn sign(&mut self, work: &Work, signers: &SignerSet) -> FinishedSignature {
        let presignature = self.lease(signers, 1)[0];
        let mut answers = Vec::new();
        for signer in signers.iter() {
            let reply = self.ask(signer.get(), work, signers, presignature);
            let answer = answer(&reply);
            let partial = combine::Answer {
                view: answer.view,
                body: answer.partial,
            };
            answers.push((signer, partial));
        }
        let key = &self.cluster.key;
        let stamp = quoin_core::Signed::<quoin_core::Stamp>::from_bytes(&work.stamp).unwrap();
        let account = &stamp.unverified().account;
        let decoded = quoin_chain::decode(&work.payload, account, key.scheme).unwrap();
        let child = combine::derive(key, &account.path).unwrap();
        let made = combine::finish(key, signers, &child.tweak, decoded.digest(), &answers).unwrap();
        FinishedSignature {
            version: Version,
            request_id: work.id,
            key: key.key,
            scheme: key.scheme,
            signature: made.signature,
            recovery_id: made.recovery_id,
        }
    }

    /// How much of the budget a node has co-signed, and how much it knows to be spent.
    pub(super) fn spent(&self, index: u8) -> (u64, u64) {
        let (core, budget) = (self.core(index), self.cluster.budget());
        let number = |amount: Option<quoin_core::Amount>| amount.unwrap().to_i64().unwrap() as u64;
        (
            number(core.ledger.spent_own(budget, self.now)),
            number(core.ledger.spent(budget, self.now)),
        )
    }
}

/// The statement inside a reply that must be an answer.
pub(super) fn answer(reply: &Option<Reply>) -> Answer {
    match reply {
        Some(Reply::Answer(bytes)) => Signed::<Answer>::from_bytes(bytes)
            .unwrap()
            .unverified()
            .clone(),
        other => panic!("no answer: {other:?}"),
    }
}
