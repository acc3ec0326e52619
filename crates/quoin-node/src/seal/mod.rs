//! Secrets at rest: what leaves memory leaves it sealed.
//!
//! [`Sealer`] is the door. [`FileSealer`] stands behind it today, with a master key in a file or under
//! a passphrase; a TPM or an HSM will keep the master key where no file can.
//!
//! A seal guards a secret against whoever has the disk but not the master key. It does not guard
//! against whoever has both, nor against a process that may ask the sealer.

mod envelope;
mod file;
mod passphrase;
#[cfg(test)]
mod tests;

pub use envelope::{ENVELOPE_BYTES_MAX, SECRET_BYTES_MAX, sealed_by};
pub use file::FileSealer;
pub use passphrase::{KdfParams, PASSPHRASE_BYTES_MIN, PassphraseSource};

use quoin_core::SecretBytes;
use zeroize::Zeroizing;

/// Which master key: enough to tell keys apart, and it reveals nothing about them.
pub type Fingerprint = [u8; 8];

/// Keeps a master key and wraps data keys with it.
///
/// This is all that a TPM or an HSM has to do: each secret is sealed under a data key of its own,
/// here in the process, and only that data key goes through the door. To move to another master
/// key therefore needs no secret, only its wrapped data key ([`Sealer::rewrap`]).
pub trait Sealer: Send + Sync {
    /// Which master key this is.
    fn fingerprint(&self) -> Fingerprint;

    /// Wraps a data key; `place` says where it belongs and must be the same at unwrapping.
    ///
    /// # Errors
    /// When the door refuses, or there is no entropy.
    fn wrap(&self, place: &[u8; 32], data_key: &SecretBytes<32>) -> Result<Vec<u8>, SealError>;

    /// Unwraps a data key; `None` when it was wrapped elsewhere, for another place, or changed.
    ///
    /// # Errors
    /// When the door refuses.
    fn unwrap(
        &self,
        place: &[u8; 32],
        wrapped: &[u8],
    ) -> Result<Option<SecretBytes<32>>, SealError>;

    /// Seals `secret` under a fresh data key of its own.
    ///
    /// `label` says what is sealed, such as `share/<key>/<epoch>`, and is readable in the result;
    /// `aad` is whatever else must be the same at opening, such as the cluster and the node.
    ///
    /// # Errors
    /// When the secret or the label is too long, or there is no entropy.
    fn seal(&self, label: &str, aad: &[u8], secret: &[u8]) -> Result<Vec<u8>, SealError> {
        envelope::seal(self, label, aad, secret)
    }

    /// Opens what [`Sealer::seal`] made with the same label and `aad`.
    ///
    /// # Errors
    /// When anything differs. The error says what, and holds nothing of the secret.
    fn open(
        &self,
        label: &str,
        aad: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, SealError> {
        envelope::open(self, label, aad, sealed)
    }

    /// Wraps the data key of what another master key sealed with this one. The secret itself is
    /// neither decrypted nor encrypted again.
    ///
    /// # Errors
    /// When `sealed` was not made by `from` with the same label and `aad`.
    fn rewrap(
        &self,
        from: &dyn Sealer,
        label: &str,
        aad: &[u8],
        sealed: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        envelope::rewrap(from, self, label, aad, sealed)
    }
}

/// Why something cannot be sealed or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The file system refused.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A key or passphrase file that others may read.
    #[error("`{0}` is open to others (mode `{1:o}`): run `chmod 600` on it")]
    OpenToOthers(String, u32),
    /// The master key file has another length or form.
    #[error("`{0}` is not a master key of this kind")]
    NotAMasterKey(String),
    /// The passphrase file's header was changed since it was written.
    #[error("master key file `{0}` is damaged: restore it from a backup")]
    MasterKeyDamaged(String),
    /// The passphrase is not the one that protects the master key.
    #[error("wrong passphrase for `{0}`")]
    WrongPassphrase(String),
    /// The passphrase is too short or too long to be taken.
    #[error("a passphrase has `{min}` to `{max}` bytes")]
    PassphraseLength {
        /// The least.
        min: usize,
        /// The most.
        max: usize,
    },
    /// Costs outside of what this version accepts.
    #[error("passphrase costs of `{memory_kib}` KiB and `{passes}` passes are outside the bounds")]
    CostsOutOfBounds {
        /// Memory.
        memory_kib: u32,
        /// Passes.
        passes: u32,
    },
    /// Key derivation failed.
    #[error("passphrase cannot be stretched: {0}")]
    Stretching(String),
    /// Not a sealed secret.
    #[error("sealed secret is malformed: {0}")]
    Malformed(String),
    /// Sealed under another master key.
    #[error("sealed under another master key (`{found}`, this one is `{ours}`)")]
    OtherMasterKey {
        /// Fingerprint of the key that sealed it.
        found: String,
        /// Fingerprint of ours.
        ours: String,
    },
    /// It seals something else.
    #[error("this is the seal of `{found}`, not of `{asked}`")]
    OtherLabel {
        /// What was asked for.
        asked: String,
        /// What it says it is.
        found: String,
    },
    /// Its bytes were changed, or it belongs to another context.
    #[error("seal of `{0}` is broken: its bytes were changed, or it belongs to another place")]
    Broken(String),
    /// A value over its limit.
    #[error("{what} has `{bytes}` bytes, which is over the limit of `{max}`")]
    TooLong {
        /// What is too long.
        what: &'static str,
        /// Its length.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The system gave no random bytes.
    #[error("the system gave no random bytes: {0}")]
    NoEntropy(String),
}

impl SealError {
    fn io(what: String) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { what, source }
    }
}
