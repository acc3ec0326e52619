//! Refresh and reshare from end to end, and what must not come out of them.

use super::super::polynomial::interpolate_scalars;
use super::super::wire::{CommitBody, DealBody, EchoBody};
use super::super::{
    CertificateFault, Ed25519, Inherited, Model, Secp256k1, for_scheme, verify_certificate,
    verify_succession,
};
use super::ceremony::{certify, check, generate};
use super::*;
use crate::share::KeyPublic;
use quoin_core::hash::tagged;
use quoin_core::{KeyOrigin, ShareEpoch, tags};
use zeroize::Zeroizing;

type Shares = BTreeMap<NodeIndex, KeyShare>;

/// Runs an honest ceremony; checks everything that must hold of its result.
fn succeed(cluster: &Cluster, threshold: u8) -> Shares {
    let base = &cluster.succession.as_ref().unwrap().base;
    let generated = generate(cluster);
    let certificate = certify(cluster, &generated);
    assert_eq!(verify_certificate(&certificate, &cluster.nodes), Ok(()));
    let next = certificate.unverified();
    assert_eq!(verify_succession(next, base), Ok(()));
    assert_eq!(next.threshold, threshold);
    assert_eq!(next.public_key, base.public_key);
    assert_eq!(next.chain_code, base.chain_code);
    assert_ne!(next.transcript, base.transcript);
    assert!(generated.values().all(|g| g.share.public == *next));
    let shares: Shares = generated.into_iter().map(|(n, g)| (n, g.share)).collect();
    check(base.scheme, &shares, threshold);
    for (node, share) in &shares {
        assert!(share.matches_public());
        assert_ne!(
            Some(share.public.public_share(*node)),
            Some(base.public_share(*node))
        );
    }
    shares
}

fn copies(shares: &Shares) -> Shares {
    shares.iter().map(|(n, share)| (*n, copy(share))).collect()
}

/// The public point of what these shares would give as a key.
fn combine<G: Group>(shares: &[&KeyShare]) -> Vec<u8> {
    let scalar = |share: &&KeyShare| {
        let scalar = G::decode_scalar(share.secret.expose()).unwrap();
        (share.node, Zeroizing::new(scalar))
    };
    let values: Vec<_> = shares.iter().map(scalar).collect();
    G::encode_point(&G::generate(&interpolate_scalars::<G>(&values).unwrap()))
}

/// Asserts that t - 1 old shares and one new one do not give the key, for each choice of the one.
fn assert_do_not_mix(old: &Shares, new: &Shares) {
    let (from, to) = (&old[&node(1)].public, &new[&node(1)].public);
    let threshold = usize::from(from.threshold.max(to.threshold));
    for (fresh, share) in new {
        let others = old.iter().filter(|(n, _)| *n != fresh).map(|(_, s)| s);
        let mixed: Vec<&KeyShare> = others.take(threshold - 1).chain([share]).collect();
        let key = for_scheme!(from.scheme, G => combine::<G>(&mixed), unreachable!());
        assert_ne!(key, from.public_key);
    }
}

#[test]
fn a_key_stays_the_same_through_refreshes_and_reshares() {
    for scheme in SCHEMES {
        let born = generate(&Cluster::new(scheme, 2, 3));
        let born: Shares = born.into_iter().map(|(n, g)| (n, g.share)).collect();
        let key = born[&node(1)].public.public_key.clone();

        let refresh = Cluster::after(copies(&born), &[1, 2, 3], Succession::Refresh);
        let first = succeed(&refresh, 2);
        assert_do_not_mix(&born, &first);

        let grow = Cluster::after(copies(&first), &[1, 2, 3, 4, 5], reshare(3, &[1, 3]));
        let second = succeed(&grow, 3);
        assert_do_not_mix(&first, &second);

        let refresh = Cluster::after(copies(&second), &[1, 2, 3, 4, 5], Succession::Refresh);
        let third = succeed(&refresh, 3);
        assert_do_not_mix(&second, &third);

        let shrink = Cluster::after(copies(&third), &[1, 4, 5], reshare(2, &[1, 4, 5]));
        let last = succeed(&shrink, 2);
        assert_do_not_mix(&third, &last);
        assert_eq!(last[&node(1)].public.public_key, key);
        assert_eq!(last[&node(1)].public.epoch, ShareEpoch(4));
    }
}

