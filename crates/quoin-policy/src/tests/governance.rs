//! How charters come into force: proposals, approvals, delays, notices, vetoes, recovery, forks.

use super::book::accept;
use crate::charter::{KeyGrant, Recovery};
use crate::fixtures::*;
use crate::{
    Approval, CHARTER_APPROVAL_NOT_AFTER, Charter, CharterError, CharterPart, Constitution,
    DenialReason, Notices, Principal, ProposalEvidence, ProposalFault, ProposalPending,
    ProposalState, ProposalUnmet, Subject, Unmet, changed_parts, charter_request_id,
    verify_successor,
};
use quoin_core::cbor::Version;
use quoin_core::{Certificate, CharterHash, CharterNumber, IntentHash, Signed, TimeMs};
use std::collections::BTreeSet;

pub(super) const DAY_MS: u64 = 24 * HOUR_MS;

fn person(id: &str, seed: u8, roles: &[&str]) -> Principal {
    Principal {
        credentials: vec![identity(seed).public()],
        ..principal(id, roles)
    }
}

/// Three governors, of whom two sign; two officers and a watcher.
pub(super) fn desk(govern: &str) -> Charter {
    let mut charter = charter("");
    charter.policies = format!("{OPEN}{govern}");
    charter.principals.extend([
        person("gil", 31, &["governor"]),
        person("ona", 32, &["officer"]),
        person("pia", 33, &["officer"]),
        person("wes", 34, &["watcher"]),
    ]);
    charter
}

pub(super) fn after(current: &Constitution, change: impl FnOnce(&mut Charter)) -> Charter {
    let mut next = current.charter().clone();
    next.number = CharterNumber(current.number().0 + 1);
    next.cluster = Some(current.cluster());
    next.previous = Some(current.hash());
    change(&mut next);
    next
}

fn rename(c: &mut Charter) {
    c.name = "renamed".into();
}

/// What judges a proposal: all at once, to be varied by tests.
pub(super) struct Case {
    certificate: Certificate<Charter>,
    first_seen: TimeMs,
    now: TimeMs,
    notices: Notices,
    approvals: Vec<Signed<Approval>>,
}

impl Case {
    pub(super) fn new(next: Charter, signers: &[u8]) -> Self {
        Self {
            certificate: certified(next, signers),
            first_seen: NOW,
            now: NOW,
            notices: Notices::default(),
            approvals: Vec::new(),
        }
    }

    fn hash(&self) -> CharterHash {
        self.certificate.unverified().hash()
    }

    fn subject(&self) -> Subject {
        Subject::Charter(self.hash())
    }

    fn veto(mut self, principal: &str) -> Self {
        let subject = self.subject();
        self.notices.veto(subject, principal.parse().unwrap(), []);
        self
    }

    fn receipt(mut self, principal: &str, seen: TimeMs) -> Self {
        let subject = self.subject();
        let principal = principal.parse().unwrap();
        self.notices.receipt(subject, principal, seen);
        self
    }

    fn at(mut self, now: TimeMs) -> Self {
        self.now = now;
        self
    }

    fn approval(&self, current: &Constitution, principal: &str, hash: IntentHash) -> Approval {
        Approval {
            version: Version,
            cluster: current.cluster(),
            intent_hash: hash,
            principal: principal.parse().unwrap(),
            request_id: charter_request_id(&self.hash()),
            not_after: CHARTER_APPROVAL_NOT_AFTER,
        }
    }

    fn approved(mut self, current: &Constitution, principal: &str, seed: u8) -> Self {
        let hash = self.pending(current).intent_hash;
        let approval = self.approval(current, principal, hash);
        self.approvals.push(Signed::sign(approval, &identity(seed)));
        self
    }

    fn state(&self, current: &Constitution) -> ProposalState {
        let evidence = ProposalEvidence {
            first_seen: self.first_seen,
            now: self.now,
            notices: &self.notices,
            approvals: &self.approvals,
        };
        current.consider_proposal(&self.certificate, evidence)
    }

    pub(super) fn ready(&self, current: &Constitution) -> Constitution {
        match self.state(current) {
            ProposalState::Ready(next) => *next,
            other => panic!("not ready: {other:?}"),
        }
    }

    fn pending(&self, current: &Constitution) -> ProposalPending {
        match self.state(current) {
            ProposalState::Pending(pending) => pending,
            other => panic!("not pending: {other:?}"),
        }
    }

    fn refused(&self, current: &Constitution) -> ProposalFault {
        match self.state(current) {
            ProposalState::Refused(fault) => fault,
            other => panic!("not refused: {other:?}"),
        }
    }
}

pub(super) fn checked(charter: Charter) -> Constitution {
    charter.check().unwrap()
}

