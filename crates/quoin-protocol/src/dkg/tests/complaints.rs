//! Complaints, true and false.

use super::super::complaint::{Evidence, Witnessed};
use super::super::dealer::seal_dealing;
use super::super::rounds::Dealt;
use super::super::seal::{self, Place};
use super::super::wire::{CommitBody, DealBody, SignedBody};
use super::super::{AccuserFault, Complaint, Ed25519, Model, Secp256k1, Verdict, VoidReason};
use super::*;
use proptest::prelude::*;

/// How node 1 spoils its dealing to node 2.
#[derive(Clone, Copy)]
enum Spoil {
    AnotherValue,
    NotCanonical,
    Garbage,
    AnothersDealing,
    WrongLength,
}

const SPOILS: [(Spoil, Fault); 5] = [
    (Spoil::AnotherValue, Fault::WrongDealing),
    (Spoil::NotCanonical, Fault::BadScalar),
    (Spoil::Garbage, Fault::UndecryptableDealing),
    (Spoil::AnothersDealing, Fault::UndecryptableDealing),
    (Spoil::WrongLength, Fault::UndecryptableDealing),
];

/// Runs a ceremony with a spoilt dealing; gives the outcomes and everything that was sent.
fn run_spoilt<G: Group>(cluster: &Cluster, spoil: Spoil) -> (Outcomes, Vec<Sent>) {
    let mut seen = Vec::new();
    let outcomes = cluster.run(&mut |history| {
        if history.len() == 2 {
            spoil_dealing::<G>(cluster, spoil, history);
        }
        seen.clone_from(history);
    });
    (outcomes, seen)
}

fn spoil_dealing<G: Group>(cluster: &Cluster, spoil: Spoil, history: &mut [Sent]) {
    let round1 = &history[0][&node(2)][&node(1)].broadcast;
    let keys: CommitBody = cbor::decode(round1, 4096).unwrap();
    let key = keys.keys[0].key;
    let outbox = history[1].get_mut(&node(1)).unwrap();
    let first = outbox.values().next().unwrap();
    let mut body: DealBody = cbor::decode(&first.broadcast, 4096).unwrap();
    let sid = cluster.sid();
    let place = Place {
        sid: &sid,
        dealer: node(1),
        receiver: node(2),
    };
    let dealer = Dealer {
        sid: &sid,
        node: node(1),
    };
    match spoil {
        Spoil::AnotherValue => {
            let value = G::Scalar::from(5);
            let sealed = seal_dealing::<G>(dealer, node(2), &key, &value, &mut rng(1));
            body.dealings[0] = sealed.unwrap();
        }
        Spoil::NotCanonical => {
            let sealed = seal::seal(&key, place, &[0xff; 32], &mut rng(1)).unwrap();
            (body.dealings[0].encapsulated, body.dealings[0].ciphertext) = sealed;
        }
        Spoil::Garbage => body.dealings[0].ciphertext[7] ^= 1,
        Spoil::AnothersDealing => {
            body.dealings[0] = body.dealings[1].clone();
            body.dealings[0].receiver = node(2);
        }
        Spoil::WrongLength => {
            body.dealings[0].ciphertext.pop();
        }
    }
    let message = cluster.message(2, node(1), cbor::encode(&body));
    outbox.values_mut().for_each(|m| *m = message.clone());
}

/// What `me` heard in the ceremony.
fn witnessed(history: &[Sent], me: NodeIndex) -> Witnessed {
    let round = |r: usize| history.get(r).map(|sent| inbox_of(sent, me));
    Witnessed {
        round1: round(0).unwrap_or_default(),
        round2: round(1).unwrap_or_default(),
        round3: round(2).unwrap_or_default(),
    }
}

