//! The toy scheme of the simulator: a Schnorr-like signature over the integers modulo 2^61 - 1.
//!
//! It has the sessions, rounds, answers and single-use types of the real schemes and runs the same
//! session code, so that the simulator exercises everything around the arithmetic thousands of
//! times a second. **It is no cryptography**: a point is its own discrete logarithm, and a
//! broadcast carries a keyless tag that anyone can compute, in place of a signature. The tag is
//! there so that a garbled message is found where a garbled message of the real schemes is found.
//! What is kept on purpose is the danger: two answers of one node with one nonce give its share
//! away, and [`extract`] computes it, so that the simulator can show what a reuse would cost.
//!
//! A signature is (R, z) with R = sum R_i, c = hash(R, message) and z = sum (r_i + c lambda_i x_i);
//! it verifies when z = R + c P, all in the toy field with generator 1.

use crate::abort::{Abort, Fault};
use crate::batch::BatchHeader;
use crate::dkg::ModelScalar;
use crate::presign::session::{self, NonceScheme};
use crate::presign::{Started, checks};
use crate::roster::Roster;
use crate::schnorr::{Request, needs_openings};
use crate::share::{KeyPublic, KeyShare};
use quoin_core::hash::{TaggedHasher, tagged};
use quoin_core::{BatchHash, NodeIndex, PresignatureId, Scheme, SignerSet, tags};
use rand_core::CryptoRngCore;
use std::collections::BTreeMap;
use std::sync::Arc;

pub use crate::presign::{Answer, CombineFault, CombineReason, SignFault};

/// A single-use nonce of this node with the commitments of the whole signer set.
pub struct Presignature {
    id: PresignatureId,
    header: Arc<BatchHeader>,
    node: NodeIndex,
    nonce: ModelScalar,
    commitments: BTreeMap<NodeIndex, ModelScalar>,
}

impl std::fmt::Debug for Presignature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Presignature")
            .field("id", &self.id)
            .field("set", self.set())
            .field("scheme", &Scheme::Model)
            .field("nonces", &"<redacted>")
            .finish()
    }
}

/// Starts a batch of nonces: two rounds, then `header.size` presignatures.
///
/// # Errors
/// When the header is not the one that this node would build, its size or its set is out of
/// bounds, or the public shares of the set do not add up to the key.
pub fn start_batch(
    header: BatchHeader,
    share: &KeyShare,
    roster: Arc<Roster>,
    rng: &mut dyn CryptoRngCore,
) -> Result<Started<Vec<Presignature>>, Abort> {
    checks::check_header(&header, share, &roster, &[Scheme::Model])?;
    let public = &share.public;
    let secret = ModelScalar::from_bytes(share.secret.expose())
        .ok_or_else(|| Abort::one(None, Fault::BadScalar))?;
    let matches = public.public_share(share.node).and_then(point) == Some(secret);
    let sum = header.set.iter().try_fold(ModelScalar::ZERO, |sum, node| {
        let share = point(public.public_share(node)?)?;
        Some(sum + lagrange(&header.set, node) * share)
    });
    if !matches {
        return Err(Abort::one(None, Fault::WrongShare));
    }
    if sum.is_none() || sum != point(&public.public_key) {
        return Err(Abort::one(None, Fault::WrongKeySum));
    }
    let own = (0..header.size).map(|_| draw(rng)).collect();
    let toy = Toy {
        node: share.node,
        header: Arc::new(header.clone()),
    };
    Ok(session::start(toy, header, roster, own))
}

/// A nonce other than zero and its commitment, which is the same number.
fn draw(rng: &mut dyn CryptoRngCore) -> (ModelScalar, [u8; 32]) {
    loop {
        let nonce = ModelScalar::from(rng.next_u64());
        if nonce != ModelScalar::ZERO {
            return (nonce, nonce.to_bytes());
        }
    }
}

/// Reads a point other than the identity.
fn point(bytes: &[u8]) -> Option<ModelScalar> {
    let read = ModelScalar::from_bytes(bytes.try_into().ok()?)?;
    (read != ModelScalar::ZERO).then_some(read)
}

