//! Published vectors before what this crate verifies and signs with.
//!
//! | source | where |
//! |---|---|
//! | BIP-340 | here: the verifier of Taproot signatures |
//! | BIP-341, key path | here: verification under the output key; output keys in `schnorr/taproot.rs` |
//! | RFC 8032 | here: the verifier of Ed25519 signatures |
//! | RFC 6979 | here: the library that signs for local keys; EIP-155's transaction through `sign_local` |
//! | RFC 9591 | `schnorr/tests.rs`, since nonces have no public door. Only its Ed25519 suite applies: its secp256k1 suite is not BIP-340's, which is that of `frost-secp256k1-tr` |
//! | BIP-32, BIP-86 | `derive/tests.rs` |

use super::{KEY, constitution, judge, node, path};
use k256::ecdsa::SigningKey;
use k256::ecdsa::signature::hazmat::PrehashSigner;
use quoin_chain::Digest;
use quoin_core::cbor::Version;
use quoin_core::stamp::Account;
use quoin_core::{
    CeremonyId, ChainId, CharterNumber, ClusterId, CustodyMethod, KeyOrigin, Payload, Purpose,
    Scheme, SecretBytes, ShareEpoch, SigningIdentity,
};
use quoin_protocol::combine::{ROOT_TWEAK, verify};
use quoin_protocol::share::PublicShare;
use quoin_protocol::{KeyPublic, KeyShare, derive, sign_local};
use secp256k1::{Message, Secp256k1, SecretKey, XOnlyPublicKey, schnorr};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

fn bytes<const N: usize>(text: &str) -> [u8; N] {
    hex::decode(text).unwrap().try_into().unwrap()
}

/// The record of a key that is a published one; nothing but scheme and public key matters here.
fn record(scheme: Scheme, public_key: Vec<u8>) -> KeyPublic {
    KeyPublic {
        version: Version,
        cluster: ClusterId([1; 32]),
        charter: CharterNumber(0),
        ceremony: CeremonyId([2; 16]),
        key: KEY,
        name: "vector".parse().unwrap(),
        scheme,
        purpose: Purpose::Trading,
        threshold: 1,
        epoch: ShareEpoch(0),
        public_shares: vec![PublicShare {
            node: node(1),
            point: public_key.clone(),
        }],
        public_key,
        transcript: [4; 32],
        chain_code: [5; 32],
        origin: KeyOrigin::Born,
        previous: None,
    }
}

