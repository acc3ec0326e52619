//! Successions that must not even start, and the node whose old share is not the certified one.

use super::*;
use quoin_core::{CredentialId, ShareEpoch};

/// How a start of node 1 ends, after `edit`.
fn start(cluster: &Cluster, edit: impl Fn(&mut SuccessionParams, &mut KeyShare)) -> Option<Abort> {
    let mut params = cluster.succession.clone().unwrap();
    let mut share = copy(&cluster.shares[&node(1)]);
    edit(&mut params, &mut share);
    let roster = cluster.roster(node(1));
    super::super::start_succession(params, roster, Some(&share), &mut rng(1)).err()
}

#[track_caller]
fn assert_refused(
    cluster: &Cluster,
    guard: Guard,
    fault: Fault,
    edit: impl Fn(&mut SuccessionParams, &mut KeyShare),
) {
    let refused = Some(Abort::one(None, fault));
    assert_guarded(guard, &refused, || start(cluster, &edit));
}

/// Changes the base record as if that were the certified one of our share, too.
fn rebase(
    edit: impl Fn(&mut crate::share::KeyPublic),
) -> impl Fn(&mut SuccessionParams, &mut KeyShare) {
    move |params, share| {
        edit(&mut params.base);
        share.public = params.base.clone();
    }
}

#[test]
fn a_succession_follows_a_base_record_that_it_can_follow() {
    let (refresh, wrong) = (
        Cluster::refresh(Scheme::Model, 2, 3),
        Fault::WrongSuccession,
    );
    assert_refused(
        &refresh,
        Guard::BaseCluster,
        wrong,
        rebase(|b| b.cluster = ClusterId([7; 32])),
    );
    assert_refused(
        &refresh,
        Guard::BaseCharter,
        wrong,
        rebase(|b| b.charter = CharterNumber(99)),
    );
    assert_refused(
        &refresh,
        Guard::LastEpoch,
        wrong,
        rebase(|b| b.epoch = ShareEpoch(u32::MAX)),
    );
    let nodes: Vec<u8> = (1..=9).collect();
    let how = reshare(3, &nodes[..8]);
    let large = Cluster::after(dealt(Scheme::Model, 7, 9), &nodes, how);
    assert_refused(&large, Guard::BaseFits, wrong, rebase(|b| b.threshold = 8));
}

#[test]
fn a_refresh_is_among_exactly_the_holders() {
    let shares = || dealt(Scheme::Model, 2, 3);
    for nodes in [&[1, 2][..], &[1, 2, 3, 4], &[1, 2, 4]] {
        let cluster = Cluster::after(shares(), nodes, Succession::Refresh);
        assert_refused(&cluster, Guard::Holders, Fault::WrongSuccession, |_, _| {});
    }
    // A new machine at a holder's index: it would end with a share that nobody dealt to it.
    let wrong = Fault::WrongSuccession;
    let cluster = Cluster::refresh(Scheme::Model, 2, 3);
    assert_refused(&cluster, Guard::Holders, wrong, |p, _| {
        p.holders.insert(node(2), CredentialId([9; 16]));
    });
    assert_refused(&cluster, Guard::Holders, wrong, |p, _| {
        p.holders.remove(&node(3));
    });
}

#[test]
fn dealers_are_exactly_the_old_threshold_of_present_holders_in_order() {
    let cluster = Cluster::reshare(Scheme::Model);
    let deal = |dealers: &'static [u8]| {
        move |p: &mut SuccessionParams, _: &mut KeyShare| p.how = reshare(3, dealers)
    };
    let wrong = Fault::WrongSuccession;
    assert_refused(&cluster, Guard::DealersExact, wrong, deal(&[1]));
    assert_refused(&cluster, Guard::DealersExact, wrong, deal(&[1, 2, 3]));
    assert_refused(&cluster, Guard::DealersDistinct, wrong, deal(&[3, 1]));
    assert_refused(&cluster, Guard::DealersHold, wrong, deal(&[1, 4]));
    // A new machine at a dealer's index holds nothing; at the index of somebody who only receives
    // it is welcome.
    assert_refused(&cluster, Guard::DealersHold, wrong, |p, _| {
        p.holders.insert(node(3), CredentialId([9; 16]));
    });
    let receiver = start(&cluster, |p, _| {
        p.holders.insert(node(2), CredentialId([9; 16]));
    });
    assert_eq!(receiver, None);
    // Twice the same dealer has no weight at all, so nothing goes on without the guard either:
    // what differs is only who says so.
    let twice = start(&cluster, deal(&[1, 1]));
    assert_eq!(twice, Some(Abort::one(None, wrong)));

    let shares = dealt(Scheme::Model, 2, 3);
    let left = Cluster::after(shares, &[1, 2, 4], reshare(2, &[1, 3]));
    assert_refused(&left, Guard::DealersPresent, wrong, |_, _| {});
}

