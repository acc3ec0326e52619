//! Charters: accepted from whoever carries them, because of their signatures and their number.
//!
//! A node signs under one charter hash for each number, durably. Two certified charters with one
//! number stop it with an alarm.

use super::record::Record;
use super::{Alarm, Continuation, Effect, Node, Peer, Turn};
use quoin_api::Frame;
use quoin_api::frame::{CharterReply, Opaque, Refusal};
use quoin_core::{Certificate, CharterNumber};
use quoin_policy::{Charter, Constitution, verify_successor};
use quoin_protocol::Roster;
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
        self.adopt_charter(next, certificate.clone());
        let bytes = certificate.to_bytes();
        let ticket = self.persist(turn, Record::Charter(Opaque(bytes.clone())));
        for node in self.peers.connected_nodes() {
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

    pub(super) fn adopt_charter(&mut self, next: Constitution, certificate: Certificate<Charter>) {
        // A ceremony's record names the charter that it began under.
        self.drop_all_ceremonies();
        self.roster = Arc::new(roster_of(&next, &self.roster));
        self.constitution = next;
        self.charters.push(certificate.to_bytes());
        self.charter = certificate;
    }
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
