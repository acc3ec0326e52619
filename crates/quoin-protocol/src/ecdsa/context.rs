//! One batch as this signer sees it: the checked header, contexts, and signed broadcasts.
//!
//! Not here: whether the batch id is fresh and the boots are current; the node knows that and asks
//! before it starts a session. Source: construction, sections 4 and 5.

use super::field::{base_mul, decode_point, decode_scalar, encode_point, lagrange};
use super::guard::Guard;
use super::params::{Params, batch_size_is_allowed};
use crate::batch::{BatchHeader, Profile};
use crate::roster::Roster;
use crate::round::{Inbox, Outbox, RoundMessage};
use crate::share::KeyShare;
use crate::{Abort, Fault};
use k256::{AffinePoint, ProjectivePoint, Scalar};
use quoin_core::hash::{TaggedHasher, tagged};
use quoin_core::tags::{self, Tag};
use quoin_core::{NodeIndex, PublicCredential, Purpose, Scheme, SecretBytes, cbor};
use std::collections::BTreeMap;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Faults found so far; a round evaluates every peer before it ends the session.
#[derive(Default)]
pub(super) struct Faults(Vec<(Option<NodeIndex>, Fault)>);

impl Faults {
    /// Notes a fault.
    pub(super) fn note(&mut self, culprit: Option<NodeIndex>, fault: Fault) {
        self.0.push((culprit, fault));
    }

    /// Whether nothing was noted.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Ends the session when anything was noted.
    pub(super) fn settle(self) -> Result<(), Abort> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Abort::many(self.0))
        }
    }
}

/// What all rounds of a batch share. Holds no secret.
pub(super) struct Session {
    /// The checked header.
    pub(super) header: Arc<BatchHeader>,
    /// Hash of the header.
    pub(super) ctx0: [u8; 32],
    /// The key that the batch is for.
    pub(super) public_key: AffinePoint,
    /// This signer.
    pub(super) me: NodeIndex,
    /// `lambda_j X_j` of every signer: its certified share, weighted for this set.
    pub(super) weighted: BTreeMap<NodeIndex, ProjectivePoint>,
    roster: Arc<Roster>,
}

/// This signer's secrets that outlive no batch: `lambda_i x_i`, and what hedges randomness.
pub(super) struct OwnShare {
    /// The share times its Lagrange coefficient.
    pub(super) weighted: Zeroizing<Scalar>,
    /// A secret of this node, for hedging only.
    pub(super) node_secret: SecretBytes<32>,
}

impl Session {
    /// Checks the header against the share and the roster.
    pub(super) fn open<P: Params>(
        header: BatchHeader,
        share: &KeyShare,
        roster: Arc<Roster>,
    ) -> Result<(Self, OwnShare), Abort> {
        check_header::<P>(&header, share, &roster).map_err(|fault| Abort::one(None, fault))?;
        let (own, weighted) = own_share(&header, share, &roster)
            .ok_or_else(|| Abort::one(None, Fault::WrongShare))?;
        let session = Self::new(header, roster, weighted)
            .ok_or_else(|| Abort::one(None, Fault::HeaderDiffers))?;
        Ok((session, own))
    }

    fn new(
        header: BatchHeader,
        roster: Arc<Roster>,
        weighted: BTreeMap<NodeIndex, ProjectivePoint>,
    ) -> Option<Self> {
        let public_key = decode_point(header.public_key.as_slice().try_into().ok()?)?;
        let ctx0 = tagged(tags::ECDSA_CTX0, &[&cbor::encode(&header)]);
        Some(Self {
            header: Arc::new(header),
            ctx0,
            public_key,
            me: roster.me,
            weighted,
            roster,
        })
    }

    /// Whether the batch is of a treasury key, whose presignatures sign in two rounds.
    pub(super) fn is_treasury(&self) -> bool {
        self.header.profile == Profile::Treasury
    }

    /// How many presignatures the batch makes.
    pub(super) fn size(&self) -> usize {
        usize::from(self.header.size)
    }

    /// The other signers in ascending order.
    pub(super) fn others(&self) -> Vec<NodeIndex> {
        self.header.set.others(self.me).collect()
    }

    /// Signers that come after `node`: those to whom it commits and sends a zero-share seed.
    pub(super) fn later_than(&self, node: NodeIndex) -> Vec<NodeIndex> {
        self.header.set.iter().filter(|n| *n > node).collect()
    }

