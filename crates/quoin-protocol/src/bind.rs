//! Signing with treasury keys: two rounds, of which the first binds.
//!
//! ```text
//!   bind(warrant, presignature) ──► Bound, Opening ──► record durable ──► opening leaves, signed
//!   all t openings, their signatures checked ──► Bound::finish ──► answer
//! ```
//!
//! Once a signer has opened, its presignature is bound to one digest, tweak and signer set for ever:
//! [`Bound`] has consumed it, and the record of the binding was durable before the opening left. So
//! nobody can try digests after seeing the entropy, and a machine whose memory was cloned must get
//! the openings of un-cloned signers before it can answer for anything else. A signer that stops
//! between the rounds burns the presignature, which is denial of service and no bias. Source:
//! construction, sections 10.5, 21.3; design, section 6.

use crate::combine::message_of;
use crate::presign::binding::{Binding, Opening, check_openings};
use crate::presign::{Answer, Presignature, SignFault};
use crate::schnorr::{Request, needs_openings};
use crate::share::KeyShare;
use crate::sign::{Signed, check_key, prehash_of, tweak_of};
use crate::{ecdsa, schnorr};
use quoin_chain::Digest;
use quoin_core::cbor::Version;
use quoin_core::{NodeIndex, PresignatureId};
use quoin_policy::Warrant;
use std::collections::BTreeMap;

/// A presignature of a treasury key that is bound to what its warrant warrants. Single-use: it can
/// be finished or dropped.
///
/// ```compile_fail,E0382
/// fn twice(bound: quoin_protocol::Bound) {
///     drop(bound);
///     drop(bound);
/// }
/// ```
pub struct Bound {
    warrant: Warrant,
    own: Opening,
    material: Material,
}

/// What the second round answers with.
enum Material {
    Ecdsa(Box<ecdsa::Bound>),
    Schnorr(schnorr::Presignature),
    #[cfg(any(test, feature = "model"))]
    Model(crate::model::Presignature),
}

/// What [`bind`] would bind the presignature to: for the record that must be durable before.
///
/// # Errors
/// As [`bind`].
pub fn binding_of(
    warrant: &Warrant,
    presignature: &Presignature,
    share: &KeyShare,
) -> Result<Binding, SignFault> {
    check_key(warrant, presignature, share)?;
    needs_openings(presignature.header(), true)?;
    let (id, digest) = (presignature.id(), warrant.decoded().digest());
    let tweak = tweak_of(warrant, share)?;
    Binding::new(presignature.header(), id, digest, &tweak).ok_or(SignFault::Refused)
}

/// The first round: binds a treasury presignature to what the warrant warrants, for ever.
///
/// # Errors
/// When the three are not of one key, the key is no treasury key, the digest does not fit, or a
/// value is degenerate. The presignature is gone in any case.
///
/// # Security
/// Make the record of the binding durable *before* the opening is sent, and send it signed by the
/// node as the statement that it is. A restart finds the record and never opens the id again.
pub fn bind(
    warrant: Warrant,
    presignature: Presignature,
    share: &KeyShare,
) -> Result<(Bound, Opening), SignFault> {
    check_key(&warrant, &presignature, share)?;
    let tweak = tweak_of(&warrant, share)?;
    let (material, own) = material(presignature, warrant.decoded().digest(), &tweak, share)?;
    let opening = own.clone();
    let bound = Bound {
        warrant,
        own,
        material,
    };
    Ok((bound, opening))
}

fn material(
    presignature: Presignature,
    digest: &Digest,
    tweak: &[u8; 32],
    share: &KeyShare,
) -> Result<(Material, Opening), SignFault> {
    let header = presignature.header();
    needs_openings(header, true)?;
    let binding = Binding::new(header, presignature.id(), digest, tweak);
    let binding = binding.ok_or(SignFault::Refused)?;
    let (material, entropy) = match presignature {
        Presignature::Ecdsa(p) => {
            let (bound, entropy) = p.bind(prehash_of(digest)?, tweak)?;
            (Material::Ecdsa(Box::new(bound)), Some(entropy))
        }
        Presignature::Schnorr(p) => {
            // What an answer would refuse is refused before anyone opens for it.
            let message = message_of(share.public.scheme, digest);
            let request = Request {
                message: message.map_err(|_| SignFault::Refused)?,
                tweak,
                openings: None,
            };
            p.check(&request, share)?;
            (Material::Schnorr(p), None)
        }
        #[cfg(any(test, feature = "model"))]
        Presignature::Model(p) => (Material::Model(p), None),
    };
    let opening = Opening {
        version: Version,
        node: share.node,
        binding,
        entropy,
    };
    Ok((material, opening))
}

impl Bound {
    /// What it is bound to.
    #[must_use]
    pub const fn binding(&self) -> &Binding {
        &self.own.binding
    }

    /// This signer's opening, to be sent again byte for byte.
    #[must_use]
    pub const fn opening(&self) -> &Opening {
        &self.own
    }

    /// The presignature that is bound.
    #[must_use]
    pub const fn presignature(&self) -> PresignatureId {
        self.own.binding.presignature
    }

    /// What is warranted.
    #[must_use]
    pub const fn warrant(&self) -> &Warrant {
        &self.warrant
    }

    /// The second round: answers, given the openings of all signers, the own one included. The
    /// caller has checked that each is signed by its node.
    ///
    /// # Errors
    /// Names a signer whose opening is missing, is of another binding, or holds other entropy than
    /// it committed to. The presignature is gone in any case.
    pub fn finish(
        self,
        openings: BTreeMap<NodeIndex, Opening>,
        share: &KeyShare,
    ) -> Result<Signed, SignFault> {
        let digest = self.warrant.decoded().digest();
        let partial = respond(self.material, &self.own, digest, &openings, share)?;
        let binding = self.own.binding;
        Ok(Signed {
            presignature: binding.presignature,
            set: binding.set,
            partial,
        })
    }
}

/// One signer's answer in the second round.
fn respond(
    material: Material,
    own: &Opening,
    digest: &Digest,
    openings: &BTreeMap<NodeIndex, Opening>,
    share: &KeyShare,
) -> Result<Answer, SignFault> {
    let opened = check_openings(share.public.scheme, &own.binding, openings)?;
    if openings.get(&own.node) != Some(own) {
        return Err(SignFault::WrongOpening(own.node));
    }
    let request = || -> Result<_, SignFault> {
        let message = message_of(share.public.scheme, digest);
        Ok(Request {
            message: message.map_err(|_| SignFault::Refused)?,
            tweak: &own.binding.tweak,
            openings: Some(&opened.hash),
        })
    };
    match material {
        Material::Ecdsa(bound) => Ok(bound.finish(&opened.entropy, &opened.hash)?.into()),
        Material::Schnorr(p) => p.answer(&request()?, share),
        #[cfg(any(test, feature = "model"))]
        Material::Model(p) => p.answer(&request()?, share),
    }
}

impl std::fmt::Debug for Bound {
    /// Shows what is public.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bound")
            .field("binding", &self.own.binding)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
