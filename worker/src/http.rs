//! The HTTP server: `/metrics`, `/health`, `/ready`, `/status`, `/api/v1/alarms` below the path prefix, and a listener of its own for
//! `/metrics` and `/health` where `monitoring.pull` asks for one.
//!
//! It has threads of its own, so it answers while the loop computes, and it bounds what clients can take: connections,
//! header and body sizes, and the time for each.

mod alarms;
pub(crate) mod listener;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use config::status::Status;
use serde_json::json;
use tokio::sync::watch;

use crate::alarms::AlarmBoard;
use crate::logging::Redactor;
use crate::metrics::Metrics;
use listener::{Running, bind, limited, refusal};

pub use listener::{HttpError, Limits};

/// What the server needs.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// `server` of the configuration.
    pub server: config::worker::Server,
    /// `monitoring.pull` of the configuration: (address, port).
    pub pull: Option<(String, u16)>,
    /// What clients may take.
    pub limits: Limits,
    /// Behind `/metrics`.
    pub metrics: Arc<Metrics>,
    /// Behind `/ready` and `/status`: what the loop published last.
    pub status: watch::Receiver<Status>,
    /// Behind `/api/v1/alarms`.
    pub alarms: Arc<AlarmBoard>,
    /// Keeps secrets out of them: errors are in the words of others.
    pub redactor: Redactor,
}

/// The running server. It stops when this is dropped, without waiting.
#[derive(Debug)]
pub struct HttpServer {
    address: SocketAddr,
    pull_address: Option<SocketAddr>,
    running: Running,
}

impl HttpServer {
    /// Listens, and answers from threads of its own.
    ///
    /// # Errors
    /// [`HttpError::Bind`] names the address and the key it comes from.
    pub fn start(options: HttpOptions) -> Result<Self, HttpError> {
        let HttpOptions { server, pull, limits, metrics, status, alarms, redactor } = options;
        let (listener, address) = bind("server.addr and server.port", &server.addr, server.port)?;
        let separate = pull.filter(|(addr, port)| *port == 0 || (addr.as_str(), *port) != (&server.addr, server.port));
        let pull = match &separate {
            Some((addr, port)) => Some(bind("monitoring.pull.addr and monitoring.pull.port", addr, *port)?),
            None => None,
        };

        let pull_address = pull.as_ref().map(|(_, address)| *address);
        let prefix = normal_prefix(&server.path_prefix);
        let state = Shared { metrics, status, alarms, redactor };
        let mut services = vec![(listener, limited(full_routes(&prefix), &limits).with_state(state.clone()))];
        if let Some((pull, _)) = pull {
            services.push((pull, limited(pull_routes(&prefix), &limits).with_state(state)));
        }
        let running = Running::start("http", services, &limits)?;

        tracing::info!(%address, "Listening on http://{address}{prefix}");
        if let Some(address) = pull_address {
            tracing::info!(%address, "Serving /metrics on http://{address}/metrics");
        }
        Ok(Self { address, pull_address, running })
    }

    /// The address and port that were taken.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address and port of the listener of `monitoring.pull`, if there is one.
    #[must_use]
    pub fn pull_address(&self) -> Option<SocketAddr> {
        self.pull_address
    }

    /// Accepts nothing more, and returns when running requests have been answered or [`Limits::grace`] is over.
    pub async fn stop(self) {
        self.running.stop().await;
    }
}

#[derive(Debug, Clone)]
struct Shared {
    metrics: Arc<Metrics>,
    status: watch::Receiver<Status>,
    alarms: Arc<AlarmBoard>,
    redactor: Redactor,
}

impl Shared {
    /// What the loop published last, without secrets.
    fn status(&self) -> Status {
        // Nothing else is done under the lock: the loop publishes through it.
        let mut status = self.status.borrow().clone();
        let errors = status.jobs.iter_mut().filter_map(|job| job.last_error.as_mut());
        let reasons = status.not_ready.iter_mut().map(|reason| &mut reason.message);
        for text in errors.chain(reasons).chain(status.config.last_error.as_mut()) {
            if let Cow::Owned(clean) = self.redactor.redact(text) {
                *text = clean;
            }
        }
        status
    }
}

/// With a leading slash and none at the end; empty: none.
fn normal_prefix(prefix: &str) -> String {
    match prefix.trim_matches('/') {
        "" => String::new(),
        trimmed => format!("/{trimmed}"),
    }
}

fn full_routes(prefix: &str) -> Router<Shared> {
    let routes = monitoring_routes().route("/ready", get(ready)).route("/status", get(status));
    below(prefix, routes.route("/api/v1/alarms", get(alarms::alarms)))
}

/// Scrape configurations may know the prefix or not, so both are there.
fn pull_routes(prefix: &str) -> Router<Shared> {
    if prefix.is_empty() {
        return monitoring_routes();
    }
    monitoring_routes().merge(below(prefix, monitoring_routes()))
}

fn monitoring_routes() -> Router<Shared> {
    Router::new().route("/metrics", get(metrics)).route("/health", get(health))
}

fn below(prefix: &str, routes: Router<Shared>) -> Router<Shared> {
    if prefix.is_empty() {
        return routes;
    }
    // A prefix is text, not a pattern.
    let literal = prefix.replace('{', "{{").replace('}', "}}");
    Router::new().without_v07_checks().nest(&literal, routes)
}

async fn metrics(State(shared): State<Shared>) -> Response {
    match shared.metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "No metrics");
            refusal(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string())
        }
    }
}

/// The process runs and answers; whether it does its work says `/ready`.
async fn health() -> Response {
    Json(json!({ "status": "ok" })).into_response()
}

async fn ready(State(shared): State<Shared>) -> Response {
    let Status { ready, not_ready, .. } = shared.status();
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(json!({ "ready": ready, "reasons": not_ready }))).into_response()
}

async fn status(State(shared): State<Shared>) -> Response {
    Json(shared.status()).into_response()
}
