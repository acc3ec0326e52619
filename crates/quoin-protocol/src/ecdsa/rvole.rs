//! The random multiplication: Alice's nonce and key share times Bob's random factor, as shares.
//!
//! DKLs23 (eprint 2023/765) with a constant gadget and one check column. Alice sends corrections
//! that turn pads into `alpha + beta a`; Bob checks one random combination of the columns against a
//! hash. Result for k = 0 (nonce) and 1 (key share): `c_k + d_k = a_k chi`. Source: construction,
//! sections 8.2 and 13.3.

use super::context::extend;
use super::extension::BobRows;
use super::field::{decode_scalar, encode_scalar, gadget, hash_to_scalar, secret_scalar};
use super::message::Product;
use super::pads::{PadKey, Pads};
use super::params::{COLUMNS, Params};
use super::rng::BatchRng;
use crate::Fault;
use k256::Scalar;
use quoin_core::hash::TaggedHasher;
use quoin_core::tags;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::{Zeroize, Zeroizing};

/// What both sides hash and derive in one direction.
pub(super) struct Multiplication {
    t2: [u8; 32],
    pads: PadKey,
}

/// The challenges of the check.
struct Challenge([Scalar; 2]);

impl Challenge {
    /// `theta_0 a + theta_1 b + c`.
    fn combine(&self, [a, b, c]: &Pads) -> Scalar {
        let [t0, t1] = &self.0;
        t0 * a + t1 * b + c
    }
}

impl Multiplication {
    pub(super) fn new(t2: [u8; 32]) -> Self {
        let pads = PadKey::derive(&t2);
        Self { t2, pads }
    }

    /// `theta_k = TS("rvole/theta"; T2, b, k, h)` with h the hash of the corrections: errors cannot
    /// be chosen after theta.
    fn challenge(&self, b: u16, corrections: &[u8]) -> Challenge {
        let index = b.to_be_bytes();
        let mut hasher = TaggedHasher::new(tags::ECDSA_RVOLE_ATILDE);
        hasher.part(&self.t2).part(&index).part(corrections);
        let bound = hasher.finish();
        Challenge(
            [0u8, 1].map(|k| {
                hash_to_scalar(tags::ECDSA_RVOLE_THETA, &[&self.t2, &index, &[k], &bound])
            }),
        )
    }

    fn check_hash(&self, b: u16, values: &[u8]) -> [u8; 32] {
        let mut hasher = TaggedHasher::new(tags::ECDSA_RVOLE_MU);
        hasher.part(&self.t2);
        extend(&hasher, &[&b.to_be_bytes(), values])
    }
}

/// The third input, `a^`: the only mask on eta. It is drawn for one multiplication, cannot be
/// copied, and computing eta consumes it; shared between two multiplications it would give the key
/// share away (section 21.1).
pub(super) struct CheckMask(Zeroizing<Scalar>);

impl CheckMask {
    /// Draws a fresh mask.
    pub(super) fn draw(rng: &mut BatchRng) -> Self {
        Self(Zeroizing::new(secret_scalar(&mut rng.key)))
    }

    /// `eta = theta_0 a_0 + theta_1 a_1 + a_2`.
    fn into_eta(self, challenge: &Challenge, [nonce, share]: [&Scalar; 2]) -> Scalar {
        challenge.combine(&[*nonce, *share, *self.0])
    }
}

/// A party's shares of both products.
pub(super) type Shares = Zeroizing<[Scalar; 2]>;

/// Alice multiplies her inputs and appends `a~ || eta || mu` to `out`. `rows` are the rows of
/// presignature `b`.
pub(super) fn multiply<P: Params>(
    with: &Multiplication,
    b: u16,
    (rows, delta): (&[u128], u128),
    inputs: [&Scalar; 2],
    mask: CheckMask,
    out: &mut Vec<u8>,
) -> Shares {
    let [nonce, share] = inputs;
    let start = out.len();
    let mut pads: Zeroizing<Vec<Pads>> = Zeroizing::new(Vec::with_capacity(P::OTS));
    for (row, m) in rows.iter().zip(usize::from(b) * P::OTS..) {
        let both = with.pads.row(m).of_both(*row, delta);
        let [zero, one] = &*both;
        let columns = zero.iter().zip(one).zip([nonce, share, &*mask.0]);
        for ((zero, one), input) in columns {
            out.extend_from_slice(&encode_scalar(&(zero - one + input)));
        }
        pads.push(*zero);
    }
    let challenge = with.challenge(b, out.split_at(start).1);
    out.extend_from_slice(&encode_scalar(&mask.into_eta(&challenge, inputs)));
    let mut values = Zeroizing::new(Vec::with_capacity(P::OTS * 32));
    let mut shares = Zeroizing::new([Scalar::ZERO; 2]);
    for (pad, g) in pads.iter().zip(gadget()) {
        values.extend_from_slice(&encode_scalar(&challenge.combine(pad)));
        for (share, alpha) in shares.iter_mut().zip(pad) {
            *share -= g * alpha;
        }
    }
    out.extend_from_slice(&with.check_hash(b, &values));
    shares
}

/// Bob's factor in presignature `b`: `chi = sum g_m beta_m`.
pub(super) fn factor<P: Params>(rows: &BobRows, b: u16) -> Scalar {
    let choices = rows.choices(usize::from(b) * P::OTS, P::OTS);
    choices
        .zip(gadget())
        .fold(Scalar::ZERO, |chi, (beta, g)| chi + masked(g, beta))
}

fn masked(value: &Scalar, bit: Choice) -> Scalar {
    Scalar::conditional_select(&Scalar::ZERO, value, bit)
}

/// Bob checks Alice's message and takes his shares. The choice is false when the check fails; the
/// caller forms one accept bit of all presignatures, so that time does not tell which one failed.
///
/// # Errors
/// [`Fault::BadScalar`] for an encoding that anyone could refuse.
pub(super) fn verify<P: Params>(
    with: &Multiplication,
    b: u16,
    rows: &BobRows,
    message: &Product<'_>,
) -> Result<(Choice, Shares), Fault> {
    let first = usize::from(b) * P::OTS;
    let challenge = with.challenge(b, message.corrections);
    let eta = decode_scalar(message.eta).ok_or(Fault::BadScalar)?;
    let mut values = Zeroizing::new(Vec::with_capacity(P::OTS * 32));
    let mut shares = Zeroizing::new([Scalar::ZERO; 2]);
    let corrections = message.corrections.as_chunks::<32>().0;
    let triples = corrections.as_chunks::<COLUMNS>().0.iter().zip(gadget());
    let own = rows.rows.iter().zip(0usize..).skip(first);
    let own = own.zip(rows.choices(first, P::OTS));
    for (((row, n), beta), (sent, g)) in own.zip(triples) {
        let mut d = with.pads.row(n).of(*row);
        for (d, bytes) in d.iter_mut().zip(sent) {
            // Whether an encoding is canonical is public; which rows Bob chose is not.
            let correction = decode_scalar(bytes).ok_or(Fault::BadScalar)?;
            *d += masked(&correction, beta);
        }
        let mut value = challenge.combine(&d) - masked(&eta, beta);
        values.extend_from_slice(&encode_scalar(&value));
        value.zeroize();
        for (share, d) in shares.iter_mut().zip(d.iter()) {
            *share += g * d;
        }
    }
    let accept = with.check_hash(b, &values).ct_eq(message.mu);
    Ok((accept, shares))
}
