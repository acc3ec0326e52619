//! A disk that forgets what was not synced.
//!
//! Records are kept as the bytes that a real journal would hold, so that every restart also tests
//! that what was written can be read back.

use quoin_api::statements::Head;
use quoin_core::hash::tagged;
use quoin_core::{HeadHash, SecretBytes, TimeMs, tags};
use quoin_node::core::{Record, Ticket};
use std::collections::BTreeMap;

struct Entry {
    ticket: Ticket,
    head: Head,
    at: TimeMs,
    bytes: Vec<u8>,
    secrets: Vec<(String, SecretBytes<32>)>,
    /// Labels whose secrets are gone once the record is synced.
    erased: Vec<String>,
}

/// One node's disk.
#[derive(Default)]
pub struct Disk {
    synced: Vec<Entry>,
    unsynced: Vec<Entry>,
    shown: usize,
    /// What is sealed after the last sync.
    sealed: BTreeMap<String, SecretBytes<32>>,
}

impl Disk {
    /// Writes without syncing.
    pub fn append(
        &mut self,
        ticket: Ticket,
        at: TimeMs,
        record: &Record,
        secrets: Vec<(String, SecretBytes<32>)>,
    ) {
        self.append_bytes(ticket, at, record.to_bytes(), secrets, Vec::new());
    }

    /// Writes a record's bytes without syncing.
    pub fn append_bytes(
        &mut self,
        ticket: Ticket,
        at: TimeMs,
        bytes: Vec<u8>,
        secrets: Vec<(String, SecretBytes<32>)>,
        erased: Vec<String>,
    ) {
        self.unsynced.push(Entry {
            ticket,
            head: empty_head(),
            at,
            bytes,
            secrets,
            erased,
        });
    }

    /// Syncs the first `count` unsynced records; returns the last ticket among them.
    pub fn sync(&mut self, count: usize) -> Option<(Ticket, Head)> {
        let count = count.min(self.unsynced.len());
        self.shown = self.synced.len();
        for mut entry in self.unsynced.drain(..count) {
            let before = self.synced.last().map_or_else(empty_head, |e| e.head);
            let hash = tagged(tags::JOURNAL, &[before.hash.as_bytes(), &entry.bytes]);
            entry.head = Head {
                seq: before.seq + 1,
                hash: HeadHash(hash),
            };
            apply(&mut self.sealed, &entry);
            self.synced.push(entry);
        }
        Some((self.synced.last()?.ticket, self.head()))
    }

    /// The process died: a prefix of what was not synced may have reached the disk all the same.
    pub fn crash(&mut self, survivors: usize) {
        self.sync(survivors);
        self.unsynced.clear();
    }

    /// How many records are written but not synced.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.unsynced.len()
    }

    /// The head of what is synced.
    #[must_use]
    pub fn head(&self) -> Head {
        self.synced.last().map_or_else(empty_head, |e| e.head)
    }

    /// The latest time of a synced record: what a node that starts knows of the time.
    #[must_use]
    pub fn latest(&self) -> TimeMs {
        let times = self.synced.iter().map(|e| e.at);
        times.max().unwrap_or(TimeMs(0))
    }

    /// The disk goes back to its first `keep` records: an older copy of it was restored.
    pub fn roll_back(&mut self, keep: usize) {
        self.unsynced.clear();
        self.synced.truncate(keep);
        self.sealed = BTreeMap::new();
        let sealed = &mut self.sealed;
        self.synced.iter().for_each(|entry| apply(sealed, entry));
        self.shown = self.synced.len();
    }

    /// The synced records, read back from their bytes; `None` when one cannot be.
    #[must_use]
    pub fn records(&self) -> Option<Vec<(TimeMs, Record)>> {
        let read = |e: &Entry| Record::from_bytes(&e.bytes).ok().map(|r| (e.at, r));
        self.synced.iter().map(read).collect()
    }

    /// The records of the last sync.
    pub fn newly_synced(&self) -> impl Iterator<Item = Record> + '_ {
        let new = self.synced.iter().skip(self.shown);
        new.filter_map(|e| Record::from_bytes(&e.bytes).ok())
    }

    /// The sealed shares.
    #[must_use]
    pub fn shares(&self) -> BTreeMap<String, SecretBytes<32>> {
        let copy = |(label, secret): (&String, &SecretBytes<32>)| {
            (label.clone(), secret.duplicate_secret())
        };
        self.sealed.iter().map(copy).collect()
    }

    /// The sealed shares, to look at.
    #[must_use]
    pub const fn sealed(&self) -> &BTreeMap<String, SecretBytes<32>> {
        &self.sealed
    }

    /// Whether the last sync has sealed or erased something.
    #[must_use]
    pub fn newly_sealed(&self) -> bool {
        let mut new = self.synced.iter().skip(self.shown);
        new.any(|e| !e.secrets.is_empty() || !e.erased.is_empty())
    }
}

fn apply(sealed: &mut BTreeMap<String, SecretBytes<32>>, entry: &Entry) {
    for (label, secret) in &entry.secrets {
        sealed.insert(label.clone(), secret.duplicate_secret());
    }
    for label in &entry.erased {
        sealed.remove(label);
    }
}

const fn empty_head() -> Head {
    Head {
        seq: 0,
        hash: HeadHash([0; 32]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quoin_core::RequestId;

    fn write(disk: &mut Disk, n: u64) {
        let record = Record::Released(RequestId([n as u8; 16]));
        disk.append(Ticket(n), TimeMs(n), &record, Vec::new());
    }

    #[test]
    fn a_crash_loses_what_was_not_synced_but_for_a_prefix() {
        let mut disk = Disk::default();
        (1..=4).for_each(|n| write(&mut disk, n));
        assert_eq!(disk.sync(1).map(|(t, h)| (t, h.seq)), Some((Ticket(1), 1)));
        disk.crash(1);
        assert_eq!(disk.records().unwrap().len(), 2);
        assert_eq!(disk.unsynced(), 0);
    }

    #[test]
    fn an_older_disk_has_the_head_that_it_had_then() {
        let mut disk = Disk::default();
        (1..=2).for_each(|n| write(&mut disk, n));
        disk.sync(1);
        let then = disk.head();
        disk.sync(1);
        assert_ne!(disk.head(), then);
        disk.roll_back(1);
        assert_eq!(disk.head(), then);
    }
}
