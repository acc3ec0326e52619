//! Slots: one payment fills one slot, which is a nonce of an account on a chain.
//!
//! A second request for a taken slot is refused, unless it repeats the first (the same payment, with
//! any fee) or cancels it by sending nothing to oneself. On the chain only one of them can ever
//! execute, so signing one slot twice for one payment is harmless, and a payment whose first
//! request failed can be asked for again.

use crate::denial::{Denial, DenialReason};
use minicbor::{Decode, Encode};
use quoin_chain::Decoded;
use quoin_core::hash::tagged;
use quoin_core::intent::Slot;
use quoin_core::{Action, Address, ChainId, PayloadHash, RequestId, cbor, tags};
use std::collections::BTreeMap;

/// How many slots of one account are remembered; requests below the oldest are refused.
const SLOTS_MAX: usize = 4096;
/// How many payments may follow one another in a slot, and how many cancels: these have room of their
/// own, because a slot must not be filled so that nothing can cancel what is in it.
const TAKES_MAX: usize = 64;
/// The most gaps that are listed of one account: each is filled by a cancel of its own.
pub const GAPS_MAX: usize = 64;

/// What a request takes of a slot.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SlotTake {
    /// The slot.
    #[n(0)]
    pub slot: Slot,
    /// The payload that fills it.
    #[n(1)]
    pub payload_hash: PayloadHash,
    /// The hash of the action; `None` when the action does not say everything that happens, so
    /// that only the very same payload can be known to be the same payment.
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    pub effect: Option<[u8; 32]>,
    /// Whether the request sends nothing to oneself.
    #[n(3)]
    pub cancels: bool,
}

impl SlotTake {
    /// What a payload takes, when it fills a slot.
    pub(crate) fn of(decoded: &Decoded) -> Option<Self> {
        let intent = decoded.intent();
        let slot = intent.slot.clone()?;
        let effect = match &intent.action {
            Action::Transfer { .. }
            | Action::TransferFrom { .. }
            | Action::Approve { .. }
            | Action::Call { .. } => {
                let action = cbor::encode(&intent.action);
                Some(tagged(tags::INTENT, &[b"effect", &action]))
            }
            _ => None,
        };
        let cancels = is_cancel(decoded);
        Some(Self {
            slot,
            payload_hash: decoded.payload_hash(),
            effect,
            cancels,
        })
    }

    fn repeats(&self, id: RequestId, takes: &[(RequestId, Self)]) -> bool {
        let mut takes = takes.iter();
        takes.any(|(other, t)| *other == id && t.payload_hash == self.payload_hash)
    }

    fn replaces(&self, takes: &[(RequestId, Self)]) -> bool {
        let same = takes.iter().any(|(_, t)| self.pays_the_same(t));
        let of_kind = takes.iter().filter(|(_, t)| t.cancels == self.cancels);
        of_kind.count() < TAKES_MAX && (self.cancels || same)
    }

    fn pays_the_same(&self, other: &Self) -> bool {
        match self.effect {
            Some(_) => self.effect == other.effect,
            None => self.payload_hash == other.payload_hash,
        }
    }
}

/// Whether a payload sends nothing of the chain's coin to oneself.
pub(crate) fn is_cancel(decoded: &Decoded) -> bool {
    match &decoded.intent().action {
        Action::Transfer { value, to } => {
            let own_coin = value.asset.token.is_none() && value.amount.is_zero();
            own_coin && *to == decoded.account().address
        }
        _ => false,
    }
}

/// The slots that requests have taken.
#[derive(Debug, Default)]
pub(crate) struct Slots(BTreeMap<(ChainId, Address), AccountSlots>);

#[derive(Debug, Default)]
struct AccountSlots {
    takes: BTreeMap<u64, Vec<(RequestId, SlotTake)>>,
    /// The highest nonce that is no longer remembered.
    floor: Option<u64>,
}

fn key(slot: &Slot) -> (ChainId, Address) {
    (slot.chain.clone(), slot.account.clone())
}

