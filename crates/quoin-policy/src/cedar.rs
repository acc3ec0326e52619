//! The policies, compiled once, and their evaluation.
//!
//! Cedar decides which policies match; what this module adds is stricter: every policy has an id,
//! only known annotations, only names that the charter defines; any evaluation error is a failure;
//! and the privileged actions need a permit that names them.

use crate::annotation::{Marks, annotations};
use crate::charter::Charter;
use crate::check::CharterError;
use crate::clauses::{facts_read, peeks};
use crate::denial::DEFAULT_DENY;
use crate::index::{Entry, Index, Wanted, Who};
use crate::obligation::Obligations;
use crate::schema::{
    CHANGE_CHARTER, Pairs, UNFREEZE, action_names, is_privileged, names_of, request_schema_text,
    schema_text,
};
use crate::shape;
use cedar_policy::{
    ActionConstraint, Context, Effect, Entities, Entity, EntityId, EntityTypeName, EntityUid,
    EvalResult, EvaluationError, Policy, PolicyId, PolicySet, Request, Schema, ValidationMode,
    Validator, eval_expression, pst,
};
use quoin_core::hash::tagged;
use quoin_core::{PrincipalId, RuleId, tags};
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

/// The compiled policies of a charter.
#[derive(Debug)]
pub(crate) struct Rules {
    index: Index,
    /// In which the facts can be unknown.
    schema: Schema,
    /// In which the facts are known, against which policies are written.
    pub(crate) strict: Schema,
    types: Types,
    facts: BTreeMap<RuleId, RuleFacts>,
    principals: BTreeMap<PrincipalId, Known>,
    /// All policies together, against which the index is tested and measured.
    #[cfg(any(test, feature = "measure"))]
    whole: PolicySet,
}

/// What is known of a policy beside its Cedar text.
#[derive(Debug)]
pub(crate) struct RuleFacts {
    pub(crate) obligations: Obligations,
    /// What the permit may do that others may not.
    pub(crate) marks: Marks,
    /// The hash of the policy's text, which approvals rely on.
    pub(crate) text_hash: [u8; 32],
    pub(crate) permits: bool,
    /// The policy's syntax tree, for explanations.
    pub(crate) body: pst::Template,
    /// The actions that the scope names one by one.
    names: BTreeSet<String>,
    /// What the conditions read of feeds.
    reads: BTreeSet<String>,
}

/// A principal, and all that is the same in each of its requests.
#[derive(Debug)]
struct Known {
    uid: EntityUid,
    /// Its entity and those of its roles.
    entities: Entities,
    /// By whom scopes may name it.
    whos: Vec<Who>,
}

/// What the policies say about a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// All the permits that match; at least one names the action when it is privileged.
    Permit(Vec<RuleId>),
    /// No permit matches.
    NoPermit {
        /// The wildcard permits that would, were the action not privileged.
        too_general: Vec<RuleId>,
        /// The permits that could not be asked, because a fact is unknown.
        needs: Vec<Need>,
    },
    /// The forbids that match.
    Forbid {
        /// All of them.
        rules: Vec<RuleId>,
        /// Those that forbid because a fact is unknown.
        needs: Vec<Need>,
    },
    /// A policy could not be evaluated: its id, when it is one policy's fault, and why.
    Failed(Option<RuleId>, String),
}

/// A policy that could not be asked, because a fact is unknown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Need {
    pub(crate) rule: RuleId,
    /// The unknown facts that it reads.
    pub(crate) facts: Vec<String>,
}

/// What Cedar is asked.
pub(crate) struct Query<'a> {
    pub(crate) principal: &'a PrincipalId,
    pub(crate) action: &'a str,
    pub(crate) account: String,
    pub(crate) account_attributes: Pairs,
    pub(crate) context: Pairs,
}

/// A query as Cedar takes it.
pub(crate) struct Prepared {
    pub(crate) request: Request,
    pub(crate) entities: Entities,
    /// The facts of the action that are unknown.
    unknown: BTreeSet<&'static str>,
}

