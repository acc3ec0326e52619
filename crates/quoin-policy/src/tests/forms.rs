//! Forms: what is hashed, signed and stored, to the byte; and what hostile bytes do.

use crate::budget::{Budget, Measure, Scope};
use crate::fixtures::*;
use crate::{Approval, Charge, Charter, Denial, DenialReason, Ledger, Reservation};
use proptest::prelude::*;
use quoin_core::cbor::{self, Version};
use quoin_core::{BudgetId, ClusterId, IntentHash, RequestId, Signed, Statement, TimeMs};

fn full_charter() -> Charter {
    let mut charter = charter(OPEN);
    let scopes = [
        Scope::Org,
        Scope::Principal("bot".parse().unwrap()),
        Scope::Role("desk".parse().unwrap()),
        Scope::Account(account()),
        Scope::Counterparty(exchange()),
        Scope::Key("hot".parse().unwrap()),
    ];
    charter.budgets = scopes
        .into_iter()
        .enumerate()
        .map(|(i, scope)| {
            let id: BudgetId = format!("b{i}").parse().unwrap();
            let measure = match i % 2 {
                0 => Measure::Count,
                _ => Measure::Asset(native()),
            };
            Budget {
                id,
                ..budget("b", scope, measure, 1000)
            }
        })
        .collect();
    // What was encoded when the golden forms were made.
    charter.policies = OPEN.into();
    charter.keys.clear();
    charter
}

fn approval() -> Approval {
    Approval {
        version: Version,
        cluster: ClusterId([1; 32]),
        intent_hash: IntentHash([2; 32]),
        principal: "ann".parse().unwrap(),
        request_id: RequestId([3; 16]),
        not_after: TimeMs(4),
    }
}

fn reservation() -> Reservation {
    let mut charter = full_charter();
    charter.policies = format!("{OPEN}{GOVERN}");
    let constitution = charter.check().unwrap();
    let mut ask = Ask::pay(&constitution, 1, 100);
    ask.stamp.request_id = RequestId([3; 16]);
    constitution
        .finished_reservation(
            &ask.decoded(),
            &ask.stamp,
            ask.key.as_ref(),
            NOW,
            &crate::FactStore::default(),
        )
        .unwrap()
}

fn golden(name: &str, hex_found: &str, hex_wanted: &str) {
    assert_eq!(hex_found, hex_wanted.trim(), "golden form of {name}");
}

#[test]
fn golden_charter() {
    let bytes = hex::encode(cbor::encode(&full_charter()));
    golden("charter", &bytes, include_str!("golden/charter.hex"));
    let hash = full_charter().hash().to_string();
    golden(
        "charter hash",
        &hash,
        include_str!("golden/charter-hash.hex"),
    );
    let cluster = full_charter().cluster_id().to_string();
    golden(
        "cluster id",
        &cluster,
        include_str!("golden/cluster-id.hex"),
    );
}

#[test]
fn golden_charter_with_every_field() {
    let mut charter = full_charter();
    charter.nodes[0].cloud = "account-1".into();
    charter.nodes[0].region = "north".into();
    charter.principals[0].operator = Some("desk".into());
    charter.principals[0].granted_by = Some("ann".parse().unwrap());
    charter.book[0].assets = vec![native()];
    charter.book[0].kind = crate::BookKind::Margin;
    charter.backup = Some(crate::BackupPolicy {
        threshold: 1,
        officers: vec![crate::Officer {
            name: "ona".into(),
            recipient: "age1".into(),
        }],
    });
    charter.facts = vec![crate::FactRule {
        kind: crate::FactKind::Price(native()),
        quorum: 2,
        age_ms_max: 60_000,
        deviation_bp_max: 100,
    }];
    charter.keys = vec![crate::KeyGrant {
        key: "hot".parse().unwrap(),
        dangerous_digest_account: true,
    }];
    charter.cooling_off_ms = 86_400_000;
    charter.payload_retention_days = Some(90);
    charter.recovery = Some(crate::Recovery {
        quorum: 2,
        role: "officer".parse().unwrap(),
        delay_ms: 604_800_000,
    });
    let bytes = cbor::encode(&charter);
    let golden_bytes = include_str!("golden/charter-every-field.hex");
    golden(
        "charter with every field",
        &hex::encode(&bytes),
        golden_bytes,
    );
    assert_eq!(cbor::decode::<Charter>(&bytes, 1 << 20).unwrap(), charter);
    let json = serde_json::to_string(&charter).unwrap();
    assert_eq!(serde_json::from_str::<Charter>(&json).unwrap(), charter);
}

#[test]
fn a_charter_in_json_may_leave_out_what_is_newer_than_it() {
    let mut json = serde_json::to_value(full_charter()).unwrap();
    let newer = [
        "facts",
        "keys",
        "cooling_off_ms",
        "payload_retention_days",
        "recovery",
        "dangerous_single_failure_domain",
        "backup",
    ];
    for field in newer {
        json.as_object_mut().unwrap().remove(field);
    }
    for (list, field) in [("nodes", "cloud"), ("nodes", "region"), ("book", "kind")] {
        json[list][0].as_object_mut().unwrap().remove(field);
    }
    let read: Charter = serde_json::from_value(json).unwrap();
    let mut wanted = full_charter();
    wanted.dangerous_single_failure_domain = false;
    wanted.keys.clear();
    assert_eq!(read, wanted);
}

