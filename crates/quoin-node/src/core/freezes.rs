//! Freezes on a node: they take effect at once, reach every node, and are given back to whoever
//! lacks them.
//!
//! A freeze holds from the moment at which its signature is verified: it is written down and handed
//! on afterwards, because stopping is always safe. Who brought it is told once it is durable. What
//! lifts freezes is a request like any other, which every node judges for itself
//! ([`super::actions`]).
//!
//! # How nodes come to agree
//!
//! Heartbeats carry the hash of what a node knows of freezes, and only those that are equal to ours
//! count for the lease (decision 0012). So a node that was kept from hearing of a freeze signs
//! nothing outside the corridor, one lease after the last equal heartbeat. Where two nodes differ,
//! each shows the other all it has, once a second at most, and asks for the other's: a node that
//! others have fenced is heard by nobody, but can still ask.
//!
//! This comes to an end, and no single node can keep it from doing so:
//!
//! - What is in force follows from three sets that only grow: freezes, lifted ids, suspended
//!   principals. Two honest nodes that have exchanged them once are equal, if each accepts what the
//!   other has.
//! - A freeze that one honest node has, another accepts. Its signer may have lost the right to it in
//!   between, by a new charter or by the end of a grant; so from another node a freeze is taken from
//!   whoever had the right under any charter so far. A corrupt node can thus bring a freeze of
//!   somebody whose grant has ended. That only stops, and suspending that principal ends it. A signer
//!   who is new in a charter that this node lacks is refused, until the charter comes: heartbeats
//!   bring that too.
//! - A request that lifted freezes on one node travels with its approvals, and the others judge it.
//!   Until they have, because of a delay that counts from their own first sight, the two differ, and
//!   the freeze holds. A node that was away until the request had lapsed cannot judge it any more. It
//!   follows the others: what t other nodes say, each on its own link, to have lifted, is lifted.
//!   That many nodes can sign without this one, so nothing is lost by it. Fewer are not believed.
//! - A corrupt node can differ from everybody for ever. It then counts for nobody's lease, and n - t
//!   honest nodes count for each other's: in 2-of-3 the two honest ones have each other. It can make
//!   them differ for a moment only by what is genuine: each freeze needs the signature of somebody who
//!   could as well freeze everything, and goes to all within one flood. A node beats as soon as its own
//!   state has changed, so that peers are apart for one message, not for one interval.
//! - A principal who signs more freezes than [`FREEZES_PER_PRINCIPAL_MAX`] and gives different ones to
//!   different nodes can keep those apart, and so confine them to the corridor, which one freeze of
//!   everything does too. Suspending the principal makes them equal again.

use super::actions::Deed;
use super::charters::refused;
use super::record::UnfrozenRecord;
use super::requests::{Admitted, rejected};
use super::{Frame, Node, Peer, Record, Turn};
use quoin_api::frame::{
    FreezesFrame, LIFTED_MAX, Opaque, Refusal, Reply, RequestFrame, Unavailable,
};
use quoin_core::payload::Unfreeze;
use quoin_core::{
    CredentialId, FreezeId, KeyId, NodeIndex, PrincipalId, PublicCredential, Rejection, Scheme,
    Signed, TimeMs,
};
use quoin_policy::{
    Charter, FREEZE_ROLES, FREEZES_PER_PRINCIPAL_MAX, Freeze, FreezeTarget, REASON_BYTES_MAX,
    Subject, Warrant, may_freeze,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The most freezes in force: all of them fit into one frame.
const IN_FORCE_MAX: usize = 1_024;
/// How often a node that differs is shown all that this one has, at most.
const SHOWN_MS: u64 = 1_000;
/// How soon after the last the whole of what a node knows is looked at again: its clock and the way
/// may be off by half.
const HEARD_MS: u64 = SHOWN_MS / 2;
/// The most requests that are shown with it: the newest. Older ones have lapsed, or come when their
/// node connects.
const LIFTS_SHOWN_MAX: usize = 16;
/// The most ids in one record.
const FOLLOWED_MAX: usize = 1_024;

/// What a node keeps beside the set itself.
#[derive(Default)]
pub(super) struct FreezeBook {
    /// Each freeze in force as it was signed (`Signed<Freeze>`), by its hash.
    signed: BTreeMap<[u8; 32], Vec<u8>>,
    /// The hash of the set: heartbeats carry it, and every judgement compares it.
    digest: Option<[u8; 32]>,
    /// The credentials of all who had the right to freeze under any charter so far.
    ever: BTreeMap<(PrincipalId, CredentialId), PublicCredential>,
    /// What other nodes say they have lifted, and this one has not.
    claims: BTreeMap<NodeIndex, Claim>,
    shown: BTreeMap<NodeIndex, TimeMs>,
    heard: BTreeMap<NodeIndex, TimeMs>,
}

/// What one node says it has lifted.
#[derive(Default)]
struct Claim {
    lifted: BTreeSet<FreezeId>,
    suspended: BTreeSet<PrincipalId>,
}

/// What held when a request was judged, and must still hold when its answer leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grounds {
    freezes: [u8; 32],
    vetoes: usize,
}

