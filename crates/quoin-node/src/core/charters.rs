//! Charters: accepted from whoever carries them, because of their signatures and their number.
//!
//! A node takes a charter into force by its own judgement: [`super::proposals`] keeps it until all is
//! met that the charter in force demands, and the delay counts from this node's own first sight. So
//! a certificate that carries every signature is not enough, whoever sends it.
//!
//! A node that was away while the others waited must not wait again on its own. It follows them:
//! once t other nodes of the charter in force say, each on its own authenticated link or in its
//! signed heartbeat, that they have a charter of the next number in force, it takes the same into
//! force, if enough governors have signed it. That is safe while fewer than t nodes are corrupt, as
//! secrecy and judgement are in any case: one of the t is honest, and either it judged for itself, or
//! it followed t others of whom one was honest, and so on back to an honest node that was the first
//! and that judged for itself, with the delay from its own first sight, the receipts and no veto.
//! The word of a node is good for ever, because no node ever leaves a charter for another of the same
//! number; it needs no lease. A veto that comes to light only then is too late, here as there. Where
//! fewer than t others are up, the node judges for itself, and waits from its own first sight. It does
//! so only while others that it hears agree with its clock: by a clock that somebody has moved, every
//! delay is over. So a node that is cut off from all others changes nothing.
//! A node says which charter it has in force, in heartbeats too, only once that is durable.
//!
//! Two ways go around this, both on purpose. A node that starts takes over the chain that its
//! operator hands it, by the governors' signatures alone: the operator's word is that node's own. And
//! gateways, the command line and clients verify chains by their signatures alone: they have seen no
//! first sight, and cannot judge a delay. So a node sends them only what is in force on it.
//!
//! A node signs under one charter hash for each number, durably. Two certified charters with one
//! number stop it with an alarm, once an authenticated node says that it has the other one in force:
//! signatures alone show no fork, because whoever has an old proposal that was vetoed could stop with
//! it every node that has not heard of the veto. One that had been vetoed is no rival, or whoever
//! vetoes would stop the cluster with it; so such vetoes are kept and shown when their number has
//! passed.
//!
//! A charter may change the nodes. Who is new in it is dealt with from then on; who is no longer in
//! it takes part in nothing, here or there. Keys stay with those who hold their shares until they
//! are reshared, and their records stay certified by the nodes of the charter that they name.

use super::proposals::{Proposal, Standing};
use super::record::Record;
use super::{Alarm, Continuation, Effect, Node, Peer, RecoverError, Recovered, Ticket, Turn};
use quoin_api::Frame;
use quoin_api::frame::{CharterReply, Opaque, Refusal};
use quoin_core::{Certificate, CharterHash, CharterNumber, NodeIndex, TimeMs};
use quoin_policy::{
    Charter, Constitution, Obligations, ProposalEvidence, ProposalFault, ProposalState, Subject,
    verify_successor,
};
use quoin_protocol::Roster;
use quoin_protocol::combine::KeyPublic;
use std::collections::BTreeSet;
use std::sync::Arc;

/// How many numbers ahead of its own a node remembers what others have in force: as many charters as
/// a node can have missed and still catch up with in one go.
const VOUCHED_AHEAD_MAX: usize = 1_024;

impl Node {
    pub(super) fn on_charter(&mut self, turn: &mut Turn<'_>, from: &Peer, bytes: &[u8]) {
        let said = match Certificate::<Charter>::from_bytes(bytes) {
            Ok(certificate) => self.consider_charter(turn, &certificate, from, false),
            Err(e) => Err(refused("charter", e.to_string())),
        };
        if let Peer::Node(_) = from {
            return;
        }
        let (pending, refused) = match said {
            Ok(pending) => (pending, None),
            Err(refusal) => (Vec::new(), Some(refusal)),
        };
        let reply = Frame::CharterReply(CharterReply {
            node: self.me(),
            number: self.constitution.number(),
            refused,
            pending,
        });
        // The reply says what is in force and what is kept, so it waits until that is durable.
        self.send_after_all(turn, from.clone(), reply);
    }

