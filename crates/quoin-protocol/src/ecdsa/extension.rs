//! The oblivious-transfer extension: from trees to one correlated row for each transfer.
//!
//! SoftSpokenOT (eprint 2022/192) over blocks of four bits: Bob gets rows t and choices beta, Alice
//! rows q with `q_n = t_n xor beta_n Delta`. Consistency is checked with a universal hash over
//! *columns* under two keys; it is not the 2015 check that combines rows, whose lemma is false.
//! Source: construction, sections 7.2 and 7.3.

use super::context::{Direction, extend};
use super::ggm::{halves, mask, nibble};
use super::message::Round2Private;
use super::params::{LEAVES, MASK_BLOCKS, ROW_BITS, TREE_DEPTH};
use super::rng::BatchRng;
use aes::Aes128Enc;
use aes::cipher::{Block, BlockEncrypt, KeyInit};
use polyval::Polyval;
use polyval::universal_hash::UniversalHash;
use quoin_core::hash::TaggedHasher;
use quoin_core::tags;
use rand_core::RngCore;
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, Zeroizing};

/// A column: bit n of the column is bit `n mod 128` of word `n div 128`.
type Words = Zeroizing<Vec<u128>>;

/// AES blocks that are encrypted together.
const LANES: usize = 8;

/// Fills `out` with a leaf's stream: AES-128 in counter mode, key and counter from the leaf.
fn leaf_stream(hasher: &TaggedHasher, tree: u8, leaf: u8, seed: u128, out: &mut [u128]) {
    let seed = Zeroizing::new(seed.to_le_bytes());
    let both = Zeroizing::new(extend(hasher, &[&[tree], &[leaf], seed.as_slice()]));
    let [mut key, mut iv] = halves(&both);
    let bytes = Zeroizing::new(key.to_le_bytes());
    let cipher = Aes128Enc::new(Block::<Aes128Enc>::from_slice(bytes.as_slice()));
    let mut counter = iv.swap_bytes();
    let mut blocks = [Block::<Aes128Enc>::default(); LANES];
    for words in out.chunks_mut(LANES) {
        for block in &mut blocks {
            block.copy_from_slice(&counter.to_be_bytes());
            counter = counter.wrapping_add(1);
        }
        cipher.encrypt_blocks(&mut blocks);
        for (word, block) in words.iter_mut().zip(&blocks) {
            *word = u128::from_le_bytes((*block).into());
        }
    }
    blocks.iter_mut().for_each(|b| (**b).zeroize());
    counter.zeroize();
    key.zeroize();
    iv.zeroize();
}

fn xor_into(sum: &mut [u128], words: &[u128]) {
    for (s, w) in sum.iter_mut().zip(words) {
        *s ^= w;
    }
}

fn xor_masked(sum: &mut [u128], words: &[u128], mask: u128) {
    for (s, w) in sum.iter_mut().zip(words) {
        *s ^= w & mask;
    }
}

/// The two keys of the check. They hash Bob's whole message, so neither seeds nor columns can
/// follow them. `None` when a key is zero.
struct CheckKeys([Polyval; 2]);

impl CheckKeys {
    fn derive(direction: &Direction, opening: &[u8], trees: &[u8], columns: &[u8]) -> Option<Self> {
        let both = extend(
            &direction.hasher(tags::ECDSA_EXT_CHI),
            &[opening, trees, columns],
        );
        let keys = halves(&both);
        if keys.contains(&0) {
            return None;
        }
        Some(Self(
            keys.map(|key| Polyval::new(&key.to_le_bytes().into())),
        ))
    }

    /// `U(y)`: for each key, the hash of the first N/128 blocks plus that key's mask block.
    fn hash(&self, column: &[u128]) -> [u8; 32] {
        let rows = column.len().saturating_sub(MASK_BLOCKS);
        let (rows, masks) = column.split_at(rows);
        let mut hashers = self.0.clone();
        let mut blocks = [polyval::Block::default(); LANES];
        for words in rows.chunks(LANES) {
            for (block, word) in blocks.iter_mut().zip(words) {
                block.copy_from_slice(&word.to_le_bytes());
            }
            let filled = blocks.split_at(words.len()).0;
            hashers.iter_mut().for_each(|h| h.update(filled));
        }
        blocks.iter_mut().for_each(|b| (**b).zeroize());
        let mut out = [0u8; 32];
        for ((half, hasher), mask) in out
            .as_chunks_mut::<16>()
            .0
            .iter_mut()
            .zip(hashers)
            .zip(masks)
        {
            let tag = u128::from_le_bytes(hasher.finalize().into());
            *half = (tag ^ mask).to_le_bytes();
        }
        out
    }
}

