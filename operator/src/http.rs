//! `/metrics`, `/health` and `/ready`.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
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

/// Serves until the process ends. `[::]` is every address of the machine, of IPv6 and of IPv4.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve(address: SocketAddr, metrics: Metrics, readiness: Readiness) -> std::io::Result<()> {
    let taken = |error: std::io::Error| std::io::Error::new(error.kind(), format!("--listen={address}: {error}"));
    let listener = match TcpListener::bind(address).await {
        // A kernel without IPv6.
        Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED && error.kind() != ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await.map_err(|_| taken(error))?
        }
        bound => bound.map_err(taken)?,
    };
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
