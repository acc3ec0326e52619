//! Endorsed shares are kept: a corrupt node that swears never to endorse a record, or is evicted,
//! can still complete its certificate, and then nobody may lack its share (decision 0009).

use super::handover::{entry, epochs, move_key, public, refresh, sealed, sign};
use super::{Net, Shape, node, set};
use crate::core::config::{KEPT_MAX, KEPT_REFRESH_MAX};
use crate::core::keys::Pending;
use crate::core::{Alarm, KeyRecord, Node, Record, RecoverError, share_label};
use quoin_api::Frame;
use quoin_api::epochs::CeremonyAbandoned;
use quoin_api::frame::{KeysFrame, Opaque, PreparedFrame, Reply};
use quoin_core::cbor::{self, Version};
use quoin_core::payload::KeyChange;
use quoin_core::{
    CeremonyId, Certificate, KeyId, KeyOrigin, KeyState, NodeIndex, Purpose, Scheme, SecretBytes,
    ShareEpoch, Signed,
};
use quoin_protocol::backup::{ImportParams, dangerous_deal};
use quoin_protocol::combine::KeyPublic;

/// Node 3 is corrupt: it hears everything and says nothing of what it has.
fn mute(from: NodeIndex, _: NodeIndex, frame: &Frame) -> bool {
    let telling = matches!(frame, Frame::Prepared(_) | Frame::Keys(_) | Frame::Held(_));
    from == node(3) && telling
}

/// The corrupt node's oath over a record, which is validly signed.
fn oath(net: &Net, record: &KeyPublic) -> Frame {
    let statement = CeremonyAbandoned {
        version: Version,
        cluster: net.cluster.id,
        key: record.key,
        epoch: record.epoch,
        boot: net.core(3).boot(),
        record: record.shares_hash(),
    };
    let third = &net.cluster.identities[&node(3)];
    Frame::CeremonyAbandoned(Signed::sign(statement, third).to_bytes())
}

/// The certificate of a record, as the corrupt node completes it.
fn certificate(net: &Net, record: &KeyPublic, by: &[u8]) -> Frame {
    let mut certificate = Certificate::unsigned(record.clone());
    for index in by {
        certificate.endorse(&net.cluster.identities[&node(*index)]);
    }
    Frame::Keys(KeysFrame {
        certificates: vec![Opaque(certificate.to_bytes())],
    })
}

fn restart(net: &mut Net, nodes: &[u8], wanted: bool) {
    for index in nodes.iter().filter(|_| wanted) {
        net.restart(*index);
    }
}

fn has_alarm(net: &Net, index: u8, wanted: fn(&Alarm) -> bool) -> bool {
    net.hosts[&node(index)].alarms.iter().any(wanted)
}

fn equivocated(alarm: &Alarm) -> bool {
    *alarm == Alarm::Equivocated(node(3))
}

fn share_missing(alarm: &Alarm) -> bool {
    matches!(alarm, Alarm::ShareMissing(..))
}

fn holds_current(net: &Net, index: u8, key: KeyId) -> bool {
    let entry = net.core(index).keys.get(&key);
    let current = entry.and_then(|e| e.current.as_ref());
    current.is_some_and(|c| c.share.is_some())
}

