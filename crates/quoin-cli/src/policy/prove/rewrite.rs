//! Policies as conditions on a request alone: what the charter knows is written into them.
//!
//! The solver would take roles, names of the address book and facts for free variables. Here a role
//! becomes the list of its holders, a name that differs between the two charters becomes a case
//! distinction over addresses, and a fact that is unknown becomes an expression that fails.

use super::side::{Rule, Side};
use super::terms::{all, any, attribute, choose, context, entity, equal, failing, not, value, var};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Attributes that are names of the address book, and the addresses that they name.
pub const NAMES: &[(&str, &str)] = &[
    ("to_name", "to"),
    ("from_name", "from"),
    ("spender_name", "spender"),
    ("target_name", "target"),
    ("verifying_contract_name", "verifying_contract"),
];

/// What is written into the conditions of one side.
pub struct Rewriting<'a> {
    side: &'a Side,
    /// Chain and address of each entry that differs between the charters, with this side's name or
    /// none.
    pub renamed: BTreeMap<(String, String), String>,
    /// The facts that are unknown.
    missing: &'a BTreeSet<String>,
}

impl<'a> Rewriting<'a> {
    /// The rewriting of `side`, of which `other` is the other one.
    pub fn new(side: &'a Side, other: &Side, missing: &'a BTreeSet<String>) -> Self {
        let (mine, theirs) = (side.book(), other.book());
        let keys: BTreeSet<_> = mine.keys().chain(theirs.keys()).cloned().collect();
        let differs = keys
            .into_iter()
            .filter(|key| mine.get(key) != theirs.get(key));
        let renamed = differs.map(|key| {
            let name = mine.get(&key).cloned().unwrap_or_default();
            (key, name)
        });
        Self {
            renamed: renamed.collect(),
            side,
            missing,
        }
    }

    /// When a policy matches, given that the request is of an action that it is about.
    pub fn condition(&self, rule: &Rule) -> Result<Value, String> {
        let mut parts = Vec::new();
        parts.extend(self.scope("principal", rule)?);
        parts.extend(self.scope("resource", rule)?);
        let conditions = rule.json.get("conditions").and_then(Value::as_array);
        for condition in conditions.into_iter().flatten() {
            let body = condition.get("body").unwrap_or(&Value::Null);
            let body = self.expression(body);
            parts.push(match condition.get("kind").and_then(Value::as_str) {
                Some("when") => body,
                Some("unless") => not(body),
                _ => {
                    return Err(beyond(
                        rule,
                        "a condition that is neither `when` nor `unless`",
                    ));
                }
            });
        }
        let condition = all(parts);
        if mentions_role(&condition) {
            return Err(beyond(rule, "a role in another place than `principal in`"));
        }
        Ok(condition)
    }

    /// Whether a policy reads a fact that is unknown.
    pub fn lacks(&self, rule: &Rule) -> bool {
        self.missing.iter().any(|fact| reads(&rule.json, fact))
    }

    fn scope(&self, of: &str, rule: &Rule) -> Result<Option<Value>, String> {
        let scope = rule.json.get(of).unwrap_or(&Value::Null);
        let bad = || beyond(rule, "a scope of an unknown form");
        match scope.get("op").and_then(Value::as_str).ok_or_else(bad)? {
            "All" => Ok(None),
            "==" | "in" => {
                let entity = scope.get("entity").ok_or_else(bad)?;
                Ok(Some(self.member(var(of), entity).ok_or_else(bad)?))
            }
            // Each variable has one type, which the schema's validator has checked.
            "is" => match scope.get("in").and_then(|inside| inside.get("entity")) {
                None => Ok(None),
                Some(entity) => Ok(Some(self.member(var(of), entity).ok_or_else(bad)?)),
            },
            _ => Err(bad()),
        }
    }

    /// `of in entity`: the holders of a role, or the entity itself, for nothing else has members.
    fn member(&self, of: Value, inside: &Value) -> Option<Value> {
        let kind = inside.get("type")?.as_str()?;
        let id = inside.get("id")?.as_str()?;
        if kind != "Role" {
            return Some(equal(of, entity(kind, id)));
        }
        let holders = self.side.holders(id);
        Some(any(
            holders.map(|h| equal(of.clone(), entity("Principal", h)))
        ))
    }

    fn expression(&self, of: &Value) -> Value {
        self.membership(of)
            .or_else(|| self.seen(of))
            .unwrap_or_else(|| match of {
                Value::Object(fields) => {
                    let fields = fields.iter().map(|(k, v)| (k.clone(), self.expression(v)));
                    Value::Object(fields.collect::<Map<_, _>>())
                }
                Value::Array(items) => items.iter().map(|v| self.expression(v)).collect(),
                other => other.clone(),
            })
    }

