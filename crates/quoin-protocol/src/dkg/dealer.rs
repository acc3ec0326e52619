//! What a dealer shows in public and sends in private, and the checks of both.
//!
//! Source: the construction's sections 19.1 ("Checks"), 19.2 and 19.3. The check of a dealing is one function, used
//! by the receiver and by whoever judges a complaint, so that the two cannot disagree.

use super::group::Group;
use super::guard::Guard;
use super::plan::{Lineage, Plan};
use super::polynomial::{Polynomial, evaluate};
use super::seal::{self, CIPHERTEXT_BYTES, Place};
use super::wire::{DealBody, EncryptedDealing, Opening, Possession};
use crate::abort::Fault;
use quoin_core::hash::{TaggedHasher, tagged};
use quoin_core::{NodeIndex, SecretBytes, cbor, tags};
use rand_core::{CryptoRngCore, RngCore};
use zeroize::Zeroizing;

/// Who deals, and in which ceremony.
#[derive(Clone, Copy)]
pub(crate) struct Dealer<'a> {
    pub(crate) sid: &'a [u8; 32],
    pub(crate) node: NodeIndex,
}

impl<'a> Dealer<'a> {
    fn to(self, receiver: NodeIndex) -> Place<'a> {
        Place {
            sid: self.sid,
            dealer: self.node,
            receiver,
        }
    }
}

/// What a dealer keeps of its polynomial: the polynomial, its Feldman commitment with the constant
/// term, and what it shows in round 2.
pub(crate) struct Dealing<G: Group> {
    pub(crate) polynomial: Polynomial<G>,
    pub(crate) points: Vec<G::Point>,
    pub(crate) opening: Opening,
}

impl<G: Group> Dealing<G> {
    /// Commits to `polynomial`, and proves possession of its constant term where a key is born.
    pub(crate) fn new(
        plan: &Plan,
        dealer: Dealer<'_>,
        polynomial: Polynomial<G>,
        rng: &mut dyn CryptoRngCore,
    ) -> Self {
        let points = polynomial.commit();
        let hidden = usize::from(matches!(plan.lineage, Lineage::Refresh(_)));
        let shown = points.iter().skip(hidden);
        let mut opening = Opening {
            coefficients: shown.map(|p| G::encode_point(p).into()).collect(),
            salt: [0; 32],
            proof: None,
        };
        RngCore::fill_bytes(rng, &mut opening.salt);
        if matches!(plan.lineage, Lineage::Birth) {
            prove::<G>(dealer, &mut opening, &polynomial.constant(), rng);
        }
        Self {
            polynomial,
            points,
            opening,
        }
    }
}

/// Writes into `opening` the Schnorr proof that its dealer knows `constant`.
pub(crate) fn prove<G: Group>(
    dealer: Dealer<'_>,
    opening: &mut Opening,
    constant: &G::Scalar,
    rng: &mut dyn CryptoRngCore,
) {
    let secret = Zeroizing::new(G::random_scalar(rng));
    let nonce = G::encode_point(&G::generate(&secret));
    let response = *secret + challenge::<G>(dealer, &nonce, opening) * *constant;
    opening.proof = Some(Possession {
        nonce,
        response: *G::encode_scalar(&response),
    });
}

/// The proof's challenge; it names the ceremony and the dealer, so no proof fits another's place.
fn challenge<G: Group>(dealer: Dealer<'_>, nonce: &[u8], opening: &Opening) -> G::Scalar {
    let half = |counter: u8| {
        let mut hasher = TaggedHasher::new(tags::DKG_POP);
        hasher
            .part(&[counter])
            .part(dealer.sid)
            .part(&[dealer.node.get()])
            .part(nonce);
        for coefficient in &opening.coefficients {
            hasher.part(coefficient);
        }
        hasher.finish()
    };
    let mut wide = [0u8; 64];
    let (high, low) = wide.split_at_mut(32);
    high.copy_from_slice(&half(0));
    low.copy_from_slice(&half(1));
    G::reduce_wide(&wide)
}

/// The hash that round 1 shows of `opening`.
pub(crate) fn commitment(dealer: Dealer<'_>, opening: &Opening) -> [u8; 32] {
    let node = [dealer.node.get()];
    tagged(tags::DKG_COM, &[dealer.sid, &node, &cbor::encode(opening)])
}

