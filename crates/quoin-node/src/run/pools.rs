//! How the pools fare: refill rate and seconds to empty, from their totals over the last minute.

use crate::core::PoolStat;
use quoin_core::{KeyId, ShareEpoch, SignerSet};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Over how long rates are taken, and how often they are told.
const SPAN: Duration = Duration::from_secs(60);

/// What is derived of one pool.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rates {
    refill_per_s: f64,
    used_per_s: f64,
    /// After how long the pool is empty if nothing changes; `None` when it does not shrink.
    empty_in_s: Option<f64>,
}

fn rates(before: (u64, u64), stat: &PoolStat, span: Duration) -> Rates {
    let per_s = |now: u64, then: u64| {
        let more = u32::try_from(now.saturating_sub(then)).unwrap_or(u32::MAX);
        f64::from(more) / span.as_secs_f64().max(1.0)
    };
    let refill_per_s = per_s(stat.made_total, before.0);
    let used_per_s = per_s(stat.taken_total, before.1);
    let left = u32::try_from(stat.free + stat.lent).unwrap_or(u32::MAX);
    let shrinks = used_per_s - refill_per_s;
    Rates {
        refill_per_s,
        used_per_s,
        empty_in_s: (shrinks > 0.0).then(|| f64::from(left) / shrinks),
    }
}

/// Tells once a minute how every pool fares.
#[derive(Default)]
pub(super) struct PoolLog {
    since: Option<Instant>,
    totals: BTreeMap<(KeyId, ShareEpoch, SignerSet), (u64, u64)>,
}

impl PoolLog {
    /// Whether a minute is over.
    pub(super) fn is_due(&self) -> bool {
        self.since.is_none_or(|since| since.elapsed() >= SPAN)
    }

    /// Tells, and begins the next minute.
    pub(super) fn tell(&mut self, stats: Vec<PoolStat>) {
        let span = self.since.replace(Instant::now()).map(|s| s.elapsed());
        let before = std::mem::take(&mut self.totals);
        for stat in stats {
            let id = (stat.key, stat.epoch, stat.set.clone());
            if let Some(span) = span {
                let then = before.get(&id).copied().unwrap_or_default();
                let rates = rates(then, &stat, span);
                let signers: Vec<u8> = stat.set.iter().map(|n| n.get()).collect();
                tracing::info!(
                    key = %stat.key,
                    epoch = stat.epoch.0,
                    ?signers,
                    free = stat.free,
                    lent = stat.lent,
                    refill_per_s = rates.refill_per_s,
                    used_per_s = rates.used_per_s,
                    empty_in_s = ?rates.empty_in_s,
                    "pool"
                );
            }
            self.totals.insert(id, (stat.made_total, stat.taken_total));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quoin_core::NodeIndex;

    fn stat(made_total: u64, taken_total: u64) -> PoolStat {
        let nodes = [1, 2].into_iter().filter_map(NodeIndex::new).collect();
        PoolStat {
            key: KeyId([1; 16]),
            epoch: ShareEpoch(0),
            set: SignerSet::from_unordered(nodes).unwrap(),
            free: 100,
            lent: 20,
            made_total,
            taken_total,
        }
    }

    #[test]
    fn a_pool_that_shrinks_says_when_it_is_empty() {
        let rates = rates((1_000, 500), &stat(1_060, 680), Duration::from_secs(60));
        assert_eq!((rates.refill_per_s, rates.used_per_s), (1.0, 3.0));
        assert_eq!(rates.empty_in_s, Some(60.0));
    }

    #[test]
    fn a_pool_that_is_refilled_as_fast_as_it_is_used_is_never_empty() {
        let rates = rates((0, 0), &stat(300, 300), Duration::from_secs(60));
        assert_eq!(rates.empty_in_s, None);
    }

    #[test]
    fn totals_are_told_once_a_minute() {
        let mut log = PoolLog::default();
        assert!(log.is_due());
        log.tell(vec![stat(1, 0)]);
        assert!(!log.is_due());
        assert_eq!(log.totals.len(), 1);
        log.tell(Vec::new());
        assert!(log.totals.is_empty());
    }
}
