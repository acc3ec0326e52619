//! Nodes coming and going, key certificates, charters, and whether the gateway is ready.

use super::ceremony::not_everyone;
use super::epochs::NotSuccessor;
use super::event::{ClientId, Effect, Metric, Misbehaviour};
use super::flight::{Asked, Flight, Stage};
use super::outcome::{Failure, KeyEntry, ListedKey, Outcome, Status, Stock};
use super::ports::{Offer, read_certificate};
use super::{Gateway, list, misbehaved};
use quoin_api::Frame;
use quoin_api::frame::{CharterReply, Hello, KeysFrame};
use quoin_api::statements::Heartbeat;
use quoin_core::{CharterNumber, Class, NodeIndex, TimeMs};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The most submitted charters that wait for nodes' replies.
const SUBMISSIONS_MAX: usize = 64;

/// A submitted charter that waits for the nodes' replies.
#[derive(Debug)]
pub(super) struct Submission {
    client: ClientId,
    number: CharterNumber,
    replies: BTreeMap<NodeIndex, CharterReply>,
    waiting: BTreeSet<NodeIndex>,
    deadline: TimeMs,
}

impl Gateway {
    pub(super) fn on_node_up(&mut self, now: TimeMs, node: NodeIndex, effects: &mut Vec<Effect>) {
        if !self.nodes.knows(node) {
            return;
        }
        let missed = self.nodes.came(node);
        self.sets.gone(node);
        effects.push(Effect::Send(node, self.hello()));
        effects.push(Effect::Send(node, Frame::CharterRequest));
        if self.nodes.should_ask_keys(now, node, 0) {
            effects.push(Effect::Send(node, Frame::KeysRequest));
        }
        effects.extend(missed.into_iter().map(|frame| Effect::Send(node, frame)));
        let waits = |f: &Flight| matches!(f.stage, Stage::AwaitingNodes);
        for id in self.flights_by_arrival(waits) {
            self.launch(now, id, effects);
        }
    }

    pub(super) fn on_node_down(&mut self, now: TimeMs, node: NodeIndex, effects: &mut Vec<Effect>) {
        self.nodes.gone(node);
        self.sets.gone(node);
        self.leases.drop_lender(node);
        self.abandon(now, node, effects);
        for submission in &mut self.submissions {
            submission.waiting.remove(&node);
        }
        self.end_submissions(now, effects);
        self.inquiries_without(node);
        self.end_inquiries(now, effects);
    }

    /// Moves every flight on that waits for `node`, which is gone or has started anew.
    fn abandon(&mut self, now: TimeMs, node: NodeIndex, effects: &mut Vec<Effect>) {
        for id in self.flights_by_arrival(|f| f.needs(node)) {
            self.move_on(now, id, effects, |gateway, flight, effects| {
                let ceremony = flight
                    .attempt()
                    .is_some_and(|a| matches!(a.asked, Asked::Everyone(_)));
                if flight.ask.is_change() {
                    return gateway.change_abandoned(node, flight);
                }
                if ceremony {
                    return Some(not_everyone(vec![node]));
                }
                gateway.replace_attempt(now, flight, &[node], effects)
            });
        }
    }

    pub(super) fn on_hello(
        &mut self,
        now: TimeMs,
        from: NodeIndex,
        hello: &Hello,
        effects: &mut Vec<Effect>,
    ) {
        if hello.cluster == self.charters.view().cluster {
            self.note_start(now, from, hello.boot, effects);
        } else {
            misbehaved(from, Misbehaviour::ForeignCluster, effects);
            self.on_node_down(now, from, effects);
        }
    }

    fn note_start(
        &mut self,
        now: TimeMs,
        node: NodeIndex,
        generation: u64,
        effects: &mut Vec<Effect>,
    ) {
        if self.nodes.started(node, generation) {
            self.leases.drop_node(node);
            self.standings.forget(node);
            self.abandon(now, node, effects);
        }
    }

    pub(super) fn on_heartbeat(
        &mut self,
        now: TimeMs,
        from: NodeIndex,
        bytes: &[u8],
        effects: &mut Vec<Effect>,
    ) {
        let beat: Heartbeat = match self.statement_of(from, bytes) {
            Ok(beat) => beat,
            Err(how) => return misbehaved(from, how, effects),
        };
        let view = self.charters.view();
        if beat.cluster != view.cluster || beat.boot.node != from {
            return misbehaved(from, Misbehaviour::WrongSubject, effects);
        }
        let ours = view.number;
        self.note_start(now, from, beat.boot.generation.0, effects);
        if beat.charter == ours || !self.nodes.should_speak_of_charter(now, from) {
            return;
        }
        let frame = if beat.charter < ours {
            Frame::Charter(self.charters.bytes().to_vec())
        } else {
            Frame::CharterRequest
        };
        effects.push(Effect::Send(from, frame));
    }

