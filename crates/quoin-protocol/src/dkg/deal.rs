//! A trusted dealer: shares of a key that somebody knows whole.
//!
//! Only an import deals so, offline and marked for ever, and tests. No ceremony does.

use super::group::Group;
use super::guard::Guard;
use super::polynomial::Polynomial;
use crate::share::{KeyPublic, KeyShare, PublicShare};
use quoin_core::{NodeIndex, SecretBytes};
#[cfg(any(test, feature = "model"))]
pub use testing::deal_for_tests;

/// Deals the shares of `polynomial`, whose constant term is the key, to `nodes`. Key and public
/// shares are written into `record`, which has everything else already.
///
/// `None` when the key or a share is zero.
pub(crate) fn deal<G: Group>(
    mut record: KeyPublic,
    nodes: &[NodeIndex],
    polynomial: &Polynomial<G>,
) -> Option<Vec<KeyShare>> {
    let point_of = |secret: &G::Scalar| {
        let point = G::generate(secret);
        let usable = Guard::ImportNotZero.holds(point != G::identity());
        usable.then(|| G::encode_point(&point))
    };
    record.public_key = point_of(&polynomial.constant())?;
    record.public_shares = Vec::with_capacity(nodes.len());
    let mut secrets = Vec::with_capacity(nodes.len());
    for node in nodes.iter().copied() {
        let share = polynomial.at(node);
        let point = point_of(&share)?;
        record.public_shares.push(PublicShare { node, point });
        secrets.push((node, SecretBytes::take(&mut G::encode_scalar(&share))));
    }
    let shares = secrets.into_iter().map(|(node, secret)| KeyShare {
        public: record.clone(),
        node,
        secret,
    });
    Some(shares.collect())
}

/// Keys without a ceremony, for tests and the simulator.
#[cfg(any(test, feature = "model"))]
mod testing {
    use super::deal;
    use crate::dkg::outcome::birth_chain_code;
    use crate::dkg::plan::DkgParams;
    use crate::dkg::polynomial::Polynomial;
    use crate::dkg::{Group, for_scheme};
    use crate::share::{KeyPublic, KeyShare};
    use quoin_core::cbor::Version;
    use quoin_core::hash::tagged;
    use quoin_core::{Certificate, KeyOrigin, NodeIndex, ShareEpoch, SigningIdentity, tags};
    use rand_core::CryptoRngCore;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    /// Deals shares of a fresh key to the owners of `identities`, with the certificate of all of
    /// them.
    ///
    /// The result is what a ceremony of `params` would give, except for the transcript, which is
    /// the hash of nothing. `None` only for a scheme that this build does not know.
    #[must_use]
    pub fn deal_for_tests(
        params: &DkgParams,
        identities: &BTreeMap<NodeIndex, Arc<SigningIdentity>>,
        rng: &mut dyn CryptoRngCore,
    ) -> Option<(BTreeMap<NodeIndex, KeyShare>, Certificate<KeyPublic>)> {
        let nodes: Vec<NodeIndex> = identities.keys().copied().collect();
        let shares = for_scheme!(
            params.scheme,
            G => fresh::<G>(params, &nodes, rng),
            None
        )?;
        let mut certificate = Certificate::unsigned(shares.first()?.public.clone());
        for identity in identities.values() {
            certificate.endorse(identity);
        }
        let shares = shares.into_iter().map(|share| (share.node, share));
        Some((shares.collect(), certificate))
    }

    fn fresh<G: Group>(
        params: &DkgParams,
        nodes: &[NodeIndex],
        rng: &mut dyn CryptoRngCore,
    ) -> Option<Vec<KeyShare>> {
        let transcript = tagged(tags::DKG_TRANSCRIPT, &[]);
        let record = KeyPublic {
            version: Version,
            cluster: params.cluster,
            charter: params.charter,
            ceremony: params.ceremony,
            key: params.key,
            name: params.name.clone(),
            scheme: params.scheme,
            purpose: params.purpose,
            threshold: params.threshold,
            epoch: ShareEpoch::default(),
            public_key: Vec::new(),
            public_shares: Vec::new(),
            transcript,
            chain_code: birth_chain_code(&transcript),
            origin: KeyOrigin::Born,
            previous: None,
        };
        let polynomial = Polynomial::<G>::random(params.threshold, rng);
        deal(record, nodes, &polynomial)
    }
}
