//! Nodes that are away, slow, restarted, wrong or out of presignatures.

use crate::world::{World, answer, heartbeat, identity, node, set, signed_answer, text};
use quoin_api::Frame;
use quoin_api::frame::{Reply, RequestFrame, Unavailable};
use quoin_core::{Class, Signed};
use quoin_gateway::core::outcome::{Failure, Status};
use quoin_gateway::core::{ClientId, Config, Event, Metric, Misbehaviour, Outcome};

fn failure(outcome: Option<&Outcome>) -> &Failure {
    match outcome {
        Some(Outcome::Failed(failure)) => failure,
        other => panic!("expected a failure, found {other:?}"),
    }
}

fn asked(requests: &[(u8, RequestFrame)]) -> Vec<u8> {
    requests.iter().map(|(n, _)| *n).collect()
}

fn status(world: &mut World) -> Status {
    let client = ClientId(9_999);
    world.replies.remove(&client);
    world.handle(Event::StatusQuery { client });
    match world.replies.remove(&client) {
        Some(Outcome::Status(status)) => *status,
        other => panic!("{other:?}"),
    }
}

#[test]
fn with_one_node_down_the_other_pair_signs() {
    let mut world = World::new(3, 2);
    world.down(1);
    world.sign(1, 1, "hello");
    let leases = world.sent_to(2);
    assert!(matches!(&leases[..], [Frame::LeaseRequest(l)] if l.set == set(&[2, 3])));
    world.grant(&[2, 3], 4);
    let requests = world.requests();
    assert_eq!(asked(&requests), [2, 3]);
    world.answer_all(&requests);
    assert!(matches!(world.told(1), Some(Outcome::Signed(_))));
    world.up(1);
    let missed = world.sent_to(1);
    assert!(
        missed.iter().any(|f| matches!(f, Frame::Finished(_))),
        "what it missed is told when it comes back"
    );
}

#[test]
fn with_two_nodes_down_the_error_names_both() {
    let mut world = World::new(3, 2);
    world.grant(&[1, 2], 4);
    world.down(2);
    world.down(3);
    world.sign(1, 1, "hello");
    world.pass(9_999);
    assert_eq!(world.told(1), None);
    world.pass(1);
    let failure = failure(world.told(1));
    assert_eq!(failure.class, Class::Peer);
    assert_eq!(failure.nodes, [node(2), node(3)]);
    assert!(failure.message.contains("2, 3"), "{}", failure.message);
}

#[test]
fn a_request_that_waits_for_nodes_goes_on_when_one_comes() {
    let mut world = World::new(3, 2);
    world.grant(&[1, 2], 4);
    world.down(2);
    world.down(3);
    world.sign(1, 1, "hello");
    assert!(world.requests().is_empty());
    world.pass(5_000);
    world.up(2);
    let requests = world.requests();
    assert_eq!(asked(&requests), [1, 2]);
    world.answer_all(&requests);
    assert!(matches!(world.told(1), Some(Outcome::Signed(_))));
}

#[test]
fn a_silent_signer_is_replaced_and_its_presignature_is_never_used_again() {
    let mut world = World::new(3, 2);
    world.grant(&[1, 2], 4);
    world.grant(&[1, 3], 4);
    world.sign(1, 1, "hello");
    let first = world.requests();
    world.reply(1, &first[0].1, Reply::Answer(signed_answer(1, &first[0].1)));
    world.pass(1_499);
    assert!(world.requests().is_empty());
    world.pass(1);
    assert!(world.metrics.contains(&Metric::TimedOut(node(2))));
    let second = world.requests();
    assert_eq!(asked(&second), [1, 3]);
    // The late answer of the first attempt changes nothing.
    world.reply(2, &first[1].1, Reply::Answer(signed_answer(2, &first[1].1)));
    assert_eq!(world.told(1), None);
    world.answer_all(&second);
    assert!(matches!(world.told(1), Some(Outcome::Signed(_))));
    let burnt = first[0].1.signing.clone().unwrap().presignature;
    for id in 2..5 {
        world.sign(id.into(), id, "more");
        for (_, request) in world.requests() {
            assert_ne!(request.signing.unwrap().presignature, burnt);
        }
    }
}

