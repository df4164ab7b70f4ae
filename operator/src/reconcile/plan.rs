//! From a VMAnomaly and all that is around it to what its children should be. Pure.

use std::num::NonZeroU32;
use std::sync::Arc;

use config::topology::Topology;
use crds::status::Reason;
use crds::{AnomalyModel, AnomalyQuery, VMAnomaly};
use k8s_openapi::api::core::v1::ConfigMap;

use crate::build::WorkerDefaults;
use crate::build::config::{Rendered, render, schedulers};
use crate::build::config_maps::{self, Inputs, recorded_inputs, recorded_topology};
use crate::build::disruption_budget::disruption_budget;
use crate::build::scrape::{ScrapeKind, scrape};
use crate::build::service::service;
use crate::build::service_account::service_account;
use crate::build::stateful_set::stateful_set;
use crate::kubernetes::child::{Child, ChildKind};
use crate::names::ChildNames;
use crate::reconcile::freshness::inputs;
use crate::reconcile::topology;
use crate::selection::{Selection, select};
use crate::workers::state::Worker;

/// What is around a VMAnomaly.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Models, at least those that it selects.
    pub models: Vec<Arc<AnomalyModel>>,
    /// Queries, at least those that it selects.
    pub queries: Vec<Arc<AnomalyQuery>>,
    /// The live ConfigMap of the configuration.
    pub config: Option<ConfigMap>,
    /// The live ConfigMap of the topology.
    pub topology: Option<ConfigMap>,
    /// Pods that the live StatefulSet asks for.
    pub pods: Option<u32>,
    /// Its workers, by shard.
    pub workers: Vec<Worker>,
    /// Whether the workers that stay have had their time to take a smaller number of shards over.
    pub shrink_anyway: bool,
    /// The kind of scrape objects of the cluster.
    pub scrape: Option<ScrapeKind>,
}

/// Why there is no configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFault {
    /// For machines.
    pub reason: Reason,
    /// For people.
    pub message: String,
}

/// What a VMAnomaly's children should be.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What it selects.
    pub selection: Selection,
    /// The configuration.
    pub configuration: Result<Rendered, ConfigFault>,
    /// What the configuration was made from.
    pub inputs: Inputs,
    /// The topology.
    pub topology: Topology,
    /// The children, in the order in which they are written.
    pub children: Vec<Child>,
    /// Whether there are workers: there is or was a valid configuration.
    pub runs: bool,
    /// Kinds and names of children that stay as they are while there is no valid configuration.
    pub kept: Vec<(ChildKind, String)>,
}

/// Plans the children.
///
/// # Errors
/// When a built object cannot be written as JSON, which its types rule out.
pub fn plan(anomaly: &VMAnomaly, around: &Surroundings, defaults: &WorkerDefaults) -> Result<Plan, serde_json::Error> {
    let names = ChildNames::of(anomaly.metadata.name.as_deref().unwrap_or_default());
    let timetable: Vec<String> = schedulers(anomaly).into_iter().map(|scheduler| scheduler.name).collect();
    let mut selection = select(anomaly, around.models.iter().cloned(), around.queries.iter().cloned(), &timetable);
    let rendered = render(anomaly, &mut selection);
    let inputs = inputs(anomaly, &selection);

    let mut configuration =
        rendered.map_err(|error| ConfigFault { reason: Reason::InvalidConfig, message: error.to_string() });
    let mut children = Vec::new();
    let mut kept = Vec::new();
    if let Some(account) = service_account(anomaly) {
        children.push(Child::new(ChildKind::ServiceAccount, &account)?);
    }
    children.push(Child::new(ChildKind::Service, &service(anomaly))?);
    let config_map = configuration.clone().and_then(|rendered| {
        let too_large =
            |error: config_maps::TooLarge| ConfigFault { reason: Reason::ConfigTooLarge, message: error.to_string() };
        config_maps::config(anomaly, &rendered, &inputs).map_err(too_large)
    });
    match config_map {
        Ok(map) => children.push(Child::new(ChildKind::ConfigMap, &map)?),
        Err(fault) => {
            configuration = Err(fault);
            kept.push((ChildKind::ConfigMap, names.config.clone()));
        }
    }

    let recorded = around.topology.as_ref().and_then(recorded_topology);
    let topology = next_topology(anomaly, around, recorded.as_ref(), configuration.as_ref().ok());
    let runs = configuration.is_ok() || around.config.is_some();
    if runs {
        children.push(Child::new(ChildKind::ConfigMap, &config_maps::topology(anomaly, &topology))?);
        children.push(Child::new(ChildKind::PodDisruptionBudget, &disruption_budget(anomaly))?);
        let unchanged = recorded.as_ref().is_some_and(|recorded| recorded.epoch == topology.epoch);
        let taken_over = around.shrink_anyway || (unchanged && all_report(around, topology.shards, topology.epoch));
        let pods = topology::pods(topology.shards, around.pods, taken_over);
        // Shards are at most 1000, see the schema.
        let set = stateful_set(anomaly, defaults, i32::try_from(pods).unwrap_or(i32::MAX));
        children.push(Child::new(ChildKind::StatefulSet, &set)?);
    } else {
        kept.push((ChildKind::ConfigMap, names.topology.clone()));
        kept.push((ChildKind::PodDisruptionBudget, names.base.clone()));
        kept.push((ChildKind::StatefulSet, names.workers.clone()));
    }
    if let Some(kind) = around.scrape
        && let Some(object) = scrape(anomaly, kind)
    {
        children.push(Child::new(ChildKind::Scrape(kind), &object)?);
    }
    Ok(Plan { selection, configuration, inputs, topology, children, runs, kept })
}

fn next_topology(
    anomaly: &VMAnomaly,
    around: &Surroundings,
    recorded: Option<&Topology>,
    rendered: Option<&Rendered>,
) -> Topology {
    let shards = u32::try_from(anomaly.spec.shards).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
    let placements = match (rendered, recorded) {
        (Some(rendered), _) => rendered.placements.iter().cloned().collect(),
        (None, Some(recorded)) => recorded.placements.clone(),
        (None, None) => std::collections::BTreeMap::new(),
    };
    let reported = around.workers.iter().filter_map(|worker| Some(worker.report()?.epoch));
    let published = anomaly.status.as_ref().and_then(|status| u64::try_from(status.epoch?).ok());
    let floor = reported.chain(published).max().unwrap_or(0);
    let settled = recorded.is_some_and(|recorded| all_report(around, recorded.shards, recorded.epoch));
    topology::next(recorded, floor, shards, placements, settled)
}

/// Whether all workers of so many shards report this epoch.
#[must_use]
pub fn all_report(around: &Surroundings, shards: NonZeroU32, epoch: u64) -> bool {
    (0..shards.get()).all(|shard| {
        let worker = around.workers.iter().find(|worker| worker.shard == shard);
        worker.and_then(Worker::report).is_some_and(|report| report.epoch == epoch)
    })
}

/// What a live ConfigMap says that the configuration was made from.
#[must_use]
pub fn recorded(around: &Surroundings) -> Option<Inputs> {
    around.config.as_ref().and_then(recorded_inputs)
}
