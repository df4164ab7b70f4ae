//! From a VMAnomaly and all that is around it to what its children should be. Pure.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use config::contract::CONTRACT_VERSION;
use config::topology::Topology;
use crds::status::Reason;
use crds::{AnomalyModel, AnomalyQuery, VMAnomaly};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;

use crate::build::WorkerDefaults;
use crate::build::config::{HANDOVER_TIMEOUT, Rendered, render, schedulers};
use crate::build::config_maps::{self, Inputs, UnknownContract, recorded_asked_at, recorded_inputs, recorded_topology};
use crate::build::disruption_budget::disruption_budget;
use crate::build::network_policy::network_policy;
use crate::build::scrape::{ScrapeKind, scrape};
use crate::build::service::service;
use crate::build::service_account::service_account;
use crate::build::stateful_set::stateful_set;
use crate::kubernetes::child::{Child, ChildKind};
use crate::names::{ChildNames, TEMPLATE};
use crate::reconcile::contract::{WRITTEN, WorkerTooOld, contract};
use crate::reconcile::following::Following;
use crate::reconcile::freshness::inputs;
use crate::reconcile::rollout::{self, Group, Hold, Progress};
use crate::reconcile::topology::{self, Layout};
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
    /// By rank, its live StatefulSets.
    pub groups: BTreeMap<u32, Group>,
    /// Its workers, lower ranks first, then by shard.
    pub workers: Vec<Worker>,
    /// The time; `None` where no time passes.
    pub now: Option<Timestamp>,
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

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The live topology cannot be read, and is not to be written over.
    #[error(transparent)]
    UnknownContract(#[from] UnknownContract),
    /// A built object cannot be written as JSON.
    #[error("a child cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
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
    /// The contract of the live topology.
    pub recorded_contract: Option<u32>,
    /// Set while a worker understands no contract that this operator writes: configuration and topology stay as they
    /// are.
    pub worker_too_old: Option<WorkerTooOld>,
    /// How far workers have followed it.
    pub following: Following,
    /// The number of shards that is asked for, where it has to wait.
    pub next_shards: Option<NonZeroU32>,
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
/// When the live topology is of a contract that this operator does not know at all; or when a built object cannot be
/// written as JSON, which its types rule out.
pub fn plan(anomaly: &VMAnomaly, around: &Surroundings, defaults: &WorkerDefaults) -> Result<Plan, PlanError> {
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

    let recorded = around.topology.as_ref().map(recorded_topology).transpose()?.flatten();
    let recorded_contract = recorded.as_ref().map(|recorded| recorded.contract_version);
    let contract = contract(&WRITTEN, recorded_contract, &around.workers);
    let Course { topology, following, asked_at, next_shards } =
        course(anomaly, around, recorded, configuration.as_ref().ok(), contract.as_ref().ok().copied());
    // What is not there yet cannot be kept.
    let worker_too_old = contract.err().filter(|_| around.config.is_some());
    let runs = configuration.is_ok() || around.config.is_some();
    let mut hold = None;
    let going = around.groups.keys().copied().filter(|rank| *rank >= topology.ranks.get()).collect();
    if runs {
        children.push(Child::new(ChildKind::ConfigMap, &config_maps::topology(anomaly, &topology, asked_at))?);
        children.push(Child::new(ChildKind::PodDisruptionBudget, &disruption_budget(anomaly))?);
        if let Some(policy) = network_policy(anomaly) {
            children.push(Child::new(ChildKind::NetworkPolicy, &policy)?);
        }
        let sets = sets(anomaly, around, defaults, &topology, &following)?;
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
    Ok(Plan {
        selection,
        configuration,
        inputs,
        topology,
        recorded_contract,
        worker_too_old,
        following,
        next_shards,
        children,
        runs,
        kept,
        hold,
        going,
    })
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
    topology: &Topology,
    following: &Following,
) -> Result<Sets, serde_json::Error> {
    let ranks_may_go = following.may_go();
    let shards_may_go = ranks_may_go || topology.settled_epoch == topology.epoch;
    // Shards are at most 1000, see the schema.
    let built = |rank, pods| stateful_set(anomaly, defaults, rank, i32::try_from(pods).unwrap_or(i32::MAX));
    let wanted: BTreeMap<u32, (u32, StatefulSet)> = (0..topology.ranks.get())
        .map(|rank| {
            let live = around.groups.get(&rank).map(|group| group.pods);
            let pods = topology::pods(topology.shards, live, shards_may_go);
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
        if ranks_may_go && group.pods > 0 {
            children.push(Child::new(ChildKind::StatefulSet, &group.with_own_template(built(*rank, 0)))?);
        } else if !ranks_may_go || group.existing > 0 {
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

/// Where it goes with the topology.
struct Course {
    topology: Topology,
    following: Following,
    /// When workers were asked to follow it first.
    asked_at: Option<Timestamp>,
    next_shards: Option<NonZeroU32>,
}

fn course(
    anomaly: &VMAnomaly,
    around: &Surroundings,
    recorded: Option<Topology>,
    rendered: Option<&Rendered>,
    contract: Option<u32>,
) -> Course {
    let count = |number: i32| u32::try_from(number).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
    let placements = match (rendered, &recorded) {
        (Some(rendered), _) => rendered.placements.iter().cloned().collect(),
        (None, Some(recorded)) => recorded.placements.clone(),
        (None, None) => BTreeMap::new(),
    };
    let reported = around.workers.iter().filter_map(|worker| Some(worker.report()?.epoch));
    let published = anomaly.status.as_ref().and_then(|status| u64::try_from(status.epoch?).ok());
    let floor = reported.chain(published).max().unwrap_or(0);
    let shards = count(anomaly.spec.shards);
    let wanted = Layout {
        contract_version: contract.unwrap_or(CONTRACT_VERSION),
        shards,
        ranks: count(anomaly.spec.replicas.unwrap_or(1)),
        placements,
        peers: config_maps::peers(anomaly),
    };
    let asked_at = around.topology.as_ref().and_then(recorded_asked_at);
    let timeout = rendered.map_or(HANDOVER_TIMEOUT, |rendered| rendered.handover_timeout);
    let overdue = around.now.zip(asked_at).is_some_and(|(now, asked_at)| {
        Duration::try_from(now.duration_since(asked_at)).is_ok_and(|elapsed| elapsed >= timeout)
    });
    let before = recorded.as_ref().map(|recorded| Following::of(recorded, &around.workers, overdue));
    let topology = match &recorded {
        // With a worker that would not understand it, no other one is written.
        Some(recorded) if contract.is_none() => recorded.clone(),
        _ => topology::next(recorded.as_ref(), floor, wanted, before.as_ref().unwrap_or(&Following::default())),
    };
    let is_asked =
        recorded.is_some_and(|recorded| (recorded.epoch, recorded.ranks) == (topology.epoch, topology.ranks));
    let following = match before {
        Some(before) if is_asked => before,
        _ => Following::of(&topology, &around.workers, false),
    };
    // Whole seconds, as conditions have them.
    let now = around.now.and_then(|now| Timestamp::from_second(now.as_second()).ok());
    let asked_at = asked_at.filter(|_| is_asked).or(now);
    let next_shards = (topology.shards != shards).then_some(shards);
    Course { topology, following, asked_at, next_shards }
}

/// What a live ConfigMap says that the configuration was made from.
#[must_use]
pub fn recorded(around: &Surroundings) -> Option<Inputs> {
    around.config.as_ref().and_then(recorded_inputs)
}
