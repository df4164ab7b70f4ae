//! What a VMAnomaly says about itself, whatever its workers are up to.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crds::anomaly::VMAnomalyStatus;
use crds::status::{ConditionType, Reason};
use crds::{AnomalyModel, AnomalyQuery, VMAnomaly};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use operator::build::WorkerDefaults;
use operator::reconcile::plan::{Plan, Surroundings, plan};
use operator::status::anomaly::{Facts, status};
use operator::workers::report::{QueryReport, Report};
use operator::workers::state::{Worker, WorkerState};
use proptest::prelude::*;
use serde_json::json;

fn anomaly(shards: u32, before: Option<VMAnomalyStatus>) -> VMAnomaly {
    let connection = json!({"datasourceURL": "http://tsdb:8428"});
    let mut anomaly: VMAnomaly = serde_json::from_value(json!({
        "metadata": {"name": "main", "namespace": "n", "uid": "u", "generation": 7},
        "spec": {"shards": shards, "reader": connection, "writer": connection},
    }))
    .unwrap();
    anomaly.status = before;
    anomaly
}

fn planned(anomaly: &VMAnomaly, queries: usize) -> Plan {
    let metadata = |name: String| json!({"name": name, "namespace": "n"});
    let model: AnomalyModel =
        serde_json::from_value(json!({"metadata": metadata("m".into()), "spec": {"madOnline": {}}})).unwrap();
    let query = |number: usize| -> Arc<AnomalyQuery> {
        let name = format!("a-query-with-a-name-of-some-length-{number}");
        serde_json::from_value(json!({"metadata": metadata(name), "spec": {"expr": "up"}})).map(Arc::new).unwrap()
    };
    let around = Surroundings {
        models: vec![Arc::new(model)],
        queries: (0..queries).map(query).collect(),
        ..Surroundings::default()
    };
    plan(anomaly, &around, &WorkerDefaults::default()).unwrap()
}

fn facts<'a>(plan: &'a Plan, workers: &'a [Worker], second: i64) -> Facts<'a> {
    let now = Timestamp::from_second(second).unwrap();
    Facts { plan, workers, failures: &[], now }
}

fn condition(status: &VMAnomalyStatus, type_: ConditionType) -> &Condition {
    status.conditions.iter().find(|condition| condition.type_ == type_.name()).unwrap()
}

fn query_report() -> impl Strategy<Value = QueryReport> {
    let words = || prop::option::of("[a-z]{1,8}");
    (any::<[bool; 6]>(), words(), words(), words()).prop_map(|(flags, query, scores, still)| {
        let [first_fit, catching_up, over_limit, collided, counters_without_rate, beyond_alarm_budget] = flags;
        QueryReport {
            first_fit,
            query_refused: query,
            scores_refused: scores,
            standing_still: still,
            catching_up,
            over_limit,
            collided,
            counters_without_rate,
            beyond_alarm_budget,
        }
    })
}

fn worker_state() -> impl Strategy<Value = WorkerState> {
    let report = (any::<(bool, bool, bool)>(), 0_u64..3, any::<bool>(), prop::option::of("[a-z]{1,8}"), query_report());
    prop_oneof![
        1 => Just(WorkerState::Missing),
        1 => prop::option::of("[a-z]{1,8}").prop_map(WorkerState::NotRunning),
        1 => Just(WorkerState::Silent),
        6 => report.prop_map(|((ready, restoring, settled), epoch, newest, refused, query)| {
            let revision = newest.then(|| "newest".to_owned());
            let queries = BTreeMap::from([("q".to_owned(), query)]);
            WorkerState::Answers(Arc::new(Report {
                contract_version: 1,
                worker_version: "0.1.0".to_owned(),
                epoch,
                settled,
                ranks: None,
                revision,
                ready,
                restoring,
                refused_configuration: refused,
                queries,
            }))
        }),
    ]
}

/// Workers, of which those with the revision `newest` have the planned one.
fn workers(plan: &Plan, states: Vec<WorkerState>) -> Vec<Worker> {
    let revision = plan.configuration.as_ref().unwrap().revision.clone();
    let known = |state| match state {
        WorkerState::Answers(report) if report.revision.is_some() => {
            WorkerState::Answers(Arc::new(Report { revision: Some(revision.clone()), ..(*report).clone() }))
        }
        other => other,
    };
    let numbered = states.into_iter().enumerate();
    numbered
        .map(|(shard, state)| Worker {
            pod: format!("anomaly-main-r0-{shard}"),
            rank: 0,
            shard: u32::try_from(shard).unwrap(),
            state: known(state),
        })
        .collect()
}

proptest! {
    #[test]
    fn ready_sums_up_the_other_conditions_and_times_change_with_statuses_only(
        first in prop::collection::vec(worker_state(), 3),
        second in prop::collection::vec(worker_state(), 3),
    ) {
        let mut before: Option<VMAnomalyStatus> = None;
        for (second, states) in [(100, first), (200, second)] {
            let anomaly = anomaly(3, before.clone());
            let plan = planned(&anomaly, 1);
            let status = status(&anomaly, &facts(&plan, &workers(&plan, states), second));
            let types: BTreeSet<&str> = status.conditions.iter().map(|condition| condition.type_.as_str()).collect();
            prop_assert_eq!(types.len(), status.conditions.len());
            let is = |type_, wanted: &str| condition(&status, type_).status == wanted;
            if is(ConditionType::Ready, "True") {
                prop_assert!(is(ConditionType::ConfigValid, "True") && is(ConditionType::Available, "True"));
                prop_assert!(is(ConditionType::Progressing, "False") && !types.contains("Stalled"));
                prop_assert_eq!(status.shards_ready.as_deref(), Some("3/3"));
            } else {
                prop_assert!(!is(ConditionType::ConfigValid, "True")
                    || !is(ConditionType::Available, "True")
                    || !is(ConditionType::Progressing, "False")
                    || is(ConditionType::Degraded, "True"));
            }
            for now in &status.conditions {
                prop_assert!(Reason::ALL.iter().any(|reason| reason.name() == now.reason));
                prop_assert_eq!(now.observed_generation, Some(7));
                let known = before.as_ref().and_then(|before| before.conditions.iter().find(|one| one.type_ == now.type_));
                let flipped = known.is_none_or(|known| known.status != now.status);
                let moved = now.last_transition_time.0.as_second() == second;
                prop_assert_eq!(flipped, moved, "{:?} after {:?}", now, known);
            }
            before = Some(status);
        }
    }
}

#[test]
fn a_status_stays_small_whatever_it_has_to_say() {
    let anomaly = anomaly(1000, None);
    let plan = planned(&anomaly, 500);
    let report = QueryReport { query_refused: Some("words ".repeat(2000)), first_fit: true, ..QueryReport::default() };
    let aliases = (0..500).map(|number| (format!("a-query-with-a-name-of-some-length-{number}"), report.clone()));
    let report = Arc::new(Report { contract_version: 1, ready: true, queries: aliases.collect(), ..Report::default() });
    let workers: Vec<Worker> = (0..1000)
        .map(|shard| Worker {
            pod: format!("anomaly-main-r0-{shard}"),
            rank: 0,
            shard,
            state: WorkerState::Answers(Arc::clone(&report)),
        })
        .collect();
    let status = status(&anomaly, &facts(&plan, &workers, 0));
    assert!(serde_json::to_string(&status).unwrap().len() < 16 * 1024);
}
