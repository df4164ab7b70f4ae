//! The status of a VMAnomaly.

use config::load::DEFAULT_MODEL;
use crds::VMAnomaly;
use crds::anomaly::VMAnomalyStatus;
use crds::status::{ConditionType, Reason};
use jiff::Timestamp;
use kube::ResourceExt;

use crate::kubernetes::apply::ApplyError;
use crate::names::{ChildNames, scale_selector};
use crate::reconcile::plan::Plan;
use crate::selection::ObjectKey;
use crate::status::condition::{Finding, find, following, some_of};
use crate::status::resharding;
use crate::workers::report::{QueryReport, Report};
use crate::workers::state::{Worker, WorkerState};

/// Most pods named in `status.outdated`.
const NAMED_PODS: usize = 20;

/// What a status is made of.
#[derive(Debug)]
pub struct Facts<'a> {
    /// What should be.
    pub plan: &'a Plan,
    /// The workers of the topology's shards and ranks, lower ranks first.
    pub workers: &'a [Worker],
    /// Children that could not be written.
    pub failures: &'a [ApplyError],
    /// The time.
    pub now: Timestamp,
}

/// The status of a VMAnomaly that is left alone.
#[must_use]
pub fn paused(anomaly: &VMAnomaly, now: Timestamp) -> VMAnomalyStatus {
    let before = anomaly.status.clone().unwrap_or_default();
    let generation = anomaly.metadata.generation;
    let finding = Finding { holds: None, reason: Reason::Paused, message: "spec.paused is true".to_owned() };
    let known = find(&before.conditions, ConditionType::Ready);
    let ready = following(known, ConditionType::Ready, &finding, generation, now);
    let others = before.conditions.iter().filter(|condition| condition.type_ != ConditionType::Ready.name());
    VMAnomalyStatus {
        observed_generation: generation,
        conditions: std::iter::once(ready).chain(others.cloned()).collect(),
        selector: Some(scale_selector(&anomaly.name_any())),
        ..before
    }
}

/// The status of a VMAnomaly after a visit.
#[must_use]
pub fn status(anomaly: &VMAnomaly, facts: &Facts<'_>) -> VMAnomalyStatus {
    let before = anomaly.status.as_ref();
    let generation = anomaly.metadata.generation;
    let plan = facts.plan;
    let known_revision = before.and_then(|status| status.config_revision.clone());
    let revision = plan.configuration.as_ref().ok().map(|rendered| rendered.revision.clone()).or(known_revision);

    let outdated = pods_whose_report(facts, |report| !has_newest(report, plan));
    let conditions = conditions(anomaly, facts).into_iter().map(|(type_, finding)| {
        let known = before.and_then(|status| find(&status.conditions, type_));
        following(known, type_, &finding, generation, facts.now)
    });
    let (shards, ranks) = (plan.topology.shards, plan.topology.ranks);
    let working = by_shard(facts, |report| report.ready && works_as_asked(report, plan));
    let served = working.iter().filter(|workers| **workers > 0).count();
    let fewest = working.iter().min().copied().unwrap_or(0);
    let mut versions: Vec<&str> =
        facts.workers.iter().filter_map(|worker| Some(worker.report()?.worker_version.as_str())).collect();
    versions.sort_unstable();
    versions.dedup();
    let known_version = before.and_then(|status| status.worker_version.clone());
    let number = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    VMAnomalyStatus {
        observed_generation: generation,
        conditions: conditions.collect(),
        shards: Some(i32::try_from(shards.get()).unwrap_or(i32::MAX)),
        shards_ready: Some(format!("{served}/{shards}")),
        replicas: Some(i32::try_from(ranks.get()).unwrap_or(i32::MAX)),
        replicas_ready: Some(format!("{fewest}/{ranks}")),
        selector: Some(scale_selector(&anomaly.name_any())),
        queries: Some(number(plan.selection.queries.len())),
        models: Some(number(plan.selection.models.len())),
        worker_version: if versions.is_empty() { known_version } else { Some(versions.join(",")) },
        epoch: plan.runs.then(|| i64::try_from(plan.topology.epoch).unwrap_or(i64::MAX)),
        config_revision: revision,
        outdated: outdated.into_iter().take(NAMED_PODS).collect(),
    }
}

/// Whether a worker has the configuration and the topology that it should have.
#[must_use]
pub fn has_newest(report: &Report, plan: &Plan) -> bool {
    report.epoch == plan.topology.epoch
        && report.ranks.is_none_or(|ranks| ranks == plan.topology.ranks.get())
        && has_configuration(report, plan)
}

/// The same without the topology while series move: meanwhile they are scored where they are.
fn works_as_asked(report: &Report, plan: &Plan) -> bool {
    has_newest(report, plan) || (!plan.topology.previous_shards.is_empty() && has_configuration(report, plan))
}

fn has_configuration(report: &Report, plan: &Plan) -> bool {
    let revision = plan.configuration.as_ref().ok().map(|rendered| rendered.revision.as_str());
    revision.is_none_or(|revision| report.revision.as_deref() == Some(revision))
}

