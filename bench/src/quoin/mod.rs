//! Quoin itself, through the same public doors that a node uses: ceremonies and presigning as
//! sessions, warrants from the policy engine, signatures from the secret-free combiner.

mod cluster;
mod judge;
mod signing;

use crate::book::{Book, Entry, OURS};
use crate::meter::Meter;
use crate::plan::{Case, Size, signers_of};
use anyhow::{Context, Result, ensure};
use cluster::Cluster;
use quoin_core::Scheme;
use quoin_protocol::KeyShare;
use quoin_protocol::dkg::Succession;

/// The schemes that are measured. Taproot keys are made exactly as those for ECDSA.
const SCHEMES: [Scheme; 3] = [Scheme::Ecdsa, Scheme::Ed25519, Scheme::Taproot];

/// Everything that is measured of Quoin.
pub fn cases(size: Size) -> Vec<Case> {
    let mut all = Vec::new();
    for scheme in SCHEMES {
        all.push(Case::new(OURS, 15, move |book| keys(book, scheme, size)));
        all.push(Case::new(OURS, 7, move |book| {
            signing::run(book, scheme, size)
        }));
    }
    all
}

fn entry(what: &str, scheme: Scheme, size: Size, note: &'static str) -> Entry {
    let suffix = match scheme {
        Scheme::Ed25519 => "-ed25519",
        Scheme::Taproot => "-taproot",
        _ => "",
    };
    Entry {
        what: format!("{what}{suffix}"),
        subject: OURS,
        size: (size.t, size.n),
        note,
    }
}

fn keys(book: &mut Book, scheme: Scheme, size: Size) -> Result<()> {
    let cluster = Cluster::new(size)?;
    let mut meter = Meter::new(size.n.into());
    let shares = cluster.generate(scheme, &mut meter)?;
    book.add(entry("dkg", scheme, size, CEREMONY), meter.cost());

    let mut meter = Meter::new(size.n.into());
    let refreshed = cluster.succeed(&shares, Succession::Refresh, &mut meter)?;
    check(&shares, &refreshed)?;
    book.add(entry("refresh", scheme, size, CEREMONY), meter.cost());

    let larger = size.reshared();
    let dealers = signers_of(size).map(cluster::node).collect::<Result<_>>()?;
    let how = Succession::Reshare {
        threshold: larger.t,
        dealers,
    };
    let mut meter = Meter::new(larger.n.into());
    let reshared = cluster.grown(larger)?.succeed(&shares, how, &mut meter)?;
    check(&shares, &reshared)?;
    let note = size.reshare_note();
    book.add(entry("reshare", scheme, size, note), meter.cost());
    Ok(())
}

/// What the figures of a ceremony hold that those of most peers do not.
const CEREMONY: &str = "every message signed; signed echo of the transcript";

/// A key that moved is the same key, in shares that are right.
fn check(old: &[KeyShare], new: &[KeyShare]) -> Result<()> {
    let key = &old.first().context("no shares")?.public.public_key;
    let right = |share: &KeyShare| share.public.public_key == *key && share.matches_public();
    ensure!(new.iter().all(right), "the key has changed");
    Ok(())
}