    /// Hashes every signer's broadcast in order, the own one included. Where a broadcast is missing
    /// the session has a fault already and ends, so its value there does not matter.
    pub(super) fn hash_broadcasts(
        &self,
        tag: Tag,
        context: &[u8; 32],
        own: &[u8],
        inbox: &Inbox,
    ) -> [u8; 32] {
        let mut hasher = TaggedHasher::new(tag);
        hasher.part(context);
        for node in self.header.set.iter() {
            let body = inbox.get(&node).map_or(own, |m| m.broadcast.as_slice());
            hasher.part(body);
        }
        hasher.finish()
    }

    fn broadcast_hash(&self, round: u8, sender: NodeIndex, body: &[u8]) -> [u8; 32] {
        tagged(
            tags::ECDSA_BCAST,
            &[&self.ctx0, &[round], &[sender.get()], body],
        )
    }

    /// Signs `message` as this node.
    pub(super) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.roster.identity.sign(message)
    }

    /// Whether `signature` is `node`'s over `message`.
    pub(super) fn verifies(&self, node: NodeIndex, message: &[u8], signature: &[u8; 64]) -> bool {
        self.roster
            .nodes
            .get(&node)
            .is_some_and(|c| c.verifies(message, signature))
    }

    /// One message to each other signer: the same signed broadcast, and each one's private part.
    pub(super) fn outbox(
        &self,
        round: u8,
        broadcast: &[u8],
        private: BTreeMap<NodeIndex, Vec<u8>>,
    ) -> Outbox {
        let signature = self.sign(&self.broadcast_hash(round, self.me, broadcast));
        private
            .into_iter()
            .map(|(node, private)| {
                let message = RoundMessage {
                    round,
                    broadcast: broadcast.to_vec(),
                    signature,
                    private,
                };
                (node, message)
            })
            .collect()
    }

    /// Checks senders, round, exact lengths and broadcast signatures. Well-formed messages come
    /// back; every other one is a fault of its sender.
    pub(super) fn receive(
        &self,
        round: u8,
        mut inbox: Inbox,
        lengths: impl Fn(NodeIndex, &RoundMessage) -> (usize, usize),
        faults: &mut Faults,
    ) -> Inbox {
        let mut received = Inbox::new();
        for node in self.others() {
            let Some(message) = inbox.remove(&node) else {
                faults.note(Some(node), Fault::WrongParticipants);
                continue;
            };
            match self.check_message(round, node, &message, lengths(node, &message)) {
                Ok(()) => {
                    received.insert(node, message);
                }
                Err(fault) => faults.note(Some(node), fault),
            }
        }
        for stranger in inbox.keys() {
            faults.note(Some(*stranger), Fault::WrongParticipants);
        }
        received
    }

    fn check_message(
        &self,
        round: u8,
        sender: NodeIndex,
        message: &RoundMessage,
        (broadcast, private): (usize, usize),
    ) -> Result<(), Fault> {
        if message.round != round {
            return Err(Fault::WrongRound);
        }
        if round == 1 && self.is_of_another_batch(&message.broadcast) {
            return Err(Fault::ContextDiffers);
        }
        let exact = message.broadcast.len() == broadcast && message.private.len() == private;
        if !Guard::ExactLength.holds(exact) {
            return Err(Fault::WrongLength);
        }
        let hash = self.broadcast_hash(round, sender, &message.broadcast);
        let signed = self.verifies(sender, &hash, &message.signature);
        if !Guard::BroadcastSignature.holds(signed) {
            return Err(Fault::BadBroadcastSignature);
        }
        Ok(())
    }

    /// Whether a first broadcast names another header than ours.
    ///
    /// A proposer can give two signers one batch id with different headers. Each then signs for
    /// its own, which cannot verify at the other, and its lengths may differ too: so this comes
    /// before both and names nobody as a cheat.
    fn is_of_another_batch(&self, broadcast: &[u8]) -> bool {
        let named = broadcast.first_chunk();
        named.is_some_and(|named| *named != self.ctx0)
    }
}

