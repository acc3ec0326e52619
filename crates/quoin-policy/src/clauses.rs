//! What a policy's conditions say, read from Cedar's own syntax tree.
//!
//! This never decides anything: Cedar evaluates policies. It tells which facts a policy reads, which
//! policies cannot match a request because of an equality in front, and the parts of a condition
//! that an explanation evaluates one by one.

use crate::schema::{Seen, is_fact, names_of};
use cedar_policy::pst::{self, BinaryOp, Clause, Expr, Literal, UnaryOp, Var};
use std::collections::BTreeSet;
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
    /// How far it may reach now.
    pub(crate) limit: i64,
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

    /// The facts that it reads.
    pub(crate) fn facts(&self) -> BTreeSet<String> {
        facts_of(&self.expr)
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
        let (attribute, limit, literal_first) = match (left.as_ref(), right.as_ref()) {
            (attribute, Expr::Literal(Literal::Long(limit))) => (attribute, *limit, false),
            (Expr::Literal(Literal::Long(limit)), attribute) => (attribute, *limit, true),
            _ => return None,
        };
        let Attribute { of_resource, name } = attribute_of(attribute)?;
        (!of_resource && !is_fact(&name)).then_some(Bound {
            name,
            limit,
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
    let clauses = body.clauses().iter();
    let found = clauses.flat_map(|(Clause::When(expr) | Clause::Unless(expr))| facts_of(expr));
    found.collect()
}

fn facts_of(expr: &Expr) -> BTreeSet<String> {
    let named = collected(expr, &|e| attribute_of(e)).into_iter();
    let of_context = named.filter(|a| !a.of_resource && is_fact(&a.name));
    of_context.map(|a| a.name).collect()
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
    body.clauses().iter().find_map(|clause| {
        let (Clause::When(expr) | Clause::Unless(expr)) = clause;
        let peeks = |e: &Expr| match e {
            Expr::HasAttr { expr, attrs } if **expr == Expr::Var(Var::Context) => {
                let fact = is_fact(attrs.first());
                Some(fact.then_some(HAS).into_iter().collect())
            }
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
    })
}

const HAS: &str = "asks with `has` whether a fact is there; a policy that reads a fact needs it, and \
                   one that is unknown must not be taken for one that is harmless";
const WHOLE: &str = "uses `context` as a whole; name its attributes";

/// A comparison in front of a policy's conditions, as the index makes it by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Test {
    pub(crate) attribute: Attribute,
    check: Check,
    /// Whether it must be false.
    negated: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Check {
    Truth,
    OneOf(BTreeSet<String>),
    Same(Literal),
    /// The literal stands first when the flag is set.
    Order(BinaryOp, i64, bool),
}

impl Test {
    /// The texts of which the attribute has to have one.
    pub(crate) fn values(&self) -> Option<&BTreeSet<String>> {
        match &self.check {
            Check::OneOf(values) if !self.negated => Some(values),
            _ => None,
        }
    }

    /// Whether it is false of a value; never when it does not fit the value, which is Cedar's to
    /// say.
    pub(crate) fn excludes(&self, seen: &Seen) -> bool {
        let holds = match (&self.check, seen) {
            (Check::Truth, Seen::Bool(truth)) => *truth,
            (Check::OneOf(values), Seen::Text(text)) => values.contains(text),
            (Check::Same(Literal::Bool(literal)), Seen::Bool(truth)) => literal == truth,
            (Check::Same(Literal::Long(literal)), Seen::Long(number)) => literal == number,
            (Check::Order(op, literal, first), Seen::Long(number)) => {
                let (left, right) = if *first {
                    (literal, number)
                } else {
                    (number, literal)
                };
                match op {
                    BinaryOp::Less => left < right,
                    BinaryOp::LessEq => left <= right,
                    BinaryOp::Greater => left > right,
                    BinaryOp::GreaterEq => left >= right,
                    _ => return false,
                }
            }
            _ => return false,
        };
        holds == self.negated
    }
}

/// The comparisons in front of a policy's conditions: it can match no request of which one is false.
///
/// Only what stands in front counts: parts before it could fail, and a failure is a denial. All that
/// is looked at, and skipped, is a comparison of a literal with an attribute that is always there,
/// which cannot fail in a validated policy.
pub(crate) fn tests(body: &pst::Template, actions: &BTreeSet<String>) -> Vec<Test> {
    let there = |test: &Test| {
        let Attribute { of_resource, name } = &test.attribute;
        *of_resource || actions.iter().all(|a| always_there(a, name))
    };
    let parts = conjuncts(body).into_iter();
    let tests = parts.map_while(|part| test_of(&part.expr, part.negated));
    tests.take_while(there).collect()
}

/// The comparison that an expression is.
fn test_of(expr: &Expr, negated: bool) -> Option<Test> {
    let (attribute, check, negated) = match expr {
        Expr::UnaryOp {
            op: UnaryOp::Not,
            expr,
        } => return test_of(expr, !negated),
        Expr::BinaryOp { op, left, right } => {
            let (op, left, right) = (*op, left.as_ref(), right.as_ref());
            match (left, right) {
                (Expr::Set(items), attribute) if op == BinaryOp::Contains => {
                    let values: Option<_> = items.iter().map(|i| text_of(i)).collect();
                    (attribute, Check::OneOf(values?), negated)
                }
                (attribute, Expr::Literal(literal)) => {
                    let (check, differs) = compared(op, literal, false)?;
                    (attribute, check, negated != differs)
                }
                (Expr::Literal(literal), attribute) => {
                    let (check, differs) = compared(op, literal, true)?;
                    (attribute, check, negated != differs)
                }
                _ => return None,
            }
        }
        attribute => (attribute, Check::Truth, negated),
    };
    Some(Test {
        attribute: attribute_of(attribute)?,
        check,
        negated,
    })
}

/// A comparison with a literal, and whether it is of what differs.
fn compared(op: BinaryOp, literal: &Literal, literal_first: bool) -> Option<(Check, bool)> {
    let same = || match literal {
        Literal::String(text) => Some(Check::OneOf(BTreeSet::from([text.to_string()]))),
        Literal::Bool(_) | Literal::Long(_) => Some(Check::Same(literal.clone())),
        _ => None,
    };
    match (op, literal) {
        (BinaryOp::Eq, _) => Some((same()?, false)),
        (BinaryOp::NotEq, _) => Some((same()?, true)),
        (
            BinaryOp::Less | BinaryOp::LessEq | BinaryOp::Greater | BinaryOp::GreaterEq,
            Literal::Long(number),
        ) => Some((Check::Order(op, *number, literal_first), false)),
        _ => None,
    }
}

/// What has to hold beside `scope`, as one Cedar expression.
pub(crate) fn joined(scope: Vec<String>, body: &pst::Template) -> String {
    let parts = conjuncts(body).into_iter().map(|part| part.text());
    let all = scope.into_iter().chain(parts);
    let all: Vec<String> = all.map(|part| format!("({part})")).collect();
    if all.is_empty() {
        "true".to_owned()
    } else {
        all.join(" && ")
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
