//! Base58 with a checksum, as Bitcoin writes keys: a double SHA-256 of the bytes, cut to four.

use super::SingleFault;
use zeroize::Zeroizing;

/// The longest text that is looked at: an extended key has 112 characters.
const TEXT_BYTES_MAX: usize = 128;

/// Reads the bytes of a text whose checksum is right.
pub(super) fn read(text: &str) -> Result<Zeroizing<Vec<u8>>, SingleFault> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(SingleFault::Base58);
    }
    let bytes = bs58::decode(text).with_check(None).into_vec();
    bytes.map(Zeroizing::new).map_err(|_| SingleFault::Base58)
}

/// Writes bytes and their checksum.
pub(super) fn write(bytes: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(bs58::encode(bytes).with_check().into_string())
}
