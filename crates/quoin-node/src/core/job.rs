//! Jobs: the arithmetic that takes milliseconds and must not hold up the core.

use quoin_core::Scheme;
use quoin_protocol::dkg::{self, DkgParams, Generated, SuccessionParams};
use quoin_protocol::presign::{self, Presignature};
use quoin_protocol::{Abort, Advance, BatchHeader, Inbox, KeyShare, Outbox, Roster, Round};
use rand_core::CryptoRngCore;
use std::sync::Arc;

/// What batches make.
pub type Presignatures = Vec<Presignature>;

/// A piece of work that owns everything it needs.
pub enum Job {
    /// Begin a presigning batch.
    StartBatch(Box<BatchHeader>, Arc<KeyShare>, Arc<Roster>),
    /// Finish a round of a batch of this scheme.
    FinishBatch(Scheme, Box<dyn Round<Presignatures>>, Inbox),
    /// Begin a key ceremony.
    StartCeremony(Box<DkgParams>, Arc<Roster>),
    /// Begin to move a key to its next epoch; the share is `None` on a node that holds none.
    StartSuccession(Box<SuccessionParams>, Arc<Roster>, Option<Arc<KeyShare>>),
    /// Finish a round of a ceremony.
    FinishCeremony(Box<dyn Round<Generated>>, Inbox),
}

/// What a job gives.
#[expect(
    clippy::large_enum_variant,
    reason = "a result is handed over once and taken apart at once"
)]
pub enum JobResult {
    /// A batch was begun.
    BatchStarted(Result<(Box<dyn Round<Presignatures>>, Outbox), Abort>),
    /// A round of a batch was finished.
    BatchAdvanced(Result<Advance<Presignatures>, Abort>),
    /// A ceremony was begun.
    CeremonyStarted(Result<(Box<dyn Round<Generated>>, Outbox), Abort>),
    /// A round of a ceremony was finished.
    CeremonyAdvanced(Result<Advance<Generated>, Abort>),
}

impl Job {
    /// Whether the job takes many milliseconds. Light jobs must not queue behind heavy ones, or an
    /// ECDSA key being filled would empty the pools of all others.
    #[must_use]
    pub fn is_heavy(&self) -> bool {
        match self {
            Self::StartBatch(header, ..) => header.scheme == Scheme::Ecdsa,
            Self::FinishBatch(scheme, ..) => *scheme == Scheme::Ecdsa,
            Self::StartCeremony(..) | Self::StartSuccession(..) | Self::FinishCeremony(..) => false,
        }
    }

    /// Does the work.
    #[must_use]
    pub fn run(self, rng: &mut dyn CryptoRngCore) -> JobResult {
        match self {
            Self::StartBatch(header, share, roster) => {
                JobResult::BatchStarted(presign::start_batch(*header, &share, roster, rng))
            }
            Self::FinishBatch(_, round, inbox) => {
                JobResult::BatchAdvanced(round.finish(inbox, rng))
            }
            Self::StartCeremony(params, roster) => {
                JobResult::CeremonyStarted(dkg::start(*params, roster, rng))
            }
            Self::StartSuccession(params, roster, share) => JobResult::CeremonyStarted(
                dkg::start_succession(*params, roster, share.as_deref(), rng),
            ),
            Self::FinishCeremony(round, inbox) => {
                JobResult::CeremonyAdvanced(round.finish(inbox, rng))
            }
        }
    }
}
