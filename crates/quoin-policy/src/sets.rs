//! Numbered signer sets: what lets a `sticky` budget be spent by one set up to its whole cap.
//!
//! A gateway proposes a number and a set. Every node acknowledges one set for each number, stops
//! serving the one before, and reports what it has co-signed of each sticky budget, by signer set.
//! With acknowledgements of as many nodes as sign, the set is certified, and its members serve it:
//! they charge sticky budgets for requests that this very set signs, and for no others. A node
//! counts what it has co-signed itself and, of sets that it is no member of, what their members
//! have reported. Source: the design, section 6, "limits without a coordinator".
//!
//! Differs: while no set is in force nothing of a sticky budget is spent, where the design goes on
//! with what is left of `strict`. Strict parts that different pairs of nodes have spent add up to
//! more than any one node has seen, so whoever starts from the highest of the reports starts too
//! low: of 2-of-3, half of a part by each pair is three quarters of the cap, of which each node has
//! seen one half. And nothing is lost: whenever as many nodes are up as sign, a set can be
//! certified.
//!
//! Why the cap holds. Let `f` be the number of malicious nodes, at most `f_tol`, and `2t > n +
//! f_tol`, so that any two groups of `t` nodes have an honest node in common. (1) A number has one
//! certified set, because an honest node acknowledges one. (2) Whatever is signed is signed by a
//! set `T` all of whose honest members serve `T`. (3) Of all consents of honest nodes to what ever
//! gets signed, let `k` be the highest number under which one was given, `S` its set, and `i` the
//! honest member of `S` that gave its last consent under `k`. What is signed by sets with `i` in
//! them `i` has co-signed, and counts. What is signed by a set `T` without `i` has an honest member
//! `c` of `T` among those who acknowledged `k` to `i`: after its acknowledgement `c` serves no
//! number below `k`, and under `k` only `S`, so it had consented before, and its report has the
//! request under `T`. So `i` counts the highest report of a member of `T`, for each `T` without `i`,
//! and by (3) all that is ever signed is at most what `i` has counted, which it keeps to the cap.
//! Whether the members of a set consent under the same number does not matter.

use crate::budget::{Budget, Measure, Mode, WINDOW_MS_MAX};
use crate::charter::Charter;
use crate::constitution::Constitution;
use crate::ledger::{BUCKETS_MAX, CONSENTS_APART_MS, bucket_end};
use minicbor::{Decode, Encode};
use quoin_core::cbor::Version;
use quoin_core::ids::Boot;
use quoin_core::statement::StatementError;
use quoin_core::tags::{self, Tag};
use quoin_core::{
    Amount, BudgetId, CharterHash, ClusterId, NodeIndex, PrincipalId, PublicCredential, Signed,
    SignerSet, Statement, TimeMs,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How far a proposal may be ahead of the number before: whoever is hostile shall not use up all
/// numbers with one proposal.
pub const SET_STEP_MAX: u64 = 1 << 32;
/// The most tallies of sticky budgets: one for each, and for each holder where holders are counted
/// apart. An acknowledgement reports all of them.
pub const STICKY_TALLIES_MAX: usize = 32;
/// The most signer sets of one tally that a report names; the rest is reported as of any set.
pub const REPORTED_SETS_MAX: usize = 8;

/// How the request's signer set stands to the numbered set of this node, as sticky budgets see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SetStanding<'a> {
    /// No set is in force: nothing is charged to sticky budgets.
    #[default]
    Moving,
    /// The request is for this set, which is in force and has this node in it.
    Serving(&'a SignerSet),
    /// The request is for another set than the one in force.
    OtherSet,
}

/// What a node has co-signed of a sticky budget under one signer set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct SetSpend {
    /// The budget.
    #[n(0)]
    pub budget: BudgetId,
    /// What it counts.
    #[n(1)]
    pub measure: Measure,
    /// Whose tally it is, of a budget that counts every holder of a role apart.
    #[n(2)]
    pub holder: Option<PrincipalId>,
    /// The signer set; `None` for any.
    #[n(3)]
    pub set: Option<SignerSet>,
    /// The ends of buckets and what counts until their window has passed since then.
    #[n(4)]
    pub buckets: Vec<(TimeMs, Amount)>,
}

