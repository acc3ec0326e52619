//! The gateway's core against scripted nodes, and its faces against an in-process core.

mod ceremonies;
mod charters;
mod failures;
mod signing;
mod world;
