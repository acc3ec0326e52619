//! Combining partial signatures: no secret goes in, no unverified signature comes out.
//!
//! This is the one module of the crate that a gateway may use. A result is always verified against
//! the key's public record by another library than the one that made it, before it is returned
//! (design, invariant 6).

pub use crate::derive::{ChildKey, DeriveFault, derive};
pub use crate::dkg::{CertificateFault, verify_certificate, verify_succession};
pub use crate::presign::{Answer, Binding, CombineFault, CombineReason, Opening};
pub use crate::share::{KeyPublic, PublicShare};

use crate::presign::binding::{bound_digest, check_openings};
use crate::schnorr::Request;
use crate::{ecdsa, schnorr};
use quoin_chain::Digest;
use quoin_core::{NodeIndex, PresignatureId, Purpose, Scheme, SignerSet};
use std::collections::BTreeMap;

/// The tweak of an account that is the key itself: nothing is added.
///
/// A tweak is the scalar that leads from a key to the key of a derived account, in the encoding of
/// the curve's scalars: big-endian for secp256k1, little-endian for Ed25519. Every signer and the
/// combiner compute it from the account's path; it comes from no request.
pub const ROOT_TWEAK: [u8; 32] = [0; 32];

/// A finished, verified signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CombinedSignature {
    /// `r || s` for ECDSA, with low s; `R || z` for Schnorr schemes.
    pub signature: [u8; 64],
    /// The parity of the nonce point's y coordinate, for ECDSA.
    pub recovery_id: Option<u8>,
}

/// Combines one answer of each signer of `set` and verifies the result under the key moved by
/// `tweak`. For keys that sign in one round; treasury keys go to [`finish_treasury`].
///
/// # Errors
/// When answers are missing, malformed or disagree, or the result does not verify.
pub fn finish(
    key: &KeyPublic,
    set: &SignerSet,
    tweak: &[u8; 32],
    digest: &Digest,
    answers: &[(NodeIndex, Answer)],
) -> Result<CombinedSignature, CombineFault> {
    if key.purpose == Purpose::Treasury {
        return Err(CombineReason::WrongOpenings.blames(Vec::new()));
    }
    combine_answers(key, set, (tweak, digest, None), answers)
}

/// Combines the answers of a treasury key's second round, given the openings of its first.
///
/// # Errors
/// As [`finish`], and when the openings are not exactly one of each signer, all of one binding of
/// this key, set, tweak and digest. Whether each opening is signed by its node the caller checks.
pub fn finish_treasury(
    key: &KeyPublic,
    set: &SignerSet,
    tweak: &[u8; 32],
    digest: &Digest,
    openings: &BTreeMap<NodeIndex, Opening>,
    answers: &[(NodeIndex, Answer)],
) -> Result<CombinedSignature, CombineFault> {
    let refuse = || CombineReason::WrongOpenings.blames(Vec::new());
    let first = openings.values().next().ok_or_else(refuse)?;
    if key.purpose != Purpose::Treasury || !opens(key, set, tweak, digest, first) {
        return Err(refuse());
    }
    let binding = &first.binding;
    let opened = check_openings(key.scheme, binding, openings).map_err(|_| refuse())?;
    let bound = (binding.presignature, &opened.hash);
    combine_answers(key, set, (tweak, digest, Some(bound)), answers)
}

/// Whether an opening binds a presignature of this key and set to the tweak and digest. Whether it
/// is signed by its node, and of the same boots as the others, is not checked here.
#[must_use]
pub fn opens(
    key: &KeyPublic,
    set: &SignerSet,
    tweak: &[u8; 32],
    digest: &Digest,
    opening: &Opening,
) -> bool {
    let binding = &opening.binding;
    binding.cluster == key.cluster
        && binding.key == key.key
        && binding.epoch == key.epoch
        && binding.set == *set
        && binding.tweak == *tweak
        && Some(binding.digest) == bound_digest(digest)
}

/// The tweak, the digest and, for a treasury key, what answers are bound to.
type About<'a> = (
    &'a [u8; 32],
    &'a Digest,
    Option<(PresignatureId, &'a [u8; 32])>,
);

fn combine_answers(
    key: &KeyPublic,
    set: &SignerSet,
    about: About<'_>,
    answers: &[(NodeIndex, Answer)],
) -> Result<CombinedSignature, CombineFault> {
    if key.scheme == Scheme::Ecdsa {
        return combine_ecdsa(key, set, about, answers);
    }
    let (tweak, digest, bound) = about;
    let request = Request {
        message: message_of(key.scheme, digest)?,
        tweak,
        openings: bound.map(|(_, openings)| openings),
    };
    let signature = match key.scheme {
        Scheme::Taproot | Scheme::Ed25519 => {
            schnorr::combine(key.scheme, key, set, &request, answers)?
        }
        #[cfg(any(test, feature = "model"))]
        Scheme::Model => crate::model::combine(key, set, &request, answers)?,
        _ => return Err(CombineReason::WrongKey.blames(Vec::new())),
    };
    Ok(CombinedSignature {
        signature,
        recovery_id: None,
    })
}

