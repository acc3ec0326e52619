//! The four rounds of a batch, and the dispute that may take the place of the last, one struct
//! each; finishing one consumes it.

pub(super) mod dispute;
pub(super) mod four;
pub(super) mod one;
pub(super) mod three;
pub(super) mod two;
