//! The ledger: what this node has co-signed and seen, against budgets, slots and request ids.
//!
//! Every charge is kept on its own, so a rolling window is exact. A charge counts while
//! `now - at < window`, with `at` the time of the latest judgement of its request, so a signature
//! that leaves late counts late. The ledger lives in memory; a [`Reservation`] is its durable form,
//! which the node journals and hands back through [`Ledger::restore`].

use crate::budget::{Budget, Measure, WINDOW_MS_MAX};
use crate::constitution::Constitution;
use crate::denial::{Denial, DenialReason};
use crate::judge::KeyFacts;
use crate::slots::{SlotTake, Slots};
use minicbor::{Decode, Encode};
use quoin_core::cbor::Version;
use quoin_core::{Amount, BudgetId, RequestBinding, RequestId, TimeMs};
use std::collections::BTreeMap;

/// What one request costs one budget, in the worst case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Charge {
    /// The budget.
    #[n(0)]
    pub budget: BudgetId,
    /// What the budget counted when this was charged.
    #[n(1)]
    pub measure: Measure,
    /// How much.
    #[n(2)]
    pub amount: Amount,
}

/// All that one permitted request holds: the durable form of a judgement's effects.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Reservation {
    /// The form's version.
    #[n(0)]
    pub version: Version<1>,
    /// The request.
    #[n(1)]
    pub request_id: RequestId,
    /// All that the request id stands for.
    #[n(2)]
    pub binding: RequestBinding,
    /// When this node judged the request last.
    #[n(3)]
    pub at: TimeMs,
    /// Until when the request may be judged again.
    #[n(4)]
    pub not_after: TimeMs,
    /// What it costs each budget in whose scope it is, sorted.
    #[n(5)]
    pub charges: Vec<Charge>,
    /// The slot that it fills.
    #[n(6)]
    pub slot: Option<SlotTake>,
}

impl Reservation {
    /// The largest encoding that a reader should accept.
    pub const BYTES_MAX: usize = 128 * 1024;
}

/// Whether this node co-signed or was shown the finished signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Own,
    Finished,
}

/// This node's spending, slots and requests.
#[derive(Debug, Default)]
pub struct Ledger {
    requests: BTreeMap<RequestId, Reservation>,
    tallies: BTreeMap<(BudgetId, Measure), Tally>,
    slots: Slots,
}

/// What was charged to one budget.
#[derive(Debug, Default)]
struct Tally {
    own: Window,
    all: Window,
}

/// Charges in the order of their times.
#[derive(Debug)]
struct Window {
    entries: BTreeMap<(TimeMs, RequestId), Amount>,
    /// The sum of all entries; `None` over 256 bits, which counts as too much.
    total: Option<Amount>,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            total: Some(Amount::ZERO),
        }
    }
}

impl Window {
    fn insert(&mut self, at: TimeMs, id: RequestId, amount: Amount) {
        self.remove(at, id);
        self.entries.insert((at, id), amount);
        self.total = self.total.and_then(|t| t.checked_add(amount));
    }

    fn remove(&mut self, at: TimeMs, id: RequestId) {
        let Some(amount) = self.entries.remove(&(at, id)) else {
            return;
        };
        self.total = match self.total {
            Some(total) => total.checked_sub(amount),
            // The sum may fit again.
            None => sum(self.entries.values().copied()),
        };
    }

    /// Drops what counts no longer.
    fn prune(&mut self, window_ms: u64, now: TimeMs) {
        while let Some((&(at, id), _)) = self.entries.first_key_value() {
            if now.since(at) < window_ms {
                return;
            }
            self.remove(at, id);
        }
    }

    /// The sum of what counts at `now`; `None` over 256 bits.
    fn live(&self, window_ms: u64, now: TimeMs) -> Option<Amount> {
        let entries = self.entries.iter();
        let stale = entries.take_while(|((at, _), _)| now.since(*at) >= window_ms);
        match self.total {
            Some(total) => total.checked_sub(sum(stale.map(|(_, amount)| *amount))?),
            None => sum(self.entries.values().skip(stale.count()).copied()),
        }
    }

