//! The handlers of what every node is told or asked about decisions.

use super::Faces;
use super::body::{ApiError, Strict, error_of, from_hex};
use crate::core::outcome::NodeWord;
use crate::core::{Event, Inquiry, Outcome};
use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use quoin_api::Frame;
use quoin_api::decision::{
    ExplainBody, ExplainedBody, FreezesBody, NodeExplanationBody, NodeFreezesBody,
    NodeOutstandingBody, NodeProposalsBody, OutstandingBody, ProposalsBody, ProposedCharterBody,
    RefusalBody, StatementReplyBody, StatementTakenBody, StatementToAllBody,
};
use quoin_api::frame::{
    CharterApproval, FreezesFrame, Opaque, OutstandingFrame, ProposalBody, ProposalsFrame, Refusal,
};
use quoin_api::http::RequestBody;
use quoin_core::NodeIndex;

/// The routes of this face.
pub(super) fn routes() -> Router<Faces> {
    Router::new()
        .route("/v1/statements", post(post_statement))
        .route("/v1/freezes", get(get_freezes))
        .route("/v1/proposals", get(get_proposals))
        .route("/v1/explain", post(post_explain))
        .route("/v1/outstanding", get(get_outstanding))
}

/// Nodes' words of one kind, and who is missing.
type Words<T> = (Vec<T>, Vec<NodeIndex>);

/// Asks every node; words of another kind than `read` knows are nobody's.
async fn ask<T>(
    faces: &Faces,
    inquiry: Inquiry,
    read: impl Fn(NodeIndex, NodeWord) -> Option<T>,
) -> Result<Words<T>, ApiError> {
    let call = |client| Event::Inquired { client, inquiry };
    match faces.handle.call(call).await {
        Outcome::Words { words, missing } => {
            let words = words.into_iter().filter_map(|(n, w)| read(n, w));
            Ok((words.collect(), missing))
        }
        other => Err(error_of(other)),
    }
}

async fn post_statement(
    State(faces): State<Faces>,
    Strict(body): Strict<StatementToAllBody>,
) -> Result<Json<StatementTakenBody>, ApiError> {
    let bytes = |text: &str| from_hex("statement", text);
    let frame = match body {
        StatementToAllBody::Freeze { statement } => Frame::Freeze(bytes(&statement)?),
        StatementToAllBody::Veto { statement } => Frame::Veto(bytes(&statement)?),
        StatementToAllBody::Receipt { statement } => Frame::Receipt(bytes(&statement)?),
        StatementToAllBody::Facts { statement } => Frame::Facts(bytes(&statement)?),
        StatementToAllBody::CharterApproval { charter, statement } => {
            Frame::CharterApproval(CharterApproval {
                charter,
                approval: bytes(&statement)?,
            })
        }
    };
    let inquiry = Inquiry::Statement(Box::new(frame));
    let (replies, missing) = ask(&faces, inquiry, |node, word| match word {
        NodeWord::Statement(refused) => Some(StatementReplyBody {
            node,
            refused: refused.map(refusal),
        }),
        _ => None,
    })
    .await?;
    Ok(Json(StatementTakenBody { replies, missing }))
}

async fn get_freezes(State(faces): State<Faces>) -> Result<Json<FreezesBody>, ApiError> {
    let (nodes, missing) = ask(&faces, Inquiry::Freezes, |node, word| match word {
        NodeWord::Freezes(frame) => Some(freezes(node, frame)),
        _ => None,
    })
    .await?;
    Ok(Json(FreezesBody { nodes, missing }))
}

async fn get_proposals(State(faces): State<Faces>) -> Result<Json<ProposalsBody>, ApiError> {
    let (nodes, missing) = ask(&faces, Inquiry::Proposals, |node, word| match word {
        NodeWord::Proposals(frame) => Some(proposals(node, frame)),
        _ => None,
    })
    .await?;
    Ok(Json(ProposalsBody { nodes, missing }))
}

async fn post_explain(
    State(faces): State<Faces>,
    Strict(body): Strict<ExplainBody>,
) -> Result<Json<ExplainedBody>, ApiError> {
    let approvals = body.approvals.iter().map(|a| from_hex("approvals", a));
    let inquiry = Inquiry::Explain {
        stamp: from_hex("stamp", &body.stamp)?,
        payload: from_hex("payload", &body.payload)?,
        approvals: approvals.collect::<Result<_, _>>()?,
    };
    let (nodes, missing) = ask(&faces, inquiry, |node, word| match word {
        NodeWord::Explanation(said) => Some(explanation(node, said)),
        _ => None,
    })
    .await?;
    Ok(Json(ExplainedBody { nodes, missing }))
}

async fn get_outstanding(State(faces): State<Faces>) -> Result<Json<OutstandingBody>, ApiError> {
    let (nodes, missing) = ask(&faces, Inquiry::Outstanding, |node, word| match word {
        NodeWord::Outstanding(frame) => Some(outstanding(node, &frame)),
        _ => None,
    })
    .await?;
    Ok(Json(OutstandingBody { nodes, missing }))
}

fn refusal(refusal: Refusal) -> RefusalBody {
    RefusalBody {
        field: refusal.field,
        message: refusal.message,
    }
}

fn freezes(node: NodeIndex, frame: FreezesFrame) -> NodeFreezesBody {
    let lifts = frame.lifts.into_iter().map(|lift| RequestBody {
        stamp: hex::encode(lift.stamp),
        payload: hex::encode(lift.payload),
    });
    NodeFreezesBody {
        node,
        digest: hex::encode(frame.digest),
        freezes: frame.freezes.iter().map(|f| hex::encode(&f.0)).collect(),
        lifted: frame.lifted,
        suspended: frame.suspended,
        lifts: lifts.collect(),
    }
}

fn proposals(node: NodeIndex, frame: ProposalsFrame) -> NodeProposalsBody {
    NodeProposalsBody {
        node,
        proposals: frame.proposals.into_iter().map(proposal).collect(),
    }
}

fn proposal(body: ProposalBody) -> ProposedCharterBody {
    let Opaque(certificate) = body.certificate;
    ProposedCharterBody {
        certificate: hex::encode(certificate),
        first_seen: body.first_seen,
        unmet: body.unmet,
        intent_hash: body.intent_hash,
        vetoed_by: body.vetoed_by,
        judged: body.judged,
        flipped: body.flipped,
        flips: body.flips,
    }
}

fn explanation(node: NodeIndex, said: Result<String, Refusal>) -> NodeExplanationBody {
    let unreadable = |e: serde_json::Error| Refusal {
        field: "explanation".to_owned(),
        message: format!("the node's explanation is no JSON: {e}"),
    };
    let read = said.and_then(|text| serde_json::from_str(&text).map_err(unreadable));
    match read {
        Ok(value) => NodeExplanationBody {
            node,
            explanation: Some(value),
            refused: None,
        },
        Err(why) => NodeExplanationBody {
            node,
            explanation: None,
            refused: Some(refusal(why)),
        },
    }
}

fn outstanding(node: NodeIndex, frame: &OutstandingFrame) -> NodeOutstandingBody {
    let entries = frame.entries.iter();
    let read: Vec<serde_json::Value> = entries
        .filter_map(|e| serde_json::from_str(e).ok())
        .collect();
    NodeOutstandingBody {
        node,
        truncated: frame.truncated || read.len() < frame.entries.len(),
        entries: read,
    }
}