#[test]
fn a_lost_node_is_answered_by_any_threshold_of_the_others() {
    for (dealers, nodes) in [
        ([2, 3], [2, 3, 4]),
        ([1, 2], [1, 2, 4]),
        ([1, 3], [1, 3, 5]),
    ] {
        let shares = dealt(Scheme::Ecdsa, 2, 3);
        let cluster = Cluster::after(shares, &nodes, reshare(2, &dealers));
        let generated = generate(&cluster);
        let shares = generated.into_iter().map(|(n, g)| (n, g.share)).collect();
        let first = node(nodes[0]);
        let shares: Shares = shares;
        let public = &shares[&first].public;
        assert!(
            shares
                .values()
                .all(|s| s.matches_public() && s.public == *public)
        );
        let two: Vec<&KeyShare> = shares.values().skip(1).collect();
        assert_eq!(combine::<Secp256k1>(&two), public.public_key);
    }
}

#[test]
fn larger_clusters_refresh_and_reshare() {
    for scheme in [Scheme::Ecdsa, Scheme::Ed25519] {
        let refreshed = succeed(&Cluster::refresh(scheme, 3, 7), 3);
        let nodes: Vec<u8> = (1..=7).collect();
        succeed(
            &Cluster::after(refreshed, &nodes, reshare(4, &[2, 5, 7])),
            4,
        );
    }
}

#[test]
fn the_largest_succession_fits_its_limits() {
    let nodes: Vec<u8> = (1..=15).collect();
    let cluster = Cluster::after(dealt(Scheme::Ecdsa, 7, 15), &nodes, Succession::Refresh);
    let refreshed = generate(&cluster);
    assert!(refreshed.values().all(|g| g.share.matches_public()));
    let shares = refreshed.into_iter().map(|(n, g)| (n, g.share)).collect();
    let dealers: Vec<u8> = (9..=15).collect();
    let cluster = Cluster::after(shares, &nodes, reshare(7, &dealers));
    let generated = generate(&cluster);
    let certificate = certify(&cluster, &generated);
    assert_eq!(verify_certificate(&certificate, &cluster.nodes), Ok(()));
}

#[test]
fn a_key_that_is_whole_at_every_node_neither_succeeds_nor_is_succeeded() {
    let cluster = Cluster::refresh(Scheme::Model, 2, 3);
    let base = cluster.succession.clone().unwrap().base;
    let next = generate(&cluster)[&node(1)].share.public.clone();
    let whole = Err(CertificateFault::WrongThreshold(1));
    let mut local = next.clone();
    local.threshold = 1;
    assert_eq!(verify_succession(&local, &base), whole);
    let (mut local, mut next) = (base, next);
    local.threshold = 1;
    next.previous = Some(local.shares_hash());
    assert_eq!(verify_succession(&next, &local), whole);
}

#[test]
fn what_stays_with_a_key_is_checked_between_two_epochs() {
    let cluster = Cluster::refresh(Scheme::Model, 2, 3);
    let base = cluster.succession.clone().unwrap().base;
    let next = generate(&cluster)[&node(1)].share.public.clone();
    assert_eq!(verify_succession(&next, &base), Ok(()));
    type Edit = fn(&mut KeyPublic);
    let inherited: [(Inherited, Edit); 8] = [
        (Inherited::Cluster, |p| p.cluster = ClusterId([9; 32])),
        (Inherited::Key, |p| p.key = KeyId([9; 16])),
        (Inherited::Name, |p| p.name = "other".parse().unwrap()),
        (Inherited::Scheme, |p| p.scheme = Scheme::Taproot),
        (Inherited::Purpose, |p| p.purpose = Purpose::Treasury),
        (Inherited::PublicKey, |p| p.public_key[31] ^= 1),
        (Inherited::ChainCode, |p| p.chain_code[0] ^= 1),
        (Inherited::Origin, |p| p.origin = KeyOrigin::Imported),
    ];
    let verify = |edit: Edit| {
        let mut next = next.clone();
        edit(&mut next);
        verify_succession(&next, &base)
    };
    for (what, edit) in inherited {
        let refused = Err(CertificateFault::NotInherited(what));
        assert_guarded(Guard::Inherited, &refused, || verify(edit));
    }
    let others: [(Guard, CertificateFault, Edit); 5] = [
        (Guard::NextEpoch, CertificateFault::WrongEpoch, |p| {
            p.epoch = ShareEpoch(2);
        }),
        (Guard::NextEpoch, CertificateFault::WrongEpoch, |p| {
            p.epoch = ShareEpoch(0);
        }),
        (Guard::Previous, CertificateFault::WrongPrevious, |p| {
            p.previous = None;
        }),
        (Guard::Previous, CertificateFault::WrongPrevious, |p| {
            p.previous.as_mut().unwrap()[0] ^= 1;
        }),
        (Guard::Charter, CertificateFault::OlderCharter, |p| {
            p.charter = CharterNumber(0);
        }),
    ];
    for (guard, fault, edit) in others {
        assert_guarded(guard, &Err(fault), || verify(edit));
    }
}

