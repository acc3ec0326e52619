//! All-but-one trees: from four base transfers, 15 of 16 leaves.
//!
//! Bob grows a tree of depth 4 from a root; Alice learns every leaf but the one at Delta's nibble.
//! Bob's message is checked, so that wrong sums cannot make Alice's leaves depend on Delta without
//! her noticing. Which leaf is missing is secret: every step scans the whole level. Source:
//! construction, section 7.1, after SoftSpokenOT (eprint 2022/192).

use super::context::{Direction, extend};
use super::message::Round2Private;
use super::params::{LEAVES, TREE_DEPTH};
use super::rng::BatchRng;
use quoin_core::hash::TaggedHasher;
use quoin_core::tags;
use rand_core::RngCore;
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

/// The leaves of every tree, sixteen after sixteen.
pub(super) type Leaves = Zeroizing<Vec<u128>>;

/// All ones when the choice is true.
pub(super) fn mask(choice: Choice) -> u128 {
    0u128.wrapping_sub(u128::from(choice.unwrap_u8()))
}

/// `a` where the mask is zero, `b` where it is ones.
fn select(mask: u128, a: u128, b: u128) -> u128 {
    a ^ ((a ^ b) & mask)
}

/// The hashes of one direction with context taken in.
struct TreeHashes {
    node: TaggedHasher,
    pad: TaggedHasher,
    check: TaggedHasher,
}

impl TreeHashes {
    fn new(direction: &Direction) -> Self {
        Self {
            node: direction.hasher(tags::ECDSA_GGM_NODE),
            pad: direction.hasher(tags::ECDSA_GGM_PAD),
            check: direction.hasher(tags::ECDSA_GGM_CHK),
        }
    }

    /// Both children of a node.
    fn expand(&self, tree: u8, level: u8, node: u8, seed: u128) -> [u128; 2] {
        let seed = Zeroizing::new(seed.to_le_bytes());
        let both = Zeroizing::new(extend(
            &self.node,
            &[&[tree], &[level], &[node], seed.as_slice()],
        ));
        halves(&both)
    }

    /// What hides one sum: from the base transfer's key.
    fn sum_pad(&self, l: u8, c: u8, key: &[u8; 32]) -> u128 {
        let both = Zeroizing::new(extend(&self.pad, &[&[l], &[c], key]));
        let [pad, _] = halves(&both);
        pad
    }

    fn leaf_check(&self, tree: u8, leaf: u8, seed: u128) -> [u8; 32] {
        let seed = Zeroizing::new(seed.to_le_bytes());
        extend(&self.check, &[&[tree], &[leaf], seed.as_slice()])
    }
}

/// A hash as two little-endian words.
pub(super) fn halves(bytes: &[u8; 32]) -> [u128; 2] {
    let mut both = Zeroizing::new([[0u8; 16]; 2]);
    both.as_flattened_mut().copy_from_slice(bytes);
    both.map(u128::from_le_bytes)
}

fn xor_into(sum: &mut [u8; 32], value: &[u8; 32]) {
    for (s, v) in sum.iter_mut().zip(value) {
        *s ^= v;
    }
}

/// Bob grows all trees and appends sums, leaf checks and the overall hash to `out`.
pub(super) fn grow(
    direction: &Direction,
    keys: &[[[u8; 32]; 2]],
    rng: &mut BatchRng,
    out: &mut Vec<u8>,
) -> Leaves {
    let hashes = TreeHashes::new(direction);
    let trees = keys.len() / TREE_DEPTH;
    let mut leaves = Zeroizing::new(Vec::with_capacity(trees * LEAVES));
    let mut leaf_checks = Vec::with_capacity(trees * LEAVES * 32);
    let mut tree_checks = Vec::with_capacity(trees * 32);
    for (tree_keys, tree) in keys.chunks_exact(TREE_DEPTH).zip(0u8..) {
        let mut root = Zeroizing::new([0u8; 16]);
        rng.key.fill_bytes(root.as_mut_slice());
        let grown = grow_tree(&hashes, tree, u128::from_le_bytes(*root), tree_keys, out);
        let mut sum = [0u8; 32];
        for (seed, leaf) in grown.iter().zip(0u8..) {
            let check = hashes.leaf_check(tree, leaf, *seed);
            xor_into(&mut sum, &check);
            leaf_checks.extend_from_slice(&check);
        }
        tree_checks.extend_from_slice(&sum);
        leaves.extend_from_slice(&grown);
    }
    out.extend_from_slice(&tree_checks);
    out.extend_from_slice(&extend(
        &direction.hasher(tags::ECDSA_GGM_ALL),
        &[&leaf_checks],
    ));
    leaves
}

