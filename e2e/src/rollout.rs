//! Waiting for workloads and for a VMAnomaly, and what to say when they do not come.

use std::time::Duration;

use crds::VMAnomaly;
use crds::status::ConditionType;
use futures_util::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watch_object};

use crate::cluster::{Cluster, ClusterError};

/// Why something is not ready.
#[derive(thiserror::Error)]
pub enum RolloutError {
    /// The cluster refused.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// Pods do not come.
    #[error("{workload} is not ready after {} s: {reason}\n{state}", within.as_secs())]
    Workload {
        /// `deployment/vmagent`.
        workload: String,
        /// How long it had.
        within: Duration,
        /// The words of kubectl.
        reason: String,
        /// Pods and what happened to them.
        state: String,
    },
    /// The VMAnomaly does not do what was asked.
    #[error("VMAnomaly {name} is not ready after {} s: {status}\n{state}", within.as_secs())]
    Anomaly {
        /// Its name.
        name: String,
        /// How long it had.
        within: Duration,
        /// Its conditions.
        status: String,
        /// Pods and what happened to them.
        state: String,
    },
}

impl std::fmt::Debug for RolloutError {
    /// As its message: `unwrap` in a test then prints what to do.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{self}")
    }
}

/// Waits until each workload (`deployment/vmagent`) has all its pods ready.
///
/// # Errors
/// After `within`, with the state of the namespace's pods.
pub async fn finished(
    cluster: &Cluster,
    namespace: &str,
    workloads: &[&str],
    within: Duration,
) -> Result<(), RolloutError> {
    for workload in workloads {
        let timeout = format!("--timeout={}s", within.as_secs());
        let waited = cluster.kubectl(&["rollout", "status", workload, "--namespace", namespace, &timeout]).await;
        if let Err(error) = waited {
            let ClusterError::Command { message: reason, .. } = error else { return Err(error.into()) };
            let state = state(cluster, namespace).await;
            return Err(RolloutError::Workload { workload: (*workload).to_owned(), within, reason, state });
        }
    }
    Ok(())
}

/// A condition of a VMAnomaly that is about its newest generation.
#[must_use]
pub fn condition(anomaly: &VMAnomaly, type_: ConditionType) -> Option<&Condition> {
    let conditions = anomaly.status.iter().flat_map(|status| &status.conditions);
    let mut current = conditions.filter(|condition| condition.observed_generation == anomaly.metadata.generation);
    current.find(|condition| condition.type_ == type_.name())
}

/// Whether a VMAnomaly does all that it was asked to do, with so many queries at least.
#[must_use]
pub fn is_ready(anomaly: &VMAnomaly, queries: usize) -> bool {
    let selected = anomaly.status.as_ref().and_then(|status| usize::try_from(status.queries?).ok()).unwrap_or(0);
    selected >= queries && condition(anomaly, ConditionType::Ready).is_some_and(|ready| ready.status == "True")
}

/// Waits until a VMAnomaly is as `wanted` says; `seen` gets every state on the way.
///
/// # Errors
/// After `within`, with its conditions and the state of the namespace's pods.
pub async fn anomaly(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
    within: Duration,
    wanted: impl Fn(&VMAnomaly) -> bool,
    mut seen: impl FnMut(&VMAnomaly),
) -> Result<VMAnomaly, RolloutError> {
    let api = Api::<VMAnomaly>::namespaced(cluster.client()?, namespace);
    let mut last = None;
    // An error of a watch is followed by another attempt; only time ends it.
    let states = watch_object(api, name).default_backoff();
    let states = states.filter_map(async |state: Result<_, watcher::Error>| state.ok().flatten());
    let waited = tokio::time::timeout(within, async {
        let mut states = std::pin::pin!(states);
        while let Some(anomaly) = states.next().await {
            seen(&anomaly);
            if wanted(&anomaly) {
                return Some(anomaly);
            }
            last = Some(anomaly);
        }
        None
    });
    if let Ok(Some(anomaly)) = waited.await {
        return Ok(anomaly);
    }
    let status = last.as_ref().map_or_else(|| "it is not there".to_owned(), conditions);
    Err(RolloutError::Anomaly { name: name.to_owned(), within, status, state: state(cluster, namespace).await })
}

/// All conditions in a line.
#[must_use]
pub fn conditions(anomaly: &VMAnomaly) -> String {
    let conditions = anomaly.status.iter().flat_map(|status| &status.conditions);
    let told = conditions.map(|condition| {
        format!("{}={} {} {}", condition.type_, condition.status, condition.reason, condition.message)
    });
    let told: Vec<_> = told.map(|line| line.trim_end().to_owned()).collect();
    if told.is_empty() { "the operator has not looked at it yet".to_owned() } else { told.join("; ") }
}

/// Pods of a namespace, and the warnings among its newest events.
pub async fn state(cluster: &Cluster, namespace: &str) -> String {
    let pods = cluster.kubectl(&["get", "pods", "--namespace", namespace, "--output", "wide"]).await;
    let columns = "custom-columns=OBJECT:.regarding.name,REASON:.reason,NOTE:.note";
    let events =
        ["get", "events.events.k8s.io", "--namespace", namespace, "--field-selector=type=Warning", "-o", columns];
    let events = cluster.kubectl(&events).await;
    let told = |result: Result<String, ClusterError>| result.unwrap_or_else(|error| error.to_string());
    let (pods, events) = (told(pods), told(events));
    let newest: Vec<_> = events.lines().rev().take(20).collect();
    format!("{pods}{}", newest.into_iter().rev().collect::<Vec<_>>().join("\n"))
}
