//! Threshold ECDSA on secp256k1: batches of single-use presignatures, and one-round signing.
//!
//! **Unaudited.** No independent cryptographer has reviewed this engine or its construction.
//!
//! t signers of a fixed set, of whom up to t−1 are malicious, make a batch in four rounds; every
//! ordered pair runs fresh base oblivious transfers, one extension and one multiplication for each
//! presignature. No transfer state outlives its batch. Later each signer answers once for each
//! presignature, and anyone can combine the answers; the combiner verifies before it returns.
//!
//! | round | sent | file |
//! |---|---|---|
//! | 1 | commitment to the nonce points, base transfers, zero-share seeds | `rounds/one.rs`, `base_ot.rs`, `zero.rs` |
//! | 2 | context, all-but-one trees, extension with its check | `rounds/two.rs`, `ggm.rs`, `extension.rs` |
//! | 3 | opened points, multiplications of nonce and key share | `rounds/three.rs`, `pads.rs`, `rvole.rs` |
//! | 4 | signed confirmation of one transcript, or what names a wrong key share | `rounds/four.rs`, `rounds/dispute.rs` |
//! | online | one answer from each signer; for treasury keys an opening before it | `presignature.rs`, `combine.rs` |
//!
//! Everything else: sizes in `params.rs`, the header and signed broadcasts in `context.rs`, wire
//! layouts in `message.rs`, scalars and points in `field.rs`, randomness in `rng.rs`, the
//! known-answer test of a build in `self_test.rs`.
//!
//! Sources: DKLs23 (eprint 2023/765) for the protocol, SoftSpokenOT (2022/192) for the extension,
//! the endemic transfer of Masny and Rindal (2019/706) with the tags that batching demands
//! (2021/682). Not here: key generation, strikes, journaling and pools; the node does the latter.
//! Treasury keys sign in two rounds: in round 3 each signer commits to entropy, which it opens once
//! the presignature is bound to a digest (section 10.5). A batch of another profile than the key's
//! purpose demands is refused with [`Fault::UnsupportedProfile`].
//!
//! Differs from DKLs23: base transfers for each batch; one extension for the whole batch; a
//! constant gadget; rounds that do not depend on the message run ahead; one commitment to all
//! nonces of a batch; a confirmation round; a single check column; re-randomisation of the nonce by
//! a hash of digest and tweak.
//!
//! [`Fault::UnsupportedProfile`]: crate::Fault::UnsupportedProfile

mod base_ot;
pub mod combine;
mod context;
mod digits;
mod extension;
mod field;
mod generator;
mod ggm;
pub(crate) mod guard;
mod limbs;
mod message;
mod pads;
pub mod params;
mod points;
mod presignature;
mod rng;
mod rounds;
mod rvole;
mod self_test;
#[cfg(test)]
mod testing;
#[cfg(feature = "timing")]
pub mod timing;
mod zero;

pub use combine::{CombineFault, EcdsaSignature, combine, verify_compact};
pub(crate) use combine::{combine_bound, verify};
pub use params::{Params, Production};
pub(crate) use presignature::Bound;
pub use presignature::{Answer, Presignature, SignFault};
pub use self_test::{SelfTestFault, self_test};

use crate::Abort;
use crate::batch::BatchHeader;
use crate::presign::Started;
use crate::roster::Roster;
use crate::share::KeyShare;
use rand_core::CryptoRngCore;
use std::sync::Arc;

/// Starts a batch: gives the round that waits for the others' first messages, and the own ones.
///
/// The node must already have checked that the batch id is fresh and that every boot named in the
/// header is current.
///
/// # Errors
/// When the header is not the one that this signer's own share and roster give, or the batch's size
/// or profile is not supported.
pub fn start_batch<P: Params>(
    header: BatchHeader,
    share: &KeyShare,
    roster: Arc<Roster>,
    rng: &mut dyn CryptoRngCore,
) -> Result<Started<Vec<Presignature>>, Abort> {
    let (session, own) = context::Session::open::<P>(header, share, roster)?;
    let (round, outbox) = rounds::one::begin::<P>(session, own, rng);
    Ok((round, outbox))
}
