//! Pads: from one row of the extension, three scalars that hide one row of corrections.
//!
//! Matyas–Meyer–Oseas with a key of its own for each row, which makes the hash tweakable without a
//! loss for many targets. A row's key is used for exactly two inputs. Source: construction,
//! section 8.1.

use super::field::reduce_narrow;
use super::ggm::halves;
use super::params::COLUMNS;
use aes::Aes128Enc;
use aes::cipher::{Block, BlockEncrypt, KeyInit};
use k256::Scalar;
use quoin_core::hash::tagged;
use quoin_core::tags;
use zeroize::{Zeroize, Zeroizing};

/// Blocks of one input: two for each column.
const BLOCKS: usize = 2 * COLUMNS;

/// The pads of one input.
pub(super) type Pads = [Scalar; COLUMNS];

/// Derives row keys: known to nobody before Bob's message is fixed.
pub(super) struct PadKey(Aes128Enc);

impl PadKey {
    /// `Kp = TH("pad/key"; T2)[0..16]`.
    pub(super) fn derive(t2: &[u8; 32]) -> Self {
        let [mut key, _] = halves(&tagged(tags::ECDSA_PAD_KEY, &[t2]));
        let cipher = Aes128Enc::new(&key.to_le_bytes().into());
        key.zeroize();
        Self(cipher)
    }

    /// The cipher of row `n`: `rk = AES(Kp, n)`, n as 16 bytes little-endian.
    pub(super) fn row(&self, n: usize) -> RowPads {
        let mut block = Block::<Aes128Enc>::from((n as u128).to_le_bytes());
        self.0.encrypt_block(&mut block);
        let row = RowPads(Aes128Enc::new(&block));
        (*block).zeroize();
        row
    }
}

/// The cipher of one row.
pub(super) struct RowPads(Aes128Enc);

impl RowPads {
    /// Bob's pads, of his row.
    pub(super) fn of(&self, x: u128) -> Zeroizing<Pads> {
        let mut blocks = [Block::<Aes128Enc>::default(); BLOCKS];
        self.fill(&[x], &mut blocks);
        let pads = Zeroizing::new(reduce(&blocks));
        wipe(&mut blocks);
        pads
    }

    /// Alice's pads, of her row and of her row with Delta added.
    pub(super) fn of_both(&self, x: u128, delta: u128) -> Zeroizing<[Pads; 2]> {
        let mut blocks = [Block::<Aes128Enc>::default(); 2 * BLOCKS];
        self.fill(&[x, x ^ delta], &mut blocks);
        let (first, second) = blocks.split_at(BLOCKS);
        let pads = Zeroizing::new([reduce(first), reduce(second)]);
        wipe(&mut blocks);
        pads
    }

    /// `y_c = x xor c`, `o_c = AES(rk, y_c) xor y_c` for c in 0..6.
    fn fill(&self, inputs: &[u128], blocks: &mut [Block<Aes128Enc>]) {
        let offsets = || {
            inputs
                .iter()
                .flat_map(|x| (0..BLOCKS as u128).map(move |c| x ^ c))
        };
        for (block, y) in blocks.iter_mut().zip(offsets()) {
            block.copy_from_slice(&y.to_le_bytes());
        }
        self.0.encrypt_blocks(blocks);
        for (block, y) in blocks.iter_mut().zip(offsets()) {
            for (o, y) in block.iter_mut().zip(y.to_le_bytes()) {
                *o ^= y;
            }
        }
    }
}

/// Two blocks are one 256-bit integer, reduced by one subtraction.
fn reduce(blocks: &[Block<Aes128Enc>]) -> Pads {
    let mut pads = [Scalar::ZERO; COLUMNS];
    let mut wide = Zeroizing::new([0u8; 32]);
    for (pad, pair) in pads.iter_mut().zip(blocks.chunks_exact(2)) {
        for (half, block) in wide.as_chunks_mut::<16>().0.iter_mut().zip(pair) {
            half.copy_from_slice(block);
        }
        *pad = reduce_narrow(&wide);
    }
    pads
}

fn wipe(blocks: &mut [Block<Aes128Enc>]) {
    blocks.iter_mut().for_each(|b| (**b).zeroize());
}

#[cfg(test)]
mod tests {
    use super::super::field::encode_scalar;
    use super::*;

    #[test]
    fn pads_golden() {
        let pads = PadKey::derive(&[7; 32]).row(1).of(0x0102_0304);
        let text: Vec<String> = pads.iter().map(|p| hex::encode(encode_scalar(p))).collect();
        assert_eq!(
            text,
            [
                "722ce7b54c53e8d7a0251ed8ed2fbaac4774cedb86f9ddd36d7b01ad9692ea76",
                "f84004da564253448f781488fb1217e8dd67bf5f2410f4426415b6c9916f3779",
                "b20729d4c7c2060709a18edaec847fec436c45b0ca88a0c9612a708be0c21bf5",
            ]
        );
    }

    #[test]
    fn alice_and_bob_agree_on_pads_and_rows_are_unrelated() {
        let key = PadKey::derive(&[1; 32]);
        let (q, delta) = (0x1234_5678u128 << 64, 0xabcd_u128 << 100 | 1);
        let both = key.row(9).of_both(q, delta);
        assert_eq!(both[0], *key.row(9).of(q));
        assert_eq!(both[1], *key.row(9).of(q ^ delta));
        assert_ne!(*key.row(9).of(q), *key.row(10).of(q));
        assert_ne!(*key.row(9).of(q), *PadKey::derive(&[2; 32]).row(9).of(q));
        let [a, b, c] = *key.row(9).of(q);
        assert!(a != b && b != c && a != c);
    }
}
