//! Changes of keys and nodes: every node answers for itself, and what is missing is named.

use crate::world::{
    CLUSTER, KEY, World, boot, certificate, denial, identity, key_public, node, stamp_of,
};
use quoin_api::Frame;
use quoin_api::frame::{
    KeyStatesFrame, Opaque, PendingReply, Refusal, Reply, RequestFrame, Unavailable,
};
use quoin_api::statements::{Head, KeyStatement, NodeStatement, UnfreezeStatement};
use quoin_core::cbor::Version;
use quoin_core::payload::{ChangeKey, ChangeNode, KeyChange, NodeChange, Unfreeze};
use quoin_core::{
    CeremonyId, Class, FreezeId, HeadHash, IntentHash, KeyId, KeyState, Payload, RequestId,
    ShareEpoch, Signed, TimeMs,
};
use quoin_gateway::core::outcome::ChangedRequest;
use quoin_gateway::core::{ClientId, Event, Metric, Misbehaviour, Outcome};

fn suspend() -> Payload {
    Payload::ChangeKey(ChangeKey {
        key: KEY,
        change: KeyChange::Suspend,
    })
}

fn pardon() -> Payload {
    Payload::ChangeNode(ChangeNode {
        node: node(2),
        change: NodeChange::Pardon,
    })
}

fn head() -> Head {
    Head {
        seq: 1,
        hash: HeadHash([9; 32]),
    }
}

/// What an honest node says of the key after the request with this id.
fn key_statement(from: u8, id: u8, state: KeyState) -> KeyStatement {
    KeyStatement {
        version: Version,
        cluster: CLUSTER,
        boot: boot(from, 1),
        key: KEY,
        state,
        seq: u64::from(id),
        epoch: ShareEpoch(0),
        created: TimeMs(1),
        changed: TimeMs(2),
        request: Some(RequestId([id; 16])),
        head: head(),
        erased: Vec::new(),
        backups: Vec::new(),
    }
}

fn signed(from: u8, statement: KeyStatement) -> Vec<u8> {
    Signed::sign(statement, &identity(from)).to_bytes()
}

fn states(world: &mut World, from: u8, statement: KeyStatement) {
    let statements = vec![Opaque(signed(from, statement))];
    world.frame(from, Frame::KeyStates(KeyStatesFrame { statements }));
}

/// Client 1 asks for the suspension under request id 1.
fn asked(world: &mut World) -> Vec<(u8, RequestFrame)> {
    let payload = suspend();
    world.ask(1, stamp_of(&payload, 1, Some(KEY)), &payload);
    world.requests()
}

fn changed(outcome: Option<&Outcome>) -> ChangedRequest {
    match outcome {
        Some(Outcome::Changed(changed)) => changed.as_ref().clone(),
        other => panic!("not changed: {other:?}"),
    }
}

fn suspended_by(world: &mut World, requests: &[(u8, RequestFrame)]) {
    for (from, request) in requests {
        let bytes = signed(*from, key_statement(*from, 1, KeyState::Suspended));
        world.reply(*from, request, Reply::ChangeDone(bytes));
    }
}