/// Turns columns of `blocks` words into rows; mask rows are dropped.
fn transpose(columns: &[u128], blocks: usize) -> Zeroizing<Vec<u128>> {
    let row_blocks = blocks.saturating_sub(MASK_BLOCKS);
    let mut rows = Zeroizing::new(Vec::with_capacity(row_blocks * ROW_BITS));
    let mut square = Zeroizing::new([0u128; ROW_BITS]);
    for block in 0..row_blocks {
        square.fill(0);
        for (row, column) in square.iter_mut().zip(columns.chunks_exact(blocks)) {
            *row = column.get(block).copied().unwrap_or(0);
        }
        transpose_square(&mut square);
        rows.extend_from_slice(square.as_slice());
    }
    rows
}

/// Transposes 128 by 128 bits by swapping ever smaller off-diagonal blocks.
fn transpose_square(square: &mut [u128; ROW_BITS]) {
    let mut half = ROW_BITS / 2;
    let mut low = u128::from(u64::MAX);
    while half > 0 {
        for pair in square.chunks_exact_mut(2 * half) {
            let (upper, lower) = pair.split_at_mut(half);
            for (a, b) in upper.iter_mut().zip(lower) {
                let swap = ((*a >> half) ^ *b) & low;
                *b ^= swap;
                *a ^= swap << half;
            }
        }
        half /= 2;
        low ^= low << half;
    }
}

/// What Bob has after the extension.
pub(super) struct BobRows {
    /// Row t of each transfer.
    pub(super) rows: Zeroizing<Vec<u128>>,
    /// Bob's choices as a column.
    choices: Words,
}

impl BobRows {
    /// Rows as an ideal extension would give them.
    #[cfg(test)]
    pub(super) fn ideal(rows: Vec<u128>, choices: Vec<u128>) -> Self {
        Self {
            rows: Zeroizing::new(rows),
            choices: Zeroizing::new(choices),
        }
    }

    /// The rows of `count` transfers from transfer `first` on.
    pub(super) fn of(&self, first: usize, count: usize) -> &[u128] {
        self.rows.get(first..first + count).unwrap_or_default()
    }

    /// Bob's choices in `count` transfers from transfer `first` on, 0 or 1 each.
    pub(super) fn choice_bits(&self, first: usize, count: usize) -> impl Iterator<Item = u64> {
        (first..first + count).map(|n| {
            let word = self.choices.get(n / ROW_BITS).copied().unwrap_or(0);
            (word >> (n % ROW_BITS)) as u64 & 1
        })
    }

    /// Bob's choices in `count` transfers from transfer `first` on.
    #[cfg(test)]
    pub(super) fn choices(&self, first: usize, count: usize) -> impl Iterator<Item = Choice> {
        (first..first + count).map(|n| {
            let word = self.choices.get(n / ROW_BITS).copied().unwrap_or(0);
            Choice::from((word >> (n % ROW_BITS)) as u8 & 1)
        })
    }
}

/// Bob extends: `u` and `v` from all leaves, one correction column for each tree, and the hashes.
/// `trees` is what [`super::ggm::grow`] wrote; everything is appended to `out`.
pub(super) fn extend_bob(
    direction: &Direction,
    opening: &[u8],
    leaves: &[u128],
    blocks: usize,
    rng: &mut BatchRng,
    out: &mut Vec<u8>,
) -> Option<BobRows> {
    let choices = draw_column(blocks, rng);
    let hasher = direction.hasher(tags::ECDSA_GGM_LEAF);
    let tree_count = leaves.len() / LEAVES;
    let trees_end = out.len();
    let mut columns = Zeroizing::new(vec![0u128; tree_count * TREE_DEPTH * blocks]);
    let mut sum = Zeroizing::new(vec![0u128; blocks]);
    let mut stream = Zeroizing::new(vec![0u128; blocks]);
    let tree_columns = columns.chunks_exact_mut(TREE_DEPTH * blocks);
    for ((tree_leaves, tree_columns), tree) in
        leaves.chunks_exact(LEAVES).zip(tree_columns).zip(0u8..)
    {
        sum.copy_from_slice(&choices);
        for (seed, leaf) in tree_leaves.iter().zip(0u8..) {
            leaf_stream(&hasher, tree, leaf, *seed, &mut stream);
            xor_into(&mut sum, &stream);
            // The leaf's index is public: Bob knows all leaves.
            for (column, j) in tree_columns.chunks_exact_mut(blocks).zip(0u8..) {
                if leaf >> j & 1 == 1 {
                    xor_into(column, &stream);
                }
            }
        }
        sum.iter()
            .for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
    }
    let (trees, corrections) = out.split_at(trees_end);
    let keys = CheckKeys::derive(direction, opening, trees, corrections)?;
    out.extend_from_slice(&keys.hash(&choices));
    for column in columns.chunks_exact(blocks) {
        out.extend_from_slice(&keys.hash(column));
    }
    Some(BobRows {
        rows: transpose(&columns, blocks),
        choices,
    })
}

