//! The sequencer of nonces: one interface for every venue's rule of numbering.
//!
//! Two programs that number their requests by themselves sooner or later take one number twice;
//! one of the two requests is then lost, and with it the leg of a hedge. So numbers are handed out
//! in one place. [`Sequencer`] decides, without IO; [`Store`] keeps what it decided on disk, so
//! that no crash hands out a number twice.
//!
//! There are two rules so far, each one implementation of the trait `Rule`:
//!
//! - **contiguous** (EVM accounts): numbers must be used without a hole. A number is a *lease*,
//!   bound to the request that will be signed with it. It is *held*, then *asked* (a signature may
//!   exist from now on), then *used*; a request that was refused gives its number back, and the
//!   next allocation takes the lowest such number first. What may have been signed is never given
//!   back. A hole below used numbers is listed as a gap.
//! - **increasing** (agent keys of Hyperliquid): each number must be greater than the one before
//!   and near the clock. Numbers come from memory, below a mark that was written ahead.
//!
//! A further rule (sequences of Cosmos accounts, durable nonces of Solana, request nonces of an
//! exchange) is a further implementation, and a line in `SequenceId::rule`.
//!
//! The sequencer is no authority. Nodes remember which payment took which slot, and never sign
//! another for it: a number handed out twice would be refused, not signed twice.

mod contiguous;
mod error;
mod file;
mod increasing;
mod name;
mod rule;
mod state;
mod store;

pub use contiguous::{LEASE_MS, NONCES_MAX, OPEN_MAX, SIGNED_KEPT_MAX, UNSEEN_MAX};
pub use error::SequenceError;
pub use increasing::{Bounds, MARK_AHEAD, RECENT_MAX};
pub use name::{SequenceId, VENUES};
pub use rule::{
    Ask, Change, Durability, Grant, NumberState, Open, Run, Settled, Settlement, Standing,
};
pub use state::{BLOCK_MAX, Record, SEQUENCES_MAX, Sequencer};
pub use store::{Store, StoreError, Ticket};
