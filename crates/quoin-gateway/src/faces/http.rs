//! The handlers of the JSON face: each turns a body into an event and an outcome into a body.

use super::body::{ApiError, Strict, caller, error_of, from_hex};
use super::{Faces, sequence};
use crate::core::Event;
use crate::core::outcome::{ChangedRequest, ListedKey, Outcome, SignedRequest, Status};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use quoin_api::http::{
    ApprovalBody, CharterBody, CharterInForceBody, CharterSubmittedBody, ClusterBody, KeyBody,
    KeysBody, NodeBody, NodeFailureBody, NodeReplyBody, OutcomeBody, ReadyBody, RequestBody,
    StatementBody, TransactionBody,
};
use quoin_core::RequestId;
use std::time::Instant;

pub(super) async fn post_request(
    State(faces): State<Faces>,
    Strict(body): Strict<RequestBody>,
) -> Result<Response, ApiError> {
    let stamp = from_hex("stamp", &body.stamp)?;
    let payload = from_hex("payload", &body.payload)?;
    let began = Instant::now();
    let numbered = sequence::numbered(&stamp, &payload);
    let carried = faces
        .sequences
        .carry(&faces.handle, numbered, stamp, payload);
    let outcome = carried.await.map_err(|e| sequence::error(&e))?;
    faces.metrics.waited(&outcome, began.elapsed());
    reply(None, outcome)
}

pub(super) async fn get_request(
    State(faces): State<Faces>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let request_id: RequestId = id
        .parse()
        .map_err(|_| caller(StatusCode::BAD_REQUEST, "id", "expected 32 hex digits"))?;
    let call = |client| Event::ClientQuery { client, request_id };
    reply(Some(request_id), faces.handle.call(call).await)
}

pub(super) async fn post_approval(
    State(faces): State<Faces>,
    Strict(body): Strict<ApprovalBody>,
) -> Result<Response, ApiError> {
    let approval = from_hex("approval", &body.approval)?;
    let call = |client| Event::ClientApproval { client, approval };
    let outcome = faces.handle.call(call).await;
    faces.sequences.approved(&outcome);
    reply(None, outcome)
}

/// An outcome of a request as a response.
fn reply(asked: Option<RequestId>, outcome: Outcome) -> Result<Response, ApiError> {
    let (status, body) = match outcome {
        Outcome::Signed(signed) => (StatusCode::OK, signed_body(*signed)),
        Outcome::KeyCreated { key, certificate } => {
            let certificate = hex::encode(certificate);
            (StatusCode::OK, OutcomeBody::KeyCreated { key, certificate })
        }
        Outcome::KeyRenewed {
            key,
            epoch,
            certificate,
        } => {
            let certificate = hex::encode(certificate);
            let body = OutcomeBody::KeyRenewed {
                key,
                epoch,
                certificate,
            };
            (StatusCode::OK, body)
        }
        Outcome::Changed(changed) => (StatusCode::OK, changed_body(*changed)),
        Outcome::Pending(pending) => (
            StatusCode::ACCEPTED,
            OutcomeBody::Pending {
                request_id: pending.request_id,
                intent_hash: pending.intent_hash,
                rules: pending.rules,
                unmet: pending.unmet,
                stamp: hex::encode(pending.stamp),
                payload: hex::encode(pending.payload),
            },
        ),
        Outcome::InProgress => match asked {
            Some(request_id) => (StatusCode::ACCEPTED, OutcomeBody::InProgress { request_id }),
            None => return Err(error_of(Outcome::InProgress)),
        },
        other => return Err(error_of(other)),
    };
    Ok((status, Json(body)).into_response())
}

fn changed_body(changed: ChangedRequest) -> OutcomeBody {
    let statements = changed.statements.into_iter();
    let failed = changed.failed.into_iter();
    OutcomeBody::Changed {
        request_id: changed.request_id,
        statements: statements
            .map(|(node, bytes)| StatementBody {
                node,
                statement: hex::encode(bytes),
            })
            .collect(),
        failed: failed
            .map(|(node, failure)| NodeFailureBody {
                node,
                class: failure.class,
                message: failure.message,
            })
            .collect(),
        missing: changed.missing,
    }
}

fn signed_body(signed: SignedRequest) -> OutcomeBody {
    let prefixed = |bytes: &[u8]| format!("0x{}", hex::encode(bytes));
    OutcomeBody::Signed {
        request_id: signed.finished.request_id,
        key: signed.finished.key,
        scheme: signed.finished.scheme,
        signature: hex::encode(signed.finished.signature),
        recovery_id: signed.finished.recovery_id,
        receipt: signed.receipt.iter().map(hex::encode).collect(),
        transaction: signed.transaction.map(|t| TransactionBody {
            raw: prefixed(&t.raw),
            hash: prefixed(&t.hash),
        }),
    }
}

