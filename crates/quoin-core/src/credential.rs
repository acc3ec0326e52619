//! Credentials: the keys with which principals, nodes and gateways sign statements.
//!
//! These are ordinary single keys, not threshold keys. Ed25519 verification is strict (RFC 8032
//! with small-order and non-canonical points refused); P-256 is ECDSA over SHA-256 with low s. A
//! passkey is a P-256 key too, but one that never signs our bytes: see [`crate::webauthn`].

use crate::error::Rejection;
use crate::ids::CredentialId;
use crate::secret::SecretBytes;
use crate::webauthn::Passkey;
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
    /// A passkey: P-256 in an authenticator, bound to a relying party.
    #[n(2)]
    Passkey(#[n(0)] Passkey),
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

    /// The bare public key: whoever holds its secret holds every credential that is made of it,
    /// whatever its kind or relying party. For P-256 the sign of y is left out, because who can
    /// sign for a point can sign for its negative.
    #[must_use]
    pub fn key_bytes(&self) -> &[u8] {
        match self {
            Self::Ed25519(key) => key,
            Self::P256(key) => key.split_at(1).1,
            Self::Passkey(passkey) => passkey.key().split_at(1).1,
        }
    }

    /// The COSE algorithm number: -8 for Ed25519, -7 for P-256 and passkeys.
    #[must_use]
    pub const fn cose_algorithm(&self) -> i8 {
        match self {
            Self::Ed25519(_) => -8,
            Self::P256(_) | Self::Passkey(_) => -7,
        }
    }

    /// Whether these bytes are a key that somebody can hold: a point on its curve, in its one spelling,
    /// and not of small order. Nothing that another credential says verifies, and nobody can sign for
    /// it.
    #[must_use]
    pub fn is_key(&self) -> bool {
        match self {
            // Whatever is not the one spelling of its point is refused by strict verification.
            Self::Ed25519(bytes) => {
                ed25519_dalek::VerifyingKey::from_bytes(bytes).is_ok_and(|key| !key.is_weak())
            }
            Self::P256(bytes) => read_p256(bytes).is_some(),
            Self::Passkey(passkey) => read_p256(passkey.key()).is_some(),
        }
    }

    /// Whether `signature` is this credential's over `message`. Never so for a passkey, which signs
    /// [assertions](crate::webauthn::Assertion) and nothing else.
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
            Self::Passkey(_) => false,
        }
    }
}

impl std::fmt::Display for PublicCredential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ed25519(bytes) => write!(f, "ed25519:{}", hex::encode(bytes)),
            Self::P256(bytes) => write!(f, "p256:{}", hex::encode(bytes)),
            Self::Passkey(passkey) => {
                let key = hex::encode(passkey.key());
                write!(f, "passkey:{key}@{}", passkey.rp_id())
            }
        }
    }
}

impl std::str::FromStr for PublicCredential {
    type Err = Rejection;

