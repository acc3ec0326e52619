//! The keys of a node: each with the epoch in use, the one to come, and those on their way out.
//!
//! An epoch comes into being with a stored share (*pending*), into use with the certificate of all
//! its holders (*current*), and is *retiring* from the moment its successor is in use until all
//! holders of the successor have said that they hold it. At every moment a node has at most one
//! pending epoch of a key. A pending one that was given up is *kept* with its share, because its
//! endorsement by this node is out, and the certificate can still be completed (`docs/decisions/0009`).

use super::config::{KEPT_MAX, OVERLAP_MS, RETIRING_MAX};
use quoin_core::{Certificate, CredentialId, KeyState, NodeIndex, ShareEpoch, SignerSet, TimeMs};
use quoin_protocol::KeyShare;
use quoin_protocol::combine::KeyPublic;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A certified epoch of a key.
pub(super) struct Epoch {
    pub(super) certificate: Certificate<KeyPublic>,
    /// `None` on a node that is no holder, or has lost its share.
    pub(super) share: Option<Arc<KeyShare>>,
    /// The record's hash, which batches and successors are bound to.
    pub(super) hash: [u8; 32],
}

impl Epoch {
    pub(super) fn new(certificate: Certificate<KeyPublic>, share: Option<Arc<KeyShare>>) -> Self {
        let hash = certificate.unverified().shares_hash();
        Self {
            certificate,
            share,
            hash,
        }
    }

    pub(super) fn public(&self) -> &KeyPublic {
        self.certificate.unverified()
    }

    pub(super) fn number(&self) -> ShareEpoch {
        self.public().epoch
    }

    /// The nodes that hold shares of the epoch.
    pub(super) fn holders(&self) -> impl Iterator<Item = NodeIndex> + '_ {
        self.public().public_shares.iter().map(|s| s.node)
    }

    /// Whether the set is one of this epoch's: as many holders as its threshold.
    pub(super) fn admits(&self, set: &SignerSet) -> bool {
        set.size() == usize::from(self.public().threshold)
            && set.iter().all(|n| self.holders().any(|h| h == n))
    }
}

/// An epoch whose share is stored, and that lacks endorsements.
pub(super) struct Pending {
    /// The record with the endorsements that are known.
    pub(super) certificate: Certificate<KeyPublic>,
    /// `None` only while the journal is replayed.
    pub(super) share: Option<Arc<KeyShare>>,
    pub(super) hash: [u8; 32],
    /// Whether this node has endorsed it, its share being durable.
    pub(super) endorsed: bool,
    /// Whether its certificate is whole and being written.
    pub(super) certified: bool,
}

impl Pending {
    pub(super) fn new(public: KeyPublic, share: Option<KeyShare>) -> Self {
        let hash = public.shares_hash();
        Self {
            certificate: Certificate::unsigned(public),
            share: share.map(Arc::new),
            hash,
            endorsed: false,
            certified: false,
        }
    }

    pub(super) fn public(&self) -> &KeyPublic {
        self.certificate.unverified()
    }

    pub(super) fn is_endorsed_by(&self, credential: CredentialId) -> bool {
        let mut endorsements = self.certificate.endorsements().iter();
        endorsements.any(|e| e.credential == credential)
    }
}

/// An epoch that has a successor.
pub(super) struct Retiring {
    pub(super) epoch: Epoch,
    /// Until when its presignatures are honoured.
    pub(super) honoured_until: TimeMs,
}

/// A key that this node knows.
pub(crate) struct KeyEntry {
    /// The newest certified epoch; `None` before the first.
    pub(super) current: Option<Epoch>,
    pub(super) next: Option<Pending>,
    /// Records that were given up for another, with their shares, until a later epoch is held by
    /// all. Oldest first.
    pub(super) kept: Vec<Pending>,
    /// Oldest first.
    pub(super) retiring: Vec<Retiring>,
    /// Who holds the certificate of the current epoch durably, by its signed statement; this node
    /// itself is not among them.
    pub(super) held: BTreeMap<NodeIndex, Vec<u8>>,
    /// When the key came into use here.
    pub(super) created: TimeMs,
    /// Since when the current epoch is in use here.
    pub(super) since: TimeMs,
    /// The epochs whose shares this node has erased.
    pub(super) erased: Vec<ShareEpoch>,
    pub(super) state: KeyState,
    /// Whether the operator was told that a refresh is overdue.
    pub(super) overdue: bool,
    /// The epoch of which this node's share came out of a backup.
    pub(super) restored: Option<ShareEpoch>,
}

