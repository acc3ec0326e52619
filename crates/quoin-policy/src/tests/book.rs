//! The address book: what is new in it waits, at every node and whatever the charter says of itself.

use super::governance::{Case, DAY_MS, after, checked, desk};
use crate::charter::{BookEntry, BookKind};
use crate::fixtures::*;
use crate::{Charter, Constitution, verify_successor};
use quoin_core::{Address, TimeMs};

fn entry(name: &str, byte: u8) -> BookEntry {
    BookEntry {
        name: name.parse().unwrap(),
        address: Address::evm([byte; 20]),
        ..charter(OPEN).book[0].clone()
    }
}

/// The next constitution, accepted at `now`.
pub(super) fn accept(
    current: &Constitution,
    now: TimeMs,
    change: impl FnOnce(&mut Charter),
) -> Constitution {
    verify_successor(current, &certified(after(current, change), &[22, 23]), now).unwrap()
}

fn ready_at(c: &Constitution, byte: u8) -> Option<TimeMs> {
    c.book_ready(&account().chain, &Address::evm([byte; 20]))
}

#[test]
fn a_new_or_changed_address_waits_and_an_unchanged_one_does_not() {
    let mut charter = desk(GOVERN);
    charter.cooling_off_ms = DAY_MS;
    let genesis = checked(charter);
    assert_eq!(ready_at(&genesis, 0xee), Some(TimeMs(0)));
    assert_eq!(ready_at(&genesis, 1), None);
    let first = accept(&genesis, NOW, |c| c.book.push(entry("one", 1)));
    assert_eq!(ready_at(&first, 0xee), Some(TimeMs(0)));
    assert_eq!(ready_at(&first, 1), Some(NOW.plus(DAY_MS)));
    let later = NOW.plus(HOUR_MS);
    let same = accept(&first, later, |c| c.book.reverse());
    assert_eq!(ready_at(&same, 1), Some(NOW.plus(DAY_MS)));
    type Change = fn(&mut BookEntry);
    let changes: [Change; 3] = [
        |e| e.name = "other".parse().unwrap(),
        |e| e.kind = BookKind::Margin,
        |e| e.assets = vec![native()],
    ];
    for change in changes {
        let next = accept(&first, later, |c| change(&mut c.book[0]));
        assert_eq!(ready_at(&next, 0xee), Some(later.plus(DAY_MS)));
        assert_eq!(ready_at(&next, 1), Some(NOW.plus(DAY_MS)));
    }
    let gone = accept(&first, later, |c| c.book.clear());
    assert_eq!(ready_at(&gone, 1), None);
    let again = accept(&gone, later, |c| c.book.push(entry("one", 1)));
    assert_eq!(ready_at(&again, 1), Some(later.plus(DAY_MS)));
}

#[test]
fn no_charter_lowers_the_wait_for_what_it_brings_itself() {
    let mut charter = desk(GOVERN);
    charter.cooling_off_ms = DAY_MS;
    let genesis = checked(charter);
    let lower = accept(&genesis, NOW, |c| {
        c.cooling_off_ms = 0;
        c.book.push(entry("one", 1));
    });
    assert_eq!(ready_at(&lower, 1), Some(NOW.plus(DAY_MS)));
    let raise = accept(&genesis, NOW, |c| {
        c.cooling_off_ms = 2 * DAY_MS;
        c.book.push(entry("one", 1));
    });
    assert_eq!(ready_at(&raise, 1), Some(NOW.plus(2 * DAY_MS)));
    // Nor does a later one shorten what was begun.
    let after_lower = accept(&raise, NOW, |c| c.cooling_off_ms = 0);
    assert_eq!(ready_at(&after_lower, 1), Some(NOW.plus(2 * DAY_MS)));
}

#[test]
fn a_replay_with_the_journaled_times_finds_the_same_book() {
    let mut charter = desk(GOVERN);
    charter.cooling_off_ms = DAY_MS;
    let run = || {
        let mut at = checked(charter.clone());
        for step in 0..4u8 {
            let now = NOW.plus(u64::from(step) * HOUR_MS);
            at = accept(&at, now, |c| {
                c.book.push(entry(&format!("e{step}"), step + 1))
            });
        }
        (1..=4).map(|b| ready_at(&at, b)).collect::<Vec<_>>()
    };
    let times = run();
    assert_eq!(times, run());
    assert_eq!(times[3], Some(NOW.plus(3 * HOUR_MS + DAY_MS)));
    // A proposal that comes into force begins the same wait as a charter that is followed.
    let genesis = checked(charter.clone());
    let add = |c: &mut Charter| c.book.push(entry("one", 1));
    let ready = Case::new(after(&genesis, add), &[22, 23]).ready(&genesis);
    assert_eq!(
        ready_at(&ready, 1),
        ready_at(&accept(&genesis, NOW, add), 1)
    );
}
