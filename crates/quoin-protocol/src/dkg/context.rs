//! The context of a key ceremony: what it is about, who takes part, and its signed broadcasts.
//!
//! Each node builds the context from its own state. Its hash `sid` enters every signature, hash,
//! proof and ciphertext of the ceremony, so nothing can be moved from one ceremony to another.

use super::guard::Guard;
use super::plan::Plan;
use super::wire::{BODY_BYTES_MAX, CommitBody, SignedBody};
use crate::abort::{Abort, Fault};
use crate::roster::Roster;
use crate::round::{Inbox, Outbox, RoundMessage};
use quoin_core::cbor;
use quoin_core::hash::{TaggedHasher, tagged};
use quoin_core::{NodeIndex, tags};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a sender signs in a round, and what stands for the broadcast in every later hash.
pub(crate) fn digest(sid: &[u8; 32], round: u8, sender: NodeIndex, body: &[u8]) -> [u8; 32] {
    tagged(tags::ROUND, &[sid, &[round], &[sender.get()], body])
}

/// The hash of all round-1 broadcasts, from their digests in ascending order of sender.
pub(crate) fn round1_hash<'a>(
    sid: &[u8; 32],
    digests: impl IntoIterator<Item = &'a [u8; 32]>,
) -> [u8; 32] {
    let mut hasher = TaggedHasher::new(tags::DKG_ROUND1);
    hasher.part(sid);
    for digest in digests {
        hasher.part(digest);
    }
    hasher.finish()
}

/// One broadcast whose signature is right.
#[derive(Clone)]
pub(crate) struct Heard {
    pub(crate) signed: SignedBody,
    pub(crate) digest: [u8; 32],
}

/// The broadcasts of one round, by sender.
pub(crate) type View = BTreeMap<NodeIndex, Heard>;

/// The ceremony as one node sees it.
pub(crate) struct Context {
    pub(crate) plan: Plan,
    pub(crate) roster: Arc<Roster>,
    pub(crate) sid: [u8; 32],
}

impl Context {
    pub(crate) fn new(plan: Plan, roster: Arc<Roster>) -> Result<Self, Abort> {
        plan.check(&roster.nodes)
            .map_err(|fault| Abort::one(None, fault))?;
        let mine = roster.nodes.get(&roster.me);
        if !Guard::Myself.holds(mine == Some(&roster.identity.public())) {
            return Err(Abort::one(None, Fault::HeaderDiffers));
        }
        let sid = plan.sid(&roster.nodes);
        Ok(Self { plan, roster, sid })
    }

    pub(crate) fn me(&self) -> NodeIndex {
        self.roster.me
    }

    pub(crate) fn nodes(&self) -> Vec<NodeIndex> {
        self.roster.nodes.keys().copied().collect()
    }

    /// Every node but `node`.
    pub(crate) fn others_of(&self, node: NodeIndex) -> Vec<NodeIndex> {
        let nodes = self.roster.nodes.keys().copied();
        nodes.filter(|n| *n != node).collect()
    }

    /// Every dealer but `node`.
    pub(crate) fn dealers_for(&self, node: NodeIndex) -> Vec<NodeIndex> {
        let mut others = self.others_of(node);
        others.retain(|other| self.plan.deals(*other));
        others
    }

    /// Signs `body` and addresses it to every other node.
    pub(crate) fn broadcast(&self, round: u8, body: Vec<u8>) -> (Heard, Outbox) {
        let digest = digest(&self.sid, round, self.me(), &body);
        let signature = self.roster.identity.sign(&digest);
        let message = RoundMessage {
            round,
            broadcast: body.clone(),
            signature,
            private: Vec::new(),
        };
        let others = self.others_of(self.me()).into_iter();
        let outbox = others.map(|n| (n, message.clone())).collect();
        let signed = SignedBody { body, signature };
        (Heard { signed, digest }, outbox)
    }

    /// Checks the envelopes of a round: one message of the round from each other node, nothing in
    /// private, of bounded length, and signed by its sender.
    pub(crate) fn receive(&self, round: u8, inbox: Inbox) -> Result<View, Abort> {
        let mut faults = Vec::new();
        let mut view = View::new();
        for missing in self.others_of(self.me()) {
            if !Guard::Present.holds(inbox.contains_key(&missing)) {
                faults.push((Some(missing), Fault::WrongParticipants));
            }
        }
        for (sender, message) in inbox {
            match self.read(round, sender, message) {
                Ok(heard) => {
                    view.insert(sender, heard);
                }
                Err(fault) => faults.push((Some(sender), fault)),
            }
        }
        if faults.is_empty() {
            Ok(view)
        } else {
            Err(Abort::many(faults))
        }
    }

    fn read(&self, round: u8, sender: NodeIndex, message: RoundMessage) -> Result<Heard, Fault> {
        let credential = self.roster.nodes.get(&sender);
        let credential = credential.filter(|_| sender != self.me());
        let credential = credential.ok_or(Fault::WrongParticipants)?;
        if !Guard::Round.holds(message.round == round) {
            return Err(Fault::WrongRound);
        }
        let bounded = message.broadcast.len() <= BODY_BYTES_MAX;
        if !Guard::NothingPrivate.holds(message.private.is_empty())
            || !Guard::Bounded.holds(bounded)
        {
            return Err(Fault::WrongLength);
        }
        let ours = round != 1 || !self.is_of_another_ceremony(&message.broadcast);
        if !Guard::SameCeremony.holds(ours) {
            return Err(Fault::ContextDiffers);
        }
        let digest = digest(&self.sid, round, sender, &message.broadcast);
        if !Guard::Signed.holds(credential.verifies(&digest, &message.signature)) {
            return Err(Fault::BadBroadcastSignature);
        }
        let signed = SignedBody {
            body: message.broadcast,
            signature: message.signature,
        };
        Ok(Heard { signed, digest })
    }

    /// Whether a first broadcast is for a ceremony with another header than ours.
    ///
    /// Its signature is then over another `sid` and cannot verify here; the sender may be honest,
    /// so this comes before the signature and names nobody as a cheat.
    fn is_of_another_ceremony(&self, body: &[u8]) -> bool {
        cbor::decode::<CommitBody>(body, BODY_BYTES_MAX).is_ok_and(|body| body.sid != self.sid)
    }
}
