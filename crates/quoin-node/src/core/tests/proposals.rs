//! Proposed charters: who has to see them, for how long, and who can end them.

use super::cluster::{Shape, node};
use super::{Net, set};
use crate::core::{Alarm, Peer, Record};
use quoin_api::Frame;
use quoin_api::frame::{CharterApproval, CharterReply, PROPOSALS_MAX, ProposalBody, Refusal};
use quoin_core::cbor::Version;
use quoin_core::{
    Certificate, CharterHash, CharterNumber, IntentHash, RequestId, SecretBytes, Signed,
    SigningIdentity, TimeMs,
};
use quoin_policy::{Approval, Charter, Principal, Receipt, Recovery, Subject, Veto};

const HOUR_MS: u64 = 60 * 60 * 1000;
const WEEK_MS: u64 = 7 * 24 * HOUR_MS;
const DELAY: &str = "@delay(\"1h\")";
const NOTICE: &str = "@delay(\"1h\")\n@notice(\"watcher\")";
const APPROVED: &str = "@approvals(\"1 of watcher\")";

/// Three nodes whose charter is changed on these terms.
fn governed(govern: &'static str) -> Net {
    let mut net = Net::with(Shape {
        govern,
        ..Shape::default()
    });
    net.advance(1_000);
    net
}

fn numbers(net: &Net) -> Vec<u64> {
    (1..=3)
        .map(|n| net.core(n).constitution.number().0)
        .collect()
}

/// The charter after node 1's, under another name.
fn draft(net: &Net, name: &str) -> Charter {
    let current = net.core(1).charter().unverified();
    net.cluster.next_charter(current, name)
}

fn successor(net: &Net, name: &str, signatures: usize) -> Certificate<Charter> {
    net.cluster.certified(draft(net, name), signatures)
}

/// A charter with the signature of one governor.
fn signed_by(net: &Net, charter: Charter, governor: usize) -> Certificate<Charter> {
    let mut certificate = Certificate::unsigned(charter);
    certificate.endorse(&net.cluster.governors[governor]);
    certificate
}

/// What a node says to its gateway about a charter.
fn offer(net: &mut Net, index: u8, certificate: &Certificate<Charter>) -> CharterReply {
    net.host(index).sent.clear();
    net.gateway_says(index, Frame::Charter(certificate.to_bytes()));
    let sent = std::mem::take(&mut net.host(index).sent);
    let mut replies = sent.into_iter().filter_map(|(_, frame)| match frame {
        Frame::CharterReply(reply) => Some(reply),
        _ => None,
    });
    replies.next().unwrap()
}

/// The refusal of a charter by node 1.
fn refusal(net: &mut Net, certificate: &Certificate<Charter>) -> Refusal {
    offer(net, 1, certificate).refused.unwrap()
}

fn listed(net: &mut Net, index: u8) -> Vec<ProposalBody> {
    net.host(index).sent.clear();
    net.gateway_says(index, Frame::ProposalsRequest);
    let sent = std::mem::take(&mut net.host(index).sent);
    let mut lists = sent.into_iter().filter_map(|(_, frame)| match frame {
        Frame::Proposals(list) => Some(list.proposals),
        _ => None,
    });
    lists.next().unwrap()
}

/// What a node says to its gateway about a statement.
fn told(net: &mut Net, index: u8, frame: Frame) -> Option<Refusal> {
    net.host(index).sent.clear();
    net.gateway_says(index, frame);
    let sent = std::mem::take(&mut net.host(index).sent);
    let mut replies = sent.into_iter().filter_map(|(_, frame)| match frame {
        Frame::StatementReply(reply) => Some(reply.refused),
        _ => None,
    });
    replies.next().unwrap()
}

fn veto(net: &Net, hash: CharterHash, principal: &str, by: &SigningIdentity) -> Frame {
    let veto = Veto {
        version: Version,
        cluster: net.cluster.id,
        subject: Subject::Charter(hash),
        principal: principal.parse().unwrap(),
        at: TimeMs(0),
    };
    Frame::Veto(Signed::sign(veto, by).to_bytes())
}

