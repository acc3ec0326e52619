//! Threshold protocols as sans-IO sessions: key generation, presigning, signing.
//!
//! One interface for all schemes: a session is a chain of [`Round`]s, each of which takes one
//! message from every other participant and either advances or aborts with the culprits named.
//! Randomness is a parameter; nothing here reads a clock or a socket. The only way to a partial
//! signature is [`sign`], which takes a `Warrant` by value.

pub mod abort;
pub mod batch;
pub mod roster;
pub mod round;
pub mod share;

pub use abort::{Abort, Class, Fault};
pub use batch::{BatchHeader, Profile};
pub use roster::Roster;
pub use round::{Advance, Inbox, Outbox, Round, RoundMessage};
pub use share::{KeyPublic, KeyShare};
