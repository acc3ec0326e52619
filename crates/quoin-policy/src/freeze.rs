//! Freezes: statements that stop signing at once, and the set of those in force.
//!
//! One person freezes, and more people than that lift: a freeze is a statement with one signature,
//! an unfreeze is a request that every node judges. The set is the same on every node that has
//! taken the same statements, in whatever order. Source: the design, section 6, "freeze".

use crate::charter::Principal;
use crate::constitution::Constitution;
use crate::notice::{StatementFault, genuine, no_role};
use minicbor::{Decode, Encode};
use quoin_core::cbor::{self, Version};
use quoin_core::hash::tagged;
use quoin_core::payload::Unfreeze;
use quoin_core::tags::{self, Tag};
use quoin_core::{
    Action, Address, ChainId, ClusterId, FreezeId, Intent, KeyName, PrincipalId, RoleId, Signed,
    Statement, TimeMs,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The roles whose holders may freeze, each alone.
pub const FREEZE_ROLES: [&str; 3] = ["governor", "operator", "watcher"];
/// The most freezes of one principal that are in force at a time: one that stops everything is
/// enough, and memory has to have an end.
pub const FREEZES_PER_PRINCIPAL_MAX: usize = 64;
/// The longest reason.
pub const REASON_BYTES_MAX: usize = 200;

/// A principal's order to stop.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Freeze {
    /// The form's version.
    #[n(0)]
    #[serde(skip)]
    pub version: Version<1>,
    /// The cluster.
    #[n(1)]
    pub cluster: ClusterId,
    /// Drawn at random by whoever freezes; an unfreeze names it.
    #[n(2)]
    pub id: FreezeId,
    /// Who freezes.
    #[n(3)]
    pub principal: PrincipalId,
    /// What stops.
    #[n(4)]
    pub scope: FreezeScope,
    /// How much of it.
    #[n(5)]
    pub level: FreezeLevel,
    /// When, by the clock of whoever freezes; for people only.
    #[n(6)]
    pub at: TimeMs,
    /// Why, for people.
    #[n(7)]
    pub reason: String,
}

impl Statement for Freeze {
    const TAG: Tag = tags::FREEZE;
    const BYTES_MAX: usize = 1024;
}

impl Freeze {
    /// The hash of all that it says.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        tagged(tags::FREEZE, &[&cbor::encode(self)])
    }
}

/// What a freeze stops.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FreezeScope {
    /// Everything.
    #[n(0)]
    All,
    /// One key, on every chain.
    #[n(1)]
    Key(#[n(0)] KeyName),
    /// What the holders of a role ask for, such as a desk.
    #[n(2)]
    Role(#[n(0)] RoleId),
    /// What one principal asks for. A frozen principal has no corridor.
    #[n(3)]
    Principal(#[n(0)] PrincipalId),
    /// What has to do with one address: as recipient, spender or contract, as the contract of the token
    /// that moves, or as the one whose token it is.
    #[n(4)]
    Counterparty(#[n(0)] Address),
    /// One chain or venue.
    #[n(5)]
    Chain(#[n(0)] ChainId),
}

/// How much a freeze stops.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, Serialize, Deserialize,
)]
#[cbor(index_only)]
#[serde(rename_all = "kebab-case")]
pub enum FreezeLevel {
    /// All but the corridor.
    #[n(0)]
    Risk,
    /// All.
    #[n(1)]
    Hard,
}

/// What a request is about, as freezes see it.
#[derive(Clone, Copy, Debug)]
pub struct FreezeTarget<'a> {
    /// Who asks.
    pub principal: &'a PrincipalId,
    /// The roles that they hold.
    pub roles: &'a [RoleId],
    /// The key.
    pub key: Option<&'a KeyName>,
    /// Who receives money or rights.
    pub counterparty: Option<&'a Address>,
    /// The contract of the token that moves, or that an allowance is of.
    pub token: Option<&'a Address>,
    /// Whose token moves, when it is not the account's own.
    pub from: Option<&'a Address>,
    /// The chain.
    pub chain: &'a ChainId,
}

impl<'a> FreezeTarget<'a> {
    /// What a request of a principal with a key is about.
    #[must_use]
    pub fn of(
        (principal, roles): (&'a PrincipalId, &'a [RoleId]),
        key: Option<&'a KeyName>,
        intent: &'a Intent,
    ) -> Self {
        let value = intent.action.value();
        Self {
            principal,
            roles,
            key,
            counterparty: intent.action.counterparty(),
            token: value.and_then(|value| value.asset.token.as_ref()),
            from: match &intent.action {
                Action::TransferFrom { from, .. } => Some(from),
                _ => None,
            },
            chain: &intent.chain,
        }
    }
}

/// The freezes in force, and what has ended.
///
/// Freezes are added, lifted ids and suspended principals too, and those two are never taken away: a
/// freeze is in force unless its id was lifted or its principal suspended, whatever came first. So two
/// nodes that know the same agree, in whatever order they have learnt it. A freeze that is not in force
/// never will be again, so it is not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FreezeSet {
    /// By id and hash: who saw an id in somebody's freeze could mint a weaker one under it, and a
    /// node must not take that one in the other's place.
    in_force: BTreeMap<(FreezeId, [u8; 32]), Freeze>,
    lifted: BTreeSet<FreezeId>,
    suspended: BTreeSet<PrincipalId>,
}

/// Whether a principal may freeze at `now`, as the charter says.
#[must_use]
pub fn may_freeze(principal: &Principal, now: TimeMs) -> bool {
    !principal.is_expired(now) && FREEZE_ROLES.iter().any(|role| principal.holds(role))
}

