//! A gateway in an attacker's hands: what it makes of the frames that the honest core would send.
//!
//! It has every genuine request of the workload that passed by, so it can show two signers two
//! genuine requests under one presignature; and it can forge everything but signatures. Of freezes,
//! vetoes and charters it tells whom it likes, and when; and it proposes a signer set to one node and
//! another one to the next.

use crate::faults::below;
use crate::workload::Work;
use crate::world::World;
use quoin_api::Frame;
use quoin_api::frame::{FinishedFrame, LeaseRequest, Reply, RequestFrame, SetProposal};
use quoin_api::statements::{Denial, FinishedSignature};
use quoin_core::cbor::{self, Version};
use quoin_core::{
    Boot, Certificate, Generation, Lane, NodeIndex, Scheme, Signed, SignerSet, SigningIdentity,
};

/// How much an attacker keeps to play again.
const KEPT_MAX: usize = 96;

impl World {
    /// An attacker at the gateway hears what nodes tell it.
    pub(crate) fn eavesdrop(&mut self, frame: &Frame) {
        if !self.faults.hostile_gateway && self.liars.nodes.is_empty() {
            return;
        }
        match frame {
            Frame::Heartbeat(_)
            | Frame::Freeze(_)
            | Frame::Veto(_)
            | Frame::Charter(_)
            | Frame::SetAcks(_) => self.keep(frame.clone()),
            Frame::Reply(reply) => {
                if let Reply::Denied(bytes) = &reply.reply {
                    self.keep(Frame::Tombstone(bytes.clone()));
                }
            }
            _ => {}
        }
    }

    pub(crate) fn keep(&mut self, frame: Frame) {
        if self.kept.len() < KEPT_MAX {
            return self.kept.push(frame);
        }
        let place = below(&mut self.rng, KEPT_MAX as u64) as usize;
        if let Some(old) = self.kept.get_mut(place) {
            *old = frame;
        }
    }

    /// What a hostile gateway sends in place of `frame`.
    pub(crate) fn tampered(&mut self, frame: Frame) -> Vec<Frame> {
        self.counts.frames_tampered += 1;
        let mut sent = match frame {
            Frame::Request(request) => {
                self.keep(Frame::Request(request.clone()));
                vec![self.tampered_request(request)]
            }
            Frame::Finished(mut finished) if below(&mut self.rng, 4) == 0 => {
                if let Some(last) = finished.signature.last_mut() {
                    *last ^= 1;
                }
                vec![Frame::Finished(finished)]
            }
            // What stops something is shown to a node now and then, and kept for later.
            statement @ (Frame::Freeze(_) | Frame::Veto(_) | Frame::Charter(_))
                if below(&mut self.rng, 3) > 0 =>
            {
                self.keep(statement);
                Vec::new()
            }
            other => vec![other],
        };
        if below(&mut self.rng, 4) == 0 {
            sent.extend(self.made_up());
        }
        sent
    }

    /// Other content under the same presignature, the same content under another one, bytes that
    /// were flipped, approvals that were taken away; or nothing of the kind.
    fn tampered_request(&mut self, mut request: RequestFrame) -> Frame {
        let kind = below(&mut self.rng, 8);
        let other = self.some_work();
        match kind {
            0 => {
                let place = below(&mut self.rng, request.payload.len() as u64) as usize;
                if let Some(byte) = request.payload.get_mut(place) {
                    *byte ^= 1;
                }
            }
            // The split view: this signer gets another genuine request than its peers do.
            1 | 2 => {
                if let Some(other) = other {
                    request.stamp = other.stamp;
                    request.payload = other.payload_bytes;
                }
            }
            3 => {
                if let Some(Frame::Request(old)) = self.some_kept() {
                    request.signing.clone_from(&old.signing);
                }
            }
            4 => request.approvals.clear(),
            _ => {}
        }
        Frame::Request(request)
    }

    pub(crate) fn some_work(&mut self) -> Option<Work> {
        let place = below(&mut self.rng, self.work.len() as u64) as usize;
        // Nobody has stamped what comes after the storm, or after a charter that is not out.
        let work = self.work.get(place)?;
        let stamped = work.floor == 0 || self.amended.0;
        stamped.then(|| work.clone())
    }

    pub(crate) fn some_kept(&mut self) -> Option<Frame> {
        let place = below(&mut self.rng, self.kept.len() as u64) as usize;
        self.kept.get(place).cloned()
    }

    pub(crate) fn some_node(&mut self) -> Option<NodeIndex> {
        let place = below(&mut self.rng, self.nodes.len() as u64) as usize;
        self.nodes.keys().copied().nth(place)
    }

    /// Something that nobody asked for.
    pub(crate) fn made_up(&mut self) -> Option<Frame> {
        match below(&mut self.rng, 8) {
            7 => Some(Frame::SetProposal(SetProposal {
                number: below(&mut self.rng, 12),
                set: self.some_set()?,
            })),
            0 => self.false_finished(),
            1 => {
                let node = self.some_node()?;
                self.tombstone_by(node, None)
            }
            2 => Some(Frame::LeaseRequest(LeaseRequest {
                key: self.cluster.key.key,
                set: self.some_set()?,
                want: 1_000,
                urgent: false,
            })),
            3 => Some(Frame::Charter(self.cluster.genesis.to_bytes())),
            4 => {
                // The next charter before anybody has signed it.
                let charter = self.cluster.amendment.unverified().clone();
                Some(Frame::Charter(Certificate::unsigned(charter).to_bytes()))
            }
            _ => self.some_kept(),
        }
    }

    /// A finished signature that is none.
    pub(crate) fn false_finished(&mut self) -> Option<Frame> {
        let work = self.some_work()?;
        let signature = FinishedSignature {
            version: Version,
            request_id: work.request_id,
            key: self.cluster.key.key,
            scheme: Scheme::Model,
            signature: [3; 64],
            recovery_id: None,
        };
        Some(Frame::Finished(FinishedFrame {
            stamp: work.stamp,
            payload: work.payload_bytes,
            signature: cbor::encode(&signature),
        }))
    }

    /// A tombstone in the name of `node` for some request, signed by that node when it is the
    /// attacker's, or by somebody else.
    pub(crate) fn tombstone_by(
        &mut self,
        node: NodeIndex,
        identity: Option<&SigningIdentity>,
    ) -> Option<Frame> {
        let work = self.some_work()?;
        let denial = Denial {
            version: Version,
            cluster: self.cluster.cluster,
            boot: Boot {
                node,
                lane: Lane(0),
                generation: Generation(1),
            },
            request_id: work.request_id,
            payload_hash: work.payload.hash(),
            charter_hash: self.cluster.genesis.unverified().hash(),
            rule: None,
            field: None,
            message: "no".to_owned(),
            suggestion: None,
        };
        let identity = identity.unwrap_or(&self.cluster.trader);
        let signed = Signed::sign(denial, identity);
        Some(Frame::Tombstone(signed.to_bytes()))
    }

    fn some_set(&mut self) -> Option<SignerSet> {
        let all: Vec<NodeIndex> = self.nodes.keys().copied().collect();
        let skip = below(&mut self.rng, all.len() as u64) as usize;
        let size = usize::from(self.cluster.threshold);
        let chosen = all.iter().cycle().skip(skip).take(size).copied();
        SignerSet::from_unordered(chosen.collect())
    }
}
