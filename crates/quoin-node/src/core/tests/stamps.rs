//! Stamps: each thing that can be wrong with one, by name. Nothing of such a request is kept.

use super::cluster::{BEGIN, FRIEND, Work};
use super::{Net, ready, set};
use quoin_api::Frame;
use quoin_api::frame::{Reply, SigningHint, Unavailable};
use quoin_core::stamp::Account;
use quoin_core::{
    Address, ChainId, CharterHash, CharterNumber, ClusterId, CustodyMethod, KeyId, Payload,
    Purpose, Signed, SigningIdentity, Stamp, cbor,
};

/// The reply of node 1 to a transfer whose stamp was changed before it was signed.
fn reply_to(change: impl FnOnce(&mut Stamp)) -> Reply {
    let (mut net, id) = ready();
    let payload = net.cluster.transfer(0, FRIEND, 7);
    let mut stamp = net.cluster.stamp(1, &payload);
    change(&mut stamp);
    let work = net.cluster.signed(stamp, payload);
    refused(&mut net, &work, id)
}

/// The reply of node 1, which must leave no trace.
fn refused(net: &mut Net, work: &Work, id: quoin_core::PresignatureId) -> Reply {
    let records = net.host(1).records().len();
    let reply = net.ask(1, work, &set(&[1, 2]), id).unwrap();
    assert_eq!(net.host(1).records().len(), records);
    assert!(!net.core(1).requests.contains_key(&work.id));
    assert_eq!(net.spent(1), (0, 0));
    reply
}

#[track_caller]
fn assert_rejected(reply: &Reply, field: &str) {
    assert!(
        matches!(reply, Reply::Rejected(r) if r.field == field),
        "{reply:?}"
    );
}

#[test]
fn a_stamp_for_another_cluster_is_rejected() {
    assert_rejected(
        &reply_to(|s| s.cluster = ClusterId([9; 32])),
        "stamp.cluster",
    );
}

#[test]
fn a_lapsed_stamp_is_rejected() {
    assert_rejected(&reply_to(|s| s.not_after = BEGIN), "stamp.not_after");
}

#[test]
fn a_stamp_that_names_another_credential_is_rejected() {
    let stranger = SigningIdentity::generate(&mut rand_core::OsRng);
    assert_rejected(
        &reply_to(|s| s.credential = stranger.id()),
        "stamp.credential",
    );
}

#[test]
fn a_stamp_of_one_principal_with_the_credential_of_another_is_rejected() {
    assert_rejected(
        &reply_to(|s| s.principal = "alice".parse().unwrap()),
        "stamp.credential",
    );
}

#[test]
fn a_stamp_that_another_credential_signed_is_rejected() {
    let (mut net, id) = ready();
    let payload = net.cluster.transfer(0, FRIEND, 7);
    let stamp = net.cluster.stamp(1, &payload);
    let work = Work {
        id: stamp.request_id,
        stamp: Signed::sign(stamp, &net.cluster.governors[0]).to_bytes(),
        payload,
    };
    let reply = refused(&mut net, &work, id);
    assert!(
        matches!(&reply, Reply::Rejected(r) if r.field.starts_with("stamp")),
        "{reply:?}"
    );
}

#[test]
fn a_stamp_with_a_flipped_bit_is_rejected_wherever_the_bit_is() {
    let (mut net, presignature) = ready();
    let work = net.cluster.pay(1, 0, FRIEND);
    let records = net.host(1).records().len();
    let hint = SigningHint {
        set: set(&[1, 2]),
        presignature,
        epoch: None,
    };
    for place in 0..work.stamp.len() {
        let mut frame = work.frame(Some(hint.clone()));
        frame.stamp[place] ^= 1;
        net.gateway_says(1, Frame::Request(frame));
        let replies = net.replies(1);
        assert!(
            matches!(
                replies[..],
                [Reply::Rejected(_) | Reply::Unavailable(Unavailable::CharterBehind)]
            ),
            "byte {place}: {replies:?}"
        );
    }
    assert_eq!(net.host(1).records().len(), records);
    // What a stranger sends uses no presignature up.
    let key = net.cluster.key.key;
    assert!(net.core(1).pools.has(
        &(key, quoin_core::ShareEpoch::default(), set(&[1, 2])),
        &presignature
    ));
}

