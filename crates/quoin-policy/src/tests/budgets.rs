//! Budgets: exact windows, scopes, the strict bound, and what survives a restart.

use crate::budget::{Budget, Measure, Scope};
use crate::fixtures::*;
use crate::{Constitution, DenialReason, Judgement, Ledger, Reservation, bucket_end};
use proptest::prelude::*;
use quoin_core::{Amount, CustodyMethod, KeyId, Purpose, RequestId, Stamp, TimeMs, cbor};

const ALL: &str = r#"
@id("all")
permit (principal, action, resource);
"#;

fn with(budgets: Vec<Budget>) -> Constitution {
    let mut charter = charter(ALL);
    charter.budgets = budgets;
    charter.check().unwrap()
}

fn count(cap: u128) -> Constitution {
    with(vec![budget("count", Scope::Org, Measure::Count, cap)])
}

/// When a charge that was made at `at` counts no longer.
fn passed(at: TimeMs) -> TimeMs {
    bucket_end(at, HOUR_MS).plus(HOUR_MS)
}

fn spent(constitution: &Constitution, ledger: &Ledger, now: TimeMs) -> Amount {
    ledger
        .spent(&constitution.charter().budgets[0], now)
        .unwrap()
}

#[test]
fn a_node_stops_at_its_part_of_the_cap_and_names_the_budget() {
    let constitution = count(6);
    let mut ledger = Ledger::new();
    for id in 0..3 {
        Ask::pay(&constitution, id, 1).permitted(&constitution, &mut ledger);
    }
    let denial = Ask::pay(&constitution, 3, 1).denied(&constitution, &mut ledger);
    assert_eq!(denial.reason, DenialReason::OverBudget);
    assert_eq!(denial.rule, Some("count".parse().unwrap()));
    for part in [
        "transfer of",
        "budget `count` has no room",
        "1 asked, 3 co-signed",
    ] {
        assert!(denial.message.contains(part), "{part}: {}", denial.message);
    }
}

#[test]
fn exactly_600_of_1000_are_signed() {
    let constitution = count(1200);
    let mut ledger = Ledger::new();
    let signed = (0..1000)
        .filter(|id| {
            let judged = Ask::pay(&constitution, *id, 1).judge(&constitution, &mut ledger);
            matches!(judged, Judgement::Permitted(_))
        })
        .count();
    assert_eq!(signed, 600);
}

#[test]
fn a_request_is_charged_once_however_often_it_is_judged() {
    let constitution = count(2);
    let mut ledger = Ledger::new();
    for _ in 0..5 {
        Ask::pay(&constitution, 1, 1).permitted(&constitution, &mut ledger);
    }
    assert_eq!(spent(&constitution, &ledger, NOW), Amount::from(1u64));
}

#[test]
fn a_denied_request_is_charged_nowhere() {
    let constitution = with(vec![
        budget("first", Scope::Org, Measure::Count, 100),
        budget("second", Scope::Org, Measure::Asset(native()), 2),
    ]);
    let mut ledger = Ledger::new();
    let denial = Ask::pay(&constitution, 1, 1).denied(&constitution, &mut ledger);
    assert_eq!(denial.rule, Some("second".parse().unwrap()));
    assert_eq!(spent(&constitution, &ledger, NOW), Amount::ZERO);
    assert!(!ledger.holds(Ask::pay(&constitution, 1, 1).stamp.request_id));
}

#[test]
fn the_window_rolls_from_the_end_of_its_bucket() {
    let constitution = count(2);
    let mut ledger = Ledger::new();
    Ask::pay(&constitution, 1, 1).permitted(&constitution, &mut ledger);
    let next = Ask::pay(&constitution, 2, 1);
    next.at(TimeMs(passed(NOW).0 - 1))
        .denied(&constitution, &mut ledger);
    let next = Ask::pay(&constitution, 2, 1);
    next.at(passed(NOW)).permitted(&constitution, &mut ledger);
    // At most a 63rd of the window too long.
    assert!(passed(NOW).since(NOW.plus(HOUR_MS)) <= HOUR_MS.div_ceil(63));
}