/// A node's word that it serves no set with a lower number any more, and what it has co-signed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SetAck {
    /// The form's version.
    #[n(0)]
    pub version: Version<1>,
    /// The cluster.
    #[n(1)]
    pub cluster: ClusterId,
    /// The node, in which of its lives.
    #[n(2)]
    pub boot: Boot,
    /// The number.
    #[n(3)]
    pub number: u64,
    /// The one set that the node acknowledges for the number.
    #[n(4)]
    pub set: SignerSet,
    /// What it has co-signed of every sticky budget, by [`crate::Ledger::spends`].
    #[n(5)]
    pub spends: Vec<SetSpend>,
    /// The charter in force on it, which says what the sticky budgets are: a report under another
    /// one may leave out what a budget counted before it was sticky.
    #[n(6)]
    pub charter: CharterHash,
}

impl Statement for SetAck {
    const TAG: Tag = tags::SET_ACK;
    const BYTES_MAX: usize = 1024 * 1024;
}

/// Nodes of which so many are enough to know what the signer sets of their charter have signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Electorate {
    pub(crate) nodes: Arc<BTreeMap<NodeIndex, PublicCredential>>,
    pub(crate) needed: usize,
    /// When this node took the charter after it; what was signed before counts for a window more.
    pub(crate) replaced: TimeMs,
}

impl Electorate {
    /// So many nodes of a charter have an honest member of every signer set among them.
    pub(crate) fn of(
        charter: &Charter,
        nodes: &Arc<BTreeMap<NodeIndex, PublicCredential>>,
        replaced: TimeMs,
    ) -> Self {
        let others = nodes.len().saturating_sub(usize::from(charter.threshold));
        Self {
            nodes: Arc::clone(nodes),
            needed: others + 1 + usize::from(charter.f_tol),
            replaced,
        }
    }
}

/// The nodes of earlier charters, with those of the current one when the next has others.
pub(crate) fn electorates_after(
    current: &Constitution,
    next: &Charter,
    now: TimeMs,
) -> Vec<Electorate> {
    let mut all = current.electorates.clone();
    // Once the longest window has passed, what was signed under a charter counts no longer.
    all.retain(|e| now < e.replaced.plus(2 * WINDOW_MS_MAX));
    let charter = current.charter();
    let seats = |c: &Charter| -> BTreeMap<NodeIndex, PublicCredential> {
        let nodes = c.nodes.iter();
        nodes.map(|n| (n.index, n.credential.clone())).collect()
    };
    let nodes = seats(charter);
    let same =
        nodes == seats(next) && (charter.threshold, charter.f_tol) == (next.threshold, next.f_tol);
    if !same {
        all.push(Electorate::of(charter, &Arc::new(nodes), now));
    }
    all
}

/// A node's place in the succession of signer sets. It is made durable before anything that follows
/// from it leaves the node, and never goes back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct SetState {
    /// The highest number that this node has acknowledged or seen certified.
    #[n(0)]
    pub number: u64,
    /// The set of that number; `None` before the first.
    #[n(1)]
    pub set: Option<SignerSet>,
    /// Whether this node has seen the set certified and is a member of it.
    #[n(2)]
    pub serving: bool,
}

/// What a certified set makes of a node: to be made durable together, before it serves.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SetAdoption {
    /// The node's new place.
    #[n(0)]
    pub state: SetState,
    /// For [`crate::Ledger::adopt`].
    #[n(1)]
    pub foreign: Vec<SetSpend>,
}

/// Why a proposal or a certificate is refused.
#[derive(Debug, thiserror::Error)]
pub enum SetFault {
    /// The number has passed, or stands for another set.
    #[error("`number`: this node is at number {number} already, with one set for it")]
    Passed {
        /// Where the node is.
        number: u64,
    },
    /// The number is too far ahead.
    #[error("`number`: too far ahead of number {number}")]
    TooFarAhead {
        /// Where the node is.
        number: u64,
    },
    /// The set is not one of as many of the charter's nodes as sign.
    #[error("`set`: must be of as many nodes of the charter as sign")]
    NoSignerSet,
    /// An acknowledgement is not genuine, or of no node of the charter.
    #[error("the acknowledgement is not of a node of the charter: {0}")]
    NotGenuine(#[from] StatementError),
    /// An acknowledgement is for another cluster.
    #[error("`cluster`: the acknowledgement is for another cluster")]
    WrongCluster,
    /// An acknowledgement is under another charter.
    #[error("`charter`: the acknowledgement is under another charter than is in force here")]
    WrongCharter,
    /// An acknowledgement is of a node that the charter does not have.
    #[error("`boot`: the charter has no node `{0}`")]
    UnknownNode(NodeIndex),
    /// An acknowledgement reports more than there can be.
    #[error("`spends`: more than any node can have co-signed under the limits of a report")]
    TooMuch,
    /// The acknowledgements are for different sets.
    #[error("the acknowledgements are for different numbers or sets")]
    Mixed,
    /// There are too few acknowledgements.
    #[error("{found} nodes have acknowledged, and {needed} must{of}")]
    TooFew {
        /// How many have.
        found: usize,
        /// How many must.
        needed: usize,
        /// Of whom.
        of: &'static str,
    },
}

/// Reads an acknowledgement: signed by its node, which the charter has, under that very charter, and
/// within the limits.
///
/// # Errors
/// When it is not.
pub fn verify_set_ack<'a>(
    constitution: &Constitution,
    signed: &'a Signed<SetAck>,
) -> Result<&'a SetAck, SetFault> {
    let index = signed.unverified().boot.node;
    let node = constitution.node(index);
    let node = node.ok_or(SetFault::UnknownNode(index))?;
    let ack = signed.verify(&node.credential)?;
    if ack.cluster != constitution.cluster() {
        return Err(SetFault::WrongCluster);
    }
    if ack.charter != constitution.hash() {
        return Err(SetFault::WrongCharter);
    }
    let spends_max = STICKY_TALLIES_MAX * (REPORTED_SETS_MAX + 1);
    let buckets_max = ack.spends.iter().map(|s| s.buckets.len()).max();
    // Twice, for a budget whose window has changed.
    if ack.spends.len() > spends_max || buckets_max.is_some_and(|n| n > 2 * BUCKETS_MAX) {
        return Err(SetFault::TooMuch);
    }
    Ok(ack)
}

