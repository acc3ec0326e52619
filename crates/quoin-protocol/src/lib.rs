//! Threshold protocols as sans-IO sessions: key generation, presigning, signing.
//!
//! One interface for all schemes: a session is a chain of [`Round`]s, each of which takes one
//! message from every other participant and either advances or aborts with the culprits named.
//! Randomness is a parameter; nothing here reads a clock or a socket. The only way to a partial
//! signature is [`sign()`], which takes a `Warrant` by value.

pub mod abort;
pub mod batch;
pub mod combine;
pub mod dkg;
pub mod ecdsa;
pub mod local;
#[cfg(any(test, feature = "model"))]
pub mod model;
pub mod presign;
pub mod roster;
pub mod round;
pub mod schnorr;
pub mod share;
pub mod sign;

pub use abort::{Abort, Class, Fault};
pub use batch::{BatchHeader, Profile};
pub use local::sign_local;
pub use presign::{Answer, CombineFault, CombineReason, Presignature, SignFault};
pub use roster::Roster;
pub use round::{Advance, Inbox, Outbox, Round, RoundMessage};
pub use share::{KeyPublic, KeyShare};
pub use sign::{Signed, sign};
