//! Strict JSON bodies, and errors in one shape.

use crate::core::outcome::{Failure, Outcome, RefusedRequest};
use axum::Json;
use axum::extract::{FromRequest, Request};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use quoin_api::http::{BODY_BYTES_MAX, ErrorBody, ErrorDetail};
use quoin_core::Class;
use serde::de::DeserializeOwned;

/// An error and its status.
#[derive(Debug)]
pub(super) struct ApiError(StatusCode, Box<ErrorDetail>);

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.0, Json(ErrorBody { error: *self.1 })).into_response()
    }
}

impl ApiError {
    /// An error of a class, with a status of its own.
    pub(super) fn of_class(
        status: StatusCode,
        class: Class,
        field: &str,
        message: impl Into<String>,
    ) -> Self {
        Self(status, detail(class, field, message))
    }
}

/// An error of the caller's class.
pub(super) fn caller(status: StatusCode, field: &str, message: impl Into<String>) -> ApiError {
    ApiError(status, detail(Class::Caller, field, message))
}

fn detail(class: Class, field: &str, message: impl Into<String>) -> Box<ErrorDetail> {
    Box::new(ErrorDetail {
        class,
        field: field.to_owned(),
        message: message.into(),
        suggestion: None,
        rule: None,
        nodes: Vec::new(),
        denial: None,
    })
}

/// The status of a class.
fn status_of(class: Class) -> StatusCode {
    StatusCode::from_u16(class.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        let mut detail = detail(failure.class, &failure.field, failure.message);
        detail.nodes = failure.nodes;
        Self(status_of(failure.class), detail)
    }
}

impl From<RefusedRequest> for ApiError {
    fn from(refused: RefusedRequest) -> Self {
        let field = refused.field.unwrap_or_else(|| "policy".to_owned());
        let mut detail = detail(Class::Refused, &field, refused.message);
        detail.suggestion = refused.suggestion;
        detail.rule = refused.rule;
        detail.nodes = vec![refused.node];
        detail.denial = Some(hex::encode(refused.denial));
        Self(status_of(Class::Refused), detail)
    }
}

/// The error that an outcome is, when it is none of those that the caller hoped for.
pub(super) fn error_of(outcome: Outcome) -> ApiError {
    match outcome {
        Outcome::Refused(refused) => (*refused).into(),
        Outcome::Failed(failure) => failure.into(),
        Outcome::Conflict(hash) => {
            let message = format!("the request id was used with the payload `{hash}`");
            let detail = detail(Class::Conflict, "stamp.request_id", message);
            ApiError(status_of(Class::Conflict), detail)
        }
        Outcome::NotFound => {
            let message = "this gateway does not know the request";
            caller(StatusCode::NOT_FOUND, "request_id", message)
        }
        Outcome::Overloaded => {
            let message = "too many requests are under way, try again later";
            let detail = detail(Class::Environment, "gateway", message);
            ApiError(StatusCode::TOO_MANY_REQUESTS, detail)
        }
        other => {
            let message = format!("unexpected outcome `{}`", other.kind());
            let detail = detail(Class::Internal, "gateway", message);
            ApiError(status_of(Class::Internal), detail)
        }
    }
}

/// Bytes in lower-case hex.
pub(super) fn from_hex(field: &str, text: &str) -> Result<Vec<u8>, ApiError> {
    match hex::decode(text) {
        Ok(bytes) if !text.bytes().any(|b| b.is_ascii_uppercase()) => Ok(bytes),
        _ => Err(caller(
            StatusCode::BAD_REQUEST,
            field,
            "expected lower-case hex",
        )),
    }
}

/// A body that says it is JSON, is not too long, and has no unknown fields.
pub(super) struct Strict<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Strict<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let bytes = json_bytes(request).await?;
        let value = serde_json::from_slice(&bytes)
            .map_err(|e| caller(StatusCode::BAD_REQUEST, "body", e.to_string()))?;
        Ok(Self(value))
    }
}

/// The bytes of a body that says it is JSON.
pub(super) async fn json_bytes(request: Request) -> Result<Vec<u8>, ApiError> {
    if !is_json(request.headers()) {
        return Err(caller(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "content-type",
            "expected `application/json`",
        ));
    }
    let announced = request.headers().get(CONTENT_LENGTH);
    let announced = announced.and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    let too_long = || {
        let message = format!("the body is over the limit of `{BODY_BYTES_MAX}` bytes");
        caller(StatusCode::PAYLOAD_TOO_LARGE, "body", message)
    };
    if announced.is_some_and(|length| length > BODY_BYTES_MAX) {
        return Err(too_long());
    }
    // A body that breaks off has nobody left to read the answer, so every failure is the limit.
    let body = axum::body::to_bytes(request.into_body(), BODY_BYTES_MAX).await;
    Ok(body.map_err(|_| too_long())?.to_vec())
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
    let kind = value.and_then(|v| v.split(';').next());
    kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}
