//! What stops a request before any policy is asked: freezes, a node that is cut off or has a wrong
//! clock, vetoes, keys that may only receive, addresses that are too new.

use crate::admits::{deny, is_governance};
use crate::charter::{BookKind, Principal};
use crate::constitution::Constitution;
use crate::denial::{Denial, DenialReason};
use crate::freeze::{Freeze, FreezeLevel, FreezeScope, FreezeTarget};
use crate::judge::Request;
use crate::notice::{Notices, Subject};
use crate::obligation::{Obligations, Unmet};
use quoin_core::intent::RiskEffect;
use quoin_core::{Action, ChainId, Intent, PrincipalId, Purpose, TimeMs};

/// How much may be signed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Latitude {
    /// Whatever is permitted.
    Open,
    /// What reduces risk, by the permits for it and within a budget of its own.
    Corridor,
}

impl Constitution {
    /// How much may be signed now, for this request.
    ///
    /// Governance goes on while signing stops: a freeze must not be what keeps a key from being
    /// suspended, and lifting it is a request itself. But whoever is frozen makes and changes no keys.
    pub(crate) fn latitude(
        &self,
        request: &Request<'_>,
        principal: &Principal,
    ) -> Result<Latitude, Denial> {
        let intent = request.decoded.intent();
        let conditions = &request.conditions;
        if is_governance(&intent.action) {
            return self.governs(request, principal).map(|()| Latitude::Open);
        }
        let key = request.key.map(|key| &key.name);
        let target = FreezeTarget::of((&principal.id, &principal.roles), key, intent);
        let freeze = conditions.freezes.covering(&target);
        let why = match freeze {
            Some(freeze) => freeze_words(freeze),
            None if !conditions.lease => "this node does not hear enough of the others".to_owned(),
            None if !conditions.clock => "this node's clock differs from the others'".to_owned(),
            None => return Ok(Latitude::Open),
        };
        let reason = match freeze {
            Some(_) => DenialReason::Frozen,
            None => DenialReason::CorridorOnly,
        };
        if freeze.is_some_and(|f| f.level == FreezeLevel::Hard) {
            return deny(reason, "freeze", why);
        }
        if freeze.is_some_and(|f| matches!(f.scope, FreezeScope::Principal(_))) {
            let message = format!("{why}; a frozen principal has no corridor");
            return deny(reason, "freeze", message);
        }
        if !conditions.lease && request.stamp.purpose == Purpose::Treasury {
            let message = "this node does not hear enough of the others, and without that a \
                           treasury key signs nothing";
            return deny(DenialReason::CorridorOnly, "lease", message);
        }
        if intent.risk == RiskEffect::Reduces || self.is_top_up(intent) {
            return Ok(Latitude::Corridor);
        }
        let message = format!(
            "{why}; only what reduces risk is signed now: cancels, reduce-only orders, and top-ups \
             of one's own margin accounts"
        );
        deny(reason, "risk", message)
    }

    /// Refuses what a frozen principal asks for about keys and nodes. Lifting freezes stays open to it:
    /// else one person could freeze all who could lift.
    fn governs(&self, request: &Request<'_>, principal: &Principal) -> Result<(), Denial> {
        let lifts = matches!(request.decoded.intent().action, Action::Unfreeze { .. });
        match request.conditions.freezes.of_principal(&principal.id) {
            Some(freeze) if !lifts => {
                let message = format!(
                    "{}; a frozen principal makes and changes no keys or nodes",
                    freeze_words(freeze)
                );
                deny(DenialReason::Frozen, "freeze", message)
            }
            _ => Ok(()),
        }
    }

    /// Whether the action moves an asset to one of one's own registered margin accounts.
    pub(crate) fn is_top_up(&self, intent: &Intent) -> bool {
        let Action::Transfer { value, to } = &intent.action else {
            return false;
        };
        let entry = self.entry_for(&intent.chain, to, Some(&value.asset));
        entry.is_some_and(|entry| entry.kind == BookKind::Margin)
    }

