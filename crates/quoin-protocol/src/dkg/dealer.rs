//! What a dealer shows in public and sends in private, and the checks of both.
//!
//! Source: the construction's section 19.1, "Checks". The check of a dealing is one function, used
//! by the receiver and by whoever judges a complaint, so that the two cannot disagree.

use super::group::Group;
use super::polynomial::{Polynomial, evaluate};
use super::seal::{self, CIPHERTEXT_BYTES, Place};
use super::wire::{DealBody, EncryptedDealing, Opening};
use crate::abort::Fault;
use quoin_core::hash::TaggedHasher;
use quoin_core::{NodeIndex, SecretBytes, tags};
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

/// Commits to `polynomial` and proves possession of its constant term.
pub(crate) fn make_opening<G: Group>(
    dealer: Dealer<'_>,
    polynomial: &Polynomial<G>,
    rng: &mut dyn CryptoRngCore,
) -> Opening {
    let points = polynomial.commit();
    let mut opening = Opening {
        coefficients: points.iter().map(|p| G::encode_point(p).into()).collect(),
        nonce: Vec::new(),
        response: [0; 32],
        salt: [0; 32],
    };
    RngCore::fill_bytes(rng, &mut opening.salt);
    prove::<G>(dealer, &mut opening, &polynomial.constant(), rng);
    opening
}

/// Writes into `opening` the Schnorr proof that its dealer knows `constant`.
pub(crate) fn prove<G: Group>(
    dealer: Dealer<'_>,
    opening: &mut Opening,
    constant: &G::Scalar,
    rng: &mut dyn CryptoRngCore,
) {
    let nonce = Zeroizing::new(G::random_scalar(rng));
    opening.nonce = G::encode_point(&G::generate(&nonce));
    let response = *nonce + challenge::<G>(dealer, opening) * *constant;
    opening.response = *G::encode_scalar(&response);
}

/// The proof's challenge; it names the ceremony and the dealer, so no proof fits another's place.
fn challenge<G: Group>(dealer: Dealer<'_>, opening: &Opening) -> G::Scalar {
    let half = |counter: u8| {
        let mut hasher = TaggedHasher::new(tags::DKG_POP);
        hasher
            .part(&[counter])
            .part(dealer.sid)
            .part(&[dealer.node.get()])
            .part(&opening.nonce);
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
    let mut hasher = TaggedHasher::new(tags::DKG_COM);
    hasher
        .part(dealer.sid)
        .part(&[dealer.node.get()])
        .part(&opening.salt)
        .part(&opening.nonce)
        .part(&opening.response);
    for coefficient in &opening.coefficients {
        hasher.part(coefficient);
    }
    hasher.finish()
}

/// The Feldman commitment: exactly `threshold` points, each canonical and not the identity.
///
/// An honest dealer draws no zero coefficient, so refusing the identity everywhere costs nothing
/// and keeps one rule for both curves, of which secp256k1 cannot write it in 33 bytes.
pub(crate) fn read_coefficients<G: Group>(
    opening: &Opening,
    threshold: u8,
) -> Result<Vec<G::Point>, Fault> {
    if opening.coefficients.len() != usize::from(threshold) {
        return Err(Fault::WrongDegree);
    }
    let read = opening.coefficients.iter().map(|c| G::decode_point(c));
    read.collect::<Option<_>>().ok_or(Fault::BadPoint)
}

/// Checks the proof of possession of the constant term.
pub(crate) fn check_possession<G: Group>(
    dealer: Dealer<'_>,
    opening: &Opening,
    coefficients: &[G::Point],
) -> Result<(), Fault> {
    let nonce = G::decode_point(&opening.nonce).ok_or(Fault::BadPoint)?;
    let response = G::decode_scalar(&opening.response).ok_or(Fault::BadScalar)?;
    let constant = *coefficients.first().ok_or(Fault::WrongDegree)?;
    // Without cofactor: every point here is of prime order (section 19.4).
    if G::generate(&response) == nonce + constant * challenge::<G>(dealer, opening) {
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
    if G::generate(&dealing) == evaluate::<G>(coefficients, receiver) {
        Ok(dealing)
    } else {
        Err(Fault::WrongDealing)
    }
}
