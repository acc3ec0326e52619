//! What a backup file keeps, and each way in which it refuses.

use super::*;
use age::secrecy::ExposeSecret;
use quoin_core::{NodeIndex, Purpose, Scheme};
use quoin_policy::Officer;
use quoin_protocol::backup::{ImportParams, dangerous_deal, recover};
use rand_core::OsRng;

fn share(scheme: Scheme) -> KeyShare {
    let params = ImportParams {
        cluster: quoin_core::ClusterId([1; 32]),
        charter: quoin_core::CharterNumber(0),
        ceremony: quoin_core::CeremonyId([2; 16]),
        key: quoin_core::KeyId([3; 16]),
        name: "desk".parse().unwrap(),
        scheme,
        purpose: Purpose::Trading,
        threshold: 2,
        nodes: (1..=3).filter_map(NodeIndex::new).collect(),
        chain_code: [4; 32],
    };
    let secret = SecretBytes::take(&mut [5; 32]);
    dangerous_deal(params, &secret, &mut OsRng)
        .unwrap()
        .remove(1)
}

fn officers(count: usize) -> (Vec<x25519::Identity>, BackupPolicy) {
    let identities: Vec<_> = (0..count).map(|_| x25519::Identity::generate()).collect();
    let named = identities.iter().zip("abcdefgh".chars());
    let officers = named
        .map(|(identity, name)| Officer {
            name: name.to_string(),
            recipient: identity.to_public().to_string(),
        })
        .collect();
    let policy = BackupPolicy {
        threshold: 2,
        officers,
    };
    (identities, policy)
}

#[test]
fn a_quorum_of_officers_recovers_the_share_and_one_officer_only_checks_a_part() {
    for scheme in [Scheme::Ecdsa, Scheme::Ed25519] {
        let share = share(scheme);
        let (identities, policy) = officers(3);
        let made = seal(&share, &policy, &mut OsRng).unwrap();
        let file = BackupFile::from_bytes(&made.to_bytes()).unwrap();
        assert_eq!(file, made);
        assert!(made.to_bytes().len() < BACKUP_BYTES_MAX / 4);
        let mut parts = file.open_parts(&identities[0]).unwrap();
        assert_eq!(parts.keys().copied().collect::<Vec<_>>(), [1]);
        assert!(recover(&file.header, &parts).is_err(), "one of two");
        parts.extend(file.open_parts(&identities[2]).unwrap());
        let recovered = recover(&file.header, &parts).unwrap();
        assert!(recovered.matches_public());
        assert_eq!(recovered.secret.expose(), share.secret.expose());
        let stranger = x25519::Identity::generate();
        assert!(file.open_parts(&stranger).unwrap().is_empty());
    }
}

#[test]
fn a_part_of_another_backup_is_found() {
    let (identities, policy) = officers(2);
    let mine = seal(&share(Scheme::Ecdsa), &policy, &mut OsRng).unwrap();
    let other = seal(&share(Scheme::Ecdsa), &policy, &mut OsRng).unwrap();
    let mut mixed = mine.clone();
    mixed.parts[0].ciphertext = other.parts[0].ciphertext.clone();
    let opened = mixed.open_parts(&identities[0]);
    assert!(matches!(opened, Err(BackupError::BrokenPart(who)) if who == "a"));
    // Parts of one backup in each other's place: same header, other index.
    let one = BackupPolicy {
        threshold: 1,
        officers: vec![policy.officers[0].clone(); 2],
    };
    let mut swapped = seal(&share(Scheme::Ecdsa), &one, &mut OsRng).unwrap();
    swapped.parts[0].ciphertext = swapped.parts[1].ciphertext.clone();
    assert!(matches!(
        swapped.open_parts(&identities[0]),
        Err(BackupError::BrokenPart(_))
    ));
}

#[test]
fn a_part_that_its_sealer_got_wrong_is_found_by_its_officer() {
    let (identities, policy) = officers(2);
    let mut file = seal(&share(Scheme::Ecdsa), &policy, &mut OsRng).unwrap();
    let plain = [
        header_hash(&file.header).as_slice(),
        &[1],
        [9u8; 32].as_slice(),
    ]
    .concat();
    file.parts[0].ciphertext = age::encrypt(&identities[0].to_public(), &plain).unwrap();
    assert!(matches!(
        file.open_parts(&identities[0]),
        Err(BackupError::Fault(BackupFault::BadPart(1)))
    ));
}

#[test]
fn what_is_no_backup_is_refused() {
    let (_, policy) = officers(2);
    let file = seal(&share(Scheme::Ecdsa), &policy, &mut OsRng).unwrap();
    let mut short = file.clone();
    short.parts.pop();
    assert!(matches!(
        BackupFile::from_bytes(&short.to_bytes()),
        Err(BackupError::Malformed(_))
    ));
    assert!(BackupFile::from_bytes(b"age-encryption.org/v1").is_err());
    let mut foreign = file;
    foreign.header.commitments.swap(0, 1);
    assert!(BackupFile::from_bytes(&foreign.to_bytes()).is_err());
    let bad = BackupPolicy {
        threshold: 1,
        officers: vec![Officer {
            name: "eve".to_owned(),
            recipient: "age1notone".to_owned(),
        }],
    };
    assert!(matches!(
        seal(&share(Scheme::Ecdsa), &bad, &mut OsRng),
        Err(BackupError::BadRecipient(who)) if who == "eve"
    ));
}

#[test]
fn a_backup_is_written_whole_and_reads_back() {
    let folder = tempfile::tempdir().unwrap();
    let (_, policy) = officers(3);
    let file = seal(&share(Scheme::Ed25519), &policy, &mut OsRng).unwrap();
    let path = file.write_durably(&folder.path().join("backups")).unwrap();
    assert!(path.ends_with(file.name()));
    assert_eq!(BackupFile::read(&path).unwrap(), file);
    file.write_durably(&folder.path().join("backups")).unwrap();
    let names = std::fs::read_dir(folder.path().join("backups")).unwrap();
    assert_eq!(names.count(), 1, "no partial file is left");
}

#[test]
fn the_age_tool_can_open_a_part() {
    // The form is `age`'s own: any implementation opens it with the officer's identity.
    let (identities, policy) = officers(2);
    let file = seal(&share(Scheme::Ecdsa), &policy, &mut OsRng).unwrap();
    assert!(
        file.parts[0]
            .ciphertext
            .starts_with(b"age-encryption.org/v1\n-> X25519 ")
    );
    let text = identities[0].to_string();
    assert!(text.expose_secret().starts_with("AGE-SECRET-KEY-1"));
}
