//! Signer sets on nodes: certified by acknowledgements, remembered over restarts, and the only way
//! to spend a sticky budget.

use super::cluster::FRIEND;
use super::net::{Net, gateway};
use super::{Shape, Work, node, set};
use crate::core::{RECORD_BYTES_MAX, Record};
use quoin_api::Frame;
use quoin_api::frame::{Opaque, Reply, SetAcksFrame, SetProposal, Unavailable};
use quoin_core::cbor::Version;
use quoin_core::ids::{Boot, Generation, Lane};
use quoin_core::{Amount, NodeIndex, PrincipalId, Signed, SignerSet, TimeMs};
use quoin_policy::{Measure, Mode, SetAck, SetSpend, SetState};

pub(super) const CAP: u64 = 6;

pub(super) fn sticky(nodes: u8, threshold: u8, f_tol: u8, cap: u64) -> Net {
    let mut net = Net::with(Shape {
        nodes,
        threshold,
        f_tol,
        cap,
        sticky: true,
        ..Shape::default()
    });
    net.advance(1_000);
    net
}

/// Proposes a set to these nodes, a moment after whatever was before.
pub(super) fn propose(net: &mut Net, to: &[u8], number: u64, set: &SignerSet) {
    net.jump(200);
    for index in to {
        let set = set.clone();
        net.gateway_says(*index, Frame::SetProposal(SetProposal { number, set }));
    }
}

fn at(number: u64, of: &[u8], serving: bool) -> SetState {
    SetState {
        number,
        set: Some(set(of)),
        serving,
    }
}

fn pay(net: &Net, id: u8) -> Work {
    net.cluster.pay(id, u64::from(id), FRIEND)
}

/// What the members of a set say to a request.
fn say(net: &mut Net, id: u8, of: &[u8]) -> Vec<Reply> {
    let (work, signers) = (pay(net, id), set(of));
    let presignature = net.lease(&signers, 1)[0];
    let replies = of
        .iter()
        .map(|i| net.ask(*i, &work, &signers, presignature).unwrap());
    replies.collect()
}

fn sign(net: &mut Net, ids: std::ops::Range<u8>, of: &[u8]) {
    for id in ids {
        let replies = say(net, id, of);
        let answers = replies.iter().all(|r| matches!(r, Reply::Answer(_)));
        assert!(answers, "request {id}: {replies:?}");
    }
}

fn is_over_budget(reply: &Reply) -> bool {
    match reply {
        Reply::Denied(bytes) => {
            let denial = Signed::<quoin_api::statements::Denial>::from_bytes(bytes).unwrap();
            denial.unverified().message.contains("has no room")
        }
        _ => false,
    }
}

fn refused_over_budget(net: &mut Net, id: u8, of: &[u8]) {
    let replies = say(net, id, of);
    assert!(replies.iter().any(is_over_budget), "{replies:?}");
}

const OTHER: Reply = Reply::Unavailable(Unavailable::OtherSignerSet);

/// Drops what nodes say of sets to each other.
pub(super) fn deaf(_: NodeIndex, _: NodeIndex, frame: &Frame) -> bool {
    matches!(frame, Frame::SetAcks(_))
}

/// The acknowledgements that a node has sent to the gateway since this was asked last.
pub(super) fn acks_of(net: &mut Net, index: u8) -> Vec<Opaque> {
    let sent = std::mem::take(&mut net.host(index).sent);
    let frames = sent.into_iter().filter_map(|(to, frame)| match frame {
        Frame::SetAcks(frame) if to == gateway() => Some(frame.acks),
        _ => None,
    });
    frames.flatten().collect()
}

pub(super) fn ack(
    net: &Net,
    index: u8,
    number: u64,
    of: &SignerSet,
    spends: Vec<SetSpend>,
) -> SetAck {
    SetAck {
        version: Version,
        cluster: net.cluster.id,
        boot: Boot {
            node: node(index),
            lane: Lane(0),
            generation: Generation(1),
        },
        number,
        set: of.clone(),
        spends,
        charter: net.core(1).charter().unverified().hash(),
    }
}

pub(super) fn signed_by(net: &Net, index: u8, ack: &SetAck) -> Opaque {
    Opaque(Signed::sign(ack.clone(), &net.cluster.identities[&node(index)]).to_bytes())
}

