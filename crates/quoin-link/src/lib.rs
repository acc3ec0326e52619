//! Mutual-TLS frames between the parts of a cluster.
//!
//! An [`Endpoint`] keeps one persistent connection to each of its peers, proves who is at the other
//! end by the public key pinned for it, and moves opaque frames in three priorities. A node uses it
//! for the other nodes and for gateways; a gateway uses it for the nodes.
//!
//! A node's endpoint also takes *couriers*: connections of nobody in particular, for statements that
//! carry their own signatures. [`courier_connect`] is their side.
//!
//! It is not a protocol: it neither reads nor signs what a frame holds, gives no delivery guarantee
//! beyond the life of a connection, and never retries. Whoever needs an answer asks again after
//! [`Event::Connected`]. Source: `design.md` section 6, "Transport".

mod connection;
mod courier;
mod endpoint;
mod error;
mod frame;
mod identity;
mod limits;
mod pins;
mod queue;
mod slot;
mod tls;

pub use courier::{Courier, courier_connect};
pub use endpoint::{Config, Endpoint, Event, Inbound, Sent};
pub use error::LinkError;
pub use frame::{FRAGMENT_BYTES_MAX, FRAME_BYTES_MAX, Priority};
pub use identity::{SpkiHash, TlsIdentity};
pub use limits::{Counters, Limits};
pub use pins::{PeerId, Pins};