fn receipt(net: &Net, hash: CharterHash) -> Frame {
    let receipt = Receipt {
        version: Version,
        cluster: net.cluster.id,
        subject: Subject::Charter(hash),
        principal: "wanda".parse().unwrap(),
        at: TimeMs(0),
    };
    Frame::Receipt(Signed::sign(receipt, &net.cluster.watcher).to_bytes())
}

fn approval(net: &Net, hash: CharterHash, of: IntentHash, by: &SigningIdentity) -> CharterApproval {
    let approval = Approval {
        version: Version,
        cluster: net.cluster.id,
        intent_hash: of,
        principal: "wanda".parse().unwrap(),
        request_id: RequestId(hash.0[..16].try_into().unwrap()),
        not_after: net.now.plus(10 * HOUR_MS),
    };
    CharterApproval {
        charter: hash,
        approval: Signed::sign(approval, by).to_bytes(),
    }
}

fn hash_of(certificate: &Certificate<Charter>) -> CharterHash {
    certificate.unverified().hash()
}

fn rescuer(seed: u8) -> SigningIdentity {
    SigningIdentity::from_seed(&SecretBytes::take(&mut [seed; 32]))
}

/// Lets time pass: most of it in a few jumps, then until the nodes have heard of each other.
fn pass(net: &mut Net, ms: u64) {
    for _ in 0..4 {
        net.jump((ms - 800) / 4);
    }
    net.advance(800);
}

#[test]
fn a_charter_with_every_signature_still_waits_for_its_delay() {
    let mut net = governed(DELAY);
    let certificate = successor(&net, "next", 3);
    let reply = offer(&mut net, 1, &certificate);
    assert_eq!((reply.number, reply.refused), (CharterNumber(0), None));
    assert!(
        reply.pending.iter().any(|p| p.contains("delay")),
        "{:?}",
        reply.pending
    );
    pass(&mut net, HOUR_MS - 1_000);
    assert_eq!(numbers(&net), [0, 0, 0]);
    pass(&mut net, 2_000);
    assert_eq!(numbers(&net), [1, 1, 1]);
    assert!(net.core(1).is_ready(net.now));
}

#[test]
fn a_proposal_is_shown_to_every_node_and_never_to_a_gateway_as_if_in_force() {
    let mut net = governed(DELAY);
    let certificate = successor(&net, "next", 1);
    let reply = offer(&mut net, 2, &certificate);
    assert!(reply.refused.is_none() && !reply.pending.is_empty());
    for index in 1..=3 {
        let list = listed(&mut net, index);
        assert_eq!(list.len(), 1, "node {index}");
        assert_eq!(list[0].certificate.0, certificate.to_bytes());
        assert!(!list[0].unmet.is_empty());
        let to_gateway = |(to, frame): &(Peer, Frame)| {
            matches!(to, Peer::Gateway(_)) && matches!(frame, Frame::Charter(_))
        };
        assert!(!net.host(index).sent.iter().any(to_gateway));
    }
    net.gateway_says(1, Frame::CharterRequest);
    assert!(
        !net.host(1)
            .sent
            .iter()
            .any(|(_, f)| matches!(f, Frame::Charter(_)))
    );
}

#[test]
fn a_delay_counts_from_each_nodes_own_first_sight() {
    let mut net = governed(DELAY);
    net.cut_off.insert(node(3));
    let certificate = successor(&net, "next", 2);
    offer(&mut net, 1, &certificate);
    pass(&mut net, HOUR_MS / 2);
    net.cut_off.clear();
    // What one other has in force does not reach node 3, so it has to judge for itself.
    net.filter = Some(|from, to, frame| {
        let names = matches!(frame, Frame::Adopted(_) | Frame::Heartbeat(_));
        from == node(2) && to == node(3) && names
    });
    net.restart(3);
    pass(&mut net, HOUR_MS / 2);
    assert_eq!(numbers(&net), [1, 1, 0]);
    pass(&mut net, HOUR_MS / 2 - 1_000);
    assert_eq!(numbers(&net), [1, 1, 0]);
    pass(&mut net, 2_000);
    assert_eq!(numbers(&net), [1, 1, 1]);
}

