//! Single-use presignatures and the online answer.
//!
//! Not here: the durable record that must exist before an answer is computed; the node writes it
//! and reaches this code only through the crate's `sign`. Source: construction, sections 10.1, 10.4
//! and 11.

use super::field::{
    base_mul, decode_point, decode_scalar, encode_point, encode_scalar, hash_to_scalar,
    reduce_narrow, x_coordinate,
};
use super::guard::Guard;
use crate::batch::{BatchHeader, Profile};
use k256::{AffinePoint, ProjectivePoint, Scalar};
use quoin_core::hash::tagged;
use quoin_core::{KeyId, NodeIndex, PresignatureId, SecretBytes, SignerSet, tags};
use std::collections::BTreeMap;
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
    /// Of a treasury key: what is missing to its nonce until all signers have opened.
    entropy: Option<Box<Entropy>>,
}

/// The entropy of one treasury presignature: this signer's, and the commitments to everyone's.
pub(super) struct Entropy {
    /// The context that commitments name.
    pub(super) ctx1: [u8; 32],
    /// This signer's entropy: secret until the presignature is bound.
    pub(super) own: SecretBytes<32>,
    /// The commitments of all signers, the own one included.
    pub(super) commitments: BTreeMap<NodeIndex, [u8; 32]>,
}

/// `TH("entropy"; ctx1, i, b, e)`: fixed in round 3, opened online.
pub(super) fn entropy_commitment(
    ctx1: &[u8; 32],
    node: NodeIndex,
    b: u16,
    entropy: &[u8; 32],
) -> [u8; 32] {
    let place = b.to_be_bytes();
    tagged(tags::ECDSA_ENTROPY, &[ctx1, &[node.get()], &place, entropy])
}

/// A treasury presignature that is bound to one digest and tweak for ever, and has no nonce yet.
///
/// # Security
/// It is made from the presignature by value, so that there is no second binding:
///
/// ```compile_fail,E0277
/// fn copied<T: Clone>(_: T) {}
/// fn copy(bound: quoin_protocol::Bound) {
///     copied(bound);
/// }
/// ```
pub(crate) struct Bound {
    presignature: Presignature,
    entropy: Entropy,
    input: Input,
}

/// A digest and a tweak that can be signed for.
struct Input {
    digest: [u8; 32],
    tweak: [u8; 32],
    h: Scalar,
    tau: Scalar,
}

/// What the nonce is re-randomised with.
enum Round<'a> {
    /// One round: the digest alone.
    Only,
    /// The second of two: everyone's entropy in order, and the hash of all openings.
    Second(&'a [u8], &'a [u8; 32]),
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
    /// A treasury presignature has no nonce before all signers have opened.
    #[error("the presignature must be bound first")]
    NeedsBinding,
    /// A presignature of one round has no entropy to open.
    #[error("the presignature signs in one round")]
    NotTreasury,
    /// A signer's opening has no entropy.
    #[error("node `{0}` has opened no entropy")]
    EntropyMissing(NodeIndex),
    /// The entropy is not what its signer committed to.
    #[error("the entropy of node `{0}` is not what it committed to")]
    WrongEntropy(NodeIndex),
}

