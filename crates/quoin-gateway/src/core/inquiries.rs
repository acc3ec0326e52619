//! What is brought to every node and what every node is asked: statements, freezes, proposed
//! charters, explanations, outstanding signatures.
//!
//! The gateway carries and collects. It does not judge a statement: whether one is genuine and has an
//! effect is for each node to say, and each node's word is handed on with the node's name.

use super::event::{ClientId, Effect, Misbehaviour};
use super::outcome::{NodeWord, Outcome};
use super::{Gateway, misbehaved};
use quoin_api::Frame;
use quoin_core::{NodeIndex, TimeMs};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// The most inquiries that wait for nodes.
const INQUIRIES_MAX: usize = 256;

/// What a caller wants every node to hear or to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inquiry {
    /// Take this statement: a freeze, a veto, a receipt, facts or an approval of a charter.
    Statement(Box<Frame>),
    /// Say which freezes you know.
    Freezes,
    /// Say which charters are proposed.
    Proposals,
    /// Say what you would decide about this request.
    Explain {
        /// The stamp (`Signed<Stamp>`) of whoever wants to know.
        stamp: Vec<u8>,
        /// The payload (canonical CBOR of `Payload`).
        payload: Vec<u8>,
        /// Approvals (`Signed<Approval>`).
        approvals: Vec<Vec<u8>>,
    },
    /// Say what has been signed and could still execute.
    Outstanding,
}

/// By what a node's answer is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    Statement([u8; 32]),
    Freezes,
    Proposals,
    Attempt(u64),
    Outstanding,
}

/// An inquiry that waits for nodes.
#[derive(Debug)]
pub(super) struct Waiting {
    client: ClientId,
    about: About,
    words: BTreeMap<NodeIndex, NodeWord>,
    waiting: BTreeSet<NodeIndex>,
    deadline: TimeMs,
}

/// The bytes of a statement, for those frames that carry one.
fn statement(frame: &Frame) -> Option<&[u8]> {
    match frame {
        Frame::Freeze(bytes) | Frame::Veto(bytes) | Frame::Receipt(bytes) | Frame::Facts(bytes) => {
            Some(bytes)
        }
        Frame::CharterApproval(approval) => Some(&approval.approval),
        _ => None,
    }
}

impl Gateway {
    pub(super) fn on_inquiry(
        &mut self,
        now: TimeMs,
        client: ClientId,
        inquiry: Inquiry,
        effects: &mut Vec<Effect>,
    ) {
        if self.inquiries.len() >= INQUIRIES_MAX {
            effects.push(Effect::Reply(client, Outcome::Overloaded));
            return;
        }
        let (about, frame) = match inquiry {
            Inquiry::Statement(frame) => match statement(&frame) {
                Some(bytes) => (About::Statement(Sha256::digest(bytes).into()), *frame),
                // Only our own faces make inquiries, from typed bodies.
                None => return effects.push(Effect::Reply(client, Outcome::NotFound)),
            },
            Inquiry::Freezes => (About::Freezes, Frame::FreezesRequest),
            Inquiry::Proposals => (About::Proposals, Frame::ProposalsRequest),
            Inquiry::Outstanding => (About::Outstanding, Frame::OutstandingRequest),
            Inquiry::Explain {
                stamp,
                payload,
                approvals,
            } => {
                self.attempts = self.attempts.saturating_add(1);
                let request = quoin_api::frame::ExplainRequest {
                    attempt: self.attempts,
                    stamp,
                    payload,
                    approvals: approvals
                        .into_iter()
                        .map(quoin_api::frame::Opaque)
                        .collect(),
                };
                let about = About::Attempt(self.attempts);
                (about, Frame::ExplainRequest(request))
            }
        };
        let up: BTreeSet<NodeIndex> = self.nodes.up().collect();
        let sends = up.iter().map(|n| Effect::Send(*n, frame.clone()));
        effects.extend(sends);
        self.inquiries.push(Waiting {
            client,
            about,
            words: BTreeMap::new(),
            waiting: up,
            deadline: now.plus(self.config.deadline_ms),
        });
        self.end_inquiries(now, effects);
    }

    /// What a node says to one of the inquiries; `false` when the frame is no such word.
    pub(super) fn on_word(
        &mut self,
        now: TimeMs,
        from: NodeIndex,
        frame: Frame,
        effects: &mut Vec<Effect>,
    ) {
        let (about, word) = match frame {
            Frame::StatementReply(reply) => {
                if reply.node != from {
                    return misbehaved(from, Misbehaviour::WrongSubject, effects);
                }
                let word = NodeWord::Statement(reply.refused);
                (About::Statement(reply.statement), word)
            }
            Frame::Freezes(freezes) => (About::Freezes, NodeWord::Freezes(freezes)),
            Frame::Proposals(proposals) => (About::Proposals, NodeWord::Proposals(proposals)),
            Frame::ExplainReply(reply) => {
                if reply.node != from {
                    return misbehaved(from, Misbehaviour::WrongSubject, effects);
                }
                let word = NodeWord::Explanation(reply.explanation);
                (About::Attempt(reply.attempt), word)
            }
            Frame::Outstanding(outstanding) => {
                if outstanding.node != from {
                    return misbehaved(from, Misbehaviour::WrongSubject, effects);
                }
                (About::Outstanding, NodeWord::Outstanding(outstanding))
            }
            _ => return,
        };
        for inquiry in &mut self.inquiries {
            if inquiry.about == about && inquiry.waiting.remove(&from) {
                inquiry.words.insert(from, word.clone());
            }
        }
        self.end_inquiries(now, effects);
    }

    /// Nobody waits any longer for a node that is gone.
    pub(super) fn inquiries_without(&mut self, node: NodeIndex) {
        for inquiry in &mut self.inquiries {
            inquiry.waiting.remove(&node);
        }
    }

    /// Answers whoever waits for nothing any more, or for too long.
    pub(super) fn end_inquiries(&mut self, now: TimeMs, effects: &mut Vec<Effect>) {
        let all: BTreeSet<NodeIndex> = self.nodes.all().collect();
        self.inquiries.retain(|inquiry| {
            let ended = inquiry.waiting.is_empty() || now >= inquiry.deadline;
            if ended {
                let words = inquiry.words.clone();
                let missing = all.iter().filter(|n| !words.contains_key(n));
                let outcome = Outcome::Words {
                    missing: missing.copied().collect(),
                    words: words.into_iter().collect(),
                };
                effects.push(Effect::Reply(inquiry.client, outcome));
            }
            !ended
        });
    }
}
