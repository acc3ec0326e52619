//! What a seal keeps, and each way in which it refuses to open.

use super::envelope::SECRET_BYTES_MAX;
use super::sealed_by;
use super::{FileSealer, KdfParams, PassphraseSource, SealError, Sealer};
use proptest::prelude::*;
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
        format!(
            "FileSealer({}, <redacted>)",
            hex::encode(sealer.fingerprint())
        )
    );
}

#[test]
fn the_form_of_an_envelope_is_pinned() {
    let sealer = FileSealer::of_bytes([7; 32]);
    assert_eq!(hex::encode(sealer.fingerprint()), "96ddd4b639b0238a");
    let sealed = sealer.seal("l", b"", b"12345").unwrap();
    // Array of six, version 2, fingerprint, label; then wrapped key, nonce and ciphertext.
    let start = format!("860248{}616c5848", hex::encode(sealer.fingerprint()));
    assert!(hex::encode(&sealed).starts_with(&start));
    assert_eq!(sealed.len(), 2 + 9 + 2 + (2 + 72) + 26 + (1 + 21));
}

#[test]
fn a_sealed_secret_of_today_opens_for_ever() {
    let sealer = FileSealer::of_bytes([7; 32]);
    let sealed = hex::decode(GOLDEN).unwrap();
    let opened = sealer.open("share/aa/1", b"node 1", &sealed).unwrap();
    assert_eq!(opened.as_slice(), b"golden secret");
}

#[test]
fn rewrapping_changes_who_can_open_and_not_what_is_sealed() {
    let (old, new) = (sealer(), sealer());
    let sealed = old.seal(LABEL, b"node 1", b"a share").unwrap();
    let moved = new.rewrap(&old, LABEL, b"node 1", &sealed).unwrap();
    assert_eq!(sealed_by(&moved).unwrap(), new.fingerprint());
    let opened = new.open(LABEL, b"node 1", &moved).unwrap();
    assert_eq!(opened.as_slice(), b"a share");
    assert!(old.open(LABEL, b"node 1", &moved).is_err());
    // The last 23 bytes are the ciphertext and its tag: they have not been made anew.
    let tail = |bytes: &[u8]| bytes[bytes.len() - 23..].to_vec();
    assert_eq!(tail(&sealed), tail(&moved));
    assert!(new.rewrap(&old, LABEL, b"node 2", &sealed).is_err());
    assert!(
        new.rewrap(&old, "share/0011/4", b"node 1", &sealed)
            .is_err()
    );
    assert!(new.rewrap(&new, LABEL, b"node 1", &sealed).is_err());
}

const GOLDEN: &str = concat!(
    "86024896ddd4b639b0238a6a73686172652f61612f31584893c3822900fc84815e9f5b798f39df3a15dc3c",
    "16b5d16f833bf692c3ae9e20dc0e485ffb81d3666c07447acdef406ba28eef2203f33414e1ec91e1ac0781",
    "7e0fe7c859de190595b95818e9aa821ea7a4e93f2231b4734a5fa781e9e678355ed88cc9581dd8b40ddf93",
    "430e38812cb8cf5b5e1e66a1f149bd4f3a7446b02c1a9bd0",
);

proptest! {
    #[test]
    fn arbitrary_bytes_never_open_and_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(FileSealer::of_bytes([7; 32]).open(LABEL, b"", &bytes).is_err());
        prop_assert!(super::passphrase::unwrap("x", &bytes, &given("correct horse battery")).is_err());
    }
}
