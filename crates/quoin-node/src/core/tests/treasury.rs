//! Treasury keys: a presignature is bound to one request before anybody answers with it.

use super::cluster::{Cluster, FRIEND, Work};
use super::net::answer;
use super::{Net, Shape, node, set};
use crate::core::treasury::{BOUND_MAX, BOUND_MS};
use crate::core::{Event, PoolSizes, Record};
use quoin_api::Frame;
use quoin_api::frame::{Opaque, OpeningsFrame, Reply, Unavailable};
use quoin_core::payload::{CreateKey, KeyChange};
use quoin_core::{
    CustodyMethod, NodeIndex, Payload, PresignatureId, Purpose, Scheme, Signed, SignerSet,
};
use quoin_protocol::combine::{self, CombineReason, CombinedSignature};
use quoin_protocol::{Binding, Opening};

/// A cluster with a treasury key and full pools.
fn vault() -> Net {
    shaped(Shape::default())
}

fn shaped(shape: Shape) -> Net {
    let mut net = Net::with(Shape {
        purpose: Purpose::Treasury,
        ..shape
    });
    net.advance(1_000);
    net
}

/// The opening inside a reply that must hold one.
fn opening(reply: Option<Reply>) -> Vec<u8> {
    match reply {
        Some(Reply::Opening(bytes)) => bytes,
        other => panic!("no opening: {other:?}"),
    }
}

fn read(bytes: &[u8]) -> Opening {
    let signed = Signed::<Opening>::from_bytes(bytes).unwrap();
    signed.unverified().clone()
}

fn gone() -> Option<Reply> {
    Some(Reply::Unavailable(Unavailable::PresignatureGone))
}

fn no_lease() -> Option<Reply> {
    Some(Reply::Unavailable(Unavailable::NoLease))
}

/// The first round of all signers.
fn open(net: &mut Net, work: &Work, signers: &SignerSet, id: PresignatureId) -> Vec<Vec<u8>> {
    let ask = |n: NodeIndex| opening(net.ask(n.get(), work, signers, id));
    signers.iter().map(ask).collect()
}

/// Shows openings to a node, and gives its only reply, if there is one.
fn show(
    net: &mut Net,
    index: u8,
    work: &Work,
    id: PresignatureId,
    openings: &[Vec<u8>],
) -> Option<Reply> {
    net.replies(index);
    let frame = OpeningsFrame {
        attempt: 1,
        request_id: work.id,
        presignature: id,
        openings: openings.iter().cloned().map(Opaque).collect(),
    };
    net.gateway_says(index, Frame::Openings(frame));
    let mut replies = net.replies(index);
    assert!(replies.len() <= 1, "{replies:?}");
    replies.pop()
}

/// What the answers to `shown` combine to.
fn combined(
    net: &Net,
    work: &Work,
    shown: &[Vec<u8>],
    replies: &[(NodeIndex, Option<Reply>)],
) -> Result<CombinedSignature, CombineReason> {
    let (key, account) = (&net.cluster.key, &net.cluster.account);
    let decoded = quoin_chain::decode(&work.payload, account, key.scheme).unwrap();
    let openings = shown.iter().map(|bytes| read(bytes));
    let openings = openings.map(|o| (o.node, o)).collect();
    let answers = replies.iter().map(|(node, reply)| {
        let answer = answer(reply);
        let partial = combine::Answer {
            view: answer.view,
            body: answer.partial,
        };
        (*node, partial)
    });
    let answers: Vec<_> = answers.collect();
    let signers = SignerSet::from_unordered(answers.iter().map(|(n, _)| *n).collect()).unwrap();
    let (tweak, digest) = (&combine::ROOT_TWEAK, decoded.digest());
    let made = combine::finish_treasury(key, &signers, tweak, digest, &openings, &answers);
    made.map_err(|fault| fault.reason)
}

