//! The policies, compiled once, and their evaluation.
//!
//! Cedar decides which policies match; what this module adds is stricter: every policy has an id,
//! only known annotations, only names that the charter defines; any evaluation error is a failure;
//! and the privileged actions need a permit that names them.

use crate::charter::Charter;
use crate::check::{CharterError, reachable};
use crate::denial::DEFAULT_DENY;
use crate::obligation::{ApprovalsObligation, Obligations, parse_delay};
use crate::schema::{is_privileged, schema_text};
use cedar_policy::{
    ActionConstraint, AuthorizationError, Authorizer, Context, Decision, Effect, Entities, Entity,
    EntityId, EntityTypeName, EntityUid, Policy, PolicyId, PolicySet, Request,
    RestrictedExpression, Schema, ValidationMode, Validator,
};
use quoin_core::hash::tagged;
use quoin_core::{PrincipalId, RuleId, tags};
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

/// The compiled policies of a charter.
#[derive(Debug)]
pub(crate) struct Rules {
    policies: PolicySet,
    schema: Schema,
    authorizer: Authorizer,
    types: Types,
    facts: BTreeMap<RuleId, RuleFacts>,
    /// Each principal's entity with those of its roles.
    principals: BTreeMap<PrincipalId, Vec<Entity>>,
}

/// What is known of a policy beside its Cedar text.
#[derive(Debug)]
pub(crate) struct RuleFacts {
    pub(crate) obligations: Obligations,
    /// The hash of the policy's text, which approvals rely on.
    pub(crate) text_hash: [u8; 32],
    /// The actions that the scope names one by one.
    names: BTreeSet<String>,
}

/// What the policies say about a request.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// All the permits that match; at least one names the action when it is privileged.
    Permit(Vec<RuleId>),
    /// No permit matches; the wildcard permits that would, were the action not privileged.
    NoPermit(Vec<RuleId>),
    /// The forbids that match.
    Forbid(Vec<RuleId>),
    /// A policy could not be evaluated: its id, when it is one policy's fault, and why.
    Failed(Option<RuleId>, String),
}

/// What Cedar is asked.
pub(crate) struct Query<'a> {
    pub(crate) principal: &'a PrincipalId,
    pub(crate) action: &'a str,
    pub(crate) account: String,
    pub(crate) account_attributes: Vec<(String, RestrictedExpression)>,
    pub(crate) context: Vec<(String, RestrictedExpression)>,
}

/// The entity types, parsed once.
#[derive(Clone, Debug)]
struct Types {
    principal: EntityTypeName,
    role: EntityTypeName,
    account: EntityTypeName,
    action: EntityTypeName,
}

impl Types {
    fn new() -> Result<Self, CharterError> {
        let parse = |name| EntityTypeName::from_str(name).map_err(|e| syntax(&e));
        Ok(Self {
            principal: parse("Principal")?,
            role: parse("Role")?,
            account: parse("Account")?,
            action: parse("Action")?,
        })
    }
}

fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

fn syntax(error: &impl std::fmt::Display) -> CharterError {
    CharterError::PolicySyntax {
        detail: error.to_string(),
    }
}

