//! Wire types: the frames between gateway and nodes, the statements that nodes sign, and the
//! shapes of HTTP and JSON-RPC.
//!
//! Bodies that another crate gives meaning to (stamps, approvals, batch headers, session messages)
//! are opaque bytes here, so that this crate depends on the words alone.

pub mod decision;
pub mod epochs;
pub mod frame;
pub mod http;
pub mod rpc;
pub mod sequences;
pub mod statements;

pub use frame::{Frame, SessionId};
