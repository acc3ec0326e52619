//! What happened in a run: a hash that two runs of one seed must share, and lines to read.

use quoin_core::hash::TaggedHasher;
use quoin_core::{TimeMs, tags};

/// The log of a run.
pub struct Trace {
    hash: TaggedHasher,
    lines: Option<Vec<String>>,
}

impl Trace {
    /// A trace that keeps lines only when somebody will read them.
    #[must_use]
    pub fn new(keep_lines: bool) -> Self {
        Self {
            hash: TaggedHasher::new(tags::MODEL),
            lines: keep_lines.then(Vec::new),
        }
    }

    /// Adds an event.
    pub fn add(&mut self, now: TimeMs, what: impl FnOnce() -> String, bytes: &[u8]) {
        self.hash.part(&now.0.to_be_bytes()).part(bytes);
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:>8} ms  {}", now.0, what()));
        }
    }

    /// The hash of everything, and the lines when they were kept.
    #[must_use]
    pub fn finish(self) -> ([u8; 32], Vec<String>) {
        (self.hash.finish(), self.lines.unwrap_or_default())
    }
}
