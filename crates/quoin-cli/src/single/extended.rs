//! Extended private keys: BIP-32 on secp256k1, and SLIP-10 on Ed25519.
//!
//! SLIP-10 is BIP-32 for more curves; on secp256k1 the two agree but for what follows.
//! `Differs:` where a hash is no valid scalar (one chance in 2^127), SLIP-10 hashes again and BIP-32
//! leaves the index out. BIP-32 wins here, since a wallet of either kind agrees with it otherwise.

use super::{FullPath, SingleFault, SingleKey, base58};
use ed25519_dalek::SigningKey;
use hmac::{Hmac, Mac};
use quoin_core::path::HARDENED_FROM;
use quoin_core::{Scheme, SecretBytes};
use quoin_protocol::derive::{ChildKey, Place, fingerprint};
use quoin_protocol::dkg::{Group, Secp256k1};
use sha2::Sha512;
use zeroize::Zeroizing;

/// Version bytes of `xprv` and `xpub`: Bitcoin's main network, which other chains' wallets use too.
const XPRV_VERSION: [u8; 4] = [0x04, 0x88, 0xad, 0xe4];
const XPUB_VERSION: [u8; 4] = [0x04, 0x88, 0xb2, 0x1e];

/// A curve that a tree of keys is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curve {
    /// BIP-32.
    Secp256k1,
    /// SLIP-10; hardened children only.
    Ed25519,
}

impl Curve {
    /// What the seed is hashed under.
    const fn seed_key(self) -> &'static [u8] {
        match self {
            Self::Secp256k1 => b"Bitcoin seed",
            Self::Ed25519 => b"ed25519 seed",
        }
    }
}

/// A private key with its chain code and its place in a tree.
#[derive(Debug)]
pub struct Extended {
    curve: Curve,
    secret: SecretBytes<32>,
    chain_code: [u8; 32],
    place: Place,
}

/// The two halves of an HMAC-SHA512.
type Halves = (Zeroizing<[u8; 32]>, [u8; 32]);

fn hmac_halves(key: &[u8], parts: &[&[u8]]) -> Result<Halves, SingleFault> {
    let no_key = |_| SingleFault::Malformed("the chain code is no key of an HMAC");
    let mut hmac = Hmac::<Sha512>::new_from_slice(key).map_err(no_key)?;
    for part in parts {
        hmac.update(part);
    }
    let hash = Zeroizing::new(<[u8; 64]>::from(hmac.finalize().into_bytes()));
    let (mut left, mut right) = (Zeroizing::new([0; 32]), [0; 32]);
    let (l, r) = hash.split_at(32);
    left.copy_from_slice(l);
    right.copy_from_slice(r);
    Ok((left, right))
}

/// A scalar of secp256k1 from 1 to the order.
fn check_scalar(bytes: &[u8; 32]) -> Result<(), SingleFault> {
    let scalar = Secp256k1::decode_scalar(bytes).map(Zeroizing::new);
    match scalar {
        Some(scalar) if !Secp256k1::is_zero(&scalar) => Ok(()),
        _ => Err(SingleFault::NotAKey),
    }
}

impl Extended {
    /// The top of the tree of a seed: I = HMAC-SHA512(key of the curve, seed).
    pub fn from_seed(curve: Curve, seed: &[u8]) -> Result<Self, SingleFault> {
        if !(16..=64).contains(&seed.len()) {
            return Err(SingleFault::Malformed("a seed has 16 to 64 bytes"));
        }
        let (mut left, chain_code) = hmac_halves(curve.seed_key(), &[seed])?;
        if curve == Curve::Secp256k1 {
            check_scalar(&left)?;
        }
        Ok(Self {
            curve,
            secret: SecretBytes::take(&mut left),
            chain_code,
            place: Place::default(),
        })
    }

    /// The child at a full path.
    pub fn at(self, path: &FullPath) -> Result<Self, SingleFault> {
        path.indices()
            .iter()
            .try_fold(self, |key, index| key.child(*index))
    }

    /// One level down. Hardened: Data = 0x00 || ser256(k) || ser32(i); else serP(K) || ser32(i).
    fn child(&self, index: u32) -> Result<Self, SingleFault> {
        let public = self.hashed_key()?;
        let counter = index.to_be_bytes();
        let hardened = index >= HARDENED_FROM;
        let (left, chain_code) = match (self.curve, hardened) {
            (Curve::Ed25519, false) => return Err(SingleFault::NotHardened),
            (_, true) => {
                let parts: [&[u8]; 3] = [&[0], self.secret.expose(), &counter];
                hmac_halves(&self.chain_code, &parts)?
            }
            (Curve::Secp256k1, false) => hmac_halves(&self.chain_code, &[&public, &counter])?,
        };
        Ok(Self {
            curve: self.curve,
            secret: self.child_secret(left, index)?,
            chain_code,
            place: Place {
                depth: self.place.depth.saturating_add(1),
                parent: fingerprint(&public),
                index,
            },
        })
    }

    /// On Ed25519 the left half is the child; on secp256k1 it is added to the parent.
    fn child_secret(
        &self,
        mut left: Zeroizing<[u8; 32]>,
        index: u32,
    ) -> Result<SecretBytes<32>, SingleFault> {
        if self.curve == Curve::Ed25519 {
            return Ok(SecretBytes::take(&mut left));
        }
        let none = || SingleFault::NoSuchChild(index);
        let left = Zeroizing::new(Secp256k1::decode_scalar(&left).ok_or_else(none)?);
        let own = Secp256k1::decode_scalar(self.secret.expose()).ok_or(SingleFault::NotAKey)?;
        let sum = Zeroizing::new(*left + *Zeroizing::new(own));
        if Secp256k1::is_zero(&sum) {
            return Err(none());
        }
        Ok(SecretBytes::take(&mut Secp256k1::encode_scalar(&sum)))
    }

