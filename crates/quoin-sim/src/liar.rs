//! Nodes in an attacker's hands: they hold their real shares and identities, and lie.
//!
//! A malicious node runs the honest core, so that it gets as deep into every protocol as an
//! attacker would, and its shell alters what the core sends. Whatever it could sign by itself it
//! is taken to have signed: see [`crate::checks`]. It keeps freezes and vetoes from the others, says
//! that it has lifted what nobody has, speaks for charters that it does not have, and reports nothing
//! of what it has co-signed.

use crate::faults::below;
use crate::network::Place;
use crate::setup::Cluster;
use crate::world::World;
use quoin_api::Frame;
use quoin_api::epochs::{CeremonyAbandoned, EpochHeld};
use quoin_api::frame::{
    FreezesFrame, HeldFrame, Opaque, PreparedFrame, Reply, ReplyFrame, SetAcksFrame,
};
use quoin_api::statements::{Answer, Head, Heartbeat};
use quoin_core::cbor::Version;
use quoin_core::{
    BatchHash, Boot, Certificate, Generation, HeadHash, Lane, NodeIndex, PresignatureId, Signed,
    SigningIdentity, TimeMs,
};
use quoin_policy::{Charter, SetAck};
use rand_core::RngCore;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Who lies.
pub(crate) struct Liars {
    pub(crate) nodes: BTreeSet<NodeIndex>,
}

impl Liars {
    pub(crate) fn draw(count: u8, cluster: &Cluster, rng: &mut dyn RngCore) -> Self {
        let [first, _] = &cluster.members;
        let all: Vec<NodeIndex> = first.iter().copied().collect();
        let first = below(rng, all.len() as u64) as usize;
        let chosen = all.iter().cycle().skip(first).take(usize::from(count));
        Self {
            nodes: chosen.copied().collect(),
        }
    }
}

impl World {
    /// What a malicious node sends in place of `frame`.
    pub(crate) fn lie(&mut self, node: NodeIndex, to: Place, frame: Frame) -> Vec<(Place, Frame)> {
        let Some(identity) = self.cluster.nodes.get(&node).map(Arc::clone) else {
            return Vec::new();
        };
        self.counts.lies += 1;
        let mut sent = Vec::new();
        match frame {
            Frame::Reply(reply) => {
                let reply = self.false_reply(node, &identity, reply);
                sent.extend(reply.map(|r| (to, Frame::Reply(r))));
            }
            Frame::Heartbeat(bytes) => {
                sent.push((to, self.false_beat(&identity, bytes)));
            }
            Frame::Session(mut session) => {
                if below(&mut self.rng, 6) == 0 {
                    let place = below(&mut self.rng, session.message.len() as u64) as usize;
                    if let Some(byte) = session.message.get_mut(place) {
                        *byte ^= 1;
                    }
                }
                sent.push((to, Frame::Session(session)));
            }
            Frame::Prepared(prepared) => {
                let said = self.false_prepared(node, &identity, prepared);
                sent.extend(said.into_iter().map(|frame| (to, frame)));
            }
            Frame::LeaseGrant(mut grant) if below(&mut self.rng, 3) == 0 => {
                grant.ids = vec![PresignatureId {
                    batch: BatchHash([5; 32]),
                    index: 1,
                }];
                sent.push((to, Frame::LeaseGrant(grant)));
            }
            // It keeps to itself what stops something, mostly.
            Frame::Freeze(_) | Frame::Veto(_) | Frame::Freezes(_)
                if below(&mut self.rng, 3) > 0 => {}
            Frame::SetAcks(acks) => sent.push((to, self.false_acks(node, &identity, acks))),
            other => sent.push((to, other)),
        }
        if below(&mut self.rng, 6) == 0 {
            let whom = self.some_node().map(Place::Node);
            let extra = self.unasked(node, &identity);
            sent.extend(whom.zip(extra));
        }
        sent
    }

    /// A wrong partial signature, a denial of what was permitted, garbage, silence, or the truth.
    fn false_reply(
        &mut self,
        node: NodeIndex,
        identity: &SigningIdentity,
        mut reply: ReplyFrame,
    ) -> Option<ReplyFrame> {
        let Reply::Answer(bytes) = &reply.reply else {
            return (below(&mut self.rng, 8) > 0).then_some(reply);
        };
        match below(&mut self.rng, 6) {
            0 => {
                let signed = Signed::<Answer>::from_bytes(bytes).ok()?;
                let mut answer = signed.unverified().clone();
                if let Some(last) = answer.partial.last_mut() {
                    *last ^= 1;
                }
                reply.reply = Reply::Answer(Signed::sign(answer, identity).to_bytes());
            }
            1 => {
                let Some(Frame::Tombstone(denial)) = self.tombstone_by(node, Some(identity)) else {
                    return None;
                };
                reply.reply = Reply::Denied(denial);
            }
            2 => reply.reply = Reply::Answer(vec![0; 40]),
            3 => reply.reply = Reply::AlreadySigned(vec![1; 40]),
            4 => return None,
            _ => {}
        }
        Some(reply)
    }

