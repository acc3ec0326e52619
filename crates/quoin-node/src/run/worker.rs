//! Worker threads and the clock.

use crate::core::{Job, JobId, JobResult};
use quoin_core::TimeMs;
use rand_core::OsRng;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;

pub(super) type Jobs = std::sync::mpsc::Sender<(JobId, Job)>;

/// Starts a worker thread, which ends when its sender is dropped.
pub(super) fn worker(done: mpsc::UnboundedSender<(JobId, JobResult)>) -> Jobs {
    let (jobs, work) = std::sync::mpsc::channel::<(JobId, Job)>();
    std::thread::spawn(move || {
        while let Ok((id, job)) = work.recv() {
            // The system's own randomness at every draw: a generator kept in memory would give
            // two forks of this process the same "fresh" values (construction, section 21.2).
            if done.send((id, job.run(&mut OsRng))).is_err() {
                return;
            }
        }
    });
    jobs
}

/// A clock that keeps its pace when the host's is set back: wall time at start, then monotonic.
pub(super) struct Clock {
    wall: u64,
    since: Instant,
}

impl Clock {
    pub(super) fn new() -> Self {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let wall = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX);
        Self {
            wall,
            since: Instant::now(),
        }
    }

    pub(super) fn now(&self) -> TimeMs {
        let passed = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        TimeMs(self.wall.saturating_add(passed))
    }
}
