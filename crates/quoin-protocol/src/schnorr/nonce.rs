//! Nonces: the batch that makes them and the one answer that each of them gives.
//!
//! A nonce used for two messages gives the share away, so [`Presignature`] can be neither cloned
//! nor stored nor printed, and answering consumes it. That a *machine* is not rolled back to before
//! an answer is not this module's to ensure: pools live in memory only and are bound to a boot.

use super::suite::{self, Suite, Tweak};
use crate::abort::{Abort, Fault};
use crate::batch::{BatchHeader, Profile};
use crate::ecdsa::guard::Guard;
use crate::presign::session::{self, NonceScheme};
use crate::presign::{Answer, SignFault, Started, checks};
use crate::roster::Roster;
use crate::share::KeyShare;
use frost_core::keys::{KeyPackage, SigningShare, VerifyingShare};
use frost_core::round1::{self, SigningCommitments, SigningNonces};
use frost_core::{Identifier, SigningPackage, VerifyingKey, round2};
use frost_ed25519::Ed25519Sha512;
use frost_secp256k1_tr::Secp256K1Sha256TR;
use quoin_core::hash::TaggedHasher;
use quoin_core::{NodeIndex, PresignatureId, Scheme, SignerSet, tags};
use rand_core::CryptoRngCore;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A single-use nonce of this node with the commitments of the whole signer set.
///
/// # Security
/// Not `Clone`, no encoding, nothing secret in `Debug`. The nonces are boxed and overwritten on
/// drop as far as the library's types do it (`SigningNonces` is `ZeroizeOnDrop`; the buffer from
/// which the library hashes a nonce at its birth is not overwritten).
pub struct Presignature {
    id: PresignatureId,
    header: Arc<BatchHeader>,
    material: Material,
}

/// For what an answer is made.
pub(crate) struct Request<'a> {
    /// The message.
    pub(crate) message: &'a [u8],
    /// The scalar that is added to the key.
    pub(crate) tweak: &'a [u8; 32],
    /// The hash of all openings, for a treasury key.
    pub(crate) openings: Option<&'a [u8; 32]>,
}

/// A nonce of either ciphersuite.
pub(super) enum Material {
    Ed25519(Nonce<Ed25519Sha512>),
    Taproot(Nonce<Secp256K1Sha256TR>),
}

/// A nonce, with the share it will meet and everyone's commitments.
pub(super) struct Nonce<C: Suite> {
    key: Arc<KeyContext<C>>,
    nonces: Box<SigningNonces<C>>,
    commitments: BTreeMap<NodeIndex, Commitment<C>>,
}

/// The commitments of one signer, with their encoding.
pub(super) struct Commitment<C: Suite> {
    pair: SigningCommitments<C>,
    encoded: Box<[u8]>,
}

/// The public part of a share, decoded once for a batch.
pub(super) struct KeyContext<C: Suite> {
    node: NodeIndex,
    identifier: Identifier<C>,
    verifying_share: VerifyingShare<C>,
    verifying_key: VerifyingKey<C>,
    threshold: u16,
    shares_hash: [u8; 32],
}

#[cfg(test)]
impl<'a> Request<'a> {
    /// A message under the key itself, in one round.
    pub(crate) const fn root(message: &'a [u8]) -> Self {
        Self {
            message,
            tweak: &crate::combine::ROOT_TWEAK,
            openings: None,
        }
    }
}

/// Starts a batch of nonces: two rounds, then `header.size` presignatures.
///
/// # Errors
/// When the header is not the one that this node would build ([`Fault::HeaderDiffers`]), its size
/// or its set is out of bounds, or the public shares of the set do not add up to the key.
pub fn start_batch(
    header: BatchHeader,
    share: &KeyShare,
    roster: Arc<Roster>,
    rng: &mut dyn CryptoRngCore,
) -> Result<Started<Vec<Presignature>>, Abort> {
    checks::check_header(&header, share, &roster, &[Scheme::Ed25519, Scheme::Taproot])?;
    match header.scheme {
        Scheme::Taproot => start::<Secp256K1Sha256TR>(header, share, roster, rng),
        _ => start::<Ed25519Sha512>(header, share, roster, rng),
    }
}

fn start<C: Suite>(
    header: BatchHeader,
    share: &KeyShare,
    roster: Arc<Roster>,
    mut rng: &mut dyn CryptoRngCore,
) -> Result<Started<Vec<Presignature>>, Abort> {
    let (key, secret) = KeyContext::<C>::read(&header.set, share)?;
    let own = (0..header.size)
        .map(|_| {
            let (nonces, pair) = round1::commit(&secret, &mut rng);
            // Only a nonce of zero has no encoding; a generator that draws one is broken.
            let encoded = suite::encode_commitments(&pair)
                .ok_or_else(|| Abort::one(None, Fault::IdentityNonce))?;
            let commitment = Commitment {
                pair,
                encoded: encoded.into_boxed_slice(),
            };
            Ok((Box::new(nonces), commitment))
        })
        .collect::<Result<Vec<_>, Abort>>()?;
    let scheme = Frost {
        key: Arc::new(key),
        header: Arc::new(header.clone()),
    };
    Ok(session::start(scheme, header, roster, own))
}

