//! Share epochs: a key's shares move on while requests go on, and none of them fails.

use crate::world::{FakeCharters, World, certificate, key_public, node};
use quoin_api::Frame;
use quoin_api::frame::{KeysFrame, LeaseRequest, Opaque, Reply, RequestFrame, Unavailable};
use quoin_core::{CharterNumber, ShareEpoch};
use quoin_gateway::core::{ClientId, Config, Event, Metric, Misbehaviour, Outcome};
use quoin_protocol::KeyPublic;

/// The key in a later epoch, with these holders.
fn epoch(number: u32, holders: &[u8], threshold: u8) -> KeyPublic {
    KeyPublic {
        epoch: ShareEpoch(number),
        previous: (number > 0).then_some([number as u8; 32]),
        ..key_public("hot", holders, threshold)
    }
}

/// Shows a key's certificate, signed by these nodes.
fn show(world: &mut World, from: u8, public: KeyPublic, signers: &[u8]) {
    let certificates = vec![Opaque(certificate(public, signers))];
    world.frame(from, Frame::Keys(KeysFrame { certificates }));
}

/// Which epoch and signers the requests that were just sent name.
fn asked(requests: &[(u8, RequestFrame)]) -> Vec<(u32, Vec<u8>)> {
    let hint = |r: &RequestFrame| {
        let hint = r.signing.clone().unwrap();
        let set = hint.set.iter().map(|n| n.get()).collect();
        (hint.epoch.unwrap().0, set)
    };
    let mut asked: Vec<_> = requests.iter().map(|(_, r)| hint(r)).collect();
    asked.dedup();
    asked
}

/// One request from its arrival to its signature; gives the epoch that it was signed with.
fn signed(world: &mut World, client: u64) -> u32 {
    world.sign(client, client as u8, &format!("text {client}"));
    let requests = world.requests();
    let of = asked(&requests);
    assert_eq!(of.len(), 1, "request {client}: {:?}", world.told(client));
    world.answer_all(&requests);
    let told = world.told(client);
    assert!(
        matches!(told, Some(Outcome::Signed(_))),
        "{client}: {told:?}"
    );
    of[0].0
}

#[test]
fn requests_go_on_with_the_old_epoch_until_the_new_one_is_lent() {
    let mut world = World::new(3, 2);
    world.grant(&[1, 2], 64);
    assert_eq!(signed(&mut world, 1), 0);
    show(&mut world, 1, epoch(1, &[1, 2, 3], 2), &[1, 2, 3]);
    let mut epochs = Vec::new();
    for client in 2..40 {
        if client == 20 {
            world.grant_of(1, &[1, 2], 64);
        }
        epochs.push(signed(&mut world, client));
        world.pass(50);
    }
    assert_eq!(epochs[..18], [0; 18]);
    assert_eq!(epochs[18..], [1; 20]);
    assert!(
        !world
            .metrics
            .iter()
            .any(|m| matches!(m, Metric::Misbehaved { .. }))
    );
}

#[test]
fn while_the_old_epoch_is_plenty_its_lender_is_only_probed() {
    let mut world = World::new(3, 2);
    world.grant(&[1, 2], Config::default().lease_want);
    show(&mut world, 1, epoch(1, &[1, 2, 3], 2), &[1, 2, 3]);
    world.sent.clear();
    for _ in 0..100 {
        world.pass(10);
    }
    let leases = world
        .sent_to(1)
        .into_iter()
        .filter_map(|frame| match frame {
            Frame::LeaseRequest(LeaseRequest { want, .. }) => Some(want),
            _ => None,
        });
    assert_eq!(leases.collect::<Vec<_>>(), [1, 1], "twice a second");
}

#[test]
fn a_refused_old_epoch_is_given_up_at_once_for_the_newest() {
    for why in [Unavailable::PresignatureGone, Unavailable::UnknownKey] {
        let mut world = World::new(3, 2);
        world.grant(&[1, 2], 64);
        show(&mut world, 1, epoch(1, &[1, 2, 3], 2), &[1, 2, 3]);
        world.sign(1, 1, "in flight");
        let first = world.requests();
        assert_eq!(asked(&first), [(0, vec![1, 2])]);
        world.grant_of(1, &[1, 2], 64);
        world.requests();
        world.reply(1, &first[0].1, Reply::Unavailable(why));
        let second = world.requests();
        assert_eq!(
            asked(&second),
            [(1, vec![1, 2])],
            "{why:?}: without a pause"
        );
        world.answer_all(&second);
        assert!(matches!(world.told(1), Some(Outcome::Signed(_))));
        // Nothing of what was lent of the old epoch is tried again.
        assert_eq!(signed(&mut world, 2), 1);
    }
}

#[test]
fn a_signer_without_the_new_epoch_is_asked_under_the_old_one() {
    let mut world = World::new(3, 2);
    world.grant(&[1, 2], 64);
    show(&mut world, 1, epoch(1, &[1, 2, 3], 2), &[1, 2, 3]);
    world.grant_of(1, &[1, 2], 64);
    world.requests();
    world.sign(1, 1, "too early");
    let first = world.requests();
    assert_eq!(asked(&first), [(1, vec![1, 2])]);
    world.reply(2, &first[1].1, Reply::Unavailable(Unavailable::UnknownKey));
    let second = world.requests();
    assert_eq!(asked(&second), [(0, vec![1, 2])]);
    world.answer_all(&second);
    assert!(matches!(world.told(1), Some(Outcome::Signed(_))));
    assert_eq!(signed(&mut world, 2), 1, "the others go on with the newest");
}