impl KeyEntry {
    /// A key whose first share is stored.
    pub(super) fn born(pending: Pending) -> Self {
        Self {
            current: None,
            next: Some(pending),
            kept: Vec::new(),
            retiring: Vec::new(),
            held: BTreeMap::new(),
            created: TimeMs(0),
            since: TimeMs(0),
            erased: Vec::new(),
            state: KeyState::PreActive,
            overdue: false,
            restored: None,
        }
    }

    /// A key that this node learns of by its certificate, without a share.
    pub(super) fn learned(certificate: Certificate<KeyPublic>, at: TimeMs) -> Self {
        Self {
            current: Some(Epoch::new(certificate, None)),
            next: None,
            kept: Vec::new(),
            retiring: Vec::new(),
            held: BTreeMap::new(),
            created: at,
            since: at,
            erased: Vec::new(),
            state: KeyState::Active,
            overdue: false,
            restored: None,
        }
    }

    /// The record of the current epoch, or of the one to come where there is none.
    pub(super) fn public(&self) -> Option<&KeyPublic> {
        let current = self.current.as_ref().map(Epoch::public);
        current.or_else(|| self.next.as_ref().map(Pending::public))
    }

    /// The current epoch of a key that signs. One whose share was restored does not: this node may
    /// have forgotten what it signed, and the others' pools may be older than the backup.
    pub(super) fn serving(&self) -> Option<&Epoch> {
        let active = self.state == KeyState::Active;
        let current = self.current.as_ref().filter(|_| active);
        current.filter(|epoch| self.restored != Some(epoch.number()))
    }

    pub(super) fn is_active(&self) -> bool {
        self.serving().is_some()
    }

    /// An epoch whose presignatures are honoured at `now`: the current one, and for a while the one
    /// before.
    pub(super) fn honoured(&self, number: ShareEpoch, now: TimeMs) -> Option<&Epoch> {
        let all = self.all_honoured(now).into_iter();
        all.into_iter().find(|e| e.number() == number)
    }

    /// Every epoch whose presignatures are honoured at `now`, newest first.
    pub(super) fn all_honoured(&self, now: TimeMs) -> Vec<&Epoch> {
        let retiring = self.retiring.iter().rev();
        let retiring = retiring.filter(|r| now < r.honoured_until);
        let serving = self.serving().into_iter();
        match self.is_active() {
            true => serving.chain(retiring.map(|r| &r.epoch)).collect(),
            false => Vec::new(),
        }
    }

    /// This node's share of an epoch, the current one if none is named.
    pub(super) fn share_of(&self, number: Option<ShareEpoch>) -> Option<Arc<KeyShare>> {
        let retiring = self.retiring.iter().map(|r| &r.epoch);
        let mut all = self.current.iter().chain(retiring);
        let epoch = match number {
            Some(number) => all.find(|e| e.number() == number),
            None => all.next(),
        };
        epoch.and_then(|e| e.share.clone())
    }

    /// The pending or kept record with this hash.
    pub(super) fn stored(&self, hash: [u8; 32]) -> Option<&Pending> {
        self.next.iter().chain(&self.kept).find(|p| p.hash == hash)
    }

    pub(super) fn stored_mut(&mut self, hash: [u8; 32]) -> Option<&mut Pending> {
        let mut all = self.next.iter_mut().chain(&mut self.kept);
        all.find(|p| p.hash == hash)
    }