/// Whether all that is missing are signatures, and how many there are.
fn missing_signatures(pending: &ProposalPending) -> Option<usize> {
    match pending.unmet.as_slice() {
        [ProposalUnmet::Signatures { given, .. }] => Some(given.len()),
        _ => None,
    }
}

#[test]
fn a_proposal_waits_for_its_quorum_of_governors() {
    let current = checked(desk(GOVERN));
    let next = || after(&current, rename);
    assert_eq!(
        missing_signatures(&Case::new(next(), &[]).pending(&current)),
        Some(0)
    );
    // One governor twice, an officer, a watcher and a node are not two governors.
    for one in [&[22][..], &[22, 32, 34, 1]] {
        let pending = Case::new(next(), one).pending(&current);
        assert_eq!(missing_signatures(&pending), Some(1), "{one:?}");
    }
    let ready = Case::new(next(), &[22, 31]).ready(&current);
    assert_eq!(ready.number(), CharterNumber(1));
    assert_eq!(ready.ancestor(CharterNumber(0)), Some(current.hash()));
}

#[test]
fn a_governor_counts_only_when_the_policies_permit_the_change_to_them() {
    let govern = r#"
        @id("ann-and-ben") permit (principal, action == Action::"change_charter", resource)
        when { principal == Principal::"ann" || principal == Principal::"ben" };"#;
    let current = checked(desk(govern));
    let next = || after(&current, rename);
    let pending = Case::new(next(), &[22, 31]).pending(&current);
    assert_eq!(missing_signatures(&pending), Some(1));
    Case::new(next(), &[22, 23, 31]).ready(&current);
}

#[test]
fn a_change_that_too_few_governors_may_make_is_refused_with_the_rule() {
    let govern = r#"
        @id("ann") permit (principal == Principal::"ann", action == Action::"change_charter", resource);"#;
    let current = checked(desk(govern));
    let case = Case::new(after(&current, rename), &[22, 23, 31]);
    let ProposalFault::Denied(denial) = case.refused(&current) else {
        panic!("not denied");
    };
    assert_eq!(denial.reason, DenialReason::NoPermit);
    assert!(denial.message.contains("name"), "{}", denial.message);
    let govern = format!(
        r#"{GOVERN}
        @id("nodes-stay") forbid (principal, action == Action::"change_charter", resource)
        when {{ context.changes.contains("threshold") }};"#
    );
    let current = checked(desk(&govern));
    let raise = after(&current, |c| c.threshold = 3);
    let ProposalFault::Denied(denial) = Case::new(raise, &[22, 23]).refused(&current) else {
        panic!("not denied");
    };
    assert_eq!(denial.reason, DenialReason::Forbidden);
    assert_eq!(denial.rule, Some("nodes-stay".parse().unwrap()));
    Case::new(after(&current, rename), &[22, 23]).ready(&current);
}

#[test]
fn a_governor_whose_grant_has_ended_does_not_count() {
    let mut charter = desk(GOVERN);
    charter.principals[1].expires = NOW.plus(HOUR_MS);
    let current = checked(charter);
    let next = after(&current, rename);
    Case::new(next.clone(), &[22, 23]).ready(&current);
    let late = Case::new(next.clone(), &[22, 23]).at(NOW.plus(HOUR_MS));
    assert_eq!(missing_signatures(&late.pending(&current)), Some(1));
    let none_left = Case::new(next, &[22, 23]).at(NOW.plus(1000 * HOUR_MS));
    assert!(matches!(
        none_left.refused(&current),
        ProposalFault::Charter(CharterError::TooFewGovernors { .. })
    ));
}

const APPROVED: &str = r#"
@id("govern") @approvals("1 of risk")
permit (principal in Role::"governor", action == Action::"change_charter", resource);"#;

#[test]
fn approvals_of_other_roles_count_and_those_of_signers_do_not() {
    let govern = r#"
        @id("govern") @approvals("1 of treasury")
        permit (principal in Role::"governor", action == Action::"change_charter", resource);"#;
    let current = checked(desk(govern));
    let case = || Case::new(after(&current, rename), &[22, 31]);
    let pending = case().pending(&current);
    assert!(matches!(
        pending.unmet.as_slice(),
        [ProposalUnmet::Obligation {
            unmet: Unmet::Approvals { needed: 1, .. }
        }]
    ));
    // Ann signed the charter; ben, who did not, holds the role as she does.
    let own = case().approved(&current, "ann", 22).pending(&current);
    assert_eq!(own.ignored[0].fault, crate::ApprovalFault::Initiator);
    let bot = case().approved(&current, "bot", 21).pending(&current);
    assert_eq!(bot.ignored[0].fault, crate::ApprovalFault::NoRole);
    let forged = case().approved(&current, "ben", 24).pending(&current);
    assert_eq!(forged.ignored[0].fault, crate::ApprovalFault::NotSigned);
    case().approved(&current, "ben", 23).ready(&current);
    let counts = govern.replace("@approvals", "@initiator(\"counts\") @approvals");
    let current = checked(desk(&counts));
    let case = Case::new(after(&current, rename), &[22, 31]);
    case.approved(&current, "ann", 22).ready(&current);
}

