//! The encodings of the words, pinned: a changed byte here is a changed protocol.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may"
)]

#[cfg(test)]
mod passkeys;

use minicbor::{Decode, Encode};
use proptest::prelude::*;
use quoin_core::cbor::{self, Version};
use quoin_core::intent::{AssetAmount, Horizon, RiskEffect, Slot, Unexplained};
use quoin_core::payload::CreateKey;
use quoin_core::stamp::Account;
use quoin_core::statement::Endorsement;
use quoin_core::webauthn::base64url;
use quoin_core::{
    Action, Address, Amount, Assertion, AssetId, BatchHash, BatchId, Boot, Certificate, ChainId,
    CharterHash, CharterNumber, ClusterId, CredentialId, CustodyMethod, Generation, Intent, KeyId,
    Lane, NodeIndex, P256Identity, Passkey, Payload, PayloadHash, PresignatureId, PublicCredential,
    Purpose, RequestId, Scheme, SecretBytes, Signed, SignerSet, SigningIdentity, Stamp, TimeMs,
};
use sha2::{Digest, Sha256};

fn address(byte: u8) -> Address {
    Address::evm([byte; 20])
}

fn ether(wei: u64) -> AssetAmount {
    let asset = AssetId {
        chain: ChainId::Evm(1),
        token: None,
    };
    AssetAmount {
        asset,
        amount: Amount::from(wei),
    }
}

fn node(index: u8) -> NodeIndex {
    NodeIndex::new(index).unwrap()
}

fn boot(index: u8) -> Boot {
    Boot {
        node: node(index),
        lane: Lane(0),
        generation: Generation(7),
    }
}

fn stamp() -> Stamp {
    Stamp {
        version: Version,
        cluster: ClusterId([1; 32]),
        charter_number_floor: CharterNumber(3),
        charter_hash_floor: CharterHash([2; 32]),
        principal: "alice".parse().unwrap(),
        credential: CredentialId([3; 16]),
        custody: CustodyMethod::Mpc,
        key: Some(KeyId([4; 16])),
        account: Account {
            chain: ChainId::Evm(1),
            address: address(5),
            path: quoin_core::DerivationPath::ROOT,
        },
        purpose: Purpose::Trading,
        payload_hash: PayloadHash([6; 32]),
        request_id: RequestId([7; 16]),
        not_after: TimeMs(1_800_000_000_000),
    }
}

fn create() -> CreateKey {
    CreateKey {
        name: "desk".parse().unwrap(),
        scheme: Scheme::Ecdsa,
        purpose: Purpose::Trading,
    }
}

fn intent() -> Intent {
    Intent {
        action: Action::Transfer {
            value: ether(5),
            to: address(9),
        },
        chain: ChainId::Evm(1),
        slot: Some(Slot {
            chain: ChainId::Evm(1),
            account: address(5),
            nonce: 8,
        }),
        fee_max: Some(ether(21_000)),
        risk: RiskEffect::Increases,
        horizon: Horizon::Slot,
    }
}

fn unexplained() -> Action {
    Action::Unexplained {
        reason: Unexplained::Deploys,
        target: None,
        value: ether(0),
    }
}

/// How many forms there are, for the property tests.
const FORMS: usize = 22;

fn p256() -> P256Identity {
    P256Identity::from_scalar(&SecretBytes::take(&mut [8; 32])).unwrap()
}

fn passkey() -> Passkey {
    let PublicCredential::P256(key) = p256().public() else {
        panic!("a P-256 key");
    };
    Passkey::new(key, "desk.example".parse().unwrap()).unwrap()
}

fn assertion(challenge: &[u8; 32]) -> Assertion {
    let challenge = base64url(challenge);
    let client = format!(
        r#"{{"type":"webauthn.get","challenge":"{challenge}","origin":"https://desk.example"}}"#
    );
    let mut data = Sha256::digest("desk.example").to_vec();
    data.extend([5, 0, 0, 0, 0]);
    let mut message = data.clone();
    message.extend(Sha256::digest(&client));
    Assertion::new(data, client.into_bytes(), p256().sign(&message)).unwrap()
}

