//! A visit of a VMAnomaly.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use config::contract::CONTRACT_VERSION;
use config::topology::Topology;
use crds::VMAnomaly;
use crds::anomaly::VMAnomalyStatus;
use crds::status::{ConditionType, Reason};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Patch, PatchParams, PropagationPolicy};
use kube::core::DynamicObject;
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::OnceCell;

use crate::build::config::{path_prefix, server_port};
use crate::build::config_maps::recorded_topology;
use crate::build::scrape::ScrapeKind;
use crate::kubernetes::apply::{ApplyError, Owner, is_conflict, is_not_found};
use crate::kubernetes::child::{ChildKind, is_controlled_by};
use crate::names::{ChildNames, EXPECTED, MANAGER, MOST_RANKS};
use crate::operator::{Guarded, Objects, Operator};
use crate::reconcile::error::ReconcileError;
use crate::reconcile::freshness::{is_by_newer_operator, verify_inputs};
use crate::reconcile::peer_token;
use crate::reconcile::plan::{self, Plan, PlanError, Surroundings, plan};
use crate::reconcile::report::verdict;
use crate::reconcile::rollout::Group;
use crate::reconcile::undecodable;
use crate::selection::{ObjectKey, selects};
use crate::status::anomaly::{Facts, has_newest, paused, status};
use crate::status::condition::find;
use crate::status::resharding::{self, NewsKind};
use crate::workers::poll::Target;
use crate::workers::state::{Worker, WorkerState, workers};

/// How soon a visit is repeated that waits for time to pass.
const SOON: Duration = Duration::from_secs(10);

/// When to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// When something changes.
    OnChange,
    /// When something changes, or after this time.
    After(Duration),
}

/// Visits a VMAnomaly.
///
/// # Errors
/// See [`ReconcileError`]; the visit has to be repeated.
pub async fn visit(operator: &Operator, guard: &Guarded<VMAnomaly>) -> Result<Next, ReconcileError> {
    let watched = match &guard.0 {
        Ok(anomaly) => Arc::new(anomaly.clone()),
        Err(invalid) => {
            undecodable::report::<VMAnomaly>(operator, invalid).await?;
            return Ok(Next::OnChange);
        }
    };
    let key = ObjectKey::of(&*watched);
    let Some(anomaly) = operator.written.anomalies.newest(&key, Some(watched)) else { return Ok(Next::OnChange) };
    if anomaly.metadata.deletion_timestamp.is_some() {
        operator.triggers.rejudged(operator.verdicts.take(&key, None));
        return Ok(Next::OnChange);
    }
    if anomaly.spec.paused == Some(true) {
        publish(operator, &anomaly, paused(&anomaly, Timestamp::now())).await?;
        return Ok(Next::OnChange);
    }
    Visit { operator, anomaly: &anomaly, key, verified: OnceCell::new() }.run().await
}

struct Visit<'a> {
    operator: &'a Operator,
    anomaly: &'a VMAnomaly,
    key: ObjectKey,
    verified: OnceCell<()>,
}

