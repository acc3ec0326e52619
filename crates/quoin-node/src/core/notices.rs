//! Vetoes and receipts on a node: taken from whoever carries them, and shown to every node.
//!
//! A veto may come before what it vetoes: whoever sees a stamp can veto its request id before any
//! node has judged it. So it is kept without knowing the request, for as long as any stamp of that
//! time can live. Who signed it had some right to veto when it came; whether that right is about
//! *this* request is decided at judgement. A receipt starts a delay here, from this node's own first
//! sight of it, which is journaled before anything rests on it.
//!
//! What was kept from a node that was down is shown to it when it connects: a gateway must not
//! choose who hears of a veto.

use super::charters::refused;
use super::config::OUTCOME_MS;
use super::record::NoticeRecord;
use super::{Frame, Node, Peer, Record, Turn};
use quoin_api::frame::{Opaque, Refusal};
use quoin_core::{NodeIndex, PrincipalId, Signed, TimeMs};
use quoin_policy::{Receipt, STAMP_HORIZON_MS, Subject, Veto};
use std::collections::BTreeMap;

/// The most vetoes, and the most receipts, of one principal that are remembered. A veto of what waits
/// on this node always fits.
const PER_PRINCIPAL_MAX: usize = 256;
/// The most of all principals together, and of both kinds.
const IN_ALL_MAX: usize = 16_384;
/// The most that are shown to a node that connects: the newest.
const SHOWN_MAX: usize = 1_024;

/// Which statement it is: two of one kind by one principal on one subject say the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Veto,
    Receipt,
}

/// One statement as it was signed.
struct Notice {
    bytes: Vec<u8>,
    seen: TimeMs,
}

/// The statements as they were signed.
#[derive(Default)]
pub(super) struct NoticeBook(BTreeMap<(Subject, Kind, PrincipalId), Notice>);

impl NoticeBook {
    fn has_room(&self, kind: Kind, principal: &PrincipalId) -> bool {
        let own = self
            .0
            .keys()
            .filter(|(_, k, p)| *k == kind && p == principal);
        self.0.len() < IN_ALL_MAX && own.count() < PER_PRINCIPAL_MAX
    }

    /// The subjects of requests that can no longer be judged: every stamp that a veto of then could
    /// be about has lapsed.
    fn lapsed(&self, now: TimeMs) -> Vec<Subject> {
        let kept_ms = STAMP_HORIZON_MS.saturating_add(OUTCOME_MS);
        let mut newest: BTreeMap<Subject, TimeMs> = BTreeMap::new();
        for ((subject, ..), notice) in &self.0 {
            let seen = newest.entry(*subject).or_insert(notice.seen);
            *seen = notice.seen.max(*seen);
        }
        let lapsed = newest.into_iter().filter(|(subject, seen)| {
            matches!(subject, Subject::Request(_)) && now.since(*seen) > kept_ms
        });
        lapsed.map(|(subject, _)| subject).collect()
    }
}

impl Node {
    pub(super) fn on_veto(&mut self, turn: &mut Turn<'_>, from: &Peer, bytes: &[u8]) {
        let said = self.take_veto(turn, from, bytes).err();
        self.statement_reply(turn, from, bytes, said);
    }

    pub(super) fn on_receipt(&mut self, turn: &mut Turn<'_>, from: &Peer, bytes: &[u8]) {
        let said = self.take_receipt(turn, from, bytes).err();
        self.statement_reply(turn, from, bytes, said);
    }

    fn take_veto(&mut self, turn: &mut Turn<'_>, from: &Peer, bytes: &[u8]) -> Result<(), Refusal> {
        let signed =
            Signed::<Veto>::from_bytes(bytes).map_err(|e| refused("veto", e.to_string()))?;
        let said = signed.unverified();
        let place = (said.subject, Kind::Veto, said.principal.clone());
        if self.notice_book.0.contains_key(&place) {
            return Ok(());
        }
        let accepted = self.constitution.accept_veto(&signed, turn.now);
        accepted.map_err(|fault| refused("veto", fault.to_string()))?;
        let record = self.keep_notice(turn, place, bytes)?;
        self.note_veto(said);
        self.persist(turn, Record::Veto(record));
        self.flood_all(turn, from, &Frame::Veto(bytes.to_vec()));
        Ok(())
    }