#[test]
fn an_approval_is_of_one_charter_and_lapses() {
    let current = checked(desk(APPROVED));
    let case = || Case::new(after(&current, rename), &[22, 31]);
    let other = Case::new(after(&current, |c| c.name = "other".into()), &[22, 31]);
    let other_hash = other.pending(&current).intent_hash;
    let hash = case().pending(&current).intent_hash;
    assert_ne!(hash, other_hash);
    type Spoil = fn(&mut Approval);
    let spoils: [(crate::ApprovalFault, Spoil); 3] = [
        (crate::ApprovalFault::WrongIntent, |a| {
            a.request_id.0[0] ^= 1
        }),
        (crate::ApprovalFault::Expired, |a| a.not_after = NOW),
        (crate::ApprovalFault::WrongCluster, |a| a.cluster.0[0] ^= 1),
    ];
    for (fault, spoil) in spoils {
        let mut approval = case().approval(&current, "cid", hash);
        spoil(&mut approval);
        let mut case = case();
        case.approvals = vec![Signed::sign(approval, &identity(24))];
        assert_eq!(case.pending(&current).ignored[0].fault, fault);
    }
    let mut replayed = case();
    let approval = replayed.approval(&current, "cid", other_hash);
    replayed.approvals = vec![Signed::sign(approval, &identity(24))];
    let ignored = replayed.pending(&current).ignored;
    assert_eq!(ignored[0].fault, crate::ApprovalFault::WrongIntent);
    case().approved(&current, "cid", 24).ready(&current);
}

#[test]
fn what_approvals_sign_does_not_depend_on_who_has_signed_or_when() {
    let govern = r#"
        @id("ann") @approvals("1 of risk")
        permit (principal == Principal::"ann", action == Action::"change_charter", resource);
        @id("others") @approvals("1 of treasury")
        permit (principal in Role::"governor", action == Action::"change_charter", resource);"#;
    let mut charter = desk(govern);
    charter.principals[1].expires = NOW.plus(HOUR_MS);
    let current = checked(charter);
    let next = after(&current, rename);
    let hash = Case::new(next.clone(), &[23]).pending(&current).intent_hash;
    for signers in [&[22][..], &[22, 23], &[31], &[]] {
        for now in [NOW, NOW.plus(2 * HOUR_MS)] {
            let case = Case::new(next.clone(), signers).at(now);
            assert_eq!(case.pending(&current).intent_hash, hash, "{signers:?}");
        }
    }
}

#[test]
fn the_obligations_of_all_permits_are_met_together() {
    let govern = r#"
        @id("ann") @approvals("1 of risk")
        permit (principal == Principal::"ann", action == Action::"change_charter", resource);
        @id("others") @delay("1h")
        permit (principal in Role::"governor", action == Action::"change_charter", resource);"#;
    let current = checked(desk(govern));
    let next = || after(&current, rename);
    assert_eq!(
        Case::new(next(), &[22, 23]).pending(&current).unmet.len(),
        2
    );
    assert_eq!(
        Case::new(next(), &[23, 31]).pending(&current).unmet.len(),
        1
    );
    let approved = Case::new(next(), &[22, 23]).approved(&current, "cid", 24);
    let pending = approved.pending(&current);
    assert_eq!(pending.until(), Some(NOW.plus(HOUR_MS)));
    approved.at(NOW.plus(HOUR_MS)).ready(&current);
}

const NOTICED: &str = r#"
@id("govern") @delay("24h") @notice("watcher")
permit (principal in Role::"governor", action == Action::"change_charter", resource);"#;

#[test]
fn a_delay_with_a_notice_runs_from_the_receipt_of_somebody_who_did_not_sign() {
    let mut charter = desk(NOTICED);
    charter.principals[1].roles.push("watcher".parse().unwrap());
    let current = checked(charter);
    let case = || Case::new(after(&current, rename), &[22, 23]).at(NOW.plus(30 * DAY_MS));
    let pending = case().pending(&current);
    assert!(matches!(
        pending.unmet.as_slice(),
        [ProposalUnmet::Notice {
            delay_ms: 86_400_000,
            ..
        }]
    ));
    assert_eq!(pending.until(), None);
    for nobody in ["ann", "bot", "stranger"] {
        let pending = case().receipt(nobody, NOW).pending(&current);
        assert_eq!(pending.until(), None, "{nobody}");
    }
    let seen = NOW.plus(29 * DAY_MS + HOUR_MS);
    let pending = case().receipt("wes", seen).pending(&current);
    assert_eq!(pending.until(), Some(seen.plus(DAY_MS)));
    case().receipt("wes", NOW).ready(&current);
    let late = case().at(NOW.plus(1000 * HOUR_MS - 1));
    late.receipt("wes", NOW).ready(&current);
    // A receipt that was heard before the proposal itself begins nothing before it.
    let mut early = case().receipt("wes", NOW);
    early.first_seen = NOW.plus(29 * DAY_MS + HOUR_MS);
    let until = early.pending(&current).until();
    assert_eq!(until, Some(early.first_seen.plus(DAY_MS)));
}

