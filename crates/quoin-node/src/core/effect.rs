//! Events and effects: the whole of what the core hears and does.

use super::job::{Job, JobResult};
use super::record::Record;
use quoin_api::Frame;
use quoin_api::statements::Head;
use quoin_core::{GatewayId, NodeIndex, SecretBytes};

/// Numbers the persists of one boot, from 1. A ticket is durable together with all lower ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Numbers the jobs of one boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

/// Who is at the other end of a connection, as its pinned identity says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peer {
    /// Another node.
    Node(NodeIndex),
    /// A gateway, by its name in the charter.
    Gateway(GatewayId),
}

/// Something that happened.
pub enum Event {
    /// A connection with a peer is up.
    Connected(Peer),
    /// It is down.
    Disconnected(Peer),
    /// A frame arrived.
    Frame(Peer, Frame),
    /// All persists up to this ticket are durable; the journal's head covers them.
    Durable(Ticket, Head),
    /// A write failed. Nothing is signed any more.
    StorageFailed,
    /// A job is done.
    Computed(JobId, JobResult),
    /// Time has passed.
    Tick,
}

/// Something to do. What must wait for durability is kept back by the core until
/// [`Event::Durable`], so every effect may be carried out at once and in order.
pub enum Effect {
    /// Write a record, and seal secrets in the same transaction.
    Persist(Ticket, Record, Vec<(String, SecretBytes<32>)>),
    /// Send a frame.
    Send(Peer, Frame),
    /// Run a job on a worker.
    Compute(JobId, Job),
    /// Tell the operator.
    Alarm(Alarm),
}

/// What an operator must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// A peer failed a secret-dependent check and is quarantined.
    Strike(NodeIndex, quoin_protocol::Fault),
    /// Two certified charters have one number: the cluster stops.
    CharterFork(quoin_core::CharterNumber),
    /// A peer beats with an older boot, or a shorter or different journal, than it showed before.
    RolledBack(NodeIndex),
    /// The disk failed.
    StorageFailed,
    /// A finished signature was posted for a request that this node denied.
    SignedDespiteDenial(quoin_core::RequestId),
}
