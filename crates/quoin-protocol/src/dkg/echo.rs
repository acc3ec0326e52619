//! Round 3: everyone signs the same transcript and record, or the ceremony ends.
//!
//! A node in this state holds its share and no ceremony key any more, so it cannot complain about
//! a dealer nor open anything (rule (b) of the construction's section 19.1).

use super::Generated;
use super::context::Context;
use super::wire::{BODY_BYTES_MAX, EchoBody};
use crate::abort::{Abort, Fault};
use crate::round::{Advance, Inbox, Outbox, Round};
use crate::share::{KeyPublic, KeyShare};
use quoin_core::cbor::{self, Version};
use quoin_core::statement::Endorsement;
use quoin_core::{Certificate, NodeIndex, Statement};
use rand_core::CryptoRngCore;

/// Has signed the echo, and waits for everyone's.
pub(crate) struct Echoing {
    context: Context,
    share: KeyShare,
    certificate: Certificate<KeyPublic>,
}

impl Echoing {
    pub(crate) fn new(context: Context, share: KeyShare, share_point: Vec<u8>) -> (Self, Outbox) {
        let mut certificate = Certificate::unsigned(share.public.clone());
        let identity = &context.roster.identity;
        let endorsement = Endorsement::detached(KeyPublic::TAG, certificate.payload(), identity);
        let body = EchoBody {
            version: Version,
            transcript: share.public.transcript,
            share_point,
            endorsement: endorsement.to_bytes(),
        };
        certificate.add(endorsement);
        let (_, outbox) = context.broadcast(3, cbor::encode(&body));
        let round = Self {
            context,
            share,
            certificate,
        };
        (round, outbox)
    }

    /// The endorsement in a node's echo, once it is over our record and the node's own share.
    fn read(&self, sender: NodeIndex, body: &[u8]) -> Result<Endorsement, Fault> {
        let echo: EchoBody =
            cbor::decode(body, BODY_BYTES_MAX).map_err(|_| Fault::MalformedBroadcast)?;
        if echo.transcript != self.share.public.transcript {
            return Err(Fault::TranscriptDiffers);
        }
        let point = self.share.public.public_share(sender);
        if point != Some(echo.share_point.as_slice()) {
            return Err(Fault::BadEcho);
        }
        let nodes = &self.context.roster.nodes;
        let credential = nodes.get(&sender).ok_or(Fault::WrongParticipants)?;
        let endorsement = Endorsement::from_bytes(&echo.endorsement).map_err(|_| Fault::BadEcho)?;
        endorsement
            .verify(KeyPublic::TAG, self.certificate.payload(), credential)
            .map_err(|_| Fault::BadEcho)?;
        Ok(endorsement)
    }
}

impl Round<Generated> for Echoing {
    fn number(&self) -> u8 {
        3
    }

    fn awaits(&self) -> Vec<NodeIndex> {
        self.context.others_of(self.context.me())
    }

    fn is_secret_dependent(&self) -> bool {
        false
    }

    fn finish(
        mut self: Box<Self>,
        inbox: Inbox,
        _: &mut dyn CryptoRngCore,
    ) -> Result<Advance<Generated>, Abort> {
        let view = self.context.receive(3, inbox)?;
        let mut faults = Vec::new();
        for (sender, heard) in view {
            match self.read(sender, &heard.signed.body) {
                Ok(endorsement) => self.certificate.add(endorsement),
                Err(fault) => faults.push((Some(sender), fault)),
            }
        }
        if !faults.is_empty() {
            return Err(Abort::many(faults));
        }
        Ok(Advance::Done(Generated {
            share: self.share,
            certificate: self.certificate,
        }))
    }
}