/// For each shard, how many of its workers report so.
fn by_shard(facts: &Facts<'_>, holds: impl Fn(&Report) -> bool) -> Vec<u32> {
    let mut counts = vec![0; usize::try_from(facts.plan.topology.shards.get()).unwrap_or(usize::MAX)];
    for worker in facts.workers.iter().filter(|worker| worker.report().is_some_and(&holds)) {
        if let Some(count) = usize::try_from(worker.shard).ok().and_then(|shard| counts.get_mut(shard)) {
            *count += 1;
        }
    }
    counts
}

fn pods_whose_report(facts: &Facts<'_>, holds: impl Fn(&Report) -> bool) -> Vec<String> {
    let workers = facts.workers.iter().filter(|worker| worker.report().is_some_and(&holds));
    workers.map(|worker| worker.pod.clone()).collect()
}

fn conditions(anomaly: &VMAnomaly, facts: &Facts<'_>) -> Vec<(ConditionType, Finding)> {
    let valid = config_valid(facts);
    let missing = missing(facts);
    let available = available(facts, missing.as_ref());
    let progressing = progressing(anomaly, facts, missing.as_ref());
    let degraded = degraded(facts);
    let ready = ready(anomaly, facts, &valid, &available, &progressing, &degraded);
    let stalled = if valid.holds == Some(false) {
        Some(Finding::yes(valid.reason, valid.message.clone()))
    } else {
        (degraded.reason == Reason::NameTaken).then(|| degraded.clone())
    };
    let mut all = vec![
        (ConditionType::Ready, ready),
        (ConditionType::ConfigValid, valid),
        (ConditionType::Available, available),
        (ConditionType::Progressing, progressing),
        (ConditionType::Degraded, degraded),
        (ConditionType::Resharding, resharding::finding(anomaly, facts.plan)),
    ];
    all.extend(stalled.map(|finding| (ConditionType::Stalled, finding)));
    all
}

fn config_valid(facts: &Facts<'_>) -> Finding {
    if let Some(too_old) = &facts.plan.worker_too_old {
        let message = format!("{too_old}; configuration and topology stay as they are until it is replaced");
        return Finding::no(Reason::WorkerTooOld, message);
    }
    let rendered = match &facts.plan.configuration {
        Ok(rendered) => rendered,
        Err(fault) => return Finding::no(fault.reason, fault.message.clone()),
    };
    let refusal = facts.workers.iter().find_map(|worker| {
        let refusal = worker.report()?.refused_configuration.as_ref()?;
        Some(format!("{}: {refusal}", worker.pod))
    });
    match refusal {
        Some(refusal) => Finding::no(Reason::ConfigRefusedByWorker, refusal),
        None if rendered.unchecked => Finding::yes(Reason::CheckedByWorkers, ""),
        None => Finding::yes(Reason::AsConfigured, ""),
    }
}

/// What keeps workers from working, if anything does.
fn missing(facts: &Facts<'_>) -> Option<(Reason, String)> {
    if !facts.plan.runs {
        let why = "there are no workers: there was no valid configuration yet";
        return Some((Reason::WorkersStarting, why.to_owned()));
    }
    let mut absent = Vec::new();
    let mut restoring = Vec::new();
    for worker in facts.workers {
        match &worker.state {
            WorkerState::Missing => absent.push(format!("{} (no pod)", worker.pod)),
            WorkerState::NotRunning(None) => absent.push(worker.pod.clone()),
            WorkerState::NotRunning(Some(why)) => absent.push(format!("{} ({why})", worker.pod)),
            WorkerState::Silent => absent.push(format!("{} (does not answer)", worker.pod)),
            WorkerState::Answers(report) if !report.ready => restoring.push(worker.pod.clone()),
            WorkerState::Answers(_) => {}
        }
    }
    let waiting = [(Reason::WorkersStarting, absent), (Reason::RestoringState, restoring)];
    let (reason, pods) = waiting.into_iter().find(|(_, pods)| !pods.is_empty())?;
    Some((reason, format!("waiting for {}", some_of(&pods))))
}

fn available(facts: &Facts<'_>, missing: Option<&(Reason, String)>) -> Finding {
    match missing {
        Some((reason, message)) if by_shard(facts, |report| report.ready).contains(&0) => {
            Finding::no(*reason, message.clone())
        }
        _ => Finding::yes(Reason::AsConfigured, ""),
    }
}

