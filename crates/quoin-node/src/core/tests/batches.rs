//! Batch proposals: joined only when they are what this node would propose itself.

use super::net::Net;
use super::{Shape, node};
use crate::core::config::REFUSED_BATCH_MS;
use quoin_api::frame::{Opaque, SessionFrame};
use quoin_api::{Frame, SessionId};
use quoin_core::{
    BatchId, CharterNumber, ClusterId, CredentialId, Generation, KeyId, Scheme, ShareEpoch, cbor,
};
use quoin_protocol::{BatchHeader, Profile};

/// A net without node 3, and a proposal of node 1 that node 2 has not seen.
fn proposal() -> (Net, SessionFrame) {
    let mut net = Net::with(Shape::default());
    net.crash(3);
    net.filter = Some(|from, _, f| from == node(1) && matches!(f, Frame::Session(_)));
    net.advance(200);
    let frame = net.host(1).sent.iter().find_map(|(_, f)| match f {
        Frame::Session(s) if s.header.is_some() => Some(s.clone()),
        _ => None,
    });
    let frame = frame.unwrap();
    (net, frame)
}

fn header_of(frame: &SessionFrame) -> BatchHeader {
    cbor::decode(&frame.header.as_ref().unwrap().0, 4096).unwrap()
}

fn with_header(frame: &SessionFrame, header: &BatchHeader) -> SessionFrame {
    SessionFrame {
        session: SessionId::Batch(header.batch),
        header: Some(Opaque(cbor::encode(header))),
        message: frame.message.clone(),
    }
}

/// Whether node `to` joins when node `from` shows it the proposal.
fn joins(net: &mut Net, from: u8, to: u8, frame: &SessionFrame) -> bool {
    let before = net.host(to).jobs_asked;
    net.node_says(from, to, Frame::Session(frame.clone()));
    net.host(to).jobs_asked > before
}

fn renumbered(frame: &SessionFrame, counter: u64) -> SessionFrame {
    let mut header = header_of(frame);
    header.batch.counter = counter;
    with_header(frame, &header)
}

#[test]
fn a_proposal_that_is_our_own_view_is_joined() {
    let (mut net, frame) = proposal();
    assert!(joins(&mut net, 1, 2, &frame));
}

#[test]
fn a_refused_proposal_is_answered_at_once_and_made_again_a_little_later() {
    let (mut net, frame) = proposal();
    let mut other = header_of(&frame);
    other.charter = CharterNumber(7);
    net.host(2).sent.clear();
    assert!(!joins(&mut net, 1, 2, &with_header(&frame, &other)));
    let refused = Frame::SessionAborted(frame.session);
    let said = |net: &mut Net| net.host(2).sent.iter().any(|(_, f)| *f == refused);
    assert!(said(&mut net));

    net.host(1).sent.clear();
    net.node_says(2, 1, refused.clone());
    let proposed = |net: &mut Net| {
        let again = |f: &Frame| matches!(f, Frame::Session(s) if s.header.is_some());
        net.host(1).sent.iter().any(|(_, f)| again(f))
    };
    net.advance(REFUSED_BATCH_MS / 2);
    assert!(!proposed(&mut net));
    net.advance(REFUSED_BATCH_MS);
    assert!(proposed(&mut net));
}

#[test]
fn a_proposal_by_somebody_outside_its_set_is_not_joined() {
    let (mut net, frame) = proposal();
    assert!(!joins(&mut net, 3, 2, &frame));
}

#[test]
fn a_proposal_to_somebody_outside_its_set_is_not_joined() {
    let (mut net, frame) = proposal();
    net.start(node(3));
    net.advance(1_000);
    net.host(3).keep_jobs = true;
    let fresh = renumbered(&frame, 99);
    assert!(!joins(&mut net, 1, 3, &fresh));
}

#[test]
fn a_proposal_by_another_than_the_lowest_signer_is_not_joined() {
    let (mut net, frame) = proposal();
    let mut header = header_of(&frame);
    header.batch.proposer = net.core(2).boot();
    assert!(!joins(&mut net, 2, 1, &with_header(&frame, &header)));
    assert!(!joins(&mut net, 1, 2, &with_header(&frame, &header)));
}