fn check_true_complaints<G: Group>(scheme: Scheme) {
    for (spoil, fault) in SPOILS {
        let cluster = Cluster::new(scheme, 2, 3);
        let (outcomes, history) = run_spoilt::<G>(&cluster, spoil);
        let abort = outcomes[&node(2)].as_ref().unwrap_err();
        assert_eq!(abort.faults, [(Some(node(1)), fault)]);
        assert_eq!(abort.complaints.len(), 1);
        let bytes = abort.complaints[0].to_bytes();
        let complaint = Complaint::from_bytes(&bytes).unwrap();
        assert_eq!(
            (complaint.accuser(), complaint.accused()),
            (node(2), node(1))
        );
        for judge in [1, 3] {
            // Node 3 had signed its echo by then and heard none of node 2's.
            let witnessed = witnessed(&history, node(judge));
            let verdict = complaint.judge(&cluster.params, &cluster.nodes, &witnessed);
            assert_eq!(verdict, Verdict::DealerWrong(fault), "judge {judge}");
        }
        let outsider = Witnessed::default();
        let verdict = complaint.judge(&cluster.params, &cluster.nodes, &outsider);
        assert_eq!(verdict, Verdict::DealerWrong(fault));
        let faults = &outcomes[&node(3)].as_ref().unwrap_err().faults;
        assert!(faults.contains(&(Some(node(2)), Fault::WrongParticipants)));
    }
}

#[test]
fn a_true_complaint_convicts_the_dealer_before_every_judge() {
    check_true_complaints::<Secp256k1>(Scheme::Ecdsa);
    check_true_complaints::<Secp256k1>(Scheme::Taproot);
    check_true_complaints::<Ed25519>(Scheme::Ed25519);
    check_true_complaints::<Model>(Scheme::Model);
}

#[test]
fn a_complaint_opens_the_accused_dealers_value_only() {
    let cluster = Cluster::new(Scheme::Ed25519, 2, 3);
    let (outcomes, history) = run_spoilt::<Ed25519>(&cluster, Spoil::AnotherValue);
    let complaint = &outcomes[&node(2)].as_ref().unwrap_err().complaints[0];
    let opened = SecretBytes::take(&mut complaint.opened.clone());
    let sid = cluster.sid();
    for (dealer, opens) in [(1, true), (3, false)] {
        let body = &history[1][&node(dealer)][&node(2)].broadcast;
        let body: DealBody = cbor::decode(body, 4096).unwrap();
        let sealed = body
            .dealings
            .iter()
            .find(|d| d.receiver == node(2))
            .unwrap();
        let place = Place {
            sid: &sid,
            dealer: node(dealer),
            receiver: node(2),
        };
        let plain = seal::open(&opened, place, &sealed.encapsulated, &sealed.ciphertext);
        assert_eq!(plain.is_some(), opens, "dealer {dealer}");
    }
}

#[test]
fn nobody_complains_about_what_everyone_can_see() {
    let cluster = Cluster::new(Scheme::Model, 2, 3);
    let outcomes = cluster.run_edited(2, |b: &mut DealBody| {
        b.opening.as_mut().unwrap().salt[0] ^= 1;
    });
    assert!(
        outcomes[&node(2)]
            .as_ref()
            .unwrap_err()
            .complaints
            .is_empty()
    );
}

#[test]
fn every_bad_dealer_gets_its_own_complaint() {
    let cluster = Cluster::new(Scheme::Model, 2, 4);
    let outcomes = cluster.run(&mut |history| {
        if history.len() == 2 {
            for dealer in [1, 3] {
                let outbox = history[1].get_mut(&node(dealer)).unwrap();
                let first = outbox.values().next().unwrap();
                let mut body: DealBody = cbor::decode(&first.broadcast, 4096).unwrap();
                body.dealings.iter_mut().for_each(|d| d.ciphertext[0] ^= 1);
                let message = cluster.message(2, node(dealer), cbor::encode(&body));
                outbox.values_mut().for_each(|m| *m = message.clone());
            }
        }
    });
    let complaints = &outcomes[&node(2)].as_ref().unwrap_err().complaints;
    let accused: Vec<_> = complaints.iter().map(Complaint::accused).collect();
    assert_eq!(accused, [node(1), node(3)]);
}

/// Node 2 after round 1 of an honest ceremony, and everyone's messages of all rounds.
fn accuser(cluster: &Cluster) -> (Dealt<Model>, Vec<Sent>) {
    let mut history = Vec::new();
    let polynomial = Polynomial::<Model>::random(2, &mut rng(60));
    let mut started = cluster.start();
    let mut again = polynomial_copy(&polynomial);
    let (round, outbox) = cluster.craft(node(2), polynomial, |_| {});
    started.insert(node(2), (Box::new(round), outbox));
    cluster.run_from(started, &mut |h| history.clone_from(h));
    let (round, _) = cluster.craft(node(2), std::mem::replace(&mut again, zero()), |_| {});
    let inbox = inbox_of(&history[0], node(2));
    // The same seed as the harness has in this round, so that this is the same node 2.
    let (dealt, _) = round.deal(inbox, &mut rng(1002)).unwrap();
    (dealt, history)
}

