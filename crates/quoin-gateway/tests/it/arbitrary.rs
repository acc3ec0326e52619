//! Whatever nodes and callers send, the core does not panic and no caller has two replies.

use crate::world::{KEY, World, caller, stamp_of, text};
use proptest::prelude::*;
use quoin_api::Frame;
use quoin_api::frame::{Opaque, Reply, RequestFrame};
use quoin_core::{Signed, cbor};
use quoin_gateway::core::{ClientId, Event};
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Move {
    Ask(u8, bool),
    Answer(u8),
    Garbage(u8, u8, Vec<u8>),
    Up(u8),
    Down(u8),
    Boot(u8, u64),
    Grant(u8),
    Pass(u64),
    Bytes(Vec<u8>, Vec<u8>),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let node = 1u8..=3;
    let bytes = proptest::collection::vec(any::<u8>(), 0..64);
    let one = prop_oneof![
        (1u8..4, any::<bool>()).prop_map(|(id, other)| Move::Ask(id, other)),
        node.clone().prop_map(Move::Answer),
        (node.clone(), 0u8..8, bytes.clone()).prop_map(|(n, kind, b)| Move::Garbage(n, kind, b)),
        node.clone().prop_map(Move::Up),
        node.clone().prop_map(Move::Down),
        (node.clone(), 0u64..5).prop_map(|(n, b)| Move::Boot(n, b)),
        node.prop_map(Move::Grant),
        (0u64..3_000).prop_map(Move::Pass),
        (bytes.clone(), bytes).prop_map(|(a, b)| Move::Bytes(a, b)),
    ];
    proptest::collection::vec(one, 1..60)
}

fn garbage(kind: u8, bytes: Vec<u8>) -> Option<Reply> {
    Some(match kind {
        0 => Reply::Answer(bytes),
        1 => Reply::Denied(bytes),
        2 => Reply::AlreadySigned(bytes),
        3 => Reply::CeremonyDone(bytes),
        _ => return None,
    })
}

fn garbage_frame(kind: u8, bytes: Vec<u8>) -> Frame {
    match kind {
        4 => Frame::Heartbeat(bytes),
        5 => Frame::Charter(bytes),
        6 => Frame::Tombstone(bytes),
        _ => Frame::Keys(quoin_api::frame::KeysFrame {
            certificates: vec![Opaque(bytes)],
        }),
    }
}

fn play(world: &mut World, open: &mut Vec<(u8, RequestFrame)>, client: u64, step: Move) {
    match step {
        Move::Ask(id, other) => world.sign(client, id, if other { "other" } else { "hello" }),
        Move::Answer(n) => {
            if let Some(at) = open.iter().position(|(to, _)| *to == n) {
                let request = open.swap_remove(at);
                world.answer_all(&[request]);
            }
        }
        Move::Garbage(n, kind, bytes) => match (garbage(kind, bytes.clone()), open.first()) {
            (Some(reply), Some((_, request))) => {
                let request = request.clone();
                world.reply(n, &request, reply);
            }
            _ => world.frame(n, garbage_frame(kind, bytes)),
        },
        Move::Up(n) => world.up(n),
        Move::Down(n) => world.down(n),
        Move::Boot(n, boot) => world.hello(n, boot),
        Move::Grant(n) => world.grant(if n == 1 { &[1, 2] } else { &[2, 3] }, 2),
        Move::Pass(ms) => world.pass(ms),
        Move::Bytes(stamp, payload) => world.handle(Event::ClientRequest {
            client: ClientId(client),
            stamp,
            payload,
        }),
    }
    open.extend(world.requests());
}

proptest! {
    #[test]
    fn every_caller_has_one_reply_whatever_happens(steps in moves()) {
        let mut world = World::new(3, 2);
        let mut open = Vec::new();
        let mut used = BTreeMap::new();
        let asks = |s: &&Move| matches!(s, Move::Ask(..) | Move::Bytes(..));
        let asked = steps.iter().filter(asks).count();
        for (client, step) in (0u64..).zip(steps) {
            play(&mut world, &mut open, client, step);
            for (_, request) in &open {
                if let Some(hint) = &request.signing {
                    let first = *used.entry(hint.presignature).or_insert(request.attempt);
                    prop_assert_eq!(first, request.attempt, "an id serves one attempt");
                }
            }
        }
        for _ in 0..12 {
            world.pass(1_000);
        }
        prop_assert_eq!(world.replies.len(), asked);
    }

    #[test]
    fn a_mutated_request_never_panics(at in 0usize..512, bit in 0u8..8) {
        let mut world = World::new(3, 2);
        let payload = text("hello");
        let mut stamp = Signed::sign(stamp_of(&payload, 1, Some(KEY)), &caller()).to_bytes();
        let mut payload = cbor::encode(&payload);
        let whole = stamp.len() + payload.len();
        let at = at % whole;
        match stamp.get_mut(at) {
            Some(byte) => *byte ^= 1 << bit,
            None => payload[at - stamp.len()] ^= 1 << bit,
        }
        world.handle(Event::ClientRequest { client: ClientId(1), stamp, payload });
    }
}