fn draw_column(blocks: usize, rng: &mut BatchRng) -> Words {
    let mut column = Zeroizing::new(vec![0u128; blocks]);
    for word in column.iter_mut() {
        let mut bytes = Zeroizing::new([0u8; 16]);
        rng.key.fill_bytes(bytes.as_mut_slice());
        *word = u128::from_le_bytes(*bytes);
    }
    column
}

/// Alice extends: `w_j` is the sum of the leaves whose index differs from Delta's nibble in bit j,
/// and `q_j = w_j xor Delta_j C`. The missing leaf differs nowhere, so its mask is always zero.
/// The choice is false when Bob's hashes do not fit.
pub(super) fn extend_alice(
    direction: &Direction,
    opening: &[u8],
    delta: u128,
    leaves: &[u128],
    message: &Round2Private<'_>,
) -> (Choice, Zeroizing<Vec<u128>>) {
    let hasher = direction.hasher(tags::ECDSA_GGM_LEAF);
    let tree_count = leaves.len() / LEAVES;
    let blocks = message.columns.len() / 16 / tree_count.max(1);
    let mut columns = Zeroizing::new(vec![0u128; tree_count * TREE_DEPTH * blocks]);
    let mut stream = Zeroizing::new(vec![0u128; blocks]);
    let mut corrections = vec![0u128; blocks];
    let trees = leaves
        .chunks_exact(LEAVES)
        .zip(columns.chunks_exact_mut(TREE_DEPTH * blocks))
        .zip(message.columns.chunks_exact(blocks * 16));
    for (((tree_leaves, tree_columns), sent), tree) in trees.zip(0u8..) {
        let bits = nibble(delta, tree);
        for (word, bytes) in corrections.iter_mut().zip(sent.as_chunks().0) {
            *word = u128::from_le_bytes(*bytes);
        }
        for (seed, leaf) in tree_leaves.iter().zip(0u8..) {
            leaf_stream(&hasher, tree, leaf, *seed, &mut stream);
            for (column, j) in tree_columns.chunks_exact_mut(blocks).zip(0u8..) {
                xor_masked(column, &stream, bit_mask(leaf ^ bits, j));
            }
        }
        for (column, j) in tree_columns.chunks_exact_mut(blocks).zip(0u8..) {
            xor_masked(column, &corrections, bit_mask(bits, j));
        }
    }
    let accept = CheckKeys::derive(direction, opening, message.trees, message.columns)
        .map_or(Choice::from(0), |keys| {
            columns_agree(&keys, &columns, blocks, delta, message)
        });
    (accept, transpose(&columns, blocks))
}

/// Ones when bit j of a secret nibble is set.
fn bit_mask(nibble: u8, j: u8) -> u128 {
    mask(Choice::from(nibble >> j & 1))
}

/// `U(q_j) = t^_j xor Delta_j x^` for all columns, in one accept bit.
fn columns_agree(
    keys: &CheckKeys,
    columns: &[u128],
    blocks: usize,
    delta: u128,
    message: &Round2Private<'_>,
) -> Choice {
    let mut accept = Choice::from(1);
    let pairs = columns.chunks_exact(blocks).zip(message.column_hashes);
    for ((column, sent), p) in pairs.zip(0u32..) {
        let delta_bit = mask(Choice::from((delta >> p) as u8 & 1)) as u8;
        let mut expected = *sent;
        for (e, x) in expected.iter_mut().zip(message.choice_hash) {
            *e ^= x & delta_bit;
        }
        accept &= keys.hash(column).ct_eq(&expected);
    }
    accept
}