fn zero() -> Polynomial<Model> {
    Polynomial::from_coefficients(Vec::new())
}

fn polynomial_copy(polynomial: &Polynomial<Model>) -> Polynomial<Model> {
    let constant = *polynomial.constant();
    let slope = *polynomial.at(node(1)) - constant;
    Polynomial::from_coefficients(vec![constant, slope])
}

fn heard(message: &RoundMessage) -> super::super::context::Heard {
    super::super::context::Heard {
        signed: SignedBody {
            body: message.broadcast.clone(),
            signature: message.signature,
        },
        digest: [0; 32],
    }
}

/// A complaint of node 2 against node 1, whose dealing is right, after `edit` and signed again.
fn false_complaint(edit: impl FnOnce(&Cluster, &mut Complaint)) -> (Cluster, Complaint, Vec<Sent>) {
    let cluster = Cluster::new(Scheme::Model, 2, 3);
    let (dealt, history) = accuser(&cluster);
    let round2 = heard(&history[1][&node(1)][&node(2)]);
    let mut complaint = dealt.complain(node(1), &round2).unwrap();
    edit(&cluster, &mut complaint);
    let opened = SecretBytes::take(&mut complaint.opened.clone());
    let identity = &cluster.identities[&node(2)];
    let complaint = Complaint::sign(complaint.evidence, &opened, identity);
    (cluster, complaint, history)
}

#[track_caller]
fn assert_verdict(verdict: Verdict, edit: impl FnOnce(&Cluster, &mut Complaint)) {
    let (cluster, complaint, _) = false_complaint(edit);
    let found = complaint.judge(&cluster.params, &cluster.nodes, &Witnessed::default());
    assert_eq!(found, verdict);
}

#[test]
fn a_false_complaint_convicts_its_author() {
    let wrong = Verdict::AccuserWrong(AccuserFault::DealingIsRight);
    assert_verdict(wrong, |_, _| {});
    let (cluster, complaint, mut history) = false_complaint(|_, _| {});
    history.pop();
    for judge in [1, 3] {
        let witnessed = witnessed(&history, node(judge));
        let found = complaint.judge(&cluster.params, &cluster.nodes, &witnessed);
        assert_eq!(found, wrong, "judge {judge}");
    }
}

#[test]
fn a_complaint_after_the_echo_convicts_its_author() {
    let (cluster, complaint, history) = false_complaint(|_, _| {});
    let witnessed = witnessed(&history, node(3));
    let found = complaint.judge(&cluster.params, &cluster.nodes, &witnessed);
    assert_eq!(found, Verdict::AccuserWrong(AccuserFault::AlreadyEchoed));
}

#[test]
fn a_complaint_that_opens_another_key_convicts_its_author() {
    let wrong = Verdict::AccuserWrong(AccuserFault::WrongKey);
    assert_verdict(wrong, |_, c| c.opened[5] ^= 1);
}

#[test]
fn a_complaint_over_forged_evidence_convicts_its_author() {
    let wrong = Verdict::AccuserWrong(AccuserFault::ForgedEvidence);
    assert_verdict(wrong, |_, c| c.evidence.round2.signature[0] ^= 1);
    assert_verdict(wrong, |_, c| c.evidence.round2.body[40] ^= 1);
    assert_verdict(wrong, |_, c| c.evidence.round1.signature[0] ^= 1);
    assert_verdict(wrong, |_, c| c.evidence.accused = node(2));
    assert_verdict(wrong, |_, c| c.evidence.accused = node(3));
    // Nobody can accuse itself, even with its own genuine broadcast.
    assert_verdict(wrong, |cluster, c| {
        let message = cluster.message(2, node(2), c.evidence.round2.body.clone());
        c.evidence.round2 = heard(&message).signed;
        c.evidence.accused = node(2);
    });
}

