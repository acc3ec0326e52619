//! The decision: charter, Cedar evaluation, obligations, budgets, and the [`Warrant`] that
//! judgement makes and signing consumes.
//!
//! The way through this crate: a [`Charter`] is text that people sign; [`verify_genesis`] and
//! [`verify_successor`] turn a signed one into a [`Constitution`], which cannot be wrong in any of
//! the ways that the checks name. [`Constitution::judge`] takes a [`quoin_chain::Decoded`] and
//! answers with a [`Judgement`]. There is no IO here, no clock and no entropy: time is a parameter.

mod approval;
mod budget;
mod cedar;
mod charter;
mod check;
mod conditions;
mod constitution;
mod denial;
mod explain;
mod facts;
mod freeze;
mod judge;
mod ledger;
mod notice;
mod obligation;
mod schema;
mod sets;
mod slots;
mod states;
mod warrant;
mod words;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod tests;

pub use approval::{
    APPROVALS_MAX, Approval, ApprovalFault, IgnoredApproval, ReliedRule, intent_hash,
};
pub use budget::{Budget, Measure, Mode, Scope, WINDOW_MS_MAX};
pub use charter::{
    Asset, BackupPolicy, BookEntry, BookKind, Charter, GOVERNOR_ROLE, GatewayEntry, KeyGrant,
    NodeEntry, Officer, Principal,
};
pub use check::CharterError;
pub use conditions::{Calm, Conditions};
pub use constitution::{Constitution, verify_genesis, verify_successor};
pub use denial::{Denial, DenialReason};
pub use explain::summary;
pub use facts::{
    CountView, FACTS_MAX, FEED_ROLE, Fact, FactKind, FactRule, FactStatement, FactStore, FactView,
    MarginView, PriceView,
};
pub use freeze::{
    FREEZE_ROLES, FREEZES_PER_PRINCIPAL_MAX, Freeze, FreezeLevel, FreezeScope, FreezeSet,
    FreezeTarget, REASON_BYTES_MAX, may_freeze,
};
pub use judge::{CLUSTER_ACCOUNT, Judgement, KeyFacts, Pending, Request, STAMP_HORIZON_MS};
pub use ledger::{Charge, Ledger, Reservation};
pub use notice::{Notices, Receipt, Subject, VETO_ROLES, Veto};
pub use obligation::{ApprovalsObligation, Obligations, Unmet};
pub use schema::schema_text;
pub use sets::SetStanding;
pub use slots::SlotTake;
pub use states::{state_after, state_name};
pub use warrant::Warrant;
pub use words::cluster_words;
