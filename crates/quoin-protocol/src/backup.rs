//! Backup of one node's share: k of m parts for officers, each of which can be checked alone.
//!
//! The share x_i is the constant term of a fresh polynomial of degree k - 1 over the key's own
//! group (Feldman, as in a key ceremony); part j is its value at j. The header is public: it has
//! the key's record and the polynomial's Feldman commitment, whose constant term must be the
//! public share of the record. So a part proves itself against the certified record, without
//! anybody recovering anything, and k - 1 parts say nothing about the share.
//!
//! What is not here: encrypting a part to its officer, files, and what a restored node must do (a
//! new boot generation, empty pools, and a refresh before it serves).
//!
//! A header is worth as much as its record: whoever uses one verifies the record's certificate.

mod whole;

#[cfg(test)]
mod tests;

pub use whole::{ImportParams, dangerous_deal, dangerous_recover_key, is_import};

use crate::dkg::guard::Guard;
use crate::dkg::{Group, Polynomial, evaluate, for_scheme, interpolate_scalars};
use crate::share::{KeyPublic, KeyShare};
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use quoin_core::cbor::{self, Version};
use quoin_core::tags::{self, Tag};
use quoin_core::{NodeIndex, SecretBytes, Statement};
use rand_core::CryptoRngCore;
use std::collections::BTreeMap;
use zeroize::Zeroizing;

/// The most parts of a backup, which is the most officers.
pub const PARTS_MAX: u8 = 15;

/// What is public of a share's backup.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct BackupHeader {
    /// The form's version.
    #[n(0)]
    pub version: Version<1>,
    /// The record of the key and epoch that the share is of.
    #[n(1)]
    pub public: KeyPublic,
    /// Whose share it is.
    #[n(2)]
    pub node: NodeIndex,
    /// How many parts recover it, from 1 to `parts`.
    #[n(3)]
    pub threshold: u8,
    /// How many parts there are, up to 15; their indices are 1 to `parts`.
    #[n(4)]
    pub parts: u8,
    /// The Feldman commitment of the polynomial, constant term first: exactly `threshold` points.
    #[n(5)]
    pub commitments: Vec<ByteVec>,
}

impl Statement for BackupHeader {
    const TAG: Tag = tags::BACKUP;
    const BYTES_MAX: usize = 8192;
}

/// Why a backup, a part or a recovery is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BackupFault {
    /// The bytes are not a header in its one spelling.
    #[error("malformed backup header")]
    Malformed,
    /// The scheme is not one of this build.
    #[error("scheme is not one of this build")]
    UnknownScheme,
    /// The threshold is not between 1 and the number of parts, or there are more than 15.
    #[error("a backup of `{threshold}` of `{parts}` parts is out of bounds")]
    WrongSize {
        /// How many parts recover the share.
        threshold: u8,
        /// How many parts there are.
        parts: u8,
    },
    /// The share is not the one that its record names for its node.
    #[error("share of node `{0}` is not the one in the record")]
    WrongShare(NodeIndex),
    /// The header's commitment is not one to the share that its record names.
    #[error("backup does not belong to the share of node `{0}`")]
    WrongCommitment(NodeIndex),
    /// There is no part with this index.
    #[error("backup has no part `{0}`")]
    NoSuchPart(u8),
    /// The part does not belong to the backup.
    #[error("part `{0}` does not belong to this backup")]
    BadPart(u8),
    /// There are fewer parts or shares than recovery needs.
    #[error("`{found}` given, `{needed}` needed")]
    TooFew {
        /// How many there are.
        found: usize,
        /// How many are needed.
        needed: usize,
    },
    /// The shares are not all of one record.
    #[error("shares are of different records")]
    RecordsDiffer,
    /// A node's share is there twice.
    #[error("share of node `{0}` is there twice")]
    Duplicate(NodeIndex),
    /// What the shares give is not the key.
    #[error("shares do not give the key")]
    WrongKey,
    /// The secret is zero, or not a canonical one of the scheme.
    #[error("secret is not a key of the scheme")]
    BadSecret,
    /// The holders are not distinct and ascending, or the threshold does not fit them.
    #[error("threshold `{threshold}` does not fit the `{nodes}` holders, or they are not in order")]
    WrongHolders {
        /// The threshold.
        threshold: u8,
        /// How many holders there are.
        nodes: usize,
    },
}

