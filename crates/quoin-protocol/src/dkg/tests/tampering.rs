//! Any byte of any message of a refresh or a reshare changed and signed again by a cheat, for
//! everyone or for one receiver only: nobody honest accepts a wrong share, and nobody honest is
//! blamed.

use super::*;
use crate::Class;
use proptest::prelude::*;

/// What a cheat does to one of its messages.
#[derive(Clone, Debug)]
enum Change {
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Insert(prop::sample::Index, u8),
    Replace(Vec<u8>),
}

impl Change {
    fn apply(&self, body: &mut Vec<u8>) {
        match self {
            Self::Flip(place, mask) => {
                let place = place.index(body.len());
                body[place] ^= mask;
            }
            Self::Cut(place) => body.truncate(place.index(body.len())),
            Self::Insert(place, byte) => body.insert(place.index(body.len()), *byte),
            Self::Replace(bytes) => body.clone_from(bytes),
        }
    }
}

fn change() -> impl Strategy<Value = Change> {
    let place = any::<prop::sample::Index>;
    prop_oneof![
        6 => (place(), 1u8..).prop_map(|(at, mask)| Change::Flip(at, mask)),
        1 => place().prop_map(Change::Cut),
        1 => (place(), any::<u8>()).prop_map(|(at, byte)| Change::Insert(at, byte)),
        1 => prop::collection::vec(any::<u8>(), 0..300).prop_map(Change::Replace),
    ]
}

fn cluster(kind: u8) -> Cluster {
    let scheme = [Scheme::Ecdsa, Scheme::Ed25519, Scheme::Model][usize::from(kind % 3)];
    match kind / 3 {
        0 => Cluster::refresh(scheme, 2, 4),
        1 => Cluster::reshare(scheme),
        // Nodes 2 and 3 deal, so the cheat only receives.
        _ => Cluster::after(dealt(scheme, 2, 3), &[1, 2, 3, 4], reshare(3, &[2, 3])),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn a_changed_message_never_gives_a_wrong_share_nor_blames_the_honest(
        kind in 0u8..9, round in 1u8..=3, change in change(), only in prop::option::of(2u8..=4),
    ) {
        let cluster = cluster(kind);
        let outcomes = cluster.run(&mut |history| {
            if history.len() == usize::from(round) {
                let outbox = history.last_mut().unwrap().get_mut(&node(1)).unwrap();
                for (to, message) in outbox.iter_mut() {
                    if only.is_none_or(|only| only == to.get()) {
                        let mut body = message.broadcast.clone();
                        change.apply(&mut body);
                        *message = cluster.message(round, node(1), body);
                    }
                }
            }
        });
        let honest = outcomes.iter().filter(|(me, _)| me.get() != 1);
        let mut records = Vec::new();
        for (me, outcome) in honest {
            match outcome {
                Ok(generated) => {
                    prop_assert!(generated.share.matches_public(), "{me:?}");
                    records.push(&generated.share.public);
                }
                Err(abort) => {
                    for (culprit, fault) in &abort.faults {
                        let fair = fault.class() == Class::NotAttributable
                            || *culprit == Some(node(1));
                        prop_assert!(fair, "{me:?} blames {culprit:?} for {fault:?}");
                    }
                    let params = cluster.succession.as_ref().unwrap();
                    for complaint in &abort.complaints {
                        prop_assert_eq!(complaint.accused(), node(1));
                        let outsider = super::super::Witnessed::default();
                        let verdict =
                            complaint.judge_succession(params, &cluster.nodes, &outsider);
                        let convicts = matches!(verdict, super::super::Verdict::DealerWrong(_));
                        prop_assert!(convicts, "{verdict:?}");
                    }
                }
            }
        }
        prop_assert!(records.windows(2).all(|w| w[0] == w[1]));
        if only.is_none() {
            prop_assert!(records.is_empty(), "a change that everyone saw was accepted");
        }
    }
}