#[test]
fn a_restart_keeps_the_first_sight_and_what_was_collected() {
    let mut net = governed(DELAY);
    let charter = draft(&net, "next");
    let (one, two) = (
        signed_by(&net, charter.clone(), 0),
        signed_by(&net, charter, 1),
    );
    offer(&mut net, 1, &one);
    pass(&mut net, HOUR_MS / 2);
    offer(&mut net, 2, &two);
    let records = net.host(1).records();
    let written = records
        .iter()
        .filter(|(_, r)| matches!(r, Record::Proposal(_)));
    assert_eq!(written.count(), 2);
    for index in 1..=3 {
        net.restart(index);
    }
    assert_eq!(net.core(1).list_proposals().len(), 1);
    pass(&mut net, HOUR_MS / 2 - 2_000);
    assert_eq!(numbers(&net), [0, 0, 0]);
    pass(&mut net, 4_000);
    assert_eq!(numbers(&net), [1, 1, 1]);
}

#[test]
fn signatures_that_come_one_by_one_are_merged_on_every_node() {
    let mut net = governed("");
    let charter = draft(&net, "next");
    let one = signed_by(&net, charter.clone(), 0);
    let reply = offer(&mut net, 1, &one);
    assert!(reply.refused.is_none() && !reply.pending.is_empty());
    let records = net.host(1).records().len();
    offer(&mut net, 1, &one);
    assert_eq!(net.host(1).records().len(), records, "it was no news");
    let two = signed_by(&net, charter, 1);
    let reply = offer(&mut net, 3, &two);
    assert_eq!((reply.number, reply.pending), (CharterNumber(1), vec![]));
    assert_eq!(numbers(&net), [1, 1, 1]);
}

#[test]
fn a_proposal_that_one_node_alone_was_shown_comes_into_force_nowhere_else() {
    let mut net = governed(DELAY);
    net.cut_off.insert(node(1));
    let certificate = successor(&net, "next", 2);
    offer(&mut net, 1, &certificate);
    pass(&mut net, 2 * HOUR_MS);
    // Alone it does not even change itself.
    assert_eq!(numbers(&net), [0, 0, 0]);
    // When it is heard again it comes first, and the others are not moved by it alone: their own
    // delay begins.
    net.cut_off.clear();
    net.restart(1);
    net.advance(1_000);
    assert_eq!(numbers(&net), [1, 0, 0]);
    assert_eq!(net.core(2).list_proposals().len(), 1);
    pass(&mut net, HOUR_MS);
    assert_eq!(numbers(&net), [1, 1, 1]);
}

#[test]
fn without_the_watchers_receipt_the_delay_has_not_begun() {
    let mut net = governed(NOTICE);
    let certificate = successor(&net, "next", 3);
    offer(&mut net, 1, &certificate);
    pass(&mut net, 3 * HOUR_MS);
    assert_eq!(numbers(&net), [0, 0, 0]);
    let frame = receipt(&net, hash_of(&certificate));
    net.gateway_says(2, frame);
    pass(&mut net, HOUR_MS - 1_000);
    assert_eq!(numbers(&net), [0, 0, 0]);
    net.restart(2);
    pass(&mut net, 2_000);
    assert_eq!(numbers(&net), [1, 1, 1]);
}

#[test]
fn one_veto_ends_a_proposal_in_whatever_order_they_come() {
    for order in ["first", "last", "restarted"] {
        let mut net = governed(DELAY);
        let certificate = successor(&net, "next", 3);
        let hash = hash_of(&certificate);
        let frame = veto(&net, hash, "wanda", &net.cluster.watcher);
        if order == "first" {
            net.gateway_says(3, frame.clone());
            net.advance(100);
        }
        offer(&mut net, 1, &certificate);
        if order != "first" {
            pass(&mut net, HOUR_MS - 1_000);
            net.gateway_says(3, frame);
        }
        if order == "restarted" {
            (1..=3).for_each(|n| net.restart(n));
        }
        pass(&mut net, 2 * HOUR_MS);
        assert_eq!(numbers(&net), [0, 0, 0], "{order}");
        let list = listed(&mut net, 1);
        assert_eq!(list[0].vetoed_by, ["wanda"], "{order}");
        // It stays ended, and another one of the same number is free to come.
        let refused = refusal(&mut net, &certificate);
        assert!(
            refused.message.contains("vetoed by wanda"),
            "{}",
            refused.message
        );
        let other = successor(&net, "other", 2);
        offer(&mut net, 2, &other);
        pass(&mut net, HOUR_MS + 1_000);
        assert_eq!(numbers(&net), [1, 1, 1], "{order}");
        assert_eq!(net.core(1).charter().unverified().name, "other");
        // What was vetoed is no rival of what is in force, now or after a restart.
        net.restart(1);
        assert_eq!(refusal(&mut net, &certificate).field, "number");
        for index in 1..=3 {
            assert!(net.host(index).alarms.is_empty(), "{order}");
        }
    }
}

