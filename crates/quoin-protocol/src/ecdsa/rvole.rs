//! The random multiplication: Alice's nonce and key share times Bob's random factor, as shares.
//!
//! DKLs23 (eprint 2023/765) with a constant gadget and one check column. Alice sends corrections
//! that turn pads into `alpha + beta a`; Bob checks one random combination of the columns against a
//! hash. Result for k = 0 (nonce) and 1 (key share): `c_k + d_k = a_k chi`. Source: construction,
//! sections 8.2 and 13.3.

use super::context::extend;
use super::extension::BobRows;
use super::field::{
    SCALAR_BYTES, decode_scalar, encode_scalar, gadget_words, hash_to_scalar, reduce_narrow,
    secret_scalar,
};
use super::limbs::{Residue, Sum, mask};
use super::message::{Product, corrections_bytes};
use super::pads::{PadKey, Pads};
use super::params::{COLUMNS, Params};
use super::rng::BatchRng;
use crate::Fault;
use k256::Scalar;
use quoin_core::hash::TaggedHasher;
use quoin_core::tags;
use subtle::{Choice, ConstantTimeEq};
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
    fn combine(&self, [a, b, c]: &[Scalar; COLUMNS]) -> Scalar {
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
        challenge.combine(&Zeroizing::new([*nonce, *share, *self.0]))
    }
}

/// The mask behind an honest message, for the test that no two are equal.
#[cfg(test)]
pub(super) fn mask_behind(
    t2: [u8; 32],
    b: u16,
    sent: &Product<'_>,
    inputs: [&Scalar; 2],
) -> Scalar {
    let challenge = Multiplication::new(t2).challenge(b, sent.corrections);
    let [nonce, share] = inputs;
    let eta = decode_scalar(sent.eta).unwrap();
    eta - challenge.combine(&[*nonce, *share, Scalar::ZERO])
}

/// A party's shares of both products.
pub(super) type Shares = Zeroizing<[Scalar; 2]>;

/// The challenges as factors of long sums.
struct Factors([Residue; 2]);

impl Factors {
    fn new(challenge: &Challenge) -> Self {
        Self(challenge.0.each_ref().map(Residue::from))
    }

    /// Appends `theta_0 a + theta_1 b + c + d`, which the check hashes. `work` is left with secrets.
    #[inline(always)]
    fn combine(&self, [a, b, c]: &Pads, d: &Residue, work: &mut Combining, out: &mut SecretBuffer) {
        let [t0, t1] = &self.0;
        let Combining { sum, value } = work;
        *sum = Sum::default();
        sum.add_product(t0, a);
        sum.add_product(t1, b);
        sum.add(c);
        sum.add(d);
        *value = sum.reduced().to_be_bytes();
        out.0.extend_from_slice(value);
    }
}

/// Where combining works: every row overwrites the one before, and the last one is wiped.
#[derive(Default)]
struct Combining {
    sum: Sum,
    value: [u8; 32],
}

impl Drop for Combining {
    fn drop(&mut self) {
        self.sum.zeroize();
        self.value.zeroize();
    }
}

/// Bytes that absorb secrets, of final size and overwritten on drop. The write is one fill and
/// pinned, where wiping byte by byte would take longer than hashing them.
struct SecretBuffer(Vec<u8>);

impl Drop for SecretBuffer {
    fn drop(&mut self) {
        self.0.fill(0);
        std::hint::black_box(&mut self.0);
    }
}

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
    // `zero - one + a` is `zero + (2^256 - 1 - one) + (a + 1 - 2^256)`: three integers to add.
    let shift = -reduce_narrow(&[0xff; 32]);
    let mut shifted = Zeroizing::new([Residue::default(); COLUMNS]);
    for (out, a) in shifted.iter_mut().zip([nonce, share, &*mask.0]) {
        *out = Residue::from(&*Zeroizing::new(a + shift));
    }
    let mut pads: Zeroizing<Vec<Pads>> = Zeroizing::new(Vec::with_capacity(P::OTS));
    let mut sums = Zeroizing::new([Sum::default(); 2]);
    let mut gadget = gadget_words().iter();
    let first = usize::from(b) * P::OTS;
    with.pads.of_both(first, rows, delta, |[zero, one]| {
        let columns = zero.iter().zip(one).zip(shifted.iter());
        for ((zero, one), input) in columns {
            let correction = zero.add_two(one.complement(), *input);
            out.extend_from_slice(&correction.to_be_bytes());
        }
        if let Some(g) = gadget.next() {
            for (sum, alpha) in sums.iter_mut().zip(zero) {
                sum.add_product(g, alpha);
            }
        }
        pads.push(*zero);
    });
    let challenge = with.challenge(b, out.split_at(start).1);
    out.extend_from_slice(&encode_scalar(&mask.into_eta(&challenge, inputs)));
    let factors = Factors::new(&challenge);
    let mut values = SecretBuffer(Vec::with_capacity(P::OTS * 32));
    let mut work = Combining::default();
    for pad in pads.iter() {
        factors.combine(pad, &Residue::default(), &mut work, &mut values);
    }
    out.extend_from_slice(&with.check_hash(b, &values.0));
    Zeroizing::new(sums.each_ref().map(|sum| -sum.reduced().to_scalar()))
}

