//! EIP-191 personal messages.
//!
//! The prefix keeps a message from ever being a transaction or typed data. It does not make every
//! message harmless: contract wallets such as Safe (`eth_sign` owner signatures) and most ERC-4337
//! accounts accept the EIP-191 signature over a 32-byte hash as authority to act. So a message
//! that no person can read, or that is exactly 32 bytes long, counts as raising risk.

use super::EvmAccount;
use crate::decoded::{Digest, Meaning};
use crate::shown::is_hidden;
use alloy_primitives::eip191_hash_message;
use quoin_core::Rejection;
use quoin_core::intent::{Action, Horizon, Intent, RiskEffect};
use quoin_core::payload::PAYLOAD_BYTES_MAX;
use quoin_core::stamp::{Account, Scheme};

/// The longest message: that of any payload.
pub const EVM_MESSAGE_BYTES_MAX: usize = PAYLOAD_BYTES_MAX;

/// The length of the hashes that contract wallets have their owners sign as messages.
const WALLET_HASH_BYTES: usize = 32;

pub(crate) fn decode(
    message: &[u8],
    account: &Account,
    scheme: Scheme,
) -> Result<Meaning, Rejection> {
    let account = EvmAccount::new(account, scheme)?;
    if message.len() > EVM_MESSAGE_BYTES_MAX {
        return Err(Rejection::caller(
            "message",
            format!(
                "message has `{}` bytes, which is over the limit of `{EVM_MESSAGE_BYTES_MAX}`",
                message.len()
            ),
        ));
    }
    let readable = is_readable(message);
    let risk = if readable && message.len() != WALLET_HASH_BYTES {
        RiskEffect::Neutral
    } else {
        RiskEffect::Increases
    };
    let intent = Intent {
        action: Action::Message {
            bytes: message.len() as u64,
            readable,
        },
        chain: account.chain(),
        slot: None,
        fee_max: None,
        risk,
        horizon: Horizon::Unbounded,
    };
    Ok((intent, Digest::Prehash(eip191_hash_message(message).0)))
}

/// Readable: UTF-8 in which every character shows. Carriage returns count as line ends, because
/// sign-in texts made on Windows have them.
fn is_readable(message: &[u8]) -> bool {
    std::str::from_utf8(message).is_ok_and(|text| !text.chars().any(|c| is_hidden(c) && c != '\r'))
}
