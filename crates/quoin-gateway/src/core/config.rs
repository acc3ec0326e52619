//! The limits and times of a gateway, with the reason for each.

/// How the gateway paces itself. Every queue and every wait of the core is bounded by a field here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// From a request's arrival to its last possible answer.
    pub deadline_ms: u64,
    /// How long a set of signers may take before the next set is tried.
    pub attempt_timeout_ms: u64,
    /// From a key request's arrival to its last possible answer: a ceremony has several rounds.
    pub ceremony_deadline_ms: u64,
    /// How many presignature ids one lease asks for.
    pub lease_want: u16,
    /// Below how many ids a stock is filled up.
    pub lease_low: usize,
    /// How long after an unfruitful lease request the next one follows.
    pub lease_retry_ms: u64,
    /// How many requests may be under way at once; beyond, callers are told to slow down.
    pub in_flight_max: usize,
    /// How many lost presignatures one request survives.
    pub presignature_retries_max: u32,
    /// How many sets of signers whose answers did not combine one request survives.
    pub bad_sets_max: usize,
    /// For how long a node that let an attempt time out is the last choice.
    pub suspect_ms: u64,
    /// How many final outcomes are remembered, so that a repeated request has the same answer.
    pub settled_max: usize,
    /// How many requests may wait for approvals.
    pub pending_max: usize,
    /// How many finished signatures and tombstones are kept for a node that is away.
    pub backlog_max: usize,
    /// How many keys have their stock of presignature ids filled ahead of requests.
    pub prefetched_keys_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            deadline_ms: 10_000,
            attempt_timeout_ms: 1_500,
            ceremony_deadline_ms: 60_000,
            // At 300 signatures each second, what is left at the low mark lasts over 400 ms: longer
            // than a lender on a busy machine takes to answer.
            lease_want: 256,
            lease_low: 128,
            lease_retry_ms: 100,
            in_flight_max: 4_096,
            presignature_retries_max: 8,
            bad_sets_max: 3,
            suspect_ms: 5_000,
            settled_max: 100_000,
            pending_max: 10_000,
            backlog_max: 1_024,
            prefetched_keys_max: 256,
        }
    }
}