    /// Takes a charter that another node has in force, or had.
    pub(super) fn on_adopted(&mut self, turn: &mut Turn<'_>, from: NodeIndex, bytes: &[u8]) {
        if !self.peers.is_connected(from) {
            return;
        }
        if let Ok(certificate) = Certificate::<Charter>::from_bytes(bytes) {
            let charter = certificate.unverified();
            self.vouched_by(from, charter.number, charter.hash());
            let _ = self.consider_charter(turn, &certificate, &Peer::Node(from), true);
        }
    }

    /// Takes a charter; what it waits for when it is not in force yet. `said` when it comes from a
    /// node that says that it has it in force, or had.
    fn consider_charter(
        &mut self,
        turn: &mut Turn<'_>,
        certificate: &Certificate<Charter>,
        from: &Peer,
        said: bool,
    ) -> Result<Vec<String>, Refusal> {
        let charter = certificate.unverified();
        let (number, hash) = (charter.number, charter.hash());
        let ours = self.constitution.number();
        if charter.cluster_id() != self.cluster {
            return Err(refused("cluster", "the charter is of another cluster"));
        }
        if number <= ours {
            return self.consider_passed(turn, certificate, hash, said);
        }
        if Some(number.0) != ours.0.checked_add(1) {
            return Err(refused(
                "number",
                format!(
                    "charter `{}` does not follow `{}`, which is in force",
                    number.0, ours.0
                ),
            ));
        }
        if charter.previous != Some(self.constitution.hash()) {
            return Err(refused(
                "previous",
                format!(
                    "it is not the hash of charter `{}`, which is in force",
                    ours.0
                ),
            ));
        }
        // What others have in force is no proposal any more.
        if self.is_vouched_for(number, &hash)
            && let Some(next) = self.follows(certificate, turn.now)
        {
            self.enact(turn, next, certificate.clone(), Some(from));
            return Ok(Vec::new());
        }
        self.keep_proposal(turn, certificate, from)?;
        self.reconsider_charter(turn, hash, Some(from))
    }

    /// A charter with a number that is in force or was.
    fn consider_passed(
        &mut self,
        turn: &mut Turn<'_>,
        certificate: &Certificate<Charter>,
        hash: CharterHash,
        said: bool,
    ) -> Result<Vec<String>, Refusal> {
        let number = certificate.unverified().number;
        let ours = self.constitution.ancestor(number);
        if ours.is_none_or(|ours| ours == hash) {
            return Ok(Vec::new());
        }
        let vetoed = self.proposals.vetoed.get(&number);
        let vetoed = vetoed.is_some_and(|all| all.contains(&hash));
        if (said || self.is_said_in_force(number, &hash))
            && !vetoed
            && !self.is_vetoed(&hash, turn.now)
            && self.constitution.lineage_certifies(certificate)
        {
            self.stop_for_fork(turn, certificate);
        }
        Err(refused(
            "number",
            format!("charter `{}` is in force already", number.0),
        ))
    }

    /// Takes a charter into force, and tells the others.
    pub(super) fn enact(
        &mut self,
        turn: &mut Turn<'_>,
        next: Constitution,
        certificate: Certificate<Charter>,
        from: Option<&Peer>,
    ) {
        let number = next.number();
        let hash = next.hash();
        let mut rivals = self.rivals(&hash, turn.now);
        rivals.retain(|rival| self.is_said_in_force(number, &rival.unverified().hash()));
        // Those who leave are told too, so that they know.
        let listeners = self.peers.connected_nodes();
        let (was_member, gone) = (
            self.is_member(),
            self.adopt_charter(next, certificate.clone()),
        );
        for node in gone {
            self.pools.peer_rebooted(node);
            self.drop_batches_with(turn, node);
        }
        if was_member && !self.is_member() {
            turn.effects.push(Effect::Alarm(Alarm::LeftCharter(number)));
        }
        let bytes = certificate.to_bytes();
        let ticket = self.persist(turn, Record::Charter(Opaque(bytes.clone())));
        self.proposals.enacted = ticket;
        for node in listeners {
            let flood = Frame::Adopted(bytes.clone());
            self.after(ticket, Continuation::Send(Peer::Node(node), flood));
        }
        for gateway in self.pools.gateways() {
            let to = Peer::Gateway(gateway);
            if from != Some(&to) {
                self.after(
                    ticket,
                    Continuation::Send(to, Frame::Charter(bytes.clone())),
                );
            }
        }
        // Last, so that the charter is on its way to those whose links this closes.
        self.after(ticket, Continuation::FollowPeers);
        for rival in rivals {
            self.stop_for_fork(turn, &rival);
        }
    }

