//! The checks that all kinds of ceremony share: each cheat is refused in all of them, and no
//! longer so when the one check that is meant for it is switched off.

use super::super::polynomial::Polynomial;
use super::super::wire::{CommitBody, DealBody, EchoBody};
use super::super::{Ed25519, Model};
use super::*;

/// One ceremony of each kind; node 1 deals in all of them.
fn kinds(scheme: Scheme) -> [Cluster; 3] {
    [
        Cluster::new(scheme, 2, 3),
        Cluster::refresh(scheme, 2, 3),
        Cluster::reshare(scheme),
    ]
}

/// The faults that node 2 finds.
fn faults(outcomes: &Outcomes) -> Vec<(Option<NodeIndex>, Fault)> {
    let outcome = outcomes[&node(2)].as_ref();
    outcome.err().map_or_else(Vec::new, |a| a.faults.clone())
}

/// Asserts that node 2 names node 1 with `fault` in every kind, and not so without the guard.
#[track_caller]
fn assert_each(guard: Guard, fault: Fault, cheat: impl Fn(&Cluster) -> Outcomes) {
    for cluster in kinds(Scheme::Model) {
        let refused = vec![(Some(node(1)), fault)];
        assert_guarded(guard, &refused, || faults(&cheat(&cluster)));
    }
}

/// Runs with node 1's envelope of `round` to everyone changed.
fn run_with(cluster: &Cluster, round: u8, edit: impl Fn(&Cluster, &mut RoundMessage)) -> Outcomes {
    cluster.run(&mut |history| {
        if history.len() == usize::from(round) {
            let outbox = history.last_mut().unwrap().get_mut(&node(1)).unwrap();
            outbox.values_mut().for_each(|m| edit(cluster, m));
        }
    })
}

#[test]
fn envelopes_are_checked_in_every_round_of_every_kind() {
    for round in 1..=3 {
        assert_each(Guard::Present, Fault::WrongParticipants, |c| {
            c.run(&mut |history| {
                if history.len() == usize::from(round) {
                    history.last_mut().unwrap().remove(&node(1));
                }
            })
        });
        assert_each(Guard::Round, Fault::WrongRound, |c| {
            run_with(c, round, |_, m| m.round = round % 3 + 1)
        });
        assert_each(Guard::NothingPrivate, Fault::WrongLength, |c| {
            run_with(c, round, |_, m| m.private = vec![0])
        });
        assert_each(Guard::Bounded, Fault::WrongLength, |c| {
            run_with(c, round, |c, m| {
                *m = c.message(round, node(1), vec![0; 4097])
            })
        });
        assert_each(Guard::Signed, Fault::BadBroadcastSignature, |c| {
            run_with(c, round, |_, m| m.signature[0] ^= 1)
        });
    }
    for (cluster, mut other) in kinds(Scheme::Model).into_iter().zip(kinds(Scheme::Model)) {
        other.params.ceremony = CeremonyId([99; 16]);
        if let Some(params) = &mut other.succession {
            params.ceremony = CeremonyId([99; 16]);
        }
        let refused = vec![(Some(node(1)), Fault::ContextDiffers)];
        assert_guarded(Guard::SameCeremony, &refused, || {
            let mut started = cluster.start();
            started.insert(node(1), other.start_one(node(1)).unwrap());
            faults(&cluster.run_from(started, &mut |_| {}))
        });
    }
}

#[test]
fn ceremony_keys_are_one_for_each_dealer_in_every_kind() {
    assert_each(Guard::KeyForEach, Fault::BadCeremonyKey, |c| {
        c.run_edited(1, |b: &mut CommitBody| {
            let mut more = b.keys[0].clone();
            (more.dealer, more.key[0]) = (node(9), more.key[0] ^ 1);
            b.keys.push(more);
        })
    });
    // Three dealers are the fewest with which anybody has two keys to confuse.
    for cluster in [
        Cluster::new(Scheme::Model, 2, 3),
        Cluster::refresh(Scheme::Model, 2, 3),
        Cluster::after(
            dealt(Scheme::Model, 3, 4),
            &[1, 2, 3, 4],
            reshare(2, &[1, 2, 3]),
        ),
    ] {
        let refused = vec![(Some(node(1)), Fault::BadCeremonyKey)];
        assert_guarded(Guard::KeysDistinct, &refused, || {
            faults(&cluster.run_edited(1, |b: &mut CommitBody| b.keys[1].key = b.keys[0].key))
        });
    }
}

#[test]
fn second_broadcasts_are_checked_in_every_kind() {
    assert_each(Guard::SameView, Fault::ContextDiffers, |c| {
        c.run_edited(2, |b: &mut DealBody| b.round1[0] ^= 1)
    });
    assert_each(Guard::Receivers, Fault::WrongLength, |c| {
        c.run_edited(2, |b: &mut DealBody| {
            let mut more = b.dealings[0].clone();
            more.receiver = node(9);
            b.dealings.push(more);
        })
    });
    assert_each(Guard::Opens, Fault::BadCommitment, |c| {
        c.run_edited(2, |b: &mut DealBody| {
            b.opening.as_mut().unwrap().salt[0] ^= 1;
        })
    });
}