/// BIP-340's `test-vectors.csv`: index, public key, message, signature, whether it verifies.
const BIP_340: [(u8, &str, &str, &str, bool); 15] = [
    (
        0,
        "F9308A019258C31049344F85F89D5229B531C845836F99B08601F113BCE036F9",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "E907831F80848D1069A5371B402410364BDF1C5F8307B0084C55F1CE2DCA821525F66A4A85EA8B71E482A74F382D2CE5EBEEE8FDB2172F477DF4900D310536C0",
        true,
    ),
    (
        1,
        "DFF1D77F2A671C5F36183726DB2341BE58FEAE1DA2DECED843240F7B502BA659",
        "243F6A8885A308D313198A2E03707344A4093822299F31D0082EFA98EC4E6C89",
        "6896BD60EEAE296DB48A229FF71DFE071BDE413E6D43F917DC8DCF8C78DE33418906D11AC976ABCCB20B091292BFF4EA897EFCB639EA871CFA95F6DE339E4B0A",
        true,
    ),
    (
        2,
        "DD308AFEC5777E13121FA72B9CC1B7CC0139715309B086C960E18FD969774EB8",
        "7E2D58D8B3BCDF1ABADEC7829054F90DDA9805AAB56C77333024B9D0A508B75C",
        "5831AAEED7B44BB74E5EAB94BA9D4294C49BCF2A60728D8B4C200F50DD313C1BAB745879A5AD954A72C45A91C3A51D3C7ADEA98D82F8481E0E1E03674A6F3FB7",
        true,
    ),
    (
        3,
        "25D1DFF95105F5253C4022F628A996AD3A0D95FBF21D468A1B33F8C160D8F517",
        "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF",
        "7EB0509757E246F19449885651611CB965ECC1A187DD51B64FDA1EDC9637D5EC97582B9CB13DB3933705B32BA982AF5AF25FD78881EBB32771FC5922EFC66EA3",
        true,
    ),
    (
        4,
        "D69C3509BB99E412E68B0FE8544E72837DFA30746D8BE2AA65975F29D22DC7B9",
        "4DF3C3F68FCC83B27E9D42C90431A72499F17875C81A599B566C9889B9696703",
        "00000000000000000000003B78CE563F89A0ED9414F5AA28AD0D96D6795F9C6376AFB1548AF603B3EB45C9F8207DEE1060CB71C04E80F593060B07D28308D7F4",
        true,
    ),
    (
        5,
        "EEFDEA4CDB677750A420FEE807EACF21EB9898AE79B9768766E4FAA04A2D4A34",
        "243F6A8885A308D313198A2E03707344A4093822299F31D0082EFA98EC4E6C89",
        "6CFF5C3BA86C69EA4B7376F31A9BCB4F74C1976089B2D9963DA2E5543E17776969E89B4C5564D00349106B8497785DD7D1D713A8AE82B32FA79D5F7FC407D39B",
        false,
    ),
    (
        6,
        "DFF1D77F2A671C5F36183726DB2341BE58FEAE1DA2DECED843240F7B502BA659",
        "243F6A8885A308D313198A2E03707344A4093822299F31D0082EFA98EC4E6C89",
        "FFF97BD5755EEEA420453A14355235D382F6472F8568A18B2F057A14602975563CC27944640AC607CD107AE10923D9EF7A73C643E166BE5EBEAFA34B1AC553E2",
        false,
    ),
    (
        7,
        "DFF1D77F2A671C5F36183726DB2341BE58FEAE1DA2DECED843240F7B502BA659",
        "243F6A8885A308D313198A2E03707344A4093822299F31D0082EFA98EC4E6C89",
        "1FA62E331EDBC21C394792D2AB1100A7B432B013DF3F6FF4F99FCB33E0E1515F28890B3EDB6E7189B630448B515CE4F8622A954CFE545735AAEA5134FCCDB2BD",
        false,
    ),
    (
        8,
        "DFF1D77F2A671C5F36183726DB2341BE58FEAE1DA2DECED843240F7B502BA659",
        "243F6A8885A308D313198A2E03707344A4093822299F31D0082EFA98EC4E6C89",
        "6CFF5C3BA86C69EA4B7376F31A9BCB4F74C1976089B2D9963DA2E5543E177769961764B3AA9B2FFCB6EF947B6887A226E8D7C93E00C5ED0C1834FF0D0C2E6DA6",
        false,
    ),
    (
        9,
        "DFF1D77F2A671C5F36183726DB2341BE58FEAE1DA2DECED843240F7B502BA659",
        "243F6A8885A308D313198A2E03707344A4093822299F31D0082EFA98EC4E6C89",
        "0000000000000000000000000000000000000000000000000000000000000000123DDA8328AF9C23A94C1FEECFD123BA4FB73476F0D594DCB65C6425BD186051",
        false,
    ),
    (
        10,
        "DFF1D77F2A671C5F36183726DB2341BE58FEAE1DA2DECED843240F7B502BA659",
        "243F6A8885A308D313198A2E03707344A4093822299F31D0082EFA98EC4E6C89",
        "00000000000000000000000000000000000000000000000000000000000000017615FBAF5AE28864013C099742DEADB4DBA87F11AC6754F93780D5A1837CF197",
        false,
    ),
    (
        11,
        "DFF1D77F2A671C5F36183726DB2341BE58FEAE1DA2DECED843240F7B502BA659",
        "243F6A8885A308D313198A2E03707344A4093822299F31D0082EFA98EC4E6C89",
        "4A298DACAE57395A15D0795DDBFD1DCB564DA82B0F269BC70A74F8220429BA1D69E89B4C5564D00349106B8497785DD7D1D713A8AE82B32FA79D5F7FC407D39B",
        false,
    ),
    (
        12,
        "DFF1D77F2A671C5F36183726DB2341BE58FEAE1DA2DECED843240F7B502BA659",
        "243F6A8885A308D313198A2E03707344A4093822299F31D0082EFA98EC4E6C89",
        "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEFFFFFC2F69E89B4C5564D00349106B8497785DD7D1D713A8AE82B32FA79D5F7FC407D39B",
        false,
    ),
    (
        13,
        "DFF1D77F2A671C5F36183726DB2341BE58FEAE1DA2DECED843240F7B502BA659",
        "243F6A8885A308D313198A2E03707344A4093822299F31D0082EFA98EC4E6C89",
        "6CFF5C3BA86C69EA4B7376F31A9BCB4F74C1976089B2D9963DA2E5543E177769FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141",
        false,
    ),
    (
        14,
        "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEFFFFFC30",
        "243F6A8885A308D313198A2E03707344A4093822299F31D0082EFA98EC4E6C89",
        "6CFF5C3BA86C69EA4B7376F31A9BCB4F74C1976089B2D9963DA2E5543E17776969E89B4C5564D00349106B8497785DD7D1D713A8AE82B32FA79D5F7FC407D39B",
        false,
    ),
];

