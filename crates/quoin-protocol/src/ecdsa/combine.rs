//! The combiner: from all signers' answers to a verified signature.
//!
//! It holds no secret and trusts nobody: it verifies under the tweaked key with libsecp256k1, which
//! made no part of the signature, before it returns anything. Source: construction, section 10.2.

use super::field::{decode_point, decode_scalar, encode_scalar, x_coordinate};
use super::guard::Guard;
use super::presignature::{Answer, view};
use k256::elliptic_curve::point::AffineCoordinates;
use k256::elliptic_curve::scalar::IsHigh;
use k256::{AffinePoint, Scalar};
use quoin_core::PresignatureId;
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
use secp256k1::{Message, PublicKey, Secp256k1, VerifyOnly};
use std::sync::LazyLock;

/// A finished ECDSA signature with low s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EcdsaSignature {
    /// The nonce's x-coordinate modulo the order, big-endian.
    pub r: [u8; 32],
    /// The proof, in its lower half, big-endian.
    pub s: [u8; 32],
    /// 0 to 3: parity of the nonce's y, plus 2 when its x is above the order.
    pub recovery_id: u8,
}

/// Why answers give no signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CombineFault {
    /// No answers at all.
    #[error("there are no answers")]
    NoAnswers,
    /// Signers answered about different things; the presignature is burnt.
    #[error("the answers are about different digests, tweaks or presignatures")]
    ViewsDiffer,
    /// An answer's view is not that of the bound presignature, digest, tweak and openings.
    #[error("answer `{0}` does not belong to its view")]
    NotOfView(usize),
    /// Signers used different nonce points.
    #[error("the answers name different nonces")]
    NoncesDiffer,
    /// An answer that does not decode.
    #[error("answer `{0}` is malformed")]
    Malformed(usize),
    /// A, s or r is zero.
    #[error("the signature is degenerate")]
    Degenerate,
    /// The public key or the tweak is not valid.
    #[error("the public key or the tweak is not valid")]
    BadKey,
    /// Some answer was wrong; which one, the answers alone do not tell.
    #[error("the combined signature does not verify")]
    DoesNotVerify,
}

/// One decoded answer body.
struct Parts {
    nonce: [u8; 33],
    a: Scalar,
    w: Scalar,
}

fn parse(body: &[u8; 97]) -> Option<Parts> {
    let (nonce, rest) = body.split_first_chunk::<33>()?;
    let (a, w) = rest.split_first_chunk::<32>()?;
    Some(Parts {
        nonce: *nonce,
        a: decode_scalar(a)?,
        w: decode_scalar(w.try_into().ok()?)?,
    })
}

/// Combines answers of a treasury key, whose views must be those of this presignature, digest,
/// tweak and `openings`, the hash of what all signers opened.
///
/// # Errors
/// As [`combine`], and when an answer is for anything else.
pub(crate) fn combine_bound(
    public_key: &[u8; 33],
    (tweak, digest): (&[u8; 32], &[u8; 32]),
    (id, openings): (PresignatureId, &[u8; 32]),
    answers: &[Answer],
) -> Result<EcdsaSignature, CombineFault> {
    for (place, answer) in answers.iter().enumerate() {
        let parts = parse(&answer.body).ok_or(CombineFault::Malformed(place))?;
        let computed = view(id, digest, tweak, &parts.nonce, Some(openings));
        if !Guard::ViewsEqual.holds(answer.view == computed) {
            return Err(CombineFault::NotOfView(place));
        }
    }
    combine(public_key, tweak, digest, answers)
}