    /// `principal in Role::"..."`, in each of the forms in which it can be written.
    fn membership(&self, of: &Value) -> Option<Value> {
        let (test, right) = match (of.get("in"), of.get("is")) {
            (Some(test), _) => (test, test.get("right")?),
            (None, Some(test)) => (test, test.get("in")?),
            _ => return None,
        };
        let left = test.get("left")?;
        left.get("Var")?;
        let literal = |v: &Value| {
            let entity = v.get("Value")?.get("__entity")?;
            self.member(left.clone(), entity)
        };
        match right.get("Set").and_then(Value::as_array) {
            Some(items) => Some(any(items
                .iter()
                .map(literal)
                .collect::<Option<Vec<_>>>()?)),
            None => literal(right),
        }
    }

    /// `context.<fact>`, `context has <fact>` and `context.<name>`.
    fn seen(&self, of: &Value) -> Option<Value> {
        if let Some(test) = of.get("has") {
            let attr = of_context(test)?;
            return self.missing.contains(attr).then(|| value(false));
        }
        let attr = of_context(of.get(".")?)?;
        if self.missing.contains(attr) {
            return Some(failing(of.clone()));
        }
        let (_, address) = NAMES.iter().find(|(name, _)| *name == attr)?;
        Some(self.name(attr, address))
    }

    fn name(&self, attr: &str, address: &str) -> Value {
        let known = self.renamed.iter();
        known.fold(context(attr), |otherwise, ((chain, place), name)| {
            let here = [
                equal(context("chain"), value(chain.as_str())),
                equal(context(address), value(place.as_str())),
            ];
            choose(all(here), value(name.as_str()), otherwise)
        })
    }
}

/// The attribute, when the expression asks the context for one.
fn of_context(access: &Value) -> Option<&str> {
    (access.get("left")? == &var("context")).then(|| access.get("attr")?.as_str())?
}

/// Whether an expression looks at an attribute of the context.
pub fn reads(of: &Value, attr: &str) -> bool {
    let here = |access: Option<&Value>| access.and_then(of_context) == Some(attr);
    match of {
        Value::Object(fields) => {
            here(of.get(".")) || here(of.get("has")) || fields.values().any(|v| reads(v, attr))
        }
        Value::Array(items) => items.iter().any(|v| reads(v, attr)),
        _ => false,
    }
}

/// Whether evaluation can fail on a request in which everything is known: the operations that the
/// validator cannot vouch for.
pub fn can_fail(of: &Value) -> bool {
    const SAFE: &[&str] = &[
        "Value",
        "Var",
        "!",
        "==",
        "!=",
        "<",
        "<=",
        ">",
        ">=",
        "&&",
        "||",
        "if-then-else",
        ".",
        "has",
        "like",
        "is",
        "in",
        "contains",
        "containsAll",
        "containsAny",
        "isEmpty",
        "Set",
        "Record",
    ];
    let Value::Object(operation) = of else {
        return false;
    };
    operation
        .iter()
        .any(|(name, operands)| match name.as_str() {
            "Value" | "Var" => false,
            "Set" => items(operands).any(can_fail),
            "Record" => operands
                .as_object()
                .into_iter()
                .flatten()
                .any(|(_, v)| can_fail(v)),
            name if SAFE.contains(&name) => operands
                .as_object()
                .into_iter()
                .flatten()
                .any(|(_, v)| can_fail(v)),
            _ => true,
        })
}

fn items(of: &Value) -> impl Iterator<Item = &Value> {
    of.as_array().into_iter().flatten()
}

/// Every text of an expression, and the ids of its entities of a type.
pub fn texts<'a>(of: &'a Value, kind: Option<&str>, found: &mut BTreeSet<&'a str>) {
    if let Some(literal) = of.get("Value") {
        match (kind, literal.get("__entity")) {
            (None, None) => found.extend(literal.as_str()),
            (Some(kind), Some(entity)) if entity.get("type") == Some(&Value::from(kind)) => {
                found.extend(entity.get("id").and_then(Value::as_str));
            }
            _ => {}
        }
        return;
    }
    if let (Some(kind), Some(entity)) = (kind, of.get("entity"))
        && entity.get("type") == Some(&Value::from(kind))
    {
        found.extend(entity.get("id").and_then(Value::as_str));
    }
    match of {
        Value::Object(fields) => fields.values().for_each(|v| texts(v, kind, found)),
        Value::Array(items) => items.iter().for_each(|v| texts(v, kind, found)),
        _ => {}
    }
}

fn mentions_role(of: &Value) -> bool {
    let mut found = BTreeSet::new();
    texts(of, Some("Role"), &mut found);
    !found.is_empty()
}

/// `resource.<name>`.
pub fn of_resource(name: &str) -> Value {
    attribute(var("resource"), name)
}

fn beyond(rule: &Rule, what: &str) -> String {
    format!(
        "policy `{}` has {what}, which the proof cannot follow",
        rule.id
    )
}