/// The coefficient of `node` in the interpolation at zero over `set`.
fn lagrange(set: &SignerSet, node: NodeIndex) -> ModelScalar {
    let index = |node: NodeIndex| ModelScalar::from(u64::from(node.get()));
    set.others(node).fold(ModelScalar::ONE, |product, other| {
        // Indices of a set differ, so the difference has an inverse.
        let inverse = (index(other) - index(node)).invert().unwrap_or_default();
        product * index(other) * inverse
    })
}

/// The session's view of the toy scheme.
struct Toy {
    node: NodeIndex,
    header: Arc<BatchHeader>,
}

impl NonceScheme for Toy {
    type Secret = ModelScalar;
    type Commitment = [u8; 32];
    type Presignature = Presignature;

    const POINT_BYTES: usize = 32;
    const POINTS: usize = 1;

    fn encoded(commitment: &[u8; 32]) -> &[u8] {
        commitment
    }

    fn decode(&self, bytes: &[u8]) -> Option<[u8; 32]> {
        point(bytes).map(ModelScalar::to_bytes)
    }

    fn sign(_: &Roster, hash: &[u8; 32]) -> [u8; 64] {
        let mut tag = [0; 64];
        let half = tagged(tags::MODEL, &[b"broadcast", hash]);
        for (place, byte) in tag.iter_mut().zip(half.iter().chain(hash)) {
            *place = *byte;
        }
        tag
    }

    fn verifies(roster: &Roster, _: NodeIndex, hash: &[u8; 32], signature: &[u8; 64]) -> bool {
        Self::sign(roster, hash) == *signature
    }

    fn assemble(
        &self,
        id: PresignatureId,
        nonce: ModelScalar,
        commitments: BTreeMap<NodeIndex, [u8; 32]>,
    ) -> Presignature {
        Presignature {
            id,
            header: Arc::clone(&self.header),
            node: self.node,
            nonce,
            commitments: commitments
                .into_iter()
                .filter_map(|(node, bytes)| Some((node, point(&bytes)?)))
                .collect(),
        }
    }
}

impl Presignature {
    /// Its id, which all signers of the set share.
    #[must_use]
    pub const fn id(&self) -> PresignatureId {
        self.id
    }

    /// The only set that can use it.
    #[must_use]
    pub fn set(&self) -> &SignerSet {
        &self.header.set
    }

    /// The header of its batch.
    #[must_use]
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// A second presignature with the same nonce: what cloning a machine's memory does.
    ///
    /// # Security
    /// Exists for fault injection in the simulator; the real schemes have nothing like it.
    #[must_use]
    pub fn dangerous_fork(&self) -> Self {
        Self {
            id: self.id,
            header: Arc::clone(&self.header),
            node: self.node,
            nonce: self.nonce,
            commitments: self.commitments.clone(),
        }
    }

    /// Spends the nonce on a message; that of a treasury key only with the openings of all.
    ///
    /// # Errors
    /// When the share is not the one that the batch was made with, or the openings are missing.
    /// The nonce is gone all the same.
    pub(crate) fn answer(
        self,
        request: &Request<'_>,
        share: &KeyShare,
    ) -> Result<Answer, SignFault> {
        needs_openings(&self.header, request.openings.is_some())?;
        if share.node != self.node || share.public.shares_hash() != self.header.shares_hash {
            return Err(SignFault::WrongShare);
        }
        let secret = ModelScalar::from_bytes(share.secret.expose()).ok_or(SignFault::WrongShare)?;
        let tweak = ModelScalar::from_bytes(request.tweak).ok_or(SignFault::BadTweak)?;
        let secret = secret + tweak;
        let own = self.commitments.get(&self.node).ok_or(SignFault::Refused)?;
        let nonce = sum(self.commitments.values());
        let weight = challenge(nonce, request.message) * lagrange(self.set(), self.node);
        let body = Body {
            id: self.id,
            own: *own,
            nonce,
            partial: self.nonce + weight * secret,
        };
        Ok(Answer {
            view: view(self.id, request, self.commitments.values()),
            body: body.to_bytes(),
        })
    }
}

