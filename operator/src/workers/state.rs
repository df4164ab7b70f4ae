//! What is known about each worker of a VMAnomaly: its pod, and its own report. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ContainerState, Pod};

use crate::names::ChildNames;
use crate::workers::report::Report;

/// What is known about the worker of a shard.
#[derive(Debug, Clone, PartialEq)]
pub enum WorkerState {
    /// There is no pod.
    Missing,
    /// The pod does not run; why, if it says so.
    NotRunning(Option<String>),
    /// The pod runs and the worker does not answer.
    Silent,
    /// The worker answers.
    Answers(Arc<Report>),
}

/// A worker.
#[derive(Debug, Clone, PartialEq)]
pub struct Worker {
    /// Its pod.
    pub pod: String,
    /// Its rank among the replicas of the shard.
    pub rank: u32,
    /// Its shard.
    pub shard: u32,
    /// What is known.
    pub state: WorkerState,
}

impl Worker {
    /// Its report, if it answers.
    #[must_use]
    pub fn report(&self) -> Option<&Report> {
        match &self.state {
            WorkerState::Answers(report) => Some(report),
            _ => None,
        }
    }
}

/// The workers of shards 0 to `shards` of ranks 0 to `ranks`, lower ranks first, from their pods and the reports of
/// those.
#[must_use]
pub fn workers(
    names: &ChildNames,
    ranks: u32,
    shards: u32,
    pods: &[Arc<Pod>],
    report: impl Fn(&Pod) -> Option<Arc<Report>>,
) -> Vec<Worker> {
    let pods: HashMap<&str, &Arc<Pod>> =
        pods.iter().filter_map(|pod| Some((pod.metadata.name.as_deref()?, pod))).collect();
    let worker = |rank, shard| {
        let name = names.pod(rank, shard);
        let state = match pods.get(name.as_str()).copied() {
            None => WorkerState::Missing,
            Some(pod) if pod.metadata.deletion_timestamp.is_some() => WorkerState::NotRunning(None),
            Some(pod) => match (report(pod), address(pod)) {
                (Some(report), Some(_)) => WorkerState::Answers(report),
                (None, Some(_)) if runs(pod) => WorkerState::Silent,
                _ => WorkerState::NotRunning(obstacle(pod)),
            },
        };
        Worker { pod: name, rank, shard, state }
    };
    (0..ranks)
        .flat_map(|rank| (0..shards).map(move |shard| (rank, shard)))
        .map(|(rank, shard)| worker(rank, shard))
        .collect()
}

/// The address of a pod that may answer.
#[must_use]
pub fn address(pod: &Pod) -> Option<&str> {
    let status = pod.status.as_ref()?;
    let ended = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    (!ended && pod.metadata.deletion_timestamp.is_none()).then_some(status.pod_ip.as_deref()).flatten()
}

fn runs(pod: &Pod) -> bool {
    let containers = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    containers
        .into_iter()
        .any(|container| container.state.as_ref().is_some_and(|state: &ContainerState| state.running.is_some()))
}

/// Why the pod does not run, as its status says.
fn obstacle(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let waiting = status.container_statuses.iter().flatten().find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.as_deref().filter(|reason| *reason != "ContainerCreating")?;
        // The message of the last end says more than "back-off 20s restarting", and does not change.
        Some(reason.to_owned())
    });
    let unscheduled = || {
        let conditions = status.conditions.iter().flatten();
        let condition = conditions
            .into_iter()
            .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")?;
        condition.message.clone().or_else(|| condition.reason.clone())
    };
    waiting.or_else(unscheduled)
}
