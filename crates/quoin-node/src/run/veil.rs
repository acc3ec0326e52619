//! Payloads at rest: what was asked can be read while its day's key exists, and no longer.
//!
//! A journal is kept for ever, because its hash chain is what vouches for it; what people asked for
//! need not be. So the payloads of decisions and denials, their approvals, the facts that they
//! rested on and the statements that say in words what was denied are encrypted, each day under a key of its own that is sealed beside the shares. To
//! erase a day is to erase its key: chain, hashes, reservations and rules stay.
//!
//! Requests about Quoin itself (keys, nodes, freezes) are left in clear: a node replays them.

use crate::core::{COVERED_MARK as MARK, Record, payload_key_label};
use crate::seal::{SealError, Sealer};
use chacha20poly1305::aead::{Aead, KeyInit, Payload as AeadPayload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use quoin_api::frame::Opaque;
use quoin_core::hash::tagged;
use quoin_core::payload::{PAYLOAD_BYTES_MAX, PayloadKind};
use quoin_core::{Payload, SecretBytes, TimeMs, cbor, tags};
use rand_core::{OsRng, RngCore};
use std::collections::BTreeMap;
use zeroize::Zeroizing;

const NONCE_BYTES: usize = 24;
const DAY_BYTES: usize = 4;
/// One day.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// The keys of the days that are still readable.
#[derive(Default)]
pub(crate) struct Veil {
    keys: BTreeMap<u32, SecretBytes<32>>,
}

/// The day of a time, counted from 1970.
pub(crate) fn day_of(at: TimeMs) -> u32 {
    u32::try_from(at.0 / DAY_MS).unwrap_or(u32::MAX)
}

impl Veil {
    /// Takes the key of a day that was sealed.
    pub(crate) fn admit(&mut self, label: &str, key: SecretBytes<32>) {
        if let Some(day) = label.strip_prefix(PREFIX).and_then(|d| d.parse().ok()) {
            self.keys.insert(day, key);
        }
    }

    /// Lets go of the key of a day whose sealed form is erased.
    pub(crate) fn forget(&mut self, label: &str) {
        if let Some(day) = label.strip_prefix(PREFIX).and_then(|d| d.parse().ok()) {
            self.keys.remove(&day);
        }
    }

    /// Covers what people asked for in a record of the time `at`. For the first record of a day
    /// there is a new sealed key, which has to be written together with it.
    pub(crate) fn cover(
        &mut self,
        at: TimeMs,
        record: &mut Record,
        sealer: &dyn Sealer,
        aad: &[u8],
    ) -> Result<Option<(String, Vec<u8>)>, SealError> {
        if !holds_wishes(record) {
            return Ok(None);
        }
        let day = day_of(at);
        let sealed = self.new_key(day, sealer, aad)?;
        if let Some(key) = self.keys.get(&day) {
            for field in fields(record) {
                field.0 = encrypt(key, day, &field.0)?;
            }
        }
        Ok(sealed)
    }

    /// Uncovers what can still be read; the rest stays as it is.
    pub(crate) fn uncover(&self, record: &mut Record) {
        for field in fields(record) {
            if let Some(plain) = self.decrypt(&field.0) {
                field.0 = plain;
            }
        }
    }

    fn new_key(
        &mut self,
        day: u32,
        sealer: &dyn Sealer,
        aad: &[u8],
    ) -> Result<Option<(String, Vec<u8>)>, SealError> {
        if self.keys.contains_key(&day) {
            return Ok(None);
        }
        let mut fresh = Zeroizing::new([0u8; 32]);
        fill(fresh.as_mut_slice())?;
        let label = payload_key_label(day);
        let sealed = sealer.seal(&label, aad, fresh.as_slice())?;
        self.keys.insert(day, SecretBytes::take(&mut fresh));
        Ok(Some((label, sealed)))
    }

    fn decrypt(&self, covered: &[u8]) -> Option<Vec<u8>> {
        let rest = covered.strip_prefix(&[MARK])?;
        let (day, rest) = rest.split_first_chunk::<DAY_BYTES>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_BYTES>()?;
        let day = u32::from_be_bytes(*day);
        let payload = AeadPayload {
            msg: sealed,
            aad: &place(day),
        };
        let cipher = XChaCha20Poly1305::new(Key::from_slice(self.keys.get(&day)?.expose()));
        cipher.decrypt(XNonce::from_slice(nonce), payload).ok()
    }
}

/// What the labels of days' keys begin with.
pub(crate) const PREFIX: &str = "journal/";

/// Whether a record holds what somebody wanted to have signed.
fn holds_wishes(record: &Record) -> bool {
    let payload = match record {
        Record::Decision(decision) => &decision.payload,
        Record::Denied(denied) => &denied.payload,
        // Another node's denial says in words what was asked, and whoever gets it may not have the
        // payload.
        Record::Tombstone(_) => return true,
        _ => return false,
    };
    let read = cbor::decode::<Payload>(&payload.0, PAYLOAD_BYTES_MAX + 64);
    !read.is_ok_and(|p| is_about_quoin(p.kind()))
}

/// Whether a node has to read it again when it replays its journal.
const fn is_about_quoin(kind: PayloadKind) -> bool {
    match kind {
        PayloadKind::CreateKey
        | PayloadKind::ChangeKey
        | PayloadKind::ChangeNode
        | PayloadKind::Unfreeze => true,
        PayloadKind::EvmTransaction
        | PayloadKind::EvmTypedData
        | PayloadKind::EvmMessage
        | PayloadKind::Text => false,
    }
}

/// What is covered of a record.
fn fields(record: &mut Record) -> Vec<&mut Opaque> {
    match record {
        Record::Decision(decision) => {
            let approvals = decision.approvals.iter_mut();
            std::iter::once(&mut decision.payload)
                .chain(approvals)
                .chain(&mut decision.facts)
                .collect()
        }
        Record::Denied(denied) => vec![&mut denied.payload, &mut denied.denial],
        Record::Tombstone(denial) => vec![denial],
        _ => Vec::new(),
    }
}

fn encrypt(key: &SecretBytes<32>, day: u32, plain: &[u8]) -> Result<Vec<u8>, SealError> {
    let mut nonce = [0u8; NONCE_BYTES];
    fill(&mut nonce)?;
    let payload = AeadPayload {
        msg: plain,
        aad: &place(day),
    };
    let cipher = XChaCha20Poly1305::new(Key::from_slice(key.expose()));
    // Fails only beyond 256 GiB, which the limits of records exclude.
    let sealed = cipher.encrypt(XNonce::from_slice(&nonce), payload);
    let sealed = sealed.map_err(|_| SealError::Malformed("plaintext is too long".to_owned()))?;
    Ok([[MARK].as_slice(), &day.to_be_bytes(), &nonce, &sealed].concat())
}

/// The day is bound to the ciphertext, so that one cannot be passed off as of another.
fn place(day: u32) -> [u8; 32] {
    tagged(tags::SEAL, &[b"journal", &day.to_be_bytes()])
}

fn fill(out: &mut [u8]) -> Result<(), SealError> {
    OsRng
        .try_fill_bytes(out)
        .map_err(|e| SealError::NoEntropy(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{Decision, Denied};
    use crate::seal::FileSealer;
    use quoin_core::payload::CreateKey;
    use quoin_core::{CharterHash, Purpose, RequestId, Scheme};

    const AT: TimeMs = TimeMs(20_000 * DAY_MS + 5);

    fn sealer() -> (tempfile::TempDir, FileSealer) {
        let dir = tempfile::tempdir().unwrap();
        let sealer = FileSealer::create_key_file(&dir.path().join("master.key")).unwrap();
        (dir, sealer)
    }

    fn decision(payload: &Payload) -> Record {
        Record::Decision(Box::new(Decision {
            request_id: RequestId([1; 16]),
            stamp: Opaque(vec![1]),
            payload: Opaque(cbor::encode(payload)),
            approvals: vec![Opaque(b"approval".to_vec())],
            charter: CharterHash([2; 32]),
            rules: Vec::new(),
            reservation: Opaque(vec![3]),
            presignature: None,
            set: None,
            binding: None,
            facts: Some(Opaque(b"facts".to_vec())),
            closes: None,
        }))
    }

    fn text() -> Payload {
        Payload::Text("pay the ransom".to_owned())
    }

    #[test]
    fn a_covered_record_shows_nothing_and_comes_back_whole() {
        let (_dir, sealer) = sealer();
        let (mut veil, plain) = (Veil::default(), decision(&text()));
        let mut record = plain.clone();
        let sealed = veil.cover(AT, &mut record, &sealer, b"aad").unwrap();
        assert_eq!(sealed.as_ref().unwrap().0, "journal/20000");
        let bytes = record.to_bytes();
        for secret in [b"ransom".as_slice(), b"approval", b"facts"] {
            assert!(!bytes.windows(secret.len()).any(|w| w == secret));
        }
        let mut again = Record::from_bytes(&bytes).unwrap();
        veil.uncover(&mut again);
        assert_eq!(again, plain);
        let second = veil.cover(AT, &mut plain.clone(), &sealer, b"aad").unwrap();
        assert!(second.is_none(), "one key for each day");
    }

    #[test]
    fn a_denied_request_is_covered_too() {
        let (_dir, sealer) = sealer();
        let words = || Opaque(b"\x82 somebody wants to pay the ransom".to_vec());
        let denied = Record::Denied(Denied {
            denial: words(),
            stamp: Opaque(vec![2]),
            payload: Opaque(cbor::encode(&text())),
        });
        // What other nodes say of it is in the same words.
        for plain in [denied, Record::Tombstone(words())] {
            let (mut veil, mut record) = (Veil::default(), plain.clone());
            veil.cover(AT, &mut record, &sealer, b"aad").unwrap();
            let bytes = record.to_bytes();
            assert!(!bytes.windows(6).any(|w| w == b"ransom"));
            veil.uncover(&mut record);
            assert_eq!(record, plain);
        }
    }

    #[test]
    fn without_its_days_key_a_payload_is_gone() {
        let (_dir, sealer) = sealer();
        let (mut veil, mut record) = (Veil::default(), decision(&text()));
        let sealed = veil.cover(AT, &mut record, &sealer, b"aad").unwrap();
        let (label, _) = sealed.unwrap();
        veil.forget(&label);
        let covered = record.clone();
        veil.uncover(&mut record);
        assert_eq!(record, covered);
    }

    #[test]
    fn what_a_node_replays_stays_in_clear() {
        let (_dir, sealer) = sealer();
        let mut veil = Veil::default();
        let plain = decision(&Payload::CreateKey(CreateKey {
            name: "desk".parse().unwrap(),
            scheme: Scheme::Ecdsa,
            purpose: Purpose::Trading,
        }));
        let mut record = plain.clone();
        let sealed = veil.cover(AT, &mut record, &sealer, b"aad").unwrap();
        assert_eq!((record, sealed), (plain, None));
    }

    #[test]
    fn a_sealed_key_opens_under_its_label_only() {
        let (_dir, sealer) = sealer();
        let (mut veil, mut record) = (Veil::default(), decision(&text()));
        let sealed = veil.cover(AT, &mut record, &sealer, b"aad").unwrap();
        let (label, sealed) = sealed.unwrap();
        assert!(sealer.open("journal/20001", b"aad", &sealed).is_err());
        let mut key = [0u8; 32];
        key.copy_from_slice(&sealer.open(&label, b"aad", &sealed).unwrap());
        let mut later = Veil::default();
        later.admit(&label, SecretBytes::take(&mut key));
        later.uncover(&mut record);
        assert_eq!(record, decision(&text()));
    }
}
