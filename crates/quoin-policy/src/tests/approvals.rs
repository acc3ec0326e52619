//! Approvals and delays: what a permit demands first.

use crate::fixtures::*;
use crate::{
    Approval, ApprovalFault, CharterError, Constitution, DenialReason, Ledger, Subject, Unmet,
    Veto, intent_hash,
};
use quoin_core::cbor::Version;
use quoin_core::statement::Endorsement;
use quoin_core::webauthn::base64url;
use quoin_core::{
    Assertion, AssertionFault, ClusterId, CustodyMethod, IntentHash, P256Identity, Passkey,
    Payload, PublicCredential, Purpose, RequestId, SecretBytes, Signed,
};

const TWO: &str = r#"
@id("big") @approvals("2 of treasury")
permit (principal, action == Action::"transfer", resource);
"#;

fn ask(constitution: &Constitution) -> Ask {
    Ask::pay(constitution, 1, ETHER)
}

#[test]
fn two_holders_of_the_role_are_enough() {
    let constitution = constitution(TWO);
    let mut ask = ask(&constitution);
    let pending = ask.pending(&constitution);
    assert_eq!(pending.rules, ["big".parse().unwrap()]);
    assert!(pending.summary.starts_with("transfer of 1 ETH"));
    ask.approve(&constitution, "ann");
    let given = vec!["ann".parse().unwrap()];
    let role = "treasury".parse().unwrap();
    let unmet = Unmet::Approvals {
        role,
        needed: 2,
        given,
    };
    assert_eq!(ask.pending(&constitution).unmet, [unmet]);
    ask.approve(&constitution, "cid");
    ask.permitted(&constitution, &mut Ledger::new());
}

#[test]
fn the_same_person_twice_is_one() {
    let constitution = constitution(TWO);
    let mut ask = ask(&constitution);
    ask.approve(&constitution, "ann");
    ask.approve(&constitution, "ann");
    assert_eq!(ask.pending(&constitution).unmet.len(), 1);
}

#[test]
fn a_pending_request_reserves_nothing() {
    let constitution = constitution(TWO);
    let ask = ask(&constitution);
    let mut ledger = Ledger::new();
    ask.judge(&constitution, &mut ledger);
    assert!(!ledger.holds(ask.stamp.request_id));
}

/// The fault of `ann`'s approval changed in one place and signed by `seed`.
fn fault(seed: u8, change: impl FnOnce(&mut Approval)) -> ApprovalFault {
    let constitution = constitution(TWO);
    let mut ask = ask(&constitution);
    let intent_hash = ask.pending(&constitution).intent_hash;
    let mut approval = ask.approval(&constitution, "ann", intent_hash);
    change(&mut approval);
    ask.approvals = vec![Signed::sign(approval, &identity(seed))];
    let pending = ask.pending(&constitution);
    assert!(matches!(&pending.unmet[..], [Unmet::Approvals { given, .. }] if given.is_empty()));
    pending.ignored[0].fault
}

macro_rules! ignores {
    ($($name:ident: $fault:ident by $seed:expr, $change:expr;)+) => {$(
        #[test]
        fn $name() {
            assert_eq!(fault($seed, $change), ApprovalFault::$fault);
        }
    )+};
}

ignores! {
    ignores_an_approval_for_another_cluster: WrongCluster by 22, |a| {
        a.cluster = ClusterId([1; 32]);
    };
    ignores_an_approval_of_another_intent: WrongIntent by 22, |a| {
        a.intent_hash = IntentHash([1; 32]);
    };
    ignores_an_approval_of_another_request: WrongIntent by 22, |a| {
        a.request_id = RequestId([1; 16]);
    };
    ignores_an_approval_that_has_lapsed: Expired by 22, |a| a.not_after = NOW;
    ignores_an_approval_of_a_stranger: UnknownPrincipal by 22, |a| {
        a.principal = "eve".parse().unwrap();
    };
    ignores_an_approval_signed_by_somebody_else: NotSigned by 23, |_| {};
    ignores_an_approval_in_somebody_elses_name: NotSigned by 22, |a| {
        a.principal = "ben".parse().unwrap();
    };
    ignores_an_approval_of_whoever_asks: Initiator by 21, |a| {
        a.principal = "bot".parse().unwrap();
    };
}

