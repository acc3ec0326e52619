//! Shadow mode: a proposed charter beside the one in force.
//!
//! Once enough governors have signed a proposal to compile it as the successor that it would be, the
//! requests that this node judges are explained under both, as they stand and with the same evidence:
//! who may ask, what policies say and what they demand first. Budgets are left out, because what is
//! left of one depends on what was decided before. What would come out otherwise is counted, and the
//! newest such cases are kept in words, for the people who have to approve the proposal.
//!
//! Nothing that is decided depends on it: both explanations take the request as it is, and what they
//! say is only counted.

use super::proposals::Proposals;
use quoin_core::{PrincipalId, RequestId, RuleId, TimeMs};
use quoin_policy::{Constitution, Outcome, Request, summary};
use std::collections::VecDeque;

/// How many cases are kept in words.
const FLIPS_MAX: usize = 32;
/// The longest of them; a summary quotes what payloads bring along.
const FLIP_BYTES_MAX: usize = 512;
/// How many requests are remembered, so that one that is asked for again is counted once.
const SEEN_MAX: usize = 256;
/// The shortest time between two shadowed requests. With a thousand rules a judgement costs about
/// half a millisecond, and the shadows of a full list must not take more than a tenth of a core.
const SHADOW_EVERY_MS: u64 = 100;
/// With so many writes under way the node is busy, and shadows nothing.
const WRITES_MAX: usize = 64;

/// A proposal as the constitution that it would be, and what it would have decided otherwise.
pub(super) struct Shadow {
    next: Constitution,
    judged: u64,
    flipped: u64,
    flips: VecDeque<String>,
    seen: VecDeque<RequestId>,
}

impl Shadow {
    pub(super) const fn new(next: Constitution) -> Self {
        Self {
            next,
            judged: 0,
            flipped: 0,
            flips: VecDeque::new(),
            seen: VecDeque::new(),
        }
    }

    /// How many requests were judged, how many of them otherwise, and the newest of those in words.
    pub(super) fn told(&self) -> (u64, u64, Vec<String>) {
        let flips = self.flips.iter().cloned().collect();
        (self.judged, self.flipped, flips)
    }

    fn observe(&mut self, now: &Verdict, request: &Request<'_>, what: &str) {
        let id = request.stamp.request_id;
        if self.seen.contains(&id) {
            return;
        }
        keep(&mut self.seen, id, SEEN_MAX);
        let then = Verdict::of(&self.next, request);
        self.judged = self.judged.saturating_add(1);
        if now.outcome == then.outcome {
            return;
        }
        self.flipped = self.flipped.saturating_add(1);
        let words = format!("{what}: {now}; with this charter {then}");
        keep(&mut self.flips, words, FLIPS_MAX);
    }
}

fn keep<T>(newest: &mut VecDeque<T>, item: T, max: usize) {
    if newest.len() >= max {
        newest.pop_front();
    }
    newest.push_back(item);
}

/// Judges a request under every proposal that could be compiled, unless the node is busy.
pub(super) fn observe(
    proposals: &mut Proposals,
    constitution: &Constitution,
    request: &Request<'_>,
    writes: usize,
) {
    let due = |last: TimeMs| request.now.since(last) >= SHADOW_EVERY_MS;
    let busy = writes >= WRITES_MAX || !proposals.shadowed.is_none_or(due);
    if busy || proposals.shadows().next().is_none() {
        return;
    }
    proposals.shadowed = Some(request.now);
    let now = Verdict::of(constitution, request);
    let intent = request.decoded.intent();
    let mut what = format!(
        "`{}` asks for a {}",
        request.stamp.principal,
        summary(constitution, intent)
    );
    let mut end = what.len().min(FLIP_BYTES_MAX);
    while !what.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    what.truncate(end);
    for shadow in proposals.shadows() {
        shadow.observe(&now, request, &what);
    }
}

/// What a charter says of a request.
struct Verdict {
    outcome: Outcome,
    rules: Vec<RuleId>,
}

impl Verdict {
    fn of(constitution: &Constitution, request: &Request<'_>) -> Self {
        // Nobody by this name reads policies, so the rules are not gone into one by one.
        let reader: Option<PrincipalId> = "no-reader".parse().ok();
        let reader = reader.as_ref().unwrap_or(&request.stamp.principal);
        let explained = constitution.explain(request, reader, |_| Vec::new());
        Self {
            outcome: explained.outcome,
            rules: explained.deciding,
        }
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.outcome {
            Outcome::Permitted => "permitted",
            Outcome::Pending => "permitted once more has happened",
            Outcome::Denied => "denied",
        })?;
        let rules: Vec<String> = self.rules.iter().map(|r| format!("`{r}`")).collect();
        if rules.is_empty() {
            return Ok(());
        }
        write!(f, " by {}", rules.join(", "))
    }
}
