//! `/metrics`, `/health` and `/ready`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::metrics::Metrics;

/// Whether everything was listed once.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// From now on the operator is ready.
    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Serves until the process ends.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve(address: SocketAddr, metrics: Metrics, readiness: Readiness) -> std::io::Result<()> {
    let taken = |error: std::io::Error| std::io::Error::new(error.kind(), format!("--listen={address}: {error}"));
    let listener = TcpListener::bind(address).await.map_err(taken)?;
    tracing::info!(address = %listener.local_addr()?, "listening");
    axum::serve(listener, routes(metrics, readiness)).await
}

fn routes(metrics: Metrics, readiness: Readiness) -> Router {
    let exposition = async move || match metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    };
    let ready = async move || {
        if readiness.get() {
            (StatusCode::OK, "ready\n")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "objects are being listed\n")
        }
    };
    Router::new().route("/metrics", get(exposition)).route("/health", get(async || "ok\n")).route("/ready", get(ready))
}