#[test]
fn a_request_that_was_held_back_counts_in_the_window_in_which_it_is_judged_again() {
    let constitution = count(2);
    let mut ledger = Ledger::new();
    Ask::pay(&constitution, 1, 1).permitted(&constitution, &mut ledger);
    let later = passed(NOW);
    Ask::pay(&constitution, 2, 1)
        .at(later)
        .permitted(&constitution, &mut ledger);
    // Two in one window, were the first still at its old time.
    let held_back = Ask::pay(&constitution, 1, 1).at(later.plus(1));
    held_back.denied(&constitution, &mut ledger);
}

#[test]
fn an_asset_budget_counts_value_and_the_highest_fee() {
    let measure = Measure::Asset(native());
    let constitution = with(vec![budget("eth", Scope::Org, measure, 2 * (1000 + FEE))]);
    let mut ledger = Ledger::new();
    Ask::pay(&constitution, 1, 1001).denied(&constitution, &mut ledger);
    let warrant = Ask::pay(&constitution, 1, 1000).permitted(&constitution, &mut ledger);
    assert_eq!(warrant.charges()[0].amount, Amount::from(1000 + FEE));
}

#[test]
fn an_allowance_counts_like_spending() {
    let token = stranger();
    let asset: quoin_core::AssetId = format!("eip155:{CHAIN}/token:{token}").parse().unwrap();
    let mut charter = charter(ALL);
    charter.assets.push(crate::Asset {
        asset: asset.clone(),
        symbol: "USD".into(),
        decimals: 6,
    });
    charter.budgets = vec![budget("usd", Scope::Org, Measure::Asset(asset), 2000)];
    let constitution = charter.check().unwrap();
    let approve = |id, amount: u64| {
        let mut tx = Tx::pay(id, &token, 0);
        tx.data = hex::decode("095ea7b3").unwrap();
        tx.data.extend([0; 12]);
        tx.data.extend([0xee; 20]);
        tx.data.extend(Amount::from(amount).to_be_bytes());
        Ask::new(&constitution, id, tx.payload())
    };
    let mut ledger = Ledger::new();
    approve(1, 1001).denied(&constitution, &mut ledger);
    approve(1, 600).permitted(&constitution, &mut ledger);
    approve(2, 401).denied(&constitution, &mut ledger);
    approve(2, 400).permitted(&constitution, &mut ledger);
}

#[test]
fn each_scope_catches_its_own_and_nothing_else() {
    let id = |text: &str| text.parse().unwrap();
    let other_account = quoin_core::stamp::Account {
        address: stranger(),
        ..account()
    };
    let catching = [
        Scope::Org,
        Scope::Principal("bot".parse().unwrap()),
        Scope::Role("desk".parse().unwrap()),
        Scope::Account(account()),
        Scope::Counterparty(exchange()),
        Scope::Key("hot".parse().unwrap()),
    ];
    let missing = [
        Scope::Principal("ann".parse().unwrap()),
        Scope::Role("treasury".parse().unwrap()),
        Scope::Account(other_account),
        Scope::Counterparty(stranger()),
        Scope::Key("cold".parse().unwrap()),
    ];
    let scopes = catching.iter().chain(&missing).enumerate();
    let budgets = scopes.map(|(i, scope)| Budget {
        id: id(&format!("b{i}")),
        ..budget("b", scope.clone(), Measure::Count, 100)
    });
    let constitution = with(budgets.collect());
    let warrant = Ask::pay(&constitution, 1, 1).permitted(&constitution, &mut Ledger::new());
    let charged: Vec<_> = warrant
        .charges()
        .iter()
        .map(|c| c.budget.to_string())
        .collect();
    assert_eq!(charged, ["b0", "b1", "b2", "b3", "b4", "b5"]);
}

#[test]
fn an_account_budget_binds_by_whatever_path_the_account_was_written_down() {
    let with_path = quoin_core::stamp::Account {
        path: "m/0/5".parse().unwrap(),
        ..account()
    };
    let constitution = with(vec![budget(
        "b",
        Scope::Account(with_path),
        Measure::Count,
        100,
    )]);
    let warrant = Ask::pay(&constitution, 1, 1).permitted(&constitution, &mut Ledger::new());
    assert_eq!(warrant.charges().len(), 1);
}

