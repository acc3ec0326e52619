//! A gateway on loopback whose nodes are played by a task, with one local ECDSA key, so that the
//! signatures are real.

use crate::world::{CLUSTER, FakeCharters, KEY, boot, certificate, identity, key_public, node};
use quoin_api::Frame;
use quoin_api::frame::{
    Hello, KeysFrame, Opaque, PendingReply, Priority, Reply, ReplyFrame, RequestFrame,
};
use quoin_api::statements::{Answer, Denial, Head};
use quoin_chain::Digest;
use quoin_core::cbor::{self, Version};
use quoin_core::{
    Address, CharterHash, CharterNumber, HeadHash, IntentHash, NodeIndex, Payload, Scheme, Signed,
    Stamp,
};
use quoin_gateway::adapters::ThresholdCombiner;
use quoin_gateway::core::{Config, Gateway};
use quoin_gateway::faces::{Agent, Faces, serve};
use quoin_gateway::metrics::Metrics;
use quoin_gateway::run::{LinkEvent, NodeLinks, spawn};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Payments to this address are refused.
pub const STRANGER: [u8; 20] = [0x55; 20];
/// This message waits for an approval.
pub const PATIENT: &[u8] = b"patience";

struct Links(mpsc::UnboundedSender<(NodeIndex, Vec<u8>)>);

impl NodeLinks for Links {
    fn send(&self, node: NodeIndex, _: Priority, frame: Vec<u8>) {
        let _ = self.0.send((node, frame));
    }

    fn adopted(&mut self, _: CharterNumber, _: &[u8]) {}
}

fn secret() -> k256::ecdsa::SigningKey {
    k256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap()
}

pub fn address() -> Address {
    let point = secret().verifying_key().to_encoded_point(true);
    quoin_chain::address::evm_address(point.as_bytes().try_into().unwrap()).unwrap()
}

fn key_certificate() -> Vec<u8> {
    // Every node holds the whole of a local key, and the lowest serves it.
    let mut public = key_public("hot", &[1, 2, 3], 1);
    let point = secret().verifying_key().to_encoded_point(true);
    public.public_key = point.as_bytes().to_vec();
    for share in &mut public.public_shares {
        share.point = point.as_bytes().to_vec();
    }
    certificate(public, &[1, 2, 3])
}

/// Starts a gateway with three nodes up; returns its address on loopback.
pub async fn start(agents: Vec<Agent>) -> String {
    start_with(agents, &[1, 2, 3]).await
}

pub async fn start_with(agents: Vec<Agent>, up: &[u8]) -> String {
    let (to_nodes, mut at_nodes) = mpsc::unbounded_channel();
    let (events, inbound) = mpsc::channel(64);
    let metrics = Arc::new(Metrics::default());
    let gateway = Gateway::new(
        Config::default(),
        Box::new(FakeCharters::new(3, 2)),
        Box::new(ThresholdCombiner),
        1,
    );
    let handle = spawn(gateway, Box::new(Links(to_nodes)), inbound, metrics.clone());
    for i in up {
        events.send(LinkEvent::Up(node(*i))).await.unwrap();
    }
    tokio::spawn(async move {
        while let Some((to, bytes)) = at_nodes.recv().await {
            for frame in play(to, Frame::from_bytes(&bytes).unwrap()) {
                if events
                    .send(LinkEvent::Frame(to, frame.to_bytes()))
                    .await
                    .is_err()
                {
                    return;
                }
            }
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = listener.local_addr().unwrap().to_string();
    let faces = Faces::new(handle, metrics, agents);
    tokio::spawn(serve(listener, faces, vec!["gateway.test:80".into()]));
    for _ in 0..100 {
        let keys = reqwest::get(format!("http://{base}/v1/keys"))
            .await
            .unwrap();
        if up.is_empty() || keys.text().await.unwrap().contains("certificate") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    base
}

/// What an honest node answers.
fn play(me: NodeIndex, frame: Frame) -> Vec<Frame> {
    match frame {
        Frame::Hello(hello) => {
            assert_eq!(hello.cluster, CLUSTER);
            let boot = 1;
            vec![Frame::Hello(Hello { boot, ..hello })]
        }
        Frame::KeysRequest => {
            let certificates = vec![Opaque(key_certificate())];
            vec![Frame::Keys(KeysFrame { certificates })]
        }
        Frame::Request(request) => vec![judge(me, &request)],
        _ => Vec::new(),
    }
}

fn judge(me: NodeIndex, request: &RequestFrame) -> Frame {
    let signed = Signed::<Stamp>::from_bytes(&request.stamp).unwrap();
    let stamp = signed.unverified();
    let by_rpc = stamp.account.chain != quoin_core::ChainId::Quoin;
    assert!(!by_rpc || stamp.custody == quoin_core::CustodyMethod::Local);
    let payload: Payload = cbor::decode(&request.payload, 1 << 20).unwrap();
    let reply = match quoin_chain::decode(&payload, &stamp.account, Scheme::Ecdsa) {
        Err(rejection) => Reply::Rejected(quoin_api::frame::Refusal {
            field: rejection.field.into_owned(),
            message: rejection.message,
        }),
        Ok(decoded) => {
            let to = decoded.intent().action.counterparty().cloned();
            if to == Some(Address::evm(STRANGER)) {
                Reply::Denied(deny(me, stamp))
            } else if payload == Payload::EvmMessage(PATIENT.to_vec()) {
                Reply::Pending(PendingReply {
                    intent_hash: IntentHash([4; 32]),
                    rules: vec![],
                    unmet: vec!["2 of treasury".into()],
                })
            } else {
                Reply::Answer(sign(me, stamp, decoded.digest()))
            }
        }
    };
    Frame::Reply(ReplyFrame {
        attempt: request.attempt,
        request_id: stamp.request_id,
        reply,
    })
}

fn deny(me: NodeIndex, stamp: &Stamp) -> Vec<u8> {
    let denial = Denial {
        version: Version,
        cluster: CLUSTER,
        boot: boot(me.get(), 1),
        request_id: stamp.request_id,
        payload_hash: stamp.payload_hash,
        charter_hash: CharterHash([0; 32]),
        rule: Some("no-strangers".parse().unwrap()),
        field: Some("transaction.to".into()),
        message: "recipient is not in the address book".into(),
        suggestion: Some("add it to the book".into()),
    };
    Signed::sign(denial, &identity(me.get())).to_bytes()
}

fn sign(me: NodeIndex, stamp: &Stamp, digest: &Digest) -> Vec<u8> {
    let Digest::Prehash(prehash) = digest else {
        panic!("not a hash");
    };
    let (signature, id) = secret().sign_prehash_recoverable(prehash).unwrap();
    let mut partial = signature.to_bytes().to_vec();
    partial.push(id.to_byte());
    let answer = Answer {
        version: Version,
        cluster: CLUSTER,
        boot: boot(me.get(), 1),
        request_id: stamp.request_id,
        key: KEY,
        set: None,
        presignature: None,
        view: [0; 32],
        partial,
        charter_hash: CharterHash([0; 32]),
        rules: vec![],
        head: Head {
            seq: 1,
            hash: HeadHash([0; 32]),
        },
    };
    Signed::sign(answer, &identity(me.get())).to_bytes()
}
