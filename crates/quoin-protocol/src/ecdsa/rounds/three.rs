//! Round 3: Bob checks every peer's openings, multiplications and points, and takes his shares.
//!
//! Source: construction, section 9. The sum of the signers' key shares is the one check here that
//! names nobody among three or more signers.

use super::four::{AwaitConfirmations, confirmation};
use super::one::{Nonces, nonce_commitment};
use crate::ecdsa::context::{Faults, Session};
use crate::ecdsa::extension::BobRows;
use crate::ecdsa::field::{SecretScalars, base_mul, decode_point, decode_scalar, encode_points};
use crate::ecdsa::message::{Product, Round3Broadcast, round3_broadcast, round3_private};
use crate::ecdsa::params::Params;
use crate::ecdsa::presignature::Presignature;
use crate::ecdsa::rng::BatchRng;
use crate::ecdsa::rvole::{Multiplication, Shares, verify};
use crate::round::{Advance, Inbox, Round, RoundMessage};
use crate::{Abort, Fault};
use k256::elliptic_curve::ops::LinearCombinationExt;
use k256::{ProjectivePoint, Scalar};
use quoin_core::{BatchHash, NodeIndex, PresignatureId, tags};
use rand_core::{CryptoRngCore, RngCore};
use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

/// This signer's secrets towards one peer in round 3.
pub(in crate::ecdsa) struct PeerThree {
    /// As Alice: her shares of both products.
    pub(in crate::ecdsa) products: Vec<Shares>,
    /// As Bob: his factors chi.
    pub(in crate::ecdsa) factors: SecretScalars,
    /// As Bob: rows and choices.
    pub(in crate::ecdsa) rows: BobRows,
    /// As Bob: the transcript of his direction.
    pub(in crate::ecdsa) rows_transcript: [u8; 32],
    /// The peer's commitment to its nonce points.
    pub(in crate::ecdsa) commitment: [u8; 32],
}

/// Waits for round 3 of the others.
pub(in crate::ecdsa) struct AwaitProducts<P> {
    pub(in crate::ecdsa) session: Session,
    pub(in crate::ecdsa) rng: BatchRng,
    pub(in crate::ecdsa) nonces: Nonces,
    pub(in crate::ecdsa) ctx1: [u8; 32],
    pub(in crate::ecdsa) keys: SecretScalars,
    pub(in crate::ecdsa) broadcast: Vec<u8>,
    pub(in crate::ecdsa) peers: BTreeMap<NodeIndex, PeerThree>,
    pub(in crate::ecdsa) params: PhantomData<P>,
}

/// R and pk of each presignature of one signer.
type Opened = Vec<[ProjectivePoint; 2]>;

/// Decodes a signer's opening; no two of its nonce points may be equal.
fn open_points(broadcast: &Round3Broadcast<'_>) -> Result<Opened, Fault> {
    let distinct: BTreeSet<_> = broadcast.points.iter().map(|[r, _]| r).collect();
    if distinct.len() != broadcast.points.len() {
        return Err(Fault::DuplicateNonce);
    }
    broadcast
        .points
        .iter()
        .map(|[r, pk]| Some([decode_point(r)?.into(), decode_point(pk)?.into()]))
        .collect::<Option<_>>()
        .ok_or(Fault::BadPoint)
}

/// What one peer contributes once its messages are checked.
struct Contribution {
    points: Opened,
    psi: Zeroizing<Vec<Scalar>>,
    /// As Bob: his shares of both products.
    shares: Vec<Shares>,
}

/// The public part of a peer's private messages.
struct Decoded<'a> {
    products: Vec<Product<'a>>,
    psi: Zeroizing<Vec<Scalar>>,
    gammas: Opened,
}

fn decode_private<P: Params>(private: &[u8]) -> Result<Decoded<'_>, Fault> {
    let products = Product::parse_all::<P>(private)
        .collect::<Option<Vec<_>>>()
        .ok_or(Fault::WrongLength)?;
    let psi = products
        .iter()
        .map(|p| decode_scalar(p.psi))
        .collect::<Option<Vec<_>>>()
        .ok_or(Fault::BadScalar)?;
    let gammas = products
        .iter()
        .map(|p| {
            let [u, v] = p.gammas.map(decode_point);
            Some([u?.into(), v?.into()])
        })
        .collect::<Option<_>>()
        .ok_or(Fault::BadPoint)?;
    Ok(Decoded {
        products,
        psi: Zeroizing::new(psi),
        gammas,
    })
}

