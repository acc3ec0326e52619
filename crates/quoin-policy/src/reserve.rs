//! What a request holds of budgets and slots, in the worst case.

use crate::admits::{is_change, is_governance};
use crate::budget::{Budget, Measure, Mode, Scope};
use crate::constitution::Constitution;
use crate::denial::{Denial, DenialReason};
use crate::facts::FactStore;
use crate::gates::Latitude;
use crate::judge::KeyFacts;
use crate::ledger::{Charge, Reservation};
use crate::sets::SetStanding;
use crate::slots::SlotTake;
use quoin_chain::Decoded;
use quoin_core::cbor::Version;
use quoin_core::intent::{AssetAmount, RiskEffect};
use quoin_core::{Amount, AssetId, Intent, PrincipalId, Stamp, TimeMs};

/// What a reservation is made of.
pub(crate) struct Costs<'a> {
    pub(crate) decoded: &'a Decoded,
    pub(crate) stamp: &'a Stamp,
    pub(crate) key: Option<&'a KeyFacts>,
    pub(crate) at: TimeMs,
    pub(crate) facts: &'a FactStore,
    pub(crate) set: SetStanding<'a>,
    pub(crate) latitude: Latitude,
}

impl Constitution {
    /// What a permitted request holds.
    pub(crate) fn reservation(&self, costs: &Costs<'_>) -> Result<Reservation, Denial> {
        self.reserved(costs, Unpriced::Refused)
    }

    /// What a finished signature that this node may not have co-signed counts for. What no believed
    /// price can value counts nothing in dollars.
    ///
    /// # Errors
    /// When an amount overflows.
    pub fn finished_reservation(
        &self,
        decoded: &Decoded,
        stamp: &Stamp,
        key: Option<&KeyFacts>,
        at: TimeMs,
        facts: &FactStore,
    ) -> Result<Reservation, Denial> {
        let costs = Costs {
            decoded,
            stamp,
            key,
            at,
            facts,
            // Whose set it was is for its members to report.
            set: SetStanding::Moving,
            // Whether the others were in the corridor is theirs to count.
            latitude: Latitude::Open,
        };
        self.reserved(&costs, Unpriced::Skipped)
    }

    fn reserved(&self, costs: &Costs<'_>, unpriced: Unpriced) -> Result<Reservation, Denial> {
        let Costs { decoded, stamp, .. } = costs;
        let mut charges = Vec::new();
        // Budgets bound what is signed. A change signs nothing, and a full budget must not be what
        // keeps a key from being suspended.
        let action = &decoded.intent().action;
        let free = is_change(action);
        for budget in self.charter().budgets.iter().filter(|_| !free) {
            // No signer set makes a key, all nodes do.
            if budget.mode == Mode::Sticky && is_governance(action) {
                continue;
            }
            let Some(holder) = self.in_scope(&budget.scope, costs) else {
                continue;
            };
            let amount = match &budget.measure {
                Measure::Count => Amount::from(1u64),
                Measure::Asset(asset) => worst_case(decoded.intent(), asset)?,
                Measure::Usd => match self.worth(budget, costs) {
                    Ok(amount) => amount,
                    Err(denial) if unpriced == Unpriced::Refused => return Err(denial),
                    Err(_) => continue,
                },
            };
            if !amount.is_zero() {
                charges.push(Charge {
                    budget: budget.id.clone(),
                    measure: budget.measure.clone(),
                    amount,
                    holder: holder.cloned(),
                    window_ms: budget.window_ms,
                });
            }
        }
        charges.sort();
        Ok(Reservation {
            version: Version,
            request_id: stamp.request_id,
            binding: stamp.binding(),
            at: costs.at,
            not_after: stamp.not_after,
            charges,
            slot: SlotTake::of(decoded),
            set: match costs.set {
                SetStanding::Serving(set) => Some(set.clone()),
                SetStanding::Moving | SetStanding::OtherSet => None,
            },
        })
    }

    /// Whether a request is in a scope, and whose tally it is on when holders are counted apart.
    fn in_scope<'a>(&self, scope: &Scope, costs: &Costs<'a>) -> Option<Option<&'a PrincipalId>> {
        let asks = &costs.stamp.principal;
        let holds = |role| {
            let principal = self.principal(asks);
            principal.is_some_and(|p| p.roles.contains(role))
        };
        let inside = match scope {
            Scope::Org => true,
            Scope::Principal(id) => asks == id,
            Scope::Role(role) => holds(role),
            Scope::Account(account) => costs.decoded.account().is_same_place(account),
            Scope::Counterparty(address) => {
                costs.decoded.intent().action.counterparty() == Some(address)
            }
            Scope::Key(name) => costs.key.is_some_and(|key| key.name == *name),
            Scope::EachHolder(role) => return holds(role).then_some(Some(asks)),
            Scope::Corridor => costs.latitude == Latitude::Corridor,
        };
        inside.then_some(None)
    }

    /// What the action and its maximum fee may cost in millionths of a dollar, each rounded up.
    ///
    /// A limit that cannot be priced is not met, but for what must go on when feeds fail: what
    /// reduces risk, and a top-up inside the corridor that has a cap in units or in counts there.
    fn worth(&self, budget: &Budget, costs: &Costs<'_>) -> Result<Amount, Denial> {
        let intent = costs.decoded.intent();
        let mut sum = Amount::ZERO;
        for part in parts(intent) {
            let worth = costs.facts.usd_micro(self, part, costs.at);
            match worth.and_then(|worth| sum.checked_add(worth)) {
                Some(more) => sum = more,
                None if intent.risk == RiskEffect::Reduces => return Ok(Amount::ZERO),
                None if self.is_capped_top_up(costs) => return Ok(Amount::ZERO),
                None => return Err(unpriced(budget, part)),
            }
        }
        Ok(sum)
    }

    fn is_capped_top_up(&self, costs: &Costs<'_>) -> bool {
        let intent = costs.decoded.intent();
        let moved = intent.action.value().map(|value| &value.asset);
        let mut budgets = self.charter().budgets.iter();
        let capped = budgets.any(|budget| {
            budget.scope == Scope::Corridor
                && match &budget.measure {
                    Measure::Count => true,
                    Measure::Asset(asset) => Some(asset) == moved,
                    Measure::Usd => false,
                }
        });
        costs.latitude == Latitude::Corridor && self.is_top_up(intent) && capped
    }
}

/// What becomes of a charge in dollars that cannot be priced.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unpriced {
    Refused,
    Skipped,
}

/// All that leaves or may leave: value or allowance, and the maximum fee, which has the fee for
/// blobs in it.
fn parts(intent: &Intent) -> impl Iterator<Item = &AssetAmount> {
    intent.action.value().into_iter().chain(&intent.fee_max)
}

fn unpriced(budget: &Budget, part: &AssetAmount) -> Denial {
    let message = format!(
        "budget `{}` is in dollars, and no fresh and agreed price says what {} of `{}` are worth; a \
         limit that cannot be priced is not met",
        budget.id, part.amount, part.asset
    );
    Denial::by(DenialReason::Unpriced, budget.id.as_str(), message)
}

/// What an intent may cost of an asset: value or allowance, and the maximum fee.
fn worst_case(intent: &Intent, asset: &AssetId) -> Result<Amount, Denial> {
    let mut amounts = parts(intent).filter(|a| a.asset == *asset);
    let sum = amounts.try_fold(Amount::ZERO, |sum, a| sum.checked_add(a.amount));
    sum.ok_or_else(|| {
        Denial::at(
            DenialReason::AmountOverflow,
            "value",
            "value and maximum fee together are over 256 bits",
        )
    })
}
