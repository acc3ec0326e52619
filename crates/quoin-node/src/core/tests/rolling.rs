//! A rolling upgrade: nodes are restarted one after the other as another build, and signing goes on
//! with the others, with one node of each build, and with all of the new one.

use super::cluster::FRIEND;
use super::{Net, set};
use crate::core::Record;
use quoin_api::Frame;
use quoin_api::frame::FrameError;

fn signs(net: &mut Net, id: u8, of: &[u8]) {
    let work = net.cluster.pay(id, u64::from(id), FRIEND);
    net.sign(&work, &set(of));
}

#[test]
fn a_cluster_signs_while_its_nodes_are_upgraded_one_after_the_other() {
    let mut net = Net::calm();
    signs(&mut net, 1, &[1, 2]);
    net.build = "next";
    for (place, (index, others)) in (0u8..).zip([(3, [1, 2]), (2, [1, 3]), (1, [2, 3])]) {
        net.crash(index);
        signs(&mut net, 2 + 3 * place, &others);
        net.start(super::node(index));
        net.advance(1_500);
        signs(&mut net, 3 + 3 * place, &others);
        let with_the_new = if index == 1 { [1, 2] } else { [1, index] };
        signs(&mut net, 4 + 3 * place, &with_the_new);
    }
    for index in 1..=3 {
        let boots = net.host(index).records().into_iter();
        let builds: Vec<String> = boots
            .filter_map(|(_, record)| match record {
                Record::Boot(boot) => Some(boot.build),
                _ => None,
            })
            .collect();
        assert_eq!(builds.last().map(String::as_str), Some("next"));
    }
    // All that node 1 has taken part in, before and after its upgrade.
    assert_eq!(net.spent(1).0, 8);
}

#[test]
fn a_frame_that_only_a_later_build_knows_is_refused_without_harm() {
    // An array of a number that no frame has, and an empty body.
    let later = [0x82, 0x19, 0x03, 0xe7, 0x80];
    let read: Result<Frame, FrameError> = Frame::from_bytes(&later);
    assert!(read.is_err());
}