#[test]
fn an_honest_gateway_spends_the_whole_cap_while_a_member_dies_and_comes_back() {
    let mut net = sticky(3, 2, 0, CAP);
    propose(&mut net, &[1, 2, 3], 1, &set(&[1, 2]));
    for index in [1, 2] {
        assert_eq!(*net.core(index).set_state(), at(1, &[1, 2], true));
    }
    assert_eq!(*net.core(3).set_state(), at(1, &[1, 2], false));
    sign(&mut net, 1..4, &[1, 2]);
    net.crash(2);
    assert_eq!(say(&mut net, 4, &[1, 3]), [OTHER, OTHER]);
    propose(&mut net, &[1, 3], 2, &set(&[1, 3]));
    sign(&mut net, 4..6, &[1, 3]);
    net.start(node(2));
    net.crash(1);
    net.advance(1_000);
    // Nobody has told node 2 of the second set while it was away, but the third's acknowledgement does.
    propose(&mut net, &[2, 3], 3, &set(&[2, 3]));
    sign(&mut net, 6..7, &[2, 3]);
    refused_over_budget(&mut net, 7, &[2, 3]);
    net.start(node(1));
    propose(&mut net, &[1, 2, 3], 4, &set(&[1, 2]));
    refused_over_budget(&mut net, 8, &[1, 2]);
}

#[test]
fn four_of_five_go_on_without_one_and_lose_nothing() {
    let mut net = sticky(5, 4, 2, 4);
    propose(&mut net, &[1, 2, 3, 4, 5], 1, &set(&[1, 2, 3, 4]));
    sign(&mut net, 1..3, &[1, 2, 3, 4]);
    net.crash(4);
    propose(&mut net, &[1, 2, 3, 5], 2, &set(&[1, 2, 3, 5]));
    sign(&mut net, 3..5, &[1, 2, 3, 5]);
    refused_over_budget(&mut net, 5, &[1, 2, 3, 5]);
}

#[test]
fn another_set_is_no_denial_and_leaves_the_request_alive() {
    let mut net = sticky(3, 2, 0, CAP);
    assert_eq!(
        say(&mut net, 1, &[1, 2]),
        [OTHER, OTHER],
        "before the first set"
    );
    propose(&mut net, &[1, 2, 3], 1, &set(&[1, 2]));
    assert_eq!(say(&mut net, 1, &[1, 3]), [OTHER, OTHER], "another set");
    for index in [1, 2, 3] {
        let records = net.host(index).records();
        let denied = records.iter().any(|(_, r)| matches!(r, Record::Denied(_)));
        assert!(!denied, "node {index}");
    }
    sign(&mut net, 1..2, &[1, 2]);
}

#[test]
fn a_refused_presignature_is_thrown_away() {
    let mut net = sticky(3, 2, 0, CAP);
    let (work, signers) = (pay(&net, 1), set(&[1, 2]));
    let presignature = net.lease(&signers, 1)[0];
    assert_eq!(net.ask(1, &work, &signers, presignature), Some(OTHER));
    propose(&mut net, &[1, 2, 3], 1, &signers);
    let gone = Reply::Unavailable(Unavailable::PresignatureGone);
    assert_eq!(net.ask(1, &work, &signers, presignature), Some(gone));
}

#[test]
fn only_gateways_propose_and_a_passed_number_is_answered_with_what_is_known() {
    let mut net = sticky(3, 2, 0, CAP);
    let proposal = |number, of: &[u8]| {
        Frame::SetProposal(SetProposal {
            number,
            set: set(of),
        })
    };
    net.node_says(2, 1, proposal(1, &[1, 2]));
    assert_eq!(*net.core(1).set_state(), SetState::default());
    propose(&mut net, &[1, 2, 3], 5, &set(&[1, 2]));
    acks_of(&mut net, 1);
    for (number, of) in [(5, [1, 3]), (4, [1, 3])] {
        propose(&mut net, &[1], number, &set(&of));
        assert_eq!(*net.core(1).set_state(), at(5, &[1, 2], true), "{number}");
        let known = acks_of(&mut net, 1);
        let signed = Signed::<SetAck>::from_bytes(&known[0].0).unwrap();
        assert_eq!(signed.unverified().number, 5);
        assert_eq!(known.len(), 3, "of all nodes");
    }
    // Whoever proposes one number after the other has to take its time.
    propose(&mut net, &[1], 6, &set(&[1, 3]));
    net.gateway_says(1, proposal(7, &[1, 2]));
    assert_eq!(*net.core(1).set_state(), at(6, &[1, 3], false));
}

#[test]
fn nothing_is_acknowledged_before_it_is_durable() {
    let mut net = sticky(3, 2, 0, CAP);
    net.jump(200);
    net.host(1).hold = true;
    net.host(1).sent.clear();
    let signers = set(&[1, 2]);
    let proposal = Frame::SetProposal(SetProposal {
        number: 1,
        set: signers,
    });
    net.gateway_says(1, proposal);
    let said = net.host(1).sent.iter();
    let said = said.filter(|(_, f)| matches!(f, Frame::SetAcks(_))).count();
    assert_eq!(said, 0);
    net.release(1);
    assert_eq!(acks_of(&mut net, 1).len(), 1);
}

