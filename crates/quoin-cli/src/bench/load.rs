//! `quoin bench load`: a steady load of signing requests on a cluster of its own, and what callers
//! notice when the shares of the key are refreshed and when they move to five nodes.

use super::flow::{Flow, Source, Tally};
use super::stock::{self, Watch};
use super::sustained;
use crate::cli::BenchLoadArgs;
use crate::client::keys::VerifiedKey;
use crate::client::{Patience, Session};
use crate::dev::cluster::{Cluster, Wish};
use crate::dev::{FIRST_GOVERNOR, Stop, Temporary, ensure_keys};
use crate::failure::Failure;
use crate::folder::Folder;
use crate::say;
use quoin_core::{CustodyMethod, Purpose, Scheme};
use serde::Serialize;
use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the load goes on after what happens in the middle of a phase: the nodes are then busy
/// with presignatures of the new epoch, and that is what callers may notice.
const AFTERMATH: Duration = Duration::from_secs(5);
/// How long the gateway may take until it has lent ids of the key.
const STOCK_LIMIT: Duration = Duration::from_secs(30);
/// How long a load runs before anything counts: connections come up and pools fill.
const WARM_UP: Duration = Duration::from_secs(5);
/// The phase of the warm-up.
const WARMING: usize = 0;

/// What happens in the middle of a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Refresh,
    GrowAndReshare,
}

/// The phases: name, and what happens in the middle.
const PHASES: [(&str, Option<Change>); 4] = [
    ("steady 2-of-3", None),
    ("refresh", Some(Change::Refresh)),
    ("reshare to 3-of-5", Some(Change::GrowAndReshare)),
    ("steady 3-of-5", None),
];

/// One row of the table.
#[derive(Debug, Serialize)]
pub struct Row {
    /// What was going on.
    pub phase: String,
    /// The rate that was asked for.
    pub rate_per_s: u32,
    /// How long it took.
    pub seconds: f64,
    /// How many requests were sent.
    pub sent: usize,
    /// How many got a signature that verifies.
    pub answered: usize,
    /// How many did not.
    pub failed: usize,
    /// Why, and how many each.
    pub failures: BTreeMap<String, usize>,
    /// The median latency.
    pub p50_us: u64,
    /// All but one in a hundred were at most this.
    pub p99_us: u64,
    /// The slowest.
    pub max_us: u64,
    /// Signatures each second, as they came while the phase lasted.
    pub achieved_per_s: f64,
    /// The least ids that the gateway had in stock; none when its metrics were never read.
    pub stock_min: Option<u64>,
    /// How long the change in the middle took.
    pub change_ms: Option<u64>,
}

impl Row {
    /// A row of a tally.
    pub fn of(phase: &str, rate: u32, took: Duration, tally: &Tally) -> Self {
        let (quantiles, max_us) = tally.latency();
        let answered = tally.took.len();
        let in_time = u32::try_from(tally.answered_in_time).unwrap_or(u32::MAX);
        let per_s = f64::from(in_time) / took.as_secs_f64();
        Self {
            phase: phase.to_owned(),
            rate_per_s: rate,
            seconds: (took.as_secs_f64() * 10.0).round() / 10.0,
            sent: tally.sent,
            answered,
            failed: tally.failed(),
            failures: tally.failures.clone(),
            p50_us: quantiles.p50_us,
            p99_us: quantiles.p99_us,
            max_us,
            achieved_per_s: (per_s * 10.0).round() / 10.0,
            stock_min: None,
            change_ms: None,
        }
    }
}

/// Runs the benchmark.
pub async fn run(args: BenchLoadArgs) -> Result<(), Failure> {
    let temporary = Temporary::new(None)?;
    let mut stop = Stop::listen()?;
    let wish = Wish::default();
    let mut cluster = tokio::select! {
        started = Cluster::start(&temporary.folder, &wish) => started?,
        () = stop.told() => return Err(Failure::interrupted()),
    };
    let measured = tokio::select! {
        measured = measure(&mut cluster, &args) => measured,
        () = stop.told() => Err(Failure::interrupted()),
    };
    cluster.stop().await;
    let rows = measured.inspect_err(|_| temporary.keep())?;
    if args.json {
        say::json(&rows)?;
    } else {
        show(&rows);
    }
    if args.sustained {
        return sustained::verdict(&rows);
    }
    let failed: usize = rows.iter().map(|r| r.failed).sum();
    if failed > 0 {
        temporary.keep();
        let sent: usize = rows.iter().map(|r| r.sent).sum();
        return Err(Failure::new(format!("{failed} of {sent} requests failed")));
    }
    Ok(())
}

async fn measure(cluster: &mut Cluster, args: &BenchLoadArgs) -> Result<Vec<Row>, Failure> {
    let session = cluster.ready().await?;
    let source = Arc::new(source(session, args.scheme.into()).await?);
    tokio::select! {
        rows = load(&source, args) => rows,
        // Starts the nodes that come when the cluster grows.
        _ = cluster.watch() => Err(Failure::new("the cluster is no longer watched")),
    }
}