#[test]
fn a_veto_of_one_who_may_ends_a_proposal_that_has_everything_else() {
    let current = checked(desk(APPROVED));
    let ready = || {
        let case = Case::new(after(&current, rename), &[22, 23, 31]);
        case.approved(&current, "cid", 24)
    };
    ready().ready(&current);
    // A governor, a watcher, and one of those who were asked to approve.
    for who in ["gil", "ann", "wes", "cid"] {
        let fault = ready().veto(who).refused(&current);
        assert_eq!(fault, ProposalFault::Vetoed(vec![who.parse().unwrap()]));
        // The veto outlives the grant of who gave it.
        let late = ready().veto(who).at(NOW.plus(999 * HOUR_MS));
        assert!(matches!(late.refused(&current), ProposalFault::Vetoed(_)));
    }
    for who in ["bot", "ona", "stranger"] {
        ready().veto(who).ready(&current);
    }
}

#[test]
fn a_proposal_is_checked_like_any_successor() {
    let current = checked(desk(GOVERN));
    type Change = fn(&mut Charter);
    let changes: [(&str, Change); 5] = [
        ("`number`", |c| c.number = CharterNumber(2)),
        ("`previous`", |c| c.previous = Some(CharterHash([7; 32]))),
        ("`cluster`", |c| {
            c.cluster = Some(quoin_core::ClusterId([7; 32]))
        }),
        ("threshold", |c| c.threshold = 1),
        ("two steps", |c| c.nodes = vec![node(1), node(4), node(5)]),
    ];
    for (place, change) in changes {
        let case = Case::new(after(&current, change), &[22, 23]);
        let fault = case.refused(&current);
        assert!(fault.to_string().contains(place), "{fault}");
        assert!(matches!(fault, ProposalFault::Charter(_)), "{fault:?}");
    }
}

#[test]
fn a_proposal_grants_three_years_at_most() {
    let current = checked(desk(GOVERN));
    let years = |n: u64| NOW.plus(n * 365 * DAY_MS);
    let long = |c: &mut Charter| c.principals[0].expires = years(4);
    let fault = Case::new(after(&current, long), &[22, 23]).refused(&current);
    let place = "principals.bot.expires".to_owned();
    assert_eq!(fault, CharterError::GrantTooLong { place }.into());
    Case::new(
        after(&current, |c| c.principals[0].expires = years(3)),
        &[22, 23],
    )
    .ready(&current);
    // What a charter has already is no reason to refuse the next.
    let mut charter = desk(GOVERN);
    charter.principals[0].expires = years(4);
    let current = checked(charter);
    Case::new(after(&current, rename), &[22, 23]).ready(&current);
}

const PARTS: [CharterPart; 15] = [
    CharterPart::Name,
    CharterPart::Nodes,
    CharterPart::Threshold,
    CharterPart::Gateways,
    CharterPart::Principals,
    CharterPart::GovernorQuorum,
    CharterPart::Budgets,
    CharterPart::Assets,
    CharterPart::Book,
    CharterPart::Policies,
    CharterPart::Backup,
    CharterPart::Facts,
    CharterPart::Keys,
    CharterPart::Limits,
    CharterPart::Recovery,
];