/// A header is refused unless this node would have built the same one (section 4).
fn check_header<P: Params>(
    header: &BatchHeader,
    share: &KeyShare,
    roster: &Roster,
) -> Result<(), Fault> {
    let key = &share.public;
    if !batch_size_is_allowed::<P>(header.size) {
        return Err(Fault::WrongBatchSize);
    }
    // One-round presignatures for a treasury key would silently drop what its purpose promises.
    if (header.profile == Profile::Treasury) != (key.purpose == Purpose::Treasury) {
        return Err(Fault::UnsupportedProfile);
    }
    let key_matches = header.scheme == Scheme::Ecdsa
        && key.scheme == Scheme::Ecdsa
        && header.cluster == key.cluster
        && header.key == key.key
        && header.public_key == key.public_key
        && header.epoch == key.epoch
        && header.shares_hash == key.shares_hash();
    // Exactly t signers: a spare share would make split views fatal (section 10.3).
    let set_matches = header.set.size() == usize::from(key.threshold)
        && header.set.contains(roster.me)
        && share.node == roster.me;
    let own_credential = roster.nodes.get(&roster.me) == Some(&roster.identity.public());
    let members_match = own_credential && members_match(header, roster);
    if Guard::Header.holds(key_matches && members_match) && Guard::SignerSet.holds(set_matches) {
        Ok(())
    } else {
        Err(Fault::HeaderDiffers)
    }
}

fn members_match(header: &BatchHeader, roster: &Roster) -> bool {
    let size = header.set.size();
    let credentials = header.set.iter().zip(&header.credentials);
    header.credentials.len() == size
        && header.boots.len() == size
        && header.set.contains(header.batch.proposer.node)
        && header
            .set
            .iter()
            .zip(&header.boots)
            .all(|(node, boot)| boot.node == node)
        && credentials
            .into_iter()
            .all(|(node, id)| roster.nodes.get(&node).map(PublicCredential::id) == Some(*id))
}

/// The weighted share, and everyone's weighted public share; `None` when the stored share is not
/// the one that was certified, or the signers' certified shares do not interpolate to the key.
fn own_share(
    header: &BatchHeader,
    share: &KeyShare,
    roster: &Roster,
) -> Option<(OwnShare, BTreeMap<NodeIndex, ProjectivePoint>)> {
    let secret = Zeroizing::new(decode_scalar(share.secret.expose())?);
    let point = base_mul(&secret).to_affine();
    let certified = encode_point(&point) == *share.public.public_share(roster.me)?;
    let mut weighted = BTreeMap::new();
    let mut sum = ProjectivePoint::IDENTITY;
    for node in header.set.iter() {
        let public = share.public.public_share(node)?.try_into().ok()?;
        let point = decode_point(public)? * lagrange(&header.set, node)?;
        sum += point;
        weighted.insert(node, point);
    }
    let adds_up = encode_point(&sum.to_affine()) == *header.public_key;
    if !Guard::CertifiedShare.holds(certified && adds_up) {
        return None;
    }
    Some((weigh(header, share, roster, &secret)?, weighted))
}

fn weigh(
    header: &BatchHeader,
    share: &KeyShare,
    roster: &Roster,
    secret: &Scalar,
) -> Option<OwnShare> {
    let mut hedge = tagged(
        tags::ECDSA_RNG,
        &[roster.identity.to_seed().expose(), share.secret.expose()],
    );
    Some(OwnShare {
        weighted: Zeroizing::new(lagrange(&header.set, roster.me)? * secret),
        node_secret: SecretBytes::take(&mut hedge),
    })
}

/// One direction of a pair after round 1: Alice multiplies, Bob chooses. Everything that either
/// hashes from then on names the batch and the direction.
#[derive(Clone, Copy)]
pub(super) struct Direction {
    /// Hash of all first broadcasts.
    pub(super) ctx1: [u8; 32],
    /// Alice's and Bob's index.
    pub(super) dir: [u8; 2],
}

impl Direction {
    /// The direction in which `alice` multiplies by what `bob` chooses.
    pub(super) fn new(ctx1: [u8; 32], alice: NodeIndex, bob: NodeIndex) -> Self {
        Self {
            ctx1,
            dir: [alice.get(), bob.get()],
        }
    }

    /// A hash that has taken context and direction.
    pub(super) fn hasher(&self, tag: Tag) -> TaggedHasher {
        let mut hasher = TaggedHasher::new(tag);
        hasher.part(&self.ctx1).part(&self.dir);
        hasher
    }

    /// `T2`: what both sides hash after round 2.
    pub(super) fn transcript(&self, opening: &[u8], round2: &[u8]) -> [u8; 32] {
        let mut hasher = self.hasher(tags::ECDSA_T2);
        hasher.part(opening).part(round2);
        hasher.finish()
    }
}

/// Adds parts to a copy of a prepared hash.
pub(super) fn extend(hasher: &TaggedHasher, parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = hasher.clone();
    for part in parts {
        hasher.part(part);
    }
    hasher.finish()
}
