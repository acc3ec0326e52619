//! Child keys of a threshold key: what is added to the key for an account, from public data alone.
//!
//! A child is `P + tau G`, so a share needs no change: signers add `tau` when they sign, and each
//! computes it for itself from the path that the caller stamped (construction, section 10.1; section
//! 15, row 29). A tweak that came with a request could be chosen; one that is derived cannot.
//!
//! * **secp256k1**: BIP-32 `CKDpub`, non-hardened. The addresses are those that any wallet shows for
//!   the key's xpub. For Taproot the child is the internal key of BIP-86; BIP-341's own tweak comes
//!   on top, in one place ([`crate::schnorr::taproot_output_key`]).
//! * **Ed25519**: a scheme of our own, because SLIP-10 has only hardened children on this curve: it
//!   hashes the seed, which a threshold key does not have. Per level, with `TH` the project's tagged
//!   hash under `quoin/derive/v1/ed25519` and `C` the chain code:
//!   ```text
//!   h(role) = TH(role (1 byte), C (32), P (32), index (4, big-endian))
//!   tau     = (h(0) || h(1)), 64 bytes little-endian, mod L        P' = P + tau B
//!   C'      = h(2)
//!   ```
//!   It is what BIP-32 does, over another group: the chain code is public, and `tau` is uniform
//!   modulo L given a random oracle. It is *not* Cardano's BIP32-Ed25519, which keeps clamped bits
//!   in private keys that shares do not have.
//!
//! What follows from additive children, and is not prevented here: a child's private key with its
//! tweak is the parent's, so no child of a threshold key is ever exported (section 21, item 14); and
//! whoever knows the xpub sees that all the children are one owner's.
//!
//! Sources: BIP-32, BIP-86, BIP-341; SLIP-10 for what it leaves out.

use crate::dkg::{Ed25519, Group, Secp256k1};
use crate::schnorr::taproot_output_key;
use crate::share::KeyPublic;
use hmac::{Hmac, Mac};
use quoin_core::hash::tagged;
use quoin_core::path::DerivationPath;
use quoin_core::{Scheme, tags};
use ripemd::Ripemd160;
use sha2::{Digest, Sha256, Sha512};

/// BIP-32's version bytes of a public key on Bitcoin's main network: `xpub` in base58.
const XPUB_VERSION: [u8; 4] = [0x04, 0x88, 0xb2, 0x1e];

/// Why a key has no child at a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeriveFault {
    /// The public key is not a point of its scheme's group.
    #[error("public key is not a point of its scheme's group")]
    BadKey,
    /// BIP-32 leaves this index out: its hash is not below the group's order, or the child is the
    /// identity. One chance in 2^127; take the next index.
    #[error("there is no child `{index}` at level `{level}` of the path; take the next index")]
    NoSuchChild {
        /// The level in the path, from 1.
        level: usize,
        /// The index there.
        index: u32,
    },
    /// The simulator's scheme exists nowhere else.
    #[error("the model scheme exists only in the simulator")]
    Model,
}

/// A child of a key, or the key itself at the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildKey {
    /// The key's scheme.
    pub scheme: Scheme,
    /// What is added to the key, as a scalar in the curve's own byte order (big-endian for
    /// secp256k1, little-endian for Ed25519): the sum of all levels; zero at the root. Public.
    pub tweak: [u8; 32],
    /// The child's public key, in the form of the key's record. For Taproot this is the internal
    /// key with its true parity.
    pub public_key: Vec<u8>,
    /// The chain code for the child's own children.
    pub chain_code: [u8; 32],
    /// Where it stands in its tree, which an xpub says besides.
    pub place: Place,
}

/// Where a key stands, as BIP-32 serialises it. A threshold key has the default: depth 0, since
/// nothing stands above it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// How many levels it is below the top.
    pub depth: u8,
    /// The fingerprint of its parent; zero at the top.
    pub parent: [u8; 4],
    /// Its index below its parent; zero at the top.
    pub index: u32,
}

/// The child of `public` at `path`; the key itself for the root.
///
/// # Errors
/// When the key does not decode, or has no child at an index of the path.
pub fn derive(public: &KeyPublic, path: &DerivationPath) -> Result<ChildKey, DeriveFault> {
    derive_from(public.scheme, &public.public_key, public.chain_code, path)
}

/// The same for a public key and chain code that are not in a record.
///
/// # Errors
/// As [`derive()`].
pub fn derive_from(
    scheme: Scheme,
    public_key: &[u8],
    chain_code: [u8; 32],
    path: &DerivationPath,
) -> Result<ChildKey, DeriveFault> {
    let root = ChildKey {
        scheme,
        tweak: [0; 32],
        public_key: public_key.to_vec(),
        chain_code,
        place: Place::default(),
    };
    root.child(path)
}

/// What one level adds, and the next chain code; `None` when the index is left out.
type Level<G> =
    fn(parent: &[u8], chain_code: &[u8; 32], index: u32) -> Option<(Scalar<G>, [u8; 32])>;
type Scalar<G> = <G as Group>::Scalar;

