//! The one place of a peer: at most one connection serves it, and a newer one takes over.
//!
//! The newest connection wins, because the older may be half dead: a host that lost power leaves
//! behind a connection which looks alive until its idle limit.

use crate::error::LinkError;
use crate::queue::SendQueue;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{MutexGuard, Semaphore, watch};

/// A peer's place.
#[derive(Debug)]
pub(crate) struct Slot {
    /// The number of the newest claim; a connection with a lower number gives way.
    newest: watch::Sender<u64>,
    turn: tokio::sync::Mutex<()>,
    current: Mutex<Option<Arc<SendQueue>>>,
    /// Bytes that may still be received from this peer before the receiver takes some.
    pub(crate) inbound: Arc<Semaphore>,
}

/// A connection's claim on the place of its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim(u64);

/// The place, held until dropped.
pub(crate) struct Seat<'a> {
    slot: &'a Slot,
    _turn: MutexGuard<'a, ()>,
}

impl Slot {
    pub(crate) fn new(inbound_bytes_max: u32) -> Self {
        Self {
            newest: watch::Sender::new(0),
            turn: tokio::sync::Mutex::new(()),
            current: Mutex::new(None),
            inbound: Arc::new(Semaphore::new(inbound_bytes_max as usize)),
        }
    }

    /// Claims the place; every older claim gives way.
    pub(crate) fn claim(&self) -> Claim {
        let mut number = 0;
        self.newest.send_modify(|n| {
            *n += 1;
            number = *n;
        });
        Claim(number)
    }

    /// Closes whatever connection there is.
    pub(crate) fn close(&self) {
        self.newest.send_modify(|n| *n += 1);
    }

    /// Returns once `claim` is no longer the newest. Safe to cancel.
    pub(crate) async fn superseded(&self, claim: Claim) {
        let mut newest = self.newest.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = newest.wait_for(|n| *n != claim.0).await;
    }

    /// Waits until the older connection has gone, then takes the place with `queue`.
    pub(crate) async fn take(
        &self,
        claim: Claim,
        queue: Arc<SendQueue>,
    ) -> Result<Seat<'_>, LinkError> {
        let turn = tokio::select! {
            biased;
            () = self.superseded(claim) => return Err(LinkError::Superseded),
            turn = self.turn.lock() => turn,
        };
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(queue);
        Ok(Seat {
            slot: self,
            _turn: turn,
        })
    }

    /// The queue of the connection that serves the peer now.
    pub(crate) fn queue(&self) -> Option<Arc<SendQueue>> {
        self.current
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        *self
            .slot
            .current
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_newer_claim_waits_for_the_older_to_leave_and_then_serves() {
        let slot = Slot::new(1);
        let queue = || Arc::new(SendQueue::new(1, 1));
        let first = slot.claim();
        let seat = slot.take(first, queue()).await.unwrap();
        let second = slot.claim();
        slot.superseded(first).await;
        drop(seat);
        assert!(slot.queue().is_none());
        let _seat = slot.take(second, queue()).await.unwrap();
        assert!(slot.queue().is_some());
        assert!(matches!(
            slot.take(first, queue()).await,
            Err(LinkError::Superseded)
        ));
    }
}
