//! Slots: one payment fills one slot, which is a nonce of an account on a chain.
//!
//! A second request for a taken slot is refused, unless it replaces the first: the same payment
//! with a higher fee, or a cancel, which sends nothing to oneself. On the chain only one of them
//! can ever execute.

use crate::denial::{Denial, DenialReason};
use minicbor::{Decode, Encode};
use quoin_chain::Decoded;
use quoin_core::hash::tagged;
use quoin_core::intent::Slot;
use quoin_core::{Action, Address, Amount, ChainId, PayloadHash, RequestId, cbor, tags};
use std::collections::BTreeMap;

/// How many slots of one account are remembered; requests below the oldest are refused.
const SLOTS_MAX: usize = 4096;
/// How many requests may follow one another in a slot.
const TAKES_MAX: usize = 64;

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
    /// that nothing can be known to be the same payment.
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    pub effect: Option<[u8; 32]>,
    /// Whether the request sends nothing to oneself.
    #[n(3)]
    pub cancels: bool,
    /// The most that it can cost in fees.
    #[n(4)]
    pub fee_max: Amount,
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
        let cancels = match &intent.action {
            Action::Transfer { value, to } => {
                let own_coin = value.asset.token.is_none() && value.amount.is_zero();
                own_coin && *to == decoded.account().address
            }
            _ => false,
        };
        let fee_max = intent.fee_max.as_ref();
        Some(Self {
            slot,
            payload_hash: decoded.payload_hash(),
            effect,
            cancels,
            fee_max: fee_max.map_or(Amount::ZERO, |fee| fee.amount),
        })
    }

    fn repeats(&self, id: RequestId, takes: &[(RequestId, Self)]) -> bool {
        let mut takes = takes.iter();
        takes.any(|(other, t)| *other == id && t.payload_hash == self.payload_hash)
    }

    fn replaces(&self, takes: &[(RequestId, Self)]) -> bool {
        let same = self.effect.is_some() && takes.iter().any(|(_, t)| t.effect == self.effect);
        let higher = takes.iter().all(|(_, t)| t.fee_max < self.fee_max);
        takes.len() < TAKES_MAX && (self.cancels || (same && higher))
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
                 same payment with a higher fee, or cancel by sending nothing to yourself",
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