/// All checks of one peer. Public ones first; then one accept bit for all multiplications and one
/// for all points.
fn check_peer<P: Params>(
    session: &Session,
    rng: &mut BatchRng,
    (node, peer): (NodeIndex, &PeerThree),
    message: &RoundMessage,
) -> Result<Contribution, Fault> {
    let opening = Round3Broadcast::parse(&message.broadcast).ok_or(Fault::WrongLength)?;
    let nonces = opening.points.iter().map(|[r, _]| r);
    if nonce_commitment(&session.ctx0, node, opening.salt, nonces) != peer.commitment {
        return Err(Fault::BadCommitment);
    }
    let points = open_points(&opening)?;
    let Decoded {
        products,
        psi,
        gammas,
    } = decode_private::<P>(&message.private)?;

    let with = Multiplication::new(peer.rows_transcript);
    let mut shares = Vec::with_capacity(products.len());
    let mut products_hold = Choice::from(1);
    for (product, b) in products.iter().zip(0u16..) {
        let (accept, share) = verify::<P>(&with, b, &peer.rows, product)?;
        products_hold &= accept;
        shares.push(share);
    }
    let points_hold = points_agree(rng, peer.factors.iter(), &points, &gammas, &shares);
    match (bool::from(products_hold), bool::from(points_hold)) {
        (true, true) => Ok(Contribution {
            points,
            psi,
            shares,
        }),
        (false, _) => Err(Fault::MultiplicationCheck),
        (true, false) => Err(Fault::PointCheck),
    }
}

/// Ties what the peer multiplied to what it committed to: `chi R - Gu = d^u G` and
/// `chi pk - Gv = d^v G` for every presignature, in one random combination. The coefficients are
/// drawn here, after all messages are in, and never shown: errors cannot be made to cancel.
fn points_agree<'a>(
    rng: &mut BatchRng,
    factors: impl Iterator<Item = &'a Scalar>,
    points: &Opened,
    gammas: &Opened,
    shares: &[Shares],
) -> Choice {
    let mut left = ProjectivePoint::IDENTITY;
    let mut right = Zeroizing::new(Scalar::ZERO);
    let mut public = Vec::with_capacity(2 * points.len());
    let terms = factors.zip(points).zip(gammas.iter().zip(shares));
    for ((chi, [nonce, key]), ([gamma_u, gamma_v], share)) in terms {
        let [e, f] = [coefficient(rng), coefficient(rng)];
        let [d_u, d_v] = &**share;
        // On secret scalars: the library's combination of two points is constant time.
        left += ProjectivePoint::lincomb_ext(&[(*nonce, *chi * e), (*key, *chi * f)]);
        public.push((*gamma_u, e));
        public.push((*gamma_v, f));
        *right += e * d_u + f * d_v;
    }
    left -= ProjectivePoint::lincomb_ext(public.as_slice());
    left.ct_eq(&base_mul(&right))
}

/// 128 random bits as a scalar.
fn coefficient(rng: &mut BatchRng) -> Scalar {
    let mut bytes = [0u8; 16];
    rng.rest.fill_bytes(&mut bytes);
    Scalar::from(u128::from_le_bytes(bytes))
}

impl<P: Params> AwaitProducts<P> {
    /// For each presignature the sum of all signers' key shares must be the key. Gives the sum of
    /// the nonce points.
    fn sum_points(
        &self,
        peers: &BTreeMap<NodeIndex, Contribution>,
    ) -> Result<Vec<ProjectivePoint>, Abort> {
        let mut faults = Faults::default();
        let own = Round3Broadcast::parse(&self.broadcast)
            .ok_or(Fault::WrongLength)
            .and_then(|own| open_points(&own))
            .map_err(|fault| Abort::one(Some(self.session.me), fault))?;
        let mut sums = own;
        for contribution in peers.values() {
            for ([r_sum, pk_sum], [r, pk]) in sums.iter_mut().zip(&contribution.points) {
                *r_sum += r;
                *pk_sum += pk;
            }
        }
        let key = ProjectivePoint::from(self.session.public_key);
        if sums.iter().any(|[_, pk]| *pk != key) {
            // With two signers the other one is at fault; among more, nobody can tell (14.4).
            let culprit = match self.session.others().as_slice() {
                [other] => Some(*other),
                _ => None,
            };
            faults.note(culprit, Fault::WrongKeySum);
        }
        let nonces: Vec<_> = sums.iter().map(|[r, _]| *r).collect();
        if nonces.contains(&ProjectivePoint::IDENTITY) {
            faults.note(None, Fault::IdentityNonce);
        }
        let distinct: BTreeSet<_> = encode_points(&nonces).into_iter().collect();
        if distinct.len() != nonces.len() {
            faults.note(None, Fault::DuplicateNonce);
        }
        faults.settle()?;
        Ok(nonces)
    }