fn refresh_under_attack(restarts: bool) {
    let mut net = Net::calm();
    net.filter = Some(mute);
    refresh(&mut net, 1);
    let record = entry(&net, 1).next.as_ref().unwrap().public().clone();
    for index in [1, 2] {
        let oath = oath(&net, &record);
        net.node_says(3, index, oath);
        assert!(entry(&net, index).next.is_none());
    }
    restart(&mut net, &[1, 2], restarts);
    for index in [1, 2] {
        assert_eq!(entry(&net, index).kept.len(), 1, "node {index}");
        assert_eq!(sealed(&net, index), [0, 1], "node {index}");
    }
    // Long after the overlap would be over, too.
    net.jump(10 * 60_000);
    net.advance(2_000);
    assert_eq!(sealed(&net, 1), [0, 1]);
    let whole = certificate(&net, &record, &[1, 2, 3]);
    net.node_says(3, 1, whole);
    net.settle();
    // Node 1 hands it to node 2.
    for index in [1, 2] {
        assert_eq!(public(&net, index), record, "node {index}");
        assert!(holds_current(&net, index, record.key), "node {index}");
        assert!(has_alarm(&net, index, equivocated), "node {index}");
        assert!(!has_alarm(&net, index, share_missing), "node {index}");
    }
    restart(&mut net, &[1, 2, 3], restarts);
    net.filter = None;
    net.advance(6_000);
    assert_eq!(epochs(&net), [1, 1, 1]);
    assert_eq!(sign(&mut net, 1, &set(&[1, 2])), ShareEpoch(1));
    net.jump(60_000);
    net.advance(6_000);
    for index in 1..=3 {
        assert_eq!(sealed(&net, index), [1], "node {index}");
        assert!(entry(&net, index).kept.is_empty());
    }
    restart(&mut net, &[1, 2, 3], restarts);
    assert_eq!(epochs(&net), [1, 1, 1]);
}

#[test]
fn a_node_that_swears_and_then_certifies_a_refresh_finds_every_share_in_its_place() {
    refresh_under_attack(false);
}

#[test]
fn a_node_that_swears_and_then_certifies_a_refresh_gains_nothing_by_restarts() {
    refresh_under_attack(true);
}

fn birth_under_attack(restarts: bool) {
    let mut net = Net::calm();
    net.filter = Some(mute);
    let work = net.cluster.make_key(1, "fresh");
    for index in 1..=3 {
        net.gateway_says(index, Frame::Request(work.frame(None)));
    }
    net.settle();
    let key = crate::core::ceremonies::key_id(net.cluster.id, work.id);
    let record = net.core(1).keys[&key].public().unwrap().clone();
    net.replies(1);
    for index in [1, 2] {
        let oath = oath(&net, &record);
        net.node_says(3, index, oath);
    }
    net.settle();
    let refused = |r: &[Reply]| matches!(r, [.., Reply::Rejected(why)] if why.message.contains("new request id"));
    // Who asked hears at once that the request makes no key.
    let told = net.replies(1);
    assert!(refused(&told), "{told:?}");
    restart(&mut net, &[1, 2], restarts);
    net.advance(1_000);
    for index in [1, 2] {
        assert!(!net.core(index).name_is_taken(&"fresh".parse().unwrap()));
        assert_eq!(net.core(index).keys[&key].kept.len(), 1);
        net.replies(index);
        net.gateway_says(index, Frame::Request(work.frame(None)));
        let again = net.replies(index);
        assert!(refused(&again), "{again:?}");
    }
    let whole = certificate(&net, &record, &[1, 2, 3]);
    net.node_says(3, 2, whole);
    net.settle();
    restart(&mut net, &[1, 2], restarts);
    for index in [1, 2] {
        assert!(holds_current(&net, index, key), "node {index}");
        assert!(has_alarm(&net, index, equivocated), "node {index}");
        assert!(net.core(index).name_is_taken(&"fresh".parse().unwrap()));
        assert_eq!(net.core(index).keys_active(), 2);
        let stored = |r: &Record| matches!(r, Record::KeyPending(k) if k.key == key);
        let records = net.host(index).records();
        assert_eq!(records.iter().filter(|(_, r)| stored(r)).count(), 1);
    }
}

#[test]
fn a_node_that_swears_and_then_certifies_a_birth_makes_no_key_that_is_only_its_own() {
    birth_under_attack(false);
}

#[test]
fn a_birth_that_was_given_up_is_remembered_over_restarts() {
    birth_under_attack(true);
}

