//! The harness of the engine's tests: t signers in memory, with every message open to tampering.
//!
//! A tampered broadcast is signed again by its sender, so what is tested is the protocol's check
//! and not the signature; one test turns that off.

mod deviate;
mod dispute;
mod flips;
mod headers;
mod honest;
mod malice;
mod online;
mod table;
mod treasury;

use super::guard::Guard;
use super::params::Params;
use super::presignature::{Answer, Presignature};
use super::self_test::{Group, Party, deliver};
use super::{CombineFault, EcdsaSignature, combine};
use crate::round::{Advance, RoundMessage};
use crate::{Abort, Fault};
use quoin_core::hash::tagged;
use quoin_core::{NodeIndex, cbor, tags};
use std::collections::BTreeMap;

/// An index that is known to be good.
pub(super) fn node(index: u8) -> NodeIndex {
    NodeIndex::new(index).unwrap()
}

/// Where a message is: its round, sender and recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) round: u8,
    pub(super) from: u8,
    pub(super) to: u8,
}

/// How a run ended: at each signer with presignatures or an abort, in the round where any aborted.
pub(super) struct Outcome {
    pub(super) round: u8,
    pub(super) presignatures: BTreeMap<u8, Vec<Presignature>>,
    pub(super) aborts: BTreeMap<u8, Abort>,
    /// Signers that advanced although another aborted in the same round.
    pub(super) advanced: Vec<u8>,
}

impl Outcome {
    /// What `at` found, when it aborted.
    pub(super) fn faults(&self, at: u8) -> Vec<(Option<u8>, Fault)> {
        self.aborts.get(&at).map_or_else(Vec::new, |abort| {
            abort
                .faults
                .iter()
                .map(|(culprit, fault)| (culprit.map(NodeIndex::get), *fault))
                .collect()
        })
    }
}

/// Signs a broadcast as its sender would.
pub(super) fn resign(group: &Group, ctx0: &[u8; 32], from: u8, message: &mut RoundMessage) {
    let hash = tagged(
        tags::ECDSA_BCAST,
        &[ctx0, &[message.round], &[from], &message.broadcast],
    );
    message.signature = group.rosters[&node(from)].identity.sign(&hash);
}

/// The hash of the header.
pub(super) fn ctx0(group: &Group, size: u16) -> [u8; 32] {
    tagged(tags::ECDSA_CTX0, &[&cbor::encode(&group.header(size))])
}

/// Runs a batch; `tamper` sees every message before it is delivered. Broadcasts that it changed are
/// signed again.
pub(super) fn run<P: Params>(
    group: &Group,
    size: u16,
    mut tamper: impl FnMut(Place, &mut RoundMessage),
) -> Outcome {
    let parties = group.start::<P>(&group.header(size)).unwrap();
    let ctx0 = ctx0(group, size);
    drive(parties, |place, message| {
        let before = message.broadcast.clone();
        tamper(place, message);
        if before != message.broadcast {
            resign(group, &ctx0, place.from, message);
        }
    })
}

/// Runs rounds until every signer is done or any aborts.
pub(super) fn drive(
    mut parties: BTreeMap<NodeIndex, Party>,
    mut tamper: impl FnMut(Place, &mut RoundMessage),
) -> Outcome {
    for round in 1.. {
        for (from, party) in &mut parties {
            for (to, message) in &mut party.outbox {
                let place = Place {
                    round,
                    from: from.get(),
                    to: to.get(),
                };
                tamper(place, message);
            }
        }
        let mut inboxes = deliver(&mut parties);
        let mut outcome = Outcome {
            round,
            presignatures: BTreeMap::new(),
            aborts: BTreeMap::new(),
            advanced: Vec::new(),
        };
        let mut next = BTreeMap::new();
        for (node, mut party) in parties {
            assert_eq!(party.round.number(), round);
            let inbox = inboxes.remove(&node).unwrap();
            match party.round.finish(inbox, &mut party.entropy) {
                Ok(Advance::Next(round, outbox)) => {
                    outcome.advanced.push(node.get());
                    party.round = round;
                    party.outbox = outbox;
                    next.insert(node, party);
                }
                Ok(Advance::Done(done)) => {
                    outcome.presignatures.insert(node.get(), done);
                }
                Err(abort) => {
                    outcome.aborts.insert(node.get(), abort);
                }
            }
        }
        if next.is_empty() || !outcome.aborts.is_empty() {
            return outcome;
        }
        parties = next;
    }
    unreachable!()
}

/// Runs an attack twice. With its guard signer `at` refuses it with exactly these faults; with the
/// guard switched off it does not. Gives the run that a missing guard would let through, so that
/// the test can show what the attacker has won.
pub(super) fn guarded(
    guard: Guard,
    at: u8,
    refused: &[(Option<u8>, Fault)],
    attack: impl Fn() -> Outcome,
) -> Outcome {
    assert_eq!(attack().faults(at), refused, "{guard:?} is on");
    let won = guard.without(&attack);
    assert_ne!(won.faults(at), refused, "{guard:?} is off");
    won
}

/// The n-th presignature of every signer.
pub(super) fn take(outcome: Outcome, index: usize) -> Vec<Presignature> {
    outcome
        .presignatures
        .into_values()
        .map(|mut all| all.swap_remove(index))
        .collect()
}

/// Every signer's answer.
pub(super) fn answers(
    presignatures: Vec<Presignature>,
    digest: [u8; 32],
    tweak: &[u8; 32],
) -> Vec<Answer> {
    presignatures
        .into_iter()
        .map(|p| p.answer(digest, tweak).unwrap())
        .collect()
}

/// Signs with every signer's presignature.
pub(super) fn sign(
    group: &Group,
    presignatures: Vec<Presignature>,
    digest: [u8; 32],
    tweak: &[u8; 32],
) -> Result<EcdsaSignature, CombineFault> {
    combine(
        &group.public_key(),
        tweak,
        &digest,
        &answers(presignatures, digest, tweak),
    )
}