#[test]
fn sums_over_256_bits_are_denied_not_wrapped() {
    let measure = Measure::Asset(native());
    let mut budget = budget("eth", Scope::Org, measure.clone(), 1);
    budget.cap = Amount::MAX;
    let constitution = with(vec![budget]);
    let mut ledger = Ledger::new();
    // What another charter with other limits may have left in the journal.
    for id in 1..=2 {
        let mut reservation = held(&constitution, 100 + id);
        reservation.charges[0].amount = Amount::MAX;
        ledger.restore(&reservation);
    }
    let budget = &constitution.charter().budgets[0];
    assert_eq!(ledger.spent(budget, NOW), None);
    let denial = Ask::pay(&constitution, 1, 1).denied(&constitution, &mut ledger);
    assert_eq!(denial.reason, DenialReason::OverBudget);
    // The sum fits again once they have rolled out of the window.
    let later = passed(NOW);
    assert_eq!(ledger.spent(budget, later), Some(Amount::ZERO));
    Ask::pay(&constitution, 1, 1)
        .at(later)
        .permitted(&constitution, &mut ledger);
    ledger.sweep(&constitution, later);
    assert_eq!(ledger.spent(budget, later), Some(Amount::from(1 + FEE)));
}

/// Who spends with no key in particular, under no numbered set.
fn spender() -> crate::ledger::Spender<'static> {
    crate::ledger::Spender {
        key: None,
        custody: CustodyMethod::Mpc,
        set: crate::SetStanding::Moving,
    }
}

fn held(constitution: &Constitution, id: u64) -> Reservation {
    let ask = Ask::pay(constitution, id, 1);
    let reservation = constitution.finished_reservation(
        &ask.decoded(),
        &ask.stamp,
        ask.key.as_ref(),
        NOW,
        &crate::FactStore::default(),
    );
    reservation.unwrap()
}

#[test]
fn a_restored_ledger_decides_like_the_one_it_was_journaled_from() {
    let constitution = count(6);
    let (mut before, mut after) = (Ledger::new(), Ledger::new());
    for id in 0..3 {
        let warrant = Ask::pay(&constitution, id, 1).permitted(&constitution, &mut before);
        let bytes = cbor::encode(warrant.reservation());
        let read: Reservation = cbor::decode(&bytes, Reservation::BYTES_MAX).unwrap();
        assert_eq!(&read, warrant.reservation());
        after.restore(&read);
    }
    for ledger in [&mut before, &mut after] {
        Ask::pay(&constitution, 3, 1).denied(&constitution, ledger);
        Ask::pay(&constitution, 2, 1).permitted(&constitution, ledger);
        let mut taken = Ask::new(&constitution, 9, Tx::pay(2, &stranger(), 1).payload());
        taken.now = passed(NOW);
        assert_eq!(
            taken.denied(&constitution, ledger).reason,
            DenialReason::SlotTaken
        );
    }
}

#[test]
fn a_released_request_gives_back_budget_and_slot() {
    let constitution = count(2);
    let mut ledger = Ledger::new();
    let ask = Ask::pay(&constitution, 1, 1);
    ask.permitted(&constitution, &mut ledger);
    ledger.release(ask.stamp.request_id);
    ledger.release(RequestId([7; 16]));
    let mut other = Ask::new(&constitution, 2, Tx::pay(1, &stranger(), 1).payload());
    other.now = NOW.plus(1);
    other.permitted(&constitution, &mut ledger);
}

#[test]
fn a_finished_signature_counts_against_the_cap_once_and_not_as_ones_own() {
    let constitution = count(4);
    let budget = &constitution.charter().budgets[0];
    let mut ledger = Ledger::new();
    for _ in 0..3 {
        ledger.finished(&held(&constitution, 50)).unwrap();
        ledger.finished(&held(&constitution, 51)).unwrap();
    }
    assert_eq!(ledger.spent(budget, NOW), Some(Amount::from(2u64)));
    assert_eq!(ledger.spent_own(budget, NOW), Some(Amount::ZERO));
    Ask::pay(&constitution, 1, 1).permitted(&constitution, &mut ledger);
    // Co-signing what is finished already makes it one's own, without counting it twice.
    Ask::pay(&constitution, 50, 1).permitted(&constitution, &mut ledger);
    assert_eq!(ledger.spent(budget, NOW), Some(Amount::from(3u64)));
    assert_eq!(ledger.spent_own(budget, NOW), Some(Amount::from(2u64)));
    ledger.finished(&held(&constitution, 52)).unwrap();
    Ask::pay(&constitution, 2, 1).denied(&constitution, &mut ledger);
}

