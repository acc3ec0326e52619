//! Doors for the measurement of timing: operations on secrets, prepared and then run.
//!
//! Only the program in `examples/constant_time.rs` builds this, with the feature `timing`. Nothing
//! here is part of the protocol, and nothing that it makes is ever a real secret. What is measured,
//! and what was found, is in `docs/constant-time.md`.

use super::base_ot::{Receiver, Sender};
use super::context::Direction;
use super::extension::{BobRows, extend_alice, extend_bob};
use super::field::{base_mul, decode_scalar, gadget_words, secret_scalar};
use super::generator::generator_multiples;
use super::ggm::{grow, walk};
use super::limbs::{Residue, Sum};
use super::message::{Product, Round2Private, column_blocks, corrections_bytes, round2_private};
use super::pads::PadKey;
use super::params::{Params, SelfTestSize};
use super::points::secret_sum;
use super::presignature::Presignature;
use super::rng::BatchRng;
use super::rvole::{CheckMask, Multiplication, factor, multiply, verify};
use super::self_test::Group;
use k256::{AffinePoint, Scalar};
use quoin_core::{BatchHash, PresignatureId};
use rand_chacha::ChaCha20Rng;
use rand_core::{CryptoRngCore, RngCore, SeedableRng};
use std::hint::black_box;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Which secrets an operation gets: the same ones each time, or others each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The same secrets each time, extreme ones where there are any.
    Fixed,
    /// Random secrets.
    Random,
}

/// An operation whose inputs are ready; running it is what is timed.
pub type Operation = Box<dyn FnOnce()>;

/// One operation on secrets.
pub struct Target {
    /// What it is.
    pub name: &'static str,
    /// The secret that differs between the classes.
    pub secret: &'static str,
    /// Prepares the operation for a class. All that is public is drawn alike for both.
    pub prepare: fn(Class, &mut ChaCha20Rng) -> Option<Operation>,
}

const DIRECTION: Direction = Direction {
    ctx1: [6; 32],
    dir: [1, 2],
};
/// How many small operations are timed as one.
const REPEATS: usize = 64;
/// Trees in targets that walk them: fewer than in a batch, so that one run is short.
const TREES: usize = 4;

/// All operations that are measured.
pub const TARGETS: &[Target] = &[
    Target {
        name: "scalar decode",
        secret: "64 scalars: zero, or random",
        prepare: scalar_decode,
    },
    Target {
        name: "sum of pads",
        secret: "64 pads of ones, or random",
        prepare: pad_reduction,
    },
    Target {
        name: "corrections",
        secret: "Alice's pads and input: ones, or random",
        prepare: corrections,
    },
    Target {
        name: "pads of rows",
        secret: "rows and Delta: zero, or random",
        prepare: pads_of_rows,
    },
    Target {
        name: "generator multiples",
        secret: "four scalars: one, or random",
        prepare: generator,
    },
    Target {
        name: "multiple, library",
        secret: "a scalar: one, or random",
        prepare: library_multiple,
    },
    Target {
        name: "secret sum of points",
        secret: "four scalars: one, or random",
        prepare: sum_of_points,
    },
    Target {
        name: "base transfer, Alice",
        secret: "choices and exponents: of one seed, or random",
        prepare: base_transfer_alice,
    },
    Target {
        name: "base transfer, Bob",
        secret: "exponent: of one seed, or random",
        prepare: base_transfer_bob,
    },
    Target {
        name: "tree growth, Bob",
        secret: "roots: of one seed, or random",
        prepare: tree_growth,
    },
    Target {
        name: "tree walk, Alice",
        secret: "Delta: zero, or random",
        prepare: tree_walk,
    },
    Target {
        name: "extension, Alice",
        secret: "Delta: zero, or random",
        prepare: extension_alice,
    },
    Target {
        name: "multiplication, Alice",
        secret: "inputs: one, or random",
        prepare: multiplication_alice,
    },
    Target {
        name: "Bob's select",
        secret: "rows and choices: of one seed, or random",
        prepare: bobs_select,
    },
    Target {
        name: "Bob's factor",
        secret: "choices: of one seed, or random",
        prepare: bobs_factor,
    },
    Target {
        name: "online answer",
        secret: "phi, u and v: one, or random",
        prepare: online_answer,
    },
];

/// The generator of secrets: one seed each time, or a fresh one.
fn secrets(class: Class, rng: &mut ChaCha20Rng) -> ChaCha20Rng {
    let fresh = rng.next_u64();
    ChaCha20Rng::seed_from_u64(if class == Class::Fixed { 1 } else { fresh })
}

fn batch_rng(source: &mut dyn CryptoRngCore) -> BatchRng {
    BatchRng::open(source, &[1; 32], &[2; 32])
}

/// 32 bytes that are `fixed` for the one class; the same are drawn for both, and they are chosen by
/// a mask: a branch here would be seen in what is timed next.
fn word(class: Class, fixed: u8, rng: &mut ChaCha20Rng) -> [u8; 32] {
    let mut bytes = [0; 32];
    rng.fill_bytes(&mut bytes);
    let mask = black_box(0u8.wrapping_sub(u8::from(class == Class::Fixed)));
    bytes.map(|drawn| (fixed & mask) | (drawn & !mask))
}

