//! Key ceremonies and key certificates.

use crate::world::{KEY, World, certificate, create_key, key_public, node, stamp_of};
use quoin_api::Frame;
use quoin_api::frame::{KeysFrame, Opaque, Reply};
use quoin_core::{CeremonyId, Class, ClusterId, ShareEpoch};
use quoin_gateway::core::{ClientId, Config, Event, Metric, Misbehaviour, Outcome};

fn fresh() -> World {
    let mut world = World::bare(3, 2, Config::default());
    for i in 1..=3 {
        world.up(i);
    }
    world.sent.clear();
    world
}

fn ask_for_key(world: &mut World, client: u64) {
    let payload = create_key("hot");
    world.ask(client, stamp_of(&payload, 1, None), &payload);
}

#[test]
fn a_key_exists_once_all_nodes_hand_back_the_same_certificate() {
    let mut world = fresh();
    ask_for_key(&mut world, 1);
    let requests = world.requests();
    assert_eq!(requests.len(), 3);
    assert!(requests.iter().all(|(_, r)| r.signing.is_none()));
    let bytes = certificate(key_public("hot", &[1, 2, 3], 2), &[1, 2, 3]);
    world.pass(20_000);
    for (from, request) in &requests {
        assert_eq!(world.told(1), None);
        let started = Reply::CeremonyStarted(CeremonyId([1; 16]));
        world.reply(*from, request, started);
        world.reply(*from, request, Reply::CeremonyDone(bytes.clone()));
    }
    let expected = Outcome::KeyCreated {
        key: KEY,
        certificate: bytes,
    };
    assert_eq!(world.told(1), Some(&expected));
    ask_for_key(&mut world, 2);
    assert_eq!(world.told(2), Some(&expected));
    world.handle(Event::KeysQuery {
        client: ClientId(3),
    });
    assert!(matches!(world.told(3), Some(Outcome::Keys(keys)) if keys.len() == 1));
}

#[test]
fn a_ceremony_needs_every_node() {
    let mut world = fresh();
    world.down(3);
    ask_for_key(&mut world, 1);
    let Some(Outcome::Failed(failure)) = world.told(1) else {
        panic!("{:?}", world.told(1));
    };
    assert_eq!(
        (failure.class, &*failure.nodes),
        (Class::Peer, &[node(3)][..])
    );
    world.up(3);
    ask_for_key(&mut world, 2);
    assert_eq!(world.told(2), None);
    world.down(1);
    let Some(Outcome::Failed(failure)) = world.told(2) else {
        panic!("{:?}", world.told(2));
    };
    assert_eq!(failure.nodes, [node(1)]);
}

#[test]
fn certificates_that_differ_or_lack_a_signature_make_no_key() {
    let good = || key_public("hot", &[1, 2, 3], 2);
    let mut other = good();
    other.transcript = [1; 32];
    for (name, bytes) in [
        ("other", certificate(other, &[1, 2, 3])),
        ("unsigned", certificate(good(), &[1, 2])),
        (
            "named",
            certificate(key_public("cold", &[1, 2, 3], 2), &[1, 2, 3]),
        ),
    ] {
        let mut world = fresh();
        ask_for_key(&mut world, 1);
        let requests = world.requests();
        let first = certificate(good(), &[1, 2, 3]);
        world.reply(1, &requests[0].1, Reply::CeremonyDone(first));
        world.reply(2, &requests[1].1, Reply::CeremonyDone(bytes));
        assert!(matches!(world.told(1), Some(Outcome::Failed(_))), "{name}");
        let expected = Metric::Misbehaved {
            node: node(2),
            how: Misbehaviour::BadCertificate,
        };
        assert!(world.metrics.contains(&expected), "{name}");
    }
}

#[test]
fn listed_certificates_are_believed_only_with_every_signature() {
    let mut foreign = key_public("hot", &[1, 2, 3], 2);
    foreign.cluster = ClusterId([0; 32]);
    let mut unordered = key_public("hot", &[1, 2, 3], 2);
    unordered.public_shares.reverse();
    for (name, bytes) in [
        (
            "two of three",
            certificate(key_public("hot", &[1, 2, 3], 2), &[1, 2]),
        ),
        ("foreign", certificate(foreign, &[1, 2, 3])),
        ("unordered", certificate(unordered, &[1, 2, 3])),
        (
            "stranger",
            certificate(key_public("hot", &[1, 2, 4], 2), &[1, 2, 3]),
        ),
        (
            "too few shares",
            certificate(key_public("hot", &[1], 2), &[1, 2, 3]),
        ),
        (
            "no threshold",
            certificate(key_public("hot", &[1, 2], 0), &[1, 2, 3]),
        ),
        ("garbage", vec![1, 2, 3]),
    ] {
        let mut world = fresh();
        let certificates = vec![Opaque(bytes)];
        world.frame(1, Frame::Keys(KeysFrame { certificates }));
        world.handle(Event::KeysQuery {
            client: ClientId(1),
        });
        assert_eq!(world.told(1), Some(&Outcome::Keys(vec![])), "{name}");
    }
}

#[test]
fn a_later_epoch_replaces_a_key_and_an_earlier_one_does_not() {
    let mut world = World::new(3, 2);
    let mut next = key_public("hot", &[1, 2, 3], 2);
    next.epoch = ShareEpoch(1);
    world.give_key(next.clone());
    world.give_key(key_public("hot", &[1, 2, 3], 2));
    world.handle(Event::KeysQuery {
        client: ClientId(1),
    });
    let Some(Outcome::Keys(keys)) = world.told(1) else {
        panic!("{:?}", world.told(1));
    };
    assert_eq!(keys[0].entry.public, next);
}
