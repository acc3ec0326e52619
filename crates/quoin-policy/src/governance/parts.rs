//! The parts of a charter, as policies name what changes.

use crate::charter::Charter;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A part of a charter, as policies name what changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CharterPart {
    /// The cluster's name.
    Name,
    /// The nodes.
    Nodes,
    /// How many nodes sign, and what is promised against malicious ones.
    Threshold,
    /// The gateways.
    Gateways,
    /// Principals, their roles, credentials and grants.
    Principals,
    /// How many governors sign.
    GovernorQuorum,
    /// The budgets.
    Budgets,
    /// The assets.
    Assets,
    /// The address book.
    Book,
    /// The policies.
    Policies,
    /// The officers of backups.
    Backup,
    /// When facts are believed.
    Facts,
    /// The keys that may spend.
    Keys,
    /// Cooling-off, retention, and what is allowed of failure domains.
    Limits,
    /// Who may put new governors in place.
    Recovery,
}

impl CharterPart {
    /// The name that policies see in `context.changes`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Nodes => "nodes",
            Self::Threshold => "threshold",
            Self::Gateways => "gateways",
            Self::Principals => "principals",
            Self::GovernorQuorum => "governor_quorum",
            Self::Budgets => "budgets",
            Self::Assets => "assets",
            Self::Book => "book",
            Self::Policies => "policies",
            Self::Backup => "backup",
            Self::Facts => "facts",
            Self::Keys => "keys",
            Self::Limits => "limits",
            Self::Recovery => "recovery",
        }
    }
}

/// The parts in which two charters differ. Number, cluster and predecessor are no parts: they always
/// differ as they must.
#[must_use]
pub fn changed_parts(old: &Charter, new: &Charter) -> BTreeSet<CharterPart> {
    // Taken apart in full, so that a new field does not compile before it is given to a part.
    let Charter {
        version: _,
        number: _,
        cluster: _,
        previous: _,
        name,
        nodes,
        threshold,
        f_tol,
        dangerous_disjoint_signers,
        gateways,
        principals,
        governor_quorum,
        budgets,
        assets,
        book,
        policies,
        backup,
        facts,
        keys,
        cooling_off_ms,
        payload_retention_days,
        dangerous_single_failure_domain,
        recovery,
    } = new;
    let signing = (*threshold, *f_tol, *dangerous_disjoint_signers);
    let limits = (
        *cooling_off_ms,
        *payload_retention_days,
        *dangerous_single_failure_domain,
    );
    let differ = [
        (CharterPart::Name, *name != old.name),
        (CharterPart::Nodes, *nodes != old.nodes),
        (
            CharterPart::Threshold,
            signing != (old.threshold, old.f_tol, old.dangerous_disjoint_signers),
        ),
        (CharterPart::Gateways, *gateways != old.gateways),
        (CharterPart::Principals, *principals != old.principals),
        (
            CharterPart::GovernorQuorum,
            *governor_quorum != old.governor_quorum,
        ),
        (CharterPart::Budgets, *budgets != old.budgets),
        (CharterPart::Assets, *assets != old.assets),
        (CharterPart::Book, *book != old.book),
        (CharterPart::Policies, *policies != old.policies),
        (CharterPart::Backup, *backup != old.backup),
        (CharterPart::Facts, *facts != old.facts),
        (CharterPart::Keys, *keys != old.keys),
        (
            CharterPart::Limits,
            limits
                != (
                    old.cooling_off_ms,
                    old.payload_retention_days,
                    old.dangerous_single_failure_domain,
                ),
        ),
        (CharterPart::Recovery, *recovery != old.recovery),
    ];
    let differing = differ.into_iter().filter(|(_, differs)| *differs);
    differing.map(|(part, _)| part).collect()
}
