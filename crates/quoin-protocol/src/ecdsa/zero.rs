//! Shares of zero: what re-randomises each signer's share of the key in every presignature.
//!
//! Two signers derive the same value from a common seed; one adds it, the other subtracts it. They
//! must stay although `lambda_i X_i` would be simpler to check: without them lies in psi would give
//! repeated relations on the same share (construction, sections 6, 8.3 and 13.5).

use super::field::hash_to_scalar;
use k256::Scalar;
use quoin_core::hash::tagged;
use quoin_core::{NodeIndex, SecretBytes, tags};
use std::collections::BTreeMap;

/// `zcom_ij`: the commitment of `from` to the seed that it sent to `to`.
pub(super) fn seed_commitment(
    ctx0: &[u8; 32],
    from: NodeIndex,
    to: NodeIndex,
    seed: &[u8; 32],
) -> [u8; 32] {
    tagged(tags::ECDSA_ZCOM, &[ctx0, &[from.get()], &[to.get()], seed])
}

/// What a signer knows of the zero-shares of a batch.
pub(super) struct Seeds {
    /// The seed that it shares with each other signer.
    pub(super) shared: BTreeMap<NodeIndex, SecretBytes<32>>,
    /// The commitment to the seed of every pair, as (earlier, later) signer.
    pub(super) commitments: BTreeMap<(NodeIndex, NodeIndex), [u8; 32]>,
}

/// `zeta_i` of presignature `b`: the sum over pairs, positive towards later signers.
pub(super) fn zero_share(
    ctx1: &[u8; 32],
    me: NodeIndex,
    seeds: &BTreeMap<NodeIndex, SecretBytes<32>>,
    b: u16,
) -> Scalar {
    let mut sum = Scalar::ZERO;
    for (other, seed) in seeds {
        let (low, high) = (me.min(*other), me.max(*other));
        let value = hash_to_scalar(
            tags::ECDSA_ZERO,
            &[
                ctx1,
                &[low.get()],
                &[high.get()],
                seed.expose(),
                &b.to_be_bytes(),
            ],
        );
        if me < *other {
            sum += value;
        } else {
            sum -= value;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_shares_of_all_signers_add_up_to_zero_and_differ_in_each_presignature() {
        let nodes = [1u8, 4, 7].map(|i| NodeIndex::new(i).unwrap());
        let seed = |a: NodeIndex, b: NodeIndex| {
            SecretBytes::take(&mut [a.min(b).get() * 16 + a.max(b).get(); 32])
        };
        let share = |me: NodeIndex, b| {
            let seeds = nodes
                .iter()
                .filter(|n| **n != me)
                .map(|n| (*n, seed(me, *n)))
                .collect();
            zero_share(&[3; 32], me, &seeds, b)
        };
        for b in [0u16, 1, 300] {
            let sum = nodes.iter().fold(Scalar::ZERO, |s, n| s + share(*n, b));
            assert_eq!(sum, Scalar::ZERO);
        }
        assert_ne!(share(nodes[0], 0), share(nodes[0], 1));
    }
}
