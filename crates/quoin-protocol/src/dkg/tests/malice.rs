//! Participants that break one rule of the ceremony each.

use super::super::for_scheme;
use super::super::wire::{CommitBody, DealBody, EchoBody, Possession};
use super::super::{Ed25519, Model};
use super::*;
use quoin_core::statement::Endorsement;
use quoin_core::tags;

/// Runs a test's body for each scheme, with its group.
macro_rules! each_scheme {
    (|$scheme:ident, $group:ident| $body:expr) => {
        for $scheme in SCHEMES {
            for_scheme!($scheme, $group => $body, unreachable!());
        }
    };
}

/// A dealer's opening in its second broadcast.
fn opening(body: &mut DealBody) -> &mut Opening {
    body.opening.as_mut().unwrap()
}

/// The proof in a dealer's opening.
fn proof(opening: &mut Opening) -> &mut Possession {
    opening.proof.as_mut().unwrap()
}

fn crafted<G: Group>(scheme: Scheme, threshold: u8, edit: impl FnOnce(&mut Opening)) -> Outcomes {
    let polynomial = Polynomial::<G>::random(threshold, &mut rng(50));
    Cluster::new(scheme, 2, 3).run_crafted(polynomial, edit)
}

#[test]
fn keys_must_be_one_for_each_dealer_and_all_different() {
    type Edit = fn(&mut CommitBody);
    let edits: [(&str, Edit); 5] = [
        ("missing", |b| {
            b.keys.pop();
        }),
        ("twice", |b| b.keys[1].key = b.keys[0].key),
        ("out of order", |b| b.keys.reverse()),
        ("for oneself", |b| b.keys[0].dealer = node(1)),
        ("one more", |b| {
            let mut more = b.keys[1].clone();
            more.dealer = node(4);
            more.key[0] ^= 1;
            b.keys.push(more);
        }),
    ];
    for (name, edit) in edits {
        println!("{name}");
        let outcomes = Cluster::new(Scheme::Model, 2, 3).run_edited(1, edit);
        assert_blamed(&outcomes, Fault::BadCeremonyKey);
    }
}

#[test]
fn a_key_of_small_order_is_refused_by_the_dealer_it_is_for() {
    let outcomes = Cluster::new(Scheme::Model, 2, 3)
        .run_edited(1, |b: &mut CommitBody| b.keys[0].key = [0; 32]);
    let abort = outcomes[&node(2)].as_ref().unwrap_err();
    assert_eq!(abort.faults, [(Some(node(1)), Fault::BadCeremonyKey)]);
}

#[test]
fn another_view_of_round_one_is_found_in_round_two() {
    let outcomes =
        Cluster::new(Scheme::Model, 2, 3).run_edited(2, |b: &mut DealBody| b.round1[0] ^= 1);
    assert_blamed(&outcomes, Fault::ContextDiffers);
    let abort = outcomes[&node(2)].as_ref().unwrap_err();
    assert_eq!(abort.class(), crate::Class::NotAttributable);
    assert!(abort.complaints.is_empty());
}

#[test]
fn equivocation_in_round_one_ends_the_ceremony_for_everyone_it_touched() {
    let cluster = Cluster::new(Scheme::Model, 2, 4);
    let outcomes = cluster.run(&mut |history| {
        if history.len() == 1 {
            let outbox = history[0].get_mut(&node(1)).unwrap();
            let message = outbox.get_mut(&node(4)).unwrap();
            let mut body: CommitBody = cbor::decode(&message.broadcast, 4096).unwrap();
            body.commitment.as_mut().unwrap()[0] ^= 1;
            *message = cluster.message(1, node(1), cbor::encode(&body));
        }
    });
    for me in [2, 3] {
        let faults = &outcomes[&node(me)].as_ref().unwrap_err().faults;
        assert_eq!(faults, &[(Some(node(4)), Fault::ContextDiffers)]);
    }
    let faults = &outcomes[&node(4)].as_ref().unwrap_err().faults;
    assert!(
        faults
            .iter()
            .all(|(_, fault)| *fault == Fault::ContextDiffers)
    );
    assert_eq!(faults.len(), 3);
}

