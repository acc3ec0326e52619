//! `quoin bench gateway`: what a signature costs over HTTP, for each scheme and for an ECDSA key of
//! the treasury, which signs in two rounds, beside one plain local key that takes the same way
//! through gateway and node, in one run on a cluster of its own.

mod flow;
pub mod hammer;
pub mod load;
pub mod sequencer;
mod stock;
mod sustained;

use crate::cli::BenchArgs;
use crate::client::keys::scheme_name;
use crate::dev::cluster::{Cluster, Wish};
use crate::dev::{FIRST_GOVERNOR, Stop, Temporary, ensure_keys, make_key};
use crate::failure::Failure;
use crate::latency::{Bench, Quantiles};
use crate::say;
use quoin_core::{CustodyMethod, PrincipalId, Purpose, Scheme};
use serde::Serialize;

/// The name of the local key, and of its row.
const LOCAL: &str = "local";
/// The name of the key that signs in two rounds, and of its row.
const TREASURY: &str = "treasury";

/// One row of the table.
#[derive(Debug, Serialize)]
struct Row {
    path: String,
    p50_us: u64,
    p99_us: u64,
    /// The median beside the local key's, when there is one.
    ratio_to_local: Option<f64>,
}

/// Runs the benchmark.
pub async fn run(args: BenchArgs) -> Result<(), Failure> {
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
    let rows = measured?;
    if args.json {
        return say::json(&rows);
    }
    say::line(format!(
        "{:<10} {:>9} {:>9} {:>9}",
        "path", "p50 us", "p99 us", "x local"
    ));
    for row in &rows {
        let ratio = row
            .ratio_to_local
            .map_or_else(|| "-".to_owned(), |r| format!("{r:.2}"));
        let (path, p50, p99) = (&row.path, row.p50_us, row.p99_us);
        say::line(format!("{path:<10} {p50:>9} {p99:>9} {ratio:>9}"));
    }
    Ok(())
}

async fn measure(cluster: &mut Cluster, args: &BenchArgs) -> Result<Vec<Row>, Failure> {
    let session = cluster.ready().await?;
    let of = (Scheme::Ecdsa, Purpose::Trading, CustodyMethod::Local);
    let local = make_key(&session, LOCAL, of).await?;
    let keys = ensure_keys(&session).await?;
    let of = (Scheme::Ecdsa, Purpose::Treasury, CustodyMethod::Mpc);
    let treasury = make_key(&session, TREASURY, of).await?;
    let principal: PrincipalId = FIRST_GOVERNOR
        .parse()
        .map_err(Failure::from_error("bad principal"))?;
    let identity = session.folder().principal(&principal)?;
    let bench = Bench {
        session: &session,
        principal: &principal,
        identity: &identity,
    };
    let mut found: Vec<(String, Quantiles)> = Vec::new();
    let threshold = keys.iter().filter(|k| k.custody() == CustodyMethod::Mpc);
    for key in [&local].into_iter().chain(threshold).chain([&treasury]) {
        let path = match (key.custody(), key.public().purpose) {
            (CustodyMethod::Local, _) => LOCAL,
            (_, Purpose::Treasury) => TREASURY,
            _ => scheme_name(key.public().scheme),
        };
        say::progress(format!("measuring {} signatures: {path} …", args.count));
        found.push((path.to_owned(), bench.measure(key, args.count).await?));
    }
    Ok(rows(found))
}

fn rows(found: Vec<(String, Quantiles)>) -> Vec<Row> {
    let local = found
        .iter()
        .find(|(path, _)| path == LOCAL)
        .map(|(_, q)| q.p50_us);
    let ratio = |q: &Quantiles| {
        let local = local.filter(|l| *l > 0)?;
        // Microseconds of a request fit 52 bits by far.
        Some((q.p50_us as f64 / local as f64 * 100.0).round() / 100.0)
    };
    let rows = found.into_iter().map(|(path, q)| Row {
        path,
        p50_us: q.p50_us,
        p99_us: q.p99_us,
        ratio_to_local: ratio(&q),
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_to_the_local_key_and_absent_without_one() {
        let quantiles = |p50_us| Quantiles {
            p50_us,
            p99_us: p50_us,
        };
        let all = rows(vec![
            ("local".into(), quantiles(200)),
            ("ecdsa".into(), quantiles(500)),
        ]);
        assert_eq!(all[1].ratio_to_local, Some(2.5));
        assert_eq!(
            rows(vec![("ecdsa".into(), quantiles(500))])[0].ratio_to_local,
            None
        );
    }
}
