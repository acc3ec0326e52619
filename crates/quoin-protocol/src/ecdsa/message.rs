//! Wire layouts: exact lengths, and parsing into borrowed fields.
//!
//! No layout has a length field of its own: every length follows from the batch's header, so a
//! message that is one byte off is refused before anything is read (construction, section 5 to 9).

use super::field::{POINT_BYTES, SCALAR_BYTES};
use super::params::{
    BATCH_MAX, COLUMNS, LEAVES, MASK_BLOCKS, MESSAGE_BYTES_MAX, Params, ROW_BITS, TREE_DEPTH,
};

/// Bytes of a hash, a nonce, a salt or a ristretto255 point.
const HASH: usize = 32;

/// Bytes of one column of the extension: N rows and the mask rows, eight to a byte.
pub(super) const fn column_bytes<P: Params>(size: usize) -> usize {
    column_blocks::<P>(size) * 16
}

/// 128-row blocks of one column, the mask blocks included.
pub(super) const fn column_blocks<P: Params>(size: usize) -> usize {
    P::OTS * size / ROW_BITS + MASK_BLOCKS
}

/// Base transfers of one direction.
pub(super) const fn base_ots<P: Params>() -> usize {
    P::TREES * TREE_DEPTH
}

/// Round 1: the header's hash, nonce, commitment, one seed commitment for each signer after this
/// one.
pub(super) const fn round1_broadcast(seeds: usize) -> usize {
    HASH + HASH + HASH + HASH * seeds
}

/// Round 1: transfer pairs, Bob's point, and a zero-share seed towards later signers.
pub(super) const fn round1_private<P: Params>(with_seed: bool) -> usize {
    2 * HASH * base_ots::<P>() + HASH + if with_seed { HASH } else { 0 }
}

/// Round 2 private: tree sums, tree check, overall hash, columns, x^ and t^.
pub(super) const fn round2_private<P: Params>(size: usize) -> usize {
    tree_sums::<P>()
        + HASH * P::TREES
        + HASH
        + P::TREES * column_bytes::<P>(size)
        + HASH
        + HASH * base_ots::<P>()
}

const fn tree_sums<P: Params>() -> usize {
    2 * 16 * base_ots::<P>()
}

/// Round 3: salt, then R and pk for each presignature; for treasury keys a commitment to entropy
/// for each.
pub(super) const fn round3_broadcast(size: usize, treasury: bool) -> usize {
    HASH + size * (2 * POINT_BYTES + if treasury { HASH } else { 0 })
}

/// Round 3 private: one multiplication for each presignature.
pub(super) const fn round3_private<P: Params>(size: usize) -> usize {
    size * product_bytes::<P>()
}

/// Bytes of the corrections of one multiplication.
pub(super) const fn corrections_bytes<P: Params>() -> usize {
    P::OTS * COLUMNS * SCALAR_BYTES
}

// One message is one frame.
const _: () = assert!(
    round3_broadcast(BATCH_MAX as usize, true)
        + round3_private::<super::params::Production>(BATCH_MAX as usize)
        <= MESSAGE_BYTES_MAX
);

const fn product_bytes<P: Params>() -> usize {
    SCALAR_BYTES + corrections_bytes::<P>() + SCALAR_BYTES + HASH + 2 * POINT_BYTES
}

/// Round 4: the transcript and the signature over its confirmation.
pub(super) const ROUND4_BROADCAST: usize = HASH + 64;

/// Round 4 of a dispute: the transcript, and the seed shared with each other signer. Two others at
/// least: the length is never that of a confirmation, see the assertion.
pub(super) const fn dispute_broadcast(others: usize) -> usize {
    HASH + SEED_MARK + HASH * others
}

/// One byte that keeps a dispute's length apart from every confirmation's.
const SEED_MARK: usize = 1;
const _: () = assert!(!(ROUND4_BROADCAST - HASH - SEED_MARK).is_multiple_of(HASH));

/// Reads fixed fields from the front of a message.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>()?;
        self.0 = tail;
        Some(head)
    }

    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(len)?;
        self.0 = tail;
        Some(head)
    }
}

/// The fields of a round 1 broadcast.
pub(super) struct Round1Broadcast<'a> {
    /// Commitment to all nonce points.
    pub(super) commitment: &'a [u8; 32],
    /// Commitments to zero-share seeds, for the later signers in order.
    pub(super) seed_commitments: &'a [[u8; 32]],
}

impl<'a> Round1Broadcast<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let _ctx0: &[u8; 32] = reader.array()?;
        let _nonce: &[u8; 32] = reader.array()?;
        Some(Self {
            commitment: reader.array()?,
            seed_commitments: reader.0.as_chunks().0,
        })
    }
}

/// The fields of a round 1 private part.
pub(super) struct Round1Private<'a> {
    /// The sender's base transfer pairs, it being Alice.
    pub(super) pairs: &'a [u8],
    /// The sender's point, it being Bob.
    pub(super) point: &'a [u8; 32],
    /// The zero-share seed, when the sender comes before the recipient.
    pub(super) seed: Option<&'a [u8; 32]>,
}

impl<'a> Round1Private<'a> {
    pub(super) fn parse<P: Params>(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        Some(Self {
            pairs: reader.bytes(2 * HASH * base_ots::<P>())?,
            point: reader.array()?,
            seed: reader.array(),
        })
    }
}

