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
use quoin_core::{Action, Amount, AssetId, Intent, PrincipalId, Stamp, TimeMs};

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
        self.corridor_capped(costs)?;
        self.reserved(costs, Unpriced::Refused)
    }

    /// Refuses a top-up inside the corridor that no budget of the corridor caps: one in the asset
    /// that moves, or one in dollars, which refuses by itself what it cannot price.
    fn corridor_capped(&self, costs: &Costs<'_>) -> Result<(), Denial> {
        let intent = costs.decoded.intent();
        let Some(moved) = intent.action.value() else {
            return Ok(());
        };
        if costs.latitude != Latitude::Corridor || !self.is_top_up(intent) {
            return Ok(());
        }
        let caps = |budget: &Budget| {
            let measured = match &budget.measure {
                Measure::Asset(asset) => *asset == moved.asset,
                Measure::Usd => true,
                Measure::Count => false,
            };
            measured && budget.scope == Scope::Corridor
        };
        if self.charter().budgets.iter().any(caps) {
            return Ok(());
        }
        let message = format!(
            "no budget with the scope `corridor` caps what leaves of `{}`; a top-up is signed now \
             only within one in that asset or in dollars",
            moved.asset
        );
        Err(Denial::at(DenialReason::CorridorOnly, "value", message))
    }

    /// What a finished signature that this node may not have co-signed counts for. Of what it is made
    /// of, the parts that no believed price can value count nothing in dollars.
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
            if unpriced == Unpriced::Refused {
                self.not_opaque(budget, decoded.intent())?;
            }
            let amount = match &budget.measure {
                Measure::Count => Amount::from(1u64),
                Measure::Asset(asset) => worst_case(decoded.intent(), asset)?,
                Measure::Usd => self.worth(budget, costs, unpriced)?,
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
    /// A limit that cannot be priced is not met, but for what must go on when feeds fail: see
    /// [`Self::is_capped_in_units`]. Only the part without a price is left out then; the others count.
    fn worth(
        &self,
        budget: &Budget,
        costs: &Costs<'_>,
        without: Unpriced,
    ) -> Result<Amount, Denial> {
        let mut sum = Amount::ZERO;
        for part in parts(costs.decoded.intent()) {
            let skipped = without == Unpriced::Skipped || self.is_capped_in_units(costs, part);
            match costs.facts.usd_micro(self, part, costs.at) {
                Some(worth) => sum = sum.checked_add(worth).ok_or_else(over_256_bits)?,
                None if skipped => {}
                None => return Err(unpriced(budget, part)),
            }
        }
        Ok(sum)
    }

    /// Whether a part that no price is known of needs none, because a budget in its own units caps it:
    /// of what reduces risk any that the request is charged to, which caps its fee; of a top-up inside
    /// the corridor too, but what moves has to be capped by a budget of the corridor itself.
    fn is_capped_in_units(&self, costs: &Costs<'_>, part: &AssetAmount) -> bool {
        let intent = costs.decoded.intent();
        let top_up = costs.latitude == Latitude::Corridor && self.is_top_up(intent);
        if intent.risk != RiskEffect::Reduces && !top_up {
            return false;
        }
        let moves = top_up && intent.action.value() == Some(part);
        self.charter().budgets.iter().any(|budget| {
            budget.measure == Measure::Asset(part.asset.clone())
                && (!moves || budget.scope == Scope::Corridor)
                && self.in_scope(&budget.scope, costs).is_some()
        })
    }

    /// Refuses what acts on a listed token in a way that nothing explains, under a budget that should
    /// have counted it.
    ///
    /// # Security
    /// A call of such a contract can be an allowance by another name (`increaseAllowance`), and typed
    /// data for it a permit by another: what they let leave has no amount that anybody could charge.
    fn not_opaque(&self, budget: &Budget, intent: &Intent) -> Result<(), Denial> {
        let target = match &intent.action {
            Action::Call { target, .. } => Some(target),
            Action::TypedData {
                verifying_contract, ..
            } => verifying_contract.as_ref(),
            Action::Unexplained { target, .. } => target.as_ref(),
            _ => None,
        };
        let token = target.map(|target| AssetId {
            chain: intent.chain.clone(),
            token: Some(target.clone()),
        });
        let Some(token) = token.filter(|token| self.asset(token).is_some()) else {
            return Ok(());
        };
        let counted = match &budget.measure {
            Measure::Usd => true,
            Measure::Asset(asset) => *asset == token,
            Measure::Count => false,
        };
        if !counted {
            return Ok(());
        }
        let message = format!(
            "budget `{}` counts what leaves of `{token}`, and nobody can say how much of it this \
             lets leave",
            budget.id
        );
        Err(Denial::by(
            DenialReason::Unpriced,
            budget.id.as_str(),
            message,
        ))
    }
}

/// What becomes of a part that cannot be priced.
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
    sum.ok_or_else(over_256_bits)
}

fn over_256_bits() -> Denial {
    Denial::at(
        DenialReason::AmountOverflow,
        "value",
        "value and maximum fee together are over 256 bits",
    )
}