impl FreezeSet {
    /// Adds a freeze that [`Constitution::accept_freeze`] has let through; whether it changed
    /// anything. One that was lifted before it came stays lifted.
    pub fn insert(&mut self, freeze: Freeze) -> bool {
        if self.is_over(&freeze) {
            return false;
        }
        let place = (freeze.id, freeze.hash());
        self.in_force.insert(place, freeze).is_none()
    }

    /// Whether adding the freeze would change nothing: it is in force already, or it is over.
    #[must_use]
    pub fn knows(&self, freeze: &Freeze) -> bool {
        self.is_over(freeze) || self.in_force.contains_key(&(freeze.id, freeze.hash()))
    }

    /// Adds what a permitted request lifts and whom it suspends.
    pub fn lift(&mut self, unfreeze: &Unfreeze) {
        self.lifted.extend(unfreeze.lifts.iter().copied());
        self.suspended.extend(unfreeze.suspends.iter().cloned());
        let (lifted, suspended) = (&self.lifted, &self.suspended);
        self.in_force
            .retain(|_, f| !lifted.contains(&f.id) && !suspended.contains(&f.principal));
    }

    /// Takes all that another set knows.
    pub fn join(&mut self, other: &Self) {
        self.lift(&Unfreeze {
            lifts: other.lifted.iter().copied().collect(),
            suspends: other.suspended.iter().cloned().collect(),
        });
        for freeze in other.in_force() {
            self.insert(freeze.clone());
        }
    }

    fn is_over(&self, freeze: &Freeze) -> bool {
        self.lifted.contains(&freeze.id) || self.suspended.contains(&freeze.principal)
    }

    /// The freezes in force.
    pub fn in_force(&self) -> impl Iterator<Item = &Freeze> {
        self.in_force.values()
    }

    /// How many freezes of a principal are in force.
    #[must_use]
    pub fn count_of(&self, principal: &PrincipalId) -> usize {
        self.in_force()
            .filter(|f| f.principal == *principal)
            .count()
    }

    /// The ids that were lifted.
    #[must_use]
    pub const fn lifted(&self) -> &BTreeSet<FreezeId> {
        &self.lifted
    }

    /// The principals whose freezes count no longer.
    #[must_use]
    pub const fn suspended(&self) -> &BTreeSet<PrincipalId> {
        &self.suspended
    }

    /// The hash of all that decides: what is in force, what was lifted, who is suspended. Two sets
    /// have the same one if and only if they are equal.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let in_force: Vec<[u8; 32]> = self.in_force().map(Freeze::hash).collect();
        let lifted: Vec<FreezeId> = self.lifted.iter().copied().collect();
        let suspended: Vec<&PrincipalId> = self.suspended.iter().collect();
        tagged(
            tags::FREEZE_SET,
            &[
                &cbor::encode(&in_force),
                &cbor::encode(&lifted),
                &cbor::encode(&suspended),
            ],
        )
    }

    /// The strictest freeze in force that covers the target; hard before risk, and among the risk
    /// ones one that leaves no corridor first.
    #[must_use]
    pub fn covering(&self, target: &FreezeTarget<'_>) -> Option<&Freeze> {
        let covering = self.in_force().filter(|f| f.scope.covers(target));
        covering.max_by_key(|f| (f.level, matches!(f.scope, FreezeScope::Principal(_))))
    }
}

impl FreezeSet {
    /// The strictest freeze of this principal itself.
    #[must_use]
    pub fn of_principal(&self, id: &PrincipalId) -> Option<&Freeze> {
        let of = |f: &&Freeze| matches!(&f.scope, FreezeScope::Principal(frozen) if frozen == id);
        self.in_force().filter(of).max_by_key(|f| f.level)
    }
}

impl Constitution {
    /// The freeze, once it is signed by a principal of this charter who may freeze, and there is room.
    ///
    /// One that the set knows passes again: the sender is to hear that it is known.
    ///
    /// # Errors
    /// When it is not, with the field at fault.
    pub fn accept_freeze<'a>(
        &self,
        signed: &'a Signed<Freeze>,
        freezes: &FreezeSet,
        now: TimeMs,
    ) -> Result<&'a Freeze, StatementFault> {
        let freeze = signed.unverified();
        let known = self.stated_by(freeze.cluster, &freeze.principal, now)?;
        if !may_freeze(known, now) {
            return Err(no_role(&freeze.principal, &FREEZE_ROLES));
        }
        let mut bytes = freeze.reason.bytes();
        let fits = freeze.reason.len() <= REASON_BYTES_MAX;
        if !fits || !bytes.all(|b| b == b' ' || b.is_ascii_graphic()) {
            let max = REASON_BYTES_MAX;
            return Err(StatementFault::BadReason { max });
        }
        if freezes.suspended.contains(&freeze.principal) {
            return Err(StatementFault::Suspended(freeze.principal.clone()));
        }
        let full = freezes.count_of(&freeze.principal) >= FREEZES_PER_PRINCIPAL_MAX;
        if full && !freezes.knows(freeze) {
            return Err(StatementFault::TooMany {
                principal: freeze.principal.clone(),
                max: FREEZES_PER_PRINCIPAL_MAX,
            });
        }
        genuine(known, signed)
    }
}

impl FreezeScope {
    /// Whether the target is in the scope.
    #[must_use]
    pub fn covers(&self, target: &FreezeTarget<'_>) -> bool {
        match self {
            Self::All => true,
            Self::Key(name) => target.key == Some(name),
            Self::Role(role) => target.roles.contains(role),
            Self::Principal(id) => target.principal == id,
            Self::Counterparty(address) => {
                let involved = [target.counterparty, target.token, target.from];
                involved.contains(&Some(address))
            }
            Self::Chain(chain) => target.chain == chain,
        }
    }
}
