//! Credentials: the keys with which principals, nodes and gateways sign statements.
//!
//! These are ordinary single keys, not threshold keys. Ed25519 verification is strict (RFC 8032
//! with small-order and non-canonical points refused); P-256 is ECDSA over SHA-256 with low s.

use crate::error::Rejection;
use crate::ids::CredentialId;
use crate::secret::SecretBytes;
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The public half of a credential.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum PublicCredential {
    /// Ed25519, 32 bytes.
    #[n(0)]
    Ed25519(#[cbor(n(0), with = "minicbor::bytes")] [u8; 32]),
    /// P-256, 33 bytes, compressed.
    #[n(1)]
    P256(#[cbor(n(0), with = "minicbor::bytes")] [u8; 33]),
}

/// A signature of a credential: 64 bytes for both algorithms.
pub type CredentialSignature = [u8; 64];

impl PublicCredential {
    /// The credential's fingerprint: the first 16 bytes of SHA-256 over its canonical encoding.
    #[must_use]
    pub fn id(&self) -> CredentialId {
        let digest: [u8; 32] = Sha256::digest(crate::cbor::encode(self)).into();
        let mut id = [0u8; 16];
        id.copy_from_slice(digest.split_at(16).0);
        CredentialId(id)
    }

    /// The COSE algorithm number: -8 for Ed25519, -7 for P-256.
    #[must_use]
    pub const fn cose_algorithm(&self) -> i8 {
        match self {
            Self::Ed25519(_) => -8,
            Self::P256(_) => -7,
        }
    }

    /// Whether `signature` is this credential's over `message`.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &CredentialSignature) -> bool {
        match self {
            Self::Ed25519(bytes) => {
                ed25519_dalek::VerifyingKey::from_bytes(bytes).is_ok_and(|key| {
                    let signature = ed25519_dalek::Signature::from_bytes(signature);
                    key.verify_strict(message, &signature).is_ok()
                })
            }
            Self::P256(bytes) => verify_p256(bytes, message, signature),
        }
    }
}

impl std::fmt::Display for PublicCredential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ed25519(bytes) => write!(f, "ed25519:{}", hex::encode(bytes)),
            Self::P256(bytes) => write!(f, "p256:{}", hex::encode(bytes)),
        }
    }
}

impl std::str::FromStr for PublicCredential {
    type Err = Rejection;

    /// Reads `ed25519:<64 hex digits>` or `p256:<66 hex digits>`, lower case.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || {
            Rejection::caller(
                "credential",
                "expected `ed25519:` or `p256:` and the public key in lower-case hex",
            )
        };
        let (algorithm, digits) = text.split_once(':').ok_or_else(bad)?;
        if digits.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(bad());
        }
        match algorithm {
            "ed25519" => {
                let mut bytes = [0u8; 32];
                hex::decode_to_slice(digits, &mut bytes).map_err(|_| bad())?;
                Ok(Self::Ed25519(bytes))
            }
            "p256" => {
                let mut bytes = [0u8; 33];
                hex::decode_to_slice(digits, &mut bytes).map_err(|_| bad())?;
                Ok(Self::P256(bytes))
            }
            _ => Err(bad()),
        }
    }
}

impl Serialize for PublicCredential {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicCredential {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

fn verify_p256(key: &[u8; 33], message: &[u8], signature: &CredentialSignature) -> bool {
    use p256::ecdsa::signature::Verifier;
    let (Ok(key), Ok(signature)) = (
        p256::ecdsa::VerifyingKey::from_sec1_bytes(key),
        p256::ecdsa::Signature::from_slice(signature),
    ) else {
        return false;
    };
    // One signature has one spelling here: a high s is refused.
    signature.normalize_s().is_none() && key.verify(message, &signature).is_ok()
}

/// A secret Ed25519 credential that can sign statements.
pub struct SigningIdentity {
    key: Box<ed25519_dalek::SigningKey>,
}

impl SigningIdentity {
    /// Draws a fresh identity.
    #[must_use]
    pub fn generate(rng: &mut (impl rand_core::CryptoRngCore + ?Sized)) -> Self {
        Self::from_seed(&SecretBytes::random(rng))
    }

    /// Builds the identity from its 32-byte seed.
    #[must_use]
    pub fn from_seed(seed: &SecretBytes<32>) -> Self {
        Self {
            key: Box::new(ed25519_dalek::SigningKey::from_bytes(seed.expose())),
        }
    }

    /// The seed, to be sealed.
    #[must_use]
    pub fn to_seed(&self) -> SecretBytes<32> {
        SecretBytes::take(&mut self.key.to_bytes())
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicCredential {
        PublicCredential::Ed25519(self.key.verifying_key().to_bytes())
    }

    /// The fingerprint of the public half.
    #[must_use]
    pub fn id(&self) -> CredentialId {
        self.public().id()
    }

    /// Signs `message`.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> CredentialSignature {
        use ed25519_dalek::Signer;
        self.key.sign(message).to_bytes()
    }
}

impl std::fmt::Debug for SigningIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningIdentity({}, <redacted>)", self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    #[test]
    fn ed25519_accepts_its_own_and_refuses_a_flipped_bit() {
        let identity = SigningIdentity::generate(&mut ChaCha20Rng::seed_from_u64(1));
        let mut signature = identity.sign(b"message");
        assert!(identity.public().verifies(b"message", &signature));
        assert!(!identity.public().verifies(b"messagf", &signature));
        signature[0] ^= 1;
        assert!(!identity.public().verifies(b"message", &signature));
    }

    #[test]
    fn p256_refuses_high_s() {
        use p256::ecdsa::{Signature, SigningKey, signature::Signer};
        let key = SigningKey::from_slice(&[7; 32]).unwrap();
        let signature: Signature = key.sign(b"message");
        let low = signature.normalize_s().unwrap_or(signature);
        let high = Signature::from_scalars(*low.r(), -*low.s()).unwrap();
        let point = key.verifying_key().to_encoded_point(true);
        let public = PublicCredential::P256(point.as_bytes().try_into().unwrap());
        assert!(public.verifies(b"message", &low.to_bytes().into()));
        assert!(!public.verifies(b"message", &high.to_bytes().into()));
    }

    #[test]
    fn public_credentials_read_back_what_they_print() {
        for credential in [
            PublicCredential::Ed25519([0xab; 32]),
            PublicCredential::P256([2; 33]),
        ] {
            let text = credential.to_string();
            assert_eq!(text.parse::<PublicCredential>(), Ok(credential));
            assert!(text.to_uppercase().parse::<PublicCredential>().is_err());
        }
        assert!("ed25519:ab".parse::<PublicCredential>().is_err());
        assert!("rsa:ab".parse::<PublicCredential>().is_err());
    }

    #[test]
    fn debug_shows_no_secret() {
        let identity = SigningIdentity::from_seed(&SecretBytes::take(&mut [3; 32]));
        assert!(format!("{identity:?}").ends_with("<redacted>)"));
    }
}