/// What node 2 says of a ceremony: the faults that it found, or nothing.
fn faults_of_two(outcomes: &Outcomes) -> Vec<(Option<NodeIndex>, Fault)> {
    let outcome = outcomes[&node(2)].as_ref();
    outcome.err().map_or_else(Vec::new, |a| a.faults.clone())
}

#[test]
fn a_dealer_cannot_deal_another_constant_than_its_certified_share() {
    fn check<G: Group>(scheme: Scheme) {
        let cluster = Cluster::reshare(scheme);
        // Unweighted, another's, and one of its own choice; each dealing fits its polynomial.
        let old = G::decode_scalar(cluster.shares[&node(1)].secret.expose()).unwrap();
        let theirs = G::decode_scalar(cluster.shares[&node(3)].secret.expose()).unwrap();
        for constant in [old, theirs, G::Scalar::from(5)] {
            let refused = vec![(Some(node(1)), Fault::WrongConstant)];
            assert_guarded(Guard::Constant, &refused, || {
                let polynomial = Polynomial::<G>::through(&constant, 3, &mut rng(50));
                faults_of_two(&cluster.run_crafted(polynomial, |_| {}))
            });
        }
    }
    check::<Secp256k1>(Scheme::Ecdsa);
    check::<Ed25519>(Scheme::Ed25519);
    check::<Model>(Scheme::Model);
}

#[test]
fn the_sum_of_a_reshare_is_the_key_or_nothing() {
    // Without the check of the constant, the sum finds what a dealer changed.
    let cluster = Cluster::reshare(Scheme::Model);
    let attempt = || {
        let polynomial = Polynomial::<Model>::random(3, &mut rng(50));
        faults_of_two(&cluster.run_crafted(polynomial, |_| {}))
    };
    let found = Guard::Constant.without(attempt);
    assert_eq!(found, [(None, Fault::WrongKeySum)]);

    // A record that no certificate can have: its shares do not give its key.
    let mut cluster = Cluster::reshare(Scheme::Ed25519);
    spoil_base(&mut cluster, |p| {
        p.public_key = Ed25519::encode_point(&Ed25519::generator());
    });
    let refused = vec![(None, Fault::WrongKeySum)];
    assert_guarded(Guard::KeySum, &refused, || {
        faults_of_two(&cluster.run(&mut |_| {}))
    });
}

/// Changes the base record at everyone alike.
fn spoil_base(cluster: &mut Cluster, edit: impl Fn(&mut KeyPublic)) {
    edit(&mut cluster.succession.as_mut().unwrap().base);
    for share in cluster.shares.values_mut() {
        edit(&mut share.public);
    }
}

#[test]
fn a_refresh_ends_on_one_polynomial_through_the_key_or_not_at_all() {
    // Node 3 holds, by the record, a share that is not on the others' polynomial.
    let mut cluster = Cluster::refresh(Scheme::Ed25519, 2, 3);
    let stray = curve25519_dalek::Scalar::from(77u64);
    let point = Ed25519::encode_point(&Ed25519::generate(&stray));
    spoil_base(&mut cluster, |p| {
        p.public_shares[2].point.clone_from(&point);
    });
    let mut stray = *Ed25519::encode_scalar(&stray);
    cluster.shares.get_mut(&node(3)).unwrap().secret = SecretBytes::take(&mut stray);
    let refused = vec![(None, Fault::WrongKeySum)];
    assert_guarded(Guard::LowDegree, &refused, || {
        faults_of_two(&cluster.run(&mut |_| {}))
    });
}

