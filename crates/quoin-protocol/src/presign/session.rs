//! The session of a nonce batch: two rounds in which signers exchange nonce commitments.
//!
//! Round 1 broadcasts the commitments of the whole batch; round 2 confirms that everyone saw the
//! same first round. Only then do presignatures exist. Without the second round a network that
//! shows different commitments to different signers would make answers that never combine, and
//! nobody could be blamed for it.
//!
//! The session is generic over the scheme, so that the simulator's toy scheme runs this very code.
//! It does not sign messages and knows no secret but by owning it until the batch is confirmed.

use super::Started;
use crate::abort::{Abort, Fault};
use crate::batch::BatchHeader;
use crate::roster::Roster;
use crate::round::{Advance, Inbox, Outbox, Round, RoundMessage};
use quoin_core::hash::tagged;
use quoin_core::tags::{self, Tag};
use quoin_core::{BatchHash, NodeIndex, PresignatureId, cbor};
use rand_core::CryptoRngCore;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a scheme adds to the session.
pub(crate) trait NonceScheme: Send + 'static {
    /// The secret half of one nonce.
    type Secret: Send;
    /// The public half of one nonce, decoded.
    type Commitment: Send;
    /// What the batch is made of in the end.
    type Presignature: Send;

    /// The length of one encoded point.
    const POINT_BYTES: usize;
    /// How many points commit to one nonce.
    const POINTS: usize;

    /// The canonical encoding of a commitment, `POINTS * POINT_BYTES` bytes.
    fn encoded(commitment: &Self::Commitment) -> &[u8];

    /// Reads a commitment; `None` unless each point is canonical and not the identity.
    fn decode(&self, bytes: &[u8]) -> Option<Self::Commitment>;

    /// Signs a hash of the session as this node.
    fn sign(roster: &Roster, hash: &[u8; 32]) -> [u8; 64];

    /// Whether `signature` is that of `node` over `hash`.
    fn verifies(roster: &Roster, node: NodeIndex, hash: &[u8; 32], signature: &[u8; 64]) -> bool;

    /// Puts one presignature together; `commitments` are those of all signers in index order.
    fn assemble(
        &self,
        id: PresignatureId,
        secret: Self::Secret,
        commitments: BTreeMap<NodeIndex, Self::Commitment>,
    ) -> Self::Presignature;
}

/// Starts the session with this node's fresh nonces. The header has been checked.
pub(crate) fn start<S: NonceScheme>(
    scheme: S,
    header: BatchHeader,
    roster: Arc<Roster>,
    own: Vec<(S::Secret, S::Commitment)>,
) -> Started<Vec<S::Presignature>> {
    let context = tagged(tags::FROST_CTX, &[&cbor::encode(&header)]);
    let body: Vec<u8> = own
        .iter()
        .flat_map(|(_, commitment)| S::encoded(commitment))
        .copied()
        .collect();
    let place = Place {
        header,
        roster,
        context,
    };
    let broadcast = [context.as_slice(), &body].concat();
    let hash = place.hash(tags::ROUND, OPENING, place.roster.me, &broadcast);
    let outbox = place.to_all::<S>(OPENING, &hash, &broadcast);
    let round = Opening {
        scheme,
        place,
        own,
        body,
    };
    (Box::new(round), outbox)
}

/// The number of the round that exchanges commitments.
const OPENING: u8 = 1;
/// The number of the round that confirms the transcript.
const CONFIRMING: u8 = 2;

/// Where a session is: whose batch, between whom.
struct Place {
    header: BatchHeader,
    roster: Arc<Roster>,
    context: [u8; 32],
}

impl Place {
    fn others(&self) -> Vec<NodeIndex> {
        self.header.set.others(self.roster.me).collect()
    }

    /// The hash that `sender` signs: the session, the place in it, and the broadcast.
    fn hash(&self, tag: Tag, round: u8, sender: NodeIndex, broadcast: &[u8]) -> [u8; 32] {
        tagged(tag, &[&self.context, &[round], &[sender.get()], broadcast])
    }

