//! The ledger: what this node has co-signed and seen, against budgets, slots and request ids.
//!
//! Charges are kept in at most [`BUCKETS_MAX`] buckets of each window, so memory does not grow with
//! the rate of requests. A charge goes to the bucket's later end, and counts until the window has
//! passed since then: a little too long, never too short. Its time is that of the latest judgement
//! of its request, so a signature that leaves late counts late. An allowance counts whole from when
//! it is granted, and nothing gives it back within the window: that it was revoked, or used, on the
//! chain is not for a budget to know. The ledger lives in memory; a [`Reservation`] is its durable
//! form, which the node journals and hands back through [`Ledger::restore`].
//!
//! What a sticky budget adds is told in [`crate::SetState`].

use crate::budget::{Budget, Measure, Mode, WINDOW_MS_MAX};
use crate::constitution::Constitution;
use crate::denial::{Denial, DenialReason};
use crate::explanation::BudgetRoom;
use crate::judge::{KeyFacts, Request};
use crate::sets::{SetSpend, SetStanding, bounded};
use crate::slots::{SlotTake, Slots};
use minicbor::{Decode, Encode};
use quoin_core::cbor::Version;
use quoin_core::{
    Address, Amount, BudgetId, ChainId, CustodyMethod, PrincipalId, RequestBinding, RequestId,
    SignerSet, TimeMs,
};
use std::collections::{BTreeMap, BTreeSet};

/// The most buckets in which the charges of one window are kept.
pub const BUCKETS_MAX: usize = 64;

/// The most charges of one request: as many as a charter has budgets, and as many again that it was
/// charged to before, when budgets have come and gone. An encoding of them has a limit.
const CHARGES_MAX: usize = 512;

/// The end of the bucket that a charge made at `at` is kept in: the next whole multiple of a 63rd
/// of the window, rounded up. A window and a bucket together hold at most 64 such ends.
#[must_use]
pub fn bucket_end(at: TimeMs, window_ms: u64) -> TimeMs {
    let grain_ms = window_ms.div_ceil(BUCKETS_MAX as u64 - 1).max(1);
    TimeMs((at.0 / grain_ms).saturating_add(1).saturating_mul(grain_ms))
}

/// How far apart the consents of two signers to one signature can be: as long as a presignature
/// lives.
pub const CONSENTS_APART_MS: u64 = 24 * 60 * 60 * 1000;

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
    /// Whose tally it is, of a budget that counts every holder of a role apart.
    #[n(3)]
    pub holder: Option<PrincipalId>,
    /// The length of the budget's window when this was charged.
    #[n(4)]
    pub window_ms: u64,
}

impl Charge {
    fn key(&self) -> TallyKey {
        TallyKey {
            budget: self.budget.clone(),
            measure: self.measure.clone(),
            holder: self.holder.clone(),
        }
    }
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
    /// The numbered signer set that it was charged under, when there was one.
    #[n(7)]
    pub set: Option<SignerSet>,
}

impl Reservation {
    /// The largest encoding that a reader should accept.
    pub const BYTES_MAX: usize = 256 * 1024;

    /// The time from which its charges age.
    ///
    /// # Security
    /// Under a numbered signer set it is the latest at which the signature can come to be, not the
    /// time of this node's consent. A gateway may show a request to one member of the set today and
    /// to the other tomorrow: the signature is of tomorrow, and a node that let its consent age from
    /// today would give the room back within the signature's own window. A member consents before
    /// the stamp lapses and while it holds the presignature, which no node keeps for longer than
    /// [`CONSENTS_APART_MS`]. Strict budgets need none of this: there every node bounds itself.
    pub(crate) fn counts_from(&self) -> TimeMs {
        match self.set {
            None => self.at,
            Some(_) => self
                .at
                .max(self.not_after.min(self.at.plus(CONSENTS_APART_MS))),
        }
    }
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
    requests: BTreeMap<RequestId, Held>,
    tallies: BTreeMap<TallyKey, Tally>,
    slots: Slots,
}

