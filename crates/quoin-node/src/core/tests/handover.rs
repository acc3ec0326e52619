//! Handovers: from one share epoch to the next while requests are signed, and what never may be.

use super::cluster::{FRIEND, Work};
use super::net::{answer, gateway};
use super::{Net, Shape, node, set};
use crate::core::{Alarm, Event, Job, KeyEntry, Record};
use quoin_api::Frame;
use quoin_api::epochs::{CeremonyAbandoned, EpochHeld};
use quoin_api::frame::{
    HeldFrame, LeaseGrant, LeaseRequest, Opaque, Reply, SigningHint, Unavailable,
};
use quoin_core::cbor::Version;
use quoin_core::payload::KeyChange;
use quoin_core::{
    CeremonyId, NodeIndex, RequestId, Scheme, ShareEpoch, Signed, SignerSet, SigningIdentity,
};
use quoin_protocol::combine::{self, KeyPublic};

/// Every node begins to move the key, as after a permitted request.
pub(super) fn move_key(net: &mut Net, ceremony: u8, change: &KeyChange) {
    let key = net.cluster.key.key;
    let up: Vec<u8> = net
        .hosts
        .iter()
        .filter(|(_, h)| h.core.is_some())
        .map(|(n, _)| n.get())
        .collect();
    for index in up {
        if net.hosts[&node(index)].core.is_some() {
            net.act(index, |core, turn| {
                core.begin_succession(turn, CeremonyId([ceremony; 16]), key, change);
            });
        }
    }
    net.settle();
}

pub(super) fn refresh(net: &mut Net, ceremony: u8) {
    move_key(net, ceremony, &KeyChange::Refresh);
}

pub(super) fn entry(net: &Net, index: u8) -> &KeyEntry {
    &net.core(index).keys[&net.cluster.key.key]
}

/// The epoch that each node has in use.
pub(super) fn epochs(net: &Net) -> Vec<u32> {
    let up = net.hosts.iter().filter(|(_, h)| h.core.is_some());
    up.map(|(n, _)| entry(net, n.get()).current.as_ref().unwrap().number().0)
        .collect()
}

/// Of which epochs each node has a sealed share on its disk.
pub(super) fn sealed(net: &Net, index: u8) -> Vec<u32> {
    let shares = net.hosts[&node(index)].shares();
    let epochs = shares
        .keys()
        .map(|l| l.split('/').nth(2).unwrap().parse().unwrap());
    epochs.collect()
}

pub(super) fn public(net: &Net, index: u8) -> KeyPublic {
    entry(net, index).public().unwrap().clone()
}

/// A lease of one id, as the lender gives it.
fn grant(net: &mut Net, signers: &SignerSet, urgent: bool) -> LeaseGrant {
    let lender = signers.lowest().get();
    net.host(lender).sent.clear();
    let request = LeaseRequest {
        key: net.cluster.key.key,
        set: signers.clone(),
        want: 1,
        urgent,
    };
    net.gateway_says(lender, Frame::LeaseRequest(request));
    let sent = std::mem::take(&mut net.host(lender).sent);
    let grant = sent.into_iter().find_map(|(_, frame)| match frame {
        Frame::LeaseGrant(grant) => Some(grant),
        _ => None,
    });
    grant.unwrap()
}

/// Asks a node with an id of an epoch.
fn ask(net: &mut Net, index: u8, work: &Work, grant: &LeaseGrant) -> Option<Reply> {
    net.replies(index);
    let hint = SigningHint {
        set: grant.set.clone(),
        presignature: grant.ids[0],
        epoch: Some(grant.epoch),
    };
    net.gateway_says(index, Frame::Request(work.frame(Some(hint))));
    net.replies(index).pop()
}