#[test]
fn a_refresh_cannot_move_the_key() {
    fn check<G: Group>(scheme: Scheme) {
        // The dealings fit a polynomial with a constant, which has no place on the wire.
        let cluster = Cluster::refresh(scheme, 2, 3);
        let moved = || {
            let coefficients = vec![G::Scalar::from(9), G::Scalar::from(5)];
            cluster.run_crafted(Polynomial::<G>::from_coefficients(coefficients), |_| {})
        };
        let refused = vec![(Some(node(1)), Fault::WrongDealing)];
        assert_guarded(Guard::Dealing, &refused, || faults_of_two(&moved()));
        let outcomes = moved();
        let abort = outcomes[&node(2)].as_ref().unwrap_err();
        assert_eq!(abort.complaints.len(), 1);
        // To show the constant is to show one coefficient too many.
        let shown = cluster.run_crafted(
            Polynomial::<G>::from_coefficients(vec![G::Scalar::from(9), G::Scalar::from(5)]),
            |opening| {
                let constant = G::encode_point(&G::generate(&G::Scalar::from(9)));
                opening.coefficients.insert(0, constant.into());
            },
        );
        assert_blamed(&shown, Fault::WrongDegree);
    }
    check::<Secp256k1>(Scheme::Ecdsa);
    check::<Ed25519>(Scheme::Ed25519);
    check::<Model>(Scheme::Model);
}

/// GHSA-wgq8-vr6r-mqxm: a refresh in which the shares come out with a lower threshold than they
/// went in, so that fewer nodes than the key was born with are enough.
#[test]
fn a_refresh_cannot_change_the_threshold_ghsa_wgq8_vr6r_mqxm() {
    let cluster = Cluster::refresh(Scheme::Ed25519, 3, 5);
    for size in [1u8, 2, 4, 5] {
        let refused = vec![(Some(node(1)), Fault::WrongDegree)];
        assert_guarded(Guard::Degree, &refused, || {
            let zero = Ed25519::zero();
            let polynomial = Polynomial::<Ed25519>::through(&zero, size, &mut rng(50));
            faults_of_two(&cluster.run_crafted(polynomial, |_| {}))
        });
    }
    // Nobody can ask for it either: the parameters have no place for it, and a record that claims
    // a lower threshold than its points have is refused by whoever verifies it.
    let mut public = generate(&cluster)[&node(1)].share.public.clone();
    assert_eq!(public.threshold, 3);
    public.threshold = 2;
    let mut certificate = quoin_core::Certificate::unsigned(public);
    for identity in cluster.identities.values() {
        certificate.endorse(identity);
    }
    let fault = CertificateFault::NotOnPolynomial(node(1));
    let verified = verify_certificate(&certificate, &cluster.nodes);
    assert_eq!(verified, Err(fault));
}

/// A cluster of three whose node 1 runs another ceremony, as its own state tells it.
fn run_apart(cluster: &Cluster, edit: impl FnOnce(&mut SuccessionParams)) -> Outcomes {
    let mut params = cluster.succession.clone().unwrap();
    edit(&mut params);
    let mut share = copy(&cluster.shares[&node(1)]);
    share.public = params.base.clone();
    let roster = cluster.roster(node(1));
    let apart = super::super::start_succession(params, roster, Some(&share), &mut rng(1)).unwrap();
    let mut started = cluster.start();
    started.insert(node(1), apart);
    cluster.run_from(started, &mut |_| {})
}

#[track_caller]
fn assert_nobody_is_blamed(outcomes: &Outcomes) {
    for outcome in outcomes.values() {
        let abort = outcome.as_ref().unwrap_err();
        let differs = |(_, fault): &(_, Fault)| *fault == Fault::ContextDiffers;
        assert!(abort.faults.iter().all(differs), "{abort:?}");
        assert_eq!(abort.class(), crate::Class::NotAttributable);
    }
}

