//! Numbers without a hole: the nonces of an EVM account.
//!
//! The chain takes number n only after n − 1, so every number that is handed out has a story: held,
//! asked, used, or given back. Returned numbers come first in the next allocation, lowest first. A
//! number for which a signature may exist is never given back by itself, because two payments would
//! then wait for one slot.

use super::SequenceError;
use super::rule::{
    Ask, Change, Grant, NumberState, Open, Rule, Run, Settled, Settlement, Standing,
};
use quoin_core::{RequestId, TimeMs};
use std::collections::{BTreeMap, BTreeSet};

/// How long a number is held for a caller that asks nobody to sign: time to fill in a transaction
/// and to let a person read it.
pub const LEASE_MS: u64 = 10 * 60 * 1000;
/// How many numbers of one account may be leased and unsettled: chain nodes queue no more than
/// about this many of one account (geth: 64), and each blocks those after it.
pub const OPEN_MAX: u64 = 64;
/// The most numbers of one block of an account: no single caller takes all that there are.
pub const NONCES_MAX: u64 = OPEN_MAX / 4;
/// How many used numbers are remembered after the chain shows them, so that a repeated request gets
/// its number again.
pub const SIGNED_KEPT_MAX: usize = 1_024;
/// How many numbers may be signed and not shown by the chain: far beyond what any chain node queues of
/// one account, so whoever gets here signs what nobody broadcasts.
pub const UNSEEN_MAX: u64 = 4_096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    request: Option<RequestId>,
    state: NumberState,
    /// Whether the lease had other numbers too, so that they are signed under other request ids.
    block: bool,
}

/// The numbers of one account.
#[derive(Debug, Default)]
pub(super) struct Contiguous {
    /// The next number as the chain showed it last; `None` before it was asked.
    chain: Option<u64>,
    /// The lowest number that was never handed out.
    next: u64,
    /// What became of numbers; a number below `next` that is not here and not free is used.
    entries: BTreeMap<u64, Entry>,
    free: BTreeSet<u64>,
    requests: BTreeMap<RequestId, Vec<u64>>,
    open: u64,
    /// How many entries are below the chain's next number.
    filled: usize,
}

impl Contiguous {
    /// The numbers that are meant and in one of these states, ascending.
    fn of(&self, settled: &Settled, wanted: impl Fn(NumberState) -> bool) -> Vec<u64> {
        let numbers = self.requests.get(&settled.request).into_iter().flatten();
        let meant = numbers.filter(|n| settled.number.is_none_or(|only| only == **n));
        let matching = meant.filter(|n| self.entries.get(n).is_some_and(|e| wanted(e.state)));
        let mut matching: Vec<u64> = matching.copied().collect();
        matching.sort_unstable();
        matching
    }

    /// The numbers that the next allocation takes.
    fn draw(&self, next: u64, floor: u64, count: u64) -> Result<Vec<u64>, SequenceError> {
        let wanted = usize::try_from(count).unwrap_or(usize::MAX);
        let mut drawn: Vec<u64> = self.free.range(floor..).copied().take(wanted).collect();
        let mut candidate = next;
        while drawn.len() < wanted {
            // The last number of all is never a nonce (EIP-2681).
            if candidate == u64::MAX {
                return Err(SequenceError::Exhausted);
            }
            if !self.entries.contains_key(&candidate) {
                drawn.push(candidate);
            }
            candidate += 1;
        }
        drawn.sort_unstable();
        Ok(drawn)
    }

    fn set(&mut self, number: u64, entry: Entry) {
        self.free.remove(&number);
        self.forget(number);
        if entry.state.is_open() {
            self.open += 1;
        }
        if let Some(request) = entry.request {
            self.requests.entry(request).or_default().push(number);
        }
        self.entries.insert(number, entry);
        if self.is_filled(number) {
            self.filled = self.filled.saturating_add(1);
        }
    }