#[test]
fn what_others_signed_can_use_up_the_whole_cap() {
    let constitution = count(4);
    let mut ledger = Ledger::new();
    for id in 50..54 {
        ledger.finished(&held(&constitution, id)).unwrap();
    }
    let denial = Ask::pay(&constitution, 1, 1).denied(&constitution, &mut ledger);
    assert_eq!(denial.reason, DenialReason::OverBudget);
}

/// What a ledger knows of a request for 100 that is judged again `after_ms` later for `amounts`.
fn judged_again(
    old: &[(&str, u64)],
    new: &[(&str, u64)],
    after_ms: u64,
) -> (Reservation, Ledger, Constitution) {
    let constitution = with(vec![
        budget("first", Scope::Org, Measure::Count, 400),
        budget("second", Scope::Org, Measure::Count, 400),
    ]);
    let mut ledger = Ledger::new();
    let mut reservation = held(&constitution, 1);
    let charges = |amounts: &[(&str, u64)]| {
        let of = |(id, amount): &(&str, u64)| crate::Charge {
            budget: id.parse().unwrap(),
            measure: Measure::Count,
            amount: Amount::from(*amount),
            holder: None,
            window_ms: HOUR_MS,
        };
        amounts.iter().map(of).collect::<Vec<_>>()
    };
    reservation.charges = charges(old);
    let first = ledger.reserve(&constitution, &reservation, &spender());
    first.unwrap();
    reservation.charges = charges(new);
    reservation.at = reservation.at.plus(after_ms);
    let again = ledger.reserve(&constitution, &reservation, &spender());
    (again.unwrap(), ledger, constitution)
}

#[test]
fn what_may_have_been_signed_at_a_high_price_stays_charged_when_it_is_judged_again() {
    let amounts = |(reservation, ledger, constitution): (Reservation, Ledger, Constitution)| {
        let journaled = reservation.charges.iter();
        let journaled: Vec<u64> = journaled
            .map(|c| c.amount.to_i64().unwrap() as u64)
            .collect();
        let budgets = constitution.charter().budgets.iter();
        let spent = budgets.map(|b| ledger.spent_own(b, reservation.at).unwrap());
        let spent: Vec<u64> = spent.map(|a| a.to_i64().unwrap() as u64).collect();
        (journaled, spent)
    };
    let (first, both) = (("first", 100), [("first", 100), ("second", 70)]);
    // Lower, higher, and off a budget's scope.
    let lower = judged_again(&[first], &[("first", 40)], 1);
    assert_eq!(amounts(lower), (vec![100], vec![100, 0]));
    let higher = judged_again(&[first], &[("first", 140)], 1);
    assert_eq!(amounts(higher), (vec![140], vec![140, 0]));
    let left = judged_again(&both, &[("second", 70)], 1);
    assert_eq!(amounts(left), (vec![100, 70], vec![100, 70]));
    // What no longer counts is charged no more, and what was released neither.
    let over = judged_again(&both, &[("second", 20)], 3 * HOUR_MS);
    assert_eq!(amounts(over), (vec![20], vec![0, 20]));
    let (again, mut ledger, constitution) = judged_again(&[first], &[("first", 40)], 1);
    ledger.release(again.request_id);
    assert_eq!(spent(&constitution, &ledger, again.at), Amount::ZERO);
    let mut less = again;
    less.charges[0].amount = Amount::from(40u64);
    let fresh = ledger.reserve(&constitution, &less, &spender()).unwrap();
    assert_eq!(fresh.charges[0].amount, Amount::from(40u64));
}

#[test]
fn one_request_id_stands_for_one_payload() {
    let constitution = count(100);
    let mut ledger = Ledger::new();
    Ask::pay(&constitution, 1, 1).permitted(&constitution, &mut ledger);
    let other = Ask::new(&constitution, 1, Tx::pay(7, &exchange(), 2).payload());
    let denial = other.denied(&constitution, &mut ledger);
    assert_eq!(denial.reason, DenialReason::RequestConflict);
    let mut finished = held(&constitution, 1);
    finished.binding = other.stamp.binding();
    assert!(ledger.finished(&finished).is_err());
}

