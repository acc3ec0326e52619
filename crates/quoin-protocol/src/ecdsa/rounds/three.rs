//! Round 3: Bob checks every peer's openings, multiplications and points, and takes his shares.
//!
//! Source: construction, section 9. The sum of the signers' key shares is the one check here that
//! names nobody among three or more signers; when it fails, the last round is a dispute that does.

use super::dispute::{AwaitSeeds, disclosure};
use super::four::{AwaitConfirmations, confirmation};
use super::one::{Nonces, nonce_commitment};
use crate::ecdsa::context::{Faults, Session};
use crate::ecdsa::extension::BobRows;
use crate::ecdsa::field::{SecretScalars, base_mul, decode_point, decode_scalar, encode_point};
use crate::ecdsa::guard::Guard;
use crate::ecdsa::message::{Product, Round3Broadcast, round3_broadcast, round3_private};
use crate::ecdsa::params::Params;
use crate::ecdsa::points::{normalized, public_sum, secret_sum};
use crate::ecdsa::presignature::{Entropy, Presignature};
use crate::ecdsa::rng::BatchRng;
use crate::ecdsa::rvole::{Multiplication, Shares, verify};
use crate::ecdsa::zero::Seeds;
use crate::round::{Advance, Inbox, Round, RoundMessage};
use crate::{Abort, Fault};
use k256::{AffinePoint, ProjectivePoint, Scalar};
use quoin_core::{BatchHash, NodeIndex, PresignatureId, SecretBytes, tags};
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
    /// Of a treasury key: what this signer opens online.
    pub(in crate::ecdsa) entropy: Vec<SecretBytes<32>>,
    pub(in crate::ecdsa) seeds: Seeds,
    pub(in crate::ecdsa) broadcast: Vec<u8>,
    pub(in crate::ecdsa) peers: BTreeMap<NodeIndex, PeerThree>,
    pub(in crate::ecdsa) params: PhantomData<P>,
}

/// R and pk of each presignature of one signer.
type Opened = Vec<[AffinePoint; 2]>;

/// The sums of all signers' points of each presignature.
struct Sums {
    nonces: Vec<AffinePoint>,
    keys: Vec<ProjectivePoint>,
}

/// Decodes a signer's opening; no two of its nonce points may be equal.
fn open_points(broadcast: &Round3Broadcast<'_>) -> Result<Opened, Fault> {
    let distinct: BTreeSet<_> = broadcast.points.iter().map(|[r, _]| r).collect();
    if !Guard::DistinctNonces.holds(distinct.len() == broadcast.points.len()) {
        return Err(Fault::DuplicateNonce);
    }
    broadcast
        .points
        .iter()
        .map(|[r, pk]| Some([decode_point(r)?, decode_point(pk)?]))
        .collect::<Option<_>>()
        .ok_or(Fault::BadPoint)
}

/// Keys the streams anew: the coefficients of the point check are new for everything received.
///
/// The transcript covers the broadcasts alone, so the private parts enter too, without the
/// corrections, which are nearly all of their bytes and need not: `mu` is a hash of values that
/// change with any of them. Of two messages that differ there alone one fails the multiplication
/// check, and then nothing is said of its points.
fn rekey<P: Params>(
    rng: &mut BatchRng,
    entropy: &mut dyn CryptoRngCore,
    [ctx1, transcript]: [&[u8; 32]; 2],
    inbox: &Inbox,
) {
    let mut seen = vec![ctx1.as_slice(), transcript];
    for message in inbox.values() {
        for product in Product::parse_all::<P>(&message.private).flatten() {
            let Product {
                psi,
                eta,
                mu,
                gammas: [u, v],
                ..
            } = product;
            seen.extend([psi.as_slice(), eta, mu, u, v]);
        }
    }
    rng.rekey(entropy, &seen);
}