impl BackupHeader {
    /// The canonical bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Reads a header and checks it.
    ///
    /// # Errors
    /// When the bytes are malformed or not canonical, or the header is not one of the share that
    /// its record names.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BackupFault> {
        let header: Self =
            cbor::decode(bytes, Self::BYTES_MAX).map_err(|_| BackupFault::Malformed)?;
        header.check()?;
        Ok(header)
    }

    /// Checks that the header is one of the share that its record names.
    ///
    /// # Errors
    /// The first fault found.
    pub fn check(&self) -> Result<(), BackupFault> {
        for_scheme!(
            self.public.scheme,
            G => self.polynomial::<G>().map(|_| ()),
            Err(BackupFault::UnknownScheme)
        )
    }

    /// The committed polynomial, if it is one through the certified public share.
    fn polynomial<G: Group>(&self) -> Result<Vec<G::Point>, BackupFault> {
        check_size(self.threshold, self.parts)?;
        let wrong = BackupFault::WrongCommitment(self.node);
        let degree = self.commitments.len() == usize::from(self.threshold);
        if !Guard::BackupDegree.holds(degree) {
            return Err(wrong);
        }
        let read = self.commitments.iter().map(|c| G::decode_point(c));
        let points: Vec<G::Point> = read.collect::<Option<_>>().ok_or(wrong)?;
        let constant = self.commitments.first().map(|c| c.as_slice());
        let certified = constant.is_some() && constant == self.public.public_share(self.node);
        if Guard::BackupConstant.holds(certified) {
            Ok(points)
        } else {
            Err(wrong)
        }
    }

    /// Reads a part and checks it against the committed polynomial.
    fn read_part<G: Group>(
        &self,
        polynomial: &[G::Point],
        index: u8,
        part: &SecretBytes<32>,
    ) -> Result<(NodeIndex, Zeroizing<G::Scalar>), BackupFault> {
        let place = NodeIndex::new(index);
        let place = place.filter(|_| Guard::PartIndex.holds(index <= self.parts));
        let place = place.ok_or(BackupFault::NoSuchPart(index))?;
        let value = G::decode_scalar(part.expose()).map(Zeroizing::new);
        let value = value.ok_or(BackupFault::BadPart(index))?;
        let fits = G::generate(&value) == evaluate::<G>(polynomial, place);
        if Guard::PartOnPolynomial.holds(fits) {
            Ok((place, value))
        } else {
            Err(BackupFault::BadPart(index))
        }
    }

    fn recover<G: Group>(
        &self,
        parts: &BTreeMap<u8, SecretBytes<32>>,
    ) -> Result<KeyShare, BackupFault> {
        let polynomial = self.polynomial::<G>()?;
        let (found, needed) = (parts.len(), usize::from(self.threshold));
        if !Guard::EnoughParts.holds(found >= needed) {
            return Err(BackupFault::TooFew { found, needed });
        }
        let mut values = Vec::with_capacity(found);
        for (index, part) in parts {
            values.push(self.read_part::<G>(&polynomial, *index, part)?);
        }
        values.truncate(needed);
        let secret = interpolate_scalars::<G>(&values).ok_or(BackupFault::WrongKey)?;
        let share = KeyShare {
            public: self.public.clone(),
            node: self.node,
            secret: SecretBytes::take(&mut G::encode_scalar(&secret)),
        };
        // It follows from the parts and the constant term; checked anyway, before it is used.
        if Guard::RecoveredShare.holds(share.matches_public()) {
            Ok(share)
        } else {
            Err(BackupFault::WrongShare(self.node))
        }
    }
}

fn check_size(threshold: u8, parts: u8) -> Result<(), BackupFault> {
    let fits = (1..=parts).contains(&threshold) && parts <= PARTS_MAX;
    if Guard::BackupSize.holds(fits) {
        Ok(())
    } else {
        Err(BackupFault::WrongSize { threshold, parts })
    }
}

/// Splits a share into `parts` parts, of which `threshold` recover it. Part j of the backup is
/// element j - 1 of the list.
///
/// # Errors
/// When the sizes are out of bounds, or the share is not the one of its record.
///
/// # Security
/// A threshold of 1 gives every officer the share itself.
pub fn split(
    share: &KeyShare,
    threshold: u8,
    parts: u8,
    rng: &mut dyn CryptoRngCore,
) -> Result<(BackupHeader, Vec<SecretBytes<32>>), BackupFault> {
    check_size(threshold, parts)?;
    if !Guard::BackupShare.holds(share.matches_public()) {
        return Err(BackupFault::WrongShare(share.node));
    }
    for_scheme!(
        share.public.scheme,
        G => split_in::<G>(share, threshold, parts, rng),
        Err(BackupFault::UnknownScheme)
    )
}

fn split_in<G: Group>(
    share: &KeyShare,
    threshold: u8,
    parts: u8,
    rng: &mut dyn CryptoRngCore,
) -> Result<(BackupHeader, Vec<SecretBytes<32>>), BackupFault> {
    let secret = G::decode_scalar(share.secret.expose()).map(Zeroizing::new);
    let secret = secret.ok_or(BackupFault::WrongShare(share.node))?;
    let polynomial = Polynomial::<G>::through(&secret, threshold, rng);
    let points = polynomial.commit();
    let header = BackupHeader {
        version: Version,
        public: share.public.clone(),
        node: share.node,
        threshold,
        parts,
        commitments: points.iter().map(|p| G::encode_point(p).into()).collect(),
    };
    let places = (1..=parts).filter_map(NodeIndex::new);
    let secrets = places.map(|place| {
        let value = polynomial.at(place);
        SecretBytes::take(&mut G::encode_scalar(&value))
    });
    Ok((header, secrets.collect()))
}

/// Proves that a part belongs to a backup, and so that any threshold of such parts would recover
/// the share, without recovering it.
///
/// # Errors
/// When the header is not one of the share that its record names, or the part is not the one with
/// this index.
pub fn check_part(
    header: &BackupHeader,
    index: u8,
    part: &SecretBytes<32>,
) -> Result<(), BackupFault> {
    for_scheme!(
        header.public.scheme,
        G => {
            let polynomial = header.polynomial::<G>()?;
            header.read_part::<G>(&polynomial, index, part).map(|_| ())
        },
        Err(BackupFault::UnknownScheme)
    )
}

/// Recovers a share from at least a threshold of its parts, by index. Every part is checked, those
/// beyond the threshold too.
///
/// # Errors
/// When the header is not one of the share that its record names, there are too few parts, or one
/// does not belong to the backup.
///
/// # Security
/// Recovering always means a new boot generation, empty pools, and a refresh before the node
/// serves; and the share is to be of the epoch in force.
pub fn recover(
    header: &BackupHeader,
    parts: &BTreeMap<u8, SecretBytes<32>>,
) -> Result<KeyShare, BackupFault> {
    for_scheme!(
        header.public.scheme,
        G => header.recover::<G>(parts),
        Err(BackupFault::UnknownScheme)
    )
}