    fn forget(&mut self, number: u64) {
        let Some(entry) = self.entries.remove(&number) else {
            return;
        };
        if entry.state.is_open() {
            self.open = self.open.saturating_sub(1);
        }
        if self.is_filled(number) {
            self.filled = self.filled.saturating_sub(1);
        }
        if let Some(request) = entry.request
            && let Some(numbers) = self.requests.get_mut(&request)
        {
            numbers.retain(|n| *n != number);
            if numbers.is_empty() {
                self.requests.remove(&request);
            }
        }
    }

    fn change_state(&mut self, number: u64, state: NumberState) {
        let known = self.entries.get(&number).copied();
        let unknown = Entry {
            request: None,
            state,
            block: false,
        };
        let entry = known.unwrap_or(unknown);
        self.set(number, Entry { state, ..entry });
    }

    /// The chain's word: what is below is filled, by whomever.
    fn follow(&mut self, chain: u64) {
        let before = self.chain.unwrap_or(0);
        let chain = chain.max(before);
        let filled: Vec<u64> = self.entries.range(before..chain).map(|(n, _)| *n).collect();
        for number in &filled {
            self.change_state(*number, NumberState::Used);
        }
        self.free = self.free.split_off(&chain);
        self.chain = Some(chain);
        self.filled = self.filled.saturating_add(filled.len());
        while self.filled > SIGNED_KEPT_MAX {
            match self.entries.first_key_value().map(|(n, _)| *n) {
                Some(oldest) => self.forget(oldest),
                None => self.filled = 0,
            }
        }
        self.raise(chain);
    }

    /// Whether a number of a request may be signed, or was.
    fn is_at_work(&self, request: Option<RequestId>) -> bool {
        let numbers = request.and_then(|request| self.requests.get(&request));
        let mut entries = numbers.into_iter().flatten();
        entries.any(|n| self.entries.get(n).is_some_and(|e| e.state.may_be_signed()))
    }

    fn is_filled(&self, number: u64) -> bool {
        self.chain.is_some_and(|chain| number < chain)
    }

    fn raise(&mut self, next: u64) {
        self.next = self.next.max(next);
    }

    fn returned(&mut self, number: u64) {
        self.forget(number);
        if number < self.next && self.chain.is_none_or(|chain| number >= chain) {
            self.free.insert(number);
        }
    }

    /// Holes below used numbers: those that were given back, and those that callers jumped over with
    /// numbers of their own choice.
    fn gaps(&self) -> Vec<Run> {
        let mut used = self
            .entries
            .iter()
            .rev()
            .filter(|(_, e)| e.state.may_be_signed());
        let Some((top, _)) = used.next() else {
            return Vec::new();
        };
        let chain = self.chain.unwrap_or(0);
        let taken = self.entries.range(chain..);
        let taken = taken.filter(|(_, e)| e.state == NumberState::Taken);
        let mut below: BTreeSet<u64> = taken.map(|(n, _)| *n).collect();
        below.extend(self.free.range(..top));
        let mut gaps = Run::of(below.range(..self.next).copied());
        let mut from = self.next;
        for (number, entry) in self.entries.range(self.next..).filter(|(n, _)| *n <= top) {
            let upto = number.saturating_add(u64::from(entry.state == NumberState::Taken));
            if upto > from {
                gaps.push(Run {
                    first: from,
                    count: upto - from,
                });
            }
            from = number.saturating_add(1);
        }
        gaps
    }

    /// Open numbers, and all that the chain does not show, once it shows `floor`. Nothing below what it
    /// showed before is open.
    fn outstanding(&self, floor: u64) -> (u64, u64) {
        let chain = self.chain.unwrap_or(0).min(floor);
        let (mut crossing, mut crossing_open) = (0u64, 0u64);
        for (_, entry) in self.entries.range(chain..floor) {
            crossing += 1;
            crossing_open += u64::from(entry.state.is_open());
        }
        let all = self.entries.len().saturating_sub(self.filled) as u64;
        (
            self.open.saturating_sub(crossing_open),
            all.saturating_sub(crossing),
        )
    }
}