#[test]
fn another_base_record_other_dealers_or_another_threshold_ends_it_in_round_one() {
    let edits: [fn(&mut SuccessionParams); 5] = [
        |p| p.base.transcript[0] ^= 1,
        |p| p.base.epoch = ShareEpoch(3),
        |p| p.how = reshare(3, &[1, 2]),
        |p| p.how = reshare(2, &[1, 3]),
        |p| p.ceremony = CeremonyId([9; 16]),
    ];
    for edit in edits {
        let cluster = Cluster::reshare(Scheme::Model);
        assert_nobody_is_blamed(&run_apart(&cluster, edit));
    }
    let cluster = Cluster::refresh(Scheme::Model, 2, 3);
    let to_reshare = |p: &mut SuccessionParams| p.how = reshare(2, &[1, 3]);
    assert_nobody_is_blamed(&run_apart(&cluster, to_reshare));
}

#[test]
fn a_node_restored_from_an_older_epoch_is_found_before_the_old_shares_go() {
    let old = dealt(Scheme::Ecdsa, 2, 3);
    let refresh = Cluster::after(copies(&old), &[1, 2, 3], Succession::Refresh);
    let shares = succeed(&refresh, 2);
    let cluster = Cluster::after(copies(&shares), &[1, 2, 3], Succession::Refresh);

    // All of its state is old: it holds another ceremony than the others.
    let mut started = cluster.start();
    let params = SuccessionParams {
        base: old[&node(1)].public.clone(),
        ..cluster.succession.clone().unwrap()
    };
    let roster = cluster.roster(node(1));
    let share = Some(&old[&node(1)]);
    let restored = super::super::start_succession(params, roster, share, &mut rng(1)).unwrap();
    started.insert(node(1), restored);
    assert_nobody_is_blamed(&cluster.run_from(started, &mut |_| {}));

    // Its record is new and its share old: it finds so itself.
    let mut mixed = copy(&shares[&node(1)]);
    mixed.secret = old[&node(1)].secret.duplicate_secret();
    let mut cluster = Cluster::after(shares, &[1, 2, 3], Succession::Refresh);
    cluster.shares.insert(node(1), mixed);
    let wrong = Abort::one(None, Fault::WrongShare);
    assert_eq!(cluster.start_one(node(1)).err(), Some(wrong.clone()));

    // It goes on all the same: it cannot make its new share fit, and everyone sees it in the echo.
    let start = || Guard::OwnShare.without(|| cluster.start());
    let outcomes = cluster.run_from(start(), &mut |_| {});
    assert_eq!(outcomes[&node(1)].as_ref().err(), Some(&wrong));
    let started = start();
    let late = Guard::NewShare.without(|| cluster.run_from(started, &mut |_| {}));
    assert_blamed(&late, Fault::BadEcho);
}

#[test]
fn nobody_keeps_a_new_share_that_the_record_does_not_name() {
    let mut cluster = Cluster::refresh(Scheme::Model, 2, 3);
    let other = cluster.shares[&node(3)].secret.duplicate_secret();
    cluster.shares.get_mut(&node(2)).unwrap().secret = other;
    let refused = vec![(None, Fault::WrongShare)];
    assert_guarded(Guard::NewShare, &refused, || {
        let zero = Polynomial::<Model>::through(&Model::zero(), 2, &mut rng(5));
        let (round, outbox) = cluster.craft(node(2), zero, |_| {});
        let all = cluster.nodes.keys().filter(|n| n.get() != 2);
        let mut started: BTreeMap<_, _> = all
            .map(|me| (*me, cluster.start_one(*me).unwrap()))
            .collect();
        started.insert(node(2), (Box::new(round), outbox));
        faults_of_two(&cluster.run_from(started, &mut |_| {}))
    });
}

