//! Backups hold an epoch up until they are written, and a restored share serves nothing.

use super::handover::{entry, epochs, refresh, sealed, sign};
use super::{Net, Shape, node, set};
use crate::core::{Alarm, BootRecord, KeyRecord, Record};
use quoin_api::frame::Opaque;
use quoin_core::{Boot, Generation, Lane, ShareEpoch, TimeMs, cbor};

fn with_officers() -> Net {
    let mut net = Net::with(Shape {
        backup: true,
        ..Shape::default()
    });
    net.advance(2_000);
    net
}

fn written(net: &Net, index: u8) -> Vec<u32> {
    let records = net.hosts[&node(index)].records();
    let written = records.into_iter().filter_map(|(_, record)| match record {
        Record::BackupWritten { epoch, .. } => Some(epoch.0),
        _ => None,
    });
    written.collect()
}

#[test]
fn every_holder_writes_its_backup_before_the_epoch_comes_into_use() {
    let mut net = with_officers();
    refresh(&mut net, 1);
    assert_eq!(epochs(&net), [1, 1, 1]);
    for index in 1..=3 {
        assert_eq!(written(&net, index), [1]);
        let records = net.hosts[&node(index)].records();
        let place = |wanted: fn(&Record) -> bool| records.iter().position(|(_, r)| wanted(r));
        let backup = place(|r| matches!(r, Record::BackupWritten { .. }));
        let active = records
            .iter()
            .rposition(|(_, r)| matches!(r, Record::KeyActive { .. }));
        assert!(backup < active, "node {index}");
    }
}

#[test]
fn a_backup_that_cannot_be_written_keeps_the_epoch_before_in_use_with_an_alarm() {
    let mut net = with_officers();
    net.host(2).backup_fails = true;
    refresh(&mut net, 1);
    assert_eq!(epochs(&net), [0, 0, 0]);
    let failed = |alarm: &Alarm| matches!(alarm, Alarm::BackupFailed(_, ShareEpoch(1), _));
    assert!(net.host(2).alarms.iter().any(failed));
    assert_eq!(sign(&mut net, 1, &set(&[1, 2])), ShareEpoch(0));
    // Long after the overlap nothing is erased, for the others lack its endorsement.
    net.jump(120_000);
    net.advance(2_000);
    for index in 1..=3 {
        assert!(sealed(&net, index).contains(&0), "node {index}");
    }
    net.host(2).backup_fails = false;
    net.advance(6_000);
    assert_eq!(epochs(&net), [1, 1, 1]);
    assert_eq!(written(&net, 2), [1]);
}

#[test]
fn a_restart_before_the_backup_is_written_asks_for_it_again() {
    let mut net = with_officers();
    net.host(3).backup_fails = true;
    refresh(&mut net, 1);
    net.crash(3);
    net.host(3).backup_fails = false;
    net.restart(3);
    net.advance(7_000);
    assert_eq!(epochs(&net), [1, 1, 1]);
    assert_eq!(written(&net, 3), [1]);
}

/// What a restore writes into node 3's folder, whose journal is lost.
fn restore(net: &mut Net, generation: u64) {
    let public = entry(net, 1).public().unwrap().clone();
    let share = net.core(3).keys[&public.key].share_of(None).unwrap();
    let secret = share.secret.duplicate_secret();
    net.crash(3);
    let boot = Boot {
        node: node(3),
        lane: Lane(0),
        generation: Generation(generation),
    };
    let record = Record::KeyRestored(KeyRecord {
        key: public.key,
        public: Opaque(cbor::encode(&public)),
        boot,
    });
    let label = crate::core::share_label(&public);
    let started = Record::Boot(BootRecord {
        generation: Generation(generation),
        build: "restored".to_owned(),
    });
    net.host(3).lose_disk();
    net.host(3).write_now(TimeMs(1), &started);
    net.host(3).restore_now(TimeMs(1), &record, (label, secret));
}

#[test]
fn a_restored_share_takes_part_in_nothing_until_the_next_epoch() {
    let mut net = Net::calm();
    restore(&mut net, 1_000);
    net.restart(3);
    net.advance(3_000);
    // It has the share and the certificate, and serves nothing.
    assert!(entry(&net, 3).serving().is_none());
    let fenced = |alarm: &Alarm| matches!(alarm, Alarm::RolledBack(n) if *n == node(3));
    assert!(
        net.host(1).alarms.iter().any(fenced),
        "its journal is shorter"
    );
    for index in [1, 2] {
        net.act(index, |core, _| core.peers.readmit(node(3)));
    }
    net.advance(3_000);
    assert_eq!(sign(&mut net, 1, &set(&[1, 2])), ShareEpoch(0));
    refresh(&mut net, 1);
    assert_eq!(epochs(&net), [1, 1, 1]);
    net.advance(3_000);
    assert_eq!(sign(&mut net, 2, &set(&[1, 3])), ShareEpoch(1));
}