    /// The sum of what counts at `now`, with `amount` for a request instead of what it holds.
    fn with(
        &self,
        window_ms: u64,
        now: TimeMs,
        held: Option<(TimeMs, RequestId)>,
        amount: Amount,
    ) -> Option<Amount> {
        let held = held.filter(|(at, _)| now.since(*at) < window_ms);
        let held = held.and_then(|key| self.entries.get(&key));
        let others = self
            .live(window_ms, now)?
            .checked_sub(held.copied().unwrap_or(Amount::ZERO))?;
        others.checked_add(amount)
    }
}

/// The most that this node co-signs of a budget with a key.
///
/// # Security
/// A key keeps its holders and threshold when the charter changes, until it is dealt anew. The
/// bound on malicious nodes that a strict budget is made for is that of the key, and of the charter
/// for keys to come, so the lower share holds.
fn node_limit(constitution: &Constitution, budget: &Budget, key: Option<&KeyFacts>) -> Amount {
    let charter = constitution.charter();
    let limit = budget.node_limit(charter.nodes.len(), charter.threshold);
    key.map_or(limit, |key| {
        limit.min(budget.node_limit(usize::from(key.holders), key.threshold))
    })
}

fn sum(amounts: impl IntoIterator<Item = Amount>) -> Option<Amount> {
    let mut amounts = amounts.into_iter();
    amounts.try_fold(Amount::ZERO, Amount::checked_add)
}

impl Ledger {
    /// An empty ledger.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what a permitted request needs, all of it or nothing.
    ///
    /// Asking again for the same request charges it once, from now on.
    pub(crate) fn reserve(
        &mut self,
        constitution: &Constitution,
        reservation: &Reservation,
        key: Option<&KeyFacts>,
    ) -> Result<(), Denial> {
        let id = reservation.request_id;
        self.conflict(reservation)?;
        if let Some(take) = &reservation.slot {
            self.slots.check(id, take)?;
        }
        for charge in &reservation.charges {
            let budgets = &constitution.charter().budgets;
            let budget = budgets.iter().find(|b| b.id == charge.budget);
            if let Some(budget) = budget {
                let limit = node_limit(constitution, budget, key);
                self.check(budget, limit, charge, reservation)?;
            }
        }
        self.insert(Origin::Own, reservation);
        Ok(())
    }

    /// Puts back a reservation of this node's own journal, however full the budgets are.
    pub fn restore(&mut self, reservation: &Reservation) {
        self.insert(Origin::Own, reservation);
    }

    /// Counts a finished signature that this node may not have co-signed; again is nothing.
    ///
    /// It counts against the whole cap, not against this node's own part. The node has verified
    /// the signature and made the reservation itself, by [`Constitution::reservation`].
    ///
    /// # Errors
    /// When the request id stands for another request already: a malicious quorum, or a defect.
    pub fn finished(&mut self, reservation: &Reservation) -> Result<(), Denial> {
        self.conflict(reservation)?;
        if !self.requests.contains_key(&reservation.request_id) {
            self.insert(Origin::Finished, reservation);
        }
        Ok(())
    }

    /// Gives back what a request holds.
    ///
    /// # Security
    /// Never for what may have been signed. The caller guarantees that this node has produced no
    /// partial signature for the request, in this life or any before it, and never will: that its
    /// journal holds no consumption for it, and that its own tombstone is durable. What a partial
    /// may have become stays charged until its window has passed, even when a quorum of tombstones
    /// voids the request, because a signature that still appears would not be counted.
    pub fn release(&mut self, id: RequestId) {
        let Some(held) = self.requests.remove(&id) else {
            return;
        };
        self.uncount(&held);
        if let Some(take) = &held.slot {
            self.slots.release(id, take);
        }
    }

    /// What this node knows to be spent or reserved in the window that ends at `now`; `None` over
    /// 256 bits.
    #[must_use]
    pub fn spent(&self, budget: &Budget, now: TimeMs) -> Option<Amount> {
        match self.tally(budget) {
            Some(tally) => tally.all.live(budget.window_ms, now),
            None => Some(Amount::ZERO),
        }
    }

    /// What this node has co-signed in the window that ends at `now`; `None` over 256 bits.
    #[must_use]
    pub fn spent_own(&self, budget: &Budget, now: TimeMs) -> Option<Amount> {
        match self.tally(budget) {
            Some(tally) => tally.own.live(budget.window_ms, now),
            None => Some(Amount::ZERO),
        }
    }

