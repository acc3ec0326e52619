//! `quoin bench load --sustained`: the highest rate at which no request fails, answers keep up with
//! requests, and the gateway never runs out of presignatures.

use super::flow::{Flow, Source};
use super::load::Row;
use super::stock::Watch;
use crate::cli::BenchLoadArgs;
use crate::failure::Failure;
use crate::say;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a trial runs before anything counts.
const SETTLE: Duration = Duration::from_secs(2);
/// The pause between two trials, in which the nodes fill their pools.
const REST: Duration = Duration::from_secs(3);
/// How often the rate is raised at most.
const RAISES_MAX: usize = 12;
/// How often the gap between the best rate that holds and the least that does not is halved.
const HALVINGS: usize = 3;
/// The slowest answer of a rate that holds: a queue that grows for a whole trial shows here.
const SLOWEST_US: u64 = 1_000_000;

/// Tries rates from the one given upwards, then between the last two.
pub async fn search(source: &Arc<Source>, args: &BenchLoadArgs) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    let (mut good, mut bad, mut rate) = (0, None, args.rate);
    for _ in 0..RAISES_MAX + HALVINGS {
        let row = trial(source, rate, args.seconds).await?;
        let held = holds(&row);
        rows.push(row);
        if held {
            good = good.max(rate);
        } else {
            bad = Some(rate);
        }
        match next(good, bad, args.rate) {
            Some(following) => rate = following,
            None => break,
        }
    }
    Ok(rows)
}

/// The rate to try next; none once the gap is small or nothing holds at all.
fn next(good: u32, bad: Option<u32>, first: u32) -> Option<u32> {
    match bad {
        None => Some(good + (good / 4).max(1)),
        Some(_) if good == 0 => None,
        Some(bad) => {
            let gap = bad.saturating_sub(good);
            let finest = (first / 10).max(1);
            (gap > finest).then(|| good + gap / 2)
        }
    }
}

async fn trial(source: &Arc<Source>, rate: u32, seconds: u32) -> Result<Row, Failure> {
    say::progress(format!("{rate} requests each second …"));
    let flow = Flow::start(Arc::clone(source), rate);
    let watch = Watch::start(Arc::clone(source), flow.phase());
    tokio::time::sleep(SETTLE).await;
    flow.enter(1);
    let began = Instant::now();
    tokio::time::sleep(Duration::from_secs(u64::from(seconds))).await;
    let took = began.elapsed();
    let tallies = flow.end(2).await?;
    let lows = watch.end();
    let tally = tallies.get(1).cloned().unwrap_or_default();
    tokio::time::sleep(REST).await;
    Ok(Row {
        stock_min: lows.get(&1).copied(),
        ..Row::of("sustained 2-of-3", rate, took, &tally)
    })
}

/// Whether a rate was sustained.
fn holds(row: &Row) -> bool {
    row.failed == 0 && row.stock_min.is_some_and(|s| s > 0) && row.max_us <= SLOWEST_US
}

/// Names the highest rate that held.
pub fn verdict(rows: &[Row]) -> Result<(), Failure> {
    let best = rows.iter().filter(|r| holds(r)).map(|r| r.rate_per_s).max();
    match best {
        Some(best) => {
            say::progress(format!("sustained: {best} signatures each second"));
            Ok(())
        }
        None => Err(Failure::new("not even the first rate was sustained")
            .next("begin lower, with `--rate`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::flow::Tally;

    #[test]
    fn the_search_rises_then_closes_in_and_ends() {
        assert_eq!(next(200, None, 200), Some(250));
        assert_eq!(next(400, Some(500), 200), Some(450));
        assert_eq!(next(450, Some(470), 200), None);
        assert_eq!(next(0, Some(200), 200), None);
    }

    #[test]
    fn a_rate_holds_only_without_failures_with_stock_left_and_without_a_growing_queue() {
        let row = |failed, stock_min, max_us| Row {
            failed,
            stock_min,
            max_us,
            ..Row::of("trial", 300, Duration::from_secs(1), &Tally::default())
        };
        assert!(holds(&row(0, Some(1), 900_000)));
        assert!(!holds(&row(1, Some(1), 900_000)));
        assert!(!holds(&row(0, Some(0), 900_000)));
        assert!(!holds(&row(0, None, 900_000)));
        assert!(!holds(&row(0, Some(1), 1_100_000)));
    }
}
