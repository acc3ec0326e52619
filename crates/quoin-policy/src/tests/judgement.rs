//! Judgement: who asks, with which key, under which charter, and what policies say.

use crate::fixtures::*;
use crate::{Constitution, DenialReason, Ledger, STAMP_HORIZON_MS, Warrant};
use quoin_core::error::Class;
use quoin_core::payload::CreateKey;
use quoin_core::{
    Address, Amount, CharterHash, CharterNumber, ClusterId, CustodyMethod, Payload, PayloadHash,
    Purpose, Scheme, Signed, TimeMs,
};

fn denied(change: impl FnOnce(&mut Ask)) -> crate::Denial {
    let constitution = constitution(OPEN);
    let mut ask = Ask::pay(&constitution, 1, ETHER);
    change(&mut ask);
    ask.denied(&constitution, &mut Ledger::new())
}

#[test]
fn a_matching_permit_makes_a_warrant() {
    let constitution = constitution(OPEN);
    let ask = Ask::pay(&constitution, 1, ETHER);
    let warrant: Warrant = ask.permitted(&constitution, &mut Ledger::new());
    assert_eq!(warrant.rules(), ["open".parse().unwrap()]);
    assert_eq!(warrant.request_id(), ask.stamp.request_id);
    assert_eq!(warrant.key(), ask.stamp.key);
    assert_eq!(warrant.charter(), constitution.hash());
    assert_eq!(warrant.decoded(), &ask.decoded());
    assert_eq!(warrant.reservation().slot.as_ref().unwrap().slot.nonce, 1);
}

macro_rules! denies {
    ($($name:ident: $reason:ident at $field:literal, $change:expr;)+) => {$(
        #[test]
        fn $name() {
            let denial = denied($change);
            assert_eq!(denial.reason, DenialReason::$reason, "{denial:?}");
            assert_eq!(denial.field.as_deref(), Some($field));
        }
    )+};
}

denies! {
    denies_a_stamp_for_another_cluster: WrongCluster at "cluster", |a| {
        a.stamp.cluster = ClusterId([1; 32]);
    };
    denies_a_charter_that_is_still_to_come: CharterFloor at "charter_number_floor", |a| {
        a.stamp.charter_number_floor = CharterNumber(1);
    };
    denies_a_charter_with_another_hash: CharterFloor at "charter_number_floor", |a| {
        a.stamp.charter_hash_floor = CharterHash([1; 32]);
    };
    denies_a_stamp_that_has_lapsed: StampExpired at "not_after", |a| a.now = a.stamp.not_after;
    denies_a_stamp_over_31_days_ahead: HorizonTooFar at "not_after", |a| {
        a.stamp.not_after = a.now.plus(STAMP_HORIZON_MS + 1);
    };
    denies_a_stamp_for_ever: HorizonTooFar at "not_after", |a| {
        a.stamp.not_after = TimeMs(u64::MAX);
    };
    denies_a_stamp_for_another_payload: StampMismatch at "payload_hash", |a| {
        a.stamp.payload_hash = PayloadHash([1; 32]);
    };
    denies_an_unknown_principal: UnknownPrincipal at "principal", |a| {
        a.stamp.principal = "eve".parse().unwrap();
    };
    denies_somebody_elses_credential: CredentialMismatch at "credential", |a| {
        a.stamp.credential = identity(seed_of("ann")).id();
    };
    denies_a_grant_that_has_ended: PrincipalExpired at "principal", |a| {
        a.now = NOW.plus(1000 * HOUR_MS);
        a.stamp.not_after = a.now.plus(1);
    };
    denies_a_key_that_the_node_lacks: KeyMismatch at "key", |a| a.key = None;
    denies_another_key_than_stamped: KeyMismatch at "key", |a| {
        a.stamp.key = Some(quoin_core::KeyId([1; 16]));
    };
    denies_a_stamp_without_key: KeyMismatch at "key", |a| a.stamp.key = None;
    denies_another_purpose_than_the_keys: KeyMismatch at "purpose", |a| {
        a.stamp.purpose = Purpose::Treasury;
    };
    denies_an_account_of_another_key: KeyMismatch at "account", |a| {
        a.key.as_mut().unwrap().addresses = vec![stranger()];
    };
    denies_a_key_without_addresses: KeyMismatch at "account", |a| {
        a.key.as_mut().unwrap().addresses.clear();
    };
}