/// Signs as a gateway does: with the certificate of the epoch that the id was lent under.
pub(super) fn sign(net: &mut Net, id: u8, signers: &SignerSet) -> ShareEpoch {
    let work = net.cluster.pay(id, u64::from(id), FRIEND);
    let grant = grant(net, signers, false);
    assert_eq!(grant.ids.len(), 1, "the pool of {signers:?} is empty");
    let listed = net
        .core(signers.lowest().get())
        .list_keys(net.now)
        .certificates;
    let mut records = listed.iter().map(|bytes| {
        quoin_core::Certificate::<KeyPublic>::from_bytes(&bytes.0)
            .unwrap()
            .unverified()
            .clone()
    });
    let key = records
        .find(|r| r.key == net.cluster.key.key && r.epoch == grant.epoch)
        .unwrap();
    let mut answers = Vec::new();
    for signer in signers.iter() {
        let answer = answer(&ask(net, signer.get(), &work, &grant));
        let partial = combine::Answer {
            view: answer.view,
            body: answer.partial,
        };
        answers.push((signer, partial));
    }
    let decoded = quoin_chain::decode(&work.payload, &net.cluster.account, key.scheme).unwrap();
    combine::finish(
        &key,
        signers,
        &combine::ROOT_TWEAK,
        decoded.digest(),
        &answers,
    )
    .unwrap();
    grant.epoch
}

/// In no journal is a share erased before all holders of the next epoch have said that they hold it.
pub(super) fn assert_erased_last(net: &Net) {
    for (index, host) in &net.hosts {
        let mut held = 0;
        let mut current = 0;
        for (_, record) in host.records() {
            match record {
                Record::KeyActive { .. } => (current, held) = (current + 1, 0),
                Record::EpochHeld(_) => held += 1,
                Record::EpochErased { .. } => {
                    assert!(current >= 2, "node {index}");
                    assert_eq!(held, net.hosts.len() - 1, "node {index}");
                }
                _ => {}
            }
        }
    }
}

#[test]
fn a_refresh_gives_every_node_a_new_share_of_the_same_key() {
    let mut net = Net::calm();
    let before: Vec<_> = (1..=3).map(|n| public(&net, n)).collect();
    refresh(&mut net, 1);
    assert_eq!(epochs(&net), [1, 1, 1]);
    for index in 1..=3 {
        let after = public(&net, index);
        let old = &before[usize::from(index) - 1];
        assert_eq!(after.public_key, old.public_key);
        assert_eq!(after.previous, Some(old.shares_hash()));
        assert_ne!(after.public_shares, old.public_shares);
        // Both epochs are on the disk until the overlap is over.
        assert_eq!(sealed(&net, index), [0, 1]);
    }
    net.jump(60_000);
    net.advance(1_500);
    for index in 1..=3 {
        assert_eq!(sealed(&net, index), [1], "node {index}");
        assert!(entry(&net, index).retiring.is_empty());
        assert_eq!(entry(&net, index).erased, [ShareEpoch(0)]);
    }
    assert_erased_last(&net);
    for index in 1..=3 {
        net.restart(index);
    }
    net.advance(2_000);
    assert_eq!(epochs(&net), [1, 1, 1]);
    sign(&mut net, 1, &set(&[1, 3]));
    assert_eq!(entry(&net, 2).erased, [ShareEpoch(0)]);
}

#[test]
fn signing_never_pauses_for_a_refresh_of_a_real_ed25519_key() {
    let mut net = Net::with(Shape {
        scheme: Scheme::Ed25519,
        cap: 10_000,
        ..Shape::default()
    });
    net.advance(2_000);
    let sets = [set(&[1, 2]), set(&[1, 3]), set(&[2, 3])];
    let mut seen = Vec::new();
    for id in 1..=24u8 {
        if id == 6 {
            refresh(&mut net, 1);
        }
        seen.push(sign(&mut net, id, &sets[usize::from(id) % 3]).0);
        net.advance(300);
    }
    assert_eq!(epochs(&net), [1, 1, 1]);
    assert_eq!((seen[0], seen[23]), (0, 1));
    assert_eq!(public(&net, 1).public_key, net.cluster.key.public_key);
}

