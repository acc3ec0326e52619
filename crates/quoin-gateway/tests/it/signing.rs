//! The ways in which a request is signed, refused, parked or found to conflict.

use crate::world::{
    KEY, World, answer, denial, finished, identity, key_public, node, set, signed_answer, stamp_of,
    text,
};
use quoin_api::Frame;
use quoin_api::frame::{PendingReply, Refusal, Reply, RequestFrame};
use quoin_core::{Class, ClusterId, IntentHash, Payload, PayloadHash, RequestId, Signed, cbor};
use quoin_gateway::core::{ClientId, Config, Event, Metric, Misbehaviour, Outcome};

fn failure(outcome: Option<&Outcome>) -> &quoin_gateway::core::outcome::Failure {
    match outcome {
        Some(Outcome::Failed(failure)) => failure,
        other => panic!("expected a failure, found {other:?}"),
    }
}

#[test]
fn a_request_goes_to_the_lowest_pair_and_its_signature_to_everyone() {
    let mut world = World::new(3, 2);
    world.grant(&[1, 2], 4);
    world.sign(1, 1, "hello");
    let requests = world.requests();
    let asked: Vec<u8> = requests.iter().map(|(n, _)| *n).collect();
    assert_eq!(asked, [1, 2]);
    assert_eq!(requests[0].1, requests[1].1, "both see the same request");
    assert_eq!(requests[0].1.signing.as_ref().unwrap().set, set(&[1, 2]));
    world.answer_all(&requests);
    let Some(Outcome::Signed(signed)) = world.told(1) else {
        panic!("not signed: {:?}", world.told(1));
    };
    assert_eq!(
        signed.finished,
        finished(&text("hello"), RequestId([1; 16]))
    );
    assert_eq!(signed.receipt.len(), 2);
    for i in 1..=3 {
        let told = world.sent_to(i);
        assert!(told.iter().any(|f| matches!(f, Frame::Finished(_))), "{i}");
    }
}

#[test]
fn a_repeated_request_has_the_same_answer_without_asking_anyone() {
    let mut world = World::new(3, 2);
    world.grant(&[1, 2], 4);
    world.sign(1, 1, "hello");
    let requests = world.requests();
    world.answer_all(&requests);
    world.sign(2, 1, "hello");
    assert!(world.requests().is_empty());
    assert_eq!(world.told(1), world.told(2));
    world.handle(Event::ClientQuery {
        client: ClientId(3),
        request_id: RequestId([1; 16]),
    });
    assert_eq!(world.told(1), world.told(3));
}

#[test]
fn two_callers_of_one_request_share_a_flight() {
    let mut world = World::new(3, 2);
    world.grant(&[1, 2], 4);
    world.sign(1, 1, "hello");
    world.sign(2, 1, "hello");
    let requests = world.requests();
    assert_eq!(requests.len(), 2, "one attempt of two signers");
    world.answer_all(&requests);
    assert!(matches!(world.told(1), Some(Outcome::Signed(_))));
    assert_eq!(world.told(1), world.told(2));
}

#[test]
fn a_caller_with_another_stamp_is_tried_when_the_first_stamp_is_rejected() {
    let mut world = World::new(3, 2);
    world.grant(&[1, 2], 4);
    world.sign(1, 1, "hello");
    let payload = text("hello");
    let mut stamp = stamp_of(&payload, 1, Some(KEY));
    stamp.not_after = stamp.not_after.plus(1);
    world.ask(2, stamp, &payload);
    let requests = world.requests();
    let refusal = Refusal {
        field: "stamp".into(),
        message: "signature does not verify".into(),
    };
    world.reply(1, &requests[0].1, Reply::Rejected(refusal));
    assert_eq!(failure(world.told(1)).class, Class::Caller);
    assert_eq!(failure(world.told(1)).field, "stamp");
    assert_eq!(world.told(2), None);
    let requests = world.requests();
    world.answer_all(&requests);
    assert!(matches!(world.told(2), Some(Outcome::Signed(_))));
}

#[test]
fn one_request_id_with_two_payloads_is_a_conflict_at_once() {
    let mut world = World::new(3, 2);
    world.grant(&[1, 2], 4);
    world.sign(1, 1, "hello");
    world.sign(2, 1, "goodbye");
    let first = text("hello").hash();
    assert_eq!(world.told(2), Some(&Outcome::Conflict(first)));
    let requests = world.requests();
    world.answer_all(&requests);
    world.sign(3, 1, "goodbye");
    assert_eq!(world.told(3), Some(&Outcome::Conflict(first)));
}