#[test]
fn a_stamp_may_lapse_31_days_ahead() {
    let constitution = constitution(OPEN);
    let mut ask = Ask::pay(&constitution, 1, ETHER);
    ask.stamp.not_after = ask.now.plus(31 * 24 * HOUR_MS);
    ask.permitted(&constitution, &mut Ledger::new());
    assert_eq!(DenialReason::HorizonTooFar.class(), Class::Caller);
}

#[test]
fn denies_a_stamp_for_another_account() {
    let constitution = constitution(OPEN);
    let ask = Ask::pay(&constitution, 1, ETHER);
    let mut stamp = ask.stamp.clone();
    stamp.account.address = stranger();
    let calm = crate::Calm::default();
    let request = crate::Request {
        decoded: ask.decoded(),
        stamp: &stamp,
        key: ask.key.as_ref(),
        approvals: &[],
        first_seen: NOW,
        now: NOW,
        conditions: calm.conditions(),
    };
    match constitution.judge(request, &mut Ledger::new()) {
        crate::Judgement::Denied(d) => assert_eq!(d.reason, DenialReason::StampMismatch),
        other => panic!("{other:?}"),
    }
}

#[test]
fn denies_a_key_of_another_scheme() {
    let constitution = constitution(OPEN);
    let ask = Ask::pay(&constitution, 1, ETHER);
    let decoded = ask.decoded();
    let mut key = key_facts();
    key.scheme = Scheme::Taproot;
    let calm = crate::Calm::default();
    let request = crate::Request {
        decoded,
        stamp: &ask.stamp,
        key: Some(&key),
        approvals: &[],
        first_seen: NOW,
        now: NOW,
        conditions: calm.conditions(),
    };
    match constitution.judge(request, &mut Ledger::new()) {
        crate::Judgement::Denied(d) => assert_eq!(d.field.as_deref(), Some("scheme")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_older_charter_of_the_chain_is_a_good_floor() {
    let genesis = constitution(OPEN);
    let mut next = charter(OPEN);
    next.number = CharterNumber(1);
    next.cluster = Some(genesis.cluster());
    next.previous = Some(genesis.hash());
    let next = crate::verify_successor(&genesis, &certified(next, &[22, 23]), NOW).unwrap();
    let ask = Ask::pay(&genesis, 1, ETHER);
    ask.permitted(&next, &mut Ledger::new());
}

#[test]
fn nothing_is_permitted_by_an_empty_charter() {
    let constitution = constitution("");
    let denial = Ask::pay(&constitution, 1, ETHER / 2).denied(&constitution, &mut Ledger::new());
    assert_eq!(denial.reason, DenialReason::NoPermit);
    assert_eq!(denial.rule, Some("default-deny".parse().unwrap()));
    assert_eq!(denial.class(), Class::Refused);
    for part in [
        "transfer of 0.5 ETH to",
        "(exchange)",
        "`bot`",
        "`transfer`",
        "eip155:31337/0xaa",
    ] {
        assert!(denial.message.contains(part), "{part}: {}", denial.message);
    }
}

/// The desk with a token at the stranger's address, and these policies.
pub(super) fn with_token(policies: &str) -> Constitution {
    let mut charter = charter(policies);
    charter.assets.push(crate::Asset {
        asset: format!("eip155:{CHAIN}/token:{}", stranger())
            .parse()
            .unwrap(),
        symbol: "USD".into(),
        decimals: 6,
    });
    charter.check().unwrap()
}

pub(super) fn word(address: &Address) -> String {
    format!("{:0>64}", address.as_str().trim_start_matches("0x"))
}

#[test]
fn an_unlimited_allowance_is_denied_with_its_field() {
    let constitution =
        with_token("@id(\"all\") permit (principal, action == Action::\"approve\", resource);");
    let mut tx = Tx::pay(1, &stranger(), 0);
    let unlimited = "f".repeat(64);
    tx.data = hex::decode(format!("095ea7b3{}{unlimited}", word(&exchange()))).unwrap();
    let ask = Ask::new(&constitution, 1, tx.payload());
    let denial = ask.denied(&constitution, &mut Ledger::new());
    assert_eq!(denial.reason, DenialReason::AmountOverflow);
    assert_eq!(denial.field.as_deref(), Some("amount_micro"));
}

#[test]
fn a_forbid_wins_and_is_named() {
    let constitution = constitution(&format!(
        "{OPEN} @id(\"stop\") forbid (principal, action, resource) \
         when {{ context has amount_micro && context.amount_micro > 5 }};"
    ));
    let denial = Ask::pay(&constitution, 1, ETHER).denied(&constitution, &mut Ledger::new());
    assert_eq!(denial.reason, DenialReason::Forbidden);
    assert_eq!(denial.rule, Some("stop".parse().unwrap()));
    Ask::pay(&constitution, 1, 1).permitted(&constitution, &mut Ledger::new());
}

#[test]
fn an_evaluation_error_is_a_denial_that_names_the_policy() {
    // The failing policy is skipped by Cedar; were it a forbid, skipping it would permit.
    for effect in ["forbid", "permit"] {
        let constitution = constitution(&format!(
            "{OPEN} @id(\"overflows\") {effect} (principal, action == Action::\"transfer\", resource) \
             when {{ context.amount_micro * 9223372036854775807 > 0 }};"
        ));
        let denial = Ask::pay(&constitution, 1, ETHER).denied(&constitution, &mut Ledger::new());
        assert_eq!(denial.reason, DenialReason::PolicyError);
        assert_eq!(denial.rule, Some("overflows".parse().unwrap()));
    }
}

/// A wildcard for the bot, and what is added to it.
fn wildcard_and(more: &str) -> Constitution {
    constitution(&format!(
        "@id(\"all\") permit (principal == Principal::\"bot\", action, resource); {more}"
    ))
}

fn unexplained(constitution: &Constitution) -> Ask {
    let mut tx = Tx::pay(1, &stranger(), 0);
    tx.data = vec![1, 2];
    Ask::new(constitution, 1, tx.payload())
}

#[test]
fn a_wildcard_permits_only_what_is_explained() {
    let wildcard = wildcard_and("");
    Ask::pay(&wildcard, 1, ETHER).permitted(&wildcard, &mut Ledger::new());
    for ask in [unexplained(&wildcard), Ask::create(&wildcard, 2)] {
        let denial = ask.denied(&wildcard, &mut Ledger::new());
        assert_eq!(denial.reason, DenialReason::NoPermit);
        assert!(
            denial.message.contains("`all` would match"),
            "{}",
            denial.message
        );
    }
}

#[test]
fn a_permit_that_names_a_privileged_action_permits_it() {
    for scope in [
        "action == Action::\"unexplained\"",
        "action in [Action::\"unexplained\", Action::\"transfer\"]",
    ] {
        let named = wildcard_and(&format!(
            "@id(\"odd\") permit (principal, {scope}, resource);"
        ));
        let warrant = unexplained(&named).permitted(&named, &mut Ledger::new());
        assert_eq!(warrant.rules().len(), 2);
    }
    let creates = constitution(
        "@id(\"keys\") permit (principal, action == Action::\"create_key\", resource);",
    );
    let warrant = Ask::create(&creates, 1).permitted(&creates, &mut Ledger::new());
    assert_eq!(warrant.key(), None);
}

#[test]
fn naming_another_action_is_no_permit_for_a_privileged_one() {
    let named = wildcard_and(
        "@id(\"odd\") permit (principal, action == Action::\"create_key\", resource);",
    );
    let denial = unexplained(&named).denied(&named, &mut Ledger::new());
    assert_eq!(denial.reason, DenialReason::NoPermit);
    assert_eq!(denial.suggestion, None);
}

#[test]
fn making_a_key_names_no_key_and_its_own_purpose() {
    let creates = constitution(
        "@id(\"keys\") permit (principal, action == Action::\"create_key\", resource);",
    );
    let mut named = Ask::create(&creates, 1);
    named.stamp.key = Some(key_facts().id);
    let mut other = Ask::create(&creates, 1);
    other.stamp.purpose = Purpose::Trading;
    for (ask, field) in [(named, "key"), (other, "purpose")] {
        let denial = ask.denied(&creates, &mut Ledger::new());
        assert_eq!(denial.reason, DenialReason::KeyMismatch);
        assert_eq!(denial.field.as_deref(), Some(field));
    }
    let Payload::CreateKey(CreateKey { purpose, .. }) = Ask::create(&creates, 1).payload else {
        panic!("not a request to make a key");
    };
    assert_eq!(purpose, Purpose::Treasury);
}

#[test]
fn an_amount_over_63_bits_is_denied_with_its_field() {
    let constitution = constitution(OPEN);
    let mut tx = Tx::pay(1, &exchange(), 0);
    tx.value = Amount::MAX.checked_div(2).unwrap();
    let ask = Ask::new(&constitution, 1, tx.payload());
    let denial = ask.denied(&constitution, &mut Ledger::new());
    assert_eq!(denial.reason, DenialReason::AmountOverflow);
    assert_eq!(denial.field.as_deref(), Some("amount_micro"));
}

#[test]
fn an_unknown_asset_is_denied_with_its_field() {
    let mut charter = charter(OPEN);
    charter.assets.clear();
    let constitution = charter.check().unwrap();
    let denial = Ask::pay(&constitution, 1, 1).denied(&constitution, &mut Ledger::new());
    assert_eq!(denial.reason, DenialReason::UnknownAsset);
    assert_eq!(denial.field.as_deref(), Some("asset"));
}

#[test]
fn policies_see_names_roles_accounts_and_custody() {
    let constitution = constitution(
        r#"@id("named") permit (principal in Role::"desk", action == Action::"transfer",
            resource == Account::"eip155:31337/0xaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")
        when {
            context.to_name == "exchange" && context.custody == "mpc" && context.symbol == "ETH" &&
            context.fee_micro == 210 && context.risk == "increases" && context.horizon == "slot" &&
            resource.key == "hot" && resource.purpose == "trading" && resource.scheme == "ecdsa" &&
            resource.chain == "eip155:31337" && resource.path == "m"
        };"#,
    );
    Ask::pay(&constitution, 1, ETHER).permitted(&constitution, &mut Ledger::new());
    let elsewhere = Ask::new(&constitution, 1, Tx::pay(1, &stranger(), 1).payload());
    elsewhere.denied(&constitution, &mut Ledger::new());
    let mut local = Ask::pay(&constitution, 1, ETHER);
    local.stamp.custody = CustodyMethod::Local;
    local.denied(&constitution, &mut Ledger::new());
}

#[test]
fn a_stamp_is_its_principals_or_nobodys() {
    let constitution = constitution(OPEN);
    let stamp = Ask::pay(&constitution, 1, 1).stamp;
    let by = |seed| Signed::sign(stamp.clone(), &identity(seed));
    assert!(constitution.verify_stamp(&by(seed_of("bot"))).is_ok());
    let forged = constitution.verify_stamp(&by(seed_of("ann"))).unwrap_err();
    assert_eq!(forged.reason, DenialReason::CredentialMismatch);
    let mut other = stamp.clone();
    other.credential = identity(seed_of("ann")).id();
    let other = Signed::sign(other, &identity(seed_of("ann")));
    assert!(constitution.verify_stamp(&other).is_err());
    let mut unknown = stamp;
    unknown.credential = identity(77).id();
    let unknown = Signed::sign(unknown, &identity(77));
    assert!(constitution.verify_stamp(&unknown).is_err());
}

#[test]
fn a_denial_stays_small_however_many_rules_decide() {
    let forbids =
        (0..100).map(|i| format!("@id(\"{i:0>64}\") forbid (principal, action, resource);"));
    let constitution = constitution(&forbids.collect::<String>());
    let denial = Ask::pay(&constitution, 1, 1).denied(&constitution, &mut Ledger::new());
    assert_eq!(denial.reason, DenialReason::Forbidden);
    assert_eq!(denial.rule, Some("0".repeat(64).parse().unwrap()));
    assert!(denial.message.ends_with('…'));
    assert!(quoin_core::cbor::encode(&denial).len() <= crate::Denial::BYTES_MAX);
}
