//! The conditions under which a request is judged: what a node knows beside charter and request.

use crate::facts::FactStore;
use crate::freeze::FreezeSet;
use crate::notice::Notices;
use crate::sets::SetStanding;

/// What a node knows beside the charter and the request.
#[derive(Clone, Copy, Debug)]
pub struct Conditions<'a> {
    /// The freezes.
    pub freezes: &'a FreezeSet,
    /// What feeds have said.
    pub facts: &'a FactStore,
    /// Vetoes and receipts.
    pub notices: &'a Notices,
    /// Whether the node holds fresh heartbeats of enough peers; without them: the corridor only.
    pub lease: bool,
    /// Whether its clock agrees with theirs; otherwise: the corridor only.
    pub clock: bool,
    /// How the request's signer set stands to the numbered set.
    pub set: SetStanding<'a>,
}

/// What the conditions of a calm day borrow.
#[derive(Debug, Default)]
pub struct Calm {
    freezes: FreezeSet,
    facts: FactStore,
    notices: Notices,
}

impl Calm {
    /// Nothing frozen, vetoed or known; lease and clock good; no signer set in force.
    #[must_use]
    pub const fn conditions(&self) -> Conditions<'_> {
        Conditions {
            freezes: &self.freezes,
            facts: &self.facts,
            notices: &self.notices,
            lease: true,
            clock: true,
            set: SetStanding::Moving,
        }
    }
}
