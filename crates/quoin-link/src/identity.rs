//! The TLS key of one endpoint, and the hash of a public key that others pin.

use crate::error::LinkError;
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::ParsedCertificate;
use sha2::{Digest, Sha256};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use zeroize::Zeroizing;

/// A key file holds one Ed25519 key, about 120 bytes; anything longer is another file.
const KEY_FILE_BYTES_MAX: u64 = 4096;

/// The SHA-256 of a certificate's `SubjectPublicKeyInfo`: what a charter pins.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpkiHash(pub [u8; 32]);

impl SpkiHash {
    /// The hash of the key inside a DER certificate.
    pub(crate) fn of_certificate(certificate: &CertificateDer<'_>) -> Result<Self, rustls::Error> {
        let parsed = ParsedCertificate::try_from(certificate)?;
        Ok(Self(
            Sha256::digest(parsed.subject_public_key_info().as_ref()).into(),
        ))
    }
}

impl std::fmt::Display for SpkiHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl std::fmt::Debug for SpkiHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SpkiHash({self})")
    }
}

/// The TLS key of an endpoint: Ed25519, with a self-signed certificate made anew at each start.
///
/// # Security
/// The private key leaves only through [`TlsIdentity::to_pkcs8`] and [`TlsIdentity::save`].
pub struct TlsIdentity {
    pkcs8: Zeroizing<Vec<u8>>,
    certificate: CertificateDer<'static>,
    spki_hash: SpkiHash,
}

impl TlsIdentity {
    /// Makes a fresh key from the system's entropy.
    ///
    /// # Errors
    /// When the system has no entropy.
    pub fn generate() -> Result<Self, LinkError> {
        let pair = KeyPair::generate_for(&PKCS_ED25519).map_err(malformed)?;
        Self::from_pair(&pair)
    }

    /// Rebuilds the identity from what [`TlsIdentity::to_pkcs8`] gave, usually out of a seal.
    ///
    /// # Errors
    /// When the bytes are not an Ed25519 key in PKCS #8 form.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, LinkError> {
        let der = PrivatePkcs8KeyDer::from(der);
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ED25519).map_err(malformed)?;
        Self::from_pair(&pair)
    }

    /// The private key, for a sealer.
    #[must_use]
    pub fn to_pkcs8(&self) -> Zeroizing<Vec<u8>> {
        self.pkcs8.clone()
    }

    /// Writes the key as PEM into a new file that only its owner may read.
    ///
    /// # Errors
    /// When the file exists or cannot be written and synced.
    pub fn save(&self, path: &Path) -> Result<(), LinkError> {
        let der = PrivatePkcs8KeyDer::from(self.pkcs8.as_slice());
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ED25519).map_err(malformed)?;
        let pem = Zeroizing::new(pair.serialize_pem());
        let name = path.display();
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(LinkError::io(format!("create key file `{name}`")))?;
        file.write_all(pem.as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(LinkError::io(format!("write key file `{name}`")))
    }

    /// Reads a key that [`TlsIdentity::save`] wrote.
    ///
    /// # Errors
    /// When the file is missing, open to others, or not such a key.
    pub fn load(path: &Path) -> Result<Self, LinkError> {
        let name = path.display().to_string();
        let file =
            std::fs::File::open(path).map_err(LinkError::io(format!("open key file `{name}`")))?;
        let mode = file
            .metadata()
            .map_err(LinkError::io(format!("read key file `{name}`")))?
            .mode();
        if mode & 0o077 != 0 {
            return Err(LinkError::KeyFileOpenToOthers(name, mode & 0o777));
        }
        let mut pem = Zeroizing::new(String::with_capacity(256));
        file.take(KEY_FILE_BYTES_MAX)
            .read_to_string(&mut pem)
            .map_err(LinkError::io(format!("read key file `{name}`")))?;
        let pair = KeyPair::from_pkcs8_pem_and_sign_algo(&pem, &PKCS_ED25519).map_err(malformed)?;
        Self::from_pair(&pair)
    }

    /// What the other side pins.
    #[must_use]
    pub fn spki_hash(&self) -> SpkiHash {
        self.spki_hash
    }

    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        self.certificate.clone()
    }

    pub(crate) fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.pkcs8.to_vec()))
    }

    fn from_pair(pair: &KeyPair) -> Result<Self, LinkError> {
        // The name has no meaning: verification looks at the key alone.
        let params = CertificateParams::new(vec!["quoin".to_owned()]).map_err(malformed)?;
        let certificate = params.self_signed(pair).map_err(malformed)?.der().clone();
        let spki_hash = SpkiHash::of_certificate(&certificate)?;
        Ok(Self {
            pkcs8: Zeroizing::new(pair.serialize_der()),
            certificate,
            spki_hash,
        })
    }
}

impl std::fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TlsIdentity({}, <redacted>)", self.spki_hash)
    }
}

fn malformed(error: rcgen::Error) -> LinkError {
    LinkError::MalformedKey(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_saved_identity_loads_with_the_same_pin() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tls.pem");
        let identity = TlsIdentity::generate().unwrap();
        identity.save(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(
            TlsIdentity::load(&path).unwrap().spki_hash(),
            identity.spki_hash()
        );
        let again = TlsIdentity::from_pkcs8(&identity.to_pkcs8()).unwrap();
        assert_eq!(again.spki_hash(), identity.spki_hash());
        assert!(
            identity.save(&path).is_err(),
            "an existing key is never overwritten"
        );
    }

    #[test]
    fn load_refuses_a_key_file_that_others_may_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tls.pem");
        TlsIdentity::generate().unwrap().save(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(
            TlsIdentity::load(&path),
            Err(LinkError::KeyFileOpenToOthers(_, 0o640))
        ));
    }

    #[test]
    fn malformed_keys_are_refused() {
        assert!(TlsIdentity::from_pkcs8(b"not a key").is_err());
        assert!(TlsIdentity::from_pkcs8(&[]).is_err());
    }

    #[test]
    fn debug_shows_the_pin_and_no_key() {
        let identity = TlsIdentity::generate().unwrap();
        let text = format!("{identity:?}");
        assert_eq!(
            text,
            format!("TlsIdentity({}, <redacted>)", identity.spki_hash())
        );
    }
}
