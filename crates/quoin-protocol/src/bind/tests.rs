//! Treasury keys: both rounds, every scheme, and what a liar can try.

use super::*;
use crate::combine::{self, CombineReason, ROOT_TWEAK};
use crate::ecdsa::guard::Guard;
use crate::presign::start_batch;
use crate::presign::testkit::{Fixture, fixture, node, treasury};
use crate::sign::tests::warrant_for;
use crate::{KeyPublic, sign};
use quoin_core::{BatchHash, CustodyMethod, Generation, Scheme, SecretBytes, SigningIdentity};

const SCHEMES: [Scheme; 2] = [Scheme::Ed25519, Scheme::Taproot];

fn key(scheme: Scheme) -> Fixture {
    treasury(scheme, (2, 3), &[1, 3], 4, 1)
}

fn warrant(fx: &Fixture, text: &str) -> Warrant {
    warrant_for(fx, text, fx.public().key, CustodyMethod::Mpc)
}

type Presigned = BTreeMap<NodeIndex, Vec<Presignature>>;

/// The first round of all signers for `text`, with the next presignature of each.
fn first_round(
    fx: &Fixture,
    made: &mut Presigned,
    text: &str,
) -> (BTreeMap<NodeIndex, Bound>, BTreeMap<NodeIndex, Opening>) {
    let all = made.iter_mut().map(|(node, list)| {
        let bound = bind(warrant(fx, text), list.remove(0), &fx.shares[node]);
        (*node, bound.unwrap())
    });
    let both: Vec<_> = all.collect();
    let openings = both.iter().map(|(n, (_, opening))| (*n, opening.clone()));
    let openings = openings.collect();
    let bound = both.into_iter().map(|(n, (bound, _))| (n, bound));
    (bound.collect(), openings)
}

fn second_round(
    fx: &Fixture,
    bound: BTreeMap<NodeIndex, Bound>,
    openings: &BTreeMap<NodeIndex, Opening>,
) -> Vec<(NodeIndex, Answer)> {
    let finish = |(node, bound): (NodeIndex, Bound)| {
        let signed = bound.finish(openings.clone(), &fx.shares[&node]).unwrap();
        assert_eq!(signed.set, fx.header.set);
        (node, signed.partial)
    };
    bound.into_iter().map(finish).collect()
}

fn digest_of(fx: &Fixture, text: &str) -> Digest {
    warrant(fx, text).decoded().digest().clone()
}

