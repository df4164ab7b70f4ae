//! The operator in a cluster, installed as a user does: by the chart, with helm.

use std::time::Duration;

use ::tests::components::repository;

use crate::cluster::{Cluster, ClusterError};
use crate::rollout::{self, RolloutError};

/// The release, and the name of the operator's objects.
pub const RELEASE: &str = "vmanomaly-operator";

/// The namespace of the operator, as in `deploy/operator.yaml`.
pub const NAMESPACE: &str = "vmanomaly-system";

/// How long the operator may take to be ready.
const WITHIN: Duration = Duration::from_secs(120);

/// What the chart is told beside the images.
#[derive(Debug, Clone)]
pub struct Installation {
    /// The images' tag.
    pub tag: String,
    /// Whether the CRDs come with the release.
    pub definitions: bool,
    /// Further values, as helm's `--set` takes them: `pollInterval=1s`.
    pub values: Vec<String>,
}

impl Installation {
    /// Installs it and waits until the operator is ready.
    ///
    /// # Errors
    /// When helm refuses, or the operator does not get ready: with what its pods say.
    pub async fn install(&self, cluster: &Cluster) -> Result<(), RolloutError> {
        let chart = repository().join("charts/vmanomaly-operator").display().to_string();
        let mut values = vec![
            format!("image.registry={}", cluster.registry()),
            format!("image.tag={}", self.tag),
            format!("crds.install={}", self.definitions),
        ];
        values.extend(self.values.iter().cloned());
        let mut arguments =
            vec!["upgrade", "--install", RELEASE, &chart, "--namespace", NAMESPACE, "--create-namespace"];
        for value in &values {
            arguments.extend(["--set", value]);
        }
        cluster.helm(&arguments).await?;
        rollout::finished(cluster, NAMESPACE, &[&format!("deployment/{RELEASE}")], WITHIN).await
    }
}

/// Removes the release with its namespace. The CRDs stay, as the chart says.
///
/// # Errors
/// When helm or kubectl fail.
pub async fn uninstall(cluster: &Cluster) -> Result<(), ClusterError> {
    cluster.helm(&["uninstall", RELEASE, "--namespace", NAMESPACE, "--ignore-not-found"]).await?;
    cluster.kubectl(&["delete", "namespace", NAMESPACE, "--ignore-not-found"]).await.map(drop)
}

/// Whether a cluster has our CRDs.
///
/// # Errors
/// When it does not answer.
pub async fn has_definitions(cluster: &Cluster) -> Result<bool, ClusterError> {
    let names = ["get", "customresourcedefinitions", "--output", "name"];
    Ok(cluster.kubectl(&names).await?.lines().any(|line| line.ends_with(&format!(".{}", crds::GROUP))))
}

/// Removes our CRDs, and with them every object of theirs.
///
/// # Errors
/// When kubectl fails.
pub async fn remove_definitions(cluster: &Cluster) -> Result<(), ClusterError> {
    let file = repository().join("deploy/crds.yaml").display().to_string();
    cluster.kubectl(&["delete", "--ignore-not-found", "--filename", &file]).await.map(drop)
}
