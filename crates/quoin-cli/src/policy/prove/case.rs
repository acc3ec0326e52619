//! A request, and what a charter says to it: the meaning against which every counterexample is
//! checked before it is shown.
//!
//! Cedar evaluates the charter's own policies here, as they are written. What is added is what the
//! nodes add: one failure denies, a forbid that cannot see a fact forbids, a privileged action needs
//! a permit that names it, and so does an unbounded increase of risk.

use super::encode::{FACTS, Question};
use super::rewrite::NAMES;
use super::side::{Demands, Rule, Side};
use cedar_policy::{
    AuthorizationError, Authorizer, Context, Entities, EntityUid, EvaluationError, Request,
};
use quoin_policy::is_privileged;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The attributes of an account.
const ACCOUNT: [&str; 6] = ["chain", "address", "path", "key", "purpose", "scheme"];

/// A request as policies see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Case {
    /// Who asks.
    pub principal: String,
    /// For what.
    pub action: String,
    /// The account's entity.
    pub resource: String,
    /// The account's attributes.
    pub account: BTreeMap<String, Value>,
    /// The context, without what is unknown.
    pub context: BTreeMap<String, Value>,
    /// Whether only the corridor is open.
    pub corridor: bool,
}

/// What a charter says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "decision", rename_all = "kebab-case")]
pub enum Answer {
    /// It refuses.
    Denied {
        /// Why, in words.
        why: String,
    },
    /// It permits, and may demand something first.
    Permitted {
        /// The policies that permit.
        rules: Vec<String>,
        /// What they demand together.
        demands: Demands,
    },
}

impl Answer {
    fn denied(why: impl Into<String>) -> Self {
        Self::Denied { why: why.into() }
    }

    /// Whether this is at least as strict as the other.
    pub fn is_as_strict_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Denied { .. }, _) => true,
            (Self::Permitted { .. }, Self::Denied { .. }) => false,
            (
                Self::Permitted { demands: mine, .. },
                Self::Permitted {
                    demands: theirs, ..
                },
            ) => theirs.within(mine),
        }
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Denied { why } => write!(f, "denied: {why}"),
            Self::Permitted { rules, demands } => {
                write!(f, "permitted by {}, which demands {demands}", quoted(rules))
            }
        }
    }
}

fn quoted(rules: &[String]) -> String {
    let quoted: Vec<String> = rules.iter().map(|r| format!("`{r}`")).collect();
    quoted.join(", ")
}

impl Case {
    /// The request that the solver found, without the facts that the question calls unknown.
    pub fn read(
        request: &Request,
        entities: &Entities,
        question: &Question,
    ) -> Result<Self, String> {
        let id = |uid: Option<&EntityUid>| {
            let uid = uid.ok_or("the solver left the request open")?;
            Ok::<_, String>(uid.id().unescaped().to_owned())
        };
        let resource = request
            .resource()
            .ok_or("the solver left the account open")?;
        // An account of which no policy reads anything is left out; any attributes do.
        let mut account: BTreeMap<String, Value> = ACCOUNT
            .map(|n| (n.to_owned(), "".into()))
            .into_iter()
            .collect();
        if let Some(found) = entities.get(resource) {
            let found = found.to_json_value().map_err(|e| e.to_string())?;
            account.extend(
                found
                    .get("attrs")
                    .and_then(Value::as_object)
                    .cloned()
                    .unwrap_or_default(),
            );
        }
        let context = request
            .context()
            .ok_or("the solver left the context open")?;
        let context = context.to_json_value().map_err(|e| e.to_string())?;
        let context = context.as_object().cloned().unwrap_or_default();
        let mut context: BTreeMap<String, Value> = context.into_iter().collect();
        context.retain(|name, _| !question.missing.contains(name));
        Ok(Self {
            principal: id(request.principal())?,
            action: question.action.clone(),
            resource: id(Some(resource))?,
            account,
            context,
            corridor: question.corridor,
        })
    }

    /// The same request as a charter sees it: with the names of its own address book, where the two
    /// books differ.
    #[must_use]
    pub fn seen_by(&self, side: &Side, other: &Side) -> Self {
        let (mine, theirs) = (side.book(), other.book());
        let text = |name: &str| self.context.get(name).and_then(Value::as_str);
        let mut seen = self.clone();
        for (name, address) in NAMES {
            let (Some(chain), Some(place)) = (text("chain"), text(address)) else {
                continue;
            };
            let key = (chain.to_owned(), place.to_owned());
            if mine.get(&key) != theirs.get(&key) && self.context.contains_key(*name) {
                let known = mine.get(&key).cloned().unwrap_or_default();
                seen.context.insert((*name).to_owned(), known.into());
            }
        }
        seen
    }

