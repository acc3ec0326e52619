//! What a ceremony is about, whatever its kind, and the hash that stands for it.
//!
//! Three kinds share one code path: a key is born (*generation*), all its holders move to fresh
//! shares of the same key (*refresh*), or t of its holders hand it to a new set with a new
//! threshold (*reshare*). Source: the construction's sections 19.1 to 19.3 and 21.7.

use super::group::Group;
use super::guard::Guard;
use super::polynomial::lagrange;
use crate::abort::Fault;
use crate::share::KeyPublic;
use minicbor::Encode;
use quoin_core::cbor::{self, Version};
use quoin_core::hash::tagged;
use quoin_core::signer_set::SIGNERS_MAX;
use quoin_core::{
    Boot, CeremonyId, CharterNumber, ClusterId, CredentialId, KeyId, KeyName, NodeIndex,
    PublicCredential, Purpose, Scheme, ShareEpoch, tags,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a key's birth is about; equal at every node, or the ceremony ends at its first message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DkgParams {
    /// The cluster.
    pub cluster: ClusterId,
    /// The charter in force.
    pub charter: CharterNumber,
    /// The ceremony.
    pub ceremony: CeremonyId,
    /// The key to be born.
    pub key: KeyId,
    /// Its name.
    pub name: KeyName,
    /// Its scheme.
    pub scheme: Scheme,
    /// Its purpose.
    pub purpose: Purpose,
    /// How many shares sign.
    pub threshold: u8,
    /// The boot of every node of the cluster, ascending by node.
    pub boots: Vec<Boot>,
}

/// How the shares of a key move to their next epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Succession {
    /// The same holders and the same threshold, with fresh shares. There is no field for another
    /// threshold: a refresh that lowers it would leave fewer shares than the key was born with.
    Refresh,
    /// All nodes of the roster become holders, with a threshold of their own.
    Reshare {
        /// How many shares sign from the next epoch on, from 2 to 7.
        threshold: u8,
        /// The holders that deal, ascending: exactly as many as the old threshold.
        dealers: Vec<NodeIndex>,
    },
}

/// What the move of a key to its next epoch is about; equal at every node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuccessionParams {
    /// The cluster.
    pub cluster: ClusterId,
    /// The charter in force.
    pub charter: CharterNumber,
    /// The ceremony.
    pub ceremony: CeremonyId,
    /// The boot of every node of the roster, ascending by node.
    pub boots: Vec<Boot>,
    /// The *certified* record of the epoch in force: its certificate has been verified.
    pub base: KeyPublic,
    /// The credentials of the record's holders, as the charter that the record names has them. A
    /// machine that has taken over a holder's index since is not that holder: its share, if it has
    /// one, was dealt to another. It is not in the `sid`, since it follows from the record.
    pub holders: BTreeMap<NodeIndex, CredentialId>,
    /// How the shares move.
    pub how: Succession,
}

impl DkgParams {
    /// The hash that stands for this ceremony among these nodes.
    #[must_use]
    pub fn sid(&self, nodes: &BTreeMap<NodeIndex, PublicCredential>) -> [u8; 32] {
        Plan::from(self.clone()).sid(nodes)
    }
}

impl SuccessionParams {
    /// The hash that stands for this ceremony among these nodes.
    #[must_use]
    pub fn sid(&self, nodes: &BTreeMap<NodeIndex, PublicCredential>) -> [u8; 32] {
        Plan::from(self.clone()).sid(nodes)
    }
}

/// From what the shares of a ceremony come.
#[derive(Clone, Debug)]
pub(crate) enum Lineage {
    /// From nothing: the key is born.
    Birth,
    /// From all shares of the record, to each of which a share of zero is added.
    Refresh(Arc<KeyPublic>),
    /// From the dealers' shares of the record, each dealt to all.
    Reshare(Arc<KeyPublic>, Vec<NodeIndex>),
}

/// A ceremony of any kind.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// What the ceremony is about; key, name, scheme and purpose are those of the base record,
    /// and the threshold is the one that comes out.
    pub(crate) params: DkgParams,
    pub(crate) lineage: Lineage,
    /// The credentials of the base record's holders; empty when a key is born.
    holders: BTreeMap<NodeIndex, CredentialId>,
}

impl From<DkgParams> for Plan {
    fn from(params: DkgParams) -> Self {
        Self {
            params,
            lineage: Lineage::Birth,
            holders: BTreeMap::new(),
        }
    }
}

