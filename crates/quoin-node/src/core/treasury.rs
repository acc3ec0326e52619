//! Signing with treasury keys: the first round binds, the second answers.
//!
//! ```text
//!   request ──► judged, reserved, consumed and bound in one record ──► durable ──► opening
//!   openings of all signers ──► signatures checked ──► answer
//! ```
//!
//! The opening is this node's signed word that the presignature is bound, on its disk, to one digest
//! for ever; so it is made only after the record is durable, and there is one opening for each
//! presignature. What is bound lives in memory only: a restart, of this node or of another signer,
//! burns it, and so does a charter that comes into force in between. Source: construction, sections
//! 10.5 and 21.3; design, section 6.

use super::freezes::Grounds;
use super::keys::KeyEntry;
use super::requests::{PendingSign, To};
use super::{Node, Peer, Turn};
use quoin_api::frame::{Opaque, OpeningsFrame, Refusal, Reply, SigningHint, Unavailable};
use quoin_core::ids::NODE_INDEX_MAX;
use quoin_core::{
    KeyId, NodeIndex, PresignatureId, PublicCredential, Purpose, RequestId, ShareEpoch, Signed,
    TimeMs,
};
use quoin_policy::Warrant;
use quoin_protocol::{
    Binding, Bound, KeyShare, Opening, Presignature, SignFault, bind, binding_of,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The most presignatures that wait for the second round: a bound on memory, far above what a
/// treasury asks for at a time. Beyond it the oldest is burnt.
pub(super) const BOUND_MAX: usize = 256;
/// How long the second round may take. A gateway gives an attempt up after 1.5 s; what was permitted
/// longer ago than this must be judged again.
pub(super) const BOUND_MS: u64 = 10_000;

/// A presignature that is bound, and what was said of it.
struct Entry {
    bound: Bound,
    request_id: RequestId,
    /// The opening (`Signed<Opening>`), to be sent again byte for byte.
    opening: Vec<u8>,
    since: TimeMs,
    /// What held when the request was judged.
    grounds: Grounds,
}

impl Entry {
    fn is_fresh(&self, now: TimeMs) -> bool {
        now.since(self.since) < BOUND_MS
    }
}

/// The presignatures that wait for the openings of the other signers.
#[derive(Default)]
pub(super) struct BoundSet(BTreeMap<PresignatureId, Entry>);

impl BoundSet {
    fn insert(&mut self, entry: Entry) {
        if self.0.len() >= BOUND_MAX {
            let oldest = self.0.iter().min_by_key(|(_, e)| e.since);
            let oldest = oldest.map(|(id, _)| *id);
            drop(oldest.and_then(|id| self.0.remove(&id)));
        }
        self.0.insert(entry.bound.presignature(), entry);
    }

    fn fresh(&self, id: &PresignatureId, request: RequestId, now: TimeMs) -> Option<&Entry> {
        let entry = self.0.get(id)?;
        (entry.request_id == request && entry.is_fresh(now)).then_some(entry)
    }

    pub(super) fn expire(&mut self, now: TimeMs) {
        self.0.retain(|_, entry| entry.is_fresh(now));
    }

    pub(super) fn drop_node(&mut self, node: NodeIndex) {
        self.0.retain(|_, e| !e.bound.binding().set.contains(node));
    }

    pub(super) fn drop_epoch(&mut self, key: KeyId, epoch: ShareEpoch) {
        let of = |b: &Binding| (b.key, b.epoch) == (key, epoch);
        self.0.retain(|_, entry| !of(entry.bound.binding()));
    }

    pub(super) fn drop_key(&mut self, key: KeyId) {
        self.0.retain(|_, e| e.bound.binding().key != key);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    #[cfg(test)]
    pub(super) fn has(&self, id: &PresignatureId) -> bool {
        self.0.contains_key(id)
    }
}

impl Node {
    /// The opening that was sent for this very request and presignature, byte for byte.
    pub(super) fn opening_again(
        &self,
        request: RequestId,
        hint: Option<&SigningHint>,
        now: TimeMs,
    ) -> Option<Reply> {
        let hint = hint?;
        let bound = &self.pools.bound;
        let entry = bound.fresh(&hint.presignature, request, now)?;
        let same = entry.bound.binding().set == hint.set;
        same.then(|| Reply::Opening(entry.opening.clone()))
    }

    /// To what a presignature of a treasury key will be bound: part of the record of the decision.
    pub(super) fn binding_to_record(
        &self,
        warrant: &Warrant,
        presignature: Option<&Presignature>,
        key: KeyId,
    ) -> Result<Option<Binding>, Reply> {
        let gone = || Reply::Unavailable(Unavailable::PresignatureGone);
        let Some(presignature) = presignature else {
            return Ok(None);
        };
        let share = self.keys.get(&key);
        let share = share.and_then(|e| e.share_of(Some(presignature.header().epoch)));
        let share = share.ok_or_else(gone)?;
        if share.public.purpose != Purpose::Treasury {
            return Ok(None);
        }
        let binding = binding_of(warrant, presignature, &share);
        binding.map(Some).map_err(|_| gone())
    }

    /// Binds the presignature, and sends this node's opening; the record of it is durable.
    pub(super) fn open(
        &mut self,
        turn: &mut Turn<'_>,
        pending: PendingSign,
        recorded: &Binding,
        share: &KeyShare,
    ) {
        let grounds = pending.grounds();
        let (to, request_id, warrant, presignature) = pending.into_parts();
        let gone = Reply::Unavailable(Unavailable::PresignatureGone);
        let Some(presignature) = presignature else {
            return self.reply_to(turn, to, request_id, gone);
        };
        let made = bind(warrant, presignature, share).ok();
        // What leaves is what was written down, or nothing does.
        let Some((bound, opening)) = made.filter(|(bound, _)| bound.binding() == recorded) else {
            return self.reply_to(turn, to, request_id, gone);
        };
        let opening = Signed::sign(opening, &self.identity).to_bytes();
        self.pools.bound.insert(Entry {
            bound,
            request_id,
            opening: opening.clone(),
            since: turn.now,
            grounds,
        });
        self.reply_to(turn, to, request_id, Reply::Opening(opening));
    }

    /// The second round: all signers have opened, so this node answers.
    pub(super) fn on_openings(&mut self, turn: &mut Turn<'_>, peer: Peer, frame: &OpeningsFrame) {
        let request_id = frame.request_id;
        let reply = match self.finish_bound(turn, frame) {
            Ok(reply) | Err(reply) => reply,
        };
        self.reply_to(turn, To(peer, frame.attempt), request_id, reply);
    }

    fn finish_bound(&mut self, turn: &Turn<'_>, frame: &OpeningsFrame) -> Result<Reply, Reply> {
        if self.storage_failed {
            return Err(Reply::Unavailable(Unavailable::StorageFailed));
        }
        let finished = self.requests.get(&frame.request_id);
        if let Some(finished) = finished.and_then(|s| s.finished.clone()) {
            return Err(Reply::AlreadySigned(finished));
        }
        let gone = || Reply::Unavailable(Unavailable::PresignatureGone);
        let bound = &self.pools.bound;
        let entry = bound.fresh(&frame.presignature, frame.request_id, turn.now);
        // What a charter, a freeze or a veto has overtaken is not answered.
        let charter = self.constitution.hash();
        let entry = entry.filter(|e| {
            let key = e.bound.binding().key;
            !self.is_overtaken(e.bound.warrant(), key, e.grounds)
        });
        let binding = entry.ok_or_else(gone)?.bound.binding().clone();
        let share = self.share_to_finish(&binding, turn.now)?;
        let openings = self.read_openings(&binding, &share, &frame.openings)?;
        // From here on the presignature is gone, whatever comes of it.
        let entry = self.pools.bound.0.remove(&frame.presignature);
        let bound = entry.ok_or_else(gone)?.bound;
        let rules = bound.warrant().rules().to_vec();
        let signed = bound.finish(openings, &share).map_err(refused)?;
        let answer = super::requests::Partial {
            request_id: frame.request_id,
            key: binding.key,
            set: Some(signed.set),
            presignature: Some(signed.presignature),
            view: signed.partial.view,
            body: signed.partial.body,
            charter,
            rules,
        };
        Ok(self.state_answer(answer))
    }

    /// The share that answers, if the node and the key still may: what held when the request was
    /// judged must hold when the answer leaves.
    fn share_to_finish(&self, binding: &Binding, now: TimeMs) -> Result<Arc<KeyShare>, Reply> {
        let entry = self.keys.get(&binding.key);
        let why = entry.and_then(KeyEntry::not_in_use);
        let why = why.or_else(|| self.unavailable_for(Purpose::Treasury, now));
        if let Some(why) = why {
            return Err(Reply::Unavailable(why));
        }
        let share = entry.and_then(|e| e.share_of(Some(binding.epoch)));
        share.ok_or(Reply::Unavailable(Unavailable::UnknownKey))
    }

    /// Reads one opening of each signer, each signed by the identity to which that signer's share
    /// was dealt. What they say is for [`Bound::finish`] to compare.
    ///
    /// A frame that fails here does not burn what is bound: nothing was computed with it, and who
    /// can only make up openings must not be able to spoil an attempt.
    fn read_openings(
        &self,
        binding: &Binding,
        share: &KeyShare,
        openings: &[Opaque],
    ) -> Result<BTreeMap<NodeIndex, Opening>, Reply> {
        if openings.len() > usize::from(NODE_INDEX_MAX) {
            return Err(forged("there are more openings than nodes".to_owned()));
        }
        let roster = self.rosters.get(&share.public.charter);
        let nodes = roster.map(|r| &r.nodes);
        let mut read = BTreeMap::new();
        for bytes in openings {
            let opening = read_opening(bytes, nodes)?;
            let node = opening.node;
            if !binding.set.contains(node) {
                return Err(forged(format!("node {node} is no signer of this set")));
            }
            if read.insert(node, opening).is_some() {
                return Err(forged(format!("node {node} has two openings")));
            }
        }
        match binding.set.iter().find(|n| !read.contains_key(n)) {
            Some(node) => Err(forged(format!("the opening of node {node} is missing"))),
            None => Ok(read),
        }
    }
}

fn read_opening(
    bytes: &Opaque,
    nodes: Option<&BTreeMap<NodeIndex, PublicCredential>>,
) -> Result<Opening, Reply> {
    let signed = Signed::<Opening>::from_bytes(&bytes.0);
    let signed = signed.map_err(|e| forged(format!("an opening cannot be read: {e}")))?;
    let node = signed.unverified().node;
    let credential = nodes.and_then(|n| n.get(&node));
    let opening = credential.and_then(|c| signed.verify(c).ok());
    let opening = opening.cloned();
    opening.ok_or_else(|| forged(format!("node {node} has not signed its opening")))
}

/// The openings are not what their signers signed: the gateway's doing, not theirs.
fn forged(message: String) -> Reply {
    Reply::Rejected(Refusal {
        field: "openings".to_owned(),
        message,
    })
}

/// The openings are what their signers signed, and do not belong together.
fn refused(fault: SignFault) -> Reply {
    match fault {
        SignFault::OpeningMissing(node) => Reply::OpeningsRefused(Some(node)),
        fault => Reply::OpeningsRefused(fault.culprit()),
    }
}