/// Combines the answers of all signers into a signature of `digest` under the key tweaked by
/// `tweak`.
///
/// # Errors
/// When the answers do not fit together or the result does not verify; nothing of it is returned.
pub fn combine(
    public_key: &[u8; 33],
    tweak: &[u8; 32],
    digest: &[u8; 32],
    answers: &[Answer],
) -> Result<EcdsaSignature, CombineFault> {
    let first = answers.first().ok_or(CombineFault::NoAnswers)?;
    if !Guard::ViewsEqual.holds(answers.iter().all(|a| a.view == first.view)) {
        return Err(CombineFault::ViewsDiffer);
    }
    let parts = answers
        .iter()
        .enumerate()
        .map(|(i, a)| parse(&a.body).ok_or(CombineFault::Malformed(i)))
        .collect::<Result<Vec<_>, _>>()?;
    let [nonce, rest @ ..] = parts.as_slice() else {
        return Err(CombineFault::NoAnswers);
    };
    if rest.iter().any(|p| p.nonce != nonce.nonce) {
        return Err(CombineFault::NoncesDiffer);
    }
    let point = decode_point(&nonce.nonce).ok_or(CombineFault::Malformed(0))?;
    let a = parts.iter().fold(Scalar::ZERO, |sum, p| sum + p.a);
    let w = parts.iter().fold(Scalar::ZERO, |sum, p| sum + p.w);
    let signature = assemble(&point, &a, &w)?;
    verify(public_key, tweak, digest, &signature)?;
    Ok(signature)
}

/// `s = W / A`, brought to its lower half; the other half belongs to the negated nonce.
fn assemble(point: &AffinePoint, a: &Scalar, w: &Scalar) -> Result<EcdsaSignature, CombineFault> {
    let r = x_coordinate(point);
    let inverse = Option::<Scalar>::from(a.invert()).ok_or(CombineFault::Degenerate)?;
    let s = w * &inverse;
    if s == Scalar::ZERO || r == Scalar::ZERO {
        return Err(CombineFault::Degenerate);
    }
    let high = bool::from(s.is_high());
    let odd = bool::from(point.y_is_odd()) != high;
    let above_order = encode_scalar(&r) != <[u8; 32]>::from(point.x());
    Ok(EcdsaSignature {
        r: encode_scalar(&r),
        s: encode_scalar(&if high { -s } else { s }),
        recovery_id: u8::from(odd) + 2 * u8::from(above_order),
    })
}

static VERIFIER: LazyLock<Secp256k1<VerifyOnly>> = LazyLock::new(Secp256k1::verification_only);

/// Verifies with libsecp256k1, by verification and by recovery, so that the recovery id is right
/// as well.
pub(crate) fn verify(
    public_key: &[u8; 33],
    tweak: &[u8; 32],
    digest: &[u8; 32],
    signature: &EcdsaSignature,
) -> Result<(), CombineFault> {
    let tweak = secp256k1::Scalar::from_be_bytes(*tweak).map_err(|_| CombineFault::BadKey)?;
    let key = PublicKey::from_slice(public_key)
        .and_then(|key| key.add_exp_tweak(&VERIFIER, &tweak))
        .map_err(|_| CombineFault::BadKey)?;
    let message = Message::from_digest(*digest);
    let bytes = [signature.r, signature.s].concat();
    let recoverable = RecoveryId::try_from(i32::from(signature.recovery_id))
        .and_then(|id| RecoverableSignature::from_compact(&bytes, id))
        .map_err(|_| CombineFault::DoesNotVerify)?;
    let recovered = VERIFIER.recover_ecdsa(message, &recoverable);
    let verified = VERIFIER.verify_ecdsa(message, &recoverable.to_standard(), &key);
    if Guard::Verified.holds(verified.is_ok() && recovered == Ok(key)) {
        Ok(())
    } else {
        Err(CombineFault::DoesNotVerify)
    }
}

/// Whether `signature`, as `r || s` with low s, is that of `public_key + tweak * G` over `digest`.
#[must_use]
pub fn verify_compact(
    public_key: &[u8; 33],
    tweak: &[u8; 32],
    digest: &[u8; 32],
    signature: &[u8; 64],
) -> bool {
    let verifier = &*VERIFIER;
    let Ok(tweak) = secp256k1::Scalar::from_be_bytes(*tweak) else {
        return false;
    };
    let key = PublicKey::from_slice(public_key).and_then(|k| k.add_exp_tweak(verifier, &tweak));
    let (Ok(key), Ok(signature)) = (key, secp256k1::ecdsa::Signature::from_compact(signature))
    else {
        return false;
    };
    // The library refuses a high s.
    verifier
        .verify_ecdsa(Message::from_digest(*digest), &signature, &key)
        .is_ok()
}
