//! Judgement: the one function that turns a decoded request into a warrant.
//!
//! Everything that is not a permit is a denial: an unknown name, a missing field, an error. The
//! order is fixed: who asks and with which key; what stops it whatever the policies say, which are
//! freezes, a node that is cut off, vetoes, keys that may only receive and addresses that are too
//! new; what policies say; what they demand first; and last what budgets and slots have room for,
//! all of it taken in one step.

use crate::approval::{APPROVALS_MAX, Approval, IgnoredApproval, Terms, intent_hash};
use crate::conditions::Conditions;
use crate::constitution::Constitution;
use crate::denial::{Denial, DenialReason};
use crate::explain::summary;
use crate::gates::Latitude;
use crate::ledger::{Ledger, Reservation, Spender};
use crate::notice::Subject;
use crate::obligation::{Obligations, Unmet};
use crate::reserve::Costs;
use crate::warrant::Warrant;
use quoin_chain::Decoded;
use quoin_core::{
    Action, Address, Intent, IntentHash, KeyId, KeyName, KeyState, Purpose, RuleId, Scheme, Signed,
    Stamp, TimeMs,
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
pub(crate) enum Stop {
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
        let (rules, reservation) = self.weigh_request(request)?;
        let spender = Spender {
            key: request.key,
            custody: request.stamp.custody,
            set: request.conditions.set,
        };
        let reserved = ledger.reserve(self, &reservation, &spender);
        let reserved = reserved.map_err(|d| self.described(request.decoded.intent(), d))?;
        Ok((rules, reserved))
    }

    /// Judges a request but for what budgets and slots have room for, and takes nothing.
    pub(crate) fn weigh_request(
        &self,
        request: &Request<'_>,
    ) -> Result<(Vec<RuleId>, Reservation), Stop> {
        let intent = request.decoded.intent();
        let described = |denial| self.described(intent, denial);
        let principal = self.admits(request)?;
        let latitude = self.latitude(request, principal).map_err(described)?;
        let anyhow = Obligations::default();
        self.not_vetoed(request, &anyhow).map_err(described)?;
        self.may_spend(request).map_err(described)?;
        self.cooled_off(request).map_err(described)?;
        let corridor = latitude == Latitude::Corridor;
        let rules = self.permits(request, corridor)?;
        self.obligations_met(request, &rules)?;
        self.horizon_granted(request, &rules, corridor)?;
        let costs = Costs {
            decoded: &request.decoded,
            stamp: request.stamp,
            key: request.key,
            at: request.now,
            facts: request.conditions.facts,
            set: request.conditions.set,
            latitude,
        };
        let reservation = self.reservation(&costs).map_err(described)?;
        Ok((rules, reservation))
    }

    /// Puts the request in words before what decided.
    pub(crate) fn described(&self, intent: &Intent, denial: Denial) -> Denial {
        denial.after(&summary(self, intent))
    }

    fn obligations_met(&self, request: &Request<'_>, rules: &[RuleId]) -> Result<(), Stop> {
        let obligations = self.rules.obligations(rules);
        let vetoed = self.not_vetoed(request, &obligations);
        vetoed.map_err(|denial| self.described(request.decoded.intent(), denial))?;
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
        let notices = request.conditions.notices;
        let subject = Subject::Request(request.stamp.request_id);
        let (begin, unseen) = self.noticed(
            &obligations,
            notices,
            (&subject, &request.stamp.principal),
            (request.first_seen, request.now),
        );
        let terms = Terms {
            constitution: self,
            stamp: request.stamp,
            intent_hash: intent_hash(&request.decoded, request.stamp, &relied),
            first_seen: begin,
            now: request.now,
            // Lifting a freeze must not be what a freeze prevents.
            freezes: match request.decoded.intent().action {
                Action::Unfreeze { .. } => None,
                _ => Some(request.conditions.freezes),
            },
        };
        let (mut unmet, ignored) = terms.unmet(&obligations, request.approvals);
        if !unseen.is_empty() {
            // The delay has not begun, so nobody can say when it will have passed.
            unmet.retain(|u| !matches!(u, Unmet::Delay { .. }));
            unmet.extend(unseen);
        }
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
}
