//! Tests of the whole way from a charter to a judgement.

mod approvals;
mod budgets;
mod changes;
mod charters;
mod explain;
mod forms;
mod freezes;
mod governance;
mod grants;
mod index;
mod judgement;
mod missing;
mod plan;
mod rules;
mod sets;
mod slots;
