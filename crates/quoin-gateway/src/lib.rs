//! The gateway: HTTP and JSON-RPC faces, routing, combining.
//!
//! It is convenience, never authority: a gateway in an attacker's hands can delay and deny, and
//! nothing else. It holds no share, and of `quoin-protocol` it uses only what is secret-free.
//!
//! [`core`] decides, without IO; [`adapters`] put the real crates behind its ports; [`run`] gives
//! it a clock, callers and [`links`]; [`faces`] speak HTTP; [`sequencer`] hands out nonces.

pub mod adapters;
pub mod core;
pub mod faces;
pub mod links;
pub mod metrics;
pub mod run;
pub mod sequencer;
