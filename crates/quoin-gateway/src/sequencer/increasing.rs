//! Strictly increasing numbers near the clock: `max(now, last + 1)`.
//!
//! Venues that take any greater number need no memory of what became of each: a number that is not
//! used leaves no hole. All that must survive a crash is that the next number is greater than every
//! one before, so a mark is written ahead, and numbers up to it come from memory.

use super::SequenceError;
use super::rule::{Ask, Change, Grant, Rule, Run, Settled, Standing};
use quoin_core::{RequestId, TimeMs};
use std::collections::{BTreeMap, VecDeque};

/// How far ahead of the last number the mark is written: ten seconds of numbers at the clock's pace,
/// so that a quiet key costs one write in ten seconds; it is also what a restart may skip.
pub const MARK_AHEAD: u64 = 10_000;
/// How many requests' numbers are remembered, so that a repeated request gets the same ones: what a
/// caller may have in flight, not what it ever had. A restart forgets them, which costs numbers only.
pub const RECENT_MAX: usize = 4_096;

/// What a venue accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// How far ahead of the clock a number may be.
    pub ahead_max_ms: u64,
}

/// The numbers of one key at one venue.
#[derive(Debug)]
pub(super) struct Increasing {
    bounds: Bounds,
    last: u64,
    mark: u64,
    recent: BTreeMap<RequestId, Run>,
    order: VecDeque<RequestId>,
}

impl Increasing {
    pub(super) fn within(bounds: Bounds) -> Self {
        Self {
            bounds,
            last: 0,
            mark: 0,
            recent: BTreeMap::new(),
            order: VecDeque::new(),
        }
    }

    fn least(&self, now: TimeMs) -> Result<u64, SequenceError> {
        let after = self.last.checked_add(1).ok_or(SequenceError::Exhausted)?;
        Ok(now.0.max(after))
    }
}

impl Rule for Increasing {
    fn expire(&self, _: TimeMs) -> Vec<Change> {
        Vec::new()
    }

    fn allocate(&self, now: TimeMs, ask: &Ask) -> Result<Vec<Change>, SequenceError> {
        let first = self.least(now)?;
        let more = ask.count.saturating_sub(1);
        let last = first.checked_add(more).ok_or(SequenceError::Exhausted)?;
        let ahead_ms = last.saturating_sub(now.0);
        let max_ms = self.bounds.ahead_max_ms;
        if ahead_ms > max_ms {
            return Err(SequenceError::TooFarAhead { ahead_ms, max_ms });
        }
        let mut changes = Vec::with_capacity(2);
        if last > self.mark {
            let upto = last.saturating_add(MARK_AHEAD);
            changes.push(Change::Mark { upto });
        }
        let run = Run {
            first,
            count: ask.count,
        };
        let request = ask.request;
        changes.push(Change::Drawn { request, run });
        Ok(changes)
    }

    /// A number is never given back, so there is nothing to say of it.
    fn settle(&self, settled: &Settled) -> Result<Vec<Change>, SequenceError> {
        match self.recent.get(&settled.request) {
            Some(_) => Ok(Vec::new()),
            None => Err(SequenceError::NotLeased),
        }
    }

    fn signed(&self, _: u64) -> Vec<Change> {
        Vec::new()
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Mark { upto } => self.mark = self.mark.max(*upto),
            Change::Drawn { request, run } => {
                let end = run.first.saturating_add(run.count.saturating_sub(1));
                self.last = self.last.max(end);
                self.recent.insert(*request, *run);
                self.order.push_back(*request);
                if self.order.len() > RECENT_MAX
                    && let Some(oldest) = self.order.pop_front()
                {
                    self.recent.remove(&oldest);
                }
            }
            _ => {}
        }
    }

    fn resume(&mut self) {
        self.last = self.last.max(self.mark);
    }

    fn granted(&self, request: RequestId) -> Option<Grant> {
        self.recent.get(&request).map(|run| Grant {
            runs: vec![*run],
            until: None,
        })
    }

    fn snapshot(&self) -> Vec<Change> {
        vec![Change::Mark { upto: self.mark }]
    }

    fn standing(&self, now: TimeMs) -> Standing {
        Standing {
            next: self.least(now).unwrap_or(u64::MAX),
            ..Standing::default()
        }
    }

    /// The venue does not say which numbers it has seen.
    fn is_idle(&self) -> bool {
        false
    }
}
