//! Judgement: the one function that turns a decoded request into a warrant.
//!
//! Everything that is not a permit is a denial: an unknown name, a missing field, an error. The
//! order is fixed: who asks, with which key, what policies say, what they demand first, and last
//! what budgets and slots have room for, all of it taken in one step.

use crate::approval::{APPROVALS_MAX, Approval, IgnoredApproval, Terms, intent_hash};
use crate::budget::{Measure, Scope};
use crate::cedar::{Query, Verdict};
use crate::charter::Principal;
use crate::conditions::Conditions;
use crate::constitution::Constitution;
use crate::denial::{DEFAULT_DENY, Denial, DenialReason};
use crate::explain::{account_id, suggestion, summary};
use crate::ledger::{Charge, Ledger, Reservation};
use crate::obligation::Unmet;
use crate::schema::{View, context_pairs, purpose_name, scheme_name};
use crate::slots::SlotTake;
use crate::states::{state_after, state_name};
use crate::warrant::Warrant;
use cedar_policy::RestrictedExpression;
use quoin_chain::Decoded;
use quoin_core::cbor::Version;
use quoin_core::{
    Action, Address, Amount, AssetId, CustodyMethod, Intent, IntentHash, KeyId, KeyName, KeyState,
    Purpose, RuleId, Scheme, Signed, Stamp, TimeMs,
};
use serde::{Deserialize, Serialize};

/// How far ahead a stamp may lapse, which is 31 days: its request is remembered until then.
pub const STAMP_HORIZON_MS: u64 = 31 * 24 * 60 * 60 * 1000;

/// What a node knows of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFacts {
    /// The key's id.
    pub id: KeyId,
    /// Its name.
    pub name: KeyName,
    /// What it is for.
    pub purpose: Purpose,
    /// Its scheme.
    pub scheme: Scheme,
    /// The addresses at which the child at the stamped path is an account, on any chain; of the key
    /// itself when that path is the root. None means that it signs nothing.
    pub addresses: Vec<Address>,
    /// How many of its holders sign.
    pub threshold: u8,
    /// How many nodes hold a share and serve it. A local key is served by one.
    pub holders: u8,
    /// Its state on this node.
    pub state: KeyState,
}

/// The address of the cluster's own account on Quoin, for requests that are about no key.
pub const CLUSTER_ACCOUNT: &str = "cluster";

/// What is to be judged.
pub struct Request<'a> {
    /// The decoded payload.
    pub decoded: Decoded,
    /// The stamp, whose signature [`Constitution::verify_stamp`] has checked.
    pub stamp: &'a Stamp,
    /// The key that the stamp names; `None` when the request makes one.
    pub key: Option<&'a KeyFacts>,
    /// The approvals at hand, none of them checked.
    pub approvals: &'a [Signed<Approval>],
    /// When this node saw the request first, by its own journal.
    pub first_seen: TimeMs,
    /// The node's effective time, which never goes back.
    pub now: TimeMs,
    /// What else the node knows.
    pub conditions: Conditions<'a>,
}

/// What judgement says.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a judgement is made once for each request and taken apart at once; a box would only \
              hide the warrant"
)]
pub enum Judgement {
    /// It may be signed; the ledger holds what it needs.
    Permitted(Warrant),
    /// It would be permitted, but something has to happen first.
    Pending(Pending),
    /// It is refused.
    Denied(Denial),
}

/// What a permitted request still waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pending {
    /// What is missing.
    pub unmet: Vec<Unmet>,
    /// What approvals have to sign.
    pub intent_hash: IntentHash,
    /// The policies that permit it, on which the intent hash relies.
    pub rules: Vec<RuleId>,
    /// The approvals that do not count.
    pub ignored: Vec<IgnoredApproval>,
    /// The request in words.
    pub summary: String,
}

/// A denial or a pending request, on the way out.
enum Stop {
    Denied(Denial),
    Pending(Box<Pending>),
}

impl From<Denial> for Stop {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial)
    }
}

impl Constitution {
    /// Judges a request and, when it is permitted, reserves what it needs.
    ///
    /// Judging the same request again is harmless: it is charged once, at the later time.
    pub fn judge(&self, request: Request<'_>, ledger: &mut Ledger) -> Judgement {
        match self.decide(&request, ledger) {
            Err(Stop::Denied(denial)) => Judgement::Denied(denial),
            Err(Stop::Pending(pending)) => Judgement::Pending(*pending),
            Ok((rules, reservation)) => Judgement::Permitted(Warrant {
                key: request.stamp.key,
                principal: request.stamp.principal.clone(),
                purpose: request.stamp.purpose,
                custody: request.stamp.custody,
                charter: self.hash(),
                decoded: request.decoded,
                rules,
                reservation,
            }),
        }
    }

