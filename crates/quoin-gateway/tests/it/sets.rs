//! The numbered signer set: asked for everything while the charter has sticky budgets, and followed
//! by the next one when a member of it does not come back.

use crate::world::*;
use quoin_api::Frame;
use quoin_api::frame::{Opaque, Reply, SetAcksFrame, SetProposal, Unavailable};
use quoin_core::cbor::Version;
use quoin_core::{CharterHash, CharterNumber, Signed, SignerSet};
use quoin_gateway::core::{Config, Event, Metric, Misbehaviour, Outcome};
use quoin_policy::SetAck;
use std::collections::BTreeMap;

const OTHER: Reply = Reply::Unavailable(Unavailable::OtherSignerSet);

fn ack_under(charter: u8, from: u8, number: u64, of: &SignerSet) -> Opaque {
    let ack = SetAck {
        version: Version,
        cluster: CLUSTER,
        boot: boot(from, 1),
        number,
        set: of.clone(),
        spends: Vec::new(),
        charter: CharterHash([charter; 32]),
    };
    Opaque(Signed::sign(ack, &identity(from)).to_bytes())
}

fn ack(from: u8, number: u64, of: &SignerSet) -> Opaque {
    ack_under(0, from, number, of)
}

fn shown(acks: Vec<Opaque>) -> Frame {
    Frame::SetAcks(SetAcksFrame { acks })
}

/// Nodes that acknowledge a set, each on its own connection.
fn acknowledge(world: &mut World, by: &[u8], number: u64, of: &[u8]) {
    for i in by {
        world.frame(*i, shown(vec![ack(*i, number, &set(of))]));
    }
}

/// All nodes up, a key known, and no word of signer sets yet.
fn silent(n: u8, t: u8) -> World {
    let mut world = World::under(FakeCharters::new(n, t).sticky(), n, Config::default());
    for i in 1..=n {
        world.up(i);
    }
    let holders: Vec<u8> = (1..=n).collect();
    world.give_key(key_public("hot", &holders, t));
    world.sent.clear();
    world
}

/// The same with a set in force.
fn serving(of: &[u8]) -> World {
    let mut world = silent(3, 2);
    acknowledge(&mut world, &[1, 2, 3], 1, of);
    world.sent.clear();
    world
}

/// Takes what was proposed since the last call, by node.
fn proposed(world: &mut World) -> Vec<(u8, SetProposal)> {
    let sent = std::mem::take(&mut world.sent);
    let proposals = sent.into_iter().filter_map(|(n, frame)| match frame {
        Frame::SetProposal(proposal) => Some((n.get(), proposal)),
        _ => None,
    });
    proposals.collect()
}

fn one(world: &mut World, to: &[u8]) -> (u64, SignerSet) {
    let proposals = proposed(world);
    let nodes: Vec<u8> = proposals.iter().map(|(n, _)| *n).collect();
    assert_eq!(nodes, to);
    let (_, first) = proposals[0].clone();
    assert!(proposals.iter().all(|(_, p)| *p == first));
    (first.number, first.set)
}

fn is_sent_to(requests: &[(u8, quoin_api::frame::RequestFrame)]) -> Vec<u8> {
    requests.iter().map(|(n, _)| *n).collect()
}

#[test]
fn the_first_set_is_proposed_as_soon_as_all_nodes_know_none() {
    let mut world = silent(3, 2);
    world.frame(1, shown(Vec::new()));
    world.frame(2, shown(Vec::new()));
    world.pass(10);
    assert!(proposed(&mut world).is_empty(), "node 3 may know one");
    world.frame(3, shown(Vec::new()));
    assert_eq!(one(&mut world, &[1, 2, 3]), (1, set(&[1, 2])));
    // It is given time, and proposed again under the next number when nothing comes of it.
    world.pass(500);
    assert!(proposed(&mut world).is_empty());
    world.pass(2_000);
    assert_eq!(one(&mut world, &[1, 2, 3]).1, set(&[1, 2]));
}

#[test]
fn without_all_nodes_the_first_set_waits_a_moment() {
    let mut world = World::under(FakeCharters::new(3, 2).sticky(), 3, Config::default());
    world.up(2);
    world.pass(5_000);
    assert!(proposed(&mut world).is_empty(), "one node is no set");
    world.up(3);
    world.pass(10);
    assert!(proposed(&mut world).is_empty());
    world.pass(1_000);
    assert_eq!(one(&mut world, &[2, 3]), (1, set(&[2, 3])));
}

#[test]
fn without_sticky_budgets_nothing_is_proposed_and_any_set_is_asked() {
    let mut world = World::new(3, 2);
    acknowledge(&mut world, &[2, 3], 1, &[2, 3]);
    world.pass(10_000);
    assert!(proposed(&mut world).is_empty());
    world.grant(&[1, 2], 1);
    world.sign(1, 1, "now");
    assert_eq!(is_sent_to(&world.requests()), [1, 2]);
}

