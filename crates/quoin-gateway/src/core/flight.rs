//! One request under way: who waits for it, whom it was sent to, and what has come back.

use super::event::ClientId;
use super::leases::StockId;
use super::outcome::{Failure, PendingRequest, RefusedRequest};
use super::ports::Subject;
use super::treasury::Openings;
use quoin_api::frame::{Opaque, PendingReply, Unavailable};
use quoin_api::statements::Answer;
use quoin_core::stamp::Account;
use quoin_core::{
    BatchHash, CredentialId, KeyId, NodeIndex, Payload, PayloadHash, PresignatureId, RequestId,
    ShareEpoch, SignerSet, TimeMs,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The most callers that share one flight.
pub const CLIENTS_MAX: usize = 256;
/// The most callers with another stamp for the same request that wait behind a flight.
pub const OTHERS_MAX: usize = 16;

/// Approvals, one for each credential.
pub type Approvals = BTreeMap<CredentialId, Opaque>;

/// What a request says, once read.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The request.
    pub id: RequestId,
    /// The stamp's bytes.
    pub stamp: Vec<u8>,
    /// The payload's bytes.
    pub payload: Vec<u8>,
    /// The payload.
    pub content: Payload,
    /// Its hash.
    pub payload_hash: PayloadHash,
    /// The key; `None` for a ceremony.
    pub key: Option<KeyId>,
    /// The account that it spends from or speaks for.
    pub account: Account,
    /// When the request lapses.
    pub not_after: TimeMs,
}

/// One request under way.
#[derive(Debug)]
pub struct Flight {
    /// What is asked.
    pub ask: Ask,
    /// Orders flights by arrival.
    pub seq: u64,
    /// Approvals that travel with it.
    pub approvals: Approvals,
    /// An approval came after the attempt was sent, so a pending reply is out of date.
    pub rerun: bool,
    /// Who waits.
    pub clients: Vec<ClientId>,
    /// Who waits with another stamp, which is tried when this one fails.
    pub others: VecDeque<(ClientId, Vec<u8>)>,
    /// When it arrived.
    pub began: TimeMs,
    /// When it fails.
    pub deadline: TimeMs,
    /// Nodes that it was ever sent to.
    pub asked: BTreeSet<NodeIndex>,
    /// Nodes that denied it.
    pub denied: BTreeSet<NodeIndex>,
    /// When the first denial came, and what it says, while those of the others are awaited.
    pub denial: Option<(TimeMs, Box<RefusedRequest>)>,
    /// Nodes that failed it.
    pub avoided: BTreeSet<NodeIndex>,
    /// Nodes that said that they cannot sign now.
    pub unavailable: BTreeMap<NodeIndex, Unavailable>,
    /// Sets whose answers did not combine.
    pub bad_sets: BTreeSet<SignerSet>,
    /// How often nodes misbehaved in it.
    pub faults: usize,
    /// How many presignatures its signers no longer had, and the batch of the last one.
    pub lost: (u32, Option<BatchHash>),
    /// Share epochs that signers no longer serve, or do not serve yet.
    pub refused_epochs: BTreeSet<ShareEpoch>,
    /// What it waits for.
    pub stage: Stage,
}

/// What a flight waits for.
#[derive(Debug)]
pub enum Stage {
    /// Nothing: it can be moved on.
    Starting,
    /// The certificate of its key.
    AwaitingKey(TimeMs),
    /// Enough nodes to come up.
    AwaitingNodes,
    /// A presignature id.
    AwaitingLease(StockId, TimeMs),
    /// A signer set that may spend the budgets that count it.
    AwaitingSet(TimeMs),
    /// Nodes to hear each other again.
    AwaitingHeartbeats(TimeMs),
    /// Replies of nodes.
    Sent(Attempt),
}

/// One sending of a request.
#[derive(Debug)]
pub struct Attempt {
    /// Names the attempt in replies.
    pub number: u64,
    /// When it was sent.
    pub sent: TimeMs,
    /// To whom.
    pub asked: Asked,
    /// Of a treasury key: what its signers have opened.
    pub openings: Openings,
    /// Verified answers, with their bytes.
    pub answers: BTreeMap<NodeIndex, (Vec<u8>, Answer)>,
    /// Obligations that nodes still see.
    pub pending: BTreeMap<NodeIndex, PendingReply>,
    /// Certificates of a finished ceremony.
    pub certificates: BTreeMap<NodeIndex, Vec<u8>>,
    /// What nodes said to a change.
    pub said: BTreeMap<NodeIndex, Said>,
}

/// What a node said to a change.
#[derive(Debug)]
pub enum Said {
    /// It is done, and this is its statement.
    Done(Vec<u8>),
    /// It refuses for good.
    Refused(Box<RefusedRequest>),
    /// It has not done it, and may do it later.
    Failed(Failure),
}

/// To whom a request was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// To a set of signers, with one presignature.
    Signers(SignerSet, PresignatureId, ShareEpoch),
    /// To the single node that holds a local key.
    Holder(NodeIndex),
    /// To all nodes, for a ceremony.
    Everyone(BTreeSet<NodeIndex>),
}

