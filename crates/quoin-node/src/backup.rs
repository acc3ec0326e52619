//! Backups of shares: one file for each key, epoch and node, sealed to the officers of the charter.
//!
//! A node's share is split k-of-m among the officers (`quoin_protocol::backup`), and each part is
//! encrypted to its officer in the `age` format. The header is public: it holds the key's record as
//! its nodes certified it, and commitments against which each officer can check a part alone. So a
//! drill proves that k officers could recover the share, and recovers nothing.
//!
//! | part of the file | form |
//! |---|---|
//! | header | canonical CBOR of [`BackupHeader`] |
//! | parts | for each officer: index from 1, name, recipient, `age` ciphertext |
//! | plaintext of a part | header's hash (32 bytes), index (1), the part (32) |
//!
//! Sealing needs no officer: only recipients, which the charter names.

use age::x25519;
use minicbor::{Decode, Encode};
use quoin_core::cbor::{self, Version};
use quoin_core::hash::tagged;
use quoin_core::{SecretBytes, tags};
use quoin_policy::BackupPolicy;
use quoin_protocol::KeyShare;
use quoin_protocol::backup::{self, BackupFault, BackupHeader};
use rand_core::CryptoRngCore;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The largest backup file: a record of 15 nodes and 15 parts take under 16 KiB.
pub const BACKUP_BYTES_MAX: usize = 64 * 1024;

/// How the name of a backup file ends.
pub const BACKUP_EXTENSION: &str = "quoin-backup";

/// Header's hash, index and part.
const PLAIN_BYTES: usize = 32 + 1 + 32;

/// A backup of one node's share of one epoch of a key.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct BackupFile {
    /// The form's version.
    #[n(0)]
    version: Version<1>,
    /// What is backed up, in public.
    #[n(1)]
    pub header: BackupHeader,
    /// One part for each officer.
    #[n(2)]
    pub parts: Vec<SealedPart>,
}

/// One officer's part.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SealedPart {
    /// Its index, from 1.
    #[n(0)]
    pub index: u8,
    /// The officer's name.
    #[n(1)]
    pub officer: String,
    /// The officer's `age` recipient.
    #[n(2)]
    pub recipient: String,
    /// The part, encrypted to the recipient.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub ciphertext: Vec<u8>,
}

/// Why a backup cannot be made, read or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The charter names a recipient that `age` does not know.
    #[error("recipient of officer `{0}` is not an `age` recipient (`age1...`)")]
    BadRecipient(String),
    /// Encryption failed.
    #[error("part of officer `{0}` cannot be encrypted: {1}")]
    Encryption(String, String),
    /// The file is not a backup.
    #[error("not a backup file: {0}")]
    Malformed(String),
    /// A part was encrypted to this identity and does not open or is another backup's.
    #[error("part of officer `{0}` is damaged or belongs to another backup")]
    BrokenPart(String),
    /// What a part says is wrong.
    #[error(transparent)]
    Fault(#[from] BackupFault),
    /// The file system refused.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// The system's reason.
        source: std::io::Error,
    },
}

/// What stands for a header in its parts.
fn header_hash(header: &BackupHeader) -> [u8; 32] {
    tagged(tags::BACKUP, &[&cbor::encode(header)])
}

/// Splits a share among the officers and seals each part.
///
/// # Errors
/// When a recipient is not one of `age`'s, or the share does not fit its record.
pub fn seal(
    share: &KeyShare,
    policy: &BackupPolicy,
    rng: &mut dyn CryptoRngCore,
) -> Result<BackupFile, BackupError> {
    let officers = u8::try_from(policy.officers.len()).unwrap_or(u8::MAX);
    let (header, secrets) = backup::split(share, policy.threshold, officers, rng)?;
    let hash = header_hash(&header);
    let mut parts = Vec::new();
    for ((index, officer), secret) in (1u8..).zip(&policy.officers).zip(&secrets) {
        let recipient: x25519::Recipient = officer
            .recipient
            .parse()
            .map_err(|_| BackupError::BadRecipient(officer.name.clone()))?;
        let mut plain = Zeroizing::new(Vec::with_capacity(PLAIN_BYTES));
        plain.extend_from_slice(&hash);
        plain.push(index);
        plain.extend_from_slice(secret.expose());
        let ciphertext = age::encrypt(&recipient, &plain)
            .map_err(|e| BackupError::Encryption(officer.name.clone(), e.to_string()))?;
        parts.push(SealedPart {
            index,
            officer: officer.name.clone(),
            recipient: officer.recipient.clone(),
            ciphertext,
        });
    }
    Ok(BackupFile {
        version: Version,
        header,
        parts,
    })
}

