//! Properties of the decoders under arbitrary and mutated input.

use crate::decode_evm;
use crate::transactions::{EIP155, EIP1559, EIP2930};
use proptest::prelude::*;
use quoin_chain::{Digest, Eip1559Fields, encode_eip1559, fuzzing};
use quoin_core::intent::Action;
use quoin_core::{Amount, Payload};

/// One change of one place: a byte replaced, removed, inserted, or the rest cut off.
#[derive(Clone, Debug)]
enum Mutation {
    Replace(usize, u8),
    Remove(usize),
    Insert(usize, u8),
    Cut(usize),
}

impl Mutation {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let place = |at: usize| at % bytes.len().max(1);
        match *self {
            _ if bytes.is_empty() => {}
            Self::Replace(at, byte) => {
                let at = place(at);
                bytes[at] = byte;
            }
            Self::Remove(at) => {
                bytes.remove(place(at));
            }
            Self::Insert(at, byte) => bytes.insert(place(at), byte),
            Self::Cut(at) => bytes.truncate(place(at)),
        }
    }
}

fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    let one = prop_oneof![
        (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Mutation::Replace(at, byte)),
        any::<usize>().prop_map(Mutation::Remove),
        (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Mutation::Insert(at, byte)),
        any::<usize>().prop_map(Mutation::Cut),
    ];
    prop::collection::vec(one, 1..4)
}

fn mutate(bytes: &[u8], mutations: &[Mutation]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for mutation in mutations {
        mutation.apply(&mut bytes);
    }
    bytes
}

fn example(index: usize) -> Vec<u8> {
    hex::decode([EIP155, EIP2930, EIP1559][index % 3][0]).unwrap()
}

fn document(index: usize) -> &'static [u8] {
    let documents: [&[u8]; 3] = [
        include_bytes!("vectors/mail.json"),
        include_bytes!("vectors/permit.json"),
        include_bytes!("vectors/every_type.json"),
    ];
    documents[index % 3]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(data in prop::collection::vec(any::<u8>(), 0..600)) {
        fuzzing::transaction(&data);
        fuzzing::typed_data(&data);
        fuzzing::message(&data);
        fuzzing::text(&data);
    }

    #[test]
    fn arbitrary_texts_never_panic(text in ".*") {
        fuzzing::text(text.as_bytes());
        fuzzing::message(text.as_bytes());
        fuzzing::typed_data(text.as_bytes());
    }

    #[test]
    fn a_mutated_transaction_never_signs_for_the_original(
        index in 0usize..3,
        mutations in mutations(),
    ) {
        let original = example(index);
        let mutated = mutate(&original, &mutations);
        fuzzing::transaction(&mutated);
        let payload = Payload::EvmTransaction(mutated.clone());
        if let Ok(decoded) = decode_evm(&payload) && mutated != original {
            let honest = decode_evm(&Payload::EvmTransaction(original)).unwrap();
            let hash = alloy_primitives::keccak256(&mutated).0;
            prop_assert_eq!(decoded.digest(), &Digest::Prehash(hash));
            prop_assert_ne!(decoded.digest(), honest.digest());
            prop_assert_ne!(decoded.payload_hash(), honest.payload_hash());
        }
    }

    #[test]
    fn mutated_typed_data_never_panics(index in 0usize..3, mutations in mutations()) {
        fuzzing::typed_data(&mutate(document(index), &mutations));
    }

    #[test]
    fn every_field_that_is_encoded_is_shown(
        nonce in 0..u64::MAX,
        max_fee_per_gas in any::<u128>(),
        gas_limit in any::<u64>(),
        to in any::<[u8; 20]>(),
        value in any::<u128>(),
    ) {
        let value = Amount::from(value);
        let bytes = encode_eip1559(&Eip1559Fields {
            chain_id: 1,
            nonce,
            max_priority_fee_per_gas: 0,
            max_fee_per_gas,
            gas_limit,
            to: Some(to),
            value,
            data: Vec::new(),
        });
        let decoded = decode_evm(&Payload::EvmTransaction(bytes)).unwrap();
        let intent = decoded.intent();
        let fee = Amount::from(max_fee_per_gas).checked_mul(gas_limit.into());
        prop_assert_eq!(intent.fee_max.as_ref().map(|f| f.amount), fee);
        prop_assert_eq!(intent.slot.as_ref().map(|s| s.nonce), Some(nonce));
        let Action::Transfer { value: shown, to: recipient } = &intent.action else {
            panic!("a transfer");
        };
        prop_assert_eq!(shown.amount, value);
        prop_assert_eq!(recipient.to_evm(), Some(to));
    }
}
