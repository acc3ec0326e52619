//! A node's folder: its settings, its sealed identity, its TLS key, and the charters that it starts
//! from.

use super::{RunError, io};
use crate::seal::{FileSealer, PassphraseSource, SealError, Sealer};
use quoin_api::frame::Opaque;
use quoin_core::{Certificate, NodeIndex, PublicCredential, SecretBytes, SigningIdentity, cbor};
use quoin_link::TlsIdentity;
use quoin_policy::Charter;
use rand_core::OsRng;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Under which label the node's signing identity is sealed.
const IDENTITY_LABEL: &str = "identity";
/// The settings' file in a node's folder.
pub(super) const NODE_FILE: &str = "node.json";
const IDENTITY_FILE: &str = "identity.sealed";
const MASTER_KEY_FILE: &str = "master.key";
pub(super) const TLS_FILE: &str = "tls.pem";
/// The charters after the genesis that a node starts with, when it is new in a later one.
pub const CHARTERS_FILE: &str = "charters.cbor";
/// The journal's file in a node's folder.
pub const JOURNAL_FILE: &str = "journal.db";
/// The folder for backups in a node's folder.
pub const BACKUP_FOLDER: &str = "backups";
/// The longest file of charters: some hundred of the largest.
const CHARTERS_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What `node.json` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeFile {
    /// The node's index.
    pub index: NodeIndex,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where the other nodes listen. A charter carries no addresses, so this is the part that an
    /// operator edits when nodes come or move; it is read again while the node runs.
    pub peers: BTreeMap<NodeIndex, SocketAddr>,
    /// The genesis certificate; a relative path is relative to the node's folder.
    pub genesis: PathBuf,
    /// The file with the sealer's master key; `master.key` in the node's folder when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// The file with the passphrase that wraps the master key, when one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passphrase_file: Option<PathBuf>,
    /// The folder for backups of shares, best on another disk; `backups` in the node's folder when
    /// absent. It holds nothing that fewer than a quorum of officers can open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backups: Option<PathBuf>,
    /// Whether the node refuses to start where its memory may reach swap.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub require_locked_memory: bool,
}

/// The public half of a new node, for the genesis charter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePublic {
    /// With what the node signs statements.
    pub credential: PublicCredential,
    /// SHA-256 of the `SubjectPublicKeyInfo` of its TLS certificate.
    pub tls_key_hash: [u8; 32],
}

/// Creates a node's folder with its master key, sealed identity and TLS key.
///
/// # Errors
/// When the folder has an identity already, or a file cannot be written.
pub fn create_identity(dir: &Path) -> Result<NodePublic, RunError> {
    create_private_dir(dir)?;
    let sealer = FileSealer::create_key_file(&dir.join(MASTER_KEY_FILE))?;
    let identity = SigningIdentity::generate(&mut OsRng);
    let seed = identity.to_seed();
    let sealed = sealer.seal(IDENTITY_LABEL, b"", seed.expose())?;
    let path = dir.join(IDENTITY_FILE);
    std::fs::write(&path, sealed).map_err(io(format!("write `{}`", path.display())))?;
    let tls = TlsIdentity::generate()?;
    tls.save(&dir.join(TLS_FILE))?;
    Ok(NodePublic {
        credential: identity.public(),
        tls_key_hash: tls.spki_hash().0,
    })
}

/// The public half of the node in `dir`.
///
/// # Errors
/// When the folder is no node's.
pub fn public_of(dir: &Path) -> Result<NodePublic, RunError> {
    let identity = open_identity(dir, open_sealer(dir, None)?.as_ref())?;
    let tls = TlsIdentity::load(&dir.join(TLS_FILE))?;
    Ok(NodePublic {
        credential: identity.public(),
        tls_key_hash: tls.spki_hash().0,
    })
}

/// Signs a genesis charter as the node in `dir`.
///
/// # Errors
/// When the folder is no node's.
pub fn sign_genesis(dir: &Path, genesis: &mut Certificate<Charter>) -> Result<(), RunError> {
    let sealer = open_sealer(dir, None)?;
    genesis.endorse(&open_identity(dir, sealer.as_ref())?);
    Ok(())
}

