//! Retention: which days' payloads are erased, and that they are erased once.

use super::{Net, Shape};
use crate::core::config::SWEEP_MS;
use crate::core::{Record, payload_key_label};

const DAY: u64 = 24 * 60 * 60 * 1000;

fn erased(net: &mut Net) -> Vec<u32> {
    let records = net.host(1).records();
    let before = records.into_iter().filter_map(|(_, record)| match record {
        Record::PayloadsErased { before } => Some(before),
        _ => None,
    });
    before.collect()
}

fn keeping(days: Option<u16>) -> Net {
    let mut net = Net::with(Shape {
        payload_days: days,
        ..Shape::default()
    });
    net.advance(1_000);
    net
}

#[test]
fn days_older_than_the_charter_says_are_erased_once() {
    let mut net = keeping(Some(40));
    let first = u32::try_from(net.now.0 / DAY).unwrap();
    net.jump(40 * DAY);
    assert_eq!(erased(&mut net), [0; 0]);
    net.jump(2 * DAY);
    net.jump(DAY / 4);
    net.advance(2 * SWEEP_MS);
    assert_eq!(erased(&mut net), [first + 2]);
    let labels = net.host(1).erased_labels();
    let expected: Vec<String> = (first..first + 2).map(payload_key_label).collect();
    assert_eq!(labels, expected);
    net.restart(1);
    net.jump(DAY / 4);
    net.advance(2 * SWEEP_MS);
    assert_eq!(erased(&mut net), [first + 2]);
}

#[test]
fn a_node_that_nobody_confirms_the_clock_of_erases_nothing() {
    let mut net = keeping(Some(40));
    net.cut_off.insert(super::node(1));
    net.jump(80 * DAY);
    net.advance(2 * SWEEP_MS);
    assert_eq!(erased(&mut net), [0; 0]);
    net.cut_off.clear();
    net.advance(2 * SWEEP_MS);
    assert_eq!(erased(&mut net).len(), 1);
}

#[test]
fn without_a_rule_nothing_is_erased() {
    let mut net = keeping(None);
    net.jump(400 * DAY);
    net.advance(1_000);
    assert_eq!(erased(&mut net), [0; 0]);
}

#[test]
fn a_node_that_was_off_for_years_catches_up() {
    let mut net = keeping(Some(40));
    let first = u32::try_from(net.now.0 / DAY).unwrap();
    net.jump(1_000 * DAY);
    for _ in 0..4 {
        net.jump(DAY / 4);
        net.advance(SWEEP_MS + 1_000);
    }
    assert_eq!(erased(&mut net).last(), Some(&(first + 961)));
}
