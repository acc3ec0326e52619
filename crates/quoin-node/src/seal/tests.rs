//! What a seal keeps, and each way in which it refuses to open.

use super::envelope::{SECRET_BYTES_MAX, fingerprint, seal};
use super::{FileSealer, KdfParams, PassphraseSource, SealError, Sealer};
use proptest::prelude::*;
use quoin_core::SecretBytes;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use zeroize::Zeroizing;

const LABEL: &str = "share/0011/3";

fn given(text: &str) -> PassphraseSource {
    PassphraseSource::Given(Zeroizing::new(text.as_bytes().to_vec()))
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("master.key");
    (folder, path)
}

fn sealer() -> FileSealer {
    let (_folder, path) = folder();
    FileSealer::create_key_file(&path).unwrap()
}

#[test]
fn a_sealed_secret_opens_with_the_same_label_and_context() {
    let sealer = sealer();
    let sealed = sealer.seal(LABEL, b"node 1", b"a share").unwrap();
    assert!(!sealed.windows(7).any(|w| w == b"a share"));
    let opened = sealer.open(LABEL, b"node 1", &sealed).unwrap();
    assert_eq!(opened.as_slice(), b"a share");
    let again = sealer.seal(LABEL, b"node 1", b"a share").unwrap();
    assert_ne!(
        again, sealed,
        "each seal has a data key and nonces of its own"
    );
}

#[test]
fn another_label_another_context_and_another_master_key_are_told_apart() {
    let sealer = sealer();
    let sealed = sealer.seal(LABEL, b"node 1", b"a share").unwrap();
    assert!(matches!(
        sealer.open("share/0011/4", b"node 1", &sealed),
        Err(SealError::OtherLabel { .. })
    ));
    assert!(matches!(
        sealer.open(LABEL, b"node 2", &sealed),
        Err(SealError::Broken(_))
    ));
    let other = self::sealer();
    assert!(matches!(
        other.open(LABEL, b"node 1", &sealed),
        Err(SealError::OtherMasterKey { .. })
    ));
}

#[test]
fn no_flipped_bit_goes_unnoticed() {
    let sealer = sealer();
    let sealed = sealer.seal(LABEL, b"node 1", b"a share").unwrap();
    for at in 0..sealed.len() {
        for bit in 0..8 {
            let mut flipped = sealed.clone();
            flipped[at] ^= 1 << bit;
            assert!(
                sealer.open(LABEL, b"node 1", &flipped).is_err(),
                "byte {at} bit {bit}"
            );
        }
    }
    let mut end = sealed;
    *end.last_mut().unwrap() ^= 1;
    assert!(matches!(
        sealer.open(LABEL, b"node 1", &end),
        Err(SealError::Broken(_))
    ));
}

#[test]
fn a_wrapped_key_cannot_be_moved_to_another_label() {
    // The label in clear is only a hint: changed by hand, it opens nothing.
    let sealer = sealer();
    let sealed = sealer.seal("share/0011/3", b"", b"a share").unwrap();
    let text = b"share/0011/3";
    let at = sealed.windows(text.len()).position(|w| w == text).unwrap();
    let mut moved = sealed;
    moved[at + text.len() - 1] = b'4';
    assert!(matches!(
        sealer.open("share/0011/4", b"", &moved),
        Err(SealError::Broken(_))
    ));
}

#[test]
fn a_secret_over_the_limit_is_refused() {
    let secret = vec![0; SECRET_BYTES_MAX + 1];
    assert!(matches!(
        sealer().seal(LABEL, b"", &secret),
        Err(SealError::TooLong { .. })
    ));
    assert!(sealer().seal(&"l".repeat(129), b"", b"").is_err());
}

#[test]
fn a_key_file_is_private_and_never_overwritten() {
    let (_folder, path) = folder();
    let sealer = FileSealer::create_key_file(&path).unwrap();
    let metadata = std::fs::metadata(&path).unwrap();
    assert_eq!((metadata.mode() & 0o777, metadata.len()), (0o600, 32));
    assert!(FileSealer::create_key_file(&path).is_err());
    let sealed = sealer.seal(LABEL, b"", b"a share").unwrap();
    let opened = FileSealer::open_key_file(&path).unwrap();
    assert_eq!(
        opened.open(LABEL, b"", &sealed).unwrap().as_slice(),
        b"a share"
    );
}

#[test]
fn a_key_file_that_others_may_read_or_of_another_length_is_refused() {
    let (_folder, path) = folder();
    FileSealer::create_key_file(&path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o604)).unwrap();
    assert!(matches!(
        FileSealer::open_key_file(&path),
        Err(SealError::OpenToOthers(_, 0o604))
    ));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&path, [7; 33]).unwrap();
    assert!(matches!(
        FileSealer::open_key_file(&path),
        Err(SealError::NotAMasterKey(_))
    ));
}

