//! What every nonce batch checks before its first message: the header against our own state.
//!
//! Each signer builds or compares the header from its own share and roster, so a proposer can put
//! nothing in it. These are no checks of messages; those are in the session.

use crate::abort::{Abort, Fault};
use crate::batch::{BATCH_SIZE_MAX, BatchHeader, Profile};
use crate::roster::Roster;
use crate::share::KeyShare;
use quoin_core::{Purpose, Scheme};

/// Checks that `header` names this share, these signers and their credentials.
///
/// # Errors
/// The first difference found. No peer is named: a wrong proposal is refused, not punished, since
/// two honest nodes may see different charters for a moment.
pub(crate) fn check_header(
    header: &BatchHeader,
    share: &KeyShare,
    roster: &Roster,
    schemes: &[Scheme],
) -> Result<(), Abort> {
    let refuse = |fault| Err(Abort::one(None, fault));
    if !schemes.contains(&header.scheme) || !is_of_share(header, share) {
        return refuse(Fault::HeaderDiffers);
    }
    if !(1..=BATCH_SIZE_MAX).contains(&header.size) {
        return refuse(Fault::WrongBatchSize);
    }
    // A nonce of one round for a treasury key would silently drop what its purpose promises.
    if (header.profile == Profile::Treasury) != (share.public.purpose == Purpose::Treasury) {
        return refuse(Fault::UnsupportedProfile);
    }
    let is_member = header.set.contains(roster.me) && share.node == roster.me;
    if !is_member || header.set.size() != usize::from(share.public.threshold) {
        return refuse(Fault::WrongParticipants);
    }
    if !names_the_signers(header, roster) {
        return refuse(Fault::HeaderDiffers);
    }
    Ok(())
}

/// Whether the header is about exactly this share's key and epoch.
fn is_of_share(header: &BatchHeader, share: &KeyShare) -> bool {
    let public = &share.public;
    header.cluster == public.cluster
        && header.key == public.key
        && header.scheme == public.scheme
        && header.public_key == public.public_key
        && header.epoch == public.epoch
        && header.shares_hash == public.shares_hash()
}

/// Whether credentials and boots are those of the set's members, in order, and ours is ours.
fn names_the_signers(header: &BatchHeader, roster: &Roster) -> bool {
    let credentials: Option<Vec<_>> = header
        .set
        .iter()
        .map(|node| {
            roster
                .nodes
                .get(&node)
                .map(quoin_core::PublicCredential::id)
        })
        .collect();
    credentials.as_ref() == Some(&header.credentials)
        && header
            .boots
            .iter()
            .map(|boot| boot.node)
            .eq(header.set.iter())
        && header.set.contains(header.batch.proposer.node)
        && roster.nodes.get(&roster.me) == Some(&roster.identity.public())
}
