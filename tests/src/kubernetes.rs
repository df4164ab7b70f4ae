//! A Kubernetes API of the tests' own: etcd and kube-apiserver, on request kube-controller-manager, on loopback.

pub mod audit;
pub mod authority;
pub mod control_plane;
pub mod crds;
pub mod installation;
pub mod kubectl;
pub mod user;

use std::time::Duration;

use crate::process::StartError;

/// Why something of Kubernetes did not work.
#[derive(thiserror::Error)]
pub enum KubernetesError {
    /// A component is missing or did not get ready.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A key or certificate could not be made.
    #[error("the certificate of {subject}: {source}")]
    Certificate {
        /// Whose.
        subject: String,
        /// What failed.
        source: rcgen::Error,
    },
    /// A file could not be written or read.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// What failed.
        source: std::io::Error,
    },
    /// A kubeconfig that this module wrote is refused.
    #[error("{path}: {source}")]
    Kubeconfig {
        /// The file.
        path: String,
        /// Why.
        source: Box<kube::config::KubeconfigError>,
    },
    /// A request failed, or was refused.
    #[error("{action}: {source}")]
    Api {
        /// What was asked for.
        action: String,
        /// The answer.
        source: Box<kube::Error>,
    },
    /// The API server gave a token request no token.
    #[error("no token for the ServiceAccount {namespace}/{name}")]
    NoToken {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A text is not YAML, or not of the kind that was expected.
    #[error("{what}: {message}")]
    Yaml {
        /// Of what.
        what: &'static str,
        /// Why.
        message: String,
    },
    /// A line of the audit log is no event.
    #[error("the audit log has {line:?}: {source}")]
    AuditLine {
        /// The line.
        line: String,
        /// Why.
        source: serde_json::Error,
    },
    /// It did not come in time.
    #[error("{awaited} did not come within {within:?}")]
    Late {
        /// What was waited for.
        awaited: String,
        /// How long.
        within: Duration,
    },
}

impl std::fmt::Debug for KubernetesError {
    /// As its message: `unwrap` in a test then prints what to do.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{self}")
    }
}

/// For `map_err`: the request that failed.
pub(crate) fn api(action: impl Into<String>) -> impl FnOnce(kube::Error) -> KubernetesError {
    move |source| KubernetesError::Api { action: action.into(), source: Box::new(source) }
}

/// Writes a file of the control plane's own folder.
pub(crate) fn write(path: &std::path::Path, content: &str) -> Result<(), KubernetesError> {
    std::fs::write(path, content).map_err(|source| KubernetesError::File { path: path.display().to_string(), source })
}
