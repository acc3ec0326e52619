//! What a constitution keeps of the charters before it: who governed them, and since when the
//! entries of the address book have been there.

use crate::charter::{BookEntry, Charter};
use crate::constitution::Constitution;
use crate::sets::electorates_after;
use crate::succession::recovers_only;
use quoin_core::{Address, Certificate, ChainId, CharterNumber, PublicCredential, TimeMs};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Who could sign the successor of a charter.
#[derive(Debug)]
pub(crate) struct Seats {
    quorum: u8,
    governors: Vec<Seat>,
    recovery: Option<(u8, Vec<Seat>)>,
    /// When the charter's own successor was accepted; `None` while it is in force.
    passed: Option<TimeMs>,
    /// Kept while a recovery could have brought another successor, which is compared with it.
    charter: Option<Arc<Charter>>,
}

/// One person, however many credentials they have.
#[derive(Clone, Debug)]
struct Seat {
    credentials: Vec<PublicCredential>,
    expires: TimeMs,
}

impl Seats {
    pub(crate) fn of(charter: &Charter) -> Self {
        let seat = |p: &crate::charter::Principal| Seat {
            credentials: p.credentials.clone(),
            expires: p.expires,
        };
        let recovery = charter.recovery.as_ref().map(|rule| {
            let holders = charter.principals.iter();
            let holders = holders.filter(|p| p.roles.contains(&rule.role));
            (rule.quorum, holders.map(seat).collect())
        });
        Self {
            quorum: charter.governor_quorum,
            governors: charter.governors().map(seat).collect(),
            charter: recovery.is_some().then(|| Arc::new(charter.clone())),
            recovery,
            passed: None,
        }
    }

    fn passed_at(&self, now: TimeMs) -> Self {
        Self {
            quorum: self.quorum,
            governors: self.governors.clone(),
            recovery: self.recovery.clone(),
            passed: Some(now),
            charter: self.charter.clone(),
        }
    }

    /// Whether enough signed whose grants had not ended when this node went on to its own successor.
    fn certify(&self, certificate: &Certificate<Charter>) -> bool {
        let at = self.passed.unwrap_or(TimeMs(0));
        let signed = |seats: &[Seat]| {
            let valid = seats.iter().filter(|seat| at < seat.expires);
            valid.filter(|seat| seat.signed(certificate)).count()
        };
        if signed(&self.governors) >= usize::from(self.quorum) {
            return true;
        }
        let (Some((quorum, holders)), Some(charter)) = (&self.recovery, &self.charter) else {
            return false;
        };
        signed(holders) >= usize::from(*quorum)
            && recovers_only(charter, certificate.unverified()).is_ok()
    }
}

impl Seat {
    fn signed(&self, certificate: &Certificate<Charter>) -> bool {
        self.credentials.iter().any(|c| certificate.endorsed_by(c))
    }
}

/// From when on each entry of the address book can receive.
#[derive(Clone, Debug, Default)]
pub(crate) struct Book(BTreeMap<(ChainId, Address), TimeMs>);

impl Book {
    pub(crate) fn genesis(charter: &Charter) -> Self {
        Self(charter.book.iter().map(|e| (place(e), TimeMs(0))).collect())
    }

    /// The book of `next`: what is the same as before keeps its time, all else has to wait.
    fn after(&self, current: &Charter, next: &Charter, now: TimeMs) -> Self {
        let wait = current.cooling_off_ms.max(next.cooling_off_ms);
        let entries = next.book.iter().map(|entry| {
            let same = current.book.contains(entry);
            let since = self.0.get(&place(entry)).filter(|_| same);
            (place(entry), since.copied().unwrap_or(now.plus(wait)))
        });
        Self(entries.collect())
    }

    pub(crate) fn of(&self, chain: &ChainId, address: &Address) -> Option<TimeMs> {
        self.0.get(&(chain.clone(), address.clone())).copied()
    }
}

fn place(entry: &BookEntry) -> (ChainId, Address) {
    (entry.chain.clone(), entry.address.clone())
}

impl Constitution {
    /// Takes over what is kept of the charters before this one, accepted at `now`.
    pub(crate) fn descend_from(&mut self, current: &Self, now: TimeMs) {
        self.lineage.extend(&current.lineage);
        let rosters = current.rosters.iter();
        self.rosters
            .extend(rosters.map(|(number, roster)| (*number, Arc::clone(roster))));
        let seats = current.seats.iter();
        self.seats
            .extend(seats.map(|(number, seats)| (*number, Arc::clone(seats))));
        if let Some(seats) = self.seats.get_mut(&current.number()) {
            *seats = Arc::new(seats.passed_at(now));
        }
        self.ready = current.ready.after(current.charter(), self.charter(), now);
        self.electorates = electorates_after(current, self.charter(), now);
    }

    /// Whether a charter of a number that this node has passed, but another one than it has, was
    /// signed by those who could: the governors of the charter before it, or its recovery. It proves
    /// that there are two charters of one number, which stops the cluster.
    ///
    /// A grant counts that had not ended when this node went on to its own charter of that number:
    /// later its credential may lie anywhere, and must not stop a cluster, but what could have been
    /// accepted by a node at the time has to be noticed for ever. `false` for this node's own charters
    /// and for what follows a charter that it does not know.
    #[must_use]
    pub fn lineage_certifies(&self, certificate: &Certificate<Charter>) -> bool {
        let charter = certificate.unverified();
        let known = self.ancestor(charter.number);
        if known.is_none_or(|hash| hash == charter.hash()) {
            return false;
        }
        let Some(before) = charter.number.0.checked_sub(1).map(CharterNumber) else {
            return false;
        };
        charter.cluster == Some(self.cluster())
            && charter.previous == self.ancestor(before)
            && charter.previous.is_some()
            && self
                .seats
                .get(&before)
                .is_some_and(|seats| seats.certify(certificate))
    }
}