    /// What a charter says to the request.
    pub fn answer(&self, side: &Side) -> Result<Answer, String> {
        if !side
            .charter
            .principals
            .iter()
            .any(|p| p.id.as_str() == self.principal)
        {
            return Ok(Answer::denied("the charter does not know who asks"));
        }
        let response =
            Authorizer::new().is_authorized(&self.request()?, &side.set, &self.entities(side)?);
        let rule = |id: &str| side.rules.iter().find(|r| r.id == id);
        for failure in response.diagnostics().errors() {
            let AuthorizationError::PolicyEvaluationError(failure) = failure;
            let id = failure.policy_id().to_string();
            let unseen = matches!(failure.inner(), EvaluationError::RecordAttrDoesNotExist(_));
            if !unseen || !self.lacks_facts() {
                return Ok(Answer::denied(format!("policy `{id}` cannot be evaluated")));
            }
            if rule(&id).is_some_and(|r| !r.permits) {
                return Ok(Answer::denied(format!("`{id}` forbids what it cannot see")));
            }
        }
        let reasons = response.diagnostics().reason();
        let mut matched: Vec<&Rule> = reasons.filter_map(|id| rule(id.as_ref())).collect();
        matched.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(self.weighed(side, &matched))
    }

    fn lacks_facts(&self) -> bool {
        FACTS.iter().any(|fact| !self.context.contains_key(*fact))
    }

    /// What the policies that matched come to.
    fn weighed(&self, side: &Side, matched: &[&Rule]) -> Answer {
        let ids = |rules: &[&Rule]| rules.iter().map(|r| r.id.clone()).collect::<Vec<_>>();
        if matched.iter().any(|r| !r.permits) {
            return Answer::denied(format!("forbidden by {}", quoted(&ids(matched))));
        }
        let permits = matched.to_vec();
        if self.corridor && !self.fits_the_corridor(side) {
            return Answer::denied("only the corridor is open, and this is outside it");
        }
        if permits.is_empty() {
            return Answer::denied("no policy permits it");
        }
        if is_privileged(&self.action) && !permits.iter().any(|r| r.names(&self.action)) {
            let action = &self.action;
            return Answer::denied(format!("`{action}` needs a permit that names it"));
        }
        // In the corridor the other permits count with all that they demand, but open nothing.
        let mut open = permits.iter().filter(|r| !self.corridor || r.corridor);
        if open.clone().next().is_none() {
            return Answer::denied("only the corridor is open, and no permit is `@corridor`");
        }
        if self.is_unbounded() && !open.any(|r| r.unbounded) {
            return Answer::denied("it could execute for ever, and no permit is `@unbounded`");
        }
        let mut demands = Demands::default();
        permits.iter().for_each(|r| demands.merge(&r.demands));
        let rules = ids(&permits);
        Answer::Permitted { rules, demands }
    }

    fn text(&self, name: &str) -> &str {
        self.context
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    fn is_unbounded(&self) -> bool {
        self.text("horizon") == "unbounded" && self.text("risk") == "increases"
    }

    fn fits_the_corridor(&self, side: &Side) -> bool {
        let place = (self.text("chain").to_owned(), self.text("to").to_owned());
        let tops_up = self.action == "transfer" && side.margins().any(|margin| margin == place);
        self.text("risk") == "reduces" || tops_up
    }

    /// The request and its entities without any roles, as encoded policies see it.
    #[cfg(test)]
    pub fn bare(&self) -> Result<(Request, Entities), String> {
        Ok((self.request()?, self.entities_with(&BTreeSet::new())?))
    }

    fn request(&self) -> Result<Request, String> {
        let context = Context::from_json_value(json!(self.context), None);
        let uid = |kind: &str, id: &str| {
            EntityUid::from_json(json!({ "type": kind, "id": id })).map_err(|e| e.to_string())
        };
        Request::new(
            uid("Principal", &self.principal)?,
            uid("Action", &self.action)?,
            uid("Account", &self.resource)?,
            context.map_err(|e| e.to_string())?,
            None,
        )
        .map_err(|e| e.to_string())
    }

    fn entities(&self, side: &Side) -> Result<Entities, String> {
        let principals = side.charter.principals.iter();
        let asker = principals.clone().find(|p| p.id.as_str() == self.principal);
        let roles: BTreeSet<&str> = asker
            .into_iter()
            .flat_map(|p| p.roles.iter().map(|r| r.as_str()))
            .collect();
        self.entities_with(&roles)
    }

    fn entities_with(&self, roles: &BTreeSet<&str>) -> Result<Entities, String> {
        let role = |id: &&str| json!({ "type": "Role", "id": id });
        let mut all: Vec<Value> = roles
            .iter()
            .map(|id| json!({ "uid": role(id), "attrs": {}, "parents": [] }))
            .collect();
        all.push(json!({
            "uid": { "type": "Principal", "id": self.principal },
            "attrs": {},
            "parents": roles.iter().map(role).collect::<Vec<_>>(),
        }));
        all.push(json!({
            "uid": { "type": "Account", "id": self.resource },
            "attrs": self.account,
            "parents": [],
        }));
        Entities::from_json_value(Value::Array(all), None).map_err(|e| e.to_string())
    }
}
