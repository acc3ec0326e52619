//! HTTP on loopback: the JSON face, the JSON-RPC face, health, readiness and metrics.
//!
//! Nothing here decides about a request. What the faces do guard is that only programs of this
//! host speak to them, and no web page through a browser: the `Host` must be one of ours exactly
//! (against DNS rebinding), any foreign `Origin` is refused, and a body must say that it is JSON
//! (so that a page cannot post one without asking first).

mod body;
mod decision;
mod ethereum;
mod fees;
mod guard;
mod http;
mod rpc;
mod sequence;
mod upstream;

pub use guard::Hosts;
pub use rpc::{Agent, SignTransactionShape, token_hash};
pub use sequence::{Sequences, serve_sequences};

use crate::metrics::Metrics;
use crate::run::Handle;
use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use std::sync::Arc;

/// What the faces share.
#[derive(Clone)]
pub struct Faces {
    handle: Handle,
    metrics: Arc<Metrics>,
    agents: Arc<Vec<Agent>>,
    sequences: Arc<Sequences>,
}

impl Faces {
    /// Faces over a core, for these agents.
    #[must_use]
    pub fn new(handle: Handle, metrics: Arc<Metrics>, agents: Vec<Agent>) -> Self {
        Self {
            handle,
            metrics,
            agents: Arc::new(agents),
            sequences: Arc::new(Sequences::in_memory()),
        }
    }

    /// With these nonces, in place of ones that are forgotten when the process ends.
    #[must_use]
    pub fn with_sequences(self, sequences: Arc<Sequences>) -> Self {
        Self { sequences, ..self }
    }

    /// All routes, behind the guard.
    pub fn router(self, hosts: Hosts) -> Router {
        Router::new()
            .route("/v1/requests", post(http::post_request))
            .route("/v1/requests/{id}", get(http::get_request))
            .route("/v1/approvals", post(http::post_approval))
            .route("/v1/keys", get(http::get_keys))
            .route(
                "/v1/charter",
                get(http::get_charter).post(http::post_charter),
            )
            .route("/v1/cluster", get(http::get_cluster))
            .merge(sequence::routes())
            .merge(decision::routes())
            .route("/healthz", get(http::healthz))
            .route("/readyz", get(http::readyz))
            .route("/metrics", get(http::metrics))
            .route("/openapi.json", get(http::openapi))
            .route("/rpc/{token}", post(rpc::serve))
            .fallback(http::no_such_path)
            .method_not_allowed_fallback(http::no_such_method)
            .with_state(self)
            .layer(from_fn_with_state(Arc::new(hosts), guard::check))
    }
}

/// Serves until the listener fails. The listener should be bound to loopback.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: tokio::net::TcpListener,
    faces: Faces,
    extra_hosts: Vec<String>,
) -> std::io::Result<()> {
    let hosts = Hosts::loopback(listener.local_addr()?.port(), extra_hosts);
    axum::serve(listener, faces.router(hosts)).await
}