#[cfg(test)]
mod tests {
    use super::super::rng::BatchRng;
    use super::*;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    const DIRECTION: Direction = Direction {
        ctx1: [6; 32],
        dir: [1, 2],
    };
    const TREES: usize = 6;
    const BLOCKS: usize = 2 + MASK_BLOCKS;
    const OPENING: &[u8] = b"opening";
    const TREE_MESSAGE: &[u8] = b"trees";

    struct Run {
        delta: u128,
        bob_leaves: Vec<u128>,
        alice_leaves: Vec<u128>,
        bob: BobRows,
        /// Columns, choice hash and column hashes, as sent.
        sent: Vec<u8>,
    }

    fn run(seed: u64) -> Run {
        let mut entropy = ChaCha20Rng::seed_from_u64(seed);
        let mut word = || u128::from(entropy.next_u64()) << 64 | u128::from(entropy.next_u64());
        let delta = word() & 0xff_ffff;
        let bob_leaves: Vec<u128> = (0..TREES * LEAVES).map(|_| word()).collect();
        let mut alice_leaves = bob_leaves.clone();
        for (tree, leaves) in alice_leaves.chunks_exact_mut(LEAVES).enumerate() {
            leaves[nibble(delta, tree as u8) as usize] = 0;
        }
        let mut rng = BatchRng::open(&mut entropy, &[1; 32], &[2; 32]);
        let mut sent = TREE_MESSAGE.to_vec();
        let bob = extend_bob(
            &DIRECTION,
            OPENING,
            &bob_leaves,
            BLOCKS,
            &mut rng,
            &mut sent,
        );
        Run {
            delta,
            bob_leaves,
            alice_leaves,
            bob: bob.unwrap(),
            sent: sent.split_off(TREE_MESSAGE.len()),
        }
    }

    fn receive(run: &Run, sent: &[u8]) -> (bool, Vec<u128>) {
        let (columns, rest) = sent.split_at(TREES * BLOCKS * 16);
        let (choice_hash, column_hashes) = rest.split_first_chunk().unwrap();
        let message = Round2Private {
            sums: &[],
            leaf_checks: &[],
            overall: &[0; 32],
            trees: TREE_MESSAGE,
            columns,
            choice_hash,
            column_hashes: column_hashes.as_chunks().0,
        };
        let leaves = &run.alice_leaves;
        let (accept, rows) = extend_alice(&DIRECTION, OPENING, run.delta, leaves, &message);
        (accept.into(), rows.to_vec())
    }

    /// Bob's columns v, recomputed from his leaves.
    fn bob_columns(run: &Run) -> Vec<[u128; BLOCKS]> {
        let hasher = DIRECTION.hasher(tags::ECDSA_GGM_LEAF);
        let mut columns = vec![[0u128; BLOCKS]; TREES * TREE_DEPTH];
        for (i, seed) in run.bob_leaves.iter().enumerate() {
            let (tree, leaf) = (i / LEAVES, i % LEAVES);
            let mut stream = [0u128; BLOCKS];
            leaf_stream(&hasher, tree as u8, leaf as u8, *seed, &mut stream);
            for j in (0..TREE_DEPTH).filter(|j| leaf >> j & 1 == 1) {
                xor_into(&mut columns[tree * TREE_DEPTH + j], &stream);
            }
        }
        columns
    }

    /// A Bob who uses other choices in some trees and hopes that Alice's nibbles there are `guess`.
    fn cheat(run: &Run, trees: &[usize], guess: u8) -> Vec<u8> {
        let mut error = [0u128; BLOCKS];
        error[0] = 1 << 77;
        let mut columns = run.sent[..TREES * BLOCKS * 16].to_vec();
        for tree in trees {
            columns[tree * BLOCKS * 16 + 77 / 8] ^= 1 << (77 % 8);
        }
        let keys = CheckKeys::derive(&DIRECTION, OPENING, TREE_MESSAGE, &columns).unwrap();
        let mut sent = columns;
        sent.extend_from_slice(&keys.hash(&run.bob.choices));
        for (p, column) in bob_columns(run).iter().enumerate() {
            let guessed = guess >> (p % TREE_DEPTH) & 1 == 1;
            let mut hash = keys.hash(column);
            if trees.contains(&(p / TREE_DEPTH)) && guessed {
                let shift = keys.hash(&error);
                hash.iter_mut().zip(shift).for_each(|(h, s)| *h ^= s);
            }
            sent.extend_from_slice(&hash);
        }
        sent
    }

