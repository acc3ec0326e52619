//! Changes of keys and nodes: every node that is there is asked, and each answers for itself.
//!
//! A change does not wait for nodes that are away: a key that has to be suspended is suspended on
//! the others, which hand the request on. So the outcome is a list: the statements of those that
//! have carried it out, what the others said, and who is missing. Nothing is settled before all
//! have.

use super::event::{Effect, Misbehaviour};
use super::flight::{Asked, Flight, Said};
use super::outcome::{ChangedRequest, Failure, KeyEntry, Outcome};
use super::signing::{pending_of, why_unavailable};
use super::{Gateway, list, misbehaved};
use quoin_api::Frame;
use quoin_api::frame::{KeyStatesFrame, Reply, ReplyFrame, Unavailable};
use quoin_api::statements::{KeyStatement, NodeStatement, UnfreezeStatement};
use quoin_core::payload::KeyChange;
use quoin_core::{Class, KeyId, KeyState, NodeIndex, Payload, TimeMs};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What nodes say of keys: the newest statement of each node, with its bytes.
#[derive(Debug, Default)]
pub(super) struct Standings(BTreeMap<KeyId, BTreeMap<NodeIndex, (KeyStatement, Vec<u8>)>>);

impl Standings {
    fn keep(&mut self, from: NodeIndex, statement: KeyStatement, bytes: Vec<u8>) {
        let of_key = self.0.entry(statement.key).or_default();
        // The order of frames says nothing: an urgent reply overtakes an older listing.
        let place = |s: &KeyStatement| (s.boot.generation, s.seq, s.epoch);
        let known = of_key.get(&from);
        if known.is_none_or(|(known, _)| place(known) <= place(&statement)) {
            of_key.insert(from, (statement, bytes));
        }
    }

    /// Forgets what a node said before it started again: it may have been restored.
    pub(super) fn forget(&mut self, node: NodeIndex) {
        self.0.values_mut().for_each(|of_key| {
            of_key.remove(&node);
        });
    }

    /// The statements about a key.
    pub(super) fn of(&self, key: KeyId) -> Vec<Vec<u8>> {
        let of_key = self.0.get(&key).into_iter().flatten();
        of_key.map(|(_, (_, bytes))| bytes.clone()).collect()
    }

    /// The state that a key is served as here: active while enough of its holders may sign with it,
    /// and otherwise what most of the others say. A holder that has said nothing counts as willing.
    pub(super) fn state(&self, key: &KeyEntry) -> KeyState {
        let said = self.0.get(&key.public.key);
        let state_on = |node| said.and_then(|s| s.get(&node)).map(|(s, _)| s.state);
        // Every node has the whole of a local key, and the first one alone serves it.
        let count = match key.public.threshold {
            1 => 1,
            _ => key.public.public_shares.len(),
        };
        let holders = key.public.public_shares.iter().take(count);
        let states: Vec<KeyState> = holders
            .map(|share| state_on(share.node).unwrap_or(KeyState::Active))
            .collect();
        let count = |state: KeyState| states.iter().filter(|s| **s == state).count();
        if count(KeyState::Active) >= usize::from(key.public.threshold) {
            return KeyState::Active;
        }
        let others = states.iter().filter(|s| **s != KeyState::Active);
        let most = others.max_by_key(|s| (count(**s), **s));
        most.copied().unwrap_or(KeyState::Active)
    }
}

impl Gateway {
    /// Whether the key is out of use, as its nodes say.
    pub(super) fn not_in_use(&self, key: &KeyEntry) -> Option<Outcome> {
        let state = self.standings.state(key);
        if state == KeyState::Active {
            return None;
        }
        let (name, state) = (&key.public.name, quoin_policy::state_name(state));
        let message = format!("the key `{name}` is {state}, and only an active key signs");
        Some(Outcome::Failed(Failure::caller("stamp.key", message)))
    }

    /// The keys that are in use, as their nodes say.
    pub(super) fn keys_in_use(&self) -> impl Iterator<Item = &Arc<KeyEntry>> {
        let active = |k: &&Arc<KeyEntry>| self.standings.state(k) == KeyState::Active;
        self.keys.values().filter(active)
    }

