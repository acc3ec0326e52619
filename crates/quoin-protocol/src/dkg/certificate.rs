//! The check of a key's certificate, without any secret.
//!
//! A key or an address counts only with this certificate: n signatures over one record whose
//! public shares lie on one polynomial through the key. An honest node signs only once its share
//! is durable. That there are no two certificates of one key id and epoch is not checked here and
//! does not follow from this code: it is true while one node is honest, and only because of the
//! node's rule that the record it has endorsed is never replaced by another of the same epoch.

use super::for_scheme;
use super::group::Group;
use super::guard::Guard;
use super::plan::threshold_fits;
use super::polynomial::interpolate;
use crate::share::KeyPublic;
use quoin_core::{Certificate, NodeIndex, PublicCredential, ShareEpoch};
use std::collections::BTreeMap;

/// Why a key's certificate is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateFault {
    /// There is not exactly one signature for each node.
    #[error("certificate has `{found}` signatures where the cluster has `{expected}` nodes")]
    WrongCount {
        /// How many signatures there are.
        found: usize,
        /// How many nodes there are.
        expected: usize,
    },
    /// A node did not sign, or its signature does not verify.
    #[error("node `{0}` did not sign the certificate")]
    NotEndorsed(NodeIndex),
    /// The record names other nodes than the cluster has, or not in ascending order.
    #[error("certificate names other nodes than the cluster")]
    WrongNodes,
    /// The threshold is zero, above 7, or above the number of nodes.
    #[error("threshold `{0}` is out of bounds")]
    WrongThreshold(u8),
    /// The key is not a canonical point of prime order.
    #[error("public key is not a canonical point")]
    BadKey,
    /// A public share is not a canonical point of prime order.
    #[error("public share of node `{0}` is not a canonical point")]
    BadShare(NodeIndex),
    /// The public shares and the key do not lie on one polynomial of the threshold's degree.
    #[error("public share of node `{0}` does not belong to the key")]
    NotOnPolynomial(NodeIndex),
    /// The scheme is not one of this build.
    #[error("scheme is not one of this build")]
    UnknownScheme,
    /// Something that stays with a key for ever is not that of the epoch before.
    #[error("`{0:?}` is not that of the epoch before")]
    NotInherited(Inherited),
    /// The epoch does not follow the one before immediately.
    #[error("epoch does not follow the one before")]
    WrongEpoch,
    /// The record names another record as the one before, names one at birth, or names none later.
    #[error("record names another one as the epoch before")]
    WrongPrevious,
    /// The record is of an older charter than the epoch before.
    #[error("record is of an older charter than the epoch before")]
    OlderCharter,
}

/// What stays with a key through all epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inherited {
    /// The cluster.
    Cluster,
    /// The key's id.
    Key,
    /// Its name.
    Name,
    /// Its scheme.
    Scheme,
    /// Its purpose.
    Purpose,
    /// The public key.
    PublicKey,
    /// The chain code.
    ChainCode,
    /// Where it comes from.
    Origin,
}

/// Checks that all of `nodes`, and nobody else, certified a record that is right in itself.
///
/// # Errors
/// The first fault found.
pub fn verify_certificate(
    certificate: &Certificate<KeyPublic>,
    nodes: &BTreeMap<NodeIndex, PublicCredential>,
) -> Result<(), CertificateFault> {
    let public = certificate.unverified();
    if !threshold_fits(public.threshold, nodes.len()) {
        return Err(CertificateFault::WrongThreshold(public.threshold));
    }
    // Birth is epoch 0, and no other epoch is without the one before.
    if (public.epoch == ShareEpoch::default()) != public.previous.is_none() {
        return Err(CertificateFault::WrongPrevious);
    }
    let named = public.public_shares.iter().map(|s| s.node);
    if !named.eq(nodes.keys().copied()) {
        return Err(CertificateFault::WrongNodes);
    }
    let (found, expected) = (certificate.endorsements().len(), nodes.len());
    if found != expected {
        return Err(CertificateFault::WrongCount { found, expected });
    }
    for (node, credential) in nodes {
        if !certificate.endorsed_by(credential) {
            return Err(CertificateFault::NotEndorsed(*node));
        }
    }
    for_scheme!(
        public.scheme,
        G => check_points::<G>(public),
        Err(CertificateFault::UnknownScheme)
    )
}

/// Checks that key and public shares are points on one polynomial of degree `threshold - 1`.
pub(super) fn check_points<G: Group>(public: &KeyPublic) -> Result<(), CertificateFault> {
    let key = G::decode_point(&public.public_key).ok_or(CertificateFault::BadKey)?;
    let mut points = Vec::new();
    for share in &public.public_shares {
        let point = G::decode_point(&share.point);
        points.push((
            share.node,
            point.ok_or(CertificateFault::BadShare(share.node))?,
        ));
    }
    let (base, rest) = points
        .split_at_checked(usize::from(public.threshold))
        .ok_or(CertificateFault::WrongThreshold(public.threshold))?;
    let first = base.first().map(|(node, _)| *node);
    let expected = first.into_iter().map(|node| (node, 0, key));
    let expected = expected.chain(rest.iter().map(|(n, p)| (*n, n.get(), *p)));
    for (node, at, point) in expected {
        if interpolate::<G>(base, at) != Some(point) {
            return Err(CertificateFault::NotOnPolynomial(node));
        }
    }
    Ok(())
}

/// What an outsider checks between the certified records of two epochs of one key: that nothing
/// which belongs to the key itself has changed, and that `next` follows `base` immediately.
///
/// Both certificates are verified apart from this, with [`verify_certificate`].
///
/// # Errors
/// The first fault found.
pub fn verify_succession(next: &KeyPublic, base: &KeyPublic) -> Result<(), CertificateFault> {
    let inherited = [
        (Inherited::Cluster, next.cluster == base.cluster),
        (Inherited::Key, next.key == base.key),
        (Inherited::Name, next.name == base.name),
        (Inherited::Scheme, next.scheme == base.scheme),
        (Inherited::Purpose, next.purpose == base.purpose),
        (Inherited::PublicKey, next.public_key == base.public_key),
        (Inherited::ChainCode, next.chain_code == base.chain_code),
        (Inherited::Origin, next.origin == base.origin),
    ];
    let mut kept = inherited.into_iter();
    if let Some((what, _)) = kept.find(|(_, kept)| !Guard::Inherited.holds(*kept)) {
        return Err(CertificateFault::NotInherited(what));
    }
    // A key that is whole at every node has no next epoch, nor is one the next epoch of a shared key.
    let thresholds = [base.threshold, next.threshold];
    if let Some(whole) = thresholds.into_iter().find(|threshold| *threshold < 2) {
        return Err(CertificateFault::WrongThreshold(whole));
    }
    let follows = base.epoch.0.checked_add(1) == Some(next.epoch.0);
    if !Guard::NextEpoch.holds(follows) {
        return Err(CertificateFault::WrongEpoch);
    }
    if !Guard::Previous.holds(next.previous == Some(base.shares_hash())) {
        return Err(CertificateFault::WrongPrevious);
    }
    // Charter numbers only grow, so an epoch cannot come from an older constitution.
    if !Guard::Charter.holds(next.charter >= base.charter) {
        return Err(CertificateFault::OlderCharter);
    }
    Ok(())
}