fn combine_ecdsa(
    key: &KeyPublic,
    set: &SignerSet,
    (tweak, digest, bound): About<'_>,
    answers: &[(NodeIndex, Answer)],
) -> Result<CombinedSignature, CombineFault> {
    let complete = answers.len() == set.size()
        && set
            .iter()
            .all(|n| answers.iter().any(|(from, _)| *from == n));
    if !complete {
        return Err(CombineReason::WrongParticipants.blames(Vec::new()));
    }
    let (public_key, prehash) = ecdsa_input(key, digest)?;
    let mut bodies = Vec::with_capacity(answers.len());
    for (from, answer) in answers {
        let body = answer.body.as_slice().try_into();
        let body = body.map_err(|_| CombineReason::MalformedAnswer.blames(vec![*from]))?;
        bodies.push(ecdsa::Answer {
            view: answer.view,
            body,
        });
    }
    let made = match bound {
        None => ecdsa::combine(public_key, tweak, prehash, &bodies),
        Some(bound) => ecdsa::combine_bound(public_key, (tweak, prehash), bound, &bodies),
    };
    let made = made.map_err(|fault| {
        let reason = match fault {
            ecdsa::CombineFault::ViewsDiffer => CombineReason::ViewsDiffer,
            ecdsa::CombineFault::NotOfView(_) => CombineReason::NotOfView,
            _ => CombineReason::NotVerified,
        };
        reason.blames(Vec::new())
    })?;
    let mut signature = [0u8; 64];
    let (r, s) = signature.split_at_mut(32);
    r.copy_from_slice(&made.r);
    s.copy_from_slice(&made.s);
    Ok(CombinedSignature {
        signature,
        recovery_id: Some(made.recovery_id),
    })
}

fn ecdsa_input<'a>(
    key: &'a KeyPublic,
    digest: &'a Digest,
) -> Result<(&'a [u8; 33], &'a [u8; 32]), CombineFault> {
    let public_key = key.public_key.as_slice().try_into();
    let public_key = public_key.map_err(|_| CombineReason::WrongKey.blames(Vec::new()))?;
    match digest {
        Digest::Prehash(prehash) => Ok((public_key, prehash)),
        _ => Err(CombineReason::WrongMessage.blames(Vec::new())),
    }
}

/// Verifies a finished signature that somebody posts, under the key moved by `tweak`.
///
/// # Errors
/// When the digest does not fit the scheme, or the signature does not verify.
pub fn verify(
    key: &KeyPublic,
    tweak: &[u8; 32],
    digest: &Digest,
    signature: &[u8; 64],
) -> Result<(), CombineFault> {
    let valid = match key.scheme {
        Scheme::Ecdsa => {
            let (public_key, prehash) = ecdsa_input(key, digest)?;
            ecdsa::verify_compact(public_key, tweak, prehash, signature)
        }
        Scheme::Taproot | Scheme::Ed25519 => {
            schnorr::verify(key, tweak, message_of(key.scheme, digest)?, signature)
        }
        #[cfg(any(test, feature = "model"))]
        Scheme::Model => {
            let message = message_of(key.scheme, digest)?;
            crate::model::verify(&key.public_key, tweak, message, signature)
        }
        #[cfg(not(any(test, feature = "model")))]
        Scheme::Model => false,
    };
    if valid {
        Ok(())
    } else {
        Err(CombineReason::NotVerified.blames(Vec::new()))
    }
}

/// Verifies a finished signature and, for ECDSA, that its recovery id leads to the key moved by
/// `tweak`: a wrong one would make a transaction of another sender.
///
/// # Errors
/// When the digest does not fit the scheme, or the signature or the recovery id is wrong.
pub fn verify_combined(
    key: &KeyPublic,
    tweak: &[u8; 32],
    digest: &Digest,
    made: &CombinedSignature,
) -> Result<(), CombineFault> {
    match (key.scheme, made.recovery_id) {
        (Scheme::Ecdsa, Some(id)) => {
            let (public_key, prehash) = ecdsa_input(key, digest)?;
            let (r, s) = made.signature.split_at(32);
            let signature = ecdsa::EcdsaSignature {
                r: r.try_into().unwrap_or_default(),
                s: s.try_into().unwrap_or_default(),
                recovery_id: id,
            };
            ecdsa::verify(public_key, tweak, prehash, &signature)
                .map_err(|_| CombineReason::NotVerified.blames(Vec::new()))
        }
        (Scheme::Ecdsa, None) => Err(CombineReason::NotVerified.blames(Vec::new())),
        (_, None) => verify(key, tweak, digest, &made.signature),
        (_, Some(_)) => Err(CombineReason::NotVerified.blames(Vec::new())),
    }
}

/// The bytes that a Schnorr scheme signs.
pub(crate) fn message_of(scheme: Scheme, digest: &Digest) -> Result<&[u8], CombineFault> {
    match (scheme, digest) {
        (Scheme::Ed25519, Digest::Message(message)) => Ok(message),
        (Scheme::Taproot | Scheme::Model, Digest::Prehash(prehash)) => Ok(prehash),
        _ => Err(CombineReason::WrongMessage.blames(Vec::new())),
    }
}
