//! One bad sample for each check; real authenticators are in `tests/it/passkeys.rs`.

use super::*;
use crate::credential::P256Identity;
use crate::secret::SecretBytes;
use proptest::prelude::*;

const CHALLENGE: [u8; 32] = [0x5a; 32];
const RP_ID: &str = "desk.example";

fn identity() -> P256Identity {
    P256Identity::from_scalar(&SecretBytes::take(&mut [7; 32])).unwrap()
}

fn passkey_at(rp_id: &str) -> Passkey {
    let crate::PublicCredential::P256(key) = identity().public() else {
        panic!("a P-256 key");
    };
    Passkey::new(key, rp_id.parse().unwrap()).unwrap()
}

/// The parts of an assertion, to be varied.
struct Parts {
    rp_id: &'static str,
    flags: u8,
    after_counter: Vec<u8>,
    client_data: String,
}

impl Parts {
    fn good() -> Self {
        Self {
            rp_id: RP_ID,
            flags: 0b101,
            after_counter: Vec::new(),
            client_data: client_data("https://desk.example"),
        }
    }

    fn authenticator_data(&self) -> Vec<u8> {
        let mut data = Sha256::digest(self.rp_id).to_vec();
        data.push(self.flags);
        data.extend([0, 0, 0, 9]);
        data.extend(&self.after_counter);
        data
    }

    /// Signed truly, so that nothing but the part in question can be what is refused.
    fn assertion(&self) -> Assertion {
        let data = self.authenticator_data();
        let mut message = data.clone();
        message.extend(Sha256::digest(&self.client_data));
        let client_data = self.client_data.clone().into_bytes();
        Assertion::new(data, client_data, identity().sign(&message)).unwrap()
    }
}

fn client_data(origin: &str) -> String {
    let challenge = base64url(&CHALLENGE);
    format!(
        r#"{{"type":"webauthn.get","challenge":"{challenge}","origin":"{origin}","crossOrigin":false}}"#
    )
}

fn verdict(change: impl FnOnce(&mut Parts)) -> Result<(), AssertionFault> {
    let mut parts = Parts::good();
    change(&mut parts);
    parts.assertion().verify(&passkey_at(RP_ID), &CHALLENGE)
}

#[test]
fn an_assertion_of_the_right_page_person_and_challenge_counts() {
    assert_eq!(verdict(|_| {}), Ok(()));
}

macro_rules! refuses {
    ($($name:ident: $fault:ident, $change:expr;)+) => {$(
        #[test]
        fn $name() {
            assert_eq!(verdict($change), Err(AssertionFault::$fault));
        }
    )+};
}