#[test]
fn an_acknowledgement_counts_for_its_own_node_only() {
    let mut net = sticky(3, 2, 0, CAP);
    net.filter = Some(deaf);
    let signers = set(&[1, 2]);
    propose(&mut net, &[1], 1, &signers);
    // Node 3 says that node 2 has acknowledged.
    let of_two = ack(&net, 2, 1, &signers, Vec::new());
    let forged = signed_by(&net, 3, &of_two);
    net.node_says(3, 1, Frame::SetAcks(SetAcksFrame { acks: vec![forged] }));
    assert_eq!(*net.core(1).set_state(), at(1, &[1, 2], false));
    let mut before = of_two.clone();
    before.charter = quoin_core::CharterHash([9; 32]);
    let before = signed_by(&net, 2, &before);
    net.node_says(3, 1, Frame::SetAcks(SetAcksFrame { acks: vec![before] }));
    assert_eq!(*net.core(1).set_state(), at(1, &[1, 2], false));
    // Whoever carries the genuine one.
    let genuine = signed_by(&net, 2, &of_two);
    net.gateway_says(
        1,
        Frame::SetAcks(SetAcksFrame {
            acks: vec![genuine],
        }),
    );
    assert_eq!(*net.core(1).set_state(), at(1, &[1, 2], true));
}

#[test]
fn a_node_is_where_it_was_after_a_restart_in_every_state() {
    let mut net = sticky(3, 2, 0, CAP);
    propose(&mut net, &[1, 2, 3], 1, &set(&[2, 3]));
    sign(&mut net, 1..4, &[2, 3]);
    // Proposed, and not durable: nothing was said, nothing is remembered.
    net.host(2).hold = true;
    propose(&mut net, &[2], 2, &set(&[1, 2]));
    net.restart(2);
    assert_eq!(*net.core(2).set_state(), at(1, &[2, 3], true));
    // Durable, and not certified: the number before is never served again.
    net.filter = Some(deaf);
    propose(&mut net, &[1, 2], 2, &set(&[1, 2]));
    net.restart(1);
    net.restart(2);
    for index in [1, 2] {
        assert_eq!(*net.core(index).set_state(), at(2, &[1, 2], false));
    }
    net.advance(1_000);
    assert_eq!(say(&mut net, 4, &[2, 3])[0], OTHER);
    // They acknowledge again by themselves, and with that the set is in force.
    net.filter = None;
    net.advance(2_000);
    assert_eq!(*net.core(1).set_state(), at(2, &[1, 2], true));
    // In force: what others had spent is remembered too.
    net.restart(1);
    net.restart(2);
    net.advance(1_000);
    assert_eq!(*net.core(1).set_state(), at(2, &[1, 2], true));
    let budget = net.cluster.budget().clone();
    let foreign = net.core(1).ledger.spent_foreign(&budget, net.now);
    assert_eq!(foreign, Some(Amount::from(3u64)));
    sign(&mut net, 4..7, &[1, 2]);
    refused_over_budget(&mut net, 7, &[1, 2]);
}

fn enact(net: &mut Net, change: impl FnOnce(&mut quoin_policy::Charter)) {
    let current = net.core(1).charter().unverified().clone();
    let mut charter = net.cluster.next_charter(&current, "next");
    change(&mut charter);
    let certificate = net.cluster.certified(charter, 2);
    net.charters.push(certificate.clone());
    net.gateway_says(1, Frame::Charter(certificate.to_bytes()));
}

#[test]
fn a_new_charter_ends_the_set_until_its_members_have_acknowledged_it_again() {
    let mut net = sticky(3, 2, 0, CAP);
    propose(&mut net, &[1, 2, 3], 1, &set(&[1, 2]));
    net.filter = Some(deaf);
    enact(&mut net, |_| {});
    net.advance(1_000);
    for index in [1, 2] {
        assert_eq!(net.core(index).charter().unverified().number.0, 1);
        assert_eq!(*net.core(index).set_state(), at(1, &[1, 2], false));
    }
    assert_eq!(say(&mut net, 1, &[1, 2]), [OTHER, OTHER]);
    net.restart(1);
    assert_eq!(
        *net.core(1).set_state(),
        at(1, &[1, 2], false),
        "also after a restart"
    );
    net.filter = None;
    net.advance(2_000);
    assert_eq!(*net.core(1).set_state(), at(1, &[1, 2], true));
    sign(&mut net, 1..2, &[1, 2]);
}