/// Bob's factor in presignature `b`: `chi = sum g_m beta_m`.
pub(super) fn factor<P: Params>(rows: &BobRows, b: u16) -> Scalar {
    let mut sum = Zeroizing::new(Sum::default());
    let choices = rows.choice_bits(usize::from(b) * P::OTS, P::OTS);
    for (beta, g) in choices.zip(gadget_words()) {
        sum.add(&g.masked(mask(beta)));
    }
    sum.reduced().to_scalar()
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
    let factors = Factors::new(&challenge);
    let minus_eta = -decode_scalar(message.eta).ok_or(Fault::BadScalar)?;
    let minus_eta = Residue::from(&minus_eta);
    let mut values = SecretBuffer(Vec::with_capacity(P::OTS * 32));
    let mut sums = Zeroizing::new([Sum::default(); 2]);
    let corrections = message.corrections.as_chunks::<32>().0;
    let sent = corrections.as_chunks::<COLUMNS>().0.iter();
    let mut others = sent
        .zip(rows.choice_bits(first, P::OTS))
        .zip(gadget_words());
    let mut canonical = true;
    let mut d = Zeroizing::new([Residue::default(); COLUMNS]);
    let mut chosen_eta = Zeroizing::new(Residue::default());
    let mut work = Combining::default();
    let rows = rows.of(first, P::OTS);
    with.pads.of_rows(first, rows, |gamma| {
        let Some(((sent, beta), g)) = others.next() else {
            return;
        };
        let beta = mask(beta);
        for ((d, gamma), bytes) in d.iter_mut().zip(gamma).zip(sent) {
            // Whether an encoding is canonical is public; which rows Bob chose is not.
            let correction = Residue::decode_public(bytes);
            canonical &= correction.is_some();
            *d = gamma.add_masked(correction.unwrap_or_default(), beta);
        }
        *chosen_eta = minus_eta.masked(beta);
        factors.combine(&d, &chosen_eta, &mut work, &mut values);
        for (sum, d) in sums.iter_mut().zip(d.iter()) {
            sum.add_product(g, d);
        }
    });
    if !canonical {
        return Err(Fault::BadScalar);
    }
    // A check over fewer rows than there must be would hold for whoever sends fewer. All of this is
    // public, and so is what it decides.
    let complete = rows.len() == P::OTS
        && message.corrections.len() == corrections_bytes::<P>()
        && values.0.len() == P::OTS * SCALAR_BYTES;
    let accept = with.check_hash(b, &values.0).ct_eq(message.mu) & Choice::from(u8::from(complete));
    let shares = Zeroizing::new(sums.each_ref().map(|sum| sum.reduced().to_scalar()));
    Ok((accept, shares))
}

#[cfg(test)]
mod tests {
    use super::super::field::gadget;
    use super::super::params::Toy;
    use super::*;
    use rand_chacha::ChaCha20Rng;
    use rand_core::{RngCore, SeedableRng};

    const OTS: usize = Toy::OTS;

    /// Ideal rows of two presignatures, and Alice's inputs.
    struct Run {
        delta: u128,
        alice: Vec<u128>,
        bob: BobRows,
        inputs: [Scalar; 2],
        rng: BatchRng,
    }

    fn run(seed: u64) -> Run {
        let mut entropy = ChaCha20Rng::seed_from_u64(seed);
        let mut word = || u128::from(entropy.next_u64()) << 64 | u128::from(entropy.next_u64());
        let (delta, choices) = (word(), vec![word()]);
        let alice: Vec<u128> = (0..2 * OTS).map(|_| word()).collect();
        let bob = alice
            .iter()
            .enumerate()
            .map(|(n, q)| q ^ (delta * (choices[0] >> n & 1)))
            .collect();
        let mut rng = BatchRng::open(&mut entropy, &[1; 32], &[2; 32]);
        Run {
            delta,
            alice,
            bob: BobRows::ideal(bob, choices),
            inputs: [secret_scalar(&mut rng.key), secret_scalar(&mut rng.key)],
            rng,
        }
    }

