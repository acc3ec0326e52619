//! What is going to happen, in order of time; ties go in the order in which they were scheduled.

use crate::people::Errand;
use quoin_core::{KeyId, NodeIndex, ShareEpoch, TimeMs};
use quoin_node::core::{JobId, JobResult, Ticket};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Who is at an end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// A node.
    Node(NodeIndex),
    /// The gateway.
    Gateway,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Node(node) => write!(f, "node {node}"),
            Self::Gateway => f.write_str("gateway"),
        }
    }
}

/// Something scheduled.
pub enum Scheduled {
    /// A frame arrives. It names the life of its sender and recipient, because a connection does
    /// not outlive either.
    Arrive {
        /// The sender, and which of its lives sent it.
        from: (Place, u64),
        /// The recipient, and which of its lives it was sent to.
        to: (Place, u64),
        /// The frame's bytes.
        frame: Arc<[u8]>,
    },
    /// A node's disk syncs.
    Sync(NodeIndex, u64),
    /// A node's disk says that it has synced, and has not.
    FalseSync(NodeIndex, u64, Ticket),
    /// A node's job is done.
    Job(NodeIndex, u64, JobId, Box<JobResult>),
    /// A node starts again.
    Restart(NodeIndex),
    /// The gateway starts again.
    RestartGateway,
    /// A direction of a link carries frames again.
    Heal(Place, Place),
    /// A node's clock is right again.
    ClockBack(NodeIndex),
    /// Everybody's timer.
    Tick,
    /// A step of the workload.
    Work(usize),
    /// Somebody freezes, vetoes, proposes or asks.
    Errand(Errand),
    /// Somebody approves a request.
    Approve(usize, Vec<u8>),
    /// A node's shell follows the charter: it connects with who is new in it.
    Dial(NodeIndex, u64),
    /// A node's backup is written, or could not be.
    BackedUp(NodeIndex, u64, (KeyId, ShareEpoch, [u8; 32]), bool),
    /// The whole world stands still for a while, and time goes on.
    Pause,
    /// The governor hands in the next charter.
    Amend,
    /// Every node dies and comes back with an older disk.
    Restore,
    /// The storm ends.
    Calm,
}

/// The schedule of a run.
#[derive(Default)]
pub struct Schedule {
    queue: BTreeMap<(TimeMs, u64), Scheduled>,
    count: u64,
}

impl Schedule {
    /// Schedules something.
    pub fn at(&mut self, when: TimeMs, what: Scheduled) {
        self.count += 1;
        self.queue.insert((when, self.count), what);
    }

    /// Everything happens later by as much.
    pub fn delay(&mut self, by_ms: u64) {
        let queue = std::mem::take(&mut self.queue).into_iter();
        self.queue = queue
            .map(|((when, n), what)| ((when.plus(by_ms), n), what))
            .collect();
    }

    /// The next thing to happen.
    pub fn pop(&mut self) -> Option<(TimeMs, Scheduled)> {
        self.queue.pop_first().map(|((when, _), what)| (when, what))
    }
}
