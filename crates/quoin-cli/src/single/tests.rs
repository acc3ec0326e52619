//! Published vectors of each format, agreement with rust-bitcoin, and every refusal.

use super::*;
use bitcoin::bip32::{DerivationPath as TheirPath, Xpriv, Xpub};
use rand_core::OsRng;

fn path(text: &str) -> FullPath {
    text.parse().unwrap()
}

fn tree(seed: &str, text: &str) -> Extended {
    let seed = hex::decode(seed).unwrap();
    let top = Extended::from_seed(Curve::Secp256k1, &seed).unwrap();
    top.at(&path(text)).unwrap()
}

fn xpub(key: &Extended) -> String {
    key.public(Scheme::Ecdsa).unwrap().xpub().unwrap()
}

const BIP32_SEED: &str = "000102030405060708090a0b0c0d0e0f";
const ABOUT: &str = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon \
                     abandon about";
const JUNK: &str = "test test test test test test test test test test test junk";

/// BIP-32's test vector 1: path, private key, public key.
const BIP32: [(&str, &str, &str); 2] = [
    (
        "m",
        "xprv9s21ZrQH143K3QTDL4LXw2F7HEK3wJUD2nW2nRk4stbPy6cq3jPPqjiChkVvvNKmPGJxWUtg6LnF5kejMRNNU3TGtRBeJgk33yuGBxrMPHi",
        "xpub661MyMwAqRbcFtXgS5sYJABqqG9YLmC4Q1Rdap9gSE8NqtwybGhePY2gZ29ESFjqJoCu1Rupje8YtGqsefD265TMg7usUDFdp6W1EGMcet8",
    ),
    (
        "m/0'/1/2'/2/1000000000",
        "xprvA41z7zogVVwxVSgdKUHDy1SKmdb533PjDz7J6N6mV6uS3ze1ai8FHa8kmHScGpWmj4WggLyQjgPie1rFSruoUihUZREPSL39UNdE3BBDu76",
        "xpub6H1LXWLaKsWFhvm6RVpEL9P4KfRZSW7abD2ttkWP3SSQvnyA8FSVqNTEcYFgJS2UaFcxupHiYkro49S8yGasTvXEYBVPamhGW6cFJodrTHy",
    ),
];

#[test]
fn extended_keys_are_those_of_bip_32s_vectors() {
    for (text, private, public) in BIP32 {
        let key = tree(BIP32_SEED, text);
        assert_eq!(key.to_xprv().unwrap().as_str(), private, "{text}");
        assert_eq!(xpub(&key), public, "{text}");
        let read = Extended::from_xprv(private).unwrap();
        assert_eq!(read.to_xprv().unwrap().as_str(), private);
        let read = read_xpub(public, Scheme::Ecdsa).unwrap();
        assert_eq!(read.xpub().unwrap(), public);
    }
}

#[test]
fn rust_bitcoin_derives_the_same_private_and_public_keys() {
    let secp = bitcoin::secp256k1::Secp256k1::new();
    for (i, text) in [
        "m/44'/60'/0'/0/5",
        "m/86'/0'/0'",
        "m/0/2147483647'/1",
        "m/7h/8H/9",
    ]
    .into_iter()
    .enumerate()
    {
        let seed = [i as u8; 32];
        let top = Extended::from_seed(Curve::Secp256k1, &seed).unwrap();
        let ours = top.at(&path(text)).unwrap();
        let theirs = Xpriv::new_master(bitcoin::Network::Bitcoin, &seed).unwrap();
        let their_path: TheirPath = path(text).to_string().parse().unwrap();
        let theirs = theirs.derive_priv(&secp, &their_path).unwrap();
        assert_eq!(ours.to_xprv().unwrap().as_str(), theirs.to_string());
        assert_eq!(xpub(&ours), Xpub::from_priv(&secp, &theirs).to_string());
        let wif = write_wif(&ours.into_key().secret);
        assert_eq!(wif.as_str(), theirs.to_priv().to_wif());
    }
}

#[test]
fn an_xpubs_children_are_those_of_its_xprv() {
    let account = tree(BIP32_SEED, "m/44'/60'/0'");
    let public = read_xpub(&xpub(&account), Scheme::Ecdsa).unwrap();
    let below = path("m/0/5").public().unwrap();
    let by_xprv = account.at(&path("m/0/5")).unwrap();
    assert_eq!(
        public.child(&below).unwrap().xpub().unwrap(),
        xpub(&by_xprv)
    );
    assert!(path("m/0'/5").public().is_none());
}

