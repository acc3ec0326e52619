//! Asking the policies: what a request looks like to them, and what their answer means.

use crate::admits::is_about_no_key;
use crate::cedar::{Need, Query, Verdict};
use crate::constitution::Constitution;
use crate::denial::{DEFAULT_DENY, Denial, DenialReason};
use crate::explain::account_id;
use crate::facts::FactView;
use crate::judge::Request;
use crate::schema::{Pairs, View, account_pairs, context_pairs, purpose_name, scheme_name};
use crate::suggest::{may_read_policies, suggestion};
use quoin_core::RuleId;
use quoin_core::intent::{Horizon, RiskEffect};
use quoin_core::stamp::Account;

impl Constitution {
    /// The permits that match; in the corridor one of them has to be annotated `@corridor`.
    ///
    /// The others are among them there too, with all that they demand: a freeze, which one person
    /// states, must not be what makes a transfer need fewer approvals.
    pub(crate) fn permits(
        &self,
        request: &Request<'_>,
        corridor: bool,
    ) -> Result<Vec<RuleId>, Denial> {
        let intent = request.decoded.intent();
        let facts = self.believed(request);
        let view = self.view(request, &facts);
        let query = query(&view, request).map_err(|denial| self.described(intent, denial))?;
        let denied = match self.rules.evaluate(&query) {
            Verdict::Permit(rules) if corridor => {
                if !self.rules.in_corridor(&rules).is_empty() {
                    return Ok(rules);
                }
                let message = format!(
                    "only what reduces risk is signed now, and none of {} is annotated `@corridor`",
                    listed(&rules)
                );
                let first = rules.first().map(RuleId::as_str).unwrap_or_default();
                Denial::by(DenialReason::CorridorOnly, first, message)
            }
            Verdict::Permit(rules) => return Ok(rules),
            Verdict::NoPermit { too_general, needs } => {
                let message = no_permit(&query, &too_general) + &needed(&needs);
                let mut denial = Denial::by(DenialReason::NoPermit, DEFAULT_DENY, message);
                if may_read_policies(self, &request.stamp.principal, request.now) {
                    denial.suggestion = suggestion(&view, &query);
                }
                denial
            }
            verdict => refused(verdict),
        };
        Err(self.described(intent, denied))
    }

    /// Refuses what could execute for ever and adds risk, unless a permit grants just that; in the
    /// corridor one for the corridor.
    pub(crate) fn horizon_granted(
        &self,
        request: &Request<'_>,
        rules: &[RuleId],
        corridor: bool,
    ) -> Result<(), Denial> {
        let intent = request.decoded.intent();
        let harmless = intent.horizon != Horizon::Unbounded || intent.risk != RiskEffect::Increases;
        let granting = match corridor {
            true => &self.rules.in_corridor(rules),
            false => rules,
        };
        if harmless || self.rules.any_unbounded(granting) {
            return Ok(());
        }
        let message = format!(
            "the signature could be used for ever, and none of {} is annotated `@unbounded`; ask \
             for one with a deadline, or grant it",
            listed(rules)
        );
        let first = rules.first().map(RuleId::as_str).unwrap_or_default();
        let denial = Denial::by(DenialReason::UnboundedHorizon, first, message);
        Err(self.described(intent, denial))
    }

    /// What is believed of the world for this request.
    pub(crate) fn believed(&self, request: &Request<'_>) -> FactView {
        let facts = request.conditions.facts;
        facts.view(self, request.decoded.intent(), request.now)
    }

    pub(crate) fn view<'a>(&'a self, request: &'a Request<'_>, facts: &'a FactView) -> View<'a> {
        View {
            constitution: self,
            intent: request.decoded.intent(),
            custody: request.stamp.custody,
            facts: Some(facts),
        }
    }
}

/// A request as policies see it.
pub(crate) fn query<'a>(view: &View<'_>, request: &'a Request<'_>) -> Result<Query<'a>, Denial> {
    Ok(Query {
        principal: &request.stamp.principal,
        action: request.decoded.intent().action.name(),
        account: account_id(request.decoded.account()),
        account_attributes: account_attributes(request),
        context: context_pairs(view)?,
    })
}

/// The denial of a forbid or of a failure; nothing else comes here.
fn refused(verdict: Verdict) -> Denial {
    match verdict {
        Verdict::Forbid { rules, needs } => {
            let first = rules.first().map(RuleId::as_str).unwrap_or_default();
            let message = format!("forbidden by {}{}", listed(&rules), needed(&needs));
            Denial::by(DenialReason::Forbidden, first, message)
        }
        Verdict::Failed(rule, detail) => {
            let rule = rule.as_ref().map(RuleId::as_str).unwrap_or_default();
            let message = format!("policies cannot be evaluated: {detail}");
            Denial::by(DenialReason::PolicyError, rule, message)
        }
        Verdict::Permit(_) | Verdict::NoPermit { .. } => {
            let message = "no policy permits it";
            Denial::by(DenialReason::NoPermit, DEFAULT_DENY, message)
        }
    }
}

fn account_attributes(request: &Request<'_>) -> Pairs {
    let account = request.decoded.account();
    // A request about a node is about no key: what its stamp says of one means nothing.
    if is_about_no_key(&request.decoded.intent().action) {
        let key = request.key.map(|k| k.name.as_str()).unwrap_or_default();
        return of_account(account, [key, "", ""]);
    }
    let purpose = purpose_name(request.stamp.purpose);
    let scheme = scheme_name(request.decoded.scheme());
    let key = request.key.map(|k| k.name.as_str()).unwrap_or_default();
    of_account(account, [key, purpose, scheme])
}

/// The account's attributes, with the name, purpose and scheme of its key.
fn of_account(account: &Account, [key, purpose, scheme]: [&str; 3]) -> Pairs {
    account_pairs([
        account.chain.to_string(),
        account.address.to_string(),
        account.path.to_string(),
        key.to_owned(),
        purpose.to_owned(),
        scheme.to_owned(),
    ])
}

fn no_permit(query: &Query<'_>, too_general: &[RuleId]) -> String {
    let Query {
        principal,
        action,
        account,
        ..
    } = query;
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

/// Which policies could not be asked, because nobody knows what they ask for.
fn needed(needs: &[Need]) -> String {
    let each = needs.iter().map(|need| {
        let facts: Vec<_> = need.facts.iter().map(|f| format!("`{f}`")).collect();
        format!("; `{}` needs fresh {}", need.rule, facts.join(", "))
    });
    each.collect()
}

pub(crate) fn listed(rules: &[RuleId]) -> String {
    let quoted: Vec<_> = rules.iter().map(|r| format!("`{r}`")).collect();
    quoted.join(", ")
}
