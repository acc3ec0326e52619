//! Messages that are missing, foreign, misplaced, unsigned or malformed, in every round.

use super::*;
use proptest::prelude::*;

/// Runs with node 1's message of `round` to everyone changed by `edit`.
fn run_with(round: u8, edit: impl Fn(&Cluster, &mut RoundMessage)) -> Outcomes {
    let cluster = Cluster::new(Scheme::Model, 2, 3);
    cluster.run(&mut |history| {
        if history.len() == usize::from(round) {
            let outbox = history.last_mut().unwrap().get_mut(&node(1)).unwrap();
            outbox.values_mut().for_each(|m| edit(&cluster, m));
        }
    })
}

#[test]
fn a_silent_node_is_named_in_every_round() {
    for round in 1..=3 {
        let outcomes = Cluster::new(Scheme::Model, 2, 3).run(&mut |history| {
            if history.len() == round {
                history.last_mut().unwrap().remove(&node(1));
            }
        });
        assert_blamed(&outcomes, Fault::WrongParticipants);
    }
}

#[test]
fn one_missing_message_of_many_is_enough() {
    for round in 1..=3 {
        let outcomes = Cluster::new(Scheme::Model, 3, 5).run(&mut |history| {
            if history.len() == round {
                let outbox = history.last_mut().unwrap().get_mut(&node(4)).unwrap();
                outbox.remove(&node(2));
            }
        });
        let abort = outcomes[&node(2)].as_ref().unwrap_err();
        assert_eq!(abort.faults, [(Some(node(4)), Fault::WrongParticipants)]);
        assert_eq!(abort.class(), crate::Class::NotAttributable);
    }
}

#[test]
fn a_stranger_and_an_echo_of_oneself_are_refused() {
    for (from, as_from) in [(1, 9), (1, 2)] {
        let outcomes = Cluster::new(Scheme::Model, 2, 3).run(&mut |history| {
            let sent = history.last_mut().unwrap();
            let message = sent[&node(from)][&node(2)].clone();
            let outbox = sent.entry(node(as_from)).or_default();
            outbox.insert(node(2), message);
        });
        let abort = outcomes[&node(2)].as_ref().unwrap_err();
        let fault = Fault::WrongParticipants;
        assert_eq!(abort.faults, [(Some(node(as_from)), fault)]);
    }
}

#[test]
fn a_message_of_another_round_is_refused() {
    for round in 1..=3 {
        let outcomes = run_with(round, |_, m| m.round = round % 3 + 1);
        assert_blamed(&outcomes, Fault::WrongRound);
    }
}

#[test]
fn a_private_part_is_refused() {
    for round in 1..=3 {
        let outcomes = run_with(round, |_, m| m.private = vec![0]);
        assert_blamed(&outcomes, Fault::WrongLength);
    }
}

#[test]
fn a_broadcast_over_the_limit_is_refused_before_it_is_read() {
    for round in 1..=3 {
        let outcomes = run_with(round, |cluster, m| {
            *m = cluster.message(round, node(1), vec![0; 4097]);
        });
        assert_blamed(&outcomes, Fault::WrongLength);
    }
}

#[test]
fn a_signature_of_another_place_is_refused() {
    for round in 1..=3 {
        type Resign = fn(&Cluster, u8, &[u8]) -> [u8; 64];
        let signers: [(&str, Resign); 5] = [
            ("nobody", |_, _, _| [0; 64]),
            ("another node", |c, round, body| {
                c.identities[&node(2)].sign(&digest(&c.sid(), round, node(1), body))
            }),
            ("another sender", |c, round, body| {
                c.identities[&node(1)].sign(&digest(&c.sid(), round, node(2), body))
            }),
            ("another round", |c, round, body| {
                c.identities[&node(1)].sign(&digest(&c.sid(), round + 1, node(1), body))
            }),
            ("another ceremony", |c, round, body| {
                c.identities[&node(1)].sign(&digest(&[0; 32], round, node(1), body))
            }),
        ];
        for (name, resign) in signers {
            let outcomes = run_with(round, |cluster, m| {
                m.signature = resign(cluster, round, &m.broadcast);
            });
            println!("{name}");
            assert_blamed(&outcomes, Fault::BadBroadcastSignature);
        }
    }
}

#[test]
fn a_broadcast_that_is_not_canonical_is_refused() {
    for round in 1..=3 {
        let edits: [fn(&mut Vec<u8>); 4] = [
            |body| body.push(0),
            |body| body.clear(),
            |body| body[1] = 2,
            |body| {
                body.pop();
            },
        ];
        for edit in edits {
            let outcomes = run_with(round, |cluster, m| {
                let mut body = m.broadcast.clone();
                edit(&mut body);
                *m = cluster.message(round, node(1), body);
            });
            assert_blamed(&outcomes, Fault::MalformedBroadcast);
        }
    }
}

#[test]
fn all_cheats_of_a_round_are_named_at_once() {
    let cluster = Cluster::new(Scheme::Model, 2, 4);
    let outcomes = cluster.run(&mut |history| {
        if history.len() == 2 {
            let sent = history.last_mut().unwrap();
            for (from, outbox) in sent.iter_mut().filter(|(from, _)| from.get() < 3) {
                let message = cluster.message(2, *from, vec![0]);
                outbox.values_mut().for_each(|m| *m = message.clone());
            }
        }
    });
    let abort = outcomes[&node(4)].as_ref().unwrap_err();
    let fault = Fault::MalformedBroadcast;
    assert_eq!(
        abort.faults,
        [(Some(node(1)), fault), (Some(node(2)), fault)]
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// The flipped byte is signed again, so only the content's own checks stand in its way.
    #[test]
    fn no_honest_node_finishes_when_a_byte_was_flipped(
        round in 1u8..=3, place in any::<prop::sample::Index>(), mask in 1u8.., ed in any::<bool>(),
    ) {
        let scheme = if ed { Scheme::Ed25519 } else { Scheme::Model };
        let cluster = Cluster::new(scheme, 2, 3);
        let outcomes = cluster.run(&mut |history| {
            if history.len() == usize::from(round) {
                let outbox = history.last_mut().unwrap().get_mut(&node(1)).unwrap();
                for message in outbox.values_mut() {
                    let mut body = message.broadcast.clone();
                    let place = place.index(body.len());
                    body[place] ^= mask;
                    *message = cluster.message(round, node(1), body);
                }
            }
        });
        for me in [node(2), node(3)] {
            prop_assert!(outcomes[&me].is_err());
        }
    }

    #[test]
    fn arbitrary_broadcasts_never_panic(round in 1u8..=3, body in prop::collection::vec(any::<u8>(), 0..300)) {
        let cluster = Cluster::new(Scheme::Model, 2, 3);
        let outcomes = cluster.run(&mut |history| {
            if history.len() == usize::from(round) {
                let outbox = history.last_mut().unwrap().get_mut(&node(1)).unwrap();
                for message in outbox.values_mut() {
                    *message = cluster.message(round, node(1), body.clone());
                }
            }
        });
        prop_assert!(outcomes[&node(2)].is_err());
    }
}
