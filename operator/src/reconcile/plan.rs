//! From a VMAnomaly and all that is around it to what its children should be. Pure.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use config::topology::Topology;
use crds::status::Reason;
use crds::{AnomalyModel, AnomalyQuery, VMAnomaly};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;

use crate::build::WorkerDefaults;
use crate::build::config::{Rendered, render, schedulers};
use crate::build::config_maps::{self, Inputs, recorded_inputs, recorded_topology};
use crate::build::disruption_budget::disruption_budget;
use crate::build::network_policy::network_policy;
use crate::build::scrape::{ScrapeKind, scrape};
use crate::build::service::service;
use crate::build::service_account::service_account;
use crate::build::stateful_set::stateful_set;
use crate::kubernetes::child::{Child, ChildKind};
use crate::names::{ChildNames, TEMPLATE};
use crate::reconcile::freshness::inputs;
use crate::reconcile::rollout::{self, Group, Hold, Progress};
use crate::reconcile::topology::{self, Layout};
use crate::selection::{Selection, select};
use crate::workers::report::Report;
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
    /// By rank, its live StatefulSets.
    pub groups: BTreeMap<u32, Group>,
    /// Its workers, lower ranks first, then by shard.
    pub workers: Vec<Worker>,
    /// Whether the workers that stay have had their time to take a smaller number of shards or replicas over.
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
    /// Kinds and names of children that stay as they are: while there is no valid configuration, or until it is their
    /// turn.
    pub kept: Vec<(ChildKind, String)>,
    /// Ranks that do not get the newest pod template yet.
    pub hold: Option<Hold>,
    /// Ranks that are to go and are still there.
    pub going: Vec<u32>,
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
    let mut hold = None;
    let going = around.groups.keys().copied().filter(|rank| *rank >= topology.ranks.get()).collect();
    if runs {
        children.push(Child::new(ChildKind::ConfigMap, &config_maps::topology(anomaly, &topology))?);
        children.push(Child::new(ChildKind::PodDisruptionBudget, &disruption_budget(anomaly))?);
        if let Some(policy) = network_policy(anomaly) {
            children.push(Child::new(ChildKind::NetworkPolicy, &policy)?);
        }
        let sets = sets(anomaly, around, defaults, recorded.as_ref(), &topology)?;
        children.extend(sets.children);
        kept.extend(sets.kept.into_iter().map(|rank| (ChildKind::StatefulSet, names.workers(rank))));
        hold = sets.hold;
    } else {
        kept.push((ChildKind::ConfigMap, names.topology.clone()));
        kept.push((ChildKind::PodDisruptionBudget, names.base.clone()));
        kept.push((ChildKind::NetworkPolicy, names.base.clone()));
        kept.extend(around.groups.keys().map(|rank| (ChildKind::StatefulSet, names.workers(*rank))));
    }
    if let Some(kind) = around.scrape
        && let Some(object) = scrape(anomaly, kind)
    {
        children.push(Child::new(ChildKind::Scrape(kind), &object)?);
    }
    Ok(Plan { selection, configuration, inputs, topology, children, runs, kept, hold, going })
}

/// What becomes of the StatefulSets.
struct Sets {
    /// Those that are written, the highest rank first.
    children: Vec<Child>,
    /// Ranks of those that stay as they are.
    kept: Vec<u32>,
    hold: Option<Hold>,
}

