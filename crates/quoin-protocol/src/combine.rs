//! Combining partial signatures: no secret goes in, no unverified signature comes out.
//!
//! This is the one module of the crate that a gateway may use. A result is always verified against
//! the key's public record by another library than the one that made it, before it is returned
//! (design, invariant 6).

pub use crate::dkg::{CertificateFault, verify_certificate};
pub use crate::presign::{Answer, CombineFault, CombineReason};
pub use crate::share::{KeyPublic, PublicShare};

use crate::{ecdsa, schnorr};
use quoin_chain::Digest;
use quoin_core::{NodeIndex, Scheme, SignerSet};

/// The tweak of an account that is the key itself: nothing is added. Derived accounts will bring
/// their own, computed by every signer from the account's path.
pub(crate) const ROOT_TWEAK: [u8; 32] = [0; 32];

/// A finished, verified signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CombinedSignature {
    /// `r || s` for ECDSA, with low s; `R || z` for Schnorr schemes.
    pub signature: [u8; 64],
    /// The parity of the nonce point's y coordinate, for ECDSA.
    pub recovery_id: Option<u8>,
}

/// Combines one answer of each signer of `set` and verifies the result.
///
/// # Errors
/// When answers are missing, malformed or disagree, or the result does not verify.
pub fn finish(
    key: &KeyPublic,
    set: &SignerSet,
    digest: &Digest,
    answers: &[(NodeIndex, Answer)],
) -> Result<CombinedSignature, CombineFault> {
    let signature = match key.scheme {
        Scheme::Ecdsa => return finish_ecdsa(key, set, digest, answers),
        Scheme::Taproot | Scheme::Ed25519 => schnorr::combine(
            key.scheme,
            key,
            set,
            message_of(key.scheme, digest)?,
            answers,
        )?,
        #[cfg(any(test, feature = "model"))]
        Scheme::Model => crate::model::combine(key, set, message_of(key.scheme, digest)?, answers)?,
        #[cfg(not(any(test, feature = "model")))]
        Scheme::Model => return Err(CombineReason::WrongKey.blames(Vec::new())),
    };
    Ok(CombinedSignature {
        signature,
        recovery_id: None,
    })
}

fn finish_ecdsa(
    key: &KeyPublic,
    set: &SignerSet,
    digest: &Digest,
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
    let made = ecdsa::combine(public_key, &ROOT_TWEAK, prehash, &bodies).map_err(|fault| {
        let reason = match fault {
            ecdsa::CombineFault::ViewsDiffer => CombineReason::ViewsDiffer,
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

/// Verifies a finished signature that somebody posts.
///
/// # Errors
/// When the digest does not fit the scheme, or the signature does not verify.
pub fn verify(key: &KeyPublic, digest: &Digest, signature: &[u8; 64]) -> Result<(), CombineFault> {
    let valid = match key.scheme {
        Scheme::Ecdsa => {
            let (public_key, prehash) = ecdsa_input(key, digest)?;
            ecdsa::verify_compact(public_key, &ROOT_TWEAK, prehash, signature)
        }
        Scheme::Taproot | Scheme::Ed25519 => {
            schnorr::verify(key, message_of(key.scheme, digest)?, signature)
        }
        #[cfg(any(test, feature = "model"))]
        Scheme::Model => {
            crate::model::verify(&key.public_key, message_of(key.scheme, digest)?, signature)
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

/// Verifies a finished signature and, for ECDSA, that its recovery id leads to the key: a wrong
/// one would make a transaction of another sender.
///
/// # Errors
/// When the digest does not fit the scheme, or the signature or the recovery id is wrong.
pub fn verify_combined(
    key: &KeyPublic,
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
            ecdsa::verify(public_key, &ROOT_TWEAK, prehash, &signature)
                .map_err(|_| CombineReason::NotVerified.blames(Vec::new()))
        }
        (Scheme::Ecdsa, None) => Err(CombineReason::NotVerified.blames(Vec::new())),
        (_, None) => verify(key, digest, &made.signature),
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