/// Node 3 is evicted while a refresh waits for its endorsement; the reshare without it is stored by
/// the others and not certified. Gives the records of both.
fn evicted(restarts: bool) -> (Net, KeyPublic, KeyPublic) {
    let mut net = Net::with(Shape {
        spare: 1,
        cap: 10_000,
        ..Shape::default()
    });
    net.advance(1_000);
    net.filter = Some(mute);
    refresh(&mut net, 1);
    let first = entry(&net, 1).next.as_ref().unwrap().public().clone();
    net.crash(3);
    net.amend(&[1, 2, 4], 2);
    net.filter = Some(|_, _, frame: &Frame| matches!(frame, Frame::Prepared(_)));
    let dealers = vec![node(1), node(2)];
    move_key(&mut net, 2, &KeyChange::Reshare { dealers });
    restart(&mut net, &[1, 2], restarts);
    for index in [1, 2] {
        assert_eq!(entry(&net, index).kept.len(), 1, "node {index}");
        assert_eq!(sealed(&net, index), [0, 1, 1], "node {index}");
    }
    let second = entry(&net, 1).next.as_ref().unwrap().public().clone();
    assert!(second.outranks(&first));
    (net, first, second)
}

fn eviction_under_attack(restarts: bool) {
    let (mut net, first, second) = evicted(restarts);
    let key = first.key;
    let whole = certificate(&net, &first, &[1, 2, 3]);
    // Node 1 learns the old record before the new one is certified, and has its share.
    net.filter = Some(|_, _, frame: &Frame| matches!(frame, Frame::Prepared(_) | Frame::Keys(_)));
    net.node_says(2, 1, whole.clone());
    net.settle();
    assert_eq!(public(&net, 1), first);
    assert!(holds_current(&net, 1, key));
    restart(&mut net, &[1], restarts);
    assert_eq!(public(&net, 1), first);
    // The new one wins at every node, whatever it heard first.
    let newer = certificate(&net, &second, &[1, 2, 4]);
    for index in [1, 2, 4] {
        net.node_says(if index == 1 { 2 } else { 1 }, index, newer.clone());
        net.settle();
        net.node_says(if index == 1 { 2 } else { 1 }, index, whole.clone());
        net.settle();
    }
    restart(&mut net, &[1, 2, 4], restarts);
    for index in [1, 2, 4] {
        assert_eq!(public(&net, index), second, "node {index}");
        assert!(holds_current(&net, index, key), "node {index}");
        assert!(!has_alarm(&net, index, share_missing) || index == 4);
    }
    net.filter = None;
    net.advance(6_000);
    sign(&mut net, 1, &set(&[1, 4]));
    net.jump(60_000);
    net.advance(6_000);
    // What has the number of the epoch in use is not older than it.
    assert_eq!(sealed(&net, 1), [1, 1]);
    refresh(&mut net, 3);
    net.jump(60_000);
    net.advance(6_000);
    for index in [1, 2, 4] {
        assert_eq!(sealed(&net, index), [2], "node {index}");
    }
    restart(&mut net, &[1, 2, 4], restarts);
}

#[test]
fn an_evicted_node_that_certifies_the_old_record_finds_every_share_in_its_place() {
    eviction_under_attack(false);
}

#[test]
fn an_evicted_node_gains_nothing_by_restarts() {
    eviction_under_attack(true);
}

/// Two certificates of one number and charter: node 3 swears over the first, endorses the second,
/// and then the first.
fn rivals(ceremony: u8) -> (Net, KeyPublic, KeyPublic) {
    let mut net = Net::calm();
    net.host(3).hold = true;
    refresh(&mut net, 1);
    let first = entry(&net, 1).next.as_ref().unwrap().public().clone();
    net.restart(3);
    net.advance(3_000);
    assert_eq!(entry(&net, 2).kept.len(), 1);
    refresh(&mut net, ceremony);
    assert_eq!(epochs(&net), [1, 1, 1]);
    let second = public(&net, 1);
    assert_ne!(first, second);
    (net, first, second)
}

