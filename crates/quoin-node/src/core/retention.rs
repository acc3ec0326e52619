//! Retention: when the keys of old payloads are erased.
//!
//! The charter says for how many days payloads can be read. What a node still has to judge is
//! younger than any number that a charter may give, so nothing that matters is lost: reservations,
//! decisions, rules and hashes are not encrypted. Only whole days are erased, once each.

use super::{Node, Record, Turn};
use quoin_core::TimeMs;

/// One day.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// How many days are erased in one write, at most: a node that was off for years catches up.
const DAYS_AT_ONCE_MAX: u32 = 366;

/// Under which name the key of a day's payloads is sealed.
#[must_use]
pub fn payload_key_label(day: u32) -> String {
    format!("journal/{day}")
}

/// The days whose payloads are gone, and where they began.
#[derive(Default)]
pub(super) struct Retention {
    /// The day of this journal's first record.
    first: Option<u32>,
    /// Every day before it is erased.
    erased_before: u32,
}

impl Retention {
    /// Takes the time of a record that is replayed or written.
    pub(super) fn saw(&mut self, at: TimeMs) {
        let day = day_of(at);
        self.first = Some(self.first.map_or(day, |first| first.min(day)));
    }

    pub(super) fn erased(&mut self, before: u32) {
        self.erased_before = self.erased_before.max(before);
    }
}

fn day_of(at: TimeMs) -> u32 {
    u32::try_from(at.0 / DAY_MS).unwrap_or(u32::MAX)
}

impl Node {
    /// Erases the keys of the days that the charter no longer wants to be readable.
    pub(super) fn retain(&mut self, turn: &mut Turn<'_>) {
        let days = self.constitution.charter().payload_retention_days;
        let Some(days) = days.map(u32::from) else {
            return;
        };
        // What is erased by a clock that somebody has moved never comes back.
        if !self.clock_agrees(turn.now) {
            return;
        }
        let from = self.retention.first.unwrap_or_default();
        let from = from.max(self.retention.erased_before);
        let until = day_of(turn.now).saturating_sub(days);
        if until <= from {
            return;
        }
        let until = until.min(from.saturating_add(DAYS_AT_ONCE_MAX));
        self.retention.erased(until);
        let labels = (from..until).map(payload_key_label).collect();
        self.persist_erasing(turn, Record::PayloadsErased { before: until }, labels);
    }
}
