//! Who takes part in sessions, and with which signing keys.

use quoin_core::{NodeIndex, PublicCredential, SigningIdentity};
use std::collections::BTreeMap;
use std::sync::Arc;

/// This node's identity and the credentials of all nodes, as the charter names them.
#[derive(Clone, Debug)]
pub struct Roster {
    /// This node.
    pub me: NodeIndex,
    /// With what this node signs.
    pub identity: Arc<SigningIdentity>,
    /// All nodes of the cluster, this one included.
    pub nodes: BTreeMap<NodeIndex, PublicCredential>,
}