impl SetState {
    /// How a request for `set` stands to the set in force.
    #[must_use]
    pub fn standing(&self, set: &SignerSet) -> SetStanding<'_> {
        match &self.set {
            Some(own) if self.serving && own == set => SetStanding::Serving(own),
            Some(_) if self.serving => SetStanding::OtherSet,
            _ => SetStanding::Moving,
        }
    }

    /// What a proposal makes of the node's place: to be made durable before the node acknowledges
    /// and reports. Asking again for the number and set that it is at changes nothing.
    ///
    /// # Errors
    /// When the number has passed, stands for another set, or is far ahead, or when the set is not
    /// one of the charter's.
    pub fn propose(
        &self,
        charter: &Charter,
        number: u64,
        set: &SignerSet,
    ) -> Result<Self, SetFault> {
        fits(charter, set)?;
        self.allows(number, set)?;
        if number == self.number {
            return Ok(self.clone());
        }
        Ok(Self {
            number,
            set: Some(set.clone()),
            serving: false,
        })
    }

    /// What acknowledgements of a number make of the node `me`, when they are enough; each has
    /// passed [`verify_set_ack`]. `None` when it is there already.
    ///
    /// # Errors
    /// When they are too few or for different sets, or the number has passed or stands for another
    /// set on this node.
    pub fn certify(
        &self,
        constitution: &Constitution,
        me: NodeIndex,
        acks: &[&SetAck],
        now: TimeMs,
    ) -> Result<Option<SetAdoption>, SetFault> {
        let charter = constitution.charter();
        let (number, set) = match acks.first() {
            Some(first) => (first.number, &first.set),
            None => return Err(too_few(0, usize::from(charter.threshold), "")),
        };
        if acks.iter().any(|a| (a.number, &a.set) != (number, set)) {
            return Err(SetFault::Mixed);
        }
        fits(charter, set)?;
        self.allows(number, set)?;
        enough(constitution, acks, now)?;
        if number == self.number && self.serving {
            return Ok(None);
        }
        Ok(Some(SetAdoption {
            state: Self {
                number,
                set: Some(set.clone()),
                serving: set.contains(me),
            },
            foreign: foreign(charter, me, acks, now),
        }))
    }

    /// A number stands for one set, and none that has passed comes back.
    fn allows(&self, number: u64, set: &SignerSet) -> Result<(), SetFault> {
        let at = self.number;
        let same = number == at && self.set.as_ref() == Some(set);
        if number < at || (number == at && !same) {
            return Err(SetFault::Passed { number: at });
        }
        if number - at > SET_STEP_MAX {
            return Err(SetFault::TooFarAhead { number: at });
        }
        Ok(())
    }
}

fn fits(charter: &Charter, set: &SignerSet) -> Result<(), SetFault> {
    let known = |index| charter.nodes.iter().any(|n| n.index == index);
    if set.size() == usize::from(charter.threshold) && set.iter().all(known) {
        Ok(())
    } else {
        Err(SetFault::NoSignerSet)
    }
}

const fn too_few(found: usize, needed: usize, of: &'static str) -> SetFault {
    SetFault::TooFew { found, needed, of }
}