#[test]
fn ignores_a_forged_signature_of_the_right_credential() {
    let constitution = constitution(TWO);
    let mut ask = ask(&constitution);
    ask.approve(&constitution, "ann");
    let mut bytes = ask.approvals[0].to_bytes();
    *bytes.last_mut().unwrap() ^= 1;
    ask.approvals = vec![Signed::from_bytes(&bytes).unwrap()];
    let pending = ask.pending(&constitution);
    assert_eq!(pending.ignored[0].fault, ApprovalFault::NotSigned);
}

#[test]
fn whoever_asks_never_counts_even_with_the_role() {
    let mut charter = charter(TWO);
    charter.principals[0]
        .roles
        .push("treasury".parse().unwrap());
    let constitution = charter.check().unwrap();
    let mut ask = ask(&constitution);
    ask.approve(&constitution, "bot");
    ask.approve(&constitution, "ann");
    let pending = ask.pending(&constitution);
    assert_eq!(pending.ignored[0].fault, ApprovalFault::Initiator);
}

#[test]
fn ignores_an_approver_without_the_role_or_whose_grant_has_ended() {
    let risk = TWO.replace("2 of treasury", "1 of risk");
    let constitution = constitution(&risk);
    let mut ask = ask(&constitution);
    ask.approve(&constitution, "ann");
    assert_eq!(
        ask.pending(&constitution).ignored[0].fault,
        ApprovalFault::NoRole
    );

    let mut charter = charter(TWO);
    charter.principals[1].expires = NOW;
    let constitution = charter.check().unwrap();
    let mut ask = Ask::pay(&constitution, 1, ETHER);
    ask.approve(&constitution, "ann");
    let pending = ask.pending(&constitution);
    assert_eq!(pending.ignored[0].fault, ApprovalFault::PrincipalExpired);
}

#[test]
fn more_approvals_than_are_looked_at_are_refused() {
    let constitution = constitution(TWO);
    let mut ask = ask(&constitution);
    ask.approve(&constitution, "ann");
    ask.approvals = vec![ask.approvals[0].clone(); crate::APPROVALS_MAX + 1];
    let denial = ask.denied(&constitution, &mut Ledger::new());
    assert_eq!(denial.reason, DenialReason::TooManyApprovals);
}

#[test]
fn a_delay_counts_from_the_first_sight() {
    let constitution =
        constitution(&TWO.replace("@approvals(\"2 of treasury\")", "@delay(\"2h\")"));
    let ask = ask(&constitution);
    let until = NOW.plus(2 * HOUR_MS);
    assert_eq!(ask.pending(&constitution).unmet, [Unmet::Delay { until }]);
    let early = Ask::pay(&constitution, 1, ETHER).at(NOW.plus(2 * HOUR_MS - 1));
    assert_eq!(early.pending(&constitution).unmet, [Unmet::Delay { until }]);
    ask.at(until).permitted(&constitution, &mut Ledger::new());
}

#[test]
fn a_charter_that_changes_another_policy_keeps_the_approval() {
    let constitution = constitution(TWO);
    let first = ask(&constitution);
    let hash_under = |policies: &str| {
        let other = charter(policies).check().unwrap();
        let relied = other.relied_rules(&["big".parse().unwrap()]).unwrap();
        intent_hash(&first.decoded(), &first.stamp, &relied)
    };
    let kept = hash_under(&format!("{TWO} {OPEN}"));
    assert_eq!(kept, first.pending(&constitution).intent_hash);
    assert_ne!(kept, hash_under(&TWO.replace("2 of", "1 of")));
    assert!(
        constitution
            .relied_rules(&["none".parse().unwrap()])
            .is_none()
    );
}

