//! The last round of a batch whose key shares do not add up to the key: who was it?
//!
//! Among three or more signers a wrong sum names nobody. Every signer whose sum is wrong publishes
//! the seeds of its zero-shares in place of its confirmation; all had been committed to in round 1.
//! They give everyone's zero-share, and so the key point that each signer should have opened. It
//! opens the masks of this batch only, and the batch ends here whatever comes: a signer sends
//! either a confirmation or a disclosure, never both, since the round before is consumed by the
//! one it sends. Source: construction, sections 14.4 and 21.13.
//!
//! A signer that was shown other openings may have confirmed at the same time. Nobody is named for
//! that here: the signed broadcasts of round 3 prove who showed two.

use crate::ecdsa::context::{Faults, Session};
use crate::ecdsa::field::base_mul;
use crate::ecdsa::guard::Guard;
use crate::ecdsa::message::{
    DisputeBroadcast, ROUND4_BROADCAST, Round4Broadcast, dispute_broadcast,
};
use crate::ecdsa::presignature::Presignature;
use crate::ecdsa::zero::{Seeds, seed_commitment, zero_share};
use crate::round::{Advance, Inbox, Round, RoundMessage};
use crate::{Abort, Fault};
use k256::ProjectivePoint;
use quoin_core::{NodeIndex, SecretBytes};
use rand_core::CryptoRngCore;
use std::collections::BTreeMap;

/// The own disclosure.
pub(in crate::ecdsa) fn disclosure(transcript: &[u8; 32], seeds: &Seeds) -> Vec<u8> {
    DisputeBroadcast::write(transcript, seeds.shared.values().map(SecretBytes::expose))
}

/// Exact lengths of a message of round 4, which is one of two things.
pub(in crate::ecdsa) fn lengths(session: &Session, message: &RoundMessage) -> (usize, usize) {
    let dispute = dispute_broadcast(session.others().len());
    if message.broadcast.len() == dispute {
        (dispute, 0)
    } else {
        (ROUND4_BROADCAST, 0)
    }
}

/// What a signer whose sum was right makes of a peer's disclosure.
pub(in crate::ecdsa) fn contradiction(
    node: NodeIndex,
    own: &[u8; 32],
    other: &[u8; 32],
) -> (Option<NodeIndex>, Fault) {
    if own == other {
        // The same broadcasts give the same sum: the peer says what is not so.
        (Some(node), Fault::FalseDispute)
    } else {
        (None, Fault::TranscriptDiffers)
    }
}

/// Waits for the seeds of the others. It never ends in presignatures.
pub(in crate::ecdsa) struct AwaitSeeds {
    pub(in crate::ecdsa) session: Session,
    pub(in crate::ecdsa) transcript: [u8; 32],
    pub(in crate::ecdsa) ctx1: [u8; 32],
    pub(in crate::ecdsa) seeds: Seeds,
    /// The key points that each signer opened.
    pub(in crate::ecdsa) key_points: BTreeMap<NodeIndex, Vec<ProjectivePoint>>,
}

/// The seeds of all pairs, as (earlier, later) signer.
type Pairs = BTreeMap<(NodeIndex, NodeIndex), SecretBytes<32>>;

impl AwaitSeeds {
    /// The seeds that `node` shares with the others, each of which opens its commitment.
    fn seeds_of(&self, node: NodeIndex, sent: &DisputeBroadcast<'_>) -> Result<Pairs, Fault> {
        let mut pairs = Pairs::new();
        for (other, seed) in self.session.header.set.others(node).zip(sent.seeds) {
            let (low, high) = (node.min(other), node.max(other));
            let computed = seed_commitment(&self.session.ctx0, low, high, seed);
            let opens = self.seeds.commitments.get(&(low, high)) == Some(&computed);
            if !Guard::DisputedSeedOpens.holds(opens) {
                return Err(Fault::BadZeroShare);
            }
            pairs.insert((low, high), SecretBytes::take(&mut seed.to_owned()));
        }
        Ok(pairs)
    }

    /// Reads what one signer sent in this round.
    fn read(
        &self,
        node: NodeIndex,
        message: &RoundMessage,
        pairs: &mut Pairs,
        faults: &mut Faults,
    ) {
        let others = self.session.others().len();
        if let Some(sent) = DisputeBroadcast::parse(&message.broadcast, others) {
            match self.seeds_of(node, &sent) {
                Ok(seeds) => pairs.extend(seeds),
                Err(fault) => faults.note(Some(node), fault),
            }
        } else if let Some(confirmed) = Round4Broadcast::parse(&message.broadcast) {
            let (culprit, fault) = contradiction(node, &self.transcript, confirmed.transcript);
            faults.note(culprit, fault);
        } else {
            faults.note(Some(node), Fault::WrongLength);
        }
    }

    /// Whether every key point of `node` is `lambda_j X_j + zeta_j G`. A signer some of whose seeds
    /// are not known is not judged.
    fn is_right(&self, node: NodeIndex, pairs: &Pairs) -> bool {
        let seeds: BTreeMap<NodeIndex, SecretBytes<32>> = self
            .session
            .header
            .set
            .others(node)
            .filter_map(|other| {
                let pair = (node.min(other), node.max(other));
                Some((other, pairs.get(&pair)?.duplicate_secret()))
            })
            .collect();
        let (Some(weighted), Some(points)) =
            (self.session.weighted.get(&node), self.key_points.get(&node))
        else {
            return true;
        };
        seeds.len() != self.session.others().len()
            || points.iter().zip(0u16..).all(|(point, b)| {
                *point == *weighted + base_mul(&zero_share(&self.ctx1, node, &seeds, b))
            })
    }
}

impl Round<Vec<Presignature>> for AwaitSeeds {
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
        let me = self.session.me;
        let mut pairs: Pairs = self
            .seeds
            .shared
            .iter()
            .map(|(other, seed)| ((me.min(*other), me.max(*other)), seed.duplicate_secret()))
            .collect();
        for (node, message) in &inbox {
            self.read(*node, message, &mut pairs, &mut faults);
        }
        for node in self.session.others() {
            if !Guard::DisputedKeyPoint.holds(self.is_right(node, &pairs)) {
                faults.note(Some(node), Fault::WrongKeySum);
            }
        }
        faults.settle()?;
        // Everyone else is right, so the sum is wrong for a reason of our own.
        Err(Abort::one(None, Fault::WrongKeySum))
    }
}
