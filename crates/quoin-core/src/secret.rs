//! Secret bytes: boxed, zeroized on drop, never cloned, compared in constant time, never printed.

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

/// `N` secret bytes on the heap.
///
/// # Security
/// There is no `Clone`, `PartialEq`, `serde` or CBOR implementation, on purpose: a secret leaves
/// memory only through a sealer. [`SecretBytes::expose`] marks each place that reads the bytes.
pub struct SecretBytes<const N: usize>(Box<[u8; N]>);

impl<const N: usize> SecretBytes<N> {
    /// Takes the bytes out of `source`, which is zeroized.
    #[must_use]
    pub fn take(source: &mut [u8; N]) -> Self {
        let mut boxed = Box::new([0u8; N]);
        boxed.copy_from_slice(source);
        source.zeroize();
        Self(boxed)
    }

    /// Draws fresh secret bytes.
    #[must_use]
    pub fn random(rng: &mut (impl rand_core::CryptoRngCore + ?Sized)) -> Self {
        let mut boxed = Box::new([0u8; N]);
        rng.fill_bytes(boxed.as_mut_slice());
        Self(boxed)
    }

    /// The bytes themselves, for the arithmetic that needs them.
    #[must_use]
    pub fn expose(&self) -> &[u8; N] {
        &self.0
    }

    /// A second copy, where a protocol needs one, named so that it is seen in review.
    #[must_use]
    pub fn duplicate_secret(&self) -> Self {
        let mut copy = Zeroizing::new(*self.0);
        Self::take(&mut copy)
    }
}

impl<const N: usize> Drop for SecretBytes<N> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<const N: usize> ConstantTimeEq for SecretBytes<N> {
    fn ct_eq(&self, other: &Self) -> subtle::Choice {
        self.0.as_slice().ct_eq(other.0.as_slice())
    }
}

impl<const N: usize> std::fmt::Debug for SecretBytes<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<redacted>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_prints_redacted() {
        let secret = SecretBytes::take(&mut [7u8; 32]);
        assert_eq!(format!("{secret:?}"), "<redacted>");
    }

    #[test]
    fn take_zeroizes_its_source() {
        let mut source = [9u8; 16];
        let secret = SecretBytes::take(&mut source);
        assert_eq!(source, [0u8; 16]);
        assert_eq!(secret.expose(), &[9u8; 16]);
    }
}