    /// Takes what a node says of its keys.
    pub(super) fn on_key_states(
        &mut self,
        from: NodeIndex,
        frame: KeyStatesFrame,
        effects: &mut Vec<Effect>,
    ) {
        for bytes in frame.statements {
            let statement = match self.statement_of::<KeyStatement>(from, &bytes.0) {
                Ok(statement) => statement,
                Err(how) => return misbehaved(from, how, effects),
            };
            let ours = statement.cluster == self.charters.view().cluster;
            if !ours || statement.boot.node != from {
                return misbehaved(from, Misbehaviour::WrongSubject, effects);
            }
            self.note_state(from, statement, bytes.0);
        }
    }

    fn note_state(&mut self, from: NodeIndex, statement: KeyStatement, bytes: Vec<u8>) {
        // Whose certificate is not known here is nothing to keep a place for.
        let key = statement.key;
        let Some(entry) = self.keys.get(&key).cloned() else {
            return;
        };
        self.standings.keep(from, statement, bytes);
        if self.standings.state(&entry) != KeyState::Active {
            self.leases.drop_key(key);
        }
    }

    /// Asks every node that is there to carry out a change.
    pub(super) fn start_change(
        &mut self,
        now: TimeMs,
        flight: &mut Flight,
        effects: &mut Vec<Effect>,
    ) -> Option<Outcome> {
        let up: Vec<NodeIndex> = self.nodes.up().collect();
        if up.is_empty() {
            let down: Vec<NodeIndex> = self.nodes.down().collect();
            let message = "no node is connected";
            return Some(Outcome::Failed(Failure::peer("nodes", message, down)));
        }
        let everyone = Asked::Everyone(up.into_iter().collect());
        self.send(now, flight, everyone, effects);
        None
    }

    /// A node's reply to a change.
    pub(super) fn on_change_reply(
        &mut self,
        from: NodeIndex,
        flight: &mut Flight,
        frame: ReplyFrame,
        effects: &mut Vec<Effect>,
    ) -> Option<Outcome> {
        let attempt = flight.attempt()?;
        if attempt.number != frame.attempt || !attempt.silent().contains(&from) {
            return None;
        }
        let said = match frame.reply {
            Reply::ChangeDone(bytes) => match self.check_change(from, flight, &bytes) {
                Ok(()) => Said::Done(bytes),
                Err(how) => {
                    misbehaved(from, how, effects);
                    let message = "answered with another statement than was asked for";
                    Said::Failed(Failure::peer("statement", message, vec![from]))
                }
            },
            Reply::Denied(bytes) => match self.denial_of(from, flight, bytes) {
                Ok(refused) => Said::Refused(refused),
                Err(how) => {
                    misbehaved(from, how, effects);
                    let message = "answered with a forged denial";
                    Said::Failed(Failure::peer("denial", message, vec![from]))
                }
            },
            Reply::Pending(pending) => {
                flight.attempt_mut()?.pending.insert(from, pending);
                return self.change_heard(flight);
            }
            Reply::Conflict(hash) => return Some(Outcome::Conflict(hash)),
            Reply::Rejected(refusal) => Said::Failed(Failure {
                class: Class::Caller,
                field: refusal.field,
                message: refusal.message,
                nodes: vec![from],
            }),
            Reply::Unavailable(why) => {
                if why == Unavailable::CharterBehind {
                    let charter = Frame::Charter(self.charters.bytes().to_vec());
                    effects.push(Effect::Send(from, charter));
                }
                Said::Failed(Failure::peer("nodes", why_unavailable(why), vec![from]))
            }
            // Whatever else there is answers other requests.
            _ => return None,
        };
        flight.attempt_mut()?.said.insert(from, said);
        self.change_heard(flight)
    }