#[test]
fn who_has_no_right_to_it_vetoes_nothing() {
    let mut net = governed(DELAY);
    let certificate = successor(&net, "next", 2);
    let hash = hash_of(&certificate);
    offer(&mut net, 1, &certificate);
    for who in ["trader", "wanda"] {
        let frame = veto(&net, hash, who, &net.cluster.trader);
        assert!(told(&mut net, 1, frame).is_some());
    }
    pass(&mut net, HOUR_MS + 1_000);
    assert_eq!(numbers(&net), [1, 1, 1]);
}

#[test]
fn a_node_that_was_away_follows_without_a_delay_of_its_own() {
    let mut net = governed(DELAY);
    net.crash(3);
    for name in ["one", "two", "three"] {
        let certificate = successor(&net, name, 2);
        offer(&mut net, 1, &certificate);
        pass(&mut net, HOUR_MS + 1_000);
    }
    assert_eq!(net.core(1).constitution.number().0, 3);
    net.start(node(3));
    net.advance(1_000);
    assert_eq!(numbers(&net), [3, 3, 3]);
    assert!(net.core(3).is_ready(net.now));
    assert!(net.host(3).alarms.is_empty());
}

#[test]
fn a_node_that_hears_of_one_other_alone_waits_for_itself() {
    let mut net = governed(DELAY);
    net.crash(3);
    let certificate = successor(&net, "next", 2);
    offer(&mut net, 1, &certificate);
    pass(&mut net, HOUR_MS + 1_000);
    net.crash(2);
    net.start(node(3));
    net.advance(1_000);
    assert_eq!(net.core(3).constitution.number().0, 0);
    pass(&mut net, HOUR_MS - 2_000);
    assert_eq!(net.core(3).constitution.number().0, 0);
    pass(&mut net, 3_000);
    assert_eq!(net.core(3).constitution.number().0, 1);
}

#[test]
fn the_word_of_fewer_nodes_than_sign_moves_nobody() {
    let mut net = governed(DELAY);
    let certificate = successor(&net, "next", 2);
    let adopted = Frame::Adopted(certificate.to_bytes());
    // One liar, as often as it likes.
    for _ in 0..3 {
        net.node_says(2, 1, adopted.clone());
    }
    net.advance(1_000);
    assert_eq!(net.core(1).constitution.number().0, 0);
    net.node_says(3, 1, adopted);
    assert_eq!(net.core(1).constitution.number().0, 1);
}

#[test]
fn the_word_of_enough_nodes_does_not_stand_for_the_governors() {
    let mut net = governed(DELAY);
    let certificate = successor(&net, "next", 1);
    for from in [2, 3] {
        net.node_says(from, 1, Frame::Adopted(certificate.to_bytes()));
    }
    // Nor is what a gateway says the word of a node.
    net.gateway_says(1, Frame::Adopted(certificate.to_bytes()));
    net.advance(1_000);
    assert_eq!(net.core(1).constitution.number().0, 0);
}

