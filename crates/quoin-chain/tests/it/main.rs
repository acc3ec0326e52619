//! Integration tests of the chain adapters: published vectors, vectors made with other
//! implementations (eth-account 0.14 for Ethereum), and one named case for each broken rule.

#![cfg(test)]

mod accounts;
mod addresses;
mod messages;
mod properties;
mod transaction_refusals;
mod transactions;
mod typed_data;
mod typed_data_refusals;
mod wire;

use quoin_chain::{Decoded, Digest, decode};
use quoin_core::intent::{Action, Address, ChainId};
use quoin_core::stamp::{Account, Scheme};
use quoin_core::{Class, Payload, Rejection};

/// The account on EVM chain `chain_id` whose address repeats `byte`.
fn account(chain_id: u64, byte: u8) -> Account {
    Account {
        chain: ChainId::Evm(chain_id),
        address: Address::evm([byte; 20]),
        path: quoin_core::DerivationPath::ROOT,
    }
}

/// Quoin's own account for texts and ceremonies.
fn quoin_account() -> Account {
    Account {
        chain: ChainId::Quoin,
        address: Address::evm([0x11; 20]),
        path: quoin_core::DerivationPath::ROOT,
    }
}

/// Decodes for address `0x11…11` on chain 1, with an ECDSA key.
fn decode_evm(payload: &Payload) -> Result<Decoded, Rejection> {
    decode(payload, &account(1, 0x11), Scheme::Ecdsa)
}

/// Asserts that the result is the caller's fault at `field`, with `part` in the message.
#[track_caller]
fn assert_refused(result: Result<Decoded, Rejection>, field: &str, part: &str) {
    let rejection = result.expect_err("must be refused");
    assert_eq!(rejection.field, field, "{rejection}");
    assert_eq!(rejection.class, Class::Caller);
    assert!(rejection.message.contains(part), "{rejection}");
}

fn prehash(decoded: &Decoded) -> String {
    match decoded.digest() {
        Digest::Prehash(hash) => hex::encode(hash),
        other => panic!("expected a hash, found {other:?}"),
    }
}

fn action(decoded: &Decoded) -> &Action {
    &decoded.intent().action
}
