//! The set of nodes that serve one signature: sorted, distinct, of exactly the threshold's size.

use crate::ids::NodeIndex;
use minicbor::{Decode, Encode};
use serde::Serialize;

/// The fewest signers of a threshold key.
pub const SIGNERS_MIN: usize = 2;
/// The most signers of one signature.
pub const SIGNERS_MAX: usize = 7;

/// A sorted, duplicate-free list of 2 to 7 node indices.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Serialize)]
#[cbor(transparent)]
#[serde(transparent)]
pub struct SignerSet(#[n(0)] Vec<NodeIndex>);

impl SignerSet {
    /// Builds a set from strictly ascending indices; `None` when they are not, or when their
    /// number is outside 2 to 7.
    #[must_use]
    pub fn from_ascending(indices: Vec<NodeIndex>) -> Option<Self> {
        let size_ok = (SIGNERS_MIN..=SIGNERS_MAX).contains(&indices.len());
        let ascending = indices
            .iter()
            .zip(indices.iter().skip(1))
            .all(|(a, b)| a < b);
        (size_ok && ascending).then_some(Self(indices))
    }

    /// Builds a set from indices in any order; `None` on duplicates or a wrong size.
    #[must_use]
    pub fn from_unordered(mut indices: Vec<NodeIndex>) -> Option<Self> {
        indices.sort_unstable();
        Self::from_ascending(indices)
    }

    /// The indices in ascending order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = NodeIndex> + ExactSizeIterator + '_ {
        self.0.iter().copied()
    }

    /// How many signers there are.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.len()
    }

    /// Whether `node` is in the set.
    #[must_use]
    pub fn contains(&self, node: NodeIndex) -> bool {
        self.0.binary_search(&node).is_ok()
    }

    /// Everyone in the set but `me`.
    pub fn others(&self, me: NodeIndex) -> impl Iterator<Item = NodeIndex> + '_ {
        self.0.iter().copied().filter(move |n| *n != me)
    }

    /// The lowest index: the member that proposes batches and grants leases.
    #[must_use]
    pub fn lowest(&self) -> NodeIndex {
        self.0
            .first()
            .copied()
            .unwrap_or(const { NodeIndex::new(1).unwrap() })
    }
}

impl<'b, C> Decode<'b, C> for SignerSet {
    fn decode(d: &mut minicbor::Decoder<'b>, c: &mut C) -> Result<Self, minicbor::decode::Error> {
        let indices = crate::cbor::decode_vec(d, c, SIGNERS_MAX)?;
        Self::from_ascending(indices).ok_or_else(|| {
            minicbor::decode::Error::message("signer set not ascending or wrong size")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(i: u8) -> NodeIndex {
        NodeIndex::new(i).unwrap()
    }

    #[test]
    fn refuses_duplicates_and_wrong_sizes() {
        assert!(SignerSet::from_unordered(vec![index(1)]).is_none());
        assert!(SignerSet::from_unordered(vec![index(1), index(1)]).is_none());
        assert!(SignerSet::from_ascending(vec![index(2), index(1)]).is_none());
        assert!(SignerSet::from_unordered((1..=8).map(index).collect()).is_none());
        assert!(SignerSet::from_unordered(vec![index(3), index(1)]).is_some());
    }
}
