//! Combining answers to a signature: no secrets here, and nothing leaves that does not verify.
//!
//! The gateway runs this. It blames a signer only for what that signer certainly did: a partial
//! signature is judged wrong only after the commitments in the answers have been matched with the
//! view that all signers signed for, since with one false commitment everyone's partial signature
//! looks wrong.

use super::nonce::{Request, view};
use super::suite::{self, SCALAR_BYTES, Suite, Tweak};
use crate::presign::{Answer, CombineFault, CombineReason};
use crate::share::KeyPublic;
use frost_core::keys::PublicKeyPackage;
use frost_core::round1::SigningCommitments;
use frost_core::round2::SignatureShare;
use frost_core::{CheaterDetection, Identifier, SigningPackage, aggregate_custom};
use frost_ed25519::Ed25519Sha512;
use frost_secp256k1_tr::Secp256K1Sha256TR;
use quoin_core::{BatchHash, NodeIndex, PresignatureId, Scheme, SignerSet};
use std::collections::BTreeMap;

/// Combines one answer of each signer of `set` to the signature of a message: 64 bytes, R then s
/// for Ed25519, and BIP-340's form under the output key for Taproot.
///
/// The result has been verified by another library than the one that made it.
///
/// # Errors
/// Names what is wrong and who is certainly to blame; see [`CombineReason`].
pub(crate) fn combine(
    scheme: Scheme,
    key: &KeyPublic,
    set: &SignerSet,
    request: &Request<'_>,
    answers: &[(NodeIndex, Answer)],
) -> Result<[u8; 64], CombineFault> {
    match scheme {
        Scheme::Ed25519 => combine_as::<Ed25519Sha512>(key, set, request, answers),
        Scheme::Taproot => combine_as::<Secp256K1Sha256TR>(key, set, request, answers),
        _ => Err(CombineReason::WrongKey.blames(Vec::new())),
    }
}

/// Whether `signature` is that of `key`, moved by `tweak`, over `message`: strictly for Ed25519,
/// and under the output key for Taproot. `false` for keys of other schemes, tweaks that are no
/// canonical scalar and messages that the scheme does not sign.
#[must_use]
pub fn verify(key: &KeyPublic, tweak: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    fn verify_as<C: Suite>(
        key: &KeyPublic,
        tweak: &[u8; 32],
        message: &[u8],
        signature: &[u8; 64],
    ) -> bool {
        let child = Tweak::<C>::read(tweak).and_then(|tweak| tweak.public_key(&key.public_key));
        C::check_message(message).is_ok()
            && child.is_some_and(|child| C::accepts(&child, message, signature))
    }
    match key.scheme {
        Scheme::Ed25519 => verify_as::<Ed25519Sha512>(key, tweak, message, signature),
        Scheme::Taproot => verify_as::<Secp256K1Sha256TR>(key, tweak, message, signature),
        _ => false,
    }
}

/// An answer's body, decoded: `batch (32) || index (2) || hiding || binding || z (32)`.
struct Body<'a, C: Suite> {
    id: PresignatureId,
    encoded: &'a [u8],
    pair: SigningCommitments<C>,
    partial: SignatureShare<C>,
}

impl<'a, C: Suite> Body<'a, C> {
    fn read(body: &'a [u8]) -> Option<Self> {
        let (batch, rest) = body.split_first_chunk::<32>()?;
        let (index, rest) = rest.split_first_chunk::<2>()?;
        let (encoded, partial) = rest.split_at_checked(2 * C::POINT_BYTES)?;
        if partial.len() != SCALAR_BYTES {
            return None;
        }
        Some(Self {
            id: PresignatureId {
                batch: BatchHash(*batch),
                index: u16::from_be_bytes(*index),
            },
            encoded,
            pair: suite::commitments(encoded)?,
            partial: SignatureShare::deserialize(partial).ok()?,
        })
    }
}

fn combine_as<C: Suite>(
    key: &KeyPublic,
    set: &SignerSet,
    request: &Request<'_>,
    answers: &[(NodeIndex, Answer)],
) -> Result<[u8; 64], CombineFault> {
    let message = request.message;
    if key.scheme != C::SCHEME || set.size() != usize::from(key.threshold) {
        return Err(CombineReason::WrongKey.blames(Vec::new()));
    }
    if C::check_message(message).is_err() {
        return Err(CombineReason::WrongMessage.blames(Vec::new()));
    }
    let unusable = || CombineReason::WrongKey.blames(Vec::new());
    let tweak = Tweak::<C>::read(request.tweak).ok_or_else(unusable)?;
    let child = tweak.public_key(&key.public_key).ok_or_else(unusable)?;
    let bodies = read_all::<C>(set, answers)?;
    check_views(request, answers, &bodies)?;

    let mut ids = BTreeMap::new();
    let mut pairs = BTreeMap::new();
    let mut partials = BTreeMap::new();
    for (node, body) in &bodies {
        let id = suite::identifier::<C>(*node)
            .ok_or_else(|| CombineReason::WrongParticipants.blames(vec![*node]))?;
        ids.insert(id, *node);
        pairs.insert(id, body.pair);
        partials.insert(id, body.partial);
    }
    let package = SigningPackage::new(pairs, message);
    let signature = aggregate::<C>(key, &tweak, &ids, &package, &partials)?;
    if C::accepts(&child, message, &signature) {
        Ok(signature)
    } else {
        Err(CombineReason::NotVerified.blames(Vec::new()))
    }
}

