//! The constitution: a charter that has been checked and compiled, and the chain that led to it.
//!
//! It cannot be wrong in any way that [`crate::CharterError`] names. What it decides is in
//! [`crate::Judgement`], and how one follows another in [`crate::verify_successor`]. Source: the design, sections 2 ("genesis") and 4 ("charter").

use crate::cedar::Rules;
use crate::charter::{Asset, BookEntry, Charter, KeyGrant, NodeEntry, Principal};
use crate::check::operator;
use crate::denial::{Denial, DenialReason};
use crate::lineage::{Book, Seats};
use crate::sets::Electorate;
use quoin_core::{
    Address, AssetId, ChainId, CharterHash, CharterNumber, ClusterId, CredentialId, KeyName,
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
    pub(crate) lineage: BTreeMap<CharterNumber, CharterHash>,
    /// The nodes of every one of them: a key's certificate is of the charter that it names.
    pub(crate) rosters: BTreeMap<CharterNumber, Arc<BTreeMap<NodeIndex, PublicCredential>>>,
    /// Who could have signed another successor of every one of them.
    pub(crate) seats: BTreeMap<CharterNumber, Arc<Seats>>,
    /// From when on each entry of the address book can receive.
    pub(crate) ready: Book,
    principals: BTreeMap<PrincipalId, usize>,
    credentials: BTreeMap<CredentialId, usize>,
    assets: BTreeMap<AssetId, usize>,
    book: BTreeMap<(ChainId, Address), usize>,
    keys: BTreeMap<KeyName, usize>,
    /// The nodes of earlier charters that had other nodes, threshold or `f_tol`.
    pub(crate) electorates: Vec<Electorate>,
    pub(crate) rules: Rules,
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
            seats: BTreeMap::from([(charter.number, Arc::new(Seats::of(&charter)))]),
            ready: Book::genesis(&charter),
            credentials: credentials.collect(),
            principals: principals.map(|(i, p)| (p.id.clone(), i)).collect(),
            assets: index_by(&charter.assets, |a| a.asset.clone()),
            book: book
                .map(|(i, b)| ((b.chain.clone(), b.address.clone()), i))
                .collect(),
            keys: index_by(&charter.keys, |grant| grant.key.clone()),
            electorates: Vec::new(),
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

    /// Whose person a principal is: its own operator's or, without one, that of whoever delegated to
    /// it, and its own when it was delegated by nobody or the charter does not know it. Two of one
    /// operator are one person wherever people are counted.
    #[must_use]
    pub fn operator_of<'a>(&'a self, id: &'a PrincipalId) -> &'a str {
        let known = self.principal(id);
        known.map_or(id.as_str(), |p| operator(&self.charter, p))
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

    /// The address book's entry for an address, when it may receive this asset; without one, when
    /// it is for every asset of the chain.
    #[must_use]
    pub fn entry_for(
        &self,
        chain: &ChainId,
        address: &Address,
        asset: Option<&AssetId>,
    ) -> Option<&BookEntry> {
        let entry = self.book_entry(chain, address)?;
        let any = entry.assets.is_empty();
        (any || asset.is_some_and(|asset| entry.assets.contains(asset))).then_some(entry)
    }

    /// The leave of a key to spend, when the charter gives it.
    #[must_use]
    pub fn key_grant(&self, name: &KeyName) -> Option<&KeyGrant> {
        self.charter.keys.get(*self.keys.get(name)?)
    }

    /// From when on an address can receive, by the book; `None` when it is not in the book.
    ///
    /// The genesis's entries can at once. An entry that a later charter brought or changed has waited
    /// for the longer of two cooling-offs: of that charter and of the one before it, so that no
    /// charter lowers the wait for what it brings itself.
    #[must_use]
    pub fn book_ready(&self, chain: &ChainId, address: &Address) -> Option<TimeMs> {
        self.ready.of(chain, address)
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
