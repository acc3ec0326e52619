//! Treasury keys: who opens, what is shown to whom, and what becomes of those who cheat.

use crate::world::{
    CLUSTER, KEY, World, boot, finished, identity, key_public, node, set, signed_answer, text,
};
use quoin_api::Frame;
use quoin_api::frame::{OpeningsFrame, PendingReply, Reply, RequestFrame, Unavailable};
use quoin_core::cbor::Version;
use quoin_core::{Boot, IntentHash, Purpose, RequestId, Signed, Stamp};
use quoin_gateway::core::{Config, Metric, Misbehaviour, Outcome};
use quoin_protocol::combine::{Binding, Opening};

/// Three nodes with a treasury key of two, and ids of every pair.
fn vault() -> World {
    let mut world = World::bare(3, 2, Config::default());
    (1..=3).for_each(|i| world.up(i));
    let mut public = key_public("vault", &[1, 2, 3], 2);
    public.purpose = Purpose::Treasury;
    world.give_key(public);
    for pair in [[1, 2], [1, 3], [2, 3]] {
        world.grant(&pair, 4);
    }
    world.sent.clear();
    world
}

/// A request for the text `hello`, as it was sent to nodes 1 and 2.
fn asked() -> (World, Vec<(u8, RequestFrame)>) {
    let mut world = vault();
    world.sign(1, 1, "hello");
    let requests = world.requests();
    assert_eq!(requests.len(), 2);
    (world, requests)
}

/// The honest opening of a node, before it is signed.
fn opening(from: u8, request: &RequestFrame) -> Opening {
    let stamp = Signed::<Stamp>::from_bytes(&request.stamp).unwrap();
    let hint = request.signing.clone().unwrap();
    let boots: Vec<Boot> = hint.set.iter().map(|n| boot(n.get(), 1)).collect();
    Opening {
        version: Version,
        node: node(from),
        binding: Binding {
            cluster: CLUSTER,
            key: KEY,
            epoch: hint.epoch.unwrap(),
            presignature: hint.presignature,
            set: hint.set,
            boots,
            digest: *stamp.unverified().payload_hash.as_bytes(),
            tweak: [0; 32],
        },
        entropy: Some([from; 32]),
    }
}

fn opens(world: &mut World, from: u8, request: &RequestFrame) {
    let bytes = Signed::sign(opening(from, request), &identity(from)).to_bytes();
    world.reply(from, request, Reply::Opening(bytes));
}

fn answers(world: &mut World, from: u8, request: &RequestFrame) {
    world.reply(from, request, Reply::Answer(signed_answer(from, request)));
}

/// The openings that were shown since the last call, by node.
fn shown(world: &mut World) -> Vec<(u8, OpeningsFrame)> {
    let sent = std::mem::take(&mut world.sent);
    let shown = sent.into_iter().filter_map(|(n, frame)| match frame {
        Frame::Openings(openings) => Some((n.get(), openings)),
        _ => None,
    });
    shown.collect()
}

fn misbehaved(world: &World, from: u8, how: Misbehaviour) -> bool {
    let node = node(from);
    world.metrics.contains(&Metric::Misbehaved { node, how })
}

/// The request goes to nodes 1 and 3 instead, with another presignature, and is signed.
fn goes_to_the_others(world: &mut World, before: &RequestFrame) {
    let requests = world.requests();
    let asked: Vec<u8> = requests.iter().map(|(n, _)| *n).collect();
    assert_eq!(asked, [1, 3]);
    let (first, again) = (before.signing.as_ref(), requests[0].1.signing.as_ref());
    assert_ne!(first.unwrap().presignature, again.unwrap().presignature);
    assert_eq!(before.stamp, requests[0].1.stamp);
    is_signed_by(world, &requests);
}

fn is_signed_by(world: &mut World, requests: &[(u8, RequestFrame)]) {
    for (from, request) in requests {
        opens(world, *from, request);
    }
    assert_eq!(shown(world).len(), requests.len());
    for (from, request) in requests {
        answers(world, *from, request);
    }
    assert!(matches!(world.told(1), Some(Outcome::Signed(_))));
}

