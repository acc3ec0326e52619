//! Children of keys: published vectors, an independent library, and every refusal.

use super::*;
use crate::presign::testkit;
use bitcoin::bip32::{ChildNumber, Xpub};
use curve25519_dalek::constants::EIGHT_TORSION;
use proptest::prelude::*;

fn path(text: &str) -> DerivationPath {
    text.parse().unwrap()
}

/// A key on secp256k1 by libsecp256k1.
fn secp_public(secret: [u8; 32]) -> Option<Vec<u8>> {
    let secret = secp256k1::SecretKey::from_byte_array(secret).ok()?;
    let secp = secp256k1::Secp256k1::signing_only();
    Some(secret.public_key(&secp).serialize().to_vec())
}

fn unbase58(text: &str) -> Vec<u8> {
    bs58::decode(text).with_check(None).into_vec().unwrap()
}

/// Parent, path below it and child, of BIP-32's test vectors 1, 2 and 3.
const BIP32: &[(&str, &str, &str)] = &[
    (
        "xpub68Gmy5EdvgibQVfPdqkBBCHxA5htiqg55crXYuXoQRKfDBFA1WEjWgP6LHhwBZeNK1VTsfTFUHCdrfp1bgwQ9xv5ski8PX9rL2dZXvgGDnw",
        "m/1",
        "xpub6ASuArnXKPbfEwhqN6e3mwBcDTgzisQN1wXN9BJcM47sSikHjJf3UFHKkNAWbWMiGj7Wf5uMash7SyYq527Hqck2AxYysAA7xmALppuCkwQ",
    ),
    (
        "xpub6D4BDPcP2GT577Vvch3R8wDkScZWzQzMMUm3PWbmWvVJrZwQY4VUNgqFJPMM3No2dFDFGTsxxpG5uJh7n7epu4trkrX7x7DogT5Uv6fcLW5",
        "m/2/1000000000",
        "xpub6H1LXWLaKsWFhvm6RVpEL9P4KfRZSW7abD2ttkWP3SSQvnyA8FSVqNTEcYFgJS2UaFcxupHiYkro49S8yGasTvXEYBVPamhGW6cFJodrTHy",
    ),
    (
        "xpub661MyMwAqRbcFW31YEwpkMuc5THy2PSt5bDMsktWQcFF8syAmRUapSCGu8ED9W6oDMSgv6Zz8idoc4a6mr8BDzTJY47LJhkJ8UB7WEGuduB",
        "m/0",
        "xpub69H7F5d8KSRgmmdJg2KhpAK8SR3DjMwAdkxj3ZuxV27CprR9LgpeyGmXUbC6wb7ERfvrnKZjXoUmmDznezpbZb7ap6r1D3tgFxHmwMkQTPH",
    ),
    (
        "xpub6ASAVgeehLbnwdqV6UKMHVzgqAG8Gr6riv3Fxxpj8ksbH9ebxaEyBLZ85ySDhKiLDBrQSARLq1uNRts8RuJiHjaDMBU4Zn9h8LZNnBC5y4a",
        "m/1",
        "xpub6DF8uhdarytz3FWdA8TvFSvvAh8dP3283MY7p2V4SeE2wyWmG5mg5EwVvmdMVCQcoNJxGoWaU9DCWh89LojfZ537wTfunKau47EL2dhHKon",
    ),
];

#[test]
fn children_on_secp256k1_are_those_of_bip_32s_vectors() {
    for (parent, below, expected) in BIP32 {
        let parent = unbase58(parent);
        let chain_code = parent[13..45].try_into().unwrap();
        let child = derive_from(Scheme::Ecdsa, &parent[45..], chain_code, &path(below)).unwrap();
        let (ours, theirs) = (unbase58(&child.xpub().unwrap()), unbase58(expected));
        assert_eq!(ours[..4], theirs[..4], "version");
        // Depth is counted from the key that one starts at.
        assert_eq!(usize::from(ours[4]), path(below).indices().len());
        assert_eq!(ours[5..], theirs[5..], "parent, index, chain code and key");
    }
}

/// BIP-86's test vectors: the account's xpub, and the addresses below it.
const BIP86_ACCOUNT: &str = "xpub6BgBgsespWvERF3LHQu6CnqdvfEvtMcQjYrcRzx53QJjSxarj2afYWcLteoGVky7D3UKDP9QyrLprQ3VCECoY49yfdDEHGCtMMj92pReUsQ";
const BIP86: &[(&str, &str)] = &[
    (
        "m/0/0",
        "bc1p5cyxnuxmeuwuvkwfem96lqzszd02n6xdcjrs20cac6yqjjwudpxqkedrcr",
    ),
    (
        "m/0/1",
        "bc1p4qhjn9zdvkux4e44uhx8tc55attvtyu358kutcqkudyccelu0was9fqzwh",
    ),
    (
        "m/1/0",
        "bc1p3qkhfews2uk44qtvauqyr2ttdsw7svhkl9nkm9s9c3x4ax5h60wqwruhk7",
    ),
];

