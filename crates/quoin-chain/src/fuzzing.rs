//! Entry points for fuzzing: arbitrary bytes in, a panic when a decoder breaks its promise.
//!
//! The fuzz targets and the property tests call these. Nothing else should.

use crate::{Digest, decode};
use alloy_primitives::keccak256;
use quoin_core::Payload;
use quoin_core::intent::{Address, ChainId, Horizon};
use quoin_core::stamp::{Account, Scheme};

/// The account that the entry points decode for: address `0x11…11` on chain 1.
#[must_use]
pub fn evm_account() -> Account {
    Account {
        chain: ChainId::Evm(1),
        address: Address::evm([0x11; 20]),
        path: quoin_core::DerivationPath::ROOT,
    }
}

/// Decodes `data` as a transaction; what is accepted must sign its own hash and name its slot.
pub fn transaction(data: &[u8]) {
    let payload = Payload::EvmTransaction(data.to_vec());
    if let Ok(decoded) = decode(&payload, &evm_account(), Scheme::Ecdsa) {
        assert_eq!(decoded.digest(), &Digest::Prehash(keccak256(data).0));
        assert_eq!(decoded.payload_hash(), payload.hash());
        assert_eq!(decoded.intent().horizon, Horizon::Slot);
        assert!(decoded.intent().slot.is_some());
        assert!(decoded.intent().fee_max.is_some());
    }
}

/// Decodes `data` as typed data; what is accepted must have a digest to sign.
pub fn typed_data(data: &[u8]) {
    let payload = Payload::EvmTypedData(data.to_vec());
    if let Ok(decoded) = decode(&payload, &evm_account(), Scheme::Ecdsa) {
        assert!(matches!(decoded.digest(), Digest::Prehash(_)));
        assert_eq!(decoded.intent().chain, ChainId::Evm(1));
    }
}

/// Decodes `data` as an EIP-191 message; it must never sign the hash of the bare bytes.
pub fn message(data: &[u8]) {
    let payload = Payload::EvmMessage(data.to_vec());
    if let Ok(decoded) = decode(&payload, &evm_account(), Scheme::Ecdsa) {
        assert_ne!(decoded.digest(), &Digest::Prehash(keccak256(data).0));
    }
}

/// Decodes `data` as a text for each scheme; no two may sign the same thing.
pub fn text(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let account = Account {
        chain: ChainId::Quoin,
        address: Address::evm([0x11; 20]),
        path: quoin_core::DerivationPath::ROOT,
    };
    let payload = Payload::Text(text.to_owned());
    let digest = |scheme| decode(&payload, &account, scheme).map(|d| d.digest().clone());
    if let (Ok(ecdsa), Ok(taproot), Ok(ed25519)) = (
        digest(Scheme::Ecdsa),
        digest(Scheme::Taproot),
        digest(Scheme::Ed25519),
    ) {
        assert_ne!(ecdsa, taproot);
        assert!(matches!(ed25519, Digest::Message(bytes) if bytes.first() == Some(&0xff)));
    }
}