#[test]
fn all_signers_open_and_all_see_the_same_before_anyone_answers() {
    let (mut world, requests) = asked();
    opens(&mut world, 1, &requests[0].1);
    assert_eq!(shown(&mut world), [], "one opening is not all");
    opens(&mut world, 2, &requests[1].1);
    let shown = shown(&mut world);
    let to: Vec<u8> = shown.iter().map(|(n, _)| *n).collect();
    assert_eq!(to, [1, 2]);
    assert_eq!(shown[0].1, shown[1].1);
    let frame = &shown[0].1;
    assert_eq!(frame.request_id, RequestId([1; 16]));
    assert_eq!(frame.attempt, requests[0].1.attempt);
    for (bytes, (from, request)) in frame.openings.iter().zip(&requests) {
        let signed = Signed::<Opening>::from_bytes(&bytes.0).unwrap();
        let opened = signed.verify(&identity(*from).public()).unwrap();
        assert_eq!(*opened, opening(*from, request));
    }
    answers(&mut world, 1, &requests[0].1);
    assert_eq!(world.told(1), None);
    answers(&mut world, 2, &requests[1].1);
    let Some(Outcome::Signed(signed)) = world.told(1) else {
        panic!("not signed: {:?}", world.told(1));
    };
    let expected = finished(&text("hello"), RequestId([1; 16]));
    assert_eq!((&signed.finished, signed.receipt.len()), (&expected, 2));
    let told = world.sent_to(3);
    assert!(told.iter().any(|f| matches!(f, Frame::Finished(_))));
}

#[test]
fn a_forged_opening_names_its_node_and_others_are_asked() {
    let (mut world, requests) = asked();
    opens(&mut world, 1, &requests[0].1);
    let forged = Signed::sign(opening(2, &requests[1].1), &identity(3)).to_bytes();
    world.reply(2, &requests[1].1, Reply::Opening(forged));
    assert!(misbehaved(&world, 2, Misbehaviour::ForgedStatement));
    goes_to_the_others(&mut world, &requests[0].1);
}

#[test]
fn an_opening_of_something_else_names_its_node() {
    let spoils: [fn(&mut Opening); 4] = [
        |o| o.binding.digest[0] ^= 1,
        |o| o.binding.presignature.index += 1,
        |o| o.binding.set = set(&[1, 3]),
        |o| o.node = node(1),
    ];
    for spoil in spoils {
        let (mut world, requests) = asked();
        opens(&mut world, 1, &requests[0].1);
        let mut other = opening(2, &requests[1].1);
        spoil(&mut other);
        let other = Signed::sign(other, &identity(2)).to_bytes();
        world.reply(2, &requests[1].1, Reply::Opening(other));
        assert!(misbehaved(&world, 2, Misbehaviour::WrongSubject));
        goes_to_the_others(&mut world, &requests[0].1);
    }
}

#[test]
fn who_answers_before_all_have_opened_is_named() {
    let (mut world, requests) = asked();
    opens(&mut world, 1, &requests[0].1);
    answers(&mut world, 2, &requests[1].1);
    assert!(misbehaved(&world, 2, Misbehaviour::WrongSubject));
    goes_to_the_others(&mut world, &requests[0].1);
}

#[test]
fn who_opens_for_a_key_of_one_round_is_named() {
    let mut world = World::new(3, 2);
    world.grant(&[1, 2], 4);
    world.sign(1, 1, "hello");
    let requests = world.requests();
    opens(&mut world, 1, &requests[0].1);
    assert!(misbehaved(&world, 1, Misbehaviour::WrongSubject));
    assert_eq!(shown(&mut world), []);
}

