//! Statements carried to every node, and questions put to all of them: each node's own word comes
//! back under its name, and nobody waits for ever.

use crate::world::{World, node};
use quoin_api::Frame;
use quoin_api::frame::{
    ExplainReply, FreezesFrame, OutstandingFrame, ProposalsFrame, Refusal, StatementReply,
};
use quoin_core::NodeIndex;
use quoin_gateway::core::outcome::NodeWord;
use quoin_gateway::core::{ClientId, Event, Inquiry, Metric, Misbehaviour, Outcome};
use sha2::{Digest, Sha256};

const STATEMENT: &[u8] = b"a signed freeze";

fn ask(world: &mut World, client: u64, inquiry: Inquiry) {
    world.handle(Event::Inquired {
        client: ClientId(client),
        inquiry,
    });
}

fn freeze() -> Frame {
    Frame::Freeze(STATEMENT.to_vec())
}

fn taken(i: u8, statement: &[u8], refused: Option<Refusal>) -> Frame {
    Frame::StatementReply(StatementReply {
        statement: Sha256::digest(statement).into(),
        node: node(i),
        refused,
    })
}

fn words(world: &World, client: u64) -> (Vec<(NodeIndex, NodeWord)>, Vec<NodeIndex>) {
    match world.told(client) {
        Some(Outcome::Words { words, missing }) => (words.clone(), missing.clone()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_statement_goes_to_every_node_and_each_answers_for_itself() {
    let mut world = World::new(3, 2);
    world.down(3);
    ask(&mut world, 1, Inquiry::Statement(Box::new(freeze())));
    assert_eq!(world.sent_to(1), [freeze()]);
    assert_eq!(world.sent_to(2), [freeze()]);
    world.frame(1, taken(1, b"another statement", None));
    world.frame(1, taken(1, STATEMENT, None));
    assert_eq!(world.told(1), None);
    let refusal = Refusal {
        field: "principal".into(),
        message: "no right to freeze".into(),
    };
    world.frame(2, taken(2, STATEMENT, Some(refusal.clone())));
    let (said, missing) = words(&world, 1);
    let expected = [
        (node(1), NodeWord::Statement(None)),
        (node(2), NodeWord::Statement(Some(refusal))),
    ];
    assert_eq!((said.as_slice(), missing), (&expected[..], vec![node(3)]));
}

#[test]
fn a_node_does_not_speak_for_another() {
    let mut world = World::new(3, 2);
    ask(&mut world, 1, Inquiry::Statement(Box::new(freeze())));
    world.frame(2, taken(1, STATEMENT, None));
    let wrong = Metric::Misbehaved {
        node: node(2),
        how: Misbehaviour::WrongSubject,
    };
    assert!(world.metrics.contains(&wrong));
    world.pass(60_000);
    assert_eq!(words(&world, 1).1, [node(1), node(2), node(3)]);
}

#[test]
fn a_node_that_goes_away_holds_nobody_up() {
    let mut world = World::new(3, 2);
    ask(&mut world, 1, Inquiry::Freezes);
    for i in [1, 2] {
        let known = FreezesFrame {
            freezes: Vec::new(),
            lifts: Vec::new(),
            digest: [i; 32],
            lifted: Vec::new(),
            suspended: Vec::new(),
        };
        world.frame(i, Frame::Freezes(known));
    }
    assert_eq!(world.told(1), None);
    world.down(3);
    let (said, missing) = words(&world, 1);
    assert_eq!((said.len(), missing), (2, vec![node(3)]));
}

#[test]
fn questions_do_not_take_each_others_answers() {
    let mut world = World::new(1, 1);
    ask(&mut world, 1, Inquiry::Proposals);
    ask(&mut world, 2, Inquiry::Outstanding);
    let proposals = ProposalsFrame {
        proposals: Vec::new(),
    };
    world.frame(1, Frame::Proposals(proposals.clone()));
    assert_eq!(
        words(&world, 1).0,
        [(node(1), NodeWord::Proposals(proposals))]
    );
    assert_eq!(world.told(2), None);
    let outstanding = OutstandingFrame {
        node: node(1),
        entries: Vec::new(),
        truncated: false,
    };
    world.frame(1, Frame::Outstanding(outstanding.clone()));
    let expected = [(node(1), NodeWord::Outstanding(outstanding))];
    assert_eq!(words(&world, 2).0, expected);
}

#[test]
fn explanations_are_told_apart_by_their_attempts() {
    let mut world = World::new(1, 1);
    let inquiry = || Inquiry::Explain {
        stamp: vec![1],
        payload: vec![2],
        approvals: vec![vec![3]],
    };
    ask(&mut world, 1, inquiry());
    ask(&mut world, 2, inquiry());
    let attempts: Vec<u64> = world
        .sent_to(1)
        .iter()
        .filter_map(|frame| match frame {
            Frame::ExplainRequest(request) => Some(request.attempt),
            _ => None,
        })
        .collect();
    assert_eq!(attempts.len(), 2);
    world.frame(
        1,
        Frame::ExplainReply(ExplainReply {
            attempt: attempts[1],
            node: node(1),
            explanation: Ok("{}".to_owned()),
        }),
    );
    assert_eq!(world.told(1), None);
    let expected = [(node(1), NodeWord::Explanation(Ok("{}".to_owned())))];
    assert_eq!(words(&world, 2).0, expected);
}

#[test]
fn there_is_a_limit_to_what_waits() {
    let mut world = World::new(3, 2);
    for client in 1..=257 {
        ask(&mut world, client, Inquiry::Freezes);
    }
    assert_eq!(world.told(257), Some(&Outcome::Overloaded));
    assert_eq!(world.told(256), None);
}

#[test]
fn what_is_no_statement_is_not_carried() {
    let mut world = World::new(3, 2);
    let inquiry = Inquiry::Statement(Box::new(Frame::KeysRequest));
    ask(&mut world, 1, inquiry);
    assert_eq!(world.told(1), Some(&Outcome::NotFound));
    assert!(world.sent.is_empty());
}