/// A request of nodes 1 and 2 after its first round.
fn opened() -> (Net, Work, PresignatureId, Vec<Vec<u8>>) {
    let mut net = vault();
    let signers = set(&[1, 2]);
    let id = net.lease(&signers, 1)[0];
    let work = net.cluster.pay(1, 0, FRIEND);
    let openings = open(&mut net, &work, &signers, id);
    (net, work, id, openings)
}

/// The opening of `node` with something changed, signed by `signer`.
fn spoiled(
    cluster: &Cluster,
    bytes: &[u8],
    signer: u8,
    spoil: impl FnOnce(&mut Opening),
) -> Vec<u8> {
    let mut opening = read(bytes);
    spoil(&mut opening);
    Signed::sign(opening, &cluster.identities[&node(signer)]).to_bytes()
}

fn rejected_for(reply: Option<Reply>, words: &str) {
    match reply {
        Some(Reply::Rejected(refusal)) => {
            assert_eq!(refusal.field, "openings");
            assert!(refusal.message.contains(words), "{refusal:?}");
        }
        other => panic!("not rejected: {other:?}"),
    }
}

fn recorded(record: &Record) -> Option<&Binding> {
    match record {
        Record::Decision(decision) => decision.binding.as_ref(),
        Record::Consumed(consumed) => consumed.binding.as_ref(),
        _ => None,
    }
}

#[test]
fn two_rounds_make_a_signature_and_charge_once() {
    let (mut net, work, id, openings) = opened();
    let replies: Vec<_> = [1, 2]
        .map(|n| (node(n), show(&mut net, n, &work, id, &openings)))
        .into();
    combined(&net, &work, &openings, &replies).unwrap();
    for n in [1, 2] {
        assert_eq!(net.spent(n), (1, 1));
    }
    // The receipt shows the head that covers the binding.
    let head = net.host(1).head(usize::MAX);
    assert_eq!(answer(&replies[0].1).head, head);
}

#[test]
fn a_set_of_three_signs_too() {
    let mut net = shaped(Shape {
        nodes: 5,
        threshold: 3,
        ..Shape::default()
    });
    let signers = set(&[1, 3, 4]);
    let id = net.lease(&signers, 1)[0];
    let work = net.cluster.pay(1, 0, FRIEND);
    let openings = open(&mut net, &work, &signers, id);
    let replies: Vec<_> = [1, 3, 4]
        .map(|n| (node(n), show(&mut net, n, &work, id, &openings)))
        .into();
    combined(&net, &work, &openings, &replies).unwrap();
}

#[test]
fn an_opening_leaves_only_after_its_binding_is_durable() {
    let mut net = vault();
    let signers = set(&[1, 2]);
    let id = net.lease(&signers, 1)[0];
    let work = net.cluster.pay(1, 0, FRIEND);
    net.host(1).hold = true;
    assert_eq!(net.ask(1, &work, &signers, id), None);
    let written = net.host(1).unsynced();
    let binding = written.last().and_then(recorded).unwrap().clone();
    net.release(1);
    let opening = opening(net.replies(1).pop());
    let signed = Signed::<Opening>::from_bytes(&opening).unwrap();
    let credential = net.cluster.identities[&node(1)].public();
    assert_eq!(signed.verify(&credential).unwrap().binding, binding);
    // The binding is of this request, and names the boots of both signers.
    let account = &net.cluster.account;
    let decoded = quoin_chain::decode(&work.payload, account, Scheme::Model).unwrap();
    assert_eq!(
        *decoded.digest(),
        quoin_chain::Digest::Prehash(binding.digest)
    );
    let boots = [1, 2].map(|n| net.core(n).boot());
    assert_eq!((binding.presignature, &binding.boots[..]), (id, &boots[..]));
}

#[test]
fn an_opening_never_leaves_after_the_disk_failed() {
    let mut net = vault();
    let signers = set(&[1, 2]);
    let id = net.lease(&signers, 1)[0];
    let work = net.cluster.pay(1, 0, FRIEND);
    net.host(1).hold = true;
    net.ask(1, &work, &signers, id);
    net.feed(node(1), Event::StorageFailed);
    net.release(1);
    net.advance(1_000);
    assert_eq!(net.replies(1), []);
}