#[test]
fn a_node_names_a_charter_to_nobody_before_it_is_durable() {
    let mut net = governed("");
    let certificate = successor(&net, "next", 2);
    net.host(1).hold = true;
    net.gateway_says(1, Frame::Charter(certificate.to_bytes()));
    assert_eq!(net.core(1).constitution.number().0, 1);
    net.host(1).sent.clear();
    net.advance(2_000);
    net.restart(2);
    let names = |(_, frame): &(Peer, Frame)| {
        matches!(
            frame,
            Frame::Adopted(_) | Frame::Charter(_) | Frame::Heartbeat(_)
        )
    };
    assert!(!net.host(1).sent.iter().any(names));
    net.release(1);
    net.advance(1_000);
    assert!(net.host(1).sent.iter().any(names));
    assert_eq!(numbers(&net), [1, 1, 1]);
}

#[test]
fn of_two_charters_that_governors_signed_for_one_number_neither_comes_into_force() {
    let mut net = governed(DELAY);
    let (one, two) = (successor(&net, "one", 2), successor(&net, "two", 2));
    offer(&mut net, 1, &one);
    offer(&mut net, 2, &two);
    pass(&mut net, 2 * HOUR_MS);
    assert_eq!(numbers(&net), [0, 0, 0]);
    let list = listed(&mut net, 3);
    let torn = |p: &ProposalBody| p.unmet.iter().any(|u| u.contains("for one number"));
    assert!(list.iter().all(torn), "{list:?}");
    let frame = veto(&net, hash_of(&one), "wanda", &net.cluster.watcher);
    net.gateway_says(1, frame);
    net.advance(1_000);
    assert_eq!(numbers(&net), [1, 1, 1]);
    assert_eq!(net.core(3).charter().unverified().name, "two");
    for index in 1..=3 {
        assert!(net.host(index).alarms.is_empty());
    }
}

#[test]
fn two_charters_of_one_number_in_force_stop_the_cluster() {
    let mut net = governed("");
    let (one, two) = (successor(&net, "one", 2), successor(&net, "two", 2));
    net.cut_off.insert(node(3));
    offer(&mut net, 1, &one);
    offer(&mut net, 3, &two);
    assert_eq!(numbers(&net), [1, 1, 1]);
    net.cut_off.clear();
    net.restart(3);
    net.advance(1_000);
    for index in 1..=3 {
        let alarm = Alarm::CharterFork(CharterNumber(1));
        assert!(net.host(index).alarms.contains(&alarm), "node {index}");
        assert!(!net.core(index).is_ready(net.now));
    }
}

#[test]
fn a_node_whose_clock_runs_ahead_does_not_count_its_delay_to_the_end() {
    let mut net = governed(DELAY);
    let certificate = successor(&net, "next", 2);
    offer(&mut net, 1, &certificate);
    net.host(1).ahead_ms = 2 * HOUR_MS;
    net.advance(2_000);
    assert_eq!(numbers(&net), [0, 0, 0]);
    let list = listed(&mut net, 1);
    assert!(list[0].unmet[0].contains("clock"), "{:?}", list[0].unmet);
    pass(&mut net, HOUR_MS);
    assert_eq!(numbers(&net), [1, 1, 1], "it follows the others");
}

#[test]
fn showing_a_proposal_again_costs_no_judgement() {
    let mut net = governed(DELAY);
    let certificate = successor(&net, "next", 2);
    let first = offer(&mut net, 1, &certificate);
    let hash = hash_of(&certificate);
    let judged = |net: &Net| net.core(1).proposals.named(&hash).unwrap().judged();
    let at = judged(&net);
    for _ in 0..5 {
        net.advance(1_000);
        assert_eq!(offer(&mut net, 1, &certificate).pending, first.pending);
    }
    assert_eq!(judged(&net), at);
    pass(&mut net, HOUR_MS);
    assert_eq!(numbers(&net), [1, 1, 1]);
}