#[test]
fn a_conflict_that_a_node_sees_is_told() {
    let mut world = World::new(3, 2);
    world.grant(&[1, 2], 4);
    world.sign(1, 1, "hello");
    let requests = world.requests();
    let other = PayloadHash([3; 32]);
    world.reply(2, &requests[1].1, Reply::Conflict(other));
    assert_eq!(world.told(1), Some(&Outcome::Conflict(other)));
}

#[test]
fn a_denial_is_handed_to_the_others_and_stays() {
    let mut world = World::new(3, 2);
    world.grant(&[1, 2], 4);
    world.sign(1, 1, "hello");
    let requests = world.requests();
    let bytes = Signed::sign(denial(2, &requests[1].1), &identity(2)).to_bytes();
    world.reply(2, &requests[1].1, Reply::Denied(bytes.clone()));
    let Some(Outcome::Refused(refused)) = world.told(1) else {
        panic!("not refused: {:?}", world.told(1));
    };
    assert_eq!(refused.rule.as_ref().unwrap().as_str(), "no-strangers");
    assert_eq!(refused.node, node(2));
    assert_eq!(refused.denial, bytes);
    assert!(world.sent_to(2).is_empty(), "it knows its own denial");
    for i in [1, 3] {
        assert_eq!(world.sent_to(i), [Frame::Tombstone(bytes.clone())]);
    }
    world.sign(2, 1, "hello");
    assert_eq!(world.told(1), world.told(2));
}

#[test]
fn a_forged_denial_is_ignored_and_other_signers_are_asked() {
    let mut world = World::new(3, 2);
    world.grant(&[1, 2], 4);
    world.grant(&[1, 3], 4);
    world.sign(1, 1, "hello");
    let requests = world.requests();
    let forged = Signed::sign(denial(2, &requests[1].1), &identity(9)).to_bytes();
    world.reply(2, &requests[1].1, Reply::Denied(forged));
    assert_eq!(world.told(1), None);
    let expected = Metric::Misbehaved {
        node: node(2),
        how: Misbehaviour::ForgedStatement,
    };
    assert!(world.metrics.contains(&expected));
    assert!(
        !world
            .sent
            .iter()
            .any(|(_, f)| matches!(f, Frame::Tombstone(_)))
    );
    let requests = world.requests();
    let asked: Vec<u8> = requests.iter().map(|(n, _)| *n).collect();
    assert_eq!(asked, [1, 3]);
    world.answer_all(&requests);
    assert!(matches!(world.told(1), Some(Outcome::Signed(_))));
}

#[test]
fn a_denial_of_another_payload_is_ignored() {
    let mut world = World::new(3, 2);
    world.grant(&[1, 2], 4);
    world.sign(1, 1, "hello");
    let requests = world.requests();
    let mut other = denial(2, &requests[1].1);
    other.payload_hash = PayloadHash([9; 32]);
    let bytes = Signed::sign(other, &identity(2)).to_bytes();
    world.reply(2, &requests[1].1, Reply::Denied(bytes));
    assert_eq!(world.told(1), None);
}

fn pending(unmet: &str) -> Reply {
    Reply::Pending(PendingReply {
        intent_hash: IntentHash([4; 32]),
        rules: vec!["treasury".parse().unwrap()],
        unmet: vec![unmet.into()],
    })
}

fn approval(id: u8, signer: u8) -> Vec<u8> {
    let mut bytes = vec![id; 16];
    bytes.push(signer);
    bytes
}