fn sets(
    anomaly: &VMAnomaly,
    around: &Surroundings,
    defaults: &WorkerDefaults,
    recorded: Option<&Topology>,
    topology: &Topology,
) -> Result<Sets, serde_json::Error> {
    let in_effect =
        recorded.is_some_and(|recorded| (recorded.epoch, recorded.ranks) == (topology.epoch, topology.ranks));
    let followed = around.shrink_anyway || (in_effect && all_report(around, topology));
    let ranks_followed = around.shrink_anyway || (followed && all_say_ranks(around, topology));
    // Shards are at most 1000, see the schema.
    let built = |rank, pods| stateful_set(anomaly, defaults, rank, i32::try_from(pods).unwrap_or(i32::MAX));
    let wanted: BTreeMap<u32, (u32, StatefulSet)> = (0..topology.ranks.get())
        .map(|rank| {
            let live = around.groups.get(&rank).map(|group| group.pods);
            let pods = topology::pods(topology.shards, live, followed);
            (rank, (pods, built(rank, pods)))
        })
        .collect();
    let progress = wanted.iter().map(|(rank, (_, set))| (*rank, progress(around, *rank, set)));
    let hold = rollout::hold(&progress.collect());
    let waits = |rank: &u32| hold.as_ref().is_some_and(|hold| hold.waiting.contains(rank));

    let (mut children, mut kept) = (Vec::new(), Vec::new());
    for (rank, (pods, set)) in wanted.into_iter().rev() {
        let set = match around.groups.get(&rank).filter(|_| waits(&rank)) {
            Some(group) if group.pods == pods => {
                kept.push(rank);
                continue;
            }
            Some(group) => group.with_own_template(set),
            None => set,
        };
        children.push(Child::new(ChildKind::StatefulSet, &set)?);
    }
    for (rank, group) in around.groups.range(topology.ranks.get()..) {
        // Without pods first: so their volume claims go, or stay, as those of shards that are taken away.
        if ranks_followed && group.pods > 0 {
            children.push(Child::new(ChildKind::StatefulSet, &group.with_own_template(built(*rank, 0)))?);
        } else if !ranks_followed || group.existing > 0 {
            kept.push(*rank);
        }
    }
    Ok(Sets { children, kept, hold })
}

fn progress(around: &Surroundings, rank: u32, wanted: &StatefulSet) -> Progress {
    let Some(group) = around.groups.get(&rank) else { return Progress::Absent };
    let working = around
        .workers
        .iter()
        .filter(|worker| worker.rank == rank && worker.shard < group.pods)
        .filter(|worker| worker.report().is_some_and(|report| report.ready))
        .count();
    let settled = group.rolled_out && u32::try_from(working) == Ok(group.pods);
    if group.template_hash.as_ref() == wanted.annotations().get(TEMPLATE) {
        Progress::Newest { settled }
    } else {
        Progress::Behind { settled, serves: working > 0 || group.ready > 0 }
    }
}

fn next_topology(
    anomaly: &VMAnomaly,
    around: &Surroundings,
    recorded: Option<&Topology>,
    rendered: Option<&Rendered>,
) -> Topology {
    let count = |number: i32| u32::try_from(number).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
    let placements = match (rendered, recorded) {
        (Some(rendered), _) => rendered.placements.iter().cloned().collect(),
        (None, Some(recorded)) => recorded.placements.clone(),
        (None, None) => BTreeMap::new(),
    };
    let reported = around.workers.iter().filter_map(|worker| Some(worker.report()?.epoch));
    let published = anomaly.status.as_ref().and_then(|status| u64::try_from(status.epoch?).ok());
    let floor = reported.chain(published).max().unwrap_or(0);
    let settled = recorded.is_some_and(|recorded| all_report(around, recorded));
    let wanted = Layout {
        shards: count(anomaly.spec.shards),
        ranks: count(anomaly.spec.replicas.unwrap_or(1)),
        placements,
        peers: config_maps::peers(anomaly),
    };
    topology::next(recorded, floor, wanted, settled)
}

/// The workers of a topology.
fn members<'a>(around: &'a Surroundings, topology: &Topology) -> impl Iterator<Item = &'a Worker> {
    let (shards, ranks) = (topology.shards.get(), topology.ranks.get());
    around.workers.iter().filter(move |worker| worker.shard < shards && worker.rank < ranks)
}

/// Whether all workers of a topology report its epoch, and have all series that they own in it.
fn all_report(around: &Surroundings, topology: &Topology) -> bool {
    let settled = |report: &Report| report.epoch == topology.epoch && report.settled;
    let report = |worker: &&Worker| worker.report().is_some_and(settled);
    let reporting = members(around, topology).filter(report).count();
    u64::try_from(reporting) == Ok(u64::from(topology.shards.get()) * u64::from(topology.ranks.get()))
}

/// Whether all of them know how many replicas there are.
fn all_say_ranks(around: &Surroundings, topology: &Topology) -> bool {
    let ranks = Some(topology.ranks.get());
    members(around, topology).all(|worker| worker.report().is_some_and(|report| report.ranks == ranks))
}

/// What a live ConfigMap says that the configuration was made from.
#[must_use]
pub fn recorded(around: &Surroundings) -> Option<Inputs> {
    around.config.as_ref().and_then(recorded_inputs)
}