#[test]
fn a_proposal_under_the_id_of_another_batch_is_not_joined() {
    let (mut net, frame) = proposal();
    let mut other = frame.clone();
    other.session = SessionId::Batch(BatchId {
        counter: 50,
        ..header_of(&frame).batch
    });
    assert!(!joins(&mut net, 1, 2, &other));
}

#[test]
fn a_batch_id_is_honoured_once() {
    let (mut net, frame) = proposal();
    let fifth = renumbered(&frame, 5);
    net.host(2).keep_jobs = true;
    assert!(joins(&mut net, 1, 2, &fifth));
    net.node_says(1, 2, Frame::SessionAborted(fifth.session));
    assert!(!joins(&mut net, 1, 2, &fifth));
    assert!(!joins(&mut net, 1, 2, &renumbered(&frame, 4)));
    assert!(joins(&mut net, 1, 2, &renumbered(&frame, 6)));
}

type Change = fn(&mut BatchHeader);

#[test]
fn a_header_that_differs_from_our_own_view_is_not_joined() {
    let changes: [(&str, Change); 13] = [
        ("cluster", |h| h.cluster = ClusterId([1; 32])),
        ("charter", |h| h.charter = CharterNumber(1)),
        ("key", |h| h.key = KeyId([1; 16])),
        ("scheme", |h| h.scheme = Scheme::Ed25519),
        ("public key", |h| h.public_key[31] ^= 1),
        ("epoch", |h| h.epoch = ShareEpoch(1)),
        ("set", |h| h.set = super::set(&[1, 2, 3])),
        ("credentials", |h| {
            h.credentials[0] = CredentialId([1; 16]);
        }),
        ("boots", |h| h.boots[1].generation = Generation(9)),
        ("size", |h| h.size += 1),
        ("version of the proposer's boot", |h| {
            h.batch.proposer.generation = Generation(9);
        }),
        ("profile", |h| h.profile = Profile::Treasury),
        ("shares", |h| h.shares_hash[0] ^= 1),
    ];
    let (mut net, frame) = proposal();
    for (what, change) in changes {
        let mut header = header_of(&frame);
        change(&mut header);
        assert!(
            !joins(&mut net, 1, 2, &with_header(&frame, &header)),
            "{what}"
        );
    }
    let mut cut = frame.clone();
    cut.header.as_mut().unwrap().0.pop();
    assert!(!joins(&mut net, 1, 2, &cut));
    assert!(joins(&mut net, 1, 2, &frame));
}

#[test]
fn a_proposal_of_a_former_boot_is_not_joined() {
    let (mut net, frame) = proposal();
    net.restart(1);
    net.advance(500);
    assert!(!joins(&mut net, 1, 2, &renumbered(&frame, 99)));
}

#[test]
fn at_most_two_batches_of_a_pair_are_under_way() {
    let (mut net, frame) = proposal();
    net.host(2).keep_jobs = true;
    assert!(joins(&mut net, 1, 2, &renumbered(&frame, 11)));
    assert!(joins(&mut net, 1, 2, &renumbered(&frame, 12)));
    assert!(!joins(&mut net, 1, 2, &renumbered(&frame, 13)));
    // Time makes room again, once the work is off the worker.
    net.advance(10_500);
    assert!(!joins(&mut net, 1, 2, &renumbered(&frame, 13)));
    net.host(2).keep_jobs = false;
    net.settle();
    assert!(joins(&mut net, 1, 2, &renumbered(&frame, 14)));
}

#[test]
fn an_unfinished_batch_is_dropped_when_its_peer_goes() {
    let (mut net, frame) = proposal();
    net.host(2).keep_jobs = true;
    assert!(joins(&mut net, 1, 2, &renumbered(&frame, 11)));
    net.crash(1);
    net.host(2).keep_jobs = false;
    net.settle();
    assert_eq!(net.core(2).pool_depth(), 0);
}
