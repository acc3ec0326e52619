//! Round 4: all signers confirm one transcript, and the batch becomes usable.
//!
//! A missing confirmation is a time-out, not a fault of anybody; another transcript is a split view
//! that the signed broadcasts can prove. Source: construction, section 9.

use super::dispute::{contradiction, lengths};
use crate::ecdsa::context::{Faults, Session};
use crate::ecdsa::guard::Guard;
use crate::ecdsa::message::{DisputeBroadcast, Round4Broadcast};
use crate::ecdsa::presignature::Presignature;
use crate::round::{Advance, Inbox, Round, RoundMessage};
use crate::{Abort, Fault};
use quoin_core::hash::tagged;
use quoin_core::{NodeIndex, tags};
use rand_core::CryptoRngCore;

fn confirmation_hash(session: &Session, transcript: &[u8; 32], node: NodeIndex) -> [u8; 32] {
    let size = session.header.size.to_be_bytes();
    tagged(tags::ECDSA_CONFIRM, &[transcript, &size, &[node.get()]])
}

/// The own confirmation: the transcript and a signature over it, the size and the signer.
pub(in crate::ecdsa) fn confirmation(session: &Session, transcript: &[u8; 32]) -> Vec<u8> {
    let signature = session.sign(&confirmation_hash(session, transcript, session.me));
    let mut broadcast = transcript.to_vec();
    broadcast.extend_from_slice(&signature);
    broadcast
}

/// Waits for the confirmations of the others; holds the presignatures until then.
pub(in crate::ecdsa) struct AwaitConfirmations {
    pub(in crate::ecdsa) session: Session,
    pub(in crate::ecdsa) transcript: [u8; 32],
    pub(in crate::ecdsa) presignatures: Vec<Presignature>,
}

impl AwaitConfirmations {
    fn check(
        &self,
        node: NodeIndex,
        message: &RoundMessage,
    ) -> Result<(), (Option<NodeIndex>, Fault)> {
        let others = self.session.others().len();
        if let Some(sent) = DisputeBroadcast::parse(&message.broadcast, others) {
            return Err(contradiction(node, &self.transcript, sent.transcript));
        }
        let sent = Round4Broadcast::parse(&message.broadcast);
        let sent = sent.ok_or((Some(node), Fault::WrongLength))?;
        if !Guard::TranscriptEqual.holds(*sent.transcript == self.transcript) {
            return Err((Some(node), Fault::TranscriptDiffers));
        }
        let hash = confirmation_hash(&self.session, &self.transcript, node);
        let signed = self.session.verifies(node, &hash, sent.signature);
        if !Guard::ConfirmationSigned.holds(signed) {
            return Err((Some(node), Fault::BadBroadcastSignature));
        }
        Ok(())
    }
}

impl Round<Vec<Presignature>> for AwaitConfirmations {
    fn number(&self) -> u8 {
        4
    }

    fn awaits(&self) -> Vec<NodeIndex> {
        self.session.others()
    }

    fn is_secret_dependent(&self) -> bool {
        false
    }

    fn finish(
        self: Box<Self>,
        inbox: Inbox,
        _entropy: &mut dyn CryptoRngCore,
    ) -> Result<Advance<Vec<Presignature>>, Abort> {
        let mut faults = Faults::default();
        let inbox = self.session.receive(
            4,
            inbox,
            |_, message| lengths(&self.session, message),
            &mut faults,
        );
        for (node, message) in &inbox {
            if let Err((culprit, fault)) = self.check(*node, message) {
                faults.note(culprit, fault);
            }
        }
        faults.settle()?;
        Ok(Advance::Done(self.presignatures))
    }
}
