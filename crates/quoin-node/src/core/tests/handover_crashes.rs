//! Handovers with a crash of one node between each pair of its effects.

use super::handover::{assert_erased_last, entry, epochs, refresh, sealed, sign};
use super::{Net, Shape, node, set};
use crate::core::PoolSizes;

fn small() -> Net {
    let mut net = Net::off(Shape {
        cap: 10_000,
        ..Shape::default()
    });
    net.pool = PoolSizes {
        low: 1,
        batch: 2,
        reserve: 0,
    };
    net.start_all();
    net.advance(600);
    net
}

/// At least one epoch has shares of two nodes on their disks.
fn assert_some_epoch_lives(net: &Net, what: &str) {
    let all: Vec<Vec<u32>> = (1..=3).map(|n| sealed(net, n)).collect();
    let lives = (0..3).any(|e| all.iter().filter(|s| s.contains(&e)).count() >= 2);
    assert!(lives, "{what}: {all:?}");
}

/// Runs a refresh in which a node dies after so many effects; whether it died at all.
fn dies_after(index: u8, effects: usize, survives: bool) -> bool {
    let what = format!("node {index} after {effects} effects, writes survive: {survives}");
    let mut net = small();
    net.host(index).dies = Some((effects, survives));
    refresh(&mut net, 1);
    net.advance(300);
    net.jump(60_000);
    net.advance(600);
    let died = net.host(index).core.is_none();
    assert_some_epoch_lives(&net, &what);
    net.crash(index);
    assert_some_epoch_lives(&net, &what);
    net.start(node(index));
    // Long enough for the ceremony to be given up and for every reminder.
    net.advance(12_000);
    assert_some_epoch_lives(&net, &what);
    let after = epochs(&net);
    assert!(after.iter().all(|e| *e == after[0]), "{what}: {after:?}");
    for n in 1..=3 {
        assert!(entry(&net, n).next.is_none(), "{what}: node {n}");
    }
    for (id, signers) in [(1, [1, 2]), (2, [1, 3]), (3, [2, 3])] {
        assert_eq!(sign(&mut net, id, &set(&signers)).0, after[0], "{what}");
    }
    refresh(&mut net, 2);
    let mut number = after[0] + 1;
    assert_eq!(epochs(&net), [number; 3], "{what}");
    net.jump(60_000);
    net.advance(6_000);
    // A record of this number that was given up is kept until all hold a later epoch.
    if (1..=3).any(|n| !entry(&net, n).kept.is_empty()) {
        assert_eq!(after[0], 0, "{what}");
        refresh(&mut net, 3);
        net.jump(60_000);
        net.advance(6_000);
        number += 1;
    }
    for n in 1..=3 {
        assert!(entry(&net, n).kept.is_empty(), "{what}");
        assert_eq!(sealed(&net, n), [number], "{what}");
    }
    assert_erased_last(&net);
    died
}

fn every_effect(index: u8) {
    let mut effects = 0;
    while dies_after(index, effects, effects % 2 == 0) {
        effects += 1;
        assert!(effects < 400, "the loop does not end");
    }
    assert!(effects > 20, "{effects}");
}

#[test]
fn the_lowest_node_may_die_at_every_effect_of_a_handover() {
    every_effect(1);
}

#[test]
fn the_highest_node_may_die_at_every_effect_of_a_handover() {
    every_effect(3);
}