#[test]
fn the_intent_hash_follows_every_term_but_the_slot() {
    let constitution = constitution(TWO);
    let hash = |tx: &Tx, change: fn(&mut Ask)| {
        let mut ask = Ask::new(&constitution, 1, tx.payload());
        change(&mut ask);
        let relied = constitution
            .relied_rules(&["big".parse().unwrap()])
            .unwrap();
        intent_hash(&ask.decoded(), &ask.stamp, &relied)
    };
    let tx = Tx::pay(1, &exchange(), 5);
    let base = hash(&tx, |_| {});
    assert_eq!(base, hash(&Tx::pay(2, &exchange(), 5), |_| {}), "slot");
    let mut dearer = tx.clone();
    dearer.fee_per_gas += 1;
    for (what, other) in [
        ("value", hash(&Tx::pay(1, &exchange(), 6), |_| {})),
        ("recipient", hash(&Tx::pay(1, &stranger(), 5), |_| {})),
        ("fee", hash(&dearer, |_| {})),
        ("key", hash(&tx, |a| a.stamp.key = None)),
        (
            "request",
            hash(&tx, |a| a.stamp.request_id = RequestId([1; 16])),
        ),
        ("lapse", hash(&tx, |a| a.stamp.not_after = NOW)),
        (
            "cluster",
            hash(&tx, |a| a.stamp.cluster = ClusterId([1; 32])),
        ),
        (
            "custody",
            hash(&tx, |a| a.stamp.custody = CustodyMethod::Local),
        ),
        (
            "purpose",
            hash(&tx, |a| a.stamp.purpose = Purpose::Treasury),
        ),
        (
            "account",
            hash(&tx, |a| a.stamp.account.address = stranger()),
        ),
    ] {
        assert_ne!(base, other, "{what}");
    }
}

#[test]
fn a_threshold_key_that_was_approved_is_not_made_as_a_software_key() {
    let constitution = constitution(
        "@id(\"keys\") @approvals(\"1 of treasury\") \
         permit (principal, action == Action::\"create_key\", resource);",
    );
    let mut ask = Ask::create(&constitution, 1);
    ask.approve(&constitution, "ann");
    ask.permitted(&constitution, &mut Ledger::new());
    ask.stamp.custody = CustodyMethod::Local;
    let pending = ask.pending(&constitution);
    assert_eq!(pending.ignored[0].fault, ApprovalFault::WrongIntent);
}

#[test]
fn the_intent_hash_of_a_text_follows_its_bytes() {
    // Two texts of one length mean the same to policies; they must not to approvers.
    let constitution = constitution(TWO);
    let hash = |text: &[u8]| {
        let ask = Ask::new(&constitution, 1, Payload::EvmMessage(text.to_vec()));
        intent_hash(&ask.decoded(), &ask.stamp, &[])
    };
    assert_ne!(hash(b"yes"), hash(b"no!"));
}

