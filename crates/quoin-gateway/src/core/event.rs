//! What happens to the gateway's core, and what it wants done.

use super::inquiries::Inquiry;
use super::outcome::Outcome;
use quoin_api::Frame;
use quoin_core::{CharterNumber, NodeIndex, RequestId};

/// Names a caller that waits for a reply; the shell chooses it and never uses it twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A caller asks for a signature or a key.
    ClientRequest {
        /// Who waits for the reply.
        client: ClientId,
        /// The stamp (`Signed<Stamp>`).
        stamp: Vec<u8>,
        /// The payload (canonical CBOR of `Payload`).
        payload: Vec<u8>,
    },
    /// A person approves a request.
    ClientApproval {
        /// Who waits for the reply.
        client: ClientId,
        /// The approval (`Signed<Approval>`).
        approval: Vec<u8>,
    },
    /// A caller asks what became of a request.
    ClientQuery {
        /// Who waits for the reply.
        client: ClientId,
        /// The request.
        request_id: RequestId,
    },
    /// A caller hands in a certified charter.
    CharterSubmitted {
        /// Who waits for the reply.
        client: ClientId,
        /// The charter with its signatures.
        charter: Vec<u8>,
    },
    /// A caller brings a statement to all nodes, or asks all of them.
    Inquired {
        /// Who waits for the reply.
        client: ClientId,
        /// What is brought or asked.
        inquiry: Inquiry,
    },
    /// A caller asks for the charter in force.
    CharterQuery {
        /// Who waits for the reply.
        client: ClientId,
    },
    /// A caller asks for the certificates of all keys.
    KeysQuery {
        /// Who waits for the reply.
        client: ClientId,
    },
    /// A caller asks who is up and whether a signature could be made now.
    StatusQuery {
        /// Who waits for the reply.
        client: ClientId,
    },
    /// A connection to a node stands, authenticated as that node.
    NodeUp(NodeIndex),
    /// The connection to a node is gone.
    NodeDown(NodeIndex),
    /// A frame from a node, on its authenticated connection.
    NodeFrame(NodeIndex, Frame),
    /// Time has passed.
    Tick,
}

/// Something to do.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Send a frame to a node.
    Send(NodeIndex, Frame),
    /// Answer a caller; each caller gets exactly one reply.
    Reply(ClientId, Outcome),
    /// A newer charter is in force: keep its bytes and connect to its nodes.
    CharterAdopted {
        /// Its number.
        number: CharterNumber,
        /// The charter with its signatures.
        charter: Vec<u8>,
    },
    /// Something to count.
    Metric(Metric),
}

/// Something to count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Metric {
    /// A request settled.
    Settled {
        /// The outcome's kind, as [`Outcome::kind`] names it.
        outcome: &'static str,
        /// From arrival to outcome.
        latency_ms: u64,
    },
    /// An attempt was given up because a node did not answer in time.
    TimedOut(NodeIndex),
    /// A node sent what an honest node cannot send.
    Misbehaved {
        /// The node.
        node: NodeIndex,
        /// In what way.
        how: Misbehaviour,
    },
    /// Answers did not combine to a valid signature, and none was to blame alone.
    NotCombined,
    /// A node's charter is further ahead than this gateway can verify from the one that it has.
    CharterGap(NodeIndex),
}

/// One way for a node to misbehave towards a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Misbehaviour {
    /// A statement that is malformed or not signed by that node.
    ForgedStatement,
    /// A signed statement about another request, key, set, presignature or cluster.
    WrongSubject,
    /// A partial signature that does not verify.
    BadPartial,
    /// A finished signature that does not verify.
    BadFinished,
    /// A key certificate that not all nodes have signed.
    BadCertificate,
    /// A lease that it may not grant.
    BadLease,
    /// A charter that does not follow from the one in force.
    BadCharter,
    /// A greeting in the name of another cluster.
    ForeignCluster,
    /// A frame that nodes do not send to gateways.
    UnexpectedFrame,
}

impl Misbehaviour {
    /// The label of metrics and logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::ForgedStatement => "forged-statement",
            Self::WrongSubject => "wrong-subject",
            Self::BadPartial => "bad-partial",
            Self::BadFinished => "bad-finished",
            Self::BadCertificate => "bad-certificate",
            Self::BadLease => "bad-lease",
            Self::BadCharter => "bad-charter",
            Self::ForeignCluster => "foreign-cluster",
            Self::UnexpectedFrame => "unexpected-frame",
        }
    }
}