impl<C: Suite> KeyContext<C> {
    /// Reads a share and checks that it and the set's public shares are of the key.
    pub(super) fn read(
        set: &SignerSet,
        share: &KeyShare,
    ) -> Result<(Self, SigningShare<C>), Abort> {
        let fault = |fault| move || Abort::one(None, fault);
        let public = &share.public;
        let own = public.public_share(share.node);
        let verifying_share = own
            .and_then(suite::verifying_share::<C>)
            .ok_or_else(fault(Fault::BadPoint))?;
        let verifying_key =
            suite::verifying_key::<C>(&public.public_key).ok_or_else(fault(Fault::BadPoint))?;
        let secret = SigningShare::<C>::deserialize(share.secret.expose())
            .map_err(|_| Abort::one(None, Fault::BadScalar))?;
        let matches = VerifyingShare::from(secret) == verifying_share;
        let adds_up =
            suite::adds_up::<C>(set, &public.public_key, |node| public.public_share(node));
        if !matches {
            return Err(Abort::one(None, Fault::WrongShare));
        }
        if !adds_up {
            return Err(Abort::one(None, Fault::WrongKeySum));
        }
        let context = Self {
            node: share.node,
            identifier: suite::identifier(share.node)
                .ok_or_else(fault(Fault::WrongParticipants))?,
            verifying_share,
            verifying_key,
            threshold: public.threshold.into(),
            shares_hash: public.shares_hash(),
        };
        Ok((context, secret))
    }
}

/// The session's view of one ciphersuite.
struct Frost<C: Suite> {
    key: Arc<KeyContext<C>>,
    header: Arc<BatchHeader>,
}

impl<C: Suite> NonceScheme for Frost<C> {
    type Secret = Box<SigningNonces<C>>;
    type Commitment = Commitment<C>;
    type Presignature = Presignature;

    const POINT_BYTES: usize = C::POINT_BYTES;
    const POINTS: usize = 2;

    fn encoded(commitment: &Commitment<C>) -> &[u8] {
        &commitment.encoded
    }

    fn decode(&self, bytes: &[u8]) -> Option<Commitment<C>> {
        Some(Commitment {
            pair: suite::commitments(bytes)?,
            encoded: bytes.into(),
        })
    }

    fn sign(roster: &Roster, hash: &[u8; 32]) -> [u8; 64] {
        roster.identity.sign(hash)
    }

    fn verifies(roster: &Roster, node: NodeIndex, hash: &[u8; 32], signature: &[u8; 64]) -> bool {
        roster
            .nodes
            .get(&node)
            .is_some_and(|credential| credential.verifies(hash, signature))
    }

