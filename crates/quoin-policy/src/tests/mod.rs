//! Tests of the whole way from a charter to a judgement.

mod approvals;
mod budgets;
mod changes;
mod charters;
mod forms;
mod judgement;
mod rules;
mod slots;