#[test]
fn the_same_request_gets_the_same_opening_and_no_second_binding() {
    let (mut net, work, id, openings) = opened();
    let written = net.host(1).records().len();
    for _ in 0..2 {
        let again = opening(net.ask(1, &work, &set(&[1, 2]), id));
        assert_eq!(again, openings[0]);
    }
    assert_eq!(net.host(1).records().len(), written);
    // It is still good for its one answer.
    answer(&show(&mut net, 1, &work, id, &openings));
}

#[test]
fn a_presignature_opens_for_one_request_only() {
    let (mut net, _, id, _) = opened();
    let other = net.cluster.pay(2, 1, FRIEND);
    assert_eq!(net.ask(1, &other, &set(&[1, 2]), id), gone());
    // Under no other set either, and not after a restart.
    assert_eq!(net.ask(1, &other, &set(&[1, 3]), id), gone());
    net.restart(1);
    net.advance(1_000);
    assert_eq!(net.ask(1, &other, &set(&[1, 2]), id), gone());
}

#[test]
fn a_request_opens_with_one_of_its_own_presignatures_only() {
    let mut net = vault();
    let signers = set(&[1, 2]);
    let ids = net.lease(&signers, 2);
    let (first, second) = (net.cluster.pay(1, 0, FRIEND), net.cluster.pay(2, 1, FRIEND));
    let of_first = open(&mut net, &first, &signers, ids[0]);
    let of_second = open(&mut net, &second, &signers, ids[1]);
    // The openings of one request finish nothing of another.
    assert_eq!(show(&mut net, 1, &second, ids[0], &of_first), gone());
    assert_eq!(show(&mut net, 1, &first, ids[1], &of_second), gone());
    answer(&show(&mut net, 1, &first, ids[0], &of_first));
}

/// Row 33 of the construction's table: what is signed by its node and is another binding.
#[test]
fn an_opening_for_another_digest_is_refused_and_burns_the_presignature() {
    let spoils: [fn(&mut Opening); 5] = [
        |o| o.binding.digest[0] ^= 1,
        |o| o.binding.tweak[0] ^= 1,
        |o| o.binding.presignature.index += 1,
        |o| o.binding.boots[0].generation.0 += 1,
        |o| o.binding.epoch.0 += 1,
    ];
    for spoil in spoils {
        let (mut net, work, id, openings) = opened();
        let wrong = spoiled(&net.cluster, &openings[1], 2, spoil);
        let shown = [openings[0].clone(), wrong];
        let refused = Some(Reply::OpeningsRefused(Some(node(2))));
        assert_eq!(show(&mut net, 1, &work, id, &shown), refused);
        assert_eq!(show(&mut net, 1, &work, id, &openings), gone());
    }
}

#[test]
fn a_forged_opening_is_refused_with_its_name_and_spoils_nothing() {
    let (mut net, work, id, openings) = opened();
    let forged = spoiled(&net.cluster, &openings[1], 3, |_| {});
    let shown = [openings[0].clone(), forged];
    let reply = show(&mut net, 1, &work, id, &shown);
    rejected_for(reply, "node 2 has not signed its opening");
    let stranger = spoiled(&net.cluster, &openings[1], 3, |o| o.node = node(3));
    let shown = [openings[0].clone(), openings[1].clone(), stranger];
    let reply = show(&mut net, 1, &work, id, &shown);
    rejected_for(reply, "node 3 is no signer");
    let shown = [
        openings[0].clone(),
        openings[1].clone(),
        openings[1].clone(),
    ];
    let reply = show(&mut net, 1, &work, id, &shown);
    rejected_for(reply, "node 2 has two openings");
    let shown = [openings[0].clone(), vec![7; 40]];
    rejected_for(show(&mut net, 1, &work, id, &shown), "cannot be read");
    answer(&show(&mut net, 1, &work, id, &openings));
}