/// The fields of a round 2 private part.
pub(super) struct Round2Private<'a> {
    /// The sums of the trees' levels.
    pub(super) sums: &'a [[u8; 16]],
    /// The sum of leaf checks of each tree.
    pub(super) leaf_checks: &'a [[u8; 32]],
    /// The hash over all leaf checks.
    pub(super) overall: &'a [u8; 32],
    /// Sums, leaf checks and overall hash as sent.
    pub(super) trees: &'a [u8],
    /// The correction column of each tree, one after the other.
    pub(super) columns: &'a [u8],
    /// The hash of Bob's choices.
    pub(super) choice_hash: &'a [u8; 32],
    /// The hash of each of Bob's columns.
    pub(super) column_hashes: &'a [[u8; 32]],
}

impl<'a> Round2Private<'a> {
    pub(super) fn parse<P: Params>(bytes: &'a [u8], size: usize) -> Option<Self> {
        let trees = bytes.get(..tree_sums::<P>() + HASH * P::TREES + HASH)?;
        let mut reader = Reader(bytes);
        Some(Self {
            sums: reader.bytes(tree_sums::<P>())?.as_chunks().0,
            leaf_checks: reader.bytes(HASH * P::TREES)?.as_chunks().0,
            overall: reader.array()?,
            trees,
            columns: reader.bytes(P::TREES * column_bytes::<P>(size))?,
            choice_hash: reader.array()?,
            column_hashes: reader.0.as_chunks().0,
        })
    }
}

/// The fields of a round 3 broadcast.
pub(super) struct Round3Broadcast<'a> {
    /// Opens the commitment of round 1.
    pub(super) salt: &'a [u8; 32],
    /// R and pk of each presignature.
    pub(super) points: &'a [[[u8; POINT_BYTES]; 2]],
    /// The commitment to entropy of each presignature, for treasury keys.
    pub(super) entropy: &'a [[u8; 32]],
}

impl<'a> Round3Broadcast<'a> {
    pub(super) fn parse(bytes: &'a [u8], size: usize) -> Option<Self> {
        let mut reader = Reader(bytes);
        Some(Self {
            salt: reader.array()?,
            points: reader
                .bytes(2 * POINT_BYTES * size)?
                .as_chunks()
                .0
                .as_chunks()
                .0,
            entropy: reader.0.as_chunks().0,
        })
    }
}

/// The fields of a round 4 broadcast in a dispute.
pub(super) struct DisputeBroadcast<'a> {
    /// The batch's transcript as the sender saw it.
    pub(super) transcript: &'a [u8; 32],
    /// The seeds that the sender shares with the other signers, in their order.
    pub(super) seeds: &'a [[u8; 32]],
}

impl<'a> DisputeBroadcast<'a> {
    /// The own broadcast.
    pub(super) fn write<'s>(
        transcript: &[u8; 32],
        seeds: impl Iterator<Item = &'s [u8; 32]>,
    ) -> Vec<u8> {
        let mut out = transcript.to_vec();
        out.push(0);
        seeds.for_each(|seed| out.extend_from_slice(seed));
        out
    }

    pub(super) fn parse(bytes: &'a [u8], others: usize) -> Option<Self> {
        if bytes.len() != dispute_broadcast(others) {
            return None;
        }
        let mut reader = Reader(bytes);
        let transcript = reader.array()?;
        (reader.array()? == &[0]).then_some(())?;
        Some(Self {
            transcript,
            seeds: reader.0.as_chunks().0,
        })
    }
}

/// The fields of one multiplication in a round 3 private part.
pub(super) struct Product<'a> {
    /// phi of the sender minus its chi towards the recipient.
    pub(super) psi: &'a [u8; 32],
    /// The corrections a~.
    pub(super) corrections: &'a [u8],
    /// The check's opening.
    pub(super) eta: &'a [u8; 32],
    /// The check's hash.
    pub(super) mu: &'a [u8; 32],
    /// The sender's shares of both products, times the generator.
    pub(super) gammas: [&'a [u8; POINT_BYTES]; 2],
}

impl<'a> Product<'a> {
    fn parse<P: Params>(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        Some(Self {
            psi: reader.array()?,
            corrections: reader.bytes(corrections_bytes::<P>())?,
            eta: reader.array()?,
            mu: reader.array()?,
            gammas: [reader.array()?, reader.array()?],
        })
    }

    /// All multiplications of a message, in order.
    pub(super) fn parse_all<P: Params>(
        bytes: &'a [u8],
    ) -> impl ExactSizeIterator<Item = Option<Self>> {
        bytes
            .chunks_exact(product_bytes::<P>())
            .map(Self::parse::<P>)
    }
}

/// The fields of a round 4 broadcast.
pub(super) struct Round4Broadcast<'a> {
    /// The batch's transcript.
    pub(super) transcript: &'a [u8; 32],
    /// The sender's signature over its confirmation.
    pub(super) signature: &'a [u8; 64],
}

impl<'a> Round4Broadcast<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let parsed = Self {
            transcript: reader.array()?,
            signature: reader.array()?,
        };
        // A round 4 message is one of two things, and this is all of the other one.
        reader.0.is_empty().then_some(parsed)
    }
}

const _: () = assert!(LEAVES == 16);

#[cfg(test)]
mod tests {
    use super::super::params::Production;
    use super::*;

    #[test]
    fn production_lengths_are_those_of_the_construction() {
        assert_eq!(round1_private::<Production>(false), 8192 + 32);
        assert_eq!(column_bytes::<Production>(256), 52 * 256 + 32);
        assert_eq!(
            round2_private::<Production>(256),
            4096 + 1024 + 32 + 32 * (52 * 256 + 32) + 32 + 4096
        );
        assert_eq!(product_bytes::<Production>(), 40_098);
    }
}