async fn load(source: &Arc<Source>, args: &BenchLoadArgs) -> Result<Vec<Row>, Failure> {
    wait_for_stock(source).await?;
    if args.sustained {
        sustained::search(source, args).await
    } else {
        phases(source, args).await
    }
}

async fn source(session: Session, scheme: Scheme) -> Result<Source, Failure> {
    let keys = ensure_keys(&session).await?;
    let mut keys = keys.into_iter();
    let fits = |k: &VerifiedKey| {
        let public = k.public();
        k.custody() == CustodyMethod::Mpc
            && (public.scheme, public.purpose) == (scheme, Purpose::Trading)
    };
    let key = keys.find(fits);
    let key = key.ok_or_else(|| Failure::new("the dev cluster has no key of this scheme"))?;
    Source::new(Arc::new(session), key)
}

async fn wait_for_stock(source: &Source) -> Result<(), Failure> {
    let mut patience = Patience::of(STOCK_LIMIT);
    while stock::look(source).await? == 0 {
        if !patience.pause().await {
            return Err(Failure::new("the nodes have lent no presignature")
                .next("read `node-*/node.log` in the data folder"));
        }
    }
    Ok(())
}

async fn phases(source: &Arc<Source>, args: &BenchLoadArgs) -> Result<Vec<Row>, Failure> {
    let flow = Flow::start(Arc::clone(source), args.rate);
    let watch = Watch::start(Arc::clone(source), flow.phase());
    say::progress(format!("{} requests each second: warming up …", args.rate));
    tokio::time::sleep(WARM_UP).await;
    let mut times = Vec::new();
    for (place, (name, change)) in PHASES.iter().enumerate() {
        say::progress(format!("{name} …"));
        flow.enter(place + 1 + WARMING);
        let began = Instant::now();
        let took = middle(source, args, *change).await?;
        times.push((began.elapsed(), took));
    }
    let tallies = flow.end(PHASES.len() + 1).await?;
    let lows = watch.end();
    let counted = tallies.iter().enumerate().skip(WARMING + 1);
    let rows = PHASES.iter().zip(counted).zip(times);
    let rows = rows.map(|(((name, _), (phase, tally)), (took, change))| Row {
        stock_min: lows.get(&phase).copied(),
        change_ms: change.map(|c| u64::try_from(c.as_millis()).unwrap_or(u64::MAX)),
        ..Row::of(name, args.rate, took, tally)
    });
    Ok(rows.collect())
}

/// One phase: half of its time, the change, and the rest. Says how long the change took.
async fn middle(
    source: &Source,
    args: &BenchLoadArgs,
    change: Option<Change>,
) -> Result<Option<Duration>, Failure> {
    let whole = Duration::from_secs(u64::from(args.seconds));
    let Some(change) = change else {
        tokio::time::sleep(whole).await;
        return Ok(None);
    };
    tokio::time::sleep(whole / 2).await;
    let began = Instant::now();
    let folder = source.session().folder();
    let key = source.key().public().name.as_str();
    match change {
        Change::Refresh => {
            command(folder, &["key", "refresh", key, "--as", FIRST_GOVERNOR]).await?
        }
        Change::GrowAndReshare => {
            command(folder, &["dev", "grow", "--to", "5", "--threshold", "3"]).await?;
            command(folder, &["key", "reshare", key, "--as", FIRST_GOVERNOR]).await?;
        }
    }
    let took = began.elapsed();
    let rest = (whole / 2).saturating_sub(took).max(AFTERMATH);
    tokio::time::sleep(rest).await;
    Ok(Some(took))
}

/// Runs this same executable as an operator would, beside the load.
async fn command(folder: &Folder, args: &[&str]) -> Result<(), Failure> {
    let what = format!("`quoin {}` failed", args.join(" "));
    let executable = std::env::current_exe().map_err(Failure::from_error(what.clone()))?;
    let mut command = tokio::process::Command::new(executable);
    command.args(args).arg("--data").arg(folder.root());
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let ended = command.kill_on_drop(true).status().await;
    let status = ended.map_err(Failure::from_error(what.clone()))?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::new(what).because(status))
}

fn show(rows: &[Row]) {
    say::line(format!(
        "{:<18} {:>6} {:>7} {:>8} {:>6} {:>9} {:>9} {:>9} {:>8} {:>6} {:>9}",
        "phase",
        "rate",
        "sent",
        "answered",
        "failed",
        "p50 us",
        "p99 us",
        "max us",
        "per s",
        "stock",
        "change ms"
    ));
    let number = |n: Option<u64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
    for row in rows {
        say::line(format!(
            "{:<18} {:>6} {:>7} {:>8} {:>6} {:>9} {:>9} {:>9} {:>8.1} {:>6} {:>9}",
            row.phase,
            row.rate_per_s,
            row.sent,
            row.answered,
            row.failed,
            row.p50_us,
            row.p99_us,
            row.max_us,
            row.achieved_per_s,
            number(row.stock_min),
            number(row.change_ms)
        ));
    }
    for row in rows {
        for (why, count) in &row.failures {
            say::line(format!("{}: {count} × {why}", row.phase));
        }
    }
}