    /// Reads `ed25519:<64 hex digits>`, `p256:<66 hex digits>` or
    /// `passkey:<66 hex digits>@<relying party id>`, lower case.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || {
            Rejection::caller(
                "credential",
                "expected `ed25519:`, `p256:` or `passkey:`, the public key in lower-case hex, and \
                 for a passkey `@` and its relying party id",
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
            "passkey" => {
                let (digits, rp_id) = digits.split_once('@').ok_or_else(bad)?;
                let mut bytes = [0u8; 33];
                hex::decode_to_slice(digits, &mut bytes).map_err(|_| bad())?;
                Ok(Self::Passkey(Passkey::new(bytes, rp_id.parse()?)?))
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

pub(crate) fn verify_p256(key: &[u8; 33], message: &[u8], signature: &CredentialSignature) -> bool {
    use p256::ecdsa::signature::Verifier;
    let (Some(key), Ok(signature)) = (
        read_p256(key),
        p256::ecdsa::Signature::from_slice(signature),
    ) else {
        return false;
    };
    // One signature has one spelling here: a high s is refused.
    signature.normalize_s().is_none() && key.verify(message, &signature).is_ok()
}

/// A compressed point. The library also reads the "compact" tag 5, a second spelling of a key.
pub(crate) fn read_p256(key: &[u8; 33]) -> Option<p256::ecdsa::VerifyingKey> {
    match key {
        [2 | 3, ..] => p256::ecdsa::VerifyingKey::from_sec1_bytes(key).ok(),
        _ => None,
    }
}

/// A key at hand that signs statements: in memory, in a hardware module, behind an agent.
pub trait Signs {
    /// The public half.
    fn public(&self) -> PublicCredential;

    /// The signature over `message` that [`PublicCredential::verifies`] accepts.
    fn sign(&self, message: &[u8]) -> CredentialSignature;
}

impl Signs for SigningIdentity {
    fn public(&self) -> PublicCredential {
        self.public()
    }

    fn sign(&self, message: &[u8]) -> CredentialSignature {
        self.sign(message)
    }
}

impl<S: Signs + ?Sized> Signs for &S {
    fn public(&self) -> PublicCredential {
        (**self).public()
    }

    fn sign(&self, message: &[u8]) -> CredentialSignature {
        (**self).sign(message)
    }
}

impl<S: Signs + ?Sized> Signs for std::sync::Arc<S> {
    fn public(&self) -> PublicCredential {
        (**self).public()
    }

    fn sign(&self, message: &[u8]) -> CredentialSignature {
        (**self).sign(message)
    }
}

impl<S: Signs + ?Sized> Signs for Box<S> {
    fn public(&self) -> PublicCredential {
        (**self).public()
    }

    fn sign(&self, message: &[u8]) -> CredentialSignature {
        (**self).sign(message)
    }
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

/// A secret P-256 credential that can sign statements, for desks whose hardware speaks nothing
/// else.
pub struct P256Identity {
    // Zeroizes itself when it is dropped.
    key: Box<p256::ecdsa::SigningKey>,
}

impl P256Identity {
    /// Draws a fresh identity.
    #[must_use]
    pub fn generate(rng: &mut (impl rand_core::CryptoRngCore + ?Sized)) -> Self {
        let mut rng = rng;
        Self {
            key: Box::new(p256::ecdsa::SigningKey::random(&mut rng)),
        }
    }

    /// Builds the identity from its secret scalar, big-endian; `None` when that is zero or not
    /// below the order of the group.
    #[must_use]
    pub fn from_scalar(scalar: &SecretBytes<32>) -> Option<Self> {
        let key = p256::ecdsa::SigningKey::from_slice(scalar.expose()).ok()?;
        Some(Self { key: Box::new(key) })
    }

    /// The secret scalar, to be sealed.
    #[must_use]
    pub fn to_scalar(&self) -> SecretBytes<32> {
        SecretBytes::take(self.key.to_bytes().as_mut())
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicCredential {
        let mut bytes = [0u8; 33];
        let point = self.key.verifying_key().to_encoded_point(true);
        // A compressed point of P-256 has 33 bytes; the point at infinity is nobody's key.
        bytes
            .iter_mut()
            .zip(point.as_bytes())
            .for_each(|(to, from)| *to = *from);
        PublicCredential::P256(bytes)
    }

    /// The fingerprint of the public half.
    #[must_use]
    pub fn id(&self) -> CredentialId {
        self.public().id()
    }

    /// Signs `message` with the nonce of RFC 6979 and low s.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> CredentialSignature {
        use p256::ecdsa::signature::Signer;
        let signature: p256::ecdsa::Signature = self.key.sign(message);
        signature
            .normalize_s()
            .unwrap_or(signature)
            .to_bytes()
            .into()
    }
}

impl Signs for P256Identity {
    fn public(&self) -> PublicCredential {
        self.public()
    }

    fn sign(&self, message: &[u8]) -> CredentialSignature {
        self.sign(message)
    }
}

impl std::fmt::Debug for P256Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "P256Identity({}, <redacted>)", self.id())
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
            passkey(7, "approve.desk.example"),
        ] {
            let text = credential.to_string();
            assert_eq!(text.parse::<PublicCredential>(), Ok(credential));
            assert!(text.to_uppercase().parse::<PublicCredential>().is_err());
        }
        assert!("ed25519:ab".parse::<PublicCredential>().is_err());
        assert!("rsa:ab".parse::<PublicCredential>().is_err());
        let text = passkey(7, "desk.example").to_string();
        let (key, _) = text.split_once('@').unwrap();
        for bad in [
            key.to_owned(),
            format!("{key}@"),
            format!("{key}@desk"),
            format!("{key}@127.0.0.1"),
            format!("{key}@https://desk.example"),
            format!("{key}@desk.example."),
            format!("{key}@-desk.example"),
            format!("{key}@{}.example", "d".repeat(64)),
            format!("{key}@{}example", "desk.".repeat(50)),
            format!("{key}0@desk.example"),
            format!("passkey:02{}@desk.example", "ff".repeat(32)),
            format!(
                "{}@desk.example",
                key.replacen(":02", ":05", 1).replacen(":03", ":05", 1)
            ),
        ] {
            assert!(bad.parse::<PublicCredential>().is_err(), "{bad}");
        }
        assert!(
            format!("{key}@localhost")
                .parse::<PublicCredential>()
                .is_ok()
        );
    }

