//! The engine's constants, each with its reason, and the sealed choice of sizes.
//!
//! There is no negotiation: [`Production`] is the only set that a release build contains. Toy sizes
//! exist for tests, where flipping every byte of every message must be affordable. Source:
//! construction, section 2.

/// Bits of Delta and the width of an extension row: 128-bit computational security.
pub(super) const ROW_BITS: usize = 128;
/// The field size of the extension is 2^4: trees of 16 leaves. A larger field saves a few bytes
/// and doubles the generator's work for each further bit.
pub(super) const TREE_DEPTH: usize = 4;
/// Leaves of one tree.
pub(super) const LEAVES: usize = 1 << TREE_DEPTH;
/// Columns of the multiplication: the nonce, the key share and one check column. One check column
/// is enough over a field of 256 bits (section 13.3).
pub(super) const COLUMNS: usize = 3;
/// 128-row blocks of masks that hide Bob's choices in the extension check: one for each hash key.
pub(super) const MASK_BLOCKS: usize = 2;
/// The largest batch.
///
/// `Differs:` section 2 goes up to 1024. A round 3 message has 40,098 bytes for each presignature
/// and goes out in one frame of at most 16 MiB, which ends at 418; more would have to be streamed.
/// 256 is seven percent from the optimum of cost and loses less when a batch aborts (section 17).
pub(super) const BATCH_MAX: u16 = 256;
/// What a message may have at most, with room for headers in a frame of 16 MiB.
pub(super) const MESSAGE_BYTES_MAX: usize = (16 << 20) - (64 << 10);
/// Multiplications per presignature in production: 256 bits of the field and twice the statistical
/// parameter of 80 (section 13.4).
pub(super) const PRODUCTION_OTS: usize = 256 + 2 * 80;

/// The sizes of a protocol run. Sealed: there is one for production.
pub trait Params: sealed::Sealed + Send + Sync + 'static {
    /// Oblivious transfers of one multiplication.
    const OTS: usize;
    /// Trees of the extension; four base transfers each.
    const TREES: usize;
    /// The smallest batch.
    const BATCH_MIN: u16;
}

mod sealed {
    pub trait Sealed {}
}

/// The sizes that real keys use: 416 transfers, 32 trees, batches of 64 to 256.
#[derive(Debug)]
pub struct Production;

impl sealed::Sealed for Production {}
impl Params for Production {
    const OTS: usize = PRODUCTION_OTS;
    const TREES: usize = ROW_BITS / TREE_DEPTH;
    const BATCH_MIN: u16 = 64;
}

/// Production arithmetic in a batch of four, for the self-test at start only.
pub(super) struct SelfTestSize;

impl sealed::Sealed for SelfTestSize {}
impl Params for SelfTestSize {
    const OTS: usize = Production::OTS;
    const TREES: usize = Production::TREES;
    const BATCH_MIN: u16 = 4;
}

#[cfg(all(feature = "toy-params", not(debug_assertions)))]
compile_error!("toy parameters give no security: they are refused in release builds");

/// Sizes without any security, for tests that must run thousands of batches.
#[cfg(any(test, feature = "toy-params"))]
#[derive(Debug)]
pub struct Toy;

#[cfg(any(test, feature = "toy-params"))]
impl sealed::Sealed for Toy {}
#[cfg(any(test, feature = "toy-params"))]
impl Params for Toy {
    const OTS: usize = 32;
    const TREES: usize = 6;
    const BATCH_MIN: u16 = 4;
}

/// Whether a batch of `size` is allowed: rows must fill whole blocks of 128.
pub(super) const fn batch_size_is_allowed<P: Params>(size: u16) -> bool {
    size >= P::BATCH_MIN && size <= BATCH_MAX && (P::OTS * size as usize).is_multiple_of(ROW_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn production_accepts_multiples_of_four_between_64_and_256() {
        for (size, allowed) in [
            (0u16, false),
            (4, false),
            (60, false),
            (63, false),
            (64, true),
            (66, false),
            (68, true),
            (256, true),
            (260, false),
            (1024, false),
            (u16::MAX, false),
        ] {
            assert_eq!(batch_size_is_allowed::<Production>(size), allowed, "{size}");
        }
    }
}