refuses! {
    refuses_the_signature_of_a_registration: Type, |p| {
        p.client_data = p.client_data.replace("webauthn.get", "webauthn.create");
    };
    refuses_another_challenge: Challenge, |p| {
        p.client_data = p.client_data.replace(&base64url(&CHALLENGE), &base64url(&[1; 32]));
    };
    refuses_a_padded_challenge: Challenge, |p| {
        p.client_data = p.client_data.replace("\",\"origin", "=\",\"origin");
    };
    refuses_a_page_elsewhere: Origin, |p| p.client_data = client_data("https://evil.example");
    refuses_a_frame: CrossOrigin, |p| {
        p.client_data = p.client_data.replace("false", "true");
    };
    refuses_a_frame_that_only_names_the_page_around_it: CrossOrigin, |p| {
        p.client_data = p.client_data.replace("false", "false,\"topOrigin\":\"https://x.example\"");
    };
    refuses_another_relying_party: RpId, |p| p.rp_id = "evil.example";
    refuses_an_assertion_without_presence: UserPresence, |p| p.flags = 0b100;
    refuses_an_assertion_without_verification: UserVerification, |p| p.flags = 0b001;
    refuses_a_backup_of_what_cannot_be_backed_up: BackupState, |p| p.flags |= 1 << 4;
    refuses_attested_credential_data: AuthenticatorData, |p| {
        p.flags |= 1 << 6 | 1 << 7;
        p.after_counter = vec![0; 18];
    };
    refuses_bytes_after_the_counter_without_the_flag: AuthenticatorData, |p| {
        p.after_counter = vec![0xa0];
    };
    refuses_the_flag_of_extensions_without_any: AuthenticatorData, |p| p.flags |= 1 << 7;
    refuses_client_data_that_are_no_object: ClientData, |p| {
        let challenge = base64url(&CHALLENGE);
        p.client_data =
            format!(r#"["webauthn.get","{challenge}","https://desk.example",false,null]"#);
    };
    refuses_client_data_without_a_challenge: ClientData, |p| {
        p.client_data = p.client_data.replace("challenge", "challenger");
    };
    refuses_text_after_the_client_data: ClientData, |p| p.client_data.push('x');
    refuses_a_second_type: ClientData, |p| {
        p.client_data = p.client_data.replace('}', ",\"type\":\"webauthn.get\"}");
    };
    refuses_a_second_challenge: ClientData, |p| {
        p.client_data = p.client_data.replace('}', ",\"challenge\":\"AA\"}");
    };
    refuses_a_second_origin: ClientData, |p| {
        p.client_data = p.client_data.replace('}', ",\"origin\":\"https://desk.example\"}");
    };
    refuses_a_second_word_on_frames: ClientData, |p| {
        p.client_data = p.client_data.replace('}', ",\"crossOrigin\":false}");
    };
}

#[test]
fn refuses_authenticator_data_that_end_early() {
    for len in 0..AUTHENTICATOR_DATA_BYTES_MIN {
        let mut data = Parts::good().authenticator_data();
        data.truncate(len);
        let refused = check_authenticator_data(&data, &RP_ID.parse().unwrap());
        assert_eq!(refused, Err(AssertionFault::AuthenticatorData), "{len}");
    }
}

#[test]
fn passes_over_what_it_need_not_know() {
    assert_eq!(
        verdict(|p| {
            p.client_data = p.client_data.replace(
                '}',
                r#","other_keys_can_be_added_here":{"a":[1,2]},"other_keys_can_be_added_here":0}"#,
            );
        }),
        Ok(()),
        "members of later specifications"
    );
    let extensions = |p: &mut Parts| {
        p.flags |= 1 << 7;
        p.after_counter = vec![0xa0];
    };
    assert_eq!(verdict(extensions), Ok(()), "extensions");
    assert_eq!(
        verdict(|p| p.flags |= 0b11 << 3),
        Ok(()),
        "a synchronised passkey"
    );
    assert_eq!(
        verdict(|p| p.client_data = p.client_data.replace(",\"crossOrigin\":false", "")),
        Ok(()),
        "a browser that knows no frames"
    );
}

#[test]
fn a_signature_is_over_both_parts_and_by_the_pinned_key() {
    let good = Parts::good().assertion();
    let passkey = passkey_at(RP_ID);
    assert_eq!(good.verify(&passkey, &CHALLENGE), Ok(()));
    // The counter is signed and nothing else looks at it.
    let mut counted = good.clone();
    counted.authenticator_data[36] ^= 1;
    // As is a member that nothing else looks at.
    let mut spaced = good.clone();
    spaced.client_data.push(b' ');
    let mut flipped = good.clone();
    flipped.signature[40] ^= 1;
    for changed in [counted, spaced, flipped] {
        assert_eq!(
            changed.verify(&passkey, &CHALLENGE),
            Err(AssertionFault::Signature)
        );
    }
    let mut other = *passkey.key();
    other[0] ^= 1;
    let other = Passkey::new(other, RP_ID.parse().unwrap()).unwrap();
    assert_eq!(
        good.verify(&other, &CHALLENGE),
        Err(AssertionFault::Signature)
    );
}

#[test]
fn the_relying_party_is_pinned_even_where_the_page_would_do() {
    let parts = Parts {
        client_data: client_data("https://approve.desk.example"),
        ..Parts::good()
    };
    let below = passkey_at("approve.desk.example");
    let refused = parts.assertion().verify(&below, &CHALLENGE);
    assert_eq!(refused, Err(AssertionFault::RpId));
}

#[test]
fn origins_follow_from_the_relying_party() {
    for (rp_id, origin, covered) in [
        ("desk.example", "https://desk.example", true),
        ("desk.example", "https://approve.desk.example", true),
        ("desk.example", "https://desk.example:8443", true),
        ("localhost", "http://localhost", true),
        ("localhost", "http://localhost:7070", true),
        ("localhost", "https://localhost:7070", true),
        ("desk.example", "http://desk.example", false),
        ("desk.example", "https://evildesk.example", false),
        ("desk.example", "https://example", false),
        ("desk.example", "https://desk.example.evil.example", false),
        ("desk.example", "https://.desk.example", false),
        ("desk.example", "https://evil.example/.desk.example", false),
        ("desk.example", "https://evil.example#.desk.example", false),
        ("desk.example", "https://evil.example:1@desk.example", false),
        ("desk.example", "https://me@desk.example", false),
        ("desk.example", "https://desk.example/", false),
        ("desk.example", "https://desk.example:", false),
        ("desk.example", "https://desk.example:0443", false),
        ("desk.example", "https://desk.example:+443", false),
        ("desk.example", "https://desk.example:65536", false),
        ("desk.example", "https://DESK.example", false),
        ("desk.example", "android:apk-key-hash:desk.example", false),
        ("desk.example", "", false),
        ("desk.example", "http://localhost", false),
        ("localhost", "http://evil.localhost", false),
        ("localhost", "http://localhost.evil.example", false),
        ("localhost", "https://desk.example", false),
    ] {
        let rp: RpId = rp_id.parse().unwrap();
        assert_eq!(rp.covers(origin), covered, "{rp_id} {origin}");
    }
}

/// Four spellings of one signature: (r, s) in DER with low and high s, and two of them in bad DER.
#[test]
fn a_browsers_signature_becomes_the_one_low_spelling() {
    let parts = Parts::good();
    let good = parts.assertion();
    let low = p256::ecdsa::Signature::from_slice(good.signature()).unwrap();
    let high = p256::ecdsa::Signature::from_scalars(*low.r(), -*low.s()).unwrap();
    let read = |der: &[u8]| {
        let client_data = parts.client_data.clone().into_bytes();
        Assertion::from_browser(parts.authenticator_data(), client_data, der)
    };
    assert_eq!(read(low.to_der().as_bytes()), Ok(good.clone()));
    assert_eq!(read(high.to_der().as_bytes()), Ok(good.clone()));

    let der = low.to_der().as_bytes().to_vec();
    let mut trailing = der.clone();
    trailing.push(0);
    let mut inner = der.clone();
    inner.push(0);
    inner[1] += 1;
    let mut long_length = der.clone();
    long_length.insert(1, 0x81);
    let mut padded = der.clone();
    padded.insert(4, 0);
    padded[1] += 1;
    padded[3] += 1;
    // The high s has its top bit set, which takes a zero byte in front; without it, it is negative.
    let mut negative = high.to_der().as_bytes().to_vec();
    let zero = 4 + usize::from(negative[3]) + 2;
    assert_eq!(negative[zero], 0);
    negative.remove(zero);
    negative[1] -= 1;
    negative[zero - 1] -= 1;
    for (name, bad) in [
        ("negative integer", negative),
        ("bytes after", trailing),
        ("bytes inside", inner),
        ("long length", long_length),
        ("padded integer", padded),
        ("fixed form", low.to_bytes().to_vec()),
        ("nothing", Vec::new()),
    ] {
        assert_eq!(read(&bad), Err(AssertionFault::Signature), "{name}");
    }

    let respelt = Assertion {
        signature: high.to_bytes().into(),
        ..good
    };
    assert_eq!(
        respelt.verify(&passkey_at(RP_ID), &CHALLENGE),
        Err(AssertionFault::Signature),
        "nodes take no high s"
    );
}

#[test]
fn an_assertion_is_bounded() {
    let make = |data, client| Assertion::new(vec![0; data], vec![0; client], [0; 64]);
    let (data, client) = (AUTHENTICATOR_DATA_BYTES_MAX, CLIENT_DATA_BYTES_MAX);
    assert!(make(data, client).is_ok());
    assert_eq!(
        make(data + 1, client),
        Err(AssertionFault::AuthenticatorData)
    );
    assert_eq!(make(data, client + 1), Err(AssertionFault::ClientData));
}

#[test]
fn base64url_is_that_of_the_rfc() {
    for (bytes, text) in [
        (&b""[..], ""),
        (b"f", "Zg"),
        (b"fo", "Zm8"),
        (b"foo", "Zm9v"),
        (b"foobar", "Zm9vYmFy"),
        (&[0xfb, 0xff, 0xbf], "-_-_"),
    ] {
        assert_eq!(base64url(bytes), text);
    }
}

proptest! {
    #[test]
    fn no_bytes_make_verification_panic(
        data in prop::collection::vec(any::<u8>(), 0..80),
        client in prop::collection::vec(any::<u8>(), 0..120),
        signature in any::<[u8; 32]>(),
    ) {
        let mut both = [0; 64];
        both[..32].copy_from_slice(&signature);
        both[32..].copy_from_slice(&signature);
        let assertion = Assertion::new(data.clone(), client.clone(), both).unwrap();
        prop_assert!(assertion.verify(&passkey_at(RP_ID), &CHALLENGE).is_err());
        prop_assert!(Assertion::from_browser(data, client, &both).is_err());
    }

    /// Whatever one byte becomes, in either part, the signature no longer verifies.
    #[test]
    fn no_changed_byte_is_accepted(place in any::<prop::sample::Index>(), change in 1u8..) {
        let mut assertion = Parts::good().assertion();
        let cut = assertion.authenticator_data.len();
        let at = place.index(cut + assertion.client_data.len());
        if at < cut {
            assertion.authenticator_data[at] ^= change;
        } else {
            assertion.client_data[at - cut] ^= change;
        }
        prop_assert!(assertion.verify(&passkey_at(RP_ID), &CHALLENGE).is_err());
    }
}
