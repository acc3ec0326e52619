//! Budgets: caps over rolling windows, bound to scopes.
//!
//! A budget applies to every intent in its scope, whatever permit matched. How spending is counted
//! is the matter of [`crate::Ledger`]. Source: the design, section 6, "limits without a
//! coordinator".

use minicbor::{Decode, Encode};
use quoin_core::stamp::Account;
use quoin_core::{Address, Amount, AssetId, BudgetId, KeyName, PrincipalId, RoleId};
use serde::{Deserialize, Serialize};

/// The longest window of a budget: 31 days.
pub const WINDOW_MS_MAX: u64 = 31 * 24 * 60 * 60 * 1000;

/// A cap over a rolling window.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// The budget's id, distinct from the ids of policies too: a denial names either.
    #[n(0)]
    pub id: BudgetId,
    /// What the budget is bound to.
    #[n(1)]
    pub scope: Scope,
    /// What is counted.
    #[n(2)]
    pub measure: Measure,
    /// The most that may be signed in any window.
    #[n(3)]
    pub cap: Amount,
    /// The length of the rolling window.
    #[n(4)]
    pub window_ms: u64,
    /// How the cap is kept without a coordinator.
    #[n(5)]
    pub mode: Mode,
}

/// What a budget is bound to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Everything that the cluster signs.
    #[n(0)]
    Org,
    /// What one principal asks for.
    #[n(1)]
    Principal(#[n(0)] PrincipalId),
    /// What the holders of a role ask for together, such as a desk.
    #[n(2)]
    Role(#[n(0)] RoleId),
    /// What one account does.
    #[n(3)]
    Account(#[n(0)] Account),
    /// What goes to one recipient, spender or contract.
    #[n(4)]
    Counterparty(#[n(0)] Address),
    /// What one key signs, on any chain.
    #[n(5)]
    Key(#[n(0)] KeyName),
    /// What each holder of a role asks for, counted apart: a cap for every agent.
    #[n(6)]
    EachHolder(#[n(0)] RoleId),
    /// What is signed inside the corridor, while everything else is stopped.
    #[n(7)]
    Corridor,
}

/// What a budget counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// Intents.
    #[n(0)]
    Count,
    /// The smallest units of an asset, in the worst case: value, maximum fee, standing allowance.
    #[n(1)]
    Asset(#[n(0)] AssetId),
    /// Millionths of a dollar, over all chains and assets, in the worst case. What cannot be priced
    /// does not fit.
    #[n(2)]
    Usd,
}

/// How a cap is kept without a coordinator.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, Serialize, Deserialize,
)]
#[cbor(index_only)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Every node keeps its own share of the cap, which holds against t - 1 malicious nodes and
    /// any gateway.
    #[n(0)]
    Strict,
    /// Nodes serve one numbered signer set at a time, which spends up to the whole cap; this holds
    /// against `f_tol` malicious nodes. Nothing is spent while no set is in force, nor with local
    /// keys.
    #[n(1)]
    Sticky,
}

impl Budget {
    /// The most that one node co-signs in a window: `cap * (t - f) / (n - f)` with `f = t - 1`,
    /// rounded down.
    ///
    /// Every signature needs t nodes, so at least one of the `n - f` honest ones, and each of
    /// those co-signs at most this much: together they stay under the cap.
    #[must_use]
    pub fn node_limit(&self, nodes: usize, threshold: u8) -> Amount {
        let honest = (nodes as u64 + 1).saturating_sub(u64::from(threshold));
        self.cap.checked_div(honest).unwrap_or(Amount::ZERO)
    }
}