/// Writes `node.json`.
///
/// # Errors
/// When the file cannot be written.
pub fn write_node_file(dir: &Path, file: &NodeFile) -> Result<(), RunError> {
    let path = dir.join(NODE_FILE);
    let malformed = |reason: String| RunError::Malformed {
        path: NODE_FILE.to_owned(),
        reason,
    };
    let text = serde_json::to_string_pretty(file).map_err(|e| malformed(e.to_string()))?;
    std::fs::write(&path, text).map_err(io(format!("write `{}`", path.display())))
}

/// Reads `node.json`.
///
/// # Errors
/// When the file cannot be read or is malformed.
pub fn read_node_file(dir: &Path) -> Result<NodeFile, RunError> {
    let path = dir.join(NODE_FILE);
    let text = std::fs::read_to_string(&path).map_err(io(format!(
        "read `{}` (is this a node's folder?)",
        path.display()
    )))?;
    serde_json::from_str(&text).map_err(|e| RunError::Malformed {
        path: path.display().to_string(),
        reason: e.to_string(),
    })
}

#[cfg(unix)]
fn create_private_dir(dir: &Path) -> Result<(), RunError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(io(format!("create folder `{}`", dir.display())))
}

#[cfg(not(unix))]
fn create_private_dir(dir: &Path) -> Result<(), RunError> {
    std::fs::create_dir_all(dir).map_err(io(format!("create folder `{}`", dir.display())))
}

pub(super) fn open_sealer(
    dir: &Path,
    file: Option<&NodeFile>,
) -> Result<Box<dyn Sealer>, RunError> {
    let key_file = file.and_then(|f| f.key_file.clone());
    let key_file = key_file.map_or_else(|| dir.join(MASTER_KEY_FILE), |path| dir.join(path));
    Ok(match file.and_then(|f| f.passphrase_file.clone()) {
        Some(path) => Box::new(FileSealer::open_with_passphrase(
            &key_file,
            &PassphraseSource::File(dir.join(path)),
        )?),
        None => Box::new(FileSealer::open_key_file(&key_file)?),
    })
}

pub(super) fn open_identity(dir: &Path, sealer: &dyn Sealer) -> Result<SigningIdentity, RunError> {
    let path = dir.join(IDENTITY_FILE);
    let sealed = std::fs::read(&path).map_err(io(format!("read `{}`", path.display())))?;
    let seed = sealer.open(IDENTITY_LABEL, b"", &sealed)?;
    Ok(SigningIdentity::from_seed(&secret_32(
        IDENTITY_LABEL,
        &seed,
    )?))
}

pub(super) fn secret_32(label: &str, bytes: &[u8]) -> Result<SecretBytes<32>, RunError> {
    let mut copy: [u8; 32] = bytes
        .try_into()
        .map_err(|_| SealError::Malformed(format!("`{label}` is not 32 bytes")))?;
    Ok(SecretBytes::take(&mut copy))
}

/// Reads a genesis certificate.
///
/// # Errors
/// When the file cannot be read or is malformed.
pub fn read_genesis(path: &Path) -> Result<Certificate<Charter>, RunError> {
    let bytes = std::fs::read(path).map_err(io(format!("read `{}`", path.display())))?;
    Certificate::from_bytes(&bytes).map_err(|e| RunError::Malformed {
        path: path.display().to_string(),
        reason: e.to_string(),
    })
}

/// Reads the charters after the genesis that were exported for a node which is new in a later one;
/// none when there is no such file. Nothing about them is verified here.
///
/// # Errors
/// When the file cannot be read or is malformed.
pub fn read_charters(path: &Path) -> Result<Vec<Certificate<Charter>>, RunError> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let malformed = |reason: String| RunError::Malformed {
        path: path.display().to_string(),
        reason,
    };
    let bytes = std::fs::read(path).map_err(io(format!("read `{}`", path.display())))?;
    let list: Vec<Opaque> =
        cbor::decode(&bytes, CHARTERS_BYTES_MAX).map_err(|e| malformed(e.to_string()))?;
    let read = |c: &Opaque| Certificate::from_bytes(&c.0).map_err(|e| malformed(e.to_string()));
    list.iter().map(read).collect()
}

/// The bytes of a file of charters, oldest first, as [`read_charters`] takes it.
#[must_use]
pub fn charters_to_bytes(charters: &[Certificate<Charter>]) -> Vec<u8> {
    let list: Vec<Opaque> = charters.iter().map(|c| Opaque(c.to_bytes())).collect();
    cbor::encode(&list)
}
