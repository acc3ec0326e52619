//! The two ciphersuites behind one trait: what differs between Ed25519 and Taproot, and no more.
//!
//! Points are decoded here and nowhere else, strictly: the canonical encoding, of prime order, not
//! the identity. The `frost-*` crates alone would admit a second spelling of a secp256k1 point
//! (SEC1's compact form also has 33 bytes), so each decoded point is encoded again and compared.

use super::nonce::{Material, Nonce};
use super::taproot::output_key;
use crate::presign::SignFault;
use frost_core::keys::{KeyPackage, PublicKeyPackage, SigningShare, VerifyingShare};
use frost_core::round1::{NonceCommitment, SigningCommitments};
use frost_core::{Ciphersuite, Element, Field, Group, Identifier, Scalar, VerifyingKey};
use frost_ed25519::Ed25519Sha512;
use frost_secp256k1_tr::Secp256K1Sha256TR;
use frost_secp256k1_tr::keys::Tweak as _;
use quoin_core::{NodeIndex, Scheme, SignerSet};
use zeroize::{Zeroize, Zeroizing};

/// The length of an encoded scalar in both suites.
pub(super) const SCALAR_BYTES: usize = 32;

/// A ciphersuite as Quoin uses it.
pub(super) trait Suite: Ciphersuite {
    /// The scheme of keys that it serves.
    const SCHEME: Scheme;
    /// The length of an encoded point.
    const POINT_BYTES: usize;

    /// Checks that a message has the form that the scheme signs.
    fn check_message(message: &[u8]) -> Result<(), SignFault>;

    /// The key package that signs: tweaked to the output key for Taproot.
    fn signing(package: KeyPackage<Self>) -> KeyPackage<Self>;

    /// The public package that verifies: tweaked to the output key for Taproot.
    fn verifying(package: PublicKeyPackage<Self>) -> PublicKeyPackage<Self>;

    /// Whether a library that took no part in making the signature accepts it.
    fn accepts(public_key: &[u8], message: &[u8], signature: &[u8; 64]) -> bool;

    /// Puts a nonce into the common type.
    fn wrap(nonce: Nonce<Self>) -> Material;

    /// Overwrites an encoded scalar: the library's type does not do it itself.
    fn wipe(encoding: &mut Encoding<Self>);
}

/// An encoded scalar of a suite's field.
type Encoding<C> = <<<C as Ciphersuite>::Group as Group>::Field as Field>::Serialization;

impl Suite for Ed25519Sha512 {
    const SCHEME: Scheme = Scheme::Ed25519;
    const POINT_BYTES: usize = 32;

    fn check_message(_: &[u8]) -> Result<(), SignFault> {
        Ok(())
    }

    fn signing(package: KeyPackage<Self>) -> KeyPackage<Self> {
        package
    }

    fn verifying(package: PublicKeyPackage<Self>) -> PublicKeyPackage<Self> {
        package
    }

    fn accepts(public_key: &[u8], message: &[u8], signature: &[u8; 64]) -> bool {
        let Ok(key) = ed25519_dalek::VerifyingKey::try_from(public_key) else {
            return false;
        };
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        key.verify_strict(message, &signature).is_ok()
    }

    fn wrap(nonce: Nonce<Self>) -> Material {
        Material::Ed25519(nonce)
    }

    fn wipe(encoding: &mut Encoding<Self>) {
        encoding.zeroize();
    }
}

impl Suite for Secp256K1Sha256TR {
    const SCHEME: Scheme = Scheme::Taproot;
    const POINT_BYTES: usize = 33;

    fn check_message(message: &[u8]) -> Result<(), SignFault> {
        let digest: &[u8; 32] = message
            .try_into()
            .map_err(|_| SignFault::WrongMessageLength(message.len()))?;
        if digest == &[0; 32] {
            return Err(SignFault::ZeroDigest);
        }
        Ok(())
    }

    fn signing(package: KeyPackage<Self>) -> KeyPackage<Self> {
        package.tweak(None::<&[u8]>)
    }

    fn verifying(package: PublicKeyPackage<Self>) -> PublicKeyPackage<Self> {
        package.tweak(None::<&[u8]>)
    }

    fn accepts(public_key: &[u8], message: &[u8], signature: &[u8; 64]) -> bool {
        let Ok(output) = output_key(public_key) else {
            return false;
        };
        let Ok(output) = secp256k1::XOnlyPublicKey::from_byte_array(output) else {
            return false;
        };
        let signature = secp256k1::schnorr::Signature::from_byte_array(*signature);
        secp256k1::Secp256k1::verification_only()
            .verify_schnorr(&signature, message, &output)
            .is_ok()
    }

    fn wrap(nonce: Nonce<Self>) -> Material {
        Material::Taproot(nonce)
    }

    fn wipe(encoding: &mut Encoding<Self>) {
        encoding.zeroize();
    }
}

/// The scalar that leads from a key to the key of an account derived from it.
///
/// For Taproot the sum is the child's *internal* key with its true parity; BIP-341's own tweak, and
/// with it every question of parity, comes after and only in [`Suite::signing`] and
/// [`Suite::verifying`].
pub(super) struct Tweak<C: Suite>(Option<Scalar<C>>);

impl<C: Suite> Tweak<C> {
    /// Reads a canonical scalar in the curve's own encoding; zero is the key itself.
    pub(super) fn read(bytes: &[u8; 32]) -> Option<Self> {
        if *bytes == [0; 32] {
            return Some(Self(None));
        }
        scalar::<C>(bytes).map(|scalar| Self(Some(scalar)))
    }

