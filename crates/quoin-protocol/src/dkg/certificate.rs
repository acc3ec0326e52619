//! The check of a key's certificate, without any secret.
//!
//! A key or an address counts only with this certificate: n signatures over one record whose
//! public shares lie on one polynomial through the key. An honest node signs only once its share
//! is durable, and one record for each key id, so two certificates of one id cannot exist while
//! one node is honest.

use super::context::threshold_fits;
use super::for_scheme;
use super::group::Group;
use super::polynomial::interpolate;
use crate::share::KeyPublic;
use quoin_core::{Certificate, NodeIndex, PublicCredential};
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
fn check_points<G: Group>(public: &KeyPublic) -> Result<(), CertificateFault> {
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