impl Visit<'_> {
    async fn run(&self) -> Result<Next, ReconcileError> {
        let scrape_kinds = self.operator.scrape_kinds().await;
        let around = self.surroundings(&scrape_kinds).await;
        let recorded = plan::recorded(&around);
        if let Some(recorded) = &recorded
            && !self.operator.settings.allow_downgrade
            && is_by_newer_operator(recorded)
        {
            let by = &recorded.operator_version;
            return Ok(self
                .keep_away(format!("operator {by} wrote the configuration, this is {}", crate::VERSION))
                .await);
        }
        let plan = match plan(self.anomaly, &around, &self.operator.settings.workers) {
            // Also with leave to go back: what it says of series on their way would be lost.
            Err(PlanError::UnknownContract(unknown)) => return Ok(self.keep_away(unknown.to_string()).await),
            plan => plan?,
        };
        if let Some(recorded) = plan.recorded_contract.filter(|recorded| *recorded > CONTRACT_VERSION)
            && !self.operator.settings.allow_downgrade
        {
            let note = format!("the topology is of contract {recorded}, this operator writes up to {CONTRACT_VERSION}");
            return Ok(self.keep_away(note).await);
        }
        if let Some(recorded) = &recorded
            && *recorded != plan.inputs
        {
            verify_inputs(&self.operator.client, self.anomaly, recorded, &plan.inputs).await?;
        }
        let mut failures = Vec::new();
        if plan.runs {
            failures.extend(self.make_sure_of_token(&around.workers).await?);
        }
        failures.extend(self.write(&plan).await?);
        failures.extend(self.scrape_objects(&plan, &scrape_kinds).await?);
        failures.extend(self.remove_orphans(&plan).await?);
        if failures.is_empty() && plan.worker_too_old.is_none() {
            self.touch_pods(&plan, &around.workers).await?;
        }

        let (shards, ranks) = (plan.topology.shards.get(), plan.topology.ranks.get());
        let is_current = |worker: &&Worker| worker.shard < shards && worker.rank < ranks;
        let current: Vec<Worker> = around.workers.iter().filter(is_current).cloned().collect();
        let facts = Facts { plan: &plan, workers: &current, failures: &failures, now: Timestamp::now() };
        publish(self.operator, self.anomaly, status(self.anomaly, &facts)).await?;
        let judged = verdict(&plan, &current);
        self.operator.triggers.rejudged(self.operator.verdicts.take(&self.key, Some(judged)));
        if !failures.is_empty() {
            return Err(ReconcileError::Children(failures));
        }
        let too_many = around.groups.iter().any(|(rank, group)| *rank >= ranks || group.pods > shards);
        let waits = too_many || plan.hold.is_some() || !plan.topology.previous_shards.is_empty();
        // A configuration with errors waits for somebody to correct it.
        let next =
            if plan.configuration.is_err() { Next::OnChange } else { Next::After(self.operator.settings.resync) };
        Ok(if waits { Next::After(SOON.min(self.operator.settings.resync)) } else { next })
    }

    async fn surroundings(&self, scrape_kinds: &[ScrapeKind]) -> Surroundings {
        let names = ChildNames::of(&self.key.name);
        let child = |kind, name: &str| {
            let key = ObjectKey { namespace: self.key.namespace.clone(), name: name.to_owned() };
            self.operator
                .child(kind, &key)
                .filter(|child| self.anomaly.metadata.uid.as_deref().is_some_and(|uid| is_controlled_by(&**child, uid)))
        };
        let group = |rank| {
            let set: StatefulSet = parsed(&*child(ChildKind::StatefulSet, &names.workers(rank))?)?;
            Some((rank, Group::of(&set)))
        };
        let groups: BTreeMap<u32, Group> = (0..MOST_RANKS).filter_map(group).collect();
        let topology: Option<ConfigMap> = child(ChildKind::ConfigMap, &names.topology).as_deref().and_then(parsed);
        let recorded = topology.as_ref().and_then(|map| recorded_topology(map).ok().flatten());
        let number = |number: i32| u32::try_from(number).unwrap_or(1);
        let (shards, ranks) = recorded.map_or((1, 1), |recorded| (recorded.shards.get(), recorded.ranks.get()));
        let shards = shards.max(number(self.anomaly.spec.shards));
        let shards = groups.values().map(|group| group.pods).fold(shards, u32::max);
        let ranks = ranks.max(number(self.anomaly.spec.replicas.unwrap_or(1)));
        let ranks = groups.keys().map(|rank| rank + 1).fold(ranks, u32::max);
        Surroundings {
            models: Objects::readable(&self.operator.objects.models, |model| {
                selects(self.anomaly, self.anomaly.spec.model_selector.as_ref(), model)
            }),
            queries: Objects::readable(&self.operator.objects.queries, |query| {
                selects(self.anomaly, self.anomaly.spec.query_selector.as_ref(), query)
            }),
            config: child(ChildKind::ConfigMap, &names.config).as_deref().and_then(parsed),
            topology,
            groups,
            workers: self.workers(&names, ranks, shards).await,
            now: Some(Timestamp::now()),
            scrape: scrape_kinds.first().copied(),
        }
    }

    async fn workers(&self, names: &ChildNames, ranks: u32, shards: u32) -> Vec<Worker> {
        let pods: Vec<Arc<Pod>> = self
            .operator
            .objects
            .pods
            .in_namespace(&self.key.namespace)
            .into_iter()
            .filter(|pod| pod.labels().get("app.kubernetes.io/instance") == Some(&self.key.name))
            .collect();
        // After a start of the operator nobody has asked them yet, and "does not answer" would be a lie.
        let unasked = pods.iter().filter(|pod| !self.operator.reports.asked(pod));
        let (port, prefix) = (server_port(self.anomaly), path_prefix(self.anomaly));
        let targets: Vec<Target> = unasked.filter_map(|pod| Target::of(pod, port, &prefix)).collect();
        if !targets.is_empty() {
            self.operator.poller.round(targets, &self.operator.reports).await;
        }
        workers(names, ranks, shards, &pods, |pod| self.operator.reports.of(pod))
    }

    /// Before anything is written, the VMAnomaly is read live, once a visit: it must be the one that was planned from.
    async fn verify(&self) -> Result<(), ReconcileError> {
        let read = async || {
            let api: Api<Guarded<VMAnomaly>> = Api::namespaced(self.operator.client.clone(), &self.key.namespace);
            let action = format!("reading VMAnomaly {}", self.key);
            let live = api.get_opt(&self.key.name).await.map_err(ReconcileError::api(action))?;
            let same = live.is_some_and(|live| {
                live.meta().uid == self.anomaly.metadata.uid
                    && live.meta().generation == self.anomaly.metadata.generation
                    && live.meta().deletion_timestamp.is_none()
            });
            if same { Ok(()) } else { Err(ReconcileError::Outdated(format!("VMAnomaly {} is another one", self.key))) }
        };
        self.verified.get_or_try_init(read).await.copied()
    }

    /// Leaves everything as it is, and says once why.
    async fn keep_away(&self, note: String) -> Next {
        if self.operator.is_news(format!("{} {note}", self.owner().uid)) {
            tracing::warn!(anomaly = %self.key, note, "kept away");
            self.operator.event(self.anomaly, true, Reason::NewerOperator.name(), &note).await;
        }
        Next::After(self.operator.settings.resync)
    }

    /// Says when the workers' files were written in another contract than before.
    async fn tell_contract(&self, plan: &Plan, live: Option<&DynamicObject>) {
        let now = plan.topology.contract_version;
        let Some(before) = plan.recorded_contract.filter(|before| *before != now) else { return };
        let note = format!("the topology is written in contract {now} from now on, it was in contract {before}");
        // The own write may not have come back yet at the next visit.
        let version = live.and_then(ResourceExt::resource_version).unwrap_or_default();
        if !self.operator.is_news(format!("{} {version} {note}", self.owner().uid)) {
            return;
        }
        tracing::info!(anomaly = %self.key, note, "contract changed");
        self.operator.metrics.contract_changed(before, now);
        self.operator.event(self.anomaly, false, Reason::ContractChanged.name(), &note).await;
    }

    fn owner(&self) -> Owner<'_> {
        Owner { name: &self.key.name, uid: self.anomaly.metadata.uid.as_deref().unwrap_or_default() }
    }

    /// Creates the Secret with the workers' token, unless it was there a short while ago.
    async fn make_sure_of_token(&self, workers: &[Worker]) -> Result<Option<ApplyError>, ReconcileError> {
        // A pod that waits without saying why may wait for its volumes, of which the token is one.
        let starting = workers.iter().any(|worker| worker.state == WorkerState::NotRunning(None));
        let every = self.operator.settings.token;
        if !self.operator.known_tokens.is_due(self.owner().uid, every, starting) {
            return Ok(None);
        }
        self.verify().await?;
        Ok(peer_token::create(self.operator, self.anomaly).await.err())
    }

    async fn write(&self, plan: &Plan) -> Result<Vec<ApplyError>, ReconcileError> {
        let topology = ChildNames::of(&self.key.name).topology;
        let mut failures = Vec::new();
        for child in &plan.children {
            if matches!(child.kind, ChildKind::Scrape(_)) {
                continue;
            }
            let live = self.operator.child(child.kind, &child.key);
            // Without a file not even a newer worker starts.
            if plan.worker_too_old.is_some() && child.kind == ChildKind::ConfigMap && live.is_some() {
                continue;
            }
            let before = failures.len();
            self.apply(child, live.as_deref(), &mut failures).await?;
            // At once: a later child may end the visit.
            if child.key.name == topology && child.kind == ChildKind::ConfigMap && failures.len() == before {
                self.tell_contract(plan, live.as_deref()).await;
            }
        }
        Ok(failures)
    }

    async fn apply(
        &self,
        child: &crate::kubernetes::child::Child,
        live: Option<&DynamicObject>,
        failures: &mut Vec<ApplyError>,
    ) -> Result<(), ReconcileError> {
        if !self.operator.applier.wants_write(child, live) {
            return Ok(());
        }
        self.verify().await?;
        match self.operator.applier.apply(self.owner(), child, live).await {
            Ok(written) => {
                tracing::debug!(anomaly = %self.key, kind = child.kind.name(), child = child.key.name, ?written, "child");
                Ok(())
            }
            Err(error @ ApplyError::Outdated { .. }) => Err(ReconcileError::Outdated(error.to_string())),
            Err(error) => {
                failures.push(error);
                Ok(())
            }
        }
    }

    /// Scrape objects are not watched, because not every cluster has their kinds; they are read at each visit.
    async fn scrape_objects(&self, plan: &Plan, kinds: &[ScrapeKind]) -> Result<Vec<ApplyError>, ReconcileError> {
        let mut failures = Vec::new();
        for kind in kinds.iter().map(|kind| ChildKind::Scrape(*kind)) {
            let name = ChildNames::of(&self.key.name).base;
            let api = self.operator.applier.api(kind, &self.key.namespace);
            let action = format!("reading {} {}/{name}", kind.name(), self.key.namespace);
            let live = api.get_opt(&name).await.map_err(ReconcileError::api(action))?;
            match (plan.children.iter().find(|child| child.kind == kind), live) {
                (Some(child), live) => self.apply(child, live.as_ref(), &mut failures).await?,
                (None, Some(live)) if is_controlled_by(&live, self.owner().uid) => {
                    self.delete(kind, &live, &mut failures).await?;
                }
                (None, _) => {}
            }
        }
        Ok(failures)
    }

    async fn remove_orphans(&self, plan: &Plan) -> Result<Vec<ApplyError>, ReconcileError> {
        let wanted: HashSet<(ChildKind, &str)> = plan
            .children
            .iter()
            .map(|child| (child.kind, child.key.name.as_str()))
            .chain(plan.kept.iter().map(|(kind, name)| (*kind, name.as_str())))
            .collect();
        let mut failures = Vec::new();
        for (kind, index) in &self.operator.objects.children {
            for live in index.in_namespace(&self.key.namespace) {
                let own = is_controlled_by(&*live, self.owner().uid) && live.metadata.deletion_timestamp.is_none();
                if own && !wanted.contains(&(*kind, live.name_any().as_str())) {
                    self.delete(*kind, &live, &mut failures).await?;
                }
            }
        }
        Ok(failures)
    }

    async fn delete(
        &self,
        kind: ChildKind,
        live: &DynamicObject,
        failures: &mut Vec<ApplyError>,
    ) -> Result<(), ReconcileError> {
        self.verify().await?;
        match self.operator.applier.delete(kind, live, PropagationPolicy::Background).await {
            Ok(()) => {}
            Err(error @ ApplyError::Outdated { .. }) => return Err(ReconcileError::Outdated(error.to_string())),
            Err(error) => failures.push(error),
        }
        Ok(())
    }

    /// Makes the kubelet bring new files to workers that do not have them yet.
    async fn touch_pods(&self, plan: &Plan, workers: &[Worker]) -> Result<(), ReconcileError> {
        let Ok(rendered) = &plan.configuration else { return Ok(()) };
        let Topology { epoch, ranks, contract_version, .. } = plan.topology;
        let expected = format!("{}.{epoch}.{ranks}.{contract_version}", rendered.revision);
        let api: Api<Pod> = Api::namespaced(self.operator.client.clone(), &self.key.namespace);
        for worker in workers {
            if worker.report().is_none_or(|report| has_newest(report, plan)) {
                continue;
            }
            let key = ObjectKey { namespace: self.key.namespace.clone(), name: worker.pod.clone() };
            let Some(pod) = self.operator.objects.pods.get(&key) else { continue };
            if pod.annotations().get(EXPECTED) == Some(&expected) {
                continue;
            }
            // The uid keeps the apply from creating a pod that is gone.
            let patch = json!({
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": worker.pod, "uid": pod.metadata.uid, "annotations": {EXPECTED: expected}},
            });
            self.operator.metrics.write("Pod", "apply");
            let touched = api.patch(&worker.pod, &PatchParams::apply(MANAGER).force(), &Patch::Apply(patch)).await;
            match touched {
                Ok(_) => {}
                Err(error) if is_conflict(&error) || is_not_found(&error) => {}
                Err(source) => {
                    let action = format!("annotating pod {key}");
                    return Err(ReconcileError::Api { action, source: Box::new(source) });
                }
            }
        }
        Ok(())
    }
}