fn signs_in_two_rounds(fx: &Fixture, made: &mut Presigned) {
    let (bound, openings) = first_round(fx, made, "pay");
    let digest = digest_of(fx, "pay");
    let answers = second_round(fx, bound, &openings);
    let (public, set) = (fx.public(), &fx.header.set);
    let finish = |openings: &BTreeMap<NodeIndex, Opening>, answers: &[(NodeIndex, Answer)]| {
        combine::finish_treasury(public, set, &ROOT_TWEAK, &digest, openings, answers)
    };
    let signature = finish(&openings, &answers).unwrap();
    combine::verify_combined(public, &ROOT_TWEAK, &digest, &signature).unwrap();

    // The one-round door is closed to them.
    let fault = combine::finish(public, set, &ROOT_TWEAK, &digest, &answers).unwrap_err();
    assert_eq!(fault.reason, CombineReason::WrongOpenings);
    // Openings that are not those that the answers were made for.
    let mut other = openings.clone();
    let first = other.get_mut(&node(1)).unwrap();
    first.entropy = Some([9; 32]);
    let fault = finish(&other, &answers).unwrap_err();
    // No opening of a Schnorr key has entropy at all.
    let expected = match public.scheme {
        Scheme::Ecdsa => CombineReason::NotOfView,
        _ => CombineReason::WrongOpenings,
    };
    assert_eq!(fault.reason, expected);
    let mut other = openings.clone();
    other.remove(&node(3));
    let fault = finish(&other, &answers).unwrap_err();
    assert_eq!(fault.reason, CombineReason::WrongOpenings);
    let changes: [fn(&mut Binding); 6] = [
        |b| b.digest[0] ^= 1,
        |b| b.tweak[31] ^= 1,
        |b| b.epoch.0 += 1,
        |b| b.key.0[0] ^= 1,
        |b| b.cluster.0[0] ^= 1,
        |b| b.set = crate::presign::testkit::set(&[1, 2]),
    ];
    let opens = |opening: &Opening| combine::opens(public, set, &ROOT_TWEAK, &digest, opening);
    assert!(openings.values().all(opens));
    for change in changes {
        let mut other = openings.clone();
        other.values_mut().for_each(|o| change(&mut o.binding));
        assert!(!other.values().any(opens));
        let fault = finish(&other, &answers).unwrap_err();
        assert_eq!(fault.reason, CombineReason::WrongOpenings);
    }
    // A key of another purpose does not sign in two rounds, whatever it is given.
    let mut trading = public.clone();
    trading.purpose = quoin_core::Purpose::Trading;
    let fault = combine::finish_treasury(&trading, set, &ROOT_TWEAK, &digest, &openings, &answers);
    assert_eq!(fault.unwrap_err().reason, CombineReason::WrongOpenings);
    // Another digest, under which the same openings are no openings.
    let wrong = digest_of(fx, "pay more");
    let fault = combine::finish_treasury(public, set, &ROOT_TWEAK, &wrong, &openings, &answers);
    assert_eq!(fault.unwrap_err().reason, CombineReason::WrongOpenings);
}

#[test]
fn schnorr_treasury_keys_sign_in_two_rounds() {
    for scheme in SCHEMES {
        let mut fx = key(scheme);
        let mut made = fx.presign(start_batch);
        signs_in_two_rounds(&fx, &mut made);
        let opening = &first_round(&fx, &mut made, "pay").1[&node(1)];
        assert_eq!(opening.entropy, None);
    }
}

#[test]
fn ecdsa_treasury_keys_sign_in_two_rounds() {
    let mut fx = treasury(Scheme::Ecdsa, (2, 3), &[1, 3], 64, 1);
    let mut made = fx.presign(start_batch);
    signs_in_two_rounds(&fx, &mut made);
    let (bound, mut openings) = first_round(&fx, &mut made, "pay");
    assert_ne!(openings[&node(1)].entropy, openings[&node(3)].entropy);
    // Entropy that was not committed to names its signer.
    let three = openings.get_mut(&node(3)).unwrap();
    three.entropy.as_mut().unwrap()[0] ^= 1;
    let share = &fx.shares[&node(1)];
    for (at, bound) in bound {
        let fault = bound.finish(openings.clone(), &fx.shares[&at]).unwrap_err();
        let expected = match at.get() {
            1 => SignFault::WrongEntropy(node(3)),
            // Signer 3 itself sees that it is not what it opened.
            _ => SignFault::WrongOpening(node(3)),
        };
        assert_eq!(fault, expected);
        assert_eq!(fault.culprit(), Some(node(3)));
    }
    // Entropy of another presignature of the same batch.
    let (mut bound, mut openings) = first_round(&fx, &mut made, "pay");
    let (_, next) = first_round(&fx, &mut made, "pay");
    openings.get_mut(&node(3)).unwrap().entropy = next[&node(3)].entropy;
    let fault = bound.remove(&node(1)).unwrap().finish(openings, share);
    assert_eq!(fault.unwrap_err(), SignFault::WrongEntropy(node(3)));
    // An opening without entropy is none of this scheme.
    let (mut bound, mut openings) = first_round(&fx, &mut made, "pay");
    openings.get_mut(&node(3)).unwrap().entropy = None;
    let fault = bound.remove(&node(1)).unwrap().finish(openings, share);
    assert_eq!(fault.unwrap_err(), SignFault::WrongOpening(node(3)));
    // One round is refused.
    let one = made.get_mut(&node(1)).unwrap().remove(0);
    let fault = sign(warrant(&fx, "pay"), one, share).unwrap_err();
    assert_eq!(fault, SignFault::NeedsBinding);
}

