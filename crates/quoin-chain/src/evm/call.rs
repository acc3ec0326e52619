//! What a transaction's recipient, coin and call data mean.
//!
//! Three ERC-20 calls have types of their own, and only in their exact encoding; every other call
//! stays a `Call`. Whether the contract is a token at all is for the charter's assets to say:
//! ERC-721 shares two of the selectors, and a contract may do anything with them.
//! `increaseAllowance` and `permit` sent as calls are plain calls: the first raises an allowance
//! to a total that the payload does not show, the second acts on somebody else's signature.

use super::EvmAccount;
use quoin_core::Amount;
use quoin_core::intent::{Action, Address, RiskEffect, Unexplained};
use sha2::{Digest, Sha256};

/// `transfer(address,uint256)`.
const TRANSFER: [u8; 4] = [0xa9, 0x05, 0x9c, 0xbb];
/// `transferFrom(address,address,uint256)`.
const TRANSFER_FROM: [u8; 4] = [0x23, 0xb8, 0x72, 0xdd];
/// `approve(address,uint256)`.
const APPROVE: [u8; 4] = [0x09, 0x5e, 0xa7, 0xb3];

/// Explains a transaction of `account` to `to` (`None` deploys) with `value` and `data`.
pub(crate) fn explain(
    account: &EvmAccount,
    to: Option<Address>,
    value: Amount,
    data: &[u8],
) -> (Action, RiskEffect) {
    let risk = match &to {
        // The way to cancel: fill the slot with a payment of nothing to oneself.
        Some(to) if data.is_empty() && value.is_zero() && *to == account.address => {
            RiskEffect::Reduces
        }
        _ => RiskEffect::Increases,
    };
    (action(account, to, value, data), risk)
}

fn action(account: &EvmAccount, to: Option<Address>, value: Amount, data: &[u8]) -> Action {
    let unexplained = |reason, target| Action::Unexplained {
        reason,
        target,
        value: account.native(value),
    };
    let Some(target) = to else {
        return unexplained(Unexplained::Deploys, None);
    };
    if data.is_empty() {
        return Action::Transfer {
            value: account.native(value),
            to: target,
        };
    }
    let Some((selector, arguments)) = data.split_first_chunk::<4>() else {
        return unexplained(Unexplained::ShortCallData, Some(target));
    };
    if ![TRANSFER, TRANSFER_FROM, APPROVE].contains(selector) {
        return Action::Call {
            target,
            selector: *selector,
            value: account.native(value),
            data_hash: Sha256::digest(data).into(),
        };
    }
    if !value.is_zero() {
        return unexplained(Unexplained::ValueOnTokenCall, Some(target));
    }
    token_action(account, &target, *selector, arguments)
        .unwrap_or_else(|| unexplained(Unexplained::MalformedArguments, Some(target)))
}

/// The typed action of an ERC-20 call, or `None` unless `arguments` is its exact ABI encoding.
fn token_action(
    account: &EvmAccount,
    contract: &Address,
    selector: [u8; 4],
    arguments: &[u8],
) -> Option<Action> {
    let mut words = Words(arguments);
    let from = if selector == TRANSFER_FROM {
        Some(words.address()?)
    } else {
        None
    };
    let to = words.address()?;
    let value = account.token(contract.clone(), words.amount()?);
    if !words.0.is_empty() {
        return None;
    }
    Some(match from {
        Some(from) => Action::TransferFrom { value, from, to },
        None if selector == APPROVE => Action::Approve {
            value,
            spender: to,
            permit: false,
        },
        None => Action::Transfer { value, to },
    })
}

/// A reader of 32-byte ABI words.
struct Words<'a>(&'a [u8]);

impl Words<'_> {
    fn word(&mut self) -> Option<[u8; 32]> {
        let (word, rest) = self.0.split_first_chunk::<32>()?;
        self.0 = rest;
        Some(*word)
    }

    /// An address, whose 12 bytes of padding must be zero.
    fn address(&mut self) -> Option<Address> {
        let word = self.word()?;
        let (padding, address) = word.split_last_chunk::<20>()?;
        padding
            .iter()
            .all(|b| *b == 0)
            .then(|| Address::evm(*address))
    }

    fn amount(&mut self) -> Option<Amount> {
        self.word().map(Amount::from_be_bytes)
    }
}