impl From<SignFault> for crate::SignFault {
    fn from(fault: SignFault) -> Self {
        match fault {
            SignFault::ZeroDigest => Self::ZeroDigest,
            SignFault::TweakNotCanonical | SignFault::IdentityKey => Self::BadTweak,
            SignFault::DegenerateNonce => Self::Refused,
            SignFault::NeedsBinding => Self::NeedsBinding,
            SignFault::NotTreasury => Self::NotTreasury,
            // Its signer has signed an opening of another form.
            SignFault::EntropyMissing(node) => Self::WrongOpening(node),
            SignFault::WrongEntropy(node) => Self::WrongEntropy(node),
        }
    }
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
        nonce: AffinePoint,
        secrets: Zeroizing<[Scalar; 3]>,
        entropy: Option<Entropy>,
    ) -> Self {
        Self {
            id,
            header,
            nonce,
            secrets: Box::new(secrets),
            entropy: entropy.map(Box::new),
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
    /// choose with the digest in mind (section 10.6). In the second of two rounds the tag is
    /// "delta-treasury" and everyone's entropy follows in order: one honest signer makes it
    /// unpredictable at the time when the digest is fixed (section 10.5).
    fn rerandomiser(&self, digest: &[u8; 32], tweak: &[u8; 32], round: &Round<'_>) -> Scalar {
        let signers: Vec<u8> = self.header.set.iter().map(|n| n.get()).collect();
        let (index, nonce) = (self.id.index.to_be_bytes(), self.nonce());
        let mut parts: Vec<&[u8]> = vec![
            self.id.batch.as_bytes(),
            &index,
            self.header.key.as_bytes(),
            &self.header.public_key,
            &signers,
            &nonce,
            digest,
            tweak,
        ];
        match round {
            Round::Only => hash_to_scalar(tags::ECDSA_DELTA, &parts),
            Round::Second(entropy, _) => {
                parts.push(entropy);
                hash_to_scalar(tags::ECDSA_DELTA_TREASURY, &parts)
            }
        }
    }

    /// Checks what can be checked before anything is opened or answered.
    fn input(&self, digest: [u8; 32], tweak: &[u8; 32]) -> Result<Input, SignFault> {
        let h = reduce_narrow(&digest);
        if !Guard::ZeroDigest.holds(h != Scalar::ZERO) {
            return Err(SignFault::ZeroDigest);
        }
        let tau = decode_scalar(tweak).ok_or(SignFault::TweakNotCanonical)?;
        self.refuse_degenerate_key(&tau)?;
        Ok(Input {
            digest,
            tweak: *tweak,
            h,
            tau,
        })
    }

    fn refuse_degenerate_key(&self, tweak: &Scalar) -> Result<(), SignFault> {
        // The tweak is public, and without one the key is the certified one.
        if *tweak == Scalar::ZERO {
            return Ok(());
        }
        let key = self.header.public_key.as_slice().try_into().ok();
        let key = key.and_then(decode_point).ok_or(SignFault::IdentityKey)?;
        let child = ProjectivePoint::from(key) + base_mul(tweak);
        if !Guard::IdentityChild.holds(child != ProjectivePoint::IDENTITY) {
            return Err(SignFault::IdentityKey);
        }
        Ok(())
    }

    /// Answers for one digest under the key tweaked by `tweak`. Consumes the presignature whether
    /// it succeeds or not.
    ///
    /// # Errors
    /// When the digest is zero, the tweak is not canonical, a value is degenerate, or the
    /// presignature is of a treasury key.
    ///
    /// # Security
    /// The record that this presignature is consumed must be durable before this is called.
    pub(crate) fn answer(self, digest: [u8; 32], tweak: &[u8; 32]) -> Result<Answer, SignFault> {
        // A presignature without entropy whose header is a treasury key's is none either.
        let one_round = self.entropy.is_none() && self.header.profile == Profile::Normal;
        if !Guard::TwoRounds.holds(one_round) {
            return Err(SignFault::NeedsBinding);
        }
        let input = self.input(digest, tweak)?;
        self.respond(&input, &Round::Only)
    }

    /// Binds a treasury presignature to one digest and tweak, and opens this signer's entropy.
    /// Consumes the presignature whether it succeeds or not.
    ///
    /// # Errors
    /// As [`Presignature::answer`], and when the presignature signs in one round.
    ///
    /// # Security
    /// The record of the binding must be durable before the entropy leaves.
    pub(crate) fn bind(
        mut self,
        digest: [u8; 32],
        tweak: &[u8; 32],
    ) -> Result<(Bound, [u8; 32]), SignFault> {
        let entropy = *self.entropy.take().ok_or(SignFault::NotTreasury)?;
        let input = self.input(digest, tweak)?;
        let opened = *entropy.own.expose();
        let bound = Bound {
            presignature: self,
            entropy,
            input,
        };
        Ok((bound, opened))
    }

    /// With `k' = k + delta`: `A_i = u_i + delta phi_i` are shares of `k' phi`, and
    /// `W_i = (h + r tau) phi_i + r v_i` of `(h + r (x + tau)) phi`.
    fn respond(self, input: &Input, round: &Round<'_>) -> Result<Answer, SignFault> {
        let Input {
            digest,
            tweak,
            h,
            tau,
        } = input;
        let delta = self.rerandomiser(digest, tweak, round);
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
        let w = (*h + r * tau) * phi + r * v;
        let nonce = encode_point(&nonce);
        let mut body = [0u8; 97];
        let parts = nonce.iter().copied();
        let parts = parts.chain(encode_scalar(&a)).chain(encode_scalar(&w));
        for (out, byte) in body.iter_mut().zip(parts) {
            *out = byte;
        }
        let openings = match round {
            Round::Only => None,
            Round::Second(_, openings) => Some(*openings),
        };
        let view = view(self.id, digest, tweak, &nonce, openings);
        Ok(Answer { view, body })
    }
}

/// `TH("answer"; T_batch, b, digest, tau, R')`, and the hash of all openings of a treasury key.
pub(super) fn view(
    id: PresignatureId,
    digest: &[u8; 32],
    tweak: &[u8; 32],
    nonce: &[u8; 33],
    openings: Option<&[u8; 32]>,
) -> [u8; 32] {
    let index = id.index.to_be_bytes();
    let mut parts: Vec<&[u8]> = vec![id.batch.as_bytes(), &index, digest, tweak, nonce];
    parts.extend(openings.map(|hash| hash.as_slice()));
    tagged(tags::ECDSA_ANSWER, &parts)
}

impl Bound {
    /// Answers once all signers have opened: `opened` is everyone's entropy, `openings` the hash of
    /// what they signed.
    ///
    /// # Errors
    /// Names a signer without entropy, or with another than it committed to.
    pub(crate) fn finish(
        self,
        opened: &BTreeMap<NodeIndex, [u8; 32]>,
        openings: &[u8; 32],
    ) -> Result<Answer, SignFault> {
        let mut all = Vec::with_capacity(32 * opened.len());
        let index = self.presignature.id.index;
        for (node, commitment) in &self.entropy.commitments {
            let entropy = opened.get(node).ok_or(SignFault::EntropyMissing(*node))?;
            let computed = entropy_commitment(&self.entropy.ctx1, *node, index, entropy);
            if !Guard::EntropyOpens.holds(computed == *commitment) {
                return Err(SignFault::WrongEntropy(*node));
            }
            all.extend_from_slice(entropy);
        }
        self.presignature
            .respond(&self.input, &Round::Second(&all, openings))
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
            entropy: None,
        };
        let answer = |p: Self, digest| p.answer(digest, &[0; 32]).unwrap();
        (answer(self, first), answer(copy, second))
    }

    /// A treasury presignature that has lost its entropy.
    pub(super) fn forget_entropy(mut self) -> Self {
        self.entropy = None;
        self
    }

    /// The other signer's key share and so the key, from two of its answers and this own state.
    pub(super) fn extract_key(self, seen: [([u8; 32], Answer); 2]) -> Scalar {
        let [(delta, a, _), (delta2, a2, _)] = seen.each_ref().map(|(digest, answer)| {
            let field = |at: usize| decode_scalar(answer.body[at..at + 32].try_into().unwrap());
            let delta = self.rerandomiser(digest, &[0; 32], &Round::Only);
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