fn parsed<K: Resource + DeserializeOwned>(object: &DynamicObject) -> Option<K> {
    object.clone().try_parse().ok()
}

/// Writes the status, if it says anything new, and publishes an event when Ready changes its status or reason, and when
/// a resharding begins, ends or takes too long.
async fn publish(operator: &Operator, anomaly: &VMAnomaly, status: VMAnomalyStatus) -> Result<(), ReconcileError> {
    if anomaly.status.as_ref() == Some(&status) {
        return Ok(());
    }
    let key = ObjectKey::of(anomaly);
    let written = super::write_status(operator, anomaly, &status).await?;
    operator.written.anomalies.wrote(key, written);
    if let Some(news) = resharding::news(anomaly.status.as_ref(), &status) {
        operator.metrics.resharding(news.kind);
        operator.event(anomaly, news.kind == NewsKind::TimedOut, news.reason, &news.note).await;
    }
    let before = anomaly.status.as_ref().and_then(|status| find(&status.conditions, ConditionType::Ready));
    let Some(now) = find(&status.conditions, ConditionType::Ready) else { return Ok(()) };
    if before.is_none_or(|before| (&before.status, &before.reason) != (&now.status, &now.reason)) {
        let warning = now.status == "False" && is_fault(&now.reason);
        let note = if now.message.is_empty() { format!("Ready is {}", now.status) } else { now.message.clone() };
        operator.event(anomaly, warning, &now.reason, &note).await;
    }
    Ok(())
}

/// Whether somebody has to do something about it.
fn is_fault(reason: &str) -> bool {
    let on_its_way = [
        Reason::WorkersStarting,
        Reason::RestoringState,
        Reason::ConfigPropagating,
        Reason::FirstFit,
        Reason::CatchingUp,
        Reason::ShardsChanging,
        Reason::ReplicaUpdating,
        Reason::Paused,
    ];
    !on_its_way.iter().any(|known| known.name() == reason)
}
