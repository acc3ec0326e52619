//! The whole product with real processes: `quoin dev` on temporary folders and free ports, the
//! command line as people use it, HTTP as programs use it, frames as a hostile gateway would send
//! them, and an unmodified `cast` against anvil.
//!
//! A cluster takes seconds to start, so each test plays several acts on one.

mod approvals;
mod demo;
mod ethereum;
mod failures;
mod hostile;
mod journals;
mod load;
mod requests;
mod support;