    fn take_receipt(
        &mut self,
        turn: &mut Turn<'_>,
        from: &Peer,
        bytes: &[u8],
    ) -> Result<(), Refusal> {
        let signed =
            Signed::<Receipt>::from_bytes(bytes).map_err(|e| refused("receipt", e.to_string()))?;
        let said = signed.unverified();
        let place = (said.subject, Kind::Receipt, said.principal.clone());
        if self.notice_book.0.contains_key(&place) {
            return Ok(());
        }
        let accepted = self.constitution.accept_receipt(&signed, turn.now);
        accepted.map_err(|fault| refused("receipt", fault.to_string()))?;
        let record = self.keep_notice(turn, place, bytes)?;
        self.notices
            .receipt(said.subject, said.principal.clone(), turn.now);
        self.persist(turn, Record::Receipt(record));
        self.flood_all(turn, from, &Frame::Receipt(bytes.to_vec()));
        Ok(())
    }

    fn keep_notice(
        &mut self,
        turn: &Turn<'_>,
        place: (Subject, Kind, PrincipalId),
        bytes: &[u8],
    ) -> Result<NoticeRecord, Refusal> {
        if self.storage_failed {
            return Err(refused("storage", "the node's disk has failed"));
        }
        // What waits here is bounded by itself, and whoever makes it wait must not be able to use up
        // the room of those who would stop it.
        let always = place.1 == Kind::Veto && self.waits_for(&place.0);
        if !always && !self.notice_book.has_room(place.1, &place.2) {
            let message = "this node remembers too many statements; try again later";
            return Err(refused("principal", message));
        }
        let (bytes, seen) = (bytes.to_vec(), turn.now);
        let statement = Opaque(bytes.clone());
        self.notice_book.0.insert(place, Notice { bytes, seen });
        Ok(NoticeRecord { statement, seen })
    }

    /// Counts a veto with what its author may veto by the charter in force, which is the same when the
    /// journal is replayed: a charter that comes later takes no veto back.
    fn note_veto(&mut self, veto: &Veto) {
        let author = self.constitution.principal(&veto.principal);
        let roles = author.map(|p| p.roles.clone()).unwrap_or_default();
        self.notices
            .veto(veto.subject, veto.principal.clone(), roles);
    }

    /// Whether this node waits for the subject: a request that it has judged and not decided, or a
    /// proposal that is open.
    fn waits_for(&self, subject: &Subject) -> bool {
        match subject {
            Subject::Request(id) => {
                let state = self.requests.get(id);
                state.is_some_and(|s| s.first_seen.is_some() && !s.decided)
            }
            Subject::Charter(hash) => self.proposals.named(hash).is_some(),
        }
    }

    /// A veto that this node has taken before.
    pub(super) fn replay_veto(&mut self, record: NoticeRecord) -> Option<()> {
        let signed = Signed::<Veto>::from_bytes(&record.statement.0).ok()?;
        let said = signed.unverified();
        let place = (said.subject, Kind::Veto, said.principal.clone());
        self.note_veto(said);
        self.restore_notice(place, record);
        Some(())
    }

    /// A receipt that this node has taken before.
    pub(super) fn replay_receipt(&mut self, record: NoticeRecord) -> Option<()> {
        let signed = Signed::<Receipt>::from_bytes(&record.statement.0).ok()?;
        let said = signed.unverified();
        let place = (said.subject, Kind::Receipt, said.principal.clone());
        self.notices
            .receipt(said.subject, said.principal.clone(), record.seen);
        self.restore_notice(place, record);
        Some(())
    }

    fn restore_notice(&mut self, place: (Subject, Kind, PrincipalId), record: NoticeRecord) {
        let notice = Notice {
            bytes: record.statement.0,
            seen: record.seen,
        };
        self.notice_book.0.insert(place, notice);
    }

    /// Forgets what is about requests that can no longer be judged.
    pub(super) fn forget_notices(&mut self, now: TimeMs) {
        for subject in self.notice_book.lapsed(now) {
            self.forget_notice(&subject);
        }
    }

    /// Forgets what is about a subject that can no longer be judged.
    pub(super) fn forget_notice(&mut self, subject: &Subject) {
        self.notice_book.0.retain(|(s, ..), _| s != subject);
        self.notices.forget(subject);
    }

    /// Shows a node that has just connected what it may have missed.
    pub(super) fn greet_with_notices(&self, turn: &mut Turn<'_>, node: NodeIndex) {
        let mut newest: Vec<_> = self.notice_book.0.iter().collect();
        newest.sort_by_key(|(_, notice)| notice.seen);
        for ((_, kind, _), notice) in newest.iter().rev().take(SHOWN_MAX) {
            let bytes = notice.bytes.clone();
            let frame = match kind {
                Kind::Veto => Frame::Veto(bytes),
                Kind::Receipt => Frame::Receipt(bytes),
            };
            self.send(turn, Peer::Node(node), frame);
        }
    }
}