#[test]
fn golden_proposal_intent() {
    let relied = |id: &str, byte| crate::ReliedRule {
        id: id.parse().unwrap(),
        text_hash: [byte; 32],
    };
    let charter = quoin_core::CharterHash([1; 32]);
    let (a, b) = (relied("a", 2), relied("b", 3));
    let hash = crate::charter_intent_hash(charter, &[a.clone(), b.clone()]);
    let wanted = include_str!("golden/proposal-intent.hex");
    golden("proposal intent", &hash.to_string(), wanted);
    assert_eq!(
        crate::charter_intent_hash(charter, &[b, a.clone(), a.clone()]),
        hash
    );
    assert_ne!(crate::charter_intent_hash(charter, &[a]), hash);
    assert_eq!(crate::charter_request_id(&charter), RequestId([1; 16]));
}

#[test]
fn golden_approval() {
    let bytes = hex::encode(cbor::encode(&approval()));
    golden("approval", &bytes, include_str!("golden/approval.hex"));
}

#[test]
fn golden_reservation() {
    let bytes = hex::encode(cbor::encode(&reservation()));
    golden(
        "reservation",
        &bytes,
        include_str!("golden/reservation.hex"),
    );
}

#[test]
fn golden_intent_hash() {
    let constitution = constitution(OPEN);
    let mut ask = Ask::pay(&constitution, 1, 100);
    ask.stamp.request_id = RequestId([3; 16]);
    ask.stamp.cluster = ClusterId([1; 32]);
    let relied = [crate::ReliedRule {
        id: "open".parse().unwrap(),
        text_hash: [4; 32],
    }];
    let hash = crate::intent_hash(&ask.decoded(), &ask.stamp, &relied).to_string();
    golden("intent hash", &hash, include_str!("golden/intent-hash.hex"));
}

#[test]
fn golden_denial() {
    let denial = Denial {
        version: Version,
        reason: DenialReason::OverBudget,
        rule: Some("b".parse().unwrap()),
        field: None,
        message: "no room".into(),
        suggestion: None,
    };
    let bytes = hex::encode(cbor::encode(&denial));
    golden("denial", &bytes, "85010d6162f6676e6f20726f6f6d");
    let json = serde_json::to_string(&denial).unwrap();
    assert_eq!(serde_json::from_str::<Denial>(&json).unwrap(), denial);
}

#[test]
fn genesis_and_charter_hashes_are_of_different_domains() {
    let charter = full_charter();
    assert_ne!(charter.hash().as_bytes(), charter.cluster_id().as_bytes());
}

#[test]
fn a_charter_reads_back_from_json_and_refuses_unknown_fields() {
    let charter = full_charter();
    let json = serde_json::to_string_pretty(&charter).unwrap();
    assert_eq!(serde_json::from_str::<Charter>(&json).unwrap(), charter);
    for (from, to) in [
        ("\"threshold\":", "\"treshold\":"),
        ("\"name\": \"desk\",", "\"name\": \"desk\", \"extra\": 1,"),
        ("\"operator\":", "\"extra\": 1, \"operator\":"),
        ("\"decimals\":", "\"extra\": 1, \"decimals\":"),
        ("\"cap\": \"1000\"", "\"cap\": \"-1\""),
        ("\"cap\": \"1000\"", "\"cap\": 1000"),
        ("ed25519:", "ED25519:"),
    ] {
        let changed = json.replacen(from, to, 1);
        assert_ne!(json, changed, "{from}");
        assert!(serde_json::from_str::<Charter>(&changed).is_err(), "{to}");
    }
}

#[test]
fn forms_over_their_limits_are_refused() {
    let mut charter = full_charter();
    charter.policies = "x".repeat(Charter::BYTES_MAX);
    let bytes = cbor::encode(&charter);
    assert!(cbor::decode::<Charter>(&bytes, Charter::BYTES_MAX).is_err());
    let longest = Approval {
        principal: "x".repeat(64).parse().unwrap(),
        not_after: TimeMs(u64::MAX),
        ..approval()
    };
    assert!(cbor::encode(&longest).len() <= Approval::BYTES_MAX);
}

#[test]
fn the_longest_reservation_is_within_its_limit() {
    let mut longest = reservation();
    let charge = Charge {
        budget: "x".repeat(64).parse().unwrap(),
        measure: Measure::Asset(
            format!("eip155:{}/token:{}", u64::MAX, "x".repeat(128))
                .parse()
                .unwrap(),
        ),
        amount: quoin_core::Amount::MAX,
        holder: Some("x".repeat(64).parse().unwrap()),
        window_ms: u64::MAX,
    };
    longest.charges = vec![charge; 256];
    assert!(cbor::encode(&longest).len() <= Reservation::BYTES_MAX);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = cbor::decode::<Charter>(&bytes, Charter::BYTES_MAX);
        let _ = cbor::decode::<Approval>(&bytes, Approval::BYTES_MAX);
        let _ = cbor::decode::<Reservation>(&bytes, Reservation::BYTES_MAX);
        let _ = cbor::decode::<Denial>(&bytes, 4096);
        let _ = Signed::<Approval>::from_bytes(&bytes);
        let _ = serde_json::from_slice::<Charter>(&bytes);
    }

    #[test]
    fn mutated_charters_never_panic(at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut bytes = cbor::encode(&full_charter());
        let at = at.index(bytes.len());
        bytes[at] = to;
        if let Ok(charter) = cbor::decode::<Charter>(&bytes, Charter::BYTES_MAX) {
            let _ = charter.check();
        }
    }

    #[test]
    fn mutated_reservations_never_panic(at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut bytes = cbor::encode(&reservation());
        let at = at.index(bytes.len());
        bytes[at] = to;
        if let Ok(read) = cbor::decode::<Reservation>(&bytes, Reservation::BYTES_MAX) {
            Ledger::new().restore(&read);
        }
    }
}