#[test]
fn every_field_of_a_charter_belongs_to_a_part() {
    let old = desk(GOVERN);
    type Change = fn(&mut Charter);
    let changes: [(CharterPart, Change); 20] = [
        (CharterPart::Name, rename),
        (CharterPart::Nodes, |c| c.nodes[0].region = "x".into()),
        (CharterPart::Threshold, |c| c.threshold = 3),
        (CharterPart::Threshold, |c| c.f_tol = 1),
        (CharterPart::Threshold, |c| {
            c.dangerous_disjoint_signers = true
        }),
        (CharterPart::Gateways, |c| c.gateways.clear()),
        (CharterPart::Principals, |c| c.principals.truncate(1)),
        (CharterPart::GovernorQuorum, |c| c.governor_quorum = 3),
        (CharterPart::Budgets, |c| {
            c.budgets = vec![budget("b", crate::Scope::Org, crate::Measure::Count, 10)];
        }),
        (CharterPart::Assets, |c| c.assets[0].decimals = 1),
        (CharterPart::Book, |c| c.book.clear()),
        (CharterPart::Policies, |c| c.policies.push(' ')),
        (CharterPart::Backup, |c| {
            c.backup = Some(crate::BackupPolicy {
                threshold: 1,
                officers: Vec::new(),
            });
        }),
        (CharterPart::Facts, |c| {
            let kind = crate::FactKind::Price(native());
            c.facts = vec![crate::FactRule {
                kind,
                quorum: 1,
                age_ms_max: 1,
                deviation_bp_max: 0,
            }];
        }),
        (CharterPart::Keys, |c| {
            let key = "another".parse().unwrap();
            c.keys = vec![KeyGrant {
                key,
                dangerous_digest_account: false,
            }];
        }),
        (CharterPart::Limits, |c| c.cooling_off_ms = 1),
        (CharterPart::Limits, |c| c.payload_retention_days = Some(1)),
        (CharterPart::Limits, |c| {
            c.dangerous_single_failure_domain = false
        }),
        (CharterPart::Recovery, |c| c.recovery = Some(rule())),
        (CharterPart::Principals, |c| c.principals[0].expires = NOW),
    ];
    let mut names = BTreeSet::new();
    for (part, change) in changes {
        let mut new = old.clone();
        change(&mut new);
        assert_eq!(changed_parts(&old, &new), BTreeSet::from([part]));
        names.insert(part.name());
    }
    assert_eq!(names, PARTS.map(CharterPart::name).into());
    assert!(changed_parts(&old, &old).is_empty());
    let current = checked(old.clone());
    assert!(changed_parts(&old, &after(&current, |_| ())).is_empty());
}

fn rule() -> Recovery {
    Recovery {
        quorum: 2,
        role: "officer".parse().unwrap(),
        delay_ms: 7 * DAY_MS,
    }
}

/// A desk whose officers may put new governors in place.
fn recoverable() -> Constitution {
    let mut charter = desk(GOVERN);
    charter.recovery = Some(rule());
    checked(charter)
}

/// The lost governors go, and a new one comes.
fn replace_governors(c: &mut Charter) {
    c.principals.retain(|p| p.id.as_str() != "gil");
    for p in &mut c.principals {
        p.roles.retain(|role| role.as_str() != "governor");
    }
    c.principals.push(person("nia", 41, &["governor"]));
    c.principals.push(person("oto", 42, &["governor"]));
}

#[test]
fn a_recovery_waits_for_a_watcher_then_for_its_delay_and_any_governor_stops_it() {
    let current = recoverable();
    let case = |signers| Case::new(after(&current, replace_governors), signers);
    let pending = case(&[32]).pending(&current);
    assert!(
        matches!(&pending.unmet[0], ProposalUnmet::Signatures { role, needed: 2, given }
            if role.as_str() == "officer" && given.len() == 1)
    );
    let both = || case(&[32, 33]);
    let week = NOW.plus(7 * DAY_MS);
    assert_eq!(both().at(week).pending(&current).until(), None);
    // An officer's own receipt warns nobody.
    let own = both().at(week).receipt("ona", NOW).pending(&current);
    assert_eq!(own.until(), None);
    let seen = both().receipt("wes", NOW.plus(5));
    assert_eq!(seen.pending(&current).until(), Some(week.plus(5)));
    let next = seen.at(week.plus(5)).ready(&current);
    assert_eq!(next.charter().governors().count(), 2);
    // By its form it is a successor, which is what a node that was away verifies.
    let certificate = certified(after(&current, replace_governors), &[32, 33]);
    verify_successor(&current, &certificate, NOW).unwrap();
    let one = certified(after(&current, replace_governors), &[32]);
    let error = verify_successor(&current, &one, NOW).unwrap_err();
    assert!(matches!(
        error,
        CharterError::TooFewGovernors { signed: 0, .. }
    ));
    for who in ["ann", "gil", "wes"] {
        let vetoed = both().receipt("wes", NOW).at(week).veto(who);
        assert!(
            matches!(vetoed.refused(&current), ProposalFault::Vetoed(_)),
            "{who}"
        );
    }
}