#[test]
fn an_approval_sends_a_pending_request_again_until_it_is_signed() {
    let mut world = World::new(3, 2);
    world.grant(&[1, 2], 8);
    world.sign(1, 1, "hello");
    let requests = world.requests();
    world.reply(1, &requests[0].1, pending("2 of treasury"));
    assert_eq!(world.told(1), None, "the other signer may still deny");
    world.reply(2, &requests[1].1, pending("2 of treasury"));
    let Some(Outcome::Pending(shown)) = world.told(1) else {
        panic!("not pending: {:?}", world.told(1));
    };
    assert_eq!(shown.intent_hash, IntentHash([4; 32]));
    assert_eq!(shown.unmet, ["2 of treasury"]);

    world.handle(Event::ClientApproval {
        client: ClientId(2),
        approval: approval(1, 50),
    });
    let requests = world.requests();
    assert_eq!(requests[0].1.approvals.len(), 1);
    world.reply(1, &requests[0].1, pending("1 of treasury"));
    world.reply(2, &requests[1].1, pending("1 of treasury"));
    assert!(matches!(world.told(2), Some(Outcome::Pending(_))));

    world.handle(Event::ClientApproval {
        client: ClientId(3),
        approval: approval(1, 51),
    });
    let requests = world.requests();
    assert_eq!(requests[0].1.approvals.len(), 2);
    world.answer_all(&requests);
    assert!(matches!(world.told(3), Some(Outcome::Signed(_))));
    world.handle(Event::ClientQuery {
        client: ClientId(4),
        request_id: RequestId([1; 16]),
    });
    assert_eq!(world.told(3), world.told(4));
}

#[test]
fn an_approval_that_comes_during_an_attempt_is_not_lost() {
    let mut world = World::new(3, 2);
    world.grant(&[1, 2], 8);
    world.sign(1, 1, "hello");
    let requests = world.requests();
    world.handle(Event::ClientApproval {
        client: ClientId(2),
        approval: approval(1, 50),
    });
    world.reply(1, &requests[0].1, pending("1 of treasury"));
    world.reply(2, &requests[1].1, pending("1 of treasury"));
    let requests = world.requests();
    assert_eq!(requests[0].1.approvals.len(), 1);
    world.answer_all(&requests);
    assert!(matches!(world.told(1), Some(Outcome::Signed(_))));
    assert_eq!(world.told(1), world.told(2));
}

#[test]
fn forged_approvals_and_approvals_of_nothing_are_told_so() {
    let mut world = World::new(3, 2);
    world.handle(Event::ClientApproval {
        client: ClientId(1),
        approval: approval(1, 0),
    });
    assert_eq!(failure(world.told(1)).field, "approval");
    world.handle(Event::ClientApproval {
        client: ClientId(2),
        approval: approval(1, 50),
    });
    assert_eq!(world.told(2), Some(&Outcome::NotFound));
}

#[test]
fn a_denial_after_a_pending_reply_still_counts() {
    let mut world = World::new(3, 2);
    world.grant(&[1, 2], 8);
    world.sign(1, 1, "hello");
    let requests = world.requests();
    world.reply(1, &requests[0].1, pending("a delay"));
    world.pass(1_500);
    assert!(matches!(world.told(1), Some(Outcome::Pending(_))));
    let bytes = Signed::sign(denial(2, &requests[1].1), &identity(2)).to_bytes();
    world.reply(2, &requests[1].1, Reply::Denied(bytes));
    world.sign(2, 1, "hello");
    assert!(matches!(world.told(2), Some(Outcome::Refused(_))));
}

#[test]
fn a_signature_made_earlier_is_verified_and_returned() {
    let mut world = World::new(3, 2);
    world.grant(&[1, 2], 4);
    world.grant(&[1, 3], 4);
    world.sign(1, 1, "hello");
    let requests = world.requests();
    let mut wrong = finished(&text("hello"), RequestId([1; 16]));
    wrong.signature[0] ^= 1;
    world.reply(
        2,
        &requests[1].1,
        Reply::AlreadySigned(cbor::encode(&wrong)),
    );
    assert_eq!(world.told(1), None);
    let requests = world.requests();
    let right = finished(&text("hello"), RequestId([1; 16]));
    world.reply(
        1,
        &requests[0].1,
        Reply::AlreadySigned(cbor::encode(&right)),
    );
    let Some(Outcome::Signed(signed)) = world.told(1) else {
        panic!("not signed: {:?}", world.told(1));
    };
    assert_eq!(signed.finished, right);
}

#[test]
fn an_answer_about_anything_else_is_refused() {
    type Change = fn(&mut quoin_api::statements::Answer);
    let changes: [(&str, Change); 6] = [
        ("cluster", |a| a.cluster = ClusterId([0; 32])),
        ("node", |a| a.boot.node = node(3)),
        ("request", |a| a.request_id = RequestId([9; 16])),
        ("key", |a| a.key = quoin_core::KeyId([9; 16])),
        ("set", |a| a.set = Some(set(&[1, 3]))),
        ("presignature", |a| {
            a.presignature.as_mut().unwrap().index += 1
        }),
    ];
    for (name, change) in changes {
        let mut world = World::new(3, 2);
        world.grant(&[1, 2], 4);
        world.sign(1, 1, "hello");
        let requests = world.requests();
        let mut other = answer(2, &requests[1].1);
        change(&mut other);
        let bytes = Signed::sign(other, &identity(2)).to_bytes();
        world.reply(2, &requests[1].1, Reply::Answer(bytes));
        let expected = Metric::Misbehaved {
            node: node(2),
            how: Misbehaviour::WrongSubject,
        };
        assert!(world.metrics.contains(&expected), "{name}");
    }
}