#[test]
fn a_share_of_zero_starts_again() {
    // Node 1 knows the differences in advance here, so it can cancel node 2's old share.
    let cluster = Cluster::refresh(Scheme::Model, 2, 3);
    let old = Model::decode_scalar(cluster.shares[&node(2)].secret.expose()).unwrap();
    let half = old * Model::invert(&2u64.into()).unwrap();
    let slopes = [
        Model::zero() - half - 30u64.into(),
        10u64.into(),
        20u64.into(),
    ];
    let run = || {
        let started = slopes.iter().zip(1..).map(|(slope, me)| {
            let polynomial = Polynomial::<Model>::from_coefficients(vec![Model::zero(), *slope]);
            let (round, outbox) = cluster.craft(node(me), polynomial, |_| {});
            (node(me), (Box::new(round) as Box<dyn Round<_>>, outbox))
        });
        let outcomes = cluster.run_from(started.collect(), &mut |_| {});
        outcomes[&node(3)].as_ref().err().map(|a| a.faults.clone())
    };
    let refused = Some(vec![(None, Fault::DegenerateKey)]);
    assert_guarded(Guard::NotDegenerate, &refused, run);
}

#[test]
fn only_dealers_show_a_polynomial() {
    // In this reshare nodes 1 and 3 deal. Node 1 withholds its part in either round.
    let silent = Cluster::reshare(Scheme::Model);
    assert_blamed(
        &silent.run_edited(1, |b: &mut CommitBody| b.commitment = None),
        Fault::WrongRole,
    );
    assert_blamed(
        &silent.run_edited(2, |b: &mut DealBody| b.opening = None),
        Fault::WrongRole,
    );
    // Where 2 and 3 deal, node 1 shows one that nobody asked for.
    let other = || {
        Cluster::after(
            dealt(Scheme::Model, 2, 3),
            &[1, 2, 3, 4],
            reshare(3, &[2, 3]),
        )
    };
    assert_blamed(
        &other().run_edited(1, |b: &mut CommitBody| b.commitment = Some([1; 32])),
        Fault::WrongRole,
    );
    let opening = super::super::wire::Opening {
        coefficients: vec![],
        salt: [0; 32],
        proof: None,
    };
    let refused = vec![(Some(node(1)), Fault::WrongRole)];
    assert_guarded(Guard::Role, &refused, || {
        let opening = opening.clone();
        faults_of_two(&other().run_edited(2, move |b: &mut DealBody| {
            b.opening = Some(opening.clone());
        }))
    });
    // Nor does it deal anything in private.
    let mut dealing = None;
    let outcomes = other().run(&mut |history| {
        if history.len() == 2 {
            let theirs = &history[1][&node(2)][&node(1)].broadcast;
            let theirs: DealBody = cbor::decode(theirs, 4096).unwrap();
            dealing = theirs.dealings.into_iter().next();
        }
    });
    assert!(outcomes.values().all(Result::is_ok));
    let dealing = dealing.unwrap();
    let extra = other().run_edited(2, |b: &mut DealBody| b.dealings.push(dealing.clone()));
    assert_blamed(&extra, Fault::WrongLength);
}

#[test]
fn a_proof_of_possession_belongs_to_a_birth_only() {
    for cluster in [
        Cluster::new(Scheme::Ecdsa, 2, 3),
        Cluster::refresh(Scheme::Ecdsa, 2, 3),
    ] {
        let (sid, born) = (cluster.sid(), cluster.succession.is_none());
        let refused = vec![(Some(node(1)), Fault::WrongRole)];
        assert_guarded(Guard::ProofShown, &refused, || {
            let coefficients = vec![u64::from(born).into(), 5u64.into()];
            let polynomial = Polynomial::<Secp256k1>::from_coefficients(coefficients);
            let dealer = Dealer {
                sid: &sid,
                node: node(1),
            };
            faults_of_two(&cluster.run_crafted(polynomial, |opening| {
                if born {
                    opening.proof = None;
                } else {
                    let one = 1u64.into();
                    let prove = super::super::dealer::prove::<Secp256k1>;
                    prove(dealer, opening, &one, &mut rng(3));
                }
            }))
        });
    }
}