impl Slots {
    /// Refuses a request for a slot that another payment has taken.
    pub(crate) fn check(&self, id: RequestId, take: &SlotTake) -> Result<(), Denial> {
        let nonce = take.slot.nonce;
        let Some(account) = self.0.get(&key(&take.slot)) else {
            return Ok(());
        };
        let taken = |message| Err(Denial::at(DenialReason::SlotTaken, "nonce", message));
        match account.takes.get(&nonce) {
            None if account.floor.is_some_and(|floor| nonce <= floor) => taken(format!(
                "nonce {nonce} of `{}` is too far in the past",
                take.slot.account
            )),
            None => Ok(()),
            Some(takes) if take.repeats(id, takes) => Ok(()),
            Some(takes) if take.replaces(takes) => Ok(()),
            Some(takes) => taken(format!(
                "nonce {nonce} of `{}` is taken by request `{}`; take the next nonce, repeat the \
                 same payment with any fee, or cancel by sending nothing to yourself",
                take.slot.account,
                takes
                    .first()
                    .map(|(id, _)| id.to_string())
                    .unwrap_or_default(),
            )),
        }
    }

    pub(crate) fn take(&mut self, id: RequestId, take: &SlotTake) {
        let account = self.0.entry(key(&take.slot)).or_default();
        let takes = account.takes.entry(take.slot.nonce).or_default();
        takes.retain(|(other, t)| (*other, t.payload_hash) != (id, take.payload_hash));
        takes.push((id, take.clone()));
        while account.takes.len() > SLOTS_MAX {
            let oldest = account.takes.pop_first().map(|(nonce, _)| nonce);
            account.floor = account.floor.max(oldest);
        }
    }

    /// Whether anything of this account is remembered.
    pub(crate) fn has(&self, chain: &ChainId, account: &Address) -> bool {
        self.0.contains_key(&(chain.clone(), account.clone()))
    }

    /// Whether a request has taken the nonce, or may have: what is no longer remembered may.
    pub(crate) fn knows(&self, chain: &ChainId, account: &Address, nonce: u64) -> bool {
        let account = self.0.get(&(chain.clone(), account.clone()));
        account.is_some_and(|account| {
            let forgotten = account.floor.is_some_and(|floor| nonce <= floor);
            forgotten || account.takes.contains_key(&nonce)
        })
    }

    /// Whether the very same payload has taken its slot before.
    pub(crate) fn has_taken(&self, take: &SlotTake) -> bool {
        let account = self.0.get(&key(&take.slot));
        let takes = account.and_then(|account| account.takes.get(&take.slot.nonce));
        let mut takes = takes.into_iter().flatten();
        takes.any(|(_, t)| t.payload_hash == take.payload_hash)
    }

    /// Whether the slot is so far in the past that nobody remembers what took it.
    pub(crate) fn is_forgotten(&self, take: &SlotTake) -> bool {
        let account = self.0.get(&key(&take.slot));
        let floor = account.and_then(|account| account.floor);
        floor.is_some_and(|floor| take.slot.nonce <= floor)
    }

    /// The nonces from `next` on that no request has taken although one above them is: until they
    /// are filled, by cancels for example, nothing above them executes. The lowest come first.
    pub(crate) fn gaps(&self, chain: &ChainId, account: &Address, next: u64) -> Vec<u64> {
        let Some(account) = self.0.get(&(chain.clone(), account.clone())) else {
            return Vec::new();
        };
        // What is no longer remembered was taken, or below what was.
        let first = account
            .floor
            .map_or(next, |floor| next.max(floor.saturating_add(1)));
        let mut gaps = Vec::new();
        let mut expected = first;
        for (nonce, _) in account.takes.range(first..) {
            let room = GAPS_MAX - gaps.len();
            gaps.extend((expected..*nonce).take(room));
            expected = nonce.saturating_add(1);
        }
        gaps
    }

    pub(crate) fn release(&mut self, id: RequestId, take: &SlotTake) {
        let Some(account) = self.0.get_mut(&key(&take.slot)) else {
            return;
        };
        if let Some(takes) = account.takes.get_mut(&take.slot.nonce) {
            takes.retain(|(other, t)| (*other, t.payload_hash) != (id, take.payload_hash));
            if takes.is_empty() {
                account.takes.remove(&take.slot.nonce);
            }
        }
    }
}