/// Runs the jobs that a node keeps: all of its batches, and of its ceremonies' one at most.
fn work_on(net: &mut Net, index: u8, ceremonies: bool) {
    let of_ceremony = |job: &Job| matches!(job, Job::StartSuccession(..) | Job::FinishCeremony(..));
    let mut left = usize::from(ceremonies);
    for (id, job) in std::mem::take(&mut net.host(index).jobs) {
        if of_ceremony(&job) && left == 0 {
            net.host(index).jobs.push((id, job));
            continue;
        }
        left -= usize::from(of_ceremony(&job));
        let result = job.run(&mut net.rng);
        net.feed(node(index), Event::Computed(id, result));
    }
    net.settle();
}

#[test]
fn signing_never_pauses_for_a_refresh() {
    let mut net = Net::with(Shape {
        cap: 10_000,
        ..Shape::default()
    });
    net.advance(1_000);
    let sets = [set(&[1, 2]), set(&[1, 3]), set(&[2, 3])];
    let mut seen = Vec::new();
    for id in 1..=200u8 {
        if id == 20 {
            // From here on the ceremony goes on by one job of one node for every request.
            (1..=3).for_each(|n| net.host(n).keep_jobs = true);
            refresh(&mut net, 1);
        }
        if id == 120 {
            (1..=3).for_each(|n| net.host(n).keep_jobs = false);
            net.settle();
        }
        if net.host(1).keep_jobs {
            for _ in 0..4 {
                (1..=3).for_each(|n| work_on(&mut net, n, id % 3 + 1 == n));
            }
        }
        seen.push(sign(&mut net, id, &sets[usize::from(id) % 3]).0);
        net.advance(if id < 120 { 100 } else { 1_000 });
    }
    assert_eq!(epochs(&net), [1, 1, 1]);
    // Both epochs served, each set turned to the new one once and for good, and the old is gone.
    for (place, _) in sets.iter().enumerate() {
        let of_set: Vec<u32> = seen.iter().skip(place).step_by(3).copied().collect();
        assert!(of_set.is_sorted(), "{of_set:?}");
        assert_eq!((of_set[0], of_set[of_set.len() - 1]), (0, 1));
    }
    for index in 1..=3 {
        assert_eq!(sealed(&net, index), [1]);
    }
}

#[test]
fn ids_of_the_old_epoch_are_honoured_for_the_overlap_and_no_longer() {
    let mut net = Net::calm();
    let signers = set(&[1, 2]);
    let old: Vec<LeaseGrant> = (0..3).map(|_| grant(&mut net, &signers, false)).collect();
    assert!(old.iter().all(|g| g.epoch == ShareEpoch(0)));
    refresh(&mut net, 1);
    net.advance(1_000);
    let work = net.cluster.pay(1, 0, FRIEND);
    for index in [1, 2] {
        let reply = ask(&mut net, index, &work, &old[0]);
        assert!(matches!(reply, Some(Reply::Answer(_))), "{reply:?}");
    }
    net.advance(57_000);
    let second = net.cluster.pay(2, 1, FRIEND);
    let reply = ask(&mut net, 1, &second, &old[1]);
    assert!(matches!(reply, Some(Reply::Answer(_))), "{reply:?}");
    // Keep the disk from erasing: it is the clock alone that refuses.
    net.filter = Some(|_, _, frame: &Frame| matches!(frame, Frame::Held(_)));
    net.advance(2_500);
    let third = net.cluster.pay(3, 2, FRIEND);
    for index in [1, 2] {
        let gone = Reply::Unavailable(Unavailable::PresignatureGone);
        assert_eq!(ask(&mut net, index, &third, &old[2]), Some(gone));
    }
    assert_eq!(grant(&mut net, &signers, false).epoch, ShareEpoch(1));
}