#[test]
fn bip_340_signatures_verify_as_published() {
    let secp = Secp256k1::verification_only();
    for (index, key, message, signature, expected) in BIP_340 {
        let signature = schnorr::Signature::from_byte_array(bytes(signature));
        let message = bytes::<32>(message);
        let verified = XOnlyPublicKey::from_byte_array(bytes(key))
            .is_ok_and(|key| secp.verify_schnorr(&signature, &message, &key).is_ok());
        assert_eq!(verified, expected, "{index}");
    }
}

/// BIP-341's `wallet-test-vectors.json`, `keyPathSpending`, input 0, which has no script tree: the
/// one kind of output that our keys have.
#[test]
fn bip_341_key_path_signatures_verify_under_the_output_key_only() {
    let private: [u8; 32] =
        bytes("6b973d88838f27366ed61c9ad6367663045cb456e28335c109e30717ae0c6baa");
    let sighash: [u8; 32] =
        bytes("2514a6272f85cfa0f45eb907fcb0d121b808ed37c6ea160a5a9046ed5526d555");
    let signature: [u8; 64] = bytes(
        "ed7c1647cb97379e76892be0cacff57ec4a7102aa24296ca39af7541246d8ff1\
         4d38958d4cc1e2e478e4d4a764bbfd835b16d4e314b72937b29833060b87276c",
    );
    let secp = Secp256k1::new();
    let secret = SecretKey::from_byte_array(private).unwrap();
    let internal = secret.public_key(&secp);
    let key = record(Scheme::Taproot, internal.serialize().to_vec());
    let child = derive(&key, &path("m")).unwrap();
    assert_eq!(
        child.shown_key().unwrap(),
        bytes::<32>("53a1f6e454df1aa2776a2814a721372d6258050de330b3c6d10ee8f4e0dda343")
    );
    let accepts = |digest, signature: &[u8; 64]| {
        let digest = Digest::Prehash(digest);
        verify(&key, &ROOT_TWEAK, &digest, signature).is_ok()
    };
    assert!(accepts(sighash, &signature));
    let mut changed = signature;
    changed[63] ^= 1;
    assert!(!accepts(sighash, &changed));
    assert!(!accepts([1; 32], &signature));
    // A signature under the internal key is one that Bitcoin would refuse.
    let pair = secret.keypair(&secp);
    let untweaked = secp.sign_schnorr_no_aux_rand(&sighash, &pair);
    assert!(!accepts(sighash, &untweaked.to_byte_array()));
}

/// RFC 8032, section 7.1: secret, public key, message, signature.
const RFC_8032: [(&str, &str, &str, &str); 4] = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
    (
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
    ),
];

