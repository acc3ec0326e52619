//! EVM chains: transactions, typed data and messages.
//!
//! Nothing here talks to a chain: nonces, fees and gas are whatever the payload says.

pub(crate) mod call;
pub(crate) mod message;
pub(crate) mod transaction;
pub(crate) mod typed_data;
pub(crate) mod wire;

use crate::decoded::refuse_model;
use quoin_core::intent::{Address, AssetAmount, AssetId, ChainId};
use quoin_core::stamp::{Account, Scheme};
use quoin_core::{Amount, Rejection};

/// The account that an EVM payload is decoded for.
pub(crate) struct EvmAccount {
    pub(crate) chain_id: u64,
    pub(crate) address: Address,
}

impl EvmAccount {
    /// Checks that the account is an EVM one and that its key can sign for it.
    pub(crate) fn new(account: &Account, scheme: Scheme) -> Result<Self, Rejection> {
        refuse_model(scheme, "scheme")?;
        if !matches!(scheme, Scheme::Ecdsa | Scheme::Model) {
            return Err(Rejection::caller(
                "scheme",
                "EVM chains verify ECDSA only: use an account whose key has that scheme",
            ));
        }
        let ChainId::Evm(chain_id) = account.chain else {
            return Err(Rejection::caller(
                "account.chain",
                format!(
                    "expected an EVM chain such as `eip155:1`, found `{}`",
                    account.chain
                ),
            ));
        };
        if account.address.to_evm().is_none() {
            return Err(Rejection::caller(
                "account.address",
                "expected an EVM address: `0x` and 40 hex digits",
            ));
        }
        Ok(Self {
            chain_id,
            address: account.address.clone(),
        })
    }

    pub(crate) const fn chain(&self) -> ChainId {
        ChainId::Evm(self.chain_id)
    }

    /// An amount of the chain's own coin.
    pub(crate) const fn native(&self, amount: Amount) -> AssetAmount {
        AssetAmount {
            asset: AssetId {
                chain: self.chain(),
                token: None,
            },
            amount,
        }
    }

    /// An amount of the token at `contract`.
    pub(crate) const fn token(&self, contract: Address, amount: Amount) -> AssetAmount {
        AssetAmount {
            asset: AssetId {
                chain: self.chain(),
                token: Some(contract),
            },
            amount,
        }
    }
}