#[test]
fn a_complaint_is_judged_only_on_equal_views_of_round_one() {
    let void = Verdict::Void(VoidReason::ViewsDiffer);
    assert_verdict(void, |_, c| c.evidence.round1_digests[2][0] ^= 1);
    assert_verdict(void, |_, c| {
        c.evidence.round1_digests.pop();
    });
    assert_verdict(void, |_, c| {
        let more = c.evidence.round1_digests[0];
        c.evidence.round1_digests.push(more);
    });
    // The accuser shows another first broadcast than the dealer answered.
    assert_verdict(void, |cluster, c| {
        let mut body: CommitBody = cbor::decode(&c.evidence.round1.body, 4096).unwrap();
        body.commitment.as_mut().unwrap()[0] ^= 1;
        let message = cluster.message(1, node(2), cbor::encode(&body));
        c.evidence.round1 = heard(&message).signed;
    });
    // The judge heard another first broadcast of a third node.
    let (cluster, complaint, history) = false_complaint(|_, _| {});
    let mut witnessed = witnessed(&history[..1], node(1));
    let other = cluster.message(1, node(3), vec![1]);
    witnessed.round1.insert(node(3), other);
    let judge = |w: &Witnessed| complaint.judge(&cluster.params, &cluster.nodes, w);
    assert_eq!(judge(&witnessed), void);
    // What node 3 did not sign is not what it said.
    witnessed.round1.get_mut(&node(3)).unwrap().signature[0] ^= 1;
    let right = Verdict::AccuserWrong(AccuserFault::DealingIsRight);
    assert_eq!(judge(&witnessed), right);
}

/// Parameters under which nobody can hold a ceremony have a `sid` all the same.
#[test]
fn a_complaint_of_a_ceremony_that_cannot_be_held_proves_nothing() {
    let impossible = |params: &DkgParams| DkgParams {
        threshold: 5,
        ..params.clone()
    };
    let (cluster, complaint, _) = false_complaint(|cluster, c| {
        c.evidence.sid = impossible(&cluster.params).sid(&cluster.nodes);
    });
    let params = impossible(&cluster.params);
    let found = complaint.judge(&params, &cluster.nodes, &Witnessed::default());
    assert_eq!(found, Verdict::Void(VoidReason::OtherCeremony));
}

#[test]
fn two_signed_broadcasts_convict_the_equivocator_first() {
    let (cluster, complaint, history) = false_complaint(|_, _| {});
    let clean = witnessed(&history[..2], node(3));
    let mut forked = clean.clone();
    let other = cluster.message(1, node(2), vec![1]);
    forked.round1.insert(node(2), other);
    let found = complaint.judge(&cluster.params, &cluster.nodes, &forked);
    assert_eq!(found, Verdict::Equivocation(node(2)));

    let mut forked = clean.clone();
    let other = cluster.message(2, node(1), vec![1]);
    forked.round2.insert(node(1), other);
    let found = complaint.judge(&cluster.params, &cluster.nodes, &forked);
    assert_eq!(found, Verdict::Equivocation(node(1)));

    // What the node did not sign proves nothing against it.
    forked.round2.get_mut(&node(1)).unwrap().signature[0] ^= 1;
    let found = complaint.judge(&cluster.params, &cluster.nodes, &forked);
    assert_eq!(found, Verdict::AccuserWrong(AccuserFault::DealingIsRight));
}

#[test]
fn a_complaint_of_nobody_about_nobody_proves_nothing() {
    assert_verdict(Verdict::Void(VoidReason::OtherCeremony), |_, c| {
        c.evidence.sid[0] ^= 1;
    });
    assert_verdict(Verdict::Void(VoidReason::UnknownNode), |_, c| {
        c.evidence.accused = node(9);
    });
    assert_verdict(Verdict::Void(VoidReason::UnknownNode), |_, c| {
        c.evidence.accuser = node(9);
    });
    assert_verdict(Verdict::Void(VoidReason::NotSigned), |_, c| {
        c.evidence.accuser = node(3);
    });
    let (cluster, mut complaint, _) = false_complaint(|_, _| {});
    complaint.signature[0] ^= 1;
    let found = complaint.judge(&cluster.params, &cluster.nodes, &Witnessed::default());
    assert_eq!(found, Verdict::Void(VoidReason::NotSigned));
}

