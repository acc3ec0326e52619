//! A sealer whose master key is in a file: bare, for hosts with an encrypted disk, or under a
//! passphrase.

use super::envelope::{self, fill, fingerprint};
use super::passphrase::{self, KdfParams, PassphraseSource};
use super::{Fingerprint, SealError, Sealer};
use quoin_core::SecretBytes;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use zeroize::Zeroizing;

/// A bare key is 32 bytes and a header about 140; more is another file.
const FILE_BYTES_MAX: u64 = 1024;

const KEY_BYTES: usize = 32;

/// Seals under one master key, which it keeps in memory.
pub struct FileSealer {
    master: SecretBytes<KEY_BYTES>,
}

impl FileSealer {
    /// Makes a new master key and writes its 32 bytes to a new file that only its owner may read.
    ///
    /// # Errors
    /// When the file exists or cannot be written and synced.
    pub fn create_key_file(path: &Path) -> Result<Self, SealError> {
        let master = fresh_master()?;
        write_new(path, master.expose())?;
        Ok(Self { master })
    }

    /// Reads the master key that [`FileSealer::create_key_file`] wrote.
    ///
    /// # Errors
    /// When the file is missing, open to others, or not 32 bytes long.
    pub fn open_key_file(path: &Path) -> Result<Self, SealError> {
        let bytes = read_private(path)?;
        let key: Option<&[u8; KEY_BYTES]> = bytes.as_slice().try_into().ok();
        let key = key.ok_or_else(|| SealError::NotAMasterKey(path.display().to_string()))?;
        let mut key = Zeroizing::new(*key);
        Ok(Self {
            master: SecretBytes::take(&mut key),
        })
    }

    /// Makes a new master key and writes it to a new file, wrapped under a passphrase.
    ///
    /// # Errors
    /// When the passphrase cannot be read or is too short, or the file exists or cannot be written.
    pub fn create_with_passphrase(
        path: &Path,
        source: &PassphraseSource,
        params: KdfParams,
    ) -> Result<Self, SealError> {
        let passphrase = source.read()?;
        let master = fresh_master()?;
        let header = passphrase::wrap(&master, params, &passphrase)?;
        write_new(path, &header)?;
        Ok(Self { master })
    }

    /// Opens what [`FileSealer::create_with_passphrase`] wrote.
    ///
    /// # Errors
    /// When the passphrase is wrong, or the file is missing, damaged or open to others.
    pub fn open_with_passphrase(path: &Path, source: &PassphraseSource) -> Result<Self, SealError> {
        let header = read_private(path)?;
        let master = passphrase::unwrap(&path.display().to_string(), &header, source)?;
        Ok(Self { master })
    }
}

#[cfg(test)]
impl FileSealer {
    /// A sealer with this master key.
    pub(super) fn of_bytes(mut bytes: [u8; KEY_BYTES]) -> Self {
        let master = SecretBytes::take(&mut bytes);
        Self { master }
    }
}

impl Sealer for FileSealer {
    fn fingerprint(&self) -> Fingerprint {
        fingerprint(&self.master)
    }

    fn wrap(&self, place: &[u8; 32], data_key: &SecretBytes<32>) -> Result<Vec<u8>, SealError> {
        envelope::wrap_with(&self.master, place, data_key)
    }

    fn unwrap(
        &self,
        place: &[u8; 32],
        wrapped: &[u8],
    ) -> Result<Option<SecretBytes<32>>, SealError> {
        Ok(envelope::unwrap_with(&self.master, place, wrapped))
    }
}

impl std::fmt::Debug for FileSealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "FileSealer({}, <redacted>)",
            hex::encode(self.fingerprint())
        )
    }
}

fn fresh_master() -> Result<SecretBytes<KEY_BYTES>, SealError> {
    let mut key = Zeroizing::new([0u8; KEY_BYTES]);
    fill(key.as_mut_slice())?;
    Ok(SecretBytes::take(&mut key))
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<(), SealError> {
    let what = || format!("create master key file `{}`", path.display());
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(path).map_err(SealError::io(what()))?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    written.map_err(SealError::io(what()))?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    let folder = std::fs::File::open(folder.unwrap_or(Path::new(".")));
    let synced = folder.and_then(|folder| folder.sync_all());
    synced.map_err(SealError::io(what()))
}

fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let name = path.display().to_string();
    let what = || format!("read master key file `{name}`");
    let file = std::fs::File::open(path).map_err(SealError::io(what()))?;
    let mode = file.metadata().map_err(SealError::io(what()))?.mode();
    if mode & 0o077 != 0 {
        return Err(SealError::OpenToOthers(name, mode & 0o777));
    }
    // Room for everything at once, so that no half of it is left behind by a reallocation.
    let mut bytes = Zeroizing::new(Vec::with_capacity(2 * FILE_BYTES_MAX as usize));
    file.take(FILE_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(SealError::io(what()))?;
    Ok(bytes)
}
