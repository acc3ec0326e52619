//! Envelopes that count, and every way in which they do not.

use super::*;
use crate::cbor::Version;
use crate::credential::{P256Identity, SigningIdentity};
use crate::secret::SecretBytes;
use crate::tags;

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
struct Note {
    #[n(0)]
    version: Version<1>,
    #[n(1)]
    text: String,
}

impl Statement for Note {
    const TAG: Tag = tags::MESSAGE;
    const BYTES_MAX: usize = 1024;
}

fn identity(seed: u8) -> SigningIdentity {
    SigningIdentity::from_seed(&SecretBytes::take(&mut [seed; 32]))
}

fn note() -> Note {
    Note {
        version: Version,
        text: "pay nobody".into(),
    }
}

#[test]
fn coset_reads_and_verifies_our_envelope() {
    use coset::CborSerializable;
    let signed = Signed::sign(note(), &identity(1));
    let theirs = coset::CoseSign1::from_slice(&signed.to_bytes()).unwrap();
    theirs
        .verify_signature(tags::MESSAGE.text().as_bytes(), |signature, message| {
            let signature = signature.try_into().unwrap();
            if identity(1).public().verifies(message, &signature) {
                Ok(())
            } else {
                Err(())
            }
        })
        .unwrap();
    assert_eq!(theirs.payload.unwrap(), cbor::encode(&note()));
}

#[test]
fn every_flipped_bit_is_refused() {
    let bytes = Signed::sign(note(), &identity(1)).to_bytes();
    assert!(
        Signed::<Note>::from_bytes(&bytes)
            .unwrap()
            .verify(&identity(1).public())
            .is_ok()
    );
    for i in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[i / 8] ^= 1 << (i % 8);
        let accepted = Signed::<Note>::from_bytes(&flipped)
            .is_ok_and(|s| s.verify(&identity(1).public()).is_ok());
        assert!(!accepted, "bit {i}");
    }
}

#[test]
fn another_credential_and_another_tag_are_refused() {
    let signed = Signed::sign(note(), &identity(1));
    assert!(matches!(
        signed.verify(&identity(2).public()),
        Err(StatementError::Credential)
    ));
    let made = Endorsement::make(tags::CHARTER, &signed.payload, &identity(1));
    assert!(
        made.verify(tags::MESSAGE, &signed.payload, &identity(1).public())
            .is_err()
    );
}

#[test]
fn certificate_keeps_one_signature_for_each_credential() {
    let mut certificate = Certificate::unsigned(note());
    for seed in [2, 1, 2] {
        certificate.endorse(&identity(seed));
    }
    assert_eq!(certificate.endorsements().len(), 2);
    let read = Certificate::<Note>::from_bytes(&certificate.to_bytes()).unwrap();
    assert!(read.endorsed_by(&identity(1).public()));
    assert!(read.endorsed_by(&identity(2).public()));
    assert!(!read.endorsed_by(&identity(3).public()));
}

/// A note whose challenge is its text, and so says nothing of its version.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
struct Shown {
    #[cbor(n(0), with = "minicbor::bytes")]
    hash: [u8; 32],
    #[n(1)]
    aside: u8,
}

impl Statement for Shown {
    const TAG: Tag = tags::STAMP;
    const BYTES_MAX: usize = 64;

    fn challenge(&self) -> Option<[u8; 32]> {
        Some(self.hash)
    }
}

fn p256() -> P256Identity {
    P256Identity::from_scalar(&SecretBytes::take(&mut [7; 32])).unwrap()
}

fn passkey() -> Passkey {
    let PublicCredential::P256(key) = p256().public() else {
        panic!("a P-256 key");
    };
    Passkey::new(key, "desk.example".parse().unwrap()).unwrap()
}

fn by_passkey() -> PublicCredential {
    PublicCredential::Passkey(passkey())
}

fn assert_over(challenge: &[u8; 32]) -> Assertion {
    let challenge = crate::webauthn::base64url(challenge);
    let client = format!(
        r#"{{"type":"webauthn.get","challenge":"{challenge}","origin":"https://desk.example"}}"#
    );
    let mut data = Sha256::digest("desk.example").to_vec();
    data.extend([5, 0, 0, 0, 0]);
    let mut message = data.clone();
    message.extend(Sha256::digest(&client));
    Assertion::new(data, client.into_bytes(), p256().sign(&message)).unwrap()
}

#[test]
fn p256_signs_statements_and_certificates() {
    let signed = Signed::sign(note(), &p256());
    let read = Signed::<Note>::from_bytes(&signed.to_bytes()).unwrap();
    assert!(read.verify(&p256().public()).is_ok());
    assert!(read.verify(&by_passkey()).is_err());
    let mut certificate = Certificate::unsigned(note());
    certificate.endorse(&p256());
    assert!(certificate.endorsed_by(&p256().public()));
}

