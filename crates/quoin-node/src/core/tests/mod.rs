//! The node core under test: three cores in memory, with disks, jobs and frames in the hands of the
//! test. The arithmetic is the model scheme's; everything around it is what production runs.

mod actions;
mod backups;
mod batches;
mod ceremonies;
mod charters;
mod cluster;
mod edge;
mod facts;
mod finished;
mod freezes;
mod handover;
mod handover_crashes;
mod kept;
mod lease;
mod membership;
mod net;
mod notices;
mod outstanding;
mod pools;
mod proposals;
mod reconcile;
mod records;
mod recovery;
mod requests;
mod reshare;
mod retention;
mod rolling;
mod rotation;
mod sets;
mod sets_hostile;
mod shadow;
mod stamps;
mod strikes;
mod tombstones;
mod treasury;
mod two_phase;

use cluster::{Shape, Work, node};
use net::Net;
use quoin_core::{PresignatureId, SignerSet};

/// The signer set of these nodes.
fn set(nodes: &[u8]) -> SignerSet {
    SignerSet::from_unordered(nodes.iter().map(|n| node(*n)).collect()).unwrap()
}

/// A default cluster whose pools are full, and a free presignature of nodes 1 and 2.
fn ready() -> (Net, PresignatureId) {
    let mut net = Net::calm();
    let id = net.lease(&set(&[1, 2]), 1)[0];
    (net, id)
}
