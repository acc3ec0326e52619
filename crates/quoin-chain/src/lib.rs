//! Chain adapters: payload to intent and digest; signature to wire bytes.
//!
//! Pure functions over bytes: no clock, no socket, no key and no policy. A node calls [`decode`]
//! and judges the [`Decoded`] that it returns; nothing else in Quoin can make one, so a signature
//! always belongs to bytes whose meaning this crate has worked out for itself. What it cannot
//! explain it either refuses, naming the field, or marks as `Action::Unexplained`.
//!
//! What each payload hashes:
//!
//! | payload | digest |
//! |---|---|
//! | EVM transaction | Keccak-256 of the payload's bytes |
//! | EVM typed data | EIP-712: Keccak-256 of `0x19 0x01`, domain separator, struct hash |
//! | EVM message | EIP-191: Keccak-256 of `0x19`, `Ethereum Signed Message:\n`, length, message |
//! | text, ECDSA and Taproot | tagged hash `quoin/message/v1` of version, scheme and text |
//! | text, Ed25519 | no hash: the message is `0xff`, the tag, version and text |
//! | key creation | nothing is signed |
//!
//! Sources: EIP-155, EIP-191, EIP-712, EIP-1559, EIP-2612, EIP-2681, EIP-2718, EIP-2930, ERC-20,
//! BIP-340, BIP-341 and BIP-350.

pub mod address;
mod decoded;
mod evm;
pub mod fuzzing;
mod shown;
mod text;

pub use address::{AddressError, NamedAddress, addresses};
pub use decoded::{Decoded, Digest, decode};
pub use evm::message::EVM_MESSAGE_BYTES_MAX;
pub use evm::transaction::{ACCESS_LIST_ADDRESSES_MAX, ACCESS_LIST_KEYS_MAX};
pub use evm::typed_data::TYPED_DATA_BYTES_MAX;
pub use evm::wire::{
    Eip1559Fields, LegacyFields, SignedTransaction, assemble_evm_transaction, encode_eip1559,
    encode_legacy, evm_signature_bytes,
};
pub use text::TEXT_BYTES_MAX;