/// SLIP-10's first vector for Ed25519: path, chain code and private key.
const SLIP10: [(&str, &str, &str, &str); 3] = [
    (
        "m",
        "90046a93de5380a72b5e45010748567d5ea02bbf6522f979e05c0d8d8ca9fffb",
        "2b4be7f19ee27bbf30c667b642d5f4aa69fd169872f8fc3059c08ebae2eb19e7",
        "a4b2856bfec510abab89753fac1ac0e1112364e7d250545963f135f2a33188ed",
    ),
    (
        "m/0'",
        "8b59aa11380b624e81507a27fedda59fea6d0b779a778918a2fd3590e16e9c69",
        "68e0fe46dfb67e368c75379acec591dad19df3cde26e63b93a8e704f1dade7a3",
        "8c8a13df77a28f3445213a0f432fde644acaa215fc72dcdf300d5efaa85d350c",
    ),
    (
        "m/0'/1'/2'/2'/1000000000'",
        "68789923a0cac2cd5a29172a475fe9e0fb14cd6adb5ad98a3fa70333e7afa230",
        "8f94d394a8e8fd6b1bc2f3f49f5c47e385281d5c17e65324b0f62483e37e8793",
        "3c24da049451555d51a7014a37337aa4e12d41e485abccfa46b47dfb2af54b7a",
    ),
];

#[test]
fn keys_on_ed25519_are_those_of_slip_10s_vectors() {
    let seed = hex::decode(BIP32_SEED).unwrap();
    for (text, chain_code, private, public) in SLIP10 {
        let top = Extended::from_seed(Curve::Ed25519, &seed).unwrap();
        let key = top.at(&path(text)).unwrap();
        let shown = key.public(Scheme::Ed25519).unwrap();
        assert_eq!(hex::encode(shown.chain_code), chain_code, "{text}");
        assert_eq!(hex::encode(&shown.public_key), public, "{text}");
        assert!(key.to_xprv().is_err(), "an xprv is of secp256k1");
        assert_eq!(
            hex::encode(key.into_key().secret.expose()),
            private,
            "{text}"
        );
    }
    let top = Extended::from_seed(Curve::Ed25519, &seed).unwrap();
    let refused = top.at(&path("m/44'/501'/0")).unwrap_err();
    assert!(matches!(refused, SingleFault::NotHardened));
}

#[test]
fn mnemonics_are_those_of_bip_39s_vectors() {
    let seed = seed_of(ABOUT, "TREZOR").unwrap();
    assert_eq!(
        hex::encode(*seed),
        "c55257c360c07c72029aebc1b53c05ed0362ada38ead3e3e9efa3708e53495531f09a6987599d18264c1e1c92\
         f2cf141630c7a3c4ab7c81b2f001698e7463b04"
    );
    let key = Extended::from_seed(Curve::Secp256k1, seed.as_slice()).unwrap();
    assert_eq!(
        key.to_xprv().unwrap().as_str(),
        "xprv9s21ZrQH143K3h3fDYiay8mocZ3afhfULfb5GX8kCBdno77K4HiA15Tg23wpbeF1pLfs1c5SPmYHrEpTuuRhxMwvKDwqdKiGJS9XFKzUsAF"
    );
    let lines = ABOUT.replace(' ', "\n  ");
    assert_eq!(*seed_of(&lines, "TREZOR").unwrap(), *seed);
    for bad in [
        JUNK.replace("junk", "test"),
        ABOUT.replace("about", "abbout"),
        ABOUT.replace(" about", ""),
        String::new(),
    ] {
        assert!(seed_of(&bad, "").is_err(), "{bad}");
    }
}

/// The accounts that development chains open with: the first three of `JUNK`.
const DEV_ACCOUNTS: [&str; 3] = [
    "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266",
    "0x70997970c51812dc3a010c7d01b50e0d17dc79c8",
    "0x3c44cdddb6a900fa2b585dd299e03d12fa4293bc",
];

#[test]
fn a_key_at_bip_44s_account_level_has_the_addresses_that_wallets_show() {
    let seed = seed_of(JUNK, "").unwrap();
    let account = Extended::from_seed(Curve::Secp256k1, seed.as_slice()).unwrap();
    let account = account.at(&path("m/44'/60'/0'")).unwrap();
    // As a threshold key is: a public key and a chain code, and nothing secret.
    let public = account.public(Scheme::Ecdsa).unwrap();
    for (i, address) in DEV_ACCOUNTS.iter().enumerate() {
        let below = format!("m/0/{i}").parse().unwrap();
        let child = quoin_protocol::derive::derive_from(
            Scheme::Ecdsa,
            &public.public_key,
            public.chain_code,
            &below,
        );
        let shown = crate::client::keys::addresses(&child.unwrap(), &[1]).unwrap();
        assert_eq!(&shown[0].address, address);
    }
}