#[test]
fn whoever_asks_counts_where_every_rule_says_so() {
    let counts = TWO.replace("@id(\"big\")", "@id(\"big\") @initiator(\"counts\")");
    let given = |policies: &str| {
        let mut charter = charter(policies);
        charter.principals[0]
            .roles
            .push("treasury".parse().unwrap());
        let constitution = charter.check().unwrap();
        let mut ask = ask(&constitution);
        ask.approve(&constitution, "bot");
        match &ask.pending(&constitution).unmet[..] {
            [Unmet::Approvals { given, .. }] => given.len(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(given(TWO), 0);
    assert_eq!(given(&counts), 1);
    let strict = TWO.replace("big", "strict");
    assert_eq!(given(&format!("{counts}{strict}")), 0);
}

pub(super) const RP_ID: &str = "desk.example";

fn p256(seed: u8) -> P256Identity {
    P256Identity::from_scalar(&SecretBytes::take(&mut [seed; 32])).unwrap()
}

pub(super) fn passkey(seed: u8, rp_id: &str) -> Passkey {
    let PublicCredential::P256(key) = p256(seed).public() else {
        panic!("a P-256 key");
    };
    Passkey::new(key, rp_id.parse().unwrap()).unwrap()
}

/// What an authenticator with the key of `seed` says on the page of `rp_id`.
pub(super) fn assertion(seed: u8, rp_id: &str, challenge: &[u8; 32]) -> Assertion {
    let challenge = base64url(challenge);
    let client = format!(
        r#"{{"type":"webauthn.get","challenge":"{challenge}","origin":"https://{rp_id}"}}"#
    );
    let mut data = sha256(rp_id.as_bytes()).to_vec();
    data.extend([5, 0, 0, 0, 0]);
    let mut message = data.clone();
    message.extend(sha256(client.as_bytes()));
    Assertion::new(data, client.into_bytes(), p256(seed).sign(&message)).unwrap()
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).into()
}

/// `ann` with a passkey beside her key, `cid` with a P-256 key alone.
fn three_kinds() -> Constitution {
    let mut charter = charter(TWO);
    let of_ann = PublicCredential::Passkey(passkey(31, RP_ID));
    charter.principals[1].credentials.push(of_ann);
    charter.principals[3].credentials = vec![p256(32).public()];
    charter.check().unwrap()
}

/// An approval as `ann`'s screen makes it, for her passkey.
fn to_assert(ask: &Ask, constitution: &Constitution, principal: &str) -> Approval {
    let intent_hash = ask.pending(constitution).intent_hash;
    Approval {
        not_after: ask.stamp.not_after,
        ..ask.approval(constitution, principal, intent_hash)
    }
}

fn asserted(approval: Approval, assertion: Assertion) -> Signed<Approval> {
    let signed = Signed::asserted(approval, &passkey(31, RP_ID), assertion);
    Signed::from_bytes(&signed.to_bytes()).unwrap()
}

#[test]
fn ed25519_p256_and_passkeys_all_approve() {
    let constitution = three_kinds();
    let mut base = ask(&constitution);
    let plain = to_assert(&base, &constitution, "ben");
    let of_ben = Signed::sign(plain, &identity(23));
    let plain = to_assert(&base, &constitution, "cid");
    let of_cid = Signed::sign(plain, &p256(32));
    let approval = to_assert(&base, &constitution, "ann");
    let of_ann = asserted(
        approval.clone(),
        assertion(31, RP_ID, &approval.intent_hash.0),
    );
    for pair in [[&of_ann, &of_ben], [&of_ann, &of_cid], [&of_ben, &of_cid]] {
        base.approvals = pair.map(Clone::clone).to_vec();
        base.permitted(&constitution, &mut Ledger::new());
    }
}

#[test]
fn a_person_with_a_key_and_a_passkey_is_one_person() {
    let constitution = three_kinds();
    let mut ask = ask(&constitution);
    ask.approve(&constitution, "ann");
    let approval = to_assert(&ask, &constitution, "ann");
    let by_passkey = assertion(31, RP_ID, &approval.intent_hash.0);
    ask.approvals.push(asserted(approval, by_passkey));
    let pending = ask.pending(&constitution);
    assert!(pending.ignored.is_empty(), "both are good");
    assert!(matches!(&pending.unmet[..], [Unmet::Approvals { given, .. }] if given.len() == 1));
}

#[test]
fn the_challenge_is_the_intent_hash_itself() {
    let constitution = three_kinds();
    let approval = to_assert(&ask(&constitution), &constitution, "ann");
    let challenge = Signed::challenge(&approval, &passkey(31, RP_ID));
    assert_eq!(challenge, approval.intent_hash.0);
}

/// The fault of an approval changed in one place, with an assertion made by `assert`.
fn passkey_fault(
    change: impl FnOnce(&mut Approval),
    assert: impl FnOnce(&Approval) -> Assertion,
) -> ApprovalFault {
    let constitution = three_kinds();
    let mut ask = ask(&constitution);
    let mut approval = to_assert(&ask, &constitution, "ann");
    change(&mut approval);
    let assertion = assert(&approval);
    ask.approvals = vec![asserted(approval, assertion)];
    let pending = ask.pending(&constitution);
    assert!(matches!(&pending.unmet[..], [Unmet::Approvals { given, .. }] if given.is_empty()));
    pending.ignored[0].fault
}

fn honest(approval: &Approval) -> Assertion {
    assertion(31, RP_ID, &approval.intent_hash.0)
}

#[test]
fn what_a_passkeys_challenge_does_not_cover_is_forced() {
    type Change = fn(&mut Approval);
    let changes: [(ApprovalFault, Change); 6] = [
        (ApprovalFault::WrongCluster, |a| {
            a.cluster = ClusterId([1; 32]);
        }),
        (ApprovalFault::WrongIntent, |a| {
            a.request_id = RequestId([1; 16]);
        }),
        (ApprovalFault::NotSigned, |a| {
            a.principal = "ben".parse().unwrap();
        }),
        (ApprovalFault::PasskeyLapse, |a| {
            a.not_after = a.not_after.plus(1);
        }),
        (ApprovalFault::PasskeyLapse, |a| {
            a.not_after = NOW.plus(HOUR_MS);
        }),
        (ApprovalFault::Expired, |a| a.not_after = NOW),
    ];
    for (fault, change) in changes {
        assert_eq!(passkey_fault(change, honest), fault);
    }
}

#[test]
fn a_passkeys_approval_of_another_intent_does_not_count() {
    let other = IntentHash([1; 32]);
    assert_eq!(
        passkey_fault(|a| a.intent_hash = other, honest),
        ApprovalFault::WrongIntent
    );
    assert_eq!(
        passkey_fault(|_| {}, |_| assertion(31, RP_ID, &other.0)),
        ApprovalFault::Assertion(AssertionFault::Challenge)
    );
}

#[test]
fn a_passkeys_approval_from_another_place_or_key_does_not_count() {
    let elsewhere = |a: &Approval| assertion(31, "evil.example", &a.intent_hash.0);
    assert_eq!(
        passkey_fault(|_| {}, elsewhere),
        ApprovalFault::Assertion(AssertionFault::Origin)
    );
    let of_another = |a: &Approval| assertion(33, RP_ID, &a.intent_hash.0);
    assert_eq!(
        passkey_fault(|_| {}, of_another),
        ApprovalFault::Assertion(AssertionFault::Signature)
    );
    // The same key registered with another relying party is another credential.
    let constitution = three_kinds();
    let mut ask = ask(&constitution);
    let approval = to_assert(&ask, &constitution, "ann");
    let made = assertion(31, "other.example", &approval.intent_hash.0);
    let other = Signed::asserted(approval, &passkey(31, "other.example"), made);
    ask.approvals = vec![other];
    let fault = ask.pending(&constitution).ignored[0].fault;
    assert_eq!(fault, ApprovalFault::NotSigned);
}

#[test]
fn a_veto_and_an_approval_cannot_be_made_of_one_assertion() {
    let constitution = three_kinds();
    let veto = |approval: &Approval| Veto {
        version: Version,
        cluster: approval.cluster,
        subject: Subject::Request(approval.request_id),
        principal: approval.principal.clone(),
        at: NOW,
    };
    let passkey = passkey(31, RP_ID);
    let of_veto = |a: &Approval| assertion(31, RP_ID, &Signed::challenge(&veto(a), &passkey));
    assert_eq!(
        passkey_fault(|_| {}, of_veto),
        ApprovalFault::Assertion(AssertionFault::Challenge)
    );
    let approval = to_assert(&ask(&constitution), &constitution, "ann");
    let by = PublicCredential::Passkey(passkey.clone());
    let genuine = Signed::asserted(veto(&approval), &passkey, of_veto(&approval));
    assert!(genuine.verify(&by).is_ok());
    let replayed = Signed::asserted(veto(&approval), &passkey, honest(&approval));
    assert!(replayed.verify(&by).is_err());
}

#[test]
fn one_key_is_one_person_however_it_is_written_down() {
    let of_ann = PublicCredential::Passkey(passkey(31, RP_ID));
    for of_cid in [
        of_ann.clone(),
        PublicCredential::Passkey(passkey(31, "other.example")),
        p256(31).public(),
    ] {
        let mut charter = charter(TWO);
        charter.principals[1].credentials = vec![of_ann.clone()];
        charter.principals[3].credentials = vec![of_cid];
        let refused = charter.check().unwrap_err();
        assert!(
            matches!(refused, CharterError::Duplicate { .. }),
            "{refused}"
        );
    }
}

#[test]
fn a_node_cannot_have_a_passkey() {
    let mut charter = charter(TWO);
    charter.nodes[1].credential = PublicCredential::Passkey(passkey(31, RP_ID));
    let refused = charter.check().unwrap_err();
    assert!(
        matches!(refused, CharterError::NodePasskey { .. }),
        "{refused}"
    );
    assert!(
        refused.to_string().contains("nodes.2.credential"),
        "{refused}"
    );
}

#[test]
fn golden_passkey_approval() {
    let approval = Approval {
        version: Version,
        cluster: ClusterId([1; 32]),
        intent_hash: IntentHash([2; 32]),
        principal: "ann".parse().unwrap(),
        request_id: RequestId([3; 16]),
        not_after: NOW,
    };
    let assertion = assertion(31, RP_ID, &approval.intent_hash.0);
    let detached = Endorsement::asserted(&passkey(31, RP_ID), assertion.clone());
    let signed = Signed::asserted(approval, &passkey(31, RP_ID), assertion);
    assert_eq!(
        hex::encode(signed.to_bytes()),
        include_str!("golden/passkey-approval.hex").trim()
    );
    assert_eq!(
        Endorsement::from_bytes(&detached.to_bytes()).unwrap(),
        detached
    );
}

/// The roles that still miss approvals, once these have approved.
fn missing_after(constitution: &Constitution, approvers: &[&str]) -> usize {
    let mut ask = Ask::pay(constitution, 1, 1);
    for who in approvers {
        ask.approve(constitution, who);
    }
    match ask.judge(constitution, &mut Ledger::new()) {
        crate::Judgement::Permitted(_) => 0,
        crate::Judgement::Pending(pending) => pending.unmet.len(),
        crate::Judgement::Denied(denial) => panic!("{denial:?}"),
    }
}

#[test]
fn two_demands_are_met_by_two_people_and_never_by_one_of_whoever_asks() {
    let text = "@id(\"a\") @approvals(\"1 of treasury\")\n\
                permit (principal, action == Action::\"transfer\", resource);\n\
                @id(\"b\") @approvals(\"1 of risk\")\n\
                permit (principal, action == Action::\"transfer\", resource);";
    let both = constitution(text);
    // Cid holds both roles.
    assert_eq!(missing_after(&both, &["cid"]), 1);
    assert_eq!(missing_after(&both, &["cid", "ann"]), 0);
    let of_one = |people: &[usize]| {
        let mut charter = charter(text);
        for person in people {
            charter.principals[*person].operator = Some("one".into());
        }
        charter.check().unwrap()
    };
    // Ann and cid are one person, or one with the bot that asks.
    assert_eq!(missing_after(&of_one(&[1, 3]), &["cid", "ann"]), 1);
    let mut ask = Ask::pay(&of_one(&[0, 3]), 1, 1);
    ask.approve(&of_one(&[0, 3]), "cid");
    let pending = ask.pending(&of_one(&[0, 3]));
    assert_eq!(pending.ignored[0].fault, ApprovalFault::Initiator);
}
