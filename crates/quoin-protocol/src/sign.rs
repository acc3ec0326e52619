//! The only way to a partial signature: a [`Warrant`] and a presignature, both by value.
//!
//! The warrant can only be made by the policy engine, from what only a chain decoder can make; the
//! presignature can only be taken out of its pool once. Neither is `Clone`, so the types leave no
//! way to sign without judgement, or twice with one presignature.
//!
//! Keys of most purposes sign in one round: [`sign()`]. Treasury keys take two, see [`mod@crate::bind`].

use crate::combine::message_of;
use crate::derive::derive;
use crate::presign::{Answer, Presignature, SignFault};
use crate::schnorr::Request;
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

/// Signs what the warrant warrants, in one round.
///
/// # Errors
/// When the three are not of one key, the key is a treasury key, the digest does not fit, or a
/// value is degenerate.
///
/// # Security
/// Call this only once the record that the presignature is consumed is durable.
pub fn sign(
    warrant: Warrant,
    presignature: Presignature,
    share: &KeyShare,
) -> Result<Signed, SignFault> {
    check_key(&warrant, &presignature, share)?;
    let tweak = tweak_of(&warrant, share)?;
    let (id, set) = (presignature.id(), presignature.set().clone());
    let partial = answer(presignature, warrant.decoded().digest(), &tweak, share)?;
    Ok(Signed {
        presignature: id,
        set,
        partial,
    })
}

/// Checks that warrant, presignature and share are of one key and one sharing of it.
pub(crate) fn check_key(
    warrant: &Warrant,
    presignature: &Presignature,
    share: &KeyShare,
) -> Result<(), SignFault> {
    let (public, made_of) = (&share.public, presignature.header());
    let of_key = warrant.key() == Some(public.key);
    // The hash is of the whole record, its key id included, and the batch's header was compared
    // with the record that it names; so the header's own key id needs no comparison here.
    let of_epoch = made_of.shares_hash == public.shares_hash();
    if of_key && of_epoch && warrant.custody() == CustodyMethod::Mpc {
        Ok(())
    } else {
        Err(SignFault::WrongShare)
    }
}

/// The scalar that leads from the key to the warranted account's key: derived here, by this signer,
/// from the path in the stamp that was judged and the key's own record. No message carries it, so
/// nobody can choose it (construction, section 15, row 29).
pub(crate) fn tweak_of(warrant: &Warrant, share: &KeyShare) -> Result<[u8; 32], SignFault> {
    let path = &warrant.decoded().account().path;
    let child = derive(&share.public, path).map_err(|_| SignFault::Refused)?;
    Ok(child.tweak)
}

/// One signer's answer in one round, under the key moved by `tweak`.
pub(crate) fn answer(
    presignature: Presignature,
    digest: &Digest,
    tweak: &[u8; 32],
    share: &KeyShare,
) -> Result<Answer, SignFault> {
    let request = || -> Result<_, SignFault> {
        Ok(Request {
            message: message_of(share.public.scheme, digest).map_err(|_| SignFault::Refused)?,
            tweak,
            openings: None,
        })
    };
    match presignature {
        Presignature::Ecdsa(p) => Ok(p.answer(prehash_of(digest)?, tweak)?.into()),
        Presignature::Schnorr(p) => p.answer(&request()?, share),
        #[cfg(any(test, feature = "model"))]
        Presignature::Model(p) => p.answer(&request()?, share),
    }
}

/// The digest that ECDSA signs.
pub(crate) const fn prehash_of(digest: &Digest) -> Result<[u8; 32], SignFault> {
    match digest {
        Digest::Prehash(prehash) => Ok(*prehash),
        _ => Err(SignFault::Refused),
    }
}

impl From<crate::ecdsa::Answer> for Answer {
    fn from(made: crate::ecdsa::Answer) -> Self {
        Self {
            view: made.view,
            body: made.body.to_vec(),
        }
    }
}

#[cfg(test)]
mod consensus;
#[cfg(test)]
pub(crate) mod tests;