    /// Whether the charter in force is in the journal for good: a node names it to nobody before.
    pub(super) fn charter_is_durable(&self) -> bool {
        self.last_durable >= self.proposals.enacted
    }

    /// Notes what another node has in force, for the day when this node has to follow.
    pub(super) fn vouched_by(&mut self, node: NodeIndex, number: CharterNumber, hash: CharterHash) {
        let known = self.roster.nodes.contains_key(&node) && node != self.me();
        if !known || number <= self.constitution.number() {
            return;
        }
        let of_node = self.proposals.vouched.entry(node).or_default();
        of_node.insert(number, hash);
        if of_node.len() > VOUCHED_AHEAD_MAX {
            of_node.pop_last();
        }
    }

    /// Whether any other node says, on its own link or in its heartbeat, that it has this charter in
    /// force.
    fn is_said_in_force(&self, number: CharterNumber, hash: &CharterHash) -> bool {
        let mut all = self.proposals.vouched.values();
        self.peers.names_charter(hash) || all.any(|said| said.get(&number) == Some(hash))
    }

    /// Whether so many other nodes have a charter in force that one of them is honest.
    pub(super) fn is_vouched_for(&self, number: CharterNumber, hash: &CharterHash) -> bool {
        let all = self.proposals.vouched.iter();
        let known = all.filter(|(node, _)| self.roster.nodes.contains_key(node));
        let same = known.filter(|(_, said)| said.get(&number) == Some(hash));
        same.count() >= usize::from(self.constitution.charter().threshold)
    }

    /// The constitution of a charter that follows the one in force by its signatures.
    pub(super) fn follows(
        &self,
        certificate: &Certificate<Charter>,
        now: TimeMs,
    ) -> Option<Constitution> {
        verify_successor(&self.constitution, certificate, now).ok()
    }

    /// Judges a proposal; with the constitution that it would be, when nothing is missing.
    pub(super) fn weigh(
        &self,
        proposal: &Proposal,
        now: TimeMs,
    ) -> Result<(Standing, Option<Constitution>), Refusal> {
        let approvals = proposal.approvals();
        let evidence = ProposalEvidence {
            first_seen: proposal.first_seen,
            now,
            notices: &self.notices,
            approvals: &approvals,
        };
        let mut standing = Standing {
            // What approvals sign does not change, and a veto does not make it unknown.
            intent_hash: proposal.intent_hash(),
            ..Standing::default()
        };
        let state = self
            .constitution
            .consider_proposal(&proposal.certificate, evidence);
        match state {
            ProposalState::Ready(next) => Ok((standing, Some(*next))),
            ProposalState::Pending(pending) => {
                standing.wake = pending.until();
                standing.unmet = pending.unmet.iter().map(ToString::to_string).collect();
                standing.intent_hash = Some(pending.intent_hash);
                Ok((standing, None))
            }
            ProposalState::Refused(ProposalFault::Vetoed(by)) => {
                standing.vetoed_by = by.into_iter().collect();
                Ok((standing, None))
            }
            ProposalState::Refused(fault) => Err(refused("charter", fault.to_string())),
        }
    }

    /// Whether somebody who may has vetoed a charter.
    pub(super) fn is_vetoed(&self, hash: &CharterHash, now: TimeMs) -> bool {
        let open = self.proposals.named(hash);
        if let Some(Ok((standing, _))) = open.map(|proposal| self.weigh(proposal, now)) {
            return !standing.vetoed_by.is_empty();
        }
        // Of a charter that is no proposal nobody knows the rules any more, which may let others
        // veto too.
        let (subject, anyhow) = (Subject::Charter(*hash), Obligations::default());
        let by = self
            .constitution
            .vetoed_by(&self.notices, &subject, &anyhow);
        !by.is_empty()
    }