impl Attempt {
    /// A fresh attempt.
    #[must_use]
    pub const fn new(number: u64, sent: TimeMs, asked: Asked) -> Self {
        Self {
            number,
            sent,
            asked,
            openings: Openings::new(),
            answers: BTreeMap::new(),
            pending: BTreeMap::new(),
            certificates: BTreeMap::new(),
            said: BTreeMap::new(),
        }
    }

    /// Everyone who was asked.
    #[must_use]
    pub fn members(&self) -> Vec<NodeIndex> {
        match &self.asked {
            Asked::Signers(set, ..) => set.iter().collect(),
            Asked::Holder(node) => vec![*node],
            Asked::Everyone(nodes) => nodes.iter().copied().collect(),
        }
    }

    /// Whether `node` has said something that counts.
    #[must_use]
    pub fn heard(&self, node: NodeIndex) -> bool {
        self.answers.contains_key(&node)
            || self.openings.has(node)
            || self.pending.contains_key(&node)
            || self.certificates.contains_key(&node)
            || self.said.contains_key(&node)
    }

    /// Who has not replied yet.
    #[must_use]
    pub fn silent(&self) -> Vec<NodeIndex> {
        let members = self.members();
        members.into_iter().filter(|n| !self.heard(*n)).collect()
    }
}

impl Ask {
    /// Whether it changes a key, how a node is seen or what is frozen, without a ceremony.
    #[must_use]
    pub const fn is_change(&self) -> bool {
        match &self.content {
            Payload::ChangeKey(wish) => !wish.change.is_ceremony(),
            Payload::ChangeNode(_) | Payload::Unfreeze(_) => true,
            _ => false,
        }
    }

    /// Whether all nodes have to take part in it at the same time.
    #[must_use]
    pub const fn is_ceremony(&self) -> bool {
        match &self.content {
            Payload::CreateKey(_) => true,
            Payload::ChangeKey(wish) => wish.change.is_ceremony(),
            _ => false,
        }
    }

    /// What a signature for it is about.
    #[must_use]
    pub const fn subject(&self) -> Subject<'_> {
        Subject {
            request_id: self.id,
            payload: &self.content,
            account: &self.account,
        }
    }
}

impl Flight {
    /// A flight that has not been sent to anyone.
    #[must_use]
    pub fn new(ask: Ask, seq: u64, client: ClientId, began: TimeMs, deadline: TimeMs) -> Self {
        Self {
            ask,
            seq,
            approvals: Approvals::new(),
            rerun: false,
            clients: vec![client],
            others: VecDeque::new(),
            began,
            deadline,
            asked: BTreeSet::new(),
            denied: BTreeSet::new(),
            denial: None,
            avoided: BTreeSet::new(),
            unavailable: BTreeMap::new(),
            bad_sets: BTreeSet::new(),
            faults: 0,
            lost: (0, None),
            refused_epochs: BTreeSet::new(),
            stage: Stage::Starting,
        }
    }

    /// The attempt under way.
    #[must_use]
    pub const fn attempt(&self) -> Option<&Attempt> {
        match &self.stage {
            Stage::Sent(attempt) => Some(attempt),
            _ => None,
        }
    }

    /// The attempt under way, to note a reply.
    pub const fn attempt_mut(&mut self) -> Option<&mut Attempt> {
        match &mut self.stage {
            Stage::Sent(attempt) => Some(attempt),
            _ => None,
        }
    }

    /// Whether every node that it was sent to has denied it.
    #[must_use]
    pub fn is_denied_by_all(&self) -> bool {
        self.asked.is_subset(&self.denied)
    }

    /// Whether somebody who was asked can still join those who denied it.
    #[must_use]
    pub fn awaits_denials(&self) -> bool {
        // What was sent before this attempt, or has been answered otherwise, stays open.
        let silent = self.attempt().map(Attempt::silent).unwrap_or_default();
        let open = |n: &NodeIndex| self.denied.contains(n) || silent.contains(n);
        !self.is_denied_by_all() && self.asked.iter().all(open)
    }

    /// Whether the passing of time means anything for it; not so while its signers may still answer.
    #[must_use]
    pub const fn is_due(&self, now: TimeMs, timeout_ms: u64) -> bool {
        if self.denial.is_some() {
            return true;
        }
        match &self.stage {
            Stage::Sent(attempt) => {
                now.0 >= self.deadline.0 || now.0.saturating_sub(attempt.sent.0) >= timeout_ms
            }
            _ => true,
        }
    }

    /// Whether it waits for something that `node` must still do.
    #[must_use]
    pub fn needs(&self, node: NodeIndex) -> bool {
        match &self.stage {
            Stage::Sent(attempt) => {
                attempt.members().contains(&node)
                    && (!attempt.heard(node)
                        || attempt.openings.has(node)
                        || matches!(attempt.asked, Asked::Everyone(_)))
            }
            Stage::AwaitingLease((.., set), _) => set.contains(node),
            _ => false,
        }
    }
}

/// A request that waits for approvals.
#[derive(Debug)]
pub struct Parked {
    /// What is asked.
    pub ask: Ask,
    /// Orders parked requests by arrival.
    pub seq: u64,
    /// The approvals so far.
    pub approvals: Approvals,
    /// What callers were told.
    pub shown: Box<PendingRequest>,
}
