//! Ceremonies in which everyone is honest.

use super::super::polynomial::{interpolate, lagrange};
use super::super::{Ed25519, Generated, Model, Secp256k1, deal_for_tests, verify_certificate};
use super::*;
use crate::share::{KeyPublic, KeyShare};
use quoin_core::hash::tagged;
use quoin_core::statement::Endorsement;
use quoin_core::{Certificate, tags};

/// Every set of `size` of the shares' nodes.
pub(super) fn subsets(nodes: &[NodeIndex], size: usize) -> Vec<Vec<NodeIndex>> {
    let all = 0u32..1 << nodes.len();
    all.filter(|bits| bits.count_ones() as usize == size)
        .map(|bits| {
            let chosen = nodes.iter().enumerate();
            chosen
                .filter(|(i, _)| bits >> i & 1 == 1)
                .map(|(_, n)| *n)
                .collect()
        })
        .collect()
}

fn check_shares<G: Group>(shares: &BTreeMap<NodeIndex, KeyShare>, threshold: u8) {
    let public = &shares[&node(1)].public;
    let secrets: BTreeMap<NodeIndex, G::Scalar> = shares
        .iter()
        .map(|(n, s)| (*n, G::decode_scalar(s.secret.expose()).unwrap()))
        .collect();
    for (n, share) in shares {
        assert_eq!((share.node, &share.public), (*n, public));
        let point = G::encode_point(&G::generate(&secrets[n]));
        assert_eq!(public.public_share(*n), Some(point.as_slice()));
    }
    let nodes: Vec<NodeIndex> = shares.keys().copied().collect();
    for set in subsets(&nodes, usize::from(threshold)) {
        let weigh = |n: &NodeIndex| secrets[n] * lagrange::<G>(&set, *n, 0).unwrap();
        let key = set.iter().map(weigh).fold(G::zero(), |sum, x| sum + x);
        assert_eq!(
            G::encode_point(&G::generate(&key)),
            public.public_key,
            "{set:?}"
        );
    }
    for set in subsets(&nodes, usize::from(threshold) - 1) {
        let points: Vec<_> = set.iter().map(|n| (*n, G::generate(&secrets[n]))).collect();
        let key = interpolate::<G>(&points, 0).unwrap();
        assert_ne!(G::encode_point(&key), public.public_key, "{set:?}");
    }
}

pub(super) fn check(scheme: Scheme, shares: &BTreeMap<NodeIndex, KeyShare>, threshold: u8) {
    match scheme {
        Scheme::Ecdsa | Scheme::Taproot => check_shares::<Secp256k1>(shares, threshold),
        Scheme::Ed25519 => check_shares::<Ed25519>(shares, threshold),
        Scheme::Model => check_shares::<Model>(shares, threshold),
    }
}

pub(super) fn generate(cluster: &Cluster) -> BTreeMap<NodeIndex, Generated> {
    let outcomes = cluster.run(&mut |_| {}).into_iter();
    outcomes.map(|(n, o)| (n, o.unwrap())).collect()
}

/// What the nodes make of a ceremony's result once each has stored its share.
pub(super) fn certify(
    cluster: &Cluster,
    generated: &BTreeMap<NodeIndex, Generated>,
) -> Certificate<KeyPublic> {
    let public = generated[&node(1)].share.public.clone();
    let mut certificate = Certificate::unsigned(public);
    for (node, identity) in &cluster.identities {
        let own = cbor::encode(&generated[node].share.public);
        certificate.add(Endorsement::detached(tags::KEY_CERTIFICATE, &own, identity));
    }
    certificate
}

#[test]
fn any_threshold_of_shares_gives_the_key_and_fewer_do_not() {
    for scheme in SCHEMES {
        for (threshold, size) in [(2, 2), (2, 3), (3, 5), (3, 3)] {
            let cluster = Cluster::new(scheme, threshold, size);
            let generated = generate(&cluster);
            let first = &generated[&node(1)].share.public;
            assert!(generated.values().all(|one| one.share.public == *first));
            let certificate = certify(&cluster, &generated);
            assert_eq!(verify_certificate(&certificate, &cluster.nodes), Ok(()));
            let shares = generated.into_iter().map(|(n, g)| (n, g.share)).collect();
            check(scheme, &shares, threshold);
        }
    }
}