    pub(super) fn on_keys(
        &mut self,
        now: TimeMs,
        from: NodeIndex,
        keys: KeysFrame,
        effects: &mut Vec<Effect>,
    ) {
        for certificate in keys.certificates {
            let certificate = certificate.0;
            if self.keys.values().any(|k| k.certificate == certificate) {
                continue;
            }
            self.read_key(now, from, certificate, effects);
        }
        let waits = |f: &Flight| matches!(f.stage, Stage::AwaitingKey(_));
        for id in self.flights_by_arrival(waits) {
            self.launch(now, id, effects);
        }
        self.prefetch(now, effects);
    }

    /// Takes a key that a node shows, once its certificate and its place after the known one hold.
    fn read_key(
        &mut self,
        now: TimeMs,
        from: NodeIndex,
        certificate: Vec<u8>,
        effects: &mut Vec<Effect>,
    ) {
        let view = self.charters.view();
        let named = read_certificate(&certificate).map(|c| c.unverified().charter);
        if named.is_ok_and(|number| number > view.number) {
            // A charter is in force there that we lack; the keys are asked for again after it.
            self.keys_ahead = true;
            if self.nodes.should_speak_of_charter(now, from) {
                effects.push(Effect::Send(from, Frame::CharterRequest));
            }
            return;
        }
        let adopted = match self.combiner.certificate(&certificate, view) {
            Ok(public) => self.adopt_key(
                now,
                KeyEntry {
                    public,
                    certificate,
                },
            ),
            Err(_) => Err(NotSuccessor),
        };
        if adopted.is_err() {
            misbehaved(from, Misbehaviour::BadCertificate, effects);
        }
    }

    pub(super) fn known_keys(&self) -> Outcome {
        let listed = |entry: &Arc<KeyEntry>| ListedKey {
            state: self.standings.state(entry),
            statements: self.standings.of(entry.public.key),
            entry: entry.as_ref().clone(),
        };
        Outcome::Keys(self.keys.values().map(listed).collect())
    }

    pub(super) fn charter_in_force(&self) -> Outcome {
        Outcome::Charter {
            number: self.charters.view().number,
            charter: self.charters.bytes().to_vec(),
        }
    }

    /// A node's charter: adopted and flooded when it follows ours, answered when it is older.
    pub(super) fn on_charter(
        &mut self,
        now: TimeMs,
        from: NodeIndex,
        bytes: &[u8],
        effects: &mut Vec<Effect>,
    ) {
        match self.charters.offer(now, bytes) {
            Ok(Offer::Adopted) => self.adopted(now, Some(from), effects),
            Ok(Offer::Known) => {}
            Ok(Offer::Older(_)) => {
                let ours = Frame::Charter(self.charters.bytes().to_vec());
                effects.push(Effect::Send(from, ours));
            }
            Ok(Offer::Gap(_)) => {
                effects.push(Effect::Metric(Metric::CharterGap(from)));
                // Nodes answer with all that they have, oldest first.
                if self.nodes.should_speak_of_charter(now, from) {
                    effects.push(Effect::Send(from, Frame::CharterRequest));
                }
            }
            Err(_) => misbehaved(from, Misbehaviour::BadCharter, effects),
        }
    }

    fn adopted(&mut self, now: TimeMs, from: Option<NodeIndex>, effects: &mut Vec<Effect>) {
        let view = self.charters.view();
        let members: BTreeSet<NodeIndex> = view.nodes.keys().copied().collect();
        let number = CharterNumber(view.number.0.saturating_sub(1));
        let before = view.rosters.get(&number).cloned().unwrap_or_default();
        // An index may have a new identity: that is another node, with starts of its own.
        let same = |n: &NodeIndex| view.nodes.get(n).is_some_and(|c| before.get(n) == Some(c));
        let left: Vec<NodeIndex> = self.nodes.all().filter(|n| !same(n)).collect();
        for node in left {
            self.on_node_down(now, node, effects);
            self.leases.drop_node(node);
            self.standings.forget(node);
            self.sets.forget(node);
            self.nodes.forget(node);
        }
        self.nodes.follow(members.into_iter());
        self.sets.charter_changed();
        let charter = self.charters.bytes().to_vec();
        effects.push(Effect::CharterAdopted {
            number: self.charters.view().number,
            charter: charter.clone(),
        });
        let others = self.nodes.up().filter(|n| Some(*n) != from);
        effects.extend(others.map(|n| Effect::Send(n, Frame::Charter(charter.clone()))));
        if std::mem::take(&mut self.keys_ahead) {
            self.ask_keys_every(now, 0, effects);
        }
    }

