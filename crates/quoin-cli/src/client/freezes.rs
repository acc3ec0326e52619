//! The freezes in force, by the nodes' own words where they can be asked directly.
//!
//! A freeze that is not signed by whom it names is left out. Nobody can lift one by hiding it, because
//! every node is asked for itself.

use super::Session;
use crate::failure::Failure;
use quoin_api::Frame;
use quoin_api::decision::NodeFreezesBody;
use quoin_core::{FreezeId, NodeIndex, PrincipalId, Signed};
use quoin_policy::Freeze;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// What is known of freezes.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Freezes {
    /// Those in force on some node at least.
    pub freezes: Vec<Frozen>,
    /// Whose freezes count no longer on some node.
    pub suspended: BTreeSet<PrincipalId>,
    /// What each node said.
    pub nodes: Vec<NodeFreezes>,
    /// Who said nothing, and why.
    pub unreached: BTreeMap<NodeIndex, String>,
}

/// A freeze in force.
#[derive(Clone, Debug, Serialize)]
pub struct Frozen {
    /// The freeze.
    pub freeze: Freeze,
    /// On which nodes.
    pub on: Vec<NodeIndex>,
}

/// What a node said of itself.
#[derive(Clone, Debug, Serialize)]
pub struct NodeFreezes {
    /// The node.
    pub node: NodeIndex,
    /// The hash of its state.
    pub digest: String,
    /// The freezes that were lifted there.
    pub lifted: Vec<FreezeId>,
}

impl Session {
    /// The freezes that the nodes know.
    pub async fn freezes(&self) -> Result<Freezes, Failure> {
        let read = |frame: Frame| match frame {
            Frame::Freezes(frame) => Some(frame),
            _ => None,
        };
        let (words, mut unreached) = self.ask_each(Frame::FreezesRequest, read).await;
        let mut said: Vec<NodeFreezesBody> = words
            .into_iter()
            .map(|(node, frame)| NodeFreezesBody {
                node,
                digest: hex::encode(frame.digest),
                freezes: frame.freezes.iter().map(|f| hex::encode(&f.0)).collect(),
                lifted: frame.lifted,
                suspended: frame.suspended,
                lifts: Vec::new(),
            })
            .collect();
        if !unreached.is_empty() {
            match self.gateway().freezes().await {
                Ok(body) => {
                    let missing = |n: &NodeFreezesBody| unreached.contains_key(&n.node);
                    said.extend(body.nodes.into_iter().filter(missing));
                    unreached.retain(|node, _| !said.iter().any(|n| n.node == *node));
                }
                Err(failure) if said.is_empty() => return Err(failure),
                Err(_) => {}
            }
        }
        Ok(self.collect(said, unreached))
    }

    fn collect(
        &self,
        said: Vec<NodeFreezesBody>,
        unreached: BTreeMap<NodeIndex, String>,
    ) -> Freezes {
        let mut all = Freezes {
            unreached,
            ..Freezes::default()
        };
        let mut by_bytes: BTreeMap<String, Frozen> = BTreeMap::new();
        for body in said {
            let in_force = |freeze: &Freeze| {
                !body.lifted.contains(&freeze.id) && !body.suspended.contains(&freeze.principal)
            };
            for text in &body.freezes {
                let Some(freeze) = self.genuine(text).filter(in_force) else {
                    continue;
                };
                let on = Vec::new();
                let frozen = by_bytes.entry(text.clone());
                frozen.or_insert(Frozen { freeze, on }).on.push(body.node);
            }
            all.suspended.extend(body.suspended);
            all.nodes.push(NodeFreezes {
                node: body.node,
                digest: body.digest,
                lifted: body.lifted,
            });
        }
        all.freezes = by_bytes.into_values().collect();
        all.freezes.sort_by_key(|f| (f.freeze.at, f.freeze.id));
        all.nodes.sort_by_key(|n| n.node);
        all
    }

    /// A freeze that is signed by whom it names. Whether its signer still may freeze is left to the
    /// nodes, on which it may hold from an earlier charter.
    fn genuine(&self, text: &str) -> Option<Freeze> {
        let signed = Signed::<Freeze>::from_bytes(&hex::decode(text).ok()?).ok()?;
        let freeze = signed.unverified();
        let known = self.constitution().credential(signed.credential());
        if let Some((principal, credential)) = known {
            let own = principal.id == freeze.principal && signed.verify(credential).is_ok();
            return own.then(|| freeze.clone());
        }
        // Somebody of an earlier charter: what is stopped has to be seen all the same.
        Some(freeze.clone())
    }
}
