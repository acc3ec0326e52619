//! Whole keys: the only two functions that know one, both for offline ceremonies.
//!
//! Exporting a key ends what a threshold promises: from then on it is worth as much as the machine
//! that saw it. A key that was imported was whole once, and is marked so for ever.

use super::BackupFault;
use crate::dkg::guard::Guard;
use crate::dkg::{Group, Polynomial, deal, for_scheme, interpolate_scalars, threshold_fits};
use crate::share::{KeyPublic, KeyShare};
use quoin_core::cbor::{self, Version};
use quoin_core::hash::tagged;
use quoin_core::{
    CeremonyId, CharterNumber, ClusterId, KeyId, KeyName, KeyOrigin, NodeIndex, Purpose, Scheme,
    SecretBytes, ShareEpoch, tags,
};
use rand_core::CryptoRngCore;
use zeroize::Zeroizing;

/// Recovers a whole key from a threshold of its shares, which must be of one record. It is in the
/// encoding of its curve: big-endian for secp256k1, little-endian for Ed25519.
///
/// # Errors
/// When there are too few shares, they are of different records or one node's twice, or one is not
/// the certified one.
///
/// # Security
/// Whoever holds the result signs alone, without any judgement. For export only, offline.
pub fn dangerous_recover_key(shares: &[KeyShare]) -> Result<SecretBytes<32>, BackupFault> {
    let first = shares.first();
    let first = first.ok_or(BackupFault::TooFew {
        found: 0,
        needed: 1,
    })?;
    for_scheme!(
        first.public.scheme,
        G => recover_in::<G>(&first.public, shares),
        Err(BackupFault::UnknownScheme)
    )
}

fn recover_in<G: Group>(
    record: &KeyPublic,
    shares: &[KeyShare],
) -> Result<SecretBytes<32>, BackupFault> {
    let (found, needed) = (shares.len(), usize::from(record.threshold));
    if !Guard::EnoughShares.holds(found >= needed) {
        return Err(BackupFault::TooFew { found, needed });
    }
    let mut values: Vec<(NodeIndex, Zeroizing<G::Scalar>)> = Vec::with_capacity(found);
    for share in shares {
        let node = share.node;
        if !Guard::OneRecord.holds(share.public == *record) {
            return Err(BackupFault::RecordsDiffer);
        }
        if !Guard::DistinctShares.holds(values.iter().all(|(other, _)| *other != node)) {
            return Err(BackupFault::Duplicate(node));
        }
        if !Guard::WholeShare.holds(share.matches_public()) {
            return Err(BackupFault::WrongShare(node));
        }
        let value = G::decode_scalar(share.secret.expose());
        let value = value.ok_or(BackupFault::WrongShare(node))?;
        values.push((node, Zeroizing::new(value)));
    }
    values.truncate(needed);
    let key = interpolate_scalars::<G>(&values).ok_or(BackupFault::WrongKey)?;
    let right = G::encode_point(&G::generate(&key)) == record.public_key;
    if Guard::RecoveredKey.holds(right) {
        Ok(SecretBytes::take(&mut G::encode_scalar(&key)))
    } else {
        Err(BackupFault::WrongKey)
    }
}

/// What an imported key is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportParams {
    /// The cluster.
    pub cluster: ClusterId,
    /// The charter in force.
    pub charter: CharterNumber,
    /// The ceremony that stands for the import.
    pub ceremony: CeremonyId,
    /// The key.
    pub key: KeyId,
    /// Its name.
    pub name: KeyName,
    /// Its scheme.
    pub scheme: Scheme,
    /// Its purpose.
    pub purpose: Purpose,
    /// How many shares sign.
    pub threshold: u8,
    /// All nodes of the charter, ascending.
    pub nodes: Vec<NodeIndex>,
    /// The chain code that belongs to the key, or any 32 bytes if it has none.
    pub chain_code: [u8; 32],
}

/// Deals the shares of a key that exists already, ascending by node.
///
/// The secret is in the encoding of its curve. An RFC 8032 key is not a scalar: what is imported
/// of one is its clamped scalar modulo the order, little-endian.
///
/// # Errors
/// When the secret is zero or not canonical, or the threshold does not fit the nodes.
///
/// # Security
/// The key was whole outside of the cluster and may be so still; its record says `Imported` for
/// ever. For import only, offline; the caller destroys the secret afterwards.
pub fn dangerous_deal(
    params: ImportParams,
    secret: &SecretBytes<32>,
    rng: &mut dyn CryptoRngCore,
) -> Result<Vec<KeyShare>, BackupFault> {
    let nodes = &params.nodes;
    let ascending = nodes.iter().zip(nodes.iter().skip(1)).all(|(a, b)| a < b);
    let fits = ascending && threshold_fits(params.threshold, nodes.len());
    if !Guard::ImportFits.holds(fits) {
        return Err(BackupFault::WrongHolders {
            threshold: params.threshold,
            nodes: nodes.len(),
        });
    }
    for_scheme!(
        params.scheme,
        G => deal_in::<G>(params, secret, rng),
        Err(BackupFault::UnknownScheme)
    )
}

fn deal_in<G: Group>(
    params: ImportParams,
    secret: &SecretBytes<32>,
    rng: &mut dyn CryptoRngCore,
) -> Result<Vec<KeyShare>, BackupFault> {
    let key = G::decode_scalar(secret.expose()).map(Zeroizing::new);
    let key = key.ok_or(BackupFault::BadSecret)?;
    let (threshold, nodes) = (params.threshold, params.nodes.clone());
    let polynomial = Polynomial::<G>::through(&key, threshold, rng);
    // A share of zero is a matter of chance once in 2^250 and of no consequence: try again.
    deal(record(params), &nodes, &polynomial).ok_or(BackupFault::BadSecret)
}

/// The record of an imported key without key and shares. There is no ceremony, so what stands for
/// its transcript is a hash of what is known, under a tag of its own.
fn record(params: ImportParams) -> KeyPublic {
    let mut record = KeyPublic {
        version: Version,
        cluster: params.cluster,
        charter: params.charter,
        ceremony: params.ceremony,
        key: params.key,
        name: params.name,
        scheme: params.scheme,
        purpose: params.purpose,
        threshold: params.threshold,
        epoch: ShareEpoch::default(),
        public_key: Vec::new(),
        public_shares: Vec::new(),
        transcript: [0; 32],
        chain_code: params.chain_code,
        origin: KeyOrigin::Imported,
        previous: None,
    };
    record.transcript = import_hash(&record);
    record
}

/// What stands for the transcript of an import, of a record without key and shares.
fn import_hash(bare: &KeyPublic) -> [u8; 32] {
    tagged(tags::DKG_IMPORT, &[&cbor::encode(bare)])
}

/// Whether a record was made by an import, by its transcript, whatever origin it claims.
#[must_use]
pub fn is_import(public: &KeyPublic) -> bool {
    let bare = KeyPublic {
        public_key: Vec::new(),
        public_shares: Vec::new(),
        transcript: [0; 32],
        origin: KeyOrigin::Imported,
        ..public.clone()
    };
    public.transcript == import_hash(&bare)
}