fn base58(bytes: &[u8]) -> String {
    bs58::encode(bytes).with_check().into_string()
}

#[test]
fn extended_keys_that_bip_32_calls_invalid_are_refused() {
    let bytes = |text: &str| bs58::decode(text).with_check(None).into_vec().unwrap();
    let (private, public) = (bytes(BIP32[0].1), bytes(BIP32[0].2));
    let order = hex::decode("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141");
    let order = order.unwrap();
    let change = |bytes: &[u8], at: usize, new: &[u8]| {
        let mut changed = bytes.to_vec();
        changed[at..at + new.len()].copy_from_slice(new);
        base58(&changed)
    };
    assert!(Extended::from_xprv(&change(&private, 0, &[])).is_ok());
    for (what, text) in [
        (
            "public version, private key",
            change(&private, 0, &public[..4]),
        ),
        ("unknown version", change(&private, 0, &[0; 4])),
        ("prefix 04", change(&private, 45, &[4])),
        ("prefix 01", change(&private, 45, &[1])),
        ("zero depth with a parent", change(&private, 5, &[1])),
        ("zero depth with an index", change(&private, 12, &[1])),
        ("zero", change(&private, 46, &[0; 32])),
        ("the order", change(&private, 46, &order)),
        ("short", base58(&private[..77])),
        ("long", base58(&[&private[..], &[0]].concat())),
        ("checksum", BIP32[0].1.replace("PHi", "PHj")),
        ("endless", "1".repeat(10_000)),
    ] {
        assert!(Extended::from_xprv(&text).is_err(), "{what}");
    }
    assert!(read_xpub(&change(&public, 0, &[]), Scheme::Taproot).is_ok());
    for (what, text) in [
        (
            "private version, public key",
            change(&public, 0, &private[..4]),
        ),
        ("prefix 04", change(&public, 45, &[4])),
        ("prefix 00", change(&public, 45, &[0])),
        (
            "not a point",
            change(&public, 45, &[&[2], &[0; 31][..], &[7]].concat()),
        ),
        ("zero depth with a parent", change(&public, 5, &[1])),
    ] {
        assert!(read_xpub(&text, Scheme::Ecdsa).is_err(), "{what}");
    }
    assert!(read_xpub(BIP32[0].2, Scheme::Ed25519).is_err(), "curve");
}

#[test]
fn wif_keys_are_those_of_the_published_example() {
    let hex = "0c28fca386c7a227600b2fe50b7cae11ec86d3bf1fbe471be89827e19d72aa1d";
    let wif = "KwdMAjGmerYanjeui5SHS7JkmpZvVipYvB2LJGU1ZxJwYvP98617";
    assert_eq!(hex::encode(read_wif(wif).unwrap().expose()), hex);
    assert_eq!(write_wif(&SingleKey::read_hex(hex).unwrap()).as_str(), wif);
    let uncompressed = "5HueCGU8rMjxEXxiPuD5BDku4MkFqeZyd4dZ1jvhTVqvbTLvyTJ";
    let refused = read_wif(uncompressed).unwrap_err().to_string();
    assert!(refused.contains("uncompressed"), "{refused}");
    let testnet = base58(&[&[0xef], &[7; 32][..], &[1]].concat());
    let suffix = base58(&[&[0x80], &[7; 32][..], &[2]].concat());
    for bad in [testnet.as_str(), &suffix, &wif.replace("617", "618"), ""] {
        assert!(read_wif(bad).is_err(), "{bad}");
    }
}

/// The example of web3.js, and one of the two of the Web3 Secret Storage Definition. The other one
/// has scrypt parameters that RFC 7914 forbids (r = 1 with N = 2^18), which the crate refuses.
const SCRYPT: &str = r#"{"version":3,"id":"04e9bcbb-96fa-497b-94d1-14df4cd20af6",
    "address":"2c7536e3605d9c16a7a3d7b1898e529396a65c23","crypto":{
    "ciphertext":"a1c25da3ecde4e6a24f3697251dd15d6208520efc84ad97397e906e6df24d251",
    "cipherparams":{"iv":"2885df2b63f7ef247d753c82fa20038a"},"cipher":"aes-128-ctr","kdf":"scrypt",
    "kdfparams":{"dklen":32,"salt":"4531b3c174cc3ff32a6a7a85d6761b410db674807b2d216d022318ceee50be10","n":262144,"r":8,"p":1},
    "mac":"b8b010fff37f9ae5559a352a185e86f9b9c1d7f7a9f1bd4e82a5dd35468fc7f6"}}"#;
