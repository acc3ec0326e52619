//! Charters: accepted from whoever carries them, because of their signatures and their number.
//!
//! A node signs under one charter hash for each number, durably. Two certified charters with one
//! number stop it with an alarm.
//!
//! A charter may change the nodes. Who is new in it is dealt with from then on; who is no longer in
//! it takes part in nothing, here or there. Keys stay with those who hold their shares until they
//! are reshared, and their records stay certified by the nodes of the charter that they name.

use super::record::Record;
use super::{Alarm, Continuation, Effect, Node, Peer, RecoverError, Recovered, Ticket, Turn};
use quoin_api::Frame;
use quoin_api::frame::{CharterReply, Opaque, Refusal};
use quoin_core::{Certificate, CharterNumber, NodeIndex};
use quoin_policy::{Charter, Constitution, verify_successor};
use quoin_protocol::Roster;
use quoin_protocol::combine::KeyPublic;
use std::collections::BTreeSet;
use std::sync::Arc;

impl Node {
    pub(super) fn on_charter(&mut self, turn: &mut Turn<'_>, from: &Peer, bytes: &[u8]) {
        let refused = match Certificate::<Charter>::from_bytes(bytes) {
            Ok(certificate) => self.consider_charter(turn, certificate, from).err(),
            Err(e) => Some(("charter", e.to_string())),
        };
        if let Peer::Gateway(_) = from {
            let refused = refused.map(|(field, message)| Refusal {
                field: field.to_owned(),
                message,
            });
            let reply = Frame::CharterReply(CharterReply {
                node: self.me(),
                number: self.constitution.number(),
                refused,
            });
            // The reply says what is in force, so it waits until that is durable.
            self.send_after_all(turn, from.clone(), reply);
        }
    }

    fn consider_charter(
        &mut self,
        turn: &mut Turn<'_>,
        certificate: Certificate<Charter>,
        from: &Peer,
    ) -> Result<(), (&'static str, String)> {
        let charter = certificate.unverified();
        let (number, hash) = (charter.number, charter.hash());
        if charter.cluster_id() != self.cluster {
            return Err(("cluster", "the charter is of another cluster".to_owned()));
        }
        if number <= self.constitution.number() {
            let ours = self.constitution.ancestor(number);
            if ours.is_none_or(|ours| ours == hash) {
                return Ok(());
            }
            // A different charter with a number that we passed: a fork if it is certified, which
            // only its predecessor's governors can tell; those of today are the best we have.
            if self.is_certified_by_us(&certificate, turn.now) {
                self.stop_for_fork(turn, &certificate);
            }
            return Err((
                "number",
                format!("charter `{}` is in force already", number.0),
            ));
        }
        let next = verify_successor(&self.constitution, &certificate, turn.now)
            .map_err(|e| ("charter", e.to_string()))?;
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
        for node in listeners {
            if *from != Peer::Node(node) {
                let flood = Frame::Charter(bytes.clone());
                self.after(ticket, Continuation::Send(Peer::Node(node), flood));
            }
        }
        for gateway in self.pools.gateways() {
            if *from != Peer::Gateway(gateway.clone()) {
                let flood = Frame::Charter(bytes.clone());
                self.after(ticket, Continuation::Send(Peer::Gateway(gateway), flood));
            }
        }
        // Last, so that the charter is on its way to those whose links this closes.
        self.after(ticket, Continuation::FollowPeers);
        Ok(())
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
        &self,
        turn: &mut Turn<'_>,
        to: &Peer,
        number: CharterNumber,
    ) {
        let known = usize::try_from(number.0).unwrap_or(usize::MAX);
        for bytes in self.charters.iter().skip(known) {
            self.send(turn, to.clone(), Frame::Charter(bytes.clone()));
        }
    }

    fn is_certified_by_us(
        &self,
        certificate: &Certificate<Charter>,
        now: quoin_core::TimeMs,
    ) -> bool {
        let charter = self.constitution.charter();
        let signed = charter
            .governors()
            .filter(|g| !g.is_expired(now))
            .filter(|g| g.credentials.iter().any(|c| certificate.endorsed_by(c)))
            .count();
        signed >= usize::from(charter.governor_quorum)
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
        }
        self.rosters.insert(next.number(), Arc::clone(&roster));
        self.roster = roster;
        self.constitution = next;
        self.charters.push(certificate.to_bytes());
        self.charter = certificate;
        gone
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
                Peer::Gateway(_) => true,
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
            let record = Record::Charter(bytes);
            effects.push(Effect::Persist(self.last_ticket, record, Vec::new()));
        }
        Ok(())
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