#[test]
fn an_id_of_an_epoch_that_has_not_come_here_is_of_an_unknown_key() {
    let mut net = Net::calm();
    let mut lent = grant(&mut net, &set(&[1, 2]), false);
    lent.epoch = ShareEpoch(1);
    let work = net.cluster.pay(1, 0, FRIEND);
    let unknown = Reply::Unavailable(Unavailable::UnknownKey);
    assert_eq!(ask(&mut net, 1, &work, &lent), Some(unknown));
}

#[test]
fn the_old_epoch_is_lent_until_the_new_one_has_a_full_pool() {
    let mut net = Net::calm();
    let signers = set(&[1, 2]);
    // Batches of the new epoch do not come about.
    net.filter = Some(
        |_, _, frame: &Frame| matches!(frame, Frame::Session(s) if matches!(s.session, quoin_api::SessionId::Batch(_))),
    );
    refresh(&mut net, 1);
    assert_eq!(epochs(&net), [1, 1, 1]);
    assert_eq!(grant(&mut net, &signers, false).epoch, ShareEpoch(0));
    net.filter = None;
    net.advance(12_000);
    assert_eq!(grant(&mut net, &signers, false).epoch, ShareEpoch(1));
}

#[test]
fn gateways_hear_of_the_new_certificate_and_see_the_old_one_during_the_overlap() {
    let mut net = Net::calm();
    let hello = quoin_api::frame::Hello {
        version: Version,
        cluster: net.cluster.id,
        build: "test".to_owned(),
        boot: 1,
    };
    net.gateway_says(1, Frame::Hello(hello));
    net.host(1).sent.clear();
    refresh(&mut net, 1);
    let pushed = net
        .host(1)
        .sent
        .iter()
        .filter_map(|(to, frame)| match frame {
            Frame::Keys(keys) if *to == gateway() => Some(keys.certificates.len()),
            _ => None,
        });
    assert_eq!(pushed.collect::<Vec<_>>(), [2]);
    assert_eq!(net.core(1).list_keys(net.now).certificates.len(), 2);
    net.jump(60_000);
    assert_eq!(net.core(1).list_keys(net.now).certificates.len(), 1);
}

#[test]
fn no_share_is_erased_before_every_node_has_said_that_it_holds_the_next() {
    let mut net = Net::calm();
    // Nobody hears from node 3 that it holds the epoch, not even through others.
    net.filter = Some(|from, to, frame: &Frame| {
        (from == node(3) || to == node(3)) && matches!(frame, Frame::Held(_))
    });
    refresh(&mut net, 1);
    assert_eq!(epochs(&net), [1, 1, 1]);
    net.jump(10 * 60_000);
    net.advance(6_000);
    for index in 1..=3 {
        assert_eq!(sealed(&net, index), [0, 1], "node {index}");
        let erased = |r: &Record| matches!(r, Record::EpochErased { .. });
        assert!(!net.host(index).records().iter().any(|(_, r)| erased(r)));
    }
    // Over restarts too.
    net.restart(1);
    net.advance(6_000);
    assert_eq!(sealed(&net, 1), [0, 1]);
    net.filter = None;
    net.advance(6_000);
    for index in 1..=3 {
        assert_eq!(sealed(&net, index), [1], "node {index}");
    }
    assert_erased_last(&net);
}

/// A statement that a node holds epoch 1, and what is false of it.
fn held(net: &Net, by: u8, signer: &SigningIdentity, edit: impl Fn(&mut EpochHeld)) -> Frame {
    let mut statement = EpochHeld {
        version: Version,
        cluster: net.cluster.id,
        key: net.cluster.key.key,
        epoch: ShareEpoch(1),
        boot: net.core(by).boot(),
        record: public(net, 1).shares_hash(),
    };
    edit(&mut statement);
    Frame::Held(HeldFrame {
        key: net.cluster.key.key,
        epoch: ShareEpoch(1),
        statements: vec![Opaque(Signed::sign(statement, signer).to_bytes())],
        wants_reply: false,
    })
}