/// What one peer contributes once its messages are checked.
struct Contribution {
    points: Opened,
    /// Commitments to the peer's entropy, for treasury keys.
    entropy: Vec<[u8; 32]>,
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
    let mut psi = Zeroizing::new(Vec::with_capacity(products.len()));
    for product in &products {
        psi.push(decode_scalar(product.psi).ok_or(Fault::BadScalar)?);
    }
    let gammas = products
        .iter()
        .map(|p| {
            let [u, v] = p.gammas.map(decode_point);
            Some([u?, v?])
        })
        .collect::<Option<_>>()
        .ok_or(Fault::BadPoint)?;
    Ok(Decoded {
        products,
        psi,
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
    let opening = Round3Broadcast::parse(&message.broadcast, session.size());
    let opening = opening.ok_or(Fault::WrongLength)?;
    let nonces = opening.points.iter().map(|[r, _]| r);
    let opened = nonce_commitment(&session.ctx0, node, opening.salt, nonces);
    if !Guard::NonceCommitment.holds(opened == peer.commitment) {
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
    let products_hold = Guard::Multiplication.holds(bool::from(products_hold));
    match (products_hold, Guard::Points.holds(bool::from(points_hold))) {
        (true, true) => Ok(Contribution {
            points,
            entropy: opening.entropy.to_vec(),
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
///
/// Lists of unequal lengths never agree: what is missing from one of them would not be checked.
fn points_agree<'a>(
    rng: &mut BatchRng,
    factors: impl ExactSizeIterator<Item = &'a Scalar>,
    points: &Opened,
    gammas: &Opened,
    shares: &[Shares],
) -> Choice {
    let count = 2 * points.len();
    let equal = [factors.len(), gammas.len(), shares.len()] == [points.len(); 3];
    let mut right = Zeroizing::new(Scalar::ZERO);
    let mut secret = Zeroizing::new(Vec::with_capacity(count));
    let mut public = Vec::with_capacity(count);
    for (chi, share) in factors.zip(shares) {
        let coefficients = [coefficient(rng), coefficient(rng)];
        for (coefficient, d) in coefficients.into_iter().zip(share.iter()) {
            let scalar = Scalar::from(coefficient);
            secret.push(*chi * scalar);
            public.push(coefficient);
            *right += scalar * d;
        }
    }
    let complete = equal && secret.len() == count && public.len() == count;
    let mut left = Zeroizing::new(secret_sum(points.as_flattened(), &secret));
    *left -= public_sum(gammas.as_flattened(), &public);
    left.ct_eq(&base_mul(&right)) & Choice::from(u8::from(complete))
}

/// Whether the key shares of each of `size` presignatures add up to the key.
fn all_are_the_key(sums: &[ProjectivePoint], size: usize, key: &ProjectivePoint) -> bool {
    // Nothing at all would add up to any key.
    !sums.is_empty() && sums.len() == size && sums.iter().all(|sum| sum == key)
}

/// 128 random bits.
fn coefficient(rng: &mut BatchRng) -> u128 {
    if Guard::RandomCoefficients.is_off() {
        return 1;
    }
    let mut bytes = [0u8; 16];
    rng.rest.fill_bytes(&mut bytes);
    u128::from_le_bytes(bytes)
}

impl<P: Params> AwaitProducts<P> {
    /// The sums of all signers' nonce points and key points. No two nonces are equal, and none is
    /// the identity.
    fn sum_points(&self, all: &BTreeMap<NodeIndex, &Opened>) -> Result<Sums, Abort> {
        let mut faults = Faults::default();
        let mut sums = vec![[ProjectivePoint::IDENTITY; 2]; self.session.size()];
        for opened in all.values() {
            for ([r_sum, pk_sum], [r, pk]) in sums.iter_mut().zip(*opened) {
                *r_sum += r;
                *pk_sum += pk;
            }
        }
        let nonces: Vec<_> = sums.iter().map(|[r, _]| *r).collect();
        let nonces = normalized(&nonces);
        let vanishes = nonces.contains(&AffinePoint::IDENTITY);
        if !Guard::IdentityNonce.holds(!vanishes) {
            faults.note(None, Fault::IdentityNonce);
        }
        let distinct: BTreeSet<_> = nonces.iter().map(encode_point).collect();
        if !Guard::DistinctNonces.holds(distinct.len() == nonces.len()) {
            faults.note(None, Fault::DuplicateNonce);
        }
        faults.settle()?;
        let keys = sums.iter().map(|[_, pk]| *pk).collect();
        Ok(Sums { nonces, keys })
    }

    /// What this signer sent itself, decoded like a peer's.
    fn own_points(&self) -> Result<(Opened, Vec<[u8; 32]>), Abort> {
        let own = Round3Broadcast::parse(&self.broadcast, self.session.size());
        own.ok_or(Fault::WrongLength)
            .and_then(|own| Ok((open_points(&own)?, own.entropy.to_vec())))
            .map_err(|fault| Abort::one(Some(self.session.me), fault))
    }

    /// The key shares do not add up to the key. With two signers the other one is at fault; among
    /// more the last round tells (section 14.4): instead of a confirmation, which can then never
    /// follow, every signer publishes the seeds of its zero-shares.
    fn dispute(
        self,
        transcript: [u8; 32],
        points: BTreeMap<NodeIndex, &Opened>,
    ) -> Result<Advance<Vec<Presignature>>, Abort> {
        let others = self.session.others();
        if let [other] = others.as_slice() {
            return Err(Abort::one(Some(*other), Fault::WrongKeySum));
        }
        let key_points = points
            .into_iter()
            .map(|(node, opened)| (node, opened.iter().map(|[_, pk]| (*pk).into()).collect()))
            .collect();
        let broadcast = disclosure(&transcript, &self.seeds);
        let empty = others.into_iter().map(|n| (n, Vec::new()));
        let outbox = self.session.outbox(4, &broadcast, empty.collect());
        let next = AwaitSeeds {
            session: self.session,
            transcript,
            ctx1: self.ctx1,
            seeds: self.seeds,
            key_points,
        };
        Ok(Advance::Next(Box::new(next), outbox))
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

/// What each presignature of a treasury key waits for: the own entropy of `drawn`, and everyone's
/// commitment.
fn entropies(
    ctx1: [u8; 32],
    drawn: Vec<SecretBytes<32>>,
    committed: &BTreeMap<NodeIndex, &[[u8; 32]]>,
) -> Vec<Entropy> {
    let with_commitments = |(b, own)| Entropy {
        ctx1,
        own,
        commitments: committed
            .iter()
            .filter_map(|(node, list)| Some((*node, *list.get(b)?)))
            .collect(),
    };
    drawn
        .into_iter()
        .enumerate()
        .map(with_commitments)
        .collect()
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
        let broadcast = round3_broadcast(size, self.session.is_treasury());
        let lengths = |_, _: &_| (broadcast, round3_private::<P>(size));
        let inbox = self.session.receive(3, inbox, lengths, &mut faults);
        let transcript =
            self.session
                .hash_broadcasts(tags::ECDSA_BATCH, &self.ctx1, &self.broadcast, &inbox);
        rekey::<P>(&mut self.rng, entropy, [&self.ctx1, &transcript], &inbox);
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
        let (own, own_entropy) = self.own_points()?;
        let mut points: BTreeMap<_, _> = contributions
            .iter()
            .map(|(node, peer)| (*node, &peer.points))
            .collect();
        points.insert(self.session.me, &own);
        let sums = self.sum_points(&points)?;
        let key = ProjectivePoint::from(self.session.public_key);
        if !Guard::KeySum.holds(all_are_the_key(&sums.keys, size, &key)) {
            return self.dispute(transcript, points);
        }
        let mut committed: BTreeMap<_, _> = contributions
            .iter()
            .map(|(node, peer)| (*node, peer.entropy.as_slice()))
            .collect();
        committed.insert(self.session.me, &own_entropy);
        let drawn = std::mem::take(&mut self.entropy);
        let entropy = entropies(self.ctx1, drawn, &committed)
            .into_iter()
            .map(Some);
        let presignatures = sums
            .nonces
            .iter()
            .zip(self.shares(&contributions))
            .zip(entropy.chain(std::iter::repeat_with(|| None)))
            .zip(0u16..)
            .map(|(((nonce, secrets), entropy), index)| {
                let id = PresignatureId {
                    batch: BatchHash(transcript),
                    index,
                };
                let header = self.session.header.clone();
                Presignature::new(id, header, *nonce, secrets, entropy)
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
    use crate::ecdsa::field::{POINT_BYTES, SCALAR_BYTES};
    use crate::ecdsa::message::corrections_bytes;
    use crate::ecdsa::params::Toy;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    /// One signer's products of `size` presignatures, right in every point.
    struct Right {
        factors: Vec<Scalar>,
        points: Opened,
        gammas: Opened,
        shares: Vec<Shares>,
    }

    impl Right {
        fn new(size: u64) -> Self {
            let point = |scalar: Scalar| base_mul(&scalar).to_affine();
            let mut all = Self {
                factors: Vec::new(),
                points: Vec::new(),
                gammas: Vec::new(),
                shares: Vec::new(),
            };
            for b in 0..size {
                let [chi, r, sk, d_u, d_v] = [3, 5, 7, 11, 13].map(|k| Scalar::from(k + 100 * b));
                all.factors.push(chi);
                all.points.push([point(r), point(sk)]);
                let gammas = [chi * r - d_u, chi * sk - d_v];
                all.gammas.push(gammas.map(point));
                all.shares.push(Zeroizing::new([d_u, d_v]));
            }
            all
        }

        fn agrees(&self) -> bool {
            let mut entropy = ChaCha20Rng::seed_from_u64(1);
            let mut rng = BatchRng::open(&mut entropy, &[1; 32], &[2; 32]);
            let factors = self.factors.iter();
            let (points, gammas) = (&self.points, &self.gammas);
            points_agree(&mut rng, factors, points, gammas, &self.shares).into()
        }
    }

    #[test]
    fn forks_that_saw_other_private_parts_draw_other_coefficients() {
        let size = round3_private::<Toy>(1);
        let me = NodeIndex::new(1).unwrap();
        let draw = |private: &[u8]| {
            let mut entropy = ChaCha20Rng::seed_from_u64(1);
            let mut rng = BatchRng::open(&mut entropy, &[1; 32], &[2; 32]);
            let message = RoundMessage {
                round: 3,
                broadcast: Vec::new(),
                signature: [0; 64],
                private: private.to_vec(),
            };
            let inbox = Inbox::from([(me, message)]);
            rekey::<Toy>(&mut rng, &mut entropy, [&[3; 32], &[4; 32]], &inbox);
            coefficient(&mut rng)
        };
        let base = vec![7; 2 * size];
        assert_eq!(draw(&base), draw(&base));
        let corrections = SCALAR_BYTES..SCALAR_BYTES + corrections_bytes::<Toy>();
        for place in (0..2 * size).filter(|place| !corrections.contains(&(place % size))) {
            let mut other = base.clone();
            other[place] ^= 1;
            assert_ne!(draw(&base), draw(&other), "byte {place}");
        }
    }

    #[test]
    fn points_agree_only_when_none_is_missing() {
        assert!(Right::new(3).agrees());
        let cut: [fn(&mut Right); 4] = [
            |all| all.factors.truncate(2),
            |all| all.points.truncate(2),
            |all| all.gammas.truncate(2),
            |all| all.shares.truncate(2),
        ];
        for first in 0..4 {
            // One list is short, then another one with it, up to three of the four.
            let mut all = Right::new(3);
            for next in 0..3 {
                cut[(first + next) % 4](&mut all);
                assert!(!all.agrees(), "{first} and {next} more");
            }
        }
        let mut none = Right::new(3);
        none.shares.clear();
        assert!(!none.agrees());
    }

    #[test]
    fn keys_add_up_only_when_none_is_missing() {
        let key = ProjectivePoint::GENERATOR;
        assert!(all_are_the_key(&[key; 4], 4, &key));
        assert!(!all_are_the_key(&[], 0, &key));
        assert!(!all_are_the_key(&[], 4, &key));
        assert!(!all_are_the_key(&[key; 3], 4, &key));
        let mut wrong = [key; 4];
        wrong[3] += key;
        assert!(!all_are_the_key(&wrong, 4, &key));
    }

    fn opened(points: &[[[u8; POINT_BYTES]; 2]]) -> Result<Opened, Fault> {
        open_points(&Round3Broadcast {
            salt: &[0; 32],
            points,
            entropy: &[],
        })
    }

    #[test]
    fn equal_identity_or_malformed_nonce_points_are_refused() {
        let multiples = [1u64, 2, 3, 4].map(|k| ProjectivePoint::GENERATOR * Scalar::from(k));
        let encoded = crate::ecdsa::field::encode_points(&multiples);
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
