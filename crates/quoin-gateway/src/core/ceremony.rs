//! Key ceremonies: all nodes take part, and all must hand back the same certificate.

use super::event::{Effect, Misbehaviour};
use super::flight::{Asked, Flight};
use super::outcome::{Failure, KeyEntry, Outcome};
use super::{Gateway, list, misbehaved};
use quoin_core::{NodeIndex, Payload, TimeMs};
use std::collections::BTreeSet;

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
        let Payload::CreateKey(wanted) = &flight.ask.content else {
            return self.on_misbehaviour(now, from, flight, Misbehaviour::WrongSubject, effects);
        };
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
        let as_wanted = public.name == wanted.name
            && public.scheme == wanted.scheme
            && public.purpose == wanted.purpose;
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
        let key = public.key;
        self.adopt_key(KeyEntry {
            public,
            certificate: certificate.clone(),
        });
        Some(Outcome::KeyCreated { key, certificate })
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
