//! Ports of pods on this machine's loopback, through the API server: the same on every cluster.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use ::tests::http::HttpError;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use kube::api::{Api, ListParams};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Why a port is not forwarded.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// No port here.
    #[error("a port of the loopback: {0}")]
    Listen(#[from] io::Error),
    /// The API server refused.
    #[error("API server: {0}")]
    Api(#[from] kube::Error),
    /// The service is not there in this form.
    #[error("service {service} has no port {port}")]
    Port {
        /// The service.
        service: String,
        /// Its port.
        port: u16,
    },
    /// Nobody answers.
    #[error("service {service} has no ready pod")]
    NoPod {
        /// The service.
        service: String,
    },
}

/// Where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A ready pod of a service, chosen for each connection.
    Service {
        /// Its name.
        name: String,
        /// The service's port.
        port: u16,
    },
    /// One pod.
    Pod {
        /// Its name.
        name: String,
        /// The pod's port.
        port: u16,
    },
}

/// A forwarded port, until it is dropped. It belongs to the runtime that it was started in.
#[derive(Debug)]
pub struct Forward {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Forward {
    /// Begins to listen.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start(client: Client, namespace: &str, target: Target) -> Result<Self, ForwardError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let namespace = namespace.to_owned();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                // A connection that finds no pod is closed, which its client sees.
                connections.spawn(connect(client.clone(), namespace.clone(), target.clone(), stream));
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { address, task })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:1234`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The answer to a request, which is sent again when a forwarded connection has gone meanwhile.
///
/// # Errors
/// The request's own, at once; no answer, after ten attempts.
pub async fn answered<T>(mut request: impl AsyncFnMut() -> Result<T, HttpError>) -> Result<T, HttpError> {
    let mut attempts = 1;
    loop {
        match request().await {
            Err(HttpError::Request { .. }) if attempts < ATTEMPTS => attempts += 1,
            answer => return answer,
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// How often a request is sent at most, and how soon again.
const ATTEMPTS: u32 = 10;
const AGAIN: Duration = Duration::from_millis(200);

async fn connect(client: Client, namespace: String, target: Target, mut stream: TcpStream) -> Result<(), ForwardError> {
    let (pod, port) = match target {
        Target::Pod { name, port } => (name, port),
        Target::Service { name, port } => ready_pod(client.clone(), &namespace, &name, port).await?,
    };
    let mut forwarder = Api::<Pod>::namespaced(client, &namespace).portforward(&pod, &[port]).await?;
    if let Some(mut remote) = forwarder.take_stream(port) {
        let _ = stream.set_nodelay(true);
        tokio::io::copy_bidirectional(&mut stream, &mut remote).await?;
    }
    forwarder.abort();
    Ok(())
}

/// A pod of the service that is ready, and its port that the service's port means.
async fn ready_pod(client: Client, namespace: &str, service: &str, port: u16) -> Result<(String, u16), ForwardError> {
    let no_port = || ForwardError::Port { service: service.to_owned(), port };
    let object = Api::<Service>::namespaced(client.clone(), namespace).get(service).await?;
    let ports = object.spec.and_then(|spec| spec.ports).unwrap_or_default();
    let named = ports.into_iter().find(|one| one.port == i32::from(port)).ok_or_else(no_port)?;
    let selection = ListParams::default().labels(&format!("kubernetes.io/service-name={service}"));
    let slices = Api::<EndpointSlice>::namespaced(client, namespace).list(&selection).await?;
    for slice in slices {
        let ports = slice.ports.unwrap_or_default();
        let number = ports.iter().find(|one| one.name.as_deref().unwrap_or("") == named.name.as_deref().unwrap_or(""));
        let number = number.and_then(|one| u16::try_from(one.port?).ok());
        let ready =
            slice.endpoints.into_iter().flatten().find(|endpoint| {
                endpoint.conditions.as_ref().is_none_or(|conditions| conditions.ready.unwrap_or(true))
            });
        let pod = ready.and_then(|endpoint| endpoint.target_ref?.name);
        if let (Some(number), Some(pod)) = (number, pod) {
            return Ok((pod, number));
        }
    }
    Err(ForwardError::NoPod { service: service.to_owned() })
}
