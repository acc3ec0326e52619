//! Signing takes three things of one key, and nothing else.

use super::*;
use crate::presign::testkit::{Fixture, fixture, node};
use quoin_core::cbor::Version;
use quoin_core::stamp::Account;
use quoin_core::{
    ChainId, CharterNumber, KeyId, Payload, RequestId, Scheme, SecretBytes, Signed as Made,
    SigningIdentity, Stamp, TimeMs,
};
use quoin_policy::{
    Charter, Constitution, Judgement, KeyFacts, Ledger, NodeEntry, Principal, Request,
};
use std::collections::BTreeMap;

const NOW: TimeMs = TimeMs(1_800_000_000_000);

fn alice() -> SigningIdentity {
    SigningIdentity::from_seed(&SecretBytes::take(&mut [77; 32]))
}

fn constitution(fx: &Fixture) -> Constitution {
    let entry = |roster: &crate::Roster| {
        roster
            .nodes
            .iter()
            .map(|(index, credential)| NodeEntry {
                index: *index,
                credential: credential.clone(),
                tls_key_hash: [index.get(); 32],
                operator: "test".into(),
                cloud: String::new(),
                region: String::new(),
            })
            .collect()
    };
    Charter {
        version: Version,
        name: "test".into(),
        number: CharterNumber(0),
        cluster: None,
        previous: None,
        nodes: entry(&fx.rosters[&node(1)]),
        threshold: 2,
        f_tol: 0,
        dangerous_disjoint_signers: false,
        gateways: Vec::new(),
        principals: vec![Principal {
            id: "alice".parse().unwrap(),
            roles: vec!["governor".parse().unwrap()],
            credentials: vec![alice().public()],
            expires: TimeMs(4_000_000_000_000),
            operator: None,
            granted_by: None,
        }],
        governor_quorum: 1,
        budgets: Vec::new(),
        assets: Vec::new(),
        book: Vec::new(),
        policies: "@id(\"texts\")\npermit (principal, action == Action::\"message\", resource);\n\
                   @id(\"govern\")\npermit (principal in Role::\"governor\", \
                   action == Action::\"change_charter\", resource);"
            .into(),
        backup: None,
        facts: Vec::new(),
        keys: vec![quoin_policy::KeyGrant {
            key: "desk".parse().unwrap(),
            dangerous_digest_account: false,
        }],
        cooling_off_ms: 0,
        payload_retention_days: None,
        recovery: None,
        dangerous_single_failure_domain: true,
    }
    .check()
    .unwrap()
}

fn warrant(fx: &Fixture, key: KeyId, custody: CustodyMethod) -> Warrant {
    warrant_for(fx, "hello", key, custody)
}

/// A warrant to sign a text with `key`, made the only way there is.
pub(crate) fn warrant_for(fx: &Fixture, text: &str, key: KeyId, custody: CustodyMethod) -> Warrant {
    warrant_at(fx, text, (key, &quoin_core::DerivationPath::ROOT), custody)
}

/// The same for the account of the key's child at a path.
pub(crate) fn warrant_at(
    fx: &Fixture,
    text: &str,
    (key, path): (KeyId, &quoin_core::DerivationPath),
    custody: CustodyMethod,
) -> Warrant {
    let (scheme, purpose) = (fx.public().scheme, fx.public().purpose);
    let constitution = constitution(fx);
    let payload = Payload::Text(text.into());
    let account = Account {
        chain: ChainId::Quoin,
        address: key.to_string().parse().unwrap(),
        path: path.clone(),
    };
    let stamp = Stamp {
        version: Version,
        cluster: constitution.cluster(),
        charter_number_floor: CharterNumber(0),
        charter_hash_floor: constitution.hash(),
        principal: "alice".parse().unwrap(),
        credential: alice().id(),
        custody,
        key: Some(key),
        account: account.clone(),
        purpose,
        payload_hash: payload.hash(),
        request_id: RequestId([1; 16]),
        not_after: NOW.plus(60_000),
    };
    let signed = Made::sign(stamp, &alice());
    let facts = KeyFacts {
        id: key,
        name: "desk".parse().unwrap(),
        purpose,
        scheme,
        addresses: vec![account.address.clone()],
        threshold: 2,
        holders: 3,
        state: quoin_core::KeyState::Active,
    };
    let calm = quoin_policy::Calm::default();
    let request = Request {
        decoded: quoin_chain::decode(&payload, &account, scheme).unwrap(),
        stamp: constitution.verify_stamp(&signed).unwrap(),
        key: Some(&facts),
        approvals: &[],
        first_seen: NOW,
        now: NOW,
        conditions: calm.conditions(),
    };
    match constitution.judge(request, &mut Ledger::new()) {
        Judgement::Permitted(warrant) => warrant,
        other => panic!("{other:?}"),
    }
}

fn presigned(fx: &mut Fixture) -> Vec<Presignature> {
    let mut made: BTreeMap<_, Vec<Presignature>> = fx.presign(crate::presign::start_batch);
    made.remove(&node(1)).unwrap()
}

#[test]
fn sign_takes_warrant_presignature_and_share_of_one_key() {
    let mut fx = fixture(Scheme::Ecdsa, (2, 3), &[1, 2], 64, 1);
    let mut batch = presigned(&mut fx);
    let share = &fx.shares[&node(1)];
    let key = share.public.key;
    let good = sign(
        warrant(&fx, key, CustodyMethod::Mpc),
        batch.remove(0),
        share,
    );
    assert!(good.is_ok());

    let foreign = KeyId([0xaa; 16]);
    let refused = sign(
        warrant(&fx, foreign, CustodyMethod::Mpc),
        batch.remove(0),
        share,
    );
    assert_eq!(
        refused.unwrap_err(),
        SignFault::WrongShare,
        "a warrant for another key"
    );

    let refused = sign(
        warrant(&fx, key, CustodyMethod::Local),
        batch.remove(0),
        share,
    );
    assert_eq!(
        refused.unwrap_err(),
        SignFault::WrongShare,
        "a warrant for a local key"
    );
}

#[test]
fn sign_refuses_a_presignature_of_another_key_or_another_sharing() {
    let mut fx = fixture(Scheme::Ecdsa, (2, 3), &[1, 2], 64, 1);
    let mut batch = presigned(&mut fx);
    let other = fixture(Scheme::Ecdsa, (2, 3), &[1, 2], 64, 2);
    let mut share = KeyShare {
        public: other.shares[&node(1)].public.clone(),
        node: node(1),
        secret: other.shares[&node(1)].secret.duplicate_secret(),
    };
    share.public.key = KeyId([0xbb; 16]);
    let judged = warrant(&other, share.public.key, CustodyMethod::Mpc);
    let refused = sign(judged, batch.remove(0), &share);
    assert_eq!(refused.unwrap_err(), SignFault::WrongShare, "another key");

    // The same key id, but the shares of another epoch.
    share.public.key = fx.shares[&node(1)].public.key;
    let judged = warrant(&other, share.public.key, CustodyMethod::Mpc);
    let refused = sign(judged, batch.remove(0), &share);
    assert_eq!(
        refused.unwrap_err(),
        SignFault::WrongShare,
        "another sharing"
    );
}

#[test]
fn a_local_key_is_signed_with_only_as_one() {
    let fx = fixture(Scheme::Ecdsa, (2, 3), &[1, 2], 64, 1);
    let share = &fx.shares[&node(1)];
    let judged = warrant(&fx, share.public.key, CustodyMethod::Local);
    let refused = crate::sign_local(judged, share);
    assert_eq!(
        refused.unwrap_err(),
        SignFault::WrongShare,
        "a share is no whole key"
    );
}