impl BackupFile {
    /// Reads a backup.
    ///
    /// # Errors
    /// When the bytes are not a backup, or its header contradicts itself.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BackupError> {
        let file: Self = cbor::decode(bytes, BACKUP_BYTES_MAX)
            .map_err(|e| BackupError::Malformed(e.to_string()))?;
        file.header.check()?;
        let indices = file.parts.iter().map(|p| p.index);
        if !indices.eq(1..=file.header.parts) {
            let why = "its parts are not one for each officer";
            return Err(BackupError::Malformed(why.to_owned()));
        }
        Ok(file)
    }

    /// The canonical bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// What the file is called: `<key>-e<epoch>-n<node>.quoin-backup`.
    #[must_use]
    pub fn name(&self) -> String {
        let public = &self.header.public;
        let (key, epoch, node) = (public.key, public.epoch.0, self.header.node);
        format!("{key}-e{epoch}-n{node}.{BACKUP_EXTENSION}")
    }

    /// Opens and checks every part that is encrypted to `identity`.
    ///
    /// # Errors
    /// When a part that opens is not this backup's, or does not lie on the committed polynomial.
    pub fn open_parts(
        &self,
        identity: &x25519::Identity,
    ) -> Result<BTreeMap<u8, SecretBytes<32>>, BackupError> {
        let own = identity.to_public().to_string();
        let mut opened = BTreeMap::new();
        for part in self.parts.iter().filter(|p| p.recipient == own) {
            let broken = || BackupError::BrokenPart(part.officer.clone());
            let plain = age::decrypt(identity, &part.ciphertext);
            let plain = Zeroizing::new(plain.map_err(|_| broken())?);
            let (hash, rest) = plain.split_first_chunk::<32>().ok_or_else(broken)?;
            let (index, secret) = rest.split_first().ok_or_else(broken)?;
            let secret: &[u8; 32] = secret.try_into().map_err(|_| broken())?;
            if *hash != header_hash(&self.header) || *index != part.index {
                return Err(broken());
            }
            let secret = SecretBytes::take(&mut Zeroizing::new(*secret));
            backup::check_part(&self.header, part.index, &secret)?;
            opened.insert(part.index, secret);
        }
        Ok(opened)
    }

    /// Writes the file into `folder` and waits until it is on the disk. A file of that name with
    /// the same bytes is left alone; with other bytes it is replaced as a whole.
    ///
    /// # Errors
    /// When the file cannot be written and synced.
    pub fn write_durably(&self, folder: &Path) -> Result<PathBuf, BackupError> {
        let path = folder.join(self.name());
        let what = format!("write backup `{}`", path.display());
        let failed = |source| BackupError::Io {
            what: what.clone(),
            source,
        };
        std::fs::create_dir_all(folder).map_err(failed)?;
        let partial = path.with_extension("partial");
        let mut file = std::fs::File::create(&partial).map_err(failed)?;
        file.write_all(&self.to_bytes()).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        std::fs::rename(&partial, &path).map_err(failed)?;
        let folder = std::fs::File::open(folder).map_err(failed)?;
        folder.sync_all().map_err(failed)?;
        Ok(path)
    }

    /// Reads the file at `path`.
    ///
    /// # Errors
    /// When it cannot be read or is not a backup.
    pub fn read(path: &Path) -> Result<Self, BackupError> {
        let bytes = std::fs::read(path).map_err(|source| BackupError::Io {
            what: format!("read backup `{}`", path.display()),
            source,
        })?;
        Self::from_bytes(&bytes)
    }
}

#[cfg(test)]
mod tests;
