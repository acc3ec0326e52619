//! Key ceremonies: all nodes take part, and all must hand back the same certificate.

use super::event::{Effect, Misbehaviour};
use super::flight::{Asked, Flight};
use super::outcome::{Failure, KeyEntry, Outcome};
use super::{Gateway, list, misbehaved};
use quoin_core::{NodeIndex, Payload, TimeMs};
use quoin_protocol::KeyPublic;
use std::collections::BTreeSet;
use std::sync::Arc;

impl Gateway {
    pub(super) fn start_ceremony(
        &mut self,
        now: TimeMs,
        flight: &mut Flight,
        effects: &mut Vec<Effect>,
    ) -> Option<Outcome> {
        let down: Vec<NodeIndex> = self.nodes.down().collect();
        if !down.is_empty() {
            return Some(not_everyone(down));
        }
        let everyone: BTreeSet<NodeIndex> = self.nodes.all().collect();
        self.send(now, flight, Asked::Everyone(everyone), effects);
        None
    }

    pub(super) fn on_ceremony_done(
        &mut self,
        now: TimeMs,
        from: NodeIndex,
        flight: &mut Flight,
        certificate: Vec<u8>,
        effects: &mut Vec<Effect>,
    ) -> Option<Outcome> {
        if !flight.ask.is_ceremony() {
            return self.on_misbehaviour(now, from, flight, Misbehaviour::WrongSubject, effects);
        }
        let public = match self
            .combiner
            .certificate(&certificate, self.charters.view())
        {
            Ok(public) => public,
            Err(rejection) => {
                misbehaved(from, Misbehaviour::BadCertificate, effects);
                let message = format!("node {from}: {}", rejection.message);
                let failure = Failure::peer("certificate", message, vec![from]);
                return Some(Outcome::Failed(failure));
            }
        };
        let as_wanted = self.is_as_wanted(&flight.ask.content, &public);
        let attempt = flight.attempt_mut()?;
        let same = attempt.certificates.values().all(|c| *c == certificate);
        if !as_wanted || !same {
            misbehaved(from, Misbehaviour::BadCertificate, effects);
            let message = format!("node {from} certified another key");
            let failure = Failure::peer("certificate", message, vec![from]);
            return Some(Outcome::Failed(failure));
        }
        attempt.certificates.insert(from, certificate.clone());
        if !attempt.silent().is_empty() || !attempt.pending.is_empty() {
            return self.complete(now, flight, effects);
        }
        let (key, epoch) = (public.key, public.epoch);
        let entry = KeyEntry {
            public,
            certificate: certificate.clone(),
        };
        if self.adopt_key(now, entry).is_err() {
            misbehaved(from, Misbehaviour::BadCertificate, effects);
            let message = "the nodes certified a key that does not follow from the known one";
            return Some(Outcome::Failed(Failure::peer(
                "certificate",
                message,
                vec![from],
            )));
        }
        Some(match flight.ask.content {
            Payload::CreateKey(_) => Outcome::KeyCreated { key, certificate },
            _ => Outcome::KeyRenewed {
                key,
                epoch,
                certificate,
            },
        })
    }

    /// Whether a certified record is of the key that was to be made, or of a later epoch of the one
    /// whose shares were to move.
    fn is_as_wanted(&self, content: &Payload, public: &KeyPublic) -> bool {
        match content {
            Payload::CreateKey(wanted) => {
                public.name == wanted.name
                    && public.scheme == wanted.scheme
                    && public.purpose == wanted.purpose
            }
            Payload::ChangeKey(wanted) => {
                let known = self.keys.get(&wanted.key);
                let same = |k: &Arc<KeyEntry>| k.public.public_key == public.public_key;
                public.key == wanted.key && public.previous.is_some() && known.is_none_or(same)
            }
            _ => false,
        }
    }
}

/// A ceremony needs every node.
pub(super) fn not_everyone(missing: Vec<NodeIndex>) -> Outcome {
    let message = format!(
        "a key ceremony needs all nodes, and nodes {} are not connected",
        list(&missing)
    );
    Outcome::Failed(Failure::peer("nodes", message, missing))
}