fn descend<G: Group>(
    mut child: ChildKey,
    path: &DerivationPath,
    level: Level<G>,
) -> Result<ChildKey, DeriveFault> {
    let mut point = G::decode_point(&child.public_key).ok_or(DeriveFault::BadKey)?;
    let mut sum = G::decode_scalar(&child.tweak).ok_or(DeriveFault::BadKey)?;
    for (i, index) in path.indices().iter().copied().enumerate() {
        let none = DeriveFault::NoSuchChild {
            level: i + 1,
            index,
        };
        let Some((tweak, chain_code)) = level(&child.public_key, &child.chain_code, index) else {
            return Err(none);
        };
        point = add::<G>(point, &tweak).ok_or(none)?;
        sum = sum + tweak;
        child.place = Place {
            depth: child.place.depth.saturating_add(1),
            parent: fingerprint(&child.public_key),
            index,
        };
        child.public_key = G::encode_point(&point);
        child.chain_code = chain_code;
    }
    child.tweak = *G::encode_scalar(&sum);
    Ok(child)
}

/// `point + tweak G`, unless that is the identity.
fn add<G: Group>(point: G::Point, tweak: &G::Scalar) -> Option<G::Point> {
    let sum = point + G::generate(tweak);
    (sum != G::identity()).then_some(sum)
}

/// BIP-32, `CKDpub`: I = HMAC-SHA512(Key = c_par, Data = serP(K_par) || ser32(i)).
fn bip32_level(
    parent: &[u8],
    chain_code: &[u8; 32],
    index: u32,
) -> Option<(Scalar<Secp256k1>, [u8; 32])> {
    let mut hmac = Hmac::<Sha512>::new_from_slice(chain_code).ok()?;
    hmac.update(parent);
    hmac.update(&index.to_be_bytes());
    bip32_halves(&hmac.finalize().into_bytes().into())
}

/// BIP-32: the left half of I is added to the parent as a number, the right half is the child's
/// chain code. "In case parse256(IL) >= n [...], the resulting key is invalid".
fn bip32_halves(hash: &[u8; 64]) -> Option<(Scalar<Secp256k1>, [u8; 32])> {
    let (left, right) = hash.split_at_checked(32)?;
    let tweak = Secp256k1::decode_scalar(left.try_into().ok()?)?;
    Some((tweak, right.try_into().ok()?))
}

/// Our own rule for Ed25519 (and for the simulator's group); see the top of this file. There is no index without a child but the
/// one whose child is the identity.
fn hashed_level<G: Group>(
    parent: &[u8],
    chain_code: &[u8; 32],
    index: u32,
) -> Option<(Scalar<G>, [u8; 32])> {
    let hash = |role: u8| {
        let parts: [&[u8]; 4] = [&[role], chain_code, parent, &index.to_be_bytes()];
        tagged(tags::DERIVE_ED25519, &parts)
    };
    let wide: [u8; 64] = [hash(0), hash(1)].concat().try_into().ok()?;
    Some((G::reduce_wide(&wide), hash(2)))
}

/// BIP-32's fingerprint of a key: the first 4 bytes of RIPEMD-160 of SHA-256 of the public key.
#[must_use]
pub fn fingerprint(public_key: &[u8]) -> [u8; 4] {
    let hash: [u8; 20] = Ripemd160::digest(Sha256::digest(public_key)).into();
    let [a, b, c, d, ..] = hash;
    [a, b, c, d]
}

impl ChildKey {
    /// The child of this key at `path`; this key itself for the root.
    ///
    /// # Errors
    /// As [`derive()`].
    pub fn child(self, path: &DerivationPath) -> Result<Self, DeriveFault> {
        match self.scheme {
            // The common case costs nothing: an account that is the key itself.
            _ if path.is_root() => Ok(self),
            Scheme::Ecdsa | Scheme::Taproot => descend::<Secp256k1>(self, path, bip32_level),
            Scheme::Ed25519 => descend::<Ed25519>(self, path, hashed_level::<Ed25519>),
            #[cfg(any(test, feature = "model"))]
            Scheme::Model => {
                descend::<crate::dkg::Model>(self, path, hashed_level::<crate::dkg::Model>)
            }
            #[cfg(not(any(test, feature = "model")))]
            Scheme::Model => Err(DeriveFault::Model),
        }
    }

    /// The key that addresses encode and verifiers see: BIP-341's output key for Taproot, the
    /// public key itself for the other schemes.
    ///
    /// # Errors
    /// When the public key is not a point.
    pub fn shown_key(&self) -> Result<Vec<u8>, DeriveFault> {
        if self.scheme != Scheme::Taproot {
            return Ok(self.public_key.clone());
        }
        let compressed = self.public_key.as_slice().try_into();
        let compressed = compressed.map_err(|_| DeriveFault::BadKey)?;
        let output = taproot_output_key(compressed).map_err(|_| DeriveFault::BadKey)?;
        Ok(output.to_vec())
    }

    /// The child as BIP-32 writes it for wallets, in base58; `None` for schemes that are not on
    /// secp256k1. The threshold key itself has depth 0, since nothing stands above it.
    #[must_use]
    pub fn xpub(&self) -> Option<String> {
        let on_secp256k1 = matches!(self.scheme, Scheme::Ecdsa | Scheme::Taproot);
        if !on_secp256k1 || Secp256k1::decode_point(&self.public_key).is_none() {
            return None;
        }
        let parts: [&[u8]; 6] = [
            &XPUB_VERSION,
            &[self.place.depth],
            &self.place.parent,
            &self.place.index.to_be_bytes(),
            &self.chain_code,
            &self.public_key,
        ];
        Some(bs58::encode(parts.concat()).with_check().into_string())
    }
}

#[cfg(test)]
mod signing;
#[cfg(test)]
mod tests;