impl Rule for Contiguous {
    fn expire(&self, now: TimeMs) -> Vec<Change> {
        let ended = self
            .entries
            .iter()
            .filter(|(_, e)| matches!(e.state, NumberState::Held { until } if until <= now));
        // One number is bound to the request that is signed with it, so that it is known that
        // nobody was asked. The numbers of a block go with requests of other ids: once one of them
        // was seen in a stamp, its holder is at work, perhaps elsewhere too, and all are kept.
        let (mut back, mut kept) = (Vec::new(), Vec::new());
        for (number, entry) in ended {
            if entry.block && self.is_at_work(entry.request) {
                kept.push(*number);
            } else {
                back.push(*number);
            }
        }
        let mut changes = Vec::new();
        if !back.is_empty() {
            let runs = Run::of(back);
            changes.push(Change::Returned { runs });
        }
        if !kept.is_empty() {
            let runs = Run::of(kept);
            changes.push(Change::Asked { runs });
        }
        changes
    }

    fn allocate(&self, now: TimeMs, ask: &Ask) -> Result<Vec<Change>, SequenceError> {
        let mut changes = Vec::with_capacity(2);
        let floor = match ask.chain_next.max(self.chain) {
            Some(floor) => floor,
            None => return Err(SequenceError::ChainUnknown),
        };
        if self.chain.is_none_or(|chain| chain < floor) {
            changes.push(Change::Chain { next: floor });
        }
        let (open, unseen) = self.outstanding(floor);
        if unseen >= UNSEEN_MAX {
            return Err(SequenceError::TooManyUnseen { max: UNSEEN_MAX });
        }
        if open.saturating_add(ask.count) > OPEN_MAX {
            let max = OPEN_MAX;
            return Err(SequenceError::TooManyOpen { open, max });
        }
        let runs = Run::of(self.draw(self.next.max(floor), floor, ask.count)?);
        changes.push(Change::Leased {
            request: ask.request,
            runs,
            until: now.plus(LEASE_MS),
            block: ask.count > 1,
        });
        Ok(changes)
    }

    fn settle(&self, settled: &Settled) -> Result<Vec<Change>, SequenceError> {
        let open = self.of(settled, NumberState::is_open);
        if open.is_empty() {
            // Saying again that it is used, or asking again for what is signed, changes nothing.
            let known = !self.of(settled, |_| true).is_empty();
            return match settled.how {
                Settlement::Used | Settlement::Asked if known => Ok(Vec::new()),
                _ => Err(SequenceError::NotLeased),
            };
        }
        let asked = self.of(settled, |state| state == NumberState::Asked);
        let all_asked = asked.len() == open.len();
        let runs = Run::of(open);
        Ok(match settled.how {
            Settlement::Asked if all_asked => Vec::new(),
            Settlement::Asked => vec![Change::Asked { runs }],
            Settlement::Used => vec![Change::Used { runs }],
            Settlement::Taken => vec![Change::Taken { runs }],
            Settlement::Refused => vec![Change::Returned { runs }],
            Settlement::Unasked { until } => {
                let numbers = self.requests.get(&settled.request).into_iter().flatten();
                let mut entries = numbers.filter_map(|n| self.entries.get(n));
                vec![Change::Leased {
                    request: settled.request,
                    runs,
                    until,
                    block: entries.any(|e| e.block),
                }]
            }
            Settlement::Returned => match asked.first() {
                Some(number) => return Err(SequenceError::MayBeSigned { number: *number }),
                None => vec![Change::Returned { runs }],
            },
        })
    }

    fn block_of(&self, number: u64) -> Option<RequestId> {
        let entry = self.entries.get(&number)?;
        entry.request.filter(|_| entry.block)
    }

