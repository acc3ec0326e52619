//! Tests of the whole way from a charter to a judgement.

mod approvals;
mod book;
mod budgets;
mod changes;
mod charters;
mod explain;
mod facts;
mod forms;
mod freezes;
mod gates;
mod governance;
mod grants;
mod index;
mod judgement;
mod missing;
mod outstanding;
mod plan;
mod privileges;
mod rules;
mod sets;
mod shape;
mod slots;