#[test]
fn the_largest_ceremony_fits_its_limits() {
    let cluster = Cluster::new(Scheme::Ecdsa, 7, 15);
    let generated = generate(&cluster);
    let certificate = certify(&cluster, &generated);
    assert_eq!(verify_certificate(&certificate, &cluster.nodes), Ok(()));
}

#[test]
fn dealt_shares_are_what_a_ceremony_would_give() {
    for scheme in SCHEMES {
        for (threshold, size) in [(2, 3), (3, 5)] {
            let cluster = Cluster::new(scheme, threshold, size);
            let (shares, certificate) =
                deal_for_tests(&cluster.params, &cluster.identities, &mut rng(9)).unwrap();
            assert_eq!(verify_certificate(&certificate, &cluster.nodes), Ok(()));
            check(scheme, &shares, threshold);
        }
    }
}

#[test]
fn another_ceremony_draws_another_key() {
    let mut cluster = Cluster::new(Scheme::Ed25519, 2, 3);
    let first = generate(&cluster);
    cluster.params.ceremony = CeremonyId([9; 16]);
    let mut started = cluster.start();
    for (me, place) in &mut started {
        let mut rng = rng(70 + u64::from(me.get()));
        *place =
            super::super::start(cluster.params.clone(), cluster.roster(*me), &mut rng).unwrap();
    }
    let second = cluster.run_from(started, &mut |_| {});
    let second = second[&node(1)].as_ref().unwrap();
    assert_ne!(
        first[&node(1)].share.public.public_key,
        second.share.public.public_key
    );
}

#[test]
fn golden_sid_and_certificates() {
    let mut found = vec![hex::encode(Cluster::new(Scheme::Ecdsa, 2, 3).sid())];
    for scheme in SCHEMES {
        let cluster = Cluster::new(scheme, 2, 3);
        let generated = generate(&cluster);
        let certificate = certify(&cluster, &generated).to_bytes();
        found.push(hex::encode(tagged(tags::KEY_CERTIFICATE, &[&certificate])));
    }
    let golden = include_str!("golden.txt");
    assert_eq!(
        found,
        golden.lines().collect::<Vec<_>>(),
        "sid, then one key of each scheme"
    );
}

#[test]
fn every_parameter_enters_the_sid() {
    let base = Cluster::new(Scheme::Ecdsa, 2, 3);
    let mut sids = vec![base.sid()];
    let edits: [fn(&mut DkgParams); 9] = [
        |p| p.cluster = ClusterId([9; 32]),
        |p| p.charter = CharterNumber(9),
        |p| p.ceremony = CeremonyId([9; 16]),
        |p| p.key = KeyId([9; 16]),
        |p| p.name = "other".parse().unwrap(),
        |p| p.scheme = Scheme::Taproot,
        |p| p.purpose = Purpose::Treasury,
        |p| p.threshold = 3,
        |p| p.boots[0].generation = Generation(99),
    ];
    for edit in edits {
        let mut params = base.params.clone();
        edit(&mut params);
        sids.push(params.sid(&base.nodes));
    }
    sids.push(base.params.sid(&Cluster::new(Scheme::Ecdsa, 2, 4).nodes));
    let mut swapped = base.nodes.clone();
    swapped.insert(node(1), base.nodes[&node(2)].clone());
    sids.push(base.params.sid(&swapped));
    let count = sids.len();
    sids.sort_unstable();
    sids.dedup();
    assert_eq!(sids.len(), count);
}