#[test]
fn a_passphrase_opens_its_key_and_no_other_does() {
    let (folder, path) = folder();
    let right = given("correct horse battery");
    let params = KdfParams::PRODUCTION;
    let sealer = FileSealer::create_with_passphrase(&path, &right, params).unwrap();
    let sealed = sealer.seal(LABEL, b"", b"a share").unwrap();
    let file = folder.path().join("passphrase");
    std::fs::write(&file, "correct horse battery\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let source = PassphraseSource::File(file.clone());
    let opened = FileSealer::open_with_passphrase(&path, &source).unwrap();
    assert_eq!(
        opened.open(LABEL, b"", &sealed).unwrap().as_slice(),
        b"a share"
    );
    assert!(matches!(
        FileSealer::open_with_passphrase(&path, &given("correct horse batterz")),
        Err(SealError::WrongPassphrase(_))
    ));
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(
        FileSealer::open_with_passphrase(&path, &source),
        Err(SealError::OpenToOthers(..))
    ));
}

#[test]
fn a_damaged_header_is_not_taken_for_a_wrong_passphrase() {
    let (_folder, path) = folder();
    let right = given("correct horse battery");
    FileSealer::create_with_passphrase(&path, &right, KdfParams::PRODUCTION).unwrap();
    let good = std::fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        std::fs::write(&path, &bad).unwrap();
        assert!(
            matches!(
                FileSealer::open_with_passphrase(&path, &right),
                Err(SealError::MasterKeyDamaged(_) | SealError::NotAMasterKey(_))
            ),
            "byte {at}"
        );
    }
}

#[test]
fn costs_below_production_or_beyond_reason_are_refused() {
    let (_folder, path) = folder();
    let right = given("correct horse battery");
    let p = KdfParams::PRODUCTION;
    for params in [
        KdfParams {
            memory_kib: p.memory_kib - 1,
            ..p
        },
        KdfParams { passes: 2, ..p },
        KdfParams {
            memory_kib: u32::MAX,
            ..p
        },
        KdfParams {
            passes: u32::MAX,
            ..p
        },
        KdfParams { lanes: 0, ..p },
    ] {
        assert!(
            matches!(
                FileSealer::create_with_passphrase(&path, &right, params),
                Err(SealError::CostsOutOfBounds { .. })
            ),
            "{params:?}"
        );
    }
    assert!(!path.exists());
}

#[test]
fn short_and_empty_passphrases_are_refused() {
    let (_folder, path) = folder();
    for text in ["", "\n", "eleven byte"] {
        assert!(
            matches!(
                FileSealer::create_with_passphrase(&path, &given(text), KdfParams::PRODUCTION),
                Err(SealError::PassphraseLength { .. })
            ),
            "{text}"
        );
    }
}

#[test]
fn debug_shows_a_fingerprint_and_no_key() {
    let sealer = sealer();
    let text = format!("{sealer:?}");
    assert_eq!(
        text,
        format!("FileSealer({}, <redacted>)", sealer.fingerprint())
    );
}

#[test]
fn the_form_of_an_envelope_is_pinned() {
    let master = SecretBytes::take(&mut [7u8; 32]);
    assert_eq!(hex::encode(fingerprint(&master)), "96ddd4b639b0238a");
    let sealed = seal(&master, "l", b"", b"12345").unwrap();
    // Array of seven, version 1, fingerprint, label; then nonces and ciphertexts by their lengths.
    let start = format!("870148{}616c5818", hex::encode(fingerprint(&master)));
    assert!(hex::encode(&sealed).starts_with(&start));
    assert_eq!(sealed.len(), 2 + 9 + 2 + 26 + (2 + 48) + 26 + (1 + 21));
}

#[test]
fn a_sealed_secret_of_today_opens_for_ever() {
    let master = SecretBytes::take(&mut [7u8; 32]);
    let sealed = hex::decode(GOLDEN).unwrap();
    let opened = super::envelope::open(&master, "share/aa/1", b"node 1", &sealed).unwrap();
    assert_eq!(opened.as_slice(), b"golden secret");
}

const GOLDEN: &str = concat!(
    "87014896ddd4b639b0238a6a73686172652f61612f315818a4d6ef04c12158e67c6b1b1d85487ddf03f205",
    "c1096810e65830f43a9ba567f7cb0b28bbda3883b027bf39e94ca6eca82b9cfd116a851e9dee69a1c80807",
    "b2fdc838a7758604ec57b4435818c64cefe0bfb8084c7cc812b81a848fe8343832cf2d3b1d34581d53030d",
    "ef364b5d2f3a4c78b1b39f42ef7b1f31cc4b9b038dc5fa4e4e8b",
);

proptest! {
    #[test]
    fn arbitrary_bytes_never_open_and_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let master = SecretBytes::take(&mut [7u8; 32]);
        prop_assert!(super::envelope::open(&master, LABEL, b"", &bytes).is_err());
        prop_assert!(super::passphrase::unwrap("x", &bytes, &given("correct horse battery")).is_err());
    }
}
