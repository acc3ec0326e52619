//! A gateway in an attacker's hands: it has the gateway's TLS identity and speaks frames directly.
//!
//! Whatever it alters in a stamped request, no node answers with a partial signature; and the face
//! credential that it holds is worth what that agent's rules allow.

use crate::support::{Caller, Cluster, Key, SINK, request_id, start_node, wait};
use quoin_api::Frame;
use quoin_api::frame::{LeaseRequest, Reply, RequestFrame, SigningHint};
use quoin_chain::{Eip1559Fields, encode_eip1559};
use quoin_core::cbor;
use quoin_core::payload::CreateKey;
use quoin_core::{
    Address, Amount, ChainId, NodeIndex, Payload, PresignatureId, Purpose, Scheme, Signed,
    SignerSet, Stamp,
};
use quoin_link::{
    Config, Endpoint, Event, Inbound, Limits, PeerId, Pins, Priority, SpkiHash, TlsIdentity,
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Child;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// How long an answer of a node may take.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_gateway_gets_no_signature_for_what_it_altered() {
    let mut cluster = Cluster::start();
    let (key, alice, bot) = (
        cluster.key("desk-ecdsa"),
        cluster.caller("alice"),
        cluster.caller("bot"),
    );
    cluster.add_rule(&format!(
        "@id(\"alice-pays-the-sink\")\npermit (principal == Principal::\"alice\", \
         action == Action::\"transfer\", resource) when {{ context.to == \"{SINK}\" }};\n"
    ));
    cluster.stop();
    let mut nodes: Vec<Child> = (1..=3).map(|n| start_node(cluster.folder(), n)).collect();
    let mut gateway = Hostile::connect(cluster.folder(), &cluster).await;
    let good = fields();
    let payload = Payload::EvmTransaction(encode_eip1559(&good));
    let chain = ChainId::Evm(31_337);

    let honest = Signed::sign(alice.stamp(&key, chain.clone(), &payload), &alice.identity);
    for reply in gateway.ask(&key, &honest.to_bytes(), &payload).await {
        assert!(
            matches!(reply, Reply::Answer(_)),
            "what was stamped is signed: {reply:?}"
        );
    }

    for (what, altered) in alterations(&good) {
        let stamp = alice.stamp(&key, chain.clone(), &payload);
        let stamp = Signed::sign(stamp, &alice.identity).to_bytes();
        for reply in gateway.ask(&key, &stamp, &altered).await {
            assert!(matches!(reply, Reply::Rejected(_)), "{what}: {reply:?}");
        }
    }
    // With a stamp that fits the altered payload, but that it cannot sign as Alice.
    let other = Payload::EvmTransaction(encode_eip1559(&Eip1559Fields {
        nonce: 1,
        ..good.clone()
    }));
    let restamped = Signed::sign(alice.stamp(&key, chain.clone(), &other), &bot.identity);
    for reply in gateway.ask(&key, &restamped.to_bytes(), &other).await {
        assert!(matches!(reply, Reply::Rejected(_)), "restamped: {reply:?}");
    }
    gateway
        .face_credentials_buy_what_the_agent_may_do(&key, &bot, &good)
        .await;

    for node in &mut nodes {
        drop(node.stdin.take());
        assert!(wait(node, Duration::from_secs(10)).is_some());
    }
}

fn fields() -> Eip1559Fields {
    Eip1559Fields {
        chain_id: 31_337,
        nonce: 0,
        max_fee_per_gas: 2_000_000_000,
        gas_limit: 21_000,
        to: Some(SINK.parse::<Address>().unwrap().to_evm().unwrap()),
        value: Amount::from(1_000_000u64),
        ..Eip1559Fields::default()
    }
}