    /// Checks that a statement is `from`'s own and says what was asked for.
    fn check_change(
        &mut self,
        from: NodeIndex,
        flight: &Flight,
        bytes: &[u8],
    ) -> Result<(), Misbehaviour> {
        let cluster = self.charters.view().cluster;
        let request = flight.ask.id;
        match &flight.ask.content {
            Payload::ChangeKey(wish) => {
                let said: KeyStatement = self.statement_of(from, bytes)?;
                let ours = (said.cluster, said.boot.node) == (cluster, from)
                    && (said.key, said.request) == (wish.key, Some(request))
                    && Some(said.state) == state_of(&wish.change);
                if !ours {
                    return Err(Misbehaviour::WrongSubject);
                }
                self.note_state(from, said, bytes.to_vec());
                Ok(())
            }
            Payload::ChangeNode(wish) => {
                let said: NodeStatement = self.statement_of(from, bytes)?;
                let ours = (said.cluster, said.boot.node) == (cluster, from)
                    && (said.node, said.change) == (wish.node, wish.change)
                    && said.request == request;
                ours.then_some(()).ok_or(Misbehaviour::WrongSubject)
            }
            Payload::Unfreeze(wish) => {
                let said: UnfreezeStatement = self.statement_of(from, bytes)?;
                let ours = (said.cluster, said.boot.node) == (cluster, from)
                    && (&said.lifts, &said.suspends) == (&wish.lifts, &wish.suspends)
                    && said.request == request;
                ours.then_some(()).ok_or(Misbehaviour::WrongSubject)
            }
            _ => Err(Misbehaviour::WrongSubject),
        }
    }

    /// A node is gone that a change waits for.
    pub(super) fn change_abandoned(&self, node: NodeIndex, flight: &mut Flight) -> Option<Outcome> {
        if flight.attempt()?.silent().contains(&node) {
            let gone = Failure::peer("nodes", "went away before it answered", vec![node]);
            let attempt = flight.attempt_mut()?;
            attempt.said.insert(node, Said::Failed(gone));
        }
        self.change_heard(flight)
    }

    /// Ends a change once everyone who was asked has said something.
    fn change_heard(&self, flight: &Flight) -> Option<Outcome> {
        if flight.attempt()?.silent().is_empty() {
            return Some(self.change_outcome(flight));
        }
        None
    }

    /// What came of a change, by now.
    pub(super) fn change_outcome(&self, flight: &Flight) -> Outcome {
        if let Some(pending) = pending_of(flight) {
            return pending;
        }
        let Some(attempt) = flight.attempt() else {
            return Outcome::InProgress;
        };
        let (mut statements, mut failed, mut refused) = (Vec::new(), Vec::new(), None);
        for (node, said) in &attempt.said {
            match said {
                Said::Done(bytes) => statements.push((*node, bytes.clone())),
                Said::Failed(failure) => failed.push((*node, failure.clone())),
                Said::Refused(refusal) => {
                    let failure = Failure {
                        class: Class::Refused,
                        field: "policy".to_owned(),
                        message: refusal.message.clone(),
                        nodes: vec![*node],
                    };
                    failed.push((*node, failure));
                    refused.get_or_insert_with(|| refusal.clone());
                }
            }
        }
        let asked = attempt.members();
        let mut missing = attempt.silent();
        missing.extend(self.nodes.all().filter(|n| !asked.contains(n)));
        missing.sort_unstable();
        match (statements.is_empty(), refused) {
            (false, _) => Outcome::Changed(Box::new(ChangedRequest {
                request_id: flight.ask.id,
                statements,
                failed,
                missing,
            })),
            (true, Some(refused)) => Outcome::Refused(refused),
            (true, None) => Outcome::Failed(nothing_done(&failed, missing)),
        }
    }
}

/// The state that a key has after a change.
const fn state_of(change: &KeyChange) -> Option<KeyState> {
    match change {
        KeyChange::Refresh | KeyChange::Reshare { .. } => None,
        KeyChange::Suspend => Some(KeyState::Suspended),
        KeyChange::Resume => Some(KeyState::Active),
        KeyChange::Retire => Some(KeyState::Deactivated),
        KeyChange::Compromise => Some(KeyState::Compromised),
        KeyChange::Destroy => Some(KeyState::Destroyed),
    }
}

/// No node has carried the change out. What one of them has against the request is told first: a
/// caller can do something about that.
fn nothing_done(failed: &[(NodeIndex, Failure)], missing: Vec<NodeIndex>) -> Failure {
    let callers = failed.iter().find(|(_, f)| f.class == Class::Caller);
    if let Some((_, failure)) = callers {
        return failure.clone();
    }
    let mut texts: Vec<String> = failed
        .iter()
        .map(|(node, failure)| format!("node {node} {}", failure.message))
        .collect();
    if !missing.is_empty() {
        texts.push(format!("nodes {} did not answer", list(&missing)));
    }
    let mut nodes: Vec<NodeIndex> = failed.iter().map(|(node, _)| *node).collect();
    nodes.extend(missing);
    Failure::peer("nodes", texts.join("; "), nodes)
}
