//! Who may speak to the faces: the right `Host`, and no foreign `Origin`.

use super::body::{ApiError, caller};
use axum::extract::{Request, State};
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

/// The names under which the faces answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hosts(Vec<String>);

impl Hosts {
    /// The names of loopback with this port, and those configured, each `host:port` exactly.
    #[must_use]
    pub fn loopback(port: u16, extra: Vec<String>) -> Self {
        let mut names = extra;
        for host in ["127.0.0.1", "localhost", "[::1]"] {
            names.push(format!("{host}:{port}"));
        }
        Self(names)
    }

    fn names(&self, host: &str) -> bool {
        self.0.iter().any(|name| name == host)
    }

    fn is_own_origin(&self, origin: &str) -> bool {
        let host = origin
            .strip_prefix("http://")
            .or_else(|| origin.strip_prefix("https://"));
        host.is_some_and(|host| self.names(host))
    }
}

/// Refuses whatever does not come from a program that means us.
pub(super) async fn check(
    State(hosts): State<Arc<Hosts>>,
    request: Request,
    next: Next,
) -> Response {
    match allowed(&hosts, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

fn allowed(hosts: &Hosts, headers: &HeaderMap) -> Result<(), ApiError> {
    let refuse = |field: &str, message: &str| Err(caller(StatusCode::FORBIDDEN, field, message));
    match single(headers, &HOST) {
        Ok(Some(host)) if hosts.names(host) => {}
        _ => return refuse("host", "the `Host` header does not name this gateway"),
    }
    match single(headers, &ORIGIN) {
        Ok(None) => Ok(()),
        Ok(Some(origin)) if hosts.is_own_origin(origin) => Ok(()),
        _ => refuse("origin", "requests of other web pages are refused"),
    }
}

/// The value of a header that may appear at most once.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| ()),
        (Some(_), Some(_)) => Err(()),
    }
}