    fn to_all<S: NonceScheme>(&self, round: u8, hash: &[u8; 32], broadcast: &[u8]) -> Outbox {
        let message = RoundMessage {
            round,
            broadcast: broadcast.to_vec(),
            signature: S::sign(&self.roster, hash),
            private: Vec::new(),
        };
        self.header
            .set
            .others(self.roster.me)
            .map(|node| (node, message.clone()))
            .collect()
    }

    /// Splits the inbox into bodies of the right form, signed by their senders, and faults. A
    /// first broadcast is the session's context and then the body.
    fn open<S: NonceScheme>(
        &self,
        inbox: Inbox,
        round: u8,
        tag: Tag,
        length: usize,
    ) -> (BTreeMap<NodeIndex, Vec<u8>>, Faults) {
        let others = self.others();
        let mut faults: Faults = others
            .iter()
            .filter(|node| !inbox.contains_key(node))
            .map(|node| (Some(*node), Fault::WrongParticipants))
            .collect();
        let prefix = if round == OPENING {
            self.context.len()
        } else {
            0
        };
        let mut bodies = BTreeMap::new();
        for (node, mut message) in inbox {
            let fault = if !others.contains(&node) {
                Some(Fault::WrongParticipants)
            } else if message.round != round {
                Some(Fault::WrongRound)
            } else if round == OPENING && self.is_of_another_batch(&message.broadcast) {
                Some(Fault::ContextDiffers)
            } else if message.broadcast.len() != prefix + length || !message.private.is_empty() {
                Some(Fault::WrongLength)
            } else {
                let hash = self.hash(tag, round, node, &message.broadcast);
                let signed = S::verifies(&self.roster, node, &hash, &message.signature);
                (!signed).then_some(Fault::BadBroadcastSignature)
            };
            match fault {
                Some(fault) => faults.push((Some(node), fault)),
                None => drop(bodies.insert(node, message.broadcast.split_off(prefix))),
            }
        }
        (bodies, faults)
    }

    /// Whether a first broadcast names another header than ours.
    ///
    /// A proposer can give two signers one batch id with different headers. Each then signs for
    /// its own, which cannot verify at the other, and its length may differ too: so this comes
    /// before both and names nobody as a cheat.
    fn is_of_another_batch(&self, broadcast: &[u8]) -> bool {
        let named = broadcast.first_chunk();
        named.is_some_and(|named| *named != self.context)
    }
}

type Faults = Vec<(Option<NodeIndex>, Fault)>;

fn settle(faults: Faults) -> Result<(), Abort> {
    if faults.is_empty() {
        Ok(())
    } else {
        Err(Abort::many(faults))
    }
}

/// Waits for the commitments of the others.
struct Opening<S: NonceScheme> {
    scheme: S,
    place: Place,
    own: Vec<(S::Secret, S::Commitment)>,
    body: Vec<u8>,
}

impl<S: NonceScheme> Round<Vec<S::Presignature>> for Opening<S> {
    fn number(&self) -> u8 {
        OPENING
    }

    fn awaits(&self) -> Vec<NodeIndex> {
        self.place.others()
    }

    fn is_secret_dependent(&self) -> bool {
        false
    }

    fn finish(
        self: Box<Self>,
        inbox: Inbox,
        _: &mut dyn CryptoRngCore,
    ) -> Result<Advance<Vec<S::Presignature>>, Abort> {
        let this = *self;
        let place = this.place;
        let (mut bodies, mut faults) =
            place.open::<S>(inbox, OPENING, tags::ROUND, this.body.len());
        let mut columns = BTreeMap::new();
        for (node, body) in &bodies {
            match decode_all(&this.scheme, body) {
                Some(column) => drop(columns.insert(*node, column)),
                None => faults.push((Some(*node), Fault::BadPoint)),
            }
        }
        let me = place.roster.me;
        bodies.insert(me, this.body);
        faults.extend(duplicates(me, S::POINT_BYTES, &bodies));
        settle(faults)?;

        let mut parts: Vec<&[u8]> = vec![&place.context];
        parts.extend(bodies.values().map(Vec::as_slice));
        let transcript = tagged(tags::FROST_BATCH, &parts);
        let (secrets, own): (Vec<_>, Vec<_>) = this.own.into_iter().unzip();
        columns.insert(me, own);
        let made = assemble_all(&this.scheme, transcript, secrets, columns);
        let hash = place.hash(tags::FROST_CONFIRM, CONFIRMING, me, &transcript);
        let outbox = place.to_all::<S>(CONFIRMING, &hash, &transcript);
        let next = Confirming::<S> {
            place,
            transcript,
            made,
        };
        Ok(Advance::Next(Box::new(next), outbox))
    }
}

