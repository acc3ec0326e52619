//! Cedar expressions as JSON, in the form that Cedar itself reads and writes.
//!
//! Policies are rewritten before they are compared, and Cedar's JSON form is the one way to change
//! an expression that does not go through text.

use serde_json::{Value, json};

/// `context`, `principal` or `resource`.
pub fn var(name: &str) -> Value {
    json!({ "Var": name })
}

/// `context.name`.
pub fn context(name: &str) -> Value {
    attribute(var("context"), name)
}

/// `of.name`.
pub fn attribute(of: Value, name: &str) -> Value {
    json!({ ".": { "left": of, "attr": name } })
}

/// A literal.
pub fn value(of: impl Into<Value>) -> Value {
    json!({ "Value": of.into() })
}

/// `Kind::"id"`.
pub fn entity(kind: &str, id: &str) -> Value {
    json!({ "Value": { "__entity": { "type": kind, "id": id } } })
}

/// `left == right`.
pub fn equal(left: Value, right: Value) -> Value {
    json!({ "==": { "left": left, "right": right } })
}

/// `left >= right`.
pub fn at_least(left: Value, right: Value) -> Value {
    json!({ ">=": { "left": left, "right": right } })
}

/// `!of`.
pub fn not(of: Value) -> Value {
    json!({ "!": { "arg": of } })
}

/// All of them, from the left: `true` when there are none.
pub fn all(of: impl IntoIterator<Item = Value>) -> Value {
    joined("&&", true, of)
}

/// Any of them, from the left: `false` when there are none.
pub fn any(of: impl IntoIterator<Item = Value>) -> Value {
    joined("||", false, of)
}

fn joined(operator: &str, none: bool, of: impl IntoIterator<Item = Value>) -> Value {
    let both = |left: Value, right: Value| json!({ operator: { "left": left, "right": right } });
    of.into_iter().reduce(both).unwrap_or_else(|| value(none))
}

/// `if condition then yes else no`.
pub fn choose(condition: Value, yes: Value, no: Value) -> Value {
    json!({ "if-then-else": { "if": condition, "then": yes, "else": no } })
}

/// An expression of the type of `of` that fails whenever it is evaluated: it adds one to the
/// largest number first.
pub fn failing(of: Value) -> Value {
    let sum = json!({ "+": { "left": value(i64::MAX), "right": value(1) } });
    choose(equal(sum, value(0)), of.clone(), of)
}

/// A policy for one action, whatever its scope was before.
pub fn policy(permits: bool, condition: Value) -> Value {
    json!({
        "effect": if permits { "permit" } else { "forbid" },
        "principal": { "op": "All" },
        "action": { "op": "All" },
        "resource": { "op": "All" },
        "conditions": [{ "kind": "when", "body": condition }],
    })
}