/// What a request holds.
#[derive(Debug)]
struct Held {
    origin: Origin,
    reservation: Reservation,
    /// Every signer set that this node has co-signed it under: whoever asks again under another one
    /// may still finish it under the first.
    sets: BTreeSet<Option<SignerSet>>,
}

/// What is counted on its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct TallyKey {
    budget: BudgetId,
    measure: Measure,
    holder: Option<PrincipalId>,
}

/// What was charged to one budget.
#[derive(Debug, Default)]
struct Tally {
    /// What this node has co-signed.
    own: Window,
    /// The same by signer set; a request that was asked for under two is in both.
    sets: BTreeMap<Option<SignerSet>, Window>,
    /// What this node has co-signed or seen finished.
    all: Window,
    /// What signer sets without this node may have had signed before the set in force.
    foreign: Window,
}

impl Tally {
    fn prune(&mut self, window_ms: u64, now: TimeMs) {
        let windows = [&mut self.own, &mut self.all, &mut self.foreign];
        for window in windows.into_iter().chain(self.sets.values_mut()) {
            window.0.retain(|end, _| now.since(*end) < window_ms);
        }
        self.sets.retain(|_, window| !window.0.is_empty());
    }

    /// Whether nothing counts; what is one's own is also in all.
    fn is_empty(&self) -> bool {
        self.all.0.is_empty() && self.foreign.0.is_empty()
    }
}

/// The sums of charges by the ends of their buckets; `None` over 256 bits, which counts as too much.
#[derive(Debug, Default)]
struct Window(BTreeMap<TimeMs, Option<Amount>>);

impl Window {
    fn insert(&mut self, end: TimeMs, amount: Amount) {
        let bucket = self.0.entry(end).or_insert(Some(Amount::ZERO));
        *bucket = bucket.and_then(|sum| sum.checked_add(amount));
    }

    /// Takes a charge out again. A bucket over 256 bits stays so until its time has passed.
    fn remove(&mut self, end: TimeMs, amount: Amount) {
        let Some(bucket) = self.0.get_mut(&end) else {
            return;
        };
        *bucket = bucket.and_then(|sum| sum.checked_sub(amount));
        if *bucket == Some(Amount::ZERO) {
            self.0.remove(&end);
        }
    }

    /// The sum of what counts at `now`; `None` over 256 bits.
    fn live(&self, window_ms: u64, now: TimeMs) -> Option<Amount> {
        let mut buckets = self.buckets(window_ms, now);
        buckets.try_fold(Amount::ZERO, |sum, (_, bucket)| sum.checked_add(bucket?))
    }

    fn buckets(
        &self,
        window_ms: u64,
        now: TimeMs,
    ) -> impl Iterator<Item = (TimeMs, Option<Amount>)> {
        let all = self.0.iter();
        let live = all.filter(move |(end, _)| now.since(**end) < window_ms);
        live.map(|(end, sum)| (*end, *sum))
    }
}

/// With what a request is signed, as far as budgets care.
pub(crate) struct Spender<'a> {
    pub(crate) key: Option<&'a KeyFacts>,
    pub(crate) custody: CustodyMethod,
    pub(crate) set: SetStanding<'a>,
}

impl Spender<'_> {
    /// The most that this node co-signs of a budget.
    fn limit(&self, constitution: &Constitution, budget: &Budget) -> Result<Amount, Denial> {
        let refused = |message: String| {
            let id = budget.id.as_str();
            Err(Denial::by(DenialReason::WrongSignerSet, id, message))
        };
        match (budget.mode, self.custody, self.set) {
            (Mode::Strict, _, _) => Ok(node_limit(constitution, budget, self.key)),
            (Mode::Sticky, CustodyMethod::Local, _) => refused(format!(
                "budget `{}` is sticky, and a local key belongs to no signer set; give it a strict \
                 budget instead",
                budget.id
            )),
            (Mode::Sticky, _, SetStanding::Serving(_)) => Ok(budget.cap),
            (Mode::Sticky, _, SetStanding::Moving) => refused(format!(
                "budget `{}` is sticky, and no signer set is in force on this node; ask again once \
                 enough nodes have acknowledged one",
                budget.id
            )),
            (Mode::Sticky, _, SetStanding::OtherSet) => refused(format!(
                "budget `{}` is sticky, and another signer set than this is in force; ask again \
                 with that one",
                budget.id
            )),
        }
    }
}