    /// The public key of 33 bytes that is hashed: on Ed25519 a zero byte stands first (SLIP-10).
    fn hashed_key(&self) -> Result<Vec<u8>, SingleFault> {
        let public = public_key(self.curve, &self.secret)?;
        Ok(match self.curve {
            Curve::Secp256k1 => public,
            Curve::Ed25519 => [&[0], public.as_slice()].concat(),
        })
    }

    /// A key at the top of its tree.
    pub fn top(curve: Curve, secret: SecretBytes<32>, chain_code: [u8; 32]) -> Self {
        Self {
            curve,
            secret,
            chain_code,
            place: Place::default(),
        }
    }

    /// The chain code.
    pub const fn chain_code(&self) -> [u8; 32] {
        self.chain_code
    }

    /// The private key without its chain code.
    pub fn into_key(self) -> SingleKey {
        SingleKey {
            curve: self.curve,
            secret: self.secret,
        }
    }

    /// The public part, as a key from which accounts are derived.
    pub fn public(&self, scheme: Scheme) -> Result<ChildKey, SingleFault> {
        Ok(ChildKey {
            scheme,
            tweak: [0; 32],
            public_key: public_key(self.curve, &self.secret)?,
            chain_code: self.chain_code,
            place: self.place,
        })
    }

    /// BIP-32's text of the private key.
    pub fn to_xprv(&self) -> Result<Zeroizing<String>, SingleFault> {
        if self.curve == Curve::Ed25519 {
            return Err(SingleFault::WrongCurve);
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(78));
        bytes.extend_from_slice(&XPRV_VERSION);
        bytes.push(self.place.depth);
        bytes.extend_from_slice(&self.place.parent);
        bytes.extend_from_slice(&self.place.index.to_be_bytes());
        bytes.extend_from_slice(&self.chain_code);
        bytes.push(0);
        bytes.extend_from_slice(self.secret.expose());
        Ok(base58::write(&bytes))
    }

    /// Reads BIP-32's text of a private key.
    pub fn from_xprv(text: &str) -> Result<Self, SingleFault> {
        let (place, chain_code, key) = read(text, XPRV_VERSION)?;
        let [0, secret @ ..] = key.as_slice() else {
            return Err(SingleFault::Malformed(
                "a private key starts with a zero byte",
            ));
        };
        let secret = secret.try_into().map_err(|_| SingleFault::NotAKey)?;
        let mut secret = Zeroizing::new(secret);
        check_scalar(&secret)?;
        Ok(Self {
            curve: Curve::Secp256k1,
            secret: SecretBytes::take(&mut secret),
            chain_code,
            place,
        })
    }
}

/// The public key of a private key: 33 bytes compressed on secp256k1, 32 on Ed25519.
pub(super) fn public_key(curve: Curve, secret: &SecretBytes<32>) -> Result<Vec<u8>, SingleFault> {
    match curve {
        Curve::Secp256k1 => public_of(secret),
        Curve::Ed25519 => {
            let public = SigningKey::from_bytes(secret.expose()).verifying_key();
            Ok(public.as_bytes().to_vec())
        }
    }
}

/// The compressed public key of a private key on secp256k1.
pub(super) fn public_of(secret: &SecretBytes<32>) -> Result<Vec<u8>, SingleFault> {
    check_scalar(secret.expose())?;
    let scalar = Secp256k1::decode_scalar(secret.expose()).ok_or(SingleFault::NotAKey)?;
    let scalar = Zeroizing::new(scalar);
    Ok(Secp256k1::encode_point(&Secp256k1::generate(&scalar)))
}

/// Reads BIP-32's text of a public key.
pub fn read_xpub(text: &str, scheme: Scheme) -> Result<ChildKey, SingleFault> {
    if scheme == Scheme::Ed25519 {
        return Err(SingleFault::WrongCurve);
    }
    let (place, chain_code, key) = read(text, XPUB_VERSION)?;
    if Secp256k1::decode_point(&key).is_none() {
        return Err(SingleFault::Malformed("the public key is not a point"));
    }
    Ok(ChildKey {
        scheme,
        tweak: [0; 32],
        public_key: key.to_vec(),
        chain_code,
        place,
    })
}

/// The fields of an extended key: place, chain code and the 33 bytes of the key.
type Fields = (Place, [u8; 32], Zeroizing<Vec<u8>>);

fn read(text: &str, version: [u8; 4]) -> Result<Fields, SingleFault> {
    let bytes = base58::read(text.trim())?;
    let malformed = || SingleFault::Malformed("an extended key has 78 bytes");
    let (found, rest) = bytes.split_first_chunk::<4>().ok_or_else(malformed)?;
    let (depth, rest) = rest.split_first().ok_or_else(malformed)?;
    let (parent, rest) = rest.split_first_chunk::<4>().ok_or_else(malformed)?;
    let (index, rest) = rest.split_first_chunk::<4>().ok_or_else(malformed)?;
    let (chain_code, key) = rest.split_first_chunk::<32>().ok_or_else(malformed)?;
    if key.len() != 33 {
        return Err(malformed());
    }
    if *found != version {
        return Err(SingleFault::Malformed(
            "the text is not of this kind of extended key on Bitcoin's main network",
        ));
    }
    let place = Place {
        depth: *depth,
        parent: *parent,
        index: u32::from_be_bytes(*index),
    };
    if place.depth == 0 && place != Place::default() {
        return Err(SingleFault::Malformed(
            "a key at depth 0 has neither a parent nor an index",
        ));
    }
    Ok((place, *chain_code, Zeroizing::new(key.to_vec())))
}