#[test]
fn a_split_echo_stops_whoever_heard_the_other_one() {
    for cluster in [
        Cluster::refresh(Scheme::Model, 2, 4),
        Cluster::reshare(Scheme::Model),
    ] {
        let outcomes = cluster.run(&mut |history| {
            if history.len() == 3 {
                let message = &history[2][&node(1)][&node(4)];
                let mut body: EchoBody = cbor::decode(&message.broadcast, 4096).unwrap();
                body.transcript[0] ^= 1;
                let message = cluster.message(3, node(1), cbor::encode(&body));
                let outbox = history[2].get_mut(&node(1)).unwrap();
                outbox.insert(node(4), message);
            }
        });
        // Nodes 2 and 3 may hold the new share now; without node 4 there is no certificate of it,
        // so the old epoch stays in force.
        let abort = outcomes[&node(4)].as_ref().unwrap_err();
        assert_eq!(abort.faults, [(Some(node(1)), Fault::TranscriptDiffers)]);
        let records: Vec<_> = [1, 2, 3]
            .map(|me| outcomes[&node(me)].as_ref().unwrap().share.public.clone())
            .into();
        assert!(records.windows(2).all(|w| w[0] == w[1]));
    }
}

#[test]
fn messages_of_another_ceremony_are_of_no_use_in_this_one() {
    for kind in [
        Cluster::refresh as fn(Scheme, u8, u8) -> Cluster,
        |scheme, _, _| Cluster::reshare(scheme),
    ] {
        let mut earlier = Vec::new();
        let first = kind(Scheme::Model, 2, 3);
        first.run(&mut |history| earlier.clone_from(history));
        let mut cluster = kind(Scheme::Model, 2, 3);
        cluster.succession.as_mut().unwrap().ceremony = CeremonyId([77; 16]);
        for round in 1..=3 {
            let outcomes = cluster.run(&mut |history| {
                if history.len() == round {
                    let replayed = earlier[round - 1][&node(1)].clone();
                    history[round - 1].insert(node(1), replayed);
                }
            });
            let fault = if round == 1 {
                Fault::ContextDiffers
            } else {
                Fault::BadBroadcastSignature
            };
            assert_blamed(&outcomes, fault);
        }
    }
}

#[test]
fn equivocation_is_found_before_anything_is_kept() {
    for round in [1, 2] {
        for cluster in [
            Cluster::refresh(Scheme::Ed25519, 2, 4),
            Cluster::reshare(Scheme::Ed25519),
        ] {
            let outcomes = cluster.run(&mut |history| {
                if history.len() == round {
                    let message = &history[round - 1][&node(1)][&node(4)];
                    let body = fork(round, &message.broadcast);
                    let number = u8::try_from(round).unwrap();
                    let message = cluster.message(number, node(1), body);
                    let outbox = history[round - 1].get_mut(&node(1)).unwrap();
                    outbox.insert(node(4), message);
                }
            });
            for me in [2, 3, 4] {
                let abort = outcomes[&node(me)].as_ref().unwrap_err();
                let honest =
                    |(_, fault): &(_, Fault)| fault.class() == crate::Class::NotAttributable;
                assert!(abort.faults.iter().all(honest), "{me}: {abort:?}");
            }
        }
    }
}

/// Another broadcast of the round that passes every check of its own receiver, node 4.
fn fork(round: usize, broadcast: &[u8]) -> Vec<u8> {
    if round == 1 {
        let mut body: CommitBody = cbor::decode(broadcast, 4096).unwrap();
        body.commitment.as_mut().unwrap()[0] ^= 1;
        cbor::encode(&body)
    } else {
        let mut body: DealBody = cbor::decode(broadcast, 4096).unwrap();
        body.dealings[0].ciphertext[0] ^= 1;
        cbor::encode(&body)
    }
}

#[test]
fn golden_sids_and_certificates_of_successions() {
    let mut found = Vec::new();
    for scheme in SCHEMES {
        for cluster in [Cluster::refresh(scheme, 2, 3), Cluster::reshare(scheme)] {
            let certificate = certify(&cluster, &generate(&cluster)).to_bytes();
            let hash = tagged(tags::KEY_CERTIFICATE, &[&certificate]);
            found.push(hex::encode(cluster.sid()) + " " + &hex::encode(hash));
        }
    }
    let golden = include_str!("golden-succession.txt");
    assert_eq!(
        found,
        golden.lines().collect::<Vec<_>>(),
        "sid and certificate: refresh and reshare of each scheme"
    );
}