    /// The proposals that enough governors have signed and nobody has vetoed, but this one.
    pub(super) fn rivals(&self, hash: &CharterHash, now: TimeMs) -> Vec<Certificate<Charter>> {
        let others = self.proposals.open().filter(|(h, _)| *h != hash);
        let alive = others.filter(|(h, _)| !self.is_vetoed(h, now));
        let certified = alive.filter(|(_, p)| self.is_certified_by_us(&p.certificate, now));
        certified.map(|(_, p)| p.certificate.clone()).collect()
    }

    /// Stops for good, and shows the others why.
    fn stop_for_fork(&mut self, turn: &mut Turn<'_>, certificate: &Certificate<Charter>) {
        let number = certificate.unverified().number;
        if std::mem::replace(&mut self.charter_forked, true) {
            return;
        }
        turn.effects.push(Effect::Alarm(Alarm::CharterFork(number)));
        let bytes = certificate.to_bytes();
        self.persist(turn, Record::CharterFork(Opaque(bytes.clone())));
        self.send_to_nodes(turn, &Frame::Charter(bytes));
    }

    /// Sends every charter after `number`, so that the recipient can verify each from the last.
    pub(super) fn send_charters_after(
        &mut self,
        turn: &mut Turn<'_>,
        to: &Peer,
        number: CharterNumber,
    ) {
        let known = usize::try_from(number.0).unwrap_or(usize::MAX);
        let enacted = self.proposals.enacted;
        let all: Vec<Vec<u8>> = self.charters.iter().skip(known).cloned().collect();
        for bytes in all {
            let frame = match to {
                Peer::Node(_) => Frame::Adopted(bytes),
                _ => Frame::Charter(bytes),
            };
            if self.charter_is_durable() {
                self.send(turn, to.clone(), frame);
            } else {
                self.after(enacted, Continuation::Send(to.clone(), frame));
            }
        }
    }

    /// Whether enough have signed a charter that would follow the one in force.
    pub(super) fn is_certified_by_us(
        &self,
        certificate: &Certificate<Charter>,
        now: TimeMs,
    ) -> bool {
        self.follows(certificate, now).is_some()
    }

    /// Takes a verified charter into force, and returns the nodes whose identity it no longer has.
    pub(super) fn adopt_charter(
        &mut self,
        next: Constitution,
        certificate: Certificate<Charter>,
    ) -> Vec<NodeIndex> {
        // A ceremony's record names the charter that it began under.
        self.drop_all_ceremonies();
        let roster = Arc::new(roster_of(&next, &self.roster));
        let before = self.roster.nodes.iter();
        let gone: Vec<NodeIndex> = before
            .filter(|(index, credential)| roster.nodes.get(index) != Some(credential))
            .map(|(index, _)| *index)
            .collect();
        for node in &gone {
            self.peers.forget(*node);
            self.strikes.forget(*node);
            self.freeze_book.forget(*node);
            self.proposals.vouched.remove(node);
        }
        self.rosters.insert(next.number(), Arc::clone(&roster));
        self.roster = roster;
        self.close_proposals(&next);
        self.freeze_book.learn(next.charter());
        self.constitution = next;
        self.sets.charter_changed();
        self.charters.push(certificate.to_bytes());
        self.charter = certificate;
        gone
    }

    /// Ends the proposals: their number has its charter. What had been vetoed stays no rival of it.
    fn close_proposals(&mut self, next: &Constitution) {
        let (number, now) = (next.number(), self.last_time);
        let all: Vec<CharterHash> = self.proposals.open().map(|(hash, _)| *hash).collect();
        let vetoed = all.iter().filter(|hash| self.is_vetoed(hash, now));
        let vetoed: BTreeSet<CharterHash> = vetoed.copied().collect();
        // A node that has not heard of these vetoes yet would take what they are of for a rival.
        for hash in all.iter().filter(|hash| !vetoed.contains(*hash)) {
            self.forget_notice(&Subject::Charter(*hash));
        }
        if !vetoed.is_empty() {
            self.proposals.vetoed.insert(number, vetoed);
        }
        drop(self.proposals.take());
        for of_node in self.proposals.vouched.values_mut() {
            of_node.retain(|ahead, _| *ahead > number);
        }
    }