impl FreezeBook {
    /// Remembers who may freeze under a charter.
    pub(super) fn learn(&mut self, charter: &Charter) {
        let may = charter.principals.iter();
        let may = may.filter(|p| FREEZE_ROLES.iter().any(|role| p.holds(role)));
        for principal in may {
            for credential in &principal.credentials {
                let place = (principal.id.clone(), credential.id());
                self.ever.insert(place, credential.clone());
            }
        }
    }

    /// Whether a node is to be shown what this one has, now.
    fn shows(&mut self, node: NodeIndex, now: TimeMs) -> bool {
        let last = self.shown.get(&node);
        let due = last.is_none_or(|at| now.since(*at) >= SHOWN_MS);
        if due {
            self.shown.insert(node, now);
        }
        due
    }

    /// Forgets what a node said: its identity is no longer in the charter.
    pub(super) fn forget(&mut self, node: NodeIndex) {
        self.claims.remove(&node);
        self.shown.remove(&node);
        self.heard.remove(&node);
    }
}

impl Node {
    /// The hash of all that this node knows of freezes.
    pub(super) fn freezes_digest(&self) -> [u8; 32] {
        let known = self.freeze_book.digest;
        known.unwrap_or_else(|| self.freezes.digest())
    }

    /// The set has changed.
    pub(super) fn freezes_changed(&mut self) {
        self.freeze_book.digest = Some(self.freezes.digest());
        let in_force: BTreeSet<[u8; 32]> = self.freezes.in_force().map(Freeze::hash).collect();
        let signed = &mut self.freeze_book.signed;
        signed.retain(|hash, _| in_force.contains(hash));
    }

    pub(super) fn on_freeze(&mut self, turn: &mut Turn<'_>, from: &Peer, bytes: &[u8]) {
        let said = self.take_freeze(turn, from, bytes).err();
        let lost = || {
            refused(
                "storage",
                "the freeze holds, but the node's disk has failed",
            )
        };
        let said = said.or_else(|| self.storage_failed.then(lost));
        self.statement_reply(turn, from, bytes, said);
    }

    fn take_freeze(
        &mut self,
        turn: &mut Turn<'_>,
        from: &Peer,
        bytes: &[u8],
    ) -> Result<(), Refusal> {
        let signed =
            Signed::<Freeze>::from_bytes(bytes).map_err(|e| refused("freeze", e.to_string()))?;
        let freeze = signed.unverified();
        if self.freezes.in_force().any(|f| f == freeze) {
            return Ok(());
        }
        self.admits_freeze(freeze)?;
        self.freezer(&signed, from, turn.now)?;
        let freeze = freeze.clone();
        let hash = freeze.hash();
        self.freezes.insert(freeze);
        self.freeze_book.signed.insert(hash, bytes.to_vec());
        self.freezes_changed();
        if !self.storage_failed {
            self.persist(turn, Record::Freeze(Opaque(bytes.to_vec())));
        }
        self.flood_all(turn, from, &Frame::Freeze(bytes.to_vec()));
        self.beat_now(turn);
        Ok(())
    }

    /// Whether the freeze could be in force here, whoever signed it.
    fn admits_freeze(&self, freeze: &Freeze) -> Result<(), Refusal> {
        if freeze.cluster != self.cluster {
            return Err(refused("cluster", "the freeze is for another cluster"));
        }
        let mut reason = freeze.reason.bytes();
        let printable = reason.all(|b| b == b' ' || b.is_ascii_graphic());
        if freeze.reason.len() > REASON_BYTES_MAX || !printable {
            let message = format!("at most {REASON_BYTES_MAX} printable ASCII characters");
            return Err(refused("reason", message));
        }
        if self.freezes.lifted().contains(&freeze.id) {
            let message = "this freeze was lifted and never holds again; freeze under a new id";
            return Err(refused("id", message));
        }
        let principal = &freeze.principal;
        if self.freezes.suspended().contains(principal) {
            let message = format!("the freezes of `{principal}` count no longer");
            return Err(refused("principal", message));
        }
        if self.freezes.count_of(principal) >= FREEZES_PER_PRINCIPAL_MAX
            || self.freezes.in_force().count() >= IN_FORCE_MAX
        {
            let message = "too many freezes are in force; one that stops everything is enough";
            return Err(refused("principal", message));
        }
        Ok(())
    }