#[test]
fn forged_statements_of_who_holds_an_epoch_erase_nothing() {
    let mut net = Net::calm();
    net.filter = Some(|from, to, frame: &Frame| {
        (from == node(3) || to == node(3)) && matches!(frame, Frame::Held(_))
    });
    refresh(&mut net, 1);
    net.jump(60_000);
    net.advance(1_500);
    let third = net.cluster.identities[&node(3)].clone();
    let second = net.cluster.identities[&node(2)].clone();
    let forged = [
        held(&net, 3, &second, |_| {}),
        held(&net, 3, &third, |s| s.epoch = ShareEpoch(0)),
        held(&net, 3, &third, |s| s.record = [1; 32]),
        held(&net, 3, &third, |s| {
            s.cluster = quoin_core::ClusterId([1; 32])
        }),
        held(&net, 3, &third, |s| s.key = quoin_core::KeyId([1; 16])),
        held(&net, 2, &second, |_| {}),
    ];
    for (place, frame) in forged.into_iter().enumerate() {
        net.node_says(2, 1, frame);
        net.advance(200);
        assert_eq!(sealed(&net, 1), [0, 1], "{place}");
    }
    // The genuine one is enough, whoever hands it on.
    let genuine = held(&net, 3, &third, |_| {});
    net.node_says(2, 1, genuine);
    net.advance(200);
    assert_eq!(sealed(&net, 1), [1]);
}

#[test]
fn with_one_node_down_a_refresh_comes_to_nothing_and_the_old_epoch_signs_on() {
    let mut net = Net::calm();
    net.crash(3);
    refresh(&mut net, 1);
    net.advance(12_000);
    assert_eq!(epochs(&net), [0, 0]);
    assert_eq!(sign(&mut net, 1, &set(&[1, 2])), ShareEpoch(0));
    assert_eq!(sealed(&net, 1), [0]);
    net.start(node(3));
    net.advance(1_000);
    refresh(&mut net, 1);
    assert_eq!(epochs(&net), [1, 1, 1]);
}

#[test]
fn a_request_that_is_done_does_not_move_the_key_again() {
    let mut net = Net::calm();
    refresh(&mut net, 1);
    refresh(&mut net, 1);
    assert_eq!(epochs(&net), [1, 1, 1]);
    for index in 1..=3 {
        net.restart(index);
    }
    net.advance(1_000);
    refresh(&mut net, 1);
    assert_eq!(epochs(&net), [1, 1, 1]);
    assert!(net.core(1).is_ceremony_done(RequestId([1; 16])));
    refresh(&mut net, 2);
    assert_eq!(epochs(&net), [2, 2, 2]);
}

#[test]
fn a_node_that_missed_every_endorsement_learns_the_certificate_from_a_listing() {
    let mut net = Net::calm();
    net.filter = Some(|_, to, frame: &Frame| {
        to == node(3) && matches!(frame, Frame::Prepared(_) | Frame::Keys(_))
    });
    refresh(&mut net, 1);
    assert_eq!(epochs(&net), [1, 1, 0]);
    net.filter = Some(|_, to, frame: &Frame| to == node(3) && matches!(frame, Frame::Prepared(_)));
    net.advance(6_000);
    assert_eq!(epochs(&net), [1, 1, 1]);
    assert!(entry(&net, 3).current.as_ref().unwrap().share.is_some());
    sign(&mut net, 1, &set(&[1, 3]));
}