#[test]
fn a_change_goes_to_every_node_and_comes_back_as_their_statements() {
    let mut world = World::new(3, 2);
    let requests = asked(&mut world);
    assert_eq!(requests.iter().map(|r| r.0).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(requests.iter().all(|(_, r)| r.signing.is_none()));
    suspended_by(&mut world, &requests[..2]);
    assert_eq!(world.told(1), None);
    suspended_by(&mut world, &requests[2..]);
    let outcome = changed(world.told(1));
    let nodes: Vec<_> = outcome.statements.iter().map(|(n, _)| *n).collect();
    assert_eq!(nodes, [node(1), node(2), node(3)]);
    assert!(outcome.is_complete());
    // A repeated request has the same answer and asks nobody.
    let payload = suspend();
    world.ask(2, stamp_of(&payload, 1, Some(KEY)), &payload);
    assert_eq!(changed(world.told(2)), outcome);
    assert_eq!(world.requests(), []);
}

#[test]
fn a_change_does_not_wait_for_nodes_that_are_away_and_names_them() {
    let mut world = World::new(3, 2);
    world.down(2);
    let requests = asked(&mut world);
    assert_eq!(requests.iter().map(|r| r.0).collect::<Vec<_>>(), [1, 3]);
    suspended_by(&mut world, &requests);
    let outcome = changed(world.told(1));
    assert_eq!(
        (outcome.statements.len(), &*outcome.missing),
        (2, &[node(2)][..])
    );
    // It is not settled, so that asking again reaches who was missing.
    world.up(2);
    world.sent.clear();
    let payload = suspend();
    world.ask(2, stamp_of(&payload, 1, Some(KEY)), &payload);
    let requests = world.requests();
    assert_eq!(requests.len(), 3);
    suspended_by(&mut world, &requests);
    assert!(changed(world.told(2)).is_complete());
}

#[test]
fn nodes_that_fail_or_go_away_or_are_silent_are_named_and_stop_nothing() {
    let mut world = World::new(5, 3);
    let requests = asked(&mut world);
    suspended_by(&mut world, &requests[..1]);
    let no_lease = Reply::Unavailable(Unavailable::NoLease);
    world.reply(2, &requests[1].1, no_lease);
    let rejected = Reply::Rejected(Refusal {
        field: "change".into(),
        message: "the key is destroyed".into(),
    });
    world.reply(3, &requests[2].1, rejected);
    world.down(4);
    assert_eq!(world.told(1), None);
    world.pass(60_000);
    let outcome = changed(world.told(1));
    assert_eq!(outcome.statements.len(), 1);
    let failed: Vec<_> = outcome
        .failed
        .iter()
        .map(|(n, f)| (n.get(), f.class))
        .collect();
    assert_eq!(
        failed,
        [(2, Class::Peer), (3, Class::Caller), (4, Class::Peer)]
    );
    assert_eq!(outcome.missing, [node(5)]);
}

#[test]
fn a_change_that_no_node_does_is_refused_or_fails_with_what_they_say() {
    let mut world = World::new(3, 2);
    let requests = asked(&mut world);
    for (from, request) in &requests {
        let refusal = Signed::sign(denial(*from, request), &identity(*from));
        world.reply(*from, request, Reply::Denied(refusal.to_bytes()));
    }
    assert!(matches!(world.told(1), Some(Outcome::Refused(_))));

    let mut world = World::new(3, 2);
    let requests = asked(&mut world);
    for (from, request) in &requests {
        let rejected = Reply::Rejected(Refusal {
            field: "change".into(),
            message: "the key `hot` is destroyed".into(),
        });
        world.reply(*from, request, rejected);
    }
    let Some(Outcome::Failed(failure)) = world.told(1) else {
        panic!("{:?}", world.told(1));
    };
    assert_eq!((failure.class, &*failure.field), (Class::Caller, "change"));

    let mut world = World::new(3, 2);
    for i in 1..=3 {
        world.down(i);
    }
    asked(&mut world);
    let Some(Outcome::Failed(failure)) = world.told(1) else {
        panic!("{:?}", world.told(1));
    };
    assert_eq!(failure.nodes.len(), 3);
}

#[test]
fn one_denial_hides_no_change_that_others_have_carried_out() {
    let mut world = World::new(3, 2);
    let requests = asked(&mut world);
    let refusal = Signed::sign(denial(1, &requests[0].1), &identity(1));
    world.reply(1, &requests[0].1, Reply::Denied(refusal.to_bytes()));
    suspended_by(&mut world, &requests[1..]);
    let outcome = changed(world.told(1));
    assert_eq!(outcome.statements.len(), 2);
    assert_eq!(outcome.failed[0].1.class, Class::Refused);
}

#[test]
fn a_change_waits_for_approvals() {
    let mut world = World::new(3, 2);
    let requests = asked(&mut world);
    for (from, request) in &requests {
        let pending = Reply::Pending(PendingReply {
            intent_hash: IntentHash([3; 32]),
            rules: vec!["by-two".parse().unwrap()],
            unmet: vec!["1 of `treasury`".into()],
        });
        world.reply(*from, request, pending);
    }
    assert!(matches!(world.told(1), Some(Outcome::Pending(_))));
    let approval = [&[1u8; 16][..], &[50]].concat();
    world.handle(Event::ClientApproval {
        client: ClientId(2),
        approval,
    });
    let requests = world.requests();
    assert_eq!(requests.len(), 3);
    assert!(requests.iter().all(|(_, r)| r.approvals.len() == 1));
    suspended_by(&mut world, &requests);
    assert!(changed(world.told(2)).is_complete());
}

#[test]
fn a_statement_about_anything_else_is_not_believed() {
    type Spoil = fn(&mut KeyStatement);
    let spoils: [(&str, Spoil); 5] = [
        ("key", |s| s.key = KeyId([1; 16])),
        ("state", |s| s.state = KeyState::Active),
        ("request", |s| s.request = Some(RequestId([9; 16]))),
        ("cluster", |s| s.cluster = quoin_core::ClusterId([0; 32])),
        ("node", |s| s.boot = boot(3, 1)),
    ];
    let wrong = |how| Metric::Misbehaved { node: node(2), how };
    for (name, spoil) in spoils {
        let mut world = World::new(3, 2);
        let requests = asked(&mut world);
        suspended_by(&mut world, &requests[..1]);
        suspended_by(&mut world, &requests[2..]);
        let mut statement = key_statement(2, 1, KeyState::Suspended);
        spoil(&mut statement);
        let bytes = signed(2, statement);
        world.reply(2, &requests[1].1, Reply::ChangeDone(bytes));
        let outcome = changed(world.told(1));
        assert_eq!(
            (outcome.statements.len(), outcome.failed.len()),
            (2, 1),
            "{name}"
        );
        assert!(
            world.metrics.contains(&wrong(Misbehaviour::WrongSubject)),
            "{name}"
        );
    }
    let mut world = World::new(3, 2);
    let requests = asked(&mut world);
    let forged = signed(3, key_statement(2, 1, KeyState::Suspended));
    world.reply(2, &requests[1].1, Reply::ChangeDone(forged));
    assert!(
        world
            .metrics
            .contains(&wrong(Misbehaviour::ForgedStatement))
    );
}

#[test]
fn a_pardon_is_stated_by_every_node() {
    let mut world = World::new(3, 2);
    let payload = pardon();
    world.ask(1, stamp_of(&payload, 1, None), &payload);
    let requests = world.requests();
    for (from, request) in &requests {
        let statement = NodeStatement {
            version: Version,
            cluster: CLUSTER,
            boot: boot(*from, 1),
            request: RequestId([1; 16]),
            node: node(if *from == 3 { 1 } else { 2 }),
            change: NodeChange::Pardon,
            at: TimeMs(1),
            strikes: 0,
            head: head(),
        };
        let bytes = Signed::sign(statement, &identity(*from)).to_bytes();
        world.reply(*from, request, Reply::ChangeDone(bytes));
    }
    let outcome = changed(world.told(1));
    assert_eq!((outcome.statements.len(), outcome.failed.len()), (2, 1));
    let keyed = stamp_of(&payload, 2, Some(KEY));
    world.ask(2, keyed, &payload);
    assert!(matches!(world.told(2), Some(Outcome::Failed(f)) if f.field == "stamp.key"));
}

#[test]
fn lifted_freezes_are_stated_by_each_node_and_of_nothing_else() {
    let mut world = World::new(3, 2);
    let wish = Unfreeze {
        lifts: vec![FreezeId([7; 16])],
        suspends: vec!["wendy".parse().unwrap()],
    };
    let payload = Payload::Unfreeze(wish.clone());
    world.ask(1, stamp_of(&payload, 1, None), &payload);
    let requests = world.requests();
    assert_eq!(requests.len(), 3);
    for (from, request) in &requests {
        let mut statement = UnfreezeStatement {
            version: Version,
            cluster: CLUSTER,
            boot: boot(*from, 1),
            request: RequestId([1; 16]),
            lifts: wish.lifts.clone(),
            suspends: wish.suspends.clone(),
            at: TimeMs(1),
            freezes: [0; 32],
            head: head(),
        };
        match from {
            // Of another freeze, and of another request.
            2 => statement.lifts = vec![FreezeId([8; 16])],
            3 => statement.request = RequestId([9; 16]),
            _ => {}
        }
        let bytes = Signed::sign(statement, &identity(*from)).to_bytes();
        world.reply(*from, request, Reply::ChangeDone(bytes));
    }
    let outcome = changed(world.told(1));
    assert_eq!((outcome.statements.len(), outcome.failed.len()), (1, 2));
    let keyed = stamp_of(&payload, 2, Some(KEY));
    world.ask(2, keyed, &payload);
    assert!(matches!(world.told(2), Some(Outcome::Failed(f)) if f.field == "stamp.key"));
}

#[test]
fn a_key_that_too_few_nodes_have_in_use_is_refused_at_once_with_its_state() {
    let mut world = World::new(3, 2);
    world.grant(&[1, 2], 4);
    states(&mut world, 1, key_statement(1, 1, KeyState::Suspended));
    world.sent.clear();
    world.sign(1, 7, "two are left");
    assert_eq!(world.told(1), None, "one node's word suspends nothing");
    states(&mut world, 2, key_statement(2, 1, KeyState::Suspended));
    world.sent.clear();
    world.sign(2, 8, "one is left");
    let Some(Outcome::Failed(failure)) = world.told(2) else {
        panic!("{:?}", world.told(2));
    };
    assert!(failure.message.contains("suspended"), "{failure:?}");
    assert_eq!(world.requests(), []);
    // Resumed, as a later statement of one of them says: an older one changes nothing any more.
    states(&mut world, 2, key_statement(2, 2, KeyState::Active));
    states(&mut world, 2, key_statement(2, 1, KeyState::Suspended));
    world.sign(3, 9, "two again");
    assert_eq!(world.told(3), None);
}

#[test]
fn listed_keys_have_their_state_and_their_nodes_statements() {
    let mut world = World::new(3, 2);
    for from in 1..=2 {
        states(
            &mut world,
            from,
            key_statement(from, 1, KeyState::Destroyed),
        );
    }
    let mut forged = key_statement(3, 1, KeyState::Destroyed);
    forged.cluster = quoin_core::ClusterId([0; 32]);
    states(&mut world, 3, forged);
    world.handle(Event::KeysQuery {
        client: ClientId(1),
    });
    let Some(Outcome::Keys(keys)) = world.told(1) else {
        panic!("{:?}", world.told(1));
    };
    assert_eq!(
        (keys[0].state, keys[0].statements.len()),
        (KeyState::Destroyed, 2)
    );
}

#[test]
fn a_key_out_of_use_does_not_make_the_gateway_unready() {
    let mut world = World::new(3, 2);
    let not_ready = |world: &mut World, client| {
        world.handle(Event::StatusQuery {
            client: ClientId(client),
        });
        match world.told(client) {
            Some(Outcome::Status(status)) => status.not_ready.clone(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        not_ready(&mut world, 1).len(),
        1,
        "no presignature is in stock"
    );
    for from in 1..=3 {
        states(
            &mut world,
            from,
            key_statement(from, 1, KeyState::Suspended),
        );
    }
    assert_eq!(not_ready(&mut world, 2), Vec::<String>::new());
    world.sent.clear();
    world.pass(1_000);
    let leases = world.sent.iter();
    let leases = leases.filter(|(_, f)| matches!(f, Frame::LeaseRequest(_)));
    assert_eq!(leases.count(), 0, "nothing is prefetched for it");
}

fn refresh(world: &mut World, client: u64, id: u8) -> Vec<(u8, RequestFrame)> {
    let payload = Payload::ChangeKey(ChangeKey {
        key: KEY,
        change: KeyChange::Refresh,
    });
    world.ask(client, stamp_of(&payload, id, Some(KEY)), &payload);
    world.requests()
}

#[test]
fn a_refresh_ends_in_the_certificate_of_the_next_epoch_by_all_nodes() {
    let mut world = World::new(3, 2);
    let base = key_public("hot", &[1, 2, 3], 2);
    let mut next = base.clone();
    next.epoch = ShareEpoch(1);
    next.ceremony = CeremonyId([1; 16]);
    next.previous = Some(base.shares_hash());
    let bytes = certificate(next.clone(), &[1, 2, 3]);
    let requests = refresh(&mut world, 1, 1);
    for (from, request) in &requests {
        assert_eq!(world.told(1), None);
        world.reply(*from, request, Reply::CeremonyStarted(CeremonyId([1; 16])));
        world.reply(*from, request, Reply::CeremonyDone(bytes.clone()));
    }
    let renewed = Outcome::KeyRenewed {
        key: KEY,
        epoch: ShareEpoch(1),
        certificate: bytes,
    };
    assert_eq!(world.told(1), Some(&renewed));
    world.down(3);
    refresh(&mut world, 2, 2);
    assert!(matches!(world.told(2), Some(Outcome::Failed(f)) if f.nodes == [node(3)]));
}

#[test]
fn a_refresh_never_ends_in_another_key() {
    let base = key_public("hot", &[1, 2, 3], 2);
    let mut other = base.clone();
    other.public_key = vec![3; 33];
    other.previous = Some(base.shares_hash());
    for (name, public) in [("another key", other), ("no later epoch", base)] {
        let mut world = World::new(3, 2);
        let requests = refresh(&mut world, 1, 1);
        let bytes = certificate(public, &[1, 2, 3]);
        world.reply(1, &requests[0].1, Reply::CeremonyDone(bytes));
        assert!(matches!(world.told(1), Some(Outcome::Failed(_))), "{name}");
    }
}