    /// Refuses what somebody has vetoed who may, as it stands beside these obligations.
    pub(crate) fn not_vetoed(
        &self,
        request: &Request<'_>,
        obligations: &Obligations,
    ) -> Result<(), Denial> {
        let subject = Subject::Request(request.stamp.request_id);
        let vetoed = self.vetoed_by(request.conditions.notices, &subject, obligations);
        match vetoed.first() {
            None => Ok(()),
            Some(principal) => deny(
                DenialReason::Vetoed,
                "request_id",
                format!(
                    "`{principal}` has vetoed the request, for ever; a new one needs a new request \
                     id"
                ),
            ),
        }
    }

    /// Refuses what a key signs on a chain without leave to spend.
    pub(crate) fn may_spend(&self, request: &Request<'_>) -> Result<(), Denial> {
        if request.decoded.account().chain == ChainId::Quoin {
            return Ok(());
        }
        let Some(key) = request.key else {
            return Ok(());
        };
        let Some(grant) = self.key_grant(&key.name) else {
            return deny(
                DenialReason::DepositOnly,
                "key",
                format!(
                    "the key `{}` may only receive: the charter does not list it under `keys`",
                    key.name
                ),
            );
        };
        if key.purpose == Purpose::Digest && !grant.dangerous_digest_account {
            return deny(
                DenialReason::DepositOnly,
                "key",
                format!(
                    "the key `{}` signs bare digests, so it is no account: a digest could be any \
                     transaction; the charter would have to say `dangerous_digest_account`",
                    key.name
                ),
            );
        }
        Ok(())
    }

    /// Refuses to send anything to an address that is too new in the book.
    pub(crate) fn cooled_off(&self, request: &Request<'_>) -> Result<(), Denial> {
        let intent = request.decoded.intent();
        let Some(to) = intent.action.counterparty() else {
            return Ok(());
        };
        let entry = self.book_entry(&intent.chain, to);
        let ready = self.book_ready(&intent.chain, to);
        match entry.zip(ready) {
            // A cancel sends nothing, and to oneself.
            Some((entry, ready)) if request.now < ready && intent.risk != RiskEffect::Reduces => {
                deny(
                    DenialReason::CoolingOff,
                    "to",
                    format!(
                        "`{}` is too new in the address book: it counts from {} ms after 1970 on",
                        entry.name, ready.0
                    ),
                )
            }
            _ => Ok(()),
        }
    }

    /// When a delay begins, with `(first_seen, now)`: when this node saw the subject first, or when
    /// it heard that a holder of each role asked for has seen it, whichever is later; and the roles
    /// of which it has not heard that.
    ///
    /// Whoever asks always knows of it, and so does everyone of the same operator: their receipts say
    /// nothing about whether anybody else has been told.
    pub(crate) fn noticed(
        &self,
        obligations: &Obligations,
        notices: &Notices,
        (subject, initiator): (&Subject, &PrincipalId),
        (first_seen, now): (TimeMs, TimeMs),
    ) -> (TimeMs, Vec<Unmet>) {
        let asks = self.operator_of(initiator);
        let mut begin = first_seen;
        let mut unseen = Vec::new();
        for role in &obligations.notice {
            let receipts = notices.receipts(subject);
            let of_holders = receipts.filter(|(id, _)| {
                let principal = self.principal(id);
                let other = self.operator_of(id) != asks;
                other && principal.is_some_and(|p| !p.is_expired(now) && p.roles.contains(role))
            });
            match of_holders.map(|(_, seen)| seen).min() {
                Some(seen) => begin = begin.max(seen),
                None => unseen.push(Unmet::Notice { role: role.clone() }),
            }
        }
        (begin, unseen)
    }
}

fn freeze_words(freeze: &Freeze) -> String {
    format!(
        "frozen by `{}` with the freeze `{}`: {}",
        freeze.principal, freeze.id, freeze.reason
    )
}
