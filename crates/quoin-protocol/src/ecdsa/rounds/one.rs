//! Round 1: nonces are committed, base transfers offered, zero-share seeds dealt.
//!
//! Finishing it fixes the context of everything after and sends Bob's extension to every peer.
//! Source: construction, sections 6 and 7.

use super::two::{AwaitTrees, PeerTwo};
use crate::ecdsa::base_ot::{Receiver, Sender};
use crate::ecdsa::context::{Direction, Faults, OwnShare, Session};
use crate::ecdsa::extension::extend_bob;
use crate::ecdsa::field::{POINT_BYTES, SecretScalars, encode_points, secret_scalar};
use crate::ecdsa::generator::generator_multiples;
use crate::ecdsa::ggm::grow;
use crate::ecdsa::guard::Guard;
use crate::ecdsa::message::{
    Round1Broadcast, Round1Private, base_ots, column_blocks, round1_broadcast, round1_private,
    round2_private,
};
use crate::ecdsa::params::Params;
use crate::ecdsa::presignature::Presignature;
use crate::ecdsa::rng::BatchRng;
use crate::ecdsa::zero::{Seeds, seed_commitment};
use crate::round::{Advance, Inbox, Outbox, Round, RoundMessage};
use crate::{Abort, Fault};
use k256::Scalar;
use quoin_core::hash::tagged;
use quoin_core::{NodeIndex, SecretBytes, tags};
use rand_core::{CryptoRngCore, RngCore};
use std::collections::BTreeMap;
use std::marker::PhantomData;
use zeroize::Zeroizing;

/// What this signer multiplies in every presignature, and what opens its commitment.
pub(in crate::ecdsa) struct Nonces {
    /// r of each presignature.
    pub(in crate::ecdsa) nonces: SecretScalars,
    /// phi of each presignature.
    pub(in crate::ecdsa) masks: SecretScalars,
    /// R of each presignature.
    pub(in crate::ecdsa) points: Vec<[u8; POINT_BYTES]>,
    /// Opens the commitment.
    pub(in crate::ecdsa) salt: [u8; 32],
    /// `lambda_i x_i`.
    pub(in crate::ecdsa) weighted: Zeroizing<Scalar>,
}

impl Nonces {
    pub(in crate::ecdsa) fn draw(
        size: usize,
        weighted: Zeroizing<Scalar>,
        rng: &mut BatchRng,
    ) -> Self {
        let nonces =
            SecretScalars::collect(size, std::iter::repeat_with(|| secret_scalar(&mut rng.key)));
        let masks =
            SecretScalars::collect(size, std::iter::repeat_with(|| secret_scalar(&mut rng.key)));
        let points = generator_multiples(&nonces.iter().collect::<Vec<_>>());
        let mut salt = [0u8; 32];
        rng.rest.fill_bytes(&mut salt);
        Self {
            nonces,
            masks,
            points: encode_points(&points),
            salt,
            weighted,
        }
    }
}

/// `com_i = TH("commit"; ctx0, i, salt, all R)`.
pub(in crate::ecdsa) fn nonce_commitment<'a>(
    ctx0: &[u8; 32],
    node: NodeIndex,
    salt: &[u8; 32],
    points: impl Iterator<Item = &'a [u8; POINT_BYTES]>,
) -> [u8; 32] {
    let all: Vec<u8> = points.flatten().copied().collect();
    tagged(tags::ECDSA_COMMIT, &[ctx0, &[node.get()], salt, &all])
}

/// This signer's secrets towards one peer in round 1.
pub(in crate::ecdsa) struct PeerOne {
    /// As Alice of the peer.
    pub(in crate::ecdsa) alice: Receiver,
    /// As Bob of the peer.
    pub(in crate::ecdsa) bob: Sender,
    /// The zero-share seed that this signer dealt, when it comes first.
    pub(in crate::ecdsa) seed: Option<SecretBytes<32>>,
}

/// Waits for round 1 of the others.
pub(in crate::ecdsa) struct AwaitOffers<P> {
    pub(in crate::ecdsa) session: Session,
    pub(in crate::ecdsa) rng: BatchRng,
    pub(in crate::ecdsa) nonces: Nonces,
    pub(in crate::ecdsa) peers: BTreeMap<NodeIndex, PeerOne>,
    pub(in crate::ecdsa) broadcast: Vec<u8>,
    pub(in crate::ecdsa) params: PhantomData<P>,
}

