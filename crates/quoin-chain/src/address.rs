//! Addresses of public keys, in each chain's own spelling.
//!
//! A public key is to be shown as ours only with its ceremony's certificate; checking that is not
//! done here. Sources: the Ethereum yellow paper (EVM), Solana's base58 of the key, BIP-341 and
//! BIP-350 (Taproot).

use alloy_primitives::keccak256;
use bech32::Hrp;
use k256::elliptic_curve::ops::Reduce;
use k256::elliptic_curve::point::AffineCoordinates;
use k256::elliptic_curve::sec1::ToEncodedPoint;
use quoin_core::intent::{Address, ChainId};
use quoin_core::stamp::Scheme;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The human-readable part of Bitcoin's addresses.
pub const BITCOIN_MAINNET_HRP: &str = "bc";
/// The human-readable part of addresses on Bitcoin's test networks.
pub const BITCOIN_TESTNET_HRP: &str = "tb";

/// Why a public key has no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The key has the wrong number of bytes for its scheme.
    #[error("public key has `{0}` bytes, which is not a length of its scheme")]
    KeyLength(usize),
    /// The key is not a point of its curve.
    #[error("public key is not a point of the curve")]
    NotAPoint,
    /// The network's prefix is not a human-readable part of bech32.
    #[error("network prefix is not a human-readable part of bech32")]
    NetworkPrefix,
    /// The simulator's scheme has no addresses.
    #[error("the model scheme exists only in the simulator")]
    Model,
}

/// An address and the chain that it is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedAddress {
    /// `eip155:<id>`, `solana` or `bitcoin`.
    pub chain: String,
    /// The address as people and explorers write it; EVM addresses in lower case.
    pub address: String,
}

/// The addresses that `public_key` has: on each of `evm_chains` for ECDSA (33 bytes, compressed),
/// Bitcoin's for Taproot (the 32-byte x-only *output* key, or its 33-byte form), Solana's for
/// Ed25519 (32 bytes).
///
/// # Errors
/// When the key is not one of its scheme.
pub fn addresses(
    scheme: Scheme,
    public_key: &[u8],
    evm_chains: &[u64],
) -> Result<Vec<NamedAddress>, AddressError> {
    let length = || AddressError::KeyLength(public_key.len());
    match scheme {
        Scheme::Ecdsa => {
            let address = evm_address(public_key.try_into().map_err(|_| length())?)?;
            Ok(evm_addresses(&address, evm_chains))
        }
        Scheme::Taproot => {
            let x_only = match public_key {
                [2 | 3, x @ ..] if x.len() == 32 => x,
                key => key,
            };
            let key = x_only.try_into().map_err(|_| length())?;
            Ok(vec![NamedAddress {
                chain: "bitcoin".to_owned(),
                address: taproot_address(key, BITCOIN_MAINNET_HRP)?,
            }])
        }
        Scheme::Ed25519 => Ok(vec![NamedAddress {
            chain: "solana".to_owned(),
            address: solana_address(public_key.try_into().map_err(|_| length())?),
        }]),
        Scheme::Model => model_addresses(public_key, evm_chains),
    }
}

fn evm_addresses(address: &Address, evm_chains: &[u64]) -> Vec<NamedAddress> {
    evm_chains
        .iter()
        .map(|id| NamedAddress {
            chain: ChainId::Evm(*id).to_string(),
            address: address.to_string(),
        })
        .collect()
}

#[cfg(feature = "model")]
fn model_addresses(
    public_key: &[u8],
    evm_chains: &[u64],
) -> Result<Vec<NamedAddress>, AddressError> {
    let hash = quoin_core::hash::tagged(quoin_core::tags::MODEL, &[b"address", public_key]);
    let address = hash.last_chunk::<20>().ok_or(AddressError::Model)?;
    Ok(evm_addresses(&Address::evm(*address), evm_chains))
}

#[cfg(not(feature = "model"))]
const fn model_addresses(_: &[u8], _: &[u64]) -> Result<Vec<NamedAddress>, AddressError> {
    Err(AddressError::Model)
}

/// The EVM address of a compressed secp256k1 key: the last 20 bytes of the Keccak-256 of x and y.
///
/// # Errors
/// When the bytes are not a compressed point.
pub fn evm_address(public_key: &[u8; 33]) -> Result<Address, AddressError> {
    let point = k256::PublicKey::from_sec1_bytes(public_key)
        .map_err(|_| AddressError::NotAPoint)?
        .to_encoded_point(false);
    let (_, coordinates) = point
        .as_bytes()
        .split_first()
        .ok_or(AddressError::NotAPoint)?;
    let hash = keccak256(coordinates).0;
    hash.last_chunk::<20>()
        .map(|address| Address::evm(*address))
        .ok_or(AddressError::NotAPoint)
}

/// The Solana address of an Ed25519 key: its base58.
#[must_use]
pub fn solana_address(public_key: &[u8; 32]) -> String {
    bs58::encode(public_key).into_string()
}

/// The Taproot address of an output key on the network with the prefix `hrp`.
///
/// # Errors
/// When the key is not the x of a point, or `hrp` is not a prefix of bech32.
pub fn taproot_address(output_key: &[u8; 32], hrp: &str) -> Result<String, AddressError> {
    lift_x(output_key)?;
    let hrp = Hrp::parse(hrp).map_err(|_| AddressError::NetworkPrefix)?;
    bech32::segwit::encode_v1(hrp, output_key).map_err(|_| AddressError::NetworkPrefix)
}

/// The output key of an internal key that commits to having no script (BIP-341, BIP-86).
///
/// # Errors
/// When the key is not the x of a point.
pub fn taproot_output_key(internal_key: &[u8; 32]) -> Result<[u8; 32], AddressError> {
    let tag = Sha256::digest(b"TapTweak");
    let tweak: [u8; 32] = Sha256::new()
        .chain_update(tag)
        .chain_update(tag)
        .chain_update(internal_key)
        .finalize()
        .into();
    // BIP-341 fails on a tweak over the group order; reducing instead differs only for inputs
    // that nobody can find.
    let tweak = <k256::Scalar as Reduce<k256::U256>>::reduce_bytes(&tweak.into());
    let point = lift_x(internal_key)?.to_projective() + k256::ProjectivePoint::GENERATOR * tweak;
    Ok(point.to_affine().x().into())
}

/// The point with this x and an even y.
fn lift_x(x: &[u8; 32]) -> Result<k256::PublicKey, AddressError> {
    let mut compressed = [2u8; 33];
    let (_, coordinate) = compressed.split_at_mut(1);
    coordinate.copy_from_slice(x);
    k256::PublicKey::from_sec1_bytes(&compressed).map_err(|_| AddressError::NotAPoint)
}