#[test]
fn rfc_8032_signatures_verify_and_changed_ones_do_not() {
    for (secret, key, message, signature) in RFC_8032 {
        let signer = ed25519_dalek::SigningKey::from_bytes(&bytes(secret));
        assert_eq!(hex::encode(signer.verifying_key().as_bytes()), key);
        let key = record(Scheme::Ed25519, hex::decode(key).unwrap());
        let message = hex::decode(message).unwrap();
        let signature: [u8; 64] = bytes(signature);
        let accepts = |message: &[u8], signature: &[u8; 64]| {
            let digest = Digest::Message(message.to_vec());
            verify(&key, &ROOT_TWEAK, &digest, signature).is_ok()
        };
        assert!(accepts(&message, &signature));
        assert!(!accepts(b"another message", &signature));
        for byte in [0, 40] {
            let mut changed = signature;
            changed[byte] ^= 1;
            assert!(!accepts(&message, &changed));
        }
    }
}

#[test]
fn ed25519_refuses_a_second_form_of_a_signature() {
    // s + L is s modulo L: RFC 8032, section 5.1.7, refuses it, and so must we.
    let order: [u8; 32] = bytes("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
    for (_, key, message, signature) in RFC_8032 {
        let key = record(Scheme::Ed25519, hex::decode(key).unwrap());
        let digest = Digest::Message(hex::decode(message).unwrap());
        let mut second: [u8; 64] = bytes(signature);
        let mut carry = 0;
        for (s, l) in second[32..].iter_mut().zip(order) {
            let sum = u16::from(*s) + u16::from(l) + carry;
            (*s, carry) = (sum as u8, sum >> 8);
        }
        assert!(verify(&key, &ROOT_TWEAK, &digest, &second).is_err());
    }
    // A key of small order verifies some signature of every message where a check is lax.
    let mut identity = vec![0u8; 32];
    identity[0] = 1;
    let key = record(Scheme::Ed25519, identity.clone());
    let mut signature = [0u8; 64];
    signature[0] = 1;
    let digest = Digest::Message(b"anything".to_vec());
    assert!(verify(&key, &ROOT_TWEAK, &digest, &signature).is_err());
}

/// RFC 6979 with SHA-256 on secp256k1, as the wallets' libraries share them (the RFC's own vectors
/// are of other curves): private key, message, `r || s` with low s.
const RFC_6979: [(&str, &str, &str); 5] = [
    (
        "0000000000000000000000000000000000000000000000000000000000000001",
        "Satoshi Nakamoto",
        "934b1ea10a4b3c1757e2b0c017d0b6143ce3c9a7e6a4a49860d7a6ab210ee3d82442ce9d2b916064108014783e923ec36b49743e2ffa1c4496f01a512aafd9e5",
    ),
    (
        "0000000000000000000000000000000000000000000000000000000000000001",
        "All those moments will be lost in time, like tears in rain. Time to die...",
        "8600dbd41e348fe5c9465ab92d23e3db8b98b873beecd930736488696438cb6b547fe64427496db33bf66019dacbf0039c04199abb0122918601db38a72cfc21",
    ),
    (
        "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364140",
        "Satoshi Nakamoto",
        "fd567d121db66e382991534ada77a6bd3106f0a1098c231e47993447cd6af2d06b39cd0eb1bc8603e159ef5c20a5c8ad685a45b06ce9bebed3f153d10d93bed5",
    ),
    (
        "f8b8af8ce3c7cca5e300d33939540c10d45ce001b8f252bfbc57ba0342904181",
        "Alan Turing",
        "7063ae83e7f62bbb171798131b4a0564b956930092b33b07b395615d9ec7e15c58dfcc1e00a35e1572f366ffe34ba0fc47db1e7189759b9fb233c5b05ab388ea",
    ),
    (
        "e91671c46231f833a6406ccbea0e3e392c76c167bac1cb013f6f1013980455c2",
        "There is a computer disease that anybody who works with computers knows about. It's a very serious disease and it interferes completely with the work. The trouble with computers is that you 'play' with them!",
        "b552edd27580141f3b2a5463048cb7cd3e047b97c9f98076c32dbdf85a68718b279fa72dd19bfae05577e06c7c0c1900c371fcd5893f7e1d56a37d30174671f6",
    ),
];

#[test]
fn rfc_6979_signatures_are_those_of_the_library_behind_local_keys() {
    for (private, message, expected) in RFC_6979 {
        let key = SigningKey::from_slice(&bytes::<32>(private)).unwrap();
        let hash: [u8; 32] = Sha256::digest(message).into();
        let made: k256::ecdsa::Signature = key.sign_prehash(&hash).unwrap();
        let made = made.normalize_s().unwrap_or(made);
        assert_eq!(made.to_bytes()[..], bytes::<64>(expected), "{message}");
    }
}

/// A whole key, as a node holds one of the `local` method.
fn local(private: [u8; 32]) -> KeyShare {
    let secret = SecretKey::from_byte_array(private).unwrap();
    let public = secret.public_key(&Secp256k1::new());
    KeyShare {
        public: record(Scheme::Ecdsa, public.serialize().to_vec()),
        node: node(1),
        secret: SecretBytes::take(&mut private.clone()),
    }
}

/// What the local method signs, through decoding and judgement.
fn signed_locally(key: &KeyShare, payload: &Payload, account: &Account) -> ([u8; 32], [u8; 65]) {
    let identity = |i: u8| SigningIdentity::from_seed(&SecretBytes::take(&mut [i; 32])).public();
    let nodes: BTreeMap<_, _> = (1..=3).map(|i| (node(i), identity(i))).collect();
    let charter = constitution(&nodes, 2);
    let warrant = judge(
        &charter,
        &key.public,
        CustodyMethod::Local,
        payload,
        account,
    );
    let Digest::Prehash(digest) = *warrant.decoded().digest() else {
        panic!("no prehash")
    };
    (digest, sign_local(warrant, key).unwrap())
}

/// The example of EIP-155: from the unsigned transaction to the published signature, whose nonce is
/// that of RFC 6979.
#[test]
fn eip_155s_transaction_gets_its_published_signature_from_a_local_key() {
    let key = local([0x46; 32]);
    let payload = Payload::EvmTransaction(
        hex::decode(
            "ec098504a817c800825208943535353535353535353535353535353535353535\
             880de0b6b3a764000080018080",
        )
        .unwrap(),
    );
    let account = Account {
        chain: ChainId::Evm(1),
        address: "0x9d8a62f656a8d1615c1294fd71e9cfb3e4855a4f"
            .parse()
            .unwrap(),
        path: path("m"),
    };
    let (digest, signature) = signed_locally(&key, &payload, &account);
    assert_eq!(
        digest,
        bytes("daf5a779ae972f972197303d7b574746c7ef83eadac0f2791ad23db92e4c8e53")
    );
    let r = bytes::<32>("28ef61340bd939bc2195fe537567866003e1a15d3c71ff63e1590620aa636276");
    let s = bytes::<32>("67cbe9d8997f761aecb703304b3800ccf555c9f3dc64214b297fb1966a3b6d83");
    assert_eq!(signature[..32], r);
    assert_eq!(signature[32..64], s);
    assert_eq!(signature[64], 0, "v = 37 on chain 1");
}

#[test]
fn local_keys_sign_as_libsecp256k1_does() {
    let secp = Secp256k1::new();

    for (i, at) in (1u8..=6).zip(["m", "m/0", "m", "m/7/1", "m", "m/2"]) {
        let key = local([i; 32]);
        let account = Account {
            chain: ChainId::Quoin,
            address: KEY.to_string().parse().unwrap(),
            path: path(at),
        };
        let payload = Payload::Text(format!("text {i}"));
        let (digest, signature) = signed_locally(&key, &payload, &account);
        let tweak = derive(&key.public, &account.path).unwrap().tweak;
        let tweak = secp256k1::Scalar::from_be_bytes(tweak).unwrap();
        let secret = SecretKey::from_byte_array([i; 32]).unwrap();
        let secret = secret.add_tweak(&tweak).unwrap();
        let expected = secp.sign_ecdsa_recoverable(Message::from_digest(digest), &secret);
        let (id, compact) = expected.serialize_compact();
        assert_eq!(signature[..64], compact, "{i} {at}");
        assert_eq!(i32::from(signature[64]), i32::from(id), "{i} {at}");
    }
}