#[test]
fn one_request_id_stands_for_one_key() {
    // Were the payload all that counts, one charge would pay for a signature of each key.
    let constitution = count(100);
    let mut ledger = Ledger::new();
    Ask::pay(&constitution, 1, 1).permitted(&constitution, &mut ledger);
    let mut other = Ask::pay(&constitution, 1, 1).at(NOW.plus(1));
    let key = KeyId([8; 16]);
    other.stamp.key = Some(key);
    other.key.as_mut().unwrap().id = key;
    let denial = other.denied(&constitution, &mut ledger);
    assert_eq!(denial.reason, DenialReason::RequestConflict);
    assert_eq!(spent(&constitution, &ledger, NOW), Amount::from(1u64));
    // Under an id of its own it is charged on its own.
    other.stamp.request_id = RequestId([2; 16]);
    other.permitted(&constitution, &mut ledger);
    assert_eq!(spent(&constitution, &ledger, NOW), Amount::from(2u64));
}

#[test]
fn one_request_id_stands_for_one_binding() {
    type Change = fn(&mut Stamp);
    let constitution = count(100);
    let changes: [(&str, Change); 6] = [
        ("principal", |s| s.principal = "ann".parse().unwrap()),
        ("key", |s| s.key = None),
        ("account", |s| s.account.address = stranger()),
        ("custody", |s| s.custody = CustodyMethod::Local),
        ("purpose", |s| s.purpose = Purpose::Agent),
        ("not_after", |s| s.not_after = s.not_after.plus(1)),
    ];
    for (what, change) in changes {
        let mut ledger = Ledger::new();
        let ask = Ask::pay(&constitution, 1, 1);
        ask.permitted(&constitution, &mut ledger);
        let mut stamp = ask.stamp.clone();
        change(&mut stamp);
        let other = constitution
            .finished_reservation(
                &ask.decoded(),
                &stamp,
                ask.key.as_ref(),
                NOW,
                &crate::FactStore::default(),
            )
            .unwrap();
        for refused in [
            ledger.reserve(&constitution, &other, &spender()).map(drop),
            ledger.finished(&other),
        ] {
            let reason = refused.map_err(|denial| denial.reason);
            assert_eq!(reason, Err(DenialReason::RequestConflict), "{what}");
        }
    }
}

#[test]
fn a_sweep_forgets_only_what_counts_no_longer() {
    let constitution = count(4);
    let mut ledger = Ledger::new();
    let ask = Ask::pay(&constitution, 1, 1);
    ask.permitted(&constitution, &mut ledger);
    ledger.sweep(&constitution, TimeMs(passed(NOW).0 - 1));
    assert_eq!(spent(&constitution, &ledger, NOW), Amount::from(1u64));
    ledger.sweep(&constitution, passed(NOW));
    assert!(
        ledger.holds(ask.stamp.request_id),
        "its stamp is still good"
    );
    ledger.sweep(&constitution, ask.stamp.not_after);
    assert!(!ledger.holds(ask.stamp.request_id));
}

/// One step of a malicious gateway: a request of some value, sent to some nodes, after some time.
type Step = (u64, u128, usize, u64, bool);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (
        0u64..30,
        1u128..400,
        0usize..10,
        0u64..HOUR_MS / 4,
        any::<bool>(),
    );
    proptest::collection::vec(step, 1..60)
}

/// Every set of `t` of `n` nodes.
fn sets(n: u8, t: u8) -> Vec<Vec<usize>> {
    let all = 0u32..1 << n;
    let of_size = all.filter(|set| set.count_ones() == u32::from(t));
    let members = |set: u32| (0..usize::from(n)).filter(|i| set >> i & 1 == 1).collect();
    of_size.map(members).collect()
}