#[test]
fn start_refuses_parameters_that_do_not_fit_the_roster() {
    type Edit = fn(&mut DkgParams, &mut Roster);
    let edits: [(&str, Edit); 9] = [
        ("threshold of zero", |p, _| p.threshold = 0),
        ("threshold over the nodes", |p, _| p.threshold = 4),
        ("a boot missing", |p, _| {
            p.boots.pop();
        }),
        ("boots out of order", |p, _| p.boots.reverse()),
        ("a boot twice", |p, _| p.boots[1] = p.boots[0]),
        ("a boot of a stranger", |p, _| p.boots[2].node = node(9)),
        ("not a node", |_, r| r.me = node(9)),
        ("another's identity", |_, r| r.me = node(2)),
        ("one credential twice", |_, r| {
            let first = r.nodes[&node(1)].clone();
            r.nodes.insert(node(3), first);
        }),
    ];
    let cluster = Cluster::new(Scheme::Ecdsa, 2, 3);
    for (name, edit) in edits {
        let (mut params, mut roster) = (cluster.params.clone(), (*cluster.roster(node(1))).clone());
        edit(&mut params, &mut roster);
        let refused = super::super::start(params, Arc::new(roster), &mut rng(1)).err();
        assert_eq!(
            refused,
            Some(Abort::one(None, Fault::HeaderDiffers)),
            "{name}"
        );
    }
    let many = Cluster::new(Scheme::Ecdsa, 8, 9);
    let refused = super::super::start(many.params.clone(), many.roster(node(1)), &mut rng(1));
    assert_eq!(refused.err(), Some(Abort::one(None, Fault::HeaderDiffers)));
}

/// Signs with a threshold of the shares through one of the FROST crates.
macro_rules! frost_signs {
    ($frost:ident, $cluster:expr, $signers:expr) => {{
        let cluster = $cluster;
        let generated = generate(&cluster);
        let identifier = |n: NodeIndex| $frost::Identifier::try_from(u16::from(n.get())).unwrap();
        let public = &generated[&node(1)].share.public;
        let key = $frost::VerifyingKey::deserialize(&public.public_key).unwrap();
        let verifying = public.public_shares.iter().map(|s| {
            let point = $frost::keys::VerifyingShare::deserialize(&s.point).unwrap();
            (identifier(s.node), point)
        });
        let verifying: BTreeMap<_, _> = verifying.collect();
        let threshold = public.threshold.into();
        let packages = $signers.map(node).map(|n| {
            let secret = generated[&n].share.secret.expose();
            let package = $frost::keys::KeyPackage::new(
                identifier(n),
                $frost::keys::SigningShare::deserialize(secret).unwrap(),
                verifying[&identifier(n)],
                key,
                threshold,
            );
            (identifier(n), package)
        });
        let all = $frost::keys::PublicKeyPackage::new(verifying.clone(), key, Some(threshold));
        let mut rng = rng(5);
        let (mut nonces, mut commitments) = (BTreeMap::new(), BTreeMap::new());
        for (id, package) in &packages {
            let (nonce, commitment) = $frost::round1::commit(package.signing_share(), &mut rng);
            nonces.insert(*id, nonce);
            commitments.insert(*id, commitment);
        }
        let signing = $frost::SigningPackage::new(commitments, b"message");
        let shares = packages.iter().map(|(id, package)| {
            (
                *id,
                $frost::round2::sign(&signing, &nonces[id], package).unwrap(),
            )
        });
        let signature = $frost::aggregate(&signing, &shares.collect(), &all).unwrap();
        assert!(key.verify(b"message", &signature).is_ok());
    }};
}

#[test]
fn frost_signs_with_the_shares_of_an_ed25519_key() {
    frost_signs!(frost_ed25519, Cluster::new(Scheme::Ed25519, 2, 3), [1, 3]);
}

#[test]
fn frost_signs_with_the_shares_of_a_taproot_key() {
    frost_signs!(
        frost_secp256k1_tr,
        Cluster::new(Scheme::Taproot, 2, 3),
        [1, 3]
    );
}

#[test]
fn frost_signs_with_the_shares_of_the_next_epoch() {
    let refresh = |scheme| Cluster::refresh(scheme, 3, 5);
    frost_signs!(frost_ed25519, refresh(Scheme::Ed25519), [1, 2, 5]);
    frost_signs!(frost_secp256k1_tr, refresh(Scheme::Taproot), [2, 3, 4]);
    frost_signs!(frost_ed25519, Cluster::reshare(Scheme::Ed25519), [2, 3, 4]);
    let taproot = Cluster::reshare(Scheme::Taproot);
    frost_signs!(frost_secp256k1_tr, taproot, [1, 2, 4]);
}