/// Level l splits bit `j = 3 - l` of the leaf's index. For each j and side: the sum of all nodes on
/// that side of the level, hidden by the transfer's key. Sums are sent in the order of j.
fn grow_tree(
    hashes: &TreeHashes,
    tree: u8,
    root: u128,
    keys: &[[[u8; 32]; 2]],
    out: &mut Vec<u8>,
) -> Zeroizing<Vec<u128>> {
    let mut level = Zeroizing::new(vec![root]);
    let mut sums = Vec::with_capacity(TREE_DEPTH);
    for ([zero, one], depth) in keys.iter().rev().zip(0u8..) {
        let l = base_index(tree, depth);
        let mut hidden = [hashes.sum_pad(l, 0, zero), hashes.sum_pad(l, 1, one)];
        let mut next = Zeroizing::new(Vec::with_capacity(LEAVES));
        for (seed, node) in level.iter().zip(0u8..) {
            let children = hashes.expand(tree, depth, node, *seed);
            for (sum, child) in hidden.iter_mut().zip(children) {
                *sum ^= child;
                next.push(child);
            }
        }
        sums.push(hidden);
        level = next;
    }
    for [left, right] in sums.iter().rev() {
        out.extend_from_slice(&left.to_le_bytes());
        out.extend_from_slice(&right.to_le_bytes());
    }
    level
}

/// The base transfer of a tree's level: `4 tau + j` with `j = 3 - depth`.
fn base_index(tree: u8, depth: u8) -> u8 {
    tree * TREE_DEPTH as u8 + (TREE_DEPTH as u8 - 1 - depth)
}

/// The four bits of a tree in Delta, the j-th at position j.
pub(super) fn nibble(delta: u128, tree: u8) -> u8 {
    (delta >> (u32::from(tree) * TREE_DEPTH as u32)) as u8 & (LEAVES as u8 - 1)
}

/// Alice walks down all trees. The choice is false when Bob's message does not check; the leaf at
/// Delta's nibble is zero and means nothing.
pub(super) fn walk(
    direction: &Direction,
    delta: u128,
    keys: &[[u8; 32]],
    message: &Round2Private<'_>,
) -> (Choice, Leaves) {
    let hashes = TreeHashes::new(direction);
    let mut leaves = Zeroizing::new(Vec::with_capacity(keys.len() / TREE_DEPTH * LEAVES));
    let mut leaf_checks = Zeroizing::new(Vec::with_capacity(leaves.capacity() * 32));
    let sums = message.sums.chunks_exact(2 * TREE_DEPTH);
    let trees = keys.chunks_exact(TREE_DEPTH).zip(sums);
    for (((tree_keys, sums), tree_check), tree) in trees.zip(message.leaf_checks).zip(0u8..) {
        let missing = nibble(delta, tree);
        let known = walk_tree(&hashes, tree, missing, tree_keys, sums);
        let checks = recover_checks(&hashes, tree, missing, &known, tree_check);
        leaf_checks.extend_from_slice(checks.as_flattened());
        leaves.extend_from_slice(&known);
    }
    let overall = extend(
        &direction.hasher(tags::ECDSA_GGM_ALL),
        &[leaf_checks.as_slice()],
    );
    (overall.ct_eq(message.overall), leaves)
}

/// At each level Alice expands every node, and the one child that she lacks on the known side is
/// Bob's sum minus its siblings there.
fn walk_tree(
    hashes: &TreeHashes,
    tree: u8,
    missing: u8,
    keys: &[[u8; 32]],
    sums: &[[u8; 16]],
) -> Zeroizing<Vec<u128>> {
    let mut level = Zeroizing::new(vec![0u128]);
    for ((key, pair), depth) in keys
        .iter()
        .rev()
        .zip(sums.as_chunks::<2>().0.iter().rev())
        .zip(0u8..)
    {
        let j = TREE_DEPTH as u8 - 1 - depth;
        let path = missing >> (j + 1);
        // Delta's bit is the unknown side, so the known side is its complement.
        let side = 1 ^ (missing >> j) & 1;
        let right_known = mask(Choice::from(side));
        let [left_sum, right_sum] = pair.map(u128::from_le_bytes);
        let mut recovered = select(right_known, left_sum, right_sum)
            ^ hashes.sum_pad(base_index(tree, depth), side, key);
        let mut next = Zeroizing::new(Vec::with_capacity(LEAVES));
        for (seed, node) in level.iter().zip(0u8..) {
            let on_path = mask(node.ct_eq(&path));
            let [left, right] = hashes.expand(tree, depth, node, *seed);
            recovered ^= select(right_known, left, right) & !on_path;
            next.push(left & !on_path);
            next.push(right & !on_path);
        }
        for ([left, right], node) in next.as_chunks_mut::<2>().0.iter_mut().zip(0u8..) {
            let on_path = mask(node.ct_eq(&path));
            *left |= recovered & on_path & !right_known;
            *right |= recovered & on_path & right_known;
        }
        level = next;
    }
    level
}

