//! The HTTP server: `/metrics`, `/health`, `/ready`, `/status` below the path prefix, and a listener of its own for
//! `/metrics` and `/health` where `monitoring.pull` asks for one.
//!
//! It has threads of its own, so it answers while the loop computes, and it bounds what clients can take: connections,
//! header and body sizes, and the time for each.

#![expect(clippy::disallowed_methods, reason = "clients' time limits are no part of the loop and of its simulation")]

use std::borrow::Cow;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use config::status::Status;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinSet;

use crate::logging::Redactor;
use crate::metrics::Metrics;

/// What clients may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Open connections of one listener; further ones wait.
    pub connections: usize,
    /// Longest life of a connection; then it ends after the request that it works on.
    pub connection_lifetime: Duration,
    /// From the first moment of waiting for a request to the end of its header.
    pub header_timeout: Duration,
    /// From the end of the header to the response.
    pub request_timeout: Duration,
    /// Bytes of a header.
    pub header_bytes: usize,
    /// Bytes of a body.
    pub body_bytes: usize,
    /// How long requests may still take when the server stops.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            connection_lifetime: Duration::from_secs(300),
            header_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            header_bytes: 32 * 1024,
            body_bytes: 1024 * 1024,
            grace: Duration::from_secs(5),
        }
    }
}

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
    /// Keeps secrets out of them: errors are in the words of others.
    pub redactor: Redactor,
}

/// Why the server does not run.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address is taken, not of this machine, or not allowed.
    #[error("{key}: cannot listen on {address}: {source}")]
    Bind {
        /// Key of the configuration.
        key: &'static str,
        /// Address and port.
        address: String,
        /// The system's words.
        source: std::io::Error,
    },
    /// The system gives no thread.
    #[error("no threads for the HTTP server: {0}")]
    Threads(#[source] std::io::Error),
}

/// The running server. It stops when this is dropped, without waiting.
#[derive(Debug)]
pub struct HttpServer {
    address: SocketAddr,
    pull_address: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    stopped: oneshot::Receiver<()>,
}

impl HttpServer {
    /// Listens, and answers from threads of its own.
    ///
    /// # Errors
    /// [`HttpError::Bind`] names the address and the key it comes from.
    pub fn start(options: HttpOptions) -> Result<Self, HttpError> {
        let HttpOptions { server, pull, limits, metrics, status, redactor } = options;
        let (listener, address) = bind("server.addr and server.port", &server.addr, server.port)?;
        let separate = pull.filter(|(addr, port)| *port == 0 || (addr.as_str(), *port) != (&server.addr, server.port));
        let pull = match &separate {
            Some((addr, port)) => Some(bind("monitoring.pull.addr and monitoring.pull.port", addr, *port)?),
            None => None,
        };

        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("http")
            .enable_io()
            .enable_time()
            .build()
            .map_err(HttpError::Threads)?;
        let pull_address = pull.as_ref().map(|(_, address)| *address);
        let prefix = normal_prefix(&server.path_prefix);
        let state = Shared { metrics, status, redactor };
        let mut services = vec![(listener, limited(full_routes(&prefix), &limits).with_state(state.clone()))];
        if let Some((pull, _)) = pull {
            services.push((pull, limited(pull_routes(&prefix), &limits).with_state(state)));
        }
        let (stop, stopping) = watch::channel(false);
        let (report, stopped) = oneshot::channel();
        std::thread::Builder::new()
            .name("http".to_owned())
            .spawn(move || {
                runtime.block_on(async move {
                    let mut listeners = JoinSet::new();
                    for (listener, routes) in services {
                        listeners.spawn(serve(listener, routes, limits.clone(), stopping.clone()));
                    }
                    listeners.join_all().await;
                });
                // Whoever waited for this may have gone.
                let _ = report.send(());
            })
            .map_err(HttpError::Threads)?;

        tracing::info!(%address, "Listening on http://{address}{prefix}");
        if let Some(address) = pull_address {
            tracing::info!(%address, "Serving /metrics on http://{address}/metrics");
        }
        Ok(Self { address, pull_address, stop, stopped })
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
        self.stop.send_replace(true);
        // An error means that its thread has ended already.
        let _ = self.stopped.await;
    }
}

/// A listener and the address it has.
fn bind(key: &'static str, addr: &str, port: u16) -> Result<(TcpListener, SocketAddr), HttpError> {
    // Brackets are for URLs; an address comes with or without them.
    let host = addr.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(addr);
    let failed = |source| HttpError::Bind { key, address: format!("{addr}:{port}"), source };
    let listener = TcpListener::bind((host, port)).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

#[derive(Debug, Clone)]
struct Shared {
    metrics: Arc<Metrics>,
    status: watch::Receiver<Status>,
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
    below(prefix, monitoring_routes().route("/ready", get(ready)).route("/status", get(status)))
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

fn limited(routes: Router<Shared>, limits: &Limits) -> Router<Shared> {
    let request_timeout = limits.request_timeout;
    routes
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn(move |request: Request, next: Next| async move {
            match tokio::time::timeout(request_timeout, next.run(request)).await {
                Ok(response) => response,
                Err(_) => refusal(StatusCode::REQUEST_TIMEOUT, "the request took too long"),
            }
        }))
        .layer(DefaultBodyLimit::max(limits.body_bytes))
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

async fn unknown_route(uri: Uri) -> Response {
    refusal(StatusCode::NOT_FOUND, &format!("no such route: {}", uri.path()))
}

async fn wrong_method(request: Request) -> Response {
    let message = format!("{} does not allow {}", request.uri().path(), request.method());
    refusal(StatusCode::METHOD_NOT_ALLOWED, &message)
}

fn refusal(code: StatusCode, message: &str) -> Response {
    (code, Json(json!({ "error": message }))).into_response()
}

/// Accepts connections until `stopping`, then waits for the open ones.
async fn serve(listener: TcpListener, routes: Router, limits: Limits, mut stopping: watch::Receiver<bool>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "The HTTP server cannot listen");
            return;
        }
    };
    let slots = Arc::new(Semaphore::new(limits.connections.min(Semaphore::MAX_PERMITS)));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            // An error means that the server was dropped.
            _ = stopping.wait_for(|stop| *stop) => break,
            // Ended ones free their memory.
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &slots) => accepted,
        };
        match accepted {
            Ok((stream, slot)) => {
                let connection = answer(stream, routes.clone(), limits.clone(), stopping.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(slot);
                });
            }
            // Of that connection, or of the process (no more file descriptors): either may pass.
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "A connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    connections.join_all().await;
}

async fn accept(
    listener: &tokio::net::TcpListener,
    slots: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, slot))
}

async fn answer(stream: TcpStream, routes: Router, limits: Limits, mut stopping: watch::Receiver<bool>) {
    // Only a matter of latency.
    let _ = stream.set_nodelay(true);
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.header_timeout).max_header_size(limits.header_bytes);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes)));
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        _ = stopping.wait_for(|stop| *stop) => None,
        () = tokio::time::sleep(limits.connection_lifetime) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(limits.grace, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = &error as &dyn std::error::Error, "A connection ended early");
    }
}