#[test]
fn bindings_of_different_boots_are_shown_to_nobody() {
    let (mut world, requests) = asked();
    opens(&mut world, 1, &requests[0].1);
    let mut other = opening(2, &requests[1].1);
    other.binding.boots[1] = boot(2, 2);
    let other = Signed::sign(other, &identity(2)).to_bytes();
    world.reply(2, &requests[1].1, Reply::Opening(other));
    assert!(world.metrics.contains(&Metric::NotCombined));
    let frames = world.sent.iter().map(|(_, f)| f);
    assert!(!frames.into_iter().any(|f| matches!(f, Frame::Openings(_))));
    goes_to_the_others(&mut world, &requests[0].1);
}

#[test]
fn a_signer_that_is_silent_in_either_round_is_replaced() {
    for round in [1, 2] {
        let (mut world, requests) = asked();
        opens(&mut world, 1, &requests[0].1);
        if round == 2 {
            opens(&mut world, 2, &requests[1].1);
            answers(&mut world, 1, &requests[0].1);
        }
        world.pass(1_600);
        assert!(
            world.metrics.contains(&Metric::TimedOut(node(2))),
            "{round}"
        );
        goes_to_the_others(&mut world, &requests[0].1);
    }
}

#[test]
fn the_second_round_has_its_own_time() {
    let (mut world, requests) = asked();
    world.pass(1_000);
    for (from, request) in &requests {
        opens(&mut world, *from, request);
    }
    world.pass(1_000);
    for (from, request) in &requests {
        answers(&mut world, *from, request);
    }
    assert!(matches!(world.told(1), Some(Outcome::Signed(_))));
}

#[test]
fn a_signer_that_goes_down_after_it_has_opened_is_replaced_at_once() {
    let (mut world, requests) = asked();
    opens(&mut world, 2, &requests[1].1);
    world.down(2);
    goes_to_the_others(&mut world, &requests[0].1);
}

#[test]
fn a_signer_that_has_started_again_has_burnt_the_presignature() {
    let (mut world, requests) = asked();
    for (from, request) in &requests {
        opens(&mut world, *from, request);
    }
    world.sent.clear();
    let gone = Reply::Unavailable(Unavailable::PresignatureGone);
    world.reply(2, &requests[1].1, gone);
    let again = world.requests();
    let asked: Vec<u8> = again.iter().map(|(n, _)| *n).collect();
    assert_eq!(asked, [1, 2]);
    let id = |r: &RequestFrame| r.signing.as_ref().unwrap().presignature;
    assert_ne!(id(&again[0].1), id(&requests[0].1));
    is_signed_by(&mut world, &again);
}

#[test]
fn openings_that_a_signer_refuses_end_that_set() {
    let (mut world, requests) = asked();
    for (from, request) in &requests {
        opens(&mut world, *from, request);
    }
    world.sent.clear();
    let refused = Reply::OpeningsRefused(Some(node(2)));
    world.reply(1, &requests[0].1, refused);
    // One node's word makes no other one a cheat.
    let cheats = |m: &Metric| matches!(m, Metric::Misbehaved { .. });
    assert!(!world.metrics.iter().any(cheats));
    goes_to_the_others(&mut world, &requests[0].1);
}

#[test]
fn who_refuses_openings_that_nobody_has_shown_is_named() {
    let (mut world, requests) = asked();
    let refused = Reply::OpeningsRefused(Some(node(1)));
    world.reply(2, &requests[1].1, refused);
    assert!(misbehaved(&world, 2, Misbehaviour::WrongSubject));
    goes_to_the_others(&mut world, &requests[0].1);
}

#[test]
fn unmet_obligations_end_the_first_round() {
    let (mut world, requests) = asked();
    opens(&mut world, 1, &requests[0].1);
    let pending = PendingReply {
        intent_hash: IntentHash([3; 32]),
        rules: Vec::new(),
        unmet: vec!["2 of treasury".into()],
    };
    world.reply(2, &requests[1].1, Reply::Pending(pending));
    assert!(matches!(world.told(1), Some(Outcome::Pending(_))));
    assert_eq!(shown(&mut world), []);
}