    /// Takes out the pending or kept record with this hash.
    pub(super) fn take_stored(&mut self, hash: [u8; 32]) -> Option<Pending> {
        let kept = self.kept.iter().position(|p| p.hash == hash);
        match kept {
            Some(place) => Some(self.kept.remove(place)),
            None => self.next.take_if(|p| p.hash == hash),
        }
    }

    /// Whether the certificate of a stored record is being written.
    pub(super) fn is_being_certified(&self) -> bool {
        self.next.iter().chain(&self.kept).any(|p| p.certified)
    }

    /// Gives the pending record up without giving up its share.
    pub(super) fn keep_next(&mut self) {
        self.kept.extend(self.next.take());
    }

    /// Puts a certified epoch in the place of the current one, which retires; or among the retiring
    /// ones, when another certified record of its number outranks it.
    pub(super) fn succeed(&mut self, epoch: Epoch, now: TimeMs, honoured_until: TimeMs) {
        let current = self.current.as_ref();
        if current.is_some_and(|c| !epoch.public().outranks(c.public())) {
            return self.retiring.push(Retiring {
                epoch,
                honoured_until: now,
            });
        }
        // Presignatures are named by the epoch's number, so of two records of one number only one
        // is ever honoured.
        let rival = current.is_some_and(|c| c.number() == epoch.number());
        let honoured_until = if rival { now } else { honoured_until };
        let overtaken = |next: &Pending| next.public().epoch <= epoch.number();
        if self.next.as_ref().is_some_and(overtaken) {
            self.keep_next();
        }
        if let Some(old) = self.current.replace(epoch) {
            self.retiring.push(Retiring {
                epoch: old,
                honoured_until,
            });
        }
        if self.state == KeyState::PreActive {
            self.state = KeyState::Active;
            self.created = now;
        }
        self.held.clear();
        self.since = now;
        self.overdue = false;
    }

    /// Whether there is room for one more epoch: old shares that cannot be erased must not pile up.
    pub(super) fn may_succeed(&self) -> bool {
        let refreshable = matches!(self.state, KeyState::Active | KeyState::Suspended);
        // What is pending now may have to be kept as well.
        let kept = self.kept.len().saturating_add(self.next.iter().len());
        refreshable && self.retiring.len() < RETIRING_MAX && kept < KEPT_MAX
    }

    /// Takes out what is older than the current epoch, once nobody needs it any more.
    pub(super) fn take_old(&mut self) -> (Vec<Retiring>, Vec<Pending>) {
        let Some(number) = self.current.as_ref().map(Epoch::number) else {
            return (Vec::new(), Vec::new());
        };
        let retiring = std::mem::take(&mut self.retiring).into_iter();
        let (old, rivals) = retiring.partition(|r| r.epoch.number() < number);
        self.retiring = rivals;
        let kept = std::mem::take(&mut self.kept).into_iter();
        let (given_up, left) = kept.partition(|p| p.public().epoch < number);
        self.kept = left;
        (old, given_up)
    }

    /// Under which labels this node's shares of the key are sealed.
    pub(super) fn labels(&self) -> Vec<String> {
        let current = self.current.as_ref().map(|e| (e.public(), &e.share));
        let next = self.next.iter().chain(&self.kept);
        let next = next.map(|p| (p.public(), &p.share));
        let retiring = self.retiring.iter();
        let retiring = retiring.map(|r| (r.epoch.public(), &r.epoch.share));
        let all = retiring.chain(current).chain(next);
        all.filter(|(_, share)| share.is_some())
            .map(|(public, _)| share_label(public))
            .collect()
    }
}

/// When the overlap of an epoch ends whose successor came into use at `now`.
pub(super) fn overlap_end(now: TimeMs) -> TimeMs {
    now.plus(OVERLAP_MS)
}

/// Under which label a share is sealed. The record's hash is in it, so that the shares of two
/// records of one epoch do not overwrite each other.
#[must_use]
pub fn share_label(public: &KeyPublic) -> String {
    let hash = public.shares_hash();
    let hash: String = hash.iter().take(8).map(|b| format!("{b:02x}")).collect();
    format!("share/{}/{}/{hash}", public.key, public.epoch.0)
}