#[test]
fn a_signer_whose_connection_breaks_is_replaced_at_once() {
    let mut world = World::new(3, 2);
    world.grant(&[1, 2], 4);
    world.grant(&[1, 3], 4);
    world.sign(1, 1, "hello");
    assert_eq!(asked(&world.requests()), [1, 2]);
    world.down(2);
    let requests = world.requests();
    assert_eq!(asked(&requests), [1, 3]);
    world.answer_all(&requests);
    assert!(matches!(world.told(1), Some(Outcome::Signed(_))));
}

#[test]
fn a_request_that_nobody_answers_fails_at_its_deadline_and_names_them() {
    let mut world = World::new(3, 2);
    world.grant(&[1, 2], 16);
    world.grant(&[1, 3], 16);
    world.grant(&[2, 3], 16);
    world.sign(1, 1, "hello");
    for _ in 0..10 {
        world.pass(1_000);
    }
    let failure = failure(world.told(1));
    assert_eq!(failure.class, Class::Peer);
    assert_eq!(failure.nodes, [node(1), node(2), node(3)]);
}

#[test]
fn answers_that_do_not_combine_lead_to_another_set() {
    let mut world = World::new(3, 2);
    world.grant(&[1, 2], 4);
    world.grant(&[1, 3], 4);
    world.sign(1, 1, "hello");
    let requests = world.requests();
    let mut wrong = answer(2, &requests[1].1);
    wrong.partial = vec![0];
    let wrong = Signed::sign(wrong, &identity(2)).to_bytes();
    world.reply(
        1,
        &requests[0].1,
        Reply::Answer(signed_answer(1, &requests[0].1)),
    );
    world.reply(2, &requests[1].1, Reply::Answer(wrong));
    assert!(world.metrics.contains(&Metric::NotCombined));
    assert!(
        !world
            .sent
            .iter()
            .any(|(_, f)| matches!(f, Frame::Finished(_)))
    );
    let second = world.requests();
    assert_eq!(asked(&second), [1, 3]);
    assert_ne!(requests[0].1.signing, second[0].1.signing);
    world.answer_all(&second);
    assert!(matches!(world.told(1), Some(Outcome::Signed(_))));
}

#[test]
fn answers_with_different_views_do_not_combine() {
    let mut world = World::new(3, 2);
    world.grant(&[1, 2], 4);
    world.sign(1, 1, "hello");
    let requests = world.requests();
    let mut other = answer(2, &requests[1].1);
    other.view = [6; 32];
    let other = Signed::sign(other, &identity(2)).to_bytes();
    world.reply(
        1,
        &requests[0].1,
        Reply::Answer(signed_answer(1, &requests[0].1)),
    );
    world.reply(2, &requests[1].1, Reply::Answer(other));
    assert!(world.metrics.contains(&Metric::NotCombined));
    assert_eq!(world.told(1), None);
}

#[test]
fn when_no_set_combines_the_error_says_so() {
    let mut world = World::new(3, 2);
    for pair in [[1, 2], [1, 3], [2, 3]] {
        world.grant(&pair, 4);
    }
    world.sign(1, 1, "hello");
    for _ in 0..3 {
        for (from, request) in world.requests() {
            let mut wrong = answer(from, &request);
            wrong.partial = vec![0];
            let wrong = Signed::sign(wrong, &identity(from)).to_bytes();
            world.reply(from, &request, Reply::Answer(wrong));
        }
    }
    let failure = failure(world.told(1));
    assert_eq!((failure.class, &*failure.field), (Class::Peer, "signature"));
}

#[test]
fn a_lost_presignature_is_replaced_up_to_a_limit() {
    let config = Config {
        presignature_retries_max: 2,
        ..Config::default()
    };
    let mut world = World::bare(2, 2, config);
    world.up(1);
    world.up(2);
    world.give_key(crate::world::key_public("hot", &[1, 2], 2));
    world.grant(&[1, 2], 1);
    world.sign(1, 1, "hello");
    let mut ids = Vec::new();
    for _ in 0..3 {
        let requests = world.requests();
        ids.push(requests[0].1.signing.clone().unwrap().presignature);
        let gone = Reply::Unavailable(Unavailable::PresignatureGone);
        world.reply(2, &requests[1].1, gone);
        if world.told(1).is_none() {
            world.grant(&[1, 2], 1);
        }
    }
    ids.dedup();
    assert_eq!(ids.len(), 3, "every retry has an id of its own");
    let failure = failure(world.told(1));
    assert_eq!(failure.nodes, [node(2)]);
}