/// The Feldman commitment of `node`, constant term first: exactly as many points as the threshold.
///
/// Each point on the wire is canonical and not the identity. An honest dealer draws no zero
/// coefficient, so refusing the identity everywhere costs nothing and keeps one rule for both
/// curves, of which secp256k1 cannot write it in 33 bytes.
///
/// The constant term of a refresh is the identity by construction (section 19.2). That of a
/// reshare must be the dealer's weighted share as the *certified* record of the old epoch has it,
/// whatever the dealer says (section 19.3).
pub(crate) fn read_coefficients<G: Group>(
    plan: &Plan,
    node: NodeIndex,
    opening: &Opening,
) -> Result<Vec<G::Point>, Fault> {
    let mut points = Vec::with_capacity(usize::from(plan.params.threshold));
    if matches!(plan.lineage, Lineage::Refresh(_)) {
        points.push(G::identity());
    }
    let count = points.len() + opening.coefficients.len();
    if !Guard::Degree.holds(count == usize::from(plan.params.threshold)) {
        return Err(Fault::WrongDegree);
    }
    for coefficient in &opening.coefficients {
        points.push(G::decode_point(coefficient).ok_or(Fault::BadPoint)?);
    }
    if let Lineage::Reshare(base, _) = &plan.lineage {
        let share = base.public_share(node).and_then(G::decode_point);
        let weighted = share.zip(plan.weight::<G>(node)).map(|(x, w)| x * w);
        let right = weighted.is_some() && points.first() == weighted.as_ref();
        if !Guard::Constant.holds(right) {
            return Err(Fault::WrongConstant);
        }
    }
    Ok(points)
}

/// Checks the proof of possession of the constant term, which a key's birth demands.
///
/// No other kind has one. In a refresh the constant is zero. In a reshare it is a public multiple
/// of a certified share: a dealer cannot choose it, so there is no rogue key to guard against; and
/// a dealer that did not know it could not deal to t' honest receivers values that fit, since
/// those would give it the constant by interpolation.
pub(crate) fn check_possession<G: Group>(
    plan: &Plan,
    dealer: Dealer<'_>,
    opening: &Opening,
    coefficients: &[G::Point],
) -> Result<(), Fault> {
    let born = matches!(plan.lineage, Lineage::Birth);
    if !Guard::ProofShown.holds(born == opening.proof.is_some()) {
        return Err(Fault::WrongRole);
    }
    let Some(proof) = opening.proof.as_ref().filter(|_| born) else {
        return Ok(());
    };
    let nonce = G::decode_point(&proof.nonce).ok_or(Fault::BadPoint)?;
    let response = G::decode_scalar(&proof.response).ok_or(Fault::BadScalar)?;
    let constant = *coefficients.first().ok_or(Fault::WrongDegree)?;
    let challenge = challenge::<G>(dealer, &proof.nonce, opening);
    // Without cofactor: every point here is of prime order (section 19.4).
    let proven = G::generate(&response) == nonce + constant * challenge;
    if Guard::Possession.holds(proven) {
        Ok(())
    } else {
        Err(Fault::BadProofOfPossession)
    }
}

/// Encrypts the dealing for one receiver; `None` when the receiver's key is of small order.
pub(crate) fn seal_dealing<G: Group>(
    dealer: Dealer<'_>,
    receiver: NodeIndex,
    key: &[u8; 32],
    dealing: &G::Scalar,
    rng: &mut dyn CryptoRngCore,
) -> Option<EncryptedDealing> {
    let plain = G::encode_scalar(dealing);
    let (encapsulated, ciphertext) = seal::seal(key, dealer.to(receiver), &plain, rng)?;
    Some(EncryptedDealing {
        receiver,
        encapsulated,
        ciphertext,
    })
}

/// Decrypts the dealing for `receiver` and checks it against the dealer's commitment.
pub(crate) fn open_dealing<G: Group>(
    dealer: Dealer<'_>,
    receiver: NodeIndex,
    secret: &SecretBytes<32>,
    body: &DealBody,
    coefficients: &[G::Point],
) -> Result<Zeroizing<G::Scalar>, Fault> {
    let mut dealings = body.dealings.iter();
    let sealed = dealings
        .find(|d| d.receiver == receiver && d.ciphertext.len() == CIPHERTEXT_BYTES)
        .ok_or(Fault::UndecryptableDealing)?;
    let place = dealer.to(receiver);
    let plain = seal::open(secret, place, &sealed.encapsulated, &sealed.ciphertext)
        .ok_or(Fault::UndecryptableDealing)?;
    let dealing = Zeroizing::new(G::decode_scalar(&plain).ok_or(Fault::BadScalar)?);
    let fits = G::generate(&dealing) == evaluate::<G>(coefficients, receiver);
    if Guard::Dealing.holds(fits) {
        Ok(dealing)
    } else {
        Err(Fault::WrongDealing)
    }
}