#[test]
fn a_treasury_presignature_gives_no_answer_in_one_round() {
    for scheme in SCHEMES {
        let mut fx = key(scheme);
        let mut made = fx.presign(start_batch);
        let mut one_round = || {
            let presignature = made.get_mut(&node(1)).unwrap().remove(0);
            sign(warrant(&fx, "pay"), presignature, &fx.shares[&node(1)])
        };
        assert_eq!(one_round().unwrap_err(), SignFault::NeedsBinding);
        // Without the guard there is an answer that nobody's opening stands behind.
        assert!(Guard::TwoRounds.without(one_round).is_ok());
    }
}

#[test]
fn a_presignature_of_one_round_cannot_be_bound() {
    for scheme in [Scheme::Ed25519, Scheme::Taproot, Scheme::Ecdsa] {
        let mut fx = fixture(scheme, (2, 3), &[1, 3], 64, 1);
        let one = fx.presign(start_batch).remove(&node(1)).unwrap().remove(0);
        let judged = warrant(&fx, "pay");
        let fault = binding_of(&judged, &one, &fx.shares[&node(1)]).unwrap_err();
        assert_eq!(fault, SignFault::NotTreasury);
        let fault = bind(judged, one, &fx.shares[&node(1)]).unwrap_err();
        assert_eq!(fault, SignFault::NotTreasury);
    }
}

#[test]
fn a_binding_is_of_the_warrants_key() {
    let mut fx = key(Scheme::Ed25519);
    let one = fx.presign(start_batch).remove(&node(1)).unwrap().remove(0);
    let share = &fx.shares[&node(1)];
    let judged = |key| warrant_for(&fx, "pay", key, CustodyMethod::Mpc);
    let bound = binding_of(&judged(share.public.key), &one, share).unwrap();
    assert_eq!(bound.key, share.public.key);
    let foreign = judged(quoin_core::KeyId([0xaa; 16]));
    let fault = binding_of(&foreign, &one, share).unwrap_err();
    assert_eq!(fault, SignFault::WrongShare);
}

/// The twin of ECDSA's `binding_refuses_what_an_answer_would`.
#[test]
fn a_schnorr_binding_refuses_what_an_answer_would() {
    let prehash = || Digest::Prehash([8; 32]);
    let cases = [
        // A form that the scheme does not sign.
        (Scheme::Ed25519, prehash(), ROOT_TWEAK, SignFault::Refused),
        (
            Scheme::Taproot,
            Digest::Message(b"pay".to_vec()),
            ROOT_TWEAK,
            SignFault::Refused,
        ),
        (
            Scheme::Taproot,
            Digest::Prehash([0; 32]),
            ROOT_TWEAK,
            SignFault::ZeroDigest,
        ),
        (Scheme::Taproot, prehash(), [0xff; 32], SignFault::BadTweak),
        (
            Scheme::Ed25519,
            Digest::Message(b"pay".to_vec()),
            [0xff; 32],
            SignFault::BadTweak,
        ),
    ];
    for (scheme, digest, tweak, expected) in cases {
        let mut fx = key(scheme);
        let one = fx.presign(start_batch).remove(&node(1)).unwrap().remove(0);
        let refused = material(one, &digest, &tweak, &fx.shares[&node(1)]);
        assert_eq!(refused.map(drop).unwrap_err(), expected, "{scheme:?}");
    }
}

#[test]
fn entropy_in_a_schnorr_opening_is_refused_and_names_its_signer() {
    for scheme in SCHEMES {
        let mut fx = key(scheme);
        let mut made = fx.presign(start_batch);
        let (mut bound, mut openings) = first_round(&fx, &mut made, "pay");
        openings.get_mut(&node(3)).unwrap().entropy = Some([0; 32]);
        let one = bound.remove(&node(1)).unwrap();
        let fault = one.finish(openings, &fx.shares[&node(1)]).unwrap_err();
        assert_eq!(fault, SignFault::WrongOpening(node(3)));
    }
}