/// A polynomial that node 1 may deal in this ceremony, but of this size.
fn fitting<G: Group>(cluster: &Cluster, size: u8) -> Polynomial<G> {
    let plan = cluster.plan();
    let constant = match plan.weight::<G>(node(1)) {
        Some(weight) => {
            weight * G::decode_scalar(cluster.shares[&node(1)].secret.expose()).unwrap()
        }
        None if cluster.succession.is_some() => G::zero(),
        None => G::Scalar::from(11),
    };
    Polynomial::through(&constant, size, &mut rng(50))
}

#[test]
fn polynomials_have_exactly_the_degree_of_the_threshold_in_every_kind() {
    fn check<G: Group>(scheme: Scheme) {
        for cluster in kinds(scheme) {
            let threshold = cluster.plan().params.threshold;
            for size in [threshold - 1, threshold + 1] {
                let refused = vec![(Some(node(1)), Fault::WrongDegree)];
                assert_guarded(Guard::Degree, &refused, || {
                    let polynomial = fitting::<G>(&cluster, size);
                    faults(&cluster.run_crafted(polynomial, |_| {}))
                });
            }
        }
    }
    check::<Model>(Scheme::Model);
    check::<Ed25519>(Scheme::Ed25519);
}

#[test]
fn an_identity_among_the_coefficients_is_refused_in_every_kind() {
    for cluster in kinds(Scheme::Ed25519) {
        let polynomial = fitting::<Ed25519>(&cluster, cluster.plan().params.threshold);
        let outcomes = cluster.run_crafted(polynomial, |opening| {
            let mut identity = vec![0; 32];
            identity[0] = 1;
            *opening.coefficients.last_mut().unwrap() = identity.into();
        });
        assert_blamed(&outcomes, Fault::BadPoint);
    }
}

#[test]
fn a_proof_is_of_the_constant_and_no_constant_is_copied() {
    let cluster = Cluster::new(Scheme::Model, 2, 3);
    let sid = cluster.sid();
    let dealer = Dealer {
        sid: &sid,
        node: node(1),
    };
    let refused = vec![(Some(node(1)), Fault::BadProofOfPossession)];
    assert_guarded(Guard::Possession, &refused, || {
        let prove = super::super::dealer::prove::<Model>;
        faults(
            &cluster.run_crafted(fitting::<Model>(&cluster, 2), |opening| {
                prove(dealer, opening, &8u64.into(), &mut rng(3));
            }),
        )
    });
    let copied = vec![
        (Some(node(1)), Fault::CopiedDealer),
        (Some(node(3)), Fault::CopiedDealer),
    ];
    assert_guarded(Guard::Copied, &copied, || {
        let started = [(1, 7u64), (2, 3), (3, 7)].map(|(me, constant)| {
            let coefficients = vec![constant.into(), u64::from(me).into()];
            let polynomial = Polynomial::<Model>::from_coefficients(coefficients);
            let (round, outbox) = cluster.craft(node(me), polynomial, |_| {});
            (node(me), (Box::new(round) as Box<dyn Round<_>>, outbox))
        });
        faults(&cluster.run_from(started.into(), &mut |_| {}))
    });
}

#[test]
fn dealings_that_do_not_fit_are_refused_in_every_kind() {
    for cluster in kinds(Scheme::Model) {
        let refused = vec![(Some(node(1)), Fault::WrongDealing)];
        assert_guarded(Guard::Dealing, &refused, || {
            let polynomial = fitting::<Model>(&cluster, cluster.plan().params.threshold);
            // The last coefficient is shown as another one than the dealings have.
            faults(&cluster.run_crafted(polynomial, |opening| {
                let other = Model::encode_point(&5u64.into());
                *opening.coefficients.last_mut().unwrap() = other.into();
                if cluster.succession.is_none() {
                    let sid = cluster.sid();
                    let dealer = Dealer {
                        sid: &sid,
                        node: node(1),
                    };
                    let constant = 11u64.into();
                    let prove = super::super::dealer::prove::<Model>;
                    prove(dealer, opening, &constant, &mut rng(3));
                }
            }))
        });
    }
}

#[test]
fn echoes_are_of_one_transcript_and_of_ones_own_share_in_every_kind() {
    assert_each(Guard::EchoTranscript, Fault::TranscriptDiffers, |c| {
        c.run_edited(3, |b: &mut EchoBody| b.transcript[0] ^= 1)
    });
    assert_each(Guard::EchoShare, Fault::BadEcho, |c| {
        c.run_edited(3, |b: &mut EchoBody| b.share_point[31] ^= 1)
    });
}