    fn with() -> Multiplication {
        Multiplication::new([4; 32])
    }

    fn honest(run: &mut Run, b: u16) -> (Shares, Vec<u8>) {
        let mut out = Vec::new();
        let rows = &run.alice[usize::from(b) * OTS..][..OTS];
        let [nonce, share] = &run.inputs;
        let mask = CheckMask::draw(&mut run.rng);
        let shares = multiply::<Toy>(
            &with(),
            b,
            (rows, run.delta),
            [nonce, share],
            mask,
            &mut out,
        );
        (shares, out)
    }

    fn product(bytes: &[u8]) -> Product<'_> {
        product_over(bytes, OTS)
    }

    /// A message of corrections of `count` rows.
    fn product_over(bytes: &[u8], count: usize) -> Product<'_> {
        let (corrections, rest) = bytes.split_at(count * COLUMNS * SCALAR_BYTES);
        let (eta, mu) = rest.split_first_chunk().unwrap();
        Product {
            psi: &[0; 32],
            corrections,
            eta,
            mu: mu.try_into().unwrap(),
            gammas: [&[0; 33], &[0; 33]],
        }
    }

    fn check(run: &Run, b: u16, bytes: &[u8]) -> Option<Shares> {
        let (accept, shares) = verify::<Toy>(&with(), b, &run.bob, &product(bytes)).unwrap();
        bool::from(accept).then_some(shares)
    }

    fn product_is_right(run: &Run, b: u16, alice: &Shares, bob: &Shares) -> bool {
        let chi = factor::<Toy>(&run.bob, b);
        let terms = alice.iter().zip(bob.iter()).zip(run.inputs);
        terms.into_iter().all(|((c, d), a)| *c + d == a * chi)
    }

    #[test]
    fn shares_add_up_to_the_products() {
        for seed in 0..5 {
            let mut run = run(seed);
            for b in 0..2 {
                let (alice, message) = honest(&mut run, b);
                let bob = check(&run, b, &message).unwrap();
                assert!(product_is_right(&run, b, &alice, &bob));
            }
        }
    }

    #[test]
    fn a_message_of_another_presignature_is_refused() {
        let mut run = run(1);
        let (_, first) = honest(&mut run, 0);
        let (_, second) = honest(&mut run, 1);
        assert!(check(&run, 1, &first).is_none());
        assert!(check(&run, 0, &second).is_none());
        let other = Multiplication::new([5; 32]);
        let (accept, _) = verify::<Toy>(&other, 0, &run.bob, &product(&first)).unwrap();
        assert!(!bool::from(accept));
    }

    /// A message over the first `count` rows, correct as far as it goes.
    fn over_rows(run: &mut Run, count: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let [nonce, share] = &run.inputs;
        let mask = CheckMask::draw(&mut run.rng);
        let rows = (&run.alice[..count], run.delta);
        multiply::<Toy>(&with(), 0, rows, [nonce, share], mask, &mut out);
        out
    }

    fn accepts(bob: &BobRows, bytes: &[u8], count: usize) -> bool {
        let message = product_over(bytes, count);
        bool::from(verify::<Toy>(&with(), 0, bob, &message).unwrap().0)
    }

    #[test]
    fn a_check_over_fewer_rows_is_no_check() {
        let mut run = run(4);
        for count in [0, 1, OTS - 1] {
            let message = over_rows(&mut run, count);
            assert!(!accepts(&run.bob, &message, count), "{count} corrections");
        }
        let message = over_rows(&mut run, OTS);
        assert!(accepts(&run.bob, &message, OTS));
        // What goes over no rows needs no knowledge of any.
        let none = over_rows(&mut run, 0);
        let mut bad = message.clone();
        let mu = bad.len() - 32;
        bad[mu..].copy_from_slice(&none[32..]);
        for rows in [vec![], run.alice[..OTS - 1].to_vec()] {
            let bob = BobRows::ideal(rows, vec![0]);
            assert!(!accepts(&bob, &bad, OTS), "rows of Bob's are missing");
        }
    }

    #[test]
    fn challenges_bind_transcript_place_and_corrections() {
        let theta = |t2: u8, b, corrections: &[u8]| {
            Multiplication::new([t2; 32]).challenge(b, corrections).0
        };
        let base = theta(1, 0, b"a");
        assert_ne!(base[0], base[1]);
        for other in [theta(2, 0, b"a"), theta(1, 1, b"a"), theta(1, 0, b"b")] {
            assert!(base.iter().zip(other).all(|(a, b)| *a != b));
        }
    }

    #[test]
    fn a_flip_of_a_correction_eta_or_mu_is_refused() {
        let mut run = run(2);
        let (_, message) = honest(&mut run, 0);
        for row in [0, 7, OTS - 1] {
            for column in 0..COLUMNS {
                let mut bad = message.clone();
                bad[(row * COLUMNS + column) * 32 + 31] ^= 1;
                assert!(check(&run, 0, &bad).is_none(), "row {row} column {column}");
            }
        }
        for place in [corrections_bytes::<Toy>() + 31, message.len() - 1] {
            let mut bad = message.clone();
            bad[place] ^= 1;
            assert!(check(&run, 0, &bad).is_none(), "byte {place}");
        }
    }

    #[test]
    fn scalars_that_are_not_canonical_are_refused() {
        let mut run = run(3);
        let (_, message) = honest(&mut run, 0);
        for place in [0, 32, 64, corrections_bytes::<Toy>()] {
            let mut bad = message.clone();
            bad[place..place + 32].fill(0xff);
            let refused = verify::<Toy>(&with(), 0, &run.bob, &product(&bad));
            assert_eq!(refused.err(), Some(Fault::BadScalar), "byte {place}");
        }
    }

    /// An Alice who adds 1 in one column of some rows, guesses that Bob chose one there, and
    /// corrects everything else for that guess.
    fn cheat(run: &mut Run, column: usize, rows: &[usize]) -> (Shares, Vec<u8>) {
        let (mut shares, mut out) = honest(run, 0);
        let wrong: Vec<usize> = rows.iter().map(|m| (m * COLUMNS + column) * 32).collect();
        for place in wrong {
            let bytes: &mut [u8; 32] = (&mut out[place..place + 32]).try_into().unwrap();
            *bytes = encode_scalar(&(decode_scalar(bytes).unwrap() + Scalar::ONE));
        }
        let end = corrections_bytes::<Toy>();
        let before = with().challenge(0, &honest_corrections(&out, column, rows));
        let challenge = with().challenge(0, &out[..end]);
        // a^ follows from the honest eta and the honest challenge.
        let eta = decode_scalar(out[end..end + 32].try_into().unwrap()).unwrap();
        let [nonce, share] = run.inputs;
        let mask = eta - before.combine(&[nonce, share, Scalar::ZERO]);
        out.truncate(end);
        out.extend_from_slice(&encode_scalar(&challenge.combine(&[nonce, share, mask])));
        let mut values = Vec::new();
        for (m, row) in run.alice[..OTS].iter().enumerate() {
            let mut pad = *with().pads.row(m).of(*row);
            if rows.contains(&m) {
                pad[column] += Scalar::ONE;
                if let Some(share) = shares.get_mut(column) {
                    *share -= gadget()[m];
                }
            }
            values.extend_from_slice(&encode_scalar(&challenge.combine(&pad)));
        }
        out.extend_from_slice(&with().check_hash(0, &values));
        (shares, out)
    }

    fn honest_corrections(sent: &[u8], column: usize, rows: &[usize]) -> Vec<u8> {
        let mut corrections = sent[..corrections_bytes::<Toy>()].to_vec();
        for m in rows {
            let place = (m * COLUMNS + column) * 32;
            let bytes: &mut [u8; 32] = (&mut corrections[place..place + 32]).try_into().unwrap();
            *bytes = encode_scalar(&(decode_scalar(bytes).unwrap() - Scalar::ONE));
        }
        corrections
    }

    #[test]
    fn wrong_rows_pass_only_when_every_choice_there_was_guessed() {
        // Bounds are five standard deviations around trials / 2^rows.
        for (rows, trials, low, high) in [
            (&[3usize][..], 200u64, 65, 135),
            (&[3, 9], 240, 27, 93),
            (&[0, 5, 9, 31], 320, 0, 41),
        ] {
            for column in 0..COLUMNS {
                let mut passed = 0;
                for seed in 0..trials {
                    let mut run = run(seed * 3 + column as u64);
                    let (alice, message) = cheat(&mut run, column, rows);
                    let mut choices = run.bob.choices(0, OTS).map(bool::from);
                    let choices: Vec<bool> = choices.by_ref().collect();
                    let guessed = rows.iter().all(|m| choices[*m]);
                    let bob = check(&run, 0, &message);
                    assert_eq!(bob.is_some(), guessed);
                    if let Some(bob) = bob {
                        passed += 1;
                        assert!(product_is_right(&run, 0, &alice, &bob));
                    }
                }
                assert!(
                    (low..=high).contains(&passed),
                    "{rows:?} {column}: {passed}"
                );
            }
        }
    }
}
