//! Domain-separated hashing: `SHA-256(T || T || len(p1) || p1 || …)` with `T = SHA-256(tag)`.
//!
//! Length prefixes (8 bytes, big-endian) make the encoding of the parts injective. `T || T` fills
//! one block of SHA-256, as BIP-340's tagged hashes do.

use crate::tags::Tag;
use sha2::{Digest, Sha256};

/// Hashes `parts` under `tag`.
#[must_use]
pub fn tagged(tag: Tag, parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = TaggedHasher::new(tag);
    for part in parts {
        hasher.part(part);
    }
    hasher.finish()
}

/// The same hash built part by part, for inputs that are not in memory together.
#[derive(Clone)]
pub struct TaggedHasher(Sha256);

impl TaggedHasher {
    /// Starts a hash under `tag`.
    #[must_use]
    pub fn new(tag: Tag) -> Self {
        let t = Sha256::digest(tag.text().as_bytes());
        let mut inner = Sha256::new();
        inner.update(t);
        inner.update(t);
        Self(inner)
    }

    /// Adds one length-prefixed part.
    pub fn part(&mut self, part: &[u8]) -> &mut Self {
        self.0.update((part.len() as u64).to_be_bytes());
        self.0.update(part);
        self
    }

    /// The 32-byte result.
    #[must_use]
    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tags;

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(
            tagged(tags::STAMP, &[b"ab", b"c"]),
            tagged(tags::STAMP, &[b"a", b"bc"])
        );
        assert_ne!(tagged(tags::STAMP, &[b"a"]), tagged(tags::CHARTER, &[b"a"]));
    }

    #[test]
    fn golden() {
        assert_eq!(
            hex::encode(tagged(tags::STAMP, &[b"one", b""])),
            "a991c3544ade007b3fe249042d88d5fed1b0c1674e59eaf7fcb38ca01bf815df",
            "golden value of the tagged hash"
        );
    }
}
