//! The decision: charter, Cedar evaluation, obligations, budgets, the Warrant.