#[test]
fn of_two_certificates_of_one_epoch_all_nodes_choose_the_same_and_keep_both_shares() {
    let mut winners = [0u8, 0];
    for ceremony in 10..60 {
        if winners.iter().all(|w| *w > 0) {
            break;
        }
        let (mut net, first, second) = rivals(ceremony);
        let whole = certificate(&net, &first, &[1, 2, 3]);
        // Only one node hears of it from the corrupt one; the others hear of it from that one.
        net.node_says(3, 1, whole);
        net.advance(6_000);
        let first_wins = first.outranks(&second);
        assert_ne!(first_wins, second.outranks(&first));
        winners[usize::from(first_wins)] += 1;
        let winner = if first_wins { &first } else { &second };
        for index in 1..=3 {
            assert_eq!(public(&net, index), *winner, "node {index}");
        }
        net.jump(60_000);
        net.advance(6_000);
        for index in [1, 2] {
            assert!(holds_current(&net, index, first.key), "node {index}");
            let rivals = sealed(&net, index).into_iter().filter(|e| *e == 1);
            assert_eq!(rivals.count(), 2, "node {index}");
            assert_eq!(has_alarm(&net, index, equivocated), first_wins);
        }
        net.advance(3_000);
        assert_eq!(sign(&mut net, 1, &set(&[1, 2])), ShareEpoch(1));
        for index in 1..=3 {
            net.restart(index);
            assert_eq!(public(&net, index), *winner, "node {index}");
        }
    }
    assert!(winners.iter().all(|w| *w > 0), "{winners:?}");
}

#[test]
fn a_kept_share_is_erased_only_when_all_hold_a_later_epoch() {
    let mut nets = (10..60).map(rivals);
    let (mut net, ..) = nets
        .find(|(_, first, second)| second.outranks(first))
        .unwrap();
    net.jump(60_000);
    net.advance(6_000);
    assert_eq!(sealed(&net, 1), [1, 1]);
    net.filter = Some(|from, to, frame: &Frame| {
        (from == node(3) || to == node(3)) && matches!(frame, Frame::Held(_))
    });
    refresh(&mut net, 100);
    net.jump(60_000);
    net.advance(6_000);
    assert_eq!(sealed(&net, 1), [1, 1, 2]);
    net.restart(1);
    net.filter = None;
    net.advance(6_000);
    assert_eq!(sealed(&net, 1), [2]);
    net.restart(1);
    assert!(entry(&net, 1).kept.is_empty());
    assert_eq!(entry(&net, 1).erased.len(), 2);
}

#[test]
fn a_record_that_this_node_has_not_endorsed_is_dropped_with_its_share() {
    let mut net = Net::calm();
    net.filter = Some(mute);
    net.host(1).hold = true;
    refresh(&mut net, 1);
    let record = entry(&net, 1).next.as_ref().unwrap().public().clone();
    let oath = oath(&net, &record);
    net.node_says(3, 1, oath);
    net.release(1);
    assert!(entry(&net, 1).next.is_none() && entry(&net, 1).kept.is_empty());
    assert_eq!(sealed(&net, 1), [0]);
    net.restart(1);
    assert_eq!(sealed(&net, 1), [0]);
}

#[test]
fn nobody_swears_over_what_it_has_endorsed() {
    let mut net = Net::calm();
    net.filter = Some(mute);
    refresh(&mut net, 1);
    let record = entry(&net, 1).next.as_ref().unwrap().public().clone();
    let of_three = oath(&net, &record);
    net.node_says(3, 1, of_three);
    // Node 2 has not heard it; it asks node 1, and hears it from there.
    net.filter = Some(|from, _, frame: &Frame| {
        mute(from, from, frame) || matches!(frame, Frame::CeremonyAbandoned(_))
    });
    let frame = |record: &KeyPublic| {
        Frame::Prepared(PreparedFrame {
            key: record.key,
            endorsements: Vec::new(),
            wants_reply: true,
            epoch: record.epoch,
            record: record.shares_hash(),
        })
    };
    net.host(1).sent.clear();
    net.node_says(2, 1, frame(&record));
    let by = |f: &Frame| match f {
        Frame::CeremonyAbandoned(bytes) => {
            let signed = Signed::<CeremonyAbandoned>::from_bytes(bytes).unwrap();
            Some(signed.unverified().boot.node)
        }
        _ => None,
    };
    let oaths: Vec<_> = net.host(1).sent.iter().filter_map(|(_, f)| by(f)).collect();
    assert_eq!(oaths, [node(3)]);
    // A destroyed key's records are forgotten, so nothing is sworn about it.
    let key = record.key;
    net.act(1, |core, _| {
        core.keys.get_mut(&key).unwrap().state = KeyState::Destroyed;
    });
    net.host(1).sent.clear();
    let mut unknown = record;
    unknown.transcript = [9; 32];
    net.node_says(2, 1, frame(&unknown));
    net.settle();
    assert!(!net.host(1).sent.iter().any(|(_, f)| by(f).is_some()));
}