#[test]
fn a_disk_restored_from_before_a_refresh_cannot_sign_and_is_found() {
    let mut net = Net::calm();
    let count = net.host(3).records().len();
    refresh(&mut net, 1);
    net.jump(60_000);
    net.advance(1_500);
    assert_eq!(sealed(&net, 3), [1]);
    net.roll_back(3, count);
    net.advance(3_000);
    // The others see a boot that they have seen before, and it sees an epoch that it should have.
    assert!(net.host(1).alarms.contains(&Alarm::RolledBack(node(3))));
    let missing = Alarm::ShareMissing(net.cluster.key.key, ShareEpoch(1));
    assert!(net.host(3).alarms.contains(&missing));
    assert!(entry(&net, 3).current.as_ref().unwrap().share.is_none());
    let pooled = net
        .core(3)
        .pool_stats()
        .into_iter()
        .map(|s| s.free + s.lent)
        .sum::<usize>();
    assert_eq!(pooled, 0);
    // Its old share is kept, because nobody else has one; the others sign without it.
    assert_eq!(sealed(&net, 3), [0]);
    sign(&mut net, 1, &set(&[1, 2]));
    // It never says that it holds what it has not.
    let key = net.cluster.key.key;
    assert!(!net.core(1).keys[&key].held.is_empty());
    net.host(3).sent.clear();
    net.advance(6_000);
    let says = |f: &Frame| {
        matches!(f, Frame::Held(h) if h.statements.iter().any(|s| {
            let signed = Signed::<EpochHeld>::from_bytes(&s.0).unwrap();
            signed.unverified().boot.node == node(3)
        }))
    };
    assert!(!net.host(3).sent.iter().any(|(_, f)| says(f)));
}

/// A refresh after which node 3 has lost its share before it was durable, and is back.
fn half_stored() -> Net {
    let mut net = Net::calm();
    net.host(3).hold = true;
    refresh(&mut net, 1);
    assert!(entry(&net, 1).next.as_ref().is_some_and(|n| n.endorsed));
    net
}

#[test]
fn a_record_that_one_node_will_never_endorse_gives_way_to_the_next_ceremony() {
    let mut net = half_stored();
    let lost = entry(&net, 1).next.as_ref().unwrap().hash;
    // While it is only slow, nobody may take another record in its place.
    refresh(&mut net, 2);
    assert_eq!(entry(&net, 1).next.as_ref().unwrap().hash, lost);
    net.restart(3);
    net.advance(3_000);
    for index in 1..=3 {
        assert!(entry(&net, index).next.is_none(), "node {index}");
    }
    // Those that have endorsed it keep its share, should its certificate appear after all.
    assert_eq!(sealed(&net, 1), [0, 1]);
    assert_eq!(sealed(&net, 2), [0, 1]);
    assert_eq!(sealed(&net, 3), [0]);
    assert_eq!(epochs(&net), [0, 0, 0]);
    refresh(&mut net, 2);
    assert_eq!(epochs(&net), [1, 1, 1]);
    // The journals say all of it.
    for index in 1..=3 {
        net.restart(index);
    }
    net.advance(2_000);
    assert_eq!(epochs(&net), [1, 1, 1]);
    sign(&mut net, 1, &set(&[2, 3]));
}

#[test]
fn forged_oaths_drop_no_share() {
    let mut net = half_stored();
    let pending = entry(&net, 1).next.as_ref().unwrap().hash;
    let boot = net.core(3).boot();
    let base = CeremonyAbandoned {
        version: Version,
        cluster: net.cluster.id,
        key: net.cluster.key.key,
        epoch: ShareEpoch(1),
        boot,
        record: pending,
    };
    let third = net.cluster.identities[&node(3)].clone();
    let second = net.cluster.identities[&node(2)].clone();
    let of_two = CeremonyAbandoned {
        boot: net.core(2).boot(),
        ..base.clone()
    };
    let forged = [
        Signed::sign(base.clone(), &second),
        Signed::sign(
            CeremonyAbandoned {
                record: [1; 32],
                ..base.clone()
            },
            &third,
        ),
        Signed::sign(
            CeremonyAbandoned {
                epoch: ShareEpoch(2),
                ..base.clone()
            },
            &third,
        ),
        // Node 2 has endorsed the record: its oath is void, and it is found out.
        Signed::sign(of_two, &second),
    ];
    for (place, oath) in forged.iter().enumerate() {
        net.node_says(2, 1, Frame::CeremonyAbandoned(oath.to_bytes()));
        assert!(entry(&net, 1).next.is_some(), "{place}");
    }
    assert!(net.host(1).alarms.contains(&Alarm::Equivocated(node(2))));
    let genuine = Signed::sign(base, &third);
    net.node_says(2, 1, Frame::CeremonyAbandoned(genuine.to_bytes()));
    assert!(entry(&net, 1).next.is_none());
}