fn scalar(class: Class, rng: &mut ChaCha20Rng) -> Scalar {
    let drawn = secret_scalar(rng);
    if class == Class::Fixed {
        Scalar::ONE
    } else {
        drawn
    }
}

fn half(class: Class, rng: &mut ChaCha20Rng) -> u128 {
    let drawn = u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64());
    if class == Class::Fixed { 0 } else { drawn }
}

fn scalar_decode(class: Class, rng: &mut ChaCha20Rng) -> Option<Operation> {
    let mut word = || {
        let [first, rest @ ..] = word(class, 0, rng);
        let mut bytes = [first & 0x7f; 32];
        // Below the order: whether an encoding is canonical is public.
        bytes.iter_mut().skip(1).zip(rest).for_each(|(b, r)| *b = r);
        bytes
    };
    let all: Vec<_> = (0..REPEATS).map(|_| word()).collect();
    Some(Box::new(move || {
        for bytes in &all {
            black_box(decode_scalar(black_box(bytes)));
        }
    }))
}

fn pad_reduction(class: Class, rng: &mut ChaCha20Rng) -> Option<Operation> {
    let all: Vec<_> = (0..REPEATS)
        .map(|_| Residue::from_be_bytes(&word(class, 0xff, rng)))
        .collect();
    Some(Box::new(move || {
        let mut sum = Sum::default();
        for (pad, g) in all.iter().zip(gadget_words()) {
            sum.add_product(g, pad);
        }
        black_box(sum.reduced().to_scalar());
    }))
}

fn corrections(class: Class, rng: &mut ChaCha20Rng) -> Option<Operation> {
    let mut residue = || Residue::from_be_bytes(&word(class, 0xff, rng));
    let all: Vec<_> = (0..REPEATS)
        .map(|_| [residue(), residue(), residue()])
        .collect();
    Some(Box::new(move || {
        for [zero, one, input] in &all {
            black_box(zero.add_two(one.complement(), *input).to_be_bytes());
        }
    }))
}

fn pads_of_rows(class: Class, rng: &mut ChaCha20Rng) -> Option<Operation> {
    let rows: Vec<_> = (0..REPEATS).map(|_| half(class, rng)).collect();
    let delta = half(class, rng);
    let key = PadKey::derive(&word(Class::Random, 0, rng));
    Some(Box::new(move || {
        key.of_both(0, &rows, delta, |pads| {
            black_box(pads);
        });
    }))
}

fn generator(class: Class, rng: &mut ChaCha20Rng) -> Option<Operation> {
    let scalars = [(); 4].map(|()| scalar(class, rng));
    Some(Box::new(move || {
        black_box(generator_multiples(&scalars.each_ref()));
    }))
}

fn library_multiple(class: Class, rng: &mut ChaCha20Rng) -> Option<Operation> {
    let scalar = scalar(class, rng);
    Some(Box::new(move || {
        black_box(base_mul(&scalar));
    }))
}

fn sum_of_points(class: Class, rng: &mut ChaCha20Rng) -> Option<Operation> {
    let points = [(); 4].map(|()| base_mul(&secret_scalar(rng)).to_affine());
    let scalars = [(); 4].map(|()| scalar(class, rng));
    Some(Box::new(move || {
        black_box(secret_sum(&points, &scalars));
    }))
}

fn base_transfer_alice(class: Class, rng: &mut ChaCha20Rng) -> Option<Operation> {
    let mut source = secrets(class, rng);
    let mut own = batch_rng(&mut source);
    Some(Box::new(move || {
        black_box(Receiver::draw(&[5; 32], [1, 2], 2, &mut own).pairs);
    }))
}

fn base_transfer_bob(class: Class, rng: &mut ChaCha20Rng) -> Option<Operation> {
    let pairs = Receiver::draw(&[5; 32], [1, 2], 2, &mut batch_rng(rng)).pairs;
    let bob = Sender::draw(&mut batch_rng(&mut secrets(class, rng)));
    Some(Box::new(move || {
        black_box(bob.keys(&[5; 32], &DIRECTION, &pairs).is_ok());
    }))
}

fn tree_keys(rng: &mut ChaCha20Rng) -> Vec<[[u8; 32]; 2]> {
    let mut word = || word(Class::Random, 0, rng);
    (0..4 * TREES).map(|_| [word(), word()]).collect()
}

fn tree_growth(class: Class, rng: &mut ChaCha20Rng) -> Option<Operation> {
    let keys = tree_keys(rng);
    let mut own = batch_rng(&mut secrets(class, rng));
    let mut out = Vec::with_capacity(4096);
    Some(Box::new(move || {
        black_box(grow(&DIRECTION, &keys, &mut own, &mut out));
    }))
}

/// What Bob sends in round 2, as random bytes: the checks fail for both classes alike.
fn round2(blocks: usize, rng: &mut ChaCha20Rng) -> Vec<u8> {
    let length = TREES * (128 + 32) + 32 + TREES * blocks * 16 + 32 + 4 * TREES * 32;
    let mut bytes = vec![0; length];
    rng.fill_bytes(&mut bytes);
    bytes
}