/// The part of a strict budget that one node co-signs with a key.
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

/// For how long a charge counts: for the longest window, of a budget that the charter does not have.
fn window_of(constitution: &Constitution, id: &BudgetId, measure: &Measure) -> u64 {
    let mut budgets = constitution.charter().budgets.iter();
    let budget = budgets.find(|b| b.id == *id && b.measure == *measure);
    budget.map_or(WINDOW_MS_MAX, |b| b.window_ms)
}

/// Whether anything of what a reservation charges still counts.
fn counts_at(constitution: &Constitution, reservation: &Reservation, now: TimeMs) -> bool {
    reservation.charges.iter().any(|c| {
        let end = bucket_end(reservation.counts_from(), c.window_ms);
        now.since(end) < window_of(constitution, &c.budget, &c.measure)
    })
}

impl Ledger {
    /// An empty ledger.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what a permitted request needs, all of it or nothing.
    ///
    /// Asking again for the same request charges it once, from now on, and never less than before;
    /// what it then holds is returned, for the journal.
    pub(crate) fn reserve(
        &mut self,
        constitution: &Constitution,
        reservation: &Reservation,
        spender: &Spender<'_>,
    ) -> Result<Reservation, Denial> {
        let id = reservation.request_id;
        self.conflict(reservation)?;
        let (reservation, kept) = &self.with_held(constitution, reservation);
        if let Some(take) = &reservation.slot {
            self.slots.check(id, take)?;
        }
        for charge in reservation
            .charges
            .iter()
            .filter(|c| !kept.contains(&c.key()))
        {
            let budgets = &constitution.charter().budgets;
            let budget = budgets.iter().find(|b| b.id == charge.budget);
            if let Some(budget) = budget {
                let limit = spender.limit(constitution, budget)?;
                self.check(budget, limit, charge, reservation)?;
            }
        }
        if reservation.charges.len() > CHARGES_MAX {
            let message =
                "too many budgets have been charged for it by now; ask with a new request id";
            return Err(Denial::at(DenialReason::OverBudget, "request_id", message));
        }
        self.insert(Origin::Own, reservation);
        Ok(reservation.clone())
    }

    /// What a request holds once it is judged again: of every tally the higher of what it held and of
    /// what it asks for now, while the old charge counts; and the tallies that only the old charge is
    /// on, on which nothing new is asked for.
    ///
    /// # Security
    /// A partial signature may have left for the first judgement, and then the signature may exist for
    /// ever. It was charged what it could cost by the prices, budgets and roles of that time. Were a
    /// later judgement to replace this by less, whoever asks could have a payment signed at a high
    /// price and charged at a low one, or take it off a budget by having it judged once more outside
    /// of the budget's scope, such as out of the corridor. A node never gives back what may have been
    /// signed, so a charge only grows, and only [`Self::release`], for what was never signed, takes it
    /// off (decision 0007). The charge moves to the later time, as all of a request's do: a little too
    /// long, never too short.
    ///
    /// It is part of the reservation, not of the ledger alone, so that the journal's last record of a
    /// request says all of it.
    fn with_held(
        &self,
        constitution: &Constitution,
        reservation: &Reservation,
    ) -> (Reservation, BTreeSet<TallyKey>) {
        let (mut merged, mut kept) = (reservation.clone(), BTreeSet::new());
        let Some(held) = self.requests.get(&reservation.request_id) else {
            return (merged, kept);
        };
        // What was once charged under a set ages as such.
        merged.set = merged.set.or_else(|| held.reservation.set.clone());
        for old in &held.reservation.charges {
            let window_ms = window_of(constitution, &old.budget, &old.measure);
            let end = bucket_end(held.reservation.counts_from(), old.window_ms);
            if reservation.at.since(end) >= window_ms {
                continue;
            }
            let key = old.key();
            match merged.charges.iter_mut().find(|c| c.key() == key) {
                Some(new) => new.amount = new.amount.max(old.amount),
                None => {
                    merged.charges.push(old.clone());
                    kept.insert(key);
                }
            }
        }
        merged.charges.sort();
        (merged, kept)
    }