    /// Of a record that it has endorsed: that it holds the epoch already, that it never will, or
    /// nothing at all.
    fn false_prepared(
        &mut self,
        node: NodeIndex,
        identity: &SigningIdentity,
        prepared: PreparedFrame,
    ) -> Vec<Frame> {
        let (key, epoch, record) = (prepared.key, prepared.epoch, prepared.record);
        let (version, cluster) = (Version, self.cluster.cluster);
        let boot = Boot {
            node,
            lane: Lane(0),
            generation: Generation(1),
        };
        let honest = Frame::Prepared(prepared);
        match below(&mut self.rng, 12) {
            0 => Vec::new(),
            1 => {
                let statement = CeremonyAbandoned {
                    version,
                    cluster,
                    key,
                    epoch,
                    boot,
                    record,
                };
                let oath = Signed::sign(statement, identity).to_bytes();
                vec![Frame::CeremonyAbandoned(oath), honest]
            }
            2 => {
                let statement = EpochHeld {
                    version,
                    cluster,
                    key,
                    epoch,
                    boot,
                    record,
                };
                let held = Frame::Held(HeldFrame {
                    key,
                    epoch,
                    statements: vec![Opaque(Signed::sign(statement, identity).to_bytes())],
                    wants_reply: true,
                });
                vec![honest, held]
            }
            _ => vec![honest],
        }
    }

    /// A heartbeat with another time, journal or charter than the node has.
    fn false_beat(&mut self, identity: &SigningIdentity, bytes: Vec<u8>) -> Frame {
        let Ok(beat) = Signed::<Heartbeat>::from_bytes(&bytes) else {
            return Frame::Heartbeat(bytes);
        };
        let mut beat = beat.unverified().clone();
        match below(&mut self.rng, 8) {
            4 => beat.freezes = [9; 32],
            // That it knows the same as somebody else, or has a charter that nobody has yet.
            5 | 6 => {
                let other = self.some_node().and_then(|n| self.checks.freezes_of(n));
                beat.freezes = other.unwrap_or(beat.freezes);
            }
            7 => {
                let next = self.some_charter();
                beat.charter = next.unverified().number;
                beat.charter_hash = next.unverified().hash();
            }
            0 => beat.at = TimeMs(beat.at.0 + LIE_MS_MAX),
            1 => beat.at = TimeMs(beat.at.0 - LIE_MS_MAX),
            2 => {
                beat.head = Head {
                    seq: beat.head.seq + below(&mut self.rng, 100),
                    hash: HeadHash([8; 32]),
                }
            }
            _ => beat.charter_hash = quoin_core::CharterHash([8; 32]),
        }
        Frame::Heartbeat(Signed::sign(beat, identity).to_bytes())
    }

    /// Forged statements of others, statements about others' requests, and old frames.
    fn unasked(&mut self, node: NodeIndex, identity: &SigningIdentity) -> Option<Frame> {
        match below(&mut self.rng, 6) {
            4 => Some(Frame::Freezes(FreezesFrame {
                freezes: Vec::new(),
                lifts: Vec::new(),
                digest: [9; 32],
                lifted: self.errands.freezes.clone(),
                suspended: vec![self.watcher_id.clone()],
            })),
            5 if self.amended.0 || self.errands.proposed => {
                Some(Frame::Adopted(self.some_charter().to_bytes()))
            }
            0 => self.false_finished(),
            1 => self.tombstone_by(node, Some(identity)),
            2 => {
                let Frame::Heartbeat(bytes) = self.some_kept()? else {
                    return None;
                };
                let mut beat = Signed::<Heartbeat>::from_bytes(&bytes)
                    .ok()?
                    .unverified()
                    .clone();
                beat.counter += 1_000;
                beat.boot.generation.0 += 10;
                Some(Frame::Heartbeat(Signed::sign(beat, identity).to_bytes()))
            }
            _ => self.some_kept(),
        }
    }
}

impl World {
    /// The charter that may follow the first one in this run.
    fn some_charter(&self) -> &Certificate<Charter> {
        match self.errands.rival {
            true => &self.cluster.rival,
            false => &self.cluster.amendment,
        }
    }

    /// That it has co-signed nothing that a sticky budget counts.
    fn false_acks(
        &mut self,
        node: NodeIndex,
        identity: &SigningIdentity,
        mut acks: SetAcksFrame,
    ) -> Frame {
        for bytes in &mut acks.acks {
            let Ok(ack) = Signed::<SetAck>::from_bytes(&bytes.0) else {
                continue;
            };
            let mut ack = ack.unverified().clone();
            if ack.boot.node == node {
                ack.spends.clear();
                bytes.0 = Signed::sign(ack, identity).to_bytes();
            }
        }
        Frame::SetAcks(acks)
    }
}

/// How far a malicious node's heartbeats are off: an hour.
const LIE_MS_MAX: u64 = 3_600_000;