#[test]
fn dealings_must_be_one_for_each_receiver() {
    let edits: [fn(&mut DealBody); 3] = [
        |b| {
            b.dealings.pop();
        },
        |b| b.dealings.reverse(),
        |b| b.dealings[1].receiver = node(4),
    ];
    for edit in edits {
        let outcomes = Cluster::new(Scheme::Model, 2, 3).run_edited(2, edit);
        assert_blamed(&outcomes, Fault::WrongLength);
    }
}

#[test]
fn the_commitment_must_open_to_what_is_shown() {
    let edits: [fn(&mut DealBody); 4] = [
        |b| opening(b).salt[0] ^= 1,
        |b| proof(opening(b)).response[31] ^= 1,
        |b| proof(opening(b)).nonce = vec![0; 32],
        |b| {
            opening(b).coefficients.pop();
        },
    ];
    for scheme in SCHEMES {
        for edit in edits {
            let outcomes = Cluster::new(scheme, 2, 3).run_edited(2, edit);
            assert_blamed(&outcomes, Fault::BadCommitment);
        }
    }
}

#[test]
fn a_last_mover_cannot_choose_its_part_after_seeing_the_others() {
    // The rogue key: node 1 answers with a constant term that cancels node 2's.
    let cluster = Cluster::new(Scheme::Model, 2, 3);
    let outcomes = cluster.run(&mut |history| {
        if history.len() == 2 {
            let theirs = history[1][&node(2)][&node(1)].broadcast.clone();
            let theirs: DealBody = cbor::decode(&theirs, 4096).unwrap();
            let outbox = history[1].get_mut(&node(1)).unwrap();
            let first = outbox.values().next().unwrap();
            let mut body: DealBody = cbor::decode(&first.broadcast, 4096).unwrap();
            let point = Model::decode_point(&theirs.opening.unwrap().coefficients[0]).unwrap();
            opening(&mut body).coefficients[0] = (-point).to_bytes().to_vec().into();
            let message = cluster.message(2, node(1), cbor::encode(&body));
            outbox.values_mut().for_each(|m| *m = message.clone());
        }
    });
    assert_blamed(&outcomes, Fault::BadCommitment);
}

#[test]
fn a_polynomial_of_another_degree_is_refused() {
    each_scheme!(|scheme, G| for threshold in [1, 3] {
        let outcomes = crafted::<G>(scheme, threshold, |_| {});
        assert_blamed(&outcomes, Fault::WrongDegree);
    });
}

#[test]
fn coefficients_and_nonces_must_be_canonical_points_of_prime_order() {
    each_scheme!(|scheme, G| {
        for bad in bad_points(scheme) {
            for place in 0..3 {
                let outcomes = crafted::<G>(scheme, 2, |opening| match place {
                    2 => proof(opening).nonce.clone_from(&bad),
                    _ => opening.coefficients[place] = bad.clone().into(),
                });
                assert_blamed(&outcomes, Fault::BadPoint);
            }
        }
    });
}

fn bad_points(scheme: Scheme) -> Vec<Vec<u8>> {
    let mut identity = vec![0u8; 32];
    identity[0] = 1;
    let torsion = curve25519_dalek::constants::EIGHT_TORSION[1];
    let mixed = Ed25519::generator() + torsion;
    match scheme {
        Scheme::Ecdsa | Scheme::Taproot => vec![vec![0], vec![0; 33], vec![2; 32], vec![0xff; 33]],
        Scheme::Ed25519 => vec![
            identity,
            Ed25519::encode_point(&mixed),
            Ed25519::encode_point(&torsion),
            vec![0xff; 32],
            vec![],
        ],
        Scheme::Model => vec![vec![0; 32], vec![0xff; 32], vec![0; 31]],
    }
}

#[test]
fn the_proofs_response_must_be_canonical() {
    each_scheme!(|scheme, G| {
        let outcomes = crafted::<G>(scheme, 2, |opening| {
            proof(opening).response = [0xff; 32];
        });
        assert_blamed(&outcomes, Fault::BadScalar);
    });
}

#[test]
fn a_proof_of_possession_of_something_else_is_refused() {
    each_scheme!(|scheme, G| check_possession_of_something_else::<G>(scheme));
}

