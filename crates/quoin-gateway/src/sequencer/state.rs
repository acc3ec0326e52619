//! All sequences of one gateway: a state machine that writes down what it decides.

use super::name::SequenceId;
use super::rule::{Ask, Change, Grant, Rule, Settled, Standing};
use super::{NONCES_MAX, SequenceError};
use quoin_core::{RequestId, TimeMs};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The most numbers of one allocation: a second of a clock in milliseconds, so that a block does not
/// run far ahead of it. Contiguous sequences end at `NONCES_MAX`.
pub const BLOCK_MAX: u64 = 1_000;
/// How many sequences there may be: memory and file stay small, whatever callers make up.
pub const SEQUENCES_MAX: usize = 4_096;

/// A change of one sequence: what the file consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The sequence.
    pub sequence: SequenceId,
    /// What changes.
    pub what: Change,
}

/// All sequences.
///
/// Every method that changes anything appends the changes to `records`, in order. Whoever drives it
/// makes those of [`super::Durability::Before`] durable before it hands on what it was told.
#[derive(Debug, Default)]
pub struct Sequencer {
    sequences: BTreeMap<SequenceId, Box<dyn Rule>>,
}

impl Sequencer {
    /// The state that records lead to, after whoever wrote them has ended.
    #[must_use]
    pub fn replay(records: impl IntoIterator<Item = Record>) -> Self {
        let mut sequencer = Self::default();
        for record in records {
            let sequence = record.sequence;
            let rule = sequencer.sequences.entry(sequence);
            let rule = rule.or_insert_with_key(SequenceId::rule);
            rule.apply(&record.what);
        }
        for rule in sequencer.sequences.values_mut() {
            rule.resume();
        }
        sequencer
    }

    /// The records that lead to this state.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Record> {
        let all = self.sequences.iter().flat_map(|(sequence, rule)| {
            let changes = rule.snapshot().into_iter();
            changes.map(|what| Record {
                sequence: sequence.clone(),
                what,
            })
        });
        all.collect()
    }

    /// Hands out numbers. The same request id has the same numbers.
    ///
    /// # Errors
    /// When a block is empty or too large, a limit is reached, or the sequence ends.
    pub fn allocate(
        &mut self,
        now: TimeMs,
        sequence: &SequenceId,
        ask: &Ask,
        records: &mut Vec<Record>,
    ) -> Result<Grant, SequenceError> {
        let max = match sequence {
            SequenceId::Evm { .. } => NONCES_MAX,
            SequenceId::Venue { .. } => BLOCK_MAX,
        };
        if !(1..=max).contains(&ask.count) {
            return Err(SequenceError::Count { max });
        }
        let rule = self.rule(sequence)?;
        for change in rule.expire(now) {
            record(rule, sequence, change, records);
        }
        if let Some(grant) = rule.granted(ask.request) {
            let count = grant.runs.iter().map(|r| r.count).sum();
            if count == ask.count {
                return Ok(grant);
            }
            return Err(SequenceError::OtherCount { count });
        }
        for change in rule.allocate(now, ask)? {
            record(rule, sequence, change, records);
        }
        // A rule that decided to hand out numbers has recorded whose they are.
        rule.granted(ask.request).ok_or(SequenceError::NotLeased)
    }

    /// What became of the numbers of a request. Says whether that was news.
    ///
    /// # Errors
    /// When the request has no such numbers, or they may have been signed and cannot be given back.
    pub fn settle(
        &mut self,
        sequence: &SequenceId,
        settled: &Settled,
        records: &mut Vec<Record>,
    ) -> Result<bool, SequenceError> {
        let rule = self.sequences.get_mut(sequence);
        let rule = rule.ok_or(SequenceError::NotStarted)?;
        let changes = rule.settle(settled)?;
        let news = !changes.is_empty();
        for change in changes {
            record(rule, sequence, change, records);
        }
        Ok(news)
    }

    /// The request that has a number in a block.
    #[must_use]
    pub fn block_of(&self, sequence: &SequenceId, number: u64) -> Option<RequestId> {
        self.sequences.get(sequence)?.block_of(number)
    }

    /// A number was signed, whoever chose it. A sequence that nothing was allocated of ignores it: it
    /// starts at the chain's word.
    pub fn signed(&mut self, sequence: &SequenceId, number: u64, records: &mut Vec<Record>) {
        if let Some(rule) = self.sequences.get_mut(sequence) {
            for change in rule.signed(number) {
                record(rule, sequence, change, records);
            }
        }
    }

    /// How a sequence stands; `None` when nothing was allocated of it.
    #[must_use]
    pub fn standing(&self, now: TimeMs, sequence: &SequenceId) -> Option<Standing> {
        self.sequences.get(sequence).map(|rule| rule.standing(now))
    }

    /// All sequences that something was allocated of.
    pub fn names(&self) -> impl Iterator<Item = &SequenceId> {
        self.sequences.keys()
    }

    fn rule(&mut self, sequence: &SequenceId) -> Result<&mut Box<dyn Rule>, SequenceError> {
        if !self.sequences.contains_key(sequence) && self.sequences.len() >= SEQUENCES_MAX {
            let idle = self.sequences.iter().find(|(_, rule)| rule.is_idle());
            let idle = idle.map(|(sequence, _)| sequence.clone());
            let max = SEQUENCES_MAX;
            let idle = idle.ok_or(SequenceError::TooManySequences { max })?;
            self.sequences.remove(&idle);
        }
        let rule = self.sequences.entry(sequence.clone());
        Ok(rule.or_insert_with_key(SequenceId::rule))
    }
}

/// Applies a change and writes it down.
fn record(
    rule: &mut Box<dyn Rule>,
    sequence: &SequenceId,
    what: Change,
    records: &mut Vec<Record>,
) {
    rule.apply(&what);
    records.push(Record {
        sequence: sequence.clone(),
        what,
    });
}
