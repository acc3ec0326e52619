//! Schnorr signatures of Ed25519 and BIP-340 on plain Shamir shares: FROST (RFC 9591).
//!
//! Nonces are prepared ahead in batches, so that a signature online costs one round. The
//! arithmetic is that of the `frost-*` crates; what is ours is the batch session, the binding of
//! an answer to everything it was made for, and types that let a nonce be used only once. Nonces do
//! not depend on the key, so an account derived by an additive tweak signs with the same batches.
//!
//! **The address rule for Taproot.** The public key P of a key is the untweaked internal key with
//! its true parity, exactly as the ceremony makes it. The account's key is the output key Q of
//! BIP-341 with an empty script tree (BIP-86): [`taproot_output_key`]. Every Taproot signature is
//! made and verified under Q; none is ever made under P. The key generation of
//! `frost-secp256k1-tr` is not used, since it tweaks the key at birth.
//!
//! ```
//! use quoin_protocol::schnorr::Presignature;
//! fn spend(_: Presignature) {}
//! fn once(presignature: Presignature) {
//!     spend(presignature);
//! }
//! ```
//!
//! A presignature that was spent is gone:
//!
//! ```compile_fail,E0382
//! use quoin_protocol::schnorr::Presignature;
//! fn spend(_: Presignature) {}
//! fn twice(presignature: Presignature) {
//!     spend(presignature);
//!     spend(presignature);
//! }
//! ```
//!
//! and there is no second one to be had:
//!
//! ```compile_fail,E0277
//! fn needs_clone<T: Clone>() {}
//! needs_clone::<quoin_protocol::schnorr::Presignature>();
//! ```

mod combine;
mod nonce;
mod suite;
mod taproot;

pub use crate::presign::{Answer, CombineFault, CombineReason, SignFault};
pub(crate) use combine::combine;
pub use combine::verify;
pub use nonce::{Presignature, start_batch};
pub(crate) use nonce::{Request, needs_openings};
pub use taproot::{OutputKeyFault, taproot_output_key};

#[cfg(test)]
mod tests;