fn check_possession_of_something_else<G: Group>(scheme: Scheme) {
    let cluster = Cluster::new(scheme, 2, 3);
    let sid = cluster.sid();
    let places = [(sid, 2, 7u64), ([0; 32], 1, 7), (sid, 1, 8)];
    for (sid, index, constant) in places {
        // The constant term is 7: a proof for another dealer, ceremony or secret.
        let coefficients = vec![G::Scalar::from(7), G::Scalar::from(5)];
        let polynomial = Polynomial::<G>::from_coefficients(coefficients);
        let dealer = Dealer {
            sid: &sid,
            node: node(index),
        };
        let constant = G::Scalar::from(constant);
        let outcomes = cluster.run_crafted(polynomial, |opening| {
            super::super::dealer::prove::<G>(dealer, opening, &constant, &mut rng(3));
        });
        assert_blamed(&outcomes, Fault::BadProofOfPossession);
    }
}

/// Starts everyone with polynomials of these coefficients.
fn start_with<G: Group>(
    cluster: &Cluster,
    coefficients: &[[G::Scalar; 2]],
) -> BTreeMap<NodeIndex, Started> {
    let polynomials = coefficients.iter().map(|c| c.to_vec());
    let polynomials = polynomials.map(Polynomial::<G>::from_coefficients);
    (1..)
        .map(node)
        .zip(polynomials)
        .map(|(me, polynomial)| {
            let (round, outbox) = cluster.craft(me, polynomial, |_| {});
            (me, (Box::new(round) as Box<dyn Round<Generated>>, outbox))
        })
        .collect()
}

#[test]
fn two_dealers_with_one_constant_term_are_refused() {
    each_scheme!(|scheme, G| check_copied_dealers::<G>(scheme));
}

fn check_copied_dealers<G: Group>(scheme: Scheme) {
    let cluster = Cluster::new(scheme, 2, 4);
    let of = |a: u64, b: u64| [G::Scalar::from(a), G::Scalar::from(b)];
    let coefficients = [of(7, 1), of(3, 2), of(4, 3), of(7, 4)];
    let started = start_with::<G>(&cluster, &coefficients);
    let outcomes = cluster.run_from(started, &mut |_| {});
    let fault = Fault::CopiedDealer;
    for me in [2, 3] {
        let faults = &outcomes[&node(me)].as_ref().unwrap_err().faults;
        assert_eq!(faults, &[(Some(node(1)), fault), (Some(node(4)), fault)]);
    }
    let faults = &outcomes[&node(4)].as_ref().unwrap_err().faults;
    assert_eq!(faults, &[(Some(node(1)), fault)]);
}

#[test]
fn a_key_or_share_of_zero_starts_again() {
    each_scheme!(|scheme, G| check_degenerate_keys::<G>(scheme));
}

fn check_degenerate_keys<G: Group>(scheme: Scheme) {
    let cluster = Cluster::new(scheme, 2, 3);
    let of = |a: u64| G::Scalar::from(a);
    let minus = |a: u64| G::zero() - of(a);
    let zero_key = [[of(1), of(5)], [of(2), of(6)], [minus(3), of(7)]];
    // The sum of these is 6 - 3x, which is zero at node 2.
    let zero_share = [[of(1), of(5)], [of(2), of(6)], [of(3), minus(14)]];
    for coefficients in [zero_key, zero_share] {
        let started = start_with::<G>(&cluster, &coefficients);
        let outcomes = cluster.run_from(started, &mut |_| {});
        assert_all_abort(&outcomes, &[(None, Fault::DegenerateKey)]);
    }
}

#[test]
fn an_echo_of_another_transcript_is_not_attributed() {
    let outcomes =
        Cluster::new(Scheme::Model, 2, 3).run_edited(3, |b: &mut EchoBody| b.transcript[0] ^= 1);
    assert_blamed(&outcomes, Fault::TranscriptDiffers);
    assert_eq!(
        outcomes[&node(2)].as_ref().unwrap_err().class(),
        crate::Class::NotAttributable
    );
}