fn decode_all<S: NonceScheme>(scheme: &S, body: &[u8]) -> Option<Vec<S::Commitment>> {
    body.chunks_exact(S::POINTS * S::POINT_BYTES)
        .map(|bytes| scheme.decode(bytes))
        .collect()
}

/// Finds nonce points that occur twice. Encodings are canonical, so equal bytes are equal points.
///
/// A signer that repeats a point of its own, or one of ours, is to blame. Of two others with the
/// same point one copied, and nobody can say which.
fn duplicates(me: NodeIndex, point_bytes: usize, bodies: &BTreeMap<NodeIndex, Vec<u8>>) -> Faults {
    let mut owners: BTreeMap<&[u8], NodeIndex> = BTreeMap::new();
    let mut faults = Faults::new();
    let mut note = |culprit| {
        let fault = (culprit, Fault::DuplicateNonce);
        if !faults.contains(&fault) {
            faults.push(fault);
        }
    };
    for (node, body) in bodies {
        for point in body.chunks_exact(point_bytes) {
            match owners.insert(point, *node) {
                Some(owner) if owner == *node || owner == me => note(Some(*node)),
                Some(owner) if *node == me => note(Some(owner)),
                Some(_) => note(None),
                None => {}
            }
        }
    }
    faults
}

/// Takes one commitment of each signer for every nonce of ours.
fn assemble_all<S: NonceScheme>(
    scheme: &S,
    transcript: [u8; 32],
    secrets: Vec<S::Secret>,
    columns: BTreeMap<NodeIndex, Vec<S::Commitment>>,
) -> Vec<S::Presignature> {
    let mut columns: Vec<_> = columns
        .into_iter()
        .map(|(node, column)| (node, column.into_iter()))
        .collect();
    (0u16..)
        .zip(secrets)
        .map(|(index, secret)| {
            let row = columns
                .iter_mut()
                .filter_map(|(node, column)| Some((*node, column.next()?)))
                .collect();
            let id = PresignatureId {
                batch: BatchHash(transcript),
                index,
            };
            scheme.assemble(id, secret, row)
        })
        .collect()
}

/// Waits for the others' confirmation of the transcript.
struct Confirming<S: NonceScheme> {
    place: Place,
    transcript: [u8; 32],
    made: Vec<S::Presignature>,
}

impl<S: NonceScheme> Round<Vec<S::Presignature>> for Confirming<S> {
    fn number(&self) -> u8 {
        CONFIRMING
    }

    fn awaits(&self) -> Vec<NodeIndex> {
        self.place.others()
    }

    fn is_secret_dependent(&self) -> bool {
        false
    }

    fn finish(
        self: Box<Self>,
        inbox: Inbox,
        _: &mut dyn CryptoRngCore,
    ) -> Result<Advance<Vec<S::Presignature>>, Abort> {
        let (bodies, mut faults) = self.place.open::<S>(
            inbox,
            CONFIRMING,
            tags::FROST_CONFIRM,
            self.transcript.len(),
        );
        // Whoever signs another transcript may be honest and have been shown other messages.
        if bodies.values().any(|body| *body != self.transcript) {
            faults.push((None, Fault::TranscriptDiffers));
        }
        settle(faults)?;
        Ok(Advance::Done(self.made))
    }
}
