//! Round 3: everyone signs the same transcript and its own public share, or the ceremony ends.
//!
//! A node in this state holds its share and no ceremony key any more, so it cannot complain about
//! a dealer nor open anything (rule (b) of the construction's section 19.1). The echo carries no
//! endorsement of the key: its authenticity is that of every broadcast, and it is worth nothing
//! outside of this ceremony.

use super::Generated;
use super::context::Context;
use super::guard::Guard;
use super::wire::{BODY_BYTES_MAX, EchoBody};
use crate::abort::{Abort, Fault};
use crate::round::{Advance, Inbox, Outbox, Round};
use crate::share::KeyShare;
use quoin_core::NodeIndex;
use quoin_core::cbor::{self, Version};
use rand_core::CryptoRngCore;

/// Has signed the echo, and waits for everyone's.
pub(crate) struct Echoing {
    context: Context,
    share: KeyShare,
}

impl Echoing {
    pub(crate) fn new(context: Context, share: KeyShare, share_point: Vec<u8>) -> (Self, Outbox) {
        let body = EchoBody {
            version: Version,
            transcript: share.public.transcript,
            share_point,
        };
        let (_, outbox) = context.broadcast(3, cbor::encode(&body));
        (Self { context, share }, outbox)
    }

    /// Checks that a node's echo is over our transcript and the node's own share.
    fn check(&self, sender: NodeIndex, body: &[u8]) -> Result<(), Fault> {
        let echo: EchoBody =
            cbor::decode(body, BODY_BYTES_MAX).map_err(|_| Fault::MalformedBroadcast)?;
        let same = echo.transcript == self.share.public.transcript;
        if !Guard::EchoTranscript.holds(same) {
            return Err(Fault::TranscriptDiffers);
        }
        let point = self.share.public.public_share(sender);
        if Guard::EchoShare.holds(point == Some(echo.share_point.as_slice())) {
            Ok(())
        } else {
            Err(Fault::BadEcho)
        }
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
        self: Box<Self>,
        inbox: Inbox,
        _: &mut dyn CryptoRngCore,
    ) -> Result<Advance<Generated>, Abort> {
        let view = self.context.receive(3, inbox)?;
        let checked = view.iter().map(|(sender, heard)| {
            let checked = self.check(*sender, &heard.signed.body);
            checked.err().map(|fault| (Some(*sender), fault))
        });
        let faults: Vec<_> = checked.flatten().collect();
        if faults.is_empty() {
            Ok(Advance::Done(Generated { share: self.share }))
        } else {
            Err(Abort::many(faults))
        }
    }
}