fn alterations(good: &Eip1559Fields) -> Vec<(&'static str, Payload)> {
    let transaction = |f: Eip1559Fields| Payload::EvmTransaction(encode_eip1559(&f));
    let mut trailing = encode_eip1559(good);
    trailing.push(0);
    vec![
        (
            "amount",
            transaction(Eip1559Fields {
                value: Amount::from(2u64),
                ..good.clone()
            }),
        ),
        (
            "recipient",
            transaction(Eip1559Fields {
                to: Some([6; 20]),
                ..good.clone()
            }),
        ),
        (
            "chain id",
            transaction(Eip1559Fields {
                chain_id: 1,
                ..good.clone()
            }),
        ),
        (
            "nonce",
            transaction(Eip1559Fields {
                nonce: 1,
                ..good.clone()
            }),
        ),
        (
            "fee",
            transaction(Eip1559Fields {
                max_fee_per_gas: 9,
                ..good.clone()
            }),
        ),
        (
            "data",
            transaction(Eip1559Fields {
                data: vec![1; 4],
                ..good.clone()
            }),
        ),
        (
            "digest, by another kind of payload",
            Payload::EvmMessage(encode_eip1559(good)),
        ),
        (
            "digest, by bytes after it",
            Payload::EvmTransaction(trailing),
        ),
    ]
}

/// A gateway that speaks frames as it likes.
struct Hostile {
    endpoint: Endpoint,
    inbound: mpsc::Receiver<Inbound>,
    set: SignerSet,
    ids: Vec<PresignatureId>,
    attempt: u64,
}

impl Hostile {
    /// Connects with the real gateway's TLS key.
    async fn connect(folder: &Path, cluster: &Cluster) -> Self {
        let charter = cluster.genesis();
        let pins = charter
            .nodes
            .iter()
            .map(|n| (SpkiHash(n.tls_key_hash), PeerId::Node(n.index)));
        let config = Config {
            me: PeerId::Gateway(charter.gateways[0].id.to_string()),
            identity: TlsIdentity::load(&folder.join("gateway/tls.pem")).unwrap(),
            pins: Pins::new(pins).unwrap(),
            addresses: addresses(folder),
            limits: Limits::default(),
            jitter_seed: [0; 32],
        };
        let (endpoint, mut inbound) = Endpoint::start(config, None).unwrap();
        let mut connected = BTreeSet::new();
        while connected.len() < 3 {
            let event = timeout(PATIENCE, inbound.recv()).await.unwrap().unwrap();
            if event.event == Event::Connected {
                connected.insert(event.from.clone());
            }
        }
        Self {
            endpoint,
            inbound,
            set: pair(),
            ids: Vec::new(),
            attempt: 0,
        }
    }

    fn send(&self, node: NodeIndex, frame: &Frame) {
        let sent = self
            .endpoint
            .send(&PeerId::Node(node), Priority::Urgent, frame.to_bytes());
        assert_eq!(sent, quoin_link::Sent::Queued);
    }

    /// The next frame of a node that `pick` is interested in.
    async fn next<T>(&mut self, pick: impl Fn(NodeIndex, Frame) -> Option<T>) -> T {
        let waiting = async {
            loop {
                let received = self.inbound.recv().await.unwrap();
                let (PeerId::Node(from), Event::Frame(bytes)) = (&received.from, &received.event)
                else {
                    continue;
                };
                if let Some(found) = pick(*from, Frame::from_bytes(bytes).unwrap()) {
                    return found;
                }
            }
        };
        timeout(PATIENCE, waiting).await.unwrap()
    }

