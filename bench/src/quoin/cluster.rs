//! A cluster's nodes in one process, and the driver of their sessions.

use crate::meter::Meter;
use crate::plan::Size;
use anyhow::{Context, Result, anyhow, bail};
use quoin_core::{
    Boot, CeremonyId, CharterNumber, ClusterId, Generation, KeyId, Lane, NodeIndex,
    PublicCredential, Purpose, Scheme, SigningIdentity, cbor,
};
use quoin_protocol::dkg::{self, DkgParams, Succession, SuccessionParams};
use quoin_protocol::presign::Started;
use quoin_protocol::{Advance, Inbox, KeyShare, Roster};
use rand_core::{OsRng, RngCore};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The key of every measurement.
const KEY: KeyId = KeyId([3; 16]);

/// The nodes of a cluster.
pub struct Cluster {
    size: Size,
    identities: BTreeMap<NodeIndex, Arc<SigningIdentity>>,
    /// The nodes' credentials, as a charter names them.
    pub nodes: BTreeMap<NodeIndex, PublicCredential>,
}

/// The node of a party that is counted from 0.
pub fn node(party: u8) -> Result<NodeIndex> {
    NodeIndex::new(party + 1).context("no such node")
}

/// The party of a node.
fn party(node: NodeIndex) -> usize {
    usize::from(node.get()) - 1
}

/// The boot of a node.
pub fn boot(node: NodeIndex) -> Boot {
    Boot {
        node,
        lane: Lane(0),
        generation: Generation(1),
    }
}

impl Cluster {
    /// Nodes with fresh identities.
    pub fn new(size: Size) -> Result<Self> {
        let fresh = |p| Ok((node(p)?, Arc::new(SigningIdentity::generate(&mut OsRng))));
        let identities: BTreeMap<_, _> = (0..size.n).map(fresh).collect::<Result<_>>()?;
        let nodes = identities.iter().map(|(n, i)| (*n, i.public())).collect();
        Ok(Self {
            size,
            identities,
            nodes,
        })
    }

    /// What `me` knows of the cluster.
    pub fn roster(&self, me: NodeIndex) -> Result<Arc<Roster>> {
        let identity = self.identities.get(&me).context("no such node")?;
        Ok(Arc::new(Roster {
            me,
            identity: Arc::clone(identity),
            nodes: self.nodes.clone(),
        }))
    }

    /// The same nodes and some new ones, up to `size`.
    pub fn grown(&self, size: Size) -> Result<Self> {
        let mut larger = Self::new(size)?;
        larger.identities.extend(self.identities.clone());
        larger.nodes.extend(self.nodes.clone());
        Ok(larger)
    }

    /// Generates a key among all nodes.
    pub fn generate(&self, scheme: Scheme, meter: &mut Meter) -> Result<Vec<KeyShare>> {
        let params = DkgParams {
            cluster: ClusterId([1; 32]),
            charter: CharterNumber(0),
            ceremony: fresh_ceremony(),
            key: KEY,
            name: "bench".parse().map_err(|e| anyhow!("{e:?}"))?,
            scheme,
            purpose: Purpose::Trading,
            threshold: self.size.t,
            boots: self.nodes.keys().map(|n| boot(*n)).collect(),
        };
        let mut started = BTreeMap::new();
        for me in self.nodes.keys() {
            let (params, roster) = (params.clone(), self.roster(*me)?);
            let first = meter.run(party(*me), || dkg::start(params, roster, &mut OsRng));
            started.insert(*me, first.map_err(|e| anyhow!("{e:?}"))?);
        }
        let done = drive(started, meter)?;
        Ok(done.into_values().map(|g| g.share).collect())
    }

    /// Moves a key to its next epoch, with all nodes as its holders from then on.
    pub fn succeed(
        &self,
        shares: &[KeyShare],
        how: Succession,
        meter: &mut Meter,
    ) -> Result<Vec<KeyShare>> {
        let base = &shares.first().context("no shares")?.public;
        let params = SuccessionParams {
            cluster: base.cluster,
            charter: base.charter,
            ceremony: fresh_ceremony(),
            boots: self.nodes.keys().map(|n| boot(*n)).collect(),
            holders: self.nodes.iter().map(|(n, c)| (*n, c.id())).collect(),
            base: base.clone(),
            how,
        };
        let mut started = BTreeMap::new();
        for me in self.nodes.keys() {
            let (params, roster) = (params.clone(), self.roster(*me)?);
            let share = shares.get(party(*me));
            let first = meter.run(party(*me), || {
                dkg::start_succession(params, roster, share, &mut OsRng)
            });
            started.insert(*me, first.map_err(|e| anyhow!("{e:?}"))?);
        }
        let done = drive(started, meter)?;
        Ok(done.into_values().map(|g| g.share).collect())
    }
}

fn fresh_ceremony() -> CeremonyId {
    let mut id = [0; 16];
    OsRng.fill_bytes(&mut id);
    CeremonyId(id)
}

/// Runs a session to its end in lock-step.
///
/// A message's bytes are those of its parts and of its signature.
pub fn drive<Out>(
    mut waiting: BTreeMap<NodeIndex, Started<Out>>,
    meter: &mut Meter,
) -> Result<BTreeMap<NodeIndex, Out>> {
    let mut results = BTreeMap::new();
    while !waiting.is_empty() {
        let mut inboxes: BTreeMap<NodeIndex, Inbox> = BTreeMap::new();
        let mut rounds = Vec::new();
        for (from, (round, outbox)) in std::mem::take(&mut waiting) {
            for (to, message) in outbox {
                let bytes =
                    message.broadcast.len() + message.private.len() + message.signature.len();
                meter.sent(party(from), bytes);
                // As its link would carry it: encoded by the sender, decoded by the receiver.
                let framed = meter.run(party(from), || cbor::encode(&message));
                let read = meter.run(party(to), || cbor::decode(&framed, framed.len()));
                let message = read.map_err(|e| anyhow!("{e:?}"))?;
                inboxes.entry(to).or_default().insert(from, message);
            }
            rounds.push((from, round));
        }
        if inboxes.is_empty() {
            bail!("the session is stuck");
        }
        meter.delivered();
        for (me, round) in rounds {
            let inbox = inboxes.remove(&me).unwrap_or_default();
            let advance = meter.run(party(me), || round.finish(inbox, &mut OsRng));
            match advance.map_err(|e| anyhow!("{me:?}: {e:?}"))? {
                Advance::Next(round, outbox) => drop(waiting.insert(me, (round, outbox))),
                Advance::Done(out) => drop(results.insert(me, out)),
            }
        }
    }
    Ok(results)
}
