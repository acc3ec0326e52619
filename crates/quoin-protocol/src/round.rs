//! The one shape of every session: a chain of rounds.
//!
//! A [`Round`] has sent its messages and waits for one from each other participant. Finishing it
//! consumes it, so no round can be finished twice; the type behind the box holds exactly the
//! secrets that the next step needs.

use crate::abort::Abort;
use minicbor::{Decode, Encode};
use quoin_core::NodeIndex;
use rand_core::CryptoRngCore;
use std::collections::BTreeMap;

/// What one participant sends another in one round.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct RoundMessage {
    /// The round, from 1.
    #[n(0)]
    pub round: u8,
    /// The part that everyone gets alike.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub broadcast: Vec<u8>,
    /// The sender's signature over the broadcast part and its place.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub signature: [u8; 64],
    /// The part for this recipient only; channel-secret, never logged, never evidence.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub private: Vec<u8>,
}

impl std::fmt::Debug for RoundMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RoundMessage")
            .field("round", &self.round)
            .field("broadcast_bytes", &self.broadcast.len())
            .field("private_bytes", &self.private.len())
            .finish_non_exhaustive()
    }
}

/// One message from each other participant.
pub type Inbox = BTreeMap<NodeIndex, RoundMessage>;
/// One message to each other participant.
pub type Outbox = BTreeMap<NodeIndex, RoundMessage>;

/// What finishing a round gives.
pub enum Advance<Out> {
    /// The next round, and what to send before waiting for it.
    Next(Box<dyn Round<Out>>, Outbox),
    /// The session's result.
    Done(Out),
}

/// A round that waits for its messages.
pub trait Round<Out>: Send {
    /// The number of the messages that it waits for, from 1.
    fn number(&self) -> u8;

    /// From whom it waits for a message.
    fn awaits(&self) -> Vec<NodeIndex>;

    /// Whether finishing it runs checks that depend on secrets. A node records durably that a try
    /// is open before it finishes such a round (construction, section 21.10).
    fn is_secret_dependent(&self) -> bool;

    /// Takes one message from each awaited participant.
    ///
    /// # Errors
    /// When a check fails; all secrets of the session are dropped with it.
    fn finish(
        self: Box<Self>,
        inbox: Inbox,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<Advance<Out>, Abort>;
}