#[test]
fn every_request_goes_to_the_set_in_force() {
    let mut world = serving(&[2, 3]);
    world.pass(10);
    let lenders = world.sent.iter().filter_map(|(n, f)| match f {
        Frame::LeaseRequest(_) => Some(n.get()),
        _ => None,
    });
    let lenders: Vec<u8> = lenders.collect();
    assert!(lenders.iter().all(|n| *n == 2), "{lenders:?}");
    world.grant(&[2, 3], 1);
    world.sign(1, 1, "now");
    let requests = world.requests();
    assert_eq!(is_sent_to(&requests), [2, 3]);
    world.answer_all(&requests);
    assert!(matches!(world.told(1), Some(Outcome::Signed(_))));
}

#[test]
fn a_set_is_in_force_when_enough_nodes_say_so_under_the_charter() {
    let mut world = silent(3, 2);
    world.frame(1, shown(vec![ack(1, 1, &set(&[2, 3]))]));
    let forged = {
        let mut bytes = ack(2, 1, &set(&[2, 3])).0;
        *bytes.last_mut().unwrap() ^= 1;
        Opaque(bytes)
    };
    world.frame(2, shown(vec![forged]));
    let wrong = |m: &Metric| {
        matches!(
            m,
            Metric::Misbehaved {
                how: Misbehaviour::ForgedStatement,
                ..
            }
        )
    };
    assert!(world.metrics.iter().any(wrong));
    world.frame(2, shown(vec![ack_under(9, 2, 1, &set(&[2, 3]))]));
    world.grant(&[1, 2], 1);
    world.sign(1, 1, "now");
    assert_eq!(
        is_sent_to(&world.requests()),
        [1, 2],
        "as if there were no set"
    );
    world.frame(2, shown(vec![ack(2, 1, &set(&[2, 3]))]));
    world.grant(&[2, 3], 1);
    world.sign(2, 2, "then");
    assert_eq!(is_sent_to(&world.requests()), [2, 3]);
}

#[test]
fn a_member_that_stays_away_is_replaced_and_the_request_goes_on() {
    let mut world = serving(&[1, 2]);
    world.grant(&[1, 2], 1);
    world.sign(1, 1, "now");
    let before = world.requests();
    assert_eq!(is_sent_to(&before), [1, 2]);
    world.down(2);
    world.grant(&[1, 3], 4);
    let meanwhile = world.requests();
    assert_eq!(
        is_sent_to(&meanwhile),
        [1, 3],
        "it may be none that a sticky budget counts"
    );
    for (from, request) in &meanwhile {
        world.reply(*from, request, OTHER);
    }
    assert_eq!(world.told(1), None);
    let mut moved = Vec::new();
    for at in 0..35 {
        world.pass(100);
        for (node, frame) in std::mem::take(&mut world.sent) {
            match frame {
                Frame::Request(request) => world.reply(node.get(), &request, OTHER),
                Frame::SetProposal(proposal) => moved.push((at, node.get(), proposal)),
                _ => {}
            }
        }
    }
    let [(at, 1, first), (_, 3, second)] = &moved[..] else {
        panic!("{moved:?}");
    };
    assert!((29..=31).contains(at), "a restart takes less: {at}");
    assert_eq!(first, second);
    assert_eq!((first.number, &first.set), (2, &set(&[1, 3])));
    world.grant(&[1, 3], 4);
    acknowledge(&mut world, &[1, 3], 2, &[1, 3]);
    let after = world.requests();
    assert_eq!(is_sent_to(&after), [1, 3]);
    world.answer_all(&after);
    assert!(matches!(world.told(1), Some(Outcome::Signed(_))));
    // Who comes back is not moved back to.
    world.up(2);
    world.pass(60_000);
    assert!(proposed(&mut world).is_empty());
}

#[test]
fn a_member_that_is_back_in_time_is_kept() {
    let mut world = serving(&[1, 2]);
    world.down(2);
    world.pass(2_500);
    world.up(2);
    world.pass(10);
    world.pass(5_000);
    assert!(proposed(&mut world).is_empty());
}

#[test]
fn a_member_that_answers_nothing_is_replaced() {
    let mut world = serving(&[1, 2]);
    world.grant(&[1, 2], 8);
    world.sign(1, 1, "now");
    for (from, request) in world.requests() {
        if from == 1 {
            world.reply(1, &request, Reply::Answer(signed_answer(1, &request)));
        }
    }
    let mut found = Vec::new();
    for _ in 0..60 {
        world.pass(100);
        found.extend(proposed(&mut world));
    }
    assert_eq!(found[0].1.set, set(&[1, 3]));
}

#[test]
fn a_request_that_no_set_may_sign_fails_at_its_deadline_and_is_not_settled() {
    let mut world = serving(&[1, 2]);
    world.grant(&[1, 2], 64);
    world.sign(1, 1, "now");
    for _ in 0..120 {
        for (from, request) in world.requests() {
            world.reply(from, &request, OTHER);
        }
        world.pass(100);
    }
    let Some(Outcome::Failed(failure)) = world.told(1) else {
        panic!("{:?}", world.told(1));
    };
    assert!(failure.message.contains("signer set"), "{failure:?}");
    world.sign(2, 1, "now");
    assert!(!world.requests().is_empty(), "it may be asked for again");
}

