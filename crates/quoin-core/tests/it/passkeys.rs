//! Assertions recorded from a browser's virtual authenticators: Chromium 148, `WebAuthn` domain of
//! its debugging protocol, challenge of 32 bytes `5a`. `quoin-cli` has the test that makes new ones.

use quoin_core::{Assertion, AssertionFault, Passkey, PublicCredential};
use serde::Deserialize;

/// What the browser handed out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Recorded {
    name: String,
    passkey: PublicCredential,
    authenticator_data: String,
    client_data: String,
    signature: String,
    registration_authenticator_data: String,
    registration_client_data: String,
}

const CHALLENGE: [u8; 32] = [0x5a; 32];

impl Recorded {
    fn passkey(&self) -> &Passkey {
        match &self.passkey {
            PublicCredential::Passkey(passkey) => passkey,
            other => panic!("{other}"),
        }
    }

    fn assertion(&self) -> Assertion {
        let client_data = self.client_data.clone().into_bytes();
        let data = hex::decode(&self.authenticator_data).unwrap();
        let der = hex::decode(&self.signature).unwrap();
        Assertion::from_browser(data, client_data, &der).unwrap()
    }
}

fn recorded() -> Vec<Recorded> {
    serde_json::from_str(include_str!("passkeys.json")).unwrap()
}

#[test]
fn a_real_browsers_assertions_count_where_the_person_was_verified() {
    for made in recorded() {
        let verdict = made.assertion().verify(made.passkey(), &CHALLENGE);
        let wanted = match made.name.as_str() {
            "unverified" => Err(AssertionFault::UserVerification),
            "high-s" | "low-s" | "localhost" | "synchronised" => Ok(()),
            other => panic!("{other}"),
        };
        assert_eq!(verdict, wanted, "{}", made.name);
    }
    assert_eq!(recorded().len(), 5);
}

#[test]
fn a_real_browsers_assertion_serves_one_challenge_and_one_passkey() {
    let all = recorded();
    let first = &all[0];
    for other in all.iter().filter(|o| o.passkey != first.passkey) {
        let moved = first.assertion().verify(other.passkey(), &CHALLENGE);
        assert!(moved.is_err(), "{}", other.name);
    }
    assert_eq!(
        first.assertion().verify(first.passkey(), &[0; 32]),
        Err(AssertionFault::Challenge)
    );
}

/// The signature is not of these bytes, but each is refused before it is looked at.
#[test]
fn a_real_browsers_registration_is_no_assertion() {
    for made in recorded() {
        let signature = *made.assertion().signature();
        let data = hex::decode(&made.registration_authenticator_data).unwrap();
        let created = made.registration_client_data.clone().into_bytes();
        let got = made.client_data.clone().into_bytes();
        let verdict = |client| {
            let assertion = Assertion::new(data.clone(), client, signature).unwrap();
            assertion.verify(made.passkey(), &CHALLENGE)
        };
        assert_eq!(verdict(created), Err(AssertionFault::Type));
        assert_eq!(verdict(got), Err(AssertionFault::AuthenticatorData));
    }
}
