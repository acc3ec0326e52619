//! What has been signed and could still execute.
//!
//! A signature that was handed out is out of Quoin's hands: it can execute until its horizon is
//! reached or its slot is used on the chain. That another signature for the same slot was made, a
//! cancel among them, ends nothing; that the chain has used the slot does, whoever did.

use crate::constitution::Constitution;
use crate::explain::summary;
use crate::facts::FactStore;
use crate::slots::is_cancel;
use minicbor::{Decode, Encode};
use quoin_chain::Decoded;
use quoin_core::intent::{Horizon, RiskEffect, Slot};
use quoin_core::stamp::Account;
use quoin_core::{Address, ChainId, KeyId, RequestId, Stamp, TimeMs};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The most entries. Beyond them the oldest are forgotten, and counted.
pub const OUTSTANDING_MAX: usize = 4096;
/// How long after its deadline a signature counts as outstanding: a chain's clock may be behind.
pub const DEADLINE_MARGIN_MS: u64 = 5 * 60 * 1000;

/// What ends a signature's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Closes {
    /// A time.
    #[n(0)]
    Until {
        /// The time.
        #[n(0)]
        at: TimeMs,
    },
    /// That the account's nonce is used on the chain.
    #[n(1)]
    Slot {
        /// The nonce.
        #[n(0)]
        nonce: u64,
        /// Whether this sends nothing to oneself, which is what burns the others in the slot.
        #[n(1)]
        cancels: bool,
    },
    /// Nothing.
    #[n(2)]
    Never,
}

/// A signature that could still execute.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outstanding {
    /// The request.
    #[n(0)]
    pub request_id: RequestId,
    /// The key.
    #[n(1)]
    pub key: Option<KeyId>,
    /// The account.
    #[n(2)]
    pub account: Account,
    /// What it does, in words.
    #[n(3)]
    pub summary: String,
    /// What ends it.
    #[n(4)]
    pub closes: Closes,
    /// What it and its maximum fee were worth when it was judged, in millionths of a dollar; `None`
    /// when nobody knew.
    #[n(5)]
    pub value_usd_micro: Option<u64>,
    /// When it was signed.
    #[n(6)]
    pub signed_at: TimeMs,
}

impl Outstanding {
    /// The entry of a signature; `None` when it is none that could execute: a ceremony, or a text
    /// that moves nothing.
    #[must_use]
    pub fn of(
        constitution: &Constitution,
        decoded: &Decoded,
        stamp: &Stamp,
        value_usd_micro: Option<u64>,
        signed_at: TimeMs,
    ) -> Option<Self> {
        let intent = decoded.intent();
        let closes = match (&intent.slot, intent.horizon) {
            (Some(slot), _) => Closes::Slot {
                nonce: slot.nonce,
                cancels: is_cancel(decoded),
            },
            _ if intent.risk != RiskEffect::Increases => return None,
            (None, Horizon::Until(at)) => Closes::Until { at },
            // A slot that the intent does not name cannot be seen to be used.
            (None, Horizon::Slot | Horizon::Unbounded) => Closes::Never,
        };
        Some(Self {
            request_id: stamp.request_id,
            key: stamp.key,
            account: decoded.account().clone(),
            summary: summary(constitution, intent),
            closes,
            value_usd_micro,
            signed_at,
        })
    }

    /// The slot that it fills.
    #[must_use]
    pub fn slot(&self) -> Option<Slot> {
        match self.closes {
            Closes::Slot { nonce, .. } => Some(Slot {
                chain: self.account.chain.clone(),
                account: self.account.address.clone(),
                nonce,
            }),
            Closes::Until { .. } | Closes::Never => None,
        }
    }

    /// The slot in which a cancel would burn it: none when it has no slot, or is a cancel itself.
    #[must_use]
    pub fn burnable(&self) -> Option<Slot> {
        match self.closes {
            Closes::Slot { cancels: false, .. } => self.slot(),
            _ => None,
        }
    }

    /// Whether it can no longer execute, by what is known at `now`.
    #[must_use]
    pub fn is_closed(&self, constitution: &Constitution, facts: &FactStore, now: TimeMs) -> bool {
        match self.closes {
            Closes::Until { at } => now >= at.plus(DEADLINE_MARGIN_MS),
            Closes::Slot { nonce, .. } => {
                let Account { chain, address, .. } = &self.account;
                let next = facts.nonce(constitution, chain, address, now);
                next.is_some_and(|next| next.number > nonce)
            }
            Closes::Never => false,
        }
    }
}

/// All signatures that could still execute, as far as this node knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutstandingSet {
    entries: BTreeMap<RequestId, Outstanding>,
    forgotten: u64,
}

impl OutstandingSet {
    /// Adds a signature; the request's earlier one keeps its time. With too many, the oldest one is
    /// forgotten.
    pub fn insert(&mut self, entry: Outstanding) {
        if self.entries.contains_key(&entry.request_id) {
            return;
        }
        self.entries.insert(entry.request_id, entry);
        if self.entries.len() <= OUTSTANDING_MAX {
            return;
        }
        let all = self.entries.values();
        let oldest = all.min_by_key(|e| (e.signed_at, e.request_id));
        if let Some(oldest) = oldest.map(|e| e.request_id) {
            self.entries.remove(&oldest);
            self.forgotten = self.forgotten.saturating_add(1);
        }
    }

    /// Forgets what can no longer execute, and returns the requests.
    pub fn sweep(
        &mut self,
        constitution: &Constitution,
        facts: &FactStore,
        now: TimeMs,
    ) -> Vec<RequestId> {
        let closed = |entry: &&Outstanding| entry.is_closed(constitution, facts, now);
        let closed: Vec<RequestId> = self
            .entries
            .values()
            .filter(closed)
            .map(|entry| entry.request_id)
            .collect();
        for id in &closed {
            self.entries.remove(id);
        }
        closed
    }

    /// All of them, by request.
    pub fn iter(&self) -> impl Iterator<Item = &Outstanding> {
        self.entries.values()
    }

    /// Those that fill a slot of an account, a cancel among them when one was signed.
    pub fn in_slots_of(
        &self,
        chain: &ChainId,
        account: &Address,
    ) -> impl Iterator<Item = &Outstanding> {
        self.entries.values().filter(move |entry| {
            let here = (&entry.account.chain, &entry.account.address) == (chain, account);
            here && matches!(entry.closes, Closes::Slot { .. })
        })
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many were forgotten because there were too many, though they could still execute.
    #[must_use]
    pub const fn forgotten(&self) -> u64 {
        self.forgotten
    }
}
