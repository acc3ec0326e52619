//! The four rounds of a batch, one struct each; finishing one consumes it.

pub(super) mod four;
pub(super) mod one;
pub(super) mod three;
pub(super) mod two;
