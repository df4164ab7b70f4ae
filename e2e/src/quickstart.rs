//! The objects of `deploy/quickstart`: the demonstration's database and collectors, what to watch, and the recorded
//! incident's query.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use ::tests::components::repository;

use crate::catalogue::{self, TOOLS};
use crate::cluster::{Cluster, ClusterError};
use crate::rollout::{self, RolloutError};

/// The namespace of all of it.
pub const NAMESPACE: &str = "vmanomaly-demo";

/// The VMAnomaly.
pub const ANOMALY: &str = "quickstart";

/// How many AnomalyQueries [`apply`] makes.
pub const QUERIES: usize = 3;

/// The workloads of the demonstration, the database first.
pub const WORKLOADS: [&str; 4] =
    ["statefulset/victoria-metrics", "deployment/vmagent", "daemonset/node-exporter", "deployment/vmalert"];

/// How long a workload may take; where images have to be pulled, that is most of it.
pub const WITHIN: Duration = Duration::from_secs(300);

/// Manifests of a folder below `deploy`, in the order of their names, as one stream. Folders in it are not entered.
///
/// # Errors
/// When they cannot be read.
pub fn manifests(folder: &str) -> io::Result<String> {
    let folder = repository().join("deploy").join(folder);
    let mut files = std::fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<PathBuf>>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    let texts = files.into_iter().map(std::fs::read_to_string).collect::<io::Result<Vec<_>>>()?;
    Ok(texts.join("---\n"))
}

/// Manifests with images that the cluster can have: on a node of our own, those made from the programs of `make tools`.
#[must_use]
pub fn images_for(cluster: &Cluster, manifests: &str) -> String {
    if cluster.node().is_some() { with_local_images(manifests) } else { manifests.to_owned() }
}

fn with_local_images(manifests: &str) -> String {
    let lines = manifests.lines().map(|line| {
        let Some((before, image)) = line.split_once("image: ") else { return line.to_owned() };
        let name = image.rsplit('/').next().and_then(|last| last.split(':').next()).unwrap_or(image);
        let tool = TOOLS.iter().find(|tool| **tool == name || tool.strip_prefix("prometheus-") == Some(name));
        tool.map_or_else(|| line.to_owned(), |tool| format!("{before}image: {}", catalogue::tool_name(tool)))
    });
    lines.map(|line| line + "\n").collect()
}

async fn apply_folder(cluster: &Cluster, folder: &str) -> Result<(), ClusterError> {
    let failed = |error: io::Error| ClusterError::Command {
        command: format!("read deploy/{folder}"),
        message: error.to_string(),
    };
    let manifests = manifests(folder).map_err(failed)?;
    cluster.apply(NAMESPACE, &images_for(cluster, &manifests)).await
}

/// Applies the demonstration's database, collectors and alert rules.
///
/// # Errors
/// When the API server refuses them.
pub async fn apply_demonstration(cluster: &Cluster) -> Result<(), ClusterError> {
    apply_folder(cluster, "quickstart/demo").await
}

/// Waits until the demonstration runs.
///
/// # Errors
/// When it does not, with what its pods say.
pub async fn demonstration_ready(cluster: &Cluster) -> Result<(), RolloutError> {
    rollout::finished(cluster, NAMESPACE, &WORKLOADS, WITHIN).await
}

/// Applies the VMAnomaly and the AnomalyQueries.
///
/// # Errors
/// When the API server refuses them.
pub async fn apply(cluster: &Cluster) -> Result<(), ClusterError> {
    apply_folder(cluster, "quickstart").await
}

/// Applies the query for the recordings.
///
/// # Errors
/// When the API server refuses it.
pub async fn apply_incident(cluster: &Cluster) -> Result<(), ClusterError> {
    apply_folder(cluster, "quickstart/incident").await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_image_of_the_demonstration_can_be_made_here() {
        let published = manifests("quickstart/demo").unwrap();
        let local = with_local_images(&published);
        let images: Vec<_> = local.lines().filter_map(|line| line.split_once("image: ")).collect();
        assert_eq!(images.len(), TOOLS.len());
        assert!(images.iter().all(|(_, image)| image.starts_with(catalogue::LOCAL_REGISTRY)), "{images:?}");
        let differing = published.lines().zip(local.lines()).filter(|(before, after)| before != after).count();
        assert_eq!((differing, published.lines().count()), (TOOLS.len(), local.lines().count()));
    }

    #[test]
    fn the_quickstart_has_as_many_queries_as_are_waited_for() {
        let objects = manifests("quickstart").unwrap();
        assert_eq!(objects.matches("kind: AnomalyQuery").count(), QUERIES);
        assert!(objects.contains(&format!("kind: VMAnomaly\nmetadata:\n  name: {ANOMALY}\n")));
    }
}