#[test]
fn an_oath_is_kept_even_by_a_node_that_could_endorse_after_all() {
    let mut net = Net::calm();
    net.filter = Some(|_, _, frame: &Frame| matches!(frame, Frame::Prepared(_)));
    refresh(&mut net, 1);
    // Node 1 swears over records that it has never seen, but not over the one that it has stored.
    let pending = entry(&net, 1).next.as_ref().unwrap().hash;
    net.filter = None;
    net.host(1).sent.clear();
    net.advance(1_500);
    let swore = net
        .host(1)
        .sent
        .iter()
        .any(|(_, f)| matches!(f, Frame::CeremonyAbandoned(_)));
    assert!(!swore);
    assert_eq!(entry(&net, 1).current.as_ref().unwrap().hash, pending);
}

#[test]
fn a_refresh_that_was_asked_for_runs_end_to_end() {
    let mut net = Net::calm();
    let work = net.cluster.change_key(1, KeyChange::Refresh);
    for index in 1..=3 {
        net.gateway_says(index, Frame::Request(work.frame(None)));
    }
    net.settle();
    assert_eq!(epochs(&net), [1, 1, 1]);
    sign(&mut net, 2, &set(&[1, 2]));
}

#[test]
fn a_request_that_must_wait_for_another_ceremony_is_not_handed_round_for_ever() {
    let mut net = Net::calm();
    for index in 1..=3 {
        net.host(index).keep_jobs = true;
    }
    refresh(&mut net, 9);
    let work = net.cluster.change_key(1, KeyChange::Refresh);
    for index in 1..=3 {
        net.gateway_says(index, Frame::Request(work.frame(None)));
    }
    // Each node hands on what its gateway says and nothing else, or this would not come to rest.
    net.settle();
    let sent = net.hosts.values().flat_map(|h| &h.sent);
    let handed = sent.filter(|(_, f)| matches!(f, Frame::Request(_)));
    assert_eq!(handed.count(), 6);
    for index in 1..=3 {
        net.host(index).keep_jobs = false;
    }
    net.settle();
    assert_eq!(epochs(&net), [1, 1, 1]);
}

/// What a node may say that is not allowed at its place.
#[test]
fn a_listing_with_a_false_certificate_teaches_nothing() {
    let mut net = Net::calm();
    let mut record = public(&net, 1);
    record.epoch = ShareEpoch(1);
    record.previous = Some(net.cluster.key.shares_hash());
    let mut certificate = quoin_core::Certificate::unsigned(record);
    // One endorsement is missing.
    for by in [1u8, 2] {
        certificate.endorse(&net.cluster.identities[&node(by)]);
    }
    let frame = |c: &quoin_core::Certificate<KeyPublic>| {
        Frame::Keys(quoin_api::frame::KeysFrame {
            certificates: vec![Opaque(c.to_bytes())],
        })
    };
    net.node_says(2, 1, frame(&certificate));
    assert_eq!(epochs(&net), [0, 0, 0]);
    assert!(
        !net.host(1)
            .alarms
            .iter()
            .any(|a| matches!(a, Alarm::ShareMissing(..)))
    );
    let _: NodeIndex = node(1);
    certificate.endorse(&net.cluster.identities[&node(3)]);
    net.node_says(2, 1, frame(&certificate));
    assert_eq!(epochs(&net), [1, 0, 0]);
    assert!(
        net.host(1)
            .alarms
            .iter()
            .any(|a| matches!(a, Alarm::ShareMissing(..)))
    );
}