#[test]
fn a_recovery_changes_nothing_but_who_governs() {
    let current = recoverable();
    type Change = fn(&mut Charter);
    let over: [(&str, Change); 9] = [
        ("policies", |c| c.policies.push(' ')),
        ("threshold", |c| c.threshold = 3),
        ("limits", |c| c.cooling_off_ms = 1),
        ("recovery", |c| c.recovery = None),
        ("principals.nia", |c| {
            c.principals
                .push(person("nia", 43, &["governor", "treasury"]));
        }),
        ("principals.new", |c| {
            c.principals.push(person("new", 43, &["desk"]))
        }),
        ("principals.bot", |c| drop(c.principals.remove(0))),
        ("principals.cid", |c| {
            c.principals[3].credentials = vec![identity(44).public()];
        }),
        // A governor with other credentials keeps none of their other roles.
        ("principals.ann", |c| {
            c.principals[1].credentials = vec![identity(44).public()];
        }),
    ];
    let ready = |next: Charter| {
        let case = Case::new(next, &[32, 33]).receipt("wes", NOW);
        case.at(NOW.plus(8 * DAY_MS)).state(&current)
    };
    for (place, change) in over {
        let next = after(&current, change);
        assert!(
            !matches!(ready(next.clone()), ProposalState::Ready(_)),
            "{place}"
        );
        let error = verify_successor(&current, &certified(next, &[32, 33]), NOW).unwrap_err();
        let place = place.to_owned();
        assert_eq!(error, CharterError::RecoveryOversteps { place });
    }
    let within: [Change; 4] = [
        replace_governors,
        |c| c.principals[3].roles.push("governor".parse().unwrap()),
        |c| {
            c.principals[1].credentials = vec![identity(44).public()];
            c.principals[1].roles = vec!["governor".parse().unwrap()];
        },
        |c| c.governor_quorum = 1,
    ];
    for change in within {
        let state = ready(after(&current, change));
        assert!(matches!(state, ProposalState::Ready(_)), "{state:?}");
    }
}

#[test]
fn governors_who_are_there_need_no_recovery_and_no_delay() {
    let current = recoverable();
    Case::new(after(&current, replace_governors), &[22, 23, 32, 33]).ready(&current);
    // Without the rule in the charter officers are nobody.
    let without = checked(desk(GOVERN));
    let certificate = certified(after(&without, replace_governors), &[32, 33]);
    let error = verify_successor(&without, &certificate, NOW).unwrap_err();
    assert!(matches!(error, CharterError::TooFewGovernors { .. }));
}

#[test]
fn a_recovery_is_no_easier_than_a_charter() {
    type Change = fn(&mut Charter);
    let refused: [(&str, Change); 8] = [
        ("at least 2", |c| c.recovery.as_mut().unwrap().quorum = 1),
        ("at least 3", |c| c.governor_quorum = 3),
        ("7 to 31 days", |c| {
            c.recovery.as_mut().unwrap().delay_ms -= 1
        }),
        ("7 to 31 days", |c| {
            c.recovery.as_mut().unwrap().delay_ms = 32 * DAY_MS
        }),
        ("`officer`", |c| {
            c.principals.retain(|p| p.id.as_str() != "pia")
        }),
        // Officers who are all governors are lost with them.
        ("`officer`", |c| {
            let pia = c
                .principals
                .iter_mut()
                .find(|p| p.id.as_str() == "pia")
                .unwrap();
            pia.roles.push("governor".parse().unwrap());
        }),
        ("`watcher`", |c| {
            c.principals.retain(|p| p.id.as_str() != "wes")
        }),
        ("`watcher`", |c| {
            let wes = c
                .principals
                .iter_mut()
                .find(|p| p.id.as_str() == "wes")
                .unwrap();
            wes.roles.push("officer".parse().unwrap());
        }),
    ];
    for (word, change) in refused {
        let mut charter = recoverable().charter().clone();
        change(&mut charter);
        let error = charter.check().unwrap_err().to_string();
        assert!(
            error.contains(word) && error.contains("recovery"),
            "{error}"
        );
    }
}

#[test]
fn another_charter_of_a_number_that_was_passed_is_known_by_who_signed_it() {
    let genesis = recoverable();
    // The governors change: those of the genesis sign no more from number 2 on.
    let first = accept(&genesis, NOW, |c| {
        rename(c);
        c.principals[2].roles = vec!["treasury".parse().unwrap()];
        c.principals[3].roles.push("governor".parse().unwrap());
    });
    let own = certified(first.charter().clone(), &[22, 23]);
    let second = verify_successor(
        &first,
        &certified(after(&first, rename), &[22, 24]),
        NOW.plus(HOUR_MS),
    )
    .unwrap();
    let fork = |signers: &[u8]| certified(after(&genesis, |c| c.name = "fork".into()), signers);
    assert!(second.lineage_certifies(&fork(&[22, 23])));
    assert!(first.lineage_certifies(&fork(&[22, 31])));
    assert!(
        !second.lineage_certifies(&fork(&[22, 24])),
        "today's governors"
    );
    assert!(!second.lineage_certifies(&fork(&[22])));
    assert!(!second.lineage_certifies(&fork(&[1, 2, 3])));
    assert!(!second.lineage_certifies(&own), "our own");
    let ours = certified(second.charter().clone(), &[22, 24]);
    assert!(!second.lineage_certifies(&ours), "the one in force");
    let ahead = certified(after(&second, rename), &[22, 24]);
    assert!(!second.lineage_certifies(&ahead), "a proposal");
    let mut elsewhere = after(&genesis, |c| c.name = "fork".into());
    elsewhere.previous = Some(CharterHash([7; 32]));
    assert!(!second.lineage_certifies(&certified(elsewhere, &[22, 23])));
    let mut other = after(&genesis, |c| c.name = "fork".into());
    other.cluster = Some(quoin_core::ClusterId([7; 32]));
    assert!(!second.lineage_certifies(&certified(other, &[22, 23])));
    // What a recovery could have brought is a fork too; what it could not is none.
    let recovered = certified(after(&genesis, replace_governors), &[32, 33]);
    assert!(second.lineage_certifies(&recovered));
    assert!(!second.lineage_certifies(&fork(&[32, 33])));
}

