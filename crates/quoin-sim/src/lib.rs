//! The cluster simulator: real node and gateway cores, everything else under a seed.
//!
//! Clock, network, disks and crashes come from one seeded generator, so a seed is a run and a run
//! can be replayed. The signature scheme is the model scheme: the same sessions and single-use
//! types over arithmetic so weak that a reused nonce gives the share away, which the checkers
//! then find. See [`checks`] for what must hold, and [`faults::Defect`] for the defects that show
//! that each checker would find what it looks for.

pub mod checks;
pub mod disk;
pub mod epochs;
pub mod faults;
pub mod law;
pub mod network;
pub mod people;
pub mod run;
pub mod setup;
pub mod stops;
pub mod trace;
pub mod violation;
pub mod workload;
pub mod world;

mod callers;
mod changes;
mod gateways;
mod hostile;
mod liar;
mod nodes;
mod twin;

pub use run::{Report, run_seeds};
pub use violation::Violation;
pub use world::{Options, Outcome, run_seed, run_with};
