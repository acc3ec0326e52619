//! Formats of single keys: what wallets export, read and written here.
//!
//! A single key is whole on one machine. Quoin's own keys are not, and nothing here touches them:
//! these formats are for a key that comes from a wallet, and for one that goes to a wallet. Unlike a
//! threshold key, a single key has its private part, so full BIP-44 paths with hardened levels work.
//!
//! | format | what it holds | source |
//! |---|---|---|
//! | mnemonic | the seed of a tree of keys | BIP-39, then BIP-32 or, for Ed25519, SLIP-10 |
//! | xprv, xpub | one key of a tree, with its chain code | BIP-32 |
//! | keystore | one secp256k1 key, under a password | Web3 Secret Storage, version 3 |
//! | WIF | one secp256k1 key, for Bitcoin | Bitcoin's wallet import format, compressed keys only |
//! | hex | one key: a scalar on secp256k1, a seed of RFC 8032 on Ed25519 | – |
//!
//! Which crates do what, and why: `docs/decisions/0008-derivation-and-formats.md`.

mod base58;
mod extended;
mod keystore;
mod path;
mod wif;

pub use extended::{Curve, Extended, read_xpub};
pub use keystore::{Strength, open as open_keystore, seal as seal_keystore};
pub use path::FullPath;
pub use wif::{read as read_wif, write as write_wif};

use bip39::Mnemonic;
use quoin_core::{Scheme, SecretBytes};
use quoin_protocol::derive::{ChildKey, Place};
use zeroize::{Zeroize, Zeroizing};

/// Why a text is no key of its format, or a key has no such format.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SingleFault {
    /// Not base58, or its checksum is wrong.
    #[error("not base58 with a right checksum")]
    Base58,
    /// A word that is not in the list, a wrong number of words, or a wrong checksum.
    #[error("not a mnemonic: {0}")]
    Mnemonic(bip39::Error),
    /// The bytes are not of the format; which part, the text says.
    #[error("{0}")]
    Malformed(&'static str),
    /// The private key is zero, or not below the group's order.
    #[error("the private key is not a number from 1 to the group's order")]
    NotAKey,
    /// BIP-32 leaves this index out.
    #[error("there is no child `{0}`; take the next index")]
    NoSuchChild(u32),
    /// SLIP-10 has only hardened children on Ed25519.
    #[error("on Ed25519 every level of the path is hardened, as in `m/44'/501'/0'`")]
    NotHardened,
    /// The password does not open the keystore, or the file was changed.
    #[error("the password is wrong, or the file was changed")]
    WrongPassword,
    /// The key's curve has no such format.
    #[error("a key on Ed25519 has no such format")]
    WrongCurve,
    /// A child could not be derived from public data.
    #[error(transparent)]
    Derive(#[from] quoin_protocol::DeriveFault),
}

/// A private key alone.
#[derive(Debug)]
pub struct SingleKey {
    /// Its curve.
    pub curve: Curve,
    /// On secp256k1 the scalar, big-endian; on Ed25519 the seed of RFC 8032.
    pub secret: SecretBytes<32>,
}

impl SingleKey {
    /// Reads 32 bytes in hex, with or without `0x`.
    pub fn read_hex(text: &str) -> Result<SecretBytes<32>, SingleFault> {
        let digits = text.trim();
        let digits = digits.strip_prefix("0x").unwrap_or(digits);
        let mut bytes = Zeroizing::new([0u8; 32]);
        hex::decode_to_slice(digits, bytes.as_mut_slice())
            .map_err(|_| SingleFault::Malformed("a key in hex has 64 digits"))?;
        Ok(SecretBytes::take(&mut bytes))
    }

    /// The public part. It has no chain code, so nothing may be derived from it.
    pub fn public(&self, scheme: Scheme) -> Result<ChildKey, SingleFault> {
        let public = extended::public_key(self.curve, &self.secret)?;
        Ok(ChildKey {
            scheme,
            tweak: [0; 32],
            public_key: public,
            chain_code: [0; 32],
            place: Place::default(),
        })
    }
}

/// The seed of a mnemonic, whose checksum must be right, with its passphrase (empty for none).
///
/// # Errors
/// When a word is unknown or the checksum is wrong. Only the English list is read: it is the one
/// that wallets write.
pub fn seed_of(words: &str, passphrase: &str) -> Result<Zeroizing<[u8; 64]>, SingleFault> {
    // One blank between words and no others, so that a phrase from a file with line ends reads.
    let mut phrase = String::with_capacity(words.len());
    for word in words.split_whitespace() {
        if !phrase.is_empty() {
            phrase.push(' ');
        }
        phrase.push_str(word);
    }
    let phrase = Zeroizing::new(phrase);
    let mut mnemonic = Mnemonic::parse_in(bip39::Language::English, phrase.as_str())
        .map_err(SingleFault::Mnemonic)?;
    let seed = Zeroizing::new(mnemonic.to_seed(passphrase));
    mnemonic.zeroize();
    Ok(seed)
}

#[cfg(test)]
mod tests;
