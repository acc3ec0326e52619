//! Full BIP-32 paths of single keys, with hardened levels, as in `m/44'/60'/0'/0/5`.

use super::SingleFault;
use quoin_core::path::{DEPTH_MAX, HARDENED_FROM};
use std::str::FromStr;

/// A path whose levels may be hardened. For single keys only: see [`quoin_core::DerivationPath`]
/// for those of threshold keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FullPath(Vec<u32>);

impl FullPath {
    /// The indices, hardened ones from 2^31 on.
    pub fn indices(&self) -> &[u32] {
        &self.0
    }

    /// The path without hardened levels, for deriving from public data.
    pub fn public(&self) -> Option<quoin_core::DerivationPath> {
        quoin_core::DerivationPath::new(self.0.clone())
    }
}

impl FromStr for FullPath {
    type Err = SingleFault;

    /// Reads levels that are hardened by `'`, `h` or `H`: wallets write all three.
    fn from_str(text: &str) -> Result<Self, SingleFault> {
        let malformed = SingleFault::Malformed(
            "a path is `m` and at most 8 levels, each a number below 2147483648 and hardened by \
             `'`, as in `m/44'/60'/0'/0/5`",
        );
        let mut levels = text.split('/');
        if levels.next() != Some("m") {
            return Err(malformed);
        }
        let mut indices = Vec::new();
        for level in levels {
            let digits = level.strip_suffix(['\'', 'h', 'H']);
            let offset = if digits.is_some() { HARDENED_FROM } else { 0 };
            let digits = digits.unwrap_or(level);
            let numeric = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            match digits.parse::<u32>() {
                Ok(index) if numeric && index < HARDENED_FROM && indices.len() < DEPTH_MAX => {
                    indices.push(index + offset);
                }
                _ => return Err(malformed),
            }
        }
        Ok(Self(indices))
    }
}

impl std::fmt::Display for FullPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("m")?;
        for index in &self.0 {
            match index.checked_sub(HARDENED_FROM) {
                Some(index) => write!(f, "/{index}'")?,
                None => write!(f, "/{index}")?,
            }
        }
        Ok(())
    }
}
