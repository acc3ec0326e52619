//! A copy of a running node's memory, for the defect that clones one.
//!
//! Cores cannot be copied, so the copy is a second core that starts from the same disk and hears
//! the same events. Once the gateway asks the node to sign, the copy is asked to sign something
//! else with the same presignature.

use crate::violation::Violation;
use crate::workload::{Payee, What, Work};
use crate::world::World;
use quoin_api::Frame;
use quoin_api::frame::{Reply, RequestFrame};
use quoin_api::statements::Answer;
use quoin_core::{NodeIndex, Signed, TimeMs};
use quoin_node::core::{Effect, Event, JobId, JobResult, Node, Peer};
use std::collections::BTreeMap;

/// The copy.
pub(crate) struct Twin {
    core: Node,
    results: BTreeMap<JobId, JobResult>,
}

impl Twin {
    pub(crate) const fn new(core: Node) -> Self {
        Self {
            core,
            results: BTreeMap::new(),
        }
    }

    fn copy_of(&mut self, event: &Event) -> Option<Event> {
        Some(match event {
            Event::Connected(peer) => Event::Connected(peer.clone()),
            Event::Disconnected(peer) => Event::Disconnected(peer.clone()),
            Event::Frame(peer, frame) => Event::Frame(peer.clone(), frame.clone()),
            Event::Durable(ticket, head) => Event::Durable(*ticket, *head),
            Event::StorageFailed => Event::StorageFailed,
            Event::BackupWritten(of, outcome) => Event::BackupWritten(*of, outcome.clone()),
            Event::Computed(id, _) => Event::Computed(*id, self.results.remove(id)?),
            Event::Tick => Event::Tick,
        })
    }
}

impl World {
    /// Lets the copy of a node, when it has one, hear what the node hears.
    pub(crate) fn through_twin(&mut self, node: NodeIndex, event: Event) -> Option<Event> {
        let (life, head) = self.nodes.get(&node).map(|n| (n.life, n.disk.head()))?;
        let time = self.now;
        let Some(mut twin) = self.nodes.get_mut(&node)?.twin.take() else {
            return Some(event);
        };
        if let Event::Frame(peer @ Peer::Gateway(_), Frame::Request(request)) = &event
            && let Some(other) = self.other_work(request)
        {
            let frame = RequestFrame {
                stamp: other.stamp,
                payload: other.payload_bytes,
                ..request.clone()
            };
            let asked = Event::Frame(peer.clone(), Frame::Request(frame));
            self.ask_twin(node, twin, asked, head);
            return Some(event);
        }
        let mut effects = Vec::new();
        if let Some(copy) = twin.copy_of(&event) {
            twin.core.handle(time, copy, &mut effects);
        }
        for effect in effects {
            if let Effect::Compute(id, job) = effect {
                let result = job.run(&mut self.job_rng(node, life, id));
                twin.results.insert(id, result);
            }
        }
        self.nodes.get_mut(&node)?.twin = Some(twin);
        Some(event)
    }

    /// Another payment than the request's, that the policy permits.
    fn other_work(&self, request: &RequestFrame) -> Option<Work> {
        request.signing.as_ref()?;
        let friendly = |w: &&Work| {
            let pays = matches!(&w.what, What::Pay { to: Payee::Friend, slot, .. }
                if slot.0 == self.cluster.key.key);
            pays && w.floor == 0 && w.stamp != request.stamp
        };
        self.work.iter().rev().find(friendly).cloned()
    }

    /// The copy judges, writes to a disk of its own, and answers.
    fn ask_twin(
        &mut self,
        node: NodeIndex,
        mut twin: Twin,
        asked: Event,
        head: quoin_api::statements::Head,
    ) {
        let time: TimeMs = self.now;
        let mut effects = Vec::new();
        twin.core.handle(time, asked, &mut effects);
        let tickets: Vec<_> = effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::Persist(ticket, record, _) => {
                    self.checks.on_durable(node, self.now, record);
                    Some(*ticket)
                }
                _ => None,
            })
            .collect();
        let mut answers = Vec::new();
        for ticket in tickets {
            let durable = Event::Durable(ticket, head);
            twin.core.handle(time, durable, &mut answers);
        }
        for effect in answers {
            let Effect::Send(_, Frame::Reply(reply)) = effect else {
                continue;
            };
            let Reply::Answer(bytes) = &reply.reply else {
                continue;
            };
            self.note(&format!("the copy of node {node} answers"), bytes);
            match Signed::<Answer>::from_bytes(bytes) {
                Ok(answer) => self.checks.on_answer(self.now, answer.unverified()),
                Err(e) => {
                    let why = Violation::NotRecovered(node, e.to_string());
                    self.checks.violations.push(why);
                }
            }
        }
    }
}