impl Rules {
    /// Reads, names, checks and validates the charter's policies.
    pub(crate) fn compile(charter: &Charter) -> Result<Self, CharterError> {
        let types = Types::new()?;
        let (schema, _) = Schema::from_cedarschema_str(&schema_text()).map_err(|e| syntax(&e))?;
        let read = PolicySet::from_str(&charter.policies).map_err(|e| syntax(&e))?;
        if let Some(template) = read.templates().next() {
            let policy = template.id().to_string();
            return Err(CharterError::Template { policy });
        }
        let mut policies = PolicySet::new();
        let mut facts = BTreeMap::new();
        for policy in read.policies() {
            let id = rule_id(policy)?;
            known_names(charter, &id, policy)?;
            let fact = RuleFacts::read(charter, &id, policy)?;
            if facts.insert(id.clone(), fact).is_some() {
                return Err(CharterError::Duplicate {
                    place: "policies".to_owned(),
                    value: id.to_string(),
                });
            }
            let named = policy.new_id(PolicyId::new(id.as_str()));
            policies.add(named).map_err(|e| syntax(&e))?;
        }
        validate(&schema, &policies)?;
        Ok(Self {
            principals: principal_entities(charter, &types),
            authorizer: Authorizer::new(),
            policies,
            schema,
            types,
            facts,
        })
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = &RuleId> {
        self.facts.keys()
    }

    pub(crate) fn has(&self, id: &str) -> bool {
        id.parse()
            .is_ok_and(|id: RuleId| self.facts.contains_key(&id))
    }

    pub(crate) fn facts(&self, id: &RuleId) -> Option<&RuleFacts> {
        self.facts.get(id)
    }

    /// The union of the obligations of all these policies.
    pub(crate) fn obligations(&self, ids: &[RuleId]) -> Obligations {
        let mut all = Obligations::default();
        for fact in ids.iter().filter_map(|id| self.facts.get(id)) {
            all.merge(&fact.obligations);
        }
        all
    }

    /// Asks all policies.
    pub(crate) fn evaluate(&self, query: Query<'_>) -> Verdict {
        let action = query.action.to_owned();
        let (request, entities) = match self.prepare(query) {
            Ok(prepared) => prepared,
            Err(detail) => return Verdict::Failed(None, detail),
        };
        let response = self
            .authorizer
            .is_authorized(&request, &self.policies, &entities);
        let diagnostics = response.diagnostics();
        // Cedar skips a policy that fails; a skipped forbid must not let anything through.
        let parse = |id: &PolicyId| RuleId::from_str(AsRef::<str>::as_ref(id)).ok();
        let failures = diagnostics.errors().map(|e| match e {
            AuthorizationError::PolicyEvaluationError(e) => (parse(e.policy_id()), e.to_string()),
        });
        if let Some((rule, detail)) = failures.min() {
            return Verdict::Failed(rule, detail);
        }
        let mut ids: Vec<RuleId> = diagnostics.reason().filter_map(parse).collect();
        ids.sort();
        match response.decision() {
            Decision::Allow if !ids.is_empty() && self.covers(&ids, &action) => {
                Verdict::Permit(ids)
            }
            Decision::Allow => Verdict::NoPermit(ids),
            Decision::Deny if ids.is_empty() => Verdict::NoPermit(ids),
            Decision::Deny => Verdict::Forbid(ids),
        }
    }

    /// Whether one of the permits may cover the action: any for most, one that names it for the
    /// privileged.
    fn covers(&self, permits: &[RuleId], action: &str) -> bool {
        let mut facts = permits.iter().filter_map(|id| self.facts.get(id));
        !is_privileged(action) || facts.any(|f| f.names.contains(action))
    }

    fn prepare(&self, query: Query<'_>) -> Result<(Request, Entities), String> {
        let known = self.principals.get(query.principal);
        let mut entities = known.ok_or("unknown principal")?.clone();
        let resource = uid(&self.types.account, &query.account);
        let attributes = query.account_attributes;
        let account = Entity::new_with_tags(resource.clone(), attributes, [], []);
        entities.push(account.map_err(|e| e.to_string())?);
        let entities = Entities::from_entities(entities, Some(&self.schema));
        let context = Context::from_pairs(query.context).map_err(|e| e.to_string())?;
        let request = Request::new(
            uid(&self.types.principal, query.principal.as_str()),
            uid(&self.types.action, query.action),
            resource,
            context,
            Some(&self.schema),
        );
        let request = request.map_err(|e| e.to_string())?;
        Ok((request, entities.map_err(|e| e.to_string())?))
    }
}

fn rule_id(policy: &Policy) -> Result<RuleId, CharterError> {
    let place = policy.id().to_string();
    let text = policy.annotation("id");
    let id = text.and_then(|text| RuleId::from_str(text).ok());
    id.filter(|id| id.as_str() != DEFAULT_DENY)
        .ok_or(CharterError::PolicyId { place })
}

/// Refuses principals and roles that the charter does not define: a misspelt forbid is a hole.
fn known_names(charter: &Charter, id: &RuleId, policy: &Policy) -> Result<(), CharterError> {
    for literal in policy.entity_literals() {
        let name: &str = literal.id().unescaped();
        let known = match literal.type_name().to_string().as_str() {
            "Principal" => charter.principals.iter().any(|p| p.id.as_str() == name),
            "Role" => charter.principals.iter().any(|p| p.holds(name)),
            _ => true,
        };
        if !known {
            return Err(CharterError::UnknownName {
                place: format!("policies.{id}"),
                name: name.to_owned(),
            });
        }
    }
    Ok(())
}

fn validate(schema: &Schema, policies: &PolicySet) -> Result<(), CharterError> {
    let result = Validator::new(schema.clone()).validate(policies, ValidationMode::Strict);
    let errors = result
        .validation_errors()
        .map(|e| (e.policy_id().to_string(), e.to_string()));
    // Warnings are refused too: a policy that can never match, or text that only looks the same.
    let warnings = result
        .validation_warnings()
        .map(|w| (w.policy_id().to_string(), w.to_string()));
    match errors.chain(warnings).min() {
        None => Ok(()),
        Some((policy, detail)) => Err(CharterError::PolicyInvalid { policy, detail }),
    }
}

fn principal_entities(charter: &Charter, types: &Types) -> BTreeMap<PrincipalId, Vec<Entity>> {
    let entities = charter.principals.iter().map(|p| {
        let roles = p.roles.iter().map(|r| uid(&types.role, r.as_str()));
        let own = Entity::new_no_attrs(
            uid(&types.principal, p.id.as_str()),
            roles.clone().collect(),
        );
        let roles = roles.map(|r| Entity::new_no_attrs(r, std::iter::empty().collect()));
        (p.id.clone(), std::iter::once(own).chain(roles).collect())
    });
    entities.collect()
}

impl RuleFacts {
    fn read(charter: &Charter, id: &RuleId, policy: &Policy) -> Result<Self, CharterError> {
        let names = match policy.action_constraint() {
            ActionConstraint::Any => BTreeSet::new(),
            ActionConstraint::Eq(action) => BTreeSet::from([action.id().unescaped().to_owned()]),
            ActionConstraint::In(actions) => {
                let names = actions.iter().map(|a| a.id().unescaped().to_owned());
                names.collect()
            }
        };
        let text = policy.to_string();
        Ok(Self {
            obligations: annotations(charter, id, policy)?,
            text_hash: tagged(tags::POLICY, &[text.as_bytes()]),
            names,
        })
    }
}

fn annotations(
    charter: &Charter,
    id: &RuleId,
    policy: &Policy,
) -> Result<Obligations, CharterError> {
    let mut obligations = Obligations::default();
    for (annotation, value) in policy.annotations() {
        let bad = |problem| CharterError::BadAnnotation {
            policy: id.to_string(),
            annotation: annotation.to_owned(),
            value: value.to_owned(),
            problem,
        };
        if annotation == "id" {
            continue;
        }
        if policy.effect() == Effect::Forbid {
            return Err(bad(
                "demands something of a forbid, which has nothing to demand",
            ));
        }
        match annotation {
            "approvals" => {
                let read = ApprovalsObligation::parse(value)
                    .ok_or_else(|| bad("must be `<number> of <role>`, such as `2 of treasury`"))?;
                let place = format!("policies.{id}");
                reachable(&place, read.role.as_str(), read.count, &charter.principals)?;
                obligations.approvals.insert(read.role, read.count);
            }
            "delay" => {
                obligations.delay_ms = parse_delay(value).ok_or_else(|| {
                    bad("must be a number and `s`, `m`, `h` or `d`, at most 31 days")
                })?;
            }
            _ => return Err(bad("is unknown; known are `id`, `approvals` and `delay`")),
        }
    }
    Ok(obligations)
}
