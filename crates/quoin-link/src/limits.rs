//! The bounds of a link, each with its reason, and the counters that show when one was met.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Bounds of one endpoint. [`Limits::default`] is right for a cluster within a continent.
#[derive(Clone, Debug)]
pub struct Limits {
    /// TCP, TLS and the first frame together. A slow peer may not hold a handshake place longer.
    pub handshake: Duration,
    /// A connection that delivers nothing for this long is closed; keep-alives make it silent only
    /// when the peer or the path is dead.
    pub idle: Duration,
    /// Something is written at least this often, so that an idle link is told from a dead one.
    pub keepalive: Duration,
    /// A peer that does not read for this long is cut off, so that a queue cannot wait for ever.
    pub write: Duration,
    /// Unauthenticated connections at one time. Each costs a socket and some kilobytes; more than
    /// this is not our cluster.
    pub handshakes_max: usize,
    /// Frames waiting for one peer. Beyond it the least urgent are dropped.
    pub queue_frames_max: usize,
    /// Bytes waiting for one peer: four of the largest frames.
    pub queue_bytes_max: usize,
    /// Bytes received from one peer that the receiver has not taken yet. The reader stops at this
    /// bound, so a peer that floods us slows only itself.
    pub inbound_bytes_max: u32,
    /// Events waiting for the receiver, over all peers.
    pub inbound_events_max: usize,
    /// How many couriers there are at a time; 0 takes none. Each costs a socket and what waits for it.
    pub couriers_max: usize,
    /// The longest frame that a courier may send: a certified charter.
    pub courier_frame_bytes_max: usize,
    /// A courier that sends no whole frame for this long is cut off; keep-alives do not count.
    pub courier_idle: Duration,
    /// The shortest time between two frames of one courier. People bring a few.
    pub courier_frame_every: Duration,
    /// The shortest time between two frames of all couriers: 200 a second cost a node a few percent
    /// of one core for their signatures.
    pub couriers_frame_every: Duration,
    /// First delay after a failed dial.
    pub backoff_min: Duration,
    /// Longest delay between dials: a restarted peer is found again within this time.
    pub backoff_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(5),
            idle: Duration::from_secs(15),
            keepalive: Duration::from_secs(4),
            write: Duration::from_secs(10),
            handshakes_max: 64,
            queue_frames_max: 4096,
            queue_bytes_max: 64 << 20,
            inbound_bytes_max: 64 << 20,
            inbound_events_max: 1024,
            couriers_max: 0,
            courier_frame_bytes_max: 1 << 20,
            courier_idle: Duration::from_secs(30),
            courier_frame_every: Duration::from_millis(50),
            couriers_frame_every: Duration::from_millis(5),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(2),
        }
    }
}

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident;)+) => {
        /// What an endpoint has done since it started. Values only grow.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        /// The live form of [`Counters`].
        #[derive(Debug, Default)]
        pub(crate) struct LiveCounters {
            $(pub(crate) $name: AtomicU64,)+
        }

        impl LiveCounters {
            pub(crate) fn snapshot(&self) -> Counters {
                Counters { $($name: self.$name.load(Ordering::Relaxed),)+ }
            }
        }
    };
}

counters! {
    /// Frames handed to the receiver.
    frames_received;
    /// Frames accepted for sending.
    frames_queued;
    /// Urgent frames dropped because a queue was full.
    dropped_urgent;
    /// Normal frames dropped because a queue was full.
    dropped_normal;
    /// Bulk frames dropped because a queue was full.
    dropped_bulk;
    /// Frames refused because the peer was not connected.
    not_connected;
    /// Connections that became ready.
    connections;
    /// Couriers that were let in.
    couriers;
    /// Dials that failed.
    dials_failed;
    /// Inbound handshakes that failed: unpinned key, wrong protocol, time-out.
    handshakes_refused;
    /// Inbound connections dropped because too many handshakes were under way.
    handshakes_shed;
    /// Connections closed because the peer broke the frame format.
    malformed;
}

/// Adds one to a counter.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