    fn p256(seed: u8) -> P256Identity {
        P256Identity::from_scalar(&SecretBytes::take(&mut [seed; 32])).unwrap()
    }

    fn passkey(seed: u8, rp_id: &str) -> PublicCredential {
        let PublicCredential::P256(key) = p256(seed).public() else {
            panic!("a P-256 key");
        };
        PublicCredential::Passkey(Passkey::new(key, rp_id.parse().unwrap()).unwrap())
    }

    #[test]
    fn p256_accepts_its_own_and_refuses_a_flipped_bit() {
        let identity = P256Identity::generate(&mut ChaCha20Rng::seed_from_u64(1));
        let again = P256Identity::from_scalar(&identity.to_scalar()).unwrap();
        assert_eq!(identity.public(), again.public());
        // Of 16 nonces some would give a high s.
        for message in 0..16u8 {
            let mut signature = identity.sign(&[message]);
            assert!(identity.public().verifies(&[message], &signature));
            assert!(!identity.public().verifies(b"other", &signature));
            signature[63] ^= 1;
            assert!(!identity.public().verifies(&[message], &signature));
        }
        assert!(P256Identity::from_scalar(&SecretBytes::take(&mut [0; 32])).is_none());
        assert!(P256Identity::from_scalar(&SecretBytes::take(&mut [0xff; 32])).is_none());
    }

    #[test]
    fn a_p256_key_has_one_spelling() {
        let signature = p256(7).sign(b"message");
        let PublicCredential::P256(mut key) = p256(7).public() else {
            panic!("a P-256 key");
        };
        key[0] = 5;
        assert!(p256::ecdsa::VerifyingKey::from_sec1_bytes(&key).is_ok());
        assert!(!PublicCredential::P256(key).verifies(b"message", &signature));
    }

    #[test]
    fn what_is_no_point_is_no_key() {
        assert!(
            SigningIdentity::generate(&mut ChaCha20Rng::seed_from_u64(1))
                .public()
                .is_key()
        );
        assert!(p256(7).public().is_key() && passkey(7, "desk.example").is_key());
        // No x of P-256 is over the field's order; of Ed25519, 2 is the y of no point.
        let mut over = [0xff; 33];
        over[0] = 2;
        let mut none = [0; 32];
        none[0] = 2;
        let mut compact = p256(7).public();
        if let PublicCredential::P256(bytes) = &mut compact {
            bytes[0] = 5;
        }
        // The neutral element, for which some signatures of anybody's verify where it is let in.
        let mut neutral = [0; 32];
        neutral[0] = 1;
        for dead in [
            PublicCredential::P256(over),
            PublicCredential::Ed25519(none),
            PublicCredential::Ed25519(neutral),
            PublicCredential::Ed25519([0; 32]),
            compact,
        ] {
            assert!(!dead.is_key(), "{dead}");
        }
    }

    #[test]
    fn a_passkey_signs_no_bare_message() {
        let signature = p256(7).sign(b"message");
        assert!(p256(7).public().verifies(b"message", &signature));
        assert!(!passkey(7, "desk.example").verifies(b"message", &signature));
    }

    #[test]
    fn credentials_of_one_key_are_seen_to_be() {
        let mut negative = p256(7).public();
        if let PublicCredential::P256(bytes) = &mut negative {
            bytes[0] ^= 1;
        }
        let of_one = [
            p256(7).public(),
            negative,
            passkey(7, "a.example"),
            passkey(7, "b.example"),
        ];
        for pair in of_one.windows(2) {
            assert_ne!(pair[0].id(), pair[1].id());
            assert_eq!(pair[0].key_bytes(), pair[1].key_bytes());
        }
        assert_ne!(p256(7).public().key_bytes(), p256(8).public().key_bytes());
    }

    #[test]
    fn debug_shows_no_secret() {
        let identity = SigningIdentity::from_seed(&SecretBytes::take(&mut [3; 32]));
        assert!(format!("{identity:?}").ends_with("<redacted>)"));
        assert!(format!("{:?}", p256(3)).ends_with("<redacted>)"));
    }
}
