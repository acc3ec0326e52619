//! The keys of a node: each with the epoch in use, the one to come, and those on their way out.
//!
//! An epoch comes into being with a stored share (*pending*), into use with the certificate of all
//! its holders (*current*), and is *retiring* from the moment its successor is in use until all
//! holders of the successor have said that they hold it. At every moment a node has at most one
//! pending epoch of a key, so it endorses at most one record for each epoch number.

use super::config::{OVERLAP_MS, RETIRING_MAX};
use quoin_core::{
    Certificate, CredentialId, KeyId, KeyState, NodeIndex, ShareEpoch, SignerSet, TimeMs,
};
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

    /// Puts a certified epoch in the place of the current one, which retires.
    pub(super) fn succeed(&mut self, epoch: Epoch, now: TimeMs, honoured_until: TimeMs) {
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
        self.next = None;
        self.held.clear();
        self.since = now;
        self.overdue = false;
    }

    /// Whether there is room for one more epoch: old shares that cannot be erased must not pile up.
    pub(super) fn may_succeed(&self) -> bool {
        let refreshable = matches!(self.state, KeyState::Active | KeyState::Suspended);
        refreshable && self.retiring.len() < RETIRING_MAX
    }

    /// Under which labels this node's shares of the key are sealed.
    pub(super) fn labels(&self) -> Vec<String> {
        let current = self.current.as_ref().map(|e| (e.public(), &e.share));
        let next = self.next.as_ref().map(|p| (p.public(), &p.share));
        let retiring = self.retiring.iter();
        let retiring = retiring.map(|r| (r.epoch.public(), &r.epoch.share));
        let all = retiring.chain(current).chain(next);
        all.filter(|(_, share)| share.is_some())
            .map(|(public, _)| share_label(public.key, public.epoch))
            .collect()
    }
}

/// When the overlap of an epoch ends whose successor came into use at `now`.
pub(super) fn overlap_end(now: TimeMs) -> TimeMs {
    now.plus(OVERLAP_MS)
}

/// Under which label a share is sealed.
pub(crate) fn share_label(key: KeyId, epoch: ShareEpoch) -> String {
    format!("share/{key}/{}", epoch.0)
}