#[test]
fn malformed_requests_never_reach_a_node() {
    let payload = text("hello");
    let good = || stamp_of(&payload, 1, Some(KEY));
    let mut foreign = good();
    foreign.cluster = ClusterId([0; 32]);
    let mut other_payload = good();
    other_payload.payload_hash = PayloadHash([0; 32]);
    let mut keyless = good();
    keyless.key = None;
    let mut other_credential = good();
    other_credential.credential = identity(1).id();
    for (field, stamp) in [
        ("stamp.cluster", foreign),
        ("stamp.payload_hash", other_payload),
        ("stamp.key", keyless),
        ("stamp.credential", other_credential),
    ] {
        let mut world = World::new(3, 2);
        world.grant(&[1, 2], 4);
        world.ask(1, stamp, &payload);
        assert_eq!(failure(world.told(1)).field, field);
        assert_eq!(failure(world.told(1)).class, Class::Caller);
        assert!(world.requests().is_empty());
    }
    let mut world = World::new(3, 2);
    world.handle(Event::ClientRequest {
        client: ClientId(1),
        stamp: vec![1, 2, 3],
        payload: vec![],
    });
    assert_eq!(failure(world.told(1)).field, "stamp");
}

#[test]
fn too_many_requests_at_once_are_told_to_slow_down() {
    let config = Config {
        in_flight_max: 1,
        ..Config::default()
    };
    let mut world = World::bare(3, 2, config);
    for i in 1..=3 {
        world.up(i);
    }
    world.give_key(key_public("hot", &[1, 2, 3], 2));
    world.grant(&[1, 2], 4);
    world.sign(1, 1, "hello");
    world.sign(2, 2, "hello");
    assert_eq!(world.told(1), None);
    assert_eq!(world.told(2), Some(&Outcome::Overloaded));
}

#[test]
fn a_local_key_is_served_by_its_holder_alone() {
    let mut world = World::bare(3, 2, Config::default());
    for i in 1..=3 {
        world.up(i);
    }
    world.give_key(key_public("hot", &[2], 1));
    world.sign(1, 1, "hello");
    let requests = world.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!((requests[0].0, &requests[0].1.signing), (2, &None));
    world.answer_all(&requests);
    assert!(matches!(world.told(1), Some(Outcome::Signed(_))));
}

#[test]
fn whether_all_have_denied_a_payment_is_told() {
    let denied = |from: u8, request: &RequestFrame| {
        Reply::Denied(Signed::sign(denial(from, request), &identity(from)).to_bytes())
    };
    let by_all = |world: &World| match world.told(1) {
        Some(Outcome::Refused(refused)) => Some(refused.by_all),
        other => {
            assert_eq!(other, None);
            None
        }
    };
    let payload = Payload::EvmTransaction(vec![1]);
    let sent = || {
        let mut world = World::new(3, 2);
        world.grant(&[1, 2], 4);
        world.ask(1, stamp_of(&payload, 1, Some(KEY)), &payload);
        let requests = world.requests();
        assert_eq!(requests.len(), 2);
        world.reply(2, &requests[1].1, denied(2, &requests[1].1));
        assert_eq!(by_all(&world), None, "the other signer may say the same");
        (world, requests[0].1.clone())
    };
    let (mut world, other) = sent();
    world.reply(1, &other, denied(1, &other));
    assert_eq!(by_all(&world), Some(true));
    let (mut world, other) = sent();
    world.reply(1, &other, Reply::Answer(signed_answer(1, &other)));
    assert_eq!(by_all(&world), Some(false));
    let (mut world, _) = sent();
    world.pass(499);
    assert_eq!(by_all(&world), None);
    world.pass(1);
    assert_eq!(by_all(&world), Some(false));
    assert!(world.requests().is_empty(), "nobody else is asked");
    let (mut world, _) = sent();
    world.handle(Event::NodeDown(node(1)));
    assert_eq!(by_all(&world), Some(false));
}
