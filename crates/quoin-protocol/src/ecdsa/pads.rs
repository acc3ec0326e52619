//! Pads: from one row of the extension, three scalars that hide one row of corrections.
//!
//! Matyas–Meyer–Oseas with a key of its own for each row, which makes the hash tweakable without a
//! loss for many targets. A row's key is used for exactly two inputs. Source: construction,
//! section 8.1.
//!
//! Rows are taken eight at a time: their keys are one call of the cipher. Pads come out as plain
//! 256-bit integers, which stand for their value modulo q; a sum of products is reduced only at its
//! end.

use super::ggm::halves;
use super::limbs::Residue;
use super::params::COLUMNS;
use aes::Aes128Enc;
use aes::cipher::{Block, BlockEncrypt, KeyInit};
use quoin_core::hash::tagged;
use quoin_core::tags;
use zeroize::{Zeroize, Zeroizing};

/// Blocks of one input: two for each column.
const BLOCKS: usize = 2 * COLUMNS;

/// Rows whose keys are derived together: as many blocks as the cipher takes at once.
const LANES: usize = 8;

/// The pads of one input.
pub(super) type Pads = [Residue; COLUMNS];

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

    /// Bob's pads: of each of his rows, which are the transfers from `first` on. `take` gets them
    /// in order.
    pub(super) fn of_rows(&self, first: usize, rows: &[u128], mut take: impl FnMut(&Pads)) {
        let mut blocks = Zeroizing::new([Block::<Aes128Enc>::default(); BLOCKS]);
        let mut pads = Zeroizing::new([Residue::default(); COLUMNS]);
        self.each_row(first, rows, |cipher, x| {
            hash_row(cipher, &[x], blocks.as_mut_slice());
            read_pads(blocks.as_slice(), x, &mut pads);
            take(&pads);
        });
    }

    /// Alice's pads: of each of her rows, and of the row with Delta added.
    pub(super) fn of_both(
        &self,
        first: usize,
        rows: &[u128],
        delta: u128,
        mut take: impl FnMut(&[Pads; 2]),
    ) {
        let mut blocks = Zeroizing::new([Block::<Aes128Enc>::default(); 2 * BLOCKS]);
        let mut pads = Zeroizing::new([[Residue::default(); COLUMNS]; 2]);
        self.each_row(first, rows, |cipher, x| {
            hash_row(cipher, &[x, x ^ delta], blocks.as_mut_slice());
            let (zero, one) = blocks.split_at(BLOCKS);
            let [pads_zero, pads_one] = &mut *pads;
            read_pads(zero, x, pads_zero);
            read_pads(one, x ^ delta, pads_one);
            take(&pads);
        });
    }

    /// The cipher of each row n: `rk = AES(Kp, n)`, n as 16 bytes little-endian.
    fn each_row(&self, first: usize, rows: &[u128], mut take: impl FnMut(&Aes128Enc, u128)) {
        let mut keys = [Block::<Aes128Enc>::default(); LANES];
        for (rows, group) in rows.chunks(LANES).zip(0..) {
            for (key, n) in keys.iter_mut().zip(first + group * LANES..) {
                *key = (n as u128).to_le_bytes().into();
            }
            self.0.encrypt_blocks(&mut keys);
            for (key, x) in keys.iter().zip(rows) {
                // One cipher at a time: a key schedule that is moved costs thrice as much.
                take(&Aes128Enc::new(key), *x);
            }
        }
        keys.iter_mut().for_each(|key| (**key).zeroize());
    }
}

/// `y_c = x xor c` and `AES(rk, y_c)` for c in 0..6, for each input.
#[inline(always)]
fn hash_row(cipher: &Aes128Enc, inputs: &[u128], blocks: &mut [Block<Aes128Enc>]) {
    for (blocks, x) in blocks.chunks_exact_mut(BLOCKS).zip(inputs) {
        for (block, c) in blocks.iter_mut().zip(0u128..) {
            *block = (x ^ c).to_le_bytes().into();
        }
    }
    cipher.encrypt_blocks(blocks);
}