/// Draws everything of round 1.
pub(in crate::ecdsa) fn begin<P: Params>(
    session: Session,
    own: OwnShare,
    entropy: &mut dyn CryptoRngCore,
) -> (Box<AwaitOffers<P>>, Outbox) {
    let mut rng = BatchRng::open(entropy, own.node_secret.expose(), &session.ctx0);
    let nonces = Nonces::draw(session.size(), own.weighted, &mut rng);
    offer(session, nonces, rng)
}

/// Commits to the nonces and makes every peer an offer.
pub(in crate::ecdsa) fn offer<P: Params>(
    session: Session,
    nonces: Nonces,
    mut rng: BatchRng,
) -> (Box<AwaitOffers<P>>, Outbox) {
    let mut nonce = [0u8; 32];
    rng.rest.fill_bytes(&mut nonce);
    let commitment = nonce_commitment(
        &session.ctx0,
        session.me,
        &nonces.salt,
        nonces.points.iter(),
    );
    let mut broadcast = [session.ctx0, nonce, commitment].concat();
    let mut peers = BTreeMap::new();
    let mut private = BTreeMap::new();
    for node in session.others() {
        let dir = [session.me.get(), node.get()];
        let peer = PeerOne {
            alice: Receiver::draw(&session.ctx0, dir, base_ots::<P>(), &mut rng),
            bob: Sender::draw(&mut rng),
            seed: (session.me < node).then(|| SecretBytes::random(&mut rng.key)),
        };
        let mut message = Vec::with_capacity(round1_private::<P>(true));
        message.extend_from_slice(&peer.alice.pairs);
        message.extend_from_slice(&peer.bob.point);
        if let Some(seed) = &peer.seed {
            message.extend_from_slice(seed.expose());
            let commitment = seed_commitment(&session.ctx0, session.me, node, seed.expose());
            broadcast.extend_from_slice(&commitment);
        }
        private.insert(node, message);
        peers.insert(node, peer);
    }
    let outbox = session.outbox(1, &broadcast, private);
    let round = AwaitOffers {
        session,
        rng,
        nonces,
        peers,
        broadcast,
        params: PhantomData,
    };
    (Box::new(round), outbox)
}

impl<P: Params> AwaitOffers<P> {
    fn lengths(&self, node: NodeIndex) -> (usize, usize) {
        let seeds = self.session.later_than(node).len();
        (
            round1_broadcast(seeds),
            round1_private::<P>(node < self.session.me),
        )
    }
}

/// The zero-share seed shared with `node`: ours when we come first, else theirs, which must open
/// their commitment.
fn shared_seed(
    session: &Session,
    node: NodeIndex,
    own: Option<SecretBytes<32>>,
    message: &Round1Private<'_>,
    broadcast: &Round1Broadcast<'_>,
) -> Result<SecretBytes<32>, Fault> {
    if let Some(seed) = own {
        return Ok(seed);
    }
    let seed = message.seed.ok_or(Fault::WrongLength)?;
    let place = session
        .later_than(node)
        .iter()
        .position(|n| *n == session.me);
    let committed = place.and_then(|place| broadcast.seed_commitments.get(place));
    let opens = committed == Some(&seed_commitment(&session.ctx0, node, session.me, seed));
    if !Guard::ZeroSeedOpens.holds(opens) {
        return Err(Fault::BadZeroShare);
    }
    Ok(SecretBytes::take(&mut seed.to_owned()))
}