    /// What this node may still sign of each budget that a request would be charged to, for
    /// explanations: nothing of one whose mode refuses the request as it is.
    #[must_use]
    pub fn rooms(
        &self,
        constitution: &Constitution,
        request: &Request<'_>,
        reservation: &Reservation,
    ) -> Vec<BudgetRoom> {
        let spender = Spender {
            key: request.key,
            custody: request.stamp.custody,
            set: request.conditions.set,
        };
        let (now, empty) = (reservation.at, Tally::default());
        let room = |charge: &Charge| {
            let mut budgets = constitution.charter().budgets.iter();
            let budget = budgets.find(|b| b.id == charge.budget)?;
            let window_ms = budget.window_ms;
            let tally = self.tallies.get(&charge.key()).unwrap_or(&empty);
            let own = tally
                .own
                .live(window_ms, now)
                .and_then(|own| match budget.mode {
                    Mode::Strict => Some(own),
                    Mode::Sticky => own.checked_add(tally.foreign.live(window_ms, now)?),
                });
            let limit = spender.limit(constitution, budget).unwrap_or_default();
            let of_own = own.and_then(|own| limit.checked_sub(own));
            let all = tally.all.live(window_ms, now);
            let of_all = all.and_then(|all| budget.cap.checked_sub(all));
            Some(BudgetRoom {
                budget: budget.id.clone(),
                measure: charge.measure.clone(),
                wanted: charge.amount,
                left: of_own.unwrap_or_default().min(of_all.unwrap_or_default()),
            })
        };
        reservation.charges.iter().filter_map(room).collect()
    }

    /// Puts back a reservation of this node's own journal, however full the budgets are.
    pub fn restore(&mut self, reservation: &Reservation) {
        self.insert(Origin::Own, reservation);
    }