#[test]
fn a_publicly_broken_broadcast_needs_no_key_to_convict() {
    let wrong = |fault| Verdict::DealerWrong(fault);
    assert_verdict(wrong(Fault::MalformedBroadcast), |cluster, c| {
        c.evidence.round2 = heard(&cluster.message(2, node(1), vec![7])).signed;
    });
    let edit_opening = |edit: fn(&mut DealBody)| {
        move |cluster: &Cluster, c: &mut Complaint| {
            let mut body: DealBody = cbor::decode(&c.evidence.round2.body, 4096).unwrap();
            edit(&mut body);
            let message = cluster.message(2, node(1), cbor::encode(&body));
            c.evidence.round2 = heard(&message).signed;
        }
    };
    assert_verdict(
        wrong(Fault::WrongDegree),
        edit_opening(|b| {
            b.opening.as_mut().unwrap().coefficients.pop();
        }),
    );
    assert_verdict(
        wrong(Fault::BadPoint),
        edit_opening(|b| {
            b.opening.as_mut().unwrap().coefficients[1] = vec![0; 32].into();
        }),
    );
    assert_verdict(
        wrong(Fault::UndecryptableDealing),
        edit_opening(|b| b.dealings.clear()),
    );
}

#[test]
fn a_complaint_never_prints_the_key_that_it_opens() {
    let (_, complaint, _) = false_complaint(|_, c| c.opened = [0xab; 32]);
    let shown = format!("{complaint:?}");
    assert!(
        shown.contains("<redacted>") && !shown.contains("171"),
        "{shown}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_changed_complaint_never_convicts_an_honest_dealer(
        place in any::<prop::sample::Index>(), mask in 1u8..,
    ) {
        let (cluster, complaint, _) = false_complaint(|_, _| {});
        let mut bytes = complaint.to_bytes();
        let place = place.index(bytes.len());
        bytes[place] ^= mask;
        if let Ok(changed) = Complaint::from_bytes(&bytes) {
            let found = changed.judge(&cluster.params, &cluster.nodes, &Witnessed::default());
            prop_assert!(matches!(found, Verdict::Void(_)), "{found:?}");
        }
    }

    #[test]
    fn arbitrary_bytes_are_no_complaint(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(Complaint::from_bytes(&bytes).is_err());
    }
}

#[test]
fn evidence_has_one_spelling() {
    let (_, complaint, _) = false_complaint(|_, _| {});
    let bytes = complaint.to_bytes();
    assert_eq!(Complaint::from_bytes(&bytes).unwrap(), complaint);
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(Complaint::from_bytes(&longer).is_err());
    assert!(Complaint::from_bytes(&vec![0; 12_289]).is_err());
    let evidence: Evidence = complaint.evidence.clone();
    assert_eq!(
        cbor::decode::<Evidence>(&cbor::encode(&evidence), 12_288).unwrap(),
        evidence
    );
}

/// Checks complaints of a succession: node 1 deals in each of these.
fn check_succession_complaints<G: Group>(cluster: &Cluster) {
    let params = cluster.succession.as_ref().unwrap();
    for (spoil, fault) in SPOILS {
        let (outcomes, history) = run_spoilt::<G>(cluster, spoil);
        let abort = outcomes[&node(2)].as_ref().unwrap_err();
        assert_eq!(abort.faults, [(Some(node(1)), fault)]);
        assert_eq!(abort.complaints.len(), 1);
        let complaint = &abort.complaints[0];
        for judge in [1, 3] {
            let witnessed = witnessed(&history, node(judge));
            let verdict = complaint.judge_succession(params, &cluster.nodes, &witnessed);
            assert_eq!(verdict, Verdict::DealerWrong(fault), "judge {judge}");
        }
        // Whoever starts from another record, or takes it for a birth, judges another ceremony.
        let mut other = params.clone();
        other.base.transcript[0] ^= 1;
        let void = Verdict::Void(VoidReason::OtherCeremony);
        let outsider = Witnessed::default();
        let found = complaint.judge_succession(&other, &cluster.nodes, &outsider);
        assert_eq!(found, void);
        assert_eq!(
            complaint.judge(&cluster.params, &cluster.nodes, &outsider),
            void
        );
    }
}

#[test]
fn a_true_complaint_convicts_the_dealer_of_a_succession_too() {
    check_succession_complaints::<Secp256k1>(&Cluster::refresh(Scheme::Ecdsa, 2, 3));
    check_succession_complaints::<Ed25519>(&Cluster::refresh(Scheme::Ed25519, 3, 4));
    check_succession_complaints::<Model>(&Cluster::refresh(Scheme::Model, 2, 3));
    check_succession_complaints::<Secp256k1>(&Cluster::reshare(Scheme::Taproot));
    check_succession_complaints::<Ed25519>(&Cluster::reshare(Scheme::Ed25519));
    check_succession_complaints::<Model>(&Cluster::reshare(Scheme::Model));
}