impl<P: Params> AwaitOffers<P> {
    /// One peer's offer: check it, take both sides' keys, and extend as Bob.
    fn answer(
        session: &Session,
        rng: &mut BatchRng,
        ctx1: [u8; 32],
        (node, peer): (NodeIndex, PeerOne),
        message: &RoundMessage,
    ) -> Result<(PeerTwo, SecretBytes<32>, Vec<u8>), Fault> {
        let offer = Round1Private::parse::<P>(&message.private).ok_or(Fault::WrongLength)?;
        let public = Round1Broadcast::parse(&message.broadcast).ok_or(Fault::WrongLength)?;
        let seed = shared_seed(session, node, peer.seed, &offer, &public)?;
        let alice_opening = [peer.alice.pairs.as_slice(), offer.point].concat();
        let bob_opening = [offer.pairs, &peer.bob.point].concat();
        let alice = Direction::new(ctx1, session.me, node);
        let bob = Direction::new(ctx1, node, session.me);
        let chosen = peer.alice.keys(&alice, offer.point)?;
        let pairs = peer.bob.keys(&session.ctx0, &bob, offer.pairs)?;

        let mut sent = Vec::with_capacity(round2_private::<P>(session.size()));
        let leaves = grow(&bob, &pairs, rng, &mut sent);
        let blocks = column_blocks::<P>(session.size());
        let rows = extend_bob(&bob, &bob_opening, &leaves, blocks, rng, &mut sent)
            .ok_or(Fault::ExtensionCheck)?;
        let two = PeerTwo {
            chosen,
            opening: alice_opening,
            rows,
            rows_transcript: bob.transcript(&bob_opening, &sent),
            commitment: *public.commitment,
        };
        Ok((two, seed, sent))
    }

    /// The commitments of all signers to the seeds that they dealt.
    fn seed_commitments(&self, inbox: &Inbox) -> BTreeMap<(NodeIndex, NodeIndex), [u8; 32]> {
        let mut all = BTreeMap::new();
        for dealer in self.session.header.set.iter() {
            let body = inbox.get(&dealer).map_or(&self.broadcast, |m| &m.broadcast);
            let Some(public) = Round1Broadcast::parse(body) else {
                continue;
            };
            let receivers = self.session.later_than(dealer).into_iter();
            let dealt = receivers.zip(public.seed_commitments);
            all.extend(dealt.map(|(receiver, commitment)| ((dealer, receiver), *commitment)));
        }
        all
    }
}

impl<P: Params> Round<Vec<Presignature>> for AwaitOffers<P> {
    fn number(&self) -> u8 {
        1
    }

    fn awaits(&self) -> Vec<NodeIndex> {
        self.session.others()
    }

    fn is_secret_dependent(&self) -> bool {
        false
    }

    fn finish(
        self: Box<Self>,
        inbox: Inbox,
        entropy: &mut dyn CryptoRngCore,
    ) -> Result<Advance<Vec<Presignature>>, Abort> {
        let (next, outbox) = self.advance(inbox, entropy)?;
        Ok(Advance::Next(Box::new(next), outbox))
    }
}

impl<P: Params> AwaitOffers<P> {
    /// Takes the others' offers; all of them are looked at before the session ends.
    pub(in crate::ecdsa) fn advance(
        mut self,
        inbox: Inbox,
        entropy: &mut dyn CryptoRngCore,
    ) -> Result<(AwaitTrees<P>, Outbox), Abort> {
        let mut faults = Faults::default();
        let inbox = self
            .session
            .receive(1, inbox, |node, _| self.lengths(node), &mut faults);
        let ctx1 = self.session.hash_broadcasts(
            tags::ECDSA_CTX1,
            &self.session.ctx0,
            &self.broadcast,
            &inbox,
        );
        // `ctx1` covers the broadcasts alone. Two forks of this memory that were shown different
        // private parts must part ways too.
        let seen = inbox.values().map(|m| m.private.as_slice());
        let seen: Vec<&[u8]> = [ctx1.as_slice()].into_iter().chain(seen).collect();
        self.rng.rekey(entropy, &seen);
        let mut seeds = Seeds {
            shared: BTreeMap::new(),
            commitments: self.seed_commitments(&inbox),
        };
        let mut peers = BTreeMap::new();
        let mut private = BTreeMap::new();
        for (node, peer) in std::mem::take(&mut self.peers) {
            let Some(message) = inbox.get(&node) else {
                continue;
            };
            match Self::answer(&self.session, &mut self.rng, ctx1, (node, peer), message) {
                Ok((peer, seed, message)) => {
                    seeds.shared.insert(node, seed);
                    private.insert(node, message);
                    peers.insert(node, peer);
                }
                Err(fault) => faults.note(Some(node), fault),
            }
        }
        faults.settle()?;
        let outbox = self.session.outbox(2, &ctx1, private);
        let next = AwaitTrees {
            session: self.session,
            rng: self.rng,
            nonces: self.nonces,
            ctx1,
            seeds,
            peers,
            params: PhantomData,
        };
        Ok((next, outbox))
    }
}