    /// Counts a finished signature that this node may not have co-signed; again is nothing.
    ///
    /// It counts against the whole cap, not against this node's own part. The node has verified
    /// the signature and made the reservation itself, by
    /// [`Constitution::finished_reservation`].
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
        if let Some(take) = &held.reservation.slot {
            self.slots.release(id, take);
        }
    }

    /// What this node knows to be spent or reserved in the window that ends at `now`, of all that a
    /// budget counts together; `None` over 256 bits.
    #[must_use]
    pub fn spent(&self, budget: &Budget, now: TimeMs) -> Option<Amount> {
        self.sum(budget, |tally| tally.all.live(budget.window_ms, now))
    }

    /// What this node has co-signed in the window that ends at `now`; `None` over 256 bits.
    #[must_use]
    pub fn spent_own(&self, budget: &Budget, now: TimeMs) -> Option<Amount> {
        self.sum(budget, |tally| tally.own.live(budget.window_ms, now))
    }

    /// What signer sets without this node may have had signed of a sticky budget before the set in
    /// force, as their members have reported; `None` over 256 bits.
    #[must_use]
    pub fn spent_foreign(&self, budget: &Budget, now: TimeMs) -> Option<Amount> {
        self.sum(budget, |tally| tally.foreign.live(budget.window_ms, now))
    }

    fn sum(&self, budget: &Budget, of: impl Fn(&Tally) -> Option<Amount>) -> Option<Amount> {
        let mut tallies = self.tallies_of(budget);
        tallies.try_fold(Amount::ZERO, |sum, (_, tally)| sum.checked_add(of(tally)?))
    }

    /// Whether the request holds anything.
    #[must_use]
    pub fn holds(&self, id: RequestId) -> bool {
        self.requests.contains_key(&id)
    }

    /// Whether anything of this account was ever taken.
    #[must_use]
    pub fn has_slots(&self, chain: &ChainId, account: &Address) -> bool {
        self.slots.has(chain, account)
    }

    /// Whether a request has taken this nonce of an account, or may have before what is remembered.
    #[must_use]
    pub fn knows_slot(&self, chain: &ChainId, account: &Address, nonce: u64) -> bool {
        self.slots.knows(chain, account, nonce)
    }

    /// Whether the very same payload has taken its slot before, under any request id: on the chain
    /// it executes once, so its signature is no second payment.
    #[must_use]
    pub fn has_taken(&self, take: &SlotTake) -> bool {
        self.slots.has_taken(take)
    }

    /// Whether what a reservation holds would change nothing at `now`: the request is counted
    /// already, the same payload has taken its slot, or every charge is past its window and nobody
    /// remembers the slot.
    #[must_use]
    pub fn is_spent(
        &self,
        constitution: &Constitution,
        reservation: &Reservation,
        now: TimeMs,
    ) -> bool {
        if self.requests.contains_key(&reservation.request_id) {
            return true;
        }
        let counts = counts_at(constitution, reservation, now);
        match &reservation.slot {
            Some(take) => self.has_taken(take) || (self.slots.is_forgotten(take) && !counts),
            None => !counts,
        }
    }

    /// The nonces of an account from `next` on, the lowest that is not executed, that no request has
    /// taken although one above them is; at most [`crate::GAPS_MAX`].
    #[must_use]
    pub fn slot_gaps(&self, chain: &ChainId, account: &Address, next: u64) -> Vec<u64> {
        self.slots.gaps(chain, account, next)
    }

    /// What this node reports of its sticky budgets when the signer set changes: all that it has
    /// co-signed itself, by signer set.
    #[must_use]
    pub fn spends(&self, constitution: &Constitution, now: TimeMs) -> Vec<SetSpend> {
        let budgets = constitution.charter().budgets.iter();
        let mut spends = Vec::new();
        for budget in budgets.filter(|b| b.mode == Mode::Sticky) {
            for (key, tally) in self.tallies_of(budget) {
                let mut of_tally = Vec::new();
                for (set, window) in &tally.sets {
                    let live = window.buckets(budget.window_ms, now);
                    // Over 256 bits is over every cap, and so is the largest amount.
                    let buckets: Vec<_> = live
                        .map(|(end, sum)| (end, sum.unwrap_or(Amount::MAX)))
                        .collect();
                    if !buckets.is_empty() {
                        of_tally.push(SetSpend {
                            budget: key.budget.clone(),
                            measure: key.measure.clone(),
                            holder: key.holder.clone(),
                            set: set.clone(),
                            buckets,
                        });
                    }
                }
                spends.extend(bounded(of_tally));
            }
        }
        spends
    }

    /// Takes what signer sets without this node may have spent before the set in force, instead of
    /// what was taken before.
    pub fn adopt(&mut self, foreign: &[SetSpend]) {
        for tally in self.tallies.values_mut() {
            tally.foreign = Window::default();
        }
        for spend in foreign {
            let key = TallyKey {
                budget: spend.budget.clone(),
                measure: spend.measure.clone(),
                holder: spend.holder.clone(),
            };
            let tally = self.tallies.entry(key).or_default();
            for (end, amount) in &spend.buckets {
                tally.foreign.insert(*end, *amount);
            }
        }
    }

    /// Forgets what no longer counts, for a node to call now and then. `now` never goes back.
    ///
    /// Charges of a budget that the charter no longer has stay for the longest window.
    pub fn sweep(&mut self, constitution: &Constitution, now: TimeMs) {
        let window_of = |id: &BudgetId, measure: &Measure| window_of(constitution, id, measure);
        for (key, tally) in &mut self.tallies {
            tally.prune(window_of(&key.budget, &key.measure), now);
        }
        self.tallies.retain(|_, tally| !tally.is_empty());
        // A request is known for as long as it counts, so that its finished signature, shown again,
        // is not counted again.
        self.requests.retain(|_, held| {
            let reservation = &held.reservation;
            counts_at(constitution, reservation, now) || now < reservation.not_after
        });
    }

    fn tallies_of(&self, budget: &Budget) -> impl Iterator<Item = (&TallyKey, &Tally)> {
        let first = TallyKey {
            budget: budget.id.clone(),
            measure: budget.measure.clone(),
            holder: None,
        };
        let same = first.clone();
        let from_first = self.tallies.range(first..);
        from_first
            .take_while(move |(key, _)| key.budget == same.budget && key.measure == same.measure)
    }

    fn conflict(&self, reservation: &Reservation) -> Result<(), Denial> {
        match self.requests.get(&reservation.request_id) {
            Some(held) if held.reservation.binding != reservation.binding => Err(Denial::at(
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

    /// Whether a charge fits, instead of what the request holds already.
    fn check(
        &self,
        budget: &Budget,
        limit: Amount,
        charge: &Charge,
        reservation: &Reservation,
    ) -> Result<(), Denial> {
        let (now, window_ms) = (reservation.at, budget.window_ms);
        let key = charge.key();
        let (empty, tally) = (Tally::default(), self.tallies.get(&key));
        let tally = tally.unwrap_or(&empty);
        let held = self.held(&reservation.request_id, &key, window_ms, now);
        let with = |live: Option<Amount>, held: Amount| {
            live?.checked_sub(held)?.checked_add(charge.amount)
        };
        let all = held.map_or(Amount::ZERO, |(_, amount)| amount);
        let own = match held {
            Some((Origin::Own, amount)) => amount,
            _ => Amount::ZERO,
        };
        let all = with(tally.all.live(window_ms, now), all);
        let spent = tally.own.live(window_ms, now);
        let own = with(spent, own).and_then(|own| match budget.mode {
            Mode::Strict => Some(own),
            Mode::Sticky => own.checked_add(tally.foreign.live(window_ms, now)?),
        });
        if own.is_some_and(|own| own <= limit) && all.is_some_and(|all| all <= budget.cap) {
            return Ok(());
        }
        let spent = spent.map(|s| s.to_string());
        Err(Denial::by(
            DenialReason::OverBudget,
            budget.id.as_str(),
            format!(
                "budget `{}` has no room: {} asked, {} co-signed by this node within {window_ms} \
                 ms, whose part of the cap of {} is {limit}",
                budget.id,
                charge.amount,
                spent.as_deref().unwrap_or("over 256 bits"),
                budget.cap,
            ),
        ))
    }

    /// What the request holds of a tally that counts at `now`.
    fn held(
        &self,
        id: &RequestId,
        key: &TallyKey,
        window_ms: u64,
        now: TimeMs,
    ) -> Option<(Origin, Amount)> {
        let held = self.requests.get(id)?;
        let mut charges = held.reservation.charges.iter();
        let charge = charges.find(|c| c.key() == *key)?;
        let end = bucket_end(held.reservation.counts_from(), charge.window_ms);
        (now.since(end) < window_ms).then_some((held.origin, charge.amount))
    }

    /// Replaces what the request holds.
    fn insert(&mut self, origin: Origin, reservation: &Reservation) {
        let id = reservation.request_id;
        let mut sets = BTreeSet::new();
        if let Some(held) = self.requests.remove(&id) {
            self.uncount(&held);
            sets = held.sets;
        }
        if origin == Origin::Own {
            sets.insert(reservation.set.clone());
        }
        for charge in &reservation.charges {
            let end = bucket_end(reservation.counts_from(), charge.window_ms);
            let tally = self.tallies.entry(charge.key()).or_default();
            tally.all.insert(end, charge.amount);
            if origin == Origin::Own {
                tally.own.insert(end, charge.amount);
            }
            for set in &sets {
                let of_set = tally.sets.entry(set.clone()).or_default();
                of_set.insert(end, charge.amount);
            }
        }
        if let Some(take) = &reservation.slot {
            self.slots.take(id, take);
        }
        let held = Held {
            origin,
            reservation: reservation.clone(),
            sets,
        };
        self.requests.insert(id, held);
    }

    fn uncount(&mut self, held: &Held) {
        let reservation = &held.reservation;
        for charge in &reservation.charges {
            let Some(tally) = self.tallies.get_mut(&charge.key()) else {
                continue;
            };
            let end = bucket_end(reservation.counts_from(), charge.window_ms);
            tally.all.remove(end, charge.amount);
            if held.origin == Origin::Own {
                tally.own.remove(end, charge.amount);
            }
            for set in &held.sets {
                if let Some(of_set) = tally.sets.get_mut(set) {
                    of_set.remove(end, charge.amount);
                }
            }
        }
    }
}