    fn decide(
        &self,
        request: &Request<'_>,
        ledger: &mut Ledger,
    ) -> Result<(Vec<RuleId>, Reservation), Stop> {
        self.admits(request)?;
        let rules = self.permits(request)?;
        self.obligations_met(request, &rules)?;
        let reservation =
            self.reservation(&request.decoded, request.stamp, request.key, request.now)?;
        let reserved = ledger.reserve(self, &reservation, request.key);
        reserved.map_err(|denial| self.described(request.decoded.intent(), denial))?;
        Ok((rules, reservation))
    }

    /// Checks who asks, by what right and with which key.
    fn admits(&self, request: &Request<'_>) -> Result<&Principal, Denial> {
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

    /// Asks the policies.
    fn permits(&self, request: &Request<'_>) -> Result<Vec<RuleId>, Denial> {
        let intent = request.decoded.intent();
        let view = View {
            constitution: self,
            intent,
            custody: request.stamp.custody,
        };
        let account = request.decoded.account();
        let query = Query {
            principal: &request.stamp.principal,
            action: intent.action.name(),
            account: account_id(account),
            account_attributes: account_attributes(request),
            context: context_pairs(&view).map_err(|denial| self.described(intent, denial))?,
        };
        let denied = match self.rules.evaluate(query) {
            Verdict::Permit(rules) => return Ok(rules),
            Verdict::Forbid(rules) => {
                let first = rules.first().map(RuleId::as_str).unwrap_or_default();
                let message = format!("forbidden by {}", listed(&rules));
                Denial::by(DenialReason::Forbidden, first, message)
            }
            Verdict::Failed(rule, detail) => {
                let rule = rule.as_ref().map(RuleId::as_str).unwrap_or_default();
                let message = format!("policies cannot be evaluated: {detail}");
                Denial::by(DenialReason::PolicyError, rule, message)
            }
            Verdict::NoPermit(too_general) => {
                let message = no_permit(request, &too_general);
                let mut denial = Denial::by(DenialReason::NoPermit, DEFAULT_DENY, message);
                denial.suggestion = suggestion(&view, &request.stamp.principal, account);
                denial
            }
        };
        Err(self.described(intent, denied))
    }

    /// Puts the request in words before what decided.
    fn described(&self, intent: &Intent, denial: Denial) -> Denial {
        denial.after(&summary(self, intent))
    }

    fn obligations_met(&self, request: &Request<'_>, rules: &[RuleId]) -> Result<(), Stop> {
        let obligations = self.rules.obligations(rules);
        if obligations.is_empty() {
            return Ok(());
        }
        if request.approvals.len() > APPROVALS_MAX {
            return Err(Stop::Denied(Denial::at(
                DenialReason::TooManyApprovals,
                "approvals",
                format!("at most {APPROVALS_MAX} approvals are looked at"),
            )));
        }
        // Every rule that permits is known; an unknown one relies on nothing and matches no hash.
        let relied = self.rules.relied(rules).unwrap_or_default();
        let terms = Terms {
            constitution: self,
            stamp: request.stamp,
            intent_hash: intent_hash(&request.decoded, request.stamp, &relied),
            first_seen: request.first_seen,
            now: request.now,
        };
        let (unmet, ignored) = terms.unmet(&obligations, request.approvals);
        if unmet.is_empty() {
            return Ok(());
        }
        Err(Stop::Pending(Box::new(Pending {
            unmet,
            intent_hash: terms.intent_hash,
            rules: rules.to_vec(),
            ignored,
            summary: summary(self, request.decoded.intent()),
        })))
    }

    /// What a request holds of budgets and slots once it is permitted or finished.
    ///
    /// # Errors
    /// When the principal is unknown, or an amount overflows.
    pub fn reservation(
        &self,
        decoded: &Decoded,
        stamp: &Stamp,
        key: Option<&KeyFacts>,
        at: TimeMs,
    ) -> Result<Reservation, Denial> {
        let mut charges = Vec::new();
        // Budgets bound what is signed. A change signs nothing, and a full budget must not be what
        // keeps a key from being suspended.
        let free = is_change(&decoded.intent().action);
        for budget in self.charter().budgets.iter().filter(|_| !free) {
            if !self.in_scope(&budget.scope, decoded, stamp, key) {
                continue;
            }
            let amount = match &budget.measure {
                Measure::Count => Amount::from(1u64),
                Measure::Asset(asset) => worst_case(decoded.intent(), asset)?,
                Measure::Usd => {
                    let message = "no fresh and agreed price says what this is worth";
                    let id = budget.id.as_str();
                    return Err(Denial::by(DenialReason::Unpriced, id, message));
                }
            };
            if !amount.is_zero() {
                charges.push(Charge {
                    budget: budget.id.clone(),
                    measure: budget.measure.clone(),
                    amount,
                });
            }
        }
        charges.sort();
        Ok(Reservation {
            version: Version,
            request_id: stamp.request_id,
            binding: stamp.binding(),
            at,
            not_after: stamp.not_after,
            charges,
            slot: SlotTake::of(decoded),
        })
    }

    fn in_scope(
        &self,
        scope: &Scope,
        decoded: &Decoded,
        stamp: &Stamp,
        key: Option<&KeyFacts>,
    ) -> bool {
        match scope {
            Scope::Org => true,
            Scope::Principal(id) => stamp.principal == *id,
            Scope::Role(role) => self
                .principal(&stamp.principal)
                .is_some_and(|p| p.roles.contains(role)),
            Scope::Account(account) => decoded.account().is_same_place(account),
            Scope::Counterparty(address) => decoded.intent().action.counterparty() == Some(address),
            Scope::Key(name) => key.is_some_and(|k| k.name == *name),
            Scope::EachHolder(_) | Scope::Corridor => false,
        }
    }
}

fn deny<T>(
    reason: DenialReason,
    field: &'static str,
    message: impl Into<String>,
) -> Result<T, Denial> {
    Err(Denial::at(reason, field, message))
}

/// Whether a request changes a key or how a node is seen; it signs nothing.
const fn is_change(action: &Action) -> bool {
    matches!(
        action,
        Action::ChangeKey { .. } | Action::ChangeNode { .. } | Action::Unfreeze { .. }
    )
}

/// Whether a request is about a node or about the cluster as a whole.
const fn is_about_no_key(action: &Action) -> bool {
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

fn account_attributes(request: &Request<'_>) -> Vec<(String, RestrictedExpression)> {
    let account = request.decoded.account();
    let key = request.key.map(|k| k.name.to_string());
    // A request about a node is about no key: what its stamp says of one means nothing.
    let about_node = is_about_no_key(&request.decoded.intent().action);
    let of_key = |text: &str| {
        if about_node {
            String::new()
        } else {
            text.to_owned()
        }
    };
    let attributes = [
        ("chain", account.chain.to_string()),
        ("address", account.address.to_string()),
        ("path", account.path.to_string()),
        ("key", key.unwrap_or_default()),
        ("purpose", of_key(purpose_name(request.stamp.purpose))),
        ("scheme", of_key(scheme_name(request.decoded.scheme()))),
    ];
    let pairs = attributes.into_iter();
    pairs
        .map(|(name, value)| (name.to_owned(), RestrictedExpression::new_string(value)))
        .collect()
}

/// What an intent may cost of an asset: value or allowance, and the maximum fee.
fn worst_case(intent: &Intent, asset: &AssetId) -> Result<Amount, Denial> {
    let amounts = intent.action.value().into_iter().chain(&intent.fee_max);
    let mut amounts = amounts.filter(|a| a.asset == *asset).map(|a| a.amount);
    let sum = amounts.try_fold(Amount::ZERO, Amount::checked_add);
    sum.ok_or_else(|| {
        Denial::at(
            DenialReason::AmountOverflow,
            "value",
            "value and maximum fee together are over 256 bits",
        )
    })
}

fn no_permit(request: &Request<'_>, too_general: &[RuleId]) -> String {
    let principal = &request.stamp.principal;
    let action = request.decoded.intent().action.name();
    let account = account_id(request.decoded.account());
    let mut message = format!(
        "no policy permits `{principal}` the action `{action}` on account `{account}`, and what \
         nothing permits is denied"
    );
    if !too_general.is_empty() {
        let rules = listed(too_general);
        message.push_str(&format!(
            "; {rules} would match, but `{action}` needs a permit that names it"
        ));
    }
    message
}

fn listed(rules: &[RuleId]) -> String {
    let quoted: Vec<_> = rules.iter().map(|r| format!("`{r}`")).collect();
    quoted.join(", ")
}
