//! The adapter over real charters: the chain of charters, and approvals.

use crate::world::{identity, node};
use quoin_core::cbor::Version;
use quoin_core::{Certificate, CharterNumber, ClusterId, IntentHash, RequestId, Signed, TimeMs};
use quoin_gateway::adapters::CharterChain;
use quoin_gateway::core::Charters;
use quoin_gateway::core::ports::Offer;
use quoin_policy::{Approval, Charter, GatewayEntry, NodeEntry, Principal};

const NOW: TimeMs = TimeMs(1_700_000_000_000);

fn charter() -> Charter {
    let entry = |i: u8| NodeEntry {
        index: node(i),
        credential: identity(i).public(),
        tls_key_hash: [i; 32],
        operator: format!("operator {i}"),
        cloud: String::new(),
        region: String::new(),
    };
    let principal = |name: &str, seed: u8, role: &str| Principal {
        id: name.parse().unwrap(),
        roles: vec![role.parse().unwrap()],
        credentials: vec![identity(seed).public()],
        expires: NOW.plus(1_000_000),
        operator: None,
        granted_by: None,
    };
    Charter {
        version: Version,
        name: "desk".into(),
        number: CharterNumber(0),
        cluster: None,
        previous: None,
        nodes: (1..=3).map(entry).collect(),
        threshold: 2,
        f_tol: 0,
        dangerous_disjoint_signers: false,
        gateways: vec![GatewayEntry {
            id: "gateway".parse().unwrap(),
            tls_key_hash: [0x60; 32],
        }],
        principals: vec![
            principal("ann", 22, "governor"),
            principal("bot", 21, "desk"),
        ],
        governor_quorum: 1,
        budgets: Vec::new(),
        assets: Vec::new(),
        book: Vec::new(),
        policies: "@id(\"govern\") permit (principal in Role::\"governor\", action == \
                   Action::\"change_charter\", resource);"
            .into(),
        backup: None,
        facts: Vec::new(),
        keys: Vec::new(),
        cooling_off_ms: 0,
        payload_retention_days: None,
        recovery: None,
        dangerous_single_failure_domain: true,
    }
}

fn signed(charter: Charter, seeds: &[u8]) -> Vec<u8> {
    let mut certificate = Certificate::unsigned(charter);
    for seed in seeds {
        certificate.endorse(&identity(*seed));
    }
    certificate.to_bytes()
}

fn chain() -> CharterChain {
    let bytes = signed(charter(), &[1, 2, 3, 22]);
    CharterChain::from_genesis(&bytes, charter().cluster_id()).unwrap()
}

fn successor() -> Charter {
    Charter {
        number: CharterNumber(1),
        cluster: Some(charter().cluster_id()),
        previous: Some(charter().hash()),
        name: "desk two".into(),
        ..charter()
    }
}

#[test]
fn a_genesis_is_believed_only_complete_and_of_the_pinned_cluster() {
    let pinned = charter().cluster_id();
    let view = chain();
    assert_eq!(view.view().nodes.len(), 3);
    let incomplete = signed(charter(), &[1, 2, 22]);
    assert!(CharterChain::from_genesis(&incomplete, pinned).is_err());
    let complete = signed(charter(), &[1, 2, 3, 22]);
    assert!(CharterChain::from_genesis(&complete, ClusterId([0; 32])).is_err());
    assert!(CharterChain::from_genesis(&[1, 2, 3], pinned).is_err());
}

#[test]
fn charters_are_adopted_one_after_the_other() {
    let mut chain = chain();
    let unsigned = signed(successor(), &[21]);
    assert!(chain.offer(NOW, &unsigned).is_err());
    let next = signed(successor(), &[22]);
    assert_eq!(chain.offer(NOW, &next), Ok(Offer::Adopted));
    assert_eq!(chain.offer(NOW, &next), Ok(Offer::Known));
    assert_eq!(chain.view().number, CharterNumber(1));
    assert_eq!(chain.bytes(), next);
    let first = signed(charter(), &[1, 2, 3, 22]);
    let older = Offer::Older(CharterNumber(0));
    assert_eq!(chain.offer(NOW, &first), Ok(older));
    let mut far = successor();
    far.number = CharterNumber(3);
    let gap = Offer::Gap(CharterNumber(3));
    assert_eq!(chain.offer(NOW, &signed(far, &[22])), Ok(gap));
    let mut twin = successor();
    twin.name = "another desk".into();
    assert!(chain.offer(NOW, &signed(twin, &[22])).is_err());
}

#[test]
fn an_approval_is_read_only_when_its_principal_signed_it() {
    let chain = chain();
    let approval = |principal: &str, cluster| Approval {
        version: Version,
        cluster,
        intent_hash: IntentHash([1; 32]),
        principal: principal.parse().unwrap(),
        request_id: RequestId([7; 16]),
        not_after: NOW,
    };
    let ours = chain.view().cluster;
    let good = Signed::sign(approval("ann", ours), &identity(22)).to_bytes();
    let head = chain.approval(&good).unwrap();
    assert_eq!(head.request_id, RequestId([7; 16]));
    assert_eq!(head.credential, identity(22).id());
    for (name, bytes) in [
        (
            "stranger",
            Signed::sign(approval("ann", ours), &identity(99)),
        ),
        (
            "other principal",
            Signed::sign(approval("ann", ours), &identity(21)),
        ),
        (
            "other cluster",
            Signed::sign(approval("ann", ClusterId([0; 32])), &identity(22)),
        ),
    ] {
        assert!(chain.approval(&bytes.to_bytes()).is_err(), "{name}");
    }
    let mut forged = good;
    let last = forged.len() - 1;
    forged[last] ^= 1;
    assert!(chain.approval(&forged).is_err());
}
