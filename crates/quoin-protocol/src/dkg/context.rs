//! The context of a key ceremony: what it is about, who takes part, and its signed broadcasts.
//!
//! Each node builds the context from its own state. Its hash `sid` enters every signature, hash,
//! proof and ciphertext of the ceremony, so nothing can be moved from one ceremony to another.

use super::wire::{BODY_BYTES_MAX, CommitBody, SignedBody};
use crate::abort::{Abort, Fault};
use crate::roster::Roster;
use crate::round::{Inbox, Outbox, RoundMessage};
use minicbor::Encode;
use quoin_core::cbor::{self, Version};
use quoin_core::hash::{TaggedHasher, tagged};
use quoin_core::signer_set::SIGNERS_MAX;
use quoin_core::{
    Boot, CeremonyId, CharterNumber, ClusterId, CredentialId, KeyId, KeyName, NodeIndex,
    PublicCredential, Purpose, Scheme, tags,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a key ceremony is about; equal at every node, or the ceremony ends at its first message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DkgParams {
    /// The cluster.
    pub cluster: ClusterId,
    /// The charter in force.
    pub charter: CharterNumber,
    /// The ceremony.
    pub ceremony: CeremonyId,
    /// The key to be born.
    pub key: KeyId,
    /// Its name.
    pub name: KeyName,
    /// Its scheme.
    pub scheme: Scheme,
    /// Its purpose.
    pub purpose: Purpose,
    /// How many shares sign.
    pub threshold: u8,
    /// The boot of every node of the cluster, ascending by node.
    pub boots: Vec<Boot>,
}

/// The kind of a ceremony; only generation exists so far.
#[derive(Encode)]
#[cbor(index_only)]
enum Kind {
    #[n(0)]
    Generation,
}

/// What `sid` is the hash of.
#[derive(Encode)]
struct Header<'a> {
    #[n(0)]
    version: Version<1>,
    #[n(1)]
    kind: Kind,
    #[n(2)]
    cluster: &'a ClusterId,
    #[n(3)]
    charter: CharterNumber,
    #[n(4)]
    ceremony: &'a CeremonyId,
    #[n(5)]
    key: &'a KeyId,
    #[n(6)]
    name: &'a KeyName,
    #[n(7)]
    scheme: Scheme,
    #[n(8)]
    purpose: Purpose,
    #[n(9)]
    threshold: u8,
    #[n(10)]
    nodes: Vec<NodeIndex>,
    #[n(11)]
    credentials: Vec<CredentialId>,
    #[n(12)]
    boots: &'a [Boot],
}

impl DkgParams {
    /// The hash that stands for this ceremony among these nodes.
    #[must_use]
    pub fn sid(&self, nodes: &BTreeMap<NodeIndex, PublicCredential>) -> [u8; 32] {
        let header = Header {
            version: Version,
            kind: Kind::Generation,
            cluster: &self.cluster,
            charter: self.charter,
            ceremony: &self.ceremony,
            key: &self.key,
            name: &self.name,
            scheme: self.scheme,
            purpose: self.purpose,
            threshold: self.threshold,
            nodes: nodes.keys().copied().collect(),
            credentials: nodes.values().map(PublicCredential::id).collect(),
            boots: &self.boots,
        };
        tagged(tags::DKG_CTX, &[&cbor::encode(&header)])
    }

    /// Whether the ceremony can run among these nodes at all.
    fn fits(&self, nodes: &BTreeMap<NodeIndex, PublicCredential>) -> bool {
        let distinct: BTreeSet<CredentialId> = nodes.values().map(PublicCredential::id).collect();
        threshold_fits(self.threshold, nodes.len())
            && distinct.len() == nodes.len()
            && self.boots.iter().map(|b| b.node).eq(nodes.keys().copied())
    }
}

/// Whether `threshold` of `nodes` can sign: no more than there are nodes, and no more than one
/// signature may have signers.
///
/// A threshold of 1 makes a *local* key: every node then holds the whole of it. It exists to be
/// compared with; charters cannot ask for it (their threshold is at least 2), only a request that
/// names the `local` custody method can, and [`crate::sign`] never serves it.
pub(crate) fn threshold_fits(threshold: u8, nodes: usize) -> bool {
    let threshold = usize::from(threshold);
    (1..=SIGNERS_MAX).contains(&threshold) && threshold <= nodes
}

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
    pub(crate) params: DkgParams,
    pub(crate) roster: Arc<Roster>,
    pub(crate) sid: [u8; 32],
}

impl Context {
    pub(crate) fn new(params: DkgParams, roster: Arc<Roster>) -> Result<Self, Abort> {
        let mine = roster.nodes.get(&roster.me);
        if !params.fits(&roster.nodes) || mine != Some(&roster.identity.public()) {
            return Err(Abort::one(None, Fault::HeaderDiffers));
        }
        let sid = params.sid(&roster.nodes);
        Ok(Self {
            params,
            roster,
            sid,
        })
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
            if !inbox.contains_key(&missing) {
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
        if message.round != round {
            return Err(Fault::WrongRound);
        }
        if !message.private.is_empty() || message.broadcast.len() > BODY_BYTES_MAX {
            return Err(Fault::WrongLength);
        }
        if round == 1 && self.is_of_another_ceremony(&message.broadcast) {
            return Err(Fault::ContextDiffers);
        }
        let digest = digest(&self.sid, round, sender, &message.broadcast);
        if !credential.verifies(&digest, &message.signature) {
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
