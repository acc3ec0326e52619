//! Round 2: Alice checks every peer's trees and extension, and only then multiplies.
//!
//! The gate of section 5: nothing that depends on the key share leaves before the checks of *all*
//! peers have passed, and no secret-dependent check runs before all contexts agree. Source:
//! construction, sections 7 and 8.

use super::one::Nonces;
use super::three::{AwaitProducts, PeerThree};
use crate::ecdsa::base_ot::ChosenKeys;
use crate::ecdsa::context::{Direction, Faults, Session};
use crate::ecdsa::extension::{BobRows, extend_alice};
use crate::ecdsa::field::{POINT_BYTES, SecretScalars, encode_points, encode_scalar};
use crate::ecdsa::generator::generator_multiples;
use crate::ecdsa::ggm::walk;
use crate::ecdsa::guard::Guard;
use crate::ecdsa::message::{Round2Private, round2_private, round3_broadcast, round3_private};
use crate::ecdsa::params::Params;
use crate::ecdsa::presignature::{Presignature, entropy_commitment};
use crate::ecdsa::rng::BatchRng;
use crate::ecdsa::rvole::{CheckMask, Multiplication, Shares, factor, multiply};
use crate::ecdsa::zero::{Seeds, zero_share};
use crate::round::{Advance, Inbox, Outbox, Round};
use crate::{Abort, Fault};
use quoin_core::{NodeIndex, SecretBytes};
use rand_core::CryptoRngCore;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use zeroize::Zeroizing;

/// This signer's secrets towards one peer in round 2.
pub(in crate::ecdsa) struct PeerTwo {
    /// As Alice: the chosen base keys and Delta.
    pub(in crate::ecdsa) chosen: ChosenKeys,
    /// As Alice: the base transfer's messages.
    pub(in crate::ecdsa) opening: Vec<u8>,
    /// As Bob: rows and choices.
    pub(in crate::ecdsa) rows: BobRows,
    /// As Bob: the transcript of his direction.
    pub(in crate::ecdsa) rows_transcript: [u8; 32],
    /// The peer's commitment to its nonce points.
    pub(in crate::ecdsa) commitment: [u8; 32],
}

/// Waits for round 2 of the others.
pub(in crate::ecdsa) struct AwaitTrees<P> {
    pub(in crate::ecdsa) session: Session,
    pub(in crate::ecdsa) rng: BatchRng,
    pub(in crate::ecdsa) nonces: Nonces,
    pub(in crate::ecdsa) ctx1: [u8; 32],
    pub(in crate::ecdsa) seeds: Seeds,
    pub(in crate::ecdsa) peers: BTreeMap<NodeIndex, PeerTwo>,
    pub(in crate::ecdsa) params: PhantomData<P>,
}

/// Alice after her checks of one peer: the only material from which a multiplication is made.
struct Checked {
    delta: Zeroizing<u128>,
    rows: Zeroizing<Vec<u128>>,
    transcript: [u8; 32],
}

/// Runs Alice's checks of one peer.
fn check_peer<P: Params>(
    direction: &Direction,
    size: usize,
    peer: &PeerTwo,
    private: &[u8],
) -> Result<Checked, Fault> {
    let message = Round2Private::parse::<P>(private, size).ok_or(Fault::WrongLength)?;
    let delta = peer.chosen.delta.clone();
    let (trees_hold, leaves) = walk(direction, *delta, &peer.chosen.keys, &message);
    let (holds, rows) = extend_alice(direction, &peer.opening, *delta, &leaves, &message);
    // Both checks have run: how long they took does not tell which one failed.
    let trees_hold = Guard::Trees.holds(bool::from(trees_hold));
    match (trees_hold, Guard::Extension.holds(bool::from(holds))) {
        (true, true) => {}
        (false, _) => return Err(Fault::TreeCheck),
        (true, false) => return Err(Fault::ExtensionCheck),
    }
    Ok(Checked {
        delta,
        rows,
        transcript: direction.transcript(&peer.opening, private),
    })
}

/// What this signer multiplies: its nonces and its re-randomised key shares.
struct Inputs<'a> {
    nonces: &'a SecretScalars,
    masks: &'a SecretScalars,
    keys: &'a SecretScalars,
}

/// One peer's products: psi, the multiplication, and both shares times the generator.
fn multiply_all<P: Params>(
    checked: &Checked,
    factors: &SecretScalars,
    inputs: &Inputs<'_>,
    rng: &mut BatchRng,
) -> (Vec<Shares>, Vec<u8>) {
    let size = factors.iter().len();
    let with = Multiplication::new(checked.transcript);
    let mut out = Vec::with_capacity(round3_private::<P>(size));
    let mut products = Vec::with_capacity(size);
    let own = inputs.nonces.iter().zip(inputs.keys.iter());
    let own = own.zip(inputs.masks.iter().zip(factors.iter()));
    let rows = checked.rows.chunks_exact(P::OTS);
    for ((((nonce, key), (phi, chi)), rows), b) in own.zip(rows).zip(0u16..) {
        out.extend_from_slice(&encode_scalar(&(phi - chi)));
        let mask = CheckMask::draw(rng);
        let rows = (rows, *checked.delta);
        let shares = multiply::<P>(&with, b, rows, [nonce, key], mask, &mut out);
        // The place of this presignature's points, which are computed together below.
        out.extend_from_slice(&[0; 2 * POINT_BYTES]);
        products.push(shares);
    }
    let scalars: Vec<_> = products.iter().flat_map(|shares| shares.iter()).collect();
    let points = encode_points(&generator_multiples(&scalars));
    let messages = out.chunks_exact_mut(round3_private::<P>(1));
    for (message, pair) in messages.zip(points.as_chunks::<2>().0) {
        if let Some((_, place)) = message.split_last_chunk_mut::<{ 2 * POINT_BYTES }>() {
            place.copy_from_slice(pair.as_flattened());
        }
    }
    (products, out)
}