    /// Checks that a freeze is signed by somebody with the right to it: now, or, when another node
    /// brings it, under any charter so far.
    fn freezer(&self, signed: &Signed<Freeze>, from: &Peer, now: TimeMs) -> Result<(), Refusal> {
        let (principal, id) = (&signed.unverified().principal, signed.credential());
        let today = self.constitution.credential(id);
        let today = today.filter(|(p, _)| p.id == *principal && may_freeze(p, now));
        let past = match from {
            Peer::Node(_) => self.freeze_book.ever.get(&(principal.clone(), id)),
            Peer::Gateway(_) | Peer::Courier(_) => None,
        };
        let Some(credential) = today.map(|(_, credential)| credential).or(past) else {
            let message = format!("`{principal}` may not freeze, or has no such credential");
            return Err(refused("principal", message));
        };
        let verified = signed.verify(credential);
        verified
            .map(drop)
            .map_err(|e| refused("freeze", e.to_string()))
    }

    /// Shows all that this node knows of freezes, once it is durable.
    pub(super) fn on_freezes_request(&mut self, turn: &mut Turn<'_>, from: Peer) {
        if let Peer::Node(node) = from
            && !self.freeze_book.shows(node, turn.now)
        {
            return;
        }
        self.show_freezes(turn, from);
    }

    fn show_freezes(&mut self, turn: &mut Turn<'_>, to: Peer) {
        // What is not durable here must not be what another node relies on.
        if self.storage_failed {
            return;
        }
        let signed = self.freeze_book.signed.values();
        let frame = Frame::Freezes(FreezesFrame {
            freezes: signed.cloned().map(Opaque).collect(),
            lifts: self.newest_lifts(turn.now, LIFTS_SHOWN_MAX),
            digest: self.freezes_digest(),
            lifted: self
                .freezes
                .lifted()
                .iter()
                .take(LIFTED_MAX)
                .copied()
                .collect(),
            suspended: self
                .freezes
                .suspended()
                .iter()
                .take(LIFTED_MAX)
                .cloned()
                .collect(),
        });
        self.send_after_all(turn, to, frame);
    }

    /// A heartbeat of a node that knows other freezes than this one, or fewer, or more.
    pub(super) fn differs(&mut self, turn: &mut Turn<'_>, node: NodeIndex) {
        if self.freeze_book.shows(node, turn.now) {
            self.show_freezes(turn, Peer::Node(node));
            self.send(turn, Peer::Node(node), Frame::FreezesRequest);
        }
    }

    /// What another node knows: each freeze is verified here, and each request judged.
    pub(super) fn on_freezes(&mut self, turn: &mut Turn<'_>, from: NodeIndex, frame: FreezesFrame) {
        // An honest node sends one a second at most; each signature in it costs work.
        let last = self.freeze_book.heard.insert(from, turn.now);
        if last.is_some_and(|at| turn.now.since(at) < HEARD_MS) {
            return;
        }
        let peer = Peer::Node(from);
        for bytes in &frame.freezes {
            let _ = self.take_freeze(turn, &peer, &bytes.0);
        }
        for lift in frame.lifts {
            // Nothing else has a place here: other changes have limits of their own.
            let lifts = matches!(Deed::read(&lift.payload), Some(Deed::Unfreeze(_)));
            if lifts && !self.has_lifted(&lift) {
                self.on_handed_change(turn, from, lift);
            }
        }
        let (lifted, suspended) = (self.freezes.lifted(), self.freezes.suspended());
        let news = Claim {
            lifted: frame
                .lifted
                .into_iter()
                .filter(|id| !lifted.contains(id))
                .collect(),
            suspended: frame
                .suspended
                .into_iter()
                .filter(|id| !suspended.contains(id))
                .collect(),
        };
        self.freeze_book.claims.insert(from, news);
        self.follow_lifts(turn);
    }

    fn has_lifted(&self, frame: &RequestFrame) -> bool {
        let Some(Deed::Unfreeze(wish)) = Deed::read(&frame.payload) else {
            return false;
        };
        let (lifted, suspended) = (self.freezes.lifted(), self.freezes.suspended());
        wish.lifts.iter().all(|id| lifted.contains(id))
            && wish.suspends.iter().all(|id| suspended.contains(id))
    }

    /// Takes over what t other nodes have lifted.
    fn follow_lifts(&mut self, turn: &mut Turn<'_>) {
        let needed = usize::from(self.constitution.charter().threshold);
        let roster = Arc::clone(&self.roster);
        let claims = self.freeze_book.claims.iter();
        let claims: Vec<&Claim> = claims
            .filter(|(node, _)| **node != self.me() && roster.nodes.contains_key(node))
            .map(|(_, claim)| claim)
            .collect();
        let lifted = claims.iter().flat_map(|c| &c.lifted).copied();
        let lifts = said_by(lifted, needed, &self.freezes.lifted().clone());
        let suspended = claims.iter().flat_map(|c| &c.suspended).cloned();
        let suspends = said_by(suspended, needed, &self.freezes.suspended().clone());
        if lifts.is_empty() && suspends.is_empty() || self.storage_failed {
            return;
        }
        let record = UnfrozenRecord {
            lifts,
            suspends,
            request: None,
            at: turn.now,
        };
        self.apply_unfrozen(&record);
        self.persist(turn, Record::Unfrozen(record));
        self.beat_now(turn);
    }

