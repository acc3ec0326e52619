//! Bitcoin's wallet import format: one private key of secp256k1, for a compressed public key.

use super::{SingleFault, base58};
use quoin_core::SecretBytes;
use zeroize::Zeroizing;

/// The first byte on Bitcoin's main network.
const MAINNET: u8 = 0x80;
/// The last byte, which says that the public key is written compressed.
const COMPRESSED: u8 = 0x01;

/// Reads a key. Keys for uncompressed public keys are refused: their addresses are others than those
/// shown here.
pub fn read(text: &str) -> Result<SecretBytes<32>, SingleFault> {
    let bytes = base58::read(text.trim())?;
    match bytes.as_slice() {
        [MAINNET, key @ .., COMPRESSED] => {
            let key = <[u8; 32]>::try_from(key)
                .map_err(|_| SingleFault::Malformed("a WIF key has 32 bytes"))?;
            Ok(SecretBytes::take(&mut Zeroizing::new(key)))
        }
        [MAINNET, key @ ..] if key.len() == 32 => Err(SingleFault::Malformed(
            "the key is for an uncompressed public key; export it for a compressed one",
        )),
        _ => Err(SingleFault::Malformed(
            "not a WIF key of Bitcoin's main network",
        )),
    }
}

/// Writes a key for a compressed public key on Bitcoin's main network.
pub fn write(key: &SecretBytes<32>) -> Zeroizing<String> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(34));
    bytes.push(MAINNET);
    bytes.extend_from_slice(key.expose());
    bytes.push(COMPRESSED);
    base58::write(&bytes)
}
