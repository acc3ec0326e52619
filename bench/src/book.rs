//! Where costs are written down, by what was done, by whom, and at which sizes.
//!
//! A figure of a row is that of the slowest party: for each party the median over all runs, and of
//! these the largest.

use crate::meter::{Cost, median_cost};
use serde::Serialize;

/// The subject that all others are compared with.
pub const OURS: &str = "quoin";

/// One line of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What was done; the scheme is named unless it is ECDSA on secp256k1.
    pub what: String,
    /// Who did it: `quoin` or the peer's package.
    pub subject: String,
    /// How many shares sign.
    pub t: u8,
    /// How many shares there are.
    pub n: u8,
    /// CPU time of the slowest party, in microseconds.
    pub cpu_us_per_party: f64,
    /// Payload that the most talkative party sent over all recipients.
    pub bytes_per_party: u64,
    /// Lock-step deliveries.
    pub rounds: u32,
    /// What to know before comparing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What a cost is of.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// See [`Row::what`].
    pub what: String,
    /// See [`Row::subject`].
    pub subject: &'static str,
    /// See [`Row::t`] and [`Row::n`].
    pub size: (u8, u8),
    /// See [`Row::note`]; empty for none.
    pub note: &'static str,
}

/// All costs of one invocation.
#[derive(Default)]
pub struct Book {
    pages: Vec<(Entry, Vec<Cost>)>,
}

impl Book {
    /// Writes down one run.
    pub fn add(&mut self, entry: Entry, cost: Cost) {
        match self.pages.iter_mut().find(|(known, _)| *known == entry) {
            Some((_, costs)) => costs.push(cost),
            None => self.pages.push((entry, vec![cost])),
        }
    }

    /// The table, grouped by what was done and the size, ours first and then from fast to slow.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = self.pages.iter().map(row).collect();
        rows.sort_by(|a, b| {
            let place = |r: &Row| (rank(&r.what), r.what.clone(), r.t, r.subject != OURS);
            let fast_first = a.cpu_us_per_party.total_cmp(&b.cpu_us_per_party);
            place(a).cmp(&place(b)).then(fast_first)
        });
        rows
    }
}

fn row((entry, costs): &(Entry, Vec<Cost>)) -> Row {
    let cost = median_cost(costs);
    let largest = |all: &[f64]| all.iter().copied().fold(0.0, f64::max);
    Row {
        what: entry.what.clone(),
        subject: entry.subject.to_owned(),
        t: entry.size.0,
        n: entry.size.1,
        cpu_us_per_party: (largest(&cost.cpu_us) * 10.0).round() / 10.0,
        bytes_per_party: largest(&cost.bytes).round() as u64,
        rounds: cost.rounds,
        note: (!entry.note.is_empty()).then(|| entry.note.to_owned()),
    }
}

/// The order in which a key lives: its birth first.
fn rank(what: &str) -> usize {
    const ORDER: [&str; 7] = [
        "dkg",
        "refresh",
        "reshare",
        "presign",
        "sign-signer",
        "sign-coordinator",
        "sign",
    ];
    let scheme = ["-ed25519", "-taproot"]
        .iter()
        .position(|s| what.ends_with(s));
    let plain = what
        .trim_end_matches("-ed25519")
        .trim_end_matches("-taproot");
    let step = ORDER
        .iter()
        .position(|o| *o == plain)
        .unwrap_or(ORDER.len());
    scheme.map_or(0, |s| s + 1) * 10 + step
}