#[test]
fn couriers_bring_proposals_and_approvals_and_hear_what_came_of_them() {
    let mut net = governed(APPROVED);
    let certificate = successor(&net, "next", 2);
    let hash = hash_of(&certificate);
    let courier = Peer::Courier(7);
    let bring = |net: &mut Net, frame: Frame| {
        net.host(2).sent.clear();
        net.feed(node(2), crate::core::Event::Frame(courier.clone(), frame));
        net.settle();
        let sent = std::mem::take(&mut net.host(2).sent);
        let mut replies = sent.into_iter().filter(|(to, _)| *to == courier);
        replies.next().map(|(_, frame)| frame)
    };
    let said = bring(&mut net, Frame::Charter(certificate.to_bytes()));
    let Some(Frame::CharterReply(reply)) = said else {
        panic!("{said:?}");
    };
    assert!(reply.refused.is_none() && !reply.pending.is_empty());
    let Some(Frame::Proposals(list)) = bring(&mut net, Frame::ProposalsRequest) else {
        panic!("no list");
    };
    let of = list.proposals[0].intent_hash;
    // A courier's word is nobody's, and it asks for no explanations.
    for _ in 0..3 {
        assert_eq!(
            bring(&mut net, Frame::Adopted(certificate.to_bytes())),
            None
        );
    }
    assert_eq!(numbers(&net), [0, 0, 0]);
    let good = approval(&net, hash, of, &net.cluster.watcher);
    let said = bring(&mut net, Frame::CharterApproval(good));
    let Some(Frame::StatementReply(reply)) = said else {
        panic!("{said:?}");
    };
    assert_eq!(reply.refused, None);
    assert_eq!(numbers(&net), [1, 1, 1]);
}

#[test]
fn a_recovery_waits_for_its_watcher_and_its_week_and_puts_governors_in_place() {
    let mut net = governed("");
    let rescuers = [rescuer(91), rescuer(92)];
    let principal = |id: &str, role: &str, identity: &SigningIdentity, expires| Principal {
        id: id.parse().unwrap(),
        roles: vec![role.parse().unwrap()],
        credentials: vec![identity.public()],
        expires,
        operator: None,
        granted_by: None,
    };
    let year = net.now.plus(365 * 24 * HOUR_MS);
    let mut first = draft(&net, "with a recovery");
    for (id, identity) in ["rita", "rob"].into_iter().zip(&rescuers) {
        first
            .principals
            .push(principal(id, "rescuer", identity, year));
    }
    first.recovery = Some(Recovery {
        quorum: 2,
        role: "rescuer".parse().unwrap(),
        delay_ms: WEEK_MS,
    });
    let first = net.cluster.certified(first, 2);
    assert_eq!(offer(&mut net, 1, &first).refused, None);
    assert_eq!(numbers(&net), [1, 1, 1]);
    // All governors are lost; others come in their place.
    let mut second = draft(&net, "recovered");
    second.name.clone_from(&first.unverified().name);
    second.principals.retain(|p| !p.holds("governor"));
    let fresh = [rescuer(93), rescuer(94)];
    for (id, identity) in ["gil", "gus"].into_iter().zip(&fresh) {
        second
            .principals
            .push(principal(id, "governor", identity, year));
    }
    let mut certificate = Certificate::unsigned(second);
    for identity in &rescuers {
        certificate.endorse(identity);
    }
    let reply = offer(&mut net, 2, &certificate);
    assert!(reply.refused.is_none(), "{:?}", reply.refused);
    pass(&mut net, WEEK_MS + HOUR_MS);
    assert_eq!(numbers(&net), [1, 1, 1]);
    let frame = receipt(&net, hash_of(&certificate));
    net.gateway_says(3, frame);
    pass(&mut net, WEEK_MS - HOUR_MS);
    assert_eq!(numbers(&net), [1, 1, 1]);
    (1..=3).for_each(|n| net.restart(n));
    pass(&mut net, HOUR_MS + 1_000);
    assert_eq!(numbers(&net), [2, 2, 2]);
    (1..=3).for_each(|n| net.restart(n));
    assert_eq!(numbers(&net), [2, 2, 2]);
    // Those who govern now change the charter as those before them did.
    let mut third = Certificate::unsigned(draft(&net, "third"));
    fresh.iter().for_each(|identity| third.endorse(identity));
    assert_eq!(offer(&mut net, 1, &third).refused, None);
    assert_eq!(numbers(&net), [3, 3, 3]);
}

