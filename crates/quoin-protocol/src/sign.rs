//! The only way to a partial signature: a [`Warrant`] and a presignature, both by value.
//!
//! The warrant can only be made by the policy engine, from what only a chain decoder can make; the
//! presignature can only be taken out of its pool once. Neither is `Clone`, so the types leave no
//! way to sign without judgement, or twice with one presignature.

use crate::combine::{ROOT_TWEAK, message_of};
use crate::presign::{Answer, Presignature, SignFault};
use crate::share::KeyShare;
use quoin_chain::Digest;
use quoin_core::{CustodyMethod, PresignatureId, SignerSet};
use quoin_policy::Warrant;

/// A partial signature, and what it consumed.
#[derive(Debug)]
pub struct Signed {
    /// The presignature that is gone now.
    pub presignature: PresignatureId,
    /// The signers.
    pub set: SignerSet,
    /// The partial signature.
    pub partial: Answer,
}

/// Signs what the warrant warrants.
///
/// # Errors
/// When the three are not of one key, the digest does not fit, or a value is degenerate.
///
/// # Security
/// Call this only once the record that the presignature is consumed is durable.
pub fn sign(
    warrant: Warrant,
    presignature: Presignature,
    share: &KeyShare,
) -> Result<Signed, SignFault> {
    let public = &share.public;
    if warrant.key() != Some(public.key) || warrant.custody() != CustodyMethod::Mpc {
        return Err(SignFault::WrongShare);
    }
    let digest = warrant.decoded().digest();
    let (id, set) = (presignature.id(), presignature.set().clone());
    let message = |scheme| message_of(scheme, digest).map_err(|_| SignFault::Refused);
    let partial = match presignature {
        Presignature::Ecdsa(p) => {
            // Schnorr nonces check this themselves; here the presignature *is* shares of the key.
            let made_of = p.header();
            if made_of.key != public.key || made_of.shares_hash != public.shares_hash() {
                return Err(SignFault::WrongShare);
            }
            let Digest::Prehash(prehash) = digest else {
                return Err(SignFault::Refused);
            };
            let made = p
                .answer(*prehash, &ROOT_TWEAK)
                .map_err(|_| SignFault::Refused)?;
            Answer {
                view: made.view,
                body: made.body.to_vec(),
            }
        }
        Presignature::Schnorr(p) => p.answer(message(public.scheme)?, share)?,
        #[cfg(any(test, feature = "model"))]
        Presignature::Model(p) => p.answer(message(public.scheme)?, share)?,
    };
    Ok(Signed {
        presignature: id,
        set,
        partial,
    })
}

#[cfg(test)]
mod tests;