pub(super) async fn get_keys(State(faces): State<Faces>) -> Result<Json<KeysBody>, ApiError> {
    let call = |client| Event::KeysQuery { client };
    match faces.handle.call(call).await {
        Outcome::Keys(keys) => {
            let keys = keys.into_iter().map(key_body).collect();
            Ok(Json(KeysBody { keys }))
        }
        other => Err(error_of(other)),
    }
}

fn key_body(listed: ListedKey) -> KeyBody {
    let public = listed.entry.public;
    KeyBody {
        key: public.key,
        name: public.name,
        scheme: public.scheme,
        purpose: public.purpose,
        threshold: public.threshold,
        epoch: public.epoch,
        holders: public.public_shares.iter().map(|s| s.node).collect(),
        origin: public.origin,
        state: listed.state,
        public_key: hex::encode(public.public_key),
        certificate: hex::encode(listed.entry.certificate),
        statements: listed.statements.iter().map(hex::encode).collect(),
    }
}

pub(super) async fn get_charter(
    State(faces): State<Faces>,
) -> Result<Json<CharterInForceBody>, ApiError> {
    let call = |client| Event::CharterQuery { client };
    match faces.handle.call(call).await {
        Outcome::Charter { number, charter } => {
            let charter = hex::encode(charter);
            Ok(Json(CharterInForceBody { number, charter }))
        }
        other => Err(error_of(other)),
    }
}

pub(super) async fn post_charter(
    State(faces): State<Faces>,
    Strict(body): Strict<CharterBody>,
) -> Result<Json<CharterSubmittedBody>, ApiError> {
    let charter = from_hex("charter", &body.charter)?;
    let call = |client| Event::CharterSubmitted { client, charter };
    match faces.handle.call(call).await {
        Outcome::CharterSubmitted {
            number,
            replies,
            missing,
        } => {
            let replies = replies.into_iter().map(|reply| NodeReplyBody {
                node: reply.node,
                number: reply.number,
                refused: reply
                    .refused
                    .map(|r| format!("{} (field `{}`)", r.message, r.field)),
            });
            Ok(Json(CharterSubmittedBody {
                number,
                replies: replies.collect(),
                missing,
            }))
        }
        other => Err(error_of(other)),
    }
}

/// Who is up, and whether a signature could be made now.
pub(super) async fn status(faces: &Faces) -> Result<Status, ApiError> {
    let call = |client| Event::StatusQuery { client };
    match faces.handle.call(call).await {
        Outcome::Status(status) => Ok(*status),
        other => Err(error_of(other)),
    }
}

pub(super) async fn get_cluster(State(faces): State<Faces>) -> Result<Json<ClusterBody>, ApiError> {
    let status = status(&faces).await?;
    let nodes = status.nodes.into_iter();
    Ok(Json(ClusterBody {
        cluster: status.cluster,
        words: quoin_policy::cluster_words(&status.cluster),
        charter_number: status.charter_number,
        charter_hash: status.charter_hash,
        threshold: status.threshold,
        nodes: nodes.map(|(node, up)| NodeBody { node, up }).collect(),
    }))
}

pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

pub(super) async fn readyz(State(faces): State<Faces>) -> Result<Response, ApiError> {
    let reasons = status(&faces).await?.not_ready;
    let ready = reasons.is_empty();
    let code = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    Ok((code, Json(ReadyBody { ready, reasons })).into_response())
}

pub(super) async fn metrics(State(faces): State<Faces>) -> Result<Response, ApiError> {
    let text = faces.metrics.text(&status(&faces).await?);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(CONTENT_TYPE, kind)], text).into_response())
}

pub(super) async fn openapi() -> Result<Response, ApiError> {
    let text = quoin_api::http::openapi_json()
        .map_err(|e| caller(StatusCode::INTERNAL_SERVER_ERROR, "openapi", e.to_string()))?;
    Ok(([(CONTENT_TYPE, "application/json")], text).into_response())
}

pub(super) async fn no_such_path() -> ApiError {
    caller(StatusCode::NOT_FOUND, "path", "there is nothing here")
}

pub(super) async fn no_such_method() -> ApiError {
    let message = "this path does not have this method";
    caller(StatusCode::METHOD_NOT_ALLOWED, "method", message)
}