#[test]
fn a_key_that_is_whole_at_every_node_has_no_successor() {
    let local = Cluster::refresh(Scheme::Model, 1, 3);
    let wrong = Fault::WrongSuccession;
    assert_refused(&local, Guard::Shared, wrong, |_, _| {});
    let shared_out = reshare(2, &[1]);
    assert_refused(&local, Guard::Shared, wrong, |p, _| {
        p.how.clone_from(&shared_out);
    });
    let made_whole = reshare(1, &[1, 3]);
    let cluster = Cluster::reshare(Scheme::Model);
    assert_refused(&cluster, Guard::Shared, wrong, |p, _| {
        p.how.clone_from(&made_whole);
    });
}

#[test]
fn the_new_threshold_has_bounds() {
    let cluster = Cluster::reshare(Scheme::Model);
    for threshold in [0, 5, 255] {
        let refused = Some(Abort::one(None, Fault::HeaderDiffers));
        let how = reshare(threshold, &[1, 3]);
        let attempt = || start(&cluster, |p, _| p.how.clone_from(&how));
        assert_eq!(attempt(), refused);
    }
    assert_refused(&cluster, Guard::Threshold, Fault::HeaderDiffers, |p, _| {
        p.how = reshare(5, &[1, 3]);
    });
}

#[test]
fn boots_and_credentials_are_those_of_the_roster() {
    let cluster = Cluster::refresh(Scheme::Model, 2, 3);
    assert_refused(&cluster, Guard::Boots, Fault::HeaderDiffers, |p, _| {
        p.boots.reverse();
    });
    let mut twins = Cluster::refresh(Scheme::Model, 2, 3);
    let first = twins.nodes[&node(1)].clone();
    twins.nodes.insert(node(3), first);
    assert_refused(&twins, Guard::Credentials, Fault::HeaderDiffers, |_, _| {});
    let mut stranger = Cluster::refresh(Scheme::Model, 2, 3);
    let other = stranger.identities[&node(2)].clone();
    stranger.identities.insert(node(1), other);
    assert_refused(&stranger, Guard::Myself, Fault::HeaderDiffers, |_, _| {});
}

#[test]
fn a_node_whose_share_is_not_the_certified_one_stops_before_it_says_anything() {
    for cluster in [
        Cluster::refresh(Scheme::Ed25519, 2, 3),
        Cluster::reshare(Scheme::Ecdsa),
    ] {
        let other = cluster.shares[&node(2)].secret.duplicate_secret();
        let wrong = Fault::WrongShare;
        assert_refused(&cluster, Guard::OwnShare, wrong, |_, share| {
            share.secret = other.duplicate_secret();
        });
        assert_refused(&cluster, Guard::OwnRecord, wrong, |_, share| {
            share.public.epoch = ShareEpoch(7);
        });
        assert_refused(&cluster, Guard::OwnRecord, wrong, |_, share| {
            share.node = node(2);
        });
        let params = cluster.succession.clone().unwrap();
        let none =
            super::super::start_succession(params, cluster.roster(node(1)), None, &mut rng(1));
        assert_eq!(none.err(), Some(Abort::one(None, wrong)));
    }
}

#[test]
fn whoever_does_not_deal_needs_no_share() {
    let mut cluster = Cluster::reshare(Scheme::Model);
    cluster.shares.remove(&node(2));
    let outcomes = cluster.run(&mut |_| {});
    assert!(outcomes.values().all(Result::is_ok));
}

#[test]
fn every_parameter_of_a_succession_enters_the_sid() {
    let cluster = Cluster::reshare(Scheme::Model);
    let params = cluster.succession.clone().unwrap();
    let mut sids = vec![params.sid(&cluster.nodes)];
    let edits: [fn(&mut SuccessionParams); 11] = [
        |p| p.cluster = ClusterId([9; 32]),
        |p| p.charter = CharterNumber(9),
        |p| p.ceremony = CeremonyId([9; 16]),
        |p| p.boots[0].generation = Generation(99),
        |p| p.how = Succession::Refresh,
        |p| p.how = reshare(2, &[1, 3]),
        |p| p.how = reshare(3, &[1, 2]),
        |p| p.base.epoch = ShareEpoch(9),
        |p| p.base.threshold = 3,
        |p| p.base.public_shares[1].point[31] ^= 1,
        |p| p.base.transcript[0] ^= 1,
    ];
    for edit in edits {
        let mut params = params.clone();
        edit(&mut params);
        sids.push(params.sid(&cluster.nodes));
    }
    sids.push(params.sid(&Cluster::new(Scheme::Model, 2, 3).nodes));
    let birth = DkgParams {
        threshold: 3,
        charter: params.charter,
        ceremony: params.ceremony,
        ..cluster.params.clone()
    };
    sids.push(birth.sid(&cluster.nodes));
    let count = sids.len();
    sids.sort_unstable();
    sids.dedup();
    assert_eq!(sids.len(), count);
}