    /// Whether the charter in force names this node.
    #[must_use]
    pub fn is_member(&self) -> bool {
        self.roster.nodes.get(&self.me()) == Some(&self.identity.public())
    }

    /// Whether this node works with a peer: both are in the charter in force, and the connection is
    /// one of the identity that the charter names now.
    pub(super) fn deals_with(&self, peer: &Peer) -> bool {
        self.is_member()
            && match peer {
                Peer::Node(node) => self.peers.is_connected(*node),
                Peer::Gateway(_) | Peer::Courier(_) => true,
            }
    }

    /// The holders of a key that are still in the charter in force, each with the identity that the
    /// share was dealt to.
    pub(super) fn live_holders(&self, public: &KeyPublic) -> BTreeSet<NodeIndex> {
        let Some(dealt) = self.rosters.get(&public.charter) else {
            return BTreeSet::new();
        };
        let holders = public.public_shares.iter().map(|share| share.node);
        let same = |n: &NodeIndex| {
            let now = self.roster.nodes.get(n);
            now.is_some() && now == dealt.nodes.get(n)
        };
        holders.filter(same).collect()
    }

    /// Takes over the charters that the operator hands over at a start, as far as the journal lacks
    /// them. Nobody knows when the cluster accepted them, so that a governor's grant has ended since
    /// says nothing against them.
    pub(super) fn take_over(
        &mut self,
        charters: Vec<Certificate<Charter>>,
        effects: &mut Vec<Effect>,
    ) -> Result<(), RecoverError> {
        for certificate in charters {
            let charter = certificate.unverified();
            let number = charter.number;
            let invalid = |reason: String| RecoverError::Charter {
                number: number.0,
                reason,
            };
            if number <= self.constitution.number() {
                if self.constitution.ancestor(number) == Some(charter.hash()) {
                    continue;
                }
                return Err(invalid(
                    "another one of this number is journaled".to_owned(),
                ));
            }
            let next = verify_successor(&self.constitution, &certificate, self.last_time)
                .map_err(|e| invalid(e.to_string()))?;
            let bytes = Opaque(certificate.to_bytes());
            self.adopt_charter(next, certificate);
            self.last_ticket = Ticket(self.last_ticket.0.saturating_add(1));
            self.proposals.enacted = self.last_ticket;
            let record = Record::Charter(bytes);
            effects.push(Effect::Persist(self.last_ticket, record, Vec::new()));
        }
        Ok(())
    }
}

/// A refusal that names its place.
pub(super) fn refused(field: &str, message: impl Into<String>) -> Refusal {
    Refusal {
        field: field.to_owned(),
        message: message.into(),
    }
}

/// This node's index: the one at which the charters name its identity. They are verified later; the
/// first one that is not, ends the start.
pub(super) fn own_index(from: &Recovered) -> Result<NodeIndex, RecoverError> {
    let credential = from.identity.public();
    let journaled = from.records.iter().filter_map(|(_, record)| match record {
        Record::Charter(bytes) => Certificate::<Charter>::from_bytes(&bytes.0).ok(),
        _ => None,
    });
    let later = journaled.chain(from.charters.iter().cloned());
    let mut me = None;
    for certificate in std::iter::once(from.genesis.clone()).chain(later) {
        let charter = certificate.unverified();
        let named = charter.nodes.iter().find(|n| n.credential == credential);
        match (me, named.map(|n| n.index)) {
            (Some(before), Some(now)) if before != now => {
                let number = charter.number.0;
                return Err(RecoverError::Moved { number });
            }
            (None, Some(index)) => me = Some(index),
            _ => {}
        }
    }
    me.ok_or(RecoverError::NotNamed)
}

/// The roster that a charter names, with our own identity.
pub(super) fn roster_of(constitution: &Constitution, ours: &Roster) -> Roster {
    let nodes = constitution.charter().nodes.iter();
    Roster {
        me: ours.me,
        identity: Arc::clone(&ours.identity),
        nodes: nodes.map(|n| (n.index, n.credential.clone())).collect(),
    }
}
