//! A trusted dealer for tests and the simulator: keys without a ceremony.
//!
//! It knows the whole key, which is why no production build has it.

use super::context::DkgParams;
use super::for_scheme;
use super::group::Group;
use super::polynomial::Polynomial;
use crate::share::{KeyPublic, KeyShare, PublicShare};
use quoin_core::cbor::Version;
use quoin_core::hash::tagged;
use quoin_core::{Certificate, NodeIndex, SecretBytes, ShareEpoch, SigningIdentity, tags};
use rand_core::CryptoRngCore;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Deals shares of a fresh key to the owners of `identities`, with the certificate of all of them.
///
/// The result is what a ceremony of `params` would give, except for the transcript, which is the
/// hash of nothing. `None` only for a scheme that this build does not know.
#[must_use]
pub fn deal_for_tests(
    params: &DkgParams,
    identities: &BTreeMap<NodeIndex, Arc<SigningIdentity>>,
    rng: &mut dyn CryptoRngCore,
) -> Option<(BTreeMap<NodeIndex, KeyShare>, Certificate<KeyPublic>)> {
    let dealt = for_scheme!(
        params.scheme,
        G => Some(deal::<G>(params, identities, rng)),
        None
    );
    let (public, secrets) = dealt?;
    let mut certificate = Certificate::unsigned(public.clone());
    for identity in identities.values() {
        certificate.endorse(identity);
    }
    let shares = secrets.into_iter().map(|(node, secret)| {
        let public = public.clone();
        let share = KeyShare {
            public,
            node,
            secret,
        };
        (node, share)
    });
    Some((shares.collect(), certificate))
}

fn deal<G: Group>(
    params: &DkgParams,
    identities: &BTreeMap<NodeIndex, Arc<SigningIdentity>>,
    rng: &mut dyn CryptoRngCore,
) -> (KeyPublic, BTreeMap<NodeIndex, SecretBytes<32>>) {
    let polynomial = Polynomial::<G>::random(params.threshold, rng);
    let (mut secrets, mut public_shares) = (BTreeMap::new(), Vec::new());
    for node in identities.keys().copied() {
        let share = polynomial.at(node);
        let point = G::encode_point(&G::generate(&share));
        public_shares.push(PublicShare { node, point });
        secrets.insert(node, SecretBytes::take(&mut G::encode_scalar(&share)));
    }
    let public = KeyPublic {
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
        public_key: G::encode_point(&G::generate(&polynomial.constant())),
        public_shares,
        transcript: tagged(tags::DKG_TRANSCRIPT, &[]),
        chain_code: super::rounds::birth_chain_code(&tagged(tags::DKG_TRANSCRIPT, &[])),
        origin: quoin_core::KeyOrigin::Born,
        previous: None,
    };
    (public, secrets)
}