fn parsed(bytes: &[u8], blocks: usize) -> Option<Round2Private<'_>> {
    let (trees, rest) = bytes.split_at_checked(TREES * (128 + 32) + 32)?;
    let (sums, checks) = trees.split_at_checked(TREES * 128)?;
    let (leaf_checks, overall) = checks.split_at_checked(TREES * 32)?;
    let (columns, rest) = rest.split_at_checked(TREES * blocks * 16)?;
    let (choice_hash, column_hashes) = rest.split_first_chunk()?;
    Some(Round2Private {
        sums: sums.as_chunks().0,
        leaf_checks: leaf_checks.as_chunks().0,
        overall: overall.try_into().ok()?,
        trees,
        columns,
        choice_hash,
        column_hashes: column_hashes.as_chunks().0,
    })
}

fn tree_walk(class: Class, rng: &mut ChaCha20Rng) -> Option<Operation> {
    let keys: Vec<_> = tree_keys(rng).into_iter().map(|[key, _]| key).collect();
    let delta = half(class, rng);
    let sent = round2(4, rng);
    Some(Box::new(move || {
        if let Some(message) = parsed(&sent, 4) {
            black_box(walk(&DIRECTION, delta, &keys, &message).0.unwrap_u8());
        }
    }))
}

fn extension_alice(class: Class, rng: &mut ChaCha20Rng) -> Option<Operation> {
    let leaves: Vec<_> = (0..16 * TREES).map(|_| half(Class::Random, rng)).collect();
    let delta = half(class, rng);
    let sent = round2(8, rng);
    Some(Box::new(move || {
        if let Some(message) = parsed(&sent, 8) {
            let made = extend_alice(&DIRECTION, &[7; 32], delta, &leaves, &message);
            black_box((made.0.unwrap_u8(), made.1));
        }
    }))
}

fn multiplication_alice(class: Class, rng: &mut ChaCha20Rng) -> Option<Operation> {
    let rows: Vec<_> = (0..SelfTestSize::OTS)
        .map(|_| half(Class::Random, rng))
        .collect();
    let delta = half(Class::Random, rng);
    let inputs = [scalar(class, rng), scalar(class, rng)];
    let mask = CheckMask::draw(&mut batch_rng(&mut secrets(class, rng)));
    let with = Multiplication::new(word(Class::Random, 0, rng));
    let mut out = Vec::with_capacity(round2_private::<SelfTestSize>(4));
    Some(Box::new(move || {
        let [nonce, share] = &inputs;
        let rows = (rows.as_slice(), delta);
        black_box(multiply::<SelfTestSize>(
            &with,
            0,
            rows,
            [nonce, share],
            mask,
            &mut out,
        ));
    }))
}

fn rows(class: Class, rng: &mut ChaCha20Rng) -> Option<BobRows> {
    let mut source = secrets(class, rng);
    let leaves: Vec<_> = (0..16 * SelfTestSize::TREES)
        .map(|_| half(Class::Random, &mut source))
        .collect();
    let blocks = column_blocks::<SelfTestSize>(4);
    let mut own = batch_rng(&mut source);
    extend_bob(
        &DIRECTION,
        &[7; 32],
        &leaves,
        blocks,
        &mut own,
        &mut Vec::new(),
    )
}

fn bobs_select(class: Class, rng: &mut ChaCha20Rng) -> Option<Operation> {
    let rows = rows(class, rng)?;
    let mut corrections = vec![0; corrections_bytes::<SelfTestSize>()];
    rng.fill_bytes(&mut corrections);
    // Canonical, as an honest message is.
    corrections.iter_mut().step_by(32).for_each(|b| *b &= 0x7f);
    let with = Multiplication::new(word(Class::Random, 0, rng));
    Some(Box::new(move || {
        let message = Product {
            psi: &[0; 32],
            corrections: &corrections,
            eta: &[3; 32],
            mu: &[4; 32],
            gammas: [&[0; 33]; 2],
        };
        black_box(verify::<SelfTestSize>(&with, 0, &rows, &message).is_ok());
    }))
}

fn bobs_factor(class: Class, rng: &mut ChaCha20Rng) -> Option<Operation> {
    let rows = rows(class, rng)?;
    Some(Box::new(move || {
        black_box(factor::<SelfTestSize>(&rows, 0));
    }))
}

fn online_answer(class: Class, rng: &mut ChaCha20Rng) -> Option<Operation> {
    let id = PresignatureId {
        batch: BatchHash([9; 32]),
        index: 0,
    };
    let header = Arc::new(Group::new(7, 3, &[1, 3])?.header(4));
    let secrets = Zeroizing::new([(); 3].map(|()| scalar(class, rng)));
    let nonce = AffinePoint::GENERATOR;
    let presignature = Presignature::new(id, header, nonce, secrets, None);
    Some(Box::new(move || {
        black_box(presignature.answer([0x51; 32], &[0; 32]).is_ok());
    }))
}
