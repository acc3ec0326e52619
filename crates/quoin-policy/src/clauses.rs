//! What a policy's conditions say, read from Cedar's own syntax tree.
//!
//! This never decides anything: Cedar evaluates policies. It tells which facts a policy reads, which
//! policies cannot match a request because of an equality in front, and the parts of a condition
//! that an explanation evaluates one by one.

use crate::schema::{is_fact, names_of};
use cedar_policy::pst::{self, BinaryOp, Clause, Expr, Literal, UnaryOp, Var};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// One part of a policy's conditions: all of them together are the conditions.
#[derive(Clone, Debug)]
pub(crate) struct Conjunct {
    /// The clause of the policy that it is in.
    clause: usize,
    expr: Arc<Expr>,
    /// Whether it stands in an `unless`, so that it must be false.
    negated: bool,
}

/// `context.amount_micro <= 5`: a number of the request that may reach so far and no further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bound {
    /// The attribute of the context.
    pub(crate) name: String,
    op: BinaryOp,
    literal_first: bool,
}

/// An attribute of the request or its account: `context.to`, `resource.key`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Attribute {
    pub(crate) of_resource: bool,
    pub(crate) name: String,
}

/// The conditions of a policy in the order in which Cedar evaluates them.
pub(crate) fn conjuncts(body: &pst::Template) -> Vec<Conjunct> {
    let mut all = Vec::new();
    for (clause, written) in body.clauses().iter().enumerate() {
        let (expr, negated) = match written {
            Clause::When(expr) => (expr, false),
            Clause::Unless(expr) => (expr, true),
        };
        split(clause, expr, negated, &mut all);
    }
    all
}

/// Splits `a && b` and, under `unless`, `a || b`: Cedar evaluates both from left to right and stops
/// at the first part that does not hold, as it does between conjuncts.
fn split(clause: usize, expr: &Arc<Expr>, negated: bool, out: &mut Vec<Conjunct>) {
    match expr.as_ref() {
        Expr::BinaryOp { op, left, right } if *op == joint(negated) => {
            split(clause, left, negated, out);
            split(clause, right, negated, out);
        }
        _ => out.push(Conjunct {
            clause,
            expr: Arc::clone(expr),
            negated,
        }),
    }
}

const fn joint(negated: bool) -> BinaryOp {
    if negated { BinaryOp::Or } else { BinaryOp::And }
}

impl Conjunct {
    /// What has to hold, as Cedar text.
    pub(crate) fn text(&self) -> String {
        if self.negated {
            format!("!({})", self.expr)
        } else {
            self.expr.to_string()
        }
    }

    /// The bound that this is, when it is one of a number of the context that is always known.
    pub(crate) fn bound(&self) -> Option<Bound> {
        let Expr::BinaryOp { op, left, right } = self.expr.as_ref() else {
            return None;
        };
        let ordering = [
            BinaryOp::Less,
            BinaryOp::LessEq,
            BinaryOp::Greater,
            BinaryOp::GreaterEq,
        ];
        if self.negated || !ordering.contains(op) {
            return None;
        }
        let (attribute, literal_first) = match (left.as_ref(), right.as_ref()) {
            (attribute, Expr::Literal(Literal::Long(_))) => (attribute, false),
            (Expr::Literal(Literal::Long(_)), attribute) => (attribute, true),
            _ => return None,
        };
        let Attribute { of_resource, name } = attribute_of(attribute)?;
        (!of_resource && !is_fact(&name)).then_some(Bound {
            name,
            op: *op,
            literal_first,
        })
    }

    /// The same part with the bound moved just so far that `value` is inside.
    fn moved(&self, bound: &Bound, value: i64) -> Option<Arc<Expr>> {
        let Expr::BinaryOp { left, right, .. } = self.expr.as_ref() else {
            return None;
        };
        let above = matches!(bound.op, BinaryOp::Less | BinaryOp::LessEq) != bound.literal_first;
        let limit = match bound.op {
            BinaryOp::LessEq | BinaryOp::GreaterEq => value,
            _ if above => value.checked_add(1)?,
            _ => value.checked_sub(1)?,
        };
        let limit = Arc::new(Expr::Literal(Literal::Long(limit)));
        let (left, right) = if bound.literal_first {
            (limit, Arc::clone(right))
        } else {
            (Arc::clone(left), limit)
        };
        let op = bound.op;
        Some(Arc::new(Expr::BinaryOp { op, left, right }))
    }
}

/// The policy with the bound of one of its conjuncts moved so far that `value` is inside.
pub(crate) fn relaxed(
    body: &pst::Template,
    place: usize,
    bound: &Bound,
    value: i64,
) -> Option<pst::Template> {
    let all = conjuncts(body);
    let one = all.get(place)?;
    let moved = one.moved(bound, value)?;
    let parts = all.iter().enumerate();
    let parts = parts.filter(|(_, part)| part.clause == one.clause);
    let parts = parts.map(|(at, part)| {
        if at == place {
            Arc::clone(&moved)
        } else {
            Arc::clone(&part.expr)
        }
    });
    let joined = parts.reduce(|left, right| {
        let op = BinaryOp::And;
        Arc::new(Expr::BinaryOp { op, left, right })
    })?;
    let mut clauses = body.clauses().clone();
    *clauses.get_mut(one.clause)? = Clause::When(joined);
    body.clone().try_with_clauses(clauses).ok()
}

/// The facts that a policy reads.
pub(crate) fn facts_read(body: &pst::Template) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for name in attributes(body).filter(|a| !a.of_resource).map(|a| a.name) {
        if is_fact(&name) {
            all.insert(name);
        }
    }
    all
}

