//! `quoin journal verify` on the folders of a real cluster: sound ones pass, and each way of
//! tampering is found.
//!
//! Whoever tampers here has the whole disk of one node: the triggers that keep the journal
//! append-only are dropped, and stored heads are made to fit.

use crate::support::{Cluster, Ran, quoin};
use quoin_core::Lane;
use quoin_node::store::JournalRecord;
use quoin_node::store::journal::{Chain, RECORD_BYTES_MAX};
use rusqlite::Connection;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn journal_verify_finds_a_flipped_byte_a_rewritten_suffix_and_a_truncation() {
    let mut cluster = Cluster::start();
    let (alice, key) = (cluster.caller("alice"), cluster.key("desk-ed25519"));
    // Records spread over time, so that peers witness heads between them.
    for number in 0..40 {
        let reply = alice.sign_text(&key, &format!("record {number}")).await;
        assert!(reply.is_signed(), "{reply:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    cluster.stop();
    let sound = verify(cluster.folder());
    assert_eq!(sound.code, 0, "{}", sound.stdout);
    let report: Value = serde_json::from_str(&sound.stdout).unwrap();
    for node in report.as_array().unwrap() {
        assert!(node["witnesses"].as_u64().unwrap() > 0, "{node}");
        assert_eq!(node["faults"], serde_json::json!([]));
    }
    a_flipped_byte_is_found(cluster.folder());
    a_rewritten_suffix_is_found(cluster.folder());
    a_truncation_is_found(cluster.folder());
}

fn a_flipped_byte_is_found(original: &Path) {
    let copy = Copy::of(original);
    let place = copy.last() / 2;
    let mut bytes = copy.record(place);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    copy.sql()
        .execute(
            "UPDATE journal SET record = ?1 WHERE seq = ?2",
            (&bytes, as_sql(place)),
        )
        .unwrap();
    copy.is_broken_at(place, place);
}

fn a_rewritten_suffix_is_found(original: &Path) {
    let copy = Copy::of(original);
    let (last, from) = (copy.last(), copy.last() / 2);
    let mut chain = Chain::after(Lane(0), copy.head(from - 1));
    for seq in from..=last {
        let read: JournalRecord =
            quoin_core::cbor::decode(&copy.record(seq), RECORD_BYTES_MAX).unwrap();
        // Another time for the first, and a sound chain from there on.
        let later = u64::from(seq == from);
        let linked = chain.link(read.at.plus(later), read.body);
        let sql = "UPDATE journal SET hash = ?1, record = ?2 WHERE seq = ?3";
        let row = (linked.head.hash.0.as_slice(), &linked.bytes, as_sql(seq));
        copy.sql().execute(sql, row).unwrap();
    }
    let head = chain.head().hash;
    copy.sql()
        .execute("UPDATE head SET hash = ?1", [head.0.as_slice()])
        .unwrap();
    // The chain itself is sound: only what others witnessed betrays it.
    let alone = quoin_node::store::verify(&copy.journal(), &[]).unwrap();
    assert!(alone.is_sound(), "{alone:?}");
    copy.is_broken_at(from, last);
}

fn a_truncation_is_found(original: &Path) {
    let copy = Copy::of(original);
    let (last, keep) = (copy.last(), copy.last() / 2);
    let head = copy.head(keep).hash;
    copy.sql()
        .execute_batch(&format!(
            "DELETE FROM consumed WHERE seq > {keep};
             UPDATE head SET seq = {keep}, hash = x'{}';
             DELETE FROM journal WHERE seq > {keep};",
            hex::encode(head.0)
        ))
        .unwrap();
    let alone = quoin_node::store::verify(&copy.journal(), &[]).unwrap();
    assert!(alone.is_sound(), "{alone:?}");
    copy.is_broken_at(keep + 1, last);
}

/// A copy of a data folder, in which node 2's journal is tampered with.
struct Copy {
    folder: tempfile::TempDir,
}

impl Copy {
    fn of(original: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let from = original.join(".");
        let status = std::process::Command::new("cp")
            .arg("-a")
            .args([from.as_path(), folder.path()])
            .status();
        assert!(status.unwrap().success());
        let copy = Self { folder };
        let triggers = "
            DROP TRIGGER journal_is_never_changed; DROP TRIGGER journal_is_never_cut;
            DROP TRIGGER consumed_is_never_changed; DROP TRIGGER consumed_is_never_freed;";
        copy.sql().execute_batch(triggers).unwrap();
        copy
    }

    fn journal(&self) -> PathBuf {
        self.folder
            .path()
            .join("node-2")
            .join(quoin_node::run::JOURNAL_FILE)
    }

    fn sql(&self) -> Connection {
        Connection::open(self.journal()).unwrap()
    }

    fn last(&self) -> u64 {
        let sql = "SELECT max(seq) FROM journal";
        let last: i64 = self.sql().query_row(sql, [], |row| row.get(0)).unwrap();
        u64::try_from(last).unwrap()
    }

    fn record(&self, seq: u64) -> Vec<u8> {
        let sql = "SELECT record FROM journal WHERE seq = ?1";
        self.sql()
            .query_row(sql, [as_sql(seq)], |row| row.get(0))
            .unwrap()
    }

    fn head(&self, seq: u64) -> quoin_node::store::Head {
        let sql = "SELECT hash FROM journal WHERE seq = ?1";
        let hash: [u8; 32] = self
            .sql()
            .query_row(sql, [as_sql(seq)], |row| row.get(0))
            .unwrap();
        quoin_node::store::Head {
            seq,
            hash: quoin_core::HeadHash(hash),
        }
    }

    /// The command exits with an error, blames node 2 alone, and names a record in this range.
    fn is_broken_at(&self, from: u64, to: u64) {
        let ran = verify(self.folder.path());
        assert_eq!(ran.code, 2, "{}", ran.stdout);
        let report: Value = serde_json::from_str(&ran.stdout).unwrap();
        for node in report.as_array().unwrap() {
            let faults = node["faults"].as_array().unwrap();
            assert_eq!(!faults.is_empty(), node["node"] == 2, "{node}");
            if node["node"] == 2 {
                let place = faults[0]["record"].as_u64().unwrap();
                assert!((from..=to).contains(&place), "{from}..={to}: {node}");
            }
        }
    }
}

fn verify(folder: &Path) -> Ran {
    let mut command = quoin();
    command
        .args(["journal", "verify", "--json", "--data"])
        .arg(folder);
    Ran::of(command)
}

fn as_sql(seq: u64) -> i64 {
    i64::try_from(seq).unwrap()
}
