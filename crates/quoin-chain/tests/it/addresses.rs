//! Addresses, against published vectors.

use quoin_chain::address::{
    BITCOIN_MAINNET_HRP, BITCOIN_TESTNET_HRP, evm_address, solana_address, taproot_address,
    taproot_output_key,
};
use quoin_chain::{AddressError, NamedAddress, addresses};
use quoin_core::stamp::Scheme;

fn bytes<const N: usize>(text: &str) -> [u8; N] {
    hex::decode(text).unwrap().try_into().unwrap()
}

fn public_key(secret: [u8; 32]) -> [u8; 33] {
    let secret = secp256k1::SecretKey::from_byte_array(secret).unwrap();
    secp256k1::PublicKey::from_secret_key(&secp256k1::Secp256k1::new(), &secret).serialize()
}

#[test]
fn evm_addresses_match_published_ones() {
    // The key of EIP-155's example, and the first account of the common development mnemonic.
    for (secret, address) in [
        (
            "4646464646464646464646464646464646464646464646464646464646464646",
            "0x9d8a62f656a8d1615c1294fd71e9cfb3e4855a4f",
        ),
        (
            "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
            "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266",
        ),
    ] {
        let key = public_key(bytes(secret));
        assert_eq!(evm_address(&key).unwrap().as_str(), address);
    }
}

#[test]
fn keys_that_are_no_points_have_no_address() {
    assert_eq!(evm_address(&[2; 33]).err(), None, "x = 0x02…02 is a point");
    assert_eq!(evm_address(&[0xff; 33]), Err(AddressError::NotAPoint));
    assert_eq!(evm_address(&[0; 33]), Err(AddressError::NotAPoint));
    assert_eq!(
        taproot_address(&[0xff; 32], BITCOIN_MAINNET_HRP),
        Err(AddressError::NotAPoint)
    );
    assert_eq!(
        taproot_output_key(&[0xff; 32]),
        Err(AddressError::NotAPoint)
    );
}

#[test]
fn solana_addresses_are_base58() {
    assert_eq!(
        solana_address(&[0; 32]),
        "1".repeat(32),
        "the system program"
    );
    assert_eq!(
        solana_address(&bytes(
            "06ddf6e1d765a193d9cbe146ceeb79ac1cb485ed5f5b37913a8cf5857eff00a9"
        )),
        "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA",
        "the token program"
    );
}

#[test]
fn taproot_keys_and_addresses_match_bip_86() {
    for (internal, output, address) in [
        (
            "cc8a4bc64d897bddc5fbc2f670f7a8ba0b386779106cf1223c6fc5d7cd6fc115",
            "a60869f0dbcf1dc659c9cecbaf8050135ea9e8cdc487053f1dc6880949dc684c",
            "bc1p5cyxnuxmeuwuvkwfem96lqzszd02n6xdcjrs20cac6yqjjwudpxqkedrcr",
        ),
        (
            "83dfe85a3151d2517290da461fe2815591ef69f2b18a2ce63f01697a8b313145",
            "a82f29944d65b86ae6b5e5cc75e294ead6c59391a1edc5e016e3498c67fc7bbb",
            "bc1p4qhjn9zdvkux4e44uhx8tc55attvtyu358kutcqkudyccelu0was9fqzwh",
        ),
    ] {
        let key = taproot_output_key(&bytes(internal)).unwrap();
        assert_eq!(hex::encode(key), output);
        assert_eq!(taproot_address(&key, BITCOIN_MAINNET_HRP).unwrap(), address);
    }
}

#[test]
fn taproot_addresses_match_bip_350() {
    let x = bytes("79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798");
    assert_eq!(
        taproot_address(&x, BITCOIN_MAINNET_HRP).unwrap(),
        "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0"
    );
    let x = bytes("000000c4a5cad46221b2a187905e5266362b99d5e91c6ce24d165dab93e86433");
    assert_eq!(
        taproot_address(&x, BITCOIN_TESTNET_HRP).unwrap(),
        "tb1pqqqqp399et2xygdj5xreqhjjvcmzhxw4aywxecjdzew6hylgvsesf3hn0c"
    );
    assert_eq!(taproot_address(&x, ""), Err(AddressError::NetworkPrefix));
}

#[test]
fn every_scheme_lists_its_addresses() {
    let ecdsa = public_key([7; 32]);
    let address = evm_address(&ecdsa).unwrap().to_string();
    let named = |chain: &str, address: &str| NamedAddress {
        chain: chain.to_owned(),
        address: address.to_owned(),
    };
    assert_eq!(
        addresses(Scheme::Ecdsa, &ecdsa, &[1, 31337]).unwrap(),
        [named("eip155:1", &address), named("eip155:31337", &address)]
    );
    let taproot = taproot_address(ecdsa[1..].try_into().unwrap(), "bc").unwrap();
    for key in [&ecdsa[..], &ecdsa[1..]] {
        assert_eq!(
            addresses(Scheme::Taproot, key, &[1]).unwrap(),
            [named("bitcoin", &taproot)]
        );
    }
    assert_eq!(
        addresses(Scheme::Ed25519, &[0; 32], &[1]).unwrap(),
        [named("solana", &"1".repeat(32))]
    );
}

#[test]
fn keys_of_the_wrong_length_are_refused() {
    for scheme in [Scheme::Ecdsa, Scheme::Taproot, Scheme::Ed25519] {
        for length in [0, 31, 34, 65] {
            assert_eq!(
                addresses(scheme, &vec![2; length], &[1]),
                Err(AddressError::KeyLength(length))
            );
        }
    }
}