#[test]
fn a_passkey_signs_any_statement_by_its_hash() {
    let challenge = Signed::challenge(&note(), &passkey());
    let signed = Signed::asserted(note(), &passkey(), assert_over(&challenge));
    let read = Signed::<Note>::from_bytes(&signed.to_bytes()).unwrap();
    assert_eq!(read, signed);
    assert_eq!(read.verify(&by_passkey()).unwrap(), &note());

    let mut certificate = Certificate::unsigned(note());
    let assertion = assert_over(&certificate.challenge(&passkey()));
    certificate.add(Endorsement::asserted(&passkey(), assertion));
    let read = Certificate::<Note>::from_bytes(&certificate.to_bytes()).unwrap();
    assert!(read.endorsed_by(&by_passkey()));

    let other = Note {
        text: "pay eve".into(),
        ..note()
    };
    let moved = Signed::asserted(other, &passkey(), assert_over(&challenge));
    assert!(matches!(
        moved.verify(&by_passkey()),
        Err(StatementError::Assertion(AssertionFault::Challenge))
    ));
}

#[test]
fn a_passkeys_challenge_follows_tag_header_and_payload() {
    let payload = cbor::encode(&note());
    let assertion = assert_over(&Signed::challenge(&note(), &passkey()));
    let made = Endorsement::asserted(&passkey(), assertion);
    assert!(made.verify(tags::MESSAGE, &payload, &by_passkey()).is_ok());
    assert!(made.verify(tags::CHARTER, &payload, &by_passkey()).is_err());
    assert!(made.verify(tags::MESSAGE, b"", &by_passkey()).is_err());
    let PublicCredential::P256(key) = p256().public() else {
        panic!("a P-256 key");
    };
    let elsewhere = Passkey::new(key, "other.example".parse().unwrap()).unwrap();
    assert_ne!(
        Signed::challenge(&note(), &passkey()),
        Signed::challenge(&note(), &elsewhere)
    );
}

#[test]
fn a_type_can_name_its_challenge_which_then_covers_nothing_else() {
    let shown = |aside| Shown {
        hash: [4; 32],
        aside,
    };
    assert_eq!(Signed::challenge(&shown(1), &passkey()), [4; 32]);
    for aside in [1, 2] {
        let signed = Signed::asserted(shown(aside), &passkey(), assert_over(&[4; 32]));
        assert!(signed.verify(&by_passkey()).is_ok());
    }
    let mut certificate = Certificate::unsigned(shown(1));
    certificate.add(Endorsement::asserted(&passkey(), assert_over(&[4; 32])));
    assert!(certificate.endorsed_by(&by_passkey()));
    // Keys that sign bytes go on covering all of it.
    let mut bytes = Signed::sign(shown(1), &p256()).to_bytes();
    let at = bytes.iter().rposition(|b| *b == 4).unwrap() + 1;
    assert_eq!(bytes[at], 1);
    bytes[at] = 2;
    let read = Signed::<Shown>::from_bytes(&bytes).unwrap();
    assert!(read.verify(&p256().public()).is_err());
}

#[test]
fn a_proof_of_the_other_kind_is_refused() {
    let challenge = Signed::challenge(&note(), &passkey());
    // A passkey's assertion in the name of the bare key, and a bare signature in its own.
    let mut as_key = Signed::asserted(note(), &passkey(), assert_over(&challenge));
    as_key.endorsement.credential = p256().public().id();
    assert!(matches!(
        as_key.verify(&p256().public()),
        Err(StatementError::Signature)
    ));
    let payload = cbor::encode(&note());
    let header = protected(-7, by_passkey().id());
    let bare = p256().sign(&sig_structure(tags::MESSAGE, &header, &payload));
    let bare = Endorsement {
        credential: by_passkey().id(),
        algorithm: -7,
        proof: Proof::Signature(bare),
    };
    assert!(matches!(
        bare.verify(tags::MESSAGE, &payload, &by_passkey()),
        Err(StatementError::Signature)
    ));
}

#[test]
fn the_largest_assertion_fits_its_envelope_and_a_larger_one_does_not_decode() {
    let envelope = |data: usize, client: usize| {
        let mut out = Vec::new();
        let mut e = Encoder::new(&mut out);
        e.array(4).unwrap();
        e.bytes(&protected(-7, by_passkey().id())).unwrap();
        e.map(1).unwrap().str(ASSERTION_HEADER).unwrap();
        e.array(2).unwrap();
        e.bytes(&vec![0; data]).unwrap();
        e.bytes(&vec![0; client]).unwrap();
        let text = "x".repeat(Note::BYTES_MAX - 5);
        let version = Version;
        e.bytes(&cbor::encode(&Note { version, text })).unwrap();
        e.bytes(&[0; 64]).unwrap();
        out
    };
    let (data, client) = (AUTHENTICATOR_DATA_BYTES_MAX, CLIENT_DATA_BYTES_MAX);
    let whole = envelope(data, client);
    let read = Signed::<Note>::from_bytes(&whole).unwrap();
    assert_eq!(read.payload.len(), Note::BYTES_MAX);
    assert_eq!(read.to_bytes(), whole);
    assert!(Signed::<Note>::from_bytes(&envelope(data + 1, 0)).is_err());
    assert!(Signed::<Note>::from_bytes(&envelope(0, client + 1)).is_err());
}

#[test]
fn every_flipped_bit_of_a_passkeys_envelope_is_refused() {
    let challenge = Signed::challenge(&note(), &passkey());
    let bytes = Signed::asserted(note(), &passkey(), assert_over(&challenge)).to_bytes();
    for i in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[i / 8] ^= 1 << (i % 8);
        let accepted =
            Signed::<Note>::from_bytes(&flipped).is_ok_and(|s| s.verify(&by_passkey()).is_ok());
        assert!(!accepted, "bit {i}");
    }
}
