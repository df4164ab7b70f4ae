//! Listeners with bounds on what their clients can take: connections, header and body sizes, and the time for each.

#![expect(clippy::disallowed_methods, reason = "clients' time limits are no part of the loop and of its simulation")]

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinSet;

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

/// A listener and the address it has. `[::]` is every address of the machine, of IPv6 and of IPv4.
pub(crate) fn bind(key: &'static str, addr: &str, port: u16) -> Result<(TcpListener, SocketAddr), HttpError> {
    // Brackets are for URLs; an address comes with or without them.
    let host = addr.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(addr);
    let failed = |source| HttpError::Bind { key, address: format!("{addr}:{port}"), source };
    let listener = TcpListener::bind((host, port)).or_else(|error| match error.kind() {
        // A kernel without IPv6.
        kind if host == "::" && kind != ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).map_err(|_| error)
        }
        _ => Err(error),
    });
    let listener = listener.map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// Listeners that are answered from threads of their own. They stop when this is dropped, without waiting.
#[derive(Debug)]
pub(crate) struct Running {
    stop: watch::Sender<bool>,
    stopped: oneshot::Receiver<()>,
}

impl Running {
    /// Answers each listener by its routes, from threads called `name`.
    pub(crate) fn start(
        name: &'static str,
        services: Vec<(TcpListener, Router)>,
        limits: &Limits,
    ) -> Result<Self, HttpError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name(name)
            .enable_io()
            .enable_time()
            .build()
            .map_err(HttpError::Threads)?;
        let (stop, stopping) = watch::channel(false);
        let (report, stopped) = oneshot::channel();
        let limits = limits.clone();
        std::thread::Builder::new()
            .name(name.to_owned())
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
        Ok(Self { stop, stopped })
    }

    /// Accepts nothing more, and returns when running requests have been answered or [`Limits::grace`] is over.
    pub(crate) async fn stop(self) {
        self.stop.send_replace(true);
        // An error means that its thread has ended already.
        let _ = self.stopped.await;
    }
}

/// Bounds the time and the body of every request, and answers unknown routes and methods.
pub(crate) fn limited<S: Clone + Send + Sync + 'static>(routes: Router<S>, limits: &Limits) -> Router<S> {
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

async fn unknown_route(uri: Uri) -> Response {
    refusal(StatusCode::NOT_FOUND, &format!("no such route: {}", uri.path()))
}

async fn wrong_method(request: Request) -> Response {
    let message = format!("{} does not allow {}", request.uri().path(), request.method());
    refusal(StatusCode::METHOD_NOT_ALLOWED, &message)
}

/// An error as all routes answer it.
pub(crate) fn refusal(code: StatusCode, message: &str) -> Response {
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