    #[test]
    fn rows_differ_by_delta_where_bob_chose_one() {
        for seed in 0..10 {
            let run = run(seed);
            let (accept, q) = receive(&run, &run.sent);
            assert!(accept);
            assert_eq!(q.len(), (BLOCKS - MASK_BLOCKS) * ROW_BITS);
            let choices: Vec<bool> = run.bob.choices(0, q.len()).map(bool::from).collect();
            for ((q, t), beta) in q.iter().zip(run.bob.rows.iter()).zip(&choices) {
                assert_eq!(*q, if *beta { t ^ run.delta } else { *t });
            }
            assert!(choices.contains(&true) && choices.contains(&false));
        }
    }

    #[test]
    fn a_flipped_byte_of_columns_or_hashes_is_noticed() {
        let run = run(1);
        for byte in 0..run.sent.len() {
            let mut sent = run.sent.clone();
            sent[byte] ^= 0x10;
            // A flip of x^ passes only a Delta of zero, which this seed does not have.
            assert!(!receive(&run, &sent).0, "byte {byte}");
        }
    }

    #[test]
    fn other_choices_in_one_tree_pass_only_with_a_guessed_nibble() {
        let mut passed = 0;
        for seed in 0..800 {
            let run = run(seed);
            let guess = (seed % 16) as u8;
            let accept = receive(&run, &cheat(&run, &[2], guess)).0;
            assert_eq!(accept, nibble(run.delta, 2) == guess);
            passed += u32::from(accept);
        }
        // 800 trials of 1/16: five standard deviations are 34.
        assert!((16..=84).contains(&passed), "{passed}");
    }

    #[test]
    fn other_choices_in_two_trees_need_both_nibbles() {
        for seed in 0..300 {
            let run = run(seed);
            let guess = nibble(run.delta, 0);
            let accept = receive(&run, &cheat(&run, &[0, 3], guess)).0;
            assert_eq!(accept, nibble(run.delta, 3) == guess);
        }
    }

    #[test]
    fn check_keys_bind_bobs_whole_message_and_the_direction() {
        let hash = |direction: &Direction, opening: &[u8], trees: &[u8], columns: &[u8]| {
            let keys = CheckKeys::derive(direction, opening, trees, columns).unwrap();
            keys.hash(&[1, 2, 3, 4])
        };
        let base = hash(&DIRECTION, b"o", b"t", b"c");
        let turned = Direction {
            dir: [2, 1],
            ..DIRECTION
        };
        let other = Direction {
            ctx1: [7; 32],
            ..DIRECTION
        };
        for (name, changed) in [
            ("direction", hash(&turned, b"o", b"t", b"c")),
            ("context", hash(&other, b"o", b"t", b"c")),
            ("opening", hash(&DIRECTION, b"p", b"t", b"c")),
            ("trees", hash(&DIRECTION, b"o", b"u", b"c")),
            ("columns", hash(&DIRECTION, b"o", b"t", b"d")),
        ] {
            // Both keys must change, not only one of them.
            assert_ne!(base[..16], changed[..16], "{name}");
            assert_ne!(base[16..], changed[16..], "{name}");
        }
    }

    #[test]
    fn the_column_hash_is_linear() {
        let keys = CheckKeys::derive(&DIRECTION, b"o", b"t", b"c").unwrap();
        let (a, b) = ([1u128, 2, 3, 4], [9u128 << 100, 8, 7, 6]);
        let sum = [a[0] ^ b[0], a[1] ^ b[1], a[2] ^ b[2], a[3] ^ b[3]];
        let (ha, hb, hs) = (keys.hash(&a), keys.hash(&b), keys.hash(&sum));
        assert!(ha.iter().zip(hb).zip(hs).all(|((a, b), s)| a ^ b == s));
    }

    #[test]
    fn transposition_moves_every_bit() {
        let mut square = [0u128; ROW_BITS];
        let mut entropy = ChaCha20Rng::seed_from_u64(3);
        for row in &mut square {
            *row = u128::from(entropy.next_u64()) << 64 | u128::from(entropy.next_u64());
        }
        let mut turned = square;
        transpose_square(&mut turned);
        for (i, row) in square.iter().enumerate() {
            for (j, column) in turned.iter().enumerate() {
                assert_eq!(row >> j & 1, column >> i & 1);
            }
        }
    }
}