/// Reads exactly one answer of each signer.
fn read_all<'a, C: Suite>(
    set: &SignerSet,
    answers: &'a [(NodeIndex, Answer)],
) -> Result<BTreeMap<NodeIndex, Body<'a, C>>, CombineFault> {
    let mut nodes: Vec<_> = answers.iter().map(|(node, _)| *node).collect();
    nodes.sort_unstable();
    if !nodes.iter().copied().eq(set.iter()) {
        return Err(CombineReason::WrongParticipants.blames(Vec::new()));
    }
    let mut bodies = BTreeMap::new();
    let mut malformed = Vec::new();
    for (node, answer) in answers {
        match Body::read(&answer.body) {
            Some(body) => drop(bodies.insert(*node, body)),
            None => malformed.push(*node),
        }
    }
    if malformed.is_empty() {
        Ok(bodies)
    } else {
        Err(CombineReason::MalformedAnswer.blames(malformed))
    }
}

/// Checks that all answers have one view, and that it is the view of this message, tweak,
/// presignature and these commitments.
fn check_views<C: Suite>(
    request: &Request<'_>,
    answers: &[(NodeIndex, Answer)],
    bodies: &BTreeMap<NodeIndex, Body<'_, C>>,
) -> Result<(), CombineFault> {
    let views = || answers.iter().map(|(_, answer)| &answer.view);
    if views().zip(views().skip(1)).any(|(a, b)| a != b) {
        return Err(CombineReason::ViewsDiffer.blames(Vec::new()));
    }
    let strangers: Vec<_> = bodies
        .iter()
        .filter(|(_, body)| {
            let computed = view(body.id, request, bodies.values().map(|b| b.encoded));
            views().any(|view| *view != computed)
        })
        .map(|(node, _)| *node)
        .collect();
    if strangers.is_empty() {
        return Ok(());
    }
    // If no answer fits, somebody's commitments or our own message are false. If some do, those
    // that do not fit named another presignature than the one they signed for.
    let culprits = if strangers.len() == bodies.len() {
        Vec::new()
    } else {
        strangers
    };
    Err(CombineReason::NotOfView.blames(culprits))
}

/// Adds the partial signatures up; looks for culprits only when the sum is wrong.
fn aggregate<C: Suite>(
    key: &KeyPublic,
    tweak: &Tweak<C>,
    ids: &BTreeMap<Identifier<C>, NodeIndex>,
    package: &SigningPackage<C>,
    partials: &BTreeMap<Identifier<C>, SignatureShare<C>>,
) -> Result<[u8; 64], CombineFault> {
    let unusable = || CombineReason::WrongKey.blames(Vec::new());
    let child = tweak.public_key(&key.public_key);
    let verifying_key = child.and_then(|child| suite::verifying_key::<C>(&child));
    let verifying_key = verifying_key.ok_or_else(unusable)?;
    let with_shares = |shares| {
        let public = PublicKeyPackage::new(shares, verifying_key, Some(key.threshold.into()));
        C::verifying(public)
    };
    let public = with_shares(BTreeMap::new());
    if let Ok(signature) = aggregate_custom(package, partials, &public, CheaterDetection::Disabled)
    {
        let bytes = signature.serialize().ok();
        return bytes
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| CombineReason::NotVerified.blames(Vec::new()));
    }

    // The public shares are not needed unless somebody cheats, so they are decoded only now.
    let mut shares = BTreeMap::new();
    for (id, node) in ids {
        let share = key.public_share(*node);
        let share = share.and_then(|share| tweak.public_key(share));
        let share = share.and_then(|share| suite::verifying_share::<C>(&share));
        shares.insert(*id, share.ok_or_else(unusable)?);
    }
    let public = with_shares(shares);
    let found = aggregate_custom(package, partials, &public, CheaterDetection::AllCheaters);
    let culprits: Vec<_> = found
        .err()
        .map(|error| error.culprits())
        .unwrap_or_default()
        .iter()
        .filter_map(|id| ids.get(id).copied())
        .collect();
    let reason = if culprits.is_empty() {
        CombineReason::NotVerified
    } else {
        CombineReason::WrongPartial
    };
    Err(reason.blames(culprits))
}
