//! Charters: adopted when they follow, flooded to whoever lacks them, answered to who submits.

use crate::world::{World, heartbeat, node};
use quoin_api::Frame;
use quoin_api::frame::{CharterReply, Refusal};
use quoin_core::{CharterNumber, NodeIndex};
use quoin_gateway::core::{ClientId, Event, Metric, Outcome};

fn charter(number: u64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

fn reply(from: u8, number: u64) -> Frame {
    Frame::CharterReply(CharterReply {
        node: node(from),
        number: CharterNumber(number),
        refused: None,
        pending: Vec::new(),
    })
}

#[test]
fn a_charter_that_follows_is_adopted_and_flooded() {
    let mut world = World::new(3, 2);
    world.frame(1, Frame::Charter(charter(1)));
    assert_eq!(world.adopted, [CharterNumber(1)]);
    assert!(world.sent_to(1).is_empty());
    for i in [2, 3] {
        assert_eq!(world.sent_to(i), [Frame::Charter(charter(1))]);
    }
    world.frame(2, Frame::Charter(charter(1)));
    assert_eq!(world.adopted.len(), 1);
}

#[test]
fn a_node_that_lags_is_sent_the_charter() {
    let mut world = World::new(3, 2);
    world.frame(1, Frame::Charter(charter(1)));
    world.sent.clear();
    world.frame(3, Frame::Charter(charter(0)));
    assert_eq!(world.sent_to(3), [Frame::Charter(charter(1))]);
    world.frame(2, Frame::Heartbeat(heartbeat(2, 1, 0)));
    world.frame(2, Frame::Heartbeat(heartbeat(2, 1, 0)));
    assert_eq!(
        world.sent_to(2),
        [Frame::Charter(charter(1))],
        "once a second"
    );
    world.pass(1_000);
    world.frame(2, Frame::Heartbeat(heartbeat(2, 1, 2)));
    assert!(world.sent_to(2).contains(&Frame::CharterRequest));
}

#[test]
fn a_charter_that_does_not_follow_changes_nothing() {
    let mut world = World::new(3, 2);
    world.frame(1, Frame::Charter(charter(5)));
    world.frame(1, Frame::Charter(vec![1]));
    assert!(world.adopted.is_empty());
    assert!(world.metrics.contains(&Metric::CharterGap(node(1))));
}

#[test]
fn a_submitted_charter_is_answered_by_all_nodes_that_are_up() {
    let mut world = World::new(3, 2);
    world.down(3);
    world.handle(Event::CharterSubmitted {
        client: ClientId(1),
        charter: charter(1),
    });
    assert_eq!(world.sent_to(1), [Frame::Charter(charter(1))]);
    world.frame(1, reply(1, 1));
    world.frame(1, reply(2, 1));
    assert_eq!(world.told(1), None, "node 1 does not speak for node 2");
    world.frame(2, reply(2, 0));
    assert_eq!(world.told(1), None, "it has not seen it yet");
    let refusal = Refusal {
        field: "policies".into(),
        message: "unknown annotation".into(),
    };
    world.frame(
        2,
        Frame::CharterReply(CharterReply {
            node: node(2),
            number: CharterNumber(0),
            refused: Some(refusal.clone()),
            pending: Vec::new(),
        }),
    );
    let Some(Outcome::CharterSubmitted {
        number,
        replies,
        missing,
    }) = world.told(1)
    else {
        panic!("{:?}", world.told(1));
    };
    let who: Vec<NodeIndex> = replies.iter().map(|r| r.node).collect();
    assert_eq!((*number, who), (CharterNumber(1), vec![node(1), node(2)]));
    assert_eq!(replies[1].refused, Some(refusal));
    assert_eq!(missing, &[node(3)]);
}

#[test]
fn nodes_that_never_answer_a_charter_are_named() {
    let mut world = World::new(3, 2);
    world.handle(Event::CharterSubmitted {
        client: ClientId(1),
        charter: charter(1),
    });
    world.frame(1, reply(1, 1));
    world.pass(10_000);
    let Some(Outcome::CharterSubmitted { missing, .. }) = world.told(1) else {
        panic!("{:?}", world.told(1));
    };
    assert_eq!(missing, &[node(2), node(3)]);
}

#[test]
fn a_submitted_charter_that_does_not_follow_is_refused() {
    for bytes in [charter(5), vec![1, 2]] {
        let mut world = World::new(3, 2);
        world.handle(Event::CharterSubmitted {
            client: ClientId(1),
            charter: bytes,
        });
        assert!(matches!(world.told(1), Some(Outcome::Failed(_))));
        assert!(world.sent.is_empty());
    }
}