#[test]
fn equivocation_in_round_two_is_found_by_the_echo() {
    // Node 1 shows node 3 a broadcast in which only node 2's dealing differs, and node 2 the
    // right one: each passes its own checks, so only the transcripts can tell.
    let cluster = Cluster::new(Scheme::Ed25519, 2, 3);
    let outcomes = cluster.run(&mut |history| {
        if history.len() == 2 {
            let outbox = history[1].get_mut(&node(1)).unwrap();
            let message = outbox.get_mut(&node(3)).unwrap();
            let mut body: DealBody = cbor::decode(&message.broadcast, 4096).unwrap();
            body.dealings[0].ciphertext[0] ^= 1;
            *message = cluster.message(2, node(1), cbor::encode(&body));
        }
    });
    for (me, peer) in [(2, 3), (3, 2)] {
        let faults = &outcomes[&node(me)].as_ref().unwrap_err().faults;
        assert!(faults.contains(&(Some(node(peer)), Fault::TranscriptDiffers)));
    }
}

#[test]
fn an_echo_with_another_share_is_refused() {
    each_scheme!(|scheme, G| {
        let outcomes = Cluster::new(scheme, 2, 3).run_edited(3, |b: &mut EchoBody| {
            b.share_point = G::encode_point(&G::generator());
        });
        assert_blamed(&outcomes, Fault::BadEcho);
    });
}

#[test]
fn no_message_of_a_ceremony_holds_an_endorsement_of_the_key() {
    // Whoever collects every broadcast of a ceremony must not be able to show a certificate, since
    // the others may not have finished, let alone have stored a share.
    let cluster = Cluster::new(Scheme::Ed25519, 2, 3);
    let mut bodies = Vec::new();
    let outcomes = cluster.run(&mut |history| {
        let sent = history.last().unwrap().values().flat_map(BTreeMap::values);
        bodies.extend(sent.map(|m| m.broadcast.clone()));
    });
    let public = outcomes[&node(1)].as_ref().unwrap().share.public.clone();
    let payload = cbor::encode(&public);
    assert_eq!(bodies.len(), 3 * 3 * 2);
    for identity in cluster.identities.values() {
        let endorsement = Endorsement::detached(tags::KEY_CERTIFICATE, &payload, identity);
        for body in &bodies {
            let signature = endorsement.signature().as_slice();
            assert!(!body.windows(signature.len()).any(|w| w == signature));
        }
    }
}

#[test]
fn a_cheat_that_withholds_its_echo_leaves_no_second_record_behind() {
    // Node 1 hears everyone and finishes; the others lack its echo and have nothing to store.
    let outcomes = Cluster::new(Scheme::Model, 2, 3).run(&mut |history| {
        if history.len() == 3 {
            history.last_mut().unwrap().remove(&node(1));
        }
    });
    assert!(outcomes[&node(1)].is_ok());
    assert_blamed(&outcomes, Fault::WrongParticipants);
}

/// Node 1 holds a ceremony with another header, as its own state tells it.
fn start_apart(
    cluster: &Cluster,
    edit: impl FnOnce(&mut DkgParams),
) -> BTreeMap<NodeIndex, Started> {
    let mut started = cluster.start();
    let mut params = cluster.params.clone();
    edit(&mut params);
    let apart = super::super::start(params, cluster.roster(node(1)), &mut rng(1)).unwrap();
    started.insert(node(1), apart);
    started
}

#[test]
fn a_node_with_another_header_is_not_blamed_and_blames_nobody() {
    let edits: [fn(&mut DkgParams); 3] = [
        |p| p.charter = CharterNumber(9),
        |p| p.boots[2].generation = Generation(99),
        |p| p.threshold = 3,
    ];
    for edit in edits {
        let cluster = Cluster::new(Scheme::Model, 2, 3);
        let outcomes = cluster.run_from(start_apart(&cluster, edit), &mut |_| {});
        assert_blamed(&outcomes, Fault::ContextDiffers);
        let abort = outcomes[&node(1)].as_ref().unwrap_err();
        assert!(
            abort
                .faults
                .iter()
                .all(|(_, fault)| *fault == Fault::ContextDiffers)
        );
        for outcome in outcomes.values() {
            let class = outcome.as_ref().unwrap_err().class();
            assert_eq!(class, crate::Class::NotAttributable);
        }
    }
}

#[test]
fn a_first_broadcast_that_names_another_ceremony_is_refused_however_it_is_signed() {
    let outcomes =
        Cluster::new(Scheme::Model, 2, 3).run_edited(1, |b: &mut CommitBody| b.sid[0] ^= 1);
    assert_blamed(&outcomes, Fault::ContextDiffers);
}