    /// Whether the request holds anything.
    #[must_use]
    pub fn holds(&self, id: RequestId) -> bool {
        self.requests.contains_key(&id)
    }

    /// Forgets what no longer counts, for a node to call now and then. `now` never goes back.
    ///
    /// Charges of a budget that the charter no longer has stay for the longest window.
    pub fn sweep(&mut self, constitution: &Constitution, now: TimeMs) {
        let budgets = &constitution.charter().budgets;
        for ((id, measure), tally) in &mut self.tallies {
            let budget = budgets
                .iter()
                .find(|b| b.id == *id && b.measure == *measure);
            let window_ms = budget.map_or(WINDOW_MS_MAX, |b| b.window_ms);
            tally.own.prune(window_ms, now);
            tally.all.prune(window_ms, now);
        }
        self.tallies.retain(|_, t| !t.all.entries.is_empty());
        let tallies = &self.tallies;
        self.requests.retain(|id, held| {
            let counts = held.charges.iter().any(|c| {
                let tally = tallies.get(&(c.budget.clone(), c.measure.clone()));
                tally.is_some_and(|t| t.all.entries.contains_key(&(held.at, *id)))
            });
            counts || now < held.not_after
        });
    }

    fn tally(&self, budget: &Budget) -> Option<&Tally> {
        let key = (budget.id.clone(), budget.measure.clone());
        self.tallies.get(&key)
    }

    fn conflict(&self, reservation: &Reservation) -> Result<(), Denial> {
        match self.requests.get(&reservation.request_id) {
            Some(held) if held.binding != reservation.binding => Err(Denial::at(
                DenialReason::RequestConflict,
                "request_id",
                format!(
                    "request `{}` stands for another request already: payload, principal, key, \
                     account, custody, purpose and `not_after` have to stay; choose a new request id",
                    reservation.request_id
                ),
            )),
            _ => Ok(()),
        }
    }

    fn check(
        &self,
        budget: &Budget,
        limit: Amount,
        charge: &Charge,
        reservation: &Reservation,
    ) -> Result<(), Denial> {
        let (now, id) = (reservation.at, reservation.request_id);
        let held = self.requests.get(&id).map(|held| (held.at, id));
        let empty = Tally::default();
        let tally = self.tally(budget).unwrap_or(&empty);
        let total = |window: &Window| window.with(budget.window_ms, now, held, charge.amount);
        let (own, all) = (total(&tally.own), total(&tally.all));
        let fits = own.is_some_and(|own| own <= limit) && all.is_some_and(|all| all <= budget.cap);
        if fits {
            return Ok(());
        }
        let spent = self.spent_own(budget, now).map(|s| s.to_string());
        Err(Denial::by(
            DenialReason::OverBudget,
            budget.id.as_str(),
            format!(
                "budget `{}` has no room: {} asked, {} co-signed by this node within {} ms, whose \
                 part of the cap of {} is {limit}",
                budget.id,
                charge.amount,
                spent.as_deref().unwrap_or("over 256 bits"),
                budget.window_ms,
                budget.cap,
            ),
        ))
    }

    /// Replaces what the request holds.
    fn insert(&mut self, origin: Origin, reservation: &Reservation) {
        let id = reservation.request_id;
        if let Some(held) = self.requests.remove(&id) {
            self.uncount(&held);
        }
        for charge in &reservation.charges {
            let key = (charge.budget.clone(), charge.measure.clone());
            let tally = self.tallies.entry(key).or_default();
            tally.all.insert(reservation.at, id, charge.amount);
            if origin == Origin::Own {
                tally.own.insert(reservation.at, id, charge.amount);
            }
        }
        if let Some(take) = &reservation.slot {
            self.slots.take(id, take);
        }
        self.requests.insert(id, reservation.clone());
    }

    fn uncount(&mut self, held: &Reservation) {
        for charge in &held.charges {
            let key = (charge.budget.clone(), charge.measure.clone());
            if let Some(tally) = self.tallies.get_mut(&key) {
                tally.own.remove(held.at, held.request_id);
                tally.all.remove(held.at, held.request_id);
            }
        }
    }
}