#[test]
fn what_a_budget_counted_before_it_was_sticky_counts() {
    let mut net = Net::with(Shape {
        cap: CAP,
        ..Shape::default()
    });
    net.advance(1_000);
    // One half of a strict cap.
    sign(&mut net, 1..4, &[2, 3]);
    enact(&mut net, |charter| charter.budgets[0].mode = Mode::Sticky);
    net.advance(1_000);
    propose(&mut net, &[1, 2, 3], 1, &set(&[1, 2]));
    sign(&mut net, 4..5, &[1, 2]);
    let budget = net.cluster.budget().clone();
    let foreign = net.core(1).ledger.spent_foreign(&budget, net.now).unwrap();
    assert!(foreign >= Amount::from(3u64), "{foreign}");
    let replies = (5..9).flat_map(|id| say(&mut net, id, &[1, 2]));
    let refused = replies.filter(is_over_budget).count();
    assert!(refused >= 2, "three, one and at most two more");
}

#[test]
fn a_set_that_the_next_charter_does_not_have_is_not_served() {
    let mut net = Net::with(Shape {
        cap: CAP,
        sticky: true,
        spare: 1,
        ..Shape::default()
    });
    net.advance(1_000);
    propose(&mut net, &[1, 2, 3], 1, &set(&[1, 3]));
    net.amend(&[1, 2, 4], 2);
    net.advance(2_000);
    assert_eq!(*net.core(1).set_state(), at(1, &[1, 3], false));
    // Nodes 1 and 2 are of the charter before, one of every set that spent under it among them.
    propose(&mut net, &[1, 2, 4], 2, &set(&[1, 2]));
    assert_eq!(*net.core(1).set_state(), at(2, &[1, 2], true));
    sign(&mut net, 1..2, &[1, 2]);
}

#[test]
fn without_a_sticky_budget_nothing_of_sets_happens() {
    let mut net = Net::calm();
    let before: Vec<usize> = [1, 2, 3].map(|i| net.host(i).records().len()).into();
    net.host(1).sent.clear();
    propose(&mut net, &[1, 2, 3], 1, &set(&[1, 2]));
    assert_eq!(*net.core(1).set_state(), SetState::default());
    assert!(acks_of(&mut net, 1).is_empty());
    let genuine = signed_by(&net, 2, &ack(&net, 2, 1, &set(&[1, 2]), Vec::new()));
    net.node_says(
        2,
        1,
        Frame::SetAcks(SetAcksFrame {
            acks: vec![genuine],
        }),
    );
    let sent = &net.host(1).sent;
    assert!(!sent.iter().any(|(_, f)| matches!(f, Frame::SetAcks(_))));
    let moved =
        |(_, r): &(TimeMs, Record)| matches!(r, Record::SetMoved(_) | Record::SetAdopted(_));
    for (index, before) in [1, 2, 3].into_iter().zip(before) {
        assert!(!net.host(index).records()[before..].iter().any(moved));
    }
    sign(&mut net, 1..2, &[1, 3]);
}

#[test]
fn the_largest_report_of_a_liar_makes_a_record_that_can_be_read() {
    let mut net = sticky(3, 2, 0, CAP);
    net.filter = Some(deaf);
    let signers = set(&[1, 2]);
    let now = net.now.0;
    let lies = (0..288u64).map(|i| SetSpend {
        budget: net.cluster.budget().id.clone(),
        measure: Measure::Count,
        holder: (i > 2).then(|| format!("nobody-{i}").parse::<PrincipalId>().unwrap()),
        set: (i == 1).then(|| set(&[2, 3])),
        buckets: (0..100u64)
            .map(|b| (TimeMs(now - 1_000_000 * b - i), Amount::from(u64::MAX)))
            .collect(),
    });
    let lie = ack(&net, 3, 1, &signers, lies.collect());
    let acks = vec![
        signed_by(&net, 3, &lie),
        signed_by(&net, 2, &ack(&net, 2, 1, &signers, vec![])),
    ];
    net.gateway_says(1, Frame::SetAcks(SetAcksFrame { acks }));
    assert_eq!(*net.core(1).set_state(), at(1, &signers_of(&signers), true));
    let records = net.host(1).records();
    let adopted = records
        .iter()
        .find(|(_, r)| matches!(r, Record::SetAdopted(_)));
    let bytes = adopted.unwrap().1.to_bytes().len();
    assert!(bytes < RECORD_BYTES_MAX / 64, "{bytes}");
    // And what it says counts, because it may be the one node that knows.
    let budget = net.cluster.budget().clone();
    let foreign = net.core(1).ledger.spent_foreign(&budget, net.now);
    assert!(foreign.unwrap() > Amount::from(u64::MAX));
    net.restart(1);
    assert_eq!(net.core(1).ledger.spent_foreign(&budget, net.now), foreign);
}

fn signers_of(set: &SignerSet) -> Vec<u8> {
    set.iter().map(NodeIndex::get).collect()
}
