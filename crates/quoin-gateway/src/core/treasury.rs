//! Treasury keys: the signers open first, each is shown what all have opened, then they answer.
//!
//! An opening says that its signer has bound the presignature durably to this request's digest. The
//! gateway checks each before anyone else sees it, so that a node which forges one is named; what
//! is shown is the same for all, because answers to different openings do not combine.

use super::Gateway;
use super::event::{Effect, Misbehaviour};
use super::flight::{Asked, Flight};
use super::outcome::Outcome;
use super::ports::CombineFailure;
use quoin_api::Frame;
use quoin_api::frame::{Opaque, OpeningsFrame};
use quoin_core::{NodeIndex, Purpose, TimeMs};
use quoin_protocol::combine::Opening;
use std::collections::BTreeMap;

/// What the signers of a treasury key have opened in one attempt.
#[derive(Debug, Default)]
pub struct Openings {
    opened: BTreeMap<NodeIndex, (Vec<u8>, Opening)>,
    shown: bool,
}

impl Openings {
    /// None yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            opened: BTreeMap::new(),
            shown: false,
        }
    }

    /// Whether the first round is under way, and `node` is through with it.
    #[must_use]
    pub fn has(&self, node: NodeIndex) -> bool {
        !self.shown && self.opened.contains_key(&node)
    }

    /// Whether somebody has opened, and not all are shown it.
    #[must_use]
    pub fn is_first_round(&self) -> bool {
        !self.shown && !self.opened.is_empty()
    }

    /// Whether all signers were shown what all have opened.
    #[must_use]
    pub const fn are_shown(&self) -> bool {
        self.shown
    }

    /// The openings, by signer.
    #[must_use]
    pub fn by_signer(&self) -> BTreeMap<NodeIndex, Opening> {
        let opened = self.opened.iter();
        opened.map(|(node, (_, o))| (*node, o.clone())).collect()
    }

    fn agree(&self) -> bool {
        let mut bindings = self.opened.values().map(|(_, o)| &o.binding);
        let first = bindings.next();
        bindings.all(|b| Some(b) == first)
    }
}

impl Gateway {
    /// Whether the flight's key signs in two rounds.
    pub(super) fn signs_in_two_rounds(&self, flight: &Flight) -> bool {
        let key = flight.ask.key.and_then(|key| self.keys.get(&key));
        key.is_some_and(|k| k.public.purpose == Purpose::Treasury)
    }

    pub(super) fn on_opening(
        &mut self,
        now: TimeMs,
        from: NodeIndex,
        flight: &mut Flight,
        bytes: Vec<u8>,
        effects: &mut Vec<Effect>,
    ) -> Option<Outcome> {
        match self.check_opening(from, flight, &bytes) {
            Ok(opening) => {
                let openings = &mut flight.attempt_mut()?.openings;
                openings.opened.insert(from, (bytes, opening));
                self.complete(now, flight, effects)
            }
            Err(how) => self.on_misbehaviour(now, from, flight, how, effects),
        }
    }

    /// Checks that the opening is `from`'s own, and binds exactly what it was asked for.
    fn check_opening(
        &self,
        from: NodeIndex,
        flight: &Flight,
        bytes: &[u8],
    ) -> Result<Opening, Misbehaviour> {
        let opening: Opening = self.statement_of(from, bytes)?;
        let wrong = Misbehaviour::WrongSubject;
        let attempt = flight.attempt().ok_or(wrong)?;
        let Asked::Signers(set, presignature, epoch) = &attempt.asked else {
            return Err(wrong);
        };
        let key = flight.ask.key.and_then(|key| self.entry_of(key, *epoch));
        let key = key.ok_or(wrong)?;
        let subject = flight.ask.subject();
        let asked = self.signs_in_two_rounds(flight)
            && !attempt.openings.shown
            && opening.node == from
            && opening.binding.presignature == *presignature
            && self.combiner.opens(&key.public, set, &subject, &opening);
        if asked { Ok(opening) } else { Err(wrong) }
    }

    /// The first round is over: every signer is shown the same openings, and has an attempt's time
    /// to answer.
    pub(super) fn show_openings(
        &mut self,
        now: TimeMs,
        flight: &mut Flight,
        effects: &mut Vec<Effect>,
    ) -> Option<Outcome> {
        let request_id = flight.ask.id;
        let attempt = flight.attempt_mut()?;
        let Asked::Signers(set, presignature, _) = attempt.asked.clone() else {
            return None;
        };
        if !attempt.openings.agree() {
            // Digest and tweak are right in each; that leaves the boots, of which one is wrong.
            let failure = CombineFailure {
                culprits: Vec::new(),
                message: "the signers' bindings differ".to_owned(),
            };
            return self.on_not_combined(now, flight, &failure, effects);
        }
        let opened = attempt.openings.opened.values();
        let frame = Frame::Openings(OpeningsFrame {
            attempt: attempt.number,
            request_id,
            presignature,
            openings: opened.map(|(bytes, _)| Opaque(bytes.clone())).collect(),
        });
        attempt.openings.shown = true;
        attempt.sent = now;
        for node in set.iter() {
            effects.push(Effect::Send(node, frame.clone()));
        }
        None
    }

    /// A signer says that the openings do not belong together. One node's word names nobody else,
    /// but these signers come to nothing together.
    pub(super) fn on_openings_refused(
        &mut self,
        now: TimeMs,
        from: NodeIndex,
        flight: &mut Flight,
        whose: Option<NodeIndex>,
        effects: &mut Vec<Effect>,
    ) -> Option<Outcome> {
        if !flight.attempt()?.openings.shown {
            return self.on_misbehaviour(now, from, flight, Misbehaviour::WrongSubject, effects);
        }
        let whose = whose.map_or("the openings".to_owned(), |n| {
            format!("the opening of node {n}")
        });
        let failure = CombineFailure {
            culprits: Vec::new(),
            message: format!("node {from} refuses {whose}"),
        };
        self.on_not_combined(now, flight, &failure, effects)
    }
}