fn progressing(anomaly: &VMAnomaly, facts: &Facts<'_>, missing: Option<&(Reason, String)>) -> Finding {
    if let Some(hold) = &facts.plan.hold {
        let names = ChildNames::of(&anomaly.name_any());
        let waiting: Vec<String> = hold.waiting.iter().map(|rank| names.workers(*rank)).collect();
        let mut message = format!("{} is updated before {}", names.workers(hold.first), some_of(&waiting));
        if let Some((_, why)) = missing {
            message = format!("{message}: {why}");
        }
        return Finding::yes(Reason::ReplicaUpdating, message);
    }
    if let Some((reason, message)) = missing {
        return Finding::yes(*reason, message.clone());
    }
    let outdated = pods_whose_report(facts, |report| !works_as_asked(report, facts.plan));
    if !outdated.is_empty() {
        return Finding::yes(Reason::ConfigPropagating, format!("waiting for {}", some_of(&outdated)));
    }
    let fitting = queries(facts, |query| query.first_fit && query.query_refused.is_none());
    if !fitting.is_empty() {
        return Finding::yes(Reason::FirstFit, format!("of {}", some_of(&fitting)));
    }
    let behind = queries(facts, |query| query.catching_up);
    if !behind.is_empty() {
        return Finding::yes(Reason::CatchingUp, some_of(&behind));
    }
    Finding::no(Reason::AsConfigured, "")
}

/// Names of the queries of which some worker says this.
fn queries(facts: &Facts<'_>, holds: impl Fn(&QueryReport) -> bool) -> Vec<String> {
    let reports = facts.workers.iter().filter_map(Worker::report);
    let named = reports.flat_map(|report| report.queries.iter().filter(|(_, query)| holds(query)));
    let mut names: Vec<String> = named.map(|(alias, _)| alias.clone()).collect();
    names.sort();
    names.dedup();
    names
}

/// The first words of that kind, with the query that they are about.
fn words(facts: &Facts<'_>, of: impl Fn(&QueryReport) -> Option<&String>) -> Option<String> {
    let mut reports = facts.workers.iter().filter_map(Worker::report);
    reports.find_map(|report| report.queries.iter().find_map(|(alias, query)| Some(format!("{alias}: {}", of(query)?))))
}

fn degraded(facts: &Facts<'_>) -> Finding {
    let taken = facts.failures.iter().find(|error| matches!(error, ApplyError::NameTaken { .. }));
    if let Some(error) = taken {
        return Finding::yes(Reason::NameTaken, error.to_string());
    }
    if !facts.failures.is_empty() {
        let failures: Vec<String> = facts.failures.iter().map(ToString::to_string).collect();
        return Finding::yes(Reason::ApplyFailed, some_of(&failures));
    }
    let spoken = [
        (Reason::ScoresRejected, words(facts, |query| query.scores_refused.as_ref())),
        (Reason::StandingStill, words(facts, |query| query.standing_still.as_ref())),
        (Reason::QueryRejected, words(facts, |query| query.query_refused.as_ref())),
    ];
    if let Some((reason, words)) = spoken.into_iter().find_map(|(reason, words)| Some((reason, words?))) {
        return Finding::yes(reason, words);
    }
    let listed = [
        (Reason::ObjectsRejected, rejected(facts)),
        (Reason::SeriesLimitReached, queries(facts, |query| query.over_limit)),
        (Reason::OutputsCollide, queries(facts, |query| query.collided)),
    ];
    match listed.into_iter().find(|(_, names)| !names.is_empty()) {
        Some((reason, names)) => Finding::yes(reason, some_of(&names)),
        None => Finding::no(Reason::AsConfigured, ""),
    }
}

fn rejected(facts: &Facts<'_>) -> Vec<String> {
    let selection = &facts.plan.selection;
    let models = selection.models.iter().filter(|model| model.rejection.is_some());
    let queries = selection.queries.iter().filter(|query| query.rejection.is_some());
    models
        .map(|model| format!("AnomalyModel {}", ObjectKey::of(&*model.object)))
        .chain(queries.map(|query| format!("AnomalyQuery {}", ObjectKey::of(&*query.object))))
        .collect()
}

fn ready(
    anomaly: &VMAnomaly,
    facts: &Facts<'_>,
    valid: &Finding,
    available: &Finding,
    progressing: &Finding,
    degraded: &Finding,
) -> Finding {
    let no = |finding: &Finding| Finding::no(finding.reason, finding.message.clone());
    if valid.holds == Some(false) {
        return no(valid);
    }
    // These stop detection or the operator's own work; other degradations are reasons of a Ready that is true.
    let stops = [Reason::NameTaken, Reason::ApplyFailed, Reason::ScoresRejected, Reason::StandingStill];
    if degraded.holds == Some(true) && stops.contains(&degraded.reason) {
        return no(degraded);
    }
    if available.holds != Some(true) {
        return no(available);
    }
    if progressing.holds == Some(true) {
        return no(progressing);
    }
    if degraded.holds == Some(true) {
        return Finding::yes(degraded.reason, degraded.message.clone());
    }
    let raw = anomaly.spec.config_raw_yaml.is_some() || anomaly.spec.config_secret.is_some();
    if !raw && facts.plan.selection.queries.is_empty() {
        return Finding::yes(Reason::NoQueriesSelected, "workers run idle");
    }
    // Without a selector nobody expects models.
    if !raw && facts.plan.selection.models.is_empty() && anomaly.spec.model_selector.is_some() {
        return Finding::yes(
            Reason::NoModelsSelected,
            format!("all queries have the default model, `{DEFAULT_MODEL}`"),
        );
    }
    Finding::yes(Reason::AsConfigured, "")
}
