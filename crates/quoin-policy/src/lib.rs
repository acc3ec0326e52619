//! The decision: charter, Cedar evaluation, obligations, budgets, and the [`Warrant`] that
//! judgement makes and signing consumes.
//!
//! The way through this crate: a [`Charter`] is text that people sign; [`verify_genesis`] and
//! [`verify_successor`] turn a signed one into a [`Constitution`], which cannot be wrong in any of
//! the ways that the checks name. [`Constitution::judge`] takes a [`quoin_chain::Decoded`] and
//! answers with a [`Judgement`]. There is no IO here, no clock and no entropy: time is a parameter.

mod admits;
mod annotation;
mod approval;
mod budget;
mod cedar;
mod charter;
mod check;
mod clauses;
mod conditions;
mod constitution;
mod denial;
mod effect;
mod explain;
mod explanation;
mod facts;
mod freeze;
mod gates;
mod governance;
mod index;
mod judge;
mod ledger;
mod lineage;
#[cfg(feature = "measure")]
pub mod measure;
mod notice;
mod obligation;
mod outstanding;
mod permits;
mod persons;
mod plan;
mod probe;
mod reserve;
mod schema;
mod sets;
mod shape;
mod slots;
mod states;
mod succession;
mod suggest;
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
    Asset, BackupPolicy, BookEntry, BookKind, Charter, GOVERNOR_ROLE, GatewayEntry, KNOWN_ROLES,
    KeyGrant, NodeEntry, Officer, Principal, Recovery, WATCHER_ROLE,
};
pub use check::CharterError;
pub use conditions::{Calm, Conditions};
pub use constitution::Constitution;
pub use denial::{Denial, DenialReason};
pub use effect::{Decided, Flip, RecordedRequest, effect};
pub use explain::summary;
pub use explanation::{BudgetRoom, EXPLAINED_MAX, ExplainedRule, Explanation, Outcome};
pub use facts::{
    AHEAD_MS_MAX, BalanceView, CountView, FACTS_MAX, FEED_ROLE, Fact, FactFault, FactKind,
    FactRule, FactStatement, FactStore, FactView, MarginView, PriceView,
};
pub use freeze::{
    FREEZE_ROLES, FREEZES_PER_PRINCIPAL_MAX, Freeze, FreezeLevel, FreezeScope, FreezeSet,
    FreezeTarget, REASON_BYTES_MAX, may_freeze,
};
pub use governance::{
    CHARTER_APPROVAL_NOT_AFTER, CharterPart, GRANT_MS_MAX, ProposalEvidence, ProposalFault,
    ProposalPending, ProposalState, ProposalUnmet, changed_parts, charter_intent_hash,
    charter_request_id,
};
pub use judge::{CLUSTER_ACCOUNT, Judgement, KeyFacts, Pending, Request, STAMP_HORIZON_MS};
pub use ledger::{BUCKETS_MAX, CONSENTS_APART_MS, Charge, Ledger, Reservation, bucket_end};
pub use notice::{Notices, Receipt, StatementFault, Subject, VETO_ROLES, Veto};
pub use obligation::{ApprovalsObligation, Obligations, Unmet};
pub use outstanding::{Closes, DEADLINE_MARGIN_MS, OUTSTANDING_MAX, Outstanding, OutstandingSet};
pub use plan::{Change, DiffLine, Direction, GrantLine, PartPlan, Plan, grants, line_diff, plan};
pub use schema::{is_privileged, request_schema_text, schema_text};
pub use sets::{
    Electorate, REPORTED_SETS_MAX, SET_STEP_MAX, STICKY_TALLIES_MAX, SetAck, SetAdoption, SetFault,
    SetSpend, SetStanding, SetState, verify_set_ack,
};
pub use slots::{GAPS_MAX, SlotTake};
pub use states::{state_after, state_name};
pub use succession::{verify_genesis, verify_successor};
pub use suggest::{READER_ROLES, may_read_policies};
pub use warrant::Warrant;
pub use words::cluster_words;
