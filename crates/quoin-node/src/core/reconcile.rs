//! Reconciliation: what a chain has executed in the name of an account, against what was signed here.
//!
//! When a key leaks, nothing that this cluster decides can stop whoever has it; what is left is to
//! notice at once. Feeds say which nonce of an account is the next one. Every nonce below it was
//! spent by somebody, and every one that was spent by us is in the journal of each node, because
//! finished signatures are shown to all. One that stays unknown for a block is an alarm.
//!
//! It begins with what was believed first: what an account did before anybody watched it, it did. What
//! was spent while this node was away, or heard of no nonces, the others may have signed and this node
//! may never be shown; so it says once how far the account has moved without it, for people to compare
//! with the other nodes, and goes on from there. A nonce says that a transaction was executed, not which one; whoever has the key and takes our nonce
//! first shows as our transaction that never executes.
//!
//! An account is watched when the charter has a rule for its nonce, and it is one of ours.

use super::{Alarm, Effect, Node, Record, Turn, key_addresses};
use minicbor::{Decode, Encode};
use quoin_core::{Address, ChainId, DerivationPath, TimeMs};
use quoin_policy::FactKind;
use std::collections::{BTreeMap, BTreeSet};

/// How long a spent nonce may be unknown: one block of Ethereum, in which a finished signature that
/// was made while this node looked away arrives.
const GRACE_MS: u64 = 12_000;
/// How often nonces are looked at.
const LOOK_MS: u64 = 1_000;
/// How many nonces are looked at in one go: as many as slots are remembered.
const NONCES_MAX: u64 = 4_096;
/// After how long without a word about an account's nonce a node counts as having been away.
const AWAY_MS: u64 = 60_000;
/// How many are reported in one go: each is a record, and whoever has the key may spend many at once.
const TOLD_AT_ONCE_MAX: usize = 16;

/// A nonce of an account of ours, as the journal names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct SpentNonce {
    /// The chain.
    #[n(0)]
    pub chain: ChainId,
    /// The account.
    #[n(1)]
    pub account: Address,
    /// The nonce.
    #[n(2)]
    pub nonce: u64,
}

/// What a node remembers of the accounts that it watches.
#[derive(Default)]
pub(super) struct Reconciled {
    /// From which nonce on each account is watched.
    from: BTreeMap<(ChainId, Address), u64>,
    /// Spent nonces that nobody here knows, and since when.
    unknown: BTreeMap<SpentNonce, TimeMs>,
    /// Those that were reported.
    told: BTreeSet<SpentNonce>,
    /// When each account's nonce was believed last, in this boot.
    heard: BTreeMap<(ChainId, Address), TimeMs>,
    looked: TimeMs,
}

impl Reconciled {
    /// From here on an account is watched, as the journal has it.
    pub(super) fn restore_from(&mut self, first: SpentNonce) {
        self.from.insert((first.chain, first.account), first.nonce);
    }

    /// This was reported, as the journal has it.
    pub(super) fn restore_told(&mut self, nonce: SpentNonce) {
        self.told.insert(nonce);
    }
}

impl Node {
    /// Compares what feeds say of our accounts with what was signed.
    pub(super) fn reconcile(&mut self, turn: &mut Turn<'_>) {
        if turn.now.since(self.reconciled.looked) < LOOK_MS {
            return;
        }
        self.reconciled.looked = turn.now;
        for (chain, account) in self.watched_accounts() {
            let believed = self
                .facts
                .nonce(&self.constitution, &chain, &account, turn.now);
            if let Some(view) = believed {
                self.compare(turn, &chain, &account, view.number);
            }
        }
    }

    /// The accounts whose nonces the charter has a rule for, and which are ours.
    fn watched_accounts(&self) -> Vec<(ChainId, Address)> {
        let rules = self.constitution.charter().facts.iter();
        let named = rules.filter_map(|rule| match &rule.kind {
            FactKind::Nonce(chain, account) => Some((chain.clone(), account.clone())),
            _ => None,
        });
        named.filter(|(chain, a)| self.is_ours(chain, a)).collect()
    }

    fn is_ours(&self, chain: &ChainId, account: &Address) -> bool {
        let keys = self.keys.values().filter_map(|entry| entry.public());
        let mut roots = keys.map(|public| key_addresses(public, &DerivationPath::ROOT));
        // A derived account is known by what it has signed.
        self.ledger.has_slots(chain, account) || roots.any(|all| all.contains(account))
    }

    fn compare(&mut self, turn: &mut Turn<'_>, chain: &ChainId, account: &Address, next: u64) {
        let place = (chain.clone(), account.clone());
        let nonce = |nonce| SpentNonce {
            chain: chain.clone(),
            account: account.clone(),
            nonce,
        };
        let heard = self.reconciled.heard.insert(place.clone(), turn.now);
        let away = heard.is_none_or(|at| turn.now.since(at) > AWAY_MS);
        let from = self.reconciled.from.get(&place).copied();
        let from = match from.filter(|_| !away) {
            Some(from) => from,
            None => return self.watch_from(turn, place, next),
        };
        let first = from.max(next.saturating_sub(NONCES_MAX));
        let mut told = 0;
        for spent in (first..next).map(nonce) {
            if self.ledger.knows_slot(chain, account, spent.nonce) {
                self.reconciled.unknown.remove(&spent);
            } else if !self.reconciled.told.contains(&spent) {
                let since = self.reconciled.unknown.entry(spent.clone());
                let since = *since.or_insert(turn.now);
                if turn.now.since(since) >= GRACE_MS && told < TOLD_AT_ONCE_MAX {
                    told += 1;
                    self.tell_foreign(turn, spent);
                }
            }
        }
    }

    /// Goes on from a nonce; what was spent unknown to this node while it was away, it says once.
    fn watch_from(&mut self, turn: &mut Turn<'_>, place: (ChainId, Address), next: u64) {
        let (chain, account) = place.clone();
        let before = self.reconciled.from.insert(place, next);
        if before == Some(next) {
            return;
        }
        let first = before.map(|from| from.max(next.saturating_sub(NONCES_MAX)));
        let mut missed = first.into_iter().flat_map(|first| first..next);
        let nonce = |nonce| SpentNonce {
            chain: chain.clone(),
            account: account.clone(),
            nonce,
        };
        let unknown = missed.find(|n| {
            let told = self.reconciled.told.contains(&nonce(*n));
            !told && !self.ledger.knows_slot(&chain, &account, *n)
        });
        if let Some(unknown) = unknown {
            let alarm = Alarm::SpentWhileAway(chain.clone(), account.clone(), unknown);
            turn.effects.push(Effect::Alarm(alarm));
        }
        self.persist(turn, Record::WatchedFrom(nonce(next)));
    }

    fn tell_foreign(&mut self, turn: &mut Turn<'_>, spent: SpentNonce) {
        self.reconciled.unknown.remove(&spent);
        self.reconciled.told.insert(spent.clone());
        let alarm = Alarm::ForeignSpend(spent.chain.clone(), spent.account.clone(), spent.nonce);
        turn.effects.push(Effect::Alarm(alarm));
        self.persist(turn, Record::ForeignSpend(spent));
    }
}