#[test]
fn kept_records_are_bounded_and_leave_room_for_a_reshare_without_the_node_at_fault() {
    let mut net = Net::calm();
    for count in 1..=KEPT_REFRESH_MAX {
        net.host(3).hold = true;
        refresh(&mut net, u8::try_from(10 + count).unwrap());
        net.restart(3);
        net.advance(3_000);
        assert_eq!(entry(&net, 1).kept.len(), count);
    }
    let key = net.cluster.key.key;
    let why = net.core(1).succession_refused(key, &KeyChange::Refresh);
    assert!(why.is_some_and(|w| w.contains("reshare")), "{why:?}");
    let dealers = vec![node(1), node(2)];
    let reshare = KeyChange::Reshare { dealers };
    assert_eq!(net.core(1).succession_refused(key, &reshare), None);
    move_key(&mut net, 100, &reshare);
    assert_eq!(epochs(&net), [1, 1, 1]);
    net.restart(1);
    assert_eq!(entry(&net, 1).kept.len(), KEPT_REFRESH_MAX);
    // Over the bound nothing is stored any more.
    net.act(1, |core, _| {
        let entry = core.keys.get_mut(&key).unwrap();
        let public = entry.public().unwrap().clone();
        while entry.kept.len() < KEPT_MAX {
            assert!(entry.may_succeed());
            entry.kept.push(Pending::new(public.clone(), None));
        }
        assert!(!entry.may_succeed());
    });
    let why = net.core(1).succession_refused(key, &reshare);
    assert!(why.is_some_and(|w| w.contains("erasure")), "{why:?}");
}

/// Starts node 1 with a share that was put back: an import, whose record claims an origin.
fn restored_import(origin: KeyOrigin) -> Result<Node, RecoverError> {
    let mut net = Net::calm();
    let params = ImportParams {
        cluster: net.cluster.id,
        charter: net.cluster.key.charter,
        ceremony: CeremonyId([40; 16]),
        key: KeyId([41; 16]),
        name: "imported".parse().unwrap(),
        scheme: Scheme::Ecdsa,
        purpose: Purpose::Trading,
        threshold: 2,
        nodes: vec![node(1), node(2), node(3)],
        chain_code: [42; 32],
    };
    let secret = SecretBytes::take(&mut [1; 32]);
    let shares = dangerous_deal(params, &secret, &mut net.rng).unwrap();
    let mut public = shares[0].public.clone();
    public.origin = origin;
    let mut from = net.recovered(1, usize::MAX);
    let record = Record::KeyRestored(KeyRecord {
        key: public.key,
        public: Opaque(cbor::encode(&public)),
        boot: net.core(1).boot(),
    });
    from.records.push((net.now, record));
    let share = shares[0].secret.duplicate_secret();
    from.shares.insert(share_label(&public), share);
    Node::recover(from, &mut Vec::new())
}

#[test]
fn a_start_refuses_an_import_that_claims_to_be_born_here() {
    assert!(restored_import(KeyOrigin::Imported).is_ok());
    let refused = restored_import(KeyOrigin::Born);
    assert!(matches!(refused, Err(RecoverError::Share(_))));
}