/// `o_c = AES(rk, y_c) xor y_c`; two of them are one 256-bit integer.
#[inline(always)]
fn read_pads(blocks: &[Block<Aes128Enc>], x: u128, pads: &mut Pads) {
    // The first byte of an input, which holds c, is the highest of its integer.
    let y = x.to_le_bytes();
    let y = u128::from_be_bytes(y);
    for ((pad, pair), k) in pads.iter_mut().zip(blocks.as_chunks::<2>().0).zip(0u128..) {
        let [high, low] = pair.map(|block| u128::from_be_bytes(block.into()));
        let (high, low) = (high ^ y ^ ((2 * k) << 120), low ^ y ^ ((2 * k + 1) << 120));
        *pad = Residue::from_be_words([
            (high >> 64) as u64,
            high as u64,
            (low >> 64) as u64,
            low as u64,
        ]);
    }
}

/// The plain path: one row at a time, every pad reduced at once.
#[cfg(test)]
pub(super) mod plain {
    use super::super::field::reduce_narrow;
    use super::*;
    use k256::Scalar;

    /// The cipher of one row.
    pub(in crate::ecdsa) struct RowPads(Aes128Enc);

    impl PadKey {
        /// The cipher of row `n`.
        pub(in crate::ecdsa) fn row(&self, n: usize) -> RowPads {
            let mut block = Block::<Aes128Enc>::from((n as u128).to_le_bytes());
            self.0.encrypt_block(&mut block);
            RowPads(Aes128Enc::new(&block))
        }
    }

    impl RowPads {
        /// Bob's pads, of his row.
        pub(in crate::ecdsa) fn of(&self, x: u128) -> Zeroizing<[Scalar; COLUMNS]> {
            let mut wide = [[0; 32]; COLUMNS];
            let halves = wide.as_flattened_mut().as_chunks_mut::<16>().0;
            for (half, c) in halves.iter_mut().zip(0u128..) {
                let y = (x ^ c).to_le_bytes();
                let mut block = Block::<Aes128Enc>::from(y);
                self.0.encrypt_block(&mut block);
                for ((out, o), y) in half.iter_mut().zip(block).zip(y) {
                    *out = o ^ y;
                }
            }
            Zeroizing::new(wide.map(|bytes| reduce_narrow(&bytes)))
        }

        /// Alice's pads, of her row and of her row with Delta added.
        pub(in crate::ecdsa) fn of_both(&self, x: u128, delta: u128) -> [[Scalar; COLUMNS]; 2] {
            [*self.of(x), *self.of(x ^ delta)]
        }
    }
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

    /// The fast path over `count` rows from `first` on, held against the plain one.
    fn agrees_with_the_plain_path(first: usize, count: usize) {
        let key = PadKey::derive(&[3; 32]);
        let delta = 0x0bad_cafe_u128 << 96 | 0x77;
        let word =
            |n: usize| (n as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        let rows: Vec<u128> = (0..count).map(word).collect();
        let (mut bob, mut alice) = (Vec::new(), Vec::new());
        key.of_rows(first, &rows, |pads| {
            bob.push(pads.map(|p| p.reduced().to_scalar()))
        });
        key.of_both(first, &rows, delta, |pads| {
            alice.push(pads.map(|half| half.map(|p| p.reduced().to_scalar())));
        });
        assert_eq!((bob.len(), alice.len()), (count, count));
        for (((row, n), bob), alice) in rows.iter().zip(first..).zip(bob).zip(alice) {
            assert_eq!(bob, *key.row(n).of(*row), "row {n}");
            assert_eq!(alice, key.row(n).of_both(*row, delta), "row {n}");
        }
    }

    #[test]
    fn rows_taken_together_give_what_each_gives_alone() {
        for (first, count) in [(0, 0), (0, 1), (5, 7), (416, 8), (416 * 1023, 416), (3, 33)] {
            agrees_with_the_plain_path(first, count);
        }
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