#[test]
fn a_charter_that_skips_an_epoch_is_refused_by_its_number() {
    let mut net = governed("");
    let skips = Charter {
        number: CharterNumber(2),
        ..draft(&net, "next")
    };
    let skips = net.cluster.certified(skips, 3);
    assert_eq!(refusal(&mut net, &skips).field, "number");
    let astray = Charter {
        previous: Some(CharterHash([1; 32])),
        ..draft(&net, "next")
    };
    let astray = net.cluster.certified(astray, 3);
    assert_eq!(refusal(&mut net, &astray).field, "previous");
    let unsigned = Certificate::unsigned(draft(&net, "next"));
    assert_eq!(refusal(&mut net, &unsigned).field, "signatures");
    assert!(net.core(1).list_proposals().is_empty());
}

#[test]
fn one_governor_cannot_fill_the_list_and_a_quorum_always_finds_room() {
    let mut net = governed(DELAY);
    let drafts: Vec<Charter> = (0..20)
        .map(|n| draft(&net, &format!("draft {n}")))
        .collect();
    for (place, charter) in drafts.iter().take(3).enumerate() {
        let certificate = signed_by(&net, charter.clone(), 0);
        let reply = offer(&mut net, 1, &certificate);
        assert_eq!(reply.refused.is_some(), place == 2, "{place}");
    }
    // With others' signatures there is room, up to the whole list.
    for (governor, range) in [(1, 3..5), (2, 5..7)] {
        for charter in &drafts[range] {
            let certificate = signed_by(&net, charter.clone(), governor);
            assert!(offer(&mut net, 1, &certificate).refused.is_none());
        }
    }
    for charter in &drafts[7..12] {
        let certificate = net.cluster.certified(charter.clone(), 2);
        let reply = offer(&mut net, 1, &certificate);
        assert!(reply.refused.is_none(), "{:?}", reply.refused);
    }
    for index in 1..=3 {
        assert_eq!(net.core(index).list_proposals().len(), PROPOSALS_MAX);
        let names: Vec<_> = net.core(index).list_proposals();
        net.restart(index);
        let again = net.core(index).list_proposals();
        let certificates = |all: &[ProposalBody]| -> Vec<_> {
            all.iter().map(|p| p.certificate.clone()).collect()
        };
        assert_eq!(certificates(&again), certificates(&names));
    }
}

/// A charter that no node can compile.
fn broken(net: &Net, name: &str) -> Charter {
    let mut charter = draft(net, name);
    charter.policies = "permit".to_owned();
    charter
}

#[test]
fn charters_judged_in_vain_are_remembered_and_rationed() {
    let mut net = governed(DELAY);
    let of = |refusal: Refusal| refusal.field;
    for n in 0..4 {
        let charter = broken(&net, &format!("broken {n}"));
        let certificate = signed_by(&net, charter, 0);
        // The same again is told the same, and is not one more.
        for _ in 0..5 {
            assert_eq!(of(refusal(&mut net, &certificate)), "charter");
        }
    }
    let charter = broken(&net, "broken 5");
    let certificate = signed_by(&net, charter.clone(), 0);
    assert_eq!(of(refusal(&mut net, &certificate)), "proposals");
    // Another governor's signature is another matter, and so is another minute.
    let mut both = certificate.clone();
    both.endorse(&net.cluster.governors[1]);
    assert_eq!(of(refusal(&mut net, &both)), "charter");
    net.advance(60_000);
    assert_eq!(of(refusal(&mut net, &certificate)), "charter");
}

#[test]
fn whose_list_is_full_is_refused_before_anything_is_compiled() {
    let mut net = governed(DELAY);
    for name in ["one", "two"] {
        let certificate = signed_by(&net, draft(&net, name), 0);
        assert!(offer(&mut net, 1, &certificate).refused.is_none());
    }
    let certificate = signed_by(&net, broken(&net, "broken"), 0);
    let refusal = refusal(&mut net, &certificate);
    assert_eq!(refusal.field, "proposals");
}

