//! Rotation: refreshes that nobody asked for.

use super::handover::{entry, epochs};
use super::{Net, Shape, node};
use crate::core::Alarm;
use quoin_api::Frame;
use quoin_api::frame::RefreshDue;
use quoin_core::ShareEpoch;

const HOUR: u64 = 60 * 60 * 1000;

fn rotating() -> Net {
    let mut net = Net::off(Shape::default());
    net.refresh_interval_ms = HOUR;
    net.start_all();
    net.advance(1_000);
    net
}

#[test]
fn old_shares_are_refreshed_every_interval() {
    let mut net = rotating();
    assert_eq!(epochs(&net), [0, 0, 0]);
    net.jump(HOUR - 10_000);
    net.advance(1_000);
    assert_eq!(epochs(&net), [0, 0, 0]);
    net.advance(10_000);
    assert_eq!(epochs(&net), [1, 1, 1]);
    net.jump(HOUR);
    net.advance(1_000);
    assert_eq!(epochs(&net), [2, 2, 2]);
}

#[test]
fn without_an_interval_nothing_is_refreshed() {
    let mut net = Net::calm();
    net.jump(100 * HOUR);
    net.advance(2_000);
    assert_eq!(epochs(&net), [0, 0, 0]);
    let due = RefreshDue {
        key: net.cluster.key.key,
        epoch: ShareEpoch(0),
        counter: 1,
    };
    let jobs = net.host(2).jobs_asked;
    net.node_says(1, 2, Frame::RefreshDue(due));
    assert_eq!(net.host(2).jobs_asked, jobs);
}

#[test]
fn a_proposal_is_joined_only_from_the_lowest_holder_for_the_epoch_in_use_and_when_it_is_old() {
    let mut net = rotating();
    let joins = |net: &mut Net, from: u8, to: u8, epoch: u32| {
        let due = RefreshDue {
            key: net.cluster.key.key,
            epoch: ShareEpoch(epoch),
            counter: 1,
        };
        let running = |net: &Net| {
            let core = net.core(to);
            core.ceremonies.concern(core.cluster, net.cluster.key.key)
        };
        net.node_says(from, to, Frame::RefreshDue(due));
        running(net)
    };
    // Far too early.
    assert!(!joins(&mut net, 1, 2, 0));
    net.jump(HOUR / 2 + 1_000);
    net.advance(1_000);
    assert!(!joins(&mut net, 3, 2, 0));
    assert!(!joins(&mut net, 1, 2, 1));
    assert!(joins(&mut net, 1, 2, 0));
}

#[test]
fn a_missed_refresh_is_proposed_again_and_told_of_once() {
    let mut net = rotating();
    net.crash(3);
    net.jump(HOUR);
    net.advance(1_000);
    assert_eq!(epochs(&net), [0, 0]);
    let overdue = Alarm::RefreshOverdue(net.cluster.key.key);
    assert!(!net.host(1).alarms.contains(&overdue));
    net.jump(HOUR);
    net.advance(2_000);
    let told = net.host(1).alarms.iter().filter(|a| **a == overdue);
    assert_eq!(told.count(), 1);
    net.start(node(3));
    net.advance(2_000);
    assert_eq!(epochs(&net), [1, 1, 1]);
    assert!(!entry(&net, 1).overdue);
}