#[test]
fn answers_combine_under_the_epoch_that_they_were_asked_for() {
    let mut world = World::new(5, 2);
    world.grant(&[1, 2], 64);
    world.sign(1, 1, "asked before the shares moved");
    let old = world.requests();
    show(
        &mut world,
        1,
        epoch(1, &[1, 2, 3, 4, 5], 3),
        &[1, 2, 3, 4, 5],
    );
    world.grant_of(1, &[1, 2, 3], 64);
    world.requests();
    // The fake combiner insists on as many answers as the record's threshold.
    world.answer_all(&old);
    assert!(matches!(world.told(1), Some(Outcome::Signed(_))));
    world.sign(2, 2, "asked after it");
    let new = world.requests();
    assert_eq!(asked(&new), [(1, vec![1, 2, 3])]);
    world.answer_all(&new);
    assert!(matches!(world.told(2), Some(Outcome::Signed(_))));
}

#[test]
fn the_old_epoch_is_no_longer_asked_for_once_its_overlap_is_over() {
    let mut world = World::new(3, 2);
    world.grant(&[1, 2], 64);
    show(&mut world, 1, epoch(1, &[1, 2, 3], 2), &[1, 2, 3]);
    world.pass(120_000);
    world.sent.clear();
    world.sign(1, 1, "late");
    assert!(world.requests().is_empty(), "it waits for the new epoch");
    world.grant_of(1, &[1, 2], 64);
    assert_eq!(asked(&world.requests()), [(1, vec![1, 2])]);
}

#[test]
fn an_epoch_that_does_not_follow_from_the_known_one_is_not_taken() {
    let mut other_key = epoch(1, &[1, 2, 3], 2);
    other_key.public_key = vec![3; 33];
    let mut other_later = epoch(7, &[1, 2, 3], 2);
    other_later.public_key = vec![3; 33];
    let mut born_again = epoch(7, &[1, 2, 3], 2);
    born_again.previous = None;
    for bad in [other_key, other_later, born_again] {
        let mut world = World::new(3, 2);
        world.grant(&[1, 2], 8);
        show(&mut world, 1, bad, &[1, 2, 3]);
        let how = Misbehaviour::BadCertificate;
        let node = node(1);
        assert!(world.metrics.contains(&Metric::Misbehaved { node, how }));
        assert_eq!(signed(&mut world, 1), 0);
    }
    // A gateway that was away for some epochs takes a later one of the same key.
    let mut world = World::new(3, 2);
    show(&mut world, 1, epoch(7, &[1, 2, 3], 2), &[1, 2, 3]);
    world.grant_of(7, &[1, 2], 8);
    assert_eq!(signed(&mut world, 1), 7);
}

#[test]
fn a_certificate_is_verified_by_the_nodes_of_the_charter_that_it_names() {
    // Charter 1 replaces node 3 by another identity and adds node 4.
    let nodes = [(1, 1), (2, 2), (3, 33), (4, 4)];
    let charters = FakeCharters::new(3, 2).changing(1, &nodes);
    let mut world = World::under(charters, 3, Config::default());
    (1..=3).for_each(|i| world.up(i));
    show(&mut world, 1, epoch(0, &[1, 2, 3], 2), &[1, 2, 3]);
    world.frame(1, Frame::Charter(1u64.to_be_bytes().to_vec()));
    world.up(3);
    world.up(4);
    world.requests();
    // The key is still of the nodes of charter 0, and the one at index 3 is not among them now.
    world.down(1);
    world.sign(1, 1, "one holder is up");
    world.pass(10);
    assert!(world.requests().is_empty());
    world.up(1);
    world.grant(&[1, 2], 8);
    assert_eq!(asked(&world.requests()), [(0, vec![1, 2])]);
    let how = Misbehaviour::BadCertificate;
    let next = |charter| KeyPublic {
        charter: CharterNumber(charter),
        ..epoch(1, &[1, 2, 3, 4], 2)
    };
    world.metrics.clear();
    // Signed by the nodes of charter 0, and by three of the four of charter 1.
    for signers in [&[1, 2, 3, 4][..], &[1, 2, 33]] {
        show(&mut world, 1, next(1), signers);
        let node = node(1);
        assert!(world.metrics.contains(&Metric::Misbehaved { node, how }));
        world.metrics.clear();
    }
    show(&mut world, 1, next(1), &[1, 2, 33, 4]);
    assert!(world.metrics.is_empty(), "{:?}", world.metrics);
    world.handle(Event::KeysQuery {
        client: ClientId(9),
    });
    let Some(Outcome::Keys(keys)) = world.told(9) else {
        panic!("no keys");
    };
    assert_eq!(keys[0].entry.public.epoch, ShareEpoch(1));
}

#[test]
fn a_key_of_a_charter_that_is_not_known_yet_is_asked_for_again_after_it() {
    let mut world = World::new(3, 2);
    let ahead = KeyPublic {
        charter: CharterNumber(1),
        ..epoch(1, &[1, 2, 3], 2)
    };
    world.sent.clear();
    show(&mut world, 2, ahead, &[1, 2, 3]);
    assert!(world.metrics.is_empty());
    assert!(world.sent_to(2).contains(&Frame::CharterRequest));
    world.frame(2, Frame::Charter(1u64.to_be_bytes().to_vec()));
    assert!(world.sent_to(2).contains(&Frame::KeysRequest));
}

#[test]
fn ids_of_an_epoch_whose_certificate_is_on_its_way_are_kept() {
    let mut world = World::new(3, 2);
    world.sent.clear();
    world.pass(1_000);
    world.grant_of(1, &[1, 2], 8);
    let sent: Vec<Frame> = (1..=3).flat_map(|i| world.sent_to(i)).collect();
    assert!(sent.contains(&Frame::KeysRequest));
    show(&mut world, 1, epoch(1, &[1, 2, 3], 2), &[1, 2, 3]);
    assert_eq!(signed(&mut world, 1), 1);
}
