//! The Quoin command line.
fn main() {}