/// As many distinct nodes of the charter as sign; and of every charter before it under which signer
/// sets may have spent what still counts, enough that one honest member of each is among them.
fn enough(constitution: &Constitution, acks: &[&SetAck], now: TimeMs) -> Result<(), SetFault> {
    let charter = constitution.charter();
    let nodes: BTreeMap<NodeIndex, &PublicCredential> = acks
        .iter()
        .filter_map(|ack| constitution.node(ack.boot.node))
        .map(|node| (node.index, &node.credential))
        .collect();
    let threshold = usize::from(charter.threshold);
    if nodes.len() < threshold {
        return Err(too_few(nodes.len(), threshold, ""));
    }
    let window_ms = sticky(charter).map(|b| b.window_ms).max();
    let window_ms = window_ms.unwrap_or_default();
    for electorate in &constitution.electorates {
        let stays = |(index, credential): &(&NodeIndex, &&PublicCredential)| {
            electorate.nodes.get(index) == Some(**credential)
        };
        let found = nodes.iter().filter(stays).count();
        // The end of a bucket is at most one bucket after the charge.
        let counts = now < bucket_end(electorate.replaced, window_ms).plus(window_ms);
        if counts && found < electorate.needed {
            let of = " of an earlier charter, whose spending still counts";
            return Err(too_few(found, electorate.needed, of));
        }
    }
    Ok(())
}

fn sticky(charter: &Charter) -> impl Iterator<Item = &Budget> {
    charter.budgets.iter().filter(|b| b.mode == Mode::Sticky)
}

/// Of each signer set without `me` the highest report of a member, bucket by bucket. Of what is
/// reported as of any set the sum of all reports but one's own, which is at least what was signed.
///
/// A report can only be too high: of a malicious member, whose word counts like any other, because
/// it may be the one node that knows.
fn foreign(charter: &Charter, me: NodeIndex, acks: &[&SetAck], now: TimeMs) -> Vec<SetSpend> {
    let mut of_sets: BTreeMap<SetSpend, BTreeMap<TimeMs, Amount>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for ack in acks {
        let from = ack.boot.node;
        if from == me || !seen.insert(from) {
            continue;
        }
        for spend in &ack.spends {
            let mut budgets = sticky(charter);
            let budget = budgets.find(|b| b.id == spend.budget && b.measure == spend.measure);
            let of = spend.set.as_ref();
            let counts = of.is_none_or(|set| set.contains(from) && !set.contains(me));
            let Some(budget) = budget.filter(|_| counts) else {
                continue;
            };
            let key = SetSpend {
                buckets: Vec::new(),
                ..spend.clone()
            };
            let known = of_sets.entry(key).or_default();
            // Nothing ages from later than this: what claims to would never end to count. What a
            // clock that is ahead has put into several buckets is one sum.
            let last = bucket_end(now.plus(CONSENTS_APART_MS), budget.window_ms);
            let claimed = spend.buckets.iter();
            for (end, amount) in summed(claimed.map(|(end, amount)| ((*end).min(last), *amount))) {
                let bucket = known.entry(end).or_insert(Amount::ZERO);
                *bucket = match of {
                    Some(_) => (*bucket).max(amount),
                    None => bucket.checked_add(amount).unwrap_or(Amount::MAX),
                };
            }
        }
    }
    let all = of_sets.into_iter();
    all.map(|(key, buckets)| SetSpend {
        buckets: buckets.into_iter().collect(),
        ..key
    })
    .collect()
}

/// At most so many sets of one tally, those with the latest spending; the rest as of any set.
pub(crate) fn bounded(mut spends: Vec<SetSpend>) -> Vec<SetSpend> {
    spends.sort_by_key(|s| {
        let latest = s.buckets.iter().map(|(end, _)| *end).max();
        (s.set.is_none(), std::cmp::Reverse(latest))
    });
    let named = spends.iter().filter(|s| s.set.is_some()).count();
    let rest = spends.split_off(named.min(REPORTED_SETS_MAX));
    let buckets = summed(rest.iter().flat_map(|s| s.buckets.iter().copied()));
    spends.extend(rest.into_iter().next().map(|first| SetSpend {
        set: None,
        buckets: buckets.into_iter().collect(),
        ..first
    }));
    spends
}

fn summed(buckets: impl Iterator<Item = (TimeMs, Amount)>) -> BTreeMap<TimeMs, Amount> {
    let mut sums = BTreeMap::new();
    for (end, amount) in buckets {
        let sum = sums.entry(end).or_insert(Amount::ZERO);
        *sum = Amount::checked_add(*sum, amount).unwrap_or(Amount::MAX);
    }
    sums
}