impl Prepared {
    /// Which of these facts are unknown.
    pub(crate) fn unknown_of(&self, facts: &BTreeSet<String>) -> Vec<String> {
        let unknown = facts.iter().filter(|f| self.unknown.contains(f.as_str()));
        unknown.cloned().collect()
    }
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

fn schema(text: &str) -> Result<Schema, CharterError> {
    let (schema, _) = Schema::from_cedarschema_str(text).map_err(|e| syntax(&e))?;
    Ok(schema)
}

impl Rules {
    /// Reads, names, checks and validates the charter's policies.
    pub(crate) fn compile(charter: &Charter) -> Result<Self, CharterError> {
        let types = Types::new()?;
        // Before Cedar sees the text: what is too deep for it ends the process.
        shape::check(&charter.policies)?;
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
        let strict = schema(&schema_text())?;
        validate(&strict, &policies)?;
        governed(&facts)?;
        Ok(Self {
            principals: known_principals(charter, &types)?,
            index: Index::build(facts.iter().map(|(id, f)| (id, &f.body)), &action_names())
                .map_err(|e| syntax(&e))?,
            schema: schema(&request_schema_text())?,
            strict,
            types,
            facts,
            #[cfg(any(test, feature = "measure"))]
            whole: policies,
        })
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = &RuleId> {
        self.facts.keys()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (&RuleId, &RuleFacts)> {
        self.facts.iter()
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

    /// Those of these permits that are annotated `@corridor`.
    pub(crate) fn in_corridor(&self, ids: &[RuleId]) -> Vec<RuleId> {
        let marked = |id: &&RuleId| self.facts.get(id).is_some_and(|f| f.marks.corridor);
        ids.iter().filter(marked).cloned().collect()
    }

    /// Whether one of these permits is annotated `@unbounded`.
    pub(crate) fn any_unbounded(&self, ids: &[RuleId]) -> bool {
        let mut facts = ids.iter().filter_map(|id| self.facts.get(id));
        facts.any(|fact| fact.marks.unbounded)
    }

    /// Asks all policies that could match.
    pub(crate) fn evaluate(&self, query: &Query<'_>) -> Verdict {
        let prepared = match self.prepare(query) {
            Ok(prepared) => prepared,
            Err(detail) => return Verdict::Failed(None, detail),
        };
        let mut answer = Answer::default();
        for entry in self.slice(query) {
            let Prepared {
                request, entities, ..
            } = &prepared;
            let result = eval_expression(request, entities, &entry.condition);
            let permits = self.facts.get(&entry.rule).is_some_and(|f| f.permits);
            let rule = entry.rule.clone();
            match result {
                Ok(EvalResult::Bool(false)) => {}
                Ok(EvalResult::Bool(true)) if permits => answer.permits.push(rule),
                Ok(EvalResult::Bool(true)) => answer.forbids.push(rule),
                Ok(_) => {
                    let detail = "a condition is neither true nor false".to_owned();
                    answer.broken.push((Some(rule), detail));
                }
                Err(error) => answer.failures.push((Some(rule), error)),
            }
        }
        self.verdict(query.action, &prepared, answer)
    }

    /// Asks Cedar's authorizer with every policy, as if there were no index.
    #[cfg(any(test, feature = "measure"))]
    pub(crate) fn evaluate_whole(&self, query: &Query<'_>) -> Verdict {
        let prepared = match self.prepare(query) {
            Ok(prepared) => prepared,
            Err(detail) => return Verdict::Failed(None, detail),
        };
        let Prepared {
            request, entities, ..
        } = &prepared;
        let authorizer = cedar_policy::Authorizer::new();
        let response = authorizer.is_authorized(request, &self.whole, entities);
        let mut answer = Answer::default();
        answer.add(&response);
        self.verdict(query.action, &prepared, answer)
    }

    /// The policies that could match.
    pub(crate) fn slice(&self, query: &Query<'_>) -> Vec<&Entry> {
        self.index.slice(&self.wanted(query))
    }

    /// The policies that could match if bounds in front of their conditions were wider.
    pub(crate) fn near(&self, query: &Query<'_>) -> Vec<&Entry> {
        self.index.near(&self.wanted(query))
    }

    /// The policies whose scope fits.
    pub(crate) fn fitting(&self, query: &Query<'_>) -> Vec<&Entry> {
        self.index.fitting(&self.wanted(query))
    }

    fn wanted<'a>(&'a self, query: &'a Query<'_>) -> Wanted<'a> {
        let known = self.principals.get(query.principal);
        let whos = known.map(|k| k.whos.as_slice()).unwrap_or_default();
        Wanted {
            action: query.action,
            whos,
            account: &query.account,
            context: &query.context,
            resource: &query.account_attributes,
        }
    }

    /// Joins what the policies say: a failure is a failure whatever else matches, a forbid wins over
    /// every permit, and what nothing permits is not permitted.
    fn verdict(&self, action: &str, prepared: &Prepared, mut answer: Answer) -> Verdict {
        let (mut permit_needs, mut forbid_needs) = (Vec::new(), Vec::new());
        for (rule, error) in std::mem::take(&mut answer.failures) {
            // Cedar skips a policy that fails; a skipped forbid must not let anything through.
            let Some(need) = rule.as_ref().and_then(|r| self.need(r, &error, prepared)) else {
                answer.broken.push((rule, error.to_string()));
                continue;
            };
            let permits = self.facts.get(&need.rule).is_some_and(|f| f.permits);
            if permits {
                permit_needs.push(need);
            } else {
                answer.forbids.push(need.rule.clone());
                forbid_needs.push(need);
            }
        }
        if let Some((rule, detail)) = answer.broken.into_iter().min() {
            return Verdict::Failed(rule, detail);
        }
        permit_needs.sort();
        forbid_needs.sort();
        let (permits, forbids) = (sorted(answer.permits), sorted(answer.forbids));
        if !forbids.is_empty() {
            let (rules, needs) = (forbids, forbid_needs);
            return Verdict::Forbid { rules, needs };
        }
        if !permits.is_empty() && self.covers(&permits, action) {
            return Verdict::Permit(permits);
        }
        let (too_general, needs) = (permits, permit_needs);
        Verdict::NoPermit { too_general, needs }
    }

    /// What a policy that failed would need to know, when that is why it failed.
    ///
    /// Every attribute but the facts is in every request, by the schema: what a record lacks in a
    /// policy that reads a fact that is unknown is that fact.
    fn need(&self, rule: &RuleId, error: &EvaluationError, prepared: &Prepared) -> Option<Need> {
        if !matches!(error, EvaluationError::RecordAttrDoesNotExist(_)) {
            return None;
        }
        let facts = prepared.unknown_of(&self.facts.get(rule)?.reads);
        let rule = rule.clone();
        (!facts.is_empty()).then_some(Need { rule, facts })
    }

    /// Whether one of the permits may cover the action: any for most, one that names it for the
    /// privileged.
    pub(crate) fn covers(&self, permits: &[RuleId], action: &str) -> bool {
        let mut facts = permits.iter().filter_map(|id| self.facts.get(id));
        !is_privileged(action) || facts.any(|f| f.names.contains(action))
    }

    /// Makes of a query what Cedar takes; the principal, the account's and the context's attributes
    /// and their types are held against the schema.
    pub(crate) fn prepare(&self, query: &Query<'_>) -> Result<Prepared, String> {
        let known = self.principals.get(query.principal);
        let known = known.ok_or("unknown principal")?;
        let resource = uid(&self.types.account, &query.account);
        let attributes = expressions(&query.account_attributes)?;
        let account = Entity::new_with_tags(resource.clone(), attributes, [], []);
        let account = account.map_err(|e| e.to_string())?;
        let entities = known.entities.clone();
        let entities = entities.add_entities([account], Some(&self.schema));
        let context = Context::from_pairs(expressions(&query.context)?);
        let request = Request::new(
            known.uid.clone(),
            uid(&self.types.action, query.action),
            resource,
            context.map_err(|e| e.to_string())?,
            Some(&self.schema),
        );
        let given = |name: &str| query.context.iter().any(|(n, _)| *n == name);
        let names = names_of(query.action).into_iter().flatten();
        let unknown = names.filter(|(name, is_fact)| *is_fact && !given(name));
        Ok(Prepared {
            request: request.map_err(|e| e.to_string())?,
            entities: entities.map_err(|e| e.to_string())?,
            unknown: unknown.map(|(name, _)| name).collect(),
        })
    }
}

/// What the policies of a slice say together.
#[derive(Default)]
struct Answer {
    permits: Vec<RuleId>,
    forbids: Vec<RuleId>,
    failures: Vec<(Option<RuleId>, EvaluationError)>,
    broken: Vec<(Option<RuleId>, String)>,
}

#[cfg(any(test, feature = "measure"))]
impl Answer {
    fn add(&mut self, response: &cedar_policy::Response) {
        use cedar_policy::{AuthorizationError, Decision};

        let diagnostics = response.diagnostics();
        let parse = |id: &PolicyId| RuleId::from_str(AsRef::<str>::as_ref(id)).ok();
        let ids = diagnostics.reason().filter_map(parse);
        // The reasons are the forbids that match or, without any, the permits.
        match response.decision() {
            Decision::Allow => self.permits.extend(ids),
            Decision::Deny => self.forbids.extend(ids),
        }
        self.failures.extend(diagnostics.errors().map(|e| match e {
            AuthorizationError::PolicyEvaluationError(e) => {
                (parse(e.policy_id()), e.inner().clone())
            }
        }));
    }
}

fn sorted(mut ids: Vec<RuleId>) -> Vec<RuleId> {
    ids.sort();
    ids.dedup();
    ids
}

type Expressions = Vec<(String, cedar_policy::RestrictedExpression)>;

fn expressions(pairs: &Pairs) -> Result<Expressions, String> {
    let pairs = pairs.iter();
    pairs
        .map(|(name, seen)| Ok(((*name).to_owned(), seen.expression()?)))
        .collect()
}

/// Refuses policies under which the charter could never change again, or which let one person lift
/// what one person has frozen.
fn governed(facts: &BTreeMap<RuleId, RuleFacts>) -> Result<(), CharterError> {
    let names = |action: &'static str| {
        let permits = facts.iter().filter(|(_, fact)| fact.permits);
        permits.filter(move |(_, fact)| fact.names.contains(action))
    };
    if let Some((id, _)) = names(UNFREEZE).find(|(_, f)| f.obligations.met_by_initiator()) {
        let policy = id.to_string();
        return Err(CharterError::UnfreezeAlone { policy });
    }
    match names(CHANGE_CHARTER).next() {
        None => Err(CharterError::NobodyChanges),
        Some(_) => Ok(()),
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

fn known_principals(
    charter: &Charter,
    types: &Types,
) -> Result<BTreeMap<PrincipalId, Known>, CharterError> {
    let all = charter.principals.iter().map(|p| {
        let name = uid(&types.principal, p.id.as_str());
        let roles = p.roles.iter().map(|r| uid(&types.role, r.as_str()));
        let own = Entity::new_no_attrs(name.clone(), roles.clone().collect());
        let roles = roles.map(|r| Entity::new_no_attrs(r, std::iter::empty().collect()));
        let entities = Entities::from_entities(std::iter::once(own).chain(roles), None);
        let held = p.roles.iter().map(|r| Who::Role(r.to_string()));
        let selves = [Who::Anyone, Who::Principal(p.id.to_string())];
        let known = Known {
            uid: name,
            entities: entities.map_err(|e| syntax(&e))?,
            whos: selves.into_iter().chain(held).collect(),
        };
        Ok((p.id.clone(), known))
    });
    all.collect()
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
        let invalid = |detail: String| CharterError::PolicyInvalid {
            policy: id.to_string(),
            detail,
        };
        let body = match policy.to_pst().map_err(|e| invalid(e.to_string()))? {
            pst::Policy::Static(policy) => policy.body().clone(),
            _ => return Err(invalid("is linked to a template".to_owned())),
        };
        if let Some(problem) = peeks(&body) {
            return Err(invalid(problem.to_owned()));
        }
        let text = policy.to_string();
        let (obligations, marks) = annotations(charter, id, policy)?;
        Ok(Self {
            obligations,
            marks,
            text_hash: tagged(tags::POLICY, &[text.as_bytes()]),
            permits: policy.effect() == Effect::Permit,
            reads: facts_read(&body),
            body,
            names,
        })
    }
}