const PBKDF2: &str = r#"{"crypto":{"cipher":"aes-128-ctr","cipherparams":{"iv":"6087dab2f9fdbbfaddc31a909735c1e6"},
    "ciphertext":"5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46","kdf":"pbkdf2",
    "kdfparams":{"c":262144,"dklen":32,"prf":"hmac-sha256","salt":"ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd"},
    "mac":"517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2"},
    "id":"3198bc9c-6672-5ab3-d995-4942343ae5b6","version":3}"#;

#[test]
fn keystores_are_those_of_published_examples() {
    for (json, password, expected) in [
        (
            SCRYPT,
            "test!",
            "4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318",
        ),
        (
            PBKDF2,
            "testpassword",
            "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d",
        ),
    ] {
        let key = open_keystore(json, password.as_bytes()).unwrap();
        assert_eq!(hex::encode(key.expose()), expected);
    }
}

#[test]
fn a_sealed_key_opens_with_its_password_and_nothing_else() {
    let secret = SingleKey::read_hex(&"07".repeat(32)).unwrap();
    let weak = Strength { log_n: 4 };
    let json = seal_keystore(&secret, b"correct horse", weak, &mut OsRng).unwrap();
    let opened = open_keystore(&json, b"correct horse").unwrap();
    assert_eq!(opened.expose(), secret.expose());
    let again = seal_keystore(&secret, b"correct horse", weak, &mut OsRng).unwrap();
    assert_ne!(json, again, "fresh salt and counter");
    let wrong = |json: &str, password: &[u8]| {
        matches!(
            open_keystore(json, password),
            Err(SingleFault::WrongPassword)
        )
    };
    assert!(wrong(&json, b"wrong horse"));
    let field = |name: &str| {
        let start = json.find(&format!("\"{name}\": \"")).unwrap() + name.len() + 5;
        let digit = if &json[start..=start] == "0" {
            "1"
        } else {
            "0"
        };
        [&json[..start], digit, &json[start + 1..]].concat()
    };
    for name in ["ciphertext", "salt", "mac"] {
        assert!(wrong(&field(name), b"correct horse"), "{name}");
    }
}

#[test]
fn keystores_of_another_form_or_without_bounds_are_refused_before_any_work() {
    for (what, from, to) in [
        ("version", "\"version\":3", "\"version\":1"),
        ("cipher", "aes-128-ctr", "aes-256-gcm"),
        ("kdf", "\"kdf\":\"scrypt\"", "\"kdf\":\"argon2\""),
        ("memory", "\"n\":262144", "\"n\":1073741824"),
        ("lanes", "\"p\":1", "\"p\":100000000"),
        ("cost", "\"n\":262144", "\"n\":262143"),
        ("length", "\"dklen\":32", "\"dklen\":16"),
        ("spec", "\"r\":8", "\"r\":1"),
        ("hex", "a1c25da3", "x1c25da3"),
    ] {
        let changed = SCRYPT.replace(from, to);
        assert_ne!(changed, SCRYPT, "{what}");
        let refused = open_keystore(&changed, b"testpassword");
        assert!(matches!(refused, Err(SingleFault::Malformed(_))), "{what}");
    }
    for (what, from, to) in [
        ("iterations", "\"c\":262144", "\"c\":4000000000"),
        ("none", "\"c\":262144", "\"c\":0"),
        ("hash", "hmac-sha256", "hmac-sha1"),
    ] {
        let refused = open_keystore(&PBKDF2.replace(from, to), b"testpassword");
        assert!(matches!(refused, Err(SingleFault::Malformed(_))), "{what}");
    }
}

#[test]
fn full_paths_read_all_three_marks_and_write_one() {
    for (text, written) in [
        ("m", "m"),
        ("m/44'/60'/0'/0/5", "m/44'/60'/0'/0/5"),
        ("m/44h/60H/0'/0/5", "m/44'/60'/0'/0/5"),
    ] {
        assert_eq!(path(text).to_string(), written);
    }
    for bad in [
        "",
        "44'",
        "m/",
        "m/'",
        "m/-1",
        "m/2147483648",
        "m/+1",
        "m/1''",
        "m/1/2/3/4/5/6/7/8/9",
    ] {
        assert!(bad.parse::<FullPath>().is_err(), "{bad}");
    }
}