    /// Judges a request to lift freezes, and carries it out.
    pub(super) fn consider_unfreeze(
        &mut self,
        turn: &mut Turn<'_>,
        peer: &Peer,
        frame: &RequestFrame,
        admitted: &Admitted,
        wish: Unfreeze,
    ) -> Result<(), Reply> {
        // Without a lease too: nodes that differ in this very freeze have none.
        match self.unavailable(turn.now) {
            None | Some(Unavailable::NoLease) => {}
            Some(why) => return Err(Reply::Unavailable(why)),
        }
        let room = LIFTED_MAX.saturating_sub(self.freezes.lifted().len());
        if wish.lifts.len() > room {
            let message = "this node remembers as many lifted freezes as it can";
            return Err(rejected(Rejection::caller("payload.lifts", message)));
        }
        // It is about no key, so any scheme will do to read it.
        self.permit(turn, frame, admitted, Scheme::Ecdsa, None)?;
        self.carry_out(turn, peer, frame, admitted, Deed::Unfreeze(wish));
        Ok(())
    }

    /// What lifted freezes mean in memory, now or when the journal is replayed.
    pub(super) fn apply_unfrozen(&mut self, record: &UnfrozenRecord) {
        self.freezes.lift(&Unfreeze {
            lifts: record.lifts.clone(),
            suspends: record.suspends.clone(),
        });
        for claim in self.freeze_book.claims.values_mut() {
            record.lifts.iter().for_each(|id| {
                claim.lifted.remove(id);
            });
            record.suspends.iter().for_each(|id| {
                claim.suspended.remove(id);
            });
        }
        self.freezes_changed();
    }

    /// A freeze that this node has taken before.
    pub(super) fn replay_freeze(&mut self, bytes: Vec<u8>) -> Option<()> {
        let signed = Signed::<Freeze>::from_bytes(&bytes).ok()?;
        let freeze = signed.unverified().clone();
        self.freeze_book.signed.insert(freeze.hash(), bytes);
        self.freezes.insert(freeze);
        self.freezes_changed();
        Some(())
    }

    /// On what a judgement rests beside the charter and the rules.
    pub(super) fn grounds(&self, warrant: &Warrant) -> Grounds {
        let subject = Subject::Request(warrant.request_id());
        Grounds {
            freezes: self.freezes_digest(),
            vetoes: self.notices.vetoes(&subject).count(),
        }
    }

    /// Whether something has stopped since a request was judged what was permitted then: another
    /// charter, which may have taken the principal's grant or the rule; a freeze that covers it; a
    /// veto. Nothing leaves after that. The request can be judged again, and then says why.
    pub(super) fn is_overtaken(&self, warrant: &Warrant, key: KeyId, grounds: Grounds) -> bool {
        let now = self.grounds(warrant);
        warrant.charter() != self.constitution.hash()
            || now.vetoes != grounds.vetoes
            || (now.freezes != grounds.freezes && self.is_frozen(warrant, key))
    }

    /// Whether a freeze covers what a warrant is for. One that leaves the corridor open is no
    /// exception: whether the request is in it is for judgement to say.
    fn is_frozen(&self, warrant: &Warrant, key: KeyId) -> bool {
        let principal = self.constitution.principal(warrant.principal());
        let key = self.keys.get(&key).and_then(|e| e.public());
        let intent = warrant.intent();
        let roles = principal.map(|p| p.roles.as_slice()).unwrap_or_default();
        let key = key.map(|public| &public.name);
        let target = FreezeTarget::of((warrant.principal(), roles), key, intent);
        self.freezes.covering(&target).is_some()
    }
}

/// What enough say and this node has not, in order.
fn said_by<T: Ord + Clone>(
    all: impl Iterator<Item = T>,
    needed: usize,
    known: &BTreeSet<T>,
) -> Vec<T> {
    let mut counts: BTreeMap<T, usize> = BTreeMap::new();
    for id in all.filter(|id| !known.contains(id)) {
        let count = counts.entry(id).or_default();
        *count = count.saturating_add(1);
    }
    let enough = counts.into_iter().filter(|(_, count)| *count >= needed);
    enough.map(|(id, _)| id).take(FOLLOWED_MAX).collect()
}
