//! The constitution: a charter that has been checked and compiled, and the chain that led to it.
//!
//! It cannot be wrong in any way that [`CharterError`] names. What it decides is in
//! [`crate::Judgement`]. Source: the design, sections 2 ("genesis") and 4 ("charter").

use crate::cedar::Rules;
use crate::charter::{Asset, BookEntry, Charter, NodeEntry, Principal};
use crate::check::CharterError;
use crate::denial::{Denial, DenialReason};
use quoin_core::{
    Address, AssetId, Certificate, ChainId, CharterHash, CharterNumber, ClusterId, CredentialId,
    NodeIndex, PrincipalId, PublicCredential, RuleId, Signed, Stamp, TimeMs,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A charter that has been checked, with its policies compiled.
#[derive(Debug)]
pub struct Constitution {
    charter: Charter,
    hash: CharterHash,
    cluster: ClusterId,
    /// The hash of every charter from the genesis on that the verification went through.
    lineage: BTreeMap<CharterNumber, CharterHash>,
    /// The nodes of every one of them: a key's certificate is of the charter that it names.
    rosters: BTreeMap<CharterNumber, Arc<BTreeMap<NodeIndex, PublicCredential>>>,
    principals: BTreeMap<PrincipalId, usize>,
    credentials: BTreeMap<CredentialId, usize>,
    assets: BTreeMap<AssetId, usize>,
    book: BTreeMap<(ChainId, Address), usize>,
    pub(crate) rules: Rules,
}

/// Accepts the genesis: signed by every node and every governor.
///
/// # Errors
/// When the charter fails a check, is not a genesis, or a signature is missing.
pub fn verify_genesis(
    certificate: &Certificate<Charter>,
) -> Result<(Constitution, ClusterId), CharterError> {
    let charter = certificate.unverified();
    if charter.number != CharterNumber(0) {
        return Err(CharterError::NotGenesis { place: "number" });
    }
    let constitution = charter.clone().check()?;
    for node in &charter.nodes {
        if !certificate.endorsed_by(&node.credential) {
            let who = format!("node {}", node.index);
            return Err(CharterError::MissingSignature { who });
        }
    }
    for governor in charter.governors() {
        if !endorsed_by_principal(certificate, governor) {
            let who = format!("governor `{}`", governor.id);
            return Err(CharterError::MissingSignature { who });
        }
    }
    let cluster = constitution.cluster();
    Ok((constitution, cluster))
}

/// Accepts the charter after `current`: signed by a quorum of the governors of the *current*
/// charter whose grants have not ended at `now`.
///
/// A node that replays its journal passes the time at which it first accepted the charter.
///
/// # Errors
/// When the charter fails a check, does not follow `current`, keeps too few of its nodes, or too few
/// governors signed.
pub fn verify_successor(
    current: &Constitution,
    certificate: &Certificate<Charter>,
    now: TimeMs,
) -> Result<Constitution, CharterError> {
    let next = certificate.unverified();
    let number = current.number().0;
    let not_successor = |place| CharterError::NotSuccessor {
        place,
        current: number,
    };
    if Some(next.number.0) != number.checked_add(1) {
        return Err(not_successor("number"));
    }
    if next.previous != Some(current.hash()) {
        return Err(not_successor("previous"));
    }
    if next.cluster != Some(current.cluster()) {
        return Err(not_successor("cluster"));
    }
    let quorum = current.charter().governor_quorum;
    let signed = current
        .charter()
        .governors()
        .filter(|g| !g.is_expired(now) && endorsed_by_principal(certificate, g))
        .count();
    if signed < usize::from(quorum) {
        return Err(CharterError::TooFewGovernors { signed, quorum });
    }
    let mut constitution = next.clone().check()?;
    enough_stay(current.charter(), next)?;
    constitution.lineage.extend(&current.lineage);
    let rosters = current.rosters.iter();
    constitution
        .rosters
        .extend(rosters.map(|(number, roster)| (*number, Arc::clone(roster))));
    Ok(constitution)
}

/// Whoever holds shares, and at which place.
fn holders(charter: &Charter) -> BTreeMap<NodeIndex, &PublicCredential> {
    let nodes = charter.nodes.iter();
    nodes.map(|n| (n.index, &n.credential)).collect()
}

/// Refuses a charter under which the keys could be lost: what the current nodes hold can only be
/// dealt to others by as many of them as sign, so that many stay, each with index and credential.
///
/// TLS keys and operators may change: no share depends on them. What the next charter promises with
/// its own nodes, threshold and `f_tol` is checked in itself.
fn enough_stay(current: &Charter, next: &Charter) -> Result<(), CharterError> {
    let (number, holders) = (current.number.0, holders(current));
    for node in &next.nodes {
        let before = holders.iter().find(|(_, c)| ***c == node.credential);
        if let Some((before, _)) = before.filter(|(index, _)| **index != node.index) {
            return Err(CharterError::NodeMoved {
                before: *before,
                now: node.index,
                current: number,
            });
        }
    }
    let stays = |n: &&NodeEntry| holders.get(&n.index) == Some(&&n.credential);
    let staying = next.nodes.iter().filter(stays).count();
    if staying >= usize::from(current.threshold) {
        return Ok(());
    }
    Err(CharterError::TooFewNodesStay {
        staying,
        threshold: current.threshold,
        current: number,
    })
}

fn endorsed_by_principal(certificate: &Certificate<Charter>, principal: &Principal) -> bool {
    principal
        .credentials
        .iter()
        .any(|c| certificate.endorsed_by(c))
}

impl Constitution {
    pub(crate) fn new(charter: Charter, rules: Rules) -> Self {
        let (hash, cluster) = (charter.hash(), charter.cluster_id());
        let principals = charter.principals.iter().enumerate();
        let credentials = principals
            .clone()
            .flat_map(|(i, p)| p.credentials.iter().map(move |c| (c.id(), i)));
        let book = charter.book.iter().enumerate();
        let nodes = charter.nodes.iter();
        let roster = nodes.map(|n| (n.index, n.credential.clone())).collect();
        Self {
            lineage: BTreeMap::from([(charter.number, hash)]),
            rosters: BTreeMap::from([(charter.number, Arc::new(roster))]),
            credentials: credentials.collect(),
            principals: principals.map(|(i, p)| (p.id.clone(), i)).collect(),
            assets: index_by(&charter.assets, |a| a.asset.clone()),
            book: book
                .map(|(i, b)| ((b.chain.clone(), b.address.clone()), i))
                .collect(),
            hash,
            cluster,
            rules,
            charter,
        }
    }

    /// The charter.
    #[must_use]
    pub fn charter(&self) -> &Charter {
        &self.charter
    }

    /// The charter's hash.
    #[must_use]
    pub fn hash(&self) -> CharterHash {
        self.hash
    }

    /// The charter's number.
    #[must_use]
    pub fn number(&self) -> CharterNumber {
        self.charter.number
    }

    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// The hash of an earlier charter of this chain, when it is known.
    #[must_use]
    pub fn ancestor(&self, number: CharterNumber) -> Option<CharterHash> {
        self.lineage.get(&number).copied()
    }

    /// The nodes of a charter of this chain, this one or an earlier one, when it is known.
    #[must_use]
    pub fn roster(
        &self,
        number: CharterNumber,
    ) -> Option<&Arc<BTreeMap<NodeIndex, PublicCredential>>> {
        self.rosters.get(&number)
    }

    /// The node with this index.
    #[must_use]
    pub fn node(&self, index: NodeIndex) -> Option<&NodeEntry> {
        self.charter.nodes.iter().find(|n| n.index == index)
    }

    /// The principal with this id.
    #[must_use]
    pub fn principal(&self, id: &PrincipalId) -> Option<&Principal> {
        self.charter.principals.get(*self.principals.get(id)?)
    }

    /// The principal that has this credential, and the credential.
    #[must_use]
    pub fn credential(&self, id: CredentialId) -> Option<(&Principal, &PublicCredential)> {
        let principal = self.charter.principals.get(*self.credentials.get(&id)?)?;
        let credential = principal.credentials.iter().find(|c| c.id() == id)?;
        Some((principal, credential))
    }

    /// The asset, when the charter knows it.
    #[must_use]
    pub fn asset(&self, id: &AssetId) -> Option<&Asset> {
        self.charter.assets.get(*self.assets.get(id)?)
    }

    /// The address book's entry for an address.
    #[must_use]
    pub fn book_entry(&self, chain: &ChainId, address: &Address) -> Option<&BookEntry> {
        let place = self.book.get(&(chain.clone(), address.clone()))?;
        self.charter.book.get(*place)
    }

    /// The ids of all policies.
    pub fn rules(&self) -> impl Iterator<Item = &RuleId> {
        self.rules.ids()
    }

    /// The stamp, once it is signed by the credential of the principal that it names.
    ///
    /// # Errors
    /// A denial of the caller's class when the credential is unknown, belongs to somebody else,
    /// or did not sign.
    pub fn verify_stamp<'a>(&self, signed: &'a Signed<Stamp>) -> Result<&'a Stamp, Denial> {
        let stamp = signed.unverified();
        let known = self.credential(stamp.credential);
        let Some((_, credential)) = known.filter(|(p, _)| p.id == stamp.principal) else {
            return Err(Denial::at(
                DenialReason::CredentialMismatch,
                "credential",
                format!("`{}` has no such credential", stamp.principal),
            ));
        };
        signed.verify(credential).map_err(|e| {
            Denial::at(
                DenialReason::CredentialMismatch,
                "stamp",
                format!("the stamp of `{}` is not genuine: {e}", stamp.principal),
            )
        })
    }
}

fn index_by<T, K: Ord>(items: &[T], key: impl Fn(&T) -> K) -> BTreeMap<K, usize> {
    let keyed = items.iter().enumerate();
    keyed.map(|(i, item)| (key(item), i)).collect()
}
