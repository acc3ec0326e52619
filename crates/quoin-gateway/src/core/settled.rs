//! Final outcomes, kept so that a repeated request has the same answer; the oldest go first.

use super::outcome::Outcome;
use quoin_core::{PayloadHash, RequestId};
use std::collections::{BTreeMap, VecDeque};

/// Final outcomes by request, bounded by count.
#[derive(Debug)]
pub struct Settled {
    outcomes: BTreeMap<RequestId, (PayloadHash, Outcome)>,
    order: VecDeque<RequestId>,
    max: usize,
}

impl Settled {
    /// Room for `max` outcomes.
    #[must_use]
    pub const fn new(max: usize) -> Self {
        Self {
            outcomes: BTreeMap::new(),
            order: VecDeque::new(),
            max,
        }
    }

    /// The outcome of a request, and the payload that it was reached for.
    #[must_use]
    pub fn find(&self, request: RequestId) -> Option<(PayloadHash, &Outcome)> {
        self.outcomes.get(&request).map(|(hash, o)| (*hash, o))
    }

    /// Keeps the first final outcome of a request for ever; a later one changes nothing.
    pub fn keep(&mut self, request: RequestId, payload: PayloadHash, outcome: Outcome) {
        if self.outcomes.contains_key(&request) || self.max == 0 {
            return;
        }
        while self.order.len() >= self.max {
            if let Some(oldest) = self.order.pop_front() {
                self.outcomes.remove(&oldest);
            }
        }
        self.order.push_back(request);
        self.outcomes.insert(request, (payload, outcome));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_outcome_stays_and_the_oldest_request_goes() {
        let mut settled = Settled::new(2);
        let id = |i| RequestId([i; 16]);
        let hash = PayloadHash([0; 32]);
        settled.keep(id(1), hash, Outcome::NotFound);
        settled.keep(id(1), hash, Outcome::Overloaded);
        assert_eq!(settled.find(id(1)), Some((hash, &Outcome::NotFound)));
        settled.keep(id(2), hash, Outcome::NotFound);
        settled.keep(id(3), hash, Outcome::NotFound);
        assert_eq!(settled.find(id(1)), None);
        assert!(settled.find(id(2)).is_some() && settled.find(id(3)).is_some());
    }
}
