//! What waits to be sent to one peer: three bounded queues, the most urgent first.
//!
//! A full queue never blocks the sender and never displaces what is more urgent: the least urgent
//! frames go, newest first, because the oldest have the best chance of still being in time.

use crate::frame::{FRAGMENT_BYTES_MAX, PerPriority, Priority, write_fragment};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// A frame and how much of it has been cut off already.
#[derive(Debug)]
struct Pending {
    body: Vec<u8>,
    sent: usize,
}

#[derive(Debug, Default)]
struct State {
    waiting: PerPriority<VecDeque<Pending>>,
    frames: usize,
    bytes: usize,
    closed: bool,
}

/// What became of a frame, and which frames it displaced.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Pushed {
    pub(crate) queued: bool,
    /// The connection has ended; the frame is of no more use.
    pub(crate) closed: bool,
    /// The priorities of the frames that were dropped, the pushed one included.
    pub(crate) dropped: Vec<Priority>,
}

/// The send queue of one connection.
#[derive(Debug)]
pub(crate) struct SendQueue {
    frames_max: usize,
    bytes_max: usize,
    state: Mutex<State>,
    ready: Notify,
}

impl SendQueue {
    pub(crate) fn new(frames_max: usize, bytes_max: usize) -> Self {
        Self {
            frames_max,
            bytes_max,
            state: Mutex::default(),
            ready: Notify::new(),
        }
    }

    /// Adds a frame, dropping less urgent ones when there is no room.
    pub(crate) fn push(&self, priority: Priority, body: Vec<u8>) -> Pushed {
        let mut state = self.lock();
        let mut pushed = Pushed::default();
        if state.closed {
            pushed.closed = true;
            return pushed;
        }
        while !state.has_room(body.len(), self.frames_max, self.bytes_max) {
            let Some(victim) = state.drop_below(priority) else {
                pushed.dropped.push(priority);
                return pushed;
            };
            pushed.dropped.push(victim);
        }
        state.frames += 1;
        state.bytes += body.len();
        let frame = Pending { body, sent: 0 };
        state.waiting.at_mut(priority).push_back(frame);
        drop(state);
        pushed.queued = true;
        self.ready.notify_one();
        pushed
    }

    /// Refuses every later frame: the connection has ended.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
    }

    /// Waits until something can be taken. Safe to cancel.
    pub(crate) async fn ready(&self) {
        loop {
            let notified = self.ready.notified();
            if self.lock().frames > 0 {
                return;
            }
            notified.await;
        }
    }

    /// Moves fragments into `out` until it holds about `bytes_enough` or nothing waits.
    pub(crate) fn take(&self, out: &mut Vec<u8>, bytes_enough: usize) {
        let mut state = self.lock();
        while out.len() < bytes_enough {
            if !state.take_fragment(out) {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has_room(&self, bytes: usize, frames_max: usize, bytes_max: usize) -> bool {
        self.frames < frames_max && self.bytes + bytes <= bytes_max
    }

    /// Drops the newest of the least urgent frames that are less urgent than `priority`.
    ///
    /// A frame that is already half sent stays: the peer could not make sense of the rest.
    fn drop_below(&mut self, priority: Priority) -> Option<Priority> {
        let lower = Priority::ALL.into_iter().rev().filter(|p| *p > priority);
        for victim in lower {
            let queue = self.waiting.at_mut(victim);
            if queue.back().is_some_and(|frame| frame.sent == 0)
                && let Some(frame) = queue.pop_back()
            {
                self.frames -= 1;
                self.bytes -= frame.body.len();
                return Some(victim);
            }
        }
        None
    }

    fn take_fragment(&mut self, out: &mut Vec<u8>) -> bool {
        for priority in Priority::ALL {
            let queue = self.waiting.at_mut(priority);
            let Some(frame) = queue.front_mut() else {
                continue;
            };
            let rest = frame.body.get(frame.sent..).unwrap_or_default();
            let part = rest.get(..FRAGMENT_BYTES_MAX).unwrap_or(rest);
            let more = part.len() < rest.len();
            write_fragment(out, priority, part, more);
            frame.sent += part.len();
            if !more && let Some(frame) = queue.pop_front() {
                self.frames -= 1;
                self.bytes -= frame.body.len();
            }
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Priority::{Bulk, Normal, Urgent};

    fn kinds(queue: &SendQueue) -> Vec<u8> {
        let mut kinds = Vec::new();
        loop {
            let mut out = Vec::new();
            queue.take(&mut out, 1);
            match out.get(4) {
                Some(kind) => kinds.push(*kind),
                None => return kinds,
            }
        }
    }

    #[test]
    fn urgent_frames_leave_first_and_presigning_last() {
        let queue = SendQueue::new(8, 1024);
        for priority in [Bulk, Normal, Urgent, Bulk, Urgent] {
            assert!(queue.push(priority, vec![1]).queued);
        }
        assert_eq!(kinds(&queue), [0, 0, 1, 2, 2]);
    }

    #[test]
    fn an_urgent_frame_overtakes_a_long_one_that_is_half_sent() {
        let queue = SendQueue::new(8, 1 << 20);
        queue.push(Bulk, vec![0; 2 * FRAGMENT_BYTES_MAX + 1]);
        let mut out = Vec::new();
        queue.take(&mut out, 1);
        queue.push(Urgent, vec![1]);
        assert_eq!(kinds(&queue), [0, 0x82, 0x02]);
    }

    #[test]
    fn a_full_queue_drops_the_least_urgent_frame_and_says_so() {
        let queue = SendQueue::new(3, 1024);
        for priority in [Bulk, Normal, Bulk] {
            queue.push(priority, vec![1]);
        }
        assert_eq!(
            queue.push(Bulk, vec![1]),
            Pushed {
                dropped: vec![Bulk],
                ..Pushed::default()
            }
        );
        assert_eq!(
            queue.push(Urgent, vec![1]),
            Pushed {
                queued: true,
                dropped: vec![Bulk],
                ..Pushed::default()
            }
        );
        queue.push(Urgent, vec![1]);
        assert_eq!(
            queue.push(Urgent, vec![1]),
            Pushed {
                queued: true,
                dropped: vec![Normal],
                ..Pushed::default()
            }
        );
        assert!(
            !queue.push(Urgent, vec![1]).queued,
            "urgent frames are bounded too"
        );
        assert_eq!(kinds(&queue), [0, 0, 0]);
    }

    #[test]
    fn bytes_are_bounded_and_given_back() {
        let queue = SendQueue::new(100, 10);
        assert!(queue.push(Normal, vec![0; 10]).queued);
        assert!(!queue.push(Normal, vec![0; 1]).queued);
        assert_eq!(kinds(&queue), [1]);
        assert!(queue.push(Normal, vec![0; 10]).queued);
    }

    #[test]
    fn a_closed_queue_takes_nothing() {
        let queue = SendQueue::new(8, 8);
        queue.close();
        assert!(queue.push(Urgent, vec![1]).closed);
        assert!(kinds(&queue).is_empty());
    }

    #[test]
    fn a_half_sent_frame_is_never_dropped() {
        let queue = SendQueue::new(1, 1 << 20);
        queue.push(Bulk, vec![0; FRAGMENT_BYTES_MAX + 1]);
        let mut out = Vec::new();
        queue.take(&mut out, 1);
        assert!(!queue.push(Urgent, vec![1]).queued);
        assert_eq!(kinds(&queue), [2]);
    }
}