/// Plays the steps against `n` ledgers, of which the first `t - 1` sign anything, and checks that
/// no window holds more than the cap.
fn play(n: u8, t: u8, cap: u128, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut charter = charter(ALL);
    charter.nodes = (1..=n).map(node).collect();
    charter.threshold = t;
    charter.budgets = vec![budget("eth", Scope::Org, Measure::Asset(native()), cap)];
    let constitution = charter.check().unwrap();
    let mut ledgers: Vec<_> = (0..n).map(|_| Ledger::new()).collect();
    let malicious = usize::from(t) - 1;
    let sets = sets(n, t);
    let mut signed = std::collections::BTreeMap::new();
    let mut now = NOW;
    for (id, value, set, wait, tell) in steps {
        now = now.plus(*wait);
        let set = &sets[set % sets.len()];
        // One id has one payload: the value follows from the id.
        let value = steps.iter().find(|s| s.0 == *id).map_or(*value, |s| s.1) * 1_000_000_000_000;
        let ask = Ask::pay(&constitution, *id, value).at(now);
        let honest = set.iter().filter(|i| **i >= malicious);
        let mut agreed = true;
        for node in honest {
            let judged = ask.judge(&constitution, &mut ledgers[*node]);
            agreed &= matches!(judged, Judgement::Permitted(_));
        }
        if agreed {
            signed.entry(*id).or_insert((now, value + FEE));
        }
        if agreed && *tell {
            let reservation = constitution
                .finished_reservation(
                    &ask.decoded(),
                    &ask.stamp,
                    ask.key.as_ref(),
                    now,
                    &crate::FactStore::default(),
                )
                .unwrap();
            for ledger in &mut ledgers {
                ledger.finished(&reservation).unwrap();
            }
        }
        let in_window = signed.values().filter(|(at, _)| now.since(*at) < HOUR_MS);
        let total: u128 = in_window.map(|(_, amount)| amount).sum();
        prop_assert!(total <= cap, "{total} of {cap}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn no_gateway_gets_more_than_the_cap_from_2_of_3(steps in steps()) {
        play(3, 2, 3_000_000_000_000_000, &steps)?;
    }

    #[test]
    fn no_gateway_gets_more_than_the_cap_from_3_of_5(steps in steps()) {
        play(5, 3, 3_000_000_000_000_000, &steps)?;
    }
}

/// Charges a made-up request; whether it fits.
fn charged(ledger: &mut Ledger, like: &Reservation, id: u64, amount: u64, at: TimeMs) -> bool {
    static KNOWN: std::sync::OnceLock<Constitution> = std::sync::OnceLock::new();
    let constitution = KNOWN.get_or_init(|| count(2000));
    let mut reservation = like.clone();
    reservation.request_id.0[8..].copy_from_slice(&id.to_be_bytes());
    reservation.at = at;
    reservation.charges[0].amount = Amount::from(amount);
    ledger
        .reserve(constitution, &reservation, &spender())
        .is_ok()
}

proptest! {
    #[test]
    fn buckets_never_allow_what_an_exact_window_refuses(
        steps in proptest::collection::vec((0u64..20, 1u64..300, 0u64..HOUR_MS / 8), 1..80),
    ) {
        static LIKE: std::sync::OnceLock<Reservation> = std::sync::OnceLock::new();
        let like = LIKE.get_or_init(|| held(&count(2000), 1));
        let (mut ledger, mut restored) = (Ledger::new(), Ledger::new());
        let mut exact = std::collections::BTreeMap::new();
        let mut now = NOW;
        for (id, amount, wait) in steps {
            now = now.plus(wait);
            let amount = exact.get(&id).map_or(amount, |(_, known)| *known);
            if !charged(&mut ledger, like, id, amount, now) {
                continue;
            }
            exact.insert(id, (now, amount));
            let counts = exact.values().filter(|(at, _)| now.since(*at) < HOUR_MS);
            let total: u64 = counts.map(|(_, amount)| amount).sum();
            prop_assert!(total <= 1000, "{total} of 1000");
            let mut journaled = like.clone();
            journaled.request_id.0[8..].copy_from_slice(&id.to_be_bytes());
            journaled.at = now;
            journaled.charges[0].amount = Amount::from(amount);
            restored.restore(&journaled);
        }
        // A ledger made of the journal counts the same.
        let budget = budget("count", Scope::Org, Measure::Count, 2000);
        prop_assert_eq!(ledger.spent_own(&budget, now), restored.spent_own(&budget, now));
        prop_assert_eq!(ledger.spent(&budget, now), restored.spent(&budget, now));
    }

    #[test]
    fn a_window_is_kept_in_64_buckets_however_long_it_is(
        window_ms in 1u64..crate::WINDOW_MS_MAX,
        at in 0u64..1 << 42,
    ) {
        let end = bucket_end(TimeMs(at), window_ms);
        prop_assert!(end > TimeMs(at));
        let grain_ms = window_ms.div_ceil(63);
        prop_assert!(end.since(TimeMs(at)) <= grain_ms);
        // The ends that count at one time are those within a window and a bucket.
        prop_assert!(window_ms.div_ceil(grain_ms) < crate::BUCKETS_MAX as u64);
    }
}