#[test]
fn a_taproot_key_at_the_account_level_has_bip_86s_addresses() {
    let account = unbase58(BIP86_ACCOUNT);
    let chain_code = account[13..45].try_into().unwrap();
    for (below, address) in BIP86 {
        let child = derive_from(Scheme::Taproot, &account[45..], chain_code, &path(below));
        let shown = child.unwrap().shown_key().unwrap();
        let ours = quoin_chain::addresses(Scheme::Taproot, &shown, &[]).unwrap();
        assert_eq!(&ours[0].address, address, "{below}");
    }
}

#[test]
fn a_child_of_a_child_is_the_child_at_the_whole_path() {
    for scheme in [Scheme::Ecdsa, Scheme::Ed25519] {
        let public = match scheme {
            Scheme::Ed25519 => Ed25519::encode_point(&Ed25519::generate(&5u64.into())),
            _ => secp_public([3; 32]).unwrap(),
        };
        let root = root(scheme, public);
        let steps = root
            .clone()
            .child(&path("m/0"))
            .unwrap()
            .child(&path("m/5"));
        assert_eq!(steps, root.child(&path("m/0/5")));
    }
}

fn any_path() -> impl Strategy<Value = DerivationPath> {
    let index = prop_oneof![0..20u32, 0..quoin_core::path::HARDENED_FROM];
    prop::collection::vec(index, 0..=quoin_core::path::DEPTH_MAX)
        .prop_map(|indices| DerivationPath::new(indices).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn rust_bitcoin_derives_the_same_xpub_and_taproot_address(
        secret: [u8; 32], chain_code: [u8; 32], path in any_path()
    ) {
        let Some(public) = secp_public(secret) else { return Ok(()) };
        for scheme in [Scheme::Ecdsa, Scheme::Taproot] {
            let root = derive_from(scheme, &public, chain_code, &DerivationPath::ROOT).unwrap();
            let child = derive_from(scheme, &public, chain_code, &path).unwrap();
            let theirs: Xpub = root.xpub().unwrap().parse().unwrap();
            let below: Vec<_> = path.indices().iter().map(|i| ChildNumber::from(*i)).collect();
            let secp = bitcoin::secp256k1::Secp256k1::verification_only();
            let theirs = theirs.derive_pub(&secp, &below).unwrap();
            prop_assert_eq!(child.xpub().unwrap(), theirs.to_string());
            if scheme == Scheme::Taproot {
                let internal = theirs.to_x_only_pub();
                let address =
                    bitcoin::Address::p2tr(&secp, internal, None, bitcoin::Network::Bitcoin);
                let shown = child.shown_key().unwrap();
                let ours = quoin_chain::addresses(scheme, &shown, &[]).unwrap();
                prop_assert_eq!(&ours[0].address, &address.to_string());
            }
        }
    }

    #[test]
    fn the_tweak_is_what_leads_from_key_to_child(
        secret: [u8; 32], chain_code: [u8; 32], path in any_path()
    ) {
        if let Some(public) = secp_public(secret) {
            let child = derive_from(Scheme::Ecdsa, &public, chain_code, &path).unwrap();
            let mut sum = secp256k1::SecretKey::from_byte_array(secret).unwrap();
            let tweak = secp256k1::Scalar::from_be_bytes(child.tweak).unwrap();
            sum = sum.add_tweak(&tweak).unwrap();
            prop_assert_eq!(Some(child.public_key), secp_public(sum.secret_bytes()));
        }
        let secret = Ed25519::reduce_wide(&[secret, chain_code].concat().try_into().unwrap());
        let public = Ed25519::encode_point(&Ed25519::generate(&secret));
        let child = derive_from(Scheme::Ed25519, &public, chain_code, &path).unwrap();
        let tweak = Ed25519::decode_scalar(&child.tweak).unwrap();
        let point = Ed25519::generate(&(secret + tweak));
        prop_assert_eq!(&child.public_key, &Ed25519::encode_point(&point));
        prop_assert!(point.is_torsion_free());
        prop_assert_eq!(child.xpub(), None, "an xpub is of secp256k1");
    }
}

#[test]
fn golden_children_on_ed25519() {
    let public = Ed25519::encode_point(&Ed25519::generate(&5u64.into()));
    let child = |text: &str| derive_from(Scheme::Ed25519, &public, [7; 32], &path(text)).unwrap();
    let five = child("m/0/5");
    assert_eq!(hex::encode(five.tweak), GOLDEN_ED25519[0]);
    assert_eq!(hex::encode(&five.public_key), GOLDEN_ED25519[1]);
    assert_eq!(hex::encode(five.chain_code), GOLDEN_ED25519[2]);
    let others = ["m", "m/0", "m/5", "m/0/6", "m/5/0", "m/0/5/0"];
    for other in others {
        assert_ne!(child(other).public_key, five.public_key, "{other}");
        assert_ne!(child(other).chain_code, five.chain_code, "{other}");
    }
    let elsewhere = derive_from(Scheme::Ed25519, &public, [8; 32], &path("m/0/5")).unwrap();
    assert_ne!(elsewhere.public_key, five.public_key, "chain code");
}

/// Tweak, child and chain code of `m/0/5` below 5 B with the chain code 07…07, computed by a second
/// implementation that was written from the rule at the top of `derive.rs`.
const GOLDEN_ED25519: [&str; 3] = [
    "5fbb86566aac6ed9cdf6eed910ff53dc324fb518b7446fa37ab9a25a5cd61903",
    "b653150f51461e2112d8bd59724ed0509782be328dbeefaf61ebdfe5d7fa9b68",
    "ef870fd0cafed742c1e6e05f474b323360c8e675884ac8f8eb27f6cbcbe97e39",
];

#[test]
fn the_root_is_the_key_itself() {
    for scheme in [
        Scheme::Ecdsa,
        Scheme::Taproot,
        Scheme::Ed25519,
        Scheme::Model,
    ] {
        let root = derive_from(scheme, &[9; 4], [7; 32], &DerivationPath::ROOT).unwrap();
        assert_eq!((root.tweak, root.public_key), ([0; 32], vec![9; 4]));
        assert_eq!(root.chain_code, [7; 32]);
    }
}

#[test]
fn a_record_is_derived_by_its_own_key_and_chain_code() {
    let public = testkit::fixture(Scheme::Ecdsa, (2, 3), &[1, 2], 1, 1)
        .public()
        .clone();
    let by_record = derive(&public, &path("m/0/5")).unwrap();
    let scheme = public.scheme;
    let same = derive_from(
        scheme,
        &public.public_key,
        public.chain_code,
        &path("m/0/5"),
    );
    assert_eq!(Ok(by_record.clone()), same);
    let mut other = public;
    other.chain_code[0] ^= 1;
    let other = derive(&other, &path("m/0/5")).unwrap();
    assert_ne!(other.public_key, by_record.public_key);
}

#[test]
fn keys_that_are_no_points_of_their_group_have_no_children() {
    let point = Ed25519::generate(&5u64.into()) + EIGHT_TORSION[1];
    let mixed = Ed25519::encode_point(&point);
    let mut identity = vec![0; 32];
    identity[0] = 1;
    for (scheme, key) in [
        (Scheme::Ed25519, mixed),
        (Scheme::Ed25519, EIGHT_TORSION[1].compress().0.to_vec()),
        (Scheme::Ed25519, identity),
        (Scheme::Ed25519, vec![2; 33]),
        (Scheme::Ecdsa, vec![0; 33]),
        (Scheme::Ecdsa, vec![5; 33]),
        (Scheme::Taproot, vec![2; 32]),
    ] {
        let child = derive_from(scheme, &key, [7; 32], &path("m/0"));
        assert_eq!(child, Err(DeriveFault::BadKey), "{}", hex::encode(key));
    }
}

fn root(scheme: Scheme, public_key: Vec<u8>) -> ChildKey {
    derive_from(scheme, &public_key, [7; 32], &DerivationPath::ROOT).unwrap()
}

#[test]
fn a_left_half_of_the_order_or_more_is_no_child() {
    let order = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
    let mut hash = [9; 64];
    hex::decode_to_slice(order, &mut hash[..32]).unwrap();
    assert!(bip32_halves(&hash).is_none());
    hash[31] -= 1;
    let (tweak, chain_code) = bip32_halves(&hash).unwrap();
    assert_eq!(tweak, -k256::Scalar::ONE);
    assert_eq!(chain_code, [9; 32]);

    let none: Level<Secp256k1> =
        |_, chain_code, index| (index != 7).then_some((1u64.into(), *chain_code));
    let key = || root(Scheme::Ecdsa, secp_public([3; 32]).unwrap());
    assert!(descend::<Secp256k1>(key(), &path("m/1/6"), none).is_ok());
    let refused = descend::<Secp256k1>(key(), &path("m/1/7/1"), none);
    assert_eq!(
        refused,
        Err(DeriveFault::NoSuchChild { level: 2, index: 7 })
    );
}

#[test]
fn a_child_that_is_the_identity_is_no_child() {
    let secp: Level<Secp256k1> =
        |_, c, index| Some((k256::Scalar::ZERO - k256::Scalar::from(index), *c));
    let three = Secp256k1::encode_point(&Secp256k1::generate(&3u64.into()));
    assert!(descend::<Secp256k1>(root(Scheme::Ecdsa, three.clone()), &path("m/1/1"), secp).is_ok());
    let refused = descend::<Secp256k1>(root(Scheme::Ecdsa, three), &path("m/1/2"), secp);
    assert_eq!(
        refused,
        Err(DeriveFault::NoSuchChild { level: 2, index: 2 })
    );

    type Ed = curve25519_dalek::Scalar;
    let ed: Level<Ed25519> = |_, c, index| Some((Ed::ZERO - Ed::from(index), *c));
    let three = Ed25519::encode_point(&Ed25519::generate(&3u64.into()));
    assert!(descend::<Ed25519>(root(Scheme::Ed25519, three.clone()), &path("m/1/1"), ed).is_ok());
    let refused = descend::<Ed25519>(root(Scheme::Ed25519, three), &path("m/1/2"), ed);
    assert_eq!(
        refused,
        Err(DeriveFault::NoSuchChild { level: 2, index: 2 })
    );
}