fn sum<'a>(scalars: impl Iterator<Item = &'a ModelScalar>) -> ModelScalar {
    scalars.fold(ModelScalar::ZERO, |sum, scalar| sum + *scalar)
}

fn challenge(nonce: ModelScalar, message: &[u8]) -> ModelScalar {
    let hash = tagged(tags::MODEL, &[b"challenge", &nonce.to_bytes(), message]);
    ModelScalar::reduce(&hash)
}

fn view<'a>(
    id: PresignatureId,
    request: &Request<'_>,
    commitments: impl Iterator<Item = &'a ModelScalar>,
) -> [u8; 32] {
    let mut hasher = TaggedHasher::new(tags::MODEL);
    hasher
        .part(b"view")
        .part(id.batch.as_bytes())
        .part(&id.index.to_be_bytes())
        .part(request.message)
        .part(request.tweak)
        .part(request.openings.map_or(&[], |hash| hash.as_slice()));
    for commitment in commitments {
        hasher.part(&commitment.to_bytes());
    }
    hasher.finish()
}

/// An answer's body: `batch (32) || index (2) || R_i (32) || R (32) || z_i (32)`.
///
/// R, the sum of all commitments, is what the real schemes leave out; with it two bodies of one
/// node are all that [`extract`] needs.
struct Body {
    id: PresignatureId,
    own: ModelScalar,
    nonce: ModelScalar,
    partial: ModelScalar,
}

impl Body {
    fn to_bytes(&self) -> Vec<u8> {
        [
            self.id.batch.as_bytes().as_slice(),
            &self.id.index.to_be_bytes(),
            &self.own.to_bytes(),
            &self.nonce.to_bytes(),
            &self.partial.to_bytes(),
        ]
        .concat()
    }

    fn read(body: &[u8]) -> Option<Self> {
        let (batch, rest) = body.split_first_chunk::<32>()?;
        let (index, rest) = rest.split_first_chunk::<2>()?;
        let (own, rest) = rest.split_first_chunk::<32>()?;
        let (nonce, partial) = rest.split_first_chunk::<32>()?;
        Some(Self {
            id: PresignatureId {
                batch: BatchHash(*batch),
                index: u16::from_be_bytes(*index),
            },
            own: ModelScalar::from_bytes(own)?,
            nonce: ModelScalar::from_bytes(nonce)?,
            partial: ModelScalar::from_bytes(partial.try_into().ok()?)?,
        })
    }
}

/// Combines one answer of each signer of `set` to the signature of a message: R then z.
///
/// # Errors
/// Names what is wrong and who is certainly to blame, as the real schemes do.
pub(crate) fn combine(
    key: &KeyPublic,
    set: &SignerSet,
    request: &Request<'_>,
    answers: &[(NodeIndex, Answer)],
) -> Result<[u8; 64], CombineFault> {
    let nobody = |reason: CombineReason| Err(reason.blames(Vec::new()));
    if key.scheme != Scheme::Model || set.size() != usize::from(key.threshold) {
        return nobody(CombineReason::WrongKey);
    }
    let mut nodes: Vec<_> = answers.iter().map(|(node, _)| *node).collect();
    nodes.sort_unstable();
    if !nodes.iter().copied().eq(set.iter()) {
        return nobody(CombineReason::WrongParticipants);
    }
    let (bodies, malformed) = read_all(answers);
    if !malformed.is_empty() {
        return Err(CombineReason::MalformedAnswer.blames(malformed));
    }
    let views = || answers.iter().map(|(_, answer)| &answer.view);
    if views().zip(views().skip(1)).any(|(a, b)| a != b) {
        return nobody(CombineReason::ViewsDiffer);
    }
    let nonce = bodies
        .values()
        .fold(ModelScalar::ZERO, |sum, body| sum + body.own);
    let belongs = |body: &Body| {
        let computed = view(body.id, request, bodies.values().map(|body| &body.own));
        body.nonce == nonce && views().all(|view| *view == computed)
    };
    let strangers = blame(&bodies, |_, body| belongs(body));
    if !strangers.is_empty() {
        let culprits = if strangers.len() == bodies.len() {
            Vec::new()
        } else {
            strangers
        };
        return Err(CombineReason::NotOfView.blames(culprits));
    }
    finish(key, set, request, nonce, &bodies)
}

