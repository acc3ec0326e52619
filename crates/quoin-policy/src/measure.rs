//! Doors for measuring, behind the feature `measure`; nothing here is for real use.

use crate::cedar::{Rules, Verdict};
use crate::charter::Charter;
use crate::check::CharterError;
use crate::constitution::Constitution;
use crate::denial::Denial;
use crate::judge::Request;
use crate::permits::query;

/// Compiles a charter of any size, without the other checks.
///
/// # Errors
/// When the policies do not compile.
pub fn constitution(charter: Charter) -> Result<Constitution, CharterError> {
    let rules = Rules::compile(&charter)?;
    Ok(Constitution::new(charter, rules))
}

/// Evaluates the policies for a request, from its facts and context on: whether it is permitted.
/// With `whole` every policy is asked, as if there were no index.
///
/// # Errors
/// When policies cannot see the request.
pub fn permitted(
    constitution: &Constitution,
    request: &Request<'_>,
    whole: bool,
) -> Result<bool, Denial> {
    let facts = constitution.believed(request);
    let view = constitution.view(request, &facts);
    let query = query(&view, request)?;
    let rules = &constitution.rules;
    let verdict = if whole {
        rules.evaluate_whole(&query)
    } else {
        rules.evaluate(&query)
    };
    Ok(matches!(verdict, Verdict::Permit(_)))
}

/// How many policies a request meets.
///
/// # Errors
/// When policies cannot see the request.
pub fn slice(constitution: &Constitution, request: &Request<'_>) -> Result<usize, Denial> {
    let facts = constitution.believed(request);
    let view = constitution.view(request, &facts);
    let query = query(&view, request)?;
    Ok(constitution.rules.slice(&query).len())
}