#[test]
fn an_opening_for_another_digest_is_refused() {
    for scheme in SCHEMES {
        let mut fx = key(scheme);
        let mut made = fx.presign(start_batch);
        let mut split = || {
            // Signer 3 was shown another payload by a gateway that hopes for two answers.
            let one = bind(
                warrant(&fx, "pay"),
                made.get_mut(&node(1)).unwrap().remove(0),
                &fx.shares[&node(1)],
            );
            let three = bind(
                warrant(&fx, "pay more"),
                made.get_mut(&node(3)).unwrap().remove(0),
                &fx.shares[&node(3)],
            );
            let ((bound, one), (_, three)) = (one.unwrap(), three.unwrap());
            let openings = [(node(1), one), (node(3), three)].into();
            bound.finish(openings, &fx.shares[&node(1)])
        };
        assert_eq!(split().unwrap_err(), SignFault::WrongOpening(node(3)));
        // Without the guard a signer answers for a digest that the others have not bound.
        assert!(Guard::OpeningsEqual.without(split).is_ok());
    }
}

#[test]
fn openings_are_one_of_each_signer_and_equal_in_every_field() {
    let mut fx = treasury(Scheme::Taproot, (2, 3), &[1, 3], 16, 1);
    let mut made = fx.presign(start_batch);
    let mut with = |change: &dyn Fn(&mut BTreeMap<NodeIndex, Opening>)| {
        let (mut bound, mut openings) = first_round(&fx, &mut made, "pay");
        change(&mut openings);
        let one = bound.remove(&node(1)).unwrap();
        one.finish(openings, &fx.shares[&node(1)]).unwrap_err()
    };
    let missing = with(&|o| drop(o.remove(&node(3))));
    assert_eq!(missing, SignFault::OpeningMissing(node(3)));
    assert_eq!(missing.culprit(), None, "silence proves nothing");
    let stranger = with(&|o| drop(o.insert(node(2), o[&node(3)].clone())));
    assert_eq!(stranger, SignFault::WrongOpening(node(2)));
    let copied = with(&|o| drop(o.insert(node(3), o[&node(1)].clone())));
    assert_eq!(copied, SignFault::WrongOpening(node(3)));
    let own = with(&|o| o.get_mut(&node(1)).unwrap().entropy = Some([0; 32]));
    assert_eq!(own, SignFault::WrongOpening(node(1)));
    let changes: [fn(&mut Binding); 8] = [
        |b| b.cluster.0[0] ^= 1,
        |b| b.key.0[0] ^= 1,
        |b| b.epoch.0 += 1,
        |b| b.presignature.index += 1,
        |b| b.presignature.batch = BatchHash([0; 32]),
        |b| b.boots[1].generation = Generation(99),
        |b| b.digest[0] ^= 1,
        |b| b.tweak[31] ^= 1,
    ];
    for change in changes {
        let fault = with(&|o| change(&mut o.get_mut(&node(3)).unwrap().binding));
        assert_eq!(fault, SignFault::WrongOpening(node(3)));
    }
}

#[test]
fn both_rounds_need_the_share_of_the_batch() {
    let mut fx = key(Scheme::Ed25519);
    let mut made = fx.presign(start_batch);
    let (mut bound, openings) = first_round(&fx, &mut made, "pay");
    let wrong = &fx.shares[&node(2)];
    let fault = bound.remove(&node(1)).unwrap().finish(openings, wrong);
    assert_eq!(fault.unwrap_err(), SignFault::WrongShare);
    let later = KeyShare {
        public: KeyPublic {
            epoch: quoin_core::ShareEpoch(9),
            ..fx.public().clone()
        },
        node: node(1),
        secret: SecretBytes::take(&mut fx.shares[&node(1)].secret.expose().to_owned()),
    };
    let one = made.get_mut(&node(1)).unwrap().remove(0);
    let fault = bind(warrant(&fx, "pay"), one, &later).unwrap_err();
    assert_eq!(fault, SignFault::WrongShare);
}