    pub(super) fn on_charter_submitted(
        &mut self,
        now: TimeMs,
        client: ClientId,
        charter: Vec<u8>,
        effects: &mut Vec<Effect>,
    ) {
        let refuse = |class, message: String| {
            Outcome::Failed(Failure {
                class,
                field: "charter".to_owned(),
                message,
                nodes: Vec::new(),
            })
        };
        let in_force = self.charters.view().number;
        let follows = |number: CharterNumber| {
            number == in_force || Some(number.0) == in_force.0.checked_add(1)
        };
        // It is not taken into force here: nodes do that, each when all is met that the charter in
        // force demands, and say so.
        let number = match self.charters.number(&charter) {
            _ if self.submissions.len() >= SUBMISSIONS_MAX => Err(Outcome::Overloaded),
            Ok(number) if follows(number) => Ok(number),
            Ok(number) => Err(refuse(
                Class::Conflict,
                format!(
                    "number `{}` does not follow `{}`, which is in force",
                    number.0, in_force.0
                ),
            )),
            Err(rejection) => Err(Outcome::Failed(rejection.into())),
        };
        let number = match number {
            Ok(number) => number,
            Err(outcome) => return effects.push(Effect::Reply(client, outcome)),
        };
        let up: BTreeSet<NodeIndex> = self.nodes.up().collect();
        let sends = up
            .iter()
            .map(|n| Effect::Send(*n, Frame::Charter(charter.clone())));
        effects.extend(sends);
        self.submissions.push(Submission {
            client,
            number,
            replies: BTreeMap::new(),
            waiting: up,
            deadline: now.plus(self.config.deadline_ms),
        });
        self.end_submissions(now, effects);
    }

    pub(super) fn on_charter_reply(
        &mut self,
        from: NodeIndex,
        reply: CharterReply,
        effects: &mut Vec<Effect>,
    ) {
        if reply.node != from {
            return misbehaved(from, Misbehaviour::WrongSubject, effects);
        }
        for submission in &mut self.submissions {
            let decided = reply.refused.is_some() || !reply.pending.is_empty();
            let about_it = reply.number >= submission.number || decided;
            if about_it && submission.waiting.remove(&from) {
                submission.replies.insert(from, reply.clone());
            }
        }
        self.end_submissions(TimeMs(0), effects);
    }

    /// Replies to every submitter whose charter all connected nodes have answered, or in time.
    pub(super) fn end_submissions(&mut self, now: TimeMs, effects: &mut Vec<Effect>) {
        let all: BTreeSet<NodeIndex> = self.nodes.all().collect();
        self.submissions.retain(|submission| {
            let ended = submission.waiting.is_empty() || now >= submission.deadline;
            if ended {
                let missing = all.iter().filter(|n| !submission.replies.contains_key(n));
                effects.push(Effect::Reply(
                    submission.client,
                    Outcome::CharterSubmitted {
                        number: submission.number,
                        replies: submission.replies.values().cloned().collect(),
                        missing: missing.copied().collect(),
                    },
                ));
            }
            !ended
        });
    }

    pub(super) fn status(&self, now: TimeMs) -> Status {
        let view = self.charters.view();
        let stock = self.keys.values().map(|k| {
            let (refilled, used) = self.leases.flow_of(now, k.public.key);
            Stock {
                key: k.public.key,
                scheme: k.public.scheme,
                epoch: k.public.epoch,
                ids: self.leases.of_key(k.public.key),
                refilled,
                used,
            }
        });
        Status {
            cluster: view.cluster,
            charter_number: view.number,
            charter_hash: view.hash,
            threshold: view.threshold,
            nodes: self.nodes.all().map(|n| (n, self.nodes.is_up(n))).collect(),
            stock: stock.collect(),
            in_flight: self.flights.len(),
            pending: self.parked.len(),
            not_ready: self.not_ready(now),
        }
    }

    /// Why no signature could be made now.
    fn not_ready(&self, now: TimeMs) -> Vec<String> {
        let mut reasons = Vec::new();
        let threshold = self.charters.view().threshold;
        if self.nodes.up().count() < usize::from(threshold) {
            let down: Vec<NodeIndex> = self.nodes.down().collect();
            reasons.push(format!(
                "`{threshold}` nodes must sign, and nodes {} are not connected",
                list(&down)
            ));
        }
        let local = self.keys_in_use().any(|k| {
            let holder = k.public.public_shares.first();
            k.public.threshold == 1 && holder.is_some_and(|s| self.nodes.is_up(s.node))
        });
        let stocked = self
            .next_stocks(now)
            .iter()
            .any(|stock| self.leases.len(stock) > 0);
        if self.keys_in_use().next().is_some() && !local && !stocked {
            reasons.push("no presignature is in stock for any key".to_owned());
        }
        reasons
    }
}