    fn signed(&self, number: u64) -> Vec<Change> {
        let entry = self.entries.get(&number);
        let used = entry.map_or(number < self.next && !self.free.contains(&number), |e| {
            e.state == NumberState::Used
        });
        // An account that was never allocated from starts at the chain's word, not at this.
        if used || self.chain.is_none() {
            return Vec::new();
        }
        let runs = Run::of([number]);
        vec![Change::Used { runs }]
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Chain { next } => self.follow(*next),
            Change::Next { next } => self.raise(*next),
            Change::Leased {
                request,
                runs,
                until,
                block,
            } => {
                for number in runs.iter().flat_map(|r| r.numbers()) {
                    let entry = Entry {
                        request: Some(*request),
                        state: NumberState::Held { until: *until },
                        block: *block,
                    };
                    self.set(number, entry);
                }
                // Numbers above `next` that callers chose themselves may lie between.
                while self.entries.contains_key(&self.next) && self.next < u64::MAX {
                    self.next += 1;
                }
            }
            Change::Asked { runs } => {
                for number in runs.iter().flat_map(|r| r.numbers()) {
                    self.change_state(number, NumberState::Asked);
                }
            }
            Change::Used { runs } => {
                for number in runs.iter().flat_map(|r| r.numbers()) {
                    self.change_state(number, NumberState::Used);
                }
            }
            Change::Taken { runs } => {
                for number in runs.iter().flat_map(|r| r.numbers()) {
                    self.change_state(number, NumberState::Taken);
                }
            }
            Change::Returned { runs } => {
                for number in runs.iter().flat_map(|r| r.numbers()) {
                    self.returned(number);
                }
            }
            Change::Mark { .. } | Change::Drawn { .. } => {}
        }
    }

    fn granted(&self, request: RequestId) -> Option<Grant> {
        let mut numbers = self.requests.get(&request)?.clone();
        numbers.sort_unstable();
        let ends = numbers
            .iter()
            .filter_map(|n| match self.entries.get(n)?.state {
                NumberState::Held { until } => Some(until),
                _ => None,
            });
        Some(Grant {
            until: ends.min(),
            runs: Run::of(numbers.iter().copied()),
        })
    }

    fn snapshot(&self) -> Vec<Change> {
        let mut changes = Vec::new();
        if let Some(next) = self.chain {
            changes.push(Change::Chain { next });
        }
        changes.push(Change::Next { next: self.next });
        if !self.free.is_empty() {
            let runs = Run::of(self.free.iter().copied());
            changes.push(Change::Returned { runs });
        }
        for (request, numbers) in &self.requests {
            let until = self.granted(*request).and_then(|g| g.until);
            let mut numbers = numbers.clone();
            numbers.sort_unstable();
            let entry = numbers.first().and_then(|n| self.entries.get(n));
            changes.push(Change::Leased {
                request: *request,
                runs: Run::of(numbers),
                until: until.unwrap_or(TimeMs(0)),
                block: entry.is_some_and(|e| e.block),
            });
        }
        let state = |wanted: NumberState| {
            let entries = self.entries.iter().filter(move |(_, e)| e.state == wanted);
            Run::of(entries.map(|(number, _)| *number))
        };
        changes.push(Change::Asked {
            runs: state(NumberState::Asked),
        });
        changes.push(Change::Used {
            runs: state(NumberState::Used),
        });
        let taken = state(NumberState::Taken);
        if !taken.is_empty() {
            changes.push(Change::Taken { runs: taken });
        }
        changes
    }

    fn standing(&self, _: TimeMs) -> Standing {
        let chain = self.chain.unwrap_or(0);
        let told = self.entries.range(chain..);
        let told = told.filter(|(_, e)| e.state != NumberState::Taken);
        let open = told.map(|(number, entry)| Open {
            number: *number,
            request: entry.request,
            state: entry.state,
        });
        Standing {
            next: self.next,
            chain_next: self.chain,
            gaps: self.gaps(),
            free: Run::of(self.free.iter().copied()),
            open: open.collect(),
        }
    }

    fn is_idle(&self) -> bool {
        let chain = self.chain.unwrap_or(0);
        self.free.is_empty() && self.next <= chain && self.entries.range(chain..).next().is_none()
    }
}