#[test]
fn an_unavailable_node_is_replaced_once() {
    let mut world = World::new(3, 2);
    world.grant(&[1, 2], 4);
    world.grant(&[1, 3], 4);
    world.sign(1, 1, "hello");
    let requests = world.requests();
    world.reply(2, &requests[1].1, Reply::Unavailable(Unavailable::NoLease));
    let requests = world.requests();
    assert_eq!(asked(&requests), [1, 3]);
    world.reply(
        3,
        &requests[1].1,
        Reply::Unavailable(Unavailable::ClockSkew),
    );
    let failure = failure(world.told(1));
    assert_eq!(failure.class, Class::Peer);
    assert_eq!(failure.nodes, [node(2), node(3)]);
    assert!(failure.message.contains("node 2 lacks fresh heartbeats"));
    assert!(failure.message.contains("node 3 has a clock"));
}

#[test]
fn nodes_that_do_not_hear_each_other_yet_are_asked_again_for_a_while() {
    let mut world = World::new(3, 2);
    for set in [[1, 2], [1, 3], [2, 3]] {
        world.grant(&set, 16);
    }
    world.sign(1, 1, "hello");
    let mut asked_again = 0;
    while world.told(1).is_none() {
        for _ in 0..2 {
            let requests = world.requests();
            if let Some((to, request)) = requests.last() {
                asked_again += 1;
                let deaf = Reply::Unavailable(Unavailable::NoLease);
                world.reply(*to, request, deaf);
            }
        }
        world.pass(500);
        assert!(asked_again < 100, "for ever");
    }
    assert!(asked_again > 4, "{asked_again}");
    let failure = failure(world.told(1));
    assert!(failure.message.contains("lacks fresh heartbeats"));
}

#[test]
fn without_another_set_an_unavailable_node_ends_the_request() {
    let mut world = World::new(3, 2);
    world.grant(&[1, 2], 4);
    world.down(3);
    world.sign(1, 1, "hello");
    let requests = world.requests();
    world.reply(
        2,
        &requests[1].1,
        Reply::Unavailable(Unavailable::StorageFailed),
    );
    assert_eq!(failure(world.told(1)).nodes, [node(2)]);
}

#[test]
fn a_restarted_node_invalidates_its_leases() {
    for heard_by_heartbeat in [false, true] {
        let mut world = World::new(3, 2);
        world.grant(&[1, 2], 4);
        if heard_by_heartbeat {
            world.frame(2, Frame::Heartbeat(heartbeat(2, 2, 0)));
        } else {
            world.hello(2, 2);
        }
        world.sign(1, 1, "hello");
        assert!(world.requests().is_empty(), "the lease is gone");
        world.grant(&[1, 2], 4);
        assert_eq!(asked(&world.requests()), [1, 2]);
    }
}

#[test]
fn a_lender_that_was_away_has_taken_its_ids_back() {
    let mut world = World::new(3, 2);
    world.grant(&[1, 2], 4);
    world.down(2);
    world.up(2);
    world.sign(1, 1, "hello");
    assert_eq!(asked(&world.requests()), [1, 2], "node 2 had lent nothing");
    world.down(1);
    world.up(1);
    world.sign(2, 2, "hello");
    assert!(world.requests().is_empty(), "the lease of node 1 is gone");
}

#[test]
fn a_set_that_is_short_of_presignatures_is_waited_for_while_it_lends_any() {
    let mut world = World::new(3, 2);
    for id in 1..=3 {
        world.sign(u64::from(id), id, "hello");
    }
    // Fewer than are needed, but some within every attempt's time.
    for _ in 0..2 {
        world.pass(1_000);
        world.grant(&[1, 2], 1);
        let requests = world.requests();
        assert_eq!(asked(&requests), [1, 2]);
        world.answer_all(&requests);
    }
    world.pass(1_000);
    assert!(
        world
            .sent_to(2)
            .iter()
            .all(|f| !matches!(f, Frame::LeaseRequest(_)))
    );
    world.pass(1_000);
    let leases = world.sent_to(2);
    let turned = |f: &Frame| matches!(f, Frame::LeaseRequest(l) if l.set == set(&[2, 3]));
    assert!(
        leases.iter().any(turned),
        "it has lent nothing for too long"
    );
}

#[test]
fn keys_made_through_another_gateway_are_learnt() {
    let mut world = World::new(3, 2);
    world.pass(59_999);
    assert!(!world.sent.iter().any(|(_, f)| *f == Frame::KeysRequest));
    world.pass(1);
    assert!(world.sent_to(2).contains(&Frame::KeysRequest));
}