#[test]
fn nobody_answers_while_an_opening_is_missing() {
    let (mut net, work, id, openings) = opened();
    for (missing, shown) in [(2, &openings[..1]), (1, &openings[1..]), (1, &[])] {
        let words = format!("the opening of node {missing} is missing");
        rejected_for(show(&mut net, 1, &work, id, shown), &words);
    }
    answer(&show(&mut net, 1, &work, id, &openings));
}

#[test]
fn the_own_opening_is_the_one_that_was_sent() {
    let (mut net, work, id, openings) = opened();
    let other = spoiled(&net.cluster, &openings[0], 1, |o| o.entropy = Some([1; 32]));
    let shown = [other, openings[1].clone()];
    let refused = Some(Reply::OpeningsRefused(Some(node(1))));
    assert_eq!(show(&mut net, 1, &work, id, &shown), refused);
}

/// A signer that makes two openings, and a gateway that shows each of the others another one: of
/// one binding there is only one, so somebody refuses, and the others' answers are too few.
#[test]
fn different_openings_for_different_signers_make_no_signature() {
    let mut net = shaped(Shape {
        nodes: 5,
        threshold: 3,
        ..Shape::default()
    });
    let signers = set(&[1, 2, 3]);
    let id = net.lease(&signers, 1)[0];
    let work = net.cluster.pay(1, 0, FRIEND);
    let openings = open(&mut net, &work, &signers, id);
    let second = spoiled(&net.cluster, &openings[2], 3, |o| o.entropy = Some([1; 32]));
    let others = [openings[0].clone(), openings[1].clone(), second];
    let refused = Some(Reply::OpeningsRefused(Some(node(3))));
    assert_eq!(show(&mut net, 2, &work, id, &others), refused);
    assert_eq!(show(&mut net, 2, &work, id, &openings), gone());
    let replies = [1, 3].map(|n| (node(n), show(&mut net, n, &work, id, &openings)));
    for shown in [&openings[..], &others[..]] {
        combined(&net, &work, shown, &replies).unwrap_err();
    }
}

#[test]
fn openings_that_are_shown_twice_are_answered_once() {
    let (mut net, work, id, openings) = opened();
    answer(&show(&mut net, 1, &work, id, &openings));
    assert_eq!(show(&mut net, 1, &work, id, &openings), gone());
    // Nor is the request opened again with what it has used up.
    assert_eq!(net.ask(1, &work, &set(&[1, 2]), id), gone());
}

#[test]
fn a_signer_that_is_missing_burns_the_presignature_and_charges_nothing_more() {
    let (mut net, work, _, _) = opened();
    // Node 2 never comes back: the gateway asks nodes 1 and 3.
    net.crash(2);
    let signers = set(&[1, 3]);
    let id = net.lease(&signers, 1)[0];
    let openings = open(&mut net, &work, &signers, id);
    let replies: Vec<_> = [1, 3]
        .map(|n| (node(n), show(&mut net, n, &work, id, &openings)))
        .into();
    combined(&net, &work, &openings, &replies).unwrap();
    assert_eq!(net.spent(1), (1, 1));
    let bound = net.host(1).records();
    let bound: Vec<_> = bound.iter().filter_map(|(_, r)| recorded(r)).collect();
    let [first, second] = bound[..] else {
        panic!("{bound:?}");
    };
    assert_ne!(first.presignature, second.presignature);
    assert_eq!(first.digest, second.digest);
}

#[test]
fn a_restart_between_the_rounds_burns_what_is_bound() {
    let (mut net, work, id, openings) = opened();
    net.restart(1);
    assert_eq!(show(&mut net, 1, &work, id, &openings), gone());
    net.advance(1_000);
    assert_eq!(net.ask(1, &work, &set(&[1, 2]), id), gone());
    // What it had reserved is still counted.
    assert_eq!(net.spent(1), (1, 1));
}

