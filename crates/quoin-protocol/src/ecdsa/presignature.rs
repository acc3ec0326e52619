//! Single-use presignatures and the online answer.
//!
//! Not here: the durable record that must exist before an answer is computed; the node writes it
//! and reaches this code only through the crate's `sign`. Source: construction, sections 10.1, 10.4
//! and 11.

use super::field::{
    base_mul, decode_point, decode_scalar, encode_point, encode_scalar, hash_to_scalar,
    reduce_narrow, x_coordinate,
};
use crate::batch::BatchHeader;
use k256::{AffinePoint, ProjectivePoint, Scalar};
use quoin_core::hash::tagged;
use quoin_core::{KeyId, PresignatureId, SignerSet, tags};
use std::sync::Arc;
use zeroize::Zeroizing;

/// One signer's part of a presignature.
///
/// # Security
/// Two answers from one presignature give the key away (section 10.4). Answering therefore takes it
/// by value, and it can neither be copied nor printed:
///
/// ```compile_fail,E0382
/// fn twice(presignature: quoin_protocol::ecdsa::Presignature) {
///     drop(presignature);
///     drop(presignature);
/// }
/// ```
///
/// ```compile_fail,E0277
/// fn copied<T: Clone>(_: T) {}
/// fn copy(presignature: quoin_protocol::ecdsa::Presignature) {
///     copied(presignature);
/// }
/// ```
///
/// ```compile_fail,E0277
/// fn print(presignature: quoin_protocol::ecdsa::Presignature) -> String {
///     format!("{presignature:?}")
/// }
/// ```
pub struct Presignature {
    id: PresignatureId,
    header: Arc<BatchHeader>,
    nonce: AffinePoint,
    /// phi, u and v: key-equivalent for ever once an answer was sent.
    secrets: Box<Zeroizing<[Scalar; 3]>>,
}

/// Why a signer refuses to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignFault {
    /// A forged signature for the zero digest exists for every key.
    #[error("the digest is zero modulo the group order")]
    ZeroDigest,
    /// The tweak is not below the group order.
    #[error("the tweak is not a canonical scalar")]
    TweakNotCanonical,
    /// The tweaked key would be the identity.
    #[error("the tweaked public key is the identity")]
    IdentityKey,
    /// The re-randomised nonce point is the identity, or its x-coordinate is zero.
    #[error("the re-randomised nonce is degenerate")]
    DegenerateNonce,
}

/// One signer's answer: public once sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What the answer is about: presignature, digest, tweak and nonce.
    pub view: [u8; 32],
    /// The nonce point (33 bytes), A and W (32 bytes each).
    pub body: [u8; 97],
}

impl Presignature {
    pub(super) fn new(
        id: PresignatureId,
        header: Arc<BatchHeader>,
        nonce: ProjectivePoint,
        secrets: Zeroizing<[Scalar; 3]>,
    ) -> Self {
        Self {
            id,
            header,
            nonce: nonce.to_affine(),
            secrets: Box::new(secrets),
        }
    }

    /// Its id: the transcript of its batch and its place there.
    #[must_use]
    pub const fn id(&self) -> PresignatureId {
        self.id
    }

    /// The header of its batch: cluster, boots, share epoch and profile that it is bound to.
    #[must_use]
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The key that it signs for.
    #[must_use]
    pub fn key(&self) -> KeyId {
        self.header.key
    }

    /// Who must answer: all of the set, and nobody else.
    #[must_use]
    pub fn signers(&self) -> &SignerSet {
        &self.header.set
    }

    /// The public nonce point R before re-randomisation.
    #[must_use]
    pub fn nonce(&self) -> [u8; 33] {
        encode_point(&self.nonce)
    }

    /// `delta = TS("delta"; T_batch, b, key id, pk, S, R, digest, tau)`: a nonce that nobody could
    /// choose with the digest in mind (section 10.6).
    fn rerandomiser(&self, digest: &[u8; 32], tweak: &[u8; 32]) -> Scalar {
        let signers: Vec<u8> = self.header.set.iter().map(|n| n.get()).collect();
        hash_to_scalar(
            tags::ECDSA_DELTA,
            &[
                self.id.batch.as_bytes(),
                &self.id.index.to_be_bytes(),
                self.header.key.as_bytes(),
                &self.header.public_key,
                &signers,
                &self.nonce(),
                digest,
                tweak,
            ],
        )
    }