#[test]
fn a_heartbeat_that_its_node_did_not_sign_is_ignored() {
    let mut world = World::new(3, 2);
    world.grant(&[1, 2], 4);
    world.frame(2, Frame::Heartbeat(heartbeat(3, 2, 0)));
    let expected = Metric::Misbehaved {
        node: node(2),
        how: Misbehaviour::ForgedStatement,
    };
    assert!(world.metrics.contains(&expected));
    world.sign(1, 1, "hello");
    assert_eq!(asked(&world.requests()), [1, 2]);
}

#[test]
fn only_the_lowest_signer_may_lend() {
    let mut world = World::new(3, 2);
    world.sign(1, 1, "hello");
    world.sent.clear();
    let grant = quoin_api::frame::LeaseGrant {
        key: crate::world::KEY,
        set: set(&[1, 2]),
        ids: vec![quoin_core::PresignatureId {
            batch: quoin_core::BatchHash([1; 32]),
            index: 0,
        }],
        epoch: quoin_core::ShareEpoch::default(),
    };
    world.frame(2, Frame::LeaseGrant(grant.clone()));
    assert!(world.requests().is_empty());
    world.frame(1, Frame::LeaseGrant(grant));
    assert_eq!(asked(&world.requests()), [1, 2]);
}

#[test]
fn waiting_callers_are_served_in_order_as_ids_come() {
    let mut world = World::new(3, 2);
    for id in [9, 5, 7] {
        world.sign(id.into(), id, "hello");
    }
    world.sent.clear();
    world.grant(&[1, 2], 2);
    let served: Vec<u8> = world
        .requests()
        .iter()
        .filter(|(n, _)| *n == 1)
        .map(|(_, r)| {
            let stamp = Signed::<quoin_core::Stamp>::from_bytes(&r.stamp).unwrap();
            stamp.unverified().request_id.0[0]
        })
        .collect();
    assert_eq!(served, [9, 5]);
}

#[test]
fn an_empty_stock_leads_to_another_set_after_a_while() {
    let mut world = World::new(3, 2);
    world.grant(&[2, 3], 4);
    world.sign(1, 1, "hello");
    assert!(world.requests().is_empty());
    world.pass(1_500);
    let requests = world.requests();
    assert_eq!(asked(&requests), [2, 3]);
    world.answer_all(&requests);
    assert!(matches!(world.told(1), Some(Outcome::Signed(_))));
}

#[test]
fn an_unknown_key_is_asked_for_and_then_refused() {
    let mut world = World::bare(3, 2, Config::default());
    for i in 1..=3 {
        world.up(i);
    }
    world.pass(600);
    world.sent.clear();
    world.sign(1, 1, "hello");
    assert!(world.sent.iter().any(|(_, f)| *f == Frame::KeysRequest));
    world.pass(1_500);
    assert_eq!(failure(world.told(1)).field, "stamp.key");
    world.sign(2, 1, "hello");
    world.give_key(crate::world::key_public("hot", &[1, 2, 3], 2));
    world.grant(&[1, 2], 4);
    assert_eq!(asked(&world.requests()), [1, 2]);
}

#[test]
fn readiness_says_what_is_missing() {
    let mut world = World::bare(3, 2, Config::default());
    assert_eq!(status(&mut world).not_ready.len(), 1);
    world.up(1);
    let reasons = status(&mut world).not_ready;
    assert!(
        reasons[0].contains("nodes 2, 3 are not connected"),
        "{reasons:?}"
    );
    world.up(2);
    assert!(status(&mut world).not_ready.is_empty(), "no key yet");
    world.up(3);
    world.give_key(crate::world::key_public("hot", &[1, 2, 3], 2));
    assert!(status(&mut world).not_ready[0].contains("no presignature"));
    world.grant(&[1, 2], 4);
    let status = status(&mut world);
    assert!(status.not_ready.is_empty());
    assert_eq!(status.stock[0].ids, 4);
}

#[test]
fn frames_that_nodes_do_not_send_are_counted_and_ignored() {
    let mut world = World::new(3, 2);
    world.frame(1, Frame::KeysRequest);
    let expected = Metric::Misbehaved {
        node: node(1),
        how: Misbehaviour::UnexpectedFrame,
    };
    assert!(world.metrics.contains(&expected));
    world.frame(9, Frame::KeysRequest);
    assert_eq!(world.metrics.len(), 1, "a stranger is not even counted");
    let _ = text("");
}