impl<P: Params> AwaitTrees<P> {
    /// `sk_i = lambda_i x_i + zeta_i` for each presignature.
    fn key_shares(&self) -> SecretScalars {
        let seeds = &self.seeds.shared;
        let shares = (0..self.session.header.size)
            .map(|b| *self.nonces.weighted + zero_share(&self.ctx1, self.session.me, seeds, b));
        SecretScalars::collect(self.session.size(), shares)
    }

    /// The checks of all peers; a failing one ends the batch before anything is multiplied.
    fn check_all(&self, inbox: &Inbox) -> Result<BTreeMap<NodeIndex, Checked>, Abort> {
        let mut faults = Faults::default();
        let mut checked = BTreeMap::new();
        for (node, peer) in &self.peers {
            let direction = Direction::new(self.ctx1, self.session.me, *node);
            let private = inbox.get(node).map_or(&[][..], |m| m.private.as_slice());
            match check_peer::<P>(&direction, self.session.size(), peer, private) {
                Ok(passed) => {
                    checked.insert(*node, passed);
                }
                Err(fault) => faults.note(Some(*node), fault),
            }
        }
        if !Guard::RoundThreeGate.holds(faults.is_empty()) {
            faults.settle()?;
        }
        Ok(checked)
    }

    /// For a treasury key, fresh entropy for each presignature.
    fn draw_entropy(&mut self) -> Vec<SecretBytes<32>> {
        let size = if self.session.is_treasury() {
            self.session.size()
        } else {
            0
        };
        let draw = || SecretBytes::random(&mut self.rng.key);
        std::iter::repeat_with(draw).take(size).collect()
    }

    /// The own round 3 broadcast: salt, then R and pk of each presignature, then for a treasury key
    /// the commitment to each one's entropy.
    fn opening(&self, keys: &SecretScalars, entropy: &[SecretBytes<32>]) -> Vec<u8> {
        let points = generator_multiples(&keys.iter().collect::<Vec<_>>());
        let length = round3_broadcast(points.len(), self.session.is_treasury());
        let mut broadcast = Vec::with_capacity(length);
        broadcast.extend_from_slice(&self.nonces.salt);
        let pairs: Vec<[[u8; POINT_BYTES]; 2]> = self
            .nonces
            .points
            .iter()
            .zip(encode_points(&points))
            .map(|(r, pk)| [*r, pk])
            .collect();
        broadcast.extend_from_slice(pairs.as_flattened().as_flattened());
        for (entropy, b) in entropy.iter().zip(0u16..) {
            let me = self.session.me;
            let commitment = entropy_commitment(&self.ctx1, me, b, entropy.expose());
            broadcast.extend_from_slice(&commitment);
        }
        broadcast
    }
}

impl<P: Params> Round<Vec<Presignature>> for AwaitTrees<P> {
    fn number(&self) -> u8 {
        2
    }

    fn awaits(&self) -> Vec<NodeIndex> {
        self.session.others()
    }

    fn is_secret_dependent(&self) -> bool {
        true
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

impl<P: Params> AwaitTrees<P> {
    /// Takes the others' extensions. The multiplications come after the checks of all peers.
    pub(in crate::ecdsa) fn advance(
        mut self,
        inbox: Inbox,
        entropy: &mut dyn CryptoRngCore,
    ) -> Result<(AwaitProducts<P>, Outbox), Abort> {
        let size = self.session.size();
        let mut faults = Faults::default();
        let lengths = |_, _: &_| (32, round2_private::<P>(size));
        let inbox = self.session.receive(2, inbox, lengths, &mut faults);
        for (node, message) in &inbox {
            if !Guard::ContextEqual.holds(message.broadcast == self.ctx1) {
                faults.note(Some(*node), Fault::ContextDiffers);
            }
        }
        faults.settle()?;
        let checked = self.check_all(&inbox)?;

        let transcripts: Vec<u8> = self
            .peers
            .iter()
            .zip(&checked)
            .flat_map(|((_, peer), (_, alice))| [peer.rows_transcript, alice.transcript])
            .flatten()
            .collect();
        self.rng.rekey(entropy, &[&self.ctx1, &transcripts]);
        let keys = self.key_shares();
        let entropy = self.draw_entropy();
        let broadcast = self.opening(&keys, &entropy);
        let inputs = Inputs {
            nonces: &self.nonces.nonces,
            masks: &self.nonces.masks,
            keys: &keys,
        };
        let mut peers = BTreeMap::new();
        let mut private = BTreeMap::new();
        for (node, peer) in std::mem::take(&mut self.peers) {
            let Some(checked) = checked.get(&node) else {
                continue;
            };
            let factors = (0..self.session.header.size).map(|b| factor::<P>(&peer.rows, b));
            let factors = SecretScalars::collect(size, factors);
            let (products, message) = multiply_all::<P>(checked, &factors, &inputs, &mut self.rng);
            private.insert(node, message);
            let three = PeerThree {
                products,
                factors,
                rows: peer.rows,
                rows_transcript: peer.rows_transcript,
                commitment: peer.commitment,
            };
            peers.insert(node, three);
        }
        let outbox = self.session.outbox(3, &broadcast, private);
        let next = AwaitProducts {
            session: self.session,
            rng: self.rng,
            nonces: self.nonces,
            ctx1: self.ctx1,
            keys,
            entropy,
            seeds: self.seeds,
            broadcast,
            peers,
            params: PhantomData,
        };
        Ok((next, outbox))
    }
}
