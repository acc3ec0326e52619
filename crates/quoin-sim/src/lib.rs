//! The cluster simulator: real node and gateway cores, everything else under a seed.
//!
//! Clock, network, disks and crashes come from one seeded generator, so a seed is a run and a run
//! can be replayed. The signature scheme is the model scheme: the same sessions and single-use
//! types over arithmetic so weak that a reused nonce gives the share away, which the checkers
//! then find. See [`checks`] for what must hold.

pub mod checks;
pub mod disk;
pub mod faults;
pub mod network;
pub mod setup;
pub mod trace;
pub mod workload;
pub mod world;

pub use checks::Violation;
pub use world::{Outcome, run_seed};