#[test]
fn a_member_that_refuses_its_own_set_is_shown_it_and_then_moved_on() {
    let mut world = serving(&[1, 2]);
    world.grant(&[1, 2], 64);
    world.sign(1, 1, "now");
    let (mut shown, mut moved) = (0, Vec::new());
    for _ in 0..40 {
        let sent = std::mem::take(&mut world.sent);
        for (node, frame) in sent {
            match frame {
                Frame::Request(request) => world.reply(node.get(), &request, OTHER),
                Frame::SetAcks(frame) => {
                    assert_eq!(frame.acks.len(), 3);
                    shown += 1;
                }
                Frame::SetProposal(proposal) => moved.push(proposal),
                _ => {}
            }
        }
        world.pass(100);
    }
    assert!(shown >= 2, "{shown}");
    assert_eq!((moved[0].number, &moved[0].set), (2, &set(&[1, 2])));
}

#[test]
fn a_gateway_that_starts_anew_learns_the_number() {
    let mut world = silent(3, 2);
    world.down(1);
    let acks = vec![ack(1, 7, &set(&[1, 2])), ack(2, 7, &set(&[1, 2]))];
    world.frame(2, shown(acks));
    world.frame(3, shown(Vec::new()));
    world.pass(10);
    assert!(proposed(&mut world).is_empty());
    world.pass(3_000);
    assert_eq!(one(&mut world, &[2, 3]), (8, set(&[2, 3])));
}

#[test]
fn a_number_out_of_reach_is_not_followed() {
    let mut world = serving(&[1, 2]);
    acknowledge(&mut world, &[3], u64::MAX - 1, &[1, 3]);
    world.pass(10_000);
    assert!(
        proposed(&mut world).is_empty(),
        "who is no member moves nobody"
    );
    world.down(1);
    world.pass(10);
    world.pass(3_000);
    assert_eq!(one(&mut world, &[2, 3]).0, 2);
}

#[test]
fn a_new_charter_leaves_the_nodes_time_to_acknowledge_again() {
    let mut world = serving(&[1, 2]);
    world.frame(1, Frame::Charter(1u64.to_be_bytes().to_vec()));
    assert_eq!(world.adopted, [CharterNumber(1)]);
    world.pass(500);
    assert!(proposed(&mut world).is_empty());
}

/// A node as far as numbers go: it acknowledges one set for each.
#[derive(Default)]
struct Voter {
    at: Option<(u64, SignerSet)>,
}

impl Voter {
    fn vote(&mut self, proposal: &SetProposal) {
        if self
            .at
            .as_ref()
            .is_none_or(|(number, _)| proposal.number > *number)
        {
            self.at = Some((proposal.number, proposal.set.clone()));
        }
    }
}

/// Hands what two gateways propose to four nodes, of which the first two hear the first gateway
/// first, and tells both what all have acknowledged.
fn round(worlds: &mut [World; 2], voters: &mut BTreeMap<u8, Voter>) {
    let heard = worlds.each_mut().map(proposed);
    for (i, voter) in voters.iter_mut() {
        let order = if *i <= 2 { [0, 1] } else { [1, 0] };
        for from in order {
            let to_it = heard[from].iter().filter(|(n, _)| n == i);
            to_it.for_each(|(_, proposal)| voter.vote(proposal));
        }
    }
    let all: Vec<(u8, Opaque)> = voters
        .iter()
        .filter_map(|(i, voter)| {
            let (number, set) = voter.at.as_ref()?;
            Some((*i, ack(*i, *number, set)))
        })
        .collect();
    for world in worlds {
        for (i, ack) in &all {
            world.frame(*i, shown(vec![ack.clone()]));
        }
    }
}

#[test]
fn two_gateways_that_want_different_sets_agree_on_one() {
    let mut worlds = [silent(4, 3), silent(4, 3)];
    // The second gateway has not reached node 2 yet.
    worlds[1].down(2);
    let mut voters: BTreeMap<u8, Voter> = (1..=4).map(|i| (i, Voter::default())).collect();
    for world in &mut worlds {
        world.pass(10);
        world.pass(1_000);
    }
    worlds[1].up(2);
    round(&mut worlds, &mut voters);
    let split = |voters: &BTreeMap<u8, Voter>| {
        let first = &voters[&1].at;
        voters.values().any(|v| v.at != *first)
    };
    assert!(split(&voters), "two nodes for each");
    for _ in 0..100 {
        worlds.iter_mut().for_each(|world| world.pass(100));
        round(&mut worlds, &mut voters);
    }
    assert!(!split(&voters));
    let (number, set) = voters[&1].at.clone().unwrap();
    assert!(number <= 3, "{number}");
    for world in &mut worlds {
        world.handle(Event::Tick);
        world.grant(&set.iter().map(|n| n.get()).collect::<Vec<u8>>(), 1);
        world.sign(1, 1, "now");
        let asked = is_sent_to(&world.requests());
        assert_eq!(asked, set.iter().map(|n| n.get()).collect::<Vec<u8>>());
    }
}