impl From<SuccessionParams> for Plan {
    fn from(params: SuccessionParams) -> Self {
        let base = Arc::new(params.base);
        let threshold = match &params.how {
            Succession::Refresh => base.threshold,
            Succession::Reshare { threshold, .. } => *threshold,
        };
        Self {
            params: DkgParams {
                cluster: params.cluster,
                charter: params.charter,
                ceremony: params.ceremony,
                key: base.key,
                name: base.name.clone(),
                scheme: base.scheme,
                purpose: base.purpose,
                threshold,
                boots: params.boots,
            },
            lineage: match params.how {
                Succession::Refresh => Lineage::Refresh(base),
                Succession::Reshare { dealers, .. } => Lineage::Reshare(base, dealers),
            },
            holders: params.holders,
        }
    }
}

/// The kind of a ceremony.
#[derive(Encode)]
#[cbor(index_only)]
enum Kind {
    #[n(0)]
    Generation,
    #[n(1)]
    Refresh,
    #[n(2)]
    Reshare,
}

/// The epoch that a ceremony starts from. The record's hash stands for its nodes, threshold and
/// public shares too, so nobody takes part who counts from other shares (section 21.7).
#[derive(Encode)]
struct Ancestor {
    #[n(0)]
    epoch: ShareEpoch,
    #[cbor(n(1), with = "minicbor::bytes")]
    record: [u8; 32],
}

/// What `sid` is the hash of.
#[derive(Encode)]
struct Header<'a> {
    #[n(0)]
    version: Version<1>,
    #[n(1)]
    kind: Kind,
    #[n(2)]
    cluster: &'a ClusterId,
    #[n(3)]
    charter: CharterNumber,
    #[n(4)]
    ceremony: &'a CeremonyId,
    #[n(5)]
    key: &'a KeyId,
    #[n(6)]
    name: &'a KeyName,
    #[n(7)]
    scheme: Scheme,
    #[n(8)]
    purpose: Purpose,
    #[n(9)]
    threshold: u8,
    #[n(10)]
    nodes: Vec<NodeIndex>,
    #[n(11)]
    credentials: Vec<CredentialId>,
    #[n(12)]
    boots: &'a [Boot],
    #[n(13)]
    base: Option<Ancestor>,
    #[n(14)]
    dealers: Option<&'a [NodeIndex]>,
}

impl Plan {
    /// The hash that stands for this ceremony among these nodes.
    pub(crate) fn sid(&self, nodes: &BTreeMap<NodeIndex, PublicCredential>) -> [u8; 32] {
        let (kind, dealers) = match &self.lineage {
            Lineage::Birth => (Kind::Generation, None),
            Lineage::Refresh(_) => (Kind::Refresh, None),
            Lineage::Reshare(_, dealers) => (Kind::Reshare, Some(dealers.as_slice())),
        };
        let params = &self.params;
        let header = Header {
            version: Version,
            kind,
            cluster: &params.cluster,
            charter: params.charter,
            ceremony: &params.ceremony,
            key: &params.key,
            name: &params.name,
            scheme: params.scheme,
            purpose: params.purpose,
            threshold: params.threshold,
            nodes: nodes.keys().copied().collect(),
            credentials: nodes.values().map(PublicCredential::id).collect(),
            boots: &params.boots,
            base: self.base().map(|base| Ancestor {
                epoch: base.epoch,
                record: base.shares_hash(),
            }),
            dealers,
        };
        tagged(tags::DKG_CTX, &[&cbor::encode(&header)])
    }

    /// The certified record of the epoch before; `None` when a key is born.
    pub(crate) fn base(&self) -> Option<&KeyPublic> {
        match &self.lineage {
            Lineage::Birth => None,
            Lineage::Refresh(base) | Lineage::Reshare(base, _) => Some(base),
        }
    }

    /// Whether `node`, who takes part, deals.
    pub(crate) fn deals(&self, node: NodeIndex) -> bool {
        match &self.lineage {
            Lineage::Birth | Lineage::Refresh(_) => true,
            Lineage::Reshare(_, dealers) => dealers.contains(&node),
        }
    }

