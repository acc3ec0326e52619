//! A signer: the node core as a state machine, and its shell.

pub mod backup;
pub mod memory;
pub mod restore;
pub mod seal;
pub mod store;

pub mod core;
pub mod run;
