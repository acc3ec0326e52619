//! Jobs: the arithmetic that takes milliseconds and must not hold up the core.

use quoin_protocol::dkg::{self, DkgParams, Generated};
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
    /// Finish a round of a batch.
    FinishBatch(Box<dyn Round<Presignatures>>, Inbox),
    /// Begin a key ceremony.
    StartCeremony(Box<DkgParams>, Arc<Roster>),
    /// Finish a round of a ceremony.
    FinishCeremony(Box<dyn Round<Generated>>, Inbox),
}

/// What a job gives.
#[expect(
    clippy::large_enum_variant,
    reason = "results are handled one at a time, never stored"
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
    /// Does the work.
    #[must_use]
    pub fn run(self, rng: &mut dyn CryptoRngCore) -> JobResult {
        match self {
            Self::StartBatch(header, share, roster) => {
                JobResult::BatchStarted(presign::start_batch(*header, &share, roster, rng))
            }
            Self::FinishBatch(round, inbox) => JobResult::BatchAdvanced(round.finish(inbox, rng)),
            Self::StartCeremony(params, roster) => {
                JobResult::CeremonyStarted(dkg::start(*params, roster, rng))
            }
            Self::FinishCeremony(round, inbox) => {
                JobResult::CeremonyAdvanced(round.finish(inbox, rng))
            }
        }
    }
}
