//! Events and effects: the whole of what the core hears and does.

use super::job::{Job, JobResult};
use super::record::Record;
use quoin_api::Frame;
use quoin_api::statements::Head;
use quoin_core::{Address, ChainId, GatewayId, KeyId, NodeIndex, SecretBytes, ShareEpoch};
use quoin_policy::BackupPolicy;
use quoin_protocol::KeyShare;
use std::sync::Arc;

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
    /// Nobody in particular: who brings statements that carry their own signatures. The number
    /// tells connections apart and means nothing else.
    Courier(u64),
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
    /// The backup of a key's epoch, for the share of this record, is written; its file's SHA-256.
    /// Or it could not be, and why.
    BackupWritten((KeyId, ShareEpoch, [u8; 32]), Result<[u8; 32], String>),
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
    /// Write a record, and erase what is sealed under these labels in the same transaction. Once
    /// it is durable nothing of those secrets is left.
    Erase(Ticket, Record, Vec<String>),
    /// Send a frame.
    Send(Peer, Frame),
    /// Run a job on a worker.
    Compute(JobId, Job),
    /// Tell the operator.
    Alarm(Alarm),
    /// Seal the share to the officers, write the file durably, and say so by
    /// [`Event::BackupWritten`].
    BackUp(Arc<KeyShare>, BackupPolicy),
    /// The charter in force has changed: pin the keys that [`super::Node::charter`] names, and
    /// dial the nodes that are new in it.
    Peers,
}

/// What an operator must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// The chain has executed this nonce of an account of ours, and nobody here knows of it: somebody
    /// else may have the key.
    ForeignSpend(ChainId, Address, u64),
    /// While this node was away, the chain has executed this nonce of an account of ours and perhaps
    /// more, which this node was never shown: compare with the other nodes' journals.
    SpentWhileAway(ChainId, Address, u64),
    /// A peer failed a secret-dependent check and is quarantined.
    Strike(NodeIndex, quoin_protocol::Fault),
    /// Two certified charters have one number: the cluster stops.
    CharterFork(quoin_core::CharterNumber),
    /// A peer beats with an older boot, or a shorter or different journal, than it showed before.
    RolledBack(NodeIndex),
    /// The charter in force names this node no longer: it takes part in nothing.
    LeftCharter(quoin_core::CharterNumber),
    /// The disk failed.
    StorageFailed,
    /// A finished signature was posted for a request that this node denied.
    SignedDespiteDenial(quoin_core::RequestId),
    /// A key's shares were not refreshed for two intervals.
    RefreshOverdue(quoin_core::KeyId),
    /// A key has a certified epoch of which this node should hold a share, and does not: its disk
    /// was restored from before, or damaged. It cannot sign with the key.
    ShareMissing(quoin_core::KeyId, quoin_core::ShareEpoch),
    /// The backup of a key's epoch cannot be written, and why. The epoch does not come into use.
    BackupFailed(KeyId, ShareEpoch, String),
    /// The account of a key that signs bare digests is believed to hold some of an asset: whoever
    /// may ask for a digest can spend it.
    DigestAccountFunded(quoin_core::AssetId, quoin_core::Address),
    /// A node has endorsed a record and sworn never to.
    Equivocated(NodeIndex),
}
