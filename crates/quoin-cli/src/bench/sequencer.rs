//! `quoin bench sequencer`: how many nonces a second are handed out, over the file that a gateway
//! uses, by threads of one process and by clients over HTTP. Every row checks what it was told: a
//! number that comes twice, or a hole, ends the benchmark.

use crate::cli::BenchSequencerArgs;
use crate::client::Gateway;
use crate::clock;
use crate::dev::Temporary;
use crate::failure::Failure;
use crate::{folder, say};
use quoin_core::{Address, RequestId};
use quoin_gateway::faces::{Sequences, serve_sequences};
use quoin_gateway::sequencer::{Ask, SequenceId, Settled, Settlement, Store};
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The size of a block in the rows of blocks.
const BLOCK: u64 = 64;
/// How long a thread waits that has reached a limit.
const LIMIT_PAUSE: Duration = Duration::from_millis(1);

/// One row of the table.
#[derive(Debug, Serialize)]
struct Row {
    path: String,
    allocations_per_s: u64,
    numbers_per_s: u64,
}

/// Runs the benchmark.
pub async fn run(args: BenchSequencerArgs) -> Result<(), Failure> {
    let temporary = Temporary::new(None)?;
    let root = temporary.folder.root().to_owned();
    let mut rows = Vec::new();
    for (path, sequence, count) in [
        ("evm, one by one", evm()?, 1),
        ("increasing, one by one", venue()?, 1),
        ("increasing, blocks of 64", venue()?, BLOCK),
    ] {
        say::progress(format!("in one process: {path} …"));
        let folder = root.join(format!("store-{}", rows.len()));
        let threads = (args.threads, args.seconds);
        let work = move || in_process(&folder, threads, &sequence, count);
        let done = tokio::task::spawn_blocking(work).await;
        let taken = done.map_err(Failure::from_error("the benchmark broke off"))??;
        rows.push(row(format!("threads: {path}"), taken, args.seconds)?);
    }
    for (path, count) in [
        ("increasing, one by one", 1),
        ("increasing, blocks of 64", BLOCK),
    ] {
        say::progress(format!("over HTTP: {path} …"));
        let folder = root.join(format!("http-{}", rows.len()));
        let taken = over_http(&folder, &args, count).await?;
        rows.push(row(format!("HTTP: {path}"), taken, args.seconds)?);
    }
    if args.json {
        return say::json(&rows);
    }
    say::line(format!(
        "{:<34} {:>12} {:>12}",
        "path", "calls/s", "numbers/s"
    ));
    for row in &rows {
        let (path, calls, numbers) = (&row.path, row.allocations_per_s, row.numbers_per_s);
        say::line(format!("{path:<34} {calls:>12} {numbers:>12}"));
    }
    Ok(())
}

fn evm() -> Result<SequenceId, Failure> {
    named("eip155:1")
}

fn venue() -> Result<SequenceId, Failure> {
    named("hyperliquid")
}

fn named(place: &str) -> Result<SequenceId, Failure> {
    let name = format!("{place}:{}", Address::evm([7; 20]));
    name.parse().map_err(Failure::from_error("bad sequence"))
}

/// The runs that each allocation got, and checks: no number twice, and none left out.
fn row(path: String, mut taken: Vec<(u64, u64)>, seconds: u32) -> Result<Row, Failure> {
    taken.sort_unstable();
    let seconds = u64::from(seconds.max(1));
    let mut numbers = 0u64;
    for pair in taken.windows(2) {
        if let [(first, count), (next, _)] = pair
            && first.saturating_add(*count) > *next
        {
            return Err(Failure::new(format!("{path}: number {next} came twice")));
        }
    }
    for (_, count) in &taken {
        numbers = numbers.saturating_add(*count);
    }
    Ok(Row {
        path,
        allocations_per_s: taken.len() as u64 / seconds,
        numbers_per_s: numbers / seconds,
    })
}

fn in_process(
    folder: &Path,
    (threads, seconds): (u32, u32),
    sequence: &SequenceId,
    count: u64,
) -> Result<Vec<(u64, u64)>, Failure> {
    let what = "the sequencer failed";
    let store = Store::open(folder).map_err(Failure::from_error(what))?;
    let settled = AtomicU64::new(0);
    let until = Instant::now() + Duration::from_secs(u64::from(seconds));
    let work = || -> Result<Vec<(u64, u64)>, Failure> {
        let mut taken = Vec::new();
        while Instant::now() < until {
            let request = folder::random_request_id();
            let ask = Ask {
                request,
                count,
                // The chain shows what is used, some way behind.
                chain_next: Some(settled.load(Ordering::Relaxed).saturating_sub(1_000)),
            };
            let granted = match store.allocate(clock::now(), sequence, &ask) {
                Ok(granted) => granted,
                // Memory is faster than a venue's bound ahead of the clock allows for long.
                Err(limit) if limit.is_limit() => {
                    std::thread::sleep(LIMIT_PAUSE);
                    continue;
                }
                Err(error) => return Err(Failure::new(what).because(error)),
            };
            taken.extend(granted.runs.iter().map(|run| (run.first, run.count)));
            if granted.until.is_some() {
                used(&store, sequence, request)?;
                settled.fetch_add(count, Ordering::Relaxed);
            }
        }
        Ok(taken)
    };
    let done: Vec<_> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        running.into_iter().map(|thread| thread.join()).collect()
    });
    let mut all = Vec::new();
    for taken in done {
        all.extend(taken.map_err(|_| Failure::new("a thread of the benchmark broke off"))??);
    }
    Ok(all)
}

fn used(store: &Store, sequence: &SequenceId, request: RequestId) -> Result<(), Failure> {
    let settled = Settled {
        request,
        number: None,
        how: Settlement::Used,
    };
    let done = store.settle(sequence, &settled);
    done.map_err(Failure::from_error("the sequencer failed"))
}

async fn over_http(
    folder: &Path,
    args: &BenchSequencerArgs,
    count: u64,
) -> Result<Vec<(u64, u64)>, Failure> {
    let what = "cannot serve HTTP";
    let sequences = Sequences::open(folder, None).map_err(Failure::from_error(what))?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.map_err(Failure::from_error(what))?;
    let address = listener.local_addr().map_err(Failure::from_error(what))?;
    let server = tokio::spawn(serve_sequences(listener, Arc::new(sequences)));
    let base = format!("http://{address}");
    // One client each, as processes have; what they share is the gateway alone.
    let until = Instant::now() + Duration::from_secs(u64::from(args.seconds));
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..args.threads {
        let gateway = Gateway::new(&base)?;
        let sequence = venue()?.to_string();
        running.spawn(async move {
            let mut taken = Vec::new();
            while Instant::now() < until {
                let request = folder::random_request_id();
                let granted = gateway.allocate(&sequence, request, count).await?;
                let granted = granted.map_err(|refusal| refusal.into_failure("no number"))?;
                taken.extend(granted.numbers.iter().map(|run| (run.first, run.count)));
            }
            Ok::<_, Failure>(taken)
        });
    }
    let mut all = Vec::new();
    while let Some(done) = running.join_next().await {
        all.extend(done.map_err(Failure::from_error("the benchmark broke off"))??);
    }
    server.abort();
    Ok(all)
}
