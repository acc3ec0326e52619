//! The report for people: every row beside Quoin's, the goals, and what is missing.
//!
//! It is Markdown, so that `docs/performance.md` can hold it as it is.

use crate::book::{OURS, Row};
use std::fmt::Write;

/// What Quoin is measured on; a row that is not there is named at the end.
const EXPECTED: [&str; 7] = [
    "dkg",
    "refresh",
    "reshare",
    "presign",
    "sign-signer",
    "sign-coordinator",
    "sign",
];

/// A ceiling for Quoin at 2-of-3.
struct Goal {
    what: &'static str,
    cpu_us_max: f64,
    bytes_max: Option<u64>,
}

const GOALS: [Goal; 6] = [
    goal("dkg", 2_000.0, None),
    goal("refresh", 2_000.0, None),
    goal("reshare", 5_000.0, None),
    goal("presign", 850.0, Some(42_000)),
    goal("sign-signer", 60.0, None),
    goal("sign-coordinator", 120.0, None),
];

const fn goal(what: &'static str, cpu_us_max: f64, bytes_max: Option<u64>) -> Goal {
    Goal {
        what,
        cpu_us_max,
        bytes_max,
    }
}

/// The whole report.
pub fn whole(rows: &[Row], place: &str) -> String {
    format!("{place}\n{}\n{}\n{}", table(rows), goals(rows), gaps(rows))
}

/// All rows, each with its ratios to Quoin's row of the same kind.
fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| what | t-of-n | subject | CPU µs | × ours | bytes | × ours | rounds | note |\n\
         |---|---|---|---:|---:|---:|---:|---:|---|\n",
    );
    for row in rows {
        let ours = rows.iter().find(|o| is_ours_of(o, row));
        let cpu = ratio(row.cpu_us_per_party, ours.map(|o| o.cpu_us_per_party));
        let ours_bytes = ours.map(|o| o.bytes_per_party as f64);
        let bytes = ratio(row.bytes_per_party as f64, ours_bytes);
        let note = row.note.as_deref().unwrap_or_default();
        line(
            &mut text,
            format_args!(
                "| {} | {}-of-{} | {} | {:.1} | {cpu} | {} | {bytes} | {} | {note} |",
                row.what,
                row.t,
                row.n,
                row.subject,
                row.cpu_us_per_party,
                row.bytes_per_party,
                row.rounds,
            ),
        );
    }
    text
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{content}");
}

fn is_ours_of(ours: &Row, row: &Row) -> bool {
    ours.subject == OURS && ours.what == row.what && (ours.t, ours.n) == (row.t, row.n)
}

fn ratio(value: f64, ours: Option<f64>) -> String {
    match ours {
        Some(ours) if ours > 0.0 => format!("{:.2}", value / ours),
        _ => "–".to_owned(),
    }
}

/// Quoin's figures at 2-of-3 against the goals set for them, and the best peer's.
fn goals(rows: &[Row]) -> String {
    let mut text =
        String::from("| at 2-of-3 | goal | measured | | best peer |\n|---|---:|---:|---|---:|\n");
    for goal in GOALS {
        let of = |row: &&Row| row.what == goal.what && (row.t, row.n) == (2, 3);
        let ours = rows.iter().filter(of).find(|r| r.subject == OURS);
        let peers = rows.iter().filter(of).filter(|r| r.subject != OURS);
        let best = |figure: fn(&Row) -> f64| {
            let found = peers.clone().min_by(|a, b| figure(a).total_cmp(&figure(b)));
            found.map_or_else(
                || "–".to_owned(),
                |r| format!("{:.0} ({})", figure(r), r.subject),
            )
        };
        let cpu: fn(&Row) -> f64 = |r| r.cpu_us_per_party;
        let mut add = |unit: &str, max: f64, figure: fn(&Row) -> f64| {
            let what = goal.what;
            let (measured, verdict) = judge(ours.map(figure), max);
            let best = best(figure);
            let row =
                format_args!("| {what}, {unit} | {max:.0} | {measured} | {verdict} | {best} |");
            line(&mut text, row);
        };
        add("CPU µs per party", goal.cpu_us_max, cpu);
        if let Some(max) = goal.bytes_max {
            add("bytes per party", max as f64, |r| r.bytes_per_party as f64);
        }
    }
    text
}

fn judge(ours: Option<f64>, max: f64) -> (String, &'static str) {
    match ours {
        None => ("–".to_owned(), "not measured"),
        Some(ours) if ours <= max => (format!("{ours:.0}"), "met"),
        Some(ours) => (format!("{ours:.0}"), "missed"),
    }
}

/// One line for each thing that Quoin was expected to be measured on and was not.
pub fn gaps(rows: &[Row]) -> String {
    let mut text = String::new();
    for what in EXPECTED {
        if !rows.iter().any(|r| r.subject == OURS && r.what == what) {
            line(&mut text, format_args!("missing: `{what}` of `{OURS}`"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(what: &str, subject: &str, cpu_us: f64) -> Row {
        Row {
            what: what.to_owned(),
            subject: subject.to_owned(),
            t: 2,
            n: 3,
            cpu_us_per_party: cpu_us,
            bytes_per_party: 42_001,
            rounds: 1,
            note: None,
        }
    }

    #[test]
    fn a_peer_is_shown_as_a_multiple_of_ours() {
        let text = table(&[row("presign", OURS, 500.0), row("presign", "peer", 2_000.0)]);
        assert!(
            text.contains("| peer | 2000.0 | 4.00 | 42001 | 1.00 |"),
            "{text}"
        );
    }

    #[test]
    fn a_goal_is_met_missed_or_not_measured() {
        let text = goals(&[row("presign", OURS, 850.0)]);
        assert!(text.contains("| presign, CPU µs per party | 850 | 850 | met |"));
        assert!(text.contains("| presign, bytes per party | 42000 | 42001 | missed |"));
        assert!(text.contains("| dkg, CPU µs per party | 2000 | – | not measured |"));
    }

    #[test]
    fn what_was_not_measured_is_named() {
        let text = gaps(&[row("presign", OURS, 1.0), row("dkg", "peer", 1.0)]);
        assert!(
            text.contains("`dkg`") && !text.contains("`presign`"),
            "{text}"
        );
    }
}