#[test]
fn an_approval_of_a_proposal_counts_on_every_node_and_after_a_restart() {
    let mut net = governed(APPROVED);
    let certificate = successor(&net, "next", 2);
    let hash = hash_of(&certificate);
    let reply = offer(&mut net, 1, &certificate);
    assert!(
        reply.pending.iter().any(|p| p.contains("watcher")),
        "{:?}",
        reply.pending
    );
    let of = listed(&mut net, 1)[0].intent_hash;
    let trader = approval(&net, hash, of, &net.cluster.trader);
    let refused = told(&mut net, 1, Frame::CharterApproval(trader)).unwrap();
    assert_eq!(refused.field, "approval.principal");
    let elsewhere = approval(&net, CharterHash([3; 32]), of, &net.cluster.watcher);
    let wrong = CharterApproval {
        charter: hash,
        ..elsewhere.clone()
    };
    for (frame, field) in [(elsewhere, "charter"), (wrong, "approval.request_id")] {
        let refused = told(&mut net, 1, Frame::CharterApproval(frame)).unwrap();
        assert_eq!(refused.field, field);
    }
    // Of something else, it is kept and counts for nothing.
    let other = approval(&net, hash, IntentHash([9; 32]), &net.cluster.watcher);
    assert_eq!(told(&mut net, 1, Frame::CharterApproval(other)), None);
    net.advance(1_000);
    assert_eq!(numbers(&net), [0, 0, 0]);
    net.cut_off.insert(node(3));
    let good = approval(&net, hash, of, &net.cluster.watcher);
    assert_eq!(told(&mut net, 3, Frame::CharterApproval(good)), None);
    assert_eq!(numbers(&net), [0, 0, 1]);
    net.cut_off.clear();
    // The others have it from node 3's certificate only once they hear the approval itself.
    let good = approval(&net, hash, of, &net.cluster.watcher);
    net.host(1).hold = true;
    assert_eq!(numbers(&net)[..2], [0, 0]);
    net.host(1).hold = false;
    assert_eq!(told(&mut net, 2, Frame::CharterApproval(good)), None);
    assert_eq!(numbers(&net), [1, 1, 1]);
    (1..=3).for_each(|n| net.restart(n));
    assert_eq!(numbers(&net), [1, 1, 1]);
}

#[test]
fn an_approval_is_journaled_and_flooded_with_its_proposal() {
    let mut net = governed("@delay(\"1h\")\n@approvals(\"1 of watcher\")");
    let certificate = successor(&net, "next", 2);
    let hash = hash_of(&certificate);
    offer(&mut net, 1, &certificate);
    let of = listed(&mut net, 1)[0].intent_hash;
    net.crash(3);
    let good = approval(&net, hash, of, &net.cluster.watcher);
    assert_eq!(told(&mut net, 1, Frame::CharterApproval(good)), None);
    net.restart(1);
    net.restart(2);
    net.start(node(3));
    pass(&mut net, HOUR_MS + 1_000);
    assert_eq!(numbers(&net), [1, 1, 1]);
    net.advance(1_000);
    let work = net.cluster.pay(1, 0, super::cluster::FRIEND);
    net.sign(&work, &set(&[1, 2]));
}

#[test]
fn a_vetoed_rival_stops_no_node_that_was_away_and_its_veto_is_shown_to_it() {
    let mut net = governed(DELAY);
    net.crash(3);
    let (old, next) = (successor(&net, "old", 2), successor(&net, "next", 2));
    offer(&mut net, 1, &old);
    let frame = veto(&net, hash_of(&old), "wanda", &net.cluster.watcher);
    net.gateway_says(1, frame);
    offer(&mut net, 1, &next);
    pass(&mut net, HOUR_MS);
    assert_eq!(net.core(1).constitution.number().0, 1);
    // A courier shows it the old one while no veto has reached it.
    net.filter = Some(|_, _, frame| matches!(frame, Frame::Veto(_)));
    net.start(node(3));
    offer(&mut net, 3, &old);
    net.advance(1_000);
    offer(&mut net, 3, &old);
    assert_eq!(net.core(3).constitution.number().0, 1);
    assert!(net.host(3).alarms.is_empty());
    assert!(net.core(3).is_ready(net.now));
    // The veto is there for whoever connects, and what it is of is no rival whoever says so.
    net.filter = None;
    net.restart(3);
    net.advance(1_000);
    net.node_says(2, 3, Frame::Adopted(old.to_bytes()));
    assert!(net.host(3).alarms.is_empty());
}