/// Name, encoding of today, encoding as pinned.
fn forms() -> Vec<(&'static str, Vec<u8>)> {
    let identity = SigningIdentity::from_seed(&SecretBytes::take(&mut [8; 32]));
    let mut certificate = Certificate::unsigned(stamp());
    certificate.endorse(&identity);
    let mut forms = vec![
        ("stamp", cbor::encode(&stamp())),
        ("signed-stamp", Signed::sign(stamp(), &identity).to_bytes()),
        ("certificate", certificate.to_bytes()),
        (
            "payload-transaction",
            cbor::encode(&Payload::EvmTransaction(vec![2, 0xc0])),
        ),
        (
            "payload-typed-data",
            cbor::encode(&Payload::EvmTypedData(b"{}".to_vec())),
        ),
        (
            "payload-message",
            cbor::encode(&Payload::EvmMessage(b"hi".to_vec())),
        ),
        ("payload-text", cbor::encode(&Payload::Text("hi".into()))),
        (
            "payload-create-key",
            cbor::encode(&Payload::CreateKey(create())),
        ),
        ("payload-hash", Payload::Text("hi".into()).hash().0.to_vec()),
        ("intent", cbor::encode(&intent())),
        ("action-unexplained", cbor::encode(&unexplained())),
        ("boot", cbor::encode(&boot(2))),
        (
            "batch-id",
            cbor::encode(&BatchId {
                proposer: boot(1),
                counter: 9,
            }),
        ),
        (
            "presignature-id",
            cbor::encode(&PresignatureId {
                batch: BatchHash([1; 32]),
                index: 3,
            }),
        ),
        (
            "signer-set",
            cbor::encode(&SignerSet::from_ascending(vec![node(1), node(3)]).unwrap()),
        ),
        (
            "credential-ed25519",
            cbor::encode(&PublicCredential::Ed25519([1; 32])),
        ),
        ("credential-id", identity.id().0.to_vec()),
    ];
    forms.extend(forms_of_p256());
    forms
}

fn forms_of_p256() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("credential-p256", cbor::encode(&p256().public())),
        (
            "credential-passkey",
            cbor::encode(&PublicCredential::Passkey(passkey())),
        ),
        (
            "signed-stamp-p256",
            Signed::sign(stamp(), &p256()).to_bytes(),
        ),
        ("signed-stamp-passkey", {
            let assertion = assertion(&Signed::challenge(&stamp(), &passkey()));
            Signed::asserted(stamp(), &passkey(), assertion).to_bytes()
        }),
        ("certificate-passkey", {
            let mut certificate = Certificate::unsigned(stamp());
            let assertion = assertion(&certificate.challenge(&passkey()));
            certificate.add(Endorsement::asserted(&passkey(), assertion));
            certificate.to_bytes()
        }),
    ]
}

#[test]
fn forms_are_pinned() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/golden.txt");
    let today: String = forms()
        .iter()
        .map(|(name, bytes)| format!("{name} {}\n", hex::encode(bytes)))
        .collect();
    if std::env::var_os("QUOIN_BLESS").is_some() {
        std::fs::write(path, &today).unwrap();
    }
    let pinned = std::fs::read_to_string(path).unwrap();
    for (now, then) in today.lines().zip(pinned.lines()) {
        assert_eq!(
            now, then,
            "a form has changed: give it a new version instead"
        );
    }
    assert_eq!(today.lines().count(), pinned.lines().count());
    assert_eq!(today.lines().count(), FORMS);
}

fn reads_back<T>(bytes: &[u8])
where
    T: Encode<()> + for<'b> Decode<'b, ()>,
{
    if let Ok(value) = cbor::decode::<T>(bytes, 4096) {
        assert_eq!(cbor::encode(&value), bytes);
    }
}

fn try_all(bytes: &[u8]) {
    reads_back::<Stamp>(bytes);
    reads_back::<Payload>(bytes);
    reads_back::<Intent>(bytes);
    reads_back::<SignerSet>(bytes);
    reads_back::<BatchId>(bytes);
    reads_back::<PublicCredential>(bytes);
    if let Ok(signed) = Signed::<Stamp>::from_bytes(bytes) {
        assert_eq!(signed.to_bytes(), bytes);
    }
    if let Ok(endorsement) = Endorsement::from_bytes(bytes) {
        assert_eq!(endorsement.to_bytes(), bytes);
    }
    if let Ok(certificate) = Certificate::<Stamp>::from_bytes(bytes) {
        assert_eq!(certificate.to_bytes(), bytes);
    }
}

proptest! {
    #[test]
    fn what_decodes_has_one_spelling(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        try_all(&bytes);
    }

    #[test]
    fn mutated_forms_have_one_spelling_or_none(
        form in 0usize..FORMS,
        place in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = forms()[form].1.clone();
        let at = place.index(bytes.len());
        bytes[at] = byte;
        try_all(&bytes);
    }
}