    /// `u_i = r_i (phi_i + sum psi) + sum (c^u + d^u)`, and `v_i` with `sk_i` likewise.
    fn shares(&self, peers: &BTreeMap<NodeIndex, Contribution>) -> Vec<Zeroizing<[Scalar; 3]>> {
        let own = self.nonces.nonces.iter().zip(self.keys.iter());
        let own = own.zip(self.nonces.masks.iter()).enumerate();
        own.map(|(b, ((nonce, key), phi))| {
            let mut factor = Zeroizing::new(*phi);
            let mut sums = Zeroizing::new([Scalar::ZERO; 2]);
            for (node, contribution) in peers {
                *factor += contribution.psi.get(b).unwrap_or(&Scalar::ZERO);
                let as_alice = self.peers.get(node).and_then(|p| p.products.get(b));
                for shares in as_alice.into_iter().chain(contribution.shares.get(b)) {
                    for (sum, share) in sums.iter_mut().zip(shares.iter()) {
                        *sum += share;
                    }
                }
            }
            let [sum_u, sum_v] = &*sums;
            Zeroizing::new([*phi, nonce * &*factor + sum_u, key * &*factor + sum_v])
        })
        .collect()
    }
}

impl<P: Params> Round<Vec<Presignature>> for AwaitProducts<P> {
    fn number(&self) -> u8 {
        3
    }

    fn awaits(&self) -> Vec<NodeIndex> {
        self.session.others()
    }

    fn is_secret_dependent(&self) -> bool {
        true
    }

    fn finish(
        mut self: Box<Self>,
        inbox: Inbox,
        entropy: &mut dyn CryptoRngCore,
    ) -> Result<Advance<Vec<Presignature>>, Abort> {
        let size = self.session.size();
        let mut faults = Faults::default();
        let lengths = |_| (round3_broadcast(size), round3_private::<P>(size));
        let inbox = self.session.receive(3, inbox, lengths, &mut faults);
        let transcript =
            self.session
                .hash_broadcasts(tags::ECDSA_BATCH, &self.ctx1, &self.broadcast, &inbox);
        self.rng.rekey(entropy, &[&self.ctx1, &transcript]);
        let mut contributions = BTreeMap::new();
        for (node, peer) in &self.peers {
            let Some(message) = inbox.get(node) else {
                continue;
            };
            match check_peer::<P>(&self.session, &mut self.rng, (*node, peer), message) {
                Ok(contribution) => {
                    contributions.insert(*node, contribution);
                }
                Err(fault) => faults.note(Some(*node), fault),
            }
        }
        faults.settle()?;
        let nonces = self.sum_points(&contributions)?;
        let presignatures = nonces
            .iter()
            .zip(self.shares(&contributions))
            .zip(0u16..)
            .map(|((nonce, secrets), index)| {
                let id = PresignatureId {
                    batch: BatchHash(transcript),
                    index,
                };
                Presignature::new(id, self.session.header.clone(), *nonce, secrets)
            })
            .collect();
        let broadcast = confirmation(&self.session, &transcript);
        let empty = self.session.others().into_iter().map(|n| (n, Vec::new()));
        let outbox = self.session.outbox(4, &broadcast, empty.collect());
        let next = AwaitConfirmations {
            session: self.session,
            transcript,
            presignatures,
        };
        Ok(Advance::Next(Box::new(next), outbox))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ecdsa::field::POINT_BYTES;

    fn opened(points: &[[[u8; POINT_BYTES]; 2]]) -> Result<Opened, Fault> {
        open_points(&Round3Broadcast {
            salt: &[0; 32],
            points,
        })
    }

    #[test]
    fn equal_identity_or_malformed_nonce_points_are_refused() {
        let multiples = [1u64, 2, 3, 4].map(|k| ProjectivePoint::GENERATOR * Scalar::from(k));
        let encoded = encode_points(&multiples);
        let [a, b, c, d] = [encoded[0], encoded[1], encoded[2], encoded[3]];
        assert!(opened(&[[a, b], [c, d]]).is_ok());
        assert_eq!(opened(&[[a, b], [a, d]]).err(), Some(Fault::DuplicateNonce));
        assert_eq!(opened(&[[a, b], [[0; 33], d]]).err(), Some(Fault::BadPoint));
        let mut uncompressed = c;
        uncompressed[0] = 4;
        assert_eq!(
            opened(&[[a, b], [uncompressed, d]]).err(),
            Some(Fault::BadPoint)
        );
    }
}