#[test]
fn a_bound_presignature_shows_what_it_is_bound_to_and_nothing_secret() {
    let mut fx = key(Scheme::Taproot);
    let mut made = fx.presign(start_batch);
    let id = made[&node(1)][0].id();
    let (bound, openings) = first_round(&fx, &mut made, "pay");
    let one = &bound[&node(1)];
    assert_eq!(one.presignature(), id);
    assert_eq!(one.opening(), &openings[&node(1)]);
    assert_eq!(one.binding().boots, fx.header.boots);
    assert_eq!(one.warrant().key(), Some(fx.public().key));
    let shown = format!("Bound {{ binding: {:?}, .. }}", one.binding());
    assert_eq!(format!("{one:?}"), shown);
}

#[test]
fn an_opening_is_a_statement_of_its_node() {
    let mut fx = key(Scheme::Taproot);
    let mut made = fx.presign(start_batch);
    let (_, openings) = first_round(&fx, &mut made, "pay");
    let identity = SigningIdentity::from_seed(&SecretBytes::take(&mut [7; 32]));
    let signed = quoin_core::Signed::sign(openings[&node(3)].clone(), &identity);
    let read = quoin_core::Signed::<Opening>::from_bytes(&signed.to_bytes()).unwrap();
    assert_eq!(
        read.verify(&identity.public()).unwrap(),
        &openings[&node(3)]
    );
    assert!(
        read.verify(&fx.rosters[&node(3)].identity.public())
            .is_err()
    );
}

/// Pins the bytes that a node signs.
#[test]
fn the_form_of_an_opening_is_golden() {
    let mut fx = key(Scheme::Taproot);
    let mut made = fx.presign(start_batch);
    let (_, openings) = first_round(&fx, &mut made, "pay");
    let mut opening = openings[&node(3)].clone();
    opening.binding.presignature.batch = BatchHash([5; 32]);
    opening.binding.digest = [6; 32];
    opening.entropy = Some([7; 32]);
    let hash = quoin_core::hash::tagged(
        quoin_core::tags::TREASURY_OPENING,
        &[&quoin_core::cbor::encode(&opening)],
    );
    assert_eq!(
        hex::encode(hash),
        "6023ec75defb5170868362ac5e38d6399aad765f475ab6854734b0a835d2f42d"
    );
}

/// No decoder of this build gives a warrant for the simulator's scheme, so its two rounds are run
/// without one.
#[test]
fn model_treasury_keys_sign_in_two_rounds() {
    let mut fx = key(Scheme::Model);
    let digest = Digest::Prehash([8; 32]);
    let made = fx.presign(start_batch);
    let bound = made.into_iter().map(|(node, mut list)| {
        let share = &fx.shares[&node];
        let bound = material(list.remove(0), &digest, &ROOT_TWEAK, share);
        (node, bound.unwrap())
    });
    let bound: BTreeMap<_, _> = bound.collect();
    let openings: BTreeMap<_, _> = bound
        .iter()
        .map(|(node, (_, opening))| (*node, opening.clone()))
        .collect();
    let answers: Vec<_> = bound
        .into_iter()
        .map(|(node, (material, own))| {
            let share = &fx.shares[&node];
            let answer = respond(material, &own, &digest, &openings, share);
            (node, answer.unwrap())
        })
        .collect();
    let (public, set) = (fx.public(), &fx.header.set);
    let made =
        combine::finish_treasury(public, set, &ROOT_TWEAK, &digest, &openings, &answers).unwrap();
    combine::verify(public, &ROOT_TWEAK, &digest, &made.signature).unwrap();
    let fault = combine::finish(public, set, &ROOT_TWEAK, &digest, &answers).unwrap_err();
    assert_eq!(fault.reason, CombineReason::WrongOpenings);
}