    /// The weight with which a dealer's old share counts in a reshare; `None` for everyone else.
    pub(crate) fn weight<G: Group>(&self, node: NodeIndex) -> Option<G::Scalar> {
        match &self.lineage {
            Lineage::Birth | Lineage::Refresh(_) => None,
            Lineage::Reshare(_, dealers) => lagrange::<G>(dealers, node, 0),
        }
    }

    /// Whether the ceremony can be held among these nodes at all.
    ///
    /// # Errors
    /// `HeaderDiffers` when parameters and nodes do not fit, `WrongSuccession` when the ceremony
    /// cannot follow its base record.
    pub(crate) fn check(&self, nodes: &BTreeMap<NodeIndex, PublicCredential>) -> Result<(), Fault> {
        let distinct: BTreeSet<CredentialId> = nodes.values().map(PublicCredential::id).collect();
        let boots = self.params.boots.iter().map(|b| b.node);
        let fits = Guard::Threshold.holds(threshold_fits(self.params.threshold, nodes.len()))
            && Guard::Credentials.holds(distinct.len() == nodes.len())
            && Guard::Boots.holds(boots.eq(nodes.keys().copied()));
        if !fits {
            return Err(Fault::HeaderDiffers);
        }
        let follows = match &self.lineage {
            Lineage::Birth => true,
            Lineage::Refresh(base) => {
                // Everybody must move, or some share of the new epoch would be nobody's.
                let holders = base.public_shares.iter().map(|s| s.node);
                let all = holders.eq(nodes.keys().copied());
                let same = nodes.iter().all(|(node, now)| self.is_holder(*node, now));
                self.follows(base) && Guard::Holders.holds(all && same)
            }
            Lineage::Reshare(base, dealers) => {
                self.follows(base) && self.dealers_fit(base, dealers, nodes)
            }
        };
        if follows {
            Ok(())
        } else {
            Err(Fault::WrongSuccession)
        }
    }

    /// Whether an epoch under these parameters can follow `base`.
    ///
    /// A key with a threshold of 1 is whole at every node. It has no shares that could be made
    /// fresh, and to share it out afterwards would only pretend that no node holds it.
    fn follows(&self, base: &KeyPublic) -> bool {
        let shared = base.threshold >= 2 && self.params.threshold >= 2;
        let known = threshold_fits(base.threshold, base.public_shares.len());
        Guard::Shared.holds(shared)
            && Guard::BaseFits.holds(known)
            && Guard::BaseCluster.holds(base.cluster == self.params.cluster)
            && Guard::BaseCharter.holds(base.charter <= self.params.charter)
            && Guard::LastEpoch.holds(base.epoch.0 < u32::MAX)
    }

    /// Whether the node with this credential is the one that a share was dealt to.
    fn is_holder(&self, node: NodeIndex, now: &PublicCredential) -> bool {
        self.holders.get(&node) == Some(&now.id())
    }

    /// Whether these nodes can deal: ascending and so distinct, exactly as many as the old
    /// threshold, each a holder, and each present.
    ///
    /// Exactly: the weights are those of this one set, so a share that is dealt by one more or one
    /// fewer is a share of another key.
    fn dealers_fit(
        &self,
        base: &KeyPublic,
        dealers: &[NodeIndex],
        nodes: &BTreeMap<NodeIndex, PublicCredential>,
    ) -> bool {
        let ascending = dealers
            .iter()
            .zip(dealers.iter().skip(1))
            .all(|(a, b)| a < b);
        let hold = dealers.iter().all(|d| {
            let same = nodes.get(d).is_none_or(|now| self.is_holder(*d, now));
            base.public_share(*d).is_some() && same
        });
        let present = dealers.iter().all(|d| nodes.contains_key(d));
        Guard::DealersDistinct.holds(ascending)
            && Guard::DealersExact.holds(dealers.len() == usize::from(base.threshold))
            && Guard::DealersHold.holds(hold)
            && Guard::DealersPresent.holds(present)
    }
}

/// Whether `threshold` of `nodes` can sign: no more than there are nodes, and no more than one
/// signature may have signers.
///
/// A threshold of 1 makes a *local* key: every node then holds the whole of it. It exists to be
/// compared with; charters cannot ask for it (their threshold is at least 2), only a request that
/// names the `local` custody method can, and [`crate::sign`] never serves it.
pub(crate) fn threshold_fits(threshold: u8, nodes: usize) -> bool {
    let threshold = usize::from(threshold);
    (1..=SIGNERS_MAX).contains(&threshold) && threshold <= nodes
}