#[test]
fn a_payload_with_an_altered_byte_is_rejected() {
    let (mut net, id) = ready();
    let mut work = net.cluster.pay(1, 0, FRIEND);
    let Payload::EvmTransaction(bytes) = &mut work.payload else {
        panic!("a transfer is a transaction");
    };
    *bytes.last_mut().unwrap() ^= 1;
    assert_rejected(&refused(&mut net, &work, id), "payload");
}

#[test]
fn a_payload_in_another_encoding_is_rejected() {
    let (mut net, presignature) = ready();
    let work = net.cluster.pay(1, 0, FRIEND);
    let mut frame = work.frame(Some(SigningHint {
        set: set(&[1, 2]),
        presignature,
        epoch: None,
    }));
    frame.payload = cbor::encode(&work.payload);
    frame.payload.push(0);
    net.replies(1);
    net.gateway_says(1, Frame::Request(frame));
    let replies = net.replies(1);
    assert_rejected(&replies[0], "payload");
}

#[test]
fn a_stamp_with_a_charter_floor_ahead_waits_for_that_charter() {
    let reply = reply_to(|s| s.charter_number_floor = CharterNumber(1));
    assert_eq!(reply, Reply::Unavailable(Unavailable::CharterBehind));
}

#[test]
fn a_stamp_with_another_charter_at_its_floor_is_rejected() {
    let reply = reply_to(|s| s.charter_hash_floor = CharterHash([3; 32]));
    assert_rejected(&reply, "charter_number_floor");
}

#[test]
fn a_stamp_with_the_wrong_custody_method_is_rejected() {
    let reply = reply_to(|s| s.custody = CustodyMethod::Local);
    assert_rejected(&reply, "stamp.custody");
}

#[test]
fn a_stamp_for_an_unknown_key_is_not_served() {
    let reply = reply_to(|s| s.key = Some(KeyId([1; 16])));
    assert_eq!(reply, Reply::Unavailable(Unavailable::UnknownKey));
    let reply = reply_to(|s| s.key = None);
    assert_eq!(reply, Reply::Unavailable(Unavailable::UnknownKey));
}

#[test]
fn a_stamp_with_another_purpose_than_the_keys_is_rejected() {
    let reply = reply_to(|s| s.purpose = Purpose::Treasury);
    assert_rejected(&reply, "purpose");
}

#[test]
fn a_stamp_for_an_account_that_is_not_the_keys_is_rejected() {
    let reply = reply_to(|s| s.account.address = Address::evm([1; 20]));
    assert!(matches!(reply, Reply::Rejected(_)), "{reply:?}");
    let reply = reply_to(|s| {
        s.account = Account {
            chain: ChainId::Evm(1),
            address: s.account.address.clone(),
            path: quoin_core::DerivationPath::ROOT,
        };
    });
    assert!(matches!(reply, Reply::Rejected(_)), "{reply:?}");
}

#[test]
fn a_stamp_that_gives_an_account_the_path_of_another_is_rejected() {
    for path in ["m/0", "m/0/5"] {
        let reply = reply_to(|s| s.account.path = path.parse().unwrap());
        assert_rejected(&reply, "account");
    }
}

#[test]
fn the_addresses_of_a_path_are_those_of_the_child_there_and_no_others() {
    use crate::core::key_addresses;
    use quoin_core::{DerivationPath, Scheme};
    use std::collections::BTreeSet;
    let (net, _) = ready();
    let mut key = net.cluster.key.clone();
    key.scheme = Scheme::Ecdsa;
    // The generator of secp256k1, as a key.
    key.public_key =
        hex::decode("0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798").unwrap();
    let mut seen = BTreeSet::new();
    for (text, on_quoin) in [
        ("m", ""),
        ("m/0", "/0"),
        ("m/0/5", "/0/5"),
        ("m/5/0", "/5/0"),
    ] {
        let path: DerivationPath = text.parse().unwrap();
        let child = quoin_protocol::derive(&key, &path).unwrap();
        let public = child.public_key.as_slice().try_into().unwrap();
        let on_chain = quoin_chain::address::evm_address(public).unwrap();
        let on_quoin = format!("{}{on_quoin}", key.key).parse::<Address>().unwrap();
        let addresses = key_addresses(&key, &path);
        assert_eq!(addresses, [on_chain, on_quoin], "{text}");
        for address in addresses {
            assert!(
                seen.insert(address),
                "{text}: each account has its own addresses"
            );
        }
    }
    key.public_key = vec![0; 33];
    let path: DerivationPath = "m/0/5".parse().unwrap();
    assert!(
        key_addresses(&key, &path).is_empty(),
        "no child, no account"
    );
}