#[test]
fn a_restart_of_another_signer_burns_what_is_bound() {
    let (mut net, work, id, openings) = opened();
    net.restart(2);
    net.advance(1_000);
    assert_eq!(net.core(1).pools.bound.len(), 0);
    assert_eq!(show(&mut net, 1, &work, id, &openings), gone());
}

#[test]
fn what_is_bound_does_not_wait_for_ever() {
    let (mut net, work, id, openings) = opened();
    net.jump(BOUND_MS - 1);
    net.advance(600);
    assert_eq!(net.core(1).pools.bound.len(), 0);
    assert_eq!(show(&mut net, 1, &work, id, &openings), gone());
}

#[test]
fn what_is_bound_lapses_between_two_ticks_too() {
    let (mut net, work, id, openings) = opened();
    net.now = net.now.plus(BOUND_MS);
    assert_eq!(show(&mut net, 1, &work, id, &openings), gone());
    assert_eq!(net.ask(1, &work, &set(&[1, 2]), id), no_lease());
}

#[test]
fn a_key_that_goes_out_of_use_between_the_rounds_answers_nothing() {
    let (mut net, work, id, openings) = opened();
    let suspend = net.cluster.change_key(9, KeyChange::Suspend);
    net.gateway_says(1, Frame::Request(suspend.frame(None)));
    let suspended = Some(Reply::Unavailable(Unavailable::PresignatureGone));
    assert_eq!(show(&mut net, 1, &work, id, &openings), suspended);
    let ask = net.ask(1, &work, &set(&[1, 2]), id);
    assert_eq!(ask, Some(Reply::Unavailable(Unavailable::KeySuspended)));
}

#[test]
fn nothing_is_answered_without_a_lease_and_later_with_one() {
    let (mut net, work, id, openings) = opened();
    net.cut_off = net.hosts.keys().copied().collect();
    net.advance(5_500);
    assert_eq!(show(&mut net, 1, &work, id, &openings), no_lease());
    net.cut_off.clear();
    net.advance(1_000);
    answer(&show(&mut net, 1, &work, id, &openings));
}

#[test]
fn what_was_frozen_or_vetoed_between_the_rounds_is_not_answered() {
    let statement = |net: &Net, work: &Work, veto: bool| {
        let (cluster, principal) = (net.cluster.id, "wanda".parse().unwrap());
        let (version, at) = (quoin_core::cbor::Version, quoin_core::TimeMs(0));
        if veto {
            let subject = quoin_policy::Subject::Request(work.id);
            let veto = quoin_policy::Veto {
                version,
                cluster,
                subject,
                principal,
                at,
            };
            return Frame::Veto(Signed::sign(veto, &net.cluster.watcher).to_bytes());
        }
        let freeze = quoin_policy::Freeze {
            version,
            cluster,
            id: quoin_core::FreezeId([1; 16]),
            principal,
            scope: quoin_policy::FreezeScope::All,
            level: quoin_policy::FreezeLevel::Hard,
            at,
            reason: "a test".to_owned(),
        };
        Frame::Freeze(Signed::sign(freeze, &net.cluster.watcher).to_bytes())
    };
    for veto in [false, true] {
        let (mut net, work, id, openings) = opened();
        let frame = statement(&net, &work, veto);
        net.gateway_says(1, frame);
        for index in 1..=2 {
            assert_eq!(show(&mut net, index, &work, id, &openings), gone());
        }
    }
}

#[test]
fn what_was_permitted_under_the_charter_before_is_not_answered() {
    let (mut net, work, id, openings) = opened();
    let current = net.cluster.genesis.unverified().clone();
    let next = net.cluster.next_charter(&current, "next");
    let next = net.cluster.certified(next, 2);
    net.gateway_says(1, Frame::Charter(next.to_bytes()));
    assert_eq!(net.core(1).charter().unverified().number.0, 1);
    net.advance(1_000);
    assert_eq!(show(&mut net, 1, &work, id, &openings), gone());
}