#[test]
fn a_fork_counts_the_grants_of_the_time_when_the_number_was_passed() {
    let mut charter = desk(GOVERN);
    charter.principals[1].expires = NOW.plus(HOUR_MS);
    let genesis = checked(charter);
    let fork = certified(after(&genesis, |c| c.name = "fork".into()), &[22, 23]);
    let pass = |now| {
        let next = certified(after(&genesis, rename), &[23, 31]);
        verify_successor(&genesis, &next, now).unwrap()
    };
    assert!(pass(NOW).lineage_certifies(&fork));
    assert!(!pass(NOW.plus(HOUR_MS)).lineage_certifies(&fork));
    // A later charter does not change what is remembered of an earlier one.
    let first = pass(NOW);
    let next = certified(after(&first, |_| ()), &[23, 31]);
    let second = verify_successor(&first, &next, NOW.plus(2 * HOUR_MS)).unwrap();
    assert!(second.lineage_certifies(&fork));
}

#[test]
fn a_passkeys_approval_of_a_charter_lapses_with_nothing_but_the_proposal() {
    use super::approvals::{RP_ID, assertion, passkey};
    let key = passkey(31, RP_ID);
    let mut charter = desk(APPROVED);
    charter.principals[3].credentials = vec![quoin_core::PublicCredential::Passkey(key.clone())];
    let current = checked(charter);
    let case = |not_after: TimeMs| {
        let mut case = Case::new(after(&current, rename), &[22, 23]);
        let hash = case.pending(&current).intent_hash;
        let approval = Approval {
            not_after,
            ..case.approval(&current, "cid", hash)
        };
        let made = assertion(31, RP_ID, &hash.0);
        case.approvals = vec![Signed::asserted(approval, &key, made)];
        case
    };
    case(CHARTER_APPROVAL_NOT_AFTER).ready(&current);
    let ignored = case(NOW.plus(HOUR_MS)).pending(&current).ignored;
    assert_eq!(ignored[0].fault, crate::ApprovalFault::PasskeyLapse);
}

const DOCUMENT: &str = include_str!("../../../../docs/governance.md");