fn read_all(answers: &[(NodeIndex, Answer)]) -> (BTreeMap<NodeIndex, Body>, Vec<NodeIndex>) {
    let mut bodies = BTreeMap::new();
    let mut malformed = Vec::new();
    for (node, answer) in answers {
        match Body::read(&answer.body) {
            Some(body) => drop(bodies.insert(*node, body)),
            None => malformed.push(*node),
        }
    }
    (bodies, malformed)
}

/// Those whose body fails `is_right`.
fn blame(
    bodies: &BTreeMap<NodeIndex, Body>,
    is_right: impl Fn(NodeIndex, &Body) -> bool,
) -> Vec<NodeIndex> {
    bodies
        .iter()
        .filter(|(node, body)| !is_right(**node, body))
        .map(|(node, _)| *node)
        .collect()
}

/// Adds the partial signatures up and verifies the sum.
fn finish(
    key: &KeyPublic,
    set: &SignerSet,
    request: &Request<'_>,
    nonce: ModelScalar,
    bodies: &BTreeMap<NodeIndex, Body>,
) -> Result<[u8; 64], CombineFault> {
    let partial = bodies
        .values()
        .fold(ModelScalar::ZERO, |sum, body| sum + body.partial);
    let mut signature = [0; 64];
    let bytes = nonce.to_bytes().into_iter().chain(partial.to_bytes());
    for (place, byte) in signature.iter_mut().zip(bytes) {
        *place = byte;
    }
    if verify(&key.public_key, request.tweak, request.message, &signature) {
        return Ok(signature);
    }
    let c = challenge(nonce, request.message);
    let tweak = ModelScalar::from_bytes(request.tweak).unwrap_or_default();
    let culprits = blame(bodies, |node, body| {
        let share = key.public_share(node).and_then(point);
        share.map(|share| body.own + c * lagrange(set, node) * (share + tweak))
            == Some(body.partial)
    });
    let reason = if culprits.is_empty() {
        CombineReason::NotVerified
    } else {
        CombineReason::WrongPartial
    };
    Err(reason.blames(culprits))
}

/// Whether `signature` is that of `public_key`, moved by `tweak`, over `message`.
#[must_use]
pub fn verify(public_key: &[u8], tweak: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    let (nonce, partial) = signature.split_at(32);
    let (Some(key), Some(tweak)) = (point(public_key), ModelScalar::from_bytes(tweak)) else {
        return false;
    };
    let key = key + tweak;
    let read = |bytes: &[u8]| ModelScalar::from_bytes(bytes.try_into().ok()?);
    let (Some(nonce), Some(partial)) = (read(nonce), read(partial)) else {
        return false;
    };
    partial == nonce + challenge(nonce, message) * key
}

/// The share of `node`, from two of its answers with one presignature for different messages; in
/// the encoding that key shares use. `None` when the two answers give nothing away.
#[must_use]
pub fn extract(
    set: &SignerSet,
    node: NodeIndex,
    first: (&[u8], &Answer),
    second: (&[u8], &Answer),
) -> Option<[u8; 32]> {
    let (a, b) = (Body::read(&first.1.body)?, Body::read(&second.1.body)?);
    if a.id != b.id || a.own != b.own || a.nonce != b.nonce || !set.contains(node) {
        return None;
    }
    let difference = challenge(a.nonce, first.0) - challenge(b.nonce, second.0);
    let weight = (difference * lagrange(set, node)).invert()?;
    Some(((a.partial - b.partial) * weight).to_bytes())
}

#[cfg(test)]
mod tests;