    /// `P + tau G` in its encoding; `None` for the identity.
    pub(super) fn public_key(&self, key: &[u8]) -> Option<Vec<u8>> {
        let Some(tau) = self.0 else {
            return Some(key.to_vec());
        };
        let child = point::<C>(key)? + <C::Group as Group>::generator() * tau;
        let encoded = <C::Group as Group>::serialize(&child).ok()?;
        Some(encoded.as_ref().to_vec())
    }

    /// The share, the public share and the key, all moved by the tweak.
    pub(super) fn key_package(&self, root: KeyPackage<C>) -> Option<KeyPackage<C>> {
        type F<C> = <<C as Ciphersuite>::Group as Group>::Field;
        let Some(tau) = self.0 else {
            return Some(root);
        };
        let secret = Zeroizing::new(root.signing_share().serialize());
        let mut encoded = F::<C>::serialize(&(secret_scalar::<C>(&secret)? + tau));
        let moved = SigningShare::deserialize(encoded.as_ref());
        C::wipe(&mut encoded);
        let share = root.verifying_share().serialize().ok()?;
        let key = root.verifying_key().serialize().ok()?;
        Some(KeyPackage::new(
            *root.identifier(),
            moved.ok()?,
            verifying_share(&self.public_key(&share)?)?,
            verifying_key(&self.public_key(&key)?)?,
            *root.min_signers(),
        ))
    }
}

/// Reads a canonical scalar.
fn scalar<C: Ciphersuite>(bytes: &[u8]) -> Option<Scalar<C>> {
    type F<C> = <<C as Ciphersuite>::Group as Group>::Field;
    let encoding = <F<C> as Field>::Serialization::try_from(bytes).ok()?;
    F::<C>::deserialize(&encoding).ok()
}

/// Reads a canonical scalar that is secret, and leaves no encoding behind.
fn secret_scalar<C: Suite>(bytes: &[u8]) -> Option<Scalar<C>> {
    type F<C> = <<C as Ciphersuite>::Group as Group>::Field;
    let mut encoding = Encoding::<C>::try_from(bytes).ok()?;
    let read = F::<C>::deserialize(&encoding).ok();
    C::wipe(&mut encoding);
    read
}

/// The FROST identifier of a node: its index as a scalar.
pub(super) fn identifier<C: Suite>(node: NodeIndex) -> Option<Identifier<C>> {
    Identifier::try_from(u16::from(node.get())).ok()
}

/// Reads a point strictly.
pub(super) fn point<C: Suite>(bytes: &[u8]) -> Option<Element<C>> {
    let encoding = <C::Group as Group>::Serialization::try_from(bytes).ok()?;
    let element = <C::Group as Group>::deserialize(&encoding).ok()?;
    let again = <C::Group as Group>::serialize(&element).ok()?;
    (again.as_ref() == bytes).then_some(element)
}

/// Reads a nonce's two commitments, hiding then binding, strictly.
pub(super) fn commitments<C: Suite>(bytes: &[u8]) -> Option<SigningCommitments<C>> {
    let (hiding, binding) = bytes.split_at_checked(C::POINT_BYTES)?;
    Some(SigningCommitments::new(
        commitment::<C>(hiding)?,
        commitment::<C>(binding)?,
    ))
}

fn commitment<C: Suite>(bytes: &[u8]) -> Option<NonceCommitment<C>> {
    let read = NonceCommitment::<C>::deserialize(bytes).ok()?;
    (read.serialize().ok()?.as_slice() == bytes).then_some(read)
}

/// The canonical encoding of a nonce's commitments.
pub(super) fn encode_commitments<C: Suite>(pair: &SigningCommitments<C>) -> Option<Vec<u8>> {
    let mut bytes = pair.hiding().serialize().ok()?;
    bytes.extend(pair.binding().serialize().ok()?);
    Some(bytes)
}

/// Reads a key.
pub(super) fn verifying_key<C: Suite>(bytes: &[u8]) -> Option<VerifyingKey<C>> {
    let read = VerifyingKey::deserialize(bytes).ok()?;
    (read.serialize().ok()?.as_slice() == bytes).then_some(read)
}

/// Reads a public share.
pub(super) fn verifying_share<C: Suite>(bytes: &[u8]) -> Option<VerifyingShare<C>> {
    let read = VerifyingShare::deserialize(bytes).ok()?;
    (read.serialize().ok()?.as_slice() == bytes).then_some(read)
}

/// Whether the public shares of `set`, interpolated at zero, give the public key.
pub(super) fn adds_up<'a, C: Suite>(
    set: &SignerSet,
    public_key: &[u8],
    share_of: impl Fn(NodeIndex) -> Option<&'a [u8]>,
) -> bool {
    let sum = set
        .iter()
        .try_fold(<C::Group as Group>::identity(), |sum, node| {
            let share = point::<C>(share_of(node)?)?;
            Some(sum + share * lagrange::<C>(set, node)?)
        });
    let Some(key) = point::<C>(public_key) else {
        return false;
    };
    sum == Some(key)
}

/// The coefficient of `node` in the interpolation at zero over `set`.
fn lagrange<C: Suite>(set: &SignerSet, node: NodeIndex) -> Option<Scalar<C>> {
    type F<C> = <<C as Ciphersuite>::Group as Group>::Field;
    let own = small::<C>(node);
    set.others(node).try_fold(F::<C>::one(), |product, other| {
        let other = small::<C>(other);
        let inverse = F::<C>::invert(&(other - own)).ok()?;
        Some(product * other * inverse)
    })
}

/// A node's index as a scalar.
fn small<C: Suite>(node: NodeIndex) -> Scalar<C> {
    type F<C> = <<C as Ciphersuite>::Group as Group>::Field;
    (0..node.get()).fold(F::<C>::zero(), |sum, _| sum + F::<C>::one())
}