    fn refuse_degenerate_key(&self, tweak: &Scalar) -> Result<(), SignFault> {
        // The tweak is public, and without one the key is the certified one.
        if *tweak == Scalar::ZERO {
            return Ok(());
        }
        let key = self.header.public_key.as_slice().try_into().ok();
        let key = key.and_then(decode_point).ok_or(SignFault::IdentityKey)?;
        if ProjectivePoint::from(key) + base_mul(tweak) == ProjectivePoint::IDENTITY {
            return Err(SignFault::IdentityKey);
        }
        Ok(())
    }

    /// Answers for one digest under the key tweaked by `tweak`. Consumes the presignature whether
    /// it succeeds or not.
    ///
    /// With `k' = k + delta`: `A_i = u_i + delta phi_i` are shares of `k' phi`, and
    /// `W_i = (h + r tau) phi_i + r v_i` of `(h + r (x + tau)) phi`.
    ///
    /// # Errors
    /// When the digest is zero, the tweak is not canonical, or a value is degenerate.
    ///
    /// # Security
    /// The record that this presignature is consumed must be durable before this is called.
    pub(crate) fn answer(self, digest: [u8; 32], tweak: &[u8; 32]) -> Result<Answer, SignFault> {
        let h = reduce_narrow(&digest);
        if h == Scalar::ZERO {
            return Err(SignFault::ZeroDigest);
        }
        let tau = decode_scalar(tweak).ok_or(SignFault::TweakNotCanonical)?;
        self.refuse_degenerate_key(&tau)?;
        let delta = self.rerandomiser(&digest, tweak);
        let nonce = ProjectivePoint::from(self.nonce) + base_mul(&delta);
        if nonce == ProjectivePoint::IDENTITY {
            return Err(SignFault::DegenerateNonce);
        }
        let nonce = nonce.to_affine();
        let r = x_coordinate(&nonce);
        if r == Scalar::ZERO {
            return Err(SignFault::DegenerateNonce);
        }
        let [phi, u, v] = &**self.secrets;
        let a = u + delta * phi;
        let w = (h + r * tau) * phi + r * v;
        let nonce = encode_point(&nonce);
        let mut body = [0u8; 97];
        let parts = nonce.iter().copied();
        let parts = parts.chain(encode_scalar(&a)).chain(encode_scalar(&w));
        for (out, byte) in body.iter_mut().zip(parts) {
            *out = byte;
        }
        let view = tagged(
            tags::ECDSA_ANSWER,
            &[
                self.id.batch.as_bytes(),
                &self.id.index.to_be_bytes(),
                &digest,
                tweak,
                &nonce,
            ],
        );
        Ok(Answer { view, body })
    }
}

/// The attack of section 10.4, which the type prevents.
#[cfg(test)]
impl Presignature {
    /// Answers for two digests, as a restored copy of this state would.
    pub(super) fn answer_twice(self, first: [u8; 32], second: [u8; 32]) -> (Answer, Answer) {
        let copy = Self {
            id: self.id,
            header: self.header.clone(),
            nonce: self.nonce,
            secrets: Box::new(Zeroizing::new(**self.secrets)),
        };
        let answer = |p: Self, digest| p.answer(digest, &[0; 32]).unwrap();
        (answer(self, first), answer(copy, second))
    }

    /// The other signer's key share and so the key, from two of its answers and this own state.
    pub(super) fn extract_key(self, seen: [([u8; 32], Answer); 2]) -> Scalar {
        let [(delta, a, _), (delta2, a2, _)] = seen.each_ref().map(|(digest, answer)| {
            let field = |at: usize| decode_scalar(answer.body[at..at + 32].try_into().unwrap());
            let delta = self.rerandomiser(digest, &[0; 32]);
            (delta, field(33).unwrap(), field(65).unwrap())
        });
        let phi = (a - a2) * (delta - delta2).invert().unwrap();
        let (digest, answer) = &seen[0];
        let w = decode_scalar(answer.body[65..].try_into().unwrap()).unwrap();
        let nonce = decode_point(answer.body[..33].try_into().unwrap()).unwrap();
        let r = x_coordinate(&nonce);
        let v = (w - reduce_narrow(digest) * phi) * r.invert().unwrap();
        let [own_phi, _, own_v] = **self.secrets;
        (v + own_v) * (phi + own_phi).invert().unwrap()
    }
}