    /// A presignature of the pair that serves, leased as an honest gateway would.
    async fn presignature(&mut self, key: &Key) -> PresignatureId {
        let until = std::time::Instant::now() + PATIENCE;
        while self.ids.is_empty() {
            assert!(std::time::Instant::now() < until, "no presignature is lent");
            let ask = LeaseRequest {
                key: key.id,
                set: self.set.clone(),
                want: 64,
                urgent: false,
            };
            self.send(self.set.lowest(), &Frame::LeaseRequest(ask));
            self.ids = self
                .next(|_, frame| match frame {
                    Frame::LeaseGrant(grant) => Some(grant.ids),
                    _ => None,
                })
                .await;
            if self.ids.is_empty() {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        self.ids.pop().unwrap()
    }

    /// Sends a request to both signers and gives back what they say to it.
    async fn ask(&mut self, key: &Key, stamp: &[u8], payload: &Payload) -> Vec<Reply> {
        let signing = SigningHint {
            set: self.set.clone(),
            presignature: self.presignature(key).await,
            epoch: None,
        };
        let mut replies = Vec::new();
        for node in self.set.clone().iter() {
            replies.push(
                self.ask_one(node, stamp, payload, Some(signing.clone()))
                    .await,
            );
        }
        replies
    }

    async fn ask_one(
        &mut self,
        node: NodeIndex,
        stamp: &[u8],
        payload: &Payload,
        signing: Option<SigningHint>,
    ) -> Reply {
        self.attempt += 1;
        let attempt = self.attempt;
        self.send(
            node,
            &Frame::Request(RequestFrame {
                attempt,
                stamp: stamp.to_vec(),
                payload: cbor::encode(payload),
                approvals: Vec::new(),
                signing,
            }),
        );
        self.next(|from, frame| match frame {
            Frame::Reply(reply) if from == node && reply.attempt == attempt => Some(reply.reply),
            _ => None,
        })
        .await
    }

    /// The credential behind the JSON-RPC face stamps whatever it likes, and gets only what the
    /// agent may do.
    async fn face_credentials_buy_what_the_agent_may_do(
        &mut self,
        key: &Key,
        bot: &Caller,
        good: &Eip1559Fields,
    ) {
        let readable = Payload::EvmMessage(b"good morning".to_vec());
        let chain = ChainId::Evm(31_337);
        let stamp = Signed::sign(bot.stamp(key, chain.clone(), &readable), &bot.identity);
        for reply in self.ask(key, &stamp.to_bytes(), &readable).await {
            assert!(
                matches!(reply, Reply::Answer(_)),
                "a readable text: {reply:?}"
            );
        }
        let theft = Payload::EvmTransaction(encode_eip1559(good));
        let stamp = Signed::sign(bot.stamp(key, chain, &theft), &bot.identity);
        for reply in self.ask(key, &stamp.to_bytes(), &theft).await {
            assert!(matches!(reply, Reply::Denied(_)), "a transfer: {reply:?}");
        }
        let create = Payload::CreateKey(CreateKey {
            name: "backdoor".parse().unwrap(),
            scheme: Scheme::Ecdsa,
            purpose: Purpose::Trading,
        });
        let stamp = Stamp {
            key: None,
            purpose: Purpose::Trading,
            account: quoin_core::stamp::Account {
                chain: ChainId::Quoin,
                address: "cluster".parse().unwrap(),
                path: quoin_core::DerivationPath::ROOT,
            },
            request_id: request_id(),
            ..bot.stamp(key, ChainId::Quoin, &create)
        };
        let stamp = Signed::sign(stamp, &bot.identity).to_bytes();
        let node = self.set.lowest();
        let reply = self.ask_one(node, &stamp, &create, None).await;
        assert!(
            matches!(reply, Reply::Denied(_)),
            "a key of its own: {reply:?}"
        );
    }
}

fn pair() -> SignerSet {
    let nodes = [1, 2].map(|n| NodeIndex::new(n).unwrap());
    SignerSet::from_ascending(nodes.to_vec()).unwrap()
}

fn addresses(folder: &Path) -> BTreeMap<PeerId, String> {
    let listen = |n: u8| {
        let text = std::fs::read(folder.join(format!("node-{n}/node.json"))).unwrap();
        let file: Value = serde_json::from_slice(&text).unwrap();
        (
            PeerId::Node(NodeIndex::new(n).unwrap()),
            file["listen"].as_str().unwrap().to_owned(),
        )
    };
    (1..=3).map(listen).collect()
}
