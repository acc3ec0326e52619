//! Asking single parts of policies, for explanations and suggestions; nothing is decided by this.

use crate::cedar::{Prepared, Rules};
use crate::clauses::Conjunct;
use cedar_policy::{
    Authorizer, Decision, EvalResult, EvaluationError, Expression, PolicySet, ValidationMode,
    Validator, eval_expression,
};
use std::str::FromStr;

/// What a part of a policy's conditions says of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    Holds,
    Fails,
    /// It needs facts that are unknown.
    Needs(Vec<String>),
    /// It cannot be evaluated.
    Error(String),
}

impl Rules {
    /// Evaluates one part of a policy's conditions, whatever stands before it.
    pub(crate) fn probe(&self, part: &Conjunct, prepared: &Prepared) -> Probe {
        let expression = match Expression::from_str(&part.text()) {
            Ok(expression) => expression,
            Err(error) => return Probe::Error(error.to_string()),
        };
        match eval_expression(&prepared.request, &prepared.entities, &expression) {
            Ok(EvalResult::Bool(true)) => Probe::Holds,
            Ok(EvalResult::Bool(false)) => Probe::Fails,
            Ok(_) => Probe::Error("is neither true nor false".to_owned()),
            Err(error) => {
                let lacks = matches!(error, EvaluationError::RecordAttrDoesNotExist(_));
                let facts = prepared.unknown_of(&part.facts());
                if lacks && !facts.is_empty() {
                    Probe::Needs(facts)
                } else {
                    Probe::Error(error.to_string())
                }
            }
        }
    }

    /// Whether a text would be a valid policy that permits this.
    pub(crate) fn accepts(&self, text: &str, prepared: &Prepared) -> bool {
        let Ok(set) = PolicySet::from_str(text) else {
            return false;
        };
        let validator = Validator::new(self.strict.clone());
        let result = validator.validate(&set, ValidationMode::Strict);
        let clean = result.validation_errors().next().is_none()
            && result.validation_warnings().next().is_none();
        let Prepared {
            request, entities, ..
        } = prepared;
        let response = Authorizer::new().is_authorized(request, &set, entities);
        clean && response.decision() == Decision::Allow
    }
}
