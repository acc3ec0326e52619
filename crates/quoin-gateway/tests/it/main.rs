//! The gateway's core against scripted nodes, and its faces against an in-process core.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy does not see that the helpers of tests are tests"
)]

mod arbitrary;
mod ceremonies;
mod chain;
mod changes;
mod charters;
mod epochs;
mod ethereum;
mod failures;
mod http;
mod inquiries;
mod links;
mod live;
mod sequencer;
mod sets;
mod signing;
mod treasury;
mod world;