/// Every attribute of the request or its account that the conditions name.
fn attributes(body: &pst::Template) -> impl Iterator<Item = Attribute> {
    let found = body.clauses().iter().flat_map(|clause| {
        let (Clause::When(expr) | Clause::Unless(expr)) = clause;
        collected(expr, &|e| attribute_of(e))
    });
    found.collect::<Vec<_>>().into_iter()
}

/// Every text that the conditions write out.
pub(crate) fn texts(body: &pst::Template) -> BTreeSet<String> {
    let found = body.clauses().iter().flat_map(|clause| {
        let (Clause::When(expr) | Clause::Unless(expr)) = clause;
        collected(expr, &|e| text_of(e))
    });
    found.collect()
}

fn collected<T: Clone>(expr: &Expr, read: &dyn Fn(&Expr) -> Option<T>) -> Vec<T> {
    expr.reduce(
        &|e| read(e).map(|found| vec![found]),
        &|mut all: Vec<T>, more| {
            all.extend(more);
            all
        },
        Vec::new(),
    )
}

/// What would let a policy see that a fact is unknown without failing: then it could permit, or a
/// forbid let through, what nobody knows. The validator takes every attribute for present.
pub(crate) fn peeks(body: &pst::Template) -> Option<&'static str> {
    let found = body.clauses().iter().find_map(|clause| {
        let (Clause::When(expr) | Clause::Unless(expr)) = clause;
        let peeks = |e: &Expr| match e {
            Expr::HasAttr { .. } => Some(vec![HAS]),
            Expr::Var(Var::Context) => Some(vec![WHOLE]),
            // Below an attribute of the context there is only the context itself.
            _ => attribute_of(e).map(|_| Vec::new()),
        };
        let all = expr.reduce(
            &peeks,
            &|mut all: Vec<&'static str>, more| {
                all.extend(more);
                all
            },
            Vec::new(),
        );
        all.first().copied()
    });
    found
}

const HAS: &str = "asks with `has` whether an attribute is there; every attribute is, and a fact \
                   that is unknown must not be taken for one that is harmless";
const WHOLE: &str = "uses `context` as a whole; name its attributes";

/// The equalities in front of a policy's conditions: it can match no request in which an attribute
/// has none of the values given for it.
///
/// Only what stands in front counts: parts before it could fail, and a failure is a denial. All that
/// is looked at, and skipped, is a comparison of a literal with an attribute that is always there,
/// which cannot fail in a validated policy.
pub(crate) fn leads(
    body: &pst::Template,
    actions: &BTreeSet<String>,
) -> BTreeMap<Attribute, BTreeSet<String>> {
    let mut all = BTreeMap::new();
    for conjunct in conjuncts(body) {
        let Some(part) = safe(&conjunct, actions) else {
            break;
        };
        if let Some((attribute, values)) = part {
            // Two equalities of one attribute: either is true of every request that matches.
            all.entry(attribute).or_insert(values);
        }
    }
    all
}

type Lead = (Attribute, BTreeSet<String>);

/// Whether a part cannot fail, and the equality that it is; `None` when it could.
fn safe(conjunct: &Conjunct, actions: &BTreeSet<String>) -> Option<Option<Lead>> {
    let there = |attribute: &Attribute| {
        attribute.of_resource || actions.iter().all(|a| always_there(a, &attribute.name))
    };
    match conjunct.expr.as_ref() {
        Expr::UnaryOp {
            op: UnaryOp::Not,
            expr,
        } => attribute_of(expr).filter(there).map(|_| None),
        Expr::BinaryOp { op, left, right } => {
            let set = match (op, left.as_ref()) {
                (BinaryOp::Contains, Expr::Set(items)) => Some(items),
                _ => None,
            };
            if let Some(items) = set {
                let attribute = attribute_of(right).filter(there)?;
                let values: Option<BTreeSet<String>> = items.iter().map(|i| text_of(i)).collect();
                let values = values?;
                return Some((!conjunct.negated).then_some((attribute, values)));
            }
            let (attribute, literal) = match (left.as_ref(), right.as_ref()) {
                (attribute, Expr::Literal(literal)) | (Expr::Literal(literal), attribute) => {
                    (attribute_of(attribute).filter(there)?, literal)
                }
                _ => return None,
            };
            match (op, literal) {
                (BinaryOp::Eq, Literal::String(text)) if !conjunct.negated => {
                    Some(Some((attribute, BTreeSet::from([text.to_string()]))))
                }
                (
                    BinaryOp::Eq
                    | BinaryOp::NotEq
                    | BinaryOp::Less
                    | BinaryOp::LessEq
                    | BinaryOp::Greater
                    | BinaryOp::GreaterEq,
                    _,
                ) => Some(None),
                _ => None,
            }
        }
        expr => attribute_of(expr).filter(there).map(|_| None),
    }
}

/// Whether every request of the action has this attribute.
fn always_there(action: &str, name: &str) -> bool {
    names_of(action).is_some_and(|mut all| all.any(|(n, is_fact)| n == name && !is_fact))
}

fn attribute_of(expr: &Expr) -> Option<Attribute> {
    let Expr::GetAttr { expr, attr } = expr else {
        return None;
    };
    let of_resource = match expr.as_ref() {
        Expr::Var(Var::Context) => false,
        Expr::Var(Var::Resource) => true,
        _ => return None,
    };
    Some(Attribute {
        of_resource,
        name: attr.to_string(),
    })
}

fn text_of(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Literal(Literal::String(text)) => Some(text.to_string()),
        _ => None,
    }
}
