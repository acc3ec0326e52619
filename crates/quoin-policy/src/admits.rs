//! Whether a request is one at all: who asks, by what right, and with which key.

use crate::charter::Principal;
use crate::constitution::Constitution;
use crate::denial::{Denial, DenialReason};
use crate::judge::{CLUSTER_ACCOUNT, Request, STAMP_HORIZON_MS};
use crate::schema::{purpose_name, scheme_name};
use crate::states::{state_after, state_name};
use quoin_core::{Action, CustodyMethod, KeyState, Stamp, TimeMs};

impl Constitution {
    /// Checks who asks, by what right and with which key.
    pub(crate) fn admits(&self, request: &Request<'_>) -> Result<&Principal, Denial> {
        let (stamp, decoded, now) = (request.stamp, &request.decoded, request.now);
        if stamp.cluster != self.cluster() {
            return deny(
                DenialReason::WrongCluster,
                "cluster",
                format!("the stamp is for cluster `{}`", stamp.cluster),
            );
        }
        self.charter_floor(stamp)?;
        if now >= stamp.not_after {
            return deny(
                DenialReason::StampExpired,
                "not_after",
                "the stamp has lapsed; stamp the request anew with a later `not_after`",
            );
        }
        if stamp.not_after.since(now) > STAMP_HORIZON_MS {
            return deny(
                DenialReason::HorizonTooFar,
                "not_after",
                "`not_after` is more than 31 days ahead; stamp the request anew with an earlier one",
            );
        }
        if stamp.payload_hash != decoded.payload_hash() {
            return deny(
                DenialReason::StampMismatch,
                "payload_hash",
                "the stamp is for another payload",
            );
        }
        if stamp.account != *decoded.account() {
            return deny(
                DenialReason::StampMismatch,
                "account",
                "the stamp is for another account",
            );
        }
        key_fits(request)?;
        self.standing(stamp, now)
    }

    fn charter_floor(&self, stamp: &Stamp) -> Result<(), Denial> {
        if self.ancestor(stamp.charter_number_floor) == Some(stamp.charter_hash_floor) {
            return Ok(());
        }
        deny(
            DenialReason::CharterFloor,
            "charter_number_floor",
            format!(
                "the stamp asks for charter {} or later with a hash that this node does not know; \
                 it has charter {}",
                stamp.charter_number_floor.0,
                self.number().0
            ),
        )
    }

    fn standing(&self, stamp: &Stamp, now: TimeMs) -> Result<&Principal, Denial> {
        let Some(principal) = self.principal(&stamp.principal) else {
            return deny(
                DenialReason::UnknownPrincipal,
                "principal",
                format!("the charter does not know `{}`", stamp.principal),
            );
        };
        if !principal
            .credentials
            .iter()
            .any(|c| c.id() == stamp.credential)
        {
            return deny(
                DenialReason::CredentialMismatch,
                "credential",
                format!("`{}` has no such credential", stamp.principal),
            );
        }
        if principal.is_expired(now) {
            return deny(
                DenialReason::PrincipalExpired,
                "principal",
                format!("the grant of `{}` has ended", stamp.principal),
            );
        }
        Ok(principal)
    }
}

pub(crate) fn deny<T>(
    reason: DenialReason,
    field: &'static str,
    message: impl Into<String>,
) -> Result<T, Denial> {
    Err(Denial::at(reason, field, message))
}

/// Whether a request changes a key, how a node is seen or what is frozen; it signs nothing.
pub(crate) const fn is_change(action: &Action) -> bool {
    matches!(
        action,
        Action::ChangeKey { .. } | Action::ChangeNode { .. } | Action::Unfreeze { .. }
    )
}

/// Whether a request is about Quoin itself: a ceremony or a change, which signs nothing.
pub(crate) const fn is_governance(action: &Action) -> bool {
    is_change(action) || matches!(action, Action::CreateKey { .. })
}

/// Whether a request is about a node or about the cluster as a whole.
pub(crate) const fn is_about_no_key(action: &Action) -> bool {
    matches!(action, Action::ChangeNode { .. } | Action::Unfreeze { .. })
}

fn key_fits(request: &Request<'_>) -> Result<(), Denial> {
    if is_change(&request.decoded.intent().action) {
        change_fits(request)?;
    } else if let Some(key) = request.key
        && key.state != KeyState::Active
    {
        let message = format!(
            "the key `{}` is {}, and only an active key signs",
            key.name,
            state_name(key.state)
        );
        return deny(DenialReason::KeyState, "key", message);
    }
    let (stamp, decoded) = (request.stamp, &request.decoded);
    let bad = |field, message: &str| deny(DenialReason::KeyMismatch, field, message);
    let creates = match &decoded.intent().action {
        Action::CreateKey { purpose, .. } => Some(*purpose),
        _ => None,
    };
    let about_node = is_about_no_key(&decoded.intent().action);
    match (creates, request.key) {
        (None, None) if about_node && stamp.key.is_none() => Ok(()),
        (None, Some(_)) if about_node => bad("key", "a request about a node names no key"),
        (Some(_), Some(_)) => bad("key", "a request to make a key names none"),
        (Some(_), None) if stamp.key.is_some() => bad("key", "a request to make a key names none"),
        (Some(purpose), None) if stamp.purpose != purpose => bad(
            "purpose",
            "the stamp and the key to be made differ in purpose",
        ),
        (Some(_), None) => Ok(()),
        (None, None) => bad(
            "key",
            "the request needs a key, and this node knows none for it",
        ),
        (None, Some(key)) if stamp.key != Some(key.id) => {
            bad("key", "the stamp is for another key")
        }
        (None, Some(key)) if stamp.purpose != key.purpose => bad(
            "purpose",
            &format!("the key's purpose is `{}`", purpose_name(key.purpose)),
        ),
        (None, Some(key)) if decoded.scheme() != key.scheme => bad(
            "scheme",
            &format!("the key's scheme is `{}`", scheme_name(key.scheme)),
        ),
        (None, Some(key)) if !key.addresses.contains(&decoded.account().address) => {
            bad("account", "the account is not one of the key's")
        }
        (None, Some(_)) => Ok(()),
    }
}

/// What a change of a key or a node has to be stamped with, and in which state of the key it can be.
fn change_fits(request: &Request<'_>) -> Result<(), Denial> {
    let (stamp, action) = (request.stamp, &request.decoded.intent().action);
    let bad = |field, message: &str| deny(DenialReason::KeyMismatch, field, message);
    if stamp.custody != CustodyMethod::Mpc {
        return bad("custody", "a change is stamped `mpc`, whatever the key is");
    }
    let Action::ChangeKey { key: id, change } = action else {
        return match stamp.account.address.as_str() {
            CLUSTER_ACCOUNT => Ok(()),
            _ => bad(
                "account",
                &format!("a request about a node is for the account `{CLUSTER_ACCOUNT}`"),
            ),
        };
    };
    if stamp.key != Some(*id) {
        return bad("key", "the stamp and the request are for different keys");
    }
    // Not the key's address on another chain: a rule names a key by one account.
    if stamp.account.address.as_str() != id.to_string() {
        return bad(
            "account",
            "a request about a key is for its account on Quoin, its id",
        );
    }
    match request.key {
        Some(key) if state_after(key.state, change).is_none() => {
            let message = format!(
                "the key `{}` is {}, which allows no {}",
                key.name,
                state_name(key.state),
                change.name()
            );
            deny(DenialReason::KeyState, "change", message)
        }
        _ => Ok(()),
    }
}