/// Node 2's complaint of a succession with an honest node 1, after `edit` and signed again.
fn false_succession_complaint(
    cluster: &Cluster,
    edit: impl Fn(&Cluster, &mut Complaint),
) -> (Complaint, Vec<Sent>) {
    let mut history = Vec::new();
    cluster.run(&mut |sent| history.clone_from(sent));
    // The same seeds as the harness has, so that this is the same node 2 after round 1.
    let mut started = rng(2);
    let context = cluster.context(node(2));
    let share = cluster.shares.get(&node(2));
    let part = super::super::rounds::Part::<Model>::draw(&context, share, &mut started).unwrap();
    let (committed, outbox) = Committed::new(context, part, &mut started).unwrap();
    assert_eq!(outbox, history[0][&node(2)]);
    let inbox = inbox_of(&history[0], node(2));
    let (dealt, _) = committed.deal(inbox, &mut rng(1002)).unwrap();
    let round2 = heard(&history[1][&node(1)][&node(2)]);
    let mut complaint = dealt.complain(node(1), &round2).unwrap();
    edit(cluster, &mut complaint);
    let opened = SecretBytes::take(&mut complaint.opened.clone());
    let identity = &cluster.identities[&node(2)];
    let complaint = Complaint::sign(complaint.evidence, &opened, identity);
    (complaint, history)
}

#[test]
fn a_false_complaint_convicts_its_author_in_a_succession_too() {
    for cluster in [
        Cluster::refresh(Scheme::Model, 2, 3),
        Cluster::reshare(Scheme::Model),
    ] {
        let params = cluster.succession.as_ref().unwrap();
        let (complaint, history) = false_succession_complaint(&cluster, |_, _| {});
        let judge = |c: &Complaint, w: &Witnessed| c.judge_succession(params, &cluster.nodes, w);
        let wrong = |fault| Verdict::AccuserWrong(fault);
        let outsider = Witnessed::default();
        let right = wrong(AccuserFault::DealingIsRight);
        assert_eq!(judge(&complaint, &outsider), right);
        assert_eq!(judge(&complaint, &witnessed(&history[..2], node(3))), right);
        let late = wrong(AccuserFault::AlreadyEchoed);
        assert_eq!(judge(&complaint, &witnessed(&history, node(3))), late);
        let (complaint, _) = false_succession_complaint(&cluster, |_, c| c.opened[5] ^= 1);
        let key = wrong(AccuserFault::WrongKey);
        assert_eq!(judge(&complaint, &outsider), key);
    }
}

#[test]
fn whoever_does_not_deal_cannot_be_accused() {
    // Node 4 only receives; node 2 accuses it over a broadcast that it did sign.
    let cluster = Cluster::reshare(Scheme::Model);
    let params = cluster.succession.as_ref().unwrap();
    let refused = Verdict::AccuserWrong(AccuserFault::NotADealer);
    assert_guarded(Guard::AccusedDeals, &refused, || {
        let (complaint, _) = false_succession_complaint(&cluster, |cluster, c| {
            c.evidence.accused = node(4);
            let message = cluster.message(2, node(4), c.evidence.round2.body.clone());
            c.evidence.round2 = heard(&message).signed;
        });
        complaint.judge_succession(params, &cluster.nodes, &Witnessed::default())
    });
}

#[test]
fn a_judge_needs_the_base_record_to_convict_a_dealer_of_another_constant() {
    let cluster = Cluster::reshare(Scheme::Model);
    let params = cluster.succession.as_ref().unwrap();
    let (complaint, _) = false_succession_complaint(&cluster, |cluster, c| {
        let mut body: DealBody = cbor::decode(&c.evidence.round2.body, 4096).unwrap();
        let constant = Model::encode_point(&5u64.into());
        body.opening.as_mut().unwrap().coefficients[0] = constant.into();
        let message = cluster.message(2, node(1), cbor::encode(&body));
        c.evidence.round2 = heard(&message).signed;
    });
    let found = complaint.judge_succession(params, &cluster.nodes, &Witnessed::default());
    assert_eq!(found, Verdict::DealerWrong(Fault::WrongConstant));
}