#[test]
fn what_the_documentation_shows_is_valid_and_does_what_it_says() {
    let block = |start: &str| {
        let blocks = DOCUMENT.split(start).skip(1);
        let texts = blocks.map(|b| b.split("```").next().unwrap().to_owned());
        texts.collect::<Vec<String>>()
    };
    let mut charter = desk(&block("```cedar\n").concat());
    let more = [("ada", "auditor"), ("opa", "operator")];
    for ((id, role), seed) in more.into_iter().zip(51u8..) {
        charter.principals.push(person(id, seed, &[role]));
    }
    let json = format!("{{{}}}", block("```json\n")[0]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    charter.recovery = Some(serde_json::from_value(json["recovery"].clone()).unwrap());
    let current = checked(charter);
    // A change of the book alone meets both rules, as the page says; any other meets one.
    let of =
        |change: fn(&mut Charter)| Case::new(after(&current, change), &[22, 23]).pending(&current);
    assert_eq!(of(|c| c.book.clear()).rules.len(), 2);
    assert_eq!(of(rename).rules.len(), 1);
    for role in crate::KNOWN_ROLES {
        assert!(DOCUMENT.contains(&format!("`{role}`")), "{role}");
    }
    for part in PARTS {
        assert!(DOCUMENT.contains(&format!("`{}`", part.name())), "{part:?}");
    }
}

/// What a quorum of governors hears of a charter that says so of its own change.
fn locked_out(change: impl FnOnce(&mut Charter)) -> ProposalFault {
    let current = desk(GOVERN).check().unwrap();
    Case::new(after(&current, change), &[22, 23, 31]).refused(&current)
}

fn is_ungovernable(fault: &ProposalFault) -> bool {
    matches!(
        fault,
        ProposalFault::Charter(CharterError::Ungovernable { .. })
    )
}

#[test]
fn refuses_a_charter_that_nobody_could_change_again() {
    // Two sign, and one is left to approve.
    let asked = "@approvals(\"2 of governor\")";
    let fault = locked_out(|c| {
        c.policies = c
            .policies
            .replace("@id(\"govern\")", &format!("@id(\"govern\") {asked}"))
    });
    assert!(is_ungovernable(&fault), "{fault:?}");
    // Seconds instead of milliseconds.
    let fault = locked_out(|c| {
        for p in &mut c.principals {
            p.expires = TimeMs(p.expires.0 / 1000);
        }
    });
    assert!(is_ungovernable(&fault), "{fault:?}");
    // Nobody who governs may.
    let fault = locked_out(|c| {
        c.policies = c
            .policies
            .replace("Role::\"governor\"", "Role::\"officer\"");
    });
    assert!(is_ungovernable(&fault), "{fault:?}");
    // A forbid that always matches.
    let fault = locked_out(|c| {
        c.policies += "@id(\"never\") forbid (principal, action == Action::\"change_charter\", resource) when { context.number > 0 };";
    });
    assert!(is_ungovernable(&fault), "{fault:?}");
    // Whoever has to have seen it has no grant.
    let fault = locked_out(|c| {
        c.policies = c.policies.replace(
            "@id(\"govern\")",
            "@id(\"govern\") @delay(\"1h\") @notice(\"watcher\")",
        );
        let wes = c.principals.iter_mut().find(|p| p.holds("watcher"));
        wes.unwrap().expires = NOW;
    });
    assert!(is_ungovernable(&fault), "{fault:?}");
    // Of the approvers one is another's delegate, and no second person.
    let two = |c: &mut Charter| {
        c.policies = c.policies.replace(
            "@id(\"govern\")",
            "@id(\"govern\") @approvals(\"2 of officer\")",
        );
    };
    let fault = locked_out(|c| {
        two(c);
        let pia = c.principals.iter_mut().find(|p| p.id.as_str() == "pia");
        pia.unwrap().granted_by = Some("ona".parse().unwrap());
    });
    assert!(is_ungovernable(&fault), "{fault:?}");
    let current = desk(GOVERN).check().unwrap();
    Case::new(after(&current, two), &[22, 23]).ready(&current);
}

#[test]
fn a_charter_of_which_enough_can_sign_and_enough_are_left_is_governable() {
    let current = desk(GOVERN).check().unwrap();
    for terms in [
        "@approvals(\"1 of governor\")",
        "@approvals(\"2 of governor\") @initiator(\"counts\")",
        "@approvals(\"2 of officer\") @delay(\"1h\") @notice(\"watcher\")",
        "@delay(\"1h\") @notice(\"governor\")",
    ] {
        let next = after(&current, |c| {
            c.policies = c
                .policies
                .replace("@id(\"govern\")", &format!("@id(\"govern\") {terms}"));
        });
        Case::new(next, &[22, 23]).ready(&current);
    }
}

#[test]
fn a_signers_delegate_neither_approves_nor_sees_for_others() {
    let govern = GOVERN.replace(
        "@id(\"govern\")",
        "@id(\"govern\") @approvals(\"1 of officer\") @delay(\"1h\") @notice(\"watcher\")",
    );
    let mut charter = desk(&govern);
    for p in &mut charter.principals {
        match p.id.as_str() {
            "ona" | "wes" => p.operator = Some("acme".to_owned()),
            "ann" => p.operator = Some("acme".to_owned()),
            _ => {}
        }
    }
    let others = [person("quy", 35, &["watcher"])];
    charter.principals.extend(others);
    let current = charter.check().unwrap();
    let later = NOW.plus(2 * HOUR_MS);
    let own = Case::new(after(&current, rename), &[22, 23])
        .approved(&current, "ona", 32)
        .receipt("wes", NOW)
        .at(later);
    let pending = own.pending(&current);
    assert_eq!(pending.unmet.len(), 2, "{:?}", pending.unmet);
    assert_eq!(pending.ignored.len(), 1);
    let other = Case::new(after(&current, rename), &[22, 23])
        .approved(&current, "pia", 33)
        .receipt("quy", NOW)
        .at(later);
    other.ready(&current);
}

#[test]
fn one_person_with_two_roles_meets_one_demand_for_a_charter() {
    let govern = GOVERN.replace(
        "@id(\"govern\")",
        "@id(\"govern\") @approvals(\"1 of officer\")",
    );
    let risk = govern
        .replace("govern\")", "govern-risk\")")
        .replace("1 of officer", "1 of risk");
    let mut charter = desk(&format!("{govern}{risk}"));
    let both = charter
        .principals
        .iter_mut()
        .find(|p| p.id.as_str() == "ona");
    both.unwrap().roles.push("risk".parse().unwrap());
    let current = charter.check().unwrap();
    let one = Case::new(after(&current, rename), &[22, 23]).approved(&current, "ona", 32);
    assert_eq!(one.pending(&current).unmet.len(), 1);
    // As many are met as can be: the one who has both roles moves on.
    one.approved(&current, "pia", 33).ready(&current);
}
