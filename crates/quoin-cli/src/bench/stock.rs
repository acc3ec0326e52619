//! The stock of presignature ids as the gateway's metrics show it, looked at while a load runs.

use super::flow::Source;
use crate::failure::Failure;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;

/// How often the metrics are read.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The metric's name.
const METRIC: &str = "quoin_gateway_presignatures";

/// Watches the stock of one key.
pub struct Watch {
    task: JoinHandle<()>,
    lows: Arc<std::sync::Mutex<BTreeMap<usize, u64>>>,
}

impl Watch {
    /// Watches until it is ended, by the phase that `phase` shows.
    pub fn start(source: Arc<Source>, phase: Arc<AtomicUsize>) -> Self {
        let lows = Arc::new(std::sync::Mutex::new(BTreeMap::new()));
        let kept = Arc::clone(&lows);
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(LOOK_EVERY);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                // One look that fails says nothing of the stock.
                let Ok(depth) = look(&source).await else {
                    continue;
                };
                let phase = phase.load(Ordering::Relaxed);
                let mut lows = kept
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner);
                let low = lows.entry(phase).or_insert(depth);
                *low = (*low).min(depth);
            }
        });
        Self { task, lows }
    }

    /// Ends the watch: the least depth of each phase.
    pub fn end(self) -> BTreeMap<usize, u64> {
        self.task.abort();
        let lows = self.lows.lock();
        lows.unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }
}

/// How many ids the gateway has in stock for the key.
pub async fn look(source: &Source) -> Result<u64, Failure> {
    let text = source.session().gateway().metrics().await?;
    let key = source.key().public().key.to_string();
    Ok(depth_of(&text, &key).unwrap_or(0))
}

/// The value of the metric for a key; none while the key is not listed.
fn depth_of(text: &str, key: &str) -> Option<u64> {
    let label = format!("key=\"{key}\"");
    let line = text.lines().find(|line| {
        let labels = line.strip_prefix(METRIC).and_then(|l| l.strip_prefix('{'));
        labels.is_some_and(|l| l.contains(&label))
    })?;
    line.rsplit(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_depth_is_of_the_key_and_not_of_its_refill_rate() {
        let text = "# TYPE quoin_gateway_presignatures gauge\n\
                    quoin_gateway_presignatures_refill_per_second{key=\"ab\"} 7.5\n\
                    quoin_gateway_presignatures{key=\"cd\",scheme=\"ecdsa\"} 3\n\
                    quoin_gateway_presignatures{key=\"ab\",scheme=\"ecdsa\"} 128\n";
        assert_eq!(depth_of(text, "ab"), Some(128));
        assert_eq!(depth_of(text, "ef"), None);
    }
}