    fn assemble(
        &self,
        id: PresignatureId,
        nonces: Box<SigningNonces<C>>,
        commitments: BTreeMap<NodeIndex, Commitment<C>>,
    ) -> Presignature {
        Presignature {
            id,
            header: Arc::clone(&self.header),
            material: C::wrap(Nonce {
                key: Arc::clone(&self.key),
                nonces,
                commitments,
            }),
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

    /// Spends the nonce on a message: the 32-byte digest for Taproot, any bytes for Ed25519. The
    /// nonce of a treasury key answers only with the openings of all signers.
    ///
    /// # Errors
    /// When the share is not the one that the batch was made with, the scheme does not sign such a
    /// message, or the openings are missing. The nonce is gone in any case.
    pub(crate) fn answer(
        self,
        request: &Request<'_>,
        share: &KeyShare,
    ) -> Result<Answer, SignFault> {
        needs_openings(&self.header, request.openings.is_some())?;
        match self.material {
            Material::Ed25519(nonce) => nonce.answer(self.id, request, share),
            Material::Taproot(nonce) => nonce.answer(self.id, request, share),
        }
    }
}

impl Presignature {
    /// Refuses what an answer would refuse, and spends nothing: a treasury key's signer checks this
    /// before it opens. Whether there must be openings is not asked.
    ///
    /// # Errors
    /// As [`Presignature::answer`].
    pub(crate) fn check(&self, request: &Request<'_>, share: &KeyShare) -> Result<(), SignFault> {
        match &self.material {
            Material::Ed25519(nonce) => nonce.package(request, share).map(drop),
            Material::Taproot(nonce) => nonce.package(request, share).map(drop),
        }
    }
}

/// Refuses an answer in one round for a treasury key, and in two for any other.
pub(crate) fn needs_openings(header: &BatchHeader, opened: bool) -> Result<(), SignFault> {
    let treasury = header.profile == Profile::Treasury;
    match (treasury, opened) {
        (true, false) if !Guard::TwoRounds.is_off() => Err(SignFault::NeedsBinding),
        (false, true) => Err(SignFault::NotTreasury),
        _ => Ok(()),
    }
}

impl<C: Suite> KeyContext<C> {
    /// The package that signs under the key tweaked by `tweak`: every share and the key move by the
    /// same scalar, since Lagrange coefficients at zero add up to one.
    fn package(&self, share: &KeyShare, tweak: &[u8; 32]) -> Result<KeyPackage<C>, SignFault> {
        let root = KeyPackage::new(
            self.identifier,
            SigningShare::<C>::deserialize(share.secret.expose())
                .map_err(|_| SignFault::WrongShare)?,
            self.verifying_share,
            self.verifying_key,
            self.threshold,
        );
        let tweak = Tweak::<C>::read(tweak).ok_or(SignFault::BadTweak)?;
        let child = tweak.key_package(root).ok_or(SignFault::BadTweak)?;
        Ok(C::signing(child))
    }
}

impl<C: Suite> Nonce<C> {
    /// The package that signs, if the share is the batch's and the scheme signs such a message.
    fn package(&self, request: &Request<'_>, share: &KeyShare) -> Result<KeyPackage<C>, SignFault> {
        let key = &self.key;
        if share.node != key.node || share.public.shares_hash() != key.shares_hash {
            return Err(SignFault::WrongShare);
        }
        C::check_message(request.message)?;
        key.package(share, request.tweak)
    }

    fn answer(
        self,
        id: PresignatureId,
        request: &Request<'_>,
        share: &KeyShare,
    ) -> Result<Answer, SignFault> {
        let package = self.package(request, share)?;
        let own = self
            .commitments
            .get(&self.key.node)
            .ok_or(SignFault::Refused)?;
        let mut pairs = BTreeMap::new();
        for (node, commitment) in &self.commitments {
            let identifier = suite::identifier::<C>(*node).ok_or(SignFault::Refused)?;
            pairs.insert(identifier, commitment.pair);
        }
        let partial = round2::sign(
            &SigningPackage::new(pairs, request.message),
            &self.nonces,
            &package,
        )
        .map_err(|_| SignFault::Refused)?;
        let encodings = self.commitments.values().map(|c| c.encoded.as_ref());
        Ok(Answer {
            view: view(id, request, encodings),
            body: [
                id.batch.as_bytes().as_slice(),
                &id.index.to_be_bytes(),
                &own.encoded,
                &partial.serialize(),
            ]
            .concat(),
        })
    }
}

/// The view of an answer: the presignature, the message, the tweak, the openings of a treasury key
/// (else an empty part), and every signer's commitments in the order of their indices.
pub(super) fn view<'a>(
    id: PresignatureId,
    request: &Request<'_>,
    commitments: impl Iterator<Item = &'a [u8]>,
) -> [u8; 32] {
    let mut hasher = TaggedHasher::new(tags::FROST_ANSWER);
    hasher
        .part(id.batch.as_bytes())
        .part(&id.index.to_be_bytes())
        .part(request.message)
        .part(request.tweak)
        .part(request.openings.map_or(&[], |hash| hash.as_slice()));
    for encoded in commitments {
        hasher.part(encoded);
    }
    hasher.finish()
}

impl std::fmt::Debug for Presignature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = match self.material {
            Material::Ed25519(_) => Scheme::Ed25519,
            Material::Taproot(_) => Scheme::Taproot,
        };
        f.debug_struct("Presignature")
            .field("id", &self.id)
            .field("set", self.set())
            .field("scheme", &scheme)
            .field("nonces", &"<redacted>")
            .finish()
    }
}

#[cfg(test)]
impl Presignature {
    /// A presignature with given nonces and commitments, for published vectors.
    pub(super) fn of_vector(
        share: &KeyShare,
        header: BatchHeader,
        nonces: [[u8; 32]; 2],
        commitments: BTreeMap<NodeIndex, Vec<u8>>,
    ) -> Self {
        let (key, _) = KeyContext::<Ed25519Sha512>::read(&header.set, share).unwrap();
        let [hiding, binding] = nonces.map(|n| round1::Nonce::deserialize(&n).unwrap());
        let frost = Frost {
            key: Arc::new(key),
            header: Arc::new(header),
        };
        let commitments = commitments
            .into_iter()
            .map(|(node, bytes)| (node, frost.decode(&bytes).unwrap()))
            .collect();
        let id = PresignatureId {
            batch: quoin_core::BatchHash([7; 32]),
            index: 0,
        };
        let nonces = Box::new(SigningNonces::from_nonces(hiding, binding));
        frost.assemble(id, nonces, commitments)
    }
}