#[test]
fn openings_are_taken_from_gateways_only() {
    let (mut net, work, id, openings) = opened();
    net.replies(1);
    let frame = OpeningsFrame {
        attempt: 1,
        request_id: work.id,
        presignature: id,
        openings: openings.iter().cloned().map(Opaque).collect(),
    };
    net.node_says(3, 1, Frame::Openings(frame));
    assert!(net.host(1).sent.is_empty());
    answer(&show(&mut net, 1, &work, id, &openings));
}

#[test]
fn more_bindings_than_the_limit_burn_the_oldest() {
    let mut net = Net::off(Shape {
        purpose: Purpose::Treasury,
        ..Shape::default()
    });
    net.pool = PoolSizes {
        low: BOUND_MAX + 1,
        batch: 256,
        reserve: 0,
    };
    net.start_all();
    net.advance(1_000);
    let signers = set(&[1, 2]);
    let half = u16::try_from(BOUND_MAX / 2).unwrap();
    let ids = [half, half, 1].map(|want| {
        let ids = net.lease(&signers, want);
        // A pool on which somebody draws is filled again.
        net.advance(1_000);
        ids
    });
    let ids = ids.concat();
    assert_eq!(ids.len(), BOUND_MAX + 1);
    let work = net.cluster.pay(1, 0, FRIEND);
    for (place, id) in ids.iter().enumerate() {
        // The first is the oldest.
        net.now = net.now.plus(u64::from(place == 1));
        opening(net.ask(1, &work, &signers, *id));
    }
    assert_eq!(net.core(1).pools.bound.len(), BOUND_MAX);
    let of = |net: &Net, n: usize| net.core(1).pools.bound.has(&ids[n]);
    assert!(!of(&net, 0) && of(&net, 1) && of(&net, BOUND_MAX));
}

#[test]
fn presignatures_of_a_treasury_key_die_after_an_hour() {
    let mut net = vault();
    let signers = set(&[1, 2]);
    let id = net.lease(&signers, 1)[0];
    net.jump(60 * 60 * 1000);
    net.advance(1_000);
    let work = net.cluster.pay(1, 0, FRIEND);
    assert_eq!(net.ask(1, &work, &signers, id), gone());
}

#[test]
fn all_nodes_make_a_treasury_key_and_presign_for_it() {
    let mut net = Net::calm();
    let create = Payload::CreateKey(CreateKey {
        name: "vault".parse().unwrap(),
        scheme: Scheme::Model,
        purpose: Purpose::Treasury,
    });
    let like = net.cluster.make_key(1, "vault");
    let mut stamp = Signed::from_bytes(&like.stamp)
        .map(|s: Signed<quoin_core::Stamp>| s.unverified().clone())
        .unwrap();
    stamp.purpose = Purpose::Treasury;
    stamp.payload_hash = create.hash();
    let mut local = stamp.clone();
    local.custody = CustodyMethod::Local;
    // One machine alone is no treasury.
    let refused = net.cluster.signed(local, create.clone());
    net.gateway_says(1, Frame::Request(refused.frame(None)));
    let reply = net.replies(1).pop();
    assert!(
        matches!(&reply, Some(Reply::Rejected(r)) if r.field == "payload.purpose"),
        "{reply:?}"
    );
    let work = net.cluster.signed(stamp, create);
    for index in 1..=3 {
        net.gateway_says(index, Frame::Request(work.frame(None)));
    }
    net.advance(2_000);
    let made = net.core(1).keys.values();
    let made = made
        .filter_map(|e| e.public())
        .find(|p| p.name.as_str() == "vault");
    let key = made.unwrap().key;
    let stats = net.core(1).pool_stats();
    assert!(
        stats.iter().any(|s| s.key == key && s.free > 0),
        "{stats:?}"
    );
}