/// The check of the missing leaf is Bob's sum minus the checks of the others.
fn recover_checks(
    hashes: &TreeHashes,
    tree: u8,
    missing: u8,
    leaves: &[u128],
    tree_check: &[u8; 32],
) -> Zeroizing<[[u8; 32]; LEAVES]> {
    let mut checks = Zeroizing::new([[0u8; 32]; LEAVES]);
    let mut rest = Zeroizing::new(*tree_check);
    for ((check, seed), leaf) in checks.iter_mut().zip(leaves).zip(0u8..) {
        let keep = mask(!leaf.ct_eq(&missing)) as u8;
        *check = hashes.leaf_check(tree, leaf, *seed).map(|b| b & keep);
        xor_into(&mut rest, check);
    }
    for (check, leaf) in checks.iter_mut().zip(0u8..) {
        let fill = mask(leaf.ct_eq(&missing)) as u8;
        for (c, r) in check.iter_mut().zip(rest.iter()) {
            *c |= r & fill;
        }
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    const DIRECTION: Direction = Direction {
        ctx1: [6; 32],
        dir: [1, 2],
    };
    const TREES: usize = 6;

    struct Run {
        delta: u128,
        chosen: Vec<[u8; 32]>,
        message: Vec<u8>,
        leaves: Leaves,
    }

    fn run(seed: u64) -> Run {
        let mut entropy = ChaCha20Rng::seed_from_u64(seed);
        let mut keys = vec![[[0u8; 32]; 2]; TREES * 4];
        keys.iter_mut()
            .flatten()
            .for_each(|k| entropy.fill_bytes(k));
        let delta = u128::from(entropy.next_u32() & 0xff_ffff);
        let chosen = keys
            .iter()
            .enumerate()
            .map(|(p, pair)| pair[1 - ((delta >> p) & 1) as usize])
            .collect();
        let mut rng = BatchRng::open(&mut entropy, &[1; 32], &[2; 32]);
        let mut message = Vec::new();
        let leaves = grow(&DIRECTION, &keys, &mut rng, &mut message);
        Run {
            delta,
            chosen,
            message,
            leaves,
        }
    }

    fn check(run: &Run, message: &[u8]) -> (bool, Leaves) {
        let (sums, rest) = message.split_at(TREES * 4 * 32);
        let (checks, overall) = rest.split_at(TREES * 32);
        let parsed = Round2Private {
            sums: sums.as_chunks().0,
            leaf_checks: checks.as_chunks().0,
            overall: overall.try_into().unwrap(),
            trees: message,
            columns: &[],
            choice_hash: &[0; 32],
            column_hashes: &[],
        };
        let (accept, leaves) = walk(&DIRECTION, run.delta, &run.chosen, &parsed);
        (accept.into(), leaves)
    }

    #[test]
    fn alice_learns_every_leaf_but_the_one_at_delta() {
        for seed in 0..8 {
            let run = run(seed);
            let (accept, leaves) = check(&run, &run.message);
            assert!(accept);
            for (i, (ours, bobs)) in leaves.iter().zip(run.leaves.iter()).enumerate() {
                let missing = nibble(run.delta, (i / 16) as u8) as usize == i % 16;
                assert_eq!(ours == bobs, !missing);
                assert_eq!(*ours == 0, missing);
            }
        }
    }

    #[test]
    fn a_flipped_sum_passes_only_where_alice_took_the_other_side() {
        let mut passed = 0;
        for seed in 0..20 {
            let run = run(seed);
            for sum in 0..TREES * 8 {
                let mut message = run.message.clone();
                message[sum * 16 + 3] ^= 4;
                let (accept, leaves) = check(&run, &message);
                let (p, side) = (sum / 2, sum % 2);
                let chosen = 1 - ((run.delta >> p) & 1) as usize;
                assert_eq!(accept, chosen != side, "sum {sum}");
                if accept {
                    passed += 1;
                    let same = |(i, (a, b)): (usize, (&u128, &u128))| {
                        a == b || nibble(run.delta, (i / 16) as u8) as usize == i % 16
                    };
                    assert!(leaves.iter().zip(run.leaves.iter()).enumerate().all(same));
                }
            }
        }
        // 960 trials of probability one half: five standard deviations are 78.
        assert!((402..=558).contains(&passed), "{passed}");
    }

    #[test]
    fn a_flipped_leaf_check_or_overall_hash_never_passes() {
        let run = run(1);
        for byte in TREES * 4 * 32..run.message.len() {
            let mut message = run.message.clone();
            message[byte] ^= 1;
            assert!(!check(&run, &message).0, "byte {byte}");
        }
    }
}
