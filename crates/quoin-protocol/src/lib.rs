//! Threshold protocols as sans-IO sessions: key generation, presigning, signing.
//!
//! One interface for all schemes: a session is a chain of [`Round`]s, each of which takes one
//! message from every other participant and either advances or aborts with the culprits named.
//! Randomness is a parameter; nothing here reads a clock or a socket. The only ways to a partial
//! signature are [`sign()`] and, for treasury keys, [`bind()`]; both take a `Warrant` by value.

pub mod abort;
pub mod backup;
pub mod batch;
pub mod bind;
pub mod combine;
pub mod derive;
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
pub use bind::{Bound, bind, binding_of};
pub use derive::{ChildKey, DeriveFault, derive};
pub use local::sign_local;
pub use presign::{Answer, Binding, CombineFault, CombineReason, Opening, Presignature, SignFault};
pub use roster::Roster;
pub use round::{Advance, Inbox, Outbox, Round, RoundMessage};
pub use share::{KeyPublic, KeyShare};
pub use sign::{Signed, sign};
